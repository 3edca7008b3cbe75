/* SPDX-License-Identifier: Apache-2.0 */
/* The scenarios, and one run of one with a fault in it. See sweep.h. */
#include "tests/sweep/sweep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <CUnit/CUnit.h>

#define DRAIN_NS (200 * KVF_NS_PER_S)

/* ---- words of the scripts ---- */

static struct world_seq *seq_of(struct world *w, uint32_t salt, uint32_t first, uint32_t n)
{
	uint32_t tokens[W_MAX_TOKENS];
	struct world_seq *s = world_seq_new(w, salt);

	for (uint32_t i = 0; i < n; i++)
		tokens[i] = first + i;
	if (s && !world_seq_append(w, s, tokens, n)) {
		world_seq_close(w, s);
		return NULL;
	}
	return s;
}

static struct world_op *ask(struct world *w, struct world_seq *seq, uint8_t code, uint32_t flags)
{
	struct world_ask a = {.seq = seq, .code = code, .flags = flags};
	int status;

	if (seq && code != KVF_OP_FLUSH)
		a.n = seq->n;
	if (flags & KVF_OP_LAYERWISE && code == KVF_OP_STORE)
		a.fence_kind = KVF_FENCE_LATER;
	return world_submit(w, &a, &status);
}

static void store_at(struct world *w, struct world_seq *seq, uint8_t level)
{
	struct world_ask a = {.seq = seq,
		.code = KVF_OP_STORE,
		.flags = KVF_OP_SOURCE_FREE,
		.n = seq->n,
		.level = level,
		.fence_kind = KVF_FENCE_WORD,
		.fence_ns = 30000};
	int status;

	world_submit(w, &a, &status);
}

static bool settle(struct world *w)
{
	if (w->shutting) /* ends in world_close() */
		return false;
	return world_drain(w, world_now(w) + DRAIN_NS) && !w->failed && !w->shutting;
}

/* ---- the scripts ---- */

static void run_ram(struct world *w)
{
	struct world_seq *s = seq_of(w, 0, 100, 40);

	if (!s)
		return;
	ask(w, s, KVF_OP_STORE, KVF_OP_SOURCE_FREE);
	if (!settle(w))
		return;
	ask(w, s, KVF_OP_LOOKUP, 0);
	ask(w, s, KVF_OP_RETRIEVE, KVF_OP_PROGRESS);
	settle(w);
}

static void small_pool(struct world_options *o)
{
	o->n_slots = 8;
	o->n_tiers = 2;
	o->tier[1].caps = KVF_TIER_SHARED | KVF_TIER_SYNC_EXISTS;
}

/* More than the pool holds goes down, and comes back up from there. */
static void run_tier(struct world *w)
{
	struct world_seq *a = seq_of(w, 0, 100, 40), *b = seq_of(w, 1, 500, 64);

	if (!a || !b)
		return;
	store_at(w, a, KVF_LEVEL_DURABLE);
	if (!settle(w))
		return;
	store_at(w, b, KVF_LEVEL_REMOTE);
	if (!settle(w))
		return;
	ask(w, a, KVF_OP_RETRIEVE, 0);
	ask(w, b, KVF_OP_RETRIEVE, 0);
	settle(w);
}

static void run_prefetch(struct world *w)
{
	struct world_seq *a = seq_of(w, 0, 100, 24), *b = seq_of(w, 0, 500, 64);
	struct world_ask fetch = {.seq = a,
		.code = KVF_OP_PREFETCH,
		.n = 24,
		.lease_ns = KVF_NS_PER_S,
		.flags = KVF_OP_PROGRESS};
	struct world_ask back = {.code = KVF_OP_UNPIN, .n = UINT32_MAX};
	int status;

	if (!a || !b)
		return;
	store_at(w, a, KVF_LEVEL_DURABLE);
	if (!settle(w))
		return;
	store_at(w, b, KVF_LEVEL_INDEXED);
	if (!settle(w))
		return;
	world_submit(w, &fetch, &status);
	if (!settle(w))
		return;
	ask(w, a, KVF_OP_RETRIEVE, 0);
	fetch.code = KVF_OP_PIN;
	fetch.flags = 0;
	world_submit(w, &fetch, &status);
	if (!settle(w))
		return;
	back.lease_id = w->leases[0].id;
	world_submit(w, &back, &status);
	settle(w);
}

static void run_layers(struct world *w)
{
	struct world_seq *s = seq_of(w, 0, 100, 32);
	struct world_op *op;

	if (!s)
		return;
	op = ask(w, s, KVF_OP_STORE, KVF_OP_LAYERWISE | KVF_OP_SOURCE_FREE);
	for (uint32_t l = w->n_layers; op && l-- > 0;) {
		world_give_layer(w, op, l, 20000 * l);
		world_poll(w, 0);
		world_advance(w, 5000);
	}
	/* A layer that could not be announced ends by the deadline of the store. */
	if (!settle(w))
		return;
	ask(w, s, KVF_OP_RETRIEVE, KVF_OP_LAYERWISE | KVF_OP_PROGRESS);
	ask(w, s, KVF_OP_RETRIEVE, KVF_OP_LAYERWISE | KVF_OP_STREAM_ORDERED);
	ask(w, s, KVF_OP_RETRIEVE, KVF_OP_STREAM_ORDERED);
	settle(w);
}

static void run_remove(struct world *w)
{
	struct world_seq *a = seq_of(w, 0, 100, 40), *b;

	if (!a)
		return;
	b = world_seq_fork(w, a);
	if (!b || !world_seq_truncate(w, b, 24))
		return;
	store_at(w, a, KVF_LEVEL_INDEXED);
	if (!settle(w))
		return;
	ask(w, b, KVF_OP_DEMOTE, 0);
	ask(w, NULL, KVF_OP_FLUSH, 0);
	if (!settle(w))
		return;
	ask(w, b, KVF_OP_RETRIEVE, 0);
	if (!settle(w))
		return;
	ask(w, a, KVF_OP_REMOVE, 0);
	if (!settle(w))
		return;
	ask(w, a, KVF_OP_RETRIEVE, 0);
	ask(w, a, KVF_OP_LOOKUP, 0);
	settle(w);
}

/* Many at once over the same chunks and too few slots: single flight, waiting, eviction. */
static void run_crowd(struct world *w)
{
	struct world_seq *a = seq_of(w, 0, 100, 48), *b;
	static const uint32_t odd[8] = {1, 2, 3, 4, 5, 6, 7, 8};

	if (!a)
		return;
	b = world_seq_fork(w, a);
	if (!b || !world_seq_append(w, b, odd, 8))
		return;
	for (int i = 0; i < 3; i++) {
		ask(w, a, KVF_OP_STORE, KVF_OP_SOURCE_FREE);
		ask(w, b, KVF_OP_STORE, KVF_OP_SOURCE_FREE);
		ask(w, a, KVF_OP_RETRIEVE, 0);
		ask(w, b, KVF_OP_PREFETCH, 0);
	}
	if (!settle(w))
		return;
	store_at(w, b, KVF_LEVEL_DURABLE);
	if (!settle(w))
		return;
	for (int i = 0; i < 3; i++) {
		ask(w, a, KVF_OP_RETRIEVE, i == 1 ? KVF_OP_LAYERWISE : 0);
		ask(w, b, KVF_OP_RETRIEVE, 0);
	}
	settle(w);
}

/* A shutdown that writes down what is only in RAM; tells what it kept by what is in the tier. */
static void run_flush(struct world *w)
{
	struct world_seq *s = seq_of(w, 0, 100, 40);

	if (!s)
		return;
	ask(w, s, KVF_OP_STORE, 0);
	world_poll(w, 1);
	if (!w->shutting)
		world_shutdown(w, KVF_SHUTDOWN_FLUSH, KVF_NO_DEADLINE);
	world_drain(w, world_now(w) + DRAIN_NS);
}

const struct sweep_scenario sweep_scenarios[] = {
	{"ram", NULL, run_ram, 40},
	{"tier", small_pool, run_tier, 104},
	{"prefetch", small_pool, run_prefetch, 24},
	{"layers", NULL, run_layers, 96},
	{"remove", small_pool, run_remove, 24},
	{"crowd", small_pool, run_crowd, 312},
	{"flush", NULL, run_flush, 0},
};
const size_t n_sweep_scenarios = KVF_ARRAY_LEN(sweep_scenarios);

/* ---- a run ---- */

struct hook {
	const struct sweep_fault *fault;
	uint64_t turns;
	bool hit;
};

static void on_turn(struct world *w, void *arg)
{
	struct hook *h = arg;

	if (++h->turns == h->fault->turn_at && !w->shutting) {
		h->hit = true;
		h->fault->act(w);
	}
}

static void say(const struct sweep_scenario *s, const struct sweep_fault *f, const struct world *w)
{
	printf("\n  scenario %s, alloc %llu device %llu tier %llu%s turn %llu: %s\n", s->name,
		(unsigned long long)f->alloc_at, (unsigned long long)f->device_at,
		(unsigned long long)f->tier_at, f->persistent ? " and on" : "",
		(unsigned long long)f->turn_at, w->why);
}

/* Megabytes of which a short life touches little: mapped, since a sanitizer's calloc and free would touch them all. */
static struct world *map_world(void)
{
	void *w = mmap(NULL, sizeof(struct world), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return w == MAP_FAILED ? NULL : w;
}

int sweep_run(
	const struct sweep_scenario *s, const struct sweep_fault *fault, struct sweep_seen *seen)
{
	struct world *w = map_world();
	struct hook hook = {.fault = fault};
	struct world_options o;
	int rc;

	CU_ASSERT_PTR_NOT_NULL_FATAL(w);
	world_defaults(&o, 7);
	if (s->options)
		s->options(&o);
	o.backend = fault->backend;
	o.backend_arg = fault->backend_arg;
	w->mem.fail_at = fault->alloc_at;
	w->mem.persistent = w->fail_persistent = fault->persistent;
	w->fail_device_at = fault->device_at;
	w->fail_tier_at = fault->tier_at;
	if (fault->act) {
		w->on_turn = on_turn;
		w->on_turn_arg = &hook;
	}
	rc = world_open(w, &o);
	if (!rc)
		s->run(w);
	else if (!w->mem.failures && !fault->device_at && !fault->backend)
		world_fail(w, "kvf_engine_open: %s", kvf_strerror(rc));
	seen->opened = !rc;
	w->on_turn = NULL;
	seen->hit = hook.hit || w->mem.failures ||
		    (fault->device_at && w->device_calls >= fault->device_at) ||
		    (fault->tier_at && w->tier_calls >= fault->tier_at);
	world_close(w);
	seen->hit |= w->fault_hit;
	if (!seen->opened && !seen->hit && !w->failed)
		world_fail(w, "kvf_engine_open failed without a cause: %s", kvf_strerror(rc));
	seen->turns = hook.turns;
	seen->tokens = w->verified_tokens;
	rc = w->failed ? -1 : 0;
	if (rc) {
		say(s, fault, w);
		CU_FAIL("a sweep went wrong, see above");
	}
	munmap(w, sizeof(*w));
	return rc;
}
