/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One incremental digest, whichever of the three it is: SHA-256, XXH3-128 or BLAKE3.
 *
 * Encoders write a few bytes at a time, so input is staged in a buffer first. Lives on the caller's
 * stack.
 */
#ifndef KVF_TOKEN_WIRE_DIGEST_H
#define KVF_TOKEN_WIRE_DIGEST_H

/* The low-level SHA-256 is deprecated since OpenSSL 3.0 in favour of contexts that need malloc: not
 * in a hot path. */
#ifndef OPENSSL_SUPPRESS_DEPRECATED
#define OPENSSL_SUPPRESS_DEPRECATED
#endif
#include <openssl/sha.h>

/* Inlined, so that the size of the state is this build's and not that of whatever library is loaded
 * later. */
#ifndef XXH_INLINE_ALL
#define XXH_INLINE_ALL
#endif
#include <xxhash.h>

#include "token/blake3.h"
#include "token/wire_hash.h"

#define KVF_WIRE_DIGEST_STAGE 2048
#define KVF_WIRE_DIGEST_ROOM 16 /* the most that kvf_wire_digest_room() hands out */

enum kvf_wire_digest_kind { KVF_WIRE_DIGEST_SHA256, KVF_WIRE_DIGEST_XXH3, KVF_WIRE_DIGEST_BLAKE3 };

struct kvf_wire_digest {
	enum kvf_wire_digest_kind kind;
	size_t staged;
	union {
		SHA256_CTX sha256;
		XXH3_state_t xxh3;
		struct kvf_blake3 blake3;
	} u;
	uint8_t stage[KVF_WIRE_DIGEST_STAGE];
};

void kvf_wire_digest_init(struct kvf_wire_digest *d, enum kvf_wire_digest_kind kind);
void kvf_wire_digest_flush(struct kvf_wire_digest *d);
void kvf_wire_digest_put(struct kvf_wire_digest *d, const void *data, size_t n);
/* Ends the digest; `out` becomes KVF_WIRE_BYTES. */
void kvf_wire_digest_final(struct kvf_wire_digest *d, struct kvf_wire_hash *out);

/* Room for KVF_WIRE_DIGEST_ROOM bytes; what was written of them is told by kvf_wire_digest_took().
 */
static inline uint8_t *kvf_wire_digest_room(struct kvf_wire_digest *d)
{
	if (kvf_unlikely(d->staged > KVF_WIRE_DIGEST_STAGE - KVF_WIRE_DIGEST_ROOM))
		kvf_wire_digest_flush(d);
	return d->stage + d->staged;
}

static inline void kvf_wire_digest_took(struct kvf_wire_digest *d, size_t n)
{
	d->staged += n;
}

#endif
