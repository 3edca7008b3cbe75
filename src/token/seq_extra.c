/* SPDX-License-Identifier: Apache-2.0 */
/* Content ids of a sequence: which token ranges stand for an image or a piece of audio. See seq.h.
 */
#include <inttypes.h>
#include <string.h>

#include "token/seq_impl.h"

void kvf_seq_extras_prune(struct kvf_seq *seq)
{
	uint64_t chunks = seq->n_chunks - (seq->last ? 1u : 0u);
	uint64_t begin = chunks * seq->env->chunk_size;
	size_t drop = 0;

	while (drop < seq->n_extras && seq->extras[drop].first + seq->extras[drop].n <= begin)
		drop++;
	if (!drop)
		return;
	seq->n_extras -= drop;
	memmove(seq->extras, seq->extras + drop, seq->n_extras * sizeof(*seq->extras));
}

void kvf_seq_extras_clip(struct kvf_seq *seq, uint64_t n_tokens)
{
	struct kvf_extra *e;

	while (seq->n_extras > 0) {
		e = &seq->extras[seq->n_extras - 1];
		if (e->first < n_tokens) {
			e->n = kvf_min_u64(e->n, n_tokens - e->first);
			return;
		}
		seq->n_extras--;
	}
}

static int check_range(struct kvf_seq *seq, size_t first, size_t n)
{
	struct kvf_seq_env *env = seq->env;

	if (seq->keys_only)
		return kvf_seq_refuse(env, KVF_EINVAL,
			"content id: the sequence holds keys of the host, not tokens");
	if (n == 0)
		return kvf_seq_refuse(env, KVF_EINVAL, "n: 0 tokens cannot stand for a content");
	if (first < seq->n_tokens)
		return kvf_seq_refuse(env, KVF_EINVAL,
			"first: token %zu is appended already, the length is %" PRIu64, first,
			seq->n_tokens);
	if (n > KVF_SEQ_MAX_TOKENS || first > KVF_SEQ_MAX_TOKENS - n)
		return kvf_seq_refuse(env, KVF_EINVAL,
			"first, n: tokens [%zu, +%zu) reach beyond %" PRIu64, first, n,
			KVF_SEQ_MAX_TOKENS);
	return KVF_OK;
}

int kvf_seq_add_extra(struct kvf_seq *seq, size_t first, size_t n, const uint8_t id[16])
{
	int status = check_range(seq, first, n);
	void *array = seq->extras;
	struct kvf_extra *e;
	size_t at = seq->n_extras;

	if (status != KVF_OK)
		return status;
	while (at > 0 && seq->extras[at - 1].first >= (uint64_t)first + n)
		at--;
	if (at > 0) {
		e = &seq->extras[at - 1];
		if (e->first + e->n > first)
			return kvf_seq_refuse(seq->env, KVF_EINVAL,
				"first, n: tokens [%zu, +%zu) overlap the content at [%" PRIu64
				", +%" PRIu64 ")",
				first, n, e->first, e->n);
	}
	status = kvf_mem_grow(
		seq->env->mem, &array, &seq->cap_extras, seq->n_extras + 1, sizeof(*e));
	if (status != KVF_OK)
		return kvf_seq_no_memory(seq->env, (seq->n_extras + 1) * sizeof(*e), "content ids");
	seq->extras = array;
	e = &seq->extras[at];
	memmove(e + 1, e, (seq->n_extras - at) * sizeof(*e));
	e->first = first;
	e->n = n;
	memcpy(e->id, id, sizeof(e->id));
	seq->n_extras++;
	return KVF_OK;
}
