/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What only a real card can say about the CUDA device: bytes, order, captures, what the runtime refuses, lost
 * devices. The same code runs over the fake runtime with --fake, which tells whether this program itself is right.
 *
 *	check_gpu [--fake] [--short] [--verbose]	0: all is well, 1: not, 77: there is no device
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/compiler.h"
#include "device/cuda.h"
#include "device/cuda_api.h"
#include "tests/fake/fake_cuda.h"
#include "tests/gen_layout.h"
#include "tests/ref_layout.h"
#include "tool.h"

#define OPS (&kvf_device_cuda_ops)
#define SLOTS 4u
#define LOOKS 200000000u

static struct {
	const struct kvf_cuda_api *api;
	bool fake, verbose, brief;
	unsigned failed, checks;
} m;

static void expect(bool ok, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void expect(bool ok, const char *format, ...)
{
	va_list args;

	m.checks++;
	m.failed += !ok;
	if (ok && !m.verbose)
		return;
	printf("%s ", ok ? "ok    " : "FAILED");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
}

/* --- the machine under the table --------------------------------------------------------------------------------- */

static void upload(void *device, const void *host, size_t n)
{
	if (m.fake)
		memcpy(fake_cuda_shadow(device), host, n);
	else if (cudaMemcpy(device, host, n, cudaMemcpyHostToDevice) != cudaSuccess)
		expect(false, "upload");
}

static void download(void *host, const void *device, size_t n)
{
	if (m.fake) {
		fake_cuda_finish();
		memcpy(host, fake_cuda_shadow(device), n);
	} else if (cudaMemcpy(host, device, n, cudaMemcpyDeviceToHost) != cudaSuccess) {
		expect(false, "download");
	}
}

/* Work of some milliseconds in the host's stream, then `value` all over the memory. */
static void compute(cudaStream_t stream, void *scratch, size_t scratch_n, void *device, int value, size_t n)
{
	unsigned i;

	if (m.fake) {
		fake_cuda_kernel_fill(stream, device, value, n, 3000000);
		return;
	}
	for (i = 0; i < 200; i++)
		(void)cudaMemsetAsync(scratch, (int)i, scratch_n, stream);
	(void)cudaMemsetAsync(device, value, n, stream);
}

static void pass_time(void)
{
	if (m.fake)
		fake_cuda_advance(1000);
}

/* --- an engine's part -------------------------------------------------------------------------------------------- */

struct rig {
	struct kvf_device_host host;
	struct kvf_mem mem;
	struct gen_layout gen;
	struct kvf_layout layout;
	struct kvf_group groups[KVF_MAX_GROUPS];
	void **memory;
	struct kvf_layout_plan plan;
	struct kvf_cuda_device *dev;
	uint32_t chunk, caps;
	uint8_t *pool;
	size_t slot;
	unsigned n_done;
	char text[2048];
	struct kvf_report report;
};

static void complete(struct kvf_device_host *host, struct kvf_copy *copy, int status)
{
	struct rig *rig = kvf_container_of(host, struct rig, host);

	copy->status = status;
	rig->n_done++;
}

static void put_on_device(struct rig *rig)
{
	rig->layout = rig->gen.layout;
	rig->layout.groups = rig->groups;
	rig->memory = calloc(rig->gen.n_memory, sizeof(void *));
	for (size_t i = 0; i < rig->gen.n_memory; i++) {
		if (m.api->Malloc(&rig->memory[i], rig->gen.memory[i].n) != cudaSuccess)
			exit(1);
		upload(rig->memory[i], rig->gen.memory[i].p, rig->gen.memory[i].n);
	}
	for (uint32_t g = 0; g < rig->layout.n_groups; g++) {
		struct kvf_layer *layers = calloc(rig->gen.groups[g].n_layers, sizeof(*layers));

		rig->groups[g] = rig->gen.groups[g];
		rig->groups[g].layers = layers;
		for (uint32_t l = 0; l < rig->groups[g].n_layers; l++) {
			for (uint32_t p = 0; p < rig->groups[g].planes; p++) {
				uint8_t *base = rig->gen.groups[g].layers[l].base[p];
				size_t i = 0;

				while (base < rig->gen.memory[i].p ||
				       base >= rig->gen.memory[i].p + rig->gen.memory[i].n)
					i++;
				layers[l].base[p] = (uint8_t *)rig->memory[i] + (base - rig->gen.memory[i].p);
			}
		}
	}
}

static uint64_t clock_ns(void *unused)
{
	return m.fake ? fake_cuda_now(unused) : tool_now_ns();
}

static bool rig_open(struct rig *rig, enum kvf_copy_way way, bool word)
{
	struct kvf_cuda_options options = { .api = m.api, .chunk_tokens = rig->chunk, .word = word, .copy = way,
					    .staging_bytes = 1 << 20, .now_ns = clock_ns };
	int rc;

	put_on_device(rig);
	kvf_mem_init(&rig->mem, NULL);
	kvf_report_init(&rig->report, rig->text, sizeof(rig->text));
	rig->host = (struct kvf_device_host){ .size = sizeof(rig->host), .complete = complete, .report = &rig->report };
	if (kvf_layout_init(&rig->plan, &rig->mem, &rig->layout, rig->chunk, NULL, 0) ||
	    kvf_cuda_device_new(&rig->mem, &options, &rig->dev))
		exit(1);
	rc = OPS->open(rig->dev, &rig->host, &rig->layout, &rig->caps);
	rig->host.report = NULL;
	rig->slot = (rig->plan.payload_bytes + 8191) / 4096 * 4096;
	rig->pool = aligned_alloc(4096, rig->slot * SLOTS);
	memset(rig->pool, 0x11, rig->slot * SLOTS);
	if (!rc)
		rc = OPS->lock(rig->dev, rig->pool, rig->slot * SLOTS);
	expect(!rc, "open: %s%s", rc ? kvf_strerror(rc) : "", rc ? rig->text : "");
	return !rc;
}

static void rig_close(struct rig *rig)
{
	OPS->unlock(rig->dev, rig->pool, rig->slot * SLOTS);
	OPS->close(rig->dev);
	kvf_cuda_device_free(&rig->mem, rig->dev);
	kvf_layout_fini(&rig->plan, &rig->mem);
	expect(kvf_mem_fini(&rig->mem) == 0, "no memory left");
	for (size_t i = 0; i < rig->gen.n_memory; i++)
		(void)m.api->Free(rig->memory[i]);
	for (uint32_t g = 0; g < rig->layout.n_groups; g++)
		free((void *)(uintptr_t)rig->groups[g].layers);
	free(rig->memory);
	free(rig->pool);
	gen_layout_fini(&rig->gen);
}

static bool await(struct rig *rig, unsigned n)
{
	for (unsigned i = 0; i < LOOKS && rig->n_done < n; i++) {
		OPS->progress(rig->dev, 1u << 20);
		pass_time();
	}
	return rig->n_done >= n;
}

static bool open_usual(struct rig *rig, enum kvf_copy_way way, bool word)
{
	struct gen_shape shape = { 2, 64, 16, 8, 64, KVF_BFLOAT16 };
	struct gen_rng rng = { 3 };

	memset(rig, 0, sizeof(*rig));
	rig->chunk = 256;
	gen_layout_init(&rig->gen, KVF_PAYLOAD_LMCACHE);
	gen_layout_add(&rig->gen, "TBSHE", 2, &shape, NULL);
	gen_layout_fill(&rig->gen, &rng);
	return rig_open(rig, way, word);
}

/* --- bytes ------------------------------------------------------------------------------------------------------- */

static bool same_as_twin(struct rig *rig)
{
	bool same = true;

	for (size_t i = 0; i < rig->gen.n_memory; i++) {
		uint8_t *now = malloc(rig->gen.memory[i].n);

		download(now, rig->memory[i], rig->gen.memory[i].n);
		same = same && !memcmp(now, rig->gen.memory[i].p, rig->gen.memory[i].n);
		free(now);
	}
	return same;
}

static bool one_copy(struct rig *rig, struct gen_rng *rng, uint32_t direction)
{
	uint8_t *slot = rig->pool + rig->slot, *expected = malloc(rig->slot);
	struct gen_copy gc;
	bool ok;

	gen_copy_random(&gc, rng, &rig->gen.layout, rig->chunk);
	for (size_t i = 0; i < rig->slot; i++)
		slot[i] = expected[i] = (uint8_t)(gen_u64(rng) >> 56);
	gc.copy.direction = direction;
	gc.copy.payload = slot;
	rig->n_done = 0;
	ok = OPS->copy(rig->dev, &gc.copy) == KVF_OK && await(rig, 1) && gc.copy.status == KVF_OK;
	if (direction == KVF_COPY_SCATTER)
		ref_scatter(&rig->gen.layout, rig->chunk, &gc.copy, slot);
	else
		ref_gather(&rig->gen.layout, rig->chunk, &gc.copy, expected);
	ok = ok && !memcmp(slot, expected, rig->slot) && same_as_twin(rig);
	gen_copy_fini(&gc);
	free(expected);
	return ok;
}

static void check_bytes(void)
{
	for (uint64_t seed = 1; seed <= (m.brief ? 12 : 200); seed++) {
		struct gen_rng rng = { seed };
		struct rig rig = { .n_done = 0 };
		enum kvf_copy_way way = (enum kvf_copy_way)(seed % KVF_WAYS);
		bool ok = true;

		gen_layout_random(&rig.gen, &rng, &rig.chunk);
		gen_layout_fill(&rig.gen, &rng);
		if (!rig_open(&rig, way, seed / 4 % 2))
			return;
		for (unsigned i = 0; ok && i < 4; i++)
			ok = one_copy(&rig, &rng, i % 2);
		expect(ok, "bytes: seed %llu, %s", (unsigned long long)seed, kvf_plan_way_name(way));
		rig_close(&rig);
	}
}

/* --- order ------------------------------------------------------------------------------------------------------- */

static size_t store_behind_compute(bool waits, bool word, bool rerecord)
{
	struct rig rig;
	struct kvf_fence_in in = { .kind = KVF_FENCE_NOW };
	struct kvf_fence fence;
	struct gen_copy gc;
	cudaStream_t stream;
	cudaEvent_t event;
	void *scratch;
	size_t wrong = 0, n = m.fake ? 4096 : (size_t)256 << 20;

	if (!open_usual(&rig, KVF_WAY_AUTO, word))
		return 0;
	if (m.api->Malloc(&scratch, n) != cudaSuccess ||
	    m.api->StreamCreateWithPriority(&stream, cudaStreamNonBlocking, 0) != cudaSuccess ||
	    m.api->EventCreateWithFlags(&event, cudaEventDisableTiming) != cudaSuccess)
		exit(1);
	gen_copy_whole(&gc, &rig.gen.layout, rig.chunk, false);
	for (size_t i = 0; i < rig.gen.n_memory; i++)
		compute(stream, scratch, n, rig.memory[i], 0x42, rig.gen.memory[i].n);
	(void)m.api->EventRecord(event, stream);
	if (waits)
		in = (struct kvf_fence_in){ .kind = KVF_FENCE_EVENT, .handle = event };
	expect(OPS->capture(rig.dev, &in, &fence) == KVF_OK, "capture");
	if (rerecord)
		(void)m.api->EventDestroy(event);
	gc.copy.payload = rig.pool;
	gc.copy.after = &fence;
	rig.n_done = 0;
	expect(OPS->copy(rig.dev, &gc.copy) == KVF_OK && await(&rig, 1) && !gc.copy.status, "store behind compute");
	for (uint64_t i = 0; i < rig.plan.payload_bytes; i++)
		wrong += rig.pool[i] != 0x42;
	OPS->release(rig.dev, &fence);
	while (m.api->StreamQuery(stream) == cudaErrorNotReady)
		pass_time();
	if (!rerecord)
		(void)m.api->EventDestroy(event);
	(void)m.api->StreamDestroy(stream);
	(void)m.api->Free(scratch);
	gen_copy_fini(&gc);
	rig_close(&rig);
	return wrong;
}

static void check_order(void)
{
	for (int word = 0; word < 2; word++) {
		expect(store_behind_compute(false, word, false) > 0, "control: a store that does not wait is wrong");
		expect(store_behind_compute(true, word, false) == 0, "a store waits for the host's event");
		expect(store_behind_compute(true, word, true) == 0, "the event may be destroyed after submit");
	}
}

/* --- captures ---------------------------------------------------------------------------------------------------- */

static void check_capture(void)
{
	struct kvf_fence_in in = { .kind = KVF_FENCE_STREAM };
	struct rig rig;
	struct kvf_fence fence;
	struct gen_copy gc;
	cudaStream_t stream;
	cudaGraph_t graph = NULL;
	bool whole;

	if (!open_usual(&rig, KVF_WAY_AUTO, false))
		return;
	gen_copy_whole(&gc, &rig.gen.layout, rig.chunk, false);
	(void)m.api->StreamCreateWithPriority(&stream, cudaStreamNonBlocking, 0);
	if (m.fake)
		fake_cuda_capture(stream, true);
	else
		(void)cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal);
	in.handle = stream;
	expect(OPS->capture(rig.dev, &in, &fence) == KVF_ECAPTURE, "a capturing stream is refused");
	gc.copy.payload = rig.pool;
	rig.n_done = 0;
	expect(OPS->copy(rig.dev, &gc.copy) == KVF_OK && await(&rig, 1), "copies go on beside a capture");
	if (m.fake) {
		whole = !fake_cuda_capture_broken();
		fake_cuda_capture(stream, false);
	} else {
		whole = cudaStreamEndCapture(stream, &graph) == cudaSuccess && graph;
		if (graph)
			(void)cudaGraphDestroy(graph);
	}
	expect(whole, "the capture is whole");
	(void)m.api->StreamDestroy(stream);
	gen_copy_fini(&gc);
	rig_close(&rig);
}

/* --- what the runtime refuses: the fake must say the same -------------------------------------------------------- */

static cudaError_t refusal(const struct kvf_cuda_api *api, unsigned i, uint8_t *pageable)
{
	struct cudaMemcpyAttributes a = { .srcAccessOrder = cudaMemcpySrcAccessOrderStream };
	void *device = NULL, *to[1], *from[1];
	size_t n[1] = { 4096 };
	cudaStream_t stream = NULL;
	cudaError_t error = cudaSuccess;

	(void)api->Malloc(&device, 8192);
	(void)api->StreamCreateWithPriority(&stream, cudaStreamNonBlocking, 0);
	(void)api->HostRegister(pageable, 8192, cudaHostRegisterPortable);
	to[0] = pageable;
	from[0] = device;
	switch (i) {
	case 0:
		error = api->MemcpyBatchAsync(to, from, n, 1, &a, NULL);
		break;
	case 1:
		a.srcAccessOrder = cudaMemcpySrcAccessOrderInvalid;
		error = api->MemcpyBatchAsync(to, from, n, 1, &a, stream);
		break;
	case 2:
		error = api->HostRegister(pageable, 4096, cudaHostRegisterPortable);
		break;
	case 3:
		(void)api->HostUnregister(pageable);
		error = api->HostUnregister(pageable);
		(void)api->HostRegister(pageable, 8192, cudaHostRegisterPortable);
		break;
	case 4:
		error = api->Memcpy2DAsync(pageable, 16, device, 64, 32, 4, cudaMemcpyDeviceToHost, stream);
		break;
	default:
		error = api->MemcpyBatchAsync(to, from, n, 0, &a, stream);
		break;
	}
	(void)api->GetLastError();
	(void)api->HostUnregister(pageable);
	(void)api->StreamDestroy(stream);
	(void)api->Free(device);
	return error;
}

static void check_refusals(void)
{
	static const char *const what[] = {
		"batch in the legacy stream", "batch without access order",	      "register twice",
		"unregister twice",	      "2D copy with a pitch below its width", "empty batch"};
	uint8_t *pageable = aligned_alloc(4096, 8192);

	for (unsigned i = 0; i < KVF_ARRAY_LEN(what); i++) {
		cudaError_t real = refusal(m.api, i, pageable), fake = refusal(&fake_cuda_api, i, pageable);

		if (real != fake)
			printf("differs %s: real %s, fake %s\n", what[i], cudaGetErrorName(real),
			       cudaGetErrorName(fake));
		expect(real != cudaSuccess || fake == cudaSuccess, "refused: %s", what[i]);
	}
	fake_cuda_forgive();
	free(pageable);
}

/* Many descriptors, many times: drivers have hung and crashed on it. */
static void check_many_descriptors(void)
{
	struct gen_shape shape = { 4, 600, 1, 4, 32, KVF_BFLOAT16 };
	struct gen_rng rng = { 3 };
	struct rig rig = { .chunk = 256 };
	struct gen_copy gc;
	bool ok = true;

	gen_layout_init(&rig.gen, KVF_PAYLOAD_LMCACHE);
	gen_layout_add(&rig.gen, "TBSHE", 2, &shape, NULL);
	gen_layout_fill(&rig.gen, &rng);
	if (!rig_open(&rig, KVF_WAY_BATCH, false))
		return;
	gen_copy_whole(&gc, &rig.gen.layout, rig.chunk, false);
	for (unsigned i = 0; ok && i < 500; i++) {
		gc.copy.payload = rig.pool + i % SLOTS * rig.slot;
		gc.copy.direction = i % 2;
		rig.n_done = 0;
		ok = OPS->copy(rig.dev, &gc.copy) == KVF_OK && await(&rig, 1) && !gc.copy.status;
	}
	expect(ok, "500 copies of 2,048 descriptors");
	gen_copy_fini(&gc);
	rig_close(&rig);
}

/* --- a lost device, in a child ----------------------------------------------------------------------------------- */

/* A kernel is given an address that is none. */
static void lose(cudaStream_t stream)
{
	cudaLibrary_t library;
	cudaKernel_t kernel;
	void *bad = (void *)(uintptr_t)0x10;
	uint32_t n = 1;
	void *args[] = { &bad, &n, &bad };

	if (m.fake) {
		fake_cuda_fault(1, cudaErrorIllegalAddress);
		return;
	}
	if (m.api->LibraryLoadData(&library, m.api->kernels, NULL, NULL, 0, NULL, NULL, 0) == cudaSuccess &&
	    m.api->LibraryGetKernel(&kernel, library, "kvf_gather") == cudaSuccess)
		(void)m.api->LaunchKernel((const void *)kernel, (dim3){ 1, 1, 1 }, (dim3){ 32, 1, 1 }, args, 0, stream);
}

static int lost_device(bool word)
{
	struct rig rig;
	struct gen_copy gc;
	cudaStream_t stream;

	if (!open_usual(&rig, KVF_WAY_MEMCPY, word))
		return 1;
	(void)m.api->StreamCreateWithPriority(&stream, cudaStreamNonBlocking, 0);
	gen_copy_whole(&gc, &rig.gen.layout, rig.chunk, false);
	lose(stream);
	for (unsigned i = 0; i < 1000; i++) {
		int rc;

		gc.copy.payload = rig.pool;
		rig.n_done = 0;
		rc = OPS->copy(rig.dev, &gc.copy);
		if (rc == KVF_EDEVLOST || (!rc && await(&rig, 1) && gc.copy.status == KVF_EDEVLOST)) {
			OPS->close(rig.dev);
			return 0;
		}
		if (rc)
			return 1;
	}
	return 1;
}

static void check_lost(const char *self, bool word)
{
	int status = 1;
	pid_t child = fork();

	if (!child) {
		execl(self, self, word ? "--lost-word" : "--lost-event", m.fake ? "--fake" : NULL, NULL);
		_exit(errno & 0x7f);
	}
	expect(child > 0 && waitpid(child, &status, 0) == child && status == 0, "a lost device is noticed, by %s",
	       word ? "word" : "event");
}

int main(int argc, char **argv)
{
	int n = 0, lost = 0;

	for (int i = 1; i < argc; i++) {
		m.fake |= !strcmp(argv[i], "--fake");
		m.verbose |= !strcmp(argv[i], "--verbose");
		/* Bytes only: for compute-sanitizer, which minds errors that are made on purpose. */
		m.brief |= !strcmp(argv[i], "--short");
		lost = !strcmp(argv[i], "--lost-word") ? 2 : !strcmp(argv[i], "--lost-event") ? 1 : lost;
	}
	m.api = m.fake ? &fake_cuda_api : &kvf_cuda_real;
	fake_cuda_reset(&fake_cuda_usual);
	if (!m.fake && (m.api->GetDeviceCount(&n) != cudaSuccess || n == 0)) {
		printf("*** SKIPPED: no CUDA device ***\n");
		return 77;
	}
	if (lost)
		_exit(lost_device(lost == 2)); /* nothing of it can be freed */
	check_bytes();
	if (!m.brief) {
		check_order();
		check_capture();
		check_refusals();
		check_many_descriptors();
		check_lost(argv[0], false);
		check_lost(argv[0], true);
	}
	if (m.fake && fake_cuda_violations())
		expect(false, "fake CUDA: %s", fake_cuda_violation());
	fake_cuda_reset(&fake_cuda_usual);
	printf("check_gpu: %u checks, %u failed\n", m.checks, m.failed);
	return m.failed ? 1 : 0;
}
