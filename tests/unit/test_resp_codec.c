/* SPDX-License-Identifier: Apache-2.0 */
/* The RESP reader: every reply in pieces cut anywhere gives the same tokens; what is no RESP is found out. */
#include "tests/harness.h"
#include "tier/resp/codec.h"

#include <stdio.h>
#include <string.h>

/* Tokens as text, so that whole replies can be compared: kind, depth.index, value; '.' ends a reply, '!' marks a
 * push. */
struct script {
	char text[4096];
	size_t n;
	bool bad;
};

static void note(struct script *s, const struct kvf_resp_token *t, bool joined)
{
	static const char kinds[] = "?X+-:_$d;*";
	char value[300] = "";

	if (t->kind == KVF_RESP_DATA) {
		/* Pieces of a string join. */
		s->n += (size_t)snprintf(s->text + s->n, sizeof(s->text) - s->n, "%s%.*s", joined ? "" : "\"",
					 (int)t->n, t->text);
		return;
	}
	if (t->kind == KVF_RESP_STATUS || t->kind == KVF_RESP_ERROR)
		snprintf(value, sizeof(value), "%s", t->text);
	else if (t->kind == KVF_RESP_INTEGER || t->kind == KVF_RESP_BULK || t->kind == KVF_RESP_ARRAY)
		snprintf(value, sizeof(value), "%lld", (long long)t->number);
	s->n += (size_t)snprintf(s->text + s->n, sizeof(s->text) - s->n, "%s%c%u.%u%s%s%s ", joined ? "\" " : "",
				 kinds[t->kind], t->depth, t->index, value, t->push ? "!" : "", t->last ? "." : "");
}

/* Feeds data in pieces of the given sizes; with `direct` payload bytes are taken past the reader. */
static void feed(struct script *s, const char *data, size_t n, const size_t *cuts, size_t n_cuts, bool direct)
{
	struct kvf_resp_reader r;
	bool joined = false;
	size_t at = 0;

	memset(s, 0, sizeof(*s));
	kvf_resp_reader_init(&r);
	for (size_t i = 0; i <= n_cuts; i++) {
		size_t end = i < n_cuts ? cuts[i] : n;

		while (at < end) {
			struct kvf_resp_token t;
			uint64_t left = kvf_resp_bulk_left(&r);

			if (direct && left) {
				size_t k = left < end - at ? (size_t)left : end - at;

				t = (struct kvf_resp_token){ .kind = KVF_RESP_DATA, .text = data + at, .n = k };
				kvf_resp_took(&r, k);
				at += k;
			} else {
				at += kvf_resp_read(&r, data + at, end - at, &t);
			}
			if (t.kind == KVF_RESP_BAD) {
				s->bad = true;
				return;
			}
			if (t.kind == KVF_RESP_MORE)
				break;
			note(s, &t, joined);
			joined = t.kind == KVF_RESP_DATA;
		}
	}
}

static const struct {
	const char *wire;
	const char *tokens;
} cases[] = {
	{ "+OK\r\n", "+0.0OK. " },
	{ "-ERR no\r\n", "-0.0ERR no. " },
	{ ":12\r\n:-7\r\n", ":0.012. :0.0-7. " },
	{ "$-1\r\n_\r\n*-1\r\n", "_0.0. _0.0. _0.0. " },
	{ "$0\r\n\r\n", "$0.00 ;0.0. " },
	{ "$5\r\nhello\r\n", "$0.05 \"hello\" ;0.0. " },
	{ "$4\r\n\r\n\r\n\r\n", "$0.04 \"\r\n\r\n\" ;0.0. " },
	{ "=7\r\ntxt:abc\r\n", "$0.07 \"txt:abc\" ;0.0. " },
	{ "!9\r\nERR wrong\r\n", "-0.0ERR wrong. " },
	{ "#t\r\n#f\r\n", ":0.01. :0.00. " },
	{ ",1.5\r\n(123456789012345678901234567890\r\n", "+0.01.5. +0.0123456789012345678901234567890. " },
	{ "*0\r\n%0\r\n~0\r\n", "*0.00. *0.00. *0.00. " },
	{ "*3\r\n$2\r\nab\r\n$-1\r\n:5\r\n", "*0.03 $1.02 \"ab\" ;1.0 _1.1 :1.25. " },
	{ "*2\r\n*1\r\n:1\r\n*2\r\n:2\r\n+x\r\n:9\r\n", "*0.02 *1.01 :2.01 *1.12 :2.02 +2.1x. :0.09. " },
	{ "%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n", "*0.04 +1.0a :1.11 +1.2b *1.31 :2.02. " },
	{ ">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n+OK\r\n",
	  "*0.02! +1.0invalidate! *1.11! $2.01! \"k\" ;2.0!. +0.0OK. " },
	{ "|1\r\n+ttl\r\n:10\r\n$1\r\nx\r\n", "$0.01 \"x\" ;0.0. " },
	{ "*2\r\n|1\r\n+ttl\r\n*2\r\n:1\r\n:2\r\n:7\r\n:8\r\n", "*0.02 :1.07 :1.18. " },
	{ "|0\r\n:3\r\n", ":0.03. " },
	{ "|1\r\n$3\r\nabc\r\n|1\r\n+in\r\n+in\r\n+v\r\n:4\r\n", ":0.04. " },
};

static void test_every_split(void)
{
	for (size_t i = 0; i < KVF_ARRAY_LEN(cases); i++) {
		size_t n = strlen(cases[i].wire);
		struct script s;

		feed(&s, cases[i].wire, n, NULL, 0, false);
		CU_ASSERT_STRING_EQUAL(s.text, cases[i].tokens);
		if (strcmp(s.text, cases[i].tokens) != 0)
			fprintf(stderr, "want: %s\n got: %s\n", cases[i].tokens, s.text);
		for (size_t a = 0; a <= n; a++) {
			for (size_t b = a; b <= n; b++) {
				size_t cuts[2] = { a, b };

				feed(&s, cases[i].wire, n, cuts, 2, false);
				CU_ASSERT_STRING_EQUAL(s.text, cases[i].tokens);
			}
		}
	}
}

static void test_byte_by_byte(void)
{
	static char all[4096];
	static char want[4096];
	size_t cuts[4096];
	struct script s;

	for (size_t i = 0; i < KVF_ARRAY_LEN(cases); i++) {
		strncat(all, cases[i].wire, sizeof(all) - strlen(all) - 1);
		strncat(want, cases[i].tokens, sizeof(want) - strlen(want) - 1);
	}
	for (size_t i = 0; i < strlen(all); i++)
		cuts[i] = i + 1;
	feed(&s, all, strlen(all), cuts, strlen(all), false);
	CU_ASSERT_STRING_EQUAL(s.text, want);
}

/* Bytes that never went through the reader. */
static void test_direct(void)
{
	static const char wire[] = "*3\r\n$5\r\nhello\r\n$-1\r\n$3\r\nabc\r\n+OK\r\n";
	struct script s;

	for (size_t a = 0; a < sizeof(wire); a++) {
		feed(&s, wire, sizeof(wire) - 1, &a, 1, true);
		CU_ASSERT_STRING_EQUAL(s.text, "*0.03 $1.05 \"hello\" ;1.0 _1.1 $1.23 \"abc\" ;1.2. +0.0OK. ");
	}
}

static void test_no_resp(void)
{
	static const char *const wrong[] = {
		"HTTP/1.1 400\r\n", "\r\n",	   "$5\r\nhelloX\r\n", "$5\r\nhello\rX", "$-2\r\n",	"$x\r\n",
		"$\r\n",	    "*-2\r\n",	   "*99999999999\r\n", ":\r\n",		 ":1x\r\n",	"+OK\rX",
		"$4294967296\r\n",  "*2000000\r\n", "%-1\r\n",	       ">-1\r\n",	 "*1\r\n>0\r\n",
		"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", ":99999999999999999999999\r\n",
	};
	static char endless[KVF_RESP_LINE_MAX + 100];
	struct script s;

	for (size_t i = 0; i < KVF_ARRAY_LEN(wrong); i++) {
		for (size_t a = 0; a <= strlen(wrong[i]); a++) {
			feed(&s, wrong[i], strlen(wrong[i]), &a, 1, false);
			CU_ASSERT(s.bad);
			if (!s.bad)
				fprintf(stderr, "taken for RESP: %s\n", wrong[i]);
		}
	}
	memset(endless, 'x', sizeof(endless));
	endless[0] = '+';
	feed(&s, endless, sizeof(endless), NULL, 0, false);
	CU_ASSERT(s.bad);
	/* A long error is cut, not refused. */
	endless[0] = '-';
	memcpy(endless + 1000, "\r\n", 2);
	feed(&s, endless, 1002, NULL, 0, false);
	CU_ASSERT_FALSE(s.bad);
	CU_ASSERT(s.n > 200 && s.n < 300);
	/* A number of a thousand digits is no number. */
	memset(endless, '1', 1000);
	endless[0] = ':';
	feed(&s, endless, 1002, NULL, 0, false);
	CU_ASSERT(s.bad);
}

static void test_writer(void)
{
	static const char want[] = "*5\r\n$3\r\nSET\r\n$5\r\nabcde\r\n$10\r\n4294967296\r\n$2\r\n\r\n\r\n"
				   "$10\r\n0123456789\r\n";
	char buf[128];
	struct kvf_resp_writer w = { .buf = buf, .cap = sizeof(buf) };

	kvf_resp_put_head(&w, 5);
	kvf_resp_put_text(&w, "SET");
	kvf_resp_put_pair(&w, "ab", 2, "cde", 3);
	kvf_resp_put_number(&w, 4294967296u);
	kvf_resp_put_word(&w, "\r\n", 2);
	kvf_resp_put_length(&w, 10);
	kvf_resp_put_raw(&w, "0123456789\r\n", 12);
	CU_ASSERT_FALSE(w.full);
	CU_ASSERT_EQUAL(w.n, strlen(want));
	CU_ASSERT_NSTRING_EQUAL(buf, want, w.n);
	for (size_t cap = 0; cap < w.n; cap++) {
		struct kvf_resp_writer small = { .buf = buf, .cap = cap };

		kvf_resp_put_head(&small, 1);
		kvf_resp_put_text(&small, "a word that is too long for most of these, and then some more");
		CU_ASSERT(small.full);
		CU_ASSERT(small.n <= cap);
	}
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "every_split", test_every_split }, { "byte_by_byte", test_byte_by_byte }, { "direct", test_direct },
		{ "no_resp", test_no_resp },	     { "writer", test_writer },
	};

	return kvf_test_main("resp_codec", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
