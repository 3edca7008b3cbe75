/* SPDX-License-Identifier: Apache-2.0 */
/* Routes. See api.h. */
#include "api.h"

#include <inttypes.h>
#include <jansson.h>

#define MODELS "/v1/models"

static void fail(struct api *api, struct exchange *x, unsigned status, const char *code, const char *text)
{
	struct api_error e;

	(void)api_fail(&e, status, code, NULL, "%s", text);
	api_send_error(api, x, &e);
}

static void reply_json(struct api *api, struct exchange *x, unsigned status, json_t *j)
{
	char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;

	json_decref(j);
	if (text)
		http_reply(x, status, "application/json", text, strlen(text));
	else
		fail(api, x, 500, NULL, "out of memory");
	free(text);
}

static json_t *model_object(const struct api *api)
{
	return json_pack("{s:s, s:s, s:I, s:s}", "id", api->model, "object", "model", "created",
			 (json_int_t)api->started, "owned_by", "kvferry");
}

static void models(struct api *api, struct exchange *x)
{
	reply_json(api, x, 200, json_pack("{s:s, s:[o]}", "object", "list", "data", model_object(api)));
}

static void one_model(struct api *api, struct exchange *x)
{
	if (strcmp(x->path + strlen(MODELS "/"), api->model))
		fail(api, x, 404, "model_not_found", "there is no such model here");
	else
		reply_json(api, x, 200, model_object(api));
}

static void complete(struct api *api, struct exchange *x, int chat)
{
	struct api_options options = { .chat = chat };
	struct job *job = NULL;
	struct api_error e;

	if (api->stopping || !sched_has_room(api->sched)) {
		x->header = "Retry-After";
		x->value = "1";
		fail(api, x, 503, "overloaded",
		     api->stopping ? "the server is shutting down" : "too many requests wait");
		return;
	}
	job = calloc(1, sizeof(*job));
	if (!job) {
		fail(api, x, 500, NULL, "out of memory");
		return;
	}
	if (api_parse(api, x, &options, job, &e)) {
		job_free(job);
		api_send_error(api, x, &e);
		return;
	}
	api_answer(api, x, &options, job);
}

static void completions(struct api *api, struct exchange *x)
{
	complete(api, x, 0);
}

static void chat_completions(struct api *api, struct exchange *x)
{
	complete(api, x, 1);
}

/* A cache that is ill makes answers slower, not wrong: the server stays healthy and says what is the matter. */
static void health(struct api *api, struct exchange *x)
{
	struct kvf_engine *engine = lkv_engine(api->kv);
	const char *cache;
	uint32_t bits = 0;

	if (engine && kvf_health(engine, &bits) != KVF_OK)
		bits |= KVF_HEALTH_DEAD;
	cache = !engine ? "off" : bits & ~(uint32_t)KVF_HEALTH_SCANNING ? "degraded" : "ok";
	reply_json(api, x, api->stopping ? 503 : 200,
		   json_pack("{s:s, s:s, s:i}", "status", api->stopping ? "stopping" : "ok", "cache", cache,
			     "kvferry_health_bits", (int)bits));
}

static const struct route {
	const char *method, *path;
	void (*run)(struct api *api, struct exchange *x);
	int prefix;
} routes[] = {
	{ "POST", "/v1/chat/completions", chat_completions, 0 },
	{ "POST", "/v1/completions", completions, 0 },
	{ "GET", MODELS, models, 0 },
	{ "GET", MODELS "/", one_model, 1 },
	{ "GET", "/health", health, 0 },
	{ "GET", "/metrics", api_metrics, 0 },
};

void api_request(struct exchange *x, void *user)
{
	struct api *api = user;

	for (size_t i = 0; i < sizeof(routes) / sizeof(*routes); i++) {
		const struct route *r = &routes[i];

		if (r->prefix ? strncmp(x->path, r->path, strlen(r->path)) : strcmp(x->path, r->path))
			continue;
		if (!strcmp(x->method, r->method) || (!strcmp(x->method, "HEAD") && !strcmp(r->method, "GET"))) {
			r->run(api, x);
			return;
		}
		x->header = "Allow";
		x->value = r->method;
		fail(api, x, 405, "method_not_allowed", "not with this method");
		return;
	}
	fail(api, x, 404, "not_found", "there is nothing under this path");
}

void api_gone(struct exchange *x, void *user)
{
	(void)user;
	api_forget(x);
}
