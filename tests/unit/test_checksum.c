/* SPDX-License-Identifier: Apache-2.0 */
/* checksum.h: known values, slices of any size, failing memory. */
#include "tests/harness.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/checksum.h"
#include "base/mem.h"
#include "tests/sim/simmem.h"

/* XXH3-64 with seed 0: the same on every machine, for what is on disks and in stores outlives this one. */
static void test_known(void)
{
	CU_ASSERT_EQUAL(kvf_checksum("", 0), 0x2d06800538d394c2u);
	CU_ASSERT_EQUAL(kvf_checksum("a", 1), 0xe6c632b61e964e1fu);
	CU_ASSERT_EQUAL(kvf_checksum("abc", 3), 0x78af5f94892f3950u);
}

static void test_slices(void)
{
	static uint8_t buf[70001];
	struct kvf_checksum *sum;
	struct kvf_mem mem;
	uint64_t allocs;

	srand(7);
	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)rand();
	kvf_mem_init(&mem, NULL);
	sum = kvf_checksum_new(&mem);
	CU_ASSERT_PTR_NOT_NULL_FATAL(sum);
	CU_ASSERT_EQUAL((uintptr_t)sum % 64, 0);
	CU_ASSERT_EQUAL(kvf_checksum_end(sum), kvf_checksum(NULL, 0));
	allocs = mem.host_allocs;
	for (int round = 0; round < 300; round++) {
		size_t n = (size_t)rand() % (round < 200 ? 1200 : sizeof(buf));
		size_t from = (size_t)rand() % (sizeof(buf) - n);
		size_t at = 0;

		kvf_checksum_begin(sum);
		while (at < n) {
			size_t step = (size_t)rand() % (n / 3 + 2);

			step = step < n - at ? step : n - at;
			kvf_checksum_add(sum, buf + from + at, step);
			at += step;
		}
		kvf_checksum_add(sum, NULL, 0);
		CU_ASSERT_EQUAL(kvf_checksum_end(sum), kvf_checksum(buf + from, n));
		CU_ASSERT_EQUAL(kvf_checksum_end(sum), kvf_checksum(buf + from, n)); /* changes nothing */
	}
	CU_ASSERT_EQUAL(mem.host_allocs, allocs);
	kvf_checksum_free(&mem, sum);
	kvf_checksum_free(&mem, NULL);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
}

/* However many bytes: what libxxhash says, by whatever instructions. */
static void test_as_the_library(void)
{
	static uint8_t buf[9000];

	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)(i * 31 + i / 256);
	for (size_t n = 0; n <= sizeof(buf); n += n < 1100 ? 1 : 97) {
		size_t from = n % 7 < sizeof(buf) - n ? n % 7 : 0;

		CU_ASSERT_EQUAL(kvf_checksum(buf + from, n), XXH3_64bits(buf + from, n));
	}
}

static void test_no_memory(void)
{
	struct simmem none;
	struct kvf_mem mem;

	simmem_init(&none, 1);
	simmem_allow(&none, 0);
	kvf_mem_init(&mem, &none.allocator);
	CU_ASSERT_PTR_NULL(kvf_checksum_new(&mem));
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "known", test_known },
		{ "slices", test_slices },
		{ "as_the_library", test_as_the_library },
		{ "no_memory", test_no_memory },
	};

	return kvf_test_main("checksum", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
