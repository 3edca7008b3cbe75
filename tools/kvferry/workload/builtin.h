/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Built-in workloads: a table of names with parameters, each with its default and bounds. Values
 * are kept in thousandths, so that `scale=0.1` needs no floating point.
 */
#ifndef KVFERRY_WORKLOAD_BUILTIN_H
#define KVFERRY_WORKLOAD_BUILTIN_H

#include "workload/source.h"

#define WL_BUILTIN_PARAMS 10

struct wl_param {
	const char *name; /* NULL ends the list */
	const char *meaning;
	uint64_t preset, min, max; /* in thousandths */
	bool whole;
};

struct wl_params {
	uint64_t value[WL_BUILTIN_PARAMS]; /* in thousandths, in the order of the builtin's list */
};

struct wl_builtin {
	const char *name, *meaning;
	struct wl_param params[WL_BUILTIN_PARAMS];
	uint32_t block_tokens;
	int (*open)(const struct wl_params *params, uint64_t seed, uint32_t block_tokens,
		struct wl_source **out, struct wl_error *error);
};

extern const struct wl_builtin wl_builtin_agentic, wl_builtin_long_doc_qa,
	wl_builtin_multi_round_chat, wl_builtin_random_prefill, wl_builtin_scan,
	wl_builtin_prefix_suffix_tuner;

#endif
