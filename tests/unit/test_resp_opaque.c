/* SPDX-License-Identifier: Apache-2.0 */
/* Chunks of an opaque layout in a real Redis server: under kvferry's keys, for the same identity and format only. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "kvferry/kvf_device.h"
#include "kvferry/kvferry.h"
#include "tests/harness.h"
#include "tests/support/redis.h"

#define CHUNK 16u
#define CHUNKS 4u
#define TOKENS (CHUNK * CHUNKS)
#define PAYLOAD 1000u

static struct redis server;
static uint8_t state[CHUNKS][PAYLOAD]; /* of the host */
static struct kvf_device_host *device_host;

static int device_open(void *self, struct kvf_device_host *host, const struct kvf_layout *layout, uint32_t *caps)
{
	(void)self;
	(void)layout;
	device_host = host;
	*caps = KVF_DEVICE_SYNC;
	return KVF_OK;
}

static void device_close(void *self)
{
	(void)self;
}

static int device_copy(void *self, struct kvf_copy *copy)
{
	uint8_t *at = state[copy->chunk_first_token / CHUNK];

	(void)self;
	if (copy->direction == KVF_COPY_GATHER)
		memcpy(copy->payload, at, PAYLOAD);
	else
		memcpy(at, copy->payload, PAYLOAD);
	device_host->complete(device_host, copy, KVF_OK);
	return KVF_OK;
}

static const struct kvf_device_ops device = { .size = sizeof(device), .name = "toy", .open = device_open,
	.close = device_close, .copy = device_copy };

static void set(struct kvf_config *config, const char *key, const char *value)
{
	CU_ASSERT_EQUAL_FATAL(kvf_config_set(config, key, value, NULL), KVF_OK);
}

static struct kvf_engine *open_engine(const char *url, const char *model, uint64_t fingerprint)
{
	struct kvf_layout layout = { .size = sizeof(layout), .kind = KVF_LAYOUT_OPAQUE, .opaque_chunk_bytes = PAYLOAD,
		.opaque_fingerprint = fingerprint };
	struct kvf_open_params params;
	struct kvf_config *config;
	struct kvf_engine *e = NULL;
	char text[512] = "";
	struct kvf_report report;

	kvf_report_init(&report, text, sizeof(text));
	kvf_open_params_init(&params);
	CU_ASSERT_EQUAL_FATAL(kvf_config_create(&config, NULL), KVF_OK);
	set(config, "chunk_size", "16");
	set(config, "kvf_pool_slots", "16");
	set(config, "remote_url", url);
	params.config = config;
	params.layout = &layout;
	params.identity.model = model;
	params.device = &device;
	params.report = &report;
	if (kvf_engine_open(&e, &params) != KVF_OK)
		fprintf(stderr, "open: %s\n", text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	kvf_config_destroy(config);
	return e;
}

static void close_engine(struct kvf_engine *e)
{
	struct kvf_completion c;

	CU_ASSERT_EQUAL(kvf_engine_shutdown(e, KVF_SHUTDOWN_DRAIN, kvf_now_ns(e) + 5000000000u), KVF_OK);
	while (!kvf_engine_idle(e))
		kvf_poll(e, &c, 1);
	CU_ASSERT_EQUAL(kvf_engine_close(e), KVF_OK);
}

static struct kvf_completion move(struct kvf_engine *e, struct kvf_seq *seq, enum kvf_op_code code)
{
	struct kvf_span span = { 0, TOKENS, NULL };
	struct kvf_fence_in now = { .kind = KVF_FENCE_NOW };
	struct kvf_completion c = { .status = KVF_EINVAL };
	struct kvf_op op;
	uint64_t id;

	if (code == KVF_OP_STORE)
		kvf_prep_store(&op, seq, &span, &now);
	else
		kvf_prep_retrieve(&op, seq, &span, &now);
	op.level = code == KVF_OP_STORE ? KVF_LEVEL_REMOTE : KVF_LEVEL_NONE;
	CU_ASSERT_EQUAL_FATAL(kvf_submit(e, &op, 1, &id), 1);
	while (kvf_poll(e, &c, 1) == 0)
		;
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	return c;
}

static struct kvf_seq *open_seq(struct kvf_engine *e)
{
	uint32_t tokens[TOKENS];
	struct kvf_seq *seq;

	for (uint32_t i = 0; i < TOKENS; i++)
		tokens[i] = 7 * i;
	CU_ASSERT_EQUAL_FATAL(kvf_seq_open(e, NULL, &seq), KVF_OK);
	CU_ASSERT_EQUAL(kvf_seq_append(seq, tokens, TOKENS), KVF_OK);
	return seq;
}

static void fill(uint8_t salt)
{
	for (uint32_t c = 0; c < CHUNKS; c++)
		for (uint32_t i = 0; i < PAYLOAD; i++)
			state[c][i] = (uint8_t)(c * 31 + i * 7 + salt);
}

/* Of an engine with an empty pool: how many tokens come from the server. */
static uint32_t fetch(const char *url, const char *model, uint64_t fingerprint)
{
	struct kvf_engine *e = open_engine(url, model, fingerprint);
	struct kvf_seq *seq = open_seq(e);
	uint32_t tokens;

	memset(state, 0, sizeof(state));
	tokens = move(e, seq, KVF_OP_RETRIEVE).tokens;
	kvf_seq_close(seq);
	close_engine(e);
	return tokens;
}

/* The keys are named after kvferry's own, and the metadata says: so many bytes, nothing more. */
static void expect_names(const struct kvf_seq *seq)
{
	static const uint32_t want[] = { PAYLOAD, 4, 6, CHUNK, 0, 0, 0 };
	uint8_t key[KVF_KEY_BYTES];
	char name[256] = "toy@1@0@", request[300];
	const char *v;
	size_t n;

	CU_ASSERT_EQUAL(kvf_seq_key(seq, 1, key), KVF_OK);
	for (uint32_t i = 0; i < KVF_KEY_BYTES; i++)
		snprintf(name + strlen(name), sizeof(name) - strlen(name), "%02x", key[i]);
	snprintf(request, sizeof(request), "%s@uint8metadata", name);
	v = redis_call(&server, &n, "GET", request, NULL);
	CU_ASSERT_FATAL(v && n == 28);
	for (uint32_t k = 0; k < 7; k++)
		CU_ASSERT_EQUAL(kvf_load_le32(v + 4 * k), want[k]);
	snprintf(request, sizeof(request), "%s@uint8kv_bytes", name);
	CU_ASSERT_EQUAL(strtoul(redis_call(&server, NULL, "STRLEN", request, NULL), NULL, 10), PAYLOAD);
}

static void share(const char *url)
{
	uint8_t before[CHUNKS][PAYLOAD];
	struct kvf_engine *e = open_engine(url, "toy", 1);
	struct kvf_seq *seq = open_seq(e);
	struct kvf_completion c;

	fill(3);
	memcpy(before, state, sizeof(before));
	c = move(e, seq, KVF_OP_STORE);
	CU_ASSERT_EQUAL(c.tokens, TOKENS);
	CU_ASSERT_EQUAL(c.level, KVF_LEVEL_REMOTE);
	if (strncmp(url, "unix", 4) == 0)
		expect_names(seq);
	kvf_seq_close(seq);
	close_engine(e);
	CU_ASSERT_EQUAL(fetch(url, "toy", 1), TOKENS);
	CU_ASSERT_EQUAL(memcmp(before, state, sizeof(before)), 0);
	CU_ASSERT_EQUAL(fetch(url, "toy", 2), 0);   /* another format */
	CU_ASSERT_EQUAL(fetch(url, "other", 1), 0); /* another model */
}

static void test_two_keys(void)
{
	if (!redis_begin(&server, NULL))
		return;
	share(server.unix_url);
	redis_kill(&server);
}

static void test_raw(void)
{
	char url[128];

	if (!redis_begin(&server, NULL))
		return;
	snprintf(url, sizeof(url), "valkey://127.0.0.1:%d", server.port);
	share(url);
	redis_kill(&server);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "two_keys", test_two_keys },
		{ "raw", test_raw },
	};

	return kvf_test_main("resp_opaque", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
