/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CUDA device when things fail, over the fake runtime: the k-th call fails for every k, commands fail after
 * they were accepted, nothing is ever done. Each copy that was accepted completes once; one that completes well has
 * right bytes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"
#include "tests/support/cuda_rig.h"

#define API (&fake_cuda_api)
#define COPIES 4
#define COMPUTE_NS 150000u

struct scene {
	struct cuda_rig rig;
	struct gen_copy gc[COPIES];
	bool accepted[COPIES];
	struct kvf_fence fence;
	bool captured;
	cudaStream_t stream;
	cudaEvent_t event;
	void *scratch;
	enum kvf_copy_way way;
	bool word;
};

static void host_computes(struct scene *s)
{
	CU_ASSERT_EQUAL_FATAL(API->StreamCreateWithPriority(&s->stream, cudaStreamNonBlocking, 0), cudaSuccess);
	CU_ASSERT_EQUAL_FATAL(API->EventCreateWithFlags(&s->event, cudaEventDisableTiming), cudaSuccess);
}

static void prepare(struct scene *s)
{
	unsigned i;

	memset(&s->rig, 0, sizeof(s->rig));
	memset(s->accepted, 0, sizeof(s->accepted));
	s->captured = false;
	fake_cuda_reset(&fake_cuda_usual);
	cuda_rig_usual(&s->rig);
	s->rig.options.copy = s->way;
	s->rig.options.word = s->word;
	s->rig.options.staging_bytes = 1 << 16;
	s->rig.options.now_ns = s->way == KVF_WAY_AUTO ? fake_cuda_now : NULL;
	for (i = 0; i < COPIES; i++)
		gen_copy_whole(&s->gc[i], &s->rig.gen.layout, s->rig.chunk_size, i == 2);
	cuda_rig_build(&s->rig, 1);
	host_computes(s);
}

/* Three stores behind the host's event, a retrieve, a fence. False: the device could not be opened. */
static bool act(struct scene *s)
{
	struct kvf_fence_in in = { .kind = KVF_FENCE_EVENT, .handle = s->event };
	struct kvf_fence_out out;
	unsigned i;

	if (cuda_rig_open(&s->rig, 1) != KVF_OK)
		return false;
	s->captured = CUDA_OPS->capture(s->rig.dev, &in, &s->fence) == KVF_OK;
	for (i = 0; i < COPIES; i++) {
		bool store = i != 2;

		cuda_rig_prepare(&s->rig, &s->gc[i], store ? KVF_COPY_GATHER : KVF_COPY_SCATTER, i);
		s->gc[i].copy.after = store && s->captured ? &s->fence : NULL;
		if (store && !s->captured)
			continue;
		s->accepted[i] = CUDA_OPS->copy(s->rig.dev, &s->gc[i].copy) == KVF_OK;
	}
	(void)CUDA_OPS->fence(s->rig.dev, KVF_COPY_SCATTER, &out);
	return true;
}

/* The host computes for a long time (nothing our copies read), so that its event is pending when we capture it. */
static void begin_compute(struct scene *s)
{
	CU_ASSERT_EQUAL_FATAL(API->Malloc(&s->scratch, 4096), cudaSuccess);
	fake_cuda_kernel_fill(s->stream, s->scratch, 1, 4096, COMPUTE_NS);
	CU_ASSERT_EQUAL(API->EventRecord(s->event, s->stream), cudaSuccess);
}

/* Slot 7 has what every gather must give: the retrieve goes to other blocks. */
static void check(struct scene *s, const char *what, uint64_t k)
{
	unsigned i, expected = 0;
	bool good = true;

	for (i = 0; i < COPIES; i++)
		expected += s->accepted[i];
	good = cuda_rig_await(&s->rig, expected) && s->rig.n_done == expected && !s->rig.n_twice;
	for (i = 0; i < COPIES; i++) {
		if (!s->accepted[i] || s->gc[i].copy.status || i == 2)
			continue;
		for (uint64_t b = 0; b < s->rig.plan.payload_bytes && good; b++)
			good = s->gc[i].copy.payload[b] == cuda_rig_slot(&s->rig, 7)[b];
	}
	CU_ASSERT_TRUE(good);
	if (!good)
		printf("%s, call %llu, way %d, word %d\n", what, (unsigned long long)k, s->way, s->word);
}

/* What a gather gives when all is well, into slot 7. False: the device is lost. */
static bool right_bytes(struct scene *s)
{
	struct gen_copy gc;
	unsigned before = s->rig.n_done;
	bool ok;

	gen_copy_whole(&gc, &s->rig.gen.layout, s->rig.chunk_size, false);
	cuda_rig_prepare(&s->rig, &gc, KVF_COPY_GATHER, 7);
	ok = CUDA_OPS->copy(s->rig.dev, &gc.copy) == KVF_OK && cuda_rig_await(&s->rig, before + 1) && !gc.copy.status;
	s->rig.n_done = 0;
	gen_copy_fini(&gc);
	return ok;
}

static void put_away(struct scene *s, bool strict)
{
	unsigned i;

	if (s->captured)
		CUDA_OPS->release(s->rig.dev, &s->fence);
	for (i = 0; i < COPIES; i++)
		gen_copy_fini(&s->gc[i]);
	if (!strict) {
		cuda_rig_drop(&s->rig);
		return;
	}
	API->Free(s->scratch);
	API->EventDestroy(s->event);
	API->StreamDestroy(s->stream);
	cuda_rig_close(&s->rig);
}

/* Returns whether the k-th call was there to fail. */
static bool fail_call(struct scene *s, uint64_t k, cudaError_t error, bool lasting)
{
	uint64_t before;
	bool sticky = error == cudaErrorLaunchFailure, opened, there;

	prepare(s);
	begin_compute(s);
	before = fake_cuda_calls(NULL);
	fake_cuda_fail(NULL, k, error, lasting);
	opened = act(s);
	if (opened) {
		unsigned i, expected = 0;

		for (i = 0; i < COPIES; i++)
			expected += s->accepted[i];
		CU_ASSERT_TRUE(cuda_rig_await(&s->rig, expected));
	}
	there = fake_cuda_calls(NULL) - before >= k;
	fake_cuda_fail(NULL, 0, cudaSuccess, false);
	CU_ASSERT_EQUAL(fake_cuda_violations(), 0);
	if (!sticky && !lasting) {
		CU_ASSERT_EQUAL(fake_cuda_current_device(), 0);
		CU_ASSERT_EQUAL(fake_cuda_thread_mode(), cudaStreamCaptureModeGlobal);
	}
	if (opened) {
		unsigned done = s->rig.n_done;
		bool fine = right_bytes(s);

		s->rig.n_done = done;
		CU_ASSERT_TRUE(fine || sticky || lasting);
		if (fine)
			check(s, "one call failed", k);
	}
	if (fake_cuda_violations())
		printf("fake CUDA: %s\n", fake_cuda_violation());
	/* What could not be freed is still there. */
	put_away(s, !sticky && !lasting && opened && (!fake_cuda_failed() || !strstr(fake_cuda_failed(), "Free")));
	return there;
}

static void test_every_call_fails(void)
{
	static const cudaError_t errors[] = {cudaErrorInvalidValue, cudaErrorMemoryAllocation,
					     cudaErrorLaunchFailure};
	struct scene s;
	unsigned e, mode;
	uint64_t k;

	for (mode = 0; mode < 8; mode++) {
		/* The calibration is some thousand calls that are all the same. */
		uint64_t step = mode / 2 == KVF_WAY_AUTO ? 13 : 1;

		s.way = (enum kvf_copy_way)(mode / 2);
		s.word = mode % 2;
		for (e = 0; e < KVF_ARRAY_LEN(errors); e++) {
			for (k = 1; fail_call(&s, k, errors[e], false) && k < 5000; k += e ? 2 * step + 1 : step)
				;
			CU_ASSERT_TRUE(k > 40 && k < 5000);
		}
		for (k = 1; fail_call(&s, k, cudaErrorInvalidValue, true) && k < 5000; k += 5 * step)
			;
	}
}

/* A command that was accepted fails: the device is lost, everything ends at once, nothing of it well. */
static void test_every_command_fails(void)
{
	struct scene s;
	unsigned mode, i, expected;
	uint64_t k;

	for (mode = 0; mode < 8; mode++) {
		s.way = (enum kvf_copy_way)(mode / 2);
		s.word = mode % 2;
		for (k = 1; k < 60; k += 1 + k / 16) {
			bool lost;

			prepare(&s);
			begin_compute(&s);
			s.rig.options.now_ns = NULL;
			if (s.way == KVF_WAY_AUTO)
				s.rig.options.copy = KVF_WAY_MEMCPY;
			fake_cuda_fault(k, cudaErrorIllegalAddress);
			if (!act(&s)) {
				put_away(&s, false);
				continue;
			}
			for (i = expected = 0; i < COPIES; i++)
				expected += s.accepted[i];
			CU_ASSERT_TRUE(cuda_rig_await(&s.rig, expected));
			CU_ASSERT_EQUAL(s.rig.n_done, expected);
			s.rig.n_done = 0;
			lost = CUDA_OPS->copy(s.rig.dev, &s.gc[0].copy) == KVF_EDEVLOST;
			if (lost) {
				struct kvf_fence_in in = { .kind = KVF_FENCE_EVENT, .handle = s.event };
				struct kvf_fence_out out;
				struct kvf_fence fence;

				CU_ASSERT_EQUAL(CUDA_OPS->capture(s.rig.dev, &in, &fence), KVF_EDEVLOST);
				CU_ASSERT_EQUAL(CUDA_OPS->fence(s.rig.dev, KVF_COPY_GATHER, &out), KVF_EDEVLOST);
				in.kind = KVF_FENCE_NOW;
				CU_ASSERT_EQUAL(CUDA_OPS->capture(s.rig.dev, &in, &fence), KVF_OK);
			} else {
				CU_ASSERT_TRUE(cuda_rig_await(&s.rig, 1));
			}
			CU_ASSERT_EQUAL(fake_cuda_violations(), 0);
			put_away(&s, false);
		}
	}
}

/* Nothing is done: copies neither complete nor fail; a lost device ends them all, those that waited for a word too. */
static void test_stalled_then_lost(void)
{
	static uint64_t word;
	struct kvf_fence_in in = { .kind = KVF_FENCE_WORD, .word = &word, .value = 1 };
	struct kvf_fence never;
	struct scene s;
	unsigned mode, i;

	for (mode = 0; mode < 2; mode++) {
		s.way = KVF_WAY_MEMCPY;
		s.word = mode;
		prepare(&s);
		begin_compute(&s);
		CU_ASSERT_EQUAL_FATAL(cuda_rig_open(&s.rig, 1), KVF_OK);
		CU_ASSERT_EQUAL_FATAL(CUDA_OPS->capture(s.rig.dev, &in, &never), KVF_OK);
		fake_cuda_stall(true);
		for (i = 0; i < COPIES; i++) {
			cuda_rig_prepare(&s.rig, &s.gc[i], i % 2 ? KVF_COPY_GATHER : KVF_COPY_SCATTER, i);
			s.gc[i].copy.after = i == 3 ? &never : NULL;
			CU_ASSERT_EQUAL_FATAL(CUDA_OPS->copy(s.rig.dev, &s.gc[i].copy), KVF_OK);
		}
		CU_ASSERT_EQUAL(CUDA_OPS->rebind(s.rig.dev, &s.rig.layout), KVF_EBUSY);
		for (i = 0; i < 1000; i++)
			CU_ASSERT_EQUAL(CUDA_OPS->progress(s.rig.dev, 1), 0);
		CU_ASSERT_EQUAL(s.rig.n_done, 0);
		fake_cuda_fail("EventQuery", mode ? 0 : 1, cudaErrorLaunchFailure, false);
		if (mode)
			fake_cuda_fail("StreamQuery", 1, cudaErrorLaunchFailure, false);
		CU_ASSERT_TRUE(cuda_rig_await(&s.rig, COPIES));
		for (i = 0; i < COPIES; i++)
			CU_ASSERT_EQUAL(s.gc[i].copy.status, KVF_EDEVLOST);
		put_away(&s, false);
	}
}

/* An answer that is no verdict is asked for again; so many of them in a row are one. */
static void test_doubts(void)
{
	struct scene s;
	unsigned i;

	s.way = KVF_WAY_MEMCPY;
	s.word = false;
	prepare(&s);
	begin_compute(&s);
	CU_ASSERT_EQUAL_FATAL(cuda_rig_open(&s.rig, 1), KVF_OK);
	cuda_rig_prepare(&s.rig, &s.gc[0], KVF_COPY_GATHER, 0);
	CU_ASSERT_EQUAL_FATAL(CUDA_OPS->copy(s.rig.dev, &s.gc[0].copy), KVF_OK);
	fake_cuda_fail("EventQuery", 1, cudaErrorInvalidValue, true);
	for (i = 0; i < 5; i++)
		CUDA_OPS->progress(s.rig.dev, 1);
	CU_ASSERT_EQUAL(s.rig.n_done, 0);
	fake_cuda_fail(NULL, 0, cudaSuccess, false);
	CU_ASSERT_TRUE(cuda_rig_await(&s.rig, 1));
	CU_ASSERT_EQUAL(s.gc[0].copy.status, KVF_OK);
	s.rig.n_done = 0;
	CU_ASSERT_EQUAL_FATAL(CUDA_OPS->copy(s.rig.dev, &s.gc[0].copy), KVF_OK);
	fake_cuda_fail("EventQuery", 1, cudaErrorInvalidValue, true);
	CU_ASSERT_TRUE(cuda_rig_await(&s.rig, 1));
	CU_ASSERT_EQUAL(s.gc[0].copy.status, KVF_EDEVLOST);
	fake_cuda_fail(NULL, 0, cudaSuccess, false);
	fake_cuda_finish();
	put_away(&s, true);
}

static unsigned said;

static void count_lines(struct kvf_device_host *host, enum kvf_log_level level, const char *msg)
{
	(void)host;
	said += level == KVF_LOG_ERROR && strstr(msg, "page-locked");
}

/* What is not page-locked does not get to the device, nor what a copy must not name. */
static void test_refused_copies(void)
{
	struct kvf_cuda_stats stats;
	struct scene s;
	uint8_t *pageable;

	s.way = KVF_WAY_MEMCPY;
	s.word = false;
	prepare(&s);
	begin_compute(&s);
	CU_ASSERT_EQUAL_FATAL(cuda_rig_open(&s.rig, 1), KVF_OK);
	pageable = calloc(1, s.rig.slot_bytes);
	cuda_rig_prepare(&s.rig, &s.gc[0], KVF_COPY_GATHER, 0);
	s.gc[0].copy.payload = pageable;
	s.rig.host.log = count_lines;
	said = 0;
	CU_ASSERT_EQUAL(CUDA_OPS->copy(s.rig.dev, &s.gc[0].copy), KVF_EINVAL);
	s.gc[0].copy.payload = s.rig.pool + s.rig.slot_bytes * CUDA_RIG_SLOTS - 4096; /* over the end */
	CU_ASSERT_EQUAL(CUDA_OPS->copy(s.rig.dev, &s.gc[0].copy), KVF_EINVAL);
	/* Counted each time, said once. */
	kvf_cuda_device_stats(s.rig.dev, &stats);
	CU_ASSERT_EQUAL(stats.refused, 2);
	CU_ASSERT_EQUAL(said, 1);
	s.gc[0].copy.payload = cuda_rig_slot(&s.rig, 0);
	s.gc[0].copy.n++;
	CU_ASSERT_EQUAL(CUDA_OPS->copy(s.rig.dev, &s.gc[0].copy), KVF_ERANGE);
	s.gc[0].copy.n--;
	s.gc[0].ids[0][0] = 16;
	CU_ASSERT_EQUAL(CUDA_OPS->copy(s.rig.dev, &s.gc[0].copy), KVF_EINVAL);
	CU_ASSERT_NOT_EQUAL(CUDA_OPS->lock(s.rig.dev, s.rig.pool, 4096), KVF_OK); /* twice */
	free(pageable);
	put_away(&s, true);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "every_call_fails", test_every_call_fails },
		{ "every_command_fails", test_every_command_fails },
		{ "stalled_then_lost", test_stalled_then_lost },
		{ "doubts", test_doubts },
		{ "refused_copies", test_refused_copies },
	};
	int rc = kvf_test_main("cuda_faults", tests, KVF_ARRAY_LEN(tests), argc, argv);

	fake_cuda_reset(&fake_cuda_usual);
	return rc;
}
