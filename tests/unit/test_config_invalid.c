/* SPDX-License-Identifier: Apache-2.0 */
/* Wrong configurations, one a row: each gives its error with line, key and hint, and changes
 * nothing. */
#include <stdio.h>
#include <string.h>

#include "tests/harness.h"
#include "tests/support/config_case.h"

#define WHY_RAM "disk and remote stage their transfers through it"

struct invalid {
	const char *yaml; /* behind two lines that are fine */
	const char *var; /* or a variable */
	unsigned int line;
	const char *key; /* that the message names; NULL: the message is about the file */
	const char *expected; /* both must be in the same line of the report */
	const char *hint;
};

/* Rows of a file: the bad line is the third, unless said otherwise. */
#define F(text, k, e, h)                                                                           \
	{                                                                                          \
		text "\n", NULL, 3, k, e, h                                                        \
	}
#define V(text, k, e, h)                                                                           \
	{                                                                                          \
		NULL, text, 0, k, e, h                                                             \
	}

static const struct invalid rows[] = {
	/* whole numbers */
	F("chunk_size: abc", "chunk_size", "expected a whole number from 1 to 65536", "\"abc\""),
	F("chunk_size: 0", "chunk_size", "from 1 to 65536", "\"0\""),
	F("chunk_size: -256", "chunk_size", "from 1 to 65536", "\"-256\""),
	F("chunk_size: 256.5", "chunk_size", "a whole number", "no fraction"),
	F("chunk_size: 65537", "chunk_size", "from 1 to 65536", "\"65537\""),
	F("chunk_size: 99999999999999999999", "chunk_size", "from 1 to 65536", ""),
	F("chunk_size: 0256", "chunk_size", "a whole number", "octal"),
	F("chunk_size: 0x100", "chunk_size", "a whole number", "in decimal"),
	F("chunk_size: 256 tokens", "chunk_size", "a whole number", ""),
	F("chunk_size: ''", "chunk_size", "a whole number", "leave the key out for its default"),
	F("chunk_size: [256]", "chunk_size", "a whole number", "it is a list"),
	F("chunk_size: {a: 1}", "chunk_size", "a whole number", "it is a map"),
	F("chunk_size: 1e3", "chunk_size", "a whole number", "no exponent"),
	F("chunk_size: .inf", "chunk_size", "a whole number", "no infinity"),
	F("min_retrieve_tokens: -1", "min_retrieve_tokens", "a whole number of at least 0",
		"\"-1\""),
	F("priority_limit: high", "priority_limit", "a whole number", "\"high\""),
	F("min_retrieve_tokens: 1__0", "min_retrieve_tokens", "a whole number", ""),
	/* sizes */
	F("max_local_cpu_size: 0", "max_local_cpu_size", "greater than 0", WHY_RAM),
	F("max_local_cpu_size: 0.0", "max_local_cpu_size", "greater than 0", WHY_RAM),
	F("max_local_cpu_size: -1", "max_local_cpu_size", "greater than 0", WHY_RAM),
	F("max_local_cpu_size: 5GB", "max_local_cpu_size", "a number of GB", "without a unit"),
	F("max_local_cpu_size: 5 GiB", "max_local_cpu_size", "a number of GB", "without a unit"),
	F("max_local_cpu_size: '5,5'", "max_local_cpu_size", "a number of GB", "a point"),
	F("max_local_cpu_size: 5368709120", "max_local_cpu_size", "a number of GB",
		"looks like bytes"),
	F("max_local_cpu_size: nan", "max_local_cpu_size", "a number of GB", "not-a-number"),
	F("max_local_cpu_size: .inf", "max_local_cpu_size", "a number of GB", ""),
	F("max_local_cpu_size: lots", "max_local_cpu_size", "a number of GB", "\"lots\""),
	F("max_local_cpu_size: 0.0000000001", "max_local_cpu_size", "a number of GB",
		"less than a byte"),
	F("max_local_disk_size: -10", "max_local_disk_size", "a number of GB from 0", "\"-10\""),
	F("reserve_local_cpu_size: half", "reserve_local_cpu_size", "a number of GB", "\"half\""),
	/* times */
	F("blocking_timeout_secs: 0", "blocking_timeout_secs", "greater than 0", ""),
	F("blocking_timeout_secs: 10s", "blocking_timeout_secs", "a number of seconds",
		"without a unit"),
	F("pin_timeout_sec: 99999999999", "pin_timeout_sec", "a number of seconds", "a year"),
	F("pin_timeout_sec: never", "pin_timeout_sec", "a number of seconds", "\"never\""),
	/* booleans */
	F("local_cpu: maybe", "local_cpu", "expected true or false", "\"maybe\""),
	F("local_cpu: 2", "local_cpu", "expected true or false", "\"2\""),
	F("save_unfull_chunk: ''", "save_unfull_chunk", "expected true or false", "\"\""),
	F("save_decode_cache: [true]", "save_decode_cache", "expected true or false", "a list"),
	F("use_layerwise: ture", "use_layerwise", "expected true or false", "\"ture\""),
	/* words */
	F("cache_policy: LRUU", "cache_policy", "one of LRU, LFU, FIFO, MRU", "did you mean LRU?"),
	F("cache_policy: ARC", "cache_policy", "one of LRU, LFU, FIFO, MRU", "\"ARC\""),
	F("numa_mode: atuo", "numa_mode", "one of none, auto, manual", "did you mean auto?"),
	F("pre_caching_hash_algorithm: sha265", "pre_caching_hash_algorithm", "one of builtin",
		"did you mean sha256?"),
	F("pre_caching_hash_algorithm: md5", "pre_caching_hash_algorithm", "one of builtin", "md5"),
	/* places */
	F("remote_url: localhost:6379", "remote_url", "one of redis", "no scheme"),
	F("remote_url: rediz://localhost:6379", "remote_url", "one of redis", "did you mean redis"),
	F("remote_url: s3://bucket", "remote_url", "one of redis", "LMCache has s3://"),
	F("remote_url: gopher://host", "remote_url", "one of redis", "scheme is not known"),
	F("remote_url: redis://", "remote_url", "one of redis", "nothing follows"),
	F("remote_url: 'redis://a b'", "remote_url", "one of redis", "no spaces"),
	F("local_disk: s3://bucket/", "local_disk", "a directory", "is a URL"),
	F("local_disk: [/a, /a]", "local_disk", "a directory", "named twice"),
	F("local_disk: ['/a,b']", "local_disk", "\"/a,b\"", "a comma inside an element"),
	F("local_disk: \"/a\\nb\"", "local_disk", "a directory", "control characters"),
	/* refused */
	F("remote_serde: cachegen", "remote_serde", "is refused", "change the bytes"),
	F("remote_serde: kivi", "remote_serde", "is refused", "change the bytes"),
	F("enable_blending: true", "enable_blending", "is refused", "blended KV differs"),
	F("enable_pd: True", "enable_pd", "is refused", "prefill to decode"),
	F("enable_p2p: 1", "enable_p2p", "is refused", "peer-to-peer"),
	F("store_location: LocalDiskBackend", "store_location", "is refused", "every tier"),
	F("retrieve_locations: [LocalCPUBackend]", "retrieve_locations", "is refused",
		"every tier"),
	F("remote_config_url: http://x/", "remote_config_url", "is refused", "over the network"),
	F("enable_hidden_state_cache: true", "enable_hidden_state_cache", "is refused", "hidden"),
	F("enable_xpyd: true", "enable_xpyd", "is refused", "prefill to decode"),
	/* extra_config */
	{"extra_config:\n  kvf_aio: uring\n", NULL, 4, "kvf_aio",
		"one of auto, io_uring, libaio, sync", "\"uring\""},
	{"extra_config:\n  kvf_pool_slots: many\n", NULL, 4, "kvf_pool_slots", "a whole number",
		"\"many\""},
	{"extra_config:\n  kvf_max_ops: 0\n", NULL, 4, "kvf_max_ops", "from 1 to 32768", "\"0\""},
	{"extra_config:\n  kvf_disk_depth: 65\n", NULL, 4, "kvf_disk_depth", "from 1 to 64", "\"65\""},
	{"extra_config:\n  kvf_disk_depth: 0\n", NULL, 4, "kvf_disk_depth", "from 1 to 64", "\"0\""},
	{"extra_config:\n  kvf_disk_depth: 1.5\n", NULL, 4, "kvf_disk_depth", "a whole number", "\"1.5\""},
	{"extra_config:\n  kvf_disk_depth_size: 0\n", NULL, 4, "kvf_disk_depth_size", "a number of GB",
		"\"0\""},
	{"extra_config:\n  kvf_disk_depth_size: 64MB\n", NULL, 4, "kvf_disk_depth_size", "a number of GB",
		"write the number alone"},
	{"extra_config:\n  gpu_to_numa_mapping: {a: 0}\n", NULL, 4, "gpu_to_numa_mapping",
		"a map of whole numbers", "like 0:1"},
	{"extra_config:\n  save_chunk_meta: nope\n", NULL, 4, "save_chunk_meta", "true or false",
		"\"nope\""},
	{"extra_config:\n  valkey_mode: ring\n", NULL, 4, "valkey_mode", "one of standalone",
		"\"ring\""},
	{"extra_config:\n  kvf_quota_min: [a]\n", NULL, 4, "kvf_quota_min", "a map of salts", "it is a list"},
	{"extra_config:\n  kvf_quota_min: {a: much}\n", NULL, 4, "kvf_quota_min", "a map of salts",
		"not a number of GB"},
	{"extra_config:\n  kvf_quota_max: {a: 1, b: 0}\n", NULL, 4, "kvf_quota_max", "a map of salts",
		"greater than 0"},
	{"extra_config:\n  kvf_quota_max: {a@b: 1}\n", NULL, 4, "kvf_quota_max", "a map of salts", "without @"},
	{"extra_config:\n  kvf_quota_max: {a: 1, a: 2}\n", NULL, 4, "kvf_quota_max", "a map of salts",
		"named twice"},
	{"extra_config:\n  kvf_quota_max: 'a'\n", NULL, 4, "kvf_quota_max", "a map of salts", "salt: GB"},
	{"extra_config:\n  kvf_quota_max: {\"a,b\": 1}\n", NULL, 4, "kvf_quota_max", "salt: GB", ""},
	{"extra_config:\n  kvf_spill_rate: -1\n", NULL, 4, "kvf_spill_rate", "a number of GB from 0", "\"-1\""},
	{"extra_config:\n  kvf_prefetch_rate: fast\n", NULL, 4, "kvf_prefetch_rate", "a number of GB",
		"\"fast\""},
	F("extra_config: [a, b]", "extra_config", "expected a map", "it is a list"),
	F("extra_config: '{\"a\": '", "extra_config", "a map as JSON", "not YAML"),
	/* the file as a whole */
	F("use_experimental: true", "use_experimental",
		"must be set by environment variable directly",
		"export LMCACHE_USE_EXPERIMENTAL=True"),
	F("LMCACHE_USE_EXPERIMENTAL: true", "LMCACHE_USE_EXPERIMENTAL",
		"must be set by environment variable directly", "export"),
	F("local_cpu: &x true", NULL, "an anchor (&x)", "not accepted"),
	F("local_cpu: *x", NULL, "an alias (*x)", "write the value out"),
	F("local_cpu: !!python/object:os.system x", NULL, "a tag", "not accepted"),
	F("\tlocal_cpu: true", NULL, "not YAML", "wants spaces"),
	F("chunk_size 256", NULL, "not YAML", ""),
	F("? [a, b]\n: c", NULL, "a key must be a word", ""),
	F("'': c", NULL, "an empty key", ""),
	F("x: [[[[[[[[[1]]]]]]]]]", NULL, "nested deeper than 8", ""),
	F("x: \"a\\0b\"", NULL, "a zero byte", ""),
	{"...\n---\nb: 1\n", NULL, 4, NULL, "only one document", ""},
	/* variables */
	V("LMCACHE_CHUNK_SIZE=abc", "chunk_size", "a whole number from 1 to 65536", "\"abc\""),
	V("LMCACHE_CHUNK_SIZE=256.0", "chunk_size", "a whole number", "no point"),
	V("LMCACHE_CHUNK_SIZE=", "chunk_size", "a whole number", "it is empty"),
	V("LMCACHE_MAX_LOCAL_CPU_SIZE='0'", "max_local_cpu_size", "greater than 0", WHY_RAM),
	V("LMCACHE_LOCAL_CPU=perhaps", "local_cpu", "true or false", "\"perhaps\""),
	V("LMCACHE_ENABLE_PD=true", "enable_pd", "is refused", "prefill to decode"),
	V("LMCACHE_ENABLE_XPYD=true", "enable_xpyd", "is refused", "prefill to decode"),
	V("LMCACHE_EXTRA_CONFIG={\"kvf_aio\": 7}", "kvf_aio", "one of auto", "\"7\""),
	V("LMCACHE_EXTRA_CONFIG=[1,2]", "extra_config", "a map as JSON", "not a list"),
	V("LMCACHE_EXTRA_CONFIG={\"a\":", "extra_config", "a map as JSON", ""),
	V("LMCACHE_LOG_LEVEL=LOUD", "LMCACHE_LOG_LEVEL", "one of ERROR", "\"LOUD\""),
	V("PYTHONHASHSEED=4294967296", "PYTHONHASHSEED", "from 0 to 4294967295", "Python itself"),
	V("PYTHONHASHSEED=-1", "PYTHONHASHSEED", "from 0 to 4294967295", ""),
};

/* Whether one line of the report holds all parts. */
static bool one_line_says(const char *text, const char *const *parts)
{
	while (*text) {
		size_t n = strcspn(text, "\n");
		char line[2048];
		bool all = true;

		snprintf(line, sizeof(line), "%.*s", (int)n, text);
		for (const char *const *p = parts; *p; p++)
			all = all && strstr(line, *p);
		if (all)
			return true;
		text += n + (text[n] == '\n');
	}
	return false;
}

static void check_row(const struct invalid *row)
{
	const char *const vars[] = {row->var, NULL};
	struct config_case c;
	char yaml[1024];
	char where[PATH_MAX + 300];
	int rc;

	config_case_begin(&c);
	snprintf(yaml, sizeof(yaml), "# a comment\nlookup_timeout_ms: 3000\n%s",
		row->yaml ? row->yaml : "");
	rc = config_case_load(&c, row->yaml ? yaml : NULL, row->var ? vars : NULL);
	if (row->yaml)
		snprintf(where, sizeof(where), "error: %s:%u: %s", c.path, row->line,
			row->key ? row->key : "");
	else
		snprintf(where, sizeof(where), "error: environment %.*s: %s",
			(int)strcspn(row->var, "="), row->var, row->key);
	if (rc != KVF_ECONFIG || c.report.errors != 1 ||
		!one_line_says(
			c.text, (const char *const[]){where, row->expected, row->hint, NULL})) {
		printf("\n  case \"%s\": status %d, report:\n%s", row->yaml ? row->yaml : row->var,
			rc, c.text);
		CU_FAIL("not the error that was expected");
	}
	/* nothing was taken over, not even what was right */
	CU_ASSERT_STRING_EQUAL(kvf_config_origin(c.config, "lookup_timeout_ms"), "default");
	CU_ASSERT_EQUAL(kvf_config_settings(c.config)->chunk_size, 256);
	config_case_end(&c);
}

static void test_table(void)
{
	for (size_t i = 0; i < KVF_ARRAY_LEN(rows); i++)
		check_row(&rows[i]);
	CU_ASSERT(KVF_ARRAY_LEN(rows) >= 60);
}

/* A bad value of a key that does nothing is a warning: it cannot matter. */
static void test_harmless(void)
{
	struct config_case c;

	config_case_begin(&c);
	CU_ASSERT_EQUAL(config_case_load(&c, "lookup_timeout_ms: soon\n", NULL), KVF_OK);
	CU_ASSERT_EQUAL(c.report.warnings, 1);
	CU_ASSERT(config_case_says(&c, "case.yaml:1: lookup_timeout_ms: \"soon\": expected"));
	CU_ASSERT(config_case_says(&c, "ignored"));
	CU_ASSERT(config_case_is(&c, "lookup_timeout_ms", "3000", "default"));
	config_case_end(&c);
}

/* Every error is reported in one go, not only the first. */
static void test_all_at_once(void)
{
	struct config_case c;

	config_case_begin(&c);
	CU_ASSERT_EQUAL(config_case_load(&c, "chunk_size: a\nlocal_cpu: b\ncache_policy: c\n",
				(const char *const[]){"LMCACHE_NUMA_MODE=d", NULL}),
		KVF_ECONFIG);
	CU_ASSERT_EQUAL(c.report.errors, 4);
	config_case_end(&c);
}

static void test_files(void)
{
	struct config_case c;
	char dir[PATH_MAX];
	struct kvf_env env = config_case_env(NULL);

	config_case_begin(&c);
	CU_ASSERT_EQUAL_FATAL(kvf_test_tmpdir(dir, sizeof(dir)), 0);
	CU_ASSERT_EQUAL(kvf_config_load(c.config, dir, &env, &c.report), KVF_ECONFIG);
	CU_ASSERT(config_case_says(&c, "not a regular file"));
	strncat(dir, "/none.yaml", sizeof(dir) - strlen(dir) - 1);
	CU_ASSERT_EQUAL(kvf_config_load(c.config, dir, &env, &c.report), KVF_ECONFIG);
	CU_ASSERT(config_case_says(&c, "none.yaml: cannot be opened: No such file"));
	CU_ASSERT_EQUAL(kvf_config_load(c.config, dir, &env, NULL), KVF_ECONFIG);
	config_case_end(&c);
}

static void test_bounds(void)
{
	static char big[300 * 1024];
	struct config_case c;
	size_t n = 0;

	config_case_begin(&c);
	memset(big, '#', sizeof(big) - 1);
	CU_ASSERT_EQUAL(config_case_load(&c, big, NULL), KVF_ECONFIG);
	CU_ASSERT(config_case_says(&c, "at most 262144"));
	for (int i = 0; i < 1100; i++)
		n += (size_t)snprintf(big + n, sizeof(big) - n, "ec_key%d: 1\n", i);
	CU_ASSERT_EQUAL(config_case_load(&c, big, NULL), KVF_ECONFIG);
	CU_ASSERT(c.report.errors == 1 && c.report.notes == 1024);
	memset(big, 'k', 300);
	memcpy(big + 300, ": 1\n", 5);
	CU_ASSERT_EQUAL(config_case_load(&c, big, NULL), KVF_ECONFIG);
	CU_ASSERT(config_case_says(&c, "a key longer than 256 bytes"));
	memcpy(big, "LMCACHE_APP_ID=", 15);
	memset(big + 15, 'x', 70000);
	big[70015] = '\0';
	CU_ASSERT_EQUAL(config_case_load(&c, NULL, (const char *const[]){big, NULL}), KVF_ECONFIG);
	CU_ASSERT(config_case_says(&c, "environment LMCACHE_APP_ID: longer than 65536 bytes"));
	config_case_end(&c);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"table", test_table},
		{"harmless", test_harmless},
		{"all_at_once", test_all_at_once},
		{"files", test_files},
		{"bounds", test_bounds},
	};

	return kvf_test_main("config_invalid", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
