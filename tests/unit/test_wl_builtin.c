/* SPDX-License-Identifier: Apache-2.0 */
/* Built-in workloads: the same from the same seed, true to their published figures, consistent in
 * themselves. */
#include "tests/harness.h"

#include <stdlib.h>
#include <string.h>

#include "workload/source.h"
#include "workload/tokens.h"

static struct wl_error error;

static struct workload *open_one(const char *source, uint64_t seed, uint32_t block_tokens)
{
	struct wl_options o = {
		.sources = &source, .source_count = 1, .seed = seed, .block_tokens = block_tokens};
	struct workload *w = NULL;
	int rc = wl_open(&w, &o, &error);

	if (rc != KVF_OK)
		printf("%s\n", error.text);
	CU_ASSERT_EQUAL_FATAL(rc, KVF_OK);
	return w;
}

/* All that a workload says, in one number. */
static uint64_t digest(const char *source, uint64_t seed, uint32_t block_tokens)
{
	struct workload *w = open_one(source, seed, block_tokens);
	struct wl_request r;
	uint64_t h = 0;
	int rc;

	while ((rc = wl_next(w, &r)) == 1) {
		const uint64_t words[] = {r.index, r.session, r.turn, r.arrival_ns, r.service_ns,
			r.after, r.gap_ns, r.block_tokens, r.prompt_tokens, r.output_tokens,
			r.keep_tokens, r.parent, r.fork_request, r.fork_tokens, r.rewrites_prefix,
			r.session_ends};

		for (size_t i = 0; i < KVF_ARRAY_LEN(words); i++)
			h = wl_content_id(h, words[i]);
		for (size_t i = 0; i < r.block_count; i++)
			h = wl_content_id(h, r.blocks[i]);
	}
	CU_ASSERT_EQUAL(rc, 0);
	wl_close(w);
	return h;
}

static const char *const all[] = {"builtin:agentic,sessions=6,turns=20,subagents=10",
	"builtin:long-doc-qa", "builtin:multi-round-chat", "builtin:random-prefill", "builtin:scan",
	"builtin:prefix-suffix-tuner"};

static void test_deterministic(void)
{
	for (size_t i = 0; i < KVF_ARRAY_LEN(all); i++) {
		uint64_t h = digest(all[i], 7, 0);

		CU_ASSERT_EQUAL(digest(all[i], 7, 0), h);
		CU_ASSERT_NOT_EQUAL(digest(all[i], 8, 0), h);
		CU_ASSERT_NOT_EQUAL(digest(all[i], 7, 128), h);
	}
}

/* Pinned, so that another compiler or machine that makes another workload is seen. */
static void test_pinned(void)
{
	CU_ASSERT_EQUAL(
		digest("builtin:agentic,sessions=4,turns=10", 1, 64), UINT64_C(0xfebfaf10529ba0a7));
}

struct prompt {
	uint64_t *blocks;
	uint64_t tokens;
};

static uint64_t common_tokens(const struct prompt *a, const struct wl_request *r)
{
	uint64_t n = 0, least = a->tokens < r->prompt_tokens ? a->tokens : r->prompt_tokens;

	while (n < least && a->blocks[n / r->block_tokens] == r->blocks[n / r->block_tokens])
		n += r->block_tokens;
	return n < least ? n : least;
}

/* keep_tokens, fork_tokens and rewrites_prefix say what the prompts themselves show. */
static void check_relations(const char *source, uint32_t block_tokens)
{
	struct workload *w = open_one(source, 3, block_tokens);
	struct prompt *by_session = calloc(4096, sizeof(*by_session)), *p;
	uint64_t parent_last[4096] = {0};
	struct wl_request r;

	CU_ASSERT_PTR_NOT_NULL_FATAL(by_session);
	while (wl_next(w, &r) == 1) {
		CU_ASSERT_FATAL(r.session < 4096 && r.prompt_tokens > 0);
		CU_ASSERT_EQUAL(
			r.block_count, (r.prompt_tokens + r.block_tokens - 1) / r.block_tokens);
		CU_ASSERT(r.after == WL_NONE || r.after < r.index);
		CU_ASSERT_EQUAL(r.turn > 0, by_session[r.session].blocks != NULL);
		p = &by_session[r.parent != WL_NONE ? r.parent : r.session];
		if (r.parent != WL_NONE) {
			CU_ASSERT(r.turn == 0 && r.keep_tokens == r.fork_tokens);
			CU_ASSERT_EQUAL(r.fork_request, parent_last[r.parent]);
		}
		if (p->blocks) {
			uint64_t same = common_tokens(p, &r);

			CU_ASSERT_EQUAL(r.keep_tokens, same);
			if (r.parent == WL_NONE)
				CU_ASSERT_EQUAL(r.rewrites_prefix,
					p->tokens / r.block_tokens - same / r.block_tokens > 1);
		} else {
			CU_ASSERT_EQUAL(r.keep_tokens, 0);
		}
		p = &by_session[r.session];
		parent_last[r.session] = r.index;
		free(p->blocks);
		p->blocks = malloc(r.block_count * sizeof(*p->blocks));
		CU_ASSERT_PTR_NOT_NULL_FATAL(p->blocks);
		memcpy(p->blocks, r.blocks, r.block_count * sizeof(*p->blocks));
		p->tokens = r.prompt_tokens;
	}
	for (size_t i = 0; i < 4096; i++)
		free(by_session[i].blocks);
	free(by_session);
	wl_close(w);
}

static void test_relations(void)
{
	for (size_t i = 0; i < KVF_ARRAY_LEN(all); i++) {
		check_relations(all[i], 0);
		check_relations(all[i], 96);
	}
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void check_quantiles(
	const char *what, uint64_t *v, size_t n, const uint64_t want[3], unsigned percent)
{
	const size_t at[3] = {n / 2, n * 9 / 10, n * 99 / 100};

	CU_ASSERT_FATAL(n > 1000);
	qsort(v, n, sizeof(*v), by_value);
	for (int i = 0; i < 3; i++) {
		uint64_t got = v[at[i]], off = got > want[i] ? got - want[i] : want[i] - got;

		CU_ASSERT(off * 100 <= want[i] * percent);
		if (off * 100 > want[i] * percent)
			printf("%s: %llu instead of %llu\n", what, (unsigned long long)got,
				(unsigned long long)want[i]);
	}
}

/* The figures of the published sessions: blocks added, gaps, requests of a session, share of
 * rewrites. */
static void test_agentic_shape(void)
{
	static const uint64_t want_blocks[3] = {11, 65, 1026},
			      want_gap_ms[3] = {10000, 162000, 3015000};
	static const uint64_t want_turns[3] = {45, 156, 400};
	struct workload *w = open_one("builtin:agentic,sessions=1500,subagents=0", 5, 0);
	size_t n = 0, sessions = 0, cap = 200000;
	uint64_t *added = malloc(cap * sizeof(*added)), *gaps = malloc(cap * sizeof(*gaps));
	uint64_t *turns = malloc(2000 * sizeof(*turns)), rewrites;
	struct wl_request r;

	CU_ASSERT_FATAL(added && gaps && turns);
	while (wl_next(w, &r) == 1) {
		if (r.session_ends)
			turns[sessions++] = r.turn + 1;
		if (r.turn == 0)
			continue;
		CU_ASSERT_FATAL(n < cap);
		added[n] = (r.prompt_tokens - r.keep_tokens) / 64;
		gaps[n++] = r.gap_ns / 1000000;
	}
	CU_ASSERT_EQUAL(sessions, 1500);
	rewrites = wl_totals(w)->rewrites * 1000 / n;
	CU_ASSERT(rewrites >= 24 && rewrites <= 31);
	check_quantiles("blocks added", added, n, want_blocks, 10);
	check_quantiles("gap ms", gaps, n, want_gap_ms, 10);
	check_quantiles("turns", turns, sessions, want_turns, 35);
	free(added);
	free(gaps);
	free(turns);
	wl_close(w);
}

static void test_agentic_prefix_and_forks(void)
{
	struct workload *w =
		open_one("builtin:agentic,sessions=20,turns=30,subagents=10,scale=0.5", 5, 0);
	uint64_t prefix[100] = {0}, whole = 0;
	struct wl_request r;

	while (wl_next(w, &r) == 1) {
		CU_ASSERT_FATAL(r.block_count > 117); /* 15,000 / 2 / 64 */
		if (r.index == 0)
			memcpy(prefix, r.blocks, sizeof(prefix));
		CU_ASSERT_EQUAL(memcmp(prefix, r.blocks, sizeof(prefix)), 0);
		CU_ASSERT(r.turn > 0 || r.parent == WL_NONE || r.fork_tokens >= 117 * 64);
		whole += r.parent != WL_NONE && r.fork_tokens > 117 * 64;
	}
	CU_ASSERT(wl_totals(w)->forks > 20 && whole > 5 && whole < wl_totals(w)->forks);
	CU_ASSERT_EQUAL(wl_totals(w)->sessions, 20 + wl_totals(w)->forks);
	wl_close(w);
}

static void test_documents(void)
{
	struct workload *w = open_one("builtin:long-doc-qa,random=0", 1, 0);
	uint64_t doc[23] = {0};
	struct wl_request r;

	for (uint64_t i = 0; wl_next(w, &r) == 1; i++) {
		CU_ASSERT_EQUAL(r.prompt_tokens, 10050);
		if (i < 23)
			doc[i] = r.blocks[624];
		CU_ASSERT_EQUAL(r.blocks[624], doc[i % 23]); /* the last block of the document */
		CU_ASSERT_EQUAL(r.after, i < 3 ? WL_NONE : i - 3);
	}
	CU_ASSERT_EQUAL(wl_totals(w)->requests, 69);
	wl_close(w);
	w = open_one("builtin:random-prefill", 1, 0);
	while (wl_next(w, &r) == 1)
		CU_ASSERT(r.arrival_ns == 0 && r.prompt_tokens == 10000 && r.output_tokens == 1);
	CU_ASSERT_EQUAL(wl_totals(w)->requests, 50);
	wl_close(w);
	w = open_one("builtin:scan,hot=2,asks=2,scans=3,rounds=2", 1, 0);
	while (wl_next(w, &r) == 1)
		CU_ASSERT_EQUAL(r.prompt_tokens, r.index % 7 < 4 ? 8064 : 16064);
	CU_ASSERT_EQUAL(wl_totals(w)->requests, 14);
	wl_close(w);
}

/* Second pass: prefix as in the first, breaker new, suffix shared by all. */
static void test_tuner(void)
{
	struct workload *w = open_one("builtin:prefix-suffix-tuner,prefixes=5", 1, 0);
	uint64_t head[10], breaker[10], suffix = 0;
	struct wl_request r;

	while (wl_next(w, &r) == 1) {
		CU_ASSERT_FATAL(r.index < 10 && r.prompt_tokens == 8000);
		head[r.index] = r.blocks[399];
		breaker[r.index] = r.blocks[400];
		suffix = r.index == 0 ? r.blocks[402] : suffix;
		CU_ASSERT_EQUAL(r.blocks[402], suffix);
	}
	for (int i = 0; i < 5; i++) {
		CU_ASSERT_EQUAL(head[i], head[i + 5]);
		CU_ASSERT_NOT_EQUAL(breaker[i], breaker[i + 5]);
		CU_ASSERT_NOT_EQUAL(head[i], head[(i + 1) % 5]);
	}
	wl_close(w);
}

static void test_chat(void)
{
	struct workload *w = open_one("builtin:multi-round-chat", 1, 0);
	uint64_t system = 0;
	struct wl_request r;

	while (wl_next(w, &r) == 1) {
		CU_ASSERT_EQUAL(r.prompt_tokens, 12050 + r.turn * 250);
		CU_ASSERT_EQUAL(r.keep_tokens, r.turn == 0 ? 0 : r.prompt_tokens - 250);
		CU_ASSERT_EQUAL(r.arrival_ns, r.index * 1000000000);
		system = r.index == 0 ? r.blocks[124] : system;
		CU_ASSERT_EQUAL(r.blocks[124], system);
	}
	CU_ASSERT(wl_totals(w)->requests == 60 && wl_totals(w)->sessions == 10);
	wl_close(w);
}

static void test_bad_names(void)
{
	static const struct {
		const char *source, *text;
		int status;
	} bad[] = {{"builtin:", "unknown; there are agentic, long-doc-qa", KVF_EINVAL},
		{"builtin:nope", "builtin:nope: unknown", KVF_EINVAL},
		{"builtin:agentic,", "no parameter \"\"", KVF_EINVAL},
		{"builtin:agentic,foo=1", "builtin:agentic: no parameter \"foo\"", KVF_EINVAL},
		{"builtin:agentic,sessions", "must be sessions=whole number", KVF_EINVAL},
		{"builtin:agentic,sessions=", "must be sessions=whole number", KVF_EINVAL},
		{"builtin:agentic,sessions=1.5", "must be sessions=whole number", KVF_EINVAL},
		{"builtin:agentic,sessions=-1", "must be sessions=whole number", KVF_EINVAL},
		{"builtin:agentic,sessions=0", "must be from 1.000 to 4096", KVF_ERANGE},
		{"builtin:agentic,sessions=99999999999999999999", "must be sessions=", KVF_EINVAL},
		{"builtin:agentic,scale=0.0001", "must be scale=number", KVF_EINVAL},
		{"builtin:agentic,scale=5", "must be from 0.001 to 4", KVF_ERANGE},
		{"builtin:prefix-suffix-tuner,tokens=10", "leave no prefix or no suffix",
			KVF_ERANGE}};

	for (size_t i = 0; i < KVF_ARRAY_LEN(bad); i++) {
		struct wl_options o = {.sources = &bad[i].source, .source_count = 1};
		struct workload *w = NULL;

		CU_ASSERT_EQUAL(wl_open(&w, &o, &error), bad[i].status);
		CU_ASSERT_PTR_NULL(w);
		CU_ASSERT_PTR_NOT_NULL(strstr(error.text, bad[i].text));
	}
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {{"deterministic", test_deterministic},
		{"pinned", test_pinned}, {"relations", test_relations},
		{"agentic_shape", test_agentic_shape},
		{"agentic_prefix_and_forks", test_agentic_prefix_and_forks},
		{"documents", test_documents}, {"tuner", test_tuner}, {"chat", test_chat},
		{"bad_names", test_bad_names}};

	return kvf_test_main("wl_builtin", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
