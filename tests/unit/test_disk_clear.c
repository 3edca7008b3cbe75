/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clearing the disk tier: a bounded step a turn; killed at any of them it leaves whole chunks or none; over only when
 * every file is synced; where it fails, what is left is found again.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/support/disk_rig.h"
#include "tests/support/sim_disk.h"

#define CHUNKS 60u
#define FILES 15u
#define STEP (4 * KVF_MIB)

static char dir[1000];

/* Many small files. */
static struct drig_options options(void)
{
	struct drig_options o = drig_small(dir, sizeof(dir), CHUNKS);

	o.segment_bytes = o.grow_bytes = 4 * DRIG_SLOT;
	o.max_bytes += (FILES - 1) * 4096;
	return o;
}

static uint64_t size_of(const struct drig_options *o, uint32_t i)
{
	char path[4096];
	struct stat st;

	drig_segment(o, i, path, sizeof(path));
	return stat(path, &st) ? 0 : (uint64_t)st.st_size;
}

static uint32_t cut_files(const struct drig_options *o)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < FILES; i++)
		n += size_of(o, i) == 4096;
	return n;
}

/* ---- steps ---- */

static void test_a_file_a_turn(void)
{
	struct drig_options o = options();
	uint32_t before = 0, now;
	struct drig r;

	drig_fill(&o, CHUNKS);
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_stats(&r).segments, FILES);
	CU_ASSERT_TRUE(drig_submit(&r, 0, KVF_REQ_CLEAR, 0));
	while (r.n_done == 0) {
		drig_turn(&r);
		now = cut_files(&o);
		CU_ASSERT(now <= before + 1);
		/* There is nothing any more, and nothing is taken. */
		if (!r.n_done) {
			CU_ASSERT(kvf_disk_ops.next_deadline_ns(r.disk) <= r.now_ns);
			CU_ASSERT_FALSE(drig_submit(&r, 1, KVF_REQ_PUT, 100));
			CU_ASSERT_FALSE(drig_submit(&r, 1, KVF_REQ_REMOVE, 3));
			CU_ASSERT_FALSE(drig_submit(&r, 1, KVF_REQ_CLEAR, 0));
		}
		before = now;
	}
	CU_ASSERT_EQUAL(r.req[0].status, KVF_OK);
	CU_ASSERT_EQUAL(before, FILES);
	CU_ASSERT_EQUAL(drig_exists(&r, 3), KVF_ENOENT);
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, CHUNKS), CHUNKS);
	CU_ASSERT_EQUAL(drig_get(&r, 3), DRIG_RIGHT);
	drig_close(&r);
}

/* A large file takes many turns. */
static void test_a_large_file(void)
{
	struct drig_options o = options();
	uint64_t before, now, turns = 0;
	struct drig r;

	o.slot_bytes = 1 << 20;
	o.segment_bytes = o.grow_bytes = 18 * KVF_MIB;
	o.max_bytes = 20 * KVF_MIB;
	drig_fill(&o, 1);
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	before = size_of(&o, 0);
	CU_ASSERT(before > 2 * STEP);
	CU_ASSERT_TRUE(drig_submit(&r, 0, KVF_REQ_CLEAR, 0));
	while (r.n_done == 0) {
		drig_turn(&r);
		now = size_of(&o, 0);
		CU_ASSERT(before - now <= STEP);
		turns += now != before;
		before = now;
	}
	CU_ASSERT_EQUAL(before, 4096);
	CU_ASSERT_EQUAL(turns, 5);
	drig_close(&r);
}

/* ---- killed on the way ---- */

static void copy_to(const char *other)
{
	char command[2200];

	snprintf(command, sizeof(command), "rm -rf '%s' && cp -a '%s' '%s'", other, dir, other);
	CU_ASSERT_EQUAL_FATAL(system(command), 0);
}

/* How many chunks whoever opens it then finds. */
static uint32_t found_in(const struct drig_options *o, const char *other)
{
	struct drig_options of = *o;
	uint32_t count[5];
	struct drig r;

	of.dirs = other;
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &of), KVF_OK);
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_stats(&r).damaged, 0);
	drig_get_range(&r, 0, CHUNKS, count);
	CU_ASSERT_EQUAL(count[DRIG_RIGHT] + count[DRIG_MISS], CHUNKS);
	CU_ASSERT(drig_du(other) <= of.max_bytes);
	CU_ASSERT_EQUAL(drig_put_range(&r, 1000, CHUNKS), CHUNKS);
	drig_close(&r);
	return count[DRIG_RIGHT];
}

static void test_killed_on_the_way(void)
{
	struct drig_options o = options();
	uint32_t before = CHUNKS, now, partly = 0;
	char other[1100];
	struct drig r;

	snprintf(other, sizeof(other), "%s.killed", dir);
	drig_fill(&o, CHUNKS);
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	CU_ASSERT_TRUE(drig_submit(&r, 0, KVF_REQ_CLEAR, 0));
	while (r.n_done == 0) {
		drig_turn(&r);
		copy_to(other);
		now = found_in(&o, other);
		CU_ASSERT(now <= before);
		partly += now && now < CHUNKS;
		before = now;
	}
	CU_ASSERT_EQUAL(before, 0);
	CU_ASSERT_EQUAL(partly, FILES - 1);
	drig_close(&r);
	copy_to(other);
	CU_ASSERT_EQUAL(found_in(&o, other), 0);
	{
		char command[1200];

		snprintf(command, sizeof(command), "rm -rf '%s'", other);
		CU_ASSERT_EQUAL(system(command), 0);
	}
}

/* ---- synced ---- */

static struct drig_options simulated(struct sim_disk *sim, uint32_t durable)
{
	struct drig_options o = options();

	sim_disk_init(sim, 7);
	sim->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	o.durable = durable;
	o.aio_ops = &sim_aio;
	o.aio_arg = sim;
	return o;
}

static uint32_t syncs_under_way(const struct sim_disk *sim)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < SIM_OPS; i++)
		n += sim->op[i].op && sim->op[i].op->kind == KVF_AIO_SYNC;
	return n;
}

/* Whatever `durable` says: it is not over before every file is synced, behind its cut. Nobody is kept awake by that. */
static void over_when_synced(uint32_t durable)
{
	struct sim_disk sim;
	struct drig_options o = simulated(&sim, durable);
	struct drig r;

	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, CHUNKS), CHUNKS);
	r.n_done = 0;
	sim.stalled = true;
	CU_ASSERT_TRUE(drig_submit(&r, 0, KVF_REQ_CLEAR, 0));
	r.now_ns += 2 * KVF_NS_PER_S; /* durable: interval would sync now */
	for (int i = 0; i < 100; i++) {
		drig_turn(&r);
		CU_ASSERT(!syncs_under_way(&sim) || cut_files(&o) == FILES);
	}
	CU_ASSERT_EQUAL(syncs_under_way(&sim), FILES);
	CU_ASSERT_EQUAL(r.n_done, 0);
	CU_ASSERT(kvf_disk_ops.next_deadline_ns(r.disk) > r.now_ns);
	sim.stalled = false;
	drig_await(&r, 1);
	CU_ASSERT_EQUAL(r.req[0].status, KVF_OK);
	CU_ASSERT_EQUAL(drig_put_range(&r, 100, CHUNKS), CHUNKS);
	drig_close(&r);
	close(sim.event_fd);
	sim_disk_fini(&sim);
}

static void test_over_when_synced(void)
{
	over_when_synced(KVF_DISK_DURABLE_NONE);
	over_when_synced(KVF_DISK_DURABLE_INTERVAL);
	over_when_synced(KVF_DISK_DURABLE_EACH);
}

/* ---- where it fails ---- */

static void test_sync_fails(void)
{
	struct sim_disk sim;
	struct drig_options o = simulated(&sim, KVF_DISK_DURABLE_NONE);
	struct drig r;

	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, CHUNKS), CHUNKS);
	sim.fail_from = 1;
	sim.fail_to = sim.n_started + 1;
	sim.fail_errno = EIO;
	CU_ASSERT_EQUAL(drig_clear(&r), KVF_EIO);
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_clear(&r), KVF_OK);
	CU_ASSERT_EQUAL(drig_put_range(&r, 100, CHUNKS), CHUNKS);
	drig_close(&r);
	close(sim.event_fd);
	sim_disk_fini(&sim);
}

/* The engine's descriptor of a file can be read only from now on; returns what it was. */
static int spoil(const char *path, int *fd)
{
	DIR *list = opendir("/proc/self/fd");
	const struct dirent *e;
	int was = -1, plain;

	CU_ASSERT_PTR_NOT_NULL_FATAL(list);
	*fd = -1;
	while ((e = readdir(list))) {
		char target[4096];
		ssize_t n = readlinkat(dirfd(list), e->d_name, target, sizeof(target) - 1);

		target[n > 0 ? n : 0] = 0;
		if (strcmp(target, path) == 0)
			*fd = atoi(e->d_name);
	}
	closedir(list);
	CU_ASSERT_FATAL(*fd >= 0);
	was = fcntl(*fd, F_DUPFD_CLOEXEC, 0);
	plain = open(path, O_RDONLY | O_CLOEXEC);
	CU_ASSERT_FATAL(plain >= 0 && dup2(plain, *fd) == *fd);
	close(plain);
	return was;
}

/* A file that cannot be cut keeps its chunks, and they are served again; the others' are gone. */
static void test_cut_fails(void)
{
	struct drig_options o = options();
	char path[4096];
	uint32_t count[5];
	struct drig r;
	int fd, was;

	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, CHUNKS), CHUNKS);
	drig_segment(&o, 5, path, sizeof(path));
	was = spoil(path, &fd);
	CU_ASSERT_EQUAL(drig_clear(&r), KVF_EIO);
	CU_ASSERT_EQUAL(dup2(was, fd), fd);
	close(was);
	drig_settle(&r);
	drig_get_range(&r, 0, CHUNKS, count);
	CU_ASSERT_EQUAL(count[DRIG_RIGHT], 4);
	CU_ASSERT_EQUAL(count[DRIG_MISS], CHUNKS - 4);
	CU_ASSERT_EQUAL(drig_put_range(&r, 100, CHUNKS - 4), CHUNKS - 4);
	CU_ASSERT_EQUAL(drig_clear(&r), KVF_OK);
	drig_get_range(&r, 0, 200, count);
	CU_ASSERT_EQUAL(count[DRIG_MISS], 200);
	drig_close(&r);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"a_file_a_turn", test_a_file_a_turn},
		{"a_large_file", test_a_large_file},
		{"killed_on_the_way", test_killed_on_the_way},
		{"over_when_synced", test_over_when_synced},
		{"sync_fails", test_sync_fails},
		{"cut_fails", test_cut_fails},
	};

	return kvf_test_main("disk_clear", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
