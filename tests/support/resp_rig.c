/* SPDX-License-Identifier: Apache-2.0 */
/* See resp_rig.h. */
#include "tests/support/resp_rig.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/harness.h"

/* ---- the host of the tier ---- */

static struct resp_rig *rig_of(struct kvf_tier_host *host)
{
	return kvf_container_of(host, struct resp_rig, host);
}

static void complete(struct kvf_tier_host *host, struct kvf_tier_req *req, int status)
{
	struct resp_ask *ask = kvf_container_of(req, struct resp_ask, req);

	(void)host;
	ask->done++;
	ask->status = status;
}

static uint64_t now_ns(struct kvf_tier_host *host)
{
	return rig_of(host)->now_ns;
}

static int watch(struct kvf_tier_host *host, struct kvf_watch *w, int fd, unsigned events)
{
	return kvf_loop_watch(&rig_of(host)->loop, w, fd, events);
}

static void log_line(struct kvf_tier_host *host, enum kvf_log_level level, const char *msg)
{
	struct resp_rig *rig = rig_of(host);
	int n = snprintf(rig->log + rig->log_n, sizeof(rig->log) - rig->log_n, "%d %s\n", (int)level, msg);

	if (n > 0 && (size_t)n < sizeof(rig->log) - rig->log_n)
		rig->log_n += (size_t)n;
}

static int wire_name(struct kvf_tier_host *host, const struct kvf_tier_req *req, char *buf, size_t cap)
{
	(void)host;
	return snprintf(buf, cap, "m@1@0@%x@half", req->key[0]);
}

static int wire_meta(struct kvf_tier_host *host, uint32_t n_tokens, uint8_t *buf, size_t cap)
{
	(void)host;
	memset(buf, (int)n_tokens, cap < 28 ? cap : 28);
	return 28;
}

static int wire_payload(struct kvf_tier_host *host, uint32_t n_tokens, const uint8_t *meta, size_t n, uint32_t *bytes)
{
	if (meta && (n != 28 || meta[0] != (uint8_t)n_tokens))
		return KVF_ENOENT;
	*bytes = rig_of(host)->payload_bytes;
	return KVF_OK;
}

static bool listen_at(struct resp_rig *rig)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	char dir[90];

	if (kvf_test_tmpdir(dir, sizeof(dir)))
		return false;
	snprintf(rig->path, sizeof(rig->path), "%s/s", dir);
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", rig->path);
	rig->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return rig->listener >= 0 && !bind(rig->listener, (struct sockaddr *)(void *)&un, sizeof(un)) &&
	       !listen(rig->listener, RESP_RIG_PEERS);
}

bool resp_rig_open(struct resp_rig *rig, uint32_t payload_bytes)
{
	struct kvf_tier_open params = { .size = sizeof(params), .payload_bytes = payload_bytes, .chunk_tokens = 16 };
	uint32_t caps;

	kvf_mem_init(&rig->mem, NULL);
	kvf_loop_init(&rig->loop, &rig->mem);
	rig->payload_bytes = payload_bytes;
	rig->now_ns = KVF_NS_PER_S;
	for (unsigned i = 0; i < RESP_RIG_PEERS; i++)
		rig->peer[i].fd = -1;
	if (!rig->path[0] && !listen_at(rig)) {
		CU_FAIL("no socket to listen at");
		return false;
	}
	if (!rig->opt.host[0])
		snprintf(rig->opt.path, sizeof(rig->opt.path), "%s", rig->path);
	rig->host = (struct kvf_tier_host){ .size = sizeof(rig->host), .complete = complete, .now_ns = now_ns,
					    .watch = watch, .log = log_line, .wire_name = wire_name,
					    .wire_meta = wire_meta, .wire_payload = wire_payload };
	CU_ASSERT_EQUAL_FATAL(kvf_resp_new(&rig->mem, &rig->opt, &rig->tier), KVF_OK);
	CU_ASSERT_EQUAL_FATAL(kvf_resp_ops.open(rig->tier, &rig->host, &params, &caps), KVF_OK);
	return true;
}

void resp_rig_close(struct resp_rig *rig)
{
	kvf_resp_ops.close(rig->tier);
	kvf_resp_free(rig->tier);
	kvf_loop_fini(&rig->loop);
	CU_ASSERT_EQUAL(kvf_mem_fini(&rig->mem), 0);
	for (unsigned i = 0; i < RESP_RIG_PEERS; i++)
		resp_peer_close(&rig->peer[i]);
	for (unsigned i = 0; i < RESP_RIG_KEYS; i++) {
		free(rig->store[i].key);
		free(rig->store[i].value.p);
	}
	memset(rig->store, 0, sizeof(rig->store));
	rig->n_peers = 0;
	rig->up = rig->down = 0;
	rig->log_n = 0;
}

void resp_rig_submit(struct resp_rig *rig, struct resp_ask *ask, enum kvf_req_kind kind, unsigned key, uint8_t *slot)
{
	struct kvf_tier_req *req = &ask->req;

	memset(ask, 0, sizeof(*ask));
	req->kind = kind;
	req->key[0] = (uint8_t)key;
	req->n_tokens = 16;
	req->slot = slot;
	req->payload_bytes = rig->payload_bytes;
	if (kind == KVF_REQ_PUT) {
		req->has_checksum = 1;
		req->checksum = kvf_checksum(slot + KVF_SLOT_HEADER_BYTES, rig->payload_bytes);
	}
	CU_ASSERT_EQUAL(kvf_resp_ops.submit(rig->tier, &req, 1), 1);
}

bool resp_rig_turn(struct resp_rig *rig, uint64_t budget)
{
	kvf_loop_run(&rig->loop);
	return kvf_resp_ops.progress(rig->tier, rig->now_ns, budget) > 0;
}

void resp_rig_settle(struct resp_rig *rig)
{
	unsigned quiet = 0;

	/* Twice: what progress() asks to be watched is seen by the loop's next run. */
	for (unsigned i = 0; i < 100000 && quiet < 2; i++)
		quiet = resp_rig_turn(rig, UINT64_MAX) || !kvf_resp_ops.next_deadline_ns(rig->tier) ? 0 : quiet + 1;
	CU_ASSERT_EQUAL(quiet, 2);
}

/* ---- the server ---- */

static void put(struct resp_bytes *b, const void *p, size_t n)
{
	if (b->n + n > b->cap) {
		b->cap = 2 * (b->n + n);
		b->p = realloc(b->p, b->cap);
	}
	memcpy(b->p + b->n, p, n);
	b->n += n;
}

static void say(struct resp_bytes *b, const char *text)
{
	put(b, text, strlen(text));
}

static int slot_of(struct resp_rig *rig, const char *key, size_t n, bool make)
{
	int spare = -1;

	for (int i = 0; i < RESP_RIG_KEYS; i++) {
		if (!rig->store[i].key)
			spare = i;
		else if (strlen(rig->store[i].key) == n && !memcmp(rig->store[i].key, key, n))
			return i;
	}
	if (make && spare >= 0) {
		rig->store[spare].key = strndup(key, n);
		return spare;
	}
	return -1;
}

struct words {
	const char *p[RESP_RIG_WORDS];
	size_t n[RESP_RIG_WORDS];
	unsigned count;
};

static bool is(const struct words *w, const char *command)
{
	return w->n[0] == strlen(command) && !memcmp(w->p[0], command, w->n[0]);
}

static void answer_mget(struct resp_rig *rig, const struct words *w, struct resp_bytes *out)
{
	char head[32];

	put(out, head, (size_t)snprintf(head, sizeof(head), "*%u\r\n", w->count - 1));
	for (unsigned i = 1; i < w->count; i++) {
		int at = slot_of(rig, w->p[i], w->n[i], false);

		if (rig->between)
			say(out, rig->between);
		if (at < 0) {
			say(out, "$-1\r\n");
			continue;
		}
		put(out, head, (size_t)snprintf(head, sizeof(head), "$%zu\r\n", rig->store[at].value.n));
		put(out, rig->store[at].value.p, rig->store[at].value.n);
		say(out, "\r\n");
	}
}

static void answer_count(struct resp_rig *rig, const struct words *w, struct resp_bytes *out)
{
	char text[32];
	unsigned n = 0;

	for (unsigned i = 1; i < w->count; i++) {
		int at = slot_of(rig, w->p[i], w->n[i], false);

		n += at >= 0;
		if (at < 0 || is(w, "EXISTS"))
			continue;
		free(rig->store[at].key);
		rig->store[at].key = NULL;
	}
	put(out, text, (size_t)snprintf(text, sizeof(text), ":%u\r\n", n));
}

static void answer(struct resp_rig *rig, struct resp_peer *peer, const struct words *w, struct resp_bytes *out)
{
	char head[16];

	if ((rig->old && (is(w, "HELLO") || is(w, "UNLINK"))) || (rig->no_mget && is(w, "MGET"))) {
		say(out, "-ERR unknown command `X`, with args beginning with: \r\n");
	} else if (rig->old && is(w, "CLIENT")) {
		say(out, "+OK\r\n");
	} else if (is(w, "HELLO")) {
		say(out, "%2\r\n$6\r\nserver\r\n$3\r\nrig\r\n$5\r\nproto\r\n:3\r\n");
	} else if (is(w, "MULTI")) {
		peer->multi = true;
		peer->queued = 0;
		peer->replies.n = 0;
		say(out, "+OK\r\n");
	} else if (is(w, "EXEC")) {
		peer->multi = false;
		put(out, head, (size_t)snprintf(head, sizeof(head), "*%u\r\n", peer->queued));
		if (peer->queued)
			put(out, peer->replies.p, peer->replies.n);
	} else if (is(w, "SET")) {
		int at = slot_of(rig, w->p[1], w->n[1], true);

		CU_ASSERT_FATAL(at >= 0);
		rig->store[at].value.n = 0;
		put(&rig->store[at].value, w->p[2], w->n[2]);
		say(out, "+OK\r\n");
	} else if (is(w, "MGET")) {
		answer_mget(rig, w, out);
	} else if (is(w, "EXISTS") || is(w, "UNLINK") || (rig->old && is(w, "DEL"))) {
		answer_count(rig, w, out);
	} else {
		CU_FAIL("a command that the rig's server does not know");
		say(out, "-ERR unknown command\r\n");
	}
}

/* One number and its line's end from p[0..n); 0: not all of it is there. */
static size_t head_of(const char *p, size_t n, unsigned long *value)
{
	const char *lf = memchr(p, '\n', n);

	if (!lf)
		return 0;
	*value = strtoul(p + 1, NULL, 10);
	return (size_t)(lf - p) + 1;
}

/* Bytes of the whole command at p; 0: not all of it is there. */
static size_t parse(const char *p, size_t n, struct words *w)
{
	unsigned long count, len;
	size_t at = head_of(p, n, &count);

	if (!at)
		return 0;
	CU_ASSERT_FATAL(p[0] == '*' && count && count <= RESP_RIG_WORDS);
	for (w->count = 0; w->count < count; w->count++) {
		size_t k = head_of(p + at, n - at, &len);

		if (!k || n - at - k < len + 2)
			return 0;
		w->p[w->count] = p + at + k;
		w->n[w->count] = len;
		at += k + len + 2;
	}
	return at;
}

static void serve(struct resp_rig *rig, struct resp_peer *peer)
{
	struct words w;
	size_t used;

	while (peer->in.n && (used = parse(peer->in.p, peer->in.n, &w))) {
		if (rig->before)
			say(&peer->out, rig->before);
		if (peer->multi && !is(&w, "EXEC")) {
			answer(rig, peer, &w, &peer->replies);
			peer->queued++;
			say(&peer->out, "+QUEUED\r\n");
		} else {
			answer(rig, peer, &w, &peer->out);
		}
		memmove(peer->in.p, peer->in.p + used, peer->in.n - used);
		peer->in.n -= used;
	}
}

void resp_peer_accept(struct resp_rig *rig)
{
	for (;;) {
		int fd = accept4(rig->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct resp_peer *peer = &rig->peer[rig->n_peers % RESP_RIG_PEERS];

		if (fd < 0)
			return;
		resp_peer_close(peer);
		peer->fd = fd;
		rig->n_peers++;
	}
}

size_t resp_peer_take(struct resp_rig *rig, struct resp_peer *peer, size_t n)
{
	static char piece[65536];
	size_t total = 0;

	while (peer->fd >= 0 && total < n) {
		size_t want = n - total < sizeof(piece) ? n - total : sizeof(piece);
		ssize_t got = recv(peer->fd, piece, want, 0);

		if (got <= 0) {
			if (!got)
				resp_peer_close(peer);
			break;
		}
		put(&peer->in, piece, (size_t)got);
		total += (size_t)got;
	}
	rig->up += total;
	if (total)
		serve(rig, peer);
	return total;
}

size_t resp_peer_give(struct resp_rig *rig, struct resp_peer *peer, size_t n)
{
	size_t want = n < peer->out.n ? n : peer->out.n;
	ssize_t sent;

	if (peer->fd < 0 || !want)
		return 0;
	sent = send(peer->fd, peer->out.p, want, MSG_NOSIGNAL);
	if (sent <= 0)
		return 0;
	memmove(peer->out.p, peer->out.p + sent, peer->out.n - (size_t)sent);
	peer->out.n -= (size_t)sent;
	rig->down += (uint64_t)sent;
	return (size_t)sent;
}

void resp_peer_close(struct resp_peer *peer)
{
	if (peer->fd >= 0)
		close(peer->fd);
	free(peer->in.p);
	free(peer->out.p);
	free(peer->replies.p);
	memset(peer, 0, sizeof(*peer));
	peer->fd = -1;
}
