/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order between the CUDA device's copies and the host's compute, over the fake runtime. Each rule has its control:
 * without the wait bytes are wrong, so the fake would show a wait that is missing.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"
#include "tests/support/cuda_rig.h"

#define API (&fake_cuda_api)
#define KERNEL_NS 300000u

static void open_usual(struct cuda_rig *rig, bool word, int devices)
{
	struct fake_cuda_config machine = fake_cuda_usual;

	memset(rig, 0, sizeof(*rig));
	machine.devices = devices;
	fake_cuda_reset(&machine);
	cuda_rig_usual(rig);
	rig->options.word = word;
	CU_ASSERT_EQUAL_FATAL(cuda_rig_open(rig, 1), KVF_OK);
}

static cudaStream_t new_stream(void)
{
	cudaStream_t stream;

	CU_ASSERT_EQUAL_FATAL(API->StreamCreateWithPriority(&stream, cudaStreamNonBlocking, 0), cudaSuccess);
	return stream;
}

static cudaEvent_t new_event(void)
{
	cudaEvent_t event;

	CU_ASSERT_EQUAL_FATAL(API->EventCreateWithFlags(&event, cudaEventDisableTiming), cudaSuccess);
	return event;
}

/* The host computes KV: all tensors become `value`, in a while. */
static void compute(struct cuda_rig *rig, cudaStream_t stream, int value)
{
	for (size_t i = 0; i < rig->gen.n_memory; i++) {
		size_t n;
		uint8_t *p = cuda_rig_memory(rig, i, &n);

		fake_cuda_kernel_fill(stream, p, value, n, KERNEL_NS);
	}
}

static unsigned wrong_bytes(const uint8_t *p, size_t n, uint8_t value)
{
	unsigned wrong = 0;

	for (size_t i = 0; i < n; i++)
		wrong += p[i] != value;
	return wrong;
}

static void gather(struct cuda_rig *rig, struct gen_copy *gc, struct kvf_fence *after, unsigned slot)
{
	cuda_rig_prepare(rig, gc, KVF_COPY_GATHER, slot);
	gc->copy.after = after;
	CU_ASSERT_EQUAL_FATAL(CUDA_OPS->copy(rig->dev, &gc->copy), KVF_OK);
}

enum { AWAIT_NOTHING, AWAIT_EVENT, AWAIT_RERECORDED, AWAIT_DESTROYED, AWAIT_STREAM };

/* A store whose blocks are being computed. Returns the bytes that are wrong. */
static unsigned store_race(int how, bool word)
{
	struct kvf_fence_in in = { .kind = KVF_FENCE_NOW };
	struct kvf_fence fence;
	struct cuda_rig rig;
	struct gen_copy gc;
	cudaStream_t stream;
	cudaEvent_t event;
	unsigned wrong;

	open_usual(&rig, word, 1);
	gen_copy_whole(&gc, &rig.gen.layout, rig.chunk_size, false);
	stream = new_stream();
	event = new_event();
	compute(&rig, stream, 0x42);
	CU_ASSERT_EQUAL(API->EventRecord(event, stream), cudaSuccess);
	if (how == AWAIT_STREAM)
		in = (struct kvf_fence_in){ .kind = KVF_FENCE_STREAM, .handle = stream };
	else if (how != AWAIT_NOTHING)
		in = (struct kvf_fence_in){ .kind = KVF_FENCE_EVENT, .handle = event };
	CU_ASSERT_EQUAL_FATAL(CUDA_OPS->capture(rig.dev, &in, &fence), KVF_OK);
	/* What the host does with them afterwards is its own affair. */
	if (how == AWAIT_RERECORDED || how == AWAIT_STREAM) {
		fake_cuda_kernel_fill(stream, rig.device_memory[0], 0x99, 1, 1000000000000ull);
		CU_ASSERT_EQUAL(API->EventRecord(event, stream), cudaSuccess);
	}
	if (how == AWAIT_DESTROYED)
		CU_ASSERT_EQUAL(API->EventDestroy(event), cudaSuccess);
	gather(&rig, &gc, &fence, 1);
	CU_ASSERT_TRUE_FATAL(cuda_rig_await(&rig, 1));
	CU_ASSERT_TRUE(fake_cuda_now(NULL) < 1000000000000ull);
	wrong = wrong_bytes(cuda_rig_slot(&rig, 1), rig.plan.payload_bytes, 0x42);
	CUDA_OPS->release(rig.dev, &fence);
	if (how != AWAIT_DESTROYED)
		API->EventDestroy(event);
	API->StreamDestroy(stream);
	fake_cuda_finish();
	gen_copy_fini(&gc);
	cuda_rig_close(&rig);
	return wrong;
}

static void test_store_waits(void)
{
	for (int word = 0; word < 2; word++) {
		CU_ASSERT_NOT_EQUAL(store_race(AWAIT_NOTHING, word), 0);
		CU_ASSERT_EQUAL(store_race(AWAIT_EVENT, word), 0);
		CU_ASSERT_EQUAL(store_race(AWAIT_RERECORDED, word), 0);
		CU_ASSERT_EQUAL(store_race(AWAIT_DESTROYED, word), 0);
		CU_ASSERT_EQUAL(store_race(AWAIT_STREAM, word), 0);
	}
}

/* A retrieve into blocks that attention still reads. Returns the bytes that attention got wrong. */
static unsigned load_race(int how)
{
	struct kvf_fence_in in = { .kind = KVF_FENCE_NOW };
	struct kvf_fence fence;
	struct cuda_rig rig;
	struct gen_copy gc;
	cudaStream_t stream;
	cudaEvent_t event;
	void *seen;
	size_t n;
	uint8_t *memory;
	unsigned wrong;

	open_usual(&rig, false, 1);
	gen_copy_whole(&gc, &rig.gen.layout, rig.chunk_size, false);
	stream = new_stream();
	event = new_event();
	memory = cuda_rig_memory(&rig, 0, &n);
	CU_ASSERT_EQUAL_FATAL(API->Malloc(&seen, n), cudaSuccess);
	memset(fake_cuda_shadow(memory), 0x17, n);
	fake_cuda_kernel_copy(stream, seen, memory, n, KERNEL_NS);
	CU_ASSERT_EQUAL(API->EventRecord(event, stream), cudaSuccess);
	if (how != AWAIT_NOTHING)
		in = (struct kvf_fence_in){ .kind = KVF_FENCE_EVENT, .handle = event };
	CU_ASSERT_EQUAL_FATAL(CUDA_OPS->capture(rig.dev, &in, &fence), KVF_OK);
	cuda_rig_prepare(&rig, &gc, KVF_COPY_SCATTER, 3);
	gc.copy.after = &fence;
	CU_ASSERT_EQUAL_FATAL(CUDA_OPS->copy(rig.dev, &gc.copy), KVF_OK);
	CU_ASSERT_TRUE_FATAL(cuda_rig_await(&rig, 1));
	fake_cuda_finish();
	wrong = wrong_bytes(fake_cuda_shadow(seen), n, 0x17);
	CUDA_OPS->release(rig.dev, &fence);
	API->EventDestroy(event);
	API->StreamDestroy(stream);
	API->Free(seen);
	gen_copy_fini(&gc);
	cuda_rig_close(&rig);
	return wrong;
}

static void test_load_waits(void)
{
	CU_ASSERT_NOT_EQUAL(load_race(AWAIT_NOTHING), 0);
	CU_ASSERT_EQUAL(load_race(AWAIT_EVENT), 0);
}

/* Attention runs behind a fence of ours; without waiting for it, it reads what was there before. */
static unsigned attention(bool waits)
{
	struct kvf_fence_out out;
	struct cuda_rig rig;
	struct gen_copy gc;
	cudaStream_t stream;
	void *seen;
	unsigned wrong;

	open_usual(&rig, false, 1);
	gen_copy_whole(&gc, &rig.gen.layout, rig.chunk_size, true);
	stream = new_stream();
	CU_ASSERT_EQUAL_FATAL(API->Malloc(&seen, 4096), cudaSuccess);
	CU_ASSERT_EQUAL(CUDA_OPS->fence(rig.dev, KVF_COPY_SCATTER, &out), KVF_OK);
	CU_ASSERT_EQUAL(out.kind, KVF_FENCE_NOW);
	memset(cuda_rig_slot(&rig, 0), 0x5A, rig.slot_bytes);
	cuda_rig_prepare(&rig, &gc, KVF_COPY_SCATTER, 0);
	CU_ASSERT_EQUAL_FATAL(CUDA_OPS->copy(rig.dev, &gc.copy), KVF_OK);
	CU_ASSERT_EQUAL_FATAL(CUDA_OPS->fence(rig.dev, KVF_COPY_SCATTER, &out), KVF_OK);
	CU_ASSERT_EQUAL_FATAL(out.kind, KVF_FENCE_EVENT);
	CU_ASSERT_EQUAL(out.device, 0);
	if (waits)
		CU_ASSERT_EQUAL(API->StreamWaitEvent(stream, out.handle, 0), cudaSuccess);
	/* The first block of the first tensor. */
	fake_cuda_kernel_copy(stream, seen, (uint8_t *)rig.groups[0].layers[0].base[0], 64, 100);
	CU_ASSERT_TRUE(cuda_rig_await(&rig, 1));
	fake_cuda_finish();
	wrong = wrong_bytes(fake_cuda_shadow(seen), 64, 0x5A);
	API->StreamDestroy(stream);
	API->Free(seen);
	gen_copy_fini(&gc);
	cuda_rig_close(&rig);
	return wrong;
}

static void test_fences_out(void)
{
	CU_ASSERT_NOT_EQUAL(attention(false), 0);
	CU_ASSERT_EQUAL(attention(true), 0);
}

/* A fence over two devices is done when both are; asked again without a new copy it is the same and costs no call. */
static void test_fence_of_two_devices(void)
{
	struct gen_shape shape = { 2, 16, 16, 4, 8, KVF_FLOAT16 };
	struct fake_cuda_config machine = fake_cuda_usual;
	struct kvf_fence_out out, again;
	struct cuda_rig rig = { .n_done = 0 };
	struct gen_rng rng = { 3 };
	struct gen_copy gc;
	uint64_t seed = 1, calls;

	machine.devices = 2;
	for (;; seed++) { /* until the groups lie on both */
		fake_cuda_reset(&machine);
		rig.chunk_size = 64;
		gen_layout_init(&rig.gen, KVF_PAYLOAD_LMCACHE);
		gen_layout_add(&rig.gen, "TBSHE", 2, &shape, NULL);
		gen_layout_add(&rig.gen, "BSHE", 1, &shape, NULL);
		gen_layout_fill(&rig.gen, &rng);
		CU_ASSERT_EQUAL_FATAL(cuda_rig_open(&rig, seed), KVF_OK);
		if (rig.groups[0].layers[0].device != rig.groups[1].layers[1].device)
			break;
		cuda_rig_close(&rig);
	}
	gen_copy_whole(&gc, &rig.gen.layout, rig.chunk_size, false);
	cuda_rig_prepare(&rig, &gc, KVF_COPY_SCATTER, 0);
	CU_ASSERT_EQUAL_FATAL(CUDA_OPS->copy(rig.dev, &gc.copy), KVF_OK);
	CU_ASSERT_EQUAL_FATAL(CUDA_OPS->fence(rig.dev, KVF_COPY_SCATTER, &out), KVF_OK);
	CU_ASSERT_EQUAL_FATAL(out.kind, KVF_FENCE_EVENT);
	calls = fake_cuda_calls(NULL);
	CU_ASSERT_EQUAL_FATAL(CUDA_OPS->fence(rig.dev, KVF_COPY_SCATTER, &again), KVF_OK);
	CU_ASSERT_EQUAL(fake_cuda_calls(NULL), calls);
	CU_ASSERT_PTR_EQUAL(again.handle, out.handle);
	while (API->EventQuery(out.handle) == cudaErrorNotReady)
		fake_cuda_advance(100);
	CUDA_OPS->progress(rig.dev, 1);
	CU_ASSERT_EQUAL(rig.n_done, 1); /* both parts were done */
	gen_copy_fini(&gc);
	cuda_rig_close(&rig);
}

/* Of a copy only a part could be issued: no fence covers it, until it has ended with its error. */
static void test_no_fence_over_a_torn_copy(void)
{
	struct cuda_rig rig = { .n_done = 0 };
	struct kvf_fence_out out;
	struct gen_copy gc;

	fake_cuda_reset(&fake_cuda_usual);
	cuda_rig_usual(&rig);
	rig.options.copy = KVF_WAY_MEMCPY;
	CU_ASSERT_EQUAL_FATAL(cuda_rig_open(&rig, 1), KVF_OK);
	gen_copy_whole(&gc, &rig.gen.layout, rig.chunk_size, true);
	cuda_rig_prepare(&rig, &gc, KVF_COPY_SCATTER, 0);
	fake_cuda_fail("MemcpyAsync", 2, cudaErrorInvalidValue, false);
	CU_ASSERT_EQUAL_FATAL(CUDA_OPS->copy(rig.dev, &gc.copy), KVF_OK);
	CU_ASSERT_PTR_NOT_NULL(fake_cuda_failed());
	CU_ASSERT_EQUAL(CUDA_OPS->fence(rig.dev, KVF_COPY_SCATTER, &out), KVF_EAGAIN);
	CU_ASSERT_EQUAL(CUDA_OPS->fence(rig.dev, KVF_COPY_GATHER, &out), KVF_OK);
	CU_ASSERT_TRUE(cuda_rig_await(&rig, 1));
	CU_ASSERT_EQUAL(gc.copy.status, KVF_EINVAL);
	CU_ASSERT_EQUAL(CUDA_OPS->fence(rig.dev, KVF_COPY_SCATTER, &out), KVF_OK);
	gen_copy_fini(&gc);
	cuda_rig_close(&rig);
}

static void test_capture(void)
{
	struct kvf_fence_in in = { .kind = KVF_FENCE_STREAM };
	struct kvf_fence fence;
	struct cuda_rig rig;
	struct gen_copy gc;
	cudaStream_t stream;
	cudaEvent_t event;

	open_usual(&rig, false, 1);
	gen_copy_whole(&gc, &rig.gen.layout, rig.chunk_size, false);
	stream = new_stream();
	event = new_event();
	fake_cuda_capture(stream, true);
	CU_ASSERT_EQUAL(API->EventRecord(event, stream), cudaSuccess);
	in.handle = stream;
	CU_ASSERT_EQUAL(CUDA_OPS->capture(rig.dev, &in, &fence), KVF_ECAPTURE);
	in.handle = NULL; /* the legacy stream, while somebody captures */
	CU_ASSERT_EQUAL(CUDA_OPS->capture(rig.dev, &in, &fence), KVF_ECAPTURE);
	in = (struct kvf_fence_in){ .kind = KVF_FENCE_EVENT, .handle = event };
	CU_ASSERT_EQUAL(CUDA_OPS->capture(rig.dev, &in, &fence), KVF_ECAPTURE);
	/* Work of ours goes on beside a capture, and does it no harm. */
	gather(&rig, &gc, NULL, 0);
	CU_ASSERT_TRUE(cuda_rig_await(&rig, 1));
	CU_ASSERT_FALSE(fake_cuda_capture_broken());
	/* The control: the same query without our care. */
	API->EventQuery(event);
	CU_ASSERT_TRUE(fake_cuda_capture_broken());
	fake_cuda_forgive();
	fake_cuda_capture(stream, false);
	API->EventDestroy(event);
	API->StreamDestroy(stream);
	gen_copy_fini(&gc);
	cuda_rig_close(&rig);
}

static void test_refused_fences(void)
{
	struct kvf_fence_in in = { .kind = KVF_FENCE_EVENT };
	uint64_t words[2] = { 0, 0 };
	struct kvf_fence fence;
	struct cuda_rig rig;
	cudaStream_t other;

	open_usual(&rig, false, 2);
	CU_ASSERT_EQUAL(CUDA_OPS->capture(rig.dev, &in, &fence), KVF_EINVAL);
	in.kind = KVF_FENCE_WORD;
	CU_ASSERT_EQUAL(CUDA_OPS->capture(rig.dev, &in, &fence), KVF_EINVAL);
	in.word = (const volatile uint64_t *)(uintptr_t)((uintptr_t)words | 4);
	CU_ASSERT_EQUAL(CUDA_OPS->capture(rig.dev, &in, &fence), KVF_EINVAL);
	in.kind = 99;
	CU_ASSERT_EQUAL(CUDA_OPS->capture(rig.dev, &in, &fence), KVF_EINVAL);
	/* A stream of a device where the layout has nothing. */
	API->SetDevice(1 - rig.groups[0].layers[0].device);
	other = new_stream();
	API->SetDevice(0);
	in = (struct kvf_fence_in){ .kind = KVF_FENCE_STREAM, .handle = other };
	if (rig.groups[0].layers[0].device == rig.groups[0].layers[1].device)
		CU_ASSERT_EQUAL(CUDA_OPS->capture(rig.dev, &in, &fence), KVF_EINVAL);
	API->StreamDestroy(other);
	cuda_rig_close(&rig);
}

/* Copies behind a word of the host are held back, in their direction only, and can be called back. */
static void test_word_of_the_host(void)
{
	static uint64_t word;
	struct kvf_fence_in in = { .kind = KVF_FENCE_WORD, .word = &word, .value = 7 };
	struct kvf_fence fence;
	struct kvf_fence_out out;
	struct cuda_rig rig;
	struct gen_copy gc[4];
	unsigned i;

	open_usual(&rig, true, 1);
	word = 0;
	CU_ASSERT_EQUAL_FATAL(CUDA_OPS->capture(rig.dev, &in, &fence), KVF_OK);
	for (i = 0; i < 4; i++)
		gen_copy_whole(&gc[i], &rig.gen.layout, rig.chunk_size, false);
	gather(&rig, &gc[0], &fence, 0);
	gather(&rig, &gc[1], NULL, 1); /* begins after the one before it */
	gather(&rig, &gc[2], &fence, 2);
	cuda_rig_prepare(&rig, &gc[3], KVF_COPY_SCATTER, 3);
	CU_ASSERT_EQUAL(CUDA_OPS->copy(rig.dev, &gc[3].copy), KVF_OK);
	CU_ASSERT_TRUE(cuda_rig_await(&rig, 1));
	CU_ASSERT_PTR_EQUAL(rig.done[0], &gc[3].copy);
	CU_ASSERT_EQUAL(CUDA_OPS->fence(rig.dev, KVF_COPY_GATHER, &out), KVF_EAGAIN);
	CUDA_OPS->cancel(rig.dev, &gc[1].copy);
	CU_ASSERT_EQUAL(gc[1].copy.status, KVF_ECANCELED);
	fake_cuda_advance(1000000);
	CUDA_OPS->progress(rig.dev, 1);
	CU_ASSERT_EQUAL(rig.n_done, 2);
	word = 7;
	CUDA_OPS->progress(rig.dev, 1);
	CU_ASSERT_EQUAL(CUDA_OPS->fence(rig.dev, KVF_COPY_GATHER, &out), KVF_OK);
	CUDA_OPS->cancel(rig.dev, &gc[0].copy); /* too late: it completes */
	CU_ASSERT_TRUE(cuda_rig_await(&rig, 4));
	CU_ASSERT_PTR_EQUAL(rig.done[2], &gc[0].copy);
	CU_ASSERT_EQUAL(gc[0].copy.status, KVF_OK);
	CU_ASSERT_PTR_EQUAL(rig.done[3], &gc[2].copy);
	for (i = 0; i < 4; i++)
		gen_copy_fini(&gc[i]);
	cuda_rig_close(&rig);
}

/* The caller's device is what it was, whatever was called. */
static void test_current_device(void)
{
	struct kvf_fence_in in = { .kind = KVF_FENCE_STREAM };
	struct kvf_fence_out out;
	struct kvf_fence fence;
	struct cuda_rig rig;
	struct gen_copy gc;

	open_usual(&rig, false, 3);
	gen_copy_whole(&gc, &rig.gen.layout, rig.chunk_size, false);
	API->SetDevice(2);
	in.handle = NULL;
	in.device = rig.groups[0].layers[0].device;
	(void)CUDA_OPS->capture(rig.dev, &in, &fence);
	CU_ASSERT_EQUAL(fake_cuda_current_device(), 2);
	fake_cuda_forgive(); /* the fake has no legacy stream */
	CUDA_OPS->release(rig.dev, &fence);
	gather(&rig, &gc, NULL, 0);
	CU_ASSERT_EQUAL(fake_cuda_current_device(), 2);
	CUDA_OPS->fence(rig.dev, KVF_COPY_GATHER, &out);
	CU_ASSERT_EQUAL(fake_cuda_current_device(), 2);
	CU_ASSERT_TRUE(cuda_rig_await(&rig, 1));
	CU_ASSERT_EQUAL(fake_cuda_current_device(), 2);
	CU_ASSERT_EQUAL(CUDA_OPS->rebind(rig.dev, &rig.layout), KVF_OK);
	CUDA_OPS->unlock(rig.dev, rig.pool, rig.slot_bytes * CUDA_RIG_SLOTS);
	CU_ASSERT_EQUAL(CUDA_OPS->lock(rig.dev, rig.pool, rig.slot_bytes * CUDA_RIG_SLOTS), KVF_OK);
	CU_ASSERT_EQUAL(fake_cuda_current_device(), 2);
	CU_ASSERT_EQUAL(fake_cuda_thread_mode(), cudaStreamCaptureModeGlobal);
	API->SetDevice(0);
	gen_copy_fini(&gc);
	cuda_rig_close(&rig);
}

/* Calls are bounded: of a turn, of a chunk; and an idle look at a word is none at all. */
static void test_bounded_calls(void)
{
	static struct gen_copy many[512];
	struct kvf_cuda_stats stats;
	struct cuda_rig rig;
	struct gen_copy gc;
	uint64_t calls;
	unsigned i, n = 0;
	int rc;

	open_usual(&rig, true, 1);
	gen_copy_whole(&gc, &rig.gen.layout, rig.chunk_size, false);
	fake_cuda_stall(true);
	calls = fake_cuda_calls(NULL);
	gather(&rig, &gc, NULL, 0);
	/* enter, leave, device, the copy itself, the mark. */
	CU_ASSERT_TRUE(fake_cuda_calls(NULL) - calls <= 4 + 16 + 1);
	kvf_cuda_device_stats(rig.dev, &stats);
	calls = fake_cuda_calls(NULL);
	for (i = 0; i < 30; i++)
		CU_ASSERT_EQUAL(CUDA_OPS->progress(rig.dev, 1), 0);
	CU_ASSERT_EQUAL(fake_cuda_calls(NULL), calls);
	for (i = 0; i < 64; i++)
		CUDA_OPS->progress(rig.dev, 1);
	CU_ASSERT_TRUE(fake_cuda_calls(NULL) - calls <= 2 * 5);
	CU_ASSERT_TRUE(fake_cuda_calls(NULL) > calls); /* errors would be seen */
	fake_cuda_stall(false);
	CU_ASSERT_TRUE(cuda_rig_await(&rig, 1));
	/* One turn takes so much and no more; progress() makes room and asks to be called again. */
	rig.n_done = 0;
	fake_cuda_stall(true);
	calls = fake_cuda_calls(NULL);
	do {
		many[n] = gc;
		cuda_rig_prepare(&rig, &many[n], KVF_COPY_GATHER, 0);
		rc = CUDA_OPS->copy(rig.dev, &many[n].copy);
		n += !rc;
	} while (!rc && n < 512);
	CU_ASSERT_EQUAL(rc, KVF_EAGAIN);
	CU_ASSERT_TRUE(n > 4 && fake_cuda_calls("MemcpyAsync") < 600);
	CU_ASSERT_TRUE(fake_cuda_calls(NULL) - calls < 256 + 32);
	CU_ASSERT_TRUE(CUDA_OPS->progress(rig.dev, 1) > 0);
	fake_cuda_stall(false);
	CU_ASSERT_TRUE(cuda_rig_await(&rig, n));
	gen_copy_fini(&gc);
	cuda_rig_close(&rig);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "store_waits", test_store_waits },
		{ "load_waits", test_load_waits },
		{ "fences_out", test_fences_out },
		{ "fence_of_two_devices", test_fence_of_two_devices },
		{ "no_fence_over_a_torn_copy", test_no_fence_over_a_torn_copy },
		{ "capture", test_capture },
		{ "refused_fences", test_refused_fences },
		{ "word_of_the_host", test_word_of_the_host },
		{ "current_device", test_current_device },
		{ "bounded_calls", test_bounded_calls },
	};
	int rc = kvf_test_main("cuda_order", tests, KVF_ARRAY_LEN(tests), argc, argv);

	fake_cuda_reset(&fake_cuda_usual);
	return rc;
}
