/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files that make up sequences. */
#ifndef KVF_TOKEN_SEQ_IMPL_H
#define KVF_TOKEN_SEQ_IMPL_H

#include "token/seq.h"

/* Writes the text of a refusal and returns `status`. */
int kvf_seq_refuse(struct kvf_seq_env *env, int status, const char *fmt, ...) KVF_PRINTF(3, 4);
/* KVF_ENOMEM with its text. */
int kvf_seq_no_memory(struct kvf_seq_env *env, size_t bytes, const char *what);

/* KVF_OK, or KVF_EINVAL or KVF_ERANGE with its text. params may be NULL. */
int kvf_seq_check_params(struct kvf_seq_env *env, const struct kvf_seq_params *params);

static inline size_t kvf_seq_chunk_bytes(const struct kvf_seq *seq)
{
	return (size_t)seq->env->chunk_size * sizeof(uint32_t);
}

/* Tokens in the open chunk. */
static inline uint32_t kvf_seq_open_tokens(const struct kvf_seq *seq)
{
	return (uint32_t)(seq->n_tokens % seq->env->chunk_size);
}

/* Forgets the content ids that no key of the future can need. */
void kvf_seq_extras_prune(struct kvf_seq *seq);
/* Forgets what lies at n_tokens and behind. */
void kvf_seq_extras_clip(struct kvf_seq *seq, uint64_t n_tokens);

#endif
