/* SPDX-License-Identifier: Apache-2.0 */
/* Opening, forking and closing of sequences. See seq.h. */
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "token/seq_impl.h"
#include "token/sha256.h"

#define FIRST_KEYS 15

static const char *text_of(const char *text)
{
	return text ? text : "";
}

uint32_t kvf_seq_tenant(const char *salt)
{
	static const char tag[] = "kvferry tenant 1"; /* its NUL ends it */
	uint8_t digest[KVF_SHA256_SIZE];
	struct kvf_sha256 s;
	uint32_t tenant;

	if (!salt[0])
		return 0;
	kvf_sha256_init(&s);
	kvf_sha256_update(&s, tag, sizeof(tag));
	kvf_sha256_update(&s, salt, strlen(salt));
	kvf_sha256_final(&s, digest);
	tenant = kvf_load_le32(digest);
	return tenant ? tenant : 1;
}

static size_t tags_bytes(const struct kvf_seq_params *params)
{
	size_t n = 1;

	for (uint32_t i = 0; i < params->n_tags; i++)
		n += 2 + strlen(params->tags[i].name) + strlen(text_of(params->tags[i].value));
	return n;
}

static int copy_tags(struct kvf_seq *seq, const struct kvf_seq_params *params)
{
	size_t bytes, at = 0;

	if (!params->n_tags)
		return KVF_OK;
	bytes = tags_bytes(params);
	seq->tags = kvf_mem_alloc(seq->env->mem, bytes);
	if (!seq->tags)
		return kvf_seq_no_memory(seq->env, bytes, "tags");
	for (uint32_t i = 0; i < params->n_tags; i++)
		at += (size_t)snprintf(seq->tags + at, bytes - at, "@%s%%%s", params->tags[i].name,
			text_of(params->tags[i].value));
	return KVF_OK;
}

static void copy_params(struct kvf_seq *seq, const struct kvf_seq_params *params)
{
	snprintf(seq->request_id, sizeof(seq->request_id), "%s", text_of(params->request_id));
	for (char *c = seq->request_id; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	snprintf(seq->salt, sizeof(seq->salt), "%s", text_of(params->salt));
	seq->tenant = kvf_seq_tenant(seq->salt);
	seq->skip_save = params->flags & KVF_SEQ_SKIP_SAVE;
	seq->priority = params->priority;
}

/* Frees all that a sequence owns; every part may be missing. */
static void release(struct kvf_seq *seq)
{
	struct kvf_mem *mem = seq->env->mem;

	kvf_keyvec_unref(mem, seq->keys);
	kvf_seq_wire_close(seq);
	kvf_mem_free(mem, seq->tail, kvf_seq_chunk_bytes(seq));
	kvf_mem_free(mem, seq->last, kvf_seq_chunk_bytes(seq));
	kvf_mem_free(mem, seq->extras, seq->cap_extras * sizeof(*seq->extras));
	if (seq->tags)
		kvf_mem_free(mem, seq->tags, strlen(seq->tags) + 1);
	kvf_mem_free(mem, seq, sizeof(*seq));
}

static void enlist(struct kvf_seq *seq)
{
	kvf_list_push_back(&seq->env->all, &seq->link);
	seq->env->n_open++;
}

int kvf_seq_new(struct kvf_seq_env *env, const struct kvf_seq_params *params, struct kvf_seq **out)
{
	struct kvf_seq *seq;
	int status = kvf_seq_check_params(env, params);

	if (status != KVF_OK)
		return status;
	seq = kvf_mem_zalloc(env->mem, sizeof(*seq));
	if (!seq)
		return kvf_seq_no_memory(env, sizeof(*seq), "sequence");
	seq->env = env;
	seq->keys = kvf_keyvec_new(env->mem, FIRST_KEYS);
	if (!seq->keys) {
		status = kvf_seq_no_memory(env, FIRST_KEYS * KVF_KEY_BYTES, "keys");
	} else if (params) {
		copy_params(seq, params);
		status = copy_tags(seq, params);
	}
	if (status == KVF_OK)
		status = kvf_seq_wire_open(seq, params);
	if (status != KVF_OK) {
		release(seq);
		return status;
	}
	kvf_key_root(seq->root, env->fingerprint, params);
	enlist(seq);
	*out = seq;
	return KVF_OK;
}

/* A copy of `bytes` bytes of `from`; NULL when that is NULL too, or with *failed set. */
static void *copy_of(struct kvf_mem *mem, const void *from, size_t bytes, size_t used, bool *failed)
{
	void *p;

	if (!from || !used || *failed)
		return NULL;
	p = kvf_mem_alloc(mem, bytes);
	if (p)
		memcpy(p, from, used);
	else
		*failed = true;
	return p;
}

int kvf_seq_dup(const struct kvf_seq *seq, struct kvf_seq **out)
{
	struct kvf_mem *mem = seq->env->mem;
	size_t chunk = kvf_seq_chunk_bytes(seq);
	size_t tags = seq->tags ? strlen(seq->tags) + 1 : 0;
	bool failed = false;
	struct kvf_seq *copy = kvf_mem_alloc(mem, sizeof(*copy));

	if (!copy)
		return kvf_seq_no_memory(seq->env, sizeof(*copy), "sequence");
	*copy = *seq;
	copy->link = (struct kvf_list){NULL, NULL};
	kvf_keyvec_ref(copy->keys);
	kvf_seq_wire_share(copy);
	copy->cap_extras = seq->n_extras;
	copy->tail = copy_of(
		mem, seq->tail, chunk, kvf_seq_open_tokens(seq) * sizeof(uint32_t), &failed);
	copy->last = copy_of(mem, seq->last, chunk, chunk, &failed);
	copy->tags = copy_of(mem, seq->tags, tags, tags, &failed);
	copy->extras = copy_of(mem, seq->extras, copy->cap_extras * sizeof(*seq->extras),
		seq->n_extras * sizeof(*seq->extras), &failed);
	if (failed) {
		release(copy);
		return kvf_seq_no_memory(seq->env, 2 * chunk, "fork");
	}
	enlist(copy);
	*out = copy;
	return KVF_OK;
}

void kvf_seq_free(struct kvf_seq *seq)
{
	if (!seq)
		return;
	kvf_list_remove(&seq->link);
	seq->env->n_open--;
	release(seq);
}
