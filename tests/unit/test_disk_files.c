/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can happen to the disk tier's files: other identities, other versions, damage, truncation,
 * links, other owners, a second engine, a directory that goes away, slots that were swapped or are
 * of an older generation, flipped bits.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/support/disk_rig.h"
#include "tier/disk/format.h"

static char dir[3000];

static struct drig_options options(uint64_t slots)
{
	return drig_small(dir, sizeof(dir), slots);
}

static int segment_fd(const struct drig_options *o, uint32_t i)
{
	char path[4096];
	int fd;

	drig_segment(o, i, path, sizeof(path));
	fd = open(path, O_RDWR);
	CU_ASSERT_FATAL(fd >= 0);
	return fd;
}

static void test_lock(void)
{
	struct drig_options o = options(32);
	struct drig a, b;

	CU_ASSERT_EQUAL_FATAL(drig_open(&a, &o), KVF_OK);
	CU_ASSERT_EQUAL(drig_open(&b, &o), KVF_EBUSY);
	CU_ASSERT_PTR_NOT_NULL(strstr(b.text, "another engine"));
	drig_close(&a);
	CU_ASSERT_EQUAL_FATAL(drig_open(&b, &o), KVF_OK);
	drig_close(&b);
}

static void test_permissions(void)
{
	struct drig_options o = options(32);
	char own[3500], link[4000];
	struct stat st;
	struct drig r;

	drig_fill(&o, 4);
	drig_own_dir(&o, own, sizeof(own));
	CU_ASSERT_EQUAL(stat(own, &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 07777, 0700);
	/* Opened up by somebody: made private again. */
	CU_ASSERT_EQUAL(chmod(own, 0755), 0);
	drig_fill(&o, 4);
	CU_ASSERT_EQUAL(stat(own, &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 07777, 0700);
	/* A link in its place is not followed. */
	snprintf(link, sizeof(link), "%s.away", own);
	CU_ASSERT_EQUAL(rename(own, link), 0);
	CU_ASSERT_EQUAL(symlink(link, own), 0);
	CU_ASSERT_EQUAL(drig_open(&r, &o), KVF_EIO);
	CU_ASSERT_PTR_NOT_NULL(strstr(r.text, "symbolic link"));
	CU_ASSERT_EQUAL(unlink(own), 0);
	CU_ASSERT_EQUAL(rename(link, own), 0);
	/* Nor is a link to the shared directory. */
	snprintf(link, sizeof(link), "%s/link", dir);
	CU_ASSERT_EQUAL(symlink(dir, link), 0);
	o.dirs = link;
	CU_ASSERT_EQUAL(drig_open(&r, &o), KVF_EIO);
	o.dirs = dir;
	if (geteuid() == 0) {
		CU_ASSERT_EQUAL(chown(own, 12345, 12345), 0);
		CU_ASSERT_EQUAL(drig_open(&r, &o), KVF_EIO);
		CU_ASSERT_PTR_NOT_NULL(strstr(r.text, "another user"));
		CU_ASSERT_EQUAL(chown(own, 0, 0), 0);
	}
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_stats(&r).recovered, 4);
	drig_close(&r);
}

/* A link or hard link under a segment's name is left alone. */
static void test_segment_is_link(void)
{
	struct drig_options o = options(32);
	char seg[4096], other[4096];
	struct stat st;
	struct drig r;
	int fd;

	drig_fill(&o, 4);
	drig_segment(&o, 0, seg, sizeof(seg));
	snprintf(other, sizeof(other), "%s/precious", dir);
	fd = open(other, O_RDWR | O_CREAT, 0600);
	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(ftruncate(fd, 5), 0);
	close(fd);
	CU_ASSERT_EQUAL(unlink(seg), 0);
	CU_ASSERT_EQUAL(symlink(other, seg), 0);
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	CU_ASSERT_PTR_NOT_NULL(strstr(r.text, "left alone"));
	drig_put_range(&r, 0, 4);
	drig_close(&r);
	CU_ASSERT_EQUAL(stat(other, &st), 0);
	CU_ASSERT_EQUAL(st.st_size, 5);
}

static void test_foreign(void)
{
	struct drig_options o = options(64);
	uint64_t before;
	struct drig r;

	drig_fill(&o, 40);
	o.identity = 1; /* another model, same rank */
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	CU_ASSERT(drig_stats(&r).foreign_bytes >= 40 * DRIG_SLOT);
	/* What fits beside it leaves it alone ... */
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, 4), 4);
	CU_ASSERT_EQUAL(drig_stats(&r).reclaimed_files, 0);
	/* ... more takes its place. */
	CU_ASSERT_EQUAL(drig_put_range(&r, 4, 50), 50);
	CU_ASSERT_EQUAL(drig_stats(&r).reclaimed_files, 1);
	CU_ASSERT_EQUAL(drig_stats(&r).foreign_bytes, 0);
	CU_ASSERT(drig_du(dir) <= o.max_bytes);
	CU_ASSERT_EQUAL(drig_get(&r, 53), DRIG_RIGHT);
	drig_close(&r);
	/* keep: they stay, and we get what they leave. */
	o.identity = 2;
	o.foreign = KVF_DISK_FOREIGN_KEEP;
	before = drig_du(dir);
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_put_range(&r, 0, 50);
	CU_ASSERT_EQUAL(drig_stats(&r).reclaimed_files, 0);
	CU_ASSERT(drig_du(dir) <= o.max_bytes);
	CU_ASSERT(drig_du(dir) >= before);
	drig_close(&r);
	/* One that is alive is neither counted nor touched; nor is another rank's. */
	o = options(64);
	drig_fill(&o, 40);
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	{
		struct drig_options p = o;
		struct drig other;

		p.identity = 1;
		CU_ASSERT_EQUAL_FATAL(drig_open(&other, &p), KVF_OK);
		CU_ASSERT_EQUAL(drig_stats(&other).foreign_bytes, 0);
		CU_ASSERT_EQUAL(drig_put_range(&other, 0, 60), 60);
		drig_close(&other);
		p.world_size = 2;
		p.rank = 1;
		CU_ASSERT_EQUAL_FATAL(drig_open(&other, &p), KVF_OK);
		CU_ASSERT_EQUAL(drig_stats(&other).foreign_bytes, 0);
		drig_close(&other);
	}
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_get(&r, 0), DRIG_RIGHT);
	drig_close(&r);
}

static void poke(int fd, off_t at, uint8_t xor)
{
	uint8_t b;

	CU_ASSERT_EQUAL(pread(fd, &b, 1, at), 1);
	b ^= xor;
	CU_ASSERT_EQUAL(pwrite(fd, &b, 1, at), 1);
}

/* The first pages of a directory and of a segment: damage costs nothing, another version is
 * somebody else's. */
static void test_first_pages(void)
{
	struct drig_options o = options(64);
	char path[4096], own[3500];
	struct drig r;
	int fd;

	drig_fill(&o, 20);
	fd = segment_fd(&o, 0);
	poke(fd, 30, 0x10);
	close(fd);
	drig_own_dir(&o, own, sizeof(own));
	snprintf(path, sizeof(path), "%s/%s", own, KVF_DISK_DIR_FILE);
	fd = open(path, O_RDWR);
	poke(fd, 72, 0xff); /* the epoch */
	close(fd);
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	CU_ASSERT_PTR_NOT_NULL(strstr(r.text, "damaged"));
	/* Nothing is written until every generation is known. */
	CU_ASSERT_FALSE(drig_submit(&r, 1, KVF_REQ_PUT, 100));
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_stats(&r).recovered, 20);
	CU_ASSERT_EQUAL(drig_put(&r, 100), KVF_OK);
	CU_ASSERT_EQUAL(drig_get(&r, 5), DRIG_RIGHT);
	drig_close(&r);
	fd = segment_fd(&o, 0);
	poke(fd, 8, 0x02); /* version 3 */
	close(fd);
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_stats(&r).recovered, 0);
	CU_ASSERT(drig_stats(&r).foreign_bytes > 0);
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, 60), 60);
	CU_ASSERT_EQUAL(drig_stats(&r).reclaimed_files, 1);
	CU_ASSERT(drig_du(dir) <= o.max_bytes);
	drig_close(&r);
}

static void test_truncated(void)
{
	struct drig_options o = options(64);
	uint32_t count[5];
	struct drig r;
	int fd;

	drig_fill(&o, 40);
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	fd = segment_fd(&o, 0);
	CU_ASSERT_EQUAL(ftruncate(fd, 4096 + 20 * DRIG_SLOT + 100), 0);
	close(fd);
	drig_get_range(&r, 0, 40, count);
	CU_ASSERT_EQUAL(count[DRIG_RIGHT], 20);
	CU_ASSERT_EQUAL(count[DRIG_MISS], 20);
	CU_ASSERT_EQUAL(drig_put_range(&r, 100, 30), 30);
	drig_get_range(&r, 100, 30, count);
	CU_ASSERT_EQUAL(count[DRIG_RIGHT], 30);
	drig_close(&r);
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	drig_get_range(&r, 0, 130, count);
	CU_ASSERT_EQUAL(count[DRIG_RIGHT], 50);
	CU_ASSERT_EQUAL(count[DRIG_WRONG] + count[DRIG_DETECTED], 0);
	drig_close(&r);
}

/* The directory is deleted under a running tier: it goes on with what it has, and says so when it
 * wants more. */
static void test_directory_gone(void)
{
	struct drig_options o = options(200);
	char command[4096];
	struct drig r;

	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, 10), 10);
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	CU_ASSERT_EQUAL(system(command), 0);
	CU_ASSERT_EQUAL(drig_get(&r, 3), DRIG_RIGHT);
	CU_ASSERT_EQUAL(drig_put_range(&r, 10, 300), 300);
	CU_ASSERT_EQUAL(drig_get(&r, 309), DRIG_RIGHT);
	drig_close(&r);
	/* And is made anew. */
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_stats(&r).recovered, 0);
	drig_close(&r);
}

static void test_min_free(void)
{
	struct drig_options o = options(64);
	struct statvfs fs;
	struct drig r;

	o.min_free_bytes = (uint64_t)1 << 60;
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	CU_ASSERT_EQUAL(drig_put(&r, 0), KVF_ENOSPC);
	CU_ASSERT_EQUAL(r.log_lines, 1);
	drig_close(&r);
	/* What is left of the file system is used up in ever smaller steps. */
	if (!statvfs(dir, &fs)) {
		o.max_bytes = 4096 * (uint64_t)DRIG_SLOT;
		o.grow_bytes = 4096 * (uint64_t)DRIG_SLOT;
		o.segment_bytes = o.grow_bytes;
		o.min_free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize - 8 * KVF_MIB;
		CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
		/* Unless somebody else fills it up meanwhile. */
		if (drig_put(&r, 0) == KVF_OK)
			CU_ASSERT(drig_stats(&r).slots < 4096);
		drig_close(&r);
	}
	o = options(2);
	CU_ASSERT_EQUAL(drig_open(&r, &o), KVF_ERANGE);
	CU_ASSERT_PTR_NOT_NULL(strstr(r.text, "too few"));
}

static void swap_slots(int fd, uint32_t a, uint32_t b, uint32_t bytes, uint32_t at)
{
	static uint8_t one[DRIG_SLOT], two[DRIG_SLOT];
	off_t x = (off_t)kvf_disk_slot_offset(DRIG_SLOT, a) + at,
	      y = (off_t)kvf_disk_slot_offset(DRIG_SLOT, b) + at;

	CU_ASSERT_EQUAL(pread(fd, one, bytes, x), (ssize_t)bytes);
	CU_ASSERT_EQUAL(pread(fd, two, bytes, y), (ssize_t)bytes);
	CU_ASSERT_EQUAL(pwrite(fd, two, bytes, x), (ssize_t)bytes);
	CU_ASSERT_EQUAL(pwrite(fd, one, bytes, y), (ssize_t)bytes);
}

/* Whole slots exchanged: wrong while it runs, found and right after a restart. Headers or payloads
 * alone: never right. */
static void test_swapped(void)
{
	for (int what = 0; what < 3; what++) {
		struct drig_options o = options(64);
		uint32_t count[5];
		struct drig r;
		int fd;

		drig_fill(&o, 40);
		CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
		drig_settle(&r);
		fd = segment_fd(&o, 0);
		for (uint32_t i = 0; i < 20; i += 2)
			swap_slots(fd, i, i + 1, what == 0 ? DRIG_SLOT : 4096, what == 2 ? 4096 : 0);
		if (what == 0) {
			drig_get_range(&r, 20, 20, count);
			CU_ASSERT_EQUAL(count[DRIG_RIGHT], 20);
			CU_ASSERT_EQUAL(drig_get(&r, 0), DRIG_DETECTED);
			CU_ASSERT_EQUAL(drig_get(&r, 0), DRIG_MISS);
		} else {
			drig_get_range(&r, 0, 40, count);
			CU_ASSERT_EQUAL(count[DRIG_RIGHT], 20);
			CU_ASSERT_EQUAL(count[DRIG_DETECTED], 20);
		}
		drig_close(&r);
		CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
		drig_settle(&r);
		drig_get_range(&r, 0, 40, count);
		CU_ASSERT_EQUAL(count[DRIG_WRONG], 0);
		CU_ASSERT_EQUAL(count[DRIG_RIGHT], what == 0 ? 39 : 20);
		drig_close(&r);
		close(fd);
	}
}

/* An old record of the same key, of an older generation, in a slot: not what was written there
 * last. */
static void test_stale_generation(void)
{
	struct drig_options o = options(64);
	static uint8_t old[8 * DRIG_SLOT];
	struct drig r;
	int fd;

	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, 8), 8);
	fd = segment_fd(&o, 0);
	CU_ASSERT_EQUAL(pread(fd, old, sizeof(old), 4096), (ssize_t)sizeof(old));
	CU_ASSERT_EQUAL(drig_clear(&r), KVF_OK);
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, 8), 8);
	CU_ASSERT_EQUAL(drig_get(&r, 0), DRIG_RIGHT);
	CU_ASSERT_EQUAL(pwrite(fd, old, sizeof(old), 4096), (ssize_t)sizeof(old));
	for (uint32_t n = 0; n < 8; n++)
		CU_ASSERT_EQUAL(drig_get(&r, n), DRIG_DETECTED);
	CU_ASSERT_EQUAL(drig_stats(&r).corrupt, 8);
	CU_ASSERT_PTR_NOT_NULL(strstr(r.log, "an older generation"));
	/* A restart finds two of a key: the newer one stays, the older one is overwritten. */
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, 8), 8);
	CU_ASSERT_EQUAL(
		pwrite(fd, old, DRIG_SLOT, (off_t)kvf_disk_slot_offset(DRIG_SLOT, 12)), (ssize_t)DRIG_SLOT);
	drig_close(&r);
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_stats(&r).duplicates, 1);
	CU_ASSERT_EQUAL(drig_get(&r, 0), DRIG_RIGHT);
	CU_ASSERT_EQUAL(drig_remove(&r, 0), KVF_OK);
	drig_close(&r);
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_get(&r, 0), DRIG_MISS);
	drig_close(&r);
	close(fd);
}

/* Every flipped bit of a chunk's header fields or payload is noticed when that chunk is read. */
static void test_bit_flips(void)
{
	struct drig_options o = options(40);
	uint32_t seed = 1, n_chunks = 40, detected = 0, flips = 2000;
	struct drig r;
	int fd;

	if (getenv("KVF_DISK_FLIPS"))
		flips = (uint32_t)strtoul(getenv("KVF_DISK_FLIPS"), NULL, 10);
	drig_fill(&o, n_chunks);
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	fd = segment_fd(&o, 0);
	for (uint32_t i = 0; i < flips; i++) {
		/* Chunk n lies in slot n: they were written in this order into fresh slots. */
		uint32_t n = i % n_chunks, at;
		uint32_t used = drig_payload_bytes(&r, n);

		seed = seed * 1664525u + 1013904223u;
		at = (seed >> 3) % (256 + used);
		at = at < 256 ? at : at - 256 + 4096;
		poke(fd, (off_t)kvf_disk_slot_offset(DRIG_SLOT, n) + at, (uint8_t)(1u << (seed >> 29)));
		detected += drig_get(&r, n) == DRIG_DETECTED;
		/* A payload's checksum is the engine's business: it tells the tier to forget the
		 * chunk. */
		if (drig_exists(&r, n) == KVF_OK)
			CU_ASSERT_EQUAL(drig_remove(&r, n), KVF_OK);
		drig_settle(&r);
		/* Into the same slot again: the only one that is free. */
		CU_ASSERT_EQUAL(drig_put(&r, n), KVF_OK);
		if (i % 97 == 0)
			CU_ASSERT_EQUAL(drig_get(&r, n), DRIG_RIGHT);
	}
	CU_ASSERT_EQUAL(detected, flips);
	close(fd);
	drig_close(&r);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"lock", test_lock},
		{"permissions", test_permissions},
		{"segment_is_link", test_segment_is_link},
		{"foreign", test_foreign},
		{"first_pages", test_first_pages},
		{"truncated", test_truncated},
		{"directory_gone", test_directory_gone},
		{"min_free", test_min_free},
		{"swapped", test_swapped},
		{"stale_generation", test_stale_generation},
		{"bit_flips", test_bit_flips},
	};

	return kvf_test_main("disk_files", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
