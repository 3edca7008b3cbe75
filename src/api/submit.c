/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvf_submit(): every argument is judged here, everything the operation needs is copied, every completion entry it may
 * need is reserved. What is refused leaves no trace.
 */
#include "api/guard.h"

#include <string.h>

static const struct kvf_job_kind *kind_of(uint8_t code)
{
	static const struct kvf_job_kind *const kinds[] = {
		[KVF_OP_LOOKUP] = &kvf_job_lookup,     [KVF_OP_STORE] = &kvf_job_store,
		[KVF_OP_RETRIEVE] = &kvf_job_retrieve, [KVF_OP_PREFETCH] = &kvf_job_prefetch,
		[KVF_OP_PIN] = &kvf_job_pin,	       [KVF_OP_UNPIN] = &kvf_job_unpin,
		[KVF_OP_DEMOTE] = &kvf_job_demote,     [KVF_OP_REMOVE] = &kvf_job_remove,
		[KVF_OP_FLUSH] = &kvf_job_flush,	       [KVF_OP_CLEAR] = &kvf_job_clear,
	};

	return code < KVF_ARRAY_LEN(kinds) ? kinds[code] : NULL;
}

/* Flags an operation of this kind may carry. */
static uint32_t flags_of(uint8_t code)
{
	switch (code) {
	case KVF_OP_STORE:
		return KVF_OP_LAYERWISE | KVF_OP_SOURCE_FREE | KVF_OP_DECODE;
	case KVF_OP_RETRIEVE:
		return KVF_OP_PROGRESS | KVF_OP_LAYERWISE | KVF_OP_STREAM_ORDERED;
	case KVF_OP_PREFETCH:
		return KVF_OP_PROGRESS;
	default:
		return 0;
	}
}

static bool moves_bytes(uint8_t code)
{
	return code == KVF_OP_STORE || code == KVF_OP_RETRIEVE;
}

static int check_common(struct kvf_engine *e, const struct kvf_op *op)
{
	if (!kind_of(op->code))
		return kvf_refuse(e, KVF_EINVAL, "op.code: %u is no operation", op->code);
	if (op->flags & ~flags_of(op->code))
		return kvf_refuse(e, KVF_EINVAL, "op.flags: 0x%x is not for %s", op->flags & ~flags_of(op->code),
				  kind_of(op->code)->name);
	if (op->priority > KVF_PRIO_LOW)
		return kvf_refuse(e, KVF_EINVAL, "op.priority: %u, at most %d", op->priority, KVF_PRIO_LOW);
	if (op->level > KVF_LEVEL_REMOTE || (op->level && op->code != KVF_OP_STORE))
		return kvf_refuse(e, KVF_EINVAL, "op.level: %u; 0..%d, and only for a store", op->level,
				  KVF_LEVEL_REMOTE);
	if (!op->seq && op->code != KVF_OP_UNPIN && op->code != KVF_OP_FLUSH && op->code != KVF_OP_CLEAR)
		return kvf_refuse(e, KVF_EINVAL, "op.seq: missing");
	if (op->seq && op->seq->env != &e->seqs)
		return kvf_refuse(e, KVF_EINVAL, "op.seq: belongs to another engine");
	for (uint32_t t = 0; op->code == KVF_OP_CLEAR && t < e->n_tiers; t++) {
		if (op->tiers & e->tier[t].bit && !(e->tier[t].caps & KVF_TIER_CLEARS))
			return kvf_refuse(e, KVF_ENOTSUP, "op.tiers: %s cannot be cleared", e->tier[t].ops->name);
	}
	if (op->code == KVF_OP_PIN && !op->lease_ns)
		return kvf_refuse(e, KVF_EINVAL, "op.lease_ns: 0; a pin needs a time");
	return KVF_OK;
}

static int check_range(struct kvf_engine *e, const struct kvf_op *op)
{
	uint64_t length = op->seq->n_tokens;

	if (op->first_token > length || op->n_tokens > length - op->first_token)
		return kvf_refuse(e, KVF_ERANGE,
				  "op.n_tokens: [%llu, +%llu) reaches beyond the %llu tokens of the sequence",
				  (unsigned long long)op->first_token, (unsigned long long)op->n_tokens,
				  (unsigned long long)length);
	if (op->code == KVF_OP_STORE && op->first_token % e->chunk_size)
		return kvf_refuse(e, KVF_EINVAL, "op.first_token: %llu of a store must be a multiple of chunk_size %u",
				  (unsigned long long)op->first_token, e->chunk_size);
	return KVF_OK;
}

static bool has_tier_with(const struct kvf_engine *e, uint32_t cap)
{
	for (uint32_t t = 0; t < e->n_tiers; t++) {
		if (e->tier[t].caps & cap)
			return true;
	}
	return false;
}

static int check_device(struct kvf_engine *e, const struct kvf_op *op)
{
	if (!e->device)
		return kvf_refuse(e, KVF_ENOTSUP, "%s: a lookup-only engine moves no bytes", kind_of(op->code)->name);
	if (e->device_lost)
		return kvf_refuse(e, KVF_EDEVLOST, "device %s was lost", e->device->name);
	if (op->fence.kind == KVF_FENCE_LATER && (op->code != KVF_OP_STORE || !(op->flags & KVF_OP_LAYERWISE)))
		return kvf_refuse(e, KVF_EINVAL, "fence.kind: KVF_FENCE_LATER is for layerwise stores");
	if (op->code == KVF_OP_STORE && op->flags & KVF_OP_LAYERWISE) {
		if (op->fence.kind != KVF_FENCE_LATER)
			return kvf_refuse(e, KVF_EINVAL, "fence.kind: a layerwise store needs KVF_FENCE_LATER, not %u",
					  op->fence.kind);
		if (!(e->device_caps & KVF_DEVICE_LAYERWISE))
			return kvf_refuse(e, KVF_ENOTSUP, "op.flags: device %s copies whole chunks only",
					  e->device->name);
	}
	if (op->flags & KVF_OP_STREAM_ORDERED && !(e->device_caps & KVF_DEVICE_FENCES))
		return kvf_refuse(e, KVF_ENOTSUP, "op.flags: device %s has no fences to wait for", e->device->name);
	if (op->level == KVF_LEVEL_DURABLE && !has_tier_with(e, KVF_TIER_DURABLE))
		return kvf_refuse(e, KVF_ENOTSUP, "op.level: no tier here is durable");
	if (op->level == KVF_LEVEL_REMOTE && !has_tier_with(e, KVF_TIER_SHARED))
		return kvf_refuse(e, KVF_ENOTSUP, "op.level: no tier here is remote");
	if (e->plan.layout.kind == KVF_LAYOUT_OPAQUE)
		return KVF_OK;
	if (!op->blocks)
		return kvf_refuse(e, KVF_EINVAL, "span.blocks: missing");
	return kvf_layout_check_blocks(&e->plan, op->blocks, op->first_token, op->n_tokens, e->detail,
				       sizeof(e->detail));
}

/* ---- copying what the operation needs ---- */

/* Block ids that cover the span, in one piece of memory. */
static int copy_blocks(struct kvf_engine *e, struct kvf_job *job, const struct kvf_op *op)
{
	const struct kvf_layout *layout = &e->plan.layout;
	size_t bytes = layout->n_groups * sizeof(*job->groups);
	uint32_t *ids;

	if (layout->kind == KVF_LAYOUT_OPAQUE || !op->n_tokens)
		return KVF_OK;
	for (uint32_t g = 0; g < layout->n_groups; g++) {
		uint32_t bt = layout->groups[g].block_tokens;

		bytes += (kvf_div_up(op->first_token + op->n_tokens, bt) - op->first_token / bt) * sizeof(*ids);
	}
	job->groups = kvf_mem_alloc(&e->mem, bytes);
	if (!job->groups)
		return KVF_ENOMEM;
	job->groups_bytes = bytes;
	job->n_groups = layout->n_groups;
	ids = (uint32_t *)(void *)(job->groups + layout->n_groups);
	for (uint32_t g = 0; g < layout->n_groups; g++) {
		const struct kvf_block_list *from = &op->blocks->groups[g];
		uint32_t bt = layout->groups[g].block_tokens;
		size_t first = op->first_token / bt;
		size_t n = kvf_div_up(op->first_token + op->n_tokens, bt) - first;

		memcpy(ids, from->ids + (first - from->first_block), n * sizeof(*ids));
		job->groups[g] = (struct kvf_block_list){ ids, n, first };
		ids += n;
	}
	return KVF_OK;
}

static int make_layers(struct kvf_engine *e, struct kvf_job *job)
{
	uint32_t n = e->plan.n_layers;

	if (!n || !(job->flags & (KVF_OP_LAYERWISE | KVF_OP_STREAM_ORDERED)))
		return KVF_OK;
	job->layers = kvf_mem_zalloc(&e->mem, n * sizeof(*job->layers));
	if (!job->layers)
		return KVF_ENOMEM;
	if (job->code != KVF_OP_STORE)
		return KVF_OK;
	job->layerwise = job->later = true;
	job->layer_order = kvf_mem_alloc(&e->mem, n * sizeof(*job->layer_order));
	return job->layer_order ? KVF_OK : KVF_ENOMEM;
}

/* The partial chunk at the end, where the span reaches into it. */
static void use_tail(struct kvf_engine *e, struct kvf_job *job, struct kvf_seq *seq)
{
	uint64_t full = (uint64_t)job->n_full * e->chunk_size;

	if (job->end_token <= full)
		return;
	if (job->code == KVF_OP_STORE && (!e->save_unfull || job->end_token < seq->n_tokens)) {
		job->end_token = kvf_max_u64(full, job->first_token);
		job->reason = KVF_REASON_PARTIAL;
		return;
	}
	job->tail_tokens = (uint32_t)(seq->n_tokens - full);
	memcpy(job->tail_key, kvf_seq_tail_key(seq), sizeof(job->tail_key));
}

/* Remembers which partial chunk this store leaves behind, and which one it makes worthless. */
static void note_partial(struct kvf_engine *e, struct kvf_job *job, struct kvf_seq *seq)
{
	if (seq->has_partial && seq->partial_tokens < seq->n_tokens) {
		job->has_stale = true;
		job->stale_chunk = (uint32_t)(seq->partial_tokens / e->chunk_size);
		memcpy(job->stale_key, seq->partial_key, sizeof(job->stale_key));
	}
	if (!job->tail_tokens)
		return;
	seq->has_partial = true;
	seq->partial_tokens = seq->n_tokens;
	memcpy(seq->partial_key, job->tail_key, sizeof(seq->partial_key));
}

static void set_range(struct kvf_engine *e, struct kvf_job *job, const struct kvf_op *op)
{
	struct kvf_seq *seq = op->seq;
	uint64_t bound = seq ? kvf_store_bound(e, seq->n_tokens) : 0;
	bool cut = false;

	job->first_token = op->first_token;
	job->end_token = kvf_sat_add(op->first_token, op->n_tokens);
	if (op->code == KVF_OP_LOOKUP) {
		job->first_token = 0;
		job->end_token = seq->n_tokens;
	}
	if (!seq)
		return;
	if (op->code == KVF_OP_STORE && job->end_token > bound) {
		job->end_token = kvf_max_u64(bound, job->first_token);
		cut = true;
	}
	/* A span that ends inside a full chunk stores what is full. */
	if (op->code == KVF_OP_STORE && job->end_token % e->chunk_size &&
	    job->end_token < (uint64_t)job->n_full * e->chunk_size) {
		job->end_token -= job->end_token % e->chunk_size;
		job->reason = KVF_REASON_PARTIAL;
	}
	use_tail(e, job, seq);
	job->first_chunk = (uint32_t)(job->first_token / e->chunk_size);
	job->end_chunk = (uint32_t)kvf_div_up(job->end_token, e->chunk_size);
	if (job->end_token <= job->first_token)
		job->end_chunk = job->first_chunk;
	if (cut)
		job->reason = KVF_REASON_POLICY;
}

static void set_class(struct kvf_engine *e, struct kvf_job *job, const struct kvf_op *op)
{
	job->kind = kind_of(op->code);
	job->fences_kept = op->flags & KVF_OP_STREAM_ORDERED;
	job->klass = op->code == KVF_OP_STORE	 ? KVF_CLASS_STORE :
		     op->code == KVF_OP_PREFETCH ? KVF_CLASS_PREFETCH :
						   KVF_CLASS_RETRIEVE;
	if (op->code == KVF_OP_STORE && !job->level)
		job->level = KVF_LEVEL_INDEXED;
	if (op->code == KVF_OP_UNPIN)
		job->lease_id = op->lease_id;
	if (op->code == KVF_OP_LOOKUP && (!op->tiers || op->tiers & KVF_TIER_RAM)) {
		job->plan_known = kvf_seq_resident_chunks(e, op->seq);
		job->memo_epoch = e->index.epoch + 1;
	}
}

static uint32_t ring_places(const struct kvf_op *op)
{
	return 1 + !!(op->flags & KVF_OP_SOURCE_FREE) + !!(op->flags & KVF_OP_PROGRESS);
}

static int fill_job(struct kvf_engine *e, struct kvf_job *job, const struct kvf_op *op)
{
	int rc = KVF_OK;

	set_class(e, job, op);
	if (moves_bytes(op->code)) {
		rc = copy_blocks(e, job, op);
		if (!rc)
			rc = make_layers(e, job);
		if (!rc && op->fence.kind != KVF_FENCE_LATER) {
			rc = kvf_device_capture(e, &op->fence, &job->fence);
			job->fence_held = !rc;
		}
	}
	if (rc)
		return rc;
	set_range(e, job, op);
	if (op->code == KVF_OP_STORE && kvf_store_refused(e, op)) {
		job->end_chunk = job->first_chunk;
		job->reason = KVF_REASON_POLICY;
	} else if (op->code == KVF_OP_STORE) {
		note_partial(e, job, op->seq);
	}
	return KVF_OK;
}

static int submit_one(struct kvf_engine *e, const struct kvf_op *op, uint64_t *id)
{
	struct kvf_job *job;
	int rc = check_common(e, op);

	if (!rc && op->seq && op->code != KVF_OP_LOOKUP)
		rc = check_range(e, op);
	if (!rc && moves_bytes(op->code))
		rc = check_device(e, op);
	if (rc)
		return rc;
	if (e->n_jobs >= e->max_ops)
		return kvf_refuse(e, KVF_EAGAIN, "kvf_max_ops: %u operations are in flight", e->n_jobs);
	if (!kvf_ring_reserve(e, ring_places(op)))
		return kvf_refuse(e, KVF_EAGAIN, "the completion ring of %u entries is full: reap", e->ring.cap);
	job = kvf_job_new(e, op);
	if (!job) {
		kvf_ring_unreserve(e, ring_places(op));
		return kvf_refuse(e, KVF_ENOMEM, "no memory for an operation");
	}
	job->ring_places = ring_places(op);
	rc = fill_job(e, job, op);
	if (rc) {
		if (rc == KVF_ENOMEM)
			kvf_refuse(e, rc, "no memory for what the operation needs");
		kvf_job_abandon(e, job);
		return rc;
	}
	kvf_job_start(e, job);
	*id = job->id;
	return KVF_OK;
}

int kvf_submit(struct kvf_engine *e, const struct kvf_op *ops, unsigned n, uint64_t *op_ids)
{
	unsigned taken = 0;
	int rc;

	if (!e || (n && (!ops || !op_ids)))
		return KVF_EINVAL;
	rc = kvf_enter(e);
	if (rc)
		return rc;
	kvf_clock_update(&e->clock);
	if (e->dead)
		rc = KVF_EDEAD;
	else if (e->shutting)
		rc = kvf_refuse(e, KVF_ESHUTDOWN, "the engine is shutting down");
	while (!rc && taken < n) {
		rc = submit_one(e, &ops[taken], &op_ids[taken]);
		taken += !rc;
	}
	kvf_arm(e);
	return kvf_exit(e, taken ? (int)taken : rc);
}

int kvf_cancel(struct kvf_engine *e, uint64_t op_id)
{
	struct kvf_job *job;
	int rc;

	if (!e)
		return KVF_EINVAL;
	rc = kvf_enter(e);
	if (rc)
		return rc;
	job = e->dead ? NULL : kvf_job_find(e, op_id);
	if (!job || job->state == KVF_STATE_POSTED)
		return kvf_exit(e, KVF_ENOENT);
	kvf_job_stop(e, job, KVF_ECANCELED, KVF_REASON_CANCELED);
	kvf_arm(e);
	return kvf_exit(e, KVF_OK);
}

int kvf_cancel_seq(struct kvf_engine *e, const struct kvf_seq *seq)
{
	int n = 0;
	int rc;

	if (!e || !seq)
		return KVF_EINVAL;
	rc = kvf_enter(e);
	if (rc)
		return rc;
	for (uint32_t i = 0; !e->dead && i < e->jobs.used; i++) {
		struct kvf_job *job = kvf_slab_at(&e->jobs, i);

		if (!job->id || job->seq != seq || job->state == KVF_STATE_POSTED)
			continue;
		kvf_job_stop(e, job, KVF_ECANCELED, KVF_REASON_CANCELED);
		n++;
	}
	kvf_arm(e);
	return kvf_exit(e, n);
}
