/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool: page-locked RAM in equal slots (4 KiB header page + payload rounded up to 4 KiB).
 *
 * Memory comes in slices: 2 MiB-aligned runs of whole slots, mapped, given huge pages, populated and locked one after
 * another, so that the engine is usable after the first one and no turn is long. A slot never straddles two slices
 * (= two registrations). Free slots are a stack of indexes; who uses a slot is the index's business.
 */
#ifndef KVF_CACHE_POOL_H
#define KVF_CACHE_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/mem.h"
#include "kvferry/kvf_status.h"

struct kvf_pool_params {
	uint32_t payload_bytes;	/* of a full chunk */
	uint32_t n_slots;	/* target */
	bool hugetlb;		/* MAP_HUGETLB instead of MADV_HUGEPAGE */
	int numa_node;		/* -1: none. Best effort (mbind may be denied) */
	/* The device seam's lock: called once per slice, before any slot of it is handed out. NULL: nothing. */
	int (*lock)(void *arg, void *p, size_t n);
	void (*unlock)(void *arg, void *p, size_t n);
	void *lock_arg;
};

struct kvf_pool_slice {
	uint8_t *base;	     /* NULL: given back, its slot numbers wait for the pool to grow again */
	uint64_t bytes;	     /* mapped */
	uint32_t first_slot; /* slots are numbered through all slices */
	uint32_t n_slots;
	uint32_t n_free;
	bool locked;
	bool retiring; /* all its slots are: given back once they are free */
};

struct kvf_pool {
	struct kvf_mem *mem;
	struct kvf_pool_params params;
	uint32_t slot_bytes;
	uint32_t slots_per_slice; /* at most */
	uint32_t n_ready;	  /* slots that exist now, retiring ones excluded */
	uint32_t n_free;	  /* of them */
	uint32_t target;	  /* n_slots wanted: slots numbered from here on are retiring */
	uint32_t n_numbered;	  /* numbers in use by slices: the first one of the next new slice */
	struct kvf_pool_slice *slice;
	size_t n_slices, cap_slices;
	uint32_t *free_stack; /* n_free of them */
	size_t cap_free;
	uint64_t *busy; /* a bit per slot number */
	size_t cap_busy;
	bool due;	/* kvf_pool_step() has something to do; off after it failed: try again when you like */
	int lock_error; /* last failure of lock: growth stops until kvf_pool_resize() */
	int numa_errno; /* why numa_node could not be had; 0: it could */
};

/* Slot size for a payload. 0 when it does not fit 32 bits. */
uint32_t kvf_pool_slot_bytes(uint64_t payload_bytes);
/* What a pool of n_slots will map: the slots and what is lost at the ends of slices. 0 as above. */
uint64_t kvf_pool_map_bytes(uint64_t payload_bytes, uint32_t n_slots, bool hugetlb);

/*
 * memcheck.c. Would taking `bytes` of locked memory break a limit of the machine? Looks at the cgroup (v1 and v2, every
 * ancestor; memory.high counts as a limit), at MemAvailable, and with `hugetlb` at the free huge pages instead.
 * `reserve_bytes` must stay free. KVF_OK, or KVF_ENOMEM with one error a limit in the report: the numbers and the cure.
 * sys_root: "" for the real /proc and /sys, a directory in tests. What cannot be read is no limit.
 */
int kvf_pool_check_memory(const char *sys_root, uint64_t bytes, uint64_t reserve_bytes, bool hugetlb,
			  struct kvf_report *report);

/* Takes no pool memory yet, only its tables. KVF_OK, KVF_ENOMEM, KVF_ERANGE (fewer than 8 slots: the report says the
 * bytes needed). */
int kvf_pool_init(struct kvf_pool *pool, struct kvf_mem *mem, const struct kvf_pool_params *params,
		  struct kvf_report *report);
/* All slots must be free. */
void kvf_pool_fini(struct kvf_pool *pool);

/* Adds (or, above target, gives back an empty retiring) one slice: 8 to 64 MiB of work. 1: more to do, 0: at target
 * or nothing to do before retiring slots are given (see `due`), KVF_ENOMEM: the machine or the lock said no (the pool
 * stays as it is; call again later; after a failed lock, see lock_error, that does nothing). */
int kvf_pool_step(struct kvf_pool *pool);
/* New target; growing happens by kvf_pool_step(). Shrinking makes the slots numbered from n_slots on retiring: their
 * users must be evicted, the memory goes slice by slice. KVF_OK, KVF_ERANGE (< 8), KVF_ENOMEM (nothing changed). */
int kvf_pool_resize(struct kvf_pool *pool, uint32_t n_slots);
bool kvf_pool_retiring(const struct kvf_pool *pool, uint32_t slot);

/* A free slot, or KVF_NIL. */
uint32_t kvf_pool_take(struct kvf_pool *pool);
void kvf_pool_give(struct kvf_pool *pool, uint32_t slot);

/* Header page of the slot; the payload follows KVF_SLOT_HEADER_BYTES later. */
uint8_t *kvf_pool_addr(const struct kvf_pool *pool, uint32_t slot);

/* KVF_OK or KVF_EINTERNAL; `why` gets a sentence. */
int kvf_pool_verify(const struct kvf_pool *pool, const char **why);

#endif
