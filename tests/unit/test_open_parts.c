/* SPDX-License-Identifier: Apache-2.0 */
/* What an engine is made of once it is open: the settings it took, the size of its pool, what it locked, its tiers; and
 * that nothing is left of one that could not be opened. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "tests/harness.h"
#include "tests/memtier.h"
#include "tests/rig.h"

static struct rig r;
static struct kvf_report report;
static char text[4096];

static void open_with(uint32_t slots, const char *const *settings)
{
	rig_open(&r, &(struct rig_options){ .slots = slots, .settings = settings });
}

static void test_settings(void)
{
	static const char *const settings[] = { "min_retrieve_tokens", "77", "kvf_scrub", "idle",
						"blocking_timeout_secs", "3", "pin_timeout_sec", "5",
						"kvf_max_ops", "9", "LMCACHE_LOG_LEVEL", "INFO", NULL };
	struct kvf_engine *e;

	open_with(16, settings);
	e = r.engine;
	CU_ASSERT_EQUAL(e->chunk_size, RIG_CHUNK);
	CU_ASSERT_EQUAL(e->min_retrieve_tokens, 77);
	CU_ASSERT_EQUAL(e->scrub, 1);
	CU_ASSERT_EQUAL(e->default_timeout_ns, 3 * KVF_NS_PER_S);
	CU_ASSERT_EQUAL(e->pin_timeout_ns, 5 * KVF_NS_PER_S);
	CU_ASSERT_EQUAL(e->max_ops, 9);
	CU_ASSERT_EQUAL(e->log.level, KVF_LOG_INFO);
	CU_ASSERT_TRUE(e->local_cpu);
	CU_ASSERT_FALSE(e->save_unfull);
	CU_ASSERT_EQUAL(e->ring.cap, 27);
	CU_ASSERT(e->timers.jobs.cap >= 9); /* room for every operation's deadline */
	CU_ASSERT_STRING_EQUAL(e->model, "rig");
	CU_ASSERT_EQUAL(e->world_size, 1);
	CU_ASSERT_EQUAL(e->rank, 0);
	CU_ASSERT_EQUAL(e->payload_bytes, 2 * RIG_LAYERS * RIG_CHUNK * RIG_HIDDEN);
	CU_ASSERT_EQUAL(e->flags, 0);
	CU_ASSERT_FALSE(e->migrating);
	CU_ASSERT_EQUAL(e->shutdown_at_ns, KVF_NEVER);
	CU_ASSERT_EQUAL(e->spill_rate.rate + e->prefetch_rate.rate, 0);
	rig_close(&r);
	/* Partial chunks: wanted, and not thrown away again. */
	rig_open(&r, &(struct rig_options){ .slots = 16, .unfull = true });
	CU_ASSERT_TRUE(r.engine->save_unfull);
	rig_close(&r);
	rig_open(&r, &(struct rig_options){ .slots = 16, .unfull = true, .extra_key = "discard_partial_chunks",
					    .extra_value = "true" });
	CU_ASSERT_FALSE(r.engine->save_unfull);
	rig_close(&r);
	rig_open(&r, &(struct rig_options){ .slots = 16, .staging = true });
	CU_ASSERT_FALSE(r.engine->local_cpu);
	rig_close(&r);
	rig_open(&r, &(struct rig_options){ .slots = 16, .flags = KVF_OPEN_MIGRATING });
	CU_ASSERT_TRUE(r.engine->migrating);
	CU_ASSERT_EQUAL(r.engine->flags, KVF_OPEN_MIGRATING);
	rig_close(&r);
}

static unsigned warnings;

static void count(enum kvf_log_level level, const char *scope, const char *msg, void *user)
{
	(void)scope;
	(void)user;
	warnings += level <= KVF_LOG_WARNING && strstr(msg, "the machine gave no more memory");
}

/* The first slice, or all of them. */
static void test_pool_before_open(void)
{
	static const char *const before[] = { "kvf_pool_before_open", "true", NULL };
	static const struct kvf_log_sink sink = { sizeof(sink), count, NULL };

	warnings = 0;
	rig_open(&r, &(struct rig_options){ .slots = 3000, .log = &sink });
	for (int i = 0; i < 100 && r.engine->growing; i++)
		kvf_poll(r.engine, NULL, 0);
	CU_ASSERT_EQUAL(r.engine->pool.n_ready, 3000);
	CU_ASSERT_EQUAL(warnings, 0);
	kvf_poll(r.engine, NULL, 0);
	CU_ASSERT_EQUAL(kvf_next_deadline_ns(r.engine), KVF_NO_DEADLINE);
	rig_close(&r);
	open_with(3000, NULL);
	CU_ASSERT(r.engine->pool.n_ready >= 8 && r.engine->pool.n_ready < 3000);
	CU_ASSERT_EQUAL(r.engine->pool.n_slices, 1);
	CU_ASSERT_TRUE(r.engine->growing);
	CU_ASSERT_EQUAL(r.engine->index.cap, 3000);
	rig_close(&r);
	open_with(3000, before);
	CU_ASSERT_EQUAL(r.engine->pool.n_ready, 3000);
	CU_ASSERT_FALSE(r.engine->growing);
	CU_ASSERT_EQUAL(kvf_next_deadline_ns(r.engine), KVF_NO_DEADLINE);
	rig_close(&r);
}

/* ---- lookup-only engines, whose slots are as large as they say ---- */

static int try_bytes(uint64_t chunk_bytes, const char *size)
{
	struct kvf_open_params p;
	struct kvf_config *config = NULL;
	struct kvf_engine *e = NULL;
	int rc;

	CU_ASSERT_EQUAL_FATAL(kvf_config_create(&config, NULL), KVF_OK);
	CU_ASSERT_EQUAL(kvf_config_set(config, "max_local_cpu_size", size, NULL), KVF_OK);
	kvf_open_params_init(&p);
	kvf_report_init(&report, text, sizeof(text));
	p.config = config;
	p.flags = KVF_OPEN_LOOKUP_ONLY;
	p.chunk_bytes = chunk_bytes;
	p.report = &report;
	rc = kvf_engine_open(&e, &p);
	if (!rc) {
		CU_ASSERT_STRING_EQUAL(e->model, "");
		CU_ASSERT_EQUAL(kvf_engine_close(e), KVF_OK);
	}
	kvf_config_destroy(config);
	return rc;
}

static void test_pool_size(void)
{
	char size[40];

	/* Slots of 8 KiB: eight of them, and a byte less. */
	snprintf(size, sizeof(size), "%.17g", 8.0 * 8192 / 1073741824.0);
	CU_ASSERT_EQUAL(try_bytes(4096, size), KVF_OK);
	snprintf(size, sizeof(size), "%.17g", (8.0 * 8192 - 1) / 1073741824.0);
	CU_ASSERT_EQUAL(try_bytes(4096, size), KVF_ERANGE);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "hold 7 chunks of 8192 bytes; at least 8 chunks = 65536 bytes"));
	CU_ASSERT_EQUAL(try_bytes(5ull << 30, "100"), KVF_ERANGE);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "a chunk of 5368709120 bytes is too large"));
	CU_ASSERT_EQUAL(try_bytes(4096, "1000000"), KVF_ERANGE);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "slots are more than 2147483647"));
	/* 2^31 - 1 of them are not too many, but more than any machine has memory for. */
	CU_ASSERT_EQUAL(try_bytes(4096, "16383.99999"), KVF_ENOMEM);
}

/* An engine for lookups has no device, also where it is told the layout, and takes no data. */
static void test_lookup_only(void)
{
	struct kvf_op op;
	uint64_t id;

	rig_open(&r, &(struct rig_options){ .slots = 16, .flags = KVF_OPEN_LOOKUP_ONLY });
	CU_ASSERT_PTR_NULL(r.engine->device);
	CU_ASSERT_TRUE(r.engine->has_layout);
	rig_tokens(&r, 1, RIG_CHUNK);
	rig_prep(&r, &op, KVF_OP_STORE, 0, RIG_CHUNK);
	CU_ASSERT(kvf_submit(r.engine, &op, 1, &id) < 0);
	CU_ASSERT_EQUAL(rig_lookup(&r, 0, 0).tokens, 0);
	rig_close(&r);
}

/* ---- a device that locks ---- */

static struct {
	int locked, unlocked, fail_at;
	uint64_t bytes;
} lock;

static int open_device(void *self, struct kvf_device_host *host, const struct kvf_layout *layout, uint32_t *caps)
{
	(void)self;
	(void)host;
	(void)layout;
	*caps = 0;
	return KVF_OK;
}

static void close_device(void *self)
{
	(void)self;
}

static int no_copy(void *self, struct kvf_copy *copy)
{
	(void)self;
	(void)copy;
	return KVF_EIO;
}

static int lock_some(void *self, void *p, size_t n)
{
	CU_ASSERT_PTR_EQUAL(self, &lock);
	CU_ASSERT_PTR_NOT_NULL(p);
	if (++lock.locked == lock.fail_at)
		return KVF_ENOMEM;
	lock.bytes += n;
	return KVF_OK;
}

static void unlock_some(void *self, void *p, size_t n)
{
	CU_ASSERT_PTR_EQUAL(self, &lock);
	CU_ASSERT_PTR_NOT_NULL(p);
	lock.unlocked++;
	lock.bytes -= n;
}

static void test_locks(void)
{
	struct kvf_device_ops ops = { .size = sizeof(ops), .name = "locks", .open = open_device, .close = close_device,
				      .copy = no_copy, .lock = lock_some, .unlock = unlock_some };
	static const struct kvf_log_sink sink = { sizeof(sink), count, NULL };
	struct rig_options o = { .slots = 3000, .device = &ops, .device_self = &lock,
				 .extra_key = "kvf_pool_before_open", .extra_value = "true" };

	memset(&lock, 0, sizeof(lock));
	rig_open(&r, &o);
	CU_ASSERT_EQUAL(lock.locked, (int)r.engine->pool.n_slices);
	CU_ASSERT(lock.bytes >= 3000ull * r.engine->pool.slot_bytes);
	rig_close(&r);
	CU_ASSERT_EQUAL(lock.unlocked, lock.locked);
	CU_ASSERT_EQUAL(lock.bytes, 0);
	/* The first slice cannot be locked: no engine. A later one: a smaller pool. */
	for (int k = 1; k <= 2; k++) {
		memset(&lock, 0, sizeof(lock));
		lock.fail_at = k;
		CU_ASSERT_EQUAL(rig_try_open(&r, &o), KVF_ENOMEM);
		CU_ASSERT_PTR_NOT_NULL(strstr(r.text, "could not be locked"));
		CU_ASSERT_EQUAL(lock.bytes, 0);
		CU_ASSERT_EQUAL(lock.unlocked, k - 1);
	}
	/* After open too: it is said once, and not tried again. */
	memset(&lock, 0, sizeof(lock));
	lock.fail_at = 2;
	o.extra_value = "false";
	o.log = &sink;
	warnings = 0;
	rig_open(&r, &o);
	for (int i = 0; i < 20; i++)
		kvf_poll(r.engine, NULL, 0);
	CU_ASSERT_EQUAL(warnings, 1);
	CU_ASSERT_EQUAL(lock.locked, 2);
	CU_ASSERT_FALSE(r.engine->growing);
	rig_close(&r);
	o.extra_value = "true";
	/* It need not be undone where there is no call for it; a device without a lock locks nothing. */
	memset(&lock, 0, sizeof(lock));
	ops.unlock = NULL;
	rig_open(&r, &o);
	CU_ASSERT(lock.locked > 1);
	rig_close(&r);
	CU_ASSERT_EQUAL(lock.unlocked, 0);
	memset(&lock, 0, sizeof(lock));
	ops.lock = NULL;
	ops.unlock = unlock_some;
	rig_open(&r, &o);
	rig_close(&r);
	CU_ASSERT_EQUAL(lock.locked + lock.unlocked, 0);
}

/* ---- tiers ---- */

static int open_refused(void *self, struct kvf_tier_host *host, const struct kvf_tier_open *params, uint32_t *caps)
{
	(void)self;
	(void)host;
	(void)params;
	*caps = 0;
	return KVF_ENOTSUP;
}

static void test_tiers(void)
{
	struct memtier m[KVF_MAX_TIERS] = { { 0 } };
	struct kvf_custom_tier tiers[KVF_MAX_TIERS];
	struct kvf_tier_ops no = memtier_ops;
	struct rig_options o = { .slots = 16, .tiers = tiers };

	for (int i = 0; i < KVF_MAX_TIERS; i++)
		tiers[i] = (struct kvf_custom_tier){ &memtier_ops, &m[i] };
	for (o.n_tiers = 0; o.n_tiers <= KVF_MAX_TIERS; o.n_tiers++) {
		rig_open(&r, &o);
		CU_ASSERT_EQUAL(r.engine->n_tiers, o.n_tiers);
		CU_ASSERT_EQUAL(r.engine->tier_mask, (1u << o.n_tiers) - 1);
		for (uint32_t t = 0; t < o.n_tiers; t++) {
			CU_ASSERT_EQUAL(r.engine->tier[t].number, t);
			CU_ASSERT_EQUAL(r.engine->tier[t].bit, KVF_TIER_CUSTOM);
			CU_ASSERT_EQUAL(m[t].params.slot_bytes, r.engine->pool.slot_bytes);
			CU_ASSERT_EQUAL(m[t].params.payload_bytes, r.engine->payload_bytes);
			CU_ASSERT_EQUAL(m[t].params.chunk_tokens, RIG_CHUNK);
			CU_ASSERT_EQUAL(m[t].params.world_size, 1);
			CU_ASSERT_EQUAL(memcmp(m[t].params.fingerprint, r.engine->fingerprint, KVF_KEY_BYTES), 0);
			CU_ASSERT_PTR_NULL(m[t].host->report); /* during open only */
		}
		rig_close(&r);
	}
	/* Beside a remote one there is room for three. */
	o.extra_key = "remote_url";
	o.extra_value = "redis://127.0.0.1:1";
	o.n_tiers = KVF_MAX_TIERS;
	CU_ASSERT_EQUAL(rig_try_open(&r, &o), KVF_EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(r.text, "n_tiers: 4 beside those of the configuration, at most 4 in all"));
	o.n_tiers--;
	rig_open(&r, &o);
	CU_ASSERT_EQUAL(r.engine->n_tiers, KVF_MAX_TIERS);
	rig_close(&r);
	/* One that does not open is named. */
	no.name = "nobody";
	no.open = open_refused;
	tiers[1].ops = &no;
	CU_ASSERT_EQUAL(rig_try_open(&r, &o), KVF_ENOTSUP);
	CU_ASSERT_PTR_NOT_NULL(strstr(r.text, "tier nobody: "));
}

/* A disk of no size keeps nothing. */
static void test_no_disk(void)
{
	static const char *const none[] = { "local_disk", "file:///nonexistent/", "max_local_disk_size", "0.0", NULL };

	open_with(16, none);
	CU_ASSERT_EQUAL(r.engine->n_tiers, 0);
	CU_ASSERT_PTR_NULL(r.engine->disk);
	rig_close(&r);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "settings", test_settings },	     { "pool_before_open", test_pool_before_open },
		{ "pool_size", test_pool_size },     { "lookup_only", test_lookup_only },
		{ "locks", test_locks },	     { "tiers", test_tiers },
		{ "no_disk", test_no_disk },
	};

	return kvf_test_main("open_parts", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
