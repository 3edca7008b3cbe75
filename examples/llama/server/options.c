/* SPDX-License-Identifier: Apache-2.0 */
/* See options.h. */
#include "options.h"

#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
	"usage: %s -m MODEL.gguf [OPTION...]\n"
	"An OpenAI-compatible server: many conversations over few slots of llama.cpp, their KV kept by kvferry.\n\n"
	"  -m, --model FILE     a GGUF file\n"
	"      --name NAME      what clients call it (the file's name)\n"
	"      --host ADDRESS   numeric (127.0.0.1)\n"
	"  -p, --port N         0: any, it is printed (8000)\n"
	"  -s, --slots N        conversations that are computed at a time (4)\n"
	"  -c, --context N      tokens of one conversation (4096)\n"
	"      --piece N        tokens of a prompt that are computed at a time; divides chunk_size (64)\n"
	"  -t, --threads N      of llama.cpp (all cores)\n"
	"      --max-tokens N   of a chat answer whose request does not say (1024)\n"
	"      --queue N        requests that may wait for a slot (64)\n"
	"      --connections N  at a time (256)\n"
	"      --body-kib N     of a request (2048)\n"
	"      --backlog-kib N  of a streamed answer that its client does not read (1024)\n"
	"      --timeout N      seconds a client may take to send its request, or not read its answer (30)\n"
	"      --precise        no flash attention, one answer a step: answers do not depend on each other\n"
	"      --config FILE    kvferry's configuration, as LMCache's; LMCACHE_* variables count as well\n"
	"      --set KEY=VALUE  one key of it\n"
	"      --no-cache       without kvferry, to compare with\n";

enum { NAME = 256, HOST, PIECE, MAX_TOKENS, QUEUE, CONNECTIONS, BODY, BACKLOG, TIMEOUT, PRECISE, CONFIG, SET,
	NO_CACHE };

static const struct option table[] = {
	{ "model", required_argument, NULL, 'm' },	 { "name", required_argument, NULL, NAME },
	{ "host", required_argument, NULL, HOST },	 { "port", required_argument, NULL, 'p' },
	{ "slots", required_argument, NULL, 's' },	 { "context", required_argument, NULL, 'c' },
	{ "piece", required_argument, NULL, PIECE },	 { "threads", required_argument, NULL, 't' },
	{ "max-tokens", required_argument, NULL, MAX_TOKENS }, { "queue", required_argument, NULL, QUEUE },
	{ "connections", required_argument, NULL, CONNECTIONS }, { "body-kib", required_argument, NULL, BODY },
	{ "timeout", required_argument, NULL, TIMEOUT }, { "config", required_argument, NULL, CONFIG },
	{ "backlog-kib", required_argument, NULL, BACKLOG },
	{ "set", required_argument, NULL, SET },	 { "no-cache", no_argument, NULL, NO_CACHE },
	{ "precise", no_argument, NULL, PRECISE },
	{ "help", no_argument, NULL, 'h' },		 { 0 }
};

static int wrong(const char *what, const char *why)
{
	fprintf(stderr, "server: %s: %s\n", what, why);
	return 3;
}

static int number(const char *text, unsigned long min, unsigned long max, unsigned long *out, const char *name)
{
	char *end, why[96];

	*out = strtoul(text, &end, 10);
	if (*text >= '0' && *text <= '9' && !*end && *out >= min && *out <= max)
		return 0;
	snprintf(why, sizeof(why), "'%.30s' is no number in [%lu, %lu]", text, min, max);
	return wrong(name, why);
}

static int configure(struct options *o, const char *file, char **set, int n_set)
{
	static char text[4096];
	struct kvf_report report;
	char unfull[16];
	int rc;

	kvf_report_init(&report, text, sizeof(text));
	rc = kvf_config_create(&o->config, NULL);
	if (rc == KVF_OK)
		rc = kvf_config_load(o->config, file, NULL, &report);
	/* A pool that grows under load makes the first requests late: it is all there before the first one comes. */
	if (rc == KVF_OK && !strcmp(kvf_config_origin(o->config, "kvf_pool_before_open"), "default"))
		rc = kvf_config_set(o->config, "kvf_pool_before_open", "true", &report);
	for (int i = 0; i < n_set && rc == KVF_OK; i++) {
		char *value = strchr(set[i], '=');

		if (!value)
			return wrong("--set", "wants KEY=VALUE");
		*value = 0;
		rc = kvf_config_set(o->config, set[i], value + 1, &report);
		*value = '=';
	}
	if (rc == KVF_OK && kvf_config_get(o->config, "save_unfull_chunk", unfull, sizeof(unfull)) > 0)
		o->unfull = !strcmp(unfull, "true");
	if (*text)
		fprintf(stderr, "%s%s", text, text[strlen(text) - 1] == '\n' ? "" : "\n");
	return rc == KVF_OK ? 0 : wrong("configuration", kvf_strerror(rc));
}

static int take(struct options *o, int c, const char *program)
{
	switch (c) {
	case 'p':
		return number(optarg, 0, 65535, &o->port, "--port");
	case 's':
		return number(optarg, 1, 64, &o->slots, "--slots");
	case 'c':
		return number(optarg, 16, 1ul << 20, &o->context, "--context");
	case 't':
		return number(optarg, 1, 1024, &o->threads, "--threads");
	case PIECE:
		return number(optarg, 1, 4096, &o->piece, "--piece");
	case MAX_TOKENS:
		return number(optarg, 1, INT_MAX, &o->max_tokens, "--max-tokens");
	case QUEUE:
		return number(optarg, 0, 100000, &o->queue, "--queue");
	case CONNECTIONS:
		return number(optarg, 1, 100000, &o->connections, "--connections");
	case BODY:
		return number(optarg, 1, 1ul << 20, &o->body_kib, "--body-kib");
	case BACKLOG:
		return number(optarg, 1, 1ul << 20, &o->backlog_kib, "--backlog-kib");
	case TIMEOUT:
		return number(optarg, 1, 86400, &o->timeout_s, "--timeout");
	case 'h':
		printf(help, program);
		return 1;
	default:
		fprintf(stderr, help, program);
		return 3;
	}
}

int options_read(struct options *o, int argc, char **argv)
{
	const char *config = NULL, *slash;
	char **set = calloc((size_t)argc, sizeof(*set));
	int n_set = 0, rc = set ? 0 : 3, c;

	*o = (struct options){ .host = "127.0.0.1", .port = 8000, .slots = 4, .context = 4096, .piece = 64, .queue = 64,
		.body_kib = 2048, .backlog_kib = 1024, .timeout_s = 30, .max_tokens = 1024, .connections = 256 };
	while (rc == 0 && (c = getopt_long(argc, argv, "m:p:s:c:t:h", table, NULL)) != -1) {
		if (c == 'm')
			o->model = optarg;
		else if (c == NAME)
			o->name = optarg;
		else if (c == HOST)
			o->host = optarg;
		else if (c == CONFIG)
			config = optarg;
		else if (c == SET)
			set[n_set++] = optarg;
		else if (c == NO_CACHE)
			o->no_cache = 1;
		else if (c == PRECISE)
			o->precise = 1;
		else
			rc = take(o, c, argv[0]);
	}
	if (rc == 0 && (optind < argc || !o->model))
		rc = take(o, 0, argv[0]);
	if (rc == 0)
		rc = configure(o, config, set, n_set);
	free(set);
	if (rc)
		return rc;
	slash = strrchr(o->model, '/');
	if (!o->name)
		o->name = slash ? slash + 1 : o->model;
	return 0;
}

void options_free(struct options *o)
{
	kvf_config_destroy(o->config);
	o->config = NULL;
}
