/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator with the CUDA device over the fake runtime in place of the simulated one: lives of an engine at random,
 * with calls that fail, commands that come late or for a while not at all, devices that are lost and still write.
 *
 *	sim_cuda [--seed S] [--seeds N] [--steps N] [--seconds N] [--verbose]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/harness.h"
#include "tests/sim/swarm.h"
#include "tests/support/cuda_world.h"

#define CHECK_SEEDS 1000
#define CHECK_SECONDS 6
#define STEPS 1000

static uint32_t below(struct wl_rng *r, uint32_t n)
{
	return (uint32_t)wl_rng_below(r, n);
}

/* What the seed turns on in the device. */
static void choose(struct cuda_world_options *c, struct wl_rng *r)
{
	struct fake_cuda_storm *s = &c->storm;

	c->word = below(r, 2);
	c->copy = (enum kvf_copy_way)below(r, KVF_WAYS);
	c->calibrate = below(r, 4) == 0;
	c->staging_bytes = below(r, 3) ? 4096u << below(r, 3) : 0;
	if (!c->staging_bytes && c->copy == KVF_WAY_KERNEL)
		c->copy = KVF_WAY_AUTO;
	c->devices = 1 + (int)below(r, 2);
	s->seed = wl_rng_next(r);
	s->jitter_ns = below(r, 3) ? 1 + below(r, 100000) : 0;
	s->call_ppm = below(r, 3) ? 0 : 1 + below(r, 3000);
	s->sticky_call_ppm = below(r, 8) ? 0 : 1 + below(r, 300);
	s->sticky_ppm = below(r, 8) ? 0 : 1 + below(r, 1000);
	s->slow_ppm = below(r, 3) ? 0 : 1 + below(r, 20000);
	/* Until the faults stop, or long enough for every deadline. */
	s->slow_ns = below(r, 3) ? 1 + wl_rng_below(r, 20 * KVF_NS_PER_MS) : UINT64_MAX / 8;
	s->late_writes = below(r, 2);
}

static void tune(struct world_options *o, struct swarm_host *h, void *arg)
{
	struct cuda_world_options *c = arg;

	o->backend = &cuda_world;
	o->backend_arg = c;
	o->device_caps = KVF_DEVICE_LAYERWISE | KVF_DEVICE_FENCES;
	memset(&o->device, 0, sizeof(o->device));
	if (h->fence_ppm < 300000)
		h->fence_ppm = 300000;
	if (o->trusting)
		memset(&c->storm, 0, sizeof(c->storm));
}

struct total {
	uint64_t seeds, failed, turns, completions, verified, calls, lost;
	uint64_t by_status[32];
};

static void run_one(uint64_t seed, uint32_t steps, bool verbose, struct total *t)
{
	struct cuda_world_options c = { .word = false };
	struct swarm_result r;
	struct wl_rng rng;
	char why[512];

	wl_rng_seed(&rng, seed ^ 0xc0da);
	choose(&c, &rng);
	if (verbose)
		printf("cuda: %s, %s%s, staging %llu, %d devices; ppm: calls %u, sticky %u, commands %u, slow %u (%llu "
		       "ns), jitter %llu ns%s\n",
		       kvf_plan_way_name(c.copy), c.word ? "word" : "event", c.calibrate ? ", calibrated" : "",
		       (unsigned long long)c.staging_bytes, c.devices, c.storm.call_ppm, c.storm.sticky_call_ppm,
		       c.storm.sticky_ppm, c.storm.slow_ppm, (unsigned long long)c.storm.slow_ns,
		       (unsigned long long)c.storm.jitter_ns, c.storm.late_writes ? ", late writes" : "");
	t->seeds++;
	if (swarm_run_tuned(seed, steps, verbose ? stdout : NULL, &r, why, tune, &c)) {
		t->failed++;
		printf("FAILED %s\n  again: tests/sim/sim_cuda --seed %llu --steps %u --verbose\n", why,
		       (unsigned long long)seed, steps);
	}
	t->turns += r.turns;
	t->completions += r.completions;
	t->verified += r.verified_tokens;
	t->calls += c.calls;
	for (int i = 0; i < 32; i++)
		t->by_status[i] += r.by_status[i];
}

static void print_total(const struct total *t)
{
	printf("sim_cuda: %llu seeds, %llu failed, %llu turns, %llu completions, %llu tokens verified, %llu calls of "
	       "CUDA's; by status:",
	       (unsigned long long)t->seeds, (unsigned long long)t->failed, (unsigned long long)t->turns,
	       (unsigned long long)t->completions, (unsigned long long)t->verified, (unsigned long long)t->calls);
	for (int i = 0; i < 32; i++)
		if (t->by_status[i])
			printf(" %s %llu", i ? kvf_strerror(-1000 - i) : "KVF_OK", (unsigned long long)t->by_status[i]);
	printf("\n");
}

int main(int argc, char **argv)
{
	uint64_t seed = 1, seeds = argc > 1 ? 1 : CHECK_SEEDS;
	uint32_t steps = STEPS, seconds = argc > 1 ? 0 : CHECK_SECONDS;
	struct total t = { 0 };
	bool verbose = false;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; i < argc; i++) {
		uint64_t value = i + 1 < argc ? strtoull(argv[i + 1], NULL, 0) : 0;

		verbose |= !strcmp(argv[i], "--verbose");
		seed = !strcmp(argv[i], "--seed") ? value : seed;
		seeds = !strcmp(argv[i], "--seeds") ? value : seeds;
		steps = !strcmp(argv[i], "--steps") ? (uint32_t)value : steps;
		seconds = !strcmp(argv[i], "--seconds") ? (uint32_t)value : seconds;
	}
	for (uint64_t i = 0; i < seeds; i++) {
		if (seconds && clock() / CLOCKS_PER_SEC > (clock_t)seconds)
			break;
		run_one(seed + i, steps, verbose, &t);
	}
	print_total(&t);
	if (argc == 1)
		printf("KVF_TESTS: sim_cuda passed=%d failed=%d skipped=0\n", t.failed == 0, t.failed != 0);
	return t.failed ? 1 : 0;
}
