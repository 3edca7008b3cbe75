/* SPDX-License-Identifier: Apache-2.0 */
/* memcheck.c: limits of made-up machines. */
#include "tests/harness.h"
#include "tests/support/files.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/pool.h"

static char root[256];
static char text[8192];
static struct kvf_report report;

static void file(const char *path, const char *contents)
{
	file_write_below(root, path, contents);
}

static void number(const char *path, uint64_t value)
{
	char contents[32];

	snprintf(contents, sizeof(contents), "%" PRIu64 "\n", value);
	file(path, contents);
}

static void machine(void)
{
	CU_ASSERT_EQUAL_FATAL(kvf_test_tmpdir(root, sizeof(root)), 0);
	file("/proc/meminfo", "MemTotal:       67108864 kB\nMemFree: 1 kB\nMemAvailable:   33554432 kB\n");
}

static int check(uint64_t bytes, uint64_t reserve)
{
	kvf_report_init(&report, text, sizeof(text));
	return kvf_pool_check_memory(root, bytes, reserve, false, &report);
}

static int check_huge(uint64_t bytes)
{
	kvf_report_init(&report, text, sizeof(text));
	return kvf_pool_check_memory(root, bytes, 5 * KVF_GIB, true, &report);
}

static bool says(const char *what)
{
	return strstr(text, what) != NULL;
}

/* The largest amount that is allowed is `room`, to the byte. */
static void bound(uint64_t room, uint64_t reserve)
{
	CU_ASSERT_EQUAL(check(room - reserve, reserve), KVF_OK);
	CU_ASSERT_EQUAL(report.errors, 0);
	CU_ASSERT_EQUAL(check(room - reserve + 1, reserve), KVF_ENOMEM);
	CU_ASSERT_EQUAL(report.errors, 1);
}

static void test_mem_available(void)
{
	machine();
	bound(32 * KVF_GIB, 0);
	bound(32 * KVF_GIB, KVF_GIB);
	CU_ASSERT_EQUAL(check(1, 33 * KVF_GIB), KVF_ENOMEM);
	CU_ASSERT_EQUAL(check(UINT64_MAX, UINT64_MAX), KVF_ENOMEM);
	CU_ASSERT(says("MemAvailable"));
	CU_ASSERT(!says("max_local_cpu_size")); /* nothing would fit */
	CU_ASSERT_EQUAL(check(40 * KVF_GIB, KVF_GIB), KVF_ENOMEM);
	CU_ASSERT(says("max_local_cpu_size to at most 30.99")); /* rounded down */
}

static void test_nothing_known(void)
{
	CU_ASSERT_EQUAL_FATAL(kvf_test_tmpdir(root, sizeof(root)), 0);
	CU_ASSERT_EQUAL(check((uint64_t)1 << 50, 0), KVF_OK);
	file("/proc/meminfo", "MemAvailable\n");
	file("/proc/self/cgroup", "garbage\n:\n0:\n\n");
	file("/proc/self/mountinfo", "garbage - \n - - -\n");
	CU_ASSERT_EQUAL(check((uint64_t)1 << 50, 0), KVF_OK);
}

static void test_v2_every_ancestor(void)
{
	static const char *const level[] = { "/a/b/c", "/a/b", "/a" };

	for (size_t i = 0; i < KVF_ARRAY_LEN(level); i++) {
		char path[256];

		machine();
		file("/proc/self/cgroup", "0::/a/b/c\n");
		file("/proc/self/mountinfo", "25 20 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n");
		file("/sys/fs/cgroup/a/b/c/memory.max", "max\n");
		file("/sys/fs/cgroup/a/b/memory.max", "max\n");
		snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.max", level[i]);
		number(path, 4 * KVF_GIB);
		bound(4 * KVF_GIB, 0);
		snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.current", level[i]);
		number(path, 3 * KVF_GIB);
		bound(KVF_GIB, KVF_MIB);
		CU_ASSERT(says("memory.max"));
		CU_ASSERT(says("4294967296"));
		CU_ASSERT(says("3221225472"));
		CU_ASSERT(says(level[i]));
		snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.stat", level[i]);
		file(path, "anon 5\nfile 99\ninactive_file 1073741824\nactive_file 1073741824\n");
		bound(2 * KVF_GIB + KVF_GIB / 2, 0);
		/* The group is over its limit. */
		snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.current", level[i]);
		number(path, 30 * KVF_GIB);
		CU_ASSERT_EQUAL(check(1, 0), KVF_ENOMEM);
		/* Two limits of one group, two complaints. */
		snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.high", level[i]);
		number(path, 2 * KVF_GIB);
		CU_ASSERT_EQUAL(check(1, 0), KVF_ENOMEM);
		CU_ASSERT_EQUAL(report.errors, 2);
		CU_ASSERT(says("memory.high"));
	}
}

static void test_v2_high_alone(void)
{
	machine();
	file("/proc/self/cgroup", "0::/\n");
	file("/proc/self/mountinfo", "25 20 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
	file("/sys/fs/cgroup/memory.max", "max\n");
	number("/sys/fs/cgroup/memory.high", KVF_GIB);
	bound(KVF_GIB, 0);
}

static void test_v1(void)
{
	machine();
	file("/proc/self/cgroup", "9:name=systemd:/x\n8:cpu,memory,pids:/job/7\n0::/\n");
	file("/proc/self/mountinfo", "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
				     "35 31 0:32 / /cg/mem rw,relatime - cgroup cgroup rw,cpu,memory,pids\n");
	file("/cg/mem/memory.limit_in_bytes", "9223372036854771712\n");
	number("/cg/mem/job/memory.limit_in_bytes", 8 * KVF_GIB);
	bound(8 * KVF_GIB, 0);
	number("/cg/mem/job/7/memory.limit_in_bytes", 512 * KVF_MIB);
	number("/cg/mem/job/7/memory.usage_in_bytes", 100 * KVF_MIB);
	bound(412 * KVF_MIB, 0);
	file("/cg/mem/job/7/memory.stat", "inactive_file 7\ntotal_inactive_file 10485760\ntotal_active_file 2\n");
	bound(422 * KVF_MIB + 1, 0);
	CU_ASSERT(says("memory.limit_in_bytes"));
	CU_ASSERT(says("/job/7"));
	/* 5 GB in 512 MiB. */
	CU_ASSERT_EQUAL(check(5000000000u, 0), KVF_ENOMEM);
}

static void test_no_mountinfo(void)
{
	machine();
	file("/proc/self/cgroup", "4:memory:/a\n");
	number("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", KVF_GIB);
	bound(KVF_GIB, 0);
	file("/proc/self/cgroup", "0::/b\n");
	number("/sys/fs/cgroup/b/memory.max", 2 * KVF_GIB);
	bound(2 * KVF_GIB, 0);
}

/* A container without a cgroup namespace sees the host's path, and its own group mounted as the root. */
static void test_container(void)
{
	machine();
	file("/proc/self/cgroup", "4:memory:/docker/0123/sub\n");
	file("/proc/self/mountinfo", "35 31 0:32 /docker/0123 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
	number("/sys/fs/cgroup/memory/memory.limit_in_bytes", KVF_GIB);
	bound(KVF_GIB, 0);
	number("/sys/fs/cgroup/memory/sub/memory.limit_in_bytes", KVF_MIB);
	bound(KVF_MIB, 0);
	/* Moved elsewhere after the mount. */
	file("/proc/self/cgroup", "4:memory:/docker/0123456\n");
	bound(KVF_GIB, 0);
	file("/proc/self/cgroup", "4:memory:/../../elsewhere\n");
	bound(KVF_GIB, 0);
	/* A directory that is not there: what is above it still counts. */
	file("/proc/self/cgroup", "4:memory:/docker/0123/gone/gone\n");
	bound(KVF_GIB, 0);
}

static void test_long_lines(void)
{
	char line[5000];

	machine();
	memset(line, 'x', sizeof(line));
	strcpy(line + sizeof(line) - 64, "\n25 20 0:22 / /cg rw - cgroup2 cgroup2 rw\n");
	file("/proc/self/mountinfo", line);
	file("/proc/self/cgroup", "0::/a\n");
	number("/cg/a/memory.max", KVF_GIB);
	bound(KVF_GIB, 0);
	memset(line, 'y', sizeof(line));
	memcpy(line, "0::/", 4);
	line[sizeof(line) - 1] = '\0';
	file("/proc/self/cgroup", line); /* too long to look at: no limit, no crash */
	number("/cg/memory.max", KVF_GIB);
	(void)check(2 * KVF_GIB, 0);
}

static void test_hugetlb(void)
{
	const char *dir = "/sys/kernel/mm/hugepages/hugepages-2048kB";
	char path[256];

	machine();
	CU_ASSERT_EQUAL(check_huge(1), KVF_ENOMEM);
	CU_ASSERT(says("vm.nr_hugepages"));
	snprintf(path, sizeof(path), "%s/free_hugepages", dir);
	number(path, 1024);
	CU_ASSERT_EQUAL(check_huge(2 * KVF_GIB), KVF_OK);
	CU_ASSERT_EQUAL(check_huge(2 * KVF_GIB + 1), KVF_ENOMEM);
	snprintf(path, sizeof(path), "%s/resv_hugepages", dir);
	number(path, 512);
	CU_ASSERT_EQUAL(check_huge(KVF_GIB), KVF_OK);
	CU_ASSERT_EQUAL(check_huge(KVF_GIB + 1), KVF_ENOMEM);
	snprintf(path, sizeof(path), "%s/nr_overcommit_hugepages", dir);
	number(path, 512);
	CU_ASSERT_EQUAL(check_huge(2 * KVF_GIB), KVF_OK);
	CU_ASSERT_EQUAL(check_huge(2 * KVF_GIB + 1), KVF_ENOMEM);
	/* Pages that are made on demand come from common memory. */
	file("/proc/meminfo", "MemAvailable: 5242879 kB\n");
	CU_ASSERT_EQUAL(check_huge(KVF_GIB + 1), KVF_ENOMEM);
	CU_ASSERT(says("MemAvailable"));
	CU_ASSERT_EQUAL(check_huge(KVF_GIB), KVF_OK);
	/* A hugetlb limit of the cgroup; its memory limit does not count. */
	file("/proc/self/cgroup", "0::/a\n");
	file("/proc/self/mountinfo", "25 20 0:22 / /cg rw - cgroup2 cgroup2 rw\n");
	number("/cg/a/memory.max", 1);
	CU_ASSERT_EQUAL(check_huge(KVF_GIB), KVF_OK);
	number("/cg/a/hugetlb.2MB.max", 512 * KVF_MIB);
	number("/cg/a/hugetlb.2MB.current", KVF_MIB);
	CU_ASSERT_EQUAL(check_huge(511 * KVF_MIB), KVF_OK);
	CU_ASSERT_EQUAL(check_huge(511 * KVF_MIB + 1), KVF_ENOMEM);
}

/* Numbers beyond what bytes can be counted in are as good as no limit, and not as good as none. */
static void test_hugetlb_beyond(void)
{
	static const uint64_t pages[] = { (uint64_t)1 << 41, (uint64_t)1 << 43, ((uint64_t)1 << 43) + 1, UINT64_MAX };
	const char *dir = "/sys/kernel/mm/hugepages/hugepages-2048kB";
	char path[256];

	for (size_t i = 0; i < KVF_ARRAY_LEN(pages); i++) {
		machine();
		file("/proc/meminfo", "MemAvailable: 1 kB\n");
		snprintf(path, sizeof(path), "%s/free_hugepages", dir);
		number(path, pages[i]);
		snprintf(path, sizeof(path), "%s/nr_overcommit_hugepages", dir);
		number(path, UINT64_MAX);
		CU_ASSERT_EQUAL(check_huge(64 * KVF_GIB), KVF_OK);
		CU_ASSERT_EQUAL(report.errors, 0);
		/* None is free, any number may be made: the machine's memory decides. */
		snprintf(path, sizeof(path), "%s/free_hugepages", dir);
		number(path, 0);
		CU_ASSERT_EQUAL(check_huge(KVF_GIB), KVF_ENOMEM);
		CU_ASSERT(says("MemAvailable"));
		CU_ASSERT_EQUAL(report.errors, 1);
		file("/proc/meminfo", "MemAvailable: 100000000 kB\n");
		CU_ASSERT_EQUAL(check_huge(KVF_GIB), KVF_OK);
		/* More are in use as surplus than may be made. */
		snprintf(path, sizeof(path), "%s/surplus_hugepages", dir);
		number(path, UINT64_MAX);
		CU_ASSERT_EQUAL(check_huge(1), KVF_ENOMEM);
		CU_ASSERT(says("hugetlb"));
	}
}

/* Nothing may be made beyond what is there: common memory has no say, and one complaint is enough. */
static void test_hugetlb_no_more(void)
{
	const char *dir = "/sys/kernel/mm/hugepages/hugepages-2048kB";
	char path[256];

	machine();
	file("/proc/meminfo", "MemAvailable: 1 kB\n");
	snprintf(path, sizeof(path), "%s/free_hugepages", dir);
	number(path, 10);
	snprintf(path, sizeof(path), "%s/nr_overcommit_hugepages", dir);
	number(path, 5);
	snprintf(path, sizeof(path), "%s/surplus_hugepages", dir);
	number(path, 5);
	CU_ASSERT_EQUAL(check_huge(20 * KVF_MIB), KVF_OK);
	CU_ASSERT_EQUAL(check_huge(20 * KVF_MIB + 1), KVF_ENOMEM);
	CU_ASSERT_EQUAL(report.errors, 1);
	CU_ASSERT(!says("MemAvailable"));
}

/* Version 1's hugetlb controller, and both versions where nothing says what is mounted. */
static void test_hugetlb_groups(void)
{
	char path[256];

	machine();
	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
	number(path, 10000);
	file("/proc/self/cgroup", "3:hugetlb:/a\n0::/b\n");
	number("/sys/fs/cgroup/hugetlb/a/hugetlb.2MB.limit_in_bytes", 100 * KVF_MIB);
	number("/sys/fs/cgroup/hugetlb/a/hugetlb.2MB.usage_in_bytes", 10 * KVF_MIB);
	CU_ASSERT_EQUAL(check_huge(90 * KVF_MIB), KVF_OK);
	CU_ASSERT_EQUAL(check_huge(90 * KVF_MIB + 1), KVF_ENOMEM);
	number("/sys/fs/cgroup/unified/b/hugetlb.2MB.max", 50 * KVF_MIB);
	CU_ASSERT_EQUAL(check_huge(50 * KVF_MIB), KVF_OK);
	CU_ASSERT_EQUAL(check_huge(50 * KVF_MIB + 1), KVF_ENOMEM);
	CU_ASSERT_EQUAL(report.errors, 1);
	number("/sys/fs/cgroup/b/hugetlb.2MB.max", 40 * KVF_MIB);
	CU_ASSERT_EQUAL(check_huge(40 * KVF_MIB + 1), KVF_ENOMEM);
}

/* Limits that are there and not ours: of a hierarchy that we are in by no line of /proc/self/cgroup, of a controller
 * whose name is part of another's, of a group beside ours. */
static void test_not_ours(void)
{
	machine();
	number("/sys/fs/cgroup/memory.max", 1);
	number("/sys/fs/cgroup/memory/memory.limit_in_bytes", 1);
	CU_ASSERT_EQUAL(check(KVF_GIB, 0), KVF_OK); /* no line at all */
	file("/proc/self/cgroup", "4:mem:/a\n5:memory2,xmemory:/a\n6:cpu,memor:/a\n");
	CU_ASSERT_EQUAL(check(KVF_GIB, 0), KVF_OK);
	file("/proc/self/cgroup", "4:cpu:/a\n5:pids,memory:/a\n");
	CU_ASSERT_EQUAL(check(KVF_GIB, 0), KVF_ENOMEM);
	CU_ASSERT_EQUAL(report.errors, 1);
	machine();
	file("/proc/self/cgroup", "0::/a\n");
	file("/proc/self/mountinfo", "25 20 0:22 / /cg rw - cgroup2 cgroup2 rw\n");
	number("/cg/ab/memory.max", 1);
	number("/cg/b/memory.max", 1);
	number("/cg/a/sub/memory.max", 1);
	CU_ASSERT_EQUAL(check(KVF_GIB, 0), KVF_OK);
	file("/cg/a/memory.max", "no number\n");
	CU_ASSERT_EQUAL(check(KVF_GIB, 0), KVF_OK);
	file("/cg/a/memory.max", "");
	CU_ASSERT_EQUAL(check(KVF_GIB, 0), KVF_OK);
	file("/cg/a/memory.max", "0\n");
	CU_ASSERT_EQUAL(check(1, 0), KVF_ENOMEM);
	file("/cg/a/memory.max", "9\n");
	CU_ASSERT_EQUAL(check(9, 0), KVF_OK);
	CU_ASSERT_EQUAL(check(10, 0), KVF_ENOMEM);
	/* From 2^62 on it is no limit. */
	machine();
	file("/proc/meminfo", "");
	file("/proc/self/cgroup", "0::/a\n");
	file("/proc/self/mountinfo", "25 20 0:22 / /cg rw - cgroup2 cgroup2 rw\n");
	number("/cg/a/memory.max", (uint64_t)1 << 62);
	CU_ASSERT_EQUAL(check(UINT64_MAX, 0), KVF_OK);
	number("/cg/a/memory.max", ((uint64_t)1 << 62) - 1);
	CU_ASSERT_EQUAL(check((uint64_t)1 << 62, 0), KVF_ENOMEM);
	CU_ASSERT_EQUAL(check(((uint64_t)1 << 62) - 1, 0), KVF_OK);
	/* More page cache than is in use at all counts as what is in use. */
	number("/cg/a/memory.max", KVF_GIB);
	number("/cg/a/memory.current", KVF_MIB);
	file("/cg/a/memory.stat", "inactive_file 99999999\nactive_file 99999999\n");
	bound(KVF_GIB, 0);
	/* MemAvailable in kB that no number of bytes holds. */
	machine();
	file("/proc/meminfo", "MemAvailable: 4503599627370496 kB\n"); /* 2^52 */
	CU_ASSERT_EQUAL(check((uint64_t)1 << 62, 0), KVF_OK);
	CU_ASSERT_EQUAL(check(((uint64_t)1 << 62) + 1, 0), KVF_ENOMEM);
	file("/proc/meminfo", "MemAvailable: 4503599627370497 kB\n");
	CU_ASSERT_EQUAL(check(UINT64_MAX, 0), KVF_OK);
}

/* A path of as many bytes as there is room for is read; one that is longer is none, and not the one that it begins
 * with. */
static void test_path_lengths(void)
{
	char dir[1024], path[1100];

	for (size_t extra = 0; extra < 2; extra++) {
		size_t n;

		machine();
		/* root + "/cg" + dir + "/memory.max" has 1023 bytes, or one more. */
		n = 1023 + extra - strlen(root) - strlen("/cg") - strlen("/memory.max");
		for (size_t i = 0; i < n; i++)
			dir[i] = i % 200 == 0 && i + 1 < n ? '/' : 'd';
		dir[n] = '\0';
		file("/proc/self/mountinfo", "25 20 0:22 / /cg rw - cgroup2 cgroup2 rw\n");
		snprintf(path, sizeof(path), "0::%s\n", dir);
		file("/proc/self/cgroup", path);
		snprintf(path, sizeof(path), "/cg%s/memory.max", dir);
		number(path, 1);
		path[strlen(path) - 1] = '\0';
		number(path, 1);
		CU_ASSERT_EQUAL(check(KVF_GIB, 0), extra ? KVF_OK : KVF_ENOMEM);
	}
}

/* So is a line: of 1,023 bytes all are looked at, of more only those. */
static void test_line_lengths(void)
{
	for (size_t extra = 0; extra < 2; extra++) {
		char line[1100] = "35 31 0:32 / /cg/mem rw - cgroup cgroup rw,";
		size_t at = strlen(line), n = 1023 + extra;

		machine();
		file("/proc/self/cgroup", "4:memory:/\n");
		memset(line + at, 'x', n - at);
		snprintf(line + n - 7, 9, ",memory\n");
		file("/proc/self/mountinfo", line);
		number("/cg/mem/memory.limit_in_bytes", 1);
		CU_ASSERT_EQUAL(check(KVF_GIB, 0), extra ? KVF_OK : KVF_ENOMEM);
	}
}

static void test_this_machine(void)
{
	CU_ASSERT_EQUAL(kvf_pool_check_memory("", 1, 0, false, NULL), KVF_OK);
	CU_ASSERT_EQUAL(kvf_pool_check_memory("", (uint64_t)1 << 50, 0, false, NULL), KVF_ENOMEM);
	CU_ASSERT_EQUAL(kvf_pool_check_memory(NULL, (uint64_t)1 << 50, 0, true, NULL), KVF_ENOMEM);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "mem_available", test_mem_available },
		{ "nothing_known", test_nothing_known },
		{ "v2_every_ancestor", test_v2_every_ancestor },
		{ "v2_high_alone", test_v2_high_alone },
		{ "v1", test_v1 },
		{ "no_mountinfo", test_no_mountinfo },
		{ "container", test_container },
		{ "long_lines", test_long_lines },
		{ "hugetlb", test_hugetlb },
		{ "hugetlb_beyond", test_hugetlb_beyond },
		{ "hugetlb_no_more", test_hugetlb_no_more },
		{ "hugetlb_groups", test_hugetlb_groups },
		{ "not_ours", test_not_ours },
		{ "path_lengths", test_path_lengths },
		{ "line_lengths", test_line_lengths },
		{ "this_machine", test_this_machine },
	};

	return kvf_test_main("memcheck", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
