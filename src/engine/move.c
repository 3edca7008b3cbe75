/* SPDX-License-Identifier: Apache-2.0 */
/* Moves: one chunk of one operation in flight between a slot and the device. */
#include "engine/engine.h"

#include <string.h>

#define FETCH_KEYS 4u /* chunks ahead whose place in the index is asked for */

struct kvf_move *kvf_move_new(struct kvf_engine *e, struct kvf_job *job, uint32_t chunk)
{
	struct kvf_move *move = kvf_mem_zalloc(&e->mem, sizeof(*move));

	if (!move)
		return NULL;
	move->job = job;
	move->chunk = chunk;
	move->entry = KVF_NIL;
	move->tokens = kvf_job_chunk_tokens(e, job, chunk);
	kvf_list_push_back(&job->moves, &move->link);
	job->n_moves++;
	e->looks += KVF_LOOKS_MOVE;
	/* Chunks are begun in order. */
	if (chunk + FETCH_KEYS < job->end_chunk)
		kvf_index_fetch_key(&e->index, kvf_job_key(job, chunk + FETCH_KEYS));
	return move;
}

void kvf_move_prepare(struct kvf_engine *e, struct kvf_move *move, enum kvf_copy_direction direction, uint32_t layer,
		      uint32_t n_layers)
{
	const struct kvf_job *job = move->job;
	struct kvf_copy *copy = &move->copy;
	uint64_t start = (uint64_t)move->chunk * e->chunk_size;
	uint64_t from = kvf_max_u64(start, job->first_token);
	uint64_t to = kvf_min_u64(start + move->tokens, job->end_token);

	memset(copy, 0, sizeof(*copy));
	copy->direction = (uint32_t)direction;
	copy->payload_bytes = (uint32_t)kvf_layout_payload_bytes(&e->plan, move->tokens);
	copy->payload = kvf_pool_addr(&e->pool, kvf_index_entry(&e->index, move->entry)->slot) + KVF_SLOT_HEADER_BYTES;
	copy->chunk_first_token = start;
	copy->chunk_tokens = move->tokens;
	copy->first = (uint32_t)(from - start);
	copy->n = (uint32_t)(to - from);
	copy->first_layer = layer;
	copy->n_layers = n_layers;
	copy->n_groups = job->n_groups;
	copy->groups = job->groups;
	copy->op_id = job->id;
	copy->user_data = job->user_data;
}

void kvf_move_free(struct kvf_engine *e, struct kvf_move *move)
{
	struct kvf_job *job = move->job;

	KVF_CHECK(e, move->state != KVF_MOVE_COPYING);
	if (move->state == KVF_MOVE_FILLING)
		kvf_fill_leave(e, move);
	else if (move->owns_fill)
		kvf_fill_fail(e, kvf_fill_of(e, move->entry),
			      move->reason ? (enum kvf_reason)move->reason : KVF_REASON_CANCELED,
			      move->status ? move->status : KVF_ECANCELED);
	/* A gather is pinned twice: as the entry's fill, and by its move. */
	if (move->state != KVF_MOVE_FILLING && move->entry != KVF_NIL)
		kvf_entry_unpin(e, move->entry);
	kvf_list_remove(&move->sum.link);
	kvf_list_remove(&move->link);
	job->n_moves--;
	kvf_mem_free(&e->mem, move, sizeof(*move));
}

void kvf_moves_cancel(struct kvf_engine *e, struct kvf_job *job)
{
	struct kvf_list *node;

	if (!job->n_copying || !job->stop)
		return;
	kvf_list_for_each(node, &job->moves) {
		struct kvf_move *move = kvf_list_entry(node, struct kvf_move, link);

		if (move->state != KVF_MOVE_COPYING)
			continue;
		if (kvf_list_linked(&move->wait))
			kvf_device_withdraw(e, move);
		else if (e->device->cancel)
			e->device->cancel(e->device_self, &move->copy);
	}
}

void kvf_moves_drop(struct kvf_engine *e, struct kvf_job *job)
{
	struct kvf_list *node, *tmp;

	kvf_list_for_each_safe(node, tmp, &job->moves) {
		struct kvf_move *move = kvf_list_entry(node, struct kvf_move, link);

		if (move->state != KVF_MOVE_COPYING)
			kvf_move_free(e, move);
	}
}
