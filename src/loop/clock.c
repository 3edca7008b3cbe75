/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's clock. See clock.h. */
#include "loop/clock.h"

#include <string.h>
#include <time.h>

#include "base/compiler.h"

static uint64_t monotonic_ns(void *user)
{
	struct timespec ts;

	(void)user;
	if (clock_gettime(CLOCK_MONOTONIC, &ts))
		return 0;
	return (uint64_t)ts.tv_sec * KVF_NS_PER_S + (uint64_t)ts.tv_nsec;
}

void kvf_clock_init(struct kvf_clock_src *src, const struct kvf_clock *clock)
{
	memset(src, 0, sizeof(*src));
	src->host.size = sizeof(src->host);
	if (clock && clock->now_ns) {
		src->host.now_ns = clock->now_ns;
		src->host.user = clock->user;
	} else {
		src->host.now_ns = monotonic_ns;
	}
	(void)kvf_clock_update(src);
}

uint64_t kvf_clock_update(struct kvf_clock_src *src)
{
	src->now_ns = kvf_clock_peek(src);
	return src->now_ns;
}

uint64_t kvf_clock_peek(const struct kvf_clock_src *src)
{
	return kvf_max_u64(src->host.now_ns(src->host.user), src->now_ns);
}
