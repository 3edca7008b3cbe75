/* SPDX-License-Identifier: Apache-2.0 */
/* What a replay says at its end: a table for people, JSON for machines. */
#include <inttypes.h>
#include <string.h>

#include "json_out.h"
#include "kvferry/kvf_tier.h"
#include "replay.h"

static double ratio(uint64_t a, uint64_t b)
{
	return b ? (double)a / (double)b : 0.0;
}

static double seconds(uint64_t ns)
{
	return (double)ns / 1e9;
}

bool replay_is_wrong(const struct replay_result *r)
{
	return r->mismatched_bytes > 0 || r->failed_ops > 0;
}

static const char *source_name(const struct replay_options *o, char *buf, size_t n)
{
	size_t at = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < o->n_sources && at < n; i++)
		at += (size_t)snprintf(buf + at, n - at, "%s%s", i ? " " : "", o->sources[i]);
	return buf;
}

/* ---- for people ---- */

static void row_times(FILE *out, const char *name, const struct kvf_hist *h)
{
	char a[32], b[32], c[32];

	fprintf(out, "  %-18s p50 %-10s p99 %-10s max %s\n", name,
		tool_time_text(a, sizeof(a), kvf_hist_quantile(h, 0.5)),
		tool_time_text(b, sizeof(b), kvf_hist_quantile(h, 0.99)),
		tool_time_text(c, sizeof(c), h->max));
}

static void print_cache(const struct replay_options *o, const struct replay_result *on, FILE *out)
{
	const struct kvf_stats *s = &on->stats;
	char a[32], b[32], c[32];

	fprintf(out, "  %-18s %s slots of %s = %s; at most %s resident\n", "pool",
		tool_count_text(a, sizeof(a), s->slots),
		tool_size_text(b, sizeof(b), s->slot_bytes),
		tool_size_text(c, sizeof(c), s->slots * s->slot_bytes),
		tool_count_text((char[32]){0}, 32, s->slots_peak_resident));
	fprintf(out, "  %-18s %s stored, %s evicted, %s there already, %s found no room\n",
		"chunks", tool_count_text(a, sizeof(a), s->stored_chunks),
		tool_count_text(b, sizeof(b), s->evictions),
		tool_count_text(c, sizeof(c), s->skipped_chunks),
		tool_count_text((char[32]){0}, 32, s->dropped_chunks));
	fprintf(out, "  %-18s %s stored, %s retrieved (%" PRIu64 " B a token)\n", "bytes",
		tool_size_text(a, sizeof(a), s->stored_bytes),
		tool_size_text(b, sizeof(b), on->retrieved_bytes), o->token_bytes);
	for (uint32_t i = 0; i < s->n_tiers; i++)
		fprintf(out, "  tier %-13s %s got, %s put, %" PRIu64 " errors\n", s->tiers[i].name,
			tool_size_text(a, sizeof(a), s->tiers[i].get_bytes),
			tool_size_text(b, sizeof(b), s->tiers[i].put_bytes), s->tiers[i].errors);
	if (s->disk.aio[0])
		fprintf(out, "  %-18s %s of %s, %s chunks, %s evicted; by %s%s\n", "disk",
			tool_size_text(a, sizeof(a), s->disk.bytes), tool_size_text(b, sizeof(b), s->disk.max_bytes),
			tool_count_text(c, sizeof(c), s->disk.slots_live),
			tool_count_text((char[32]){0}, 32, s->disk.evictions), s->disk.aio,
			s->disk.direct ? "" : ", through the page cache");
}

static void print_times(const struct replay_result *on, FILE *out)
{
	char a[32], b[32], c[32];

	fprintf(out, "  %-18s p50 %-10s p99.9 %-8s max %s   (thread-CPU of %s turns)\n", "turn",
		tool_time_text(a, sizeof(a), kvf_hist_quantile(&on->turn_cpu, 0.5)),
		tool_time_text(b, sizeof(b), kvf_hist_quantile(&on->turn_cpu, 0.999)),
		tool_time_text(c, sizeof(c), on->turn_cpu.max),
		tool_count_text((char[32]){0}, 32, on->polls));
	row_times(out, "append", &on->append);
	row_times(out, "lookup", &on->lookup);
	row_times(out, "retrieve", &on->retrieve);
	row_times(out, "store", &on->store);
	if (on->beat_late.count)
		row_times(out, "heartbeat, late by", &on->beat_late);
}

static void print_verdict(const struct replay_result *on, struct tool_colors color, FILE *out)
{
	char a[32], b[32];

	fprintf(out, "  %-18s %s%s wrong%s of %s retrieved and checked\n", "verification",
		on->mismatched_bytes ? color.red : color.green,
		tool_size_text(a, sizeof(a), on->mismatched_bytes), color.off,
		tool_size_text(b, sizeof(b), on->verified_bytes));
	if (on->mismatched_bytes)
		fprintf(out, "  %-18s in %" PRIu64 " requests, first in request %" PRIu64 "\n", "",
			on->mismatched_requests, on->first_mismatch);
	if (on->timed_out_ops)
		fprintf(out, "  %-18s %" PRIu64 ", at most %s past it\n", "deadlines", on->timed_out_ops,
			tool_time_text(a, sizeof(a), on->late_ns));
	if (on->failed_ops)
		fprintf(out, "  %-18s %s%" PRIu64 "%s, first: %s\n", "failed operations", color.red,
			on->failed_ops, color.off, on->failure);
}

static void print_compare(const struct replay_result *on, const struct replay_result *off,
	struct tool_colors color, FILE *out)
{
	char a[32], b[32];

	fprintf(out, "\n%s%-20s %16s %16s%s\n", color.bold, "", "cache off", "cache on", color.off);
	fprintf(out, "  %-18s %16s %16s\n", "tokens computed",
		tool_count_text(a, sizeof(a), off->computed_tokens),
		tool_count_text(b, sizeof(b), on->computed_tokens));
	fprintf(out, "  %-18s %16s %16s\n", "tokens retrieved",
		tool_count_text(a, sizeof(a), off->hit_tokens),
		tool_count_text(b, sizeof(b), on->hit_tokens));
	fprintf(out, "  %-18s %15.2f%% %15.2f%%\n", "computed again",
		100 * ratio(off->computed_tokens, off->prompt_tokens),
		100 * ratio(on->computed_tokens, on->prompt_tokens));
	fprintf(out, "  %-18s %16s %16s\n", "wall time", tool_time_text(a, sizeof(a), off->wall_ns),
		tool_time_text(b, sizeof(b), on->wall_ns));
	fprintf(out,
		"  %s(\"computing\" a token costs nothing here: its bytes are only made up)%s\n",
		color.dim, color.off);
}

static void print_timeline(
	const struct replay_options *o, const struct replay_result *on, FILE *out)
{
	char a[32];

	fprintf(out, "  %-18s %s (open it in ui.perfetto.dev)", "timeline", o->timeline);
	if (on->timeline_ns)
		fprintf(out, ", the first %s", tool_time_text(a, sizeof(a), on->timeline_ns));
	fputc('\n', out);
}

void replay_print(const struct replay_options *o, const struct replay_result *on,
	const struct replay_result *off, FILE *out)
{
	struct tool_colors color = tool_colors(out);
	char name[256], a[32], b[32], c[32];

	fprintf(out, "%s%s%s\n", color.bold, source_name(o, name, sizeof(name)), color.off);
	fprintf(out, "  %-18s %s in %s sessions, %s prompt tokens\n", "requests",
		tool_count_text(a, sizeof(a), on->requests),
		tool_count_text(b, sizeof(b), on->sessions),
		tool_count_text(c, sizeof(c), on->prompt_tokens));
	fprintf(out, "  %-18s %s tokens, %s%.2f %%%s of the prompts\n", "hits",
		tool_count_text(a, sizeof(a), on->hit_tokens), color.bold,
		100 * ratio(on->hit_tokens, on->prompt_tokens), color.off);
	print_cache(o, on, out);
	print_times(on, out);
	fprintf(out, "  %-18s %.2f s wall, %.2f s CPU, of it %.2f s in kvf_poll; peak memory %s\n",
		"cost", seconds(on->wall_ns), seconds(on->cpu_ns), seconds(on->engine_cpu_ns),
		tool_size_text(a, sizeof(a), on->peak_rss_bytes));
	print_verdict(on, color, out);
	if (off)
		print_compare(on, off, color, out);
	if (o->timeline)
		print_timeline(o, on, out);
}

/* ---- for machines ---- */

static void json_tier(struct json_out *j, const struct kvf_tier_stats *t)
{
	json_out_open(j, NULL, '{');
	json_out_text(j, "name", t->name);
	json_out_u64(j, "gets", t->gets);
	json_out_u64(j, "get_bytes", t->get_bytes);
	json_out_u64(j, "get_misses", t->get_misses);
	json_out_u64(j, "puts", t->puts);
	json_out_u64(j, "put_bytes", t->put_bytes);
	json_out_u64(j, "removes", t->removes);
	json_out_u64(j, "errors", t->errors);
	json_out_u64(j, "timeouts", t->timeouts);
	json_out_u64(j, "corrupt", t->corrupt);
	json_out_u64(j, "orphaned", t->orphaned);
	json_out_u64(j, "breaker_opens", t->breaker_opens);
	json_out_u64(j, "dropped_spills", t->dropped_spills);
	json_out_close(j, '}');
}

static void json_disk(struct json_out *j, const struct kvf_stats_disk *d)
{
	json_out_open(j, "disk", '{');
	json_out_text(j, "aio", d->aio);
	json_out_u64(j, "direct", d->direct);
	json_out_u64(j, "depth", d->depth);
	json_out_u64(j, "depth_bytes", d->depth_bytes);
	json_out_u64(j, "bytes", d->bytes);
	json_out_u64(j, "max_bytes", d->max_bytes);
	json_out_u64(j, "slots_live", d->slots_live);
	json_out_u64(j, "recovered", d->recovered);
	json_out_u64(j, "damaged", d->damaged);
	json_out_u64(j, "evictions", d->evictions);
	json_out_u64(j, "transfers", d->transfers);
	json_out_u64(j, "syscalls", d->syscalls);
	json_out_close(j, '}');
}

static void json_tiers(struct json_out *j, const struct replay_result *on)
{
	const struct kvf_stats *s = &on->stats;

	json_out_open(j, "tiers", '[');
	json_out_open(j, NULL, '{');
	json_out_text(j, "name", "ram");
	json_out_u64(j, "slots", s->slots);
	json_out_u64(j, "slot_bytes", s->slot_bytes);
	json_out_u64(j, "payload_bytes", s->payload_bytes);
	json_out_u64(j, "resident", s->slots_resident);
	json_out_close(j, '}');
	for (uint32_t i = 0; i < s->n_tiers; i++)
		json_tier(j, &s->tiers[i]);
	json_out_close(j, ']');
	if (s->disk.aio[0])
		json_disk(j, &s->disk);
}

static void json_beat(struct json_out *j, const struct replay_result *r)
{
	json_out_u64(j, "heartbeats", r->beat_late.count);
	json_out_u64(j, "heartbeat_late_ns_p50", kvf_hist_quantile(&r->beat_late, 0.5));
	json_out_u64(j, "heartbeat_late_ns_p99", kvf_hist_quantile(&r->beat_late, 0.99));
	json_out_u64(j, "heartbeat_late_ns_max", r->beat_late.max);
}

static void json_times(struct json_out *j, const struct replay_result *on)
{
	json_out_double(j, "wall_seconds", seconds(on->wall_ns));
	json_out_double(j, "cpu_seconds", seconds(on->cpu_ns));
	json_out_double(j, "engine_cpu_seconds", seconds(on->engine_cpu_ns));
	json_out_double(j, "pool_seconds", seconds(on->pool_ns));
	json_out_u64(j, "turns", on->polls);
	json_out_u64(j, "turn_cpu_ns_p50", kvf_hist_quantile(&on->turn_cpu, 0.5));
	json_out_u64(j, "turn_cpu_ns_p999", kvf_hist_quantile(&on->turn_cpu, 0.999));
	json_out_u64(j, "turn_cpu_ns_max", on->turn_cpu.max);
	json_out_u64(j, "append_ns_p50", kvf_hist_quantile(&on->append, 0.5));
	json_out_u64(j, "append_ns_p99", kvf_hist_quantile(&on->append, 0.99));
	json_out_u64(j, "lookup_ns_p50", kvf_hist_quantile(&on->lookup, 0.5));
	json_out_u64(j, "lookup_ns_p99", kvf_hist_quantile(&on->lookup, 0.99));
	json_out_u64(j, "retrieve_ns_p50", kvf_hist_quantile(&on->retrieve, 0.5));
	json_out_u64(j, "retrieve_ns_p99", kvf_hist_quantile(&on->retrieve, 0.99));
	json_out_u64(j, "store_ns_p50", kvf_hist_quantile(&on->store, 0.5));
	json_out_u64(j, "store_ns_p99", kvf_hist_quantile(&on->store, 0.99));
	json_out_u64(j, "deadline_late_ns_max", on->late_ns);
	json_beat(j, on);
	json_out_u64(j, "peak_rss_bytes", on->peak_rss_bytes);
	json_out_u64(j, "device_bytes", on->device_bytes);
}

static void json_counts(struct json_out *j, const struct replay_result *on)
{
	const struct kvf_stats *s = &on->stats;

	json_out_u64(j, "requests", on->requests);
	json_out_u64(j, "sessions", on->sessions);
	json_out_u64(j, "prompt_tokens", on->prompt_tokens);
	json_out_u64(j, "output_tokens", on->output_tokens);
	json_out_u64(j, "hit_tokens", on->hit_tokens);
	json_out_double(j, "hit_rate", ratio(on->hit_tokens, on->prompt_tokens));
	json_out_u64(j, "found_tokens", on->found_tokens);
	json_out_u64(j, "computed_tokens", on->computed_tokens);
	json_out_u64(j, "appended_tokens", on->appended_tokens);
	json_out_u64(j, "retrieved_bytes", on->retrieved_bytes);
	json_out_u64(j, "verified_bytes", on->verified_bytes);
	json_out_u64(j, "mismatched_bytes", on->mismatched_bytes);
	json_out_u64(j, "mismatched_requests", on->mismatched_requests);
	json_out_u64(j, "failed_operations", on->failed_ops);
	json_out_u64(j, "short_retrieves", on->short_retrieves);
	json_out_u64(j, "timed_out_operations", on->timed_out_ops);
	json_out_u64(j, "dropped_stores", on->dropped_stores);
	json_out_u64(j, "stored_chunks", s->stored_chunks);
	json_out_u64(j, "stored_bytes", s->stored_bytes);
	json_out_u64(j, "skipped_chunks", s->skipped_chunks);
	json_out_u64(j, "dropped_chunks", s->dropped_chunks);
	json_out_u64(j, "evicted_chunks", s->evictions);
	json_out_u64(j, "pool_chunks", s->slots);
	json_out_u64(j, "peak_resident_chunks", s->slots_peak_resident);
	json_out_u64(j, "device_copies", s->device_copies);
	json_out_u64(j, "host_allocs", s->host_allocs);
	json_out_u64(j, "engine_bytes", s->bytes_held);
}

int replay_write_json(const struct replay_options *o, const struct replay_result *on,
	const struct replay_result *off, FILE *out)
{
	static const char *const controls[] = {"none", "pool-flip", "drop-salt", "short-key"};
	struct json_out j;

	json_out_begin(&j, out);
	json_out_open(&j, NULL, '{');
	json_out_open(&j, "sources", '[');
	for (size_t i = 0; i < o->n_sources; i++)
		json_out_text(&j, NULL, o->sources[i]);
	json_out_close(&j, ']');
	json_out_text(&j, "version", kvf_version());
	json_out_text(&j, "control", controls[o->control]);
	json_out_u64(&j, "chunk_size", o->chunk_size);
	json_out_u64(&j, "token_bytes", o->token_bytes);
	json_out_u64(&j, "concurrency", o->concurrency);
	json_out_u64(&j, "seed", o->seed);
	json_counts(&j, on);
	json_times(&j, on);
	json_tiers(&j, on);
	if (off) {
		json_out_open(&j, "cache_off", '{');
		json_out_u64(&j, "computed_tokens", off->computed_tokens);
		json_out_double(&j, "wall_seconds", seconds(off->wall_ns));
		json_out_double(&j, "cpu_seconds", seconds(off->cpu_ns));
		json_beat(&j, off);
		json_out_close(&j, '}');
	}
	json_out_close(&j, '}');
	return json_out_end(&j);
}
