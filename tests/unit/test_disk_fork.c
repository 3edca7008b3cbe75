/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host that forks, over the disk tier: its child, as long as it lives, keeps neither the lock of a directory that was
 * closed nor that of one that was only looked at; memory that the device writes into is not in it; what execs gets no
 * descriptor.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/support/descriptors.h"
#include "tests/support/disk_rig.h"
#include "tier/disk/impl.h"

static char dir[1000];

/* A child that lives until end_child(); its exit status is what `look` said. */
static pid_t child = -1;
static int leash = -1;

static void begin_child(int (*look)(void *), void *arg)
{
	int pipes[2];

	CU_ASSERT_EQUAL_FATAL(pipe(pipes), 0);
	fflush(NULL);
	child = fork();
	if (child == 0) {
		int rc = look ? look(arg) : 0;
		char c;

		close(pipes[1]);
		while (read(pipes[0], &c, 1) < 0 && errno == EINTR)
			;
		_exit(rc);
	}
	CU_ASSERT_FATAL(child > 0);
	close(pipes[0]);
	leash = pipes[1];
}

static int end_child(void)
{
	int status = 0;

	close(leash);
	CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
	child = -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

static void test_lock_of_a_closed_one(void)
{
	struct drig_options o = drig_small(dir, sizeof(dir), 32);
	struct drig r, second;

	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, 8), 8);
	begin_child(NULL, NULL);
	CU_ASSERT_EQUAL(drig_open(&second, &o), KVF_EBUSY);
	drig_close(&r);
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_stats(&r).recovered, 8);
	/* The end of the child is nothing to the lock of the new one. */
	CU_ASSERT_EQUAL(end_child(), 0);
	CU_ASSERT_EQUAL(drig_open(&second, &o), KVF_EBUSY);
	drig_close(&r);
}

/* Descriptors of ours, and how many of them exec would leave open. */
static int descriptors(int *kept)
{
	DIR *list = opendir("/proc/self/fd");
	const struct dirent *e;
	int n = 0;

	*kept = 0;
	CU_ASSERT_PTR_NOT_NULL_FATAL(list);
	while ((e = readdir(list))) {
		int flags = fcntl(atoi(e->d_name), F_GETFD);

		if (e->d_name[0] == '.' || flags < 0 || atoi(e->d_name) == dirfd(list))
			continue;
		n++;
		*kept += !(flags & FD_CLOEXEC);
	}
	closedir(list);
	return n;
}

static void test_exec(void)
{
	static const uint32_t backs[] = {KVF_AIO_WANT_SYNC, KVF_AIO_WANT_LIBAIO, KVF_AIO_WANT_URING};
	int before, kept_before, kept;

	before = descriptors(&kept_before);
	for (size_t i = 0; i < KVF_ARRAY_LEN(backs); i++) {
		struct drig_options o = drig_small(dir, sizeof(dir), 32);
		struct drig r;

		o.aio = backs[i];
		if (drig_open(&r, &o) == KVF_ENOTSUP)
			continue;
		CU_ASSERT_EQUAL(drig_put_range(&r, 0, 8), 8);
		/* Directory and ours in it, lock, a segment; ring and eventfd. */
		CU_ASSERT(descriptors(&kept) >= before + (i ? 5 : 4));
		CU_ASSERT_EQUAL(kept, kept_before);
		drig_close(&r);
		CU_ASSERT_EQUAL(descriptors(&kept), before);
	}
}

/* ---- the lock of another identity's directory, held while it is looked at ---- */

/* The host forks, from another of its threads as it were, while an open is under way. */
static void *forking(size_t size, void *user)
{
	(void)user;
	if (child < 0 && descriptors_open(KVF_DISK_DIR_FILE) == 2)
		begin_child(NULL, NULL);
	return malloc(size);
}

static void forking_release(void *p, size_t size, void *user)
{
	(void)size;
	(void)user;
	free(p);
}

static void test_lock_of_a_neighbour(void)
{
	const struct kvf_allocator allocator = {
		.size = sizeof(allocator), .alloc = forking, .release = forking_release};
	struct drig_options o = drig_small(dir, sizeof(dir), 64), other = o;
	struct drig r, neighbour;

	other.identity = 1;
	drig_fill(&other, 8);
	o.allocator = &allocator;
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	CU_ASSERT_FATAL(child > 0);
	CU_ASSERT_EQUAL(drig_open(&neighbour, &other), KVF_OK);
	drig_close(&neighbour);
	drig_close(&r);
	CU_ASSERT_EQUAL(end_child(), 0);
}

/* ---- memory ---- */

static int pages_are_there(void *arg)
{
	struct drig *r = arg;
	unsigned char there;

	return mincore(r->disk->pages, KVF_DISK_PAGE, &there) == 0;
}

static void test_memory(void)
{
	struct drig_options o = drig_small(dir, sizeof(dir), 32);
	struct drig r;

	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &o), KVF_OK);
	CU_ASSERT_TRUE(pages_are_there(&r));
	begin_child(pages_are_there, &r);
	CU_ASSERT_EQUAL(end_child(), 0);
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, 8), 8);
	drig_close(&r);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"lock_of_a_closed_one", test_lock_of_a_closed_one},
		{"exec", test_exec},
		{"lock_of_a_neighbour", test_lock_of_a_neighbour},
		{"memory", test_memory},
	};

	return kvf_test_main("disk_fork", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
