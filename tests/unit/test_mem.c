/* SPDX-License-Identifier: Apache-2.0 */
/* struct kvf_mem: classes, counters, alignment, failures, growing arrays. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "kvferry/kvferry.h"
#include "tests/harness.h"

/* A host whose malloc fails on demand and whose blocks are aligned as malloc's, no better. */
struct host {
	uint64_t calls;
	uint64_t fail_at; /* 0: never */
	int64_t bytes;
};

static void *host_alloc(size_t n, void *user)
{
	struct host *h = user;
	char *p;

	h->calls++;
	if (h->fail_at && h->calls >= h->fail_at)
		return NULL;
	p = malloc(n + 16);
	if (!p)
		return NULL;
	h->bytes += (int64_t)n;
	return p + 16;
}

static void host_release(void *p, size_t n, void *user)
{
	struct host *h = user;

	h->bytes -= (int64_t)n;
	free((char *)p - 16);
}

static struct kvf_allocator allocator_of(struct host *h)
{
	return (struct kvf_allocator){sizeof(struct kvf_allocator), host_alloc, host_release, h};
}

static void test_reuse(void)
{
	struct host h = {0};
	struct kvf_allocator a = allocator_of(&h);
	struct kvf_mem mem;
	void *p;
	void *q;

	kvf_mem_init(&mem, &a);
	p = kvf_mem_alloc(&mem, 100);
	CU_ASSERT_EQUAL(mem.bytes_used, 100);
	kvf_mem_free(&mem, p, 100);
	CU_ASSERT_EQUAL(mem.bytes_used, 0);
	CU_ASSERT_EQUAL(mem.bytes_used_peak, 100);
	q = kvf_mem_alloc(&mem, 128); /* the same class */
	CU_ASSERT_PTR_EQUAL(p, q);
	CU_ASSERT_EQUAL(mem.host_allocs, 1);
	p = kvf_mem_alloc(&mem, 129); /* the next one */
	CU_ASSERT_EQUAL(mem.host_allocs, 2);
	CU_ASSERT_EQUAL(mem.bytes_held, (uint64_t)h.bytes);
	kvf_mem_free(&mem, q, 128);
	kvf_mem_free(&mem, p, 129);
	kvf_mem_free(&mem, NULL, 5);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
	CU_ASSERT_EQUAL(h.bytes, 0);
	CU_ASSERT_EQUAL(mem.bytes_held, 0);
}

static void test_every_size(void)
{
	static const size_t sizes[] = {1, 8, 63, 64, 65, 127, 128, 129, 4095, 4096, 4097, 65536,
		(1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20};
	struct host h = {0};
	struct kvf_allocator a = allocator_of(&h);
	struct kvf_mem mem;
	void *p[KVF_ARRAY_LEN(sizes)];
	uint64_t warm = 0;

	kvf_mem_init(&mem, &a);
	for (size_t round = 0; round < 3; round++) {
		for (size_t i = 0; i < KVF_ARRAY_LEN(sizes); i++) {
			p[i] = kvf_mem_alloc(&mem, sizes[i]);
			CU_ASSERT_PTR_NOT_NULL_FATAL(p[i]);
			CU_ASSERT_EQUAL((uintptr_t)p[i] % 64, 0);
			memset(p[i], (int)i, sizes[i]);
		}
		for (size_t i = 0; i < KVF_ARRAY_LEN(sizes); i++) {
			unsigned char *bytes = p[i];

			CU_ASSERT(bytes[0] == i && bytes[sizes[i] - 1] == i);
			kvf_mem_free(&mem, p[i], sizes[i]);
		}
		if (round == 0)
			warm = mem.host_allocs;
	}
	/* warm: only what is above the largest class goes to the host again */
	CU_ASSERT_EQUAL(mem.host_allocs, warm + 2 * 2);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
	CU_ASSERT_EQUAL(h.bytes, 0);
}

static void test_failure(void)
{
	struct host h = {.fail_at = 2};
	struct kvf_allocator a = allocator_of(&h);
	struct kvf_mem mem;
	void *p;

	kvf_mem_init(&mem, &a);
	p = kvf_mem_alloc(&mem, 64);
	CU_ASSERT_PTR_NOT_NULL(p);
	CU_ASSERT_PTR_NULL(kvf_mem_alloc(&mem, 64));
	CU_ASSERT_PTR_NULL(kvf_mem_zalloc(&mem, 2 << 20));
	CU_ASSERT_PTR_NULL(kvf_mem_alloc(&mem, SIZE_MAX));
	CU_ASSERT_PTR_NULL(kvf_mem_alloc(&mem, SIZE_MAX - 63));
	CU_ASSERT_EQUAL(mem.failures, 4);
	CU_ASSERT_EQUAL(mem.bytes_used, 64);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 64); /* says what leaked */
	kvf_mem_free(&mem, p, 64);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
	CU_ASSERT_EQUAL(h.bytes, 0);
}

static void test_zalloc(void)
{
	struct kvf_mem mem;
	unsigned char *p;
	unsigned int sum = 0;

	kvf_mem_init(&mem, NULL);
	p = kvf_mem_alloc(&mem, 500);
	memset(p, 0xff, 500);
	kvf_mem_free(&mem, p, 500);
	p = kvf_mem_zalloc(&mem, 500);
	for (size_t i = 0; i < 500; i++)
		sum += p[i];
	CU_ASSERT_EQUAL(sum, 0);
	kvf_mem_free(&mem, p, 500);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
}

static void test_grow(void)
{
	struct host h = {0};
	struct kvf_allocator a = allocator_of(&h);
	struct kvf_mem mem;
	void *array = NULL;
	size_t cap = 0;
	uint64_t *items;

	kvf_mem_init(&mem, &a);
	for (uint64_t i = 0; i < 5000; i++) {
		CU_ASSERT_EQUAL_FATAL(
			kvf_mem_grow(&mem, &array, &cap, (size_t)i + 1, sizeof(*items)), KVF_OK);
		items = array;
		items[i] = i * i;
	}
	items = array;
	for (uint64_t i = 0; i < 5000; i++)
		CU_ASSERT_EQUAL_FATAL(items[i], i * i);
	CU_ASSERT_EQUAL(cap, 8192);
	/* a failure changes nothing */
	h.fail_at = h.calls + 1;
	CU_ASSERT_EQUAL(kvf_mem_grow(&mem, &array, &cap, 1 << 20, sizeof(*items)), KVF_ENOMEM);
	CU_ASSERT_EQUAL(kvf_mem_grow(&mem, &array, &cap, SIZE_MAX, sizeof(*items)), KVF_ENOMEM);
	CU_ASSERT(array == items && cap == 8192 && items[4999] == 4999u * 4999u);
	kvf_mem_free(&mem, array, cap * sizeof(*items));
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
	CU_ASSERT_EQUAL(h.bytes, 0);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"reuse", test_reuse},
		{"every_size", test_every_size},
		{"failure", test_failure},
		{"zalloc", test_zalloc},
		{"grow", test_grow},
	};

	return kvf_test_main("mem", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
