/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration as the engine reads it: typed fields, one for every key that is honoured. The
 * schema table (schema.c) maps LMCache's keys to these fields; nothing else writes them.
 */
#ifndef KVF_CONFIG_CONFIG_H
#define KVF_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/policy.h"
#include "kvferry/kvf_config.h"

/* kvf_remote_names, in the order of the schema. The later ones: as LMCache named from that month on. */
enum kvf_remote_names {
	KVF_NAMES_AUTO = 0,
	KVF_NAMES_IP,
	KVF_NAMES_MP,
	KVF_NAMES_2026_03, /* whole digests */
	KVF_NAMES_2026_02, /* another hash: None where an empty tuple is now */
	KVF_NAMES_2025_11, /* "vllm@" in front */
	KVF_NAMES_2025_07, /* and no dtype */
	KVF_NAMES_LEGACY   /* and a chain of hexadecimal SHA-256 */
};

/* Values live as long as their kvf_config. Strings are never NULL: "" is unset. */
struct kvf_settings {
	/* pool and chunks */
	uint32_t chunk_size; /* tokens */
	bool local_cpu; /* false: the pool is staging only */
	uint64_t max_local_cpu_bytes; /* per rank, > 0 */
	uint64_t reserve_local_cpu_bytes; /* to be kept free on the host */
	bool local_cpu_use_hugepages; /* hugetlb instead of transparent huge pages */
	uint32_t pool_slots; /* kvf_pool_slots: exact number of slots, 0 = from max_local_cpu_bytes
			      */
	bool pool_before_open; /* kvf_pool_before_open: populate and lock everything inside open */
	uint32_t numa_mode; /* 0 none, 1 auto, 2 manual */
	enum kvf_policy cache_policy;
	bool save_unfull_chunk;
	bool save_decode_cache;
	bool use_layerwise;
	uint32_t min_retrieve_tokens;
	uint64_t blocking_timeout_ns; /* default deadline of an operation */
	uint64_t pin_timeout_ns; /* longest lease */
	uint32_t scrub; /* kvf_scrub: 0 off, 1 idle, 2 always */
	int64_t priority_limit; /* a store of a higher priority number is skipped; INT64_MAX: never
				 */
	uint32_t skip_last_n_tokens; /* never stored */
	bool discard_partial_chunks; /* as save_unfull_chunk: false, from extra_config */
	bool force_skip_save; /* LMCACHE_FORCE_SKIP_SAVE: nothing is stored */
	uint32_t save_only_first_rank; /* 0 auto (= MLA), 1 no, 2 yes */
	uint64_t first_rank_max_local_cpu_bytes; /* pool of rank 0 when only it stores; 0 =
						    max_local_cpu_bytes */
	const char *gpu_to_numa_mapping; /* numa_mode manual: "gpu:node,gpu:node" */
	const char *quota_min; /* kvf_quota_min, kvf_quota_max: "salt:GB,salt:GB", see quota.h */
	const char *quota_max;
	uint64_t spill_rate; /* kvf_spill_rate, kvf_prefetch_rate: bytes per second; 0: no bound */
	uint64_t prefetch_rate;

	/* keys */
	const char *pre_caching_hash_algorithm;
	const char *python_hash_seed; /* PYTHONHASHSEED, "" = unset */

	/* disk */
	const char *local_disk; /* comma-separated directories */
	uint64_t max_local_disk_bytes; /* per rank */
	uint32_t aio; /* kvf_aio: 0 auto, 1 io_uring, 2 libaio, 3 sync */
	uint32_t disk_admission; /* kvf_disk_admission: 0 all, 1 second_touch */
	uint32_t disk_durable; /* kvf_durable: 0 none, 1 interval, 2 each */
	uint32_t disk_foreign; /* kvf_disk_foreign: 0 reclaim, 1 keep */
	uint64_t disk_min_free_bytes; /* kvf_disk_min_free */
	uint32_t disk_depth; /* kvf_disk_depth: transfers in the kernel's hands */
	uint64_t disk_depth_bytes; /* kvf_disk_depth_size: bytes of them */

	/* remote */
	const char *remote_url;
	const char *remote_serde;
	uint32_t remote_names; /* kvf_remote_names: enum kvf_remote_names */
	bool remote_older; /* kvf_remote_read_older */
	uint32_t remote_connections; /* kvf_remote_connections: for values */
	uint32_t remote_ttl_s; /* kvf_remote_ttl; 0: none */
	uint32_t remote_verify; /* kvf_remote_verify: 0 auto, 1 require, 2 off */
	bool save_chunk_meta; /* LMCache's metadata beside the bytes; false: raw bytes, whole chunks
				 only */

	/* device */
	uint32_t device; /* kvf_device: 0 auto, 1 cuda, 2 host */
	uint32_t completion; /* kvf_completion: 0 event, 1 word */
	uint32_t copy; /* kvf_copy: 0 auto, 1 memcpy, 2 batch, 3 kernel */

	/* operations */
	uint32_t log_level; /* 0 error, 1 warning, 2 info, 3 debug */
	uint32_t max_ops; /* kvf_max_ops: operations in flight at once */
	const char *lmcache_instance_id;
};

/* Valid until the configuration is changed or destroyed. */
const struct kvf_settings *kvf_config_settings(const struct kvf_config *config);

/* Text of an extra_config key, or of an environment-only one (LMCACHE_RESP_HOST), that is not a
 * field above. NULL when it was not given and has no default. Secrets come as they are: never show
 * them. Lists are "a,b", maps "k:v,k:v". */
const char *kvf_config_extra(const struct kvf_config *config, const char *key);

/*
 * Every effective value, for the command: known keys first, then what else extra_config held.
 * `value` is safe to show
 * ("***" for secrets), "" for null; `origin` as kvf_config_origin(); `class` "honoured",
 * "harmless", "refused" or "unknown"; `explicit_` says that somebody set it. The strings are valid
 * during the call only.
 */
struct kvf_config_item {
	const char *key;
	const char *value;
	const char *origin;
	const char *class;
	bool in_extra;
	bool explicit_;
};
/* KVF_OK, KVF_ENOMEM. */
int kvf_config_each(const struct kvf_config *config,
	void (*fn)(const struct kvf_config_item *item, void *arg), void *arg);

#endif
