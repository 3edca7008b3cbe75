/* SPDX-License-Identifier: Apache-2.0 */
/* LMCache's multimodal placeholder rewrite; expected numbers from Python's hashlib. */
#include <string.h>

#include "tests/harness.h"
#include "token/wire_mm.h"

static void test_mm16(void)
{
	static const struct {
		const char *identifier;
		uint16_t want;
	} cases[] = {
		{"0000", 0},
		{"ffff", 0xffff},
		{"0xFFFF", 0xffff},
		{"0X0001", 1},
		{"1", 1},
		{" FfFf ", 0xffff},
		{"\n0x00aB\t", 0x00ab},
		{"\x1f"
		 "12\v\f\r\x1c",
			0x12},
		{"123456", 0x3456},
		{"0x123456", 0x3456},
		{"d41d8cd98f00b204e9800998ecf8427e", 0x427e},
		/* No hex: the first two bytes of SHA-256 of the text without white space around it.
		 */
		{"chatcmpl-a2a48871c4aad192-image-0", 0xa302},
		{"  chatcmpl-a2a48871c4aad192-image-0\n", 0xa302},
		{"", 0xe3b0},
		{"   ", 0xe3b0},
		{"0x", 0xa549},
		{"0xGG", 0xc8c0},
		{"deadbeeg", 0xe3da},
		{"0x12xz", 0x05e9},
	};

	for (size_t i = 0; i < KVF_ARRAY_LEN(cases); i++)
		CU_ASSERT_EQUAL(kvf_wire_mm16(cases[i].identifier), cases[i].want);
}

static const struct {
	const char *identifier;
	uint32_t want[19];
} sequences[] = {
	{"d41d8cd98f00b204e9800998ecf8427e",
		{1956431527, 475077140, 188141352, 502016138, 944990653, 617545130, 138771390,
			10203051, 1378372845, 107181028, 2118694022, 761811398, 819524326, 40521451,
			621235724, 415942400, 1361025500, 566902605, 1479298898}},
	{"chatcmpl-a2a48871c4aad192-image-0",
		{544053003, 510937069, 1170803367, 595855621, 598086141, 929530452, 825262819,
			815484790, 1057566443, 1003236382, 1423278802, 998213404, 1807053553,
			235674745, 1428372943, 1137072507, 1292657595, 1541080322, 1847803757}},
	{"", {1549615836, 1939829184, 577546016, 1490360539, 1633376115, 1882777060, 295059311,
		     1197611965, 1223864343, 629519733, 321482421, 668083089, 1534988454,
		     1843853011, 940512599, 1418223652, 1870016878, 566280784, 1966179030}},
};

/* Any part of the sequence can be asked for. */
static void test_mm31(void)
{
	uint32_t got[20];

	for (size_t i = 0; i < KVF_ARRAY_LEN(sequences); i++) {
		for (size_t first = 0; first < 19; first++) {
			for (size_t n = 0; first + n <= 19; n++) {
				memset(got, 0xa5, sizeof(got));
				kvf_wire_mm31(sequences[i].identifier, first, got, n);
				CU_ASSERT_EQUAL(memcmp(got, sequences[i].want + first, 4 * n), 0);
				CU_ASSERT_EQUAL(got[n], 0xa5a5a5a5);
			}
		}
	}
}

static void test_rewrite(void)
{
	static const struct kvf_wire_mm_item items[] = {
		{"deadbeef", 0, 3},
		{"chatcmpl-a2a48871c4aad192-image-0", 5, 4},
		{"1", 99, 3},
		{"2", SIZE_MAX, SIZE_MAX},
		{"3", 4, 0},
		{"d41d8cd98f00b204e9800998ecf8427e", 11, SIZE_MAX},
	};
	static const uint32_t want16[13] = {
		0xbeef, 0xbeef, 0xbeef, 7, 7, 0xa302, 0xa302, 0xa302, 0xa302, 7, 7, 0x427e, 7};
	uint32_t tokens[13];

	for (size_t i = 0; i < 13; i++)
		tokens[i] = 7;
	kvf_wire_mm_rewrite(KVF_WIRE_MM16, items, KVF_ARRAY_LEN(items), tokens, 12);
	CU_ASSERT_EQUAL(memcmp(tokens, want16, sizeof(tokens)), 0);
	for (size_t i = 0; i < 13; i++)
		tokens[i] = 7;
	kvf_wire_mm_rewrite(KVF_WIRE_MM31, items, KVF_ARRAY_LEN(items), tokens, 12);
	CU_ASSERT_EQUAL(memcmp(tokens + 5, sequences[1].want, 16), 0);
	CU_ASSERT_EQUAL(tokens[3], 7);
	CU_ASSERT_EQUAL(tokens[10], 7);
	CU_ASSERT_EQUAL(tokens[11], sequences[0].want[0]);
	CU_ASSERT_EQUAL(tokens[12], 7);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"mm16", test_mm16},
		{"mm31", test_mm31},
		{"rewrite", test_rewrite},
	};

	return kvf_test_main("wire_mm", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
