/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CUDA device: KV in GPU memory. A kvf_device_ops with a constructor of its `self`; no CUDA type is seen from here.
 * It exists only in builds with CUDA (HAVE_CUDA).
 */
#ifndef KVF_DEVICE_CUDA_H
#define KVF_DEVICE_CUDA_H

#include "base/mem.h"
#include "device/plan.h"

struct kvf_cuda_api; /* cuda_api.h */
struct kvf_cuda_device;

struct kvf_cuda_options {
	const struct kvf_cuda_api *api; /* NULL: the real one */
	uint32_t chunk_tokens;
	bool word;		 /* completion by a timeline word instead of events */
	enum kvf_copy_way copy;	 /* KVF_WAY_AUTO: calibrated */
	uint64_t staging_bytes;	 /* of device memory, a direction and device, for the kernel's way; 0: no such way */
	uint64_t (*now_ns)(void *clock); /* for the calibration; NULL: published figures are taken as they are */
	void *clock;
};

#define KVF_CUDA_STAGING_BYTES (64u * 1024u * 1024u)

struct kvf_cuda_stats {
	uint64_t copies, bytes;
	uint64_t pieces;	/* contiguous on both sides */
	uint64_t by_way[KVF_WAYS]; /* copies */
	uint64_t calls;		/* of the runtime that put work into a stream */
	uint64_t spins;		/* looks that found the word unchanged */
};

extern const struct kvf_device_ops kvf_device_cuda_ops;
int kvf_cuda_device_new(struct kvf_mem *mem, const struct kvf_cuda_options *options, struct kvf_cuda_device **out);
void kvf_cuda_device_free(struct kvf_mem *mem, struct kvf_cuda_device *dev);
void kvf_cuda_device_stats(const struct kvf_cuda_device *dev, struct kvf_cuda_stats *stats);
/* What the planner goes by, after open: of the n-th device of the layout. NULL: there is none. */
const struct kvf_copy_costs *kvf_cuda_device_costs(const struct kvf_cuda_device *dev, uint32_t n,
						   enum kvf_copy_direction direction);
/* NUMA node next to the GPU, as the driver knows it; -1: it does not. */
int kvf_cuda_device_numa_node(const struct kvf_cuda_device *dev, int ordinal);

#endif
