/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a sequence ought to be, done the plain way: every token is kept, every message is built as
 * one string of bytes and hashed by another interface of OpenSSL. For tests and fuzzers.
 */
#ifndef KVF_TESTS_SUPPORT_SEQ_MODEL_H
#define KVF_TESTS_SUPPORT_SEQ_MODEL_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/compiler.h"
#include "kvferry/kvferry.h"
#include "token/seq.h"

struct model_bytes {
	uint8_t *at;
	size_t n, cap;
};

static inline void model_room(void **array, size_t *cap, size_t want, size_t item)
{
	if (want <= *cap)
		return;
	*cap = want * 2;
	*array = realloc(*array, *cap * item);
	if (!*array)
		exit(3); /* the machine, not the test */
}

static inline void model_put(struct model_bytes *b, const void *data, size_t n)
{
	void *array = b->at;

	model_room(&array, &b->cap, b->n + n, 1);
	b->at = array;
	if (n)
		memcpy(b->at + b->n, data, n);
	b->n += n;
}

static inline void model_put_int(struct model_bytes *b, uint64_t v, unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes; i++) {
		uint8_t c = (uint8_t)(v >> (8 * i));

		model_put(b, &c, 1);
	}
}

static inline void model_hash(uint8_t out[32], const void *data, size_t n)
{
	if (EVP_Digest(data, n, out, NULL, EVP_sha256(), NULL) != 1)
		exit(3);
}

struct seq_model {
	uint32_t chunk;
	uint8_t root[32];
	uint32_t *tokens;
	size_t n, cap_tokens;
	struct kvf_extra *extras; /* as declared, cut by truncates; any order */
	size_t n_extras, cap_extras;
	uint8_t (*keys)[32];
	size_t n_keys, cap_keys;
	size_t reopen; /* the first chunk that a truncate may cut into */
	bool host_keys, got_tokens;
	struct model_bytes scratch;
};

static inline void model_init(struct seq_model *m, uint32_t chunk, const uint8_t fingerprint[32],
	const struct kvf_seq_params *params)
{
	memset(m, 0, sizeof(*m));
	m->chunk = chunk;
	kvf_key_root(m->root, fingerprint, params); /* test_keys.c looks after this one */
}

static inline void model_free(struct seq_model *m)
{
	free(m->tokens);
	free(m->extras);
	free(m->keys);
	free(m->scratch.at);
}

/* The extra that covers a position, or NULL. */
static inline const struct kvf_extra *model_at(const struct seq_model *m, uint64_t position)
{
	for (size_t i = 0; i < m->n_extras; i++)
		if (position >= m->extras[i].first &&
			position - m->extras[i].first < m->extras[i].n)
			return &m->extras[i];
	return NULL;
}

/* Key of the n tokens from chunk `i` on, by the book. */
static inline void model_key(struct seq_model *m, uint8_t out[32], size_t i, size_t n)
{
	struct model_bytes *b = &m->scratch;
	size_t begin = i * m->chunk, entries = 0;
	const struct kvf_extra *e = NULL;

	b->n = 0;
	model_put(b, i ? m->keys[i - 1] : m->root, 32);
	for (size_t t = begin; t < begin + n; t++)
		model_put_int(b, m->tokens[t], 4);
	for (size_t t = begin, length; m->n_extras && t < begin + n; t += length) {
		e = model_at(m, t);
		for (length = 1; t + length < begin + n && model_at(m, t + length) == e; length++)
			;
		if (!e)
			continue;
		entries++;
		model_put_int(b, t - e->first, 8);
		model_put_int(b, t - begin, 4);
		model_put_int(b, length, 4);
		model_put(b, e->id, 16);
	}
	if (entries || n != m->chunk) {
		model_put_int(b, n, 4);
		model_put_int(b, entries, 4);
		model_put_int(b, 1, 1);
	}
	model_hash(out, b->at, b->n);
}

static inline void model_put_key(struct seq_model *m, const uint8_t key[32])
{
	void *array = m->keys;

	model_room(&array, &m->cap_keys, m->n_keys + 1, 32);
	m->keys = array;
	memmove(m->keys[m->n_keys++], key, 32);
}

/* Each of these returns what the sequence should have returned; KVF_OK means it was done. */
static inline int model_add(struct seq_model *m, const uint32_t *tokens, size_t n)
{
	void *array = m->tokens;
	uint8_t key[32];

	if (!n)
		return KVF_OK;
	if (m->host_keys)
		return KVF_EINVAL;
	model_room(&array, &m->cap_tokens, m->n + n, sizeof(*tokens));
	m->tokens = array;
	memcpy(m->tokens + m->n, tokens, n * sizeof(*tokens));
	m->n += n;
	m->got_tokens = true;
	while (m->n_keys < m->n / m->chunk) {
		model_key(m, key, m->n_keys, m->chunk);
		m->reopen = m->n_keys;
		model_put_key(m, key);
	}
	return KVF_OK;
}

static inline int model_add_extra(struct seq_model *m, size_t first, size_t n, const uint8_t id[16])
{
	void *array = m->extras;

	if (m->host_keys || !n || first < m->n || n > KVF_SEQ_MAX_TOKENS ||
		first > KVF_SEQ_MAX_TOKENS - n)
		return KVF_EINVAL;
	for (size_t i = 0; i < m->n_extras; i++)
		if (first < m->extras[i].first + m->extras[i].n && m->extras[i].first < first + n)
			return KVF_EINVAL;
	model_room(&array, &m->cap_extras, m->n_extras + 1, sizeof(*m->extras));
	m->extras = array;
	m->extras[m->n_extras].first = first;
	m->extras[m->n_extras].n = n;
	memcpy(m->extras[m->n_extras++].id, id, 16);
	return KVF_OK;
}

/* True while a content id reaches into what is not appended yet, or could be brought there by a
 * truncate. */
static inline bool model_extras_wait(const struct seq_model *m)
{
	for (size_t i = 0; i < m->n_extras; i++)
		if (m->extras[i].first + m->extras[i].n > m->reopen * m->chunk)
			return true;
	return false;
}

static inline int model_add_keys(struct seq_model *m, const uint8_t (*keys)[32], size_t n)
{
	if (!n)
		return KVF_OK;
	if (m->got_tokens || model_extras_wait(m) || n > (KVF_SEQ_MAX_TOKENS - m->n) / m->chunk)
		return KVF_EINVAL;
	for (size_t i = 0; i < n; i++)
		model_put_key(m, keys[i]);
	m->n += n * m->chunk;
	m->reopen = m->n_keys;
	m->host_keys = true;
	return KVF_OK;
}

static inline int model_cut(struct seq_model *m, size_t n)
{
	size_t left = 0;

	if (n > m->n || (n % m->chunk && n / m->chunk < m->reopen))
		return KVF_EINVAL;
	if (n == m->n)
		return KVF_OK;
	for (size_t i = 0; i < m->n_extras; i++) {
		struct kvf_extra e = m->extras[i];

		if (e.first + e.n > n)
			e.n = e.first < n ? n - e.first : 0;
		if (e.n)
			m->extras[left++] = e;
	}
	m->n_extras = left;
	m->n = n;
	if (n / m->chunk < m->n_keys)
		m->n_keys = m->reopen = n / m->chunk;
	return KVF_OK;
}

static inline void model_dup(struct seq_model *to, const struct seq_model *from)
{
	*to = *from;
	to->scratch = (struct model_bytes){0};
	to->tokens = malloc((from->cap_tokens + 1) * sizeof(*to->tokens));
	to->extras = malloc((from->cap_extras + 1) * sizeof(*to->extras));
	to->keys = malloc((from->cap_keys + 1) * sizeof(*to->keys));
	if (!to->tokens || !to->extras || !to->keys)
		exit(3);
	if (from->n && !from->host_keys)
		memcpy(to->tokens, from->tokens, from->n * sizeof(*to->tokens));
	if (from->n_extras)
		memcpy(to->extras, from->extras, from->n_extras * sizeof(*to->extras));
	if (from->n_keys)
		memcpy(to->keys, from->keys, from->n_keys * sizeof(*to->keys));
}

/* NULL when `seq` is what the model says (its last `deep` keys are looked at), else what is wrong.
 */
static inline const char *model_compare(struct seq_model *m, struct kvf_seq *seq, size_t deep)
{
	size_t open = m->n % m->chunk, from = m->n_keys > deep ? m->n_keys - deep : 0;
	uint8_t key[32];

	if (seq->n_tokens != m->n || seq->n_chunks != m->n_keys)
		return "length";
	if (memcmp(seq->root, m->root, 32) != 0)
		return "root";
	if (m->n_keys && memcmp(seq->keys->key[from], m->keys[from], (m->n_keys - from) * 32) != 0)
		return "keys";
	if (seq->keys->cap < seq->n_chunks || seq->keys->written < seq->n_chunks ||
		!seq->keys->refs)
		return "key vector";
	if (open) {
		model_key(m, key, m->n_keys, open);
		if (memcmp(key, kvf_seq_tail_key(seq), 32) != 0)
			return "tail key";
		if (memcmp(seq->tail, m->tokens + m->n - open, open * 4) != 0)
			return "tail tokens";
	}
	if (!m->host_keys && (seq->last != NULL) != (m->reopen < m->n_keys))
		return "last chunk kept";
	if (seq->last && memcmp(seq->last, m->tokens + (m->n_keys - 1) * m->chunk,
				 m->chunk * (size_t)4) != 0)
		return "last tokens";
	if (seq->resident > seq->n_chunks)
		return "memo";
	if (seq->keys_only != m->host_keys || seq->got_tokens != m->got_tokens)
		return "kind";
	return NULL;
}

#endif
