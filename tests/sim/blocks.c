/* SPDX-License-Identifier: Apache-2.0 */
/* The host's KV memory, and what must be in it: a function of (salt, token path, layer, plane,
 * token). */
#include "tests/sim/world.h"

#include <stdlib.h>
#include <string.h>

uint64_t oracle_root(uint32_t salt)
{
	return wl_mix64(0x5a17ull + salt);
}

uint64_t oracle_path(uint64_t parent, uint32_t token)
{
	return wl_mix64(parent * 0x9e3779b97f4a7c15ull + token + 1);
}

static uint64_t oracle_row(uint64_t path, uint32_t group, uint32_t layer, uint32_t plane)
{
	return wl_mix64(
		path + ((uint64_t)group << 16 | layer << 8 | plane) * 0xd6e8feb86659fd93ull);
}

void blocks_init(struct world *w)
{
	w->layout = (struct kvf_layout){
		.size = sizeof(w->layout), .n_groups = w->o.n_groups, .groups = w->groups};
	w->n_layers = 0;
	for (uint32_t g = 0; g < w->o.n_groups; g++) {
		const struct world_group *wg = &w->o.group[g];
		size_t plane_bytes = (size_t)wg->block_tokens * W_ROW;
		size_t block_bytes = plane_bytes * wg->n_layers * wg->planes;
		struct kvf_group *kg = &w->groups[g];
		int32_t device = -1;
		uint8_t *at;

		w->memory_bytes[g] = block_bytes * w->o.n_blocks;
		if (w->o.backend)
			w->memory[g] = w->o.backend->memory(w, g, w->memory_bytes[g], &at, &device);
		else
			at = w->memory[g] = calloc(1, w->memory_bytes[g]);
		for (uint32_t l = 0; l < wg->n_layers; l++) {
			w->layers[g][l].device = device;
			for (uint32_t p = 0; p < wg->planes; p++)
				w->layers[g][l].base[p] =
					at + (l * wg->planes + p) * plane_bytes;
		}
		*kg = (struct kvf_group){
			.size = sizeof(*kg),
			.n_layers = wg->n_layers,
			.planes = wg->planes,
			.heads = 1,
			.head_elems = W_ROW,
			.dtype = KVF_UINT8,
			.block_tokens = wg->block_tokens,
			.n_blocks = w->o.n_blocks,
			.block_stride = block_bytes,
			.token_stride = W_ROW,
			.head_stride = W_ROW,
			.layers = w->layers[g],
		};
		w->n_layers += wg->n_layers;
		for (uint32_t i = 0; i < w->o.n_blocks; i++)
			w->free_ids[g][i] = w->o.n_blocks - 1 - i;
		w->n_free_ids[g] = w->o.n_blocks;
	}
}

void blocks_fini(struct world *w)
{
	for (uint32_t g = 0; g < w->o.n_groups; g++) {
		if (!w->o.backend)
			free(w->memory[g]);
		w->memory[g] = NULL;
	}
}

/* A random free one, so that adjacent tokens rarely lie in adjacent blocks. */
static uint32_t take_id(struct world *w, uint32_t g)
{
	uint32_t at = (uint32_t)wl_rng_below(&w->rng, w->n_free_ids[g]);
	uint32_t id = w->free_ids[g][at];

	w->free_ids[g][at] = w->free_ids[g][--w->n_free_ids[g]];
	return id;
}

bool blocks_take(struct world *w, struct world_op *op, uint32_t null_ppm)
{
	bool from_start = wl_rng_chance(&w->rng, 300000);

	for (uint32_t g = 0; g < w->o.n_groups; g++) {
		uint32_t bt = w->o.group[g].block_tokens;

		if (w->n_free_ids[g] < (op->first + op->n - 1) / bt - op->first / bt + 1)
			return false;
	}
	for (uint32_t g = 0; g < w->o.n_groups; g++) {
		uint32_t bt = w->o.group[g].block_tokens;
		uint32_t b0 = op->first / bt, b1 = (op->first + op->n - 1) / bt;

		op->first_block[g] = from_start ? 0 : b0;
		op->n_ids[g] = b1 + 1 - op->first_block[g];
		op->ids[g] = malloc(op->n_ids[g] * sizeof(uint32_t));
		for (uint32_t i = 0; i < op->n_ids[g]; i++) {
			bool skip = op->first_block[g] + i < b0 ||
				    (null_ppm && wl_rng_chance(&w->rng, null_ppm));

			op->ids[g][i] = skip ? KVF_BLOCK_NULL : take_id(w, g);
		}
	}
	op->blocks_held = true;
	return true;
}

void blocks_give(struct world *w, struct world_op *op)
{
	if (!op->blocks_held)
		return;
	op->blocks_held = false;
	for (uint32_t g = 0; g < w->o.n_groups; g++) {
		for (uint32_t i = 0; i < op->n_ids[g]; i++) {
			if (op->ids[g][i] != KVF_BLOCK_NULL)
				w->free_ids[g][w->n_free_ids[g]++] = op->ids[g][i];
		}
		free(op->ids[g]);
		op->ids[g] = NULL;
	}
}

static uint64_t *row_at(const struct world *w, uint32_t g, uint32_t id, uint32_t layer,
	uint32_t plane, uint32_t slot)
{
	const struct world_group *wg = &w->o.group[g];
	size_t index =
		((size_t)(id * wg->n_layers + layer) * wg->planes + plane) * wg->block_tokens +
		slot;

	return (uint64_t *)(void *)(w->memory[g] + index * W_ROW);
}

/* NULL: the token's block is null. */
static uint64_t *row_of(const struct world *w, const struct world_op *op, uint32_t g,
	uint32_t layer, uint32_t plane, uint32_t token)
{
	uint32_t bt = w->o.group[g].block_tokens;
	uint32_t id = op->ids[g][token / bt - op->first_block[g]];

	return id == KVF_BLOCK_NULL ? NULL : row_at(w, g, id, layer, plane, token % bt);
}

void blocks_write(struct world *w, const struct world_op *op, uint32_t layer)
{
	uint32_t through = 0;

	if (!op->blocks_held)
		return;
	for (uint32_t g = 0; g < w->o.n_groups; g++) {
		const struct world_group *wg = &w->o.group[g];

		for (uint32_t l = 0; l < wg->n_layers; l++, through++) {
			if (layer != KVF_NIL && layer != through)
				continue;
			for (uint32_t p = 0; p < wg->planes; p++) {
				for (uint32_t t = op->first; t < op->first + op->n; t++) {
					uint64_t *row = row_of(w, op, g, l, p, t);

					if (row)
						*row = oracle_row(op->path[t], g, l, p);
				}
			}
		}
	}
}

void blocks_fill(struct world *w, const struct world_op *op, uint64_t pattern)
{
	if (!op->blocks_held)
		return;
	for (uint32_t g = 0; g < w->o.n_groups; g++) {
		const struct world_group *wg = &w->o.group[g];
		uint32_t rows = wg->n_layers * wg->planes * wg->block_tokens;

		for (uint32_t i = 0; i < op->n_ids[g]; i++) {
			uint64_t *row;

			if (op->ids[g][i] == KVF_BLOCK_NULL)
				continue;
			row = row_at(w, g, op->ids[g][i], 0, 0, 0);
			for (uint32_t r = 0; r < rows; r++)
				row[r] = pattern;
		}
	}
}

static bool token_right(
	const struct world *w, const struct world_op *op, uint32_t layer, uint32_t token)
{
	uint32_t through = 0;

	for (uint32_t g = 0; g < w->o.n_groups; g++) {
		const struct world_group *wg = &w->o.group[g];

		for (uint32_t l = 0; l < wg->n_layers; l++, through++) {
			if (layer != KVF_NIL && layer != through)
				continue;
			for (uint32_t p = 0; p < wg->planes; p++) {
				const uint64_t *row = row_of(w, op, g, l, p, token);

				if (row && *row != oracle_row(op->path[token], g, l, p))
					return false;
			}
		}
	}
	return true;
}

uint32_t blocks_right(const struct world *w, const struct world_op *op, uint32_t layer)
{
	uint32_t n = 0;

	if (!op->blocks_held)
		return 0;
	while (n < op->n && token_right(w, op, layer, op->first + n))
		n++;
	return n;
}

bool blocks_untouched(const struct world *w, const struct world_op *op, bool all)
{
	if (!op->blocks_held)
		return true;
	for (uint32_t g = 0; g < w->o.n_groups; g++) {
		const struct world_group *wg = &w->o.group[g];
		uint32_t bt = wg->block_tokens;

		for (uint32_t i = 0; i < op->n_ids[g]; i++) {
			uint32_t start = (op->first_block[g] + i) * bt;
			bool inside = start >= op->first && start + bt <= op->first + op->n;
			const uint64_t *row;

			if (op->ids[g][i] == KVF_BLOCK_NULL || (inside && !all))
				continue;
			row = row_at(w, g, op->ids[g][i], 0, 0, 0);
			for (uint32_t r = 0; r < wg->n_layers * wg->planes * bt; r++) {
				uint32_t token = start + r % bt;

				if ((all || token < op->first || token >= op->first + op->n) &&
					row[r] != op->pattern)
					return false;
			}
		}
	}
	return true;
}
