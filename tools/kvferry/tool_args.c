/* SPDX-License-Identifier: Apache-2.0 */
/* Arguments of the subcommands: sorting, values, help. */
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "tool.h"

#define SHOWN 64 /* of a word that is wrong */

int tool_usage(const struct tool_args *args, const char *fmt, ...)
{
	va_list list;

	fprintf(stderr, "kvferry %s: ", args->command);
	va_start(list, fmt);
	vfprintf(stderr, fmt, list);
	va_end(list);
	fprintf(stderr, "\nSee kvferry %s --help.\n", args->command);
	return TOOL_USAGE;
}

/* The option that `arg` names, n_opts for none; *value is what follows its '=', or NULL. */
static size_t find(const struct tool_args *args, const char *arg, const char **value)
{
	const char *equals = strchr(arg, '=');
	size_t n = equals ? (size_t)(equals - arg) : strlen(arg);

	*value = equals ? equals + 1 : NULL;
	for (size_t i = 0; i < args->n_opts; i++) {
		if (strlen(args->opts[i].name) == n && strncmp(arg, args->opts[i].name, n) == 0)
			return i;
	}
	return args->n_opts;
}

static int take(struct tool_args *args, size_t i, const char *value)
{
	const struct tool_opt *opt = &args->opts[i];

	if (!opt->value && value)
		return tool_usage(args, "%s: takes no value", opt->name);
	if (args->given[i] && !opt->many)
		return tool_usage(args, "%s: given twice", opt->name);
	args->given[i] = value ? value : "";
	return opt->many && args->each ? args->each(args->each_arg, i, value) : TOOL_OK;
}

int tool_args_parse(struct tool_args *args, int argc, char **argv)
{
	bool options = true;

	for (int i = 1; i < argc; i++) {
		const char *value;
		size_t opt;
		int rc;

		if (options && strcmp(argv[i], "--") == 0) {
			options = false;
			continue;
		}
		if (!options || argv[i][0] != '-' || argv[i][1] == '\0') {
			if (args->n_rest == TOOL_MAX_REST)
				return tool_usage(args, "more than %d arguments", TOOL_MAX_REST);
			args->rest[args->n_rest++] = argv[i];
			continue;
		}
		opt = find(args, argv[i], &value);
		if (opt == args->n_opts)
			return tool_usage(args, "unknown option '%.*s'", SHOWN, argv[i]);
		if (args->opts[opt].value && !value) {
			if (i + 1 >= argc)
				return tool_usage(args, "%s: needs a value", args->opts[opt].name);
			value = argv[++i];
		}
		rc = take(args, opt, value);
		if (rc != TOOL_OK)
			return rc;
	}
	return TOOL_OK;
}

void tool_args_help(const struct tool_args *args, FILE *out)
{
	char left[64];

	fprintf(out, "usage: kvferry %s %s\n", args->command, args->synopsis);
	if (args->intro)
		fprintf(out, "%s", args->intro);
	for (size_t i = 0; i < args->n_opts; i++) {
		snprintf(left, sizeof(left), "%s%s%s", args->opts[i].name,
			args->opts[i].value ? " " : "",
			args->opts[i].value ? args->opts[i].value : "");
		fprintf(out, "  %-22s %s\n", left, args->opts[i].help);
	}
	fprintf(out, "Exit status: 0 fine, 1 something is wrong, 2 usage.\n");
}

bool tool_parse_u64(const char *text, uint64_t *out)
{
	uint64_t v = 0;

	if (*text == '\0')
		return false;
	for (; *text; text++) {
		uint64_t digit = (uint64_t)(*text - '0');

		if (*text < '0' || *text > '9' || v > (UINT64_MAX - digit) / 10)
			return false;
		v = v * 10 + digit;
	}
	*out = v;
	return true;
}

/* Shift of a unit, or -1. */
static int unit_shift(const char *unit)
{
	static const char letters[] = "KMGT";
	const char *at;

	if (*unit == '\0' || strcmp(unit, "B") == 0)
		return 0;
	at = strchr(letters, *unit);
	if (!at)
		return -1;
	unit++;
	if (*unit && strcmp(unit, "B") != 0 && strcmp(unit, "iB") != 0)
		return -1;
	return 10 * (int)(at - letters + 1);
}

bool tool_parse_size(const char *text, uint64_t *out)
{
	uint64_t whole = 0, part = 0, scale = 1, unit;
	const char *p = text;
	int shift;

	for (; *p >= '0' && *p <= '9'; p++) {
		if (whole > (UINT64_C(1) << 50))
			return false;
		whole = whole * 10 + (uint64_t)(*p - '0');
	}
	if (p == text)
		return false;
	if (*p == '.') {
		const char *first = ++p;

		for (; *p >= '0' && *p <= '9'; p++) {
			if (p - first == 9)
				return false;
			part = part * 10 + (uint64_t)(*p - '0');
			scale *= 10;
		}
		if (p == first)
			return false;
	}
	shift = unit_shift(p);
	if (shift < 0 || whole > (UINT64_MAX >> shift))
		return false;
	unit = UINT64_C(1) << shift;
	/* part * 2^40 may not fit: split it. */
	part = part * (unit >> (shift / 2)) / scale * (UINT64_C(1) << (shift / 2)) +
	       part * (unit >> (shift / 2)) % scale * (UINT64_C(1) << (shift / 2)) / scale;
	if (whole * unit > UINT64_MAX - part)
		return false;
	*out = whole * unit + part;
	return true;
}

int tool_arg_u64(
	const struct tool_args *args, size_t opt, uint64_t min, uint64_t max, uint64_t *out)
{
	const char *text = args->given[opt];
	uint64_t v;

	if (!text)
		return TOOL_OK;
	if (!tool_parse_u64(text, &v) || v < min || v > max)
		return tool_usage(args, "%s: '%.*s' is no number from %" PRIu64 " to %" PRIu64,
			args->opts[opt].name, SHOWN, text, min, max);
	*out = v;
	return TOOL_OK;
}

int tool_arg_size(
	const struct tool_args *args, size_t opt, uint64_t min, uint64_t max, uint64_t *out)
{
	const char *text = args->given[opt];
	char low[32], high[32];
	uint64_t v;

	if (!text)
		return TOOL_OK;
	if (!tool_parse_size(text, &v))
		return tool_usage(args, "%s: '%.*s' is no size (as in 4096, 256MiB, 1.5GB)",
			args->opts[opt].name, SHOWN, text);
	if (v < min || v > max)
		return tool_usage(args, "%s: %.*s is not between %s and %s", args->opts[opt].name,
			SHOWN, text, tool_size_text(low, sizeof(low), min),
			tool_size_text(high, sizeof(high), max));
	*out = v;
	return TOOL_OK;
}

int tool_arg_bool(const struct tool_args *args, size_t opt, bool *out)
{
	const char *text = args->given[opt];

	if (!text)
		return TOOL_OK;
	if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
		return tool_usage(args, "%s: '%.*s' is neither true nor false",
			args->opts[opt].name, SHOWN, text);
	*out = text[0] == 't';
	return TOOL_OK;
}

void tool_arg_text(const struct tool_args *args, size_t opt, const char **out)
{
	if (args->given[opt])
		*out = args->given[opt];
}
