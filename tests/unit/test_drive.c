/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Driving an engine: what kvf_fd() and kvf_next_deadline_ns() tell a host that sleeps, and what an engine costs one
 * that does not: no system call while idle, no allocation in steady state, nothing left behind after a close.
 */
#include "tests/harness.h"
#include "tests/rig.h"
#include "tests/sim/simmem.h"
#include "tests/support/descriptors.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define N (10 * RIG_CHUNK)
#define MS 1000000ull

/* Asked for once, as a host does: kvf_fd() brings the descriptor up to date, and would hide that a call forgot to. */
static int engine_fd;

static bool readable(int timeout_ms)
{
	struct pollfd p = { engine_fd, POLLIN, 0 };

	return poll(&p, 1, timeout_ms) == 1;
}

static void open_with_fd(struct rig *r, const struct rig_options *options)
{
	rig_open(r, options);
	engine_fd = kvf_fd(r->engine);
	CU_ASSERT_FATAL(engine_fd >= 0);
}

/* A host that polls only when woken. Returns how often that was until the engine let it sleep for 30 ms. */
static unsigned sleep_until_quiet(struct rig *r, struct kvf_completion *last)
{
	unsigned wakes = 0;

	while (readable(30) && wakes < 100000) {
		struct kvf_completion c;

		if (kvf_poll(r->engine, &c, 1) == 1)
			*last = c;
		wakes++;
	}
	return wakes;
}

/* ---- kvf_fd ---- */

static void test_readable_while_there_is_work(void)
{
	struct rig r;
	struct kvf_completion c;
	struct kvf_op op;

	open_with_fd(&r, &(struct rig_options){ .slots = 16 });
	rig_tokens(&r, 1, N);
	CU_ASSERT_FALSE(readable(0));
	CU_ASSERT_EQUAL(kvf_next_deadline_ns(r.engine), KVF_NO_DEADLINE);
	kvf_prep_lookup(&op, r.seq, 0, 0, 0);
	rig_submit(&r, &op);
	CU_ASSERT_TRUE(readable(0));
	CU_ASSERT(kvf_next_deadline_ns(r.engine) <= kvf_now_ns(r.engine));
	/* Turns without reaping: it stays readable. */
	for (unsigned i = 0; i < 10; i++) {
		CU_ASSERT_EQUAL(kvf_poll(r.engine, NULL, 0), 0);
		CU_ASSERT_TRUE(readable(0));
		CU_ASSERT(kvf_next_deadline_ns(r.engine) <= kvf_now_ns(r.engine));
	}
	CU_ASSERT_EQUAL(kvf_poll(r.engine, &c, 1), 1);
	CU_ASSERT_FALSE(readable(0));
	CU_ASSERT_EQUAL(kvf_next_deadline_ns(r.engine), KVF_NO_DEADLINE);
	rig_close(&r);
}

/* Work is finished by a host that polls only when woken, and then it may sleep. */
static void test_sleeping_host(void)
{
	struct rig r;
	struct kvf_completion c = { 0 };
	struct kvf_op op;

	open_with_fd(&r, &(struct rig_options){ .slots = 16 });
	rig_tokens(&r, 1, N);
	rig_compute(&r, N);
	for (unsigned i = 0; i < 3; i++) {
		rig_prep(&r, &op, i ? KVF_OP_RETRIEVE : KVF_OP_STORE, 0, N);
		rig_submit(&r, &op);
		CU_ASSERT(sleep_until_quiet(&r, &c) < 1000);
		CU_ASSERT_EQUAL(c.op, op.code);
		CU_ASSERT_EQUAL(c.tokens, N);
		CU_ASSERT_FALSE(readable(0));
		CU_ASSERT_EQUAL(kvf_next_deadline_ns(r.engine), KVF_NO_DEADLINE);
	}
	rig_close(&r);
}

/* A fence that is not there yet: the host is woken now and then to look, not all the time. */
static void test_waits_for_fence(void)
{
	struct rig r;
	struct kvf_completion c;
	struct kvf_op op;
	volatile uint64_t word = 0;
	uint64_t end;
	unsigned wakes = 0;

	open_with_fd(&r, &(struct rig_options){ .slots = 16 });
	rig_tokens(&r, 1, N);
	rig_prep(&r, &op, KVF_OP_STORE, 0, N);
	op.fence = (struct kvf_fence_in){ .kind = KVF_FENCE_WORD, .word = &word, .value = 1 };
	rig_submit(&r, &op);
	for (end = kvf_now_ns(r.engine) + 20 * MS; kvf_now_ns(r.engine) < end; wakes++) {
		CU_ASSERT_TRUE_FATAL(readable(5000));
		CU_ASSERT_EQUAL(kvf_poll(r.engine, &c, 1), 0);
	}
	CU_ASSERT(wakes <= 20 * MS / 50000 + 10);
	word = 1;
	CU_ASSERT(sleep_until_quiet(&r, &c) < 1000);
	CU_ASSERT_EQUAL(c.tokens, N);
	rig_close(&r);
}

static void test_lease_expiry_wakes(void)
{
	struct rig r;
	struct kvf_completion c;
	unsigned wakes = 0;

	open_with_fd(&r, &(struct rig_options){ .slots = 16 });
	rig_tokens(&r, 1, N);
	rig_compute(&r, N);
	rig_store(&r, 0, N, 0);
	CU_ASSERT_NOT_EQUAL(rig_lookup(&r, 0, 20 * MS).lease_id, 0);
	CU_ASSERT_NOT_EQUAL(kvf_next_deadline_ns(r.engine), KVF_NO_DEADLINE);
	while (rig_stats(&r).slots_leased && wakes++ < 10) {
		CU_ASSERT_TRUE_FATAL(readable(5000));
		kvf_poll(r.engine, &c, 1);
	}
	CU_ASSERT(wakes <= 3);
	CU_ASSERT_EQUAL(rig_stats(&r).leases_expired, 1);
	CU_ASSERT_FALSE(readable(30));
	/* One that is given back does not wake anybody. */
	c = rig_lookup(&r, 0, 20 * MS);
	rig_unpin(&r, c.lease_id, 0, SIZE_MAX);
	CU_ASSERT_FALSE(readable(30));
	rig_close(&r);
}

/* ---- a tier that hangs until told ---- */

struct hung {
	struct kvf_tier_host *host;
	struct kvf_tier_req *held[64];
	unsigned n, progressed;
	uint64_t due;
	struct kvf_watch watch;
	int fd;
};

static int hung_open(void *self, struct kvf_tier_host *host, const struct kvf_tier_open *params, uint32_t *caps)
{
	struct hung *t = self;

	(void)params;
	t->host = host;
	*caps = KVF_TIER_RECORDS | KVF_TIER_SHARED;
	return t->fd >= 0 ? host->watch(host, &t->watch, t->fd, KVF_WATCH_READ) : KVF_OK;
}

static void hung_close(void *self)
{
	struct hung *t = self;

	if (t->fd >= 0)
		t->host->watch(t->host, &t->watch, t->fd, 0);
}

static unsigned hung_submit(void *self, struct kvf_tier_req *const *reqs, unsigned n)
{
	struct hung *t = self;

	for (unsigned i = 0; i < n; i++) {
		if (t->n == KVF_ARRAY_LEN(t->held))
			return i;
		t->held[t->n++] = reqs[i];
	}
	return n;
}

static uint64_t hung_progress(void *self, uint64_t now_ns, uint64_t budget)
{
	struct hung *t = self;

	(void)budget;
	t->progressed++;
	if (now_ns >= t->due)
		t->due = KVF_NO_DEADLINE;
	return 0;
}

static uint64_t hung_due(void *self)
{
	return ((struct hung *)self)->due;
}

static void hung_ready(struct kvf_watch *watch, unsigned events)
{
	struct hung *t = watch->arg;
	uint64_t v;

	(void)events;
	CU_ASSERT_EQUAL(read(t->fd, &v, sizeof(v)), sizeof(v));
	for (unsigned i = 0; i < t->n; i++)
		t->host->complete(t->host, t->held[i], KVF_ENOENT);
	t->n = 0;
}

static const struct kvf_tier_ops hung_ops = {
	.size = sizeof(hung_ops),
	.name = "hung",
	.open = hung_open,
	.close = hung_close,
	.submit = hung_submit,
	.progress = hung_progress,
	.next_deadline_ns = hung_due,
};

static void hung_rig(struct rig *r, struct hung *t, bool watched)
{
	struct kvf_custom_tier custom = { &hung_ops, t };

	memset(t, 0, sizeof(*t));
	t->due = KVF_NO_DEADLINE;
	t->fd = watched ? eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) : -1;
	t->watch.ready = hung_ready;
	t->watch.arg = t;
	open_with_fd(r, &(struct rig_options){ .slots = 16, .tiers = &custom, .n_tiers = 1 });
	rig_tokens(r, 1, N);
}

/* An operation on a tier that hangs: the deadline wakes the host; so does the tier's descriptor, later. */
static void test_deadline_and_watch_wake(void)
{
	struct rig r;
	struct hung t;
	struct kvf_completion c = { 0 };
	struct kvf_op op;
	uint64_t one = 1;
	unsigned wakes = 0;

	hung_rig(&r, &t, true);
	rig_prep(&r, &op, KVF_OP_RETRIEVE, 0, N);
	op.deadline_ns = kvf_now_ns(r.engine) + 20 * MS;
	rig_submit(&r, &op);
	while (!c.kind && wakes++ < 100) {
		CU_ASSERT_TRUE_FATAL(readable(5000));
		kvf_poll(r.engine, &c, 1);
	}
	CU_ASSERT(wakes <= 10);
	CU_ASSERT_EQUAL(c.status, KVF_ETIMEDOUT);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_LATE);
	CU_ASSERT(t.n > 0);
	CU_ASSERT_EQUAL(kvf_engine_idle(r.engine), 0);
	CU_ASSERT_EQUAL(kvf_engine_close(r.engine), KVF_EBUSY);
	CU_ASSERT_FALSE(readable(30));
	CU_ASSERT_EQUAL(write(t.fd, &one, sizeof(one)), sizeof(one));
	CU_ASSERT(readable(5000));
	CU_ASSERT(sleep_until_quiet(&r, &c) < 100);
	CU_ASSERT_EQUAL(kvf_engine_idle(r.engine), 1);
	rig_close(&r);
	close(t.fd);
}

/* A tier that only wants to be called at a certain time is called then, and the host may sleep before and after. */
static void test_tier_deadline_wakes(void)
{
	struct rig r;
	struct hung t;
	struct kvf_completion c;
	unsigned wakes = 0;

	hung_rig(&r, &t, false);
	t.due = kvf_now_ns(r.engine) + 20 * MS;
	kvf_poll(r.engine, &c, 1);
	t.progressed = 0;
	while (!t.progressed && wakes++ < 100) {
		CU_ASSERT_TRUE_FATAL(readable(5000));
		kvf_poll(r.engine, &c, 1);
	}
	CU_ASSERT(wakes <= 3);
	CU_ASSERT_FALSE(readable(30));
	rig_close(&r);
}

/* A tier switched off drops what is queued for it: stores that waited for that have something to do. */
static void test_tier_off_wakes(void)
{
	struct rig r;
	struct hung t;
	struct kvf_completion c = { 0 };
	struct kvf_op op;
	uint64_t one = 1;

	hung_rig(&r, &t, true);
	rig_prep(&r, &op, KVF_OP_STORE, 0, N);
	op.level = KVF_LEVEL_REMOTE;
	op.deadline_ns = KVF_NO_DEADLINE;
	rig_submit(&r, &op);
	sleep_until_quiet(&r, &c);
	CU_ASSERT_EQUAL(c.kind, 0);
	CU_ASSERT(rig_stats(&r).tiers[0].queued_spills > 0);
	CU_ASSERT_EQUAL(kvf_set_tier(r.engine, KVF_TIER_CUSTOM, 0), KVF_OK);
	CU_ASSERT_TRUE(readable(0));
	CU_ASSERT_EQUAL(write(t.fd, &one, sizeof(one)), sizeof(one));
	sleep_until_quiet(&r, &c);
	CU_ASSERT_EQUAL(c.status, KVF_EDROPPED);
	CU_ASSERT_EQUAL(c.level, KVF_LEVEL_INDEXED);
	rig_close(&r);
	close(t.fd);
}

static void test_nested_epoll(void)
{
	struct rig r;
	struct kvf_completion c = { 0 };
	struct kvf_op op;
	struct epoll_event ev = { .events = EPOLLIN };
	int outer = epoll_create1(EPOLL_CLOEXEC);
	int middle = epoll_create1(EPOLL_CLOEXEC);

	open_with_fd(&r, &(struct rig_options){ .slots = 16 });
	rig_tokens(&r, 1, N);
	CU_ASSERT_EQUAL(epoll_ctl(middle, EPOLL_CTL_ADD, engine_fd, &ev), 0);
	CU_ASSERT_EQUAL(epoll_ctl(outer, EPOLL_CTL_ADD, middle, &ev), 0);
	CU_ASSERT_EQUAL(epoll_wait(outer, &ev, 1, 30), 0);
	rig_prep(&r, &op, KVF_OP_STORE, 0, N);
	rig_submit(&r, &op);
	for (unsigned i = 0; i < 1000 && !c.kind; i++) {
		CU_ASSERT_EQUAL_FATAL(epoll_wait(outer, &ev, 1, 5000), 1);
		kvf_poll(r.engine, &c, 1);
	}
	CU_ASSERT_EQUAL(c.tokens, N);
	sleep_until_quiet(&r, &c);
	CU_ASSERT_EQUAL(epoll_wait(outer, &ev, 1, 30), 0);
	close(outer);
	close(middle);
	rig_close(&r);
}

/* What a fence tail still holds is let go in a turn: the release wakes the host for it. */
static void test_fence_release_wakes(void)
{
	struct rig r;
	struct kvf_completion c = { 0 };
	struct kvf_op op;
	uint64_t id;

	open_with_fd(&r, &(struct rig_options){ .slots = 16 });
	rig_tokens(&r, 1, N);
	rig_compute(&r, N);
	rig_store(&r, 0, N, 0);
	rig_prep(&r, &op, KVF_OP_RETRIEVE, 0, N);
	op.flags = KVF_OP_STREAM_ORDERED;
	id = rig_submit(&r, &op);
	sleep_until_quiet(&r, &c);
	CU_ASSERT_EQUAL(c.op_id, id);
	CU_ASSERT_EQUAL(kvf_engine_idle(r.engine), 0);
	CU_ASSERT_FALSE(readable(0));
	CU_ASSERT_EQUAL(kvf_fence_release(r.engine, id), KVF_OK);
	CU_ASSERT_TRUE(readable(0));
	sleep_until_quiet(&r, &c);
	CU_ASSERT_EQUAL(kvf_engine_idle(r.engine), 1);
	rig_close(&r);
}

/* ---- what it costs ---- */

#define ALLOW(nr) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (nr), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

/* From here on any system call but these kills the process. */
static bool forbid_system_calls(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		ALLOW(SYS_exit_group),
		ALLOW(SYS_exit),
		ALLOW(SYS_write),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog prog = { KVF_ARRAY_LEN(code), code };

	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) && !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

/* Not _exit(): sanitizers look at the stack there, by a system call. */
static void quit(int status)
{
	(void)syscall(SYS_exit_group, status);
}

static void poll_under_filter(bool with_fd, bool forbidden)
{
	struct rig r;
	struct kvf_completion c;

	rig_open(&r, &(struct rig_options){ .slots = 16 });
	if (with_fd && kvf_fd(r.engine) < 0)
		quit(2);
	rig_tokens(&r, 1, N);
	rig_store(&r, 0, N, 0);
	for (unsigned i = 0; i < 100; i++)
		kvf_poll(r.engine, &c, 1);
	if (!forbid_system_calls())
		quit(77);
	if (forbidden)
		(void)getppid();
	for (unsigned i = 0; i < 100000; i++) {
		if (kvf_poll(r.engine, &c, 1))
			quit(3);
	}
	quit(0);
}

/* The third child calls what is forbidden: the filter works. */
static void test_idle_poll_makes_no_system_call(void)
{
	if (getenv("KVF_VALGRIND")) {
		kvf_test_skip("valgrind makes system calls of its own");
		return;
	}
	for (unsigned i = 0; i < 3; i++) {
		pid_t pid = fork();
		int status;

		CU_ASSERT_FATAL(pid >= 0);
		if (!pid)
			poll_under_filter(i == 1, i == 2);
		CU_ASSERT_EQUAL_FATAL(waitpid(pid, &status, 0), pid);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
			kvf_test_skip("no seccomp filters here");
			return;
		}
		CU_ASSERT_EQUAL(WIFSIGNALED(status), i == 2);
		CU_ASSERT(i == 2 || WEXITSTATUS(status) == 0);
	}
}

/* Stores that evict, retrieves, lookups with leases, new sequences: after a while nothing is allocated any more. */
static void cycle(struct rig *r, unsigned from, unsigned n)
{
	for (unsigned i = from; i < from + n; i++) {
		struct kvf_completion c;

		rig_tokens(r, i % 7, N);
		rig_store(r, 0, N, KVF_OP_SOURCE_FREE);
		c = rig_lookup(r, 0, 1000 * MS);
		rig_retrieve(r, 0, N, i % 3 ? KVF_OP_PROGRESS : KVF_OP_LAYERWISE);
		rig_unpin(r, c.lease_id, 0, SIZE_MAX);
	}
}

static void test_steady_state_allocates_nothing(void)
{
	struct rig r;
	uint64_t before;

	rig_open(&r, &(struct rig_options){ .slots = 24 });
	CU_ASSERT(kvf_fd(r.engine) >= 0);
	cycle(&r, 0, 50);
	before = rig_stats(&r).host_allocs;
	cycle(&r, 50, 200);
	CU_ASSERT_EQUAL(rig_stats(&r).host_allocs, before);
	CU_ASSERT(rig_stats(&r).evictions > 0);
	rig_close(&r);
}

static void test_open_close_leaves_nothing(void)
{
	unsigned before = descriptors_open(NULL);
	struct simmem host;

	simmem_init(&host, 1);
	for (unsigned i = 0; i < 30; i++) {
		struct hung t = { .due = KVF_NO_DEADLINE,
				  .fd = eventfd(0, EFD_CLOEXEC),
				  .watch = { .ready = hung_ready, .arg = &t } };
		struct kvf_custom_tier custom = { &hung_ops, &t };
		struct rig r;

		rig_open(&r, &(struct rig_options){
				     .slots = 8, .tiers = &custom, .n_tiers = i % 2, .allocator = &host.allocator });
		CU_ASSERT(host.live_blocks > 0);
		CU_ASSERT(kvf_fd(r.engine) >= 0);
		rig_tokens(&r, 1, N);
		if (i % 2 == 0)
			CU_ASSERT(rig_store(&r, 0, N, 0).tokens > 0);
		rig_close(&r);
		close(t.fd);
		CU_ASSERT_EQUAL(host.live_blocks, 0);
		CU_ASSERT_EQUAL(host.wrong_sizes, 0);
		CU_ASSERT_EQUAL(descriptors_open(NULL), before);
	}
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "readable_while_there_is_work", test_readable_while_there_is_work },
		{ "sleeping_host", test_sleeping_host },
		{ "waits_for_fence", test_waits_for_fence },
		{ "lease_expiry_wakes", test_lease_expiry_wakes },
		{ "deadline_and_watch_wake", test_deadline_and_watch_wake },
		{ "tier_deadline_wakes", test_tier_deadline_wakes },
		{ "tier_off_wakes", test_tier_off_wakes },
		{ "nested_epoll", test_nested_epoll },
		{ "fence_release_wakes", test_fence_release_wakes },
		{ "idle_poll_makes_no_system_call", test_idle_poll_makes_no_system_call },
		{ "steady_state_allocates_nothing", test_steady_state_allocates_nothing },
		{ "open_close_leaves_nothing", test_open_close_leaves_nothing },
	};

	return kvf_test_main("drive", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
