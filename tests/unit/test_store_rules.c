/* SPDX-License-Identifier: Apache-2.0 */
/* Settings that keep stores out, one by one: each ends at once with 0 tokens and KVF_REASON_POLICY.
 */
#include "tests/harness.h"
#include "tests/rig.h"

#include <string.h>

#define FOUR (4 * RIG_CHUNK)

static void open_with(struct rig *r, const char *key, const char *value)
{
	rig_open(r, &(struct rig_options){
			    .slots = 32, .unfull = true, .extra_key = key, .extra_value = value});
}

/* A sequence as rig_tokens() makes it, with flags and a priority. */
static void tokens_with(
	struct rig *r, uint64_t number, uint32_t n, uint32_t flags, int64_t priority)
{
	uint32_t tokens[RIG_MAX_TOKENS];
	struct kvf_seq_params p;

	kvf_seq_close(r->seq);
	r->seq = NULL;
	kvf_seq_params_init(&p);
	p.flags = flags;
	p.priority = priority;
	for (uint32_t i = 0; i < n; i++)
		tokens[i] = (uint32_t)number * 100000u + i;
	CU_ASSERT_EQUAL_FATAL(kvf_seq_open(r->engine, &p, &r->seq), KVF_OK);
	CU_ASSERT_EQUAL_FATAL(kvf_seq_append(r->seq, tokens, n), KVF_OK);
}

static void stores(struct rig *r, uint32_t n, uint32_t flags, uint32_t expect)
{
	struct kvf_completion c = rig_store(r, 0, n, flags);

	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(c.tokens, expect);
	CU_ASSERT_EQUAL(c.level, expect ? KVF_LEVEL_INDEXED : KVF_LEVEL_NONE);
	CU_ASSERT_EQUAL(c.reason, expect == n ? KVF_REASON_NONE : KVF_REASON_POLICY);
	CU_ASSERT_EQUAL(kvf_seq_resident(r->seq) / RIG_CHUNK, expect / RIG_CHUNK);
}

static void test_decode(void)
{
	struct rig r;

	open_with(&r, NULL, NULL);
	rig_tokens(&r, 1, FOUR);
	stores(&r, FOUR, KVF_OP_DECODE, 0);
	stores(&r, FOUR, KVF_OP_DECODE | KVF_OP_SOURCE_FREE, 0);
	CU_ASSERT_EQUAL(r.source_free, 1);
	stores(&r, FOUR, 0, FOUR);
	rig_close(&r);
	open_with(&r, "save_decode_cache", "true");
	rig_tokens(&r, 1, FOUR);
	stores(&r, FOUR, KVF_OP_DECODE, FOUR);
	rig_close(&r);
}

static void test_decode_is_for_stores(void)
{
	struct kvf_op op;
	struct rig r;
	uint64_t id;

	open_with(&r, NULL, NULL);
	rig_tokens(&r, 1, FOUR);
	rig_prep(&r, &op, KVF_OP_RETRIEVE, 0, FOUR);
	op.flags = KVF_OP_DECODE;
	CU_ASSERT_EQUAL(kvf_submit(r.engine, &op, 1, &id), KVF_EINVAL);
	rig_close(&r);
}

static void test_priority_limit(void)
{
	struct rig r;

	open_with(&r, "priority_limit", "3");
	tokens_with(&r, 1, FOUR, 0, 4);
	stores(&r, FOUR, 0, 0);
	tokens_with(&r, 1, FOUR, 0, 3);
	stores(&r, FOUR, 0, FOUR);
	tokens_with(&r, 2, FOUR, 0, -100);
	stores(&r, FOUR, 0, FOUR);
	rig_close(&r);
	open_with(&r, NULL, NULL);
	tokens_with(&r, 1, FOUR, 0, INT64_MAX);
	stores(&r, FOUR, 0, FOUR);
	rig_close(&r);
}

static void test_skip_save(void)
{
	struct kvf_seq_params p;
	struct kvf_seq *fork;
	struct rig r;

	open_with(&r, NULL, NULL);
	tokens_with(&r, 1, FOUR, KVF_SEQ_SKIP_SAVE, 0);
	stores(&r, FOUR, 0, 0);
	CU_ASSERT_EQUAL(kvf_seq_fork(r.seq, &fork), KVF_OK);
	kvf_seq_close(r.seq);
	r.seq = fork;
	stores(&r, FOUR, 0, 0);
	/* It reads what others stored. */
	tokens_with(&r, 1, FOUR, 0, 0);
	stores(&r, FOUR, 0, FOUR);
	tokens_with(&r, 1, FOUR, KVF_SEQ_SKIP_SAVE, 0);
	CU_ASSERT_EQUAL(rig_lookup(&r, 0, 0).tokens, FOUR);
	CU_ASSERT_EQUAL(rig_retrieve(&r, 0, FOUR, 0).tokens, FOUR);
	kvf_seq_params_init(&p);
	p.flags = 2;
	CU_ASSERT_EQUAL(kvf_seq_open(r.engine, &p, &fork), KVF_EINVAL);
	rig_close(&r);
}

static void test_force_skip_save(void)
{
	struct kvf_completion c;
	struct kvf_op op;
	struct rig r;
	uint64_t id;

	open_with(&r, "LMCACHE_FORCE_SKIP_SAVE", "true");
	rig_tokens(&r, 1, FOUR);
	stores(&r, FOUR, 0, 0);
	/* Layer by layer too: it ends before its layers come, which nobody knows any more then. */
	rig_prep(&r, &op, KVF_OP_STORE, 0, FOUR);
	op.flags = KVF_OP_LAYERWISE;
	op.fence.kind = KVF_FENCE_LATER;
	id = rig_submit(&r, &op);
	c = rig_await(&r, id);
	CU_ASSERT_EQUAL(c.tokens, 0);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_POLICY);
	CU_ASSERT_EQUAL(kvf_store_layer(r.engine, id, 0, &op.fence), KVF_ENOENT);
	rig_close(&r);
}

static void test_skip_last(void)
{
	struct kvf_completion c;
	struct rig r;

	open_with(&r, "skip_last_n_tokens", "1");
	rig_tokens(&r, 1, FOUR);
	stores(&r, FOUR, 0, 3 * RIG_CHUNK);
	/* The whole chunk is there for a longer prompt, whose last token is another. */
	rig_tokens(&r, 1, FOUR + 1);
	stores(&r, FOUR + 1, 0, FOUR);
	rig_tokens(&r, 1, FOUR);
	c = rig_lookup(&r, 0, 0);
	CU_ASSERT_EQUAL(c.tokens, FOUR);
	CU_ASSERT_EQUAL(c.usable, FOUR - 1);
	rig_close(&r);
	open_with(&r, "skip_last_n_tokens", "100");
	rig_tokens(&r, 2, FOUR);
	stores(&r, FOUR, 0, 2 * RIG_CHUNK);
	rig_tokens(&r, 2, 2 * RIG_CHUNK + 10);
	c = rig_lookup(&r, 0, 0);
	CU_ASSERT_EQUAL(c.tokens, 2 * RIG_CHUNK);
	CU_ASSERT_EQUAL(c.usable, 2 * RIG_CHUNK + 10 - 100);
	rig_tokens(&r, 2, 50);
	stores(&r, 50, 0, 0);
	CU_ASSERT_EQUAL(rig_lookup(&r, 0, 0).usable, 0);
	rig_close(&r);
}

static void test_discard_partial(void)
{
	struct kvf_completion c;
	struct rig r;

	open_with(&r, "discard_partial_chunks", "true");
	rig_tokens(&r, 1, FOUR + 10);
	c = rig_store(&r, 0, FOUR + 10, 0);
	CU_ASSERT_EQUAL(c.tokens, FOUR);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_PARTIAL);
	rig_close(&r);
}

static void test_min_retrieve(void)
{
	struct kvf_completion c;
	struct rig r;

	open_with(&r, "min_retrieve_tokens", "200");
	rig_tokens(&r, 1, 3 * RIG_CHUNK);
	stores(&r, 3 * RIG_CHUNK, 0, 3 * RIG_CHUNK);
	c = rig_lookup(&r, 0, 0);
	CU_ASSERT_EQUAL(c.tokens, 0);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_POLICY);
	c = rig_retrieve(&r, 0, 3 * RIG_CHUNK, 0);
	CU_ASSERT_EQUAL(c.tokens, 0);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_POLICY);
	rig_tokens(&r, 1, FOUR);
	stores(&r, FOUR, 0, FOUR);
	CU_ASSERT_EQUAL(rig_lookup(&r, 0, 0).tokens, FOUR);
	rig_close(&r);
}

/* ---- the first rank stores for all ---- */

/* Opens rank 1 of 2 over r's layout, first_rank_only as said. */
static int open_rank(
	struct rig *r, uint32_t rank, uint32_t first_only, const char *key, const char *value)
{
	struct kvf_open_params p;
	struct kvf_config *config = NULL;
	int rc;

	CU_ASSERT_EQUAL_FATAL(kvf_config_create(&config, NULL), KVF_OK);
	CU_ASSERT_EQUAL(kvf_config_set(config, "chunk_size", "64", NULL), KVF_OK);
	CU_ASSERT_EQUAL(kvf_config_set(config, "max_local_cpu_size", "0.0009765625", NULL), KVF_OK);
	if (key)
		CU_ASSERT_EQUAL(kvf_config_set(config, key, value, NULL), KVF_OK);
	kvf_open_params_init(&p);
	p.config = config;
	p.layout = &r->layout;
	p.identity.model = "rig";
	p.identity.world_size = 2;
	p.identity.rank = rank;
	p.identity.first_rank_only = first_only;
	kvf_report_init(&r->report, r->text, sizeof(r->text));
	p.report = &r->report;
	rc = kvf_engine_open(&r->engine, &p);
	kvf_config_destroy(config);
	return rc;
}

static void with_rank(
	uint32_t rank, uint32_t first_only, const char *key, const char *value, uint32_t expect)
{
	struct kvf_engine *first;
	struct rig r;

	open_with(&r, NULL, NULL);
	first = r.engine;
	CU_ASSERT_EQUAL_FATAL(open_rank(&r, rank, first_only, key, value), KVF_OK);
	rig_tokens(&r, 1, FOUR);
	stores(&r, FOUR, 0, expect);
	kvf_seq_close(r.seq);
	r.seq = NULL;
	CU_ASSERT_EQUAL(kvf_engine_close(r.engine), KVF_OK);
	r.engine = first;
	rig_close(&r);
}

static void test_first_rank(void)
{
	with_rank(0, 1, NULL, NULL, FOUR);
	with_rank(1, 1, NULL, NULL, 0);
	with_rank(1, 0, NULL, NULL, FOUR);
	with_rank(1, 1, "save_only_first_rank", "false", FOUR);
	with_rank(1, 1, "save_only_first_rank", "true", 0);
	with_rank(1, 0, "save_only_first_rank", "true", FOUR);
}

static void test_first_rank_pool(void)
{
	struct kvf_stats s = {.size = sizeof(s)};
	struct kvf_engine *first;
	uint64_t slots[3];
	struct rig r;

	open_with(&r, NULL, NULL);
	first = r.engine;
	for (uint32_t i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL_FATAL(open_rank(&r, i == 1, i < 2, "first_rank_max_local_cpu_size",
					      "0.001953125"),
			KVF_OK);
		CU_ASSERT_EQUAL(kvf_get_stats(r.engine, &s), KVF_OK);
		slots[i] = s.slots;
		while (kvf_next_deadline_ns(r.engine) != KVF_NO_DEADLINE)
			kvf_poll(r.engine, NULL, 0);
		CU_ASSERT_EQUAL(kvf_engine_close(r.engine), KVF_OK);
	}
	CU_ASSERT_EQUAL(slots[0], 2 * slots[1]);
	CU_ASSERT_EQUAL(slots[1], slots[2]);
	r.engine = first;
	rig_close(&r);
}

static void test_first_rank_warning(void)
{
	struct kvf_engine *first;
	struct rig r;

	open_with(&r, NULL, NULL);
	first = r.engine;
	CU_ASSERT_EQUAL_FATAL(open_rank(&r, 0, 0, "save_only_first_rank", "true"), KVF_OK);
	CU_ASSERT_PTR_NOT_NULL(strstr(r.text, "first_rank_only is 0"));
	CU_ASSERT_EQUAL(kvf_engine_close(r.engine), KVF_OK);
	r.engine = first;
	rig_close(&r);
}

/* ---- leases end at pin_timeout_sec ---- */

static uint64_t virtual_now(void *user)
{
	return *(uint64_t *)user;
}

static void test_pin_timeout(void)
{
	uint64_t now = 1000000000u;
	struct kvf_clock clock = {sizeof(clock), virtual_now, &now};
	struct kvf_completion c;
	struct rig r;

	rig_open(&r, &(struct rig_options){.slots = 32,
			     .clock = &clock,
			     .extra_key = "pin_timeout_sec",
			     .extra_value = "2"});
	rig_tokens(&r, 1, FOUR);
	stores(&r, FOUR, 0, FOUR);
	c = rig_lookup(&r, 0, 3600u * 1000000000ull);
	CU_ASSERT_NOT_EQUAL(c.lease_id, 0);
	now += 1999999999u;
	kvf_poll(r.engine, &c, 0);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 4);
	now += 2;
	kvf_poll(r.engine, &c, 0);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 0);
	CU_ASSERT_EQUAL(rig_stats(&r).leases_expired, 1);
	rig_close(&r);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"decode", test_decode},
		{"decode_is_for_stores", test_decode_is_for_stores},
		{"priority_limit", test_priority_limit},
		{"skip_save", test_skip_save},
		{"force_skip_save", test_force_skip_save},
		{"skip_last", test_skip_last},
		{"discard_partial", test_discard_partial},
		{"min_retrieve", test_min_retrieve},
		{"first_rank", test_first_rank},
		{"first_rank_pool", test_first_rank_pool},
		{"first_rank_warning", test_first_rank_warning},
		{"pin_timeout", test_pin_timeout},
	};

	return kvf_test_main("store_rules", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
