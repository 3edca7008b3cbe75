/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The smallest host: one layer of KV in host memory, one prompt stored, wiped and brought back. It checks itself.
 *
 *	cc hello.c $(pkg-config --cflags --libs kvferry) && ./a.out
 */
/* README begins */
#include <stdio.h>
#include <string.h>
#include <kvferry/kvferry.h>

enum { TOKENS = 512, BLOCK = 16, ROW = 64 * 2 }; /* a token: 64 bfloat16 in K and in V */
static unsigned char k[TOKENS * ROW], v[TOKENS * ROW]; /* the pages of the one layer */

static unsigned run(struct kvf_engine *engine, const struct kvf_op *op)
{
	struct kvf_completion done = { .tokens = 0 };
	uint64_t id;

	if (kvf_submit(engine, op, 1, &id) == 1) /* takes the operation, does no work */
		while (kvf_poll(engine, &done, 1) == 0) /* work happens in here, a bounded turn a call */
			;
	return done.tokens;
}

int main(void)
{
	struct kvf_layer layer = { .base = { k, v }, .device = -1 };
	struct kvf_group group = { .size = sizeof(group), .n_layers = 1, .planes = 2, .heads = 1, .head_elems = 64,
		.dtype = KVF_BFLOAT16, .block_tokens = BLOCK, .n_blocks = TOKENS / BLOCK,
		.block_stride = BLOCK * ROW, .token_stride = ROW, .head_stride = ROW, .layers = &layer };
	struct kvf_layout layout = { .size = sizeof(layout), .n_groups = 1, .groups = &group };
	uint32_t tokens[TOKENS], table[TOKENS / BLOCK]; /* the prompt, and its block table */
	struct kvf_block_list list = { table, TOKENS / BLOCK, 0 };
	struct kvf_blocks blocks = { 1, &list };
	struct kvf_span span = { 0, TOKENS, &blocks };
	struct kvf_fence_in now = { .kind = KVF_FENCE_NOW }; /* host memory is ready as it is */
	struct kvf_open_params params;
	struct kvf_config *config;
	struct kvf_engine *engine;
	struct kvf_seq *seq;
	struct kvf_op op;

	for (unsigned i = 0; i < TOKENS; i++) {
		tokens[i] = 1000 + i;
		table[i / BLOCK] = i / BLOCK;
	}
	kvf_open_params_init(&params);
	if (kvf_config_create(&config, NULL) || kvf_config_set(config, "max_local_cpu_size", "0.03", NULL))
		return 1; /* in GB: the RAM of the cache */
	params.config = config;
	params.layout = &layout;
	params.identity.model = "toy";
	if (kvf_engine_open(&engine, &params) || kvf_seq_open(engine, NULL, &seq) ||
	    kvf_seq_append(seq, tokens, TOKENS))
		return 1;
	memset(k, 'k', sizeof(k)); /* the model computes */
	memset(v, 'v', sizeof(v));
	kvf_prep_store(&op, seq, &span, &now);
	printf("stored %u tokens\n", run(engine, &op));
	memset(k, 0, sizeof(k)); /* the pages serve another request */
	memset(v, 0, sizeof(v));
	kvf_prep_retrieve(&op, seq, &span, &now);
	printf("retrieved %u tokens\n", run(engine, &op));
	kvf_config_destroy(config);
	return kvf_engine_close(engine) || k[0] != 'k' || v[TOKENS * ROW - 1] != 'v';
}
/* README ends */
