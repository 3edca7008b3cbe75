/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a timed replay does between its requests, as a host would: it has a heartbeat to keep, and it sleeps on the
 * engine's descriptor. Times are on the clock of replay_now_ns(), so that making up bytes delays nothing.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <poll.h>
#include <time.h>

#include "base/compiler.h"
#include "replay.h"

#define BEAT_NS UINT64_C(1000000)

void replay_beat(struct replay_run *run)
{
	uint64_t now = replay_now_ns(run);
	uint64_t late;

	if (!run->beat_ns)
		run->beat_ns = now + BEAT_NS;
	if (now < run->beat_ns)
		return;
	late = now - run->beat_ns;
	kvf_hist_add(&run->result->beat_late, late);
	run->beat_ns += (1 + late / BEAT_NS) * BEAT_NS;
}

/* Until the next beat, request, or wish of the engine. */
void replay_sleep(struct replay_run *run, uint64_t next)
{
	struct pollfd p = {.fd = -1, .events = POLLIN};
	uint64_t now = replay_now_ns(run), real = tool_now_ns();
	uint64_t ns = run->beat_ns > now ? run->beat_ns - now : 0;
	struct timespec t = {0};

	ns = kvf_min_u64(ns, next > real ? next - real : 0);
	if (run->engine) {
		uint64_t at = kvf_next_deadline_ns(run->engine), is = kvf_now_ns(run->engine);

		ns = kvf_min_u64(ns, at > is ? at - is : 0);
		p.fd = kvf_fd(run->engine);
	}
	t.tv_nsec = (long)ns;
	if (ns)
		(void)ppoll(&p, 1, &t, NULL);
}

/* By how much an operation that ended just now overran its deadline. */
void replay_judge_deadline(struct replay_run *run, const struct replay_request *q)
{
	uint64_t took = replay_now_ns(run) - q->submitted_ns;
	uint64_t allowed = run->options->deadline_ms * KVF_NS_PER_MS;

	if (allowed && took > allowed)
		run->result->late_ns = kvf_max_u64(run->result->late_ns, took - allowed);
}
