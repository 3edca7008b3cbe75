/* SPDX-License-Identifier: Apache-2.0 */
/* Completions against what the API promises. */
#include "tests/sim/world.h"

#include <string.h>

#define GARBAGE 0xbadbadbadbadbadbull

struct world_op *world_op_find(struct world *w, uint64_t id)
{
	for (uint32_t i = 0; i < W_MAX_OPS; i++) {
		if (w->ops[i].live && w->ops[i].id == id)
			return &w->ops[i];
	}
	return NULL;
}

static const char *name_of(uint8_t code)
{
	static const char *const names[] = {"none", "lookup", "store", "retrieve", "prefetch",
		"pin", "unpin", "demote", "remove", "flush"};

	return code < KVF_ARRAY_LEN(names) ? names[code] : "?";
}

static void bad(struct world *w, const struct world_op *op, const struct kvf_completion *c,
	const char *what)
{
	world_fail(w,
		"%s #%llu [%u, +%u) flags 0x%x: %s (kind %u status %s reason %u tokens %u level %u "
		"ram %u)",
		name_of(op->op.code), (unsigned long long)op->serial, op->first, op->n,
		op->op.flags, what, c->kind, kvf_strerror(c->status), c->reason, c->tokens,
		c->level, c->ram_tokens);
}

static bool stream_ordered(const struct world_op *op)
{
	return op->op.flags & KVF_OP_STREAM_ORDERED;
}

/* The copies of a layerwise or stream-ordered retrieve may still run when their tokens are
 * announced. */
static void judge_progress(struct world *w, struct world_op *op, const struct kvf_completion *c)
{
	if (!(op->op.flags & KVF_OP_PROGRESS))
		bad(w, op, c, "progress nobody asked for");
	if (op->done)
		bad(w, op, c, "progress after the end");
	if (c->tokens < op->progress_tokens || c->tokens > op->n)
		bad(w, op, c, "progress that went back, or beyond the span");
	op->progress_tokens = c->tokens;
	if (op->op.code == KVF_OP_RETRIEVE && !stream_ordered(op) &&
		c->tokens > blocks_right(w, op, KVF_NIL))
		bad(w, op, c, "progress of tokens that are not there");
}

static void judge_source_free(struct world *w, struct world_op *op, const struct kvf_completion *c)
{
	if (op->op.code != KVF_OP_STORE || !(op->op.flags & KVF_OP_SOURCE_FREE))
		bad(w, op, c, "SOURCE_FREE nobody asked for");
	if (op->source_free)
		bad(w, op, c, "a second SOURCE_FREE");
	if (op->done)
		bad(w, op, c, "SOURCE_FREE after the end");
	if (!w->o.host_device && world_copies_of(w, op->id, KVF_COPY_GATHER))
		bad(w, op, c, "SOURCE_FREE while the device reads the blocks");
	op->source_free = true;
	/* What was promised holds from now on, so whatever reads the blocks later reads this. */
	blocks_fill(w, op, GARBAGE);
	blocks_give(w, op);
}

static bool status_allowed(const struct world *w, const struct world_op *op, int status)
{
	if (w->o.backend && tap_has_said(&w->tap, status) &&
		(op->op.code == KVF_OP_STORE || op->op.code == KVF_OP_RETRIEVE))
		return true;
	switch (status) {
	case KVF_OK:
		return true;
	case KVF_ECANCELED:
		return op->canceled || w->shutdown_cancels;
	case KVF_ETIMEDOUT:
		return world_now(w) >= op->deadline_ns;
	case KVF_ENOMEM:
		return w->mem.failures > 0;
	case KVF_EDROPPED:
		return op->op.code == KVF_OP_STORE;
	case KVF_EIO:
		return op->op.code == KVF_OP_REMOVE
			       ? w->o.n_tiers > 0
			       : w->dev.errors || w->o.device.refuse || w->fail_device_at;
	case KVF_EDEVLOST:
		return w->dev.lost;
	case KVF_ENOENT:
		return op->op.code == KVF_OP_UNPIN;
	default:
		return false;
	}
}

static void judge_retrieve(struct world *w, struct world_op *op, const struct kvf_completion *c)
{
	bool still_running = stream_ordered(op) && c->status == KVF_OK;

	if (c->tokens > op->n || c->ram_tokens > op->n)
		bad(w, op, c, "more tokens than asked for");
	if (c->status == KVF_OK && c->tokens < op->n && !c->reason)
		bad(w, op, c, "fewer tokens than asked for, and no reason");
	if (c->status == KVF_OK && c->tokens == op->n && c->reason)
		bad(w, op, c, "everything delivered, and a reason why not");
	if (still_running)
		return;
	if (c->tokens > blocks_right(w, op, KVF_NIL))
		bad(w, op, c, "wrong bytes delivered");
	w->verified_tokens += c->tokens;
	if (!blocks_untouched(w, op, false))
		bad(w, op, c, "tokens outside the span were written");
	for (uint32_t l = 0; l < w->n_layers; l++) {
		if (op->layer_seen[l] && op->layer_good[l] < c->tokens && !op->copy_failed)
			bad(w, op, c, "a layer's fence was done before its bytes were there");
	}
}

static void judge_promise(struct world *w, struct world_op *op, const struct kvf_completion *c)
{
	if (op->op.code != KVF_OP_RETRIEVE || !op->promised || c->status != KVF_OK ||
		op->canceled || op->copy_failed)
		return;
	if (op->remove_epoch != w->remove_epoch || w->mem.failures ||
		world_now(w) >= op->promise_until_ns || w->o.min_retrieve_tokens || w->dev.errors)
		return;
	if (op->promise_until_ns != KVF_NO_DEADLINE && op->lease_epoch != w->lease_epoch)
		return; /* something was given back meanwhile */
	if (w->o.trusting && !w->o.below && w->last.evictions)
		return;
	if (w->wdisk && wdisk_lost_some(w->wdisk))
		return;
	if (c->tokens < op->promised)
		bad(w, op, c,
			"a chunk that was leased, or stored without any fault, was not found");
}

/* Which tiers must have a chunk of the level that a store claims. */
static bool at_level(const struct world *w, const uint8_t *key, uint8_t level)
{
	uint32_t cap = level == KVF_LEVEL_DURABLE ? KVF_TIER_DURABLE : KVF_TIER_SHARED;

	for (uint32_t t = 0; t < w->o.n_tiers; t++) {
		if (w->tier[t].caps & cap && (world_tier_has(w, t, key) || world_tier_unsure(w, t, key)))
			return true;
	}
	return false;
}

static void judge_store(struct world *w, struct world_op *op, const struct kvf_completion *c)
{
	uint32_t chunk = w->o.chunk_size;
	uint32_t end = op->first + c->tokens;

	if (c->tokens > op->n)
		bad(w, op, c, "more tokens than asked for");
	if (op->op.flags & KVF_OP_SOURCE_FREE && !op->source_free)
		bad(w, op, c, "DONE before SOURCE_FREE");
	if (c->level > (op->op.level ? op->op.level : KVF_LEVEL_INDEXED))
		bad(w, op, c, "a level above the one asked for");
	if (c->status == KVF_OK && c->tokens && c->level < op->op.level)
		bad(w, op, c, "a level below the one asked for, and no error");
	if (c->status == KVF_OK && c->tokens < op->n && !c->reason)
		bad(w, op, c, "fewer tokens than asked for, and no reason");
	if (end % chunk && end != op->seq_tokens && c->tokens)
		bad(w, op, c, "tokens that are no whole chunks");
	/* The engine removes below what came back damaged. */
	if (c->level > KVF_LEVEL_INDEXED && op->remove_epoch == w->remove_epoch && !op->raced &&
		!w->last.corrupt_chunks && !(w->wdisk && wdisk_lost_some(w->wdisk))) {
		for (uint32_t i = op->first / chunk; i * chunk < end; i++) {
			if (!at_level(w, op->keys[i], c->level))
				bad(w, op, c, "a level that its chunks did not reach");
		}
	}
	if (!w->o.trusting || c->status != KVF_OK || op->remove_epoch != w->remove_epoch ||
		op->raced)
		return;
	for (uint32_t i = op->first / chunk; i * chunk < end; i++) {
		struct world_key *k = check_key(w, op->keys[i], true);

		if (k)
			k->promised = true;
	}
}

static void judge_lookup(struct world *w, struct world_op *op, const struct kvf_completion *c)
{
	uint32_t usable = c->tokens && c->tokens >= op->seq_tokens ? op->seq_tokens - 1 : c->tokens;

	if (c->tokens > op->seq_tokens)
		bad(w, op, c, "more tokens than the sequence has");
	if (c->tokens % w->o.chunk_size && c->tokens != op->seq_tokens)
		bad(w, op, c, "a hit that is no whole chunks");
	if (c->usable != usable || c->need != usable)
		bad(w, op, c, "usable or need is wrong");
	if (c->ram_tokens > c->tokens)
		bad(w, op, c, "more in RAM than there is");
}

static void judge_remove(struct world *w, struct world_op *op, const struct kvf_completion *c)
{
	uint32_t chunk = w->o.chunk_size;

	if (c->status != KVF_OK || op->op.tiers || op->copy_failed || !op->n)
		return;
	for (uint32_t i = op->first / chunk; i * chunk < op->first + op->n && i < op->n_keys; i++) {
		const struct world_key *k = check_key(w, op->keys[i], false);

		if (k && k->resident && !w->events_broken && !w->o.no_events)
			bad(w, op, c, "a removed chunk is in RAM");
		for (uint32_t t = 0; t < w->o.n_tiers; t++) {
			if (world_tier_has(w, t, op->keys[i]) && !world_tier_unsure(w, t, op->keys[i]))
				bad(w, op, c, "a removed chunk is in a tier");
			if (world_tier_putting(w, t, op->keys[i]))
				bad(w, op, c, "a removed chunk is on its way into a tier");
		}
		if (w->wdisk && !w->wdisk->sim.damaged && wdisk_stands(w->wdisk, op->keys[i]))
			bad(w, op, c, "a removed chunk's header stands on disk");
	}
}

static void judge_done(struct world *w, struct world_op *op, const struct kvf_completion *c)
{
	if (!status_allowed(w, op, c->status))
		bad(w, op, c, "a status without a cause");
	if (!w->o.host_device && world_copies_of(w, op->id, -1) &&
		!(stream_ordered(op) && c->status == KVF_OK))
		bad(w, op, c, "the end, while the device still uses the blocks");
	switch (op->op.code) {
	case KVF_OP_RETRIEVE:
		judge_retrieve(w, op, c);
		judge_promise(w, op, c);
		break;
	case KVF_OP_STORE:
		judge_store(w, op, c);
		break;
	case KVF_OP_LOOKUP:
		judge_lookup(w, op, c);
		break;
	case KVF_OP_REMOVE:
		judge_remove(w, op, c);
		break;
	default:
		/* demote and remove concern whole chunks */
		if (op->op.code != KVF_OP_UNPIN && op->op.code != KVF_OP_FLUSH &&
			c->tokens >
				op->n + (op->op.code >= KVF_OP_DEMOTE ? 2 * w->o.chunk_size : 0))
			bad(w, op, c, "more tokens than asked for");
		break;
	}
	if (c->lease_id && op->op.code != KVF_OP_UNPIN)
		check_lease_given(w, op, c);
}

static void end_op(struct world *w, struct world_op *op, const struct kvf_completion *c)
{
	op->done = true;
	op->completion = *c;
	w->n_live--;
	w->done_by_status[-c->status % 1000 % 32]++;
	if (stream_ordered(op) && c->status == KVF_OK && w->o.device_caps & KVF_DEVICE_FENCES &&
		!w->o.host_device) {
		op->tail = true;
		w->n_tails++;
		return;
	}
	if (stream_ordered(op)) {
		int rc = kvf_fence_release(w->engine, op->id);

		if (rc != KVF_OK && rc != KVF_ENOENT)
			bad(w, op, c, "kvf_fence_release failed");
	}
	blocks_fill(w, op, GARBAGE);
	world_op_free(w, op);
}

void judge_tail(struct world *w, struct world_op *op)
{
	const struct kvf_completion *c = &op->completion;
	int rc;

	if (!w->o.backend && world_copies_of(w, op->id, -1))
		bad(w, op, c, "the last layer's fence is done, but the device still copies");
	if (c->tokens > blocks_right(w, op, KVF_NIL) && !op->copy_failed)
		bad(w, op, c, "wrong bytes behind the fence");
	w->verified_tokens += c->tokens;
	if (!blocks_untouched(w, op, false))
		bad(w, op, c, "tokens outside the span were written");
	rc = kvf_fence_release(w->engine, op->id);
	if (rc != KVF_OK && !(rc == KVF_ENOENT && w->shutting))
		bad(w, op, c, "kvf_fence_release of a tail failed");
	w->n_tails--;
	op->tail = false;
	blocks_fill(w, op, GARBAGE);
	world_op_free(w, op);
}

void judge_completion(struct world *w, const struct kvf_completion *c)
{
	struct world_op *op = &w->ops[c->user_data & 0xffff];

	w->completions++;
	world_mix(w, c->user_data);
	world_mix(w, (uint64_t)c->kind << 32 | (uint32_t)c->status);
	world_mix(w, (uint64_t)c->tokens << 32 | (uint64_t)c->reason << 8 | c->level);
	if ((c->user_data & 0xffff) >= W_MAX_OPS || !op->live || op->id != c->op_id ||
		op->serial != c->user_data >> 16 || op->tail) {
		world_fail(w, "completion of operation %llx, which is not in flight (kind %u, %s)",
			(unsigned long long)c->op_id, c->kind, kvf_strerror(c->status));
		return;
	}
	if (w->trace)
		fprintf(w->trace,
			"    %llu: #%llu code %u kind %u %d reason %u tokens %u level %u\n",
			(unsigned long long)world_now(w), (unsigned long long)op->serial, c->op,
			c->kind, c->status, c->reason, c->tokens, c->level);
	if (c->op != op->op.code)
		bad(w, op, c, "the code of another operation");
	switch (c->kind) {
	case KVF_PROGRESS:
		judge_progress(w, op, c);
		break;
	case KVF_SOURCE_FREE:
		judge_source_free(w, op, c);
		break;
	case KVF_DONE:
		judge_done(w, op, c);
		end_op(w, op, c);
		break;
	default:
		bad(w, op, c, "an unknown kind of completion");
	}
}
