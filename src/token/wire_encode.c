/* SPDX-License-Identifier: Apache-2.0 */
/* Canonical CBOR (RFC 8949, section 4.2) and pickle protocol 5 of a chunk. */
#include "token/wire_encode.h"

/* CBOR major types, in the upper three bits. */
enum { CBOR_UINT = 0x00, CBOR_BYTES = 0x40, CBOR_TEXT = 0x60, CBOR_ARRAY = 0x80, CBOR_NONE = 0xf6 };

/* Opcodes of the pickle machine. */
enum {
	OP_PROTO = 0x80,
	OP_FRAME = 0x95,
	OP_MARK = '(',
	OP_BININT1 = 'K',
	OP_BININT2 = 'M',
	OP_BININT = 'J',
	OP_LONG1 = 0x8a,
	OP_SHORT_BINBYTES = 'C',
	OP_SHORT_BINUNICODE = 0x8c,
	OP_EMPTY_TUPLE = ')',
	OP_TUPLE = 't',
	OP_TUPLE1 = 0x85, /* OP_TUPLE2 and OP_TUPLE3 follow it */
	OP_TUPLE3 = 0x87,
	OP_NONE = 'N',
	OP_MEMOIZE = 0x94,
	OP_STOP = '.'
};

#define PICKLE_PROTOCOL 5
#define PICKLE_FRAME 65536 /* a frame that has reached this is closed before the next object */
#define PICKLE_TUPLE_TAIL 2
#define PICKLE_THIRD_TAIL 4 /* third element, TUPLE3, MEMOIZE, STOP */

static size_t put_be(uint8_t *p, uint64_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
	return bytes;
}

static size_t put_le(uint8_t *p, uint64_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> (8 * i));
	return bytes;
}

static void cbor_head(struct kvf_wire_digest *d, uint8_t major, uint64_t v)
{
	uint8_t *p = kvf_wire_digest_room(d);
	unsigned shift = v < 24		   ? 0
			 : v <= UINT8_MAX  ? 1
			 : v <= UINT16_MAX ? 2
			 : v <= UINT32_MAX ? 3
					   : 4;

	if (shift == 0) {
		p[0] = (uint8_t)(major | v);
		kvf_wire_digest_took(d, 1);
		return;
	}
	p[0] = (uint8_t)(major | (23 + shift));
	kvf_wire_digest_took(d, 1 + put_be(p + 1, v, 1u << (shift - 1)));
}

static void cbor_prefix(struct kvf_wire_digest *d, const struct kvf_wire_hash *prefix)
{
	if (prefix->kind == KVF_WIRE_BYTES) {
		cbor_head(d, CBOR_BYTES, prefix->size);
		kvf_wire_digest_put(d, prefix->bytes, prefix->size);
	} else {
		cbor_head(d, CBOR_UINT, prefix->number);
	}
}

void kvf_wire_cbor_chunk(struct kvf_wire_digest *d, const struct kvf_wire_hash *prefix,
	const uint32_t *tokens, size_t n, enum kvf_wire_third third)
{
	uint8_t end = third == KVF_WIRE_THIRD_NONE ? CBOR_NONE : CBOR_ARRAY;

	cbor_head(d, CBOR_ARRAY, 3);
	cbor_prefix(d, prefix);
	cbor_head(d, CBOR_ARRAY, n);
	for (size_t i = 0; i < n; i++)
		cbor_head(d, CBOR_UINT, tokens[i]);
	kvf_wire_digest_put(d, &end, 1);
}

void kvf_wire_cbor_text(struct kvf_wire_digest *d, const char *text, size_t n)
{
	cbor_head(d, CBOR_TEXT, n);
	kvf_wire_digest_put(d, text, n);
}

/* A Python int >= 0; at most 11 bytes. */
static size_t pickle_uint(uint8_t *p, uint64_t v)
{
	unsigned bytes = 0;

	if (v <= UINT8_MAX) {
		p[0] = OP_BININT1;
		return 1 + put_le(p + 1, v, 1);
	}
	if (v <= UINT16_MAX) {
		p[0] = OP_BININT2;
		return 1 + put_le(p + 1, v, 2);
	}
	if (v <= INT32_MAX) {
		p[0] = OP_BININT;
		return 1 + put_le(p + 1, v, 4);
	}
	/* Two's complement: a set top bit needs a zero byte above it. */
	while (bytes < 8 && (v >> (8 * bytes)) >= 0x80)
		bytes++;
	bytes++;
	p[0] = OP_LONG1;
	p[1] = (uint8_t)bytes;
	put_le(p + 2, v, bytes < 8 ? bytes : 8);
	if (bytes == 9)
		p[10] = 0;
	return 2 + bytes;
}

static size_t token_size(uint32_t token)
{
	return token <= UINT8_MAX ? 2 : token <= UINT16_MAX ? 3 : token <= INT32_MAX ? 5 : 7;
}

static size_t prefix_size(const struct kvf_wire_hash *prefix)
{
	uint8_t scratch[16];

	if (prefix->kind == KVF_WIRE_BYTES)
		return 3 + (size_t)prefix->size;
	return pickle_uint(scratch, prefix->number);
}

static void pickle_prefix(struct kvf_wire_digest *d, const struct kvf_wire_hash *prefix)
{
	static const uint8_t memoize = OP_MEMOIZE;
	uint8_t *p = kvf_wire_digest_room(d);

	if (prefix->kind != KVF_WIRE_BYTES) {
		kvf_wire_digest_took(d, pickle_uint(p, prefix->number));
		return;
	}
	p[0] = OP_SHORT_BINBYTES;
	p[1] = prefix->size;
	kvf_wire_digest_took(d, 2);
	kvf_wire_digest_put(d, prefix->bytes, prefix->size);
	kvf_wire_digest_put(d, &memoize, 1);
}

static void pickle_frame(struct kvf_wire_digest *d, uint64_t payload)
{
	uint8_t *p = kvf_wire_digest_room(d);

	p[0] = OP_FRAME;
	kvf_wire_digest_took(d, 1 + put_le(p + 1, payload, 8));
}

static void pickle_tokens(struct kvf_wire_digest *d, const uint32_t *tokens, size_t n)
{
	for (size_t i = 0; i < n; i++)
		kvf_wire_digest_took(d, pickle_uint(kvf_wire_digest_room(d), tokens[i]));
}

/* Ends the inner tuple of n items. */
static void pickle_tuple(struct kvf_wire_digest *d, size_t n)
{
	uint8_t tail[PICKLE_TUPLE_TAIL] = {OP_TUPLE, OP_MEMOIZE};

	if (n <= 3)
		tail[0] = (uint8_t)(OP_TUPLE1 + (n - 1));
	kvf_wire_digest_put(d, tail, sizeof(tail));
}

static void pickle_end(struct kvf_wire_digest *d, enum kvf_wire_third third)
{
	uint8_t tail[PICKLE_THIRD_TAIL] = {OP_EMPTY_TUPLE, OP_TUPLE3, OP_MEMOIZE, OP_STOP};

	if (third == KVF_WIRE_THIRD_NONE)
		tail[0] = OP_NONE;
	kvf_wire_digest_put(d, tail, sizeof(tail));
}

/*
 * The pickler looks at the length of its frame before each object, so a frame's length is known
 * only after its tokens were counted: every token is visited twice, none is buffered.
 */
void kvf_wire_pickle_chunk(struct kvf_wire_digest *d, const struct kvf_wire_hash *prefix,
	const uint32_t *tokens, size_t n, enum kvf_wire_third third)
{
	static const uint8_t proto[2] = {OP_PROTO, PICKLE_PROTOCOL};
	static const uint8_t mark = OP_MARK;
	size_t head = prefix_size(prefix) + (n > 3);
	size_t at = 0;
	bool last = false;

	kvf_wire_digest_put(d, proto, sizeof(proto));
	while (!last) {
		uint64_t payload = head;
		size_t end = at;

		while (end < n && payload < PICKLE_FRAME)
			payload += token_size(tokens[end++]);
		if (end == n && at < n)
			payload += PICKLE_TUPLE_TAIL;
		last = end == n && payload < PICKLE_FRAME;
		pickle_frame(d, payload + (last ? PICKLE_THIRD_TAIL : 0));
		if (head > 0) {
			pickle_prefix(d, prefix);
			kvf_wire_digest_put(d, &mark, n > 3);
			head = 0;
		}
		pickle_tokens(d, tokens + at, end - at);
		if (end == n && at < n)
			pickle_tuple(d, n);
		at = end;
	}
	pickle_end(d, third);
}

void kvf_wire_pickle_text(struct kvf_wire_digest *d, const char *text, size_t n)
{
	static const uint8_t tail[2] = {OP_MEMOIZE, OP_STOP};
	uint8_t *p = kvf_wire_digest_room(d);

	p[0] = OP_PROTO;
	p[1] = PICKLE_PROTOCOL;
	kvf_wire_digest_took(d, 2);
	pickle_frame(d, 2 + (uint64_t)n + sizeof(tail));
	p = kvf_wire_digest_room(d);
	p[0] = OP_SHORT_BINUNICODE;
	p[1] = (uint8_t)n;
	kvf_wire_digest_took(d, 2);
	kvf_wire_digest_put(d, text, n);
	kvf_wire_digest_put(d, tail, sizeof(tail));
}
