/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metrics: how long operations and requests to tiers took, and the page that shows them with all
 * the counters. The histograms' memory is taken at open, 8 KiB each: one for every kind of
 * operation, three for every tier.
 *
 * Names that start with "lmcache:" mean what LMCache's mean. Its Python library ends counters with
 * "_total", and so they do here.
 */
#include "engine/metrics.h"

#include <limits.h>
#include <string.h>

static const char *const op_names[] = {
	[KVF_OP_LOOKUP] = "lookup",
	[KVF_OP_STORE] = "store",
	[KVF_OP_RETRIEVE] = "retrieve",
	[KVF_OP_PREFETCH] = "prefetch",
	[KVF_OP_PIN] = "pin",
	[KVF_OP_UNPIN] = "unpin",
	[KVF_OP_DEMOTE] = "demote",
	[KVF_OP_REMOVE] = "remove",
	[KVF_OP_FLUSH] = "flush",
	[KVF_OP_CLEAR] = "clear",
};

static const char *const request_names[KVF_TIER_HISTS] = {
	[KVF_HIST_GET] = "get", [KVF_HIST_PUT] = "put", [KVF_HIST_ASK] = "ask"};

/* ---- measuring ---- */

static int new_hists(struct kvf_engine *e, struct kvf_hist **hist, uint32_t first, uint32_t n)
{
	for (uint32_t i = first; i < n; i++) {
		hist[i] = kvf_mem_alloc(&e->mem, sizeof(**hist));
		if (!hist[i])
			return KVF_ENOMEM;
		kvf_hist_reset(hist[i]);
	}
	return KVF_OK;
}

static void free_hists(struct kvf_engine *e, struct kvf_hist **hist, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		kvf_mem_free(&e->mem, hist[i], sizeof(**hist));
}

int kvf_metrics_init(struct kvf_engine *e)
{
	return new_hists(e, e->op_hist, 1, KVF_ARRAY_LEN(e->op_hist));
}

int kvf_metrics_tier(struct kvf_engine *e, struct kvf_tier *tier)
{
	return new_hists(e, tier->hist, 0, KVF_TIER_HISTS);
}

void kvf_metrics_fini(struct kvf_engine *e)
{
	free_hists(e, e->op_hist, KVF_ARRAY_LEN(e->op_hist));
	for (uint32_t t = 0; t < KVF_MAX_TIERS; t++)
		free_hists(e, e->tier[t].hist, KVF_TIER_HISTS);
}

void kvf_metrics_job(struct kvf_engine *e, const struct kvf_job *job)
{
	kvf_hist_add(e->op_hist[job->code], e->clock.now_ns - job->submitted_ns);
}

void kvf_metrics_request(
	struct kvf_engine *e, struct kvf_tier *tier, struct kvf_tier_req *req)
{
	uint64_t sent_ns;
	uint32_t kind = KVF_HIST_ASK;

	if (req->kind == KVF_REQ_GET) {
		kind = KVF_HIST_GET;
		sent_ns = kvf_container_of(req, struct kvf_fill, req)->sent_ns;
	} else if (req->kind == KVF_REQ_PUT) {
		kind = KVF_HIST_PUT;
		sent_ns = kvf_container_of(req, struct kvf_put, req)->sent_ns;
	} else {
		sent_ns = kvf_container_of(req, struct kvf_ask, req)->sent_ns;
	}
	kvf_hist_add(tier->hist[kind], e->clock.now_ns - sent_ns);
}

/* ---- numbers of the engine as a whole ---- */

enum type { COUNTER, GAUGE };

static const char *const type_names[] = {[COUNTER] = "counter", [GAUGE] = "gauge"};

struct number {
	const char *name;
	const char *help;
	enum type type;
	size_t offset; /* in struct kvf_stats */
};

#define OF(field) offsetof(struct kvf_stats, field)
#define OPS(code) (offsetof(struct kvf_stats, completed) + (code) * sizeof(uint64_t))

static const struct number numbers[] = {
	{"lmcache:num_retrieve_requests_total", "Retrieves that ended.", COUNTER,
		OPS(KVF_OP_RETRIEVE)},
	{"lmcache:num_store_requests_total", "Stores that ended.", COUNTER, OPS(KVF_OP_STORE)},
	{"lmcache:num_lookup_requests_total", "Lookups that ended.", COUNTER, OPS(KVF_OP_LOOKUP)},
	{"lmcache:num_requested_tokens_total", "Tokens that retrieves asked for.", COUNTER,
		OF(requested_tokens)},
	{"lmcache:num_hit_tokens_total", "Tokens that retrieves delivered.", COUNTER,
		OF(retrieved_tokens)},
	{"lmcache:num_stored_tokens_total", "Tokens copied off the device and kept.", COUNTER,
		OF(stored_tokens)},
	{"lmcache:num_lookup_tokens_total", "Tokens of the sequences that were looked up.", COUNTER,
		OF(lookup_tokens)},
	{"lmcache:num_lookup_hits_total", "Tokens that lookups found.", COUNTER, OF(hit_tokens)},
	{"lmcache:lookup_0_hit_requests_total", "Lookups that found nothing.", COUNTER,
		OF(lookups_without_hit)},
	{"lmcache:num_vllm_hit_tokens_total",
		"Tokens that the host's own prefix cache held at lookups.", COUNTER,
		OF(computed_tokens)},
	{"lmcache:local_cpu_hot_cache_count", "Chunks in RAM.", GAUGE, OF(slots_resident)},
	{"lmcache:local_cpu_evict_keys_count_total", "Chunks evicted from RAM.", COUNTER,
		OF(evictions)},
	{"kvferry_dropped_chunks_total",
		"Chunks of stores that ended early: no room, no time, no memory.", COUNTER,
		OF(dropped_chunks)},
	{"lmcache:pinned_memory_objs_count", "Chunks that leases hold.", GAUGE, OF(slots_leased)},
	{"lmcache:forced_unpin_count_total", "Leases that ended by their time.", COUNTER,
		OF(leases_expired)},
	{"kvferry_slot_bytes", "Bytes of one slot of the pool: header and a chunk.", GAUGE,
		OF(slot_bytes)},
	{"kvferry_slots", "Slots that the pool is to have.", GAUGE, OF(slots)},
	{"kvferry_slots_ready", "Slots that are mapped and locked.", GAUGE, OF(slots_ready)},
	{"kvferry_slots_free", "Slots that hold nothing.", GAUGE, OF(slots_free)},
	{"kvferry_slots_resident_peak", "Most chunks in RAM at once.", GAUGE,
		OF(slots_peak_resident)},
	{"kvferry_slots_quarantined",
		"Slots that wait until a tier which was given up on lets go of them.", GAUGE,
		OF(slots_quarantined)},
	{"kvferry_slots_loading", "Slots that tiers read into.", GAUGE, OF(slots_loading)},
	{"kvferry_slots_copying", "Slots that stores copy into.", GAUGE, OF(slots_copying)},
	{"kvferry_slots_spilling", "Chunks on their way down, by leg.", GAUGE, OF(slots_spilling)},
	{"kvferry_evictions_forced_total", "Evictions of chunks with others behind them.", COUNTER,
		OF(evictions_forced)},
	{"kvferry_operations_in_flight", "Operations accepted and not ended.", GAUGE,
		OF(in_flight)},
	{"kvferry_operations_canceled_total", "Operations that ended by a cancel.", COUNTER,
		OF(canceled)},
	{"kvferry_operations_timed_out_total", "Operations that ended by their deadline.", COUNTER,
		OF(timed_out)},
	{"kvferry_retrieved_bytes_total", "Bytes that retrieves delivered.", COUNTER,
		OF(retrieved_bytes)},
	{"kvferry_stored_bytes_total", "Bytes copied off the device and kept.", COUNTER,
		OF(stored_bytes)},
	{"kvferry_stored_chunks_total", "Chunks copied off the device and kept.", COUNTER,
		OF(stored_chunks)},
	{"kvferry_skipped_chunks_total", "Chunks of stores that were there already.", COUNTER,
		OF(skipped_chunks)},
	{"kvferry_shared_transfers_total", "Chunks that came by somebody else's transfer.", COUNTER,
		OF(shared_transfers)},
	{"kvferry_corrupt_chunks_total",
		"Chunks that came back damaged and were treated as a miss.", COUNTER,
		OF(corrupt_chunks)},
	{"kvferry_prefetch_chunks_total", "Chunks that prefetches brought up.", COUNTER,
		OF(prefetch_chunks)},
	{"kvferry_prefetch_used_total", "Of them: used by a retrieve.", COUNTER, OF(prefetch_used)},
	{"kvferry_prefetch_wasted_total", "Of them: gone before anybody used them.", COUNTER,
		OF(prefetch_wasted)},
	{"kvferry_leases_total", "Leases handed out.", COUNTER, OF(leases)},
	{"kvferry_turns_total", "Turns: calls that did work.", COUNTER, OF(turns)},
	{"kvferry_job_steps_total", "Steps of operations.", COUNTER, OF(job_steps)},
	{"kvferry_host_allocations_total", "Calls of the host's allocator.", COUNTER,
		OF(host_allocs)},
	{"kvferry_memory_bytes", "The engine's own memory beside its pool.", GAUGE, OF(bytes_held)},
	{"kvferry_events_lost_total", "Events that were overwritten before they were read.",
		COUNTER, OF(events_lost)},
	{"kvferry_timers", "Deadlines that are running.", GAUGE, OF(timers)},
};

static uint64_t field(const void *base, size_t offset)
{
	uint64_t value;

	memcpy(&value, (const char *)base + offset, sizeof(value));
	return value;
}

static void put_one(
	struct kvf_page *page, const char *name, enum type type, const char *help, uint64_t value)
{
	kvf_page_family(page, name, type_names[type], help);
	kvf_page_sample(page, name, NULL, NULL, value);
}

static void put_numbers(struct kvf_page *page)
{
	const struct kvf_stats *s = &page->stats;

	for (size_t i = 0; i < KVF_ARRAY_LEN(numbers); i++)
		put_one(page, numbers[i].name, numbers[i].type, numbers[i].help,
			field(s, numbers[i].offset));
	put_one(page, "lmcache:local_cache_usage", GAUGE, "Bytes of the pool that hold chunks.",
		s->slots_resident * s->slot_bytes);
	kvf_page_family(page, "lmcache:retrieve_hit_rate", "gauge",
		"Share of the tokens asked for that retrieves delivered, since open.");
	kvf_page_ratio(page, "lmcache:retrieve_hit_rate", s->retrieved_tokens, s->requested_tokens);
	kvf_page_family(page, "lmcache:lookup_hit_rate", "gauge",
		"Share of the tokens looked up that were found, since open.");
	kvf_page_ratio(page, "lmcache:lookup_hit_rate", s->hit_tokens, s->lookup_tokens);
	put_one(page, "kvferry_log_lines_dropped_total", COUNTER,
		"Log lines left out by rate limits.", page->engine->log.dropped);
}

static void put_health(struct kvf_page *page)
{
	static const struct {
		uint32_t bit;
		const char *name;
	} conditions[] = {
		{KVF_HEALTH_DEAD, "dead"},
		{KVF_HEALTH_DEVICE_LOST, "device_lost"},
		{KVF_HEALTH_TIER_DOWN, "tier_down"},
		{KVF_HEALTH_POOL_SHORT, "pool_short"},
		{KVF_HEALTH_QUARANTINE, "quarantine"},
		{KVF_HEALTH_SCANNING, "scanning"},
	};
	uint32_t bits = kvf_health_bits(page->engine);

	put_one(page, "lmcache:lmcache_is_healthy", GAUGE, "1: all is well.",
		(bits & ~(uint32_t)KVF_HEALTH_SCANNING) == 0);
	kvf_page_family(
		page, "kvferry_condition", "gauge", "1: the condition holds, see kvf_health().");
	for (size_t i = 0; i < KVF_ARRAY_LEN(conditions); i++)
		kvf_page_sample(page, "kvferry_condition", "condition", conditions[i].name,
			(bits & conditions[i].bit) != 0);
	kvf_page_family(page, "kvferry_info", "gauge", "Version of the library, always 1.");
	kvf_page_sample(page, "kvferry_info", "version", kvf_version(), 1);
}

/* ---- operations ---- */

static void put_by_op(
	struct kvf_page *page, const char *name, const char *help, const uint64_t *value)
{
	kvf_page_family(page, name, "counter", help);
	for (uint32_t code = 1; code < KVF_ARRAY_LEN(op_names); code++)
		kvf_page_sample(page, name, "operation", op_names[code], value[code]);
}

static void put_operations(struct kvf_page *page)
{
	static const struct {
		const char *name, *help;
		uint32_t code;
	} times[] = {
		{"lmcache:time_to_retrieve", "Seconds from submit to completion of a retrieve.",
			KVF_OP_RETRIEVE},
		{"lmcache:time_to_store", "Seconds from submit to completion of a store.",
			KVF_OP_STORE},
		{"lmcache:time_to_lookup", "Seconds from submit to completion of a lookup.",
			KVF_OP_LOOKUP},
	};
	struct kvf_hist *const *hist = page->engine->op_hist;

	put_by_op(
		page, "kvferry_operations_total", "Operations that ended.", page->stats.completed);
	put_by_op(page, "kvferry_operations_submitted_total", "Operations that were accepted.",
		page->stats.submitted);
	put_by_op(page, "kvferry_operations_failed_total", "Operations that ended with an error.",
		page->stats.failed);
	for (size_t i = 0; i < KVF_ARRAY_LEN(times); i++) {
		kvf_page_family(page, times[i].name, "histogram", times[i].help);
		kvf_page_histogram(
			page, times[i].name, NULL, NULL, NULL, NULL, hist[times[i].code]);
	}
	kvf_page_family(page, "kvferry_operation_seconds", "histogram",
		"Seconds from submit to completion, other operations.");
	for (uint32_t code = KVF_OP_PREFETCH; code < KVF_ARRAY_LEN(op_names); code++)
		kvf_page_histogram(page, "kvferry_operation_seconds", "operation", op_names[code],
			NULL, NULL, hist[code]);
}

/* ---- tiers ---- */

#define OF_TIER(field) offsetof(struct kvf_tier_stats, field)

static const struct number tier_numbers[] = {
	{"kvferry_tier_gets_total", "Gets sent.", COUNTER, OF_TIER(gets)},
	{"kvferry_tier_get_bytes_total", "Bytes that gets brought.", COUNTER, OF_TIER(get_bytes)},
	{"kvferry_tier_get_misses_total", "Gets of chunks that were gone.", COUNTER,
		OF_TIER(get_misses)},
	{"kvferry_tier_puts_total", "Puts that succeeded.", COUNTER, OF_TIER(puts)},
	{"kvferry_tier_put_bytes_total", "Bytes that they wrote.", COUNTER, OF_TIER(put_bytes)},
	{"kvferry_tier_removes_total", "Removes that succeeded.", COUNTER, OF_TIER(removes)},
	{"kvferry_tier_errors_total", "Requests that failed.", COUNTER, OF_TIER(errors)},
	{"kvferry_tier_timeouts_total", "Requests that took too long.", COUNTER, OF_TIER(timeouts)},
	{"kvferry_tier_corrupt_total", "Chunks that came back damaged.", COUNTER, OF_TIER(corrupt)},
	{"kvferry_tier_stale_total",
		"Gets that found another chunk's bytes under the name, or damaged ones: removed there.",
		COUNTER, OF_TIER(stale)},
	{"kvferry_tier_unverified_total", "Gets that came with nothing to check them against.",
		COUNTER, OF_TIER(unverified)},
	{"kvferry_tier_orphaned_total", "Requests given up on while the tier still held a slot.",
		COUNTER, OF_TIER(orphaned)},
	{"kvferry_tier_breaker_opens_total", "Times the tier was switched off after failures.",
		COUNTER, OF_TIER(breaker_opens)},
	{"kvferry_tier_in_flight", "Requests the tier holds.", GAUGE, OF_TIER(in_flight)},
	{"kvferry_tier_queued_spills", "Chunks that wait for their way down.", GAUGE,
		OF_TIER(queued_spills)},
	{"kvferry_tier_dropped_spills_total", "Chunks that were not written down.", COUNTER,
		OF_TIER(dropped_spills)},
};

#define OF_DISK(field) offsetof(struct kvf_stats_disk, field)

static const struct number disk_numbers[] = {
	{"lmcache:local_storage_usage", "Bytes of this rank's files on disk.", GAUGE, OF_DISK(bytes)},
	{"kvferry_disk_foreign_bytes", "Bytes of other identities' files that count against the bound.", GAUGE,
		OF_DISK(foreign_bytes)},
	{"kvferry_disk_max_bytes", "Bound of both.", GAUGE, OF_DISK(max_bytes)},
	{"kvferry_disk_direct", "1: past the page cache (O_DIRECT).", GAUGE, OF_DISK(direct)},
	{"kvferry_disk_slots", "Slots of the files.", GAUGE, OF_DISK(slots)},
	{"kvferry_disk_slots_live", "Of them: with a chunk.", GAUGE, OF_DISK(slots_live)},
	{"kvferry_disk_slots_free", "Of them: with nothing.", GAUGE, OF_DISK(slots_free)},
	{"kvferry_disk_slots_bad", "Of them: with a header that cannot be overwritten.", GAUGE, OF_DISK(slots_bad)},
	{"kvferry_disk_depth", "Transfers that the kernel may have at once.", GAUGE, OF_DISK(depth)},
	{"kvferry_disk_in_kernel", "Transfers that it has.", GAUGE, OF_DISK(in_kernel)},
	{"kvferry_disk_depth_bytes", "Bytes of transfers that the kernel may have at once.", GAUGE,
		OF_DISK(depth_bytes)},
	{"kvferry_disk_in_kernel_bytes", "Bytes of those that it has.", GAUGE, OF_DISK(in_kernel_bytes)},
	{"kvferry_disk_evictions_total", "Chunks that made room on disk.", COUNTER, OF_DISK(evictions)},
	{"kvferry_disk_recovered_total", "Chunks found at start-up.", COUNTER, OF_DISK(recovered)},
	{"kvferry_disk_damaged_total", "Damaged headers found at start-up.", COUNTER, OF_DISK(damaged)},
	{"kvferry_disk_transfers_total", "Transfers handed to the kernel.", COUNTER, OF_DISK(transfers)},
	{"kvferry_disk_syscalls_total", "System calls for them.", COUNTER, OF_DISK(syscalls)},
};

static void put_tier_numbers(struct kvf_page *page)
{
	const struct kvf_stats *s = &page->stats;

	for (size_t i = 0; i < KVF_ARRAY_LEN(tier_numbers); i++) {
		const struct number *n = &tier_numbers[i];

		kvf_page_family(page, n->name, type_names[n->type], n->help);
		for (uint32_t t = 0; t < s->n_tiers; t++)
			kvf_page_sample(page, n->name, "tier", s->tiers[t].name,
				field(&s->tiers[t], n->offset));
	}
	kvf_page_family(page, "kvferry_tier_breaker_state", "gauge",
		"0 closed (in use), 1 open (switched off), 2 probing.");
	for (uint32_t t = 0; t < s->n_tiers; t++)
		kvf_page_sample(page, "kvferry_tier_breaker_state", "tier", s->tiers[t].name,
			s->tiers[t].breaker);
}

static void put_tier_times(struct kvf_page *page)
{
	const struct kvf_stats *s = &page->stats;

	kvf_page_family(page, "kvferry_tier_request_seconds", "histogram",
		"Seconds from sending to completion of a request to a tier; ask: exists, remove.");
	for (uint32_t t = 0; t < s->n_tiers; t++) {
		for (uint32_t k = 0; k < KVF_TIER_HISTS; k++)
			kvf_page_histogram(page, "kvferry_tier_request_seconds", "tier",
				s->tiers[t].name, "request", request_names[k],
				page->engine->tier[t].hist[k]);
	}
}

/* The disk tier of the configuration. */
static void put_disk(struct kvf_page *page)
{
	const struct kvf_stats_disk *d = &page->stats.disk;

	if (!d->aio[0])
		return;
	kvf_page_family(page, "kvferry_disk_info", "gauge", "The disk tier's way to the kernel, always 1.");
	kvf_page_sample(page, "kvferry_disk_info", "aio", d->aio, 1);
	for (size_t i = 0; i < KVF_ARRAY_LEN(disk_numbers); i++)
		put_one(page, disk_numbers[i].name, disk_numbers[i].type, disk_numbers[i].help,
			field(d, disk_numbers[i].offset));
}

/* What LMCache says of its remote back end; one tier is remote at most. */
static void put_remote(struct kvf_page *page)
{
	const struct kvf_tier_stats *remote = NULL;
	struct kvf_hist *const *hist = NULL;

	for (uint32_t t = 0; t < page->stats.n_tiers; t++) {
		if (page->stats.tiers[t].bit == KVF_TIER_REMOTE) {
			remote = &page->stats.tiers[t];
			hist = page->engine->tier[t].hist;
		}
	}
	if (!remote)
		return;
	put_one(page, "lmcache:num_remote_read_requests_total", COUNTER,
		"Gets sent to the remote tier.", remote->gets);
	put_one(page, "lmcache:num_remote_read_bytes_total", COUNTER,
		"Bytes read from the remote tier.", remote->get_bytes);
	put_one(page, "lmcache:num_remote_write_requests_total", COUNTER,
		"Puts to the remote tier.", remote->puts);
	put_one(page, "lmcache:num_remote_write_bytes_total", COUNTER,
		"Bytes written to the remote tier.", remote->put_bytes);
	put_one(page, "lmcache:remote_put_task_num", GAUGE,
		"Chunks that wait to be written to the remote tier.", remote->queued_spills);
	kvf_page_family(
		page, "lmcache:remote_time_to_get", "histogram", "Seconds of a remote get.");
	kvf_page_histogram(
		page, "lmcache:remote_time_to_get", NULL, NULL, NULL, NULL, hist[KVF_HIST_GET]);
	kvf_page_family(
		page, "lmcache:remote_time_to_put", "histogram", "Seconds of a remote put.");
	kvf_page_histogram(
		page, "lmcache:remote_time_to_put", NULL, NULL, NULL, NULL, hist[KVF_HIST_PUT]);
}

int kvf_metrics_write(struct kvf_engine *e, char *buf, size_t size)
{
	struct kvf_page page = {.engine = e, .text = {buf, size, 0}};

	page.stats.size = sizeof(page.stats);
	kvf_stats_fill(e, &page.stats);
	if (size)
		buf[0] = '\0';
	put_numbers(&page);
	put_health(&page);
	put_operations(&page);
	put_tier_numbers(&page);
	put_tier_times(&page);
	put_disk(&page);
	put_remote(&page);
	kvf_page_device(&page);
	kvf_page_servers(&page);
	return page.text.length > INT_MAX ? KVF_EINVAL : (int)page.text.length;
}
