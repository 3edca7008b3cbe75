/* SPDX-License-Identifier: Apache-2.0 */
/* Opening an engine: every refusal names its field and bound, and what is just inside the bound is taken. */
#include "tests/harness.h"
#include "tests/memtier.h"
#include "tests/support/tier_rig.h"

#include <stdio.h>
#include <string.h>

static char text[2048];
static struct kvf_report report;
static struct rig base;

/* Parameters that open; each test then breaks one of them. */
static struct kvf_open_params good(void)
{
	struct kvf_open_params p;

	kvf_open_params_init(&p);
	kvf_report_init(&report, text, sizeof(text));
	p.layout = &base.layout;
	p.identity.model = "m";
	p.report = &report;
	return p;
}

static struct kvf_config *config_of(const char *key, const char *value)
{
	struct kvf_config *config = NULL;

	CU_ASSERT_EQUAL_FATAL(kvf_config_create(&config, NULL), KVF_OK);
	CU_ASSERT_EQUAL(kvf_config_set(config, "chunk_size", "64", NULL), KVF_OK);
	CU_ASSERT_EQUAL(kvf_config_set(config, "kvf_pool_slots", "16", NULL), KVF_OK);
	if (key)
		CU_ASSERT_EQUAL(kvf_config_set(config, key, value, NULL), KVF_OK);
	return config;
}

static int try_open(struct kvf_open_params *p, const char *key, const char *value)
{
	struct kvf_config *config = config_of(key, value);
	struct kvf_engine *e = NULL;
	int rc;

	p->config = config;
	rc = kvf_engine_open(&e, p);
	if (!rc)
		CU_ASSERT_EQUAL(kvf_engine_close(e), KVF_OK);
	kvf_config_destroy(config);
	return rc;
}

static void refused(struct kvf_open_params *p, int status, const char *words)
{
	CU_ASSERT_EQUAL(try_open(p, NULL, NULL), status);
	CU_ASSERT(report.errors >= 1);
	if (!strstr(text, words))
		fprintf(stderr, "\"%s\" is not in: %s\n", words, text);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, words));
}

static void taken(struct kvf_open_params *p)
{
	CU_ASSERT_EQUAL(try_open(p, NULL, NULL), KVF_OK);
	CU_ASSERT_EQUAL(report.errors, 0);
}

static void test_identity(void)
{
	struct kvf_open_params p = good();

	p.identity.world_size = 0;
	refused(&p, KVF_ERANGE, "identity.world_size: 0");
	p = good();
	p.identity.world_size = 65536;
	refused(&p, KVF_ERANGE, "identity.world_size: 65536");
	p = good();
	p.identity.world_size = 65535;
	p.identity.rank = 65534;
	taken(&p);
	p = good();
	p.identity.world_size = 4;
	p.identity.rank = 4;
	refused(&p, KVF_ERANGE, "identity.rank: 4 must be below world_size 4");
	p = good();
	p.identity.world_size = 1;
	taken(&p);
}

static void test_arguments(void)
{
	struct kvf_open_params p = good();
	struct kvf_engine *e = NULL;

	CU_ASSERT_EQUAL(kvf_engine_open(NULL, &p), KVF_EINVAL);
	CU_ASSERT_EQUAL(kvf_engine_open(&e, NULL), KVF_EINVAL);
	p.size = 8;
	CU_ASSERT_EQUAL(kvf_engine_open(&e, &p), KVF_EINVAL);
	p = good();
	p.layout = NULL;
	refused(&p, KVF_EINVAL, "layout: missing");
	p = good();
	p.layout = NULL;
	p.flags = KVF_OPEN_LOOKUP_ONLY;
	refused(&p, KVF_EINVAL, "chunk_bytes: 0");
	p = good();
	p.layout = NULL;
	p.flags = KVF_OPEN_LOOKUP_ONLY;
	p.chunk_bytes = 4096;
	taken(&p);
	p = good();
	p.flags = KVF_OPEN_LOOKUP_ONLY;
	taken(&p);
}

static void test_tiers_bound(void)
{
	struct memtier m[KVF_MAX_TIERS + 1];
	struct kvf_custom_tier tiers[KVF_MAX_TIERS + 1];
	struct kvf_open_params p = good();

	memset(m, 0, sizeof(m));
	for (int i = 0; i <= KVF_MAX_TIERS; i++)
		tiers[i] = (struct kvf_custom_tier){ &memtier_ops, &m[i] };
	p.tiers = tiers;
	p.n_tiers = KVF_MAX_TIERS + 1;
	refused(&p, KVF_EINVAL, "n_tiers: 5");
	p = good();
	p.n_tiers = 1;
	refused(&p, KVF_EINVAL, "n_tiers: 1");
	p = good();
	p.tiers = tiers;
	p.n_tiers = KVF_MAX_TIERS;
	taken(&p);
}

static void test_pool_bounds(void)
{
	struct kvf_open_params p = good();

	CU_ASSERT_NOT_EQUAL(try_open(&p, "kvf_pool_slots", "7"), KVF_OK);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "at least 8 chunks"));
	p = good();
	CU_ASSERT_EQUAL(try_open(&p, "kvf_pool_slots", "8"), KVF_OK);
	/* More than any machine has: an error with numbers, not an OOM kill later. */
	p = good();
	CU_ASSERT_EQUAL(try_open(&p, "kvf_pool_slots", "2000000000"), KVF_ENOMEM);
	CU_ASSERT(strlen(text) > 40);
}

/* Every reader of the events agrees with the walk, and a full ring says what it lost. */
static void test_events_and_snapshot(void)
{
	struct kvf_event ev[8];
	uint64_t cursor = 0, lost = 7;
	struct kvf_op op;
	struct rig r;

	rig_open(&r, &(struct rig_options){ .slots = 16 });
	tier_rig_store(&r, 1, 3);
	CU_ASSERT_EQUAL(kvf_snapshot(r.engine, &cursor, ev, 2), 2);
	CU_ASSERT_EQUAL(kvf_snapshot(r.engine, &cursor, ev + 2, 6), 1);
	CU_ASSERT_EQUAL(kvf_snapshot(r.engine, &cursor, ev + 3, 5), 0);
	CU_ASSERT_EQUAL(memcmp(ev[1].parent, ev[0].key, KVF_KEY_BYTES), 0);
	CU_ASSERT_EQUAL(ev[2].n_tokens, RIG_CHUNK);
	CU_ASSERT_EQUAL(kvf_events(r.engine, ev, 8, &lost), 3);
	CU_ASSERT_EQUAL(lost, 0);
	CU_ASSERT_EQUAL(ev[0].kind, KVF_EVENT_STORED);
	CU_ASSERT_EQUAL(ev[2].seq, 2);
	CU_ASSERT_EQUAL(kvf_events(r.engine, ev, 8, NULL), 0);
	kvf_prep_remove(&op, r.seq, 0, 3 * RIG_CHUNK, 0);
	rig_run(&r, &op);
	CU_ASSERT_EQUAL(kvf_events(r.engine, ev, 8, NULL), 3);
	CU_ASSERT_EQUAL(ev[0].kind, KVF_EVENT_REMOVED);
	for (int i = 0; i < 3000; i++) {
		rig_store(&r, 0, 3 * RIG_CHUNK, 0);
		rig_run(&r, &op);
	}
	CU_ASSERT_EQUAL(kvf_events(r.engine, ev, 8, &lost), 8);
	CU_ASSERT_EQUAL(lost, 18000 - 8192);
	CU_ASSERT_EQUAL(ev[0].seq, 6 + lost);
	rig_close(&r);
	rig_open(&r, &(struct rig_options){ .slots = 16, .flags = KVF_OPEN_NO_EVENTS });
	CU_ASSERT_EQUAL(kvf_events(r.engine, ev, 8, NULL), KVF_ENOTSUP);
	rig_close(&r);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "identity", test_identity },	       { "arguments", test_arguments },
		{ "tiers_bound", test_tiers_bound },   { "pool_bounds", test_pool_bounds },
		{ "events_and_snapshot", test_events_and_snapshot },
	};
	int rc;

	/* Its layout and memory serve every test here. */
	if (rig_try_open(&base, &(struct rig_options){ .slots = 16 }))
		return 1;
	rc = kvf_test_main("open", tests, KVF_ARRAY_LEN(tests), argc, argv);
	rig_free(&base);
	return rc;
}
