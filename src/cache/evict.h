/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Eviction: which resident chunk goes next. One interface, four policies (LRU, LFU, FIFO, MRU) as LMCache defines them;
 * every call is O(1) but kvf_evict_touch(), which is O(path).
 *
 * LRU and LFU keep the rule "a suffix goes before its prefix": an entry with resident kids is not taken while another can
 * be. Entries that reach the eviction end but cannot go (pinned, leased, kids) are parked and come back to that very end
 * when they can (kvf_evict_release), so that the scan never walks over them twice.
 */
#ifndef KVF_CACHE_EVICT_H
#define KVF_CACHE_EVICT_H

#include "cache/index.h"
#include "config/config.h"

struct kvf_evict_list {
	uint32_t head, tail; /* head = goes last, tail = goes next */
};

struct kvf_evict {
	struct kvf_index *index;
	enum kvf_policy policy;
	struct kvf_evict_list order;	   /* LRU, FIFO, MRU */
	struct kvf_evict_list parked_pins; /* pinned or leased when their turn came */
	struct kvf_evict_list parked_kids; /* had resident kids when their turn came */
	struct kvf_evict_bucket *bucket;   /* LFU: buckets of equal frequency */
	size_t n_buckets, cap_buckets;
	uint32_t first_bucket, free_bucket;
	struct kvf_mem *mem;
	uint64_t n; /* entries listed */
};

int kvf_evict_init(struct kvf_evict *evict, struct kvf_mem *mem, struct kvf_index *index, enum kvf_policy policy);
void kvf_evict_fini(struct kvf_evict *evict);

/* The entry became RESIDENT. With LRU it is placed just behind its parent on the eviction side if the parent is listed in
 * order, else at the far end. KVF_OK, KVF_ENOMEM (LFU buckets; then it is listed with the lowest frequency all the same). */
int kvf_evict_insert(struct kvf_evict *evict, uint32_t entry);
/* The entries of one path, prefix first, were used: afterwards the suffix goes before the prefix, everything else before
 * both. Entries that are not listed are skipped. */
void kvf_evict_touch(struct kvf_evict *evict, const uint32_t *path, uint32_t n);
/* Off the lists (it is about to be removed, or evicted). Its parent may become evictable. */
void kvf_evict_remove(struct kvf_evict *evict, uint32_t entry);
/* A pin, lease or kid went: a parked entry that can go now returns to the eviction end. */
void kvf_evict_release(struct kvf_evict *evict, uint32_t entry);
/* Next to go: RESIDENT, pins == 0, leases == 0; still listed. Entries with kids only when nothing else is left. KVF_NIL: none. */
uint32_t kvf_evict_victim(struct kvf_evict *evict);
/* To the eviction end: next victim. */
void kvf_evict_demote(struct kvf_evict *evict, uint32_t entry);

int kvf_evict_verify(const struct kvf_evict *evict, const char **why);

#endif
