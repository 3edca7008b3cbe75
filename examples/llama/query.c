/* SPDX-License-Identifier: Apache-2.0 */
/* Opening, prompt, asking: the host's side of the adapter, start to end, for one request at a time.
 */
#include "query.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

double query_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void die(const char *what, const char *detail)
{
	fprintf(stderr, "query_twice: %s: %s\n", what, detail);
	exit(1);
}

/* ---- opening ---- */

static void set(struct kvf_config *config, const char *key, const char *value)
{
	char text[512];
	struct kvf_report report;

	kvf_report_init(&report, text, sizeof(text));
	if (value && kvf_config_set(config, key, value, &report) != KVF_OK)
		die(key, text);
}

static struct kvf_config *configure(const struct query_options *o)
{
	char text[512], slots[32];
	struct kvf_report report;
	struct kvf_config *config;

	kvf_report_init(&report, text, sizeof(text));
	if (kvf_config_create(&config, NULL) != KVF_OK)
		die("configuration", "out of memory");
	if (kvf_config_load(config, o->config, NULL, &report) != KVF_OK)
		die("configuration", text);
	/* Room for one prompt and its answer, locked before the first question: the first store is
	 * not to pay for it. */
	snprintf(slots, sizeof(slots), "%" PRIu32, (o->tokens + o->answer) / 256 + 12);
	set(config, "kvf_pool_slots", slots);
	set(config, "kvf_pool_before_open", "true");
	set(config, "kvf_scrub", o->scrub);
	set(config, "local_disk", o->disk);
	set(config, "max_local_disk_size", o->disk ? "8" : NULL);
	set(config, "remote_url", o->remote);
	return config;
}

static void llama_log(enum ggml_log_level level, const char *text, void *user)
{
	(void)user;
	if (level == GGML_LOG_LEVEL_ERROR)
		fputs(text, stderr);
}

struct lkv *query_open(const struct query_options *o,
	void (*on_chunk)(const struct kvf_copy *, void *), void *user)
{
	struct kvf_config *config = configure(o);
	struct lkv_params params;
	struct lkv *kv;
	char why[512] = "";

	llama_log_set(llama_log, NULL);
	lkv_params_init(&params);
	params.model_path = o->model;
	params.context.n_ctx = o->tokens + o->answer + 16;
	if (o->threads)
		params.context.n_threads = params.context.n_threads_batch = (int32_t)o->threads;
	params.config = config;
	params.on_chunk = on_chunk;
	params.user = user;
	if (lkv_open(&kv, &params, why, sizeof(why)) != KVF_OK)
		die("cannot begin", why);
	kvf_config_destroy(config);
	while (!lkv_ready(kv) && lkv_poll(kv) >= 0)
		;
	return kv;
}

/* ---- the prompt ---- */

static char *read_text(const char *path)
{
	FILE *f = fopen(path, "rb");
	size_t n = 0, room = 1 << 16;
	char *text = malloc(room + 1);

	if (!f || !text)
		die(path, "cannot be read");
	while ((n += fread(text + n, 1, room - n, f)) == room) {
		char *more = realloc(text, 2 * room + 1);

		if (!more)
			die(path, "out of memory");
		text = more;
		room *= 2;
	}
	fclose(f);
	text[n] = '\0';
	return text;
}

static char *wrap(const struct query_options *o, const struct lkv *kv, const char *text, size_t n)
{
	const char *template = o->raw ? NULL : llama_model_chat_template(lkv_model(kv), NULL);
	size_t room = n + strlen(o->question) + 8;
	char *content = malloc(room), *prompt = malloc(2 * room + 4096);
	struct llama_chat_message message = {"user", content};
	int32_t written;

	if (!content || !prompt)
		die("the prompt", "out of memory");
	snprintf(content, room, "%.*s\n\n%s", (int)n, text, o->question);
	written = template ? llama_chat_apply_template(template, &message, 1, true, prompt,
				     (int32_t)(2 * room + 4096))
			   : -1;
	if (written < 0)
		snprintf(prompt, 2 * room, "%s\n", content);
	else
		prompt[written] = '\0';
	free(content);
	return prompt;
}

static llama_token *tokenize(const struct lkv *kv, const char *text, uint32_t *n)
{
	const struct llama_vocab *vocab = llama_model_get_vocab(lkv_model(kv));
	int32_t length = (int32_t)strlen(text);
	int32_t room = length + 16, got;
	llama_token *tokens = malloc((size_t)room * sizeof(*tokens));

	if (!tokens)
		die("the prompt", "out of memory");
	got = llama_tokenize(vocab, text, length, tokens, room, true, true);
	if (got < 0)
		die("the prompt", "llama.cpp cannot tokenize it");
	*n = (uint32_t)got;
	return tokens;
}

/* A cut inside a character would be another text. */
static size_t whole_characters(const char *text, size_t n)
{
	while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
		n--;
	return n;
}

llama_token *query_prompt(const struct query_options *o, const struct lkv *kv, uint32_t *n)
{
	char *text = read_text(o->text);
	size_t fits = 0,
	       too_much = strlen(text) +
			  1; /* bytes of the text: the longest prefix that fits is searched */
	llama_token *tokens = NULL;
	size_t at = too_much - 1;

	for (;;) {
		char *prompt = wrap(o, kv, text, whole_characters(text, at));
		llama_token *got = tokenize(kv, prompt, n);
		bool ok = *n <= o->tokens;

		free(prompt);
		if (ok) {
			free(tokens);
			tokens = got;
			fits = at;
			if (too_much - fits <= 1 || *n + 1 >= o->tokens)
				break;
		} else {
			/* Near the answer a token is about as long as the average so far. */
			size_t guess = at * o->tokens / *n;

			free(got);
			too_much = at;
			if (!fits && guess && guess < at) {
				at = guess;
				continue;
			}
		}
		if (too_much <= fits + 1 && !tokens)
			die(o->question, "the question alone does not fit");
		if (too_much <= fits + 1)
			break;
		at = fits + (too_much - fits) / 2;
	}
	free(text);
	return tokens;
}

/* ---- asking ---- */

static void show(const struct lkv *kv, llama_token token)
{
	char piece[128];
	int n = llama_token_to_piece(
		llama_model_get_vocab(lkv_model(kv)), token, piece, sizeof(piece), 0, false);

	/* Models with random weights say anything: no control characters for the terminal. */
	for (int i = 0; i < n; i++)
		putchar((unsigned char)piece[i] >= 32 || piece[i] == '\n' ? piece[i] : '?');
	fflush(stdout);
}

static llama_token best(const float *logits, uint32_t n)
{
	llama_token token = 0;

	for (uint32_t i = 1; i < n; i++)
		token = logits[i] > logits[token] ? (llama_token)i : token;
	return token;
}

static bool evaluate(struct lkv *kv, llama_token *tokens, size_t n)
{
	if (llama_decode(lkv_context(kv), llama_batch_get_one(tokens, (int32_t)n)) == 0)
		return true;
	fprintf(stderr, "query_twice: llama_decode() of %zu tokens failed\n", n);
	return false;
}

/* Computes what was not loaded. */
static bool prefill(struct lkv *kv, struct lkv_request *r, llama_token *prompt, size_t n)
{
	for (size_t at = lkv_request_present(r), step; at < n; at += step) {
		step = lkv_step(kv, at, n);
		if (!evaluate(kv, prompt + at, step))
			return false;
		lkv_computed(r, at + step);
	}
	return true;
}

/* The rest of the answer; what the request stores meanwhile goes on between two tokens. */
static bool generate(const struct query_options *o, struct lkv *kv, struct lkv_request *r,
	unsigned flags, struct query_answer *a)
{
	const struct llama_vocab *vocab = llama_model_get_vocab(lkv_model(kv));
	llama_token token = a->tokens[0];

	while (!llama_vocab_is_eog(vocab, token)) {
		if (!(flags & QUERY_QUIET))
			show(kv, token);
		if (a->n_tokens == o->answer)
			break;
		if (!evaluate(kv, &token, 1) || lkv_request_append(r, &token, 1) != KVF_OK)
			return false;
		lkv_computed(r, lkv_request_length(r));
		lkv_poll(kv);
		token = best(llama_get_logits_ith(lkv_context(kv), -1), a->n_vocab);
		a->tokens[a->n_tokens++] = token;
	}
	if (!(flags & QUERY_QUIET))
		putchar('\n');
	return true;
}

static unsigned store_level(const struct query_options *o)
{
	return o->remote ? LKV_STORE_REMOTE : o->disk ? LKV_STORE_DURABLE : 0;
}

static bool store(struct lkv *kv, struct lkv_request *r, unsigned flags, struct query_answer *a)
{
	if (lkv_store(r, flags) == KVF_OK)
		return true;
	fprintf(stderr, "query_twice: store: %s\n", lkv_error(kv));
	a->result = *lkv_request_result(r);
	return false;
}

static bool ask(const struct query_options *o, struct lkv *kv, struct lkv_request *r,
	llama_token *prompt, uint32_t n, unsigned flags, struct query_answer *a)
{
	double begun = query_now();
	const float *logits;

	if (lkv_request_append(r, prompt, n) != KVF_OK || lkv_load(r, a->resident) != KVF_OK) {
		fprintf(stderr, "query_twice: load: %s\n", lkv_error(kv));
		return false;
	}
	lkv_wait(r);
	a->load = query_now() - begun;
	a->result = *lkv_request_result(r);
	a->kv_bytes = a->result.loaded * lkv_token_bytes(kv);
	if (!prefill(kv, r, prompt, n))
		return false;
	logits = llama_get_logits_ith(lkv_context(kv), -1);
	a->tokens[0] = best(logits, a->n_vocab);
	a->n_tokens = 1;
	a->ttft = query_now() - begun;
	memcpy(a->logits, logits, a->n_vocab * sizeof(*logits));
	if (flags & QUERY_STORE && !store(kv, r, store_level(o), a))
		return false;
	if (!generate(o, kv, r, flags, a))
		return false;
	lkv_wait(r);
	a->result.stored = lkv_request_result(r)->stored;
	/* Ends at once with nothing unless save_decode_cache is on. */
	if (flags & QUERY_STORE && store(kv, r, LKV_STORE_DECODE, a))
		lkv_wait(r);
	return true;
}

static bool prefetch(struct lkv *kv, const struct lkv_request_params *params, llama_token *prompt,
	uint32_t n, struct query_answer *a)
{
	double begun = query_now();
	struct lkv_request *r;
	bool ok;

	if (lkv_request_open(kv, params, &r) != KVF_OK)
		return false;
	ok = lkv_request_append(r, prompt, n) == KVF_OK && lkv_prefetch(r) == KVF_OK;
	lkv_wait(r);
	lkv_request_close(r);
	a->prefetch = query_now() - begun;
	return ok;
}

bool query_ask(const struct query_options *o, struct lkv *kv, llama_token *prompt, uint32_t n,
	unsigned flags, struct query_answer *a)
{
	struct lkv_request_params params = {.request_id = "query", .salt = o->salt};
	llama_memory_t memory = llama_get_memory(lkv_context(kv));
	struct lkv_request *r;
	bool ok;

	a->n_vocab = (uint32_t)llama_vocab_n_tokens(llama_model_get_vocab(lkv_model(kv)));
	if (a->n_vocab > QUERY_MAX_VOCAB) {
		fprintf(stderr,
			"query_twice: the vocabulary has %" PRIu32
			" tokens, at most %d are handled\n",
			a->n_vocab, QUERY_MAX_VOCAB);
		return false;
	}
	/* The last token of a prompt is always computed; else nothing of it stays, unless that is
	 * what is measured. */
	llama_memory_seq_rm(memory, 0, flags & QUERY_RESIDENT ? (llama_pos)n - 1 : -1, -1);
	a->resident = (uint32_t)(llama_memory_seq_pos_max(memory, 0) + 1);
	if (flags & QUERY_PREFETCH && !prefetch(kv, &params, prompt, n, a))
		return false;
	if (lkv_request_open(kv, &params, &r) != KVF_OK) {
		fprintf(stderr, "query_twice: %s\n", lkv_error(kv));
		return false;
	}
	ok = ask(o, kv, r, prompt, n, flags, a);
	lkv_cancel(r);
	lkv_wait(r);
	lkv_request_close(r);
	return ok;
}
