/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The example that LMCache's format is explained by: one chunk of Llama-3.1-8B in bfloat16, stored in a real server,
 * and what Python's standard library reads there.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"
#include "tests/support/redis.h"

#include "kvferry/kvferry.h"

#define LAYERS 32u
#define TOKENS 256u
#define BLOCK 16u
#define HEADS 8u
#define HEAD_ELEMS 128u
#define ROW (HEADS * HEAD_ELEMS * 2u)
#define PAYLOAD ((size_t)2 * LAYERS * TOKENS * ROW)
#define POLLS 100000000u

static struct redis server;
static uint8_t *kv;
static struct kvf_layer layers[LAYERS];
static struct kvf_group group;
static uint32_t ids[TOKENS / BLOCK];

static struct kvf_engine *open_engine(const char *const *settings)
{
	const struct kvf_layout layout = { .size = sizeof(layout), .n_groups = 1, .groups = &group };
	struct kvf_engine *engine = NULL;
	struct kvf_config *config = NULL;
	struct kvf_open_params p;

	for (uint32_t i = 0; i < LAYERS; i++)
		layers[i] = (struct kvf_layer){ .base = { kv + 2 * i * (size_t)TOKENS * ROW,
							  kv + (2 * i + 1) * (size_t)TOKENS * ROW },
						.device = -1 };
	group = (struct kvf_group){ .size = sizeof(group), .n_layers = LAYERS, .planes = 2, .heads = HEADS,
				    .head_elems = HEAD_ELEMS, .dtype = KVF_BFLOAT16, .block_tokens = BLOCK,
				    .n_blocks = TOKENS / BLOCK, .block_stride = BLOCK * ROW, .token_stride = ROW,
				    .head_stride = HEAD_ELEMS * 2, .layers = layers };
	CU_ASSERT_EQUAL_FATAL(kvf_config_create(&config, NULL), KVF_OK);
	for (; *settings; settings += 2)
		CU_ASSERT_EQUAL(kvf_config_set(config, settings[0], settings[1], NULL), KVF_OK);
	kvf_open_params_init(&p);
	p.config = config;
	p.layout = &layout;
	p.identity.model = "meta-llama/Llama-3.1-8B";
	CU_ASSERT_EQUAL_FATAL(kvf_engine_open(&engine, &p), KVF_OK);
	kvf_config_destroy(config);
	return engine;
}

static struct kvf_completion run(struct kvf_engine *engine, struct kvf_seq *seq, bool store)
{
	static const struct kvf_fence_in now = { .kind = KVF_FENCE_NOW };
	const struct kvf_block_list list = { .ids = ids, .n = TOKENS / BLOCK };
	const struct kvf_blocks blocks = { .n_groups = 1, .groups = &list };
	const struct kvf_span span = { .n = TOKENS, .blocks = &blocks };
	struct kvf_completion c = { .status = KVF_EINTERNAL };
	struct kvf_op op;
	uint64_t id;

	if (store) {
		kvf_prep_store(&op, seq, &span, &now);
		op.level = KVF_LEVEL_REMOTE;
	} else {
		kvf_prep_retrieve(&op, seq, &span, &now);
	}
	op.deadline_ns = KVF_NO_DEADLINE;
	CU_ASSERT_EQUAL_FATAL(kvf_submit(engine, &op, 1, &id), 1);
	for (unsigned i = 0; i < POLLS; i++)
		if (kvf_poll(engine, &c, 1) == 1 && c.kind == KVF_DONE)
			break;
	return c;
}

static void once(const char *const *settings, bool store)
{
	struct kvf_engine *engine = open_engine(settings);
	struct kvf_seq *seq = NULL;
	struct kvf_completion c;
	uint32_t tokens[TOKENS];

	for (uint32_t i = 0; i < TOKENS; i++)
		tokens[i] = 1000 + i;
	CU_ASSERT_EQUAL_FATAL(kvf_seq_open(engine, NULL, &seq), KVF_OK);
	CU_ASSERT_EQUAL(kvf_seq_append(seq, tokens, TOKENS), KVF_OK);
	c = run(engine, seq, store);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(c.tokens, TOKENS);
	kvf_seq_close(seq);
	CU_ASSERT_EQUAL(kvf_engine_shutdown(engine, KVF_SHUTDOWN_DRAIN, KVF_NO_DEADLINE), KVF_OK);
	for (unsigned i = 0; i < POLLS && !kvf_engine_idle(engine); i++)
		kvf_poll(engine, NULL, 0);
	CU_ASSERT_EQUAL(kvf_engine_close(engine), KVF_OK);
}

/* What the script prints of the only key that ends so. */
static void described(const char *tail, char *rest, size_t size)
{
	char command[512], line[512];
	FILE *f;

	rest[0] = '\0';
	snprintf(command, sizeof(command), "python3 '%s/tests/interop/lmcache_redis.py' describe '%s'",
		 kvf_test_srcdir(), server.socket);
	f = popen(command, "r");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	while (fgets(line, sizeof(line), f)) {
		char *space = strchr(line, ' ');

		line[strcspn(line, "\n")] = '\0';
		if (!space || (size_t)(space - line) < strlen(tail) ||
		    memcmp(space - strlen(tail), tail, strlen(tail)) != 0)
			continue;
		CU_ASSERT_STRING_EQUAL(rest, "");
		CU_ASSERT_EQUAL(strncmp(line, "meta-llama/Llama-3.1-8B@1@0@", 28), 0);
		snprintf(rest, size, "%s", space + 1);
	}
	CU_ASSERT_EQUAL(pclose(f), 0);
}

static uint8_t byte_at(size_t i)
{
	return (uint8_t)((i * 2654435761u) >> 24);
}

static void test_example(void)
{
	const char *settings[] = { "remote_url", server.url, "chunk_size", "256", "kvf_pool_slots", "8", NULL };
	char text[256];
	size_t wrong = 0;

	if (system("python3 -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null")) {
		kvf_test_skip("no python3");
		return;
	}
	if (!redis_begin(&server, NULL))
		return;
	kv = malloc(PAYLOAD);
	for (size_t i = 0; i < PAYLOAD; i++)
		kv[i] = byte_at(i);
	for (uint32_t i = 0; i < TOKENS / BLOCK; i++)
		ids[i] = i;
	once(settings, true);
	described("metadata", text, sizeof(text));
	CU_ASSERT_STRING_EQUAL(text, "28 33554432 1 3 2 32 256 1024");
	described("kv_bytes", text, sizeof(text));
	CU_ASSERT_STRING_EQUAL(text, "33554432");
	described("kvferry", text, sizeof(text));
	CU_ASSERT_STRING_EQUAL(text, "64");
	CU_ASSERT_STRING_EQUAL(redis_call(&server, NULL, "DBSIZE", NULL), "3");
	/* Another engine, with nothing in RAM. */
	memset(kv, 0, PAYLOAD);
	once(settings, false);
	for (size_t i = 0; i < PAYLOAD; i++)
		wrong += kv[i] != byte_at(i);
	CU_ASSERT_EQUAL(wrong, 0);
	free(kv);
	redis_kill(&server);
}

/* What a command prints, blanks and line ends as one blank each. */
static void printed(const char *command, char *out, size_t size)
{
	FILE *f = popen(command, "r");
	size_t n = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	for (int c; (c = fgetc(f)) != EOF;) {
		bool blank = c == ' ' || c == '\n';

		if (n + 1 < size && !(blank && (!n || out[n - 1] == ' ')))
			out[n++] = blank ? ' ' : (char)c;
	}
	out[n] = '\0';
	CU_ASSERT_EQUAL(pclose(f), 0);
}

/* Without side records redis-cli shows LMCache's two keys of the chunk and nothing else, and the numbers. */
static void test_redis_cli(void)
{
	const char *settings[] = { "remote_url", server.url, "chunk_size", "256", "kvf_pool_slots", "8",
				   "kvf_remote_verify", "off", NULL };
	char command[512], text[512], want[600], name[256];

	if (system("redis-cli --version >/dev/null 2>&1")) {
		kvf_test_skip("no redis-cli");
		return;
	}
	if (!redis_begin(&server, NULL))
		return;
	kv = calloc(1, PAYLOAD);
	for (uint32_t i = 0; i < TOKENS / BLOCK; i++)
		ids[i] = i;
	once(settings, true);
	snprintf(command, sizeof(command), "redis-cli -s '%s' --raw KEYS '*' | sort", server.socket);
	printed(command, text, sizeof(text));
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(text, " "), text);
	CU_ASSERT_EQUAL(strncmp(name, "meta-llama/Llama-3.1-8B@1@0@", 28), 0);
	CU_ASSERT_FATAL(strlen(name) > 36 && !strcmp(name + strlen(name) - 17, "@bfloat16kv_bytes"));
	name[strlen(name) - strlen("kv_bytes")] = '\0';
	snprintf(want, sizeof(want), "%skv_bytes %smetadata ", name, name);
	CU_ASSERT_STRING_EQUAL(text, want);
	snprintf(command, sizeof(command), "redis-cli -s '%s' STRLEN '%smetadata'", server.socket, name);
	printed(command, text, sizeof(text));
	CU_ASSERT_STRING_EQUAL(text, "28 ");
	snprintf(command, sizeof(command), "redis-cli -s '%s' --raw GET '%smetadata' | head -c 28 | od -An -v -td4",
		 server.socket, name);
	printed(command, text, sizeof(text));
	CU_ASSERT_STRING_EQUAL(text, "33554432 1 3 2 32 256 1024 ");
	free(kv);
	redis_kill(&server);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = { { "example", test_example }, { "redis_cli", test_redis_cli } };

	return kvf_test_main("resp_example", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
