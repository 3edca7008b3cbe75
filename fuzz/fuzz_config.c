/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file and an environment of any text. The first byte makes the so-maniest allocation fail (0:
 * none); then comes the file, a line "%%", and variables, NAME=value, one a line. A wrong input is
 * refused, a right one is kept in a form that passes its own checks, and a failure leaves nothing
 * behind.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/report.h"
#include "config/quota.h"
#include "config/load.h"
#include "config/state.h"
#include "config/value.h"
#include "kvferry/kvferry.h"

#define SIZE_MAX_FUZZED ((size_t)1 << 16)
#define VARIABLES_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
	uint64_t allocs;
	uint64_t fail_at;
	int64_t blocks;
	char *names[VARIABLES_MAX];
	char *values[VARIABLES_MAX];
	size_t n;
};

#define MUST(x)                                                                                    \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                    \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

static void *run_alloc(size_t n, void *user)
{
	struct run *run = user;
	void *p = ++run->allocs == run->fail_at ? NULL : malloc(n);

	run->blocks += p != NULL;
	return p;
}

static void run_release(void *p, size_t n, void *user)
{
	struct run *run = user;

	(void)n;
	run->blocks--;
	free(p);
}

static const char *run_get(const char *name, void *user)
{
	const struct run *run = user;

	for (size_t i = 0; i < run->n; i++)
		if (strcmp(run->names[i], name) == 0)
			return run->values[i];
	return NULL;
}

static void run_each(
	void (*fn)(const char *name, const char *value, void *arg), void *arg, void *user)
{
	const struct run *run = user;

	for (size_t i = 0; i < run->n; i++)
		fn(run->names[i], run->values[i], arg);
}

/* Splits "NAME=value" lines in place. */
static void split_variables(struct run *run, char *text)
{
	while (text && *text && run->n < VARIABLES_MAX) {
		char *end = strchr(text, '\n');
		char *equals;

		if (end)
			*end = '\0';
		equals = strchr(text, '=');
		if (equals && equals != text) {
			*equals = '\0';
			run->names[run->n] = text;
			run->values[run->n++] = equals + 1;
		}
		text = end ? end + 1 : NULL;
	}
}

/* What is kept passes the same checks again, unchanged: a saved configuration could be loaded. */
static void check_kept(const struct kvf_state *state)
{
	for (size_t i = 0; i < kvf_schema_count(); i++) {
		const struct kvf_key *key = kvf_schema_at(i);
		const char *kept = state->slots[i].given ? state->slots[i].text : NULL;
		struct kvf_verdict verdict;
		size_t n = kept ? strlen(kept) : 0;
		char *copy;

		if (!n || key->type == KVF_TYPE_MAP)
			continue;
		copy = malloc(n + 1 + KVF_VALUE_SLACK);
		MUST(copy);
		memcpy(copy, kept, n + 1);
		MUST(kvf_value_normalise(key, copy, KVF_FORM_TEXT, &verdict) == KVF_OK);
		MUST(strcmp(copy, kept) == 0);
		free(copy);
	}
}

/* Every entry of a kept list of quotas can be read, to its end. */
static void check_quotas(const char *list)
{
	struct kvf_quota quota;

	while (kvf_quota_next(&list, &quota))
		MUST(quota.salt[0] && quota.bytes > 0 && kvf_quota_of(list, quota.salt) == 0);
	MUST(*list == '\0');
}

static void check_settings(const struct kvf_settings *s)
{
	MUST(s->chunk_size >= 1 && s->chunk_size <= 65536);
	MUST(s->max_local_cpu_bytes > 0 && s->blocking_timeout_ns > 0);
	MUST(s->cache_policy <= KVF_POLICY_MRU && s->numa_mode <= 2 && s->aio <= 3);
	MUST(s->log_level <= KVF_LOG_DEBUG && s->max_ops >= 1);
	MUST(s->local_disk && s->remote_url && s->gpu_to_numa_mapping && s->python_hash_seed);
	MUST(strcmp(s->remote_serde, "naive") == 0 || !*s->remote_serde);
	check_quotas(s->quota_min);
	check_quotas(s->quota_max);
}

static void see_item(const struct kvf_config_item *item, void *arg)
{
	char buf[16];

	MUST(item->key && item->value && item->origin);
	if (!item->explicit_)
		return; /* nothing an input could have changed */
	MUST(kvf_config_get(arg, item->key, buf, sizeof(buf)) >= 0);
	MUST(kvf_config_origin(arg, item->key));
}

static int load(struct kvf_config *config, struct run *run, const char *yaml, size_t n,
	struct kvf_report *report)
{
	const struct kvf_environment environment = {run_get, run_each, run};
	struct kvf_apply apply = {.report = report, .source = KVF_FROM_FILE, .pass = 1};
	int rc = kvf_state_clone(config->state, &apply.state);

	if (rc != KVF_OK)
		return rc;
	rc = kvf_load_text(&apply, "fuzz.yaml", yaml, n);
	apply.source = KVF_FROM_ENV;
	apply.pass = 2;
	if (rc == KVF_OK)
		rc = kvf_load_environment(&apply, &environment);
	MUST(report->errors == apply.errors);
	if (rc != KVF_OK || apply.errors) {
		kvf_state_destroy(apply.state);
		return rc != KVF_OK ? rc : KVF_ECONFIG;
	}
	kvf_state_derive(apply.state);
	kvf_state_destroy(config->state);
	config->state = apply.state;
	return KVF_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run run = {0};
	const struct kvf_allocator allocator = {sizeof(allocator), run_alloc, run_release, &run};
	struct kvf_report report;
	struct kvf_config *config;
	char text[2048];
	char *input;
	char *mark;
	size_t n;

	if (size < 1 || size > SIZE_MAX_FUZZED)
		return 0;
	n = size - 1;
	input = malloc(size);
	MUST(input);
	memcpy(input, data + 1, n);
	input[n] = '\0';
	mark = memmem(input, n, "\n%%\n", 4);
	if (mark) {
		n = (size_t)(mark - input);
		split_variables(&run, mark + 4);
	}
	kvf_report_init(&report, text, sizeof(text));
	MUST(kvf_config_create(&config, &allocator) == KVF_OK);
	run.fail_at = data[0] ? run.allocs + data[0] : 0;
	if (load(config, &run, input, n, &report) == KVF_OK) {
		check_kept(config->state);
		kvf_config_each(config, see_item, config);
		kvf_config_check(config, &report);
	}
	check_settings(kvf_config_settings(config));
	MUST(strlen(text) == report.text_used && report.text_used < sizeof(text));
	kvf_config_destroy(config);
	MUST(run.blocks == 0);
	free(input);
	return 0;
}
