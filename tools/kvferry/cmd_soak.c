/* SPDX-License-Identifier: Apache-2.0 */
/* kvferry soak: options and report. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>

#include "soak.h"
#include "tool.h"

enum {
	OPT_SECONDS,
	OPT_SEED,
	OPT_CONCURRENCY,
	OPT_RAM_CHUNKS,
	OPT_TIERS,
	OPT_QUIET,
	OPT_HELP,
	N_OPTIONS
};

static const struct tool_opt opts[N_OPTIONS] = {
	[OPT_SECONDS] = {"--seconds", "N", "how long, 1 to 604800; default 30", false},
	[OPT_SEED] = {"--seed", "S", "of workloads and faults; default 1", false},
	[OPT_CONCURRENCY] = {"--concurrency", "N", "requests at once, 1 to 64; default 16", false},
	[OPT_RAM_CHUNKS] = {"--ram-chunks", "N", "slots of the pool, 8 to 65536; default 48",
		false},
	[OPT_TIERS] = {"--tiers", "N", "tiers in memory below it, 0 to 2; default 2", false},
	[OPT_QUIET] = {"--quiet", NULL, "only what went wrong", false},
	[OPT_HELP] = {"--help", NULL, "this text", false},
};

static uint32_t sometimes(struct wl_rng *rng, uint32_t max_ppm)
{
	return wl_rng_below(rng, 3) ? 0 : (uint32_t)wl_rng_below(rng, max_ppm);
}

void soak_faults(struct wl_rng *rng, struct simtier_faults *faults)
{
	*faults = (struct simtier_faults){
		.error = sometimes(rng, 200000),
		.gone = sometimes(rng, 100000),
		.flip_payload = sometimes(rng, 100000),
		.flip_header = sometimes(rng, 100000),
		.cut = sometimes(rng, 50000),
		.full = sometimes(rng, 300000),
		.hang = sometimes(rng, 30000),
		.deaf = sometimes(rng, 500000),
		.late_ok = sometimes(rng, 500000),
		.partial = sometimes(rng, 500000),
		.busy = sometimes(rng, 200000),
		.inside = sometimes(rng, 500000),
		.latency_max_ns = 1 + wl_rng_below(rng, 2000000),
		.hang_ns = KVF_NO_DEADLINE,
	};
}

static void print(const struct soak_options *o, const struct soak_result *r)
{
	char held[32], bytes[32], requests[32], operations[32];

	printf("soak: seed %" PRIu64 ", %" PRIu64 " s, %" PRIu64 " rounds: %s\n", o->seed,
		o->seconds, r->rounds, r->why[0] ? "WRONG" : "fine");
	printf("  requests %s, operations %s (cancelled %" PRIu64 ", late %" PRIu64
	       ", dropped stores %" PRIu64 ")\n",
		tool_count_text(requests, sizeof(requests), r->requests),
		tool_count_text(operations, sizeof(operations), r->operations), r->canceled,
		r->timed_out, r->dropped);
	printf("  bytes checked %s, hit tokens %" PRIu64 ", faults of tiers %" PRIu64
	       ", breakers opened %" PRIu64 ", corrupt chunks caught %" PRIu64 "\n",
		tool_size_text(bytes, sizeof(bytes), r->verified_bytes), r->hit_tokens,
		r->tier_faults, r->stats.tiers[0].breaker_opens + r->stats.tiers[1].breaker_opens,
		r->stats.corrupt_chunks);
	printf("  heap %s when warm, %+" PRId64 " bytes since; %" PRIu64
	       " allocations when warm, %+" PRId64 " since; descriptors %d, %+d\n",
		tool_size_text(held, sizeof(held), r->heap_bytes_warm),
		(int64_t)(r->heap_bytes_end - r->heap_bytes_warm), r->allocs_warm,
		(int64_t)(r->allocs_end - r->allocs_warm), r->fds_warm, r->fds_end - r->fds_warm);
}

static int parse(struct tool_args *args, struct soak_options *o)
{
	const struct {
		size_t opt;
		uint64_t min, max, *out;
	} numbers[] = {
		{OPT_SECONDS, 1, 604800, &o->seconds},
		{OPT_SEED, 0, UINT64_MAX, &o->seed},
		{OPT_CONCURRENCY, 1, 64, &o->concurrency},
		{OPT_RAM_CHUNKS, 8, 65536, &o->ram_chunks},
		{OPT_TIERS, 0, 2, &o->tiers},
	};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		if (tool_arg_u64(args, numbers[i].opt, numbers[i].min, numbers[i].max,
			    numbers[i].out) != TOOL_OK)
			return TOOL_USAGE;
	}
	if (args->n_rest)
		return tool_usage(args, "'%.64s' is no option", args->rest[0]);
	o->quiet = args->given[OPT_QUIET] != NULL;
	return TOOL_OK;
}

int kvf_cmd_soak(int argc, char **argv)
{
	struct soak_options o = {
		.seed = 1, .seconds = 30, .concurrency = 16, .ram_chunks = 48, .tiers = 2};
	struct tool_args args = {.command = "soak",
		.synopsis = "[OPTION...]",
		.intro = "Runs built-in workloads through one engine for a while, on a host "
			 "device, above\n"
			 "tiers in memory that fail, hang, lie and lose, and checks every byte, "
			 "every\n"
			 "promise and every structure. Ends with status 1 and the seed at the "
			 "first thing\n"
			 "that is wrong.\n",
		.opts = opts,
		.n_opts = N_OPTIONS};
	struct soak_result *result;
	int rc = tool_args_parse(&args, argc, argv);

	if (rc != TOOL_OK)
		return rc;
	if (args.given[OPT_HELP]) {
		tool_args_help(&args, stdout);
		return TOOL_OK;
	}
	rc = parse(&args, &o);
	if (rc != TOOL_OK)
		return rc;
	result = calloc(1, sizeof(*result));
	if (!result) {
		fprintf(stderr, "kvferry soak: no memory\n");
		return TOOL_WRONG;
	}
	rc = soak_run(&o, result) == 0 ? TOOL_OK : TOOL_WRONG;
	if (!o.quiet || rc != TOOL_OK)
		print(&o, result);
	if (rc != TOOL_OK)
		fprintf(stderr,
			"kvferry soak: %s; again: kvferry soak --seed %" PRIu64
			" --seconds %" PRIu64 "\n",
			result->why, o.seed, o.seconds);
	free(result);
	return rc;
}
