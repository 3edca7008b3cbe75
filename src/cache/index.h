/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index: chunk key -> entry, for every chunk that is in RAM or on its way there. One
 * open-addressing table of (fingerprint, entry number); entries are one cache line each in one
 * array and name each other by number. Pointers to entries hold until kvf_index_reserve(),
 * which may move the array; numbers hold until kvf_index_free().
 *
 * The table grows a few cells at each insert: a frontier moves through the old cells, a key lies in
 * the new table when its old home is before the frontier and in the old one otherwise, so that
 * finding it looks at one table only (index_table.h).
 *
 * An entry is created with a slot-less state and lives until kvf_index_remove(); a removed
 * ("doomed") entry that is still pinned leaves the table at once and the array when its last pin
 * goes: that is the engine's business (engine/hold.c).
 */
#ifndef KVF_CACHE_INDEX_H
#define KVF_CACHE_INDEX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/mem.h"

enum kvf_entry_state {
	KVF_ENTRY_FREE = 0,
	KVF_ENTRY_FILLING = 1,	/* a transfer (store copy or tier get) fills its slot */
	KVF_ENTRY_RESIDENT = 2,
	KVF_ENTRY_DOOMED = 3	/* removed while in use: not in the table any more */
};

enum kvf_entry_flags {
	KVF_ENTRY_PREFETCHED = 1u << 0, /* came by prefetch and was not used yet */
	KVF_ENTRY_PARKED = 1u << 2,	/* evict.c: at the eviction end, but not evictable now */
	KVF_ENTRY_LISTED = 1u << 3,	/* evict.c: on one of its lists */
	KVF_ENTRY_PARKED_KIDS = 1u << 5, /* evict.c: parked on the list of those with kids */
	KVF_ENTRY_LOST = 1u << 6	/* its slot is pinned for ever: a lost device may write there */
};

/* One cache line: finding, marking as used and evicting a chunk miss the cache once each. */
struct kvf_entry {
	uint8_t key[16];	/* first half of the chunk key; the slot's header has it all */
	uint8_t state;		/* enum kvf_entry_state */
	uint8_t flags;		/* enum kvf_entry_flags */
	uint8_t tiers_have;	/* bit i: tier i is known to hold it */
	uint8_t tiers_want;	/* bit i: a spill to tier i is queued or in flight */
	uint16_t pins;		/* I/O in flight and jobs at work */
	uint16_t leases;
	uint32_t kids;		/* entries whose parent this is */
	uint32_t policy_prev;	/* eviction policy's links */
	uint32_t policy_next;
	uint32_t parent;	/* entry of the parent chunk, KVF_NIL if it is not here */
	uint32_t parent_generation; /* index.c: of the parent when it was linked; see kvf_index_parent */
	uint32_t generation;	/* changes each time the entry is freed: (number, generation) never repeats */
	uint32_t slot;		/* KVF_NIL until it has one */
	uint32_t xfer;		/* transfer that fills it, else KVF_NIL */
	uint32_t n_tokens;
	uint16_t policy_aux;	/* eviction policy's own */
	uint8_t tenant;
	uint8_t spare;
};

struct kvf_index_cell {
	uint32_t fingerprint; /* 0 = empty */
	uint32_t entry;
};

struct kvf_index_table {
	struct kvf_index_cell *cell; /* NULL: no table */
	uint32_t size;		     /* cells that are at home; a few more follow, so that no probe wraps around */
	uint32_t limit;		     /* keys at which it is to grow */
};

struct kvf_index {
	struct kvf_mem *mem;
	struct kvf_entry *entry; /* array of cap entries: one reservation of address space, touched as used */
	uint32_t cap;		 /* entries possible */
	uint32_t used;		 /* entries ever touched */
	uint32_t n;		 /* entries in the table */
	uint32_t live;		 /* entries not free (doomed ones included) */
	uint32_t free_head;
	uint32_t old_next;	 /* frontier: old cells before it were moved */
	struct kvf_index_table table;
	struct kvf_index_table old; /* being moved */
	uint32_t grow_wait;	 /* inserts until growth is tried again after it failed */
	uint64_t old_released;	 /* bytes of the old table given back already */
	uint64_t epoch; /* counts removals: a prefix seen resident at epoch e still is while the epoch is e */
};

/* Up to `cap` entries (grows later by kvf_index_reserve). KVF_OK, KVF_ENOMEM. */
int kvf_index_init(struct kvf_index *index, struct kvf_mem *mem, uint32_t cap);
void kvf_index_fini(struct kvf_index *index);
/* More entries possible (fewer: nothing happens). Pointers to entries end. KVF_OK, KVF_ENOMEM. */
int kvf_index_reserve(struct kvf_index *index, uint32_t cap);

/* Entry number of a key, KVF_NIL if absent. key: at least 16 bytes. */
uint32_t kvf_index_find(const struct kvf_index *index, const uint8_t *key);
/* The same for n consecutive 32-byte keys, many times faster where the index is bigger than the
 * caches: it asks for the memory of the keys ahead while it looks at one. */
void kvf_index_find_many(const struct kvf_index *index, const uint8_t (*keys)[32], uint32_t n, uint32_t *out);
/* Longest run of RESIDENT entries among n consecutive 32-byte keys, starting at keys[0], in the
 * same way; entry numbers go to out if it is not NULL. */
uint32_t kvf_index_resident_prefix(const struct kvf_index *index, const uint8_t (*keys)[32], uint32_t n, uint32_t *out);
/* New entry: state FILLING, no slot, links NIL, pins 0; linked to its parent (KVF_NIL: none),
 * whose kids grow. The key must be absent. A parent that is not live counts as none. KVF_NIL:
 * full, or no memory for the table. */
uint32_t kvf_index_insert(struct kvf_index *index, const uint8_t *key, uint32_t parent);
/* Takes the entry out of the table (state DOOMED, parent unlinked and its kids one fewer, kids'
 * parent links cut lazily, epoch moves). Whoever wants kvf_evict_release() of the parent asks
 * kvf_index_parent() first. */
void kvf_index_remove(struct kvf_index *index, uint32_t entry);
/* Frees a DOOMED entry for reuse. */
void kvf_index_free(struct kvf_index *index, uint32_t entry);
/* Would-be parent links of entries whose parent was freed are stale; this returns the live parent or KVF_NIL. */
uint32_t kvf_index_parent(const struct kvf_index *index, uint32_t entry);
/* Links an entry to a parent that came (back) after it, if it has no live one. True if it was linked. */
bool kvf_index_adopt(struct kvf_index *index, uint32_t entry, uint32_t parent);
/* Asks for the memory that finding or inserting the key will look at first. */
void kvf_index_fetch_key(const struct kvf_index *index, const uint8_t *key);
/* Asks for the memory that kvf_index_remove() of the entry will look at. */
void kvf_index_fetch(const struct kvf_index *index, uint32_t entry);
/* Bytes of memory that the index takes: tables and touched entries. */
uint64_t kvf_index_bytes(const struct kvf_index *index);

static inline struct kvf_entry *kvf_index_entry(const struct kvf_index *index, uint32_t entry)
{
	return &index->entry[entry];
}

/* Found by its key: neither free nor doomed. */
static inline bool kvf_entry_in_table(const struct kvf_entry *e)
{
	return e->state == KVF_ENTRY_FILLING || e->state == KVF_ENTRY_RESIDENT;
}

/* Walks everything. KVF_OK, or KVF_EINTERNAL and *why says what is broken. */
int kvf_index_verify(const struct kvf_index *index, const char **why);

_Static_assert(sizeof(struct kvf_entry) == 64, "an entry is one cache line");

#endif
