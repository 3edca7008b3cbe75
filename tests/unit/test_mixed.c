/* SPDX-License-Identifier: Apache-2.0 */
/* Several tiers under one engine: what one of them does, or does not do, is no burden for the others. */
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "tests/harness.h"
#include "tests/support/tier_rig.h"

static struct rig r;
static struct memtier m[KVF_MAX_TIERS];
static struct kvf_engine *e;

static void open_tiers(uint32_t n, uint32_t slots)
{
	tier_rig_open_more(&r, m, n, KVF_TIER_RECORDS, (struct rig_options){ .slots = slots });
	e = r.engine;
	tier_rig_poll(&r, 20);
}

static void close_tiers(void)
{
	tier_rig_close(&r, m);
}

/* A rate for all spills is shared by the tiers: the first one in the list does not take it all. */
static void test_rate_is_shared(void)
{
	uint64_t payload;

	open_tiers(3, 128);
	payload = rig_stats(&r).payload_bytes;
	CU_ASSERT_EQUAL(kvf_set_rates(e, 100 * payload, 0), KVF_OK);
	tier_rig_store(&r, 1, 32);
	for (int i = 0; i < 30; i++) {
		tier_rig_now += 10 * KVF_NS_PER_MS;
		tier_rig_poll(&r, 4);
	}
	CU_ASSERT(m[0].puts + m[1].puts + m[2].puts >= 28);
	CU_ASSERT(m[0].puts + m[1].puts + m[2].puts <= 45);
	for (int t = 0; t < 3; t++)
		CU_ASSERT(m[t].puts >= 8);
	CU_ASSERT_EQUAL(kvf_set_rates(e, 0, 0), KVF_OK);
	close_tiers();
}

/* One tier keeps puts of twenty chunks, the other those of three younger ones, which are the rig's sequence. */
static void hold_two_stores(void)
{
	open_tiers(2, 64);
	m[1].hold = true;
	m[1].hold_kind = KVF_REQ_PUT;
	tier_rig_store(&r, 1, 20);
	tier_rig_poll(&r, 20);
	CU_ASSERT(m[1].n_held > 0);
	CU_ASSERT_EQUAL(m[0].puts, 20);
	m[0].hold = true;
	m[0].hold_kind = KVF_REQ_PUT;
	tier_rig_store(&r, 2, 3);
	tier_rig_poll(&r, 20);
	CU_ASSERT_EQUAL(m[0].n_held, 3);
}

/* A remove waits for the puts of its own chunks that are in flight, not for those of others that happen to be older. */
static void test_remove_waits_for_its_own(void)
{
	struct kvf_op op;
	uint64_t id;

	hold_two_stores();
	kvf_prep_remove(&op, r.seq, 0, 3 * RIG_CHUNK, 0);
	op.deadline_ns = KVF_NO_DEADLINE;
	id = rig_submit(&r, &op);
	tier_rig_poll(&r, 20);
	CU_ASSERT_EQUAL(m[0].removes, 0);
	CU_ASSERT_EQUAL(e->n_jobs, 1);
	m[0].hold = false;
	for (int i = 0; i < 20 && e->n_jobs; i++)
		tier_rig_poll(&r, 1);
	CU_ASSERT_EQUAL(e->n_jobs, 0);
	CU_ASSERT_EQUAL(m[0].removes, 3);
	CU_ASSERT_EQUAL(m[0].n_chunks, 20);
	m[1].hold = false;
	CU_ASSERT_EQUAL(rig_await(&r, id).status, KVF_OK);
	close_tiers();
}

/* The same for chunks that left RAM while they were on their way. */
static void test_remove_waits_for_doomed(void)
{
	struct kvf_op op;
	uint64_t id;

	hold_two_stores();
	kvf_prep_remove(&op, r.seq, 0, 3 * RIG_CHUNK, KVF_TIER_RAM);
	op.deadline_ns = KVF_NO_DEADLINE;
	id = rig_submit(&r, &op);
	tier_rig_poll(&r, 20);
	/* RAM alone was named: nothing below is to be waited for. */
	CU_ASSERT_EQUAL(e->n_jobs, 0);
	CU_ASSERT_EQUAL(kvf_seq_resident(r.seq), 0);
	op.tiers = 0;
	id = rig_submit(&r, &op);
	tier_rig_poll(&r, 20);
	CU_ASSERT_EQUAL(m[0].removes, 0);
	CU_ASSERT_EQUAL(e->n_jobs, 1);
	m[0].hold = false;
	CU_ASSERT_EQUAL(rig_await(&r, id).status, KVF_OK);
	CU_ASSERT_EQUAL(m[0].removes, 3);
	CU_ASSERT_EQUAL(m[0].n_chunks, 20);
	m[1].hold = false;
	close_tiers();
}

/* A flush waits for what is written, dropped or failed: a put that is too late has failed, though its tier has it. */
static void test_flush_and_late_puts(void)
{
	struct kvf_op op;
	uint64_t id;

	open_tiers(2, 64);
	m[1].hold = true;
	tier_rig_store(&r, 1, 4);
	tier_rig_poll(&r, 20);
	CU_ASSERT_EQUAL(m[1].n_held, 4);
	kvf_prep_flush(&op);
	op.deadline_ns = KVF_NO_DEADLINE;
	id = rig_submit(&r, &op);
	tier_rig_now += 29 * KVF_NS_PER_S;
	tier_rig_poll(&r, 10);
	CU_ASSERT_EQUAL(e->n_jobs, 1);
	tier_rig_now += 2 * KVF_NS_PER_S;
	for (int i = 0; i < 20 && e->n_jobs; i++)
		tier_rig_poll(&r, 1);
	CU_ASSERT_EQUAL(e->n_jobs, 0);
	CU_ASSERT_EQUAL(m[1].n_held, 4);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_quarantined, 4);
	m[1].hold = false;
	CU_ASSERT_EQUAL(rig_await(&r, id).status, KVF_OK);
	close_tiers();
}

/* Switched off, a tier gets nothing that it had not taken before: neither asks nor gets nor puts that found it full. */
static void test_off_is_off(void)
{
	static const uint32_t kinds[] = { KVF_REQ_EXISTS, KVF_REQ_GET, KVF_REQ_PUT };

	for (size_t k = 0; k < KVF_ARRAY_LEN(kinds); k++) {
		struct kvf_completion c;
		uint64_t id = 0;

		open_tiers(1, 64);
		tier_rig_only_below(&r, 1, 4);
		m[0].exists = m[0].puts = 0;
		m[0].full_kind = kinds[k];
		if (kinds[k] == KVF_REQ_PUT)
			tier_rig_store(&r, 2, 3);
		else
			id = tier_rig_begin_retrieve(&r, 1, 4, KVF_PRIO_NORMAL);
		tier_rig_poll(&r, 10);
		CU_ASSERT_TRUE(e->tier[0].backlog);
		CU_ASSERT_EQUAL(kvf_set_tier(e, KVF_TIER_CUSTOM, 0), KVF_OK);
		m[0].full_kind = 0;
		m[0].batches = 0;
		tier_rig_poll(&r, 10);
		CU_ASSERT_EQUAL(m[0].batches, 0);
		CU_ASSERT_EQUAL(e->n_requests, 0);
		CU_ASSERT(kvf_list_empty(&e->spills));
		if (id) {
			c = rig_await(&r, id);
			CU_ASSERT_EQUAL(c.tokens, 0);
			CU_ASSERT_EQUAL(c.reason, KVF_REASON_TIER);
			CU_ASSERT_EQUAL(c.status, KVF_OK);
		}
		CU_ASSERT_EQUAL(kvf_set_tier(e, KVF_TIER_CUSTOM, 1), KVF_OK);
		rig_tokens(&r, 1, 4 * RIG_CHUNK);
		CU_ASSERT_EQUAL(tier_rig_fetch(&r, 4).tokens, 4 * RIG_CHUNK);
		close_tiers();
	}
}

/* Operations with little time say nothing about a tier that answers others meanwhile, or that had no time to answer:
 * one impatient host request must not switch it off for everybody. */
static void test_impatient(void)
{
	struct kvf_op op;
	uint64_t id;

	open_tiers(1, 256);
	tier_rig_only_below(&r, 1, 20);
	m[0].hold = true;
	m[0].hold_kind = KVF_REQ_GET;
	rig_prep(&r, &op, KVF_OP_RETRIEVE, 0, 20 * RIG_CHUNK);
	op.deadline_ns = tier_rig_now + 2 * KVF_NS_PER_MS;
	id = rig_submit(&r, &op);
	tier_rig_poll(&r, 10);
	CU_ASSERT_EQUAL(m[0].n_held, 20);
	tier_rig_now += 2 * KVF_NS_PER_MS;
	CU_ASSERT_EQUAL(rig_await(&r, id).status, KVF_ETIMEDOUT);
	CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].timeouts, 20);
	CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].breaker, 0);
	m[0].hold = false;
	tier_rig_poll(&r, 10);
	CU_ASSERT_EQUAL(tier_rig_fetch(&r, 20).tokens, 20 * RIG_CHUNK);
	close_tiers();
}

/* A pool of the least size and all the tiers there can be, all of them hung in the middle of puts, half of the pool
 * leased, a store under way: a slot is left for what is to come up. */
static void test_least_pool(void)
{
	struct kvf_stats s;

	open_tiers(4, 8);
	for (int t = 0; t < 4; t++)
		m[t].hold = true;
	tier_rig_store(&r, 1, 4);
	tier_rig_poll(&r, 30);
	s = rig_stats(&r);
	CU_ASSERT(s.slots_spilling <= 2);
	CU_ASSERT(e->tier[0].n_spills + e->tier[1].n_spills + e->tier[2].n_spills + e->tier[3].n_spills <= 2);
	for (int t = 0; t < 4; t++)
		m[t].hold = false;
	tier_rig_flush(&r);
	for (int t = 0; t < 4; t++)
		CU_ASSERT_EQUAL(m[t].puts, 4);
	close_tiers();
}

/* What is taken out of one tier goes on to the others. */
static void test_remove_from_one(void)
{
	struct kvf_op op;

	open_tiers(2, 64);
	e->tier[1].bit = KVF_TIER_REMOTE;
	m[0].hold = true;
	tier_rig_store(&r, 1, 20); /* eight on their way to each, the others queued */
	tier_rig_poll(&r, 20);
	kvf_prep_remove(&op, r.seq, 0, 20 * RIG_CHUNK, KVF_TIER_REMOTE);
	CU_ASSERT_EQUAL(rig_run(&r, &op).status, KVF_OK);
	CU_ASSERT_EQUAL(m[1].n_chunks, 0);
	CU_ASSERT_EQUAL(kvf_seq_resident(r.seq), 20 * RIG_CHUNK);
	m[0].hold = false;
	tier_rig_flush(&r);
	CU_ASSERT_EQUAL(m[0].n_chunks, 20);
	CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].dropped_spills, 0);
	close_tiers();
}

/* Thousands of queued spills of a tier that fails are dropped a slice a turn, those queued last first; the host is told
 * to come back for the rest. */
static void test_dropped_in_slices(void)
{
	uint64_t before, dropped = 0;

	open_tiers(2, 2000);
	tier_rig_poll(&r, 200);
	m[1].hold = true;
	for (uint64_t i = 0; i < 30; i++)
		tier_rig_store(&r, 1 + i, 50);
	tier_rig_poll(&r, 50);
	CU_ASSERT(rig_stats(&r).tiers[1].queued_spills > 1000);
	for (int k = 0; k < KVF_BREAKER_TRIP; k++)
		kvf_tier_result(e, &e->tier[1], KVF_EIO);
	CU_ASSERT(rig_stats(&r).tiers[1].queued_spills > 1000);
	for (int i = 0; i < 20 && rig_stats(&r).tiers[1].queued_spills; i++) {
		before = rig_stats(&r).tiers[1].dropped_spills;
		CU_ASSERT_EQUAL(kvf_next_deadline_ns(e), 0);
		tier_rig_poll(&r, 1);
		dropped = rig_stats(&r).tiers[1].dropped_spills - before;
		CU_ASSERT(dropped > 0 && dropped <= KVF_TURN_SCAN);
	}
	CU_ASSERT_EQUAL(rig_stats(&r).tiers[1].queued_spills, 0);
	m[1].hold = false;
	close_tiers();
}

/* Sequence 1: `each` chunks in RAM, as many behind them in the first tier alone, and in the second. */
static void spread(uint32_t each)
{
	struct kvf_op op;

	for (uint32_t t = 2; t-- > 0;) {
		for (uint32_t i = 0; i < 2; i++)
			e->tier[i].off = i != t;
		tier_rig_store(&r, 1, (t + 2) * each);
		tier_rig_flush(&r);
		kvf_prep_remove(&op, r.seq, 0, (t + 2) * each * RIG_CHUNK, KVF_TIER_RAM);
		rig_run(&r, &op);
		e->tier[1 - t].off = false;
		kvf_prep_remove(&op, r.seq, 0, (t + 1) * each * RIG_CHUNK, t ? KVF_TIER_REMOTE : KVF_TIER_CUSTOM);
		rig_run(&r, &op);
	}
	e->tier[0].off = e->tier[1].off = true;
	tier_rig_store(&r, 1, each);
	e->tier[0].off = e->tier[1].off = false;
	rig_tokens(&r, 1, 3 * each * RIG_CHUNK);
	rig_compute(&r, 3 * each * RIG_CHUNK);
	rig_wipe(&r);
}

/* A prompt of which a part is in RAM, a part in a near tier, and a part in a far one that takes its time to say so:
 * what is known arrives meanwhile, and the rest when it is known. */
static void test_overlap(void)
{
	struct kvf_completion c;
	struct kvf_op op;
	uint64_t id;

	open_tiers(2, 64);
	e->tier[1].bit = KVF_TIER_REMOTE;
	spread(4);
	m[1].hold = true;
	rig_prep(&r, &op, KVF_OP_RETRIEVE, 0, 12 * RIG_CHUNK);
	op.flags = KVF_OP_PROGRESS;
	id = rig_submit(&r, &op);
	tier_rig_poll(&r, 50);
	CU_ASSERT_EQUAL(m[1].n_held, 4);
	CU_ASSERT_EQUAL(rig_mismatches(&r, 0, 8 * RIG_CHUNK), 0);
	CU_ASSERT_EQUAL_FATAL(kvf_poll(e, &c, 1), 1);
	CU_ASSERT_EQUAL(c.kind, KVF_PROGRESS);
	CU_ASSERT_EQUAL(c.tokens, 8 * RIG_CHUNK);
	CU_ASSERT_EQUAL(kvf_verify(e), KVF_OK);
	m[1].hold = false;
	c = rig_await(&r, id);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_NONE);
	CU_ASSERT_EQUAL(c.tokens, 12 * RIG_CHUNK);
	CU_ASSERT_EQUAL(c.ram_tokens, 4 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_mismatches(&r, 0, 12 * RIG_CHUNK), 0);
	close_tiers();
}

/* A far tier that says nothing at all: what RAM and the near tier have counts, for lookup, retrieve and prefetch. */
static void test_late_is_a_miss(void)
{
	for (int k = 0; k < 3; k++) {
		struct kvf_completion c;
		struct kvf_op op;
		uint64_t id;

		open_tiers(2, 64);
		e->tier[1].bit = KVF_TIER_REMOTE;
		spread(4);
		m[1].hold = true;
		rig_prep(&r, &op, KVF_OP_RETRIEVE, 0, 12 * RIG_CHUNK);
		if (k == 0)
			kvf_prep_lookup(&op, r.seq, RIG_CHUNK, 0, KVF_NS_PER_S);
		else if (k == 1)
			kvf_prep_prefetch(&op, r.seq, 0, 12 * RIG_CHUNK, 0);
		op.deadline_ns = tier_rig_now + KVF_NS_PER_S;
		id = rig_submit(&r, &op);
		tier_rig_poll(&r, 50);
		tier_rig_now += KVF_NS_PER_S;
		c = rig_await(&r, id);
		CU_ASSERT_EQUAL(c.status, KVF_ETIMEDOUT);
		CU_ASSERT_EQUAL(c.reason, KVF_REASON_LATE);
		CU_ASSERT_EQUAL(c.tokens, 8 * RIG_CHUNK);
		if (k == 0) {
			CU_ASSERT_EQUAL(c.usable, 8 * RIG_CHUNK);
			CU_ASSERT_EQUAL(c.need, 7 * RIG_CHUNK);
			CU_ASSERT_EQUAL(c.ram_tokens, 4 * RIG_CHUNK);
			CU_ASSERT_EQUAL(c.lease_id, 0);
		} else if (k == 1) {
			CU_ASSERT_EQUAL(kvf_seq_resident(r.seq), 8 * RIG_CHUNK);
		} else {
			CU_ASSERT_EQUAL(rig_mismatches(&r, 0, 8 * RIG_CHUNK), 0);
		}
		/* Cancelled, a lookup knows nothing. */
		kvf_prep_lookup(&op, r.seq, 0, 0, 0);
		id = rig_submit(&r, &op);
		tier_rig_poll(&r, 10);
		CU_ASSERT_EQUAL(kvf_cancel(e, id), KVF_OK);
		CU_ASSERT_EQUAL(rig_await(&r, id).tokens, 0);
		m[1].hold = false;
		tier_rig_poll(&r, 10);
		close_tiers();
	}
}

/* What arrives early and fails ends the prefix there, whatever the far tier says afterwards. */
static void test_early_failure(void)
{
	struct kvf_completion c;
	struct kvf_op op;
	uint64_t id;

	open_tiers(2, 64);
	e->tier[1].bit = KVF_TIER_REMOTE;
	spread(4);
	m[1].hold = true;
	m[0].fail = KVF_EIO;
	m[0].fail_kind = KVF_REQ_GET;
	rig_prep(&r, &op, KVF_OP_RETRIEVE, 0, 12 * RIG_CHUNK);
	id = rig_submit(&r, &op);
	tier_rig_poll(&r, 50);
	m[1].hold = false;
	c = rig_await(&r, id);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(c.tokens, 4 * RIG_CHUNK);
	CU_ASSERT_NOT_EQUAL(c.reason, KVF_REASON_NONE);
	CU_ASSERT_EQUAL(rig_mismatches(&r, 0, 4 * RIG_CHUNK), 0);
	close_tiers();
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "rate_is_shared", test_rate_is_shared },
		{ "remove_waits_for_its_own", test_remove_waits_for_its_own },
		{ "remove_waits_for_doomed", test_remove_waits_for_doomed },
		{ "flush_and_late_puts", test_flush_and_late_puts },
		{ "off_is_off", test_off_is_off },
		{ "impatient", test_impatient },
		{ "least_pool", test_least_pool },
		{ "remove_from_one", test_remove_from_one },
		{ "dropped_in_slices", test_dropped_in_slices },
		{ "overlap", test_overlap },
		{ "late_is_a_miss", test_late_is_a_miss },
		{ "early_failure", test_early_failure },
	};

	return kvf_test_main("mixed", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
