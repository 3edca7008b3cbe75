/* SPDX-License-Identifier: Apache-2.0 */
/* Walks the eviction lists and looks for what must never be: part of kvf_verify(). */
#include "cache/evict_list.h"
#include "kvferry/kvf_status.h"

struct walk {
	const struct kvf_evict *evict;
	uint64_t left; /* entries that may still be met: ends a walk in a circle */
	const char *bad;
};

/* Every entry of the list carries LISTED and exactly the flags `parked`; of frequency `aux` in a bucket (0: any). */
static void check_list(
	struct walk *walk, const struct kvf_evict_list *list, uint8_t parked, uint32_t aux)
{
	const struct kvf_index *index = walk->evict->index;
	const uint8_t mask = KVF_ENTRY_LISTED | KVF_ENTRY_PARKED | KVF_ENTRY_PARKED_KIDS;
	uint32_t prev = KVF_NIL;

	for (uint32_t i = list->head; i != KVF_NIL && !walk->bad; i = index->entry[i].policy_next) {
		const struct kvf_entry *e;

		if (i >= index->used) {
			walk->bad = "evict: a list names an entry that never was";
			return;
		}
		e = &index->entry[i];
		if (walk->left-- == 0)
			walk->bad = "evict: more entries on the lists than counted";
		else if (e->policy_prev != prev)
			walk->bad = "evict: links back and forth differ";
		else if ((e->flags & mask) != (KVF_ENTRY_LISTED | parked))
			walk->bad = "evict: flags do not fit the list";
		else if (e->state != KVF_ENTRY_RESIDENT)
			walk->bad = "evict: a listed entry is not resident";
		else if (aux && e->policy_aux != aux)
			walk->bad = "evict: an entry lies in the wrong bucket";
		prev = i;
	}
	if (!walk->bad && list->tail != prev)
		walk->bad = "evict: a list ends elsewhere";
}

static void check_buckets(struct walk *walk)
{
	const struct kvf_evict_lfu *lfu = walk->evict->lfu;

	for (uint32_t f = 0; f <= KVF_EVICT_FREQUENCY_MAX && !walk->bad; f++) {
		bool marked = lfu->leaf[f >> 6] >> (f & 63) & 1;

		if (marked != (f < lfu->cap && lfu->bucket[f].head != KVF_NIL))
			walk->bad = "evict: bit and bucket of a frequency differ";
		else if (marked && !f)
			walk->bad = "evict: an entry was never used";
		else if (marked)
			check_list(walk, &lfu->bucket[f], 0, f);
	}
	for (uint32_t w = 0; w < KVF_LFU_LEAF_WORDS && !walk->bad; w++) {
		if ((lfu->middle[w >> 6] >> (w & 63) & 1) != (lfu->leaf[w] != 0))
			walk->bad = "evict: middle bits differ from the leaves";
	}
	for (uint32_t w = 0; w < KVF_LFU_MIDDLE_WORDS && !walk->bad; w++) {
		if ((lfu->top >> w & 1) != (lfu->middle[w] != 0))
			walk->bad = "evict: top bits differ from the middle ones";
	}
}

int kvf_evict_verify(const struct kvf_evict *evict, const char **why)
{
	struct walk walk = { .evict = evict, .left = evict->n };

	if (evict->lfu)
		check_buckets(&walk);
	check_list(&walk, &evict->order, 0, 0);
	if (!walk.bad)
		check_list(&walk, &evict->parked_pins, KVF_ENTRY_PARKED, 0);
	if (!walk.bad)
		check_list(&walk, &evict->parked_kids, KVF_ENTRY_PARKED | KVF_ENTRY_PARKED_KIDS, 0);
	if (!walk.bad && walk.left)
		walk.bad = "evict: fewer entries on the lists than counted";
	if (!walk.bad)
		return KVF_OK;
	if (why)
		*why = walk.bad;
	return KVF_EINTERNAL;
}
