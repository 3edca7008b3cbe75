/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slots whose header could not be overwritten: found by either key that may still stand in them, tried again all of
 * them but few at a time, forgotten when that went well.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/support/disk_rig.h"
#include "tests/support/sim_disk.h"
#include "tier/disk/index.h"

#define SLOTS 512u
#define KEYS 60u
#define CHUNKS 200u

/* ---- the chains, against a model ---- */

static uint64_t state;

static uint32_t random_below(uint32_t n)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(state >> 33) % n;
}

/* Few keys: many slots share one, and a slot has one of them twice. None is all zeros. */
static void name(uint8_t key[KVF_DISK_KEY], uint32_t n)
{
	n++;
	memset(key, 0, KVF_DISK_KEY);
	memcpy(key + 3, &n, sizeof(n));
}

static bool model_has(const struct kvf_disk_index *ix, const bool *bad, uint32_t n)
{
	uint8_t key[KVF_DISK_KEY];

	name(key, n);
	for (uint32_t i = 0; i < SLOTS; i++)
		if (bad[i] && (!memcmp(ix->slot[i].key, key, sizeof(key)) ||
				      !memcmp(ix->slot[i].parent, key, sizeof(key))))
			return true;
	return false;
}

static void test_chains(void)
{
	static struct kvf_disk_index ix;
	static bool bad[SLOTS];
	uint32_t n_bad = 0, taken = 0;
	struct kvf_mem mem;

	kvf_mem_init(&mem, NULL);
	state = 11;
	memset(bad, 0, sizeof(bad));
	CU_ASSERT_EQUAL_FATAL(kvf_disk_index_init(&ix, &mem, SLOTS), KVF_OK);
	CU_ASSERT_EQUAL(kvf_disk_bad_take(&ix), KVF_NIL);
	for (uint32_t step = 0; step < 20000; step++) {
		uint32_t slot = random_below(SLOTS), n = random_below(KEYS);
		uint8_t key[KVF_DISK_KEY];
		const char *why;

		/* It grows to a full house, and empties again. */
		if (random_below(100) < (step / 4000 % 2 ? 30 : 70)) {
			if (bad[slot])
				continue;
			name(ix.slot[slot].key, n);
			name(ix.slot[slot].parent, random_below(3) ? random_below(KEYS) : n);
			kvf_disk_bad_add(&ix, slot);
			bad[slot] = true;
			n_bad++;
		} else {
			slot = kvf_disk_bad_take(&ix);
			CU_ASSERT_EQUAL(slot == KVF_NIL, n_bad == 0);
			if (slot == KVF_NIL)
				continue;
			CU_ASSERT_TRUE_FATAL(bad[slot]);
			bad[slot] = false;
			ix.slot[slot].state = KVF_DISK_UNKNOWN;
			n_bad--;
			taken++;
		}
		n = random_below(KEYS);
		name(key, n);
		CU_ASSERT_EQUAL(kvf_disk_bad_has(&ix, key), model_has(&ix, bad, n));
		CU_ASSERT_EQUAL(ix.n_bad, n_bad);
		if (step % 100 == 0)
			CU_ASSERT_EQUAL(kvf_disk_index_verify(&ix, &why), KVF_OK);
	}
	CU_ASSERT(taken > 1000);
	kvf_disk_index_fini(&ix);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
}

/* Whoever comes back goes to the end: all get their turn. */
static void test_turns(void)
{
	static struct kvf_disk_index ix;
	static uint32_t seen[SLOTS];
	struct kvf_mem mem;

	kvf_mem_init(&mem, NULL);
	memset(seen, 0, sizeof(seen));
	CU_ASSERT_EQUAL_FATAL(kvf_disk_index_init(&ix, &mem, SLOTS), KVF_OK);
	for (uint32_t i = 0; i < SLOTS; i++) {
		name(ix.slot[i].key, i % 4);
		name(ix.slot[i].parent, i % 4);
		kvf_disk_bad_add(&ix, i);
	}
	for (uint32_t i = 0; i < SLOTS; i++) {
		uint32_t slot = kvf_disk_bad_take(&ix);

		seen[slot]++;
		kvf_disk_bad_add(&ix, slot);
	}
	for (uint32_t i = 0; i < SLOTS; i++)
		CU_ASSERT_EQUAL(seen[i], 1);
	kvf_disk_index_fini(&ix);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
}

/* ---- in the tier ---- */

/* More bad slots than the tier has transfers: one round tries them all, some at a time, and leaves the others to
 * whoever comes. */
static void test_one_round(void)
{
	static char dir[1000];
	struct drig_options o = drig_small(dir, sizeof(dir), CHUNKS + 8);
	struct sim_disk sim;
	uint64_t began;
	struct drig r;

	sim_disk_init(&sim, 3);
	sim.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	o.aio_ops = &sim_aio;
	o.aio_arg = &sim;
	o.depth = SIM_OPS;
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, CHUNKS), CHUNKS);
	drig_settle(&r);
	sim.fail_from = 1;
	sim.fail_to = UINT64_MAX;
	sim.fail_errno = EIO;
	sim.fail_kinds = 1u << KVF_AIO_WRITE;
	for (uint32_t n = 0; n < CHUNKS; n++)
		CU_ASSERT_EQUAL(drig_remove(&r, n), KVF_EIO);
	CU_ASSERT_EQUAL(drig_stats(&r).slots_bad, CHUNKS);
	CU_ASSERT_EQUAL(drig_remove(&r, 7), KVF_EIO);
	CU_ASSERT_EQUAL(drig_remove(&r, CHUNKS), KVF_ENOENT);
	/* A round in which all fail again is one round, and then there is a pause. */
	r.now_ns += 11 * KVF_NS_PER_S;
	began = sim.n_started;
	drig_settle(&r);
	CU_ASSERT_EQUAL(sim.n_started - began, CHUNKS);
	CU_ASSERT_EQUAL(drig_stats(&r).slots_bad, CHUNKS);
	sim.fail_from = sim.fail_to = 0;
	sim.stalled = true;
	r.now_ns += 11 * KVF_NS_PER_S;
	for (int i = 0; i < 10; i++)
		drig_turn(&r);
	CU_ASSERT(sim.n_ops > 0 && sim.n_ops <= 16);
	/* Nobody is kept awake by those that have to wait. */
	CU_ASSERT(kvf_disk_ops.next_deadline_ns(r.disk) > r.now_ns);
	sim.stalled = false;
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_stats(&r).slots_bad, 0);
	CU_ASSERT_EQUAL(drig_remove(&r, 7), KVF_ENOENT);
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, CHUNKS), CHUNKS);
	drig_close(&r);
	close(sim.event_fd);
	sim_disk_fini(&sim);
}

/* What recovery can neither read nor overwrite may be any chunk: no remove is answered OK before it is overwritten. */
static void test_unknown(void)
{
	static char dir[1000];
	struct drig_options o = drig_small(dir, sizeof(dir), 32);
	struct sim_disk sim;
	struct drig r;

	sim_disk_init(&sim, 5);
	sim.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	o.aio_ops = &sim_aio;
	o.aio_arg = &sim;
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, 4), 4);
	drig_close(&r);
	sim.fail_from = sim.n_started + 1;
	sim.fail_to = UINT64_MAX;
	sim.fail_errno = EIO;
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	CU_ASSERT(drig_stats(&r).slots_bad >= 4);
	CU_ASSERT_EQUAL(drig_remove(&r, 2), KVF_EIO);
	CU_ASSERT_EQUAL(drig_exists(&r, 2), KVF_ENOENT);
	/* While it is overwritten a remove waits for that. */
	sim.fail_from = sim.fail_to = 0;
	sim.stalled = true;
	r.now_ns += 11 * KVF_NS_PER_S;
	drig_turn(&r);
	r.n_done = 0;
	CU_ASSERT_TRUE(drig_submit(&r, 0, KVF_REQ_REMOVE, 2));
	drig_turn(&r);
	CU_ASSERT_EQUAL(r.n_done, 0);
	sim.stalled = false;
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_stats(&r).slots_bad, 0);
	CU_ASSERT_EQUAL(r.n_done, 1);
	CU_ASSERT_EQUAL(r.req[0].status, KVF_OK);
	CU_ASSERT_EQUAL(drig_remove(&r, 2), KVF_ENOENT);
	drig_close(&r);
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_exists(&r, 2), KVF_ENOENT);
	drig_close(&r);
	close(sim.event_fd);
	sim_disk_fini(&sim);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"chains", test_chains},
		{"turns", test_turns},
		{"one_round", test_one_round},
		{"unknown", test_unknown},
	};

	return kvf_test_main("disk_bad", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
