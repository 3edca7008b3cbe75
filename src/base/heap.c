/* SPDX-License-Identifier: Apache-2.0 */
/* Binary heap of times. See heap.h. */
#include "base/heap.h"

#include "kvferry/kvf_status.h"

void kvf_heap_init(struct kvf_heap *heap, struct kvf_mem *mem)
{
	heap->mem = mem;
	heap->node = NULL;
	heap->n = 0;
	heap->cap = 0;
}

void kvf_heap_fini(struct kvf_heap *heap)
{
	for (size_t i = 0; i < heap->n; i++)
		heap->node[i]->pos = 0;
	kvf_mem_free(heap->mem, heap->node, heap->cap * sizeof(heap->node[0]));
	heap->node = NULL;
	heap->n = 0;
	heap->cap = 0;
}

int kvf_heap_reserve(struct kvf_heap *heap, size_t n)
{
	void *array = heap->node;
	int rc;

	if (n > UINT32_MAX - 1)
		return KVF_ENOMEM;
	rc = kvf_mem_grow(heap->mem, &array, &heap->cap, n, sizeof(heap->node[0]));
	heap->node = array;
	return rc;
}

/* Places are 1-based, so that the parent of i is i / 2. */
static void put(struct kvf_heap *heap, size_t pos, struct kvf_heap_node *node)
{
	heap->node[pos - 1] = node;
	node->pos = (uint32_t)pos;
}

static void sift_up(struct kvf_heap *heap, size_t pos, struct kvf_heap_node *node)
{
	while (pos > 1 && heap->node[pos / 2 - 1]->at_ns > node->at_ns) {
		put(heap, pos, heap->node[pos / 2 - 1]);
		pos /= 2;
	}
	put(heap, pos, node);
}

static void sift_down(struct kvf_heap *heap, size_t pos, struct kvf_heap_node *node)
{
	size_t kid;

	while ((kid = pos * 2) <= heap->n) {
		if (kid < heap->n && heap->node[kid]->at_ns < heap->node[kid - 1]->at_ns)
			kid++;
		if (heap->node[kid - 1]->at_ns >= node->at_ns)
			break;
		put(heap, pos, heap->node[kid - 1]);
		pos = kid;
	}
	put(heap, pos, node);
}

static void settle(struct kvf_heap *heap, size_t pos, struct kvf_heap_node *node)
{
	if (pos > 1 && heap->node[pos / 2 - 1]->at_ns > node->at_ns)
		sift_up(heap, pos, node);
	else
		sift_down(heap, pos, node);
}

void kvf_heap_set(struct kvf_heap *heap, struct kvf_heap_node *node, uint64_t at_ns)
{
	/* Only a caller that reserved nothing gets here with a full array; without memory its timer is lost. */
	if (!node->pos && heap->n == heap->cap && kvf_heap_reserve(heap, heap->n + 1))
		return;
	node->at_ns = at_ns;
	if (node->pos)
		settle(heap, node->pos, node);
	else
		sift_up(heap, ++heap->n, node);
}

void kvf_heap_remove(struct kvf_heap *heap, struct kvf_heap_node *node)
{
	struct kvf_heap_node *last;
	size_t pos = node->pos;

	if (!pos)
		return;
	node->pos = 0;
	last = heap->node[--heap->n];
	if (last != node)
		settle(heap, pos, last);
}

struct kvf_heap_node *kvf_heap_min(const struct kvf_heap *heap)
{
	return heap->n ? heap->node[0] : NULL;
}

int kvf_heap_verify(const struct kvf_heap *heap)
{
	if (heap->n > heap->cap)
		return KVF_EINTERNAL;
	for (size_t i = 0; i < heap->n; i++) {
		if (heap->node[i]->pos != i + 1)
			return KVF_EINTERNAL;
		if (i && heap->node[(i + 1) / 2 - 1]->at_ns > heap->node[i]->at_ns)
			return KVF_EINTERNAL;
	}
	return KVF_OK;
}
