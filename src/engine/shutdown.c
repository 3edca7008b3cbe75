/* SPDX-License-Identifier: Apache-2.0 */
/* Shutdown: no new work, then drain, flush or cancel, until nothing is in flight. Each turn does a slice. */
#include "engine/engine.h"

bool kvf_engine_in_flight(const struct kvf_engine *e)
{
	return e->n_jobs || e->n_copies || e->n_requests || e->fills.live || !kvf_list_empty(&e->spills);
}

static void cancel_all(struct kvf_engine *e)
{
	for (uint32_t i = 0; i < e->jobs.used; i++) {
		struct kvf_job *job = kvf_slab_at(&e->jobs, i);

		if (job->id)
			kvf_job_stop(e, job, KVF_ECANCELED, KVF_REASON_CANCELED);
	}
	for (uint32_t t = 0; t < e->n_tiers; t++)
		kvf_spill_drop_some(e, &e->tier[t]);
}

/* Flush: every resident chunk that a tier lacks goes down. Stores that are still running add theirs themselves. */
static void walk(struct kvf_engine *e)
{
	uint32_t n = 0;

	while (e->flush_cursor < e->index.used && n++ < KVF_TURN_SCAN) {
		uint32_t entry = e->flush_cursor++;

		if (kvf_index_entry(&e->index, entry)->state == KVF_ENTRY_RESIDENT)
			kvf_spill_queue(e, entry, e->tier_mask);
	}
	if (e->flush_cursor >= e->index.used)
		e->flush_walk = false;
}

static void end_leases(struct kvf_engine *e)
{
	struct kvf_heap_node *node;

	while ((node = kvf_heap_min(&e->timers.leases)))
		kvf_lease_end(e, kvf_container_of(node, struct kvf_lease, expiry));
}

int kvf_shutdown_begin(struct kvf_engine *e, enum kvf_shutdown_mode mode, uint64_t deadline_ns)
{
	if (e->shutting && (mode != KVF_SHUTDOWN_CANCEL || e->shutdown_mode == KVF_SHUTDOWN_CANCEL))
		return kvf_refuse(e, KVF_ESHUTDOWN, "shutdown: already begun; it can only be raised to cancel");
	e->shutting = true;
	e->shutdown_mode = mode;
	e->shutdown_at_ns = deadline_ns;
	e->flush_walk = mode == KVF_SHUTDOWN_FLUSH;
	for (uint32_t i = 0; i < e->jobs.used; i++) {
		struct kvf_job *job = kvf_slab_at(&e->jobs, i);

		/* Nobody will ask for its fences any more. */
		if (job->id && job->state == KVF_STATE_POSTED)
			kvf_job_ready(e, job);
	}
	if (mode == KVF_SHUTDOWN_CANCEL)
		cancel_all(e);
	return KVF_OK;
}

void kvf_shutdown_turn(struct kvf_engine *e)
{
	if (e->shutdown_mode != KVF_SHUTDOWN_CANCEL && e->clock.now_ns >= e->shutdown_at_ns) {
		e->shutdown_mode = KVF_SHUTDOWN_CANCEL;
		cancel_all(e);
	}
	if (e->shutdown_mode == KVF_SHUTDOWN_CANCEL) {
		e->flush_walk = false;
		for (uint32_t t = 0; t < e->n_tiers; t++)
			kvf_tier_withdraw(&e->tier[t]);
	}
	if (e->flush_walk && !e->n_jobs)
		walk(e);
	if (!e->n_jobs)
		end_leases(e);
	e->growing = false;
}
