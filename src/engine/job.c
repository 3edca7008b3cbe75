/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations as jobs: made at submit, driven a few steps at a time through the table of their kind, ended in one
 * place.
 *
 * The exit is the same for success, error, cancel, deadline and shutdown: stop asking (kind->stop), settle what can
 * still touch the host's memory (copies), release and report (kind->report), post the completion.
 */
#include "engine/engine.h"

#include <string.h>

/* ---- identity ---- */

struct kvf_job *kvf_job_find(struct kvf_engine *e, uint64_t id)
{
	uint32_t number = (uint32_t)id - 1;
	struct kvf_job *job;

	if (!id || number >= e->jobs.used)
		return NULL;
	job = kvf_slab_at(&e->jobs, number);
	return job->id == id ? job : NULL;
}

const uint8_t *kvf_job_key(const struct kvf_job *job, uint32_t chunk)
{
	return chunk < job->n_full ? job->keys->key[chunk] : job->tail_key;
}

const uint8_t *kvf_job_parent_key(const struct kvf_job *job, uint32_t chunk)
{
	return chunk ? job->keys->key[chunk - 1] : job->root;
}

uint32_t kvf_job_chunk_tokens(const struct kvf_engine *e, const struct kvf_job *job, uint32_t chunk)
{
	return chunk < job->n_full ? e->chunk_size : job->tail_tokens;
}

uint32_t kvf_job_tiers(const struct kvf_engine *e, const struct kvf_job *job)
{
	uint32_t mask = 0;

	for (uint32_t t = 0; t < e->n_tiers; t++)
		mask |= !job->tiers || job->tiers & e->tier[t].bit ? 1u << t : 0;
	return mask;
}

uint64_t kvf_job_span_tokens(const struct kvf_engine *e, const struct kvf_job *job, uint32_t n)
{
	uint64_t end = ((uint64_t)job->first_chunk + n) * e->chunk_size;

	end = kvf_min_u64(end, job->end_token);
	return end - kvf_min_u64(end, job->first_token);
}

uint32_t kvf_job_entries(
	struct kvf_engine *e, const struct kvf_job *job, uint32_t chunk, uint32_t end, uint32_t *entry)
{
	uint32_t n = (uint32_t)kvf_min_u64(end - chunk, KVF_FIND_BATCH);
	uint32_t full = (uint32_t)kvf_min_u64(n, job->n_full - kvf_min_u64(chunk, job->n_full));

	e->looks += n;

	if (full)
		kvf_index_find_many(&e->index, (const uint8_t(*)[KVF_KEY_BYTES])job->keys->key + chunk, full, entry);
	if (full < n)
		entry[full] = kvf_index_find(&e->index, kvf_job_key(job, chunk + full));
	return n;
}

bool kvf_job_touch(struct kvf_engine *e, struct kvf_job *job, uint32_t end)
{
	uint32_t path[KVF_FIND_BATCH];
	uint32_t scanned = 0;

	if (!job->touching) {
		job->touching = true;
		job->touch_at = end;
	}
	/* Suffix first, in pieces: the last piece touched is the prefix, which then goes last. */
	while (job->touch_at > 0 && scanned < KVF_TURN_SCAN) {
		uint32_t n = (uint32_t)kvf_min_u64(job->touch_at, KVF_FIND_BATCH);
		uint32_t m = 0;

		job->touch_at -= n;
		scanned += n;
		kvf_job_entries(e, job, job->touch_at, job->touch_at + n, path);
		for (uint32_t i = 0; i < n; i++) {
			if (path[i] != KVF_NIL)
				path[m++] = path[i];
		}
		kvf_tenant_touch(e, path, m);
	}
	return job->touch_at == 0;
}

/* ---- making ---- */

static void snapshot_seq(struct kvf_job *job, const struct kvf_seq *seq)
{
	job->seq = seq;
	job->keys = seq->keys;
	if (job->keys)
		kvf_keyvec_ref(job->keys);
	job->n_full = seq->n_chunks;
	job->seq_tokens = seq->n_tokens;
	memcpy(job->request_id, seq->request_id, sizeof(job->request_id));
	memcpy(job->root, seq->root, sizeof(job->root));
	kvf_wire_snapshot(job, seq);
}

struct kvf_job *kvf_job_new(struct kvf_engine *e, const struct kvf_op *op)
{
	struct kvf_job *job;
	uint32_t number;

	if (kvf_heap_reserve(&e->timers.jobs, e->timers.jobs.n + 1))
		return NULL;
	job = kvf_slab_new(&e->jobs, &number);
	if (!job)
		return NULL;
	job->number = number;
	job->code = op->code;
	job->priority = op->priority;
	job->level = op->level;
	job->flags = op->flags;
	job->tiers = op->tiers;
	job->user_data = op->user_data;
	job->granted = KVF_NIL;
	job->limit = UINT32_MAX;
	job->level_limit = UINT32_MAX;
	job->lease_ns = op->lease_ns;
	job->computed_tokens = op->computed_tokens;
	job->deadline_ns = op->deadline_ns ? op->deadline_ns : kvf_sat_add(e->clock.now_ns, e->default_timeout_ns);
	kvf_list_init(&job->moves);
	kvf_list_init(&job->asks);
	kvf_list_init(&job->waits);
	if (op->seq) {
		snapshot_seq(job, op->seq);
		job->tenant = kvf_tenant_find(e, op->seq->tenant);
	}
	return job;
}

static void release_memory(struct kvf_engine *e, struct kvf_job *job)
{
	struct kvf_list *node;

	while ((node = kvf_list_pop_front(&job->waits))) {
		struct kvf_level_wait *wait = kvf_list_entry(node, struct kvf_level_wait, of_job);

		kvf_list_remove(&wait->link);
		kvf_mem_free(&e->mem, wait, sizeof(*wait));
	}
	if (job->layers) {
		for (uint32_t l = 0; l < e->plan.n_layers; l++) {
			if (job->layers[l].given)
				kvf_device_release(e, &job->layers[l].captured);
		}
		kvf_mem_free(&e->mem, job->layers, e->plan.n_layers * sizeof(*job->layers));
	}
	if (job->layer_order)
		kvf_mem_free(&e->mem, job->layer_order, e->plan.n_layers * sizeof(*job->layer_order));
	if (job->fence_held)
		kvf_device_release(e, &job->fence);
	if (job->keys)
		kvf_keyvec_unref(&e->mem, job->keys);
	kvf_keyvec_unref(&e->mem, job->wire);
	kvf_wire_suffix_unref(&e->mem, job->suffix);
	if (job->groups)
		kvf_mem_free(&e->mem, job->groups, job->groups_bytes);
	if (job->where)
		kvf_mem_free(&e->mem, job->where, job->where_bytes);
	if (job->level_wait)
		kvf_mem_free(&e->mem, job->level_wait, job->n_level_waits * sizeof(*job->level_wait));
}

static void free_job(struct kvf_engine *e, struct kvf_job *job)
{
	release_memory(e, job);
	kvf_list_remove(&job->ready);
	job->id = 0;
	kvf_slab_free(&e->jobs, job->number);
}

void kvf_job_abandon(struct kvf_engine *e, struct kvf_job *job)
{
	kvf_ring_unreserve(e, job->ring_places);
	free_job(e, job);
}

void kvf_job_start(struct kvf_engine *e, struct kvf_job *job)
{
	job->id = ++e->op_serial << 32 | (job->number + 1);
	job->submitted_ns = e->clock.now_ns;
	e->n_jobs++;
	e->stats.submitted[job->code]++;
	if (job->deadline_ns != KVF_NO_DEADLINE)
		kvf_heap_set(&e->timers.jobs, &job->deadline, job->deadline_ns);
	kvf_timeline_async(&e->timeline, KVF_ROW_JOBS, 'b', job->kind->name, e->clock.now_ns, job->id, 0);
	kvf_job_log_begin(e, job);
	kvf_job_ready(e, job);
}

/* ---- driving ---- */

void kvf_job_ready(struct kvf_engine *e, struct kvf_job *job)
{
	if (!kvf_list_linked(&job->ready))
		kvf_list_push_back(&e->ready, &job->ready);
}

void kvf_job_goto(struct kvf_engine *e, struct kvf_job *job, uint8_t state)
{
	if (state < KVF_STATE_SETTLE)
		KVF_CHECK(e, job->kind->steps[job->state].next & 1u << state);
	job->state = state;
	e->stats.state_changes++;
}

void kvf_job_stop(struct kvf_engine *e, struct kvf_job *job, int status, enum kvf_reason reason)
{
	if (job->stop || job->state == KVF_STATE_POSTED)
		return;
	job->stop = status;
	if (reason)
		job->reason = (uint8_t)reason;
	kvf_job_ready(e, job);
}

void kvf_job_progress(struct kvf_engine *e, struct kvf_job *job)
{
	struct kvf_completion c = {
		.op_id = job->id,
		.user_data = job->user_data,
		.kind = KVF_PROGRESS,
		.op = job->code,
		.tokens = (uint32_t)kvf_job_span_tokens(e, job, job->prefix),
		.layers = job->n_layers_issued,
	};

	if (job->flags & KVF_OP_PROGRESS)
		kvf_ring_progress(e, job, &c);
}

static void post_done(struct kvf_engine *e, struct kvf_job *job)
{
	struct kvf_completion c = {
		.op_id = job->id,
		.user_data = job->user_data,
		.kind = KVF_DONE,
		.op = job->code,
		.flags = job->done_flags,
	};

	/* An operation that did all it had to before the word to stop came has succeeded. */
	job->kind->report(e, job, &c);
	c.reason = job->reason;
	c.status = job->status;
	kvf_job_log_end(e, job, &c);
	kvf_heap_remove(&e->timers.jobs, &job->deadline);
	job->ring_places--;
	kvf_ring_post(e, &c);
	kvf_ring_unreserve(e, job->ring_places);
	job->ring_places = 0;
	e->stats.completed[job->code]++;
	e->stats.failed[job->code] += job->status != KVF_OK;
	e->stats.canceled += job->status == KVF_ECANCELED;
	e->stats.timed_out += job->status == KVF_ETIMEDOUT;
	kvf_metrics_job(e, job);
	kvf_timeline_async(&e->timeline, KVF_ROW_JOBS, 'e', job->kind->name, e->clock.now_ns, job->id, 0);
	kvf_job_goto(e, job, KVF_STATE_POSTED);
}

/* The one exit. Called again until nothing of the job can touch the host's memory. */
static void leave(struct kvf_engine *e, struct kvf_job *job)
{
	if (!job->stopped) {
		job->stopped = true;
		kvf_job_goto(e, job, KVF_STATE_SETTLE);
		kvf_slot_unwant(e, job);
		kvf_moves_cancel(e, job);
		kvf_list_remove(&job->level_link);
		kvf_plan_stop(e, job);
		if (job->kind->stop)
			job->kind->stop(e, job);
	}
	/* A stream-ordered retrieve that issued all it had is done for the host; its copies are the fence tail. */
	if (job->n_copying && !kvf_job_has_tail(job))
		return;
	if (job->state != KVF_STATE_POSTED)
		post_done(e, job);
	if (job->n_copying)
		return;
	kvf_moves_drop(e, job);
	if (job->fences_kept && !e->shutting)
		return;
	e->n_jobs--;
	free_job(e, job);
}

uint32_t kvf_job_drive(struct kvf_engine *e, struct kvf_job *job, uint32_t budget)
{
	uint32_t used = 0;

	while (used < budget) {
		enum kvf_step_result r;

		if (job->state >= KVF_STATE_SETTLE) {
			leave(e, job);
			return used + 1;
		}
		if (job->stop) {
			job->status = job->stop;
			leave(e, job);
			return used + 1;
		}
		used++;
		r = job->kind->steps[job->state].run(e, job);
		if (r == KVF_STEP_WAIT)
			return used;
		if (r == KVF_STEP_END) {
			leave(e, job);
			return used;
		}
		if (r == KVF_STEP_YIELD)
			break;
	}
	kvf_job_ready(e, job);
	return used;
}
