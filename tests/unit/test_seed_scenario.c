/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log lines of LMCache's documented example: a prompt of 15,410 tokens that is computed and
 * stored in steps of 2,048, then asked for again while the engine's own prefix cache still holds
 * its 963 full blocks of 16.
 */
#include "tests/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kvferry/kvferry.h"

#define PROMPT 15410u
#define STEP 2048u
#define BLOCK 16u
#define BLOCKS ((PROMPT + BLOCK - 1) / BLOCK)
#define TOKEN_BYTES 8u
#define MAX_LINES 64u

struct lines {
	char text[MAX_LINES][256];
	unsigned n;
};

struct host {
	struct kvf_engine *engine;
	struct kvf_seq *seq;
	struct kvf_layer layer;
	struct kvf_group group;
	struct kvf_layout layout;
	uint32_t ids[BLOCKS];
	uint8_t *kv;
	struct lines lines;
};

static void keep_line(enum kvf_log_level level, const char *scope, const char *msg, void *user)
{
	struct lines *lines = user;

	(void)scope;
	if (level == KVF_LOG_INFO && lines->n < MAX_LINES)
		snprintf(lines->text[lines->n++], sizeof(lines->text[0]), "%s", msg);
}

static const char *environment(const char *name, void *user)
{
	static const char *const pairs[][2] = {
		{"LMCACHE_USE_EXPERIMENTAL", "True"},
		{"LMCACHE_CHUNK_SIZE", "256"},
		{"LMCACHE_LOCAL_CPU", "True"},
		{"LMCACHE_SAVE_UNFULL_CHUNK", "True"},
		{"LMCACHE_LOG_LEVEL", "INFO"},
		{"LMCACHE_EXTRA_CONFIG", "{\"kvf_pool_slots\": 128}"},
	};

	(void)user;
	for (size_t i = 0; i < KVF_ARRAY_LEN(pairs); i++) {
		if (strcmp(name, pairs[i][0]) == 0)
			return pairs[i][1];
	}
	return NULL;
}

static void open_host(struct host *h)
{
	struct kvf_env env = {.size = sizeof(env), .get = environment};
	struct kvf_log_sink sink = {.size = sizeof(sink), .write = keep_line, .user = &h->lines};
	struct kvf_config *config = NULL;
	struct kvf_open_params p;

	memset(h, 0, sizeof(*h));
	h->kv = calloc(BLOCKS * BLOCK, TOKEN_BYTES * 2);
	CU_ASSERT_PTR_NOT_NULL_FATAL(h->kv);
	h->layer = (struct kvf_layer){
		.base = {h->kv, h->kv + BLOCKS * BLOCK * TOKEN_BYTES}, .device = -1};
	h->group = (struct kvf_group){.size = sizeof(h->group),
		.n_layers = 1,
		.planes = 2,
		.heads = 1,
		.head_elems = TOKEN_BYTES / 2,
		.dtype = KVF_BFLOAT16,
		.block_tokens = BLOCK,
		.n_blocks = BLOCKS,
		.block_stride = BLOCK * TOKEN_BYTES,
		.token_stride = TOKEN_BYTES,
		.head_stride = TOKEN_BYTES,
		.layers = &h->layer};
	h->layout =
		(struct kvf_layout){.size = sizeof(h->layout), .n_groups = 1, .groups = &h->group};
	for (uint32_t i = 0; i < BLOCKS; i++)
		h->ids[i] = i;
	CU_ASSERT_EQUAL_FATAL(kvf_config_create(&config, NULL), KVF_OK);
	CU_ASSERT_EQUAL_FATAL(kvf_config_load(config, NULL, &env, NULL), KVF_OK);
	kvf_open_params_init(&p);
	p.config = config;
	p.layout = &h->layout;
	p.identity.model = "meta-llama/Llama-3.1-8B-Instruct";
	p.log = &sink;
	CU_ASSERT_EQUAL_FATAL(kvf_engine_open(&h->engine, &p), KVF_OK);
	kvf_config_destroy(config);
}

static void close_host(struct host *h)
{
	struct kvf_completion c;

	kvf_seq_close(h->seq);
	kvf_engine_shutdown(h->engine, KVF_SHUTDOWN_DRAIN, KVF_NO_DEADLINE);
	while (!kvf_engine_idle(h->engine))
		kvf_poll(h->engine, &c, 1);
	CU_ASSERT_EQUAL(kvf_engine_close(h->engine), KVF_OK);
	free(h->kv);
}

static void open_request(struct host *h, const char *id)
{
	struct kvf_seq_params p;

	kvf_seq_close(h->seq);
	kvf_seq_params_init(&p);
	p.request_id = id;
	p.salt = "tenant-secret";
	CU_ASSERT_EQUAL_FATAL(kvf_seq_open(h->engine, &p, &h->seq), KVF_OK);
}

static void append(struct host *h, uint32_t first, uint32_t n)
{
	uint32_t tokens[STEP];

	for (uint32_t i = 0; i < n; i++)
		tokens[i] = 70000u + (first + i) * 17u;
	CU_ASSERT_EQUAL_FATAL(kvf_seq_append(h->seq, tokens, n), KVF_OK);
}

static void append_all(struct host *h)
{
	for (uint32_t at = 0; at < PROMPT; at += STEP)
		append(h, at, PROMPT - at < STEP ? PROMPT - at : STEP);
}

static struct kvf_completion run(struct host *h, const struct kvf_op *op)
{
	struct kvf_completion c = {.kind = 0};
	uint64_t id;

	CU_ASSERT_EQUAL_FATAL(kvf_submit(h->engine, op, 1, &id), 1);
	while (kvf_poll(h->engine, &c, 1) != 1)
		continue;
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	return c;
}

static struct kvf_completion lookup(struct host *h, uint32_t computed)
{
	struct kvf_op op;

	kvf_prep_lookup(&op, h->seq, computed, 0, 0);
	return run(h, &op);
}

static struct kvf_completion move(struct host *h, enum kvf_op_code code, uint32_t first, uint32_t n)
{
	struct kvf_block_list list = {h->ids, BLOCKS, 0};
	struct kvf_blocks blocks = {1, &list};
	struct kvf_span span = {first, n, &blocks};
	struct kvf_fence_in now = {.kind = KVF_FENCE_NOW};
	struct kvf_op op;

	if (code == KVF_OP_STORE)
		kvf_prep_store(&op, h->seq, &span, &now);
	else
		kvf_prep_retrieve(&op, h->seq, &span, &now);
	return run(h, &op);
}

/* Lines that start with `head`; the last of them is the result. */
static const char *find(const struct host *h, const char *head, unsigned *n)
{
	const char *last = "";

	*n = 0;
	for (unsigned i = 0; i < h->lines.n; i++) {
		if (strncmp(h->lines.text[i], head, strlen(head)) == 0) {
			last = h->lines.text[i];
			++*n;
		}
	}
	return last;
}

static bool has(const struct host *h, const char *line)
{
	unsigned n;

	find(h, line, &n);
	return n > 0;
}

/* by_step: the host appends what a step computes before it stores it; else the whole prompt at
 * once. */
static void scenario(bool by_step)
{
	struct kvf_completion c;
	struct host h;
	unsigned n;

	open_host(&h);
	open_request(&h, "chatcmpl-8676f9b9ebf04c79a5d47b9ada7b65fd");
	append_all(&h);
	CU_ASSERT_EQUAL(lookup(&h, 0).tokens, 0);
	CU_ASSERT(has(&h, "Reqid: chatcmpl-8676f9b9ebf04c79a5d47b9ada7b65fd, Total tokens 15410, "
			  "LMCache hit tokens: 0, "
			  "need to load: 0"));
	if (by_step)
		CU_ASSERT_EQUAL(kvf_seq_truncate(h.seq, 0), KVF_OK);
	for (uint32_t at = 0; at < PROMPT; at += STEP) {
		uint32_t tokens = PROMPT - at < STEP ? PROMPT - at : STEP;

		if (by_step)
			append(&h, at, tokens);
		CU_ASSERT_EQUAL(move(&h, KVF_OP_STORE, at, tokens).tokens, tokens);
	}
	find(&h, "Storing KV cache for ", &n);
	CU_ASSERT_EQUAL(n, 8);
	find(&h, "Storing KV cache for 2048 out of ", &n);
	CU_ASSERT_EQUAL(n, 7);
	CU_ASSERT(has(&h, "Storing KV cache for 2048 out of 12288 tokens "
			  "(skip_leading_tokens=10240) for request "
			  "chatcmpl-8676f9b9ebf04c79a5d47b9ada7b65fd"));
	CU_ASSERT(has(&h, "Storing KV cache for 2048 out of 14336 tokens"));
	CU_ASSERT_STRING_EQUAL(find(&h, "Storing", &n),
		"Storing KV cache for 1074 out of 15410 tokens (skip_leading_tokens=14336) for "
		"request "
		"chatcmpl-8676f9b9ebf04c79a5d47b9ada7b65fd");
	CU_ASSERT(has(&h, "[req_id=chatcmpl-8676f9b9ebf04c79a5d47b9ada7b65fd] Stored 1074 out of "
			  "total 15410 tokens. size: "));

	open_request(&h, "chatcmpl-136d9dac1ba94bd4b4ae85007e8ad437");
	append_all(&h);
	c = lookup(&h, 15408);
	CU_ASSERT_EQUAL(c.tokens, 15410);
	CU_ASSERT_EQUAL(c.usable, 15409);
	CU_ASSERT_EQUAL(c.need, 1);
	CU_ASSERT_STRING_EQUAL(find(&h, "Reqid: ", &n),
		"Reqid: chatcmpl-136d9dac1ba94bd4b4ae85007e8ad437, Total tokens 15410, LMCache hit "
		"tokens: 15409, "
		"need to load: 1");
	CU_ASSERT_EQUAL(n, 2);
	CU_ASSERT_EQUAL(move(&h, KVF_OP_RETRIEVE, 15408, 1).tokens, 1);
	CU_ASSERT(has(&h, "[req_id=chatcmpl-136d9dac1ba94bd4b4ae85007e8ad437] Retrieved 1 out of 1 "
			  "required tokens (from 15410 "
			  "total tokens). size: "));
	for (unsigned i = 0; i < h.lines.n; i++)
		CU_ASSERT_PTR_NULL(strstr(h.lines.text[i], "tenant-secret"));
	close_host(&h);
}

static void test_whole_prompt_first(void)
{
	scenario(false);
}

static void test_step_by_step(void)
{
	scenario(true);
}

/* At the default level nothing of it is printed. */
static void test_quiet(void)
{
	struct host h;

	open_host(&h);
	CU_ASSERT_EQUAL(kvf_set_log_level(h.engine, KVF_LOG_WARNING), KVF_OK);
	open_request(&h, "r");
	append_all(&h);
	lookup(&h, 0);
	move(&h, KVF_OP_STORE, 0, PROMPT);
	CU_ASSERT_EQUAL(h.lines.n, 0);
	close_host(&h);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"whole_prompt_first", test_whole_prompt_first},
		{"step_by_step", test_step_by_step},
		{"quiet", test_quiet},
	};

	return kvf_test_main("seed_scenario", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
