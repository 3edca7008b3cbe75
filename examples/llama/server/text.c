/* SPDX-License-Identifier: Apache-2.0 */
/* See text.h. */
#include "text.h"

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* Bytes of the character whose first byte is c; 0: none begins like this. */
static size_t char_bytes(unsigned char c)
{
	return c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
}

/* Whether s[0..n) can be the beginning of a character, or a whole one. */
static int is_char_start(const unsigned char *s, size_t n)
{
	unsigned char low = 0x80, high = 0xbf;

	if (n == 0 || char_bytes(s[0]) < n)
		return 0;
	if (n == 1)
		return 1;
	if (s[0] == 0xe0)
		low = 0xa0; /* no overlong forms, no surrogates, nothing over U+10FFFF */
	else if (s[0] == 0xed)
		high = 0x9f;
	else if (s[0] == 0xf0)
		low = 0x90;
	else if (s[0] == 0xf4)
		high = 0x8f;
	if (s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++)
		if (s[i] < 0x80 || s[i] > 0xbf)
			return 0;
	return 1;
}

/* Sends the first n bytes of what is held. What is no UTF-8 becomes U+FFFD, a byte at a time; so does NUL, which the
 * client could not send back: requests with one are refused. */
static void emit(struct text *t, size_t n, struct buf *out)
{
	const unsigned char *s = (unsigned char *)t->held.data + t->held.at;

	for (size_t i = 0; i < n;) {
		size_t bytes = char_bytes(s[i]);

		if (s[i] && bytes && bytes <= n - i && is_char_start(s + i, bytes)) {
			buf_add(out, s + i, bytes);
			i += bytes;
		} else {
			buf_text(out, REPLACEMENT);
			i++;
		}
	}
	t->held.at += n;
}

/* Where the first stop string begins; n: nowhere. */
static size_t find_stop(const struct text *t, const char *s, size_t n)
{
	size_t first = n;

	for (unsigned k = 0; k < t->n_stop; k++) {
		size_t len = strlen(t->stop[k]);

		for (size_t i = 0; i + len <= n && i < first; i++)
			if (!memcmp(s + i, t->stop[k], len))
				first = i;
	}
	return first;
}

/* Whether some stop string begins with s[0..n). */
static int is_stop_start(const struct text *t, const char *s, size_t n)
{
	for (unsigned k = 0; k < t->n_stop; k++)
		if (strlen(t->stop[k]) > n && !memcmp(s, t->stop[k], n))
			return 1;
	return 0;
}

/* How many of the first n bytes may be sent whatever comes next. */
static size_t sendable(const struct text *t, const char *s, size_t n)
{
	size_t end = n;

	for (unsigned k = 0; k < t->n_stop; k++) {
		size_t len = strlen(t->stop[k]);

		for (size_t i = n >= len ? n - len + 1 : 0; i < end; i++)
			if (is_stop_start(t, s + i, n - i))
				end = i;
	}
	for (size_t tail = 1; tail < 4 && tail <= end; tail++) {
		const unsigned char *c = (const unsigned char *)s + end - tail;

		if (char_bytes(*c) > tail && is_char_start(c, tail))
			return end - tail;
	}
	return end;
}

int text_feed(struct text *t, const char *piece, size_t n, struct buf *out)
{
	const char *s;
	size_t left, at;

	buf_add(&t->held, piece, n);
	left = buf_left(&t->held);
	if (left == 0)
		return 0;
	s = t->held.data + t->held.at;
	at = find_stop(t, s, left);
	if (at < left) {
		emit(t, at, out);
		t->held.at = t->held.n;
		return 1;
	}
	emit(t, sendable(t, s, left), out);
	return 0;
}

void text_flush(struct text *t, struct buf *out)
{
	if (buf_left(&t->held))
		emit(t, buf_left(&t->held), out);
}

void text_free(struct text *t)
{
	buf_free(&t->held);
	for (unsigned k = 0; k < t->n_stop; k++)
		free(t->stop[k]);
	t->n_stop = 0;
}
