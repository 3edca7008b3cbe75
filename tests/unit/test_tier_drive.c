/* SPDX-License-Identifier: Apache-2.0 */
/* tiers.c: what is sent in which batches, whose answer says what about a tier, and when it has to be looked at. */
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "tests/harness.h"
#include "tests/support/tier_rig.h"

static struct rig r;
static struct memtier m;
static struct kvf_engine *e;

static void open_tier(uint32_t slots)
{
	tier_rig_open(&r, &m, slots, KVF_TIER_RECORDS, false);
	e = r.engine;
	tier_rig_poll(&r, 3);
}

static void close_tier(void)
{
	tier_rig_close(&r, &m);
}

/* ---- what an answer says ---- */

/* Absent, full, another's bytes: the tier works. Withdrawn: nothing is known. All else is a failure; five in a row and
 * it is off, one that works and it is on again, and readers of the events are told. */
static void test_answers(void)
{
	static const struct {
		int status;
		bool works;
	} as[] = {
		{ KVF_OK, true },	  { KVF_ENOENT, true },	 { KVF_ENOSPC, true }, { KVF_ECORRUPT, true },
		{ KVF_ENOTSUP, true },	  { KVF_EQUOTA, true },	 { KVF_EIO, false },   { KVF_ETIMEDOUT, false },
		{ KVF_ENOMEM, false },	  { KVF_EINVAL, false }, { KVF_EAGAIN, false },
	};
	struct kvf_event ev[4];
	struct kvf_tier *tier;

	open_tier(16);
	tier = &e->tier[0];
	for (size_t i = 0; i < KVF_ARRAY_LEN(as); i++) {
		uint64_t errors = rig_stats(&r).tiers[0].errors;

		for (int k = 0; k < KVF_BREAKER_TRIP - 1; k++)
			kvf_tier_result(e, tier, KVF_EIO);
		kvf_tier_result(e, tier, KVF_ECANCELED);
		CU_ASSERT_EQUAL(tier->breaker.state, KVF_BREAKER_CLOSED);
		kvf_tier_result(e, tier, as[i].status);
		CU_ASSERT_EQUAL(tier->breaker.state, as[i].works ? KVF_BREAKER_CLOSED : KVF_BREAKER_OPEN);
		CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].errors - errors, KVF_BREAKER_TRIP - as[i].works);
		CU_ASSERT_EQUAL(kvf_tier_usable(e, tier), as[i].works);
		if (!as[i].works) {
			CU_ASSERT_EQUAL(kvf_events(e, ev, 4, NULL), 1);
			CU_ASSERT(ev[0].kind == KVF_EVENT_TIER && !ev[0].up);
			kvf_tier_result(e, tier, KVF_OK);
			CU_ASSERT_EQUAL(kvf_events(e, ev, 4, NULL), 1);
			CU_ASSERT(ev[0].kind == KVF_EVENT_TIER && ev[0].up);
		}
		/* Four more are not five: it began to count anew. */
		for (int k = 0; k < KVF_BREAKER_TRIP - 1; k++)
			kvf_tier_result(e, tier, KVF_EIO);
		CU_ASSERT_EQUAL(tier->breaker.state, KVF_BREAKER_CLOSED);
		kvf_tier_result(e, tier, KVF_OK);
		CU_ASSERT_EQUAL(kvf_events(e, ev, 4, NULL), 0);
	}
	tier->off = true;
	CU_ASSERT_FALSE(kvf_tier_usable(e, tier));
	tier->off = false;
	CU_ASSERT_TRUE(kvf_tier_usable(e, tier));
	close_tier();
}

/* ---- sending ---- */

/* Asks go 64 at a time until the tier is full; it is asked again each turn, and that alone makes no turn due. */
static void test_batches(void)
{
	struct kvf_op op;
	uint64_t id;

	open_tier(16);
	rig_tokens(&r, 1, 64 * RIG_CHUNK);
	kvf_prep_lookup(&op, r.seq, 0, 0, 0);
	m.hold = true;
	id = rig_submit(&r, &op);
	tier_rig_poll(&r, 3);
	CU_ASSERT_EQUAL(m.n_held, 64);
	CU_ASSERT_EQUAL(m.batches, 1);
	CU_ASSERT_EQUAL(e->tier[0].in_flight, 64);
	CU_ASSERT_EQUAL(e->n_requests, 64);
	m.hold = false;
	CU_ASSERT_EQUAL(rig_await(&r, id).tokens, 0);
	CU_ASSERT_EQUAL(e->tier[0].in_flight, 0);
	CU_ASSERT_EQUAL(e->n_requests, 0);
	m.hold = true;
	m.room = 20;
	m.batches = 0;
	id = rig_submit(&r, &op);
	tier_rig_poll(&r, 3);
	CU_ASSERT_EQUAL(m.n_held, 20);
	CU_ASSERT_TRUE(e->tier[0].backlog);
	CU_ASSERT(kvf_next_deadline_ns(e) > tier_rig_now);
	m.hold = false;
	CU_ASSERT_EQUAL(rig_await(&r, id).tokens, 0);
	CU_ASSERT_FALSE(e->tier[0].backlog);
	CU_ASSERT_EQUAL(m.exists, 128);
	close_tier();
}

/* While its breaker is open, what was to be asked is refused at once: nobody waits for it. */
static void test_refused(void)
{
	struct kvf_completion c;
	struct kvf_op op;
	uint64_t id[2];

	open_tier(16);
	tier_rig_only_below(&r, 1, 3);
	m.batches = 0;
	m.full_kind = KVF_REQ_EXISTS;
	kvf_prep_lookup(&op, r.seq, 0, 0, 0);
	id[0] = rig_submit(&r, &op);
	tier_rig_poll(&r, 3);
	CU_ASSERT_FALSE(kvf_list_empty(&e->tier[0].asks));
	for (int k = 0; k < KVF_BREAKER_TRIP; k++)
		kvf_tier_result(e, &e->tier[0], KVF_EIO);
	m.batches = 0;
	c = rig_await(&r, id[0]);
	CU_ASSERT_EQUAL(c.tokens, 0);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_TIER);
	CU_ASSERT_EQUAL(m.batches, 0);
	kvf_tier_result(e, &e->tier[0], KVF_OK);
	/* Gets. */
	m.full_kind = KVF_REQ_GET;
	rig_prep(&r, &op, KVF_OP_RETRIEVE, 0, 3 * RIG_CHUNK);
	id[1] = rig_submit(&r, &op);
	tier_rig_poll(&r, 8);
	CU_ASSERT_FALSE(kvf_list_empty(&e->tier[0].gets[KVF_CLASS_RETRIEVE]));
	for (int k = 0; k < KVF_BREAKER_TRIP; k++)
		kvf_tier_result(e, &e->tier[0], KVF_EIO);
	c = rig_await(&r, id[1]);
	CU_ASSERT_EQUAL(c.tokens, 0);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_TIER);
	CU_ASSERT_EQUAL(m.gets, 0);
	CU_ASSERT_EQUAL(e->tier[0].n_loads, 0);
	kvf_tier_result(e, &e->tier[0], KVF_OK);
	/* Puts whose checksum is known. */
	m.puts = 0;
	m.full_kind = KVF_REQ_PUT;
	tier_rig_store(&r, 2, 2);
	tier_rig_poll(&r, 5);
	CU_ASSERT_FALSE(kvf_list_empty(&e->tier[0].sealed));
	for (int k = 0; k < KVF_BREAKER_TRIP; k++)
		kvf_tier_result(e, &e->tier[0], KVF_EIO);
	tier_rig_poll(&r, 2);
	CU_ASSERT(kvf_list_empty(&e->tier[0].sealed));
	CU_ASSERT(kvf_list_empty(&e->spills));
	CU_ASSERT_EQUAL(e->tier[0].n_spills, 0);
	CU_ASSERT_EQUAL(m.puts, 0);
	CU_ASSERT_EQUAL(kvf_verify(e), KVF_OK);
	kvf_tier_result(e, &e->tier[0], KVF_OK);
	close_tier();
}

/* A probe goes alone; one that the tier did not take may be tried again, and so may one that was withdrawn. */
static void test_probe_alone(void)
{
	struct kvf_op op;
	uint64_t id;

	open_tier(16);
	rig_tokens(&r, 1, 8 * RIG_CHUNK);
	for (int k = 0; k < KVF_BREAKER_TRIP; k++)
		kvf_tier_result(e, &e->tier[0], KVF_EIO);
	tier_rig_now += 200000000;
	kvf_prep_lookup(&op, r.seq, 0, 0, 0);
	m.hold = true;
	m.full_kind = KVF_REQ_EXISTS;
	id = rig_submit(&r, &op);
	tier_rig_poll(&r, 3);
	CU_ASSERT_EQUAL(m.n_held, 0);
	CU_ASSERT_NOT_EQUAL(e->tier[0].breaker.state, KVF_BREAKER_PROBING);
	m.full_kind = 0;
	tier_rig_poll(&r, 2);
	CU_ASSERT_EQUAL(m.n_held, 1);
	CU_ASSERT_EQUAL(e->tier[0].breaker.state, KVF_BREAKER_PROBING);
	CU_ASSERT(kvf_list_empty(&e->tier[0].asks)); /* the others were refused */
	m.hold = false;
	CU_ASSERT_EQUAL(rig_await(&r, id).reason, KVF_REASON_TIER);
	CU_ASSERT_EQUAL(e->tier[0].breaker.state, KVF_BREAKER_CLOSED);
	CU_ASSERT_EQUAL(rig_run(&r, &op).reason, KVF_REASON_MISS);
	close_tier();
}

/* How long requests took is counted from when they were sent, and a remove only when something was removed. */
static void test_counted(void)
{
	struct kvf_op op;
	uint64_t id;

	open_tier(16);
	m.hold = true;
	tier_rig_now += 5 * KVF_NS_PER_S;
	tier_rig_store(&r, 1, 1);
	tier_rig_poll(&r, 5);
	tier_rig_now += 100;
	m.hold = false;
	tier_rig_poll(&r, 3);
	CU_ASSERT_EQUAL(e->tier[0].hist[KVF_HIST_PUT]->count, 1);
	CU_ASSERT_EQUAL(e->tier[0].hist[KVF_HIST_PUT]->sum, 100);
	CU_ASSERT_EQUAL(rig_remove(&r, 0, RIG_CHUNK, KVF_TIER_RAM).status, KVF_OK);
	m.hold = true;
	tier_rig_now += 5 * KVF_NS_PER_S;
	kvf_prep_lookup(&op, r.seq, 0, 0, 0);
	id = rig_submit(&r, &op);
	tier_rig_poll(&r, 5);
	tier_rig_now += 200;
	m.hold = false;
	CU_ASSERT_EQUAL(rig_await(&r, id).tokens, RIG_CHUNK);
	CU_ASSERT_EQUAL(e->tier[0].hist[KVF_HIST_ASK]->count, 1);
	CU_ASSERT_EQUAL(e->tier[0].hist[KVF_HIST_ASK]->sum, 200);
	m.hold = true;
	m.hold_kind = KVF_REQ_GET;
	tier_rig_now += 5 * KVF_NS_PER_S;
	rig_prep(&r, &op, KVF_OP_RETRIEVE, 0, RIG_CHUNK);
	id = rig_submit(&r, &op);
	tier_rig_poll(&r, 8);
	tier_rig_now += 300;
	m.hold = false;
	CU_ASSERT_EQUAL(rig_await(&r, id).tokens, RIG_CHUNK);
	CU_ASSERT_EQUAL(e->tier[0].hist[KVF_HIST_GET]->count, 1);
	CU_ASSERT_EQUAL(e->tier[0].hist[KVF_HIST_GET]->sum, 300);
	CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].removes, 0);
	kvf_prep_remove(&op, r.seq, 0, RIG_CHUNK, 0);
	for (int i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(rig_run(&r, &op).status, KVF_OK);
		CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].removes, 1);
	}
	close_tier();
}

/* Two tiers that break at the same time are not tried again at the same time. */
static void test_jitter(void)
{
	struct memtier two[2];

	tier_rig_open_more(&r, two, 2, KVF_TIER_RECORDS, (struct rig_options){ .slots = 16 });
	e = r.engine;
	for (int k = 0; k < KVF_BREAKER_TRIP; k++)
		for (int t = 0; t < 2; t++)
			kvf_tier_result(e, &e->tier[t], KVF_EIO);
	CU_ASSERT_NOT_EQUAL(e->tier[0].breaker.retry_at_ns, e->tier[1].breaker.retry_at_ns);
	tier_rig_close(&r, two);
}

/* ---- when it is due ---- */

/* A queued spill makes a turn due when its rate and memory allow it, not while its tier holds all it may or is being
 * probed. */
static void test_spill_due(void)
{
	struct kvf_list link;
	struct kvf_tier *tier;

	open_tier(16);
	tier = &e->tier[0];
	CU_ASSERT_EQUAL(kvf_tiers_deadline(e), KVF_NEVER);
	kvf_list_push_back(&tier->puts, &link);
	CU_ASSERT_EQUAL(kvf_tiers_deadline(e), 0);
	tier->spill_retry_ns = tier_rig_now + 5;
	CU_ASSERT_EQUAL(kvf_tiers_deadline(e), tier_rig_now + 5);
	e->spill_rate = (struct kvf_bucket){ 1000, tier_rig_now, -999 };
	CU_ASSERT_EQUAL(kvf_tiers_deadline(e), tier_rig_now + KVF_NS_PER_S + 1);
	tier->spill_retry_ns = tier_rig_now + 2 * KVF_NS_PER_S;
	CU_ASSERT_EQUAL(kvf_tiers_deadline(e), tier_rig_now + 2 * KVF_NS_PER_S);
	tier->spill_retry_ns = 0;
	e->spill_rate = (struct kvf_bucket){ 0 };
	tier->n_spills = tier->cap_spills;
	CU_ASSERT_EQUAL(kvf_tiers_deadline(e), KVF_NEVER);
	tier->n_spills--;
	CU_ASSERT_EQUAL(kvf_tiers_deadline(e), 0);
	tier->n_spills = 0;
	tier->breaker.state = KVF_BREAKER_PROBING;
	CU_ASSERT_EQUAL(kvf_tiers_deadline(e), KVF_NEVER);
	tier->breaker.state = KVF_BREAKER_CLOSED;
	tier->backlog = true; /* full: but a spill that begins needs no room there yet */
	CU_ASSERT_EQUAL(kvf_tiers_deadline(e), tier_rig_now);
	tier->backlog = false;
	kvf_list_remove(&link);
	CU_ASSERT_EQUAL(kvf_tiers_deadline(e), KVF_NEVER);
	close_tier();
}

/* ---- what a tier is offered ---- */

static char said[256];

static void hear(enum kvf_log_level level, const char *scope, const char *msg, void *user)
{
	(void)level;
	(void)user;
	strcpy(said, scope);
	strcat(said, ": ");
	strncat(said, msg, 100);
}

static void test_host(void)
{
	static const struct kvf_log_sink sink = { sizeof(sink), hear, NULL };
	uint8_t *p;

	tier_rig_open_more(&r, &m, 1, KVF_TIER_RECORDS, (struct rig_options){ .slots = 16, .log = &sink });
	CU_ASSERT_EQUAL(m.host->now_ns(m.host), tier_rig_now);
	tier_rig_now += 5;
	tier_rig_store(&r, 1, 1);
	CU_ASSERT_EQUAL(m.host->now_ns(m.host), tier_rig_now);
	p = m.host->alloc(m.host, 1000);
	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	memset(p, 1, 1000);
	m.host->release(m.host, p, 1000);
	m.host->log(m.host, KVF_LOG_ERROR, "something");
	CU_ASSERT_STRING_EQUAL(said, "memtier: something");
	close_tier();
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "answers", test_answers },	     { "batches", test_batches },
		{ "refused", test_refused },	     { "probe_alone", test_probe_alone },
		{ "counted", test_counted },	     { "jitter", test_jitter },
		{ "spill_due", test_spill_due },     { "host", test_host },
	};

	return kvf_test_main("tier_drive", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
