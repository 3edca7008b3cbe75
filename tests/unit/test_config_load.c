/* SPDX-License-Identifier: Apache-2.0 */
/* Right configurations: the documentation's own, LMCache's style of several releases, who wins over
 * whom. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"
#include "tests/support/config_case.h"

#define VARS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* The two ways of LMCache's documentation to configure CPU offloading, word for word. */
static const char seed_yaml[] = "# 256 Tokens per KV Chunk\n"
				"chunk_size: 256\n"
				"# Enable CPU memory backend\n"
				"local_cpu: true # default\n"
				"# 5GB of Pinned CPU memory\n"
				"max_local_cpu_size: 5.0 # default\n";

static void check_seed(const struct config_case *c, const char *const origins[3])
{
	const struct kvf_settings *s = kvf_config_settings(c->config);

	CU_ASSERT_EQUAL(s->chunk_size, 256);
	CU_ASSERT_TRUE(s->local_cpu);
	CU_ASSERT_EQUAL(s->max_local_cpu_bytes, 5 * KVF_GIB);
	CU_ASSERT(config_case_is(c, "chunk_size", "256", origins[0]));
	CU_ASSERT(config_case_is(c, "local_cpu", "true", origins[1]));
	CU_ASSERT(config_case_is(c, "max_local_cpu_size", "5.0", origins[2]));
	CU_ASSERT_EQUAL(c->report.errors + c->report.warnings + c->report.notes, 0);
	CU_ASSERT_EQUAL(kvf_config_check(c->config, NULL), KVF_OK);
}

static void test_seed_environment(void)
{
	struct config_case c;

	config_case_begin(&c);
	CU_ASSERT_EQUAL(
		config_case_load(&c, NULL,
			VARS("LMCACHE_USE_EXPERIMENTAL=True", "LMCACHE_CHUNK_SIZE=256",
				"LMCACHE_LOCAL_CPU=True", "LMCACHE_MAX_LOCAL_CPU_SIZE=5.0")),
		KVF_OK);
	check_seed(&c, VARS("environment LMCACHE_CHUNK_SIZE", "environment LMCACHE_LOCAL_CPU",
			       "environment LMCACHE_MAX_LOCAL_CPU_SIZE"));
	config_case_end(&c);
}

static void test_seed_file(void)
{
	struct config_case c;
	char named[PATH_MAX + 32];
	char quoted[PATH_MAX + 32];

	config_case_begin(&c);
	CU_ASSERT_EQUAL(
		config_case_load(&c, seed_yaml, VARS("LMCACHE_USE_EXPERIMENTAL=True")), KVF_OK);
	check_seed(&c, VARS("case.yaml:2", "case.yaml:4", "case.yaml:6"));
	snprintf(named, sizeof(named), "LMCACHE_CONFIG_FILE=%s", c.path);
	snprintf(quoted, sizeof(quoted), "LMCACHE_CONFIG_FILE=\"%s\"", c.path);
	config_case_end(&c);

	/* the file as the environment names it */
	for (int i = 0; i < 2; i++) {
		config_case_begin(&c);
		CU_ASSERT_EQUAL(config_case_load(&c, NULL,
					VARS(i ? quoted : named, "LMCACHE_USE_EXPERIMENTAL=True")),
			KVF_OK);
		check_seed(&c, VARS("case.yaml:2", "case.yaml:4", "case.yaml:6"));
		config_case_end(&c);
	}
}

static void test_process_environment(void)
{
	struct config_case c;

	config_case_begin(&c);
	setenv("LMCACHE_CHUNK_SIZE", "128", 1);
	setenv("LMCACHE_CHUNK_SIZZE", "128", 1);
	CU_ASSERT_EQUAL(kvf_config_load(c.config, NULL, NULL, &c.report), KVF_OK);
	CU_ASSERT_EQUAL(kvf_config_settings(c.config)->chunk_size, 128);
	CU_ASSERT(config_case_says(&c, "did you mean LMCACHE_CHUNK_SIZE"));
	unsetenv("LMCACHE_CHUNK_SIZE");
	unsetenv("LMCACHE_CHUNK_SIZZE");
	config_case_end(&c);
}

static void test_precedence(void)
{
	struct config_case c;

	config_case_begin(&c);
	CU_ASSERT(config_case_is(&c, "chunk_size", "256", "default"));
	CU_ASSERT_EQUAL(config_case_load(&c, "chunk_size: 64\nmin_retrieve_tokens: 9\n",
				VARS("LMCACHE_CHUNK_SIZE=32")),
		KVF_OK);
	CU_ASSERT(config_case_is(&c, "chunk_size", "32", "environment LMCACHE_CHUNK_SIZE"));
	CU_ASSERT(config_case_is(&c, "min_retrieve_tokens", "9", "case.yaml:2"));
	CU_ASSERT_EQUAL(kvf_config_set(c.config, "chunk_size", "16", &c.report), KVF_OK);
	CU_ASSERT(config_case_is(&c, "chunk_size", "16", "set"));
	/* a second file comes over the first one and over what was set */
	CU_ASSERT_EQUAL(config_case_load(&c, "chunk_size: 512\n", NULL), KVF_OK);
	CU_ASSERT(config_case_is(&c, "chunk_size", "512", "case.yaml:1"));
	CU_ASSERT(config_case_is(&c, "min_retrieve_tokens", "9", "case.yaml:2"));
	/* a failed one leaves everything */
	CU_ASSERT_EQUAL(config_case_load(&c, "min_retrieve_tokens: 1\nchunk_size: no\n", NULL),
		KVF_ECONFIG);
	CU_ASSERT(config_case_is(&c, "min_retrieve_tokens", "9", "case.yaml:2"));
	config_case_end(&c);
}

/* Style of several releases, and of LMCache's own test data. Each must load, with so many warnings
 * and notes. */
static const struct {
	const char *yaml;
	uint32_t warnings;
	uint32_t notes;
	const char *says;
} releases[] = {
	{"", 0, 0, ""},
	{"---\n", 0, 0, ""},
	{"# nothing\n", 0, 0, ""},
	{"null\n", 0, 0, ""},
	/* 0.1 */
	{"chunk_size: 256\nlocal_device: \"cpu\"\nremote_url: \"lm://localhost:65432\"\n", 1, 0,
		"now local_cpu and local_disk"},
	{"chunk_size: 256\nlocal_device: cpu\nmax_local_cache_size: 20\npipelined_backend: False\n"
	 "save_decode_cache: True\n",
		3, 0, "max_local_cache_size"},
	/* 0.2, 0.3 */
	{"chunk_size: 256\nlocal_cpu: False\nmax_local_cpu_size: 5.0\n"
	 "local_disk: \"file:///tmp/lm/\"\nmax_local_disk_size: 10\nremote_url: null\n",
		0, 0, ""},
	{"chunk_size: 256\nweka_path: \"/tmp/weka\"\nlocal_cpu: False\nsave_decode_cache: True\n"
	 "cufile_buffer_size: 128",
		2, 0, "now gds_path"},
	{"chunk_size: 256\nlocal_cpu: True\nmax_local_cpu_size: 5\nenable_p2p: False\n"
	 "lookup_url: \"localhost:8100\"\ndistributed_url: \"localhost:8200\"\n",
		2, 0, "lookup_url"},
	{"local_cpu: False\nmax_local_cpu_size: 0.5\nerror_handling: false\n"
	 "remote_serde: \"naive\"\nenable_xpyd: false\nnixl_role: sender\nnixl_peer_host: h\n",
		1, 5, "use pd_role"},
	/* 0.3.x: raw redis values */
	{"chunk_size: 256\nlocal_cpu: false\nmax_local_cpu_size: 20.0\n"
	 "remote_url: \"resp://localhost:6379\"\nasync_loading: false # a comment\n"
	 "remote_serde: \"naive\"\nblocking_timeout_secs: 120\nextra_config:\n"
	 "  resp_num_threads: 8 # default\n  save_chunk_meta: False\n  username: \"default\"\n"
	 "  password: \"SECRET-1\"\n",
		1, 1, "resp_num_threads has no effect"},
	{"chunk_size: 256\nremote_url: \"mooncakestore://127.0.0.1:50051\"\nextra_config:\n"
	 "  local_hostname: \"host\"\n  mooncake_protocol: tcp\n",
		0, 1, "local_hostname"},
	{"enable_controller: True\nlmcache_instance_id: \"a\"\ncontroller_url: \"localhost:9001\"\n"
	 "lmcache_worker_port: 8001\n",
		1, 4, "kvferry has no controller"},
	/* 0.4, 0.5 */
	{"chunk_size: 256\nlocal_cpu: False\nextra_config:\n  key1: value1\n  key2: value2\n", 0, 2,
		"kept for custom tiers"},
	{"chunk_size: 256\ngds_path: \"/tmp/gds\"\nlocal_cpu: False\nsave_decode_cache: True\n"
	 "cufile_buffer_size: 128\nextra_config:\n  use_hipfile: true\n",
		2, 1, "local_disk is its disk tier"},
	{"local_cpu: false\nchunk_size: 256\n\nnixl_buffer_size: 1073741824\n"
	 "nixl_buffer_device: cpu\nextra_config:\n  enable_nixl_storage: true\n"
	 "  nixl_backend: POSIX\n  nixl_pool_size: 2\n  nixl_path: /tmp/nixl\n"
	 "  nixl_backend_params:\n    access_key: SECRET-2\n    secret_key: SECRET-3\n",
		1, 3, "no NIXL tier"},
	{"chunk_size: 256\nlocal_cpu: False\nsave_unfull_chunk: False\n"
	 "enable_async_loading: False # set to True\nenable_lazy_memory_allocator: true\n"
	 "pin_timeout_sec: 300\nblend_check_layers: 1\npd_allocation_timeout_sec: inf\n"
	 "internal_api_server_include_index_list: [0, 1]\nhidden_state_layers: null\n",
		0, 6, ""},
	{"cache_policy: lru\nnuma_mode: null\nlocal_disk: /a, /b/\nmax_local_disk_size: 1.5\n"
	 "plugin_locations: [\"/x\"]\nexternal_backends: \"a,b\"\n",
		2, 2, "old name: use storage_plugins"},
	{"ec_chunk_size: 5\nec:\n  chunk_size: 6\nLmcache_foo: 1\n", 1, 2, "no encoder cache"},
};

static void test_releases(void)
{
	for (size_t i = 0; i < KVF_ARRAY_LEN(releases); i++) {
		struct config_case c;
		int rc;

		config_case_begin(&c);
		rc = config_case_load(&c, releases[i].yaml, NULL);
		if (rc != KVF_OK || c.report.errors || c.report.warnings != releases[i].warnings ||
			c.report.notes != releases[i].notes ||
			!config_case_says(&c, releases[i].says)) {
			printf("\n  case %zu: status %d, report:\n%s", i, rc, c.text);
			CU_FAIL("a configuration of LMCache does not load as expected");
		}
		CU_ASSERT_FALSE(config_case_says(&c, "SECRET"));
		CU_ASSERT_EQUAL(kvf_config_check(c.config, NULL), KVF_OK);
		config_case_end(&c);
	}
}

static void test_aliases(void)
{
	struct config_case c;

	config_case_begin(&c);
	CU_ASSERT_EQUAL(
		config_case_load(&c,
			"extra_config: {nixl_use_hugepages: true}\n"
			"controller_url: a:1\nplugin_locations: /p\n",
			VARS("LMCACHE_LMCACHE_WORKER_PORT=1,2", "LMCACHE_NIXL_PROXY_HOST=h")),
		KVF_OK);
	CU_ASSERT_TRUE(kvf_config_settings(c.config)->local_cpu_use_hugepages);
	CU_ASSERT(config_case_is(&c, "local_cpu_use_hugepages", "true", "case.yaml:1"));
	CU_ASSERT(config_case_is(&c, "controller_pull_url", "a:1", "case.yaml:2"));
	CU_ASSERT(config_case_is(&c, "controller_url", "a:1", "case.yaml:2"));
	CU_ASSERT(config_case_is(&c, "runtime_plugin_locations", "/p", "case.yaml:3"));
	CU_ASSERT(config_case_is(
		&c, "lmcache_worker_ports", "1,2", "environment LMCACHE_LMCACHE_WORKER_PORT"));
	CU_ASSERT(config_case_is(&c, "pd_proxy_host", "h", "environment LMCACHE_NIXL_PROXY_HOST"));
	CU_ASSERT(config_case_says(&c, "controller_url is an old name: use controller_pull_url"));
	/* old and new name in one file: the new one counts, in either order */
	CU_ASSERT_EQUAL(config_case_load(&c, "pd_role: new\nnixl_role: old\n", NULL), KVF_OK);
	CU_ASSERT(config_case_is(&c, "pd_role", "new", "case.yaml:1"));
	CU_ASSERT_EQUAL(config_case_load(&c, "nixl_role: old\npd_role: new\n", NULL), KVF_OK);
	CU_ASSERT(config_case_is(&c, "pd_role", "new", "case.yaml:2"));
	CU_ASSERT_EQUAL(c.report.warnings, 1);
	/* but the environment's old name comes over the file's new one */
	CU_ASSERT_EQUAL(
		config_case_load(&c, "pd_role: new\n", VARS("LMCACHE_NIXL_ROLE=old")), KVF_OK);
	CU_ASSERT(config_case_is(&c, "pd_role", "old", "environment LMCACHE_NIXL_ROLE"));
	config_case_end(&c);
}

/* The booleans of LMCache: what its YAML reader and its own converter make of the words. */
static void test_booleans(void)
{
	static const struct {
		const char *yaml;
		const char *value;
		uint32_t warnings;
	} rows[] = {
		{"save_unfull_chunk: true", "true", 0},
		{"save_unfull_chunk: TRUE", "true", 0},
		{"save_unfull_chunk: 1", "true", 0},
		{"save_unfull_chunk: 'True'", "true", 0},
		{"save_unfull_chunk: false", "false", 0},
		{"save_unfull_chunk: 0", "false", 0},
		{"save_unfull_chunk: no", "false", 0},
		{"save_unfull_chunk: off", "false", 0},
		{"save_unfull_chunk: yes", "true", 1},
		{"save_unfull_chunk: On", "true", 1},
		{"save_unfull_chunk: 'yes'", "false", 1},
		{"save_unfull_chunk: \"on\"", "false", 1},
		{"save_unfull_chunk: yEs", "false", 1},
		{"save_unfull_chunk: null", "false", 1},
	};
	struct config_case c;

	config_case_begin(&c);
	for (size_t i = 0; i < KVF_ARRAY_LEN(rows); i++) {
		CU_ASSERT_EQUAL(config_case_load(&c, rows[i].yaml, NULL), KVF_OK);
		CU_ASSERT(config_case_is(&c, "save_unfull_chunk", rows[i].value, "case.yaml:1"));
		CU_ASSERT_EQUAL(c.report.warnings, rows[i].warnings);
	}
	CU_ASSERT_EQUAL(config_case_load(&c, NULL, VARS("LMCACHE_SAVE_UNFULL_CHUNK=yes")), KVF_OK);
	CU_ASSERT(config_case_is(&c, "save_unfull_chunk", "false", NULL));
	CU_ASSERT(config_case_says(&c, "warning: environment LMCACHE_SAVE_UNFULL_CHUNK: "
				       "save_unfull_chunk: yes is FALSE"));
	config_case_end(&c);
}

static void test_values(void)
{
	struct config_case c;
	const struct kvf_settings *s;

	config_case_begin(&c);
	CU_ASSERT_EQUAL(config_case_load(&c,
				"chunk_size: 1_024\nmax_local_cpu_size: .5\n"
				"reserve_local_cpu_size: 2e0\nlocal_disk: [file:///a/, b/c]\n"
				"max_local_disk_size: 1.25\nblocking_timeout_secs: 0.25\n"
				"priority_limit: -3\ncache_policy: mru\nnuma_mode: manual\n"
				"extra_config:\n  gpu_to_numa_mapping: {0: 1, 1: 0}\n"
				"  save_only_first_rank: false\n  kvf_disk_min_free: 0\n"
				"  kvf_pool_slots: 12.0\n  kvf_durable: each\n"
				"  kvf_disk_depth: 4\n  kvf_disk_depth_size: 0.5\n",
				VARS("LMCACHE_LOG_LEVEL=debug", "PYTHONHASHSEED=0",
					"LMCACHE_REMOTE_URL='unix:///run/\\'r\\'.sock'")),
		KVF_OK);
	s = kvf_config_settings(c.config);
	CU_ASSERT_EQUAL(s->chunk_size, 1024);
	CU_ASSERT_EQUAL(s->max_local_cpu_bytes, KVF_GIB / 2);
	CU_ASSERT_EQUAL(s->reserve_local_cpu_bytes, 2 * KVF_GIB);
	CU_ASSERT_STRING_EQUAL(s->local_disk, "/a,b/c");
	CU_ASSERT_EQUAL(s->max_local_disk_bytes, KVF_GIB + KVF_GIB / 4);
	CU_ASSERT_EQUAL(s->blocking_timeout_ns, KVF_NS_PER_S / 4);
	CU_ASSERT_EQUAL(s->priority_limit, -3);
	CU_ASSERT_EQUAL(s->cache_policy, KVF_POLICY_MRU);
	CU_ASSERT_EQUAL(s->numa_mode, 2);
	CU_ASSERT_STRING_EQUAL(s->gpu_to_numa_mapping, "0:1,1:0");
	CU_ASSERT_EQUAL(s->save_only_first_rank, 1);
	CU_ASSERT_EQUAL(s->disk_min_free_bytes, 0);
	CU_ASSERT_EQUAL(s->pool_slots, 12);
	CU_ASSERT_EQUAL(s->disk_durable, 2);
	CU_ASSERT_EQUAL(s->disk_depth, 4);
	CU_ASSERT_EQUAL(s->disk_depth_bytes, KVF_GIB / 2);
	CU_ASSERT_EQUAL(s->log_level, KVF_LOG_DEBUG);
	CU_ASSERT_STRING_EQUAL(s->python_hash_seed, "0");
	CU_ASSERT_STRING_EQUAL(s->remote_url, "unix:///run/'r'.sock");
	CU_ASSERT(config_case_is(&c, "cache_policy", "MRU", "case.yaml:8"));
	CU_ASSERT(config_case_is(&c, "kvf_pool_slots", "12", "case.yaml:14"));
	config_case_end(&c);
}

static void test_defaults(void)
{
	struct config_case c;
	const struct kvf_settings *s;

	config_case_begin(&c);
	s = kvf_config_settings(c.config);
	CU_ASSERT(s->chunk_size == 256 && s->local_cpu && s->max_local_cpu_bytes == 5 * KVF_GIB);
	CU_ASSERT(s->cache_policy == KVF_POLICY_LRU && !s->save_unfull_chunk && s->max_ops == 1024);
	CU_ASSERT(s->blocking_timeout_ns == 10 * KVF_NS_PER_S &&
		  s->pin_timeout_ns == 300 * KVF_NS_PER_S);
	CU_ASSERT(s->priority_limit == INT64_MAX && s->save_chunk_meta && !s->force_skip_save);
	CU_ASSERT(s->disk_depth == 32 && s->disk_depth_bytes == KVF_GIB / 4);
	CU_ASSERT(s->disk_min_free_bytes == KVF_GIB && s->log_level == KVF_LOG_WARNING);
	CU_ASSERT_STRING_EQUAL(s->pre_caching_hash_algorithm, "builtin");
	CU_ASSERT_STRING_EQUAL(s->remote_serde, "naive");
	CU_ASSERT_STRING_EQUAL(s->local_disk, "");
	CU_ASSERT_STRING_EQUAL(s->remote_url, "");
	CU_ASSERT_STRING_EQUAL(s->python_hash_seed, "");
	CU_ASSERT_STRING_EQUAL(s->gpu_to_numa_mapping, "");
	CU_ASSERT_STRING_EQUAL(s->lmcache_instance_id, "");
	config_case_end(&c);
}

static void test_extra_config(void)
{
	struct config_case c;
	static const char yaml[] = "extra_config:\n  kvf_aio: sync\n  mooncake_protocol: rdma\n"
				   "  password: p1\n  mine: [a, {b: c}]\n";

	config_case_begin(&c);
	CU_ASSERT_EQUAL(config_case_load(&c, yaml, NULL), KVF_OK);
	CU_ASSERT_EQUAL(kvf_config_settings(c.config)->aio, 3);
	CU_ASSERT_STRING_EQUAL(kvf_config_extra(c.config, "mooncake_protocol"), "rdma");
	CU_ASSERT_STRING_EQUAL(kvf_config_extra(c.config, "password"), "p1");
	CU_ASSERT(config_case_is(&c, "password", "***", "case.yaml:4"));
	CU_ASSERT_STRING_EQUAL(kvf_config_extra(c.config, "mine"), "a,{b:c}");
	CU_ASSERT_STRING_EQUAL(kvf_config_extra(c.config, "valkey_mode"), "standalone");
	CU_ASSERT_PTR_NULL(kvf_config_extra(c.config, "nothing"));
	/* JSON in the environment replaces the whole map, as in LMCache */
	CU_ASSERT_EQUAL(
		config_case_load(&c, yaml,
			VARS("LMCACHE_EXTRA_CONFIG={\"kvf_copy\":\"batch\",\"u\":\"\\u00e9\"}")),
		KVF_OK);
	CU_ASSERT_EQUAL(kvf_config_settings(c.config)->aio, 0);
	CU_ASSERT_EQUAL(kvf_config_settings(c.config)->copy, 2);
	CU_ASSERT_PTR_NULL(kvf_config_extra(c.config, "password"));
	CU_ASSERT_STRING_EQUAL(kvf_config_extra(c.config, "u"), "\303\251");
	CU_ASSERT(config_case_says(&c, "replaces the one before, all 4 keys"));
	CU_ASSERT(config_case_is(&c, "kvf_copy", "batch", "environment LMCACHE_EXTRA_CONFIG"));
	/* JSON text in the file, and single keys by call */
	CU_ASSERT_EQUAL(
		config_case_load(&c, "extra_config: '{\"kvf_scrub\": \"idle\"}'\n", NULL), KVF_OK);
	CU_ASSERT_EQUAL(kvf_config_settings(c.config)->scrub, 1);
	CU_ASSERT_EQUAL(kvf_config_set(c.config, "kvf_scrub", "always", NULL), KVF_OK);
	CU_ASSERT_EQUAL(kvf_config_settings(c.config)->scrub, 2);
	CU_ASSERT_EQUAL(kvf_config_set(c.config, "extra_config", "{kvf_aio: sync}", NULL), KVF_OK);
	CU_ASSERT_EQUAL(kvf_config_settings(c.config)->scrub, 0);
	CU_ASSERT_EQUAL(kvf_config_set(c.config, "extra_config", "", NULL), KVF_OK);
	CU_ASSERT_EQUAL(kvf_config_settings(c.config)->aio, 0);
	config_case_end(&c);
}

static void test_unknown(void)
{
	static const struct {
		const char *yaml;
		const char *says;
	} rows[] = {
		{"chunk_siz: 1\n",
			"case.yaml:1: chunk_siz: unknown key, ignored; did you mean chunk_size"},
		{"Chunk_Size: 1\n", "did you mean chunk_size"},
		{"max_local_cpu_szie: 1\n", "did you mean max_local_cpu_size"},
		{"zebra: 1\n", "zebra: unknown key, ignored\n"},
		{"kvf_aio: sync\n", "it belongs below extra_config"},
		{"LMCACHE_CHUNK_SIZE: 1\n", "that is the variable; in a file write chunk_size"},
		{"log_level: info\n",
			"it is read from the environment only: export LMCACHE_LOG_LEVEL"},
		{"extra_config: {chunk_size: 1}\n", "it belongs to the top"},
		{"extra_config: {kvf_aoi: sync}\n", "did you mean kvf_aio"},
		{"extra_config: {pasword: S3CR3T}\n", "did you mean password"},
		{"chunk_size: 1\nchunk_size: 256\n", "chunk_size is given twice (before:"},
		{"extra_config: {a1: 1, a1: 2}\n", "a1 is given twice"},
	};
	struct config_case c;

	config_case_begin(&c);
	for (size_t i = 0; i < KVF_ARRAY_LEN(rows); i++) {
		CU_ASSERT_EQUAL(config_case_load(&c, rows[i].yaml, NULL), KVF_OK);
		CU_ASSERT(c.report.warnings == 1);
		if (!config_case_says(&c, rows[i].says)) {
			printf("\n  %s", c.text);
			CU_FAIL("not the warning that was expected");
		}
		CU_ASSERT_FALSE(config_case_says(&c, "S3CR3T"));
	}
	CU_ASSERT_EQUAL(kvf_config_settings(c.config)->chunk_size, 256);
	CU_ASSERT_EQUAL(config_case_load(&c, NULL,
				VARS("LMCACHE_WEKA_PATH=/x", "LMCACHE_FOO_BAR_BAZ=1", "PATH=/bin",
					"LMCACHE_COORDINATOR_URL=x", "LMCACHE_LOG_LEVLE=info")),
		KVF_OK);
	CU_ASSERT(c.report.warnings == 3 && c.report.notes == 1);
	CU_ASSERT(config_case_says(&c, "did you mean LMCACHE_LOG_LEVEL"));
	CU_ASSERT_EQUAL(kvf_config_set(c.config, "chunk_sizes", "1", &c.report), KVF_ECONFIG);
	CU_ASSERT_EQUAL(kvf_config_set(c.config, "kvf_poolslots", "1", &c.report), KVF_ECONFIG);
	CU_ASSERT(config_case_says(&c, "did you mean kvf_pool_slots"));
	CU_ASSERT_EQUAL(kvf_config_get(c.config, "chunk_sizes", NULL, 0), KVF_ENOENT);
	CU_ASSERT_PTR_NULL(kvf_config_origin(c.config, "chunk_sizes"));
	config_case_end(&c);
}

static void test_secrets(void)
{
	static const char *const urls[][2] = {
		{"redis://u:S3CR3T@h:1/0", "redis://u:***@h:1/0"},
		{"redis://:S3CR3T@h:1", "redis://:***@h:1"},
		{"redis://u:S3/CR3T@h", "redis://u:***@h"},
		{"redis://u:S3@CR3T@h", "redis://u:***@h"},
		{"fs://host:0/a/b", "fs://host:0/a/b"},
	};
	struct config_case c;
	char buf[8];

	config_case_begin(&c);
	for (size_t i = 0; i < KVF_ARRAY_LEN(urls); i++) {
		CU_ASSERT_EQUAL(
			kvf_config_set(c.config, "remote_url", urls[i][0], &c.report), KVF_OK);
		CU_ASSERT(config_case_is(&c, "remote_url", urls[i][1], "set"));
		CU_ASSERT_STRING_EQUAL(kvf_config_settings(c.config)->remote_url, urls[i][0]);
	}
	CU_ASSERT_EQUAL(kvf_config_set(c.config, "remote_url", "sedis://u:S3CR3T@h", &c.report),
		KVF_ECONFIG);
	CU_ASSERT_EQUAL(
		kvf_config_set(c.config, "extra_config",
			"{password: [S3CR3T], aws_x: S3CR3T, my: {secret_key: S3CR3T}}", &c.report),
		KVF_ECONFIG);
	CU_ASSERT_EQUAL(kvf_config_set(c.config, "valkey_password", "S3CR3T", &c.report), KVF_OK);
	CU_ASSERT_EQUAL(kvf_config_get(c.config, "valkey_password", buf, 3), 3);
	CU_ASSERT_STRING_EQUAL(buf, "**");
	CU_ASSERT_FALSE(config_case_says(&c, "S3CR3T"));
	CU_ASSERT_FALSE(config_case_says(&c, "CR3T"));
	config_case_end(&c);
}

static void test_check(void)
{
	static const struct {
		const char *yaml;
		int rc;
		const char *says; /* NULL: nothing at all */
	} rows[] = {
		{"chunk_size: 256\n", KVF_OK, NULL},
		{"local_cpu: false\n", KVF_OK,
			"case.yaml:1: local_cpu is false: better keep it true"},
		{"local_disk: /x\n", KVF_OK, "max_local_disk_size is 0"},
		{"max_local_disk_size: 1\n", KVF_OK, "local_disk is not"},
		{"numa_mode: manual\n", KVF_ECONFIG, "case.yaml:1: numa_mode: manual needs"},
		{"remote_url: redis://h\n", KVF_OK, "PYTHONHASHSEED is not set to a number"},
		{"remote_url: redis://h\npre_caching_hash_algorithm: xxhash\n", KVF_OK,
			"PYTHONHASHSEED is not set to a number"},
		{"remote_url: redis://h\npre_caching_hash_algorithm: blake3\n", KVF_OK, NULL},
		{"remote_url: resp://h\nsave_unfull_chunk: true\n"
		 "pre_caching_hash_algorithm: blake3\n",
			KVF_OK, "full chunks only"},
		{"max_local_cpu_size: 1\nextra_config: {kvf_pool_slots: 9}\n", KVF_OK,
			"kvf_pool_slots decides"},
	};

	for (size_t i = 0; i < KVF_ARRAY_LEN(rows); i++) {
		struct config_case c;

		config_case_begin(&c);
		CU_ASSERT_EQUAL(config_case_load(&c, rows[i].yaml, NULL), KVF_OK);
		CU_ASSERT_STRING_EQUAL(c.text, "");
		CU_ASSERT_EQUAL(kvf_config_check(c.config, &c.report), rows[i].rc);
		CU_ASSERT_EQUAL(kvf_config_check(c.config, NULL), rows[i].rc);
		CU_ASSERT(rows[i].says || !c.text[0]);
		CU_ASSERT(config_case_says(&c, rows[i].says ? rows[i].says : ""));
		config_case_end(&c);
	}
}

static void test_arguments(void)
{
	struct config_case c;

	config_case_begin(&c);
	CU_ASSERT_EQUAL(kvf_config_create(NULL, NULL), KVF_EINVAL);
	CU_ASSERT_EQUAL(kvf_config_load(NULL, NULL, NULL, NULL), KVF_EINVAL);
	CU_ASSERT_EQUAL(kvf_config_set(NULL, "a", "b", NULL), KVF_EINVAL);
	CU_ASSERT_EQUAL(kvf_config_set(c.config, NULL, "b", NULL), KVF_EINVAL);
	CU_ASSERT_EQUAL(kvf_config_set(c.config, "chunk_size", NULL, NULL), KVF_EINVAL);
	CU_ASSERT_EQUAL(kvf_config_get(c.config, "chunk_size", NULL, 1), KVF_EINVAL);
	CU_ASSERT_EQUAL(kvf_config_get(c.config, "chunk_size", NULL, 0), 3);
	CU_ASSERT_EQUAL(kvf_config_check(NULL, NULL), KVF_EINVAL);
	kvf_config_destroy(NULL);
	config_case_end(&c);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"seed_environment", test_seed_environment},
		{"seed_file", test_seed_file},
		{"process_environment", test_process_environment},
		{"precedence", test_precedence},
		{"releases", test_releases},
		{"aliases", test_aliases},
		{"booleans", test_booleans},
		{"values", test_values},
		{"defaults", test_defaults},
		{"extra_config", test_extra_config},
		{"unknown", test_unknown},
		{"secrets", test_secrets},
		{"check", test_check},
		{"arguments", test_arguments},
	};

	return kvf_test_main("config_load", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
