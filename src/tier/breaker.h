/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Circuit breaker of one tier: after KVF_BREAKER_TRIP failures in a row it opens, and every request is refused without
 * being sent. After a back-off (doubling, with jitter) one request goes through as a probe: success closes it.
 */
#ifndef KVF_TIER_BREAKER_H
#define KVF_TIER_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

#define KVF_BREAKER_TRIP 5
#define KVF_BREAKER_FIRST_NS 100000000ull /* 100 ms */
#define KVF_BREAKER_LAST_NS 30000000000ull /* 30 s */

enum kvf_breaker_state { KVF_BREAKER_CLOSED = 0, KVF_BREAKER_OPEN = 1, KVF_BREAKER_PROBING = 2 };

struct kvf_breaker {
	enum kvf_breaker_state state;
	uint32_t failures;   /* in a row */
	uint64_t backoff_ns; /* of the current opening */
	uint64_t retry_at_ns;
	uint64_t opens;
	uint64_t random; /* state of the jitter */
};

void kvf_breaker_init(struct kvf_breaker *breaker, uint64_t seed);
/* May a request be sent now? In OPEN past retry_at_ns it turns to PROBING and lets this one through. */
bool kvf_breaker_allows(struct kvf_breaker *breaker, uint64_t now_ns);
/* As kvf_breaker_allows(), without becoming the probe: for planning. */
bool kvf_breaker_would_allow(const struct kvf_breaker *breaker, uint64_t now_ns);
/* A request succeeded (a miss is a success). True when that closed it. */
bool kvf_breaker_succeed(struct kvf_breaker *breaker);
/* A request failed or timed out. True when that opened it. */
bool kvf_breaker_fail(struct kvf_breaker *breaker, uint64_t now_ns);

/* A request was withdrawn before it could tell: if it was the probe, another may be sent. */
void kvf_breaker_forget(struct kvf_breaker *breaker);

#endif
