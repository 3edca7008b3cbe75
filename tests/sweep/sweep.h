/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scripted scenarios for sweeps over the engine: something goes wrong at the k-th call or turn, for
 * every k, until a run sees it no more. Whatever it was, every operation ends, everything verifies
 * at every turn, nothing leaks: the world of tests/sim/world.h sees to that.
 */
#ifndef KVF_TESTS_SWEEP_SWEEP_H
#define KVF_TESTS_SWEEP_SWEEP_H

#include "tests/sim/world.h"

struct sweep_scenario {
	const char *name;
	void (*options)(struct world_options *o); /* NULL: the defaults */
	/* Submits and drains; gives up where a thing was refused. */
	void (*run)(struct world *w);
	uint32_t tokens; /* that retrieves deliver, at least, when nothing goes wrong */
};

extern const struct sweep_scenario sweep_scenarios[];
extern const size_t n_sweep_scenarios;

/* What goes wrong in one run. */
struct sweep_fault {
	uint64_t alloc_at, device_at, tier_at; /* 0: none */
	bool persistent;
	/* Another device than the simulated one, and what fails in it. */
	const struct world_backend *backend;
	void *backend_arg;
	/* called after turn number turn_at of the scenario */
	void (*act)(struct world *w);
	uint64_t turn_at;
};

struct sweep_seen {
	bool opened;
	bool hit; /* the fault did happen */
	uint64_t turns, tokens;
};

/* One run. Returns 0, or -1 with a CUnit failure that says what went wrong. */
int sweep_run(
	const struct sweep_scenario *s, const struct sweep_fault *fault, struct sweep_seen *seen);

#endif
