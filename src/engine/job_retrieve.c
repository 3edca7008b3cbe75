/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Retrieve: plan (where is each chunk) -> touch (the path was used) -> move (fill what is below RAM, scatter what is
 * there, windowed) -> done.
 *
 * Chunks arrive in any order; what counts is the prefix without a gap. A chunk that fails is looked for once more,
 * further down, before it ends the prefix. A scattered chunk lets go of its slot at once, whatever its place in the
 * prefix.
 *
 * Prefetch is the same without a device: what arrives goes to the lease, or simply stays.
 */
#include "engine/engine.h"

enum { PLAN = 0, TOUCH, MOVE };

static bool all_resident(struct kvf_engine *e, struct kvf_job *job, uint32_t end)
{
	uint32_t entry[KVF_FIND_BATCH];

	for (uint32_t chunk = job->first_chunk; chunk < end;) {
		uint32_t n = kvf_job_entries(e, job, chunk, end, entry);

		for (uint32_t i = 0; i < n; i++) {
			if (!kvf_is_resident(e, entry[i]))
				return false;
		}
		chunk += n;
	}
	return true;
}


/* ---- what became of the moves ---- */

/* Ends the prefix before the chunk: those behind one that failed are not begun, and freed where they were. */
static void fail_at(struct kvf_engine *e, struct kvf_job *job, uint32_t chunk, uint8_t reason, int status)
{
	KVF_CHECK(e, chunk < job->limit);
	job->limit = chunk;
	/* What ends because the operation was told to says nothing new. */
	if (job->stop)
		return;
	job->reason = reason;
	/* A miss is no error; a device that failed or an allocator that said no is. */
	if (reason == KVF_REASON_DEVICE || reason == KVF_REASON_MEMORY)
		job->status = status;
}

static void let_go(struct kvf_engine *e, struct kvf_move *move)
{
	uint32_t entry = move->entry;

	if (entry == KVF_NIL)
		return;
	move->entry = KVF_NIL;
	kvf_entry_unpin(e, entry);
}

/* The chunk of a prefetch arrived. */
static void keep(struct kvf_engine *e, struct kvf_job *job, struct kvf_move *move)
{
	if (!move->in_ram)
		kvf_index_entry(&e->index, move->entry)->flags |= KVF_ENTRY_PREFETCHED;
	if (job->lease && !kvf_lease_add(e, job->lease, move->chunk, move->entry)) {
		move->reason = KVF_REASON_CAP;
		move->state = KVF_MOVE_FAILED;
		return;
	}
	move->state = KVF_MOVE_DONE;
}

/* False: the device has no fence for it now, as it holds copies back or is lost. To be asked again. */
static bool layer_issued(struct kvf_engine *e, struct kvf_job *job, uint32_t layer)
{
	struct kvf_layer_state *state = &job->layers[layer];

	if (state->issued)
		return true;
	if (state->left > 1) {
		state->left--;
		return true;
	}
	if (e->device->fence && e->device->fence(e->device_self, KVF_COPY_SCATTER, &state->out))
		return false;
	state->left = 0;
	state->issued = true;
	job->n_layers_issued++;
	kvf_job_progress(e, job);
	return true;
}

/* Counts the layers whose copy the device has taken: a fence covers nothing that still waits for a place in its
 * queue. */
static void count_layers(struct kvf_engine *e, struct kvf_job *job, struct kvf_move *move)
{
	bool taken = move->state == KVF_MOVE_DONE || (move->state == KVF_MOVE_COPYING && !kvf_list_linked(&move->wait));
	uint32_t n = move->layer + taken;

	while (move->layers_issued < n && move->layers_issued < e->plan.n_layers &&
	       layer_issued(e, job, move->layers_issued))
		move->layers_issued++;
}

static void begin_copy(struct kvf_engine *e, struct kvf_job *job, struct kvf_move *move)
{
	if (job->layerwise)
		kvf_move_prepare(e, move, KVF_COPY_SCATTER, move->layer, 1);
	else
		kvf_move_prepare(e, move, KVF_COPY_SCATTER, 0, UINT32_MAX);
	move->copy.after = &job->fence;
	kvf_device_copy(e, move);
}

static void count_prefix(struct kvf_engine *e, struct kvf_job *job)
{
	uint32_t before = job->prefix;

	while (!kvf_list_empty(&job->moves)) {
		struct kvf_move *move = kvf_list_entry(job->moves.next, struct kvf_move, link);

		if (move->state != KVF_MOVE_DONE || move->chunk != job->first_chunk + job->prefix)
			break;
		job->prefix++;
		if (move->in_ram)
			job->in_ram = (uint32_t)(job->in_ram + move->copy.n);
		kvf_move_free(e, move);
	}
	if (job->prefix != before)
		kvf_job_progress(e, job);
}

/* Its own copy failed, or it never got its chunk: the latter is looked for further down. After two tiers that failed
 * that is enough; tiers that have not got it, and stores of others that failed, are no try. */
static bool look_again(const struct kvf_job *job, struct kvf_move *move)
{
	if (move->entry != KVF_NIL || move->nowhere || job->stop)
		return false;
	move->failures += !move->bereft && move->status != KVF_ENOENT;
	if (move->failures > 1)
		return false;
	/* Why another operation's store failed is no reason of ours. */
	if (!move->failed_tier)
		move->reason = KVF_REASON_NONE;
	move->bereft = false;
	move->retried = 1;
	move->state = KVF_MOVE_NEW;
	return true;
}

/* Looks at every move once. Returns true when something may be begun anew. */
static void collect(struct kvf_engine *e, struct kvf_job *job)
{
	struct kvf_list *node, *tmp;

	kvf_list_for_each_safe(node, tmp, &job->moves) {
		struct kvf_move *move = kvf_list_entry(node, struct kvf_move, link);

		if (move->chunk > job->limit && move->state != KVF_MOVE_COPYING) {
			kvf_move_free(e, move);
			continue;
		}
		if (move->state == KVF_MOVE_READY) {
			if (job->code == KVF_OP_PREFETCH)
				keep(e, job, move);
			else if (!job->stop && !kvf_scrub_move(e, move))
				begin_copy(e, job, move);
		}
		if (move->state == KVF_MOVE_IDLE && !job->stop)
			begin_copy(e, job, move);
		if (job->layerwise)
			count_layers(e, job, move);
		if (move->state == KVF_MOVE_DONE)
			let_go(e, move);
		if (move->state != KVF_MOVE_FAILED)
			continue;
		if (look_again(job, move))
			continue;
		fail_at(e, job, move->chunk, move->reason, move->status);
		kvf_move_free(e, move);
	}
	count_prefix(e, job);
}

/* ---- beginning ---- */

/* True: the move is settled. */
static bool miss(struct kvf_move *move, enum kvf_reason reason, int status)
{
	if (!move->reason || reason != KVF_REASON_MISS) {
		move->reason = (uint8_t)reason;
		move->status = status;
	}
	move->state = KVF_MOVE_FAILED;
	move->nowhere = true;
	return true;
}

static void use_present(struct kvf_engine *e, struct kvf_move *move, uint32_t entry)
{
	struct kvf_entry *en = kvf_index_entry(&e->index, entry);

	if (en->state == KVF_ENTRY_FILLING) {
		kvf_fill_join(e, move, entry);
		return;
	}
	if (kvf_entry_crowded(e, entry)) {
		(void)miss(move, KVF_REASON_CAP, KVF_EQUOTA);
		return;
	}
	kvf_entry_pin(e, entry);
	move->entry = entry;
	move->in_ram = !move->retried;
	if (en->flags & KVF_ENTRY_PREFETCHED && move->job->code == KVF_OP_RETRIEVE) {
		en->flags &= (uint8_t)~KVF_ENTRY_PREFETCHED;
		e->stats.prefetch_used++;
	}
	move->state = KVF_MOVE_READY;
}

/* Where to look for a chunk that is not in RAM: below the tier that failed to give it. */
static struct kvf_tier *source(struct kvf_engine *e, struct kvf_job *job, struct kvf_move *move)
{
	uint8_t *at = &job->where[move->chunk - job->first_chunk];

	/* Somebody else's store that failed says nothing about the tiers. */
	if (move->retried && move->failed_tier && (*at >= KVF_AT_RAM || *at < move->failed_tier))
		*at = move->failed_tier;
	return kvf_plan_source(e, job, move->chunk);
}

/* The slot that was granted to the job, if it was for this tier. */
static uint32_t take_granted(struct kvf_engine *e, struct kvf_job *job, const struct kvf_tier *tier)
{
	uint32_t slot = job->granted;

	if (slot == KVF_NIL)
		return KVF_NIL;
	if (job->grant_tier != tier) {
		kvf_slot_unwant(e, job);
		return KVF_NIL;
	}
	job->granted = KVF_NIL;
	return slot;
}

/* A prefetch over its rate: the job waits for the bucket, not for a slot. */
static bool must_wait_for_rate(struct kvf_engine *e, struct kvf_job *job)
{
	if (kvf_bucket_take(&e->prefetch_rate, e->clock.now_ns, e->payload_bytes))
		return false;
	if (!kvf_list_linked(&job->level_link))
		kvf_list_push_back(&e->rate_waiters, &job->level_link);
	return true;
}

/* Begins the move: from RAM, or by a get. False: it must wait for a slot. */
static bool begin(struct kvf_engine *e, struct kvf_job *job, struct kvf_move *move)
{
	uint32_t entry = kvf_index_find(&e->index, kvf_job_key(job, move->chunk));
	struct kvf_tier *tier;
	uint32_t slot;

	if (entry != KVF_NIL) {
		use_present(e, move, entry);
		return true;
	}
	if (!move->tier)
		move->tier = source(e, job, move);
	tier = move->tier;
	if (!tier)
		return miss(move, KVF_REASON_MISS, KVF_ENOENT);
	if (job->code == KVF_OP_PREFETCH && job->granted == KVF_NIL && must_wait_for_rate(e, job))
		return false;
	slot = take_granted(e, job, tier);
	if (slot == KVF_NIL)
		slot = kvf_slot_take(e, job, tier);
	if (slot == KVF_NIL && kvf_slot_hopeless(e, job))
		return miss(move, KVF_REASON_CAP, KVF_EQUOTA);
	if (slot == KVF_NIL) {
		kvf_slot_want(e, job, tier);
		return false;
	}
	move->tier = NULL;
	entry = kvf_load_begin(e, job, move->chunk, tier, slot);
	if (entry == KVF_NIL) {
		kvf_slot_untake(e, slot, tier);
		return miss(move, KVF_REASON_MEMORY, KVF_ENOMEM);
	}
	if (job->code == KVF_OP_PREFETCH)
		e->stats.prefetch_chunks++;
	kvf_fill_join(e, move, entry);
	return true;
}

static bool begin_again(struct kvf_engine *e, struct kvf_job *job)
{
	struct kvf_list *node;

	kvf_list_for_each(node, &job->moves) {
		struct kvf_move *move = kvf_list_entry(node, struct kvf_move, link);

		if (move->state == KVF_MOVE_NEW && !begin(e, job, move))
			return false;
	}
	return true;
}

static void begin_more(struct kvf_engine *e, struct kvf_job *job)
{
	if (job->blocked || !begin_again(e, job))
		return;
	while (job->n_moves < KVF_MOVE_WINDOW && job->cursor < job->planned && job->cursor < job->limit) {
		struct kvf_move *move = kvf_move_new(e, job, job->cursor);

		if (!move) {
			/* With moves in flight their memory comes back; with none nothing will. */
			if (!job->n_moves)
				fail_at(e, job, job->cursor, KVF_REASON_MEMORY, KVF_ENOMEM);
			return;
		}
		job->cursor++;
		if (!begin(e, job, move))
			return;
	}
}

static bool has_news(const struct kvf_job *job)
{
	struct kvf_list *node;

	kvf_list_for_each(node, &job->moves) {
		uint8_t state = kvf_list_entry(node, struct kvf_move, link)->state;

		if (state == KVF_MOVE_READY || state == KVF_MOVE_FAILED ||
		    (state == KVF_MOVE_NEW && !job->blocked && !kvf_list_linked(&job->level_link)))
			return true;
	}
	return false;
}

/* At the end every layer has a fence: where it has none yet, the one behind the last copy. False: there is none to be
 * had, and copies are in flight. */
static bool issue_all_layers(struct kvf_engine *e, struct kvf_job *job)
{
	struct kvf_fence_out out = { .kind = KVF_FENCE_NOW };

	if (!job->layers)
		return true;
	if (e->device->fence && e->device->fence(e->device_self, KVF_COPY_SCATTER, &out)) {
		if (job->n_copying)
			return false;
		out = (struct kvf_fence_out){ .kind = KVF_FENCE_NOW };
	}
	for (uint32_t l = 0; l < e->plan.n_layers; l++) {
		if (job->layers[l].issued)
			continue;
		job->layers[l].out = out;
		job->layers[l].issued = true;
	}
	job->n_layers_issued = e->plan.n_layers;
	return true;
}

/* Everything that will be copied is with the device, for all its layers. */
static bool all_issued(const struct kvf_engine *e, const struct kvf_job *job)
{
	struct kvf_list *node;

	if (job->cursor < job->end_chunk && job->cursor < job->limit)
		return false;
	kvf_list_for_each(node, &job->moves) {
		struct kvf_move *move = kvf_list_entry(node, struct kvf_move, link);

		if (move->state != KVF_MOVE_COPYING && move->state != KVF_MOVE_DONE)
			return false;
		if (kvf_list_linked(&move->wait)) /* the device has not taken it yet */
			return false;
		if (job->layerwise && move->state == KVF_MOVE_COPYING && move->layer + 1 < e->plan.n_layers)
			return false;
	}
	return true;
}

/* ---- the steps ---- */

/* Takes in what happened to the moves, and begins more. True: there is something to do at once. */
static bool go_on(struct kvf_engine *e, struct kvf_job *job)
{
	collect(e, job);
	begin_more(e, job);
	/* A slot that was granted for a chunk somebody else brought meanwhile. */
	if (!job->blocked)
		kvf_slot_unwant(e, job);
	return has_news(job);
}

static bool is_enough(const struct kvf_engine *e, const struct kvf_job *job, uint32_t end)
{
	return kvf_min_u64((uint64_t)end * e->chunk_size, job->end_token) >= e->min_retrieve_tokens;
}

/* What is known already need not wait for what a slow tier says about the rest. */
static bool begin_early(struct kvf_engine *e, struct kvf_job *job)
{
	uint32_t known = kvf_plan_known(job);

	if (!job->plan_tier || known == job->first_chunk || job->flags & KVF_OP_LAYERWISE)
		return false;
	if (job->code == KVF_OP_RETRIEVE && !is_enough(e, job, known))
		return false;
	if (!job->early)
		job->cursor = job->first_chunk;
	job->early = true;
	job->planned = known;
	return go_on(e, job);
}

static enum kvf_step_result plan(struct kvf_engine *e, struct kvf_job *job)
{
	enum kvf_step_result r = kvf_plan_step(e, job);

	if (r == KVF_STEP_WAIT && begin_early(e, job))
		return KVF_STEP_AGAIN;
	if (r != KVF_STEP_AGAIN)
		return r;
	if (job->reason == KVF_REASON_MEMORY)
		job->status = KVF_ENOMEM;
	kvf_job_goto(e, job, TOUCH);
	return KVF_STEP_AGAIN;
}

/* Layerwise: every chunk is pinned at once and nothing is waited for; where that cannot be, chunk by chunk. */
static void choose_layerwise(struct kvf_engine *e, struct kvf_job *job)
{
	uint32_t end = kvf_job_end_of_hit(job);

	if (!(job->flags & KVF_OP_LAYERWISE))
		return;
	job->layerwise = e->device_caps & KVF_DEVICE_LAYERWISE && e->device_caps & KVF_DEVICE_FENCES &&
			 end - job->first_chunk <= KVF_LAYERWISE_MAX && all_resident(e, job, end);
	while (job->layerwise && job->cursor < end) {
		struct kvf_move *move = kvf_move_new(e, job, job->cursor);

		if (!move) {
			job->layerwise = false;
			break;
		}
		use_present(e, move, kvf_index_find(&e->index, kvf_job_key(job, job->cursor)));
		job->cursor++;
	}
	if (!job->layerwise) {
		kvf_moves_drop(e, job);
		job->cursor = job->first_chunk;
		job->done_flags |= KVF_DONE_CHUNKWISE;
		return;
	}
	for (uint32_t l = 0; l < e->plan.n_layers; l++)
		job->layers[l].left = end - job->first_chunk;
}

static enum kvf_step_result touch(struct kvf_engine *e, struct kvf_job *job)
{
	uint32_t end = kvf_job_end_of_hit(job);

	/* What was begun early was enough when it began. */
	if (job->code == KVF_OP_RETRIEVE && end > job->first_chunk && !job->early && !is_enough(e, job, end)) {
		job->limit = end = job->first_chunk;
		job->reason = KVF_REASON_POLICY;
	}
	if (!kvf_job_touch(e, job, end))
		return KVF_STEP_YIELD;
	if (!job->early)
		job->cursor = job->first_chunk;
	job->planned = job->end_chunk;
	choose_layerwise(e, job);
	kvf_job_goto(e, job, MOVE);
	return KVF_STEP_AGAIN;
}

static enum kvf_step_result move(struct kvf_engine *e, struct kvf_job *job)
{
	if (go_on(e, job))
		return KVF_STEP_AGAIN;
	if (kvf_job_has_tail(job) && all_issued(e, job) && issue_all_layers(e, job)) {
		if (job->n_moves)
			job->prefix = kvf_job_end_of_hit(job) - job->first_chunk;
		return KVF_STEP_END;
	}
	if (job->n_moves || (job->cursor < job->end_chunk && job->cursor < job->limit))
		return KVF_STEP_WAIT;
	issue_all_layers(e, job);
	return KVF_STEP_END;
}

/* ---- the end ---- */

static void stop_retrieve(struct kvf_engine *e, struct kvf_job *job)
{
	if (kvf_job_has_tail(job))
		return;
	collect(e, job);
	kvf_moves_drop(e, job);
}

static void report_retrieve(struct kvf_engine *e, struct kvf_job *job, struct kvf_completion *c)
{
	uint64_t tokens;

	if (!kvf_job_has_tail(job))
		collect(e, job); /* copies that ended while the job settled */
	tokens = kvf_job_span_tokens(e, job, job->prefix);
	c->tokens = (uint32_t)tokens;
	c->ram_tokens = job->in_ram;
	c->layers = job->n_layers_issued;
	e->stats.retrieved_tokens += tokens;
	e->stats.requested_tokens += job->end_token - job->first_token;
	e->stats.retrieved_bytes += kvf_layout_payload_bytes(&e->plan, e->chunk_size) / e->chunk_size * tokens;
}

static void stop_prefetch(struct kvf_engine *e, struct kvf_job *job)
{
	collect(e, job);
	kvf_moves_drop(e, job);
}

static void report_prefetch(struct kvf_engine *e, struct kvf_job *job, struct kvf_completion *c)
{
	c->tokens = (uint32_t)kvf_job_span_tokens(e, job, job->prefix);
	if (job->lease)
		c->lease_id = kvf_lease_seal(e, job->lease, job->lease_ns);
}

static enum kvf_step_result plan_prefetch(struct kvf_engine *e, struct kvf_job *job)
{
	if (job->lease_ns && !job->lease && job->end_chunk > job->first_chunk) {
		job->lease = kvf_lease_new(e, job->first_chunk, job->end_chunk - job->first_chunk);
		if (!job->lease) {
			job->status = KVF_ENOMEM;
			job->reason = KVF_REASON_MEMORY;
			return KVF_STEP_END;
		}
	}
	return plan(e, job);
}

static const struct kvf_job_step retrieve_steps[] = {
	[PLAN] = { "plan", plan, 1u << TOUCH },
	[TOUCH] = { "touch", touch, 1u << MOVE },
	[MOVE] = { "move", move, 0 },
};

static const struct kvf_job_step prefetch_steps[] = {
	[PLAN] = { "plan", plan_prefetch, 1u << TOUCH },
	[TOUCH] = { "touch", touch, 1u << MOVE },
	[MOVE] = { "stage", move, 0 },
};

const struct kvf_job_kind kvf_job_retrieve = { "retrieve", retrieve_steps, KVF_ARRAY_LEN(retrieve_steps),
					       stop_retrieve, report_retrieve };
const struct kvf_job_kind kvf_job_prefetch = { "prefetch", prefetch_steps, KVF_ARRAY_LEN(prefetch_steps),
					       stop_prefetch, report_prefetch };
