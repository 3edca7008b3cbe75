/* SPDX-License-Identifier: Apache-2.0 */
/* The copy planner: costs and choices, segments of the payload, ranges of layers. */
#include <string.h>

#include "device/plan.h"
#include "tests/gen_layout.h"
#include "tests/harness.h"

#define ALL (1u << KVF_WAY_MEMCPY | 1u << KVF_WAY_BATCH | 1u << KVF_WAY_KERNEL)

static enum kvf_copy_way choose(uint64_t piece_bytes, uint64_t pieces, unsigned usable)
{
	struct kvf_copy_shape shape = { piece_bytes * pieces, pieces, pieces };

	return kvf_plan_choose(&kvf_copy_costs_default, &shape, usable);
}

/* With the published figures: long runs by calls, short and many by the kernel, in between by batches. */
static void test_choices(void)
{
	unsigned ways;

	CU_ASSERT_EQUAL(choose(32u << 20, 1, ALL), KVF_WAY_MEMCPY);
	CU_ASSERT_EQUAL(choose(2048, 4096, ALL), KVF_WAY_KERNEL);
	CU_ASSERT_EQUAL(choose(4096, 1024, ALL), KVF_WAY_KERNEL);
	CU_ASSERT_EQUAL(choose(4096, 1024, ALL & ~(1u << KVF_WAY_KERNEL)), KVF_WAY_BATCH);
	CU_ASSERT_EQUAL(choose(65536, 4, ALL), KVF_WAY_BATCH);
	/* Whatever is usable, something that is is chosen. */
	for (ways = 2; ways <= ALL; ways += 2)
		CU_ASSERT_TRUE(ways & 1u << choose(4096, 1024, ways));
	CU_ASSERT_EQUAL(choose(4096, 1024, 0), KVF_WAY_MEMCPY);
	CU_ASSERT_STRING_EQUAL(kvf_plan_way_name(KVF_WAY_KERNEL), "kernel");
	CU_ASSERT_STRING_EQUAL(kvf_plan_way_name(KVF_WAYS), "?");
}

/* Dearer in no way means no less. */
static void test_costs_grow(void)
{
	enum kvf_copy_way way;
	uint64_t n;

	for (way = KVF_WAY_MEMCPY; way < KVF_WAYS; way++)
		for (n = 1; n < 1u << 20; n *= 2) {
			struct kvf_copy_shape a = { n * 64, n, n }, b = { n * 128, 2 * n, 2 * n };

			CU_ASSERT_TRUE(kvf_plan_cost(&kvf_copy_costs_default, &a, way) <=
				       kvf_plan_cost(&kvf_copy_costs_default, &b, way));
		}
}

/* Segments are disjoint, in order, packed without holes, and hold the bytes of their layers. */
static void test_segments(void)
{
	uint64_t seed;

	for (seed = 1; seed <= 500; seed++) {
		struct kvf_segment s[512];
		struct gen_rng rng = { seed };
		struct kvf_layout_plan plan;
		struct gen_layout gen;
		struct gen_copy gc;
		struct kvf_mem mem;
		uint64_t sum = 0, end = 0, expected = 0;
		uint32_t chunk, n, i, l, base = 0, hint = 0;

		kvf_mem_init(&mem, NULL);
		gen_layout_random(&gen, &rng, &chunk);
		CU_ASSERT_EQUAL_FATAL(kvf_layout_init(&plan, &mem, &gen.layout, chunk, NULL, 0), KVF_OK);
		gen_copy_random(&gc, &rng, &gen.layout, chunk);
		n = kvf_plan_segments(&plan, &gc.copy, s, KVF_ARRAY_LEN(s));
		for (i = 0; i < n; i++) {
			CU_ASSERT_TRUE(s[i].bytes > 0 && s[i].at == sum && (!i || s[i].pay > end));
			CU_ASSERT_EQUAL(kvf_plan_packed(s, n, s[i].pay, &hint), sum);
			CU_ASSERT_EQUAL(kvf_plan_packed(s, n, s[i].pay + s[i].bytes - 1, &hint), sum + s[i].bytes - 1);
			sum += s[i].bytes;
			end = s[i].pay + s[i].bytes;
		}
		for (i = 0; i < gen.layout.n_groups; base += gen.groups[i++].n_layers)
			for (l = 0; l < gen.groups[i].n_layers; l++)
				if (base + l >= gc.copy.first_layer &&
				    base + l - gc.copy.first_layer < gc.copy.n_layers)
					expected += plan.derived[i].row_bytes * gen.groups[i].planes *
						    gc.copy.chunk_tokens;
		CU_ASSERT_EQUAL(sum, expected);
		CU_ASSERT_TRUE(end <= plan.payload_bytes);
		if (n > 1)
			CU_ASSERT_EQUAL(kvf_plan_segments(&plan, &gc.copy, s, n - 1), 0);
		gen_copy_fini(&gc);
		kvf_layout_fini(&plan, &mem);
		gen_layout_fini(&gen);
		kvf_mem_fini(&mem);
	}
}

static void test_layers(void)
{
	struct gen_shape shape = { 4, 16, 16, 1, 8, KVF_UINT8 };
	struct kvf_layout_plan plan;
	struct gen_layout gen;
	struct gen_copy gc;
	struct kvf_mem mem;
	int32_t device = 7;
	uint64_t layer = 2 * 64 * 8;

	kvf_mem_init(&mem, NULL);
	gen_layout_init(&gen, KVF_PAYLOAD_LMCACHE);
	gen_layout_add(&gen, "TBSHE", 2, &shape, NULL);
	gen_layout_add(&gen, "TBSHE", 2, &shape, NULL);
	gen.layers[0][2].device = 1;
	CU_ASSERT_EQUAL_FATAL(kvf_layout_init(&plan, &mem, &gen.layout, 64, NULL, 0), KVF_OK);
	gen_copy_whole(&gc, &gen.layout, 64, false);
	CU_ASSERT_EQUAL(kvf_plan_layers(&plan, &gc.copy, 0, 8, 100 * layer, &device), 2);
	CU_ASSERT_EQUAL(device, -1);
	CU_ASSERT_EQUAL(kvf_plan_layers(&plan, &gc.copy, 2, 6, 100 * layer, &device), 1);
	CU_ASSERT_EQUAL(device, 1);
	CU_ASSERT_EQUAL(kvf_plan_layers(&plan, &gc.copy, 3, 5, 100 * layer, &device), 5); /* over the groups */
	CU_ASSERT_EQUAL(device, -1);
	CU_ASSERT_EQUAL(kvf_plan_layers(&plan, &gc.copy, 3, 5, 3 * layer + 1, &device), 3);
	CU_ASSERT_EQUAL(kvf_plan_layers(&plan, &gc.copy, 3, 2, 100 * layer, &device), 2);
	CU_ASSERT_EQUAL(kvf_plan_layers(&plan, &gc.copy, 3, 5, layer - 1, &device), 0);
	gen_copy_fini(&gc);
	kvf_layout_fini(&plan, &mem);
	gen_layout_fini(&gen);
	kvf_mem_fini(&mem);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "choices", test_choices },
		{ "costs_grow", test_costs_grow },
		{ "segments", test_segments },
		{ "layers", test_layers },
	};

	return kvf_test_main("plan", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
