/* SPDX-License-Identifier: Apache-2.0 */
/* See prom.h. */
#include "tests/support/prom.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FAMILIES 256

enum kind { COUNTER, GAUGE, HISTOGRAM };

struct reader {
	struct prom *prom;
	size_t cap;
	unsigned line;
	char family[96];
	enum kind kind;
	bool typed; /* TYPE of the family was seen, its HELP came before */
	char seen[MAX_FAMILIES][96];
	size_t n_seen;
	size_t family_first; /* first sample of the family */
};

static int fail(struct reader *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int fail(struct reader *r, const char *fmt, ...)
{
	va_list args;
	int n = snprintf(r->prom->error, sizeof(r->prom->error), "line %u: ", r->line);

	va_start(args, fmt);
	vsnprintf(r->prom->error + n, sizeof(r->prom->error) - (size_t)n, fmt, args);
	va_end(args);
	return -1;
}

static size_t name_length(const char *s, bool colon)
{
	size_t n = 0;

	while (isalpha((unsigned char)s[n]) || s[n] == '_' || (colon && s[n] == ':') ||
		(n && isdigit((unsigned char)s[n])))
		n++;
	return n;
}

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n > m && strcmp(s + n - m, end) == 0;
}

/* ---- the end of a family ---- */

static const char *le_of(const struct prom_sample *s)
{
	const char *le = strstr(s->labels, "le=\"");

	return le ? le + 4 : NULL;
}

/* Labels without le, for telling series apart. */
static void series_of(const struct prom_sample *s, char out[512])
{
	char *le;

	snprintf(out, 512, "%s", s->labels);
	le = strstr(out, ",le=\"");
	if (le)
		*le = '\0';
}

static int check_series(struct reader *r, size_t at, size_t *next)
{
	const struct prom_sample *s = r->prom->sample;
	char series[512], other[512];
	double last = -1, bound = -1;
	bool inf = false;

	series_of(&s[at], series);
	for (; at < r->prom->n && ends_with(s[at].name, "_bucket"); at++) {
		const char *le = le_of(&s[at]);
		double here;

		series_of(&s[at], other);
		if (strcmp(series, other) != 0 || !le || inf)
			return fail(r, "%s: buckets of %s do not end with +Inf", r->family, series);
		inf = strncmp(le, "+Inf\"", 5) == 0;
		here = inf ? 1e300 : strtod(le, NULL);
		if (here <= bound || s[at].value < last)
			return fail(r, "%s: buckets of %s are not in order", r->family, series);
		bound = here;
		last = s[at].value;
	}
	if (!inf || at + 2 > r->prom->n || !ends_with(s[at].name, "_sum") ||
		!ends_with(s[at + 1].name, "_count") || strcmp(s[at].labels, series) != 0 ||
		strcmp(s[at + 1].labels, series) != 0 || s[at + 1].value != last)
		return fail(r, "%s: no sum and count as they should be of %s", r->family, series);
	*next = at + 2;
	return 0;
}

static int end_family(struct reader *r)
{
	size_t at = r->family_first;

	if (!r->family[0])
		return 0;
	if (!r->typed)
		return fail(r, "%s has no TYPE", r->family);
	while (r->kind == HISTOGRAM && at < r->prom->n) {
		if (!ends_with(r->prom->sample[at].name, "_bucket"))
			return fail(r, "%s: a series does not begin with its buckets", r->family);
		if (check_series(r, at, &at))
			return -1;
	}
	for (size_t i = r->family_first; i < r->prom->n; i++) {
		for (size_t j = i + 1; j < r->prom->n; j++) {
			if (strcmp(r->prom->sample[i].name, r->prom->sample[j].name) == 0 &&
				strcmp(r->prom->sample[i].labels, r->prom->sample[j].labels) == 0)
				return fail(
					r, "%s{%s} twice", r->family, r->prom->sample[i].labels);
		}
	}
	return 0;
}

/* ---- comments ---- */

static int begin_family(struct reader *r, const char *name, size_t n)
{
	if (end_family(r))
		return -1;
	snprintf(r->family, sizeof(r->family), "%.*s", (int)n, name);
	for (size_t i = 0; i < r->n_seen; i++) {
		if (strcmp(r->seen[i], r->family) == 0)
			return fail(r, "%s for the second time", r->family);
	}
	if (r->n_seen == MAX_FAMILIES)
		return fail(r, "too many families");
	memcpy(r->seen[r->n_seen++], r->family, sizeof(r->family));
	r->prom->n_families++;
	r->typed = false;
	r->family_first = r->prom->n;
	return 0;
}

static int read_type(struct reader *r, const char *type)
{
	static const char *const names[] = {"counter", "gauge", "histogram"};

	if (r->typed || r->prom->n != r->family_first)
		return fail(r, "TYPE of %s comes late or twice", r->family);
	for (int k = COUNTER; k <= HISTOGRAM; k++) {
		if (strcmp(type, names[k]) != 0)
			continue;
		r->kind = (enum kind)k;
		r->typed = true;
		if ((k == COUNTER) != ends_with(r->family, "_total"))
			return fail(r, "%s: a counter ends with _total and only a counter does",
				r->family);
		return 0;
	}
	return fail(r, "type %s", type);
}

static int read_comment(struct reader *r, const char *s)
{
	bool help = strncmp(s, "# HELP ", 7) == 0;
	size_t n;

	if (!help && strncmp(s, "# TYPE ", 7) != 0)
		return fail(r, "a comment that is neither HELP nor TYPE");
	s += 7;
	n = name_length(s, true);
	if (!n || n >= sizeof(r->family) || s[n] != ' ' || !s[n + 1])
		return fail(r, "HELP or TYPE without a name or a text");
	if (help)
		return begin_family(r, s, n);
	if (strlen(r->family) != n || strncmp(r->family, s, n) != 0)
		return fail(r, "TYPE without its HELP before");
	return read_type(r, s + n + 1);
}

/* ---- samples ---- */

/* s is behind the opening brace. Returns what follows the closing one, NULL where that is wrong. */
static const char *skip_labels(const char *s)
{
	for (;;) {
		size_t n = name_length(s, false);

		if (!n || s[n] != '=' || s[n + 1] != '"')
			return NULL;
		for (s += n + 2; *s != '"'; s++) {
			if (*s == '\\' && !strchr("\\\"n", *++s))
				return NULL;
			if ((unsigned char)*s < 0x20)
				return NULL;
		}
		if (*++s == '}')
			return s + 1;
		if (*s++ != ',')
			return NULL;
	}
}

static bool belongs(const struct reader *r, const char *name)
{
	size_t n = strlen(r->family);

	if (strncmp(name, r->family, n) != 0)
		return false;
	if (r->kind != HISTOGRAM)
		return name[n] == '\0';
	return strcmp(name + n, "_bucket") == 0 || strcmp(name + n, "_sum") == 0 ||
	       strcmp(name + n, "_count") == 0;
}

static struct prom_sample *new_sample(struct reader *r)
{
	struct prom_sample *grown;

	if (r->prom->n == r->cap) {
		r->cap = r->cap ? 2 * r->cap : 256;
		grown = realloc(r->prom->sample, r->cap * sizeof(*grown));
		if (!grown)
			return NULL;
		r->prom->sample = grown;
	}
	grown = &r->prom->sample[r->prom->n++];
	memset(grown, 0, sizeof(*grown));
	return grown;
}

static int read_sample(struct reader *r, const char *s)
{
	size_t n = name_length(s, true);
	const char *labels = s + n + 1, *end;
	struct prom_sample *sample = new_sample(r);
	char *rest;

	if (!sample || !n || n >= sizeof(sample->name) || s[n] != '{')
		return fail(r, "no sample: %.40s", s);
	end = skip_labels(labels);
	if (!end || *end != ' ' || (size_t)(end - labels) > sizeof(sample->labels))
		return fail(r, "labels of %.40s", s);
	memcpy(sample->name, s, n);
	memcpy(sample->labels, labels, (size_t)(end - labels) - 1);
	if (!r->typed || !belongs(r, sample->name))
		return fail(r, "%s is not of the family %s", sample->name, r->family);
	if (!isdigit((unsigned char)end[1]))
		return fail(r, "value of %s: %s", sample->name, end + 1);
	sample->value = strtod(end + 1, &rest);
	if (*rest)
		return fail(r, "%s: %s behind the value", sample->name, rest);
	return 0;
}

int prom_parse(struct prom *prom, const char *text)
{
	struct reader *r = calloc(1, sizeof(*r));
	int rc = 0;

	memset(prom, 0, sizeof(*prom));
	if (!r)
		return -1;
	r->prom = prom;
	while (*text && !rc) {
		const char *end = strchr(text, '\n');
		char line[2048];

		r->line++;
		if (!end || (size_t)(end - text) >= sizeof(line)) {
			rc = fail(r, "no end");
			break;
		}
		snprintf(line, sizeof(line), "%.*s", (int)(end - text), text);
		rc = line[0] == '#' ? read_comment(r, line) : read_sample(r, line);
		text = end + 1;
	}
	if (!rc)
		rc = end_family(r);
	free(r);
	return rc;
}

void prom_free(struct prom *prom)
{
	free(prom->sample);
	memset(prom, 0, sizeof(*prom));
}

double prom_value(const struct prom *prom, const char *name, const char *label)
{
	for (size_t i = 0; i < prom->n; i++) {
		if (strcmp(prom->sample[i].name, name) == 0 &&
			(!label || strstr(prom->sample[i].labels, label)))
			return prom->sample[i].value;
	}
	return -1;
}

bool prom_has(const struct prom *prom, const char *family)
{
	char name[128];

	snprintf(name, sizeof(name), "%s_bucket", family);
	return prom_value(prom, family, NULL) >= 0 || prom_value(prom, name, NULL) >= 0;
}
