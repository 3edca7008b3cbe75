/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes that LMCache hashes: known encodings, and Python's hash() of known objects. */
#include <string.h>

#include "tests/harness.h"
#include "token/wire_encode.h"
#include "token/wire_pyhash.h"

/* Encoders write into a digest only, so bytes are compared by their SHA-256. */
static void expect_bytes(struct kvf_wire_digest *d, const void *bytes, size_t n)
{
	struct kvf_wire_digest want;
	struct kvf_wire_hash got_hash, want_hash;

	kvf_wire_digest_final(d, &got_hash);
	kvf_wire_digest_init(&want, KVF_WIRE_DIGEST_SHA256);
	kvf_wire_digest_put(&want, bytes, n);
	kvf_wire_digest_final(&want, &want_hash);
	CU_ASSERT_EQUAL(memcmp(got_hash.bytes, want_hash.bytes, 32), 0);
}

static const struct kvf_wire_hash zero = {.kind = KVF_WIRE_UNSIGNED};
static const uint32_t tokens[] = {1, 2, 3, 4};

static void test_cbor(void)
{
	static const uint8_t small[] = {0x83, 0x00, 0x84, 1, 2, 3, 4, 0x80};
	static const uint32_t widths[] = {23, 24, 255, 256, 65535, 65536, UINT32_MAX};
	static const uint8_t wide[] = {0x83, 0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0x87, 23, 0x18, 24, 0x18, 255, 0x19, 1, 0, 0x19, 0xff, 0xff, 0x1a, 0, 1, 0, 0, 0x1a,
		0xff, 0xff, 0xff, 0xff, 0xf6};
	static const struct kvf_wire_hash big = {.kind = KVF_WIRE_UNSIGNED, .number = UINT64_MAX};
	struct kvf_wire_digest d;

	kvf_wire_digest_init(&d, KVF_WIRE_DIGEST_SHA256);
	kvf_wire_cbor_chunk(&d, &zero, tokens, 4, KVF_WIRE_THIRD_EMPTY);
	expect_bytes(&d, small, sizeof(small));
	kvf_wire_digest_init(&d, KVF_WIRE_DIGEST_SHA256);
	kvf_wire_cbor_chunk(&d, &big, widths, KVF_ARRAY_LEN(widths), KVF_WIRE_THIRD_NONE);
	expect_bytes(&d, wide, sizeof(wide));
	kvf_wire_digest_init(&d, KVF_WIRE_DIGEST_SHA256);
	kvf_wire_cbor_text(&d, "0", 1);
	expect_bytes(&d, "\x61\x30", 2);
}

static void test_cbor_bytes_prefix(void)
{
	struct kvf_wire_hash prefix = {.kind = KVF_WIRE_BYTES, .size = 32};
	uint8_t want[3 + 32 + 3] = {0x83, 0x58, 0x20};
	struct kvf_wire_digest d;

	memset(prefix.bytes, 0xab, 32);
	memset(want + 3, 0xab, 32);
	want[35] = 0x81;
	want[36] = 1;
	want[37] = 0xf6;
	kvf_wire_digest_init(&d, KVF_WIRE_DIGEST_SHA256);
	kvf_wire_cbor_chunk(&d, &prefix, tokens, 1, KVF_WIRE_THIRD_NONE);
	expect_bytes(&d, want, sizeof(want));
}

static void test_pickle(void)
{
	static const uint8_t four[] = {0x80, 5, 0x95, 0x11, 0, 0, 0, 0, 0, 0, 0, 0x4b, 0, 0x28,
		0x4b, 1, 0x4b, 2, 0x4b, 3, 0x4b, 4, 0x74, 0x94, 0x29, 0x87, 0x94, 0x2e};
	static const uint8_t two[] = {0x80, 5, 0x95, 0x0c, 0, 0, 0, 0, 0, 0, 0, 0x4b, 0, 0x4b, 1,
		0x4b, 2, 0x86, 0x94, 0x4e, 0x87, 0x94, 0x2e};
	static const uint8_t text[] = {
		0x80, 5, 0x95, 5, 0, 0, 0, 0, 0, 0, 0, 0x8c, 1, 0x30, 0x94, 0x2e};
	struct kvf_wire_digest d;

	kvf_wire_digest_init(&d, KVF_WIRE_DIGEST_SHA256);
	kvf_wire_pickle_chunk(&d, &zero, tokens, 4, KVF_WIRE_THIRD_EMPTY);
	expect_bytes(&d, four, sizeof(four));
	kvf_wire_digest_init(&d, KVF_WIRE_DIGEST_SHA256);
	kvf_wire_pickle_chunk(&d, &zero, tokens, 2, KVF_WIRE_THIRD_NONE);
	expect_bytes(&d, two, sizeof(two));
	kvf_wire_digest_init(&d, KVF_WIRE_DIGEST_SHA256);
	kvf_wire_pickle_text(&d, "0", 1);
	expect_bytes(&d, text, sizeof(text));
}

/* Staging is not visible: pieces of any size give the same digest. */
static void test_staging(void)
{
	static uint8_t input[3 * KVF_WIRE_DIGEST_STAGE];
	struct kvf_wire_hash whole, parts;
	struct kvf_wire_digest d;

	for (size_t i = 0; i < sizeof(input); i++)
		input[i] = (uint8_t)(i * 7);
	for (int kind = KVF_WIRE_DIGEST_SHA256; kind <= KVF_WIRE_DIGEST_BLAKE3; kind++) {
		kvf_wire_digest_init(&d, (enum kvf_wire_digest_kind)kind);
		kvf_wire_digest_put(&d, input, sizeof(input));
		kvf_wire_digest_final(&d, &whole);
		for (size_t piece = 1; piece < sizeof(input); piece = piece * 3 + 1) {
			kvf_wire_digest_init(&d, (enum kvf_wire_digest_kind)kind);
			for (size_t at = 0; at < sizeof(input); at += piece)
				kvf_wire_digest_put(&d, input + at,
					sizeof(input) - at < piece ? sizeof(input) - at : piece);
			kvf_wire_digest_final(&d, &parts);
			CU_ASSERT_EQUAL(memcmp(&whole, &parts, sizeof(whole)), 0);
		}
	}
}

static void test_pyhash(void)
{
	CU_ASSERT_EQUAL(kvf_pyhash_text("0", 1, 0, 11), INT64_C(5313149338359954478));
	CU_ASSERT_EQUAL(kvf_pyhash_text("42", 2, 42, 12), INT64_C(866561823186450123));
	CU_ASSERT_EQUAL(kvf_pyhash_text("", 0, 42, 12), 0);
	CU_ASSERT_NOT_EQUAL(kvf_pyhash_text("0", 1, 0, 10), INT64_C(5313149338359954478));
	CU_ASSERT_EQUAL(kvf_pyhash_empty(), INT64_C(5740354900026072187));
	/* hash(-1) is hash(-2), and ints count modulo 2^61 - 1. */
	CU_ASSERT_EQUAL(kvf_pyhash_chunk(-1, tokens, 4, 0), kvf_pyhash_chunk(-2, tokens, 4, 0));
	CU_ASSERT_EQUAL(kvf_pyhash_chunk((INT64_C(1) << 61) - 1, tokens, 4, 0),
		kvf_pyhash_chunk(0, tokens, 4, 0));
	CU_ASSERT_EQUAL(
		kvf_pyhash_chunk(INT64_MIN, tokens, 4, 0), kvf_pyhash_chunk(-4, tokens, 4, 0));
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"cbor", test_cbor},
		{"cbor_bytes_prefix", test_cbor_bytes_prefix},
		{"pickle", test_pickle},
		{"staging", test_staging},
		{"pyhash", test_pyhash},
	};

	return kvf_test_main("wire_encode", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
