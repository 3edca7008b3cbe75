/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Store: admit -> copy (a slot, a gather, published chunk by chunk) -> level.
 *
 * Chunks that are there already are skipped; one that somebody else is filling is waited for and, should that fail,
 * stored here. Chunks are begun in order and nothing behind a dropped one is kept, so what a full cache loses is the
 * suffix.
 */
#include "engine/engine.h"

#include <string.h>

enum { ADMIT = 0, COPY, LEVEL };

/* Which tiers must answer for the level asked, as bits of tier numbers. */
static uint32_t level_tiers(const struct kvf_engine *e, const struct kvf_job *job)
{
	uint32_t cap = job->level == KVF_LEVEL_DURABLE ? KVF_TIER_DURABLE : KVF_TIER_SHARED;

	if (job->level <= KVF_LEVEL_INDEXED)
		return 0;
	for (uint32_t t = 0; t < e->n_tiers; t++) {
		if (e->tier[t].caps & cap)
			return 1u << t;
	}
	return 0;
}

static enum kvf_step_result admit(struct kvf_engine *e, struct kvf_job *job)
{
	uint32_t n = job->end_chunk - job->first_chunk;

	job->cursor = job->first_chunk;
	if (job->level > KVF_LEVEL_INDEXED && n && !job->level_wait) {
		job->level_wait = kvf_mem_zalloc(&e->mem, n * sizeof(*job->level_wait));
		if (!job->level_wait) {
			job->status = KVF_ENOMEM;
			job->reason = KVF_REASON_MEMORY;
			return KVF_STEP_END;
		}
		job->n_level_waits = n;
	}
	/* To store is no use of what is there, as in LMCache: a prompt that is stored in steps would count many times.
	 * LRU alone is told, since what it keeps in order is the path: the new chunks go before the old ones. */
	if (e->policy == KVF_POLICY_LRU && !kvf_job_touch(e, job, job->end_chunk))
		return KVF_STEP_YIELD;
	kvf_job_goto(e, job, COPY);
	return KVF_STEP_AGAIN;
}

static void short_of_level(struct kvf_job *job, uint32_t chunk)
{
	job->level_limit = (uint32_t)kvf_min_u64(job->level_limit, chunk);
}

/* The chunk is in RAM: sends it down, and remembers to wait where a level was asked for. One that was removed while
 * it was copied goes nowhere. */
static void send_down(struct kvf_engine *e, struct kvf_job *job, uint32_t chunk, uint32_t entry)
{
	uint32_t need = level_tiers(e, job);
	struct kvf_level_wait *wait;

	if (kvf_index_entry(&e->index, entry)->state != KVF_ENTRY_RESIDENT) {
		if (need)
			short_of_level(job, chunk);
		return;
	}
	kvf_spill_queue(e, entry, e->tier_mask);
	need &= ~(uint32_t)kvf_index_entry(&e->index, entry)->tiers_have;
	if (!need)
		return;
	wait = &job->level_wait[chunk - job->first_chunk];
	wait->job = job;
	wait->chunk = chunk;
	wait->tiers = need;
	if (!kvf_spill_await(e, entry, wait))
		short_of_level(job, chunk);
}

/* A longer chunk at its place makes the sequence's shorter partial one worthless. */
static void demote_stale(struct kvf_engine *e, const struct kvf_job *job, uint32_t chunk)
{
	uint32_t stale;

	if (!job->has_stale || chunk != job->stale_chunk)
		return;
	stale = kvf_index_find(&e->index, job->stale_key);
	if (stale != KVF_NIL)
		kvf_evict_demote(kvf_evict_of(e, stale), stale);
}

static void fail_at(struct kvf_engine *e, struct kvf_job *job, uint32_t chunk, uint8_t reason, int status)
{
	KVF_CHECK(e, chunk < job->limit);
	job->limit = chunk;
	/* What ends because the operation was told to says nothing new. */
	if (job->stop)
		return;
	job->reason = reason;
	job->status = status == KVF_EDEVLOST || status == KVF_ENOMEM ? status : KVF_EDROPPED;
}

static void publish(struct kvf_engine *e, struct kvf_job *job, struct kvf_move *move)
{
	uint32_t entry = move->entry;

	move->owns_fill = false;
	move->entry = KVF_NIL;
	kvf_fill_publish(e, kvf_fill_of(e, entry));
	e->stats.stored_chunks++;
	e->stats.stored_tokens += move->tokens;
	e->stats.stored_bytes += move->copy.payload_bytes;
	send_down(e, job, move->chunk, entry);
	demote_stale(e, job, move->chunk);
	kvf_entry_unpin(e, entry);
}

/* Somebody else stored it: a joined or found move. */
static void skip(struct kvf_engine *e, struct kvf_job *job, struct kvf_move *move)
{
	uint32_t entry = move->entry;

	e->stats.skipped_chunks++;
	send_down(e, job, move->chunk, entry);
	move->state = KVF_MOVE_DONE;
	move->entry = KVF_NIL;
	kvf_entry_unpin(e, entry);
}

/* Behind a dropped chunk nothing is kept; a copy that runs is let finish. */
static bool is_moot(const struct kvf_job *job, const struct kvf_move *move)
{
	return move->chunk > job->limit && move->state != KVF_MOVE_COPYING;
}

/* Layerwise: the next layer the host has announced. */
static void copy_next_layer(struct kvf_engine *e, struct kvf_job *job, struct kvf_move *move)
{
	uint32_t layer;

	move->state = KVF_MOVE_IDLE;
	if (move->layer >= job->n_layers_given)
		return;
	layer = job->layer_order[move->layer];
	kvf_move_prepare(e, move, KVF_COPY_GATHER, layer, 1);
	move->copy.after = &job->layers[layer].captured;
	kvf_device_copy(e, move);
}

static void begin_copy(struct kvf_engine *e, struct kvf_job *job, struct kvf_move *move)
{
	if (job->layerwise) {
		copy_next_layer(e, job, move);
		return;
	}
	kvf_move_prepare(e, move, KVF_COPY_GATHER, 0, UINT32_MAX);
	move->copy.after = &job->fence;
	kvf_device_copy(e, move);
}

/* Looks at every move once: publishes, retries, counts the prefix. */
static void collect(struct kvf_engine *e, struct kvf_job *job)
{
	struct kvf_list *node, *tmp;

	kvf_list_for_each_safe(node, tmp, &job->moves) {
		struct kvf_move *move = kvf_list_entry(node, struct kvf_move, link);

		if (is_moot(job, move)) {
			kvf_move_free(e, move);
			continue;
		}
		switch (move->state) {
		case KVF_MOVE_DONE:
			if (move->owns_fill && kvf_scrub_move(e, move))
				continue;
			if (move->owns_fill)
				publish(e, job, move);
			break;
		case KVF_MOVE_READY:
			skip(e, job, move);
			break;
		case KVF_MOVE_FAILED:
			if (!move->owns_fill && !move->retried) {
				move->retried = 1;
				move->state = KVF_MOVE_NEW;
				continue;
			}
			fail_at(e, job, move->chunk, move->reason, move->status);
			break;
		case KVF_MOVE_IDLE:
			if (!job->stop)
				copy_next_layer(e, job, move);
			continue;
		default:
			continue;
		}
		if (move->chunk == job->first_chunk + job->prefix && move->chunk < job->limit)
			job->prefix++;
		else if (move->chunk < job->limit)
			continue; /* done before its turn: counted when the gap closes */
		kvf_move_free(e, move);
	}
}

/* True: the move is settled. */
static bool refuse_move(struct kvf_move *move, enum kvf_reason reason, int status)
{
	move->state = KVF_MOVE_FAILED;
	move->retried = 1;
	move->reason = (uint8_t)reason;
	move->status = status;
	return true;
}

/* Chunks that need no slot: there already. True when the move is settled or waits for somebody. */
static bool have_already(struct kvf_engine *e, struct kvf_job *job, struct kvf_move *move)
{
	uint32_t entry = kvf_index_find(&e->index, kvf_job_key(job, move->chunk));

	if (entry == KVF_NIL)
		return false;
	if (kvf_index_entry(&e->index, entry)->state == KVF_ENTRY_FILLING) {
		kvf_fill_join(e, move, entry);
		return true;
	}
	if (kvf_entry_crowded(e, entry))
		return refuse_move(move, KVF_REASON_CAP, KVF_EQUOTA);
	kvf_entry_pin(e, entry);
	move->entry = entry;
	move->state = KVF_MOVE_READY;
	return true;
}

/* Begins the move. False: it must wait for a slot. */
static bool begin(struct kvf_engine *e, struct kvf_job *job, struct kvf_move *move)
{
	uint32_t slot = job->granted;
	uint32_t entry;

	if (have_already(e, job, move))
		return true;
	if (slot == KVF_NIL)
		slot = kvf_slot_take(e, job, NULL);
	job->granted = KVF_NIL;
	if (slot == KVF_NIL && kvf_slot_hopeless(e, job))
		return refuse_move(move, KVF_REASON_CAP, KVF_EQUOTA);
	if (slot == KVF_NIL) {
		kvf_slot_want(e, job, NULL);
		return false;
	}
	entry = kvf_fill_begin(e, job, move->chunk, slot);
	if (entry == KVF_NIL) {
		kvf_slot_untake(e, slot, NULL);
		return refuse_move(move, KVF_REASON_MEMORY, KVF_ENOMEM);
	}
	kvf_entry_pin(e, entry);
	move->entry = entry;
	move->owns_fill = true;
	begin_copy(e, job, move);
	return true;
}

/* Moves set back to NEW after somebody else's fill failed. */
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
	while (job->n_moves < KVF_MOVE_WINDOW && job->cursor < job->end_chunk && job->cursor < job->limit) {
		struct kvf_move *move = kvf_move_new(e, job, job->cursor);

		if (!move) {
			if (!job->n_moves)
				fail_at(e, job, job->cursor, KVF_REASON_MEMORY, KVF_ENOMEM);
			return;
		}
		job->cursor++;
		if (!begin(e, job, move))
			return;
	}
}

static void post_source_free(struct kvf_engine *e, struct kvf_job *job)
{
	struct kvf_completion c = {
		.op_id = job->id,
		.user_data = job->user_data,
		.kind = KVF_SOURCE_FREE,
		.op = job->code,
		.tokens = (uint32_t)kvf_job_span_tokens(e, job, job->prefix),
	};

	if (!(job->flags & KVF_OP_SOURCE_FREE) || job->source_free_posted)
		return;
	job->source_free_posted = true;
	job->ring_places--;
	kvf_ring_post(e, &c);
}

/* A move that is READY or DONE but not collected yet? */
static bool has_news(const struct kvf_job *job)
{
	struct kvf_list *node;

	kvf_list_for_each(node, &job->moves) {
		struct kvf_move *move = kvf_list_entry(node, struct kvf_move, link);

		if (move->state == KVF_MOVE_READY || move->state == KVF_MOVE_FAILED)
			return true;
		if (move->state == KVF_MOVE_DONE && move->chunk == job->first_chunk + job->prefix)
			return true;
	}
	return false;
}

static enum kvf_step_result copy(struct kvf_engine *e, struct kvf_job *job)
{
	collect(e, job);
	/* A layerwise store whose layers are not all there yet must not hold slots that others wait for, unless it got
	 * all of them at once. */
	if (job->layerwise && job->n_layers_given < e->plan.n_layers && job->cursor == job->first_chunk &&
	    e->n_copying + (job->end_chunk - job->first_chunk) > e->cap_copying) {
		job->done_flags |= KVF_DONE_CHUNKWISE;
		return KVF_STEP_WAIT;
	}
	begin_more(e, job);
	/* A slot that was granted for a chunk somebody else brought meanwhile. */
	if (!job->blocked)
		kvf_slot_unwant(e, job);
	if (has_news(job))
		return KVF_STEP_AGAIN;
	if (job->n_moves || (job->cursor < job->end_chunk && job->cursor < job->limit))
		return KVF_STEP_WAIT;
	post_source_free(e, job);
	job->copied_ns = e->clock.now_ns;
	kvf_job_goto(e, job, LEVEL);
	return KVF_STEP_AGAIN;
}

static enum kvf_step_result level(struct kvf_engine *e, struct kvf_job *job)
{
	(void)e;
	return job->level_pending ? KVF_STEP_WAIT : KVF_STEP_END;
}

static void stop(struct kvf_engine *e, struct kvf_job *job)
{
	collect(e, job);
	kvf_moves_drop(e, job);
	for (uint32_t i = 0; i < job->n_level_waits; i++) {
		struct kvf_level_wait *wait = &job->level_wait[i];

		if (!wait->job || !kvf_list_linked(&wait->link))
			continue;
		kvf_list_remove(&wait->link);
		short_of_level(job, wait->chunk);
	}
	job->level_pending = 0;
}

static void report(struct kvf_engine *e, struct kvf_job *job, struct kvf_completion *c)
{
	post_source_free(e, job);
	c->level = job->level;
	if (job->level > KVF_LEVEL_INDEXED && job->level_limit < job->first_chunk + job->prefix) {
		c->level = KVF_LEVEL_INDEXED;
		if (!job->status)
			job->status = KVF_EDROPPED;
		if (!job->reason)
			job->reason = KVF_REASON_DROPPED;
	}
	c->tokens = (uint32_t)kvf_job_span_tokens(e, job, job->prefix);
	e->stats.dropped_chunks += job->end_chunk - job->first_chunk - job->prefix;
	if (!c->tokens)
		c->level = KVF_LEVEL_NONE;
}

static const struct kvf_job_step steps[] = {
	[ADMIT] = { "admit", admit, 1u << COPY },
	[COPY] = { "copy", copy, 1u << LEVEL },
	[LEVEL] = { "level", level, 0 },
};

const struct kvf_job_kind kvf_job_store = { "store", steps, KVF_ARRAY_LEN(steps), stop, report };
