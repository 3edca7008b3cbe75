/* SPDX-License-Identifier: Apache-2.0 */
/* `kvferry soak`: a real engine on the real clock, workloads, a host device, tiers with faults,
 * invariants. */
#ifndef KVFERRY_SOAK_H
#define KVFERRY_SOAK_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "kvferry/kvferry.h"
#include "simtier.h"

struct soak_options {
	uint64_t seed, seconds, concurrency, ram_chunks, tiers;
	bool quiet;
};

struct soak_result {
	char why[512]; /* the first thing that went wrong; "" */
	uint64_t rounds, requests, operations, canceled, timed_out, dropped;
	uint64_t verified_bytes, hit_tokens, tier_faults;
	uint64_t heap_bytes_warm, heap_bytes_end, allocs_warm, allocs_end;
	int fds_warm, fds_end;
	struct kvf_stats stats;
};

/* 0, or -1 with result->why. */
int soak_run(const struct soak_options *options, struct soak_result *result);

/* What goes wrong in a round. */
void soak_faults(struct wl_rng *rng, struct simtier_faults *faults);

#endif
