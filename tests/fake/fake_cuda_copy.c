/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of the fake CUDA runtime that put work into streams: copies, batches, our kernels, words. */
#include <stdlib.h>
#include <string.h>

#include "tests/fake/fake_cuda_impl.h"

static uint64_t link_ns(size_t n)
{
	return n * 1000 / fake_world.config.bytes_per_us;
}

static bool right_side(void *to, const void *from, size_t n, bool to_host)
{
	return fake_bytes(to, n, !to_host) && fake_bytes(from, n, to_host);
}

cudaError_t fake_memcpy_async(void *to, const void *from, size_t n, enum cudaMemcpyKind kind, cudaStream_t handle)
{
	struct fake_stream *s = fake_stream_of(handle, "MemcpyAsync");
	struct fake_op *op;

	BEGIN("MemcpyAsync");
	if (!s || !right_side(to, from, n, kind == cudaMemcpyDeviceToHost))
		return fake_end(cudaErrorInvalidValue);
	op = fake_push(s, FAKE_COPY, fake_world.config.memcpy_ns + link_ns(n));
	op->to = to;
	op->from = from;
	op->n = n;
	return cudaSuccess;
}

cudaError_t fake_memcpy_2d(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t rows,
			     enum cudaMemcpyKind kind, cudaStream_t handle)
{
	struct fake_stream *s = fake_stream_of(handle, "Memcpy2DAsync");
	bool to_host = kind == cudaMemcpyDeviceToHost;
	struct fake_op *op;

	BEGIN("Memcpy2DAsync");
	if (!s || !width || !rows || to_pitch < width || from_pitch < width || to_pitch > 0x7fffffff ||
	    from_pitch > 0x7fffffff)
		return fake_end(cudaErrorInvalidValue);
	if (!right_side(to, from, width, to_host) ||
	    !right_side((uint8_t *)to + (rows - 1) * to_pitch, (const uint8_t *)from + (rows - 1) * from_pitch, width,
			to_host))
		return fake_end(cudaErrorInvalidValue);
	op = fake_push(s, FAKE_COPY_2D, rows * fake_world.config.memcpy_ns + link_ns(rows * width));
	*op = (struct fake_op){ .kind = op->kind, .begin_ns = op->begin_ns, .cost_ns = op->cost_ns, .to = to,
				.from = from, .n = width, .to_pitch = to_pitch, .from_pitch = from_pitch,
				.rows = rows };
	return cudaSuccess;
}

static void *copy_of(const void *p, size_t n)
{
	void *copy = malloc(n);

	if (!copy)
		abort();
	return memcpy(copy, p, n);
}

cudaError_t fake_memcpy_batch(void **to, void **from, size_t *bytes, size_t n, struct cudaMemcpyAttributes *a,
				cudaStream_t handle)
{
	struct fake_stream *s;
	struct fake_op *op;
	size_t total = 0, i;

	BEGIN("MemcpyBatchAsync");
	fake_cuda_advance(n * fake_world.config.desc_ns);
	if (!handle || handle == cudaStreamLegacy || handle == cudaStreamPerThread) {
		fake_violate("a batch in the legacy stream");
		return fake_end(cudaErrorInvalidValue);
	}
	s = fake_stream_of(handle, "MemcpyBatchAsync");
	if (!s || !n || !a || a->srcAccessOrder == cudaMemcpySrcAccessOrderInvalid)
		return fake_end(cudaErrorInvalidValue);
	if (fake_world.config.no_batch)
		return fake_end(cudaErrorCallRequiresNewerDriver);
	for (i = 0; i < n; i++) {
		struct fake_memory *m = fake_memory_of(to[i]);

		if (!bytes[i] || !right_side(to[i], from[i], bytes[i], m && m->kind != FAKE_DEVICE))
			return fake_end(cudaErrorInvalidValue);
		if (m->kind != FAKE_DEVICE && a->srcAccessOrder != cudaMemcpySrcAccessOrderStream)
			fake_violate("a batch to the host that may read before its stream's waits are over");
		total += bytes[i];
	}
	fake_world.max_batch = n > fake_world.max_batch ? n : fake_world.max_batch;
	op = fake_push(s, FAKE_BATCH, n * fake_world.config.batch_ns + link_ns(total));
	op->batch_to = copy_of(to, n * sizeof(*to));
	op->batch_from = copy_of(from, n * sizeof(*from));
	op->batch_n = copy_of(bytes, n * sizeof(*bytes));
	op->n = n;
	return cudaSuccess;
}

static int library_token, gather_token, scatter_token;

cudaError_t fake_library_load(cudaLibrary_t *out, const void *code, enum cudaJitOption *jit, void **jit_values,
				unsigned n_jit, enum cudaLibraryOption *options, void **values, unsigned n)
{
	BEGIN("LibraryLoadData");
	(void)jit, (void)jit_values, (void)n_jit, (void)options, (void)values, (void)n;
	if (!code)
		return fake_end(cudaErrorInvalidValue);
	fake_world.libraries++;
	*out = (cudaLibrary_t)(void *)&library_token;
	return cudaSuccess;
}

cudaError_t fake_library_unload(cudaLibrary_t library)
{
	BEGIN("LibraryUnload");
	if (library != (cudaLibrary_t)(void *)&library_token || !fake_world.libraries)
		return fake_end(cudaErrorInvalidResourceHandle);
	fake_world.libraries--;
	return cudaSuccess;
}

cudaError_t fake_library_kernel(cudaKernel_t *out, cudaLibrary_t library, const char *name)
{
	BEGIN("LibraryGetKernel");
	(void)library;
	if (strcmp(name, "kvf_gather") && strcmp(name, "kvf_scatter"))
		return fake_end(cudaErrorSymbolNotFound);
	*out = (cudaKernel_t)(void *)(strcmp(name, "kvf_gather") ? &scatter_token : &gather_token);
	return cudaSuccess;
}

cudaError_t fake_launch(const void *function, dim3 grid, dim3 block, void **args, size_t shared, cudaStream_t handle)
{
	struct fake_stream *s = fake_stream_of(handle, "LaunchKernel");
	struct fake_op *op;

	BEGIN("LaunchKernel");
	if (!s || !grid.x || !block.x || block.x % 32 || shared || s->device != fake_world.current ||
	    (function != &gather_token && function != &scatter_token))
		return fake_end(cudaErrorInvalidValue);
	op = fake_push(s, FAKE_KERNEL, fake_world.config.kernel_ns);
	op->from = *(void **)args[0];
	op->n = *(uint32_t *)args[1];
	op->to = *(void **)args[2];
	op->value = function == &gather_token;
	if (!fake_bytes(op->from, 1, false))
		return fake_end(cudaErrorInvalidValue);
	return cudaSuccess;
}

static CUresult write_value(CUstream handle, CUdeviceptr at, cuuint64_t value, unsigned flags)
{
	struct fake_stream *s = fake_stream_of(handle, "StreamWriteValue64");
	struct fake_op *op;

	(void)flags;
	if (fake_begin("StreamWriteValue64") != cudaSuccess)
		return CUDA_ERROR_UNKNOWN;
	if (!s || fake_world.config.no_word)
		return CUDA_ERROR_NOT_SUPPORTED;
	op = fake_push(s, FAKE_WRITE, 0);
	op->to = (void *)(uintptr_t)at;
	op->value = value;
	return CUDA_SUCCESS;
}

cudaError_t fake_entry_point(const char *symbol, void **function, unsigned version, unsigned long long flags,
			       enum cudaDriverEntryPointQueryResult *result)
{
	CUresult (*f)(CUstream, CUdeviceptr, cuuint64_t, unsigned) = write_value;

	BEGIN("GetDriverEntryPointByVersion");
	(void)version, (void)flags;
	*function = NULL;
	*result = cudaDriverEntryPointSymbolNotFound;
	if (strcmp(symbol, "cuStreamWriteValue64"))
		return cudaSuccess;
	memcpy(function, &f, sizeof(f));
	*result = cudaDriverEntryPointSuccess;
	return cudaSuccess;
}
