/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the adapter share. */
#ifndef KVFERRY_EXAMPLES_LLAMA_KV_IMPL_H
#define KVFERRY_EXAMPLES_LLAMA_KV_IMPL_H

#include "llama_kv.h"

struct lkv {
	struct llama_model *model;
	struct llama_context *context;
	llama_memory_t memory;
	struct kvf_engine *engine;
	struct kvf_device_host *device_host;
	struct lkv_request *requests;
	void (*on_chunk)(const struct kvf_copy *copy, void *user);
	void *user;
	uint32_t chunk_tokens;
	uint32_t n_batch;
	uint32_t n_seq; /* of the host */
	llama_seq_id copy_seq; /* behind those: empty but inside a copy */
	size_t head_bytes; /* a blob of n tokens has head_bytes + n * token_bytes */
	size_t token_bytes;
	char name[128];
	char identity[1024];
	char error[512];
};

enum lkv_state { LKV_IDLE = 0, LKV_LOOKUP, LKV_FILL, LKV_RETRIEVE, LKV_PREFETCH, LKV_STORE };

struct lkv_request {
	struct lkv *kv;
	struct lkv_request *next;
	struct kvf_seq *tokens;
	struct lkv_result result;
	lkv_event_fn on_event;
	void *user;
	llama_seq_id seq;
	enum lkv_state state;
	size_t length; /* tokens appended */
	size_t present;
	size_t target; /* of a load: where it is to end */
	size_t filled; /* ... and how far it is in RAM */
	size_t fill_end, copy_end; /* ... and where what is in flight is to end */
	uint64_t op_id; /* in flight; 0: none */
	uint64_t copy_id; /* beside a fill: the retrieve of what it brought; 0: none */
	uint64_t lease_id; /* of the lookup, until the chunks are copied */
	struct kvf_op op; /* waits for a place in the engine's queue */
	bool op_waits, copy_waits;
	bool filling; /* a fill is in flight */
	bool canceled;
	enum lkv_event event; /* to be delivered by the next poll; 0: none */
};

/* llama_kv_device.c: how a chunk gets from llama.cpp into a slot of kvferry and back. */
extern const struct kvf_device_ops lkv_device_ops;
/* Measures the size of a blob, and that a range of tokens comes back as it was. NULL, or what is
 * wrong. */
const char *lkv_probe(struct lkv *kv);

/* llama_kv_identity.c */
/* NULL, or why contexts of this model cannot be saved and restored by ranges of tokens. */
const char *lkv_refusal(const struct llama_model *model, const struct llama_context_params *params);
/* 64 hex digits and a NUL. */
int lkv_hash_file(const char *path, char hex[65]);
uint64_t lkv_fingerprint(const char *text);
/* Everything besides the file that the bytes of the KV and their format depend on. */
void lkv_describe(
	const struct lkv *kv, const struct llama_context_params *params, char *text, size_t n);

#endif
