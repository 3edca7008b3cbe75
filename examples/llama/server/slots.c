/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a job: into a slot, out of it, and what kvferry does for it in between. See sched.h. */
#include "sched.h"

#include <inttypes.h>

/* ---- kvferry's answers ---- */

/* The last token of a prompt is computed with the answers. */
static void begin_prefill(struct job *job)
{
	job->state = job->computed + 1 < job->n_prompt ? JOB_PREFILL : JOB_DECODE;
}

static void on_event(struct lkv_request *r, enum lkv_event event, void *user)
{
	struct job *job = user;

	/* The rest is seen by slots_move(): a request is not closed from inside its own callback. */
	if (event == LKV_EVENT_LOADED && job->state == JOB_LOADING) {
		size_t present = lkv_request_present(r);

		job->sched->stats.cached_tokens += present - job->cached;
		job->computed = job->cached = job->stored = present;
		begin_prefill(job);
	}
	if (event == LKV_EVENT_STORED)
		job->sched->stores++;
}

static int open_request(struct sched *s, struct job *job, llama_seq_id seq, struct lkv_request **out)
{
	struct lkv_request_params p = { .seq = seq, .salt = job->salt, .user = job,
		.on_event = seq < 0 ? NULL : on_event };
	int rc = lkv_request_open(s->set.kv, &p, out);

	if (rc)
		return rc;
	rc = lkv_request_append(*out, job->tokens.id, job->tokens.n);
	if (rc) {
		(void)lkv_request_close(*out);
		*out = NULL;
	}
	return rc;
}

/* Closes a request that has nothing in flight. 1: there is none any more. */
static int closed(struct lkv_request **r)
{
	if (*r && lkv_request_close(*r) == KVF_OK)
		*r = NULL;
	return !*r;
}

/* ---- samplers ---- */

static struct llama_sampler *new_sampler(const struct sched *s, const struct job *job)
{
	int32_t n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(lkv_model(s->set.kv)));
	const struct sampling *p = &job->sampling;
	struct llama_sampler *chain = llama_sampler_chain_init(llama_sampler_chain_default_params());

	if (!chain)
		return NULL;
	if (p->frequency_penalty != 0 || p->presence_penalty != 0)
		llama_sampler_chain_add(chain, llama_sampler_init_penalties(n_vocab, (int32_t)job->max_tokens, 1,
									    p->frequency_penalty, p->presence_penalty));
	if (p->temperature <= 0) {
		llama_sampler_chain_add(chain, llama_sampler_init_greedy());
		return chain;
	}
	if (p->top_p < 1)
		llama_sampler_chain_add(chain, llama_sampler_init_top_p(p->top_p, 1));
	llama_sampler_chain_add(chain, llama_sampler_init_temp(p->temperature));
	llama_sampler_chain_add(chain, llama_sampler_init_dist(p->seed));
	return chain;
}

/* ---- in ---- */

void slots_ahead(struct sched *s, struct job *job)
{
	/* Where it does not work, the job waits a little longer later on. */
	if (open_request(s, job, -1, &job->ahead) == KVF_OK && lkv_prefetch(job->ahead) != KVF_OK)
		(void)closed(&job->ahead);
}

static void begin(struct sched *s, struct job *job, unsigned slot)
{
	s->slot[slot] = job;
	s->running++;
	job->slot = slot;
	job->admitted_ns = mono_ns();
	job->state = JOB_LOADING;
	job->sampler = new_sampler(s, job);
	if (!job->sampler || open_request(s, job, (llama_seq_id)slot, &job->kv) != KVF_OK) {
		slots_end(s, job, JOB_FAILED, "out of memory");
		return;
	}
	job->looked_up = s->stores;
	/* Refused: it is computed from the start. */
	if (lkv_load(job->kv, 0) != KVF_OK)
		begin_prefill(job);
}

int slots_look_again(struct sched *s, struct job *job)
{
	if (job->computed > job->cached || job->looked_up == s->stores)
		return 0;
	job->looked_up = s->stores;
	job->state = JOB_LOADING;
	if (lkv_load(job->kv, job->computed) == KVF_OK)
		return 1;
	begin_prefill(job);
	return 0;
}

/* ---- out ---- */

/* Tokens before the end of the last full chunk. */
static size_t full(const struct sched *s, size_t n)
{
	return n - n % lkv_chunk_tokens(s->set.kv);
}

/* Of the first n tokens of a prompt, those whose chunks are kept. */
static size_t worth(const struct sched *s, const struct job *job, size_t n)
{
	return s->set.unfull && n == job->n_prompt ? n : full(s, n);
}

static int store(struct job *job, size_t n, unsigned flags)
{
	int rc;

	lkv_computed(job->kv, n); /* what of it may be stored by this call */
	rc = lkv_store(job->kv, flags);
	lkv_computed(job->kv, job->computed);
	job->stored = n;
	return rc == KVF_OK;
}

/* Prompt first, since it may be kept where answers are not. 1: something is in flight. */
static int keep(struct sched *s, struct job *job)
{
	size_t prompt = job->computed < job->n_prompt ? job->computed : job->n_prompt;

	if (lkv_busy(job->kv))
		return 1;
	if (worth(s, job, prompt) > job->stored && store(job, prompt, 0))
		return 1;
	if (job->state != JOB_KEEPING || job->computed <= job->n_prompt ||
	    full(s, job->computed) <= full(s, job->stored))
		return 0;
	return store(job, job->computed, LKV_STORE_DECODE);
}

void slots_keep(struct sched *s, struct job *job)
{
	(void)keep(s, job);
}

void slots_end(struct sched *s, struct job *job, enum job_end end, const char *error)
{
	s->stats.ended[end]++;
	job->ended = 1;
	job->canceled |= end == JOB_FAILED; /* nothing of it is worth keeping */
	job->state = JOB_KEEPING;
	job->on_end(job, end, error);
}

void slots_cancel(struct sched *s, struct job *job)
{
	if (job->ahead && lkv_busy(job->ahead))
		lkv_cancel(job->ahead);
	if (job->kv && lkv_busy(job->kv))
		lkv_cancel(job->kv);
	if (job->state == JOB_WAITING) {
		job->next = s->leaving;
		s->leaving = job;
	}
	job->state = JOB_KEEPING;
}

void job_free(struct job *job)
{
	if (job->sampler)
		llama_sampler_free(job->sampler);
	tokens_free(&job->tokens);
	text_free(&job->text);
	free(job->salt);
	free(job);
}

/* 1: the job has gone and its slot is empty. */
static int leave(struct sched *s, struct job *job)
{
	if (job->kv && (job->canceled ? lkv_busy(job->kv) : keep(s, job)))
		return 0;
	if (!closed(&job->kv) || !closed(&job->ahead))
		return 0;
	llama_memory_seq_rm(llama_get_memory(lkv_context(s->set.kv)), (llama_seq_id)job->slot, -1, -1);
	s->slot[job->slot] = NULL;
	s->running--;
	job_free(job);
	return 1;
}

void slots_move(struct sched *s)
{
	for (struct job **link = &s->leaving; *link;) {
		struct job *job = *link;

		if (closed(&job->ahead)) {
			*link = job->next;
			job_free(job);
		} else {
			link = &job->next;
		}
	}
	for (unsigned i = 0; i < s->set.slots; i++) {
		struct job *job = s->slot[i];

		if (job && job->ahead)
			(void)closed(&job->ahead);
		if (job && (job->state != JOB_KEEPING || !leave(s, job)))
			continue;
		job = s->first;
		if (!job)
			continue;
		s->first = job->next;
		if (!s->first)
			s->last = &s->first;
		s->waiting--;
		begin(s, job, i);
	}
}
