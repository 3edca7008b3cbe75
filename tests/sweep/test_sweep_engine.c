/* SPDX-License-Identifier: Apache-2.0 */
/* Sweeps over the engine: the k-th allocation, device call and tier call fails, once or from then
 * on, for every k. */
#include <stdio.h>

#include "tests/harness.h"
#include "tests/sweep/sweep.h"

#define MAX_WRONG 3 /* then the rest is not worth reading */

static void sweep(uint64_t *at, struct sweep_fault *fault, const char *what)
{
	unsigned wrong = 0;

	for (size_t i = 0; i < n_sweep_scenarios; i++) {
		const struct sweep_scenario *s = &sweep_scenarios[i];

		for (int persistent = 0; persistent < 2; persistent++) {
			struct sweep_seen seen = {.hit = true};

			fault->persistent = persistent;
			for (*at = 1; seen.hit && wrong < MAX_WRONG; ++*at)
				wrong += sweep_run(s, fault, &seen) != 0;
			printf(" %s:%llu%s", s->name, (unsigned long long)*at - 2,
				persistent ? "+" : "");
			CU_ASSERT(*at > 2 || wrong); /* it did meet the fault */
		}
	}
	printf(" %s ", what);
}

static void test_clean(void)
{
	struct sweep_fault none = {0};

	for (size_t i = 0; i < n_sweep_scenarios; i++) {
		struct sweep_seen seen;

		sweep_run(&sweep_scenarios[i], &none, &seen);
		CU_ASSERT(seen.opened && !seen.hit);
		if (seen.tokens < sweep_scenarios[i].tokens)
			printf(" %s: %llu tokens ", sweep_scenarios[i].name,
				(unsigned long long)seen.tokens);
		CU_ASSERT(seen.tokens >= sweep_scenarios[i].tokens);
	}
}

static void test_alloc(void)
{
	struct sweep_fault fault = {0};

	sweep(&fault.alloc_at, &fault, "allocations");
}

static void test_device(void)
{
	struct sweep_fault fault = {0};

	sweep(&fault.device_at, &fault, "device calls");
}

static void test_tier(void)
{
	struct sweep_fault fault = {0};

	sweep(&fault.tier_at, &fault, "tier calls");
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"clean", test_clean},
		{"alloc", test_alloc},
		{"device", test_device},
		{"tier", test_tier},
	};

	return kvf_test_main("sweep_engine", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
