/* SPDX-License-Identifier: Apache-2.0 */
/* See wnet.h. */
#include "tests/sim/wnet.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "tests/sim/world.h"

#define SIDE_BYTES 64u
#define PAGE 4096u

static const char side_tail[] = "kvferry";

static void wrong(void *arg, const char *what)
{
	struct wnet *n = arg;

	world_fail(n->w, "redis: %s", what);
}

/* ---- chunks ---- */

static struct wnet_chunk **place(const struct wnet *n, const uint8_t *key)
{
	struct wnet_chunk **at = (struct wnet_chunk **)(uintptr_t)&n->bucket[kvf_load_le32(key) % WNET_BUCKETS];

	while (*at && memcmp((*at)->key, key, KVF_KEY_BYTES) != 0)
		at = &(*at)->next;
	return at;
}

static uint32_t hash_of(const char *name, size_t n)
{
	return (uint32_t)kvf_checksum(name, n) % WNET_BUCKETS;
}

static void name_chunk(struct wnet *n, struct wnet_chunk *c, const struct kvf_tier_req *req)
{
	int k = n->engine->wire_name(n->engine, req, c->name, sizeof(c->name));
	uint32_t h;

	if (k <= 0) {
		wrong(n, "a chunk without a name");
		return;
	}
	h = hash_of(c->name, (size_t)k);
	c->next_name = n->by_name[h];
	n->by_name[h] = c;
	k = n->engine->wire_older(n->engine, req, c->older, sizeof(c->older));
	if (k <= 0)
		return;
	h = hash_of(c->older, (size_t)k);
	c->next_older = n->by_older[h];
	n->by_older[h] = c;
}

static struct wnet_chunk *chunk_of(struct wnet *n, const struct kvf_tier_req *req)
{
	struct wnet_chunk **at = place(n, req->key);
	struct wnet_chunk *c = *at;

	if (!c) {
		c = *at = calloc(1, sizeof(*c));
		memcpy(c->key, req->key, KVF_KEY_BYTES);
		name_chunk(n, c, req);
	}
	if (req->kind != KVF_REQ_PUT)
		return c;
	if (c->stored && (c->checksum != req->checksum || c->payload_bytes != req->payload_bytes))
		wrong(n, "two contents of one key");
	c->stored = true;
	c->checksum = req->checksum;
	c->payload_bytes = req->payload_bytes;
	c->n_tokens = req->n_tokens;
	return c;
}

/* Whose key this is, and what stands in it behind the name. */
static struct wnet_chunk *chunk_at(const struct wnet *n, const char *key, size_t n_key, const char **tail)
{
	static const char *const tails[] = {"", "kv_bytes", "metadata", "kvferry", ":kv_bytes", ":metadata"};

	for (size_t i = 0; i < KVF_ARRAY_LEN(tails); i++) {
		size_t k = strlen(tails[i]);
		uint32_t h;

		if (n_key <= k || memcmp(key + n_key - k, tails[i], k) != 0)
			continue;
		k = n_key - k;
		h = hash_of(key, k);
		*tail = tails[i];
		for (struct wnet_chunk *c = n->by_name[h]; c; c = c->next_name)
			if (strlen(c->name) == k && !memcmp(c->name, key, k))
				return c;
		for (struct wnet_chunk *c = n->by_older[h]; c; c = c->next_older)
			if (strlen(c->older) == k && !memcmp(c->older, key, k))
				return c;
	}
	return NULL;
}

static const char *bytes_tail(const struct wnet *n)
{
	return n->w->o.net.format == KVF_RESP_TWO_KEY ? "kv_bytes" : "";
}

/* ---- the server is told ---- */

static bool side_fits(const struct wnet_chunk *c, const struct sim_word *v)
{
	return v->n == SIDE_BYTES && !memcmp(v->p, "KVFSIDE1", 8) && !memcmp(v->p + 8, c->key, KVF_KEY_BYTES) &&
	       kvf_load_le64(v->p + 40) == c->checksum && kvf_load_le32(v->p + 48) == c->payload_bytes &&
	       kvf_load_le32(v->p + 52) == c->n_tokens && kvf_load_le64(v->p + 56) == kvf_checksum(v->p, 56);
}

static bool meta_fits(struct wnet *n, const struct wnet_chunk *c, const struct sim_word *v)
{
	uint8_t meta[1024];
	int k = n->engine->wire_meta(n->engine, c->n_tokens, meta, sizeof(meta));

	return k > 0 && v->n == (size_t)k && !memcmp(v->p, meta, (size_t)k);
}

static void named(void *arg, const struct sim_word *key, const struct sim_word *value)
{
	struct wnet *n = arg;
	const char *tail;
	const struct wnet_chunk *c = chunk_at(n, (const char *)key->p, key->n, &tail);

	if (!c) {
		wrong(n, "a key that nobody asked for");
		return;
	}
	if (!value)
		return;
	if (!c->stored)
		wrong(n, "a value that nobody stored");
	else if (!strcmp(tail, side_tail) ? !side_fits(c, value) : !strcmp(tail, "metadata") && !meta_fits(n, c, value))
		wrong(n, "a side record or metadata of something else");
	else if (!strcmp(tail, bytes_tail(n)) &&
		 (value->n != c->payload_bytes || kvf_checksum(value->p, value->n) != c->checksum))
		wrong(n, "other bytes came than were stored");
	else if (tail[0] == ':')
		wrong(n, "written as an older LMCache did");
}

static bool has_request(const struct wnet *n, const uint8_t *key, enum kvf_req_kind kind)
{
	for (uint32_t i = 0; i < n->n_reqs; i++)
		if (n->req[i].req->kind == (uint32_t)kind && !memcmp(n->req[i].req->key, key, KVF_KEY_BYTES))
			return true;
	return false;
}

static void gone(void *arg, const char *key, size_t n_key)
{
	struct wnet *n = arg;
	const char *tail;
	struct wnet_chunk *c = chunk_at(n, key, n_key, &tail);

	if (c && !has_request(n, c->key, KVF_REQ_REMOVE))
		c->unsure = true;
}

static void late(void *arg, const struct sim_word *key)
{
	struct wnet *n = arg;
	const char *tail;
	struct wnet_chunk *c = chunk_at(n, (const char *)key->p, key->n, &tail);

	if (c)
		c->unsure = true;
}

/* ---- slots ---- */

static uintptr_t *page_place(struct wnet *n, uintptr_t page)
{
	uint32_t at = (uint32_t)wl_mix64(page) % WNET_PAGES;

	while (n->page[at] && n->page[at] != page)
		at = (at + 1) % WNET_PAGES;
	return &n->page[at];
}

static void know_slot(struct wnet *n, const uint8_t *slot)
{
	for (uint32_t at = KVF_SLOT_HEADER_BYTES; at < n->slot_bytes; at += PAGE) {
		uintptr_t page = (uintptr_t)(slot + at) / PAGE;

		*page_place(n, page) = page;
	}
}

/* The tier gives memory to the network: of a slot only what a request has. */
static void touched(void *arg, const void *p, size_t bytes, bool write)
{
	struct wnet *n = kvf_container_of(arg, struct wnet, redis);
	const uint8_t *at = p;

	if (!bytes || !*page_place(n, (uintptr_t)p / PAGE))
		return;
	for (uint32_t i = 0; i < n->n_reqs; i++) {
		const struct wnet_req *r = &n->req[i];
		const uint8_t *payload;

		if (!r->room || r->req->kind != (write ? KVF_REQ_GET : KVF_REQ_PUT))
			continue;
		payload = r->req->slot + KVF_SLOT_HEADER_BYTES;
		if (at >= payload && at + bytes <= payload + r->room)
			return;
	}
	wrong(n, write ? "a slot is written to that no get has" : "a slot is sent that no put has");
}

/* ---- requests ---- */

static void begin(struct wnet *n, struct kvf_tier_req *req)
{
	struct wnet_req *r = &n->req[n->n_reqs];
	bool moves = req->kind == KVF_REQ_GET || req->kind == KVF_REQ_PUT;
	struct simtier_hooks hooks;

	if (n->n_reqs == WNET_REQS) {
		wrong(n, "too many requests at once");
		return;
	}
	*r = (struct wnet_req){req, chunk_of(n, req), moves ? req->payload_bytes : 0};
	n->n_reqs++;
	if (!r->room)
		return;
	know_slot(n, req->slot);
	check_hooks(n->w, &hooks, false);
	hooks.hold(hooks.arg, req->slot + KVF_SLOT_HEADER_BYTES, r->room, req->kind == KVF_REQ_GET);
}

static struct wnet_req end(struct wnet *n, const struct kvf_tier_req *req)
{
	struct wnet_req r = {0};
	struct simtier_hooks hooks;
	uint32_t i = 0;

	while (i < n->n_reqs && n->req[i].req != req)
		i++;
	if (i == n->n_reqs) {
		wrong(n, "a request ended that was not under way");
		return r;
	}
	r = n->req[i];
	n->req[i] = n->req[--n->n_reqs];
	if (!r.room)
		return r;
	check_hooks(n->w, &hooks, false);
	hooks.let_go(hooks.arg, req->slot + KVF_SLOT_HEADER_BYTES, r.room, req->kind == KVF_REQ_GET);
	return r;
}

static void judge_get(struct wnet *n, const struct wnet_chunk *c, const struct kvf_tier_req *req)
{
	const uint8_t *payload = req->slot + KVF_SLOT_HEADER_BYTES;

	if (!c->stored || req->payload_bytes != c->payload_bytes)
		wrong(n, "a get brought what was never stored");
	else if (kvf_checksum(payload, req->payload_bytes) != c->checksum)
		wrong(n, "a get brought other bytes than were stored");
}

static void on_complete(struct kvf_tier_host *host, struct kvf_tier_req *req, int status)
{
	struct wnet *n = kvf_container_of(host, struct wnet, host);
	struct wnet_req r = end(n, req);

	if (!r.req)
		return;
	if (req->kind == KVF_REQ_GET && status == KVF_OK)
		judge_get(n, r.chunk, req);
	if (req->kind == KVF_REQ_PUT &&
		kvf_checksum(req->slot + KVF_SLOT_HEADER_BYTES, req->payload_bytes) != req->checksum)
		wrong(n, "a slot changed while a put held it");
	if (n->w->trace)
		fprintf(n->w->trace, "    %llu: redis: kind %u key %02x%02x%02x%02x: %d\n",
			(unsigned long long)world_now(n->w), req->kind, req->key[0], req->key[1], req->key[2],
			req->key[3], status);
	/* What was said may be done later, or have been done. */
	if ((req->kind == KVF_REQ_PUT || req->kind == KVF_REQ_REMOVE) && status != KVF_OK && status != KVF_ENOENT)
		r.chunk->unsure = true;
	n->engine->complete(n->engine, req, status);
}

/* ---- the engine's host, seen from the tier ---- */

static struct kvf_tier_host *engine_of(struct kvf_tier_host *host)
{
	return kvf_container_of(host, struct wnet, host)->engine;
}

static uint64_t host_now(struct kvf_tier_host *host)
{
	return engine_of(host)->now_ns(engine_of(host));
}

static void host_log(struct kvf_tier_host *host, enum kvf_log_level level, const char *msg)
{
	const struct world *w = kvf_container_of(host, struct wnet, host)->w;

	if (w->trace)
		fprintf(w->trace, "    %llu: redis: %s\n", (unsigned long long)world_now(w), msg);
	engine_of(host)->log(engine_of(host), level, msg);
}

static int host_name(struct kvf_tier_host *host, const struct kvf_tier_req *req, char *buf, size_t cap)
{
	return engine_of(host)->wire_name(engine_of(host), req, buf, cap);
}

static int host_older(struct kvf_tier_host *host, const struct kvf_tier_req *req, char *buf, size_t cap)
{
	return engine_of(host)->wire_older(engine_of(host), req, buf, cap);
}

static int host_meta(struct kvf_tier_host *host, uint32_t n_tokens, uint8_t *buf, size_t cap)
{
	return engine_of(host)->wire_meta(engine_of(host), n_tokens, buf, cap);
}

static int host_payload(struct kvf_tier_host *host, uint32_t n_tokens, const uint8_t *meta, size_t n, uint32_t *bytes)
{
	return engine_of(host)->wire_payload(engine_of(host), n_tokens, meta, n, bytes);
}

/* ---- the tier ---- */

static int net_open(void *self, struct kvf_tier_host *host, const struct kvf_tier_open *params, uint32_t *caps)
{
	struct wnet *n = self;
	int rc;

	n->engine = host;
	n->slot_bytes = params->slot_bytes;
	/* Descriptors are the network's business, and memory its own allocator's. */
	n->host = (struct kvf_tier_host){.size = sizeof(n->host),
		.complete = on_complete,
		.now_ns = host_now,
		.log = host_log,
		.report = host->report,
		.wire_name = host_name,
		.wire_meta = host_meta,
		.wire_payload = host_payload,
		.wire_older = host_older};
	rc = kvf_resp_ops.open(n->tier, &n->host, params, caps);
	n->host.report = NULL;
	return rc;
}

static void net_close(void *self)
{
	struct wnet *n = self;

	if (n->n_reqs)
		wrong(n, "closed while requests are under way");
	kvf_resp_ops.close(n->tier);
}

static unsigned net_submit(void *self, struct kvf_tier_req *const *reqs, unsigned n_reqs)
{
	struct wnet *n = self;
	unsigned taken = 0;

	/* One by one: what is not taken must not be counted as held. */
	for (; taken < n_reqs; taken++) {
		begin(n, reqs[taken]);
		if (kvf_resp_ops.submit(n->tier, &reqs[taken], 1))
			continue;
		(void)end(n, reqs[taken]);
		break;
	}
	return taken;
}

static void net_cancel(void *self, struct kvf_tier_req *req)
{
	struct wnet *n = self;

	kvf_resp_ops.cancel(n->tier, req);
}

static uint64_t net_progress(void *self, uint64_t now_ns, uint64_t budget)
{
	struct wnet *n = self;
	bool small = sim_net_random(&n->net) % SIM_PPM < n->w->o.net.small_turn;

	sim_net_run(&n->net, world_now(n->w));
	sim_net_tell(&n->net);
	return kvf_resp_ops.progress(n->tier, now_ns, small ? 1 + sim_net_random(&n->net) % 2000 : budget);
}

/* A real one would be woken by its descriptors: here time itself says when something happens. */
static uint64_t net_deadline(void *self)
{
	struct wnet *n = self;

	return kvf_min_u64(kvf_resp_ops.next_deadline_ns(n->tier), sim_net_due_ns(&n->net));
}

static uint64_t net_now(void *arg)
{
	return world_now(((struct wnet *)arg)->w);
}

/* ---- a world's ---- */

static struct wnet *make(struct world *w)
{
	const struct wnet_options *o = &w->o.net;
	struct wnet *n = calloc(1, sizeof(*n));

	n->w = w;
	sim_net_init(&n->net, w->o.seed ^ 0x4e7);
	sim_redis_init(&n->redis, &n->net);
	n->net.clock = net_now;
	n->net.clock_arg = n;
	n->net.server.touch = touched;
	n->redis.judge = (struct sim_redis_judge){n, wrong, named, gone, late};
	n->redis.o = (struct sim_redis_options){.user = o->user ? "us" : "default",
		.password = o->password ? "secret" : NULL,
		.database = o->database,
		.no_hello = o->no_hello,
		.no_unlink = o->no_unlink,
		.no_client = o->no_client,
		.old_protocol = o->old_protocol,
		.bytes_tail = bytes_tail(n),
		.side_tail = side_tail,
		.looked_at = o->verify != KVF_RESP_NO_VERIFY};
	n->redis.extras = o->extras;
	n->ops = (struct kvf_tier_ops){
		.size = sizeof(n->ops),
		.name = "resp",
		.open = net_open,
		.close = net_close,
		.submit = net_submit,
		.cancel = net_cancel,
		.progress = net_progress,
		.next_deadline_ns = net_deadline,
	};
	return n;
}

static void fill_options(struct wnet *n, struct kvf_resp_options *opt)
{
	const struct wnet_options *o = &n->w->o.net;

	kvf_resp_options_init(opt);
	opt->format = o->format;
	opt->verify = o->verify;
	opt->read_older = o->older && o->verify != KVF_RESP_REQUIRE;
	opt->older_names = o->multiprocess;
	opt->older_two_key = !o->multiprocess && o->format == KVF_RESP_RAW;
	opt->connections = o->connections;
	opt->ttl_s = o->ttl_s;
	opt->database = o->database;
	opt->connect_timeout_ns = o->connect_timeout_ns;
	opt->stall_timeout_ns = o->stall_timeout_ns;
	snprintf(opt->host, sizeof(opt->host), "192.0.2.1");
	snprintf(opt->user, sizeof(opt->user), "%s", o->user ? "us" : "");
	snprintf(opt->password, sizeof(opt->password), "%s", o->password ? "secret" : "");
	opt->net = &sim_net_ops;
	opt->net_arg = &n->net;
	opt->jitter_seed = n->w->o.seed;
}

struct wnet *wnet_open(struct world *w)
{
	struct wnet *n = w->wnet ? w->wnet : make(w);
	struct kvf_resp_options opt;

	n->w = w;
	n->net.habits = w->o.net.habits;
	n->net.faults = w->o.net.net;
	n->net.now_ns = world_now(w);
	n->redis.faults = w->o.net.redis;
	memset(n->page, 0, sizeof(n->page));
	fill_options(n, &opt);
	kvf_mem_init(&n->mem, &w->mem.allocator);
	(void)kvf_resp_new(&n->mem, &opt, &n->tier);
	return n;
}

uint64_t wnet_close(struct wnet *n)
{
	sim_net_fini(&n->net);
	kvf_resp_free(n->tier);
	n->tier = NULL;
	return kvf_mem_fini(&n->mem);
}

void wnet_free(struct wnet *n)
{
	sim_redis_fini(&n->redis);
	for (uint32_t i = 0; i < WNET_BUCKETS; i++) {
		while (n->bucket[i]) {
			struct wnet_chunk *c = n->bucket[i];

			n->bucket[i] = c->next;
			free(c);
		}
	}
	free(n);
}

void wnet_calm(struct wnet *n)
{
	uint64_t most = kvf_min_u64(n->w->o.net.stall_timeout_ns, n->w->o.net.connect_timeout_ns) / 20;

	/* The tier's patience may have been chosen shorter than a round trip. */
	n->net.habits.latency_min_ns = kvf_min_u64(n->net.habits.latency_min_ns, most);
	n->net.habits.latency_max_ns = kvf_min_u64(n->net.habits.latency_max_ns, most);
	sim_redis_calm(&n->redis);
	sim_net_calm(&n->net);
}

static bool holds(struct wnet *n, const char *name, const char *tail)
{
	char key[600];
	int k = snprintf(key, sizeof(key), "%s%s", name, tail);

	return sim_store_find(&n->redis, key, (size_t)k) != NULL;
}

bool wnet_has(struct wnet *n, const uint8_t key[KVF_KEY_BYTES])
{
	const struct wnet_chunk *c = *place(n, key);
	const struct wnet_options *o = &n->w->o.net;

	return c && holds(n, c->name, bytes_tail(n)) &&
	       (o->format != KVF_RESP_TWO_KEY || holds(n, c->name, "metadata")) &&
	       (o->verify != KVF_RESP_REQUIRE || holds(n, c->name, side_tail));
}

bool wnet_putting(const struct wnet *n, const uint8_t key[KVF_KEY_BYTES])
{
	return has_request(n, key, KVF_REQ_PUT);
}

bool wnet_removing(const struct wnet *n)
{
	for (uint32_t i = 0; i < n->n_reqs; i++)
		if (n->req[i].req->kind == KVF_REQ_REMOVE)
			return true;
	return false;
}

bool wnet_unsure(const struct wnet *n, const uint8_t key[KVF_KEY_BYTES])
{
	const struct wnet_chunk *c = *place(n, key);

	return c && c->unsure;
}
