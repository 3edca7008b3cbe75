/* SPDX-License-Identifier: Apache-2.0 */
/* See seq_wire.h. */
#include "token/seq_wire.h"

#include <string.h>

#include "token/seq_impl.h"

#define FIRST_HASHES 15

static void pack(const struct kvf_wire_hash *hash, uint8_t out[KVF_KEY_BYTES])
{
	memset(out, 0, KVF_KEY_BYTES);
	if (hash->kind == KVF_WIRE_BYTES) {
		memcpy(out, hash->bytes, hash->size);
		return;
	}
	for (unsigned i = 0; i < 8; i++)
		out[i] = (uint8_t)(hash->number >> (56 - 8 * i));
}

void kvf_wire_unpack(const struct kvf_seq_wiring *wiring, const uint8_t *packed, struct kvf_wire_hash *out)
{
	memset(out, 0, sizeof(*out));
	out->kind = (uint8_t)wiring->kind;
	if (wiring->kind == KVF_WIRE_BYTES) {
		out->size = (uint8_t)wiring->bytes;
		memcpy(out->bytes, packed, wiring->bytes);
		return;
	}
	for (unsigned i = 0; i < 8; i++)
		out->number = out->number << 8 | packed[i];
}

int kvf_seq_wiring_init(struct kvf_seq_wiring *wiring, const struct kvf_wire_config *config, struct kvf_report *report)
{
	static const uint32_t token = 1;
	struct kvf_wire_chain chain;
	struct kvf_wire_hash hash;
	int rc = kvf_wire_chain_init(&chain, config, report);

	if (rc)
		return rc;
	wiring->start = chain;
	rc = kvf_wire_chain_next(&chain, &token, 1, &hash);
	if (rc)
		return rc;
	wiring->kind = (enum kvf_wire_hash_kind)hash.kind;
	wiring->bytes = hash.kind == KVF_WIRE_BYTES ? hash.size : 8;
	return KVF_OK;
}

/* ---- the suffix ---- */

struct kvf_wire_suffix *kvf_wire_suffix_new(struct kvf_mem *mem, const char *text, size_t n)
{
	struct kvf_wire_suffix *suffix = kvf_mem_alloc(mem, sizeof(*suffix) + n);

	if (!suffix)
		return NULL;
	suffix->refs = 1;
	suffix->n = (uint32_t)n;
	memcpy(suffix->text, text, n);
	return suffix;
}

void kvf_wire_suffix_ref(struct kvf_wire_suffix *suffix)
{
	if (suffix)
		suffix->refs++;
}

void kvf_wire_suffix_unref(struct kvf_mem *mem, struct kvf_wire_suffix *suffix)
{
	if (suffix && --suffix->refs == 0)
		kvf_mem_free(mem, suffix, sizeof(*suffix) + suffix->n);
}

/* ---- of a sequence ---- */

static bool has_name(const struct kvf_seq *seq, const struct kvf_seq_params *params)
{
	bool mp = seq->env->wiring->start.form == KVF_WIRE_MP;
	size_t n = seq->tags ? strlen(seq->tags) : 0;

	if (params && params->adapter && params->adapter[0])
		return false;
	return mp ? !seq->tags : !seq->salt[0] && n <= KVF_WIRE_SUFFIX_MAX;
}

static int open_suffix(struct kvf_seq *seq)
{
	char text[1 + sizeof(seq->salt)];
	size_t n = strlen(seq->salt);

	if (!seq->tags && !n)
		return KVF_OK;
	if (seq->tags) {
		seq->suffix = kvf_wire_suffix_new(seq->env->mem, seq->tags, strlen(seq->tags));
	} else {
		text[0] = '@';
		memcpy(text + 1, seq->salt, n);
		seq->suffix = kvf_wire_suffix_new(seq->env->mem, text, n + 1);
	}
	return seq->suffix ? KVF_OK : kvf_seq_no_memory(seq->env, n + 1, "wire names");
}

int kvf_seq_wire_open(struct kvf_seq *seq, const struct kvf_seq_params *params)
{
	if (!seq->env->wiring || !has_name(seq, params))
		return KVF_OK;
	seq->wire_end = UINT32_MAX;
	seq->wire = kvf_keyvec_new(seq->env->mem, FIRST_HASHES);
	if (!seq->wire)
		return kvf_seq_no_memory(seq->env, FIRST_HASHES * KVF_KEY_BYTES, "wire names");
	return open_suffix(seq);
}

void kvf_seq_wire_share(struct kvf_seq *copy)
{
	kvf_keyvec_ref(copy->wire);
	kvf_wire_suffix_ref(copy->suffix);
}

void kvf_seq_wire_close(struct kvf_seq *seq)
{
	kvf_keyvec_unref(seq->env->mem, seq->wire);
	kvf_wire_suffix_unref(seq->env->mem, seq->suffix);
	seq->wire = NULL;
	seq->suffix = NULL;
}

void kvf_seq_wire_off(struct kvf_seq *seq)
{
	kvf_seq_wire_close(seq);
	seq->wire_end = 0;
}

int kvf_seq_wire_extend(struct kvf_seq *seq, uint32_t more)
{
	return seq->wire ? kvf_keyvec_extend(seq->env->mem, &seq->wire, seq->n_chunks, more) : KVF_OK;
}

static void hash_next(const struct kvf_seq *seq, const uint32_t *tokens, size_t n, uint8_t out[KVF_KEY_BYTES])
{
	const struct kvf_seq_wiring *wiring = seq->env->wiring;
	struct kvf_wire_chain chain = wiring->start;
	struct kvf_wire_hash hash;

	if (seq->n_chunks)
		kvf_wire_unpack(wiring, seq->wire->key[seq->n_chunks - 1], &chain.last);
	memset(out, 0, KVF_KEY_BYTES);
	if (!kvf_wire_chain_next(&chain, tokens, n, &hash))
		pack(&hash, out);
}

void kvf_seq_wire_fill(struct kvf_seq *seq, const uint32_t *tokens, bool touched)
{
	if (!seq->wire)
		return;
	if (touched && seq->n_chunks < seq->wire_end)
		seq->wire_end = seq->n_chunks;
	if (seq->n_chunks < seq->wire_end)
		hash_next(seq, tokens, seq->env->chunk_size, seq->wire->key[seq->n_chunks]);
	else
		memset(seq->wire->key[seq->n_chunks], 0, KVF_KEY_BYTES);
}

void kvf_seq_wire_cut(struct kvf_seq *seq)
{
	/* The chunk that content ids had touched is gone. */
	if (seq->wire && seq->n_chunks <= seq->wire_end)
		seq->wire_end = UINT32_MAX;
}

bool kvf_seq_wire_tail(const struct kvf_seq *seq, uint8_t out[KVF_KEY_BYTES])
{
	uint64_t first = (uint64_t)seq->n_chunks * seq->env->chunk_size;

	if (!seq->wire || seq->n_chunks >= seq->wire_end || first == seq->n_tokens)
		return false;
	for (size_t i = 0; i < seq->n_extras; i++)
		if (seq->extras[i].first < seq->n_tokens && seq->extras[i].first + seq->extras[i].n > first)
			return false;
	hash_next(seq, seq->tail, (size_t)(seq->n_tokens - first), out);
	return true;
}
