/* SPDX-License-Identifier: Apache-2.0 */
/* Private to evict*.c: lists of entries linked by number, and the policy that keeps one for each frequency. */
#ifndef KVF_CACHE_EVICT_LIST_H
#define KVF_CACHE_EVICT_LIST_H

#include "cache/evict.h"

static inline void kvf_evict_list_init(struct kvf_evict_list *list)
{
	list->head = KVF_NIL;
	list->tail = KVF_NIL;
}

/* To where it goes last. */
static inline void kvf_evict_push_head(
	struct kvf_entry *entry, struct kvf_evict_list *list, uint32_t e)
{
	entry[e].policy_prev = KVF_NIL;
	entry[e].policy_next = list->head;
	if (list->head != KVF_NIL)
		entry[list->head].policy_prev = e;
	else
		list->tail = e;
	list->head = e;
}

/* To where it goes next. */
static inline void kvf_evict_push_tail(
	struct kvf_entry *entry, struct kvf_evict_list *list, uint32_t e)
{
	entry[e].policy_next = KVF_NIL;
	entry[e].policy_prev = list->tail;
	if (list->tail != KVF_NIL)
		entry[list->tail].policy_next = e;
	else
		list->head = e;
	list->tail = e;
}

/* So that it goes just before `at`. */
static inline void kvf_evict_push_behind(
	struct kvf_entry *entry, struct kvf_evict_list *list, uint32_t at, uint32_t e)
{
	uint32_t next = entry[at].policy_next;

	entry[e].policy_prev = at;
	entry[e].policy_next = next;
	entry[at].policy_next = e;
	if (next != KVF_NIL)
		entry[next].policy_prev = e;
	else
		list->tail = e;
}

static inline void kvf_evict_unlink(
	struct kvf_entry *entry, struct kvf_evict_list *list, uint32_t e)
{
	uint32_t prev = entry[e].policy_prev;
	uint32_t next = entry[e].policy_next;

	if (prev != KVF_NIL)
		entry[prev].policy_next = next;
	else
		list->head = next;
	if (next != KVF_NIL)
		entry[next].policy_prev = prev;
	else
		list->tail = prev;
}

/* Entries that follow each other on the list, from `first` to `last`, to where they go last. */
static inline void kvf_evict_run_to_head(
	struct kvf_entry *entry, struct kvf_evict_list *list, uint32_t first, uint32_t last)
{
	uint32_t prev = entry[first].policy_prev;
	uint32_t next = entry[last].policy_next;

	if (prev == KVF_NIL)
		return; /* they are there */
	entry[prev].policy_next = next;
	if (next != KVF_NIL)
		entry[next].policy_prev = prev;
	else
		list->tail = prev;
	entry[first].policy_prev = KVF_NIL;
	entry[last].policy_next = list->head;
	entry[list->head].policy_prev = last;
	list->head = first;
}

/*
 * LFU: policy_aux is the frequency. The empty list of a frequency costs 8 bytes; which ones are not
 * empty is kept in three levels of bits, so that the lowest is found in three steps.
 */
#define KVF_LFU_LEAF_WORDS ((KVF_EVICT_FREQUENCY_MAX + 1) / 64)
#define KVF_LFU_MIDDLE_WORDS (KVF_LFU_LEAF_WORDS / 64)

struct kvf_evict_lfu {
	struct kvf_evict_list *bucket; /* of frequency i */
	size_t cap;		       /* buckets there are */
	uint64_t top;
	uint64_t middle[KVF_LFU_MIDDLE_WORDS];
	uint64_t leaf[KVF_LFU_LEAF_WORDS];
};

int kvf_evict_lfu_open(struct kvf_evict *evict);
void kvf_evict_lfu_close(struct kvf_evict *evict);
/* At the end of its bucket that goes last or, if `next`, next. */
void kvf_evict_lfu_link(struct kvf_evict *evict, uint32_t e, uint32_t frequency, bool next);
void kvf_evict_lfu_unlink(struct kvf_evict *evict, uint32_t e);
/* Frequency + 1; the same if there is no memory for another bucket or it is at the maximum. */
uint32_t kvf_evict_lfu_more(struct kvf_evict *evict, uint32_t frequency);
/* Next to go, whether it can or not. */
uint32_t kvf_evict_lfu_next(const struct kvf_evict *evict);

#endif
