/* SPDX-License-Identifier: Apache-2.0 */
/* loop.h: owners that close first, and everything at random: against poll() when they keep the rules, for survival
 * when they do not. */
#include "tests/harness.h"

#include "tests/unit/loop_rig.h"

/* ---- owners that close first ---- */

/* when: 0 closed before libev ever saw it, 1 after, 2 after and narrowed by a second watch. keep: a duplicate lives. */
static void close_before_stop(int when, bool keep, bool with_fd)
{
	struct loop_rig r;
	struct probe a;
	struct probe b;
	int dup_fd = -1;
	int s[2];
	int fd = -1;

	begin(&r);
	pair(s);
	probe_init(&a);
	probe_init(&b);
	if (with_fd) {
		fd = kvf_loop_fd(&r.loop);
		kvf_loop_arm(&r.loop, false, 0, KVF_NEVER);
	}
	watch(&r, &a, s[0], KVF_WATCH_READ);
	if (when == 2)
		watch(&r, &b, s[0], KVF_WATCH_WRITE);
	if (when)
		kvf_loop_run(&r.loop);
	if (keep)
		dup_fd = fcntl(s[0], F_DUPFD_CLOEXEC, 200);
	close(s[0]);
	if (when == 2)
		watch(&r, &b, s[0], 0);
	kvf_loop_run(&r.loop);
	if (keep)
		put_byte(s[1]);
	for (int i = 0; i < 3; i++)
		kvf_loop_run(&r.loop);
	watch(&r, &a, s[0], 0);
	kvf_loop_run(&r.loop);
	kvf_loop_arm(&r.loop, false, 0, KVF_NEVER);
	if (with_fd)
		CU_ASSERT(!readable(fd)); /* nothing is watched */
	CU_ASSERT_EQUAL(r.loop.n_watches, 0);
	if (keep)
		close(dup_fd);
	close(s[1]);
	end(&r);
}

static void test_close_before_stop(void)
{
	for (int when = 0; when < 3; when++)
		for (int with_fd = 0; with_fd < 2; with_fd++)
			for (int keep = 0; keep < 2; keep++)
				close_before_stop(when, keep, with_fd);
}

/* The number of a closed descriptor comes back for another file, while the old watch is still on. */
static void test_number_comes_back(void)
{
	for (int keep = 0; keep < 2; keep++) {
		struct loop_rig r;
		struct probe a;
		struct probe b;
		int old = -1;
		int s[2];
		int t[2];
		int fd;

		begin(&r);
		fd = kvf_loop_fd(&r.loop);
		pair(s);
		pair(t);
		probe_init(&a);
		probe_init(&b);
		watch(&r, &a, s[0], KVF_WATCH_READ);
		kvf_loop_run(&r.loop);
		if (keep)
			old = fcntl(s[0], F_DUPFD_CLOEXEC, 200);
		put_byte(s[1]);
		CU_ASSERT_EQUAL(dup2(t[0], s[0]), s[0]);
		watch(&r, &b, s[0], KVF_WATCH_READ);
		for (int i = 0; i < 4; i++)
			kvf_loop_run(&r.loop);
		CU_ASSERT_EQUAL(a.calls, 0); /* its file is gone */
		CU_ASSERT_EQUAL(b.calls, 0);
		kvf_loop_arm(&r.loop, false, 0, KVF_NEVER);
		CU_ASSERT(!readable(fd)); /* the byte is for nobody */
		put_byte(t[1]);
		CU_ASSERT_EQUAL(kvf_loop_run(&r.loop), 1);
		CU_ASSERT_EQUAL(b.calls, 1);
		CU_ASSERT(readable(fd));
		watch(&r, &a, s[0], 0);
		CU_ASSERT_EQUAL(kvf_loop_run(&r.loop), 1);
		watch(&r, &b, s[0], 0);
		CU_ASSERT(!readable(fd));
		/* A dead watch that is set again lives again. */
		watch(&r, &a, s[0], KVF_WATCH_READ);
		CU_ASSERT_EQUAL(kvf_loop_run(&r.loop), 1);
		CU_ASSERT_EQUAL(a.calls, 1);
		kvf_loop_watch(&r.loop, &a.watch, s[0], 0);
		if (keep)
			close(old);
		unpair(s);
		unpair(t);
		end(&r);
	}
}

/* Stopped and closed as it should be, but a duplicate keeps the entry of libev, which makes a new epoll descriptor. */
static void test_duplicate_lives_on(void)
{
	struct loop_rig r;
	struct probe a;
	struct probe b;
	int dup_fd;
	int s[2];
	int t[2];
	int fd;

	begin(&r);
	fd = kvf_loop_fd(&r.loop);
	pair(s);
	pair(t);
	probe_init(&a);
	probe_init(&b);
	watch(&r, &a, s[0], KVF_WATCH_READ);
	watch(&r, &b, t[0], KVF_WATCH_READ);
	kvf_loop_run(&r.loop);
	dup_fd = fcntl(s[0], F_DUPFD_CLOEXEC, 200);
	watch(&r, &a, s[0], 0);
	close(s[0]);
	put_byte(s[1]);
	for (int i = 0; i < 5; i++)
		CU_ASSERT_EQUAL(kvf_loop_run(&r.loop), 0);
	put_byte(t[1]);
	CU_ASSERT_EQUAL(kvf_loop_run(&r.loop), 1);
	CU_ASSERT_EQUAL(b.calls, 1);
	get_byte(t[0]);
	kvf_loop_arm(&r.loop, false, 0, KVF_NEVER);
	CU_ASSERT(!readable(fd));
	kvf_loop_watch(&r.loop, &b.watch, t[0], 0);
	close(dup_fd);
	close(s[1]);
	unpair(t);
	end(&r);
}

/* No descriptor for a new mirror: the old one stays, and the next chance is taken. */
static void test_mirror_is_renewed_later(void)
{
	struct rlimit saved;
	struct loop_rig r;
	struct probe a;
	int dup_fd;
	int s[2];
	int fd;

	begin(&r);
	pair(s);
	probe_init(&a);
	fd = kvf_loop_fd(&r.loop);
	watch(&r, &a, s[0], KVF_WATCH_READ);
	dup_fd = fcntl(s[0], F_DUPFD_CLOEXEC, 0);
	close(s[0]);
	watch(&r, &a, s[0], 0);
	CU_ASSERT(r.loop.stale);
	put_byte(s[1]);
	limit_fds(0, &saved);
	kvf_loop_arm(&r.loop, false, 0, KVF_NEVER);
	setrlimit(RLIMIT_NOFILE, &saved);
	CU_ASSERT(r.loop.stale);
	CU_ASSERT(readable(fd));
	kvf_loop_arm(&r.loop, false, 0, KVF_NEVER);
	CU_ASSERT(!r.loop.stale);
	CU_ASSERT(!readable(fd));
	close(dup_fd);
	close(s[1]);
	end(&r);
}

/* ---- many, at random, against poll() ---- */

#define PAIRS 60 /* below the 64 that libev asks for in its first call */
#define WATCHES 160

struct crowd {
	struct probe probe[WATCHES];
	int pair[PAIRS][2];
};

static void gather(struct crowd *crowd)
{
	for (int k = 0; k < PAIRS; k++)
		pair(crowd->pair[k]);
	for (int w = 0; w < WATCHES; w++)
		probe_init(&crowd->probe[w]);
}

static void disperse(struct crowd *crowd)
{
	for (int k = 0; k < PAIRS; k++)
		unpair(crowd->pair[k]);
}

static void stop_all(struct kvf_loop *loop, struct crowd *crowd)
{
	for (int w = 0; w < WATCHES; w++)
		kvf_loop_watch(loop, &crowd->probe[w].watch, crowd->probe[w].watch.fd, 0);
}

static unsigned expected(const struct probe *probe)
{
	struct pollfd p = { .fd = probe->watch.fd, .events = POLLIN | POLLOUT };
	unsigned events = 0;

	if (!probe->watch.link)
		return 0;
	CU_ASSERT(poll(&p, 1, 0) >= 0);
	if (p.revents & (POLLIN | POLLHUP | POLLERR))
		events |= KVF_WATCH_READ;
	if (p.revents & (POLLOUT | POLLHUP | POLLERR))
		events |= KVF_WATCH_WRITE;
	return events & probe->watch.events;
}

static void renew_pair(struct kvf_loop *loop, struct crowd *crowd, int k)
{
	for (int w = 0; w < WATCHES; w++)
		if (crowd->probe[w].watch.link && crowd->probe[w].watch.fd == crowd->pair[k][0])
			kvf_loop_watch(loop, &crowd->probe[w].watch, crowd->pair[k][0], 0);
	unpair(crowd->pair[k]);
	pair(crowd->pair[k]);
}

static void step(struct kvf_loop *loop, struct crowd *crowd)
{
	int k = rand() % PAIRS;
	int w = rand() % WATCHES;
	char buf[64];

	switch (rand() % 8) {
	case 0:
		put_byte(crowd->pair[k][1]);
		break;
	case 1:
		CU_ASSERT(read(crowd->pair[k][0], buf, sizeof(buf)) != 0);
		break;
	case 2:
		if (rand() % 4 == 0)
			renew_pair(loop, crowd, k);
		break;
	case 3:
		kvf_loop_watch(loop, &crowd->probe[w].watch, crowd->probe[w].watch.fd, 0);
		break;
	default:
		CU_ASSERT_EQUAL(kvf_loop_watch(loop, &crowd->probe[w].watch, crowd->pair[k][0],
					       1 + (unsigned)rand() % 3), KVF_OK);
	}
}

static void compare(struct kvf_loop *loop, struct crowd *crowd, int fd)
{
	unsigned ready = 0;
	unsigned n;

	for (int w = 0; w < WATCHES; w++) {
		crowd->probe[w].calls = 0;
		crowd->probe[w].last = 0;
	}
	n = kvf_loop_run(loop);
	for (int w = 0; w < WATCHES; w++) {
		unsigned events = expected(&crowd->probe[w]);

		CU_ASSERT_EQUAL(crowd->probe[w].last, events);
		CU_ASSERT_EQUAL(crowd->probe[w].calls, events != 0);
		ready += events != 0;
	}
	CU_ASSERT_EQUAL(n, ready);
	kvf_loop_arm(loop, false, 0, KVF_NEVER);
	CU_ASSERT_EQUAL(readable(fd), ready != 0);
}

static void test_random(void)
{
	for (unsigned seed = 1; seed <= 8; seed++) {
		static struct crowd crowd;
		struct loop_rig r;
		int fd;

		srand(seed);
		begin(&r);
		fd = kvf_loop_fd(&r.loop);
		gather(&crowd);
		for (int i = 0; i < 400; i++) {
			for (int n = rand() % 12; n >= 0; n--)
				step(&r.loop, &crowd);
			compare(&r.loop, &crowd, fd);
		}
		CU_ASSERT(!r.loop.stale);
		stop_all(&r.loop, &crowd);
		CU_ASSERT_EQUAL(r.loop.n_watches, 0);
		CU_ASSERT(!readable(fd));
		disperse(&crowd);
		end(&r);
	}
}

/* Owners that close, duplicate and forget as they like: nothing may break, and once all is stopped nothing is left. */
static void test_rude(void)
{
	for (unsigned seed = 1; seed <= 30; seed++) {
		static struct crowd crowd;
		struct loop_rig r;
		int kept[PAIRS];
		int fd;

		srand(seed);
		begin(&r);
		fd = kvf_loop_fd(&r.loop);
		gather(&crowd);
		for (int k = 0; k < PAIRS; k++)
			kept[k] = -1;
		for (int i = 0; i < 600; i++) {
			int k = rand() % PAIRS;

			if (rand() % 3) {
				step(&r.loop, &crowd);
			} else if (kept[k] < 0 && rand() % 2) {
				kept[k] = fcntl(crowd.pair[k][0], F_DUPFD_CLOEXEC, 0);
			} else {
				unpair(crowd.pair[k]); /* behind the back of its watches */
				pair(crowd.pair[k]);
			}
			if (rand() % 2)
				kvf_loop_run(&r.loop);
			if (rand() % 8 == 0)
				kvf_loop_arm(&r.loop, rand() & 1, 0, (uint64_t)rand());
		}
		stop_all(&r.loop, &crowd);
		kvf_loop_run(&r.loop);
		kvf_loop_arm(&r.loop, false, 0, KVF_NEVER);
		CU_ASSERT_EQUAL(r.loop.n_watches, 0);
		CU_ASSERT(!readable(fd));
		disperse(&crowd);
		for (int k = 0; k < PAIRS; k++)
			if (kept[k] >= 0)
				close(kept[k]);
		end(&r);
	}
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "close_before_stop", test_close_before_stop },
		{ "number_comes_back", test_number_comes_back },
		{ "duplicate_lives_on", test_duplicate_lives_on },
		{ "mirror_is_renewed_later", test_mirror_is_renewed_later },
		{ "random", test_random },
		{ "rude", test_rude },
	};

	return kvf_test_main("loop_rude", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
