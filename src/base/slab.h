/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slab: objects of one size with stable addresses, named by a 32-bit number. Freed numbers are reused; memory comes in
 * blocks of KVF_SLAB_BLOCK objects and stays until fini, so a warm slab allocates nothing.
 */
#ifndef KVF_BASE_SLAB_H
#define KVF_BASE_SLAB_H

#include "base/mem.h"
#include "kvferry/kvf_status.h"

#define KVF_SLAB_BLOCK 32

struct kvf_slab {
	struct kvf_mem *mem;
	uint8_t **block;
	size_t cap_blocks;
	uint32_t item_bytes; /* rounded up to 64 */
	uint32_t n_blocks;
	uint32_t used; /* numbers ever handed out */
	uint32_t live;
	uint32_t free_head;
	uint32_t *free_next; /* by number */
	size_t cap_next;
};

void kvf_slab_init(struct kvf_slab *slab, struct kvf_mem *mem, size_t item_bytes);
void kvf_slab_fini(struct kvf_slab *slab);
/* A zeroed object and its number, or NULL. */
void *kvf_slab_new(struct kvf_slab *slab, uint32_t *number);
void kvf_slab_free(struct kvf_slab *slab, uint32_t number);
static inline void *kvf_slab_at(const struct kvf_slab *slab, uint32_t number)
{
	return slab->block[number / KVF_SLAB_BLOCK] + (size_t)(number % KVF_SLAB_BLOCK) * slab->item_bytes;
}

#endif
