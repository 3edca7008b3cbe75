/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to index*.c: the open-addressing table under the index, and how it grows.
 *
 * A fingerprint is 32 bits of the key, never 0. Its home in a table of `size` is fingerprint * size
 * / 2^32, so homes are in the order of fingerprints: moving to a bigger table reads and writes both
 * front to back and never looks at an entry. Probing is linear, deletion shifts back, nothing
 * wraps: more cells follow the last home.
 */
#ifndef KVF_CACHE_INDEX_TABLE_H
#define KVF_CACHE_INDEX_TABLE_H

#include <string.h>

#include "cache/index.h"

#define KVF_INDEX_CROWD 1024u /* a key is refused that would lie this far behind its home or the last home */

static inline uint32_t kvf_index_fingerprint(const uint8_t *key)
{
	uint64_t a, b;
	uint32_t fp;

	memcpy(&a, key, sizeof(a));
	memcpy(&b, key + 8, sizeof(b));
	/* Real keys are random already; the product keeps hand-made ones from crowding. */
	fp = (uint32_t)(((a ^ (b << 1)) * 0x9e3779b97f4a7c15u) >> 32);
	return fp ? fp : 1;
}

static inline size_t kvf_index_home(const struct kvf_index_table *table, uint32_t fingerprint)
{
	return (size_t)(((uint64_t)fingerprint * table->size) >> 32);
}

/* The one table that holds, or is to hold, the fingerprint. */
static inline const struct kvf_index_table *kvf_index_where(
	const struct kvf_index *index, uint32_t fingerprint)
{
	if (kvf_unlikely(index->old.cell != NULL) &&
		kvf_index_home(&index->old, fingerprint) >= index->old_next)
		return &index->old;
	return &index->table;
}

/* Where probing for the fingerprint starts. It ends at an empty cell, of which there is one behind every table. */
static inline struct kvf_index_cell *kvf_index_start(
	const struct kvf_index *index, uint32_t fingerprint)
{
	const struct kvf_index_table *table = kvf_index_where(index, fingerprint);

	return table->cell + kvf_index_home(table, fingerprint);
}

/*
 * Cells in all, the always empty last one included. Big tables have twice what inserts may use
 * behind the last home: keys of two tables meet there when one grows, the few that were inserted
 * meanwhile and those that were there.
 */
static inline size_t kvf_index_cells(const struct kvf_index_table *table)
{
	size_t size = table->size;

	return size + (size < KVF_INDEX_CROWD ? size : (size_t)2 * KVF_INDEX_CROWD);
}

/* The first table. KVF_OK, KVF_ENOMEM. */
int kvf_index_table_init(struct kvf_index *index);
void kvf_index_table_fini(struct kvf_index *index);
/* Before an insert: starts growing when it is time, moves a few cells. KVF_OK, or KVF_ENOMEM:
 * too full to take another key. */
int kvf_index_table_step(struct kvf_index *index);
/* KVF_OK, or KVF_ENOMEM: too many keys crowd around this one. */
int kvf_index_table_put(struct kvf_index *index, uint32_t fingerprint, uint32_t entry);
/* False if it was not there. */
bool kvf_index_table_take(struct kvf_index *index, uint32_t fingerprint, uint32_t entry);

#endif
