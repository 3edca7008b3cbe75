/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wire of Redis, without any I/O: what a server says (RESP2 and RESP3) as a stream of tokens, and what it is told.
 *
 * The reader takes bytes in pieces of any size. It never buffers a payload: inside a bulk string it hands out the
 * bytes as they lie in its input, or the owner puts them where they belong by itself and says how many there were
 * (kvf_resp_took()), which is how a value goes from the socket into its slot. Attributes are swallowed and pushes are
 * marked, so that what comes out is one reply for each command, in order.
 */
#ifndef KVF_TIER_RESP_CODEC_H
#define KVF_TIER_RESP_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KVF_RESP_DEPTH 8
#define KVF_RESP_LINE 256		 /* bytes of a line that are kept; what is longer is cut */
#define KVF_RESP_LINE_MAX 65536		 /* a longer line is no Redis */
#define KVF_RESP_BULK_MAX INT64_C(0xffffffff)
#define KVF_RESP_ITEMS_MAX 1048576

enum kvf_resp_kind {
	KVF_RESP_MORE = 0, /* the input is used up */
	KVF_RESP_BAD,	   /* not RESP: the connection is of no use any more; stays so */
	KVF_RESP_STATUS,   /* +OK, and everything else that is one line: doubles, big numbers */
	KVF_RESP_ERROR,	   /* -ERR ..., !: text is its beginning */
	KVF_RESP_INTEGER,  /* :1, #t */
	KVF_RESP_NIL,
	KVF_RESP_BULK,	   /* a string of `number` bytes begins; KVF_RESP_DATA follow, then KVF_RESP_END */
	KVF_RESP_DATA,	   /* text: some of its bytes, in the input */
	KVF_RESP_END,
	KVF_RESP_ARRAY	   /* `number` elements follow, one level deeper; of a map: keys and values */
};

struct kvf_resp_token {
	enum kvf_resp_kind kind;
	uint32_t depth;	  /* 0: a reply itself, 1: an element of it, ... */
	uint32_t index;	  /* of the element in its array */
	bool last;	  /* with it a whole reply is over */
	bool push;	  /* part of a push: nobody asked for it, and its `last` ends no reply */
	int64_t number;
	const char *text; /* STATUS, ERROR: NUL-terminated, until the next call. DATA: in the input */
	size_t n;
};

struct kvf_resp_level {
	uint64_t left;	/* elements still to come */
	uint32_t index; /* of the next one */
	char type;
};

struct kvf_resp_reader {
	struct kvf_resp_level level[KVF_RESP_DEPTH + 1];
	uint32_t depth;	   /* levels in use */
	uint32_t quiet;	   /* > 0: levels above this depth belong to an attribute and are swallowed */
	uint8_t state;
	char type;	   /* of the line being read */
	bool blob_error;   /* the bulk string is an error's text */
	bool bad;
	uint64_t bulk_left;
	size_t line_n, line_seen;
	char line[KVF_RESP_LINE];
};

void kvf_resp_reader_init(struct kvf_resp_reader *r);
/* Reads at most one token from data[0..n). Returns the bytes used; token->kind tells what came. */
size_t kvf_resp_read(struct kvf_resp_reader *r, const char *data, size_t n, struct kvf_resp_token *token);
/* Bytes that are missing of the bulk string being read; 0 outside one. */
uint64_t kvf_resp_bulk_left(const struct kvf_resp_reader *r);
/* The owner took n <= kvf_resp_bulk_left() of them past the reader. */
void kvf_resp_took(struct kvf_resp_reader *r, uint64_t n);
/* Nothing of a reply was read yet. */
bool kvf_resp_between(const struct kvf_resp_reader *r);

/* ---- commands ---- */

/* Text being put together in a caller's buffer. What does not fit makes it `full`, and nothing more is written. */
struct kvf_resp_writer {
	char *buf;
	size_t cap, n;
	bool full;
};

/* *n: the head of a command of n words. */
void kvf_resp_put_head(struct kvf_resp_writer *w, unsigned n);
void kvf_resp_put_word(struct kvf_resp_writer *w, const void *word, size_t n);
/* One word in two parts. */
void kvf_resp_put_pair(struct kvf_resp_writer *w, const void *a, size_t n_a, const void *b, size_t n_b);
void kvf_resp_put_text(struct kvf_resp_writer *w, const char *word);
void kvf_resp_put_number(struct kvf_resp_writer *w, uint64_t number);
/* The head of a word whose n bytes and CRLF follow by other ways. */
void kvf_resp_put_length(struct kvf_resp_writer *w, uint64_t n);
void kvf_resp_put_raw(struct kvf_resp_writer *w, const void *p, size_t n);

#endif
