/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The k-th allocation fails, for every k, once and from then on: every call says KVF_ENOMEM, leaves
 * the configuration as it was, and leaks nothing. libyaml's allocations are reached by taking over
 * its four functions.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "config/state.h"
#include "tests/harness.h"
#include "tests/support/config_case.h"
#include "tests/support/files.h"

/* One counter for both kinds of memory. libyaml's functions carry no context, so it is a global. */
static struct {
	uint64_t calls;
	uint64_t fail_at; /* 0: never */
	bool persistent;
	int64_t blocks;
} faults;

static bool faults_of_yaml; /* count libyaml's too */

static bool fails(void)
{
	faults.calls++;
	if (faults.fail_at == 0)
		return false;
	return faults.persistent ? faults.calls >= faults.fail_at : faults.calls == faults.fail_at;
}

/* libyaml exports them, its header does not declare them. */
void *yaml_malloc(size_t n);
void *yaml_realloc(void *p, size_t n);
void yaml_free(void *p);
yaml_char_t *yaml_strdup(const yaml_char_t *s);

void *yaml_malloc(size_t n)
{
	return faults_of_yaml && fails() ? NULL : malloc(n ? n : 1);
}

void *yaml_realloc(void *p, size_t n)
{
	return faults_of_yaml && fails() ? NULL : realloc(p, n ? n : 1);
}

void yaml_free(void *p)
{
	free(p);
}

yaml_char_t *yaml_strdup(const yaml_char_t *s)
{
	if (!s || (faults_of_yaml && fails()))
		return NULL;
	return (yaml_char_t *)strdup((const char *)s);
}

static void *host_alloc(size_t n, void *user)
{
	void *p = fails() ? NULL : malloc(n);

	(void)user;
	faults.blocks += p != NULL;
	return p;
}

static void host_release(void *p, size_t n, void *user)
{
	(void)n;
	(void)user;
	faults.blocks--;
	free(p);
}

static const struct kvf_allocator allocator = {sizeof(allocator), host_alloc, host_release, NULL};

static const char yaml[] =
	"chunk_size: 512\nlocal_disk: [/a, 'file:///b/']\nmax_local_disk_size: 1\n"
	"controller_url: h:1\nunknown: {a: [1, 2, {b: c}]}\ncache_policy: lfu\n"
	"extra_config:\n  kvf_aio: sync\n  k0: v\n  k1: v\n  k2: v\n  k3: v\n  k4: v\n"
	"  k5: v\n  k6: v\n  k7: v\n  k8: v\n  password: p\n  mooncake_x: y\n";

static const char *const vars[] = {"LMCACHE_CHUNK_SIZE='128'", "LMCACHE_LOCAL_CPU=true",
	"LMCACHE_EXTRA_CONFIG={\"kvf_copy\": \"batch\", \"free\": [1, 2]}", "LMCACHE_NONE=1",
	"PYTHONHASHSEED=7", NULL};

static char path[PATH_MAX];

/* What the configuration must look like before a call. */
static void check_before(const struct kvf_config *config)
{
	char buf[64];

	CU_ASSERT_EQUAL(kvf_config_settings(config)->chunk_size, 64);
	CU_ASSERT_STRING_EQUAL(kvf_config_origin(config, "chunk_size"), "set");
	CU_ASSERT_STRING_EQUAL(kvf_config_extra(config, "mooncake_before"), "x");
	CU_ASSERT_EQUAL(kvf_config_get(config, "local_disk", buf, sizeof(buf)), 0);
	CU_ASSERT_STRING_EQUAL(kvf_config_settings(config)->python_hash_seed, "");
}

static void check_after(const struct kvf_config *config)
{
	const struct kvf_settings *s = kvf_config_settings(config);

	CU_ASSERT(s->chunk_size == 128 && s->copy == 2 && s->aio == 0);
	CU_ASSERT_STRING_EQUAL(s->local_disk, "/a,/b");
	CU_ASSERT_STRING_EQUAL(kvf_config_extra(config, "free"), "1,2");
	CU_ASSERT_PTR_NULL(kvf_config_extra(config, "mooncake_before"));
}

static void see_item(const struct kvf_config_item *item, void *arg)
{
	size_t *n = arg;

	CU_ASSERT(item->key && item->value && item->origin && item->class);
	++*n;
}

enum call { CALL_CREATE, CALL_LOAD, CALL_SET, CALL_SET_EXTRA, CALL_EACH, N_CALLS };

static int make(enum call call, struct kvf_config *config, struct kvf_config **created,
	struct kvf_report *report)
{
	struct kvf_env env = config_case_env(vars);
	size_t items = 0;
	int rc;

	switch (call) {
	case CALL_CREATE:
		return kvf_config_create(created, &allocator);
	case CALL_LOAD:
		return kvf_config_load(config, path, &env, report);
	case CALL_SET:
		return kvf_config_set(config, "local_disk", "/a,/b", report);
	case CALL_SET_EXTRA:
		return kvf_config_set(config, "extra_config", "{a: [b, {c: d}], e: f}", report);
	case CALL_EACH:
		rc = kvf_config_each(config, see_item, &items);
		CU_ASSERT(rc != KVF_OK || items > 150);
		return rc;
	case N_CALLS:
		break;
	}
	return KVF_EINVAL;
}

/* One run of a call whose k-th allocation fails. True when it has fewer than k. */
static bool run(enum call call, uint64_t k, bool persistent)
{
	struct kvf_config *config = NULL;
	struct kvf_config *created = NULL;
	struct kvf_report report;
	char text[4096];
	bool met;
	int rc;

	memset(&faults, 0, sizeof(faults));
	kvf_report_init(&report, text, sizeof(text));
	CU_ASSERT_EQUAL_FATAL(kvf_config_create(&config, &allocator), KVF_OK);
	CU_ASSERT_EQUAL(
		kvf_config_set(config, "extra_config", "{mooncake_before: x}", NULL), KVF_OK);
	CU_ASSERT_EQUAL(kvf_config_set(config, "chunk_size", "64", NULL), KVF_OK);
	kvf_mem_fini(&config->mem); /* nothing cached: every allocation asks the host */
	faults.calls = 0;
	faults.fail_at = k;
	faults.persistent = persistent;
	rc = make(call, config, &created, &report);
	met = faults.calls >= k;
	faults.fail_at = 0;
	CU_ASSERT_EQUAL(rc, met ? KVF_ENOMEM : KVF_OK);
	if (met) {
		CU_ASSERT(!created && report.errors == 0);
		check_before(config);
		/* and it works once there is memory again */
		CU_ASSERT_EQUAL(make(call, config, &created, &report), KVF_OK);
	}
	if (call == CALL_LOAD)
		check_after(config);
	kvf_config_destroy(created);
	kvf_config_destroy(config);
	CU_ASSERT_EQUAL(faults.blocks, 0);
	return !met;
}

static uint64_t sweep(enum call call, bool persistent)
{
	uint64_t k = 1;

	while (!run(call, k, persistent) && k < 10000)
		k++;
	CU_ASSERT(k > 1 && k < 10000);
	return k;
}

static void test_sweep(void)
{
	for (int call = 0; call < N_CALLS; call++)
		for (int persistent = 0; persistent < 2; persistent++) {
			uint64_t k = sweep((enum call)call, persistent);

			if (call == CALL_LOAD)
				CU_ASSERT(k > 30);
		}
}

/* The configuration comes from a file that is written once. */
static void write_yaml(void)
{
	char dir[PATH_MAX - 16];

	CU_ASSERT_EQUAL_FATAL(kvf_test_tmpdir(dir, sizeof(dir)), 0);
	snprintf(path, sizeof(path), "%s/c.yaml", dir);
	file_write_text(path, yaml);
}

static void test_all(void)
{
	write_yaml();
	faults_of_yaml = false;
	test_sweep();
	faults_of_yaml = true;
	test_sweep();
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"every_allocation", test_all},
	};

	return kvf_test_main("config_faults", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
