/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunk keys. Everything that decides the bytes of a chunk goes through SHA-256 into its 32-byte
 * key; a key proves the whole prefix. What is hashed, byte for byte ("||" joins, integers are
 * little-endian):
 *
 * key[i] = SHA-256(message of chunk i), with parent = key[i-1], or the root for chunk 0.
 *
 *   plain (chunk_size tokens, no content id touches them):
 *     parent[32] || token u32 ...
 *   tagged (fewer tokens, or content ids):
 *     parent[32] || token u32 ... || entry[32] ... || tokens u32 || entries u32 || 0x01
 *   entry, one for each content id that touches the chunk's tokens, in their order:
 *     tokens of the content before this chunk u64 || offset in the chunk u32 ||
 *     tokens of the content in the chunk u32 || id[16]
 *
 * No two inputs share a message: the length of a plain one is 0 modulo 4, that of a tagged one is
 * 1 modulo 4 and it can be taken apart from its end; chunk_size is in the root. The first number
 * of an entry tells an image that goes on from the same image beginning once more. How far a
 * content goes on behind the chunk is not in its key: keys depend on the past only.
 *
 * fingerprint, root = SHA-256(field ...), field = tag u8 || length u32 || bytes. A number is a
 * field of 8 bytes, a NULL string is the empty one.
 *
 *   fingerprint: 0 "kvferry fingerprint 1", 1 model, 2 revision, 3 scale_fingerprint,
 *     4 first_rank_only (0 or 1), if that is 0: 5 world_size, 6 rank; 7 chunk_size,
 *     8 payload_bytes; with a layout: 9 kind, 10 payload_order;
 *     opaque: 11 opaque_chunk_bytes, 12 opaque_fingerprint;
 *     paged, of each group: 16 n_layers, 17 planes, 18 heads, 19 head_elems, 20 dtype, and where
 *     the device's own order shows (KVF_PAYLOAD_PAGES) 21 block_tokens, 22 block_stride,
 *     23 token_stride, 24 head_stride. Bases, devices and n_blocks change no byte.
 *   root: 0 "kvferry root 1", 1 fingerprint, 2 salt, 3 adapter, of each tag: 4 name, 5 value.
 *
 * These forms are what is on disk and in remote stores: a change needs a new number in tag 0.
 */
#ifndef KVF_TOKEN_KEYS_H
#define KVF_TOKEN_KEYS_H

#include "base/mem.h"
#include "kvferry/kvferry.h"

/* A content id bound to tokens [first, first + n) of its sequence. */
struct kvf_extra {
	uint64_t first;
	uint64_t n;
	uint8_t id[16];
};

/* Fingerprint of the identity and layout: SHA-256 over a tagged, length-prefixed form of every
 * field that changes bytes. first_rank_only leaves rank and world size out. payload_bytes and
 * chunk_size go in. layout NULL: none. order_code: kvf_layout_order_code() where the payload has the
 * device's own order, else 0. */
void kvf_key_fingerprint(uint8_t out[KVF_KEY_BYTES], const struct kvf_identity *identity,
	const struct kvf_layout *layout, uint32_t chunk_size, uint64_t payload_bytes, uint64_t order_code);
/* Root of a sequence: fingerprint, salt, tags, adapter. */
void kvf_key_root(uint8_t out[KVF_KEY_BYTES], const uint8_t fingerprint[KVF_KEY_BYTES],
	const struct kvf_seq_params *params);
/* One chunk, n > 0. extras in order; those that do not touch [first_token, first_token + n) are
 * passed over. `out` may be `parent`. */
void kvf_key_chunk(uint8_t out[KVF_KEY_BYTES], const uint8_t parent[KVF_KEY_BYTES],
	const uint32_t *tokens, size_t n, uint32_t chunk_size, uint64_t first_token,
	const struct kvf_extra *extras, size_t n_extras);

/*
 * Keys of a sequence, shared by its forks and by the operations that were submitted:
 * reference-counted, append-only. A holder of n keys sees those n unchanged for ever; the owner
 * appends behind them. Whoever wants to write below another's end (after truncate or fork) gets a
 * copy first.
 */
struct kvf_keyvec {
	uint32_t refs;
	uint32_t cap;
	uint32_t written; /* keys that somebody may look at: only an owner whose length equals it
			     may append in place */
	uint32_t pad;
	uint8_t key[][KVF_KEY_BYTES];
};

/* NULL: no memory. The caller holds the one reference. */
struct kvf_keyvec *kvf_keyvec_new(struct kvf_mem *mem, uint32_t cap);
/* NULL is fine in both. */
void kvf_keyvec_ref(struct kvf_keyvec *vec);
void kvf_keyvec_unref(struct kvf_mem *mem, struct kvf_keyvec *vec);
/* Makes room for `more` keys behind the first n of *vec (n is the caller's length) and claims it
 * (written = n + more): the caller writes key[n..n+more). Copies when it must; then the caller's
 * reference has moved to the copy. KVF_OK, or KVF_ENOMEM, on which nothing changed. */
int kvf_keyvec_extend(struct kvf_mem *mem, struct kvf_keyvec **vec, uint32_t n, uint32_t more);

#endif
