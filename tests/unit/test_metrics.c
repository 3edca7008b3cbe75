/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metrics page: read back by a strict parser, its numbers against the statistics, and every
 * metric that the runbook, the alerts and the dashboard name is on it.
 */
#include "tests/harness.h"
#include "tests/memtier.h"
#include "tests/rig.h"
#include "tests/sim/simmem.h"
#include "tests/support/files.h"
#include "tests/support/prom.h"

#include <ctype.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "engine/engine.h"

#define FOUR (4 * RIG_CHUNK)

static uint64_t fake_now;

static uint64_t fake_clock(void *user)
{
	(void)user;
	return fake_now;
}

static const struct kvf_clock virtual_clock = {sizeof(virtual_clock), fake_clock, NULL};

static char *page_of(struct kvf_engine *e)
{
	int n = kvf_metrics_text(e, NULL, 0);
	char *text;

	CU_ASSERT_FATAL(n > 0);
	text = malloc((size_t)n + 1);
	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	CU_ASSERT_EQUAL(kvf_metrics_text(e, text, (size_t)n + 1), n);
	CU_ASSERT_EQUAL(strlen(text), (size_t)n);
	return text;
}

/* Parses the page of r; the caller frees both. */
static char *parse(struct rig *r, struct prom *prom)
{
	char *text = page_of(r->engine);
	int rc = prom_parse(prom, text);

	if (rc)
		fprintf(stderr, "metrics: %s\n", prom->error);
	CU_ASSERT_EQUAL(rc, 0);
	return text;
}

/* Some of everything over a tier that is made to look remote. */
static void open_used(struct rig *r, struct memtier *m)
{
	static struct kvf_custom_tier spec;

	memset(m, 0, sizeof(*m));
	m->caps = KVF_TIER_RECORDS;
	fake_now = 1000000000;
	spec = (struct kvf_custom_tier){&memtier_ops, m};
	rig_open(r, &(struct rig_options){
			    .slots = 16, .tiers = &spec, .n_tiers = 1, .clock = &virtual_clock});
	r->engine->tier[0].bit = KVF_TIER_REMOTE;
	rig_tokens(r, 1, FOUR);
	rig_compute(r, FOUR);
	CU_ASSERT_EQUAL(rig_lookup(r, 7, 0).tokens, 0);
	CU_ASSERT_EQUAL(rig_store(r, 0, FOUR, 0).tokens, FOUR);
	rig_flush(r);
	rig_remove(r, 0, FOUR, KVF_TIER_RAM);
	CU_ASSERT_EQUAL(rig_lookup(r, 0, 0).tokens, FOUR);
	CU_ASSERT_EQUAL(rig_retrieve(r, 0, FOUR, 0).tokens, FOUR);
}

static void close_used(struct rig *r, struct memtier *m)
{
	rig_close(r);
	memtier_free(m);
}

static void test_page(void)
{
	struct memtier m;
	struct prom prom;
	struct rig r;
	char *text;

	open_used(&r, &m);
	text = parse(&r, &prom);
	CU_ASSERT(prom.n_families > 70);
	CU_ASSERT_EQUAL(prom_value(&prom, "lmcache:num_lookup_requests_total", NULL), 2);
	CU_ASSERT_EQUAL(prom_value(&prom, "lmcache:lookup_0_hit_requests_total", NULL), 1);
	CU_ASSERT_EQUAL(prom_value(&prom, "lmcache:num_lookup_tokens_total", NULL), 2 * FOUR);
	CU_ASSERT_EQUAL(prom_value(&prom, "lmcache:num_lookup_hits_total", NULL), FOUR);
	CU_ASSERT_EQUAL(prom_value(&prom, "lmcache:lookup_hit_rate", NULL), 0.5);
	CU_ASSERT_EQUAL(prom_value(&prom, "lmcache:num_vllm_hit_tokens_total", NULL), 7);
	CU_ASSERT_EQUAL(prom_value(&prom, "lmcache:num_hit_tokens_total", NULL), FOUR);
	CU_ASSERT_EQUAL(prom_value(&prom, "lmcache:num_requested_tokens_total", NULL), FOUR);
	CU_ASSERT_EQUAL(prom_value(&prom, "lmcache:num_stored_tokens_total", NULL), FOUR);
	CU_ASSERT_EQUAL(prom_value(&prom, "lmcache:num_remote_read_requests_total", NULL), 4);
	CU_ASSERT_EQUAL(prom_value(&prom, "lmcache:time_to_retrieve_count", NULL), 1);
	CU_ASSERT_EQUAL(prom_value(&prom, "lmcache:lmcache_is_healthy", NULL), 1);
	CU_ASSERT_EQUAL(prom_value(&prom, "kvferry_tier_puts_total", "tier=\"mem"), 4);
	CU_ASSERT_EQUAL(prom_value(&prom, "kvferry_operations_total", "operation=\"store\""), 1);
	CU_ASSERT_EQUAL(
		prom_value(&prom, "kvferry_tier_request_seconds_count", "request=\"ask\""), 12);
	CU_ASSERT_EQUAL(
		prom_value(&prom, "kvferry_tier_request_seconds_count", "request=\"get\""), 4);
	CU_ASSERT_PTR_NOT_NULL(strstr(
		text, "{model_name=\"rig\",worker_id=\"0\",world_size=\"1\",operation=\"store\"}"));
	prom_free(&prom);
	free(text);
	close_used(&r, &m);
}

/* How long a get took is in its histogram, on the engine's clock. */
static void test_times(void)
{
	const char *name = "kvferry_tier_request_seconds_bucket";
	struct memtier m;
	struct prom prom;
	struct kvf_op op;
	struct rig r;
	uint64_t id;

	open_used(&r, &m);
	rig_remove(&r, 0, FOUR, KVF_TIER_RAM);
	m.hold = true;
	rig_prep(&r, &op, KVF_OP_RETRIEVE, 0, RIG_CHUNK);
	id = rig_submit(&r, &op);
	for (int i = 0; i < 10; i++)
		kvf_poll(r.engine, NULL, 0);
	fake_now += 200 * KVF_NS_PER_MS; /* exists */
	m.hold = false;
	CU_ASSERT_EQUAL(rig_await(&r, id).tokens, RIG_CHUNK);
	free(parse(&r, &prom));
	CU_ASSERT_EQUAL(prom_value(&prom, name, "request=\"ask\",le=\"0.100000000\""), 12);
	CU_ASSERT_EQUAL(prom_value(&prom, name, "request=\"ask\",le=\"0.250000000\""), 13);
	CU_ASSERT_EQUAL(prom_value(&prom, "lmcache:time_to_retrieve_sum", NULL), 0.2);
	prom_free(&prom);
	close_used(&r, &m);
}

static void test_buffer(void)
{
	char small[64];
	struct rig r;
	int n;

	rig_open(&r, &(struct rig_options){.slots = 16});
	n = kvf_metrics_text(r.engine, NULL, 0);
	memset(small, 'x', sizeof(small));
	CU_ASSERT_EQUAL(kvf_metrics_text(r.engine, small, 40), n);
	CU_ASSERT_EQUAL(strlen(small), 39);
	CU_ASSERT_EQUAL(small[40], 'x');
	CU_ASSERT_EQUAL(kvf_metrics_text(r.engine, small, 1), n);
	CU_ASSERT_EQUAL(small[0], '\0');
	CU_ASSERT_EQUAL(kvf_metrics_text(r.engine, NULL, 1), KVF_EINVAL);
	CU_ASSERT_EQUAL(kvf_metrics_text(NULL, small, 1), KVF_EINVAL);
	rig_close(&r);
}

/* A name that would break the page, and a locale that would. */
static void test_labels(void)
{
	static char name[] = "a\"b\\c\nd\x01\xc3\xa4\xff\xe2\x82";
	struct prom prom;
	char *model, *text;
	struct rig r;

	rig_open(&r, &(struct rig_options){.slots = 16});
	model = r.engine->model;
	r.engine->model = name;
	rig_tokens(&r, 1, 3 * RIG_CHUNK);
	rig_compute(&r, 3 * RIG_CHUNK);
	rig_store(&r, 0, RIG_CHUNK, 0);
	rig_lookup(&r, 0, 0);
	(void)setlocale(LC_ALL, "de_DE.UTF-8");
	text = parse(&r, &prom);
	(void)setlocale(LC_ALL, "C");
	CU_ASSERT_PTR_NOT_NULL(
		strstr(text, "{model_name=\"a\\\"b\\\\c\\nd?\xc3\xa4???\",worker_id"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "} 0.333333\n"));
	prom_free(&prom);
	free(text);
	r.engine->model = model;
	rig_close(&r);
}

static void test_health(void)
{
	struct prom prom;
	struct rig r;

	rig_open(&r, &(struct rig_options){.slots = 16});
	r.engine->device_lost = true;
	free(parse(&r, &prom));
	CU_ASSERT_EQUAL(prom_value(&prom, "lmcache:lmcache_is_healthy", NULL), 0);
	CU_ASSERT_EQUAL(prom_value(&prom, "kvferry_condition", "condition=\"device_lost\""), 1);
	CU_ASSERT_EQUAL(prom_value(&prom, "kvferry_condition", "condition=\"dead\""), 0);
	r.engine->device_lost = false;
	prom_free(&prom);
	rig_close(&r);
}

/* ---- memory ---- */

/* An open that runs out of memory anywhere, histograms included, gives all back. */
static void test_memory(void)
{
	struct simmem host;
	struct kvf_custom_tier spec;
	struct memtier m;
	uint64_t k;
	int rc = KVF_ENOMEM;

	simmem_init(&host, 1);
	for (k = 0; rc != KVF_OK && k < 2000; k++) {
		struct rig r;

		memset(&m, 0, sizeof(m));
		m.caps = KVF_TIER_RECORDS;
		spec = (struct kvf_custom_tier){&memtier_ops, &m};
		simmem_allow(&host, k);
		rc = rig_try_open(&r, &(struct rig_options){.slots = 16,
					      .tiers = &spec,
					      .n_tiers = 1,
					      .allocator = &host.allocator});
		simmem_allow(&host, SIMMEM_ANY); /* checking takes some too */
		if (rc == KVF_OK)
			rig_close(&r);
		else
			CU_ASSERT_EQUAL(rc, KVF_ENOMEM);
		CU_ASSERT_EQUAL(host.live_blocks, 0);
	}
	CU_ASSERT(rc == KVF_OK && k > 30);
}

/* ---- what the papers name ---- */

static bool starts(const char *s, const char *head)
{
	return strncmp(s, head, strlen(head)) == 0;
}

static struct prom served; /* the page of an engine with a server */

static void check_name(const struct prom *prom, const char *file, char *name)
{
	static const char *const ends[] = {"_bucket", "_sum", "_count"};
	bool found = prom_has(prom, name) || prom_has(&served, name);

	for (size_t i = 0; !found && i < KVF_ARRAY_LEN(ends); i++) {
		size_t n = strlen(name), m = strlen(ends[i]);

		if (n > m && strcmp(name + n - m, ends[i]) == 0)
			found = prom_value(prom, name, NULL) >= 0;
	}
	if (!found)
		fprintf(stderr, "%s: no metric %s\n", file, name);
	CU_ASSERT(found);
}

/* Every name of a metric in the file exists. Returns how many there were. */
static unsigned check_file(const struct prom *prom, const char *file)
{
	char *text = file_of_source(file);
	unsigned n = 0;

	for (char *s = text; *s;) {
		char name[96];
		size_t len = 0;

		if (!starts(s, "lmcache:") && !starts(s, "kvferry_")) {
			s++;
			continue;
		}
		while (isalnum((unsigned char)s[len]) || s[len] == '_' || s[len] == ':')
			len++;
		snprintf(name, sizeof(name), "%.*s", (int)len, s);
		check_name(prom, file, name);
		s += len;
		n++;
	}
	free(text);
	return n;
}

static void test_papers(void)
{
	struct memtier m;
	struct prom prom;
	struct rig r;

	/* Nobody listens there. */
	rig_open(&r, &(struct rig_options){
			     .slots = 16, .extra_key = "remote_url", .extra_value = "redis://127.0.0.1:1"});
	free(parse(&r, &served));
	rig_close(&r);
	open_used(&r, &m);
	free(parse(&r, &prom));
	CU_ASSERT(check_file(&prom, "docs/runbook.md") > 40);
	CU_ASSERT(check_file(&prom, "docs/remote.md") > 6);
	CU_ASSERT(check_file(&prom, "contrib/prometheus/alerts.yml") > 15);
	CU_ASSERT(check_file(&prom, "contrib/grafana/kvferry.json") > 40);
	prom_free(&prom);
	prom_free(&served);
	close_used(&r, &m);
}

/* Every alert has its row in the runbook, and every row its section. */
static void test_runbook(void)
{
	char *runbook = file_of_source("docs/runbook.md");
	char *alerts = file_of_source("contrib/prometheus/alerts.yml");
	char *s = alerts;
	unsigned n = 0;

	while ((s = strstr(s, "- alert: ")) != NULL) {
		char name[64], section[16];
		size_t len = strcspn(s + 9, "\n");

		snprintf(name, sizeof(name), "| %.*s |", (int)len, s + 9);
		if (!strstr(runbook, name))
			fprintf(stderr, "runbook: no %s\n", name);
		CU_ASSERT_PTR_NOT_NULL(strstr(runbook, name));
		snprintf(section, sizeof(section), "\n## %u. ", ++n);
		CU_ASSERT_PTR_NOT_NULL(strstr(runbook, section));
		s++;
	}
	CU_ASSERT_EQUAL(n, 10);
	free(runbook);
	free(alerts);
}

static int run_tool(const char *command, const char *text)
{
	FILE *out = popen(command, "w");

	if (!out)
		return -1;
	if (text)
		(void)fwrite(text, 1, strlen(text), out);
	return WEXITSTATUS(pclose(out));
}

static void test_promtool(void)
{
	char command[1200];
	struct memtier m;
	struct rig r;
	char *text;
	int rc;

	if (run_tool("command -v promtool >/dev/null", NULL) != 0) {
		kvf_test_skip(
			"promtool is not installed: the page was read by our own parser only");
		return;
	}
	open_used(&r, &m);
	text = page_of(r.engine);
	rc = run_tool("promtool check metrics >/dev/null 2>&1", text);
	/* 3: it could be read, but the linter dislikes something: the colons of LMCache's names. */
	CU_ASSERT(rc == 0 || rc == 3);
	free(text);
	close_used(&r, &m);
	snprintf(command, sizeof(command),
		"promtool check rules '%s/contrib/prometheus/alerts.yml'", kvf_test_srcdir());
	CU_ASSERT_EQUAL(run_tool(command, NULL), 0);
}

/* ---- the parser itself: it must say no ---- */

static void test_parser(void)
{
	static const char *const bad[] = {
		"a{x=\"1\"} 1\n",
		"# HELP a_total h\n# TYPE a_total gauge\na_total{x=\"1\"} 1\n",
		"# HELP a h\n# TYPE a counter\na{x=\"1\"} 1\n",
		"# HELP a h\n# TYPE a gauge\na{x=\"1\"} 1",
		"# HELP a h\n# TYPE a gauge\na{x=\"1\"} 1\na{x=\"1\"} 2\n",
		"# HELP a h\n# TYPE a gauge\na{x=\"1} 1\n",
		"# HELP a h\n# TYPE a gauge\na{x=\"\\q\"} 1\n",
		"# HELP a h\n# TYPE a gauge\na{x=\"1\"} 0,5\n",
		"# HELP a h\n# TYPE a gauge\nb{x=\"1\"} 1\n",
		"# HELP a h\n# TYPE a gauge\na{x=\"1\"} 1\n# HELP a h\n# TYPE a gauge\n",
		"# TYPE a gauge\n# HELP a h\na{x=\"1\"} 1\n",
		"# HELP a h\n# TYPE a histogram\na_bucket{x=\"1\",le=\"1\"} 1\na_sum{x=\"1\"} "
		"1\na_count{x=\"1\"} 1\n",
		"# HELP a h\n# TYPE a histogram\na_bucket{x=\"1\",le=\"1\"} "
		"2\na_bucket{x=\"1\",le=\"+Inf\"} "
		"1\na_sum{x=\"1\"} 1\na_count{x=\"1\"} 1\n",
		"# HELP a h\n# TYPE a histogram\na_bucket{x=\"1\",le=\"+Inf\"} 1\na_sum{x=\"1\"} "
		"1\na_count{x=\"1\"} 2\n",
	};
	struct prom prom;

	for (size_t i = 0; i < KVF_ARRAY_LEN(bad); i++) {
		CU_ASSERT_EQUAL(prom_parse(&prom, bad[i]), -1);
		CU_ASSERT_NOT_EQUAL(prom.error[0], '\0');
		prom_free(&prom);
	}
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"page", test_page},
		{"times", test_times},
		{"buffer", test_buffer},
		{"labels", test_labels},
		{"health", test_health},
		{"memory", test_memory},
		{"papers", test_papers},
		{"runbook", test_runbook},
		{"promtool", test_promtool},
		{"parser", test_parser},
	};

	return kvf_test_main("metrics", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
