/* SPDX-License-Identifier: Apache-2.0 */
/* shutdown.c: what a shutdown finishes, what it drops, what it waits for, and when. */
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "tests/harness.h"
#include "tests/support/tier_rig.h"

static struct rig r;
static struct memtier m;

static int begin(enum kvf_shutdown_mode mode, uint64_t deadline)
{
	return kvf_engine_shutdown(r.engine, mode, deadline);
}

/* Polls until nothing is left, and closes. Returns how many completions came. */
static int end(void)
{
	struct kvf_completion c[8];
	int n = 0;

	kvf_seq_close(r.seq);
	for (int i = 0; i < 10000 && !kvf_engine_idle(r.engine); i++)
		n += kvf_poll(r.engine, c, 8);
	CU_ASSERT_EQUAL(kvf_engine_idle(r.engine), 1);
	CU_ASSERT_EQUAL(kvf_verify(r.engine), KVF_OK);
	/* A host that sleeps is not woken any more. */
	CU_ASSERT_EQUAL(kvf_poll(r.engine, NULL, 0), 0);
	CU_ASSERT_EQUAL(kvf_next_deadline_ns(r.engine), KVF_NO_DEADLINE);
	CU_ASSERT_EQUAL(kvf_engine_close(r.engine), KVF_OK);
	free(r.kv);
	memtier_free(&m);
	return n;
}

static void store_while_off(uint32_t sequences, uint32_t chunks)
{
	CU_ASSERT_EQUAL(kvf_set_tier(r.engine, KVF_TIER_CUSTOM, 0), KVF_OK);
	for (uint32_t i = 0; i < sequences; i++)
		tier_rig_store(&r, 1 + i, chunks);
	CU_ASSERT_EQUAL(kvf_set_tier(r.engine, KVF_TIER_CUSTOM, 1), KVF_OK);
	tier_rig_poll(&r, 5);
	CU_ASSERT_EQUAL(m.puts, 0);
}

/* Every resident chunk that the tier lacks goes down, a bounded number of entries a turn. */
static void test_flush(void)
{
	const uint32_t n = 22 * 50;

	tier_rig_open(&r, &m, 1200, KVF_TIER_RECORDS, false);
	store_while_off(22, 50);
	m.hold = true;
	CU_ASSERT_EQUAL(begin(KVF_SHUTDOWN_FLUSH, KVF_NO_DEADLINE), KVF_OK);
	CU_ASSERT_EQUAL(kvf_next_deadline_ns(r.engine), 0);
	for (uint32_t seen = KVF_TURN_SCAN; seen < n; seen += KVF_TURN_SCAN) {
		tier_rig_poll(&r, 1);
		CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].queued_spills + r.engine->tier[0].n_spills, seen);
		CU_ASSERT_EQUAL(kvf_engine_idle(r.engine), 0);
	}
	tier_rig_poll(&r, 1);
	CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].queued_spills + r.engine->tier[0].n_spills, n);
	CU_ASSERT_FALSE(r.engine->flush_walk);
	m.hold = false;
	end();
	CU_ASSERT_EQUAL(m.puts, n);
}

/* What the tier has, or what is not resident, is left alone. An empty engine ends at once. */
static void test_flush_what_lacks(void)
{
	tier_rig_open(&r, &m, 32, KVF_TIER_RECORDS, false);
	tier_rig_store(&r, 50, 4);
	tier_rig_flush(&r);
	CU_ASSERT_EQUAL(m.puts, 4);
	m.puts = 0;
	store_while_off(2, 3);
	CU_ASSERT_EQUAL(begin(KVF_SHUTDOWN_FLUSH, KVF_NO_DEADLINE), KVF_OK);
	end();
	CU_ASSERT_EQUAL(m.puts, 6);
	tier_rig_open(&r, &m, 32, KVF_TIER_RECORDS, false);
	CU_ASSERT_EQUAL(begin(KVF_SHUTDOWN_FLUSH, KVF_NO_DEADLINE), KVF_OK);
	CU_ASSERT_EQUAL(kvf_engine_idle(r.engine), 0);
	tier_rig_poll(&r, 1);
	CU_ASSERT_EQUAL(kvf_engine_idle(r.engine), 1);
	end();
}

/* Draining sends down what was queued, and nothing else. */
static void test_drain(void)
{
	tier_rig_open(&r, &m, 32, KVF_TIER_RECORDS, false);
	store_while_off(2, 3);
	CU_ASSERT_EQUAL(begin(KVF_SHUTDOWN_DRAIN, KVF_NO_DEADLINE), KVF_OK);
	tier_rig_poll(&r, 5);
	CU_ASSERT_EQUAL(kvf_engine_idle(r.engine), 1);
	end();
	CU_ASSERT_EQUAL(m.puts, 0);
	tier_rig_open(&r, &m, 32, KVF_TIER_RECORDS, false);
	m.hold = true;
	tier_rig_store(&r, 1, 12);
	CU_ASSERT_EQUAL(begin(KVF_SHUTDOWN_DRAIN, KVF_NO_DEADLINE), KVF_OK);
	tier_rig_poll(&r, 5);
	CU_ASSERT_EQUAL(kvf_engine_idle(r.engine), 0);
	m.hold = false;
	end();
	CU_ASSERT_EQUAL(m.puts, 12);
}

static uint64_t hang_a_retrieve(void)
{
	tier_rig_open(&r, &m, 32, KVF_TIER_RECORDS, false);
	tier_rig_only_below(&r, 1, 2);
	m.hold = true;
	return tier_rig_begin_retrieve(&r, 1, 2, KVF_PRIO_NORMAL);
}

/* At its deadline, to the nanosecond, a shutdown cancels what is left. */
static void test_deadline(void)
{
	struct kvf_completion c;

	for (int i = 0; i < 2; i++) {
		uint64_t id = hang_a_retrieve();

		tier_rig_poll(&r, 5);
		CU_ASSERT_EQUAL(begin(i ? KVF_SHUTDOWN_FLUSH : KVF_SHUTDOWN_DRAIN, tier_rig_now + 1000), KVF_OK);
		tier_rig_poll(&r, 1);
		CU_ASSERT_EQUAL(kvf_next_deadline_ns(r.engine), tier_rig_now + 1000);
		tier_rig_now += 999;
		tier_rig_poll(&r, 3);
		CU_ASSERT_EQUAL(kvf_poll(r.engine, &c, 1), 0);
		tier_rig_now += 1;
		tier_rig_poll(&r, 2);
		CU_ASSERT_EQUAL_FATAL(kvf_poll(r.engine, &c, 1), 1);
		CU_ASSERT_EQUAL(c.op_id, id);
		CU_ASSERT_EQUAL(c.status, KVF_ECANCELED);
		CU_ASSERT_EQUAL(c.reason, KVF_REASON_CANCELED);
		CU_ASSERT_EQUAL(begin(KVF_SHUTDOWN_CANCEL, KVF_NO_DEADLINE), KVF_ESHUTDOWN); /* it has come to that */
		m.hold = false;
		end();
	}
}

/* A deadline that has passed already makes the next turn due: a host that sleeps would wait for what hangs. */
static void test_deadline_in_the_past(void)
{
	static const uint64_t before[] = { 0, 1, 1000 };

	for (size_t i = 0; i < KVF_ARRAY_LEN(before); i++) {
		struct kvf_completion c;
		uint64_t id = hang_a_retrieve();

		tier_rig_poll(&r, 5);
		CU_ASSERT(kvf_next_deadline_ns(r.engine) > tier_rig_now);
		CU_ASSERT_EQUAL(begin(KVF_SHUTDOWN_DRAIN, tier_rig_now - before[i]), KVF_OK);
		CU_ASSERT(kvf_next_deadline_ns(r.engine) <= tier_rig_now);
		tier_rig_poll(&r, 2);
		CU_ASSERT_EQUAL_FATAL(kvf_poll(r.engine, &c, 1), 1);
		CU_ASSERT(c.op_id == id && c.status == KVF_ECANCELED);
		tier_rig_poll(&r, 2);
		CU_ASSERT(kvf_next_deadline_ns(r.engine) > tier_rig_now); /* nor is it due for ever */
		m.hold = false;
		end();
	}
}

/* Cancelling ends operations and drops what waits to go down; what is in flight is waited for. */
static void test_cancel(void)
{
	struct kvf_completion c;
	struct kvf_op op;
	uint64_t id;

	tier_rig_open(&r, &m, 32, KVF_TIER_RECORDS, false);
	tier_rig_only_below(&r, 1, 2);
	m.puts = 0;
	m.hold = true;
	tier_rig_store(&r, 2, 20); /* eight may be on their way at once */
	tier_rig_poll(&r, 5);
	CU_ASSERT_EQUAL(m.n_held, 8);
	CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].queued_spills, 12);
	id = tier_rig_begin_retrieve(&r, 1, 2, KVF_PRIO_NORMAL);
	tier_rig_poll(&r, 5);
	CU_ASSERT_EQUAL(begin(KVF_SHUTDOWN_CANCEL, KVF_NO_DEADLINE), KVF_OK);
	CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].queued_spills, 0);
	kvf_prep_flush(&op);
	CU_ASSERT_EQUAL(kvf_submit(r.engine, &op, 1, &(uint64_t){ 0 }), KVF_ESHUTDOWN);
	/* Also what comes after the word. */
	for (uint32_t i = 0; i < r.engine->index.used; i++)
		if (kvf_index_entry(&r.engine->index, i)->state == KVF_ENTRY_RESIDENT)
			kvf_spill_queue(r.engine, i, 1);
	CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].queued_spills, 12);
	tier_rig_poll(&r, 1);
	CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].queued_spills, 0);
	tier_rig_poll(&r, 2);
	CU_ASSERT_EQUAL(kvf_poll(r.engine, &c, 1), 1);
	CU_ASSERT_EQUAL(c.op_id, id);
	CU_ASSERT_EQUAL(c.status, KVF_ECANCELED);
	CU_ASSERT_EQUAL(kvf_engine_idle(r.engine), 0);
	CU_ASSERT_EQUAL(kvf_engine_close(r.engine), KVF_EBUSY);
	m.hold = false;
	end();
	CU_ASSERT_EQUAL(m.puts, 8);
}

/* A flush whose walk waits for an operation, raised to cancel: nothing goes down any more. */
static void test_flush_raised(void)
{
	struct kvf_completion c;

	hang_a_retrieve();
	m.puts = 0;
	tier_rig_poll(&r, 5);
	store_while_off(2, 3);
	CU_ASSERT_EQUAL(begin(KVF_SHUTDOWN_FLUSH, KVF_NO_DEADLINE), KVF_OK);
	tier_rig_poll(&r, 3);
	CU_ASSERT_EQUAL(r.engine->flush_cursor, 0); /* the operations first */
	CU_ASSERT(kvf_next_deadline_ns(r.engine) > tier_rig_now);
	CU_ASSERT_EQUAL(begin(KVF_SHUTDOWN_DRAIN, KVF_NO_DEADLINE), KVF_ESHUTDOWN);
	CU_ASSERT_EQUAL(begin(KVF_SHUTDOWN_FLUSH, KVF_NO_DEADLINE), KVF_ESHUTDOWN);
	CU_ASSERT_EQUAL(begin(KVF_SHUTDOWN_CANCEL, KVF_NO_DEADLINE), KVF_OK);
	CU_ASSERT_EQUAL(begin(KVF_SHUTDOWN_CANCEL, KVF_NO_DEADLINE), KVF_ESHUTDOWN);
	m.hold = false;
	tier_rig_poll(&r, 5);
	while (kvf_poll(r.engine, &c, 1) == 1)
		CU_ASSERT_EQUAL(c.status, KVF_ECANCELED);
	end();
	CU_ASSERT_EQUAL(m.puts, 0);
}

/* The same without raising: the walk comes when the operation ended. */
static void test_flush_waits_for_operations(void)
{
	uint64_t id = hang_a_retrieve();

	m.puts = 0;
	tier_rig_poll(&r, 5);
	store_while_off(2, 3);
	CU_ASSERT_EQUAL(begin(KVF_SHUTDOWN_FLUSH, KVF_NO_DEADLINE), KVF_OK);
	m.hold = false;
	(void)id;
	end();
	CU_ASSERT_EQUAL(m.puts, 6);
}

/* A fence that the host did not give back keeps no engine from closing; a lease neither. */
static void test_fences_and_leases(void)
{
	struct kvf_completion c;

	tier_rig_open(&r, &m, 32, KVF_TIER_RECORDS, false);
	tier_rig_store(&r, 1, 4);
	c = rig_lookup(&r, 0, 3600000000000ull);
	CU_ASSERT_NOT_EQUAL(c.lease_id, 0);
	c = rig_retrieve(&r, 0, 4 * RIG_CHUNK, KVF_OP_STREAM_ORDERED);
	CU_ASSERT_EQUAL(c.tokens, 4 * RIG_CHUNK);
	tier_rig_flush(&r);
	tier_rig_poll(&r, 5);
	CU_ASSERT_EQUAL(r.engine->n_jobs, 1);
	CU_ASSERT_EQUAL(kvf_engine_idle(r.engine), 0);
	CU_ASSERT_EQUAL(begin(KVF_SHUTDOWN_DRAIN, KVF_NO_DEADLINE), KVF_OK);
	CU_ASSERT_EQUAL(kvf_next_deadline_ns(r.engine), 0);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 4);
	tier_rig_poll(&r, 2);
	CU_ASSERT_EQUAL(r.engine->n_jobs, 0);
	tier_rig_poll(&r, 1);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 0);
	CU_ASSERT_EQUAL(rig_stats(&r).leases_expired, 0);
	end();
}

/* Leases stand as long as there are operations. */
static void test_leases_outlive_operations(void)
{
	hang_a_retrieve();
	m.hold = false;
	tier_rig_poll(&r, 20);
	CU_ASSERT_NOT_EQUAL(rig_lookup(&r, 0, 3600000000000ull).lease_id, 0);
	tier_rig_only_below(&r, 2, 2);
	m.hold = true;
	tier_rig_begin_retrieve(&r, 2, 2, KVF_PRIO_NORMAL);
	tier_rig_poll(&r, 5);
	CU_ASSERT_EQUAL(begin(KVF_SHUTDOWN_DRAIN, KVF_NO_DEADLINE), KVF_OK);
	tier_rig_poll(&r, 3);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 2);
	m.hold = false;
	end();
}

/* A pool that still grows stops there. */
static void test_growing_stops(void)
{
	uint64_t ready;

	tier_rig_open(&r, &m, 4000, KVF_TIER_RECORDS, false);
	tier_rig_poll(&r, 1);
	CU_ASSERT_TRUE(r.engine->growing);
	CU_ASSERT_EQUAL(begin(KVF_SHUTDOWN_DRAIN, KVF_NO_DEADLINE), KVF_OK);
	tier_rig_poll(&r, 1);
	ready = rig_stats(&r).slots_ready;
	CU_ASSERT(ready < 4000);
	tier_rig_poll(&r, 20);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_ready, ready);
	end();
}

/* Each thing that may be in flight keeps the engine from being idle and from closing, by itself. */
static void test_in_flight(void)
{
	struct kvf_engine *e;
	struct kvf_list link;

	tier_rig_open(&r, &m, 32, KVF_TIER_RECORDS, false);
	e = r.engine;
	tier_rig_poll(&r, 3);
	CU_ASSERT_FALSE(kvf_engine_in_flight(e));
	e->n_jobs++;
	CU_ASSERT_TRUE(kvf_engine_in_flight(e));
	e->n_jobs--;
	e->n_copies++;
	CU_ASSERT_TRUE(kvf_engine_in_flight(e));
	e->n_copies--;
	e->n_requests++;
	CU_ASSERT_TRUE(kvf_engine_in_flight(e));
	e->n_requests--;
	e->fills.live++;
	CU_ASSERT_TRUE(kvf_engine_in_flight(e));
	e->fills.live--;
	kvf_list_push_back(&e->spills, &link);
	CU_ASSERT_TRUE(kvf_engine_in_flight(e));
	kvf_list_remove(&link);
	CU_ASSERT_FALSE(kvf_engine_in_flight(e));
	CU_ASSERT_EQUAL(begin(KVF_SHUTDOWN_DRAIN, KVF_NO_DEADLINE), KVF_OK);
	end();
}

/* An engine that never did anything, and one with all the tiers there can be: each mode comes to its end. */
static void test_bare_and_full(void)
{
	static const enum kvf_shutdown_mode modes[] = { KVF_SHUTDOWN_DRAIN, KVF_SHUTDOWN_FLUSH, KVF_SHUTDOWN_CANCEL };
	static struct memtier four[KVF_MAX_TIERS];

	for (size_t i = 0; i < 2 * KVF_ARRAY_LEN(modes); i++) {
		enum kvf_shutdown_mode mode = modes[i / 2];

		rig_open(&r, &(struct rig_options){ .slots = 16 });
		CU_ASSERT_EQUAL(begin(mode, i % 2 ? 0 : KVF_NO_DEADLINE), KVF_OK);
		kvf_poll(r.engine, NULL, 0);
		kvf_poll(r.engine, NULL, 0);
		CU_ASSERT_EQUAL(kvf_engine_idle(r.engine), 1);
		CU_ASSERT_EQUAL(kvf_engine_close(r.engine), KVF_OK);
		free(r.kv);
		tier_rig_open_more(&r, four, KVF_MAX_TIERS, KVF_TIER_RECORDS, (struct rig_options){ .slots = 32 });
		for (int t = 0; t < KVF_MAX_TIERS; t++)
			r.engine->tier[t].off = true;
		tier_rig_store(&r, 1, 4);
		for (int t = 0; t < KVF_MAX_TIERS; t++)
			r.engine->tier[t].off = false;
		CU_ASSERT_EQUAL(begin(mode, i % 2 ? tier_rig_now : KVF_NO_DEADLINE), KVF_OK);
		end();
		for (int t = 0; t < KVF_MAX_TIERS; t++) {
			CU_ASSERT_EQUAL(four[t].puts, mode == KVF_SHUTDOWN_FLUSH && i % 2 == 0 ? 4 : 0);
			memtier_free(&four[t]);
		}
	}
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "flush", test_flush },
		{ "flush_what_lacks", test_flush_what_lacks },
		{ "drain", test_drain },
		{ "deadline", test_deadline },
		{ "deadline_in_the_past", test_deadline_in_the_past },
		{ "cancel", test_cancel },
		{ "flush_raised", test_flush_raised },
		{ "flush_waits_for_operations", test_flush_waits_for_operations },
		{ "fences_and_leases", test_fences_and_leases },
		{ "leases_outlive_operations", test_leases_outlive_operations },
		{ "growing_stops", test_growing_stops },
		{ "in_flight", test_in_flight },
		{ "bare_and_full", test_bare_and_full },
	};

	return kvf_test_main("shutdown", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
