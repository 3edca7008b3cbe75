/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Eviction: what the policies have in common, and LRU, FIFO, MRU, which are one list each. See evict.h.
 *
 * Every listed entry is on exactly one list: in order (the list of its policy), or parked for pins, or parked for kids.
 */
#include "cache/evict.h"

#include <string.h>

#include "cache/evict_list.h"
#include "kvferry/kvf_status.h"

#define FETCH_ENTRY 12u /* entries ahead of a touch whose lines are asked for */
#define FETCH_LINKS 6u	/* entries ahead whose neighbours are asked for */
#define FETCH_VICTIMS 4u /* victims ahead */
#define FETCH_AGAIN 64u /* victims until the cursor starts again */

int kvf_evict_init(
	struct kvf_evict *evict, struct kvf_mem *mem, struct kvf_index *index, enum kvf_policy policy)
{
	memset(evict, 0, sizeof(*evict));
	evict->mem = mem;
	evict->index = index;
	evict->policy = policy;
	kvf_evict_list_init(&evict->order);
	kvf_evict_list_init(&evict->parked_pins);
	kvf_evict_list_init(&evict->parked_kids);
	return policy == KVF_POLICY_LFU ? kvf_evict_lfu_open(evict) : KVF_OK;
}

void kvf_evict_fini(struct kvf_evict *evict)
{
	kvf_evict_lfu_close(evict);
}

static inline bool minds_kids(const struct kvf_evict *evict)
{
	return evict->policy == KVF_POLICY_LRU || evict->policy == KVF_POLICY_LFU;
}

static inline bool in_use(const struct kvf_entry *e)
{
	return e->pins || e->leases || e->state != KVF_ENTRY_RESIDENT;
}

/* Into the order, at its end that goes last or, if `next`, next. */
static void link_order(struct kvf_evict *evict, uint32_t e, uint32_t frequency, bool next)
{
	struct kvf_entry *entry = evict->index->entry;

	if (evict->lfu)
		kvf_evict_lfu_link(evict, e, frequency, next);
	else if (next)
		kvf_evict_push_tail(entry, &evict->order, e);
	else
		kvf_evict_push_head(entry, &evict->order, e);
}

/* Off whichever list it is on. */
static void unlink_any(struct kvf_evict *evict, uint32_t e)
{
	struct kvf_entry *entry = evict->index->entry;

	if (!(entry[e].flags & KVF_ENTRY_PARKED)) {
		if (evict->lfu)
			kvf_evict_lfu_unlink(evict, e);
		else
			kvf_evict_unlink(entry, &evict->order, e);
		return;
	}
	kvf_evict_unlink(entry,
		entry[e].flags & KVF_ENTRY_PARKED_KIDS ? &evict->parked_kids : &evict->parked_pins, e);
	entry[e].flags &= (uint8_t)~(KVF_ENTRY_PARKED | KVF_ENTRY_PARKED_KIDS);
}

static void park(struct kvf_evict *evict, uint32_t e, bool for_kids)
{
	struct kvf_entry *entry = evict->index->entry;

	unlink_any(evict, e);
	entry[e].flags |= KVF_ENTRY_PARKED;
	if (for_kids) {
		entry[e].flags |= KVF_ENTRY_PARKED_KIDS;
		kvf_evict_push_head(entry, &evict->parked_kids, e);
	} else {
		kvf_evict_push_head(entry, &evict->parked_pins, e);
	}
}

int kvf_evict_insert(struct kvf_evict *evict, uint32_t e)
{
	struct kvf_entry *entry = evict->index->entry;
	uint32_t parent = KVF_NIL;

	if (entry[e].flags & KVF_ENTRY_LISTED)
		return KVF_OK;
	entry[e].flags |= KVF_ENTRY_LISTED;
	entry[e].flags &= (uint8_t)~(KVF_ENTRY_PARKED | KVF_ENTRY_PARKED_KIDS);
	evict->n++;
	if (evict->policy == KVF_POLICY_LRU)
		parent = kvf_index_parent(evict->index, e);
	if (parent != KVF_NIL && entry[parent].tenant != entry[e].tenant)
		parent = KVF_NIL;
	if (parent != KVF_NIL &&
		(entry[parent].flags & (KVF_ENTRY_LISTED | KVF_ENTRY_PARKED)) == KVF_ENTRY_LISTED)
		kvf_evict_push_behind(entry, &evict->order, parent, e);
	else
		link_order(evict, e, 1, evict->policy == KVF_POLICY_MRU);
	return KVF_OK;
}

/* Memory is asked for in two steps, since the lines of the neighbours are known only once the entry's own is here. */
static inline void fetch_ahead(const struct kvf_evict *evict, const uint32_t *path, uint32_t i)
{
	const struct kvf_entry *entry = evict->index->entry;

	if (i >= FETCH_ENTRY && path[i - FETCH_ENTRY] != KVF_NIL)
		kvf_prefetch(&entry[path[i - FETCH_ENTRY]], 1);
	if (i >= FETCH_LINKS && path[i - FETCH_LINKS] != KVF_NIL) {
		const struct kvf_entry *e = &entry[path[i - FETCH_LINKS]];

		if (e->policy_prev != KVF_NIL)
			kvf_prefetch(&entry[e->policy_prev], 1);
		if (e->policy_next != KVF_NIL)
			kvf_prefetch(&entry[e->policy_next], 1);
	}
}

/* In order: on the list of its policy, where touching moves it. */
static inline bool in_order(const struct kvf_entry *e)
{
	return (e->flags & (KVF_ENTRY_LISTED | KVF_ENTRY_PARKED)) == KVF_ENTRY_LISTED;
}

/*
 * LRU: path[i] to the far end, together with those before it on the path that lie before it in the order already, as
 * they do when the path was last touched as a whole: of such a run only the ends are written. Returns where on the path
 * the run begins.
 */
static uint32_t touch_run(struct kvf_evict *evict, const uint32_t *path, uint32_t i)
{
	struct kvf_entry *entry = evict->index->entry;
	uint32_t last = path[i];

	if (!in_order(&entry[last])) {
		unlink_any(evict, last);
		kvf_evict_push_head(entry, &evict->order, last);
		return i;
	}
	while (i > 0 && path[i - 1] != KVF_NIL && entry[path[i]].policy_prev == path[i - 1]) {
		fetch_ahead(evict, path, i);
		i--;
	}
	kvf_evict_run_to_head(entry, &evict->order, path[i], last);
	return i;
}

void kvf_evict_touch(struct kvf_evict *evict, const uint32_t *path, uint32_t n)
{
	const struct kvf_entry *entry = evict->index->entry;

	if (evict->policy == KVF_POLICY_FIFO)
		return;
	for (uint32_t i = n; i-- > 0;) {
		uint32_t e = path[i];
		uint32_t frequency = 0;

		fetch_ahead(evict, path, i);
		if (e == KVF_NIL || !(entry[e].flags & KVF_ENTRY_LISTED))
			continue;
		if (evict->policy == KVF_POLICY_LRU) {
			i = touch_run(evict, path, i);
			continue;
		}
		if (evict->lfu)
			frequency = kvf_evict_lfu_more(evict, entry[e].policy_aux);
		unlink_any(evict, e);
		link_order(evict, e, frequency, evict->policy == KVF_POLICY_MRU);
	}
}

void kvf_evict_remove(struct kvf_evict *evict, uint32_t e)
{
	struct kvf_entry *entry = evict->index->entry;

	if (!(entry[e].flags & KVF_ENTRY_LISTED))
		return;
	unlink_any(evict, e);
	entry[e].flags &= (uint8_t)~KVF_ENTRY_LISTED;
	evict->n--;
}

void kvf_evict_release(struct kvf_evict *evict, uint32_t e)
{
	struct kvf_entry *entry = evict->index->entry;

	if (!(entry[e].flags & KVF_ENTRY_PARKED) || in_use(&entry[e]))
		return;
	if (minds_kids(evict) && entry[e].kids) {
		if (!(entry[e].flags & KVF_ENTRY_PARKED_KIDS))
			park(evict, e, true);
		return;
	}
	unlink_any(evict, e);
	link_order(evict, e, entry[e].policy_aux, true);
}

/*
 * Victims come one after the other from all over memory. A cursor goes FETCH_VICTIMS ahead of them: what evicting the
 * entry there will look at is asked for, and so is the entry that the cursor meets next. What is touched or demoted
 * meanwhile leads it astray, which costs time only; every so often it starts again from the end.
 */
static inline void fetch_victims(struct kvf_evict *evict, uint32_t e)
{
	const struct kvf_entry *entry = evict->index->entry;
	uint32_t at = evict->ahead;

	if (!evict->ahead_left || at >= evict->index->used) {
		evict->ahead_left = FETCH_AGAIN;
		at = e;
		for (uint32_t i = 0; i < FETCH_VICTIMS && entry[at].policy_prev != KVF_NIL; i++)
			at = entry[at].policy_prev;
	}
	evict->ahead_left--;
	kvf_index_fetch(evict->index, at);
	if (entry[at].parent != KVF_NIL)
		kvf_prefetch(&entry[entry[at].parent], 1);
	evict->ahead = entry[at].policy_prev;
	if (evict->ahead != KVF_NIL)
		kvf_prefetch(&entry[evict->ahead], 1);
}

uint32_t kvf_evict_victim(struct kvf_evict *evict)
{
	const struct kvf_entry *entry = evict->index->entry;
	uint32_t e;

	for (;;) {
		e = evict->lfu ? kvf_evict_lfu_next(evict) : evict->order.tail;
		if (e == KVF_NIL)
			break;
		if (in_use(&entry[e]))
			park(evict, e, false);
		else if (minds_kids(evict) && entry[e].kids)
			park(evict, e, true);
		else
			break;
	}
	if (e != KVF_NIL) {
		fetch_victims(evict, e);
		return e;
	}
	while ((e = evict->parked_kids.tail) != KVF_NIL) {
		if (!in_use(&entry[e]))
			return e;
		park(evict, e, false);
	}
	return KVF_NIL;
}

void kvf_evict_demote(struct kvf_evict *evict, uint32_t e)
{
	struct kvf_entry *entry = evict->index->entry;

	if (!(entry[e].flags & KVF_ENTRY_LISTED))
		return;
	if (entry[e].flags & KVF_ENTRY_PARKED) {
		if (evict->lfu)
			entry[e].policy_aux = 1;
		kvf_evict_release(evict, e);
		return;
	}
	unlink_any(evict, e);
	link_order(evict, e, 1, true);
}
