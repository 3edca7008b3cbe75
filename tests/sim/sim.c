/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator: whole lives of an engine on virtual time, one a seed. Same seed and same code,
 * same run.
 *
 *	sim --seed S [--seeds N] [--steps N] [--seconds N] [--verbose] [--no-disk] [--no-net]
 *
 * Without arguments, as in `make check`: the seeds of tests/sim/seeds.txt, then fresh ones for a
 * while.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/harness.h"
#include "tests/sim/swarm.h"

#define CHECK_SEEDS 2500
#define CHECK_SECONDS 30
#define STEPS 2000

struct args {
	uint64_t seed, seeds;
	uint32_t steps, seconds;
	bool verbose, check;
	bool no_disk, no_net; /* as the seeds were before the disk tier and the Redis tier were among the tiers */
};

struct total {
	uint64_t seeds, failed, state_changes, turns, completions, verified, digest;
	uint64_t by_status[32];
	struct timespec start;
};

static double seconds_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) / 1e9;
}

static void without(struct world_options *o, struct swarm_host *h, void *arg)
{
	const struct args *a = arg;

	if (a->no_disk)
		o->disk.on = false;
	if (a->no_net)
		o->net.on = false;
	if (h->only_level == KVF_LEVEL_REMOTE && !o->net.on)
		h->only_level = KVF_LEVEL_DURABLE;
}

static void run_one(const struct args *a, uint64_t seed, uint32_t steps, struct total *t)
{
	struct args args = *a;
	struct swarm_result r;
	char why[512];

	t->seeds++;
	if (swarm_run_tuned(seed, steps, a->verbose ? stdout : NULL, &r, why, without, &args)) {
		t->failed++;
		printf("FAILED %s\n  again: tests/sim/sim --seed %llu --steps %u --verbose%s%s\n", why,
			(unsigned long long)seed, steps, a->no_disk ? " --no-disk" : "", a->no_net ? " --no-net" : "");
	}
	if (a->verbose)
		printf("  digest %016llx, %llu turns, %llu state changes, %llu completions, %llu "
		       "tokens verified, %llu virtual ms\n",
			(unsigned long long)r.digest, (unsigned long long)r.turns,
			(unsigned long long)r.state_changes, (unsigned long long)r.completions,
			(unsigned long long)r.verified_tokens,
			(unsigned long long)(r.virtual_ns / 1000000));
	t->state_changes += r.state_changes;
	t->turns += r.turns;
	t->completions += r.completions;
	t->verified += r.verified_tokens;
	t->digest = wl_mix64(t->digest ^ r.digest);
	for (int i = 0; i < 32; i++)
		t->by_status[i] += r.by_status[i];
}

/* Seeds that once found something: lines "SEED STEPS what it found"; "SEED STEPS disk ..." with a disk tier,
 * "SEED STEPS net ..." with a Redis tier too. */
static void run_known(const struct args *a, struct total *t)
{
	char path[4096], line[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/tests/sim/seeds.txt", kvf_test_srcdir());
	f = fopen(path, "r");
	if (!f) {
		printf("no %s\n", path);
		t->failed++;
		return;
	}
	while (fgets(line, sizeof(line), f)) {
		char *end;
		uint64_t seed = strtoull(line, &end, 10);
		unsigned long steps = strtoul(end, &end, 10);
		struct args known = *a;

		known.no_net = strncmp(end, " net ", 5) != 0;
		known.no_disk = known.no_net && strncmp(end, " disk ", 6) != 0;
		if (line[0] != '#' && end != line && steps)
			run_one(&known, seed, (uint32_t)steps, t);
	}
	fclose(f);
}

static void print_total(const struct total *t)
{
	double s = seconds_since(&t->start);

	printf("sim: %llu seeds, %llu failed, %llu state changes, %llu turns, %llu completions, "
	       "%llu tokens verified, "
	       "digest %016llx\n",
		(unsigned long long)t->seeds, (unsigned long long)t->failed,
		(unsigned long long)t->state_changes, (unsigned long long)t->turns,
		(unsigned long long)t->completions, (unsigned long long)t->verified,
		(unsigned long long)t->digest);
	printf("sim: %.1f s of one core, %.2f million state changes a minute; by status:", s,
		s > 0 ? (double)t->state_changes / s * 60 / 1e6 : 0);
	for (int i = 0; i < 32; i++) {
		if (t->by_status[i])
			printf(" %s %llu", i ? kvf_strerror(-1000 - i) : "KVF_OK",
				(unsigned long long)t->by_status[i]);
	}
	printf("\n");
}

static bool parse(int argc, char **argv, struct args *a)
{
	*a = (struct args){.seed = 1, .seeds = 1, .steps = STEPS, .check = argc == 1};
	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;

		if (strcmp(argv[i], "--verbose") == 0) {
			a->verbose = true;
			continue;
		}
		if (strcmp(argv[i], "--no-disk") == 0) {
			a->no_disk = true;
			continue;
		}
		if (strcmp(argv[i], "--no-net") == 0) {
			a->no_net = true;
			continue;
		}
		if (!value)
			return false;
		i++;
		if (strcmp(argv[i - 1], "--seed") == 0)
			a->seed = strtoull(value, NULL, 0);
		else if (strcmp(argv[i - 1], "--seeds") == 0)
			a->seeds = strtoull(value, NULL, 0);
		else if (strcmp(argv[i - 1], "--steps") == 0)
			a->steps = (uint32_t)strtoul(value, NULL, 0);
		else if (strcmp(argv[i - 1], "--seconds") == 0)
			a->seconds = (uint32_t)strtoul(value, NULL, 0);
		else
			return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	struct total t = {0};
	struct args a;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!parse(argc, argv, &a)) {
		fprintf(stderr,
			"usage: %s [--seed S] [--seeds N] [--steps N] [--seconds N] [--verbose] [--no-disk] "
			"[--no-net]\n",
			argv[0]);
		return 2;
	}
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t.start);
	if (a.check) {
		run_known(&a, &t);
		a.seeds = CHECK_SEEDS;
		a.seconds = CHECK_SECONDS;
	}
	for (uint64_t i = 0; i < a.seeds; i++) {
		if (a.seconds && seconds_since(&t.start) > a.seconds)
			break;
		run_one(&a, a.seed + i, a.steps, &t);
	}
	print_total(&t);
	if (a.check)
		printf("KVF_TESTS: sim passed=%d failed=%d skipped=0\n", t.failed == 0,
			t.failed != 0);
	return t.failed ? 1 : 0;
}
