/* SPDX-License-Identifier: Apache-2.0 */
/* Built-in devices. Each is a kvf_device_ops plus a constructor of its `self`. */
#ifndef KVF_DEVICE_DEVICE_H
#define KVF_DEVICE_DEVICE_H

#include "base/mem.h"
#include "device/layout.h"

/* KV in host memory: copies are sliced by progress()'s budget, FIFO per direction. plan: the engine's, valid until
 * close. */
extern const struct kvf_device_ops kvf_device_host_ops;
struct kvf_host_device;
int kvf_host_device_new(struct kvf_mem *mem, const struct kvf_layout_plan *plan, struct kvf_host_device **out);
void kvf_host_device_free(struct kvf_mem *mem, struct kvf_host_device *dev);
/* Contiguous pieces copied and bytes moved so far. */
void kvf_host_device_stats(const struct kvf_host_device *dev, uint64_t *copies, uint64_t *bytes);

#endif
