/* SPDX-License-Identifier: Apache-2.0 */
/*
 * builtin:agentic: coding agents, shaped by what 710 published sessions say.
 *
 * All sessions share a tool + system prefix of about 15k tokens. Each turn adds 11 / 65 / 1,026
 * blocks of 64 tokens (p50 / p90 / p99) after a gap of 10 / 162 / 3,015 s. The 2.8 % of turns with
 * the most new blocks rewrite the prefix instead of adding to it: three in ten start over behind
 * the shared prefix (compaction), the others edit the history and put about as much back. Sessions
 * have 45 requests (p50). A sub-agent forks from the shared prefix, or from all its parent has
 * said, and the parent waits for it.
 */
#include "workload/builtin.h"

#include <stdlib.h>

#include "workload/stream.h"
#include "workload/tokens.h"

#define NS_PER_MS UINT64_C(1000000)
#define APPEND_UNIT 64
#define REWRITE_PPM 28000
#define COMPACTION_PPM 300000 /* of the rewrites */
#define MAX_CONTEXT 1000000

enum { P_SESSIONS, P_TURNS, P_SCALE, P_PREFIX, P_SUBAGENTS, P_RAMP, P_PREFIXES };

static const struct wl_quantiles q_append = {1, 11, 65, 1026, 9000}; /* blocks of 64 tokens */
static const struct wl_quantiles q_gap_ms = {500, 10000, 162000, 3015000, 7200000};
static const struct wl_quantiles q_turns = {2, 45, 156, 400, 514};
static const struct wl_quantiles q_sub_turns = {2, 10, 18, 24, 24};
static const struct wl_quantiles q_output = {1, 221, 894, 3625, 18195}; /* tokens */
static const struct wl_quantiles q_service_ms = {1200, 6400, 18600, 60800, 300000};
static const struct wl_quantiles q_first = {
	200, 10000, 60000, 200000, 400000}; /* tokens behind the prefix */

struct agent {
	struct wl_stream prompt;
	uint64_t next_ns; /* UINT64_MAX: ended, or waiting for its sub-agent */
	uint64_t number; /* of the session; WL_NONE until its first request */
	uint64_t last_index, answered_ns, gap_ns, turn;
	uint64_t turns_left;
	uint64_t keep, fork_tokens;
	uint64_t parent; /* slot, or WL_NONE */
	bool rewrites;
};

struct agentic {
	struct wl_source source;
	struct wl_rng rng;
	struct agent *agents; /* slot s: session s; slot sessions + s: its sub-agent */
	size_t sessions;
	uint64_t seed, segments; /* texts made so far */
	uint64_t scale, turns, prefix_tokens, prefixes, subagent_ppm;
	size_t shown; /* slot whose request was handed out: it moves on at the next call */
	uint64_t indices, numbers, turns_total, turns_done;
};

static uint64_t scaled(uint64_t v, uint64_t milli)
{
	v = v * milli / 1000;
	return v > 0 ? v : 1;
}

static uint64_t new_segment(struct agentic *a)
{
	return wl_content_id(a->seed, a->segments++);
}

static uint64_t draw_turns(struct agentic *a)
{
	return scaled(wl_rng_quantile(&a->rng, &q_turns) * a->turns / 45, 1000);
}

/* Changes the prompt to that of the next turn: adds text, or rewrites the history. */
static int grow_prompt(struct agentic *a, struct agent *g, struct wl_error *error)
{
	uint32_t u = (uint32_t)(wl_rng_next(&a->rng) >> 32);
	uint64_t blocks = wl_quantile_at(&q_append, u);
	uint64_t tokens =
		scaled(blocks * APPEND_UNIT + wl_rng_below(&a->rng, APPEND_UNIT), a->scale);
	uint64_t had = g->prompt.tokens, full = g->prompt.tokens / g->prompt.block_tokens;
	uint64_t history = had > a->prefix_tokens ? had - a->prefix_tokens : 0;

	g->keep = had;
	if (u >= WL_RANK_ONE - WL_RANK_ONE / 1000000 * REWRITE_PPM ||
		had + tokens > scaled(MAX_CONTEXT, a->scale) + a->prefix_tokens) {
		if (wl_rng_chance(&a->rng, COMPACTION_PPM) || tokens >= history)
			g->keep = wl_stream_cut(&g->prompt, a->prefix_tokens);
		else
			g->keep = wl_stream_cut(&g->prompt, had - tokens);
	}
	g->rewrites = full - g->keep / g->prompt.block_tokens > 1;
	return wl_stream_append(&g->prompt, new_segment(a), tokens, error);
}

/* Starts the sub-agent of session `slot` behind its request `r`. */
static int start_subagent(struct agentic *a, size_t slot, struct wl_error *error)
{
	struct agent *parent = &a->agents[slot], *sub = &a->agents[a->sessions + slot];
	int rc = wl_stream_copy(&sub->prompt, &parent->prompt, error);

	if (rc != KVF_OK)
		return rc;
	wl_stream_cut(&sub->prompt,
		wl_rng_chance(&a->rng, 500000)
			? a->prefix_tokens
			: sub->prompt.tokens / sub->prompt.block_tokens * sub->prompt.block_tokens);
	sub->keep = sub->fork_tokens = sub->prompt.tokens;
	sub->number = WL_NONE;
	sub->turn = 0;
	sub->rewrites = false;
	sub->parent = slot;
	sub->last_index = parent->last_index;
	sub->turns_left = wl_rng_quantile(&a->rng, &q_sub_turns);
	sub->turns_left = scaled(sub->turns_left * a->turns / 45, 1000);
	sub->gap_ns = (100 + wl_rng_below(&a->rng, 900)) * NS_PER_MS;
	sub->next_ns = parent->answered_ns + sub->gap_ns;
	parent->next_ns = UINT64_MAX;
	return wl_stream_append(&sub->prompt, new_segment(a),
		scaled(wl_rng_quantile(&a->rng, &q_append) * APPEND_UNIT + 200, a->scale), error);
}

/* After an answer: when the agent, or the parent that waited for it, speaks next. */
static int move_on(struct agentic *a, size_t slot, struct wl_error *error)
{
	struct agent *g = &a->agents[slot], *parent;
	int rc;

	g->next_ns = UINT64_MAX;
	if (g->turns_left == 0 && g->parent == WL_NONE)
		return KVF_OK;
	if (g->turns_left == 0) {
		parent = &a->agents[g->parent];
		parent->last_index = g->last_index;
		parent->answered_ns = g->answered_ns;
		parent->gap_ns = (100 + wl_rng_below(&a->rng, 900)) * NS_PER_MS;
		parent->next_ns = parent->answered_ns + parent->gap_ns;
		return grow_prompt(a, parent, error);
	}
	if (g->parent == WL_NONE && wl_rng_chance(&a->rng, a->subagent_ppm))
		return start_subagent(a, slot, error);
	g->gap_ns = wl_rng_quantile(&a->rng, &q_gap_ms) * NS_PER_MS;
	g->next_ns = g->answered_ns + g->gap_ns;
	rc = grow_prompt(a, g, error);
	return rc;
}

static size_t earliest(const struct agentic *a)
{
	size_t best = 0;

	for (size_t i = 1; i < 2 * a->sessions; i++) {
		if (a->agents[i].next_ns < a->agents[best].next_ns)
			best = i;
	}
	return best;
}

static int agentic_next(struct wl_source *s, struct wl_request *out, struct wl_error *error)
{
	struct agentic *a = (struct agentic *)(void *)s;
	struct agent *g;
	int rc;

	if (a->shown != SIZE_MAX) {
		rc = move_on(a, a->shown, error);
		if (rc != KVF_OK)
			return rc;
	}
	a->shown = earliest(a);
	g = &a->agents[a->shown];
	if (g->next_ns == UINT64_MAX)
		return 0;
	wl_request_init(out);
	wl_stream_show(&g->prompt, out);
	if (g->turn == 0)
		g->number = a->numbers++;
	if (g->turn == 0 && g->parent != WL_NONE) {
		out->parent = a->agents[g->parent].number;
		out->fork_request = a->agents[g->parent].last_index;
		out->fork_tokens = g->fork_tokens;
	}
	out->index = a->indices++;
	out->session = g->number;
	out->turn = g->turn++;
	out->arrival_ns = g->next_ns;
	out->after = g->last_index;
	out->gap_ns = g->gap_ns;
	out->service_ns = wl_rng_quantile(&a->rng, &q_service_ms) * NS_PER_MS;
	out->output_tokens = wl_rng_quantile(&a->rng, &q_output);
	out->keep_tokens = g->keep;
	out->rewrites_prefix = g->rewrites;
	g->turns_left--;
	out->session_ends = g->turns_left == 0;
	a->turns_done += g->parent == WL_NONE;
	g->last_index = out->index;
	g->answered_ns = out->arrival_ns + out->service_ns;
	return 1;
}

static uint32_t agentic_permille(const struct wl_source *s)
{
	const struct agentic *a = (const struct agentic *)(const void *)s;

	return (uint32_t)(a->turns_done * 1000 / a->turns_total);
}

static void agentic_close(struct wl_source *s)
{
	struct agentic *a = (struct agentic *)(void *)s;

	for (size_t i = 0; i < 2 * a->sessions; i++)
		free(a->agents[i].prompt.blocks);
	free(a->agents);
	free(a);
}

static int start_session(struct agentic *a, size_t slot, uint64_t ramp_ms, uint32_t block_tokens,
	struct wl_error *error)
{
	struct agent *g = &a->agents[slot];
	uint64_t prefix = wl_content_id(wl_hash_text(a->seed, "prefix"), slot % a->prefixes);
	int rc;

	g->prompt.block_tokens = block_tokens;
	g->parent = g->last_index = WL_NONE;
	g->turns_left = draw_turns(a);
	a->turns_total += g->turns_left;
	g->next_ns = ramp_ms > 0 ? wl_rng_below(&a->rng, ramp_ms) * NS_PER_MS : 0;
	a->agents[a->sessions + slot].next_ns = UINT64_MAX;
	rc = wl_stream_append(&g->prompt, prefix, a->prefix_tokens, error);
	if (rc != KVF_OK)
		return rc;
	return wl_stream_append(&g->prompt, new_segment(a),
		scaled(wl_rng_quantile(&a->rng, &q_first), a->scale), error);
}

static int agentic_open(const struct wl_params *p, uint64_t seed, uint32_t block_tokens,
	struct wl_source **out, struct wl_error *error)
{
	static const struct wl_source_ops ops = {agentic_next, agentic_permille, agentic_close};
	struct agentic *a = calloc(1, sizeof(*a));
	int rc = KVF_OK;

	if (a) {
		a->sessions = (size_t)(p->value[P_SESSIONS] / 1000);
		a->agents = calloc(2 * a->sessions, sizeof(*a->agents));
	}
	if (!a || !a->agents) {
		free(a);
		return wl_fail(error, KVF_ENOMEM, "builtin:agentic: no memory");
	}
	a->source.ops = &ops;
	a->seed = wl_hash_text(seed, "agentic");
	wl_rng_seed(&a->rng, a->seed);
	a->scale = p->value[P_SCALE];
	a->turns = p->value[P_TURNS] / 1000;
	a->prefixes = p->value[P_PREFIXES] / 1000;
	a->subagent_ppm = p->value[P_SUBAGENTS] * 10;
	/* Whole blocks, so that a fork behind the prefix shares all of it. */
	a->prefix_tokens =
		scaled(p->value[P_PREFIX] / 1000, a->scale) / block_tokens * block_tokens;
	a->shown = SIZE_MAX;
	for (size_t i = 0; i < a->sessions && rc == KVF_OK; i++)
		rc = start_session(a, i, p->value[P_RAMP], block_tokens, error);
	if (rc != KVF_OK) {
		agentic_close(&a->source);
		return rc;
	}
	*out = &a->source;
	return KVF_OK;
}

const struct wl_builtin wl_builtin_agentic = {
	.name = "agentic",
	.meaning = "coding agents: shared prefix, tool gaps, sub-agents, compaction",
	.block_tokens = 64,
	.open = agentic_open,
	.params =
		{
			[P_SESSIONS] = {"sessions", "agents at work", 32000, 1000, 4096000, true},
			[P_TURNS] = {"turns", "requests of a session, p50", 45000, 1000, 10000000,
				true},
			[P_SCALE] = {"scale", "all lengths of prompts are multiplied by this", 1000,
				1, 4000, false},
			[P_PREFIX] = {"prefix", "tokens of tools + system", 15000000, 0, 1000000000,
				true},
			[P_SUBAGENTS] = {"subagents", "per cent of turns that start one", 1000, 0,
				100000, false},
			[P_RAMP] = {"ramp", "seconds within which the sessions start", 600000, 0,
				1000000000, false},
			[P_PREFIXES] = {"prefixes", "different tool + system prefixes", 1000, 1000,
				4096000, true},
		},
};
