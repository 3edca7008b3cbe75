/* SPDX-License-Identifier: Apache-2.0 */
/* What one turn may do, and what an operation leaves behind when it is over: nothing. */
#include "engine/engine.h"
#include "tests/harness.h"
#include "tests/sim/simmem.h"
#include "tests/support/dev_rig.h"

#include <stdio.h>
#include <string.h>

#define SMALL 2u /* tokens of a chunk where there are many */
#define LONG 3600000000000ull

/* ---- a turn is bounded ---- */

static const char *const many_chunks[] = { "chunk_size", "2", NULL };

/* A chunk of somebody else's is removed before it in the same turn, so that it can trust nothing that submit saw. */
static void lookup(struct rig *r, struct kvf_op *op, uint32_t n)
{
	rig_tokens(r, 2, SMALL);
	CU_ASSERT_EQUAL(rig_store(r, 0, SMALL, 0).tokens, SMALL);
	kvf_prep_remove(op, r->seq, 0, SMALL, KVF_TIER_RAM);
	rig_submit(r, op);
	rig_tokens(r, 1, n * SMALL);
	kvf_prep_lookup(op, r->seq, 0, 0, 0);
}

static void lookup_with_lease(struct rig *r, struct kvf_op *op, uint32_t n)
{
	(void)n;
	kvf_prep_lookup(op, r->seq, 0, 0, LONG);
}

static void pin(struct rig *r, struct kvf_op *op, uint32_t n)
{
	kvf_prep_pin(op, r->seq, 0, n * SMALL, LONG);
}

static void demote(struct rig *r, struct kvf_op *op, uint32_t n)
{
	kvf_prep_demote(op, r->seq, 0, n * SMALL);
}

static void remove_span(struct rig *r, struct kvf_op *op, uint32_t n)
{
	kvf_prep_remove(op, r->seq, 0, n * SMALL, KVF_TIER_RAM);
}

static void clear(struct rig *r, struct kvf_op *op, uint32_t n)
{
	(void)r;
	(void)n;
	kvf_prep_clear(op, KVF_TIER_RAM);
}

/* The last of what came in one turn. */
static struct kvf_completion run_turn(struct rig *r)
{
	struct kvf_completion c[4] = { { 0 } };
	int n = kvf_poll(r->engine, c, 4);

	return c[n > 0 ? n - 1 : 0];
}

/* Chunks that an operation looks at in one turn: up to KVF_TURN_SCAN end in the first, one more does not. */
static void test_scans(void)
{
	static const struct {
		const char *name;
		void (*prep)(struct rig *r, struct kvf_op *op, uint32_t n);
	} scans[] = { { "lookup", lookup }, { "lookup with a lease", lookup_with_lease }, { "pin", pin },
		      { "demote", demote }, { "remove", remove_span },			   { "clear", clear } };
	static const uint32_t of[] = { KVF_TURN_SCAN - 1, KVF_TURN_SCAN, KVF_TURN_SCAN + 1, 2 * KVF_TURN_SCAN,
				       2 * KVF_TURN_SCAN + 1, 3 * KVF_TURN_SCAN };

	for (unsigned i = 0; i < KVF_ARRAY_LEN(scans); i++) {
		for (unsigned k = 0; k < KVF_ARRAY_LEN(of); k++) {
			struct kvf_completion c = { 0 };
			uint32_t turns = 0;
			struct kvf_op op;
			struct rig r;

			rig_open(&r, &(struct rig_options){ .slots = 3200, .settings = many_chunks });
			rig_tokens(&r, 1, of[k] * SMALL);
			CU_ASSERT_EQUAL(rig_store(&r, 0, of[k] * SMALL, 0).tokens, of[k] * SMALL);
			scans[i].prep(&r, &op, of[k]);
			rig_submit(&r, &op);
			while (turns++ < 100 && c.op != op.code)
				c = run_turn(&r);
			turns--;
			if ((turns == 1) != (of[k] <= KVF_TURN_SCAN) || turns < of[k] / KVF_TURN_SCAN)
				fprintf(stderr, "%s of %u chunks: %u turns\n", scans[i].name, of[k], turns);
			CU_ASSERT_EQUAL(turns == 1, of[k] <= KVF_TURN_SCAN);
			CU_ASSERT(turns >= of[k] / KVF_TURN_SCAN);
			CU_ASSERT_EQUAL(c.tokens, of[k] * SMALL);
			if (c.lease_id)
				CU_ASSERT_EQUAL(rig_unpin(&r, c.lease_id, 0, SIZE_MAX).tokens, of[k] * SMALL);
			CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 0);
			rig_close(&r);
		}
	}
}

/* A pin that is told to stop half way holds nothing. */
static void test_stopped_half_way(void)
{
	struct kvf_completion c;
	struct kvf_op op;
	struct rig r;
	uint64_t id;

	rig_open(&r, &(struct rig_options){ .slots = 4200, .settings = many_chunks });
	rig_tokens(&r, 1, 4 * KVF_TURN_SCAN * SMALL);
	rig_store(&r, 0, 4 * KVF_TURN_SCAN * SMALL, 0);
	pin(&r, &op, 4 * KVF_TURN_SCAN);
	id = rig_submit(&r, &op);
	for (int i = 0; i < 20 && !rig_stats(&r).slots_leased; i++)
		tier_rig_poll(&r, 1);
	CU_ASSERT(rig_stats(&r).slots_leased > 0);
	kvf_cancel(r.engine, id);
	c = rig_await(&r, id);
	CU_ASSERT_EQUAL(c.status, KVF_ECANCELED);
	CU_ASSERT_EQUAL(c.tokens, 0);
	CU_ASSERT_EQUAL(c.lease_id, 0);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 0);
	CU_ASSERT_EQUAL(kvf_verify(r.engine), KVF_OK);
	rig_close(&r);
}

/* However many operations are ready, a turn takes so many steps of them and no more; none is left out. */
static void test_steps(void)
{
	const uint64_t n = 400;
	uint64_t steps = 0, ended = 0, turns = 0;
	struct kvf_completion c[64];
	struct kvf_op op;
	struct rig r;

	rig_open(&r, &(struct rig_options){ .slots = 16, .extra_key = "kvf_max_ops", .extra_value = "400" });
	tier_rig_store(&r, 1, 4);
	kvf_prep_lookup(&op, r.seq, 0, 0, 0);
	for (uint64_t i = 0; i < n; i++)
		rig_submit(&r, &op);
	steps = rig_stats(&r).job_steps;
	for (; ended < n && turns < 1000; turns++) {
		uint64_t before = rig_stats(&r).job_steps;
		int got = kvf_poll(r.engine, c, 64);

		CU_ASSERT(rig_stats(&r).job_steps - before <= KVF_TURN_STEPS);
		CU_ASSERT(rig_stats(&r).job_steps - before > KVF_TURN_STEPS / 2 || got > 0);
		ended += got > 0 ? (uint64_t)got : 0;
	}
	CU_ASSERT_EQUAL(ended, n);
	/* Where it is, the lease: two steps each, and each one is counted once. */
	CU_ASSERT_EQUAL(rig_stats(&r).job_steps - steps, 2 * n);
	rig_close(&r);
}

/* One that was told to stop before its first step ends in the next turn, by one step. */
static void test_stopped_at_once(void)
{
	struct kvf_op op;
	struct rig r;
	uint64_t id, steps;

	rig_open(&r, &(struct rig_options){ .slots = 16 });
	tier_rig_store(&r, 1, 4);
	kvf_prep_lookup(&op, r.seq, 0, 0, LONG);
	id = rig_submit(&r, &op);
	kvf_cancel(r.engine, id);
	steps = rig_stats(&r).job_steps;
	CU_ASSERT_EQUAL(rig_await(&r, id).status, KVF_ECANCELED);
	CU_ASSERT_EQUAL(rig_stats(&r).job_steps - steps, 1);
	CU_ASSERT_EQUAL(rig_stats(&r).leases, 0);
	rig_close(&r);
}

/* ---- names ---- */

/* Operations of one sequence are cancelled together; others, and those that ended, are not. */
static void test_cancel_seq(void)
{
	struct kvf_completion c[8];
	struct memtier m;
	struct kvf_seq *first;
	struct rig r;
	uint64_t other;

	tier_rig_open(&r, &m, 64, KVF_TIER_RECORDS, false);
	tier_rig_only_below(&r, 1, 2);
	tier_rig_only_below(&r, 2, 2);
	m.hold = true;
	rig_tokens(&r, 1, 2 * RIG_CHUNK);
	first = r.seq;
	r.seq = NULL;
	for (int i = 0; i < 2; i++) {
		struct kvf_op op;

		kvf_prep_lookup(&op, first, 0, 0, 0);
		rig_submit(&r, &op);
	}
	other = tier_rig_begin_retrieve(&r, 2, 2, KVF_PRIO_NORMAL);
	tier_rig_poll(&r, 5);
	CU_ASSERT_EQUAL(kvf_cancel_seq(r.engine, first), 2);
	CU_ASSERT_EQUAL(kvf_poll(r.engine, c, 8), 2);
	CU_ASSERT_EQUAL(c[0].status, KVF_ECANCELED);
	CU_ASSERT_EQUAL(c[1].status, KVF_ECANCELED);
	CU_ASSERT_EQUAL(kvf_cancel_seq(r.engine, first), 0);
	m.hold = false;
	CU_ASSERT_EQUAL(rig_await(&r, other).tokens, 2 * RIG_CHUNK);
	kvf_seq_close(first);
	tier_rig_close(&r, &m);
}

/* Numbers of operations and leases that never were, at every edge of what is kept about them. */
static void test_unknown_names(void)
{
	struct kvf_fence_out out;
	struct kvf_op op;
	struct rig r;

	rig_open(&r, &(struct rig_options){ .slots = 512, .extra_key = "kvf_max_ops", .extra_value = "64" });
	tier_rig_store(&r, 1, 1);
	kvf_prep_lookup(&op, r.seq, 0, 0, LONG);
	for (unsigned n = 1; n <= 2 * KVF_SLAB_BLOCK; n++) {
		CU_ASSERT_NOT_EQUAL(rig_run(&r, &op).lease_id, 0);
		for (uint64_t number = 0; number <= 2 * KVF_SLAB_BLOCK + 1; number++) {
			uint64_t id = 77ull << 32 | number;

			CU_ASSERT_EQUAL(kvf_cancel(r.engine, id), KVF_ENOENT);
			CU_ASSERT_EQUAL(kvf_layer_fence(r.engine, id, 0, &out), KVF_ENOENT);
			if (n % KVF_SLAB_BLOCK == 0)
				CU_ASSERT_EQUAL(rig_unpin(&r, id, 0, SIZE_MAX).status, KVF_ENOENT);
		}
	}
	CU_ASSERT_EQUAL(kvf_cancel(r.engine, 0), KVF_ENOENT);
	CU_ASSERT_EQUAL(kvf_cancel(r.engine, UINT64_MAX), KVF_ENOENT);
	CU_ASSERT_EQUAL(rig_unpin(&r, 0, 0, SIZE_MAX).status, KVF_ENOENT);
	CU_ASSERT_EQUAL(rig_unpin(&r, UINT64_MAX, 0, SIZE_MAX).status, KVF_ENOENT);
	CU_ASSERT_EQUAL(kvf_verify(r.engine), KVF_OK);
	rig_close(&r);
}

/* A block of the slab of operations is full, and the number asked for lies just behind it. */
static void test_behind_the_last(void)
{
	uint64_t id[KVF_SLAB_BLOCK];
	struct kvf_completion c;
	struct kvf_op op;
	struct rig r;

	rig_open(&r, &(struct rig_options){ .slots = 16, .extra_key = "kvf_max_ops", .extra_value = "64" });
	tier_rig_store(&r, 1, 1);
	kvf_prep_lookup(&op, r.seq, 0, 0, 0);
	for (unsigned i = 0; i < KVF_SLAB_BLOCK; i++)
		id[i] = rig_submit(&r, &op);
	CU_ASSERT_EQUAL(kvf_cancel(r.engine, 1ull << 32 | (KVF_SLAB_BLOCK + 1)), KVF_ENOENT);
	for (unsigned i = 0; i < KVF_SLAB_BLOCK; i++)
		CU_ASSERT_EQUAL(kvf_poll(r.engine, &c, 1) == 1 && c.op_id == id[i], 1);
	rig_close(&r);
}

/* ---- what is left behind ---- */

/* Places in the ring that were reserved and not used come back, those of refused operations too. */
static void test_ring_places(void)
{
	struct simmem mem;
	struct kvf_op op;
	struct rig r;
	uint64_t id;

	simmem_init(&mem, 1);
	rig_open(&r, &(struct rig_options){ .slots = 16,
					    .extra_key = "kvf_max_ops",
					    .extra_value = "4",
					    .allocator = &mem.allocator });
	rig_tokens(&r, 1, 64 * RIG_CHUNK);
	rig_prep(&r, &op, KVF_OP_RETRIEVE, 0, 64 * RIG_CHUNK);
	op.flags = KVF_OP_PROGRESS;
	for (int i = 0; i < 50; i++)
		CU_ASSERT_EQUAL(rig_run(&r, &op).tokens, 0);
	rig_prep(&r, &op, KVF_OP_STORE, 0, 64 * RIG_CHUNK);
	op.fence.kind = 99;
	for (int i = 0; i < 50; i++)
		CU_ASSERT_EQUAL(kvf_submit(r.engine, &op, 1, &id), KVF_EINVAL);
	CU_ASSERT_EQUAL(kvf_verify(r.engine), KVF_OK);
	rig_prep(&r, &op, KVF_OP_RETRIEVE, 0, 64 * RIG_CHUNK);
	for (int i = 0; i < 4; i++)
		rig_submit(&r, &op);
	tier_rig_poll(&r, 4);
	rig_close(&r);
	CU_ASSERT_EQUAL(mem.live_blocks, 0);
}

/* An engine that has seen everything once asks for no more memory, whatever it is given to do. */
static void test_steady(void)
{
	const uint32_t n = 4 * RIG_CHUNK;
	uint64_t calls = 0;
	struct simmem mem;
	struct memtier m;
	struct rig r;

	simmem_init(&mem, 1);
	tier_rig_open_more(&r, &m, 1, KVF_TIER_RECORDS | KVF_TIER_DURABLE,
			   (struct rig_options){ .slots = 16, .allocator = &mem.allocator });
	for (int i = 0; i < 150; i++) {
		struct kvf_completion c;
		struct kvf_op op;

		if (i == 50)
			calls = mem.calls;
		rig_tokens(&r, 1, n);
		rig_prep(&r, &op, KVF_OP_STORE, 0, n);
		op.level = KVF_LEVEL_DURABLE;
		CU_ASSERT_EQUAL(rig_run(&r, &op).level, KVF_LEVEL_DURABLE);
		CU_ASSERT_EQUAL(rig_store(&r, 0, n, KVF_OP_LAYERWISE).tokens, n);
		rig_remove(&r, 0, n, KVF_TIER_RAM);
		c = rig_prefetch(&r, 0, n, LONG);
		CU_ASSERT_EQUAL(rig_unpin(&r, c.lease_id, 0, SIZE_MAX).tokens, n);
		c = rig_lookup(&r, 0, 1);
		tier_rig_now += 10;
		c = rig_retrieve(&r, 0, n, KVF_OP_STREAM_ORDERED);
		rig_wait_fence(&r, c.op_id);
		rig_retrieve(&r, 0, n, KVF_OP_LAYERWISE);
		rig_remove(&r, 0, n, 0);
	}
	CU_ASSERT_EQUAL(mem.calls, calls);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 0);
	tier_rig_close(&r, &m);
	CU_ASSERT_EQUAL(mem.live_blocks, 0);
	CU_ASSERT_EQUAL(mem.wrong_sizes, 0);
}

/* Questions to a tier that hangs outlive the operation that asked them, and nobody is told their answers. */
static void test_late_answers(void)
{
	for (int late = 0; late < 2; late++) {
		struct kvf_completion c;
		struct memtier m;
		struct kvf_op op;
		struct rig r;
		uint64_t id;

		tier_rig_open(&r, &m, 64, KVF_TIER_RECORDS, false);
		tier_rig_only_below(&r, 1, 4);
		m.hold = true;
		kvf_prep_lookup(&op, r.seq, 0, 0, 0);
		op.deadline_ns = tier_rig_now + 1000;
		id = rig_submit(&r, &op);
		tier_rig_poll(&r, 5);
		CU_ASSERT_EQUAL(m.n_held, 4);
		if (late)
			tier_rig_now += 1000;
		else
			kvf_cancel(r.engine, id);
		c = rig_await(&r, id);
		CU_ASSERT_EQUAL(c.status, late ? KVF_ETIMEDOUT : KVF_ECANCELED);
		CU_ASSERT_EQUAL(c.tokens, 0);
		CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].timeouts, late ? 1u : 0u);
		/* Another one in its place: it waits for its own answers. */
		op.deadline_ns = KVF_NO_DEADLINE;
		m.backwards = true;
		id = rig_submit(&r, &op);
		tier_rig_poll(&r, 5);
		CU_ASSERT_EQUAL(m.n_held, 8);
		m.hold = false;
		CU_ASSERT_EQUAL(rig_await(&r, id).tokens, 4 * RIG_CHUNK);
		CU_ASSERT_EQUAL(m.exists, 8);
		CU_ASSERT_EQUAL(kvf_verify(r.engine), KVF_OK);
		tier_rig_close(&r, &m);
	}
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "scans", test_scans },
		{ "stopped_half_way", test_stopped_half_way },
		{ "steps", test_steps },
		{ "stopped_at_once", test_stopped_at_once },
		{ "cancel_seq", test_cancel_seq },
		{ "unknown_names", test_unknown_names },
		{ "behind_the_last", test_behind_the_last },
		{ "ring_places", test_ring_places },
		{ "steady", test_steady },
		{ "late_answers", test_late_answers },
	};

	return kvf_test_main("operations", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
