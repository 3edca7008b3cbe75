/* SPDX-License-Identifier: Apache-2.0 */
/* Circuit breaker: see breaker.h. */
#include "tier/breaker.h"

#include "base/compiler.h"

void kvf_breaker_init(struct kvf_breaker *breaker, uint64_t seed)
{
	*breaker = (struct kvf_breaker){ .random = seed | 1 };
}

/* xorshift64*: good enough to keep a thousand engines from probing in step. */
static uint64_t jitter(struct kvf_breaker *breaker)
{
	breaker->random ^= breaker->random >> 12;
	breaker->random ^= breaker->random << 25;
	breaker->random ^= breaker->random >> 27;
	return breaker->random * 2685821657736338717ull >> 32;
}

bool kvf_breaker_would_allow(const struct kvf_breaker *breaker, uint64_t now_ns)
{
	if (breaker->state == KVF_BREAKER_CLOSED)
		return true;
	return breaker->state == KVF_BREAKER_OPEN && now_ns >= breaker->retry_at_ns;
}

bool kvf_breaker_allows(struct kvf_breaker *breaker, uint64_t now_ns)
{
	if (breaker->state == KVF_BREAKER_CLOSED)
		return true;
	if (breaker->state == KVF_BREAKER_PROBING || now_ns < breaker->retry_at_ns)
		return false;
	breaker->state = KVF_BREAKER_PROBING;
	return true;
}

bool kvf_breaker_succeed(struct kvf_breaker *breaker)
{
	bool closed = breaker->state != KVF_BREAKER_CLOSED;

	breaker->state = KVF_BREAKER_CLOSED;
	breaker->failures = 0;
	breaker->backoff_ns = 0;
	return closed;
}

bool kvf_breaker_fail(struct kvf_breaker *breaker, uint64_t now_ns)
{
	bool was_closed = breaker->state == KVF_BREAKER_CLOSED;

	breaker->failures++;
	if (was_closed && breaker->failures < KVF_BREAKER_TRIP)
		return false;
	/* Failures of requests sent before it opened say nothing new. */
	if (breaker->state == KVF_BREAKER_OPEN)
		return false;
	breaker->backoff_ns = breaker->backoff_ns ? kvf_min_u64(2 * breaker->backoff_ns, KVF_BREAKER_LAST_NS) :
						    KVF_BREAKER_FIRST_NS;
	breaker->retry_at_ns =
		kvf_sat_add(now_ns, breaker->backoff_ns - jitter(breaker) % (breaker->backoff_ns / 4));
	breaker->state = KVF_BREAKER_OPEN;
	breaker->opens += was_closed;
	return was_closed;
}

void kvf_breaker_forget(struct kvf_breaker *breaker)
{
	if (breaker->state == KVF_BREAKER_PROBING)
		breaker->state = KVF_BREAKER_OPEN;
}
