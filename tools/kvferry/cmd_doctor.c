/* SPDX-License-Identifier: Apache-2.0 */
/* kvferry doctor: what this machine allows, what is missing, what that costs, what helps. */
#include "doctor.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"

int kvf_cmd_doctor(int argc, char **argv);

#define OK 0
#define WRONG 1
#define USAGE 2

#define REPORT_BYTES 8192

static const char usage_text[] =
	"usage: kvferry doctor [FILE] [--json] [--root DIR]\n"
	"Looks at what this machine gives an engine with the configuration FILE (without one: what "
	"LMCACHE_CONFIG_FILE\n"
	"names, if anything) and the LMCACHE_* variables: each point is ok or degraded, with its "
	"cost and its cure.\n"
	"Nothing is changed, and nothing waits for longer than a second.\n"
	"  --json      for machines\n"
	"  --root DIR  read /proc and /sys below DIR (for tests)\n"
	"Exit status: 0 all is well, 1 something is degraded, 2 usage.\n";

struct options {
	const char *file;
	const char *root;
	bool json;
};

/* ---- findings ---- */

static struct doctor_finding *add(struct doctor *d, const char *topic, bool degraded,
	const char *fmt, va_list args) __attribute__((format(printf, 4, 0)));

static struct doctor_finding *add(
	struct doctor *d, const char *topic, bool degraded, const char *fmt, va_list args)
{
	struct doctor_finding *f;

	if (d->n < DOCTOR_FINDINGS)
		d->n++;
	f = &d->finding[d->n - 1];
	memset(f, 0, sizeof(*f));
	f->topic = topic;
	f->degraded = degraded;
	vsnprintf(f->what, sizeof(f->what), fmt, args);
	return f;
}

struct doctor_finding *doctor_ok(struct doctor *d, const char *topic, const char *fmt, ...)
{
	struct doctor_finding *f;
	va_list args;

	va_start(args, fmt);
	f = add(d, topic, false, fmt, args);
	va_end(args);
	return f;
}

struct doctor_finding *doctor_degraded(struct doctor *d, const char *topic, const char *fmt, ...)
{
	struct doctor_finding *f;
	va_list args;

	va_start(args, fmt);
	f = add(d, topic, true, fmt, args);
	va_end(args);
	return f;
}

static FILE *open_below(const struct doctor *d, const char *path)
{
	char full[1024];

	if (snprintf(full, sizeof(full), "%s%s", d->root, path) >= (int)sizeof(full))
		return NULL;
	return fopen(full, "re");
}

bool doctor_read(const struct doctor *d, const char *path, char *line, size_t size)
{
	FILE *in = open_below(d, path);
	bool ok = in && fgets(line, (int)size, in);

	if (in)
		(void)fclose(in);
	if (ok)
		line[strcspn(line, "\n")] = '\0';
	return ok;
}

bool doctor_field(const struct doctor *d, const char *path, const char *key, uint64_t *value)
{
	FILE *in = open_below(d, path);
	size_t n = strlen(key);
	char line[256];
	bool found = false;

	while (in && !found && fgets(line, sizeof(line), in)) {
		if (strncmp(line, key, n) != 0 || line[n] != ':')
			continue;
		*value = strtoull(line + n + 1, NULL, 10);
		found = true;
	}
	if (in)
		(void)fclose(in);
	return found;
}

/* ---- output ---- */

static void print_people(const struct doctor *d)
{
	size_t degraded = 0;

	for (size_t i = 0; i < d->n; i++) {
		const struct doctor_finding *f = &d->finding[i];

		printf("%-9s %-12s %s\n", f->degraded ? "degraded" : "ok", f->topic, f->what);
		if (f->cost[0])
			printf("%23scost: %s\n", "", f->cost);
		if (f->cure[0])
			printf("%23scure: %s\n", "", f->cure);
		degraded += f->degraded;
	}
	printf("%zu ok, %zu degraded\n", d->n - degraded, degraded);
}

static void put_text(const char *name, const char *text, const char *end)
{
	printf("\"%s\": \"", name);
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			printf("\\u%04x", (unsigned int)c);
		else
			putchar(c);
	}
	printf("\"%s", end);
}

static void print_json(const struct doctor *d)
{
	size_t degraded = 0;

	printf("{\"findings\": [");
	for (size_t i = 0; i < d->n; i++) {
		const struct doctor_finding *f = &d->finding[i];

		printf("%s\n  {", i ? "," : "");
		put_text("topic", f->topic, ", ");
		put_text("state", f->degraded ? "degraded" : "ok", ", ");
		put_text("what", f->what, ", ");
		put_text("cost", f->cost, ", ");
		put_text("cure", f->cure, "}");
		degraded += f->degraded;
	}
	printf("\n], \"ok\": %zu, \"degraded\": %zu}\n", d->n - degraded, degraded);
}

/* ---- the command ---- */

/* Errors and warnings of the configuration, a finding a line. */
static void add_report(struct doctor *d, char *text)
{
	for (char *line = text, *end; *line; line = end) {
		end = line + strcspn(line, "\n");
		if (*end)
			*end++ = '\0';
		if (strncmp(line, "error: ", 7) != 0 && strncmp(line, "warning: ", 9) != 0)
			continue;
		snprintf(doctor_degraded(d, "config", "%s", line)->cure, sizeof(d->finding[0].cure),
			"kvferry config check says where each value is from");
	}
}

static int load(struct doctor *d, struct kvf_config **config, const char *file)
{
	static char text[REPORT_BYTES];
	struct kvf_report report;
	int rc;

	kvf_report_init(&report, text, sizeof(text));
	rc = kvf_config_create(config, NULL);
	if (rc) {
		fprintf(stderr, "kvferry doctor: %s\n", kvf_strerror(rc));
		return rc;
	}
	rc = kvf_config_load(*config, file, NULL, &report);
	if (!rc)
		rc = kvf_config_check(*config, &report);
	add_report(d, text);
	if (!rc && !d->n)
		doctor_ok(d, "config", "%s", file ? file : "defaults, and the environment");
	return KVF_OK;
}

static int usage(const char *what, const char *word)
{
	fprintf(stderr, "kvferry doctor: %s%s\n%s", what, word, usage_text);
	return USAGE;
}

static int parse(int argc, char **argv, struct options *o)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0) {
			o->json = true;
		} else if (strcmp(argv[i], "--root") == 0) {
			if (++i == argc)
				return usage("--root: a directory is missing", "");
			o->root = argv[i];
		} else if (argv[i][0] == '-') {
			return usage("unknown option ", argv[i]);
		} else if (o->file) {
			return usage("more than one file: ", argv[i]);
		} else {
			o->file = argv[i];
		}
	}
	return OK;
}

int kvf_cmd_doctor(int argc, char **argv)
{
	struct options o = {.root = ""};
	struct doctor *d;
	struct kvf_config *config = NULL;
	bool degraded = false;
	int rc;

	if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		fputs(usage_text, stdout);
		return OK;
	}
	rc = parse(argc, argv, &o);
	if (rc)
		return rc;
	d = calloc(1, sizeof(*d));
	if (!d || load(d, &config, o.file)) {
		free(d);
		return WRONG;
	}
	d->root = o.root;
	d->settings = kvf_config_settings(config);
	doctor_kernel(d);
	doctor_memory(d);
	doctor_device(d);
	doctor_disk(d);
	doctor_remote(d);
	for (size_t i = 0; i < d->n; i++)
		degraded |= d->finding[i].degraded;
	if (o.json)
		print_json(d);
	else
		print_people(d);
	kvf_config_destroy(config);
	free(d);
	return degraded ? WRONG : OK;
}
