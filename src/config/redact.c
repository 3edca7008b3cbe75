/* SPDX-License-Identifier: Apache-2.0 */
/* What may be shown of a value. Free maps may carry anything, so names count as well as the
 * schema's mark. */
#include "config/value.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/compiler.h"

static bool sounds_secret(const char *s)
{
	static const char *const words[] = {"passw", "passphrase", "secret", "token_", "_token",
		"credential", "access_key", "accesskey", "apikey", "api_key", "private_key",
		"auth_token", "bearer", "pwd", "sas_token", "connection_string"};

	for (size_t i = 0; i < KVF_ARRAY_LEN(words); i++)
		if (strcasestr(s, words[i]))
			return true;
	return strcasecmp(s, "token") == 0 || strcasecmp(s, "auth") == 0;
}

/* Names that end so hold a path or a switch, not the secret itself. */
static bool is_pointer_to_secret(const char *name)
{
	size_t n = strlen(name);

	return n > 5 && strcasecmp(name + n - 5, "_file") == 0;
}

struct sink {
	char *buf;
	size_t size;
	size_t used;
};

static void put(struct sink *out, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++, out->used++)
		if (out->used + 1 < out->size)
			out->buf[out->used] = s[i];
}

/* Copies text; in each "scheme://user:password@" the password becomes ***. */
static void put_scrubbed(struct sink *out, const char *s)
{
	const char *mark;

	while ((mark = strstr(s, "://")) != NULL) {
		const char *authority = mark + 3;
		size_t n = strcspn(authority, "/ \t");
		const char *at = memrchr(authority, '@', n);
		/* A password may hold a slash that nobody encoded: look on to the last @ of the
		 * word. */
		size_t word = strcspn(authority, " \t,");
		const char *late = memrchr(authority, '@', word);

		if (!at)
			at = late;
		if (!at) {
			put(out, s, (size_t)(authority - s));
			s = authority;
			continue;
		}
		if (late && late > at)
			at = late;
		const char *colon = memchr(authority, ':', (size_t)(at - authority));

		/* "redis://secret@host" is a password alone, in the reading of some clients. */
		put(out, s, (size_t)((colon ? colon + 1 : authority) - s));
		put(out, "***", 3);
		s = at;
	}
	put(out, s, strlen(s));
}

size_t kvf_value_redact(
	const struct kvf_key *key, const char *name, const char *text, char *buf, size_t size)
{
	struct sink out = {buf, size, 0};
	bool secret = key && (key->flags & KVF_KEY_SECRET);
	bool open = !key || key->type == KVF_TYPE_ANY || (key->flags & KVF_KEY_PREFIX);

	if (!secret && open && !is_pointer_to_secret(name))
		secret = sounds_secret(name) || sounds_secret(text);
	if (secret)
		put(&out, "***", 3);
	else
		put_scrubbed(&out, text);
	if (size)
		buf[out.used < size ? out.used : size - 1] = '\0';
	return out.used;
}
