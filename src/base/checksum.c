/* SPDX-License-Identifier: Apache-2.0 */
/* XXH3-64 by libxxhash. See checksum.h. */
#include "base/checksum.h"

/* The streaming state's size is needed to place it in counted memory; it is frozen since xxHash 0.8.0. */
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

#include "base/checksum_avx2.h"
#include "base/mem.h"

#define LONG 256u /* bytes from which on it matters how */

struct kvf_checksum {
	XXH3_state_t state; /* asks for 64-byte alignment, which kvf_mem_alloc() gives to anything of its size */
};

uint64_t kvf_checksum(const void *p, size_t n)
{
#ifdef KVF_CHECKSUM_AVX2
	if (n >= LONG && kvf_checksum_has_avx2())
		return kvf_checksum_avx2(p, n);
#endif
	return XXH3_64bits(p, n);
}

struct kvf_checksum *kvf_checksum_new(struct kvf_mem *mem)
{
	struct kvf_checksum *sum = kvf_mem_zalloc(mem, sizeof(*sum));

	if (sum)
		kvf_checksum_begin(sum);
	return sum;
}

void kvf_checksum_free(struct kvf_mem *mem, struct kvf_checksum *sum)
{
	kvf_mem_free(mem, sum, sizeof(*sum));
}

void kvf_checksum_begin(struct kvf_checksum *sum)
{
	(void)XXH3_64bits_reset(&sum->state);
}

void kvf_checksum_add(struct kvf_checksum *sum, const void *p, size_t n)
{
	if (!n)
		return;
#ifdef KVF_CHECKSUM_AVX2
	if (kvf_checksum_has_avx2()) {
		kvf_checksum_add_avx2(&sum->state, p, n);
		return;
	}
#endif
	(void)XXH3_64bits_update(&sum->state, p, n);
}

uint64_t kvf_checksum_end(const struct kvf_checksum *sum)
{
	return XXH3_64bits_digest(&sum->state);
}
