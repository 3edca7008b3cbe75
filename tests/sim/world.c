/* SPDX-License-Identifier: Apache-2.0 */
/* The world as a whole: opening, time, polling, shutting down, closing. See world.h. */
#include "tests/sim/world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

#define DRAIN_TURNS_MAX 200000u

void world_fail(struct world *w, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (w->failed)
		return;
	w->failed = true;
	n = snprintf(w->why, sizeof(w->why),
		"seed %llu turn %llu time %llu: ", (unsigned long long)w->o.seed,
		(unsigned long long)w->turns, (unsigned long long)world_now(w));
	va_start(ap, fmt);
	vsnprintf(w->why + n, sizeof(w->why) - (size_t)n, fmt, ap);
	va_end(ap);
}

void world_mix(struct world *w, uint64_t value)
{
	w->digest = wl_mix64(w->digest ^ value) + value;
}

/* ---- tiers ---- */

static bool is_net(const struct world *w, uint32_t t)
{
	return w->wnet && w->o.net.on && t == w->o.net.at;
}

bool world_tier_has(const struct world *w, uint32_t t, const uint8_t *key)
{
	if (is_net(w, t))
		return wnet_has(w->wnet, key);
	return !t && w->wdisk ? wdisk_has(w->wdisk, key) : simtier_find(&w->tier[t], key) != NULL;
}

bool world_tier_putting(const struct world *w, uint32_t t, const uint8_t *key)
{
	if (is_net(w, t))
		return wnet_putting(w->wnet, key);
	return !t && w->wdisk ? wdisk_putting(w->wdisk, key) : simtier_putting(&w->tier[t], key);
}

bool world_tier_removing(const struct world *w, uint32_t t)
{
	if (is_net(w, t))
		return wnet_removing(w->wnet);
	return !t && w->wdisk ? wdisk_removing(w->wdisk) : simtier_removing(&w->tier[t]);
}

bool world_tier_unsure(const struct world *w, uint32_t t, const uint8_t *key)
{
	return is_net(w, t) && wnet_unsure(w->wnet, key);
}

/* ---- time ---- */

uint64_t world_now(const struct world *w)
{
	return w->o.real_time ? tool_now_ns() : w->now_ns;
}

static uint64_t any_now(void *arg)
{
	return world_now(arg);
}

void world_signal(struct world *w, struct world_fence *f)
{
	f->armed = false;
	w->n_armed--;
	if (f->op != KVF_NIL) {
		struct world_op *op = &w->ops[f->op];

		if (op->op.code == KVF_OP_STORE) {
			blocks_write(w, op, f->layer);
		} else if (op->op.code == KVF_OP_RETRIEVE) {
			if (!blocks_untouched(w, op, true))
				world_fail(w, "retrieve #%llu wrote before its fence",
					(unsigned long long)op->serial);
			op->pattern = ~op->pattern;
			blocks_fill(w, op, op->pattern);
		}
	}
	f->word = 1;
}

uint64_t world_next_fence(const struct world *w)
{
	uint64_t at = KVF_NO_DEADLINE;

	for (uint32_t i = 0; w->n_armed && i < W_FENCES; i++) {
		if (w->fences[i].armed && !w->fences[i].streamed)
			at = kvf_min_u64(at, w->fences[i].at_ns);
	}
	return at;
}

static void signal_due(struct world *w)
{
	uint64_t now = world_now(w);

	for (uint32_t i = 0; w->n_armed && i < W_FENCES; i++) {
		if (w->fences[i].armed && !w->fences[i].streamed && w->fences[i].at_ns <= now)
			world_signal(w, &w->fences[i]);
	}
}

void world_advance(struct world *w, uint64_t ns)
{
	w->now_ns += ns;
	if (w->o.backend)
		w->o.backend->time(w);
	signal_due(w);
}

uint32_t world_copies_of(const struct world *w, uint64_t op_id, int direction)
{
	return w->o.backend ? tap_copies_of(&w->tap, op_id, direction) : simdev_copies_of(&w->dev, op_id, direction);
}

/* ---- opening ---- */

void world_defaults(struct world_options *o, uint64_t seed)
{
	memset(o, 0, sizeof(*o));
	o->seed = seed;
	o->chunk_size = 8;
	o->n_groups = 1;
	o->group[0] = (struct world_group){.n_layers = 2, .planes = 2, .block_tokens = 4};
	o->group[1] = (struct world_group){.n_layers = 1, .planes = 1, .block_tokens = 8};
	o->n_blocks = 1024;
	o->n_slots = 32;
	o->max_ops = 64;
	o->local_cpu = true;
	o->policy = "LRU";
	o->device_caps = KVF_DEVICE_LAYERWISE | KVF_DEVICE_FENCES;
	o->device.latency_min_ns = 2000;
	o->device.latency_max_ns = 20000;
	o->n_tiers = 1;
	for (uint32_t t = 0; t < W_MAX_TIERS; t++) {
		o->tier[t].caps = KVF_TIER_RECORDS | KVF_TIER_DURABLE;
		o->tier[t].faults.latency_min_ns = 20000;
		o->tier[t].faults.latency_max_ns = 200000;
		o->tier[t].faults.hang_ns = 60 * KVF_NS_PER_S;
	}
	o->verify_every = 1;
}

static void set(struct world *w, struct kvf_config *config, const char *key, const char *value)
{
	struct kvf_report report;
	char text[256];

	kvf_report_init(&report, text, sizeof(text));
	if (kvf_config_set(config, key, value, &report))
		world_fail(w, "config %s=%s: %s", key, value, text);
}

static void set_number(struct world *w, struct kvf_config *config, const char *key, uint64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	set(w, config, key, text);
}

static struct kvf_config *make_config(struct world *w)
{
	struct kvf_config *config = NULL;

	if (kvf_config_create(&config, NULL))
		return NULL;
	set_number(w, config, "chunk_size", w->o.chunk_size);
	set_number(w, config, "kvf_pool_slots", w->o.n_slots);
	set_number(w, config, "kvf_max_ops", w->o.max_ops);
	set_number(w, config, "min_retrieve_tokens", w->o.min_retrieve_tokens);
	set(w, config, "local_cpu", w->o.local_cpu ? "true" : "false");
	set(w, config, "save_unfull_chunk", w->o.save_unfull ? "true" : "false");
	set(w, config, "cache_policy", w->o.policy);
	if (w->o.net.on && w->o.net.multiprocess)
		set(w, config, "pre_caching_hash_algorithm", "blake3");
	return config;
}

static void copy_ended(void *arg, const struct kvf_copy *copy, int status)
{
	struct world *w = arg;
	struct world_op *op = &w->ops[copy->user_data & 0xffff];

	/* A real device notices some time after the host's look at the fence. */
	if ((!op->live || op->id != copy->op_id) && w->o.backend)
		return;
	if (!op->live || op->id != copy->op_id) {
		world_fail(w, "the device finished a copy of an operation that is over");
		return;
	}
	op->last_copy_end_ns = w->now_ns;
	if (status && status != KVF_ECANCELED)
		op->copy_failed = true;
}

static void no_log(enum kvf_log_level level, const char *scope, const char *msg, void *user)
{
	(void)level;
	(void)scope;
	(void)msg;
	(void)user;
}

static void make_parts(struct world *w)
{
	static const char *const names[W_MAX_TIERS] = {"sim0", "sim1", "sim2"};

	simdev_init(&w->dev, w->o.device_caps, w->o.seed ^ 0xdef);
	w->dev.faults = w->o.device;
	w->dev.max_in_flight = w->o.device_max;
	w->dev.now_ns = any_now;
	w->dev.now_arg = w;
	w->dev.ended = copy_ended;
	check_hooks(w, &w->dev.hooks, true);
	if (w->o.backend)
		tap_init(&w->tap, &w->dev);
	for (uint32_t t = 0; t < W_MAX_TIERS; t++) {
		simtier_init(&w->tier[t], names[t], w->o.tier[t].caps, w->o.seed ^ (0x71e4u + t));
		w->tier[t].faults = w->o.tier[t].faults;
		w->tier[t].no_checksum = w->o.tier[t].no_checksum;
		w->tier[t].max_records = w->o.tier[t].max_records;
		w->tier[t].max_in_flight = w->o.tier[t].max_in_flight;
		check_hooks(w, &w->tier[t].hooks, false);
	}
	if (w->o.disk.on) /* tier[0] only stands for it */
		w->tier[0].caps = KVF_TIER_RECORDS | KVF_TIER_SYNC_EXISTS | KVF_TIER_DURABLE | KVF_TIER_CLEARS;
	if (w->o.net.on)
		w->tier[w->o.net.at].caps = KVF_TIER_SHARED | KVF_TIER_WIRE;
}

int world_open(struct world *w, const struct world_options *o)
{
	static const struct kvf_log_sink silent = {sizeof(silent), no_log, NULL};
	struct kvf_custom_tier tiers[W_MAX_TIERS];
	struct kvf_open_params params;
	struct kvf_config *config;
	int rc;

	uint64_t fail_at = w->mem.fail_at;
	bool persistent = w->mem.persistent;

	w->o = *o;
	simmem_init(&w->mem, o->seed ^ 0xa110c);
	w->mem.fail_at = fail_at; /* a sweep has said so already */
	w->mem.persistent = persistent;
	w->now_ns = 1000 * KVF_NS_PER_S;
	w->keys = calloc(W_MAX_KEYS, sizeof(*w->keys));
	w->used_keys = malloc(W_MAX_KEYS * sizeof(*w->used_keys));
	for (uint32_t i = 0; i < W_FENCES; i++)
		w->fences[i].op = KVF_NIL;
	wl_rng_seed(&w->rng, o->seed ^ 0x40a7);
	blocks_init(w);
	make_parts(w);
	if (o->disk.on)
		w->wdisk = wdisk_open(w);
	if (o->net.on)
		w->wnet = wnet_open(w);
	config = make_config(w);
	kvf_open_params_init(&params);
	params.config = config;
	params.identity.model = "sim";
	params.layout = &w->layout;
	params.device = o->host_device ? NULL : &w->dev.ops;
	params.device_self = o->host_device ? NULL : &w->dev;
	if (o->backend) {
		rc = o->backend->open(w, &w->tap.inner, &w->tap.inner_self);
		if (rc) {
			kvf_config_destroy(config);
			return rc;
		}
		params.device = &tap_ops;
		params.device_self = &w->tap;
	}
	for (uint32_t t = 0; t < o->n_tiers; t++) {
		tiers[t] = (struct kvf_custom_tier){&w->tier[t].ops, &w->tier[t]};
		if (!t && w->wdisk)
			tiers[t] = (struct kvf_custom_tier){&w->wdisk->ops, w->wdisk};
		if (is_net(w, t))
			tiers[t] = (struct kvf_custom_tier){&w->wnet->ops, w->wnet};
		if (o->wrap)
			o->wrap(o->wrap_arg, t, &tiers[t]);
	}
	params.tiers = tiers;
	params.n_tiers = o->n_tiers;
	params.flags = o->no_events ? KVF_OPEN_NO_EVENTS : 0;
	params.allocator = &w->mem.allocator;
	w->clock = (struct kvf_clock){sizeof(w->clock), any_now, w};
	params.clock = &w->clock;
	params.log = &silent;
	rc = kvf_engine_open(&w->engine, &params);
	kvf_config_destroy(config);
	if (rc)
		w->engine = NULL;
	else
		w->mem.fail_ppm = o->alloc_ppm;
	return rc;
}

/* ---- polling ---- */

int world_poll(struct world *w, unsigned max)
{
	struct kvf_completion out[64];
	int n;

	signal_due(w);
	w->turns++;
	if (w->hurry)
		max = KVF_ARRAY_LEN(out);
	w->hurry = false;
	n = kvf_poll(w->engine, out, max < KVF_ARRAY_LEN(out) ? max : KVF_ARRAY_LEN(out));
	if (n < 0) {
		world_fail(w, "kvf_poll: %s", kvf_strerror(n));
		return n;
	}
	check_turn(w);
	for (int i = 0; i < n; i++)
		judge_completion(w, &out[i]);
	world_mix(w, w->now_ns + (uint64_t)n);
	world_look_at_fences(w);
	if (w->on_turn)
		w->on_turn(w, w->on_turn_arg);
	return n;
}

bool world_drain(struct world *w, uint64_t until_ns)
{
	for (uint32_t i = 0; i < DRAIN_TURNS_MAX && !w->failed; i++) {
		uint64_t now = world_now(w);
		uint64_t next;

		if (!w->n_live && !w->n_tails && (!w->shutting || kvf_engine_idle(w->engine)))
			return true;
		if (now >= until_ns)
			return false;
		world_poll(w, 64);
		if (w->o.real_time)
			continue;
		next = kvf_next_deadline_ns(w->engine);
		/* A host that sleeps wakes for its own fences too, but the engine is not told. */
		next = kvf_min_u64(next, world_next_fence(w));
		if (next == KVF_NO_DEADLINE) {
			if (!w->n_live && !w->n_tails &&
				(!w->shutting || kvf_engine_idle(w->engine)))
				return true;
			if (!w->n_live && w->n_tails) {
				/* The host has its fences, it only was in no hurry. */
				world_advance(w, 1000);
				continue;
			}
			if (w->n_live || w->shutting)
				world_fail(w,
					"the engine would sleep for ever, with %u operations in "
					"flight",
					w->n_live);
			return false;
		}
		if (next > now)
			world_advance(w, kvf_min_u64(next, until_ns) - now);
	}
	if (!w->failed)
		world_fail(w, "no end after %u turns", DRAIN_TURNS_MAX);
	return false;
}

void world_calm(struct world *w)
{
	w->mem.fail_ppm = 0;
	w->mem.fail_at = 0;
	w->fail_device_at = 0;
	w->fail_tier_at = 0;
	simdev_calm(&w->dev);
	if (w->o.backend)
		w->o.backend->calm(w);
	for (uint32_t t = 0; t < w->o.n_tiers; t++) {
		if (w->tier[t].host)
			simtier_calm(&w->tier[t]);
	}
	if (w->wdisk)
		sim_disk_calm(&w->wdisk->sim);
	if (w->wnet)
		wnet_calm(w->wnet);
	for (uint32_t i = 0; i < W_FENCES; i++) {
		if (w->fences[i].armed && !w->fences[i].streamed)
			w->fences[i].at_ns =
				kvf_min_u64(w->fences[i].at_ns, world_now(w) + KVF_NS_PER_MS);
	}
	/* The host announces the layers it still owes. */
	for (uint32_t i = 0; i < W_MAX_OPS; i++) {
		struct world_op *op = &w->ops[i];

		if (!op->live || op->done || op->op.code != KVF_OP_STORE ||
			!(op->op.flags & KVF_OP_LAYERWISE))
			continue;
		for (uint32_t l = 0; l < w->n_layers; l++)
			world_give_layer(w, op, l, 0);
	}
}

int world_shutdown(struct world *w, enum kvf_shutdown_mode mode, uint64_t deadline_ns)
{
	int rc = kvf_engine_shutdown(w->engine, mode, deadline_ns);

	if (rc == KVF_OK) {
		w->shutting = true;
		w->shutdown_cancels |=
			mode == KVF_SHUTDOWN_CANCEL || deadline_ns != KVF_NO_DEADLINE;
	} else if (!w->shutting) {
		world_fail(w, "kvf_engine_shutdown: %s", kvf_strerror(rc));
	}
	return rc;
}

/* ---- closing ---- */

static void close_engine(struct world *w)
{
	int rc;

	if (!w->shutting)
		world_shutdown(w, KVF_SHUTDOWN_CANCEL, KVF_NO_DEADLINE);
	world_calm(w);
	if (!world_drain(w, world_now(w) + 600 * KVF_NS_PER_S))
		world_fail(
			w, "shutdown does not end: %u operations, %u tails", w->n_live, w->n_tails);
	if (!w->failed)
		check_everything(w);
	rc = kvf_engine_close(w->engine);
	if (rc)
		world_fail(w, "kvf_engine_close: %s (%s)", kvf_strerror(rc),
			kvf_error_detail(w->engine));
	else
		w->engine = NULL;
}

void world_close(struct world *w)
{
	if (w->engine)
		close_engine(w);
	if (w->o.backend)
		w->o.backend->close(w);
	if (!w->engine && w->wdisk && wdisk_close(w->wdisk))
		world_fail(w, "the disk tier leaked memory");
	if (!w->engine && w->wnet && wnet_close(w->wnet))
		world_fail(w, "the Redis tier leaked memory");
	if (!w->engine && w->mem.live_blocks)
		world_fail(w, "%llu blocks of %llu bytes leaked",
			(unsigned long long)w->mem.live_blocks,
			(unsigned long long)w->mem.live_bytes);
	if (w->mem.wrong_sizes)
		world_fail(w, "memory was given back with another size than it was taken with");
	if (w->n_holds && !w->failed)
		world_fail(w, "%u transfers never ended", w->n_holds);
	for (uint32_t i = 0; i < W_MAX_OPS; i++) {
		if (w->ops[i].live)
			world_op_free(w, &w->ops[i]);
	}
	for (uint32_t i = 0; i < W_LEASES; i++)
		free(w->leases[i].keys);
	for (uint32_t t = 0; t < W_MAX_TIERS; t++)
		simtier_fini(&w->tier[t]);
	if (w->wdisk && !w->o.disk.keep) {
		wdisk_free(w->wdisk);
		w->wdisk = NULL;
	}
	if (w->wnet && !w->o.net.keep) {
		wnet_free(w->wnet);
		w->wnet = NULL;
	}
	blocks_fini(w);
	free(w->keys);
	free(w->used_keys);
	w->keys = NULL;
}
