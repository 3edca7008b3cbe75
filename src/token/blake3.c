/* SPDX-License-Identifier: Apache-2.0 */
/* BLAKE3 after the paper of O'Connor, Aumasson, Neves and Wilcox-O'Hearn, sections 2.1 to 2.5. */
#include "token/blake3.h"

#include <string.h>

#include "base/bytes.h"
#include "base/compiler.h"

enum { CHUNK_START = 1, CHUNK_END = 2, PARENT = 4, ROOT = 8 };
enum { ROUNDS = 7 };

static const uint32_t iv[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f,
	0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

/* Message word of each place, round by round: the paper's permutation applied 0 to 6 times. */
static const uint8_t schedule[ROUNDS][16] = {
	{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
	{2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8},
	{3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1},
	{10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6},
	{12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4},
	{9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7},
	{11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13},
};

static inline uint32_t rotr(uint32_t x, unsigned n)
{
	return (x >> n) | (x << (32 - n));
}

#define MIX(a, b, c, d, x, y)                                                                      \
	do {                                                                                       \
		v[a] += v[b] + (x);                                                                \
		v[d] = rotr(v[d] ^ v[a], 16);                                                      \
		v[c] += v[d];                                                                      \
		v[b] = rotr(v[b] ^ v[c], 12);                                                      \
		v[a] += v[b] + (y);                                                                \
		v[d] = rotr(v[d] ^ v[a], 8);                                                       \
		v[c] += v[d];                                                                      \
		v[b] = rotr(v[b] ^ v[c], 7);                                                       \
	} while (0)

static void mix_all(uint32_t v[16], const uint32_t m[16])
{
	for (unsigned r = 0; r < ROUNDS; r++) {
		const uint8_t *s = schedule[r];

		MIX(0, 4, 8, 12, m[s[0]], m[s[1]]);
		MIX(1, 5, 9, 13, m[s[2]], m[s[3]]);
		MIX(2, 6, 10, 14, m[s[4]], m[s[5]]);
		MIX(3, 7, 11, 15, m[s[6]], m[s[7]]);
		MIX(0, 5, 10, 15, m[s[8]], m[s[9]]);
		MIX(1, 6, 11, 12, m[s[10]], m[s[11]]);
		MIX(2, 7, 8, 13, m[s[12]], m[s[13]]);
		MIX(3, 4, 9, 14, m[s[14]], m[s[15]]);
	}
}

/* out may be cv. */
static void compress(const uint32_t cv[8], const uint32_t m[16], uint64_t counter, uint32_t len,
	uint32_t flags, uint32_t out[8])
{
	uint32_t v[16];

	memcpy(v, cv, 32);
	memcpy(v + 8, iv, 16);
	v[12] = (uint32_t)counter;
	v[13] = (uint32_t)(counter >> 32);
	v[14] = len;
	v[15] = flags;
	mix_all(v, m);
	for (unsigned i = 0; i < 8; i++)
		out[i] = v[i] ^ v[i + 8];
}

static void compress_block(const uint32_t cv[8], const uint8_t block[KVF_BLAKE3_BLOCK],
	uint64_t counter, uint32_t len, uint32_t flags, uint32_t out[8])
{
	uint32_t m[16];

	for (unsigned i = 0; i < 16; i++)
		m[i] = kvf_load_le32(block + 4 * i);
	compress(cv, m, counter, len, flags, out);
}

static void join(const uint32_t left[8], const uint32_t right[8], uint32_t flags, uint32_t out[8])
{
	uint32_t m[16];

	memcpy(m, left, 32);
	memcpy(m + 8, right, 32);
	compress(iv, m, 0, KVF_BLAKE3_BLOCK, PARENT | flags, out);
}

/* The block in hand is the last of its chunk. */
static void end_chunk(const struct kvf_blake3 *b, uint32_t flags, uint32_t out[8])
{
	uint8_t block[KVF_BLAKE3_BLOCK] = {0};
	uint32_t start = b->in_chunk <= KVF_BLAKE3_BLOCK ? CHUNK_START : 0;

	memcpy(block, b->block, b->in_block);
	compress_block(b->cv, block, b->chunk, b->in_block, start | CHUNK_END | flags, out);
}

void kvf_blake3_init(struct kvf_blake3 *b)
{
	memcpy(b->cv, iv, sizeof(iv));
	b->chunk = 0;
	b->in_chunk = 0;
	b->in_block = 0;
	b->depth = 0;
}

/* A chunk is closed only once more input is there: the last one needs the root flag. */
static void next_chunk(struct kvf_blake3 *b)
{
	uint32_t cv[8];
	uint64_t done;

	end_chunk(b, 0, cv);
	b->chunk++;
	for (done = b->chunk; !(done & 1); done >>= 1)
		join(b->stack[--b->depth], cv, 0, cv);
	memcpy(b->stack[b->depth++], cv, sizeof(cv));
	memcpy(b->cv, iv, sizeof(iv));
	b->in_chunk = 0;
	b->in_block = 0;
}

static void next_block(struct kvf_blake3 *b)
{
	uint32_t start = b->in_chunk == KVF_BLAKE3_BLOCK ? CHUNK_START : 0;

	compress_block(b->cv, b->block, b->chunk, KVF_BLAKE3_BLOCK, start, b->cv);
	b->in_block = 0;
}

void kvf_blake3_update(struct kvf_blake3 *b, const void *data, size_t n)
{
	const uint8_t *p = data;

	while (n > 0) {
		size_t take;

		if (b->in_chunk == KVF_BLAKE3_CHUNK)
			next_chunk(b);
		else if (b->in_block == KVF_BLAKE3_BLOCK)
			next_block(b);
		take = (size_t)kvf_min_u64(n, KVF_BLAKE3_BLOCK - b->in_block);
		memcpy(b->block + b->in_block, p, take);
		b->in_block += (uint32_t)take;
		b->in_chunk += (uint32_t)take;
		p += take;
		n -= take;
	}
}

void kvf_blake3_final(const struct kvf_blake3 *b, uint8_t out[KVF_BLAKE3_SIZE])
{
	uint32_t cv[8];
	uint32_t depth = b->depth;

	end_chunk(b, depth == 0 ? ROOT : 0, cv);
	while (depth > 0) {
		depth--;
		join(b->stack[depth], cv, depth == 0 ? ROOT : 0, cv);
	}
	for (unsigned i = 0; i < 8; i++)
		kvf_store_le32(out + 4 * i, cv[i]);
}
