/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of LMCache's element types and memory formats, and RemoteMetadata in and out. */
#include "token/wire_meta.h"

#include <string.h>

#include "base/bytes.h"
#include "base/report.h"

#define NO_CODE (-1)

struct dtype {
	const char *name;
	const char *torch; /* PyTorch's name where it differs, else NULL */
	int8_t code;
	uint8_t size;
};

static const struct dtype dtypes[KVF_WIRE_DTYPES] = {
	[KVF_WIRE_DTYPE_NONE] = {"none", NULL, 0, 0},
	[KVF_WIRE_HALF] = {"half", "float16", 2, 2},
	[KVF_WIRE_BFLOAT16] = {"bfloat16", NULL, 3, 2},
	[KVF_WIRE_FLOAT] = {"float", "float32", 4, 4},
	[KVF_WIRE_DOUBLE] = {"double", "float64", 5, 8},
	[KVF_WIRE_INT8] = {"int8", NULL, NO_CODE, 1},
	[KVF_WIRE_UINT8] = {"uint8", NULL, 6, 1},
	[KVF_WIRE_INT16] = {"int16", NULL, NO_CODE, 2},
	[KVF_WIRE_INT32] = {"int32", NULL, NO_CODE, 4},
	[KVF_WIRE_INT64] = {"int64", NULL, NO_CODE, 8},
	[KVF_WIRE_BOOL] = {"bool", NULL, NO_CODE, 1},
	[KVF_WIRE_FP8_E4M3FN] = {"fp8_e4m3fn", "float8_e4m3fn", 7, 1},
	[KVF_WIRE_FP8_E4M3FNUZ] = {"fp8_e4m3fnuz", "float8_e4m3fnuz", NO_CODE, 1},
	[KVF_WIRE_FP8_E5M2] = {"fp8_e5m2", "float8_e5m2", 8, 1},
	[KVF_WIRE_FP8_E5M2FNUZ] = {"fp8_e5m2fnuz", "float8_e5m2fnuz", NO_CODE, 1},
};

#define HALF_OLD_CODE 1

static const char *const format_names[KVF_WIRE_FORMATS] = {"UNDEFINED", "KV_2LTD", "KV_T2D",
	"KV_2TD", "BINARY", "BINARY_BUFFER", "KV_MLA_FMT", "EC_TD", "HS_TD"};

const char *kvf_wire_dtype_name(enum kvf_wire_dtype dtype)
{
	return (unsigned)dtype < KVF_WIRE_DTYPES ? dtypes[dtype].name : "unknown";
}

const char *kvf_wire_format_name(enum kvf_wire_format format)
{
	return (unsigned)format < KVF_WIRE_FORMATS ? format_names[format] : "unknown";
}

int kvf_wire_dtype_parse(const char *name, enum kvf_wire_dtype *out)
{
	for (unsigned i = KVF_WIRE_HALF; i < KVF_WIRE_DTYPES; i++) {
		if (strcmp(name, dtypes[i].name) == 0 ||
			(dtypes[i].torch != NULL && strcmp(name, dtypes[i].torch) == 0)) {
			*out = (enum kvf_wire_dtype)i;
			return KVF_OK;
		}
	}
	return KVF_EINVAL;
}

unsigned kvf_wire_dtype_size(enum kvf_wire_dtype dtype)
{
	return (unsigned)dtype < KVF_WIRE_DTYPES ? dtypes[dtype].size : 0;
}

int kvf_wire_dtype_code(enum kvf_wire_dtype dtype, int32_t *out)
{
	if ((unsigned)dtype >= KVF_WIRE_DTYPES || dtypes[dtype].code == NO_CODE)
		return KVF_ENOTSUP;
	*out = dtypes[dtype].code;
	return KVF_OK;
}

int kvf_wire_dtype_from_code(int32_t code, enum kvf_wire_dtype *out)
{
	if (code == HALF_OLD_CODE) {
		*out = KVF_WIRE_HALF;
		return KVF_OK;
	}
	for (unsigned i = 0; i < KVF_WIRE_DTYPES; i++) {
		if (dtypes[i].code == code && code != NO_CODE) {
			*out = (enum kvf_wire_dtype)i;
			return KVF_OK;
		}
	}
	return KVF_ECORRUPT;
}

static bool is_binary(enum kvf_wire_format format)
{
	return format == KVF_WIRE_BINARY || format == KVF_WIRE_BINARY_BUFFER;
}

#define TOO_LONG ((uint64_t)INT32_MAX + 1)

/* Bytes of one group, TOO_LONG for all that the wire's length cannot tell: sums of those cannot
 * wrap. */
static uint64_t group_bytes(const struct kvf_wire_group *g)
{
	uint64_t bytes = kvf_wire_dtype_size(g->dtype);

	for (unsigned i = 0; i < KVF_WIRE_DIMS && g->dims[i] != 0; i++) {
		bytes *= g->dims[i];
		if (bytes > INT32_MAX)
			return TOO_LONG;
	}
	return bytes;
}

static int check_group(
	const struct kvf_wire_meta *meta, unsigned index, int bad, struct kvf_report *report)
{
	const struct kvf_wire_group *g = &meta->groups[index];
	bool ended = false;

	if (is_binary(meta->format))
		return KVF_OK;
	if (g->dtype == KVF_WIRE_DTYPE_NONE) {
		kvf_report_add(report, KVF_ERROR,
			"remote metadata: group %u of format %s has no dtype", index,
			kvf_wire_format_name(meta->format));
		return bad;
	}
	for (unsigned i = 0; i < KVF_WIRE_DIMS; i++) {
		if (g->dims[i] != 0 && ended) {
			kvf_report_add(report, KVF_ERROR,
				"remote metadata: group %u: d%u is %u after a dimension of 0",
				index, i, g->dims[i]);
			return bad;
		}
		ended = ended || g->dims[i] == 0;
	}
	if (g->dims[0] == 0) {
		kvf_report_add(
			report, KVF_ERROR, "remote metadata: group %u has no dimensions", index);
		return bad;
	}
	return KVF_OK;
}

static int check_sum(const struct kvf_wire_meta *meta, int bad, struct kvf_report *report)
{
	uint64_t sum = 0;

	if (is_binary(meta->format))
		return KVF_OK;
	for (unsigned i = 0; i < meta->n_groups; i++)
		sum += group_bytes(&meta->groups[i]);
	if (sum == meta->length)
		return KVF_OK;
	kvf_report_add(report, KVF_ERROR,
		"remote metadata: length is %llu bytes, the shapes make %s%llu",
		(unsigned long long)meta->length, sum > INT32_MAX ? "at least " : "",
		(unsigned long long)sum);
	return bad;
}

static int check_meta(const struct kvf_wire_meta *meta, int bad, struct kvf_report *report)
{
	int rc;

	if ((unsigned)meta->format >= KVF_WIRE_FORMATS) {
		kvf_report_add(report, KVF_ERROR,
			"remote metadata: format %d is not one of 0 to %d", (int)meta->format,
			KVF_WIRE_FORMATS - 1);
		return bad;
	}
	for (unsigned i = 0; i < meta->n_groups; i++) {
		rc = check_group(meta, i, bad, report);
		if (rc != KVF_OK)
			return rc;
	}
	return check_sum(meta, bad, report);
}

static int encode_group(
	const struct kvf_wire_group *g, unsigned index, uint8_t *p, struct kvf_report *report)
{
	int32_t code;

	if (kvf_wire_dtype_code(g->dtype, &code) != KVF_OK) {
		kvf_report_add(report, KVF_ERROR,
			"remote metadata: group %u: LMCache has no number for dtype %s", index,
			kvf_wire_dtype_name(g->dtype));
		return KVF_ENOTSUP;
	}
	kvf_store_le32(p, (uint32_t)code);
	for (unsigned i = 0; i < KVF_WIRE_DIMS; i++) {
		if (g->dims[i] > INT32_MAX) {
			kvf_report_add(report, KVF_ERROR,
				"remote metadata: group %u: d%u is %u, above 2147483647", index, i,
				g->dims[i]);
			return KVF_ERANGE;
		}
		kvf_store_le32(p + 4 + 4 * i, g->dims[i]);
	}
	return KVF_OK;
}

int kvf_wire_meta_encode(
	const struct kvf_wire_meta *meta, uint8_t *buf, size_t cap, struct kvf_report *report)
{
	int rc;

	if (meta->n_groups == 0 || meta->n_groups > KVF_WIRE_GROUPS_MAX) {
		kvf_report_add(report, KVF_ERROR, "remote metadata: %u groups are not 1 to %d",
			meta->n_groups, KVF_WIRE_GROUPS_MAX);
		return KVF_EINVAL;
	}
	if (meta->length > INT32_MAX) {
		kvf_report_add(report, KVF_ERROR,
			"remote metadata: length of %llu bytes is above 2147483647: LMCache's "
			"format "
			"cannot hold so big a chunk",
			(unsigned long long)meta->length);
		return KVF_ERANGE;
	}
	if (cap < KVF_WIRE_META_BYTES(meta->n_groups)) {
		kvf_report_add(report, KVF_ERROR, "remote metadata: room for %zu bytes, needs %zu",
			cap, KVF_WIRE_META_BYTES(meta->n_groups));
		return KVF_ERANGE;
	}
	rc = check_meta(meta, KVF_EINVAL, report);
	for (unsigned i = 0; rc == KVF_OK && i < meta->n_groups; i++)
		rc = encode_group(&meta->groups[i], i, buf + KVF_WIRE_META_BYTES(i), report);
	if (rc != KVF_OK)
		return rc;
	kvf_store_le32(buf, (uint32_t)meta->length);
	kvf_store_le32(buf + 4, (uint32_t)meta->format);
	return (int)KVF_WIRE_META_BYTES(meta->n_groups);
}

static int decode_group(
	const uint8_t *p, unsigned index, struct kvf_wire_group *g, struct kvf_report *report)
{
	int32_t code = (int32_t)kvf_load_le32(p);

	if (kvf_wire_dtype_from_code(code, &g->dtype) != KVF_OK) {
		kvf_report_add(report, KVF_ERROR,
			"remote metadata: group %u: dtype %d is not one of 0 to 8", index,
			(int)code);
		return KVF_ECORRUPT;
	}
	for (unsigned i = 0; i < KVF_WIRE_DIMS; i++) {
		g->dims[i] = kvf_load_le32(p + 4 + 4 * i);
		if (g->dims[i] > INT32_MAX) {
			kvf_report_add(report, KVF_ERROR,
				"remote metadata: group %u: d%u is %d, below 0", index, i,
				(int)g->dims[i]);
			return KVF_ECORRUPT;
		}
	}
	return KVF_OK;
}

int kvf_wire_meta_decode(
	const uint8_t *buf, size_t n, struct kvf_report *report, struct kvf_wire_meta *meta)
{
	struct kvf_wire_meta m = {0};
	int rc;

	if (n < KVF_WIRE_META_BYTES(1) || n > KVF_WIRE_META_MAX || (n - 8) % 20 != 0) {
		kvf_report_add(report, KVF_ERROR,
			"remote metadata: %zu bytes are not 8 + 20 for each of 1 to %d groups", n,
			KVF_WIRE_GROUPS_MAX);
		return KVF_ECORRUPT;
	}
	m.length = kvf_load_le32(buf);
	m.n_groups = (uint32_t)((n - 8) / 20);
	if (m.length > INT32_MAX) {
		kvf_report_add(report, KVF_ERROR, "remote metadata: length is %d, below 0",
			(int)kvf_load_le32(buf));
		return KVF_ECORRUPT;
	}
	if (kvf_load_le32(buf + 4) >= KVF_WIRE_FORMATS) {
		kvf_report_add(report, KVF_ERROR,
			"remote metadata: format %d is not one of 0 to %d",
			(int)kvf_load_le32(buf + 4), KVF_WIRE_FORMATS - 1);
		return KVF_ECORRUPT;
	}
	m.format = (enum kvf_wire_format)kvf_load_le32(buf + 4);
	for (unsigned i = 0; i < m.n_groups; i++) {
		rc = decode_group(buf + KVF_WIRE_META_BYTES(i), i, &m.groups[i], report);
		if (rc != KVF_OK)
			return rc;
	}
	rc = check_meta(&m, KVF_ECORRUPT, report);
	if (rc == KVF_OK)
		*meta = m;
	return rc;
}
