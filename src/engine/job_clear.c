/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clear: everything out of the tiers named. RAM first, a slice a step, then what is on its way down, then the tiers;
 * at last nothing counts as stored below that may have got there before they were cleared.
 */
#include "engine/engine.h"

enum { RAM = 0, DRAIN, BELOW, FORGET };

static bool is_meant(const struct kvf_job *job, const struct kvf_tier *tier)
{
	return (!job->tiers || job->tiers & tier->bit) && tier->caps & KVF_TIER_CLEARS;
}

/* The chunk counts as nowhere below, nor does what is on its way there or back: who came first is unknown. */
static void forget(struct kvf_engine *e, struct kvf_job *job, uint32_t entry)
{
	struct kvf_entry *en = kvf_index_entry(&e->index, entry);
	struct kvf_fill *fill = en->state == KVF_ENTRY_FILLING ? kvf_fill_of(e, entry) : NULL;
	struct kvf_spill *spill = kvf_spill_of(e, entry);

	for (uint32_t t = 0; t < e->n_tiers; t++) {
		struct kvf_tier *tier = &e->tier[t];

		if (!is_meant(job, tier))
			continue;
		en->tiers_have &= (uint8_t)~(1u << t);
		if (spill && spill->leg[t].state == KVF_SPILL_SENT)
			spill->leg[t].put->removed = true;
		if (fill && fill->tier == tier)
			fill->removed = true;
	}
}

static void drop(struct kvf_engine *e, struct kvf_job *job, uint32_t entry)
{
	kvf_spill_drop(e, entry, kvf_job_means_ram(job) ? UINT32_MAX : kvf_job_tiers(e, job));
	forget(e, job, entry);
	if (!kvf_job_means_ram(job))
		return;
	job->in_ram += kvf_index_entry(&e->index, entry)->n_tokens;
	kvf_entry_drop(e, entry, KVF_EVENT_REMOVED);
}

/* A slice of all that is in RAM, or on its way there. True: that was all of it. */
static bool visit(struct kvf_engine *e, struct kvf_job *job,
		  void (*what)(struct kvf_engine *e, struct kvf_job *job, uint32_t entry))
{
	for (uint32_t n = 0; job->cursor < e->index.used; n++) {
		if (n == KVF_TURN_SCAN)
			return false;
		if (kvf_entry_in_table(kvf_index_entry(&e->index, job->cursor)))
			what(e, job, job->cursor);
		job->cursor++;
	}
	job->cursor = 0;
	return true;
}

static enum kvf_step_result clear_ram(struct kvf_engine *e, struct kvf_job *job)
{
	if (!visit(e, job, drop))
		return KVF_STEP_YIELD;
	job->spill_seq = e->spill_serial;
	kvf_list_push_back(&e->flushes, &job->level_link);
	kvf_job_goto(e, job, DRAIN);
	return KVF_STEP_AGAIN;
}

static enum kvf_step_result drain(struct kvf_engine *e, struct kvf_job *job)
{
	if (kvf_spills_before(e, job->spill_seq, kvf_job_tiers(e, job), true))
		return KVF_STEP_WAIT;
	kvf_list_remove(&job->level_link);
	kvf_job_goto(e, job, BELOW);
	return KVF_STEP_AGAIN;
}

static void ask_to_clear(struct kvf_engine *e, struct kvf_job *job, struct kvf_tier *tier)
{
	struct kvf_ask *ask;

	if (!is_meant(job, tier))
		return;
	if (!kvf_tier_usable(e, tier)) {
		job->plan_failed = KVF_PLAN_TIER;
		return;
	}
	ask = kvf_mem_zalloc(&e->mem, sizeof(*ask));
	if (!ask) {
		job->plan_failed = KVF_PLAN_MEMORY;
		return;
	}
	ask->req.kind = KVF_REQ_CLEAR;
	ask->req.deadline_ns = job->deadline_ns;
	ask->job = job;
	kvf_list_push_back(&tier->asks, &ask->link);
	kvf_list_push_back(&job->asks, &ask->of_job);
	job->n_asks++;
}

static enum kvf_step_result clear_below(struct kvf_engine *e, struct kvf_job *job)
{
	if (!job->plan_tier) {
		job->plan_tier = 1;
		for (uint32_t t = 0; t < e->n_tiers; t++)
			ask_to_clear(e, job, &e->tier[t]);
	}
	if (job->n_asks)
		return KVF_STEP_WAIT;
	kvf_plan_failure(job);
	kvf_job_goto(e, job, FORGET);
	return KVF_STEP_AGAIN;
}

static enum kvf_step_result forget_below(struct kvf_engine *e, struct kvf_job *job)
{
	return visit(e, job, forget) ? KVF_STEP_END : KVF_STEP_YIELD;
}

static void report(struct kvf_engine *e, struct kvf_job *job, struct kvf_completion *c)
{
	(void)e;
	c->tokens = job->in_ram;
}

static const struct kvf_job_step steps[] = {
	[RAM] = { "ram", clear_ram, 1u << DRAIN },
	[DRAIN] = { "drain", drain, 1u << BELOW },
	[BELOW] = { "below", clear_below, 1u << FORGET },
	[FORGET] = { "forget", forget_below, 0 },
};

const struct kvf_job_kind kvf_job_clear = { "clear", steps, KVF_ARRAY_LEN(steps), NULL, report };
