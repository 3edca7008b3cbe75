/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CUDA device's figures on a real card, each beside the card's own ceiling in the same run: copies by size of the
 * pieces, way and direction against one long page-locked copy; what events, words and idle looks cost; page-locking.
 *
 *	bench_gpu [--json FILE | --results DIR] [--total MIB]	exits 77 where there is no device
 *
 * --results: into DIR/gpu-<device>-<date>.json.
 *
 * With --fake it runs over the fake runtime of the tests: that shows that the program works, and nothing about a card.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gpu.h"
#include "tests/fake/fake_cuda.h"

#define OPS (&kvf_device_cuda_ops)
#define CHUNK 256u
#define BLOCK 16u
#define SLOTS 8u

struct bench_gpu b;

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
	copy->status = status;
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

/* All slots, once; direction 2: every other one the other way. Returns the time; *cpu: of the calls that issue. */
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
		copies[i] = (struct kvf_copy){ .direction = direction < 2 ? direction : i % 2,
					       .payload_bytes = (uint32_t)rig->slot,
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
	static const char *const names[3] = { "D2H", "H2D", "both ways" };
	double ceilings[3] = { b.link[0], b.link[1], b.both };
	struct kvf_cuda_stats stats;
	struct rig rig;

	if (open_rig(&rig, piece, way, true)) {
		for (uint32_t direction = 0; direction < 3; direction++) {
			uint64_t best = UINT64_MAX, best_cpu = 0, cpu, ns;

			for (unsigned round = 0; round < ROUNDS; round++) {
				ns = move_all(&rig, direction, &cpu);
				best_cpu = ns < best ? cpu : best_cpu;
				best = kvf_min_u64(best, ns);
			}
			result("of ceiling", gb_per_s(rig.slot * SLOTS, best) / ceilings[direction],
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

/* --- beside the host's work -------------------------------------------------------------------------------------- */

#ifdef KVF_CUDA_KERNELS
extern const unsigned long long kvf_gemm_fatbin[];

struct gemm {
	cudaLibrary_t library;
	cudaKernel_t kernel;
	cudaStream_t stream;
	void *at[3];
	uint64_t in_flight, done;
	cudaEvent_t event[4];
};

#define GEMM_N 1024u
#define GEMM_NS (300 * KVF_NS_PER_MS)
#define BUSY 1 /* kvf_copy.status, which is 0 or less when it is done */

static void gemm_open(struct gemm *g)
{
	must(b.api->LibraryLoadData(&g->library, kvf_gemm_fatbin, NULL, NULL, 0, NULL, NULL, 0), "gemm");
	must(b.api->LibraryGetKernel(&g->kernel, g->library, "kvf_bench_gemm"), "gemm");
	must(b.api->StreamCreateWithPriority(&g->stream, cudaStreamNonBlocking, 0), "stream");
	for (int i = 0; i < 3; i++)
		must(b.api->Malloc(&g->at[i], (size_t)GEMM_N * GEMM_N * sizeof(float)), "cudaMalloc");
	for (int i = 0; i < 4; i++)
		must(b.api->EventCreateWithFlags(&g->event[i], cudaEventDisableTiming), "event");
}

/* Keeps four of them in the stream. */
static void gemm_turn(struct gemm *g)
{
	unsigned n = GEMM_N;
	void *args[] = { &g->at[0], &g->at[1], &g->at[2], &n };

	while (g->in_flight && b.api->EventQuery(g->event[g->done % 4]) == cudaSuccess) {
		g->done++;
		g->in_flight--;
	}
	(void)b.api->GetLastError();
	while (g->in_flight < 4) {
		must(b.api->LaunchKernel((const void *)g->kernel, (dim3){ GEMM_N / 32, GEMM_N / 32, 1 },
					 (dim3){ 32, 32, 1 }, args, 0, g->stream),
		     "gemm");
		must(b.api->EventRecord(g->event[(g->done + g->in_flight) % 4], g->stream), "event");
		g->in_flight++;
	}
}

/* GEMMs a second, beside copies in both directions without a pause (rig) or alone (NULL). */
static double gemm_rate(struct gemm *g, struct rig *rig)
{
	uint64_t begin = now_ns(NULL), first = g->done;
	static struct kvf_copy copies[SLOTS];
	static struct kvf_block_list lists[SLOTS];
	unsigned i, next = 0;

	if (rig)
		rig->n_done = 0;
	while (now_ns(NULL) - begin < GEMM_NS) {
		gemm_turn(g);
		for (; rig && copies[next % SLOTS].status != BUSY; next++) {
			i = next % SLOTS;
			lists[i] = (struct kvf_block_list){ rig->ids + i * (CHUNK / BLOCK), CHUNK / BLOCK, 0 };
			copies[i] = (struct kvf_copy){ .direction = i % 2, .payload_bytes = (uint32_t)rig->slot,
						       .payload = rig->pool + i * rig->slot, .chunk_tokens = CHUNK,
						       .n = CHUNK, .n_layers = UINT32_MAX, .n_groups = 1,
						       .groups = &lists[i] };
			copies[i].status = BUSY;
			if (OPS->copy(rig->dev, &copies[i]) != KVF_OK) {
				copies[i].status = 0;
				break;
			}
		}
		if (rig)
			OPS->progress(rig->dev, 1);
	}
	while (rig && rig->n_done < next)
		OPS->progress(rig->dev, 1);
	return (double)(g->done - first) * 1e9 / (double)(now_ns(NULL) - begin);
}

static void bench_gemm(void)
{
	struct gemm g = { .done = 0 };
	int sms = 0;

	if (b.fake)
		return;
	gemm_open(&g);
	must(b.api->DeviceGetAttribute(&sms, cudaDevAttrMultiProcessorCount, 0), "attribute");
	printf("    SMs: %d; the kernel's way takes at most %d\n", sms, sms / 4 > 24 ? 24 : sms / 4);
	(void)gemm_rate(&g, NULL);
	for (enum kvf_copy_way way = KVF_WAY_AUTO; way < KVF_WAYS; way++) {
		struct rig rig;
		double alone, beside;

		if (open_rig(&rig, 65536, way, true)) {
			alone = gemm_rate(&g, NULL);
			beside = gemm_rate(&g, &rig);
			alone = (alone + gemm_rate(&g, NULL)) / 2;
			result("of alone", beside / alone, "GEMM loop during offload, %s", kvf_plan_way_name(way));
		}
		close_rig(&rig);
	}
	drain(g.stream);
	for (int i = 0; i < 4; i++)
		must(b.api->EventDestroy(g.event[i]), "event");
	for (int i = 0; i < 3; i++)
		must(b.api->Free(g.at[i]), "cudaFree");
	must(b.api->StreamDestroy(g.stream), "stream");
	must(b.api->LibraryUnload(g.library), "gemm");
}
#else
static void bench_gemm(void)
{
	printf("GEMM loop during offload: not measured, this build has no nvcc\n");
}
#endif

/* --- results ----------------------------------------------------------------------------------------------------- */

static void name_card(void)
{
	struct cudaDeviceProp card;

	must(b.api->GetDeviceProperties(&card, 0), "cudaGetDeviceProperties");
	snprintf(b.card, sizeof(b.card), "%.60s", card.name);
	for (char *p = b.card; *p; p++)
		if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9')))
			*p = '-';
}

static void open_json(const char *path, const char *dir)
{
	char named[512], day[16];
	time_t now = time(NULL);
	struct tm tm;
	int driver = 0, runtime = 0;

	if (!path && !dir)
		return;
	strftime(day, sizeof(day), "%Y-%m-%d", gmtime_r(&now, &tm));
	snprintf(named, sizeof(named), "%s/gpu-%s-%s.json", dir ? dir : ".", b.card, day);
	b.json = fopen(path ? path : named, "w");
	if (!b.json) {
		fprintf(stderr, "bench_gpu: %s: cannot be written\n", path ? path : named);
		exit(1);
	}
	(void)b.api->DriverGetVersion(&driver);
	(void)b.api->RuntimeGetVersion(&runtime);
	fprintf(b.json,
		"{\"fake\": %s, \"device\": \"%s\", \"driver\": %d, \"runtime\": %d, \"version\": \"%s\", "
		"\"date\": \"%s\", \"total_bytes\": %zu, \"results\": [",
		b.fake ? "true" : "false", b.card, driver, runtime, kvf_version(), day, b.total);
}

int main(int argc, char **argv)
{
	static const size_t pieces[] = { 4096, 16384, 65536, 262144, 2097152 };
	const char *path = NULL, *dir = NULL;
	int n = 0;

	b.total = 256 * KVF_MIB;
	b.first = true;
	b.api = &kvf_cuda_real;
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--json") && i + 1 < argc)
			path = argv[++i];
		else if (!strcmp(argv[i], "--results") && i + 1 < argc)
			dir = argv[++i];
		else if (!strcmp(argv[i], "--total") && i + 1 < argc)
			b.total = strtoul(argv[++i], NULL, 10) * KVF_MIB;
		else
			b.fake |= !strcmp(argv[i], "--fake");
	}
	if (b.fake) {
		fake_cuda_reset(&fake_cuda_usual);
		b.api = &fake_cuda_api;
	}
	if (b.api->GetDeviceCount(&n) != cudaSuccess || n == 0) {
		printf("*** SKIPPED: no CUDA device ***\n");
		return 77;
	}
	name_card();
	open_json(path, dir);
	bench_link();
	bench_calls();
	bench_host_func();
	bench_word();
	bench_batch_sizes();
	bench_page_locking();
	for (size_t i = 0; i < KVF_ARRAY_LEN(pieces); i++)
		for (enum kvf_copy_way way = KVF_WAY_AUTO; way < KVF_WAYS; way++)
			bench_copies(pieces[i], way);
	bench_idle_looks(false);
	bench_idle_looks(true);
	bench_gemm();
	if (b.json) {
		fprintf(b.json, "\n]}\n");
		fclose(b.json);
	}
	return 0;
}
