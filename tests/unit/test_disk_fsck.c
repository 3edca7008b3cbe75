/* SPDX-License-Identifier: Apache-2.0 */
/* kvferry fsck, stat and clear, as functions: what they find, what they mend, what they leave
 * alone. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "disk_view.h"
#include "tests/harness.h"
#include "tests/support/command.h"
#include "tests/support/disk_rig.h"
#include "tool.h"

#define SLOT 8192u

static char dir[1000];

static struct drig_options options(void)
{
	CU_ASSERT_EQUAL_FATAL(kvf_test_tmpdir(dir, sizeof(dir)), 0);
	return (struct drig_options){.dirs = dir,
		.max_bytes = 40 * SLOT,
		.segment_bytes = 16 * SLOT,
		.grow_bytes = 16 * SLOT,
		.aio = KVF_AIO_WANT_SYNC};
}

static int run(int (*cmd)(int, char **), char *text, size_t size, const char *a, const char *b,
	const char *c)
{
	const char *const words[] = {"cmd", a, b, c, NULL};

	return command_run(cmd, words, false, text, size);
}

static int count(struct disk_view *view, void *arg)
{
	return disk_check(view, arg);
}

static struct disk_check check(bool deep, bool repair)
{
	struct disk_check c = {.deep = deep, .repair = repair, .quiet = true};

	CU_ASSERT_EQUAL(disk_each(dir, true, count, &c), 1);
	return c;
}

static void poke(const struct drig_options *o, uint32_t seg, off_t at)
{
	char path[4096];
	uint8_t b;
	int fd;

	drig_segment(o, seg, path, sizeof(path));
	fd = open(path, O_RDWR);
	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(pread(fd, &b, 1, at), 1);
	b ^= 1;
	CU_ASSERT_EQUAL(pwrite(fd, &b, 1, at), 1);
	close(fd);
}

static void test_fsck(void)
{
	struct drig_options o = options();
	static uint8_t slot[SLOT];
	struct disk_check c;
	char text[4096], path[4096];
	struct drig r;
	int fd;

	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, 20), 20);
	drig_close(&r);
	CU_ASSERT_EQUAL(run(kvf_cmd_fsck, text, sizeof(text), "--deep", dir, NULL), TOOL_OK);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "20 chunks"));
	c = check(true, false);
	CU_ASSERT_EQUAL(c.chunks, 20);
	CU_ASSERT_EQUAL(c.segments, 2);
	CU_ASSERT_EQUAL(c.chunks + c.free, c.slots);
	/* A header, a payload, the first page of a segment, a copy of a chunk in a free slot. */
	poke(&o, 0, 4096 + 2 * SLOT + 160);
	poke(&o, 0, 4096 + 5 * SLOT + 4096 + 99);
	poke(&o, 1, 20);
	drig_segment(&o, 0, path, sizeof(path));
	fd = open(path, O_RDWR);
	CU_ASSERT_EQUAL(pread(fd, slot, SLOT, 4096 + 7 * SLOT), (ssize_t)SLOT);
	close(fd);
	drig_segment(&o, 1, path, sizeof(path));
	fd = open(path, O_RDWR);
	CU_ASSERT_EQUAL(pwrite(fd, slot, SLOT, 4096 + 10 * SLOT), (ssize_t)SLOT);
	close(fd);
	c = check(false, false);
	CU_ASSERT_EQUAL(c.damaged_headers, 1);
	CU_ASSERT_EQUAL(c.damaged_payloads, 0);
	CU_ASSERT_EQUAL(c.damaged_pages, 1);
	CU_ASSERT_EQUAL(c.duplicates, 1);
	CU_ASSERT_EQUAL(run(kvf_cmd_fsck, text, sizeof(text), "--deep", dir, NULL), TOOL_WRONG);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "a damaged payload"));
	CU_ASSERT_EQUAL(run(kvf_cmd_fsck, text, sizeof(text), "--json", "--deep", dir), TOOL_WRONG);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"damaged_payloads\": 1"));
	CU_ASSERT_EQUAL(
		run(kvf_cmd_fsck, text, sizeof(text), "--deep", "--repair", dir), TOOL_WRONG);
	CU_ASSERT_EQUAL(run(kvf_cmd_fsck, text, sizeof(text), "--deep", dir, NULL), TOOL_OK);
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_stats(&r).recovered, 18);
	CU_ASSERT_EQUAL(drig_stats(&r).damaged, 0);
	CU_ASSERT_EQUAL(drig_get(&r, 2), DRIG_MISS);
	CU_ASSERT_EQUAL(drig_get(&r, 5), DRIG_MISS);
	CU_ASSERT_EQUAL(drig_get(&r, 7), DRIG_RIGHT);
	/* An engine is at work: looked at, not touched. */
	CU_ASSERT_EQUAL(run(kvf_cmd_fsck, text, sizeof(text), dir, NULL, NULL), TOOL_OK);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "an engine uses it"));
	CU_ASSERT_EQUAL(run(kvf_cmd_fsck, text, sizeof(text), "--repair", dir, NULL), TOOL_WRONG);
	CU_ASSERT_EQUAL(run(kvf_cmd_clear, text, sizeof(text), dir, NULL, NULL), TOOL_WRONG);
	CU_ASSERT_EQUAL(run(kvf_cmd_stat, text, sizeof(text), dir, NULL, NULL), TOOL_OK);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "(in use)"));
	CU_ASSERT_EQUAL(drig_get(&r, 7), DRIG_RIGHT);
	drig_close(&r);
}

/* ---- the directory's page ---- */

static void page_path(const struct drig_options *o, char *out, size_t size)
{
	char own[3500];

	drig_own_dir(o, own, sizeof(own));
	snprintf(out, size, "%s/kvferry.dir", own);
}

/* Some starts and chunks; returns the newest generation. The page is good for nothing then. */
static uint64_t spoil_page(const struct drig_options *o, int how, uint32_t first)
{
	char path[4096];
	uint64_t newest;
	struct drig r;

	for (int i = 0; i < 4; i++)
		drig_fill(o, 16);
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, o), KVF_OK);
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_put_range(&r, first, 4), 4);
	newest = drig_stats(&r).generation;
	drig_close(&r);
	page_path(o, path, sizeof(path));
	CU_ASSERT_EQUAL(how ? truncate(path, how) : unlink(path), 0);
	return newest;
}

/* Written anew, so that an engine need not wait for recovery; it goes on above all generations that are there. */
static void page_renewed(int how)
{
	struct drig_options o = options();
	uint64_t newest = spoil_page(&o, how, 16);
	char text[4096];
	struct drig r;

	CU_ASSERT_EQUAL(run(kvf_cmd_fsck, text, sizeof(text), dir, NULL, NULL), TOOL_WRONG);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, how ? "kvferry.dir: damaged" : "kvferry.dir: missing"));
	CU_ASSERT_EQUAL(run(kvf_cmd_fsck, text, sizeof(text), "--repair", dir, NULL), TOOL_WRONG);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "1 repaired"));
	CU_ASSERT_EQUAL(run(kvf_cmd_fsck, text, sizeof(text), "--deep", dir, NULL), TOOL_OK);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "20 chunks"));
	CU_ASSERT_EQUAL(run(kvf_cmd_stat, text, sizeof(text), "--json", dir, NULL), TOOL_OK);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"page_ok\": true"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"slot_bytes\": 8192"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"payload_bytes\": 4096"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"chunk_tokens\": 16"));
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	CU_ASSERT_EQUAL(strlen(r.text), 0);
	CU_ASSERT_EQUAL(drig_stats(&r).generation >> 40, (newest >> 40) + 1);
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_stats(&r).recovered, 20);
	CU_ASSERT_EQUAL(drig_put(&r, 30), KVF_OK);
	CU_ASSERT(drig_stats(&r).generation > newest);
	drig_close(&r);
}

static void test_page_renewed(void)
{
	page_renewed(0);
	page_renewed(1);
	page_renewed(2000);
}

/* The first page of every segment; returns how many there are. */
static uint32_t spoil_segments(const struct drig_options *o)
{
	char path[4096];
	uint32_t n = 0;

	for (;; n++) {
		drig_segment(o, n, path, sizeof(path));
		if (access(path, F_OK))
			return n;
		poke(o, n, 20);
	}
}

/* The first page of a segment and the directory's: the others help both. With all of them gone nothing says whose it
 * is; an engine knows. */
static void test_pages_together(void)
{
	struct drig_options o = options();
	uint64_t newest = spoil_page(&o, 100, 16);
	char text[4096], counted[64];
	struct drig r;

	poke(&o, 1, 20);
	CU_ASSERT_EQUAL(run(kvf_cmd_fsck, text, sizeof(text), "--repair", dir, NULL), TOOL_WRONG);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "2 damaged pages; 2 repaired"));
	CU_ASSERT_EQUAL(run(kvf_cmd_fsck, text, sizeof(text), "--deep", dir, NULL), TOOL_OK);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "20 chunks"));
	newest = spoil_page(&o, 100, 20);
	/* Starts that store what is there already write it anew, and may need another file for that. */
	snprintf(counted, sizeof(counted), "%u damaged pages; 0 repaired", spoil_segments(&o) + 1);
	CU_ASSERT_EQUAL(run(kvf_cmd_fsck, text, sizeof(text), "--repair", dir, NULL), TOOL_WRONG);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "no segment says whose it is"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, counted));
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_put(&r, 30), KVF_OK);
	CU_ASSERT(drig_stats(&r).generation > newest);
	drig_close(&r);
}

/* What was not seen may be newer than all that was. */
static void test_page_not_renewed(void)
{
	struct drig_options o = options();
	char path[4096], other[1100], text[4096];
	uint8_t raw[4096];
	int fd;

	(void)spoil_page(&o, 100, 16);
	drig_segment(&o, 1, path, sizeof(path));
	snprintf(other, sizeof(other), "%s/other", dir);
	CU_ASSERT_EQUAL(rename(path, other), 0);
	CU_ASSERT_EQUAL(symlink(other, path), 0);
	CU_ASSERT_EQUAL(run(kvf_cmd_fsck, text, sizeof(text), "--repair", dir, NULL), TOOL_WRONG);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "not everything could be seen"));
	CU_ASSERT_EQUAL(rename(other, path), 0);
	CU_ASSERT_EQUAL(run(kvf_cmd_fsck, text, sizeof(text), dir, NULL, NULL), TOOL_WRONG);
	CU_ASSERT_EQUAL(run(kvf_cmd_fsck, text, sizeof(text), "--repair", dir, NULL), TOOL_WRONG);
	CU_ASSERT_EQUAL(run(kvf_cmd_fsck, text, sizeof(text), dir, NULL, NULL), TOOL_OK);
	/* Of a version that nobody here knows. */
	page_path(&o, path, sizeof(path));
	fd = open(path, O_RDWR);
	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(pwrite(fd, "\x09", 1, 8), 1);
	CU_ASSERT_EQUAL(run(kvf_cmd_fsck, text, sizeof(text), "--repair", dir, NULL), TOOL_WRONG);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "of another version: left as it is"));
	CU_ASSERT_EQUAL(pread(fd, raw, sizeof(raw), 0), (ssize_t)sizeof(raw));
	CU_ASSERT_EQUAL(raw[8], 9);
	close(fd);
}

static int open_meanwhile(struct disk_view *view, void *arg)
{
	struct drig r;
	int rc = drig_open(&r, arg);

	CU_ASSERT_FALSE(view->in_use);
	if (!rc)
		drig_close(&r);
	return rc;
}

/* Who only looks at a directory does not keep an engine from opening it; who changes it does. */
static void test_look_without_lock(void)
{
	struct drig_options o = options();
	struct drig r;

	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_close(&r);
	CU_ASSERT_EQUAL(disk_each(dir, false, open_meanwhile, &o), 1);
	CU_ASSERT_EQUAL(disk_each(dir, true, open_meanwhile, &o), -1);
}

static void test_stat_and_clear(void)
{
	struct drig_options o = options();
	char text[4096], own[2000];
	struct drig r;

	CU_ASSERT_EQUAL(run(kvf_cmd_stat, text, sizeof(text), dir, NULL, NULL), TOOL_WRONG);
	CU_ASSERT_EQUAL(run(kvf_cmd_stat, text, sizeof(text), NULL, NULL, NULL), TOOL_USAGE);
	CU_ASSERT_EQUAL(run(kvf_cmd_stat, text, sizeof(text), "--nonsense", dir, NULL), TOOL_USAGE);
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, 20), 20);
	drig_close(&r);
	CU_ASSERT_EQUAL(run(kvf_cmd_stat, text, sizeof(text), dir, NULL, NULL), TOOL_OK);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "model \"rig\""));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "20 of 32 slots hold chunks"));
	drig_own_dir(&o, own, sizeof(own));
	CU_ASSERT_EQUAL(run(kvf_cmd_stat, text, sizeof(text), "--json", own, NULL), TOOL_OK);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"chunks\": 20"));
	CU_ASSERT_EQUAL(run(kvf_cmd_clear, text, sizeof(text), dir, NULL, NULL), TOOL_OK);
	CU_ASSERT_EQUAL(drig_du(dir), 0);
	CU_ASSERT_EQUAL(access(own, F_OK), -1);
	CU_ASSERT_EQUAL(run(kvf_cmd_clear, text, sizeof(text), dir, NULL, NULL), TOOL_WRONG);
	CU_ASSERT_EQUAL(run(kvf_cmd_fsck, text, sizeof(text), "--help", NULL, NULL), TOOL_OK);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"fsck", test_fsck},
		{"look_without_lock", test_look_without_lock},
		{"stat_and_clear", test_stat_and_clear},
		{"page_renewed", test_page_renewed},
		{"pages_together", test_pages_together},
		{"page_not_renewed", test_page_not_renewed},
	};

	return kvf_test_main("disk_fsck", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
