/* SPDX-License-Identifier: Apache-2.0 */
/* Slices and slots of the pool. See pool.h. */
#include "cache/pool.h"

#include <inttypes.h>
#include <string.h>

#include "base/report.h"
#include "cache/hugemap.h"
#include "kvferry/kvf_tier.h"

#define MIN_SLOTS 8
#define SLICE_MIN (8 * KVF_MIB)
#define SLICE_MAX (64 * KVF_MIB)
#define PAGE 4096
/* The first slice size that loses no more than a 64th of itself is taken. */
#define WASTE_DIVISOR 64

uint32_t kvf_pool_slot_bytes(uint64_t payload_bytes)
{
	uint64_t bytes;

	if (!payload_bytes || payload_bytes > UINT32_MAX)
		return 0;
	bytes = KVF_SLOT_HEADER_BYTES + kvf_align_up(payload_bytes, PAGE);
	return bytes > UINT32_MAX ? 0 : (uint32_t)bytes;
}

static uint32_t slots_per_slice(uint32_t slot_bytes)
{
	uint64_t best = 1;
	double best_waste = 1.0;

	for (uint64_t bytes = SLICE_MIN; bytes <= SLICE_MAX; bytes += KVF_HUGE_BYTES) {
		uint64_t n = bytes / slot_bytes;
		uint64_t lost = bytes - n * slot_bytes;
		double waste = (double)lost / (double)bytes;

		if (n && waste < best_waste) {
			best = n;
			best_waste = waste;
		}
		if (n && lost <= bytes / WASTE_DIVISOR)
			break;
	}
	return (uint32_t)best;
}

uint64_t kvf_pool_map_bytes(uint64_t payload_bytes, uint32_t n_slots, bool hugetlb)
{
	uint64_t slot = kvf_pool_slot_bytes(payload_bytes);
	uint32_t per;

	if (!slot)
		return 0;
	per = slots_per_slice((uint32_t)slot);
	return n_slots / per * kvf_hugemap_bytes(per * slot, hugetlb) +
	       kvf_hugemap_bytes(n_slots % per * slot, hugetlb);
}

/* ---- tables ---- */

static bool is_busy(const struct kvf_pool *pool, uint32_t slot)
{
	return pool->busy[slot / 64] >> (slot % 64) & 1;
}

/* Index of the slice that holds the number. Slices have at most slots_per_slice, so it lies at that guess or later. */
static size_t slice_index(const struct kvf_pool *pool, uint32_t slot)
{
	size_t lo = slot / pool->slots_per_slice;
	size_t hi = pool->n_slices - 1;

	if (slot - pool->slice[lo].first_slot < pool->slice[lo].n_slots)
		return lo;
	while (lo < hi) {
		size_t mid = lo + (hi - lo + 1) / 2;

		if (pool->slice[mid].first_slot <= slot)
			lo = mid;
		else
			hi = mid - 1;
	}
	return lo;
}

/* Tables for slot numbers below n and for a slice more than there are. */
static int reserve(struct kvf_pool *pool, uint32_t n, size_t n_slices)
{
	void *slice = pool->slice;
	void *stack = pool->free_stack;
	void *busy = pool->busy;
	size_t had = pool->cap_busy;
	int rc;

	rc = kvf_mem_grow(pool->mem, &slice, &pool->cap_slices, n_slices, sizeof(pool->slice[0]));
	pool->slice = slice;
	if (rc)
		return rc;
	rc = kvf_mem_grow(pool->mem, &stack, &pool->cap_free, n, sizeof(pool->free_stack[0]));
	pool->free_stack = stack;
	if (rc)
		return rc;
	rc = kvf_mem_grow(pool->mem, &busy, &pool->cap_busy, (size_t)n / 64 + 1, sizeof(pool->busy[0]));
	pool->busy = busy;
	if (!rc)
		memset(pool->busy + had, 0, (pool->cap_busy - had) * sizeof(pool->busy[0]));
	return rc;
}

/* Slices that a pool of n slots has when it was never resized, and one. */
static size_t slices_for(const struct kvf_pool *pool, uint32_t n)
{
	return (size_t)n / pool->slots_per_slice + 2;
}

int kvf_pool_init(struct kvf_pool *pool, struct kvf_mem *mem, const struct kvf_pool_params *params,
		  struct kvf_report *report)
{
	int rc;

	memset(pool, 0, sizeof(*pool));
	pool->mem = mem;
	pool->params = *params;
	pool->slot_bytes = kvf_pool_slot_bytes(params->payload_bytes);
	if (!pool->slot_bytes) {
		kvf_report_add(report, KVF_ERROR, "pool: a chunk of %" PRIu32 " bytes: 1 to %" PRIu64 " are possible",
			       params->payload_bytes, UINT32_MAX - (uint64_t)(KVF_SLOT_HEADER_BYTES + PAGE - 1));
		return KVF_ERANGE;
	}
	if (params->n_slots < MIN_SLOTS || params->n_slots >= KVF_NIL / 2) {
		kvf_report_add(report, KVF_ERROR,
			       "pool: room for %" PRIu32 " chunks of %" PRIu32 " bytes (%d of them header), at least "
			       "%d are needed: set max_local_cpu_size to at least %.6f GiB (%" PRIu64 " bytes)",
			       params->n_slots, pool->slot_bytes, KVF_SLOT_HEADER_BYTES, MIN_SLOTS,
			       (double)pool->slot_bytes * MIN_SLOTS / (double)KVF_GIB,
			       (uint64_t)pool->slot_bytes * MIN_SLOTS);
		return KVF_ERANGE;
	}
	pool->slots_per_slice = slots_per_slice(pool->slot_bytes);
	pool->target = params->n_slots;
	pool->due = true;
	rc = reserve(pool, pool->target, slices_for(pool, pool->target));
	if (rc) {
		kvf_report_add(report, KVF_ERROR, "pool: no memory for the tables of %" PRIu32 " slots", pool->target);
		kvf_pool_fini(pool);
	}
	return rc;
}

static void unmap_slice(struct kvf_pool *pool, struct kvf_pool_slice *slice)
{
	if (!slice->base)
		return;
	if (slice->locked && pool->params.unlock)
		pool->params.unlock(pool->params.lock_arg, slice->base, slice->bytes);
	kvf_hugemap_put(slice->base, slice->bytes);
	slice->base = NULL;
	slice->locked = false;
	slice->n_free = 0;
}

void kvf_pool_fini(struct kvf_pool *pool)
{
	while (pool->n_slices)
		unmap_slice(pool, &pool->slice[--pool->n_slices]);
	kvf_mem_free(pool->mem, pool->slice, pool->cap_slices * sizeof(pool->slice[0]));
	kvf_mem_free(pool->mem, pool->free_stack, pool->cap_free * sizeof(pool->free_stack[0]));
	kvf_mem_free(pool->mem, pool->busy, pool->cap_busy * sizeof(pool->busy[0]));
	memset(pool, 0, sizeof(*pool));
}

/* ---- growing and shrinking ---- */

/* Slots [from, to) of a mapped slice become available, the lowest to be taken first. */
static void add_free(struct kvf_pool *pool, uint32_t from, uint32_t to)
{
	pool->n_ready += to - from;
	for (uint32_t slot = to; slot-- > from;)
		if (!is_busy(pool, slot))
			pool->free_stack[pool->n_free++] = slot;
}

static int map_slice(struct kvf_pool *pool, struct kvf_pool_slice *slice)
{
	struct kvf_hugemap_how how = { .hugetlb = pool->params.hugetlb, .numa_node = pool->params.numa_node };
	int rc;

	slice->bytes = kvf_hugemap_bytes((uint64_t)slice->n_slots * pool->slot_bytes, how.hugetlb);
	slice->base = kvf_hugemap_get(slice->bytes, &how);
	pool->numa_errno = how.numa_errno;
	if (!slice->base)
		return KVF_ENOMEM;
	if (pool->params.lock) {
		rc = pool->params.lock(pool->params.lock_arg, slice->base, slice->bytes);
		if (rc) {
			pool->lock_error = rc;
			unmap_slice(pool, slice);
			return KVF_ENOMEM;
		}
		slice->locked = true;
	}
	slice->n_free = slice->n_slots;
	slice->retiring = false;
	add_free(pool, slice->first_slot,
		 (uint32_t)kvf_min_u64((uint64_t)slice->first_slot + slice->n_slots, pool->target));
	return KVF_OK;
}

/* The first slice that was given back and is wanted again, or NULL. */
static struct kvf_pool_slice *vacant(struct kvf_pool *pool)
{
	for (size_t i = 0; i < pool->n_slices && pool->slice[i].first_slot < pool->target; i++)
		if (!pool->slice[i].base)
			return &pool->slice[i];
	return NULL;
}

static struct kvf_pool_slice *empty_retiring(struct kvf_pool *pool)
{
	for (size_t i = pool->n_slices; i-- > 0 && pool->slice[i].retiring;)
		if (pool->slice[i].base && pool->slice[i].n_free == pool->slice[i].n_slots)
			return &pool->slice[i];
	return NULL;
}

static void drop_vacant_tail(struct kvf_pool *pool)
{
	while (pool->n_slices && !pool->slice[pool->n_slices - 1].base)
		pool->n_numbered = pool->slice[--pool->n_slices].first_slot;
}

static int append_slice(struct kvf_pool *pool)
{
	uint32_t n = (uint32_t)kvf_min_u64(pool->slots_per_slice, pool->target - pool->n_numbered);
	struct kvf_pool_slice *slice;
	int rc;

	rc = reserve(pool, pool->target, pool->n_slices + 1);
	if (rc)
		return rc;
	slice = &pool->slice[pool->n_slices];
	memset(slice, 0, sizeof(*slice));
	slice->first_slot = pool->n_numbered;
	slice->n_slots = n;
	rc = map_slice(pool, slice);
	if (!rc) {
		pool->n_slices++;
		pool->n_numbered += n;
	}
	return rc;
}

int kvf_pool_step(struct kvf_pool *pool)
{
	struct kvf_pool_slice *slice = empty_retiring(pool);
	int rc = KVF_OK;

	if (slice) {
		unmap_slice(pool, slice);
		drop_vacant_tail(pool);
	} else if (pool->n_ready < pool->target && !pool->lock_error) {
		slice = vacant(pool);
		rc = slice ? map_slice(pool, slice) : append_slice(pool);
	}
	pool->due = !rc && ((pool->n_ready < pool->target && !pool->lock_error) || empty_retiring(pool));
	return rc ? rc : pool->due;
}

/* Free slots from the target on leave the stack; the order of the others stays. */
static void retire_slots(struct kvf_pool *pool)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < pool->n_free; i++)
		if (pool->free_stack[i] < pool->target)
			pool->free_stack[kept++] = pool->free_stack[i];
	pool->n_free = kept;
	pool->n_ready = 0;
	for (size_t i = 0; i < pool->n_slices; i++) {
		struct kvf_pool_slice *slice = &pool->slice[i];

		slice->retiring = slice->first_slot >= pool->target;
		if (slice->base && !slice->retiring)
			pool->n_ready += (uint32_t)kvf_min_u64(slice->n_slots, pool->target - slice->first_slot);
	}
}

static void unretire_slots(struct kvf_pool *pool, uint32_t old_target)
{
	for (size_t i = 0; i < pool->n_slices; i++) {
		struct kvf_pool_slice *slice = &pool->slice[i];
		uint32_t from = (uint32_t)kvf_max_u64(slice->first_slot, old_target);
		uint32_t to = (uint32_t)kvf_min_u64((uint64_t)slice->first_slot + slice->n_slots, pool->target);

		slice->retiring = slice->first_slot >= pool->target;
		if (slice->base && from < to)
			add_free(pool, from, to);
	}
}

int kvf_pool_resize(struct kvf_pool *pool, uint32_t n_slots)
{
	uint32_t old = pool->target;
	int rc;

	if (n_slots < MIN_SLOTS || n_slots >= KVF_NIL / 2)
		return KVF_ERANGE;
	rc = reserve(pool, n_slots, kvf_max_u64(slices_for(pool, n_slots), pool->n_slices + 1));
	if (rc)
		return rc;
	pool->target = n_slots;
	pool->lock_error = 0;
	if (n_slots < old)
		retire_slots(pool);
	else
		unretire_slots(pool, old);
	pool->due = pool->n_ready < pool->target || empty_retiring(pool);
	return KVF_OK;
}

bool kvf_pool_retiring(const struct kvf_pool *pool, uint32_t slot)
{
	return slot >= pool->target;
}

/* ---- slots ---- */

uint32_t kvf_pool_take(struct kvf_pool *pool)
{
	uint32_t slot;

	if (!pool->n_free)
		return KVF_NIL;
	slot = pool->free_stack[--pool->n_free];
	pool->busy[slot / 64] |= (uint64_t)1 << (slot % 64);
	pool->slice[slice_index(pool, slot)].n_free--;
	return slot;
}

void kvf_pool_give(struct kvf_pool *pool, uint32_t slot)
{
	struct kvf_pool_slice *slice;

	/* A slot given twice would have two users: better one that is lost. */
	if (slot >= pool->n_numbered || !is_busy(pool, slot))
		return;
	pool->busy[slot / 64] &= ~((uint64_t)1 << (slot % 64));
	slice = &pool->slice[slice_index(pool, slot)];
	slice->n_free++;
	if (slot < pool->target)
		pool->free_stack[pool->n_free++] = slot;
	else if (slice->retiring && slice->n_free == slice->n_slots)
		pool->due = true;
}

uint8_t *kvf_pool_addr(const struct kvf_pool *pool, uint32_t slot)
{
	const struct kvf_pool_slice *slice;

	if (slot >= pool->n_numbered)
		return NULL;
	slice = &pool->slice[slice_index(pool, slot)];
	return slice->base + (uint64_t)(slot - slice->first_slot) * pool->slot_bytes;
}

/* ---- invariants ---- */

static const char *verify_slice(const struct kvf_pool *pool, const struct kvf_pool_slice *slice, uint32_t *ready,
				uint32_t *n_free)
{
	uint32_t in_slice = 0;

	if (!slice->n_slots || slice->n_slots > pool->slots_per_slice)
		return "pool: a slice without slots, or with too many";
	if (slice->base && (uint64_t)slice->n_slots * pool->slot_bytes > slice->bytes)
		return "pool: slots reach beyond their slice";
	if (slice->retiring != (slice->first_slot >= pool->target))
		return "pool: a slice retires without reason, or does not";
	for (uint32_t i = 0; i < slice->n_slots; i++) {
		uint32_t slot = slice->first_slot + i;

		if (!slice->base && is_busy(pool, slot))
			return "pool: a slot without memory is in use";
		if (!slice->base)
			continue;
		in_slice += !is_busy(pool, slot);
		if (slot < pool->target) {
			*ready += 1;
			*n_free += !is_busy(pool, slot);
		}
	}
	return in_slice == slice->n_free ? NULL : "pool: the free slots of a slice are miscounted";
}

static const char *verify(const struct kvf_pool *pool)
{
	uint32_t number = 0;
	uint32_t ready = 0;
	uint32_t n_free = 0;

	for (size_t i = 0; i < pool->n_slices; i++) {
		const char *why;

		if (pool->slice[i].first_slot != number)
			return "pool: slot numbers have a gap";
		number += pool->slice[i].n_slots;
		why = verify_slice(pool, &pool->slice[i], &ready, &n_free);
		if (why)
			return why;
	}
	if (number != pool->n_numbered)
		return "pool: slot numbers are miscounted";
	if (ready != pool->n_ready || n_free != pool->n_free)
		return "pool: ready or free slots are miscounted";
	for (uint32_t i = 0; i < pool->n_free; i++) {
		uint32_t slot = pool->free_stack[i];

		if (slot >= pool->target || slot >= number || is_busy(pool, slot) ||
		    !pool->slice[slice_index(pool, slot)].base)
			return "pool: a slot is called free and is not";
	}
	return NULL;
}

/* Each number at most once on the stack: borrows the busy bits of free slots, which are all zero, to find doubles. */
static const char *verify_stack_unique(const struct kvf_pool *pool)
{
	const char *why = NULL;
	uint32_t i;

	for (i = 0; i < pool->n_free; i++) {
		uint32_t slot = pool->free_stack[i];

		if (is_busy(pool, slot)) {
			why = "pool: a slot is free twice";
			break;
		}
		pool->busy[slot / 64] |= (uint64_t)1 << (slot % 64);
	}
	while (i-- > 0)
		pool->busy[pool->free_stack[i] / 64] &= ~((uint64_t)1 << (pool->free_stack[i] % 64));
	return why;
}

int kvf_pool_verify(const struct kvf_pool *pool, const char **why)
{
	const char *text = verify(pool);

	if (!text)
		text = verify_stack_unique(pool);
	if (!text)
		return KVF_OK;
	if (why)
		*why = text;
	return KVF_EINTERNAL;
}
