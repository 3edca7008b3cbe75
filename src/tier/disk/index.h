/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the disk tier knows in memory: for each slot of each segment its state and key, a table key
 * -> slot, which slots are free, and in which order chunks leave. 64 bytes a slot and 8 to 16 of
 * the table.
 *
 * Order: by last use, but a chunk is always at least as recent as the chunks that build on it, so
 * that suffixes go first. What recovery finds has no last use; it is put in order by replaying the
 * writes in order of their generation numbers, a few at a time, into a list of its own that is
 * older than everything used since.
 */
#ifndef KVF_TIER_DISK_INDEX_H
#define KVF_TIER_DISK_INDEX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/mem.h"

#define KVF_DISK_KEY 16 /* bytes of a key that the table compares; the header on disk has all 32   \
			 */

#define KVF_DISK_BAD_CHAINS 4096u

enum kvf_disk_slot_state {
	KVF_DISK_UNKNOWN = 0, /* not scanned yet */
	KVF_DISK_FREE,
	KVF_DISK_WRITING,
	KVF_DISK_LIVE,
	KVF_DISK_WIPING, /* out of the table, header not yet overwritten */
	KVF_DISK_BAD /* could not be overwritten: key and parent are what may still be there */
};

enum kvf_disk_order {
	KVF_DISK_ORDER_NONE = 0,
	KVF_DISK_ORDER_USED,
	KVF_DISK_ORDER_FOUND,
	KVF_DISK_ORDERS
};

struct kvf_disk_slot {
	uint8_t key[KVF_DISK_KEY];
	uint8_t parent[KVF_DISK_KEY];
	uint64_t generation;
	uint32_t payload_bytes;
	uint32_t stamp; /* clock of its last use */
	uint32_t prev, next; /* of its order; numbers of slots. BAD: of its chains */
	uint16_t segment;
	uint16_t readers;
	uint8_t state; /* enum kvf_disk_slot_state */
	uint8_t order; /* enum kvf_disk_order */
	uint8_t unread; /* times in a row that the device could not read it */
	bool found; /* by recovery: nobody has looked at its payload */
};

struct kvf_disk_found {
	uint64_t generation;
	uint32_t slot;
};

struct kvf_disk_index {
	struct kvf_mem *mem;
	uint32_t cap; /* slots possible */
	struct kvf_disk_slot *slot;
	uint32_t *table; /* slot + 1 by hash of the key, 0 = empty */
	uint32_t shift; /* home = hash >> shift */
	uint32_t mask;
	uint64_t *free_bits;
	uint32_t n_free, n_live, n_bad;
	uint32_t bad[KVF_DISK_BAD_CHAINS]; /* BAD slots by their keys: bad.c */
	uint32_t bad_cursor;
	uint32_t cursor; /* where the next free slot is looked for: runs of chunks lie together */
	uint32_t clock;
	uint32_t window; /* uses within which a parent counts as just used */
	uint32_t head[KVF_DISK_ORDERS], tail[KVF_DISK_ORDERS];
	struct kvf_disk_found *found; /* heap: smallest generation first */
	uint32_t n_found;
	uint64_t forgot; /* bytes of its arrays that are zero again */
};

/* KVF_OK, KVF_ENOMEM. Memory for cap slots is reserved, not touched. */
int kvf_disk_index_init(struct kvf_disk_index *ix, struct kvf_mem *mem, uint32_t cap);
void kvf_disk_index_fini(struct kvf_disk_index *ix);
/* Back to how it was after init, a slice a call. False: it is there; until then nothing else may be asked. */
bool kvf_disk_index_forget(struct kvf_disk_index *ix);

/* LIVE slot of the key (its first KVF_DISK_KEY bytes) or KVF_NIL. */
uint32_t kvf_disk_find(const struct kvf_disk_index *ix, const uint8_t *key);
/* The slot, whose key, parent and generation are set, becomes LIVE; its key must be absent. */
void kvf_disk_insert(struct kvf_disk_index *ix, uint32_t slot);
/* The LIVE slot leaves table and order; the caller sets its new state. */
void kvf_disk_take_out(struct kvf_disk_index *ix, uint32_t slot);

void kvf_disk_set_free(struct kvf_disk_index *ix, uint32_t slot);
/* A FREE slot, at or after the last one taken where there is one; the caller sets its state.
 * KVF_NIL: none. */
uint32_t kvf_disk_take_free(struct kvf_disk_index *ix);

/* The LIVE slot was used, and with it what it builds on. */
void kvf_disk_touch(struct kvf_disk_index *ix, uint32_t slot);
/* Recovery found the LIVE slot. */
void kvf_disk_found(struct kvf_disk_index *ix, uint32_t slot);
/* Replays up to n of what was found. True: there is more. Call when everything was found. */
bool kvf_disk_replay(struct kvf_disk_index *ix, uint32_t n);
/* The LIVE slot that should go first and that nobody reads; KVF_NIL: none. */
uint32_t kvf_disk_victim(struct kvf_disk_index *ix);

/* ---- bad.c: the time each takes does not depend on how many slots there are ---- */

void kvf_disk_bad_init(struct kvf_disk_index *ix);
/* The slot, whose key and parent are what may still stand in it, becomes BAD. */
void kvf_disk_bad_add(struct kvf_disk_index *ix, uint32_t slot);
/* A BAD slot, each in its turn, is BAD no more; the caller sets its new state. KVF_NIL: there is none. */
uint32_t kvf_disk_bad_take(struct kvf_disk_index *ix);
/* May `key` stand where `there` was found, or nothing could be read (zeros)? */
bool kvf_disk_may_be(const uint8_t *there, const uint8_t *key);
/* May the key still stand in a BAD slot? */
bool kvf_disk_bad_has(const struct kvf_disk_index *ix, const uint8_t *key);
bool kvf_disk_bad_verify(const struct kvf_disk_index *ix);

/* KVF_OK or KVF_EINTERNAL. */
int kvf_disk_index_verify(const struct kvf_disk_index *ix, const char **why);

#endif
