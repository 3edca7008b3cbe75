/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Wire names of a sequence: LMCache's hash of every full chunk beside its key, kept the same way (shared by forks,
 * cut by truncate), and what stands behind it in the name. Only where a tier asks for them.
 *
 * Some chunks have none, because LMCache has no name for them that nothing else could have: everything of a sequence
 * with an adapter, keys of the host, a salt (in-process names know none) or tags (multiprocess names know none), and
 * all from the first chunk on that content ids touch. They go by their key.
 */
#ifndef KVF_TOKEN_SEQ_WIRE_H
#define KVF_TOKEN_SEQ_WIRE_H

#include "base/mem.h"
#include "kvferry/kvferry.h"
#include "token/wire_hash.h"

#define KVF_WIRE_SUFFIX_MAX 512

struct kvf_seq;

/* What sequences of one engine share. */
struct kvf_seq_wiring {
	struct kvf_wire_chain start;
	enum kvf_wire_hash_kind kind; /* of every hash of the chain */
	uint32_t bytes;		      /* packed: 8 of a number, big-endian, else the digest */
};

/* Reference-counted text: "@tag%value..." or "@salt". */
struct kvf_wire_suffix {
	uint32_t refs;
	uint32_t n;
	char text[];
};

/* KVF_OK, KVF_EINVAL, KVF_ENOTSUP as kvf_wire_chain_init(). */
int kvf_seq_wiring_init(struct kvf_seq_wiring *wiring, const struct kvf_wire_config *config, struct kvf_report *report);
/* A packed hash as the hash it was. */
void kvf_wire_unpack(const struct kvf_seq_wiring *wiring, const uint8_t *packed, struct kvf_wire_hash *out);

/* NULL: no memory. The unref of NULL is fine. */
struct kvf_wire_suffix *kvf_wire_suffix_new(struct kvf_mem *mem, const char *text, size_t n);
void kvf_wire_suffix_ref(struct kvf_wire_suffix *suffix);
void kvf_wire_suffix_unref(struct kvf_mem *mem, struct kvf_wire_suffix *suffix);

/* ---- for the other files of sequences ---- */

/* After salt and tags were set. KVF_OK or KVF_ENOMEM. */
int kvf_seq_wire_open(struct kvf_seq *seq, const struct kvf_seq_params *params);
void kvf_seq_wire_share(struct kvf_seq *copy);
void kvf_seq_wire_close(struct kvf_seq *seq);
/* Room for `more` hashes behind those of the full chunks. KVF_OK or KVF_ENOMEM. */
int kvf_seq_wire_extend(struct kvf_seq *seq, uint32_t more);
/* Chunk number seq->n_chunks is full; `touched`: by content ids. */
void kvf_seq_wire_fill(struct kvf_seq *seq, const uint32_t *tokens, bool touched);
/* The sequence was cut to seq->n_chunks full chunks. */
void kvf_seq_wire_cut(struct kvf_seq *seq);
/* Keys of the host: no names any more. */
void kvf_seq_wire_off(struct kvf_seq *seq);
/* Packed hash of the open chunk as a partial one. False: it has none. */
bool kvf_seq_wire_tail(const struct kvf_seq *seq, uint8_t out[KVF_KEY_BYTES]);

#endif
