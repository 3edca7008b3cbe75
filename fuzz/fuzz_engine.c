/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes the API: the input is a script of calls on an engine with a small pool, on virtual time, over tiers in memory
 * that fail, hang and lose bits, with an allocator that says no. After every call everything must still hold together,
 * every operation that was accepted ends once, and no byte that a retrieve delivers is wrong.
 *
 *	bytes 0..3: the engine; then calls of 4 bytes {what, which sequence, a, b}
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/mem.h"
#include "tests/support/fuzz_world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- sequences ---- */

static void do_open(struct fuzz_world *w, struct fuzz_seq *s, uint8_t a, uint8_t b)
{
	static const char *const salts[] = { NULL, "a", "b", "no@salt" };
	struct kvf_seq_params params;
	struct kvf_seq *seq = NULL;
	int rc;

	if (s->busy)
		return;
	kvf_seq_params_init(&params);
	params.salt = salts[a & 3];
	params.flags = b & 1 ? KVF_SEQ_SKIP_SAVE : 0;
	rc = kvf_seq_open(w->rig.engine, &params, &seq);
	if (rc) {
		fuzz_refused(w, rc, (a & 3) == 3);
		return;
	}
	fuzz_must((a & 3) != 3);
	kvf_seq_close(s->seq);
	*s = (struct fuzz_seq){ .seq = seq,
				.list = s->list,
				.salt = a & 3,
				.trunk = a >> 2 & 3,
				.branch_at = FUZZ_SEQ_TOKENS };
}

static void do_append(struct fuzz_world *w, struct fuzz_seq *s, uint8_t a, uint8_t b)
{
	uint32_t tokens[FUZZ_SEQ_TOKENS];
	uint32_t n = (a | (uint32_t)(b & 3) << 8) % 300;
	int rc;

	if (s->length + n > FUZZ_SEQ_TOKENS)
		return;
	for (uint32_t i = 0; i < n; i++)
		tokens[i] = fuzz_token(s, s->length + i);
	rc = kvf_seq_append(s->seq, tokens, n);
	fuzz_refused(w, rc, false);
	if (!rc)
		s->length += n;
	fuzz_must(kvf_seq_length(s->seq) == s->length);
}

/* Another sequence with the same beginning, which goes its own way from here on. */
static void do_fork(struct fuzz_world *w, struct fuzz_seq *s, struct fuzz_seq *to, uint8_t b)
{
	struct kvf_seq *seq = NULL;
	int rc;

	if (to == s || to->busy)
		return;
	rc = kvf_seq_fork(s->seq, &seq);
	fuzz_refused(w, rc, false);
	if (rc)
		return;
	kvf_seq_close(to->seq);
	to->seq = seq;
	to->length = s->length;
	to->salt = s->salt;
	to->trunk = s->trunk;
	to->branch = s->branch;
	to->branch_at = s->branch_at;
	if (to->branch_at == FUZZ_SEQ_TOKENS) {
		to->branch_at = to->length;
		to->branch = 4 + (b & 3);
	}
}

static void do_truncate(struct fuzz_world *w, struct fuzz_seq *s, uint8_t a)
{
	uint32_t n = a & 1 ? (uint32_t)(a >> 1) * 64 : s->length - kvf_min_u64(s->length, a >> 1);
	int rc = kvf_seq_truncate(s->seq, n);

	/* Into a chunk: fuzz_seq.c knows when that is possible. */
	if (n > s->length || n % RIG_CHUNK == 0)
		fuzz_refused(w, rc, n > s->length);
	if (!rc)
		s->length = n;
	fuzz_must(kvf_seq_length(s->seq) == s->length && kvf_seq_resident(s->seq) <= s->length);
}

/* ---- operations ---- */

static uint32_t some_flags(uint8_t code, uint8_t a)
{
	if (code == KVF_OP_STORE)
		return (a & 1 ? KVF_OP_SOURCE_FREE : 0) | (a & 2 ? KVF_OP_LAYERWISE : 0) | (a & 4 ? KVF_OP_DECODE : 0);
	if (code == KVF_OP_RETRIEVE)
		return (a & 1 ? KVF_OP_PROGRESS : 0) | (a & 2 ? KVF_OP_LAYERWISE : 0) |
		       (a & 4 ? KVF_OP_STREAM_ORDERED : 0);
	return 0;
}

/* A span of the sequence; the low bits of b say how it is cut. */
static void some_span(const struct fuzz_seq *s, uint8_t b, uint64_t *first, uint64_t *n)
{
	*first = kvf_min_u64((uint64_t)(b >> 4) * RIG_CHUNK, s->length);
	*n = s->length - *first;
	if (b & 1)
		*n -= kvf_min_u64(*n, 1 + (b >> 1 & 7) * 40u);
	if (b & 8)
		*first += 5;
}

static void prepare(struct fuzz_world *w, struct fuzz_seq *s, uint8_t code, uint8_t a, uint8_t b, struct kvf_op *op)
{
	struct kvf_fence_in fence = { .kind = KVF_FENCE_NOW };
	struct kvf_span span = { .blocks = &w->blocks[s - w->seq] };
	uint64_t lease_ns = a & 8 ? KVF_NS_PER_S : 0;
	uint64_t first, n;

	some_span(s, b, &first, &n);
	span.first_token = first;
	span.n = n;
	if (a & 16)
		fence = (struct kvf_fence_in){ .kind = KVF_FENCE_WORD, .word = &w->word, .value = w->word + (a >> 5) };
	switch (code) {
	case KVF_OP_LOOKUP:
		kvf_prep_lookup(op, s->seq, b, a & 3, lease_ns);
		break;
	case KVF_OP_STORE:
		kvf_prep_store(op, s->seq, &span, &fence);
		break;
	case KVF_OP_RETRIEVE:
		kvf_prep_retrieve(op, s->seq, &span, &fence);
		break;
	case KVF_OP_PREFETCH:
		kvf_prep_prefetch(op, s->seq, first, n, lease_ns);
		break;
	case KVF_OP_PIN:
		kvf_prep_pin(op, s->seq, first, n, lease_ns);
		break;
	case KVF_OP_UNPIN:
		kvf_prep_unpin(op, w->lease[a % FUZZ_LEASES], first, b & 2 ? SIZE_MAX : n);
		break;
	case KVF_OP_DEMOTE:
		kvf_prep_demote(op, s->seq, first, n);
		break;
	case KVF_OP_REMOVE:
		kvf_prep_remove(op, s->seq, first, n, a & 15);
		break;
	case KVF_OP_FLUSH:
		kvf_prep_flush(op);
		break;
	default:
		kvf_prep_clear(op, a & 15);
		break;
	}
	op->flags = some_flags(code, a);
	op->blocks = &w->blocks[s - w->seq];
	if (code == KVF_OP_STORE && op->flags & KVF_OP_LAYERWISE)
		op->fence.kind = KVF_FENCE_LATER;
	op->priority = (a >> 6) % 3;
	if (b & 4)
		op->deadline_ns = kvf_now_ns(w->rig.engine) + (uint64_t)a * KVF_NS_PER_MS;
}

/* Makes one field wrong, or merely unusual. */
static void mangle(struct kvf_op *op, uint8_t how)
{
	uint8_t bit = (uint8_t)(1u << (how & 7));

	switch (how >> 3 & 7) {
	case 0:
		op->code ^= bit;
		break;
	case 1:
		op->priority ^= bit;
		break;
	case 2:
		op->level ^= bit;
		break;
	case 3:
		op->flags ^= bit;
		break;
	case 4:
		op->fence.kind ^= bit & 7;
		break;
	case 5:
		op->first_token += (uint64_t)bit << (how >> 1 & 56);
		break;
	case 6:
		op->n_tokens += (uint64_t)bit << (how >> 1 & 56);
		break;
	default:
		op->blocks = how & 1 ? NULL : op->blocks;
		op->tiers ^= bit;
	}
}

static void do_submit(struct fuzz_world *w, struct fuzz_seq *s, uint8_t what, uint8_t a, uint8_t b)
{
	struct kvf_op ops[2];
	uint64_t ids[2] = { 0 };
	unsigned n = what & 64 ? 2 : 1;
	int rc;

	prepare(w, s, 1 + (what & 15) % 10, a, b, &ops[0]);
	if (what & 32)
		mangle(&ops[0], a ^ (uint8_t)(b << 3));
	ops[1] = ops[0];
	if (w->n_ops + n > FUZZ_OPS)
		return;
	if (ops[0].code == KVF_OP_STORE)
		fuzz_compute(w, s);
	else if (ops[0].code == KVF_OP_RETRIEVE && !s->busy)
		fuzz_wipe(w, s);
	rc = kvf_submit(w->rig.engine, ops, n, ids);
	fuzz_must(rc != 0 && rc <= (int)n);
	for (int i = 0; i < rc; i++)
		fuzz_accepted(w, s, &ops[i], ids[i]);
	if (rc < 0)
		fuzz_must(rc == KVF_EAGAIN || rc == KVF_ENOMEM || rc == KVF_ESHUTDOWN ||
			  kvf_error_detail(w->rig.engine)[0]);
	if (rc == KVF_ENOMEM)
		fuzz_must(w->failed);
}

/* ---- everything else ---- */

static void do_tier(struct fuzz_world *w, uint8_t a, uint8_t b)
{
	static const int status[] = { KVF_OK, KVF_EIO, KVF_ENOENT, KVF_ENOSPC, KVF_ECORRUPT, KVF_ETIMEDOUT };
	struct memtier *m = &w->tier[a & 1];

	if (!w->n_tiers)
		return;
	switch (a >> 1 & 7) {
	case 0:
		m->hold = b & 1;
		m->hold_kind = b >> 1 & 3;
		break;
	case 1:
		m->fail = status[b % KVF_ARRAY_LEN(status)];
		m->fail_kind = b >> 4 & 3;
		break;
	case 2:
		m->full_kind = b & 3;
		m->room = b >> 4;
		break;
	case 3:
		m->backwards = b & 1;
		break;
	case 4:
		if (m->n_chunks) {
			struct memtier_chunk *c = &m->chunk[b % m->n_chunks];

			c->bytes[(b * 37u) % c->payload_bytes] ^= 1;
		}
		break;
	default:
		kvf_set_tier(w->rig.engine, KVF_TIER_CUSTOM, b & 1);
	}
}

static void do_control(struct fuzz_world *w, uint8_t a, uint8_t b)
{
	struct kvf_engine *e = w->rig.engine;
	struct kvf_event events[4];
	char text[512];
	uint64_t lost;
	uint32_t bits;

	switch (a & 15) {
	case 0:
		fuzz_must(kvf_set_frozen(e, b & 1) == KVF_OK);
		break;
	case 1:
		fuzz_must(kvf_set_hot_cache(e, b & 1) == KVF_OK);
		break;
	case 2:
		kvf_set_pool_bytes(e, (uint64_t)(b & 63) * w->slot_bytes);
		break;
	case 3:
		kvf_set_quota(e, b & 1 ? "a" : "b", (uint64_t)(b >> 1 & 7) * w->slot_bytes,
			      (uint64_t)(b >> 4) * w->slot_bytes);
		break;
	case 4:
		kvf_set_rates(e, (uint64_t)b * 1000000, (uint64_t)a * 1000000);
		break;
	case 5:
		fuzz_must(kvf_events(e, events, b & 3, &lost) >= (w->has_events ? 0 : KVF_ENOTSUP));
		break;
	case 6:
		fuzz_must(kvf_snapshot(e, &w->snapshot, events, b & 3) >= 0);
		break;
	case 7:
		fuzz_must(kvf_metrics_text(e, text, b * 2u) >= 0);
		break;
	case 8:
		fuzz_must(kvf_health(e, &bits) == KVF_OK);
		break;
	case 9:
		kvf_engine_rebind(e, &w->rig.layout);
		break;
	case 10:
		if (b > 250 && !kvf_engine_shutdown(e, (enum kvf_shutdown_mode)(b % 3), KVF_NO_DEADLINE))
			w->shutting = true;
		break;
	default:
		w->fail_in = b & 15;
	}
}

static void do_later(struct fuzz_world *w, struct fuzz_seq *s, uint8_t a, uint8_t b)
{
	struct kvf_fence_in now = { .kind = KVF_FENCE_NOW };
	struct fuzz_op *op = w->n_ops ? &w->ops[b % w->n_ops] : NULL;

	switch (a & 7) {
	case 0:
		if (op)
			kvf_cancel(w->rig.engine, op->id);
		break;
	case 1:
		fuzz_must(kvf_cancel_seq(w->rig.engine, s->seq) >= 0);
		break;
	case 2:
	case 3:
		if (op)
			kvf_store_layer(w->rig.engine, op->id, (a >> 3) % (RIG_LAYERS + 1), &now);
		break;
	case 4:
		w->word += b & 7;
		break;
	case 5:
		w->now_ns += (uint64_t)b * b * b * 20000;
		break;
	default:
		for (unsigned i = 0; i <= b % 32u; i++)
			fuzz_poll(w);
	}
}

static void step(struct fuzz_world *w, const uint8_t call[4])
{
	struct fuzz_seq *s = &w->seq[call[1] % FUZZ_SEQS];
	uint8_t a = call[2], b = call[3];

	w->failed = false;
	if (!s->seq)
		do_open(w, s, call[1] >> 2, 0);
	if (!s->seq)
		return;
	switch (call[0] & 7) {
	case 0:
		if (call[1] & 128)
			do_open(w, s, a, b);
		else
			do_append(w, s, a, b);
		break;
	case 1:
		if (call[1] & 128)
			do_fork(w, s, &w->seq[a % FUZZ_SEQS], b);
		else
			do_truncate(w, s, a);
		break;
	case 2:
		do_tier(w, a, b);
		break;
	case 3:
		do_control(w, a, b);
		break;
	case 4:
		do_later(w, s, a, b);
		break;
	default:
		do_submit(w, s, (uint8_t)(call[0] >> 3 | (call[1] & 0xe0)), a, b);
		fuzz_poll(w);
	}
	if (!(call[1] & 16))
		fuzz_verify(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fuzz_world w;

	if (size < 8)
		return 0;
	fuzz_open(&w, data);
	for (size_t at = 4; at + 4 <= size && at < 2048; at += 4)
		step(&w, data + at);
	fuzz_close(&w);
	return 0;
}
