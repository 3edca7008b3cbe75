/* SPDX-License-Identifier: Apache-2.0 */
/* The run walker against the slow reference, on random and on LMCache's layouts, and how few runs it needs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/layout.h"
#include "tests/gen_layout.h"
#include "tests/harness.h"
#include "tests/ref_layout.h"

#define CASES 6000
#define GUARD 64

struct bench {
	struct kvf_mem mem;
	struct gen_layout gen;
	struct kvf_layout_plan plan;
	uint32_t chunk_size;
	uint8_t *payload, *expected; /* GUARD bytes more at the end */
	size_t n;
};

static void bench_open(struct bench *b, struct gen_rng *rng)
{
	char detail[256] = "";
	size_t i;

	kvf_mem_init(&b->mem, NULL);
	CU_ASSERT_EQUAL_FATAL(
		kvf_layout_init(&b->plan, &b->mem, &b->gen.layout, b->chunk_size, detail, sizeof(detail)), KVF_OK);
	CU_ASSERT_STRING_EQUAL(detail, "");
	CU_ASSERT_EQUAL_FATAL(b->plan.payload_bytes, ref_payload_bytes(&b->gen.layout, b->chunk_size));
	b->n = b->plan.payload_bytes + GUARD;
	b->payload = malloc(b->n);
	b->expected = malloc(b->n);
	for (i = 0; i < b->n; i++)
		b->payload[i] = b->expected[i] = (uint8_t)(gen_u64(rng) >> 56);
	gen_layout_fill(&b->gen, rng);
}

static void bench_close(struct bench *b)
{
	kvf_layout_fini(&b->plan, &b->mem);
	CU_ASSERT_EQUAL(kvf_mem_fini(&b->mem), 0);
	gen_layout_fini(&b->gen);
	free(b->payload);
	free(b->expected);
}

/* Moves one copy by its runs and counts them; `rows` counts contiguous pieces. */
static uint32_t apply(const struct bench *b, const struct kvf_copy *copy, bool nulls, uint64_t *rows)
{
	struct kvf_run_iter iter;
	struct kvf_run run;
	uint32_t runs = 0, row;

	*rows = 0;
	kvf_run_iter_init(&iter, &b->plan, copy);
	iter.nulls = nulls;
	while (kvf_run_iter_next(&iter, &run)) {
		runs++;
		*rows += run.rows;
		for (row = 0; row < run.rows; row++) {
			uint8_t *pay = b->payload + run.pay + row * run.pay_stride;

			if (!run.dev)
				memset(pay, 0, run.bytes);
			else if (copy->direction == KVF_COPY_GATHER)
				memcpy(pay, run.dev + row * run.dev_stride, run.bytes);
			else
				memcpy(run.dev + row * run.dev_stride, pay, run.bytes);
		}
	}
	CU_ASSERT_FALSE(kvf_run_iter_next(&iter, &run));
	return runs;
}

static bool same_gather(struct bench *b, struct gen_copy *gc, bool nulls)
{
	uint8_t *saved = gen_layout_save(&b->gen);
	uint64_t rows;
	bool same;

	gc->copy.direction = KVF_COPY_GATHER;
	gc->copy.payload = b->payload;
	if (!nulls)
		kvf_copy_clear_nulls(&b->plan, &gc->copy);
	apply(b, &gc->copy, nulls, &rows);
	ref_gather(&b->gen.layout, b->chunk_size, &gc->copy, b->expected);
	same = memcmp(b->payload, b->expected, b->n) == 0 && gen_layout_equal(&b->gen, saved);
	free(saved);
	return same;
}

static bool same_scatter(struct bench *b, struct gen_copy *gc)
{
	uint8_t *before = gen_layout_save(&b->gen), *after;
	uint64_t rows;
	bool same;

	gc->copy.direction = KVF_COPY_SCATTER;
	gc->copy.payload = b->payload;
	apply(b, &gc->copy, false, &rows);
	after = gen_layout_save(&b->gen);
	gen_layout_restore(&b->gen, before);
	ref_scatter(&b->gen.layout, b->chunk_size, &gc->copy, b->payload);
	same = gen_layout_equal(&b->gen, after) && memcmp(b->payload, b->expected, b->n) == 0;
	free(before);
	free(after);
	return same;
}

static void check_copy(struct bench *b, struct gen_rng *rng, uint64_t seed)
{
	struct kvf_blocks blocks;
	struct gen_copy gc;
	bool ok;

	gen_copy_random(&gc, rng, &b->gen.layout, b->chunk_size);
	blocks = (struct kvf_blocks){ gc.copy.n_groups, gc.lists };
	ok = kvf_layout_check_blocks(&b->plan, &blocks, gc.copy.chunk_first_token + gc.copy.first, gc.copy.n, NULL,
				     0) == KVF_OK;
	ok = ok && same_gather(b, &gc, gen_below(rng, 2)) && same_scatter(b, &gc);
	CU_ASSERT_TRUE(ok);
	if (!ok)
		printf("seed %llu: order %d chunk_size %u chunk %u first %u n %u layers %u+%u groups %u\n",
		       (unsigned long long)seed, (int)b->gen.layout.payload_order, b->chunk_size, gc.copy.chunk_tokens,
		       gc.copy.first, gc.copy.n, gc.copy.first_layer, gc.copy.n_layers, b->gen.layout.n_groups);
	gen_copy_fini(&gc);
}

static void test_random(void)
{
	uint64_t seed;

	for (seed = 1; seed <= CASES; seed++) {
		struct gen_rng rng = { seed };
		struct bench b = { .chunk_size = 0 };
		int k;

		gen_layout_random(&b.gen, &rng, &b.chunk_size);
		bench_open(&b, &rng);
		for (k = 0; k < 3; k++)
			check_copy(&b, &rng, seed);
		bench_close(&b);
	}
}

static void open_lmcache(struct bench *b, int format, enum kvf_payload_order order, uint32_t block_tokens,
			 struct gen_rng *rng, struct gen_rng *padding)
{
	struct gen_shape shape = { .n_layers = 3,
				   .n_blocks = 3 * 64 / block_tokens + 4,
				   .block_tokens = block_tokens,
				   .heads = gen_lmcache[format].planes == 1 ? 1 : 4,
				   .head_elems = 8,
				   .dtype = KVF_BFLOAT16 };

	memset(b, 0, sizeof(*b));
	b->chunk_size = 64;
	gen_layout_init(&b->gen, order);
	gen_layout_add(&b->gen, gen_lmcache[format].axes, gen_lmcache[format].planes, &shape, padding);
	bench_open(b, rng);
}

static void test_lmcache_layouts(void)
{
	struct gen_rng rng = { 7 };
	int format, order, k;

	for (format = 0; format < GEN_LMCACHE_FORMATS; format++)
		for (order = KVF_PAYLOAD_LMCACHE; order <= KVF_PAYLOAD_PAGES; order++)
			for (k = 0; k < 60; k++) {
				static const uint32_t blocks[] = { 16, 64, 128, 1, 4 };
				struct bench b;

				open_lmcache(&b, format, (enum kvf_payload_order)order, blocks[k % 5], &rng,
					     k & 1 ? &rng : NULL);
				check_copy(&b, &rng, (uint64_t)k);
				bench_close(&b);
			}
}

static uint32_t count_runs(int format, enum kvf_payload_order order, bool adjacent, uint64_t *rows)
{
	struct gen_rng rng = { 9 };
	struct gen_copy gc;
	struct bench b;
	uint32_t runs;

	open_lmcache(&b, format, order, 16, &rng, NULL);
	gen_copy_whole(&gc, &b.gen.layout, b.chunk_size, adjacent);
	gc.copy.payload = b.payload;
	runs = apply(&b, &gc.copy, false, rows);
	gen_copy_fini(&gc);
	bench_close(&b);
	return runs;
}

/* Dense tensors, 3 layers, 2 planes (MLA 1), 4 blocks of 16 tokens, 4 heads: the most runs that are allowed. */
static void test_run_counts(void)
{
	static const struct {
		uint32_t lmcache_apart, lmcache_adjacent, pages_apart, pages_adjacent;
		uint32_t rows; /* of lmcache_apart: contiguous pieces */
	} most[GEN_LMCACHE_FORMATS] = {
		{ 24, 24, 4, 1, 24 },	   /* cross-layer: pages are whole blocks */
		{ 24, 6, 24, 24, 24 },	   /* one run a page; adjacent blocks are one run in the lmcache order */
		{ 24, 24, 12, 12, 24 },	   /* K and V of a block are one page piece */
		{ 12, 3, 12, 12, 12 },	   /* MLA */
		{ 24, 6, 24, 24, 24 },	   { 12, 3, 12, 12, 12 },
		{ 96, 96, 24, 24, 1536 },  /* HND: per head 16 regular rows, or the page as it is */
		{ 96, 96, 12, 12, 1536 },  { 96, 96, 4, 1, 1536 },
		{ 24, 6, 24, 24, 24 },	   { 96, 96, 12, 12, 1536 }, /* fused K/V: whole pages */
	};
	int f;

	for (f = 0; f < GEN_LMCACHE_FORMATS; f++) {
		uint64_t rows, ignored;

		CU_ASSERT_EQUAL(count_runs(f, KVF_PAYLOAD_LMCACHE, false, &rows), most[f].lmcache_apart);
		CU_ASSERT_EQUAL(rows, most[f].rows);
		CU_ASSERT_EQUAL(count_runs(f, KVF_PAYLOAD_LMCACHE, true, &ignored), most[f].lmcache_adjacent);
		CU_ASSERT_EQUAL(count_runs(f, KVF_PAYLOAD_PAGES, false, &rows), most[f].pages_apart);
		CU_ASSERT_EQUAL(rows, most[f].pages_apart);
		CU_ASSERT_EQUAL(count_runs(f, KVF_PAYLOAD_PAGES, true, &ignored), most[f].pages_adjacent);
	}
}

/* Tensors that happen to follow each other in memory are two allocations for all we know. */
static void test_tensors_stay_apart(void)
{
	struct gen_rng rng = { 11 };
	struct gen_copy gc;
	struct bench b;
	uint64_t rows;
	uint8_t *slab;
	uint64_t tensor;
	uint32_t l, k;

	open_lmcache(&b, 3, KVF_PAYLOAD_LMCACHE, 16, &rng, NULL);
	b.gen.groups[0].n_blocks = 4;
	tensor = 4 * b.gen.groups[0].block_stride;
	slab = calloc(3, tensor);
	for (l = 0; l < 3; l++)
		b.gen.layers[0][l].base[0] = slab + l * tensor;
	kvf_layout_fini(&b.plan, &b.mem);
	CU_ASSERT_EQUAL_FATAL(kvf_layout_init(&b.plan, &b.mem, &b.gen.layout, 64, NULL, 0), KVF_OK);
	gen_copy_whole(&gc, &b.gen.layout, 64, true);
	gc.copy.payload = b.payload;
	CU_ASSERT_EQUAL(apply(&b, &gc.copy, false, &rows), 3);
	/* So are tensors of a single block each. */
	b.gen.groups[0].n_blocks = 1;
	b.gen.groups[0].block_tokens = 64;
	b.gen.groups[0].block_stride = tensor;
	kvf_layout_fini(&b.plan, &b.mem);
	CU_ASSERT_EQUAL_FATAL(kvf_layout_init(&b.plan, &b.mem, &b.gen.layout, 64, NULL, 0), KVF_OK);
	CU_ASSERT_EQUAL(apply(&b, &gc.copy, false, &rows), 3);
	/* The same memory declared as layers inside one block is one run, whatever the stride of the only head. */
	b.gen.groups[0].block_stride = 3 * tensor;
	b.gen.groups[0].head_stride = 7;
	kvf_layout_fini(&b.plan, &b.mem);
	CU_ASSERT_EQUAL_FATAL(kvf_layout_init(&b.plan, &b.mem, &b.gen.layout, 64, NULL, 0), KVF_OK);
	for (k = 0; k < gc.lists[0].n; k++)
		gc.ids[0][k] = 0;
	CU_ASSERT_EQUAL(apply(&b, &gc.copy, false, &rows), 1);
	gen_copy_fini(&gc);
	free(slab);
	bench_close(&b);
}

static void test_devices_stay_apart(void)
{
	struct gen_rng rng = { 12 };
	struct gen_copy gc;
	struct bench b;
	uint64_t rows;

	open_lmcache(&b, 0, KVF_PAYLOAD_PAGES, 16, &rng, NULL);
	gen_copy_whole(&gc, &b.gen.layout, 64, false);
	gc.copy.payload = b.payload;
	b.gen.layers[0][1].device = 3;
	CU_ASSERT_EQUAL(kvf_layout_rebind(&b.plan, &b.gen.layout, NULL, 0), KVF_OK);
	CU_ASSERT_EQUAL(apply(&b, &gc.copy, false, &rows), 4 * 3);
	gen_copy_fini(&gc);
	bench_close(&b);
}

static void test_has_null(void)
{
	struct gen_rng rng = { 13 };
	struct gen_copy gc;
	struct bench b;

	open_lmcache(&b, 1, KVF_PAYLOAD_LMCACHE, 16, &rng, NULL);
	gen_copy_whole(&gc, &b.gen.layout, 64, true);
	CU_ASSERT_FALSE(kvf_copy_has_null(&b.plan, &gc.copy));
	gc.ids[0][1] = KVF_BLOCK_NULL;
	CU_ASSERT_TRUE(kvf_copy_has_null(&b.plan, &gc.copy));
	gc.copy.n = 16;
	CU_ASSERT_FALSE(kvf_copy_has_null(&b.plan, &gc.copy));
	gc.copy.first = 15;
	gc.copy.n = 2;
	CU_ASSERT_TRUE(kvf_copy_has_null(&b.plan, &gc.copy));
	gc.copy.first_layer = 3; /* behind the last */
	CU_ASSERT_FALSE(kvf_copy_has_null(&b.plan, &gc.copy));
	gen_copy_fini(&gc);
	bench_close(&b);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "random", test_random },
		{ "lmcache_layouts", test_lmcache_layouts },
		{ "run_counts", test_run_counts },
		{ "tensors_stay_apart", test_tensors_stay_apart },
		{ "devices_stay_apart", test_devices_stay_apart },
		{ "has_null", test_has_null },
	};

	return kvf_test_main("runs", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
