/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intrusive binary heap of times: deadlines and timers. The node lives in its owner; the array of pointers belongs to
 * the heap and is reserved ahead, so that pushing never fails once kvf_heap_reserve() succeeded.
 */
#ifndef KVF_BASE_HEAP_H
#define KVF_BASE_HEAP_H

#include "base/compiler.h"
#include "base/mem.h"

struct kvf_heap_node {
	uint64_t at_ns;
	uint32_t pos; /* 1-based place in the array; 0 = not in the heap */
};

struct kvf_heap {
	struct kvf_mem *mem;
	struct kvf_heap_node **node;
	size_t n, cap;
};

void kvf_heap_init(struct kvf_heap *heap, struct kvf_mem *mem);
void kvf_heap_fini(struct kvf_heap *heap);
/* Room for n nodes in all. KVF_OK, KVF_ENOMEM. */
int kvf_heap_reserve(struct kvf_heap *heap, size_t n);
/* Inserts, or moves a node that is in already. The caller has reserved room. */
void kvf_heap_set(struct kvf_heap *heap, struct kvf_heap_node *node, uint64_t at_ns);
/* Fine on a node that is not in. */
void kvf_heap_remove(struct kvf_heap *heap, struct kvf_heap_node *node);
/* Earliest node or NULL. */
struct kvf_heap_node *kvf_heap_min(const struct kvf_heap *heap);
/* 0 if every invariant holds. */
int kvf_heap_verify(const struct kvf_heap *heap);

#endif
