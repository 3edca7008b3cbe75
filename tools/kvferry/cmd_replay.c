/* SPDX-License-Identifier: Apache-2.0 */
/* kvferry replay: traces or built-in workloads through a real engine, every byte that comes back
 * checked. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "replay.h"

enum option {
	OPT_FORMAT,
	OPT_CHUNK_SIZE,
	OPT_TOKEN_BYTES,
	OPT_BLOCK_TOKENS,
	OPT_TRACE_BLOCK_TOKENS,
	OPT_DEVICE,
	OPT_RAM,
	OPT_DISK,
	OPT_DISK_SIZE,
	OPT_RAM_CHUNKS,
	OPT_LOCAL_CPU,
	OPT_POLICY,
	OPT_CONFIG,
	OPT_SET,
	OPT_LIMIT,
	OPT_CONCURRENCY,
	OPT_DEADLINE,
	OPT_SPEED,
	OPT_SEED,
	OPT_SALT,
	OPT_TENANTS,
	OPT_CONTROL,
	OPT_COMPARE,
	OPT_JSON,
	OPT_TIMELINE,
	OPT_TIMELINE_LIMIT,
	OPT_QUIET,
	OPT_HELP,
	N_OPTIONS
};

static const struct tool_opt opts[N_OPTIONS] = {
	[OPT_FORMAT] = {"--format", "F", "of the files: auto (default), mooncake, coding-agent",
		false},
	[OPT_CHUNK_SIZE] = {"--chunk-size", "N", "tokens of a chunk; default 256", false},
	[OPT_TOKEN_BYTES] = {"--token-bytes", "N", "bytes of KV a token; default 64", false},
	[OPT_BLOCK_TOKENS] = {"--block-tokens", "N", "tokens of a block of the device; default 16",
		false},
	[OPT_TRACE_BLOCK_TOKENS] = {"--trace-block", "N",
		"tokens of a block of the trace; default: the format's", false},
	[OPT_DEVICE] = {"--device", "D", "where the KV cache is: host (default), cuda: on GPU 0", false},
	[OPT_RAM] = {"--ram", "SIZE",
		"size of the pool, chunk headers included: 256MiB, 5GB; default 256MiB", false},
	[OPT_DISK] = {"--disk", "DIR", "directory of the disk tier; default: none", false},
	[OPT_DISK_SIZE] = {"--disk-size", "SIZE", "its bound; default 1GiB", false},
	[OPT_RAM_CHUNKS] = {"--ram-chunks", "N", "size of the pool in chunks", false},
	[OPT_LOCAL_CPU] = {"--local-cpu", "BOOL",
		"false: nothing stays in RAM, the pool is for staging", false},
	[OPT_POLICY] = {"--policy", "P", "eviction: LRU (default), LFU, FIFO, MRU", false},
	[OPT_CONFIG] = {"--config", "FILE",
		"LMCache configuration of the engine (and LMCACHE_* variables)", false},
	[OPT_SET] = {"--set", "KEY=VALUE", "one key of the configuration; may be given again",
		true},
	[OPT_LIMIT] = {"--limit", "N", "only the first N requests", false},
	[OPT_CONCURRENCY] = {"--concurrency", "N", "requests in flight at once; default 8", false},
	[OPT_DEADLINE] = {"--deadline", "MS", "of every operation; default: none", false},
	[OPT_SPEED] = {"--speed", "max|FACTOR",
		"max (default): ignore times; else so many times as fast", false},
	[OPT_SEED] = {"--seed", "S",
		"of built-in workloads and of the device's block ids; default 1", false},
	[OPT_SALT] = {"--salt", "S", "tenant, part of every key", false},
	[OPT_TENANTS] = {"--tenants", "N", "requests take turns among so many tenants; default 1",
		false},
	[OPT_CONTROL] = {"--control", "C",
		"a mistake on purpose: pool-flip, drop-salt, short-key; exits 1", false},
	[OPT_COMPARE] = {"--compare", NULL, "also run without a cache", false},
	[OPT_JSON] = {"--json", "FILE", "results for machines; - is standard output", false},
	[OPT_TIMELINE] = {"--timeline", "FILE", "trace events for Chrome or Perfetto", false},
	[OPT_TIMELINE_LIMIT] = {"--timeline-limit", "SIZE",
		"end the timeline there; default 32MiB, 0: never", false},
	[OPT_QUIET] = {"--quiet", NULL, "no table, no progress bar", false},
	[OPT_HELP] = {"--help", NULL, "this text, and the built-in workloads", false},
};

static int each_set(void *arg, size_t opt, const char *value)
{
	struct replay_options *o = arg;

	(void)opt;
	if (o->n_set == sizeof(o->set) / sizeof(o->set[0]) || !strchr(value, '=') ||
		value[0] == '=') {
		fprintf(stderr,
			"kvferry replay: --set: '%.64s' is not KEY=VALUE, or one too many\n",
			value);
		return TOOL_USAGE;
	}
	o->set[o->n_set++] = value;
	return TOOL_OK;
}

static int parse_format(const struct tool_args *a, struct replay_options *o)
{
	const char *text = a->given[OPT_FORMAT];

	if (text && wl_format_parse(text, &o->format) != 0)
		return tool_usage(
			a, "--format: '%.64s' is not auto, mooncake or coding-agent", text);
	return TOOL_OK;
}

static int parse_device(const struct tool_args *a, struct replay_options *o)
{
	const char *text = a->given[OPT_DEVICE];

	o->cuda = text && strcmp(text, "cuda") == 0;
	if (text && !o->cuda && strcmp(text, "host") != 0)
		return tool_usage(a, "--device: '%.64s' is neither host nor cuda", text);
	return TOOL_OK;
}

static int parse_speed(const struct tool_args *a, struct replay_options *o)
{
	const char *text = a->given[OPT_SPEED];
	char *end;

	if (!text || strcmp(text, "max") == 0)
		return TOOL_OK;
	o->speed = strtod(text, &end);
	if (end == text || *end || !isfinite(o->speed) || o->speed < 1e-3 || o->speed > 1e9)
		return tool_usage(a,
			"--speed: '%.64s' is neither max nor a factor from 0.001 to 1000000000",
			text);
	return TOOL_OK;
}

static int parse_control(const struct tool_args *a, struct replay_options *o)
{
	static const char *const names[] = {NULL, "pool-flip", "drop-salt", "short-key"};
	const char *text = a->given[OPT_CONTROL];

	if (!text)
		return TOOL_OK;
	for (unsigned i = REPLAY_POOL_FLIP; i <= REPLAY_SHORT_KEY; i++) {
		if (strcmp(text, names[i]) == 0)
			o->control = (enum replay_control)i;
	}
	if (o->control == REPLAY_CONTROL_NONE)
		return tool_usage(
			a, "--control: '%.64s' is not pool-flip, drop-salt or short-key", text);
	return TOOL_OK;
}

static int parse_numbers(const struct tool_args *a, struct replay_options *o)
{
	const struct {
		enum option opt;
		uint64_t min, max, *out;
	} numbers[] = {
		{OPT_CHUNK_SIZE, 1, UINT64_C(1) << 20, &o->chunk_size},
		{OPT_TOKEN_BYTES, 1, UINT64_C(1) << 24, &o->token_bytes},
		{OPT_BLOCK_TOKENS, 1, 65536, &o->block_tokens},
		{OPT_TRACE_BLOCK_TOKENS, 1, WL_MAX_BLOCK_TOKENS, &o->trace_block_tokens},
		{OPT_RAM_CHUNKS, 1, UINT32_MAX - 1, &o->ram_chunks},
		{OPT_LIMIT, 1, UINT64_MAX, &o->limit},
		{OPT_CONCURRENCY, 1, REPLAY_MAX_CONCURRENCY, &o->concurrency},
		{OPT_DEADLINE, 1, 3600000, &o->deadline_ms},
		{OPT_SEED, 0, UINT64_MAX, &o->seed},
		{OPT_TENANTS, 1, REPLAY_MAX_TENANTS, &o->tenants},
	};
	int rc = TOOL_OK;

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]) && rc == TOOL_OK; i++)
		rc = tool_arg_u64(
			a, numbers[i].opt, numbers[i].min, numbers[i].max, numbers[i].out);
	return rc;
}

/* What does not fit together. */
static int check(const struct tool_args *a, struct replay_options *o)
{
	if (!a->n_rest)
		return tool_usage(a, "no trace and no builtin:NAME given");
	if (o->ram_bytes && o->ram_chunks)
		return tool_usage(a, "--ram and --ram-chunks: one of them");
	if (o->chunk_size % o->block_tokens && o->block_tokens % o->chunk_size)
		return tool_usage(a,
			"--chunk-size: must be a multiple or a divisor of --block-tokens (%llu)",
			(unsigned long long)o->block_tokens);
	if (strlen(o->salt) > REPLAY_SALT_BYTES - 8)
		return tool_usage(a, "--salt: longer than %d bytes", REPLAY_SALT_BYTES - 8);
	if (o->cuda && o->control == REPLAY_POOL_FLIP)
		return tool_usage(a, "--control pool-flip: not with --device cuda, it has a device of its own");
	if (o->control == REPLAY_DROP_SALT && o->tenants == 1)
		o->tenants = 2;
	if (o->disk_bytes && !o->disk)
		return tool_usage(a, "--disk-size: of what? --disk DIR is missing");
	if (o->disk && !o->disk_bytes)
		o->disk_bytes = UINT64_C(1) << 30;
	if (!o->ram_bytes && !o->ram_chunks && !o->config)
		o->ram_bytes = UINT64_C(256) << 20;
	return TOOL_OK;
}

static int parse(struct tool_args *a, struct replay_options *o, int argc, char **argv)
{
	bool local_cpu = true;
	int rc = tool_args_parse(a, argc, argv);

	if (rc != TOOL_OK || a->given[OPT_HELP])
		return rc;
	o->sources = a->rest;
	o->n_sources = a->n_rest;
	if ((rc = parse_format(a, o)) != TOOL_OK || (rc = parse_numbers(a, o)) != TOOL_OK ||
		(rc = tool_arg_size(a, OPT_RAM, 1, UINT64_C(1) << 50, &o->ram_bytes)) != TOOL_OK ||
		(rc = tool_arg_size(a, OPT_DISK_SIZE, 1, UINT64_C(1) << 50, &o->disk_bytes)) !=
			TOOL_OK ||
		(rc = tool_arg_size(a, OPT_TIMELINE_LIMIT, 0, UINT64_C(1) << 50,
			 &o->timeline_limit)) != TOOL_OK ||
		(rc = tool_arg_bool(a, OPT_LOCAL_CPU, &local_cpu)) != TOOL_OK ||
		(rc = parse_device(a, o)) != TOOL_OK || (rc = parse_speed(a, o)) != TOOL_OK ||
		(rc = parse_control(a, o)) != TOOL_OK)
		return rc;
	tool_arg_text(a, OPT_LOCAL_CPU, &o->local_cpu);
	tool_arg_text(a, OPT_POLICY, &o->policy);
	tool_arg_text(a, OPT_DISK, &o->disk);
	tool_arg_text(a, OPT_CONFIG, &o->config);
	tool_arg_text(a, OPT_SALT, &o->salt);
	tool_arg_text(a, OPT_JSON, &o->json);
	tool_arg_text(a, OPT_TIMELINE, &o->timeline);
	o->compare = a->given[OPT_COMPARE] != NULL;
	o->quiet = a->given[OPT_QUIET] != NULL;
	return check(a, o);
}

static int write_json(const struct replay_options *o, const struct replay_result *on,
	const struct replay_result *off)
{
	bool to_stdout = strcmp(o->json, "-") == 0;
	FILE *f = to_stdout ? stdout : fopen(o->json, "w");
	int rc = f ? replay_write_json(o, on, off, f) : -1;

	if (f && !to_stdout && fclose(f) != 0)
		rc = -1;
	if (rc != 0)
		fprintf(stderr, "kvferry replay: %s: cannot be written\n", o->json);
	return rc == 0 ? TOOL_OK : TOOL_WRONG;
}

static int run(const struct replay_options *o, struct replay_result *on, struct replay_result *off)
{
	char error[REPLAY_ERROR_BYTES];
	int rc = TOOL_OK;

	if ((off && replay_run(o, false, off, error, sizeof(error)) != 0) ||
		replay_run(o, true, on, error, sizeof(error)) != 0) {
		fprintf(stderr, "kvferry replay: %s\n", error);
		return TOOL_WRONG;
	}
	if (o->json)
		rc = write_json(o, on, off);
	if (!o->quiet && !(o->json && strcmp(o->json, "-") == 0))
		replay_print(o, on, off, stdout);
	return replay_is_wrong(on) ? TOOL_WRONG : rc;
}

int kvf_cmd_replay(int argc, char **argv)
{
	struct replay_options options = {.chunk_size = 256,
		.token_bytes = 64,
		.block_tokens = 16,
		.concurrency = 8,
		.seed = 1,
		.tenants = 1,
		.timeline_limit = UINT64_C(32) << 20,
		.salt = ""};
	struct tool_args args = {.command = "replay",
		.synopsis = "TRACE...|builtin:NAME[,KEY=VALUE]... [OPTION...]",
		.intro = "Runs the requests of traces (files, directories) or of a built-in "
			 "workload through an engine with\n"
			 "a KV cache in host memory or on a GPU, and checks every byte that comes back.\n",
		.opts = opts,
		.n_opts = N_OPTIONS,
		.each = each_set,
		.each_arg = &options};
	struct replay_result *results;
	int rc = parse(&args, &options, argc, argv);

	if (rc != TOOL_OK)
		return rc;
	if (args.given[OPT_HELP]) {
		tool_args_help(&args, stdout);
		printf("Built-in workloads:\n");
		wl_builtin_help(stdout);
		return TOOL_OK;
	}
	results = calloc(2, sizeof(*results));
	if (!results) {
		fprintf(stderr, "kvferry replay: no memory\n");
		return TOOL_WRONG;
	}
	rc = run(&options, &results[0], options.compare ? &results[1] : NULL);
	free(results);
	return rc;
}
