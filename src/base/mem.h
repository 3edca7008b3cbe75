/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of one engine: the host's allocator behind a size-class cache, counted.
 *
 * Freed blocks up to KVF_MEM_CLASS_MAX go to a free list of their power-of-two class and are handed out again, so that
 * an engine that has warmed up calls the allocator no more. Bigger ones go straight through. Every block remembers
 * nothing: callers pass the size back, as they always know it.
 */
#ifndef KVF_BASE_MEM_H
#define KVF_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

struct kvf_allocator; /* kvferry/kvferry.h: malloc, realloc-free interface {alloc, release, user} */

#define KVF_MEM_CLASS_MIN_SHIFT 6  /* 64 B */
#define KVF_MEM_CLASS_MAX_SHIFT 20 /* 1 MiB */
#define KVF_MEM_CLASSES (KVF_MEM_CLASS_MAX_SHIFT - KVF_MEM_CLASS_MIN_SHIFT + 1)

struct kvf_mem_free;

struct kvf_mem {
	void *(*alloc)(size_t n, void *user);
	void (*release)(void *p, size_t n, void *user);
	void *user;
	uint64_t host_allocs;	  /* calls of alloc so far: flat once warm */
	uint64_t bytes_held;	  /* taken from the host, cached blocks included */
	uint64_t bytes_used;	  /* handed out to callers */
	uint64_t bytes_used_peak;
	uint64_t failures;
	struct kvf_mem_free *free_list[KVF_MEM_CLASSES];
};

/* `allocator` NULL: malloc and free of the C library. */
void kvf_mem_init(struct kvf_mem *mem, const struct kvf_allocator *allocator);
/* Gives cached blocks back. Returns bytes_used, which is 0 unless somebody leaked. */
uint64_t kvf_mem_fini(struct kvf_mem *mem);

/* NULL when the host has none; n > 0. Aligned to 64 bytes for n >= 64, as malloc below that. Contents undefined. */
void *kvf_mem_alloc(struct kvf_mem *mem, size_t n);
void *kvf_mem_zalloc(struct kvf_mem *mem, size_t n);
/* n is what was asked for; p may be NULL. */
void kvf_mem_free(struct kvf_mem *mem, void *p, size_t n);
/* Room for `want` items of `item` bytes where *cap items at *array are now; grows by doubling, keeps contents.
 * KVF_OK or KVF_ENOMEM, on which nothing changed. */
int kvf_mem_grow(struct kvf_mem *mem, void **array, size_t *cap, size_t want, size_t item);

#endif
