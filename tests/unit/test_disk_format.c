/* SPDX-License-Identifier: Apache-2.0 */
/*
 * docs/disk-format.md and the sample in tests/data/disk-v1: read here by offset, as the document
 * has it, and by the tier. With KVF_DISK_SAMPLE=DIR the sample is written anew into DIR, for a new
 * version of the format.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "tests/harness.h"
#include "tests/support/disk_rig.h"
#include "tier/disk/format.h"

#define SLOT 8192u
#define CHUNKS 3u

static char dir[1000];

static struct drig_options options(void)
{
	return (struct drig_options){.dirs = dir,
		.max_bytes = 8 * SLOT + 2 * 4096,
		.segment_bytes = 4 * SLOT,
		.grow_bytes = 4 * SLOT,
		.aio = KVF_AIO_WANT_SYNC};
}

static size_t read_file(const char *path, uint8_t *buf, size_t size)
{
	int fd = open(path, O_RDONLY);
	ssize_t n;

	CU_ASSERT_FATAL(fd >= 0);
	n = read(fd, buf, size);
	close(fd);
	CU_ASSERT_FATAL(n >= 0);
	return (size_t)n;
}

static void copy_sample(void)
{
	char command[4000];

	CU_ASSERT_EQUAL_FATAL(kvf_test_tmpdir(dir, sizeof(dir)), 0);
	snprintf(command, sizeof(command),
		"cp -r '%s'/tests/data/disk-v1/kvf-* '%s'/ && chmod -R u+rwX,go-rwx '%s'/kvf-*",
		kvf_test_srcdir(), dir, dir);
	CU_ASSERT_EQUAL_FATAL(system(command), 0);
}

static bool sealed(const uint8_t *page)
{
	return kvf_load_le64(page + 248) == kvf_checksum(page, 248) &&
	       kvf_load_le32(page + 8) == 1 && kvf_load_le32(page + 12) == 256;
}

static void test_by_offset(void)
{
	static uint8_t page[4096], seg[4096 + 4 * SLOT];
	struct drig_options o = options();
	char own[2000], path[3000];

	copy_sample();
	drig_own_dir(&o, own, sizeof(own));
	snprintf(path, sizeof(path), "%s/kvferry.dir", own);
	CU_ASSERT_EQUAL(read_file(path, page, sizeof(page)), 4096);
	CU_ASSERT_EQUAL(memcmp(page, "KVFDIRE1", 8), 0);
	CU_ASSERT_TRUE(sealed(page));
	CU_ASSERT_EQUAL(kvf_load_le32(page + 48), SLOT);
	CU_ASSERT_EQUAL(kvf_load_le32(page + 52), SLOT - 4096);
	CU_ASSERT_EQUAL(kvf_load_le32(page + 56), 16);
	CU_ASSERT_EQUAL(kvf_load_le32(page + 60), 1);
	CU_ASSERT_EQUAL(kvf_load_le32(page + 64), 0);
	CU_ASSERT_EQUAL(kvf_load_le64(page + 72), 1);
	CU_ASSERT_STRING_EQUAL((char *)page + 80, "rig");
	snprintf(path, sizeof(path), "%s/segment-00000000.kvf", own);
	CU_ASSERT_EQUAL(read_file(path, seg, sizeof(seg)), sizeof(seg));
	CU_ASSERT_EQUAL(memcmp(seg, "KVFSEGM1", 8), 0);
	CU_ASSERT_TRUE(sealed(seg));
	CU_ASSERT_EQUAL(memcmp(seg + 16, page + 16, 32), 0);
	CU_ASSERT_EQUAL(kvf_load_le32(seg + 48), SLOT);
	CU_ASSERT_EQUAL(kvf_load_le32(seg + 52), 4);
	CU_ASSERT_EQUAL(kvf_load_le32(seg + 56), 4096);
	CU_ASSERT_EQUAL(kvf_load_le32(seg + 60), 0);
	CU_ASSERT_EQUAL(kvf_load_le64(seg + 72), 1);
	for (uint32_t i = 0; i < CHUNKS; i++) {
		const uint8_t *slot = seg + 4096 + i * SLOT;
		uint8_t key[KVF_KEY_BYTES], parent[KVF_KEY_BYTES] = {0};
		uint32_t bytes = kvf_load_le32(slot + 152);

		drig_key(key, i);
		if (i)
			drig_key(parent, i - 1);
		CU_ASSERT_EQUAL(memcmp(slot, "KVFCHNK1", 8), 0);
		CU_ASSERT_TRUE(sealed(slot));
		CU_ASSERT_EQUAL(memcmp(slot + 16, key, 32), 0);
		CU_ASSERT_EQUAL(memcmp(slot + 48, parent, 32), 0);
		CU_ASSERT_EQUAL(memcmp(slot + 112, page + 16, 32), 0);
		CU_ASSERT_EQUAL(kvf_load_le32(slot + 144), 0);
		CU_ASSERT_EQUAL(kvf_load_le32(slot + 148), 16);
		CU_ASSERT(bytes > 0 && bytes <= SLOT - 4096);
		CU_ASSERT_EQUAL(kvf_load_le32(slot + 156), i);
		CU_ASSERT_EQUAL(kvf_load_le64(slot + 160), ((uint64_t)1 << 40) + i + 1);
		CU_ASSERT_EQUAL(kvf_load_le64(slot + 168), kvf_checksum(slot + 4096, bytes));
		CU_ASSERT_EQUAL(kvf_load_le32(slot + 176), 0);
	}
	for (uint32_t i = 0; i < SLOT; i++)
		CU_ASSERT_EQUAL_FATAL(seg[4096 + CHUNKS * SLOT + i], 0);
}

static void test_by_tier(void)
{
	struct drig_options o = options();
	struct drig r;

	copy_sample();
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_stats(&r).recovered, CHUNKS);
	CU_ASSERT_EQUAL(drig_stats(&r).damaged, 0);
	for (uint32_t i = 0; i < CHUNKS; i++)
		CU_ASSERT_EQUAL(drig_get(&r, i), DRIG_RIGHT);
	drig_close(&r);
}

/* What is written today is the sample, byte for byte. */
static void test_written_alike(void)
{
	static uint8_t now[4096 + 4 * SLOT], then[sizeof(now)];
	static const char *const names[] = {"kvferry.dir", "segment-00000000.kvf"};
	struct drig_options o = options();
	const char *sample = getenv("KVF_DISK_SAMPLE");
	char own[2000], path[4096];
	struct drig r;

	if (sample)
		snprintf(dir, sizeof(dir), "%s", sample);
	else
		CU_ASSERT_EQUAL_FATAL(kvf_test_tmpdir(dir, sizeof(dir)), 0);
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	for (uint32_t i = 0; i < CHUNKS; i++)
		CU_ASSERT_EQUAL(drig_put(&r, i), KVF_OK);
	drig_close(&r);
	drig_own_dir(&o, own, sizeof(own));
	for (size_t i = 0; i < KVF_ARRAY_LEN(names) && !sample; i++) {
		size_t n;

		snprintf(path, sizeof(path), "%s/%s", own, names[i]);
		n = read_file(path, now, sizeof(now));
		snprintf(path, sizeof(path), "%s/tests/data/disk-v1/%s/%s", kvf_test_srcdir(),
			strrchr(own, '/') + 1, names[i]);
		CU_ASSERT_EQUAL(read_file(path, then, sizeof(then)), n);
		CU_ASSERT_EQUAL(memcmp(now, then, n), 0);
	}
}

static void test_names(void)
{
	uint8_t fingerprint[KVF_KEY_BYTES] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};
	char name[KVF_DISK_NAME_BYTES];
	uint32_t world, rank, number;

	kvf_disk_dir_name(name, fingerprint, 8, 3);
	CU_ASSERT_STRING_EQUAL(name, "kvf-0123456789abcdef-w8-r3");
	CU_ASSERT_TRUE(kvf_disk_dir_name_parse(name, &world, &rank));
	CU_ASSERT_EQUAL(world, 8);
	CU_ASSERT_EQUAL(rank, 3);
	CU_ASSERT_FALSE(kvf_disk_dir_name_parse("kvf-0123456789abcde-w8-r3", &world, &rank));
	CU_ASSERT_FALSE(kvf_disk_dir_name_parse("kvf-0123456789abcdef-w8-r", &world, &rank));
	CU_ASSERT_FALSE(kvf_disk_dir_name_parse("kvf-0123456789abcdef-w8-r3x", &world, &rank));
	CU_ASSERT_FALSE(
		kvf_disk_dir_name_parse("kvf-0123456789abcdef-w99999999999-r3", &world, &rank));
	kvf_disk_seg_name(name, 7);
	CU_ASSERT_STRING_EQUAL(name, "segment-00000007.kvf");
	CU_ASSERT_TRUE(kvf_disk_seg_name_parse(name, &number));
	CU_ASSERT_EQUAL(number, 7);
	CU_ASSERT_FALSE(kvf_disk_seg_name_parse("segment-7.kvf", &number));
	CU_ASSERT_FALSE(kvf_disk_seg_name_parse("segment-00000007.kvf~", &number));
	CU_ASSERT_FALSE(kvf_disk_seg_name_parse("segment-.kvf", &number));
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"by_offset", test_by_offset},
		{"by_tier", test_by_tier},
		{"written_alike", test_written_alike},
		{"names", test_names},
	};

	return kvf_test_main("disk_format", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
