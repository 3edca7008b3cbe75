/* SPDX-License-Identifier: Apache-2.0 */
/* Who waits for a slot, and who gets the next one. */
#include "tests/harness.h"
#include "tests/support/tier_rig.h"

#include <string.h>

#define N 5

/* In a pool of 8 slots one load at a time is allowed: the operations end in the order in which they were served. */
static void test_urgent_first(void)
{
	static const uint8_t priority[N] = { KVF_PRIO_NORMAL, KVF_PRIO_NORMAL, KVF_PRIO_HIGH, KVF_PRIO_HIGH,
					     KVF_PRIO_NORMAL };
	static const int served[N] = { 0, 2, 3, 1, 4 };
	struct kvf_completion c[N + 1];
	struct memtier m;
	uint64_t id[N];
	struct rig r;
	int n = 0;

	tier_rig_open(&r, &m, 8, KVF_TIER_RECORDS, false);
	for (uint64_t i = 0; i < N; i++)
		tier_rig_only_below(&r, i, 1);
	m.hold = true;
	m.hold_kind = KVF_REQ_GET;
	for (uint64_t i = 0; i < N; i++) {
		id[i] = tier_rig_begin_retrieve(&r, i, 1, priority[i]);
		tier_rig_poll(&r, 10);
	}
	CU_ASSERT_EQUAL(rig_stats(&r).slots_loading, 1);
	m.hold = false;
	for (int i = 0; i < 200 && n < N; i++)
		n += kvf_poll(r.engine, c + n, 1);
	CU_ASSERT_EQUAL_FATAL(n, N);
	for (int i = 0; i < N; i++) {
		CU_ASSERT_EQUAL(c[i].op_id, id[served[i]]);
		CU_ASSERT_EQUAL(c[i].tokens, RIG_CHUNK);
	}
	tier_rig_close(&r, &m);
}

/* The same of stores that wait for a place among the copies, in the order of a fence that comes late. */
static void test_urgent_stores_first(void)
{
	static const uint8_t priority[N] = { KVF_PRIO_NORMAL, KVF_PRIO_NORMAL, KVF_PRIO_HIGH, KVF_PRIO_HIGH,
					     KVF_PRIO_NORMAL };
	static const int served[N] = { 0, 2, 3, 1, 4 };
	volatile uint64_t word = 0;
	struct kvf_completion c[N + 1];
	uint64_t id[N];
	struct kvf_op op;
	struct rig r;
	int n = 0;

	rig_open(&r, &(struct rig_options){ .slots = 8 });
	for (uint64_t i = 0; i < N; i++) {
		rig_tokens(&r, i, RIG_CHUNK);
		rig_prep(&r, &op, KVF_OP_STORE, 0, RIG_CHUNK);
		op.priority = priority[i];
		op.fence = (struct kvf_fence_in){ .kind = KVF_FENCE_WORD, .word = &word, .value = 1 };
		id[i] = rig_submit(&r, &op);
		tier_rig_poll(&r, 10);
		CU_ASSERT_EQUAL(rig_stats(&r).slots_copying, 1);
	}
	word = 1;
	for (int i = 0; i < 200 && n < N; i++)
		n += kvf_poll(r.engine, c + n, 1);
	CU_ASSERT_EQUAL_FATAL(n, N);
	for (int i = 0; i < N; i++)
		CU_ASSERT_EQUAL(c[i].op_id, id[served[i]]);
	rig_close(&r);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "urgent_first", test_urgent_first },
		{ "urgent_stores_first", test_urgent_stores_first },
	};

	return kvf_test_main("order", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
