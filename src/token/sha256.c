/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 by OpenSSL's low-level functions. See sha256.h. */
#ifndef OPENSSL_SUPPRESS_DEPRECATED
#define OPENSSL_SUPPRESS_DEPRECATED
#endif
#include <openssl/sha.h>

#include <string.h>

#include "base/bytes.h"
#include "base/compiler.h"
#include "token/sha256.h"

#define BLOCK ((size_t)SHA256_CBLOCK)
#define HEAD ((size_t)KVF_SHA256_SIZE)
#define PADDING ((size_t)9) /* its first byte and the length */

/*
 * Up to here a message is put together and padded on the stack and goes through in one call: that
 * copy costs less than the three calls of SHA256_Update() and _Final() it replaces. 512 tokens fit.
 */
#define MESSAGE (33 * BLOCK)

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

void kvf_sha256_join(uint8_t out[KVF_SHA256_SIZE], const uint8_t head[KVF_SHA256_SIZE],
	const void *data, size_t n)
{
	/* The most there may be, copied whole: a length the compiler knows. */
	static const uint8_t padding[BLOCK + PADDING - 1] = {0x80};
	uint8_t message[MESSAGE + sizeof(padding)];
	size_t at = HEAD + n, end;
	SHA256_CTX c;

	SHA256_Init(&c);
	if (kvf_unlikely(n > MESSAGE - HEAD - PADDING)) {
		SHA256_Update(&c, head, HEAD);
		SHA256_Update(&c, data, n);
		SHA256_Final(out, &c);
		return;
	}
	end = (size_t)kvf_align_up(at + PADDING, BLOCK);
	memcpy(message, head, HEAD);
	if (n)
		memcpy(message + HEAD, data, n);
	memcpy(message + at, padding, sizeof(padding));
	kvf_store_be32(message + end - 4, (uint32_t)at * 8);
	SHA256_Update(&c, message, end);
	for (size_t i = 0; i < 8; i++)
		kvf_store_be32(out + i * 4, c.h[i]);
}
