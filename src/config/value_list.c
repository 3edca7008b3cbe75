/* SPDX-License-Identifier: Apache-2.0 */
/* Lists and maps inside one value, quotes around one. See value_list.h and value.h. */
#include "config/value_list.h"

#include <stdio.h>
#include <string.h>

#include "config/number.h"
#include "config/quota.h"
#include "config/value.h"

void kvf_write_whole(char *text, bool negative, uint64_t whole)
{
	char digits[24];
	size_t n = 0;

	do {
		digits[n++] = (char)('0' + whole % 10);
		whole /= 10;
	} while (whole);
	if (negative)
		*text++ = '-';
	while (n > 0)
		*text++ = digits[--n];
	*text = '\0';
}

static bool is_whole(const char *s, size_t n)
{
	struct kvf_number number;

	return kvf_number_parse(s, n, &number) && number.plain && number.integral;
}

static int refuse(char *hint, size_t size, const char *text, size_t n, const char *why)
{
	snprintf(hint, size, "\"%.*s\" %s", (int)(n < 60 ? n : 60), text, why);
	return KVF_ECONFIG;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* A path loses file://, blanks at both ends and slashes at its end. Returns its new length. */
static size_t strip_path(char *s, size_t n)
{
	size_t from = n >= 7 && memcmp(s, "file://", 7) == 0 ? 7 : 0;

	while (from < n && is_blank(s[from]))
		from++;
	n -= from;
	memmove(s, s + from, n);
	while (n > 0 && (is_blank(s[n - 1]) || (n > 1 && s[n - 1] == '/')))
		n--;
	return n;
}

static int check_pair(const char *s, size_t n, char *hint, size_t size)
{
	const char *colon = memchr(s, ':', n);
	size_t left = colon ? (size_t)(colon - s) : 0;

	if (!colon || !is_whole(s, left) || !is_whole(colon + 1, n - left - 1))
		return refuse(hint, size, s, n, "is not a pair of whole numbers like 0:1");
	return KVF_OK;
}

static int check_element(enum kvf_key_type type, const char *s, size_t n, char *hint, size_t size)
{
	struct kvf_number number;

	switch (type) {
	case KVF_TYPE_INTS:
		return is_whole(s, n) ? KVF_OK : refuse(hint, size, s, n, "is not a whole number");
	case KVF_TYPE_NUMBERS:
		return kvf_number_parse(s, n, &number)
			       ? KVF_OK
			       : refuse(hint, size, s, n, "is not a number");
	case KVF_TYPE_INT_MAP:
		return check_pair(s, n, hint, size);
	case KVF_TYPE_GB_MAP:
		return kvf_quota_check(s, n, hint, size);
	case KVF_TYPE_PATHS:
		if (n == 0)
			return refuse(hint, size, s, n, "is no directory");
		if (memmem(s, n, "://", 3))
			return refuse(hint, size, s, n,
				"is a URL; a directory may only have file:// before it");
		return KVF_OK;
	default:
		return KVF_OK;
	}
}

/* Whether the element text[at..at+n) stands already in text[0..at), elements of which are separated
 * by commas. */
static bool is_repeated(const char *text, size_t at, size_t n)
{
	for (size_t i = 0; i < at;) {
		size_t m = strcspn(text + i, ",");

		if (i + m > at)
			m = at - i;
		if (m == n && memcmp(text + i, text + at, n) == 0)
			return true;
		i += m + 1;
	}
	return false;
}

static size_t squeeze(char *s, size_t n)
{
	size_t k = 0;

	for (size_t i = 0; i < n; i++)
		if (!is_blank(s[i]))
			s[k++] = s[i];
	return k;
}

int kvf_list_normalise(enum kvf_key_type type, char *text, char *hint, size_t size)
{
	char *in = text;
	size_t used = 0;

	for (;;) {
		size_t n = strcspn(in, ",");
		char *next = in[n] ? in + n + 1 : NULL;
		size_t at = used ? used + 1 : 0;
		int rc;

		for (; n > 0 && is_blank(*in); n--)
			in++;
		while (n > 0 && is_blank(in[n - 1]))
			n--;
		if (n > 0) {
			if (type == KVF_TYPE_PATHS)
				n = strip_path(in, n);
			else if (type == KVF_TYPE_INT_MAP)
				n = squeeze(in, n);
			rc = check_element(type, in, n, hint, size);
			if (rc != KVF_OK)
				return rc;
			memmove(text + at, in, n);
			if (at)
				text[used] = ',';
			if (type == KVF_TYPE_PATHS && is_repeated(text, at, n))
				return refuse(hint, size, text + at, n, "is named twice");
			if (type == KVF_TYPE_GB_MAP && kvf_quota_repeated(text, at, n)) {
				snprintf(hint, size, "a salt is named twice");
				return KVF_ECONFIG;
			}
			used = at + n;
		}
		if (!next)
			break;
		in = next;
	}
	text[used] = '\0';
	return KVF_OK;
}

static char unescape(char c)
{
	switch (c) {
	case 'n':
		return '\n';
	case 't':
		return '\t';
	case 'r':
		return '\r';
	default:
		return c;
	}
}

void kvf_value_unquote(char *text)
{
	size_t from = strspn(text, " \t\r\n");
	size_t n = strlen(text + from);
	size_t used = 0;
	char quote = text[from];

	while (n > 0 && strchr(" \t\r\n", text[from + n - 1]))
		n--;
	if (n < 2 || (quote != '"' && quote != '\'') || text[from + n - 1] != quote) {
		memmove(text, text + from, n);
		text[n] = '\0';
		return;
	}
	for (size_t i = 1; i < n - 1; i++) {
		char c = text[from + i];

		if (c == '\\' && i + 1 < n - 1) {
			char next = text[from + i + 1];

			if (strchr("\\'\"ntr", next)) {
				c = unescape(next);
				i++;
			}
		}
		text[used++] = c;
	}
	text[used] = '\0';
}
