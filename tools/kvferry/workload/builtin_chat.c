/* SPDX-License-Identifier: Apache-2.0 */
/*
 * builtin:multi-round-chat: users who talk in turn at a fixed rate. All share a system prompt, each
 * has a history of its own, and each round adds an input and the answer to the round before.
 */
#include "workload/builtin.h"

#include <stdlib.h>

#include "workload/stream.h"
#include "workload/tokens.h"

enum { P_USERS, P_SYSTEM, P_HISTORY, P_INPUT, P_OUTPUT, P_QPS, P_SECONDS };

struct user {
	struct wl_stream prompt;
	uint64_t turn, last_index;
};

struct chat {
	struct wl_source source;
	struct user *users;
	size_t user_count;
	uint64_t seed, system, history, input, output;
	uint64_t interval_ns, count, at;
};

static int first_prompt(struct chat *c, struct user *u, uint64_t number, struct wl_error *error)
{
	int rc = wl_stream_append(&u->prompt, wl_hash_text(c->seed, "system"), c->system, error);

	if (rc != KVF_OK)
		return rc;
	return wl_stream_diverge(&u->prompt,
		wl_content_id(wl_hash_text(c->seed, "history"), number), c->history, error);
}

static int chat_next(struct wl_source *s, struct wl_request *out, struct wl_error *error)
{
	struct chat *c = (struct chat *)(void *)s;
	uint64_t number = c->at % c->user_count, keep, added = c->input;
	struct user *u = &c->users[number];
	int rc = KVF_OK;

	if (c->at == c->count)
		return 0;
	if (u->turn == 0)
		rc = first_prompt(c, u, number, error);
	else
		added += c->output;
	if (rc != KVF_OK)
		return rc;
	keep = u->turn == 0 ? 0 : u->prompt.tokens;
	rc = wl_stream_append(
		&u->prompt, wl_content_id(wl_hash_text(c->seed, "round"), c->at), added, error);
	if (rc != KVF_OK)
		return rc;
	wl_request_init(out);
	wl_stream_show(&u->prompt, out);
	out->index = c->at;
	out->session = number;
	out->turn = u->turn++;
	out->arrival_ns = c->at * c->interval_ns;
	out->after = out->turn > 0 ? u->last_index : WL_NONE;
	out->gap_ns = out->turn > 0 ? c->user_count * c->interval_ns : 0;
	out->output_tokens = c->output;
	out->keep_tokens = keep;
	out->session_ends = c->count - c->at <= c->user_count;
	u->last_index = c->at++;
	return 1;
}

static uint32_t chat_permille(const struct wl_source *s)
{
	const struct chat *c = (const struct chat *)(const void *)s;

	return (uint32_t)(c->at * 1000 / c->count);
}

static void chat_close(struct wl_source *s)
{
	struct chat *c = (struct chat *)(void *)s;

	for (size_t i = 0; i < c->user_count; i++)
		free(c->users[i].prompt.blocks);
	free(c->users);
	free(c);
}

static int chat_open(const struct wl_params *p, uint64_t seed, uint32_t block_tokens,
	struct wl_source **out, struct wl_error *error)
{
	static const struct wl_source_ops ops = {chat_next, chat_permille, chat_close};
	struct chat *c = calloc(1, sizeof(*c));

	if (c) {
		c->user_count = (size_t)(p->value[P_USERS] / 1000);
		c->users = calloc(c->user_count, sizeof(*c->users));
	}
	if (!c || !c->users) {
		free(c);
		return wl_fail(error, KVF_ENOMEM, "builtin:multi-round-chat: no memory");
	}
	c->source.ops = &ops;
	c->seed = wl_hash_text(seed, "multi-round-chat");
	c->system = p->value[P_SYSTEM] / 1000;
	c->history = p->value[P_HISTORY] / 1000;
	c->input = p->value[P_INPUT] / 1000;
	c->output = p->value[P_OUTPUT] / 1000;
	c->interval_ns = UINT64_C(1000000000000) / p->value[P_QPS];
	c->count = p->value[P_QPS] * p->value[P_SECONDS] / 1000000;
	c->count = c->count > 0 ? c->count : 1;
	for (size_t i = 0; i < c->user_count; i++)
		c->users[i].prompt.block_tokens = block_tokens;
	*out = &c->source;
	return KVF_OK;
}

const struct wl_builtin wl_builtin_multi_round_chat = {
	.name = "multi-round-chat",
	.meaning =
		"users who talk in turn: shared system prompt, own history, rounds at a fixed rate",
	.block_tokens = 16,
	.open = chat_open,
	.params =
		{
			[P_USERS] = {"users", "users", 10000, 1000, 100000000, true},
			[P_SYSTEM] = {"system", "tokens of the system prompt", 2000000, 0,
				1000000000, true},
			[P_HISTORY] = {"history", "tokens of each user's history", 10000000, 0,
				1000000000, true},
			[P_INPUT] = {"input", "tokens of an input", 50000, 1000, 1000000000, true},
			[P_OUTPUT] = {"output", "tokens of an answer", 200000, 0, 1000000000, true},
			[P_QPS] = {"qps", "requests a second", 1000, 1, 100000000, false},
			[P_SECONDS] = {"seconds", "how long", 60000, 1000, 100000000, true},
		},
};
