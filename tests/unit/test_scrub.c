/* SPDX-License-Identifier: Apache-2.0 */
/* kvf_scrub: a byte that changes in RAM is found before it reaches the device (always), or in passing (idle). */
#include "engine/engine.h"
#include "tests/harness.h"
#include "tests/rig.h"

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
	rig_wipe(&r);
	c = rig_retrieve(&r, 0, 4 * RIG_CHUNK, 0);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(c.tokens, 2 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_mismatches(&r, 0, 2 * RIG_CHUNK), 0);
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

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "always", test_always },
		{ "off", test_off },
		{ "idle", test_idle },
	};

	return kvf_test_main("scrub", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
