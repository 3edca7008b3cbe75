/* SPDX-License-Identifier: Apache-2.0 */
/* tenant.c: whose chunk goes, paths of several tenants, and what a quota may be. */
#include <string.h>

#include "engine/engine.h"
#include "tests/harness.h"
#include "tests/rig.h"

static struct rig r;
static uint64_t slot;

static void open_slots(uint32_t slots)
{
	rig_open(&r, &(struct rig_options){ .slots = slots });
	slot = rig_stats(&r).slot_bytes;
}

static void open_seq(const char *salt, uint32_t number, uint32_t chunks)
{
	uint32_t tokens[64 * RIG_CHUNK];
	struct kvf_seq_params p;

	kvf_seq_close(r.seq);
	r.seq = NULL;
	kvf_seq_params_init(&p);
	p.salt = salt;
	rig_token_values(number, tokens, chunks * RIG_CHUNK);
	CU_ASSERT_EQUAL_FATAL(kvf_seq_open(r.engine, &p, &r.seq), KVF_OK);
	CU_ASSERT_EQUAL_FATAL(kvf_seq_append(r.seq, tokens, chunks * RIG_CHUNK), KVF_OK);
}

static uint32_t resident(const char *salt, uint32_t number, uint32_t chunks)
{
	open_seq(salt, number, chunks);
	return (uint32_t)(kvf_seq_resident(r.seq) / RIG_CHUNK);
}

static uint32_t store(const char *salt, uint32_t number, uint32_t chunks)
{
	open_seq(salt, number, chunks);
	return rig_store(&r, 0, chunks * RIG_CHUNK, 0).tokens / RIG_CHUNK;
}

/* The entries of the sequence that is open. */
static void path_of(uint32_t *entry, uint32_t n)
{
	uint8_t key[KVF_KEY_BYTES];

	for (uint32_t i = 0; i < n; i++) {
		CU_ASSERT_EQUAL_FATAL(kvf_seq_key(r.seq, i, key), KVF_OK);
		entry[i] = kvf_index_find(&r.engine->index, key);
		CU_ASSERT_NOT_EQUAL_FATAL(entry[i], KVF_NIL);
	}
}

static void give_to(uint32_t entry, uint8_t tenant)
{
	struct kvf_entry *en = kvf_index_entry(&r.engine->index, entry);

	kvf_evict_remove(kvf_evict_of(r.engine, entry), entry);
	r.engine->tenant[en->tenant].used--;
	en->tenant = tenant;
	r.engine->tenant[tenant].used++;
	CU_ASSERT_EQUAL(kvf_evict_insert(&r.engine->tenant[tenant].evict, entry), KVF_OK);
}

/* A path that several tenants own by turns: a use moves each part in the order it belongs to, and the suffix still goes
 * before the prefix. */
static void test_touch_by_runs(void)
{
	static const uint8_t owner[][6] = { { 0, 0, 1, 1, 0, 0 }, { 1, 0, 0, 0, 0, 1 }, { 0, 1, 0, 1, 0, 1 },
					    { 1, 1, 1, 1, 1, 1 }, { 0, 1, 1, 1, 1, 1 }, { 1, 1, 1, 0, 0, 0 } };

	for (size_t k = 0; k < KVF_ARRAY_LEN(owner); k++) {
		uint32_t path[6], other[4], left;

		open_slots(32);
		CU_ASSERT_EQUAL(kvf_set_quota(r.engine, "x", 0, 30 * slot), KVF_OK);
		CU_ASSERT_EQUAL(store(NULL, 1, 6), 6);
		path_of(path, 6);
		for (uint32_t i = 0; i < 4; i++) {
			CU_ASSERT_EQUAL(store(NULL, 2 + i, 1), 1);
			path_of(&other[i], 1);
		}
		for (uint32_t i = 0; i < 6; i++)
			if (owner[k][i])
				give_to(path[i], 1);
		for (uint32_t i = 0; i < 4; i += 2)
			give_to(other[i], 1);
		kvf_tenant_touch(r.engine, path, 6);
		CU_ASSERT_EQUAL(kvf_verify(r.engine), KVF_OK);
		/* Of each tenant first the others, then its part of the path from the end on. */
		for (uint8_t t = 0; t < 2; t++) {
			struct kvf_evict *evict = &r.engine->tenant[t].evict;

			for (uint32_t i = 0; i < 2; i++) {
				uint32_t victim = kvf_evict_victim(evict);

				CU_ASSERT(victim == other[0] || victim == other[1] || victim == other[2] ||
					  victim == other[3]);
				kvf_entry_drop(r.engine, victim, KVF_EVENT_EVICTED);
			}
			left = 0;
			for (uint32_t i = 0; i < 6; i++)
				left += owner[k][i] == t;
			CU_ASSERT_EQUAL(r.engine->tenant[t].used, left);
		}
		for (uint32_t i = 6; i-- > 0;) {
			uint32_t victim = kvf_evict_victim(&r.engine->tenant[owner[k][i]].evict);

			CU_ASSERT_EQUAL(victim, path[i]);
			kvf_entry_drop(r.engine, victim, KVF_EVENT_EVICTED);
		}
		CU_ASSERT_EQUAL(kvf_verify(r.engine), KVF_OK);
		rig_close(&r);
	}
}

/* Room is made by whoever is furthest above his minimum; the first of two that are as far. */
static void test_who_gives(void)
{
	struct kvf_engine *e;

	open_slots(32);
	e = r.engine;
	CU_ASSERT_EQUAL(kvf_set_quota(e, "a", 4 * slot, 0), KVF_OK);
	CU_ASSERT_EQUAL(kvf_set_quota(e, "b", 0, 20 * slot), KVF_OK);
	CU_ASSERT_EQUAL(store("a", 1, 12), 12); /* 8 above */
	CU_ASSERT_EQUAL(store("b", 2, 9), 9);	/* 9 above */
	CU_ASSERT_EQUAL(store(NULL, 3, 11), 11); /* 11 above */
	CU_ASSERT_EQUAL(rig_stats(&r).slots_resident, 32);
	CU_ASSERT_EQUAL(store("b", 4, 2), 2);
	CU_ASSERT_EQUAL(e->tenant[0].used, 9);
	CU_ASSERT_EQUAL(e->tenant[2].used, 11);
	CU_ASSERT_EQUAL(store("a", 5, 2), 2); /* b, b */
	CU_ASSERT_EQUAL(e->tenant[0].used, 9);
	CU_ASSERT_EQUAL(e->tenant[1].used, 14);
	CU_ASSERT_EQUAL(e->tenant[2].used, 9);
	/* a is 10 above now, the two others 9. */
	CU_ASSERT_EQUAL(kvf_tenant_victim(e, 0), kvf_evict_victim(&e->tenant[1].evict));
	kvf_entry_drop(e, kvf_tenant_victim(e, 0), KVF_EVENT_EVICTED);
	CU_ASSERT_EQUAL(e->tenant[1].used, 13);
	CU_ASSERT_EQUAL(kvf_tenant_victim(e, 2), kvf_evict_victim(&e->tenant[0].evict));
	kvf_entry_drop(e, kvf_tenant_victim(e, 2), KVF_EVENT_EVICTED);
	CU_ASSERT_EQUAL(kvf_tenant_victim(e, 0), kvf_evict_victim(&e->tenant[1].evict));
	/* All down to their minimum: nobody has to give. */
	while (kvf_tenant_victim(e, 0) != KVF_NIL)
		kvf_entry_drop(e, kvf_tenant_victim(e, 0), KVF_EVENT_EVICTED);
	CU_ASSERT_EQUAL(e->tenant[0].used, 0);
	CU_ASSERT_EQUAL(e->tenant[1].used, 4);
	CU_ASSERT_EQUAL(e->tenant[2].used, 0);
	CU_ASSERT_EQUAL(kvf_verify(e), KVF_OK);
	rig_close(&r);
}

/* Who holds all he may replaces his own, whoever else is above his minimum. */
static void test_full_replaces_own(void)
{
	open_slots(16);
	CU_ASSERT_EQUAL(kvf_set_quota(r.engine, "a", 0, 4 * slot), KVF_OK);
	CU_ASSERT_EQUAL(store(NULL, 1, 10), 10);
	CU_ASSERT_FALSE(kvf_tenant_full(r.engine, 0)); /* no bound */
	CU_ASSERT_FALSE(kvf_tenant_full(r.engine, 1));
	CU_ASSERT_EQUAL(store("a", 2, 3), 3);
	CU_ASSERT_FALSE(kvf_tenant_full(r.engine, 1));
	CU_ASSERT_EQUAL(store("a", 3, 1), 1);
	CU_ASSERT_TRUE(kvf_tenant_full(r.engine, 1));
	CU_ASSERT_EQUAL(store("a", 4, 2), 2);
	CU_ASSERT_EQUAL(r.engine->tenant[1].used, 4);
	CU_ASSERT_EQUAL(r.engine->tenant[0].used, 10);
	CU_ASSERT_EQUAL(resident(NULL, 1, 10), 10);
	CU_ASSERT_EQUAL(resident("a", 4, 2), 2);
	CU_ASSERT_EQUAL(rig_stats(&r).evictions, 2);
	rig_close(&r);
}

/* The one furthest above his minimum has nothing that can go: the next one gives. */
static void test_leased_gives_nothing(void)
{
	struct kvf_engine *e;
	uint64_t lease;

	open_slots(16);
	e = r.engine;
	CU_ASSERT_EQUAL(kvf_set_quota(e, "a", 0, 16 * slot), KVF_OK);
	CU_ASSERT_EQUAL(kvf_set_quota(e, "b", 2 * slot, 0), KVF_OK);
	CU_ASSERT_EQUAL(store("a", 1, 8), 8);
	lease = rig_lookup(&r, 0, 3600000000000ull).lease_id;
	CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 8);
	CU_ASSERT_EQUAL(store("b", 2, 5), 5);
	CU_ASSERT_EQUAL(store(NULL, 3, 3), 3);
	CU_ASSERT_EQUAL(kvf_tenant_victim(e, 0), kvf_evict_victim(&e->tenant[0].evict)); /* 3 and 3 above */
	CU_ASSERT_EQUAL(store("b", 4, 1), 1);
	CU_ASSERT_EQUAL(e->tenant[0].used, 2);
	CU_ASSERT_EQUAL(e->tenant[1].used, 8);
	CU_ASSERT_EQUAL(store(NULL, 5, 3), 3);
	CU_ASSERT_EQUAL(e->tenant[0].used + e->tenant[2].used, 8);
	CU_ASSERT(e->tenant[2].used >= 2);
	CU_ASSERT_EQUAL(rig_unpin(&r, lease, 0, SIZE_MAX).status, KVF_OK);
	CU_ASSERT_EQUAL(kvf_tenant_victim(e, 0), kvf_evict_victim(&e->tenant[1].evict));
	rig_close(&r);
}

static int quota(const char *salt, uint64_t min, uint64_t max)
{
	return kvf_set_quota(r.engine, salt, min, max);
}

static bool says(const char *what)
{
	return strstr(kvf_error_detail(r.engine), what) != NULL;
}

/* Bytes are rounded so that what is guaranteed is enough and what is bounded is kept. */
static void test_bytes(void)
{
	struct kvf_tenant *t;

	open_slots(64);
	t = r.engine->tenant;
	CU_ASSERT_EQUAL(quota("a", 1, 0), KVF_OK);
	CU_ASSERT_EQUAL(t[1].min, 1);
	CU_ASSERT_EQUAL(t[1].max, 0);
	CU_ASSERT_EQUAL(quota("a", slot, slot), KVF_OK);
	CU_ASSERT_EQUAL(t[1].min, 1);
	CU_ASSERT_EQUAL(t[1].max, 1);
	CU_ASSERT_EQUAL(quota("a", slot + 1, 3 * slot - 1), KVF_OK);
	CU_ASSERT_EQUAL(t[1].min, 2);
	CU_ASSERT_EQUAL(t[1].max, 2);
	CU_ASSERT_EQUAL(quota("a", 0, slot - 1), KVF_ERANGE);
	CU_ASSERT_TRUE(says("less than one slot"));
	CU_ASSERT_EQUAL(quota("a", 3 * slot, 2 * slot), KVF_ERANGE);
	CU_ASSERT_TRUE(says("min of 3 slots is over max of 2"));
	CU_ASSERT_EQUAL(quota("a", 0, UINT32_MAX * slot), KVF_OK);
	CU_ASSERT_EQUAL(t[1].max, UINT32_MAX);
	CU_ASSERT_EQUAL(quota("a", 0, (UINT32_MAX + 1ull) * slot), KVF_ERANGE);
	CU_ASSERT_TRUE(says("more than 4294967295 slots"));
	CU_ASSERT_EQUAL(quota("a", UINT32_MAX * slot, 0), KVF_ERANGE);
	CU_ASSERT_TRUE(says("the bound is half of 64"));
	CU_ASSERT_EQUAL(quota("a", UINT32_MAX * slot + 1, 0), KVF_ERANGE);
	CU_ASSERT_TRUE(says("more than 4294967295 slots"));
	CU_ASSERT_EQUAL(r.engine->n_tenants, 2);
	rig_close(&r);
}

/* All minimums together are at most half of the pool, each counted once. */
static void test_sum_of_minimums(void)
{
	open_slots(64);
	CU_ASSERT_EQUAL(quota("a", 10 * slot, 0), KVF_OK);
	CU_ASSERT_EQUAL(quota("b", 10 * slot, 0), KVF_OK);
	CU_ASSERT_EQUAL(quota("c", 13 * slot, 0), KVF_ERANGE);
	CU_ASSERT_TRUE(says("together are 33 slots"));
	CU_ASSERT_EQUAL(quota("c", 12 * slot, 0), KVF_OK);
	CU_ASSERT_EQUAL(quota("b", 11 * slot, 0), KVF_ERANGE);
	CU_ASSERT_EQUAL(quota("b", 10 * slot, 0), KVF_OK); /* its own counts once */
	CU_ASSERT_EQUAL(quota("a", 0, 0), KVF_OK);
	CU_ASSERT_EQUAL(quota("b", 20 * slot, 0), KVF_OK);
	CU_ASSERT_EQUAL(quota("d", slot, 0), KVF_ERANGE);
	CU_ASSERT_TRUE(says("together are 33 slots"));
	rig_close(&r);
}

/* A place is a salt's as long as it has a quota or a chunk; whoever comes then gets one that is left. */
static void test_places(void)
{
	struct kvf_tenant *t;

	open_slots(64);
	t = r.engine->tenant;
	CU_ASSERT_EQUAL(quota("a", 0, 8 * slot), KVF_OK);
	CU_ASSERT_EQUAL(quota("b", 0, 8 * slot), KVF_OK);
	CU_ASSERT_EQUAL(quota("c", 0, 8 * slot), KVF_OK);
	CU_ASSERT_EQUAL(r.engine->n_tenants, 4);
	CU_ASSERT_EQUAL(kvf_tenant_find(r.engine, t[1].salt_hash), 1);
	CU_ASSERT_EQUAL(kvf_tenant_find(r.engine, t[3].salt_hash), 3);
	CU_ASSERT_EQUAL(kvf_tenant_find(r.engine, t[3].salt_hash + 1), 0);
	CU_ASSERT_EQUAL(kvf_tenant_find(r.engine, t[0].salt_hash), 0);
	CU_ASSERT_EQUAL(store("a", 1, 2), 2);
	CU_ASSERT_EQUAL(t[1].used, 2);
	/* Off, but not empty: its chunks still count for it, new ones for everybody. */
	CU_ASSERT_EQUAL(quota("a", 0, 0), KVF_OK);
	CU_ASSERT_EQUAL(kvf_tenant_find(r.engine, t[1].salt_hash), 0);
	CU_ASSERT_EQUAL(store("a", 2, 3), 3);
	CU_ASSERT_EQUAL(t[0].used, 3);
	CU_ASSERT_EQUAL(quota("d", 0, 8 * slot), KVF_OK);
	CU_ASSERT_EQUAL(r.engine->n_tenants, 5);
	/* Off and empty: the next one takes it. */
	CU_ASSERT_EQUAL(quota("b", 0, 0), KVF_OK);
	CU_ASSERT_EQUAL(quota("e", slot, 0), KVF_OK);
	CU_ASSERT_EQUAL(r.engine->n_tenants, 5);
	CU_ASSERT_EQUAL(kvf_tenant_find(r.engine, t[2].salt_hash), 2);
	CU_ASSERT_EQUAL(t[2].min, 1);
	CU_ASSERT_EQUAL(t[2].max, 0);
	/* Its own, again. */
	CU_ASSERT_EQUAL(quota("a", 0, 9 * slot), KVF_OK);
	CU_ASSERT_EQUAL(r.engine->n_tenants, 5);
	CU_ASSERT_EQUAL(t[1].max, 9);
	CU_ASSERT_EQUAL(kvf_tenant_find(r.engine, t[1].salt_hash), 1);
	CU_ASSERT_EQUAL(kvf_verify(r.engine), KVF_OK);
	rig_close(&r);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "touch_by_runs", test_touch_by_runs },
		{ "who_gives", test_who_gives },
		{ "full_replaces_own", test_full_replaces_own },
		{ "leased_gives_nothing", test_leased_gives_nothing },
		{ "bytes", test_bytes },
		{ "sum_of_minimums", test_sum_of_minimums },
		{ "places", test_places },
	};

	return kvf_test_main("tenant", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
