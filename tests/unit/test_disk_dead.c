/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disk tier is closed over a device that never answers. The kernel's part is played by a filter in a child process:
 * what says that something is done says that nothing is, and what would wait for it without end kills. Close comes
 * back all the same, says so, and keeps what the kernel may still use, and the lock.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/support/descriptors.h"
#include "tests/support/disk_rig.h"

static char dir[1000];

/* From now on `mute` does nothing and returns 0, and `deadly` kills. */
static int filter(uint32_t mute, uint32_t deadly)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, mute, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, deadly, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {KVF_ARRAY_LEN(code), code};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

/* 77: cannot be had here. Else how many checks failed. */
static int closed(uint32_t aio, bool dead)
{
	struct drig_options o = drig_small(dir, sizeof(dir), 32);
	unsigned before = CU_get_number_of_failures();
	bool uring = aio == KVF_AIO_WANT_URING;
	struct drig r, again;
	int rc;

	o.aio = aio;
	o.durable = KVF_DISK_DURABLE_INTERVAL;
	if (drig_open(&r, &o))
		return 77;
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, 4), 4);
	/* The sync at the end is the tier's own. */
	if (dead && filter(uring ? SYS_io_uring_enter : SYS_io_getevents, uring ? UINT32_MAX : SYS_io_destroy))
		return 77;
	drig_close(&r);
	CU_ASSERT_EQUAL(strstr(r.log, "1 transfers do not end") != NULL, dead);
	CU_ASSERT_EQUAL(descriptors_open("io_uring"), dead && uring);
	CU_ASSERT_EQUAL(descriptors_open("kvferry.dir"), dead);
	CU_ASSERT_EQUAL(descriptors_open("segment-"), 0);
	CU_ASSERT_EQUAL(descriptors_open("eventfd"), 0);
	o.aio = KVF_AIO_WANT_SYNC;
	rc = drig_open(&again, &o);
	CU_ASSERT_EQUAL(rc, dead ? KVF_EBUSY : KVF_OK);
	if (!rc)
		drig_close(&again);
	return (int)(CU_get_number_of_failures() - before);
}

static void in_child(uint32_t aio, bool dead)
{
	int status = 0;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0)
		_exit(closed(aio, dead));
	CU_ASSERT_FATAL(pid > 0);
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		kvf_test_skip("no such ring, or no filters, here");
	else
		CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_libaio(void)
{
	in_child(KVF_AIO_WANT_LIBAIO, false);
	in_child(KVF_AIO_WANT_LIBAIO, true);
}

static void test_uring(void)
{
	in_child(KVF_AIO_WANT_URING, false);
	in_child(KVF_AIO_WANT_URING, true);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"libaio", test_libaio},
		{"uring", test_uring},
	};

	return kvf_test_main("disk_dead", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
