/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Built-in workloads that are a list of requests known in advance, each a head of shared text and a
 * tail of its own:
 *
 *	long-doc-qa           a warm-up round over all documents, then `queries` questions on each
 *	random-prefill        prompts that share nothing, all at once: the price of storing
 *	scan                  a hot set asked again and again, with bursts of one-shot prompts in
 * between prefix-suffix-tuner   two passes over prefixes that just do not fit: the worst case of LRU
 */
#include "workload/builtin.h"

#include <stdlib.h>

#include "workload/stream.h"
#include "workload/tokens.h"

#define NS_PER_MS UINT64_C(1000000)
#define ALONE UINT32_MAX /* plan entry without a shared head */

struct list {
	struct wl_source source;
	struct wl_stream prompt;
	uint64_t seed;
	uint32_t *plan; /* which document each request is about, or ALONE */
	size_t count, at, cap;
	uint64_t head_tokens; /* of the document */
	uint64_t alone_tokens; /* of a request without a document */
	uint64_t own_tokens; /* text of the request alone */
	uint64_t suffix_tokens; /* text shared by all, behind it */
	uint64_t output_tokens, interval_ns;
	uint64_t in_flight; /* 0: all at once */
};

static uint64_t segment(const struct list *l, const char *kind, uint64_t number)
{
	return wl_content_id(wl_hash_text(l->seed, kind), number);
}

static int build_prompt(struct list *l, struct wl_error *error)
{
	uint32_t doc = l->plan[l->at];
	uint64_t head = doc == ALONE ? segment(l, "alone", l->at) : segment(l, "document", doc);
	int rc;

	wl_stream_cut(&l->prompt, 0);
	rc = wl_stream_append(
		&l->prompt, head, doc == ALONE ? l->alone_tokens : l->head_tokens, error);
	if (rc == KVF_OK && l->own_tokens > 0)
		rc = wl_stream_diverge(&l->prompt, segment(l, "own", l->at), l->own_tokens, error);
	if (rc == KVF_OK && l->suffix_tokens > 0)
		rc = wl_stream_append(&l->prompt, segment(l, "suffix", 0), l->suffix_tokens, error);
	return rc;
}

static int list_next(struct wl_source *s, struct wl_request *out, struct wl_error *error)
{
	struct list *l = (struct list *)(void *)s;
	int rc;

	if (l->at == l->count)
		return 0;
	rc = build_prompt(l, error);
	if (rc != KVF_OK)
		return rc;
	wl_request_init(out);
	wl_stream_show(&l->prompt, out);
	out->index = out->session = l->at;
	out->arrival_ns = l->at * l->interval_ns;
	out->output_tokens = l->output_tokens;
	out->session_ends = true;
	if (l->in_flight > 0 && l->at >= l->in_flight)
		out->after = l->at - l->in_flight;
	l->at++;
	return 1;
}

static uint32_t list_permille(const struct wl_source *s)
{
	const struct list *l = (const struct list *)(const void *)s;

	return l->count == 0 ? 1000 : (uint32_t)(l->at * 1000 / l->count);
}

static void list_close(struct wl_source *s)
{
	struct list *l = (struct list *)(void *)s;

	free(l->prompt.blocks);
	free(l->plan);
	free(l);
}

static struct list *list_new(
	const char *name, uint64_t seed, uint32_t block_tokens, struct wl_error *error)
{
	static const struct wl_source_ops ops = {list_next, list_permille, list_close};
	struct list *l = calloc(1, sizeof(*l));

	if (!l) {
		wl_fail(error, KVF_ENOMEM, "builtin:%s: no memory", name);
		return NULL;
	}
	l->source.ops = &ops;
	l->seed = wl_hash_text(seed, name);
	l->prompt.block_tokens = block_tokens;
	return l;
}

/* Plans each of `docs` documents once, in order or shuffled. */
static int plan_round(struct list *l, uint64_t docs, struct wl_rng *shuffle, struct wl_error *error)
{
	int rc = wl_grow(
		(void **)&l->plan, &l->cap, l->count + (size_t)docs, sizeof(*l->plan), error);

	if (rc != KVF_OK)
		return rc;
	for (uint64_t i = 0; i < docs; i++)
		l->plan[l->count + i] = (uint32_t)i;
	if (shuffle)
		wl_rng_shuffle(shuffle, l->plan + l->count, (size_t)docs);
	l->count += (size_t)docs;
	return KVF_OK;
}

static int plan_alone(struct list *l, uint64_t n, struct wl_error *error)
{
	int rc = wl_grow((void **)&l->plan, &l->cap, l->count + (size_t)n, sizeof(*l->plan), error);

	for (uint64_t i = 0; i < n && rc == KVF_OK; i++)
		l->plan[l->count++] = ALONE;
	return rc;
}

static int list_done(struct list *l, int rc, struct wl_source **out)
{
	if (rc != KVF_OK) {
		list_close(&l->source);
		return rc;
	}
	*out = &l->source;
	return KVF_OK;
}

enum { D_DOCS, D_TOKENS, D_QUERIES, D_QUESTION, D_OUTPUT, D_IN_FLIGHT, D_RANDOM, D_WARMUP };

static int long_doc_open(const struct wl_params *p, uint64_t seed, uint32_t block_tokens,
	struct wl_source **out, struct wl_error *error)
{
	uint64_t docs = p->value[D_DOCS] / 1000, rounds = p->value[D_QUERIES] / 1000, begin;
	struct list *l = list_new("long-doc-qa", seed, block_tokens, error);
	struct wl_rng rng;
	int rc = KVF_OK;

	if (!l)
		return KVF_ENOMEM;
	l->head_tokens = p->value[D_TOKENS] / 1000;
	l->own_tokens = p->value[D_QUESTION] / 1000;
	l->output_tokens = p->value[D_OUTPUT] / 1000;
	l->in_flight = p->value[D_IN_FLIGHT] / 1000;
	wl_rng_seed(&rng, l->seed);
	if (p->value[D_WARMUP] > 0)
		rc = plan_round(l, docs, NULL, error);
	begin = l->count;
	for (uint64_t i = 0; i < rounds && rc == KVF_OK; i++)
		rc = plan_round(l, docs, NULL, error);
	/* "random" shuffles the questions of all rounds, "tile" asks all documents in turn. */
	if (rc == KVF_OK && p->value[D_RANDOM] > 0)
		wl_rng_shuffle(&rng, l->plan + begin, l->count - (size_t)begin);
	return list_done(l, rc, out);
}

const struct wl_builtin wl_builtin_long_doc_qa = {
	.name = "long-doc-qa",
	.meaning = "questions on long documents, after a round of warm-up",
	.block_tokens = 16,
	.open = long_doc_open,
	.params =
		{
			[D_DOCS] = {"docs", "documents", 23000, 1000, 100000000, true},
			[D_TOKENS] = {"doc_tokens", "tokens of each", 10000000, 1000, 8000000000,
				true},
			[D_QUERIES] = {"queries", "questions on each", 2000, 1000, 1000000, true},
			[D_QUESTION] = {"question", "tokens of a question", 50000, 0, 1000000000,
				true},
			[D_OUTPUT] = {"output", "tokens of an answer", 100000, 0, 1000000000, true},
			[D_IN_FLIGHT] = {"in_flight", "requests at once", 3000, 1000, 10000000,
				true},
			[D_RANDOM] = {"random", "1: questions in random order; 0: tile", 1000, 0,
				1000, true},
			[D_WARMUP] = {"warmup", "1: ask each document once before", 1000, 0, 1000,
				true},
		},
};

enum { R_REQUESTS, R_TOKENS };

static int random_prefill_open(const struct wl_params *p, uint64_t seed, uint32_t block_tokens,
	struct wl_source **out, struct wl_error *error)
{
	struct list *l = list_new("random-prefill", seed, block_tokens, error);

	if (!l)
		return KVF_ENOMEM;
	l->alone_tokens = p->value[R_TOKENS] / 1000;
	l->output_tokens = 1;
	return list_done(l, plan_alone(l, p->value[R_REQUESTS] / 1000, error), out);
}

const struct wl_builtin wl_builtin_random_prefill = {
	.name = "random-prefill",
	.meaning = "prompts that share nothing, all at once",
	.block_tokens = 16,
	.open = random_prefill_open,
	.params =
		{
			[R_REQUESTS] = {"requests", "prompts", 50000, 1000, 100000000, true},
			[R_TOKENS] = {"tokens", "tokens of each", 10000000, 1000, 16000000000,
				true},
		},
};

enum { S_HOT, S_HOT_TOKENS, S_ASKS, S_SCANS, S_SCAN_TOKENS, S_ROUNDS, S_IN_FLIGHT };

static int scan_open(const struct wl_params *p, uint64_t seed, uint32_t block_tokens,
	struct wl_source **out, struct wl_error *error)
{
	struct list *l = list_new("scan", seed, block_tokens, error);
	struct wl_rng rng;
	int rc = KVF_OK;

	if (!l)
		return KVF_ENOMEM;
	wl_rng_seed(&rng, l->seed);
	l->head_tokens = p->value[S_HOT_TOKENS] / 1000;
	l->alone_tokens = p->value[S_SCAN_TOKENS] / 1000;
	l->own_tokens = 64;
	l->output_tokens = 100;
	l->interval_ns = 100 * NS_PER_MS;
	l->in_flight = p->value[S_IN_FLIGHT] / 1000;
	for (uint64_t round = 0; round < p->value[S_ROUNDS] / 1000 && rc == KVF_OK; round++) {
		for (uint64_t i = 0; i < p->value[S_ASKS] / 1000 && rc == KVF_OK; i++)
			rc = plan_round(l, p->value[S_HOT] / 1000, &rng, error);
		if (rc == KVF_OK)
			rc = plan_alone(l, p->value[S_SCANS] / 1000, error);
	}
	return list_done(l, rc, out);
}

const struct wl_builtin wl_builtin_scan = {
	.name = "scan",
	.meaning = "a hot set asked again and again, with bursts of one-shot prompts between",
	.block_tokens = 16,
	.open = scan_open,
	.params =
		{
			[S_HOT] = {"hot", "prompts of the hot set", 8000, 1000, 1000000, true},
			[S_HOT_TOKENS] = {"hot_tokens", "tokens of each", 8000000, 1000, 8000000000,
				true},
			[S_ASKS] = {"asks", "times the hot set is asked in a round", 2000, 1000,
				1000000, true},
			[S_SCANS] = {"scans", "one-shot prompts of a round", 32000, 0, 1000000,
				true},
			[S_SCAN_TOKENS] = {"scan_tokens", "tokens of each", 16000000, 1000,
				8000000000, true},
			[S_ROUNDS] = {"rounds", "rounds", 4000, 1000, 1000000, true},
			[S_IN_FLIGHT] = {"in_flight", "requests at once", 4000, 1000, 10000000,
				true},
		},
};

enum { T_PREFIXES, T_TOKENS, T_RATIO, T_BREAKER, T_PASSES };

static int tuner_open(const struct wl_params *p, uint64_t seed, uint32_t block_tokens,
	struct wl_source **out, struct wl_error *error)
{
	uint64_t total = p->value[T_TOKENS] / 1000, head = total * p->value[T_RATIO] / 1000;
	uint64_t breaker = p->value[T_BREAKER] / 1000;
	struct list *l;
	int rc = KVF_OK;

	if (head == 0 || head + breaker >= total)
		return wl_fail(error, KVF_ERANGE,
			"builtin:prefix-suffix-tuner: ratio and breaker leave no prefix or no "
			"suffix of tokens=%llu",
			(unsigned long long)total);
	l = list_new("prefix-suffix-tuner", seed, block_tokens, error);
	if (!l)
		return KVF_ENOMEM;
	l->head_tokens = head;
	l->own_tokens = breaker;
	l->suffix_tokens = total - head - breaker;
	l->output_tokens = 1;
	l->in_flight = 1;
	for (uint64_t i = 0; i < p->value[T_PASSES] / 1000 && rc == KVF_OK; i++)
		rc = plan_round(l, p->value[T_PREFIXES] / 1000, NULL, error);
	return list_done(l, rc, out);
}

const struct wl_builtin wl_builtin_prefix_suffix_tuner = {
	.name = "prefix-suffix-tuner",
	.meaning = "passes over unique prefixes, a random breaker and a shared suffix. Choose "
		   "prefixes so that they "
		   "overflow a tier by 5 % (1.05 * its tokens / (tokens * ratio))",
	.block_tokens = 16,
	.open = tuner_open,
	.params =
		{
			[T_PREFIXES] = {"prefixes", "unique prefixes", 40000, 1000, 100000000,
				true},
			[T_TOKENS] = {"tokens", "tokens of a prompt", 8000000, 3000, 16000000000,
				true},
			[T_RATIO] = {"ratio", "share of the prefix in them", 800, 1, 999, false},
			[T_BREAKER] = {"breaker", "tokens of the breaker", 32000, 1000, 1000000000,
				true},
			[T_PASSES] = {"passes", "passes in the same order", 2000, 1000, 1000000,
				true},
		},
};
