/* SPDX-License-Identifier: Apache-2.0 */
/* OpenAI's API: /v1/models, /v1/completions, /v1/chat/completions; and /metrics, /health. */
#ifndef EXAMPLES_LLAMA_SERVER_API_H
#define EXAMPLES_LLAMA_SERVER_API_H

#include <time.h>

#include "http.h"
#include "sched.h"

struct api {
	struct sched *sched;
	struct lkv *kv;
	const char *model;   /* the name clients know it by */
	size_t max_tokens;   /* of an answer whose request does not say */
	time_t started;
	int stopping;	     /* no new requests */
	uint64_t refused[2]; /* 4xx, 5xx */
};

/* What the handlers of struct http_settings do; user is the struct api. */
void api_request(struct exchange *x, void *user);
void api_gone(struct exchange *x, void *user);

/* ---- between the api_*.c ---- */

struct api_error {
	unsigned status;
	const char *code, *param; /* may be NULL */
	char text[256];
};

/* How the answer is to be given. */
struct api_options {
	int chat, stream, usage;
};

/* Returns -1 and describes it. */
int __attribute__((format(printf, 5, 6)))
api_fail(struct api_error *e, unsigned status, const char *code, const char *param, const char *format, ...);
/* Ends the exchange with it. */
void api_send_error(struct api *api, struct exchange *x, struct api_error *e);

/* The request's JSON to a job. 0, or -1 and *e; whatever the job got by then is freed by job_free(). */
int api_parse(const struct api *api, const struct exchange *x, struct api_options *options, struct job *job,
	      struct api_error *e);

/* Takes the job and the exchange, and answers. */
void api_answer(struct api *api, struct exchange *x, const struct api_options *options, struct job *job);
/* Cancels what belongs to an exchange whose client left. */
void api_forget(struct exchange *x);

void api_metrics(struct api *api, struct exchange *x);

#endif
