/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sequences: the token stream of one request as chunk keys, plus the tokens of the open chunk and
 * of the last full one. No other tokens are kept. The guard checks of the public calls live in
 * src/api; these functions assume a valid caller.
 *
 * A sequence is at any time what a new one would be that got the same tokens and content ids in one
 * go: how they were split and what was cut off again leaves no trace in the keys.
 */
#ifndef KVF_TOKEN_SEQ_H
#define KVF_TOKEN_SEQ_H

#include "base/list.h"
#include "token/keys.h"
#include "token/seq_wire.h"

/* What sequences of one engine share. */
struct kvf_seq_env {
	struct kvf_mem *mem;
	uint32_t chunk_size;
	uint8_t fingerprint[KVF_KEY_BYTES];
	struct kvf_list all; /* every open sequence */
	uint32_t n_open;
	char *detail; /* text of the last refusal; detail_size bytes */
	size_t detail_size;
	void *engine;
	const struct kvf_seq_wiring *wiring; /* NULL: no tier asks for wire names */
};

struct kvf_seq {
	struct kvf_list link; /* in env->all */
	struct kvf_seq_env *env;
	struct kvf_keyvec *keys;
	uint64_t n_tokens;
	uint32_t n_chunks; /* full ones = keys in use */
	uint32_t tenant; /* hash of the salt for counters; 0 = no salt */
	uint8_t root[KVF_KEY_BYTES];
	uint32_t *tail; /* tokens of the open chunk: n_tokens % chunk_size of them */
	uint32_t *last; /* tokens of the last full chunk, so that truncate may cut into it; NULL if
			   unknown */
	struct kvf_extra *extras; /* in order of first; those that can still touch a chunk not yet
				     full, or that truncate may bring back */
	size_t n_extras, cap_extras;
	bool keys_only; /* kvf_seq_append_keys was used: no tokens, ever */
	bool got_tokens; /* the opposite */
	bool skip_save; /* the engine's: nothing of it is stored */
	int64_t priority; /* the engine's: against priority_limit */
	char request_id[64];
	char salt[132];
	char *tags; /* LMCache form "@name%value..." for wire names, NUL-terminated; NULL: none */
	struct kvf_keyvec *wire; /* LMCache's hashes of the full chunks, packed; NULL: none */
	uint32_t wire_end; /* chunks from here on have none */
	struct kvf_wire_suffix *suffix; /* NULL: none */
	/* The engine's memo for kvf_seq_resident and lookup: the first `resident` chunks were in
	 * RAM at index epoch `epoch`. */
	uint64_t epoch;
	uint32_t resident;
	/* Tail key, computed on demand: valid while tail_n == n_tokens % chunk_size > 0. */
	uint32_t tail_n;
	uint8_t tail_key[KVF_KEY_BYTES];
	/* The engine's: the last partial chunk that a store of this sequence left behind. */
	bool has_partial;
	uint64_t partial_tokens;
	uint8_t partial_key[KVF_KEY_BYTES];
};

#define KVF_SEQ_MAX_TOKENS ((uint64_t)1 << 31)
#define KVF_SEQ_MAX_SALT 128
#define KVF_SEQ_MAX_ADAPTER 1024
#define KVF_SEQ_MAX_TAGS 16
#define KVF_SEQ_MAX_TAG 128 /* bytes of a name, of a value */
#define KVF_SEQ_MAX_REQUEST_ID 63

/*
 * All return KVF_OK or what kvferry.h says; on a refusal nothing changed and env->detail has the
 * text: field, value, bound. The salt itself never goes into it.
 */

/* params may be NULL. A request id is for logs: control characters become '?'. */
int kvf_seq_new(struct kvf_seq_env *env, const struct kvf_seq_params *params, struct kvf_seq **out);
/* Takes over the memo as well: the keys are the same. */
int kvf_seq_dup(const struct kvf_seq *seq, struct kvf_seq **out);
/* Number of the tenant with this salt, the same in every process; 0 for "". */
uint32_t kvf_seq_tenant(const char *salt);
/* NULL is fine. */
void kvf_seq_free(struct kvf_seq *seq);
/* KVF_EINVAL after kvf_seq_add_keys(): keys of the host carry neither identity nor salt, so nothing
 * may be chained to them. */
int kvf_seq_add(struct kvf_seq *seq, const uint32_t *tokens, size_t n);
/* The range may not overlap one that was named before. */
int kvf_seq_add_extra(struct kvf_seq *seq, size_t first, size_t n, const uint8_t id[16]);
/* The keys are taken as they are. KVF_EINVAL also while content ids are waiting for tokens. */
int kvf_seq_add_keys(struct kvf_seq *seq, const uint8_t (*keys)[KVF_KEY_BYTES], size_t n);
/* Content ids behind n_tokens are forgotten, one that reaches across is cut there. */
int kvf_seq_cut(struct kvf_seq *seq, size_t n_tokens);
/* Key of the open chunk as a partial chunk. Only when n_tokens % chunk_size > 0. */
const uint8_t *kvf_seq_tail_key(struct kvf_seq *seq);

#endif
