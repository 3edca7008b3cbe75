/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The real traces below KVF_TRACES: their published figures, and the hit rates of a small LRU model
 * written here, which shares no code with the cache (tests/interop/lru_model.py is the same in
 * Python). Skipped where KVF_TRACES is unset.
 */
#include "tests/harness.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "workload/rng.h"
#include "workload/source.h"

#define SLOTS (UINT32_C(1) << 19) /* more than the trace has blocks */

static struct wl_error error;

/* A path below KVF_TRACES, or NULL when the test is to be skipped. */
static const char *trace(const char *name)
{
	static char path[4096];
	const char *dir = getenv("KVF_TRACES");

	if (!dir || !*dir) {
		kvf_test_skip("KVF_TRACES is not set: no real traces");
		return NULL;
	}
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (access(path, R_OK) != 0) {
		kvf_test_skip("%s is not there", path);
		return NULL;
	}
	return path;
}

static struct workload *open_trace(const char *path)
{
	struct wl_options o = {.sources = &path, .source_count = 1};
	struct workload *w = NULL;
	int rc = wl_open(&w, &o, &error);

	if (rc != KVF_OK)
		printf("%s\n", error.text);
	CU_ASSERT_EQUAL_FATAL(rc, KVF_OK);
	return w;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void test_mooncake_figures(void)
{
	const char *path = trace("mooncake/conversation_trace.jsonl");
	uint64_t *tokens = calloc(13000, sizeof(*tokens));
	struct wl_request r;
	struct workload *w;
	size_t n = 0;
	int rc;

	if (!path) {
		free(tokens);
		return;
	}
	w = open_trace(path);
	while ((rc = wl_next(w, &r)) == 1 && n < 13000)
		tokens[n++] = r.prompt_tokens;
	CU_ASSERT_EQUAL(rc, 0);
	CU_ASSERT_EQUAL(n, 12031);
	CU_ASSERT_EQUAL(wl_totals(w)->last_arrival_ns / 1000000000,
		3536 + (wl_totals(w)->last_arrival_ns >= 3537000000000));
	CU_ASSERT_EQUAL(wl_totals(w)->prompt_tokens / n, 12035);
	CU_ASSERT_EQUAL(wl_totals(w)->max_prompt_tokens, 126195);
	qsort(tokens, n, sizeof(*tokens), by_value);
	CU_ASSERT_EQUAL(tokens[n / 2], 6909);
	CU_ASSERT_EQUAL(tokens[n * 99 / 100] / 10, 8540);
	wl_close(w);
	free(tokens);
}

/* LRU over block ids: open addressing, doubly linked by slot, no deletion from the table. */
struct lru {
	uint64_t id[SLOTS];
	uint32_t next[SLOTS], prev[SLOTS];
	bool resident[SLOTS];
	uint32_t newest, oldest;
	size_t count, capacity;
};

static uint32_t lru_slot(struct lru *l, uint64_t id)
{
	uint32_t s = (uint32_t)wl_mix64(id) % SLOTS;

	while (l->id[s] != 0 && l->id[s] != id)
		s = (s + 1) % SLOTS;
	l->id[s] = id;
	return s;
}

static void lru_unlink(struct lru *l, uint32_t s)
{
	*(l->prev[s] == UINT32_MAX ? &l->oldest : &l->next[l->prev[s]]) = l->next[s];
	*(l->next[s] == UINT32_MAX ? &l->newest : &l->prev[l->next[s]]) = l->prev[s];
}

static void lru_link(struct lru *l, uint32_t s)
{
	l->prev[s] = l->newest;
	l->next[s] = UINT32_MAX;
	*(l->newest == UINT32_MAX ? &l->oldest : &l->next[l->newest]) = s;
	l->newest = s;
}

static void lru_touch(struct lru *l, uint32_t s)
{
	lru_unlink(l, s);
	lru_link(l, s);
}

static void lru_insert(struct lru *l, uint32_t s)
{
	if (l->count == l->capacity) {
		uint32_t victim = l->oldest;

		lru_unlink(l, victim);
		l->resident[victim] = false;
		l->count--;
	}
	l->resident[s] = true;
	l->count++;
	lru_link(l, s);
}

/* One request, as lru_model.py has it: touch the hit from its end, insert the rest, touch all from
 * the end. */
static size_t lru_request(struct lru *l, const struct wl_request *r)
{
	size_t n = (size_t)(r->prompt_tokens / r->block_tokens), hit = 0;

	while (hit < n && l->resident[lru_slot(l, r->blocks[hit])])
		hit++;
	for (size_t i = hit; i-- > 0;)
		lru_touch(l, lru_slot(l, r->blocks[i]));
	for (size_t i = hit; i < n; i++) {
		uint32_t s = lru_slot(l, r->blocks[i]);

		if (!l->resident[s])
			lru_insert(l, s);
	}
	for (size_t i = n; i-- > 0;) {
		uint32_t s = lru_slot(l, r->blocks[i]);

		if (l->resident[s])
			lru_touch(l, s);
	}
	return hit;
}

static void check_rate(const char *path, size_t capacity, uint64_t want)
{
	struct workload *w = open_trace(path);
	struct lru *l = calloc(1, sizeof(*l));
	uint64_t hit = 0, rate;
	struct wl_request r;

	CU_ASSERT_PTR_NOT_NULL_FATAL(l);
	l->newest = l->oldest = UINT32_MAX;
	l->capacity = capacity;
	while (wl_next(w, &r) == 1)
		hit += lru_request(l, &r) * r.block_tokens;
	CU_ASSERT(l->count <= capacity);
	rate = (hit * 100000 / wl_totals(w)->prompt_tokens + 5) / 10; /* hundredths of a per cent */
	CU_ASSERT_EQUAL(rate, want);
	if (rate != want)
		printf("%zu chunks: %llu\n", capacity, (unsigned long long)rate);
	free(l);
	wl_close(w);
}

static void test_mooncake_lru(void)
{
	const char *path = trace("mooncake/conversation_trace.jsonl");

	if (!path)
		return;
	check_rate(path, 1000, 459);
	check_rate(path, 3000, 686);
	check_rate(path, 10000, 2193);
	check_rate(path, 30000, 3371);
	check_rate(path, SLOTS, 3734);
}

/* The three sessions that lie unpacked: 10 + 4 + 73 requests. */
static void test_coding_agent(void)
{
	const char *path = trace("coding-agent");
	struct wl_request r;
	struct workload *w;
	int rc;

	if (!path)
		return;
	w = open_trace(path);
	while ((rc = wl_next(w, &r)) == 1) {
		CU_ASSERT_EQUAL(r.block_tokens, 64);
		CU_ASSERT_EQUAL(r.block_count, (r.prompt_tokens + 63) / 64);
		CU_ASSERT(r.after == WL_NONE || r.after < r.index);
		CU_ASSERT(r.turn == 0 || r.keep_tokens > 0);
	}
	CU_ASSERT_EQUAL(rc, 0);
	CU_ASSERT_EQUAL(wl_totals(w)->requests, 87);
	CU_ASSERT_EQUAL(wl_totals(w)->sessions, 3);
	CU_ASSERT_EQUAL(wl_totals(w)->prompt_tokens, 1284267 + 463794 + 4316310);
	CU_ASSERT_EQUAL(wl_totals(w)->last_arrival_ns, UINT64_C(3050) * 1000000000);
	wl_close(w);
}

/* The 355 sessions of the archive, unpacked by tar. */
static void test_coding_agent_archive(void)
{
	const char *path = trace("coding-agent/sessions-355.tar.xz");
	char dir[512], command[5120];
	struct wl_request r;
	struct workload *w;
	int rc;

	if (!path)
		return;
	CU_ASSERT_EQUAL_FATAL(kvf_test_tmpdir(dir, sizeof(dir)), 0);
	snprintf(command, sizeof(command), "tar -xJf '%s' -C '%s' 2>&1", path, dir);
	if (system(command) != 0) {
		kvf_test_skip("tar cannot unpack %s", path);
		return;
	}
	w = open_trace(dir);
	while ((rc = wl_next(w, &r)) == 1)
		;
	CU_ASSERT_EQUAL(rc, 0);
	CU_ASSERT_EQUAL(wl_totals(w)->requests, 24015);
	CU_ASSERT_EQUAL(wl_totals(w)->sessions, 355 + 48);
	CU_ASSERT_EQUAL(wl_totals(w)->forks, 48);
	CU_ASSERT_EQUAL(wl_totals(w)->max_prompt_tokens, 880502);
	/* Published for all 710 sessions: 2.8 % of turns. */
	CU_ASSERT(wl_totals(w)->rewrites * 1000 / wl_totals(w)->requests == 26);
	wl_close(w);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {{"mooncake_figures", test_mooncake_figures},
		{"mooncake_lru", test_mooncake_lru}, {"coding_agent", test_coding_agent},
		{"coding_agent_archive", test_coding_agent_archive}};

	return kvf_test_main("wl_real", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
