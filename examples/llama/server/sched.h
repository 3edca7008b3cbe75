/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many conversations over few slots. A slot is one sequence of the llama.cpp context; a job (one request) waits for
 * one, has what kvferry knows of its prompt brought in, computes the rest, writes its answer, and leaves the slot
 * empty: what it computed lives on in the cache, not in the slot.
 *
 *	waiting -> loading -> prefill -> decode -> keeping -> gone
 *
 * llama_decode() blocks, so every turn calls it once and for little: `piece` tokens of one prompt, or one token of
 * every answer, in turns. Between two turns belong sockets and lkv_poll(); the copies of kvferry go on there.
 *
 * Answers do not depend on the cache: prompts are cut at multiples of the piece, counted from their first token, and
 * their last token is always computed apart, whatever came from the cache (see lkv_step()). Whether they depend on each
 * other says sched_settings.precise.
 */
#ifndef EXAMPLES_LLAMA_SERVER_SCHED_H
#define EXAMPLES_LLAMA_SERVER_SCHED_H

#include <stdint.h>

#include "../llama_kv.h"
#include "text.h"
#include "vocab.h"

#define MAX_SLOTS 64u

struct sched;

enum job_state { JOB_WAITING, JOB_LOADING, JOB_PREFILL, JOB_DECODE, JOB_KEEPING };
enum job_end { JOB_STOP, JOB_LENGTH, JOB_FAILED };

struct sampling {
	float temperature; /* 0: the most likely token */
	float top_p, frequency_penalty, presence_penalty;
	uint32_t seed;
};

struct job {
	/* set by who adds it */
	struct tokens tokens; /* the prompt; the answer is appended */
	size_t max_tokens;    /* of the answer */
	int ignore_eos;	      /* it goes on where the model would end it */
	struct sampling sampling;
	struct text text; /* with the stop strings */
	char *salt;	  /* tenant; may be NULL */
	/* A piece of the answer; may cancel the job. */
	void (*on_text)(struct job *job, const char *text, size_t n);
	/* The last call: the job is the scheduler's alone from here on. error: why, for JOB_FAILED. */
	void (*on_end)(struct job *job, enum job_end end, const char *error);
	void *user;
	/* may be read */
	enum job_state state;
	size_t n_prompt, cached, generated;
	/* the scheduler's */
	struct sched *sched;
	struct job *next; /* of those that wait */
	struct lkv_request *kv;
	struct lkv_request *ahead; /* brings the prompt up from slower tiers while the job waits */
	struct llama_sampler *sampler;
	size_t computed; /* tokens whose KV is in the slot */
	size_t stored;	 /* of these were handed to kvferry, or came from it */
	uint64_t looked_up; /* sched.stores when kvferry was asked for its prompt */
	int32_t row;	 /* of the present batch */
	unsigned slot;
	int canceled, ended;
	uint64_t added_ns, admitted_ns, first_ns;
};

struct sched_settings {
	struct lkv *kv;
	unsigned slots;
	size_t context; /* tokens of one conversation, prompt and answer */
	size_t piece;
	unsigned queue; /* jobs that may wait */
	/* Answers in batches of one token. llama.cpp's sums come out a little differently in batches of another size:
	 * enough to end a near tie otherwise once in some hundred tokens, and who else is being answered is chance. */
	int precise;
	int unfull; /* the last chunk of a prompt is kept though it is not full */
};

struct sched_stats {
	uint64_t ended[3]; /* by enum job_end */
	uint64_t canceled;
	uint64_t prompt_tokens, cached_tokens, prefilled_tokens, generated_tokens;
	uint64_t first_tokens, first_token_ns; /* time to first token: how many, and their sum */
	uint64_t steps, step_ns, step_max_ns;  /* of llama_decode(): nothing else happens meanwhile */
};

struct sched {
	struct sched_settings set;
	struct job *slot[MAX_SLOTS];
	struct job *first, **last; /* waiting */
	struct job *leaving; /* cancelled while they waited, with something in flight */
	unsigned waiting, running;
	struct llama_batch batch;
	uint64_t stores; /* that ended */
	int prefill_next; /* whose turn it is where both could */
	struct sched_stats stats;
};

/* 0, or -1: out of memory. */
int sched_open(struct sched *s, const struct sched_settings *settings);
/* Everything must have ended. */
void sched_close(struct sched *s);

/* Whether one more job may wait. */
int sched_has_room(const struct sched *s);
/* Takes a job from malloc(), its tokens checked: 1 <= n < context. */
void sched_add(struct sched *s, struct job *job);
/* Its client is gone: on_end is not called, what it has in flight is cancelled, its slot is free once that ended. */
void sched_cancel(struct sched *s, struct job *job);
/* One step. Returns 1 while there is something to compute: call it again after the others had their turn. */
int sched_turn(struct sched *s);
/* Whether any job is left. */
int sched_busy(const struct sched *s);

void job_free(struct job *job);
uint64_t mono_ns(void);

/* ---- between sched.c and slots.c ---- */

/* Waiting jobs into free slots, finished ones out of theirs. */
void slots_move(struct sched *s);
/* Its prompt is about to be computed. Others may have stored what it begins with since it was looked up: conversations
 * with one system prompt come together. 1: it is loading again. */
int slots_look_again(struct sched *s, struct job *job);
/* The answer is whole, or the job failed. */
void slots_end(struct sched *s, struct job *job, enum job_end end, const char *error);
/* Hands the chunks that were computed to kvferry, unless it is busy with the last ones. */
void slots_keep(struct sched *s, struct job *job);
void slots_cancel(struct sched *s, struct job *job);
/* While it waits. */
void slots_ahead(struct sched *s, struct job *job);

#endif
