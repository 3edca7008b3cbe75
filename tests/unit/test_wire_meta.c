/* SPDX-License-Identifier: Apache-2.0 */
/* RemoteMetadata in and out, its checks, and the tables of element types and formats. */
#include <string.h>

#include "base/bytes.h"
#include "tests/harness.h"
#include "token/wire_meta.h"

/* Llama-3.1-8B in bfloat16, one rank, 256 tokens: 33554432, 1, 3, 2, 32, 256, 1024. */
static const uint8_t llama_bytes[28] = {
	0, 0, 0, 2, 1, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 32, 0, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0};

static struct kvf_wire_meta llama(void)
{
	struct kvf_wire_meta m = {.length = 33554432,
		.format = KVF_WIRE_KV_2LTD,
		.n_groups = 1,
		.groups = {{KVF_WIRE_BFLOAT16, {2, 32, 256, 1024}}}};

	return m;
}

static void test_example(void)
{
	struct kvf_wire_meta m = llama();
	struct kvf_wire_meta back;
	uint8_t buf[KVF_WIRE_META_MAX];

	CU_ASSERT_EQUAL(kvf_wire_meta_encode(&m, buf, sizeof(buf), NULL), 28);
	CU_ASSERT_EQUAL(memcmp(buf, llama_bytes, 28), 0);
	CU_ASSERT_EQUAL_FATAL(kvf_wire_meta_decode(llama_bytes, 28, NULL, &back), KVF_OK);
	CU_ASSERT_EQUAL(back.length, 33554432);
	CU_ASSERT_EQUAL(back.format, KVF_WIRE_KV_2LTD);
	CU_ASSERT_EQUAL(back.n_groups, 1);
	CU_ASSERT_EQUAL(back.groups[0].dtype, KVF_WIRE_BFLOAT16);
	CU_ASSERT_EQUAL(memcmp(back.groups[0].dims, m.groups[0].dims, sizeof(m.groups[0].dims)), 0);
}

/* Every count of groups, format, dtype with a number and rank of shape survives the way there and
 * back. */
static void test_round_trip(void)
{
	struct kvf_wire_meta back;
	uint8_t buf[KVF_WIRE_META_MAX];

	for (uint32_t groups = 1; groups <= KVF_WIRE_GROUPS_MAX; groups++) {
		struct kvf_wire_meta m = {
			.n_groups = groups, .format = (enum kvf_wire_format)(groups % 9)};

		for (uint32_t i = 0; i < groups; i++) {
			uint64_t bytes;
			int32_t code;
			unsigned rank = 1 + i % 4;

			m.groups[i].dtype = (enum kvf_wire_dtype)(1 + (i + groups) % 14);
			if (kvf_wire_dtype_code(m.groups[i].dtype, &code) != KVF_OK)
				m.groups[i].dtype = KVF_WIRE_FLOAT;
			bytes = kvf_wire_dtype_size(m.groups[i].dtype);
			for (unsigned d = 0; d < rank; d++) {
				m.groups[i].dims[d] = 1 + (i * 7 + d) % 13;
				bytes *= m.groups[i].dims[d];
			}
			m.length += bytes;
		}
		CU_ASSERT_EQUAL_FATAL(kvf_wire_meta_encode(&m, buf, sizeof(buf), NULL),
			(int)KVF_WIRE_META_BYTES(groups));
		memset(&back, 0xa5, sizeof(back));
		CU_ASSERT_EQUAL_FATAL(
			kvf_wire_meta_decode(buf, KVF_WIRE_META_BYTES(groups), NULL, &back),
			KVF_OK);
		CU_ASSERT_EQUAL(memcmp(&back, &m, sizeof(m)), 0);
	}
}

static void test_truncation(void)
{
	struct kvf_wire_meta m = llama();
	struct kvf_wire_meta back;
	uint8_t buf[KVF_WIRE_META_MAX + 1] = {0};

	m.n_groups = 2;
	m.groups[1] = m.groups[0];
	m.length *= 2;
	CU_ASSERT_EQUAL_FATAL(kvf_wire_meta_encode(&m, buf, sizeof(buf), NULL), 48);
	memset(&back, 0xa5, sizeof(back));
	for (size_t n = 0; n <= sizeof(buf); n++) {
		if (n != 48)
			CU_ASSERT_EQUAL(kvf_wire_meta_decode(buf, n, NULL, &back), KVF_ECORRUPT);
	}
	CU_ASSERT_EQUAL(back.n_groups, 0xa5a5a5a5);
	for (size_t cap = 0; cap < 48; cap++)
		CU_ASSERT_EQUAL(kvf_wire_meta_encode(&m, buf, cap, NULL), KVF_ERANGE);
}

static void expect_corrupt(unsigned word, uint32_t value, const char *says)
{
	struct kvf_wire_meta back;
	struct kvf_report report;
	uint8_t buf[28];
	char text[256];

	memcpy(buf, llama_bytes, sizeof(buf));
	kvf_store_le32(buf + 4 * word, value);
	kvf_report_init(&report, text, sizeof(text));
	CU_ASSERT_EQUAL(kvf_wire_meta_decode(buf, sizeof(buf), &report, &back), KVF_ECORRUPT);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, says));
	CU_ASSERT_EQUAL(report.errors, 1);
}

static void test_decode_checks(void)
{
	expect_corrupt(0, 33554431, "length");
	expect_corrupt(0, 0, "length");
	expect_corrupt(0, 0x80000000, "below 0");
	expect_corrupt(1, 9, "format 9");
	expect_corrupt(1, UINT32_MAX, "format -1");
	expect_corrupt(2, 9, "dtype 9");
	expect_corrupt(2, UINT32_MAX, "dtype -1");
	expect_corrupt(2, 0, "no dtype");
	expect_corrupt(2, 4, "length");
	expect_corrupt(3, 0, "after a dimension of 0");
	expect_corrupt(5, 0, "after a dimension of 0");
	expect_corrupt(6, 0, "length");
	expect_corrupt(3, UINT32_MAX, "d0 is -1");
	expect_corrupt(4, INT32_MAX, "at least");
}

/* Products and sums that wrap 64 bits must not come out right by chance. */
static void test_no_wrap(void)
{
	struct kvf_wire_meta m = {.length = 0, .format = KVF_WIRE_KV_2LTD, .n_groups = 32};
	struct kvf_wire_meta back;
	uint8_t buf[KVF_WIRE_META_MAX];

	kvf_store_le32(buf, 0);
	kvf_store_le32(buf + 4, 1);
	for (unsigned i = 0; i < 32; i++) {
		kvf_store_le32(buf + KVF_WIRE_META_BYTES(i), 5);
		for (unsigned d = 0; d < 4; d++) {
			kvf_store_le32(buf + KVF_WIRE_META_BYTES(i) + 4 + 4 * d, 1u << 30);
			m.groups[i].dims[d] = 1u << 30;
		}
		m.groups[i].dtype = KVF_WIRE_DOUBLE;
	}
	CU_ASSERT_EQUAL(kvf_wire_meta_decode(buf, sizeof(buf), NULL, &back), KVF_ECORRUPT);
	CU_ASSERT_EQUAL(kvf_wire_meta_encode(&m, buf, sizeof(buf), NULL), KVF_EINVAL);
}

static void test_half_of_old(void)
{
	struct kvf_wire_meta back;
	uint8_t buf[28];

	memcpy(buf, llama_bytes, sizeof(buf));
	kvf_store_le32(buf + 8, 1);
	CU_ASSERT_EQUAL_FATAL(kvf_wire_meta_decode(buf, sizeof(buf), NULL, &back), KVF_OK);
	CU_ASSERT_EQUAL(back.groups[0].dtype, KVF_WIRE_HALF);
	CU_ASSERT_EQUAL_FATAL(kvf_wire_meta_encode(&back, buf, sizeof(buf), NULL), 28);
	CU_ASSERT_EQUAL(kvf_load_le32(buf + 8), 2);
}

static void test_binary(void)
{
	struct kvf_wire_meta m = {.length = 12345,
		.format = KVF_WIRE_BINARY_BUFFER,
		.n_groups = 1,
		.groups = {{KVF_WIRE_DTYPE_NONE, {12345, 0, 0, 0}}}};
	struct kvf_wire_meta back;
	uint8_t buf[28];

	CU_ASSERT_EQUAL(kvf_wire_meta_encode(&m, buf, sizeof(buf), NULL), 28);
	CU_ASSERT_EQUAL(kvf_wire_meta_decode(buf, sizeof(buf), NULL, &back), KVF_OK);
	CU_ASSERT_EQUAL(back.groups[0].dims[0], 12345);
	kvf_store_le32(buf + 4, KVF_WIRE_KV_2LTD);
	CU_ASSERT_EQUAL(kvf_wire_meta_decode(buf, sizeof(buf), NULL, &back), KVF_ECORRUPT);
}

static void test_encode_checks(void)
{
	struct kvf_wire_meta m = llama();
	uint8_t buf[KVF_WIRE_META_MAX];

	m.n_groups = 0;
	CU_ASSERT_EQUAL(kvf_wire_meta_encode(&m, buf, sizeof(buf), NULL), KVF_EINVAL);
	m.n_groups = KVF_WIRE_GROUPS_MAX + 1;
	CU_ASSERT_EQUAL(kvf_wire_meta_encode(&m, buf, sizeof(buf), NULL), KVF_EINVAL);
	m = llama();
	m.length = (uint64_t)INT32_MAX + 1;
	CU_ASSERT_EQUAL(kvf_wire_meta_encode(&m, buf, sizeof(buf), NULL), KVF_ERANGE);
	m = llama();
	m.length--;
	CU_ASSERT_EQUAL(kvf_wire_meta_encode(&m, buf, sizeof(buf), NULL), KVF_EINVAL);
	m = llama();
	m.groups[0].dtype = KVF_WIRE_INT16;
	CU_ASSERT_EQUAL(kvf_wire_meta_encode(&m, buf, sizeof(buf), NULL), KVF_ENOTSUP);
	m = llama();
	m.format = (enum kvf_wire_format)9;
	CU_ASSERT_EQUAL(kvf_wire_meta_encode(&m, buf, sizeof(buf), NULL), KVF_EINVAL);
	m = llama();
	m.format = KVF_WIRE_BINARY;
	m.groups[0].dims[0] = UINT32_MAX;
	CU_ASSERT_EQUAL(kvf_wire_meta_encode(&m, buf, sizeof(buf), NULL), KVF_ERANGE);
}

static void test_dtypes(void)
{
	static const struct {
		const char *name;
		const char *torch;
		int32_t code; /* -1: none */
		unsigned size;
	} want[] = {
		{"half", "float16", 2, 2},
		{"bfloat16", "bfloat16", 3, 2},
		{"float", "float32", 4, 4},
		{"double", "float64", 5, 8},
		{"int8", "int8", -1, 1},
		{"uint8", "uint8", 6, 1},
		{"int16", "int16", -1, 2},
		{"int32", "int32", -1, 4},
		{"int64", "int64", -1, 8},
		{"bool", "bool", -1, 1},
		{"fp8_e4m3fn", "float8_e4m3fn", 7, 1},
		{"fp8_e4m3fnuz", "float8_e4m3fnuz", -1, 1},
		{"fp8_e5m2", "float8_e5m2", 8, 1},
		{"fp8_e5m2fnuz", "float8_e5m2fnuz", -1, 1},
	};
	enum kvf_wire_dtype dtype, again;
	int32_t code;

	CU_ASSERT_EQUAL(KVF_ARRAY_LEN(want), KVF_WIRE_DTYPES - 1);
	for (size_t i = 0; i < KVF_ARRAY_LEN(want); i++) {
		CU_ASSERT_EQUAL_FATAL(kvf_wire_dtype_parse(want[i].name, &dtype), KVF_OK);
		CU_ASSERT_EQUAL_FATAL(kvf_wire_dtype_parse(want[i].torch, &again), KVF_OK);
		CU_ASSERT_EQUAL(dtype, again);
		CU_ASSERT_STRING_EQUAL(kvf_wire_dtype_name(dtype), want[i].name);
		CU_ASSERT_EQUAL(kvf_wire_dtype_size(dtype), want[i].size);
		if (want[i].code < 0) {
			CU_ASSERT_EQUAL(kvf_wire_dtype_code(dtype, &code), KVF_ENOTSUP);
			continue;
		}
		CU_ASSERT_EQUAL(kvf_wire_dtype_code(dtype, &code), KVF_OK);
		CU_ASSERT_EQUAL(code, want[i].code);
		CU_ASSERT_EQUAL(kvf_wire_dtype_from_code(code, &again), KVF_OK);
		CU_ASSERT_EQUAL(again, dtype);
	}
	CU_ASSERT_EQUAL(kvf_wire_dtype_parse("none", &dtype), KVF_EINVAL);
	CU_ASSERT_EQUAL(kvf_wire_dtype_parse("", &dtype), KVF_EINVAL);
	CU_ASSERT_EQUAL(kvf_wire_dtype_from_code(0, &dtype), KVF_OK);
	CU_ASSERT_EQUAL(dtype, KVF_WIRE_DTYPE_NONE);
	CU_ASSERT_EQUAL(kvf_wire_dtype_from_code(-1, &dtype), KVF_ECORRUPT);
	CU_ASSERT_STRING_EQUAL(kvf_wire_dtype_name((enum kvf_wire_dtype)99), "unknown");
	CU_ASSERT_EQUAL(kvf_wire_dtype_size((enum kvf_wire_dtype)99), 0);
}

static void test_formats(void)
{
	CU_ASSERT_STRING_EQUAL(kvf_wire_format_name(KVF_WIRE_KV_2LTD), "KV_2LTD");
	CU_ASSERT_STRING_EQUAL(kvf_wire_format_name(KVF_WIRE_KV_MLA), "KV_MLA_FMT");
	CU_ASSERT_STRING_EQUAL(kvf_wire_format_name(KVF_WIRE_HS_TD), "HS_TD");
	CU_ASSERT_STRING_EQUAL(kvf_wire_format_name((enum kvf_wire_format)9), "unknown");
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"example", test_example},
		{"round_trip", test_round_trip},
		{"truncation", test_truncation},
		{"decode_checks", test_decode_checks},
		{"no_wrap", test_no_wrap},
		{"half_of_old", test_half_of_old},
		{"binary", test_binary},
		{"encode_checks", test_encode_checks},
		{"dtypes", test_dtypes},
		{"formats", test_formats},
	};

	return kvf_test_main("wire_meta", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
