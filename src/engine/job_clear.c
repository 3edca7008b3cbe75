/* SPDX-License-Identifier: Apache-2.0 */
/* Clear: everything out of the tiers named. RAM first, a slice a step, then what is on its way down, then the tiers. */
#include "engine/engine.h"

enum { RAM = 0, DRAIN, BELOW };

static enum kvf_step_result clear_ram(struct kvf_engine *e, struct kvf_job *job)
{
	bool ram = !job->tiers || job->tiers & KVF_TIER_RAM;
	uint32_t n = 0;

	while (job->cursor < e->index.used) {
		uint32_t entry = job->cursor;
		struct kvf_entry *en = kvf_index_entry(&e->index, entry);

		if (n++ == KVF_TURN_SCAN)
			return KVF_STEP_YIELD;
		job->cursor++;
		if (en->state != KVF_ENTRY_RESIDENT && en->state != KVF_ENTRY_FILLING)
			continue;
		if (en->state == KVF_ENTRY_RESIDENT)
			kvf_spill_drop(e, entry);
		if (ram) {
			job->in_ram += en->n_tokens;
			kvf_entry_drop(e, entry, KVF_EVENT_REMOVED);
		} else {
			en->tiers_have = 0;
		}
	}
	job->spill_seq = e->spill_serial;
	kvf_list_push_back(&e->flushes, &job->level_link);
	kvf_job_goto(e, job, DRAIN);
	return KVF_STEP_AGAIN;
}

static enum kvf_step_result drain(struct kvf_engine *e, struct kvf_job *job)
{
	if (kvf_spills_before(e, job->spill_seq))
		return KVF_STEP_WAIT;
	kvf_list_remove(&job->level_link);
	kvf_job_goto(e, job, BELOW);
	return KVF_STEP_AGAIN;
}

static void ask_to_clear(struct kvf_engine *e, struct kvf_job *job, struct kvf_tier *tier)
{
	struct kvf_ask *ask;

	if ((job->tiers && !(job->tiers & tier->bit)) || !(tier->caps & KVF_TIER_CLEARS))
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
	return KVF_STEP_END;
}

static void report(struct kvf_engine *e, struct kvf_job *job, struct kvf_completion *c)
{
	(void)e;
	c->tokens = job->in_ram;
}

static const struct kvf_job_step steps[] = {
	[RAM] = { "ram", clear_ram, 1u << DRAIN },
	[DRAIN] = { "drain", drain, 1u << BELOW },
	[BELOW] = { "below", clear_below, 0 },
};

const struct kvf_job_kind kvf_job_clear = { "clear", steps, KVF_ARRAY_LEN(steps), NULL, report };
