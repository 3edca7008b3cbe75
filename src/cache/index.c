/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index: entries, their keys and their parents. See index.h; the table itself is in index_table.c.
 *
 * An entry's memory is private to the index and mapped in one piece, so that a pool of 10^7 slots costs address space
 * only until its chunks come.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "cache/index.h"

#include <sys/mman.h>
#include <unistd.h>

#include "cache/index_table.h"
#include "kvferry/kvf_status.h"

#define CAP_MAX ((uint32_t)1 << 31)
#define BATCH 32u      /* keys whose cells, then entries, are fetched at once */
#define BATCH_FIRST 4u /* most misses show within the first few keys */

static size_t array_bytes(uint32_t cap)
{
	size_t page = 4096;

	return (size_t)kvf_align_up((uint64_t)cap * sizeof(struct kvf_entry), page);
}

int kvf_index_init(struct kvf_index *index, struct kvf_mem *mem, uint32_t cap)
{
	void *p;

	memset(index, 0, sizeof(*index));
	index->mem = mem;
	index->free_head = KVF_NIL;
	if (cap > CAP_MAX)
		return KVF_ENOMEM;
	index->cap = cap ? cap : 1;
	if (kvf_index_table_init(index))
		return KVF_ENOMEM;
	p = mmap(NULL, array_bytes(index->cap), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) {
		kvf_index_table_fini(index);
		return KVF_ENOMEM;
	}
	index->entry = p;
	return KVF_OK;
}

void kvf_index_fini(struct kvf_index *index)
{
	if (index->entry)
		(void)munmap(index->entry, array_bytes(index->cap));
	index->entry = NULL;
	kvf_index_table_fini(index);
}

int kvf_index_reserve(struct kvf_index *index, uint32_t cap)
{
	void *p;

	if (cap <= index->cap)
		return KVF_OK;
	if (cap > CAP_MAX)
		return KVF_ENOMEM;
	if (array_bytes(cap) != array_bytes(index->cap)) {
		p = mremap(index->entry, array_bytes(index->cap), array_bytes(cap), MREMAP_MAYMOVE);
		if (p == MAP_FAILED)
			return KVF_ENOMEM;
		index->entry = p;
	}
	index->cap = cap;
	return KVF_OK;
}

static inline bool key_is(const struct kvf_entry *e, const uint8_t *key)
{
	return memcmp(e->key, key, sizeof(e->key)) == 0;
}

uint32_t kvf_index_find(const struct kvf_index *index, const uint8_t *key)
{
	uint32_t fp = kvf_index_fingerprint(key);
	const struct kvf_index_cell *c = kvf_index_start(index, fp);

	for (; c->fingerprint; c++) {
		if (c->fingerprint == fp && key_is(&index->entry[c->entry], key))
			return c->entry;
	}
	return KVF_NIL;
}

/* An entry may lie across two lines. */
static inline void fetch_entry(const struct kvf_entry *e)
{
	__builtin_prefetch(e);
	__builtin_prefetch((const char *)e + sizeof(*e) - 1);
}

/* The cells of the keys have been asked for. Asks for the entries they name. */
static void probe_batch(const struct kvf_index *index, const struct kvf_index_cell **at,
	const uint32_t *fp, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		const struct kvf_index_cell *c = at[i];

		while (c->fingerprint && c->fingerprint != fp[i])
			c++;
		at[i] = c;
		if (c->fingerprint)
			fetch_entry(&index->entry[c->entry]);
	}
}

static void start_batch(const struct kvf_index *index, const uint8_t (*keys)[32], uint32_t n,
	const struct kvf_index_cell **at, uint32_t *fp)
{
	for (uint32_t i = 0; i < n; i++) {
		fp[i] = kvf_index_fingerprint(keys[i]);
		at[i] = kvf_index_start(index, fp[i]);
		__builtin_prefetch(at[i]);
	}
}

uint32_t kvf_index_resident_prefix(
	const struct kvf_index *index, const uint8_t (*keys)[32], uint32_t n, uint32_t *out)
{
	const struct kvf_index_cell *at[2][BATCH];
	uint32_t fp[2][BATCH];
	uint32_t now = n < BATCH_FIRST ? n : BATCH_FIRST;
	unsigned int side = 0;
	uint32_t done = 0;

	start_batch(index, keys, now, at[0], fp[0]);
	while (now) {
		uint32_t rest = n - done - now;
		uint32_t next = rest < BATCH ? rest : BATCH;

		probe_batch(index, at[side], fp[side], now);
		start_batch(index, keys + done + now, next, at[!side], fp[!side]);
		for (uint32_t i = 0; i < now; i++, done++) {
			const struct kvf_index_cell *c = at[side][i];

			while (c->fingerprint &&
				(c->fingerprint != fp[side][i] ||
					!key_is(&index->entry[c->entry], keys[done])))
				c++;
			if (!c->fingerprint || index->entry[c->entry].state != KVF_ENTRY_RESIDENT)
				return done;
			if (out)
				out[done] = c->entry;
		}
		side = !side;
		now = next;
	}
	return done;
}

static inline bool in_table(const struct kvf_entry *e)
{
	return e->state == KVF_ENTRY_FILLING || e->state == KVF_ENTRY_RESIDENT;
}

static void link_parent(struct kvf_index *index, struct kvf_entry *e, uint32_t parent)
{
	struct kvf_entry *p;

	e->parent = KVF_NIL;
	if (parent >= index->used)
		return;
	p = &index->entry[parent];
	if (p == e || !in_table(p))
		return;
	e->parent = parent;
	e->parent_generation = p->generation;
	p->kids++;
}

static uint32_t take_entry(struct kvf_index *index)
{
	uint32_t number = index->free_head;

	if (number != KVF_NIL)
		index->free_head = index->entry[number].policy_next;
	else
		number = index->used++;
	return number;
}

uint32_t kvf_index_insert(struct kvf_index *index, const uint8_t *key, uint32_t parent)
{
	uint32_t fp = kvf_index_fingerprint(key);
	uint32_t number;
	uint32_t generation;
	struct kvf_entry *e;

	if (index->free_head == KVF_NIL && index->used == index->cap)
		return KVF_NIL;
	if (kvf_index_table_step(index))
		return KVF_NIL;
	number = index->free_head != KVF_NIL ? index->free_head : index->used;
	if (kvf_index_table_put(index, fp, number))
		return KVF_NIL;
	number = take_entry(index);
	e = &index->entry[number];
	generation = e->generation;
	*e = (struct kvf_entry){
		.slot = KVF_NIL,
		.generation = generation,
		.policy_prev = KVF_NIL,
		.policy_next = KVF_NIL,
		.policy_aux = KVF_NIL,
		.xfer = KVF_NIL,
		.state = KVF_ENTRY_FILLING,
	};
	memcpy(e->key, key, sizeof(e->key));
	link_parent(index, e, parent);
	index->n++;
	index->live++;
	return number;
}

uint32_t kvf_index_parent(const struct kvf_index *index, uint32_t entry)
{
	const struct kvf_entry *e = &index->entry[entry];
	const struct kvf_entry *p;

	if (e->parent == KVF_NIL)
		return KVF_NIL;
	p = &index->entry[e->parent];
	return p->generation == e->parent_generation && in_table(p) ? e->parent : KVF_NIL;
}

bool kvf_index_adopt(struct kvf_index *index, uint32_t entry, uint32_t parent)
{
	struct kvf_entry *e = &index->entry[entry];

	if (!in_table(e) || kvf_index_parent(index, entry) != KVF_NIL)
		return false;
	link_parent(index, e, parent);
	return e->parent != KVF_NIL;
}

void kvf_index_remove(struct kvf_index *index, uint32_t entry)
{
	struct kvf_entry *e = &index->entry[entry];
	uint32_t parent;

	if (!in_table(e))
		return;
	parent = kvf_index_parent(index, entry);
	if (parent != KVF_NIL)
		index->entry[parent].kids--;
	kvf_index_table_take(index, kvf_index_fingerprint(e->key), entry);
	e->parent = KVF_NIL;
	e->kids = 0;
	e->state = KVF_ENTRY_DOOMED;
	index->n--;
	index->epoch++;
}

void kvf_index_free(struct kvf_index *index, uint32_t entry)
{
	struct kvf_entry *e = &index->entry[entry];

	if (e->state != KVF_ENTRY_DOOMED)
		return;
	e->state = KVF_ENTRY_FREE;
	e->generation++;
	e->policy_next = index->free_head;
	index->free_head = entry;
	index->live--;
}

uint64_t kvf_index_bytes(const struct kvf_index *index)
{
	uint64_t bytes = (uint64_t)index->used * sizeof(struct kvf_entry);

	bytes += kvf_index_cells(&index->table) * sizeof(struct kvf_index_cell);
	if (index->old.cell)
		bytes += kvf_index_cells(&index->old) * sizeof(struct kvf_index_cell) -
			index->old_released;
	return bytes;
}
