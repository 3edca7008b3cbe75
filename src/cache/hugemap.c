/* SPDX-License-Identifier: Apache-2.0 */
/* Mapping, huge pages, NUMA preference, populating. See hugemap.h. */
#include "cache/hugemap.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/compiler.h"

#define SMALL_PAGE ((uint64_t)4096)
#define POPULATE_TRIES 16

/* Of newer headers than some distributions have. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#endif
#define HUGE_2MB (21 << MAP_HUGE_SHIFT)
/* <linux/mempolicy.h> */
#define POLICY_PREFERRED 1
#define MAX_NODES 1024

uint64_t kvf_hugemap_bytes(uint64_t n, bool hugetlb)
{
	return kvf_align_up(n, hugetlb || n >= KVF_HUGE_BYTES / 2 ? KVF_HUGE_BYTES : SMALL_PAGE);
}

static uint8_t *map_aligned(uint64_t bytes)
{
	uint64_t total = bytes + KVF_HUGE_BYTES;
	uint64_t head;
	uint8_t *p = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	head = kvf_align_up((uintptr_t)p, KVF_HUGE_BYTES) - (uintptr_t)p;
	if (head)
		(void)munmap(p, head);
	(void)munmap(p + head + bytes, KVF_HUGE_BYTES - head);
	return p + head;
}

static uint8_t *map_hugetlb(uint64_t bytes)
{
	uint8_t *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | HUGE_2MB, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int prefer_node(uint8_t *p, uint64_t bytes, int node)
{
	unsigned long mask[MAX_NODES / (8 * sizeof(unsigned long))] = { 0 };
	const unsigned int bits = 8 * sizeof(mask[0]);

	if (node < 0 || node >= MAX_NODES)
		return EINVAL;
	mask[(unsigned int)node / bits] = 1ul << ((unsigned int)node % bits);
	/* The kernel takes one bit off the count. */
	if (syscall(SYS_mbind, p, bytes, POLICY_PREFERRED, mask, MAX_NODES + 1ul, 0u))
		return errno;
	return 0;
}

int kvf_hugemap_populate(uint8_t *p, uint64_t bytes, int (*advise)(void *, size_t, int))
{
	for (int i = 0; i < POPULATE_TRIES; i++) {
		if (!advise(p, bytes, MADV_POPULATE_WRITE))
			return 0;
		if (errno != EINTR && errno != EAGAIN)
			break;
	}
	if (errno != EINVAL && errno != EINTR && errno != EAGAIN)
		return errno;
	/* A kernel before 5.14, or one that is interrupted all the time. */
	for (uint64_t at = 0; at < bytes; at += SMALL_PAGE)
		*(volatile uint8_t *)(p + at) = 0;
	return 0;
}

uint8_t *kvf_hugemap_get(uint64_t bytes, struct kvf_hugemap_how *how)
{
	uint8_t *p = how->hugetlb ? map_hugetlb(bytes) : map_aligned(bytes);

	if (!p)
		return NULL;
	/* After a fork either side may get the copy when one writes, and the device goes on with the other's page. */
	(void)madvise(p, bytes, MADV_DONTFORK);
	if (!how->hugetlb && bytes >= KVF_HUGE_BYTES)
		(void)madvise(p, bytes, MADV_HUGEPAGE);
	how->numa_errno = how->numa_node >= 0 ? prefer_node(p, bytes, how->numa_node) : 0;
	if (kvf_hugemap_populate(p, bytes, madvise)) {
		kvf_hugemap_put(p, bytes);
		return NULL;
	}
	return p;
}

void kvf_hugemap_put(uint8_t *p, uint64_t bytes)
{
	if (p)
		(void)munmap(p, bytes);
}
