/* SPDX-License-Identifier: Apache-2.0 */
/* The three digests of LMCache's names behind one staging buffer. */
#include "token/wire_digest.h"

#include <string.h>

static void feed(struct kvf_wire_digest *d, const void *data, size_t n)
{
	switch (d->kind) {
	case KVF_WIRE_DIGEST_SHA256:
		SHA256_Update(&d->u.sha256, data, n);
		break;
	case KVF_WIRE_DIGEST_XXH3:
		XXH3_128bits_update(&d->u.xxh3, data, n);
		break;
	case KVF_WIRE_DIGEST_BLAKE3:
		kvf_blake3_update(&d->u.blake3, data, n);
		break;
	}
}

void kvf_wire_digest_init(struct kvf_wire_digest *d, enum kvf_wire_digest_kind kind)
{
	d->kind = kind;
	d->staged = 0;
	switch (kind) {
	case KVF_WIRE_DIGEST_SHA256:
		SHA256_Init(&d->u.sha256);
		break;
	case KVF_WIRE_DIGEST_XXH3:
		XXH3_INITSTATE(&d->u.xxh3);
		XXH3_128bits_reset(&d->u.xxh3);
		break;
	case KVF_WIRE_DIGEST_BLAKE3:
		kvf_blake3_init(&d->u.blake3);
		break;
	}
}

void kvf_wire_digest_flush(struct kvf_wire_digest *d)
{
	feed(d, d->stage, d->staged);
	d->staged = 0;
}

void kvf_wire_digest_put(struct kvf_wire_digest *d, const void *data, size_t n)
{
	if (n > KVF_WIRE_DIGEST_STAGE - d->staged)
		kvf_wire_digest_flush(d);
	if (n > KVF_WIRE_DIGEST_STAGE) {
		feed(d, data, n);
		return;
	}
	memcpy(d->stage + d->staged, data, n);
	d->staged += n;
}

static void final_xxh3(struct kvf_wire_digest *d, struct kvf_wire_hash *out)
{
	XXH128_canonical_t canonical;

	XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(&d->u.xxh3));
	memcpy(out->bytes, canonical.digest, sizeof(canonical.digest));
	out->size = sizeof(canonical.digest);
}

void kvf_wire_digest_final(struct kvf_wire_digest *d, struct kvf_wire_hash *out)
{
	kvf_wire_digest_flush(d);
	memset(out, 0, sizeof(*out));
	out->kind = KVF_WIRE_BYTES;
	switch (d->kind) {
	case KVF_WIRE_DIGEST_SHA256:
		SHA256_Final(out->bytes, &d->u.sha256);
		out->size = SHA256_DIGEST_LENGTH;
		break;
	case KVF_WIRE_DIGEST_XXH3:
		final_xxh3(d, out);
		break;
	case KVF_WIRE_DIGEST_BLAKE3:
		kvf_blake3_final(&d->u.blake3, out->bytes);
		out->size = KVF_BLAKE3_SIZE;
		break;
	}
}
