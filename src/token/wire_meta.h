/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LMCache's element types and its RemoteMetadata: the int32 array that tells a reader of a stored
 * chunk what it is.
 *
 *	length, format, { dtype, d0, d1, d2, d3 } for each KV group
 *
 * little-endian, missing dimensions being trailing zeros.
 */
#ifndef KVF_TOKEN_WIRE_META_H
#define KVF_TOKEN_WIRE_META_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "kvferry/kvf_status.h"

enum kvf_wire_dtype {
	KVF_WIRE_DTYPE_NONE = 0, /* of bytes without elements */
	KVF_WIRE_HALF = 1,
	KVF_WIRE_BFLOAT16 = 2,
	KVF_WIRE_FLOAT = 3,
	KVF_WIRE_DOUBLE = 4,
	KVF_WIRE_INT8 = 5,
	KVF_WIRE_UINT8 = 6,
	KVF_WIRE_INT16 = 7,
	KVF_WIRE_INT32 = 8,
	KVF_WIRE_INT64 = 9,
	KVF_WIRE_BOOL = 10,
	KVF_WIRE_FP8_E4M3FN = 11,
	KVF_WIRE_FP8_E4M3FNUZ = 12,
	KVF_WIRE_FP8_E5M2 = 13,
	KVF_WIRE_FP8_E5M2FNUZ = 14
};
#define KVF_WIRE_DTYPES 15

/* LMCache's name, as key strings carry it; "none" for KVF_WIRE_DTYPE_NONE, "unknown" outside the
 * enum. */
const char *kvf_wire_dtype_name(enum kvf_wire_dtype dtype);
/* By LMCache's name or PyTorch's (float16, float8_e4m3fn, ...). KVF_OK or KVF_EINVAL; "none" is not
 * taken. */
int kvf_wire_dtype_parse(const char *name, enum kvf_wire_dtype *out);
/* Bytes of an element; 0 for KVF_WIRE_DTYPE_NONE. */
unsigned kvf_wire_dtype_size(enum kvf_wire_dtype dtype);
/* Its number in RemoteMetadata and in lm:// headers. KVF_OK, or KVF_ENOTSUP for the types that
 * LMCache gave none. */
int kvf_wire_dtype_code(enum kvf_wire_dtype dtype, int32_t *out);
/* KVF_OK or KVF_ECORRUPT. Two numbers mean half: 2 is what writers use. */
int kvf_wire_dtype_from_code(int32_t code, enum kvf_wire_dtype *out);

/* LMCache's MemoryFormat; L layers, T tokens, D hidden. */
enum kvf_wire_format {
	KVF_WIRE_FMT_UNDEFINED = 0,
	KVF_WIRE_KV_2LTD = 1, /* a whole chunk: [2, L, T, D] */
	KVF_WIRE_KV_T2D = 2, /* one layer of one */
	KVF_WIRE_KV_2TD = 3,
	KVF_WIRE_BINARY = 4,
	KVF_WIRE_BINARY_BUFFER = 5,
	KVF_WIRE_KV_MLA = 6, /* [1, L, T, D] */
	KVF_WIRE_EC_TD = 7,
	KVF_WIRE_HS_TD = 8
};
#define KVF_WIRE_FORMATS 9

const char *kvf_wire_format_name(enum kvf_wire_format format);

#define KVF_WIRE_DIMS 4
#define KVF_WIRE_GROUPS_MAX 32
#define KVF_WIRE_META_BYTES(groups) ((size_t)4 * (2 + 5 * (size_t)(groups)))
#define KVF_WIRE_META_MAX KVF_WIRE_META_BYTES(KVF_WIRE_GROUPS_MAX)

struct kvf_wire_group {
	enum kvf_wire_dtype dtype;
	uint32_t dims[KVF_WIRE_DIMS]; /* 0 after the last; each at most INT32_MAX */
};

struct kvf_wire_meta {
	uint64_t length; /* bytes of the chunk; the wire has 31 bits for it */
	enum kvf_wire_format format;
	uint32_t n_groups; /* 1 to KVF_WIRE_GROUPS_MAX */
	struct kvf_wire_group groups[KVF_WIRE_GROUPS_MAX];
};

/*
 * Both ways, what has elements (every format but the two BINARY ones) must add up: length is the
 * sum over the groups of the product of dimensions times the size of an element. BINARY may have
 * any length, dtype none or any.
 *
 * Encode: returns the bytes written, KVF_WIRE_META_BYTES(n_groups), or KVF_EINVAL, KVF_ERANGE (a
 * number that int32 cannot hold, or `cap` too small), KVF_ENOTSUP (a dtype without a number).
 * Decode: exactly n bytes, one whole value. KVF_OK or KVF_ECORRUPT; `meta` is set only on success.
 */
int kvf_wire_meta_encode(
	const struct kvf_wire_meta *meta, uint8_t *buf, size_t cap, struct kvf_report *report);
int kvf_wire_meta_decode(
	const uint8_t *buf, size_t n, struct kvf_report *report, struct kvf_wire_meta *meta);

#endif
