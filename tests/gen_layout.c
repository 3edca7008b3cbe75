/* SPDX-License-Identifier: Apache-2.0 */
/* Layouts and copies for tests: see gen_layout.h. */
#include "tests/gen_layout.h"

#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"

#define GUARD 128 /* bytes around every tensor */

const struct gen_lmcache gen_lmcache[GEN_LMCACHE_FORMATS] = {
	{ "NB_NL_TWO_BS_NH_HS", "BLTSHE", 2 },	 { "NL_X_TWO_NB_BS_NH_HS", "TBSHE", 2 },
	{ "NL_X_NB_TWO_BS_NH_HS", "BTSHE", 2 },	 { "NL_X_NB_BS_HS", "BSHE", 1 },
	{ "TWO_X_NL_X_NBBS_NH_HS", "BSHE", 2 },	 { "NL_X_NBBS_ONE_HS", "BSHE", 1 },
	{ "NL_X_TWO_NB_NH_BS_HS", "TBHSE", 2 },	 { "NL_X_NB_TWO_NH_BS_HS", "BTHSE", 2 },
	{ "NB_NL_TWO_NH_BS_HS", "BLTHSE", 2 },	 { "TWO_X_NL_X_NB_BS_NH_HS", "BSHE", 2 },
	{ "NL_X_NB_NH_BS_TWO_HS", "BHSTE", 2 },
};

uint64_t gen_u64(struct gen_rng *rng)
{
	uint64_t z = rng->state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

uint32_t gen_below(struct gen_rng *rng, uint32_t n)
{
	return (uint32_t)((gen_u64(rng) >> 32) * n >> 32);
}

static void *must_calloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);

	if (!p)
		abort();
	return p;
}

static void fill(uint8_t *p, size_t n, struct gen_rng *rng)
{
	size_t i;

	for (i = 0; i < n; i++)
		p[i] = (uint8_t)(gen_u64(rng) >> 56);
}

void gen_layout_init(struct gen_layout *gen, enum kvf_payload_order order)
{
	memset(gen, 0, sizeof(*gen));
	gen->layout.size = sizeof(gen->layout);
	gen->layout.payload_order = order;
	gen->layout.groups = gen->groups;
}

void gen_layout_fini(struct gen_layout *gen)
{
	size_t i;

	for (i = 0; i < gen->n_memory; i++)
		free(gen->memory[i].p);
	for (i = 0; i < gen->layout.n_groups; i++)
		free(gen->layers[i]);
	free(gen->memory);
	memset(gen, 0, sizeof(*gen));
}

/* Memory for a tensor of n bytes, guards around it. */
static uint8_t *new_tensor(struct gen_layout *gen, size_t n, struct gen_rng *padding)
{
	size_t shift = padding ? gen_below(padding, GUARD) : 0;
	struct gen_memory *memory;

	gen->memory = realloc(gen->memory, (gen->n_memory + 1) * sizeof(*gen->memory));
	if (!gen->memory)
		abort();
	memory = &gen->memory[gen->n_memory++];
	memory->n = (n + 3 * (size_t)GUARD) / GUARD * GUARD;
	memory->p = aligned_alloc(GUARD, memory->n);
	if (!memory->p)
		abort();
	memset(memory->p, 0, memory->n);
	return memory->p + GUARD + shift;
}

struct strides {
	uint64_t block, layer, plane, token, head, total;
};

static void measure(const char *axes, const struct gen_shape *shape, struct gen_rng *padding, struct strides *s)
{
	uint64_t elem = kvf_dtype_bytes(shape->dtype), step = elem * shape->head_elems;
	size_t i;

	memset(s, 0, sizeof(*s));
	for (i = strlen(axes) - 1; i-- > 0;) {
		if (padding && gen_below(padding, 3) == 0)
			step += elem * (1 + gen_below(padding, 5));
		switch (axes[i]) {
		case 'B':
			s->block = step;
			step *= shape->n_blocks;
			break;
		case 'L':
			s->layer = step;
			step *= shape->n_layers;
			break;
		case 'T':
			s->plane = step;
			step *= 2;
			break;
		case 'S':
			s->token = step;
			step *= shape->block_tokens;
			break;
		default:
			s->head = step;
			step *= shape->heads;
			break;
		}
	}
	s->total = step;
}

void gen_layout_add(struct gen_layout *gen, const char *axes, uint32_t planes, const struct gen_shape *shape,
		    struct gen_rng *padding)
{
	uint32_t i = gen->layout.n_groups++, l, p;
	struct kvf_group *g = &gen->groups[i];
	struct kvf_layer *layers = must_calloc(shape->n_layers, sizeof(*layers));
	struct strides s;
	uint8_t *tensor[2] = { NULL, NULL };

	measure(axes, shape, padding, &s);
	*g = (struct kvf_group){ .size = sizeof(*g),
				 .n_layers = shape->n_layers,
				 .planes = planes,
				 .heads = shape->heads,
				 .head_elems = shape->head_elems,
				 .dtype = shape->dtype,
				 .block_tokens = shape->block_tokens,
				 .n_blocks = shape->n_blocks,
				 .block_stride = s.block,
				 .token_stride = s.token,
				 .head_stride = s.head,
				 .layers = layers };
	gen->layers[i] = layers;
	for (l = 0; l < shape->n_layers; l++) {
		layers[l].device = -1;
		for (p = 0; p < planes; p++) {
			if (p > 0 && s.plane)
				tensor[p] = tensor[0];
			else if (l == 0 || !s.layer)
				tensor[p] = new_tensor(gen, s.total, padding);
			layers[l].base[p] = tensor[p] + l * s.layer + p * s.plane;
		}
	}
}

/* E last, the rest in any order, L and T in it or not. */
static void random_axes(struct gen_rng *rng, uint32_t planes, char axes[8])
{
	static const char *const usual[] = { "BSHE", "TBSHE", "BTSHE", "BLTSHE", "TBHSE", "BHSTE", "BLTHSE", "BSTHE" };
	size_t n, i, k;
	char c;

	strcpy(axes, usual[gen_below(rng, KVF_ARRAY_LEN(usual))]);
	if (planes == 1 && strchr(axes, 'T'))
		memmove(strchr(axes, 'T'), strchr(axes, 'T') + 1, strlen(strchr(axes, 'T')));
	if (gen_below(rng, 3))
		return;
	strcpy(axes, "BSHLTE");
	if (planes == 1)
		strcpy(axes, "BSHLE");
	n = strlen(axes) - 1;
	for (i = n - 1; i > 0; i--) {
		k = gen_below(rng, (uint32_t)i + 1);
		c = axes[i];
		axes[i] = axes[k];
		axes[k] = c;
	}
	if (gen_below(rng, 2))
		memmove(strchr(axes, 'L'), strchr(axes, 'L') + 1, strlen(strchr(axes, 'L')));
}

void gen_layout_random(struct gen_layout *gen, struct gen_rng *rng, uint32_t *chunk_size)
{
	static const uint32_t chunks[] = { 1, 2, 3, 4, 8, 12, 16, 24, 32, 64 };
	static const enum kvf_dtype dtypes[] = { KVF_FLOAT16, KVF_BFLOAT16, KVF_FLOAT32, KVF_UINT8, KVF_FP8_E4M3 };
	uint32_t chunk = chunks[gen_below(rng, KVF_ARRAY_LEN(chunks))], n = 1 + gen_below(rng, 3), i;

	gen_layout_init(gen, gen_below(rng, 2) ? KVF_PAYLOAD_PAGES : KVF_PAYLOAD_LMCACHE);
	*chunk_size = chunk;
	for (i = 0; i < n; i++) {
		uint32_t block = chunk, planes = gen_below(rng, 4) ? 2 : 1;
		struct gen_shape shape = { 0 };
		char axes[8];

		if (gen_below(rng, 3) == 0)
			block = chunk * (1 + gen_below(rng, 3));
		else
			while (block > 1 && (chunk % block || gen_below(rng, 3)))
				block--;
		if (chunk % block && block % chunk)
			block = 1;
		shape.n_layers = 1 + gen_below(rng, 3);
		shape.block_tokens = block;
		shape.n_blocks = 3 * (chunk / block) + 4;
		shape.heads = gen_below(rng, 3) ? 1 + gen_below(rng, 4) : 1;
		shape.head_elems = 1 + gen_below(rng, 9);
		shape.dtype = dtypes[gen_below(rng, KVF_ARRAY_LEN(dtypes))];
		random_axes(rng, planes, axes);
		gen_layout_add(gen, axes, planes, &shape, gen_below(rng, 2) ? rng : NULL);
	}
}

void gen_layout_fill(struct gen_layout *gen, struct gen_rng *rng)
{
	size_t i;

	for (i = 0; i < gen->n_memory; i++)
		fill(gen->memory[i].p, gen->memory[i].n, rng);
}

uint8_t *gen_layout_save(const struct gen_layout *gen)
{
	size_t total = 0, at = 0, i;
	uint8_t *saved;

	for (i = 0; i < gen->n_memory; i++)
		total += gen->memory[i].n;
	saved = must_calloc(1, total);
	for (i = 0; i < gen->n_memory; at += gen->memory[i++].n)
		memcpy(saved + at, gen->memory[i].p, gen->memory[i].n);
	return saved;
}

void gen_layout_restore(struct gen_layout *gen, const uint8_t *saved)
{
	size_t i;

	for (i = 0; i < gen->n_memory; saved += gen->memory[i++].n)
		memcpy(gen->memory[i].p, saved, gen->memory[i].n);
}

bool gen_layout_equal(const struct gen_layout *gen, const uint8_t *saved)
{
	size_t i;

	for (i = 0; i < gen->n_memory; saved += gen->memory[i++].n)
		if (memcmp(gen->memory[i].p, saved, gen->memory[i].n) != 0)
			return false;
	return true;
}

static void random_list(struct gen_copy *gen, struct gen_rng *rng, const struct kvf_group *g, uint32_t i)
{
	struct kvf_copy *copy = &gen->copy;
	uint64_t first = (copy->chunk_first_token + copy->first) / g->block_tokens;
	uint64_t last = (copy->chunk_first_token + copy->first + (copy->n ? copy->n - 1 : 0)) / g->block_tokens;
	struct kvf_block_list *list = &gen->lists[i];
	uint32_t id = gen_below(rng, g->n_blocks), k;

	list->first_block = first ? gen_below(rng, (uint32_t)first + 1) : 0;
	list->n = last + 1 - list->first_block + gen_below(rng, 3);
	list->ids = gen->ids[i] = must_calloc(list->n, sizeof(uint32_t));
	for (k = 0; k < list->n; k++)
		gen->ids[i][k] = g->n_blocks + 5; /* outside the range: not to be looked at */
	for (k = 0; k <= last - first; k++) {
		uint32_t *at = &gen->ids[i][first - list->first_block + k];

		*at = gen_below(rng, 8) ? id : KVF_BLOCK_NULL;
		/* Two blocks on at most, and there are three times a chunk's and four more: none comes twice. */
		id = (id + 1 + (gen_below(rng, 3) == 0)) % g->n_blocks;
	}
}

static uint32_t payload_bytes(const struct kvf_layout *layout, uint32_t tokens)
{
	uint64_t bytes = 0;
	uint32_t i;

	for (i = 0; i < layout->n_groups; i++) {
		const struct kvf_group *g = &layout->groups[i];

		bytes += (uint64_t)g->n_layers * g->planes * g->heads * g->head_elems * kvf_dtype_bytes(g->dtype);
	}
	return (uint32_t)(bytes * tokens);
}

void gen_copy_random(struct gen_copy *gen, struct gen_rng *rng, const struct kvf_layout *layout, uint32_t chunk_size)
{
	struct kvf_copy *copy = &gen->copy;
	uint32_t layers = 0, i;

	memset(gen, 0, sizeof(*gen));
	for (i = 0; i < layout->n_groups; i++)
		layers += layout->groups[i].n_layers;
	copy->chunk_first_token = (uint64_t)gen_below(rng, 5) * chunk_size;
	if (gen_below(rng, 8) == 0) /* no engine does that, but the walk is defined */
		copy->chunk_first_token += gen_below(rng, chunk_size);
	copy->chunk_tokens = gen_below(rng, 2) ? chunk_size : 1 + gen_below(rng, chunk_size);
	copy->n = copy->chunk_tokens;
	if (gen_below(rng, 2)) {
		copy->first = gen_below(rng, copy->chunk_tokens);
		copy->n = gen_below(rng, copy->chunk_tokens - copy->first + 1);
	}
	copy->n_layers = UINT32_MAX;
	if (gen_below(rng, 2)) {
		copy->first_layer = gen_below(rng, layers + 1);
		copy->n_layers = gen_below(rng, layers + 1);
	}
	copy->payload_bytes = payload_bytes(layout, copy->chunk_tokens);
	copy->n_groups = layout->n_groups;
	copy->groups = gen->lists;
	for (i = 0; i < layout->n_groups; i++)
		random_list(gen, rng, &layout->groups[i], i);
}

void gen_copy_whole(struct gen_copy *gen, const struct kvf_layout *layout, uint32_t chunk_size, bool adjacent)
{
	uint32_t i, k;

	memset(gen, 0, sizeof(*gen));
	gen->copy.chunk_tokens = gen->copy.n = chunk_size;
	gen->copy.n_layers = UINT32_MAX;
	gen->copy.payload_bytes = payload_bytes(layout, chunk_size);
	gen->copy.n_groups = layout->n_groups;
	gen->copy.groups = gen->lists;
	for (i = 0; i < layout->n_groups; i++) {
		size_t n = kvf_div_up(chunk_size, layout->groups[i].block_tokens);

		gen->ids[i] = must_calloc(n, sizeof(uint32_t));
		for (k = 0; k < n; k++)
			gen->ids[i][k] = adjacent ? k : layout->groups[i].n_blocks - 1 - 2 * k;
		gen->lists[i].ids = gen->ids[i];
		gen->lists[i].n = n;
	}
}

void gen_copy_fini(struct gen_copy *gen)
{
	uint32_t i;

	for (i = 0; i < gen->copy.n_groups; i++)
		free(gen->ids[i]);
	memset(gen, 0, sizeof(*gen));
}
