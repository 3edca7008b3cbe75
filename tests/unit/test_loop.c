/* SPDX-License-Identifier: Apache-2.0 */
/* loop.h: watches, kvf_fd, bounds on system calls, what the machine refuses. Its misuse: test_loop_rude.c. */
#include "tests/harness.h"

#include "tests/unit/loop_rig.h"

static void test_idle_costs_nothing(void)
{
	unsigned fds = open_fds();
	struct kvf_loop loop;
	struct kvf_mem mem;

	begin(&loop, &mem);
	for (int i = 0; i < 100; i++) {
		CU_ASSERT_EQUAL(kvf_loop_run(&loop), 0);
		kvf_loop_arm(&loop, i & 1, 5, (uint64_t)i);
	}
	CU_ASSERT_EQUAL(loop.syscalls, 0);
	CU_ASSERT_PTR_NULL(loop.ev);
	CU_ASSERT_EQUAL(open_fds(), fds);
	end(&loop, &mem, fds);
}

static void test_level_read_write(void)
{
	unsigned fds = open_fds();
	struct kvf_loop loop;
	struct kvf_mem mem;
	struct probe a;
	int s[2];

	begin(&loop, &mem);
	pair(s);
	probe_init(&a);
	CU_ASSERT_EQUAL(kvf_loop_watch(&loop, &a.watch, s[0], KVF_WATCH_READ), KVF_OK);
	CU_ASSERT_EQUAL(kvf_loop_run(&loop), 0);
	put_byte(s[1]);
	for (unsigned i = 1; i <= 3; i++) { /* level: as long as the byte is there */
		CU_ASSERT_EQUAL(kvf_loop_run(&loop), 1);
		CU_ASSERT_EQUAL(a.calls, i);
		CU_ASSERT_EQUAL(a.last, KVF_WATCH_READ);
	}
	get_byte(s[0]);
	CU_ASSERT_EQUAL(kvf_loop_run(&loop), 0);
	CU_ASSERT_EQUAL(kvf_loop_watch(&loop, &a.watch, s[0], KVF_WATCH_READ | KVF_WATCH_WRITE), KVF_OK);
	CU_ASSERT_EQUAL(kvf_loop_run(&loop), 1);
	CU_ASSERT_EQUAL(a.last, KVF_WATCH_WRITE);
	put_byte(s[1]);
	CU_ASSERT_EQUAL(kvf_loop_run(&loop), 1);
	CU_ASSERT_EQUAL(a.last, KVF_WATCH_READ | KVF_WATCH_WRITE);
	CU_ASSERT_EQUAL(kvf_loop_watch(&loop, &a.watch, s[0], KVF_WATCH_WRITE), KVF_OK);
	CU_ASSERT_EQUAL(kvf_loop_run(&loop), 1);
	CU_ASSERT_EQUAL(a.last, KVF_WATCH_WRITE);
	CU_ASSERT_EQUAL(kvf_loop_watch(&loop, &a.watch, s[0], 0), KVF_OK);
	CU_ASSERT_EQUAL(kvf_loop_watch(&loop, &a.watch, s[0], 0), KVF_OK);
	CU_ASSERT_EQUAL(loop.n_watches, 0);
	CU_ASSERT_EQUAL(kvf_loop_run(&loop), 0);
	close(s[0]);
	close(s[1]);
	end(&loop, &mem, fds);
}

static void test_syscall_bounds(void)
{
	unsigned fds = open_fds();
	struct kvf_loop loop;
	struct kvf_mem mem;
	struct probe a;
	uint64_t before;
	int s[2];

	begin(&loop, &mem);
	pair(s);
	probe_init(&a);
	CU_ASSERT_EQUAL(kvf_loop_watch(&loop, &a.watch, s[0], KVF_WATCH_READ), KVF_OK);
	CU_ASSERT(loop.syscalls <= 3); /* libev's epoll, the mirror, one epoll_ctl */
	kvf_loop_run(&loop);
	before = loop.syscalls;
	for (int i = 0; i < 100; i++)
		kvf_loop_run(&loop);
	CU_ASSERT_EQUAL(loop.syscalls - before, 100);
	before = loop.syscalls;
	for (int i = 0; i < 100; i++)
		CU_ASSERT_EQUAL(kvf_loop_watch(&loop, &a.watch, s[0], KVF_WATCH_READ), KVF_OK);
	CU_ASSERT_EQUAL(loop.syscalls, before);
	CU_ASSERT_EQUAL(kvf_loop_watch(&loop, &a.watch, s[0], KVF_WATCH_WRITE), KVF_OK);
	CU_ASSERT_EQUAL(loop.syscalls - before, 1);
	kvf_loop_run(&loop);
	CU_ASSERT_EQUAL(loop.syscalls - before, 4); /* fcntl, epoll_ctl, epoll_wait */
	CU_ASSERT(kvf_loop_fd(&loop) >= 0);
	kvf_loop_arm(&loop, false, 1000, KVF_NEVER);
	before = loop.syscalls;
	for (int i = 0; i < 100; i++) {
		kvf_loop_arm(&loop, false, 1000, KVF_NEVER);
		CU_ASSERT_EQUAL(kvf_loop_fd(&loop), loop.epoll_fd);
	}
	CU_ASSERT_EQUAL(loop.syscalls, before);
	for (int i = 0; i < 100; i++)
		kvf_loop_arm(&loop, true, 1000, 5 * KVF_NS_PER_S);
	CU_ASSERT_EQUAL(loop.syscalls - before, 2);
	for (int i = 0; i < 100; i++)
		kvf_loop_arm(&loop, i & 1, 1000, 5 * KVF_NS_PER_S);
	CU_ASSERT_EQUAL(loop.syscalls - before, 102);
	kvf_loop_watch(&loop, &a.watch, s[0], 0);
	close(s[0]);
	close(s[1]);
	end(&loop, &mem, fds);
}

static void test_bad_descriptors(void)
{
	unsigned fds = open_fds();
	struct kvf_loop loop;
	struct kvf_mem mem;
	char dir[256];
	char path[512];
	struct probe a;
	int file;

	CU_ASSERT_EQUAL_FATAL(kvf_test_tmpdir(dir, sizeof(dir)), 0);
	snprintf(path, sizeof(path), "%s/file", dir);
	file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CU_ASSERT_FATAL(file >= 0);
	begin(&loop, &mem);
	probe_init(&a);
	CU_ASSERT_EQUAL(kvf_loop_watch(&loop, &a.watch, -1, KVF_WATCH_READ), KVF_EIO);
	CU_ASSERT_EQUAL(kvf_loop_watch(&loop, &a.watch, 9999, KVF_WATCH_READ), KVF_EIO);
	CU_ASSERT_EQUAL(kvf_loop_watch(&loop, &a.watch, file, KVF_WATCH_READ), KVF_EIO);
	CU_ASSERT_EQUAL(kvf_loop_watch(&loop, &a.watch, loop.mirror_fd, KVF_WATCH_READ), KVF_EIO);
	CU_ASSERT_PTR_NULL(a.watch.link);
	CU_ASSERT_EQUAL(loop.n_watches, 0);
	CU_ASSERT_EQUAL(kvf_loop_run(&loop), 0);
	close(file);
	end(&loop, &mem, fds);
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
	unsigned fds = open_fds();
	struct kvf_loop loop;
	struct kvf_mem mem;

	begin(&loop, &mem);
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
		a.loop = b.loop = &loop;
		a.other = &b.watch;
		b.other = &a.watch;
		CU_ASSERT_EQUAL(kvf_loop_watch(&loop, &a.watch, s[0], KVF_WATCH_READ), KVF_OK);
		CU_ASSERT_EQUAL(kvf_loop_watch(&loop, &b.watch, same_fd ? s[0] : t[0], KVF_WATCH_READ), KVF_OK);
		CU_ASSERT_EQUAL(kvf_loop_run(&loop), 1); /* whoever came first stopped the other */
		CU_ASSERT_EQUAL(a.calls + b.calls, 1);
		CU_ASSERT_EQUAL(loop.n_watches, 1);
		if (a.calls) {
			a.then = stop_self;
			b.calls = 0;
		} else {
			b.then = stop_self;
		}
		CU_ASSERT_EQUAL(kvf_loop_run(&loop), 1);
		CU_ASSERT_EQUAL(loop.n_watches, 0);
		CU_ASSERT_EQUAL(kvf_loop_run(&loop), 0);
		close(s[0]);
		close(s[1]);
		close(t[0]);
		close(t[1]);
	}
	end(&loop, &mem, fds);
}

static void test_no_recursion(void)
{
	unsigned fds = open_fds();
	struct kvf_loop loop;
	struct kvf_mem mem;
	struct probe a;
	int s[2];

	begin(&loop, &mem);
	pair(s);
	probe_init(&a);
	a.then = run_inside;
	a.loop = &loop;
	CU_ASSERT_EQUAL(kvf_loop_watch(&loop, &a.watch, s[0], KVF_WATCH_WRITE), KVF_OK);
	CU_ASSERT_EQUAL(kvf_loop_run(&loop), 1);
	CU_ASSERT_EQUAL(a.calls, 1);
	/* Left on: fini stops it. */
	end(&loop, &mem, fds + 2);
	CU_ASSERT_PTR_NULL(a.watch.link);
	close(s[0]);
	close(s[1]);
}

static void test_same_fd_twice(void)
{
	unsigned fds = open_fds();
	struct kvf_loop loop;
	struct kvf_mem mem;
	struct probe a;
	struct probe b;
	int s[2];
	int fd;

	begin(&loop, &mem);
	pair(s);
	probe_init(&a);
	probe_init(&b);
	fd = kvf_loop_fd(&loop);
	CU_ASSERT_EQUAL(kvf_loop_watch(&loop, &a.watch, s[0], KVF_WATCH_READ), KVF_OK);
	CU_ASSERT_EQUAL(kvf_loop_watch(&loop, &b.watch, s[0], KVF_WATCH_WRITE), KVF_OK);
	kvf_loop_arm(&loop, false, 0, KVF_NEVER);
	CU_ASSERT_EQUAL(kvf_loop_run(&loop), 1);
	CU_ASSERT_EQUAL(b.calls, 1);
	CU_ASSERT(readable(fd)); /* for b */
	put_byte(s[1]);
	CU_ASSERT_EQUAL(kvf_loop_run(&loop), 2);
	CU_ASSERT_EQUAL(kvf_loop_watch(&loop, &b.watch, s[0], 0), KVF_OK);
	CU_ASSERT_EQUAL(kvf_loop_run(&loop), 1);
	CU_ASSERT(readable(fd));
	get_byte(s[0]);
	CU_ASSERT(!readable(fd));
	CU_ASSERT_EQUAL(kvf_loop_watch(&loop, &b.watch, s[0], KVF_WATCH_READ), KVF_OK);
	put_byte(s[1]);
	CU_ASSERT_EQUAL(kvf_loop_run(&loop), 2);
	CU_ASSERT_EQUAL(kvf_loop_watch(&loop, &a.watch, s[0], 0), KVF_OK);
	CU_ASSERT_EQUAL(kvf_loop_run(&loop), 1);
	CU_ASSERT_EQUAL(kvf_loop_watch(&loop, &b.watch, s[0], 0), KVF_OK);
	CU_ASSERT(!readable(fd));
	CU_ASSERT(!loop.stale);
	close(s[0]);
	close(s[1]);
	end(&loop, &mem, fds);
}

static void test_fd_change(void)
{
	unsigned fds = open_fds();
	struct kvf_loop loop;
	struct kvf_mem mem;
	struct probe a;
	int s[2];
	int t[2];

	begin(&loop, &mem);
	pair(s);
	pair(t);
	probe_init(&a);
	put_byte(s[1]);
	CU_ASSERT_EQUAL(kvf_loop_watch(&loop, &a.watch, s[0], KVF_WATCH_READ), KVF_OK);
	CU_ASSERT_EQUAL(kvf_loop_watch(&loop, &a.watch, t[0], KVF_WATCH_READ), KVF_OK);
	CU_ASSERT_EQUAL(kvf_loop_run(&loop), 0);
	put_byte(t[1]);
	CU_ASSERT_EQUAL(kvf_loop_run(&loop), 1);
	CU_ASSERT_EQUAL(loop.n_watches, 1);
	kvf_loop_watch(&loop, &a.watch, t[0], 0);
	close(s[0]);
	close(s[1]);
	close(t[0]);
	close(t[1]);
	end(&loop, &mem, fds);
}

/* ---- kvf_fd ---- */

static void test_eventfd(void)
{
	unsigned fds = open_fds();
	struct kvf_loop loop;
	struct kvf_mem mem;
	int fd;

	begin(&loop, &mem);
	fd = kvf_loop_fd(&loop);
	CU_ASSERT(fd >= 0);
	CU_ASSERT(readable(fd)); /* until we know better */
	CU_ASSERT(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	CU_ASSERT(fcntl(loop.timer_fd, F_GETFD) & FD_CLOEXEC);
	CU_ASSERT(fcntl(loop.event_fd, F_GETFD) & FD_CLOEXEC);
	for (int i = 0; i < 10; i++) {
		kvf_loop_arm(&loop, i & 1, 0, KVF_NEVER);
		CU_ASSERT_EQUAL(readable(fd), i & 1);
		CU_ASSERT_EQUAL(readable(fd), i & 1); /* level */
	}
	end(&loop, &mem, fds);
}

static void test_timer(void)
{
	struct pollfd p = { .events = POLLIN };
	unsigned fds = open_fds();
	struct kvf_loop loop;
	struct kvf_mem mem;

	begin(&loop, &mem);
	p.fd = kvf_loop_fd(&loop);
	/* Far away, and further than the kernel counts. */
	kvf_loop_arm(&loop, false, 1000, 1000 + 3600 * KVF_NS_PER_S);
	CU_ASSERT(!readable(p.fd));
	kvf_loop_arm(&loop, false, 1000, KVF_NEVER - 1);
	CU_ASSERT(!readable(p.fd));
	/* Any clock: only the difference counts. */
	kvf_loop_arm(&loop, false, UINT64_MAX - KVF_NS_PER_S, UINT64_MAX - KVF_NS_PER_S + 200000);
	CU_ASSERT_EQUAL(poll(&p, 1, 10000), 1);
	CU_ASSERT(readable(p.fd)); /* stays so until armed anew */
	kvf_loop_arm(&loop, false, 0, 3600 * KVF_NS_PER_S);
	CU_ASSERT(!readable(p.fd));
	kvf_loop_arm(&loop, false, 5000, 4000); /* in the past */
	CU_ASSERT_EQUAL(poll(&p, 1, 10000), 1);
	kvf_loop_arm(&loop, false, 5000, KVF_NEVER);
	CU_ASSERT(!readable(p.fd));
	end(&loop, &mem, fds);
}

static void test_fd_before_and_after_watch(void)
{
	for (int first = 0; first < 2; first++) {
		unsigned fds = open_fds();
		struct kvf_loop loop;
		struct kvf_mem mem;
		struct probe a;
		int s[2];
		int fd;

		begin(&loop, &mem);
		pair(s);
		probe_init(&a);
		if (first)
			CU_ASSERT(kvf_loop_fd(&loop) >= 0);
		CU_ASSERT_EQUAL(kvf_loop_watch(&loop, &a.watch, s[0], KVF_WATCH_READ), KVF_OK);
		fd = kvf_loop_fd(&loop);
		kvf_loop_arm(&loop, false, 0, KVF_NEVER);
		CU_ASSERT(!readable(fd));
		put_byte(s[1]);
		CU_ASSERT(readable(fd));
		CU_ASSERT_EQUAL(kvf_loop_run(&loop), 1);
		CU_ASSERT(readable(fd));
		get_byte(s[0]);
		CU_ASSERT(!readable(fd));
		CU_ASSERT_EQUAL(kvf_loop_watch(&loop, &a.watch, s[0], KVF_WATCH_WRITE), KVF_OK);
		CU_ASSERT(readable(fd));
		CU_ASSERT_EQUAL(kvf_loop_watch(&loop, &a.watch, s[0], 0), KVF_OK);
		CU_ASSERT(!readable(fd));
		close(s[0]);
		close(s[1]);
		end(&loop, &mem, fds);
	}
}

/* ---- what the machine refuses ---- */

static void *no_memory(size_t n, void *user)
{
	(void)n;
	(void)user;
	return NULL;
}

static void no_release(void *p, size_t n, void *user)
{
	(void)p;
	(void)n;
	(void)user;
}

static void test_no_memory(void)
{
	struct kvf_allocator none = { sizeof(none), no_memory, no_release, NULL };
	unsigned fds = open_fds();
	struct kvf_loop loop;
	struct kvf_mem mem;
	struct probe a;
	int s[2];

	pair(s);
	kvf_mem_init(&mem, &none);
	kvf_loop_init(&loop, &mem);
	probe_init(&a);
	CU_ASSERT_EQUAL(kvf_loop_watch(&loop, &a.watch, s[0], KVF_WATCH_READ), KVF_ENOMEM);
	CU_ASSERT_PTR_NULL(a.watch.link);
	CU_ASSERT_PTR_NULL(loop.ev);
	CU_ASSERT_EQUAL(kvf_loop_run(&loop), 0);
	kvf_mem_init(&mem, NULL);
	CU_ASSERT_EQUAL(kvf_loop_watch(&loop, &a.watch, s[0], KVF_WATCH_READ), KVF_OK);
	CU_ASSERT_EQUAL(mem.host_allocs, 1);
	for (int i = 0; i < 100; i++) {
		kvf_loop_watch(&loop, &a.watch, s[0], 1 + (unsigned)i % 3);
		kvf_loop_run(&loop);
	}
	CU_ASSERT_EQUAL(mem.host_allocs, 1);
	kvf_loop_watch(&loop, &a.watch, s[0], 0);
	close(s[0]);
	close(s[1]);
	end(&loop, &mem, fds);
}

static void test_no_descriptors(void)
{
	struct rlimit saved;
	struct kvf_loop loop;
	struct kvf_mem mem;
	struct probe a;
	int s[2];

	pair(s);
	for (unsigned room = 0; room < 6; room++) {
		unsigned fds = open_fds();
		int watched;
		int fd;

		begin(&loop, &mem);
		probe_init(&a);
		limit_fds(room, &saved);
		watched = kvf_loop_watch(&loop, &a.watch, s[0], KVF_WATCH_WRITE);
		fd = kvf_loop_fd(&loop);
		setrlimit(RLIMIT_NOFILE, &saved);
		CU_ASSERT_EQUAL(watched, room < 2 ? KVF_EIO : KVF_OK);
		CU_ASSERT(room < 5 || fd >= 0);
		CU_ASSERT(fd >= 0 || fd == KVF_EIO);
		/* And later. */
		CU_ASSERT_EQUAL(kvf_loop_watch(&loop, &a.watch, s[0], KVF_WATCH_WRITE), KVF_OK);
		CU_ASSERT_EQUAL(kvf_loop_run(&loop), 1);
		fd = kvf_loop_fd(&loop);
		kvf_loop_arm(&loop, false, 0, KVF_NEVER);
		CU_ASSERT(readable(fd));
		kvf_loop_watch(&loop, &a.watch, s[0], 0);
		end(&loop, &mem, fds);
	}
	close(s[0]);
	close(s[1]);
}

/* More ready descriptors than fit one epoll_wait(): the rest comes in the next run. */
static void test_many_ready(void)
{
	enum { MANY = 150 };
	static struct probe probe[MANY];
	static int many[MANY][2];
	unsigned fds = open_fds();
	struct kvf_loop loop;
	struct kvf_mem mem;
	unsigned n = 0;

	begin(&loop, &mem);
	for (int i = 0; i < MANY; i++) {
		pair(many[i]);
		probe_init(&probe[i]);
		CU_ASSERT_EQUAL(kvf_loop_watch(&loop, &probe[i].watch, many[i][0], KVF_WATCH_WRITE), KVF_OK);
	}
	for (int i = 0; i < 4; i++)
		n += kvf_loop_run(&loop);
	for (int i = 0; i < MANY; i++)
		CU_ASSERT(probe[i].calls >= 1);
	CU_ASSERT(n >= MANY);
	CU_ASSERT_EQUAL(kvf_loop_run(&loop), MANY);
	for (int i = 0; i < MANY; i++) {
		kvf_loop_watch(&loop, &probe[i].watch, many[i][0], 0);
		close(many[i][0]);
		close(many[i][1]);
	}
	end(&loop, &mem, fds);
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
