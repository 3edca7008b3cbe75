/* SPDX-License-Identifier: Apache-2.0 */
/* See server.h. */
#include "server.h"

#include <signal.h>

#include "options.h"

static void quiet(enum ggml_log_level level, const char *text, void *user)
{
	(void)user;
	if (level == GGML_LOG_LEVEL_ERROR)
		fputs(text, stderr);
}

static int open_model(struct server *s, const struct options *o, char *why, size_t n)
{
	struct lkv_params p;

	lkv_params_init(&p);
	p.model_path = o->model;
	p.config = o->config;
	p.uncached = o->no_cache != 0;
	p.context.n_seq_max = (uint32_t)o->slots;
	p.context.n_ctx = (uint32_t)(o->slots * o->context);
	/* One sequence more than slots: kvferry's copies go through it, and llama.cpp wants a row for each. */
	p.context.n_batch = p.context.n_ubatch = (uint32_t)(o->piece > o->slots + 8 ? o->piece : o->slots + 8);
	if (o->precise)
		p.context.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
	if (o->threads)
		p.context.n_threads = p.context.n_threads_batch = (int32_t)o->threads;
	if (lkv_open(&s->kv, &p, why, n) != KVF_OK)
		return -1;
	if (!vocab_has_text(lkv_model(s->kv))) {
		snprintf(why, n, "%s has no vocabulary: it cannot read text", o->model);
		return -1;
	}
	if (!o->no_cache && lkv_chunk_tokens(s->kv) % o->piece) {
		snprintf(why, n, "--piece %lu does not divide chunk_size %u", o->piece,
			 (unsigned)lkv_chunk_tokens(s->kv));
		return -1;
	}
	return 0;
}

static int open_all(struct server *s, const struct options *o, char *why, size_t n)
{
	struct sched_settings sched = { .slots = (unsigned)o->slots, .context = o->context, .piece = o->piece,
		.queue = (unsigned)o->queue, .precise = o->precise, .unfull = o->unfull };
	struct http_settings http = { .host = o->host, .port = (unsigned)o->port, .body_bytes = o->body_kib << 10,
		.backlog_bytes = o->backlog_kib << 10, .connections = (unsigned)o->connections,
		.timeout_s = (unsigned)o->timeout_s, .request = api_request, .gone = api_gone, .user = &s->api };

	if (open_model(s, o, why, n))
		return -1;
	sched.kv = s->kv;
	s->open = 1;
	if (sched_open(&s->sched, &sched)) {
		snprintf(why, n, "out of memory");
		return -1;
	}
	s->api = (struct api){ .sched = &s->sched, .kv = s->kv, .model = o->name, .max_tokens = o->max_tokens,
		.started = time(NULL) };
	return http_open(&s->http, &http, why, n);
}

int server_open(struct server *s, int argc, char **argv)
{
	char why[1024] = "";
	struct options o;
	int rc;

	memset(s, 0, sizeof(*s));
	rc = options_read(&o, argc, argv);
	if (rc == 0) {
		signal(SIGPIPE, SIG_IGN);
		llama_log_set(quiet, NULL);
		rc = open_all(s, &o, why, sizeof(why)) ? 2 : 0;
	}
	options_free(&o);
	if (rc == 0) {
		printf("%s on http://%s:%u, %lu slots of %lu tokens, cache %s\n", o.name, o.host, http_port(s->http),
		       o.slots, o.context, o.no_cache ? "off" : "on");
		fflush(stdout);
		return 0;
	}
	if (*why)
		fprintf(stderr, "server: %s\n", why);
	server_close(s);
	return rc;
}

int server_turn(struct server *s)
{
	int more;

	if (!lkv_engine(s->kv))
		(void)lkv_poll(s->kv); /* has no descriptor that would wake anybody */
	more = sched_turn(&s->sched) || (!lkv_engine(s->kv) && sched_busy(&s->sched));
	if (http_timeout_ms(s->http) == 0) {
		http_run(s->http);
		more = 1; /* what came in just now is for the next turn: nobody may sleep before */
	}
	return more;
}

void server_stop(struct server *s)
{
	if (!s->api.stopping)
		http_stop_listening(s->http);
	s->api.stopping = 1;
}

void server_cut(struct server *s)
{
	http_close(s->http); /* cancels what its clients asked for */
	s->http = NULL;
}

int server_idle(const struct server *s)
{
	return !sched_busy(&s->sched);
}

void server_close(struct server *s)
{
	uint64_t until = mono_ns() + 10000000000u;

	if (s->http)
		server_cut(s);
	while (s->open && sched_busy(&s->sched) && mono_ns() < until) {
		(void)lkv_poll(s->kv);
		slots_move(&s->sched);
	}
	if (s->open)
		sched_close(&s->sched);
	s->open = 0;
	if (s->kv && lkv_close(s->kv) != KVF_OK)
		fprintf(stderr, "server: kvferry still has work in flight\n");
	s->kv = NULL;
	llama_backend_free();
}
