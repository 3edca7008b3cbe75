/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to index*.c: the open-addressing table under the index, and how it grows.
 *
 * A fingerprint is 32 bits of the key, never 0. Cells lie in lines of KVF_INDEX_LINE, a cache line
 * each, and the home of a fingerprint is a whole line: probing starts at its first cell and is
 * linear, so that a key is found, or found to be absent, in one line nearly always. The home in a
 * table of `size` is fingerprint * size / 2^32, rounded down to a line, so homes are in the order
 * of fingerprints: moving to a bigger table reads and writes both front to back and never looks at
 * an entry. Deletion shifts back, nothing wraps: more cells follow the last home.
 */
#ifndef KVF_CACHE_INDEX_TABLE_H
#define KVF_CACHE_INDEX_TABLE_H

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "cache/index.h"

#define KVF_INDEX_LINE 8u /* cells of a cache line */
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
	return (size_t)(((uint64_t)fingerprint * table->size) >> 32) & ~(size_t)(KVF_INDEX_LINE - 1);
}

/* Bit i: cell i of the line has the fingerprint. Without branches, as where it lies cannot be foretold. */
static inline uint32_t kvf_index_match(const struct kvf_index_cell *line, uint32_t fingerprint)
{
#ifdef __SSE2__
	const __m128i want = _mm_set1_epi32((int)fingerprint);
	uint32_t bits = 0;

	for (uint32_t i = 0; i < KVF_INDEX_LINE; i += 4) {
		__m128 a = _mm_loadu_ps((const float *)(const void *)&line[i]);
		__m128 b = _mm_loadu_ps((const float *)(const void *)&line[i + 2]);
		__m128i four = _mm_castps_si128(_mm_shuffle_ps(a, b, _MM_SHUFFLE(2, 0, 2, 0)));

		bits |= (uint32_t)_mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(four, want))) << i;
	}
	return bits;
#else
	uint32_t bits = 0;

	for (uint32_t i = 0; i < KVF_INDEX_LINE; i++)
		bits |= (uint32_t)(line[i].fingerprint == fingerprint) << i;
	return bits;
#endif
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

/* The line where probing for the fingerprint starts. It ends at an empty cell, of which there is one behind every
 * table. */
static inline struct kvf_index_cell *kvf_index_start(
	const struct kvf_index *index, uint32_t fingerprint)
{
	const struct kvf_index_table *table = kvf_index_where(index, fingerprint);

	return table->cell + kvf_index_home(table, fingerprint);
}

/*
 * Cells in all, whole lines, the always empty last one included. Big tables have twice what inserts may use
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
