/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fills: what brings bytes into an entry's slot, a store's gather or a tier's get. A fill belongs to the entry; moves
 * of any number of operations wait on it (single flight), and the last one to leave a get cancels it.
 *
 * A get that nobody waits for any more, but whose tier may still write into the slot, is an orphan: its entry is out
 * of the index and its slot in quarantine until the tier completes.
 */
#include "engine/engine.h"

#include <string.h>

struct kvf_fill *kvf_fill_of(struct kvf_engine *e, uint32_t entry)
{
	return kvf_slab_at(&e->fills, kvf_index_entry(&e->index, entry)->xfer);
}

static void free_fill(struct kvf_engine *e, struct kvf_fill *fill)
{
	KVF_CHECK(e, !kvf_list_linked(&fill->sum.link));
	kvf_list_remove(&fill->link);
	kvf_wire_suffix_unref(&e->mem, fill->suffix);
	kvf_slab_free(&e->fills, fill->number);
}

static void note_wire(struct kvf_engine *e, struct kvf_record *rec, const struct kvf_job *job, uint32_t chunk)
{
	const uint8_t *wire = kvf_job_wire(job, chunk);

	if (!wire)
		return;
	memcpy(rec->wire, wire, e->wire.seqs.bytes);
	rec->wire_len = e->wire.seqs.bytes;
	if (job->suffix) {
		rec->suffix = job->suffix->text;
		rec->suffix_n = job->suffix->n;
	}
}

/* The header page: all there is to know about the chunk but its checksum. */
static void write_header(struct kvf_engine *e, const struct kvf_job *job, uint32_t chunk, uint32_t slot)
{
	struct kvf_record rec = { .depth = chunk };

	memcpy(rec.key, kvf_job_key(job, chunk), sizeof(rec.key));
	memcpy(rec.parent, kvf_job_parent_key(job, chunk), sizeof(rec.parent));
	memcpy(rec.fingerprint, e->fingerprint, sizeof(rec.fingerprint));
	rec.n_tokens = kvf_job_chunk_tokens(e, job, chunk);
	rec.payload_bytes = e->has_layout ? (uint32_t)kvf_layout_payload_bytes(&e->plan, rec.n_tokens) :
					    (uint32_t)e->payload_bytes;
	note_wire(e, &rec, job, chunk);
	kvf_record_seal(kvf_pool_addr(&e->pool, slot), &rec);
}

uint32_t kvf_fill_begin(struct kvf_engine *e, struct kvf_job *job, uint32_t chunk, uint32_t slot)
{
	uint32_t parent = chunk ? kvf_index_find(&e->index, kvf_job_parent_key(job, chunk)) : KVF_NIL;
	struct kvf_fill *fill;
	struct kvf_entry *en;
	uint32_t entry, number;

	fill = kvf_slab_new(&e->fills, &number);
	if (!fill)
		return KVF_NIL;
	entry = kvf_index_insert(&e->index, kvf_job_key(job, chunk), parent);
	if (entry == KVF_NIL) {
		kvf_slab_free(&e->fills, number);
		return KVF_NIL;
	}
	fill->number = number;
	fill->entry = entry;
	fill->klass = job->klass;
	kvf_list_init(&fill->waiters);
	en = kvf_index_entry(&e->index, entry);
	en->slot = slot;
	en->tenant = (uint8_t)(parent == KVF_NIL ? job->tenant : kvf_index_entry(&e->index, parent)->tenant);
	e->tenant[en->tenant].used++;
	en->n_tokens = kvf_job_chunk_tokens(e, job, chunk);
	en->xfer = number;
	en->pins = 1;
	write_header(e, job, chunk, slot);
	return entry;
}

uint32_t kvf_load_begin(struct kvf_engine *e, struct kvf_job *job, uint32_t chunk, struct kvf_tier *tier, uint32_t slot)
{
	uint32_t entry = kvf_fill_begin(e, job, chunk, slot);
	struct kvf_fill *fill;

	if (entry == KVF_NIL)
		return KVF_NIL;
	fill = kvf_fill_of(e, entry);
	fill->tier = tier;
	kvf_req_fill_common(e, &fill->req, job, chunk);
	fill->req.kind = KVF_REQ_GET;
	fill->req.slot = kvf_pool_addr(&e->pool, slot);
	fill->req.payload_bytes = e->pool.slot_bytes - KVF_SLOT_HEADER_BYTES;
	fill->suffix = job->suffix;
	kvf_wire_suffix_ref(fill->suffix);
	kvf_list_push_back(&tier->gets[fill->klass], &fill->link);
	return entry;
}

void kvf_fill_join(struct kvf_engine *e, struct kvf_move *move, uint32_t entry)
{
	struct kvf_fill *fill = kvf_fill_of(e, entry);
	struct kvf_job *job = move->job;

	if (!kvf_list_empty(&fill->waiters) || !fill->tier)
		e->stats.shared_transfers++;
	move->state = KVF_MOVE_FILLING;
	move->entry = entry;
	move->failed_tier = fill->tier ? fill->tier->number + 1 : 0;
	kvf_list_push_back(&fill->waiters, &move->wait);
	if (!fill->tier)
		return;
	fill->req.deadline_ns = kvf_max_u64(fill->req.deadline_ns, job->deadline_ns);
	if (job->klass < fill->klass) {
		fill->klass = job->klass;
		if (!fill->sent && kvf_list_linked(&fill->link)) {
			kvf_list_remove(&fill->link);
			kvf_list_push_back(&fill->tier->gets[fill->klass], &fill->link);
		}
	}
}

/* Nobody wants the bytes, but the tier may still write them. */
static void orphan(struct kvf_engine *e, struct kvf_fill *fill)
{
	fill->orphan = true;
	fill->tier->n_orphans++;
	fill->tier->stats.orphaned++;
	e->n_quarantined++;
	if (kvf_index_entry(&e->index, fill->entry)->state == KVF_ENTRY_FILLING)
		kvf_entry_drop(e, fill->entry, KVF_EVENT_EVICTED);
	kvf_tier_cancel(fill->tier, &fill->req);
}

void kvf_fill_leave(struct kvf_engine *e, struct kvf_move *move)
{
	struct kvf_fill *fill = kvf_fill_of(e, move->entry);

	kvf_list_remove(&move->wait);
	if (!fill->tier || !kvf_list_empty(&fill->waiters) || fill->orphan)
		return;
	if (fill->sent) {
		/* A deadline that passed is the tier's failure, a cancel is not. */
		if (move->job->stop == KVF_ETIMEDOUT && !fill->req.completed)
			kvf_tier_late(e, fill->tier, KVF_HIST_GET);
		orphan(e, fill);
	} else if (!kvf_list_linked(&fill->sum.link)) {
		kvf_fill_fail(e, fill, KVF_REASON_CANCELED, KVF_ECANCELED);
	}
	/* Else the bytes are here and only their checksum is missing: let it become a cached chunk. */
}

/* Ends the fill: pins to the waiters, its own pin and memory back. */
static void wake_waiters(struct kvf_engine *e, struct kvf_fill *fill, enum kvf_reason reason, int status)
{
	struct kvf_list *node;

	while ((node = kvf_list_pop_front(&fill->waiters))) {
		struct kvf_move *move = kvf_list_entry(node, struct kvf_move, wait);

		if (!status && kvf_entry_crowded(e, move->entry)) {
			move->state = KVF_MOVE_FAILED;
			move->reason = KVF_REASON_CAP;
			move->status = KVF_EQUOTA;
			move->entry = KVF_NIL;
			move->bereft = false;
		} else if (status) {
			move->state = KVF_MOVE_FAILED;
			move->reason = (uint8_t)reason;
			move->status = status;
			move->entry = KVF_NIL;
			move->bereft = !fill->tier;
		} else {
			move->state = KVF_MOVE_READY;
			kvf_entry_pin(e, move->entry);
		}
		kvf_job_ready(e, move->job);
	}
}

static void uncount(struct kvf_engine *e, struct kvf_fill *fill)
{
	if (fill->tier)
		fill->tier->n_loads--;
	else
		e->n_copying--;
}

void kvf_fill_publish(struct kvf_engine *e, struct kvf_fill *fill)
{
	uint32_t entry = fill->entry;
	struct kvf_entry *en = kvf_index_entry(&e->index, entry);

	uncount(e, fill);
	en->xfer = KVF_NIL;
	if (en->state == KVF_ENTRY_FILLING) {
		en->state = KVF_ENTRY_RESIDENT;
		if (fill->tier && !fill->removed)
			en->tiers_have |= (uint8_t)(1u << fill->tier->number);
		if (kvf_evict_insert(kvf_evict_of(e, entry), entry))
			kvf_log_limited(&e->log, &e->drop_limit, e->clock.now_ns, KVF_LOG_WARNING, "evict",
					"no memory for a frequency bucket: chunk kept at the lowest");
		e->n_resident++;
		e->peak_resident = (uint32_t)kvf_max_u64(e->peak_resident, e->n_resident);
		kvf_event_chunk(e, KVF_EVENT_STORED, entry);
	}
	wake_waiters(e, fill, KVF_REASON_NONE, KVF_OK);
	free_fill(e, fill);
	kvf_entry_unpin(e, entry);
}

void kvf_fill_fail(struct kvf_engine *e, struct kvf_fill *fill, enum kvf_reason reason, int status)
{
	uint32_t entry = fill->entry;

	uncount(e, fill);
	kvf_index_entry(&e->index, entry)->xfer = KVF_NIL;
	if (kvf_index_entry(&e->index, entry)->state == KVF_ENTRY_FILLING)
		kvf_entry_drop(e, entry, KVF_EVENT_EVICTED);
	wake_waiters(e, fill, reason, status);
	free_fill(e, fill);
	kvf_entry_unpin(e, entry);
}

/* ---- a get came back ---- */

static void corrupt(struct kvf_engine *e, struct kvf_fill *fill, const char *what)
{
	struct kvf_tier *tier = fill->tier;

	e->stats.corrupt_chunks++;
	tier->stats.corrupt++;
	kvf_log_limited(&e->log, &e->corrupt_limit, e->clock.now_ns, KVF_LOG_WARNING, tier->ops->name,
			"a chunk came back with %s: treated as a miss", what);
	/* A tier that keeps our records would give it back again and again. */
	if (tier->caps & KVF_TIER_RECORDS)
		kvf_plan_forget(e, tier, &fill->req);
	kvf_fill_fail(e, fill, KVF_REASON_CORRUPT, KVF_ECORRUPT);
}

/* It was stored where nobody asked for LMCache's name, or by another algorithm. */
static void name_record(struct kvf_fill *fill, struct kvf_record *rec)
{
	if (!fill->req.wire_len)
		return;
	memcpy(rec->wire, fill->req.wire, sizeof(rec->wire));
	rec->wire_len = fill->req.wire_len;
	rec->suffix = fill->req.wire_suffix;
	rec->suffix_n = fill->req.wire_suffix_n;
	kvf_record_seal(fill->req.slot, rec);
}

/* Takes over what the record says of its payload. NULL: fine; else what is wrong. */
static const char *judge_record(struct kvf_engine *e, struct kvf_fill *fill)
{
	const struct kvf_entry *en = kvf_index_entry(&e->index, fill->entry);
	struct kvf_record rec;
	uint32_t room = e->pool.slot_bytes - KVF_SLOT_HEADER_BYTES;

	if (kvf_record_check(fill->req.slot, room, &rec))
		return "a damaged header";
	if (memcmp(rec.key, fill->req.key, sizeof(rec.key)) != 0)
		return "another chunk's key";
	if (memcmp(rec.fingerprint, e->fingerprint, sizeof(rec.fingerprint)) != 0)
		return "another engine's identity";
	if (rec.n_tokens != en->n_tokens)
		return "another number of tokens";
	if (e->has_layout && rec.payload_bytes != kvf_layout_payload_bytes(&e->plan, rec.n_tokens))
		return "another payload size";
	fill->req.payload_bytes = rec.payload_bytes;
	fill->expect = rec.checksum;
	if (rec.wire_len != fill->req.wire_len)
		name_record(fill, &rec);
	return NULL;
}

static void judge(struct kvf_engine *e, struct kvf_fill *fill)
{
	const struct kvf_entry *en = kvf_index_entry(&e->index, fill->entry);
	const char *wrong = NULL;

	if (fill->tier->caps & KVF_TIER_RECORDS)
		wrong = judge_record(e, fill);
	else if (e->has_layout && fill->req.payload_bytes != kvf_layout_payload_bytes(&e->plan, en->n_tokens))
		wrong = "a wrong length";
	else
		fill->expect = fill->req.checksum;
	if (wrong) {
		corrupt(e, fill, wrong);
		return;
	}
	if (!(fill->tier->caps & KVF_TIER_RECORDS) && (!fill->req.has_checksum || fill->req.checked)) {
		fill->tier->stats.unverified += !fill->req.has_checksum;
		kvf_fill_publish(e, fill);
		return;
	}
	fill->sum.owner = KVF_SUM_FILL;
	kvf_list_push_back(&e->sums, &fill->sum.link);
}

void kvf_load_done(struct kvf_engine *e, struct kvf_fill *fill)
{
	struct kvf_tier *tier = fill->tier;
	int status = fill->req.status;

	fill->sent = false;
	if (fill->orphan) {
		uint32_t entry = fill->entry;

		tier->n_orphans--;
		e->n_quarantined--;
		uncount(e, fill);
		free_fill(e, fill);
		kvf_entry_unpin(e, entry);
		return;
	}
	if (status == KVF_ENOENT) {
		tier->stats.get_misses++;
		kvf_fill_fail(e, fill, KVF_REASON_MISS, status);
	} else if (status) {
		tier->stats.stale += status == KVF_ECORRUPT;
		kvf_fill_fail(e, fill, status == KVF_ECORRUPT ? KVF_REASON_CORRUPT : KVF_REASON_TIER, status);
	} else {
		tier->stats.get_bytes += fill->req.payload_bytes;
		judge(e, fill);
	}
}

void kvf_fill_summed(struct kvf_engine *e, struct kvf_fill *fill, uint64_t sum)
{
	if (sum != fill->expect)
		corrupt(e, fill, "a wrong checksum");
	else
		kvf_fill_publish(e, fill);
}
