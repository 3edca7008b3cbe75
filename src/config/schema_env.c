/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of the schema: variables that exist in the environment only. */
#include "config/schema_row.h"

#define NUL KVF_KEY_NULL
#define SECRET (KVF_KEY_NULL | KVF_KEY_SECRET)
#define FAMILY (KVF_KEY_NULL | KVF_KEY_PREFIX)

static const struct kvf_key keys[] = {
	E_TEXT("LMCACHE_CONFIG_FILE", TEXT, NULL, NUL, "the file, where the host names none"),
	{ENV("LMCACHE_LOG_LEVEL", ENUM, HONOURED), .initial = "WARNING", .flags = KVF_KEY_FOLD,
		FIELD(log_level), WORDS("ERROR", "WARNING", "INFO", "DEBUG"),
		.doc = "least important log lines that are written"},
	{ENV("LMCACHE_FORCE_SKIP_SAVE", BOOL, HONOURED), .initial = "false", FIELD(force_skip_save),
		.doc = "store nothing, only read"},
	{ENV("PYTHONHASHSEED", HASH_SEED, HONOURED), .flags = NUL, FIELD(python_hash_seed),
		.doc = "start value of the builtin and sha256 chunk names; the same in every "
		       "process that shares a cache"},
	E_TEXT("LMCACHE_RESP_HOST", TEXT, NULL, NUL, "host of the resp:// server"),
	E_TEXT("LMCACHE_RESP_PORT", UINT, NULL, NUL, "its port"),
	E_TEXT("LMCACHE_RESP_USERNAME", TEXT, NULL, NUL, "user of the resp:// server"),
	E_TEXT("LMCACHE_RESP_PASSWORD", TEXT, NULL, SECRET, "password of the resp:// server"),
	E_TEXT("REDIS_SERVICE_NAME", TEXT, "redismaster", 0,
		"redis-sentinel://: kept for a tier of yours, none is built in"),
	E_TEXT("REDIS_TIMEOUT", NUMBER, "1", 0, "redis-sentinel://: kept for a tier of yours, none is built in"),
	E_TEXT("MOONCAKE_CONFIG_PATH", TEXT, NULL, NUL,
		"mooncakestore://: kept for a tier of yours, none is built in"),
	E_TEXT("MOONCAKE_STORAGE_ROOT_DIR", TEXT, NULL, NUL,
		"mooncakestore://: kept for a tier of yours, none is built in"),
	{ENV("LMCACHE_USE_EXPERIMENTAL", BOOL, HARMLESS), .initial = "true",
		.flags = KVF_KEY_QUIET | KVF_KEY_NOFILE, NO_FIELD,
		.doc = "once chose LMCache V1; accepted, no effect", .why = "V1 is all there is"},
	E_IGNORED("LMCACHE_DISABLE_BANNER", ANY, NULL, NUL | KVF_KEY_QUIET, "LMCache's banner",
		"there is none"),
	E_IGNORED("LMCACHE_TRACK_USAGE", ANY, NULL, NUL | KVF_KEY_QUIET, "usage reports",
		"nothing is ever sent home"),
	E_IGNORED("LMCACHE_USAGE_TRACK_URL", ANY, NULL, NUL, "usage reports",
		"nothing is ever sent home"),
	E_IGNORED("LMCACHE_USAGE_TRACK_INTERVAL", ANY, NULL, NUL, "usage reports",
		"nothing is ever sent home"),
	E_IGNORED("LMCACHE_MQ_TIMEOUT", ANY, NULL, NUL, "LMCache server",
		"kvferry runs inside the host's process"),
	E_IGNORED("LMCACHE_SERVER_URL", ANY, NULL, NUL, "LMCache server",
		"kvferry runs inside the host's process"),
	E_IGNORED("PROMETHEUS_MULTIPROC_DIR", ANY, NULL, NUL | KVF_KEY_QUIET, "Python metrics",
		"the host serves the metrics page"),
	E_IGNORED("LMCACHE_COORDINATOR_", ANY, NULL, FAMILY, "LMCache coordinator",
		"kvferry has no coordinator"),
	E_IGNORED(
		"LMCACHE_EC_", ANY, NULL, FAMILY, "encoder cache", "kvferry has no encoder cache"),
};

const struct kvf_table kvf_schema_env = {keys, KVF_ARRAY_LEN(keys)};
