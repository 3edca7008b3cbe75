/* SPDX-License-Identifier: Apache-2.0 */
/* The statistics as one struct: counters are kept where things happen, states are read here. */
#include "engine/engine.h"

#include "device/cuda.h"
#include "tier/disk/disk.h"

#include <string.h>

static void fill_pool(const struct kvf_engine *e, struct kvf_stats *s)
{
	s->slot_bytes = e->pool.slot_bytes;
	s->payload_bytes = e->payload_bytes;
	s->slots = e->pool.target;
	s->slots_ready = e->pool.n_ready;
	s->slots_free = e->pool.n_free;
	s->slots_resident = e->n_resident;
	s->slots_peak_resident = e->peak_resident;
	s->slots_quarantined = e->n_quarantined;
	s->slots_leased = e->n_leased;
	s->slots_copying = e->n_copying;
	s->slots_loading = 0;
	s->slots_spilling = 0;
}

static void fill_name(char out[16], const char *name)
{
	size_t n = kvf_min_u64(strlen(name), 15);

	memcpy(out, name, n);
	out[n] = '\0';
}

static void fill_tier(const struct kvf_tier *tier, struct kvf_tier_stats *out)
{
	*out = tier->stats;
	fill_name(out->name, tier->ops->name);
	out->bit = tier->bit;
	out->breaker = tier->breaker.state;
	out->breaker_opens = tier->breaker.opens;
	out->in_flight = tier->in_flight;
}

static void fill_disk(const struct kvf_engine *e, struct kvf_stats_disk *out)
{
	struct kvf_disk_stats s;

	*out = (struct kvf_stats_disk){.direct = 0};
	if (!e->disk)
		return;
	kvf_disk_stats(e->disk, &s);
	fill_name(out->aio, s.aio);
	out->direct = s.direct;
	out->scanning = s.scanning;
	out->depth = s.depth;
	out->depth_bytes = s.depth_bytes;
	out->in_kernel = s.in_kernel;
	out->in_kernel_bytes = s.in_kernel_bytes;
	out->bytes = s.bytes;
	out->foreign_bytes = s.foreign_bytes;
	out->max_bytes = s.max_bytes;
	out->slots = s.slots;
	out->slots_live = s.slots_live;
	out->slots_free = s.slots_free;
	out->slots_bad = s.slots_bad;
	out->evictions = s.evictions;
	out->reclaimed_files = s.reclaimed_files;
	out->recovered = s.recovered;
	out->damaged = s.damaged;
	out->transfers = s.transfers;
	out->syscalls = s.syscalls;
}

static bool scanning(const struct kvf_engine *e)
{
	struct kvf_disk_stats stats;

	if (!e->disk)
		return false;
	kvf_disk_stats(e->disk, &stats);
	return stats.scanning;
}

uint32_t kvf_health_bits(const struct kvf_engine *e)
{
	uint32_t bits = scanning(e) ? KVF_HEALTH_SCANNING : 0;

	if (e->dead)
		bits |= KVF_HEALTH_DEAD;
	if (e->device_lost)
		bits |= KVF_HEALTH_DEVICE_LOST;
	if (e->pool.lock_error || (e->pool.n_ready < e->pool.target && !e->growing))
		bits |= KVF_HEALTH_POOL_SHORT;
	if (e->n_quarantined)
		bits |= KVF_HEALTH_QUARANTINE;
	for (uint32_t t = 0; t < e->n_tiers; t++) {
		if (e->tier[t].breaker.state != KVF_BREAKER_CLOSED)
			bits |= KVF_HEALTH_TIER_DOWN;
	}
	return bits;
}

void kvf_stats_fill(const struct kvf_engine *e, struct kvf_stats *out)
{
	size_t size = out->size;
	struct kvf_stats s = e->stats;

	fill_pool(e, &s);
	if (e->own_host_device)
		kvf_host_device_stats(e->own_host_device, &s.device_copies, &s.device_bytes);
#ifdef HAVE_CUDA
	if (e->own_cuda_device) {
		struct kvf_cuda_stats cuda;

		kvf_cuda_device_stats(e->own_cuda_device, &cuda);
		s.device_copies = cuda.pieces;
		s.device_bytes = cuda.bytes;
		s.device_calls = cuda.calls;
		s.device_refused = cuda.refused;
		memcpy(s.device_ways, cuda.by_way, sizeof(s.device_ways));
	}
#endif
	s.n_tiers = e->n_tiers;
	for (uint32_t t = 0; t < e->n_tiers; t++) {
		fill_tier(&e->tier[t], &s.tiers[t]);
		s.slots_loading += e->tier[t].n_loads;
		s.slots_spilling += e->tier[t].n_spills;
	}
	fill_disk(e, &s.disk);
	s.in_flight = e->n_jobs;
	s.host_allocs = e->mem.host_allocs;
	s.bytes_held = e->mem.bytes_held;
	s.timers = e->timers.jobs.n + e->timers.puts.n + e->timers.leases.n;
	s.dead = e->dead;
	s.size = size;
	memcpy(out, &s, kvf_min_u64(size, sizeof(s)));
}
