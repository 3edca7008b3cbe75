/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard of every public call: right process, right thread, not from inside another call. Reading a thread's
 * identity and one word costs a few nanoseconds.
 */
#ifndef KVF_API_GUARD_H
#define KVF_API_GUARD_H

#include "engine/engine.h"

static inline int kvf_enter(struct kvf_engine *e)
{
	if (kvf_unlikely(!*e->fork_word))
		return KVF_EFORK;
	if (kvf_unlikely(!e->owned)) {
		e->owner = pthread_self();
		e->owned = true;
	} else if (kvf_unlikely(!pthread_equal(e->owner, pthread_self()))) {
		if (!e->migrating)
			return KVF_ETHREAD;
		e->owner = pthread_self();
	}
	if (kvf_unlikely(e->entered))
		return KVF_EREENTRY;
	e->entered = true;
	return KVF_OK;
}

/* The same for calls that only read: they may come while nobody polled yet, and claim nothing. */
static inline int kvf_peek(const struct kvf_engine *e)
{
	if (kvf_unlikely(!*e->fork_word))
		return KVF_EFORK;
	if (kvf_unlikely(e->owned && !e->migrating && !pthread_equal(e->owner, pthread_self())))
		return KVF_ETHREAD;
	return e->entered ? KVF_EREENTRY : KVF_OK;
}

static inline int kvf_exit(struct kvf_engine *e, int rc)
{
	e->entered = false;
	return rc;
}

/* Tells kvf_fd() what the host has to wait for. */
static inline void kvf_arm(struct kvf_engine *e)
{
	uint64_t at;

	if (e->loop.epoll_fd < 0)
		return;
	at = kvf_engine_deadline(e);
	/* While it is readable anyway, the timer may stay as it is. */
	if (at <= e->clock.now_ns)
		kvf_loop_arm(&e->loop, true, e->clock.now_ns, e->loop.armed_ns);
	else
		kvf_loop_arm(&e->loop, false, e->clock.now_ns, at);
}

#endif
