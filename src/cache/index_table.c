/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cells of the index and their growth. See index_table.h.
 *
 * Growth moves whole clusters (runs of full cells), so that the frontier always stands behind an empty cell and neither
 * side's probes cross it. Small tables come from kvf_mem; big ones are mapped, since they must come up zeroed without
 * being touched at once, and so that the part already moved can be given back on the way.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "cache/index_table.h"

#include <sys/mman.h>

#include "kvferry/kvf_status.h"

#define TABLE_FIRST 256u	     /* homes of the first table */
#define TABLE_MAPPED ((size_t)1 << 20) /* bytes from which on a table is mapped */
#define TABLE_RELEASE ((size_t)2 << 20) /* an old table is given back in pieces of this */
#define TABLE_DOUBLES (1u << 16)     /* homes up to which a table doubles; then it grows by half */
#define MOVE_CELLS 16u		     /* old cells moved at each insert, and on to the end of the cluster */
#define GROW_WAIT 256u		     /* inserts until growth that failed is tried again */

/* Seven tenths full is where probes are still short; an index whose growth fails goes on to nine tenths. */
static uint32_t limit_of(uint32_t size, uint32_t tenths)
{
	return (uint32_t)((uint64_t)size * tenths / 10);
}

static int table_open(struct kvf_mem *mem, struct kvf_index_table *table, uint32_t size)
{
	struct kvf_index_table t = { .size = size, .limit = limit_of(size, 7) };
	size_t bytes = kvf_index_cells(&t) * sizeof(*t.cell);
	void *p;

	if (bytes < TABLE_MAPPED) {
		p = kvf_mem_zalloc(mem, bytes);
		if (!p)
			return KVF_ENOMEM;
	} else {
		p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (p == MAP_FAILED)
			return KVF_ENOMEM;
		(void)madvise(p, bytes, MADV_HUGEPAGE);
	}
	t.cell = p;
	*table = t;
	return KVF_OK;
}

static void table_close(struct kvf_mem *mem, struct kvf_index_table *table)
{
	size_t bytes = kvf_index_cells(table) * sizeof(*table->cell);

	if (!table->cell)
		return;
	if (bytes < TABLE_MAPPED)
		kvf_mem_free(mem, table->cell, bytes);
	else
		(void)munmap(table->cell, bytes);
	table->cell = NULL;
}

int kvf_index_table_init(struct kvf_index *index)
{
	return table_open(index->mem, &index->table, TABLE_FIRST);
}

void kvf_index_table_fini(struct kvf_index *index)
{
	table_close(index->mem, &index->table);
	table_close(index->mem, &index->old);
}

/* Into the first free cell of [home, end). */
static int put_before(const struct kvf_index_table *table, const struct kvf_index_cell *end,
	const struct kvf_index_cell *key)
{
	struct kvf_index_cell *c = table->cell + kvf_index_home(table, key->fingerprint);

	while (c < end && c->fingerprint)
		c++;
	if (c >= end)
		return KVF_ENOMEM;
	*c = *key;
	return KVF_OK;
}

int kvf_index_table_put(struct kvf_index *index, uint32_t fingerprint, uint32_t entry)
{
	const struct kvf_index_table *table = kvf_index_where(index, fingerprint);
	struct kvf_index_cell key = { .fingerprint = fingerprint, .entry = entry };
	size_t end = kvf_index_cells(table) - 1;

	if (table->size >= KVF_INDEX_CROWD) {
		end -= KVF_INDEX_CROWD;
		end = kvf_min_u64(end, kvf_index_home(table, fingerprint) + KVF_INDEX_CROWD);
	}
	return put_before(table, table->cell + end, &key);
}

bool kvf_index_table_take(struct kvf_index *index, uint32_t fingerprint, uint32_t entry)
{
	const struct kvf_index_table *table = kvf_index_where(index, fingerprint);
	struct kvf_index_cell *hole = table->cell + kvf_index_home(table, fingerprint);

	while (hole->fingerprint && hole->entry != entry)
		hole++;
	if (!hole->fingerprint)
		return false;
	for (struct kvf_index_cell *c = hole + 1; c->fingerprint; c++) {
		if (kvf_index_home(table, c->fingerprint) <= (size_t)(hole - table->cell)) {
			*hole = *c;
			hole = c;
		}
	}
	hole->fingerprint = 0;
	return true;
}

/* Gives the moved part of a big old table back, a piece at a time. */
static void release_moved(struct kvf_index *index)
{
	size_t moved = (size_t)index->old_next * sizeof(*index->old.cell);

	if (kvf_index_cells(&index->old) * sizeof(*index->old.cell) < TABLE_MAPPED ||
		moved - index->old_released < TABLE_RELEASE)
		return;
	moved -= moved % TABLE_RELEASE;
	(void)madvise((char *)index->old.cell + index->old_released, moved - index->old_released,
		MADV_DONTNEED);
	index->old_released = moved;
}

/*
 * Moves the frontier on. The same keys reach less far behind the last home of a bigger table, and during the last
 * KVF_INDEX_CROWD cells few others come: there is always room.
 */
static int move_cells(struct kvf_index *index)
{
	size_t last = kvf_index_cells(&index->old) - 1;
	size_t p = index->old_next;
	size_t until = kvf_min_u64(p + MOVE_CELLS, last);
	const struct kvf_index_cell *end = index->table.cell + kvf_index_cells(&index->table) - 1;

	for (; p < until || index->old.cell[p].fingerprint; p++) {
		const struct kvf_index_cell *c = &index->old.cell[p];

		/* What is before the frontier is not looked at again: it may stay as it is. */
		if (c->fingerprint && put_before(&index->table, end, c))
			return KVF_ENOMEM;
	}
	index->old_next = (uint32_t)p;
	if (p < last) {
		release_moved(index);
		return KVF_OK;
	}
	table_close(index->mem, &index->old);
	index->old_next = 0;
	index->old_released = 0;
	return KVF_OK;
}

static int grow(struct kvf_index *index)
{
	uint64_t size = index->table.size;
	uint64_t most = (uint64_t)index->cap * 10 / 7 + 16; /* no more than cap keys ever need */
	struct kvf_index_table bigger;

	size += size < TABLE_DOUBLES ? size : size / 2;
	size = kvf_align_up(kvf_min_u64(size, most), KVF_INDEX_LINE);
	if (size <= index->table.size)
		return KVF_OK;
	if (table_open(index->mem, &bigger, (uint32_t)size))
		return KVF_ENOMEM;
	index->old = index->table;
	index->table = bigger;
	return KVF_OK;
}

int kvf_index_table_step(struct kvf_index *index)
{
	if (kvf_unlikely(index->old.cell != NULL))
		return move_cells(index);
	if (kvf_likely(index->n < index->table.limit))
		return KVF_OK;
	if (index->grow_wait) {
		index->grow_wait--;
	} else {
		if (!grow(index))
			return index->old.cell ? move_cells(index) : KVF_OK;
		index->grow_wait = GROW_WAIT;
	}
	return index->n < limit_of(index->table.size, 9) ? KVF_OK : KVF_ENOMEM;
}
