/* SPDX-License-Identifier: Apache-2.0 */
/*
 * BLAKE3, unkeyed, 256 bits out: what LMCache's multiprocess chunk names need, and no more.
 *
 * Portable and incremental; the state is 1.9 KiB, lives where the caller puts it and owns nothing.
 */
#ifndef KVF_TOKEN_BLAKE3_H
#define KVF_TOKEN_BLAKE3_H

#include <stddef.h>
#include <stdint.h>

#define KVF_BLAKE3_SIZE 32
#define KVF_BLAKE3_BLOCK 64
#define KVF_BLAKE3_CHUNK 1024
#define KVF_BLAKE3_DEPTH 54 /* subtrees waiting for their sibling: 2^54 chunks are 2^64 bytes */

struct kvf_blake3 {
	uint32_t cv[8]; /* of the current chunk so far */
	uint64_t chunk; /* its index */
	uint32_t in_chunk; /* bytes of it taken, those in `block` included */
	uint32_t in_block;
	uint32_t depth;
	uint8_t block[KVF_BLAKE3_BLOCK];
	uint32_t stack[KVF_BLAKE3_DEPTH][8];
};

void kvf_blake3_init(struct kvf_blake3 *b);
void kvf_blake3_update(struct kvf_blake3 *b, const void *data, size_t n);
/* Leaves `b` as it was: more input may follow. */
void kvf_blake3_final(const struct kvf_blake3 *b, uint8_t out[KVF_BLAKE3_SIZE]);

#endif
