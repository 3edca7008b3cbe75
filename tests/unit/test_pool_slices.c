/* SPDX-License-Identifier: Apache-2.0 */
/* Slices of the pool: how many slots one has, what is mapped, locked and given back, and which slot comes next. */
#include <sys/mman.h>

#include "cache/hugemap.h"
#include "tests/unit/pool_rig.h"

/* The first size of a slice that loses no more than a 64th of itself, or else the one that loses least: counted by hand
 * with fractions, for slots that fit well, badly, in the middle of the sizes, at their ends, and not at all. */
static void test_slots_of_a_slice(void)
{
	static const struct {
		uint64_t payload;
		uint32_t slots;
	} as[] = {
		{ 4096, 1024 },	      { 100000, 78 },	    { 200000, 51 },	  { 300000, 27 },
		{ 1028096, 8 }, /* exactly a 64th of 8 MiB */
		{ 1048576, 51 },      { 2101248, 31 },	    { 3145728, 21 },	  { 5242880, 11 },
		{ 7340032, 9 },	      { 8384512, 1 },	    { 8388608, 7 },	  { 8388609, 7 },
		{ 9437184, 7 },	      { 11534336, 5 },	    { 13631488, 3 },	  { 16773120, 1 },
		{ 17833984, 3 },      { 19922944, 3 },	    { 24117248, 1 },	  { 34603008, 1 },
		{ 66060288, 1 },      { 67108864, 1 },	    { 73400320, 1 },
	};

	for (size_t i = 0; i < KVF_ARRAY_LEN(as); i++) {
		uint64_t slot = kvf_pool_slot_bytes(as[i].payload);
		struct rig r;

		rig_open(&r, (uint32_t)as[i].payload, 1000);
		CU_ASSERT_EQUAL(r.pool.slots_per_slice, as[i].slots);
		rig_close(&r);
		/* So many bytes are mapped: whole slices, and what is left of the last one. */
		for (uint32_t n = 8; n < 200; n += 37) {
			uint64_t bytes = n / as[i].slots * kvf_hugemap_bytes(as[i].slots * slot, false);

			if (n % as[i].slots)
				bytes += kvf_hugemap_bytes(n % as[i].slots * slot, false);
			CU_ASSERT_EQUAL(kvf_pool_map_bytes(as[i].payload, n, false), bytes);
		}
	}
	CU_ASSERT_EQUAL(kvf_pool_map_bytes(0, 8, false), 0);
	/* From half a huge page on whole ones are mapped, and always where they were asked for. */
	CU_ASSERT_EQUAL(kvf_hugemap_bytes(KVF_HUGE_BYTES / 2 - 1, false), KVF_HUGE_BYTES / 2);
	CU_ASSERT_EQUAL(kvf_hugemap_bytes(KVF_HUGE_BYTES / 2, false), KVF_HUGE_BYTES);
	CU_ASSERT_EQUAL(kvf_hugemap_bytes(1, false), 4096);
	CU_ASSERT_EQUAL(kvf_hugemap_bytes(1, true), KVF_HUGE_BYTES);
	CU_ASSERT_EQUAL(kvf_hugemap_bytes(KVF_HUGE_BYTES + 1, false), 2 * KVF_HUGE_BYTES);
}

static void test_bounds(void)
{
	struct rig r;

	rig_open(&r, 4096, 8);
	grow(&r.pool);
	CU_ASSERT_EQUAL(kvf_pool_resize(&r.pool, 7), KVF_ERANGE);
	CU_ASSERT_EQUAL(kvf_pool_resize(&r.pool, KVF_NIL / 2), KVF_ERANGE);
	simmem_allow(&r.host, 0); /* it would be tried */
	CU_ASSERT_EQUAL(kvf_pool_resize(&r.pool, KVF_NIL / 2 - 1), KVF_ENOMEM);
	simmem_allow(&r.host, SIMMEM_ANY);
	CU_ASSERT_EQUAL(r.pool.target, 8);
	CU_ASSERT_EQUAL(kvf_pool_resize(&r.pool, 9), KVF_OK);
	CU_ASSERT_TRUE(r.pool.due);
	grow(&r.pool);
	CU_ASSERT_PTR_NOT_NULL(kvf_pool_addr(&r.pool, 8));
	CU_ASSERT_PTR_NULL(kvf_pool_addr(&r.pool, 9));
	CU_ASSERT_EQUAL(kvf_pool_resize(&r.pool, 8), KVF_OK);
	CU_ASSERT_FALSE(kvf_pool_retiring(&r.pool, 7));
	CU_ASSERT_TRUE(kvf_pool_retiring(&r.pool, 8));
	grow(&r.pool);
	CU_ASSERT_PTR_NULL(kvf_pool_addr(&r.pool, 8)); /* its slice is gone, and with it its number */
	rig_close(&r);
	rig_init(&r, 4096, KVF_NIL / 2);
	CU_ASSERT_EQUAL(kvf_pool_init(&r.pool, &r.mem, &r.params, NULL), KVF_ERANGE);
	r.params.n_slots--;
	simmem_allow(&r.host, 0);
	CU_ASSERT_EQUAL(kvf_pool_init(&r.pool, &r.mem, &r.params, NULL), KVF_ENOMEM);
	CU_ASSERT_EQUAL(kvf_mem_fini(&r.mem), 0);
}

/* A pool that grew by little steps has many small slices; every slot is found in its own, and there is room for more
 * of them. */
static void test_fragments(void)
{
	uint32_t n = 8;
	struct rig r;

	rig_open(&r, 200000, n);
	grow(&r.pool);
	for (int i = 0; i < 30; i++) {
		n += 5 + (uint32_t)i % 3;
		CU_ASSERT_EQUAL(kvf_pool_resize(&r.pool, n), KVF_OK);
		grow(&r.pool);
	}
	CU_ASSERT_EQUAL(r.pool.n_slices, 31);
	n += 51 * 8;
	CU_ASSERT_EQUAL(kvf_pool_resize(&r.pool, n), KVF_OK);
	grow(&r.pool);
	CU_ASSERT_EQUAL(r.pool.n_slices, 39);
	CU_ASSERT_EQUAL(r.pool.n_free, n);
	for (uint32_t slot = 0; slot < n; slot++) {
		const struct kvf_pool_slice *s = &r.pool.slice[0];

		while (slot >= s->first_slot + s->n_slots)
			s++;
		CU_ASSERT_PTR_EQUAL(kvf_pool_addr(&r.pool, slot),
				    s->base + (uint64_t)(slot - s->first_slot) * r.pool.slot_bytes);
		*kvf_pool_addr(&r.pool, slot) = 1; /* it is there */
		CU_ASSERT_NOT_EQUAL(kvf_pool_take(&r.pool), KVF_NIL);
	}
	for (size_t i = 0; i < r.pool.n_slices; i++)
		CU_ASSERT_EQUAL(r.pool.slice[i].n_free, 0);
	for (uint32_t slot = 0; slot < n; slot++)
		kvf_pool_give(&r.pool, slot);
	sound(&r.pool);
	kvf_pool_fini(&r.pool);
	rig_close(&r); /* once more: nothing is left to be taken down */
}

/* Is this page mapped? */
static bool mapped(const void *p)
{
	unsigned char in[1];

	return mincore((void *)(uintptr_t)p, 1, in) == 0;
}

/* A slice that is given back is unlocked and unmapped, and only then; one that could not be locked is unmapped and
 * nothing is unlocked. When the pool grows again the numbers come back with it. */
static void test_given_back(void)
{
	struct rig r;
	uint8_t *base[8];
	uint32_t per, held;

	rig_open(&r, 200000, 51 * 5 + 10);
	grow(&r.pool);
	per = r.pool.slots_per_slice;
	CU_ASSERT_EQUAL(per, 51);
	CU_ASSERT_EQUAL_FATAL(r.pool.n_slices, 6);
	for (size_t i = 0; i < 6; i++) {
		base[i] = r.pool.slice[i].base;
		CU_ASSERT_TRUE(mapped(base[i]));
		CU_ASSERT_TRUE(mapped(base[i] + r.pool.slice[i].bytes - 4096));
	}
	/* A slot of the last slice but one is in use: that slice stays, the ones around it go. */
	while (kvf_pool_take(&r.pool) != 4 * per + 3)
		;
	for (uint32_t slot = 0; slot < 5 * per + 10; slot++)
		if (slot != 4 * per + 3)
			kvf_pool_give(&r.pool, slot);
	held = r.locks.held;
	CU_ASSERT_EQUAL(kvf_pool_resize(&r.pool, 2 * per), KVF_OK);
	grow(&r.pool);
	CU_ASSERT_EQUAL(r.locks.held, held - 3);
	CU_ASSERT_EQUAL(r.pool.n_slices, 5);
	CU_ASSERT_EQUAL(r.pool.n_numbered, 5 * per);
	for (size_t i = 0; i < 6; i++)
		CU_ASSERT_EQUAL(i < 5 && r.pool.slice[i].base, i < 2 || i == 4);
	CU_ASSERT_FALSE(mapped(base[3]));
	CU_ASSERT_FALSE(mapped(base[5]));
	/* Growing into what was given back, and no further: the lock says no at the second one. */
	CU_ASSERT_EQUAL(kvf_pool_resize(&r.pool, 4 * per + 1), KVF_OK);
	CU_ASSERT_EQUAL(r.pool.n_ready, 2 * per + 1);
	r.locks.fail_at = r.locks.calls + 2;
	CU_ASSERT_EQUAL(kvf_pool_step(&r.pool), 1);
	CU_ASSERT_EQUAL(r.pool.n_ready, 3 * per + 1);
	CU_ASSERT_EQUAL(kvf_pool_step(&r.pool), KVF_ENOMEM);
	CU_ASSERT_EQUAL(r.pool.n_ready, 3 * per + 1);
	CU_ASSERT_PTR_NULL(r.pool.slice[3].base);
	CU_ASSERT_EQUAL(r.locks.held, held - 2);
	CU_ASSERT_FALSE(r.pool.due);
	sound(&r.pool);
	CU_ASSERT_EQUAL(kvf_pool_step(&r.pool), 0); /* not before somebody wants another size */
	CU_ASSERT_EQUAL(kvf_pool_resize(&r.pool, 6 * per), KVF_OK);
	grow(&r.pool);
	CU_ASSERT_EQUAL(r.pool.n_slices, 6);
	CU_ASSERT_EQUAL(r.pool.n_ready, 6 * per);
	CU_ASSERT_EQUAL(r.pool.n_free, 6 * per - 1);
	kvf_pool_give(&r.pool, 4 * per + 3);
	CU_ASSERT_EQUAL(r.pool.n_free, 6 * per);
	/* All of it, from the first slot on. */
	for (uint32_t i = 0; i < 6 * per; i++)
		CU_ASSERT_NOT_EQUAL(kvf_pool_take(&r.pool), KVF_NIL);
	CU_ASSERT_EQUAL(kvf_pool_take(&r.pool), KVF_NIL);
	for (uint32_t i = 0; i < 6 * per; i++)
		kvf_pool_give(&r.pool, i);
	for (size_t i = 0; i < 6; i++)
		base[i] = r.pool.slice[i].base;
	rig_close(&r);
	for (size_t i = 0; i < 6; i++)
		CU_ASSERT_FALSE(mapped(base[i]));
}

/* The very first slice is refused: there is none, and its memory is gone. */
static void test_first_refused(void)
{
	struct rig r;

	rig_open(&r, 200000, 100);
	r.locks.fail_at = 1;
	CU_ASSERT_EQUAL(kvf_pool_step(&r.pool), KVF_ENOMEM);
	CU_ASSERT_EQUAL(r.pool.n_slices, 0);
	CU_ASSERT_EQUAL(r.pool.n_numbered, 0);
	CU_ASSERT_FALSE(mapped(r.locks.refused));
	rig_close(&r);
}

/* Without a lock nothing is locked and nothing unlocked. */
static void test_no_lock(void)
{
	struct rig r;

	rig_init(&r, 200000, 100);
	r.params.lock = NULL;
	CU_ASSERT_EQUAL_FATAL(kvf_pool_init(&r.pool, &r.mem, &r.params, NULL), KVF_OK);
	grow(&r.pool);
	CU_ASSERT_FALSE(r.pool.slice[0].locked);
	CU_ASSERT_EQUAL(kvf_pool_resize(&r.pool, 20), KVF_OK);
	grow(&r.pool);
	rig_close(&r);
	rig_init(&r, 200000, 100);
	r.params.unlock = NULL;
	CU_ASSERT_EQUAL_FATAL(kvf_pool_init(&r.pool, &r.mem, &r.params, NULL), KVF_OK);
	grow(&r.pool);
	CU_ASSERT_TRUE(r.pool.slice[0].locked);
	CU_ASSERT_EQUAL(kvf_pool_resize(&r.pool, 20), KVF_OK);
	grow(&r.pool);
	CU_ASSERT_EQUAL(r.locks.held, r.locks.calls);
	r.locks.held = 0;
	r.locks.bytes = 0;
	rig_close(&r);
}

/* Slots are handed out from the lowest number of a slice on, those given back first. */
static void test_order_of_slots(void)
{
	struct rig r;

	rig_open(&r, 200000, 100);
	CU_ASSERT_EQUAL(kvf_pool_step(&r.pool), 1);
	for (uint32_t i = 0; i < 5; i++)
		CU_ASSERT_EQUAL(kvf_pool_take(&r.pool), i);
	kvf_pool_give(&r.pool, 3);
	kvf_pool_give(&r.pool, 1);
	CU_ASSERT_EQUAL(kvf_pool_take(&r.pool), 1);
	CU_ASSERT_EQUAL(kvf_pool_take(&r.pool), 3);
	CU_ASSERT_EQUAL(kvf_pool_take(&r.pool), 5);
	/* Those that retire are no longer handed out, in use or not; the others stay in order. */
	CU_ASSERT_EQUAL(kvf_pool_resize(&r.pool, 8), KVF_OK);
	CU_ASSERT_EQUAL(kvf_pool_take(&r.pool), 6);
	CU_ASSERT_EQUAL(kvf_pool_take(&r.pool), 7);
	CU_ASSERT_EQUAL(kvf_pool_take(&r.pool), KVF_NIL);
	CU_ASSERT_EQUAL(kvf_pool_resize(&r.pool, 10), KVF_OK);
	CU_ASSERT_EQUAL(kvf_pool_take(&r.pool), 8);
	CU_ASSERT_EQUAL(kvf_pool_take(&r.pool), 9);
	CU_ASSERT_EQUAL(kvf_pool_take(&r.pool), KVF_NIL);
	CU_ASSERT_EQUAL(kvf_pool_resize(&r.pool, 8), KVF_OK);
	kvf_pool_give(&r.pool, 9);
	CU_ASSERT_EQUAL(kvf_pool_take(&r.pool), KVF_NIL);
	CU_ASSERT_EQUAL(kvf_pool_resize(&r.pool, 100), KVF_OK);
	sound(&r.pool);
	grow(&r.pool);
	for (uint32_t i = 0; i < 9; i++)
		kvf_pool_give(&r.pool, i);
	CU_ASSERT_EQUAL(r.pool.n_free, 100);
	rig_close(&r);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "slots_of_a_slice", test_slots_of_a_slice }, { "bounds", test_bounds },
		{ "fragments", test_fragments },
		{ "given_back", test_given_back },	       { "no_lock", test_no_lock },
		{ "first_refused", test_first_refused },
		{ "order_of_slots", test_order_of_slots },
	};

	return kvf_test_main("pool_slices", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
