/* SPDX-License-Identifier: Apache-2.0 */
/* Anonymous memory of the pool: 2 MiB aligned, on huge pages where there are any, populated when it is returned. */
#ifndef KVF_CACHE_HUGEMAP_H
#define KVF_CACHE_HUGEMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KVF_HUGE_BYTES ((uint64_t)2 << 20)

struct kvf_hugemap_how {
	bool hugetlb;	/* from the reserved huge pages (MAP_HUGETLB), nothing else */
	int numa_node;	/* preferred node, -1: none */
	int numa_errno; /* set when the kernel refused that preference: the memory is fine, wherever it is */
};

/* Bytes to map for n bytes of use: whole huge pages, or whole small ones where that would be mostly waste. */
uint64_t kvf_hugemap_bytes(uint64_t n, bool hugetlb);
/* bytes as kvf_hugemap_bytes() says. NULL: no memory. Children of a fork do not get the mapping. */
uint8_t *kvf_hugemap_get(uint64_t bytes, struct kvf_hugemap_how *how);
/* Gives every page its memory, by `advise`, which is madvise(). 0, or its errno when there is no memory. */
int kvf_hugemap_populate(uint8_t *p, uint64_t bytes, int (*advise)(void *, size_t, int));
void kvf_hugemap_put(uint8_t *p, uint64_t bytes);

#endif
