/* SPDX-License-Identifier: Apache-2.0 */
/* Operations over a span or over everything: pin and unpin, demote, remove, clear; and what lookups remember. */
#include "engine/engine.h"
#include "tests/harness.h"
#include "tests/sim/simmem.h"
#include "tests/support/dev_rig.h"

#include <string.h>

#define CHUNKS 4u
#define TOKENS (CHUNKS * RIG_CHUNK)
#define LONG 3600000000000ull

static uint64_t submit_remove(struct rig *r, uint32_t first, uint32_t chunks, uint32_t tiers)
{
	struct kvf_op op;

	kvf_prep_remove(&op, r->seq, first * RIG_CHUNK, chunks * RIG_CHUNK, tiers);
	return rig_submit(r, &op);
}

/* ---- leases ---- */

/* Two leases of the same chunks are two: each is given back for itself, in any order, and no part twice. */
static void test_two_leases(void)
{
	for (int last_first = 0; last_first < 2; last_first++) {
		struct kvf_completion c[2], u;
		struct kvf_op op;
		struct rig r;

		rig_open(&r, &(struct rig_options){ .slots = 16 });
		tier_rig_store(&r, 1, CHUNKS);
		kvf_prep_pin(&op, r.seq, RIG_CHUNK, 3 * RIG_CHUNK, LONG);
		for (int i = 0; i < 2; i++)
			c[i] = rig_run(&r, &op);
		CU_ASSERT_NOT_EQUAL(c[0].lease_id, c[1].lease_id);
		CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 3);
		/* Up to the end of the lease, to the token. */
		u = rig_unpin(&r, c[last_first].lease_id, RIG_CHUNK, 3 * RIG_CHUNK);
		CU_ASSERT_EQUAL(u.status, KVF_OK);
		CU_ASSERT_EQUAL(u.lease_id, c[last_first].lease_id);
		CU_ASSERT_EQUAL(u.tokens, 3 * RIG_CHUNK);
		CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 3);
		CU_ASSERT_EQUAL(rig_unpin(&r, c[last_first].lease_id, 0, SIZE_MAX).status, KVF_ENOENT);
		u = rig_unpin(&r, c[!last_first].lease_id, 2 * RIG_CHUNK, RIG_CHUNK);
		CU_ASSERT_EQUAL(u.tokens, RIG_CHUNK);
		CU_ASSERT_EQUAL(rig_unpin(&r, c[!last_first].lease_id, 2 * RIG_CHUNK, RIG_CHUNK).tokens, 0);
		CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 2);
		CU_ASSERT_EQUAL(rig_unpin(&r, c[!last_first].lease_id, 0, SIZE_MAX).tokens, 2 * RIG_CHUNK);
		CU_ASSERT_EQUAL(r.engine->leases.live, 0);
		rig_close(&r);
	}
}

/* A lease that would hold nothing is none; leases that are held when the engine closes go with it. */
static void test_empty_leases(void)
{
	struct simmem mem;
	struct memtier m;
	struct rig r;

	simmem_init(&mem, 1);
	tier_rig_open_more(&r, &m, 1, KVF_TIER_RECORDS,
			   (struct rig_options){ .slots = 64, .allocator = &mem.allocator });
	rig_tokens(&r, 9, TOKENS);
	CU_ASSERT_EQUAL(rig_lookup(&r, 0, LONG).lease_id, 0);
	CU_ASSERT_EQUAL(rig_stats(&r).leases, 0);
	tier_rig_only_below(&r, 1, CHUNKS);
	CU_ASSERT_EQUAL(rig_lookup(&r, 0, LONG).tokens, TOKENS);
	CU_ASSERT_EQUAL(rig_lookup(&r, 0, LONG).lease_id, 0);
	CU_ASSERT_EQUAL(r.engine->leases.live, 0);
	/* A pin is of what is in RAM and asks nobody. */
	m.exists = 0;
	CU_ASSERT_EQUAL(rig_pin(&r, 0, TOKENS, LONG).tokens, 0);
	CU_ASSERT_EQUAL(m.exists, 0);
	tier_rig_store(&r, 2, CHUNKS);
	CU_ASSERT_NOT_EQUAL(rig_lookup(&r, 0, LONG).lease_id, 0);
	CU_ASSERT_NOT_EQUAL(rig_lookup(&r, 0, LONG).lease_id, 0);
	tier_rig_flush(&r);
	tier_rig_close(&r, &m);
	CU_ASSERT_EQUAL(mem.live_blocks, 0);
	CU_ASSERT_EQUAL(mem.wrong_sizes, 0);
}

/* ---- lookups ---- */

static void test_half_a_prompt(void)
{
	struct kvf_completion c;
	struct rig r;

	rig_open(&r, &(struct rig_options){ .slots = 16 });
	tier_rig_store(&r, 1, CHUNKS);
	rig_tokens(&r, 1, 3 * TOKENS);
	c = rig_lookup(&r, RIG_CHUNK, 0);
	CU_ASSERT_EQUAL(c.tokens, TOKENS);
	CU_ASSERT_EQUAL(c.usable, TOKENS);
	CU_ASSERT_EQUAL(c.need, TOKENS - RIG_CHUNK);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_MISS);
	CU_ASSERT_EQUAL(rig_lookup(&r, 2 * TOKENS, 0).need, 0);
	rig_close(&r);
}

/* Stores and removes in any order: lookups, retrieves and the sequence's own memory agree with what is there. */
static void test_memory_of_sequences(void)
{
	enum { N = 12, SEQS = 3 };
	bool there[N + 1] = { false };
	struct kvf_seq *seqs[SEQS];
	uint64_t state = 7;
	struct rig r;

	rig_open(&r, &(struct rig_options){ .slots = 64 });
	for (int i = 0; i < SEQS; i++) {
		r.seq = NULL;
		rig_tokens(&r, 1, N * RIG_CHUNK);
		seqs[i] = r.seq;
		r.seq = NULL;
	}
	for (int step = 0; step < 3000; step++) {
		uint32_t first, n, hit = 0;

		state = state * 6364136223846793005ull + 1442695040888963407ull;
		first = (uint32_t)(state >> 33) % N;
		n = 1 + (uint32_t)(state >> 40) % (N - first);
		r.seq = seqs[(state >> 50) % SEQS];
		if (state >> 60 < 4) {
			CU_ASSERT_EQUAL(rig_store(&r, first * RIG_CHUNK, n * RIG_CHUNK, 0).status, KVF_OK);
			memset(there + first, true, n);
		} else if (state >> 60 < 8) {
			rig_remove(&r, first * RIG_CHUNK, n * RIG_CHUNK, 0);
			memset(there + first, false, n);
		}
		while (there[hit])
			hit++;
		r.seq = seqs[(state >> 45) % SEQS];
		if (state >> 59 & 1)
			CU_ASSERT_EQUAL(kvf_seq_resident(r.seq), hit * RIG_CHUNK);
		if (state >> 58 & 1)
			CU_ASSERT_EQUAL(rig_lookup(&r, 0, 0).tokens, hit * RIG_CHUNK);
		if (state >> 57 & 1)
			CU_ASSERT_EQUAL(rig_retrieve(&r, 0, N * RIG_CHUNK, 0).tokens, hit * RIG_CHUNK);
	}
	for (int i = 0; i < SEQS; i++)
		kvf_seq_close(seqs[i]);
	r.seq = NULL;
	rig_close(&r);
}

/* ---- demote ---- */

static bool is_chunk(struct rig *r, const uint8_t *key, uint32_t chunk)
{
	uint8_t its[KVF_KEY_BYTES];

	CU_ASSERT_EQUAL(kvf_seq_key(r->seq, chunk, its), KVF_OK);
	return !memcmp(key, its, sizeof(its));
}

/* What was demoted goes before what is older, its suffix first; nothing else has moved. */
static void test_demote(void)
{
	struct kvf_event ev[32];
	uint32_t next = CHUNKS;
	struct rig r;
	int n;

	rig_open(&r, &(struct rig_options){ .slots = 2 * CHUNKS });
	tier_rig_store(&r, 1, CHUNKS);
	tier_rig_store(&r, 2, CHUNKS);
	CU_ASSERT_EQUAL(rig_demote(&r, 0, TOKENS).tokens, TOKENS);
	while (kvf_events(r.engine, ev, 32, NULL))
		;
	for (uint64_t i = 0; i < CHUNKS; i++)
		tier_rig_store(&r, 10 + i, 1);
	rig_tokens(&r, 2, TOKENS);
	n = kvf_events(r.engine, ev, 32, NULL);
	for (int i = 0; i < n; i++) {
		if (ev[i].kind == KVF_EVENT_EVICTED)
			CU_ASSERT(next > 0 && is_chunk(&r, ev[i].key, --next));
	}
	CU_ASSERT_EQUAL(next, 0);
	rig_tokens(&r, 1, TOKENS);
	CU_ASSERT_EQUAL(kvf_seq_resident(r.seq), TOKENS);
	rig_close(&r);
}

/* ---- remove ---- */

/* Queued puts of a removed chunk are not sent at all; those in flight are waited for. */
static void remove_queued(uint32_t tiers, bool all)
{
	const uint32_t n = 20, in_flight = 16; /* a quarter of the pool */
	struct kvf_completion c;
	struct memtier m;
	struct kvf_op op;
	struct rig r;
	uint64_t id;

	tier_rig_open(&r, &m, 64, KVF_TIER_RECORDS | KVF_TIER_CLEARS, false);
	m.hold = true;
	m.hold_kind = KVF_REQ_PUT;
	tier_rig_store(&r, 1, n);
	tier_rig_poll(&r, 10);
	CU_ASSERT_EQUAL(m.n_held, in_flight);
	kvf_prep_clear(&op, tiers);
	id = all ? rig_submit(&r, &op) : submit_remove(&r, 0, n, tiers);
	for (int i = 0; i < 10; i++)
		CU_ASSERT_EQUAL(kvf_poll(r.engine, &c, 1), 0);
	CU_ASSERT_EQUAL(m.removes + m.clears, 0);
	CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].queued_spills, 0);
	CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].dropped_spills, n - in_flight);
	m.hold = false;
	CU_ASSERT_EQUAL(rig_await(&r, id).status, KVF_OK);
	CU_ASSERT_EQUAL(m.puts, in_flight);
	CU_ASSERT_EQUAL(m.n_chunks, 0);
	CU_ASSERT_EQUAL(kvf_seq_resident(r.seq), tiers ? n * RIG_CHUNK : 0);
	/* What was below counts for nothing now: it is all sent again. */
	if (tiers) {
		tier_rig_store(&r, 1, n);
		tier_rig_flush(&r);
		CU_ASSERT_EQUAL(m.n_chunks, n);
	}
	tier_rig_close(&r, &m);
}

static void test_queued_puts(void)
{
	remove_queued(0, false);
	remove_queued(KVF_TIER_CUSTOM, false);
	remove_queued(0, true);
	remove_queued(KVF_TIER_CUSTOM, true);
}

/* Chunks that left RAM while they were on their way down: who removes them below waits for that; others do not, nor
 * does who names RAM alone. */
static void test_doomed(void)
{
	struct memtier m;
	struct rig r;
	uint64_t ram, all, other;

	tier_rig_open(&r, &m, 64, KVF_TIER_RECORDS, false);
	tier_rig_store(&r, 2, 2);
	tier_rig_flush(&r);
	m.hold = true;
	m.hold_kind = KVF_REQ_PUT;
	tier_rig_store(&r, 1, CHUNKS);
	tier_rig_poll(&r, 10);
	CU_ASSERT_EQUAL(m.n_held, CHUNKS);
	ram = submit_remove(&r, 0, CHUNKS, KVF_TIER_RAM);
	CU_ASSERT_EQUAL(rig_await(&r, ram).status, KVF_OK);
	CU_ASSERT_EQUAL(kvf_seq_resident(r.seq), 0);
	all = submit_remove(&r, 0, CHUNKS, 0);
	rig_tokens(&r, 2, 2 * RIG_CHUNK);
	other = submit_remove(&r, 0, 2, 0);
	CU_ASSERT_EQUAL(rig_await(&r, other).status, KVF_OK);
	CU_ASSERT_EQUAL(m.removes, 2);
	tier_rig_poll(&r, 10);
	CU_ASSERT_EQUAL(rig_stats(&r).in_flight, 1);
	m.hold = false;
	CU_ASSERT_EQUAL(rig_await(&r, all).status, KVF_OK);
	CU_ASSERT_EQUAL(m.puts, 2 + CHUNKS);
	CU_ASSERT_EQUAL(m.removes, 2 + CHUNKS);
	CU_ASSERT_EQUAL(m.n_chunks, 0);
	tier_rig_close(&r, &m);
}

/* One chunk in the middle of those: only its own put is waited for, wherever it stands in the line. */
static void test_doomed_one(void)
{
	for (uint32_t which = 0; which < CHUNKS; which++) {
		struct memtier m;
		struct rig r;
		uint64_t one;

		tier_rig_open(&r, &m, 64, KVF_TIER_RECORDS, false);
		m.hold = true;
		m.hold_kind = KVF_REQ_PUT;
		tier_rig_store(&r, 1, CHUNKS);
		tier_rig_poll(&r, 10);
		submit_remove(&r, 0, CHUNKS, KVF_TIER_RAM);
		tier_rig_poll(&r, 10);
		one = submit_remove(&r, which, 1, 0);
		tier_rig_poll(&r, 10);
		CU_ASSERT_EQUAL(m.removes, 0);
		m.hold = false;
		CU_ASSERT_EQUAL(rig_await(&r, one).status, KVF_OK);
		CU_ASSERT_EQUAL(m.removes, 1);
		CU_ASSERT_EQUAL(m.n_chunks, CHUNKS - 1);
		tier_rig_close(&r, &m);
	}
}

/* ---- clear ---- */

/* What is being filled goes too, as soon as its copy lets go of it. */
static void test_clear_while_copied(void)
{
	struct kvf_completion c;
	struct simdev d;
	struct rig r;
	uint64_t id;

	dev_rig_open(&r, &d, DEV_RIG_CAPS, 64);
	tier_rig_store(&r, 1, CHUNKS);
	dev_rig_hold(&d);
	id = dev_rig_begin_store(&r, 2, CHUNKS, 0);
	tier_rig_poll(&r, 2);
	c = rig_clear(&r, 0);
	CU_ASSERT_EQUAL(c.tokens, 2 * TOKENS);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_resident, 0);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_free, 64 - CHUNKS);
	dev_rig_go(&d);
	CU_ASSERT_EQUAL(rig_await(&r, id).status, KVF_OK);
	CU_ASSERT_EQUAL(kvf_seq_resident(r.seq), 0);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_free, 64);
	CU_ASSERT_EQUAL(rig_clear(&r, 0).tokens, 0);
	rig_close(&r);
}

/* RAM alone, the tiers alone, or all; a tier that cannot be cleared is let alone, one that is off is a failure. */
static void test_clear_tiers(void)
{
	struct kvf_completion c;
	struct memtier m;
	struct rig r;

	tier_rig_open(&r, &m, 64, KVF_TIER_RECORDS | KVF_TIER_CLEARS, false);
	tier_rig_store(&r, 1, CHUNKS);
	tier_rig_flush(&r);
	CU_ASSERT_EQUAL(rig_clear(&r, KVF_TIER_RAM).tokens, TOKENS);
	CU_ASSERT_EQUAL(m.clears, 0);
	CU_ASSERT_EQUAL(rig_lookup(&r, 0, 0).tokens, TOKENS);
	rig_retrieve(&r, 0, TOKENS, 0);
	CU_ASSERT_EQUAL(rig_clear(&r, KVF_TIER_CUSTOM).tokens, 0);
	CU_ASSERT_EQUAL(m.clears, 1);
	CU_ASSERT_EQUAL(kvf_seq_resident(r.seq), TOKENS);
	CU_ASSERT_EQUAL(kvf_set_tier(r.engine, KVF_TIER_CUSTOM, 0), KVF_OK);
	c = rig_clear(&r, 0);
	CU_ASSERT_EQUAL(c.status, KVF_EIO);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_TIER);
	CU_ASSERT_EQUAL(c.tokens, TOKENS);
	CU_ASSERT_EQUAL(m.clears, 1);
	CU_ASSERT_EQUAL(kvf_set_tier(r.engine, KVF_TIER_CUSTOM, 1), KVF_OK);
	tier_rig_close(&r, &m);
	tier_rig_open(&r, &m, 64, KVF_TIER_RECORDS, false);
	tier_rig_store(&r, 1, CHUNKS);
	tier_rig_flush(&r);
	c = rig_clear(&r, 0);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(c.tokens, TOKENS);
	CU_ASSERT_EQUAL(m.clears, 0);
	CU_ASSERT_EQUAL(m.n_chunks, CHUNKS);
	tier_rig_close(&r, &m);
}

/* Stored while a clear waits for older puts, and cleared with them: it does not count as stored below. */
static void test_stored_while_clearing(void)
{
	struct memtier m;
	struct kvf_op op;
	struct rig r;
	uint64_t id;

	tier_rig_open(&r, &m, 64, KVF_TIER_RECORDS | KVF_TIER_CLEARS | KVF_TIER_DURABLE, false);
	m.hold = true;
	m.hold_kind = KVF_REQ_CLEAR;
	kvf_prep_clear(&op, KVF_TIER_CUSTOM);
	id = rig_submit(&r, &op);
	tier_rig_poll(&r, 10);
	CU_ASSERT_EQUAL(m.n_held, 1);
	tier_rig_store(&r, 1, CHUNKS);
	tier_rig_flush(&r);
	CU_ASSERT_EQUAL(m.n_chunks, CHUNKS);
	m.hold = false;
	CU_ASSERT_EQUAL(rig_await(&r, id).status, KVF_OK);
	CU_ASSERT_EQUAL(m.n_chunks, 0);
	rig_prep(&r, &op, KVF_OP_STORE, 0, TOKENS);
	op.level = KVF_LEVEL_DURABLE;
	CU_ASSERT_EQUAL(rig_run(&r, &op).level, KVF_LEVEL_DURABLE);
	CU_ASSERT_EQUAL(m.n_chunks, CHUNKS);
	tier_rig_close(&r, &m);
}

/* What comes up from a tier while that is cleared does not count as stored there. */
static void test_loaded_while_clearing(void)
{
	struct memtier m;
	struct kvf_op op;
	struct rig r;
	uint64_t load;

	tier_rig_open(&r, &m, 64, KVF_TIER_RECORDS | KVF_TIER_CLEARS | KVF_TIER_DURABLE, false);
	tier_rig_only_below(&r, 1, CHUNKS);
	m.hold = true;
	load = tier_rig_begin_retrieve(&r, 1, CHUNKS, KVF_PRIO_NORMAL);
	tier_rig_poll(&r, 10);
	m.hold = false;
	tier_rig_poll(&r, 1); /* it knows where they are */
	m.hold = true;
	tier_rig_poll(&r, 10);
	CU_ASSERT_EQUAL(m.n_held, CHUNKS);
	kvf_prep_clear(&op, KVF_TIER_CUSTOM);
	rig_submit(&r, &op);
	tier_rig_poll(&r, 10);
	CU_ASSERT_EQUAL(m.n_held, CHUNKS + 1);
	m.hold = false;
	CU_ASSERT_EQUAL(rig_await(&r, load).tokens, TOKENS);
	tier_rig_poll(&r, 10);
	CU_ASSERT_EQUAL(m.n_chunks, 0);
	rig_prep(&r, &op, KVF_OP_STORE, 0, TOKENS);
	op.level = KVF_LEVEL_DURABLE;
	CU_ASSERT_EQUAL(rig_run(&r, &op).level, KVF_LEVEL_DURABLE);
	CU_ASSERT_EQUAL(m.n_chunks, CHUNKS);
	tier_rig_close(&r, &m);
}

/* A clear carries its deadline down, and one that left is not told the answer. */
static void test_clear_hangs(void)
{
	struct memtier m;
	struct kvf_op op;
	struct rig r;
	uint64_t id;

	tier_rig_open(&r, &m, 64, KVF_TIER_RECORDS | KVF_TIER_CLEARS, false);
	tier_rig_only_below(&r, 1, CHUNKS);
	m.hold = true;
	kvf_prep_clear(&op, 0);
	op.deadline_ns = tier_rig_now + 12345;
	id = rig_submit(&r, &op);
	tier_rig_poll(&r, 10);
	CU_ASSERT_EQUAL_FATAL(m.n_held, 1);
	CU_ASSERT_EQUAL(m.held[0]->deadline_ns, op.deadline_ns);
	kvf_cancel(r.engine, id);
	CU_ASSERT_EQUAL(rig_await(&r, id).status, KVF_ECANCELED);
	kvf_prep_lookup(&op, r.seq, 0, 0, 0);
	m.backwards = true;
	id = rig_submit(&r, &op);
	tier_rig_poll(&r, 10);
	CU_ASSERT_EQUAL(m.n_held, 1 + CHUNKS);
	m.hold = false;
	CU_ASSERT_EQUAL(rig_await(&r, id).tokens, TOKENS);
	tier_rig_poll(&r, 10);
	CU_ASSERT_EQUAL(kvf_verify(r.engine), KVF_OK);
	tier_rig_close(&r, &m);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "two_leases", test_two_leases },
		{ "empty_leases", test_empty_leases },
		{ "half_a_prompt", test_half_a_prompt },
		{ "memory_of_sequences", test_memory_of_sequences },
		{ "demote", test_demote },
		{ "queued_puts", test_queued_puts },
		{ "doomed", test_doomed },
		{ "doomed_one", test_doomed_one },
		{ "clear_while_copied", test_clear_while_copied },
		{ "clear_tiers", test_clear_tiers },
		{ "stored_while_clearing", test_stored_while_clearing },
		{ "loaded_while_clearing", test_loaded_while_clearing },
		{ "clear_hangs", test_clear_hangs },
	};

	return kvf_test_main("spans", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
