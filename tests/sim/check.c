/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold at every turn: memory in flight, caps, budgets, the model of what is in RAM,
 * leases, promises. */
#include "tests/sim/world.h"

#include <stdlib.h>
#include <string.h>

#define TURN_STEPS_MAX 160 /* job steps of one turn */
#define LATE_TURNS_MAX 48

/* ---- memory that devices and tiers hold ---- */

static void on_hold(void *arg, const void *p, size_t n, bool write)
{
	struct world *w = arg;
	const uint8_t *from = p;

	for (uint32_t i = 0; i < w->n_holds; i++) {
		const struct world_hold *h = &w->holds[i];

		if (from < h->p + h->n && h->p < from + n && (write || h->write))
			world_fail(w, "a slot is used for a %s while it is being %s",
				write ? "load" : "read", h->write ? "filled" : "read");
	}
	if (w->n_holds == W_MAX_HOLDS) {
		world_fail(w, "more than %u transfers in flight", W_MAX_HOLDS);
		return;
	}
	w->holds[w->n_holds++] = (struct world_hold){from, n, write};
}

static void on_let_go(void *arg, const void *p, size_t n, bool write)
{
	struct world *w = arg;

	for (uint32_t i = 0; i < w->n_holds; i++) {
		const struct world_hold *h = &w->holds[i];

		if (h->p == p && h->n == n && h->write == write) {
			w->holds[i] = w->holds[--w->n_holds];
			return;
		}
	}
	world_fail(w, "a transfer ended that was not in flight, or was changed in flight");
}

static void on_wrong(void *arg, const char *what)
{
	world_fail(arg, "%s", what);
}

static bool due(struct world *w, uint64_t *calls, uint64_t at)
{
	++*calls;
	return at && (*calls == at || (w->fail_persistent && *calls > at));
}

static bool fail_device(void *arg)
{
	struct world *w = arg;

	return due(w, &w->device_calls, w->fail_device_at);
}

static bool fail_tier(void *arg)
{
	struct world *w = arg;

	return due(w, &w->tier_calls, w->fail_tier_at);
}

void check_hooks(struct world *w, struct simtier_hooks *hooks, bool device)
{
	*hooks = (struct simtier_hooks){
		w, on_hold, on_let_go, on_wrong, device ? fail_device : fail_tier};
}

/* ---- keys ---- */

struct world_key *check_key(struct world *w, const uint8_t *key, bool make)
{
	uint32_t h;

	memcpy(&h, key, sizeof(h));
	for (uint32_t i = 0; i < W_MAX_KEYS; i++) {
		struct world_key *k = &w->keys[(h + i) % W_MAX_KEYS];

		if (!k->used) {
			if (!make)
				return NULL;
			memcpy(k->key, key, KVF_KEY_BYTES);
			k->used = true;
			w->used_keys[w->n_used_keys++] = (h + i) % W_MAX_KEYS;
			return k;
		}
		if (memcmp(k->key, key, KVF_KEY_BYTES) == 0)
			return k;
	}
	if (make)
		world_fail(w, "this world has too few places for keys");
	return NULL;
}

/* ---- leases ---- */

static void renew_leases(struct world *w)
{
	for (uint32_t i = 0; i < w->n_used_keys; i++)
		w->keys[w->used_keys[i]].leased_until_ns = 0;
	for (uint32_t i = 0; i < W_LEASES; i++) {
		const struct world_lease *lease = &w->leases[i];

		for (uint32_t c = 0; lease->id && c < lease->n; c++) {
			struct world_key *k = check_key(w, lease->keys[c], false);

			if (k && k->leased_until_ns < lease->until_ns)
				k->leased_until_ns = lease->until_ns;
		}
	}
}

static void free_lease(struct world_lease *lease)
{
	free(lease->keys);
	memset(lease, 0, sizeof(*lease));
}

void check_lease_given(struct world *w, const struct world_op *op, const struct kvf_completion *c)
{
	uint32_t chunk = w->o.chunk_size;
	uint32_t from = op->op.code == KVF_OP_LOOKUP ? 0 : op->first / chunk;
	uint32_t end = op->op.code == KVF_OP_LOOKUP ? c->tokens : op->first + c->tokens;
	struct world_lease *lease = NULL;

	if (op->remove_epoch != w->remove_epoch || c->reason == KVF_REASON_CAP ||
		c->reason == KVF_REASON_MEMORY || c->status != KVF_OK)
		return;
	/* While a lookup asks the tiers, what it saw in RAM may go: only without tiers is all of it
	 * leased. */
	if (op->op.code == KVF_OP_LOOKUP && w->o.n_tiers && op->op.tiers != KVF_TIER_RAM)
		return;
	for (uint32_t i = 0; i < W_LEASES; i++) {
		if (w->leases[i].id && w->leases[i].until_ns <= world_now(w))
			free_lease(&w->leases[i]);
		if (!w->leases[i].id)
			lease = &w->leases[i];
	}
	if (!lease || !c->tokens)
		return;
	lease->id = c->lease_id;
	lease->until_ns = kvf_sat_add(op->submitted_ns, op->op.lease_ns);
	lease->n = (end + chunk - 1) / chunk - from;
	lease->keys = malloc(lease->n * sizeof(lease->keys[0]));
	for (uint32_t i = 0; i < lease->n; i++) {
		struct world_key *k = check_key(w, op->keys[from + i], true);

		memcpy(lease->keys[i], op->keys[from + i], KVF_KEY_BYTES);
		if (k && k->leased_until_ns < lease->until_ns)
			k->leased_until_ns = lease->until_ns;
	}
}

void check_lease_gone(struct world *w, uint64_t id)
{
	w->lease_epoch++;
	for (uint32_t i = 0; i < W_LEASES; i++) {
		if (id && w->leases[i].id == id)
			free_lease(&w->leases[i]);
	}
	renew_leases(w);
}

/* A remove ends every promise about its span's chunks. */
void check_removed(struct world *w, const struct world_op *op)
{
	uint32_t chunk = w->o.chunk_size;

	for (uint32_t i = op->first / chunk; i < op->n_keys; i++) {
		struct world_key *k = check_key(w, op->keys[i], false);

		if (!k)
			continue;
		k->promised = false;
		k->leased_until_ns = 0;
	}
	for (uint32_t i = 0; i < W_LEASES; i++)
		free_lease(&w->leases[i]);
	renew_leases(w);
}

uint32_t check_promise(struct world *w, const struct world_op *op, uint64_t *until_ns)
{
	uint32_t chunk = w->o.chunk_size;
	uint32_t i = op->first / chunk;
	uint32_t end;

	*until_ns = KVF_NO_DEADLINE;
	for (; i * chunk < op->first + op->n; i++) {
		const struct world_key *k = check_key(w, op->keys[i], false);

		/* A partial chunk is another one as soon as the sequence grows: only whole ones are
		 * promised. */
		if (!k || (i + 1) * chunk > op->seq_tokens)
			break;
		if (w->o.trusting && k->promised)
			continue;
		if (k->leased_until_ns <= world_now(w))
			break;
		*until_ns = kvf_min_u64(*until_ns, k->leased_until_ns);
	}
	end = i * chunk;
	if (end > op->first + op->n)
		end = op->first + op->n;
	/* An unpin may come before the operation ran: the promise is for as long as nothing is
	 * given back. */
	return end > op->first ? end - op->first : 0;
}

/* ---- events ---- */

static void take_event(struct world *w, const struct kvf_event *ev)
{
	struct world_key *k;

	if (ev->seq != w->next_event)
		world_fail(w, "event %llu came, %llu was next", (unsigned long long)ev->seq,
			(unsigned long long)w->next_event);
	w->next_event = ev->seq + 1;
	if (w->trace)
		fprintf(w->trace,
			"    %llu: event %llu kind %u tier %u up %u key %02x%02x%02x%02x\n",
			(unsigned long long)world_now(w), (unsigned long long)ev->seq, ev->kind,
			ev->tier, ev->up, ev->key[0], ev->key[1], ev->key[2], ev->key[3]);
	if (ev->kind == KVF_EVENT_TIER)
		return;
	k = check_key(w, ev->key, true);
	if (!k)
		return;
	if (ev->kind == KVF_EVENT_STORED && k->resident)
		world_fail(w, "a chunk that is in RAM was stored again");
	if (ev->kind != KVF_EVENT_STORED && !k->resident)
		world_fail(w, "a chunk that is not in RAM was evicted or removed");
	if (ev->kind == KVF_EVENT_EVICTED && k->leased_until_ns > world_now(w) && !w->shutting)
		world_fail(w, "a leased chunk was evicted");
	k->resident = ev->kind == KVF_EVENT_STORED;
}

static void read_events(struct world *w)
{
	struct kvf_event ev[32];
	uint64_t lost;
	int n;

	if (w->o.no_events)
		return;
	do {
		n = kvf_events(w->engine, ev, KVF_ARRAY_LEN(ev), &lost);
		if (lost)
			world_fail(w, "%llu events were lost", (unsigned long long)lost);
		for (int i = 0; i < n; i++)
			take_event(w, &ev[i]);
	} while (n == (int)KVF_ARRAY_LEN(ev));
}

/* What events say is in RAM must be what a snapshot says. */
static void compare_snapshot(struct world *w)
{
	struct kvf_stats now = {.size = sizeof(now)};
	struct kvf_event ev[32];
	uint64_t cursor = 0;
	uint32_t resident = 0, seen = 0;
	int n;

	for (uint32_t i = 0; i < w->n_used_keys; i++) {
		struct world_key *k = &w->keys[w->used_keys[i]];

		k->snapped = false;
		resident += k->resident;
	}
	while ((n = kvf_snapshot(w->engine, &cursor, ev, KVF_ARRAY_LEN(ev))) > 0) {
		for (int i = 0; i < n; i++) {
			struct world_key *k = check_key(w, ev[i].key, true);

			if (!k || k->snapped || (!k->resident && !w->o.no_events))
				world_fail(w,
					"the snapshot has a chunk that no event told of, or twice");
			if (k)
				k->snapped = true;
			seen++;
		}
	}
	if (!w->o.no_events && seen != resident)
		world_fail(w, "%u chunks in the snapshot, %u by the events", seen, resident);
	if (kvf_get_stats(w->engine, &now) || seen != now.slots_resident)
		world_fail(w, "%u chunks in the snapshot, %llu by the statistics", seen,
			(unsigned long long)now.slots_resident);
}

/* ---- turns ---- */

static void check_caps(struct world *w, const struct kvf_stats *s)
{
	uint64_t n = s->slots, damaged;

	if (s->dead)
		world_fail(w, "the engine is dead: %s", kvf_error_detail(w->engine));
	if (s->slots_leased > n / 2)
		world_fail(w, "%llu of %llu slots are leased", (unsigned long long)s->slots_leased,
			(unsigned long long)n);
	if (s->slots_copying > (n / 4 > 3 ? n / 4 - 2 : 1))
		world_fail(w, "%llu of %llu slots are copied into",
			(unsigned long long)s->slots_copying, (unsigned long long)n);
	if (s->slots_spilling > (n / 4 > s->n_tiers ? n / 4 : s->n_tiers))
		world_fail(w, "%llu of %llu slots are spilled",
			(unsigned long long)s->slots_spilling, (unsigned long long)n);
	if (s->slots_resident + s->slots_free > s->slots_ready && s->slots_ready == n)
		world_fail(w, "%llu resident and %llu free of %llu slots",
			(unsigned long long)s->slots_resident, (unsigned long long)s->slots_free,
			(unsigned long long)n);
	if (s->job_steps - w->last.job_steps > TURN_STEPS_MAX)
		world_fail(w, "%llu job steps in one turn",
			(unsigned long long)(s->job_steps - w->last.job_steps));
	damaged = w->tier[0].damaged + w->tier[1].damaged + w->tier[2].damaged + (w->wdisk ? w->wdisk->half_reads : 0);
	if (!w->o.wrap && !(w->wdisk && w->wdisk->sim.damaged) && s->corrupt_chunks > damaged)
		world_fail(w, "%llu corrupt chunks, fewer were damaged",
			(unsigned long long)s->corrupt_chunks);
	if (w->wdisk && w->wdisk->sim.misaligned)
		world_fail(w, "%llu transfers that no disk with blocks of %u bytes takes",
			(unsigned long long)w->wdisk->sim.misaligned, w->wdisk->sim.align);
}

/* Completion may wait for copies that can touch the host's blocks, and for nothing else. */
static void check_late(struct world *w)
{
	uint64_t now = world_now(w);

	for (uint32_t i = 0; i < W_MAX_OPS; i++) {
		struct world_op *op = &w->ops[i];

		if (!op->live || op->done || now < op->deadline_ns ||
			world_copies_of(w, op->id, -1))
			continue;
		w->hurry = ++op->late_turns > LATE_TURNS_MAX / 4;
		if (op->late_turns > LATE_TURNS_MAX)
			world_fail(w, "operation #%llu (code %u) is %llu ns and %u turns late",
				(unsigned long long)op->serial, op->op.code,
				(unsigned long long)(now - op->deadline_ns), op->late_turns);
	}
}

void check_turn(struct world *w)
{
	struct kvf_stats s = {.size = sizeof(s)};

	read_events(w);
	if (kvf_get_stats(w->engine, &s))
		world_fail(w, "kvf_get_stats failed");
	check_caps(w, &s);
	w->last = s;
	if (!w->o.host_device)
		check_late(w);
	if (w->o.verify_every && w->turns % w->o.verify_every == 0)
		check_everything(w);
}

void check_everything(struct world *w)
{
	int rc = kvf_verify(w->engine);

	w->verifies++;
	if (rc && !(rc == KVF_ENOMEM && w->mem.failures))
		world_fail(w, "kvf_verify: %s", kvf_error_detail(w->engine));
	read_events(w); /* a shutdown evicts outside of polls */
	compare_snapshot(w);
}
