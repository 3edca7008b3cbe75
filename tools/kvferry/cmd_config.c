/* SPDX-License-Identifier: Apache-2.0 */
/* kvferry config: what a configuration comes to, where each value is from, and what is wrong with
 * it. */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "cmd_config_doc.h"
#include "config/config.h"

int kvf_cmd_config(int argc, char **argv);

#define OK 0
#define WRONG 1
#define USAGE 2

#define REPORT_BYTES ((size_t)64 << 10)
#define RANKS_MAX 65536

static const char usage_text[] =
	"usage: kvferry config check [FILE] [--ranks N] [--all] [--json]\n"
	"Reads FILE (without one: what LMCACHE_CONFIG_FILE names, if anything) and the LMCACHE_* "
	"variables as an\n"
	"engine would, and shows the effective values with their origin, notes, warnings and "
	"errors.\n"
	"  --ranks N  show what N ranks on this machine take together\n"
	"  --all      also keys that have no effect and were not given\n"
	"  --json     for machines\n"
	"Exit status: 0 fine, 1 the configuration is wrong, 2 usage.\n";

struct options {
	const char *file;
	uint32_t ranks;
	bool all;
	bool json;
};

struct item {
	char *key;
	char *value;
	char *origin;
	const char *class;
	bool in_extra;
	bool given;
};

struct items {
	struct item *at;
	size_t n;
	bool failed;
};

static int usage(const char *what, const char *word)
{
	fprintf(stderr, "kvferry config: %s%s\n%s", what, word, usage_text);
	return USAGE;
}

static void collect(const struct kvf_config_item *from, void *arg)
{
	struct items *items = arg;
	struct item *grown = realloc(items->at, (items->n + 1) * sizeof(*items->at));

	if (!grown) {
		items->failed = true;
		return;
	}
	items->at = grown;
	items->at[items->n++] = (struct item){strdup(from->key), strdup(from->value),
		strdup(from->origin), from->class, from->in_extra, from->explicit_};
}

static void free_items(struct items *items)
{
	for (size_t i = 0; i < items->n; i++) {
		free(items->at[i].key);
		free(items->at[i].value);
		free(items->at[i].origin);
	}
	free(items->at);
}

/* ------------------------------------------------------------------------------------------------------------------
 * For people
 */

/* Without --all: what was given, and the keys that most people set. */
static bool is_shown(const struct item *item, bool all)
{
	bool is_variable = item->key[0] >= 'A' && item->key[0] <= 'Z';

	if (all || item->given)
		return true;
	return strcmp(item->class, "honoured") == 0 && !is_variable &&
	       (!item->in_extra || strncmp(item->key, "kvf_", 4) == 0);
}

static void print_items(const struct items *items, bool all)
{
	bool in_extra = false;

	for (size_t i = 0; i < items->n; i++) {
		const struct item *item = &items->at[i];
		const char *value = *item->value ? item->value : "-";

		if (!is_shown(item, all))
			continue;
		if (item->in_extra != in_extra)
			printf(item->in_extra ? "extra_config:\n" : "environment and more:\n");
		in_extra = item->in_extra;
		printf("  %-34s %-22s %s%s%s\n", item->key, value, item->origin,
			strcmp(item->class, "honoured") == 0 ? "" : ", ",
			strcmp(item->class, "honoured") == 0 ? "" : item->class);
	}
}

static double gib(uint64_t bytes)
{
	return (double)bytes / (double)KVF_GIB;
}

/* Pool bytes of rank 0, which may differ where only it stores. */
static uint64_t first_rank_bytes(const struct kvf_settings *s)
{
	return s->first_rank_max_local_cpu_bytes ? s->first_rank_max_local_cpu_bytes
						 : s->max_local_cpu_bytes;
}

static uint64_t all_ranks_bytes(const struct kvf_settings *s, uint32_t ranks)
{
	return first_rank_bytes(s) + (uint64_t)(ranks - 1) * s->max_local_cpu_bytes;
}

static void print_sizes(const struct kvf_settings *s, uint32_t ranks)
{
	printf("sizes (GB = 2^30 bytes):\n  %-34s %14s %14s\n", "", "one rank",
		ranks == 1 ? "1 rank" : "all ranks");
	printf("  %-34s %14.3f %14.3f\n", "page-locked RAM", gib(s->max_local_cpu_bytes),
		gib(all_ranks_bytes(s, ranks)));
	printf("  %-34s %14.3f %14.3f\n", "disk",
		*s->local_disk ? gib(s->max_local_disk_bytes) : 0.0,
		*s->local_disk ? gib(s->max_local_disk_bytes * ranks) : 0.0);
	printf("  %-34s %14s %14" PRIu32 "\n", "ranks", "", ranks);
}

static void print_verdict(const struct kvf_report *report)
{
	printf("%s: %" PRIu32 " errors, %" PRIu32 " warnings, %" PRIu32 " notes\n",
		report->errors ? "WRONG" : "fine", report->errors, report->warnings, report->notes);
}

/* ------------------------------------------------------------------------------------------------------------------
 * For machines
 */

static void json_text(const char *s)
{
	putchar('"');
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			printf("\\u%04x", c);
		else
			putchar(c);
	}
	putchar('"');
}

static void json_report(const char *text)
{
	const char *separator = "";

	printf("  \"report\": [");
	while (*text) {
		size_t n = strcspn(text, "\n");
		char *line = strndup(text, n);

		printf("%s\n    ", separator);
		json_text(line ? line : "");
		separator = ",";
		free(line);
		text += n + (text[n] == '\n');
	}
	printf("\n  ],\n");
}

static void json_items(const struct items *items)
{
	printf("  \"values\": {");
	for (size_t i = 0; i < items->n; i++) {
		const struct item *item = &items->at[i];

		printf("%s\n    ", i ? "," : "");
		json_text(item->key);
		printf(": {\"value\": ");
		json_text(item->value);
		printf(", \"origin\": ");
		json_text(item->origin);
		printf(", \"class\": \"%s\", \"extra_config\": %s}", item->class,
			item->in_extra ? "true" : "false");
	}
	printf("\n  },\n");
}

static void json_all(const struct options *o, const struct kvf_report *report,
	const struct items *items, const struct kvf_settings *s)
{
	printf("{\n  \"file\": ");
	json_text(o->file ? o->file : "");
	printf(",\n  \"ok\": %s,\n  \"errors\": %" PRIu32 ",\n  \"warnings\": %" PRIu32
	       ",\n  \"notes\": %" PRIu32 ",\n",
		report->errors ? "false" : "true", report->errors, report->warnings, report->notes);
	json_report(report->text);
	json_items(items);
	printf("  \"ranks\": %" PRIu32 ",\n  \"cpu_bytes_per_rank\": %" PRIu64
	       ",\n  \"cpu_bytes_all_ranks\": %" PRIu64 ",\n",
		o->ranks, s->max_local_cpu_bytes, all_ranks_bytes(s, o->ranks));
	printf("  \"disk_bytes_per_rank\": %" PRIu64 ",\n  \"disk_bytes_all_ranks\": %" PRIu64
	       "\n}\n",
		*s->local_disk ? s->max_local_disk_bytes : 0,
		*s->local_disk ? s->max_local_disk_bytes * o->ranks : 0);
}

/* ------------------------------------------------------------------------------------------------------------------
 * The command
 */

static int check(const struct options *o, struct kvf_config *config, char *text)
{
	struct kvf_report report;
	struct items items = {0};
	int rc;

	kvf_report_init(&report, text, REPORT_BYTES);
	rc = kvf_config_load(config, o->file, NULL, &report);
	if (rc == KVF_OK)
		rc = kvf_config_check(config, &report);
	if (rc == KVF_ENOMEM || kvf_config_each(config, collect, &items) != KVF_OK ||
		items.failed) {
		fprintf(stderr, "kvferry config: no memory\n");
		free_items(&items);
		return WRONG;
	}
	if (o->json) {
		json_all(o, &report, &items, kvf_config_settings(config));
	} else {
		/* A wrong configuration was not taken over: what would be shown are the defaults.
		 */
		fputs(report.text, stdout);
		if (!report.errors) {
			print_items(&items, o->all);
			print_sizes(kvf_config_settings(config), o->ranks);
		}
		print_verdict(&report);
	}
	free_items(&items);
	return rc == KVF_OK ? OK : WRONG;
}

static bool parse_ranks(const char *s, uint32_t *out)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(s, &end, 10);
	if (errno || end == s || *end || *s == '-' || n < 1 || n > RANKS_MAX)
		return false;
	*out = (uint32_t)n;
	return true;
}

/* OK, USAGE, or -1: help was asked for. */
static int parse(int argc, char **argv, struct options *o)
{
	for (int i = 2; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0) {
			o->json = true;
		} else if (strcmp(argv[i], "--all") == 0) {
			o->all = true;
		} else if (strcmp(argv[i], "--help") == 0) {
			return -1;
		} else if (strcmp(argv[i], "--ranks") == 0) {
			if (i + 1 == argc || !parse_ranks(argv[i + 1], &o->ranks))
				return usage("--ranks wants a number from 1 to 65536", "");
			i++;
		} else if (strncmp(argv[i], "--", 2) == 0) {
			return usage("unknown option ", argv[i]);
		} else if (o->file) {
			return usage("one file only, not also ", argv[i]);
		} else {
			o->file = argv[i];
		}
	}
	return OK;
}

int kvf_cmd_config(int argc, char **argv)
{
	struct options o = {.ranks = 1};
	struct kvf_config *config;
	char *text;
	int rc;

	if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		fputs(usage_text, stdout);
		return OK;
	}
	if (argc == 2 && strcmp(argv[1], "doc") == 0)
		return kvf_config_doc(stdout);
	if (argc < 2 || strcmp(argv[1], "check") != 0)
		return usage(argc < 2 ? "what? check" : "unknown word ", argc < 2 ? "" : argv[1]);
	rc = parse(argc, argv, &o);
	if (rc < 0)
		fputs(usage_text, stdout);
	if (rc != OK)
		return rc < 0 ? OK : rc;
	text = malloc(REPORT_BYTES);
	if (!text || kvf_config_create(&config, NULL) != KVF_OK) {
		free(text);
		fprintf(stderr, "kvferry config: no memory\n");
		return WRONG;
	}
	rc = check(&o, config, text);
	kvf_config_destroy(config);
	free(text);
	return rc;
}
