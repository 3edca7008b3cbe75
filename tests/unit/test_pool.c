/* SPDX-License-Identifier: Apache-2.0 */
/* pool.h: slots against a model, growth, shrinking, failures of the lock, the machine and the allocator. */
#include "tests/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/hugemap.h"
#include "tests/unit/pool_rig.h"

/* ---- tests ---- */

static void test_slot_bytes(void)
{
	CU_ASSERT_EQUAL(kvf_pool_slot_bytes(0), 0);
	CU_ASSERT_EQUAL(kvf_pool_slot_bytes(1), HEADER + 4096);
	CU_ASSERT_EQUAL(kvf_pool_slot_bytes(4096), HEADER + 4096);
	CU_ASSERT_EQUAL(kvf_pool_slot_bytes(4097), HEADER + 8192);
	CU_ASSERT_EQUAL(kvf_pool_slot_bytes(UINT32_MAX - 8191), UINT32_MAX - 4095);
	CU_ASSERT_EQUAL(kvf_pool_slot_bytes(UINT32_MAX - 8190), 0);
	CU_ASSERT_EQUAL(kvf_pool_slot_bytes(UINT64_MAX), 0);
}

static void test_slice_sizes(void)
{
	for (uint64_t payload = 1; payload < 1200 * KVF_MIB; payload += payload / 7 + 1) {
		uint64_t slot = kvf_pool_slot_bytes(payload);
		struct rig r;
		uint64_t bytes;

		rig_open(&r, (uint32_t)payload, 100000);
		bytes = kvf_hugemap_bytes(r.pool.slots_per_slice * slot, false);
		CU_ASSERT(slot > 64 * KVF_MIB ? r.pool.slots_per_slice == 1 : bytes <= 64 * KVF_MIB);
		CU_ASSERT_EQUAL(bytes % KVF_HUGE_BYTES, 0);
		CU_ASSERT(slot > 4 * KVF_MIB || bytes - r.pool.slots_per_slice * slot <= bytes / 16);
		CU_ASSERT(slot > 4 * KVF_MIB || bytes >= 6 * KVF_MIB);
		rig_close(&r);
	}
}

static void test_too_few(void)
{
	char text[512];
	struct kvf_report report;
	struct rig r;

	rig_init(&r, 100000, 7);
	kvf_report_init(&report, text, sizeof(text));
	CU_ASSERT_EQUAL(kvf_pool_init(&r.pool, &r.mem, &r.params, &report), KVF_ERANGE);
	CU_ASSERT_EQUAL(report.errors, 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "851968")); /* 8 * (4096 + 102400) */
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "max_local_cpu_size"));
	r.params.n_slots = 0;
	CU_ASSERT_EQUAL(kvf_pool_init(&r.pool, &r.mem, &r.params, NULL), KVF_ERANGE);
	r.params.n_slots = 8;
	r.params.payload_bytes = UINT32_MAX;
	CU_ASSERT_EQUAL(kvf_pool_init(&r.pool, &r.mem, &r.params, NULL), KVF_ERANGE);
	r.params.payload_bytes = 0;
	CU_ASSERT_EQUAL(kvf_pool_init(&r.pool, &r.mem, &r.params, NULL), KVF_ERANGE);
	CU_ASSERT_EQUAL(kvf_mem_fini(&r.mem), 0);
	CU_ASSERT_EQUAL(r.host.live_blocks, 0);
}

static void test_grow_and_use(void)
{
	struct rig r;
	uint64_t allocs;
	uint32_t n = 0;
	uint32_t slot;

	rig_open(&r, 200000, 130); /* 26 MiB and a bit: several slices, the last one partial */
	CU_ASSERT_EQUAL(r.pool.n_ready, 0);
	CU_ASSERT_EQUAL(kvf_pool_take(&r.pool), KVF_NIL);
	allocs = r.mem.host_allocs;
	CU_ASSERT_EQUAL(kvf_pool_step(&r.pool), 1);
	CU_ASSERT(r.pool.n_ready > 0 && r.pool.n_ready < 130);
	grow(&r.pool);
	CU_ASSERT_EQUAL(r.pool.n_ready, 130);
	CU_ASSERT_EQUAL(r.pool.n_free, 130);
	CU_ASSERT(r.pool.n_slices > 1);
	CU_ASSERT_EQUAL(r.locks.calls, r.pool.n_slices);
	CU_ASSERT_EQUAL(r.locks.bytes, kvf_pool_map_bytes(200000, 130, false));
	while ((slot = kvf_pool_take(&r.pool)) != KVF_NIL) {
		uint8_t *p = kvf_pool_addr(&r.pool, slot);
		bool inside = false;

		CU_ASSERT(slot < 130);
		CU_ASSERT_EQUAL((uintptr_t)p % 4096, 0);
		for (size_t i = 0; i < r.pool.n_slices; i++)
			inside |= p >= r.pool.slice[i].base &&
				  p + r.pool.slot_bytes <= r.pool.slice[i].base + r.pool.slice[i].bytes;
		CU_ASSERT(inside); /* never across two slices */
		memset(p, (int)slot, r.pool.slot_bytes);
		n++;
	}
	CU_ASSERT_EQUAL(n, 130);
	for (slot = 0; slot < 130; slot++) {
		uint8_t *p = kvf_pool_addr(&r.pool, slot);

		CU_ASSERT(p[0] == (uint8_t)slot && p[r.pool.slot_bytes - 1] == (uint8_t)slot);
	}
	sound(&r.pool);
	for (slot = 0; slot < 130; slot++)
		kvf_pool_give(&r.pool, slot);
	kvf_pool_give(&r.pool, 5); /* twice, and one that never was: ignored */
	kvf_pool_give(&r.pool, 4000);
	CU_ASSERT_PTR_NULL(kvf_pool_addr(&r.pool, 4000));
	sound(&r.pool);
	CU_ASSERT_EQUAL(r.pool.n_free, 130);
	CU_ASSERT_EQUAL(kvf_pool_step(&r.pool), 0);
	CU_ASSERT_EQUAL(r.mem.host_allocs, allocs);
	rig_close(&r);
}

static void test_lock_fails(void)
{
	for (unsigned k = 1; k <= 4; k++) {
		struct rig r;
		uint32_t ready;
		int rc;

		rig_open(&r, 200000, 400);
		r.locks.fail_at = k;
		while ((rc = kvf_pool_step(&r.pool)) == 1)
			;
		CU_ASSERT_EQUAL(rc, KVF_ENOMEM);
		CU_ASSERT_EQUAL(r.pool.lock_error, KVF_ENOMEM);
		CU_ASSERT_EQUAL(r.locks.held, k - 1);
		CU_ASSERT(!r.pool.due);
		sound(&r.pool);
		ready = r.pool.n_ready;
		CU_ASSERT_EQUAL(kvf_pool_step(&r.pool), 0); /* asked no more */
		CU_ASSERT_EQUAL(r.locks.calls, k);
		CU_ASSERT_EQUAL(r.pool.n_ready, ready);
		CU_ASSERT((k == 1) == (kvf_pool_take(&r.pool) == KVF_NIL));
		if (k > 1)
			kvf_pool_give(&r.pool, 0);
		CU_ASSERT_EQUAL(kvf_pool_resize(&r.pool, 400), KVF_OK);
		grow(&r.pool);
		CU_ASSERT_EQUAL(r.pool.n_ready, 400);
		rig_close(&r);
	}
}

static void test_allocation_fails(void)
{
	struct rig r;
	int rc = KVF_ENOMEM;
	uint64_t k;

	for (k = 0; rc; k++) {
		rig_init(&r, 200000, 150);
		simmem_allow(&r.host, k);
		rc = kvf_pool_init(&r.pool, &r.mem, &r.params, NULL);
		CU_ASSERT(rc == KVF_OK || rc == KVF_ENOMEM);
		if (rc) {
			CU_ASSERT_EQUAL(kvf_mem_fini(&r.mem), 0);
			CU_ASSERT_EQUAL(r.host.live_blocks, 0);
		}
	}
	CU_ASSERT_EQUAL(k, 4); /* three tables */
	simmem_allow(&r.host, 0);
	grow(&r.pool); /* takes nothing */
	for (k = 0, rc = KVF_ENOMEM; rc; k++) {
		simmem_allow(&r.host, k);
		rc = kvf_pool_resize(&r.pool, 100000);
		CU_ASSERT(rc == KVF_OK || rc == KVF_ENOMEM);
		CU_ASSERT_EQUAL(r.pool.target, rc ? 150 : 100000);
		sound(&r.pool);
	}
	CU_ASSERT_EQUAL(kvf_pool_resize(&r.pool, 150), KVF_OK);
	CU_ASSERT_EQUAL(kvf_pool_resize(&r.pool, 7), KVF_ERANGE);
	rig_close(&r);
}

static void test_shrink(void)
{
	struct rig r;
	uint32_t slot;
	uint64_t before;

	rig_open(&r, 200000, 200);
	grow(&r.pool);
	before = r.locks.bytes;
	while (kvf_pool_take(&r.pool) != KVF_NIL)
		;
	CU_ASSERT_EQUAL(kvf_pool_resize(&r.pool, 50), KVF_OK);
	CU_ASSERT_EQUAL(r.pool.n_ready, 50);
	CU_ASSERT(!kvf_pool_retiring(&r.pool, 49));
	CU_ASSERT(kvf_pool_retiring(&r.pool, 50));
	CU_ASSERT_EQUAL(kvf_pool_step(&r.pool), 0); /* all in use */
	CU_ASSERT_EQUAL(r.locks.bytes, before);
	for (slot = 0; slot < 200; slot++) {
		kvf_pool_give(&r.pool, slot);
		sound(&r.pool);
	}
	CU_ASSERT(r.pool.due);
	grow(&r.pool);
	CU_ASSERT(r.locks.bytes < before);
	CU_ASSERT_EQUAL(r.pool.n_free, 50);
	CU_ASSERT_EQUAL(kvf_pool_resize(&r.pool, 333), KVF_OK);
	grow(&r.pool);
	CU_ASSERT_EQUAL(r.pool.n_ready, 333);
	rig_close(&r);
}

/* Random takes, gives, steps and resizes against a bitmap. */
static void test_random(void)
{
	enum { MAX = 400 };

	for (unsigned seed = 1; seed <= 12; seed++) {
		bool taken[MAX] = { false };
		uint8_t tag[MAX] = { 0 };
		uint32_t target = 60;
		uint32_t n_taken = 0;
		struct rig r;

		srand(seed);
		rig_open(&r, 300000, target);
		for (int i = 0; i < 3000; i++) {
			uint32_t slot = (uint32_t)rand() % MAX;

			switch (rand() % 12) {
			case 0:
				CU_ASSERT(kvf_pool_step(&r.pool) >= 0);
				break;
			case 1:
				if (rand() % 10)
					break;
				target = 8 + (uint32_t)rand() % (MAX - 8);
				CU_ASSERT_EQUAL(kvf_pool_resize(&r.pool, target), KVF_OK);
				break;
			case 2:
			case 3:
			case 4:
			case 5:
				if (!taken[slot])
					break;
				CU_ASSERT_EQUAL(kvf_pool_addr(&r.pool, slot)[r.pool.slot_bytes - 1], tag[slot]);
				kvf_pool_give(&r.pool, slot);
				taken[slot] = false;
				n_taken--;
				break;
			default:
				slot = kvf_pool_take(&r.pool);
				if (slot == KVF_NIL) {
					CU_ASSERT_EQUAL(r.pool.n_free, 0);
					break;
				}
				CU_ASSERT(slot < target && !taken[slot]);
				taken[slot] = true;
				tag[slot] = (uint8_t)rand();
				kvf_pool_addr(&r.pool, slot)[r.pool.slot_bytes - 1] = tag[slot];
				n_taken++;
			}
			CU_ASSERT(r.pool.n_ready <= target);
			if (i % 16 == 0)
				sound(&r.pool);
		}
		for (uint32_t slot = 0; slot < MAX; slot++)
			if (taken[slot])
				kvf_pool_give(&r.pool, slot);
		grow(&r.pool);
		CU_ASSERT_EQUAL(r.pool.n_ready, target);
		CU_ASSERT_EQUAL(r.pool.n_free, target);
		rig_close(&r);
	}
}

/* verify() must see what it is there to see. */
static void test_verify_finds(void)
{
	const char *why;
	struct rig r;

	rig_open(&r, 200000, 60);
	grow(&r.pool);
	CU_ASSERT_EQUAL(kvf_pool_verify(&r.pool, NULL), KVF_OK);
	r.pool.n_free--;
	CU_ASSERT_EQUAL(kvf_pool_verify(&r.pool, &why), KVF_EINTERNAL);
	r.pool.n_free++;
	r.pool.free_stack[3] = r.pool.free_stack[4];
	CU_ASSERT_EQUAL(kvf_pool_verify(&r.pool, &why), KVF_EINTERNAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(why, "twice"));
	r.pool.free_stack[3] = 999;
	CU_ASSERT_EQUAL(kvf_pool_verify(&r.pool, &why), KVF_EINTERNAL);
	r.pool.free_stack[3] = r.pool.free_stack[4] + 1;
	CU_ASSERT_EQUAL(kvf_pool_verify(&r.pool, &why), KVF_OK);
	r.pool.slice[0].n_free--;
	CU_ASSERT_EQUAL(kvf_pool_verify(&r.pool, &why), KVF_EINTERNAL);
	r.pool.slice[0].n_free++;
	r.pool.slice[0].retiring = true;
	CU_ASSERT_EQUAL(kvf_pool_verify(&r.pool, &why), KVF_EINTERNAL);
	r.pool.slice[0].retiring = false;
	r.pool.slice[1].first_slot++;
	CU_ASSERT_EQUAL(kvf_pool_verify(&r.pool, &why), KVF_EINTERNAL);
	r.pool.slice[1].first_slot--;
	r.pool.busy[0] |= 1;
	CU_ASSERT_EQUAL(kvf_pool_verify(&r.pool, &why), KVF_EINTERNAL);
	r.pool.busy[0] &= ~(uint64_t)1;
	sound(&r.pool);
	rig_close(&r);
}

static void test_small_pool_is_small(void)
{
	struct rig r;

	rig_open(&r, 4096, 8);
	grow(&r.pool);
	CU_ASSERT_EQUAL(r.pool.n_slices, 1);
	CU_ASSERT_EQUAL(r.pool.slice[0].bytes, 8 * 8192);
	rig_close(&r);
}

static void test_numa_is_best_effort(void)
{
	struct rig r;

	for (int node = 0; node < 2000; node += 999) {
		rig_init(&r, 4096, 8);
		r.params.numa_node = node;
		CU_ASSERT_EQUAL_FATAL(kvf_pool_init(&r.pool, &r.mem, &r.params, NULL), KVF_OK);
		grow(&r.pool);
		CU_ASSERT(node < 900 || r.pool.numa_errno != 0);
		rig_close(&r);
	}
}

/* A child must not have the pool's memory: the kernel marks the mapping "dc", do not copy. */
static void test_not_in_children(void)
{
	char line[512];
	unsigned long from;
	unsigned long to;
	unsigned long at;
	bool inside = false;
	bool marked = false;
	struct rig r;
	FILE *f;

	rig_open(&r, 4096, 8);
	grow(&r.pool);
	at = (unsigned long)(uintptr_t)r.pool.slice[0].base;
	f = fopen("/proc/self/smaps", "r");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2 && from <= at && at < to)
			inside = true;
		if (!inside || strncmp(line, "VmFlags:", 8) != 0)
			continue;
		marked = strstr(line, " dc") != NULL;
		break;
	}
	fclose(f);
	CU_ASSERT(inside);
	CU_ASSERT(marked);
	rig_close(&r);
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#endif

/* ASan and valgrind live in the address space they would lose. */
static bool instrumented(void)
{
#ifdef UNDER_ASAN
	return true;
#else
	const char *preload = getenv("LD_PRELOAD");

	return preload && strstr(preload, "vgpreload");
#endif
}

/* In a child: no address space left after some slices, then again. */
static int starve(void)
{
	struct rlimit limit = { 0, RLIM_INFINITY };
	struct rig r;
	uint32_t had;
	FILE *f = fopen("/proc/self/statm", "r");
	unsigned long pages = 0;

	if (!f || fscanf(f, "%lu", &pages) != 1)
		return 2;
	fclose(f);
	rig_open(&r, 200000, 400);
	limit.rlim_cur = pages * 4096 + 40 * KVF_MIB;
	if (setrlimit(RLIMIT_AS, &limit))
		return 3;
	while (kvf_pool_step(&r.pool) == 1)
		;
	had = r.pool.n_ready;
	if (!had || had == 400 || r.pool.lock_error || kvf_pool_verify(&r.pool, NULL))
		return 4;
	if (kvf_pool_step(&r.pool) != KVF_ENOMEM || r.pool.n_ready != had)
		return 5;
	limit.rlim_cur = RLIM_INFINITY;
	if (setrlimit(RLIMIT_AS, &limit))
		return 6;
	while (kvf_pool_step(&r.pool) == 1)
		;
	return r.pool.n_ready == 400 ? 0 : 7;
}

static void test_machine_says_no(void)
{
	int status = -1;
	pid_t pid;

	if (instrumented()) {
		kvf_test_skip("ASan and valgrind need the address space");
		return;
	}
	pid = fork();
	if (pid == 0)
		_exit(starve());
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT(WIFEXITED(status));
	CU_ASSERT_EQUAL(WEXITSTATUS(status), 0);
}

static void test_hugetlb(void)
{
	struct rig r;

	rig_init(&r, 4096, 8);
	r.params.hugetlb = true;
	CU_ASSERT_EQUAL_FATAL(kvf_pool_init(&r.pool, &r.mem, &r.params, NULL), KVF_OK);
	if (kvf_pool_step(&r.pool) == KVF_ENOMEM) {
		CU_ASSERT_EQUAL(r.pool.n_ready, 0);
		kvf_test_skip("no huge pages reserved (vm.nr_hugepages)");
	} else {
		CU_ASSERT_EQUAL(r.pool.slice[0].bytes, KVF_HUGE_BYTES);
		CU_ASSERT_EQUAL(r.pool.n_ready, 8);
	}
	sound(&r.pool);
	rig_close(&r);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "slot_bytes", test_slot_bytes },
		{ "slice_sizes", test_slice_sizes },
		{ "too_few", test_too_few },
		{ "grow_and_use", test_grow_and_use },
		{ "lock_fails", test_lock_fails },
		{ "allocation_fails", test_allocation_fails },
		{ "shrink", test_shrink },
		{ "random", test_random },
		{ "verify_finds", test_verify_finds },
		{ "small_pool_is_small", test_small_pool_is_small },
		{ "numa_is_best_effort", test_numa_is_best_effort },
		{ "not_in_children", test_not_in_children },
		{ "machine_says_no", test_machine_says_no },
		{ "hugetlb", test_hugetlb },
	};

	return kvf_test_main("pool", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
