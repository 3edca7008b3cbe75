/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tiers as the engine drives them: queues of requests by urgency, batches, completions, breakers. A tier never calls
 * a job: it queues its completions, and the turn takes them from here.
 */
#include "engine/engine.h"

#include <string.h>

#include "base/bytes.h"

#define PATIENCE_NS (100 * KVF_NS_PER_MS) /* a tier that says nothing for so long has failed to answer */

/* ---- what a tier is offered ---- */

static struct kvf_tier *tier_of(struct kvf_tier_host *host)
{
	return kvf_container_of(host, struct kvf_tier, host);
}

static void host_complete(struct kvf_tier_host *host, struct kvf_tier_req *req, int status)
{
	struct kvf_tier *tier = tier_of(host);

	req->status = status;
	req->completed = 1;
	req->link = NULL;
	if (tier->done_tail)
		tier->done_tail->link = req;
	else
		tier->done_head = req;
	tier->done_tail = req;
}

static void host_gone(struct kvf_tier_host *host, const uint8_t key[16])
{
	struct kvf_tier *tier = tier_of(host);
	struct kvf_engine *e = tier->engine;
	uint8_t whole[KVF_KEY_BYTES] = { 0 };
	struct kvf_fill *fill;
	uint32_t entry;

	memcpy(whole, key, 16);
	entry = kvf_index_find(&e->index, whole);
	if (entry == KVF_NIL)
		return;
	kvf_index_entry(&e->index, entry)->tiers_have &= (uint8_t)~(1u << tier->number);
	fill = kvf_index_entry(&e->index, entry)->state == KVF_ENTRY_FILLING ? kvf_fill_of(e, entry) : NULL;
	if (fill && fill->tier == tier)
		fill->removed = true;
}

static uint64_t host_now(struct kvf_tier_host *host)
{
	return tier_of(host)->engine->clock.now_ns;
}

static int host_watch(struct kvf_tier_host *host, struct kvf_watch *watch, int fd, unsigned events)
{
	return kvf_loop_watch(&tier_of(host)->engine->loop, watch, fd, events);
}

static void *host_alloc(struct kvf_tier_host *host, size_t n)
{
	return kvf_mem_alloc(&tier_of(host)->engine->mem, n);
}

static void host_release(struct kvf_tier_host *host, void *p, size_t n)
{
	kvf_mem_free(&tier_of(host)->engine->mem, p, n);
}

static void host_log(struct kvf_tier_host *host, enum kvf_log_level level, const char *msg)
{
	struct kvf_tier *tier = tier_of(host);

	kvf_log(&tier->engine->log, level, tier->ops->name, "%s", msg);
}

static void init_lists(struct kvf_tier *tier)
{
	kvf_list_init(&tier->asks);
	kvf_list_init(&tier->asked);
	for (int k = 0; k < KVF_CLASSES; k++)
		kvf_list_init(&tier->gets[k]);
	kvf_list_init(&tier->puts);
	kvf_list_init(&tier->sealed);
	kvf_list_init(&tier->putting);
	kvf_list_init(&tier->wants[0]);
	kvf_list_init(&tier->wants[1]);
}

int kvf_tier_add(struct kvf_engine *e, const struct kvf_tier_ops *ops, void *self, uint32_t bit,
		 const struct kvf_open_params *params)
{
	struct kvf_tier *tier = &e->tier[e->n_tiers];
	struct kvf_tier_open open = {
		.size = sizeof(open),
		.slot_bytes = e->pool.slot_bytes,
		.payload_bytes = (uint32_t)e->payload_bytes,
		.chunk_tokens = e->chunk_size,
		.world_size = params->identity.world_size,
		.rank = params->identity.rank,
		.model = e->model,
	};
	int rc;

	memcpy(open.fingerprint, e->fingerprint, sizeof(open.fingerprint));
	tier->engine = e;
	tier->ops = ops;
	tier->self = self;
	tier->bit = bit;
	tier->number = (uint8_t)e->n_tiers;
	tier->host = (struct kvf_tier_host){ .size = sizeof(tier->host),
					     .complete = host_complete,
					     .now_ns = host_now,
					     .watch = host_watch,
					     .alloc = host_alloc,
					     .release = host_release,
					     .log = host_log,
					     .report = params->report,
					     .wire_name = kvf_wire_host_name,
					     .wire_older = kvf_wire_host_older,
					     .wire_meta = kvf_wire_host_meta,
					     .wire_payload = kvf_wire_host_payload,
					     .gone = host_gone };
	init_lists(tier);
	/* Ranks, restarts and tiers differ, the same simulation does not. */
	kvf_breaker_init(&tier->breaker,
			 kvf_load_u64(e->fingerprint) ^ e->clock.now_ns ^ (uint64_t)tier->number << 32);
	rc = ops->open(self, &tier->host, &open, &tier->caps);
	tier->host.report = NULL;
	if (rc)
		return rc;
	tier->open = true;
	e->n_tiers++;
	return kvf_metrics_tier(e, tier);
}

void kvf_tiers_close(struct kvf_engine *e)
{
	while (e->n_tiers) {
		struct kvf_tier *tier = &e->tier[--e->n_tiers];

		/* Left when the engine closes without another turn. */
		while (tier->open && !kvf_list_empty(&tier->asks))
			kvf_ask_free(e, kvf_list_entry(tier->asks.next, struct kvf_ask, link));
		if (tier->open)
			tier->ops->close(tier->self);
		tier->open = false;
	}
}

/* ---- judging ---- */

void kvf_tier_result(struct kvf_engine *e, struct kvf_tier *tier, int status)
{
	if (status == KVF_ECANCELED) {
		kvf_breaker_forget(&tier->breaker);
		return;
	}
	/* Absent, full, another's bytes, or nothing it could ever keep: the tier itself works. */
	if (status == KVF_OK || status == KVF_ENOENT || status == KVF_ENOSPC || status == KVF_ECORRUPT ||
	    status == KVF_ENOTSUP || status == KVF_EQUOTA) {
		if (kvf_breaker_succeed(&tier->breaker)) {
			kvf_log(&e->log, KVF_LOG_WARNING, tier->ops->name, "tier is back");
			kvf_event_tier(e, tier, true);
		}
		return;
	}
	tier->stats.errors++;
	if (!kvf_breaker_fail(&tier->breaker, e->clock.now_ns))
		return;
	kvf_log(&e->log, KVF_LOG_WARNING, tier->ops->name,
		"tier switched off after %d failures in a row (last: %s); probing again in %llu ms",
		KVF_BREAKER_TRIP, kvf_strerror(status),
		(unsigned long long)(tier->breaker.backoff_ns / KVF_NS_PER_MS));
	kvf_event_tier(e, tier, false);
}

static enum kvf_tier_hist kind_of(const struct kvf_tier_req *req)
{
	return req->kind == KVF_REQ_GET ? KVF_HIST_GET : req->kind == KVF_REQ_PUT ? KVF_HIST_PUT : KVF_HIST_ASK;
}

void kvf_tier_late(struct kvf_engine *e, struct kvf_tier *tier, enum kvf_tier_hist kind)
{
	tier->stats.timeouts++;
	/* Who waits no longer than this, or only for his turn, says nothing about the tier. */
	if (e->clock.now_ns >= tier->owed_ns[kind] + PATIENCE_NS)
		kvf_tier_result(e, tier, KVF_ETIMEDOUT);
}

void kvf_ask_free(struct kvf_engine *e, struct kvf_ask *ask)
{
	kvf_list_remove(&ask->link);
	kvf_wire_suffix_unref(&e->mem, ask->suffix);
	kvf_mem_free(&e->mem, ask, sizeof(*ask));
}

void kvf_req_fill_common(struct kvf_engine *e, struct kvf_tier_req *req, const struct kvf_job *job, uint32_t chunk)
{
	memcpy(req->key, kvf_job_key(job, chunk), sizeof(req->key));
	memcpy(req->parent, kvf_job_parent_key(job, chunk), sizeof(req->parent));
	req->priority = job->priority;
	req->n_tokens = kvf_job_chunk_tokens(e, job, chunk);
	req->deadline_ns = job->deadline_ns;
	req->depth = chunk;
	kvf_wire_fill(e, req, job, chunk);
}

/* ---- sending ---- */

/* A queue of requests: how to get from a node to its request, and what to do when it is sent or refused. */
struct queue {
	struct kvf_list *head;
	enum kvf_req_owner owner;
};

static struct kvf_tier_req *req_at(struct kvf_tier *tier, const struct queue *q, struct kvf_list *node)
{
	switch (q->owner) {
	case KVF_OWNER_ASK:
		return &kvf_list_entry(node, struct kvf_ask, link)->req;
	case KVF_OWNER_FILL:
		return &kvf_list_entry(node, struct kvf_fill, link)->req;
	default:
		(void)tier;
		return &kvf_list_entry(node, struct kvf_spill_leg, link)->put->req;
	}
}

static void mark_sent(struct kvf_engine *e, struct kvf_tier *tier, const struct queue *q, struct kvf_tier_req *req)
{
	tier->in_flight++;
	e->n_requests++;
	if (!tier->owed[kind_of(req)]++)
		tier->owed_ns[kind_of(req)] = e->clock.now_ns;
	switch (q->owner) {
	case KVF_OWNER_ASK: {
		struct kvf_ask *ask = kvf_container_of(req, struct kvf_ask, req);

		kvf_list_remove(&ask->link);
		kvf_list_push_back(&tier->asked, &ask->link);
		ask->sent = true;
		ask->sent_ns = e->clock.now_ns;
		break;
	}
	case KVF_OWNER_FILL: {
		struct kvf_fill *fill = kvf_container_of(req, struct kvf_fill, req);

		kvf_list_remove(&fill->link);
		fill->sent = true;
		fill->sent_ns = e->clock.now_ns;
		tier->stats.gets++;
		break;
	}
	default: {
		struct kvf_put *put = kvf_container_of(req, struct kvf_put, req);
		struct kvf_spill_leg *leg = &put->spill->leg[put->tier];

		kvf_list_remove(&leg->link);
		kvf_list_push_back(&tier->putting, &leg->link);
		leg->state = KVF_SPILL_SENT;
		put->sent_ns = e->clock.now_ns;
		kvf_heap_set(&e->timers.puts, &put->deadline, put->req.deadline_ns);
	}
	}
	kvf_timeline_async(&e->timeline, KVF_ROW_TIER + tier->number, 'b',
			   req->kind == KVF_REQ_PUT ? "put" :
			   req->kind == KVF_REQ_GET ? "get" :
						      "ask",
			   e->clock.now_ns, (uint64_t)(uintptr_t)req, req->payload_bytes);
}

static void refuse(struct kvf_engine *e, struct kvf_tier *tier, const struct queue *q, struct kvf_tier_req *req)
{
	switch (q->owner) {
	case KVF_OWNER_ASK:
		req->status = KVF_EIO;
		kvf_plan_answer(e, kvf_container_of(req, struct kvf_ask, req));
		break;
	case KVF_OWNER_FILL:
		kvf_fill_fail(e, kvf_container_of(req, struct kvf_fill, req), KVF_REASON_TIER, KVF_EIO);
		break;
	default:
		kvf_spill_refused(e, kvf_container_of(req, struct kvf_put, req)->spill, tier->number);
	}
}

/* Sends one queue as far as breaker, tier and the turn's budget allow. False: the tier is full. */
static bool send_queue(struct kvf_engine *e, struct kvf_tier *tier, const struct queue *q)
{
	struct kvf_tier_req *batch[KVF_TIER_BATCH];
	uint32_t sent = 0;

	while (!kvf_list_empty(q->head) && (q->owner != KVF_OWNER_ASK || sent < KVF_TURN_ASKS)) {
		unsigned n = 0, taken;
		struct kvf_list *node;

		if (tier->off || !kvf_breaker_allows(&tier->breaker, e->clock.now_ns)) {
			/* Switched off. Or a probe is out: the rest is refused too, nobody shall wait for it. */
			refuse(e, tier, q, req_at(tier, q, q->head->next));
			continue;
		}
		kvf_list_for_each(node, q->head) {
			if (n == KVF_TIER_BATCH || (tier->breaker.state == KVF_BREAKER_PROBING && n == 1))
				break;
			batch[n++] = req_at(tier, q, node);
		}
		/* What the tier completes inside submit() only lines up: marking what it took is soon enough. */
		taken = tier->ops->submit(tier->self, batch, n);
		KVF_CHECK(e, taken <= n);
		sent += taken;
		for (unsigned i = 0; i < taken && i < n; i++)
			mark_sent(e, tier, q, batch[i]);
		if (taken < n) {
			if (!taken)
				kvf_breaker_forget(&tier->breaker);
			return false;
		}
	}
	return true;
}

/* A tier that is full for one kind of request may still take another. */
static void send_all(struct kvf_engine *e, struct kvf_tier *tier)
{
	const struct queue queues[] = {
		{ &tier->asks, KVF_OWNER_ASK },
		{ &tier->gets[KVF_CLASS_RETRIEVE], KVF_OWNER_FILL },
		{ &tier->gets[KVF_CLASS_PREFETCH], KVF_OWNER_FILL },
		{ &tier->sealed, KVF_OWNER_SPILL },
	};
	unsigned full = 0;

	for (size_t i = 0; i < KVF_ARRAY_LEN(queues); i++)
		if (!(full & 1u << queues[i].owner) && !send_queue(e, tier, &queues[i]))
			full |= 1u << queues[i].owner;
	tier->backlog = full;
}

void kvf_tier_cancel(struct kvf_tier *tier, struct kvf_tier_req *req)
{
	/* A cancel may complete more than its own request, and that is looked at in the next turn only. */
	if (tier->ops->cancel && !req->completed)
		tier->ops->cancel(tier->self, req);
}

void kvf_tier_withdraw(struct kvf_tier *tier)
{
	struct kvf_list *node;

	if (!(tier->caps & KVF_TIER_SHARED) || !tier->ops->cancel)
		return;
	/* The last ones sent are last in their list: before one that was withdrawn, all were. A cancel only lines up
	 * completions: nothing leaves these lists meanwhile. */
	for (node = tier->asked.prev; node != &tier->asked; node = node->prev) {
		struct kvf_ask *ask = kvf_list_entry(node, struct kvf_ask, link);

		tier->looks++;
		if (ask->withdrawn)
			break;
		ask->withdrawn = true;
		if (ask->req.kind == KVF_REQ_EXISTS)
			kvf_tier_cancel(tier, &ask->req);
	}
	for (node = tier->putting.prev; node != &tier->putting; node = node->prev) {
		struct kvf_put *put = kvf_list_entry(node, struct kvf_spill_leg, link)->put;

		tier->looks++;
		if (put->withdrawn)
			break;
		put->withdrawn = true;
		kvf_tier_cancel(tier, &put->req);
	}
}

/* ---- completions ---- */

/* A chunk that is in RAM and was removed below must not be taken for stored there: whatever the answer was, it may be
 * gone. */
static void forget(struct kvf_engine *e, const struct kvf_tier *tier, const struct kvf_tier_req *req)
{
	uint32_t entry = kvf_index_find(&e->index, req->key);
	struct kvf_spill *spill;
	struct kvf_entry *en;

	if (entry == KVF_NIL)
		return;
	en = kvf_index_entry(&e->index, entry);
	en->tiers_have &= (uint8_t)~(1u << tier->number);
	/* What is on its way up or down at the same time may have come before the remove. */
	if (en->state == KVF_ENTRY_FILLING) {
		if (kvf_fill_of(e, entry)->tier == tier)
			kvf_fill_of(e, entry)->removed = true;
		return;
	}
	spill = kvf_spill_of(e, entry);
	if (spill && spill->leg[tier->number].state == KVF_SPILL_SENT)
		spill->leg[tier->number].put->removed = true;
}

static void take_done(struct kvf_engine *e, struct kvf_tier *tier)
{
	while (tier->done_head) {
		struct kvf_tier_req *req = tier->done_head;

		tier->done_head = req->link;
		if (!tier->done_head)
			tier->done_tail = NULL;
		KVF_CHECK(e, tier->in_flight > 0);
		tier->in_flight--;
		tier->owed[kind_of(req)]--;
		if (req->status != KVF_ECANCELED)
			tier->owed_ns[kind_of(req)] = e->clock.now_ns;
		/* It has room again: what it did not take is worth another try, whoever wakes us. */
		tier->backlog = false;
		e->n_requests--;
		kvf_timeline_async(&e->timeline, KVF_ROW_TIER + tier->number, 'e', "", e->clock.now_ns,
				   (uint64_t)(uintptr_t)req, 0);
		kvf_metrics_request(e, tier, req);
		kvf_tier_result(e, tier, req->status);
		switch (req->kind) {
		case KVF_REQ_GET:
			kvf_load_done(e, kvf_container_of(req, struct kvf_fill, req));
			break;
		case KVF_REQ_PUT:
			kvf_spill_done(e, kvf_container_of(req, struct kvf_put, req));
			break;
		default:
			if (req->kind == KVF_REQ_REMOVE)
				forget(e, tier, req);
			if (req->kind == KVF_REQ_REMOVE && req->status == KVF_OK)
				tier->stats.removes++;
			kvf_plan_answer(e, kvf_container_of(req, struct kvf_ask, req));
		}
	}
}

bool kvf_tier_usable(const struct kvf_engine *e, const struct kvf_tier *tier)
{
	return !tier->off && kvf_breaker_would_allow(&tier->breaker, e->clock.now_ns);
}

/* When a queued spill may begin, as far as its rate and memory go. One that waits for a place, or for the answer to a
 * probe, needs no look. */
static uint64_t spill_due_ns(const struct kvf_engine *e, const struct kvf_tier *tier)
{
	if (kvf_list_empty(&tier->puts))
		return KVF_NEVER;
	if (kvf_spills_moot(e, tier))
		return 0;
	if (tier->n_spills >= tier->cap_spills || kvf_spills_full(e) || tier->breaker.state == KVF_BREAKER_PROBING)
		return KVF_NEVER;
	return kvf_max_u64(tier->spill_retry_ns, kvf_bucket_ready_ns(&e->spill_rate, e->clock.now_ns));
}

static bool has_queue(const struct kvf_engine *e, const struct kvf_tier *tier)
{
	return !kvf_list_empty(&tier->asks) || !kvf_list_empty(&tier->gets[KVF_CLASS_RETRIEVE]) ||
	       !kvf_list_empty(&tier->gets[KVF_CLASS_PREFETCH]) || !kvf_list_empty(&tier->sealed) ||
	       spill_due_ns(e, tier) <= e->clock.now_ns;
}

bool kvf_tiers_turn(struct kvf_engine *e)
{
	uint32_t first = e->spill_turn;
	bool more = false;

	for (uint32_t t = 0; t < e->n_tiers; t++)
		kvf_spill_pump(e, &e->tier[(first + t) % e->n_tiers]);
	for (uint32_t t = 0; t < e->n_tiers; t++) {
		struct kvf_tier *tier = &e->tier[t];
		uint64_t due = tier->ops->next_deadline_ns ? tier->ops->next_deadline_ns(tier->self) : KVF_NEVER;

		send_all(e, tier);
		/* What it has to do may be its own alone: a connection that is greeted serves nobody yet. */
		if (tier->in_flight || tier->more || due <= e->clock.now_ns)
			tier->more = tier->ops->progress(tier->self, e->clock.now_ns, KVF_TURN_TIER_BYTES) > 0;
		more |= tier->more;
		take_done(e, tier);
	}
	return more;
}

uint64_t kvf_tiers_deadline(const struct kvf_engine *e)
{
	uint64_t at = KVF_NEVER;

	for (uint32_t t = 0; t < e->n_tiers; t++) {
		const struct kvf_tier *tier = &e->tier[t];

		if (tier->done_head || (!tier->backlog && has_queue(e, tier)))
			return 0;
		at = kvf_min_u64(at, spill_due_ns(e, tier));
		if (tier->ops->next_deadline_ns)
			at = kvf_min_u64(at, tier->ops->next_deadline_ns(tier->self));
	}
	return at;
}

bool kvf_tiers_turn_dead(struct kvf_engine *e)
{
	bool more = false;

	for (uint32_t t = 0; t < e->n_tiers; t++) {
		struct kvf_tier *tier = &e->tier[t];

		if (tier->in_flight)
			more |= tier->ops->progress(tier->self, e->clock.now_ns, KVF_TURN_TIER_BYTES) > 0;
		for (; tier->done_head; tier->done_head = tier->done_head->link) {
			tier->in_flight--;
			e->n_requests--;
		}
		tier->done_tail = NULL;
	}
	return more;
}

uint64_t kvf_tiers_deadline_dead(const struct kvf_engine *e)
{
	uint64_t at = KVF_NEVER;

	for (uint32_t t = 0; t < e->n_tiers; t++) {
		const struct kvf_tier *tier = &e->tier[t];

		if (tier->in_flight && tier->ops->next_deadline_ns)
			at = kvf_min_u64(at, tier->ops->next_deadline_ns(tier->self));
	}
	return at;
}
