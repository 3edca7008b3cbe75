/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sweeps over the engine with the CUDA device over the fake runtime: the k-th call of CUDA's fails, for every k, over
 * whole lives of an engine (open, pool, store, retrieve, layerwise, tiers, shutdown, close); cancel, deadline and
 * shutdown after every turn; the k-th allocation fails.
 *
 * In `make check` each k meets one or two kinds of errors, and each scenario five of the sixteen kinds of devices, or
 * more with what is done after every turn; KVF_CUDA_SWEEP=full (make sweep-cuda) takes all of them with all others.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/harness.h"
#include "tests/support/cuda_world.h"
#include "tests/sweep/sweep.h"

#define MAX_WRONG 3
#define CALLS_MAX 20000u

static const cudaError_t errors[] = { cudaErrorInvalidValue, cudaErrorMemoryAllocation, cudaErrorIllegalAddress,
				      cudaErrorUnknown, cudaErrorStreamCaptureUnsupported };

static bool full(void)
{
	return getenv("KVF_CUDA_SWEEP") != NULL;
}

/* Eight ways to have the device: how it copies, and how it finds out that a copy is done. */
static struct cuda_world_options device(unsigned n)
{
	return (struct cuda_world_options){ .word = n % 2,
					    .copy = (enum kvf_copy_way)(n / 2 % KVF_WAYS),
					    .staging_bytes = 4096,
					    .devices = 1 + (int)(n / 8 % 2) };
}

#define DEVICES 16u

static void test_clean(void)
{
	for (unsigned n = 0; n < DEVICES; n++) {
		for (size_t i = 0; i < n_sweep_scenarios; i++) {
			struct cuda_world_options o = device(n);
			struct sweep_fault none = { .backend = &cuda_world, .backend_arg = &o };
			struct sweep_seen seen;

			o.calibrate = true;
			sweep_run(&sweep_scenarios[i], &none, &seen);
			CU_ASSERT(seen.opened && !seen.hit);
			CU_ASSERT(seen.tokens >= sweep_scenarios[i].tokens);
			if (n == 0)
				printf(" %s:%llu", sweep_scenarios[i].name, (unsigned long long)o.calls);
		}
	}
	printf(" calls ");
}

/* Returns whether something went wrong; *k goes on until no call is the k-th any more. */
static unsigned sweep_calls(const struct sweep_scenario *s, const struct cuda_world_options *device, uint64_t first,
			    uint64_t step)
{
	struct sweep_seen seen = { .hit = true };
	unsigned wrong = 0;

	for (uint64_t k = first; seen.hit && wrong < MAX_WRONG && k < CALLS_MAX; k += step) {
		struct cuda_world_options o = *device;
		struct sweep_fault fault = { .backend = &cuda_world, .backend_arg = &o };

		o.fail_at = k;
		if (sweep_run(s, &fault, &seen) == 0)
			continue;
		wrong++;
		printf("  call %llu of way %s, by %s, %d devices, fails with %s%s (%s)\n", (unsigned long long)k,
		       kvf_plan_way_name(o.copy), o.word ? "word" : "event", o.devices, cudaGetErrorName(o.fail_with),
		       o.fail_lasting ? " for ever" : "", o.failed ? o.failed : "none");
	}
	return wrong;
}

static void sweep(bool lasting)
{
	unsigned wrong = 0, turn = lasting;

	for (size_t i = 0; i < n_sweep_scenarios; i++) {
		for (size_t e = 0; e < KVF_ARRAY_LEN(errors) && wrong < MAX_WRONG; e++) {
			for (unsigned n = 0; n < DEVICES; n++) {
				struct cuda_world_options o = device(n);

				if (!full() && n != turn % DEVICES)
					continue;
				o.fail_with = errors[e];
				o.fail_lasting = lasting;
				/* Each k meets one of the errors. */
				wrong += full() ? sweep_calls(&sweep_scenarios[i], &o, 1, 1) :
						  sweep_calls(&sweep_scenarios[i], &o, 1 + e % (lasting ? 5 : 3),
							      lasting ? 5 : 3);
			}
			turn += 3;
		}
	}
	CU_ASSERT_EQUAL(wrong, 0);
}

static void test_call_fails(void)
{
	sweep(false);
}

static void test_calls_fail_from_then_on(void)
{
	sweep(true);
}

/* The calibration is a thousand calls that are all alike. */
static void test_calibration_fails(void)
{
	unsigned wrong = 0;

	for (size_t e = 0; e < KVF_ARRAY_LEN(errors); e++) {
		struct cuda_world_options o = device(e % 2);

		o.calibrate = true;
		o.fail_with = errors[e];
		wrong += sweep_calls(&sweep_scenarios[0], &o, 1 + e, full() ? 1 : 61);
	}
	CU_ASSERT_EQUAL(wrong, 0);
}

static void test_alloc(void)
{
	for (unsigned n = 0; n < 4; n++) {
		struct cuda_world_options o = device(2 * n + n % 2);
		struct sweep_fault fault = { .backend = &cuda_world, .backend_arg = &o, .persistent = n & 2 };
		struct sweep_seen seen = { .hit = true };
		unsigned wrong = 0;

		for (fault.alloc_at = 1; seen.hit && wrong < MAX_WRONG; fault.alloc_at++)
			wrong += sweep_run(&sweep_scenarios[3], &fault, &seen) != 0;
		CU_ASSERT(fault.alloc_at > 20 && !wrong);
	}
}

/* ---- after every turn ---- */

static void cancel_all(struct world *w)
{
	for (uint32_t i = 0; i < W_MAX_OPS; i++)
		if (w->ops[i].live && !w->ops[i].done)
			world_cancel(w, &w->ops[i]);
}

static void pass_deadlines(struct world *w)
{
	world_advance(w, 3600 * KVF_NS_PER_S);
}

static void shut_cancel(struct world *w)
{
	world_shutdown(w, KVF_SHUTDOWN_CANCEL, KVF_NO_DEADLINE);
}

static void shut_drain(struct world *w)
{
	world_shutdown(w, KVF_SHUTDOWN_DRAIN, KVF_NO_DEADLINE);
}

static void shut_flush(struct world *w)
{
	world_shutdown(w, KVF_SHUTDOWN_FLUSH, KVF_NO_DEADLINE);
}

static void shut_soon(struct world *w)
{
	world_shutdown(w, KVF_SHUTDOWN_DRAIN, world_now(w) + 50000);
}

static void lose_device(struct world *w)
{
	(void)w;
	fake_cuda_fault(1, cudaErrorIllegalAddress);
}

static void sweep_turns(void (*act)(struct world *w), const struct fake_cuda_storm *storm)
{
	static unsigned turn; /* goes on from act to act: each meets other kinds of devices */
	unsigned wrong = 0;

	for (size_t i = 0; i < n_sweep_scenarios; i++, turn += 3) {
		for (unsigned n = 0; n < DEVICES; n++) {
			struct cuda_world_options o = device(n);
			struct sweep_fault fault = { .act = act, .backend = &cuda_world, .backend_arg = &o };
			struct sweep_seen seen = { .hit = true };

			if (!full() && n != turn % DEVICES)
				continue;
			o.storm = *storm;
			for (fault.turn_at = 1; seen.hit && wrong < MAX_WRONG; fault.turn_at++)
				wrong += sweep_run(&sweep_scenarios[i], &fault, &seen) != 0;
			CU_ASSERT(fault.turn_at > 2 || wrong);
		}
	}
}

static void test_ended_after_every_turn(void)
{
	static void (*const acts[])(struct world *w) = { cancel_all, pass_deadlines, shut_cancel,
							 shut_drain, shut_flush,     shut_soon };
	static const struct fake_cuda_storm fair = { .seed = 1 };

	for (size_t i = 0; i < KVF_ARRAY_LEN(acts); i++)
		sweep_turns(acts[i], &fair);
}

/* Copies take a hundred times as long as they should: what ends does so while they are in flight. */
static void test_ended_while_copies_are_late(void)
{
	static void (*const acts[])(struct world *w) = { cancel_all, pass_deadlines, shut_soon };
	static const struct fake_cuda_storm late = { .seed = 1, .slow_ppm = 300000, .slow_ns = 150000 };

	for (size_t i = 0; i < KVF_ARRAY_LEN(acts); i++)
		sweep_turns(acts[i], &late);
}

/* What was in flight still writes into its slots. */
static void test_lost_after_every_turn(void)
{
	static const struct fake_cuda_storm late = { .seed = 1, .jitter_ns = 20000, .late_writes = true };

	sweep_turns(lose_device, &late);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "clean", test_clean },
		{ "call_fails", test_call_fails },
		{ "calls_fail_from_then_on", test_calls_fail_from_then_on },
		{ "calibration_fails", test_calibration_fails },
		{ "alloc", test_alloc },
		{ "ended_after_every_turn", test_ended_after_every_turn },
		{ "ended_while_copies_are_late", test_ended_while_copies_are_late },
		{ "lost_after_every_turn", test_lost_after_every_turn },
	};
	int rc = kvf_test_main("sweep_cuda", tests, KVF_ARRAY_LEN(tests), argc, argv);

	fake_cuda_reset(&fake_cuda_usual);
	return rc;
}
