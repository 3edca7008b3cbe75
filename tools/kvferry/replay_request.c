/* SPDX-License-Identifier: Apache-2.0 */
/* One request of a replay: blocks, tokens, lookup, retrieve and check, compute, store. */
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "replay.h"

uint64_t replay_now_ns(const struct replay_run *run)
{
	return tool_now_ns() - run->own_ns;
}

static int reserve_ids(struct replay_run *run, struct replay_request *q, uint64_t want)
{
	if (want > q->ids_cap) {
		size_t cap = (size_t)(want + want / 4);
		uint32_t *more = realloc(q->ids, cap * sizeof(*more));

		if (!more)
			return replay_fail(run, "no memory for a block table of %zu blocks", cap);
		q->ids = more;
		q->ids_cap = cap;
	}
	return 0;
}

static int take_blocks(struct replay_run *run, struct replay_request *q, bool *later)
{
	uint64_t want = kvf_div_up(q->r.prompt_tokens, run->device.block_tokens);

	if (want > run->device.n_blocks)
		return replay_fail(run,
			"a prompt of %llu tokens is larger than the device (%llu tokens)",
			(unsigned long long)q->r.prompt_tokens,
			(unsigned long long)run->device.n_blocks * run->device.block_tokens);
	if (reserve_ids(run, q, want) != 0)
		return -1;
	*later = !replay_device_take(&run->device, q->ids, (uint32_t)want);
	if (!*later)
		q->n_ids = (uint32_t)want;
	return 0;
}

static int submit(struct replay_run *run, struct replay_request *q, struct kvf_op *op,
	enum replay_state state)
{
	uint64_t id;
	int n;

	op->user_data = (uint64_t)(q - run->requests);
	op->deadline_ns = KVF_NO_DEADLINE;
	if (run->options->deadline_ms)
		op->deadline_ns = kvf_now_ns(run->engine) + run->options->deadline_ms * KVF_NS_PER_MS;
	q->submitted_ns = replay_now_ns(run);
	n = kvf_submit(run->engine, op, 1, &id);
	if (n != 1)
		return replay_fail(
			run, "kvf_submit: %s: %s", kvf_strerror(n), kvf_error_detail(run->engine));
	q->state = state;
	return 0;
}

static int submit_lookup(struct replay_run *run, struct replay_request *q)
{
	struct kvf_op op;

	kvf_prep_lookup(&op, q->seq, 0, KVF_TIER_ALL, 0);
	return submit(run, q, &op, REPLAY_LOOKUP);
}

static int submit_copy(
	struct replay_run *run, struct replay_request *q, uint64_t first, uint64_t n, bool is_store)
{
	const struct kvf_fence_in now = {.kind = KVF_FENCE_NOW};
	const struct kvf_block_list list = {.ids = q->ids, .n = q->n_ids};
	const struct kvf_blocks blocks = {.n_groups = 1, .groups = &list};
	const struct kvf_span span = {
		.first_token = (size_t)first, .n = (size_t)n, .blocks = &blocks};
	struct kvf_op op;

	if (is_store)
		kvf_prep_store(&op, q->seq, &span, &now);
	else
		kvf_prep_retrieve(&op, q->seq, &span, &now);
	return submit(run, q, &op, is_store ? REPLAY_STORE : REPLAY_RETRIEVE);
}

static void finish(struct replay_run *run, struct replay_request *q)
{
	struct replay_result *res = run->result;

	replay_device_give(&run->device, q->ids, q->n_ids);
	replay_session_end(run, q);
	res->requests++;
	res->prompt_tokens += q->r.prompt_tokens;
	res->output_tokens += q->r.output_tokens;
	q->state = REPLAY_DONE;
}

/* The rest of the prompt, as the model would. */
static void compute(struct replay_run *run, struct replay_request *q)
{
	uint64_t begin = tool_now_ns();

	replay_compute(&run->oracle, &run->device, &q->r, q->ids, &q->cursor, q->r.prompt_tokens);
	run->own_ns += tool_now_ns() - begin;
	run->result->computed_tokens += q->r.prompt_tokens - q->delivered;
}

static int compute_and_store(struct replay_run *run, struct replay_request *q)
{
	uint64_t first = q->delivered - q->delivered % run->options->chunk_size;

	compute(run, q);
	if (q->span_tokens <= first) {
		finish(run, q);
		return 0;
	}
	return submit_copy(run, q, first, q->span_tokens - first, true);
}

static void check_bytes(struct replay_run *run, struct replay_request *q)
{
	struct replay_result *res = run->result;
	uint64_t begin = tool_now_ns(), wrong;

	wrong = replay_verify(&run->oracle, &run->device, &q->r, q->ids, &q->cursor, q->delivered);
	run->own_ns += tool_now_ns() - begin;
	if (run->device.gpu_error[0])
		(void)replay_fail(run, "the GPU: %s", run->device.gpu_error);
	res->verified_bytes += q->delivered * run->options->token_bytes;
	res->mismatched_bytes += wrong;
	if (!wrong)
		return;
	if (!res->mismatched_requests++)
		res->first_mismatch = q->r.index;
}

int replay_request_begin(struct replay_run *run, struct replay_request *q, bool *later)
{
	*later = false;
	q->span_tokens = q->r.prompt_tokens;
	q->found = q->delivered = 0;
	if (take_blocks(run, q, later) != 0 || *later)
		return *later ? 0 : -1;
	q->begun_ns = tool_now_ns();
	q->cursor = replay_cursor_begin(q->salt);
	if (!run->with_engine) {
		compute(run, q);
		finish(run, q);
		return 0;
	}
	if (replay_session_begin(run, q) != 0)
		return -1;
	return submit_lookup(run, q);
}

/* Counts what did not end well; a store that found no room is part of the game. */
static void judge(
	struct replay_run *run, const struct replay_request *q, const struct kvf_completion *c)
{
	static const char *const names[] = {[REPLAY_LOOKUP] = "lookup",
		[REPLAY_RETRIEVE] = "retrieve",
		[REPLAY_STORE] = "store"};
	struct replay_result *res = run->result;

	if (c->status == KVF_OK)
		return;
	if (q->state == REPLAY_STORE && c->status == KVF_EDROPPED) {
		res->dropped_stores++;
		return;
	}
	if (run->options->deadline_ms && c->status == KVF_ETIMEDOUT) {
		res->timed_out_ops++;
		return;
	}
	if (!res->failed_ops++)
		snprintf(res->failure, sizeof(res->failure), "%s of request %llu: %s, reason %u",
			names[q->state], (unsigned long long)q->r.index, kvf_strerror(c->status),
			c->reason);
}

int replay_request_step(
	struct replay_run *run, struct replay_request *q, const struct kvf_completion *c)
{
	struct replay_result *res = run->result;
	uint64_t took = replay_now_ns(run) - q->submitted_ns;

	judge(run, q, c);
	replay_judge_deadline(run, q);
	switch (q->state) {
	case REPLAY_LOOKUP:
		kvf_hist_add(&res->lookup, took);
		q->found = c->tokens;
		res->found_tokens += q->found;
		if (q->found)
			return submit_copy(run, q, 0, q->found, false);
		return compute_and_store(run, q);
	case REPLAY_RETRIEVE:
		kvf_hist_add(&res->retrieve, took);
		q->delivered = c->tokens;
		res->hit_tokens += q->delivered;
		res->short_retrieves += q->delivered < q->found;
		if (q->delivered > q->found)
			return replay_fail(run, "a retrieve of %llu tokens says it delivered %llu",
				(unsigned long long)q->found, (unsigned long long)q->delivered);
		check_bytes(run, q);
		return compute_and_store(run, q);
	case REPLAY_STORE:
		kvf_hist_add(&res->store, took);
		finish(run, q);
		return 0;
	default:
		return replay_fail(run, "a completion for a request that waits for none");
	}
}
