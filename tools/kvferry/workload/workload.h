/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workloads: sources of requests for `kvferry replay` and `kvferry soak`. They know nothing of the
 * engine.
 *
 * A workload reads traces (a file, or a directory of trace_*.json searched to the bottom) or makes
 * up requests
 * (`builtin:NAME[,key=value]...`), merges all its sources and yields the requests in order of
 * arrival:
 *
 *	while ((got = wl_next(w, &request)) == 1)
 *		...
 *
 * Same options and same files give the same requests on every machine. Nothing here is thread-safe.
 */
#ifndef KVFERRY_WORKLOAD_WORKLOAD_H
#define KVFERRY_WORKLOAD_WORKLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define WL_NONE UINT64_MAX /* no request, no session */
#define WL_MAX_PROMPT_TOKENS (UINT64_C(1) << 24)
#define WL_MAX_OUTPUT_TOKENS (UINT64_C(1) << 24)
#define WL_MAX_BLOCK_TOKENS (UINT32_C(1) << 16)
#define WL_MAX_FILE_BYTES (UINT64_C(256) << 20) /* of one coding-agent session */
#define WL_MAX_LINE_BYTES (UINT64_C(4) << 20) /* of one Mooncake request */

enum wl_format { WL_FORMAT_AUTO, WL_FORMAT_MOONCAKE, WL_FORMAT_CODING_AGENT };

struct wl_options {
	const char *const *sources; /* paths, or "builtin:NAME[,key=value]..." */
	size_t source_count;
	enum wl_format format; /* of the paths */
	uint64_t seed; /* of built-in workloads and of `spread_ns` */
	uint64_t limit; /* requests at most; 0: all */
	uint32_t block_tokens; /* 0: 512 for Mooncake, 64 for agentic, 16 for the other built-in
				* ones. Mooncake: the block size the trace was made with.
				* Coding-agent files say their own. */
	uint64_t spread_ns; /* each coding-agent file starts at a random time below this; 0: all at
			       0 */
};

struct wl_request {
	uint64_t index; /* 0, 1, 2 ... in order of arrival */
	uint64_t session; /* numbered from 0 as sessions appear */
	uint64_t turn; /* 0, 1, 2 ... in its session */
	uint64_t arrival_ns; /* since the start of the workload; never decreases */
	uint64_t service_ns; /* how long the model took in the trace; 0: unknown */
	uint64_t after; /* closed loop: the request that must have been answered first (< index), or
			   WL_NONE */
	uint64_t gap_ns; /* closed loop: time from that answer to this request (tool run, human) */
	const uint64_t
		*blocks; /* content ids (tokens.h); valid until the next call on the workload */
	size_t block_count; /* prompt_tokens / block_tokens, rounded up: the last block may be
			       partial */
	uint32_t block_tokens;
	uint64_t prompt_tokens; /* > 0 */
	uint64_t output_tokens;
	uint64_t keep_tokens; /* head of the prompt that equals the previous prompt of the session;
			       * on the first request of a sub-agent: fork_tokens; 0 on other first
			       * requests */
	uint64_t parent; /* first request of a sub-agent: the session it was started by; else
			    WL_NONE */
	uint64_t fork_request; /* the request of that session whose prompt it forks from, or WL_NONE
				*/
	uint64_t fork_tokens; /* head of the prompt that equals that prompt; may be 0 */
	bool rewrites_prefix; /* more than one full block of the session's previous prompt is gone:
			       * its tail will not come back (compaction, edited history) */
	bool session_ends; /* the source knows of no later request of this session. Forks of it may
			      follow. */
};

/* Counted over what wl_next() has yielded. */
struct wl_totals {
	uint64_t requests, sessions, forks, rewrites;
	uint64_t prompt_tokens, output_tokens, max_prompt_tokens;
	uint64_t last_arrival_ns;
};

struct wl_error {
	char text[512];
};

struct workload;

/*
 * Opens a workload. *out is set on success only; wl_close() ends it. Returns 0 or KVF_EINVAL
 * (unknown name or parameter, malformed trace), KVF_ERANGE (a value outside its bound), KVF_EIO
 * (unreadable), KVF_ENOMEM; then `error` (may be NULL) holds the text.
 */
int wl_open(struct workload **out, const struct wl_options *options, struct wl_error *error);

/* 1: *out is the next request; 0: no more; negative: as wl_open(), see wl_error_text(). Errors
 * stay. */
int wl_next(struct workload *w, struct wl_request *out);

const char *wl_error_text(const struct workload *w);
const struct wl_totals *wl_totals(const struct workload *w);
/* How far the workload has got, 0 to 1000: for a progress bar. */
uint32_t wl_permille(const struct workload *w);
void wl_close(struct workload *w); /* NULL is allowed */

/* Tokens [from, from + count) of a request's prompt; from + count <= prompt_tokens. */
void wl_request_tokens(const struct wl_request *r, uint64_t from, size_t count, uint32_t *dst);

/* "auto", "mooncake", "coding-agent": 0, or -1 when it is none of them. */
int wl_format_parse(const char *text, enum wl_format *out);

/* Names, meaning and parameters of the built-in workloads, one line each: for --help. */
void wl_builtin_help(FILE *out);

#endif
