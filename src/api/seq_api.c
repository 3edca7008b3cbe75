/* SPDX-License-Identifier: Apache-2.0 */
/* Public calls on sequences: the guards, then src/token. */
#include "api/guard.h"

#include <string.h>

static struct kvf_engine *engine_of(const struct kvf_seq *seq)
{
	return seq->env->engine;
}

void kvf_seq_params_init(struct kvf_seq_params *params)
{
	memset(params, 0, sizeof(*params));
	params->size = sizeof(*params);
}

int kvf_seq_open(struct kvf_engine *e, const struct kvf_seq_params *params, struct kvf_seq **out)
{
	struct kvf_seq_params none;
	int rc;

	if (!e || !out || (params && params->size < sizeof(*params)))
		return KVF_EINVAL;
	rc = kvf_enter(e);
	if (rc)
		return rc;
	kvf_seq_params_init(&none);
	if (e->dead)
		rc = KVF_EDEAD;
	else if (e->shutting)
		rc = kvf_refuse(e, KVF_ESHUTDOWN, "the engine is shutting down");
	else
		rc = kvf_seq_new(&e->seqs, params ? params : &none, out);
	return kvf_exit(e, rc);
}

int kvf_seq_append(struct kvf_seq *seq, const uint32_t *tokens, size_t n)
{
	int rc;

	if (!seq || (n && !tokens))
		return KVF_EINVAL;
	rc = kvf_enter(engine_of(seq));
	if (rc)
		return rc;
	return kvf_exit(engine_of(seq), kvf_seq_add(seq, tokens, n));
}

int kvf_seq_append_extra(struct kvf_seq *seq, size_t first, size_t n, const uint8_t id[16])
{
	int rc;

	if (!seq || !id)
		return KVF_EINVAL;
	rc = kvf_enter(engine_of(seq));
	if (rc)
		return rc;
	return kvf_exit(engine_of(seq), kvf_seq_add_extra(seq, first, n, id));
}

int kvf_seq_append_keys(struct kvf_seq *seq, const uint8_t (*keys)[KVF_KEY_BYTES], size_t n)
{
	int rc;

	if (!seq || (n && !keys))
		return KVF_EINVAL;
	rc = kvf_enter(engine_of(seq));
	if (rc)
		return rc;
	return kvf_exit(engine_of(seq), kvf_seq_add_keys(seq, keys, n));
}

int kvf_seq_truncate(struct kvf_seq *seq, size_t n_tokens)
{
	int rc;

	if (!seq)
		return KVF_EINVAL;
	rc = kvf_enter(engine_of(seq));
	if (rc)
		return rc;
	return kvf_exit(engine_of(seq), kvf_seq_cut(seq, n_tokens));
}

int kvf_seq_fork(const struct kvf_seq *seq, struct kvf_seq **out)
{
	int rc;

	if (!seq || !out)
		return KVF_EINVAL;
	rc = kvf_enter(engine_of(seq));
	if (rc)
		return rc;
	return kvf_exit(engine_of(seq), kvf_seq_dup(seq, out));
}

size_t kvf_seq_length(const struct kvf_seq *seq)
{
	return seq ? seq->n_tokens : 0;
}

size_t kvf_seq_resident(struct kvf_seq *seq)
{
	struct kvf_engine *e;
	uint64_t tokens;

	if (!seq || kvf_enter(engine_of(seq)))
		return 0;
	e = engine_of(seq);
	tokens = (uint64_t)kvf_seq_resident_chunks(e, seq) * e->chunk_size;
	if (tokens / e->chunk_size == seq->n_chunks && tokens < seq->n_tokens) {
		uint32_t entry = kvf_index_find(&e->index, kvf_seq_tail_key(seq));

		if (entry != KVF_NIL && kvf_index_entry(&e->index, entry)->state == KVF_ENTRY_RESIDENT)
			tokens = seq->n_tokens;
	}
	kvf_exit(e, 0);
	return tokens;
}

int kvf_seq_key(const struct kvf_seq *seq, size_t chunk, uint8_t key[KVF_KEY_BYTES])
{
	int rc;

	if (!seq || !key)
		return KVF_EINVAL;
	rc = kvf_enter(engine_of(seq));
	if (rc)
		return rc;
	if (chunk < seq->n_chunks)
		memcpy(key, seq->keys->key[chunk], KVF_KEY_BYTES);
	else if (chunk == seq->n_chunks && seq->n_tokens > (uint64_t)seq->n_chunks * seq->env->chunk_size)
		memcpy(key, kvf_seq_tail_key((struct kvf_seq *)(uintptr_t)seq), KVF_KEY_BYTES);
	else
		rc = KVF_ERANGE;
	return kvf_exit(engine_of(seq), rc);
}

void kvf_seq_close(struct kvf_seq *seq)
{
	struct kvf_engine *e;

	if (!seq || kvf_enter(engine_of(seq)))
		return;
	e = engine_of(seq);
	/* Its operations go on; only kvf_cancel_seq() cannot name them any more. */
	for (uint32_t i = 0; i < e->jobs.used; i++) {
		struct kvf_job *job = kvf_slab_at(&e->jobs, i);

		if (job->seq == seq)
			job->seq = NULL;
	}
	kvf_seq_free(seq);
	kvf_exit(e, 0);
}
