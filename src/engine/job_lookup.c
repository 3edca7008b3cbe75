/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lookup: the longest prefix of the sequence in the tiers asked for, with a lease on what of it is in RAM. Pin: a
 * lease on what is in RAM of a span. Without lower tiers the answer is there in the first turn.
 */
#include "engine/engine.h"

enum { PLAN = 0, LEASE };

uint32_t kvf_seq_resident_chunks(struct kvf_engine *e, struct kvf_seq *seq)
{
	if (seq->epoch != e->index.epoch) {
		seq->resident = 0;
		seq->epoch = e->index.epoch;
	}
	if (seq->keys && seq->resident < seq->n_chunks)
		seq->resident += kvf_index_resident_prefix(
			&e->index, (const uint8_t(*)[KVF_KEY_BYTES])seq->keys->key + seq->resident,
			seq->n_chunks - seq->resident, NULL);
	return seq->resident;
}

static bool only_ram(const struct kvf_engine *e, const struct kvf_job *job)
{
	if (!e->n_tiers || job->code == KVF_OP_PIN)
		return true;
	for (uint32_t t = 0; t < e->n_tiers; t++) {
		if (!job->tiers || job->tiers & e->tier[t].bit)
			return false;
	}
	return true;
}

/* RAM alone: what submit saw of the sequence's memo still holds while nothing was removed. */
static enum kvf_step_result plan_ram(struct kvf_engine *e, struct kvf_job *job)
{
	uint32_t entry[KVF_FIND_BATCH];
	uint32_t chunk = job->first_chunk;
	uint32_t scanned = 0;

	if (job->memo_epoch && job->memo_epoch != e->index.epoch + 1)
		job->plan_known = 0;
	job->memo_epoch = 0; /* looked at once: a scan that takes several turns is as good as one that was quick */
	chunk += job->plan_known;
	while (chunk < job->end_chunk) {
		uint32_t n = kvf_job_entries(e, job, chunk, job->end_chunk, entry);
		uint32_t hit = 0;

		while (hit < n && kvf_is_resident(e, entry[hit]))
			hit++;
		chunk += hit;
		job->plan_known += hit;
		if (hit < n) {
			job->limit = chunk;
			job->reason = KVF_REASON_MISS;
			break;
		}
		scanned += n;
		if (scanned >= KVF_TURN_SCAN && chunk < job->end_chunk)
			return KVF_STEP_YIELD;
	}
	return KVF_STEP_AGAIN;
}

static enum kvf_step_result plan(struct kvf_engine *e, struct kvf_job *job)
{
	enum kvf_step_result r = only_ram(e, job) ? plan_ram(e, job) : kvf_plan_step(e, job);

	if (r != KVF_STEP_AGAIN)
		return r;
	job->cursor = job->first_chunk;
	kvf_job_goto(e, job, LEASE);
	return KVF_STEP_AGAIN;
}

/* Pins what is in RAM of the hit, a slice a step. */
static enum kvf_step_result lease(struct kvf_engine *e, struct kvf_job *job)
{
	uint32_t end = kvf_job_end_of_hit(job);
	uint32_t entry[KVF_FIND_BATCH];
	uint32_t n = 0;

	if (!job->lease_ns || end <= job->first_chunk)
		return KVF_STEP_END;
	if (!job->lease) {
		job->lease = kvf_lease_new(e, job->first_chunk, end - job->first_chunk);
		if (!job->lease) {
			job->reason = KVF_REASON_MEMORY;
			job->status = job->code == KVF_OP_PIN ? KVF_ENOMEM : KVF_OK;
			return KVF_STEP_END;
		}
	}
	while (job->cursor < end && job->reason != KVF_REASON_CAP) {
		uint32_t m;

		if (n >= KVF_TURN_SCAN)
			return KVF_STEP_YIELD;
		m = kvf_job_entries(e, job, job->cursor, end, entry);
		n += m;
		for (uint32_t i = 0; i < m; i++, job->cursor++) {
			if (!kvf_is_resident(e, entry[i]))
				continue;
			if (kvf_lease_add(e, job->lease, job->cursor, entry[i]))
				continue;
			job->reason = KVF_REASON_CAP;
			break;
		}
	}
	return kvf_job_touch(e, job, job->cursor) ? KVF_STEP_END : KVF_STEP_YIELD;
}

static uint32_t known_tokens(const struct kvf_engine *e, const struct kvf_job *job)
{
	uint32_t end = kvf_job_end_of_hit(job);

	if (job->stop && job->code != KVF_OP_LOOKUP)
		return 0;
	return (uint32_t)kvf_job_span_tokens(e, job, end - job->first_chunk);
}

/* A lookup whose time is up says what is known by then: what comes late is a miss. */
static void stop_lookup(struct kvf_engine *e, struct kvf_job *job)
{
	(void)e;
	if (job->stop)
		job->limit = job->stop == KVF_ETIMEDOUT ? kvf_plan_known(job) : job->first_chunk;
}

static void seal(struct kvf_engine *e, struct kvf_job *job, struct kvf_completion *c)
{
	if (!job->lease)
		return;
	if (job->stop)
		kvf_lease_end(e, job->lease);
	else
		c->lease_id = kvf_lease_seal(e, job->lease, job->lease_ns);
	job->lease = NULL;
}

static uint32_t ram_tokens(const struct kvf_engine *e, const struct kvf_job *job, uint32_t hit)
{
	uint64_t n = 0;

	if (!job->where)
		return hit;
	for (uint32_t i = 0; i < kvf_job_end_of_hit(job) - job->first_chunk; i++) {
		if (job->where[i] == KVF_AT_RAM)
			n += kvf_job_chunk_tokens(e, job, job->first_chunk + i);
	}
	return (uint32_t)n;
}

static void report_lookup(struct kvf_engine *e, struct kvf_job *job, struct kvf_completion *c)
{
	c->tokens = known_tokens(e, job);
	if (c->tokens < e->min_retrieve_tokens && c->tokens) {
		c->tokens = 0;
		job->reason = KVF_REASON_POLICY;
	}
	c->usable = c->tokens;
	if (c->usable && c->usable >= job->seq_tokens)
		c->usable = (uint32_t)job->seq_tokens - 1;
	c->usable = (uint32_t)kvf_min_u64(c->usable, kvf_store_bound(e, job->seq_tokens));
	c->need = c->usable - (uint32_t)kvf_min_u64(c->usable, job->computed_tokens);
	c->ram_tokens = c->tokens ? ram_tokens(e, job, c->tokens) : 0;
	e->stats.lookup_tokens += job->seq_tokens;
	e->stats.hit_tokens += c->tokens;
	e->stats.computed_tokens += job->computed_tokens;
	e->stats.lookups_without_hit += !c->tokens;
	seal(e, job, c);
}

static void report_pin(struct kvf_engine *e, struct kvf_job *job, struct kvf_completion *c)
{
	c->tokens = known_tokens(e, job);
	if (job->reason == KVF_REASON_CAP)
		c->tokens = (uint32_t)kvf_job_span_tokens(e, job, job->cursor - job->first_chunk);
	seal(e, job, c);
}

static const struct kvf_job_step steps[] = {
	[PLAN] = { "plan", plan, 1u << LEASE },
	[LEASE] = { "lease", lease, 0 },
};

const struct kvf_job_kind kvf_job_lookup = { "lookup", steps, KVF_ARRAY_LEN(steps), stop_lookup, report_lookup };
const struct kvf_job_kind kvf_job_pin = { "pin", steps, KVF_ARRAY_LEN(steps), NULL, report_pin };
