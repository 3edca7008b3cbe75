/* SPDX-License-Identifier: Apache-2.0 */
/* The index's table: growth, more room, crowding, memory that runs out. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <sys/mman.h>
#include <sys/resource.h>

#include "cache/index_table.h"
#include "tests/sim/simmem.h"
#include "tests/unit/cache_rig.h"

#if defined(__SANITIZE_ADDRESS__)
#define HAVE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_ASAN 1
#endif
#endif

/* All keys stay reachable while a big table moves, and removal works on both sides of the frontier. */
static void test_growth(void)
{
	const uint32_t n = 400000;
	struct kvf_mem mem;
	struct kvf_index index;
	uint64_t random = 4;
	uint32_t moving = 0;
	uint8_t key[32];

	kvf_mem_init(&mem, NULL);
	CU_ASSERT_EQUAL_FATAL(kvf_index_init(&index, &mem, n), KVF_OK);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t probe;

		make_key(key, i);
		CU_ASSERT_EQUAL_FATAL(kvf_index_insert(&index, key, KVF_NIL), i);
		probe = below(&random, i + 1);
		make_key(key, probe);
		CU_ASSERT_EQUAL(kvf_index_find(&index, key), probe);
		make_key(key, (uint64_t)n + i);
		CU_ASSERT_EQUAL(kvf_index_find(&index, key), KVF_NIL);
		moving += index.old.cell != NULL;
		/* What was moved of a big table is given back, two MiB at a time. */
		if (index.old.cell) {
			CU_ASSERT(index.old_released % (2u << 20) == 0);
			CU_ASSERT(index.old_released <= (uint64_t)index.old_next * sizeof(struct kvf_index_cell));
			CU_ASSERT((uint64_t)index.old_next * sizeof(struct kvf_index_cell) - index.old_released <
				  (2u << 20) + 65536);
		} else {
			CU_ASSERT(index.old_released == 0 && index.old_next == 0);
		}
		if (index.old.cell && i % 64 == 0) {
			make_key(key, probe);
			kvf_index_remove(&index, probe);
			CU_ASSERT_EQUAL(kvf_index_find(&index, key), KVF_NIL);
			kvf_index_free(&index, probe);
			CU_ASSERT_EQUAL(kvf_index_insert(&index, key, KVF_NIL), probe);
		}
		if (i % 40000 == 0)
			check(&index);
	}
	CU_ASSERT_TRUE(moving > 1000 && moving < n / 2);
	make_key(key, n);
	CU_ASSERT_EQUAL(kvf_index_insert(&index, key, KVF_NIL), KVF_NIL);
	CU_ASSERT_TRUE(kvf_index_bytes(&index) / n < 96);
	check(&index);
	kvf_index_fini(&index);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
}

/* memcheck takes what mremap() moved in for memory nobody may touch. */
static bool under_valgrind(void)
{
	const char *preload = getenv("LD_PRELOAD");

	return preload && strstr(preload, "vgpreload");
}

static void test_reserve(void)
{
	struct kvf_mem mem;
	struct kvf_index index;
	uint8_t key[32];
	uint32_t i = 0;

	if (under_valgrind()) {
		kvf_test_skip("valgrind does not follow mremap()");
		return;
	}
	kvf_mem_init(&mem, NULL);
	CU_ASSERT_EQUAL(kvf_index_init(&index, &mem, UINT32_MAX), KVF_ENOMEM);
	CU_ASSERT_EQUAL_FATAL(kvf_index_init(&index, &mem, 10), KVF_OK);
	for (uint32_t cap = 10; cap < 300000; cap *= 3) {
		CU_ASSERT_EQUAL(kvf_index_reserve(&index, cap), KVF_OK);
		CU_ASSERT_EQUAL(kvf_index_reserve(&index, cap / 2), KVF_OK);
		CU_ASSERT_EQUAL(index.cap, cap);
		for (; i < cap; i++) {
			make_key(key, i);
			CU_ASSERT_EQUAL(kvf_index_insert(&index, key, i ? i - 1 : KVF_NIL), i);
		}
		make_key(key, i);
		CU_ASSERT_EQUAL(kvf_index_insert(&index, key, KVF_NIL), KVF_NIL);
		check(&index);
	}
	CU_ASSERT_EQUAL(kvf_index_reserve(&index, UINT32_MAX), KVF_ENOMEM);
	for (uint32_t j = 0; j < i; j++) {
		make_key(key, j);
		CU_ASSERT_EQUAL(kvf_index_find(&index, key), j);
	}
	kvf_index_fini(&index);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
}

/* A key whose fingerprint is as wanted: the index multiplies by an odd constant, this divides by it. */
static void make_crowded(uint8_t key[32], uint32_t fingerprint, uint64_t i)
{
	const uint64_t k = 0x9e3779b97f4a7c15u;
	uint64_t inverse = k;
	uint64_t a, b = i * 0x2545f4914f6cdd1du;

	for (int r = 0; r < 6; r++)
		inverse *= 2 - k * inverse;
	a = (((uint64_t)fingerprint << 32) * inverse) ^ (b << 1);
	memset(key, 0, 32);
	memcpy(key, &a, sizeof(a));
	memcpy(key + 8, &b, sizeof(b));
}

/* Several keys with one fingerprint, present and absent: each finds its own entry, alone and with others. */
static void test_same_fingerprint(void)
{
	enum { KEYS = 40, FINGERPRINTS = 5 };
	struct kvf_mem mem;
	struct kvf_index index;
	uint8_t key[KEYS][32];
	uint32_t entry[KEYS], out[KEYS];

	kvf_mem_init(&mem, NULL);
	CU_ASSERT_EQUAL_FATAL(kvf_index_init(&index, &mem, 100), KVF_OK);
	for (uint32_t i = 0; i < KEYS; i++)
		make_crowded(key[i], 0x77000000u + i % FINGERPRINTS, i);
	for (uint32_t absent = 0; absent < 3; absent++) {
		for (uint32_t i = 0; i < KEYS; i++)
			entry[i] = i % 3 == absent ? KVF_NIL : kvf_index_insert(&index, key[i], KVF_NIL);
		check(&index);
		kvf_index_find_many(&index, (const uint8_t(*)[32])key, KEYS, out);
		for (uint32_t i = 0; i < KEYS; i++) {
			CU_ASSERT_EQUAL(out[i], entry[i]);
			CU_ASSERT_EQUAL(kvf_index_find(&index, key[i]), entry[i]);
		}
		for (uint32_t i = 0; i < KEYS; i++) {
			if (entry[i] == KVF_NIL)
				continue;
			kvf_index_remove(&index, entry[i]);
			kvf_index_free(&index, entry[i]);
		}
	}
	kvf_index_fini(&index);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
}

static void test_match(void)
{
	struct kvf_index_cell line[KVF_INDEX_LINE];
	uint64_t random = 5;

	for (int round = 0; round < 2000; round++) {
		uint32_t want = 0;

		for (uint32_t i = 0; i < KVF_INDEX_LINE; i++) {
			/* What is sought stands in the entries too. */
			line[i].fingerprint = 0x80000000u + below(&random, 3);
			line[i].entry = 0x80000001u;
			want |= (uint32_t)(line[i].fingerprint == 0x80000001u) << i;
		}
		CU_ASSERT_EQUAL(kvf_index_match(line, 0x80000001u), want);
		CU_ASSERT_EQUAL(kvf_index_match(line, 0), 0);
	}
}

/* Keys made to collide are refused before probing gets long, the others are not harmed, in the
 * middle and at the end. */
static void test_crowding(void)
{
	static const uint32_t crowd_at[] = { 0, 1, 0x80000000u, 0xfffffff0u, UINT32_MAX };
	const uint32_t n = 60000;
	struct kvf_mem mem;
	struct kvf_index index;
	uint8_t key[32];

	kvf_mem_init(&mem, NULL);
	for (size_t w = 0; w < KVF_ARRAY_LEN(crowd_at); w++) {
		uint32_t crowd = 0, refused = 0, harmed = 0;

		CU_ASSERT_EQUAL_FATAL(kvf_index_init(&index, &mem, n), KVF_OK);
		for (uint32_t i = 0; i < n; i++) {
			bool made = i > 2000 && i % 8 == 0;

			if (made)
				make_crowded(key, crowd_at[w], i);
			else
				make_key(key, i);
			if (kvf_index_insert(&index, key, KVF_NIL) == KVF_NIL) {
				refused++;
				harmed += !made;
			} else {
				crowd += made;
			}
			if (i % 10000 == 0)
				check(&index);
		}
		CU_ASSERT_TRUE(crowd >= 300 && crowd <= 2000);
		CU_ASSERT_TRUE(harmed <= n / 50);
		CU_ASSERT_EQUAL(index.n, n - refused);
		check(&index);
		for (uint32_t e = 0; e < index.used; e++) {
			memcpy(key, kvf_index_entry(&index, e)->key, 16);
			kvf_index_remove(&index, e);
			CU_ASSERT_EQUAL(kvf_index_find(&index, key), KVF_NIL);
			if (e % 5000 == 0)
				check(&index);
		}
		CU_ASSERT_EQUAL(index.n, 0);
		kvf_index_fini(&index);
	}
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
}

/* Every allocation of growth fails once: inserts go on to nine tenths, then are refused, then go
 * on when there is memory. */
static void test_no_memory(void)
{
	for (uint64_t k = 0; k < 8; k++) {
		struct simmem host;
		struct kvf_mem mem;
		struct kvf_index index;
		uint8_t key[32];
		uint32_t i = 0;

		simmem_init(&host, 1);
		simmem_allow(&host, k);
		kvf_mem_init(&mem, &host.allocator);
		if (k == 0) {
			CU_ASSERT_EQUAL(kvf_index_init(&index, &mem, 30000), KVF_ENOMEM);
			continue;
		}
		CU_ASSERT_EQUAL_FATAL(kvf_index_init(&index, &mem, 30000), KVF_OK);
		for (; i < 30000; i++) {
			make_key(key, i);
			if (kvf_index_insert(&index, key, KVF_NIL) == KVF_NIL)
				break;
		}
		CU_ASSERT_EQUAL(i, (uint64_t)(128u << k) * 9 / 10);
		CU_ASSERT_EQUAL(index.n, i);
		check(&index);
		simmem_allow(&host, SIMMEM_ANY);
		for (; i < 30000; i++) {
			uint32_t e;

			make_key(key, i);
			e = kvf_index_insert(&index, key, KVF_NIL);
			for (int again = 0; e == KVF_NIL && again < 600; again++) {
				/* It asks again every so many inserts, refused ones included. */
				e = kvf_index_insert(&index, key, KVF_NIL);
			}
			CU_ASSERT_NOT_EQUAL_FATAL(e, KVF_NIL);
		}
		check(&index);
		kvf_index_fini(&index);
		CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
	}
}

/* Mapping fails too: of the entries at init and at reserve. */
static void test_no_address_space(void)
{
#ifdef HAVE_ASAN
	kvf_test_skip("AddressSanitizer owns the address space");
#else
	struct rlimit was, tight;
	struct kvf_mem mem;
	struct kvf_index index;
	int rc_init, rc_reserve, rc_big;

	if (getrlimit(RLIMIT_AS, &was)) {
		kvf_test_skip("address space cannot be limited here");
		return;
	}
	tight = was;
	tight.rlim_cur = (rlim_t)2 << 30;
	kvf_mem_init(&mem, NULL);
	setrlimit(RLIMIT_AS, &tight);
	rc_big = kvf_index_init(&index, &mem, 100000000);
	rc_init = kvf_index_init(&index, &mem, 100);
	rc_reserve = kvf_index_reserve(&index, 100000000);
	setrlimit(RLIMIT_AS, &was);
	CU_ASSERT_EQUAL(rc_big, KVF_ENOMEM);
	CU_ASSERT_EQUAL(rc_init, KVF_OK);
	CU_ASSERT_EQUAL(rc_reserve, KVF_ENOMEM);
	CU_ASSERT_EQUAL(index.cap, 100);
	check(&index);
	kvf_index_fini(&index);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
#endif
}

/* Growth begins with the key that finds seven tenths of the homes taken, and not before; each table is twice the last
 * one as long as it is small. What it takes is counted to the byte. */
static void test_when_it_grows(void)
{
	struct kvf_mem mem;
	struct kvf_index index;
	uint8_t key[32];
	uint32_t size = 256;

	kvf_mem_init(&mem, NULL);
	CU_ASSERT_EQUAL_FATAL(kvf_index_init(&index, &mem, 20000), KVF_OK);
	for (uint32_t i = 0; i < 20000; i++) {
		uint64_t bytes = (uint64_t)i * sizeof(struct kvf_entry);

		CU_ASSERT_EQUAL(index.table.size, size);
		bytes += kvf_index_cells(&index.table) * sizeof(struct kvf_index_cell);
		if (index.old.cell)
			bytes += kvf_index_cells(&index.old) * sizeof(struct kvf_index_cell);
		CU_ASSERT_EQUAL(kvf_index_bytes(&index), bytes);
		if (!index.old.cell && i == size / 10 * 7 + size % 10 * 7 / 10)
			size *= 2;
		if (size > 28592)
			size = 28592; /* what 20,000 keys need, and no more */
		make_key(key, i);
		CU_ASSERT_EQUAL_FATAL(kvf_index_insert(&index, key, KVF_NIL), i);
	}
	CU_ASSERT_EQUAL(index.table.size, size);
	kvf_index_fini(&index);
	CU_ASSERT_PTR_NULL(index.entry);
	kvf_index_fini(&index); /* nothing is left to be taken down */
	/* Nor where it was growing. */
	CU_ASSERT_EQUAL_FATAL(kvf_index_init(&index, &mem, 20000), KVF_OK);
	for (uint32_t i = 0; i < 20000 && !index.old.cell; i++) {
		make_key(key, i);
		CU_ASSERT_EQUAL_FATAL(kvf_index_insert(&index, key, KVF_NIL), i);
	}
	CU_ASSERT_PTR_NOT_NULL(index.old.cell);
	kvf_index_fini(&index);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
}

/* A table of exactly the bytes from which on tables are mapped goes the way it came. */
static void test_mapped_bound(void)
{
	const uint32_t cap = 90305; /* 129,024 homes and 2,048 cells: 1 MiB */
	struct kvf_mem mem;
	struct kvf_index index;
	uint8_t key[32];

	kvf_mem_init(&mem, NULL);
	CU_ASSERT_EQUAL_FATAL(kvf_index_init(&index, &mem, cap), KVF_OK);
	for (uint32_t i = 0; i < cap; i++) {
		make_key(key, i);
		CU_ASSERT_EQUAL_FATAL(kvf_index_insert(&index, key, KVF_NIL), i);
	}
	CU_ASSERT_EQUAL(kvf_index_cells(&index.table) * sizeof(struct kvf_index_cell), 1u << 20);
	check(&index);
	kvf_index_fini(&index);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
}

/* Growth that failed is tried again with the 257th insert after it, so that a host without memory is not asked at
 * each; up to nine tenths keys are taken meanwhile. */
static void test_asks_seldom(void)
{
	struct simmem host;
	struct kvf_mem mem;
	struct kvf_index index;
	uint8_t key[32];
	uint32_t i = 0;

	simmem_init(&host, 1);
	kvf_mem_init(&mem, &host.allocator);
	CU_ASSERT_EQUAL_FATAL(kvf_index_init(&index, &mem, 30000), KVF_OK);
	simmem_allow(&host, 0);
	host.calls = 0;
	host.fail_at = 1;
	for (; i < 179; i++) {
		make_key(key, i);
		CU_ASSERT_EQUAL_FATAL(kvf_index_insert(&index, key, KVF_NIL), i);
	}
	CU_ASSERT_EQUAL(host.calls, 0);
	for (; i < 230; i++) {
		make_key(key, i);
		CU_ASSERT_EQUAL_FATAL(kvf_index_insert(&index, key, KVF_NIL), i);
		CU_ASSERT_EQUAL(host.calls, 1);
	}
	make_key(key, i);
	for (; i < 179 + 257; i++) {
		CU_ASSERT_EQUAL(kvf_index_insert(&index, key, KVF_NIL), KVF_NIL);
		CU_ASSERT_EQUAL(host.calls, 1);
	}
	CU_ASSERT_EQUAL(kvf_index_insert(&index, key, KVF_NIL), KVF_NIL);
	CU_ASSERT_EQUAL(host.calls, 2);
	simmem_allow(&host, SIMMEM_ANY);
	for (i = 0; i < 256; i++)
		CU_ASSERT_EQUAL(kvf_index_insert(&index, key, KVF_NIL), KVF_NIL);
	CU_ASSERT_EQUAL(kvf_index_insert(&index, key, KVF_NIL), 230);
	CU_ASSERT_EQUAL(host.calls, 3);
	check(&index);
	kvf_index_fini(&index);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
}

/* Is this page mapped? */
static bool mapped(const void *p)
{
	unsigned char in[1];

	return mincore((void *)((uintptr_t)p & ~(uintptr_t)4095), 1, in) == 0;
}

/* A big array starts in the middle of where a huge page could be, ends where it has to, and gives the rest back; also
 * after it was moved. A small one just ends. */
static void test_where_entries_lie(void)
{
	static const uint32_t caps[] = { 1000, 65535, 65536, 65537, 200000, 1000000 };
	const uintptr_t huge = (uintptr_t)2 << 20;
	struct kvf_mem mem;
	struct kvf_index index;

	if (under_valgrind()) {
		kvf_test_skip("valgrind does not follow mremap()");
		return;
	}
	for (int moved = 0; moved < 2; moved++)
		for (size_t i = 0; i < KVF_ARRAY_LEN(caps); i++) {
			size_t bytes = (caps[i] * sizeof(struct kvf_entry) + 65535) / 65536 * 65536;

			kvf_mem_init(&mem, NULL);
			CU_ASSERT_EQUAL_FATAL(kvf_index_init(&index, &mem, moved ? 8 : caps[i]), KVF_OK);
			CU_ASSERT_EQUAL_FATAL(kvf_index_reserve(&index, caps[i]), KVF_OK);
			CU_ASSERT_EQUAL(index.cap, caps[i]);
			if (bytes >= 2 * huge)
				CU_ASSERT_EQUAL((uintptr_t)index.entry % huge, huge / 2);
			CU_ASSERT_TRUE(mapped(index.entry));
			CU_ASSERT_TRUE(mapped((char *)index.entry + bytes - 4096));
			memset((void *)index.entry, 0, bytes); /* all of it is there */
			kvf_index_fini(&index);
			CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
		}
	kvf_mem_init(&mem, NULL);
	CU_ASSERT_EQUAL(kvf_index_init(&index, &mem, (1u << 31) + 1), KVF_ENOMEM);
	CU_ASSERT_EQUAL_FATAL(kvf_index_init(&index, &mem, 0), KVF_OK);
	CU_ASSERT_EQUAL(index.cap, 1);
	CU_ASSERT_EQUAL(kvf_index_reserve(&index, (1u << 31) + 1), KVF_ENOMEM);
	kvf_index_fini(&index);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
}

#ifndef HAVE_ASAN
/* Address space of the process in pages. */
static unsigned long pages_used(void)
{
	unsigned long pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	if (f) {
		if (fscanf(f, "%lu", &pages) != 1)
			pages = 0;
		fclose(f);
	}
	return pages;
}
#endif

/* Arrays, tables and what was cut off give all their address space back. */
static void test_gives_all_back(void)
{
#ifdef HAVE_ASAN
	kvf_test_skip("AddressSanitizer owns the address space");
#else
	struct kvf_mem mem;
	struct kvf_index index;
	uint8_t key[32];
	unsigned long before = 0;

	if (under_valgrind()) {
		kvf_test_skip("valgrind does not follow mremap()");
		return;
	}
	for (int round = 0; round < 12; round++) {
		if (round == 4)
			before = pages_used();
		kvf_mem_init(&mem, NULL);
		CU_ASSERT_EQUAL_FATAL(kvf_index_init(&index, &mem, 100000), KVF_OK);
		for (uint32_t i = 0; i < 200000; i++) {
			if (i == 100000)
				CU_ASSERT_EQUAL(kvf_index_reserve(&index, 200000), KVF_OK);
			make_key(key, i);
			CU_ASSERT_EQUAL_FATAL(kvf_index_insert(&index, key, KVF_NIL), i);
		}
		kvf_index_fini(&index);
		CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
	}
	CU_ASSERT(pages_used() <= before + 128); /* less than one piece of any of them a round */
#endif
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "growth", test_growth },
		{ "reserve", test_reserve },
		{ "same_fingerprint", test_same_fingerprint },
		{ "match", test_match },
		{ "crowding", test_crowding },
		{ "no_memory", test_no_memory },
		{ "no_address_space", test_no_address_space },
		{ "when_it_grows", test_when_it_grows },
		{ "mapped_bound", test_mapped_bound },
		{ "asks_seldom", test_asks_seldom },
		{ "where_entries_lie", test_where_entries_lie },
		{ "gives_all_back", test_gives_all_back },
	};
	return kvf_test_main("index_table", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
