/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole replays, small: what comes back is what was stored, hits are what a plain model of the
 * cache says, residency stays within its bound, and every mistake made on purpose is seen.
 */
#include <stdlib.h>
#include <string.h>

#include "replay.h"
#include "tests/harness.h"

#define AGENTIC "builtin:agentic,sessions=6,turns=4,scale=0.02,prefix=500"

static struct replay_result on;
static char error[REPLAY_ERROR_BYTES];

static struct replay_options base(const char *const *source)
{
	return (struct replay_options){.sources = source,
		.n_sources = 1,
		.chunk_size = 32,
		.token_bytes = 64,
		.block_tokens = 16,
		.ram_chunks = 4000,
		.concurrency = 4,
		.seed = 1,
		.tenants = 1,
		.salt = "",
		.limit = 60,
		.quiet = true};
}

static void run(const struct replay_options *o)
{
	error[0] = '\0';
	if (replay_run(o, true, &on, error, sizeof(error)) != 0)
		fprintf(stderr, "%s\n", error);
	CU_ASSERT_STRING_EQUAL_FATAL(error, "");
	CU_ASSERT_EQUAL(on.failed_ops, 0);
	if (on.failed_ops)
		fprintf(stderr, "%s\n", on.failure);
	CU_ASSERT(on.stats.slots_peak_resident <= on.stats.slots);
	CU_ASSERT_EQUAL(on.hit_tokens + on.computed_tokens, on.prompt_tokens);
	CU_ASSERT_EQUAL(on.retrieved_bytes, on.hit_tokens * o->token_bytes);
	CU_ASSERT_EQUAL(on.verified_bytes, on.retrieved_bytes);
	if (!o->local_cpu)
		CU_ASSERT_EQUAL(
			on.stats.slots_resident + on.stats.evictions, on.stats.stored_chunks);
}

static const char *const agentic[] = {AGENTIC};

static void test_clean(void)
{
	static const uint64_t concurrency[] = {1, 3, 64};

	for (size_t i = 0; i < KVF_ARRAY_LEN(concurrency); i++) {
		struct replay_options o = base(agentic);

		o.concurrency = concurrency[i];
		run(&o);
		CU_ASSERT(on.requests > 20);
		CU_ASSERT(on.hit_tokens > on.prompt_tokens / 3);
		CU_ASSERT_EQUAL(on.mismatched_bytes, 0);
		CU_ASSERT_EQUAL(on.first_mismatch, WL_NONE);
		CU_ASSERT_FALSE(replay_is_wrong(&on));
		/* Turns append: far from every prompt is hashed again. */
		CU_ASSERT(on.appended_tokens < on.prompt_tokens / 2);
	}
}

static void test_shapes(void)
{
	static const struct {
		uint64_t chunk, token_bytes, block;
	} shapes[] = {
		{16, 1, 16}, {8, 96, 16}, {16, 100, 1}, {64, 6, 64}, {32, 4096, 16}, {1, 8, 1}};

	for (size_t i = 0; i < KVF_ARRAY_LEN(shapes); i++) {
		struct replay_options o = base(agentic);

		o.chunk_size = shapes[i].chunk;
		o.token_bytes = shapes[i].token_bytes;
		o.block_tokens = shapes[i].block;
		o.limit = 15;
		o.ram_chunks = 400;
		run(&o);
		CU_ASSERT(on.hit_tokens > 0);
		CU_ASSERT_EQUAL(on.mismatched_bytes, 0);
	}
}

/* So small a pool that everything is evicted all the time. */
static void test_pressure(void)
{
	static const char *const policies[] = {"LRU", "LFU", "FIFO", "MRU"};
	static const char *const sources[] = {
		"builtin:scan,hot=3,hot_tokens=600,asks=3,scans=4,scan_tokens=900,rounds=2"};

	for (size_t i = 0; i < KVF_ARRAY_LEN(policies); i++) {
		struct replay_options o = base(sources);

		o.ram_chunks = 60;
		o.policy = policies[i];
		run(&o);
		CU_ASSERT_EQUAL(on.stats.slots, 60);
		CU_ASSERT(on.stats.evictions > 0);
		CU_ASSERT(on.stats.slots_peak_resident == 60);
		CU_ASSERT_EQUAL(on.mismatched_bytes, 0);
	}
}

static void test_ram_size(void)
{
	struct replay_options o = base(agentic);

	o.ram_chunks = 0;
	o.chunk_size = 64;
	o.ram_bytes = 100 * 8192 + 8191; /* header page and 64 * 64 bytes of payload */
	o.limit = 10;
	run(&o);
	CU_ASSERT_EQUAL(on.stats.slot_bytes, 8192);
	CU_ASSERT_EQUAL(on.stats.slots, 100);
}

static void test_staging(void)
{
	struct replay_options o = base(agentic);

	o.local_cpu = "false";
	run(&o);
	CU_ASSERT_EQUAL(on.hit_tokens, 0);
	CU_ASSERT_EQUAL(on.stats.slots_resident, 0);
}

/* Tenants with the same tokens share nothing, as long as their salts are told. */
static void test_tenants(void)
{
	struct replay_options o = base(agentic);
	uint64_t hit;

	run(&o);
	hit = on.hit_tokens;
	o.tenants = 2;
	run(&o);
	CU_ASSERT_EQUAL(on.mismatched_bytes, 0);
	CU_ASSERT(on.hit_tokens > 0 && on.hit_tokens < hit);
	o.tenants = 1;
	o.salt = "somebody";
	run(&o);
	CU_ASSERT_EQUAL(on.mismatched_bytes, 0);
	CU_ASSERT_EQUAL(on.hit_tokens, hit);
}

static void test_controls(void)
{
	struct replay_options o = base(agentic);

	o.control = REPLAY_POOL_FLIP;
	run(&o);
	CU_ASSERT(on.mismatched_bytes > 0);
	CU_ASSERT(replay_is_wrong(&on));
	o.control = REPLAY_DROP_SALT;
	o.tenants = 2;
	run(&o);
	CU_ASSERT(on.mismatched_bytes > 0);
	o = base(agentic);
	o.control = REPLAY_SHORT_KEY;
	o.chunk_size = 1;
	o.block_tokens = 1;
	o.ram_chunks = 20000;
	run(&o);
	CU_ASSERT(on.mismatched_bytes > 0);
	CU_ASSERT(on.first_mismatch != WL_NONE);
}

/* The same requests at the same places, whatever the times are. */
static void test_timed(void)
{
	static const char *const sources[] = {
		"builtin:multi-round-chat,users=3,system=200,history=400,qps=2,seconds=8"};
	struct replay_options o = base(sources);
	uint64_t prompt;

	run(&o);
	prompt = on.prompt_tokens;
	o.speed = 200; /* 8 seconds in 40 ms */
	run(&o);
	CU_ASSERT_EQUAL(on.prompt_tokens, prompt);
	CU_ASSERT_EQUAL(on.mismatched_bytes, 0);
	CU_ASSERT(on.wall_ns >= UINT64_C(30000000));
}

static void test_without_cache(void)
{
	struct replay_options o = base(agentic);

	CU_ASSERT_EQUAL(replay_run(&o, false, &on, error, sizeof(error)), 0);
	CU_ASSERT(on.requests > 20);
	CU_ASSERT_EQUAL(on.computed_tokens, on.prompt_tokens);
	CU_ASSERT_EQUAL(on.hit_tokens, 0);
}

static void expect_failure(const struct replay_options *o, const char *what)
{
	error[0] = '\0';
	CU_ASSERT_EQUAL(replay_run(o, true, &on, error, sizeof(error)), -1);
	CU_ASSERT_PTR_NOT_NULL(strstr(error, what));
	if (!strstr(error, what))
		fprintf(stderr, "'%s' says nothing of '%s'\n", error, what);
}

static void test_errors(void)
{
	static const char *const missing[] = {"does-not-exist.jsonl"};
	static const char *const unknown[] = {"builtin:nothing"};
	static const char *const huge[] = {"builtin:random-prefill,requests=1,tokens=70000"};
	struct replay_options o = base(missing);

	expect_failure(&o, "does-not-exist.jsonl");
	o = base(unknown);
	expect_failure(&o, "nothing");
	o = base(agentic);
	o.ram_chunks = 3;
	expect_failure(&o, "8");
	o = base(agentic);
	o.policy = "LIFO";
	expect_failure(&o, "cache_policy");
	o = base(agentic);
	o.set[o.n_set++] = "no_such_key=1";
	expect_failure(&o, "no_such_key");
	o = base(agentic);
	o.timeline = "/nowhere/at/all";
	expect_failure(&o, "/nowhere/at/all");
	o = base(huge);
	o.token_bytes = 1 << 20;
	o.chunk_size = 16;
	o.ram_chunks = 8;
	expect_failure(&o, "larger than the device");
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {{"clean", test_clean}, {"shapes", test_shapes},
		{"pressure", test_pressure}, {"ram_size", test_ram_size}, {"staging", test_staging},
		{"tenants", test_tenants}, {"controls", test_controls}, {"timed", test_timed},
		{"without_cache", test_without_cache}, {"errors", test_errors}};

	return kvf_test_main("replay_run", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
