/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests as OpenAI's clients send them. Unknown fields are ignored, as OpenAI does; fields that would change the
 * answer and that this server does not know how to honour are refused.
 */
#include <jansson.h>
#include <stdarg.h>
#include <sys/random.h>

#include "api.h"

#define MAX_STOP_BYTES 256u
#define MAX_SALT_BYTES 128u

int api_fail(struct api_error *e, unsigned status, const char *code, const char *param, const char *format, ...)
{
	va_list ap;

	e->status = status;
	e->code = code;
	e->param = param;
	va_start(ap, format);
	vsnprintf(e->text, sizeof(e->text), format, ap);
	va_end(ap);
	return -1;
}

static int bad(struct api_error *e, const char *param, const char *text)
{
	return api_fail(e, 400, NULL, param, "'%s' %s", param, text);
}

/* NULL: the field is not there, or null. */
static json_t *field(const json_t *root, const char *name)
{
	json_t *v = json_object_get(root, name);

	return json_is_null(v) ? NULL : v;
}

/* ---- fields ---- */

static int get_number(const json_t *root, const char *name, double min, double max, float *out, struct api_error *e)
{
	const json_t *v = field(root, name);
	double d = json_number_value(v);

	if (!v)
		return 0;
	if (!json_is_number(v) || !(d >= min && d <= max))
		return api_fail(e, 400, NULL, name, "'%s' must be a number in [%g, %g]", name, min, max);
	*out = (float)d;
	return 0;
}

static int get_integer(const json_t *root, const char *name, json_int_t min, json_int_t max, json_int_t *out,
		       struct api_error *e)
{
	const json_t *v = field(root, name);

	if (!v)
		return 0;
	if (!json_is_integer(v) || json_integer_value(v) < min || json_integer_value(v) > max)
		return api_fail(e, 400, NULL, name, "'%s' must be an integer in [%" JSON_INTEGER_FORMAT ", %"
				JSON_INTEGER_FORMAT "]", name, min, max);
	*out = json_integer_value(v);
	return 0;
}

static int get_bool(const json_t *root, const char *name, int *out, struct api_error *e)
{
	const json_t *v = field(root, name);

	if (!v)
		return 0;
	if (!json_is_boolean(v))
		return bad(e, name, "must be true or false");
	*out = json_is_true(v);
	return 0;
}

/* Whether a field says what this server does anyway. */
static int is_harmless(const char *name, const json_t *v)
{
	if (!v || json_is_false(v))
		return 1;
	if (!strcmp(name, "n") || !strcmp(name, "best_of"))
		return json_is_integer(v) && json_integer_value(v) == 1;
	if (!strcmp(name, "response_format")) {
		const char *type = json_string_value(json_object_get(v, "type"));

		return type && !strcmp(type, "text");
	}
	return (json_is_array(v) && json_array_size(v) == 0) || (json_is_object(v) && json_object_size(v) == 0);
}

static int refuse_unsupported(const json_t *root, struct api_error *e)
{
	static const char *const names[] = { "n", "best_of", "response_format", "tools", "functions", "logprobs",
		"top_logprobs", "logit_bias", "echo", "suffix", "audio" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (!is_harmless(names[i], field(root, names[i])))
			return api_fail(e, 400, "unsupported_value", names[i], "'%s' is not supported with this value",
					names[i]);
	return 0;
}

static int get_stop(const json_t *root, struct text *text, struct api_error *e)
{
	json_t *v = field(root, "stop");
	size_t n = json_is_string(v) ? 1 : json_array_size(v);

	if (!v)
		return 0;
	if ((!json_is_string(v) && !json_is_array(v)) || n > TEXT_STOPS)
		return bad(e, "stop", "must be a string or an array of up to 4 strings");
	for (size_t i = 0; i < n; i++) {
		const json_t *s = json_is_string(v) ? v : json_array_get(v, i);
		size_t length = json_string_length(s);

		if (length == 0 || length > MAX_STOP_BYTES)
			return bad(e, "stop", "must be strings of 1 to 256 bytes");
		text->stop[i] = strdup(json_string_value(s));
		if (!text->stop[i])
			return api_fail(e, 500, NULL, NULL, "out of memory");
		text->n_stop++;
	}
	return 0;
}

/* As kvf_seq_open() wants it. */
static int get_salt(const json_t *root, struct job *job, struct api_error *e)
{
	const json_t *v = field(root, "cache_salt");
	const char *s = json_string_value(v);

	if (!v)
		return 0;
	if (!s || json_string_length(v) > MAX_SALT_BYTES || strpbrk(s, "@%/\\"))
		return bad(e, "cache_salt", "must be a string of at most 128 bytes, without @ % / and backslashes");
	for (const char *c = s; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			return bad(e, "cache_salt", "must not have control characters");
	job->salt = strdup(s);
	return job->salt ? 0 : api_fail(e, 500, NULL, NULL, "out of memory");
}

static int get_sampling(const json_t *root, struct sampling *p, struct api_error *e)
{
	json_int_t seed;

	p->temperature = p->top_p = 1;
	if (getrandom(&p->seed, sizeof(p->seed), 0) != sizeof(p->seed))
		p->seed = (uint32_t)mono_ns();
	seed = p->seed;
	if (get_number(root, "temperature", 0, 2, &p->temperature, e) ||
	    get_number(root, "top_p", 0, 1, &p->top_p, e) ||
	    get_number(root, "frequency_penalty", -2, 2, &p->frequency_penalty, e) ||
	    get_number(root, "presence_penalty", -2, 2, &p->presence_penalty, e) ||
	    get_integer(root, "seed", INT64_MIN, INT64_MAX, &seed, e))
		return -1;
	p->seed = (uint32_t)seed;
	return 0;
}

/* ---- prompts ---- */

static int tokenize(const struct api *api, const char *text, size_t n, struct job *job, struct api_error *e)
{
	return vocab_tokenize(lkv_model(api->kv), text, n, 1, &job->tokens) ?
		       api_fail(e, 500, NULL, NULL, "the prompt cannot be tokenized") : 0;
}

static int get_token_ids(const struct api *api, const json_t *array, struct job *job, struct api_error *e)
{
	int32_t n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(lkv_model(api->kv)));

	for (size_t i = 0; i < json_array_size(array); i++) {
		const json_t *v = json_array_get(array, i);

		if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) >= n_vocab)
			return api_fail(e, 400, NULL, "prompt", "'prompt' has at %zu no token id in [0, %d]", i,
					n_vocab - 1);
		if (tokens_add(&job->tokens, (llama_token)json_integer_value(v)))
			return api_fail(e, 500, NULL, NULL, "out of memory");
	}
	return 0;
}

/* A string, an array of token ids, or an array with one of these. */
static int get_prompt(const struct api *api, const json_t *root, struct job *job, struct api_error *e)
{
	const json_t *v = field(root, "prompt");

	if (json_is_array(v) && json_array_size(v) == 1 && !json_is_integer(json_array_get(v, 0)))
		v = json_array_get(v, 0);
	if (json_is_string(v))
		return tokenize(api, json_string_value(v), json_string_length(v), job, e);
	if (json_is_array(v) && json_array_size(v) && json_is_integer(json_array_get(v, 0)))
		return get_token_ids(api, v, job, e);
	return bad(e, "prompt", "must be one string or one array of token ids");
}

/* The content of a message: a string, an array of text parts, or null. */
static int add_content(const json_t *v, size_t at, struct buf *out, struct api_error *e)
{
	if (!v || json_is_null(v))
		return 0;
	if (json_is_string(v)) {
		buf_text(out, json_string_value(v));
		return 0;
	}
	for (size_t i = 0; i < json_array_size(v); i++) {
		const json_t *part = json_array_get(v, i);
		const char *type = json_string_value(json_object_get(part, "type"));

		if (!type || strcmp(type, "text") || !json_is_string(json_object_get(part, "text")))
			return api_fail(e, 400, NULL, "messages", "'messages[%zu].content[%zu]' is not a text part", at,
					i);
		buf_text(out, json_string_value(json_object_get(part, "text")));
	}
	if (json_is_array(v))
		return 0;
	return api_fail(e, 400, NULL, "messages", "'messages[%zu].content' must be a string or an array of text parts",
			at);
}

static const char *role_of(const json_t *message)
{
	static const char *const roles[] = { "system", "user", "assistant", "tool" };
	const char *role = json_string_value(json_object_get(message, "role"));

	if (role && !strcmp(role, "developer"))
		return "system";
	for (size_t i = 0; role && i < sizeof(roles) / sizeof(*roles); i++)
		if (!strcmp(role, roles[i]))
			return roles[i];
	return NULL;
}

static int apply_template(const struct api *api, struct llama_chat_message *m, size_t n, struct job *job,
			  struct api_error *e)
{
	struct buf text = { 0 };
	int rc;

	if (vocab_chat(lkv_model(api->kv), m, n, &text))
		rc = text.failed ? api_fail(e, 500, NULL, NULL, "out of memory") :
				   api_fail(e, 400, "unsupported_value", "messages",
					    "the model's chat template is not one that llama.cpp's library knows");
	else
		rc = tokenize(api, text.data, text.n, job, e);
	buf_free(&text);
	return rc;
}

static int get_messages(const struct api *api, const json_t *root, struct job *job, struct api_error *e)
{
	const json_t *array = field(root, "messages");
	size_t n = json_array_size(array), i = 0;
	struct llama_chat_message *m;
	int rc = 0;

	if (!json_is_array(array) || n == 0)
		return bad(e, "messages", "must be an array of messages");
	m = calloc(n, sizeof(*m));
	if (!m)
		return api_fail(e, 500, NULL, NULL, "out of memory");
	for (; i < n && rc == 0; i++) {
		const json_t *message = json_array_get(array, i);
		struct buf text = { 0 };

		m[i].role = role_of(message);
		if (!m[i].role)
			rc = api_fail(e, 400, NULL, "messages",
				      "'messages[%zu].role' must be system, developer, user, assistant or tool", i);
		else
			rc = add_content(json_object_get(message, "content"), i, &text, e);
		buf_add(&text, "", 1);
		m[i].content = text.data;
		if (text.failed)
			rc = api_fail(e, 500, NULL, NULL, "out of memory");
	}
	if (rc == 0)
		rc = apply_template(api, m, n, job, e);
	while (i-- > 0)
		free((char *)(uintptr_t)m[i].content);
	free(m);
	return rc;
}

/* ---- the whole ---- */

static int get_limits(const struct api *api, const json_t *root, int chat, struct job *job, struct api_error *e)
{
	json_int_t max = chat ? (json_int_t)api->max_tokens : 16; /* OpenAI's own default */
	size_t context = api->sched->set.context;

	if (get_integer(root, "max_tokens", 1, INT32_MAX, &max, e) ||
	    get_integer(root, "max_completion_tokens", 1, INT32_MAX, &max, e))
		return -1;
	job->max_tokens = (size_t)max;
	if (job->tokens.n == 0)
		return api_fail(e, 400, NULL, chat ? "messages" : "prompt", "the prompt is empty");
	if (job->tokens.n >= context)
		return api_fail(e, 400, "context_length_exceeded", chat ? "messages" : "prompt",
				"the context is %zu tokens long: the prompt has %zu of them, and the answer needs some",
				context, job->tokens.n);
	return 0;
}

static int check_model(const struct api *api, const json_t *root, struct api_error *e)
{
	const json_t *v = field(root, "model");

	if (!v)
		return 0;
	if (!json_is_string(v))
		return bad(e, "model", "must be a string");
	if (strcmp(json_string_value(v), api->model))
		return api_fail(e, 404, "model_not_found", "model", "there is no model '%.100s' here, only '%.100s'",
				json_string_value(v), api->model);
	return 0;
}

static int parse(const struct api *api, const json_t *root, struct api_options *o, struct job *job,
		 struct api_error *e)
{
	const json_t *stream_options = field(root, "stream_options");

	if (check_model(api, root, e) || refuse_unsupported(root, e) || get_bool(root, "stream", &o->stream, e) ||
	    get_bool(root, "ignore_eos", &job->ignore_eos, e) || /* vLLM's */
	    get_sampling(root, &job->sampling, e) || get_stop(root, &job->text, e) || get_salt(root, job, e))
		return -1;
	if (stream_options && (!json_is_object(stream_options) || !o->stream))
		return bad(e, "stream_options", "must be an object, and needs 'stream'");
	if (get_bool(stream_options, "include_usage", &o->usage, e))
		return -1;
	if (o->chat ? get_messages(api, root, job, e) : get_prompt(api, root, job, e))
		return -1;
	return get_limits(api, root, o->chat, job, e);
}

int api_parse(const struct api *api, const struct exchange *x, struct api_options *options, struct job *job,
	      struct api_error *e)
{
	json_error_t where;
	json_t *root = json_loadb(x->body, x->body_n, JSON_REJECT_DUPLICATES, &where);
	int rc;

	if (!root)
		return api_fail(e, 400, "invalid_json", NULL, "the body is no JSON: %.150s (line %d, column %d)",
				where.text, where.line, where.column);
	if (json_is_object(root))
		rc = parse(api, root, options, job, e);
	else
		rc = api_fail(e, 400, "invalid_json", NULL, "the body must be a JSON object");
	json_decref(root);
	return rc;
}
