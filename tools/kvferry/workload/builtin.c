/* SPDX-License-Identifier: Apache-2.0 */
/* The table of built-in workloads and the parser of `builtin:NAME[,key=value]...`. */
#include "workload/builtin.h"

#include <string.h>

static const struct wl_builtin *const builtins[] = {&wl_builtin_agentic, &wl_builtin_long_doc_qa,
	&wl_builtin_multi_round_chat, &wl_builtin_random_prefill, &wl_builtin_scan,
	&wl_builtin_prefix_suffix_tuner};

#define BUILTIN_COUNT (sizeof(builtins) / sizeof(builtins[0]))

static void print_milli(FILE *out, uint64_t v)
{
	if (v % 1000 == 0)
		fprintf(out, "%llu", (unsigned long long)(v / 1000));
	else
		fprintf(out, "%llu.%03u", (unsigned long long)(v / 1000), (unsigned)(v % 1000));
}

void wl_builtin_help(FILE *out)
{
	for (size_t i = 0; i < BUILTIN_COUNT; i++) {
		fprintf(out, "builtin:%s\n    %s\n", builtins[i]->name, builtins[i]->meaning);
		for (const struct wl_param *p = builtins[i]->params; p->name; p++) {
			fprintf(out, "    %s=", p->name);
			print_milli(out, p->preset);
			fprintf(out, "  %s\n", p->meaning);
		}
	}
}

static const struct wl_builtin *find(const char *name, size_t len)
{
	for (size_t i = 0; i < BUILTIN_COUNT; i++) {
		if (strlen(builtins[i]->name) == len && memcmp(builtins[i]->name, name, len) == 0)
			return builtins[i];
	}
	return NULL;
}

/* Decimal with up to three digits after the point, in thousandths. 0 or -1. */
static int parse_milli(const char *text, size_t len, uint64_t *out)
{
	uint64_t v = 0;
	int places = -1;

	for (size_t i = 0; i < len; i++) {
		if (text[i] == '.' && places < 0 && i > 0 && i + 1 < len) {
			places = 0;
			continue;
		}
		if (text[i] < '0' || text[i] > '9' || places == 3 || v > UINT64_MAX / 10000 - 10)
			return -1;
		v = v * 10 + (uint64_t)(text[i] - '0');
		places += places >= 0;
	}
	for (int i = places < 0 ? 0 : places; i < 3; i++)
		v *= 10;
	*out = v;
	return len > 0 ? 0 : -1;
}

static int set_param(const struct wl_builtin *b, struct wl_params *params, const char *text,
	size_t len, struct wl_error *error)
{
	const char *equals = memchr(text, '=', len);
	size_t name_len = equals ? (size_t)(equals - text) : len;
	uint64_t v;

	for (size_t i = 0; b->params[i].name; i++) {
		const struct wl_param *p = &b->params[i];

		if (strlen(p->name) != name_len || memcmp(p->name, text, name_len) != 0)
			continue;
		if (!equals || parse_milli(equals + 1, len - name_len - 1, &v) != 0 ||
			(p->whole && v % 1000 != 0))
			return wl_fail(error, KVF_EINVAL, "builtin:%s: %.*s: must be %s=%s",
				b->name, (int)len, text, p->name,
				p->whole ? "whole number" : "number with up to 3 decimals");
		if (v < p->min || v > p->max)
			return wl_fail(error, KVF_ERANGE,
				"builtin:%s: %.*s: must be from %llu.%03u to %llu", b->name,
				(int)len, text, (unsigned long long)(p->min / 1000),
				(unsigned)(p->min % 1000), (unsigned long long)(p->max / 1000));
		params->value[i] = v;
		return KVF_OK;
	}
	return wl_fail(error, KVF_EINVAL, "builtin:%s: no parameter \"%.*s\"", b->name,
		(int)name_len, text);
}

static int unknown(const char *spec, size_t len, struct wl_error *error)
{
	char names[256];
	size_t at = 0;

	names[0] = 0;
	for (size_t i = 0; i < BUILTIN_COUNT && at < sizeof(names); i++)
		at += (size_t)snprintf(
			names + at, sizeof(names) - at, "%s%s", i ? ", " : "", builtins[i]->name);
	return wl_fail(
		error, KVF_EINVAL, "builtin:%.*s: unknown; there are %s", (int)len, spec, names);
}

int wl_builtin_open(const char *spec, uint64_t seed, uint32_t block_tokens, struct wl_source **out,
	struct wl_error *error)
{
	const char *name = spec + strlen("builtin:");
	size_t len = strcspn(name, ",");
	const struct wl_builtin *b = find(name, len);
	struct wl_params params = {{0}};
	int rc;

	if (!b)
		return unknown(name, len < 64 ? len : 64, error);
	for (size_t i = 0; b->params[i].name; i++)
		params.value[i] = b->params[i].preset;
	for (const char *p = name + len; *p == ','; p += len) {
		p++;
		len = strcspn(p, ",");
		rc = set_param(b, &params, p, len, error);
		if (rc != KVF_OK)
			return rc;
	}
	return b->open(&params, seed, block_tokens ? block_tokens : b->block_tokens, out, error);
}
