/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every example needs and no example is about: a paged KV cache in host memory, with a "model" that fills it.
 * A real host has all this already.
 */
#ifndef KVFERRY_EXAMPLES_COMMON_H
#define KVFERRY_EXAMPLES_COMMON_H

#include <kvferry/kvferry.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK 256u /* kvferry's default chunk_size: hits come in multiples of it */
#define KV_BLOCK 16u
#define KV_LAYERS 2u
#define KV_ROW 64u /* bytes of one token in one layer and plane: 2 heads of 16 bfloat16 */

struct kv {
	unsigned char *memory; /* [layer][plane][block][token of the block][KV_ROW] */
	size_t plane_bytes;
	struct kvf_layer layers[KV_LAYERS];
	struct kvf_group group;
	struct kvf_layout layout;
};

static inline void kv_open(struct kv *kv, uint32_t n_blocks)
{
	memset(kv, 0, sizeof(*kv));
	kv->plane_bytes = (size_t)n_blocks * KV_BLOCK * KV_ROW;
	kv->memory = calloc(KV_LAYERS * 2, kv->plane_bytes);
	if (!kv->memory)
		exit(1);
	for (unsigned l = 0; l < KV_LAYERS; l++) {
		kv->layers[l].base[0] = kv->memory + (2 * l) * kv->plane_bytes;
		kv->layers[l].base[1] = kv->memory + (2 * l + 1) * kv->plane_bytes;
		kv->layers[l].device = -1; /* host memory */
	}
	kv->group.size = sizeof(kv->group);
	kv->group.n_layers = KV_LAYERS;
	kv->group.planes = 2;
	kv->group.heads = 2;
	kv->group.head_elems = 16;
	kv->group.dtype = KVF_BFLOAT16;
	kv->group.block_tokens = KV_BLOCK;
	kv->group.n_blocks = n_blocks;
	kv->group.block_stride = KV_BLOCK * KV_ROW;
	kv->group.token_stride = KV_ROW;
	kv->group.head_stride = KV_ROW / 2;
	kv->group.layers = kv->layers;
	kv->layout.size = sizeof(kv->layout);
	kv->layout.n_groups = 1;
	kv->layout.groups = &kv->group;
}

static inline void kv_close(struct kv *kv)
{
	free(kv->memory);
}

static inline void kv_wipe(struct kv *kv)
{
	memset(kv->memory, 0xee, KV_LAYERS * 2 * kv->plane_bytes);
}

/*
 * The "model": the KV of tokens [first, end) of a prompt, in the blocks of its table. As in a real model the bytes of a
 * token depend on every token before it. check = 0 writes them; check = 1 returns how many bytes differ.
 */
static inline size_t kv_model(struct kv *kv, const uint32_t *table, const uint32_t *tokens, size_t first, size_t end,
			      int check)
{
	uint64_t state = 0;
	size_t wrong = 0;

	for (size_t t = 0; t < end; t++) {
		size_t row = (table[t / KV_BLOCK] * (size_t)KV_BLOCK + t % KV_BLOCK) * KV_ROW;

		state = (state ^ tokens[t]) * 0x9e3779b97f4a7c15u;
		for (size_t p = 0; t >= first && p < KV_LAYERS * 2; p++) {
			unsigned char *at = kv->memory + p * kv->plane_bytes + row;

			for (unsigned i = 0; i < KV_ROW; i++) {
				unsigned char byte = (unsigned char)((state >> 32) + p * 7 + i);

				wrong += check && at[i] != byte;
				if (!check)
					at[i] = byte;
			}
		}
	}
	return wrong;
}

static inline void kv_compute(struct kv *kv, const uint32_t *table, const uint32_t *tokens, size_t first, size_t end)
{
	kv_model(kv, table, tokens, first, end, 0);
}

static inline size_t kv_wrong(struct kv *kv, const uint32_t *table, const uint32_t *tokens, size_t first, size_t end)
{
	return kv_model(kv, table, tokens, first, end, 1);
}

/* A prompt: the first `shared` tokens are the same for every seed, as a system prompt is. */
static inline void make_prompt(uint32_t *tokens, size_t n, size_t shared, uint32_t seed)
{
	for (size_t i = 0; i < n; i++)
		tokens[i] = (uint32_t)i * 31 + (i < shared ? 0 : seed * 1000003u);
}

/* Ends the example when something that must not fail did. */
static inline void must(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "FAILED: %s\n", what);
	exit(1);
}

/* An engine over kv with n_slots chunks of RAM and all else by default. */
static inline struct kvf_engine *engine_open(struct kvf_open_params *params, const struct kv *kv, const char *n_slots)
{
	char text[2048];
	struct kvf_report report;
	struct kvf_config *config;
	struct kvf_engine *engine = NULL;

	kvf_report_init(&report, text, sizeof(text));
	must(kvf_config_create(&config, NULL) == KVF_OK, "kvf_config_create");
	must(kvf_config_set(config, "kvf_pool_slots", n_slots, &report) == KVF_OK, text);
	params->config = config;
	if (kv)
		params->layout = &kv->layout;
	params->identity.model = "toy";
	params->report = &report;
	must(kvf_engine_open(&engine, params) == KVF_OK, text);
	kvf_config_destroy(config); /* the engine keeps no pointer to it */
	return engine;
}

/* Finishes what is in flight, then closes. */
static inline void engine_close(struct kvf_engine *engine)
{
	struct kvf_completion c;

	kvf_engine_shutdown(engine, KVF_SHUTDOWN_DRAIN, kvf_now_ns(engine) + 5000000000u);
	while (!kvf_engine_idle(engine))
		kvf_poll(engine, &c, 1);
	must(kvf_engine_close(engine) == KVF_OK, "kvf_engine_close");
}

/* Submits one operation and polls until it is done: for examples whose subject is something else. */
static inline struct kvf_completion run(struct kvf_engine *engine, const struct kvf_op *op)
{
	struct kvf_completion c;
	uint64_t id;

	must(kvf_submit(engine, op, 1, &id) == 1, kvf_error_detail(engine));
	while (kvf_poll(engine, &c, 1) == 0 || c.kind != KVF_DONE)
		;
	return c;
}

/* Stores or retrieves tokens [first, first + n), which lie in the blocks of a table, to the end. level: stores only. */
static inline struct kvf_completion kv_copy(struct kvf_engine *engine, struct kvf_seq *seq, const uint32_t *table,
					    enum kvf_op_code code, size_t first, size_t n, enum kvf_level level)
{
	struct kvf_block_list list = { table, (first + n + KV_BLOCK - 1) / KV_BLOCK, 0 };
	struct kvf_blocks blocks = { 1, &list };
	struct kvf_span span = { first, n, &blocks };
	struct kvf_fence_in now = { .kind = KVF_FENCE_NOW }; /* host memory is ready as it is */
	struct kvf_op op;

	if (code == KVF_OP_STORE)
		kvf_prep_store(&op, seq, &span, &now);
	else
		kvf_prep_retrieve(&op, seq, &span, &now);
	op.level = (uint8_t)level;
	return run(engine, &op);
}

#endif
