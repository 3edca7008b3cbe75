/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The completion ring. Every place an operation may need is reserved when it is submitted and counts until the host
 * reaped the entry, so that posting cannot fail.
 */
#include "engine/engine.h"

#include <string.h>

int kvf_ring_init(struct kvf_engine *e, uint32_t cap)
{
	e->ring.entry = kvf_mem_alloc(&e->mem, cap * sizeof(*e->ring.entry));
	if (!e->ring.entry)
		return KVF_ENOMEM;
	e->ring.cap = cap;
	return KVF_OK;
}

void kvf_ring_fini(struct kvf_engine *e)
{
	kvf_mem_free(&e->mem, e->ring.entry, e->ring.cap * sizeof(*e->ring.entry));
}

bool kvf_ring_reserve(struct kvf_engine *e, uint32_t places)
{
	if (e->ring.reserved + places > e->ring.cap)
		return false;
	e->ring.reserved += places;
	return true;
}

void kvf_ring_unreserve(struct kvf_engine *e, uint32_t places)
{
	e->ring.reserved -= places;
}

static uint32_t place(const struct kvf_ring *ring, uint32_t n)
{
	uint32_t at = ring->head + n;

	return at >= ring->cap ? at - ring->cap : at;
}

void kvf_ring_post(struct kvf_engine *e, const struct kvf_completion *c)
{
	struct kvf_ring *ring = &e->ring;

	KVF_CHECK(e, ring->n < ring->reserved);
	if (ring->n == ring->cap)
		return;
	ring->entry[place(ring, ring->n)] = *c;
	ring->n++;
}

void kvf_ring_progress(struct kvf_engine *e, struct kvf_job *job, const struct kvf_completion *c)
{
	struct kvf_ring *ring = &e->ring;

	/* progress_at is the ring position + 1; the entry is still ours if the host has not reaped it. */
	if (job->progress_at) {
		struct kvf_completion *at = &ring->entry[job->progress_at - 1];

		if (at->op_id == c->op_id && at->kind == KVF_PROGRESS) {
			*at = *c;
			return;
		}
		/* It was reaped, and with it the place: take the reserve anew, or say nothing this time. */
		if (!kvf_ring_reserve(e, 1))
			return;
	} else {
		job->ring_places--;
	}
	job->progress_at = place(ring, ring->n) + 1;
	kvf_ring_post(e, c);
}

unsigned kvf_ring_reap(struct kvf_engine *e, struct kvf_completion *out, unsigned max)
{
	struct kvf_ring *ring = &e->ring;
	unsigned n = 0;

	while (n < max && ring->n) {
		struct kvf_completion *at = &ring->entry[ring->head];

		out[n++] = *at;
		at->kind = 0;
		ring->head = place(ring, 1);
		ring->n--;
		ring->reserved--;
	}
	return n;
}
