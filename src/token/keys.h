/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunk keys: key[i] = SHA-256(key[i-1] || tokens of chunk i as u32 LE || content ids bound to them); key[-1] is the root,
 * the hash of everything else that decides the KV bytes: identity, layout, salt, tags, adapter. A key proves the whole
 * prefix. Content ids come as (offset in chunk u32 LE, length u32 LE, 16 bytes) after the tokens, each preceded by nothing:
 * the token count before them is fixed by a final u32 LE count of tokens and a u32 LE count of ids when any id is there
 * or the chunk is partial, so that no two inputs of different shape hash alike.
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

/* Fingerprint of the identity and layout: SHA-256 over a tagged, length-prefixed form of every field that changes bytes.
 * first_rank_only leaves rank and world size out. payload_bytes and chunk_size go in. */
void kvf_key_fingerprint(uint8_t out[KVF_KEY_BYTES], const struct kvf_identity *identity, const struct kvf_layout *layout,
			 uint32_t chunk_size, uint64_t payload_bytes);
/* Root of a sequence: fingerprint, salt, tags, adapter. */
void kvf_key_root(uint8_t out[KVF_KEY_BYTES], const uint8_t fingerprint[KVF_KEY_BYTES],
		  const struct kvf_seq_params *params);
/* One chunk. extras: those that touch [first_token, first_token + n). */
void kvf_key_chunk(uint8_t out[KVF_KEY_BYTES], const uint8_t parent[KVF_KEY_BYTES], const uint32_t *tokens, size_t n,
		   uint32_t chunk_size, uint64_t first_token, const struct kvf_extra *extras, size_t n_extras);

/*
 * Keys of a sequence, shared by its forks and by the operations that were submitted: reference-counted, append-only.
 * A holder of n keys sees those n unchanged for ever; the owner appends behind them. Whoever wants to write below another's
 * end (after truncate or fork) gets a copy first.
 */
struct kvf_keyvec {
	uint32_t refs;
	uint32_t cap;
	uint32_t written; /* keys that somebody may look at: only an owner whose length equals it may append in place */
	uint32_t pad;
	uint8_t key[][KVF_KEY_BYTES];
};

struct kvf_keyvec *kvf_keyvec_new(struct kvf_mem *mem, uint32_t cap);
void kvf_keyvec_ref(struct kvf_keyvec *vec);
void kvf_keyvec_unref(struct kvf_mem *mem, struct kvf_keyvec *vec);
/* Makes room for `more` keys behind the first n of *vec (n is the caller's length); copies when it must. KVF_OK, KVF_ENOMEM. */
int kvf_keyvec_extend(struct kvf_mem *mem, struct kvf_keyvec **vec, uint32_t n, uint32_t more);

#endif
