/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leases: pins with an expiry, handed to the host. A lease holds its entries from the moment they are added, so that an
 * operation that is still bringing chunks up holds nothing else. All leases together may hold half of the pool;
 * 65,535 of them may hold one chunk.
 */
#include "engine/engine.h"

#include <string.h>

static size_t lease_bytes(uint32_t n)
{
	return sizeof(struct kvf_lease) + (size_t)n * sizeof(uint32_t);
}

struct kvf_lease *kvf_lease_new(struct kvf_engine *e, uint32_t first_chunk, uint32_t n)
{
	struct kvf_lease **cell;
	struct kvf_lease *lease;
	uint32_t number;

	if (kvf_heap_reserve(&e->timers.leases, e->timers.leases.n + e->leases.live + 1))
		return NULL;
	lease = kvf_mem_alloc(&e->mem, lease_bytes(n));
	if (!lease)
		return NULL;
	cell = kvf_slab_new(&e->leases, &number);
	if (!cell) {
		kvf_mem_free(&e->mem, lease, lease_bytes(n));
		return NULL;
	}
	*cell = lease;
	memset(lease, 0, sizeof(*lease));
	memset(lease->entry, 0xff, (size_t)n * sizeof(uint32_t));
	lease->number = number;
	lease->first_chunk = first_chunk;
	lease->n = n;
	lease->open = true;
	lease->id = ++e->lease_serial << 32 | (number + 1);
	e->stats.leases++;
	return lease;
}

bool kvf_lease_add(struct kvf_engine *e, struct kvf_lease *lease, uint32_t chunk, uint32_t entry)
{
	uint32_t at = chunk - lease->first_chunk;
	uint16_t leases = kvf_index_entry(&e->index, entry)->leases;

	KVF_CHECK(e, at < lease->n);
	if (lease->entry[at] != KVF_NIL)
		return true;
	if ((!leases && e->n_leased >= e->cap_leased) || leases == UINT16_MAX)
		return false;
	kvf_entry_lease(e, entry);
	lease->entry[at] = entry;
	lease->held++;
	return true;
}

static void free_lease(struct kvf_engine *e, struct kvf_lease *lease)
{
	kvf_heap_remove(&e->timers.leases, &lease->expiry);
	*(struct kvf_lease **)kvf_slab_at(&e->leases, lease->number) = NULL;
	kvf_slab_free(&e->leases, lease->number);
	kvf_mem_free(&e->mem, lease, lease_bytes(lease->n));
}

/* Suffix last: what is given back last is evicted first. */
uint64_t kvf_lease_trim(struct kvf_engine *e, struct kvf_lease *lease, uint32_t from_chunk, uint32_t to_chunk)
{
	uint32_t from = from_chunk - (uint32_t)kvf_min_u64(from_chunk, lease->first_chunk);
	uint32_t to = to_chunk - (uint32_t)kvf_min_u64(to_chunk, lease->first_chunk);
	uint64_t tokens = 0;

	to = (uint32_t)kvf_min_u64(to, lease->n);
	for (uint32_t i = from; i < to; i++) {
		uint32_t entry = lease->entry[i];

		if (entry == KVF_NIL)
			continue;
		lease->entry[i] = KVF_NIL;
		lease->held--;
		tokens += kvf_index_entry(&e->index, entry)->n_tokens;
		kvf_entry_unlease(e, entry);
	}
	if (!lease->held && !lease->open)
		free_lease(e, lease);
	return tokens;
}

void kvf_lease_end(struct kvf_engine *e, struct kvf_lease *lease)
{
	lease->open = false;
	kvf_lease_trim(e, lease, 0, UINT32_MAX);
}

uint64_t kvf_lease_seal(struct kvf_engine *e, struct kvf_lease *lease, uint64_t lease_ns)
{
	uint64_t id = lease->id;

	lease->open = false;
	if (!lease->held) {
		free_lease(e, lease);
		return 0;
	}
	lease_ns = kvf_min_u64(lease_ns, e->pin_timeout_ns);
	kvf_heap_set(&e->timers.leases, &lease->expiry, kvf_sat_add(e->clock.now_ns, lease_ns));
	return id;
}

void kvf_leases_fini(struct kvf_engine *e)
{
	for (uint32_t i = 0; i < e->leases.used; i++) {
		struct kvf_lease *lease = *(struct kvf_lease **)kvf_slab_at(&e->leases, i);

		if (lease)
			kvf_mem_free(&e->mem, lease, lease_bytes(lease->n));
	}
	kvf_slab_fini(&e->leases);
}

struct kvf_lease *kvf_lease_find(struct kvf_engine *e, uint64_t id)
{
	uint32_t number = (uint32_t)id - 1;
	struct kvf_lease *lease;

	if (!id || number >= e->leases.used)
		return NULL;
	lease = *(struct kvf_lease **)kvf_slab_at(&e->leases, number);
	return lease && lease->id == id && !lease->open ? lease : NULL;
}
