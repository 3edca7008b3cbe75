/* SPDX-License-Identifier: Apache-2.0 */
/*
 * XXH3-64 by AVX2: half the time of what libxxhash's build for all of x86-64 needs. The state is libxxhash's own.
 * Only to be called where kvf_checksum_has_avx2() says so.
 */
#ifndef KVF_BASE_CHECKSUM_AVX2_H
#define KVF_BASE_CHECKSUM_AVX2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define KVF_CHECKSUM_AVX2 1

static inline bool kvf_checksum_has_avx2(void)
{
	return __builtin_cpu_supports("avx2");
}

uint64_t kvf_checksum_avx2(const void *p, size_t n);
void kvf_checksum_add_avx2(void *state, const void *p, size_t n);
#endif

#endif
