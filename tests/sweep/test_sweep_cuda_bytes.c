/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes of the CUDA device over the fake runtime against the slow reference, case by case from a seed: LMCache's
 * layouts 0-10 by number, payload order, dtype, block size, padding, up to three groups over up to three devices, then
 * copies of every kind (partial chunks, ranges of tokens and layers, null blocks), each by every way. What was met is
 * counted, and a sweep that left out a combination fails: so a way that quietly became another one shows.
 *
 * `make check` runs SEEDS cases, KVF_CUDA_BYTES=N (make sweep-cuda-bytes) N of them; KVF_CUDA_BYTES_SEED=S only one.
 * KVF_CUDA_REAL=1 (make check-gpu): on the cards of this machine instead of the fake's; 77 where there are none.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"
#include "tests/ref_layout.h"
#include "tests/support/cuda_rig.h"

#define SEEDS 330u
#define COPIES 4u
#define MAX_BLOCK 256u
#define MAX_CHUNK 256u
#define MAX_WRONG 3u

static const enum kvf_dtype dtypes[] = { KVF_FLOAT16, KVF_BFLOAT16, KVF_FLOAT32, KVF_FP8_E4M3, KVF_FP8_E5M2, KVF_INT8 };

/* What the copies of the sweep were, of those only that went the way that was asked for. */
static struct {
	uint32_t format[GEN_LMCACHE_FORMATS][2][KVF_WAYS][2]; /* payload order, way, direction */
	uint32_t dtype[KVF_ARRAY_LEN(dtypes)][KVF_WAYS];
	uint32_t block[MAX_BLOCK + 1];
	uint32_t partial[KVF_WAYS], inside[KVF_WAYS], nulls[KVF_WAYS], padded[KVF_WAYS], mla[KVF_WAYS];
	uint32_t groups[KVF_WAYS], devices[KVF_WAYS], layers[KVF_WAYS], words[KVF_WAYS], ranges;
} met;

struct bytes_case {
	uint32_t format, dtype, block;
	bool padded;
	int devices;
	uint64_t staging;
	struct cuda_rig rig;
};

/* One that fits the chunk: a divisor of it, or a multiple. */
static uint32_t other_block(struct gen_rng *rng, uint32_t chunk)
{
	uint32_t block = 1 + gen_below(rng, MAX_BLOCK);

	while (chunk % block && block % chunk)
		block--;
	return block;
}

static uint32_t chunk_for(struct gen_rng *rng, uint32_t block)
{
	uint32_t chunk;

	if (gen_below(rng, 4))
		return block * (1 + gen_below(rng, MAX_CHUNK / block));
	chunk = 1 + gen_below(rng, block);
	while (block % chunk)
		chunk--;
	return chunk;
}

static void add_group(struct bytes_case *c, struct gen_rng *rng, uint32_t format, uint32_t dtype, uint32_t block)
{
	uint32_t planes = gen_lmcache[format].planes, i = c->rig.gen.layout.n_groups, chunk = c->rig.chunk_size;
	struct gen_shape shape = { .n_layers = 1 + gen_below(rng, 3),
				   .n_blocks = 3 * (uint32_t)kvf_div_up(chunk, block) + 4,
				   .block_tokens = block,
				   .heads = planes == 1 ? 1 : 1 + gen_below(rng, 3),
				   .head_elems = 1 + gen_below(rng, 8),
				   .dtype = dtypes[dtype] };
	const struct kvf_group *g;
	uint64_t layer;

	gen_layout_add(&c->rig.gen, gen_lmcache[format].axes, planes, &shape, c->padded ? rng : NULL);
	g = &c->rig.gen.groups[i];
	layer = (uint64_t)chunk * planes * g->heads * g->head_elems * kvf_dtype_bytes(g->dtype);
	c->staging = kvf_max_u64(c->staging, layer);
}

/* The same layout for the same seed, whichever way is asked for. */
static void make_case(struct bytes_case *c, uint64_t seed, enum kvf_copy_way way)
{
	struct fake_cuda_config machine = fake_cuda_usual;
	struct gen_rng rng = { seed * 0x51ed27 };
	uint32_t n = gen_below(&rng, 2) ? 1 : 1 + gen_below(&rng, 3), i;

	memset(c, 0, sizeof(*c));
	c->format = (uint32_t)(seed % GEN_LMCACHE_FORMATS);
	c->dtype = (uint32_t)(seed / 2 % KVF_ARRAY_LEN(dtypes));
	c->block = 1 + gen_below(&rng, gen_below(&rng, 2) ? 32 : MAX_BLOCK);
	c->padded = gen_below(&rng, 2);
	c->devices = machine.devices = 1 + (int)gen_below(&rng, 3);
	fake_cuda_reset(&machine);
	gen_layout_init(&c->rig.gen, seed / GEN_LMCACHE_FORMATS % 2 ? KVF_PAYLOAD_PAGES : KVF_PAYLOAD_LMCACHE);
	c->rig.chunk_size = chunk_for(&rng, c->block);
	add_group(c, &rng, c->format, c->dtype, c->block);
	for (i = 1; i < n; i++)
		add_group(c, &rng, gen_below(&rng, GEN_LMCACHE_FORMATS), gen_below(&rng, KVF_ARRAY_LEN(dtypes)),
			  other_block(&rng, c->rig.chunk_size));
	gen_layout_fill(&c->rig.gen, &rng);
	/* So small that the layers of a copy go in several ranges, or large enough for all of them. */
	c->rig.options.staging_bytes = gen_below(&rng, 2) ? c->staging : 20 * c->staging;
	c->rig.options.copy = way;
	c->rig.options.word = gen_below(&rng, 2);
	c->rig.options.now_ns = way == KVF_WAY_AUTO ? cuda_rig_now : NULL;
}

static void count(const struct bytes_case *c, const struct gen_copy *gc, enum kvf_copy_way way)
{
	const struct kvf_layout *layout = &c->rig.gen.layout;
	const struct kvf_copy *copy = &gc->copy;
	uint64_t first = copy->chunk_first_token + copy->first;

	met.format[c->format][layout->payload_order][way][copy->direction]++;
	met.dtype[c->dtype][way]++;
	met.block[c->block]++;
	met.partial[way] += copy->chunk_tokens < c->rig.chunk_size;
	met.inside[way] += first % c->block != 0;
	for (uint64_t i = first / c->block; i <= (first + copy->n - 1) / c->block; i++)
		if (gc->ids[0][i - gc->lists[0].first_block] == KVF_BLOCK_NULL) {
			met.nulls[way]++;
			break;
		}
	met.padded[way] += c->padded;
	met.mla[way] += layout->groups[0].planes == 1;
	met.groups[way] += layout->n_groups > 1;
	met.devices[way] += kvf_cuda_device_costs(c->rig.dev, 1, KVF_COPY_GATHER) != NULL;
	met.layers[way] += copy->n_layers != UINT32_MAX;
	met.words[way] += c->rig.options.word;
	met.ranges += way == KVF_WAY_KERNEL && c->rig.options.staging_bytes == c->staging;
}

/* Everything around the bytes that were named stays as it is: guards, padding, other blocks, the rest of the slot. */
static bool one_copy(struct bytes_case *c, struct gen_rng *rng, enum kvf_copy_direction direction,
		     enum kvf_copy_way way)
{
	struct cuda_rig *rig = &c->rig;
	size_t n = rig->slot_bytes, i;
	uint8_t *slot = cuda_rig_slot(rig, 2), *expected = malloc(n);
	struct kvf_cuda_stats before, after;
	struct gen_copy gc;
	bool ok;

	gen_copy_random(&gc, rng, &rig->gen.layout, rig->chunk_size);
	for (i = 0; i < n; i++)
		slot[i] = expected[i] = (uint8_t)(gen_u64(rng) >> 56);
	cuda_rig_prepare(rig, &gc, direction, 2);
	kvf_cuda_device_stats(rig->dev, &before);
	rig->n_done = 0;
	ok = CUDA_OPS->copy(rig->dev, &gc.copy) == KVF_OK && cuda_rig_await(rig, 1) && gc.copy.status == KVF_OK;
	kvf_cuda_device_stats(rig->dev, &after);
	if (direction == KVF_COPY_SCATTER)
		ref_scatter(&rig->gen.layout, rig->chunk_size, &gc.copy, slot);
	else
		ref_gather(&rig->gen.layout, rig->chunk_size, &gc.copy, expected);
	ok = ok && cuda_rig_equal(rig) && !memcmp(slot, expected, n);
	if (gc.copy.n && (way == KVF_WAY_AUTO || after.by_way[way] > before.by_way[way]))
		count(c, &gc, way);
	gen_copy_fini(&gc);
	free(expected);
	return ok;
}

static bool run_case(uint64_t seed, enum kvf_copy_way way)
{
	struct gen_rng rng = { seed * 4 + (uint64_t)way };
	struct bytes_case c;
	bool ok;

	make_case(&c, seed, way);
	ok = cuda_rig_open(&c.rig, seed) == KVF_OK;
	for (uint32_t i = 0; ok && i < COPIES; i++)
		ok = one_copy(&c, &rng, i % 2 ? KVF_COPY_GATHER : KVF_COPY_SCATTER, way);
	CU_ASSERT_TRUE(ok);
	if (!ok)
		printf("KVF_CUDA_BYTES_SEED=%llu: layout %u, %s, blocks of %u, chunks of %u, by %s\n%s\n",
		       (unsigned long long)seed, c.format,
		       c.rig.gen.layout.payload_order == KVF_PAYLOAD_PAGES ? "pages" : "lmcache", c.block,
		       c.rig.chunk_size, kvf_plan_way_name(way), c.rig.text);
	cuda_rig_close(&c.rig);
	return ok;
}

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

/* The planner may choose as it likes, but each of the three was forced on everything. */
static void check_met(void)
{
	uint32_t blocks = 0;

	for (enum kvf_copy_way way = KVF_WAY_AUTO; way < KVF_WAYS; way++) {
		for (uint32_t i = 0; i < GEN_LMCACHE_FORMATS * 4; i++)
			CU_ASSERT_TRUE(met.format[i / 4][i / 2 % 2][way][i % 2] > 0);
		for (uint32_t i = 0; i < KVF_ARRAY_LEN(dtypes); i++)
			CU_ASSERT_TRUE(met.dtype[i][way] > 0);
		CU_ASSERT_TRUE(met.partial[way] > 10 && met.inside[way] > 10 && met.nulls[way] > 10);
		CU_ASSERT_TRUE(met.padded[way] > 10 && met.mla[way] > 10 && met.groups[way] > 10);
		CU_ASSERT_TRUE(met.layers[way] > 10 && met.words[way] > 10);
		CU_ASSERT_TRUE(met.devices[way] > 10 || (cuda_rig_on_card() && cuda_rig_devices() == 1));
	}
	for (uint32_t i = 1; i <= MAX_BLOCK; i++)
		blocks += met.block[i] > 0;
	CU_ASSERT_TRUE(met.block[1] > 0 && blocks > 100);
	CU_ASSERT_TRUE(met.ranges > 10);
	printf(" %u block sizes ", blocks);
}

static void test_sweep(void)
{
	uint64_t one = number("KVF_CUDA_BYTES_SEED", 0), n = number("KVF_CUDA_BYTES", SEEDS);
	uint32_t wrong = 0;

	for (uint64_t seed = one ? one : 1; seed <= (one ? one : n) && wrong < MAX_WRONG; seed++)
		for (enum kvf_copy_way way = KVF_WAY_AUTO; way < KVF_WAYS; way++)
			wrong += !run_case(seed, way);
	if (!one && !wrong && n >= SEEDS)
		check_met();
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = { { "sweep", test_sweep } };
	int rc;

	if (getenv("KVF_CUDA_REAL") && !cuda_rig_use_card(&kvf_cuda_real)) {
		printf("*** SKIPPED: no CUDA device ***\n");
		return 77;
	}
	rc = kvf_test_main("sweep_cuda_bytes", tests, KVF_ARRAY_LEN(tests), argc, argv);
	fake_cuda_reset(&fake_cuda_usual);
	return rc;
}
