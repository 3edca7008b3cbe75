/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scrubbing RAM. By default RAM is trusted, and a checksum is computed when a chunk leaves it. kvf_scrub always:
 * computed when a chunk is stored, checked before each retrieve. kvf_scrub idle: resident chunks are walked slowly;
 * the first visit remembers the checksum, later ones check it.
 */
#include "engine/engine.h"

enum { SCRUB_OFF = 0, SCRUB_IDLE, SCRUB_ALWAYS };

#define IDLE_PAUSE_NS (10 * KVF_NS_PER_MS) /* between two chunks */

static void remember(struct kvf_engine *e, uint32_t entry, struct kvf_record *rec, uint64_t sum)
{
	rec->checksum = sum;
	kvf_record_seal(kvf_pool_addr(&e->pool, kvf_index_entry(&e->index, entry)->slot), rec);
}

/* The chunk in RAM is not what it was: away with it. */
static void damaged(struct kvf_engine *e, uint32_t entry)
{
	e->stats.corrupt_chunks++;
	kvf_log_limited(&e->log, &e->corrupt_limit, e->clock.now_ns, KVF_LOG_ERROR, "scrub",
			"a chunk in RAM changed: dropped; this machine's memory may be faulty");
	if (kvf_index_entry(&e->index, entry)->state == KVF_ENTRY_RESIDENT)
		kvf_entry_drop(e, entry, KVF_EVENT_EVICTED);
}

bool kvf_scrub_move(struct kvf_engine *e, struct kvf_move *move)
{
	if (e->scrub != SCRUB_ALWAYS || move->summed)
		return false;
	move->state = KVF_MOVE_SUMMING;
	move->sum.owner = KVF_SUM_MOVE;
	move->sum.done = 0;
	kvf_list_push_back(&e->sums, &move->sum.link);
	return true;
}

void kvf_scrub_move_summed(struct kvf_engine *e, struct kvf_move *move, uint64_t sum)
{
	struct kvf_record rec;

	kvf_entry_record(e, move->entry, &rec);
	move->summed = true;
	move->state = move->owns_fill ? KVF_MOVE_DONE : KVF_MOVE_READY;
	if (move->owns_fill || !rec.checksum) {
		remember(e, move->entry, &rec, sum);
	} else if (rec.checksum != sum) {
		move->state = KVF_MOVE_FAILED;
		move->reason = KVF_REASON_CORRUPT;
		move->status = KVF_ECORRUPT;
		damaged(e, move->entry);
	}
	kvf_job_ready(e, move->job);
}

static bool next_entry(struct kvf_engine *e)
{
	uint32_t scanned = 0;

	while (scanned++ < KVF_TURN_SCAN && scanned <= e->index.used) {
		uint32_t entry = e->scrubber.cursor++;

		if (e->scrubber.cursor >= e->index.used)
			e->scrubber.cursor = 0;
		/* What is on its way down is being summed already. */
		if (entry < e->index.used && kvf_index_entry(&e->index, entry)->state == KVF_ENTRY_RESIDENT &&
		    !kvf_index_entry(&e->index, entry)->pins) {
			e->scrubber.entry = entry;
			return true;
		}
	}
	return false;
}

uint64_t kvf_scrub_deadline(const struct kvf_engine *e)
{
	return e->scrub == SCRUB_IDLE && e->n_resident ? e->scrubber.next_ns : KVF_NEVER;
}

void kvf_scrub_turn(struct kvf_engine *e)
{
	if (kvf_scrub_deadline(e) > e->clock.now_ns || !kvf_list_empty(&e->sums))
		return;
	e->scrubber.next_ns = e->clock.now_ns + IDLE_PAUSE_NS;
	if (!next_entry(e))
		return;
	kvf_entry_pin(e, e->scrubber.entry);
	e->scrubber.sum.owner = KVF_SUM_SCRUB;
	e->scrubber.sum.done = 0;
	kvf_list_push_back(&e->sums, &e->scrubber.sum.link);
}

void kvf_scrub_summed(struct kvf_engine *e, uint64_t sum)
{
	uint32_t entry = e->scrubber.entry;
	struct kvf_record rec;

	kvf_entry_record(e, entry, &rec);
	if (!rec.checksum)
		remember(e, entry, &rec, sum);
	else if (rec.checksum != sum)
		damaged(e, entry);
	kvf_entry_unpin(e, entry);
}
