/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of loop.h share: a watch that counts, socket pairs, limits on descriptors. */
#ifndef KVF_TESTS_LOOP_RIG_H
#define KVF_TESTS_LOOP_RIG_H

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
#include "tests/support/descriptors.h"

struct loop_rig {
	struct kvf_loop loop;
	struct kvf_mem mem;
	unsigned fds; /* that were open before */
};

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

KVF_UNUSED static void pair(int fd[2])
{
	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
}

KVF_UNUSED static void unpair(const int fd[2])
{
	close(fd[0]);
	close(fd[1]);
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

/* allocator NULL: the library's own. */
KVF_UNUSED static void begin_with(struct loop_rig *r, const struct kvf_allocator *allocator)
{
	r->fds = descriptors_open(NULL);
	kvf_mem_init(&r->mem, allocator);
	kvf_loop_init(&r->loop, &r->mem);
}

KVF_UNUSED static void begin(struct loop_rig *r)
{
	begin_with(r, NULL);
}

/* Nothing is left of the loop, nor of what the test opened since. */
KVF_UNUSED static void end(struct loop_rig *r)
{
	kvf_loop_fini(&r->loop);
	CU_ASSERT_EQUAL(kvf_mem_fini(&r->mem), 0);
	CU_ASSERT_EQUAL(descriptors_open(NULL), r->fds);
}

/* events 0: no more. */
KVF_UNUSED static void watch(struct loop_rig *r, struct probe *probe, int fd, unsigned events)
{
	CU_ASSERT_EQUAL(kvf_loop_watch(&r->loop, &probe->watch, fd, events), KVF_OK);
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
