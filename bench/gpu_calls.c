/* SPDX-License-Identifier: Apache-2.0 */
/* bench_gpu: the link's ceilings, what calls of the runtime cost, and what all of it is measured with. */
#include "gpu.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fake/fake_cuda.h"
#include "tool.h"

uint64_t now_ns(void *unused)
{
	return b.fake ? fake_cuda_now(unused) : tool_now_ns();
}

void result(const char *unit, double value, const char *format, ...)
{
	char name[128];
	va_list args;

	va_start(args, format);
	vsnprintf(name, sizeof(name), format, args);
	va_end(args);
	printf("%-52s %10.3f %s\n", name, value, unit);
	if (b.json)
		fprintf(b.json, "%s\n  {\"name\": \"%s\", \"value\": %.6g, \"unit\": \"%s\"}", b.first ? "" : ",", name,
			value, unit);
	b.first = false;
}

void must(cudaError_t error, const char *what)
{
	if (error == cudaSuccess)
		return;
	fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
	exit(1);
}

double gb_per_s(size_t bytes, uint64_t ns)
{
	return ns ? (double)bytes / (double)ns : 0;
}

void drain(cudaStream_t stream)
{
	cudaError_t error;

	while ((error = b.api->StreamQuery(stream)) == cudaErrorNotReady)
		;
	must(error, "stream");
}

/* --- the ceiling ------------------------------------------------------------------------------------------------- */

void bench_link(void)
{
	cudaStream_t stream[2];
	void *device[2], *host[2];
	uint64_t best[3] = { UINT64_MAX, UINT64_MAX, UINT64_MAX }, begin;

	for (int i = 0; i < 2; i++) {
		must(b.api->StreamCreateWithPriority(&stream[i], cudaStreamNonBlocking, 0), "stream");
		must(b.api->Malloc(&device[i], b.total), "cudaMalloc");
		must(b.api->HostAlloc(&host[i], b.total, cudaHostAllocPortable), "cudaHostAlloc");
	}
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned way = 0; way < 3; way++) {
			begin = now_ns(NULL);
			if (way != 1)
				must(b.api->MemcpyAsync(host[0], device[0], b.total, cudaMemcpyDeviceToHost, stream[0]),
				     "D2H");
			if (way != 0)
				must(b.api->MemcpyAsync(device[1], host[1], b.total, cudaMemcpyHostToDevice, stream[1]),
				     "H2D");
			drain(stream[0]);
			drain(stream[1]);
			best[way] = kvf_min_u64(best[way], now_ns(NULL) - begin);
		}
	}
	b.link[KVF_COPY_GATHER] = gb_per_s(b.total, best[0]);
	b.link[KVF_COPY_SCATTER] = gb_per_s(b.total, best[1]);
	result("GB/s", b.link[0], "ceiling D2H");
	result("GB/s", b.link[1], "ceiling H2D");
	b.both = gb_per_s(2 * b.total, best[2]);
	result("GB/s", b.both, "ceiling both ways");
	for (int i = 0; i < 2; i++) {
		must(b.api->StreamDestroy(stream[i]), "stream");
		must(b.api->Free(device[i]), "cudaFree");
		must(b.api->FreeHost(host[i]), "cudaFreeHost");
	}
}

void bench_calls(void)
{
	cudaStream_t stream;
	cudaEvent_t event;
	uint64_t begin;

	must(b.api->StreamCreateWithPriority(&stream, cudaStreamNonBlocking, 0), "stream");
	must(b.api->EventCreateWithFlags(&event, cudaEventDisableTiming), "event");
	begin = now_ns(NULL);
	for (unsigned i = 0; i < CALLS; i++)
		must(b.api->EventRecord(event, stream), "record");
	result("ns", (double)(now_ns(NULL) - begin) / CALLS, "cudaEventRecord");
	drain(stream);
	begin = now_ns(NULL);
	for (unsigned i = 0; i < CALLS; i++)
		must(b.api->EventQuery(event), "query");
	result("ns", (double)(now_ns(NULL) - begin) / CALLS, "cudaEventQuery");
	begin = now_ns(NULL);
	for (unsigned i = 0; i < CALLS; i++)
		must(b.api->StreamWaitEvent(stream, event, 0), "wait");
	result("ns", (double)(now_ns(NULL) - begin) / CALLS, "cudaStreamWaitEvent");
	drain(stream);
	must(b.api->EventDestroy(event), "event");
	must(b.api->StreamDestroy(stream), "stream");
}

static void wake(void *arg)
{
	uint64_t one = 1;

	if (write(*(int *)arg, &one, sizeof(one)) != (ssize_t)sizeof(one))
		abort();
}

/* What a driver thread of CUDA's costs, beside a look: why we have none. */
void bench_host_func(void)
{
	int fd = eventfd(0, EFD_CLOEXEC);
	cudaStream_t stream;
	uint64_t begin, count;

	if (b.fake || fd < 0)
		return;
	must(b.api->StreamCreateWithPriority(&stream, cudaStreamNonBlocking, 0), "stream");
	begin = now_ns(NULL);
	for (unsigned i = 0; i < 200; i++) {
		must(cudaLaunchHostFunc(stream, wake, &fd), "cudaLaunchHostFunc");
		if (read(fd, &count, sizeof(count)) != (ssize_t)sizeof(count))
			abort();
	}
	result("ns", (double)(now_ns(NULL) - begin) / 200, "cudaLaunchHostFunc to eventfd, there and back");
	must(b.api->StreamDestroy(stream), "stream");
	close(fd);
}

/* From the call to the word in our memory. */
void bench_word(void)
{
	enum cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
	kvf_cuda_write_value write_value;
	volatile uint64_t *word;
	void *function = NULL, *at;
	cudaStream_t stream;
	uint64_t begin;

	must(b.api->GetDriverEntryPointByVersion("cuStreamWriteValue64", &function, 12000, cudaEnableDefault, &found),
	     "cudaGetDriverEntryPointByVersion");
	if (found != cudaDriverEntryPointSuccess)
		return;
	memcpy(&write_value, &function, sizeof(function));
	must(b.api->StreamCreateWithPriority(&stream, cudaStreamNonBlocking, 0), "stream");
	must(b.api->HostAlloc(&at, 4096, cudaHostAllocPortable | cudaHostAllocMapped), "cudaHostAlloc");
	word = at;
	*word = 0;
	must(b.api->HostGetDevicePointer(&at, (void *)(uintptr_t)word, 0), "cudaHostGetDevicePointer");
	begin = now_ns(NULL);
	for (uint64_t i = 1; i <= 1000; i++) {
		if (write_value(stream, (CUdeviceptr)(uintptr_t)at, i, 0) != CUDA_SUCCESS)
			break;
		while (__atomic_load_n(word, __ATOMIC_ACQUIRE) != i)
			(void)now_ns(NULL);
	}
	result("ns", (double)(now_ns(NULL) - begin) / 1000, "cuStreamWriteValue64 to page-locked memory");
	must(b.api->StreamDestroy(stream), "stream");
	must(b.api->FreeHost((void *)(uintptr_t)word), "cudaFreeHost");
}

/* The same descriptors, so many a call. */
void bench_batch_sizes(void)
{
	static const unsigned caps[] = { 256, 1024, 4096 };
	struct cudaMemcpyAttributes attributes = { .srcAccessOrder = cudaMemcpySrcAccessOrderStream };
	enum { PIECES = 4096, PIECE = 16384 };
	static void *to[PIECES], *from[PIECES];
	static size_t sizes[PIECES];
	cudaStream_t stream;
	void *device, *host;

	must(b.api->StreamCreateWithPriority(&stream, cudaStreamNonBlocking, 0), "stream");
	must(b.api->Malloc(&device, (size_t)PIECES * PIECE * 2), "cudaMalloc");
	must(b.api->HostAlloc(&host, (size_t)PIECES * PIECE, cudaHostAllocPortable), "cudaHostAlloc");
	for (size_t i = 0; i < PIECES; i++) {
		to[i] = (uint8_t *)host + i * PIECE;
		from[i] = (uint8_t *)device + i * 2 * PIECE;
		sizes[i] = PIECE;
	}
	for (unsigned k = 0; k < KVF_ARRAY_LEN(caps); k++) {
		uint64_t best = UINT64_MAX;

		for (unsigned round = 0; round < ROUNDS; round++) {
			uint64_t begin = now_ns(NULL);

			for (size_t i = 0; i < PIECES; i += caps[k]) {
				if (b.api->MemcpyBatchAsync(to + i, from + i, sizes + i, caps[k], &attributes,
							    stream)) {
					(void)b.api->GetLastError();
					best = 0;
					break;
				}
			}
			drain(stream);
			best = kvf_min_u64(best, now_ns(NULL) - begin);
		}
		result("of ceiling", gb_per_s((size_t)PIECES * PIECE, best) / b.link[KVF_COPY_GATHER],
		       "D2H, batches of %u pieces of %u", caps[k], (unsigned)PIECE);
	}
	must(b.api->StreamDestroy(stream), "stream");
	must(b.api->Free(device), "cudaFree");
	must(b.api->FreeHost(host), "cudaFreeHost");
}

void bench_page_locking(void)
{
	size_t n = kvf_min_u64(b.total, 1024 * KVF_MIB);
	uint64_t begin = now_ns(NULL);
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *q;

	if (p == MAP_FAILED)
		return;
	madvise(p, n, MADV_HUGEPAGE);
	memset(p, 1, n);
	must(b.api->HostRegister(p, n, cudaHostRegisterPortable), "cudaHostRegister");
	result("GB/s", gb_per_s(n, now_ns(NULL) - begin), "mmap, huge pages, touch, cudaHostRegister");
	must(b.api->HostUnregister(p), "cudaHostUnregister");
	munmap(p, n);
	begin = now_ns(NULL);
	must(b.api->HostAlloc(&q, n, cudaHostAllocPortable), "cudaHostAlloc");
	result("GB/s", gb_per_s(n, now_ns(NULL) - begin), "cudaHostAlloc");
	must(b.api->FreeHost(q), "cudaFreeHost");
}
