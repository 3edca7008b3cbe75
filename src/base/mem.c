/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of one engine. See mem.h.
 *
 * The host promises malloc's alignment only, callers are promised a cache line: every block is
 * taken with room for one line more and stores the host's pointer in the word before the address
 * that is handed out.
 */
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "kvferry/kvferry.h"

#define MEM_ALIGN ((size_t)64)

#if defined(__SANITIZE_ADDRESS__)
#define MEM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MEM_ASAN 1
#endif
#endif

#ifdef MEM_ASAN
#include <sanitizer/asan_interface.h>
#define mem_poison(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define mem_unpoison(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define mem_poison(p, n) ((void)(p), (void)(n))
#define mem_unpoison(p, n) ((void)(p), (void)(n))
#endif

struct kvf_mem_free {
	struct kvf_mem_free *next;
};

static void *libc_alloc(size_t n, void *user)
{
	(void)user;
	return malloc(n);
}

static void libc_release(void *p, size_t n, void *user)
{
	(void)n;
	(void)user;
	free(p);
}

void kvf_mem_init(struct kvf_mem *mem, const struct kvf_allocator *allocator)
{
	memset(mem, 0, sizeof(*mem));
	if (allocator && allocator->alloc && allocator->release) {
		mem->alloc = allocator->alloc;
		mem->release = allocator->release;
		mem->user = allocator->user;
	} else {
		mem->alloc = libc_alloc;
		mem->release = libc_release;
	}
}

/* Class of n bytes, or KVF_MEM_CLASSES when it is too big for one. */
static unsigned int size_class(size_t n)
{
	unsigned int c = 0;

	while (c < KVF_MEM_CLASSES && n > ((size_t)1 << (KVF_MEM_CLASS_MIN_SHIFT + c)))
		c++;
	return c;
}

/* Bytes a block of n takes without its prefix. */
static size_t block_bytes(size_t n, unsigned int class)
{
	return class < KVF_MEM_CLASSES ? (size_t)1 << (KVF_MEM_CLASS_MIN_SHIFT + class) : n;
}

static void *host_take(struct kvf_mem *mem, size_t bytes)
{
	size_t total = bytes + MEM_ALIGN;
	uintptr_t at;
	char *raw;
	char *p;

	mem->host_allocs++;
	raw = mem->alloc(total, mem->user);
	if (!raw)
		return NULL;
	mem->bytes_held += total;
	at = (uintptr_t)raw + sizeof(raw);
	p = raw + (((at + MEM_ALIGN - 1) & ~(uintptr_t)(MEM_ALIGN - 1)) - (uintptr_t)raw);
	memcpy(p - sizeof(raw), &raw, sizeof(raw));
	return p;
}

static void host_give(struct kvf_mem *mem, char *p, size_t bytes)
{
	char *raw;

	mem_unpoison(p, bytes);
	memcpy(&raw, p - sizeof(raw), sizeof(raw));
	mem->bytes_held -= bytes + MEM_ALIGN;
	mem->release(raw, bytes + MEM_ALIGN, mem->user);
}

uint64_t kvf_mem_fini(struct kvf_mem *mem)
{
	for (unsigned int c = 0; c < KVF_MEM_CLASSES; c++) {
		while (mem->free_list[c]) {
			struct kvf_mem_free *f = mem->free_list[c];

			mem_unpoison(f, sizeof(*f));
			mem->free_list[c] = f->next;
			host_give(mem, (char *)f, block_bytes(0, c));
		}
	}
	return mem->bytes_used;
}

void *kvf_mem_alloc(struct kvf_mem *mem, size_t n)
{
	unsigned int class = size_class(n);
	size_t bytes = block_bytes(n, class);
	void *p;

	if (n > PTRDIFF_MAX - MEM_ALIGN) {
		mem->failures++;
		return NULL;
	}
	if (class < KVF_MEM_CLASSES && mem->free_list[class]) {
		struct kvf_mem_free *f = mem->free_list[class];

		mem_unpoison(f, bytes);
		mem->free_list[class] = f->next;
		p = f;
	} else {
		p = host_take(mem, bytes);
		if (!p) {
			mem->failures++;
			return NULL;
		}
	}
	mem_poison((char *)p + n, bytes - n);
	mem->bytes_used += n;
	mem->bytes_used_peak = kvf_max_u64(mem->bytes_used_peak, mem->bytes_used);
	return p;
}

void *kvf_mem_zalloc(struct kvf_mem *mem, size_t n)
{
	void *p = kvf_mem_alloc(mem, n);

	if (p)
		memset(p, 0, n);
	return p;
}

void kvf_mem_free(struct kvf_mem *mem, void *p, size_t n)
{
	unsigned int class = size_class(n);
	size_t bytes = block_bytes(n, class);
	struct kvf_mem_free *f = p;

	if (!p)
		return;
	mem->bytes_used -= n;
	if (class >= KVF_MEM_CLASSES) {
		host_give(mem, p, bytes);
		return;
	}
	mem_unpoison(p, bytes);
	f->next = mem->free_list[class];
	mem->free_list[class] = f;
	mem_poison(p, bytes);
}

int kvf_mem_grow(struct kvf_mem *mem, void **array, size_t *cap, size_t want, size_t item)
{
	size_t n = *cap ? *cap : 8;
	void *p;

	if (want <= *cap)
		return KVF_OK;
	while (n < want)
		n = n > SIZE_MAX / 2 ? want : n * 2;
	if (n > PTRDIFF_MAX / item) {
		mem->failures++;
		return KVF_ENOMEM;
	}
	p = kvf_mem_alloc(mem, n * item);
	if (!p)
		return KVF_ENOMEM;
	if (*cap)
		memcpy(p, *array, *cap * item);
	kvf_mem_free(mem, *array, *cap * item);
	*array = p;
	*cap = n;
	return KVF_OK;
}
