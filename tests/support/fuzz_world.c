/* SPDX-License-Identifier: Apache-2.0 */
/* The world of fuzz/fuzz_engine.c: see fuzz_world.h. */
#include "tests/support/fuzz_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/mem.h"

#define WIPED 0xEE
#define CLOSE_TURNS 200000u

void fuzz_check(bool holds, const char *what, const char *file, int line)
{
	if (holds)
		return;
	fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
	abort();
}

void fuzz_refused(struct fuzz_world *w, int rc, bool wrong)
{
	if (wrong)
		fuzz_must(rc != KVF_OK);
	else
		fuzz_must(rc == KVF_OK || rc == KVF_ESHUTDOWN || (rc == KVF_ENOMEM && w->failed));
}

/* ---- what is stored ---- */

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 31)) * 0x7fb5d329728ea185u;
	return x ^ x >> 29;
}

uint32_t fuzz_token(const struct fuzz_seq *s, uint32_t at)
{
	return (uint32_t)mix((uint64_t)(at < s->branch_at ? s->trunk : s->branch) << 32 | at);
}

/* Whatever the key depends on decides the bytes too. */
static uint64_t content(const struct fuzz_seq *s, uint32_t page, uint32_t at, uint32_t i)
{
	uint64_t path = (uint64_t)s->salt << 8 | s->trunk;

	if (at >= s->branch_at)
		path |= (uint64_t)s->branch << 16 | (uint64_t)s->branch_at << 32;
	return mix(mix(path) + mix(at * 64u + page) + i);
}

static uint8_t *row(struct fuzz_world *w, const struct fuzz_seq *s, uint32_t page, uint32_t at)
{
	uint32_t block = s->list.ids[at / RIG_BLOCK];

	return (uint8_t *)w->rig.layers[page / 2].base[page % 2] + (uint64_t)block * w->rig.group.block_stride +
	       (uint64_t)(at % RIG_BLOCK) * w->rig.group.token_stride;
}

void fuzz_compute(struct fuzz_world *w, struct fuzz_seq *s)
{
	for (uint32_t page = 0; page < 2 * RIG_LAYERS; page++) {
		for (uint32_t at = 0; at < s->length; at++) {
			uint8_t *p = row(w, s, page, at);

			for (uint32_t i = 0; i < RIG_HIDDEN; i += 8) {
				uint64_t v = content(s, page, at, i);

				memcpy(p + i, &v, 8);
			}
		}
	}
}

void fuzz_wipe(struct fuzz_world *w, struct fuzz_seq *s)
{
	for (uint32_t page = 0; page < 2 * RIG_LAYERS; page++)
		for (uint32_t at = 0; at < FUZZ_SEQ_TOKENS; at++)
			memset(row(w, s, page, at), WIPED, RIG_HIDDEN);
}

static void check_bytes(struct fuzz_world *w, const struct fuzz_op *op, uint32_t n)
{
	for (uint32_t page = 0; page < 2 * RIG_LAYERS; page++) {
		for (uint32_t at = (uint32_t)op->first; at < op->first + n; at++) {
			const uint8_t *p = row(w, &op->as, page, at);

			for (uint32_t i = 0; i < RIG_HIDDEN; i += 8) {
				uint64_t v = content(&op->as, page, at, i);

				fuzz_must(memcmp(p + i, &v, 8) == 0);
			}
		}
	}
}

/* ---- what was accepted ---- */

void fuzz_accepted(struct fuzz_world *w, struct fuzz_seq *s, const struct kvf_op *op, uint64_t id)
{
	struct fuzz_op *o = &w->ops[w->n_ops++];

	fuzz_must(id != 0);
	*o = (struct fuzz_op){ .id = id,
			       .code = op->code,
			       .seq = (uint8_t)(s - w->seq),
			       .first = op->first_token,
			       .n = op->n_tokens,
			       .flags = op->flags,
			       .as = *s };
	if (op->code == KVF_OP_STORE || op->code == KVF_OP_RETRIEVE)
		s->busy++;
}

static void forget(struct fuzz_world *w, struct fuzz_op *o)
{
	if (o->code == KVF_OP_STORE || o->code == KVF_OP_RETRIEVE)
		w->seq[o->seq].busy--;
	*o = w->ops[--w->n_ops];
}

static struct fuzz_op *find(struct fuzz_world *w, uint64_t id)
{
	for (uint32_t i = 0; i < w->n_ops; i++) {
		if (w->ops[i].id == id)
			return &w->ops[i];
	}
	return NULL;
}

static void done(struct fuzz_world *w, struct fuzz_op *o, const struct kvf_completion *c)
{
	fuzz_must(!o->ended && c->op == o->code);
	if (c->lease_id)
		w->lease[w->n_leases++ % FUZZ_LEASES] = c->lease_id;
	if (o->code == KVF_OP_LOOKUP)
		fuzz_must(c->tokens <= o->as.length && c->usable <= c->tokens && c->ram_tokens <= c->tokens);
	else if (o->code == KVF_OP_STORE || o->code == KVF_OP_RETRIEVE)
		fuzz_must(c->tokens <= o->n);
	if (o->code != KVF_OP_RETRIEVE) {
		forget(w, o);
		return;
	}
	o->delivered = c->tokens;
	o->ended = true;
	if (o->flags & KVF_OP_STREAM_ORDERED && c->status == KVF_OK)
		return;
	check_bytes(w, o, o->delivered);
	(void)kvf_fence_release(w->rig.engine, o->id);
	forget(w, o);
}

/* Are the copies of a stream-ordered retrieve, which has ended, in their blocks? */
static bool arrived(struct fuzz_world *w, const struct fuzz_op *o)
{
	struct kvf_fence_out out;

	if (!o->delivered)
		return true;
	for (uint32_t l = 0; l < RIG_LAYERS; l++) {
		int rc = kvf_layer_fence(w->rig.engine, o->id, l, &out);

		/* Gone with its copies, since the engine shuts down. */
		if (rc == KVF_ENOENT && w->shutting)
			return true;
		fuzz_must(rc == KVF_OK);
		if (out.kind != KVF_FENCE_NOW && *out.word < out.value)
			return false;
	}
	return true;
}

static void end_tails(struct fuzz_world *w)
{
	for (uint32_t i = w->n_ops; i-- > 0;) {
		struct fuzz_op *o = &w->ops[i];

		if (!o->ended || !arrived(w, o))
			continue;
		check_bytes(w, o, o->delivered);
		(void)kvf_fence_release(w->rig.engine, o->id);
		forget(w, o);
	}
}

void fuzz_poll(struct fuzz_world *w)
{
	struct kvf_completion c[3];
	int n = kvf_poll(w->rig.engine, c, 3);

	fuzz_must(n >= 0 && n <= 3);
	for (int i = 0; i < n; i++) {
		struct fuzz_op *o = find(w, c[i].op_id);

		fuzz_must(o != NULL);
		if (c[i].kind == KVF_DONE)
			done(w, o, &c[i]);
	}
	end_tails(w);
}

void fuzz_verify(struct fuzz_world *w)
{
	uint32_t fail_in = w->fail_in;

	w->fail_in = 0;
	if (kvf_verify(w->rig.engine))
		fprintf(stderr, "kvf_verify: %s\n", kvf_error_detail(w->rig.engine));
	fuzz_must(kvf_verify(w->rig.engine) == KVF_OK);
	w->fail_in = fail_in;
}

/* ---- beginning and end ---- */

static void *world_alloc(size_t n, void *user)
{
	struct fuzz_world *w = user;

	if (w->fail_in && --w->fail_in == 0) {
		w->failed = true;
		return NULL;
	}
	w->allocated += (int64_t)n;
	return malloc(n);
}

static void world_release(void *p, size_t n, void *user)
{
	struct fuzz_world *w = user;

	if (p)
		w->allocated -= (int64_t)n;
	free(p);
}

static uint64_t world_now(void *user)
{
	return ((struct fuzz_world *)user)->now_ns;
}

static void no_log(enum kvf_log_level level, const char *scope, const char *msg, void *user)
{
	(void)level;
	(void)scope;
	(void)msg;
	(void)user;
}

static void init_tiers(struct fuzz_world *w, uint8_t how)
{
	w->n_tiers = how % 3;
	for (uint32_t t = 0; t < w->n_tiers; t++) {
		uint32_t caps = KVF_TIER_CLEARS;

		caps |= how >> 2 & 1 << t ? KVF_TIER_RECORDS : 0;
		caps |= how >> 4 & 1 << t ? KVF_TIER_DURABLE : 0;
		caps |= how >> 6 & 1 << t ? KVF_TIER_SHARED : 0;
		w->tier[t].caps = caps;
		w->spec[t] = (struct kvf_custom_tier){ &memtier_ops, &w->tier[t] };
	}
}

void fuzz_open(struct fuzz_world *w, const uint8_t how[4])
{
	static const char *const policies[] = { "LRU", "LFU", "FIFO", "MRU" };
	const char *const settings[] = { "kvf_max_ops", how[1] & 64 ? "4" : "64", "kvf_scrub",
					 how[1] & 128 ? "always" : "off", NULL };
	struct rig_options o = { .slots = 8 + how[0] % 32u,
				 .unfull = how[1] & 1,
				 .staging = how[1] & 2,
				 .tiers = w->spec,
				 .flags = how[1] & 4 ? KVF_OPEN_NO_EVENTS : 0,
				 .extra_key = "cache_policy",
				 .extra_value = policies[how[1] >> 3 & 3],
				 .settings = settings,
				 .allocator = &w->allocator,
				 .clock = &w->clock,
				 .log = &w->log };

	memset(w, 0, sizeof(*w));
	w->allocator = (struct kvf_allocator){ sizeof(w->allocator), world_alloc, world_release, w };
	w->clock = (struct kvf_clock){ sizeof(w->clock), world_now, w };
	w->log = (struct kvf_log_sink){ sizeof(w->log), no_log, w };
	w->now_ns = KVF_NS_PER_S;
	w->mode = (enum kvf_shutdown_mode)(how[3] % 3);
	w->has_events = !(o.flags & KVF_OPEN_NO_EVENTS);
	init_tiers(w, how[2]);
	o.n_tiers = w->n_tiers;
	fuzz_must(rig_try_open(&w->rig, &o) == KVF_OK);
	w->slot_bytes = KVF_SLOT_HEADER_BYTES + 2ull * RIG_LAYERS * RIG_HIDDEN * RIG_CHUNK;
	for (uint32_t s = 0; s < FUZZ_SEQS; s++) {
		w->seq[s].list = (struct kvf_block_list){ w->rig.ids + s * (FUZZ_SEQ_TOKENS / RIG_BLOCK),
							  FUZZ_SEQ_TOKENS / RIG_BLOCK, 0 };
		w->blocks[s] = (struct kvf_blocks){ 1, &w->seq[s].list };
	}
}

/* The world becomes a friendly place, so that there is no excuse. */
static void settle(struct fuzz_world *w)
{
	struct kvf_fence_in now = { .kind = KVF_FENCE_NOW };

	w->fail_in = 0;
	w->word = UINT64_MAX;
	for (uint32_t t = 0; t < w->n_tiers; t++) {
		struct memtier *m = &w->tier[t];

		m->hold = false;
		m->fail = KVF_OK;
		m->full_kind = m->room = 0;
	}
	for (uint32_t i = 0; i < w->n_ops; i++) {
		if (w->ops[i].code != KVF_OP_STORE)
			continue;
		for (uint32_t l = 0; l < RIG_LAYERS; l++)
			(void)kvf_store_layer(w->rig.engine, w->ops[i].id, l, &now);
	}
}

void fuzz_close(struct fuzz_world *w)
{
	int rc;

	settle(w);
	w->shutting = true;
	for (uint32_t s = 0; s < FUZZ_SEQS; s += 2)
		kvf_seq_close(w->seq[s].seq);
	rc = kvf_engine_shutdown(w->rig.engine, w->mode, KVF_NO_DEADLINE);
	fuzz_must(rc == KVF_OK || rc == KVF_ESHUTDOWN);
	for (uint32_t i = 0; w->n_ops || !kvf_engine_idle(w->rig.engine); i++) {
		fuzz_must(i < CLOSE_TURNS);
		fuzz_poll(w);
		w->now_ns += KVF_NS_PER_MS;
	}
	fuzz_verify(w);
	for (uint32_t s = 1; s < FUZZ_SEQS; s += 2)
		kvf_seq_close(w->seq[s].seq);
	fuzz_must(kvf_engine_close(w->rig.engine) == KVF_OK);
	fuzz_must(w->allocated == 0);
	free(w->rig.kv);
	for (uint32_t t = 0; t < w->n_tiers; t++)
		memtier_free(&w->tier[t]);
}
