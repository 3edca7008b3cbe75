/* SPDX-License-Identifier: Apache-2.0 */
/* Small helpers of the language: attributes, container_of, alignment, saturating arithmetic. */
#ifndef KVF_BASE_COMPILER_H
#define KVF_BASE_COMPILER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KVF_UNUSED __attribute__((unused))
#define KVF_MUST_USE __attribute__((warn_unused_result))
#define kvf_likely(x) __builtin_expect(!!(x), 1)
#define kvf_unlikely(x) __builtin_expect(!!(x), 0)

/* Asks for the memory at p, soon to be read or, with `write`, written. gcc takes a function that does only this for
 * one without effects and drops calls of it; the empty asm keeps them. */
#define kvf_prefetch(p, write)                             \
	do {                                               \
		const void *kvf_at = (p);                  \
		__builtin_prefetch(kvf_at, (write));       \
		__asm__ volatile("" : : "r"(kvf_at));      \
	} while (0)

#define kvf_container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define KVF_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#define KVF_KIB ((uint64_t)1 << 10)
#define KVF_MIB ((uint64_t)1 << 20)
#define KVF_GIB ((uint64_t)1 << 30)
#define KVF_NS_PER_US ((uint64_t)1000)
#define KVF_NS_PER_MS ((uint64_t)1000000)
#define KVF_NS_PER_S ((uint64_t)1000000000)
#define KVF_NEVER UINT64_MAX /* a deadline that never comes */

#define KVF_NIL UINT32_MAX /* "no index" in every index-linked structure */

static inline uint64_t kvf_min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t kvf_max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Rounds up to a multiple of `align`, a power of two. The caller has checked for overflow. */
static inline uint64_t kvf_align_up(uint64_t n, uint64_t align)
{
	return (n + align - 1) & ~(align - 1);
}

static inline uint64_t kvf_div_up(uint64_t n, uint64_t d)
{
	return n / d + (n % d != 0);
}

/* a + b, or KVF_NEVER where that would wrap: for deadlines. */
static inline uint64_t kvf_sat_add(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static inline uint64_t kvf_sat_sub(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

#endif
