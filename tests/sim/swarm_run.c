/* SPDX-License-Identifier: Apache-2.0 */
/* A random host in a world with faults; then the faults stop and everything must end. See swarm.h.
 */
#include "tests/sim/swarm.h"

#include <stdlib.h>
#include <string.h>

#define CALM_NS                                                                                    \
	(300 * KVF_NS_PER_S) /* everything ends within this once faults stopped: breakers wait 30  \
				s, spills 30 s */

struct run {
	struct world *w;
	struct swarm_host h;
	struct wl_rng r;
};

static uint32_t below(struct run *run, uint32_t n)
{
	return n ? (uint32_t)wl_rng_below(&run->r, n) : 0;
}

static bool chance(struct run *run, uint32_t ppm)
{
	return ppm && wl_rng_chance(&run->r, ppm);
}

/* ---- sequences ---- */

static struct world_seq *any_seq(struct run *run)
{
	uint32_t from = below(run, W_MAX_SEQS);

	for (uint32_t i = 0; i < W_MAX_SEQS; i++) {
		struct world_seq *s = &run->w->seqs[(from + i) % W_MAX_SEQS];

		if (s->seq && s->n)
			return s;
	}
	return NULL;
}

/* A document is a fixed stream of tokens, which a sequence leaves now and then. */
static void grow(struct run *run, struct world_seq *s)
{
	uint32_t room = run->h.max_tokens > s->n ? run->h.max_tokens - s->n : 0;
	uint32_t n = below(run, room + 1);
	uint32_t doc = below(run, run->h.n_docs);
	uint32_t tokens[W_MAX_TOKENS];

	if (chance(run, 200000))
		n = n < 3 ? n : 3;
	for (uint32_t i = 0; i < n; i++) {
		tokens[i] = (uint32_t)wl_mix64(((uint64_t)doc << 32) + s->n + i) % 1000;
		if (chance(run, 5000))
			tokens[i] = below(run, run->h.alphabet);
	}
	world_seq_append(run->w, s, tokens, n);
}

static void do_seq(struct run *run)
{
	struct world_seq *s = any_seq(run);
	struct world_seq *made;

	switch (s ? below(run, 10) : 0) {
	case 0:
	case 1:
	case 2:
	case 3:
		made = world_seq_new(run->w, chance(run, 800000) ? 0 : below(run, W_SALTS));
		if (made)
			grow(run, made);
		else if (s)
			world_seq_close(run->w, s);
		break;
	case 4:
	case 5:
		grow(run, s);
		break;
	case 6:
		made = world_seq_fork(run->w, s);
		if (made)
			grow(run, made);
		break;
	case 7:
		world_seq_truncate(run->w, s,
			below(run, s->n / run->w->o.chunk_size + 1) * run->w->o.chunk_size);
		break;
	case 8:
		world_seq_truncate(run->w, s, s->n - below(run, s->n % run->w->o.chunk_size + 1));
		break;
	default:
		world_seq_close(run->w, s);
		break;
	}
}

/* ---- operations ---- */

static uint8_t any_code(struct run *run)
{
	uint32_t total = 0, at;

	for (uint32_t c = 1; c < 10; c++)
		total += run->h.weight[c];
	at = below(run, total);
	for (uint8_t c = 1; c < 10; c++) {
		if (at < run->h.weight[c])
			return c;
		at -= run->h.weight[c];
	}
	return KVF_OP_LOOKUP;
}

static void choose_span(struct run *run, struct world_ask *ask)
{
	uint32_t chunk = run->w->o.chunk_size;
	uint32_t n = ask->seq->n;

	ask->first = chance(run, 700000) ? 0 : below(run, n);
	if (ask->code == KVF_OP_STORE)
		ask->first -= ask->first % chunk;
	ask->n = chance(run, 800000) ? n - ask->first : 1 + below(run, n - ask->first);
}

static void choose_flags(struct run *run, struct world_ask *ask)
{
	const struct swarm_host *h = &run->h;
	uint32_t caps = run->w->o.device_caps;

	if (ask->code == KVF_OP_STORE) {
		if (chance(run, h->source_free_ppm))
			ask->flags |= KVF_OP_SOURCE_FREE;
		if (caps & KVF_DEVICE_LAYERWISE && chance(run, h->layerwise_ppm)) {
			ask->flags |= KVF_OP_LAYERWISE;
			ask->fence_kind = KVF_FENCE_LATER;
		}
		if (h->level_ppm > SIM_PPM)
			ask->level = h->only_level;
		else if (chance(run, h->level_ppm))
			ask->level = (uint8_t)below(run, 4);
	}
	if (ask->code == KVF_OP_RETRIEVE) {
		if (chance(run, h->layerwise_ppm))
			ask->flags |= KVF_OP_LAYERWISE;
		if (caps & KVF_DEVICE_FENCES && chance(run, h->stream_ppm))
			ask->flags |= KVF_OP_STREAM_ORDERED;
		ask->null_ppm = h->null_ppm;
	}
	if ((ask->code == KVF_OP_RETRIEVE || ask->code == KVF_OP_PREFETCH) &&
		chance(run, h->progress_ppm))
		ask->flags |= KVF_OP_PROGRESS;
	if (!ask->fence_kind && chance(run, h->fence_ppm)) {
		ask->fence_kind = below(run, 2) ? KVF_FENCE_WORD : KVF_FENCE_EVENT;
		ask->fence_ns = wl_rng_below(&run->r, h->fence_max_ns);
	}
}

static void choose_times(struct run *run, struct world_ask *ask)
{
	const struct swarm_host *h = &run->h;

	if (chance(run, h->short_deadline_ppm))
		ask->deadline_ns = world_now(run->w) + wl_rng_below(&run->r, h->deadline_max_ns);
	else if (chance(run, h->no_deadline_ppm))
		ask->deadline_ns = KVF_NO_DEADLINE;
	if (ask->code == KVF_OP_PIN ||
		((ask->code == KVF_OP_LOOKUP || ask->code == KVF_OP_PREFETCH) &&
			chance(run, h->lease_ppm)))
		ask->lease_ns = 1 + wl_rng_below(&run->r, h->lease_max_ns);
	if (chance(run, h->priority_ppm))
		ask->priority = (uint8_t)below(run, 3);
	if ((ask->code == KVF_OP_LOOKUP || ask->code == KVF_OP_REMOVE) &&
		chance(run, h->remove_tiers_ppm))
		ask->tiers = below(run, 2) ? KVF_TIER_RAM : KVF_TIER_CUSTOM;
	if (ask->code == KVF_OP_UNPIN) {
		ask->lease_id = run->w->leases[below(run, W_LEASES)].id;
		ask->n = below(run, 2) ? UINT32_MAX : below(run, 100);
	}
}

static void do_submit(struct run *run)
{
	struct world_ask ask = {.code = any_code(run)};
	struct world_op *op;
	int status;

	ask.seq = any_seq(run);
	if (!ask.seq)
		return;
	if (ask.code == KVF_OP_UNPIN || ask.code == KVF_OP_FLUSH)
		ask.seq = NULL;
	else
		choose_span(run, &ask);
	choose_flags(run, &ask);
	choose_times(run, &ask);
	op = world_submit(run->w, &ask, &status);
	world_mix(run->w, op ? 1 : (uint64_t)(uint32_t)status);
	if (op && op->op.flags & KVF_OP_LAYERWISE && ask.code == KVF_OP_STORE && below(run, 2))
		world_give_layer(run->w, op, below(run, run->w->n_layers),
			below(run, 2) ? 0 : 1 + wl_rng_below(&run->r, run->h.fence_max_ns));
}

static struct world_op *any_op(struct run *run)
{
	uint32_t from = below(run, W_MAX_OPS);

	for (uint32_t i = 0; i < W_MAX_OPS; i++) {
		struct world_op *op = &run->w->ops[(from + i) % W_MAX_OPS];

		if (op->live)
			return op;
	}
	return NULL;
}

static void do_cancel(struct run *run)
{
	struct world_op *op = any_op(run);

	if (op)
		world_cancel(run->w, op);
}

static void do_layer(struct run *run)
{
	uint32_t from = below(run, W_MAX_OPS);

	for (uint32_t i = 0; i < W_MAX_OPS; i++) {
		struct world_op *op = &run->w->ops[(from + i) % W_MAX_OPS];
		uint32_t layer = below(run, run->w->n_layers);

		if (!op->live || op->done || op->op.code != KVF_OP_STORE ||
			!(op->op.flags & KVF_OP_LAYERWISE) || op->source_free)
			continue;
		for (uint32_t l = 0; l < run->w->n_layers && op->layers_given & 1u << layer; l++)
			layer = (layer + 1) % run->w->n_layers;
		world_give_layer(run->w, op, layer,
			below(run, 2) ? 0 : 1 + wl_rng_below(&run->r, run->h.fence_max_ns));
		return;
	}
}

/* ---- time ---- */

static void do_poll(struct run *run)
{
	struct world *w = run->w;
	uint64_t now = world_now(w);
	uint64_t next;

	world_poll(w, below(run, 8) ? below(run, run->h.max_batch + 1) : 64);
	if (chance(run, run->h.jump_ppm)) {
		world_advance(w, wl_rng_below(&run->r, 60 * KVF_NS_PER_S));
		return;
	}
	if (!chance(run, run->h.sleepy_ppm)) {
		world_advance(w, wl_rng_below(&run->r, run->h.step_max_ns));
		return;
	}
	next = kvf_min_u64(kvf_next_deadline_ns(w->engine), world_next_fence(w));
	if (next > now && next != KVF_NO_DEADLINE)
		world_advance(w, kvf_min_u64(next - now, KVF_NS_PER_S));
}

static void do_shutdown(struct run *run)
{
	uint64_t deadline = KVF_NO_DEADLINE;

	if (run->h.shutdown_deadline)
		deadline = world_now(run->w) + wl_rng_below(&run->r, 200 * KVF_NS_PER_MS);
	world_shutdown(run->w, run->h.shutdown_mode, deadline);
}

static void live(struct run *run)
{
	const struct swarm_host *h = &run->h;
	struct world *w = run->w;

	for (uint32_t step = 1; step <= h->steps && !w->failed; step++) {
		uint32_t submit = w->n_live < h->max_live ? 30 : 1;
		uint32_t at = below(run, h->poll_weight + h->seq_weight + h->cancel_weight +
						 h->layer_weight + submit);

		if (step == h->shutdown_at)
			do_shutdown(run);
		if (at < h->poll_weight)
			do_poll(run);
		else if ((at -= h->poll_weight) < h->seq_weight)
			do_seq(run);
		else if ((at -= h->seq_weight) < h->cancel_weight)
			do_cancel(run);
		else if ((at -= h->cancel_weight) < h->layer_weight)
			do_layer(run);
		else
			do_submit(run);
	}
}

/* After the faults the cache must work again: tiers come back by themselves. */
static void prove_life(struct run *run)
{
	struct world_ask ask = {.code = KVF_OP_STORE, .deadline_ns = KVF_NO_DEADLINE};
	struct world *w = run->w;
	uint32_t tokens[8] = {7001, 7002, 7003, 7004, 7005, 7006, 7007, 7008};
	int status;

	if (w->failed || !w->engine || w->shutting || w->dev.lost || w->o.min_retrieve_tokens)
		return;
	for (uint32_t i = 0; i < W_MAX_SEQS; i++) {
		if (w->seqs[i].seq)
			world_seq_close(w, &w->seqs[i]);
	}
	ask.seq = world_seq_new(w, 0);
	if (!ask.seq ||
		!world_seq_append(w, ask.seq, tokens, w->o.chunk_size < 8 ? w->o.chunk_size : 8))
		return;
	ask.n = ask.seq->n;
	/* Breakers that are open let a probe through within 30 s; each operation is one. */
	for (int i = 0; i < 8 && !w->failed; i++) {
		struct world_op *op;
		uint64_t before;

		ask.code = i % 2 ? KVF_OP_RETRIEVE : KVF_OP_STORE;
		world_poll(w, 64); /* fences released a moment ago still count as operations */
		op = world_submit(w, &ask, &status);
		if (!op && w->o.backend && status == KVF_EDEVLOST)
			return; /* lost, and nobody had noticed yet */
		if (!op) {
			world_fail(w, "after the faults an operation was refused: %s",
				kvf_strerror(status));
			return;
		}
		before = w->verified_tokens;
		if (!world_drain(w, world_now(w) + CALM_NS))
			world_fail(w, "after the faults an operation does not end");
		if (i == 7 && w->verified_tokens - before < ask.n && w->o.local_cpu)
			world_fail(w, "after the faults a stored chunk is not found");
		world_advance(w, 31 * KVF_NS_PER_S);
	}
}

static void ask_again(struct run *run, struct world_seq *seq, uint8_t code, uint8_t level, uint32_t tiers)
{
	struct world_ask ask = {.seq = seq, .code = code, .n = seq->n, .level = level, .tiers = tiers,
		.deadline_ns = KVF_NO_DEADLINE};
	struct world *w = run->w;
	int status;

	if (w->failed)
		return;
	world_poll(w, 64);
	if (!world_submit(w, &ask, &status))
		world_fail(w, "after the faults an operation was refused: %s", kvf_strerror(status));
	else if (!world_drain(w, world_now(w) + CALM_NS))
		world_fail(w, "after the faults an operation does not end");
}

/* And the server is written to, and read from. */
static void prove_server(struct run *run)
{
	struct world *w = run->w;
	uint32_t tokens[16];
	uint8_t key[KVF_KEY_BYTES];
	struct world_seq *seq;
	uint64_t before = 0;

	if (w->failed || !w->engine || !w->wnet || w->shutting || w->dev.lost || w->o.min_retrieve_tokens)
		return;
	for (uint32_t i = 0; i < KVF_ARRAY_LEN(tokens); i++)
		tokens[i] = 8001 + i;
	seq = world_seq_new(w, 0);
	if (!seq || !world_seq_append(w, seq, tokens, w->o.chunk_size) || kvf_seq_key(seq->seq, 0, key))
		return;
	/* Connections that are dead must be found out, and breakers ask once in a while: the last round counts. */
	for (int i = 0; i < 4; i++) {
		ask_again(run, seq, KVF_OP_REMOVE, 0, 0);
		world_advance(w, i ? 31 * KVF_NS_PER_S : 0);
		ask_again(run, seq, KVF_OP_STORE, KVF_LEVEL_REMOTE, 0);
		ask_again(run, seq, KVF_OP_FLUSH, 0, 0); /* another tier may be shared too */
		if (i == 3 && !w->failed && !wnet_has(w->wnet, key))
			world_fail(w, "after the faults a chunk does not reach the server");
		ask_again(run, seq, KVF_OP_REMOVE, 0, KVF_TIER_RAM);
		before = w->verified_tokens;
		ask_again(run, seq, KVF_OP_RETRIEVE, 0, 0);
	}
	if (!w->failed && w->verified_tokens - before < seq->n)
		world_fail(w, "after the faults a chunk does not come back from below");
}

int swarm_run(uint64_t seed, uint32_t steps, FILE *verbose, struct swarm_result *result, char *why)
{
	return swarm_run_tuned(seed, steps, verbose, result, why, NULL, NULL);
}

/* A world from its beginning to its end; what it came to is added to *result. */
static void one_life(struct run *run, const struct world_options *o, struct swarm_result *result)
{
	struct world *w = run->w;
	int rc = world_open(w, o);

	if (rc && !w->tap.said)
		world_fail(w, "kvf_engine_open: %s", kvf_strerror(rc));
	if (!w->failed && w->engine)
		live(run);
	result->stats = w->last;
	if (!w->failed && w->engine) {
		world_calm(w);
		if (!world_drain(w, world_now(w) + CALM_NS))
			world_fail(w, "the faults stopped, but %u operations and %u tails go on",
				w->n_live, w->n_tails);
	}
	prove_life(run);
	prove_server(run);
	if (w->engine)
		result->state_changes += w->last.state_changes;
	world_close(w);
	result->digest = result->digest ? wl_mix64(result->digest ^ w->digest) : w->digest;
	result->turns += w->turns;
	result->completions += w->completions;
	result->verified_tokens += w->verified_tokens;
	result->virtual_ns += w->now_ns;
	for (size_t i = 0; i < KVF_ARRAY_LEN(result->by_status); i++)
		result->by_status[i] += w->done_by_status[i];
}

/* A second engine finds the disk as the first one, or a power cut, left it, and the server as it is. Whatever it
 * delivers is judged as ever. */
static void second_life(struct run *run, struct world_options *o, struct swarm_result *result)
{
	struct world *first = run->w;

	run->w = calloc(1, sizeof(*run->w));
	run->w->trace = first->trace;
	run->w->wdisk = first->wdisk;
	run->w->wnet = first->wnet;
	free(first);
	if (run->w->wdisk && o->disk.power_cut)
		wdisk_power_cut(run->w->wdisk);
	o->disk.keep = o->net.keep = false;
	run->h.steps /= 2;
	run->h.shutdown_at = 0;
	one_life(run, o, result);
}

int swarm_run_tuned(uint64_t seed, uint32_t steps, FILE *verbose, struct swarm_result *result, char *why,
		    void (*tune)(struct world_options *o, struct swarm_host *h, void *arg), void *arg)
{
	struct world_options o;
	struct run *run = calloc(1, sizeof(*run));
	int rc;

	run->w = calloc(1, sizeof(*run->w));
	run->w->trace = verbose;
	swarm_options(seed, steps, &o, &run->h);
	if (tune)
		tune(&o, &run->h, arg);
	if (verbose)
		swarm_print(verbose, &o, &run->h);
	wl_rng_seed(&run->r, seed ^ 0x5eed);
	memset(result, 0, sizeof(*result));
	one_life(run, &o, result);
	if ((run->w->wdisk || run->w->wnet) && !run->w->failed)
		second_life(run, &o, result);
	if (run->w->wdisk) /* failed before somebody took it over */
		wdisk_free(run->w->wdisk);
	if (run->w->wnet)
		wnet_free(run->w->wnet);
	rc = run->w->failed ? -1 : 0;
	memcpy(why, run->w->why, sizeof(run->w->why));
	free(run->w);
	free(run);
	return rc;
}
