/* SPDX-License-Identifier: Apache-2.0 */
/* The binding to the real CUDA runtime, which is linked statically: the library starts where there is no driver. */
#include "device/cuda_api.h"

#ifdef KVF_CUDA_KERNELS
extern const unsigned long long kvf_cuda_fatbin[];
#endif

static cudaError_t memcpy_batch(void **dst, void **src, size_t *bytes, size_t n,
				struct cudaMemcpyAttributes *attributes, cudaStream_t stream)
{
	size_t first = 0;
#if KVF_CUDA_BATCH_ARGS == 9
	size_t failed;

	return cudaMemcpyBatchAsync(dst, src, bytes, n, attributes, &first, 1, &failed, stream);
#else
	return cudaMemcpyBatchAsync((void *const *)dst, (const void *const *)src, bytes, n, attributes, &first, 1,
				    stream);
#endif
}

const struct kvf_cuda_api kvf_cuda_real = {
#define X(name) .name = cuda##name,
	KVF_CUDA_FUNCTIONS(X)
#undef X
	.MemcpyBatchAsync = memcpy_batch,
#ifdef KVF_CUDA_KERNELS
	.kernels = kvf_cuda_fatbin,
#endif
};
