/* SPDX-License-Identifier: Apache-2.0 */
/* The engine of a replay: configuration, opening, polling with a clock beside it, closing. */
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "replay.h"

#define PATIENCE_NS UINT64_C(600000000000)

int replay_fail(struct replay_run *run, const char *fmt, ...)
{
	va_list list;

	if (run->error[0])
		return -1; /* the first one counts */
	va_start(list, fmt);
	vsnprintf(run->error, sizeof(run->error), fmt, list);
	va_end(list);
	return -1;
}

struct setter {
	struct kvf_config *config;
	struct kvf_report *report;
	int status;
};

static void set(struct setter *s, const char *key, const char *value)
{
	if (s->status == KVF_OK && value)
		s->status = kvf_config_set(s->config, key, value, s->report);
}

static void set_u64(struct setter *s, const char *key, uint64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	set(s, key, text);
}

/* --set KEY=VALUE, which come last. */
static void set_given(struct setter *s, const struct replay_options *o)
{
	char key[128];

	for (size_t i = 0; i < o->n_set; i++) {
		const char *equals = strchr(o->set[i], '=');

		snprintf(key, sizeof(key), "%.*s", equals ? (int)(equals - o->set[i]) : 0,
			o->set[i]);
		set(s, key, equals ? equals + 1 : "");
	}
}

static int configure(
	const struct replay_options *o, struct kvf_config *config, struct kvf_report *report)
{
	struct setter s = {config, report, KVF_OK};
	char size[48];

	if (o->config)
		s.status = kvf_config_load(config, o->config, NULL, report);
	else
		set(&s, "save_unfull_chunk", "false");
	set_u64(&s, "chunk_size", o->chunk_size);
	set_u64(&s, "kvf_max_ops", o->concurrency < 1024 ? 1024 : o->concurrency);
	set(&s, "local_cpu", o->local_cpu);
	set(&s, "cache_policy", o->policy);
	if (o->ram_bytes) {
		snprintf(size, sizeof(size), "%.17g", (double)o->ram_bytes / (double)KVF_GIB);
		set(&s, "max_local_cpu_size", size);
	}
	if (o->disk) {
		snprintf(size, sizeof(size), "%.17g", (double)o->disk_bytes / (double)KVF_GIB);
		set(&s, "local_disk", o->disk);
		set(&s, "max_local_disk_size", size);
	}
	if (o->ram_chunks)
		set_u64(&s, "kvf_pool_slots", o->ram_chunks);
	set_given(&s, o);
	return s.status;
}

static void timeline_line(const char *json, size_t n, void *user)
{
	struct replay_run *run = user;

	fputs(run->timeline_first ? "[\n" : ",\n", run->timeline);
	fwrite(json, 1, n, run->timeline);
	run->timeline_first = false;
	run->timeline_bytes += n + 2;
}

static int timeline_open(struct replay_run *run)
{
	if (!run->options->timeline)
		return 0;
	run->timeline = fopen(run->options->timeline, "w");
	if (!run->timeline)
		return replay_fail(run, "%s: cannot be written", run->options->timeline);
	run->timeline_first = true;
	if (kvf_set_timeline(run->engine, timeline_line, run) != KVF_OK)
		return replay_fail(
			run, "the engine gives no timeline: %s", kvf_error_detail(run->engine));
	return 0;
}

static int timeline_close(struct replay_run *run)
{
	bool bad;

	if (!run->timeline)
		return 0;
	(void)kvf_set_timeline(run->engine, NULL, NULL);
	fputs(run->timeline_first ? "[\n]\n" : "\n]\n", run->timeline);
	bad = ferror(run->timeline) != 0;
	bad |= fclose(run->timeline) != 0;
	run->timeline = NULL;
	return bad ? replay_fail(run, "%s: not all of it could be written", run->options->timeline)
		   : 0;
}

/* A disk tier looks through its directory in the background: until it has, lookups miss some of what it holds. */
static int wait_for_disk(struct replay_run *run)
{
	struct pollfd p = {.events = POLLIN};
	uint64_t begin = tool_now_ns();
	uint32_t bits = 0;

	while (kvf_health(run->engine, &bits) == KVF_OK && bits & KVF_HEALTH_SCANNING) {
		p.fd = kvf_fd(run->engine);
		if (kvf_poll(run->engine, NULL, 0) < 0)
			return replay_fail(
				run, "the engine stopped: %s", kvf_error_detail(run->engine));
		if (tool_now_ns() - begin > PATIENCE_NS)
			return replay_fail(run, "the disk tier still reads its directory after %d s",
				(int)(PATIENCE_NS / 1000000000));
		(void)poll(&p, 1, 1);
	}
	return 0;
}

/* The pool grows inside kvf_poll(): waits for all of it, so that its size is what was asked for
 * from the first request. */
static int fill_pool(struct replay_run *run)
{
	uint64_t begin = tool_now_ns();
	struct kvf_stats stats = {.size = sizeof(stats)};
	bool due;

	do {
		if (kvf_poll(run->engine, NULL, 0) < 0 ||
			kvf_get_stats(run->engine, &stats) != KVF_OK)
			return replay_fail(
				run, "the engine stopped: %s", kvf_error_detail(run->engine));
		due = kvf_next_deadline_ns(run->engine) <= kvf_now_ns(run->engine);
		if ((!due && stats.slots_ready < stats.slots) ||
			tool_now_ns() - begin > PATIENCE_NS)
			return replay_fail(run,
				"the pool stays at %" PRIu64 " of %" PRIu64 " slots",
				stats.slots_ready, stats.slots);
	} while (due);
	run->result->pool_ns = tool_now_ns() - begin;
	return wait_for_disk(run);
}

static int open_with(struct replay_run *run, struct kvf_config *config, struct kvf_report *report)
{
	struct kvf_open_params params;
	int status = configure(run->options, config, report);

	if (status != KVF_OK)
		return status;
	kvf_open_params_init(&params);
	params.config = config;
	params.identity.model = "kvferry/replay";
	params.layout = &run->device.layout;
	params.report = report;
	if (run->options->control == REPLAY_POOL_FLIP) {
		run->flip =
			replay_flip_new(&run->device.layout, (uint32_t)run->options->chunk_size);
		if (!run->flip)
			return KVF_ENOMEM;
		params.device = &replay_flip_ops;
		params.device_self = run->flip;
	}
	return kvf_engine_open(&run->engine, &params);
}

int replay_engine_open(struct replay_run *run)
{
	char text[REPLAY_ERROR_BYTES - 128] = "";
	struct kvf_report report;
	struct kvf_config *config;
	int status;

	kvf_report_init(&report, text, sizeof(text));
	if (kvf_config_create(&config, NULL) != KVF_OK)
		return replay_fail(run, "no memory for a configuration");
	status = open_with(run, config, &report);
	kvf_config_destroy(config);
	if (status != KVF_OK)
		return replay_fail(
			run, "the engine does not open: %s\n%s", kvf_strerror(status), text);
	if (fill_pool(run) != 0)
		return -1;
	return timeline_open(run);
}

/* Nobody opens a file of gigabytes: the timeline ends at its limit, the replay goes on. */
static void cut_timeline(struct replay_run *run)
{
	uint64_t limit = run->options->timeline_limit;

	if (!limit || run->timeline_bytes < limit || run->result->timeline_ns)
		return;
	(void)kvf_set_timeline(run->engine, NULL, NULL);
	run->result->timeline_ns = tool_now_ns() - run->begin_ns;
}

int replay_poll(struct replay_run *run, struct kvf_completion *out, unsigned max)
{
	uint64_t begin = tool_thread_cpu_ns(), used;
	int n = kvf_poll(run->engine, out, max);

	used = tool_thread_cpu_ns() - begin;
	kvf_hist_add(&run->result->turn_cpu, used);
	run->result->engine_cpu_ns += used;
	run->result->polls++;
	cut_timeline(run);
	if (n < 0)
		return replay_fail(
			run, "kvf_poll: %s: %s", kvf_strerror(n), kvf_error_detail(run->engine));
	return n;
}

int replay_engine_drain(struct replay_run *run)
{
	struct kvf_completion c;

	if (kvf_verify(run->engine) != KVF_OK)
		return replay_fail(run, "kvf_verify: %s", kvf_error_detail(run->engine));
	if (kvf_engine_shutdown(run->engine, KVF_SHUTDOWN_DRAIN, KVF_NO_DEADLINE) != KVF_OK)
		return replay_fail(run, "kvf_engine_shutdown: %s", kvf_error_detail(run->engine));
	while (!kvf_engine_idle(run->engine)) {
		int n = kvf_poll(run->engine, &c, 1);

		if (n < 0)
			return replay_fail(run, "kvf_poll: %s", kvf_error_detail(run->engine));
	}
	run->result->stats.size = sizeof(run->result->stats);
	if (kvf_get_stats(run->engine, &run->result->stats) != KVF_OK)
		return replay_fail(run, "kvf_get_stats: %s", kvf_error_detail(run->engine));
	return timeline_close(run);
}

/* Also after a failure, with work in flight. */
void replay_engine_close(struct replay_run *run)
{
	struct kvf_completion c[16];

	if (run->engine) {
		(void)timeline_close(run);
		(void)kvf_engine_shutdown(run->engine, KVF_SHUTDOWN_CANCEL, KVF_NO_DEADLINE);
		while (!kvf_engine_idle(run->engine)) {
			if (kvf_poll(run->engine, c, 16) < 0)
				break;
		}
		replay_sessions_free(run);
		if (kvf_engine_close(run->engine) != KVF_OK)
			(void)replay_fail(run, "the engine does not close");
		run->engine = NULL;
	}
	replay_flip_free(run->flip);
	run->flip = NULL;
}
