/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every kind of operation on an engine that has nothing in reserve, while the allocator says no: to its k-th call or
 * to all from there on, for every k. How it ends is one of few ways, and what was taken for it is given back.
 */
#include "engine/engine.h"
#include "tests/harness.h"
#include "tests/sim/simmem.h"
#include "tests/support/tier_rig.h"

#include <stdio.h>
#include <string.h>

#define CHUNKS 4u
#define WHOLE_TOKENS (CHUNKS * RIG_CHUNK)
#define LONG 3600000000000ull
#define MAX_HOARD 4096

/* ---- an engine without reserves ---- */

static struct {
	void *block[MAX_HOARD];
	size_t bytes[MAX_HOARD];
	unsigned n;
	struct {
		struct kvf_slab *slab;
		uint32_t number;
	} item[MAX_HOARD];
	unsigned n_items;
} hoard;

static bool has_spare(const struct kvf_slab *slab)
{
	return slab->free_head != KVF_NIL || slab->used < slab->n_blocks * KVF_SLAB_BLOCK;
}

/* Takes what the engine keeps for the next time: free blocks, free places in its slabs. */
static void starve(struct kvf_engine *e)
{
	struct kvf_slab *slabs[] = { &e->fills, &e->spill_slab, &e->leases, &e->jobs };

	hoard.n = hoard.n_items = 0;
	for (unsigned c = 0; c < KVF_MEM_CLASSES; c++) {
		size_t n = (size_t)1 << (KVF_MEM_CLASS_MIN_SHIFT + c);

		while (e->mem.free_list[c] && hoard.n < MAX_HOARD) {
			hoard.bytes[hoard.n] = n;
			hoard.block[hoard.n++] = kvf_mem_alloc(&e->mem, n);
		}
	}
	for (unsigned i = 0; i < KVF_ARRAY_LEN(slabs); i++) {
		while (has_spare(slabs[i]) && hoard.n_items < MAX_HOARD) {
			hoard.item[hoard.n_items].slab = slabs[i];
			kvf_slab_new(slabs[i], &hoard.item[hoard.n_items++].number);
		}
	}
}

static void feed(struct kvf_engine *e)
{
	while (hoard.n_items) {
		hoard.n_items--;
		kvf_slab_free(hoard.item[hoard.n_items].slab, hoard.item[hoard.n_items].number);
	}
	while (hoard.n) {
		hoard.n--;
		kvf_mem_free(&e->mem, hoard.block[hoard.n], hoard.bytes[hoard.n]);
	}
}

/* ---- the operations ---- */

/* How an operation may end. */
enum {
	REFUSED = 1, /* by kvf_submit(), with KVF_ENOMEM */
	FAILED = 2,  /* KVF_ENOMEM, for want of memory */
	BARE = 4,    /* KVF_OK and its whole answer, but for want of memory no lease */
	DROPPED = 8, /* a store whose way down failed: KVF_EDROPPED */
	WHOLE = 16
};

static void prep_store(struct rig *r, struct kvf_op *op)
{
	rig_tokens(r, 2, WHOLE_TOKENS);
	rig_compute(r, WHOLE_TOKENS);
	rig_prep(r, op, KVF_OP_STORE, 0, WHOLE_TOKENS);
	op->flags = KVF_OP_SOURCE_FREE;
}

static void prep_durable(struct rig *r, struct kvf_op *op)
{
	prep_store(r, op);
	op->level = KVF_LEVEL_DURABLE;
}

static void prep_retrieve(struct rig *r, struct kvf_op *op)
{
	rig_wipe(r);
	rig_prep(r, op, KVF_OP_RETRIEVE, 0, WHOLE_TOKENS);
}

static void prep_layers(struct rig *r, struct kvf_op *op)
{
	prep_retrieve(r, op);
	op->flags = KVF_OP_LAYERWISE;
}

static void prep_prefetch(struct rig *r, struct kvf_op *op)
{
	kvf_prep_prefetch(op, r->seq, 0, WHOLE_TOKENS, LONG);
}

static void prep_plain_prefetch(struct rig *r, struct kvf_op *op)
{
	kvf_prep_prefetch(op, r->seq, 0, WHOLE_TOKENS, 0);
}

static void prep_lookup(struct rig *r, struct kvf_op *op)
{
	kvf_prep_lookup(op, r->seq, 0, 0, LONG);
}

static void prep_lookup_below(struct rig *r, struct kvf_op *op)
{
	kvf_prep_lookup(op, r->seq, 0, 0, 0);
}

static void prep_pin(struct rig *r, struct kvf_op *op)
{
	kvf_prep_pin(op, r->seq, 0, WHOLE_TOKENS, LONG);
}

static void prep_demote(struct rig *r, struct kvf_op *op)
{
	kvf_prep_demote(op, r->seq, 0, WHOLE_TOKENS);
}

static void prep_remove(struct rig *r, struct kvf_op *op)
{
	kvf_prep_remove(op, r->seq, 0, WHOLE_TOKENS, 0);
}

static void prep_clear(struct rig *r, struct kvf_op *op)
{
	(void)r;
	kvf_prep_clear(op, 0);
}

static void prep_flush(struct rig *r, struct kvf_op *op)
{
	(void)r;
	kvf_prep_flush(op);
}

static const struct kind {
	const char *name;
	void (*prep)(struct rig *r, struct kvf_op *op);
	bool below; /* what it is about is in the tier alone */
	bool holds; /* a lease that it gives is counted */
	uint32_t tokens;
	unsigned ends; /* all of them must be met */
} kinds[] = {
	{ "store", prep_store, false, false, WHOLE_TOKENS, REFUSED | FAILED | WHOLE },
	{ "store, durable", prep_durable, false, false, WHOLE_TOKENS, REFUSED | FAILED | DROPPED | WHOLE },
	{ "retrieve", prep_retrieve, false, false, WHOLE_TOKENS, REFUSED | FAILED | WHOLE },
	{ "retrieve by layers", prep_layers, false, false, WHOLE_TOKENS, REFUSED | FAILED | WHOLE },
	{ "retrieve from below", prep_retrieve, true, false, WHOLE_TOKENS, REFUSED | FAILED | WHOLE },
	{ "prefetch", prep_plain_prefetch, true, false, WHOLE_TOKENS, REFUSED | FAILED | WHOLE },
	{ "prefetch with a lease", prep_prefetch, true, true, WHOLE_TOKENS, REFUSED | FAILED | WHOLE },
	{ "lookup", prep_lookup, false, true, WHOLE_TOKENS, REFUSED | BARE | WHOLE },
	{ "lookup below", prep_lookup_below, true, false, WHOLE_TOKENS, REFUSED | BARE | WHOLE },
	{ "pin", prep_pin, false, true, WHOLE_TOKENS, REFUSED | FAILED | WHOLE },
	{ "demote", prep_demote, false, false, WHOLE_TOKENS, REFUSED | WHOLE },
	{ "remove", prep_remove, false, false, WHOLE_TOKENS, REFUSED | FAILED | WHOLE },
	{ "clear", prep_clear, false, false, WHOLE_TOKENS, REFUSED | FAILED | WHOLE },
	{ "flush", prep_flush, false, false, 0, REFUSED | WHOLE },
};

/* Polls until the operation ends; after a while there is memory again, and time enough for whoever waits for it. */
static struct kvf_completion await(struct rig *r, struct simmem *mem, uint64_t id)
{
	struct kvf_completion c = { 0 };

	for (int i = 0; i < 4000; i++) {
		if (i == 300)
			mem->fail_at = 0;
		tier_rig_now += 1000000;
		if (kvf_poll(r->engine, &c, 1) == 1 && c.kind == KVF_DONE && c.op_id == id)
			return c;
	}
	CU_FAIL_FATAL("the operation did not end");
	return c;
}

static unsigned judge(const struct kind *k, const struct kvf_completion *c)
{
	bool all = c->tokens == k->tokens;

	if (c->status == KVF_ENOMEM && c->reason == KVF_REASON_MEMORY)
		return FAILED;
	if (c->status == KVF_EDROPPED && c->op == KVF_OP_STORE && all && c->level == KVF_LEVEL_INDEXED)
		return DROPPED;
	if (c->status == KVF_OK && c->reason == KVF_REASON_MEMORY && c->op == KVF_OP_LOOKUP)
		return BARE;
	if (c->status == KVF_OK && c->reason == KVF_REASON_NONE && all)
		return WHOLE;
	fprintf(stderr, "%s: status %d, reason %u, %u tokens, level %u\n", k->name, c->status, c->reason, c->tokens,
		c->level);
	return 0;
}

static void check_lease(struct rig *r, const struct kind *k, const struct kvf_completion *c)
{
	uint64_t leased = rig_stats(r).slots_leased;

	CU_ASSERT_EQUAL(!!c->lease_id, leased > 0);
	if (k->holds && c->kind == KVF_DONE && c->status == KVF_OK && !c->reason)
		CU_ASSERT_EQUAL(leased, CHUNKS);
	if (c->lease_id)
		CU_ASSERT_EQUAL(rig_unpin(r, c->lease_id, 0, SIZE_MAX).status, KVF_OK);
	CU_ASSERT_EQUAL(rig_stats(r).slots_leased, 0);
}

static void check_quiet(struct rig *r)
{
	struct kvf_stats s = rig_stats(r);

	CU_ASSERT_EQUAL(kvf_verify(r->engine), KVF_OK);
	CU_ASSERT_EQUAL(s.slots_copying, 0);
	CU_ASSERT_EQUAL(s.slots_loading, 0);
	CU_ASSERT_EQUAL(s.slots_quarantined, 0);
	CU_ASSERT_EQUAL(s.in_flight, 0);
	CU_ASSERT_EQUAL(s.slots_free + s.slots_resident, s.slots);
}

/* One run. Returns how it ended. */
static unsigned run(const struct kind *k, uint64_t nth, bool persistent, bool *hit)
{
	struct kvf_completion c = { 0 };
	struct memtier m;
	struct simmem mem;
	unsigned end = REFUSED;
	struct kvf_op op;
	uint64_t id = 0;
	struct rig r;
	int rc;

	simmem_init(&mem, 1);
	tier_rig_open_more(&r, &m, 1, KVF_TIER_RECORDS | KVF_TIER_DURABLE | KVF_TIER_CLEARS,
			   (struct rig_options){ .slots = 64, .allocator = &mem.allocator });
	if (k->below)
		tier_rig_only_below(&r, 1, CHUNKS);
	else
		tier_rig_store(&r, 1, CHUNKS);
	tier_rig_flush(&r);
	k->prep(&r, &op);
	starve(r.engine);
	mem.fail_at = mem.calls + nth;
	mem.persistent = persistent;
	rc = kvf_submit(r.engine, &op, 1, &id);
	CU_ASSERT(rc == 1 || rc == KVF_ENOMEM);
	if (rc == 1) {
		c = await(&r, &mem, id);
		end = judge(k, &c);
		if (op.code == KVF_OP_RETRIEVE)
			CU_ASSERT_EQUAL(rig_mismatches(&r, 0, c.tokens), 0);
	}
	*hit = mem.failures > 0;
	mem.fail_at = 0;
	feed(r.engine);
	tier_rig_flush(&r);
	check_lease(&r, k, &c);
	check_quiet(&r);
	/* The next one finds everything as it should be. */
	if (rc != 1 && k->tokens)
		CU_ASSERT_EQUAL(rig_run(&r, &op).tokens, k->tokens);
	tier_rig_close(&r, &m);
	CU_ASSERT_EQUAL(mem.live_blocks, 0);
	CU_ASSERT_EQUAL(mem.wrong_sizes, 0);
	return end;
}

static void test_every_allocation(void)
{
	for (unsigned i = 0; i < KVF_ARRAY_LEN(kinds); i++) {
		const struct kind *k = &kinds[i];
		unsigned seen = 0;

		for (int persistent = 0; persistent < 2; persistent++) {
			bool hit = true;

			for (uint64_t nth = 1; hit && nth < 200; nth++) {
				unsigned end = run(k, nth, persistent, &hit);

				if (!hit || !(end & k->ends))
					CU_ASSERT(end & k->ends & (hit ? ~0u : WHOLE));
				seen |= end;
			}
			CU_ASSERT_EQUAL(hit, false);
		}
		if (seen != k->ends)
			fprintf(stderr, "%s: ended in the ways 0x%x, not 0x%x\n", k->name, seen, k->ends);
		CU_ASSERT_EQUAL(seen, k->ends);
	}
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = { { "every_allocation", test_every_allocation } };

	return kvf_test_main("no_memory", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
