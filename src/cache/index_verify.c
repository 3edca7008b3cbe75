/* SPDX-License-Identifier: Apache-2.0 */
/* Walks the index and looks for what must never be: part of kvf_verify(). */
#include "cache/index_table.h"
#include "kvferry/kvf_status.h"

/* Counts the keys of one table from cell `first` on; NULL, or what is wrong. */
static const char *check_table(const struct kvf_index *index, const struct kvf_index_table *table,
	size_t first, uint64_t *keys)
{
	size_t cells = kvf_index_cells(table);
	size_t cluster = first; /* start of the run of full cells we are in */

	if (table->cell[cells - 1].fingerprint)
		return "index: the last cell of a table is not empty";
	for (size_t p = first; p < cells; p++) {
		const struct kvf_index_cell *c = &table->cell[p];
		const struct kvf_entry *e;

		if (!c->fingerprint) {
			cluster = p + 1;
			continue;
		}
		if (c->entry >= index->used)
			return "index: a cell names an entry that never was";
		e = &index->entry[c->entry];
		if (e->state != KVF_ENTRY_FILLING && e->state != KVF_ENTRY_RESIDENT)
			return "index: a cell names an entry that is free or doomed";
		if (kvf_index_fingerprint(e->key) != c->fingerprint)
			return "index: fingerprint and key differ";
		if (kvf_index_where(index, c->fingerprint) != table)
			return "index: a key lies in the wrong table";
		if (kvf_index_home(table, c->fingerprint) > p ||
			kvf_index_home(table, c->fingerprint) < cluster)
			return "index: a key cannot be reached from its home";
		if (kvf_index_find(index, e->key) != c->entry)
			return "index: a key finds another entry";
		(*keys)++;
	}
	return NULL;
}

/* A weight for each entry: sums over kids and over parents agree only if every count of kids is right. */
static uint64_t weight(uint32_t entry)
{
	uint64_t x = (uint64_t)entry + 0x9e3779b97f4a7c15u;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

static const char *check_entries(const struct kvf_index *index)
{
	uint64_t by_kids = 0, by_parents = 0;
	uint64_t in_table = 0, live = 0;

	for (uint32_t i = 0; i < index->used; i++) {
		const struct kvf_entry *e = &index->entry[i];
		uint32_t parent;

		if (e->state > KVF_ENTRY_DOOMED)
			return "index: unknown state";
		live += e->state != KVF_ENTRY_FREE;
		if (e->state != KVF_ENTRY_FILLING && e->state != KVF_ENTRY_RESIDENT)
			continue;
		in_table++;
		by_kids += e->kids * weight(i);
		if (e->parent != KVF_NIL && (e->parent >= index->used || e->parent == i))
			return "index: a parent that never was";
		parent = kvf_index_parent(index, i);
		if (parent != KVF_NIL)
			by_parents += weight(parent);
	}
	if (in_table != index->n)
		return "index: count of entries in the table is wrong";
	if (live != index->live)
		return "index: count of live entries is wrong";
	if (by_kids != by_parents)
		return "index: a count of kids is wrong";
	return NULL;
}

static const char *check_free(const struct kvf_index *index)
{
	uint64_t left = (uint64_t)index->used - index->live;
	uint32_t i = index->free_head;

	for (; i != KVF_NIL && left; left--) {
		if (i >= index->used || index->entry[i].state != KVF_ENTRY_FREE)
			return "index: the free list names an entry that is not free";
		i = index->entry[i].policy_next;
	}
	return left || i != KVF_NIL ? "index: the free list has the wrong length" : NULL;
}

static const char *check_all(const struct kvf_index *index)
{
	uint64_t keys = 0;
	const char *bad;

	if (index->used > index->cap || index->live > index->used || index->n > index->live)
		return "index: counts contradict each other";
	bad = check_table(index, &index->table, 0, &keys);
	if (!bad && index->old.cell)
		bad = check_table(index, &index->old, index->old_next, &keys);
	if (!bad && keys != index->n)
		bad = "index: keys in the table and count differ";
	if (!bad)
		bad = check_entries(index);
	return bad ? bad : check_free(index);
}

int kvf_index_verify(const struct kvf_index *index, const char **why)
{
	const char *bad = check_all(index);

	if (!bad)
		return KVF_OK;
	if (why)
		*why = bad;
	return KVF_EINTERNAL;
}
