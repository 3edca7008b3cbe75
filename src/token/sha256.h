/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SHA-256 without memory of its own: the state lives where the caller puts it.
 *
 * Uses OpenSSL's low-level functions. They are deprecated since 3.0 in favour of contexts that need
 * malloc, but they are the same code (SHA-NI and all) and cost less on a chunk of 256 tokens.
 * sha256.c alone knows about it.
 */
#ifndef KVF_TOKEN_SHA256_H
#define KVF_TOKEN_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define KVF_SHA256_SIZE 32

struct kvf_sha256 {
	uint64_t opaque[14]; /* a SHA256_CTX */
};

void kvf_sha256_init(struct kvf_sha256 *s);
void kvf_sha256_update(struct kvf_sha256 *s, const void *data, size_t n);
/* `s` is used up. */
void kvf_sha256_final(struct kvf_sha256 *s, uint8_t out[KVF_SHA256_SIZE]);

/* SHA-256(head || data) in one go: what a plain chunk key is. `out` may be `head`. */
void kvf_sha256_join(uint8_t out[KVF_SHA256_SIZE], const uint8_t head[KVF_SHA256_SIZE],
	const void *data, size_t n);

#endif
