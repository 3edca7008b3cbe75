/* SPDX-License-Identifier: Apache-2.0 */
/* See gpu.h. Over the table of functions that the library has, so that it runs over the tests' fake runtime too. */
#include "gpu.h"

#include <stdio.h>
#include <stdlib.h>

#ifdef HAVE_CUDA

#include "device/cuda_api.h"

struct gpu {
	const struct kvf_cuda_api *api;
	cudaStream_t stream;
	cudaError_t failed;
	const char *what;
};

static void missing(const struct kvf_cuda_api *api, cudaError_t error, char *text, size_t size)
{
	int driver = 0, runtime = 0;

	if (api->DriverGetVersion(&driver) != cudaSuccess)
		driver = 0;
	if (api->RuntimeGetVersion(&runtime) != cudaSuccess)
		runtime = 0;
	if (error == cudaErrorInsufficientDriver && driver)
		snprintf(text, size, "KVF_EDRIVER: the driver is for CUDA %d.%d, this program needs CUDA %d.%d",
			 driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
	else if (error == cudaErrorInsufficientDriver)
		snprintf(text, size, "KVF_ENODEV: this machine has no NVIDIA driver");
	else if (error == cudaSuccess || error == cudaErrorNoDevice)
		snprintf(text, size, "KVF_ENODEV: there is no CUDA device");
	else
		snprintf(text, size, "KVF_ENODEV: %s: %s", api->GetErrorName(error), api->GetErrorString(error));
}

struct gpu *gpu_open(char *text, size_t size)
{
	struct gpu *gpu = calloc(1, sizeof(*gpu));
	cudaError_t error;
	int n = 0;

	if (!gpu) {
		snprintf(text, size, "no memory");
		return NULL;
	}
	gpu->api = &kvf_cuda_real;
	error = gpu->api->GetDeviceCount(&n);
	if (error == cudaSuccess && n > 0)
		error = gpu->api->SetDevice(0);
	if (error == cudaSuccess && n > 0)
		error = gpu->api->StreamCreateWithPriority(&gpu->stream, cudaStreamNonBlocking, 0);
	if (error == cudaSuccess && n > 0)
		return gpu;
	missing(gpu->api, error, text, size);
	free(gpu);
	return NULL;
}

static void note(struct gpu *gpu, cudaError_t error, const char *what)
{
	if (error == cudaSuccess || gpu->failed)
		return;
	gpu->failed = error;
	gpu->what = what;
}

void gpu_close(struct gpu *gpu)
{
	if (!gpu)
		return;
	(void)gpu->api->StreamDestroy(gpu->stream);
	free(gpu);
}

void *gpu_alloc(struct gpu *gpu, size_t n)
{
	void *p = NULL;

	if (gpu->api->Malloc(&p, n) == cudaSuccess)
		return p;
	(void)gpu->api->GetLastError();
	return NULL;
}

void gpu_free(struct gpu *gpu, void *p)
{
	if (p)
		(void)gpu->api->Free(p);
}

void *gpu_host_alloc(struct gpu *gpu, size_t n)
{
	void *p = NULL;

	if (gpu->api->HostAlloc(&p, n, cudaHostAllocPortable) == cudaSuccess)
		return p;
	(void)gpu->api->GetLastError();
	return NULL;
}

void gpu_host_free(struct gpu *gpu, void *p)
{
	if (p)
		(void)gpu->api->FreeHost(p);
}

void gpu_copy(struct gpu *gpu, void *to, const void *from, size_t n, bool to_host)
{
	note(gpu,
	     gpu->api->MemcpyAsync(to, from, n, to_host ? cudaMemcpyDeviceToHost : cudaMemcpyHostToDevice, gpu->stream),
	     "cudaMemcpyAsync");
}

int gpu_wait(struct gpu *gpu, char *text, size_t size)
{
	cudaError_t error;

	do {
		error = gpu->api->StreamQuery(gpu->stream);
	} while (error == cudaErrorNotReady);
	note(gpu, error, "cudaStreamQuery");
	if (!gpu->failed)
		return 0;
	snprintf(text, size, "%s: %s", gpu->what, gpu->api->GetErrorString(gpu->failed));
	return -1;
}

#else

struct gpu *gpu_open(char *text, size_t size)
{
	snprintf(text, size, "KVF_ENODEV: this build has no CUDA");
	return NULL;
}

void gpu_close(struct gpu *gpu)
{
	(void)gpu;
}

void *gpu_alloc(struct gpu *gpu, size_t n)
{
	(void)gpu, (void)n;
	return NULL;
}

void gpu_free(struct gpu *gpu, void *p)
{
	(void)gpu, (void)p;
}

void *gpu_host_alloc(struct gpu *gpu, size_t n)
{
	(void)gpu, (void)n;
	return NULL;
}

void gpu_host_free(struct gpu *gpu, void *p)
{
	(void)gpu, (void)p;
}

void gpu_copy(struct gpu *gpu, void *to, const void *from, size_t n, bool to_host)
{
	(void)gpu, (void)to, (void)from, (void)n, (void)to_host;
}

int gpu_wait(struct gpu *gpu, char *text, size_t size)
{
	(void)gpu;
	snprintf(text, size, "this build has no CUDA");
	return -1;
}

#endif
