/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layouts for tests, with memory behind them: the eleven layouts of LMCache by number, and random ones. A tensor is
 * described by its axes, slowest first, one letter each:
 *	B blocks   L layers   T two (K, V)   S tokens of a block   H heads   E elements of a head
 * Without L every layer has a tensor of its own, without T (and two planes) every plane. E is always last.
 */
#ifndef KVF_TESTS_GEN_LAYOUT_H
#define KVF_TESTS_GEN_LAYOUT_H

#include <stdbool.h>

#include "kvferry/kvf_device.h"

struct gen_rng {
	uint64_t state;
};

uint64_t gen_u64(struct gen_rng *rng);
/* 0..n-1 */
uint32_t gen_below(struct gen_rng *rng, uint32_t n);

struct gen_shape {
	uint32_t n_layers, n_blocks, block_tokens, heads, head_elems;
	enum kvf_dtype dtype;
};

struct gen_lmcache {
	const char *name; /* EngineKVFormat */
	const char *axes;
	uint32_t planes;
};

#define GEN_LMCACHE_FORMATS 11
extern const struct gen_lmcache gen_lmcache[GEN_LMCACHE_FORMATS];

struct gen_memory {
	uint8_t *p;
	size_t n;
};

/* The memory behind tensors has room around it: all of it is saved, restored, compared, so that a stray write shows. */
struct gen_layout {
	struct kvf_layout layout;
	struct kvf_group groups[KVF_MAX_GROUPS];
	struct kvf_layer *layers[KVF_MAX_GROUPS];
	struct gen_memory *memory;
	size_t n_memory;
};

void gen_layout_init(struct gen_layout *gen, enum kvf_payload_order order);
void gen_layout_fini(struct gen_layout *gen);
/* Adds a group. padding: NULL for dense tensors, else strides get random room between elements. */
void gen_layout_add(struct gen_layout *gen, const char *axes, uint32_t planes, const struct gen_shape *shape,
		    struct gen_rng *padding);
/* init, 1..3 random groups, for chunks of *chunk_size tokens; every list of blocks that gen_copy makes finds room. */
void gen_layout_random(struct gen_layout *gen, struct gen_rng *rng, uint32_t *chunk_size);

void gen_layout_fill(struct gen_layout *gen, struct gen_rng *rng);
/* All memory in one piece, for free(). */
uint8_t *gen_layout_save(const struct gen_layout *gen);
void gen_layout_restore(struct gen_layout *gen, const uint8_t *saved);
bool gen_layout_equal(const struct gen_layout *gen, const uint8_t *saved);

/* A copy with its block lists. The caller sets direction, payload and callbacks' fields. */
struct gen_copy {
	struct kvf_copy copy;
	struct kvf_block_list lists[KVF_MAX_GROUPS];
	uint32_t *ids[KVF_MAX_GROUPS];
};

/* A random one: partial chunks, ranges of tokens and layers, first_block > 0, null blocks. No block comes twice. */
void gen_copy_random(struct gen_copy *gen, struct gen_rng *rng, const struct kvf_layout *layout, uint32_t chunk_size);
/* A whole chunk at sequence position 0. ids: adjacent (0, 1, 2...) or every other block, backwards. */
void gen_copy_whole(struct gen_copy *gen, const struct kvf_layout *layout, uint32_t chunk_size, bool adjacent);
void gen_copy_fini(struct gen_copy *gen);

#endif
