/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One run of a workload: which request begins when, and the loop that polls. Open loop: a request
 * begins at its time of arrival. Closed loop: a gap after the answer it follows. As fast as it
 * goes: both without the times.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/compiler.h"
#include "replay.h"

#define REAP 64
#define AHEAD 64 /* requests read before their turn, beside four times the concurrency */
#define AHEAD_TIMED 1024 /* where some wait for their time and others overtake them */
#define NAP_NS UINT64_C(1000000)

static int setup(struct replay_run *run)
{
	const struct replay_options *o = run->options;
	struct wl_options w = {.sources = o->sources,
		.source_count = o->n_sources,
		.format = o->format,
		.seed = o->seed,
		.limit = o->limit,
		.block_tokens = (uint32_t)o->trace_block_tokens};
	struct wl_error error = {{0}};

	if (wl_open(&run->workload, &w, &error) != 0)
		return replay_fail(run, "%s", error.text);
	if ((o->cuda ? replay_device_init_gpu : replay_device_init)(&run->device, o->token_bytes,
		    o->block_tokens, o->seed, run->error, sizeof(run->error)) != 0)
		return -1;
	if (replay_oracle_init(&run->oracle, run->device.n_layers * run->device.planes,
		    run->device.row_bytes) != 0)
		return replay_fail(run, "no memory");
	run->n_requests = (uint32_t)(o->concurrency * 4) + (o->speed > 0 ? AHEAD_TIMED : AHEAD);
	run->requests = calloc(run->n_requests, sizeof(*run->requests));
	run->order = calloc(run->n_requests, sizeof(*run->order));
	run->spare = calloc(run->n_requests, sizeof(*run->spare));
	if (!run->requests || !run->order || !run->spare)
		return replay_fail(run, "no memory for %u requests", run->n_requests);
	while (run->n_spare < run->n_requests) {
		run->spare[run->n_spare] = run->n_requests - 1 - run->n_spare;
		run->n_spare++;
	}
	return run->with_engine ? replay_engine_open(run) : 0;
}

static void teardown(struct replay_run *run)
{
	if (run->with_engine)
		replay_engine_close(run);
	replay_sessions_free(run);
	wl_close(run->workload);
	for (uint32_t i = 0; run->requests && i < run->n_requests; i++) {
		free(run->requests[i].blocks);
		free(run->requests[i].ids);
	}
	free(run->requests);
	free(run->order);
	free(run->spare);
	free(run->done_ns);
	replay_oracle_fini(&run->oracle);
	replay_device_fini(&run->device);
}

/* Room for the request's time of answer. */
static int reserve_done(struct replay_run *run, uint64_t index)
{
	size_t cap = run->done_cap ? run->done_cap : 1024;
	uint64_t *more;

	if (index < run->done_cap)
		return 0;
	while (cap <= index)
		cap *= 2;
	more = realloc(run->done_ns, cap * sizeof(*more));
	if (!more)
		return replay_fail(run, "no memory for %zu requests", cap);
	memset(more + run->done_cap, 0, (cap - run->done_cap) * sizeof(*more));
	run->done_ns = more;
	run->done_cap = cap;
	return 0;
}

/* The request's blocks, which its source will write over. */
static int keep_blocks(struct replay_run *run, struct replay_request *q)
{
	if (q->r.block_count > q->blocks_cap) {
		size_t cap = q->r.block_count + q->r.block_count / 4;
		uint64_t *more = realloc(q->blocks, cap * sizeof(*more));

		if (!more)
			return replay_fail(run, "no memory for the blocks of a request");
		q->blocks = more;
		q->blocks_cap = cap;
	}
	memcpy(q->blocks, q->r.blocks, q->r.block_count * sizeof(*q->blocks));
	q->r.blocks = q->blocks;
	return 0;
}

static void name_tenant(const struct replay_options *o, struct replay_request *q)
{
	q->tenant = (uint32_t)(q->r.index % o->tenants);
	if (o->tenants == 1)
		snprintf(q->salt, sizeof(q->salt), "%s", o->salt);
	else
		snprintf(q->salt, sizeof(q->salt), "%s-t%u", o->salt, q->tenant);
}

static int read_ahead(struct replay_run *run)
{
	while (run->n_spare && !run->exhausted) {
		uint32_t number = run->spare[run->n_spare - 1];
		struct replay_request *q = &run->requests[number];
		int got = wl_next(run->workload, &q->r);

		if (got < 0)
			return replay_fail(run, "%s", wl_error_text(run->workload));
		if (got == 0) {
			run->exhausted = true;
			break;
		}
		if (keep_blocks(run, q) != 0 || reserve_done(run, q->r.index) != 0 ||
			replay_session_reserve(run, q->r.session) != 0)
			return -1;
		name_tenant(run->options, q);
		q->state = REPLAY_WAIT;
		run->n_spare--;
		run->order[run->n_waiting++] = number;
	}
	return 0;
}

/* When the request may begin; KVF_NEVER: it waits for another one. */
static uint64_t due_ns(const struct replay_run *run, const struct replay_request *q)
{
	double speed = run->options->speed;
	uint64_t answered;

	if (run->sessions[q->r.session].busy)
		return KVF_NEVER;
	if (q->r.after == WL_NONE)
		return speed > 0 ? run->begin_ns + (uint64_t)((double)q->r.arrival_ns / speed) : 0;
	answered = run->done_ns[q->r.after];
	if (!answered)
		return KVF_NEVER;
	return speed > 0 ? answered + (uint64_t)((double)q->r.gap_ns / speed) : 0;
}

/* The answer of a timed request takes as long as the model took. */
static void note_done(struct replay_run *run, const struct replay_request *q)
{
	uint64_t at = tool_now_ns();

	if (run->options->speed > 0)
		at = kvf_max_u64(at,
			q->begun_ns + (uint64_t)((double)q->r.service_ns / run->options->speed));
	run->done_ns[q->r.index] = at;
	run->sessions[q->r.session].busy = false;
}

static void retire(struct replay_run *run, struct replay_request *q)
{
	note_done(run, q);
	q->state = REPLAY_FREE;
	run->spare[run->n_spare++] = (uint32_t)(q - run->requests);
}

/* Begins what is due, in order. *next: when the earliest of the others is. */
static int begin_due(struct replay_run *run, uint64_t *next)
{
	uint64_t now = tool_now_ns();
	uint32_t i = 0;

	*next = KVF_NEVER;
	while (i < run->n_waiting && run->n_active < run->options->concurrency) {
		struct replay_request *q = &run->requests[run->order[i]];
		uint64_t due = due_ns(run, q);
		bool later;

		if (due > now) {
			*next = kvf_min_u64(*next, due);
			i++;
			continue;
		}
		if (replay_request_begin(run, q, &later) != 0)
			return -1;
		if (later)
			break; /* until somebody gives blocks back */
		run->n_waiting--;
		memmove(&run->order[i], &run->order[i + 1],
			(run->n_waiting - i) * sizeof(*run->order));
		if (q->state == REPLAY_DONE) {
			retire(run, q);
			i = 0; /* somebody may have waited for it */
			continue;
		}
		run->sessions[q->r.session].busy = true;
		run->n_active++;
	}
	return 0;
}

static int turn(struct replay_run *run)
{
	struct kvf_completion c[REAP];
	int n = replay_poll(run, c, REAP);

	run->n_reaped = n > 0 ? (uint32_t)n : 0;
	for (int i = 0; i < n; i++) {
		struct replay_request *q = &run->requests[c[i].user_data];

		if (c[i].kind != KVF_DONE)
			continue;
		if (replay_request_step(run, q, &c[i]) != 0)
			return -1;
		if (q->state == REPLAY_DONE) {
			run->n_active--;
			retire(run, q);
		}
	}
	return n < 0 ? -1 : 0;
}

static void nap(uint64_t next)
{
	uint64_t now = tool_now_ns();
	struct timespec t = {0};

	if (next <= now)
		return;
	t.tv_nsec = (long)kvf_min_u64(next - now, NAP_NS);
	(void)nanosleep(&t, NULL);
}

static void show(struct replay_run *run)
{
	const struct replay_result *res = run->result;
	char text[96];

	if (!run->progress.on)
		return;
	snprintf(text, sizeof(text), "%s%" PRIu64 " requests, %.1f %% hit",
		run->with_engine ? "" : "cache off: ", res->requests,
		res->prompt_tokens ? 100.0 * (double)res->hit_tokens / (double)res->prompt_tokens
				   : 0.0);
	tool_progress_show(&run->progress, wl_permille(run->workload), text);
}

static int loop(struct replay_run *run)
{
	bool timed = run->options->speed > 0;
	uint64_t next;

	run->begin_ns = tool_now_ns();
	for (;;) {
		if (read_ahead(run) != 0 || begin_due(run, &next) != 0)
			return -1;
		show(run);
		if (!run->n_active && !run->n_waiting && run->exhausted)
			return 0;
		if (!run->n_active && next == KVF_NEVER && (run->exhausted || !run->n_spare))
			return replay_fail(run, "the workload's requests wait for each other");
		if (timed)
			replay_beat(run);
		run->n_reaped = 0;
		/* A host that has nothing to do just now still has the engine to run. */
		if ((run->n_active || (timed && run->engine)) && turn(run) != 0)
			return -1;
		if (timed && !run->n_reaped)
			replay_sleep(run, next);
		else if (!timed && !run->n_active && next != KVF_NEVER)
			nap(next);
	}
}

int replay_run(const struct replay_options *options, bool with_engine, struct replay_result *result,
	char *error, size_t error_size)
{
	struct replay_run run = {.options = options, .with_engine = with_engine, .result = result};
	uint64_t cpu;
	int rc;

	memset(result, 0, sizeof(*result));
	result->first_mismatch = WL_NONE;
	if (!options->quiet)
		tool_progress_begin(&run.progress);
	rc = setup(&run);
	if (rc == 0) {
		cpu = tool_process_cpu_ns();
		rc = loop(&run);
		if (rc == 0 && with_engine)
			rc = replay_engine_drain(&run);
		result->wall_ns = tool_now_ns() - run.begin_ns;
		result->cpu_ns = tool_process_cpu_ns() - cpu;
		result->sessions = wl_totals(run.workload)->sessions;
	}
	tool_progress_end(&run.progress);
	result->retrieved_bytes = result->stats.retrieved_bytes;
	result->device_bytes =
		(uint64_t)run.device.n_used * run.device.block_tokens * options->token_bytes;
	result->peak_rss_bytes = tool_peak_rss_bytes();
	teardown(&run);
	if (run.error[0]) {
		snprintf(error, error_size, "%s", run.error);
		rc = -1;
	}
	return rc;
}
