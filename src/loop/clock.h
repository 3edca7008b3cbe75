/* SPDX-License-Identifier: Apache-2.0 */
/* The only place that reads time. One reading per turn is cached; the host may bring its own clock (simulation). */
#ifndef KVF_LOOP_CLOCK_H
#define KVF_LOOP_CLOCK_H

#include "kvferry/kvferry.h"

struct kvf_clock_src {
	struct kvf_clock host;
	uint64_t now_ns; /* of the last kvf_clock_update(); never goes back */
};

/* clock NULL: CLOCK_MONOTONIC. */
void kvf_clock_init(struct kvf_clock_src *src, const struct kvf_clock *clock);
/* Reads, stores and returns the time. A clock that goes back is held where it was. */
uint64_t kvf_clock_update(struct kvf_clock_src *src);
/* Reads without storing. */
uint64_t kvf_clock_peek(const struct kvf_clock_src *src);

#endif
