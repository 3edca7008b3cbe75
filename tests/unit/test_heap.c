/* SPDX-License-Identifier: Apache-2.0 */
/* heap.h: order against a plain array, failing memory. */
#include "tests/harness.h"

#include <stdlib.h>
#include <string.h>

#include "base/heap.h"
#include "tests/sim/simmem.h"

#define N 257

static void test_random_against_array(void)
{
	static struct kvf_heap_node node[N];
	struct kvf_heap heap;
	struct kvf_mem mem;

	kvf_mem_init(&mem, NULL);
	for (unsigned seed = 0; seed < 20; seed++) {
		size_t n = 0;

		srand(seed);
		memset(node, 0, sizeof(node));
		kvf_heap_init(&heap, &mem);
		CU_ASSERT_PTR_NULL(kvf_heap_min(&heap));
		CU_ASSERT_EQUAL(kvf_heap_reserve(&heap, N), KVF_OK);
		for (int i = 0; i < 4000; i++) {
			struct kvf_heap_node *x = &node[rand() % N];
			struct kvf_heap_node *min;
			uint64_t least = UINT64_MAX;

			if (rand() % 3) {
				n += x->pos == 0;
				/* Few values: many ties. The largest time too. */
				kvf_heap_set(&heap, x, rand() % 50 ? (uint64_t)(rand() % 100) : UINT64_MAX);
			} else {
				n -= x->pos != 0;
				kvf_heap_remove(&heap, x);
				CU_ASSERT_EQUAL(x->pos, 0);
			}
			CU_ASSERT_EQUAL(heap.n, n);
			for (size_t k = 0; k < N; k++)
				if (node[k].pos && node[k].at_ns < least)
					least = node[k].at_ns;
			min = kvf_heap_min(&heap);
			CU_ASSERT_EQUAL(min != NULL, n != 0);
			if (min)
				CU_ASSERT_EQUAL(min->at_ns, least);
			if (i % 8 == 0)
				CU_ASSERT_EQUAL(kvf_heap_verify(&heap), 0);
		}
		kvf_heap_fini(&heap);
		for (size_t k = 0; k < N; k++)
			CU_ASSERT_EQUAL(node[k].pos, 0);
	}
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
}

static void test_sorts(void)
{
	static struct kvf_heap_node node[N];
	struct kvf_heap_node *min;
	struct kvf_heap heap;
	struct kvf_mem mem;
	uint64_t last = 0;
	uint64_t allocs;

	kvf_mem_init(&mem, NULL);
	kvf_heap_init(&heap, &mem);
	CU_ASSERT_EQUAL(kvf_heap_reserve(&heap, N), KVF_OK);
	allocs = mem.host_allocs;
	for (size_t k = 0; k < N; k++)
		kvf_heap_set(&heap, &node[k], (k * 7919) % 1009);
	CU_ASSERT_EQUAL(mem.host_allocs, allocs);
	while ((min = kvf_heap_min(&heap))) {
		CU_ASSERT(min->at_ns >= last);
		last = min->at_ns;
		kvf_heap_remove(&heap, min);
	}
	kvf_heap_fini(&heap);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
}

static void test_no_memory(void)
{
	struct simmem none;
	struct kvf_heap_node node = { 0, 0 };
	struct kvf_heap heap;
	struct kvf_mem mem;

	simmem_init(&none, 1);
	simmem_allow(&none, 0);
	kvf_mem_init(&mem, &none.allocator);
	kvf_heap_init(&heap, &mem);
	CU_ASSERT_EQUAL(kvf_heap_reserve(&heap, 0), KVF_OK);
	CU_ASSERT_EQUAL(kvf_heap_reserve(&heap, 1), KVF_ENOMEM);
	CU_ASSERT_EQUAL(kvf_heap_reserve(&heap, SIZE_MAX), KVF_ENOMEM);
	kvf_heap_set(&heap, &node, 3); /* against the contract: nothing happens */
	CU_ASSERT_EQUAL(node.pos, 0);
	CU_ASSERT_EQUAL(kvf_heap_verify(&heap), 0);
	kvf_heap_remove(&heap, &node);
	kvf_heap_fini(&heap);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
}

static void test_verify_finds(void)
{
	struct kvf_heap_node node[3];
	struct kvf_heap heap;
	struct kvf_mem mem;

	memset(node, 0, sizeof(node));
	kvf_mem_init(&mem, NULL);
	kvf_heap_init(&heap, &mem);
	CU_ASSERT_EQUAL(kvf_heap_reserve(&heap, 3), KVF_OK);
	for (unsigned i = 0; i < 3; i++)
		kvf_heap_set(&heap, &node[i], i);
	node[2].at_ns = 0;
	node[0].at_ns = 5;
	CU_ASSERT_NOT_EQUAL(kvf_heap_verify(&heap), 0);
	node[0].at_ns = 0;
	CU_ASSERT_EQUAL(kvf_heap_verify(&heap), 0);
	node[1].pos = 1;
	CU_ASSERT_NOT_EQUAL(kvf_heap_verify(&heap), 0);
	node[1].pos = 2;
	heap.n = heap.cap + 1;
	CU_ASSERT_NOT_EQUAL(kvf_heap_verify(&heap), 0);
	heap.n = 3;
	kvf_heap_fini(&heap);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "random_against_array", test_random_against_array },
		{ "sorts", test_sorts },
		{ "no_memory", test_no_memory },
		{ "verify_finds", test_verify_finds },
	};

	return kvf_test_main("heap", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
