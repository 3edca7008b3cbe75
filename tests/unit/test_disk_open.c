/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the disk tier makes of a directory when it opens it: a page that is damaged or gone, a lock that somebody holds
 * for a moment, a path that ends with a link and a slash, few descriptors, files larger than their slots.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/support/disk_rig.h"
#include "tier/disk/format.h"

static char dir[1000];

static struct drig_options options(uint64_t slots)
{
	return drig_small(dir, sizeof(dir), slots);
}

static void page_path(const struct drig_options *o, char *out, size_t size)
{
	char own[3500];

	drig_own_dir(o, own, sizeof(own));
	snprintf(out, size, "%s/%s", own, KVF_DISK_DIR_FILE);
}

/* Opens, changes the page and seals it again. Returns the epoch that stood there. */
static uint64_t set_epoch(const struct drig_options *o, uint64_t epoch)
{
	uint8_t raw[KVF_DISK_PAGE];
	struct kvf_disk_dir_page page;
	char path[4096];
	uint64_t was;
	int fd;

	page_path(o, path, sizeof(path));
	fd = open(path, O_RDWR);
	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(pread(fd, raw, sizeof(raw), 0), (ssize_t)sizeof(raw));
	CU_ASSERT_EQUAL_FATAL(kvf_disk_dir_parse(raw, &page), KVF_OK);
	was = page.epoch;
	if (epoch) {
		page.epoch = epoch;
		kvf_disk_dir_write(raw, &page);
		CU_ASSERT_EQUAL(pwrite(fd, raw, sizeof(raw), 0), (ssize_t)sizeof(raw));
	}
	close(fd);
	return was;
}

/* The page is gone, or spoilt: whoever opens the directory writes nothing before all generations were seen, also when
 * the one before was killed on the way there, and goes on above them. */
static void no_page(bool missing)
{
	struct drig_options o = options(64);
	struct kvf_disk_stats before;
	char path[4096];
	struct drig r;

	for (int i = 0; i < 5; i++)
		drig_fill(&o, 4);
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_put(&r, 10), KVF_OK);
	before = drig_stats(&r);
	drig_close(&r);
	page_path(&o, path, sizeof(path));
	CU_ASSERT_EQUAL(missing ? unlink(path) : truncate(path, 100), 0);
	for (int i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
		CU_ASSERT_FALSE(drig_submit(&r, 1, KVF_REQ_PUT, 20));
		drig_close(&r);
	}
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_put(&r, 20), KVF_OK);
	CU_ASSERT(drig_stats(&r).generation > before.generation);
	CU_ASSERT_EQUAL(drig_stats(&r).recovered, 5);
	CU_ASSERT_EQUAL(set_epoch(&o, 0), drig_stats(&r).generation >> 40);
	drig_close(&r);
}

static void test_page_lost(void)
{
	no_page(true);
	no_page(false);
}

static void test_epochs_used_up(void)
{
	struct drig_options o = options(64);
	struct drig r;

	drig_fill(&o, 4);
	(void)set_epoch(&o, (1 << 24) - 2);
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_put(&r, 9), KVF_OK);
	CU_ASSERT_EQUAL(drig_stats(&r).generation >> 40, (1 << 24) - 1);
	drig_close(&r);
	CU_ASSERT_EQUAL(drig_open(&r, &o), KVF_ERANGE);
	CU_ASSERT_PTR_NOT_NULL(strstr(r.text, "kvferry clear"));
}

static void test_link_behind_a_slash(void)
{
	struct drig_options o = options(32);
	char link[1100];
	struct drig r;

	snprintf(link, sizeof(link), "%s/link", dir);
	CU_ASSERT_EQUAL(symlink(dir, link), 0);
	snprintf(link, sizeof(link), "%s/link//", dir);
	o.dirs = link;
	CU_ASSERT_EQUAL(drig_open(&r, &o), KVF_EIO);
	CU_ASSERT_PTR_NOT_NULL(strstr(r.text, "symbolic link"));
}

/* Another engine that looks for foreign files, or kvferry stat, holds the lock for a moment. */
static void test_lock_held_briefly(void)
{
	struct drig_options o = options(32);
	char path[4096];
	struct drig r;
	int status;
	pid_t pid;

	drig_fill(&o, 4);
	page_path(&o, path, sizeof(path));
	{
		int pipes[2];
		char go;

		CU_ASSERT_EQUAL_FATAL(pipe(pipes), 0);
		pid = fork();
		if (pid == 0) {
			int fd = open(path, O_RDWR);

			if (fd < 0 || flock(fd, LOCK_EX) || write(pipes[1], "g", 1) != 1)
				_exit(1);
			usleep(30000);
			_exit(0);
		}
		CU_ASSERT_FATAL(pid > 0);
		close(pipes[1]);
		CU_ASSERT_EQUAL(read(pipes[0], &go, 1), 1);
		close(pipes[0]);
	}
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_close(&r);
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_EQUAL(status, 0);
}

/* Bytes behind the last slot, left by a growth that was interrupted, would count nowhere. */
static void test_tail(void)
{
	struct drig_options o = options(64);
	char path[4096];
	struct drig r;

	drig_fill(&o, 10);
	drig_segment(&o, 0, path, sizeof(path));
	CU_ASSERT_EQUAL(truncate(path, 4096 + 16 * DRIG_SLOT + 5000), 0);
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	CU_ASSERT_EQUAL(drig_du(dir), drig_stats(&r).bytes);
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, 70), 70);
	CU_ASSERT_EQUAL(drig_du(dir), drig_stats(&r).bytes);
	drig_close(&r);
}

/* A segment that is not to be used, here since somebody linked to it, takes its place all the same. */
static void test_unusable_counts(void)
{
	struct drig_options o = options(64);
	char path[4096], other[1100];
	struct drig r;

	drig_fill(&o, 30);
	drig_segment(&o, 0, path, sizeof(path));
	snprintf(other, sizeof(other), "%s/other", dir);
	CU_ASSERT_EQUAL(link(path, other), 0);
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	CU_ASSERT_PTR_NOT_NULL(strstr(r.text, "left alone"));
	drig_settle(&r);
	CU_ASSERT_EQUAL(unlink(other), 0);
	drig_put_range(&r, 0, 64);
	CU_ASSERT(drig_du(dir) <= o.max_bytes);
	drig_close(&r);
}

/* Few descriptors: refused, and nothing is forgotten. */
static void test_descriptors(void)
{
	struct drig_options o = options(80);
	struct rlimit limit, few;
	struct drig r;
	int next;

	o.segment_bytes = o.grow_bytes = 4 * DRIG_SLOT;
	drig_fill(&o, 60);
	next = dup(0);
	CU_ASSERT_FATAL(next >= 0);
	close(next);
	CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_NOFILE, &limit), 0);
	few = limit;
	few.rlim_cur = (rlim_t)next + 10;
	CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_NOFILE, &few), 0);
	CU_ASSERT_EQUAL(drig_open(&r, &o), KVF_EIO);
	CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_NOFILE, &limit), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(r.text, "too many open files"));
	CU_ASSERT_EQUAL(dup(0), next);
	close(next);
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_stats(&r).recovered, 60);
	drig_close(&r);
	/* A large disk has larger segments, not thousands of descriptors. */
	o = options(20000);
	o.segment_bytes = DRIG_SLOT;
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, 200), 200);
	CU_ASSERT(drig_stats(&r).segments <= 4);
	drig_close(&r);
}

/* ulimit -f: whoever writes behind it is killed by a signal. */
static int limited(const struct drig_options *o)
{
	static const rlim_t limits[] = {20 * DRIG_SLOT, 9 * DRIG_SLOT, 100};
	unsigned before = CU_get_number_of_failures();

	for (size_t i = 0; i < KVF_ARRAY_LEN(limits); i++) {
		struct rlimit limit = {limits[i], RLIM_INFINITY};
		struct drig r;
		int rc;

		if (setrlimit(RLIMIT_FSIZE, &limit))
			return 77;
		rc = drig_open(&r, o);
		CU_ASSERT_EQUAL(rc, i == 2 ? KVF_ERANGE : KVF_OK);
		if (rc)
			break;
		drig_settle(&r);
		CU_ASSERT_EQUAL(drig_put_range(&r, (uint32_t)i * 1000, 100), 100);
		CU_ASSERT_EQUAL(drig_get(&r, (uint32_t)i * 1000 + 99), DRIG_RIGHT);
		CU_ASSERT(drig_stats(&r).bytes <= o->max_bytes);
		drig_close(&r);
	}
	return CU_get_number_of_failures() != before;
}

static void test_file_limit(void)
{
	struct drig_options o = options(64);
	int status = 0;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0)
		_exit(limited(&o));
	CU_ASSERT_FATAL(pid > 0);
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_TRUE(WIFEXITED(status));
	CU_ASSERT_EQUAL(WEXITSTATUS(status), 0);
}

/* What somebody put into another engine's directory is not that engine's to lose. */
static void test_others_files(void)
{
	struct drig_options o = options(64);
	char own[2000], path[3000];
	struct drig r;
	int fd;

	drig_fill(&o, 40);
	drig_own_dir(&o, own, sizeof(own));
	snprintf(path, sizeof(path), "%s/notes.txt", own);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(write(fd, "precious", 8), 8);
	close(fd);
	o.identity = 1;
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, 64), 64);
	CU_ASSERT_EQUAL(drig_stats(&r).reclaimed_files, 1);
	CU_ASSERT_EQUAL(drig_put_range(&r, 100, 64), 64);
	drig_close(&r);
	CU_ASSERT_EQUAL(access(path, F_OK), 0);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"page_lost", test_page_lost},
		{"epochs_used_up", test_epochs_used_up},
		{"link_behind_a_slash", test_link_behind_a_slash},
		{"lock_held_briefly", test_lock_held_briefly},
		{"tail", test_tail},
		{"unusable_counts", test_unusable_counts},
		{"descriptors", test_descriptors},
		{"file_limit", test_file_limit},
		{"others_files", test_others_files},
	};

	return kvf_test_main("disk_open", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
