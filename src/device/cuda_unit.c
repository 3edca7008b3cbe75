/* SPDX-License-Identifier: Apache-2.0 */
/* One GPU: its streams, words, staging buffers, and which ways of copying it offers. */
#include <string.h>

#include "base/compiler.h"
#include "device/cuda_impl.h"

#define KERNEL_BLOCKS 24 /* at most, and no more than a quarter of the SMs */
#define OLDEST_SM 75
#define WARM_EVENTS 16u
#define PROBES 1000000u

static int open_word(struct kvf_cuda_device *dev, struct cuda_unit *unit, struct cuda_lane *lane, unsigned i)
{
	void *at = NULL;
	int rc;

	lane->word = dev->words + ((size_t)(unit - dev->units) * 2 + i) * 8;
	*lane->word = 0;
	if (!dev->options.word)
		return KVF_OK;
	rc = kvf_cuda_status(dev, dev->api->HostGetDevicePointer(&at, (void *)(uintptr_t)lane->word, 0),
			     "cudaHostGetDevicePointer");
	if (rc)
		return rc;
	lane->word_at = (CUdeviceptr)(uintptr_t)at;
	if (dev->write_value(lane->stream, lane->word_at, 1, 0) != CUDA_SUCCESS) {
		cudaError_t error = dev->api->StreamQuery(lane->stream);

		if (error != cudaSuccess && error != cudaErrorNotReady)
			return kvf_cuda_status(dev, error, "kvf_completion: word");
		return kvf_cuda_refuse(dev, KVF_ENOTSUP, "kvf_completion: word: device %d refuses cuStreamWriteValue64",
				       unit->ordinal);
	}
	lane->word_value = 1;
	for (i = 0; i < PROBES; i++) {
		cudaError_t error = dev->api->StreamQuery(lane->stream);

		if (error == cudaSuccess)
			break;
		if (error != cudaErrorNotReady)
			return kvf_cuda_status(dev, error, "kvf_completion: word");
		(void)dev->api->GetLastError();
	}
	if (__atomic_load_n(lane->word, __ATOMIC_ACQUIRE) == 1)
		return KVF_OK;
	return kvf_cuda_refuse(dev, KVF_ENOTSUP, "kvf_completion: word: device %d did not write it", unit->ordinal);
}

/* No room on the card: a way less, unless it is the one asked for. */
static int open_staging(struct kvf_cuda_device *dev, struct cuda_unit *unit, struct cuda_lane *lane)
{
	int rc;

	if (!dev->kernels[0] || !(unit->ways & 1u << KVF_WAY_KERNEL))
		return KVF_OK;
	dev->trying = dev->options.copy != KVF_WAY_KERNEL;
	rc = kvf_cuda_status(dev, dev->api->Malloc(&lane->staging, dev->options.staging_bytes), "staging: cudaMalloc");
	if (rc)
		lane->staging = NULL;
	else
		rc = kvf_cuda_status(dev,
				     dev->api->HostAlloc((void **)(uintptr_t)&lane->descs,
							 CUDA_DESCS * sizeof(struct cuda_desc),
							 cudaHostAllocPortable | cudaHostAllocMapped),
				     "cudaHostAlloc");
	if (!rc)
		rc = kvf_cuda_status(dev, dev->api->HostGetDevicePointer(&lane->descs_at, lane->descs, 0),
				     "cudaHostGetDevicePointer");
	dev->trying = false;
	if (!rc)
		return KVF_OK;
	unit->ways &= ~(1u << KVF_WAY_KERNEL);
	return dev->lost || dev->options.copy == KVF_WAY_KERNEL ? rc : KVF_OK;
}

static int open_lane(struct kvf_cuda_device *dev, struct cuda_unit *unit, unsigned i, int priority)
{
	struct cuda_lane *lane = &unit->lanes[i];
	int rc;

	lane->costs = kvf_copy_costs_default;
	lane->marks = kvf_mem_zalloc(dev->mem, CUDA_MARKS * sizeof(*lane->marks));
	if (!lane->marks)
		return KVF_ENOMEM;
	rc = kvf_cuda_status(dev,
			     dev->api->StreamCreateWithPriority(&lane->stream, cudaStreamNonBlocking, priority),
			     "cudaStreamCreateWithPriority");
	if (rc)
		lane->stream = NULL;
	if (!rc)
		rc = open_word(dev, unit, lane, i);
	if (!rc)
		rc = open_staging(dev, unit, lane);
	return rc;
}

/* The largest layer of a chunk must fit the staging buffer. */
static bool layers_fit(const struct kvf_cuda_device *dev)
{
	uint32_t i;

	for (i = 0; i < dev->plan.layout.n_groups; i++) {
		const struct kvf_group *g = &dev->plan.layout.groups[i];

		if (dev->plan.derived[i].row_bytes * g->planes * dev->plan.chunk_tokens > dev->options.staging_bytes)
			return false;
	}
	return true;
}

static int find_ways(struct kvf_cuda_device *dev, struct cuda_unit *unit)
{
	int major = 0, minor = 0, sms = 0;
	int rc = kvf_cuda_status(dev,
				 dev->api->DeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, unit->ordinal),
				 "cudaDeviceGetAttribute");

	if (!rc)
		rc = kvf_cuda_status(
			dev, dev->api->DeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, unit->ordinal),
			"cudaDeviceGetAttribute");
	if (!rc)
		rc = kvf_cuda_status(dev,
				     dev->api->DeviceGetAttribute(&sms, cudaDevAttrMultiProcessorCount, unit->ordinal),
				     "cudaDeviceGetAttribute");
	if (rc)
		return rc;
	unit->kernel_blocks = sms / 4 < 1 ? 1 : sms / 4 > KERNEL_BLOCKS ? KERNEL_BLOCKS : sms / 4;
	unit->ways = 1u << KVF_WAY_MEMCPY | 1u << KVF_WAY_BATCH;
	if (dev->kernels[0] && major * 10 + minor >= OLDEST_SM && layers_fit(dev))
		unit->ways |= 1u << KVF_WAY_KERNEL;
	else if (dev->options.copy == KVF_WAY_KERNEL)
		return kvf_cuda_refuse(dev, KVF_ENOTSUP,
				       "kvf_copy: kernel: device %d is sm_%d%d, the oldest is sm_75; or a layer of a "
				       "chunk is larger than the staging buffer of %llu bytes",
				       unit->ordinal, major, minor, (unsigned long long)dev->options.staging_bytes);
	return KVF_OK;
}

int kvf_cuda_unit_open(struct kvf_cuda_device *dev, struct cuda_scope *scope, struct cuda_unit *unit)
{
	int least = 0, greatest = 0;
	uint32_t i;
	int rc = kvf_cuda_use(dev, scope, unit);

	if (!rc)
		rc = find_ways(dev, unit);
	if (!rc)
		rc = kvf_cuda_status(dev, dev->api->DeviceGetStreamPriorityRange(&least, &greatest),
				     "cudaDeviceGetStreamPriorityRange");
	/* Kernels of ours give way to the host's; copies have engines of their own. */
	for (i = 0; !rc && i < 2; i++)
		rc = open_lane(dev, unit, i, least);
	if (!rc) {
		rc = kvf_cuda_status(
			dev, dev->api->StreamCreateWithPriority(&unit->captures, cudaStreamNonBlocking, least),
			"cudaStreamCreateWithPriority");
		if (rc)
			unit->captures = NULL;
	}
	if (rc)
		return rc;
	for (i = 0; !rc && i < WARM_EVENTS; i++) {
		cudaEvent_t event;
		uint32_t was_free = unit->events_free;

		/* One that is new, whatever is free already. */
		unit->events_free = 0;
		rc = kvf_cuda_event_get(dev, unit, &event);
		unit->events_free = was_free;
		if (!rc)
			kvf_cuda_event_put(unit, event);
	}
	return rc;
}

static void close_lane(struct kvf_cuda_device *dev, struct cuda_lane *lane)
{
	uint32_t i;

	for (i = 0; i < CUDA_FENCES; i++)
		if (lane->fences[i])
			(void)kvf_cuda_status(dev, dev->api->EventDestroy(lane->fences[i]), "cudaEventDestroy");
	if (lane->stream)
		(void)kvf_cuda_status(dev, dev->api->StreamDestroy(lane->stream), "cudaStreamDestroy");
	if (lane->staging)
		(void)kvf_cuda_status(dev, dev->api->Free(lane->staging), "cudaFree");
	if (lane->descs)
		(void)kvf_cuda_status(dev, dev->api->FreeHost(lane->descs), "cudaFreeHost");
}

void kvf_cuda_unit_close(struct kvf_cuda_device *dev, struct cuda_scope *scope, struct cuda_unit *unit)
{
	uint32_t i;

	if (kvf_cuda_use_to_free(dev, scope, unit))
		return;
	close_lane(dev, &unit->lanes[0]);
	close_lane(dev, &unit->lanes[1]);
	if (unit->captures)
		(void)kvf_cuda_status(dev, dev->api->StreamDestroy(unit->captures), "cudaStreamDestroy");
	for (i = 0; i < unit->events_free; i++)
		(void)kvf_cuda_status(dev, dev->api->EventDestroy(unit->events[i]), "cudaEventDestroy");
	unit->events_free = unit->events_made = 0;
}

int kvf_cuda_device_numa_node(const struct kvf_cuda_device *dev, int ordinal)
{
	int node = -1;

	if (dev->api->DeviceGetAttribute(&node, cudaDevAttrHostNumaId, ordinal)) {
		(void)dev->api->GetLastError(); /* a driver that does not know the attribute has lost nothing */
		return -1;
	}
	return node < 0 ? -1 : node;
}
