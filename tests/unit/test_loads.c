/* SPDX-License-Identifier: Apache-2.0 */
/* What comes up from the tiers: who is asked, how often, in which order, for whom, and what is kept of it. */
#include "tests/harness.h"
#include "tests/support/dev_rig.h"

#include <string.h>

#define CHUNKS 4u
#define TOKENS (CHUNKS * RIG_CHUNK)

static struct kvf_completion fetch(struct rig *r)
{
	return tier_rig_fetch(r, CHUNKS);
}

static void begin_prefetch(struct rig *r, uint64_t number)
{
	struct kvf_op op;

	rig_tokens(r, number, TOKENS);
	kvf_prep_prefetch(&op, r->seq, 0, TOKENS, 0);
	rig_submit(r, &op);
}

/* Key of chunk `chunk` of the sequence that is open. */
static bool is_for(struct rig *r, const struct kvf_tier_req *req, uint32_t chunk)
{
	uint8_t key[KVF_KEY_BYTES];

	CU_ASSERT_EQUAL(kvf_seq_key(r->seq, chunk, key), KVF_OK);
	return !memcmp(req->key, key, sizeof(key));
}

/* ---- a second try ---- */

/* Three tiers that all have the chunks: one that fails is tried no more, those below it are. */
static void test_further_down(void)
{
	static const struct {
		int fail[3];
		uint32_t gets[3];
		uint32_t tokens;
		uint8_t reason;
	} of[] = {
		{ { 0, 0, 0 }, { 4, 0, 0 }, TOKENS, KVF_REASON_NONE },
		{ { KVF_EIO, 0, 0 }, { 0, 4, 0 }, TOKENS, KVF_REASON_NONE },
		{ { KVF_ENOENT, 0, 0 }, { 0, 4, 0 }, TOKENS, KVF_REASON_NONE },
		/* Two failures are enough; who has not got it has not failed. */
		{ { KVF_EIO, KVF_EIO, 0 }, { 0, 0, 0 }, 0, KVF_REASON_TIER },
		{ { KVF_ECORRUPT, KVF_ECORRUPT, 0 }, { 0, 0, 0 }, 0, KVF_REASON_CORRUPT },
		{ { KVF_ENOENT, KVF_ENOENT, 0 }, { 0, 0, 4 }, TOKENS, KVF_REASON_NONE },
		{ { KVF_EIO, KVF_ENOENT, 0 }, { 0, 0, 4 }, TOKENS, KVF_REASON_NONE },
		{ { KVF_ENOENT, KVF_EIO, 0 }, { 0, 0, 4 }, TOKENS, KVF_REASON_NONE },
		{ { KVF_ENOENT, KVF_ENOENT, KVF_ENOENT }, { 0, 0, 0 }, 0, KVF_REASON_MISS },
		{ { KVF_ENOENT, KVF_ENOENT, KVF_EIO }, { 0, 0, 0 }, 0, KVF_REASON_TIER },
	};

	for (unsigned i = 0; i < KVF_ARRAY_LEN(of); i++) {
		struct kvf_completion c;
		struct memtier m[3];
		struct rig r;

		tier_rig_open_more(&r, m, 3, KVF_TIER_RECORDS, (struct rig_options){ .slots = 64 });
		tier_rig_only_below(&r, 1, CHUNKS);
		for (int t = 0; t < 3; t++) {
			CU_ASSERT_EQUAL(m[t].n_chunks, CHUNKS);
			m[t].fail = of[i].fail[t];
			m[t].fail_kind = KVF_REQ_GET;
		}
		c = fetch(&r);
		CU_ASSERT_EQUAL(c.tokens, of[i].tokens);
		CU_ASSERT_EQUAL(c.reason, of[i].reason);
		CU_ASSERT_EQUAL(c.ram_tokens, 0);
		for (int t = 0; t < 3; t++)
			CU_ASSERT_EQUAL(m[t].gets, of[i].gets[t]);
		/* Nobody's name was asked for but the first one's: it has them all. */
		CU_ASSERT_EQUAL(m[0].exists, CHUNKS);
		CU_ASSERT_EQUAL(m[1].exists + m[2].exists, 0);
		CU_ASSERT_EQUAL(rig_stats(&r).slots_loading, 0);
		tier_rig_close(&r, m);
	}
}

/* One tier: what failed once is not asked for again, and the reason is its own. */
static void test_nobody_below(void)
{
	static const struct {
		int fail;
		uint8_t reason;
	} of[] = {
		{ KVF_EIO, KVF_REASON_TIER },
		{ KVF_ECORRUPT, KVF_REASON_CORRUPT },
		{ KVF_ENOENT, KVF_REASON_MISS },
	};

	for (unsigned i = 0; i < KVF_ARRAY_LEN(of); i++) {
		struct kvf_completion c;
		struct memtier m;
		struct rig r;

		tier_rig_open(&r, &m, 64, KVF_TIER_RECORDS, false);
		tier_rig_only_below(&r, 1, CHUNKS);
		m.fail = of[i].fail;
		m.fail_kind = KVF_REQ_GET;
		c = fetch(&r);
		CU_ASSERT_EQUAL(c.tokens, 0);
		CU_ASSERT_EQUAL(c.reason, of[i].reason);
		CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].gets, CHUNKS);
		CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].get_misses, i == 2 ? CHUNKS : 0);
		CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].stale, i == 1 ? CHUNKS : 0);
		tier_rig_close(&r, &m);
	}
}

/* Planned in RAM, but gone when its turn came, behind a window full of others: the first tier that works is tried. */
static void test_gone_since(void)
{
	const uint32_t all = 40, gone = 4;

	for (int down = 0; down < 2; down++) {
		struct kvf_completion c;
		struct kvf_op ops[2];
		struct memtier m[2];
		uint64_t id[2];
		struct rig r;

		tier_rig_open_more(&r, m, 2, KVF_TIER_RECORDS, (struct rig_options){ .slots = 64 });
		tier_rig_store(&r, 1, all);
		tier_rig_flush(&r);
		rig_wipe(&r);
		m[0].fail = down ? KVF_EIO : 0;
		rig_prep(&r, &ops[0], KVF_OP_RETRIEVE, 0, all * RIG_CHUNK);
		kvf_prep_remove(&ops[1], r.seq, (all - gone) * RIG_CHUNK, gone * RIG_CHUNK, KVF_TIER_RAM);
		CU_ASSERT_EQUAL_FATAL(kvf_submit(r.engine, ops, 2, id), 2);
		c = rig_await(&r, id[0]);
		CU_ASSERT_EQUAL(c.tokens, all * RIG_CHUNK);
		CU_ASSERT_EQUAL(c.reason, KVF_REASON_NONE);
		CU_ASSERT_EQUAL(c.ram_tokens, (all - gone) * RIG_CHUNK);
		CU_ASSERT_EQUAL(rig_mismatches(&r, 0, all * RIG_CHUNK), 0);
		CU_ASSERT_EQUAL(m[0].gets, down ? 0 : gone);
		CU_ASSERT_EQUAL(m[1].gets, down ? gone : 0);
		tier_rig_close(&r, m);
	}
}

/* ---- one transfer for all ---- */

/* Counted: transfers that somebody else had begun. */
static void test_shared(void)
{
	struct memtier m;
	uint64_t id[3];
	struct rig r;

	tier_rig_open(&r, &m, 64, KVF_TIER_RECORDS, false);
	tier_rig_only_below(&r, 1, CHUNKS);
	CU_ASSERT_EQUAL(fetch(&r).tokens, TOKENS);
	CU_ASSERT_EQUAL(rig_stats(&r).shared_transfers, 0);
	CU_ASSERT_EQUAL(rig_remove(&r, 0, TOKENS, KVF_TIER_RAM).status, KVF_OK);
	rig_wipe(&r);
	m.hold = true;
	m.hold_kind = KVF_REQ_GET;
	for (int i = 0; i < 3; i++)
		id[i] = tier_rig_begin_retrieve(&r, 1, CHUNKS, KVF_PRIO_NORMAL);
	tier_rig_poll(&r, 10);
	CU_ASSERT_EQUAL(m.n_held, CHUNKS);
	CU_ASSERT_EQUAL(rig_stats(&r).shared_transfers, 2 * CHUNKS);
	/* One of them leaves: the others get theirs. */
	CU_ASSERT_EQUAL(kvf_cancel(r.engine, id[0]), KVF_OK);
	tier_rig_poll(&r, 10);
	CU_ASSERT_EQUAL(m.cancels, 0);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_quarantined, 0);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_loading, CHUNKS);
	m.hold = false;
	CU_ASSERT_EQUAL(rig_await(&r, id[1]).tokens, TOKENS);
	CU_ASSERT_EQUAL(m.gets, 2 * CHUNKS);
	CU_ASSERT_EQUAL(rig_mismatches(&r, 0, TOKENS), 0);
	tier_rig_close(&r, &m);
}

/* The transfer goes on for as long as the most patient of those who wait for it. */
static void test_longest_deadline(void)
{
	static const uint64_t deadline[] = { 30, 10, 50, 40 };
	uint64_t most = 0;
	struct kvf_op op;
	struct memtier m;
	struct rig r;

	tier_rig_open_held(&r, &m, 1);
	for (unsigned i = 0; i < KVF_ARRAY_LEN(deadline); i++) {
		rig_prep(&r, &op, KVF_OP_RETRIEVE, 0, RIG_CHUNK);
		op.deadline_ns = tier_rig_now + deadline[i] * 1000000000;
		rig_submit(&r, &op);
		tier_rig_poll(&r, 10);
		CU_ASSERT_EQUAL_FATAL(m.n_held, 1);
		most = op.deadline_ns > most ? op.deadline_ns : most;
		CU_ASSERT_EQUAL(m.held[0]->deadline_ns, most);
	}
	m.hold = false;
	tier_rig_poll(&r, 10);
	tier_rig_close(&r, &m);
}

/* Gets wait by class: a retrieve's go before those of prefetches, and take along what a prefetch had asked for. */
static void test_classes(void)
{
	static const struct {
		uint64_t number;
		bool prefetch;
	} asked[] = { { 1, true }, { 2, true }, { 3, false }, { 2, false }, { 4, true } };
	static const uint64_t sent[] = { 3, 2, 1, 4 };
	struct memtier m;
	struct kvf_op op;
	struct rig r;

	tier_rig_open(&r, &m, 64, KVF_TIER_RECORDS, false);
	for (uint64_t i = 1; i <= 4; i++)
		tier_rig_only_below(&r, i, 1);
	m.full_kind = KVF_REQ_GET;
	for (unsigned i = 0; i < KVF_ARRAY_LEN(asked); i++) {
		rig_tokens(&r, asked[i].number, RIG_CHUNK);
		rig_prep(&r, &op, KVF_OP_RETRIEVE, 0, RIG_CHUNK);
		if (asked[i].prefetch)
			kvf_prep_prefetch(&op, r.seq, 0, RIG_CHUNK, 0);
		rig_submit(&r, &op);
		tier_rig_poll(&r, 10);
	}
	CU_ASSERT_EQUAL(m.n_held, 0);
	m.full_kind = 0;
	m.hold = true;
	tier_rig_poll(&r, 1);
	CU_ASSERT_EQUAL_FATAL(m.n_held, KVF_ARRAY_LEN(sent));
	for (unsigned i = 0; i < KVF_ARRAY_LEN(sent); i++) {
		rig_tokens(&r, sent[i], RIG_CHUNK);
		CU_ASSERT(is_for(&r, m.held[i], 0));
	}
	m.hold = false;
	tier_rig_poll(&r, 20);
	CU_ASSERT_EQUAL(m.gets, KVF_ARRAY_LEN(sent));
	tier_rig_close(&r, &m);
}

/* A retrieve that comes when the bytes are there but not yet believed waits for that, and asks nobody. */
static void test_joins_while_summing(void)
{
	struct memtier m;
	struct rig r;
	uint64_t id;

	tier_rig_open_held(&r, &m, CHUNKS);
	begin_prefetch(&r, 1);
	tier_rig_poll(&r, 10);
	CU_ASSERT_EQUAL(m.n_held, CHUNKS);
	id = tier_rig_begin_retrieve(&r, 1, CHUNKS, KVF_PRIO_NORMAL);
	m.hold = false;
	rig_wipe(&r);
	CU_ASSERT_EQUAL(rig_await(&r, id).tokens, TOKENS);
	CU_ASSERT_EQUAL(rig_mismatches(&r, 0, TOKENS), 0);
	CU_ASSERT_EQUAL(m.gets, CHUNKS);
	CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].gets, CHUNKS);
	tier_rig_close(&r, &m);
}

/* ---- leaving ---- */

/* Nobody waits for a get any more. Not sent yet: it is forgotten. Sent: the slot waits for the tier. */
static void test_nobody_waits(void)
{
	for (int sent = 0; sent < 2; sent++) {
		struct kvf_completion c;
		struct memtier m;
		struct rig r;
		uint64_t id;

		tier_rig_open(&r, &m, 64, KVF_TIER_RECORDS, false);
		tier_rig_only_below(&r, 1, CHUNKS);
		m.full_kind = sent ? 0 : KVF_REQ_GET;
		m.hold = sent;
		m.hold_kind = KVF_REQ_GET;
		id = tier_rig_begin_retrieve(&r, 1, CHUNKS, KVF_PRIO_NORMAL);
		tier_rig_poll(&r, 10);
		CU_ASSERT_EQUAL(rig_stats(&r).slots_loading, CHUNKS);
		kvf_cancel(r.engine, id);
		c = rig_await(&r, id);
		CU_ASSERT_EQUAL(c.status, KVF_ECANCELED);
		CU_ASSERT_EQUAL(c.tokens, 0);
		CU_ASSERT_EQUAL(m.cancels, sent ? CHUNKS : 0);
		CU_ASSERT_EQUAL(rig_stats(&r).slots_quarantined, sent ? CHUNKS : 0);
		CU_ASSERT_EQUAL(rig_stats(&r).slots_loading, sent ? CHUNKS : 0);
		CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].orphaned, sent ? CHUNKS : 0);
		CU_ASSERT_EQUAL(kvf_verify(r.engine), KVF_OK);
		m.full_kind = 0;
		m.hold = false;
		tier_rig_poll(&r, 10);
		CU_ASSERT_EQUAL(m.gets, sent ? CHUNKS : 0);
		CU_ASSERT_EQUAL(rig_stats(&r).slots_loading, 0);
		CU_ASSERT_EQUAL(rig_stats(&r).slots_quarantined, 0);
		CU_ASSERT_EQUAL(rig_stats(&r).slots_free, 64);
		CU_ASSERT_EQUAL(fetch(&r).tokens, TOKENS);
		tier_rig_close(&r, &m);
	}
}

/* What was read for somebody who left before it was checked is kept. */
static void test_left_while_summing(void)
{
	struct memtier m;
	struct rig r;
	uint64_t id;

	tier_rig_open_held(&r, &m, CHUNKS);
	id = tier_rig_begin_retrieve(&r, 1, CHUNKS, KVF_PRIO_NORMAL);
	tier_rig_poll(&r, 10);
	m.hold = false;
	/* It is cancelled in the turn in which the bytes come. */
	CU_ASSERT_EQUAL(kvf_cancel(r.engine, id), KVF_OK);
	CU_ASSERT_EQUAL(rig_await(&r, id).status, KVF_ECANCELED);
	tier_rig_poll(&r, 10);
	CU_ASSERT_EQUAL(m.gets, CHUNKS);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_loading, 0);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_resident, CHUNKS);
	CU_ASSERT_EQUAL(fetch(&r).ram_tokens, TOKENS);
	tier_rig_close(&r, &m);
}

/* Who is told to stop while the tier hangs: that is the tier's failure when it is for the time, not when it is not. */
static void test_whose_failure(void)
{
	for (int late = 0; late < 2; late++) {
		struct memtier m;
		struct kvf_op op;
		struct rig r;

		tier_rig_open(&r, &m, 64, KVF_TIER_RECORDS, false);
		for (uint64_t i = 1; i <= 6; i++)
			tier_rig_only_below(&r, i, 1);
		m.hold = true;
		m.hold_kind = KVF_REQ_GET;
		for (uint64_t i = 1; i <= 6; i++) {
			uint64_t id;

			rig_tokens(&r, i, RIG_CHUNK);
			rig_prep(&r, &op, KVF_OP_RETRIEVE, 0, RIG_CHUNK);
			op.deadline_ns = tier_rig_now + KVF_NS_PER_S;
			id = rig_submit(&r, &op);
			tier_rig_poll(&r, 10);
			if (late)
				tier_rig_now += KVF_NS_PER_S;
			else
				kvf_cancel(r.engine, id);
			CU_ASSERT_EQUAL(rig_await(&r, id).status, late ? KVF_ETIMEDOUT : KVF_ECANCELED);
		}
		CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].errors, late ? 6 : 0);
		CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].timeouts, late ? 6 : 0);
		CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].orphaned, 6);
		m.hold = false;
		tier_rig_poll(&r, 10);
		tier_rig_close(&r, &m);
	}
}

/* A retrieve that is told to stop lets go of what it waits for below, though the device still holds its copies. */
static void test_stops_below_at_once(void)
{
	struct kvf_completion c;
	struct memtier m;
	struct simdev d;
	struct rig r;
	uint64_t id;

	dev_rig_open_tier(&r, &d, &m, KVF_TIER_RECORDS);
	tier_rig_store(&r, 1, CHUNKS);
	tier_rig_flush(&r);
	rig_remove(&r, 2 * RIG_CHUNK, 2 * RIG_CHUNK, KVF_TIER_RAM);
	dev_rig_hold(&d);
	d.faults.deaf = SIM_PPM;
	m.hold = true;
	m.hold_kind = KVF_REQ_GET;
	id = tier_rig_begin_retrieve(&r, 1, CHUNKS, KVF_PRIO_NORMAL);
	tier_rig_poll(&r, 10);
	CU_ASSERT_EQUAL(m.n_held, 2);
	CU_ASSERT_EQUAL(simdev_copies_of(&d, id, KVF_COPY_SCATTER), 2);
	kvf_cancel(r.engine, id);
	CU_ASSERT_EQUAL(kvf_poll(r.engine, &c, 1), 0);
	CU_ASSERT_EQUAL(m.cancels, 2);
	tier_rig_poll(&r, 10);
	CU_ASSERT_EQUAL(kvf_poll(r.engine, &c, 1), 0);
	CU_ASSERT_EQUAL(kvf_cancel(r.engine, id), KVF_OK);
	dev_rig_go(&d);
	c = rig_await(&r, id);
	CU_ASSERT_EQUAL(c.status, KVF_ECANCELED);
	CU_ASSERT_EQUAL(c.tokens, 2 * RIG_CHUNK); /* they came all the same */
	m.hold = false;
	tier_rig_poll(&r, 10);
	tier_rig_close(&r, &m);
}

/* ---- how it goes ---- */

/* Progress is told when there is some. */
static void test_progress(void)
{
	struct kvf_completion c = { .kind = KVF_PROGRESS };
	uint32_t last = 0;
	struct memtier m;
	struct kvf_op op;
	struct rig r;

	tier_rig_open_held(&r, &m, CHUNKS);
	rig_prep(&r, &op, KVF_OP_RETRIEVE, 0, TOKENS);
	op.flags = KVF_OP_PROGRESS;
	rig_submit(&r, &op);
	for (int i = 0; i < 20; i++)
		CU_ASSERT_EQUAL(kvf_poll(r.engine, &c, 1), 0);
	m.hold = false;
	for (int i = 0; i < 100 && c.kind != KVF_DONE; i++) {
		if (kvf_poll(r.engine, &c, 1) != 1 || c.kind != KVF_PROGRESS)
			continue;
		CU_ASSERT(c.tokens > last);
		last = c.tokens;
	}
	CU_ASSERT_EQUAL(last, TOKENS);
	CU_ASSERT_EQUAL(c.kind, KVF_DONE);
	tier_rig_close(&r, &m);
}

/* A chunk that was scattered lets go of its slot at once, though one before it is still to come. */
static void test_lets_go(void)
{
	struct memtier m;
	struct rig r;
	uint64_t id;

	tier_rig_open(&r, &m, 64, KVF_TIER_RECORDS, false);
	tier_rig_store(&r, 1, CHUNKS);
	tier_rig_flush(&r);
	rig_remove(&r, 0, RIG_CHUNK, KVF_TIER_RAM);
	m.hold = true;
	m.hold_kind = KVF_REQ_GET;
	id = tier_rig_begin_retrieve(&r, 1, CHUNKS, KVF_PRIO_NORMAL);
	tier_rig_poll(&r, 20);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_loading, 1);
	CU_ASSERT_EQUAL(rig_remove(&r, RIG_CHUNK, 3 * RIG_CHUNK, KVF_TIER_RAM).tokens, 3 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_free, 63);
	m.hold = false;
	CU_ASSERT_EQUAL(rig_await(&r, id).tokens, TOKENS);
	tier_rig_close(&r, &m);
}

/* As many as may be are asked for at once, and no more. */
static void test_at_once(void)
{
	struct memtier m;
	struct rig r;

	tier_rig_open_held(&r, &m, 12);
	tier_rig_begin_retrieve(&r, 1, 12, KVF_PRIO_NORMAL);
	for (int i = 0; i < 50 && !rig_stats(&r).slots_loading; i++)
		tier_rig_poll(&r, 1);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_loading, 8);
	tier_rig_poll(&r, 10);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_loading, 8);
	CU_ASSERT_EQUAL(m.n_held, 8);
	m.hold = false;
	tier_rig_poll(&r, 30);
	CU_ASSERT_EQUAL(m.gets, 12);
	tier_rig_close(&r, &m);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "further_down", test_further_down },
		{ "nobody_below", test_nobody_below },
		{ "gone_since", test_gone_since },
		{ "shared", test_shared },
		{ "longest_deadline", test_longest_deadline },
		{ "classes", test_classes },
		{ "joins_while_summing", test_joins_while_summing },
		{ "nobody_waits", test_nobody_waits },
		{ "left_while_summing", test_left_while_summing },
		{ "whose_failure", test_whose_failure },
		{ "stops_below_at_once", test_stops_below_at_once },
		{ "progress", test_progress },
		{ "lets_go", test_lets_go },
		{ "at_once", test_at_once },
	};

	return kvf_test_main("loads", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
