/* SPDX-License-Identifier: Apache-2.0 */
/* The host device: bytes, slicing, order, fences, cancel, refusals. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/device.h"
#include "tests/gen_layout.h"
#include "tests/harness.h"
#include "tests/ref_layout.h"

#define GUARD 64
#define MAX_COPIES 64
#define OPS (&kvf_device_host_ops)

/* An engine's part: remembers what completed in which order. */
struct rig {
	struct kvf_device_host host;
	struct kvf_mem mem;
	struct gen_layout gen;
	struct kvf_layout_plan plan;
	struct kvf_host_device *dev;
	uint32_t chunk_size, caps;
	struct kvf_copy *done[MAX_COPIES];
	unsigned n_done;
	char text[512];
	struct kvf_report report;
};

static void rig_complete(struct kvf_device_host *host, struct kvf_copy *copy, int status)
{
	struct rig *rig = kvf_container_of(host, struct rig, host);

	copy->status = status;
	copy->link = rig; /* the engine's from here on */
	if (rig->n_done < MAX_COPIES)
		rig->done[rig->n_done] = copy;
	rig->n_done++;
}

/* After rig->gen and rig->chunk_size were set. */
static int rig_open(struct rig *rig)
{
	char detail[256] = "";

	kvf_mem_init(&rig->mem, NULL);
	rig->host = (struct kvf_device_host){ .size = sizeof(rig->host), .complete = rig_complete };
	kvf_report_init(&rig->report, rig->text, sizeof(rig->text));
	rig->host.report = &rig->report;
	CU_ASSERT_EQUAL_FATAL(kvf_layout_init(&rig->plan, &rig->mem, &rig->gen.layout, rig->chunk_size, detail,
					      sizeof(detail)),
			      KVF_OK);
	CU_ASSERT_EQUAL_FATAL(kvf_host_device_new(&rig->mem, &rig->plan, &rig->dev), KVF_OK);
	return OPS->open(rig->dev, &rig->host, &rig->plan.layout, &rig->caps);
}

static void rig_close(struct rig *rig)
{
	OPS->close(rig->dev);
	kvf_host_device_free(&rig->mem, rig->dev);
	kvf_layout_fini(&rig->plan, &rig->mem);
	CU_ASSERT_EQUAL(kvf_mem_fini(&rig->mem), 0);
	gen_layout_fini(&rig->gen);
}

/* FlashAttention's layout, 2 layers, chunks of 64 tokens: 2 * 2 * 64 * 4 * 16 bytes a chunk. */
static void rig_usual(struct rig *rig)
{
	struct gen_shape shape = { 2, 16, 16, 4, 8, KVF_FLOAT16 };
	struct gen_rng rng = { 3 };

	memset(rig, 0, sizeof(*rig));
	rig->chunk_size = 64;
	gen_layout_init(&rig->gen, KVF_PAYLOAD_LMCACHE);
	gen_layout_add(&rig->gen, "TBSHE", 2, &shape, NULL);
	gen_layout_fill(&rig->gen, &rng);
	CU_ASSERT_EQUAL_FATAL(rig_open(rig), KVF_OK);
}

struct job {
	struct gen_copy gc;
	struct kvf_fence fence;
	uint8_t *payload;
};

static void job_make(struct job *job, struct rig *rig, uint32_t direction)
{
	gen_copy_whole(&job->gc, &rig->gen.layout, rig->chunk_size, false);
	job->payload = calloc(1, rig->plan.payload_bytes + GUARD);
	job->gc.copy.payload = job->payload;
	job->gc.copy.direction = direction;
}

static void job_free(struct job *job)
{
	gen_copy_fini(&job->gc);
	free(job->payload);
}

static void job_wait_for(struct job *job, struct rig *rig, const volatile uint64_t *word, uint64_t value)
{
	struct kvf_fence_in in = { .kind = KVF_FENCE_WORD, .word = word, .value = value };

	CU_ASSERT_EQUAL_FATAL(OPS->capture(rig->dev, &in, &job->fence), KVF_OK);
	job->gc.copy.after = &job->fence;
}

static void drain(struct rig *rig, uint64_t budget)
{
	uint64_t moved;

	do {
		moved = OPS->progress(rig->dev, budget);
		CU_ASSERT_FATAL(moved <= budget);
	} while (moved);
}

/* One random layout and copy, moved with random tiny budgets, against the reference. */
static bool sliced_case(uint64_t seed)
{
	struct gen_rng rng = { seed };
	struct rig rig = { .n_done = 0 };
	struct gen_copy gc;
	uint8_t *payload, *expected, *before, *after;
	uint64_t copies, bytes, moved, n, i;
	bool scatter = gen_below(&rng, 2), same;

	gen_layout_random(&rig.gen, &rng, &rig.chunk_size);
	gen_layout_fill(&rig.gen, &rng);
	CU_ASSERT_EQUAL_FATAL(rig_open(&rig), KVF_OK);
	gen_copy_random(&gc, &rng, &rig.gen.layout, rig.chunk_size);
	n = rig.plan.payload_bytes + GUARD;
	payload = malloc(n);
	expected = malloc(n);
	for (i = 0; i < n; i++)
		payload[i] = expected[i] = (uint8_t)(gen_u64(&rng) >> 56);
	before = gen_layout_save(&rig.gen);
	gc.copy.payload = payload;
	gc.copy.direction = scatter ? KVF_COPY_SCATTER : KVF_COPY_GATHER;
	CU_ASSERT_EQUAL_FATAL(OPS->copy(rig.dev, &gc.copy), KVF_OK);
	for (i = 0; rig.n_done == 0; i++) {
		uint64_t budget = 1 + gen_below(&rng, gen_below(&rng, 2) ? 200 : 9);

		moved = OPS->progress(rig.dev, budget);
		CU_ASSERT_FATAL(moved > 0 && moved <= budget && i < 1000000);
	}
	CU_ASSERT_EQUAL(OPS->progress(rig.dev, 1000), 0);
	CU_ASSERT_EQUAL(gc.copy.status, KVF_OK);
	kvf_host_device_stats(rig.dev, &copies, &bytes);
	CU_ASSERT_TRUE(bytes <= rig.plan.payload_bytes && copies <= bytes);
	after = gen_layout_save(&rig.gen);
	gen_layout_restore(&rig.gen, before);
	if (scatter)
		ref_scatter(&rig.gen.layout, rig.chunk_size, &gc.copy, payload);
	else
		ref_gather(&rig.gen.layout, rig.chunk_size, &gc.copy, expected);
	same = gen_layout_equal(&rig.gen, after) && memcmp(payload, expected, n) == 0;
	gen_copy_fini(&gc);
	rig_close(&rig);
	free(payload);
	free(expected);
	free(before);
	free(after);
	return same;
}

static void test_sliced(void)
{
	uint64_t seed;

	for (seed = 1; seed <= 3000; seed++) {
		bool same = sliced_case(seed);

		CU_ASSERT_TRUE(same);
		if (!same)
			printf("seed %llu\n", (unsigned long long)seed);
	}
}

/* Rows of the sizes with code of their own, and others. */
static void test_row_sizes(void)
{
	static const uint32_t sizes[] = { 1,  2,   31,	32,  33,  48,  64,  65,	  96,
					  128, 192, 255, 256, 384, 512, 513, 1024, 4096 };
	size_t i;

	for (i = 0; i < KVF_ARRAY_LEN(sizes); i++) {
		struct gen_shape shape = { 2, 16, 16, 3, sizes[i], KVF_UINT8 };
		struct rig rig = { .chunk_size = 64 };
		struct gen_rng rng = { i };
		struct job job;
		uint8_t *expected;

		gen_layout_init(&rig.gen, KVF_PAYLOAD_LMCACHE);
		gen_layout_add(&rig.gen, "BHSTE", 2, &shape, NULL);
		gen_layout_fill(&rig.gen, &rng);
		CU_ASSERT_EQUAL_FATAL(rig_open(&rig), KVF_OK);
		job_make(&job, &rig, KVF_COPY_GATHER);
		expected = calloc(1, rig.plan.payload_bytes);
		ref_gather(&rig.gen.layout, rig.chunk_size, &job.gc.copy, expected);
		CU_ASSERT_EQUAL(OPS->copy(rig.dev, &job.gc.copy), KVF_OK);
		drain(&rig, 1 << 20);
		CU_ASSERT_EQUAL(rig.n_done, 1);
		CU_ASSERT_EQUAL(memcmp(job.payload, expected, rig.plan.payload_bytes), 0);
		free(expected);
		job_free(&job);
		rig_close(&rig);
	}
}

static void test_store_then_load(void)
{
	struct gen_rng rng = { 99 };
	struct rig rig;
	struct job out, in;

	rig_usual(&rig);
	job_make(&out, &rig, KVF_COPY_GATHER);
	job_make(&in, &rig, KVF_COPY_SCATTER);
	CU_ASSERT_EQUAL(OPS->copy(rig.dev, &out.gc.copy), KVF_OK);
	drain(&rig, 1000);
	memcpy(in.payload, out.payload, rig.plan.payload_bytes);
	gen_layout_fill(&rig.gen, &rng);
	CU_ASSERT_EQUAL(OPS->copy(rig.dev, &in.gc.copy), KVF_OK);
	drain(&rig, 1000);
	memset(out.payload, 0, rig.plan.payload_bytes);
	CU_ASSERT_EQUAL(OPS->copy(rig.dev, &out.gc.copy), KVF_OK);
	drain(&rig, 1000);
	CU_ASSERT_EQUAL(memcmp(in.payload, out.payload, rig.plan.payload_bytes), 0);
	CU_ASSERT_EQUAL(rig.n_done, 3);
	job_free(&out);
	job_free(&in);
	rig_close(&rig);
}

/* A copy that waits holds back those behind it in its direction, and no other. */
static void test_fences_and_order(void)
{
	uint64_t word = 4;
	struct rig rig;
	struct job g1, g2, s1;

	rig_usual(&rig);
	job_make(&g1, &rig, KVF_COPY_GATHER);
	job_make(&g2, &rig, KVF_COPY_GATHER);
	job_make(&s1, &rig, KVF_COPY_SCATTER);
	job_wait_for(&g1, &rig, &word, 5);
	CU_ASSERT_EQUAL(OPS->copy(rig.dev, &g1.gc.copy), KVF_OK);
	CU_ASSERT_EQUAL(OPS->copy(rig.dev, &g2.gc.copy), KVF_OK);
	CU_ASSERT_EQUAL(OPS->progress(rig.dev, 1 << 20), 0);
	CU_ASSERT_EQUAL(OPS->copy(rig.dev, &s1.gc.copy), KVF_OK);
	CU_ASSERT_EQUAL(OPS->progress(rig.dev, 1 << 20), rig.plan.payload_bytes);
	CU_ASSERT_EQUAL(rig.n_done, 1);
	CU_ASSERT_PTR_EQUAL(rig.done[0], &s1.gc.copy);
	word = 5;
	drain(&rig, 777);
	CU_ASSERT_EQUAL(rig.n_done, 3);
	CU_ASSERT_PTR_EQUAL(rig.done[1], &g1.gc.copy);
	CU_ASSERT_PTR_EQUAL(rig.done[2], &g2.gc.copy);
	OPS->release(rig.dev, &g1.fence);
	job_free(&g1);
	job_free(&g2);
	job_free(&s1);
	rig_close(&rig);
}

/* With both directions busy, neither gets more than one budget ahead. */
static void test_directions_take_turns(void)
{
	struct rig rig;
	struct job g, s;
	struct kvf_fence_out gf, sf;
	uint64_t calls = 0;

	rig_usual(&rig);
	job_make(&g, &rig, KVF_COPY_GATHER);
	job_make(&s, &rig, KVF_COPY_SCATTER);
	OPS->copy(rig.dev, &g.gc.copy);
	OPS->copy(rig.dev, &s.gc.copy);
	OPS->fence(rig.dev, KVF_COPY_GATHER, &gf);
	OPS->fence(rig.dev, KVF_COPY_SCATTER, &sf);
	while (rig.n_done == 0) {
		CU_ASSERT_EQUAL(OPS->progress(rig.dev, 100), 100);
		calls++;
	}
	CU_ASSERT_TRUE(calls * 100 >= 2 * rig.plan.payload_bytes - 200);
	drain(&rig, 100);
	CU_ASSERT_TRUE(*gf.word >= gf.value && *sf.word >= sf.value);
	job_free(&g);
	job_free(&s);
	rig_close(&rig);
}

static bool passed(const struct kvf_fence_out *fence)
{
	return __atomic_load_n(fence->word, __ATOMIC_ACQUIRE) >= fence->value;
}

/* A fence speaks of every copy accepted before it, also when later ones end first because they were cancelled. */
static void test_out_fences(void)
{
	struct kvf_fence_out before, first, second, third, other;
	struct rig rig;
	struct job j[3];
	int i;

	rig_usual(&rig);
	for (i = 0; i < 3; i++)
		job_make(&j[i], &rig, KVF_COPY_GATHER);
	OPS->fence(rig.dev, KVF_COPY_GATHER, &before);
	CU_ASSERT_TRUE(passed(&before));
	OPS->copy(rig.dev, &j[0].gc.copy);
	OPS->fence(rig.dev, KVF_COPY_GATHER, &first);
	OPS->copy(rig.dev, &j[1].gc.copy);
	OPS->fence(rig.dev, KVF_COPY_GATHER, &second);
	OPS->copy(rig.dev, &j[2].gc.copy);
	OPS->fence(rig.dev, KVF_COPY_GATHER, &third);
	OPS->fence(rig.dev, KVF_COPY_SCATTER, &other);
	CU_ASSERT_EQUAL(first.kind, KVF_FENCE_WORD);
	OPS->cancel(rig.dev, &j[1].gc.copy);
	OPS->cancel(rig.dev, &j[2].gc.copy);
	CU_ASSERT_EQUAL(j[1].gc.copy.status, KVF_ECANCELED);
	CU_ASSERT_EQUAL(rig.n_done, 2);
	CU_ASSERT_FALSE(passed(&first) || passed(&second) || passed(&third));
	CU_ASSERT_TRUE(passed(&before) && passed(&other));
	drain(&rig, 5000);
	CU_ASSERT_TRUE(passed(&first) && passed(&second) && passed(&third));
	CU_ASSERT_EQUAL(rig.n_done, 3);
	for (i = 0; i < 3; i++)
		job_free(&j[i]);
	rig_close(&rig);
}

static void test_cancel(void)
{
	struct kvf_fence_out all;
	struct rig rig;
	struct job j[4];
	uint8_t *expected;
	int i;

	rig_usual(&rig);
	for (i = 0; i < 4; i++) {
		job_make(&j[i], &rig, KVF_COPY_GATHER);
		OPS->copy(rig.dev, &j[i].gc.copy);
	}
	expected = calloc(1, rig.plan.payload_bytes);
	ref_gather(&rig.gen.layout, rig.chunk_size, &j[0].gc.copy, expected);
	OPS->fence(rig.dev, KVF_COPY_GATHER, &all);
	CU_ASSERT_EQUAL(OPS->progress(rig.dev, 10), 10);
	OPS->cancel(rig.dev, &j[0].gc.copy); /* begun: goes on */
	OPS->cancel(rig.dev, &j[3].gc.copy); /* last */
	OPS->cancel(rig.dev, &j[1].gc.copy); /* in the middle */
	CU_ASSERT_EQUAL(rig.n_done, 2);
	CU_ASSERT_PTR_EQUAL(rig.done[0], &j[3].gc.copy);
	drain(&rig, 4000);
	CU_ASSERT_EQUAL(rig.n_done, 4);
	CU_ASSERT_EQUAL(j[0].gc.copy.status, KVF_OK);
	CU_ASSERT_EQUAL(j[1].gc.copy.status, KVF_ECANCELED);
	CU_ASSERT_EQUAL(j[2].gc.copy.status, KVF_OK);
	CU_ASSERT_EQUAL(j[3].gc.copy.status, KVF_ECANCELED);
	CU_ASSERT_EQUAL(memcmp(j[0].payload, expected, rig.plan.payload_bytes), 0);
	CU_ASSERT_EQUAL(j[1].payload[0], 0);
	CU_ASSERT_TRUE(passed(&all));
	/* The first of a queue, not begun. */
	OPS->copy(rig.dev, &j[1].gc.copy);
	OPS->cancel(rig.dev, &j[1].gc.copy);
	CU_ASSERT_EQUAL(rig.n_done, 5);
	CU_ASSERT_EQUAL(j[1].payload[0], 0);
	/* Nothing is left, and the queue still works. */
	OPS->copy(rig.dev, &j[1].gc.copy);
	CU_ASSERT_FALSE(passed(&(struct kvf_fence_out){ .word = all.word, .value = all.value + 2 }));
	drain(&rig, 4000);
	CU_ASSERT_EQUAL(memcmp(j[1].payload, expected, rig.plan.payload_bytes), 0);
	free(expected);
	for (i = 0; i < 4; i++)
		job_free(&j[i]);
	rig_close(&rig);
}

static void test_close_ends_all(void)
{
	struct rig rig;
	struct job g, s;

	rig_usual(&rig);
	job_make(&g, &rig, KVF_COPY_GATHER);
	job_make(&s, &rig, KVF_COPY_SCATTER);
	OPS->copy(rig.dev, &g.gc.copy);
	OPS->copy(rig.dev, &s.gc.copy);
	OPS->progress(rig.dev, 1);
	rig_close(&rig);
	CU_ASSERT_EQUAL(rig.n_done, 2);
	CU_ASSERT_EQUAL(g.gc.copy.status, KVF_ECANCELED);
	CU_ASSERT_EQUAL(s.gc.copy.status, KVF_ECANCELED);
	job_free(&g);
	job_free(&s);
}

static void test_capture(void)
{
	struct kvf_fence_in in = { .kind = KVF_FENCE_NOW };
	struct kvf_fence fence;
	uint64_t word[2] = { 0, 0 };
	struct rig rig;

	rig_usual(&rig);
	CU_ASSERT_EQUAL(OPS->capture(rig.dev, &in, &fence), KVF_OK);
	in.kind = KVF_FENCE_WORD;
	CU_ASSERT_EQUAL(OPS->capture(rig.dev, &in, &fence), KVF_EINVAL);
	in.word = (const volatile uint64_t *)(uintptr_t)((uintptr_t)word + 4);
	CU_ASSERT_EQUAL(OPS->capture(rig.dev, &in, &fence), KVF_EINVAL);
	in.word = word;
	CU_ASSERT_EQUAL(OPS->capture(rig.dev, &in, &fence), KVF_OK);
	in.kind = KVF_FENCE_EVENT;
	CU_ASSERT_EQUAL(OPS->capture(rig.dev, &in, &fence), KVF_ENOTSUP);
	in.kind = KVF_FENCE_STREAM;
	CU_ASSERT_EQUAL(OPS->capture(rig.dev, &in, &fence), KVF_ENOTSUP);
	in.kind = KVF_FENCE_NONE;
	CU_ASSERT_EQUAL(OPS->capture(rig.dev, &in, &fence), KVF_EINVAL);
	in.kind = 77;
	CU_ASSERT_EQUAL(OPS->capture(rig.dev, &in, &fence), KVF_EINVAL);
	rig_close(&rig);
}

static void expect_refusal(struct rig *rig, struct kvf_copy copy, int status)
{
	CU_ASSERT_EQUAL(OPS->copy(rig->dev, &copy), status);
	CU_ASSERT_EQUAL(OPS->progress(rig->dev, 100), 0);
	CU_ASSERT_EQUAL(rig->n_done, 0);
}

/* What an engine should never send is refused before it touches memory. */
static void test_bad_copies(void)
{
	struct kvf_copy copy;
	struct rig rig;
	struct job job;

	rig_usual(&rig);
	job_make(&job, &rig, KVF_COPY_GATHER);
	copy = job.gc.copy;
	copy.direction = 2;
	expect_refusal(&rig, copy, KVF_EINVAL);
	copy = job.gc.copy;
	copy.payload = NULL;
	expect_refusal(&rig, copy, KVF_EINVAL);
	copy = job.gc.copy;
	copy.chunk_tokens = 65;
	expect_refusal(&rig, copy, KVF_ERANGE);
	copy = job.gc.copy;
	copy.first = 1;
	expect_refusal(&rig, copy, KVF_ERANGE);
	copy = job.gc.copy;
	copy.payload_bytes--;
	expect_refusal(&rig, copy, KVF_ERANGE);
	copy = job.gc.copy;
	copy.n_groups = 0;
	expect_refusal(&rig, copy, KVF_EINVAL);
	job.gc.ids[0][2] = 16;
	expect_refusal(&rig, job.gc.copy, KVF_EINVAL);
	job_free(&job);
	rig_close(&rig);
}

static void test_refuses_device_memory(void)
{
	struct gen_shape shape = { 2, 8, 16, 4, 8, KVF_FLOAT16 };
	struct rig rig = { .chunk_size = 64 };

	gen_layout_init(&rig.gen, KVF_PAYLOAD_LMCACHE);
	gen_layout_add(&rig.gen, "TBSHE", 2, &shape, NULL);
	rig.gen.layers[0][1].device = 2;
	CU_ASSERT_EQUAL(rig_open(&rig), KVF_ENODEV);
	CU_ASSERT_PTR_NOT_NULL(strstr(rig.text, "layer 1 of layout group 0 is on device 2"));
	CU_ASSERT_EQUAL(rig.report.errors, 1);
	rig_close(&rig);
}

static void test_refuses_opaque(void)
{
	struct rig rig = { .chunk_size = 64 };

	gen_layout_init(&rig.gen, KVF_PAYLOAD_LMCACHE);
	rig.gen.layout.kind = KVF_LAYOUT_OPAQUE;
	rig.gen.layout.opaque_chunk_bytes = 1000;
	CU_ASSERT_EQUAL(rig_open(&rig), KVF_ENOTSUP);
	rig_close(&rig);
}

static void test_rebind(void)
{
	struct rig rig;
	struct job job;

	rig_usual(&rig);
	CU_ASSERT_EQUAL(rig.caps, KVF_DEVICE_LAYERWISE | KVF_DEVICE_FENCES);
	job_make(&job, &rig, KVF_COPY_GATHER);
	OPS->copy(rig.dev, &job.gc.copy);
	CU_ASSERT_EQUAL(OPS->rebind(rig.dev, &rig.plan.layout), KVF_EBUSY);
	drain(&rig, 4000);
	CU_ASSERT_EQUAL(OPS->rebind(rig.dev, &rig.plan.layout), KVF_OK);
	rig.gen.layers[0][0].device = 0;
	CU_ASSERT_EQUAL(OPS->rebind(rig.dev, &rig.gen.layout), KVF_ENODEV);
	job_free(&job);
	rig_close(&rig);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "sliced", test_sliced },
		{ "row_sizes", test_row_sizes },
		{ "store_then_load", test_store_then_load },
		{ "fences_and_order", test_fences_and_order },
		{ "directions_take_turns", test_directions_take_turns },
		{ "out_fences", test_out_fences },
		{ "cancel", test_cancel },
		{ "close_ends_all", test_close_ends_all },
		{ "capture", test_capture },
		{ "bad_copies", test_bad_copies },
		{ "refuses_device_memory", test_refuses_device_memory },
		{ "refuses_opaque", test_refuses_opaque },
		{ "rebind", test_rebind },
	};

	return kvf_test_main("host_device", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
