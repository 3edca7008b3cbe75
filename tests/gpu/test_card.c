/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a card and its driver do around the CUDA device, beside check_gpu: the load side of the order, captures,
 * page-locked memory in io_uring, IPC handles, very long batches, several GPUs. Over the fake runtime in `make check`,
 * which shows that the program is right; with KVF_CUDA_REAL=1 (make check-gpu) on the card. What only tells how the
 * driver behaves is printed ("fact:") and fails nothing.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef HAVE_LIBURING
#include <liburing.h>
#endif

#include "tests/harness.h"
#include "tests/support/cuda_rig.h"

#define IO_BYTES ((size_t)4 << 20)
#define MANY 10000u
#define MANY_SECONDS 30

static const struct kvf_cuda_api *api = &fake_cuda_api;
static const char *self;

static void machine(int devices)
{
	struct fake_cuda_config config = fake_cuda_usual;

	config.devices = devices;
	fake_cuda_reset(&config);
}

static void pass_time(void)
{
	if (!cuda_rig_on_card())
		fake_cuda_advance(1000);
}

/* --- the load side ----------------------------------------------------------------------------------------------- */

/* The host computes for some milliseconds, then its kernel reads n bytes at `from`. */
static void compute_and_read(cudaStream_t stream, void *scratch, size_t scratch_n, void *to, void *from, size_t n)
{
	if (!cuda_rig_on_card()) {
		fake_cuda_kernel_copy(stream, to, from, n, 3000000);
		return;
	}
	for (int i = 0; i < 200; i++)
		(void)cudaMemsetAsync(scratch, i, scratch_n, stream);
	(void)api->MemcpyAsync(to, from, n, cudaMemcpyDeviceToDevice, stream);
}

static void fetch(void *to, void *from, size_t n)
{
	if (cuda_rig_on_card())
		(void)cudaMemcpy(to, from, n, cudaMemcpyDeviceToHost);
	else
		memcpy(to, fake_cuda_shadow(from), n);
}

/* Attention reads the blocks while a retrieve wants to write them. Returns how many bytes it saw of the later ones. */
static size_t load_behind_compute(bool waits, bool word)
{
	struct cuda_rig rig = { .n_done = 0 };
	struct kvf_fence_in in = { .kind = KVF_FENCE_NOW };
	struct kvf_fence fence;
	struct gen_copy gc;
	cudaStream_t stream;
	cudaEvent_t event;
	void *scratch, *seen;
	size_t scratch_n = cuda_rig_on_card() ? (size_t)256 << 20 : 4096, n, wrong = 0;
	uint8_t *kv, *now;

	machine(1);
	cuda_rig_usual(&rig);
	rig.options.word = word;
	CU_ASSERT_EQUAL_FATAL(cuda_rig_open(&rig, 1), KVF_OK);
	kv = cuda_rig_memory(&rig, 0, &n);
	now = malloc(n);
	CU_ASSERT_EQUAL_FATAL(api->Malloc(&scratch, scratch_n), cudaSuccess);
	CU_ASSERT_EQUAL_FATAL(api->Malloc(&seen, n), cudaSuccess);
	CU_ASSERT_EQUAL_FATAL(api->StreamCreateWithPriority(&stream, cudaStreamNonBlocking, 0), cudaSuccess);
	CU_ASSERT_EQUAL_FATAL(api->EventCreateWithFlags(&event, cudaEventDisableTiming), cudaSuccess);
	compute_and_read(stream, scratch, scratch_n, seen, kv, n);
	CU_ASSERT_EQUAL(api->EventRecord(event, stream), cudaSuccess);
	if (waits)
		in = (struct kvf_fence_in){ .kind = KVF_FENCE_EVENT, .handle = event };
	CU_ASSERT_EQUAL(CUDA_OPS->capture(rig.dev, &in, &fence), KVF_OK);
	gen_copy_whole(&gc, &rig.gen.layout, rig.chunk_size, false);
	cuda_rig_prepare(&rig, &gc, KVF_COPY_SCATTER, 1);
	gc.copy.after = &fence;
	CU_ASSERT_EQUAL(CUDA_OPS->copy(rig.dev, &gc.copy), KVF_OK);
	CU_ASSERT_TRUE(cuda_rig_await(&rig, 1));
	while (api->StreamQuery(stream) == cudaErrorNotReady)
		pass_time();
	fetch(now, seen, n);
	for (size_t i = 0; i < n; i++)
		wrong += now[i] != rig.gen.memory[0].p[i];
	CUDA_OPS->release(rig.dev, &fence);
	CU_ASSERT_EQUAL(api->EventDestroy(event), cudaSuccess);
	CU_ASSERT_EQUAL(api->StreamDestroy(stream), cudaSuccess);
	CU_ASSERT_EQUAL(api->Free(seen), cudaSuccess);
	CU_ASSERT_EQUAL(api->Free(scratch), cudaSuccess);
	gen_copy_fini(&gc);
	free(now);
	cuda_rig_close(&rig);
	return wrong;
}

static void test_load_side(void)
{
	for (int word = 0; word < 2; word++) {
		CU_ASSERT_TRUE(load_behind_compute(false, word) > 0); /* the control */
		CU_ASSERT_EQUAL(load_behind_compute(true, word), 0);
	}
}

/* --- captures ---------------------------------------------------------------------------------------------------- */

/* Somebody captures in global mode; an event that has nothing to do with it is asked about. */
static bool capture_survives(enum cudaStreamCaptureMode mode)
{
	cudaGraph_t graph = NULL;
	cudaStream_t stream;
	cudaEvent_t event;
	bool whole;

	machine(1);
	CU_ASSERT_EQUAL_FATAL(api->StreamCreateWithPriority(&stream, cudaStreamNonBlocking, 0), cudaSuccess);
	CU_ASSERT_EQUAL_FATAL(api->EventCreateWithFlags(&event, cudaEventDisableTiming), cudaSuccess);
	if (cuda_rig_on_card())
		(void)cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal);
	else
		fake_cuda_capture(stream, true);
	(void)api->ThreadExchangeStreamCaptureMode(&mode);
	(void)api->EventQuery(event);
	(void)api->ThreadExchangeStreamCaptureMode(&mode);
	(void)api->GetLastError();
	if (cuda_rig_on_card()) {
		whole = cudaStreamEndCapture(stream, &graph) == cudaSuccess && graph;
		if (graph)
			(void)cudaGraphDestroy(graph);
		(void)api->GetLastError();
	} else {
		whole = !fake_cuda_capture_broken();
		fake_cuda_capture(stream, false);
		fake_cuda_forgive();
	}
	CU_ASSERT_EQUAL(api->EventDestroy(event), cudaSuccess);
	CU_ASSERT_EQUAL(api->StreamDestroy(stream), cudaSuccess);
	return whole;
}

static void test_capture_mode(void)
{
	CU_ASSERT_TRUE(capture_survives(cudaStreamCaptureModeRelaxed));
	printf(" fact: cudaEventQuery in the global mode %s a capture ",
	       capture_survives(cudaStreamCaptureModeGlobal) ? "spares" : "breaks");
}

/* --- page-locked memory in io_uring ------------------------------------------------------------------------------ */

#ifdef HAVE_LIBURING
/* A file is read into registered page-locked memory. 0, or the error. */
static int read_fixed(void *p)
{
	struct iovec iov = { p, IO_BYTES };
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe;
	struct io_uring ring;
	FILE *f = tmpfile();
	int rc = io_uring_queue_init(4, &ring, 0);

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	for (unsigned i = 0; i < IO_BYTES; i++)
		fputc((int)(i * 7 % 251), f);
	fflush(f);
	if (!rc) {
		rc = io_uring_register_buffers(&ring, &iov, 1);
		if (!rc) {
			sqe = io_uring_get_sqe(&ring);
			io_uring_prep_read_fixed(sqe, fileno(f), p, IO_BYTES, 0, 0);
			io_uring_submit(&ring);
			rc = io_uring_wait_cqe(&ring, &cqe);
			rc = rc ? rc : cqe->res == (int)IO_BYTES ? 0 : cqe->res < 0 ? cqe->res : -EIO;
		}
		io_uring_queue_exit(&ring);
	}
	fclose(f);
	for (unsigned i = 0; !rc && i < IO_BYTES; i++)
		rc = ((uint8_t *)p)[i] == (uint8_t)(i * 7 % 251) ? 0 : -EBADMSG;
	return rc;
}

/* What the pool does: our own memory, registered with CUDA, then with the ring. It must work; what cudaHostAlloc gives
 * may be refused. The limit of locked memory is another matter. */
static void test_io_uring(void)
{
	void *ours = mmap(NULL, IO_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *theirs;
	int rc;

	machine(1);
	CU_ASSERT_TRUE_FATAL(ours != MAP_FAILED);
	memset(ours, 1, IO_BYTES);
	CU_ASSERT_EQUAL_FATAL(api->HostRegister(ours, IO_BYTES, cudaHostRegisterPortable), cudaSuccess);
	rc = read_fixed(ours);
	CU_ASSERT_TRUE(rc == 0 || rc == -ENOMEM || rc == -ENOSYS || rc == -EPERM);
	printf(" fact: io_uring over cudaHostRegister: %s;", rc ? strerror(-rc) : "works");
	CU_ASSERT_EQUAL(api->HostUnregister(ours), cudaSuccess);
	munmap(ours, IO_BYTES);
	CU_ASSERT_EQUAL_FATAL(api->HostAlloc(&theirs, IO_BYTES, cudaHostAllocPortable), cudaSuccess);
	rc = read_fixed(theirs);
	printf(" over cudaHostAlloc: %s ", rc ? strerror(-rc) : "works");
	CU_ASSERT_EQUAL(api->FreeHost(theirs), cudaSuccess);
}
#else
static void test_io_uring(void)
{
	kvf_test_skip("this build has no liburing");
}
#endif

/* --- memory of another process ----------------------------------------------------------------------------------- */

static int spawn(const char *option, const char *value)
{
	int status = -1;
	pid_t child = fork();

	if (!child) {
		execl(self, self, option, value, (char *)NULL);
		_exit(127);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void to_hex(const void *p, size_t n, char *out)
{
	for (size_t i = 0; i < n; i++)
		sprintf(out + 2 * i, "%02x", ((const uint8_t *)p)[i]);
}

static void from_hex(const char *text, void *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char two[3] = { text[2 * i], text[2 * i + 1], '\0' };

		((uint8_t *)p)[i] = (uint8_t)strtoul(two, NULL, 16);
	}
}

/* In the other process: is it there? */
static int ipc_child(const char *hex)
{
	cudaIpcMemHandle_t handle;
	uint8_t bytes[64];
	void *p;

	from_hex(hex, &handle, sizeof(handle));
	if (cudaIpcOpenMemHandle(&p, handle, cudaIpcMemLazyEnablePeerAccess) != cudaSuccess ||
	    cudaMemcpy(bytes, p, sizeof(bytes), cudaMemcpyDeviceToHost) != cudaSuccess)
		return 2;
	for (size_t i = 0; i < sizeof(bytes); i++)
		if (bytes[i] != (uint8_t)(i + 3))
			return 3;
	return cudaIpcCloseMemHandle(p) == cudaSuccess ? 0 : 4;
}

static void test_ipc(void)
{
	cudaIpcMemHandle_t handle;
	char hex[2 * sizeof(handle) + 1];
	uint8_t bytes[64];
	void *p;
	int rc;

	if (!cuda_rig_on_card()) {
		kvf_test_skip("IPC handles: the fake has none");
		return;
	}
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i + 3);
	CU_ASSERT_EQUAL_FATAL(api->Malloc(&p, 1 << 20), cudaSuccess);
	CU_ASSERT_EQUAL_FATAL(cudaMemcpy(p, bytes, sizeof(bytes), cudaMemcpyHostToDevice), cudaSuccess);
	if (cudaIpcGetMemHandle(&handle, p) != cudaSuccess) {
		(void)api->GetLastError();
		printf(" fact: no IPC handles of plain memory here ");
	} else {
		to_hex(&handle, sizeof(handle), hex);
		rc = spawn("--ipc", hex);
		printf(" fact: IPC handle of plain memory in another process: %s ", rc ? "fails" : "works");
	}
	CU_ASSERT_EQUAL(api->Free(p), cudaSuccess);
}

/* --- very long batches ------------------------------------------------------------------------------------------- */

/* 10,000 descriptors a hundred times, which drivers have hung and crashed on: not how we do it, see CUDA_BATCH. */
static int many_child(void)
{
	struct cudaMemcpyAttributes attributes = { .srcAccessOrder = cudaMemcpySrcAccessOrderStream };
	static void *to[MANY], *from[MANY];
	static size_t sizes[MANY];
	cudaStream_t stream;
	cudaError_t error = cudaSuccess;
	void *device, *host;

	alarm(MANY_SECONDS);
	if (api->Malloc(&device, MANY * (size_t)512) ||
	    api->HostAlloc(&host, MANY * (size_t)512, cudaHostAllocPortable) ||
	    api->StreamCreateWithPriority(&stream, cudaStreamNonBlocking, 0))
		return 2;
	for (size_t i = 0; i < MANY; i++) {
		to[i] = (uint8_t *)host + i * 512;
		from[i] = (uint8_t *)device + i * 512;
		sizes[i] = 256;
	}
	for (unsigned round = 0; error == cudaSuccess && round < 100; round++) {
		error = api->MemcpyBatchAsync(to, from, sizes, MANY, &attributes, stream);
		while (error == cudaSuccess && (error = api->StreamQuery(stream)) == cudaErrorNotReady) {
			error = cudaSuccess;
			if (!cuda_rig_on_card())
				fake_cuda_finish();
		}
	}
	return error == cudaSuccess ? 0 : 3;
}

static void test_many_descriptors(void)
{
	int rc = spawn("--many", "now");

	printf(" fact: 100 batches of %u descriptors: %s ", MANY,
	       !rc ? "work" : rc == 128 + SIGALRM ? "hang" : rc >= 128 ? "crash" : "fail");
	CU_ASSERT_TRUE(cuda_rig_on_card() || rc == 0);
}

/* --- several GPUs ------------------------------------------------------------------------------------------------ */

/* The rig spreads the layers by a seed: one by which they are not all on the same GPU. */
static void open_on_two(struct cuda_rig *rig)
{
	struct gen_shape shape = { 4, 16, 16, 2, 16, KVF_BFLOAT16 };
	struct gen_rng rng = { 3 };

	for (uint64_t seed = 1; seed < 20; seed++) {
		memset(rig, 0, sizeof(*rig));
		machine(2);
		rig->chunk_size = 64;
		gen_layout_init(&rig->gen, KVF_PAYLOAD_LMCACHE);
		gen_layout_add(&rig->gen, "BSHE", 2, &shape, NULL);
		gen_layout_fill(&rig->gen, &rng);
		CU_ASSERT_EQUAL_FATAL(cuda_rig_open(rig, seed), KVF_OK);
		if (kvf_cuda_device_costs(rig->dev, 1, KVF_COPY_GATHER))
			return;
		cuda_rig_close(rig);
	}
	CU_FAIL_FATAL("no seed spreads the layers");
}

static void test_several(void)
{
	struct cuda_rig rig;
	struct gen_copy gc;
	int before = -1, after = -2;

	machine(2);
	if (cuda_rig_devices() < 2) {
		kvf_test_skip("several GPUs: there is one");
		return;
	}
	(void)api->GetDevice(&before);
	open_on_two(&rig);
	gen_copy_whole(&gc, &rig.gen.layout, rig.chunk_size, false);
	cuda_rig_prepare(&rig, &gc, KVF_COPY_SCATTER, 1);
	CU_ASSERT_EQUAL(CUDA_OPS->copy(rig.dev, &gc.copy), KVF_OK);
	CU_ASSERT_TRUE(cuda_rig_await(&rig, 1));
	CU_ASSERT_FALSE(cuda_rig_equal(&rig));
	cuda_rig_prepare(&rig, &gc, KVF_COPY_GATHER, 2);
	rig.n_done = 0;
	CU_ASSERT_EQUAL(CUDA_OPS->copy(rig.dev, &gc.copy), KVF_OK);
	CU_ASSERT_TRUE(cuda_rig_await(&rig, 1));
	CU_ASSERT_EQUAL(memcmp(cuda_rig_slot(&rig, 1), cuda_rig_slot(&rig, 2), rig.plan.payload_bytes), 0);
	(void)api->GetDevice(&after);
	CU_ASSERT_EQUAL(before, after);
	gen_copy_fini(&gc);
	cuda_rig_close(&rig);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "load_side", test_load_side },	     { "capture_mode", test_capture_mode },
		{ "io_uring", test_io_uring },	     { "ipc", test_ipc },
		{ "many_descriptors", test_many_descriptors }, { "several", test_several },
	};
	int rc;

	self = argv[0];
	if (getenv("KVF_CUDA_REAL")) {
		if (!cuda_rig_use_card(&kvf_cuda_real)) {
			printf("*** SKIPPED: no CUDA device ***\n");
			return 77;
		}
		api = &kvf_cuda_real;
	}
	machine(1);
	if (argc == 3 && !strcmp(argv[1], "--ipc"))
		return ipc_child(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "--many"))
		return many_child();
	rc = kvf_test_main("card", tests, KVF_ARRAY_LEN(tests), argc, argv);
	fake_cuda_reset(&fake_cuda_usual);
	return rc;
}
