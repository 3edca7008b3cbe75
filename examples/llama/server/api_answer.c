/* SPDX-License-Identifier: Apache-2.0 */
/* Answers in OpenAI's shapes: one object at the end, or a stream of chunks. */
#include <jansson.h>
#include <sys/random.h>

#include "api.h"
#include "sse.h"

struct answer {
	struct api *api;
	struct exchange *x;
	struct job *job;
	struct api_options options;
	int begun; /* the stream */
	char id[32];
	time_t created;
	struct buf text; /* of an answer that is not streamed */
};

void api_send_error(struct api *api, struct exchange *x, struct api_error *e)
{
	json_t *j;
	char *text;

	/* What was quoted may have been cut inside a character. */
	for (char *c = e->text; *c; c++)
		if ((unsigned char)*c >= 0x80)
			*c = '?';
	j = json_pack("{s:{s:s, s:s, s:s?, s:s?}}", "error", "message", e->text, "type",
		      e->status < 500 ? "invalid_request_error" : "server_error", "param", e->param, "code", e->code);
	text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	api->refused[e->status >= 500]++;
	http_reply(x, e->status, "application/json", text ? text : "{}", text ? strlen(text) : 2);
	free(text);
	json_decref(j);
}

static void release(struct answer *a)
{
	a->x->user = NULL;
	buf_free(&a->text);
	free(a);
}

/* ---- shapes ---- */

static json_t *usage_of(const struct answer *a)
{
	const struct job *job = a->job;

	return json_pack("{s:I, s:I, s:I, s:{s:I}}", "prompt_tokens", (json_int_t)job->n_prompt, "completion_tokens",
			 (json_int_t)job->generated, "total_tokens", (json_int_t)(job->n_prompt + job->generated),
			 "prompt_tokens_details", "cached_tokens", (json_int_t)job->cached);
}

/* One choice; text NULL: there is none in this chunk. */
static json_t *choice_of(const struct answer *a, const char *text, size_t n, const char *finish)
{
	json_t *c = json_pack("{s:i, s:n, s:s?}", "index", 0, "logprobs", "finish_reason", finish);
	json_t *string = json_stringn(text ? text : "", n);

	if (!a->options.chat) {
		(void)json_object_set_new(c, "text", string);
		return c;
	}
	if (a->options.stream && a->begun && !text) {
		(void)json_object_set_new(c, "delta", json_object());
		json_decref(string);
		return c;
	}
	/* The role comes with the first token: clients take the first chunk for the first token. */
	(void)json_object_set_new(c, a->options.stream ? "delta" : "message",
				  a->options.stream && a->begun ? json_pack("{s:o}", "content", string) :
				  json_pack("{s:s, s:o}", "role", "assistant", "content", string));
	return c;
}

static json_t *envelope(const struct answer *a, json_t *choice)
{
	const char *object = !a->options.chat ? "text_completion" :
			     a->options.stream ? "chat.completion.chunk" : "chat.completion";
	json_t *choices = choice ? json_pack("[o]", choice) : json_array();

	return json_pack("{s:s, s:s, s:I, s:s, s:o}", "id", a->id, "object", object, "created", (json_int_t)a->created,
			 "model", a->api->model, "choices", choices);
}

/* ---- streams ---- */

/* 0, or -1: the client is too slow, or there is no memory. Takes the reference. */
static int send_chunk(struct answer *a, json_t *j)
{
	char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	int rc = text ? sse_event(a->x, text, strlen(text)) : -1;

	free(text);
	json_decref(j);
	return rc;
}

static int stream_text(struct answer *a, const char *text, size_t n, const char *finish)
{
	json_t *choice = choice_of(a, text, n, finish);

	if (!a->begun)
		http_stream(a->x, SSE_TYPE);
	a->begun = 1;
	return send_chunk(a, envelope(a, choice));
}

static void stream_end(struct answer *a, const char *finish)
{
	json_t *last;

	/* An answer without a word: the role all the same. */
	if ((!a->begun && stream_text(a, "", 0, NULL)) || stream_text(a, NULL, 0, finish))
		goto cut;
	if (a->options.usage) {
		last = envelope(a, NULL);
		(void)json_object_set_new(last, "usage", usage_of(a));
		if (send_chunk(a, last))
			goto cut;
	}
	sse_done(a->x);
	return;
cut:
	http_abort(a->x);
}

/* ---- the scheduler's calls ---- */

static void on_text(struct job *job, const char *text, size_t n)
{
	struct answer *a = job->user;

	if (!a->options.stream) {
		buf_add(&a->text, text, n);
		return;
	}
	if (stream_text(a, text, n, NULL) == 0)
		return;
	sched_cancel(a->api->sched, job);
	http_abort(a->x);
	release(a);
}

static void answer_whole(struct answer *a, const char *finish)
{
	json_t *j = envelope(a, choice_of(a, a->text.data, a->text.n, finish));
	char *text;

	(void)json_object_set_new(j, "usage", usage_of(a));
	text = j ? json_dumps(j, JSON_COMPACT) : NULL;
	if (text)
		http_reply(a->x, 200, "application/json", text, strlen(text));
	else
		http_abort(a->x);
	free(text);
	json_decref(j);
}

static void on_end(struct job *job, enum job_end end, const char *error)
{
	struct answer *a = job->user;
	struct api_error e;

	if (end == JOB_FAILED && a->begun) {
		http_abort(a->x); /* a stream that just ended would look whole */
	} else if (end == JOB_FAILED || a->text.failed) {
		(void)api_fail(&e, 500, NULL, NULL, "%s", error ? error : "out of memory");
		api_send_error(a->api, a->x, &e);
	} else if (a->options.stream) {
		stream_end(a, end == JOB_STOP ? "stop" : "length");
	} else {
		answer_whole(a, end == JOB_STOP ? "stop" : "length");
	}
	release(a);
}

void api_answer(struct api *api, struct exchange *x, const struct api_options *options, struct job *job)
{
	struct answer *a = calloc(1, sizeof(*a));
	struct api_error e;
	uint64_t random = 0;

	if (!a) {
		job_free(job);
		(void)api_fail(&e, 500, NULL, NULL, "out of memory");
		api_send_error(api, x, &e);
		return;
	}
	(void)!getrandom(&random, sizeof(random), 0);
	snprintf(a->id, sizeof(a->id), "%s-%016llx", options->chat ? "chatcmpl" : "cmpl", (unsigned long long)random);
	a->api = api;
	a->x = x;
	a->job = job;
	a->options = *options;
	a->created = time(NULL);
	x->user = a;
	job->user = a;
	job->on_text = on_text;
	job->on_end = on_end;
	sched_add(api->sched, job);
}

void api_forget(struct exchange *x)
{
	struct answer *a = x->user;

	if (!a)
		return;
	sched_cancel(a->api->sched, a->job);
	release(a);
}
