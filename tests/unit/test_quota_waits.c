/* SPDX-License-Identifier: Apache-2.0 */
/* A tenant that holds all it may: its own operations go on, a few chunks at a time, and nobody else waits for them. */
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "tests/harness.h"
#include "tests/support/tier_rig.h"

static struct rig r;
static struct memtier m;
static struct kvf_engine *e;

#define MAX 4u /* chunks that the tenant may hold */

static void open_bounded(uint32_t slots)
{
	tier_rig_open(&r, &m, slots, KVF_TIER_RECORDS, false);
	e = r.engine;
	CU_ASSERT_EQUAL(kvf_set_quota(e, "small", 0, MAX * rig_stats(&r).slot_bytes), KVF_OK);
}

/* As rig_tokens(), for the bounded tenant. */
static void small_tokens(uint64_t number, uint32_t chunks)
{
	static uint32_t tokens[RIG_MAX_TOKENS];
	struct kvf_seq_params p;

	kvf_seq_close(r.seq);
	r.seq = NULL;
	kvf_seq_params_init(&p);
	p.salt = "small";
	rig_token_values(number, tokens, chunks * RIG_CHUNK);
	CU_ASSERT_EQUAL_FATAL(kvf_seq_open(e, &p, &r.seq), KVF_OK);
	CU_ASSERT_EQUAL_FATAL(kvf_seq_append(r.seq, tokens, chunks * RIG_CHUNK), KVF_OK);
	r.content = number;
}

static void keep_below(uint64_t number, uint32_t chunks)
{
	struct kvf_op op;

	/* Stored without a bound, so that all of it gets down. */
	CU_ASSERT_EQUAL(kvf_set_quota(e, "small", 0, 0), KVF_OK);
	small_tokens(number, chunks);
	rig_compute(&r, chunks * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_store(&r, 0, chunks * RIG_CHUNK, 0).tokens, chunks * RIG_CHUNK);
	tier_rig_flush(&r);
	kvf_prep_remove(&op, r.seq, 0, chunks * RIG_CHUNK, KVF_TIER_RAM);
	rig_run(&r, &op);
	CU_ASSERT_EQUAL(kvf_set_quota(e, "small", 0, MAX * rig_stats(&r).slot_bytes), KVF_OK);
}

/* A prompt of more chunks than the tenant may hold comes up all the same, and is stored all the same. */
static void test_larger_than_quota(void)
{
	struct kvf_completion c;

	open_bounded(64);
	keep_below(1, 20);
	small_tokens(1, 20);
	m.hold = true; /* all it may hold is on its way at once */
	m.hold_kind = KVF_REQ_GET;
	{
		struct kvf_op op;
		uint64_t id;

		rig_wipe(&r);
		rig_prep(&r, &op, KVF_OP_RETRIEVE, 0, 20 * RIG_CHUNK);
		id = rig_submit(&r, &op);
		tier_rig_poll(&r, 20);
		CU_ASSERT_EQUAL(m.n_held, MAX);
		m.hold = false;
		c = rig_await(&r, id);
	}
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(c.tokens, 20 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_mismatches(&r, 0, 20 * RIG_CHUNK), 0);
	CU_ASSERT(e->tenant[1].used <= MAX);
	small_tokens(2, 20);
	rig_compute(&r, 20 * RIG_CHUNK);
	c = rig_store(&r, 0, 20 * RIG_CHUNK, 0);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(c.tokens, 20 * RIG_CHUNK);
	CU_ASSERT(e->tenant[1].used <= MAX);
	tier_rig_close(&r, &m);
}

/* With leases on all it may hold, waiting would be for the leases' end: that is said at once. */
static void test_leased(void)
{
	struct kvf_completion c;
	uint64_t lease;

	open_bounded(64);
	keep_below(1, 6);
	small_tokens(2, MAX);
	rig_compute(&r, MAX * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_store(&r, 0, MAX * RIG_CHUNK, 0).tokens, MAX * RIG_CHUNK);
	lease = rig_lookup(&r, 0, 3600 * KVF_NS_PER_S).lease_id;
	CU_ASSERT_NOT_EQUAL(lease, 0);
	small_tokens(1, 6);
	c = rig_retrieve(&r, 0, 6 * RIG_CHUNK, 0);
	CU_ASSERT_EQUAL(c.tokens, 0);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_CAP);
	CU_ASSERT_EQUAL(rig_unpin(&r, lease, 0, SIZE_MAX).status, KVF_OK);
	CU_ASSERT_EQUAL(rig_retrieve(&r, 0, 6 * RIG_CHUNK, 0).tokens, 6 * RIG_CHUNK);
	tier_rig_close(&r, &m);
}

/* Whoever waits for his own chunks to be let go of keeps no others from free slots; one whose waiting became hopeless
 * is told. */
static void test_others_pass(void)
{
	struct kvf_completion c;
	uint64_t small[2], other, lease;

	open_bounded(64);
	tier_rig_only_below(&r, 3, 6);
	keep_below(1, MAX);
	keep_below(2, MAX);
	m.hold = true;
	m.hold_kind = KVF_REQ_GET;
	for (uint64_t i = 0; i < 2; i++) {
		struct kvf_op op;

		small_tokens(1 + i, MAX);
		rig_prep(&r, &op, KVF_OP_RETRIEVE, 0, MAX * RIG_CHUNK);
		op.deadline_ns = KVF_NO_DEADLINE;
		small[i] = rig_submit(&r, &op);
		tier_rig_poll(&r, 20);
	}
	CU_ASSERT_EQUAL(m.n_held, MAX);
	other = tier_rig_begin_retrieve(&r, 3, 6, KVF_PRIO_LOW);
	tier_rig_poll(&r, 20);
	/* Eight may be on their way from one tier: four of the small one, four of the other's. */
	CU_ASSERT_EQUAL(m.n_held, 8);
	m.hold = false;
	CU_ASSERT_EQUAL(rig_await(&r, small[0]).tokens, MAX * RIG_CHUNK);
	(void)other;
	tier_rig_poll(&r, 50);
	while (kvf_poll(e, &c, 1) == 1)
		CU_ASSERT_EQUAL(c.tokens, c.op_id == small[1] ? MAX * RIG_CHUNK : 6 * RIG_CHUNK);
	CU_ASSERT_EQUAL(e->n_jobs, 0);
	/* Now it waits, and then all it may hold is leased. */
	keep_below(4, MAX);
	keep_below(5, 2);
	m.hold = true;
	small_tokens(4, MAX);
	{
		struct kvf_op op;

		kvf_prep_prefetch(&op, r.seq, 0, MAX * RIG_CHUNK, 3600 * KVF_NS_PER_S);
		op.deadline_ns = KVF_NO_DEADLINE;
		small[0] = rig_submit(&r, &op);
		tier_rig_poll(&r, 20);
		small_tokens(5, 2);
		rig_prep(&r, &op, KVF_OP_RETRIEVE, 0, 2 * RIG_CHUNK);
		op.deadline_ns = KVF_NO_DEADLINE;
		small[1] = rig_submit(&r, &op);
		tier_rig_poll(&r, 20);
	}
	CU_ASSERT_EQUAL(e->n_wants, 1);
	m.hold = false;
	c = rig_await(&r, small[0]);
	CU_ASSERT_EQUAL(c.tokens, MAX * RIG_CHUNK);
	lease = c.lease_id;
	for (int i = 0; i < 50 && e->n_jobs; i++)
		tier_rig_poll(&r, 1);
	CU_ASSERT_EQUAL(e->n_jobs, 0);
	c = rig_await(&r, small[1]);
	CU_ASSERT_EQUAL(c.tokens, 0);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_CAP);
	CU_ASSERT_EQUAL(rig_unpin(&r, lease, 0, SIZE_MAX).status, KVF_OK);
	tier_rig_close(&r, &m);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "larger_than_quota", test_larger_than_quota },
		{ "leased", test_leased },
		{ "others_pass", test_others_pass },
	};

	return kvf_test_main("quota_waits", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
