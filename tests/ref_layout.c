/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The slow reference of layouts. Pages are ordered as docs/layouts.md says, in another way than src/device does it: all
 * positions of a page are sorted by their distance from its first byte on the device; a position's rank is its place.
 */
#include "tests/ref_layout.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct position {
	uint64_t distance;
	uint32_t plane, token, head;
};

/* Where (plane, token, head) of a page comes: rank[(plane * tokens + token) * heads + head]. */
struct page_order {
	uint32_t tokens;
	bool fused; /* both planes are ranked together */
	uint32_t *rank;
};

static uint64_t head_bytes(const struct kvf_group *g)
{
	return g->head_elems * kvf_dtype_bytes(g->dtype);
}

uint64_t ref_payload_bytes(const struct kvf_layout *layout, uint32_t n_tokens)
{
	uint64_t sum = 0;
	uint32_t g, l, p, t, h;

	for (g = 0; g < layout->n_groups; g++)
		for (l = 0; l < layout->groups[g].n_layers; l++)
			for (p = 0; p < layout->groups[g].planes; p++)
				for (t = 0; t < n_tokens; t++)
					for (h = 0; h < layout->groups[g].heads; h++)
						sum += head_bytes(&layout->groups[g]);
	return sum;
}

static bool planes_fused(const struct kvf_group *g)
{
	uint32_t l;
	int64_t first = 0;

	for (l = 0; l < g->n_layers; l++) {
		int64_t apart = (int64_t)((intptr_t)g->layers[l].base[1] - (intptr_t)g->layers[l].base[0]);
		bool below_token = g->block_tokens > 1 && apart < (int64_t)g->token_stride;
		bool below_head = g->heads > 1 && apart < (int64_t)g->head_stride;

		if (l == 0)
			first = apart;
		if (apart <= 0 || apart != first || (!below_token && !below_head))
			return false;
	}
	return true;
}

static int by_distance(const void *a, const void *b)
{
	const struct position *x = a, *y = b;

	return x->distance < y->distance ? -1 : x->distance > y->distance;
}

static void rank_positions(const struct kvf_group *g, uint32_t tokens, uint32_t first_plane, uint32_t planes,
			   uint64_t plane_distance, uint32_t *rank)
{
	uint32_t n = planes * tokens * g->heads, i = 0, p, t, h;
	struct position *all = malloc(n * sizeof(*all));

	if (!all)
		abort();
	for (p = 0; p < planes; p++)
		for (t = 0; t < tokens; t++)
			for (h = 0; h < g->heads; h++)
				all[i++] = (struct position){ p * plane_distance + t * g->token_stride +
								      h * g->head_stride,
							      first_plane + p, t, h };
	qsort(all, n, sizeof(*all), by_distance);
	for (i = 0; i < n; i++)
		rank[(all[i].plane * tokens + all[i].token) * g->heads + all[i].head] = first_plane * n + i;
	free(all);
}

static void page_order_make(struct page_order *order, const struct kvf_group *g, uint32_t tokens)
{
	uint32_t p;

	if (order->rank && order->tokens == tokens)
		return;
	free(order->rank);
	order->tokens = tokens;
	order->rank = calloc((size_t)2 * tokens * g->heads, sizeof(*order->rank));
	if (!order->rank)
		abort();
	order->fused = g->planes == 2 && planes_fused(g);
	if (order->fused) {
		uint64_t apart = (uintptr_t)g->layers[0].base[1] - (uintptr_t)g->layers[0].base[0];

		rank_positions(g, tokens, 0, 2, apart, order->rank);
		return;
	}
	for (p = 0; p < g->planes; p++)
		rank_positions(g, tokens, p, 1, 0, order->rank);
}

/* Payload offset of one head of one token, from the group's start. */
static uint64_t place(const struct kvf_layout *layout, const struct kvf_group *g, uint32_t chunk_size, uint32_t chunk,
		      uint32_t l, uint32_t p, uint32_t t, uint32_t h, struct page_order *order)
{
	uint64_t hb = head_bytes(g);
	uint32_t full, page, n;

	if (layout->payload_order == KVF_PAYLOAD_LMCACHE)
		return ((((uint64_t)p * g->n_layers + l) * chunk + t) * g->heads + h) * hb;
	full = g->block_tokens < chunk_size ? g->block_tokens : chunk_size;
	page = t / full;
	n = (page + 1) * full <= chunk ? full : chunk - page * full;
	page_order_make(order, g, n);
	return (uint64_t)page * full * g->n_layers * g->planes * g->heads * hb +
	       (uint64_t)l * n * g->planes * g->heads * hb + order->rank[(p * n + t % full) * g->heads + h] * hb;
}

/* One group: `scatter` says the direction. Returns the group's payload bytes. */
static void move_group(const struct kvf_layout *layout, uint32_t i, uint32_t chunk_size, const struct kvf_copy *copy,
		       uint32_t layer_base, uint8_t *payload, bool scatter)
{
	const struct kvf_group *g = &layout->groups[i];
	const struct kvf_block_list *list = &copy->groups[i];
	struct page_order order = { 0, false, NULL };
	uint32_t l, p, t, h;

	for (l = 0; l < g->n_layers; l++) {
		uint64_t number = (uint64_t)layer_base + l;

		if (number < copy->first_layer || number - copy->first_layer >= copy->n_layers)
			continue;
		for (t = copy->first; t < copy->first + copy->n; t++) {
			uint64_t position = copy->chunk_first_token + t;
			uint32_t block = list->ids[position / g->block_tokens - list->first_block];
			uint64_t at = block * g->block_stride + position % g->block_tokens * g->token_stride;

			for (p = 0; p < g->planes; p++)
				for (h = 0; h < g->heads; h++) {
					uint8_t *dev = (uint8_t *)g->layers[l].base[p] + at + h * g->head_stride;
					uint8_t *pay = payload + place(layout, g, chunk_size, copy->chunk_tokens, l, p,
								       t, h, &order);

					if (block == KVF_BLOCK_NULL) {
						if (!scatter)
							memset(pay, 0, head_bytes(g));
					} else if (scatter) {
						memcpy(dev, pay, head_bytes(g));
					} else {
						memcpy(pay, dev, head_bytes(g));
					}
				}
		}
	}
	free(order.rank);
}

static void move(const struct kvf_layout *layout, uint32_t chunk_size, const struct kvf_copy *copy, uint8_t *payload,
		 bool scatter)
{
	uint32_t i, layer_base = 0;

	for (i = 0; i < layout->n_groups; i++) {
		const struct kvf_group *g = &layout->groups[i];

		move_group(layout, i, chunk_size, copy, layer_base, payload, scatter);
		payload += (uint64_t)copy->chunk_tokens * g->n_layers * g->planes * g->heads * head_bytes(g);
		layer_base += g->n_layers;
	}
}

void ref_gather(const struct kvf_layout *layout, uint32_t chunk_size, const struct kvf_copy *copy, uint8_t *payload)
{
	move(layout, chunk_size, copy, payload, false);
}

void ref_scatter(const struct kvf_layout *layout, uint32_t chunk_size, const struct kvf_copy *copy,
		 const uint8_t *payload)
{
	move(layout, chunk_size, copy, (uint8_t *)(uintptr_t)payload, true);
}
