/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Eight slots, 64 operations at once on long prompts, and a tier that hangs: every operation ends
 * by its deadline, on virtual time and on the real clock, and the pool stays of use. How late an
 * operation may be is counted in turns.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/harness.h"
#include "tests/sim/world.h"

#define N_OPS 64
#define TOKENS 512 /* 64 chunks: eight times the pool */
#define DEADLINE_NS (60 * KVF_NS_PER_MS)

static void options(struct world_options *o, uint64_t seed, bool real_time)
{
	world_defaults(o, seed);
	o->n_slots = 8;
	o->n_blocks = W_MAX_BLOCKS;
	o->group[0].block_tokens = 16;
	o->max_ops = 128;
	o->real_time = real_time;
	o->verify_every = real_time ? 64 : 1;
	/* Stores of the preparation must reach the tier from a pool that is far too small for them.
	 */
	o->tier[0].faults.latency_min_ns = 100;
	o->tier[0].faults.latency_max_ns = 1000;
}

static struct world_seq *prompt(struct world *w, uint32_t salt)
{
	uint32_t tokens[TOKENS];
	struct world_seq *s = world_seq_new(w, salt);

	for (uint32_t i = 0; i < TOKENS; i++)
		tokens[i] = i * 7 + salt;
	if (!s || !world_seq_append(w, s, tokens, TOKENS))
		return NULL;
	return s;
}

static struct world_op *submit(struct world *w, struct world_seq *s, uint8_t code, uint32_t flags,
	uint32_t first, uint32_t n, uint64_t deadline_ns)
{
	struct world_ask ask = {.seq = s,
		.code = code,
		.flags = flags,
		.first = first,
		.n = n,
		.deadline_ns = deadline_ns};
	int status;

	if (code == KVF_OP_STORE && flags & KVF_OP_LAYERWISE)
		ask.fence_kind = KVF_FENCE_LATER;
	return world_submit(w, &ask, &status);
}

/* A few chunks at a time, so that none is evicted before it was written. */
static void fill_tier(struct world *w, struct world_seq *s)
{
	for (uint32_t first = 0; first < TOKENS; first += 16) {
		struct world_ask ask = {.seq = s,
			.code = KVF_OP_STORE,
			.first = first,
			.n = 16,
			.level = KVF_LEVEL_DURABLE};
		int status;

		CU_ASSERT_PTR_NOT_NULL(world_submit(w, &ask, &status));
		CU_ASSERT(world_drain(w, world_now(w) + 20 * KVF_NS_PER_S));
	}
}

static void crowd(struct world *w, struct world_seq *const *seqs)
{
	static const uint32_t retrieve_flags[4] = {
		0, KVF_OP_LAYERWISE, KVF_OP_PROGRESS, KVF_OP_LAYERWISE | KVF_OP_STREAM_ORDERED};

	for (uint32_t i = 0; i < N_OPS; i++) {
		uint64_t deadline = world_now(w) + DEADLINE_NS / 2 + i * (DEADLINE_NS / 2 / N_OPS);
		struct world_seq *s = seqs[i % 3];
		struct world_op *op;

		if (i % 2) {
			op = submit(w, s, KVF_OP_RETRIEVE, retrieve_flags[i / 2 % 4], 0, TOKENS,
				deadline);
		} else {
			op = submit(w, s, KVF_OP_STORE,
				KVF_OP_SOURCE_FREE | (i % 4 ? KVF_OP_LAYERWISE : 0), 0, TOKENS,
				deadline);
		}
		CU_ASSERT_PTR_NOT_NULL(op);
		/* Some of the layers come, the rest never does. */
		if (op && i % 4 == 2) {
			for (uint32_t l = 0; l < (i % 8 == 2 ? w->n_layers : 1); l++)
				world_give_layer(w, op, l, 0);
		}
		world_poll(w, 8);
	}
}

static void eight(uint64_t seed, bool real_time, uint32_t deaf_ppm)
{
	struct world *w = calloc(1, sizeof(*w));
	struct world_seq *seqs[3];
	struct world_options o;
	uint64_t indexed, retrieved;

	CU_ASSERT_PTR_NOT_NULL_FATAL(w);
	options(&o, seed, real_time);
	CU_ASSERT_EQUAL_FATAL(world_open(w, &o), KVF_OK);
	for (uint32_t i = 0; i < 3; i++) {
		seqs[i] = prompt(w, i);
		CU_ASSERT_PTR_NOT_NULL_FATAL(seqs[i]);
	}
	fill_tier(w, seqs[0]);
	w->tier[0].faults.hang = SIM_PPM;
	w->tier[0].faults.deaf = deaf_ppm;
	w->tier[0].faults.hang_ns = KVF_NO_DEADLINE;
	crowd(w, seqs);
	/* Everything ends by the deadlines: nothing else could end it, the tier hangs and layers
	 * are missing. */
	CU_ASSERT(world_drain(w, world_now(w) + 30 * KVF_NS_PER_S));
	CU_ASSERT_EQUAL(w->n_live + w->n_tails, 0);
	/* The tier still hangs, and RAM is still of use. */
	indexed = w->last.stored_chunks;
	retrieved = w->verified_tokens;
	world_seq_truncate(w, seqs[2], 8);
	submit(w, seqs[2], KVF_OP_STORE, KVF_OP_SOURCE_FREE, 0, 8, 0);
	CU_ASSERT(world_drain(w, world_now(w) + 30 * KVF_NS_PER_S));
	submit(w, seqs[2], KVF_OP_RETRIEVE, 0, 0, 8, 0);
	CU_ASSERT(world_drain(w, world_now(w) + 30 * KVF_NS_PER_S));
	CU_ASSERT_EQUAL(w->verified_tokens, retrieved + 8);
	CU_ASSERT(indexed > 64); /* the crowd's stores did not just wait */
	world_close(w);
	if (w->failed) {
		printf("\n  %s\n", w->why);
		CU_FAIL("the world broke, see above");
	}
	free(w);
}

static void test_virtual(void)
{
	for (uint64_t seed = 1; seed <= 20; seed++)
		eight(seed, false, seed % 2 ? SIM_PPM : 0);
}

static void test_real(void)
{
	eight(1, true, SIM_PPM);
	eight(2, true, 0);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"virtual_time", test_virtual},
		{"real_time", test_real},
	};

	return kvf_test_main("sweep_engine_eight", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
