/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 by OpenSSL's low-level functions. See sha256.h. */
#ifndef OPENSSL_SUPPRESS_DEPRECATED
#define OPENSSL_SUPPRESS_DEPRECATED
#endif
#include <openssl/sha.h>

#include <string.h>

#include "token/sha256.h"

#define BLOCK ((size_t)SHA256_CBLOCK)
#define HEAD ((size_t)KVF_SHA256_SIZE)

_Static_assert(sizeof(struct kvf_sha256) >= sizeof(SHA256_CTX), "the state does not fit");
_Static_assert(_Alignof(struct kvf_sha256) >= _Alignof(SHA256_CTX), "the state is not aligned");

static SHA256_CTX *ctx(struct kvf_sha256 *s)
{
	return (SHA256_CTX *)(void *)s;
}

void kvf_sha256_init(struct kvf_sha256 *s)
{
	SHA256_Init(ctx(s));
}

void kvf_sha256_update(struct kvf_sha256 *s, const void *data, size_t n)
{
	SHA256_Update(ctx(s), data, n);
}

void kvf_sha256_final(struct kvf_sha256 *s, uint8_t out[KVF_SHA256_SIZE])
{
	SHA256_Final(out, ctx(s));
}

static void put_be(uint8_t *p, uint64_t v, unsigned int bytes)
{
	while (bytes > 0) {
		p[--bytes] = (uint8_t)v;
		v >>= 8;
	}
}

void kvf_sha256_join(uint8_t out[KVF_SHA256_SIZE], const uint8_t head[KVF_SHA256_SIZE],
	const void *data, size_t n)
{
	const uint8_t *p = data;
	uint64_t bits = ((uint64_t)n + HEAD) * 8;
	size_t left = n, whole;
	uint8_t block[2 * SHA256_CBLOCK];
	SHA256_CTX c;

	SHA256_Init(&c);
	/* Blocks are put together and padded here: OpenSSL never has to stage a byte of `data`. */
	memcpy(block, head, HEAD);
	if (left >= BLOCK - HEAD) {
		memcpy(block + HEAD, p, BLOCK - HEAD);
		SHA256_Update(&c, block, BLOCK);
		p += BLOCK - HEAD;
		left -= BLOCK - HEAD;
		whole = left & ~(BLOCK - 1);
		if (whole)
			SHA256_Update(&c, p, whole);
		p += whole;
		left -= whole;
		if (left)
			memcpy(block, p, left);
	} else {
		if (left)
			memcpy(block + HEAD, p, left);
		left += HEAD;
	}
	whole = left + 9 > BLOCK ? 2 * BLOCK : BLOCK;
	block[left] = 0x80;
	memset(block + left + 1, 0, whole - left - 9);
	put_be(block + whole - 8, bits, 8);
	SHA256_Update(&c, block, whole);
	for (unsigned int i = 0; i < 8; i++)
		put_be(out + (size_t)i * 4, c.h[i], 4);
}
