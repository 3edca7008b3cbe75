/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The copy planner: how one chunk's copy is best carried out by a device with copy engines and kernels. It knows costs
 * and shapes, not CUDA: what a piece costs by which way is measured by the device when it opens.
 */
#ifndef KVF_DEVICE_PLAN_H
#define KVF_DEVICE_PLAN_H

#include "device/layout.h"

/* The values of the kvf_copy setting. */
enum kvf_copy_way {
	KVF_WAY_AUTO = 0,
	KVF_WAY_MEMCPY, /* one call a run */
	KVF_WAY_BATCH,	/* one descriptor a piece, up to 1,024 of them a call */
	KVF_WAY_KERNEL, /* gather or scatter by a kernel through a staging buffer, long transfers over the link */
	KVF_WAYS
};

/* A copy as the planner sees it. A run of several rows is one call to memcpy, but a piece a row to the hardware. */
struct kvf_copy_shape {
	uint64_t bytes, runs, pieces;
};

/* What copies cost in one direction on one device. */
struct kvf_copy_costs {
	uint64_t link_bytes_per_us; /* of one long copy */
	uint32_t memcpy_cpu_ns, memcpy_dev_ns; /* a call; a piece, beside the bytes */
	uint32_t batch_cpu_ns, batch_dev_ns;   /* a descriptor, both */
	uint32_t kernel_cpu_ns, kernel_dev_ns; /* a copy, both */
	uint32_t kernel_run_ns;		       /* a run, of the CPU: it has to be described */
};

/* Of a PCIe 5 card, from published figures: what stands until it was measured. */
extern const struct kvf_copy_costs kvf_copy_costs_default;

/* Time until done, CPU time counted half once more: it is the host's. */
uint64_t kvf_plan_cost(const struct kvf_copy_costs *costs, const struct kvf_copy_shape *shape, enum kvf_copy_way way);
/* The cheapest of the ways in `usable` (bits 1 << way); memcpy when there is none. */
enum kvf_copy_way kvf_plan_choose(const struct kvf_copy_costs *costs, const struct kvf_copy_shape *shape,
				  unsigned usable);
const char *kvf_plan_way_name(enum kvf_copy_way way);

/* Is it something that may be begun: ranges, block table, room in the payload? KVF_OK, KVF_EINVAL, KVF_ERANGE. */
int kvf_plan_check_copy(const struct kvf_layout_plan *plan, const struct kvf_copy *copy);

/* A stretch of the payload and where it lies when all stretches are packed together. */
struct kvf_segment {
	uint64_t pay, at, bytes;
};

/* The payload's stretches that the copy's layers take up, all tokens of the chunk, in order. Returns how many; 0 when
 * there are more than cap. */
uint32_t kvf_plan_segments(const struct kvf_layout_plan *plan, const struct kvf_copy *copy, struct kvf_segment *out,
			   uint32_t cap);
/* Where payload offset `pay` lies among packed segments. *hint remembers the last one found; start with 0. */
uint64_t kvf_plan_packed(const struct kvf_segment *segments, uint32_t n, uint64_t pay, uint32_t *hint);

/* From layer `first` (counted over all groups) on: how many layers, at most max, lie on its device and take up no more
 * than `room` bytes of the payload. 0: not even one. */
uint32_t kvf_plan_layers(const struct kvf_layout_plan *plan, const struct kvf_copy *copy, uint32_t first, uint32_t max,
			 uint64_t room, int32_t *device);

#endif
