/* SPDX-License-Identifier: Apache-2.0 */
/*
 * numa_mode: on which node the pool is to lie. The bytes cross the link of the layout's first GPU, so its node is the
 * one; a layout in host memory has no GPU, and the thread that opens the engine says where it runs.
 */
#include "engine/engine.h"

#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/report.h"
#include "config/config.h"
#include "device/cuda.h"

enum { NONE = 0, AUTO, MANUAL };

int kvf_numa_map_find(const char *map, int device)
{
	const char *p = map;

	while (*p) {
		char *end;
		long gpu = strtol(p, &end, 10);
		long node;

		if (end == p || *end != ':')
			return -1;
		p = end + 1;
		node = strtol(p, &end, 10);
		if (end == p)
			return -1;
		if (gpu == device)
			return node < 0 || node > INT16_MAX ? -1 : (int)node;
		p = *end == ',' ? end + 1 : end;
		if (p == end && *p)
			return -1;
	}
	return -1;
}

static int node_here(void)
{
	unsigned cpu, node;

	return syscall(SYS_getcpu, &cpu, &node, NULL) ? -1 : (int)node;
}

static int node_of_gpu(const struct kvf_engine *e, int device)
{
#ifdef HAVE_CUDA
	if (e->own_cuda_device)
		return kvf_cuda_device_numa_node(e->own_cuda_device, device);
#else
	(void)e;
	(void)device;
#endif
	return -1;
}

int kvf_numa_node(const struct kvf_engine *e, const struct kvf_settings *s, struct kvf_report *report)
{
	int device = kvf_device_first(&e->plan.layout);
	int node;

	if (s->numa_mode == NONE)
		return -1;
	if (s->numa_mode == MANUAL) {
		node = device < 0 ? -1 : kvf_numa_map_find(s->gpu_to_numa_mapping, device);
		if (device < 0)
			kvf_report_add(report, KVF_NOTE,
				       "numa_mode: manual: the KV lies in host memory, so no GPU of "
				       "gpu_to_numa_mapping is concerned: the pool is not bound");
		else if (node < 0)
			kvf_report_add(report, KVF_WARNING,
				       "gpu_to_numa_mapping: \"%s\" has no node for GPU %d: the pool is not bound",
				       s->gpu_to_numa_mapping, device);
		return node;
	}
	node = device < 0 ? node_here() : node_of_gpu(e, device);
	if (node < 0 && device >= 0)
		kvf_report_add(report, KVF_NOTE,
			       "numa_mode: auto: the driver knows no node for GPU %d: the pool is not bound", device);
	return node;
}
