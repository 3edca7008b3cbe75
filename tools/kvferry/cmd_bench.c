/* SPDX-License-Identifier: Apache-2.0 */
/* kvferry bench: measures the library beside the ceiling of the machine. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

enum option {
	OPT_SHORT,
	OPT_SLICES,
	OPT_TOKEN_BYTES,
	OPT_CHUNKS,
	OPT_DEVICE,
	OPT_DIR,
	OPT_URL,
	OPT_KIB,
	OPT_PASSES,
	OPT_RECOVERY,
	OPT_JSON,
	OPT_HELP,
	N_OPTIONS
};

static const struct tool_opt opts[N_OPTIONS] = {
	[OPT_SHORT] = {"--short", NULL, "a few seconds, less memory", false},
	[OPT_SLICES] = {"--slices", "N", "slices of each side; default 41", false},
	[OPT_TOKEN_BYTES] = {"--token-bytes", "N",
		"copy: bytes of KV a token; default 131072, short 65536", false},
	[OPT_CHUNKS] = {"--chunks", "N", "scale: chunks resident; may be given again", true},
	[OPT_DEVICE] = {"--device", "D", "copy: host (default), cuda: GPU 0", false},
	[OPT_DIR] = {"--dir", "DIR", "disk, overlap: a folder is made in it, and removed; default /var/tmp", false},
	[OPT_URL] = {"--url", "URL", "overlap: a server of yours that takes part; what is stored there stays", false},
	[OPT_KIB] = {"--kib", "N", "disk: only chunks of 64, 1024, 4096, 16384 or 32768 KiB", false},
	[OPT_PASSES] = {"--passes", "N", "disk: each slice goes over its bytes so often; default 1", false},
	[OPT_RECOVERY] = {"--recovery", NULL, "disk: only recovery, of 8192 slots of 4 MiB", false},
	[OPT_JSON] = {"--json", "FILE", "results for machines", false},
	[OPT_HELP] = {"--help", NULL, "this text", false},
};

static const struct {
	const char *name;
	int (*run)(struct bench *);
} benches[] = {
	{"lookup", bench_lookup},
	{"copy", bench_copy},
	{"scale", bench_scale},
	{"idle", bench_idle},
	{"disk", bench_disk},
	{"overlap", bench_overlap},
};

#define N_BENCHES (sizeof(benches) / sizeof(benches[0]))

static const char intro[] =
	"  lookup   keys and lookup of a long prompt / one SHA-256 pass, Python's hash() chain\n"
	"  copy     store and retrieve RAM <-> host device / memcpy over the same pieces;\n"
	"           with --device cuda RAM <-> GPU / one long page-locked copy of as many bytes\n"
	"  scale    lookup, store and eviction as the number of resident chunks grows\n"
	"  idle     a poll with nothing to do\n"
	"  disk     the disk tier / fio, each way, by size of the chunks; recovery / bare reads\n"
	"  overlap  disk reads, disk writes and host copies at once / the slowest of them alone\n";

void bench_say_ratio(struct bench *b, const char *name, const char *what,
	const struct bench_ratio *r, double scale, const char *unit)
{
	printf("  %-52s %.3f  [%.3f, %.3f]   %.2f %s / %.2f %s\n", what, r->ratio, r->low, r->high,
		r->a * scale, unit, r->b * scale, unit);
	json_out_open(&b->json, name, '{');
	json_out_double(&b->json, "ratio", r->ratio);
	json_out_double(&b->json, "low", r->low);
	json_out_double(&b->json, "high", r->high);
	json_out_double(&b->json, "measured", r->a * scale);
	json_out_double(&b->json, "ceiling", r->b * scale);
	json_out_text(&b->json, "unit", unit);
	json_out_close(&b->json, '}');
}

void bench_say(struct bench *b, const char *name, const char *what, double value, const char *unit)
{
	printf("  %-52s %.2f %s\n", what, value, unit);
	json_out_double(&b->json, name, value);
}

static int each_size(void *arg, size_t opt, const char *value)
{
	struct bench *b = arg;
	unsigned n = 0;
	uint64_t v;

	(void)opt;
	while (n < 7 && b->sizes[n])
		n++;
	if (n == 7 || !tool_parse_u64(value, &v) || v < 1000 || v > UINT64_C(100000000)) {
		fprintf(stderr,
			"kvferry bench: --chunks: '%.64s' is no number from 1000 to 100000000, or "
			"one too many\n",
			value);
		return TOOL_USAGE;
	}
	b->sizes[n] = v;
	return TOOL_OK;
}

/* The heading: without machine and command a figure says nothing. */
static void say_where(struct bench *b, const char *name, int argc, char **argv)
{
	char cpu[256], command[512] = "kvferry bench";
	size_t at = strlen(command);

	for (int i = 1; i < argc && at < sizeof(command); i++)
		at += (size_t)snprintf(command + at, sizeof(command) - at, " %s", argv[i]);
	tool_cpu_model(cpu, sizeof(cpu));
	printf("%s on %s, kvferry %s; %" PRIu64
	       " slices a side, median of ratios [95 %% interval]\n",
		command, cpu, kvf_version(), b->slices);
	json_out_text(&b->json, "bench", name);
	json_out_text(&b->json, "command", command);
	json_out_text(&b->json, "machine", cpu);
	json_out_text(&b->json, "version", kvf_version());
	json_out_u64(&b->json, "slices", b->slices);
}

static int run(struct bench *b, size_t which, const char *json, int argc, char **argv)
{
	FILE *f = fopen(json ? json : "/dev/null", "w");
	int rc;

	if (!f) {
		fprintf(stderr, "kvferry bench: %s: cannot be written\n",
			json ? json : "/dev/null");
		return TOOL_WRONG;
	}
	json_out_begin(&b->json, f);
	json_out_open(&b->json, NULL, '{');
	say_where(b, benches[which].name, argc, argv);
	fflush(stdout);
	rc = benches[which].run(b);
	json_out_bool(&b->json, "complete", rc == TOOL_OK);
	json_out_close(&b->json, '}');
	if (json_out_end(&b->json) != 0 && json) {
		fprintf(stderr, "kvferry bench: %s: cannot be written\n", json);
		rc = TOOL_WRONG;
	}
	fclose(f);
	return rc;
}

static int parse(struct tool_args *a, struct bench *b, int argc, char **argv, size_t *which)
{
	int rc = tool_args_parse(a, argc, argv);

	if (rc != TOOL_OK || a->given[OPT_HELP])
		return rc;
	b->brief = a->given[OPT_SHORT] != NULL;
	b->recovery = a->given[OPT_RECOVERY] != NULL;
	b->slices = BENCH_SLICES;
	b->passes = 1;
	if ((rc = tool_arg_u64(a, OPT_SLICES, 1, BENCH_MAX_SLICES - 2, &b->slices)) != TOOL_OK ||
		(rc = tool_arg_u64(a, OPT_TOKEN_BYTES, 64, UINT64_C(1) << 20, &b->token_bytes)) !=
			TOOL_OK ||
		(rc = tool_arg_u64(a, OPT_KIB, 64, 32768, &b->kib)) != TOOL_OK ||
		(rc = tool_arg_u64(a, OPT_PASSES, 1, 64, &b->passes)) != TOOL_OK)
		return rc;
	b->dir = a->given[OPT_DIR];
	b->cuda = a->given[OPT_DEVICE] && strcmp(a->given[OPT_DEVICE], "cuda") == 0;
	if (a->given[OPT_DEVICE] && !b->cuda && strcmp(a->given[OPT_DEVICE], "host") != 0)
		return tool_usage(a, "--device: '%.64s' is neither host nor cuda", a->given[OPT_DEVICE]);
	b->url = a->given[OPT_URL];
	if (a->n_rest != 1)
		return tool_usage(a, "wants the name of one bench: lookup, copy, scale, idle, disk, overlap");
	for (*which = 0; *which < N_BENCHES; ++*which) {
		if (strcmp(a->rest[0], benches[*which].name) != 0)
			continue;
		if (b->cuda && benches[*which].run != bench_copy)
			return tool_usage(a, "--device cuda: of copy only");
		return TOOL_OK;
	}
	return tool_usage(a, "no bench is called '%.64s': lookup, copy, scale, idle, disk, overlap", a->rest[0]);
}

int kvf_cmd_bench(int argc, char **argv)
{
	struct bench b = {0};
	struct tool_args args = {.command = "bench",
		.synopsis = "lookup|copy|scale|idle|disk|overlap [OPTION...]",
		.intro = intro,
		.opts = opts,
		.n_opts = N_OPTIONS,
		.each = each_size,
		.each_arg = &b};
	size_t which = 0;
	int rc = parse(&args, &b, argc, argv, &which);

	if (rc != TOOL_OK)
		return rc;
	if (args.given[OPT_HELP]) {
		tool_args_help(&args, stdout);
		return TOOL_OK;
	}
	return run(&b, which, args.given[OPT_JSON], argc, argv);
}
