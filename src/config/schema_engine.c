/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of the schema: the keys of LMCache's file that kvferry acts on. */
#include "config/schema_row.h"

#define GB_MAX 1048576.0 /* 1 PiB */
#define SECONDS_MAX 31536000.0 /* a year */

static const struct kvf_key keys[] = {
	{TOP("chunk_size", UINT, HONOURED), .initial = "256", .min = 1, .max = 65536,
		FIELD(chunk_size),
		.doc = "tokens per chunk, the unit of every lookup and transfer"},
	{TOP("local_cpu", BOOL, HONOURED), .initial = "true", FIELD(local_cpu),
		.doc = "keep chunks in RAM; false: the pool only stages transfers of the tiers "
		       "below"},
	{TOP("max_local_cpu_size", GB, HONOURED), .initial = "5.0", .flags = KVF_KEY_ABOVE,
		.max = GB_MAX, FIELD(max_local_cpu_bytes), .doc = "page-locked RAM of one rank",
		.why = "it must be greater than 0 even with local_cpu: false, because disk and "
		       "remote stage their transfers "
		       "through it"},
	{TOP("reserve_local_cpu_size", GB, HONOURED), .initial = "0.0", .max = GB_MAX,
		FIELD(reserve_local_cpu_bytes),
		.doc = "RAM that stays free on the host; the pool shrinks for it"},
	{TOP("local_cpu_use_hugepages", BOOL, HONOURED), .initial = "false",
		FIELD(local_cpu_use_hugepages),
		.doc = "take the pool from hugetlb pages instead of transparent huge pages"},
	{TOP("numa_mode", ENUM, HONOURED), .flags = KVF_KEY_NULL, FIELD(numa_mode),
		WORDS("none", "auto", "manual"),
		.doc = "bind the pool to a NUMA node; manual reads "
		       "extra_config.gpu_to_numa_mapping"},
	{TOP("cache_policy", ENUM, HONOURED), .initial = "LRU", .flags = KVF_KEY_FOLD,
		FIELD(cache_policy), WORDS("LRU", "LFU", "FIFO", "MRU"),
		.doc = "which chunk leaves RAM first"},
	{TOP("save_unfull_chunk", BOOL, HONOURED), .initial = "false", FIELD(save_unfull_chunk),
		.doc = "also store the last chunk of a prompt when it is not full"},
	{TOP("save_decode_cache", BOOL, HONOURED), .initial = "false", FIELD(save_decode_cache),
		.doc = "also store the KV of generated tokens"},
	{TOP("use_layerwise", BOOL, HONOURED), .initial = "false", FIELD(use_layerwise),
		.doc = "move KV layer by layer beside the forward pass"},
	{TOP("min_retrieve_tokens", UINT, HONOURED), .initial = "0", FIELD(min_retrieve_tokens),
		.doc = "a hit of fewer tokens is not fetched"},
	{TOP("blocking_timeout_secs", SECONDS, HONOURED), .initial = "10", .flags = KVF_KEY_ABOVE,
		.max = SECONDS_MAX, FIELD(blocking_timeout_ns),
		.doc = "deadline of an operation that names none"},
	{TOP("pin_timeout_sec", SECONDS, HONOURED), .initial = "300", .flags = KVF_KEY_ABOVE,
		.max = SECONDS_MAX, FIELD(pin_timeout_ns),
		.doc = "longest time a lease or pin holds chunks"},
	{TOP("priority_limit", INT, HONOURED), .flags = KVF_KEY_NULL, FIELD(priority_limit),
		.doc = "a request of a higher priority number than this is not stored"},
	{TOP("pre_caching_hash_algorithm", WORD, HONOURED), .initial = "builtin",
		FIELD(pre_caching_hash_algorithm),
		WORDS("builtin", "sha256", "sha256_cbor", "xxhash", "xxhash_cbor", "blake3"),
		.doc = "how chunk names are computed where caches are shared with LMCache"},
	{TOP("local_disk", PATHS, HONOURED), .flags = KVF_KEY_NULL, FIELD(local_disk),
		.doc = "directories of the disk tier, file:// accepted"},
	{TOP("max_local_disk_size", GB, HONOURED), .initial = "0.0", .max = GB_MAX,
		FIELD(max_local_disk_bytes), .doc = "disk space of one rank, a hard bound"},
	{TOP("remote_url", URL, HONOURED), .flags = KVF_KEY_NULL, FIELD(remote_url),
		WORDS("redis", "rediss", "unix", "redis-cluster", "redis-sentinel", "resp",
			"valkey", "lm", "fs", "mooncakestore", "infinistore"),
		.doc = "the remote tier", .why = "chunks would silently stay on this machine"},
	{TOP("remote_serde", TEXT, REFUSED), .initial = "naive", .flags = KVF_KEY_NULL,
		FIELD(remote_serde), .doc = "encoding of chunks in the remote tier",
		.why = "it would change the bytes in the remote tier; kvferry stores them as they "
		       "are (naive)"},
	{TOP("lmcache_instance_id", TEXT, HONOURED), .flags = KVF_KEY_NULL,
		FIELD(lmcache_instance_id),
		.doc = "name of this instance in logs and metrics; unset: made up at open"},
	{TOP("extra_config", MAP, HONOURED), .flags = KVF_KEY_NULL, NO_FIELD,
		.doc = "a map of further keys, see below; in the environment as JSON"},
};

const struct kvf_table kvf_schema_engine = {keys, KVF_ARRAY_LEN(keys)};
