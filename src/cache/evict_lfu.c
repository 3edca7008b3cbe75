/* SPDX-License-Identifier: Apache-2.0 */
/* Least frequently used: the buckets. See evict_list.h. */
#include <string.h>

#include "cache/evict_list.h"
#include "kvferry/kvf_status.h"

#define BUCKETS_FIRST 64u

_Static_assert(KVF_LFU_MIDDLE_WORDS <= 64, "three levels of bits");

static int more_buckets(struct kvf_evict *evict, size_t want)
{
	struct kvf_evict_lfu *lfu = evict->lfu;
	size_t had = lfu->cap;
	void *p = lfu->bucket;
	int rc = kvf_mem_grow(evict->mem, &p, &lfu->cap, want, sizeof(*lfu->bucket));

	if (rc)
		return rc;
	lfu->bucket = p;
	for (size_t i = had; i < lfu->cap; i++)
		kvf_evict_list_init(&lfu->bucket[i]);
	return KVF_OK;
}

int kvf_evict_lfu_open(struct kvf_evict *evict)
{
	evict->lfu = kvf_mem_zalloc(evict->mem, sizeof(*evict->lfu));
	if (!evict->lfu)
		return KVF_ENOMEM;
	if (!more_buckets(evict, BUCKETS_FIRST))
		return KVF_OK;
	kvf_evict_lfu_close(evict);
	return KVF_ENOMEM;
}

void kvf_evict_lfu_close(struct kvf_evict *evict)
{
	struct kvf_evict_lfu *lfu = evict->lfu;

	if (!lfu)
		return;
	if (lfu->bucket)
		kvf_mem_free(evict->mem, lfu->bucket, lfu->cap * sizeof(*lfu->bucket));
	kvf_mem_free(evict->mem, lfu, sizeof(*lfu));
	evict->lfu = NULL;
}

static void mark(struct kvf_evict_lfu *lfu, uint32_t f)
{
	lfu->leaf[f >> 6] |= (uint64_t)1 << (f & 63);
	lfu->middle[f >> 12] |= (uint64_t)1 << ((f >> 6) & 63);
	lfu->top |= (uint64_t)1 << (f >> 12);
}

static void unmark(struct kvf_evict_lfu *lfu, uint32_t f)
{
	lfu->leaf[f >> 6] &= ~((uint64_t)1 << (f & 63));
	if (lfu->leaf[f >> 6])
		return;
	lfu->middle[f >> 12] &= ~((uint64_t)1 << ((f >> 6) & 63));
	if (!lfu->middle[f >> 12])
		lfu->top &= ~((uint64_t)1 << (f >> 12));
}

void kvf_evict_lfu_link(struct kvf_evict *evict, uint32_t e, uint32_t frequency, bool next)
{
	struct kvf_evict_lfu *lfu = evict->lfu;
	struct kvf_entry *entry = evict->index->entry;

	entry[e].policy_aux = (uint16_t)frequency;
	if (next)
		kvf_evict_push_tail(entry, &lfu->bucket[frequency], e);
	else
		kvf_evict_push_head(entry, &lfu->bucket[frequency], e);
	mark(lfu, frequency);
}

void kvf_evict_lfu_unlink(struct kvf_evict *evict, uint32_t e)
{
	struct kvf_evict_lfu *lfu = evict->lfu;
	uint32_t f = evict->index->entry[e].policy_aux;

	kvf_evict_unlink(evict->index->entry, &lfu->bucket[f], e);
	if (lfu->bucket[f].head == KVF_NIL)
		unmark(lfu, f);
}

uint32_t kvf_evict_lfu_more(struct kvf_evict *evict, uint32_t frequency)
{
	uint32_t more = frequency + 1;

	if (more > KVF_EVICT_FREQUENCY_MAX)
		return frequency;
	if (more >= evict->lfu->cap && more_buckets(evict, (size_t)more + 1))
		return frequency;
	return more;
}

uint32_t kvf_evict_lfu_next(const struct kvf_evict *evict)
{
	const struct kvf_evict_lfu *lfu = evict->lfu;
	uint32_t i;

	if (!lfu->top)
		return KVF_NIL;
	i = (uint32_t)__builtin_ctzll(lfu->top);
	i = i << 6 | (uint32_t)__builtin_ctzll(lfu->middle[i]);
	i = i << 6 | (uint32_t)__builtin_ctzll(lfu->leaf[i]);
	return lfu->bucket[i].tail;
}
