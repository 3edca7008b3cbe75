/* SPDX-License-Identifier: Apache-2.0 */
/* See checksum_avx2.h. xxhash.h's functions, compiled here for AVX2 and for nothing else. */
#include "base/checksum_avx2.h"

#ifdef KVF_CHECKSUM_AVX2

/* What xxhash.h includes, before the target changes. */
#include <immintrin.h>
#include <stdlib.h>
#include <string.h>

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2")
#endif

#define XXH_INLINE_ALL
#define XXH_STATIC_LINKING_ONLY
#define XXH_VECTOR 2 /* XXH_AVX2 */
#include <xxhash.h>

uint64_t kvf_checksum_avx2(const void *p, size_t n)
{
	return XXH3_64bits(p, n);
}

void kvf_checksum_add_avx2(void *state, const void *p, size_t n)
{
	(void)XXH3_64bits_update(state, p, n);
}

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#else
typedef int kvf_checksum_no_avx2; /* a file with nothing in it is no C */
#endif
