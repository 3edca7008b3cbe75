/* SPDX-License-Identifier: Apache-2.0 */
/* The ring of events for routers: stored, evicted, removed, tier up and down. Old events are overwritten and counted.
 */
#include "engine/engine.h"

#include <string.h>

int kvf_events_init(struct kvf_engine *e, uint32_t cap)
{
	e->events.entry = kvf_mem_alloc(&e->mem, cap * sizeof(*e->events.entry));
	if (!e->events.entry)
		return KVF_ENOMEM;
	e->events.cap = cap;
	return KVF_OK;
}

void kvf_events_fini(struct kvf_engine *e)
{
	if (!e->events.entry)
		return;
	kvf_mem_free(&e->mem, e->events.entry, e->events.cap * sizeof(*e->events.entry));
	e->events.entry = NULL;
}

static struct kvf_event *next_event(struct kvf_engine *e)
{
	struct kvf_event_ring *ring = &e->events;
	struct kvf_event *ev;

	if (!ring->entry)
		return NULL;
	if (ring->next - ring->read == ring->cap) {
		ring->read++;
		e->stats.events_lost++;
		e->events.lost++;
	}
	ev = &ring->entry[ring->next % ring->cap];
	memset(ev, 0, sizeof(*ev));
	ev->seq = ring->next++;
	return ev;
}

static void describe(struct kvf_engine *e, struct kvf_event *ev, uint32_t entry)
{
	struct kvf_record rec;

	kvf_entry_record(e, entry, &rec);
	ev->tier = KVF_TIER_RAM;
	ev->n_tokens = rec.n_tokens;
	memcpy(ev->key, rec.key, sizeof(ev->key));
	memcpy(ev->parent, rec.parent, sizeof(ev->parent));
}

void kvf_event_chunk(struct kvf_engine *e, enum kvf_event_kind kind, uint32_t entry)
{
	struct kvf_event *ev = next_event(e);

	if (!ev)
		return;
	ev->kind = (uint8_t)kind;
	describe(e, ev, entry);
}

void kvf_event_tier(struct kvf_engine *e, const struct kvf_tier *tier, bool up)
{
	struct kvf_event *ev = next_event(e);

	if (!ev)
		return;
	ev->kind = KVF_EVENT_TIER;
	ev->tier = (uint8_t)tier->bit;
	ev->up = up;
}

int kvf_events_read(struct kvf_engine *e, struct kvf_event *out, unsigned max, uint64_t *lost)
{
	struct kvf_event_ring *ring = &e->events;
	unsigned n = 0;

	if (!ring->entry)
		return KVF_ENOTSUP;
	if (lost) {
		*lost = e->events.lost;
		e->events.lost = 0;
	}
	while (n < max && ring->read < ring->next)
		out[n++] = ring->entry[ring->read++ % ring->cap];
	return (int)n;
}

int kvf_events_snapshot(struct kvf_engine *e, uint64_t *cursor, struct kvf_event *out, unsigned max)
{
	unsigned n = 0;

	while (n < max && *cursor < e->index.used) {
		uint32_t entry = (uint32_t)(*cursor)++;

		if (kvf_index_entry(&e->index, entry)->state != KVF_ENTRY_RESIDENT)
			continue;
		memset(&out[n], 0, sizeof(out[n]));
		out[n].seq = e->events.next;
		out[n].kind = KVF_EVENT_STORED;
		describe(e, &out[n], entry);
		n++;
	}
	return (int)n;
}
