/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes that grow at the end and are taken from the front. Out of memory is remembered, not returned by every call. */
#ifndef EXAMPLES_LLAMA_SERVER_BUF_H
#define EXAMPLES_LLAMA_SERVER_BUF_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct buf {
	char *data; /* [at, n) is there */
	size_t at, n, cap;
	int failed; /* an append did not happen */
};

static inline size_t buf_left(const struct buf *b)
{
	return b->n - b->at;
}

static inline void buf_free(struct buf *b)
{
	free(b->data);
	memset(b, 0, sizeof(*b));
}

/* Room for n more bytes at data + n. NULL: out of memory. */
static inline char *buf_room(struct buf *b, size_t n)
{
	char *data;
	size_t cap;

	if (b->at == b->n)
		b->at = b->n = 0;
	if (n <= b->cap - b->n)
		return b->data + b->n;
	for (cap = b->cap ? b->cap : 256; cap - b->n < n; cap *= 2)
		;
	data = realloc(b->data, cap);
	if (!data) {
		b->failed = 1;
		return NULL;
	}
	b->data = data;
	b->cap = cap;
	return data + b->n;
}

static inline void buf_add(struct buf *b, const void *bytes, size_t n)
{
	char *to = n ? buf_room(b, n) : NULL;

	if (to) {
		memcpy(to, bytes, n);
		b->n += n;
	}
}

static inline void buf_text(struct buf *b, const char *text)
{
	buf_add(b, text, strlen(text));
}

static inline void __attribute__((format(printf, 2, 3))) buf_printf(struct buf *b, const char *format, ...)
{
	va_list ap;
	char *to;
	int n;

	va_start(ap, format);
	n = vsnprintf(NULL, 0, format, ap);
	va_end(ap);
	to = n < 0 ? NULL : buf_room(b, (size_t)n + 1);
	if (!to)
		return;
	va_start(ap, format);
	vsnprintf(to, (size_t)n + 1, format, ap);
	va_end(ap);
	b->n += (size_t)n;
}

#endif
