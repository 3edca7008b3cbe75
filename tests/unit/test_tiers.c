/* SPDX-License-Identifier: Apache-2.0 */
/* The engine over a lower tier: spills, loads, single flight, levels, damage, breakers, tiers that hang. */
#include "base/checksum.h"
#include "tests/harness.h"
#include "tests/support/tier_rig.h"

#include <string.h>

static void check_round_trip(uint32_t caps)
{
	struct kvf_completion c;
	struct memtier m;
	struct rig r;

	tier_rig_open(&r, &m, 16, caps, false);
	tier_rig_only_below(&r, 1, 6);
	CU_ASSERT_EQUAL(m.puts, 6);
	c = rig_lookup(&r, 0, 0);
	CU_ASSERT_EQUAL(c.tokens, 6 * RIG_CHUNK);
	CU_ASSERT_EQUAL(c.ram_tokens, 0);
	CU_ASSERT_EQUAL(m.exists, 6);
	rig_wipe(&r);
	c = rig_retrieve(&r, 0, 6 * RIG_CHUNK, KVF_OP_PROGRESS);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(c.tokens, 6 * RIG_CHUNK);
	CU_ASSERT_EQUAL(c.ram_tokens, 0);
	CU_ASSERT_EQUAL(rig_mismatches(&r, 0, 6 * RIG_CHUNK), 0);
	CU_ASSERT_EQUAL(m.gets, 6);
	CU_ASSERT(r.progress >= 1);
	/* It stays: the second time nothing is fetched, and nothing is sent down again. */
	c = rig_retrieve(&r, 0, 6 * RIG_CHUNK, 0);
	CU_ASSERT_EQUAL(c.ram_tokens, 6 * RIG_CHUNK);
	CU_ASSERT_EQUAL(m.gets, 6);
	CU_ASSERT_EQUAL(rig_store(&r, 0, 6 * RIG_CHUNK, 0).tokens, 6 * RIG_CHUNK);
	tier_rig_flush(&r);
	CU_ASSERT_EQUAL(m.puts, 6);
	tier_rig_close(&r, &m);
}

/* A tier that has something to do of its own is called until it is done, also when nobody waits for it any more. */
static void test_own_work(void)
{
	struct memtier m;
	struct rig r;

	tier_rig_open(&r, &m, 16, KVF_TIER_RECORDS, false);
	m.own_work = 3;
	tier_rig_store(&r, 1, 1);
	for (int i = 0; i < 50 && kvf_next_deadline_ns(r.engine) <= tier_rig_now; i++)
		tier_rig_poll(&r, 1);
	CU_ASSERT_EQUAL(m.puts, 1);
	CU_ASSERT_EQUAL(m.own_work, 0);
	CU_ASSERT(kvf_next_deadline_ns(r.engine) > tier_rig_now);
	tier_rig_close(&r, &m);
}

static void test_round_trip(void)
{
	check_round_trip(0);
	check_round_trip(KVF_TIER_RECORDS | KVF_TIER_DURABLE);
}

static void test_prefetch_with_lease(void)
{
	struct kvf_completion c;
	struct memtier m;
	struct rig r;

	tier_rig_open(&r, &m, 16, KVF_TIER_RECORDS, false);
	tier_rig_only_below(&r, 1, 6);
	c = rig_prefetch(&r, RIG_CHUNK, 5 * RIG_CHUNK, 1000000000);
	CU_ASSERT_EQUAL(c.tokens, 5 * RIG_CHUNK);
	CU_ASSERT_NOT_EQUAL(c.lease_id, 0);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 5);
	CU_ASSERT_EQUAL(kvf_seq_resident(r.seq), 0); /* the first chunk is not there: a hole is normal */
	tier_rig_now += 1000000001;
	kvf_poll(r.engine, &c, 0);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 0);
	CU_ASSERT_EQUAL(rig_stats(&r).leases_expired, 1);
	rig_wipe(&r);
	c = rig_retrieve(&r, 0, 6 * RIG_CHUNK, 0);
	CU_ASSERT_EQUAL(c.tokens, 6 * RIG_CHUNK);
	CU_ASSERT_EQUAL(c.ram_tokens, 5 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_stats(&r).prefetch_used, 5);
	tier_rig_close(&r, &m);
}

/* Leases may pin half of the pool: the prefix that fits is leased, the rest said so. */
static void test_prefetch_cap(void)
{
	struct kvf_completion c;
	struct memtier m;
	struct rig r;

	tier_rig_open(&r, &m, 8, KVF_TIER_RECORDS, false);
	tier_rig_store(&r, 1, 6);
	tier_rig_flush(&r);
	c = rig_prefetch(&r, 0, 6 * RIG_CHUNK, 1000000000);
	CU_ASSERT_EQUAL(c.tokens, 4 * RIG_CHUNK);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_CAP);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 4);
	tier_rig_close(&r, &m);
}

static void test_single_flight(void)
{
	struct memtier m;
	struct kvf_op op;
	uint64_t a, b, l;
	struct rig r;

	tier_rig_open(&r, &m, 64, KVF_TIER_RECORDS, false);
	tier_rig_only_below(&r, 1, 4);
	rig_wipe(&r);
	m.hold = true;
	rig_prep(&r, &op, KVF_OP_RETRIEVE, 0, 4 * RIG_CHUNK);
	a = rig_submit(&r, &op);
	b = rig_submit(&r, &op);
	kvf_prep_prefetch(&op, r.seq, 0, 4 * RIG_CHUNK, 0);
	l = rig_submit(&r, &op);
	m.hold = false;
	CU_ASSERT_EQUAL(rig_await(&r, a).tokens, 4 * RIG_CHUNK);
	(void)b;
	(void)l;
	CU_ASSERT_EQUAL(m.gets, 4);
	CU_ASSERT_EQUAL(rig_mismatches(&r, 0, 4 * RIG_CHUNK), 0);
	CU_ASSERT(rig_stats(&r).shared_transfers >= 4);
	tier_rig_close(&r, &m);
}

static void test_levels(void)
{
	struct kvf_completion c;
	struct memtier m;
	struct kvf_op op;
	struct rig r;

	tier_rig_open(&r, &m, 16, KVF_TIER_RECORDS | KVF_TIER_DURABLE, false);
	rig_tokens(&r, 1, 4 * RIG_CHUNK);
	rig_compute(&r, 4 * RIG_CHUNK);
	rig_prep(&r, &op, KVF_OP_STORE, 0, 4 * RIG_CHUNK);
	op.level = KVF_LEVEL_REMOTE;
	CU_ASSERT_EQUAL(kvf_submit(r.engine, &op, 1, &(uint64_t){ 0 }), KVF_ENOTSUP);
	op.level = KVF_LEVEL_DURABLE;
	c = rig_run(&r, &op);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(c.level, KVF_LEVEL_DURABLE);
	CU_ASSERT_EQUAL(c.tokens, 4 * RIG_CHUNK);
	CU_ASSERT_EQUAL(m.puts, 4);
	/* Already there: acknowledged without another put. */
	CU_ASSERT_EQUAL(rig_run(&r, &op).level, KVF_LEVEL_DURABLE);
	CU_ASSERT_EQUAL(m.puts, 4);
	rig_tokens(&r, 2, 4 * RIG_CHUNK);
	rig_prep(&r, &op, KVF_OP_STORE, 0, 4 * RIG_CHUNK);
	op.level = KVF_LEVEL_DURABLE;
	m.fail = KVF_ENOSPC;
	c = rig_run(&r, &op);
	CU_ASSERT_EQUAL(c.status, KVF_EDROPPED);
	CU_ASSERT_EQUAL(c.level, KVF_LEVEL_INDEXED);
	CU_ASSERT_EQUAL(c.tokens, 4 * RIG_CHUNK);
	tier_rig_close(&r, &m);
}

enum damage { PAYLOAD, HEADER, OTHERS_HEADER, DAMAGES };

static void damage_one(enum damage what)
{
	struct memtier_chunk *chunk;
	struct kvf_completion c;
	struct memtier m;
	struct rig r;

	tier_rig_open(&r, &m, 16, KVF_TIER_RECORDS, false);
	tier_rig_only_below(&r, 2, 1);
	tier_rig_only_below(&r, 1, 4);
	chunk = &m.chunk[3]; /* the prompt's third */
	if (what == PAYLOAD)
		chunk->bytes[KVF_SLOT_HEADER_BYTES + 77] ^= 1;
	else if (what == HEADER)
		chunk->bytes[40] ^= 1;
	else
		memcpy(chunk->bytes, m.chunk[0].bytes, KVF_SLOT_HEADER_BYTES);
	rig_wipe(&r);
	c = rig_retrieve(&r, 0, 4 * RIG_CHUNK, 0);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(c.tokens, 2 * RIG_CHUNK);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_CORRUPT);
	CU_ASSERT_EQUAL(rig_mismatches(&r, 0, 2 * RIG_CHUNK), 0);
	/* The damaged chunk leaves its tier. */
	tier_rig_poll(&r, 5);
	CU_ASSERT_EQUAL(m.n_chunks, 4);
	tier_rig_close(&r, &m);
}

static void test_damage_is_a_miss(void)
{
	for (enum damage what = PAYLOAD; what < DAMAGES; what++)
		damage_one(what);
}

/* A store that keeps payloads alone may give back fewer bytes, with a checksum that fits them or none. */
static void test_cut_payload(void)
{
	for (int unchecked = 0; unchecked < 2; unchecked++) {
		struct kvf_completion c;
		struct memtier m;
		struct rig r;

		tier_rig_open(&r, &m, 16, 0, false);
		m.unchecked = unchecked;
		tier_rig_only_below(&r, 1, 2);
		m.chunk[1].payload_bytes -= 64;
		m.chunk[1].checksum = kvf_checksum(m.chunk[1].bytes, m.chunk[1].payload_bytes);
		c = rig_retrieve(&r, 0, 2 * RIG_CHUNK, 0);
		CU_ASSERT_EQUAL(c.tokens, RIG_CHUNK);
		CU_ASSERT_EQUAL(c.reason, KVF_REASON_CORRUPT);
		CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].unverified, unchecked ? 1u : 0u);
		tier_rig_close(&r, &m);
	}
}

static void test_breaker(void)
{
	struct kvf_completion c;
	struct kvf_stats s;
	uint32_t bits;
	struct memtier m;
	struct rig r;

	tier_rig_open(&r, &m, 16, KVF_TIER_RECORDS, false);
	tier_rig_only_below(&r, 1, 6);
	m.fail = KVF_EIO;
	for (int i = 0; i < 6; i++)
		CU_ASSERT_EQUAL(rig_lookup(&r, 0, 0).tokens, 0);
	s = rig_stats(&r);
	CU_ASSERT_EQUAL(s.tiers[0].breaker, 1);
	CU_ASSERT_EQUAL(s.tiers[0].breaker_opens, 1);
	CU_ASSERT_EQUAL(kvf_health(r.engine, &bits), KVF_OK);
	CU_ASSERT_EQUAL(bits, KVF_HEALTH_TIER_DOWN);
	/* Open: nothing is sent, a retrieve is a miss at once, a store still works. */
	m.batches = 0;
	c = rig_retrieve(&r, 0, 6 * RIG_CHUNK, 0);
	CU_ASSERT_EQUAL(c.tokens, 0);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_TIER);
	CU_ASSERT_EQUAL(m.batches, 0);
	tier_rig_store(&r, 2, 2);
	/* It works again: the next request after the back-off is the probe. */
	m.fail = 0;
	tier_rig_now += 200000000;
	rig_tokens(&r, 1, 6 * RIG_CHUNK);
	CU_ASSERT(rig_lookup(&r, 0, 0).tokens <= 6 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].breaker, 0);
	CU_ASSERT_EQUAL(rig_retrieve(&r, 0, 6 * RIG_CHUNK, 0).tokens, 6 * RIG_CHUNK);
	tier_rig_close(&r, &m);
}

/* A tier that hangs: operations end at their deadline, its slots are in quarantine, the rest goes on. */
static void test_hanging_tier(void)
{
	struct kvf_completion c;
	struct memtier m;
	struct kvf_op op;
	struct rig r;
	uint64_t id;

	tier_rig_open(&r, &m, 8, KVF_TIER_RECORDS | KVF_TIER_SYNC_EXISTS, false);
	tier_rig_only_below(&r, 1, 4);
	rig_prep(&r, &op, KVF_OP_RETRIEVE, 0, 4 * RIG_CHUNK);
	op.deadline_ns = tier_rig_now + 1000;
	id = rig_submit(&r, &op);
	kvf_poll(r.engine, &c, 0); /* asks */
	kvf_poll(r.engine, &c, 0);
	m.hold = true;
	for (int i = 0; i < 10; i++)
		kvf_poll(r.engine, &c, 0);
	CU_ASSERT(m.n_held > 0);
	tier_rig_now += 2000;
	c = rig_await(&r, id);
	CU_ASSERT_EQUAL(c.status, KVF_ETIMEDOUT);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_LATE);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_quarantined, m.n_held);
	CU_ASSERT_EQUAL(m.cancels, m.n_held);
	CU_ASSERT_EQUAL(kvf_verify(r.engine), KVF_OK);
	tier_rig_store(&r, 2, 3);
	CU_ASSERT_EQUAL(kvf_engine_close(r.engine), KVF_EBUSY);
	m.hold = false;
	tier_rig_flush(&r);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_quarantined, 0);
	tier_rig_close(&r, &m);
}

static void test_staging(void)
{
	struct kvf_completion c;
	struct memtier m;
	struct rig r;

	tier_rig_open(&r, &m, 8, KVF_TIER_RECORDS, true);
	tier_rig_store(&r, 1, 12);
	tier_rig_flush(&r);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_resident, 0);
	CU_ASSERT_EQUAL(m.n_chunks, 12);
	rig_wipe(&r);
	c = rig_retrieve(&r, 0, 12 * RIG_CHUNK, 0);
	CU_ASSERT_EQUAL(c.tokens, 12 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_mismatches(&r, 0, 12 * RIG_CHUNK), 0);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_resident, 0);
	tier_rig_close(&r, &m);
}

static void test_remove_below(void)
{
	struct memtier m;
	struct kvf_op op;
	struct rig r;

	tier_rig_open(&r, &m, 16, KVF_TIER_RECORDS, false);
	tier_rig_store(&r, 1, 4);
	/* Spills may be on their way: the removal must catch up with them. */
	CU_ASSERT_EQUAL(rig_remove(&r, 0, 4 * RIG_CHUNK, 0).status, KVF_OK);
	CU_ASSERT_EQUAL(m.n_chunks, 0);
	CU_ASSERT_EQUAL(rig_lookup(&r, 0, 0).tokens, 0);
	tier_rig_store(&r, 1, 4);
	tier_rig_flush(&r);
	CU_ASSERT_EQUAL(m.n_chunks, 4);
	m.fail = KVF_EIO;
	CU_ASSERT_EQUAL(rig_remove(&r, 0, 4 * RIG_CHUNK, 0).status, KVF_EIO);
	m.fail = 0;
	kvf_prep_clear(&op, KVF_TIER_CUSTOM);
	CU_ASSERT_EQUAL(kvf_submit(r.engine, &op, 1, &(uint64_t){ 0 }), KVF_ENOTSUP);
	tier_rig_close(&r, &m);
	tier_rig_open(&r, &m, 16, KVF_TIER_RECORDS | KVF_TIER_CLEARS, false);
	tier_rig_store(&r, 1, 4);
	CU_ASSERT_EQUAL(rig_run(&r, &op).status, KVF_OK);
	CU_ASSERT_EQUAL(m.n_chunks, 0);
	CU_ASSERT_EQUAL(m.clears, 1);
	tier_rig_close(&r, &m);
}

/* A put on its way and a tier that does the last request first: the removal must not be sent before the put is over. */
static void remove_behind_puts(uint32_t tiers)
{
	struct kvf_completion c;
	struct memtier m;
	struct kvf_op op;
	struct rig r;
	uint64_t id;

	tier_rig_open(&r, &m, 16, KVF_TIER_RECORDS, false);
	m.hold = m.backwards = true;
	tier_rig_store(&r, 1, 2);
	for (int i = 0; i < 20; i++)
		kvf_poll(r.engine, &c, 0);
	CU_ASSERT_EQUAL(m.n_held, 2);
	kvf_prep_remove(&op, r.seq, 0, 2 * RIG_CHUNK, tiers);
	id = rig_submit(&r, &op);
	for (int i = 0; i < 20; i++)
		kvf_poll(r.engine, &c, 0);
	CU_ASSERT_EQUAL(kvf_seq_resident(r.seq), tiers ? 2 * RIG_CHUNK : 0);
	m.hold = false;
	CU_ASSERT_EQUAL(rig_await(&r, id).status, KVF_OK);
	CU_ASSERT_EQUAL(m.n_chunks, 0);
	CU_ASSERT_EQUAL(m.puts, 2);
	CU_ASSERT_EQUAL(m.removes, 2);
	tier_rig_close(&r, &m);
}

static void test_remove_catches_up(void)
{
	remove_behind_puts(0);
	remove_behind_puts(KVF_TIER_CUSTOM);
}

/* Operations that name RAM alone ask nobody else. */
static void test_named_tiers(void)
{
	struct kvf_completion c;
	struct memtier m;
	struct kvf_op op;
	struct rig r;

	tier_rig_open(&r, &m, 16, KVF_TIER_RECORDS, false);
	tier_rig_only_below(&r, 1, 4);
	m.batches = 0;
	kvf_prep_lookup(&op, r.seq, 0, KVF_TIER_RAM, 0);
	CU_ASSERT_EQUAL(rig_run(&r, &op).tokens, 0);
	rig_prep(&r, &op, KVF_OP_RETRIEVE, 0, 4 * RIG_CHUNK);
	op.tiers = KVF_TIER_RAM;
	c = rig_run(&r, &op);
	CU_ASSERT_EQUAL(c.tokens, 0);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_MISS);
	CU_ASSERT_EQUAL(m.batches, 0);
	kvf_prep_lookup(&op, r.seq, 0, KVF_TIER_CUSTOM, 0);
	CU_ASSERT_EQUAL(rig_run(&r, &op).tokens, 4 * RIG_CHUNK);
	CU_ASSERT_EQUAL(kvf_set_frozen(r.engine, 1), KVF_OK);
	CU_ASSERT_EQUAL(rig_run(&r, &op).tokens, 0);
	CU_ASSERT_EQUAL(rig_retrieve(&r, 0, 4 * RIG_CHUNK, 0).tokens, 0);
	CU_ASSERT_EQUAL(kvf_set_frozen(r.engine, 0), KVF_OK);
	CU_ASSERT_EQUAL(rig_retrieve(&r, 0, 4 * RIG_CHUNK, 0).tokens, 4 * RIG_CHUNK);
	tier_rig_close(&r, &m);
}

/* A put that hangs: the store that waits for it ends, its slot is in quarantine, and a late yes counts for nothing. */
static void test_late_put(void)
{
	struct kvf_completion c;
	struct memtier m;
	struct kvf_op op;
	struct rig r;
	uint64_t id;

	tier_rig_open(&r, &m, 16, KVF_TIER_RECORDS | KVF_TIER_DURABLE, false);
	rig_tokens(&r, 1, RIG_CHUNK);
	rig_compute(&r, RIG_CHUNK);
	rig_prep(&r, &op, KVF_OP_STORE, 0, RIG_CHUNK);
	op.level = KVF_LEVEL_DURABLE;
	op.deadline_ns = KVF_NO_DEADLINE;
	m.hold = true;
	id = rig_submit(&r, &op);
	for (int i = 0; i < 20; i++)
		kvf_poll(r.engine, &c, 0);
	CU_ASSERT_EQUAL(m.n_held, 1);
	tier_rig_now += 31000000000ull;
	c = rig_await(&r, id);
	CU_ASSERT_EQUAL(c.status, KVF_EDROPPED);
	CU_ASSERT_EQUAL(c.level, KVF_LEVEL_INDEXED);
	CU_ASSERT_EQUAL(c.tokens, RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_quarantined, 1);
	CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].timeouts, 1);
	CU_ASSERT_EQUAL(m.cancels, 1);
	CU_ASSERT_EQUAL(kvf_verify(r.engine), KVF_OK);
	m.hold = false;
	tier_rig_flush(&r);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_quarantined, 0);
	CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].puts, 0);
	/* It is sent again by the next store of the chunk. */
	CU_ASSERT_EQUAL(rig_run(&r, &op).level, KVF_LEVEL_DURABLE);
	CU_ASSERT_EQUAL(m.puts, 2);
	tier_rig_close(&r, &m);
}

/* Switched off and on again; a slow spill rate. */
static void test_operating(void)
{
	struct kvf_stats s;
	struct memtier m;
	struct rig r;

	tier_rig_open(&r, &m, 16, KVF_TIER_RECORDS, false);
	CU_ASSERT_EQUAL(kvf_set_tier(r.engine, KVF_TIER_CUSTOM, 0), KVF_OK);
	tier_rig_store(&r, 1, 4);
	tier_rig_flush(&r);
	CU_ASSERT_EQUAL(m.n_chunks, 0);
	CU_ASSERT_EQUAL(kvf_set_tier(r.engine, KVF_TIER_CUSTOM, 1), KVF_OK);
	tier_rig_store(&r, 1, 4);
	tier_rig_flush(&r);
	CU_ASSERT_EQUAL(m.n_chunks, 4);
	s = rig_stats(&r);
	/* Two chunks a second: after a second two went, give or take the bucket's depth. */
	CU_ASSERT_EQUAL(kvf_set_rates(r.engine, 2 * s.payload_bytes, 0), KVF_OK);
	tier_rig_store(&r, 2, 8);
	for (int i = 0; i < 40; i++) {
		struct kvf_completion c;

		tier_rig_now += 25000000;
		kvf_poll(r.engine, &c, 0);
		kvf_poll(r.engine, &c, 0);
	}
	CU_ASSERT(m.n_chunks - 4 >= 2);
	CU_ASSERT(m.n_chunks - 4 <= 4);
	CU_ASSERT_EQUAL(kvf_set_rates(r.engine, 0, 0), KVF_OK);
	tier_rig_flush(&r);
	CU_ASSERT_EQUAL(m.n_chunks, 12);
	tier_rig_close(&r, &m);
}

/* Gets that find no room keep no put from being written. */
static void test_full_for_one_kind(void)
{
	struct kvf_completion c;
	struct memtier m;
	struct rig r;
	struct kvf_op op;
	uint64_t id;

	tier_rig_open(&r, &m, 32, 0, false);
	tier_rig_only_below(&r, 1, 4);
	m.full_kind = KVF_REQ_GET;
	rig_prep(&r, &op, KVF_OP_RETRIEVE, 0, 4 * RIG_CHUNK);
	id = rig_submit(&r, &op);
	for (int i = 0; i < 10; i++)
		kvf_poll(r.engine, NULL, 0);
	tier_rig_store(&r, 2, 3);
	tier_rig_flush(&r);
	CU_ASSERT_EQUAL(m.puts, 7);
	CU_ASSERT_EQUAL(m.gets, 0);
	m.full_kind = 0;
	c = rig_await(&r, id);
	CU_ASSERT_EQUAL(c.tokens, 4 * RIG_CHUNK);
	tier_rig_close(&r, &m);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "round_trip", test_round_trip },
		{ "own_work", test_own_work },
		{ "prefetch_with_lease", test_prefetch_with_lease },
		{ "prefetch_cap", test_prefetch_cap },
		{ "single_flight", test_single_flight },
		{ "levels", test_levels },
		{ "damage_is_a_miss", test_damage_is_a_miss },
		{ "cut_payload", test_cut_payload },
		{ "breaker", test_breaker },
		{ "hanging_tier", test_hanging_tier },
		{ "staging", test_staging },
		{ "remove_below", test_remove_below },
		{ "remove_catches_up", test_remove_catches_up },
		{ "named_tiers", test_named_tiers },
		{ "late_put", test_late_put },
		{ "operating", test_operating },
		{ "full_for_one_kind", test_full_for_one_kind },
	};

	return kvf_test_main("tiers", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
