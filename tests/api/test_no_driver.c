/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program linked with the shared library on a machine without a GPU, as hosts are: it starts, layouts in host memory
 * work, layouts in device memory say what is missing. Where there are GPUs they are hidden.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kvferry/kvferry.h"
#include "tests/harness.h"

enum { TOKENS = 256, BLOCK = 16, ROW = 64 };

struct host {
	uint8_t kv[2][TOKENS * ROW];
	uint32_t tokens[TOKENS], table[TOKENS / BLOCK];
	struct kvf_layer layer;
	struct kvf_group group;
	struct kvf_layout layout;
	struct kvf_config *config;
	struct kvf_engine *engine;
	struct kvf_report report;
	char text[2048];
};

static int open_host(struct host *h, int32_t where, const char *device)
{
	struct kvf_open_params p;
	int rc;

	memset(h, 0, sizeof(*h));
	h->layer = (struct kvf_layer){ .base = { h->kv[0], h->kv[1] }, .device = where };
	h->group = (struct kvf_group){ .size = sizeof(h->group), .n_layers = 1, .planes = 2, .heads = 2,
				       .head_elems = 16, .dtype = KVF_FLOAT16, .block_tokens = BLOCK,
				       .n_blocks = TOKENS / BLOCK, .block_stride = BLOCK * ROW, .token_stride = ROW,
				       .head_stride = ROW / 2, .layers = &h->layer };
	h->layout = (struct kvf_layout){ .size = sizeof(h->layout), .n_groups = 1, .groups = &h->group };
	kvf_report_init(&h->report, h->text, sizeof(h->text));
	CU_ASSERT_EQUAL_FATAL(kvf_config_create(&h->config, NULL), KVF_OK);
	CU_ASSERT_EQUAL(kvf_config_set(h->config, "kvf_pool_slots", "8", &h->report), KVF_OK);
	CU_ASSERT_EQUAL(kvf_config_set(h->config, "kvf_device", device, &h->report), KVF_OK);
	kvf_open_params_init(&p);
	p.config = h->config;
	p.layout = &h->layout;
	p.report = &h->report;
	p.identity.model = "toy";
	rc = kvf_engine_open(&h->engine, &p);
	kvf_config_destroy(h->config);
	return rc;
}

static uint32_t run(struct host *h, struct kvf_seq *seq, bool store)
{
	struct kvf_block_list list = { h->table, TOKENS / BLOCK, 0 };
	struct kvf_blocks blocks = { 1, &list };
	struct kvf_span span = { 0, TOKENS, &blocks };
	struct kvf_fence_in now = { .kind = KVF_FENCE_NOW };
	struct kvf_completion done = { .tokens = 0 };
	struct kvf_op op;
	uint64_t id;

	if (store)
		kvf_prep_store(&op, seq, &span, &now);
	else
		kvf_prep_retrieve(&op, seq, &span, &now);
	CU_ASSERT_EQUAL_FATAL(kvf_submit(h->engine, &op, 1, &id), 1);
	while (kvf_poll(h->engine, &done, 1) == 0 || done.kind != KVF_DONE)
		;
	return done.tokens;
}

static void test_host_layout(void)
{
	static struct host h;
	struct kvf_seq *seq;
	size_t wrong = 0;

	CU_ASSERT_EQUAL_FATAL(open_host(&h, -1, "auto"), KVF_OK);
	for (uint32_t i = 0; i < TOKENS; i++) {
		h.tokens[i] = i * 7;
		h.table[i / BLOCK] = i / BLOCK;
	}
	CU_ASSERT_EQUAL_FATAL(kvf_seq_open(h.engine, NULL, &seq), KVF_OK);
	CU_ASSERT_EQUAL_FATAL(kvf_seq_append(seq, h.tokens, TOKENS), KVF_OK);
	for (size_t i = 0; i < sizeof(h.kv); i++)
		h.kv[i / sizeof(h.kv[0])][i % sizeof(h.kv[0])] = (uint8_t)(i * 31 >> 3);
	CU_ASSERT_EQUAL(run(&h, seq, true), TOKENS);
	memset(h.kv, 0, sizeof(h.kv));
	CU_ASSERT_EQUAL(run(&h, seq, false), TOKENS);
	for (size_t i = 0; i < sizeof(h.kv); i++)
		wrong += h.kv[i / sizeof(h.kv[0])][i % sizeof(h.kv[0])] != (uint8_t)(i * 31 >> 3);
	CU_ASSERT_EQUAL(wrong, 0);
	kvf_seq_close(seq);
	CU_ASSERT_EQUAL(kvf_engine_close(h.engine), KVF_OK);
}

static void test_device_layout(void)
{
	static const char *const settings[] = { "auto", "cuda" };
	/* No driver; a driver, whose cards are hidden; a build without CUDA. */
	static const char *const texts[] = { "this machine has no NVIDIA driver", "there is no CUDA device",
					     "this build has no CUDA" };
	static struct host h;

	for (size_t i = 0; i < KVF_ARRAY_LEN(settings); i++) {
		int rc = open_host(&h, 0, settings[i]), said = 0;

		CU_ASSERT_PTR_NULL(h.engine);
		if (rc == KVF_EDRIVER && access("/proc/driver/nvidia/version", F_OK) == 0)
			continue; /* a driver that is too old is said to be one, whatever it sees */
		CU_ASSERT_EQUAL(rc, KVF_ENODEV);
		for (size_t k = 0; k < KVF_ARRAY_LEN(texts); k++)
			said += strstr(h.text, texts[k]) != NULL;
		CU_ASSERT_EQUAL(said, 1);
		CU_ASSERT_PTR_NOT_NULL(strstr(h.text, "in device memory"));
	}
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "host_layout", test_host_layout },
		{ "device_layout", test_device_layout },
	};

	setenv("CUDA_VISIBLE_DEVICES", "", 1);
	return kvf_test_main("no_driver", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
