/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the disk tier's files grow where the file system is full for a while: in ever smaller steps to the last slot that
 * goes in, and in steps as large as before when there is room again. The file system's answer is this program's: it
 * has a fallocate() of its own.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/support/disk_rig.h"

#define STEP 256u /* slots */
#define ALL (16u * STEP)

static uint64_t room; /* bytes that a file may have */
static uint32_t calls, refused;
static uint64_t largest, last; /* steps, in bytes */

int fallocate(int fd, int mode, off_t from, off_t len)
{
	calls++;
	largest = kvf_max_u64(largest, (uint64_t)len);
	last = (uint64_t)len;
	if ((uint64_t)(from + len) <= room)
		return (int)syscall(SYS_fallocate, fd, mode, from, len);
	refused++;
	errno = ENOSPC;
	return -1;
}

static void forget(void)
{
	calls = refused = 0;
	largest = last = 0;
}

static void test_room_again(void)
{
	static char dir[1000];
	struct drig_options o = drig_small(dir, sizeof(dir), ALL);
	struct drig r;

	o.segment_bytes = ALL * DRIG_SLOT;
	o.grow_bytes = STEP * DRIG_SLOT;
	room = 4096 + 11 * DRIG_SLOT;
	forget();
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, 40), 40);
	/* To the last slot; those that did not fit took the place of others. */
	CU_ASSERT_EQUAL(drig_stats(&r).slots, 11);
	CU_ASSERT_EQUAL(last, DRIG_SLOT);
	CU_ASSERT(calls < 40);
	/* Still full, some pauses later: a try or two each. */
	for (int i = 0; i < 5; i++) {
		forget();
		r.now_ns += 11 * KVF_NS_PER_S;
		CU_ASSERT_EQUAL(drig_put(&r, 100 + (uint32_t)i), KVF_OK);
		CU_ASSERT(calls > 0 && calls == refused && calls <= 2);
	}
	room = UINT64_MAX;
	forget();
	r.now_ns += 11 * KVF_NS_PER_S;
	CU_ASSERT_EQUAL(drig_put_range(&r, 1000, ALL - 100), ALL - 100);
	CU_ASSERT_EQUAL(drig_stats(&r).refused_full, 0);
	CU_ASSERT_EQUAL(refused, 0);
	CU_ASSERT_EQUAL(largest, STEP * DRIG_SLOT);
	CU_ASSERT(calls <= 2 * ALL / STEP);
	CU_ASSERT_EQUAL(drig_get(&r, 1000), DRIG_RIGHT);
	drig_close(&r);
}

/* Full again, full never: each time it comes down to what fits, and back. */
static void test_full_and_back(void)
{
	static char dir[1000];
	struct drig_options o = drig_small(dir, sizeof(dir), ALL);
	uint32_t at = 0;
	struct drig r;

	o.segment_bytes = ALL * DRIG_SLOT;
	o.grow_bytes = STEP * DRIG_SLOT;
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	for (uint64_t full = 100; full < ALL; full += 700) {
		room = 4096 + full * DRIG_SLOT;
		forget();
		r.now_ns += 11 * KVF_NS_PER_S;
		for (uint32_t i = 0; i < 800; i += 100, at += 100)
			CU_ASSERT_EQUAL(drig_put_range(&r, at, 100), 100);
		CU_ASSERT_EQUAL(drig_stats(&r).slots, full);
		CU_ASSERT(largest <= STEP * DRIG_SLOT);
		CU_ASSERT(calls < 60);
	}
	drig_close(&r);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"room_again", test_room_again},
		{"full_and_back", test_full_and_back},
	};

	return kvf_test_main("disk_grow", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
