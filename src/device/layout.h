/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layouts: checking and copying what the host declared, and walking a chunk as runs of bytes that are contiguous on both
 * sides. Every device plans its copies with this walker, so bytes come out the same everywhere.
 */
#ifndef KVF_DEVICE_LAYOUT_H
#define KVF_DEVICE_LAYOUT_H

#include <stdbool.h>

#include "base/mem.h"
#include "kvferry/kvf_device.h"

/* The engine's own copy of a layout, with what follows from it. */
struct kvf_layout_plan {
	struct kvf_layout layout; /* arrays owned by the plan */
	uint32_t chunk_tokens;
	uint32_t n_layers; /* over all groups */
	uint64_t payload_bytes; /* full chunk */
	void *storage;
	size_t storage_bytes;
};

/* Checks every field (error text names group, field, value, bound) and copies. KVF_OK, KVF_EINVAL, KVF_ERANGE, KVF_ENOMEM. */
int kvf_layout_init(struct kvf_layout_plan *plan, struct kvf_mem *mem, const struct kvf_layout *layout,
		    uint32_t chunk_tokens, char *detail, size_t detail_size);
void kvf_layout_fini(struct kvf_layout_plan *plan, struct kvf_mem *mem);
/* New bases, same geometry: else KVF_EINVAL. */
int kvf_layout_rebind(struct kvf_layout_plan *plan, const struct kvf_layout *layout, char *detail, size_t detail_size);

/* Payload bytes of a chunk of n tokens (n <= chunk_tokens). For KVF_PAYLOAD_PAGES and opaque layouts see layout.c. */
uint64_t kvf_layout_payload_bytes(const struct kvf_layout_plan *plan, uint32_t n_tokens);

/* Does the block table cover tokens [first, first + n) and are all ids < n_blocks or KVF_BLOCK_NULL? */
int kvf_layout_check_blocks(const struct kvf_layout_plan *plan, const struct kvf_blocks *blocks, uint64_t first,
			    uint64_t n, char *detail, size_t detail_size);

/* One regular run: `rows` pieces of `bytes`, dev_stride and pay_stride apart. */
struct kvf_run {
	uint8_t *dev;
	uint64_t pay; /* offset in the payload */
	uint64_t bytes;
	uint32_t rows;
	uint64_t dev_stride, pay_stride;
	int32_t device;
};

/* Walks the runs of one kvf_copy in payload-friendly order; can stop and go on between any two runs. */
struct kvf_run_iter {
	const struct kvf_layout_plan *plan;
	const struct kvf_copy *copy;
	uint32_t group, layer, plane, token; /* next position */
	uint32_t layer_base;		     /* layers of earlier groups */
	uint64_t group_pay;		     /* payload offset of the group */
};

void kvf_run_iter_init(struct kvf_run_iter *iter, const struct kvf_layout_plan *plan, const struct kvf_copy *copy);
/* False at the end. Null blocks are skipped (gather leaves zeros there: the caller clears the payload first if any
 * block is null: kvf_copy_has_null()). */
bool kvf_run_iter_next(struct kvf_run_iter *iter, struct kvf_run *run);
bool kvf_copy_has_null(const struct kvf_layout_plan *plan, const struct kvf_copy *copy);

#endif
