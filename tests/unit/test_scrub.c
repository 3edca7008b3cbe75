/* SPDX-License-Identifier: Apache-2.0 */
/* kvf_scrub: a byte that changes in RAM is found before it reaches the device (always), or in passing (idle). */
#include "engine/engine.h"
#include "tests/harness.h"
#include "tests/support/tier_rig.h"

static void store(struct rig *r, uint32_t chunks)
{
	rig_tokens(r, 1, chunks * RIG_CHUNK);
	rig_compute(r, chunks * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_store(r, 0, chunks * RIG_CHUNK, 0).tokens, chunks * RIG_CHUNK);
}

static void flip(struct rig *r, uint32_t chunk)
{
	uint8_t key[KVF_KEY_BYTES];
	uint32_t entry;

	CU_ASSERT_EQUAL_FATAL(kvf_seq_key(r->seq, chunk, key), KVF_OK);
	entry = kvf_index_find(&r->engine->index, key);
	CU_ASSERT_NOT_EQUAL_FATAL(entry, KVF_NIL);
	kvf_pool_addr(&r->engine->pool,
		      kvf_index_entry(&r->engine->index, entry)->slot)[KVF_SLOT_HEADER_BYTES + 100] ^= 4;
}

static void test_always(void)
{
	struct kvf_completion c;
	struct rig r;

	rig_open(&r, &(struct rig_options){ .slots = 16, .extra_key = "kvf_scrub", .extra_value = "always" });
	store(&r, 4);
	rig_wipe(&r);
	c = rig_retrieve(&r, 0, 4 * RIG_CHUNK, 0);
	CU_ASSERT_EQUAL(c.tokens, 4 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_mismatches(&r, 0, 4 * RIG_CHUNK), 0);
	flip(&r, 2);
	c = tier_rig_fetch(&r, 4);
	CU_ASSERT_EQUAL(c.tokens, 2 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_stats(&r).corrupt_chunks, 1);
	CU_ASSERT_EQUAL(kvf_seq_resident(r.seq), 2 * RIG_CHUNK);
	rig_wipe(&r);
	store(&r, 4);
	c = rig_retrieve(&r, 0, 4 * RIG_CHUNK, KVF_OP_LAYERWISE);
	CU_ASSERT_EQUAL(c.tokens, 4 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_mismatches(&r, 0, 4 * RIG_CHUNK), 0);
	rig_close(&r);
}

/* Off: the damage goes through. If it did not, the other tests would show nothing. */
static void test_off(void)
{
	struct rig r;

	rig_open(&r, &(struct rig_options){ .slots = 16 });
	store(&r, 2);
	flip(&r, 1);
	rig_wipe(&r);
	CU_ASSERT_EQUAL(rig_retrieve(&r, 0, 2 * RIG_CHUNK, 0).tokens, 2 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_mismatches(&r, 0, 2 * RIG_CHUNK), 1);
	rig_close(&r);
}

static uint64_t fake_now;

static uint64_t fake_clock(void *user)
{
	(void)user;
	return fake_now;
}

static void test_idle(void)
{
	static const struct kvf_clock clock = { sizeof(clock), fake_clock, NULL };
	struct kvf_completion c;
	struct rig r;

	fake_now = 1;
	rig_open(&r, &(struct rig_options){
			     .slots = 16, .extra_key = "kvf_scrub", .extra_value = "idle", .clock = &clock });
	store(&r, 4);
	/* The first round remembers, the second one compares. */
	for (int i = 0; i < 40; i++) {
		fake_now += 10000000;
		kvf_poll(r.engine, &c, 0);
		kvf_poll(r.engine, &c, 0);
		CU_ASSERT_EQUAL(kvf_verify(r.engine), KVF_OK);
	}
	CU_ASSERT_EQUAL(rig_stats(&r).corrupt_chunks, 0);
	flip(&r, 3);
	CU_ASSERT(kvf_next_deadline_ns(r.engine) <= fake_now + 10000000);
	for (int i = 0; i < 40; i++) {
		fake_now += 10000000;
		kvf_poll(r.engine, &c, 0);
		kvf_poll(r.engine, &c, 0);
	}
	CU_ASSERT_EQUAL(rig_stats(&r).corrupt_chunks, 1);
	CU_ASSERT_EQUAL(kvf_seq_resident(r.seq), 3 * RIG_CHUNK);
	rig_close(&r);
}

static struct kvf_record record_of(struct rig *r, uint32_t chunk)
{
	uint8_t key[KVF_KEY_BYTES];
	struct kvf_record rec;

	CU_ASSERT_EQUAL_FATAL(kvf_seq_key(r->seq, chunk, key), KVF_OK);
	kvf_entry_record(r->engine, kvf_index_find(&r->engine->index, key), &rec);
	return rec;
}

static const uint8_t *payload_of(struct rig *r, uint32_t chunk)
{
	uint8_t key[KVF_KEY_BYTES];
	uint32_t entry;

	CU_ASSERT_EQUAL_FATAL(kvf_seq_key(r->seq, chunk, key), KVF_OK);
	entry = kvf_index_find(&r->engine->index, key);
	return kvf_pool_addr(&r->engine->pool, kvf_index_entry(&r->engine->index, entry)->slot) + KVF_SLOT_HEADER_BYTES;
}

/* One chunk every ten milliseconds, to the nanosecond, in turn; what is pinned, and what is not resident, is passed
 * over, a bounded number at once. The first visit remembers the checksum. */
static void test_walk(void)
{
	static const struct kvf_clock clock = { sizeof(clock), fake_clock, NULL };
	struct kvf_engine *e;
	struct kvf_list other;
	struct rig r;

	fake_now = KVF_NS_PER_S;
	rig_open(&r, &(struct rig_options){
			     .slots = 700, .extra_key = "kvf_scrub", .extra_value = "idle", .clock = &clock });
	e = r.engine;
	CU_ASSERT_EQUAL(kvf_scrub_deadline(e), KVF_NEVER); /* nothing to look at */
	store(&r, 4);
	for (int i = 0; i < 50; i++)
		kvf_poll(e, NULL, 0);
	for (uint32_t i = 0; i < 4; i++)
		CU_ASSERT_EQUAL(record_of(&r, i).checksum != 0, i == 0);
	for (uint32_t i = 1; i < 4; i++) {
		CU_ASSERT_EQUAL(kvf_next_deadline_ns(e), fake_now + 10 * KVF_NS_PER_MS);
		fake_now += 10 * KVF_NS_PER_MS - 1;
		for (int k = 0; k < 3; k++)
			kvf_poll(e, NULL, 0);
		CU_ASSERT_EQUAL(record_of(&r, i).checksum, 0);
		fake_now++;
		for (int k = 0; k < 3; k++)
			kvf_poll(e, NULL, 0);
		CU_ASSERT_EQUAL(record_of(&r, i).checksum, kvf_checksum(payload_of(&r, i), e->payload_bytes));
	}
	/* Not while there is something else to sum. */
	fake_now += 10 * KVF_NS_PER_MS;
	kvf_clock_update(&e->clock);
	kvf_list_push_back(&e->sums, &other);
	kvf_scrub_turn(e);
	CU_ASSERT_FALSE(kvf_list_linked(&e->scrubber.sum.link));
	kvf_list_remove(&other);
	/* All four in use: once round, and nothing is begun. Then one is not. */
	for (uint32_t i = 0; i < 4; i++)
		kvf_entry_pin(e, i);
	e->scrubber.cursor = 0;
	kvf_scrub_turn(e);
	CU_ASSERT_EQUAL(e->scrubber.cursor, 0);
	CU_ASSERT_EQUAL(e->scrubber.next_ns, fake_now + 10 * KVF_NS_PER_MS);
	CU_ASSERT_FALSE(kvf_list_linked(&e->scrubber.sum.link));
	kvf_entry_unpin(e, 3);
	e->scrubber.next_ns = fake_now;
	kvf_scrub_turn(e);
	CU_ASSERT_TRUE(kvf_list_linked(&e->scrubber.sum.link));
	CU_ASSERT_EQUAL(e->scrubber.entry, 3);
	for (uint32_t i = 0; i < 3; i++)
		kvf_entry_unpin(e, i);
	kvf_poll(e, NULL, 0);
	CU_ASSERT_FALSE(kvf_list_linked(&e->scrubber.sum.link));
	rig_close(&r);
}

/* Hundreds of chunks in use are passed over a bounded number at a time. */
static void test_walk_bounded(void)
{
	static const struct kvf_clock clock = { sizeof(clock), fake_clock, NULL };
	struct kvf_engine *e;
	struct rig r;

	fake_now = KVF_NS_PER_S;
	rig_open(&r, &(struct rig_options){
			     .slots = 700, .extra_key = "kvf_scrub", .extra_value = "idle", .clock = &clock });
	e = r.engine;
	for (uint64_t i = 0; i < 10; i++) {
		rig_tokens(&r, 2 + i, 64 * RIG_CHUNK);
		CU_ASSERT_EQUAL(rig_store(&r, 0, 64 * RIG_CHUNK, 0).tokens, 64 * RIG_CHUNK);
	}
	kvf_poll(e, NULL, 0);
	CU_ASSERT_FATAL(e->index.used == 640 && kvf_list_empty(&e->sums));
	for (uint32_t i = 0; i < 640; i++)
		kvf_entry_pin(e, i);
	e->scrubber.cursor = 0;
	e->scrubber.next_ns = fake_now;
	kvf_scrub_turn(e);
	CU_ASSERT_EQUAL(e->scrubber.cursor, KVF_TURN_SCAN);
	e->scrubber.next_ns = fake_now;
	kvf_scrub_turn(e);
	CU_ASSERT_EQUAL(e->scrubber.cursor, 2 * KVF_TURN_SCAN - 640);
	CU_ASSERT_FALSE(kvf_list_linked(&e->scrubber.sum.link));
	for (uint32_t i = 0; i < 640; i++)
		kvf_entry_unpin(e, i);
	rig_close(&r);
}

/* Retrieves that are told to stop while their chunks are being summed: the sums go with them. */
static void test_stopped_while_summing(void)
{
	const uint32_t n = 60; /* of three retrieves: more than a turn sums */
	uint64_t id[3];
	struct kvf_op op;
	struct rig r;

	rig_open(&r, &(struct rig_options){ .slots = 64, .extra_key = "kvf_scrub", .extra_value = "always" });
	store(&r, n);
	rig_prep(&r, &op, KVF_OP_RETRIEVE, 0, n * RIG_CHUNK);
	for (int i = 0; i < 3; i++)
		id[i] = rig_submit(&r, &op);
	kvf_poll(r.engine, NULL, 0);
	for (int i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(kvf_cancel(r.engine, id[i]), KVF_OK);
	for (int i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(rig_await(&r, id[i]).status, KVF_ECANCELED);
	CU_ASSERT_EQUAL(kvf_verify(r.engine), KVF_OK);
	CU_ASSERT(kvf_list_empty(&r.engine->sums));
	CU_ASSERT_EQUAL(rig_retrieve(&r, 0, n * RIG_CHUNK, 0).tokens, n * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_mismatches(&r, 0, n * RIG_CHUNK), 0);
	rig_close(&r);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "always", test_always },
		{ "off", test_off },
		{ "idle", test_idle },
		{ "walk", test_walk },
		{ "walk_bounded", test_walk_bounded },
		{ "stopped_while_summing", test_stopped_while_summing },
	};

	return kvf_test_main("scrub", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
