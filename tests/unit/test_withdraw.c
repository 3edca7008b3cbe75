/* SPDX-License-Identifier: Apache-2.0 */
/* Requests the engine asks a tier to let go of: which ones, how often, and at what cost. */
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "tests/harness.h"
#include "tests/support/tier_rig.h"

static struct rig r;
static struct memtier m;

static void open_far(uint32_t slots)
{
	tier_rig_open(&r, &m, slots, KVF_TIER_RECORDS | KVF_TIER_SHARED, false);
	tier_rig_poll(&r, 20);
}

/* Polls until nothing is left, and closes. */
static void end(void)
{
	struct kvf_completion c[8];

	kvf_seq_close(r.seq);
	for (int i = 0; i < 10000 && !kvf_engine_idle(r.engine); i++)
		kvf_poll(r.engine, c, 8);
	CU_ASSERT_EQUAL(kvf_verify(r.engine), KVF_OK);
	CU_ASSERT_EQUAL(kvf_engine_close(r.engine), KVF_OK);
	CU_ASSERT_EQUAL(m.strangers, 0);
	free(r.kv);
	memtier_free(&m);
}

/* A lookup of so many chunks that the tier holds all of. */
static void hang_a_lookup(uint64_t number, uint32_t chunks)
{
	struct kvf_op op;

	rig_tokens(&r, number, chunks * RIG_CHUNK);
	kvf_prep_lookup(&op, r.seq, 0, 0, 0);
	op.deadline_ns = KVF_NO_DEADLINE;
	rig_submit(&r, &op);
	tier_rig_poll(&r, 5);
}

/* A shutdown that cancels asks a far tier once for each request, and looks at each once: turns that bring nothing new
 * look at nothing. */
static void test_once(void)
{
	uint64_t looks;

	open_far(64);
	m.hold = true;
	tier_rig_store(&r, 1, 16);
	tier_rig_poll(&r, 20);
	CU_ASSERT_EQUAL_FATAL(m.n_held, 16);
	for (uint64_t i = 2; i < 5; i++)
		hang_a_lookup(i, 50);
	CU_ASSERT_EQUAL_FATAL(m.n_held, 166);
	CU_ASSERT_EQUAL(m.cancels, 0);
	CU_ASSERT_EQUAL(kvf_engine_shutdown(r.engine, KVF_SHUTDOWN_CANCEL, KVF_NO_DEADLINE), KVF_OK);
	tier_rig_poll(&r, 3);
	CU_ASSERT_EQUAL(m.cancels, 166);
	looks = r.engine->tier[0].looks;
	CU_ASSERT(looks >= 166 && looks <= 166 + 4);
	tier_rig_poll(&r, 100);
	CU_ASSERT(r.engine->tier[0].looks - looks <= 2 * 100); /* at the last of each list, and no further */
	CU_ASSERT_EQUAL(m.cancels, 166);
	m.hold = false;
	end();
	CU_ASSERT_EQUAL(m.cancels, 166);
}

/* What is sent after the word is let go of too: here puts whose checksums were being made. */
static void test_sent_later(void)
{
	open_far(64);
	m.hold = true;
	m.full_kind = KVF_REQ_PUT;
	tier_rig_store(&r, 1, 12);
	tier_rig_poll(&r, 20);
	CU_ASSERT_EQUAL(m.n_held, 0);
	hang_a_lookup(2, 8);
	CU_ASSERT_EQUAL(kvf_engine_shutdown(r.engine, KVF_SHUTDOWN_CANCEL, KVF_NO_DEADLINE), KVF_OK);
	tier_rig_poll(&r, 3);
	CU_ASSERT_EQUAL(m.cancels, 8);
	m.full_kind = 0;
	m.room = 8 + 5;
	tier_rig_poll(&r, 3);
	CU_ASSERT_EQUAL(m.cancels, 8 + 5);
	m.room = 0;
	tier_rig_poll(&r, 3);
	CU_ASSERT_EQUAL(m.cancels, 8 + 12);
	m.hold = false;
	end();
	CU_ASSERT_EQUAL(m.cancels, 8 + 12);
}

/* A tier is never asked to let go of what it has completed: neither where one cancel completes more than its own
 * request, nor where a deadline passes between the completion and the next turn. */
static void test_no_strangers(void)
{
	for (int all = 0; all < 2; all++) {
		open_far(64);
		m.lets_go = !all;
		m.lets_all_go = all;
		m.hold = true;
		tier_rig_store(&r, 1, 16);
		tier_rig_poll(&r, 20);
		hang_a_lookup(2, 20);
		CU_ASSERT_EQUAL_FATAL(m.n_held, 36);
		CU_ASSERT_EQUAL(kvf_engine_shutdown(r.engine, KVF_SHUTDOWN_CANCEL, KVF_NO_DEADLINE), KVF_OK);
		tier_rig_poll(&r, 1);
		CU_ASSERT_EQUAL(m.n_held, 0);
		/* The host slept: the puts' time is up, but they are over. */
		tier_rig_now += 60 * KVF_NS_PER_S;
		tier_rig_poll(&r, 1);
		CU_ASSERT_EQUAL(m.strangers, 0);
		CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].timeouts, 0);
		CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].orphaned, 0);
		end();
	}
}

/* The same for gets: an operation that ends lets go of each, and the first may take the others along. */
static void test_gets(void)
{
	for (int all = 0; all < 2; all++) {
		uint64_t id;

		open_far(64);
		tier_rig_only_below(&r, 1, 8);
		m.lets_go = !all;
		m.lets_all_go = all;
		m.hold = true;
		m.hold_kind = KVF_REQ_GET;
		id = tier_rig_begin_retrieve(&r, 1, 8, KVF_PRIO_NORMAL);
		tier_rig_poll(&r, 10);
		CU_ASSERT_EQUAL_FATAL(m.n_held, 8);
		CU_ASSERT_EQUAL(kvf_cancel(r.engine, id), KVF_OK);
		CU_ASSERT_EQUAL(rig_await(&r, id).status, KVF_ECANCELED);
		CU_ASSERT_EQUAL(m.n_held, 0);
		CU_ASSERT_EQUAL(m.strangers, 0);
		tier_rig_poll(&r, 3);
		CU_ASSERT_EQUAL(rig_stats(&r).slots_quarantined, 0);
		CU_ASSERT_EQUAL(kvf_engine_shutdown(r.engine, KVF_SHUTDOWN_DRAIN, KVF_NO_DEADLINE), KVF_OK);
		end();
	}
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "once", test_once },
		{ "sent_later", test_sent_later },
		{ "no_strangers", test_no_strangers },
		{ "gets", test_gets },
	};

	return kvf_test_main("withdraw", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
