/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvferry in the host's own libev loop. Header only: compile it where the host includes <ev.h>; libkvferry itself never
 * sees this loop.
 *
 *	static void done(struct kvf_ev *ev, const struct kvf_completion *c) { ... }
 *
 *	struct kvf_ev ev;
 *	int rc = kvf_ev_attach(&ev, loop, engine, done, user);
 *	...
 *	kvf_ev_detach(&ev);                the engine may be closed from here on
 *
 * An ev_io on kvf_fd() calls kvf_poll() and hands each completion to the callback, at most KVF_EV_BATCH of them before
 * the loop gets its turn again. Nothing else is needed: kvf_submit() makes the descriptor readable, and so do the
 * engine's own timers. Submit from wherever you like in the loop's thread, the callback included.
 *
 * INSIDE THE CALLBACK everything is allowed: submit, cancel, pause, detach, kvf_engine_close() after a detach, freeing
 * the struct kvf_ev after a detach, even running the loop again. A callback that detaches or pauses gets no further
 * call. What was reaped by then and not handed out yet stays in the struct: kvf_ev_resume() goes on with it, after a
 * detach kvf_ev_next() hands it out. No completion is lost.
 *
 * ERRORS. When kvf_poll() refuses (KVF_ETHREAD: the loop runs in another thread; KVF_EFORK: after a fork), the watcher
 * is detached, since it would fire for ever, and kvf_ev.failed is called, where it is set.
 *
 * One struct kvf_ev an engine. It may be moved in memory only while it is detached. Not thread-safe, as the engine is.
 */
#ifndef KVFERRY_KVF_EV_H
#define KVFERRY_KVF_EV_H

#include <string.h>

#include <ev.h>

#include "kvferry/kvferry.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KVF_EV_BATCH 32u

struct kvf_ev;

typedef void (*kvf_ev_done_fn)(struct kvf_ev *ev, const struct kvf_completion *completion);
typedef void (*kvf_ev_failed_fn)(struct kvf_ev *ev, int status);

struct kvf_ev {
	void *user;		 /* the host's */
	kvf_ev_failed_fn failed; /* may be set after the attach; NULL: nobody is told */
	/* the rest is this header's */
	ev_io io;
	struct ev_loop *loop; /* NULL: detached */
	struct kvf_engine *engine;
	kvf_ev_done_fn done;
	int paused;
	int *gone; /* of the innermost dispatch that runs: set when the struct may not be touched any more */
	unsigned at, n; /* batch[at..n) was reaped and not handed out */
	struct kvf_completion batch[KVF_EV_BATCH];
};

/* Takes a completion that was reaped before a detach and not handed out. 1: *out is set; 0: there is none. */
static inline int kvf_ev_next(struct kvf_ev *ev, struct kvf_completion *out)
{
	if (ev->at == ev->n)
		return 0;
	*out = ev->batch[ev->at++];
	return 1;
}

/* Stops watching. Idempotent. Must come before kvf_engine_close() and before the loop is destroyed. */
static inline void kvf_ev_detach(struct kvf_ev *ev)
{
	if (!ev->loop)
		return;
	ev_io_stop(ev->loop, &ev->io);
	ev->loop = NULL;
	if (ev->gone)
		*ev->gone = 1;
	ev->gone = NULL;
}

/* Hands out what is in the batch. Returns 1 when *ev may not be touched any more. */
static inline int kvf_ev_hand_out(struct kvf_ev *ev)
{
	int *outer = ev->gone;
	int gone = 0;

	ev->gone = &gone;
	while (!gone && !ev->paused && ev->at < ev->n) {
		struct kvf_completion c = ev->batch[ev->at++];

		ev->done(ev, &c);
	}
	if (!gone)
		ev->gone = outer;
	else if (outer)
		*outer = 1; /* the callback ran the loop: the dispatch around this one must not go on either */
	return gone;
}

static inline void kvf_ev_ready(struct ev_loop *loop, ev_io *io, int revents)
{
	struct kvf_ev *ev = (struct kvf_ev *)io->data;
	kvf_ev_failed_fn failed;
	int rc;

	(void)loop;
	(void)revents;
	/* Left over from a pause, or from a dispatch whose callback runs this one. */
	if (kvf_ev_hand_out(ev) || ev->paused)
		return;
	rc = kvf_poll(ev->engine, ev->batch, KVF_EV_BATCH);
	if (rc < 0) {
		failed = ev->failed;
		kvf_ev_detach(ev);
		if (failed)
			failed(ev, rc);
		return;
	}
	ev->at = 0;
	ev->n = (unsigned)rc;
	(void)kvf_ev_hand_out(ev);
}

/*
 * Attaches the engine to the loop and sets every field of *ev. The watcher counts as active: ev_run() goes on until it
 * is detached, or until ev_unref(). KVF_OK, or what kvf_fd() said: KVF_ENOMEM, KVF_EIO and the guards; *ev is detached
 * then.
 */
static inline int kvf_ev_attach(struct kvf_ev *ev, struct ev_loop *loop, struct kvf_engine *engine,
				kvf_ev_done_fn done, void *user)
{
	int fd = kvf_fd(engine);

	memset(ev, 0, sizeof(*ev));
	ev->user = user;
	ev->engine = engine;
	ev->done = done;
	if (fd < 0)
		return fd;
	ev->loop = loop;
	ev_io_init(&ev->io, kvf_ev_ready, fd, EV_READ);
	ev->io.data = ev;
	ev_io_start(loop, &ev->io);
	return KVF_OK;
}

/* No callbacks until kvf_ev_resume(), and no turns for the engine: keep it short, or poll by hand. Idempotent. */
static inline void kvf_ev_pause(struct kvf_ev *ev)
{
	if (!ev->loop || ev->paused)
		return;
	ev->paused = 1;
	ev_io_stop(ev->loop, &ev->io);
}

/* Goes on, in the next round of the loop, with what was left. Idempotent. */
static inline void kvf_ev_resume(struct kvf_ev *ev)
{
	if (!ev->loop || !ev->paused)
		return;
	ev->paused = 0;
	ev_io_start(ev->loop, &ev->io);
	if (ev->at < ev->n)
		ev_feed_event(ev->loop, &ev->io, EV_READ);
}

#ifdef __cplusplus
}
#endif
#endif
