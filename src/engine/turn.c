/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One turn: clock -> timers -> device -> checksums -> descriptors -> tiers -> pool -> waiting jobs -> ready jobs.
 * Each part has a budget, so a turn is short whatever is going on. Events only make jobs ready; the jobs run at the
 * end.
 */
#include "engine/engine.h"

#include <stdarg.h>
#include <stdio.h>

#define IDLE_WATCH_NS KVF_NS_PER_MS /* how often descriptors of an otherwise idle engine are looked at */

int kvf_refuse(struct kvf_engine *e, int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(e->detail, sizeof(e->detail), fmt, ap);
	va_end(ap);
	return status;
}

void kvf_die(struct kvf_engine *e, const char *file, int line, const char *what)
{
	if (e->dead)
		return;
	e->dead = true;
	snprintf(e->detail, sizeof(e->detail), "broken invariant at %s:%d: %s", file, line, what);
	kvf_log(&e->log, KVF_LOG_ERROR, "engine", "%s; the engine stops, operations end with KVF_EINTERNAL", e->detail);
}

static void fire_timers(struct kvf_engine *e)
{
	uint64_t now = e->clock.now_ns;
	struct kvf_heap_node *node;

	while ((node = kvf_heap_min(&e->timers.jobs)) && node->at_ns <= now) {
		struct kvf_job *job = kvf_container_of(node, struct kvf_job, deadline);

		kvf_heap_remove(&e->timers.jobs, node);
		kvf_job_stop(e, job, KVF_ETIMEDOUT, KVF_REASON_LATE);
	}
	while ((node = kvf_heap_min(&e->timers.puts)) && node->at_ns <= now)
		kvf_spill_late(e, kvf_container_of(node, struct kvf_put, deadline));
	while ((node = kvf_heap_min(&e->timers.leases)) && node->at_ns <= now) {
		e->stats.leases_expired++;
		kvf_lease_end(e, kvf_container_of(node, struct kvf_lease, expiry));
	}
}

static void run_descriptors(struct kvf_engine *e)
{
	if (!e->loop.n_watches)
		return;
	if (!e->n_requests && e->clock.now_ns < e->watched_ns + IDLE_WATCH_NS)
		return;
	e->watched_ns = e->clock.now_ns;
	kvf_loop_run(&e->loop);
}

/* Prefetches that waited for their rate. */
static void wake_rate_waiters(struct kvf_engine *e)
{
	struct kvf_list *node;

	if (kvf_list_empty(&e->rate_waiters) ||
	    kvf_bucket_ready_ns(&e->prefetch_rate, e->clock.now_ns) > e->clock.now_ns)
		return;
	while ((node = kvf_list_pop_front(&e->rate_waiters)))
		kvf_job_ready(e, kvf_list_entry(node, struct kvf_job, level_link));
}

static void grow_pool(struct kvf_engine *e)
{
	int rc;

	if (e->growing) {
		rc = kvf_pool_step(&e->pool);
		if (rc <= 0)
			e->growing = false;
		if (rc < 0)
			kvf_log(&e->log, KVF_LOG_WARNING, "pool",
				"stays at %u of %u slots: the machine gave no more memory, or it could not be locked",
				e->pool.n_ready, e->pool.target);
	}
	if (e->retiring || e->emptying)
		kvf_slots_retire(e);
	e->growing |= e->retiring && e->pool.due;
}

static void run_ready(struct kvf_engine *e)
{
	uint32_t budget = KVF_TURN_STEPS;
	struct kvf_list turn;
	struct kvf_list *node;

	/* Only those that are ready now: what they make ready runs in the next turn. */
	kvf_list_init(&turn);
	if (kvf_list_empty(&e->ready))
		return;
	turn = e->ready;
	turn.next->prev = &turn;
	turn.prev->next = &turn;
	kvf_list_init(&e->ready);
	e->looks = 0;
	while (budget && e->looks < KVF_TURN_LOOKS && (node = kvf_list_pop_front(&turn))) {
		uint32_t used = kvf_job_drive(e, kvf_list_entry(node, struct kvf_job, ready), budget);

		e->stats.job_steps += used;
		budget -= kvf_min_u64(used, budget);
	}
	/* Whoever was not reached goes first in the next turn. */
	while (!kvf_list_empty(&turn)) {
		node = turn.prev;
		kvf_list_remove(node);
		kvf_list_push_front(&e->ready, node);
	}
}

/* The engine is dead: whatever can end without touching its structures, ends. */
static void end_all_dead(struct kvf_engine *e)
{
	if (e->buried)
		return;
	e->buried = true;
	for (uint32_t i = 0; i < e->jobs.used; i++) {
		struct kvf_job *job = kvf_slab_at(&e->jobs, i);
		struct kvf_completion c = { .op_id = job->id,
					    .user_data = job->user_data,
					    .kind = KVF_DONE,
					    .op = job->code,
					    .status = KVF_EINTERNAL };

		if (!job->id || job->state == KVF_STATE_POSTED)
			continue;
		kvf_ring_post(e, &c);
		job->state = KVF_STATE_POSTED;
	}
}

/* What device and tiers hold has to come back, or it could never be closed. Nothing else is looked at. */
static void turn_dead(struct kvf_engine *e)
{
	end_all_dead(e);
	kvf_device_turn_dead(e);
	if (e->n_requests)
		run_descriptors(e);
	e->more = kvf_tiers_turn_dead(e);
}

/* When a dead engine is due: for its last completions, and for what comes back. */
static uint64_t deadline_dead(const struct kvf_engine *e)
{
	uint64_t at = KVF_NEVER;

	if (!e->buried || e->ring.n)
		return 0;
	if (e->n_copies)
		at = kvf_sat_add(e->clock.now_ns, KVF_DEVICE_POLL_NS);
	if (e->n_requests)
		at = kvf_min_u64(at, e->more ? 0 : kvf_tiers_deadline_dead(e));
	return at;
}

void kvf_timeline_begin(struct kvf_engine *e)
{
	static const char *const rows[] = {
		[KVF_ROW_TURN] = "turns",	  [KVF_ROW_JOBS] = "operations",	[KVF_ROW_D2H] = "device to RAM",
		[KVF_ROW_H2D] = "RAM to device", [KVF_ROW_CHECKSUM] = "checksums", [KVF_ROW_POOL] = "pool",
	};

	for (uint32_t i = 0; i < KVF_ARRAY_LEN(rows); i++)
		kvf_timeline_row_name(&e->timeline, i, rows[i]);
	for (uint32_t t = 0; t < e->n_tiers; t++)
		kvf_timeline_row_name(&e->timeline, KVF_ROW_TIER + t, e->tier[t].ops->name);
}

bool kvf_engine_quiet(const struct kvf_engine *e)
{
	/* `more` too: a turn that found nothing has to lower kvf_fd, or the host would poll for ever. */
	return kvf_list_empty(&e->ready) && !e->more && !e->n_jobs && !e->n_copies && !e->n_requests && !e->growing &&
	       !e->retiring && !e->emptying && !e->shutting && kvf_list_empty(&e->spills) && kvf_list_empty(&e->sums) &&
	       kvf_scrub_deadline(e) == KVF_NEVER && !e->loop.n_watches && !e->timers.leases.n && !e->dead &&
	       (!e->n_tiers || kvf_tiers_deadline(e) == KVF_NEVER);
}

void kvf_turn(struct kvf_engine *e)
{
	uint64_t start = kvf_clock_update(&e->clock);
	bool more;

	e->stats.turns++;
	if (e->dead) {
		turn_dead(e);
		return;
	}
	fire_timers(e);
	more = kvf_device_turn(e);
	more |= kvf_sums_step(e, KVF_TURN_SUM_BYTES);
	kvf_scrub_turn(e);
	run_descriptors(e);
	more |= kvf_tiers_turn(e);
	grow_pool(e);
	if (e->shutting)
		kvf_shutdown_turn(e);
	kvf_slots_serve(e);
	wake_rate_waiters(e);
	run_ready(e);
	/* Jobs give slots back too: whoever waits for one is not left asleep. */
	kvf_slots_serve(e);
	e->more = more;
	kvf_timeline_slice(&e->timeline, KVF_ROW_TURN, "turn", start,
			   e->timeline.write ? kvf_clock_peek(&e->clock) : start, 0, 0);
}

uint64_t kvf_engine_deadline(const struct kvf_engine *e)
{
	const struct kvf_heap *heaps[] = { &e->timers.jobs, &e->timers.puts, &e->timers.leases };
	uint64_t at = KVF_NEVER;

	if (e->dead)
		return deadline_dead(e);
	if (e->ring.n || e->more || e->growing || e->retiring || e->emptying || !kvf_list_empty(&e->ready) ||
	    !kvf_list_empty(&e->sums))
		return 0;
	/* The walk of a flush waits for the operations that are left. */
	if (e->flush_walk && !e->n_jobs)
		return 0;
	at = kvf_min_u64(kvf_tiers_deadline(e), kvf_scrub_deadline(e));
	for (size_t i = 0; i < KVF_ARRAY_LEN(heaps); i++) {
		const struct kvf_heap_node *node = kvf_heap_min(heaps[i]);

		if (node)
			at = kvf_min_u64(at, node->at_ns);
	}
	if (e->n_copies || !kvf_list_empty(&e->copy_wait))
		at = kvf_min_u64(at, kvf_sat_add(e->clock.now_ns, KVF_DEVICE_POLL_NS));
	if (!kvf_list_empty(&e->rate_waiters))
		at = kvf_min_u64(at, kvf_bucket_ready_ns(&e->prefetch_rate, e->clock.now_ns));
	if (e->shutting && e->shutdown_mode != KVF_SHUTDOWN_CANCEL)
		at = kvf_min_u64(at, e->shutdown_at_ns);
	return at;
}
