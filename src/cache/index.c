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

#include "cache/index_table.h"
#include "kvferry/kvf_status.h"

#define CAP_MAX ((uint32_t)1 << 31)
#define HUGE_PAGE ((size_t)2 << 20)
#define RING 128u /* probes under way: half wait for their cells, half for their entries */

static size_t array_bytes(uint32_t cap)
{
	/* Whole pages, where pages are big too. */
	return (size_t)kvf_align_up((uint64_t)cap * sizeof(struct kvf_entry), (uint64_t)64 << 10);
}

/*
 * Address space for an array, NULL if there is none. Huge pages halve the cost of a miss, but an
 * index with few entries is not to take one: a big array starts in the middle of where one could
 * be, so that its first MiB gets small ones. One mapping whatever happens, as only one can be
 * moved.
 */
static void *map_array(size_t bytes)
{
	size_t slack = bytes < 2 * HUGE_PAGE ? 0 : HUGE_PAGE;
	size_t cut;
	char *p = mmap(NULL, bytes + slack, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	if (!slack)
		return p;
	cut = (HUGE_PAGE / 2 - (uintptr_t)p) & (HUGE_PAGE - 1);
	if (cut)
		(void)munmap(p, cut);
	if (cut < slack)
		(void)munmap(p + cut + bytes, slack - cut);
	return p + cut;
}

static void huge_pages(const struct kvf_index *index)
{
	size_t bytes = array_bytes(index->cap);

	if (bytes >= 2 * HUGE_PAGE)
		(void)madvise(index->entry, bytes, MADV_HUGEPAGE);
}

int kvf_index_init(struct kvf_index *index, struct kvf_mem *mem, uint32_t cap)
{
	memset(index, 0, sizeof(*index));
	index->mem = mem;
	index->free_head = KVF_NIL;
	if (cap > CAP_MAX)
		return KVF_ENOMEM;
	index->cap = cap ? cap : 1;
	if (kvf_index_table_init(index))
		return KVF_ENOMEM;
	index->entry = map_array(array_bytes(index->cap));
	if (!index->entry) {
		kvf_index_table_fini(index);
		return KVF_ENOMEM;
	}
	huge_pages(index);
	return KVF_OK;
}

void kvf_index_fini(struct kvf_index *index)
{
	if (index->entry)
		(void)munmap(index->entry, array_bytes(index->cap));
	index->entry = NULL;
	kvf_index_table_fini(index);
}

/* Moves pages, not bytes. */
static int move_array(struct kvf_index *index, size_t from, size_t to)
{
	void *at = map_array(to);
	void *p;

	if (!at)
		return KVF_ENOMEM;
	p = mremap(index->entry, from, to, MREMAP_MAYMOVE | MREMAP_FIXED, at);
	if (p == MAP_FAILED) {
		(void)munmap(at, to);
		return KVF_ENOMEM;
	}
	index->entry = p;
	return KVF_OK;
}

int kvf_index_reserve(struct kvf_index *index, uint32_t cap)
{
	if (cap <= index->cap)
		return KVF_OK;
	if (cap > CAP_MAX)
		return KVF_ENOMEM;
	if (array_bytes(cap) != array_bytes(index->cap) &&
		move_array(index, array_bytes(index->cap), array_bytes(cap)))
		return KVF_ENOMEM;
	index->cap = cap;
	huge_pages(index);
	return KVF_OK;
}

static inline bool key_is(const struct kvf_entry *e, const uint8_t *key)
{
	return memcmp(e->key, key, sizeof(e->key)) == 0;
}

uint32_t kvf_index_find(const struct kvf_index *index, const uint8_t *key)
{
	uint32_t fp = kvf_index_fingerprint(key);
	const struct kvf_index_cell *line = kvf_index_start(index, fp);

	for (;; line += KVF_INDEX_LINE) {
		for (uint32_t match = kvf_index_match(line, fp); match; match &= match - 1) {
			uint32_t e = line[__builtin_ctz(match)].entry;

			if (key_is(&index->entry[e], key))
				return e;
		}
		if (kvf_index_match(line, 0))
			return KVF_NIL;
	}
}

/* A probe under way: where it begins and what it looks for, then the entry that is likely to be it. */
struct probe {
	const struct kvf_index_cell *line;
	uint32_t fingerprint;
	uint32_t entry;
};

static inline void probe_start(
	const struct kvf_index *index, struct probe *probe, const uint8_t *key)
{
	probe->fingerprint = kvf_index_fingerprint(key);
	probe->line = kvf_index_start(index, probe->fingerprint);
	kvf_prefetch(probe->line, 0);
}

/* Its line should be here by now. */
static inline void probe_cells(const struct kvf_index *index, struct probe *probe)
{
	const struct kvf_index_cell *line = probe->line;
	uint32_t match;

	while (!(match = kvf_index_match(line, probe->fingerprint)) && !kvf_index_match(line, 0))
		line += KVF_INDEX_LINE;
	probe->entry = KVF_NIL;
	if (!match)
		return;
	probe->entry = line[__builtin_ctz(match)].entry;
	kvf_prefetch(&index->entry[probe->entry], 0);
}

/* So should its entry. */
static inline uint32_t probe_end(
	const struct kvf_index *index, const struct probe *probe, const uint8_t *key)
{
	if (probe->entry == KVF_NIL || kvf_likely(key_is(&index->entry[probe->entry], key)))
		return probe->entry;
	return kvf_index_find(index, key); /* two keys with one fingerprint */
}

/* Finds n keys; with `prefix` it ends at the first that is not there or not resident. Returns how many it found. */
static inline uint32_t find_run(const struct kvf_index *index, const uint8_t (*keys)[32],
	uint32_t n, uint32_t *out, bool prefix)
{
	struct probe ring[RING];
	uint32_t cells = n < RING ? n : RING; /* keys whose cells were asked for */
	uint32_t entries = n < RING / 2 ? n : RING / 2; /* keys whose entries were */

	for (uint32_t i = 0; i < cells; i++)
		probe_start(index, &ring[i], keys[i]);
	for (uint32_t i = 0; i < entries; i++) {
		probe_cells(index, &ring[i]);
		if (prefix && ring[0].entry == KVF_NIL)
			return 0; /* nothing of it is here, as often */
	}
	for (uint32_t i = 0; i < n; i++) {
		uint32_t e;

		if (entries < n)
			probe_cells(index, &ring[entries++ % RING]);
		e = probe_end(index, &ring[i % RING], keys[i]);
		if (prefix && (e == KVF_NIL || index->entry[e].state != KVF_ENTRY_RESIDENT))
			return i;
		if (out)
			out[i] = e;
		if (cells < n) {
			probe_start(index, &ring[cells % RING], keys[cells]);
			cells++;
		}
	}
	return n;
}

void kvf_index_find_many(
	const struct kvf_index *index, const uint8_t (*keys)[32], uint32_t n, uint32_t *out)
{
	(void)find_run(index, keys, n, out, false);
}

uint32_t kvf_index_resident_prefix(
	const struct kvf_index *index, const uint8_t (*keys)[32], uint32_t n, uint32_t *out)
{
	return find_run(index, keys, n, out, true);
}

static void link_parent(struct kvf_index *index, struct kvf_entry *e, uint32_t parent)
{
	struct kvf_entry *p;

	e->parent = KVF_NIL;
	if (parent >= index->used)
		return;
	p = &index->entry[parent];
	if (p == e || !kvf_entry_in_table(p))
		return;
	e->parent = parent;
	e->parent_generation = p->generation;
	p->kids++;
}

uint32_t kvf_index_insert(struct kvf_index *index, const uint8_t *key, uint32_t parent)
{
	uint32_t fp = kvf_index_fingerprint(key);
	uint32_t number;
	uint32_t generation;
	struct kvf_entry *e;

	number = index->free_head != KVF_NIL ? index->free_head : index->used;
	if (number == index->cap || kvf_index_table_step(index))
		return KVF_NIL;
	if (kvf_index_table_put(index, fp, number))
		return KVF_NIL;
	e = &index->entry[number];
	if (number == index->used)
		index->used++;
	else
		index->free_head = e->policy_next;
	generation = e->generation;
	*e = (struct kvf_entry){
		.slot = KVF_NIL,
		.generation = generation,
		.policy_prev = KVF_NIL,
		.policy_next = KVF_NIL,
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
	return p->generation == e->parent_generation && kvf_entry_in_table(p) ? e->parent : KVF_NIL;
}

bool kvf_index_adopt(struct kvf_index *index, uint32_t entry, uint32_t parent)
{
	struct kvf_entry *e = &index->entry[entry];

	if (!kvf_entry_in_table(e) || kvf_index_parent(index, entry) != KVF_NIL)
		return false;
	link_parent(index, e, parent);
	return e->parent != KVF_NIL;
}

void kvf_index_remove(struct kvf_index *index, uint32_t entry)
{
	struct kvf_entry *e = &index->entry[entry];
	uint32_t parent;

	if (!kvf_entry_in_table(e))
		return;
	parent = kvf_index_parent(index, entry);
	if (parent != KVF_NIL)
		index->entry[parent].kids--;
	kvf_index_table_take(index, kvf_index_fingerprint(e->key), entry);
	e->parent = KVF_NIL;
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

void kvf_index_fetch_key(const struct kvf_index *index, const uint8_t *key)
{
	kvf_prefetch(kvf_index_start(index, kvf_index_fingerprint(key)), 1);
}

void kvf_index_fetch(const struct kvf_index *index, uint32_t entry)
{
	kvf_index_fetch_key(index, index->entry[entry].key);
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
