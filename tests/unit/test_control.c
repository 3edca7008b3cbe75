/* SPDX-License-Identifier: Apache-2.0 */
/* Operating an engine while it runs: freeze, hot cache, pool size, quotas, rates, clear, health. */
#include "tests/harness.h"
#include "tests/rig.h"

#include <stdlib.h>
#include <string.h>

static void store(struct rig *r, uint64_t number, uint32_t chunks)
{
	rig_tokens(r, number, chunks * RIG_CHUNK);
	rig_compute(r, chunks * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_store(r, 0, chunks * RIG_CHUNK, 0).status, KVF_OK);
}

static void poll_until_quiet(struct rig *r)
{
	struct kvf_completion c;

	for (int i = 0; i < 10000 && kvf_next_deadline_ns(r->engine) != KVF_NO_DEADLINE; i++)
		kvf_poll(r->engine, &c, 1);
	CU_ASSERT_EQUAL(kvf_next_deadline_ns(r->engine), KVF_NO_DEADLINE);
}

static void test_frozen(void)
{
	struct kvf_completion c;
	struct rig r;

	rig_open(&r, &(struct rig_options){ .slots = 16 });
	store(&r, 1, 2);
	CU_ASSERT_EQUAL(kvf_set_frozen(r.engine, 1), KVF_OK);
	rig_tokens(&r, 2, 4 * RIG_CHUNK);
	c = rig_store(&r, 0, 4 * RIG_CHUNK, 0);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(c.tokens, 0);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_POLICY);
	rig_tokens(&r, 1, 2 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_lookup(&r, 0, 0).tokens, 2 * RIG_CHUNK);
	CU_ASSERT_EQUAL(kvf_set_frozen(r.engine, 0), KVF_OK);
	store(&r, 2, 4);
	CU_ASSERT_EQUAL(kvf_seq_resident(r.seq), 4 * RIG_CHUNK);
	rig_close(&r);
}

static void test_hot_cache(void)
{
	struct kvf_completion c;
	struct rig r;

	rig_open(&r, &(struct rig_options){ .slots = 16 });
	store(&r, 1, 4);
	c = rig_lookup(&r, 0, 3600000000000ull);
	CU_ASSERT_EQUAL(kvf_set_hot_cache(r.engine, 0), KVF_OK);
	for (int i = 0; i < 10; i++)
		kvf_poll(r.engine, &c, 0);
	/* What is leased stays until it is given back, then it goes at once. */
	CU_ASSERT_EQUAL(rig_stats(&r).slots_resident, 4);
	CU_ASSERT_EQUAL(kvf_verify(r.engine), KVF_OK);
	kvf_seq_close(r.seq);
	r.seq = NULL;
	CU_ASSERT_EQUAL(rig_unpin(&r, 1ull << 32 | 1, 0, SIZE_MAX).status, KVF_OK);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_resident, 0);
	store(&r, 2, 4);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_resident, 0);
	CU_ASSERT_EQUAL(kvf_set_hot_cache(r.engine, 1), KVF_OK);
	store(&r, 3, 4);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_resident, 4);
	poll_until_quiet(&r);
	rig_close(&r);
}

/* Said twice it is said once: what is cached goes all the same. */
static void test_hot_cache_off_twice(void)
{
	struct rig r;

	rig_open(&r, &(struct rig_options){ .slots = 16 });
	store(&r, 1, 4);
	CU_ASSERT_EQUAL(kvf_set_hot_cache(r.engine, 0), KVF_OK);
	CU_ASSERT_EQUAL(kvf_set_hot_cache(r.engine, 0), KVF_OK);
	for (int i = 0; i < 10; i++)
		kvf_poll(r.engine, NULL, 0);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_resident, 0);
	rig_close(&r);
}

static void test_resize(void)
{
	struct kvf_stats s;
	struct rig r;

	rig_open(&r, &(struct rig_options){ .slots = 64 });
	for (uint64_t i = 0; i < 16; i++)
		store(&r, i, 4);
	s = rig_stats(&r);
	CU_ASSERT_EQUAL(s.slots_resident, 64);
	CU_ASSERT_EQUAL(kvf_set_pool_bytes(r.engine, 7 * s.slot_bytes), KVF_ERANGE);
	CU_ASSERT_PTR_NOT_NULL(strstr(kvf_error_detail(r.engine), "7 slots"));
	CU_ASSERT_EQUAL(kvf_set_pool_bytes(r.engine, 16 * s.slot_bytes), KVF_OK);
	poll_until_quiet(&r);
	CU_ASSERT(rig_stats(&r).slots_resident <= 16);
	CU_ASSERT_EQUAL(kvf_verify(r.engine), KVF_OK);
	CU_ASSERT_EQUAL(kvf_set_pool_bytes(r.engine, 128 * s.slot_bytes), KVF_OK);
	poll_until_quiet(&r);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_ready, 128);
	for (uint64_t i = 0; i < 32; i++)
		store(&r, i, 4);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_resident, 128);
	CU_ASSERT_EQUAL(kvf_verify(r.engine), KVF_OK);
	CU_ASSERT_EQUAL(kvf_set_pool_bytes(r.engine, UINT64_MAX / 2), KVF_ERANGE);
	CU_ASSERT_EQUAL(kvf_set_pool_bytes(r.engine, 1ull << 50), KVF_ERANGE);
	rig_close(&r);
}

static void test_clear(void)
{
	struct rig r;

	rig_open(&r, &(struct rig_options){ .slots = 16 });
	store(&r, 1, 4);
	store(&r, 2, 4);
	CU_ASSERT_EQUAL(rig_clear(&r, 0).tokens, 8 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_resident, 0);
	CU_ASSERT_EQUAL(kvf_seq_resident(r.seq), 0);
	rig_close(&r);
}

/* ---- quotas: prompts of one chunk each, so that hits can be counted exactly ---- */

static uint32_t random_below(uint64_t *state, uint32_t n)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*state >> 33) % n;
}

static void open_salted(struct rig *r, const char *salt, uint64_t number)
{
	uint32_t tokens[RIG_CHUNK];
	struct kvf_seq_params p;

	kvf_seq_close(r->seq);
	r->seq = NULL;
	kvf_seq_params_init(&p);
	p.salt = salt;
	for (uint32_t i = 0; i < RIG_CHUNK; i++)
		tokens[i] = (uint32_t)number * RIG_CHUNK + i;
	CU_ASSERT_EQUAL_FATAL(kvf_seq_open(r->engine, &p, &r->seq), KVF_OK);
	CU_ASSERT_EQUAL_FATAL(kvf_seq_append(r->seq, tokens, RIG_CHUNK), KVF_OK);
}

static bool use(struct rig *r, const char *salt, uint64_t number)
{
	bool hit;

	open_salted(r, salt, number);
	hit = rig_retrieve(r, 0, RIG_CHUNK, 0).tokens == RIG_CHUNK;
	if (!hit)
		CU_ASSERT_EQUAL(rig_store(r, 0, RIG_CHUNK, 0).tokens, RIG_CHUNK);
	return hit;
}

/* Hits of 4,000 uses of 48 prompts, beside `flood` prompts of another tenant after each. */
static uint32_t hits_beside(struct rig *r, uint32_t flood)
{
	uint64_t state = 42, other = 0;
	uint32_t hits = 0;

	for (int i = 0; i < 4000; i++) {
		hits += use(r, "tenant-a", random_below(&state, 48));
		for (uint32_t k = 0; k < flood; k++)
			use(r, "tenant-b", 1000 + other++);
	}
	return hits;
}

static void test_quota_protects(void)
{
	uint32_t solo, beside, bare;
	uint64_t slot;
	struct rig r;

	/* Alone in a pool of 32 slots. */
	rig_open(&r, &(struct rig_options){ .slots = 32 });
	solo = hits_beside(&r, 0);
	rig_close(&r);
	/* Guaranteed 32 of 64 slots, beside a flood. */
	rig_open(&r, &(struct rig_options){ .slots = 64 });
	slot = rig_stats(&r).slot_bytes;
	CU_ASSERT_EQUAL(kvf_set_quota(r.engine, "tenant-a", 32 * slot, 32 * slot), KVF_OK);
	beside = hits_beside(&r, 4);
	CU_ASSERT_EQUAL(kvf_verify(r.engine), KVF_OK);
	rig_close(&r);
	/* The same without the guarantee: the flood must be able to hurt, or this test shows nothing. */
	rig_open(&r, &(struct rig_options){ .slots = 64 });
	bare = hits_beside(&r, 4);
	rig_close(&r);
	CU_ASSERT(solo > 2000);
	CU_ASSERT(beside + 80 >= solo); /* 2 points of 4,000 */
	CU_ASSERT(bare + 400 < solo);
}

static void test_quota_bounds(void)
{
	struct kvf_stats s;
	struct rig r;

	rig_open(&r, &(struct rig_options){ .slots = 64 });
	s = rig_stats(&r);
	CU_ASSERT_EQUAL(kvf_set_quota(r.engine, "a", 0, 10 * s.slot_bytes), KVF_OK);
	for (uint64_t i = 0; i < 40; i++)
		use(&r, "a", i);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_resident, 10);
	for (uint64_t i = 0; i < 40; i++)
		use(&r, "c", i);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_resident, 50);
	CU_ASSERT_EQUAL(kvf_set_quota(r.engine, "a", 2 * s.slot_bytes, s.slot_bytes), KVF_ERANGE);
	CU_ASSERT_EQUAL(kvf_set_quota(r.engine, "b", 40 * s.slot_bytes, 0), KVF_ERANGE);
	CU_ASSERT_EQUAL(kvf_set_quota(r.engine, "", 0, 0), KVF_EINVAL);
	for (int i = 0; i < 62; i++) {
		char salt[16] = { 's', (char)('0' + i % 10), (char)('a' + i / 10), 0 };

		CU_ASSERT_EQUAL(kvf_set_quota(r.engine, salt, 0, 8 * s.slot_bytes), KVF_OK);
	}
	CU_ASSERT_EQUAL(kvf_set_quota(r.engine, "one more", 0, 8 * s.slot_bytes), KVF_EQUOTA);
	CU_ASSERT_EQUAL(kvf_verify(r.engine), KVF_OK);
	rig_close(&r);
}

static void test_health_and_level(void)
{
	uint32_t bits = 77;
	struct rig r;

	rig_open(&r, &(struct rig_options){ .slots = 16 });
	poll_until_quiet(&r);
	CU_ASSERT_EQUAL(kvf_health(r.engine, &bits), KVF_OK);
	CU_ASSERT_EQUAL(bits, 0);
	CU_ASSERT_EQUAL(kvf_set_log_level(r.engine, KVF_LOG_DEBUG), KVF_OK);
	CU_ASSERT_EQUAL(kvf_set_log_level(r.engine, (enum kvf_log_level)9), KVF_EINVAL);
	CU_ASSERT_EQUAL(kvf_set_tier(r.engine, KVF_TIER_DISK, 0), KVF_ENOENT);
	CU_ASSERT_EQUAL(kvf_set_rates(r.engine, 1 << 20, 1 << 20), KVF_OK);
	rig_close(&r);
}

/* The rig's pages lie elsewhere from now on. */
static uint8_t *move_pages(struct rig *r, uint8_t *to)
{
	uint8_t *from = r->kv;

	for (uint32_t l = 0; l < RIG_LAYERS; l++) {
		for (uint32_t p = 0; p < 2; p++)
			r->layers[l].base[p] = to + ((uint8_t *)r->layers[l].base[p] - from);
	}
	r->kv = to;
	return from;
}

static void test_rebind(void)
{
	uint8_t *other, *old;
	struct rig r;

	rig_open(&r, &(struct rig_options){ .slots = 16 });
	other = malloc(r.kv_bytes);
	CU_ASSERT_PTR_NOT_NULL_FATAL(other);
	store(&r, 1, 4);
	rig_wipe(&r);
	old = move_pages(&r, other);
	rig_wipe(&r);
	/* Refused by the check, then by the device: the old pages are still the ones. */
	r.group.n_blocks--;
	CU_ASSERT_EQUAL(kvf_engine_rebind(r.engine, &r.layout), KVF_EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(kvf_error_detail(r.engine), "n_blocks"));
	r.group.n_blocks++;
	r.layers[1].device = 0;
	CU_ASSERT_EQUAL(kvf_engine_rebind(r.engine, &r.layout), KVF_ENODEV);
	CU_ASSERT_PTR_NOT_NULL(strstr(kvf_error_detail(r.engine), "device host refuses it"));
	r.layers[1].device = -1;
	CU_ASSERT_EQUAL(rig_retrieve(&r, 0, 4 * RIG_CHUNK, 0).tokens, 4 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_written(&r, 0, 4 * RIG_CHUNK), 0);
	other = move_pages(&r, old);
	CU_ASSERT_EQUAL(rig_mismatches(&r, 0, 4 * RIG_CHUNK), 0);
	rig_wipe(&r);
	old = move_pages(&r, other);
	CU_ASSERT_EQUAL(kvf_engine_rebind(r.engine, &r.layout), KVF_OK);
	CU_ASSERT_EQUAL(rig_retrieve(&r, 0, 4 * RIG_CHUNK, 0).tokens, 4 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_mismatches(&r, 0, 4 * RIG_CHUNK), 0);
	other = move_pages(&r, old);
	CU_ASSERT_EQUAL(rig_written(&r, 0, 4 * RIG_CHUNK), 0);
	free(other);
	rig_close(&r);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "frozen", test_frozen },
		{ "hot_cache", test_hot_cache },
		{ "hot_cache_off_twice", test_hot_cache_off_twice },
		{ "resize", test_resize },
		{ "clear", test_clear },
		{ "quota_protects", test_quota_protects },
		{ "quota_bounds", test_quota_bounds },
		{ "health_and_level", test_health_and_level },
		{ "rebind", test_rebind },
	};

	return kvf_test_main("control", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
