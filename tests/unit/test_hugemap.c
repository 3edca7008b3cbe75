/* SPDX-License-Identifier: Apache-2.0 */
/* hugemap.c: what is mapped is there, where it should be, in one piece, and gone when it is given back. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/compiler.h"
#include "cache/hugemap.h"
#include "tests/harness.h"

#define PAGE 4096u

static const uint64_t sizes[] = { PAGE,		  3 * PAGE,		   KVF_HUGE_BYTES - PAGE, KVF_HUGE_BYTES,
				  KVF_HUGE_BYTES + PAGE, 5 * KVF_HUGE_BYTES };

static uint64_t pages_used(void)
{
	unsigned long pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT_EQUAL(fscanf(f, "%lu", &pages), 1);
	fclose(f);
	return pages;
}

/* Flags of the mapping that begins at p, as /proc/self/smaps has them. */
static bool flagged(const void *p, const char *flag)
{
	unsigned long from, to, at = (unsigned long)(uintptr_t)p;
	bool inside = false, found = false;
	char line[512];
	FILE *f = fopen("/proc/self/smaps", "r");

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			inside = from <= at && at < to;
		if (inside && strncmp(line, "VmFlags:", 8) == 0) {
			found = strstr(line, flag) != NULL;
			break;
		}
	}
	fclose(f);
	return found;
}

static void test_there_and_gone(void)
{
	unsigned char in[5 * KVF_HUGE_BYTES / PAGE];

	for (size_t i = 0; i < KVF_ARRAY_LEN(sizes); i++) {
		struct kvf_hugemap_how how = { .numa_node = -1 };
		uint8_t *p = kvf_hugemap_get(sizes[i], &how);
		uint64_t there = 0;

		CU_ASSERT_PTR_NOT_NULL_FATAL(p);
		CU_ASSERT_EQUAL((uintptr_t)p % KVF_HUGE_BYTES, 0);
		CU_ASSERT_EQUAL(how.numa_errno, 0);
		CU_ASSERT_EQUAL_FATAL(mincore(p, sizes[i], in), 0);
		for (uint64_t k = 0; k < sizes[i] / PAGE; k++)
			there += in[k] & 1;
		CU_ASSERT_EQUAL(there, sizes[i] / PAGE); /* no page fault later */
		for (uint64_t k = 0; k < sizes[i]; k += PAGE)
			CU_ASSERT_EQUAL(p[k], 0);
		memset(p, 7, sizes[i]);
		CU_ASSERT_TRUE(flagged(p, " dc"));
		kvf_hugemap_put(p, sizes[i]);
		CU_ASSERT_NOT_EQUAL(mincore(p, PAGE, in), 0);
		CU_ASSERT_NOT_EQUAL(mincore(p + sizes[i] - PAGE, PAGE, in), 0);
	}
	kvf_hugemap_put(NULL, PAGE);
}

/* Nothing of what was mapped to find an aligned place is left over. */
static void test_no_more_than_asked_for(void)
{
	for (size_t i = 0; i < KVF_ARRAY_LEN(sizes); i++) {
		uint64_t before = pages_used();
		uint8_t *p[16];

		for (int k = 0; k < 16; k++) {
			struct kvf_hugemap_how how = { .numa_node = -1 };

			p[k] = kvf_hugemap_get(sizes[i], &how);
			CU_ASSERT_PTR_NOT_NULL_FATAL(p[k]);
		}
		CU_ASSERT(pages_used() - before <= 16 * sizes[i] / PAGE + 64);
		for (int k = 0; k < 16; k++)
			kvf_hugemap_put(p[k], sizes[i]);
		CU_ASSERT(pages_used() <= before + 64);
	}
}

/* Huge pages are asked for where one fits. */
static void test_huge(void)
{
	struct kvf_hugemap_how how = { .numa_node = -1 };
	uint8_t *p = kvf_hugemap_get(4 * KVF_HUGE_BYTES, &how);

	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	if (!flagged(p, " hg")) {
		kvf_hugemap_put(p, 4 * KVF_HUGE_BYTES);
		kvf_test_skip("this kernel has no transparent huge pages");
		return;
	}
	kvf_hugemap_put(p, 4 * KVF_HUGE_BYTES);
	p = kvf_hugemap_get(KVF_HUGE_BYTES, &how);
	CU_ASSERT_TRUE(flagged(p, " hg"));
	kvf_hugemap_put(p, KVF_HUGE_BYTES);
	p = kvf_hugemap_get(KVF_HUGE_BYTES - PAGE, &how);
	CU_ASSERT_FALSE(flagged(p, " hg"));
	kvf_hugemap_put(p, KVF_HUGE_BYTES - PAGE);
}

/* The node that was asked for is preferred; one that there cannot be is an error, and memory is had all the same. */
static void test_node(void)
{
	struct kvf_hugemap_how how = { .numa_node = 0 };
	unsigned long mask[16] = { 0 };
	int mode = -1;
	uint8_t *p = kvf_hugemap_get(PAGE, &how);

	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	if (!how.numa_errno && !syscall(SYS_get_mempolicy, &mode, mask, 1024ul, p, 2ul /* of the address */)) {
		CU_ASSERT_EQUAL(mode & 0xff, 1); /* preferred */
		CU_ASSERT_EQUAL(mask[0], 1);
	}
	kvf_hugemap_put(p, PAGE);
	for (int node = 1023; node <= 1025; node++) {
		how.numa_node = node;
		p = kvf_hugemap_get(PAGE, &how);
		CU_ASSERT_PTR_NOT_NULL_FATAL(p);
		CU_ASSERT_NOT_EQUAL(how.numa_errno, 0);
		kvf_hugemap_put(p, PAGE);
	}
	how.numa_node = -1;
	p = kvf_hugemap_get(PAGE, &how);
	CU_ASSERT_EQUAL(how.numa_errno, 0);
	mode = -1;
	if (!syscall(SYS_get_mempolicy, &mode, NULL, 0ul, p, 2ul))
		CU_ASSERT_EQUAL(mode, 0);
	kvf_hugemap_put(p, PAGE);
}

/* What the kernel says in test_populate(): `error` so many times, then yes. */
static struct {
	int error, times, calls;
} kernel;

static int advise(void *p, size_t bytes, int advice)
{
	(void)p;
	(void)bytes;
	(void)advice;
	kernel.calls++;
	if (kernel.calls > kernel.times)
		return 0;
	errno = kernel.error;
	return -1;
}

/* Asked again when it was interrupted, some times; then, and where it does not know the call, every page is written to;
 * no memory is no memory. */
static void test_populate(void)
{
	static const struct {
		int error, times;
		int rc, calls;
		bool written;
	} as[] = {
		{ 0, 0, 0, 1, false },		 { EINTR, 3, 0, 4, false },	  { EAGAIN, 15, 0, 16, false },
		{ EINTR, 16, 0, 16, true },	 { EAGAIN, 1000, 0, 16, true },	  { EINVAL, 1, 0, 1, true },
		{ ENOMEM, 1, ENOMEM, 1, false }, { EFAULT, 1, EFAULT, 1, false },
	};
	static uint8_t pages[4 * PAGE];

	for (size_t i = 0; i < KVF_ARRAY_LEN(as); i++) {
		memset(pages, 9, sizeof(pages));
		kernel.error = as[i].error;
		kernel.times = as[i].times;
		kernel.calls = 0;
		errno = 0;
		CU_ASSERT_EQUAL(kvf_hugemap_populate(pages, 3 * PAGE, advise), as[i].rc);
		CU_ASSERT_EQUAL(kernel.calls, as[i].calls);
		for (uint32_t k = 0; k < 4; k++) {
			CU_ASSERT_EQUAL(pages[k * PAGE], as[i].written && k < 3 ? 0 : 9);
			CU_ASSERT_EQUAL(pages[k * PAGE + 1], 9);
		}
	}
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "there_and_gone", test_there_and_gone },
		{ "no_more_than_asked_for", test_no_more_than_asked_for },
		{ "huge", test_huge },
		{ "node", test_node },
		{ "populate", test_populate },
	};

	return kvf_test_main("hugemap", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
