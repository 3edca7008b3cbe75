/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Spills: a chunk on its way down, one leg for each tier that wants it. A queued leg is only a wish: it pins nothing,
 * and evicting the chunk withdraws it. From the moment its checksum is computed until the tier answers, a leg pins
 * the entry.
 */
#include "engine/engine.h"

#include <string.h>

#define SPILL_TIMEOUT_NS (30 * KVF_NS_PER_S)
#define SPILL_RETRY_NS KVF_NS_PER_MS /* after the allocator said no */

struct kvf_spill *kvf_spill_of(struct kvf_engine *e, uint32_t entry)
{
	const struct kvf_entry *en = kvf_index_entry(&e->index, entry);

	if (!en->tiers_want || en->xfer == KVF_NIL)
		return NULL;
	return kvf_slab_at(&e->spill_slab, en->xfer);
}

static void wake_flushes(struct kvf_engine *e)
{
	struct kvf_list *node;

	kvf_list_for_each(node, &e->flushes)
		kvf_job_ready(e, kvf_list_entry(node, struct kvf_job, level_link));
}

/* Tells those who wait for the leg. late: it is in flight still. */
static void answer_waiters(struct kvf_engine *e, struct kvf_spill *spill, uint8_t tier, bool ok, bool late)
{
	struct kvf_list *node, *tmp;

	kvf_list_for_each_safe(node, tmp, &spill->waiters) {
		struct kvf_level_wait *wait = kvf_list_entry(node, struct kvf_level_wait, link);

		if (!(wait->tiers & 1u << tier) || (late && wait->all))
			continue;
		wait->tiers &= ~(1u << tier);
		if (!ok && wait->chunk < wait->job->level_limit)
			wait->job->level_limit = wait->chunk;
		if (wait->tiers && (ok || wait->all))
			continue;
		kvf_list_remove(node);
		wait->job->level_pending--;
		kvf_job_ready(e, wait->job);
	}
}

/* The leg is over, one way or the other; frees the spill with its last leg. */
static void end_leg(struct kvf_engine *e, struct kvf_spill *spill, uint8_t tier, bool ok)
{
	struct kvf_spill_leg *leg = &spill->leg[tier];
	struct kvf_entry *en = kvf_index_entry(&e->index, spill->entry);

	kvf_list_remove(&leg->link);
	leg->state = KVF_SPILL_NONE;
	en->tiers_want &= (uint8_t)~(1u << tier);
	if (ok)
		en->tiers_have |= (uint8_t)(1u << tier);
	answer_waiters(e, spill, tier, ok, false);
	if (--spill->open_legs == 0) {
		en->xfer = KVF_NIL;
		kvf_list_remove(&spill->all);
		kvf_list_remove(&spill->doomed);
		kvf_list_remove(&spill->sum.link);
		kvf_slab_free(&e->spill_slab, spill->number);
	}
	wake_flushes(e);
}

static struct kvf_spill *new_spill(struct kvf_engine *e, uint32_t entry)
{
	struct kvf_spill *spill;
	uint32_t number;

	spill = kvf_slab_new(&e->spill_slab, &number);
	if (!spill)
		return NULL;
	spill->number = number;
	spill->entry = entry;
	spill->seq = ++e->spill_serial;
	kvf_list_init(&spill->waiters);
	kvf_list_push_back(&e->spills, &spill->all);
	kvf_index_entry(&e->index, entry)->xfer = number;
	return spill;
}

void kvf_spill_queue(struct kvf_engine *e, uint32_t entry, uint32_t mask)
{
	struct kvf_entry *en = kvf_index_entry(&e->index, entry);
	struct kvf_spill *spill = kvf_spill_of(e, entry);

	mask &= ~(uint32_t)(en->tiers_have | en->tiers_want);
	for (uint8_t t = 0; t < e->n_tiers; t++) {
		struct kvf_tier *tier = &e->tier[t];

		if (!(mask & 1u << t))
			continue;
		if (kvf_tier_usable(e, tier) && !spill)
			spill = new_spill(e, entry);
		if (!spill || !kvf_tier_usable(e, tier)) {
			tier->stats.dropped_spills++;
			continue;
		}
		spill->leg[t].state = KVF_SPILL_QUEUED;
		spill->open_legs++;
		en->tiers_want |= (uint8_t)(1u << t);
		kvf_list_push_back(&tier->puts, &spill->leg[t].link);
		tier->stats.queued_spills++;
	}
}

bool kvf_spill_await(struct kvf_engine *e, uint32_t entry, struct kvf_level_wait *wait)
{
	struct kvf_spill *spill = kvf_spill_of(e, entry);

	if (!spill)
		return false;
	wait->tiers &= kvf_index_entry(&e->index, entry)->tiers_want;
	if (!wait->tiers)
		return false;
	kvf_list_push_back(&spill->waiters, &wait->link);
	wait->job->level_pending++;
	return true;
}

void kvf_spill_drop(struct kvf_engine *e, uint32_t entry, uint32_t mask)
{
	struct kvf_spill *spill = kvf_spill_of(e, entry);

	if (!spill)
		return;
	for (uint8_t t = 0; t < e->n_tiers && kvf_index_entry(&e->index, entry)->tiers_want; t++) {
		if (!(mask & 1u << t) || spill->leg[t].state != KVF_SPILL_QUEUED)
			continue;
		e->tier[t].stats.dropped_spills++;
		e->tier[t].stats.queued_spills--;
		end_leg(e, spill, t, false);
	}
}

bool kvf_spills_before(const struct kvf_engine *e, uint64_t seq, uint32_t mask, bool late)
{
	struct kvf_list *node;

	kvf_list_for_each(node, &e->spills) {
		const struct kvf_spill *spill = kvf_list_entry(node, struct kvf_spill, all);

		if (spill->seq > seq)
			return false;
		for (uint8_t t = 0; t < e->n_tiers; t++) {
			const struct kvf_spill_leg *leg = &spill->leg[t];

			if (mask & 1u << t && leg->state && (late || !leg->put || !leg->put->orphan))
				return true;
		}
	}
	return false;
}

bool kvf_spills_moot(const struct kvf_engine *e, const struct kvf_tier *tier)
{
	return tier->off || (e->shutting && e->shutdown_mode == KVF_SHUTDOWN_CANCEL) ||
	       (tier->breaker.state == KVF_BREAKER_OPEN && e->clock.now_ns < tier->breaker.retry_at_ns);
}

void kvf_spill_drop_some(struct kvf_engine *e, struct kvf_tier *tier)
{
	for (uint32_t n = 0; n < KVF_TURN_SCAN && !kvf_list_empty(&tier->puts); n++) {
		struct kvf_spill_leg *leg = kvf_list_entry(tier->puts.prev, struct kvf_spill_leg, link);
		struct kvf_spill *spill =
			kvf_container_of(leg - tier->number, struct kvf_spill, leg[0]);
		uint32_t entry = spill->entry;

		tier->stats.dropped_spills++;
		tier->stats.queued_spills--;
		end_leg(e, spill, tier->number, false);
		kvf_entry_settle(e, entry);
	}
}

/* ---- a leg in flight ---- */

static void free_put(struct kvf_engine *e, struct kvf_put *put)
{
	struct kvf_tier *tier = &e->tier[put->tier];

	kvf_heap_remove(&e->timers.puts, &put->deadline);
	tier->n_spills--;
	if (put->orphan) {
		tier->n_orphans--;
		e->n_quarantined--;
	}
	kvf_mem_free(&e->mem, put, sizeof(*put));
}

static void build_put(struct kvf_engine *e, struct kvf_spill *spill, struct kvf_put *put, const struct kvf_record *rec)
{
	struct kvf_tier_req *req = &put->req;

	req->kind = KVF_REQ_PUT;
	req->priority = KVF_PRIO_NORMAL;
	memcpy(req->key, rec->key, sizeof(req->key));
	memcpy(req->parent, rec->parent, sizeof(req->parent));
	memcpy(req->wire, rec->wire, sizeof(req->wire));
	req->wire_len = rec->wire_len;
	req->wire_suffix = rec->suffix;
	req->wire_suffix_n = rec->suffix_n;
	req->n_tokens = rec->n_tokens;
	req->slot = kvf_pool_addr(&e->pool, kvf_index_entry(&e->index, spill->entry)->slot);
	req->payload_bytes = rec->payload_bytes;
	req->has_checksum = 1;
	req->checksum = spill->checksum;
	req->deadline_ns = put->deadline.at_ns;
	req->depth = rec->depth;
}

/* From a wish to work: pins the entry, asks for the checksum. False: no memory, it stays queued. */
static bool begin_leg(struct kvf_engine *e, struct kvf_spill *spill, struct kvf_tier *tier)
{
	struct kvf_spill_leg *leg = &spill->leg[tier->number];
	struct kvf_put *put;

	if (kvf_heap_reserve(&e->timers.puts, e->timers.puts.n + 1))
		return false;
	put = kvf_mem_zalloc(&e->mem, sizeof(*put));
	if (!put)
		return false;
	put->spill = spill;
	put->tier = tier->number;
	leg->put = put;
	tier->n_spills++;
	tier->stats.queued_spills--;
	kvf_list_remove(&leg->link);
	kvf_heap_set(&e->timers.puts, &put->deadline, kvf_sat_add(e->clock.now_ns, SPILL_TIMEOUT_NS));
	kvf_entry_pin(e, spill->entry);
	if (spill->summed) {
		struct kvf_record rec;

		kvf_entry_record(e, spill->entry, &rec);
		build_put(e, spill, put, &rec);
		leg->state = KVF_SPILL_SEALED;
		kvf_list_push_back(&tier->sealed, &leg->link);
	} else {
		leg->state = KVF_SPILL_SUMMING;
		spill->sum.owner = KVF_SUM_SPILL;
		if (!kvf_list_linked(&spill->sum.link))
			kvf_list_push_back(&e->sums, &spill->sum.link);
	}
	return true;
}

bool kvf_spills_full(const struct kvf_engine *e)
{
	uint32_t n = 0;

	for (uint32_t t = 0; t < e->n_tiers; t++)
		n += e->tier[t].n_spills;
	return n >= e->cap_spilling;
}

void kvf_spill_pump(struct kvf_engine *e, struct kvf_tier *tier)
{
	if (kvf_list_empty(&tier->puts))
		return;
	if (kvf_spills_moot(e, tier)) {
		kvf_spill_drop_some(e, tier);
		return;
	}
	/* A probe is out: what is queued waits for its answer. */
	if (e->clock.now_ns < tier->spill_retry_ns || tier->breaker.state == KVF_BREAKER_PROBING)
		return;
	while (tier->n_spills < tier->cap_spills && !kvf_spills_full(e) && !kvf_list_empty(&tier->puts)) {
		struct kvf_spill_leg *leg = kvf_list_entry(tier->puts.next, struct kvf_spill_leg, link);

		if (!kvf_bucket_take(&e->spill_rate, e->clock.now_ns, e->payload_bytes))
			return;
		e->spill_turn = tier->number + 1u;
		if (!begin_leg(e, kvf_container_of(leg - tier->number, struct kvf_spill, leg[0]), tier)) {
			tier->spill_retry_ns = kvf_sat_add(e->clock.now_ns, SPILL_RETRY_NS);
			return;
		}
	}
}

void kvf_spill_summed(struct kvf_engine *e, struct kvf_spill *spill, uint64_t sum)
{
	struct kvf_record rec;

	spill->summed = true;
	spill->checksum = sum;
	kvf_entry_record(e, spill->entry, &rec);
	rec.checksum = sum;
	kvf_record_seal(kvf_pool_addr(&e->pool, kvf_index_entry(&e->index, spill->entry)->slot), &rec);
	for (uint8_t t = 0; t < e->n_tiers; t++) {
		struct kvf_spill_leg *leg = &spill->leg[t];

		if (leg->state != KVF_SPILL_SUMMING)
			continue;
		leg->state = KVF_SPILL_SEALED;
		build_put(e, spill, leg->put, &rec);
		kvf_list_push_back(&e->tier[t].sealed, &leg->link);
	}
}

void kvf_spill_refused(struct kvf_engine *e, struct kvf_spill *spill, uint8_t tier)
{
	uint32_t entry = spill->entry;

	e->tier[tier].stats.dropped_spills++;
	free_put(e, spill->leg[tier].put);
	spill->leg[tier].put = NULL;
	end_leg(e, spill, tier, false);
	kvf_entry_unpin(e, entry);
}

void kvf_spill_done(struct kvf_engine *e, struct kvf_put *put)
{
	struct kvf_spill *spill = put->spill;
	uint32_t entry = spill->entry;
	uint8_t tier = put->tier;
	bool ok = put->req.status == KVF_OK && !put->orphan && !put->removed;

	if (ok) {
		e->tier[tier].stats.puts++;
		e->tier[tier].stats.put_bytes += put->req.payload_bytes;
	} else {
		e->tier[tier].stats.dropped_spills++;
	}
	free_put(e, put);
	spill->leg[tier].put = NULL;
	end_leg(e, spill, tier, ok);
	kvf_entry_unpin(e, entry);
}

void kvf_spill_late(struct kvf_engine *e, struct kvf_put *put)
{
	struct kvf_spill *spill = put->spill;
	struct kvf_tier *tier = &e->tier[put->tier];

	if (spill->leg[put->tier].state != KVF_SPILL_SENT || put->req.completed) {
		/* Still ours: nothing has seen it. Or ours again. A later look at the clock is soon enough. */
		kvf_heap_set(&e->timers.puts, &put->deadline, kvf_sat_add(e->clock.now_ns, SPILL_TIMEOUT_NS));
		return;
	}
	put->orphan = true;
	tier->n_orphans++;
	tier->stats.orphaned++;
	e->n_quarantined++;
	kvf_heap_remove(&e->timers.puts, &put->deadline);
	answer_waiters(e, spill, put->tier, false, true);
	wake_flushes(e);
	kvf_tier_late(e, tier, KVF_HIST_PUT);
	kvf_tier_cancel(tier, &put->req);
}

/* ---- checksums, in slices ---- */

static uint32_t sum_entry(struct kvf_engine *e, struct kvf_sum *sum)
{
	switch (sum->owner) {
	case KVF_SUM_FILL:
		return kvf_container_of(sum, struct kvf_fill, sum)->entry;
	case KVF_SUM_SPILL:
		return kvf_container_of(sum, struct kvf_spill, sum)->entry;
	case KVF_SUM_MOVE:
		return kvf_container_of(sum, struct kvf_move, sum)->entry;
	default:
		return e->scrubber.entry;
	}
}

static const uint8_t *sum_payload(struct kvf_engine *e, struct kvf_sum *sum, uint64_t *bytes)
{
	uint32_t entry = sum_entry(e, sum);
	struct kvf_record rec;

	if (sum->owner == KVF_SUM_FILL) {
		*bytes = kvf_container_of(sum, struct kvf_fill, sum)->req.payload_bytes;
	} else {
		kvf_entry_record(e, entry, &rec);
		*bytes = rec.payload_bytes;
	}
	return kvf_pool_addr(&e->pool, kvf_index_entry(&e->index, entry)->slot) + KVF_SLOT_HEADER_BYTES;
}

static void summed(struct kvf_engine *e, struct kvf_sum *sum, uint64_t value)
{
	switch (sum->owner) {
	case KVF_SUM_FILL:
		kvf_fill_summed(e, kvf_container_of(sum, struct kvf_fill, sum), value);
		break;
	case KVF_SUM_SPILL:
		kvf_spill_summed(e, kvf_container_of(sum, struct kvf_spill, sum), value);
		break;
	case KVF_SUM_MOVE:
		kvf_scrub_move_summed(e, kvf_container_of(sum, struct kvf_move, sum), value);
		break;
	default:
		kvf_scrub_summed(e, value);
	}
}

bool kvf_sums_step(struct kvf_engine *e, uint64_t budget)
{
	while (budget && !kvf_list_empty(&e->sums)) {
		struct kvf_sum *sum = kvf_list_entry(e->sums.next, struct kvf_sum, link);
		const uint8_t *payload;
		uint64_t bytes, n;

		payload = sum_payload(e, sum, &bytes);
		if (!sum->done)
			kvf_checksum_begin(e->summer);
		n = kvf_min_u64(bytes - sum->done, budget);
		kvf_checksum_add(e->summer, payload + sum->done, n);
		sum->done += n;
		budget -= n;
		if (sum->done < bytes)
			break;
		kvf_list_remove(&sum->link);
		summed(e, sum, kvf_checksum_end(e->summer));
	}
	return !kvf_list_empty(&e->sums);
}
