/* SPDX-License-Identifier: Apache-2.0 */
/* kvf_ev.h: an engine in a loop of the host's own; detach, pause, close and free inside the callback. */
#include "tests/harness.h"
#include "tests/rig.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kvferry/kvf_ev.h"

#define OPS 100u

struct host {
	struct rig rig;
	struct ev_loop *loop;
	struct kvf_ev *ev;
	ev_timer guard;
	unsigned done, failed, left;
	int failed_status;
	uint64_t last;
	void (*then)(struct host *h, struct kvf_ev *ev, const struct kvf_completion *c);
};

/* A loop that would never end is ended by this one. */
static void too_long(struct ev_loop *loop, ev_timer *timer, int revents)
{
	(void)timer;
	(void)revents;
	CU_FAIL("the loop hangs");
	ev_break(loop, EVBREAK_ALL);
}

static void on_done(struct kvf_ev *ev, const struct kvf_completion *c)
{
	struct host *h = ev->user;

	CU_ASSERT_EQUAL(c->user_data, h->last + 1);
	h->last = c->user_data;
	h->done++;
	if (h->then)
		h->then(h, ev, c);
}

static void on_failed(struct kvf_ev *ev, int status)
{
	struct host *h = ev->user;

	h->failed++;
	h->failed_status = status;
}

static void host_open(struct host *h)
{
	memset(h, 0, sizeof(*h));
	rig_open(&h->rig, &(struct rig_options){ .slots = 8 });
	rig_tokens(&h->rig, 1, RIG_CHUNK);
	h->loop = ev_loop_new(EVFLAG_AUTO);
	CU_ASSERT_FATAL(h->loop != NULL);
	ev_timer_init(&h->guard, too_long, 20, 0);
	ev_timer_start(h->loop, &h->guard);
	ev_unref(h->loop);
	h->ev = malloc(sizeof(*h->ev));
	CU_ASSERT_EQUAL_FATAL(kvf_ev_attach(h->ev, h->loop, h->rig.engine, on_done, h), KVF_OK);
	h->ev->failed = on_failed;
}

static void host_close(struct host *h, bool engine)
{
	if (h->ev)
		kvf_ev_detach(h->ev);
	free(h->ev);
	ev_ref(h->loop);
	ev_timer_stop(h->loop, &h->guard);
	ev_loop_destroy(h->loop);
	if (engine)
		rig_close(&h->rig);
	else
		free(h->rig.kv);
}

/* n lookups with user_data from..from+n-1 */
static void submit(struct host *h, uint64_t from, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct kvf_op op;

		kvf_prep_lookup(&op, h->rig.seq, 0, 0, 0);
		op.user_data = from + i;
		rig_submit(&h->rig, &op);
	}
}

static void detach_after_all(struct host *h, struct kvf_ev *ev, const struct kvf_completion *c)
{
	if (c->user_data == h->left)
		kvf_ev_detach(ev);
}

/* More completions than a batch; the loop ends by itself once the engine is detached. */
static void test_completions(void)
{
	struct host h;

	host_open(&h);
	h.left = OPS;
	h.then = detach_after_all;
	submit(&h, 1, OPS);
	ev_run(h.loop, 0);
	CU_ASSERT_EQUAL(h.done, OPS);
	kvf_ev_detach(h.ev);
	host_close(&h, true);
}

static void submit_next(struct host *h, struct kvf_ev *ev, const struct kvf_completion *c)
{
	if (c->user_data < OPS)
		submit(h, c->user_data + 1, 1);
	else
		kvf_ev_detach(ev);
}

/* A submit inside the callback, with nothing else in flight, wakes the loop. */
static void test_submit_in_callback(void)
{
	struct host h;

	host_open(&h);
	h.then = submit_next;
	submit(&h, 1, 1);
	ev_run(h.loop, 0);
	CU_ASSERT_EQUAL(h.done, OPS);
	host_close(&h, true);
}

static void detach_at_5(struct host *h, struct kvf_ev *ev, const struct kvf_completion *c)
{
	(void)h;
	if (c->user_data == 5)
		kvf_ev_detach(ev);
}

/* After a detach in the middle of a batch nothing is called, and nothing is lost. */
static void test_detach_in_callback(void)
{
	struct host h;
	struct kvf_completion c;
	uint64_t want = 6;

	host_open(&h);
	h.then = detach_at_5;
	submit(&h, 1, 40);
	ev_run(h.loop, 0);
	CU_ASSERT_EQUAL(h.done, 5);
	while (kvf_ev_next(h.ev, &c))
		CU_ASSERT_EQUAL(c.user_data, want++);
	while (kvf_poll(h.rig.engine, &c, 1) == 1)
		CU_ASSERT_EQUAL(c.user_data, want++);
	CU_ASSERT_EQUAL(want, 41);
	host_close(&h, true);
}

static void close_at_10(struct host *h, struct kvf_ev *ev, const struct kvf_completion *c)
{
	if (c->user_data != 10)
		return;
	kvf_ev_detach(ev);
	free(ev);
	h->ev = NULL;
	CU_ASSERT_EQUAL(kvf_engine_idle(h->rig.engine), 1);
	CU_ASSERT_EQUAL(kvf_engine_close(h->rig.engine), KVF_OK);
}

/* Detached, freed and the engine closed inside the last callback. Valgrind and ASan look on. */
static void test_close_in_callback(void)
{
	struct host h;

	host_open(&h);
	h.then = close_at_10;
	submit(&h, 1, 10);
	ev_run(h.loop, 0);
	CU_ASSERT_EQUAL(h.done, 10);
	host_close(&h, false);
}

static void resume_later(struct ev_loop *loop, ev_timer *timer, int revents)
{
	struct host *h = timer->data;

	(void)loop;
	(void)revents;
	CU_ASSERT_EQUAL(h->done, 7);
	kvf_ev_resume(h->ev);
	kvf_ev_resume(h->ev);
}

static void pause_at_7(struct host *h, struct kvf_ev *ev, const struct kvf_completion *c)
{
	if (c->user_data == 7) {
		kvf_ev_pause(ev);
		kvf_ev_pause(ev);
	}
	if (c->user_data == h->left)
		kvf_ev_detach(ev);
}

/* Paused in the middle of a batch: silence, then the rest in order. */
static void test_pause(void)
{
	struct host h;
	ev_timer timer;

	host_open(&h);
	h.left = 40;
	h.then = pause_at_7;
	submit(&h, 1, 40);
	ev_timer_init(&timer, resume_later, 0.02, 0);
	timer.data = &h;
	ev_timer_start(h.loop, &timer);
	ev_run(h.loop, 0);
	CU_ASSERT_EQUAL(h.done, 40);
	/* On a detached one nothing happens. */
	kvf_ev_pause(h.ev);
	kvf_ev_resume(h.ev);
	CU_ASSERT_EQUAL(ev_is_active(&h.ev->io), 0);
	host_close(&h, true);
}

static void pause_then_detach(struct host *h, struct kvf_ev *ev, const struct kvf_completion *c)
{
	(void)h;
	(void)c;
	kvf_ev_pause(ev);
	kvf_ev_detach(ev);
}

/* The same struct serves again. */
static void test_attach_again(void)
{
	struct host h;

	host_open(&h);
	h.then = pause_then_detach;
	submit(&h, 1, 1);
	ev_run(h.loop, 0);
	CU_ASSERT_EQUAL(h.done, 1);
	CU_ASSERT_EQUAL(kvf_ev_attach(h.ev, h.loop, h.rig.engine, on_done, &h), KVF_OK);
	submit(&h, 2, 1);
	ev_run(h.loop, 0);
	CU_ASSERT_EQUAL(h.done, 2);
	host_close(&h, true);
}

static void nest(struct host *h, struct kvf_ev *ev, const struct kvf_completion *c)
{
	if (c->user_data % 8 == 1)
		ev_run(h->loop, EVRUN_NOWAIT);
	if (c->user_data == h->left) {
		kvf_ev_detach(ev);
		free(ev);
		h->ev = NULL;
	}
}

/* Callbacks that run the loop: order is kept (on_done() checks it), and they survive the free in the innermost. */
static void test_nested_loop(void)
{
	struct host h;

	host_open(&h);
	h.left = OPS;
	h.then = nest;
	submit(&h, 1, OPS);
	ev_run(h.loop, 0);
	CU_ASSERT_EQUAL(h.done, OPS);
	host_close(&h, true);
}

static void count_round(struct ev_loop *loop, ev_timer *timer, int revents)
{
	(void)revents;
	(void)timer;
	ev_break(loop, EVBREAK_ALL);
}

/* An idle engine does not turn the loop. */
static void test_idle_is_quiet(void)
{
	struct host h;
	ev_timer timer;

	host_open(&h);
	rig_compute(&h.rig, RIG_CHUNK);
	rig_store(&h.rig, 0, RIG_CHUNK, 0);
	while (ev_run(h.loop, EVRUN_NOWAIT) && ev_iteration(h.loop) < 50)
		;
	ev_timer_init(&timer, count_round, 0.05, 0);
	ev_timer_start(h.loop, &timer);
	{
		unsigned before = ev_iteration(h.loop);

		ev_run(h.loop, 0);
		CU_ASSERT(ev_iteration(h.loop) - before < 20);
	}
	host_close(&h, true);
}

static void *run_elsewhere(void *arg)
{
	struct host *h = arg;

	ev_run(h->loop, 0);
	return NULL;
}

/* The loop runs in another thread: told once, not for ever. */
static void test_wrong_thread(void)
{
	struct host h;
	pthread_t thread;

	host_open(&h);
	submit(&h, 1, 3);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, run_elsewhere, &h), 0);
	CU_ASSERT_EQUAL(pthread_join(thread, NULL), 0);
	CU_ASSERT_EQUAL(h.failed, 1);
	CU_ASSERT_EQUAL(h.failed_status, KVF_ETHREAD);
	CU_ASSERT_EQUAL(h.done, 0);
	host_close(&h, true);
}

static void test_after_fork(void)
{
	struct host h;
	pid_t pid;
	int status;

	host_open(&h);
	submit(&h, 1, 1);
	pid = fork();
	CU_ASSERT_FATAL(pid >= 0);
	if (!pid) {
		ev_loop_fork(h.loop);
		ev_run(h.loop, 0);
		/* By an exec when all is well: leak checkers would count all that the parent still has. */
		if (h.failed == 1 && h.failed_status == KVF_EFORK && !h.done)
			execl("/bin/true", "true", (char *)NULL);
		_exit(1);
	}
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_EQUAL(status, 0);
	/* The parent goes on. */
	h.left = 1;
	h.then = detach_after_all;
	ev_run(h.loop, 0);
	CU_ASSERT_EQUAL(h.done, 1);
	host_close(&h, true);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "completions", test_completions },
		{ "submit_in_callback", test_submit_in_callback },
		{ "detach_in_callback", test_detach_in_callback },
		{ "close_in_callback", test_close_in_callback },
		{ "pause", test_pause },
		{ "attach_again", test_attach_again },
		{ "nested_loop", test_nested_loop },
		{ "idle_is_quiet", test_idle_is_quiet },
		{ "wrong_thread", test_wrong_thread },
		{ "after_fork", test_after_fork },
	};

	return kvf_test_main("kvf_ev", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
