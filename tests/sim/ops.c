/* SPDX-License-Identifier: Apache-2.0 */
/* The host submits: blocks, fences, and what it remembers of each operation. */
#include "tests/sim/world.h"

#include <stdlib.h>
#include <string.h>

static bool moves_kv(uint8_t code)
{
	return code == KVF_OP_STORE || code == KVF_OP_RETRIEVE;
}

static struct world_op *free_place(struct world *w)
{
	for (uint32_t i = 0; i < W_MAX_OPS; i++) {
		if (!w->ops[i].live)
			return &w->ops[i];
	}
	return NULL;
}

/* ---- fences ---- */

static uint32_t new_fence(struct world *w, struct world_op *op, uint32_t layer, uint64_t delay)
{
	for (uint32_t i = 0; i < W_FENCES; i++) {
		uint32_t at = (w->fence_at + i) % W_FENCES;
		struct world_fence *f = &w->fences[at];

		/* Signalled words stay valid until their operations ended: they are reused last. */
		if (f->armed || f->op != KVF_NIL)
			continue;
		f->word = 0;
		f->armed = true;
		f->streamed = false;
		f->at_ns = world_now(w) + delay;
		f->op = (uint32_t)(op - w->ops);
		f->layer = layer;
		w->n_armed++;
		w->fence_at = at + 1;
		return at;
	}
	return KVF_NIL;
}

static void drop_fences(struct world *w, const struct world_op *op)
{
	for (uint32_t i = 0; i < W_FENCES; i++) {
		if (w->fences[i].op == (uint32_t)(op - w->ops))
			w->fences[i].op = KVF_NIL;
	}
}

static void fence_in(struct world *w, uint32_t fence, uint32_t kind, struct simdev_event *event,
	struct kvf_fence_in *in)
{
	memset(in, 0, sizeof(*in));
	in->device = -1;
	in->kind = fence == KVF_NIL ? KVF_FENCE_NOW : kind;
	if (fence == KVF_NIL)
		return;
	if (w->o.backend) {
		uint64_t at = w->fences[fence].at_ns, now = world_now(w);

		w->fences[fence].streamed = w->o.backend->fence_in(w, fence, at > now ? at - now : 0, in);
		if (w->fences[fence].streamed)
			return;
		kind = KVF_FENCE_WORD;
	}
	if (kind == KVF_FENCE_WORD) {
		in->kind = kind;
		in->word = &w->fences[fence].word;
		in->value = 1;
	} else {
		event->word = &w->fences[fence].word;
		event->value = 1;
		in->handle = event;
	}
}

/* ---- submitting ---- */

static void remember_seq(struct world *w, struct world_op *op, const struct world_seq *s)
{
	uint32_t chunk = w->o.chunk_size;

	op->salt = s->salt;
	op->seq_tokens = s->n;
	memcpy(op->path, s->path, s->n * sizeof(op->path[0]));
	op->n_keys = (s->n + chunk - 1) / chunk;
	op->keys = malloc((op->n_keys + 1) * sizeof(op->keys[0]));
	for (uint32_t i = 0; i < op->n_keys; i++) {
		if (kvf_seq_key(s->seq, i, op->keys[i]))
			world_fail(w, "kvf_seq_key(%u) of %u tokens failed", i, s->n);
	}
}

static bool prepare_blocks(struct world *w, struct world_op *op, const struct world_ask *ask)
{
	op->fence = KVF_NIL;
	if (!moves_kv(ask->code))
		return true;
	if (!blocks_take(w, op, ask->code == KVF_OP_RETRIEVE ? ask->null_ppm : 0))
		return false;
	op->pattern = wl_mix64(op->serial);
	blocks_fill(w, op, op->pattern);
	if (ask->fence_kind == KVF_FENCE_WORD || ask->fence_kind == KVF_FENCE_EVENT)
		op->fence = new_fence(w, op, KVF_NIL, ask->fence_ns);
	if (ask->code == KVF_OP_STORE && op->fence == KVF_NIL && ask->fence_kind != KVF_FENCE_LATER)
		blocks_write(w, op, KVF_NIL);
	return true;
}

static void prepare(struct world *w, struct world_op *op, const struct world_ask *ask,
	struct kvf_blocks *blocks, struct kvf_block_list *lists, struct kvf_fence_in *in)
{
	struct kvf_seq *seq = ask->seq ? ask->seq->seq : NULL;
	struct kvf_span span = {ask->first, ask->n, blocks};
	struct kvf_op *k = &op->op;

	for (uint32_t g = 0; g < w->o.n_groups; g++)
		lists[g] = (struct kvf_block_list){op->ids[g], op->n_ids[g], op->first_block[g]};
	*blocks = (struct kvf_blocks){w->o.n_groups, lists};
	switch (ask->code) {
	case KVF_OP_LOOKUP:
		kvf_prep_lookup(k, seq, 0, ask->tiers, ask->lease_ns);
		break;
	case KVF_OP_STORE:
		kvf_prep_store(k, seq, &span, in);
		k->level = ask->level;
		break;
	case KVF_OP_RETRIEVE:
		kvf_prep_retrieve(k, seq, &span, in);
		break;
	case KVF_OP_PREFETCH:
		kvf_prep_prefetch(k, seq, ask->first, ask->n, ask->lease_ns);
		break;
	case KVF_OP_PIN:
		kvf_prep_pin(k, seq, ask->first, ask->n, ask->lease_ns);
		break;
	case KVF_OP_UNPIN:
		kvf_prep_unpin(
			k, ask->lease_id, ask->first, ask->n == UINT32_MAX ? SIZE_MAX : ask->n);
		break;
	case KVF_OP_DEMOTE:
		kvf_prep_demote(k, seq, ask->first, ask->n);
		break;
	case KVF_OP_REMOVE:
		kvf_prep_remove(k, seq, ask->first, ask->n, ask->tiers);
		break;
	default:
		kvf_prep_flush(k);
		break;
	}
	k->flags = ask->flags;
	k->priority = ask->priority;
	k->deadline_ns = ask->deadline_ns;
	k->user_data = op->serial << 16 | (uint64_t)(op - w->ops);
}

static bool refusal_is_fair(const struct world *w, const struct world_ask *ask, int rc)
{
	if (w->o.backend && tap_has_said(&w->tap, rc))
		return true;
	switch (rc) {
	case KVF_EAGAIN:
		return true;
	case KVF_ENOMEM:
		return w->mem.failures > 0;
	case KVF_ESHUTDOWN:
		return w->shutting;
	case KVF_EDEVLOST:
		return w->dev.lost;
	case KVF_ECAPTURE:
		return w->o.device.capture && moves_kv(ask->code);
	case KVF_EIO:
		return w->fail_device_at > 0;
	case KVF_ENOTSUP:
		return w->o.device_caps & KVF_DEVICE_SYNC ||
		       (ask->flags & (KVF_OP_LAYERWISE | KVF_OP_STREAM_ORDERED)) ||
		       ask->level > KVF_LEVEL_INDEXED;
	default:
		return false;
	}
}

/* Removes and what they may race with. */
static bool overlap(const struct world *w, const struct world_op *a, const struct world_op *b)
{
	uint32_t chunk = w->o.chunk_size;
	uint32_t lo = (a->first > b->first ? a->first : b->first) / chunk;
	uint32_t end = (lo + 1) * chunk;

	if (a->salt != b->salt || lo * chunk >= a->first + a->n || lo * chunk >= b->first + b->n)
		return false;
	if (end > a->seq_tokens || end > b->seq_tokens)
		return true;
	return a->path[end - 1] == b->path[end - 1];
}

static bool brings_bytes(uint8_t code)
{
	return code == KVF_OP_STORE || code == KVF_OP_RETRIEVE || code == KVF_OP_PREFETCH;
}

static void note_races(struct world *w, struct world_op *op)
{
	for (uint32_t i = 0; i < W_MAX_OPS; i++) {
		struct world_op *other = &w->ops[i];

		if (!other->live || other == op)
			continue;
		if (op->op.code == KVF_OP_REMOVE && brings_bytes(other->op.code) &&
			overlap(w, op, other))
			op->copy_failed = true; /* of a remove: cannot be judged */
		if (other->op.code == KVF_OP_REMOVE && brings_bytes(op->op.code) &&
			overlap(w, op, other))
			other->copy_failed = op->raced = true;
	}
	/* A remove that was cancelled may still be at work in a tier. */
	for (uint32_t t = 0; t < w->o.n_tiers; t++)
		op->raced |= world_tier_removing(w, t);
}

static void accepted(struct world *w, struct world_op *op, uint64_t id)
{
	uint64_t now = world_now(w);

	op->id = id;
	op->submitted_ns = now;
	op->deadline_ns = op->op.deadline_ns ? op->op.deadline_ns : now + 10 * KVF_NS_PER_S;
	w->n_live++;
	if (op->op.code == KVF_OP_REMOVE) {
		w->remove_epoch++;
		check_removed(w, op);
	}
	op->remove_epoch = w->remove_epoch;
	op->lease_epoch = w->lease_epoch;
	if (w->trace)
		fprintf(w->trace,
			"    %llu: #%llu code %u [%u, +%u) of %u flags 0x%x level %u prio %u "
			"deadline +%lld submitted\n",
			(unsigned long long)now, (unsigned long long)op->serial, op->op.code,
			op->first, op->n, op->seq_tokens, op->op.flags, op->op.level,
			op->op.priority, (long long)(op->deadline_ns - now));
	note_races(w, op);
	if (op->op.code == KVF_OP_UNPIN)
		check_lease_gone(w, op->op.lease_id);
	if (op->op.code == KVF_OP_RETRIEVE)
		op->promised = check_promise(w, op, &op->promise_until_ns);
}

struct world_op *world_submit(struct world *w, const struct world_ask *ask, int *status)
{
	struct kvf_block_list lists[W_MAX_GROUPS];
	struct world_op *op = free_place(w);
	struct simdev_event event = {0};
	struct kvf_blocks blocks;
	struct kvf_fence_in in;
	uint64_t id = 0;
	int rc;

	*status = KVF_EAGAIN;
	if (!op)
		return NULL;
	memset(op, 0, offsetof(struct world_op, path));
	memset((char *)op + offsetof(struct world_op, keys), 0,
		sizeof(*op) - offsetof(struct world_op, keys));
	op->serial = ++w->serial;
	op->first = ask->first;
	op->n = ask->n;
	for (uint32_t l = 0; l < W_LAYERS; l++)
		op->layer_fence[l] = KVF_NIL;
	if (ask->seq)
		remember_seq(w, op, ask->seq);
	if (!prepare_blocks(w, op, ask)) {
		free(op->keys);
		return NULL;
	}
	op->op.code = ask->code; /* the host's stream may be there at once */
	fence_in(w, op->fence,
		ask->fence_kind == KVF_FENCE_EVENT ? KVF_FENCE_EVENT : KVF_FENCE_WORD, &event, &in);
	if (ask->fence_kind == KVF_FENCE_LATER)
		in.kind = KVF_FENCE_LATER;
	op->live = true;
	prepare(w, op, ask, &blocks, lists, &in);
	rc = kvf_submit(w->engine, &op->op, 1, &id);
	memset(&event, 0, sizeof(event)); /* the event is gone, and so are the lists */
	if (w->o.backend)
		w->o.backend->submitted(w);
	memset(lists, 0xee, sizeof(lists));
	*status = rc == 1 ? KVF_OK : rc;
	if (rc == 1) {
		accepted(w, op, id);
		return op;
	}
	if (!refusal_is_fair(w, ask, rc))
		world_fail(w, "submit of code %u refused: %s (%s)", ask->code, kvf_strerror(rc),
			kvf_error_detail(w->engine));
	world_op_free(w, op);
	return NULL;
}

void world_op_free(struct world *w, struct world_op *op)
{
	blocks_give(w, op);
	drop_fences(w, op);
	free(op->keys);
	op->keys = NULL;
	op->live = false;
}

void world_give_layer(struct world *w, struct world_op *op, uint32_t layer, uint64_t fence_ns)
{
	struct simdev_event event = {0};
	struct kvf_fence_in in;
	uint32_t fence = KVF_NIL;
	int rc;

	if (op->layers_given & 1u << layer)
		return;
	if (fence_ns)
		fence = new_fence(w, op, layer, fence_ns);
	op->layer_fence[layer] = fence;
	if (fence == KVF_NIL)
		blocks_write(w, op, layer);
	fence_in(w, fence, KVF_FENCE_EVENT, &event, &in);
	rc = kvf_store_layer(w->engine, op->id, layer, &in);
	if (w->o.backend)
		w->o.backend->submitted(w);
	if (rc == KVF_OK) {
		op->layers_given |= 1u << layer;
		return;
	}
	if (fence != KVF_NIL)
		w->fences[fence].op = KVF_NIL;
	if (rc != KVF_EAGAIN && rc != KVF_ENOENT && rc != KVF_ECAPTURE && rc != KVF_EDEVLOST &&
		!w->mem.failures && !w->fail_device_at && !(w->o.backend && tap_has_said(&w->tap, rc)))
		world_fail(w, "kvf_store_layer(%u): %s", layer, kvf_strerror(rc));
}

void world_cancel(struct world *w, struct world_op *op)
{
	int rc = kvf_cancel(w->engine, op->id);

	op->canceled = true;
	if (rc != KVF_OK && rc != KVF_ENOENT)
		world_fail(w, "kvf_cancel: %s", kvf_strerror(rc));
}

/* ---- fences that come back ---- */

/* Behind the fence of a device that was lost there may be anything. */
static bool out_done(struct world *w, struct world_op *op, const struct kvf_fence_out *out)
{
	if (w->o.backend && out->kind == KVF_FENCE_EVENT) {
		int done = w->o.backend->fence_done(w, out);

		op->copy_failed |= done < 0;
		return done;
	}
	return out->kind == KVF_FENCE_NOW || *out->word >= out->value;
}

static void look_at_layer(struct world *w, struct world_op *op, uint32_t layer)
{
	if (!op->fence_open[layer]) {
		int rc = kvf_layer_fence(w->engine, op->id, layer, &op->out[layer]);

		if (rc == KVF_EAGAIN) {
			if (op->tail)
				world_fail(w,
					"a stream-ordered retrieve ended without a fence for layer "
					"%u",
					layer);
			return;
		}
		if (rc == KVF_ENOENT && !op->tail)
			return; /* ended, not reaped yet */
		if (rc == KVF_ENOENT && w->shutting) {
			/* A shutdown keeps no fences for anybody: the host waits for the end of it.
			 */
			op->layer_seen[layer] = !world_copies_of(w, op->id, -1);
			op->layer_good[layer] = op->n;
			return;
		}
		if (rc) {
			world_fail(w, "kvf_layer_fence(%u): %s", layer, kvf_strerror(rc));
			return;
		}
		op->fence_open[layer] = true;
	}
	if (!op->layer_seen[layer] && out_done(w, op, &op->out[layer])) {
		op->layer_seen[layer] = true;
		op->layer_good[layer] = blocks_right(w, op, layer);
	}
}

void world_look_at_fences(struct world *w)
{
	for (uint32_t i = 0; i < W_MAX_OPS; i++) {
		struct world_op *op = &w->ops[i];
		uint32_t last = w->n_layers - 1;

		if (!op->live || op->op.code != KVF_OP_RETRIEVE ||
			!(op->op.flags & (KVF_OP_LAYERWISE | KVF_OP_STREAM_ORDERED)))
			continue;
		if (op->op.flags & KVF_OP_LAYERWISE) {
			for (uint32_t l = 0; l < w->n_layers; l++)
				look_at_layer(w, op, l);
		} else {
			look_at_layer(w, op, last);
		}
		if (op->tail && op->layer_seen[last] &&
			(!(op->op.flags & KVF_OP_LAYERWISE) || wl_rng_chance(&w->rng, 500000)))
			judge_tail(w, op);
	}
}
