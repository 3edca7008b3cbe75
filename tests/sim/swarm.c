/* SPDX-License-Identifier: Apache-2.0 */
/* What a seed turns on. See swarm.h. */
#include "tests/sim/swarm.h"

#include <string.h>

static uint32_t below(struct wl_rng *r, uint32_t n)
{
	return (uint32_t)wl_rng_below(r, n);
}

static bool one_in(struct wl_rng *r, uint32_t n)
{
	return below(r, n) == 0;
}

/* Off three times out of four; else rare to frequent. */
static uint32_t maybe(struct wl_rng *r, uint32_t max_ppm)
{
	return below(r, 4) ? 0 : 1 + below(r, max_ppm);
}

static uint64_t up_to(struct wl_rng *r, uint64_t max)
{
	return 1 + wl_rng_below(r, max);
}

static void choose_shape(struct wl_rng *r, struct world_options *o)
{
	static const char *const policies[] = {"LRU", "LRU", "LFU", "FIFO", "MRU"};

	o->chunk_size = 2u << below(r, 3);
	o->n_groups = 1 + one_in(r, 3);
	for (uint32_t g = 0; g < o->n_groups; g++) {
		uint32_t bt = 2u << below(r, 3);

		o->group[g] = (struct world_group){1 + below(r, 3), 1 + below(r, 2), bt};
	}
	o->n_blocks = 512 + below(r, 1024);
	o->n_slots = one_in(r, 2) ? 8 : 9 + below(r, one_in(r, 3) ? 200 : 40);
	o->max_ops = one_in(r, 4) ? 4 + below(r, 8) : 64;
	o->local_cpu = !one_in(r, 5);
	o->save_unfull = one_in(r, 2);
	o->policy = policies[below(r, KVF_ARRAY_LEN(policies))];
	o->min_retrieve_tokens = one_in(r, 8) ? below(r, 3 * o->chunk_size) : 0;
	o->no_events = one_in(r, 10);
	o->verify_every = 1u << below(r, 7);
}

static void choose_device(struct wl_rng *r, struct world_options *o)
{
	struct simdev_faults *f = &o->device;

	o->device_caps = KVF_DEVICE_LAYERWISE | KVF_DEVICE_FENCES;
	if (one_in(r, 12))
		o->device_caps = KVF_DEVICE_SYNC;
	else if (one_in(r, 10))
		o->device_caps = KVF_DEVICE_LAYERWISE;
	o->device_max = one_in(r, 4) ? 1 + below(r, 8) : 0;
	f->latency_min_ns = wl_rng_below(r, 5000);
	f->latency_max_ns = f->latency_min_ns + wl_rng_below(r, one_in(r, 4) ? 2000000 : 50000);
	f->again = maybe(r, 300000);
	f->refuse = maybe(r, 30000);
	f->error = maybe(r, 30000);
	f->lost = one_in(r, 12) ? 1 + below(r, 2000) : 0;
	f->capture = maybe(r, 30000);
	f->inside = maybe(r, 600000);
	f->overlap = maybe(r, 600000);
	f->scribble = one_in(r, 2) ? 1000000 : 0;
	f->deaf = maybe(r, 600000);
	f->slow = maybe(r, 20000);
	f->slow_ns = up_to(r, 2 * KVF_NS_PER_S);
}

static void choose_tier(struct wl_rng *r, struct world_options *o, uint32_t t)
{
	struct simtier_faults *f = &o->tier[t].faults;
	bool records = !one_in(r, 3);

	o->tier[t].caps =
		(records ? KVF_TIER_RECORDS : 0u) | (one_in(r, 3) ? KVF_TIER_SYNC_EXISTS : 0u) |
		(one_in(r, 2) ? KVF_TIER_DURABLE : 0u) | (one_in(r, 2) ? KVF_TIER_SHARED : 0u);
	o->tier[t].max_records = one_in(r, 5) ? 1 + below(r, 64) : 0;
	o->tier[t].max_in_flight = one_in(r, 4) ? 1 + below(r, 16) : 0;
	f->latency_min_ns = wl_rng_below(r, 50000);
	f->latency_max_ns = f->latency_min_ns +
			    wl_rng_below(r, one_in(r, 4) ? 50 * KVF_NS_PER_MS : KVF_NS_PER_MS);
	f->error = maybe(r, one_in(r, 5) ? 900000 : 100000);
	f->gone = maybe(r, 200000);
	f->flip_payload = maybe(r, 200000);
	f->flip_header = maybe(r, 200000);
	f->cut = maybe(r, 100000);
	f->other = records ? maybe(r, 100000) : 0;
	f->full = maybe(r, 500000);
	f->hang = maybe(r, one_in(r, 4) ? 900000 : 50000);
	f->deaf = maybe(r, 1000000);
	f->late_ok = maybe(r, 1000000);
	f->partial = maybe(r, 500000);
	f->busy = maybe(r, 300000);
	f->inside = maybe(r, 500000);
	/* Never for ever: an operation without a deadline waits as long as its tier. */
	f->hang_ns = one_in(r, 3) ? 3600 * KVF_NS_PER_S : up_to(r, 90 * KVF_NS_PER_S);
	/* Nobody could tell that bytes without a checksum are damaged. */
	if (!records && one_in(r, 4)) {
		o->tier[t].no_checksum = true;
		f->flip_payload = 0;
	}
}

/* The library's own disk tier in place of the first one. By numbers of its own: with or without it, a seed's other
 * choices are the same. */
static void choose_disk(struct world_options *o)
{
	struct wdisk_options *d = &o->disk;
	struct sim_disk_faults *f = &d->faults;
	struct wl_rng r;

	wl_rng_seed(&r, o->seed ^ 0xd15c0);
	if (!o->n_tiers || !one_in(&r, 3))
		return;
	d->on = true;
	d->slots = one_in(&r, 2) ? 10 + below(&r, 30) : 512;
	d->admission = one_in(&r, 6) ? KVF_DISK_SECOND_TOUCH : KVF_DISK_ADMIT_ALL;
	d->durable = below(&r, 3);
	d->depth = one_in(&r, 4) ? 1 + below(&r, 4) : 0;
	f->latency_min_ns = wl_rng_below(&r, 50000);
	f->latency_max_ns = f->latency_min_ns;
	f->latency_max_ns += wl_rng_below(&r, one_in(&r, 4) ? 50 * KVF_NS_PER_MS : KVF_NS_PER_MS);
	f->window = maybe(&r, 50000);
	f->window_max = 1 + below(&r, one_in(&r, 2) ? 3 : 60);
	f->cut = maybe(&r, 200000);
	f->hang = maybe(&r, 20000);
	f->hang_ns = up_to(&r, one_in(&r, 2) ? 90 * KVF_NS_PER_S : KVF_NS_PER_S);
	f->flip = maybe(&r, 100000);
	f->torn = maybe(&r, 100000);
	f->lost = maybe(&r, 100000);
	f->astray = maybe(&r, 100000);
	d->keep = one_in(&r, 2);
	d->power_cut = one_in(&r, 2);
}

static void choose_server(struct wl_rng *r, struct wnet_options *n)
{
	n->format = one_in(r, 2) ? KVF_RESP_TWO_KEY : KVF_RESP_RAW;
	n->verify = one_in(r, 2) ? KVF_RESP_AUTO : (enum kvf_resp_verify)below(r, 3);
	n->multiprocess = n->format == KVF_RESP_RAW && one_in(r, 3);
	n->older = one_in(r, 2);
	n->connections = 1 + below(r, one_in(r, 4) ? 16 : 3);
	n->ttl_s = one_in(r, 6) ? 1 + below(r, 60) : 0;
	n->password = one_in(r, 3);
	n->user = n->password && one_in(r, 2);
	n->database = one_in(r, 3) ? 1 + below(r, 15) : 0;
	n->no_hello = one_in(r, 4);
	n->old_protocol = one_in(r, 8);
	n->no_unlink = n->no_hello && one_in(r, 2);
	n->no_client = n->no_hello && one_in(r, 4);
	n->extras = maybe(r, 300000);
	n->small_turn = maybe(r, 900000);
}

static void choose_weather(struct wl_rng *r, struct wnet_options *n)
{
	struct sim_net_habits *h = &n->habits;
	struct sim_redis_faults *s = &n->redis;
	struct sim_net_faults *f = &n->net;

	h->latency_min_ns = wl_rng_below(r, 50000);
	h->latency_max_ns = h->latency_min_ns;
	h->latency_max_ns += wl_rng_below(r, one_in(r, 4) ? 50 * KVF_NS_PER_MS : KVF_NS_PER_MS);
	h->shorter = maybe(r, 900000);
	h->again = maybe(r, 500000);
	h->pieces = one_in(r, 2) ? below(r, 1000000) : 0;
	h->buffer = one_in(r, 3) ? 16 + below(r, one_in(r, 2) ? 64 : 4096) : 0;
	/* A few bytes a round trip: a value must still get there before everybody has given up. */
	if (h->buffer && h->buffer < 512)
		h->latency_max_ns = (h->latency_min_ns /= 8) + 10000;
	h->at_once = one_in(r, 3);
	f->refuse = maybe(r, 500000);
	f->mute = maybe(r, 200000);
	f->reset = maybe(r, one_in(r, 3) ? 100000 : 5000);
	f->end = maybe(r, one_in(r, 3) ? 100000 : 5000);
	f->hang = maybe(r, 20000);
	f->silent = maybe(r, 5000);
	f->hang_ns = up_to(r, one_in(r, 2) ? 90 * KVF_NS_PER_S : KVF_NS_PER_S);
	s->error = maybe(r, 100000);
	s->window = maybe(r, 5000);
	s->partly = maybe(r, 200000);
	s->forget = maybe(r, 20000);
	s->restart = maybe(r, 2000);
	s->kick = maybe(r, 10000);
	s->crowd = maybe(r, 200000);
	s->evict = maybe(r, 300000);
	s->damage = one_in(r, 2) ? 1 + below(r, 200000) : 0;
	s->garbage = maybe(r, 5000);
	s->busy = maybe(r, 5000);
	s->window_ns = up_to(r, one_in(r, 3) ? 30 * KVF_NS_PER_S : 100 * KVF_NS_PER_MS);
	n->stall_timeout_ns = KVF_NS_PER_MS + wl_rng_below(r, 5 * KVF_NS_PER_S);
	n->connect_timeout_ns = KVF_NS_PER_MS + wl_rng_below(r, 10 * KVF_NS_PER_S);
}

/* The library's own Redis tier in place of another one, below the disk if that is there; by numbers of its own too. */
static void choose_net(struct world_options *o)
{
	struct wnet_options *n = &o->net;
	struct wl_rng r;

	wl_rng_seed(&r, o->seed ^ 0x4e7c0);
	if (o->n_tiers <= o->disk.on || !one_in(&r, 3))
		return;
	n->on = true;
	n->at = o->n_tiers - 1;
	if (n->at && one_in(&r, 2))
		n->at = o->disk.on ? 1 : below(&r, o->n_tiers);
	n->keep = one_in(&r, 3);
	choose_server(&r, n);
	choose_weather(&r, n);
}

static void choose_host(struct wl_rng *r, struct swarm_host *h)
{
	static const uint8_t usual[16] = {0, 6, 10, 12, 3, 1, 1, 1, 1, 1};

	h->max_live = one_in(r, 4) ? 60 : 1 + below(r, 24);
	h->max_tokens = one_in(r, 4) ? 200 : 24 + below(r, 80);
	h->n_docs = 1 + below(r, 4);
	h->alphabet = 1 + below(r, 3);
	for (uint32_t c = 1; c < 10; c++)
		h->weight[c] = one_in(r, 5) ? 0 : usual[c] * (1 + below(r, 3));
	h->weight[KVF_OP_STORE] += 4;
	h->weight[KVF_OP_RETRIEVE] += 4;
	h->poll_weight = 20 + below(r, 60);
	h->seq_weight = 3 + below(r, 8);
	h->cancel_weight = one_in(r, 2) ? 0 : 1 + below(r, 4);
	h->layer_weight = 4 + below(r, 20);
	h->layerwise_ppm = maybe(r, 800000);
	h->stream_ppm = maybe(r, 800000);
	h->progress_ppm = maybe(r, 800000);
	h->source_free_ppm = one_in(r, 2) ? 500000 : 1000000;
	h->fence_ppm = maybe(r, 1000000);
	h->null_ppm = maybe(r, 300000);
	h->level_ppm = maybe(r, 800000);
	h->lease_ppm = maybe(r, 1000000);
	h->priority_ppm = maybe(r, 500000);
	h->short_deadline_ppm = maybe(r, 800000);
	h->no_deadline_ppm = maybe(r, 200000);
	h->remove_tiers_ppm = maybe(r, 500000);
	h->fence_max_ns = up_to(r, one_in(r, 5) ? KVF_NS_PER_S : KVF_NS_PER_MS);
	h->lease_max_ns = up_to(r, one_in(r, 3) ? 100 * KVF_NS_PER_S : 20 * KVF_NS_PER_MS);
	h->deadline_max_ns = up_to(r, one_in(r, 3) ? 100 * KVF_NS_PER_MS : KVF_NS_PER_MS);
	h->sleepy_ppm = below(r, 1000001);
	h->step_max_ns = up_to(r, 200000);
	h->jump_ppm = maybe(r, 3000);
	h->max_batch = 1 + below(r, one_in(r, 2) ? 3 : 64);
	h->shutdown_at = one_in(r, 3) ? 1 + below(r, h->steps) : 0;
	h->shutdown_mode = (enum kvf_shutdown_mode)below(r, 3);
	h->shutdown_deadline = one_in(r, 2);
}

/* No faults at all: then what was stored must be found again. */
static void make_trusting(struct wl_rng *r, struct world_options *o, struct swarm_host *h)
{
	struct simdev_faults quiet = {.latency_min_ns = o->device.latency_min_ns,
		.latency_max_ns = o->device.latency_max_ns,
		.scribble = o->device.scribble};

	o->trusting = true;
	o->device = quiet;
	o->local_cpu = true;
	o->n_slots = W_MAX_KEYS / 8 + below(r, 64);
	o->min_retrieve_tokens = 0;
	h->short_deadline_ppm = 0;
	h->jump_ppm = 0;
	h->cancel_weight = 0;
	for (uint32_t t = 0; t < o->n_tiers; t++) {
		struct simtier_faults none = {.latency_min_ns = o->tier[t].faults.latency_min_ns,
			.latency_max_ns = o->tier[t].faults.latency_max_ns};

		o->tier[t].faults = none;
		o->tier[t].max_records = 0;
	}
	memset(&o->net.net, 0, sizeof(o->net.net));
	memset(&o->net.redis, 0, sizeof(o->net.redis));
	o->net.ttl_s = 0;
	o->net.stall_timeout_ns = 5 * KVF_NS_PER_S;
	o->net.connect_timeout_ns = 10 * KVF_NS_PER_S;
	o->disk.admission = KVF_DISK_ADMIT_ALL;
	o->disk.faults = (struct sim_disk_faults){.latency_min_ns = o->disk.faults.latency_min_ns,
		.latency_max_ns = o->disk.faults.latency_max_ns};
	/* With a small pool only what reached a tier is promised, so every store asks for that. */
	if (o->n_tiers && one_in(r, 2)) {
		o->n_slots = 8 + below(r, 32);
		o->tier[0].caps |= KVF_TIER_DURABLE;
		o->below = true;
		h->level_ppm = 1000001; /* always */
		h->only_level = o->net.on && !o->net.at ? KVF_LEVEL_REMOTE : KVF_LEVEL_DURABLE;
	}
}

void swarm_options(uint64_t seed, uint32_t steps, struct world_options *o, struct swarm_host *h)
{
	struct wl_rng r;

	wl_rng_seed(&r, seed);
	world_defaults(o, seed);
	memset(h, 0, sizeof(*h));
	h->steps = steps;
	choose_shape(&r, o);
	choose_device(&r, o);
	o->n_tiers = one_in(&r, 6) ? 0 : 1 + below(&r, W_MAX_TIERS);
	for (uint32_t t = 0; t < W_MAX_TIERS; t++)
		choose_tier(&r, o, t);
	choose_disk(o);
	choose_net(o);
	choose_host(&r, h);
	o->alloc_ppm = one_in(&r, 6) ? 1 + below(&r, 300000) : 0;
	if (one_in(&r, 6)) {
		o->alloc_ppm = 0;
		make_trusting(&r, o, h);
	}
	/* Looking at everything costs as much as there is, and LFU has 65,536 buckets. */
	o->verify_every *= (1 + o->n_slots / 32) * (o->policy[1] == 'F' ? 16 : 1);
	if (o->device_caps & KVF_DEVICE_SYNC)
		h->fence_ppm = h->layerwise_ppm = h->stream_ppm = 0;
}

static void print_tier(FILE *f, const struct world_options *o, uint32_t t)
{
	const struct simtier_faults *s = &o->tier[t].faults;

	fprintf(f,
		"  tier %u: caps 0x%x%s records<=%u in_flight<=%u latency %llu..%llu ns, ppm: "
		"error %u gone %u payload %u "
		"header %u other %u cut %u full %u hang %u (deaf %u, %llu ns) late_ok %u partial "
		"%u busy %u inside %u\n",
		t, o->tier[t].caps, o->tier[t].no_checksum ? " no checksum" : "",
		o->tier[t].max_records, o->tier[t].max_in_flight,
		(unsigned long long)s->latency_min_ns, (unsigned long long)s->latency_max_ns,
		s->error, s->gone, s->flip_payload, s->flip_header, s->other, s->cut, s->full,
		s->hang, s->deaf, (unsigned long long)s->hang_ns, s->late_ok, s->partial, s->busy,
		s->inside);
}

static void print_disk(FILE *f, const struct wdisk_options *d)
{
	const struct sim_disk_faults *s = &d->faults;

	fprintf(f,
		"  tier 0: disk, %u slots admission %u durable %u depth %u latency %llu..%llu ns, ppm: "
		"window %u (<= %u) cut %u hang %u (<= %llu ns) flip %u torn %u lost %u astray %u%s\n",
		d->slots, d->admission, d->durable, d->depth, (unsigned long long)s->latency_min_ns,
		(unsigned long long)s->latency_max_ns, s->window, s->window_max, s->cut, s->hang,
		(unsigned long long)s->hang_ns, s->flip, s->torn, s->lost, s->astray,
		!d->keep ? "" : d->power_cut ? "; found again after a power cut" : "; found again");
}

static void print_net(FILE *f, const struct wnet_options *n)
{
	const struct sim_net_habits *h = &n->habits;
	const struct sim_redis_faults *s = &n->redis;
	const struct sim_net_faults *w = &n->net;

	fprintf(f,
		"  tier %u: redis, %s verify %d connections %u ttl %u database %u%s%s%s%s%s%s%s%s%s, stall %llu ns "
		"connect %llu ns\n",
		n->at, n->format == KVF_RESP_RAW ? "raw" : "two keys", (int)n->verify, n->connections, n->ttl_s,
		n->database, n->multiprocess ? " multiprocess" : "", n->older ? " older" : "", n->user ? " user" : "",
		n->password ? " password" : "", n->no_hello ? " no HELLO" : "", n->no_unlink ? " no UNLINK" : "",
		n->no_client ? " no CLIENT" : "", n->old_protocol ? " old protocol" : "",
		n->keep ? " found again" : "",
		(unsigned long long)n->stall_timeout_ns, (unsigned long long)n->connect_timeout_ns);
	fprintf(f,
		"    latency %llu..%llu ns buffer %u%s, ppm: shorter %u again %u pieces %u extras %u small turn %u "
		"refuse %u mute %u reset %u end %u hang %u silent %u (<= %llu ns)\n",
		(unsigned long long)h->latency_min_ns, (unsigned long long)h->latency_max_ns, h->buffer,
		h->at_once ? " at once" : "", h->shorter, h->again, h->pieces, n->extras, n->small_turn,
		w->refuse, w->mute, w->reset, w->end, w->hang, w->silent, (unsigned long long)w->hang_ns);
	fprintf(f,
		"    error %u window %u partly %u forget %u restart %u kick %u crowd %u evict %u damage %u garbage %u "
		"busy %u (<= %llu ns)\n",
		s->error, s->window, s->partly, s->forget, s->restart, s->kick, s->crowd, s->evict, s->damage,
		s->garbage, s->busy, (unsigned long long)s->window_ns);
}

void swarm_print(FILE *f, const struct world_options *o, const struct swarm_host *h)
{
	const struct simdev_faults *d = &o->device;

	fprintf(f, "seed %llu: chunk %u groups %u", (unsigned long long)o->seed, o->chunk_size,
		o->n_groups);
	for (uint32_t g = 0; g < o->n_groups; g++)
		fprintf(f, " (%u layers, %u planes, blocks of %u)", o->group[g].n_layers,
			o->group[g].planes, o->group[g].block_tokens);
	fprintf(f,
		" slots %u max_ops %u %s local_cpu %d save_unfull %d min_retrieve %u alloc_ppm %u "
		"verify_every %u%s%s\n",
		o->n_slots, o->max_ops, o->policy, o->local_cpu, o->save_unfull,
		o->min_retrieve_tokens, o->alloc_ppm, o->verify_every,
		o->no_events ? " no events" : "", o->trusting ? " trusting" : "");
	fprintf(f,
		"  device: caps 0x%x in_flight<=%u latency %llu..%llu ns, ppm: again %u refuse %u "
		"error %u lost %u capture %u "
		"inside %u overlap %u scribble %u deaf %u slow %u (%llu ns)\n",
		o->device_caps, o->device_max, (unsigned long long)d->latency_min_ns,
		(unsigned long long)d->latency_max_ns, d->again, d->refuse, d->error, d->lost,
		d->capture, d->inside, d->overlap, d->scribble, d->deaf, d->slow,
		(unsigned long long)d->slow_ns);
	for (uint32_t t = o->disk.on; t < o->n_tiers; t++)
		if (!o->net.on || t != o->net.at)
			print_tier(f, o, t);
	if (o->disk.on)
		print_disk(f, &o->disk);
	if (o->net.on)
		print_net(f, &o->net);
	fprintf(f, "  host: %u steps, live<=%u tokens<=%u docs %u alphabet %u, weights", h->steps,
		h->max_live, h->max_tokens, h->n_docs, h->alphabet);
	for (uint32_t c = 1; c < 10; c++)
		fprintf(f, " %u", h->weight[c]);
	fprintf(f,
		" poll %u seq %u cancel %u layer %u; ppm: layerwise %u stream %u progress %u "
		"source_free %u fence %u null %u "
		"level %u lease %u short %u none %u prio %u tiers %u sleepy %u jump %u; batch %u "
		"shutdown at %u mode %d%s\n",
		h->poll_weight, h->seq_weight, h->cancel_weight, h->layer_weight, h->layerwise_ppm,
		h->stream_ppm, h->progress_ppm, h->source_free_ppm, h->fence_ppm, h->null_ppm,
		h->level_ppm, h->lease_ppm, h->short_deadline_ppm, h->no_deadline_ppm,
		h->priority_ppm, h->remove_tiers_ppm, h->sleepy_ppm, h->jump_ppm, h->max_batch,
		h->shutdown_at, (int)h->shutdown_mode,
		h->shutdown_deadline ? " with a deadline" : "");
}
