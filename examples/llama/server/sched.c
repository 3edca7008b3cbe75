/* SPDX-License-Identifier: Apache-2.0 */
/* The turns: what is computed next. See sched.h. */
#include "sched.h"

#include <time.h>

uint64_t mono_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void batch_add(struct sched *s, const struct job *job, size_t at, int logits)
{
	struct llama_batch *b = &s->batch;
	int32_t i = b->n_tokens++;

	b->token[i] = job->tokens.id[at];
	b->pos[i] = (llama_pos)at;
	b->n_seq_id[i] = 1;
	b->seq_id[i][0] = (llama_seq_id)job->slot;
	b->logits[i] = (int8_t)logits;
}

static int compute(struct sched *s)
{
	uint64_t begin = mono_ns(), took;
	int rc = llama_decode(lkv_context(s->set.kv), s->batch);

	llama_synchronize(lkv_context(s->set.kv));
	took = mono_ns() - begin;
	s->stats.steps++;
	s->stats.step_ns += took;
	if (took > s->stats.step_max_ns)
		s->stats.step_max_ns = took;
	return rc;
}

static void computed(struct job *job, size_t n)
{
	job->computed = n;
	lkv_computed(job->kv, n);
}

/* ---- prompts ---- */

/* The job whose prompt came first: pieces of several prompts in turn would only make all of them late. */
static struct job *first_prefill(struct sched *s)
{
	struct job *best = NULL;

	for (unsigned i = 0; i < s->set.slots; i++) {
		struct job *job = s->slot[i];

		if (job && job->state == JOB_PREFILL && (!best || job->added_ns < best->added_ns))
			best = job;
	}
	return best;
}

static struct job *next_prefill(struct sched *s)
{
	struct job *job;

	do
		job = first_prefill(s);
	while (job && slots_look_again(s, job));
	return job;
}

static void prefill(struct sched *s, struct job *job)
{
	size_t at = job->computed, end = job->n_prompt - 1, piece = s->set.piece, chunk = lkv_chunk_tokens(s->set.kv);
	size_t to = (at / piece + 1) * piece;

	if (to > end)
		to = end;
	s->batch.n_tokens = 0;
	for (size_t i = at; i < to; i++)
		batch_add(s, job, i, 0);
	if (compute(s)) {
		slots_end(s, job, JOB_FAILED, "llama_decode() failed on the prompt");
		return;
	}
	s->stats.prefilled_tokens += to - at;
	computed(job, to);
	if (to == end)
		job->state = JOB_DECODE;
	if (at / chunk != to / chunk)
		slots_keep(s, job);
}

/* ---- answers ---- */

static void send_text(struct sched *s, struct job *job, int last)
{
	struct buf piece = { 0 }, out = { 0 };
	int stop = 0;

	if (!last) {
		vocab_piece(lkv_model(s->set.kv), job->tokens.id[job->tokens.n - 1], &piece);
		stop = text_feed(&job->text, piece.data, piece.n, &out);
		last = job->generated == job->max_tokens;
	}
	if (last && !stop)
		text_flush(&job->text, &out);
	if (piece.failed || out.failed || job->text.held.failed)
		slots_end(s, job, JOB_FAILED, "out of memory");
	else if (out.n)
		job->on_text(job, out.data, out.n);
	if (stop && !job->ended)
		slots_end(s, job, JOB_STOP, NULL);
	buf_free(&piece);
	buf_free(&out);
}

static void take_token(struct sched *s, struct job *job, llama_token id)
{
	if (!job->first_ns) {
		job->first_ns = mono_ns();
		s->stats.first_tokens++;
		s->stats.first_token_ns += job->first_ns - job->added_ns;
		slots_keep(s, job);
	}
	if (!job->ignore_eos && llama_vocab_is_eog(llama_model_get_vocab(lkv_model(s->set.kv)), id)) {
		send_text(s, job, 1);
		if (!job->ended)
			slots_end(s, job, JOB_STOP, NULL);
		return;
	}
	if (tokens_add(&job->tokens, id)) {
		slots_end(s, job, JOB_FAILED, "out of memory");
		return;
	}
	/* Not appended: the cache will not hear of this token and those behind it. */
	(void)lkv_request_append(job->kv, &id, 1);
	job->generated++;
	s->stats.generated_tokens++;
	send_text(s, job, 0);
	if (!job->ended && job->generated == job->max_tokens)
		slots_end(s, job, JOB_LENGTH, NULL);
}

/* One token of every answer in the slots [begin, end). 1: there was one. */
static int decode_slots(struct sched *s, unsigned begin, unsigned end)
{
	int failed;

	s->batch.n_tokens = 0;
	for (unsigned i = begin; i < end; i++) {
		struct job *job = s->slot[i];

		if (!job || job->state != JOB_DECODE)
			continue;
		job->row = s->batch.n_tokens;
		batch_add(s, job, job->tokens.n - 1, 1);
	}
	if (s->batch.n_tokens == 0)
		return 0;
	failed = compute(s);
	for (unsigned i = begin; i < end; i++) {
		struct job *job = s->slot[i];

		if (!job || job->state != JOB_DECODE)
			continue;
		if (failed) {
			slots_end(s, job, JOB_FAILED, "llama_decode() failed");
			continue;
		}
		computed(job, job->tokens.n);
		take_token(s, job, llama_sampler_sample(job->sampler, lkv_context(s->set.kv), job->row));
	}
	return 1;
}

static int decode(struct sched *s)
{
	int worked = 0;

	if (!s->set.precise)
		return decode_slots(s, 0, s->set.slots);
	for (unsigned i = 0; i < s->set.slots; i++)
		worked |= decode_slots(s, i, i + 1);
	return worked;
}

/* ---- the whole ---- */

int sched_turn(struct sched *s)
{
	struct job *job;
	int worked;

	slots_move(s);
	job = next_prefill(s);
	if (job && s->prefill_next) {
		prefill(s, job);
		worked = 1;
	} else {
		worked = decode(s);
		if (!worked && job) {
			prefill(s, job);
			worked = 1;
		}
	}
	s->prefill_next = !s->prefill_next;
	if (worked)
		slots_move(s);
	return worked;
}

int sched_open(struct sched *s, const struct sched_settings *settings)
{
	size_t rows = settings->piece > settings->slots ? settings->piece : settings->slots;

	memset(s, 0, sizeof(*s));
	s->set = *settings;
	s->last = &s->first;
	s->batch = llama_batch_init((int32_t)rows, 0, 1);
	return s->batch.token ? 0 : -1;
}

void sched_close(struct sched *s)
{
	if (s->batch.token)
		llama_batch_free(s->batch);
	s->batch.token = NULL;
}

int sched_has_room(const struct sched *s)
{
	return s->waiting < s->set.queue || (s->waiting == 0 && s->running < s->set.slots);
}

int sched_busy(const struct sched *s)
{
	return s->waiting || s->running || s->leaving;
}

void sched_add(struct sched *s, struct job *job)
{
	job->sched = s;
	job->state = JOB_WAITING;
	job->n_prompt = job->tokens.n;
	job->added_ns = mono_ns();
	if (job->max_tokens > s->set.context - job->n_prompt)
		job->max_tokens = s->set.context - job->n_prompt;
	job->next = NULL;
	*s->last = job;
	s->last = &job->next;
	s->waiting++;
	s->stats.prompt_tokens += job->n_prompt;
	slots_move(s);
	if (job->state == JOB_WAITING)
		slots_ahead(s, job);
}

void sched_cancel(struct sched *s, struct job *job)
{
	struct job **link = &s->first;

	if (job->ended || job->canceled)
		return;
	s->stats.canceled++;
	job->canceled = 1;
	job->ended = 1;
	if (job->state != JOB_WAITING) {
		slots_cancel(s, job);
		return;
	}
	while (*link != job)
		link = &(*link)->next;
	*link = job->next;
	if (!*link)
		s->last = link;
	s->waiting--;
	slots_cancel(s, job);
}
