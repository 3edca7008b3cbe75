/* SPDX-License-Identifier: Apache-2.0 */
/* Lookups and the leases they give: what they count, what a lease holds, and what happens without memory. */
#include "engine/engine.h"
#include "tests/harness.h"
#include "tests/sim/simmem.h"
#include "tests/support/tier_rig.h"

#include <stdlib.h>
#include <string.h>

#define LONG 3600000000000ull
#define TAIL 10u

/* ---- numbers ---- */

/* need is what the host has not computed yet of what it may use: all but the last token. */
static void test_usable_and_need(void)
{
	static const struct {
		uint32_t computed, need;
	} of[] = { { 0, 4 * RIG_CHUNK - 1 }, { 4 * RIG_CHUNK - 2, 1 }, { 4 * RIG_CHUNK - 1, 0 }, { 4 * RIG_CHUNK, 0 } };
	struct kvf_completion c;
	struct rig r;

	rig_open(&r, &(struct rig_options){ .slots = 16 });
	tier_rig_store(&r, 1, 4);
	for (unsigned i = 0; i < KVF_ARRAY_LEN(of); i++) {
		c = rig_lookup(&r, of[i].computed, 0);
		CU_ASSERT_EQUAL(c.tokens, 4 * RIG_CHUNK);
		CU_ASSERT_EQUAL(c.usable, 4 * RIG_CHUNK - 1);
		CU_ASSERT_EQUAL(c.need, of[i].need);
		CU_ASSERT_EQUAL(c.ram_tokens, 4 * RIG_CHUNK);
		CU_ASSERT_EQUAL(c.reason, KVF_REASON_NONE);
		CU_ASSERT_EQUAL(c.lease_id, 0);
	}
	/* Of a longer prompt all of the hit is usable. */
	rig_tokens(&r, 1, 4 * RIG_CHUNK + 1);
	c = rig_lookup(&r, 0, 0);
	CU_ASSERT_EQUAL(c.usable, 4 * RIG_CHUNK);
	rig_tokens(&r, 9, 4 * RIG_CHUNK);
	c = rig_lookup(&r, 0, LONG);
	CU_ASSERT_EQUAL(c.tokens, 0);
	CU_ASSERT_EQUAL(c.usable, 0);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_MISS);
	CU_ASSERT_EQUAL(c.lease_id, 0);
	rig_tokens(&r, 9, 0);
	c = rig_lookup(&r, 0, LONG);
	CU_ASSERT_EQUAL(c.tokens, 0);
	CU_ASSERT_EQUAL(c.usable, 0);
	rig_close(&r);
}

/* Hits shorter than the setting are none, for lookups and for retrieves. */
static void test_least_tokens(void)
{
	struct kvf_completion c;
	struct rig r;

	rig_open(&r, &(struct rig_options){ .slots = 16, .extra_key = "min_retrieve_tokens", .extra_value = "128" });
	tier_rig_store(&r, 1, 3);
	rig_tokens(&r, 1, RIG_CHUNK);
	c = rig_lookup(&r, 0, 0);
	CU_ASSERT_EQUAL(c.tokens, 0);
	CU_ASSERT_EQUAL(c.ram_tokens, 0);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_POLICY);
	c = rig_retrieve(&r, 0, RIG_CHUNK, 0);
	CU_ASSERT_EQUAL(c.tokens, 0);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_POLICY);
	rig_tokens(&r, 1, 2 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_lookup(&r, 0, 0).tokens, 2 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_retrieve(&r, 0, 2 * RIG_CHUNK, 0).tokens, 2 * RIG_CHUNK);
	/* It is the prefix that counts, not how much of it a retrieve asks for. */
	CU_ASSERT_EQUAL(rig_retrieve(&r, RIG_CHUNK, RIG_CHUNK, 0).tokens, RIG_CHUNK);
	rig_tokens(&r, 9, 2 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_retrieve(&r, 0, 2 * RIG_CHUNK, 0).reason, KVF_REASON_MISS);
	CU_ASSERT_EQUAL(rig_lookup(&r, 0, 0).reason, KVF_REASON_MISS);
	rig_close(&r);
}

/* A prefix that begins in RAM and goes on below. */
static void test_part_below(void)
{
	struct kvf_completion c;
	struct memtier m;
	struct rig r;

	tier_rig_open(&r, &m, 16, KVF_TIER_RECORDS, false);
	tier_rig_store(&r, 1, 5);
	tier_rig_flush(&r);
	rig_remove(&r, 2 * RIG_CHUNK, RIG_CHUNK, KVF_TIER_RAM);
	m.exists = 0;
	c = rig_lookup(&r, 0, LONG);
	CU_ASSERT_EQUAL(c.tokens, 5 * RIG_CHUNK);
	CU_ASSERT_EQUAL(c.ram_tokens, 4 * RIG_CHUNK);
	CU_ASSERT_EQUAL(m.exists, 1);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 4);
	rig_unpin(&r, c.lease_id, 0, SIZE_MAX);
	/* Nobody has the fourth: the fifth counts for nothing, though it is in RAM. */
	rig_remove(&r, 3 * RIG_CHUNK, RIG_CHUNK, 0);
	c = rig_lookup(&r, 0, LONG);
	CU_ASSERT_EQUAL(c.tokens, 3 * RIG_CHUNK);
	CU_ASSERT_EQUAL(c.ram_tokens, 2 * RIG_CHUNK);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_MISS);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 2);
	tier_rig_close(&r, &m);
}

/* What submit saw in RAM and was removed before the turn is no hit. */
static void test_removed_meanwhile(void)
{
	struct kvf_completion c;
	struct kvf_op ops[2];
	uint64_t id[2];
	struct rig r;

	rig_open(&r, &(struct rig_options){ .slots = 16 });
	tier_rig_store(&r, 1, 4);
	kvf_prep_remove(&ops[0], r.seq, RIG_CHUNK, RIG_CHUNK, 0);
	kvf_prep_lookup(&ops[1], r.seq, 0, 0, LONG);
	CU_ASSERT_EQUAL_FATAL(kvf_submit(r.engine, ops, 2, id), 2);
	c = rig_await(&r, id[1]);
	CU_ASSERT_EQUAL(c.tokens, RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 1);
	rig_close(&r);
}

/* ---- leases ---- */

/* A pin is clipped to half of the pool and says so; what it holds stays, whatever comes. */
static void test_pin_cap(void)
{
	struct kvf_completion c;
	struct rig r;

	rig_open(&r, &(struct rig_options){ .slots = 8 });
	tier_rig_store(&r, 1, 6);
	c = rig_pin(&r, 0, 6 * RIG_CHUNK, LONG);
	CU_ASSERT_EQUAL(c.tokens, 4 * RIG_CHUNK);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_CAP);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 4);
	for (uint64_t i = 2; i < 8; i++)
		tier_rig_store(&r, i, 4);
	rig_tokens(&r, 1, 6 * RIG_CHUNK);
	CU_ASSERT_EQUAL(kvf_seq_resident(r.seq), 4 * RIG_CHUNK);
	/* Who leases what is leased already needs no more room. */
	CU_ASSERT_EQUAL(rig_lookup(&r, 0, LONG).reason, KVF_REASON_MISS);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 4);
	CU_ASSERT_EQUAL(rig_unpin(&r, c.lease_id, 0, SIZE_MAX).tokens, 4 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 4);
	rig_close(&r);
}

/* A lease of a whole prompt: all but its last, partial chunk, then that one too. */
static void test_unpin_partial_chunk(void)
{
	const uint32_t n = 2 * RIG_CHUNK + TAIL;
	struct kvf_completion c;
	struct rig r;

	rig_open(&r, &(struct rig_options){ .slots = 16, .unfull = true });
	rig_tokens(&r, 1, n);
	CU_ASSERT_EQUAL(rig_store(&r, 0, n, 0).tokens, n);
	c = rig_lookup(&r, 0, LONG);
	CU_ASSERT_EQUAL(c.tokens, n);
	CU_ASSERT_EQUAL(c.ram_tokens, n);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 3);
	/* Parts of chunks are not given back. */
	CU_ASSERT_EQUAL(rig_unpin(&r, c.lease_id, 0, RIG_CHUNK - 1).tokens, 0);
	CU_ASSERT_EQUAL(rig_unpin(&r, c.lease_id, 1, RIG_CHUNK).tokens, 0);
	CU_ASSERT_EQUAL(rig_unpin(&r, c.lease_id, 2 * RIG_CHUNK, TAIL - 1).tokens, 0);
	CU_ASSERT_EQUAL(rig_unpin(&r, c.lease_id, 1, 2 * RIG_CHUNK).tokens, RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_unpin(&r, c.lease_id, 2 * RIG_CHUNK, TAIL).tokens, TAIL);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 1);
	CU_ASSERT_EQUAL(rig_unpin(&r, c.lease_id, 0, SIZE_MAX).tokens, RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_unpin(&r, c.lease_id, 0, SIZE_MAX).status, KVF_ENOENT);
	/* All of it at once, and the same number of tokens comes back that was leased. */
	c = rig_lookup(&r, 0, LONG);
	CU_ASSERT_EQUAL(rig_unpin(&r, c.lease_id, 0, n).tokens, n);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 0);
	rig_close(&r);
}

/* ---- without memory ---- */

/* The operation with so many allocations and no more; false when submit refused it. */
static bool run_with(struct rig *r, const struct kvf_op *op, struct simmem *host, uint32_t allocs,
		     struct kvf_completion *c)
{
	uint64_t id;
	int rc;

	simmem_allow(host, allocs);
	rc = kvf_submit(r->engine, op, 1, &id);
	if (rc == 1)
		*c = rig_await(r, id);
	simmem_allow(host, SIMMEM_ANY);
	CU_ASSERT(rc == 1 || rc == KVF_ENOMEM);
	return rc == 1;
}

/* A lookup without memory for its lease is still an answer; a pin is nothing without one. */
static void test_no_memory(void)
{
	unsigned seen[2][2] = { { 0 } };

	for (uint32_t allocs = 0; allocs < 12; allocs++) {
		for (int pin = 0; pin < 2; pin++) {
			struct kvf_completion c = { 0 };
			struct simmem host;
			struct kvf_op op;
			struct rig r;

			simmem_init(&host, 1);
			rig_open(&r, &(struct rig_options){ .slots = 1024, .allocator = &host.allocator });
			tier_rig_store(&r, 1, 40);
			kvf_prep_lookup(&op, r.seq, 0, 0, LONG);
			if (pin)
				kvf_prep_pin(&op, r.seq, 0, 40 * RIG_CHUNK, LONG);
			if (run_with(&r, &op, &host, allocs, &c)) {
				seen[pin][!!c.lease_id]++;
				CU_ASSERT_EQUAL(c.tokens, 40 * RIG_CHUNK);
				CU_ASSERT_EQUAL(c.reason, c.lease_id ? KVF_REASON_NONE : KVF_REASON_MEMORY);
				CU_ASSERT_EQUAL(c.status, pin && !c.lease_id ? KVF_ENOMEM : KVF_OK);
				CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, c.lease_id ? 40 : 0);
			}
			rig_close(&r);
		}
	}
	for (int pin = 0; pin < 2; pin++)
		CU_ASSERT(seen[pin][0] && seen[pin][1]);
}

/* A system prompt that everybody has: so many leases of one chunk that their count ends. */
static void test_leases_of_one_chunk(void)
{
	uint64_t *lease = calloc(UINT16_MAX, sizeof(*lease));
	struct kvf_completion c = { 0 };
	struct rig r;

	CU_ASSERT_PTR_NOT_NULL_FATAL(lease);
	rig_open(&r, &(struct rig_options){ .slots = 16 });
	tier_rig_store(&r, 1, 1);
	for (uint32_t i = 0; i < UINT16_MAX; i++) {
		c = rig_lookup(&r, 0, LONG);
		if (!c.lease_id)
			break;
		lease[i] = c.lease_id;
	}
	CU_ASSERT_NOT_EQUAL(c.lease_id, 0);
	c = rig_lookup(&r, 0, LONG);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(c.tokens, RIG_CHUNK);
	CU_ASSERT_EQUAL(c.lease_id, 0);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_CAP);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 1);
	rig_unpin(&r, lease[0], 0, SIZE_MAX);
	lease[0] = rig_lookup(&r, 0, LONG).lease_id;
	for (uint32_t i = 0; i < UINT16_MAX; i++) {
		CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 1);
		rig_unpin(&r, lease[i], 0, SIZE_MAX);
	}
	CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 0);
	rig_close(&r);
	free(lease);
}

/* A host's own keys may name one chunk many times: more operations than may hold it at once are told so, whether it is
 * there or on its way. */
static void test_pins_of_one_chunk(void)
{
	static const char *const settings[] = { "kvf_max_ops", "4096", NULL };
	const uint32_t ops = 2100, times = 32;
	uint8_t keys[32][KVF_KEY_BYTES];
	uint32_t whole = 0, capped = 0;
	volatile uint64_t word = 0;
	struct kvf_completion c;
	struct memtier m;
	struct kvf_op op;
	struct rig r;

	for (int below = 0; below < 2; below++) {
		tier_rig_open_more(&r, &m, 1, KVF_TIER_RECORDS,
				   (struct rig_options){ .slots = 16, .settings = settings });
		memset(keys, 7, sizeof(keys));
		CU_ASSERT_EQUAL_FATAL(kvf_seq_open(r.engine, NULL, &r.seq), KVF_OK);
		CU_ASSERT_EQUAL_FATAL(kvf_seq_append_keys(r.seq, keys, times), KVF_OK);
		CU_ASSERT_EQUAL(rig_store(&r, 0, RIG_CHUNK, 0).tokens, RIG_CHUNK);
		tier_rig_flush(&r);
		kvf_prep_remove(&op, r.seq, 0, RIG_CHUNK, KVF_TIER_RAM);
		if (below)
			rig_run(&r, &op);
		m.hold = below;
		m.hold_kind = KVF_REQ_GET;
		word = whole = capped = 0;
		rig_prep(&r, &op, KVF_OP_RETRIEVE, 0, times * RIG_CHUNK);
		op.fence = (struct kvf_fence_in){ .kind = KVF_FENCE_WORD, .word = &word, .value = 1 };
		op.deadline_ns = KVF_NO_DEADLINE;
		for (uint32_t i = 0; i < ops; i++)
			rig_submit(&r, &op);
		tier_rig_poll(&r, 300);
		m.hold = false;
		tier_rig_poll(&r, 300);
		word = 1;
		for (uint32_t i = 0; i < 1000000 && r.engine->n_jobs; i++) {
			if (kvf_poll(r.engine, &c, 1) != 1)
				continue;
			whole += c.tokens == times * RIG_CHUNK;
			capped += c.reason == KVF_REASON_CAP;
			if (c.status)
				CU_ASSERT_EQUAL_FATAL(c.status, KVF_OK);
		}
		while (kvf_poll(r.engine, &c, 1) == 1) {
			whole += c.tokens == times * RIG_CHUNK;
			capped += c.reason == KVF_REASON_CAP;
		}
		CU_ASSERT_FALSE(r.engine->dead);
		CU_ASSERT_EQUAL(whole + capped, ops);
		CU_ASSERT(whole > 2000 && capped > 0);
		tier_rig_close(&r, &m);
	}
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "usable_and_need", test_usable_and_need },
		{ "least_tokens", test_least_tokens },
		{ "part_below", test_part_below },
		{ "removed_meanwhile", test_removed_meanwhile },
		{ "pin_cap", test_pin_cap },
		{ "unpin_partial_chunk", test_unpin_partial_chunk },
		{ "no_memory", test_no_memory },
		{ "leases_of_one_chunk", test_leases_of_one_chunk },
		{ "pins_of_one_chunk", test_pins_of_one_chunk },
	};

	return kvf_test_main("lookup", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
