/* SPDX-License-Identifier: Apache-2.0 */
/* The Redis tier and servers that are old, chatty or full, and what is withdrawn: on a clock that the test moves. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/support/resp_rig.h"

#define PAYLOAD 200u
#define RING 2048u /* small commands that may be under way */
#define HELD 1024u

static struct resp_rig rig;
static uint8_t *slot, *other;

static void open_rig(void)
{
	kvf_resp_options_init(&rig.opt);
	rig.opt.connections = 1;
	rig.opt.stall_timeout_ns = KVF_NS_PER_S;
	CU_ASSERT_TRUE_FATAL(resp_rig_open(&rig, PAYLOAD));
}

static void serve(void)
{
	size_t moved = 1;

	while (moved) {
		moved = 0;
		resp_rig_settle(&rig);
		resp_peer_accept(&rig);
		for (unsigned i = 0; i < RESP_RIG_PEERS; i++) {
			moved += resp_peer_take(&rig, &rig.peer[i], SIZE_MAX);
			moved += resp_peer_give(&rig, &rig.peer[i], SIZE_MAX);
		}
	}
}

static int ask(enum kvf_req_kind kind, uint8_t *at)
{
	struct resp_ask a;

	resp_rig_submit(&rig, &a, kind, 1, at);
	serve();
	CU_ASSERT_EQUAL(a.done, 1);
	return a.status;
}

static const char *logged(void)
{
	rig.log[rig.log_n] = '\0';
	return rig.log;
}

/* Everything there is, once. */
static void all_kinds(void)
{
	memset(slot + KVF_SLOT_HEADER_BYTES, 7, PAYLOAD);
	memset(other + KVF_SLOT_HEADER_BYTES, 0, PAYLOAD);
	CU_ASSERT_EQUAL(ask(KVF_REQ_GET, other), KVF_ENOENT);
	CU_ASSERT_EQUAL(ask(KVF_REQ_PUT, slot), KVF_OK);
	CU_ASSERT_EQUAL(ask(KVF_REQ_EXISTS, NULL), KVF_OK);
	CU_ASSERT_EQUAL(ask(KVF_REQ_GET, other), KVF_OK);
	CU_ASSERT_EQUAL(memcmp(slot + KVF_SLOT_HEADER_BYTES, other + KVF_SLOT_HEADER_BYTES, PAYLOAD), 0);
	CU_ASSERT_EQUAL(ask(KVF_REQ_REMOVE, NULL), KVF_OK);
	CU_ASSERT_EQUAL(ask(KVF_REQ_EXISTS, NULL), KVF_ENOENT);
	CU_ASSERT_EQUAL(ask(KVF_REQ_REMOVE, NULL), KVF_ENOENT);
}

/* No HELLO, no UNLINK: greeted word by word, and removed all the same. */
static void test_old(void)
{
	rig.old = true;
	open_rig();
	serve();
	CU_ASSERT_EQUAL(rig.tier->connects, 2);
	all_kinds();
	/* UNLINK was tried once, and never again. */
	CU_ASSERT_EQUAL(rig.tier->errors[KVF_RESP_T_UNKNOWN_COMMAND], 1);
	CU_ASSERT_EQUAL(rig.tier->connects, 2);
	resp_rig_close(&rig);
	rig.old = false;
}

/* What it cannot do at all is an error, for which no connection is given up. */
static void test_no_mget(void)
{
	rig.no_mget = true;
	open_rig();
	serve();
	CU_ASSERT_EQUAL(ask(KVF_REQ_PUT, slot), KVF_OK);
	CU_ASSERT_EQUAL(ask(KVF_REQ_GET, other), KVF_EIO);
	CU_ASSERT_EQUAL(ask(KVF_REQ_GET, other), KVF_EIO);
	CU_ASSERT_EQUAL(rig.tier->errors[KVF_RESP_T_UNKNOWN_COMMAND], 2);
	CU_ASSERT_EQUAL(rig.tier->connects, 2);
	CU_ASSERT_PTR_NOT_NULL(strstr(logged(), "the server does not know MGET"));
	resp_rig_close(&rig);
	rig.no_mget = false;
}

/* Pushes before every answer, those of the greeting and of a transaction too, and attributes within. */
static void test_chatty(void)
{
	rig.before = ">2\r\n+invalidate\r\n*1\r\n$3\r\nkey\r\n|1\r\n+ttl\r\n:5\r\n";
	rig.between = "|1\r\n$3\r\nttl\r\n$5\r\n12345\r\n";
	open_rig();
	serve();
	all_kinds();
	/* One that nobody is asked anything for. */
	resp_peer_take(&rig, &rig.peer[0], 0);
	CU_ASSERT_EQUAL(write(rig.peer[0].fd, rig.before, 38), 38);
	CU_ASSERT_EQUAL(write(rig.peer[1].fd, rig.before, 38), 38);
	serve();
	CU_ASSERT_EQUAL(rig.tier->connects, 2);
	CU_ASSERT_STRING_EQUAL(logged(), "");
	resp_rig_close(&rig);
	rig.before = rig.between = NULL;
}

/* A byte of the greeting every 100 ms: all of it must be there in the time there is to connect. */
static void test_drips(void)
{
	open_rig();
	for (unsigned i = 0; i < 11; i++) {
		resp_rig_settle(&rig);
		resp_peer_accept(&rig);
		for (unsigned k = 0; k < RESP_RIG_PEERS; k++) {
			resp_peer_take(&rig, &rig.peer[k], SIZE_MAX);
			resp_peer_give(&rig, &rig.peer[k], 1);
		}
		rig.now_ns += KVF_NS_PER_S / 10;
	}
	resp_rig_settle(&rig);
	CU_ASSERT_EQUAL(rig.tier->connects, 0);
	CU_ASSERT_EQUAL(rig.tier->errors[KVF_RESP_T_TIMEOUT], 2);
	resp_rig_close(&rig);
}

/* Time passes, and nothing comes. */
static void silence(void)
{
	for (unsigned i = 0; i < 8; i++) {
		resp_rig_settle(&rig);
		rig.now_ns += KVF_NS_PER_S / 2;
	}
	resp_rig_settle(&rig);
}

static struct resp_ask *many(unsigned n, unsigned *taken)
{
	struct resp_ask *a = calloc(n, sizeof(*a));

	for (*taken = 0; *taken < n; ++*taken) {
		struct kvf_tier_req *req = &a[*taken].req;

		req->kind = KVF_REQ_EXISTS;
		req->key[0] = 1;
		req->n_tokens = 16;
		if (!kvf_resp_ops.submit(rig.tier, &req, 1))
			break;
	}
	return a;
}

static unsigned done(const struct resp_ask *a, unsigned n)
{
	unsigned ended = 0;

	for (unsigned i = 0; i < n; i++) {
		CU_ASSERT(a[i].done <= 1);
		ended += a[i].done == 1;
	}
	return ended;
}

/* As many as the ring or the text holds, however many are said; what is withdrawn keeps its place until the answer. */
static void test_full(void)
{
	struct resp_ask *a;
	unsigned taken, again;

	open_rig();
	serve();
	/* The server takes nothing: the socket fills, then the text or the ring. */
	a = many(2 * RING, &taken);
	CU_ASSERT(taken > 500 && taken <= RING);
	CU_ASSERT_EQUAL(done(a, taken), 0);
	for (unsigned i = 0; i < taken; i += 2)
		kvf_resp_ops.cancel(rig.tier, &a[i].req);
	CU_ASSERT_EQUAL(done(a, taken), (taken + 1) / 2);
	serve();
	CU_ASSERT_EQUAL(done(a, taken), taken);
	for (unsigned i = 0; i < taken; i++)
		CU_ASSERT_EQUAL(a[i].status, i % 2 ? KVF_ENOENT : KVF_ECANCELED);
	free(a);
	/* There is as much room as before; then silence, until it is given up. */
	a = many(2 * RING, &again);
	CU_ASSERT_EQUAL(again, taken);
	silence();
	CU_ASSERT_EQUAL(done(a, again), again);
	CU_ASSERT_EQUAL(a[0].status, KVF_ETIMEDOUT);
	free(a);
	CU_ASSERT_EQUAL(ask(KVF_REQ_EXISTS, NULL), KVF_ENOENT);
	resp_rig_close(&rig);
}

/* While a connection is being made requests are held, so many and no more; each ends, whatever becomes of it. */
static void test_held(void)
{
	struct resp_ask *a;
	unsigned taken;

	open_rig();
	a = many(2 * HELD, &taken);
	CU_ASSERT_EQUAL(taken, HELD);
	CU_ASSERT_EQUAL(done(a, taken), 0);
	kvf_resp_ops.cancel(rig.tier, &a[taken - 1].req);
	kvf_resp_ops.cancel(rig.tier, &a[0].req);
	kvf_resp_ops.cancel(rig.tier, &a[5].req);
	CU_ASSERT_EQUAL(done(a, taken), 3);
	serve();
	CU_ASSERT_EQUAL(done(a, taken), taken);
	CU_ASSERT_EQUAL(a[1].status, KVF_ENOENT);
	CU_ASSERT_EQUAL(rig.tier->n_held, 0);
	free(a);
	resp_rig_close(&rig);
	/* The same, and nobody answers the greeting. */
	open_rig();
	a = many(2 * HELD, &taken);
	silence();
	CU_ASSERT_EQUAL(done(a, taken), taken);
	CU_ASSERT_EQUAL(a[1].status, KVF_EIO);
	free(a);
	resp_rig_close(&rig);
}

/* A put that is withdrawn half-way costs its connection. Others on it are said again, as often as that happens. */
static void test_withdrawn(void)
{
	struct resp_ask put, get;

	open_rig();
	serve();
	CU_ASSERT_EQUAL(ask(KVF_REQ_PUT, slot), KVF_OK);
	resp_rig_submit(&rig, &put, KVF_REQ_PUT, 2, slot);
	resp_rig_submit(&rig, &get, KVF_REQ_GET, 1, other);
	for (unsigned i = 0; i < 6; i++) {
		kvf_resp_ops.cancel(rig.tier, &put.req);
		CU_ASSERT_EQUAL(put.done, 1);
		CU_ASSERT_EQUAL(put.status, KVF_ECANCELED);
		CU_ASSERT_EQUAL(get.done, 0);
		/* A connection that is greeted, and hears no more. */
		for (unsigned k = 0; k < 4; k++) {
			resp_rig_settle(&rig);
			resp_peer_accept(&rig);
			resp_peer_take(&rig, &rig.peer[rig.n_peers - 1], k ? 0 : SIZE_MAX);
			resp_peer_give(&rig, &rig.peer[rig.n_peers - 1], SIZE_MAX);
			rig.now_ns += KVF_NS_PER_S / 10;
		}
		CU_ASSERT_EQUAL_FATAL(rig.tier->conn[1].state, KVF_RESP_READY);
		resp_rig_submit(&rig, &put, KVF_REQ_PUT, 2, slot);
	}
	serve();
	CU_ASSERT(put.done == 1 && put.status == KVF_OK);
	CU_ASSERT(get.done == 1 && get.status == KVF_OK);
	resp_rig_close(&rig);
}

/* Raw values are full chunks. But that a partial one is not there may only be said of a server that is. */
static void test_partial_of_nobody(void)
{
	struct resp_ask a;
	struct kvf_tier_req *req = &a.req;

	kvf_resp_options_init(&rig.opt);
	rig.opt.connections = 1;
	rig.opt.format = KVF_RESP_RAW;
	CU_ASSERT_TRUE_FATAL(resp_rig_open(&rig, PAYLOAD));
	memset(&a, 0, sizeof(a));
	req->kind = KVF_REQ_EXISTS;
	req->n_tokens = 5;
	CU_ASSERT_EQUAL(kvf_resp_ops.submit(rig.tier, &req, 1), 1);
	/* The greeting is not answered. */
	CU_ASSERT_EQUAL(a.done, 0);
	silence();
	silence();
	CU_ASSERT(a.done == 1 && a.status == KVF_EIO);
	resp_peer_accept(&rig);
	for (unsigned i = 0; i < RESP_RIG_PEERS; i++)
		resp_peer_close(&rig.peer[i]);
	memset(&a, 0, sizeof(a));
	req->kind = KVF_REQ_EXISTS;
	req->n_tokens = 5;
	CU_ASSERT_EQUAL(kvf_resp_ops.submit(rig.tier, &req, 1), 1);
	serve();
	CU_ASSERT(a.done == 1 && a.status == KVF_ENOENT);
	resp_rig_close(&rig);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "old", test_old },   { "no_mget", test_no_mget },
		{ "drips", test_drips }, { "chatty", test_chatty },
		{ "full", test_full }, { "held", test_held },		{ "withdrawn", test_withdrawn },
		{ "partial_of_nobody", test_partial_of_nobody },
	};
	int rc;

	slot = calloc(1, KVF_SLOT_HEADER_BYTES + PAYLOAD);
	other = calloc(1, KVF_SLOT_HEADER_BYTES + PAYLOAD);
	rc = kvf_test_main("resp_odd", tests, KVF_ARRAY_LEN(tests), argc, argv);
	if (rig.listener > 0)
		close(rig.listener);
	free(slot);
	free(other);
	return rc;
}
