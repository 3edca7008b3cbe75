/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the fake CUDA runtime: fake_cuda.c calls, fake_cuda_mem.c memory, fake_cuda_run.c streams and time. */
#ifndef KVF_TESTS_FAKE_CUDA_IMPL_H
#define KVF_TESTS_FAKE_CUDA_IMPL_H

#include "tests/fake/fake_cuda.h"

enum fake_kind {
	FAKE_COPY = 1,
	FAKE_COPY_2D,
	FAKE_BATCH,
	FAKE_RECORD,
	FAKE_WAIT,
	FAKE_WRITE,
	FAKE_KERNEL,
	FAKE_FILL,
	FAKE_MOVE,
	FAKE_CALL
};

/* One record of an event. Who waits for it waits for this one, whatever is recorded in the event later. */
struct fake_mark {
	unsigned refs;
	bool done;
	uint64_t done_at;
};

struct fake_event {
	uint32_t magic;
	bool alive, captured;
	int device;
	struct fake_mark *mark; /* the latest record; NULL: none */
	struct fake_event *next;
};

struct fake_op {
	enum fake_kind kind;
	bool begun;
	uint64_t begin_ns, cost_ns, extra_ns; /* extra: bad weather */
	void *to;
	const void *from;
	size_t n, to_pitch, from_pitch, rows;
	uint64_t value;
	struct fake_mark *mark;
	void (*call)(void *arg);
	void **batch_to, **batch_from;
	size_t *batch_n;
	struct fake_op *next;
};

struct fake_stream {
	uint32_t magic;
	bool alive, capturing;
	int device;
	uint64_t free_at; /* when the last command was done */
	struct fake_op *first, *last;
	struct fake_stream *next;
};

enum fake_memory_kind { FAKE_DEVICE = 1, FAKE_PINNED, FAKE_REGISTERED };

struct fake_memory {
	enum fake_memory_kind kind;
	int device;
	uint8_t *at, *shadow;
	size_t n, mapped;
	struct fake_memory *next;
};

struct fake_world {
	struct fake_cuda_config config;
	uint64_t now;
	struct fake_stream *streams;
	struct fake_event *events;
	struct fake_memory *memory;
	size_t device_used;
	unsigned libraries;
	int current;
	enum cudaStreamCaptureMode mode;
	cudaError_t last, sticky;
	bool stalled, capture_broken;
	unsigned capturing;
	uint64_t fault_in; /* commands until the fault; 0: none */
	cudaError_t fault;
	const char *fail_function, *failed;
	uint64_t fail_in;
	cudaError_t fail_with;
	bool fail_lasting;
	struct fake_cuda_storm storm;
	uint64_t rng;
	unsigned as_host;
	uint64_t max_batch;
	unsigned violations;
	char violation[200];
};

extern struct fake_world fake_world;

/* What every call does first. Anything but success: the call does nothing more. */
cudaError_t fake_begin(const char *name);
cudaError_t fake_end(cudaError_t error);
#define BEGIN(name) \
	do { \
		cudaError_t begun = fake_begin(name); \
		if (begun != cudaSuccess) \
			return begun; \
	} while (0)
struct fake_stream *fake_stream_of(cudaStream_t handle, const char *name);
cudaError_t fake_memcpy_async(void *to, const void *from, size_t n, enum cudaMemcpyKind kind, cudaStream_t handle);
cudaError_t fake_memcpy_2d(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t rows,
			     enum cudaMemcpyKind kind, cudaStream_t handle);
cudaError_t fake_memcpy_batch(void **to, void **from, size_t *bytes, size_t n, struct cudaMemcpyAttributes *a,
				cudaStream_t handle);
cudaError_t fake_library_load(cudaLibrary_t *out, const void *code, enum cudaJitOption *jit, void **jit_values,
				unsigned n_jit, enum cudaLibraryOption *options, void **values, unsigned n);
cudaError_t fake_library_unload(cudaLibrary_t library);
cudaError_t fake_library_kernel(cudaKernel_t *out, cudaLibrary_t library, const char *name);
cudaError_t fake_launch(const void *function, dim3 grid, dim3 block, void **args, size_t shared, cudaStream_t handle);
cudaError_t fake_entry_point(const char *symbol, void **function, unsigned version, unsigned long long flags,
			       enum cudaDriverEntryPointQueryResult *result);

void fake_cuda_count_reset(void);
void fake_violate(const char *format, ...) __attribute__((format(printf, 1, 2)));
struct fake_memory *fake_memory_of(const void *p);
/* Where the bytes really are; NULL and a violation when [p, p + n) is no memory an asynchronous copy may use. */
uint8_t *fake_bytes(const void *p, size_t n, bool device);
void fake_memory_clear(void);
struct fake_op *fake_push(struct fake_stream *stream, enum fake_kind kind, uint64_t cost_ns);
struct fake_mark *fake_mark_ref(struct fake_mark *mark);
void fake_mark_put(struct fake_mark *mark);
void fake_run(void);
void fake_streams_clear(void);
/* Commands in any stream that touch [at, at + n). */
bool fake_in_use(const void *at, size_t n);

/* fake_cuda_storm.c */
cudaError_t fake_storm_call(const char *name); /* what the call says */
bool fake_storm_command(void);		       /* this command loses the device */
uint64_t fake_storm_extra_ns(void);

cudaError_t fake_malloc(void **out, size_t n);
cudaError_t fake_free(void *p);
cudaError_t fake_host_alloc(void **out, size_t n);
cudaError_t fake_free_host(void *p);
cudaError_t fake_register(void *p, size_t n);
cudaError_t fake_unregister(void *p);

#endif
