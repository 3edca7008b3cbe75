/* SPDX-License-Identifier: Apache-2.0 */
/* Little- and big-endian integers at any address. The only place that knows the machine's byte order. */
#ifndef KVF_BASE_BYTES_H
#define KVF_BASE_BYTES_H

#include <stdint.h>
#include <string.h>

static inline uint32_t kvf_load_le32(const void *p)
{
	const uint8_t *b = p;

	return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static inline uint64_t kvf_load_le64(const void *p)
{
	const uint8_t *b = p;

	return (uint64_t)kvf_load_le32(b) | (uint64_t)kvf_load_le32(b + 4) << 32;
}

static inline void kvf_store_le32(void *p, uint32_t v)
{
	uint8_t *b = p;

	b[0] = (uint8_t)v;
	b[1] = (uint8_t)(v >> 8);
	b[2] = (uint8_t)(v >> 16);
	b[3] = (uint8_t)(v >> 24);
}

static inline void kvf_store_le64(void *p, uint64_t v)
{
	kvf_store_le32(p, (uint32_t)v);
	kvf_store_le32((uint8_t *)p + 4, (uint32_t)(v >> 32));
}

/* 1: an array of u32 in memory is what kvf_store_le32() of each would have written. */
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define KVF_NATIVE_LE 1
#else
#define KVF_NATIVE_LE 0
#endif

/* One store, where gcc would make four of the portable form. */
static inline void kvf_store_be32(void *p, uint32_t v)
{
	if (KVF_NATIVE_LE)
		v = __builtin_bswap32(v);
	memcpy(p, &v, sizeof(v));
}

/* Native order, any alignment: for hashing keys that are random already. */
static inline uint64_t kvf_load_u64(const void *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint32_t kvf_load_u32(const void *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

#endif
