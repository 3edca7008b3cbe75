/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fake CUDA runtime bites: what a driver forgives, or punishes only now and then, it reports every time. Tests of
 * the device are worth what this one says. And what becomes of memory that cannot be page-locked, over a whole engine.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kvferry/kvf_control.h"
#include "kvferry/kvferry.h"
#include "tests/fake/fake_cuda_real.h"
#include "tests/harness.h"

#define API (&fake_cuda_api)
#define N 4096u

static struct {
	cudaStream_t stream;
	cudaEvent_t event;
	uint8_t *device, *pinned, *pageable;
} t;

static void start(void)
{
	fake_cuda_reset(&fake_cuda_usual);
	CU_ASSERT_EQUAL_FATAL(API->StreamCreateWithPriority(&t.stream, cudaStreamNonBlocking, 0), cudaSuccess);
	CU_ASSERT_EQUAL_FATAL(API->EventCreateWithFlags(&t.event, cudaEventDisableTiming), cudaSuccess);
	CU_ASSERT_EQUAL_FATAL(API->Malloc((void **)(uintptr_t)&t.device, N), cudaSuccess);
	CU_ASSERT_EQUAL_FATAL(API->HostAlloc((void **)(uintptr_t)&t.pinned, N, cudaHostAllocPortable), cudaSuccess);
	t.pageable = aligned_alloc(4096, N);
	memset(t.pageable, 7, N);
	memset(t.pinned, 9, N);
	memset(fake_cuda_shadow(t.device), 1, N);
}

static void stop(void)
{
	fake_cuda_reset(&fake_cuda_usual);
	free(t.pageable);
}

/* Does the fake complain, and of this? Then it is quiet again. */
static bool complains(const char *of)
{
	bool yes = fake_cuda_violations() == 1 && strstr(fake_cuda_violation(), of);

	fake_cuda_forgive();
	return yes;
}

/* The host reads, or writes, what lies on the device: it dies of it. */
static bool dies(bool writes)
{
	pid_t child = fork();
	int status = 0;

	if (!child) {
		volatile uint8_t *p = t.device;
		int null = open("/dev/null", O_WRONLY);

		dup2(null, 2); /* a sanitizer would have much to say */
		signal(SIGSEGV, SIG_DFL);
		if (writes)
			p[10] = 1;
		_exit(p[10] != 1);
	}
	return child > 0 && waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

static void test_host_touches_device_memory(void)
{
	start();
	CU_ASSERT_TRUE(dies(false));
	CU_ASSERT_TRUE(dies(true));
	stop();
}

static void test_use_after_destroy(void)
{
	start();
	CU_ASSERT_EQUAL(API->EventDestroy(t.event), cudaSuccess);
	CU_ASSERT_EQUAL(API->EventRecord(t.event, t.stream), cudaErrorInvalidResourceHandle);
	CU_ASSERT_TRUE(complains("EventRecord"));
	CU_ASSERT_EQUAL(API->EventQuery(t.event), cudaErrorInvalidResourceHandle);
	CU_ASSERT_TRUE(complains("EventQuery"));
	CU_ASSERT_EQUAL(API->StreamWaitEvent(t.stream, t.event, 0), cudaErrorInvalidResourceHandle);
	CU_ASSERT_TRUE(complains("StreamWaitEvent"));
	CU_ASSERT_EQUAL(API->EventDestroy(t.event), cudaErrorInvalidResourceHandle);
	CU_ASSERT_TRUE(complains("EventDestroy"));
	CU_ASSERT_EQUAL(API->StreamDestroy(t.stream), cudaSuccess);
	CU_ASSERT_NOT_EQUAL(API->MemcpyAsync(t.pinned, t.device, N, cudaMemcpyDeviceToHost, t.stream), cudaSuccess);
	CU_ASSERT_TRUE(complains("MemcpyAsync"));
	CU_ASSERT_EQUAL(API->StreamQuery(t.stream), cudaErrorInvalidResourceHandle);
	CU_ASSERT_TRUE(complains("StreamQuery"));
	CU_ASSERT_EQUAL(API->StreamDestroy(t.stream), cudaErrorInvalidResourceHandle);
	CU_ASSERT_TRUE(complains("StreamDestroy"));
	stop();
}

static cudaError_t batch(void *to, void *from, enum cudaMemcpySrcAccessOrder order, cudaStream_t stream)
{
	struct cudaMemcpyAttributes a = { .srcAccessOrder = order };
	size_t n = 16;

	return API->MemcpyBatchAsync(&to, &from, &n, 1, &a, stream);
}

/* Each way to copy, each direction. */
static void test_pageable_memory(void)
{
	start();
	CU_ASSERT_NOT_EQUAL(API->MemcpyAsync(t.pageable, t.device, 16, cudaMemcpyDeviceToHost, t.stream), cudaSuccess);
	CU_ASSERT_TRUE(complains("pageable"));
	CU_ASSERT_NOT_EQUAL(API->MemcpyAsync(t.device, t.pageable, 16, cudaMemcpyHostToDevice, t.stream), cudaSuccess);
	CU_ASSERT_TRUE(complains("pageable"));
	CU_ASSERT_NOT_EQUAL(API->Memcpy2DAsync(t.pageable, 32, t.device, 64, 16, 4, cudaMemcpyDeviceToHost, t.stream),
			    cudaSuccess);
	CU_ASSERT_TRUE(complains("pageable"));
	CU_ASSERT_NOT_EQUAL(batch(t.pageable, t.device, cudaMemcpySrcAccessOrderStream, t.stream), cudaSuccess);
	CU_ASSERT_TRUE(complains("pageable"));
	/* Registered it is another matter, but not beyond its end, and not any more afterwards. */
	CU_ASSERT_EQUAL(API->HostRegister(t.pageable, N / 2, cudaHostRegisterPortable), cudaSuccess);
	CU_ASSERT_EQUAL(API->MemcpyAsync(t.pageable, t.device, N / 2, cudaMemcpyDeviceToHost, t.stream), cudaSuccess);
	CU_ASSERT_EQUAL(fake_cuda_violations(), 0);
	CU_ASSERT_NOT_EQUAL(API->MemcpyAsync(t.pageable, t.device, N, cudaMemcpyDeviceToHost, t.stream), cudaSuccess);
	CU_ASSERT_TRUE(complains("partly outside"));
	CU_ASSERT_EQUAL(API->HostUnregister(t.pageable), cudaSuccess);
	CU_ASSERT_TRUE(complains("unregistered in use"));
	CU_ASSERT_NOT_EQUAL(API->MemcpyAsync(t.pageable, t.device, 16, cudaMemcpyDeviceToHost, t.stream), cudaSuccess);
	CU_ASSERT_TRUE(complains("pageable"));
	stop();
}

static void test_batches(void)
{
	start();
	CU_ASSERT_EQUAL(batch(t.pinned, t.device, cudaMemcpySrcAccessOrderStream, NULL), cudaErrorInvalidValue);
	CU_ASSERT_TRUE(complains("legacy stream"));
	CU_ASSERT_EQUAL(batch(t.pinned, t.device, cudaMemcpySrcAccessOrderInvalid, t.stream), cudaErrorInvalidValue);
	CU_ASSERT_EQUAL(fake_cuda_violations(), 0);
	/* To the host in any order: accepted, and wrong. */
	CU_ASSERT_EQUAL(batch(t.pinned, t.device, cudaMemcpySrcAccessOrderAny, t.stream), cudaSuccess);
	CU_ASSERT_TRUE(complains("before its stream's waits"));
	CU_ASSERT_EQUAL(batch(t.device, t.pinned, cudaMemcpySrcAccessOrderAny, t.stream), cudaSuccess);
	CU_ASSERT_EQUAL(fake_cuda_violations(), 0);
	stop();
}

/* Bytes move when a copy is done, not when it is issued: who does not wait gets others, or none. */
static void test_copies_take_time(void)
{
	uint8_t *shadow;

	start();
	shadow = fake_cuda_shadow(t.device);
	CU_ASSERT_EQUAL(API->MemcpyAsync(t.pinned, t.device, N, cudaMemcpyDeviceToHost, t.stream), cudaSuccess);
	CU_ASSERT_EQUAL(t.pinned[5], 9); /* read too early */
	memset(shadow, 2, N);		 /* the source is used again too early */
	fake_cuda_finish();
	CU_ASSERT_EQUAL(t.pinned[5], 2);
	/* Another stream knows nothing of this one, unless it waits for its event. */
	for (int waits = 0; waits < 2; waits++) {
		cudaStream_t other;

		memset(shadow, 3, N);
		CU_ASSERT_EQUAL(API->StreamCreateWithPriority(&other, cudaStreamNonBlocking, 0), cudaSuccess);
		fake_cuda_kernel_fill(t.stream, t.device, 4, N, 1000000);
		CU_ASSERT_EQUAL(API->EventRecord(t.event, t.stream), cudaSuccess);
		if (waits)
			CU_ASSERT_EQUAL(API->StreamWaitEvent(other, t.event, 0), cudaSuccess);
		CU_ASSERT_EQUAL(API->MemcpyAsync(t.pinned, t.device, N, cudaMemcpyDeviceToHost, other), cudaSuccess);
		fake_cuda_finish();
		CU_ASSERT_EQUAL(t.pinned[5], waits ? 4 : 3);
	}
	/* An event that was never recorded makes nobody wait. */
	CU_ASSERT_EQUAL(API->EventDestroy(t.event), cudaSuccess);
	CU_ASSERT_EQUAL(API->EventCreateWithFlags(&t.event, cudaEventDisableTiming), cudaSuccess);
	CU_ASSERT_EQUAL(API->EventQuery(t.event), cudaSuccess);
	CU_ASSERT_EQUAL(API->StreamWaitEvent(t.stream, t.event, 0), cudaSuccess);
	CU_ASSERT_EQUAL(API->StreamQuery(t.stream), cudaSuccess);
	CU_ASSERT_EQUAL(fake_cuda_violations(), 0);
	stop();
}

static void test_errors(void)
{
	start();
	fake_cuda_fail("EventRecord", 2, cudaErrorInvalidValue, false);
	CU_ASSERT_EQUAL(API->EventRecord(t.event, t.stream), cudaSuccess);
	CU_ASSERT_EQUAL(API->EventRecord(t.event, t.stream), cudaErrorInvalidValue);
	CU_ASSERT_EQUAL(API->GetLastError(), cudaErrorInvalidValue);
	CU_ASSERT_EQUAL(API->GetLastError(), cudaSuccess);
	CU_ASSERT_EQUAL(API->EventRecord(t.event, t.stream), cudaSuccess);
	/* Never done, then done late. */
	fake_cuda_stall(true);
	CU_ASSERT_EQUAL(API->MemcpyAsync(t.pinned, t.device, N, cudaMemcpyDeviceToHost, t.stream), cudaSuccess);
	fake_cuda_advance(1000000000);
	CU_ASSERT_EQUAL(API->StreamQuery(t.stream), cudaErrorNotReady);
	fake_cuda_stall(false);
	CU_ASSERT_EQUAL(API->StreamQuery(t.stream), cudaSuccess);
	CU_ASSERT_EQUAL(t.pinned[5], 1);
	/* A command that fails takes the device along. */
	fake_cuda_fault(1, cudaErrorIllegalAddress);
	CU_ASSERT_EQUAL(API->MemcpyAsync(t.pinned, t.device, N, cudaMemcpyDeviceToHost, t.stream), cudaSuccess);
	fake_cuda_finish();
	CU_ASSERT_EQUAL(API->EventQuery(t.event), cudaErrorIllegalAddress);
	CU_ASSERT_EQUAL(API->EventRecord(t.event, t.stream), cudaErrorIllegalAddress);
	CU_ASSERT_TRUE(fake_cuda_lost());
	stop();
}

/* The device sees CUDA through the table alone, and in the table is nothing that waits. */
static void test_nothing_synchronises(void)
{
#define X(name) #name,
	static const char *const names[] = { KVF_CUDA_FUNCTIONS(X) };
#undef X

	for (size_t i = 0; i < KVF_ARRAY_LEN(names); i++) {
		CU_ASSERT_PTR_NULL(strstr(names[i], "Synchronize"));
		CU_ASSERT_TRUE(strncmp(names[i], "Mem", 3) != 0 || strstr(names[i], "Async"));
	}
}

/* --- a pool that cannot be page-locked --------------------------------------------------------------------------- */

static struct {
	unsigned pool_warnings, refusals;
	uint8_t *kv;
	struct kvf_engine *engine;
	struct kvf_report report;
	char text[2048];
} p;

static void count_warnings(enum kvf_log_level level, const char *scope, const char *msg, void *user)
{
	(void)user;
	p.refusals += level == KVF_LOG_ERROR && strstr(msg, "could not be page-locked");
	p.pool_warnings += level == KVF_LOG_WARNING && strcmp(scope, "pool") == 0;
}

/* The nth slice is refused, and all after it. */
static int open_pool(uint64_t nth)
{
	static const struct kvf_log_sink sink = { .size = sizeof(sink), .write = count_warnings };
	struct kvf_layer layer;
	struct kvf_group group = { .size = sizeof(group), .n_layers = 1, .planes = 2, .heads = 2, .head_elems = 256,
				   .dtype = KVF_FLOAT16, .block_tokens = 16, .n_blocks = 16, .block_stride = 16384,
				   .token_stride = 1024, .head_stride = 512, .layers = &layer };
	struct kvf_layout layout = { .size = sizeof(layout), .n_groups = 1, .groups = &group };
	struct kvf_open_params params;
	struct kvf_config *config;
	int rc;

	memset(&p, 0, sizeof(p));
	fake_cuda_reset(&fake_cuda_usual);
	CU_ASSERT_EQUAL_FATAL(API->Malloc((void **)(uintptr_t)&p.kv, 2 << 18), cudaSuccess);
	layer = (struct kvf_layer){ .base = { p.kv, p.kv + (1 << 18) }, .device = 0 };
	kvf_report_init(&p.report, p.text, sizeof(p.text));
	CU_ASSERT_EQUAL_FATAL(kvf_config_create(&config, NULL), KVF_OK);
	CU_ASSERT_EQUAL(kvf_config_set(config, "kvf_pool_slots", "300", NULL), KVF_OK); /* 256 KiB each, and a header */
	CU_ASSERT_EQUAL(kvf_config_set(config, "chunk_size", "128", NULL), KVF_OK);
	CU_ASSERT_EQUAL(kvf_config_set(config, "kvf_copy", "memcpy", NULL), KVF_OK);
	kvf_open_params_init(&params);
	params.config = config;
	params.layout = &layout;
	params.report = &p.report;
	params.log = &sink;
	fake_cuda_fail("HostRegister", nth, cudaErrorMemoryAllocation, true);
	rc = kvf_engine_open(&p.engine, &params);
	kvf_config_destroy(config);
	return rc;
}

static void test_pool_not_locked(void)
{
	CU_ASSERT_EQUAL(open_pool(1), KVF_ENOMEM);
	CU_ASSERT_PTR_NULL(p.engine);
	CU_ASSERT_EQUAL(p.refusals, 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(p.text, "could not be locked"));
	CU_ASSERT_EQUAL(fake_cuda_live_pinned(), 0);
	CU_ASSERT_EQUAL(fake_cuda_violations(), 0);
	fake_cuda_reset(&fake_cuda_usual);
}

/* Smaller than it was asked for, said once, and a condition; what is there is page-locked. */
static void test_pool_partly_locked(void)
{
	struct kvf_stats s = { .size = sizeof(s) };
	uint32_t bits = 0;

	CU_ASSERT_EQUAL_FATAL(open_pool(2), KVF_OK);
	for (unsigned i = 0; i < 1000; i++)
		CU_ASSERT_TRUE(kvf_poll(p.engine, NULL, 0) >= 0);
	CU_ASSERT_EQUAL(kvf_get_stats(p.engine, &s), KVF_OK);
	CU_ASSERT_TRUE(s.slots_ready >= 8 && s.slots_ready < s.slots);
	CU_ASSERT_TRUE(fake_cuda_live_pinned() >= s.slots_ready * s.slot_bytes);
	CU_ASSERT_EQUAL(s.device_refused, 0);
	CU_ASSERT_EQUAL(kvf_health(p.engine, &bits), KVF_OK);
	CU_ASSERT_TRUE(bits & KVF_HEALTH_POOL_SHORT);
	CU_ASSERT_EQUAL(p.refusals, 1);
	CU_ASSERT_EQUAL(p.pool_warnings, 1);
	CU_ASSERT_EQUAL(kvf_engine_close(p.engine), KVF_OK);
	CU_ASSERT_EQUAL(fake_cuda_violations(), 0);
	fake_cuda_reset(&fake_cuda_usual);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "host_touches_device_memory", test_host_touches_device_memory },
		{ "use_after_destroy", test_use_after_destroy },
		{ "pageable_memory", test_pageable_memory },
		{ "batches", test_batches },
		{ "copies_take_time", test_copies_take_time },
		{ "errors", test_errors },
		{ "nothing_synchronises", test_nothing_synchronises },
		{ "pool_not_locked", test_pool_not_locked },
		{ "pool_partly_locked", test_pool_partly_locked },
	};

	fake_cuda_be_real();
	return kvf_test_main("cuda_fake", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
