/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What LMCache's digests run over: the Python tuple (prefix, (token, ...), third) and a str, as
 * canonical CBOR and as CPython's pickler writes them in protocol 5. Byte for byte, streamed into a
 * digest.
 */
#ifndef KVF_TOKEN_WIRE_ENCODE_H
#define KVF_TOKEN_WIRE_ENCODE_H

#include <stddef.h>
#include <stdint.h>

#include "token/wire_digest.h"

enum kvf_wire_third { KVF_WIRE_THIRD_EMPTY, KVF_WIRE_THIRD_NONE }; /* () or None */

/* `prefix` is KVF_WIRE_UNSIGNED or KVF_WIRE_BYTES; n > 0. */
void kvf_wire_cbor_chunk(struct kvf_wire_digest *d, const struct kvf_wire_hash *prefix,
	const uint32_t *tokens, size_t n, enum kvf_wire_third third);
void kvf_wire_pickle_chunk(struct kvf_wire_digest *d, const struct kvf_wire_hash *prefix,
	const uint32_t *tokens, size_t n, enum kvf_wire_third third);

/* A str of at most 255 bytes. */
void kvf_wire_cbor_text(struct kvf_wire_digest *d, const char *text, size_t n);
void kvf_wire_pickle_text(struct kvf_wire_digest *d, const char *text, size_t n);

#endif
