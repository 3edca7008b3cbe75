/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where each chunk of an operation is: RAM by the index, then the tiers in order, each asked once and in one go for
 * everything that is still unknown. A chunk nobody has ends the prefix, so nothing behind it is asked for.
 */
#include "engine/engine.h"

#include <string.h>

static uint32_t n_chunks(const struct kvf_job *job)
{
	return job->end_chunk - job->first_chunk;
}

void kvf_plan_forget(struct kvf_engine *e, struct kvf_tier *tier, const struct kvf_tier_req *of)
{
	struct kvf_ask *ask = kvf_mem_zalloc(&e->mem, sizeof(*ask));

	/* Without memory it comes back damaged once more. */
	if (!ask)
		return;
	memcpy(ask->req.key, of->key, sizeof(ask->req.key));
	memcpy(ask->req.parent, of->parent, sizeof(ask->req.parent));
	ask->req.kind = KVF_REQ_REMOVE;
	ask->req.priority = KVF_PRIO_LOW;
	ask->req.n_tokens = of->n_tokens;
	ask->req.deadline_ns = KVF_NEVER;
	ask->req.depth = of->depth;
	kvf_list_push_back(&tier->asks, &ask->link);
}

/* Looks a slice of the chunks up in the index. */
static void look_in_ram(struct kvf_engine *e, struct kvf_job *job)
{
	uint32_t entry[KVF_FIND_BATCH];
	uint32_t left = n_chunks(job) - job->plan_cursor;

	if (!left)
		return;
	if (!kvf_job_means_ram(job)) {
		uint32_t n = (uint32_t)kvf_min_u64(left, KVF_TURN_SCAN);

		memset(job->where + job->plan_cursor, KVF_AT_UNKNOWN, n);
		job->plan_cursor += n;
		return;
	}
	for (uint32_t n = 0; job->plan_cursor < n_chunks(job) && n < KVF_TURN_SCAN;) {
		uint32_t m = kvf_job_entries(e, job, job->first_chunk + job->plan_cursor, job->end_chunk, entry);

		for (uint32_t i = 0; i < m; i++)
			job->where[job->plan_cursor++] = entry[i] != KVF_NIL ? KVF_AT_RAM : KVF_AT_UNKNOWN;
		n += m;
	}
}

/* Chunks [0, plan_known) have a known place. */
static void advance_known(struct kvf_job *job, uint32_t end)
{
	while (job->plan_known < end && job->where[job->plan_known] != KVF_AT_UNKNOWN)
		job->plan_known++;
}

static bool may_ask(const struct kvf_engine *e, struct kvf_job *job, const struct kvf_tier *tier)
{
	if (job->tiers && !(job->tiers & tier->bit))
		return false;
	if (e->frozen && job->code != KVF_OP_REMOVE)
		return false;
	if (kvf_tier_usable(e, tier))
		return true;
	if (!job->plan_failed)
		job->plan_failed = KVF_PLAN_TIER;
	return false;
}

static bool ask(struct kvf_engine *e, struct kvf_job *job, struct kvf_tier *tier, uint32_t chunk)
{
	struct kvf_ask *ask = kvf_mem_zalloc(&e->mem, sizeof(*ask));

	if (!ask)
		return false;
	kvf_req_fill_common(e, &ask->req, job, chunk);
	ask->suffix = job->suffix;
	kvf_wire_suffix_ref(ask->suffix);
	ask->req.kind = job->code == KVF_OP_REMOVE ? KVF_REQ_REMOVE : KVF_REQ_EXISTS;
	ask->job = job;
	ask->chunk = chunk;
	kvf_list_push_back(&tier->asks, &ask->link);
	kvf_list_push_back(&job->asks, &ask->of_job);
	job->n_asks++;
	e->looks += KVF_LOOKS_ASK;
	return true;
}

/* Asks one tier about all that is unknown. Returns false when the scan is not finished. */
static bool ask_tier(struct kvf_engine *e, struct kvf_job *job, struct kvf_tier *tier)
{
	uint32_t scanned = 0;

	while (job->plan_cursor < n_chunks(job)) {
		if (job->n_asks >= KVF_ASK_WINDOW || scanned++ >= KVF_TURN_SCAN)
			return false;
		if (job->where[job->plan_cursor] == KVF_AT_UNKNOWN &&
		    !ask(e, job, tier, job->first_chunk + job->plan_cursor)) {
			job->plan_failed = KVF_PLAN_MEMORY;
			job->plan_cursor = n_chunks(job);
			break;
		}
		job->plan_cursor++;
	}
	return true;
}

static enum kvf_step_result plan_end(struct kvf_job *job)
{
	advance_known(job, n_chunks(job));
	/* What was begun early may have failed before. */
	if (job->plan_known < n_chunks(job) && job->first_chunk + job->plan_known < job->limit) {
		job->limit = job->first_chunk + job->plan_known;
		job->reason = job->plan_failed == KVF_PLAN_MEMORY ? KVF_REASON_MEMORY :
			      job->plan_failed		      ? KVF_REASON_TIER :
								KVF_REASON_MISS;
	}
	return KVF_STEP_AGAIN;
}

static int alloc_where(struct kvf_engine *e, struct kvf_job *job)
{
	if (job->where || !n_chunks(job))
		return KVF_OK;
	job->where = kvf_mem_alloc(&e->mem, n_chunks(job));
	if (!job->where)
		return KVF_ENOMEM;
	job->where_bytes = n_chunks(job);
	return KVF_OK;
}

uint32_t kvf_plan_known(struct kvf_job *job)
{
	if (job->where)
		advance_known(job, job->plan_tier ? n_chunks(job) : job->plan_cursor);
	return job->first_chunk + job->plan_known;
}

enum kvf_step_result kvf_plan_step(struct kvf_engine *e, struct kvf_job *job)
{
	if (alloc_where(e, job)) {
		job->limit = job->first_chunk;
		job->reason = KVF_REASON_MEMORY;
		return KVF_STEP_AGAIN;
	}
	if (!job->plan_tier) {
		look_in_ram(e, job);
		if (job->plan_cursor < n_chunks(job))
			return KVF_STEP_YIELD;
		advance_known(job, n_chunks(job));
		job->plan_tier = 1;
		job->plan_cursor = job->plan_known;
	}
	while (job->plan_known < n_chunks(job) && job->plan_tier <= e->n_tiers) {
		struct kvf_tier *tier = &e->tier[job->plan_tier - 1];

		if (may_ask(e, job, tier) && !ask_tier(e, job, tier))
			return job->n_asks >= KVF_ASK_WINDOW ? KVF_STEP_WAIT : KVF_STEP_YIELD;
		/* Also of a tier that may not be asked any more. */
		if (job->n_asks)
			return KVF_STEP_WAIT;
		advance_known(job, n_chunks(job));
		job->plan_tier++;
		job->plan_cursor = job->plan_known;
	}
	return plan_end(job);
}

/* Every chunk of the span, one tier after another; an answer is never a miss. A tier that is switched off is a
 * failure: it may still hold what should be gone. */
enum kvf_step_result kvf_plan_remove(struct kvf_engine *e, struct kvf_job *job)
{
	if (alloc_where(e, job)) {
		job->plan_failed = KVF_PLAN_MEMORY;
		return KVF_STEP_AGAIN;
	}
	if (!n_chunks(job))
		return KVF_STEP_AGAIN;
	if (!job->plan_tier) {
		memset(job->where, KVF_AT_UNKNOWN, job->where_bytes);
		job->plan_tier = 1;
		job->plan_cursor = 0;
	}
	while (job->plan_tier <= e->n_tiers) {
		struct kvf_tier *tier = &e->tier[job->plan_tier - 1];

		if (may_ask(e, job, tier) && !ask_tier(e, job, tier))
			return job->n_asks >= KVF_ASK_WINDOW ? KVF_STEP_WAIT : KVF_STEP_YIELD;
		if (job->n_asks)
			return KVF_STEP_WAIT;
		memset(job->where, KVF_AT_UNKNOWN, job->where_bytes);
		job->plan_tier++;
		job->plan_cursor = 0;
	}
	return KVF_STEP_AGAIN;
}

void kvf_plan_answer(struct kvf_engine *e, struct kvf_ask *ask)
{
	struct kvf_job *job = ask->job;

	if (job) {
		job->n_asks--;
		if (ask->req.status != KVF_OK && ask->req.status != KVF_ENOENT && !job->plan_failed)
			job->plan_failed = KVF_PLAN_TIER;
		if (ask->req.status == KVF_OK && job->where)
			job->where[ask->chunk - job->first_chunk] = (uint8_t)(job->plan_tier - 1);
		if (!job->n_asks || job->n_asks == KVF_ASK_WINDOW / 2)
			kvf_job_ready(e, job);
		kvf_list_remove(&ask->of_job);
	}
	kvf_ask_free(e, ask);
}

void kvf_plan_failure(struct kvf_job *job)
{
	if (!job->plan_failed)
		return;
	job->status = job->plan_failed == KVF_PLAN_MEMORY ? KVF_ENOMEM : KVF_EIO;
	job->reason = job->plan_failed == KVF_PLAN_MEMORY ? KVF_REASON_MEMORY : KVF_REASON_TIER;
}

void kvf_plan_stop(struct kvf_engine *e, struct kvf_job *job)
{
	bool late = job->stop == KVF_ETIMEDOUT && job->n_asks;
	struct kvf_list *node;

	while ((node = kvf_list_pop_front(&job->asks))) {
		struct kvf_ask *ask = kvf_list_entry(node, struct kvf_ask, of_job);

		ask->job = NULL;
		if (!ask->sent)
			kvf_ask_free(e, ask); /* never sent */
	}
	job->n_asks = 0;
	if (late && job->plan_tier && job->plan_tier <= e->n_tiers)
		kvf_tier_late(e, &e->tier[job->plan_tier - 1], KVF_HIST_ASK);
}

struct kvf_tier *kvf_plan_source(struct kvf_engine *e, struct kvf_job *job, uint32_t chunk)
{
	uint8_t at = job->where ? job->where[chunk - job->first_chunk] : KVF_AT_UNKNOWN;

	/* Planned in RAM but gone since: any tier may have it, the first one that works is tried. */
	if (at == KVF_AT_RAM || at == KVF_AT_UNKNOWN)
		at = 0;
	for (; at < e->n_tiers; at++) {
		struct kvf_tier *tier = &e->tier[at];

		if ((!job->tiers || job->tiers & tier->bit) && !e->frozen && kvf_tier_usable(e, tier))
			return tier;
	}
	return NULL;
}
