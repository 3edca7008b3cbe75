/* SPDX-License-Identifier: Apache-2.0 */
/* RESP2 and RESP3 as tokens, and commands as text. See codec.h. */
#include "tier/resp/codec.h"

#include <string.h>

#include "base/compiler.h"

enum state { AT_TYPE = 0, IN_LINE, AT_LF, IN_BULK, BULK_CR, BULK_LF };

void kvf_resp_reader_init(struct kvf_resp_reader *r)
{
	memset(r, 0, sizeof(*r));
}

uint64_t kvf_resp_bulk_left(const struct kvf_resp_reader *r)
{
	return r->state == IN_BULK ? r->bulk_left : 0;
}

static void bulk_progress(struct kvf_resp_reader *r, uint64_t n)
{
	r->bulk_left -= n;
	if (!r->bulk_left)
		r->state = BULK_CR;
}

void kvf_resp_took(struct kvf_resp_reader *r, uint64_t n)
{
	if (n && r->state == IN_BULK && n <= r->bulk_left)
		bulk_progress(r, n);
}

bool kvf_resp_between(const struct kvf_resp_reader *r)
{
	return r->state == AT_TYPE && !r->depth;
}

static void fail(struct kvf_resp_reader *r, struct kvf_resp_token *t)
{
	r->bad = true;
	t->kind = KVF_RESP_BAD;
	t->last = false;
}

/* ---- levels ---- */

static bool in_push(const struct kvf_resp_reader *r)
{
	return r->depth && r->level[0].type == '>';
}

/* An element is complete: closes the levels that are full with it. True: a whole reply is over. An attribute is no
 * element: what it belongs to is still to come. */
static bool element_done(struct kvf_resp_reader *r)
{
	while (r->depth) {
		struct kvf_resp_level *top = &r->level[r->depth - 1];

		top->index++;
		if (--top->left)
			return false;
		r->depth--;
		if (top->type == '|') {
			if (r->depth < r->quiet)
				r->quiet = 0;
			return false;
		}
	}
	return true;
}

static bool open_level(struct kvf_resp_reader *r, char type, uint64_t n)
{
	if (r->depth == KVF_RESP_DEPTH)
		return false;
	r->level[r->depth++] = (struct kvf_resp_level){ .left = n, .type = type };
	if (type == '|' && !r->quiet)
		r->quiet = r->depth;
	return true;
}

/* Where the next element stands. */
static void place(const struct kvf_resp_reader *r, struct kvf_resp_token *t)
{
	t->depth = r->depth;
	t->index = r->depth ? r->level[r->depth - 1].index : 0;
	t->push = in_push(r);
}

/* ---- lines ---- */

static bool parse_number(const char *s, int64_t *out)
{
	bool negative = *s == '-';
	uint64_t v = 0;

	s += negative || *s == '+';
	if (!*s)
		return false;
	for (; *s; s++) {
		if (*s < '0' || *s > '9' || v > (UINT64_MAX - 9) / 10)
			return false;
		v = v * 10 + (uint64_t)(*s - '0');
	}
	if (v > (uint64_t)INT64_MAX)
		return false;
	*out = negative ? -(int64_t)v : (int64_t)v;
	return true;
}

/* The element is this line alone. */
static void scalar(struct kvf_resp_reader *r, struct kvf_resp_token *t, enum kvf_resp_kind kind)
{
	t->kind = kind;
	t->text = r->line;
	t->n = r->line_n;
	place(r, t);
	t->last = element_done(r);
}

static void begin_bulk(struct kvf_resp_reader *r, struct kvf_resp_token *t)
{
	int64_t n;

	if (!parse_number(r->line, &n) || n < -1 || n > KVF_RESP_BULK_MAX) {
		fail(r, t);
		return;
	}
	if (n < 0) {
		scalar(r, t, KVF_RESP_NIL);
		return;
	}
	r->blob_error = r->type == '!';
	r->bulk_left = (uint64_t)n;
	r->state = n ? IN_BULK : BULK_CR;
	r->line_n = 0;
	t->kind = KVF_RESP_BULK;
	t->number = n;
	place(r, t);
}

static void begin_array(struct kvf_resp_reader *r, struct kvf_resp_token *t)
{
	bool pairs = r->type == '%' || r->type == '|';
	int64_t n;

	if (!parse_number(r->line, &n) || n < -1 || n > KVF_RESP_ITEMS_MAX || (n < 0 && r->type != '*') ||
	    (r->type == '>' && r->depth)) {
		fail(r, t);
		return;
	}
	if (n < 0) {
		scalar(r, t, KVF_RESP_NIL);
		return;
	}
	t->kind = KVF_RESP_ARRAY;
	t->number = pairs ? 2 * n : n;
	place(r, t);
	t->push |= r->type == '>';
	if (!n && r->type == '|')
		return; /* an empty attribute is nothing at all */
	if (!n)
		t->last = element_done(r);
	else if (!open_level(r, r->type, (uint64_t)t->number))
		fail(r, t);
}

static void end_line(struct kvf_resp_reader *r, struct kvf_resp_token *t)
{
	r->state = AT_TYPE;
	r->line[r->line_n] = '\0';
	switch (r->type) {
	case '+':
	case ',':
	case '(':
		scalar(r, t, KVF_RESP_STATUS);
		break;
	case '-':
		scalar(r, t, KVF_RESP_ERROR);
		break;
	case '_':
		scalar(r, t, KVF_RESP_NIL);
		break;
	case '#':
		t->number = r->line[0] == 't';
		scalar(r, t, KVF_RESP_INTEGER);
		break;
	case ':':
		if (parse_number(r->line, &t->number))
			scalar(r, t, KVF_RESP_INTEGER);
		else
			fail(r, t);
		break;
	case '$':
	case '=':
	case '!':
		begin_bulk(r, t);
		break;
	default: /* * % ~ > | */
		begin_array(r, t);
	}
}

/* Up to and with the CR. */
static size_t take_line(struct kvf_resp_reader *r, const char *data, size_t n, struct kvf_resp_token *t)
{
	const char *cr = memchr(data, '\r', n);
	size_t len = cr ? (size_t)(cr - data) : n;
	size_t keep = kvf_min_u64(len, sizeof(r->line) - 1 - r->line_n);

	memcpy(r->line + r->line_n, data, keep);
	r->line_n += keep;
	r->line_seen += len;
	/* A number or length that was cut would be another one. */
	if (r->line_seen > KVF_RESP_LINE_MAX || (r->line_seen > r->line_n && !strchr("+-,(", r->type)))
		fail(r, t);
	if (!cr)
		return n;
	r->state = AT_LF;
	return len + 1;
}

static size_t take_bulk(struct kvf_resp_reader *r, const char *data, size_t n, struct kvf_resp_token *t)
{
	size_t take = kvf_min_u64(n, r->bulk_left);
	size_t keep;

	if (r->blob_error) {
		keep = kvf_min_u64(take, sizeof(r->line) - 1 - r->line_n);
		memcpy(r->line + r->line_n, data, keep);
		r->line_n += keep;
	}
	t->kind = KVF_RESP_DATA;
	t->text = data;
	t->n = take;
	place(r, t);
	bulk_progress(r, take);
	return take;
}

static void end_bulk(struct kvf_resp_reader *r, struct kvf_resp_token *t)
{
	r->state = AT_TYPE;
	r->line[r->line_n] = '\0';
	scalar(r, t, r->blob_error ? KVF_RESP_ERROR : KVF_RESP_END);
}

/* One step; a token may come out of it. */
static size_t step(struct kvf_resp_reader *r, const char *data, size_t n, struct kvf_resp_token *t)
{
	switch ((enum state)r->state) {
	case AT_TYPE:
		if (!strchr("+-:$*_#,(=!%~>|", *data) || !*data) {
			fail(r, t);
			return 0;
		}
		r->type = *data;
		r->line_n = r->line_seen = 0;
		r->blob_error = false;
		r->state = IN_LINE;
		return 1;
	case IN_LINE:
		return take_line(r, data, n, t);
	case AT_LF:
		if (*data == '\n')
			end_line(r, t);
		else
			fail(r, t);
		return 1;
	case IN_BULK:
		return take_bulk(r, data, n, t);
	case BULK_CR:
		if (*data == '\r')
			r->state = BULK_LF;
		else
			fail(r, t);
		return 1;
	case BULK_LF:
		if (*data == '\n')
			end_bulk(r, t);
		else
			fail(r, t);
		return 1;
	}
	fail(r, t);
	return 0;
}

size_t kvf_resp_read(struct kvf_resp_reader *r, const char *data, size_t n, struct kvf_resp_token *t)
{
	size_t used = 0;

	memset(t, 0, sizeof(*t));
	while (used < n && !r->bad) {
		bool quiet = r->quiet;

		used += step(r, data + used, n - used, t);
		if (t->kind == KVF_RESP_MORE || t->kind == KVF_RESP_BAD)
			continue;
		/* Of an attribute nothing is shown, and nothing of the bulk string of an error but the error. */
		if (quiet || r->quiet || (r->blob_error && t->kind != KVF_RESP_ERROR) ||
		    (t->kind == KVF_RESP_ARRAY && r->type == '|')) {
			memset(t, 0, sizeof(*t));
			continue;
		}
		return used;
	}
	if (r->bad)
		t->kind = KVF_RESP_BAD;
	return used;
}

/* ---- commands ---- */

void kvf_resp_put_raw(struct kvf_resp_writer *w, const void *p, size_t n)
{
	if (w->full || n > w->cap - w->n) {
		w->full = true;
		return;
	}
	memcpy(w->buf + w->n, p, n);
	w->n += n;
}

static void put_count(struct kvf_resp_writer *w, char type, uint64_t n)
{
	char text[24];
	size_t at = sizeof(text);

	text[--at] = '\n';
	text[--at] = '\r';
	do {
		text[--at] = (char)('0' + n % 10);
		n /= 10;
	} while (n);
	text[--at] = type;
	kvf_resp_put_raw(w, text + at, sizeof(text) - at);
}

void kvf_resp_put_head(struct kvf_resp_writer *w, unsigned n)
{
	put_count(w, '*', n);
}

void kvf_resp_put_length(struct kvf_resp_writer *w, uint64_t n)
{
	put_count(w, '$', n);
}

void kvf_resp_put_pair(struct kvf_resp_writer *w, const void *a, size_t n_a, const void *b, size_t n_b)
{
	put_count(w, '$', (uint64_t)n_a + n_b);
	kvf_resp_put_raw(w, a, n_a);
	if (n_b)
		kvf_resp_put_raw(w, b, n_b);
	kvf_resp_put_raw(w, "\r\n", 2);
}

void kvf_resp_put_word(struct kvf_resp_writer *w, const void *word, size_t n)
{
	kvf_resp_put_pair(w, word, n, NULL, 0);
}

void kvf_resp_put_text(struct kvf_resp_writer *w, const char *word)
{
	kvf_resp_put_pair(w, word, strlen(word), NULL, 0);
}

void kvf_resp_put_number(struct kvf_resp_writer *w, uint64_t number)
{
	char text[24];
	size_t at = sizeof(text);

	do {
		text[--at] = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	kvf_resp_put_word(w, text + at, sizeof(text) - at);
}
