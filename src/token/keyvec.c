/* SPDX-License-Identifier: Apache-2.0 */
/* Shared, append-only arrays of keys. See keys.h. */
#include <string.h>

#include "base/compiler.h"
#include "token/keys.h"

static size_t vec_bytes(uint64_t cap)
{
	return sizeof(struct kvf_keyvec) + (size_t)cap * KVF_KEY_BYTES;
}

/* The most keys in the power of two of bytes that `want` keys take: allocations come in such
 * classes. */
static uint32_t round_cap(uint32_t want)
{
	uint64_t bytes = 512;

	while (bytes < vec_bytes(want))
		bytes *= 2;
	return (uint32_t)kvf_min_u64(
		(bytes - sizeof(struct kvf_keyvec)) / KVF_KEY_BYTES, UINT32_MAX);
}

struct kvf_keyvec *kvf_keyvec_new(struct kvf_mem *mem, uint32_t cap)
{
	struct kvf_keyvec *vec;

	cap = round_cap(cap);
	vec = kvf_mem_alloc(mem, vec_bytes(cap));
	if (!vec)
		return NULL;
	*vec = (struct kvf_keyvec){.refs = 1, .cap = cap};
	return vec;
}

void kvf_keyvec_ref(struct kvf_keyvec *vec)
{
	if (vec)
		vec->refs++;
}

void kvf_keyvec_unref(struct kvf_mem *mem, struct kvf_keyvec *vec)
{
	if (vec && --vec->refs == 0)
		kvf_mem_free(mem, vec, vec_bytes(vec->cap));
}

int kvf_keyvec_extend(struct kvf_mem *mem, struct kvf_keyvec **vec, uint32_t n, uint32_t more)
{
	struct kvf_keyvec *old = *vec;
	struct kvf_keyvec *copy;

	if (more > UINT32_MAX - n)
		return KVF_ENOMEM;
	/* Keys behind n are nobody's when there is nobody else, or when nobody ever wrote one. */
	if (n + more <= old->cap && (old->refs == 1 || old->written == n)) {
		old->written = n + more;
		return KVF_OK;
	}
	copy = kvf_keyvec_new(mem, n + more);
	if (!copy)
		return KVF_ENOMEM;
	if (n)
		memcpy(copy->key, old->key, (size_t)n * KVF_KEY_BYTES);
	copy->written = n + more;
	kvf_keyvec_unref(mem, old);
	*vec = copy;
	return KVF_OK;
}
