/* SPDX-License-Identifier: Apache-2.0 */
/* Prefetches: what they count as brought, used and wasted, and which leases they give. */
#include "tests/harness.h"
#include "tests/support/tier_rig.h"

#define CHUNKS 4u
#define TOKENS (CHUNKS * RIG_CHUNK)
#define LONG 3600000000000ull

static struct kvf_completion fetch(struct rig *r)
{
	return tier_rig_fetch(r, CHUNKS);
}

static uint64_t begin_prefetch(struct rig *r, uint64_t number, uint64_t lease_ns)
{
	struct kvf_op op;

	rig_tokens(r, number, TOKENS);
	kvf_prep_prefetch(&op, r->seq, 0, TOKENS, lease_ns);
	return rig_submit(r, &op);
}

static struct kvf_completion prefetch(struct rig *r, uint64_t number, uint64_t lease_ns)
{
	return rig_await(r, begin_prefetch(r, number, lease_ns));
}

static void take_out_of_ram(struct rig *r)
{
	CU_ASSERT_EQUAL(rig_remove(r, 0, TOKENS, KVF_TIER_RAM).status, KVF_OK);
}

static void test_counts(void)
{
	struct memtier m;
	struct rig r;

	tier_rig_open(&r, &m, 64, KVF_TIER_RECORDS, false);
	tier_rig_only_below(&r, 1, CHUNKS);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_peak_resident, CHUNKS);
	CU_ASSERT_EQUAL(fetch(&r).tokens, TOKENS);
	CU_ASSERT_EQUAL(rig_stats(&r).prefetch_chunks, 0);
	take_out_of_ram(&r);
	/* Used once: by the first retrieve, not by another prefetch. */
	CU_ASSERT_EQUAL(prefetch(&r, 1, 0).tokens, TOKENS);
	CU_ASSERT_EQUAL(prefetch(&r, 1, 0).tokens, TOKENS);
	CU_ASSERT_EQUAL(rig_stats(&r).prefetch_chunks, CHUNKS);
	CU_ASSERT_EQUAL(rig_stats(&r).prefetch_used, 0);
	for (int i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(fetch(&r).tokens, TOKENS);
		CU_ASSERT_EQUAL(rig_stats(&r).prefetch_used, CHUNKS);
	}
	take_out_of_ram(&r);
	CU_ASSERT_EQUAL(rig_stats(&r).prefetch_wasted, 0);
	/* Never used: wasted when it goes. */
	CU_ASSERT_EQUAL(prefetch(&r, 1, 0).tokens, TOKENS);
	take_out_of_ram(&r);
	CU_ASSERT_EQUAL(rig_stats(&r).prefetch_wasted, CHUNKS);
	/* What was in RAM before was not brought by it. */
	tier_rig_store(&r, 2, CHUNKS);
	CU_ASSERT_EQUAL(prefetch(&r, 2, 0).tokens, TOKENS);
	take_out_of_ram(&r);
	CU_ASSERT_EQUAL(rig_stats(&r).prefetch_wasted, CHUNKS);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_peak_resident, CHUNKS);
	rig_clear(&r, KVF_TIER_RAM);
	tier_rig_close(&r, &m);
}

/* A lease where one was asked for and there is something to hold, and one only. */
static void test_leases(void)
{
	struct kvf_completion c;
	struct memtier m;
	struct rig r;

	tier_rig_open(&r, &m, 64, KVF_TIER_RECORDS, false);
	tier_rig_only_below(&r, 1, CHUNKS);
	c = prefetch(&r, 1, 0);
	CU_ASSERT_EQUAL(c.lease_id, 0);
	CU_ASSERT_EQUAL(rig_stats(&r).leases, 0);
	take_out_of_ram(&r);
	c = prefetch(&r, 1, LONG);
	CU_ASSERT_NOT_EQUAL(c.lease_id, 0);
	CU_ASSERT_EQUAL(rig_stats(&r).leases, 1);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, CHUNKS);
	CU_ASSERT_EQUAL(rig_unpin(&r, c.lease_id, 0, SIZE_MAX).tokens, TOKENS);
	c = rig_prefetch(&r, RIG_CHUNK, 0, LONG);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(c.lease_id, 0);
	CU_ASSERT_EQUAL(rig_stats(&r).leases, 1);
	c = prefetch(&r, 9, LONG);
	CU_ASSERT_EQUAL(c.tokens, 0);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_MISS);
	CU_ASSERT_EQUAL(c.lease_id, 0);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 0);
	tier_rig_close(&r, &m);
}

/* What arrived in the turn in which a prefetch is told to stop counts, and its lease holds it. */
static void test_stopped_at_the_end(void)
{
	struct kvf_completion c;
	struct memtier m;
	struct rig r;
	uint64_t id;

	tier_rig_open_held(&r, &m, CHUNKS);
	id = begin_prefetch(&r, 1, LONG);
	tier_rig_poll(&r, 10);
	CU_ASSERT_EQUAL(m.n_held, CHUNKS);
	m.hold = false;
	tier_rig_poll(&r, 1);
	CU_ASSERT_EQUAL(kvf_cancel(r.engine, id), KVF_OK);
	c = rig_await(&r, id);
	CU_ASSERT_EQUAL(c.status, KVF_ECANCELED);
	CU_ASSERT_EQUAL(c.tokens, TOKENS);
	CU_ASSERT_NOT_EQUAL(c.lease_id, 0);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, CHUNKS);
	CU_ASSERT_EQUAL(rig_unpin(&r, c.lease_id, 0, SIZE_MAX).tokens, TOKENS);
	tier_rig_close(&r, &m);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "counts", test_counts },
		{ "leases", test_leases },
		{ "stopped_at_the_end", test_stopped_at_the_end },
	};

	return kvf_test_main("prefetch", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
