/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configuration: LMCache's own keys, from its YAML file and its LMCACHE_* variables.
 *
 * Precedence, low to high: default, file, environment, kvf_config_set(). Every key of LMCache is known and is either
 * honoured, harmless (one note), or refused because ignoring it would change bytes or meaning (an error). Our own keys
 * live in extra_config and start with "kvf_". Sizes are GB = 2^30 bytes as in LMCache, fractions allowed.
 *
 * A configuration is a plain value: kvf_engine_open() copies what it needs and keeps no pointer to it. Not thread-safe;
 * no call blocks except the reading of the file.
 */
#ifndef KVFERRY_KVF_CONFIG_H
#define KVFERRY_KVF_CONFIG_H

#include "kvferry/kvf_status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct kvf_config;
struct kvf_allocator;

/* How the environment is read. NULL instead of a struct: the process's own (getenv). */
struct kvf_env {
	size_t size;					    /* sizeof(struct kvf_env) */
	const char *(*get)(const char *name, void *user); /* NULL = unset; valid until the next call */
	/* Calls fn once for every variable, so that unknown LMCACHE_* names can be warned about; may be NULL. */
	void (*each)(void (*fn)(const char *name, const char *value, void *arg), void *arg, void *user);
	void *user;
};

/* A configuration with every default. allocator NULL: malloc and free. KVF_OK, KVF_ENOMEM. */
KVF_API int kvf_config_create(struct kvf_config **out, const struct kvf_allocator *allocator);
KVF_API void kvf_config_destroy(struct kvf_config *config);

/*
 * Reads the file (NULL: the one LMCACHE_CONFIG_FILE names, if any), then the environment, over what is there.
 * KVF_OK, KVF_ENOMEM, KVF_ECONFIG (report says file, line, key, value and what was expected; the configuration is
 * unchanged then).
 */
KVF_API int kvf_config_load(struct kvf_config *config, const char *yaml_path, const struct kvf_env *env,
			    struct kvf_report *report);

/*
 * Sets one key from text, as in the environment ("0.25", "true", "/a,/b"). Keys of extra_config are named alone
 * ("kvf_pool_slots"). KVF_OK, KVF_ENOMEM, KVF_ECONFIG.
 */
KVF_API int kvf_config_set(struct kvf_config *config, const char *key, const char *value, struct kvf_report *report);

/*
 * Writes the effective value of a key as text into buf (NUL-terminated, cut at size) and returns its full length, or
 * KVF_ENOENT for a key that does not exist. Secrets come back as "***".
 */
KVF_API int kvf_config_get(const struct kvf_config *config, const char *key, char *buf, size_t size);

/* Where the effective value came from: "default", "environment LMCACHE_X", "file.yaml:12", "set". NULL: no such key. */
KVF_API const char *kvf_config_origin(const struct kvf_config *config, const char *key);

/* Checks what only the whole can show (max_local_cpu_size > 0 and the like). Called by kvf_engine_open() too. */
KVF_API int kvf_config_check(const struct kvf_config *config, struct kvf_report *report);

#ifdef __cplusplus
}
#endif
#endif
