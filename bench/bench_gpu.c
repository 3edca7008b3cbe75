/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CUDA device's figures on a real card, each beside the card's own ceiling in the same run: copies by size of the
 * pieces, way and direction against one long page-locked copy; what events, words and idle looks cost; page-locking.
 *
 *	bench_gpu [--json FILE] [--total MIB]	exits 77 where there is no device
 *
 * Compiled with -DKVF_BENCH_FAKE it also knows --fake: over the fake runtime it shows that the program works, and
 * nothing about a card.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/compiler.h"
#include "device/cuda.h"
#include "device/cuda_api.h"

#ifdef KVF_BENCH_FAKE
#include "tests/fake/fake_cuda.h"
#endif

#define OPS (&kvf_device_cuda_ops)
#define CHUNK 256u
#define BLOCK 16u
#define SLOTS 8u
#define ROUNDS 5u
#define CALLS 10000u

static struct {
	const struct kvf_cuda_api *api;
	bool fake, first;
	FILE *json;
	size_t total;
	double link[2]; /* GB/s */
} b;

static uint64_t now_ns(void *unused)
{
	struct timespec t;

#ifdef KVF_BENCH_FAKE
	if (b.fake)
		return fake_cuda_now(unused);
#endif
	(void)unused;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * KVF_NS_PER_S + (uint64_t)t.tv_nsec;
}

static void result(const char *unit, double value, const char *format, ...)
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

static void must(cudaError_t error, const char *what)
{
	if (error == cudaSuccess)
		return;
	fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
	exit(1);
}

static double gb_per_s(size_t bytes, uint64_t ns)
{
	return ns ? (double)bytes / (double)ns : 0;
}

static void drain(cudaStream_t stream)
{
	cudaError_t error;

	while ((error = b.api->StreamQuery(stream)) == cudaErrorNotReady)
		;
	must(error, "stream");
}

/* --- the ceiling ------------------------------------------------------------------------------------------------- */

static void bench_link(void)
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
	result("GB/s", gb_per_s(2 * b.total, best[2]), "ceiling both ways");
	for (int i = 0; i < 2; i++) {
		must(b.api->StreamDestroy(stream[i]), "stream");
		must(b.api->Free(device[i]), "cudaFree");
		must(b.api->FreeHost(host[i]), "cudaFreeHost");
	}
}

static void bench_calls(void)
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

static void bench_page_locking(void)
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

/* --- the device -------------------------------------------------------------------------------------------------- */

struct rig {
	struct kvf_device_host host;
	struct kvf_mem mem;
	struct kvf_layer *layers;
	struct kvf_group group;
	struct kvf_layout layout;
	struct kvf_cuda_device *dev;
	void *kv;
	uint8_t *pool;
	size_t slot;
	uint32_t caps, n_layers;
	uint32_t ids[1024];
	unsigned n_done, n_bad;
};

static void complete(struct kvf_device_host *host, struct kvf_copy *copy, int status)
{
	struct rig *rig = kvf_container_of(host, struct rig, host);

	copy->link = NULL;
	rig->n_done++;
	rig->n_bad += status != 0;
}

/* Pages of `piece` bytes a layer and plane, in a scrambled order; 64 MiB of KV. False: this way is not to be had. */
static bool open_rig(struct rig *rig, size_t piece, enum kvf_copy_way way, bool word)
{
	struct kvf_cuda_options options = { .api = b.api, .chunk_tokens = CHUNK, .word = word, .copy = way,
					    .staging_bytes = KVF_CUDA_STAGING_BYTES, .now_ns = now_ns };
	uint32_t n_blocks = 64;
	size_t chunk_layer = piece * 2 * (CHUNK / BLOCK), kv;

	memset(rig, 0, sizeof(*rig));
	rig->n_layers = (uint32_t)kvf_max_u64(1, kvf_min_u64(32, 32 * KVF_MIB / chunk_layer));
	rig->slot = (size_t)kvf_align_up(chunk_layer * rig->n_layers, 4096);
	rig->layers = calloc(rig->n_layers, sizeof(*rig->layers));
	kv = piece * n_blocks * 2 * rig->n_layers;
	must(b.api->Malloc(&rig->kv, kv), "cudaMalloc");
	for (uint32_t l = 0; l < rig->n_layers; l++)
		for (uint32_t p = 0; p < 2; p++)
			rig->layers[l].base[p] = (uint8_t *)rig->kv + (l * 2 + p) * piece * n_blocks;
	for (uint32_t i = 0; i < CHUNK / BLOCK * SLOTS; i++)
		rig->ids[i] = (i * 37 + 11) % n_blocks;
	rig->group = (struct kvf_group){ .size = sizeof(rig->group), .n_layers = rig->n_layers, .planes = 2, .heads = 1,
					 .head_elems = (uint32_t)(piece / BLOCK), .dtype = KVF_UINT8,
					 .block_tokens = BLOCK, .n_blocks = n_blocks, .block_stride = piece,
					 .token_stride = piece / BLOCK, .head_stride = piece / BLOCK,
					 .layers = rig->layers };
	rig->layout = (struct kvf_layout){ .size = sizeof(rig->layout), .n_groups = 1, .groups = &rig->group };
	kvf_mem_init(&rig->mem, NULL);
	rig->host = (struct kvf_device_host){ .size = sizeof(rig->host), .complete = complete };
	if (kvf_cuda_device_new(&rig->mem, &options, &rig->dev) ||
	    OPS->open(rig->dev, &rig->host, &rig->layout, &rig->caps))
		return false;
	rig->pool = aligned_alloc(2 * KVF_MIB, kvf_align_up(rig->slot * SLOTS, 2 * KVF_MIB));
	memset(rig->pool, 1, rig->slot * SLOTS);
	return !OPS->lock(rig->dev, rig->pool, rig->slot * SLOTS);
}

static void close_rig(struct rig *rig)
{
	if (rig->pool) {
		OPS->unlock(rig->dev, rig->pool, rig->slot * SLOTS);
		OPS->close(rig->dev);
	}
	kvf_cuda_device_free(&rig->mem, rig->dev);
	(void)kvf_mem_fini(&rig->mem);
	must(b.api->Free(rig->kv), "cudaFree");
	free(rig->pool);
	free(rig->layers);
}

/* All slots, once. Returns the time; *cpu: of the calls that issue. */
static uint64_t move_all(struct rig *rig, uint32_t direction, uint64_t *cpu)
{
	static struct kvf_copy copies[SLOTS];
	static struct kvf_block_list lists[SLOTS];
	uint64_t begin = now_ns(NULL), at;
	unsigned i;

	rig->n_done = 0;
	*cpu = 0;
	for (i = 0; i < SLOTS; i++) {
		lists[i] = (struct kvf_block_list){ rig->ids + i * (CHUNK / BLOCK), CHUNK / BLOCK, 0 };
		copies[i] = (struct kvf_copy){ .direction = direction, .payload_bytes = (uint32_t)rig->slot,
					       .payload = rig->pool + i * rig->slot, .chunk_tokens = CHUNK, .n = CHUNK,
					       .n_layers = UINT32_MAX, .n_groups = 1, .groups = &lists[i] };
		at = now_ns(NULL);
		while (OPS->copy(rig->dev, &copies[i]) == KVF_EAGAIN)
			OPS->progress(rig->dev, 1);
		*cpu += now_ns(NULL) - at;
	}
	while (rig->n_done < SLOTS)
		OPS->progress(rig->dev, 1);
	return now_ns(NULL) - begin;
}

static void bench_copies(size_t piece, enum kvf_copy_way way)
{
	static const char *const names[2] = { "D2H", "H2D" };
	struct kvf_cuda_stats stats;
	struct rig rig;

	if (open_rig(&rig, piece, way, true)) {
		for (uint32_t direction = 0; direction < 2; direction++) {
			uint64_t best = UINT64_MAX, best_cpu = 0, cpu, ns;

			for (unsigned round = 0; round < ROUNDS; round++) {
				ns = move_all(&rig, direction, &cpu);
				best_cpu = ns < best ? cpu : best_cpu;
				best = kvf_min_u64(best, ns);
			}
			result("of ceiling", gb_per_s(rig.slot * SLOTS, best) / b.link[direction],
			       "%s %s, pieces of %zu",
			       names[direction], kvf_plan_way_name(way), piece);
			result("us CPU a chunk", (double)best_cpu / SLOTS / 1000, "%s %s, pieces of %zu",
			       names[direction], kvf_plan_way_name(way), piece);
		}
		kvf_cuda_device_stats(rig.dev, &stats);
		if (way == KVF_WAY_AUTO)
			printf("    chosen: memcpy %llu, batch %llu, kernel %llu\n",
			       (unsigned long long)stats.by_way[KVF_WAY_MEMCPY],
			       (unsigned long long)stats.by_way[KVF_WAY_BATCH],
			       (unsigned long long)stats.by_way[KVF_WAY_KERNEL]);
	} else {
		printf("%s: not on this machine\n", kvf_plan_way_name(way));
	}
	close_rig(&rig);
}

/* What a turn pays for looking while copies are in flight. */
static void bench_idle_looks(bool word)
{
	uint64_t cpu, spent = 0, looks = 0, begin, at;
	struct rig rig;

	if (open_rig(&rig, 65536, KVF_WAY_MEMCPY, word)) {
		(void)move_all(&rig, 0, &cpu);
		begin = now_ns(NULL);
		for (looks = 0; looks < CALLS && now_ns(NULL) - begin < KVF_NS_PER_S; looks += 100) {
			static struct kvf_copy copy;
			static struct kvf_block_list list;

			list = (struct kvf_block_list){ rig.ids, CHUNK / BLOCK, 0 };
			copy = (struct kvf_copy){ .payload_bytes = (uint32_t)rig.slot, .payload = rig.pool,
						  .chunk_tokens = CHUNK, .n = CHUNK, .n_layers = UINT32_MAX,
						  .n_groups = 1, .groups = &list };
			rig.n_done = 0;
			if (OPS->copy(rig.dev, &copy))
				break;
			at = now_ns(NULL);
			for (unsigned i = 0; i < 100; i++)
				OPS->progress(rig.dev, 1);
			spent += now_ns(NULL) - at;
			while (!rig.n_done)
				OPS->progress(rig.dev, 1);
		}
		result("ns", looks ? (double)spent / (double)looks : 0, "a look at copies in flight, by %s",
		       word ? "word" : "event");
	}
	close_rig(&rig);
}

int main(int argc, char **argv)
{
	static const size_t pieces[] = { 4096, 16384, 65536, 262144, 2097152 };
	const char *path = NULL;
	int n = 0;

	b.total = 256 * KVF_MIB;
	b.first = true;
	b.api = &kvf_cuda_real;
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--json") && i + 1 < argc)
			path = argv[++i];
		else if (!strcmp(argv[i], "--total") && i + 1 < argc)
			b.total = strtoul(argv[++i], NULL, 10) * KVF_MIB;
		else
			b.fake |= !strcmp(argv[i], "--fake");
	}
#ifdef KVF_BENCH_FAKE
	if (b.fake) {
		fake_cuda_reset(&fake_cuda_usual);
		b.api = &fake_cuda_api;
	}
#endif
	if (b.api->GetDeviceCount(&n) != cudaSuccess || n == 0) {
		printf("*** SKIPPED: no CUDA device ***\n");
		return 77;
	}
	b.json = path ? fopen(path, "w") : NULL;
	if (b.json)
		fprintf(b.json, "{\"fake\": %s, \"total_bytes\": %zu, \"results\": [", b.fake ? "true" : "false",
			b.total);
	bench_link();
	bench_calls();
	bench_page_locking();
	for (size_t i = 0; i < KVF_ARRAY_LEN(pieces); i++)
		for (enum kvf_copy_way way = KVF_WAY_AUTO; way < KVF_WAYS; way++)
			bench_copies(pieces[i], way);
	bench_idle_looks(false);
	bench_idle_looks(true);
	if (b.json) {
		fprintf(b.json, "\n]}\n");
		fclose(b.json);
	}
	return 0;
}
