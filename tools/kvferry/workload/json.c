/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON pull parser: see json.h. */
#include "workload/json.h"

#include <string.h>

enum state {
	S_VALUE, /* a value must come */
	S_FIRST_VALUE, /* a value or ] */
	S_FIRST_KEY, /* a key or } */
	S_KEY, /* a key must come */
	S_AFTER, /* , or the end of the container */
	S_TOP_DONE, /* nothing but white space */
	S_FAILED
};

void json_init(struct json *j, const char *buf, size_t len)
{
	memset(j, 0, sizeof(*j));
	j->buf = buf;
	j->len = len;
	j->state = S_VALUE;
}

static enum json_type fail(struct json *j, size_t offset, const char *why)
{
	j->state = S_FAILED;
	j->offset = offset;
	j->error = why;
	j->text = j->buf + offset;
	j->text_len = 0;
	return j->type = JSON_ERROR;
}

static bool in_object(const struct json *j)
{
	return j->depth > 0 && (j->is_object >> (j->depth - 1) & 1);
}

static void skip_space(struct json *j)
{
	while (j->pos < j->len) {
		char c = j->buf[j->pos];

		if (c != ' ' && c != '\t' && c != '\n' && c != '\r')
			return;
		j->pos++;
	}
}

static enum json_type token(struct json *j, enum json_type type, size_t start, size_t end)
{
	j->text = j->buf + start;
	j->text_len = end - start;
	return j->type = type;
}

static void value_done(struct json *j)
{
	j->state = j->depth == 0 ? S_TOP_DONE : S_AFTER;
}

static int hex4(const char *p)
{
	int v = 0;

	for (int i = 0; i < 4; i++) {
		char c = p[i];

		if (c >= '0' && c <= '9')
			v = v * 16 + (c - '0');
		else if (c >= 'a' && c <= 'f')
			v = v * 16 + (c - 'a' + 10);
		else if (c >= 'A' && c <= 'F')
			v = v * 16 + (c - 'A' + 10);
		else
			return -1;
	}
	return v;
}

/* Bytes of the \u escape(s) at p (6, or 12 for a pair) and its code point; 0 when malformed. */
static size_t unicode_escape(const char *p, size_t n, uint32_t *cp)
{
	int hi, lo;

	if (n < 6 || (hi = hex4(p + 2)) < 0 || (hi >= 0xdc00 && hi <= 0xdfff))
		return 0;
	*cp = (uint32_t)hi;
	if (hi < 0xd800 || hi > 0xdbff)
		return 6;
	if (n < 12 || p[6] != '\\' || p[7] != 'u' || (lo = hex4(p + 8)) < 0xdc00 || lo > 0xdfff)
		return 0;
	*cp = 0x10000 + (((uint32_t)hi - 0xd800) << 10) + ((uint32_t)lo - 0xdc00);
	return 12;
}

/* Bytes of the UTF-8 sequence at p that starts with a byte >= 0x80; 0 when malformed. */
static size_t utf8_sequence(const unsigned char *p, size_t n)
{
	size_t want = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
	unsigned char lo = 0x80, hi = 0xbf;

	if (p[0] < 0xc2 || p[0] > 0xf4 || n < want)
		return 0;
	if (p[0] == 0xe0)
		lo = 0xa0;
	else if (p[0] == 0xed)
		hi = 0x9f;
	else if (p[0] == 0xf0)
		lo = 0x90;
	else if (p[0] == 0xf4)
		hi = 0x8f;
	if (p[1] < lo || p[1] > hi)
		return 0;
	for (size_t i = 2; i < want; i++) {
		if (p[i] < 0x80 || p[i] > 0xbf)
			return 0;
	}
	return want;
}

static enum json_type read_string(struct json *j, enum json_type type)
{
	size_t start = j->pos + 1, i = start;

	while (i < j->len) {
		unsigned char c = (unsigned char)j->buf[i];
		size_t n = 1;
		uint32_t cp;

		if (c == '"') {
			j->pos = i + 1;
			return token(j, type, start, i);
		}
		if (c < 0x20)
			return fail(j, i, "control character in a string");
		if (c == '\\') {
			char e = i + 1 < j->len ? j->buf[i + 1] : 0;

			if (e == 'u')
				n = unicode_escape(j->buf + i, j->len - i, &cp);
			else
				n = e != 0 && strchr("\"\\/bfnrt", e) ? 2 : 0;
			if (n == 0)
				return fail(j, i, "bad escape in a string");
		} else if (c >= 0x80) {
			n = utf8_sequence((const unsigned char *)j->buf + i, j->len - i);
			if (n == 0)
				return fail(j, i, "bad UTF-8 in a string");
		}
		i += n;
	}
	return fail(j, j->pos, "string without end");
}

static size_t digits(const struct json *j, size_t i)
{
	while (i < j->len && j->buf[i] >= '0' && j->buf[i] <= '9')
		i++;
	return i;
}

static enum json_type read_number(struct json *j)
{
	size_t start = j->pos, i = start, from;

	if (j->buf[i] == '-')
		i++;
	from = i;
	i = digits(j, i);
	if (i == from || (j->buf[from] == '0' && i > from + 1))
		return fail(j, start, "bad number");
	if (i < j->len && j->buf[i] == '.') {
		from = ++i;
		i = digits(j, i);
		if (i == from)
			return fail(j, start, "bad number");
	}
	if (i < j->len && (j->buf[i] == 'e' || j->buf[i] == 'E')) {
		i++;
		if (i < j->len && (j->buf[i] == '+' || j->buf[i] == '-'))
			i++;
		from = i;
		i = digits(j, i);
		if (i == from)
			return fail(j, start, "bad number");
	}
	j->pos = i;
	value_done(j);
	return token(j, JSON_NUMBER, start, i);
}

static enum json_type read_word(struct json *j, const char *word, enum json_type type)
{
	size_t n = strlen(word), start = j->pos;

	if (j->len - start < n || memcmp(j->buf + start, word, n) != 0)
		return fail(j, start, "unknown word");
	j->pos += n;
	value_done(j);
	return token(j, type, start, start + n);
}

static enum json_type open_container(struct json *j, bool object)
{
	if (j->depth == JSON_MAX_DEPTH)
		return fail(j, j->pos, "nested too deeply");
	j->is_object &= ~(UINT32_C(1) << j->depth);
	j->is_object |= (uint32_t)object << j->depth;
	j->depth++;
	j->pos++;
	j->state = object ? S_FIRST_KEY : S_FIRST_VALUE;
	return token(j, object ? JSON_OBJECT : JSON_ARRAY, j->pos - 1, j->pos);
}

static enum json_type close_container(struct json *j)
{
	bool object = in_object(j);

	if (j->buf[j->pos] != (object ? '}' : ']'))
		return fail(j, j->pos, object ? "expected } here" : "expected ] here");
	j->depth--;
	j->pos++;
	value_done(j);
	return token(j, object ? JSON_OBJECT_END : JSON_ARRAY_END, j->pos - 1, j->pos);
}

static enum json_type read_value(struct json *j)
{
	char c = j->buf[j->pos];
	enum json_type type;

	switch (c) {
	case '{':
	case '[':
		return open_container(j, c == '{');
	case '"':
		type = read_string(j, JSON_STRING);
		if (type == JSON_STRING)
			value_done(j);
		return type;
	case 't':
		return read_word(j, "true", JSON_TRUE);
	case 'f':
		return read_word(j, "false", JSON_FALSE);
	case 'n':
		return read_word(j, "null", JSON_NULL);
	default:
		if (c == '-' || (c >= '0' && c <= '9'))
			return read_number(j);
		return fail(j, j->pos, "expected a value here");
	}
}

static enum json_type read_key(struct json *j)
{
	size_t start = j->pos;

	if (j->buf[j->pos] != '"')
		return fail(j, j->pos, "expected a key in quotes here");
	if (read_string(j, JSON_KEY) == JSON_ERROR)
		return JSON_ERROR;
	skip_space(j);
	if (j->pos >= j->len || j->buf[j->pos] != ':')
		return fail(j, start, "key without a colon");
	j->pos++;
	j->state = S_VALUE;
	return JSON_KEY;
}

enum json_type json_next(struct json *j)
{
	char c;

	if (j->state == S_FAILED)
		return JSON_ERROR;
	skip_space(j);
	j->offset = j->pos;
	if (j->state == S_TOP_DONE) {
		if (j->pos < j->len)
			return fail(j, j->pos, "text after the end of the document");
		return token(j, JSON_END, j->pos, j->pos);
	}
	if (j->pos >= j->len)
		return fail(j, j->len, "the document ends too early");
	c = j->buf[j->pos];
	if (j->state == S_AFTER) {
		if (c != ',')
			return close_container(j);
		j->pos++;
		skip_space(j);
		if (j->pos >= j->len)
			return fail(j, j->len, "the document ends too early");
		j->offset = j->pos;
		j->state = in_object(j) ? S_KEY : S_VALUE;
	} else if ((j->state == S_FIRST_KEY && c == '}') ||
		   (j->state == S_FIRST_VALUE && c == ']')) {
		return close_container(j);
	}
	if (j->state == S_KEY || j->state == S_FIRST_KEY)
		return read_key(j);
	return read_value(j);
}

int json_skip(struct json *j)
{
	unsigned base;

	if (j->type == JSON_KEY)
		json_next(j);
	if (j->type != JSON_OBJECT && j->type != JSON_ARRAY)
		return j->type == JSON_ERROR ? -1 : 0;
	base = j->depth - 1;
	do {
		if (json_next(j) == JSON_ERROR)
			return -1;
	} while (j->depth > base);
	return 0;
}

static size_t encode_utf8(uint32_t cp, char *out)
{
	if (cp < 0x80) {
		out[0] = (char)cp;
		return 1;
	}
	if (cp < 0x800) {
		out[0] = (char)(0xc0 | cp >> 6);
		out[1] = (char)(0x80 | (cp & 0x3f));
		return 2;
	}
	if (cp < 0x10000) {
		out[0] = (char)(0xe0 | cp >> 12);
		out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
		out[2] = (char)(0x80 | (cp & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | cp >> 18);
	out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
	out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
	out[3] = (char)(0x80 | (cp & 0x3f));
	return 4;
}

/* The character at text[*i], unescaped into out[4]; moves *i on. The string was checked when it was
 * read. */
static size_t unescape(const struct json *j, size_t *i, char *out)
{
	static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
	const char *p = j->text + *i, *hit;
	uint32_t cp = 0;

	if (p[0] != '\\') {
		out[0] = p[0];
		*i += 1;
		return 1;
	}
	if (p[1] == 'u') {
		*i += unicode_escape(p, j->text_len - *i, &cp);
		return encode_utf8(cp, out);
	}
	hit = strchr(from, p[1]);
	out[0] = hit ? to[hit - from] : p[1];
	*i += 2;
	return 1;
}

bool json_equal(const struct json *j, const char *text)
{
	size_t i = 0, at = 0, len = strlen(text);
	char c[4];

	if (j->type != JSON_KEY && j->type != JSON_STRING)
		return false;
	while (i < j->text_len) {
		size_t n = unescape(j, &i, c);

		if (len - at < n || memcmp(text + at, c, n) != 0)
			return false;
		at += n;
	}
	return at == len;
}

int json_copy(const struct json *j, char *dst, size_t size)
{
	size_t i = 0, at = 0;
	int rc = 0;
	char c[4];

	while (i < j->text_len) {
		size_t n = unescape(j, &i, c);

		if (at + n + 1 > size || c[0] == 0) {
			rc = -1;
			break;
		}
		memcpy(dst + at, c, n);
		at += n;
	}
	dst[at] = 0;
	return rc;
}

/* v * 10, or -1 when it passes UINT64_MAX. */
static int times10(uint64_t *v)
{
	if (*v > UINT64_MAX / 10)
		return -1;
	*v *= 10;
	return 0;
}

/* Mantissa and power of ten of a number; digits past the 19th are dropped, which *inexact says. */
static void mantissa(const struct json *j, uint64_t *m, int64_t *exp10, bool *inexact)
{
	bool fraction = false;
	int64_t e = 0;
	size_t i;

	*m = 0;
	*exp10 = 0;
	*inexact = false;
	for (i = 0; i < j->text_len && j->text[i] != 'e' && j->text[i] != 'E'; i++) {
		char c = j->text[i];

		if (c == '.') {
			fraction = true;
			continue;
		}
		if (*m >= UINT64_C(1000000000000000000)) {
			*inexact = *inexact || c != '0';
			*exp10 += !fraction;
			continue;
		}
		*m = *m * 10 + (uint64_t)(c - '0');
		*exp10 -= fraction;
	}
	if (i < j->text_len) {
		bool minus = j->text[++i] == '-';

		i += minus || j->text[i] == '+';
		for (; i < j->text_len; i++)
			e = e < 100000 ? e * 10 + (j->text[i] - '0') : e;
		*exp10 += minus ? -e : e;
	}
}

int json_scaled(const struct json *j, uint64_t unit, uint64_t max, uint64_t *out)
{
	uint64_t m, rest = 0;
	bool inexact, whole = unit == 1;
	int64_t e;

	if (j->type != JSON_NUMBER || j->text[0] == '-')
		return -1;
	mantissa(j, &m, &e, &inexact);
	/* Whole powers of ten of the unit pair off with negative exponents, so that no digit is
	 * lost early. */
	while (e < 0 && unit % 10 == 0) {
		unit /= 10;
		e++;
	}
	for (; e < 0 && m != 0; e++) {
		rest |= m % 10;
		m /= 10;
	}
	for (; e > 0 && m != 0; e--) {
		if (times10(&m) != 0)
			return -1;
	}
	if (whole && (rest != 0 || inexact))
		return -1;
	if (m > UINT64_MAX / unit || m * unit > max)
		return -1;
	*out = m * unit;
	return 0;
}

void json_locate(const char *buf, size_t len, size_t offset, size_t *line, size_t *column)
{
	size_t start = 0;

	*line = 1;
	for (size_t i = 0; i < offset && i < len; i++) {
		if (buf[i] == '\n') {
			++*line;
			start = i + 1;
		}
	}
	*column = offset - start + 1;
}

const char *json_type_name(enum json_type type)
{
	static const char *const names[] = {"the end", "an error", "an object",
		"the end of an object", "an array", "the end of an array", "a key", "a string",
		"a number", "true", "false", "null"};

	return names[type];
}
