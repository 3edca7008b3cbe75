/* SPDX-License-Identifier: Apache-2.0 */
/* kvf_verify(): walks every structure and compares what each part counts with what the others hold. */
#include "engine/engine.h"

#include <string.h>

/* Pins and leases as counted by those who hold them. */
struct holds {
	uint16_t *pins;
	uint16_t *leases;
	uint32_t n;
};

static void count_moves(struct kvf_engine *e, struct holds *h)
{
	for (uint32_t i = 0; i < e->jobs.used; i++) {
		struct kvf_job *job = kvf_slab_at(&e->jobs, i);
		struct kvf_list *node;

		if (!job->id)
			continue;
		kvf_list_for_each(node, &job->moves) {
			struct kvf_move *move = kvf_list_entry(node, struct kvf_move, link);

			if (move->entry != KVF_NIL && move->state != KVF_MOVE_FILLING)
				h->pins[move->entry]++;
		}
		for (uint32_t l = 0; job->lease && l < job->lease->n; l++) {
			if (job->lease->entry[l] != KVF_NIL)
				h->leases[job->lease->entry[l]]++;
		}
	}
}

static void count_leases(struct kvf_engine *e, struct holds *h)
{
	for (uint32_t i = 0; i < e->leases.used; i++) {
		struct kvf_lease *lease = *(struct kvf_lease **)kvf_slab_at(&e->leases, i);

		if (!lease || lease->open)
			continue;
		for (uint32_t l = 0; l < lease->n; l++) {
			if (lease->entry[l] != KVF_NIL)
				h->leases[lease->entry[l]]++;
		}
	}
}

static void count_scrubber(struct kvf_engine *e, struct holds *h)
{
	if (kvf_list_linked(&e->scrubber.sum.link))
		h->pins[e->scrubber.entry]++;
}

static void count_spills(struct kvf_engine *e, struct holds *h)
{
	struct kvf_list *node;

	kvf_list_for_each(node, &e->spills) {
		struct kvf_spill *spill = kvf_list_entry(node, struct kvf_spill, all);

		for (uint32_t t = 0; t < e->n_tiers; t++)
			h->pins[spill->entry] += spill->leg[t].state > KVF_SPILL_QUEUED;
	}
}

static int check_entries(struct kvf_engine *e, const struct holds *h)
{
	uint32_t used[KVF_MAX_TENANTS] = { 0 }, held[KVF_MAX_TENANTS] = { 0 };
	uint32_t resident = 0, leased = 0, slots = 0;

	for (uint32_t i = 0; i < e->index.used; i++) {
		const struct kvf_entry *en = kvf_index_entry(&e->index, i);
		uint32_t fills = 0;

		if (en->state == KVF_ENTRY_FREE)
			continue;
		slots++;
		resident += en->state == KVF_ENTRY_RESIDENT;
		leased += en->leases > 0;
		used[en->tenant]++;
		held[en->tenant] += en->leases > 0;
		/* A fill holds one pin; a doomed entry may still have its orphaned fill. */
		if (en->xfer != KVF_NIL && !en->tiers_want)
			fills = 1;
		fills += !!(en->flags & KVF_ENTRY_LOST);
		if (en->slot == KVF_NIL)
			return kvf_refuse(e, KVF_EINTERNAL, "entry %u has no slot", i);
		if (en->pins != h->pins[i] + fills)
			return kvf_refuse(e, KVF_EINTERNAL, "entry %u: %u pins, %u holders", i, en->pins,
					  h->pins[i] + fills);
		if (en->leases != h->leases[i])
			return kvf_refuse(e, KVF_EINTERNAL, "entry %u: %u leases, %u holders", i, en->leases,
					  h->leases[i]);
		if (en->state == KVF_ENTRY_DOOMED && !en->pins && !en->leases)
			return kvf_refuse(e, KVF_EINTERNAL, "entry %u is doomed and held by nobody", i);
	}
	for (uint32_t t = 0; t < e->n_tenants; t++) {
		if (used[t] != e->tenant[t].used || held[t] != e->tenant[t].leased)
			return kvf_refuse(e, KVF_EINTERNAL, "tenant %u: %u slots, %u leased; counted %u and %u", t,
					  used[t], held[t], e->tenant[t].used, e->tenant[t].leased);
	}
	if (resident != e->n_resident || leased != e->n_leased)
		return kvf_refuse(e, KVF_EINTERNAL, "%u resident and %u leased, counted %u and %u", resident, leased,
				  e->n_resident, e->n_leased);
	/* Slots without an entry: granted to jobs that have not run yet. */
	for (uint32_t i = 0; i < e->jobs.used; i++) {
		const struct kvf_job *job = kvf_slab_at(&e->jobs, i);

		slots += job->id && job->granted != KVF_NIL;
	}
	if (!e->retiring && slots + e->pool.n_free != e->pool.n_ready)
		return kvf_refuse(e, KVF_EINTERNAL, "%u slots in use and %u free of %u", slots, e->pool.n_free,
				  e->pool.n_ready);
	return KVF_OK;
}

static bool over(uint32_t n, uint32_t cap, uint32_t old)
{
	return n > cap && n > old;
}

static int check_caps(struct kvf_engine *e)
{
	uint32_t quarantined = e->n_lost_slots;

	for (uint32_t t = 0; t < e->n_tiers; t++) {
		const struct kvf_tier *tier = &e->tier[t];

		quarantined += tier->n_orphans;
		if (over(tier->n_loads, tier->cap_loads, tier->old_loads) ||
		    over(tier->n_spills, tier->cap_spills, tier->old_spills))
			return kvf_refuse(e, KVF_EINTERNAL, "tier %u: %u loads of %u, %u spills of %u", t,
					  tier->n_loads, tier->cap_loads, tier->n_spills, tier->cap_spills);
	}
	if (over(e->n_leased, e->cap_leased, e->old_leased) || over(e->n_copying, e->cap_copying, e->old_copying))
		return kvf_refuse(e, KVF_EINTERNAL, "%u leased of %u, %u copying of %u", e->n_leased, e->cap_leased,
				  e->n_copying, e->cap_copying);
	if (quarantined != e->n_quarantined)
		return kvf_refuse(e, KVF_EINTERNAL, "%u slots in quarantine, counted %u", quarantined,
				  e->n_quarantined);
	return KVF_OK;
}

static int check_ring(struct kvf_engine *e)
{
	uint32_t reserved = e->ring.n;

	for (uint32_t i = 0; i < e->jobs.used; i++) {
		const struct kvf_job *job = kvf_slab_at(&e->jobs, i);

		if (job->id)
			reserved += job->ring_places;
	}
	if (reserved != e->ring.reserved)
		return kvf_refuse(e, KVF_EINTERNAL, "%u ring places reserved, %u promised", e->ring.reserved, reserved);
	return KVF_OK;
}

static int check_parts(struct kvf_engine *e)
{
	const char *why = NULL;

	if (kvf_pool_verify(&e->pool, &why))
		return kvf_refuse(e, KVF_EINTERNAL, "pool: %s", why);
	if (kvf_index_verify(&e->index, &why))
		return kvf_refuse(e, KVF_EINTERNAL, "index: %s", why);
	for (uint32_t t = 0; t < e->n_tenants; t++) {
		if (kvf_evict_verify(&e->tenant[t].evict, &why))
			return kvf_refuse(e, KVF_EINTERNAL, "eviction of tenant %u: %s", t, why);
	}
	if (kvf_heap_verify(&e->timers.jobs) || kvf_heap_verify(&e->timers.puts) || kvf_heap_verify(&e->timers.leases))
		return kvf_refuse(e, KVF_EINTERNAL, "a heap of deadlines is out of order");
	return KVF_OK;
}

int kvf_engine_verify(struct kvf_engine *e)
{
	struct holds h = { .n = e->index.used };
	size_t bytes = ((size_t)h.n + 1) * sizeof(uint16_t);
	int rc;

	if (e->dead)
		return KVF_EINTERNAL;
	h.pins = kvf_mem_zalloc(&e->mem, bytes);
	h.leases = kvf_mem_zalloc(&e->mem, bytes);
	if (!h.pins || !h.leases) {
		kvf_mem_free(&e->mem, h.pins, bytes);
		kvf_mem_free(&e->mem, h.leases, bytes);
		return KVF_ENOMEM;
	}
	count_moves(e, &h);
	count_leases(e, &h);
	count_spills(e, &h);
	count_scrubber(e, &h);
	rc = check_parts(e);
	if (!rc)
		rc = check_entries(e, &h);
	if (!rc)
		rc = check_caps(e);
	if (!rc)
		rc = check_ring(e);
	kvf_mem_free(&e->mem, h.pins, bytes);
	kvf_mem_free(&e->mem, h.leases, bytes);
	return rc;
}
