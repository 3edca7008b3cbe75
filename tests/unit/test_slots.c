/* SPDX-License-Identifier: Apache-2.0 */
/* slots.c: how many slots each use may have, who waits for whom, who is served first, what leaves a smaller pool. */
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "tests/harness.h"
#include "tests/support/tier_rig.h"

#define TIERS 2u

static struct rig r;
static struct memtier m[KVF_MAX_TIERS];

static void open_slots(uint32_t slots, uint32_t tiers)
{
	tier_rig_open_more(&r, m, tiers, KVF_TIER_RECORDS, (struct rig_options){ .slots = slots });
	tier_rig_poll(&r, 3);
}

/* ---- caps ---- */

static void test_caps(void)
{
	static const struct {
		uint32_t slots, tiers, leased, copying, loads, spills;
	} as[] = {
		{ 8, 1, 4, 1, 1, 2 },	 { 15, 1, 7, 1, 1, 3 },	  { 16, 1, 8, 2, 2, 4 },    { 19, 2, 9, 2, 2, 2 },
		{ 20, 1, 10, 3, 2, 5 },	 { 64, 1, 32, 14, 8, 16 }, { 64, 3, 32, 14, 8, 5 }, { 8, 4, 4, 1, 1, 1 },
		{ 100, 4, 50, 23, 12, 6 },
	};

	for (size_t i = 0; i < KVF_ARRAY_LEN(as); i++) {
		open_slots(as[i].slots, as[i].tiers);
		CU_ASSERT_EQUAL(r.engine->cap_leased, as[i].leased);
		CU_ASSERT_EQUAL(r.engine->cap_copying, as[i].copying);
		for (uint32_t t = 0; t < as[i].tiers; t++) {
			CU_ASSERT_EQUAL(r.engine->tier[t].cap_loads, as[i].loads);
			CU_ASSERT_EQUAL(r.engine->tier[t].cap_spills, as[i].spills);
		}
		tier_rig_close(&r, m);
	}
}

/* ---- waiting ---- */

/* A job that only wants a slot. */
static struct kvf_job *wants(enum kvf_class klass, uint8_t priority)
{
	struct kvf_job *job = calloc(1, sizeof(*job));

	CU_ASSERT_PTR_NOT_NULL_FATAL(job);
	job->klass = (uint8_t)klass;
	job->priority = priority;
	job->granted = KVF_NIL;
	return job;
}

struct want {
	enum kvf_class klass;
	int tier; /* -1: none, a store */
};

static struct kvf_tier *tier_at(int n)
{
	return n < 0 ? NULL : &r.engine->tier[n];
}

/* Who waits keeps out those that are less urgent, and his like at the same tier; nobody where he could do nothing with
 * a slot, because his tier holds all it may. */
static void test_who_waits_for_whom(void)
{
	static const struct want taker[] = {
		{ KVF_CLASS_RETRIEVE, 0 }, { KVF_CLASS_RETRIEVE, 1 }, { KVF_CLASS_PREFETCH, 0 },
		{ KVF_CLASS_PREFETCH, 1 }, { KVF_CLASS_STORE, -1 },
	};
	static const struct {
		struct want waiter;
		bool out[5];
	} as[] = {
		{ { KVF_CLASS_RETRIEVE, 0 }, { true, false, true, true, true } },
		{ { KVF_CLASS_RETRIEVE, 1 }, { false, true, true, true, true } },
		{ { KVF_CLASS_PREFETCH, 0 }, { false, false, true, false, true } },
		{ { KVF_CLASS_PREFETCH, 1 }, { false, false, false, true, true } },
		{ { KVF_CLASS_STORE, -1 }, { false, false, false, false, true } },
	};
	struct kvf_engine *e;

	open_slots(16, TIERS);
	e = r.engine;
	for (size_t i = 0; i < KVF_ARRAY_LEN(as); i++) {
		for (size_t k = 0; k < 2 * KVF_ARRAY_LEN(taker); k++) {
			struct kvf_job *waits = wants(as[i].waiter.klass, KVF_PRIO_NORMAL);
			const struct want *t = &taker[k % KVF_ARRAY_LEN(taker)];
			struct kvf_job *takes = wants(t->klass, KVF_PRIO_NORMAL);
			struct kvf_tier *waited = tier_at(as[i].waiter.tier);
			bool full = k >= KVF_ARRAY_LEN(taker) && waited;
			bool out = as[i].out[k % KVF_ARRAY_LEN(taker)];
			uint32_t slot;

			kvf_slot_want(e, waits, waited);
			CU_ASSERT_EQUAL(e->n_wants, 1);
			if (full) {
				waited->n_loads += waited->cap_loads;
				out = t->tier == as[i].waiter.tier; /* for it too there is no room */
			}
			slot = kvf_slot_take(e, takes, tier_at(t->tier));
			CU_ASSERT_EQUAL(slot == KVF_NIL, out);
			if (slot != KVF_NIL)
				kvf_slot_untake(e, slot, tier_at(t->tier));
			if (full)
				waited->n_loads -= waited->cap_loads;
			kvf_slot_unwant(e, waits);
			CU_ASSERT_EQUAL(e->n_wants, 0);
			CU_ASSERT_FALSE(waits->blocked);
			CU_ASSERT_EQUAL(e->n_copying + e->tier[0].n_loads + e->tier[1].n_loads, 0);
			free(waits);
			free(takes);
		}
	}
	tier_rig_close(&r, m);
}

/* Each use has its cap, to the slot. */
static void test_cap_reached(void)
{
	struct kvf_job *load, *store;
	struct kvf_engine *e;
	uint32_t slot[8], n = 0;

	open_slots(16, TIERS);
	e = r.engine;
	load = wants(KVF_CLASS_RETRIEVE, KVF_PRIO_NORMAL);
	store = wants(KVF_CLASS_STORE, KVF_PRIO_NORMAL);
	for (int t = 1; t >= -1; t--) {
		struct kvf_job *job = t < 0 ? store : load;

		for (int i = 0; i < 2; i++) {
			slot[n] = kvf_slot_take(e, job, tier_at(t));
			CU_ASSERT_NOT_EQUAL(slot[n], KVF_NIL);
			n++;
		}
		CU_ASSERT_EQUAL(kvf_slot_take(e, job, tier_at(t)), KVF_NIL);
	}
	CU_ASSERT_EQUAL(e->tier[0].n_loads, 2);
	CU_ASSERT_EQUAL(e->tier[1].n_loads, 2);
	CU_ASSERT_EQUAL(e->n_copying, 2);
	CU_ASSERT_EQUAL(e->pool.n_free, 10);
	/* Wanting does not help either, before one is given back. */
	kvf_slot_want(e, store, NULL);
	kvf_slots_serve(e);
	CU_ASSERT_TRUE(store->blocked);
	kvf_slot_untake(e, slot[--n], NULL);
	kvf_slots_serve(e);
	CU_ASSERT_FALSE(store->blocked);
	CU_ASSERT_NOT_EQUAL(store->granted, KVF_NIL);
	CU_ASSERT_EQUAL(e->n_copying, 2);
	/* Wanted twice is wanted once; what was granted is given back when nobody wants it any more. */
	kvf_slot_want(e, store, NULL);
	CU_ASSERT_EQUAL(e->n_wants, 0);
	kvf_slot_want(e, load, tier_at(0));
	kvf_slot_want(e, load, tier_at(0));
	CU_ASSERT_EQUAL(e->n_wants, 1);
	kvf_slots_serve(e);
	CU_ASSERT_TRUE(load->blocked);
	kvf_slot_unwant(e, load);
	kvf_slot_unwant(e, store);
	CU_ASSERT_EQUAL(store->granted, KVF_NIL);
	CU_ASSERT_EQUAL(e->n_copying, 1);
	while (n > 4)
		kvf_slot_untake(e, slot[--n], NULL);
	while (n > 2)
		kvf_slot_untake(e, slot[--n], tier_at(0));
	while (n)
		kvf_slot_untake(e, slot[--n], tier_at(1));
	CU_ASSERT_EQUAL(e->pool.n_free, 16);
	CU_ASSERT_EQUAL(e->n_copying + e->tier[0].n_loads + e->tier[1].n_loads, 0);
	kvf_list_remove(&store->ready);
	kvf_list_remove(&load->ready);
	free(load);
	free(store);
	tier_rig_close(&r, m);
}

#define CROWD 8

/* With one slot at a time: retrieves before prefetches before stores, the urgent ones first, then as they came. */
static void test_order(void)
{
	static const struct {
		struct want want;
		uint8_t priority, turn;
	} as[CROWD] = {
		{ { KVF_CLASS_STORE, -1 }, KVF_PRIO_LOW, 7 },	   { { KVF_CLASS_STORE, -1 }, KVF_PRIO_NORMAL, 6 },
		{ { KVF_CLASS_PREFETCH, 1 }, KVF_PRIO_NORMAL, 4 }, { { KVF_CLASS_PREFETCH, 0 }, KVF_PRIO_LOW, 5 },
		{ { KVF_CLASS_RETRIEVE, 0 }, KVF_PRIO_NORMAL, 1 }, { { KVF_CLASS_RETRIEVE, 0 }, KVF_PRIO_LOW, 2 },
		{ { KVF_CLASS_RETRIEVE, 0 }, KVF_PRIO_HIGH, 0 },   { { KVF_CLASS_RETRIEVE, 1 }, KVF_PRIO_LOW, 3 },
	};
	struct kvf_job *job[CROWD];
	struct kvf_engine *e;
	uint32_t slot;

	open_slots(64, TIERS);
	e = r.engine;
	while (kvf_pool_take(&e->pool) != KVF_NIL)
		;
	for (int i = 0; i < CROWD; i++) {
		job[i] = wants(as[i].want.klass, as[i].priority);
		kvf_slot_want(e, job[i], tier_at(as[i].want.tier));
	}
	kvf_slots_serve(e);
	for (uint32_t turn = 0; turn < CROWD; turn++) {
		CU_ASSERT_EQUAL(e->n_wants, CROWD - turn);
		kvf_pool_give(&e->pool, turn);
		kvf_slots_serve(e);
		for (int i = 0; i < CROWD; i++) {
			CU_ASSERT_EQUAL(job[i]->granted != KVF_NIL, as[i].turn <= turn);
			CU_ASSERT_EQUAL(kvf_list_linked(&job[i]->ready), as[i].turn <= turn);
		}
	}
	CU_ASSERT_EQUAL(e->tier[0].n_loads, 4);
	CU_ASSERT_EQUAL(e->tier[1].n_loads, 2);
	CU_ASSERT_EQUAL(e->n_copying, 2);
	for (int i = 0; i < CROWD; i++) {
		kvf_slot_unwant(e, job[i]);
		kvf_list_remove(&job[i]->ready);
		free(job[i]);
	}
	for (slot = CROWD; slot < 64; slot++)
		kvf_pool_give(&e->pool, slot);
	CU_ASSERT_EQUAL(e->pool.n_free, 64);
	tier_rig_close(&r, m);
}

/* A tier that holds all it may is passed over; the others at it wait on. */
static void test_passed_over(void)
{
	struct kvf_job *job[3];
	struct kvf_engine *e;

	open_slots(16, TIERS);
	e = r.engine;
	e->tier[0].n_loads = e->tier[0].cap_loads;
	for (int i = 0; i < 3; i++)
		job[i] = wants(i < 2 ? KVF_CLASS_RETRIEVE : KVF_CLASS_STORE, KVF_PRIO_NORMAL);
	kvf_slot_want(e, job[0], tier_at(0));
	kvf_slot_want(e, job[1], tier_at(1));
	kvf_slot_want(e, job[2], NULL);
	kvf_slots_serve(e);
	CU_ASSERT_TRUE(job[0]->blocked);
	CU_ASSERT_FALSE(job[1]->blocked || job[2]->blocked);
	e->tier[0].n_loads--;
	kvf_slots_serve(e);
	CU_ASSERT_FALSE(job[0]->blocked);
	CU_ASSERT_EQUAL(e->tier[0].n_loads, e->tier[0].cap_loads);
	for (int i = 0; i < 3; i++) {
		kvf_slot_unwant(e, job[i]);
		kvf_list_remove(&job[i]->ready);
		free(job[i]);
	}
	CU_ASSERT_EQUAL(e->tier[0].n_loads, 1);
	e->tier[0].n_loads = 0;
	tier_rig_close(&r, m);
}

/* Who holds all he may, and uses all of it, need not wait. */
static void test_hopeless(void)
{
	struct kvf_job *job;
	uint64_t slot, lease;

	open_slots(16, 1);
	slot = rig_stats(&r).slot_bytes;
	job = wants(KVF_CLASS_STORE, KVF_PRIO_NORMAL);
	CU_ASSERT_FALSE(kvf_slot_hopeless(r.engine, job));
	tier_rig_store(&r, 1, 4);
	CU_ASSERT_EQUAL(kvf_set_quota(r.engine, "x", 0, 4 * slot), KVF_OK);
	r.engine->tenant[0].max = 4; /* the quota of everybody, for once */
	CU_ASSERT_FALSE(kvf_slot_hopeless(r.engine, job)); /* its own can go */
	lease = rig_lookup(&r, 0, 1000000000).lease_id;
	CU_ASSERT_TRUE(kvf_slot_hopeless(r.engine, job));
	r.engine->tenant[0].max = 5;
	CU_ASSERT_FALSE(kvf_slot_hopeless(r.engine, job));
	r.engine->tenant[0].max = 0;
	CU_ASSERT_EQUAL(rig_unpin(&r, lease, 0, SIZE_MAX).status, KVF_OK);
	free(job);
	tier_rig_close(&r, m);
}

/* ---- shrinking ---- */

/* A smaller pool is walked a bounded number of entries a turn, and goes round until nothing is left beyond it. */
static void test_retire(void)
{
	struct kvf_engine *e;
	uint64_t slot, lease;

	open_slots(1200, 1);
	tier_rig_poll(&r, 50);
	e = r.engine;
	slot = rig_stats(&r).slot_bytes;
	for (uint64_t i = 0; i < 20; i++)
		tier_rig_store(&r, 1 + i, 60);
	tier_rig_flush(&r);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_resident, 1200);
	rig_tokens(&r, 1, 60 * RIG_CHUNK);
	lease = rig_lookup(&r, 0, 3600000000000ull).lease_id; /* the first ones got the highest slots */
	CU_ASSERT_EQUAL(kvf_set_pool_bytes(e, 1000 * slot), KVF_OK);
	CU_ASSERT_EQUAL(kvf_next_deadline_ns(e), 0);
	kvf_slots_retire(e);
	CU_ASSERT_EQUAL(e->retire_cursor, KVF_TURN_SCAN);
	CU_ASSERT_TRUE(e->retiring);
	kvf_slots_retire(e);
	CU_ASSERT_EQUAL(e->retire_cursor, 2 * KVF_TURN_SCAN);
	kvf_slots_retire(e);
	CU_ASSERT_EQUAL(e->retire_cursor, 0);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_resident, 1060);
	CU_ASSERT_EQUAL(rig_stats(&r).evictions, 140);
	CU_ASSERT_TRUE(e->retiring);
	tier_rig_poll(&r, 12);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_resident, 1060);
	CU_ASSERT_TRUE(e->retiring);
	CU_ASSERT_EQUAL(rig_unpin(&r, lease, 0, SIZE_MAX).status, KVF_OK);
	tier_rig_poll(&r, 40);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_resident, 1000);
	CU_ASSERT_FALSE(e->retiring);
	CU_ASSERT_EQUAL(kvf_next_deadline_ns(e), KVF_NO_DEADLINE);
	tier_rig_close(&r, m);
}

/* On the way to a slot that may be used again so many that retire are emptied, and no more. */
static void test_retiring_on_the_way(void)
{
	struct kvf_job *job;
	uint64_t slot;

	open_slots(1200, 1);
	tier_rig_poll(&r, 50);
	slot = rig_stats(&r).slot_bytes;
	for (uint64_t i = 0; i < 20; i++)
		tier_rig_store(&r, 1 + i, 60);
	tier_rig_flush(&r);
	job = wants(KVF_CLASS_STORE, KVF_PRIO_NORMAL);
	CU_ASSERT_EQUAL(kvf_set_pool_bytes(r.engine, 1000 * slot), KVF_OK);
	/* The oldest 176 have the slots from 1,024 on. */
	CU_ASSERT_EQUAL(kvf_slot_take(r.engine, job, NULL), KVF_NIL);
	CU_ASSERT_EQUAL(rig_stats(&r).evictions, 64);
	CU_ASSERT_EQUAL(r.engine->n_copying, 0);
	free(job);
	tier_rig_poll(&r, 60);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_ready, 1000);
	tier_rig_close(&r, m);
}

/* Who waits is served in the turn in which a slot comes back, and acts in it: his request is on its way in the next. */
static void test_served_at_once(void)
{
	uint64_t id[2];

	open_slots(8, 1); /* one load at a time */
	for (uint64_t i = 0; i < 2; i++)
		tier_rig_only_below(&r, 1 + i, 1);
	m[0].hold = true;
	m[0].hold_kind = KVF_REQ_GET;
	for (uint64_t i = 0; i < 2; i++) {
		id[i] = tier_rig_begin_retrieve(&r, 1 + i, 1, KVF_PRIO_NORMAL);
		tier_rig_poll(&r, 10);
	}
	CU_ASSERT_EQUAL(m[0].n_held, 1);
	CU_ASSERT_EQUAL(r.engine->n_wants, 1);
	m[0].hold = false;
	for (int turns = 0; turns < 20 && !m[0].gets; turns++)
		tier_rig_poll(&r, 1);
	m[0].hold = true;
	for (int turns = 0; turns < 20 && r.engine->n_wants; turns++)
		tier_rig_poll(&r, 1);
	CU_ASSERT(!kvf_list_empty(&r.engine->tier[0].gets[KVF_CLASS_RETRIEVE]));
	m[0].hold = false;
	CU_ASSERT_EQUAL(rig_await(&r, id[1]).tokens, RIG_CHUNK);
	tier_rig_close(&r, m);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "caps", test_caps },
		{ "who_waits_for_whom", test_who_waits_for_whom },
		{ "cap_reached", test_cap_reached },
		{ "order", test_order },
		{ "passed_over", test_passed_over },
		{ "hopeless", test_hopeless },
		{ "retire", test_retire },
		{ "retiring_on_the_way", test_retiring_on_the_way },
		{ "served_at_once", test_served_at_once },
	};

	return kvf_test_main("slots", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
