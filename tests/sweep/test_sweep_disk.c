/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The k-th transfer of the disk tier fails, for every k: with an error, full, read-only, short;
 * once, or from there on for a while. Every request ends once, no byte is wrong, what was reported
 * removed stays away, and when the faults are over the tier works as before. The same for the k-th
 * allocation while it opens.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/sim/simmem.h"
#include "tests/support/disk_rig.h"
#include "tests/support/sim_disk.h"

#define SLOT 8192u
#define KEYS 40u

static char dir[1000];
static uint8_t removed[KEYS];

static struct drig_options options(struct sim_disk *sim, uint32_t durable)
{
	return (struct drig_options){.dirs = dir,
		.max_bytes = 24 * SLOT + 3 * 4096,
		.segment_bytes = 16 * SLOT,
		.grow_bytes = 8 * SLOT,
		.durable = durable,
		.aio_ops = &sim_aio,
		.aio_arg = sim};
}

static void judge(struct drig *r)
{
	for (uint32_t k = 0; k < KEYS; k++) {
		enum drig_found f = drig_get(r, k);

		CU_ASSERT_NOT_EQUAL(f, DRIG_WRONG);
		if (removed[k])
			CU_ASSERT_NOT_EQUAL(f, DRIG_RIGHT);
	}
}

static void put(struct drig *r, uint32_t first, uint32_t n)
{
	for (uint32_t k = first; k < first + n; k++)
		removed[k] = 0;
	drig_put_range(r, first, n);
}

static void take_out(struct drig *r, uint32_t k)
{
	if (drig_remove(r, k) == KVF_OK)
		removed[k] = 1;
}

/* Fills it past its bound, reads, removes, opens it again. */
static void script(struct drig *r, const struct drig_options *o)
{
	memset(removed, 0, sizeof(removed));
	CU_ASSERT_EQUAL_FATAL(drig_open(r, o), KVF_OK);
	put(r, 0, 30);
	judge(r);
	for (uint32_t k = 0; k < 30; k += 3)
		take_out(r, k);
	put(r, 30, 10);
	judge(r);
	drig_settle(r);
	drig_close(r);
	CU_ASSERT_EQUAL_FATAL(drig_open(r, o), KVF_OK);
	drig_settle(r);
	judge(r);
	for (uint32_t k = 1; k < 30; k += 5)
		take_out(r, k);
	put(r, 0, 4);
}

static void then_all_is_well(struct drig *r, struct sim_disk *sim)
{
	const char *why = "";

	sim->fail_from = sim->fail_to = 0;
	r->now_ns += 60 * KVF_NS_PER_S; /* past every pause */
	drig_settle(r);
	CU_ASSERT_EQUAL(kvf_disk_verify(r->disk, &why), KVF_OK);
	CU_ASSERT_EQUAL(drig_stats(r).slots_bad, 0);
	judge(r);
	CU_ASSERT_EQUAL(drig_put_range(r, 100, 12), 12);
	for (uint32_t k = 100; k < 112; k++)
		CU_ASSERT_EQUAL(drig_get(r, k), DRIG_RIGHT);
}

static uint64_t count_transfers(uint32_t durable)
{
	struct sim_disk sim;
	struct drig_options o;
	struct drig r;
	uint64_t n;

	CU_ASSERT_EQUAL_FATAL(kvf_test_tmpdir(dir, sizeof(dir)), 0);
	sim_disk_init(&sim, 1);
	o = options(&sim, durable);
	script(&r, &o);
	n = sim.n_started;
	drig_close(&r);
	sim_disk_fini(&sim);
	return n;
}

static void sweep(int error, uint32_t kinds, uint64_t length, uint32_t durable, uint64_t step)
{
	uint64_t n = count_transfers(durable);

	for (uint64_t k = 1; k <= n; k += step) {
		struct sim_disk sim;
		struct drig_options o;
		char command[1100];
		struct drig r;

		sim_disk_init(&sim, k);
		sim.latency = 3;
		sim.fail_from = k;
		sim.fail_to = k + length;
		sim.fail_errno = error;
		sim.fail_kinds = kinds;
		o = options(&sim, durable);
		script(&r, &o);
		then_all_is_well(&r, &sim);
		CU_ASSERT_EQUAL(sim.misaligned, 0);
		drig_close(&r);
		sim_disk_fini(&sim);
		snprintf(command, sizeof(command), "rm -rf '%s'/kvf-*", dir);
		CU_ASSERT_EQUAL(system(command), 0);
	}
}

static void test_eio(void)
{
	sweep(EIO, 0, 0, KVF_DISK_DURABLE_NONE, 1);
	sweep(EIO, 0, 20, KVF_DISK_DURABLE_NONE, 3);
	sweep(EIO, 0, 0, KVF_DISK_DURABLE_EACH, 2);
	sweep(EIO, 1u << KVF_AIO_SYNC, 1000, KVF_DISK_DURABLE_EACH, 10);
}

static void test_full(void)
{
	sweep(ENOSPC, 1u << KVF_AIO_WRITE, 0, KVF_DISK_DURABLE_NONE, 2);
	sweep(ENOSPC, 1u << KVF_AIO_WRITE, 1000, KVF_DISK_DURABLE_NONE, 7);
	sweep(EDQUOT, 1u << KVF_AIO_WRITE, 10, KVF_DISK_DURABLE_NONE, 7);
	sweep(EROFS, 1u << KVF_AIO_WRITE, 1000, KVF_DISK_DURABLE_NONE, 7);
}

static void test_short(void)
{
	sweep(0, 0, 0, KVF_DISK_DURABLE_NONE, 2);
	sweep(0, 0, 10, KVF_DISK_DURABLE_NONE, 5);
}

/* Full or read-only: nothing is taken, but what is there is served, and no request is the device's
 * failure. */
static void test_full_serves_reads(void)
{
	static const int errors[] = {ENOSPC, EDQUOT, EROFS};

	for (size_t i = 0; i < KVF_ARRAY_LEN(errors); i++) {
		struct sim_disk sim;
		struct drig_options o;
		struct drig r;

		CU_ASSERT_EQUAL_FATAL(kvf_test_tmpdir(dir, sizeof(dir)), 0);
		sim_disk_init(&sim, 5);
		o = options(&sim, 0);
		CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
		CU_ASSERT_EQUAL(drig_put_range(&r, 0, 8), 8);
		sim.fail_from = 1;
		sim.fail_to = UINT64_MAX;
		sim.fail_kinds = 1u << KVF_AIO_WRITE;
		sim.fail_errno = errors[i];
		for (uint32_t k = 10; k < 20; k++)
			CU_ASSERT_EQUAL(drig_put(&r, k), KVF_ENOSPC);
		for (uint32_t k = 0; k < 8; k++)
			CU_ASSERT_EQUAL(drig_get(&r, k), DRIG_RIGHT);
		then_all_is_well(&r, &sim);
		drig_close(&r);
		sim_disk_fini(&sim);
	}
}

/* ---- memory ---- */

static void test_memory(void)
{
	struct simmem host;
	struct sim_disk sim;
	struct drig_options o;
	unsigned failed = 0;
	int rc;

	CU_ASSERT_EQUAL_FATAL(kvf_test_tmpdir(dir, sizeof(dir)), 0);
	sim_disk_init(&sim, 1);
	o = options(&sim, 0);
	simmem_init(&host, 1);
	o.allocator = &host.allocator;
	o.admission = KVF_DISK_SECOND_TOUCH;
	do {
		struct drig r;

		host.calls = 0;
		host.fail_at = ++failed;
		rc = drig_open(&r, &o);
		CU_ASSERT(rc == KVF_OK || rc == KVF_ENOMEM);
		if (rc == KVF_OK) {
			/* The next one fails while it works. */
			host.fail_at = host.calls + 1;
			drig_put_range(&r, 0, 4);
			drig_put_range(&r, 0, 4);
			CU_ASSERT_EQUAL(drig_get(&r, 1), DRIG_RIGHT);
			drig_close(&r);
		}
		CU_ASSERT_EQUAL(host.live_blocks, 0);
	} while (rc && failed < 100);
	CU_ASSERT(failed > 3);
	sim_disk_fini(&sim);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"eio", test_eio},
		{"full", test_full},
		{"short", test_short},
		{"full_serves_reads", test_full_serves_reads},
		{"memory", test_memory},
	};

	if (access("/dev/shm", W_OK) == 0)
		setenv("TMPDIR", "/dev/shm", 0);
	return kvf_test_main("sweep_disk", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
