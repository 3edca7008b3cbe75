/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests: one operation in flight each, as a small state machine that kvferry's completions
 * drive.
 *
 *   load      LOOKUP -> RETRIEVE -> idle   all of it is in RAM
 *             LOOKUP -> FILL -> idle       some is below: brought to RAM, copied behind as it comes
 *   prefetch  PREFETCH -> idle
 *   store     STORE -> idle
 *
 * A retrieve alone would do as well, but copies chunks as they arrive. llama.cpp puts them into
 * cells in that order, and sums over the cells in another order are other floating point numbers: a
 * fill keeps the order of the prompt.
 *
 * The lookup leases what it found in RAM, so that nothing of it is evicted before it is copied; so
 * does the fill.
 */
#include "llama_kv_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEASE_NS 30000000000u

static int refused(struct lkv *kv, int status, const char *what)
{
	snprintf(kv->error, sizeof(kv->error), "%s: %s: %s", what, kvf_strerror(status),
		kv->engine ? kvf_error_detail(kv->engine) : "no engine");
	return status;
}

/* ---- opening ---- */

static int open_tokens(
	struct lkv *kv, const struct lkv_request_params *params, struct lkv_request *r)
{
	struct kvf_seq_params sp;

	if (!kv->engine)
		return KVF_OK;
	kvf_seq_params_init(&sp);
	sp.request_id = params->request_id;
	sp.salt = params->salt;
	return kvf_seq_open(kv->engine, &sp, &r->tokens);
}

int lkv_request_open(
	struct lkv *kv, const struct lkv_request_params *params, struct lkv_request **out)
{
	struct lkv_request *r;
	int rc;

	if (params->seq < -1 || params->seq >= (llama_seq_id)kv->n_seq) {
		snprintf(kv->error, sizeof(kv->error), "seq: it is %d, must be -1..%" PRIu32,
			(int)params->seq, kv->n_seq - 1);
		return KVF_ERANGE;
	}
	r = calloc(1, sizeof(*r));
	if (!r)
		return KVF_ENOMEM;
	rc = open_tokens(kv, params, r);
	if (rc) {
		free(r);
		return refused(kv, rc, "a request");
	}
	r->kv = kv;
	r->seq = params->seq;
	r->on_event = params->on_event;
	r->user = params->user;
	r->next = kv->requests;
	kv->requests = r;
	*out = r;
	return KVF_OK;
}

int lkv_request_append(struct lkv_request *r, const llama_token *tokens, size_t n)
{
	int rc = KVF_OK;

	if (r->kv->engine)
		rc = kvf_seq_append(r->tokens, (const uint32_t *)tokens, n);
	if (rc)
		return refused(r->kv, rc, "tokens");
	r->length += n;
	return KVF_OK;
}

int lkv_request_close(struct lkv_request *r)
{
	struct lkv_request **at = &r->kv->requests;

	if (lkv_busy(r))
		return KVF_EBUSY;
	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	kvf_seq_close(r->tokens);
	free(r);
	return KVF_OK;
}

size_t lkv_request_length(const struct lkv_request *r)
{
	return r->length;
}

size_t lkv_request_present(const struct lkv_request *r)
{
	return r->present;
}

void lkv_computed(struct lkv_request *r, size_t n)
{
	r->present = n;
}

const struct lkv_result *lkv_request_result(const struct lkv_request *r)
{
	return &r->result;
}

bool lkv_busy(const struct lkv_request *r)
{
	return r->state != LKV_IDLE;
}

/* ---- operations ---- */

static int submit_waiting(struct lkv_request *r)
{
	int rc = kvf_submit(r->kv->engine, &r->op, 1, &r->op_id);

	r->op_waits = rc == KVF_EAGAIN;
	return rc == 1 || rc == KVF_EAGAIN ? KVF_OK : rc;
}

/* Submits r->op; where the engine's queue is full, one of the next polls does. */
static int submit(struct lkv_request *r, enum lkv_state state)
{
	int rc;

	r->op.user_data = (uint64_t)(uintptr_t)r; /* the device finds the sequence by it */
	r->op_id = 0;
	rc = submit_waiting(r);
	if (rc)
		return refused(r->kv, rc, "an operation");
	r->state = state;
	r->canceled = false;
	return KVF_OK;
}

/* A lease that is not given back ends by itself. */
static void give_lease_back(struct lkv_request *r)
{
	struct kvf_op op;
	uint64_t id;

	if (!r->lease_id)
		return;
	kvf_prep_unpin(&op, r->lease_id, 0, SIZE_MAX);
	kvf_submit(r->kv->engine, &op, 1, &id);
	r->lease_id = 0;
}

static void end(struct lkv_request *r, enum lkv_event event)
{
	if (r->kv->engine)
		give_lease_back(r);
	r->op_id = 0;
	r->event = 0;
	r->state = LKV_IDLE;
	if (r->on_event)
		r->on_event(r, event, r->user);
}

static void end_load(struct lkv_request *r)
{
	r->result.loaded = (uint32_t)(r->present - r->result.resident);
	/* Chunks behind a gap may have been copied already. */
	llama_memory_seq_rm(r->kv->memory, r->seq, (llama_pos)r->present, -1);
	end(r, LKV_EVENT_LOADED);
}

/* Without an engine an operation ends at the next poll, having found and kept nothing. */
static int end_later(struct lkv_request *r, enum lkv_state state, enum lkv_event event)
{
	r->state = state;
	r->event = event;
	return KVF_OK;
}

int lkv_load(struct lkv_request *r, size_t resident)
{
	struct lkv *kv = r->kv;

	if (r->state != LKV_IDLE)
		return KVF_EBUSY;
	if (r->seq < 0 || resident > r->length)
		return KVF_EINVAL;
	memset(&r->result, 0, sizeof(r->result));
	r->result.prompt = (uint32_t)r->length;
	r->result.resident = (uint32_t)resident;
	r->present = resident;
	llama_memory_seq_rm(kv->memory, r->seq, (llama_pos)resident, -1);
	if (!kv->engine)
		return end_later(r, LKV_LOOKUP, LKV_EVENT_LOADED);
	kvf_prep_lookup(&r->op, r->tokens, resident, 0, LEASE_NS);
	return submit(r, LKV_LOOKUP);
}

int lkv_prefetch(struct lkv_request *r)
{
	if (r->state != LKV_IDLE)
		return KVF_EBUSY;
	r->result.prefetched = 0;
	r->result.status = KVF_OK;
	if (!r->kv->engine)
		return end_later(r, LKV_PREFETCH, LKV_EVENT_PREFETCHED);
	kvf_prep_prefetch(&r->op, r->tokens, 0, r->length, 0);
	return submit(r, LKV_PREFETCH);
}

int lkv_store(struct lkv_request *r, unsigned flags)
{
	struct kvf_fence_in now = {
		.kind = KVF_FENCE_NOW}; /* llama.cpp's calls end when the work is done */
	struct kvf_span span = {0, r->present < r->length ? r->present : r->length, NULL};

	if (r->state != LKV_IDLE)
		return KVF_EBUSY;
	if (r->seq < 0)
		return KVF_EINVAL;
	r->result.stored = 0;
	r->result.status = KVF_OK;
	if (!r->kv->engine)
		return end_later(r, LKV_STORE, LKV_EVENT_STORED);
	if (flags & LKV_STORE_DECODE) {
		span.first_token = r->result.prompt / r->kv->chunk_tokens * r->kv->chunk_tokens;
		span.n -= span.n < span.first_token ? span.n : span.first_token;
	}
	if (!span.n)
		return end_later(r, LKV_STORE, LKV_EVENT_STORED);
	kvf_prep_store(&r->op, r->tokens, &span, &now);
	if (flags & LKV_STORE_DECODE)
		r->op.flags |= KVF_OP_DECODE;
	if (flags & LKV_STORE_DURABLE)
		r->op.level = KVF_LEVEL_DURABLE;
	if (flags & LKV_STORE_REMOTE)
		r->op.level = KVF_LEVEL_REMOTE;
	return submit(r, LKV_STORE);
}

void lkv_cancel(struct lkv_request *r)
{
	r->canceled = true;
	if (r->op_id && !r->op_waits)
		kvf_cancel(r->kv->engine, r->op_id);
	if (r->copy_id)
		kvf_cancel(r->kv->engine, r->copy_id);
}

/* ---- completions ---- */

static void prep_retrieve(struct lkv_request *r, struct kvf_op *op, size_t end)
{
	struct kvf_fence_in now = {.kind = KVF_FENCE_NOW};
	struct kvf_span span = {r->present, end - r->present, NULL};

	kvf_prep_retrieve(op, r->tokens, &span, &now);
	op->user_data = (uint64_t)(uintptr_t)r;
}

static int begin_retrieve(struct lkv_request *r)
{
	prep_retrieve(r, &r->op, r->target);
	return submit(r, LKV_RETRIEVE);
}

/* A part of the pool at a time: what arrives is not evicted before it is copied. */
static size_t fill_window(const struct lkv *kv)
{
	struct kvf_stats stats = {.size = sizeof(stats)};
	size_t chunks = kvf_get_stats(kv->engine, &stats) == KVF_OK ? stats.slots / 4 : 0;

	return (chunks ? chunks : 1) * kv->chunk_tokens;
}

static int begin_fill(struct lkv_request *r)
{
	size_t first = r->filled / r->kv->chunk_tokens * r->kv->chunk_tokens;
	size_t end = first + fill_window(r->kv);

	r->fill_end = end < r->target ? end : r->target;
	kvf_prep_prefetch(&r->op, r->tokens, first, r->fill_end - first, 0);
	r->op.flags |= KVF_OP_PROGRESS;
	r->filling = true;
	return submit(r, LKV_FILL);
}

/* The next part, once the one before is in RAM and most of it copied. False: there is none. */
static bool next_fill(struct lkv_request *r)
{
	if (r->canceled || r->filled < r->fill_end || r->filled >= r->target)
		return false;
	if (r->filled - r->present > fill_window(r->kv) / 2)
		return r->copy_id || r->copy_waits;
	r->filling = begin_fill(r) == KVF_OK;
	return r->filling;
}

static void copy_filled(struct lkv_request *r)
{
	struct kvf_op op;
	int rc;

	r->copy_waits = false;
	if (r->copy_id || r->present >= r->filled || r->canceled)
		return;
	prep_retrieve(r, &op, r->filled);
	r->copy_end = r->filled;
	rc = kvf_submit(r->kv->engine, &op, 1, &r->copy_id);
	if (rc == 1)
		return;
	r->copy_id = 0;
	r->copy_waits = rc == KVF_EAGAIN;
	if (!r->copy_waits) {
		r->result.status = refused(r->kv, rc, "a retrieve");
		lkv_cancel(r);
	}
}

/* Copies what is in RAM and brings more; when there will be no more, the load ends. True: it did,
 * and r may be gone. */
static bool go_on(struct lkv_request *r)
{
	copy_filled(r);
	if (r->filling || next_fill(r) || r->copy_id || r->copy_waits)
		return false;
	end_load(r);
	return true;
}

static void looked_up(struct lkv_request *r, const struct kvf_completion *c)
{
	r->lease_id = c->lease_id;
	r->result.hit = c->tokens;
	r->result.hit_ram = c->ram_tokens;
	r->result.need = c->need;
	r->target = c->usable;
	r->filled = r->present;
	if (r->canceled)
		r->result.status = KVF_ECANCELED;
	else if (c->status == KVF_OK && r->target > r->present) {
		r->result.status = c->ram_tokens >= c->usable ? begin_retrieve(r) : begin_fill(r);
		if (r->result.status == KVF_OK)
			return;
	}
	end_load(r);
}

static void fill_came(struct lkv_request *r, const struct kvf_completion *c)
{
	size_t filled = r->op.first_token + c->tokens;

	r->filled = filled > r->target ? r->target : filled;
	if (c->kind == KVF_DONE) {
		r->filling = false;
		r->op_id = 0;
	}
	go_on(r);
}

static void copy_came(struct lkv_request *r, const struct kvf_completion *c)
{
	r->copy_id = 0;
	r->present += c->tokens;
	if (r->present < r->copy_end) { /* no further than here */
		r->result.status = c->status;
		r->result.reason = c->reason;
		lkv_cancel(r);
	}
	go_on(r);
}

static void done(struct lkv_request *r, const struct kvf_completion *c)
{
	if (r->result.status == KVF_OK) { /* else a fill failed before it ended */
		r->result.status = c->status;
		r->result.reason = c->reason;
	}
	switch (r->state) {
	case LKV_LOOKUP:
		looked_up(r, c);
		break;
	case LKV_FILL:
		fill_came(r, c);
		break;
	case LKV_RETRIEVE:
		r->present += c->tokens;
		end_load(r);
		break;
	case LKV_PREFETCH:
		r->result.prefetched = c->tokens;
		end(r, LKV_EVENT_PREFETCHED);
		break;
	case LKV_STORE:
		r->result.stored = c->tokens;
		end(r, LKV_EVENT_STORED);
		break;
	case LKV_IDLE:
		break;
	}
}

static void fail_waiting(struct lkv_request *r, int status)
{
	struct kvf_completion c = {.kind = KVF_DONE, .status = status};

	r->op_waits = false;
	done(r, &c);
}

/* Of one request: what waits for a place in the queue, or ended without an operation. True: it had
 * its event. */
static bool kick(struct lkv_request *r)
{
	int rc = KVF_OK;

	if (r->event) {
		end(r, r->event);
		return true;
	}
	if (r->copy_waits)
		return go_on(r);
	if (!r->op_waits)
		return false;
	rc = r->canceled ? KVF_ECANCELED : submit_waiting(r);
	if (rc == KVF_OK)
		return false;
	fail_waiting(r, rc);
	return true;
}

/* From the start again after every event, as its callback may have closed requests. */
static int kick_all(struct lkv *kv)
{
	struct lkv_request *r = kv->requests;
	int n = 0;

	while (r) {
		bool ended = kick(r);

		n += ended;
		r = ended ? kv->requests : r->next;
	}
	return n;
}

bool lkv_complete(struct lkv *kv, const struct kvf_completion *c)
{
	struct lkv_request *r = kv->requests;
	bool ours;

	if (c->op == KVF_OP_UNPIN && !c->user_data)
		return true;
	while (r && r->copy_id != c->op_id && (r->op_id != c->op_id || r->op_waits))
		r = r->next;
	ours = r != NULL;
	if (ours && r->copy_id == c->op_id)
		copy_came(r, c);
	else if (ours && c->kind == KVF_DONE)
		done(r, c);
	else if (ours && c->kind == KVF_PROGRESS && r->state == LKV_FILL)
		fill_came(r, c);
	kick_all(kv);
	return ours;
}

int lkv_poll(struct lkv *kv)
{
	struct kvf_completion c;
	int n = kick_all(kv), rc;

	if (!kv->engine)
		return n;
	/* One at a time: a callback may begin the next operation, or close its request. */
	while ((rc = kvf_poll(kv->engine, &c, 1)) == 1) {
		lkv_complete(kv, &c);
		n++;
	}
	return rc < 0 ? rc : n;
}

void lkv_wait(struct lkv_request *r)
{
	while (lkv_busy(r) && lkv_poll(r->kv) >= 0)
		;
}
