/* SPDX-License-Identifier: Apache-2.0 */
/* The decorators of tiers: what they do reaches the engine, and the engine copes with it. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/harness.h"
#include "tests/sim/decor.h"
#include "tests/sim/world.h"

#define CHUNKS 24
#define ROUNDS 40

struct rig {
	struct decor outer, inner;
	uint32_t fail_ppm, lose_ppm, corrupt_ppm;
	uint64_t delay_ns;
};

/* Two of them: the inner one delays and corrupts, the outer one fails. */
static void wrap(void *arg, uint32_t t, struct kvf_custom_tier *tier)
{
	struct rig *r = arg;

	(void)t;
	decor_init(&r->inner, tier->ops, tier->self, 11);
	r->inner.delay_ns = r->delay_ns;
	r->inner.corrupt_ppm = r->corrupt_ppm;
	decor_init(&r->outer, &r->inner.ops, &r->inner, 12);
	r->outer.fail_ppm = r->fail_ppm;
	r->outer.lose_ppm = r->lose_ppm;
	tier->ops = &r->outer.ops;
	tier->self = &r->outer;
}

static void submit(struct world *w, struct world_seq *s, uint8_t code, uint8_t level)
{
	struct world_ask ask = {.seq = s, .code = code, .n = s->n, .level = level};
	int status;

	world_submit(w, &ask, &status);
	CU_ASSERT(world_drain(w, world_now(w) + 100 * KVF_NS_PER_S));
}

/* Twice the pool, fetched and stored again and again. */
static void run(struct rig *r, struct kvf_stats *stats)
{
	struct world *w = calloc(1, sizeof(*w));
	uint32_t tokens[CHUNKS * 8 / 2];
	struct world_seq *seqs[2];
	struct world_options o;

	CU_ASSERT_PTR_NOT_NULL_FATAL(w);
	world_defaults(&o, 5);
	o.n_slots = 12;
	o.wrap = wrap;
	o.wrap_arg = r;
	CU_ASSERT_EQUAL_FATAL(world_open(w, &o), KVF_OK);
	for (uint32_t i = 0; i < 2; i++) {
		for (uint32_t t = 0; t < KVF_ARRAY_LEN(tokens); t++)
			tokens[t] = t + i * 1000;
		seqs[i] = world_seq_new(w, 0);
		world_seq_append(w, seqs[i], tokens, KVF_ARRAY_LEN(tokens));
	}
	for (uint32_t i = 0; i < ROUNDS; i++) {
		submit(w, seqs[i % 2], KVF_OP_RETRIEVE, 0);
		submit(w, seqs[i % 2], KVF_OP_STORE, KVF_LEVEL_DURABLE);
		world_advance(w, 40 * KVF_NS_PER_S); /* the breaker may probe again */
	}
	stats->size = sizeof(*stats);
	CU_ASSERT_EQUAL(kvf_get_stats(w->engine, stats), KVF_OK);
	world_close(w);
	if (w->failed) {
		printf("\n  %s\n", w->why);
		CU_FAIL("the world broke, see above");
	}
	free(w);
}

static void test_nothing(void)
{
	struct rig r = {0};
	struct kvf_stats s;

	run(&r, &s);
	CU_ASSERT_EQUAL(s.tiers[0].errors + s.corrupt_chunks, 0);
	CU_ASSERT(s.tiers[0].gets > 0);
}

static void test_fail(void)
{
	struct rig r = {.fail_ppm = 200000};
	struct kvf_stats s;

	run(&r, &s);
	CU_ASSERT(r.outer.failed > 0);
	CU_ASSERT_EQUAL(s.tiers[0].errors, r.outer.failed);
}

static void test_lose(void)
{
	struct rig r = {.lose_ppm = 200000};
	struct kvf_stats s;

	run(&r, &s);
	CU_ASSERT(r.outer.lost > 0);
	CU_ASSERT_EQUAL(s.tiers[0].errors, r.outer.lost);
}

static void test_delay(void)
{
	struct rig r = {.delay_ns = 3 * KVF_NS_PER_MS};
	struct kvf_stats s;

	run(&r, &s);
	CU_ASSERT(r.inner.delayed > 0);
	CU_ASSERT_EQUAL(s.tiers[0].errors + s.corrupt_chunks, 0);
}

static void test_corrupt(void)
{
	struct rig r = {.corrupt_ppm = 300000};
	struct kvf_stats s;

	run(&r, &s);
	CU_ASSERT(r.inner.corrupted > 0);
	CU_ASSERT_EQUAL(s.corrupt_chunks, r.inner.corrupted);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"nothing", test_nothing},
		{"fail", test_fail},
		{"lose", test_lose},
		{"delay", test_delay},
		{"corrupt", test_corrupt},
	};

	return kvf_test_main("sweep_engine_decor", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
