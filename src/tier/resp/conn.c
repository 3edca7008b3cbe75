/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a connection. See conn.h. */
#include "tier/resp/conn.h"

#include <string.h>

#include "base/compiler.h"
#include "tier/resp/tier.h"

#define LOSSES 4u
#define EACH_AT_LEAST_NS KVF_NS_PER_S /* of several addresses */

static void ready(struct kvf_watch *watch, unsigned events)
{
	struct kvf_resp_conn *c = watch->arg;

	c->event = c->tier->event = true;
	/* TLS may need to read in order to write, and the other way round. */
	if (events & KVF_WATCH_READ || c->io.tls)
		c->readable = true;
	if (events & KVF_WATCH_WRITE || c->io.tls)
		c->send_blocked = false;
}

int kvf_resp_conn_init(struct kvf_resp_conn *c, struct kvf_resp_tier *tier, uint8_t number, uint32_t cmds, size_t text)
{
	memset(c, 0, sizeof(*c));
	c->tier = tier;
	c->number = number;
	c->watch.ready = ready;
	c->watch.arg = c;
	kvf_resp_io_init(&c->io, tier->opt.net, tier->opt.net_arg);
	c->text = kvf_mem_alloc(tier->mem, text);
	c->text_cap = text;
	c->scratch = kvf_mem_alloc(tier->mem, KVF_RESP_SCRATCH);
	c->cmd = kvf_mem_zalloc(tier->mem, cmds * sizeof(*c->cmd));
	c->cmd_cap = cmds;
	c->sum = kvf_checksum_new(tier->mem);
	return c->text && c->scratch && c->cmd && c->sum ? KVF_OK : KVF_ENOMEM;
}

void kvf_resp_conn_fini(struct kvf_resp_conn *c)
{
	struct kvf_mem *mem;

	if (!c->tier)
		return;
	mem = c->tier->mem;
	if (c->io.fd >= 0)
		(void)kvf_resp_io_watch(&c->io, c->tier->host, &c->watch, 0);
	kvf_resp_io_close(&c->io);
	kvf_mem_free(mem, c->text, c->text_cap);
	kvf_mem_free(mem, c->scratch, KVF_RESP_SCRATCH);
	kvf_mem_free(mem, c->cmd, c->cmd_cap * sizeof(*c->cmd));
	if (c->sum)
		kvf_checksum_free(mem, c->sum);
	c->tier = NULL;
}

/* ---- opening ---- */

static unsigned wanted(const struct kvf_resp_conn *c)
{
	if (c->state <= KVF_RESP_SECURING)
		return c->io.want;
	return KVF_WATCH_READ | (c->readable ? 0u : c->recv_want) | (c->send_blocked ? c->send_want : 0u);
}

static bool set_watch(struct kvf_resp_conn *c)
{
	unsigned events = wanted(c);

	if (c->watch.events == events && c->watch.fd == c->io.fd)
		return true;
	if (!kvf_resp_io_watch(&c->io, c->tier->host, &c->watch, events))
		return true;
	kvf_resp_conn_break(c, KVF_EIO, KVF_RESP_T_OTHER, "the descriptor cannot be watched");
	return false;
}

static void greet(struct kvf_resp_conn *c)
{
	c->state = KVF_RESP_GREETING;
	c->readable = true;
	c->send_blocked = false;
	kvf_resp_hello_begin(c);
}

static void secure(struct kvf_resp_conn *c)
{
	char why[160];
	int rc = kvf_resp_tls_handshake(&c->io, why, sizeof(why));

	if (rc == KVF_OK)
		greet(c);
	else if (rc != KVF_EAGAIN)
		kvf_resp_conn_break(c, KVF_ENOTSUP, KVF_RESP_T_TLS, why);
}

/* Certificates are replaced while we run. */
static void renew(struct kvf_resp_tier *tier)
{
	char why[KVF_RESP_TLS_WHY];
	bool news;

	switch (kvf_resp_tls_renew(tier->tls, &news, why, sizeof(why))) {
	case KVF_RESP_TLS_SAME:
		break;
	case KVF_RESP_TLS_RENEWED:
		kvf_resp_log(tier, news ? KVF_LOG_WARNING : KVF_LOG_INFO, "%s: certificates and key were read again",
			     tier->name);
		break;
	case KVF_RESP_TLS_KEPT:
		kvf_resp_tier_trouble(tier, KVF_RESP_T_TLS_FILES);
		if (news)
			kvf_resp_log(tier, KVF_LOG_WARNING, "%s; what was read before stays in use", why);
		break;
	}
}

static void connected(struct kvf_resp_conn *c)
{
	if (!c->tier->tls) {
		greet(c);
		return;
	}
	renew(c->tier);
	c->state = KVF_RESP_SECURING;
	if (kvf_resp_tls_begin(c->tier->tls, &c->io)) {
		kvf_resp_conn_break(c, KVF_ENOMEM, KVF_RESP_T_TLS, "no memory for TLS");
		return;
	}
	secure(c);
}

/* Requests may wait for it: no longer than they would for an answer. Several addresses share that, so that the last of
 * them is tried in that time too. */
static uint64_t time_to_connect(const struct kvf_resp_tier *tier)
{
	uint64_t all = kvf_min_u64(tier->opt.connect_timeout_ns, tier->opt.stall_timeout_ns);

	return kvf_max_u64(all / tier->resolver.n, kvf_min_u64(all, EACH_AT_LEAST_NS));
}

void kvf_resp_conn_open(struct kvf_resp_conn *c)
{
	const struct kvf_resp_resolver *r = &c->tier->resolver;
	int rc;

	c->state = KVF_RESP_CONNECTING;
	c->since_ns = kvf_resp_now(c->tier);
	c->proven = false;
	c->address = r->list[r->at];
	c->connect_ns = time_to_connect(c->tier);
	rc = kvf_resp_io_connect(&c->io, (const struct sockaddr *)(const void *)&c->address.sa, c->address.n);
	if (rc == KVF_OK)
		connected(c);
	else if (rc != KVF_EAGAIN)
		kvf_resp_conn_break(c, rc, KVF_RESP_T_REFUSED, "refused");
	if (c->state != KVF_RESP_OFF)
		set_watch(c);
}

/* ---- ending ---- */

static void forget_input(struct kvf_resp_conn *c)
{
	kvf_resp_reader_init(&c->reader);
	memset(&c->reply, 0, sizeof(c->reply));
	c->in_at = c->in_n = 0;
	c->base = c->end = c->sent = 0;
	c->pay_sent = 0;
	c->event = c->readable = c->send_blocked = false;
	c->send_want = c->recv_want = 0;
}

void kvf_resp_conn_break(struct kvf_resp_conn *c, int status, enum kvf_resp_trouble trouble, const char *why)
{
	struct kvf_resp_tier *tier = c->tier;
	bool useless = c->state == KVF_RESP_CONNECTING || status != KVF_EIO;

	if (c->state == KVF_RESP_OFF)
		return;
	kvf_resp_tier_trouble(tier, trouble);
	/* An idle one may be closed by a server at any time. Several in a row that never answered anything are a server
	 * that only says hello. */
	if (!useless && (c->state < KVF_RESP_READY || (!c->proven && c->head != c->tail)))
		useless = ++tier->losses >= LOSSES;
	(void)kvf_resp_io_watch(&c->io, tier->host, &c->watch, 0);
	kvf_resp_io_close(&c->io);
	c->state = KVF_RESP_OFF;
	/* The greeting may hold a password. */
	explicit_bzero(c->text, c->text_cap);
	forget_input(c);
	if (useless && kvf_resp_resolver_failed(&tier->resolver, &c->address))
		kvf_resp_tier_next(tier, why);
	else if (useless)
		kvf_resp_tier_failed(tier, why);
	else
		kvf_resp_log(tier, KVF_LOG_INFO, "%s: connection lost: %s", tier->name, why);
	while (c->head != c->tail) {
		struct kvf_tier_req *req = kvf_resp_conn_cmd(c, c->head++)->req;

		if (req)
			kvf_resp_tier_lost(tier, req, status);
	}
	c->pay = c->head;
	c->pending_bytes = 0;
}

/* ---- commands ---- */

void kvf_resp_conn_writer(struct kvf_resp_conn *c, struct kvf_resp_writer *w)
{
	size_t used = (size_t)(c->end - c->base);
	size_t gone = (size_t)(c->sent - c->base);

	if (gone == used || gone > c->text_cap / 2) {
		memmove(c->text, c->text + gone, used - gone);
		c->base += gone;
		used -= gone;
	}
	*w = (struct kvf_resp_writer){ .buf = c->text + used, .cap = c->text_cap - used };
	if (c->state == KVF_RESP_READY && c->tail - c->head == c->cmd_cap)
		w->full = true;
}

void kvf_resp_conn_say(struct kvf_resp_conn *c, const struct kvf_resp_writer *w)
{
	c->end += w->n;
}

struct kvf_resp_cmd *kvf_resp_conn_add(struct kvf_resp_conn *c, const struct kvf_resp_writer *w, uint32_t bytes)
{
	struct kvf_resp_cmd *cmd = kvf_resp_conn_cmd(c, c->tail);

	if (c->head == c->tail)
		c->since_ns = kvf_resp_now(c->tier);
	memset(cmd, 0, sizeof(*cmd));
	cmd->bytes = bytes;
	cmd->replies = 1;
	cmd->said_ns = kvf_resp_now(c->tier);
	c->tail++;
	c->pending_bytes += bytes;
	c->end += w->n;
	return cmd;
}

struct kvf_resp_cmd *kvf_resp_conn_find(struct kvf_resp_conn *c, const struct kvf_tier_req *req, uint64_t *seq)
{
	for (*seq = c->head; *seq != c->tail; ++*seq)
		if (kvf_resp_conn_cmd(c, *seq)->req == req)
			return kvf_resp_conn_cmd(c, *seq);
	return NULL;
}

void kvf_resp_conn_finish(struct kvf_resp_conn *c, int status)
{
	struct kvf_resp_cmd *cmd = kvf_resp_conn_cmd(c, c->head);

	kvf_resp_tier_answered(c->tier, cmd);
	c->pending_bytes -= cmd->bytes;
	c->head++;
	if (c->pay < c->head) {
		c->pay = c->head;
		c->pay_sent = 0;
	}
	memset(&c->reply, 0, offsetof(struct kvf_resp_reply, meta_bytes));
	if (!c->proven)
		kvf_resp_resolver_worked(&c->tier->resolver);
	c->proven = true;
	c->tier->losses = 0;
	if (cmd->req)
		kvf_resp_tier_done(c->tier, cmd->req, status);
}

/* ---- a turn ---- */

uint64_t kvf_resp_conn_deadline(const struct kvf_resp_conn *c)
{
	const struct kvf_resp_options *opt = &c->tier->opt;

	if (c->state == KVF_RESP_OFF)
		return KVF_NEVER;
	if (c->state < KVF_RESP_READY)
		return kvf_sat_add(c->since_ns, c->connect_ns);
	if (c->head == c->tail && !kvf_resp_conn_unsent(c))
		return KVF_NEVER;
	return kvf_sat_add(c->since_ns, opt->stall_timeout_ns);
}

static void take_events(struct kvf_resp_conn *c)
{
	c->event = false;
	if (c->state == KVF_RESP_SECURING) {
		secure(c);
	} else if (c->state == KVF_RESP_CONNECTING) {
		if (kvf_resp_io_connected(&c->io))
			kvf_resp_conn_break(c, KVF_EIO, KVF_RESP_T_REFUSED, "refused");
		else
			connected(c);
	}
}

uint64_t kvf_resp_conn_run(struct kvf_resp_conn *c, uint64_t now_ns, uint64_t budget)
{
	uint64_t moved = 0;

	if (c->state == KVF_RESP_OFF)
		return 0;
	if (c->event)
		take_events(c);
	if (c->state >= KVF_RESP_GREETING && !c->send_blocked && kvf_resp_conn_unsent(c) &&
	    !kvf_resp_conn_send(c, now_ns, budget, &moved))
		return moved;
	if (c->state >= KVF_RESP_GREETING && (c->readable || c->in_n) &&
	    !kvf_resp_conn_recv(c, now_ns, budget > moved ? budget - moved : 1, &moved))
		return moved;
	if (c->state != KVF_RESP_OFF && kvf_resp_conn_deadline(c) <= now_ns)
		kvf_resp_conn_break(c, KVF_ETIMEDOUT, KVF_RESP_T_TIMEOUT,
				    c->state < KVF_RESP_READY ? "no connection in time" : "it does not answer");
	if (c->state != KVF_RESP_OFF)
		set_watch(c);
	return moved;
}
