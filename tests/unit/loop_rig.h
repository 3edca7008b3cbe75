/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of loop.h share: a watch that counts, socket pairs, limits on descriptors. */
#ifndef KVF_TESTS_LOOP_RIG_H
#define KVF_TESTS_LOOP_RIG_H

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kvferry/kvf_status.h"
#include "loop/loop.h"
#include "tests/harness.h"

struct probe {
	struct kvf_watch watch;
	unsigned calls;
	unsigned last;
	void (*then)(struct probe *probe);
	struct kvf_loop *loop;
	struct kvf_watch *other;
};

KVF_UNUSED static void on_ready(struct kvf_watch *watch, unsigned events)
{
	struct probe *probe = watch->arg;

	probe->calls++;
	probe->last = events;
	if (probe->then)
		probe->then(probe);
}

KVF_UNUSED static void probe_init(struct probe *probe)
{
	memset(probe, 0, sizeof(*probe));
	probe->watch.ready = on_ready;
	probe->watch.arg = probe;
}

KVF_UNUSED static unsigned open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	if (!dir)
		return 0;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

KVF_UNUSED static void pair(int fd[2])
{
	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
}

KVF_UNUSED static bool readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1 && (p.revents & POLLIN);
}

KVF_UNUSED static void put_byte(int fd)
{
	CU_ASSERT_EQUAL(write(fd, "x", 1), 1);
}

KVF_UNUSED static void get_byte(int fd)
{
	char c;

	CU_ASSERT_EQUAL(read(fd, &c, 1), 1);
}

KVF_UNUSED static void begin(struct kvf_loop *loop, struct kvf_mem *mem)
{
	kvf_mem_init(mem, NULL);
	kvf_loop_init(loop, mem);
}

KVF_UNUSED static void end(struct kvf_loop *loop, struct kvf_mem *mem, unsigned fds)
{
	kvf_loop_fini(loop);
	CU_ASSERT_EQUAL(kvf_mem_fini(mem), 0);
	CU_ASSERT_EQUAL(open_fds(), fds);
}
/* With `room` more descriptors to be had. */
KVF_UNUSED static void limit_fds(unsigned room, struct rlimit *saved)
{
	struct rlimit limit;
	int next = dup(0);

	close(next);
	getrlimit(RLIMIT_NOFILE, saved);
	limit = *saved;
	limit.rlim_cur = (rlim_t)next + room;
	setrlimit(RLIMIT_NOFILE, &limit);
}
#endif
