/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the pieces of tokens to text that may be sent: whole UTF-8 characters only (a character may span tokens, and a
 * model may write what is no UTF-8), and nothing of a stop string, which may begin in one token and end in another.
 */
#ifndef EXAMPLES_LLAMA_SERVER_TEXT_H
#define EXAMPLES_LLAMA_SERVER_TEXT_H

#include "buf.h"

#define TEXT_STOPS 4u

struct text {
	struct buf held; /* came in, may not be sent yet */
	char *stop[TEXT_STOPS];
	unsigned n_stop;
};

/* Adds a piece; what may be sent by now is added to out. 1: a stop string came, there is no more text. */
int text_feed(struct text *t, const char *piece, size_t n, struct buf *out);
/* The end came otherwise: whatever is held is sent. */
void text_flush(struct text *t, struct buf *out);
void text_free(struct text *t);

#endif
