/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines of one engine: level, scope, rate limit. The sink is the host's. */
#ifndef KVF_BASE_LOG_H
#define KVF_BASE_LOG_H

#include "kvferry/kvferry.h"

struct kvf_log {
	struct kvf_log_sink sink;
	enum kvf_log_level level;
	uint64_t dropped; /* by rate limits */
};

/* One per place that could flood: at most `burst` lines per second, then one line "N more". Zeroed = fresh, 5 lines. */
struct kvf_log_limit {
	uint64_t window_start_ns;
	uint32_t burst; /* 0: 5 */
	uint32_t in_window;
	uint32_t suppressed;
};

/* sink NULL: stderr. */
void kvf_log_init(struct kvf_log *log, const struct kvf_log_sink *sink, enum kvf_log_level level);
void kvf_log(struct kvf_log *log, enum kvf_log_level level, const char *scope, const char *fmt, ...) KVF_PRINTF(4, 5);
/* At most limit->burst lines a second from this place. now_ns is the engine's clock. */
void kvf_log_limited(struct kvf_log *log, struct kvf_log_limit *limit, uint64_t now_ns, enum kvf_log_level level,
		     const char *scope, const char *fmt, ...) KVF_PRINTF(6, 7);

#endif
