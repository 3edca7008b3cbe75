/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layouts: checking and copying what the host declared, and walking a chunk as runs of bytes that are contiguous on
 * both sides. Every device plans its copies with this walker, so bytes come out the same everywhere.
 */
#ifndef KVF_DEVICE_LAYOUT_H
#define KVF_DEVICE_LAYOUT_H

#include <stdbool.h>

#include "base/mem.h"
#include "kvferry/kvf_device.h"

/* Axes of a page: see the payload orders in layout.c. */
enum kvf_axis { KVF_AXIS_PLANE = 0, KVF_AXIS_TOKEN = 1, KVF_AXIS_HEAD = 2 };

/* What follows from one group's declaration. */
struct kvf_group_plan {
	uint64_t head_bytes;   /* of one head of one token */
	uint64_t row_bytes;    /* of one token of one plane of one layer */
	uint64_t plane_stride; /* base[1] - base[0] of every layer, when the plane is an axis of the page */
	uint32_t page_tokens;  /* tokens of a full page: the smaller of block and chunk; 0 with KVF_PAYLOAD_LMCACHE */
	uint8_t n_axes;	       /* 2, or 3 with the plane among them */
	uint8_t axes[3];       /* enum kvf_axis, outermost first */
};

/* The engine's own copy of a layout, with what follows from it. */
struct kvf_layout_plan {
	struct kvf_layout layout; /* arrays owned by the plan */
	uint32_t chunk_tokens;
	uint32_t n_layers; /* over all groups */
	uint64_t payload_bytes; /* full chunk; fits uint32_t */
	const struct kvf_group_plan *derived; /* one a group */
	void *storage;
	size_t storage_bytes;
};

/* Checks every field (error text names group, field, value, bound) and copies. KVF_OK, KVF_EINVAL, KVF_ERANGE,
 * KVF_ENOMEM. */
int kvf_layout_init(struct kvf_layout_plan *plan, struct kvf_mem *mem, const struct kvf_layout *layout,
		    uint32_t chunk_tokens, char *detail, size_t detail_size);
void kvf_layout_fini(struct kvf_layout_plan *plan, struct kvf_mem *mem);
/* New bases, same geometry: else KVF_EINVAL. */
int kvf_layout_rebind(struct kvf_layout_plan *plan, const struct kvf_layout *layout, char *detail, size_t detail_size);

/* Order of the axes inside the pages of every group, four bits a group, 0 with KVF_PAYLOAD_LMCACHE. With
 * KVF_PAYLOAD_PAGES it decides the order of the payload's bytes: it belongs into the fingerprint, and so does
 * block_tokens. */
uint64_t kvf_layout_order_code(const struct kvf_layout_plan *plan);

/* Payload bytes of a chunk of n tokens (n <= chunk_tokens). For KVF_PAYLOAD_PAGES and opaque layouts see layout.c. */
uint64_t kvf_layout_payload_bytes(const struct kvf_layout_plan *plan, uint32_t n_tokens);

/* Does the block table cover tokens [first, first + n) and are all ids < n_blocks or KVF_BLOCK_NULL? */
int kvf_layout_check_blocks(const struct kvf_layout_plan *plan, const struct kvf_blocks *blocks, uint64_t first,
			    uint64_t n, char *detail, size_t detail_size);

/*
 * One regular run: `rows` pieces of `bytes`, dev_stride and pay_stride apart (one row: the strides mean nothing). A run
 * never reaches from one tensor into another, unless their blocks lie inside one another: so each of its pieces is
 * inside one allocation.
 */
struct kvf_run {
	uint8_t *dev; /* NULL: a null block, only when they were asked for */
	uint64_t pay; /* offset in the payload */
	uint64_t bytes;
	uint32_t rows;
	int32_t device;
	uint64_t dev_stride, pay_stride;
};

/* How a stretch of tokens inside one block and one page falls into pieces: the row axis and up to two outer ones. */
struct kvf_run_shape {
	uint32_t tokens, page_tokens; /* what it was computed for */
	uint64_t bytes, dev_stride, pay_stride;
	uint32_t rows;
	uint32_t outer_n[2]; /* the inner one first; 1 when not there */
	uint64_t outer_dev[2], outer_pay[2];
};

/* Where the smallest part of a run begins. */
struct kvf_run_atom {
	uint8_t *base, *dev; /* dev NULL: a null block */
	uint64_t pay;
	int32_t device;
};

/*
 * Walks the runs of one kvf_copy in payload-friendly order; can stop and go on between any two runs. Neighbours that
 * touch on both sides come out as one run. Everything in it is private; it holds no resource.
 */
struct kvf_run_iter {
	const struct kvf_layout_plan *plan;
	const struct kvf_copy *copy;
	bool nulls; /* set it after init to get the null blocks too, as runs with dev NULL */
	bool done, settled;
	uint32_t group, layer, plane, token; /* position; token counts inside the chunk */
	uint32_t outer[2];
	uint32_t layer_begin, layer_end; /* of this group, inside the copy's layer range */
	uint32_t planes;		 /* walked outside the page */
	uint32_t in_block, first_in_block;
	uint32_t page_first, page_tokens;
	uint32_t segment; /* tokens from `token` on in one block and one page */
	uint32_t layer_base; /* layers of earlier groups */
	const struct kvf_group *g;
	const struct kvf_group_plan *d;
	const uint32_t *ids, *first_ids; /* entry of the block list: of `token`, of the copy's first */
	uint64_t group_pay;		 /* payload offset of the group */
	uint64_t page_pay, layer_pay, plane_pay, token_pay;
	struct kvf_run_shape shape;
	struct kvf_run_atom atom; /* at the position, once settled */
};

void kvf_run_iter_init(struct kvf_run_iter *iter, const struct kvf_layout_plan *plan, const struct kvf_copy *copy);
/* False at the end. Null blocks are skipped (gather leaves zeros there: either clear the payload's part first with
 * kvf_copy_clear_nulls(), or set `nulls`). */
bool kvf_run_iter_next(struct kvf_run_iter *iter, struct kvf_run *run);
bool kvf_copy_has_null(const struct kvf_layout_plan *plan, const struct kvf_copy *copy);
/* Clears what null blocks leave out of the copy's range of tokens and layers, and nothing else. */
void kvf_copy_clear_nulls(const struct kvf_layout_plan *plan, const struct kvf_copy *copy);

#endif
