/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices whose blocks have 4096 bytes: every transfer of the disk tier keeps to them, with its offset, its length and
 * its memory, also where it goes on after one that came short. What a device asks for is this program's answer: it has
 * a statx() of its own.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/support/disk_rig.h"
#include "tests/support/sim_disk.h"

#define SLOT 16384u /* so that half of a transfer is not always a block */
#define CHUNKS 40u

static char dir[1000];

/* ---- what the device asks for ---- */

#ifdef STATX_DIOALIGN
static uint32_t offset_align, mem_align;
static unsigned asked;

int statx(int fd, const char *restrict path, int flags, unsigned mask, struct statx *restrict sx)
{
	int rc = (int)syscall(SYS_statx, fd, path, flags, mask, sx);

	if (rc || !(mask & STATX_DIOALIGN))
		return rc;
	asked++;
	sx->stx_mask |= STATX_DIOALIGN;
	sx->stx_dio_offset_align = offset_align;
	sx->stx_dio_mem_align = mem_align;
	return 0;
}

/* Opens, stores and reads with a device that asks for this; was it past the page cache? */
static bool direct_with(uint32_t offset, uint32_t mem)
{
	struct drig_options o = drig_small(dir, sizeof(dir), CHUNKS);
	struct drig r;
	bool direct;

	offset_align = offset;
	mem_align = mem;
	o.aio = KVF_AIO_WANT_AUTO;
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_put(&r, 1), KVF_OK);
	CU_ASSERT_EQUAL(drig_get(&r, 1), DRIG_RIGHT);
	direct = drig_stats(&r).direct;
	/* The page cache is no place for transfers in flight: the call would wait. */
	if (!direct)
		CU_ASSERT_STRING_EQUAL(drig_stats(&r).aio, "sync");
	drig_close(&r);
	return direct;
}

/* Some file systems take no O_DIRECT at all. */
static bool direct_here(void)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static void test_as_coarse_as_a_page(void)
{
	static const struct {
		uint32_t offset, mem;
		bool direct;
	} cases[] = {{512, 4, true}, {512, 512, true}, {4096, 512, true}, {4096, 4096, true}, {8192, 512, false},
		{512, 8192, false}, {0, 0, false}};

	for (size_t i = 0; i < KVF_ARRAY_LEN(cases); i++) {
		bool direct;

		asked = 0;
		direct = direct_with(cases[i].offset, cases[i].mem);
		CU_ASSERT_EQUAL(direct, cases[i].direct && direct_here());
		if (direct_here())
			CU_ASSERT_EQUAL(asked, 1);
	}
}
#endif

/* ---- what the tier does ---- */

static void judge(struct drig *r, uint32_t first, uint32_t n, uint32_t right)
{
	uint32_t count[5];

	drig_get_range(r, first, n, count);
	CU_ASSERT_EQUAL(count[DRIG_RIGHT], right);
	CU_ASSERT_EQUAL(count[DRIG_MISS], n - right);
}

/* Stores past the bound, reads, removes, clears, each also by whoever opens it again. */
static void all_of_it(struct sim_disk *sim, uint32_t durable)
{
	struct drig_options o = drig_small(dir, sizeof(dir), CHUNKS);
	struct drig r;

	o.slot_bytes = SLOT;
	o.max_bytes = CHUNKS * SLOT + 4 * 4096;
	o.segment_bytes = CHUNKS / 2 * SLOT;
	o.durable = durable;
	o.aio_ops = &sim_aio;
	o.aio_arg = sim;
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, CHUNKS), CHUNKS);
	judge(&r, 0, CHUNKS, CHUNKS);
	for (uint32_t n = 0; n < 8; n++)
		CU_ASSERT_EQUAL(drig_remove(&r, n), KVF_OK);
	drig_close(&r);
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_stats(&r).recovered, CHUNKS - 8);
	judge(&r, 0, CHUNKS, CHUNKS - 8);
	CU_ASSERT_EQUAL(drig_put_range(&r, 100, CHUNKS), CHUNKS);
	CU_ASSERT(drig_stats(&r).evictions > 0);
	CU_ASSERT_EQUAL(drig_clear(&r), KVF_OK);
	judge(&r, 0, CHUNKS, 0);
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, 9), 9);
	drig_close(&r);
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	judge(&r, 0, CHUNKS, 9);
	drig_close(&r);
}

static void test_every_transfer(void)
{
	static const uint32_t durable[] = {KVF_DISK_DURABLE_NONE, KVF_DISK_DURABLE_EACH};

	for (size_t i = 0; i < KVF_ARRAY_LEN(durable); i++) {
		struct sim_disk sim;

		sim_disk_init(&sim, 5);
		sim.latency = 4;
		CU_ASSERT_EQUAL(sim.align, 4096);
		all_of_it(&sim, durable[i]);
		CU_ASSERT(sim.n_started > 4 * CHUNKS);
		CU_ASSERT_EQUAL(sim.misaligned, 0);
		sim_disk_fini(&sim);
	}
}

/* The next transfer ends in the middle of a block. */
static void cut_next(struct sim_disk *sim)
{
	sim->fail_from = sim->fail_to = sim->n_started + 1;
}

static void test_what_came_short(void)
{
	struct drig_options o = drig_small(dir, sizeof(dir), CHUNKS);
	struct sim_disk sim;
	struct drig r;

	sim_disk_init(&sim, 6);
	o.slot_bytes = SLOT;
	o.max_bytes = CHUNKS * SLOT + 4 * 4096;
	o.aio_ops = &sim_aio;
	o.aio_arg = &sim;
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	for (uint32_t n = 0; n < CHUNKS / 2; n++) {
		cut_next(&sim);
		CU_ASSERT_EQUAL(drig_put(&r, n), KVF_OK);
		cut_next(&sim);
		CU_ASSERT_EQUAL(drig_get(&r, n), DRIG_RIGHT);
	}
	CU_ASSERT_EQUAL(sim.n_started, 4 * (CHUNKS / 2));
	CU_ASSERT_EQUAL(sim.misaligned, 0);
	drig_close(&r);
	sim_disk_fini(&sim);
}

/* ---- the counter itself ---- */

static unsigned ended;

static void end(struct kvf_aio_op *op, int result)
{
	(void)op;
	CU_ASSERT_EQUAL(result, 0);
	ended++;
}

/* Writes so many bytes from there, and reads them back: how often was that out of line? */
static uint64_t counted(uint32_t align, uint64_t offset, uint8_t *memory, size_t first, size_t second)
{
	static const uint8_t kinds[] = {KVF_AIO_WRITE, KVF_AIO_READ, KVF_AIO_SYNC};
	struct sim_disk sim;
	struct kvf_mem mem;
	struct kvf_aio aio;
	uint64_t n;

	kvf_mem_init(&mem, NULL);
	sim_disk_init(&sim, 7);
	sim.align = align;
	kvf_aio_init(&aio, &mem, 4, KVF_MIB);
	CU_ASSERT_EQUAL_FATAL(kvf_aio_start(&aio, &sim_aio, &sim), 0);
	ended = 0;
	for (size_t i = 0; i < KVF_ARRAY_LEN(kinds); i++) {
		struct kvf_aio_op op = {.kind = kinds[i],
			.klass = KVF_AIO_NORMAL,
			.offset = offset,
			.iov = {{memory, first}, {memory + first, second}},
			.n_iov = second ? 2 : 1,
			.complete = end};

		kvf_aio_queue(&aio, &op);
		CU_ASSERT_TRUE(kvf_aio_drain(&aio));
	}
	CU_ASSERT_EQUAL(ended, 3);
	n = sim.misaligned;
	kvf_aio_fini(&aio);
	sim_disk_fini(&sim);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
	return n;
}

static void test_the_counter(void)
{
	void *memory = NULL;
	uint8_t *p;

	CU_ASSERT_EQUAL_FATAL(posix_memalign(&memory, 4096, 4 * 4096), 0);
	p = memset(memory, 1, 4 * 4096);
	CU_ASSERT_EQUAL(counted(4096, 8192, p, 4096, 8192), 0);
	CU_ASSERT_EQUAL(counted(4096, 8192 + 512, p, 4096, 8192), 2);
	CU_ASSERT_EQUAL(counted(4096, 8192, p + 512, 4096, 0), 2);
	CU_ASSERT_EQUAL(counted(4096, 8192, p, 512, 0), 2);
	CU_ASSERT_EQUAL(counted(4096, 8192, p, 4096, 512), 2);
	CU_ASSERT_EQUAL(counted(512, 8192 + 512, p + 512, 4096, 512), 0);
	CU_ASSERT_EQUAL(counted(512, 8192 + 256, p, 4096, 0), 2);
	free(memory);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
#ifdef STATX_DIOALIGN
		{"as_coarse_as_a_page", test_as_coarse_as_a_page},
#endif
		{"every_transfer", test_every_transfer},
		{"what_came_short", test_what_came_short},
		{"the_counter", test_the_counter},
	};

	return kvf_test_main("disk_align", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
