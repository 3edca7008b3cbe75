/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Removed is removed, where a key is on disk more than once: twice on its way, in a slot that could not be
 * overwritten, half written, older beside newer after a restart. What the answer promises is looked up in the bytes
 * themselves.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"
#include "tests/support/disk_rig.h"
#include "tests/support/sim_disk.h"

#define SLOT 8192u
#define KEY 3u /* the chunk that it is about */

struct stage {
	struct sim_disk sim;
	struct drig_options o;
	struct drig r;
};

static char dir[1000];

static void begin(struct stage *s, uint64_t seed, uint32_t latency)
{
	char command[1100];

	memset(s, 0, sizeof(*s));
	if (!dir[0])
		CU_ASSERT_EQUAL_FATAL(kvf_test_tmpdir(dir, sizeof(dir)), 0);
	snprintf(command, sizeof(command), "rm -rf '%s'/kvf-*", dir);
	CU_ASSERT_EQUAL(system(command), 0);
	sim_disk_init(&s->sim, seed);
	s->sim.latency = latency;
	s->o = (struct drig_options){.dirs = dir,
		.max_bytes = 64 * SLOT + 2 * 4096,
		.segment_bytes = 64 * SLOT,
		.grow_bytes = 32 * SLOT,
		.aio_ops = &sim_aio,
		.aio_arg = &s->sim};
	CU_ASSERT_EQUAL_FATAL(drig_open(&s->r, &s->o), KVF_OK);
	drig_settle(&s->r);
	/* Takes slot 0, so that there are others. */
	CU_ASSERT_EQUAL(drig_put(&s->r, 100), KVF_OK);
}

static void reopen(struct stage *s)
{
	drig_close(&s->r);
	CU_ASSERT_EQUAL_FATAL(drig_open(&s->r, &s->o), KVF_OK);
}

static void end(struct stage *s)
{
	CU_ASSERT_EQUAL(s->sim.overlaps, 0);
	drig_close(&s->r);
	sim_disk_fini(&s->sim);
}

/* In how many slots of the disk a header with the chunk's key stands. */
static uint32_t headers_of(struct stage *s, uint32_t n)
{
	const struct sim_file *file = &s->sim.file[0];
	uint8_t key[KVF_KEY_BYTES];
	uint32_t found = 0;

	drig_key(key, n);
	for (uint64_t at = 4096; at + SLOT <= file->size; at += SLOT)
		found += memcmp(file->bytes + at, "KVFCHNK1", 8) == 0 &&
			 memcmp(file->bytes + at + 16, key, sizeof(key)) == 0;
	return found;
}

/* The same chunk is written twice at once, as it is when the first put was given up in the kernel's hands. */
static void test_two_puts(void)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		static struct stage s;

		begin(&s, seed, 6);
		s.r.n_done = 0;
		CU_ASSERT_TRUE(drig_submit(&s.r, 1, KVF_REQ_PUT, KEY));
		CU_ASSERT_TRUE(drig_submit(&s.r, 2, KVF_REQ_PUT, KEY));
		if (seed % 2)
			drig_turn(&s.r);
		CU_ASSERT_TRUE(drig_submit(&s.r, 3, KVF_REQ_REMOVE, KEY));
		CU_ASSERT_TRUE(drig_submit(&s.r, 4, KVF_REQ_PUT, KEY + 1));
		for (int i = 0; i < 1000 && s.r.req[3].completed != 2; i++)
			drig_turn(&s.r);
		CU_ASSERT_EQUAL(s.r.req[3].status, KVF_OK);
		CU_ASSERT_EQUAL(headers_of(&s, KEY), 0);
		drig_await(&s.r, 4);
		CU_ASSERT_EQUAL(drig_get(&s.r, KEY), DRIG_MISS);
		CU_ASSERT_EQUAL(drig_get(&s.r, KEY + 1), DRIG_RIGHT);
		end(&s);
	}
}

/* Put again after the remove was asked for: the new one lives, the old one does not. */
static void test_put_behind_remove(void)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		static struct stage s;

		begin(&s, seed, 6);
		CU_ASSERT_EQUAL(drig_put(&s.r, KEY), KVF_OK);
		s.r.n_done = 0;
		CU_ASSERT_TRUE(drig_submit(&s.r, 1, KVF_REQ_REMOVE, KEY));
		CU_ASSERT_TRUE(drig_submit(&s.r, 2, KVF_REQ_PUT, KEY));
		drig_await(&s.r, 2);
		CU_ASSERT_EQUAL(s.r.req[1].status, KVF_OK);
		CU_ASSERT_EQUAL(s.r.req[2].status, KVF_OK);
		CU_ASSERT_EQUAL(drig_get(&s.r, KEY), DRIG_RIGHT);
		CU_ASSERT_EQUAL(headers_of(&s, KEY), 1);
		end(&s);
	}
}

/* A put failed, though its bytes are there, and its slot could not be overwritten either; a second put went well. The
 * remove may not say that the chunk is gone before both are. */
static uint32_t bad_slot(uint64_t seed)
{
	static struct stage s;
	uint32_t twice;

	begin(&s, seed, 0);
	s.sim.fail_from = 1;
	s.sim.fail_to = UINT64_MAX;
	s.sim.fail_errno = EIO;
	s.sim.fail_kinds = 1u << KVF_AIO_WRITE;
	s.sim.fail_lands = 1; /* the put; its overwriting does a part or nothing */
	CU_ASSERT_EQUAL(drig_put(&s.r, KEY), KVF_EIO);
	while (!drig_stats(&s.r).slots_bad)
		drig_turn(&s.r);
	s.sim.fail_from = s.sim.fail_to = 0;
	CU_ASSERT_EQUAL(drig_put(&s.r, KEY), KVF_OK);
	twice = headers_of(&s, KEY) == 2;
	CU_ASSERT_EQUAL(drig_remove(&s.r, KEY), KVF_EIO);
	CU_ASSERT_EQUAL(drig_remove(&s.r, KEY), KVF_EIO);
	s.r.now_ns += 20 * KVF_NS_PER_S;
	drig_settle(&s.r);
	CU_ASSERT_EQUAL(drig_stats(&s.r).slots_bad, 0);
	CU_ASSERT_EQUAL(drig_remove(&s.r, KEY), KVF_ENOENT);
	CU_ASSERT_EQUAL(headers_of(&s, KEY), 0);
	end(&s);
	return twice;
}

static void test_bad_slot(void)
{
	uint32_t twice = 0;

	for (uint64_t seed = 1; seed <= 10; seed++)
		twice += bad_slot(seed);
	CU_ASSERT(twice > 0);
}

/* Recovery finds an older copy beside the newer one and overwrites it; a remove waits for that as well. */
static void test_older_copy(void)
{
	for (uint64_t seed = 1; seed <= 30; seed++) {
		static struct stage s;
		uint8_t *bytes;

		begin(&s, seed, 0);
		CU_ASSERT_EQUAL(drig_put_range(&s.r, 0, 12), 12);
		/* Over the second half of them. */
		bytes = s.sim.file[0].bytes + 4096;
		for (uint32_t i = 0; i < 6; i++)
			memcpy(bytes + (7 + i) * SLOT, bytes + (1 + i) * SLOT, SLOT);
		reopen(&s);
		s.sim.latency = 40;
		s.r.n_done = 0;
		CU_ASSERT_TRUE(drig_submit(&s.r, 1, KVF_REQ_REMOVE, KEY));
		drig_await(&s.r, 1);
		CU_ASSERT_EQUAL(s.r.req[1].status, KVF_OK);
		CU_ASSERT_EQUAL(headers_of(&s, KEY), 0);
		drig_settle(&s.r);
		CU_ASSERT_EQUAL(drig_stats(&s.r).duplicates, 6);
		CU_ASSERT_EQUAL(headers_of(&s, KEY + 1), 1);
		end(&s);
	}
}

/* With durable: each an overwritten header is synced before its slot is free, also where nobody asked for it: a power
 * cut would bring it back under a remove that found nothing to do any more. */
static void test_wipes_are_synced(void)
{
	static struct stage s;
	uint32_t wipes = 0;

	begin(&s, 3, 0);
	s.o.durable = KVF_DISK_DURABLE_EACH;
	reopen(&s);
	CU_ASSERT_EQUAL(drig_put_range(&s.r, 0, 4), 4);
	s.sim.file[0].bytes[4096 + (1 + KEY) * SLOT + 20] ^= 1;
	s.sim.logging = true;
	CU_ASSERT_EQUAL(drig_get(&s.r, KEY), DRIG_DETECTED);
	drig_settle(&s.r);
	CU_ASSERT_EQUAL(drig_remove(&s.r, KEY), KVF_ENOENT);
	for (uint32_t i = 0; i < s.sim.n_log; i++)
		wipes += s.sim.log[i].bytes == 4096 && s.sim.log[i].synced != SIM_NEVER;
	CU_ASSERT_EQUAL(s.sim.n_log, 1);
	CU_ASSERT_EQUAL(wipes, 1);
	end(&s);
}

/* With durable: interval nobody comes after close to sync what was written just before. */
static void test_close_syncs(void)
{
	static struct stage s;
	uint32_t unsynced = 0;

	begin(&s, 5, 4);
	s.o.durable = KVF_DISK_DURABLE_INTERVAL;
	reopen(&s);
	drig_settle(&s.r);
	s.sim.logging = true;
	CU_ASSERT_EQUAL(drig_put_range(&s.r, 0, 4), 4);
	reopen(&s);
	for (uint32_t i = 0; i < s.sim.n_log; i++)
		unsynced += s.sim.log[i].synced == SIM_NEVER;
	CU_ASSERT_EQUAL(s.sim.n_log, 4);
	CU_ASSERT_EQUAL(unsynced, 0);
	end(&s);
}

/* A put that is taken back after the kernel has written a part of it leaves no header behind. */
static void test_cancel_half_way(void)
{
	uint32_t half = 0;

	for (uint64_t seed = 1; seed <= 20; seed++) {
		static struct stage s;

		begin(&s, seed, 3);
		s.r.n_done = 0;
		s.sim.n_started = 0;
		s.sim.fail_from = 1;
		s.sim.fail_to = UINT64_MAX;
		s.sim.fail_errno = 0;
		CU_ASSERT_TRUE(drig_submit(&s.r, 1, KVF_REQ_PUT, KEY));
		for (int i = 0; i < 20 && !s.sim.n_started; i++)
			drig_turn(&s.r);
		half += !s.sim.n_ops && s.r.req[1].completed != 2;
		s.sim.fail_from = s.sim.fail_to = 0;
		kvf_disk_ops.cancel(s.r.disk, &s.r.req[1]);
		drig_await(&s.r, 1);
		drig_settle(&s.r);
		CU_ASSERT_EQUAL(headers_of(&s, KEY), s.r.req[1].status == KVF_OK);
		CU_ASSERT_EQUAL(drig_remove(&s.r, KEY), s.r.req[1].status == KVF_OK ? KVF_OK : KVF_ENOENT);
		CU_ASSERT_EQUAL(headers_of(&s, KEY), 0);
		end(&s);
	}
	CU_ASSERT(half > 0);
}

/* Reads without end, more than the depth takes: recovery ends and a put gets down all the same. */
static void test_reads_without_end(void)
{
	static struct stage s;
	bool put = false;

	begin(&s, 6, 0);
	CU_ASSERT_EQUAL(drig_put_range(&s.r, 0, 20), 20);
	s.o.depth = 1;
	reopen(&s);
	while (!drig_stats(&s.r).recovered)
		drig_turn(&s.r);
	s.r.req[9].completed = 0;
	for (uint32_t turn = 0; turn < 2000 && s.r.req[9].completed != 2; turn++) {
		for (uint32_t i = 0; i < 4; i++)
			if (s.r.req[i].completed != 1)
				CU_ASSERT_TRUE(drig_submit(&s.r, i, KVF_REQ_GET, 100));
		put = put || drig_submit(&s.r, 9, KVF_REQ_PUT, 50);
		drig_turn(&s.r);
	}
	CU_ASSERT_EQUAL(s.r.req[9].completed, 2);
	CU_ASSERT_EQUAL(s.r.req[9].status, KVF_OK);
	drig_settle(&s.r);
	CU_ASSERT_EQUAL(drig_stats(&s.r).recovered, 21);
	end(&s);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"two_puts", test_two_puts},
		{"put_behind_remove", test_put_behind_remove},
		{"bad_slot", test_bad_slot},
		{"older_copy", test_older_copy},
		{"wipes_are_synced", test_wipes_are_synced},
		{"close_syncs", test_close_syncs},
		{"cancel_half_way", test_cancel_half_way},
		{"reads_without_end", test_reads_without_end},
	};

	return kvf_test_main("disk_remove", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
