/* SPDX-License-Identifier: Apache-2.0 */
/* The disk tier's knowledge of its slots: see index.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "tier/disk/index.h"

#include <string.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "kvferry/kvf_status.h"

#define MAPPED (256 * KVF_KIB) /* bytes from which on an array is mapped and not touched ahead */
#define FORGET (2 * KVF_MIB) /* bytes of an array that go back at once: a multiple of every page size */
#define MAX_WALK 256u /* ancestors that one use takes along */
#define MAX_LOOK 64u /* slots in use that a search for a victim passes over */

_Static_assert(sizeof(struct kvf_disk_slot) == 64, "one cache line a slot");

/* ---- memory ---- */

static void *zeroed(struct kvf_mem *mem, uint64_t n)
{
	void *p;

	if (n < MAPPED)
		return kvf_mem_zalloc(mem, n);
	p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		0);
	return p == MAP_FAILED ? NULL : p;
}

static void release(struct kvf_mem *mem, void *p, uint64_t n)
{
	if (!p)
		return;
	if (n < MAPPED)
		kvf_mem_free(mem, p, n);
	else
		(void)munmap(p, n);
}

static uint64_t slot_bytes(const struct kvf_disk_index *ix)
{
	return (uint64_t)ix->cap * sizeof(*ix->slot);
}

static uint64_t table_bytes(const struct kvf_disk_index *ix)
{
	return ((uint64_t)ix->mask + 1) * sizeof(*ix->table);
}

static uint64_t bits_bytes(const struct kvf_disk_index *ix)
{
	return kvf_div_up(ix->cap, 64) * sizeof(*ix->free_bits);
}

static uint64_t found_bytes(const struct kvf_disk_index *ix)
{
	return (uint64_t)ix->cap * sizeof(*ix->found);
}

int kvf_disk_index_init(struct kvf_disk_index *ix, struct kvf_mem *mem, uint32_t cap)
{
	uint32_t bits = 4;

	while (bits < 31 && (1u << bits) < 2 * (uint64_t)cap)
		bits++;
	*ix = (struct kvf_disk_index){
		.mem = mem, .cap = cap, .shift = 32 - bits, .mask = (1u << bits) - 1};
	kvf_disk_bad_init(ix);
	ix->window = (uint32_t)kvf_max_u64(16, kvf_min_u64(cap / 4, 1024));
	for (int o = 0; o < KVF_DISK_ORDERS; o++)
		ix->head[o] = ix->tail[o] = KVF_NIL;
	ix->slot = zeroed(mem, slot_bytes(ix));
	ix->table = zeroed(mem, table_bytes(ix));
	ix->free_bits = zeroed(mem, bits_bytes(ix));
	ix->found = zeroed(mem, found_bytes(ix));
	if (ix->slot && ix->table && ix->free_bits && ix->found)
		return KVF_OK;
	kvf_disk_index_fini(ix);
	return KVF_ENOMEM;
}

void kvf_disk_index_fini(struct kvf_disk_index *ix)
{
	if (!ix->mem)
		return;
	release(ix->mem, ix->slot, slot_bytes(ix));
	release(ix->mem, ix->table, table_bytes(ix));
	release(ix->mem, ix->free_bits, bits_bytes(ix));
	release(ix->mem, ix->found, found_bytes(ix));
	*ix = (struct kvf_disk_index){0};
}

static void zero(void *p, uint64_t n)
{
	/* Mapped arrays get their zero pages back without touching every one. */
	if (n < MAPPED || madvise(p, n, MADV_DONTNEED))
		memset(p, 0, n);
}

bool kvf_disk_index_forget(struct kvf_disk_index *ix)
{
	void *const array[] = {ix->slot, ix->table, ix->free_bits};
	const uint64_t bytes[] = {slot_bytes(ix), table_bytes(ix), bits_bytes(ix)};
	uint64_t at = ix->forgot;

	ix->n_free = ix->n_live = ix->n_found = ix->cursor = 0;
	kvf_disk_bad_init(ix);
	for (int o = 0; o < KVF_DISK_ORDERS; o++)
		ix->head[o] = ix->tail[o] = KVF_NIL;
	for (size_t i = 0; i < KVF_ARRAY_LEN(array); i++) {
		uint64_t n = kvf_min_u64(FORGET, bytes[i] - kvf_min_u64(at, bytes[i]));

		if (n) {
			zero((uint8_t *)array[i] + at, n);
			ix->forgot += n;
			return true;
		}
		at -= bytes[i];
	}
	ix->forgot = 0;
	return false;
}

/* ---- table ---- */

static uint32_t home(const struct kvf_disk_index *ix, const uint8_t *key)
{
	uint64_t h = (kvf_load_u64(key) ^ (kvf_load_u64(key + 8) << 1)) * 0x9e3779b97f4a7c15u;

	return (uint32_t)(h >> 32) >> ix->shift;
}

uint32_t kvf_disk_find(const struct kvf_disk_index *ix, const uint8_t *key)
{
	for (uint32_t at = home(ix, key); ix->table[at]; at = (at + 1) & ix->mask) {
		uint32_t slot = ix->table[at] - 1;

		if (memcmp(ix->slot[slot].key, key, KVF_DISK_KEY) == 0)
			return slot;
	}
	return KVF_NIL;
}

static void table_put(struct kvf_disk_index *ix, uint32_t slot)
{
	uint32_t at = home(ix, ix->slot[slot].key);

	while (ix->table[at])
		at = (at + 1) & ix->mask;
	ix->table[at] = slot + 1;
}

/* Later keys of the cluster move up, so that none is cut off from its home. */
static void table_drop(struct kvf_disk_index *ix, uint32_t slot)
{
	uint32_t hole = home(ix, ix->slot[slot].key);

	while (ix->table[hole] && ix->table[hole] != slot + 1)
		hole = (hole + 1) & ix->mask;
	if (!ix->table[hole])
		return;
	for (uint32_t at = (hole + 1) & ix->mask; ix->table[at]; at = (at + 1) & ix->mask) {
		uint32_t want = home(ix, ix->slot[ix->table[at] - 1].key);

		if (((at - want) & ix->mask) >= ((at - hole) & ix->mask)) {
			ix->table[hole] = ix->table[at];
			hole = at;
		}
	}
	ix->table[hole] = 0;
}

/* ---- orders: the head was used last ---- */

static void unlist(struct kvf_disk_index *ix, uint32_t slot)
{
	struct kvf_disk_slot *s = &ix->slot[slot];

	if (!s->order)
		return;
	if (s->prev != KVF_NIL)
		ix->slot[s->prev].next = s->next;
	else
		ix->head[s->order] = s->next;
	if (s->next != KVF_NIL)
		ix->slot[s->next].prev = s->prev;
	else
		ix->tail[s->order] = s->prev;
	s->order = KVF_DISK_ORDER_NONE;
}

/* Behind `after`, or at the head when that is KVF_NIL. */
static void list_after(struct kvf_disk_index *ix, uint8_t order, uint32_t slot, uint32_t after)
{
	struct kvf_disk_slot *s = &ix->slot[slot];

	s->order = order;
	s->prev = after;
	s->next = after == KVF_NIL ? ix->head[order] : ix->slot[after].next;
	if (after == KVF_NIL)
		ix->head[order] = slot;
	else
		ix->slot[after].next = slot;
	if (s->next != KVF_NIL)
		ix->slot[s->next].prev = slot;
	else
		ix->tail[order] = slot;
}

/*
 * Uses `slot` in `order`. Its ancestors go along up to the first one that was used just now: there
 * the walk ends, and the chain is put in behind it. So a run of chunks costs one step each, and
 * lies in the order root first.
 */
static void use(struct kvf_disk_index *ix, uint32_t slot, uint8_t order)
{
	uint32_t chain[MAX_WALK], n = 0, at = slot, anchor = KVF_NIL;
	uint32_t now = ++ix->clock;
	uint32_t stamp = now;

	for (;;) {
		struct kvf_disk_slot *s = &ix->slot[at];
		uint32_t up;

		chain[n++] = at;
		s->stamp = now;
		up = n < MAX_WALK ? kvf_disk_find(ix, s->parent) : KVF_NIL;
		if (up == KVF_NIL || ix->slot[up].stamp == now)
			break;
		if (order == KVF_DISK_ORDER_FOUND && ix->slot[up].order == KVF_DISK_ORDER_USED)
			break;
		if (ix->slot[up].order == order && now - ix->slot[up].stamp < ix->window) {
			anchor = up;
			stamp = ix->slot[up].stamp;
			break;
		}
		at = up;
	}
	while (n--) {
		unlist(ix, chain[n]);
		list_after(ix, order, chain[n], anchor);
		ix->slot[chain[n]].stamp = stamp;
		anchor = chain[n];
	}
}

void kvf_disk_touch(struct kvf_disk_index *ix, uint32_t slot)
{
	use(ix, slot, KVF_DISK_ORDER_USED);
}

/* ---- what recovery found, in order of generation ---- */

static void heap_push(struct kvf_disk_index *ix, struct kvf_disk_found f)
{
	uint32_t at = ix->n_found++;

	while (at && ix->found[(at - 1) / 2].generation > f.generation) {
		ix->found[at] = ix->found[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	ix->found[at] = f;
}

static struct kvf_disk_found heap_pop(struct kvf_disk_index *ix)
{
	struct kvf_disk_found first = ix->found[0], last = ix->found[--ix->n_found];
	uint32_t at = 0, kid;

	while ((kid = 2 * at + 1) < ix->n_found) {
		if (kid + 1 < ix->n_found &&
			ix->found[kid + 1].generation < ix->found[kid].generation)
			kid++;
		if (ix->found[kid].generation >= last.generation)
			break;
		ix->found[at] = ix->found[kid];
		at = kid;
	}
	ix->found[at] = last;
	return first;
}

/* Neither used nor gone since it was found. */
static bool still_there(const struct kvf_disk_index *ix, const struct kvf_disk_found *f)
{
	const struct kvf_disk_slot *s = &ix->slot[f->slot];

	return s->state == KVF_DISK_LIVE && s->generation == f->generation && !s->order;
}

void kvf_disk_found(struct kvf_disk_index *ix, uint32_t slot)
{
	heap_push(ix, (struct kvf_disk_found){ix->slot[slot].generation, slot});
}

bool kvf_disk_replay(struct kvf_disk_index *ix, uint32_t n)
{
	while (n-- && ix->n_found) {
		struct kvf_disk_found f = heap_pop(ix);

		if (still_there(ix, &f))
			use(ix, f.slot, KVF_DISK_ORDER_FOUND);
	}
	return ix->n_found > 0;
}

static uint32_t last_of(const struct kvf_disk_index *ix, uint8_t order)
{
	uint32_t at = ix->tail[order];

	for (uint32_t n = 0; at != KVF_NIL && ix->slot[at].readers; n++)
		at = n < MAX_LOOK ? ix->slot[at].prev : KVF_NIL;
	return at;
}

uint32_t kvf_disk_victim(struct kvf_disk_index *ix)
{
	uint32_t at = last_of(ix, KVF_DISK_ORDER_FOUND);

	if (at != KVF_NIL)
		return at;
	while (ix->n_found) {
		struct kvf_disk_found f = heap_pop(ix);

		if (still_there(ix, &f))
			return f.slot;
	}
	return last_of(ix, KVF_DISK_ORDER_USED);
}

/* ---- states ---- */

void kvf_disk_insert(struct kvf_disk_index *ix, uint32_t slot)
{
	ix->slot[slot].state = KVF_DISK_LIVE;
	ix->n_live++;
	table_put(ix, slot);
}

void kvf_disk_take_out(struct kvf_disk_index *ix, uint32_t slot)
{
	table_drop(ix, slot);
	unlist(ix, slot);
	ix->n_live--;
}

void kvf_disk_set_free(struct kvf_disk_index *ix, uint32_t slot)
{
	ix->slot[slot].state = KVF_DISK_FREE;
	ix->free_bits[slot / 64] |= (uint64_t)1 << slot % 64;
	ix->n_free++;
}

uint32_t kvf_disk_take_free(struct kvf_disk_index *ix)
{
	uint32_t words = (uint32_t)kvf_div_up(ix->cap, 64);
	uint32_t word = ix->cursor / 64;
	uint64_t bits;

	if (!ix->n_free)
		return KVF_NIL;
	bits = ix->free_bits[word] & (UINT64_MAX << ix->cursor % 64);
	while (!bits) {
		word = word + 1 < words ? word + 1 : 0;
		bits = ix->free_bits[word];
	}
	ix->cursor = word * 64 + (uint32_t)__builtin_ctzll(bits);
	ix->free_bits[word] &= ~((uint64_t)1 << ix->cursor % 64);
	ix->n_free--;
	return ix->cursor;
}

/* ---- verify ---- */

static int broken(const char **why, const char *text)
{
	*why = text;
	return KVF_EINTERNAL;
}

static int verify_order(
	const struct kvf_disk_index *ix, uint8_t order, uint32_t *n, const char **why)
{
	uint32_t before = KVF_NIL;

	for (uint32_t at = ix->head[order]; at != KVF_NIL; at = ix->slot[at].next) {
		if (ix->slot[at].prev != before || ix->slot[at].order != order || ++*n > ix->cap)
			return broken(why, "an order of eviction is not linked both ways");
		if (ix->slot[at].state != KVF_DISK_LIVE)
			return broken(why, "a slot that is not live is in an order of eviction");
		before = at;
	}
	return before == ix->tail[order] ? KVF_OK
					 : broken(why, "an order of eviction has a wrong tail");
}

int kvf_disk_index_verify(const struct kvf_disk_index *ix, const char **why)
{
	uint32_t n_free = 0, n_live = 0, n_bad = 0, n_table = 0, n_order = 0;

	for (uint32_t i = 0; i < ix->cap; i++) {
		const struct kvf_disk_slot *s = &ix->slot[i];
		bool bit = ix->free_bits[i / 64] >> i % 64 & 1;

		if (bit != (s->state == KVF_DISK_FREE))
			return broken(why, "the bitmap of free slots is wrong");
		n_free += bit;
		n_bad += s->state == KVF_DISK_BAD;
		n_live += s->state == KVF_DISK_LIVE;
		if (s->state == KVF_DISK_LIVE && kvf_disk_find(ix, s->key) != i)
			return broken(why, "a live slot is not found by its key");
		if (s->state != KVF_DISK_LIVE && s->order)
			return broken(why, "a slot that is not live has an order");
	}
	for (uint64_t i = 0; i <= ix->mask; i++)
		n_table += ix->table[i] != 0;
	if (n_free != ix->n_free || n_live != ix->n_live || n_table != n_live || n_bad != ix->n_bad)
		return broken(why, "a counter of slots is wrong");
	if (!kvf_disk_bad_verify(ix))
		return broken(why, "a slot that could not be overwritten is not in its chains");
	if (verify_order(ix, KVF_DISK_ORDER_USED, &n_order, why) ||
		verify_order(ix, KVF_DISK_ORDER_FOUND, &n_order, why))
		return KVF_EINTERNAL;
	return KVF_OK;
}
