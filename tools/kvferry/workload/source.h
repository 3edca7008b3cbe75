/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the workloads: what a source of requests must do. Sources number sessions and requests
 * from 0 by themselves, workload.c merges them and renumbers.
 */
#ifndef KVFERRY_WORKLOAD_SOURCE_H
#define KVFERRY_WORKLOAD_SOURCE_H

#include "kvferry/kvf_status.h"
#include "workload/workload.h"

#define WL_MAX_TIME_NS (UINT64_C(1) << 60) /* about 36 years */

struct wl_source;

struct wl_source_ops {
	/* As wl_next(), with indices, sessions and arrivals of this source alone. The first call
	 * may read files. */
	int (*next)(struct wl_source *s, struct wl_request *out, struct wl_error *error);
	uint32_t (*permille)(const struct wl_source *s);
	void (*close)(struct wl_source *s);
};

struct wl_source {
	const struct wl_source_ops *ops;
};

/* Writes the text and returns `status`. */
int wl_fail(struct wl_error *error, int status, const char *fmt, ...) KVF_PRINTF(3, 4);

/* Makes room for `want` items at *array (realloc, by doubling). KVF_OK or KVF_ENOMEM with text. */
int wl_grow(void **array, size_t *cap, size_t want, size_t item, struct wl_error *error);

/* All fields of a request that have no neutral zero. */
void wl_request_init(struct wl_request *r);

/* KVF_OK; or with text: KVF_EIO, KVF_ERANGE (too long), KVF_ENOMEM. *data comes from malloc. */
int wl_read_file(const char *path, uint64_t max, char **data, size_t *size, struct wl_error *error);

/* The builders. On failure *out stays as it was. `path` is copied. */
int wl_mooncake_open(
	const char *path, uint32_t block_tokens, struct wl_source **out, struct wl_error *error);
int wl_coding_agent_open(
	const char *path, uint64_t scope, struct wl_source **out, struct wl_error *error);
int wl_builtin_open(const char *spec, uint64_t seed, uint32_t block_tokens, struct wl_source **out,
	struct wl_error *error);

/* The formats over bytes in memory, for the fuzzer and the tests; `name` stands in the error text.
 */
int wl_mooncake_open_bytes(const char *name, const char *data, size_t size, uint32_t block_tokens,
	struct wl_source **out, struct wl_error *error);
int wl_coding_agent_open_bytes(const char *name, const char *data, size_t size, uint64_t scope,
	struct wl_source **out, struct wl_error *error);

/* Which format the beginning of a file shows; WL_FORMAT_AUTO when neither. */
enum wl_format wl_format_sniff(const char *data, size_t size);

#endif
