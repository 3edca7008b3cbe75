/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layouts: the engine's own copy, the order of payload bytes, block tables.
 *
 * PAYLOAD ORDERS. Both are bijections of the chunk's elements onto its payload bytes, without padding; groups follow
 * each other in their order. T is the number of tokens of the chunk (fewer than chunk_size in a partial one), t a
 * token's position in the chunk, L, P, H the group's layers, planes and heads, hb the bytes of one head of one token.
 *
 * KVF_PAYLOAD_LMCACHE: [plane][layer][token][head][element]. Element bytes of (p, l, t, h) start at
 *	(((p*L + l)*T + t)*H + h)*hb        from the group's start.
 *
 * KVF_PAYLOAD_PAGES: [page][layer][plane][the device's order]. A page is what one device block holds of a chunk:
 * with S = min(block_tokens, chunk_size), page i has the chunk's tokens [i*S, min((i+1)*S, T)); only the last may
 * hold fewer than S, call a page's number n. (Chunks begin at multiples of chunk_size, so a page never straddles
 * two blocks; where a block is larger than a chunk, the page is the chunk.) Page i starts at i*S*L*P*H*hb. In it
 * follow the layers, in each layer the planes, K first, and in each plane the axes token (n positions) and head
 * (H), the one with the larger device stride outside. Where K and V are fused inside the row, that is where
 * base[1] - base[0] is the same positive number for all layers of the group and smaller than the larger of the
 * strides of token and head, the plane is a third axis sorted with the other two instead. Axes of one position
 * count as innermost: their place changes nothing.
 * So a full page has its device's own order, and is one run where the device block is contiguous. The order depends on
 * strides and on block_tokens: kvf_layout_order_code() is for the fingerprint.
 *
 * OPAQUE layouts: every chunk, partial or not, has opaque_chunk_bytes; only the custom device knows what they mean.
 */
#include "device/layout.h"

#include <inttypes.h>
#include <string.h>

#include "base/compiler.h"
#include "device/layout_check.h"

/* 0: the plane is no axis of the page. */
static uint64_t fused_plane_stride(const struct kvf_group *g)
{
	uint64_t limit = 0, delta = 0, d;
	uint32_t l;

	if (g->planes < 2)
		return 0;
	if (g->block_tokens > 1)
		limit = g->token_stride;
	if (g->heads > 1)
		limit = kvf_max_u64(limit, g->head_stride);
	for (l = 0; l < g->n_layers; l++) {
		if ((uintptr_t)g->layers[l].base[1] < (uintptr_t)g->layers[l].base[0])
			return 0;
		d = (uintptr_t)g->layers[l].base[1] - (uintptr_t)g->layers[l].base[0];
		if (d >= limit || (l && d != delta))
			return 0;
		delta = d;
	}
	return delta;
}

static void derive_group(const struct kvf_group *g, enum kvf_payload_order order, uint32_t chunk_tokens,
			 struct kvf_group_plan *out)
{
	uint64_t stride[3];
	unsigned i, k, axis;

	memset(out, 0, sizeof(*out));
	out->head_bytes = g->head_elems * kvf_dtype_bytes(g->dtype);
	out->row_bytes = out->head_bytes * g->heads;
	if (order == KVF_PAYLOAD_LMCACHE) {
		out->n_axes = 2;
		out->axes[0] = KVF_AXIS_TOKEN;
		out->axes[1] = KVF_AXIS_HEAD;
		return;
	}
	out->page_tokens = (uint32_t)kvf_min_u64(g->block_tokens, chunk_tokens);
	out->plane_stride = fused_plane_stride(g);
	stride[KVF_AXIS_PLANE] = out->plane_stride;
	stride[KVF_AXIS_TOKEN] = g->block_tokens > 1 ? g->token_stride : 0;
	stride[KVF_AXIS_HEAD] = g->heads > 1 ? g->head_stride : 0;
	for (axis = out->plane_stride ? KVF_AXIS_PLANE : KVF_AXIS_TOKEN; axis <= KVF_AXIS_HEAD; axis++) {
		for (i = 0; i < out->n_axes && stride[out->axes[i]] >= stride[axis]; i++)
			;
		for (k = out->n_axes; k > i; k--)
			out->axes[k] = out->axes[k - 1];
		out->axes[i] = (uint8_t)axis;
		out->n_axes++;
	}
}

static uint32_t order_code(const struct kvf_group_plan *d)
{
	static const uint8_t codes[3][3] = { { 0, 3, 4 }, { 5, 0, 6 }, { 7, 8, 0 } };

	if (!d->page_tokens)
		return 0;
	if (d->n_axes == 2)
		return d->axes[0] == KVF_AXIS_TOKEN ? 1 : 2;
	return codes[d->axes[0]][d->axes[1]];
}

uint64_t kvf_layout_order_code(const struct kvf_layout_plan *plan)
{
	uint64_t code = 0;
	uint32_t i;

	for (i = 0; i < plan->layout.n_groups; i++)
		code |= (uint64_t)order_code(&plan->derived[i]) << (4 * i);
	return code;
}

/* groups, then what is derived from them, then all layers: one piece of memory. */
static void copy_groups(struct kvf_layout_plan *plan, const struct kvf_layout *layout)
{
	uint32_t n = layout->n_groups, i;
	struct kvf_group *groups = plan->storage;
	struct kvf_group_plan *derived = (struct kvf_group_plan *)(void *)(groups + n);
	struct kvf_layer *layers = (struct kvf_layer *)(void *)(derived + n);

	for (i = 0; i < n; i++) {
		groups[i] = *kvf_layout_group(layout, i);
		groups[i].size = sizeof(groups[i]);
		memmove(layers, groups[i].layers, groups[i].n_layers * sizeof(*layers));
		groups[i].layers = layers;
		layers += groups[i].n_layers;
		derive_group(&groups[i], layout->payload_order, plan->chunk_tokens, &derived[i]);
	}
	plan->layout.groups = groups;
	plan->derived = derived;
}

int kvf_layout_init(struct kvf_layout_plan *plan, struct kvf_mem *mem, const struct kvf_layout *layout,
		    uint32_t chunk_tokens, char *detail, size_t detail_size)
{
	struct kvf_detail where = { detail, detail_size };
	struct kvf_layout_plan fresh = { .chunk_tokens = chunk_tokens };
	uint32_t i;
	int status = kvf_layout_check(layout, chunk_tokens, where);

	if (status)
		return status;
	fresh.layout = *layout;
	fresh.layout.size = sizeof(fresh.layout);
	fresh.layout.groups = NULL;
	for (i = 0; i < layout->n_groups; i++)
		fresh.n_layers += kvf_layout_group(layout, i)->n_layers;
	if (layout->n_groups) {
		fresh.storage_bytes = layout->n_groups * (sizeof(struct kvf_group) + sizeof(struct kvf_group_plan)) +
				      fresh.n_layers * sizeof(struct kvf_layer);
		fresh.storage = kvf_mem_alloc(mem, fresh.storage_bytes);
		if (!fresh.storage)
			return kvf_detail_set(where, KVF_ENOMEM, "layout: no memory for %zu bytes",
					      fresh.storage_bytes);
		copy_groups(&fresh, layout);
	}
	fresh.payload_bytes = kvf_layout_payload_bytes(&fresh, chunk_tokens);
	*plan = fresh;
	return KVF_OK;
}

void kvf_layout_fini(struct kvf_layout_plan *plan, struct kvf_mem *mem)
{
	if (plan->storage)
		kvf_mem_free(mem, plan->storage, plan->storage_bytes);
	memset(plan, 0, sizeof(*plan));
}

static int check_same_group(const struct kvf_layout_plan *plan, uint32_t i, const struct kvf_group *b,
			    struct kvf_detail detail)
{
	const struct kvf_group *a = &plan->layout.groups[i];
	const struct {
		const char *name;
		uint64_t old, now;
	} fields[] = {
		{ "n_layers", a->n_layers, b->n_layers },
		{ "planes", a->planes, b->planes },
		{ "heads", a->heads, b->heads },
		{ "head_elems", a->head_elems, b->head_elems },
		{ "dtype", a->dtype, b->dtype },
		{ "block_tokens", a->block_tokens, b->block_tokens },
		{ "n_blocks", a->n_blocks, b->n_blocks },
		{ "block_stride", a->block_stride, b->block_stride },
		{ "token_stride", a->token_stride, b->token_stride },
		{ "head_stride", a->head_stride, b->head_stride },
	};
	struct kvf_group_plan derived;
	size_t k;

	for (k = 0; k < KVF_ARRAY_LEN(fields); k++)
		if (fields[k].old != fields[k].now)
			return kvf_detail_set(detail, KVF_EINVAL,
					      "layout group %" PRIu32 ": %s is %" PRIu64
					      ", a rebind keeps the geometry: must be %" PRIu64,
					      i, fields[k].name, fields[k].now, fields[k].old);
	derive_group(b, plan->layout.payload_order, plan->chunk_tokens, &derived);
	if (order_code(&derived) != order_code(&plan->derived[i]))
		return kvf_detail_set(detail, KVF_EINVAL,
				      "layout group %" PRIu32
				      ": distance of base[0] and base[1] changes the order inside pages",
				      i);
	return KVF_OK;
}

int kvf_layout_rebind(struct kvf_layout_plan *plan, const struct kvf_layout *layout, char *detail, size_t detail_size)
{
	struct kvf_detail where = { detail, detail_size };
	uint32_t i;
	int status = kvf_layout_check(layout, plan->chunk_tokens, where);

	if (status)
		return status;
	if (layout->kind != plan->layout.kind || layout->payload_order != plan->layout.payload_order ||
	    layout->n_groups != plan->layout.n_groups ||
	    layout->opaque_chunk_bytes != plan->layout.opaque_chunk_bytes ||
	    layout->opaque_fingerprint != plan->layout.opaque_fingerprint)
		return kvf_detail_set(where, KVF_EINVAL,
				      "layout: kind, payload_order, n_groups or opaque fields differ"
				      ", a rebind keeps them");
	for (i = 0; i < layout->n_groups; i++) {
		status = check_same_group(plan, i, kvf_layout_group(layout, i), where);
		if (status)
			return status;
	}
	if (layout->n_groups)
		copy_groups(plan, layout);
	return KVF_OK;
}

uint64_t kvf_layout_payload_bytes(const struct kvf_layout_plan *plan, uint32_t n_tokens)
{
	uint64_t token_bytes = 0;
	uint32_t i;

	if (plan->layout.kind == KVF_LAYOUT_OPAQUE)
		return n_tokens ? plan->layout.opaque_chunk_bytes : 0;
	for (i = 0; i < plan->layout.n_groups; i++) {
		const struct kvf_group *g = &plan->layout.groups[i];

		token_bytes += plan->derived[i].row_bytes * g->planes * g->n_layers;
	}
	return token_bytes * n_tokens;
}

static int check_list(const struct kvf_group *g, uint32_t i, const struct kvf_block_list *list, uint64_t first,
		      uint64_t last, struct kvf_detail detail)
{
	uint64_t begin = first / g->block_tokens, end = last / g->block_tokens, k;

	if (begin < list->first_block || end - list->first_block >= list->n)
		return kvf_detail_set(detail, KVF_ERANGE,
				      "blocks of group %" PRIu32 ": blocks %" PRIu64 "..%" PRIu64
				      " are needed, the list has %zu from block %zu on",
				      i, begin, end, list->n, list->first_block);
	if (!list->ids)
		return kvf_detail_set(detail, KVF_EINVAL, "blocks of group %" PRIu32 ": ids is NULL", i);
	for (k = begin - list->first_block; k <= end - list->first_block; k++)
		if (list->ids[k] >= g->n_blocks && list->ids[k] != KVF_BLOCK_NULL)
			return kvf_detail_set(detail, KVF_ERANGE,
					      "blocks of group %" PRIu32 ": ids[%" PRIu64 "] is %" PRIu32
					      ", must be below n_blocks %" PRIu32,
					      i, k, list->ids[k], g->n_blocks);
	return KVF_OK;
}

int kvf_layout_check_blocks(const struct kvf_layout_plan *plan, const struct kvf_blocks *blocks, uint64_t first,
			    uint64_t n, char *detail, size_t detail_size)
{
	struct kvf_detail where = { detail, detail_size };
	size_t n_groups = blocks ? blocks->n_groups : 0;
	uint32_t i;
	int status = KVF_OK;

	if (n_groups != plan->layout.n_groups)
		return kvf_detail_set(where, KVF_EINVAL, "blocks: n_groups is %zu, the layout has %" PRIu32, n_groups,
				      plan->layout.n_groups);
	if (n_groups && !blocks->groups)
		return kvf_detail_set(where, KVF_EINVAL, "blocks: groups is NULL");
	if (n > UINT64_MAX - first)
		return kvf_detail_set(where, KVF_ERANGE, "blocks: token %" PRIu64 " + %" PRIu64 " wraps around", first,
				      n);
	for (i = 0; n && !status && i < plan->layout.n_groups; i++)
		status = check_list(&plan->layout.groups[i], i, &blocks->groups[i], first, first + n - 1, where);
	return status;
}
