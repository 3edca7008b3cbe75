/* SPDX-License-Identifier: Apache-2.0 */
/* spill.c and the tiers' side of it: what goes down when, what is withdrawn, what a late or a missing answer does. */
#include <string.h>

#include "base/checksum.h"
#include "engine/engine.h"
#include "tests/harness.h"
#include "tests/sim/simmem.h"
#include "tests/support/tier_rig.h"

static struct rig r;
static struct memtier m[2];
static struct kvf_engine *e;

static void open_tiers(uint32_t slots, uint32_t tiers, uint32_t caps)
{
	tier_rig_open_more(&r, m, tiers, caps, (struct rig_options){ .slots = slots });
	e = r.engine;
	tier_rig_poll(&r, 3);
}

static void close_tiers(void)
{
	tier_rig_close(&r, m);
}

static uint32_t entry_of(uint32_t chunk)
{
	uint8_t key[KVF_KEY_BYTES];

	CU_ASSERT_EQUAL_FATAL(kvf_seq_key(r.seq, chunk, key), KVF_OK);
	return kvf_index_find(&e->index, key);
}

static uint32_t length(const struct kvf_list *head)
{
	const struct kvf_list *node;
	uint32_t n = 0;

	kvf_list_for_each(node, head)
		n++;
	return n;
}

/* ---- queued ---- */

/* Chunks that wait to go down keep nothing in RAM: evicted or removed, they are withdrawn. */
static void test_withdrawn(void)
{
	open_tiers(16, 2, KVF_TIER_RECORDS);
	CU_ASSERT_EQUAL(kvf_set_rates(e, 1, 0), KVF_OK);
	tier_rig_store(&r, 1, 12);
	tier_rig_poll(&r, 3);
	CU_ASSERT_EQUAL(length(&e->tier[0].puts) + length(&e->tier[0].sealed) + m[0].n_held + m[0].puts, 12);
	CU_ASSERT_EQUAL(length(&e->tier[1].puts), 12);
	CU_ASSERT_EQUAL(kvf_index_entry(&e->index, entry_of(11))->tiers_want, 3);
	tier_rig_store(&r, 2, 12);
	tier_rig_poll(&r, 3);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_resident, 16);
	CU_ASSERT_EQUAL(length(&e->tier[1].puts), 16);
	CU_ASSERT_EQUAL(rig_stats(&r).tiers[1].queued_spills, 16);
	CU_ASSERT_EQUAL(rig_stats(&r).tiers[1].dropped_spills, 8);
	CU_ASSERT_EQUAL(rig_remove(&r, 0, 12 * RIG_CHUNK, KVF_TIER_RAM).status, KVF_OK);
	CU_ASSERT_EQUAL(length(&e->tier[1].puts), 4);
	CU_ASSERT_EQUAL(length(&e->spills), 4);
	CU_ASSERT_EQUAL(kvf_verify(e), KVF_OK);
	CU_ASSERT_EQUAL(kvf_set_rates(e, 0, 0), KVF_OK);
	tier_rig_flush(&r);
	CU_ASSERT_EQUAL(m[1].puts, 4);
	CU_ASSERT(kvf_list_empty(&e->spills));
	close_tiers();
}

/* One leg is in flight, the other one waits: the chunk is removed, and what is in flight ends in peace. */
static void test_half_in_flight(void)
{
	uint32_t entry, n_free;

	open_tiers(16, 2, KVF_TIER_RECORDS);
	n_free = e->pool.n_free;
	m[0].hold = true;
	e->tier[1].n_spills = e->tier[1].cap_spills; /* it is busy with others */
	tier_rig_store(&r, 1, 1);
	tier_rig_poll(&r, 5);
	entry = entry_of(0);
	CU_ASSERT_EQUAL(m[0].n_held, 1);
	CU_ASSERT_EQUAL(length(&e->tier[1].puts), 1);
	CU_ASSERT_EQUAL(kvf_index_entry(&e->index, entry)->pins, 1);
	kvf_entry_drop(e, entry, KVF_EVENT_EVICTED);
	CU_ASSERT_EQUAL(entry_of(0), KVF_NIL);
	CU_ASSERT_EQUAL(length(&e->tier[1].puts), 0);
	CU_ASSERT_EQUAL(length(&e->spills), 1);
	CU_ASSERT_EQUAL(length(&e->doomed_spills), 1);
	CU_ASSERT_EQUAL(e->pool.n_free, n_free - 1);
	CU_ASSERT_EQUAL(kvf_verify(e), KVF_OK);
	m[0].hold = false;
	tier_rig_poll(&r, 3);
	CU_ASSERT_EQUAL(length(&e->spills) + length(&e->doomed_spills), 0);
	CU_ASSERT_EQUAL(e->pool.n_free, n_free);
	e->tier[1].n_spills = 0;
	close_tiers();
}

/* A leg that begins when the checksum is known already goes with that, at once. */
static void test_second_leg_later(void)
{
	const uint32_t bytes = 2 * RIG_LAYERS * RIG_CHUNK * RIG_HIDDEN;
	uint32_t entry;

	open_tiers(16, 2, 0);
	m[0].hold = m[1].hold = true;
	e->tier[1].n_spills = e->tier[1].cap_spills;
	tier_rig_store(&r, 1, 1);
	tier_rig_poll(&r, 5);
	CU_ASSERT_EQUAL(m[0].n_held, 1);
	entry = entry_of(0);
	e->tier[1].n_spills = 0;
	tier_rig_poll(&r, 1);
	CU_ASSERT_EQUAL(m[1].n_held, 1);
	CU_ASSERT_EQUAL(kvf_index_entry(&e->index, entry)->pins, 2);
	CU_ASSERT_EQUAL(kvf_index_entry(&e->index, entry)->tiers_have, 0);
	m[0].hold = false;
	tier_rig_poll(&r, 3);
	CU_ASSERT_EQUAL(kvf_index_entry(&e->index, entry)->pins, 1);
	CU_ASSERT_EQUAL(kvf_index_entry(&e->index, entry)->tiers_have, 1);
	CU_ASSERT_EQUAL(kvf_index_entry(&e->index, entry)->tiers_want, 2);
	m[1].hold = false;
	tier_rig_poll(&r, 3);
	CU_ASSERT_EQUAL(kvf_index_entry(&e->index, entry)->tiers_have, 3);
	CU_ASSERT_EQUAL(kvf_index_entry(&e->index, entry)->tiers_want, 0);
	for (int t = 0; t < 2; t++) {
		CU_ASSERT_EQUAL(m[t].chunk[0].payload_bytes, bytes);
		CU_ASSERT_EQUAL(m[t].chunk[0].checksum, kvf_checksum(m[t].chunk[0].bytes, bytes));
		CU_ASSERT_EQUAL(rig_stats(&r).tiers[t].put_bytes, bytes);
	}
	close_tiers();
}

/* Checksums are computed a slice at a time, one chunk after the other. */
static void test_sums_in_slices(void)
{
	const uint32_t bytes = 2 * RIG_LAYERS * RIG_CHUNK * RIG_HIDDEN;
	uint32_t calls = 1;

	open_tiers(16, 1, 0);
	e->tier[0].n_spills = e->tier[0].cap_spills;
	tier_rig_store(&r, 1, 3);
	tier_rig_poll(&r, 3);
	e->tier[0].n_spills = 0;
	kvf_spill_pump(e, &e->tier[0]);
	CU_ASSERT_EQUAL(length(&e->sums), 3);
	CU_ASSERT_EQUAL(kvf_engine_deadline(e), 0);
	while (kvf_sums_step(e, 5000)) {
		CU_ASSERT_EQUAL(length(&e->sums), 3 - calls * 5000 / bytes);
		calls++;
	}
	CU_ASSERT_EQUAL(calls, (3 * bytes + 4999) / 5000);
	CU_ASSERT_EQUAL(length(&e->tier[0].sealed), 3);
	tier_rig_poll(&r, 3);
	CU_ASSERT_EQUAL(m[0].puts, 3);
	for (uint32_t i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(m[0].chunk[i].checksum, kvf_checksum(m[0].chunk[i].bytes, bytes));
	close_tiers();
}

/* ---- levels ---- */

/* The tier that was to acknowledge is off: the store says so, and does not wait for it; also not where another tier
 * takes the chunk. */
static void test_level_of_a_tier_that_is_off(void)
{
	struct kvf_completion c;
	struct kvf_op op;

	open_tiers(16, 2, KVF_TIER_RECORDS | KVF_TIER_DURABLE);
	e->tier[0].off = true;
	rig_tokens(&r, 1, 2 * RIG_CHUNK);
	rig_compute(&r, 2 * RIG_CHUNK);
	rig_prep(&r, &op, KVF_OP_STORE, 0, 2 * RIG_CHUNK);
	op.level = KVF_LEVEL_DURABLE;
	c = rig_run(&r, &op);
	CU_ASSERT_EQUAL(c.status, KVF_EDROPPED);
	CU_ASSERT_EQUAL(c.level, KVF_LEVEL_INDEXED);
	CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].dropped_spills, 2);
	tier_rig_flush(&r);
	CU_ASSERT_EQUAL(m[1].puts, 2);
	e->tier[0].off = false;
	CU_ASSERT_EQUAL(rig_run(&r, &op).level, KVF_LEVEL_DURABLE);
	CU_ASSERT_EQUAL(m[0].puts, 2);
	CU_ASSERT_EQUAL(m[1].puts, 2);
	close_tiers();
}

/* Two stores wait for the same chunks; the second of two chunks fails: both learn how far it came. */
static void test_two_wait(void)
{
	struct kvf_completion c;
	struct kvf_op op;
	uint64_t id[2];

	open_tiers(16, 1, KVF_TIER_RECORDS | KVF_TIER_DURABLE);
	rig_tokens(&r, 1, 2 * RIG_CHUNK);
	rig_compute(&r, 2 * RIG_CHUNK);
	rig_prep(&r, &op, KVF_OP_STORE, 0, 2 * RIG_CHUNK);
	op.level = KVF_LEVEL_DURABLE;
	m[0].hold = true;
	m[0].room = 1;
	for (int i = 0; i < 2; i++)
		id[i] = rig_submit(&r, &op);
	tier_rig_poll(&r, 10);
	CU_ASSERT_EQUAL(m[0].n_held, 1);
	m[0].hold = false;
	tier_rig_poll(&r, 1);
	m[0].fail = KVF_EIO;
	for (int i = 0; i < 2; i++) {
		c = rig_await(&r, id[i]);
		CU_ASSERT_EQUAL(c.status, KVF_EDROPPED);
		CU_ASSERT_EQUAL(c.level, KVF_LEVEL_INDEXED);
	}
	CU_ASSERT_EQUAL(m[0].puts, 1);
	m[0].fail = 0;
	close_tiers();
}

/* ---- trouble ---- */

/* Puts that hang are failures of their tier: after five in a row nothing is sent there, what is queued is dropped. */
static void test_late_puts(void)
{
	open_tiers(64, 1, KVF_TIER_RECORDS);
	m[0].hold = true;
	tier_rig_store(&r, 1, 24);
	tier_rig_poll(&r, 5);
	CU_ASSERT_EQUAL(m[0].n_held, 16);
	CU_ASSERT_EQUAL(length(&e->tier[0].puts), 8);
	CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].breaker, 0);
	tier_rig_now += 30 * KVF_NS_PER_S;
	tier_rig_poll(&r, 1);
	CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].breaker, 1);
	CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].timeouts, 16);
	CU_ASSERT_EQUAL(length(&e->tier[0].puts), 0);
	CU_ASSERT_EQUAL(e->tier[0].n_orphans, 16);
	CU_ASSERT_EQUAL(e->n_quarantined, 16);
	CU_ASSERT_EQUAL(m[0].cancels, 16);
	CU_ASSERT_EQUAL(kvf_verify(e), KVF_OK);
	tier_rig_poll(&r, 5);
	CU_ASSERT_EQUAL(m[0].cancels, 16); /* told once */
	m[0].hold = false;
	tier_rig_poll(&r, 3);
	CU_ASSERT_EQUAL(e->tier[0].n_orphans + e->n_quarantined + e->tier[0].n_spills, 0);
	CU_ASSERT(kvf_list_empty(&e->spills));
	close_tiers();
}

/* A put that could not be sent in its time was not seen by the tier: it is not late, but sent when there is room. */
static void test_unsent_is_not_late(void)
{
	open_tiers(16, 1, KVF_TIER_RECORDS);
	m[0].full_kind = KVF_REQ_PUT;
	tier_rig_store(&r, 1, 2);
	tier_rig_poll(&r, 5);
	CU_ASSERT_EQUAL(length(&e->tier[0].sealed), 2);
	for (int i = 0; i < 3; i++) {
		tier_rig_now += 30 * KVF_NS_PER_S;
		tier_rig_poll(&r, 2);
		CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].timeouts, 0);
		CU_ASSERT_EQUAL(kvf_next_deadline_ns(e), tier_rig_now + 30 * KVF_NS_PER_S);
	}
	m[0].full_kind = 0;
	tier_rig_poll(&r, 3);
	CU_ASSERT_EQUAL(m[0].puts, 2);
	CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].puts, 2);
	close_tiers();
}

/* After the back-off one request is the probe and goes alone; what is queued goes when it was answered well. */
static void test_probe(void)
{
	open_tiers(64, 1, KVF_TIER_RECORDS);
	m[0].fail = KVF_EIO;
	tier_rig_store(&r, 1, 6);
	tier_rig_poll(&r, 5);
	CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].breaker, 1);
	tier_rig_store(&r, 2, 3);
	tier_rig_poll(&r, 5);
	CU_ASSERT_EQUAL(length(&e->tier[0].puts), 0); /* dropped, not kept */
	m[0].fail = 0;
	m[0].hold = true;
	m[0].batches = 0;
	tier_rig_now += 200000000;
	tier_rig_store(&r, 3, 8);
	tier_rig_poll(&r, 5);
	CU_ASSERT_EQUAL(m[0].n_held, 1);
	CU_ASSERT_EQUAL(e->tier[0].breaker.state, KVF_BREAKER_PROBING);
	m[0].hold = false;
	tier_rig_poll(&r, 5);
	CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].breaker, 0);
	CU_ASSERT(m[0].puts >= 1);
	tier_rig_flush(&r);
	tier_rig_store(&r, 4, 8);
	tier_rig_flush(&r);
	CU_ASSERT(m[0].puts >= 9);
	close_tiers();
}

/* No memory for a put: it stays queued and is tried a millisecond later, and the host is told when. */
static void test_no_memory(void)
{
	struct simmem host;

	simmem_init(&host, 1);
	tier_rig_open_more(&r, m, 1, KVF_TIER_RECORDS,
			   (struct rig_options){ .slots = 64, .allocator = &host.allocator });
	e = r.engine;
	tier_rig_poll(&r, 3);
	e->tier[0].n_spills = e->tier[0].cap_spills;
	tier_rig_store(&r, 1, 12);
	tier_rig_poll(&r, 3);
	e->tier[0].n_spills = 0;
	simmem_allow(&host, 0);
	for (int i = 0; i < 50 && !e->tier[0].spill_retry_ns; i++)
		tier_rig_poll(&r, 1);
	CU_ASSERT_EQUAL_FATAL(e->tier[0].spill_retry_ns, tier_rig_now + KVF_NS_PER_MS);
	for (int i = 0; i < 20; i++)
		tier_rig_poll(&r, 1);
	CU_ASSERT_NOT_EQUAL(length(&e->tier[0].puts), 0);
	CU_ASSERT_EQUAL(kvf_next_deadline_ns(e), tier_rig_now + KVF_NS_PER_MS);
	simmem_allow(&host, SIMMEM_ANY);
	tier_rig_now += KVF_NS_PER_MS - 1;
	tier_rig_poll(&r, 5);
	CU_ASSERT_NOT_EQUAL(length(&e->tier[0].puts), 0);
	tier_rig_now++;
	tier_rig_poll(&r, 10);
	CU_ASSERT_EQUAL(length(&e->tier[0].puts), 0);
	tier_rig_flush(&r);
	CU_ASSERT_EQUAL(m[0].puts, 12);
	close_tiers();
}

/* A remove that is answered while a put of the same chunk is in flight: nobody knows which came first, so the chunk
 * does not count as stored there and goes down again with the next store. */
static void test_removed_meanwhile(void)
{
	open_tiers(16, 1, KVF_TIER_RECORDS);
	tier_rig_only_below(&r, 1, 1);
	m[0].chunk[0].bytes[KVF_SLOT_HEADER_BYTES + 9] ^= 1;
	m[0].hold = true;
	m[0].hold_kind = KVF_REQ_REMOVE;
	CU_ASSERT_EQUAL(rig_retrieve(&r, 0, RIG_CHUNK, 0).tokens, 0);
	tier_rig_poll(&r, 3);
	CU_ASSERT_EQUAL(m[0].n_held, 1);
	m[0].hold_kind = 0;
	tier_rig_store(&r, 1, 1);
	tier_rig_poll(&r, 5);
	CU_ASSERT_EQUAL(m[0].n_held, 2);
	m[0].hold = false;
	tier_rig_poll(&r, 3);
	CU_ASSERT_EQUAL(m[0].puts, 2);
	CU_ASSERT_EQUAL(kvf_index_entry(&e->index, entry_of(0))->tiers_have, 0);
	tier_rig_store(&r, 1, 1);
	tier_rig_flush(&r);
	CU_ASSERT_EQUAL(m[0].puts, 3);
	CU_ASSERT_EQUAL(kvf_index_entry(&e->index, entry_of(0))->tiers_have, 1);
	close_tiers();
}

/* All the tiers there can be: each gets each chunk once, gives it back when it is the only one, and loses it. */
static void test_four_tiers(void)
{
	static struct memtier four[KVF_MAX_TIERS];

	tier_rig_open_more(&r, four, KVF_MAX_TIERS, KVF_TIER_RECORDS | KVF_TIER_DURABLE,
			   (struct rig_options){ .slots = 32 });
	e = r.engine;
	tier_rig_store(&r, 1, 6);
	tier_rig_flush(&r);
	for (int only = 0; only < KVF_MAX_TIERS; only++) {
		CU_ASSERT_EQUAL(four[only].puts, 6);
		CU_ASSERT_EQUAL(rig_remove(&r, 0, 6 * RIG_CHUNK, KVF_TIER_RAM).status, KVF_OK);
		for (int t = 0; t < KVF_MAX_TIERS; t++)
			e->tier[t].off = t != only;
		CU_ASSERT_EQUAL(rig_lookup(&r, 0, 0).tokens, 6 * RIG_CHUNK);
		CU_ASSERT_EQUAL(tier_rig_fetch(&r, 6).tokens, 6 * RIG_CHUNK);
		CU_ASSERT_EQUAL(four[only].gets, 6);
	}
	for (int t = 0; t < KVF_MAX_TIERS; t++)
		e->tier[t].off = false;
	CU_ASSERT_EQUAL(kvf_verify(e), KVF_OK);
	/* More than the pool holds, so that what waits is withdrawn. */
	for (uint64_t i = 0; i < 6; i++)
		tier_rig_store(&r, 2 + i, 10);
	tier_rig_flush(&r);
	CU_ASSERT_EQUAL(kvf_verify(e), KVF_OK);
	rig_tokens(&r, 1, 6 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_remove(&r, 0, 6 * RIG_CHUNK, 0).status, KVF_OK);
	for (int t = 0; t < KVF_MAX_TIERS; t++)
		CU_ASSERT_EQUAL(four[t].removes, 6);
	CU_ASSERT_EQUAL(rig_lookup(&r, 0, 0).tokens, 0);
	tier_rig_close(&r, four);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "withdrawn", test_withdrawn },
		{ "half_in_flight", test_half_in_flight },
		{ "second_leg_later", test_second_leg_later },
		{ "sums_in_slices", test_sums_in_slices },
		{ "level_of_a_tier_that_is_off", test_level_of_a_tier_that_is_off },
		{ "two_wait", test_two_wait },
		{ "late_puts", test_late_puts },
		{ "unsent_is_not_late", test_unsent_is_not_late },
		{ "probe", test_probe },
		{ "no_memory", test_no_memory },
		{ "removed_meanwhile", test_removed_meanwhile },
		{ "four_tiers", test_four_tiers },
	};

	return kvf_test_main("spill", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
