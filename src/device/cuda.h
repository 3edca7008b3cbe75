/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CUDA device: KV in GPU memory. A kvf_device_ops with a constructor of its `self`; no CUDA type is seen from here.
 * It exists only in builds with CUDA (HAVE_CUDA).
 */
#ifndef KVF_DEVICE_CUDA_H
#define KVF_DEVICE_CUDA_H

#include "base/mem.h"
#include "device/calibration.h"
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
	char calibration_file[KVF_CALIBRATION_PATH]; /* where the measured figures are kept; "": nowhere */
};

#define KVF_CUDA_STAGING_BYTES (64u * 1024u * 1024u)

struct kvf_cuda_stats {
	uint64_t copies, bytes;
	uint64_t pieces;	/* contiguous on both sides */
	uint64_t by_way[KVF_WAYS]; /* copies */
	uint64_t calls;		/* of the runtime that put work into a stream */
	uint64_t spins;		/* looks that found the word unchanged */
	uint64_t refused;	/* copies whose payload was not in page-locked memory */
};

/* Where the planner's figures come from. */
enum kvf_cuda_figures {
	KVF_FIGURES_PUBLISHED = 0, /* nothing was measured: kvf_copy says how, or there is no clock */
	KVF_FIGURES_MEASURED,	   /* when the device was opened */
	KVF_FIGURES_KEPT,	   /* measured at an earlier start, and read from the calibration file */
	KVF_FIGURES
};

/* One of the layout's devices, after open. */
struct kvf_cuda_unit_info {
	int ordinal;
	enum kvf_cuda_figures figures;
	unsigned ways;			/* that it offers, bits 1 << enum kvf_copy_way */
	struct kvf_copy_costs costs[2]; /* by enum kvf_copy_direction */
};

extern const struct kvf_device_ops kvf_device_cuda_ops;
int kvf_cuda_device_new(struct kvf_mem *mem, const struct kvf_cuda_options *options, struct kvf_cuda_device **out);
void kvf_cuda_device_free(struct kvf_mem *mem, struct kvf_cuda_device *dev);
void kvf_cuda_device_stats(const struct kvf_cuda_device *dev, struct kvf_cuda_stats *stats);
/* What the planner goes by, after open: of the n-th device of the layout. NULL: there is none. */
const struct kvf_copy_costs *kvf_cuda_device_costs(const struct kvf_cuda_device *dev, uint32_t n,
						   enum kvf_copy_direction direction);
/* The same, and the rest of it. False: there is none. */
bool kvf_cuda_device_unit(const struct kvf_cuda_device *dev, uint32_t n, struct kvf_cuda_unit_info *out);
const char *kvf_cuda_figures_name(enum kvf_cuda_figures figures);
/* NUMA node next to the GPU, as the driver knows it; -1: it does not. */
int kvf_cuda_device_numa_node(const struct kvf_cuda_device *dev, int ordinal);

#endif
