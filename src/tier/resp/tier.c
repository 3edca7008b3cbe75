/* SPDX-License-Identifier: Apache-2.0 */
/* The tier's calls: which connection carries what, what happens when one is lost. See resp.h. */
#include "tier/resp/tier.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "base/report.h"

#define SMALL_CMDS 2048u
#define SMALL_TEXT (192u * 1024u)
#define VALUE_CMDS 16u
#define VALUE_TEXT (64u * 1024u)
#define VALUE_BYTES (8u * 1024u * 1024u) /* one connection has so much under way, but always two values */
#define TURN_BYTES (1024u * 1024u) /* 100 to 200 us of copying */
#define TURN_BYTES_TLS (256u * 1024u) /* to encrypt takes as long as to send */
#define HELD_MAX 1024u /* requests that wait for a connection */
#define BACKOFF_FIRST_NS (20 * KVF_NS_PER_MS)
#define BACKOFF_LAST_NS KVF_NS_PER_S
#define PUTS_PAUSE_FIRST_NS KVF_NS_PER_S
#define PUTS_PAUSE_LAST_NS (60 * KVF_NS_PER_S)

_Static_assert(sizeof(struct kvf_resp_mark) <= sizeof(((struct kvf_tier_req *)0)->scratch), "a mark fits");

struct kvf_resp_mark *kvf_resp_mark(struct kvf_tier_req *req)
{
	return (struct kvf_resp_mark *)(void *)req->scratch;
}

uint64_t kvf_resp_now(const struct kvf_resp_tier *tier)
{
	return tier->host->now_ns(tier->host);
}

void kvf_resp_log(struct kvf_resp_tier *tier, enum kvf_log_level level, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	tier->host->log(tier->host, level, line);
}

/* ---- the server as a whole ---- */

/* xorshift64*: keeps a thousand engines from coming back in step. */
static uint64_t jitter(struct kvf_resp_tier *tier)
{
	tier->random ^= tier->random >> 12;
	tier->random ^= tier->random << 25;
	tier->random ^= tier->random >> 27;
	return tier->random * 2685821657736338717ull >> 32;
}

void kvf_resp_tier_failed(struct kvf_resp_tier *tier, const char *why)
{
	uint64_t now = kvf_resp_now(tier);

	/* Connections that fail together are one failure. */
	if (tier->backoff_ns && now < tier->retry_at_ns)
		return;
	if (!tier->backoff_ns)
		kvf_resp_log(tier, KVF_LOG_WARNING, "%s: no connection: %s", tier->name, why);
	tier->backoff_ns = tier->backoff_ns ? kvf_min_u64(2 * tier->backoff_ns, BACKOFF_LAST_NS) : BACKOFF_FIRST_NS;
	tier->retry_at_ns = kvf_sat_add(now, tier->backoff_ns - jitter(tier) % (tier->backoff_ns / 4));
	kvf_resp_resolver_ask(&tier->resolver);
}

void kvf_resp_tier_next(struct kvf_resp_tier *tier, const char *why)
{
	kvf_resp_log(tier, KVF_LOG_INFO, "%s: one of its addresses: %s; the next is tried", tier->name, why);
	tier->losses = 0;
	tier->event = true;
}

void kvf_resp_tier_works(struct kvf_resp_tier *tier)
{
	if (tier->backoff_ns)
		kvf_resp_log(tier, KVF_LOG_WARNING, "%s: connected again", tier->name);
	tier->backoff_ns = 0;
	tier->retry_at_ns = 0;
}

/* A payload is sent before we know, and an open transaction costs the connection: both only now and then. */
void kvf_resp_tier_transaction(struct kvf_resp_tier *tier, bool accepted)
{
	uint64_t now = kvf_resp_now(tier);

	if (accepted)
		tier->puts_pause_ns = tier->puts_at_ns = 0;
	if (accepted || now < tier->puts_at_ns)
		return;
	tier->puts_pause_ns =
		tier->puts_pause_ns ? kvf_min_u64(2 * tier->puts_pause_ns, PUTS_PAUSE_LAST_NS) : PUTS_PAUSE_FIRST_NS;
	tier->puts_at_ns = kvf_sat_add(now, tier->puts_pause_ns);
}

/* ---- requests ---- */

void kvf_resp_tier_done(struct kvf_resp_tier *tier, struct kvf_tier_req *req, int status)
{
	tier->host->complete(tier->host, req, status);
}

/* Keeps a request until a connection is there. */
static void hold(struct kvf_resp_tier *tier, enum kvf_resp_class klass, struct kvf_tier_req *req)
{
	kvf_resp_mark(req)->conn = 0;
	req->link = NULL;
	if (tier->again_tail[klass])
		tier->again_tail[klass]->link = req;
	else
		tier->again[klass] = req;
	tier->again_tail[klass] = req;
	tier->n_held++;
}

void kvf_resp_tier_lost(struct kvf_resp_tier *tier, struct kvf_tier_req *req, int status)
{
	enum kvf_resp_class klass = kvf_resp_class_of(req->kind);
	struct kvf_resp_mark *mark = kvf_resp_mark(req);

	/* A server that hangs will hang again; else once more: all of our commands may be said twice. */
	if (status == KVF_ETIMEDOUT || status == KVF_ECANCELED || mark->tries++) {
		kvf_resp_tier_done(tier, req, status);
		return;
	}
	hold(tier, klass, req);
	tier->event = true;
}

/* It goes to another address than new connections, of which one is there: what it has is all it gets. */
static bool left_behind(const struct kvf_resp_conn *c)
{
	const struct kvf_resp_tier *tier = c->tier;

	if (kvf_resp_resolver_is_at(&tier->resolver, &c->address))
		return false;
	for (uint32_t i = 0; i < tier->n_conns; i++)
		if (tier->conn[i].state == KVF_RESP_READY &&
		    kvf_resp_resolver_is_at(&tier->resolver, &tier->conn[i].address))
			return true;
	return false;
}

static bool has_room(const struct kvf_resp_conn *c)
{
	uint64_t n = c->tail - c->head;

	if (left_behind(c))
		return false;
	if (!c->number)
		return n < c->cmd_cap;
	return n < 2 || (n < c->cmd_cap && c->pending_bytes < VALUE_BYTES);
}

void kvf_resp_tier_reject(struct kvf_resp_tier *tier, const struct kvf_tier_req *req)
{
	struct kvf_resp_conn *c = &tier->conn[0];

	if (c->state != KVF_RESP_READY || !has_room(c))
		return;
	(void)kvf_resp_request_unlink(c, req, NULL);
	tier->event = true;
}

/* Opens it where that may be tried. */
static bool may_come(struct kvf_resp_tier *tier, struct kvf_resp_conn *c)
{
	struct kvf_resp_resolver *r = &tier->resolver;

	if (c->state != KVF_RESP_OFF)
		return true;
	/* What failed until now was the name. */
	if (r->found)
		tier->retry_at_ns = 0;
	r->found = false;
	if (kvf_resp_now(tier) < tier->retry_at_ns)
		return !r->n && kvf_resp_resolver_busy(r);
	if (kvf_resp_resolver_ready(r)) {
		kvf_resp_conn_open(c);
		/* Of several addresses another one may be tried at once. */
		return c->state != KVF_RESP_OFF || kvf_resp_now(tier) >= tier->retry_at_ns;
	}
	if (kvf_resp_resolver_busy(r))
		return true;
	kvf_resp_tier_failed(tier, "its name has no address"); /* asks anew */
	return kvf_resp_resolver_busy(r);
}

/* The connection with the least to do. KVF_EAGAIN: none has room now, KVF_EBUSY: none is there yet, KVF_EIO: none is
 * to be had. */
static int choose(struct kvf_resp_tier *tier, enum kvf_resp_class klass, struct kvf_resp_conn **out)
{
	uint32_t first = klass == KVF_RESP_SMALL ? 0 : klass == KVF_RESP_PUTS && tier->n_conns > 2 ? 2 : 1;
	uint32_t end = klass == KVF_RESP_SMALL ? 1 : tier->n_conns;
	struct kvf_resp_conn *best = NULL;
	bool hope = false;
	bool full = false;

	for (uint32_t i = first; i < end; i++) {
		struct kvf_resp_conn *c = &tier->conn[i];

		hope |= may_come(tier, c);
		full |= c->state == KVF_RESP_READY;
		if (c->state == KVF_RESP_READY && has_room(c) && (!best || c->pending_bytes < best->pending_bytes))
			best = c;
	}
	*out = best;
	if (best)
		return KVF_OK;
	return full ? KVF_EAGAIN : hope ? KVF_EBUSY : KVF_EIO;
}

/* KVF_EAGAIN, KVF_EBUSY: not now. Anything else: the request is taken, or was completed. */
static int take(struct kvf_resp_tier *tier, struct kvf_tier_req *req)
{
	struct kvf_resp_conn *c;
	int rc;

	rc = choose(tier, kvf_resp_class_of(req->kind), &c);
	/* Without metadata nobody could tell how long a partial chunk is. But only a server that is there may be said
	 * to have none: this answer closes breakers. */
	if (!rc && tier->opt.format == KVF_RESP_RAW && req->n_tokens && req->n_tokens != tier->chunk_tokens) {
		kvf_resp_tier_done(tier, req, req->kind == KVF_REQ_PUT ? KVF_ENOTSUP : KVF_ENOENT);
		return KVF_OK;
	}
	if (!rc && req->kind == KVF_REQ_PUT && kvf_resp_now(tier) < tier->puts_at_ns) {
		kvf_resp_tier_done(tier, req, KVF_ENOSPC);
		return KVF_OK;
	}
	if (!rc)
		rc = kvf_resp_request(c, req);
	if (rc == KVF_EAGAIN || rc == KVF_EBUSY)
		return rc;
	if (rc)
		kvf_resp_tier_done(tier, req, rc == KVF_EIO ? rc : KVF_ENOTSUP);
	return KVF_OK;
}

static unsigned submit(void *self, struct kvf_tier_req *const *reqs, unsigned n)
{
	struct kvf_resp_tier *tier = self;

	for (unsigned i = 0; i < n; i++) {
		enum kvf_resp_class klass = kvf_resp_class_of(reqs[i]->kind);
		int rc = KVF_EBUSY;

		memset(kvf_resp_mark(reqs[i]), 0, sizeof(struct kvf_resp_mark));
		/* What is held goes first. */
		if (!tier->again[klass])
			rc = take(tier, reqs[i]);
		if (rc == KVF_EAGAIN || (rc == KVF_EBUSY && tier->n_held >= HELD_MAX))
			return i;
		/* While there is no connection the breaker must see a request under way, or nobody would be refused. */
		if (rc == KVF_EBUSY)
			hold(tier, klass, reqs[i]);
	}
	return n;
}

static void try_again(struct kvf_resp_tier *tier)
{
	for (int k = 0; k < KVF_RESP_CLASSES; k++) {
		while (tier->again[k]) {
			struct kvf_tier_req *req = tier->again[k];
			struct kvf_tier_req *next = req->link;

			if (take(tier, req))
				break;
			tier->again[k] = next;
			if (!next)
				tier->again_tail[k] = NULL;
			tier->n_held--;
		}
	}
}

static bool take_off(struct kvf_resp_tier *tier, struct kvf_tier_req *req)
{
	enum kvf_resp_class klass = kvf_resp_class_of(req->kind);
	struct kvf_tier_req *prev = NULL;

	for (struct kvf_tier_req *r = tier->again[klass]; r; prev = r, r = r->link) {
		if (r != req)
			continue;
		if (prev)
			prev->link = req->link;
		else
			tier->again[klass] = req->link;
		if (tier->again_tail[klass] == req)
			tier->again_tail[klass] = prev;
		tier->n_held--;
		return true;
	}
	return false;
}

/* Its commands lose it by our own doing: that is no try, and says nothing of the server. */
static void spare(struct kvf_resp_conn *c)
{
	c->proven = true;
	for (uint64_t seq = c->head; seq != c->tail; seq++)
		if (kvf_resp_conn_cmd(c, seq)->req)
			kvf_resp_mark(kvf_resp_conn_cmd(c, seq)->req)->tries = 0;
}

static void cancel(void *self, struct kvf_tier_req *req)
{
	struct kvf_resp_tier *tier = self;
	uint32_t number = kvf_resp_mark(req)->conn;
	struct kvf_resp_conn *c;
	struct kvf_resp_cmd *cmd;
	uint64_t seq;

	if (!number) {
		if (take_off(tier, req))
			kvf_resp_tier_done(tier, req, KVF_ECANCELED);
		return;
	}
	c = &tier->conn[number - 1];
	cmd = kvf_resp_conn_find(c, req, &seq);
	if (!cmd)
		return;
	cmd->req = NULL;
	/* What was promised to the server must follow, and it would come out of the slot. */
	if (cmd->payload && c->pay <= seq) {
		spare(c);
		kvf_resp_conn_break(c, KVF_EIO, KVF_RESP_T_RESET, "a put was withdrawn half-way");
	} else if (seq == c->head) {
		/* The rest of a value that is on its way goes nowhere. */
		c->reply.dest = NULL;
	}
	kvf_resp_tier_done(tier, req, KVF_ECANCELED);
}

/* ---- a turn ---- */

/* All connections go to the same address, as soon as that can be had. */
static void follow(struct kvf_resp_conn *c)
{
	if (c->state == KVF_RESP_READY && c->head == c->tail && left_behind(c))
		kvf_resp_conn_break(c, KVF_EIO, KVF_RESP_T_COUNTED, "its server has another address now");
}

static uint64_t progress(void *self, uint64_t now_ns, uint64_t budget)
{
	struct kvf_resp_tier *tier = self;
	uint64_t left = kvf_min_u64(budget, tier->tls ? TURN_BYTES_TLS : TURN_BYTES);
	uint64_t moved = 0;

	tier->event = false;
	kvf_resp_resolver_run(&tier->resolver, now_ns);
	if (tier->resolver.missed)
		kvf_resp_tier_trouble(tier, KVF_RESP_T_RESOLVE);
	tier->resolver.missed = false;
	tier->turn++;
	for (uint32_t i = 0; i < tier->n_conns; i++) {
		/* Small commands always go first, values take turns. */
		uint32_t k = i ? 1 + (i + tier->turn) % (tier->n_conns - 1) : 0;
		uint64_t n = kvf_resp_conn_run(&tier->conn[k], now_ns, left ? left : 1);

		left -= kvf_min_u64(left, n);
		moved += n;
		follow(&tier->conn[k]);
	}
	try_again(tier);
	return moved + tier->event;
}

static uint64_t next_deadline_ns(void *self)
{
	const struct kvf_resp_tier *tier = self;
	uint64_t at = kvf_resp_resolver_deadline(&tier->resolver);

	if (tier->event)
		return 0;
	for (uint32_t i = 0; i < tier->n_conns; i++)
		at = kvf_min_u64(at, kvf_resp_conn_deadline(&tier->conn[i]));
	/* What is held waits for one of these. */
	return at;
}

/* ---- opening and closing ---- */

static void close_all(void *self)
{
	struct kvf_resp_tier *tier = self;

	for (uint32_t i = 0; i < KVF_ARRAY_LEN(tier->conn); i++)
		kvf_resp_conn_fini(&tier->conn[i]);
	tier->n_conns = 0;
	kvf_resp_resolver_fini(&tier->resolver);
	kvf_resp_tls_free(tier->tls);
	tier->tls = NULL;
	tier->host = NULL;
}

static int make_conns(struct kvf_resp_tier *tier)
{
	uint32_t n = 1 + tier->opt.connections;

	for (uint32_t i = 0; i < n; i++) {
		if (kvf_resp_conn_init(&tier->conn[i], tier, (uint8_t)i, i ? VALUE_CMDS : SMALL_CMDS,
				       i ? VALUE_TEXT : SMALL_TEXT))
			return KVF_ENOMEM;
		tier->n_conns++;
	}
	return KVF_OK;
}

static int open_tier(void *self, struct kvf_tier_host *host, const struct kvf_tier_open *params, uint32_t *caps)
{
	struct kvf_resp_tier *tier = self;
	int rc;

	tier->host = host;
	tier->payload_bytes = params->payload_bytes;
	tier->chunk_tokens = params->chunk_tokens;
	kvf_resp_forms(tier);
	tier->random = tier->opt.jitter_seed ? tier->opt.jitter_seed : kvf_resp_now(tier) ^ (uint64_t)(uintptr_t)tier;
	tier->random |= 1;
	rc = kvf_resp_resolver_init(&tier->resolver, tier->mem, host, &tier->opt);
	if (!rc && tier->opt.tls)
		rc = kvf_resp_tls_new(tier->mem, &tier->opt, host->report, &tier->tls);
	if (!rc)
		rc = make_conns(tier);
	if (rc) {
		close_all(tier);
		return rc;
	}
	/* Nothing waits for them; but the first request need not either. */
	for (uint32_t i = 0; i < tier->n_conns; i++)
		(void)may_come(tier, &tier->conn[i]);
	*caps = KVF_TIER_SHARED | KVF_TIER_WIRE;
	return KVF_OK;
}

const struct kvf_tier_ops kvf_resp_ops = {
	.size = sizeof(kvf_resp_ops),
	.name = "resp",
	.open = open_tier,
	.close = close_all,
	.submit = submit,
	.cancel = cancel,
	.progress = progress,
	.next_deadline_ns = next_deadline_ns,
};

int kvf_resp_new(struct kvf_mem *mem, const struct kvf_resp_options *options, struct kvf_resp_tier **out)
{
	struct kvf_resp_tier *tier = kvf_mem_zalloc(mem, sizeof(*tier));

	if (!tier)
		return KVF_ENOMEM;
	tier->mem = mem;
	tier->opt = *options;
	for (int i = 0; i < KVF_RESP_CLASSES; i++)
		kvf_hist_reset(&tier->latency[i]);
	if (options->path[0])
		snprintf(tier->name, sizeof(tier->name), "%s", options->path);
	else
		snprintf(tier->name, sizeof(tier->name), "%s:%u", options->host, options->port);
	*out = tier;
	return KVF_OK;
}

void kvf_resp_free(struct kvf_resp_tier *tier)
{
	struct kvf_mem *mem;

	if (!tier)
		return;
	mem = tier->mem;
	explicit_bzero(&tier->opt, sizeof(tier->opt));
	kvf_mem_free(mem, tier, sizeof(*tier));
}
