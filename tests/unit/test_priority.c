/* SPDX-License-Identifier: Apache-2.0 */
/* Who goes first: operations by their priority, and what counts as a use for the policies that evict. */
#include "tests/harness.h"
#include "tests/rig.h"

#include <string.h>

#define SOME 12u /* chunks of a store: many times the two that may be copied at once in a pool of 16 */
#define OPS 4u

static uint64_t submit_store(struct rig *r, uint64_t number, uint8_t priority)
{
	struct kvf_op op;

	rig_tokens(r, number, SOME * RIG_CHUNK);
	rig_prep(r, &op, KVF_OP_STORE, 0, SOME * RIG_CHUNK);
	op.priority = priority;
	return rig_submit(r, &op);
}

/* Submits a store for each of `priority` and tells in which order they end, by their place there. */
static void order_of(const uint8_t priority[OPS], unsigned order[OPS])
{
	uint64_t id[OPS];
	struct kvf_completion c;
	unsigned n = 0;
	struct rig r;

	rig_open(&r, &(struct rig_options){.slots = 16});
	for (unsigned i = 0; i < OPS; i++)
		id[i] = submit_store(&r, i + 1, priority[i]);
	for (int i = 0; i < 100000 && n < OPS; i++) {
		if (kvf_poll(r.engine, &c, 1) != 1)
			continue;
		CU_ASSERT_EQUAL(c.status, KVF_OK);
		for (unsigned k = 0; k < OPS; k++) {
			if (c.op_id == id[k])
				order[n] = k;
		}
		n++;
	}
	CU_ASSERT_EQUAL_FATAL(n, OPS);
	rig_close(&r);
}

static void test_order(void)
{
	static const uint8_t mixed[OPS] = {KVF_PRIO_NORMAL, KVF_PRIO_LOW, KVF_PRIO_NORMAL, KVF_PRIO_HIGH};
	static const uint8_t equal[OPS] = {KVF_PRIO_NORMAL, KVF_PRIO_NORMAL, KVF_PRIO_NORMAL, KVF_PRIO_NORMAL};
	static const uint8_t low[OPS] = {KVF_PRIO_LOW, KVF_PRIO_LOW, KVF_PRIO_LOW, KVF_PRIO_NORMAL};
	unsigned order[OPS];

	order_of(mixed, order);
	CU_ASSERT_EQUAL(order[0], 3);
	CU_ASSERT_EQUAL(order[1], 0);
	CU_ASSERT_EQUAL(order[2], 2);
	CU_ASSERT_EQUAL(order[3], 1);
	order_of(equal, order);
	for (unsigned i = 0; i < OPS; i++)
		CU_ASSERT_EQUAL(order[i], i);
	order_of(low, order);
	CU_ASSERT_EQUAL(order[0], 3);
	for (unsigned i = 1; i < OPS; i++)
		CU_ASSERT_EQUAL(order[i], i - 1);
}

static void test_bounds(void)
{
	struct kvf_op op;
	uint64_t id;
	struct rig r;

	rig_open(&r, &(struct rig_options){.slots = 16});
	rig_tokens(&r, 1, RIG_CHUNK);
	rig_prep(&r, &op, KVF_OP_STORE, 0, RIG_CHUNK);
	op.priority = KVF_PRIO_LOW + 1;
	CU_ASSERT_EQUAL(kvf_submit(r.engine, &op, 1, &id), KVF_EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(kvf_error_detail(r.engine), "op.priority: 3, at most 2"));
	rig_close(&r);
}

static uint32_t resident(struct rig *r, uint64_t number, uint32_t chunks)
{
	rig_tokens(r, number, chunks * RIG_CHUNK);
	return (uint32_t)(kvf_seq_resident(r->seq) / RIG_CHUNK);
}

static void store_all(struct rig *r, uint64_t number, uint32_t chunks)
{
	rig_tokens(r, number, chunks * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_store(r, 0, chunks * RIG_CHUNK, 0).status, KVF_OK);
}

/* Six chunks that are stored one by one were used no more often than those that came at once, and less than what was
 * retrieved. */
static void test_lfu_steps(void)
{
	struct rig r;

	rig_open(&r, &(struct rig_options){.slots = 16, .extra_key = "cache_policy", .extra_value = "LFU"});
	rig_tokens(&r, 1, 6 * RIG_CHUNK);
	for (uint32_t i = 0; i < 6; i++)
		CU_ASSERT_EQUAL(rig_store(&r, i * RIG_CHUNK, RIG_CHUNK, 0).status, KVF_OK);
	store_all(&r, 2, 6);
	CU_ASSERT_EQUAL(rig_retrieve(&r, 0, 6 * RIG_CHUNK, 0).tokens, 6 * RIG_CHUNK);
	for (uint64_t i = 0; i < 12; i++)
		store_all(&r, 100 + i, 1);
	CU_ASSERT_EQUAL(resident(&r, 2, 6), 6);
	CU_ASSERT_EQUAL(resident(&r, 1, 6), 0);
	rig_close(&r);
}

/* MRU replaces what came last, not the beginning of the prompt that is being stored. */
static void test_mru_steps(void)
{
	struct rig r;

	rig_open(&r, &(struct rig_options){.slots = 16, .extra_key = "cache_policy", .extra_value = "MRU"});
	store_all(&r, 1, 10);
	rig_tokens(&r, 2, 12 * RIG_CHUNK);
	for (uint32_t i = 0; i < 12; i++)
		CU_ASSERT_EQUAL(rig_store(&r, i * RIG_CHUNK, RIG_CHUNK, 0).status, KVF_OK);
	CU_ASSERT_EQUAL(resident(&r, 1, 10), 10);
	CU_ASSERT_EQUAL(resident(&r, 2, 12), 5);
	rig_close(&r);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"order", test_order},
		{"bounds", test_bounds},
		{"lfu_steps", test_lfu_steps},
		{"mru_steps", test_mru_steps},
	};

	return kvf_test_main("priority", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
