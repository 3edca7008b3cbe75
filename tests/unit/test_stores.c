/* SPDX-License-Identifier: Apache-2.0 */
/* Stores: what is skipped, shared, dropped, demoted, and which level is reached. */
#include "tests/harness.h"
#include "tests/sim/simmem.h"
#include "tests/support/dev_rig.h"

#include <string.h>

#define CHUNKS 4u
#define TOKENS (CHUNKS * RIG_CHUNK)
#define LONG 3600000000000ull
#define TAIL 10u

static struct kvf_completion run_level(struct rig *r, uint32_t first, uint32_t chunks, uint8_t level)
{
	struct kvf_op op;

	rig_prep(r, &op, KVF_OP_STORE, first * RIG_CHUNK, chunks * RIG_CHUNK);
	op.level = level;
	return rig_run(r, &op);
}

/* ---- the partial chunk that a longer one replaces ---- */

/* Tokens of the chunk that is evicted next. */
static uint32_t next_victim(struct rig *r)
{
	uint64_t evicted = rig_stats(r).evictions;
	struct kvf_event ev[64];

	while (kvf_events(r->engine, ev, 64, NULL))
		;
	for (uint64_t i = 0; i < 64; i++) {
		tier_rig_store(r, 1000 + i, 1);
		if (rig_stats(r).evictions == evicted)
			continue;
		for (int k = 0, n = kvf_events(r->engine, ev, 64, NULL); k < n; k++) {
			if (ev[k].kind == KVF_EVENT_EVICTED)
				return ev[k].n_tokens;
		}
	}
	CU_FAIL("nothing was evicted");
	return 0;
}

static void append(struct rig *r, uint64_t number, uint32_t from, uint32_t to)
{
	uint32_t tokens[RIG_MAX_TOKENS];

	rig_token_values(number, tokens, to);
	CU_ASSERT_EQUAL_FATAL(kvf_seq_append(r->seq, tokens + from, to - from), KVF_OK);
}

/* A prompt that begins older than the pool's oldest, is stored with a partial chunk, and grows. */
static void open_with_partial(struct rig *r)
{
	rig_open(r, &(struct rig_options){ .slots = 16, .unfull = true });
	tier_rig_store(r, 9, 3); /* older than what follows */
	rig_tokens(r, 1, RIG_CHUNK + TAIL);
	CU_ASSERT_EQUAL(rig_store(r, 0, RIG_CHUNK + TAIL, 0).tokens, RIG_CHUNK + TAIL);
}

static void test_stale_partial(void)
{
	struct rig r;

	/* Left alone it goes when its turn comes: the older ones first. */
	open_with_partial(&r);
	CU_ASSERT_EQUAL(next_victim(&r), RIG_CHUNK);
	rig_close(&r);
	/* Grown into a full chunk: it goes next. */
	open_with_partial(&r);
	append(&r, 1, RIG_CHUNK + TAIL, 2 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_store(&r, 0, 2 * RIG_CHUNK, 0).tokens, 2 * RIG_CHUNK);
	CU_ASSERT_EQUAL(next_victim(&r), TAIL);
	rig_close(&r);
	/* Grown, but what replaces it is not stored: only what lies before it. */
	open_with_partial(&r);
	CU_ASSERT_EQUAL(rig_remove(&r, 0, RIG_CHUNK, 0).status, KVF_OK);
	append(&r, 1, RIG_CHUNK + TAIL, 2 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_store(&r, 0, RIG_CHUNK, 0).tokens, RIG_CHUNK);
	CU_ASSERT_EQUAL(next_victim(&r), RIG_CHUNK);
	rig_close(&r);
	/* Gone already. */
	open_with_partial(&r);
	CU_ASSERT_EQUAL(rig_remove(&r, 0, kvf_seq_length(r.seq), 0).status, KVF_OK);
	append(&r, 1, RIG_CHUNK + TAIL, 2 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_store(&r, 0, 2 * RIG_CHUNK, 0).tokens, 2 * RIG_CHUNK);
	CU_ASSERT_EQUAL(next_victim(&r), RIG_CHUNK);
	rig_close(&r);
}

/* ---- levels ---- */

/* Only a store that waits for a level needs memory for that. */
static void test_level_memory(void)
{
	static const uint8_t levels[] = { KVF_LEVEL_NONE, KVF_LEVEL_INDEXED, KVF_LEVEL_DURABLE };
	uint64_t calls[KVF_ARRAY_LEN(levels)];

	for (unsigned i = 0; i < KVF_ARRAY_LEN(levels); i++) {
		struct simmem mem;
		struct memtier m;
		struct rig r;

		simmem_init(&mem, 1);
		tier_rig_open_more(&r, &m, 1, KVF_TIER_RECORDS | KVF_TIER_DURABLE,
				   (struct rig_options){ .slots = 400, .allocator = &mem.allocator });
		rig_tokens(&r, 1, 64 * RIG_CHUNK);
		calls[i] = mem.calls;
		CU_ASSERT_EQUAL(run_level(&r, 0, 64, levels[i]).status, KVF_OK);
		tier_rig_flush(&r);
		calls[i] = mem.calls - calls[i];
		/* Nothing to store needs none at any level. */
		CU_ASSERT_EQUAL(run_level(&r, 0, 0, levels[i]).status, KVF_OK);
		tier_rig_close(&r, &m);
		CU_ASSERT_EQUAL(mem.live_blocks, 0);
	}
	CU_ASSERT_EQUAL(calls[1], calls[0]);
	CU_ASSERT_EQUAL(calls[2], calls[0] + 1);
}

/* With a tier of each kind, a level waits for its own; with none of its kind it is refused. */
static void test_level_waits_for_its_tier(void)
{
	static const uint32_t caps[KVF_MAX_TIERS] = { 0, KVF_TIER_SHARED, KVF_TIER_DURABLE, 0 };
	static const uint8_t levels[] = { KVF_LEVEL_REMOTE, KVF_LEVEL_DURABLE };

	for (unsigned i = 0; i < KVF_ARRAY_LEN(levels); i++) {
		struct kvf_custom_tier tiers[KVF_MAX_TIERS];
		struct memtier m[KVF_MAX_TIERS];
		struct kvf_completion c;
		struct kvf_op op;
		struct rig r;
		uint64_t id;

		memset(m, 0, sizeof(m));
		for (int t = 0; t < KVF_MAX_TIERS; t++) {
			m[t].caps = caps[t];
			m[t].hold = true;
			tiers[t] = (struct kvf_custom_tier){ &memtier_ops, &m[t] };
		}
		rig_open(&r, &(struct rig_options){ .slots = 64, .tiers = tiers, .n_tiers = KVF_MAX_TIERS });
		rig_tokens(&r, 1, TOKENS);
		rig_prep(&r, &op, KVF_OP_STORE, 0, TOKENS);
		op.level = levels[i];
		id = rig_submit(&r, &op);
		tier_rig_poll(&r, 50);
		for (unsigned t = 0; t < KVF_MAX_TIERS; t++)
			m[t].hold = t == 1 + i;
		for (int k = 0; k < 50; k++)
			CU_ASSERT_EQUAL(kvf_poll(r.engine, &c, 1), 0);
		m[1 + i].hold = false;
		c = rig_await(&r, id);
		CU_ASSERT_EQUAL(c.status, KVF_OK);
		CU_ASSERT_EQUAL(c.level, levels[i]);
		tier_rig_flush(&r);
		/* All of them are removed from, and none is asked for what is in RAM. */
		kvf_prep_lookup(&op, r.seq, 0, KVF_TIER_RAM, 0);
		CU_ASSERT_EQUAL(rig_run(&r, &op).tokens, TOKENS);
		CU_ASSERT_EQUAL(rig_clear(&r, KVF_TIER_RAM).tokens, TOKENS);
		CU_ASSERT_EQUAL(rig_remove(&r, 0, TOKENS, 0).status, KVF_OK);
		for (int t = 0; t < KVF_MAX_TIERS; t++) {
			CU_ASSERT_EQUAL(m[t].exists, 0);
			CU_ASSERT_EQUAL(m[t].removes, CHUNKS);
			CU_ASSERT_EQUAL(m[t].n_chunks, 0);
		}
		rig_close(&r);
		for (int t = 0; t < KVF_MAX_TIERS; t++)
			memtier_free(&m[t]);
	}
}

/* A chunk that is removed while it is copied reached no level; without one nobody minds. */
static void test_removed_while_copied(void)
{
	for (uint32_t gone = 0; gone < CHUNKS; gone++) {
		for (uint8_t level = KVF_LEVEL_INDEXED; level <= KVF_LEVEL_DURABLE; level++) {
			struct kvf_completion c;
			struct memtier m;
			struct simdev d;
			struct kvf_op op;
			struct rig r;
			uint64_t id;

			dev_rig_open_tier(&r, &d, &m, KVF_TIER_RECORDS | KVF_TIER_DURABLE);
			rig_tokens(&r, 1, TOKENS);
			rig_prep(&r, &op, KVF_OP_STORE, 0, TOKENS);
			op.level = level;
			dev_rig_hold(&d);
			id = rig_submit(&r, &op);
			tier_rig_poll(&r, 4);
			CU_ASSERT_EQUAL(rig_stats(&r).slots_copying, CHUNKS);
			rig_remove(&r, gone * RIG_CHUNK, RIG_CHUNK, 0);
			dev_rig_go(&d);
			c = rig_await(&r, id);
			CU_ASSERT_EQUAL(c.tokens, TOKENS);
			CU_ASSERT_EQUAL(c.level, KVF_LEVEL_INDEXED);
			CU_ASSERT_EQUAL(c.status, level > KVF_LEVEL_INDEXED ? KVF_EDROPPED : KVF_OK);
			CU_ASSERT_EQUAL(c.reason, level > KVF_LEVEL_INDEXED ? KVF_REASON_DROPPED : KVF_REASON_NONE);
			tier_rig_flush(&r);
			CU_ASSERT_EQUAL(m.n_chunks, CHUNKS - 1);
			CU_ASSERT_EQUAL(kvf_seq_resident(r.seq), gone * RIG_CHUNK);
			CU_ASSERT_EQUAL(rig_stats(&r).slots_free, 64 - (CHUNKS - 1));
			tier_rig_close(&r, &m);
		}
	}
}

/* Told to stop while it waits for its level: what it has is indexed, and no answer finds it any more. */
static void test_stopped_at_its_level(void)
{
	struct kvf_completion c;
	struct memtier m;
	struct kvf_op op;
	struct rig r;
	uint64_t id;

	tier_rig_open(&r, &m, 64, KVF_TIER_RECORDS | KVF_TIER_DURABLE, false);
	rig_tokens(&r, 1, TOKENS);
	rig_compute(&r, TOKENS);
	m.hold = true;
	rig_prep(&r, &op, KVF_OP_STORE, 0, TOKENS);
	op.level = KVF_LEVEL_DURABLE;
	op.flags = KVF_OP_SOURCE_FREE;
	id = rig_submit(&r, &op);
	tier_rig_poll(&r, 20);
	CU_ASSERT_EQUAL(kvf_poll(r.engine, &c, 1), 1);
	CU_ASSERT_EQUAL(c.kind, KVF_SOURCE_FREE);
	CU_ASSERT_EQUAL(c.tokens, TOKENS);
	kvf_cancel(r.engine, id);
	c = rig_await(&r, id);
	CU_ASSERT_EQUAL(c.status, KVF_ECANCELED);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_CANCELED);
	CU_ASSERT_EQUAL(c.tokens, TOKENS);
	CU_ASSERT_EQUAL(c.level, KVF_LEVEL_INDEXED);
	CU_ASSERT_EQUAL(r.source_free, 0);
	CU_ASSERT_EQUAL(kvf_verify(r.engine), KVF_OK);
	m.hold = false;
	tier_rig_flush(&r);
	CU_ASSERT_EQUAL(m.puts, CHUNKS);
	/* Cancelled before anything was copied: no tokens, no level, and the source is free. */
	rig_tokens(&r, 2, TOKENS);
	op.seq = r.seq;
	id = rig_submit(&r, &op);
	kvf_cancel(r.engine, id);
	c = rig_await(&r, id);
	CU_ASSERT_EQUAL(c.status, KVF_ECANCELED);
	CU_ASSERT_EQUAL(c.tokens, 0);
	CU_ASSERT_EQUAL(c.level, KVF_LEVEL_NONE);
	CU_ASSERT_EQUAL(r.source_free, 1);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_resident, CHUNKS);
	tier_rig_close(&r, &m);
}

/* ---- what is there, or on its way ---- */

/* Two stores of the same: one copies, the other waits for it, and takes over where the first fails. */
static void test_two_of_the_same(void)
{
	enum { FINE, BROKEN, CANCELED, HOW };

	for (int how = FINE; how < HOW; how++) {
		struct kvf_completion c[2] = { { 0 } };
		struct simdev d;
		struct rig r;
		uint64_t id[2];

		dev_rig_open(&r, &d, DEV_RIG_CAPS, 64);
		dev_rig_hold(&d);
		id[0] = dev_rig_begin_store(&r, 1, CHUNKS, 0);
		tier_rig_poll(&r, 4);
		id[1] = dev_rig_begin_store(&r, 1, CHUNKS, 0);
		tier_rig_poll(&r, 4);
		CU_ASSERT_EQUAL(d.copies, CHUNKS);
		CU_ASSERT_EQUAL(rig_stats(&r).shared_transfers, CHUNKS);
		CU_ASSERT_EQUAL(rig_stats(&r).slots_copying, CHUNKS);
		d.faults.error = how == BROKEN ? SIM_PPM : 0;
		dev_rig_go(&d);
		dev_rig_hold(&d);
		if (how == CANCELED)
			kvf_cancel(r.engine, id[0]);
		tier_rig_poll(&r, 4);
		d.faults.error = 0;
		dev_rig_go(&d);
		for (int n = 0, i = 0; n < 2 && i < 1000; i++) {
			struct kvf_completion got;

			if (kvf_poll(r.engine, &got, 1) == 1)
				c[n++] = got;
		}
		for (int k = 0; k < 2; k++) {
			bool second = c[k].op_id == id[1];

			CU_ASSERT_EQUAL(c[k].tokens, second || how != BROKEN ? TOKENS : 0);
			CU_ASSERT_EQUAL(c[k].status, second || how == FINE ? KVF_OK :
						     how == BROKEN	     ? KVF_EDROPPED :
									       KVF_ECANCELED);
			if (!second)
				CU_ASSERT_EQUAL(c[k].reason, how == FINE   ? KVF_REASON_NONE :
							     how == BROKEN ? KVF_REASON_DEVICE :
									     KVF_REASON_CANCELED);
		}
		CU_ASSERT_EQUAL(d.copies, how == BROKEN ? 2 * CHUNKS : CHUNKS);
		CU_ASSERT_EQUAL(rig_stats(&r).skipped_chunks, how == BROKEN ? 0 : CHUNKS);
		CU_ASSERT_EQUAL(tier_rig_fetch(&r, CHUNKS).tokens, TOKENS);
		rig_close(&r);
	}
}

/* The same of a store and a retrieve that finds the chunks nowhere else, or below. */
static void test_retrieve_joins_a_store(void)
{
	for (int below = 0; below < 2; below++) {
		struct kvf_completion c;
		struct memtier m;
		struct simdev d;
		struct rig r;
		uint64_t id;

		dev_rig_open_tier(&r, &d, &m, KVF_TIER_RECORDS);
		if (below)
			tier_rig_only_below(&r, 1, CHUNKS);
		dev_rig_hold(&d);
		dev_rig_begin_store(&r, 1, CHUNKS, 0);
		tier_rig_poll(&r, 4);
		id = tier_rig_begin_retrieve(&r, 1, CHUNKS, KVF_PRIO_NORMAL);
		tier_rig_poll(&r, 4);
		CU_ASSERT_EQUAL(rig_stats(&r).shared_transfers, CHUNKS);
		d.faults.error = SIM_PPM;
		dev_rig_go(&d);
		dev_rig_hold(&d);
		tier_rig_poll(&r, 2);
		d.faults.error = 0;
		rig_wipe(&r);
		dev_rig_go(&d);
		c = rig_await(&r, id);
		CU_ASSERT_EQUAL(c.status, KVF_OK);
		CU_ASSERT_EQUAL(c.tokens, below ? TOKENS : 0);
		CU_ASSERT_EQUAL(c.reason, below ? KVF_REASON_NONE : KVF_REASON_MISS);
		CU_ASSERT_EQUAL(rig_mismatches(&r, 0, c.tokens), 0);
		CU_ASSERT_EQUAL(m.gets, CHUNKS); /* as it was to be in RAM, nobody had asked where it is */
		tier_rig_close(&r, &m);
	}
}

/* A store of what a tier's get is bringing: it waits for that, and copies itself what did not come. */
static void test_store_joins_a_get(void)
{
	for (int fails = 0; fails < 2; fails++) {
		struct memtier m;
		struct rig r;
		struct kvf_op op;
		uint64_t id;

		tier_rig_open_held(&r, &m, CHUNKS);
		kvf_prep_prefetch(&op, r.seq, 0, TOKENS, 0);
		rig_submit(&r, &op);
		tier_rig_poll(&r, 10);
		CU_ASSERT_EQUAL(m.n_held, CHUNKS);
		id = dev_rig_begin_store(&r, 1, CHUNKS, 0);
		tier_rig_poll(&r, 10);
		CU_ASSERT_EQUAL(rig_stats(&r).slots_copying, 0);
		CU_ASSERT_EQUAL(rig_stats(&r).shared_transfers, CHUNKS);
		m.fail = fails ? KVF_ENOENT : 0;
		m.fail_kind = KVF_REQ_GET;
		m.hold = false;
		CU_ASSERT_EQUAL(rig_await(&r, id).tokens, TOKENS);
		CU_ASSERT_EQUAL(rig_stats(&r).skipped_chunks, fails ? 0 : CHUNKS);
		CU_ASSERT_EQUAL(rig_stats(&r).stored_chunks, fails ? 2 * CHUNKS : CHUNKS);
		m.fail = 0;
		tier_rig_flush(&r);
		CU_ASSERT_EQUAL(tier_rig_fetch(&r, CHUNKS).ram_tokens, TOKENS);
		tier_rig_close(&r, &m);
	}
}

/* ---- slots ---- */

/* As many as may be copied at once begin in the first turn. */
static void test_at_once(void)
{
	struct simdev d;
	struct rig r;

	dev_rig_open(&r, &d, DEV_RIG_CAPS, 32);
	dev_rig_hold(&d);
	dev_rig_begin_store(&r, 1, 10, 0);
	tier_rig_poll(&r, 1);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_copying, 6); /* a quarter less two */
	tier_rig_poll(&r, 10);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_copying, 6);
	CU_ASSERT_EQUAL(d.copies, 6);
	dev_rig_go(&d);
	tier_rig_poll(&r, 10);
	CU_ASSERT_EQUAL(kvf_seq_resident(r.seq), 10 * RIG_CHUNK);
	rig_close(&r);
}

static void open_tenant(struct rig *r, uint64_t number, uint32_t chunks)
{
	uint32_t tokens[RIG_MAX_TOKENS];
	struct kvf_seq_params p;

	kvf_seq_params_init(&p);
	p.salt = "tenant";
	kvf_seq_close(r->seq);
	r->seq = NULL;
	rig_token_values(number, tokens, chunks * RIG_CHUNK);
	CU_ASSERT_EQUAL_FATAL(kvf_seq_open(r->engine, &p, &r->seq), KVF_OK);
	CU_ASSERT_EQUAL(kvf_seq_append(r->seq, tokens, chunks * RIG_CHUNK), KVF_OK);
	r->content = number;
}

/* A tenant whose slots are all leased gets no more: its operations end, they wait for nobody. */
static void test_no_slot_for_a_tenant(void)
{
	struct kvf_completion c;
	struct memtier m;
	struct rig r;
	uint64_t lease;

	tier_rig_open(&r, &m, 64, KVF_TIER_RECORDS, false);
	CU_ASSERT_EQUAL(kvf_set_quota(r.engine, "tenant", 0, 2 * rig_stats(&r).slot_bytes), KVF_OK);
	open_tenant(&r, 1, 1);
	rig_store(&r, 0, RIG_CHUNK, 0);
	tier_rig_flush(&r);
	CU_ASSERT_EQUAL(rig_remove(&r, 0, RIG_CHUNK, KVF_TIER_RAM).status, KVF_OK);
	open_tenant(&r, 2, 2);
	CU_ASSERT_EQUAL(rig_store(&r, 0, 2 * RIG_CHUNK, 0).tokens, 2 * RIG_CHUNK);
	tier_rig_flush(&r);
	lease = rig_lookup(&r, 0, LONG).lease_id;
	CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 2);
	open_tenant(&r, 3, 1);
	c = rig_store(&r, 0, RIG_CHUNK, KVF_OP_SOURCE_FREE);
	CU_ASSERT_EQUAL(c.status, KVF_EDROPPED);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_CAP);
	CU_ASSERT_EQUAL(c.tokens, 0);
	CU_ASSERT_EQUAL(r.source_free, 1);
	CU_ASSERT_EQUAL(rig_stats(&r).dropped_chunks, 1);
	open_tenant(&r, 1, 1);
	c = rig_retrieve(&r, 0, RIG_CHUNK, 0);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_CAP);
	CU_ASSERT_EQUAL(c.tokens, 0);
	c = rig_prefetch(&r, 0, RIG_CHUNK, LONG);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_CAP);
	CU_ASSERT_EQUAL(c.lease_id, 0);
	CU_ASSERT_EQUAL(m.gets, 0);
	/* With one of them given back it goes on. */
	rig_unpin(&r, lease, RIG_CHUNK, SIZE_MAX);
	CU_ASSERT_EQUAL(rig_retrieve(&r, 0, RIG_CHUNK, 0).tokens, RIG_CHUNK);
	rig_unpin(&r, lease, 0, SIZE_MAX);
	tier_rig_close(&r, &m);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "stale_partial", test_stale_partial },
		{ "level_memory", test_level_memory },
		{ "level_waits_for_its_tier", test_level_waits_for_its_tier },
		{ "removed_while_copied", test_removed_while_copied },
		{ "stopped_at_its_level", test_stopped_at_its_level },
		{ "two_of_the_same", test_two_of_the_same },
		{ "retrieve_joins_a_store", test_retrieve_joins_a_store },
		{ "store_joins_a_get", test_store_joins_a_get },
		{ "at_once", test_at_once },
		{ "no_slot_for_a_tenant", test_no_slot_for_a_tenant },
	};

	return kvf_test_main("stores", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
