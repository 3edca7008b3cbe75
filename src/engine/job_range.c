/* SPDX-License-Identifier: Apache-2.0 */
/* Unpin, demote, remove and flush: a scan over a span, or a wait. */
#include "engine/engine.h"

#include <string.h>

/* ---- unpin ---- */

/* Does the range end with the lease's chunk, though that is a partial one? */
static bool ends_partial(struct kvf_engine *e, const struct kvf_job *job, const struct kvf_lease *lease, uint32_t chunk)
{
	uint64_t start = (uint64_t)chunk * e->chunk_size;
	uint32_t at = chunk - lease->first_chunk;

	if (at >= lease->n || lease->entry[at] == KVF_NIL)
		return false;
	return start + kvf_index_entry(&e->index, lease->entry[at])->n_tokens <= job->end_token;
}

static enum kvf_step_result unpin(struct kvf_engine *e, struct kvf_job *job)
{
	struct kvf_lease *lease = kvf_lease_find(e, job->lease_id);
	uint32_t from, to;

	if (!lease) {
		job->status = KVF_ENOENT;
		return KVF_STEP_END;
	}
	/* Only chunks that lie wholly in the range are given back; the last one may be partial. */
	from = (uint32_t)kvf_min_u64(kvf_div_up(job->first_token, e->chunk_size), UINT32_MAX);
	to = (uint32_t)kvf_min_u64(job->end_token / e->chunk_size, UINT32_MAX);
	if (to >= from && ends_partial(e, job, lease, to))
		to++;
	job->in_ram = (uint32_t)kvf_lease_trim(e, lease, from, to);
	return KVF_STEP_END;
}

static void report_unpin(struct kvf_engine *e, struct kvf_job *job, struct kvf_completion *c)
{
	(void)e;
	c->tokens = job->in_ram;
	c->lease_id = job->lease_id;
}

/* ---- a scan over the span ---- */

/* Calls `one` for every entry of the span, from its first chunk on, so many a turn. True: that was the last. */
static bool each_entry(struct kvf_engine *e, struct kvf_job *job,
		       void (*one)(struct kvf_engine *e, struct kvf_job *job, uint32_t entry))
{
	uint32_t entry[KVF_FIND_BATCH];

	if (!job->cursor)
		job->cursor = job->first_chunk;
	for (uint32_t n = 0; job->cursor < job->end_chunk;) {
		uint32_t m;

		if (n >= KVF_TURN_SCAN)
			return false;
		m = kvf_job_entries(e, job, job->cursor, job->end_chunk, entry);
		n += m;
		job->cursor += m;
		for (uint32_t i = 0; i < m; i++)
			if (entry[i] != KVF_NIL)
				one(e, job, entry[i]);
	}
	return true;
}

/* ---- demote ---- */

static void demote_one(struct kvf_engine *e, struct kvf_job *job, uint32_t entry)
{
	if (!kvf_is_resident(e, entry))
		return;
	kvf_evict_demote(kvf_evict_of(e, entry), entry);
	job->in_ram += kvf_index_entry(&e->index, entry)->n_tokens;
}

/* Prefix first, so that the suffix ends up next to go. */
static enum kvf_step_result demote(struct kvf_engine *e, struct kvf_job *job)
{
	return each_entry(e, job, demote_one) ? KVF_STEP_END : KVF_STEP_YIELD;
}

static void report_demote(struct kvf_engine *e, struct kvf_job *job, struct kvf_completion *c)
{
	(void)e;
	c->tokens = job->in_ram;
}

/* ---- remove ---- */

enum { RAM = 0, BELOW };

/* What is in flight to the tiers named is over before they are asked to remove it. */
static void await_puts(struct kvf_engine *e, struct kvf_job *job, uint32_t entry)
{
	uint32_t want = kvf_index_entry(&e->index, entry)->tiers_want & kvf_job_tiers(e, job);
	struct kvf_level_wait *wait;

	if (!want)
		return;
	wait = kvf_mem_zalloc(&e->mem, sizeof(*wait));
	if (!wait) {
		job->plan_failed = KVF_PLAN_MEMORY;
		return;
	}
	wait->job = job;
	wait->tiers = want;
	wait->all = true;
	kvf_list_push_back(&job->waits, &wait->of_job);
	(void)kvf_spill_await(e, entry, wait);
}

/* Out of RAM at once for everybody; what is on its way down is waited for, so that it cannot come back. */
static void remove_one(struct kvf_engine *e, struct kvf_job *job, uint32_t entry)
{
	struct kvf_entry *en = kvf_index_entry(&e->index, entry);
	uint32_t named = kvf_job_tiers(e, job);
	bool ram = kvf_job_means_ram(job);

	/* A host's own keys may name a chunk twice. */
	if (!kvf_entry_in_table(en))
		return;
	job->in_ram += en->n_tokens;
	kvf_spill_drop(e, entry, ram ? UINT32_MAX : named);
	if (ram) {
		kvf_entry_drop(e, entry, KVF_EVENT_REMOVED);
		return;
	}
	en->tiers_have &= (uint8_t)~named;
	await_puts(e, job, entry);
}

/* Chunks of the span that left RAM, now or before, but are still on their way down. */
static void await_doomed(struct kvf_engine *e, struct kvf_job *job)
{
	struct kvf_list *node;

	kvf_list_for_each(node, &e->doomed_spills) {
		const struct kvf_spill *spill = kvf_list_entry(node, struct kvf_spill, doomed);
		struct kvf_record rec;

		kvf_entry_record(e, spill->entry, &rec);
		if (rec.depth >= job->first_chunk && rec.depth < job->end_chunk &&
		    memcmp(rec.key, kvf_job_key(job, rec.depth), sizeof(rec.key)) == 0)
			await_puts(e, job, spill->entry);
	}
}

static enum kvf_step_result remove_ram(struct kvf_engine *e, struct kvf_job *job)
{
	if (!each_entry(e, job, remove_one))
		return KVF_STEP_YIELD;
	await_doomed(e, job);
	kvf_job_goto(e, job, BELOW);
	return KVF_STEP_AGAIN;
}

static enum kvf_step_result remove_below(struct kvf_engine *e, struct kvf_job *job)
{
	enum kvf_step_result r;

	if (job->level_pending)
		return KVF_STEP_WAIT;
	r = kvf_plan_remove(e, job);
	if (r == KVF_STEP_AGAIN) {
		kvf_plan_failure(job);
		return KVF_STEP_END;
	}
	return r;
}

/* ---- flush ---- */

static enum kvf_step_result flush(struct kvf_engine *e, struct kvf_job *job)
{
	if (!kvf_list_linked(&job->level_link)) {
		kvf_list_push_back(&e->flushes, &job->level_link);
		job->spill_seq = e->spill_serial;
	}
	return kvf_spills_before(e, job->spill_seq, UINT32_MAX, false) ? KVF_STEP_WAIT : KVF_STEP_END;
}

static void report_flush(struct kvf_engine *e, struct kvf_job *job, struct kvf_completion *c)
{
	(void)e;
	(void)job;
	(void)c;
}

static const struct kvf_job_step unpin_steps[] = { { "unpin", unpin, 0 } };
static const struct kvf_job_step demote_steps[] = { { "demote", demote, 0 } };
static const struct kvf_job_step remove_steps[] = {
	[RAM] = { "ram", remove_ram, 1u << BELOW },
	[BELOW] = { "below", remove_below, 0 },
};
static const struct kvf_job_step flush_steps[] = { { "flush", flush, 0 } };

const struct kvf_job_kind kvf_job_unpin = { "unpin", unpin_steps, 1, NULL, report_unpin };
const struct kvf_job_kind kvf_job_demote = { "demote", demote_steps, 1, NULL, report_demote };
const struct kvf_job_kind kvf_job_remove = { "remove", remove_steps, 2, NULL, report_demote };
const struct kvf_job_kind kvf_job_flush = { "flush", flush_steps, 1, NULL, report_flush };
