/* SPDX-License-Identifier: Apache-2.0 */
/* loop.h: watches, kvf_fd, bounds on system calls, what the machine refuses. Its misuse: test_loop_rude.c. */
#include "tests/harness.h"

#include "tests/sim/simmem.h"
#include "tests/unit/loop_rig.h"

static void test_idle_costs_nothing(void)
{
	struct loop_rig r;

	begin(&r);
	for (int i = 0; i < 100; i++) {
		CU_ASSERT_EQUAL(kvf_loop_run(&r.loop), 0);
		kvf_loop_arm(&r.loop, i & 1, 5, (uint64_t)i);
	}
	CU_ASSERT_EQUAL(r.loop.syscalls, 0);
	CU_ASSERT_PTR_NULL(r.loop.ev);
	CU_ASSERT_EQUAL(descriptors_open(NULL), r.fds);
	end(&r);
}

static void test_level_read_write(void)
{
	struct loop_rig r;
	struct probe a;
	int s[2];

	begin(&r);
	pair(s);
	probe_init(&a);
	watch(&r, &a, s[0], KVF_WATCH_READ);
	CU_ASSERT_EQUAL(kvf_loop_run(&r.loop), 0);
	put_byte(s[1]);
	for (unsigned i = 1; i <= 3; i++) { /* level: as long as the byte is there */
		CU_ASSERT_EQUAL(kvf_loop_run(&r.loop), 1);
		CU_ASSERT_EQUAL(a.calls, i);
		CU_ASSERT_EQUAL(a.last, KVF_WATCH_READ);
	}
	get_byte(s[0]);
	CU_ASSERT_EQUAL(kvf_loop_run(&r.loop), 0);
	watch(&r, &a, s[0], KVF_WATCH_READ | KVF_WATCH_WRITE);
	CU_ASSERT_EQUAL(kvf_loop_run(&r.loop), 1);
	CU_ASSERT_EQUAL(a.last, KVF_WATCH_WRITE);
	put_byte(s[1]);
	CU_ASSERT_EQUAL(kvf_loop_run(&r.loop), 1);
	CU_ASSERT_EQUAL(a.last, KVF_WATCH_READ | KVF_WATCH_WRITE);
	watch(&r, &a, s[0], KVF_WATCH_WRITE);
	CU_ASSERT_EQUAL(kvf_loop_run(&r.loop), 1);
	CU_ASSERT_EQUAL(a.last, KVF_WATCH_WRITE);
	watch(&r, &a, s[0], 0);
	watch(&r, &a, s[0], 0);
	CU_ASSERT_EQUAL(r.loop.n_watches, 0);
	CU_ASSERT_EQUAL(kvf_loop_run(&r.loop), 0);
	unpair(s);
	end(&r);
}

static void test_syscall_bounds(void)
{
	struct loop_rig r;
	struct probe a;
	uint64_t before;
	int s[2];

	begin(&r);
	pair(s);
	probe_init(&a);
	watch(&r, &a, s[0], KVF_WATCH_READ);
	CU_ASSERT(r.loop.syscalls <= 3); /* libev's epoll, the mirror, one epoll_ctl */
	kvf_loop_run(&r.loop);
	before = r.loop.syscalls;
	for (int i = 0; i < 100; i++)
		kvf_loop_run(&r.loop);
	CU_ASSERT_EQUAL(r.loop.syscalls - before, 100);
	before = r.loop.syscalls;
	for (int i = 0; i < 100; i++)
		watch(&r, &a, s[0], KVF_WATCH_READ);
	CU_ASSERT_EQUAL(r.loop.syscalls, before);
	watch(&r, &a, s[0], KVF_WATCH_WRITE);
	CU_ASSERT_EQUAL(r.loop.syscalls - before, 1);
	kvf_loop_run(&r.loop);
	CU_ASSERT_EQUAL(r.loop.syscalls - before, 4); /* fcntl, epoll_ctl, epoll_wait */
	CU_ASSERT(kvf_loop_fd(&r.loop) >= 0);
	kvf_loop_arm(&r.loop, false, 1000, KVF_NEVER);
	before = r.loop.syscalls;
	for (int i = 0; i < 100; i++) {
		kvf_loop_arm(&r.loop, false, 1000, KVF_NEVER);
		CU_ASSERT_EQUAL(kvf_loop_fd(&r.loop), r.loop.epoll_fd);
	}
	CU_ASSERT_EQUAL(r.loop.syscalls, before);
	for (int i = 0; i < 100; i++)
		kvf_loop_arm(&r.loop, true, 1000, 5 * KVF_NS_PER_S);
	CU_ASSERT_EQUAL(r.loop.syscalls - before, 2);
	for (int i = 0; i < 100; i++)
		kvf_loop_arm(&r.loop, i & 1, 1000, 5 * KVF_NS_PER_S);
	CU_ASSERT_EQUAL(r.loop.syscalls - before, 102);
	kvf_loop_watch(&r.loop, &a.watch, s[0], 0);
	unpair(s);
	end(&r);
}

static void test_bad_descriptors(void)
{
	struct loop_rig r;
	char dir[256];
	char path[512];
	struct probe a;
	int file;

	begin(&r);
	CU_ASSERT_EQUAL_FATAL(kvf_test_tmpdir(dir, sizeof(dir)), 0);
	snprintf(path, sizeof(path), "%s/file", dir);
	file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CU_ASSERT_FATAL(file >= 0);
	probe_init(&a);
	CU_ASSERT_EQUAL(kvf_loop_watch(&r.loop, &a.watch, -1, KVF_WATCH_READ), KVF_EIO);
	CU_ASSERT_EQUAL(kvf_loop_watch(&r.loop, &a.watch, 9999, KVF_WATCH_READ), KVF_EIO);
	CU_ASSERT_EQUAL(kvf_loop_watch(&r.loop, &a.watch, file, KVF_WATCH_READ), KVF_EIO);
	CU_ASSERT_EQUAL(kvf_loop_watch(&r.loop, &a.watch, r.loop.mirror_fd, KVF_WATCH_READ), KVF_EIO);
	CU_ASSERT_PTR_NULL(a.watch.link);
	CU_ASSERT_EQUAL(r.loop.n_watches, 0);
	CU_ASSERT_EQUAL(kvf_loop_run(&r.loop), 0);
	close(file);
	end(&r);
}

/* ---- several watches, stops from inside ---- */

static void stop_other(struct probe *probe)
{
	kvf_loop_watch(probe->loop, probe->other, probe->other->fd, 0);
	memset(probe->other, 0xa5, sizeof(*probe->other)); /* its owner freed it */
}

static void stop_self(struct probe *probe)
{
	kvf_loop_watch(probe->loop, &probe->watch, probe->watch.fd, 0);
	memset(&probe->watch, 0xa5, sizeof(probe->watch));
}

static void run_inside(struct probe *probe)
{
	CU_ASSERT_EQUAL(kvf_loop_run(probe->loop), 0);
}

static void test_stop_inside_ready(void)
{
	struct loop_rig r;

	begin(&r);
	for (int same_fd = 0; same_fd < 2; same_fd++) {
		struct probe a;
		struct probe b;
		int s[2];
		int t[2];

		pair(s);
		pair(t);
		put_byte(s[1]);
		put_byte(t[1]);
		probe_init(&a);
		probe_init(&b);
		a.then = stop_other;
		b.then = stop_other;
		a.loop = b.loop = &r.loop;
		a.other = &b.watch;
		b.other = &a.watch;
		watch(&r, &a, s[0], KVF_WATCH_READ);
		watch(&r, &b, same_fd ? s[0] : t[0], KVF_WATCH_READ);
		CU_ASSERT_EQUAL(kvf_loop_run(&r.loop), 1); /* whoever came first stopped the other */
		CU_ASSERT_EQUAL(a.calls + b.calls, 1);
		CU_ASSERT_EQUAL(r.loop.n_watches, 1);
		if (a.calls) {
			a.then = stop_self;
			b.calls = 0;
		} else {
			b.then = stop_self;
		}
		CU_ASSERT_EQUAL(kvf_loop_run(&r.loop), 1);
		CU_ASSERT_EQUAL(r.loop.n_watches, 0);
		CU_ASSERT_EQUAL(kvf_loop_run(&r.loop), 0);
		unpair(s);
		unpair(t);
	}
	end(&r);
}

static void test_no_recursion(void)
{
	struct loop_rig r;
	struct probe a;
	int s[2];

	begin(&r);
	pair(s);
	probe_init(&a);
	a.then = run_inside;
	a.loop = &r.loop;
	watch(&r, &a, s[0], KVF_WATCH_WRITE);
	CU_ASSERT_EQUAL(kvf_loop_run(&r.loop), 1);
	CU_ASSERT_EQUAL(a.calls, 1);
	/* Left on: fini stops it. */
	r.fds += 2;
	end(&r);
	CU_ASSERT_PTR_NULL(a.watch.link);
	unpair(s);
}

static void test_same_fd_twice(void)
{
	struct loop_rig r;
	struct probe a;
	struct probe b;
	int s[2];
	int fd;

	begin(&r);
	pair(s);
	probe_init(&a);
	probe_init(&b);
	fd = kvf_loop_fd(&r.loop);
	watch(&r, &a, s[0], KVF_WATCH_READ);
	watch(&r, &b, s[0], KVF_WATCH_WRITE);
	kvf_loop_arm(&r.loop, false, 0, KVF_NEVER);
	CU_ASSERT_EQUAL(kvf_loop_run(&r.loop), 1);
	CU_ASSERT_EQUAL(b.calls, 1);
	CU_ASSERT(readable(fd)); /* for b */
	put_byte(s[1]);
	CU_ASSERT_EQUAL(kvf_loop_run(&r.loop), 2);
	watch(&r, &b, s[0], 0);
	CU_ASSERT_EQUAL(kvf_loop_run(&r.loop), 1);
	CU_ASSERT(readable(fd));
	get_byte(s[0]);
	CU_ASSERT(!readable(fd));
	watch(&r, &b, s[0], KVF_WATCH_READ);
	put_byte(s[1]);
	CU_ASSERT_EQUAL(kvf_loop_run(&r.loop), 2);
	watch(&r, &a, s[0], 0);
	CU_ASSERT_EQUAL(kvf_loop_run(&r.loop), 1);
	watch(&r, &b, s[0], 0);
	CU_ASSERT(!readable(fd));
	CU_ASSERT(!r.loop.stale);
	unpair(s);
	end(&r);
}

static void test_fd_change(void)
{
	struct loop_rig r;
	struct probe a;
	int s[2];
	int t[2];

	begin(&r);
	pair(s);
	pair(t);
	probe_init(&a);
	put_byte(s[1]);
	watch(&r, &a, s[0], KVF_WATCH_READ);
	watch(&r, &a, t[0], KVF_WATCH_READ);
	CU_ASSERT_EQUAL(kvf_loop_run(&r.loop), 0);
	put_byte(t[1]);
	CU_ASSERT_EQUAL(kvf_loop_run(&r.loop), 1);
	CU_ASSERT_EQUAL(r.loop.n_watches, 1);
	kvf_loop_watch(&r.loop, &a.watch, t[0], 0);
	unpair(s);
	unpair(t);
	end(&r);
}

/* ---- kvf_fd ---- */

static void test_eventfd(void)
{
	struct loop_rig r;
	int fd;

	begin(&r);
	fd = kvf_loop_fd(&r.loop);
	CU_ASSERT(fd >= 0);
	CU_ASSERT(readable(fd)); /* until we know better */
	CU_ASSERT(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	CU_ASSERT(fcntl(r.loop.timer_fd, F_GETFD) & FD_CLOEXEC);
	CU_ASSERT(fcntl(r.loop.event_fd, F_GETFD) & FD_CLOEXEC);
	for (int i = 0; i < 10; i++) {
		kvf_loop_arm(&r.loop, i & 1, 0, KVF_NEVER);
		CU_ASSERT_EQUAL(readable(fd), i & 1);
		CU_ASSERT_EQUAL(readable(fd), i & 1); /* level */
	}
	end(&r);
}

static void test_timer(void)
{
	struct pollfd p = { .events = POLLIN };
	struct loop_rig r;

	begin(&r);
	p.fd = kvf_loop_fd(&r.loop);
	/* Far away, and further than the kernel counts. */
	kvf_loop_arm(&r.loop, false, 1000, 1000 + 3600 * KVF_NS_PER_S);
	CU_ASSERT(!readable(p.fd));
	kvf_loop_arm(&r.loop, false, 1000, KVF_NEVER - 1);
	CU_ASSERT(!readable(p.fd));
	/* Any clock: only the difference counts. */
	kvf_loop_arm(&r.loop, false, UINT64_MAX - KVF_NS_PER_S, UINT64_MAX - KVF_NS_PER_S + 200000);
	CU_ASSERT_EQUAL(poll(&p, 1, 10000), 1);
	CU_ASSERT(readable(p.fd)); /* stays so until armed anew */
	kvf_loop_arm(&r.loop, false, 0, 3600 * KVF_NS_PER_S);
	CU_ASSERT(!readable(p.fd));
	kvf_loop_arm(&r.loop, false, 5000, 4000); /* in the past */
	CU_ASSERT_EQUAL(poll(&p, 1, 10000), 1);
	kvf_loop_arm(&r.loop, false, 5000, KVF_NEVER);
	CU_ASSERT(!readable(p.fd));
	end(&r);
}

static void test_fd_before_and_after_watch(void)
{
	for (int first = 0; first < 2; first++) {
		struct loop_rig r;
		struct probe a;
		int s[2];
		int fd;

		begin(&r);
		pair(s);
		probe_init(&a);
		if (first)
			CU_ASSERT(kvf_loop_fd(&r.loop) >= 0);
		watch(&r, &a, s[0], KVF_WATCH_READ);
		fd = kvf_loop_fd(&r.loop);
		kvf_loop_arm(&r.loop, false, 0, KVF_NEVER);
		CU_ASSERT(!readable(fd));
		put_byte(s[1]);
		CU_ASSERT(readable(fd));
		CU_ASSERT_EQUAL(kvf_loop_run(&r.loop), 1);
		CU_ASSERT(readable(fd));
		get_byte(s[0]);
		CU_ASSERT(!readable(fd));
		watch(&r, &a, s[0], KVF_WATCH_WRITE);
		CU_ASSERT(readable(fd));
		watch(&r, &a, s[0], 0);
		CU_ASSERT(!readable(fd));
		unpair(s);
		end(&r);
	}
}

/* ---- what the machine refuses ---- */

static void test_no_memory(void)
{
	struct simmem none;
	struct loop_rig r;
	struct probe a;
	int s[2];

	simmem_init(&none, 1);
	simmem_allow(&none, 0);
	begin_with(&r, &none.allocator);
	pair(s);
	probe_init(&a);
	CU_ASSERT_EQUAL(kvf_loop_watch(&r.loop, &a.watch, s[0], KVF_WATCH_READ), KVF_ENOMEM);
	CU_ASSERT_PTR_NULL(a.watch.link);
	CU_ASSERT_PTR_NULL(r.loop.ev);
	CU_ASSERT_EQUAL(kvf_loop_run(&r.loop), 0);
	kvf_mem_init(&r.mem, NULL);
	watch(&r, &a, s[0], KVF_WATCH_READ);
	CU_ASSERT_EQUAL(r.mem.host_allocs, 1);
	for (int i = 0; i < 100; i++) {
		kvf_loop_watch(&r.loop, &a.watch, s[0], 1 + (unsigned)i % 3);
		kvf_loop_run(&r.loop);
	}
	CU_ASSERT_EQUAL(r.mem.host_allocs, 1);
	kvf_loop_watch(&r.loop, &a.watch, s[0], 0);
	unpair(s);
	end(&r);
}

static void test_no_descriptors(void)
{
	struct rlimit saved;
	struct loop_rig r;
	struct probe a;
	int s[2];

	pair(s);
	for (unsigned room = 0; room < 6; room++) {
		int watched;
		int fd;

		begin(&r);
		probe_init(&a);
		limit_fds(room, &saved);
		watched = kvf_loop_watch(&r.loop, &a.watch, s[0], KVF_WATCH_WRITE);
		fd = kvf_loop_fd(&r.loop);
		setrlimit(RLIMIT_NOFILE, &saved);
		CU_ASSERT_EQUAL(watched, room < 2 ? KVF_EIO : KVF_OK);
		CU_ASSERT(room < 5 || fd >= 0);
		CU_ASSERT(fd >= 0 || fd == KVF_EIO);
		/* And later. */
		watch(&r, &a, s[0], KVF_WATCH_WRITE);
		CU_ASSERT_EQUAL(kvf_loop_run(&r.loop), 1);
		fd = kvf_loop_fd(&r.loop);
		kvf_loop_arm(&r.loop, false, 0, KVF_NEVER);
		CU_ASSERT(readable(fd));
		kvf_loop_watch(&r.loop, &a.watch, s[0], 0);
		end(&r);
	}
	unpair(s);
}

/* More ready descriptors than fit one epoll_wait(): the rest comes in the next run. */
static void test_many_ready(void)
{
	enum { MANY = 150 };
	static struct probe probe[MANY];
	static int many[MANY][2];
	struct loop_rig r;
	unsigned n = 0;

	begin(&r);
	for (int i = 0; i < MANY; i++) {
		pair(many[i]);
		probe_init(&probe[i]);
		watch(&r, &probe[i], many[i][0], KVF_WATCH_WRITE);
	}
	for (int i = 0; i < 4; i++)
		n += kvf_loop_run(&r.loop);
	for (int i = 0; i < MANY; i++)
		CU_ASSERT(probe[i].calls >= 1);
	CU_ASSERT(n >= MANY);
	CU_ASSERT_EQUAL(kvf_loop_run(&r.loop), MANY);
	for (int i = 0; i < MANY; i++) {
		kvf_loop_watch(&r.loop, &probe[i].watch, many[i][0], 0);
		unpair(many[i]);
	}
	end(&r);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "idle_costs_nothing", test_idle_costs_nothing },
		{ "level_read_write", test_level_read_write },
		{ "syscall_bounds", test_syscall_bounds },
		{ "bad_descriptors", test_bad_descriptors },
		{ "stop_inside_ready", test_stop_inside_ready },
		{ "no_recursion", test_no_recursion },
		{ "same_fd_twice", test_same_fd_twice },
		{ "fd_change", test_fd_change },
		{ "eventfd", test_eventfd },
		{ "timer", test_timer },
		{ "fd_before_and_after_watch", test_fd_before_and_after_watch },
		{ "no_memory", test_no_memory },
		{ "no_descriptors", test_no_descriptors },
		{ "many_ready", test_many_ready },
	};

	return kvf_test_main("loop", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
