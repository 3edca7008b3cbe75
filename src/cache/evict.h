/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Eviction: which resident chunk goes next. One interface, four policies (LRU, LFU, FIFO, MRU) as
 * LMCache defines them; every call is O(1) amortised but kvf_evict_touch(), which is O(path).
 *
 * LRU and LFU keep the rule "a suffix goes before its prefix": an entry with kids is not taken
 * while another can be. Entries that reach the eviction end but cannot go (pinned, leased, kids)
 * are parked and come back to that very end when they can (kvf_evict_release), so that the scan
 * never walks over them twice. FIFO and MRU do not look at kids. One index can have several orders,
 * one for each tenant: an entry is always given to the order of its tenant.
 *
 *	policy	listed		touched			goes next
 *	LRU	behind parent	to the far end		at the eviction end
 *	LFU	frequency 1	frequency + 1		lowest frequency, first to reach it first
 *	FIFO	far end		stays			at the eviction end
 *	MRU	eviction end	to the eviction end	at the eviction end (of a path its prefix)
 *
 * Order of calls. A chunk became resident: kvf_evict_insert(). Whoever removes an entry:
 *
 *	parent = kvf_index_parent(index, e);
 *	kvf_evict_remove(evict, e);
 *	kvf_index_remove(index, e);			now the parent has one kid fewer
 *	if (parent != KVF_NIL)
 *		kvf_evict_release(evict, parent);
 *
 * and where pins or leases of a listed entry drop to 0: kvf_evict_release(evict, e). Pinning needs
 * no call.
 */
#ifndef KVF_CACHE_EVICT_H
#define KVF_CACHE_EVICT_H

#include "cache/index.h"
#include "base/policy.h"

#define KVF_EVICT_FREQUENCY_MAX 65535u /* LFU: uses beyond it are not told apart */

struct kvf_evict_list {
	uint32_t head, tail; /* head = goes last, tail = goes next */
};

struct kvf_evict_lfu; /* evict_lfu.c: one list for each frequency */

struct kvf_evict {
	struct kvf_index *index;
	struct kvf_mem *mem;
	enum kvf_policy policy;
	struct kvf_evict_list order;	   /* LRU, FIFO, MRU */
	struct kvf_evict_list parked_pins; /* pinned or leased when their turn came */
	struct kvf_evict_list parked_kids; /* had kids when their turn came */
	struct kvf_evict_lfu *lfu;
	uint64_t n; /* entries listed */
	uint32_t ahead;	     /* a victim to come, to fetch memory in time: see fetch_victims() */
	uint32_t ahead_left; /* victims until `ahead` is set anew */
};

/* KVF_OK, KVF_ENOMEM. */
int kvf_evict_init(struct kvf_evict *evict, struct kvf_mem *mem, struct kvf_index *index, enum kvf_policy policy);
void kvf_evict_fini(struct kvf_evict *evict);

/* The entry became RESIDENT. With LRU it is placed just behind its parent on the eviction side
 * if the parent is of the same tenant and listed in order, else at the far end. KVF_OK always: what LFU needs for it
 * was taken at init. */
int kvf_evict_insert(struct kvf_evict *evict, uint32_t entry);
/* The entries of one path, prefix first, were used. LRU: afterwards the suffix goes before the
 * prefix, everything else before both. LFU: each counts one more (up to
 * KVF_EVICT_FREQUENCY_MAX); within a frequency as LRU. Entries that are not listed (or KVF_NIL)
 * are skipped, parked ones come off their park. */
void kvf_evict_touch(struct kvf_evict *evict, const uint32_t *path, uint32_t n);
/* Off the lists (it is about to be removed, or evicted). Its parent may become evictable. */
void kvf_evict_remove(struct kvf_evict *evict, uint32_t entry);
/* A pin, lease or kid went: a parked entry that can go now returns to the eviction end. */
void kvf_evict_release(struct kvf_evict *evict, uint32_t entry);
/* Next to go: RESIDENT, pins == 0, leases == 0; still listed. Entries with kids only when
 * nothing else is left. KVF_NIL: none. */
uint32_t kvf_evict_victim(struct kvf_evict *evict);
/* To the eviction end: next victim. LFU: and its frequency becomes 1. A parked one goes there once it can. */
void kvf_evict_demote(struct kvf_evict *evict, uint32_t entry);

/* Walks everything. KVF_OK, or KVF_EINTERNAL and *why says what is broken. */
int kvf_evict_verify(const struct kvf_evict *evict, const char **why);

#endif
