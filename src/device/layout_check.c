/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of a declared layout: every field has its bound, nothing wraps around, no two elements share a byte. */
#include "device/layout_check.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/compiler.h"

#define MAX_STRUCT_BYTES 4096
#define MAX_LAYERS 65536u
#define MAX_CHUNK_TOKENS (1u << 20)
#define MAX_EXTENT ((uint64_t)1 << 62)

int kvf_detail_set(struct kvf_detail detail, int status, const char *format, ...)
{
	va_list args;

	if (!detail.text || !detail.size)
		return status;
	va_start(args, format);
	vsnprintf(detail.text, detail.size, format, args);
	va_end(args);
	return status;
}

const struct kvf_group *kvf_layout_group(const struct kvf_layout *layout, uint32_t i)
{
	return (const struct kvf_group *)(const void *)((const char *)layout->groups +
							(size_t)i * layout->groups[0].size);
}

static int check_number(struct kvf_detail detail, uint32_t group, const char *field, uint64_t value, uint64_t low,
			uint64_t high)
{
	if (value >= low && value <= high)
		return KVF_OK;
	return kvf_detail_set(detail, KVF_ERANGE,
			      "layout group %" PRIu32 ": %s is %" PRIu64 ", must be %" PRIu64 "..%" PRIu64, group,
			      field, value, low, high);
}

static int check_fields(const struct kvf_group *g, uint32_t i, struct kvf_detail detail)
{
	const struct {
		const char *name;
		uint64_t value, high;
	} fields[] = {
		{ "n_layers", g->n_layers, MAX_LAYERS },
		{ "planes", g->planes, 2 },
		{ "heads", g->heads, 65536 },
		{ "head_elems", g->head_elems, 1u << 20 },
		{ "block_tokens", g->block_tokens, 65536 },
		{ "n_blocks", g->n_blocks, UINT32_MAX },
		{ "block_stride", g->block_stride, MAX_EXTENT },
		{ "token_stride", g->token_stride, MAX_EXTENT },
		{ "head_stride", g->head_stride, MAX_EXTENT },
	};
	size_t k;
	int status;

	for (k = 0; k < KVF_ARRAY_LEN(fields); k++) {
		status = check_number(detail, i, fields[k].name, fields[k].value, 1, fields[k].high);
		if (status)
			return status;
	}
	if (!kvf_dtype_bytes(g->dtype))
		return kvf_detail_set(detail, KVF_EINVAL, "layout group %" PRIu32 ": dtype %d is unknown", i,
				      (int)g->dtype);
	if (!g->layers)
		return kvf_detail_set(detail, KVF_EINVAL, "layout group %" PRIu32 ": layers is NULL", i);
	return KVF_OK;
}

static int check_chunk(const struct kvf_group *g, uint32_t i, uint32_t chunk_tokens, struct kvf_detail detail)
{
	if (chunk_tokens % g->block_tokens == 0 || g->block_tokens % chunk_tokens == 0)
		return KVF_OK;
	return kvf_detail_set(detail, KVF_EINVAL,
			      "layout group %" PRIu32 ": block_tokens is %" PRIu32
			      ", must divide or be a multiple of chunk_size %" PRIu32,
			      i, g->block_tokens, chunk_tokens);
}

struct axis {
	const char *name;
	uint64_t stride;
	uint32_t n;
};

/* Block, token and head with more than one position, smallest stride first. Returns how many. */
static unsigned sort_axes(const struct kvf_group *g, struct axis axes[3])
{
	const struct axis all[3] = {
		{ "head_stride", g->head_stride, g->heads },
		{ "token_stride", g->token_stride, g->block_tokens },
		{ "block_stride", g->block_stride, g->n_blocks },
	};
	unsigned n = 0, i, k;

	for (i = 0; i < 3; i++) {
		if (all[i].n < 2)
			continue;
		for (k = n; k > 0 && axes[k - 1].stride > all[i].stride; k--)
			axes[k] = axes[k - 1];
		axes[k] = all[i];
		n++;
	}
	return n;
}

/* Every axis must step over all that the axes below it reach. *extent: bytes from the first to the last of a tensor. */
static int check_nesting(const struct kvf_group *g, uint32_t i, uint64_t head_bytes, uint64_t *extent,
			 struct kvf_detail detail)
{
	struct axis axes[3];
	unsigned n = sort_axes(g, axes), k;
	uint64_t reach = head_bytes, step;

	for (k = 0; k < n; k++) {
		if (axes[k].stride < reach)
			return kvf_detail_set(detail, KVF_EINVAL,
					      "layout group %" PRIu32 ": %s is %" PRIu64
					      ", elements overlap below %" PRIu64,
					      i, axes[k].name, axes[k].stride, reach);
		if (__builtin_mul_overflow(axes[k].stride, (uint64_t)axes[k].n - 1, &step) ||
		    step > MAX_EXTENT - reach)
			return kvf_detail_set(detail, KVF_ERANGE,
					      "layout group %" PRIu32 ": %s %" PRIu64 " x %" PRIu32
					      " reaches over 2^62 bytes",
					      i, axes[k].name, axes[k].stride, axes[k].n);
		reach += step;
	}
	*extent = reach;
	return KVF_OK;
}

/* Do two tensors of the same nested axes (the first n, smallest stride first), `delta` apart, share a byte? */
static bool tensors_overlap(const struct axis *axes, unsigned n, uint64_t head_bytes, int64_t delta)
{
	int64_t stride, q, d;

	if (n == 0)
		return delta < (int64_t)head_bytes && -delta < (int64_t)head_bytes;
	stride = (int64_t)axes[n - 1].stride;
	q = delta / stride;
	for (d = q - 1; d <= q + 1; d++) {
		if (d >= (int64_t)axes[n - 1].n || -d >= (int64_t)axes[n - 1].n)
			continue;
		if (tensors_overlap(axes, n - 1, head_bytes, delta - d * stride))
			return true;
	}
	return false;
}

static int check_layer(const struct kvf_group *g, uint32_t i, uint32_t l, uint64_t head_bytes, uint64_t extent,
		       struct kvf_detail detail)
{
	const struct kvf_layer *layer = &g->layers[l];
	struct axis axes[3];
	unsigned n = sort_axes(g, axes);
	uintptr_t base[2] = { (uintptr_t)layer->base[0], (uintptr_t)layer->base[1] };
	uint64_t delta;
	uint32_t p;

	if (layer->device < -1)
		return kvf_detail_set(detail, KVF_ERANGE,
				      "layout group %" PRIu32 ", layer %" PRIu32 ": device is %" PRId32
				      ", must be -1 or more",
				      i, l, layer->device);
	for (p = 0; p < g->planes; p++) {
		if (!base[p])
			return kvf_detail_set(detail, KVF_EINVAL,
					      "layout group %" PRIu32 ", layer %" PRIu32 ": base[%" PRIu32 "] is NULL",
					      i, l, p);
		if (extent > UINTPTR_MAX - base[p])
			return kvf_detail_set(detail, KVF_ERANGE,
					      "layout group %" PRIu32 ", layer %" PRIu32 ": base[%" PRIu32
					      "] + %" PRIu64 " bytes wraps around",
					      i, l, p, extent);
	}
	if (g->planes < 2)
		return KVF_OK;
	delta = base[1] > base[0] ? base[1] - base[0] : base[0] - base[1];
	if (delta < extent && tensors_overlap(axes, n, head_bytes, (int64_t)delta))
		return kvf_detail_set(detail, KVF_EINVAL,
				      "layout group %" PRIu32 ", layer %" PRIu32
				      ": base[0] and base[1] are %" PRIu64 " bytes apart, K and V overlap",
				      i, l, delta);
	return KVF_OK;
}

static int check_group(const struct kvf_group *g, uint32_t i, uint32_t chunk_tokens, uint64_t *chunk_bytes,
		       struct kvf_detail detail)
{
	uint64_t head_bytes, extent = 0, rows;
	uint32_t l;
	int status = check_fields(g, i, detail);

	if (!status)
		status = check_chunk(g, i, chunk_tokens, detail);
	if (status)
		return status;
	head_bytes = g->head_elems * kvf_dtype_bytes(g->dtype);
	status = check_nesting(g, i, head_bytes, &extent, detail);
	for (l = 0; !status && l < g->n_layers; l++)
		status = check_layer(g, i, l, head_bytes, extent, detail);
	if (status)
		return status;
	/* 2^17 planes of layers x 2^16 heads x 2^20 tokens: fits. */
	rows = (uint64_t)g->n_layers * g->planes * g->heads * chunk_tokens;
	if (__builtin_mul_overflow(rows, head_bytes, chunk_bytes))
		*chunk_bytes = UINT64_MAX;
	return KVF_OK;
}

static int check_paged(const struct kvf_layout *layout, uint32_t chunk_tokens, struct kvf_detail detail)
{
	uint64_t total = 0, layers = 0, bytes;
	uint32_t i;
	int status;

	if (layout->n_groups < 1 || layout->n_groups > KVF_MAX_GROUPS)
		return kvf_detail_set(detail, KVF_ERANGE, "layout: n_groups is %" PRIu32 ", must be 1..%d",
				      layout->n_groups, KVF_MAX_GROUPS);
	if (!layout->groups)
		return kvf_detail_set(detail, KVF_EINVAL, "layout: groups is NULL");
	for (i = 0; i < layout->n_groups; i++) {
		const struct kvf_group *g = kvf_layout_group(layout, i);

		if (g->size < sizeof(*g) || g->size > MAX_STRUCT_BYTES || g->size % sizeof(uint64_t) ||
		    g->size != layout->groups[0].size)
			return kvf_detail_set(detail, KVF_EINVAL,
					      "layout group %" PRIu32
					      ": size is %zu, must be sizeof(struct kvf_group) = %zu",
					      i, g->size, sizeof(*g));
		status = check_group(g, i, chunk_tokens, &bytes, detail);
		if (status)
			return status;
		total = kvf_sat_add(total, bytes);
		layers += g->n_layers;
	}
	if (layers > MAX_LAYERS)
		return kvf_detail_set(detail, KVF_ERANGE, "layout: %" PRIu64 " layers in all groups, at most %u",
				      layers, MAX_LAYERS);
	if (total > UINT32_MAX)
		return kvf_detail_set(detail, KVF_ERANGE,
				      "layout: a chunk of %" PRIu32 " tokens has %" PRIu64 " bytes, at most %" PRIu32,
				      chunk_tokens, total, UINT32_MAX);
	return KVF_OK;
}

int kvf_layout_check(const struct kvf_layout *layout, uint32_t chunk_tokens, struct kvf_detail detail)
{
	if (!layout)
		return kvf_detail_set(detail, KVF_EINVAL, "layout is NULL");
	if (layout->size < sizeof(*layout) || layout->size > MAX_STRUCT_BYTES)
		return kvf_detail_set(detail, KVF_EINVAL,
				      "layout: size is %zu, must be sizeof(struct kvf_layout) = %zu", layout->size,
				      sizeof(*layout));
	if (chunk_tokens < 1 || chunk_tokens > MAX_CHUNK_TOKENS)
		return kvf_detail_set(detail, KVF_ERANGE, "layout: chunk_size is %" PRIu32 ", must be 1..%u",
				      chunk_tokens, MAX_CHUNK_TOKENS);
	if (layout->payload_order != KVF_PAYLOAD_LMCACHE && layout->payload_order != KVF_PAYLOAD_PAGES)
		return kvf_detail_set(detail, KVF_EINVAL, "layout: payload_order %d is unknown",
				      (int)layout->payload_order);
	if (layout->kind == KVF_LAYOUT_PAGED)
		return check_paged(layout, chunk_tokens, detail);
	if (layout->kind != KVF_LAYOUT_OPAQUE)
		return kvf_detail_set(detail, KVF_EINVAL, "layout: kind %d is unknown", (int)layout->kind);
	if (layout->n_groups)
		return kvf_detail_set(detail, KVF_EINVAL, "layout: n_groups is %" PRIu32 ", an opaque layout has none",
				      layout->n_groups);
	if (layout->opaque_chunk_bytes < 1 || layout->opaque_chunk_bytes > UINT32_MAX)
		return kvf_detail_set(detail, KVF_ERANGE,
				      "layout: opaque_chunk_bytes is %" PRIu64 ", must be 1..%" PRIu32,
				      layout->opaque_chunk_bytes, UINT32_MAX);
	return KVF_OK;
}
