/* SPDX-License-Identifier: Apache-2.0 */
/* /metrics: the page of kvferry, and the server's own few behind it. */
#include <inttypes.h>

#include "api.h"

static void metric(struct buf *b, const char *name, const char *type, const char *help)
{
	buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void number(struct buf *b, const char *name, const char *type, const char *help, uint64_t value)
{
	metric(b, name, type, help);
	buf_printf(b, "%s %" PRIu64 "\n", name, value);
}

static void seconds(struct buf *b, const char *name, const char *type, const char *help, uint64_t ns)
{
	metric(b, name, type, help);
	buf_printf(b, "%s %.9f\n", name, (double)ns / 1e9);
}

static void requests(struct buf *b, const struct api *api)
{
	static const char name[] = "kvferry_server_requests_total";
	const struct sched_stats *s = &api->sched->stats;
	const struct {
		const char *result;
		uint64_t n;
	} rows[] = { { "stop", s->ended[JOB_STOP] }, { "length", s->ended[JOB_LENGTH] },
		{ "failed", s->ended[JOB_FAILED] }, { "canceled", s->canceled }, { "refused", api->refused[0] },
		{ "unavailable", api->refused[1] } };

	metric(b, name, "counter", "Completions by how they ended; refused: answered with 4xx, unavailable: with 5xx.");
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		buf_printf(b, "%s{result=\"%s\"} %" PRIu64 "\n", name, rows[i].result, rows[i].n);
}

static void of_server(struct buf *b, const struct api *api)
{
	const struct sched *sched = api->sched;
	const struct sched_stats *s = &sched->stats;

	requests(b, api);
	number(b, "kvferry_server_requests_waiting", "gauge", "Requests that wait for a slot.", sched->waiting);
	number(b, "kvferry_server_requests_running", "gauge", "Slots in use.", sched->running);
	number(b, "kvferry_server_slots", "gauge", "Slots.", sched->set.slots);
	number(b, "kvferry_server_prompt_tokens_total", "counter", "Tokens of prompts.", s->prompt_tokens);
	number(b, "kvferry_server_cached_tokens_total", "counter", "Of these: KV came from kvferry.", s->cached_tokens);
	number(b, "kvferry_server_prefilled_tokens_total", "counter", "Of these: computed before the first token.",
	       s->prefilled_tokens);
	number(b, "kvferry_server_generated_tokens_total", "counter", "Tokens of answers.", s->generated_tokens);
	metric(b, "kvferry_server_ttft_seconds", "summary", "Time from the request to its first token.");
	buf_printf(b, "kvferry_server_ttft_seconds_sum %.9f\nkvferry_server_ttft_seconds_count %" PRIu64 "\n",
		   (double)s->first_token_ns / 1e9, s->first_tokens);
	number(b, "kvferry_server_steps_total", "counter", "Calls of llama_decode().", s->steps);
	seconds(b, "kvferry_server_step_seconds_total", "counter", "Time in these.", s->step_ns);
	seconds(b, "kvferry_server_step_seconds_max", "gauge", "Longest of these: so long nothing else happened.",
		s->step_max_ns);
}

void api_metrics(struct api *api, struct exchange *x)
{
	struct kvf_engine *engine = lkv_engine(api->kv);
	struct buf b = { 0 };
	int n = engine ? kvf_metrics_text(engine, NULL, 0) : 0, got;
	char *to;

	if (n > 0) {
		n += 256; /* numbers grow */
		to = buf_room(&b, (size_t)n);
		got = to ? kvf_metrics_text(engine, to, (size_t)n) : 0;
		b.n = got > 0 && got < n ? (size_t)got : 0;
	}
	of_server(&b, api);
	http_reply(x, b.failed ? 500 : 200, "text/plain; version=0.0.4", b.data, b.n);
	buf_free(&b);
}
