/* SPDX-License-Identifier: Apache-2.0 */
/* Numbered objects of one size: see slab.h. */
#include "base/slab.h"

#include <string.h>

#include "base/compiler.h"

void kvf_slab_init(struct kvf_slab *slab, struct kvf_mem *mem, size_t item_bytes)
{
	*slab = (struct kvf_slab){
		.mem = mem,
		.item_bytes = (uint32_t)kvf_align_up(item_bytes, 64),
		.free_head = KVF_NIL,
	};
}

void kvf_slab_fini(struct kvf_slab *slab)
{
	for (uint32_t i = 0; i < slab->n_blocks; i++)
		kvf_mem_free(slab->mem, slab->block[i], (size_t)slab->item_bytes * KVF_SLAB_BLOCK);
	kvf_mem_free(slab->mem, slab->block, slab->cap_blocks * sizeof(*slab->block));
	kvf_mem_free(slab->mem, slab->free_next, slab->cap_next * sizeof(*slab->free_next));
	slab->block = NULL;
	slab->free_next = NULL;
	slab->n_blocks = 0;
	slab->cap_blocks = slab->cap_next = 0;
}

static int add_block(struct kvf_slab *slab)
{
	size_t want = ((size_t)slab->n_blocks + 1) * KVF_SLAB_BLOCK;
	void *array = slab->block;
	void *next = slab->free_next;
	uint8_t *block;
	int rc;

	rc = kvf_mem_grow(slab->mem, &array, &slab->cap_blocks, (size_t)slab->n_blocks + 1, sizeof(*slab->block));
	slab->block = array;
	if (rc)
		return rc;
	rc = kvf_mem_grow(slab->mem, &next, &slab->cap_next, want, sizeof(*slab->free_next));
	slab->free_next = next;
	if (rc)
		return rc;
	block = kvf_mem_alloc(slab->mem, (size_t)slab->item_bytes * KVF_SLAB_BLOCK);
	if (!block)
		return KVF_ENOMEM;
	slab->block[slab->n_blocks++] = block;
	return KVF_OK;
}

void *kvf_slab_new(struct kvf_slab *slab, uint32_t *number)
{
	uint32_t at = slab->free_head;
	void *item;

	if (at != KVF_NIL) {
		slab->free_head = slab->free_next[at];
	} else {
		if (slab->used == slab->n_blocks * KVF_SLAB_BLOCK && add_block(slab))
			return NULL;
		at = slab->used++;
	}
	slab->live++;
	item = kvf_slab_at(slab, at);
	memset(item, 0, slab->item_bytes);
	*number = at;
	return item;
}

void kvf_slab_free(struct kvf_slab *slab, uint32_t number)
{
	slab->free_next[number] = slab->free_head;
	slab->free_head = number;
	slab->live--;
}
