/* SPDX-License-Identifier: Apache-2.0 */
/* What a tenant may take of the pool, and how fast chunks go down and come up: by the configuration, on a virtual
 * clock. */
#include "tests/harness.h"
#include "tests/memtier.h"
#include "tests/rig.h"

#include <stdio.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)
#define CHUNKS 4u /* of a prompt */
#define PROMPT (CHUNKS * RIG_CHUNK)
#define USES 2000

static uint64_t fake_now;

static uint64_t fake_clock(void *user)
{
	(void)user;
	return fake_now;
}

static const struct kvf_clock virtual_clock = {sizeof(virtual_clock), fake_clock, NULL};

/* So many bytes in GB, as the configuration wants them. */
static const char *gb(double bytes)
{
	static char text[4][40];
	static unsigned n;
	char *out = text[n++ % 4];

	snprintf(out, sizeof(text[0]), "%.17g", bytes / 1073741824.0);
	return out;
}

/* ---- quotas ---- */

static uint32_t random_below(uint64_t *state, uint32_t n)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*state >> 33) % n;
}

static uint32_t use(struct rig *r, const char *salt, uint32_t number)
{
	uint32_t tokens[PROMPT], hit;
	struct kvf_seq_params p;

	kvf_seq_close(r->seq);
	r->seq = NULL;
	kvf_seq_params_init(&p);
	p.salt = salt;
	for (uint32_t i = 0; i < PROMPT; i++)
		tokens[i] = i < RIG_CHUNK ? number / 4 * RIG_CHUNK + i : 1000000u + number * PROMPT + i;
	CU_ASSERT_EQUAL_FATAL(kvf_seq_open(r->engine, &p, &r->seq), KVF_OK);
	CU_ASSERT_EQUAL_FATAL(kvf_seq_append(r->seq, tokens, PROMPT), KVF_OK);
	hit = rig_retrieve(r, 0, PROMPT, 0).tokens;
	if (hit < PROMPT)
		CU_ASSERT_EQUAL(rig_store(r, hit, PROMPT - hit, 0).tokens, PROMPT - hit);
	return hit;
}

/* Hit rate in per cent of a tenant with 20 prompts, four of which share their first chunk, in a pool of so many slots,
 * beside another tenant that asks for `flood` prompts nobody ever saw after each of its own. */
static double rate_beside(uint32_t slots, uint32_t flood, const char *min, const char *max)
{
	const char *settings[] = {min ? "kvf_quota_min" : NULL, min, max ? "kvf_quota_max" : NULL, max, NULL};
	uint64_t state = 42, hits = 0;
	uint32_t other = 100;
	struct rig r;

	rig_open(&r, &(struct rig_options){.slots = slots, .settings = settings});
	for (int i = 0; i < USES; i++) {
		hits += use(&r, "tenant:a", random_below(&state, 20));
		for (uint32_t k = 0; k < flood; k++)
			use(&r, "tenant-b", other++);
	}
	CU_ASSERT_EQUAL(kvf_verify(r.engine), KVF_OK);
	rig_close(&r);
	return 100.0 * (double)hits / (USES * (double)PROMPT);
}

static uint32_t slot_bytes(void)
{
	struct rig r;
	uint32_t n;

	rig_open(&r, &(struct rig_options){.slots = 16});
	n = (uint32_t)rig_stats(&r).slot_bytes;
	rig_close(&r);
	return n;
}

/* Half of the pool is guaranteed: as many hits as alone in a pool of that size, within 2 points. */
static void test_flood(void)
{
	double solo = rate_beside(40, 0, NULL, NULL);
	double bare = rate_beside(80, 4, NULL, NULL);
	double guarded, bounded;
	char quota[64];

	snprintf(quota, sizeof(quota), "tenant:a:%s", gb(40.0 * slot_bytes()));
	guarded = rate_beside(80, 4, quota, NULL);
	bounded = rate_beside(80, 4, quota, quota);
	printf("\n  hit rate alone %.2f %%, beside a flood %.2f %%, guaranteed %.2f %%, bounded %.2f %% ",
		solo, bare, guarded, bounded);
	CU_ASSERT(solo > 30 && solo < 95);
	CU_ASSERT(bare < solo - 10); /* the flood hurts, else nothing is shown */
	CU_ASSERT(guarded > solo - 2);
	CU_ASSERT(bounded > solo - 2 && bounded < solo + 2);
}

static void try_quota(const char *min, const char *max, const char *says)
{
	const char *settings[] = {"kvf_quota_min", min, "kvf_quota_max", max, NULL};
	struct rig r;

	CU_ASSERT(rig_try_open(&r, &(struct rig_options){.slots = 64, .settings = settings}) < 0);
	if (!strstr(r.text, says)) {
		printf("\n  expected \"%s\" in: %s", says, r.text);
		CU_FAIL("not the error that was expected");
	}
	CU_ASSERT_PTR_NULL(strstr(r.text, "acme"));
	rig_free(&r);
}

static void test_refused(void)
{
	uint32_t slot = slot_bytes();
	char a[64], b[64], many[2048] = "";

	snprintf(a, sizeof(a), "x:%s,acme:%s", gb(8.0 * slot), gb(40.0 * slot));
	try_quota(a, "", "extra_config.kvf_quota_min: entry 2: quota: all minimums together are 48 slots, the bound is "
			 "half of 64");
	snprintf(a, sizeof(a), "acme:%s", gb(4.0 * slot));
	snprintf(b, sizeof(b), "x:1,acme:%s", gb(2.0 * slot));
	try_quota(a, b, "kvf_quota_min: the salt of entry 1 is guaranteed 65536 bytes, more than the 32768");
	snprintf(b, sizeof(b), "acme:%s", gb(slot / 2.0));
	try_quota("", b, "extra_config.kvf_quota_max: entry 1: max_bytes: 8192 is less than one slot");
	for (int i = 0; i < 64; i++)
		snprintf(many + strlen(many), sizeof(many) - strlen(many), "%sacme%d:1", i ? "," : "", i);
	try_quota("", many, "kvf_quota_max: 64 salts have a quota; at most 63");
}

/* ---- rates ---- */

struct rated {
	struct rig rig;
	struct memtier tier;
	struct kvf_custom_tier spec;
	double chunk; /* bytes of one */
};

static void open_rated(struct rated *x, const char *const *settings)
{
	memset(x, 0, sizeof(*x));
	fake_now = 1000 * SECOND;
	x->tier.caps = KVF_TIER_RECORDS;
	x->spec = (struct kvf_custom_tier){&memtier_ops, &x->tier};
	rig_open(&x->rig, &(struct rig_options){.slots = 64,
				  .tiers = &x->spec,
				  .n_tiers = 1,
				  .clock = &virtual_clock,
				  .settings = settings});
	x->chunk = (double)rig_stats(&x->rig).payload_bytes;
}

static void close_rated(struct rated *x)
{
	CU_ASSERT_EQUAL(kvf_set_rates(x->rig.engine, 0, 0), KVF_OK);
	rig_close(&x->rig);
	memtier_free(&x->tier);
}

/* Lets the host sleep exactly as long as the engine says. Returns the seconds until so many requests were made. */
static double seconds_until(struct rated *x, const uint32_t *counter, uint32_t n)
{
	uint64_t begin = fake_now, due;
	struct kvf_completion c;

	for (int i = 0; i < 100000 && *counter < n; i++) {
		kvf_poll(x->rig.engine, &c, 1);
		due = kvf_next_deadline_ns(x->rig.engine);
		CU_ASSERT_NOT_EQUAL_FATAL(due, KVF_NO_DEADLINE);
		if (*counter < n && due > fake_now)
			fake_now = due;
	}
	CU_ASSERT_EQUAL(*counter, n);
	return (double)(fake_now - begin) / 1e9;
}

static void store_chunks(struct rated *x, uint64_t number, uint32_t n)
{
	rig_tokens(&x->rig, number, n * RIG_CHUNK);
	rig_compute(&x->rig, n * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_store(&x->rig, 0, n * RIG_CHUNK, 0).status, KVF_OK);
}

static void test_spill_rate(void)
{
	const char *ten[] = {"kvf_spill_rate", gb(10 * 12288), NULL};
	struct rated x;
	double s;

	open_rated(&x, ten);
	CU_ASSERT_EQUAL(x.chunk, 12288);
	store_chunks(&x, 1, 20);
	s = seconds_until(&x, &x.tier.puts, 20);
	CU_ASSERT(s > 1.79 && s < 2.01);
	/* A chunk takes four seconds: what it is in debt is not forgiven, and not asked for twice. */
	CU_ASSERT_EQUAL(kvf_set_rates(x.rig.engine, 12288 / 4, 0), KVF_OK);
	store_chunks(&x, 2, 6);
	s = seconds_until(&x, &x.tier.puts, 26);
	CU_ASSERT(s > 19.9 && s < 20.1);
	CU_ASSERT_EQUAL(kvf_set_rates(x.rig.engine, 0, 0), KVF_OK);
	store_chunks(&x, 3, 20);
	CU_ASSERT(seconds_until(&x, &x.tier.puts, 46) < 0.001);
	close_rated(&x);
}

static void leave_below(struct rated *x, uint64_t number, uint32_t n)
{
	store_chunks(x, number, n);
	rig_flush(&x->rig);
	rig_remove(&x->rig, 0, n * RIG_CHUNK, KVF_TIER_RAM);
	CU_ASSERT_EQUAL(kvf_seq_resident(x->rig.seq), 0);
}

static double prefetch_seconds(struct rated *x, uint32_t n)
{
	uint32_t before = x->tier.gets;
	struct kvf_op op;
	uint64_t id;
	double s;

	kvf_prep_prefetch(&op, x->rig.seq, 0, n * RIG_CHUNK, 0);
	op.deadline_ns = KVF_NO_DEADLINE;
	id = rig_submit(&x->rig, &op);
	s = seconds_until(x, &x->tier.gets, before + n);
	(void)rig_await(&x->rig, id);
	return s;
}

static void test_prefetch_rate(void)
{
	const char *ten[] = {"kvf_prefetch_rate", gb(10 * 12288), NULL};
	struct rated x;
	double s;

	open_rated(&x, ten);
	leave_below(&x, 1, 20);
	s = prefetch_seconds(&x, 20);
	CU_ASSERT(s > 1.79 && s < 2.01);
	/* A retrieve does not wait for it. */
	leave_below(&x, 2, 20);
	s = (double)fake_now;
	CU_ASSERT_EQUAL(rig_retrieve(&x.rig, 0, 20 * RIG_CHUNK, 0).tokens, 20 * RIG_CHUNK);
	CU_ASSERT_EQUAL((double)fake_now, s);
	leave_below(&x, 3, 20);
	CU_ASSERT_EQUAL(kvf_set_rates(x.rig.engine, 0, 0), KVF_OK);
	CU_ASSERT(prefetch_seconds(&x, 20) < 0.001);
	close_rated(&x);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"flood", test_flood},
		{"refused", test_refused},
		{"spill_rate", test_spill_rate},
		{"prefetch_rate", test_prefetch_rate},
	};

	return kvf_test_main("quota", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
