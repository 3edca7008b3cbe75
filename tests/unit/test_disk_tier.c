/* SPDX-License-Identifier: Apache-2.0 */
/* The disk tier on real files, through every way to the kernel: chunks in and out, restarts, bound,
 * eviction, removal. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/support/disk_rig.h"
#include "tests/support/sim_disk.h"

static char dir[3000];

static struct drig_options options(uint64_t slots)
{
	struct drig_options o = {.max_bytes = slots * 8192 + 2 * 4096,
		.segment_bytes = 32 * 8192,
		.grow_bytes = 16 * 8192};

	CU_ASSERT_EQUAL_FATAL(kvf_test_tmpdir(dir, sizeof(dir)), 0);
	o.dirs = dir;
	return o;
}

static void expect_range(struct drig *r, uint32_t first, uint32_t n, uint32_t right, uint32_t miss)
{
	uint32_t count[5];

	drig_get_range(r, first, n, count);
	CU_ASSERT_EQUAL(count[DRIG_RIGHT], right);
	CU_ASSERT_EQUAL(count[DRIG_MISS], miss);
	CU_ASSERT_EQUAL(count[DRIG_WRONG] + count[DRIG_DETECTED] + count[DRIG_FAILED], 0);
}

static const struct {
	uint32_t want;
	const char *name;
} backs[] = {
	{KVF_AIO_WANT_SYNC, "sync"},
	{KVF_AIO_WANT_LIBAIO, "libaio"},
	{KVF_AIO_WANT_URING, "io_uring"},
};

/* Opens with a back end, or says why not: a kernel or filter may deny it. */
static bool open_back(struct drig *r, struct drig_options *o, size_t i)
{
	int rc;

	o->aio = backs[i].want;
	rc = drig_open(r, o);
	if (rc == KVF_ENOTSUP && o->aio != KVF_AIO_WANT_SYNC) {
		fprintf(stderr, "disk: %s cannot be had here\n", backs[i].name);
		return false;
	}
	CU_ASSERT_EQUAL_FATAL(rc, KVF_OK);
	CU_ASSERT_STRING_EQUAL(drig_stats(r).aio, backs[i].name);
	return true;
}

static void test_round_trip(void)
{
	for (size_t i = 0; i < KVF_ARRAY_LEN(backs); i++) {
		struct drig_options o = options(100);
		struct drig r;
		struct kvf_disk_stats s;

		if (!open_back(&r, &o, i))
			continue;
		CU_ASSERT_EQUAL(drig_get(&r, 1), DRIG_MISS);
		CU_ASSERT_EQUAL(drig_put_range(&r, 0, 90), 90);
		expect_range(&r, 0, 100, 90, 10);
		CU_ASSERT_EQUAL(drig_exists(&r, 5), KVF_OK);
		CU_ASSERT_EQUAL(drig_exists(&r, 95), KVF_ENOENT);
		s = drig_stats(&r);
		CU_ASSERT_EQUAL(s.writes, 90);
		CU_ASSERT_EQUAL(s.reads, 90);
		if (o.aio != KVF_AIO_WANT_SYNC)
			CU_ASSERT_EQUAL(s.transfers, 180); /* one I/O a chunk each way */
		/* What is there is not written again. */
		CU_ASSERT_EQUAL(drig_put(&r, 7), KVF_OK);
		CU_ASSERT_EQUAL(drig_stats(&r).writes, 90);
		drig_close(&r);
	}
}

static void test_restart(void)
{
	for (size_t i = 0; i < KVF_ARRAY_LEN(backs); i++) {
		struct drig_options o = options(100);
		struct drig r;

		if (!open_back(&r, &o, i))
			continue;
		CU_ASSERT_EQUAL(drig_put_range(&r, 0, 80), 80);
		drig_close(&r);
		for (int again = 0; again < 3; again++) {
			CU_ASSERT_TRUE_FATAL(open_back(&r, &o, i));
			drig_settle(&r);
			CU_ASSERT_EQUAL(drig_stats(&r).recovered, 80);
			expect_range(&r, 0, 90, 80, 10);
			drig_close(&r);
		}
	}
}

/* A request that comes before anything was read gets a miss, one that is written twice meanwhile
 * stays right. */
static void test_serves_while_scanning(void)
{
	struct drig_options o = options(200);
	struct drig r;

	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, 100), 100);
	drig_close(&r);
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	CU_ASSERT_TRUE(drig_stats(&r).scanning);
	CU_ASSERT_EQUAL(drig_exists(&r, 3), KVF_ENOENT);
	CU_ASSERT_EQUAL(drig_put(&r, 99), KVF_OK);
	/* A remove waits until every header was seen. */
	CU_ASSERT_EQUAL(drig_remove(&r, 42), KVF_OK);
	CU_ASSERT_FALSE(drig_stats(&r).scanning);
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_get(&r, 42), DRIG_MISS);
	expect_range(&r, 0, 100, 99, 1);
	drig_close(&r);
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	expect_range(&r, 0, 100, 99, 1);
	CU_ASSERT_EQUAL(drig_stats(&r).duplicates, 0);
	drig_close(&r);
}

static void test_bound_and_eviction(void)
{
	struct drig_options o = options(64);
	struct drig r;
	uint32_t count[5];

	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	for (uint32_t n = 0; n < 1000; n += 10) {
		CU_ASSERT_EQUAL(drig_put_range(&r, n, 10), 10);
		CU_ASSERT(drig_du(dir) <= o.max_bytes);
	}
	CU_ASSERT(drig_stats(&r).evictions >= 1000 - 64);
	CU_ASSERT(drig_stats(&r).bytes <= o.max_bytes);
	drig_get_range(&r, 1000 - 40, 40, count);
	CU_ASSERT_EQUAL(count[DRIG_RIGHT], 40);
	drig_close(&r);
	/* The bound was lowered: it holds from the first byte on. */
	o.max_bytes = 20 * 8192;
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	CU_ASSERT(drig_du(dir) <= o.max_bytes);
	drig_settle(&r);
	drig_get_range(&r, 0, 1000, count);
	CU_ASSERT(count[DRIG_RIGHT] > 10);
	CU_ASSERT_EQUAL(count[DRIG_WRONG] + count[DRIG_DETECTED], 0);
	CU_ASSERT_EQUAL(drig_put_range(&r, 2000, 50), 50);
	CU_ASSERT(drig_du(dir) <= o.max_bytes);
	drig_close(&r);
}

/* The suffix of a prefix goes before the prefix, also in what a restart found. */
static void suffix_first(bool restart)
{
	struct drig_options o = options(64);
	struct drig r;
	uint32_t n = 0;

	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	for (uint32_t c = 0; drig_stats(&r).evictions == 0; c += 8, n = c)
		CU_ASSERT_EQUAL(drig_put_range(&r, c, 8), 8);
	if (restart) {
		drig_close(&r);
		CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
		drig_settle(&r);
	}
	drig_put_range(&r, 4000, 12);
	for (uint32_t c = 0; c < n; c += 8)
		for (uint32_t i = 1; i < 8; i++)
			if (drig_exists(&r, c + i) == KVF_OK)
				CU_ASSERT_EQUAL(drig_exists(&r, c + i - 1), KVF_OK);
	drig_close(&r);
}

static void test_suffix_first(void)
{
	suffix_first(false);
	suffix_first(true);
}

/* Removed is removed: after the answer no restart brings it back, whatever state the slot was in.
 */
static void test_remove(void)
{
	struct drig_options o = options(64);
	struct drig r;

	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, 60), 60);
	for (uint32_t n = 0; n < 60; n += 2)
		CU_ASSERT_EQUAL(drig_remove(&r, n), KVF_OK);
	CU_ASSERT_EQUAL(drig_remove(&r, 0), KVF_ENOENT);
	CU_ASSERT_EQUAL(drig_stats(&r).wipes, 30);
	/* While its write is on the way, and while it is read. */
	r.n_done = 0;
	CU_ASSERT_TRUE(drig_submit(&r, 1, KVF_REQ_PUT, 100));
	CU_ASSERT_TRUE(drig_submit(&r, 2, KVF_REQ_REMOVE, 100));
	CU_ASSERT_TRUE(drig_submit(&r, 3, KVF_REQ_GET, 1));
	CU_ASSERT_TRUE(drig_submit(&r, 4, KVF_REQ_REMOVE, 1));
	drig_await(&r, 4);
	CU_ASSERT_EQUAL(r.req[2].status, KVF_OK);
	CU_ASSERT_EQUAL(r.req[4].status, KVF_OK);
	CU_ASSERT_EQUAL(drig_judge(&r, 3, 1), DRIG_RIGHT);
	CU_ASSERT_EQUAL(drig_get(&r, 100), DRIG_MISS);
	drig_close(&r);
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_stats(&r).recovered, 29);
	CU_ASSERT_EQUAL(drig_get(&r, 100), DRIG_MISS);
	drig_close(&r);
}

/* A chunk that was evicted, and whose slot is being written to, is removed when that write is over.
 */
static void test_remove_of_evicted(void)
{
	struct drig_options o = options(16);
	bool there[40];
	struct drig r;
	uint32_t evicted = 0;

	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_put_range(&r, 0, 40);
	for (uint32_t n = 0; n < 40; n++)
		there[n] = drig_exists(&r, n) == KVF_OK;
	r.n_done = 0;
	CU_ASSERT_TRUE(drig_submit(&r, 1, KVF_REQ_PUT, 200));
	for (uint32_t n = 0; n < 40; n++) {
		CU_ASSERT_TRUE(drig_submit(&r, 0, KVF_REQ_EXISTS, n));
		if (there[n] && r.req[0].status == KVF_ENOENT)
			evicted = n;
	}
	CU_ASSERT_TRUE(there[evicted]);
	r.n_done = 0;
	CU_ASSERT_TRUE(drig_submit(&r, 2, KVF_REQ_REMOVE, evicted));
	CU_ASSERT_EQUAL(r.n_done, 0); /* not answered before it is true */
	drig_await(&r, 2);
	CU_ASSERT_EQUAL(r.req[1].status, KVF_OK);
	CU_ASSERT_EQUAL(r.req[2].status, KVF_OK);
	drig_close(&r);
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_get(&r, evicted), DRIG_MISS);
	CU_ASSERT_EQUAL(drig_get(&r, 200), DRIG_RIGHT);
	drig_close(&r);
}

/* Whoever reads a chunk when it is removed still gets it whole, in whatever order the disk works.
 */
static void test_remove_while_read(void)
{
	struct drig_options o = options(64);
	struct sim_disk sim;
	struct drig r;

	sim_disk_init(&sim, 3);
	sim.latency = 8;
	o.aio_ops = &sim_aio;
	o.aio_arg = &sim;
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	for (uint32_t n = 0; n < 40; n++) {
		CU_ASSERT_EQUAL(drig_put(&r, n), KVF_OK);
		r.n_done = 0;
		CU_ASSERT_TRUE(drig_submit(&r, 1, KVF_REQ_GET, n));
		CU_ASSERT_TRUE(drig_submit(&r, 2, KVF_REQ_GET, n));
		CU_ASSERT_TRUE(drig_submit(&r, 3, KVF_REQ_REMOVE, n));
		drig_await(&r, 3);
		CU_ASSERT_EQUAL(drig_judge(&r, 1, n), DRIG_RIGHT);
		CU_ASSERT_EQUAL(drig_judge(&r, 2, n), DRIG_RIGHT);
		CU_ASSERT_EQUAL(r.req[3].status, KVF_OK);
		CU_ASSERT_EQUAL(drig_get(&r, n), DRIG_MISS);
	}
	drig_close(&r);
	sim_disk_fini(&sim);
}

static void test_clear(void)
{
	struct drig_options o = options(64);
	struct drig r;

	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_put_range(&r, 0, 60);
	CU_ASSERT_EQUAL(drig_clear(&r), KVF_OK);
	expect_range(&r, 0, 60, 0, 60);
	CU_ASSERT(drig_du(dir) < 8 * 8192);
	CU_ASSERT_EQUAL(drig_put_range(&r, 100, 60), 60);
	expect_range(&r, 100, 60, 60, 0);
	drig_close(&r);
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	/* Also while recovery runs. */
	CU_ASSERT_EQUAL(drig_clear(&r), KVF_OK);
	drig_settle(&r);
	expect_range(&r, 0, 200, 0, 200);
	drig_close(&r);
}

static void test_durable(void)
{
	for (size_t i = 0; i < KVF_ARRAY_LEN(backs); i++) {
		struct drig_options o = options(64);
		struct drig r;

		o.durable = KVF_DISK_DURABLE_EACH;
		if (!open_back(&r, &o, i))
			continue;
		CU_ASSERT_EQUAL(drig_put(&r, 1), KVF_OK);
		CU_ASSERT_EQUAL(drig_stats(&r).syncs, 1);
		CU_ASSERT_EQUAL(drig_put(&r, 1), KVF_OK); /* again: synced, not written */
		CU_ASSERT_EQUAL(drig_stats(&r).syncs, 2);
		CU_ASSERT_EQUAL(drig_stats(&r).writes, 1);
		CU_ASSERT_EQUAL(drig_put_range(&r, 10, 40), 40);
		/* Those that wait together share one. */
		CU_ASSERT(drig_stats(&r).syncs <= 2 + 40);
		CU_ASSERT_EQUAL(drig_remove(&r, 1), KVF_OK);
		drig_close(&r);
		o.durable = KVF_DISK_DURABLE_INTERVAL;
		CU_ASSERT_TRUE_FATAL(open_back(&r, &o, i));
		drig_settle(&r);
		CU_ASSERT_EQUAL(drig_put(&r, 100), KVF_OK);
		CU_ASSERT_EQUAL(drig_stats(&r).syncs, 0);
		r.now_ns += 2 * KVF_NS_PER_S;
		drig_settle(&r);
		CU_ASSERT_EQUAL(drig_stats(&r).syncs, 1);
		drig_close(&r);
	}
}

static void test_second_touch(void)
{
	struct drig_options o = options(64);
	struct drig r;

	o.admission = KVF_DISK_SECOND_TOUCH;
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	CU_ASSERT_EQUAL(drig_put(&r, 1), KVF_EQUOTA);
	CU_ASSERT_EQUAL(drig_get(&r, 1), DRIG_MISS);
	CU_ASSERT_EQUAL(drig_put(&r, 1), KVF_OK);
	CU_ASSERT_EQUAL(drig_get(&r, 1), DRIG_RIGHT);
	CU_ASSERT_EQUAL(drig_stats(&r).refused_admission, 1);
	drig_close(&r);
}

/* Two directories share the bound and the load. */
static void test_two_directories(void)
{
	struct drig_options o = options(64);
	char second[1024], both[4096];
	struct drig r;

	CU_ASSERT_EQUAL_FATAL(kvf_test_tmpdir(second, sizeof(second)), 0);
	snprintf(both, sizeof(both), "%s,%s", dir, second);
	o.dirs = both;
	o.segment_bytes = 8 * 8192;
	o.grow_bytes = 4 * 8192;
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, 100), 100);
	CU_ASSERT(drig_du(dir) > 20 * 8192);
	CU_ASSERT(drig_du(second) > 20 * 8192);
	CU_ASSERT(drig_du(dir) + drig_du(second) <= o.max_bytes);
	expect_range(&r, 80, 20, 20, 0);
	drig_close(&r);
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	expect_range(&r, 80, 20, 20, 0);
	drig_close(&r);
}

/* A large slot goes through in one transfer too; requests can be withdrawn before the kernel has
 * them. */
static void test_cancel(void)
{
	struct drig_options o = options(0);
	struct drig r;
	uint32_t ended = 0;

	o.slot_bytes = 1 << 20;
	o.max_bytes = 40u << 20;
	o.segment_bytes = 16u << 20;
	o.depth = 1;
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, 16), 16);
	r.n_done = 0;
	for (uint32_t i = 0; i < 16; i++)
		CU_ASSERT_TRUE(drig_submit(&r, i, KVF_REQ_GET, i));
	for (uint32_t i = 8; i < 16; i++)
		kvf_disk_ops.cancel(r.disk, &r.req[i]);
	for (uint32_t i = 16; i < 24; i++) {
		CU_ASSERT_TRUE(drig_submit(&r, i, KVF_REQ_PUT, i));
		kvf_disk_ops.cancel(r.disk, &r.req[i]);
	}
	drig_await(&r, 24);
	for (uint32_t i = 0; i < 24; i++)
		ended += r.req[i].status == (i < 8 ? KVF_OK : KVF_ECANCELED);
	CU_ASSERT_EQUAL(ended, 24);
	drig_settle(&r);
	expect_range(&r, 0, 24, 16, 8);
	drig_close(&r);
}

/* Eight at once, of so many bytes. How many system calls one turn takes for them. */
static uint64_t calls_for_eight(size_t back, uint32_t slot_bytes)
{
	struct drig_options o = options(0);
	uint64_t calls;
	struct drig r;

	o.slot_bytes = slot_bytes;
	o.max_bytes = 20ull * slot_bytes;
	o.segment_bytes = o.grow_bytes = 16ull * slot_bytes;
	if (!open_back(&r, &o, back))
		return 0;
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, 8), 8);
	drig_settle(&r);
	r.n_done = 0;
	for (uint32_t i = 0; i < 8; i++)
		CU_ASSERT_TRUE(drig_submit(&r, i, KVF_REQ_GET, i));
	calls = drig_stats(&r).syscalls;
	drig_turn(&r);
	calls = drig_stats(&r).syscalls - calls;
	drig_await(&r, 8);
	for (uint32_t i = 0; i < 8; i++)
		CU_ASSERT_EQUAL(drig_judge(&r, i, i), DRIG_RIGHT);
	drig_close(&r);
	return calls;
}

/* Small transfers share a call, large ones go two at a time, so that the kernel does not merge them. */
static void test_large_ones_apart(void)
{
	for (size_t i = 1; i < KVF_ARRAY_LEN(backs); i++) {
		uint64_t small = calls_for_eight(i, 8192), large = calls_for_eight(i, 512 << 10);

		/* Beside those that hand over, one or two look for what is done. */
		CU_ASSERT(small <= 3);
		CU_ASSERT(!small || (large >= 4 && large <= 6));
	}
}

/* While everything that recovery, or a clear, waits for is in the kernel's hands, nobody has to call: the kernel's
 * descriptor wakes the host. A disk that hangs then costs no CPU. */
static void expect_sleep(struct drig *r, struct sim_disk *sim)
{
	uint64_t n_ops;

	for (int i = 0; i < 20; i++)
		drig_turn(r);
	n_ops = sim->n_ops;
	CU_ASSERT(n_ops > 0);
	for (int i = 0; i < 20; i++) {
		r->now_ns += 1000;
		CU_ASSERT_EQUAL(kvf_disk_ops.progress(r->disk, r->now_ns, KVF_MIB), 0);
		CU_ASSERT(kvf_disk_ops.next_deadline_ns(r->disk) > r->now_ns);
	}
	CU_ASSERT_EQUAL(sim->n_ops, n_ops);
	sim->stalled = false;
	drig_turn(r);
	drig_turn(r);
}

static void test_sleeps_while_the_kernel_works(void)
{
	struct drig_options o = options(64);
	struct sim_disk sim;
	struct drig r;

	sim_disk_init(&sim, 4);
	sim.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	o.aio_ops = &sim_aio;
	o.aio_arg = &sim;
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, 60), 60);
	drig_settle(&r);
	drig_close(&r);
	sim.stalled = true;
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	CU_ASSERT_TRUE(drig_submit(&r, 1, KVF_REQ_REMOVE, 59));
	expect_sleep(&r, &sim);
	drig_await(&r, 1);
	CU_ASSERT_EQUAL(r.req[1].status, KVF_OK);
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_stats(&r).recovered, 60);
	r.n_done = 0;
	sim.stalled = true;
	CU_ASSERT_TRUE(drig_submit(&r, 1, KVF_REQ_GET, 5));
	CU_ASSERT_TRUE(drig_submit(&r, 2, KVF_REQ_CLEAR, 0));
	expect_sleep(&r, &sim);
	drig_await(&r, 2);
	CU_ASSERT_EQUAL(drig_judge(&r, 1, 5), DRIG_RIGHT);
	CU_ASSERT_EQUAL(r.req[2].status, KVF_OK);
	drig_close(&r);
	close(sim.event_fd);
	sim_disk_fini(&sim);
}

/* Neither more transfers nor more bytes than that are in the kernel's hands at any time; one that is
 * larger goes alone. */
static void bounded(uint32_t depth, uint64_t bytes, uint64_t most, uint64_t most_bytes)
{
	struct drig_options o = options(64);
	uint64_t seen = 0, seen_bytes = 0;
	struct sim_disk sim;
	struct drig r;

	sim_disk_init(&sim, 11);
	sim.latency = 20;
	o.aio_ops = &sim_aio;
	o.aio_arg = &sim;
	o.depth = depth;
	o.depth_bytes = bytes;
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_stats(&r).depth, depth);
	CU_ASSERT_EQUAL(drig_stats(&r).depth_bytes, bytes);
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, 40), 40);
	r.n_done = 0;
	for (uint32_t n = 0; n < 40; n++)
		CU_ASSERT_TRUE(drig_submit(&r, n, KVF_REQ_GET, n));
	while (r.n_done < 40) {
		struct kvf_disk_stats s;

		drig_turn(&r);
		s = drig_stats(&r);
		seen = kvf_max_u64(seen, s.in_kernel);
		seen_bytes = kvf_max_u64(seen_bytes, s.in_kernel_bytes);
	}
	CU_ASSERT_EQUAL(seen, most);
	CU_ASSERT_EQUAL(seen_bytes, most_bytes);
	drig_close(&r);
	sim_disk_fini(&sim);
}

static void test_bounds_in_flight(void)
{
	bounded(5, 1 << 20, 5, 5 * 8192);
	bounded(32, 3 * 8192, 3, 3 * 8192);
	bounded(32, 4096, 1, 8192);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"round_trip", test_round_trip},
		{"restart", test_restart},
		{"serves_while_scanning", test_serves_while_scanning},
		{"bound_and_eviction", test_bound_and_eviction},
		{"suffix_first", test_suffix_first},
		{"remove", test_remove},
		{"remove_of_evicted", test_remove_of_evicted},
		{"remove_while_read", test_remove_while_read},
		{"clear", test_clear},
		{"durable", test_durable},
		{"second_touch", test_second_touch},
		{"two_directories", test_two_directories},
		{"cancel", test_cancel},
		{"large_ones_apart", test_large_ones_apart},
		{"sleeps_while_the_kernel_works", test_sleeps_while_the_kernel_works},
		{"bounds_in_flight", test_bounds_in_flight},
	};

	return kvf_test_main("disk_tier", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
