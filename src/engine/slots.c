/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slots: taking them (by eviction where none is free), waiting for them by class, and the life of an entry between its
 * users: pins, leases, removal.
 *
 * Why the pool can never run dry: leases pin at most half of it, spills in flight a quarter, store copies a quarter
 * minus two. What is left is always there for loads, of which each tier may hold an eighth, so that a tier that hangs
 * cannot take more. A waiting job holds no slot that only its own progress would free.
 */
#include "engine/engine.h"

#define EVICT_PER_TAKE 64 /* retiring slots met on the way to a usable one */

void kvf_slots_caps(struct kvf_engine *e)
{
	uint32_t n = e->pool.target;
	uint32_t spills = n / 4 ? n / 4 : 1;

	e->cap_leased = n / 2;
	e->cap_spilling = spills;
	e->cap_copying = n / 4 > 3 ? n / 4 - 2 : 1;
	e->old_leased = e->n_leased;
	e->old_copying = e->n_copying;
	for (uint32_t t = 0; t < e->n_tiers; t++) {
		e->tier[t].cap_loads = n / 8 ? n / 8 : 1;
		e->tier[t].cap_spills = spills / e->n_tiers ? spills / e->n_tiers : 1;
		e->tier[t].old_loads = e->tier[t].n_loads;
		e->tier[t].old_spills = e->tier[t].n_spills;
	}
}

void kvf_entry_record(struct kvf_engine *e, uint32_t entry, struct kvf_record *rec)
{
	const uint8_t *page = kvf_pool_addr(&e->pool, kvf_index_entry(&e->index, entry)->slot);

	KVF_CHECK(e, !kvf_record_check(page, UINT32_MAX, rec));
}

/* ---- the life of an entry ---- */

static void free_entry(struct kvf_engine *e, uint32_t entry)
{
	struct kvf_entry *en = kvf_index_entry(&e->index, entry);

	kvf_pool_give(&e->pool, en->slot);
	en->slot = KVF_NIL;
	e->tenant[en->tenant].used--;
	kvf_index_free(&e->index, entry);
}

void kvf_entry_drop(struct kvf_engine *e, uint32_t entry, enum kvf_event_kind kind)
{
	struct kvf_entry *en = kvf_index_entry(&e->index, entry);
	uint32_t parent = kvf_index_parent(&e->index, entry);
	struct kvf_spill *spill;

	if (en->state == KVF_ENTRY_RESIDENT) {
		kvf_spill_drop(e, entry, UINT32_MAX);
		spill = kvf_spill_of(e, entry);
		if (spill)
			kvf_list_push_back(&e->doomed_spills, &spill->doomed);
		kvf_event_chunk(e, kind, entry);
		kvf_evict_remove(kvf_evict_of(e, entry), entry);
		e->n_resident--;
		if (en->flags & KVF_ENTRY_PREFETCHED)
			e->stats.prefetch_wasted++;
	}
	kvf_index_remove(&e->index, entry);
	if (parent != KVF_NIL)
		kvf_evict_release(kvf_evict_of(e, parent), parent);
	if (!en->pins && !en->leases)
		free_entry(e, entry);
}

void kvf_entry_settle(struct kvf_engine *e, uint32_t entry)
{
	struct kvf_entry *en = kvf_index_entry(&e->index, entry);

	if (en->pins || en->leases)
		return;
	if (en->state == KVF_ENTRY_DOOMED)
		free_entry(e, entry);
	else if (en->state != KVF_ENTRY_RESIDENT)
		return;
	else if (!e->local_cpu && !en->tiers_want)
		kvf_entry_drop(e, entry, KVF_EVENT_EVICTED);
	else
		kvf_evict_release(kvf_evict_of(e, entry), entry);
}

void kvf_entry_pin(struct kvf_engine *e, uint32_t entry)
{
	struct kvf_entry *en = kvf_index_entry(&e->index, entry);

	/* Operations look at kvf_entry_crowded() first: a host's own keys may name one chunk any number of times. */
	KVF_CHECK(e, en->pins < UINT16_MAX);
	en->pins++;
}

void kvf_entry_unpin(struct kvf_engine *e, uint32_t entry)
{
	struct kvf_entry *en = kvf_index_entry(&e->index, entry);

	KVF_CHECK(e, en->pins > 0);
	if (!--en->pins)
		kvf_entry_settle(e, entry);
}

void kvf_entry_lease(struct kvf_engine *e, uint32_t entry)
{
	struct kvf_entry *en = kvf_index_entry(&e->index, entry);

	if (en->leases++)
		return;
	e->n_leased++;
	e->tenant[en->tenant].leased++;
}

void kvf_entry_unlease(struct kvf_engine *e, uint32_t entry)
{
	struct kvf_entry *en = kvf_index_entry(&e->index, entry);

	KVF_CHECK(e, en->leases > 0);
	if (--en->leases)
		return;
	e->n_leased--;
	e->tenant[en->tenant].leased--;
	kvf_entry_settle(e, entry);
}

/* ---- taking ---- */

static uint32_t obtain(struct kvf_engine *e, uint32_t tenant)
{
	for (int i = 0; i < EVICT_PER_TAKE; i++) {
		uint32_t slot = kvf_tenant_full(e, tenant) ? KVF_NIL : kvf_pool_take(&e->pool);
		uint32_t victim;

		if (slot != KVF_NIL)
			return slot;
		victim = kvf_tenant_victim(e, tenant);
		if (victim == KVF_NIL)
			return KVF_NIL;
		e->stats.evictions++;
		e->stats.evictions_forced += kvf_index_entry(&e->index, victim)->kids > 0;
		kvf_entry_drop(e, victim, KVF_EVENT_EVICTED);
	}
	return KVF_NIL;
}

static bool tier_has_room(const struct kvf_tier *tier)
{
	return tier->n_loads < tier->cap_loads;
}

/* Does a job of this class, or a more urgent one, wait for a slot that it could use? */
static bool someone_waits(const struct kvf_engine *e, enum kvf_class klass, const struct kvf_tier *tier)
{
	if (!e->n_wants)
		return false;
	for (uint32_t t = 0; t < e->n_tiers; t++) {
		const struct kvf_tier *other = &e->tier[t];

		if (!tier_has_room(other))
			continue;
		if (!kvf_list_empty(&other->wants[KVF_CLASS_RETRIEVE]) &&
		    (klass != KVF_CLASS_RETRIEVE || other == tier))
			return true;
		if (!kvf_list_empty(&other->wants[KVF_CLASS_PREFETCH]) &&
		    (klass == KVF_CLASS_STORE || (klass == KVF_CLASS_PREFETCH && other == tier)))
			return true;
	}
	return klass == KVF_CLASS_STORE && !kvf_list_empty(&e->want_store);
}

static void count_taken(struct kvf_engine *e, struct kvf_tier *tier)
{
	if (tier)
		tier->n_loads++;
	else
		e->n_copying++;
}

uint32_t kvf_slot_take(struct kvf_engine *e, struct kvf_job *job, struct kvf_tier *tier)
{
	uint32_t slot;

	if (tier ? !tier_has_room(tier) : e->n_copying >= e->cap_copying)
		return KVF_NIL;
	if (someone_waits(e, (enum kvf_class)job->klass, tier))
		return KVF_NIL;
	slot = obtain(e, job->tenant);
	if (slot != KVF_NIL)
		count_taken(e, tier);
	return slot;
}

void kvf_slot_untake(struct kvf_engine *e, uint32_t slot, struct kvf_tier *tier)
{
	kvf_pool_give(&e->pool, slot);
	if (tier)
		tier->n_loads--;
	else
		e->n_copying--;
}

bool kvf_slot_hopeless(struct kvf_engine *e, const struct kvf_job *job)
{
	const struct kvf_tenant *tenant = &e->tenant[job->tenant];

	return kvf_tenant_full(e, job->tenant) && tenant->leased >= tenant->used;
}

/* ---- waiting ---- */

static int rank(const struct kvf_job *job)
{
	return job->priority == KVF_PRIO_HIGH ? 0 : job->priority == KVF_PRIO_NORMAL ? 1 : 2;
}

/* By priority, and first come first served among equals. */
static void enqueue(struct kvf_list *head, struct kvf_job *job)
{
	struct kvf_list *at = head;

	while (at->prev != head && rank(kvf_list_entry(at->prev, struct kvf_job, want)) > rank(job))
		at = at->prev;
	kvf_list_insert_before(at, &job->want);
}

void kvf_slot_want(struct kvf_engine *e, struct kvf_job *job, struct kvf_tier *tier)
{
	if (job->blocked || job->granted != KVF_NIL)
		return;
	job->blocked = true;
	job->grant_tier = tier;
	job->want_serial = ++e->want_serial;
	e->n_wants++;
	enqueue(tier ? &tier->wants[job->klass] : &e->want_store, job);
}

void kvf_slot_unwant(struct kvf_engine *e, struct kvf_job *job)
{
	if (job->blocked) {
		kvf_list_remove(&job->want);
		job->blocked = false;
		e->n_wants--;
	}
	if (job->granted != KVF_NIL) {
		kvf_slot_untake(e, job->granted, job->grant_tier);
		job->granted = KVF_NIL;
	}
}

/* The first in the list whose tenant may take a slot. */
static struct kvf_job *first_of(struct kvf_list *head, uint64_t stuck)
{
	struct kvf_list *node;

	kvf_list_for_each(node, head) {
		struct kvf_job *job = kvf_list_entry(node, struct kvf_job, want);

		if (!(stuck & 1ull << job->tenant))
			return job;
	}
	return NULL;
}

/* Whose turn it is in a class: the most urgent, and of these who has waited longest, whatever his tier. */
static struct kvf_job *next_waiting(struct kvf_engine *e, enum kvf_class klass, uint64_t stuck)
{
	struct kvf_job *best = NULL;

	if (klass == KVF_CLASS_STORE)
		return e->n_copying < e->cap_copying ? first_of(&e->want_store, stuck) : NULL;
	for (uint32_t t = 0; t < e->n_tiers; t++) {
		struct kvf_tier *tier = &e->tier[t];
		struct kvf_job *job = tier_has_room(tier) ? first_of(&tier->wants[klass], stuck) : NULL;

		if (job && (!best || rank(job) < rank(best) ||
			    (rank(job) == rank(best) && job->want_serial < best->want_serial)))
			best = job;
	}
	return best;
}

/* Ends the waiting, with a slot or to see for himself that there will be none. */
static void wake(struct kvf_engine *e, struct kvf_job *job, uint32_t slot)
{
	kvf_list_remove(&job->want);
	job->blocked = false;
	job->granted = slot;
	e->n_wants--;
	if (slot != KVF_NIL)
		count_taken(e, job->grant_tier);
	kvf_job_ready(e, job);
}

void kvf_slots_serve(struct kvf_engine *e)
{
	uint64_t stuck = 0; /* tenants that hold all they may and use it: others need not wait for them */

	_Static_assert(KVF_MAX_TENANTS <= 64, "a bit for each tenant");
	for (int klass = KVF_CLASS_RETRIEVE; e->n_wants && klass < KVF_CLASSES; klass++) {
		struct kvf_job *job;

		while ((job = next_waiting(e, (enum kvf_class)klass, stuck))) {
			uint32_t slot = obtain(e, job->tenant);

			if (slot == KVF_NIL && !kvf_tenant_full(e, job->tenant))
				return;
			/* A slot counts for its tenant when it is used: so one at a time where there is a bound. */
			if (slot == KVF_NIL || e->tenant[job->tenant].max)
				stuck |= 1ull << job->tenant;
			if (slot != KVF_NIL || kvf_slot_hopeless(e, job))
				wake(e, job, slot);
		}
	}
}

/* ---- shrinking ---- */

void kvf_slots_retire(struct kvf_engine *e)
{
	uint32_t scanned = 0;

	while (e->retire_cursor < e->index.used && scanned++ < KVF_TURN_SCAN) {
		uint32_t entry = e->retire_cursor++;
		const struct kvf_entry *en = kvf_index_entry(&e->index, entry);

		bool retiring;

		if (en->state == KVF_ENTRY_FREE)
			continue;
		retiring = kvf_pool_retiring(&e->pool, en->slot);
		e->retire_left += retiring;
		if (en->state != KVF_ENTRY_RESIDENT || en->pins || en->leases)
			continue;
		if (retiring || (!e->local_cpu && !en->tiers_want)) {
			e->retire_left -= retiring;
			e->stats.evictions++;
			kvf_entry_drop(e, entry, KVF_EVENT_EVICTED);
		}
	}
	if (e->retire_cursor < e->index.used)
		return;
	/* Once round. What was in use goes when it is let go of (staging), or in the next round (shrinking). */
	e->emptying = false;
	e->retiring = e->retire_left > 0 || e->pool.due;
	e->retire_cursor = 0;
	e->retire_left = 0;
}
