/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks a question about a long text twice and shows what kvferry makes of it:
 *
 *     query_twice [OPTIONS] --model FILE.gguf --text FILE
 *
 *     --question TEXT       what to ask [Summarize this text in 2 sentences.]
 *     --mode ram            the second question comes to the same process, whose own sequence was emptied
 *            disk           ... to a new process, which has the chunks on disk only (--dir)
 *            prefetch       ... to a new process, which brought them from disk into RAM before it was asked
 *            remote         ... to a new process, which has them in a remote store only (--url)
 *     --salt TEXT           tenant: another salt, another cache
 *     --tokens N            the text is cut so that the prompt has at most N tokens [4096]
 *     --answer N            tokens of the answer at most [48]
 *     --threads N           of llama.cpp [all cores]
 *     --repeat N            warm questions; the median counts [3]
 *     --dir DIR --url URL   where the chunks are kept; DIR is emptied by nobody
 *     --config FILE         kvferry's configuration (LMCACHE_ variables count too)
 *     --control             instead: what one flipped bit does, unseen and seen
 *     --raw --quiet         no chat template; no answers on the terminal
 *     --results FILE        a line of comma-separated numbers is appended
 *
 * Every run proves itself, and fails otherwise: after the warm prompt max |delta logit| = 0 against
 * the cold one, the same greedy answer, nothing in llama.cpp's own sequence before. Each process is
 * a fork of one that did nothing yet.
 */
#include "query_proof.h"
#include "query_rates.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *results;

/* ---- the processes: what they found out comes back in shared memory ---- */

typedef bool (*stage_fn)(const struct query_options *o, struct query_report *report);

static bool in_process(stage_fn stage, const struct query_options *o, struct query_report *report)
{
	pid_t pid;
	int status = 0;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		bool ok = stage(o, report);

		fflush(NULL);
		_exit(ok ? 0 : 1); /* llama.cpp's threads need no farewell */
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (pid < 0 || !WIFEXITED(status))
		fprintf(stderr, "query_twice: a process did not end by itself (status %d)\n",
			status);
	return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static llama_token *begin(
	const struct query_options *o, struct query_report *report, struct lkv **kv)
{
	llama_token *prompt;

	*kv = query_open(o, query_watch, report);
	prompt = query_prompt(o, *kv, &report->n_prompt);
	snprintf(report->identity, sizeof(report->identity), "%s", lkv_identity(*kv));
	report->token_bytes = lkv_token_bytes(*kv);
	report->chunk_bytes = lkv_chunk_bytes(*kv);
	report->chunk_tokens = lkv_chunk_tokens(*kv);
	return prompt;
}

static bool finish(struct lkv *kv, llama_token *prompt)
{
	free(prompt);
	return lkv_close(kv) == KVF_OK;
}

static bool ask_cold(const struct query_options *o, struct lkv *kv, llama_token *prompt,
	struct query_report *report)
{
	printf("--- cold\n");
	return query_ask(o, kv, prompt, report->n_prompt,
		QUERY_STORE | (o->quiet ? QUERY_QUIET : 0), &report->cold);
}

static bool ask_warm(const struct query_options *o, struct lkv *kv, llama_token *prompt,
	struct query_report *report, uint32_t repeat)
{
	unsigned prefetch = strcmp(o->mode, "prefetch") == 0 ? QUERY_PREFETCH : 0;

	printf("--- warm\n");
	for (uint32_t i = 0; i < repeat; i++) {
		unsigned flags = i || o->quiet ? QUERY_QUIET | prefetch : prefetch;

		if (!query_ask(o, kv, prompt, report->n_prompt, flags, &report->warm))
			return false;
		if (!query_judge(report))
			return false;
		report->warm_ttft[report->n_warm] = report->warm.ttft;
		report->warm_load[report->n_warm++] = report->warm.load;
	}
	return true;
}

/* What is left of the time when nothing has to be loaded. */
static bool ask_resident(const struct query_options *o, struct lkv *kv, llama_token *prompt,
	struct query_report *report)
{
	for (uint32_t i = 0; i < QUERY_RESIDENT_TIMES; i++) {
		if (!query_ask(o, kv, prompt, report->n_prompt, QUERY_RESIDENT | QUERY_QUIET,
			    &report->resident))
			return false;
		report->resident_ttft[i] = report->resident.ttft;
	}
	report->copy_rate = query_copy_rate(report->warm.kv_bytes, report->chunk_bytes);
	report->read_rate = strcmp(o->mode, "disk") == 0 ? query_read_rate(o->disk) : 0;
	return true;
}

static bool stage_ram(const struct query_options *o, struct query_report *report)
{
	struct lkv *kv;
	llama_token *prompt = begin(o, report, &kv);
	bool ok = ask_cold(o, kv, prompt, report) && ask_warm(o, kv, prompt, report, o->repeat) &&
		  ask_resident(o, kv, prompt, report);

	return finish(kv, prompt) && ok;
}

static bool stage_cold(const struct query_options *o, struct query_report *report)
{
	struct lkv *kv;
	llama_token *prompt = begin(o, report, &kv);
	bool ok = ask_cold(o, kv, prompt, report);

	return finish(kv, prompt) && ok;
}

static bool stage_warm(const struct query_options *o, struct query_report *report)
{
	struct lkv *kv;
	llama_token *prompt = begin(o, report, &kv);
	bool ok = ask_warm(o, kv, prompt, report, 1) &&
		  (report->n_warm < o->repeat || ask_resident(o, kv, prompt, report));

	return finish(kv, prompt) && ok;
}

/* The second question in processes of its own, one each time: a RAM tier that knows the chunks is
 * no disk tier. */
static bool restarted(const struct query_options *o, struct query_report *report)
{
	if (!in_process(stage_cold, o, report))
		return false;
	while (report->n_warm < o->repeat) {
		struct query_options quiet = *o;

		quiet.quiet = o->quiet || report->n_warm > 0;
		if (o->disk && !query_drop_page_cache(o->disk))
			return false;
		if (!in_process(stage_warm, &quiet, report))
			return false;
	}
	return true;
}

/* ---- controls: that the proof would notice ---- */

/* A bit flips in RAM between the two questions. */
static bool stage_flip_ram(const struct query_options *o, struct query_report *report)
{
	struct lkv *kv;
	llama_token *prompt = begin(o, report, &kv);
	bool ok = ask_cold(o, kv, prompt, report);

	if (ok && !report->watched) {
		fprintf(stderr, "query_twice: the prompt has no two whole chunks\n");
		ok = false;
	}
	if (ok)
		*report->watched ^= QUERY_FLIP;
	ok = ok && query_ask(o, kv, prompt, report->n_prompt, QUERY_QUIET, &report->warm);
	return finish(kv, prompt) && ok;
}

static bool stage_ask_again(const struct query_options *o, struct query_report *report)
{
	struct lkv *kv;
	llama_token *prompt = begin(o, report, &kv);
	bool ok = query_ask(o, kv, prompt, report->n_prompt, QUERY_QUIET, &report->warm);

	return finish(kv, prompt) && ok;
}

static bool control(const struct query_options *o, struct query_report *report)
{
	struct query_options with = *o;
	bool ok;

	with.quiet = true;
	with.disk = with.remote = NULL;
	with.scrub = "off";
	ok = in_process(stage_flip_ram, &with, report) &&
	     query_expect_flip(report, "in RAM, unchecked", true);
	with.scrub = "always";
	ok = ok && in_process(stage_flip_ram, &with, report) &&
	     query_expect_flip(report, "in RAM, checked", false);
	if (!ok || !o->disk)
		return ok;
	with.scrub = NULL;
	with.disk = o->disk;
	return in_process(stage_cold, &with, report) && query_flip_on_disk(o->disk, report) &&
	       in_process(stage_ask_again, &with, report) &&
	       query_expect_flip(report, "on disk", false);
}

/* ---- options ---- */

static void usage(const char *wrong)
{
	fprintf(stderr,
		"query_twice: %s\n"
		"query_twice [--mode ram|disk|prefetch|remote] [--question TEXT] [--salt TEXT] "
		"[--tokens N] [--answer N]\n"
		"            [--threads N] [--repeat N] [--dir DIR] [--url URL] [--config FILE] "
		"[--control] [--raw] [--quiet]\n"
		"            [--results FILE] --model FILE.gguf --text FILE\n",
		wrong);
	exit(2);
}

static uint32_t number(const char *text, uint32_t least, uint32_t most)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end || n < least || n > most)
		usage("a number is out of its range");
	return (uint32_t)n;
}

static void set_option(struct query_options *o, int c, const char *arg)
{
	const struct {
		int c;
		const char **at;
	} texts[] = {
		{'m', &o->model}, {'x', &o->text}, {'q', &o->question}, {'o', &o->mode},
		{'s', &o->salt},  {'d', &o->disk}, {'u', &o->remote},	{'c', &o->config},
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (texts[i].c == c)
			*texts[i].at = arg;
	if (c == 'n')
		o->tokens = number(arg, 16, 1u << 20);
	if (c == 'a')
		o->answer = number(arg, 1, QUERY_MAX_ANSWER);
	if (c == 't')
		o->threads = number(arg, 1, 1024);
	if (c == 'r')
		o->repeat = number(arg, 1, QUERY_MAX_REPEAT);
	if (c == 'C')
		o->control = true;
	if (c == 'R')
		o->raw = true;
	if (c == 'Q')
		o->quiet = true;
	if (c == 'f')
		results = arg;
	if (c == '?')
		usage("see its source for what the options mean");
}

static void parse(struct query_options *o, int argc, char **argv)
{
	static const struct option options[] = {
		{"model", 1, NULL, 'm'},
		{"text", 1, NULL, 'x'},
		{"question", 1, NULL, 'q'},
		{"mode", 1, NULL, 'o'},
		{"salt", 1, NULL, 's'},
		{"dir", 1, NULL, 'd'},
		{"url", 1, NULL, 'u'},
		{"config", 1, NULL, 'c'},
		{"tokens", 1, NULL, 'n'},
		{"answer", 1, NULL, 'a'},
		{"threads", 1, NULL, 't'},
		{"repeat", 1, NULL, 'r'},
		{"control", 0, NULL, 'C'},
		{"raw", 0, NULL, 'R'},
		{"quiet", 0, NULL, 'Q'},
		{"results", 1, NULL, 'f'},
		{NULL, 0, NULL, 0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		set_option(o, c, optarg);
	if (optind < argc || !o->model || !o->text)
		usage("wants a model and a text");
	if (strcmp(o->mode, "ram") == 0 && !o->control)
		o->disk = o->remote = NULL;
	else if (strcmp(o->mode, "disk") == 0 || strcmp(o->mode, "prefetch") == 0) {
		if (!o->disk)
			usage("this mode wants --dir");
		o->remote = NULL;
	} else if (strcmp(o->mode, "remote") == 0) {
		if (!o->remote)
			usage("this mode wants --url");
		o->disk = NULL;
	} else if (strcmp(o->mode, "ram") != 0)
		usage("no such mode");
}

int main(int argc, char **argv)
{
	struct query_options o = {.question = "Summarize this text in 2 sentences.",
		.mode = "ram",
		.tokens = 4096,
		.answer = 48,
		.repeat = 3};
	struct query_report *report;
	bool ok;

	parse(&o, argc, argv);
	report = mmap(
		NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (report == MAP_FAILED) {
		fprintf(stderr, "query_twice: out of memory\n");
		return 1;
	}
	if (o.control)
		ok = control(&o, report);
	else if (strcmp(o.mode, "ram") == 0)
		ok = in_process(stage_ram, &o, report);
	else
		ok = restarted(&o, report);
	if (ok && !o.control)
		ok = query_print(&o, report, results);
	munmap(report, sizeof(*report));
	return ok ? 0 : 1;
}
