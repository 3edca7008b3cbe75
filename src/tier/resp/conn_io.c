/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes of a connection: text and payloads out, answers in, payloads straight to where they belong. */
#include "tier/resp/conn.h"

#include <string.h>

#include "base/compiler.h"
#include "tier/resp/tier.h"

#define SEND_PIECES 8
/* So much of the budget is sent on top of it where that is all: the few bytes that end a value would cost both sides a
 * call, and the server a sleep, in a turn of their own. */
#define SEND_SLACK 64u
/* A record that TLS has begun and could not send must be offered again as a whole, however little a later turn has. */
#define TLS_RECORD 16384u

/* The other end is gone, or what it says is no TLS (any more): a certificate of ours, too, is refused like this, after
 * the handshake. */
static void ended(struct kvf_resp_conn *c)
{
	const char *why = c->io.tls ? kvf_resp_tls_why(&c->io) : NULL;

	if (why)
		kvf_resp_conn_break(c, c->state < KVF_RESP_READY ? KVF_ENOTSUP : KVF_EIO, KVF_RESP_T_TLS, why);
	else
		kvf_resp_conn_break(c, KVF_EIO, KVF_RESP_T_RESET, "closed by the server");
}

/* What is greeted has all of its time from the start: a byte now and then does not lengthen it. */
static void alive(struct kvf_resp_conn *c, uint64_t now_ns)
{
	if (c->state == KVF_RESP_READY)
		c->since_ns = now_ns;
}

/* ---- out ---- */

/* The next command with a payload that is not wholly sent; NULL: none. */
static struct kvf_resp_cmd *payload_from(struct kvf_resp_conn *c, uint64_t *seq)
{
	for (; *seq != c->tail; ++*seq) {
		struct kvf_resp_cmd *cmd = kvf_resp_conn_cmd(c, *seq);

		if (cmd->payload)
			return cmd;
	}
	return NULL;
}

bool kvf_resp_conn_unsent(const struct kvf_resp_conn *c)
{
	/* A payload is followed by text, so that this is all. */
	return c->sent < c->end;
}

/* What of n bytes goes now. */
static uint64_t portion(uint64_t n, uint64_t budget, uint64_t slack)
{
	return n <= kvf_sat_add(budget, slack) ? n : budget;
}

static int gather(struct kvf_resp_conn *c, struct iovec *iov, uint64_t budget)
{
	uint64_t at = c->sent;
	uint64_t seq = c->pay;
	uint64_t from = c->pay_sent;
	uint64_t slack = budget / SEND_SLACK;
	int n = 0;

	while (n + 2 <= SEND_PIECES && budget) {
		struct kvf_resp_cmd *cmd = c->number ? payload_from(c, &seq) : NULL;
		uint64_t stop = cmd ? cmd->payload_at : c->end;
		uint64_t k = portion(stop - at, budget, slack);

		if (k)
			iov[n++] = (struct iovec){ c->text + (at - c->base), k };
		at += k;
		budget -= kvf_min_u64(budget, k);
		if (!cmd || at < stop || !budget)
			break;
		k = portion(cmd->payload_n - from, budget, slack);
		iov[n++] = (struct iovec){ (void *)(uintptr_t)(cmd->payload + from), k };
		if (k < cmd->payload_n - from)
			break;
		budget -= kvf_min_u64(budget, k);
		from = 0;
		seq++;
	}
	return n;
}

static void advance(struct kvf_resp_conn *c, uint64_t n)
{
	while (n) {
		struct kvf_resp_cmd *cmd = c->number ? payload_from(c, &c->pay) : NULL;
		uint64_t stop = cmd ? cmd->payload_at : c->end;
		uint64_t k;

		if (c->sent < stop) {
			k = kvf_min_u64(n, stop - c->sent);
			c->sent += k;
			n -= k;
			continue;
		}
		if (!cmd)
			return;
		k = kvf_min_u64(n, cmd->payload_n - c->pay_sent);
		c->pay_sent += (uint32_t)k;
		n -= k;
		if (c->pay_sent == cmd->payload_n) {
			c->pay_sent = 0;
			c->pay++;
		}
	}
}

bool kvf_resp_conn_send(struct kvf_resp_conn *c, uint64_t now_ns, uint64_t budget, uint64_t *moved)
{
	uint64_t left = c->io.tls ? kvf_max_u64(budget, TLS_RECORD) : budget;

	while (left && kvf_resp_conn_unsent(c)) {
		struct iovec iov[SEND_PIECES];
		int64_t n = kvf_resp_io_send(&c->io, iov, gather(c, iov, left));

		if (n == KVF_EAGAIN) {
			c->send_blocked = true;
			c->send_want = (uint8_t)c->io.want;
			return true;
		}
		if (n < 0) {
			ended(c);
			return false;
		}
		alive(c, now_ns);
		c->bytes_out += (uint64_t)n;
		*moved += (uint64_t)n;
		left -= kvf_min_u64(left, (uint64_t)n);
		if (c->io.tls && left)
			left = kvf_max_u64(left, TLS_RECORD);
		advance(c, (uint64_t)n);
	}
	return true;
}

/* ---- in ---- */

static bool take_token(struct kvf_resp_conn *c, const struct kvf_resp_token *t)
{
	if (t->kind == KVF_RESP_BAD) {
		kvf_resp_conn_break(c, KVF_EIO, KVF_RESP_T_PROTOCOL, "it does not speak RESP");
		return false;
	}
	if (t->push)
		return true;
	if (c->state == KVF_RESP_GREETING)
		return kvf_resp_hello_token(c, t);
	if (c->head != c->tail && kvf_resp_reply_token(c, kvf_resp_conn_cmd(c, c->head), t))
		return true;
	/* Also an error that comes before its command was sent to the end: the slot must not be let go of like this. */
	kvf_resp_conn_break(c, KVF_EIO, KVF_RESP_T_PROTOCOL, "an answer to no question");
	return false;
}

static bool parse(struct kvf_resp_conn *c)
{
	while (c->in_n) {
		struct kvf_resp_token t;
		size_t used = kvf_resp_read(&c->reader, c->scratch + c->in_at, c->in_n, &t);

		c->in_at += (uint32_t)used;
		c->in_n -= (uint32_t)used;
		if (t.kind == KVF_RESP_MORE)
			return true;
		if (!take_token(c, &t))
			return false;
	}
	return true;
}

/* Where the next bytes go. *direct: how many of them are the payload's. */
static int aim(struct kvf_resp_conn *c, struct iovec *iov, uint64_t budget, uint64_t *direct)
{
	uint64_t left = kvf_resp_bulk_left(&c->reader);
	uint8_t *dest = c->reply.dest;

	*direct = 0;
	if (!left || !dest) {
		iov[0] = (struct iovec){ c->scratch, left || !c->number ? KVF_RESP_SCRATCH : KVF_RESP_HEAD };
		return 1;
	}
	*direct = kvf_min_u64(left, budget);
	iov[0] = (struct iovec){ dest + c->reply.got, *direct };
	if (*direct < left)
		return 1;
	iov[1] = (struct iovec){ c->scratch, KVF_RESP_HEAD };
	return 2;
}

/* Less came than there was room for, and no more is known to come: a look at the socket would find nothing. What comes
 * later, its end too, is an event. In the midst of a value more is there by the time it is looked for. */
static bool drained(const struct kvf_resp_conn *c, uint64_t got, uint64_t asked)
{
	return got < asked && !c->io.tls && !kvf_resp_bulk_left(&c->reader);
}

bool kvf_resp_conn_recv(struct kvf_resp_conn *c, uint64_t now_ns, uint64_t budget, uint64_t *moved)
{
	uint64_t left = budget;

	if (c->in_n && !parse(c))
		return false;
	while (left) {
		struct iovec iov[2];
		uint64_t direct, got;
		int pieces = aim(c, iov, left, &direct);
		uint64_t asked = iov[0].iov_len + (pieces > 1 ? iov[1].iov_len : 0);
		int64_t n = kvf_resp_io_recv(&c->io, iov, pieces);

		if (n == KVF_EAGAIN) {
			c->readable = false;
			c->recv_want = (uint8_t)c->io.want;
			return true;
		}
		if (n < 0) {
			ended(c);
			return false;
		}
		got = (uint64_t)n;
		alive(c, now_ns);
		c->bytes_in += got;
		*moved += got;
		left -= kvf_min_u64(left, got);
		direct = kvf_min_u64(direct, got);
		if (direct) {
			kvf_resp_took(&c->reader, direct);
			kvf_resp_reply_took(c, direct);
		}
		c->in_at = 0;
		c->in_n = (uint32_t)(got - direct);
		if (!parse(c))
			return false;
		if (drained(c, got, asked)) {
			c->readable = false;
			c->recv_want = KVF_WATCH_READ;
			return true;
		}
	}
	return true;
}
