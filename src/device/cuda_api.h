/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole view this library has of CUDA: a table of function pointers with the types of NVIDIA's headers. Filled from
 * the static runtime in cuda_real.c, from a fake one in tests. Nothing here waits: no call that synchronises is in it.
 */
#ifndef KVF_DEVICE_CUDA_API_H
#define KVF_DEVICE_CUDA_API_H

#include <cuda.h>
#include <cuda_runtime_api.h>

#define KVF_CUDA_FUNCTIONS(X) \
	X(GetDeviceCount) \
	X(GetDevice) \
	X(SetDevice) \
	X(DriverGetVersion) \
	X(RuntimeGetVersion) \
	X(DeviceGetAttribute) \
	X(DeviceGetPCIBusId) \
	X(GetDeviceProperties) \
	X(DeviceGetStreamPriorityRange) \
	X(GetErrorName) \
	X(GetErrorString) \
	X(GetLastError) \
	X(Malloc) \
	X(Free) \
	X(HostAlloc) \
	X(FreeHost) \
	X(HostRegister) \
	X(HostUnregister) \
	X(HostGetDevicePointer) \
	X(PointerGetAttributes) \
	X(StreamCreateWithPriority) \
	X(StreamDestroy) \
	X(StreamQuery) \
	X(StreamWaitEvent) \
	X(StreamIsCapturing) \
	X(StreamGetDevice) \
	X(ThreadExchangeStreamCaptureMode) \
	X(EventCreateWithFlags) \
	X(EventDestroy) \
	X(EventRecord) \
	X(EventQuery) \
	X(MemcpyAsync) \
	X(Memcpy2DAsync) \
	X(LibraryLoadData) \
	X(LibraryUnload) \
	X(LibraryGetKernel) \
	X(LaunchKernel) \
	X(GetDriverEntryPointByVersion)

/* cuStreamWriteValue64, asked for by name and version: the library is not linked with the driver. */
typedef CUresult (*kvf_cuda_write_value)(CUstream stream, CUdeviceptr address, cuuint64_t value, unsigned flags);

struct kvf_cuda_api {
#define X(name) __typeof__(&cuda##name) name;
	KVF_CUDA_FUNCTIONS(X)
#undef X
	/* cudaMemcpyBatchAsync with one set of attributes: it has 9 arguments in CUDA 12 and 8 from 13 on. */
	cudaError_t (*MemcpyBatchAsync)(void **dst, void **src, size_t *bytes, size_t n,
					struct cudaMemcpyAttributes *attributes, cudaStream_t stream);
	const void *kernels; /* fatbin of kernels.cu; NULL: built without nvcc */
};

extern const struct kvf_cuda_api kvf_cuda_real;

#endif
