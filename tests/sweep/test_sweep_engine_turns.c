/* SPDX-License-Identifier: Apache-2.0 */
/* Sweeps over the engine: cancel, deadline and every kind of shutdown after each turn of each
 * scenario. */
#include <stdio.h>

#include "tests/harness.h"
#include "tests/sweep/sweep.h"

#define MAX_WRONG 3

static void sweep(void (*act)(struct world *w))
{
	unsigned wrong = 0;

	for (size_t i = 0; i < n_sweep_scenarios; i++) {
		struct sweep_fault fault = {.act = act};
		struct sweep_seen seen = {.hit = true};

		for (fault.turn_at = 1; seen.hit && wrong < MAX_WRONG; fault.turn_at++)
			wrong += sweep_run(&sweep_scenarios[i], &fault, &seen) != 0;
		printf(" %s:%llu", sweep_scenarios[i].name, (unsigned long long)fault.turn_at - 2);
	}
	printf(" ");
}

static void cancel_all(struct world *w)
{
	for (uint32_t i = 0; i < W_MAX_OPS; i++) {
		if (w->ops[i].live && !w->ops[i].done)
			world_cancel(w, &w->ops[i]);
	}
}

static void pass_deadlines(struct world *w)
{
	world_advance(w, 3600 * KVF_NS_PER_S);
}

static void drain(struct world *w)
{
	world_shutdown(w, KVF_SHUTDOWN_DRAIN, KVF_NO_DEADLINE);
}

static void flush(struct world *w)
{
	world_shutdown(w, KVF_SHUTDOWN_FLUSH, KVF_NO_DEADLINE);
}

static void cancel(struct world *w)
{
	world_shutdown(w, KVF_SHUTDOWN_CANCEL, KVF_NO_DEADLINE);
}

static void soon(struct world *w)
{
	world_shutdown(w, KVF_SHUTDOWN_DRAIN, world_now(w) + 50000);
}

static void test_cancel(void)
{
	sweep(cancel_all);
}

static void test_deadline(void)
{
	sweep(pass_deadlines);
}

static void test_drain(void)
{
	sweep(drain);
}

static void test_flush(void)
{
	sweep(flush);
}

static void test_shutdown_cancel(void)
{
	sweep(cancel);
}

static void test_shutdown_soon(void)
{
	sweep(soon);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"cancel", test_cancel},
		{"deadline", test_deadline},
		{"shutdown_drain", test_drain},
		{"shutdown_flush", test_flush},
		{"shutdown_cancel", test_shutdown_cancel},
		{"shutdown_soon", test_shutdown_soon},
	};

	return kvf_test_main("sweep_engine_turns", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
