/* SPDX-License-Identifier: Apache-2.0 */
/* The CUDA device's bytes, over the fake runtime: every layout, order, dtype and block size, by every way of
 * copying. With KVF_CUDA_REAL=1 over the real one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"
#include "tests/ref_layout.h"
#include "tests/support/cuda_rig.h"

/* One copy of a rig that is open against the reference; the payload's other bytes stay as they are. */
static bool one_copy(struct cuda_rig *rig, struct gen_copy *gc, enum kvf_copy_direction direction, struct gen_rng *rng)
{
	size_t n = rig->slot_bytes, i;
	uint8_t *slot = cuda_rig_slot(rig, 2), *expected = malloc(n);
	unsigned before = rig->n_done;
	bool same;

	for (i = 0; i < n; i++)
		slot[i] = (uint8_t)(gen_u64(rng) >> 56);
	memcpy(expected, slot, n);
	cuda_rig_prepare(rig, gc, direction, 2);
	CU_ASSERT_EQUAL_FATAL(CUDA_OPS->copy(rig->dev, &gc->copy), KVF_OK);
	CU_ASSERT_TRUE_FATAL(cuda_rig_await(rig, before + 1));
	CU_ASSERT_EQUAL(gc->copy.status, KVF_OK);
	rig->n_done = before;
	if (direction == KVF_COPY_SCATTER)
		ref_scatter(&rig->gen.layout, rig->chunk_size, &gc->copy, slot);
	else
		ref_gather(&rig->gen.layout, rig->chunk_size, &gc->copy, expected);
	same = cuda_rig_equal(rig) && memcmp(slot, expected, n) == 0;
	free(expected);
	return same;
}

static bool random_case(uint64_t seed)
{
	struct fake_cuda_config machine = fake_cuda_usual;
	struct gen_rng rng = { seed };
	struct cuda_rig rig = { .n_done = 0 };
	bool same = true;
	uint32_t k;

	machine.devices = 1 + (int)gen_below(&rng, 3);
	fake_cuda_reset(&machine);
	gen_layout_random(&rig.gen, &rng, &rig.chunk_size);
	gen_layout_fill(&rig.gen, &rng);
	rig.options.word = gen_below(&rng, 2);
	rig.options.copy = (enum kvf_copy_way)gen_below(&rng, KVF_WAYS);
	rig.options.staging_bytes = 65536;
	if (gen_below(&rng, 4) == 0 && rig.options.copy != KVF_WAY_KERNEL)
		rig.options.staging_bytes = 0;
	CU_ASSERT_EQUAL_FATAL(cuda_rig_open(&rig, seed), KVF_OK);
	for (k = 0; same && k < 4; k++) {
		struct gen_copy gc;

		gen_copy_random(&gc, &rng, &rig.gen.layout, rig.chunk_size);
		same = one_copy(&rig, &gc, gen_below(&rng, 2) ? KVF_COPY_SCATTER : KVF_COPY_GATHER, &rng);
		gen_copy_fini(&gc);
	}
	cuda_rig_close(&rig);
	return same;
}

static void test_random(void)
{
	uint64_t seed;

	for (seed = 1; seed <= 700; seed++) {
		bool same = random_case(seed);

		CU_ASSERT_TRUE(same);
		if (!same)
			printf("seed %llu\n", (unsigned long long)seed);
	}
}

/* A whole chunk there and back by one way, kernel staging so small that the layers go in several ranges. */
static void one_layout(const struct gen_lmcache *format, const struct gen_shape *shape, enum kvf_payload_order order,
		       enum kvf_copy_way way, bool padded)
{
	struct cuda_rig rig = { .n_done = 0 };
	struct gen_rng rng = { shape->block_tokens * 31u + (unsigned)way }, padding = { 7 };
	struct gen_copy gc;
	bool same;

	fake_cuda_reset(&fake_cuda_usual);
	rig.chunk_size = 64;
	gen_layout_init(&rig.gen, order);
	gen_layout_add(&rig.gen, format->axes, format->planes, shape, padded ? &padding : NULL);
	gen_layout_fill(&rig.gen, &rng);
	rig.options.copy = way;
	rig.options.word = shape->block_tokens & 2;
	rig.options.staging_bytes = (uint64_t)2 * 64 * shape->heads * shape->head_elems * kvf_dtype_bytes(shape->dtype);
	CU_ASSERT_EQUAL_FATAL(cuda_rig_open(&rig, 1), KVF_OK);
	gen_copy_whole(&gc, &rig.gen.layout, rig.chunk_size, shape->block_tokens % 3 == 0);
	same = one_copy(&rig, &gc, KVF_COPY_GATHER, &rng) && one_copy(&rig, &gc, KVF_COPY_SCATTER, &rng);
	gc.copy.chunk_tokens = 13; /* a partial chunk, from inside a block on */
	gc.copy.first = 3;
	gc.copy.n = 10;
	gc.copy.payload_bytes = (uint32_t)kvf_layout_payload_bytes(&rig.plan, 13);
	same = same && one_copy(&rig, &gc, KVF_COPY_SCATTER, &rng) && one_copy(&rig, &gc, KVF_COPY_GATHER, &rng);
	gc.copy.first = 0;
	gc.copy.n = 13;
	gc.copy.first_layer = 1;
	gc.copy.n_layers = 2;
	same = same && one_copy(&rig, &gc, KVF_COPY_SCATTER, &rng) && one_copy(&rig, &gc, KVF_COPY_GATHER, &rng);
	CU_ASSERT_TRUE(same);
	if (!same)
		printf("%s, order %d, way %d, blocks of %u\n", format->name, order, way, shape->block_tokens);
	gen_copy_fini(&gc);
	cuda_rig_close(&rig);
}

static void test_lmcache_layouts(void)
{
	static const uint32_t blocks[] = { 1, 2, 8, 16, 32, 64, 128, 256 };
	static const enum kvf_dtype dtypes[] = { KVF_FLOAT16, KVF_BFLOAT16, KVF_FLOAT32, KVF_FP8_E4M3, KVF_INT8 };
	uint32_t format, b, n = 0;

	for (format = 0; format < GEN_LMCACHE_FORMATS; format++) {
		for (b = 0; b < KVF_ARRAY_LEN(blocks); b++) {
			struct gen_shape shape = { 3,
						   blocks[b] < 64 ? 2 * 64 / blocks[b] + 1 : 3,
						   blocks[b],
						   gen_lmcache[format].planes == 1 ? 1u : 2u,
						   4,
						   dtypes[n % KVF_ARRAY_LEN(dtypes)] };
			enum kvf_copy_way way;

			for (way = KVF_WAY_AUTO; way < KVF_WAYS; way++, n++)
				one_layout(&gen_lmcache[format], &shape,
					   (n + b) % 2 ? KVF_PAYLOAD_PAGES : KVF_PAYLOAD_LMCACHE, way, n % 3 == 2);
		}
	}
}

/* With null blocks the kernel clears its staging buffer: nothing of an earlier copy gets into the payload. */
static void test_nulls_by_kernel(void)
{
	struct cuda_rig rig = { .n_done = 0 };
	struct gen_rng rng = { 5 };
	struct gen_copy gc;

	fake_cuda_reset(&fake_cuda_usual);
	cuda_rig_usual(&rig);
	rig.options.copy = KVF_WAY_KERNEL;
	rig.options.staging_bytes = 1 << 20;
	CU_ASSERT_EQUAL_FATAL(cuda_rig_open(&rig, 1), KVF_OK);
	gen_copy_whole(&gc, &rig.gen.layout, rig.chunk_size, false);
	CU_ASSERT_TRUE(one_copy(&rig, &gc, KVF_COPY_GATHER, &rng));
	gc.ids[0][1] = KVF_BLOCK_NULL;
	gc.ids[0][3] = KVF_BLOCK_NULL;
	CU_ASSERT_TRUE(one_copy(&rig, &gc, KVF_COPY_GATHER, &rng));
	CU_ASSERT_TRUE(one_copy(&rig, &gc, KVF_COPY_SCATTER, &rng));
	gc.ids[0][0] = gc.ids[0][2] = KVF_BLOCK_NULL;
	CU_ASSERT_TRUE(one_copy(&rig, &gc, KVF_COPY_GATHER, &rng));
	CU_ASSERT_TRUE(one_copy(&rig, &gc, KVF_COPY_SCATTER, &rng));
	gen_copy_fini(&gc);
	cuda_rig_close(&rig);
}

static void test_stats(void)
{
	struct cuda_rig rig = { .n_done = 0 };
	struct kvf_cuda_stats stats;
	struct gen_rng rng = { 5 };
	struct gen_copy gc;

	fake_cuda_reset(&fake_cuda_usual);
	cuda_rig_usual(&rig);
	rig.options.copy = KVF_WAY_BATCH;
	CU_ASSERT_EQUAL_FATAL(cuda_rig_open(&rig, 1), KVF_OK);
	gen_copy_whole(&gc, &rig.gen.layout, rig.chunk_size, false);
	CU_ASSERT_TRUE(one_copy(&rig, &gc, KVF_COPY_GATHER, &rng));
	kvf_cuda_device_stats(rig.dev, &stats);
	CU_ASSERT_EQUAL(stats.copies, 1);
	CU_ASSERT_EQUAL(stats.bytes, rig.plan.payload_bytes);
	CU_ASSERT_EQUAL(stats.pieces, 4 * 2 * 2);
	CU_ASSERT_EQUAL(stats.by_way[KVF_WAY_BATCH], 1);
	CU_ASSERT_EQUAL(stats.calls, 2); /* the batch and the mark */
	CU_ASSERT_PTR_NULL(kvf_cuda_device_costs(rig.dev, 1, KVF_COPY_GATHER));
	gen_copy_fini(&gc);
	cuda_rig_close(&rig);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "random", test_random },
		{ "lmcache_layouts", test_lmcache_layouts },
		{ "nulls_by_kernel", test_nulls_by_kernel },
		{ "stats", test_stats },
	};
	int rc;

	if (getenv("KVF_CUDA_REAL") && !cuda_rig_use_card(&kvf_cuda_real)) {
		printf("*** SKIPPED: no CUDA device ***\n");
		return 77;
	}
	rc = kvf_test_main("cuda_bytes", tests, KVF_ARRAY_LEN(tests), argc, argv);
	fake_cuda_reset(&fake_cuda_usual);
	return rc;
}
