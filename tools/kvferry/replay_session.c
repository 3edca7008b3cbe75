/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sequences of a replay. A session keeps its own open between its requests: the next prompt is
 * appended to what it shares with the one before, after a cut where the context was compacted. A
 * sub-agent's is forked off its parent's. What two prompts share is found by comparing block ids;
 * blocks of one id hold the same tokens.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "replay.h"

#define TOKENS_AT_ONCE 16384

int replay_session_reserve(struct replay_run *run, uint64_t session)
{
	size_t want = (size_t)session + 1, cap = run->sessions_cap ? run->sessions_cap : 64;
	struct replay_session *more;

	if (want > run->n_sessions)
		run->n_sessions = want;
	if (want <= run->sessions_cap)
		return 0;
	while (cap < want)
		cap *= 2;
	more = realloc(run->sessions, cap * sizeof(*more));
	if (!more)
		return replay_fail(run, "no memory for %zu sessions", cap);
	memset(more + run->sessions_cap, 0, (cap - run->sessions_cap) * sizeof(*more));
	run->sessions = more;
	run->sessions_cap = cap;
	return 0;
}

static void session_drop(struct replay_session *s)
{
	kvf_seq_close(s->seq);
	free(s->blocks);
	s->seq = NULL;
	s->blocks = NULL;
	s->n_blocks = s->cap = 0;
	s->tokens = 0;
}

void replay_sessions_free(struct replay_run *run)
{
	for (size_t i = 0; i < run->n_sessions; i++)
		session_drop(&run->sessions[i]);
	free(run->sessions);
	run->sessions = NULL;
	run->n_sessions = run->sessions_cap = 0;
}

static int remember(struct replay_run *run, struct replay_session *s, const uint64_t *blocks,
	size_t n, uint64_t tokens)
{
	if (n > s->cap) {
		size_t cap = n + n / 4;
		uint64_t *more = realloc(s->blocks, cap * sizeof(*more));

		if (!more)
			return replay_fail(run, "no memory for the blocks of a session");
		s->blocks = more;
		s->cap = cap;
	}
	memcpy(s->blocks, blocks, n * sizeof(*blocks));
	s->n_blocks = n;
	s->tokens = tokens;
	return 0;
}

static uint64_t common_tokens(const struct replay_session *s, const struct wl_request *r)
{
	size_t n = s->n_blocks < r->block_count ? s->n_blocks : r->block_count, i = 0;
	uint64_t common;

	if (s->block_tokens != r->block_tokens)
		return 0;
	while (i < n && s->blocks[i] == r->blocks[i])
		i++;
	common = (uint64_t)i * r->block_tokens;
	common = common < s->tokens ? common : s->tokens;
	return common < r->prompt_tokens ? common : r->prompt_tokens;
}

static int seq_failed(struct replay_run *run, const char *what, int status)
{
	return replay_fail(
		run, "%s: %s: %s", what, kvf_strerror(status), kvf_error_detail(run->engine));
}

static int open_seq(struct replay_run *run, const struct replay_request *q, struct kvf_seq **out)
{
	struct kvf_seq_params params;
	int status;

	kvf_seq_params_init(&params);
	params.salt = run->options->control == REPLAY_DROP_SALT ? run->options->salt : q->salt;
	status = kvf_seq_open(run->engine, &params, out);
	return status == KVF_OK ? 0 : seq_failed(run, "kvf_seq_open", status);
}

/* The sequence of the session that started this one, if it is of the same tenant and still open. */
static int fork_parent(
	struct replay_run *run, const struct replay_request *q, struct replay_session *s)
{
	const struct replay_session *parent;
	int status;

	if (q->r.parent == WL_NONE || q->r.parent >= run->n_sessions)
		return 0;
	parent = &run->sessions[q->r.parent];
	if (!parent->seq || parent->tenant != q->tenant)
		return 0;
	status = kvf_seq_fork(parent->seq, &s->seq);
	if (status != KVF_OK)
		return seq_failed(run, "kvf_seq_fork", status);
	s->block_tokens = parent->block_tokens;
	return remember(run, s, parent->blocks, parent->n_blocks, parent->tokens);
}

/* Cuts the sequence to what stays: to a whole chunk, unless the cut lies in the last one. */
static int cut(struct replay_run *run, struct kvf_seq *seq, uint64_t *keep)
{
	uint64_t length = kvf_seq_length(seq), chunk = run->options->chunk_size;
	int status;

	if (*keep >= length) {
		*keep = length;
		return 0;
	}
	if (*keep < length - length % chunk)
		*keep -= *keep % chunk;
	status = kvf_seq_truncate(seq, (size_t)*keep);
	return status == KVF_OK ? 0 : seq_failed(run, "kvf_seq_truncate", status);
}

static int append(
	struct replay_run *run, const struct replay_request *q, struct kvf_seq *seq, uint64_t from)
{
	uint32_t tokens[TOKENS_AT_ONCE];
	uint64_t spent = 0;

	while (from < q->r.prompt_tokens) {
		uint64_t left = q->r.prompt_tokens - from, begin;
		size_t n = left < TOKENS_AT_ONCE ? (size_t)left : TOKENS_AT_ONCE;
		int status;

		begin = tool_now_ns();
		wl_request_tokens(&q->r, from, n, tokens);
		run->own_ns += tool_now_ns() - begin;
		begin = tool_now_ns();
		status = kvf_seq_append(seq, tokens, n);
		spent += tool_now_ns() - begin;
		if (status != KVF_OK)
			return seq_failed(run, "kvf_seq_append", status);
		from += n;
		run->result->appended_tokens += n;
	}
	kvf_hist_add(&run->result->append, spent);
	return 0;
}

/* The control short-key: as a host with keys of its own that has too few bits of them. */
static int short_keys(struct replay_run *run, struct replay_request *q)
{
	uint64_t chunk = run->options->chunk_size, n = q->r.prompt_tokens / chunk;
	struct replay_cursor at = replay_cursor_begin(q->salt);
	uint32_t token;

	if (open_seq(run, q, &q->seq) != 0)
		return -1;
	q->own_seq = true;
	q->span_tokens = n * chunk;
	for (uint64_t i = 0; i < n; i++) {
		uint8_t key[1][KVF_KEY_BYTES];
		int status;

		for (; at.position < (i + 1) * chunk; at.position++) {
			wl_request_tokens(&q->r, at.position, 1, &token);
			at.hash = replay_hash_token(at.hash, token);
		}
		for (unsigned b = 0; b < KVF_KEY_BYTES; b += 8)
			kvf_store_le64(key[0] + b, wl_mix64((wl_mix64(at.hash) & 0xffff) + 1 + b));
		status = kvf_seq_append_keys(q->seq, (const uint8_t(*)[KVF_KEY_BYTES])key, 1);
		if (status != KVF_OK)
			return seq_failed(run, "kvf_seq_append_keys", status);
	}
	return 0;
}

int replay_session_begin(struct replay_run *run, struct replay_request *q)
{
	struct replay_session *s = &run->sessions[q->r.session];
	uint64_t keep;

	if (run->options->control == REPLAY_SHORT_KEY)
		return short_keys(run, q);
	if (s->seq && s->tenant != q->tenant)
		session_drop(s);
	if (!s->seq && fork_parent(run, q, s) != 0)
		return -1;
	if (!s->seq && open_seq(run, q, &s->seq) != 0)
		return -1;
	keep = common_tokens(s, &q->r);
	if (cut(run, s->seq, &keep) != 0 || append(run, q, s->seq, keep) != 0)
		return -1;
	s->tenant = q->tenant;
	s->block_tokens = q->r.block_tokens;
	q->seq = s->seq;
	q->own_seq = false;
	return remember(run, s, q->r.blocks, q->r.block_count, q->r.prompt_tokens);
}

void replay_session_end(struct replay_run *run, struct replay_request *q)
{
	if (q->own_seq)
		kvf_seq_close(q->seq);
	else if (q->r.session_ends && run->with_engine)
		session_drop(&run->sessions[q->r.session]);
	q->seq = NULL;
	q->own_seq = false;
}
