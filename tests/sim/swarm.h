/* SPDX-License-Identifier: Apache-2.0 */
/* From a seed to a world and a host that lives in it. Each seed turns other faults and habits on.
 */
#ifndef KVF_TESTS_SIM_SWARM_H
#define KVF_TESTS_SIM_SWARM_H

#include <stdio.h>

#include "tests/sim/world.h"

/* How the host behaves. Weights are relative. */
struct swarm_host {
	uint32_t steps;
	uint32_t max_live; /* operations in flight that it aims at */
	uint32_t max_tokens; /* of a sequence */
	uint32_t n_docs, alphabet; /* few: much is shared */
	uint32_t weight[16]; /* by enum kvf_op_code */
	uint32_t poll_weight, seq_weight, cancel_weight, layer_weight;
	uint32_t layerwise_ppm, stream_ppm, progress_ppm, source_free_ppm, fence_ppm, null_ppm,
		level_ppm, lease_ppm, short_deadline_ppm, no_deadline_ppm, priority_ppm;
	uint64_t fence_max_ns, lease_max_ns, deadline_max_ns;
	uint32_t sleepy_ppm; /* sleeps as long as the engine allows */
	uint64_t step_max_ns;
	uint32_t jump_ppm; /* goes away for seconds */
	uint32_t max_batch; /* completions of one poll */
	uint32_t shutdown_at; /* step; 0: at the end */
	enum kvf_shutdown_mode shutdown_mode;
	bool shutdown_deadline;
	uint32_t remove_tiers_ppm; /* lookups and removes that name tiers */
	uint8_t only_level; /* of stores, where level_ppm is above a million */
};

void swarm_options(uint64_t seed, uint32_t steps, struct world_options *o, struct swarm_host *h);
void swarm_print(FILE *f, const struct world_options *o, const struct swarm_host *h);

struct swarm_result {
	uint64_t digest, turns, state_changes, completions, verified_tokens, virtual_ns;
	uint64_t by_status[32];
	struct kvf_stats stats; /* at the end of the faults */
};

/* Runs a seed. Returns 0, or -1 with `why` (at least 512 bytes) filled in. */
int swarm_run(uint64_t seed, uint32_t steps, FILE *verbose, struct swarm_result *result, char *why);
/* The same after tune() has changed what the seed chose. */
int swarm_run_tuned(uint64_t seed, uint32_t steps, FILE *verbose, struct swarm_result *result, char *why,
		    void (*tune)(struct world_options *o, struct swarm_host *h, void *arg), void *arg);

#endif
