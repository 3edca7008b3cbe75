/* SPDX-License-Identifier: Apache-2.0 */
/* See sim_words.h. */
#include "tests/support/sim_words.h"

#include <string.h>

#define WORD_BYTES_MAX (64u << 20)

bool sim_command_is(const struct sim_command *c, const char *name)
{
	return c->word[0].n == strlen(name) && !memcmp(c->word[0].p, name, c->word[0].n);
}

bool sim_word_is(const struct sim_word *w, const char *text)
{
	return w->n == strlen(text) && !memcmp(w->p, text, w->n);
}

bool sim_word_number(const struct sim_word *w, uint64_t *out)
{
	*out = 0;
	if (!w->n || w->n > 10 || (w->p[0] == '0' && w->n > 1))
		return false;
	for (size_t i = 0; i < w->n; i++) {
		if (w->p[i] < '0' || w->p[i] > '9')
			return false;
		*out = *out * 10 + (uint64_t)(w->p[i] - '0');
	}
	return true;
}

/* A head of *-, $- and digits. 0: not all there, or bad. */
static size_t read_head(const uint8_t *p, size_t n, char type, uint64_t *out, bool *bad)
{
	struct sim_word digits;
	const uint8_t *lf = n ? memchr(p, '\n', n < 16 ? n : 16) : NULL;

	if (n && p[0] != (uint8_t)type)
		*bad = true;
	if (!lf) {
		*bad |= n >= 16;
		return 0;
	}
	digits = (struct sim_word){ p + 1, (size_t)(lf - p) - 2 };
	if (lf - p < 3 || lf[-1] != '\r' || !sim_word_number(&digits, out))
		*bad = true;
	return *bad ? 0 : (size_t)(lf - p) + 1;
}

size_t sim_words_read(const uint8_t *p, size_t n, struct sim_command *c, bool *bad)
{
	uint64_t count, len;
	size_t at = read_head(p, n, '*', &count, bad);

	if (!at)
		return 0;
	*bad |= !count || count > SIM_WORDS_MAX;
	for (c->n = 0; !*bad && c->n < count; c->n++) {
		size_t k = read_head(p + at, n - at, '$', &len, bad);

		*bad |= k && len > WORD_BYTES_MAX;
		if (!k || *bad || n - at - k < len + 2)
			return 0;
		at += k;
		c->word[c->n] = (struct sim_word){ p + at, (size_t)len };
		at += (size_t)len;
		*bad |= p[at] != '\r' || p[at + 1] != '\n';
		at += 2;
	}
	return *bad ? 0 : at;
}
