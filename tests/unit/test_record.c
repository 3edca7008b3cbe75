/* SPDX-License-Identifier: Apache-2.0 */
/* record.h: round trips, every bit flipped, forged fields, the bytes themselves. */
#include "tests/harness.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/record.h"

#define PAGE KVF_SLOT_HEADER_BYTES

static void fill(uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)rand();
}

static void make(struct kvf_record *rec)
{
	memset(rec, 0, sizeof(*rec));
	fill(rec->key, sizeof(rec->key));
	fill(rec->parent, sizeof(rec->parent));
	fill(rec->fingerprint, sizeof(rec->fingerprint));
	rec->wire_len = (uint32_t)rand() % (KVF_KEY_BYTES + 1);
	fill(rec->wire, rec->wire_len);
	rec->n_tokens = 1 + (uint32_t)rand() % 1024;
	rec->payload_bytes = 1 + (uint32_t)rand() % 100000;
	rec->depth = (uint32_t)rand();
	rec->generation = (uint64_t)rand() << 33 | (uint64_t)rand();
	rec->checksum = (uint64_t)rand() << 33 | (uint64_t)rand();
}

static bool same(const struct kvf_record *a, const struct kvf_record *b)
{
	return !memcmp(a->key, b->key, 32) && !memcmp(a->parent, b->parent, 32) && !memcmp(a->wire, b->wire, 32) &&
	       !memcmp(a->fingerprint, b->fingerprint, 32) && a->wire_len == b->wire_len &&
	       a->n_tokens == b->n_tokens && a->payload_bytes == b->payload_bytes && a->depth == b->depth &&
	       a->generation == b->generation && a->checksum == b->checksum;
}

static void test_round_trip(void)
{
	static uint8_t page[PAGE];

	srand(1);
	for (int i = 0; i < 2000; i++) {
		struct kvf_record rec;
		struct kvf_record got;

		make(&rec);
		fill(page, 300);
		kvf_record_seal(page, &rec);
		CU_ASSERT_EQUAL(kvf_record_check(page, rec.payload_bytes, &got), KVF_OK);
		CU_ASSERT(same(&rec, &got));
	}
	for (size_t i = KVF_RECORD_BYTES; i < PAGE; i++)
		CU_ASSERT_EQUAL(page[i], 0);
}

/* The plain form in the page itself: what the engine has in RAM. */
static void test_in_place(void)
{
	static union {
		uint8_t page[PAGE];
		struct kvf_record rec;
	} u;
	struct kvf_record rec;

	srand(2);
	make(&rec);
	u.rec = rec;
	kvf_record_seal(u.page, &u.rec);
	CU_ASSERT_EQUAL(kvf_record_check(u.page, UINT32_MAX, &u.rec), KVF_OK);
	CU_ASSERT(same(&rec, &u.rec));
}

static void test_every_bit(void)
{
	static uint8_t page[PAGE];
	struct kvf_record rec;
	struct kvf_record got;
	struct kvf_record untouched;

	srand(3);
	make(&rec);
	kvf_record_seal(page, &rec);
	memset(&got, 0x5a, sizeof(got));
	untouched = got;
	for (unsigned bit = 0; bit < KVF_RECORD_BYTES * 8; bit++) {
		int rc;

		page[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		rc = kvf_record_check(page, UINT32_MAX, &got);
		CU_ASSERT_EQUAL(rc, bit < 64 ? KVF_ENOENT : bit < 96 ? KVF_ENOTSUP : KVF_ECORRUPT);
		page[bit / 8] ^= (uint8_t)(1u << (bit % 8));
	}
	CU_ASSERT_EQUAL(memcmp(&got, &untouched, sizeof(got)), 0);
	CU_ASSERT_EQUAL(kvf_record_check(page, UINT32_MAX, &got), KVF_OK);
}

/* Torn at any byte, over zeroes or over another record. */
static void test_torn(void)
{
	static uint8_t a[PAGE];
	static uint8_t b[PAGE];
	struct kvf_record rec;

	srand(4);
	for (int other = 0; other < 2; other++) {
		for (size_t cut = 0; cut < KVF_RECORD_BYTES; cut++) {
			struct kvf_record got;

			make(&rec);
			kvf_record_seal(a, &rec);
			make(&rec);
			kvf_record_seal(b, &rec);
			if (!other)
				memset(b, 0, sizeof(b));
			memcpy(b, a, cut);
			if (other && cut <= 16) /* magic, version and size are the same in both */
				continue;
			CU_ASSERT_NOT_EQUAL(kvf_record_check(b, UINT32_MAX, &got), KVF_OK);
		}
	}
}

/* A header whose checksum is right and whose field is not. */
static void forge(size_t at, uint32_t value, int expect)
{
	static uint8_t page[PAGE];
	struct kvf_record rec;
	struct kvf_record got;

	make(&rec);
	rec.wire_len = 20;
	memset(rec.wire + 20, 0, 12);
	kvf_record_seal(page, &rec);
	kvf_store_le32(page + at, value);
	kvf_store_le64(page + 248, kvf_checksum(page, 248));
	CU_ASSERT_EQUAL(kvf_record_check(page, 100000, &got), expect);
}

static void test_forged(void)
{
	srand(5);
	forge(156, 77, KVF_OK);
	forge(12, 255, KVF_ECORRUPT);	 /* size of the header */
	forge(144, 33, KVF_ECORRUPT);	 /* wire length */
	forge(144, 32, KVF_OK);
	forge(100, 1, KVF_ECORRUPT);	 /* bytes behind the wire name */
	forge(148, 0, KVF_ECORRUPT);	 /* no tokens */
	forge(152, 0, KVF_ECORRUPT);	 /* no payload */
	forge(152, 100000, KVF_OK);
	forge(152, 100001, KVF_ECORRUPT); /* more than there is room for */
	forge(152, UINT32_MAX, KVF_ECORRUPT);
	forge(176, 1, KVF_ECORRUPT);	 /* reserved */
	forge(244, 1u << 31, KVF_ECORRUPT);
	forge(8, 2, KVF_ENOTSUP);
	forge(8, 0, KVF_ENOTSUP);
	forge(0, 0, KVF_ENOENT);
}

static void test_empty_and_noise(void)
{
	static uint8_t page[PAGE];
	struct kvf_record got;

	CU_ASSERT_EQUAL(kvf_record_check(page, UINT32_MAX, &got), KVF_ENOENT);
	srand(6);
	for (int i = 0; i < 2000; i++) {
		fill(page, KVF_RECORD_BYTES);
		CU_ASSERT_NOT_EQUAL(kvf_record_check(page, UINT32_MAX, &got), KVF_OK);
		memcpy(page, "KVFCHNK1\1\0\0\0\0\1\0\0", 16);
		CU_ASSERT_EQUAL(kvf_record_check(page, UINT32_MAX, &got), KVF_ECORRUPT);
	}
}

/* The format is fixed: these are the bytes, on every machine. */
static void test_golden(void)
{
	static uint8_t page[PAGE];
	struct kvf_record rec;

	memset(&rec, 0, sizeof(rec));
	memset(rec.key, 0x11, 32);
	memset(rec.parent, 0x22, 32);
	memset(rec.wire, 0x33, 8);
	memset(rec.fingerprint, 0x44, 32);
	rec.wire_len = 8;
	rec.n_tokens = 256;
	rec.payload_bytes = 0x01020304;
	rec.depth = 5;
	rec.generation = 0x1122334455667788u;
	rec.checksum = 0x99aabbccddeeff00u;
	kvf_record_seal(page, &rec);
	CU_ASSERT_EQUAL(memcmp(page, "KVFCHNK1\1\0\0\0\0\1\0\0\x11", 17), 0);
	CU_ASSERT(page[47] == 0x11 && page[48] == 0x22 && page[80] == 0x33 && page[87] == 0x33 && page[88] == 0);
	CU_ASSERT(page[112] == 0x44 && page[143] == 0x44 && page[144] == 8 && page[149] == 1);
	CU_ASSERT_EQUAL(memcmp(page + 152, "\4\3\2\1\5\0\0\0\x88\x77\x66\x55\x44\x33\x22\x11", 16), 0);
	CU_ASSERT_EQUAL(memcmp(page + 168, "\0\xff\xee\xdd\xcc\xbb\xaa\x99", 8), 0);
	CU_ASSERT_EQUAL(kvf_load_le64(page + 248), kvf_checksum(page, 248));
	rec.wire_len = 99; /* impossible: cut to what there is */
	kvf_record_seal(page, &rec);
	CU_ASSERT_EQUAL(page[144], 32);
}

/* The suffix of the wire name lies behind the header, outlives a second sealing, and damage to it shows. */
static void test_suffix(void)
{
	static uint8_t page[PAGE];
	static char longest[KVF_RECORD_SUFFIX_MAX];
	struct kvf_record rec, got;

	srand(6);
	memset(longest, 'x', sizeof(longest));
	make(&rec);
	for (uint32_t n = 0; n <= KVF_RECORD_SUFFIX_MAX; n += 64) {
		fill(page, PAGE);
		rec.suffix = n ? longest : NULL;
		rec.suffix_n = n;
		kvf_record_seal(page, &rec);
		CU_ASSERT_EQUAL(kvf_record_check(page, UINT32_MAX, &got), KVF_OK);
		CU_ASSERT(same(&rec, &got) && got.suffix_n == n);
		got.checksum = 77;
		kvf_record_seal(page, &got);
		CU_ASSERT_EQUAL(kvf_record_check(page, UINT32_MAX, &got), KVF_OK);
		CU_ASSERT_EQUAL(got.checksum, 77);
		CU_ASSERT(!n || (got.suffix == (char *)page + KVF_RECORD_BYTES && !memcmp(got.suffix, longest, n)));
		for (size_t i = KVF_RECORD_BYTES + n; i < PAGE; i++)
			CU_ASSERT_EQUAL(page[i], 0);
		for (uint32_t i = 0; i < n; i++) {
			page[KVF_RECORD_BYTES + i] ^= 1;
			CU_ASSERT_EQUAL(kvf_record_check(page, UINT32_MAX, &got), KVF_ECORRUPT);
			page[KVF_RECORD_BYTES + i] ^= 1;
		}
	}
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "round_trip", test_round_trip },
		{ "in_place", test_in_place },
		{ "every_bit", test_every_bit },
		{ "torn", test_torn },
		{ "forged", test_forged },
		{ "empty_and_noise", test_empty_and_noise },
		{ "golden", test_golden },
		{ "suffix", test_suffix },
	};

	return kvf_test_main("record", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
