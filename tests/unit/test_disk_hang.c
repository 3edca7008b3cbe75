/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk that hangs inside the kernel, is full or fails, under a whole engine: operations end by their deadline, slots
 * that the kernel may still write to are not used again before it lets go, RAM serves on, and everything comes back by
 * itself when the device does.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "tests/harness.h"
#include "tests/rig.h"
#include "tests/support/sim_disk.h"
#include "tier/disk/disk.h"

#define FOUR (4 * RIG_CHUNK)
#define SLOTS 16u
#define LONG_NS (40 * KVF_NS_PER_S) /* past every pause: of spills, of a breaker, of a full disk */

static uint64_t now_ns;

/* Time goes on with every look at it. */
static uint64_t ticking(void *user)
{
	(void)user;
	return now_ns += 20 * KVF_NS_PER_US;
}

static const struct kvf_clock clock_ = {sizeof(clock_), ticking, NULL};

struct stage {
	char dir[1000];
	struct sim_disk sim;
	struct kvf_mem mem;
	struct kvf_disk *disk;
	struct kvf_custom_tier tier;
	struct rig r;
};

static void begin_with(struct stage *s, uint32_t slots, uint32_t depth)
{
	struct kvf_disk_params params = {.dirs = s->dir,
		.max_bytes = 4 << 20,
		.segment_bytes = 1 << 20,
		.depth = depth,
		.aio_ops = &sim_aio,
		.aio_arg = &s->sim};

	CU_ASSERT_EQUAL_FATAL(kvf_test_tmpdir(s->dir, sizeof(s->dir)), 0);
	now_ns = KVF_NS_PER_S;
	sim_disk_init(&s->sim, 9);
	s->sim.latency = 3;
	kvf_mem_init(&s->mem, NULL);
	CU_ASSERT_EQUAL_FATAL(kvf_disk_new(&s->disk, &s->mem, &params), KVF_OK);
	s->tier = (struct kvf_custom_tier){&kvf_disk_ops, s->disk};
	rig_open(&s->r, &(struct rig_options){
				.slots = slots, .tiers = &s->tier, .n_tiers = 1, .clock = &clock_});
}

static void begin(struct stage *s)
{
	begin_with(s, SLOTS, 0);
}

static void end_disk(struct stage *s)
{
	CU_ASSERT_EQUAL(s->sim.overlaps, 0);
	kvf_disk_free(s->disk);
	CU_ASSERT_EQUAL(kvf_mem_fini(&s->mem), 0);
	sim_disk_fini(&s->sim);
}

static void end(struct stage *s)
{
	CU_ASSERT_EQUAL(rig_stats(&s->r).corrupt_chunks, 0);
	rig_close(&s->r);
	end_disk(s);
}

static void polls(struct stage *s, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		CU_ASSERT_EQUAL(kvf_poll(s->r.engine, NULL, 0), 0);
}

static struct kvf_completion store(struct stage *s, uint64_t number, uint8_t level)
{
	struct kvf_op op;

	rig_tokens(&s->r, number, FOUR);
	rig_compute(&s->r, FOUR);
	rig_prep(&s->r, &op, KVF_OP_STORE, 0, FOUR);
	op.level = level;
	op.deadline_ns = now_ns + KVF_NS_PER_S;
	return rig_run(&s->r, &op);
}

static struct kvf_completion retrieve(struct stage *s, uint64_t number, uint64_t patience_ns)
{
	struct kvf_completion c;
	struct kvf_op op;

	rig_tokens(&s->r, number, FOUR);
	rig_wipe(&s->r);
	rig_prep(&s->r, &op, KVF_OP_RETRIEVE, 0, FOUR);
	op.deadline_ns = now_ns + patience_ns;
	c = rig_run(&s->r, &op);
	CU_ASSERT_EQUAL(rig_mismatches(&s->r, 0, c.tokens), 0);
	return c;
}

static void drop_from_ram(struct stage *s, uint64_t number)
{
	rig_tokens(&s->r, number, FOUR);
	CU_ASSERT_EQUAL(rig_remove(&s->r, 0, FOUR, KVF_TIER_RAM).status, KVF_OK);
	CU_ASSERT_EQUAL(kvf_seq_resident(s->r.seq), 0);
}

static uint32_t health(struct stage *s)
{
	uint32_t bits = 0;

	CU_ASSERT_EQUAL(kvf_health(s->r.engine, &bits), KVF_OK);
	return bits;
}

/* What is in RAM is stored, found and right, whatever the disk does. */
static void expect_ram_serves(struct stage *s, uint64_t first, uint64_t n)
{
	for (uint64_t i = first; i < first + n; i++) {
		CU_ASSERT_EQUAL(store(s, i, KVF_LEVEL_INDEXED).tokens, FOUR);
		CU_ASSERT_EQUAL(retrieve(s, i, KVF_NS_PER_S).tokens, FOUR);
		CU_ASSERT_EQUAL(kvf_verify(s->r.engine), KVF_OK);
	}
}

static void expect_back(struct stage *s, uint64_t number)
{
	struct kvf_completion c;

	now_ns += LONG_NS;
	/* A breaker that opened lets one request through and waits for its answer. */
	for (int i = 0; i < 3; i++) {
		(void)store(s, 900, KVF_LEVEL_DURABLE);
		drop_from_ram(s, 900);
		(void)retrieve(s, 900, KVF_NS_PER_S);
		now_ns += LONG_NS;
	}
	CU_ASSERT_EQUAL(rig_stats(&s->r).tiers[0].breaker, 0);
	CU_ASSERT_EQUAL(health(s), 0);
	c = store(s, 901, KVF_LEVEL_DURABLE);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(c.level, KVF_LEVEL_DURABLE);
	c = retrieve(s, number, KVF_NS_PER_S);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(c.tokens, FOUR);
}

/* ---- the kernel does not answer ---- */

static void test_hang(void)
{
	static struct stage s;
	struct kvf_completion c;
	struct kvf_stats st;
	uint64_t began, held;

	begin(&s);
	for (uint64_t i = 1; i <= 3; i++)
		CU_ASSERT_EQUAL(store(&s, i, KVF_LEVEL_DURABLE).level, KVF_LEVEL_DURABLE);
	drop_from_ram(&s, 1);
	s.sim.stalled = true;
	began = now_ns;
	c = retrieve(&s, 1, 50 * KVF_NS_PER_MS);
	CU_ASSERT_EQUAL(c.tokens, 0);
	CU_ASSERT_EQUAL(c.status, KVF_ETIMEDOUT);
	CU_ASSERT(now_ns - began < 60 * KVF_NS_PER_MS);
	/* Some slots belong to the kernel, and to nobody else until it lets go. */
	st = rig_stats(&s.r);
	held = st.slots_quarantined;
	CU_ASSERT(held >= 2 && held <= 4);
	CU_ASSERT_EQUAL(st.tiers[0].orphaned, held);
	CU_ASSERT_EQUAL(s.sim.n_ops, held);
	CU_ASSERT(health(&s) & KVF_HEALTH_QUARANTINE);
	expect_ram_serves(&s, 10, 6);
	/* Now its writes are late too. */
	now_ns += LONG_NS;
	polls(&s, 50);
	st = rig_stats(&s.r);
	CU_ASSERT(st.slots_quarantined > held && st.slots_quarantined <= SLOTS / 2);
	CU_ASSERT_EQUAL(st.slots_quarantined, s.sim.n_ops);
	expect_ram_serves(&s, 20, 6);
	CU_ASSERT_EQUAL(rig_stats(&s.r).slots_quarantined, st.slots_quarantined);
	/* The late end: bytes arrive in slots that nobody wants any more. */
	s.sim.stalled = false;
	polls(&s, 100);
	CU_ASSERT_EQUAL(s.sim.n_ops, 0);
	CU_ASSERT_EQUAL(rig_stats(&s.r).slots_quarantined, 0);
	CU_ASSERT_EQUAL(retrieve(&s, 25, KVF_NS_PER_S).tokens, FOUR);
	expect_ram_serves(&s, 30, 6);
	expect_back(&s, 1);
	end(&s);
}

/* A transfer that ends late, but before anybody gave it up, is what was asked for. */
static void test_slow(void)
{
	static struct stage s;
	struct kvf_op op;
	uint64_t id;

	begin(&s);
	CU_ASSERT_EQUAL(store(&s, 1, KVF_LEVEL_DURABLE).level, KVF_LEVEL_DURABLE);
	drop_from_ram(&s, 1);
	s.sim.stalled = true;
	rig_wipe(&s.r);
	rig_prep(&s.r, &op, KVF_OP_RETRIEVE, 0, FOUR);
	op.deadline_ns = now_ns + 5 * KVF_NS_PER_S;
	id = rig_submit(&s.r, &op);
	polls(&s, 200);
	now_ns += 4 * KVF_NS_PER_S;
	polls(&s, 20);
	s.sim.stalled = false;
	CU_ASSERT_EQUAL(rig_await(&s.r, id).tokens, FOUR);
	CU_ASSERT_EQUAL(rig_mismatches(&s.r, 0, FOUR), 0);
	CU_ASSERT_EQUAL(rig_stats(&s.r).tiers[0].orphaned, 0);
	end(&s);
}

/* Close waits for the kernel: until it lets go, memory that it may write to stays. */
static void test_close_after_hang(void)
{
	static struct stage s;

	begin(&s);
	CU_ASSERT_EQUAL(store(&s, 1, KVF_LEVEL_DURABLE).level, KVF_LEVEL_DURABLE);
	drop_from_ram(&s, 1);
	s.sim.stalled = true;
	CU_ASSERT_EQUAL(retrieve(&s, 1, 50 * KVF_NS_PER_MS).tokens, 0);
	CU_ASSERT_EQUAL(kvf_engine_shutdown(s.r.engine, KVF_SHUTDOWN_CANCEL, now_ns + KVF_NS_PER_S), KVF_OK);
	polls(&s, 200);
	CU_ASSERT_EQUAL(kvf_engine_close(s.r.engine), KVF_EBUSY);
	s.sim.stalled = false;
	polls(&s, 200);
	kvf_seq_close(s.r.seq);
	CU_ASSERT_EQUAL(kvf_engine_close(s.r.engine), KVF_OK);
	free(s.r.kv);
	end_disk(&s);
}

/* ---- it answers, with errors ---- */

/* Writes fail for a while: nothing new gets down, what is there is served, and when the time is over all is as before.
 * Full and read-only disks are not switched off. */
static void writes_fail(int error)
{
	static struct stage s;
	struct kvf_completion c;

	begin(&s);
	for (uint64_t i = 1; i <= 3; i++)
		CU_ASSERT_EQUAL(store(&s, i, KVF_LEVEL_DURABLE).level, KVF_LEVEL_DURABLE);
	s.sim.fail_from = 1;
	s.sim.fail_to = UINT64_MAX;
	s.sim.fail_kinds = 1u << KVF_AIO_WRITE;
	s.sim.fail_errno = error;
	c = store(&s, 4, KVF_LEVEL_DURABLE);
	CU_ASSERT_NOT_EQUAL(c.level, KVF_LEVEL_DURABLE);
	expect_ram_serves(&s, 10, 6);
	drop_from_ram(&s, 2);
	c = retrieve(&s, 2, KVF_NS_PER_S);
	CU_ASSERT_EQUAL(rig_stats(&s.r).tiers[0].breaker, error == EIO);
	CU_ASSERT(error == EIO || c.tokens == FOUR);
	s.sim.fail_from = s.sim.fail_to = 0;
	expect_back(&s, 1);
	CU_ASSERT_EQUAL(rig_stats(&s.r).tiers[0].orphaned, 0);
	end(&s);
}

static void test_errors(void)
{
	static const int errors[] = {ENOSPC, EDQUOT, EROFS, EIO};

	for (size_t i = 0; i < KVF_ARRAY_LEN(errors); i++)
		writes_fail(errors[i]);
}

/* A chunk at a place that the device cannot read any more is given up, so that the next store mends it. A device that
 * fails altogether keeps its chunks. */
static void test_unreadable(void)
{
	static struct stage s;

	begin(&s);
	for (uint64_t i = 1; i <= 2; i++)
		CU_ASSERT_EQUAL(store(&s, i, KVF_LEVEL_DURABLE).level, KVF_LEVEL_DURABLE);
	drop_from_ram(&s, 1);
	s.sim.fail_from = 1;
	s.sim.fail_to = UINT64_MAX;
	s.sim.fail_kinds = 1u << KVF_AIO_READ;
	s.sim.fail_errno = EIO;
	for (int i = 0; i < 6; i++) {
		CU_ASSERT_EQUAL(retrieve(&s, 1, KVF_NS_PER_S).tokens, 0);
		now_ns += LONG_NS;
	}
	polls(&s, 50);
	s.sim.fail_from = s.sim.fail_to = 0;
	now_ns += LONG_NS;
	(void)retrieve(&s, 1, KVF_NS_PER_S);
	CU_ASSERT(retrieve(&s, 1, KVF_NS_PER_S).tokens < FOUR);
	CU_ASSERT_EQUAL(store(&s, 1, KVF_LEVEL_DURABLE).level, KVF_LEVEL_DURABLE);
	drop_from_ram(&s, 1);
	CU_ASSERT_EQUAL(retrieve(&s, 1, KVF_NS_PER_S).tokens, FOUR);
	drop_from_ram(&s, 2);
	CU_ASSERT_EQUAL(retrieve(&s, 2, KVF_NS_PER_S).tokens, FOUR);
	end(&s);
}

/* The tier took no more, and then everything that it had ended in one turn: the rest goes out without anybody else
 * having to wake the engine. */
static void test_room_again(void)
{
	static struct stage s;
	struct kvf_op op;

	begin_with(&s, 400, 64);
	s.sim.latency = 0;
	s.sim.stalled = true;
	rig_tokens(&s.r, 1, RIG_MAX_TOKENS);
	rig_compute(&s.r, RIG_MAX_TOKENS);
	rig_prep(&s.r, &op, KVF_OP_STORE, 0, RIG_MAX_TOKENS);
	CU_ASSERT_EQUAL(rig_run(&s.r, &op).tokens, RIG_MAX_TOKENS);
	polls(&s, 200);
	CU_ASSERT_EQUAL(s.sim.n_ops, 48);
	s.sim.stalled = false;
	while (rig_stats(&s.r).tiers[0].puts < RIG_MAX_TOKENS / RIG_CHUNK) {
		uint64_t at = kvf_next_deadline_ns(s.r.engine);

		CU_ASSERT_FATAL(at < now_ns + KVF_NS_PER_S);
		now_ns = kvf_max_u64(now_ns, at);
		polls(&s, 1);
	}
	end(&s);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"hang", test_hang},
		{"slow", test_slow},
		{"close_after_hang", test_close_after_hang},
		{"errors", test_errors},
		{"unreadable", test_unreadable},
		{"room_again", test_room_again},
	};

	return kvf_test_main("disk_hang", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
