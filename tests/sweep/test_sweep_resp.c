/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Redis tier over a network that holds back, resets or falls silent at every single byte of either direction, and
 * that takes and gives every number of bytes at once. What is asked ends exactly once, no byte is wrong, a slot is left
 * alone once its request ended, and afterwards everything works again.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/support/resp_rig.h"

#define PAYLOAD 200u
#define ASKS 6u
#define CANARY 0xa5

enum fault { PAUSE, RESET, SILENCE };
enum way { UP, DOWN };

static struct resp_rig rig;
static uint8_t *slot, *other;
static uint64_t fault_at; /* bytes until it happens; UINT64_MAX: never */
static enum way fault_way;
static enum fault fault_kind;
static bool struck, silent;

static const struct {
	enum kvf_req_kind kind;
	int status; /* of an undisturbed run */
} script[ASKS] = {
	{ KVF_REQ_EXISTS, KVF_ENOENT }, { KVF_REQ_PUT, KVF_OK },    { KVF_REQ_EXISTS, KVF_OK },
	{ KVF_REQ_GET, KVF_OK },	{ KVF_REQ_REMOVE, KVF_OK }, { KVF_REQ_GET, KVF_ENOENT },
};

static void fill(uint8_t *at, unsigned seed)
{
	for (unsigned i = 0; i < PAYLOAD; i++)
		at[KVF_SLOT_HEADER_BYTES + i] = (uint8_t)(i * 7 + seed);
}

static bool filled(const uint8_t *at, unsigned seed)
{
	for (unsigned i = 0; i < PAYLOAD; i++)
		if (at[KVF_SLOT_HEADER_BYTES + i] != (uint8_t)(i * 7 + seed))
			return false;
	return true;
}

/* One direction of one connection, up to the byte where it happens. */
static size_t move(struct resp_peer *peer, enum way way)
{
	uint64_t done = way == UP ? rig.up : rig.down;
	bool armed = !struck && way == fault_way && fault_at != UINT64_MAX;
	size_t most = armed ? (size_t)(fault_at - done) : SIZE_MAX;
	size_t n;

	n = way == UP ? resp_peer_take(&rig, peer, most) : resp_peer_give(&rig, peer, most);
	if (!armed || n < most)
		return n;
	struck = true;
	resp_rig_settle(&rig);
	if (fault_kind == RESET)
		resp_peer_close(peer);
	silent = fault_kind == SILENCE;
	return n + 1;
}

/* The server and the tier until neither has anything to do. */
static void run(void)
{
	size_t moved = 1;

	while (moved) {
		moved = 0;
		resp_rig_settle(&rig);
		resp_peer_accept(&rig);
		for (unsigned i = 0; i < RESP_RIG_PEERS && !silent; i++)
			if (rig.peer[i].fd >= 0)
				moved += move(&rig.peer[i], UP);
		for (unsigned i = 0; i < RESP_RIG_PEERS && !silent; i++)
			if (rig.peer[i].fd >= 0)
				moved += move(&rig.peer[i], DOWN);
	}
}

/* One request to its end. Where nothing moves any more, time does. */
static int ask(enum kvf_req_kind kind, uint8_t *at)
{
	struct resp_ask a;

	resp_rig_submit(&rig, &a, kind, 1, at);
	for (unsigned i = 0; i < 64 && !a.done; i++) {
		run();
		if (!a.done)
			rig.now_ns += KVF_NS_PER_S / 4;
	}
	CU_ASSERT_EQUAL(a.done, 1);
	run();
	CU_ASSERT_EQUAL(a.done, 1);
	return a.status;
}

static int ask_in_order(unsigned i)
{
	int status;

	if (script[i].kind == KVF_REQ_PUT)
		fill(slot, 3);
	else if (script[i].kind == KVF_REQ_GET)
		memset(slot + KVF_SLOT_HEADER_BYTES, 0, PAYLOAD);
	status = ask(script[i].kind, slot);
	if (script[i].kind != KVF_REQ_GET)
		return status;
	if (status == KVF_OK)
		CU_ASSERT(filled(slot, 3));
	/* From now on it belongs to somebody else. */
	memset(slot + KVF_SLOT_HEADER_BYTES, CANARY, PAYLOAD);
	return status;
}

static void everything_works(void)
{
	silent = false;
	struck = true;
	/* The backoff's longest, and what was given up may be connected anew. */
	rig.now_ns += 2 * KVF_NS_PER_S;
	fill(other, 9);
	(void)ask(KVF_REQ_EXISTS, other);
	CU_ASSERT_EQUAL(ask(KVF_REQ_PUT, other), KVF_OK);
	memset(other + KVF_SLOT_HEADER_BYTES, 0, PAYLOAD);
	CU_ASSERT_EQUAL(ask(KVF_REQ_GET, other), KVF_OK);
	CU_ASSERT(filled(other, 9));
}

static void open_rig(void)
{
	kvf_resp_options_init(&rig.opt);
	rig.opt.connections = 1;
	rig.opt.format = KVF_RESP_TWO_KEY;
	rig.opt.stall_timeout_ns = KVF_NS_PER_S;
	struck = silent = false;
	CU_ASSERT_TRUE_FATAL(resp_rig_open(&rig, PAYLOAD));
}

static bool may_fail_so(enum fault kind, unsigned i, int status)
{
	/* A remove that was done and said once more finds nothing. */
	if (kind == RESET)
		return status == KVF_EIO || (script[i].kind == KVF_REQ_REMOVE && status == KVF_ENOENT);
	return kind == SILENCE && (status == KVF_ETIMEDOUT || status == KVF_EIO);
}

/* The whole script with one fault. */
static void once(uint64_t at, enum way way, enum fault kind)
{
	bool missed = false;

	fault_at = at;
	fault_way = way;
	fault_kind = kind;
	open_rig();
	for (unsigned i = 0; i < ASKS; i++) {
		int status = ask_in_order(i);
		bool fits = status == script[i].status || may_fail_so(kind, i, status) ||
			    /* What was not written is not found. */
			    (missed && (status == KVF_ENOENT || status == KVF_OK));

		missed |= status != script[i].status;
		if (!fits)
			fprintf(stderr, "byte %u, way %d, fault %d: request %u: %s\n", (unsigned)at, way, kind, i,
				kvf_strerror(status));
		CU_ASSERT(fits);
		/* Silence is one server that hangs: it is over when the connection was given up. */
		if (struck && status != script[i].status)
			silent = false;
	}
	for (unsigned i = 0; i < PAYLOAD; i++)
		CU_ASSERT_EQUAL_FATAL(slot[KVF_SLOT_HEADER_BYTES + i], CANARY);
	everything_works();
	resp_rig_close(&rig);
}

static void sweep(enum fault kind)
{
	uint64_t up, down;

	fault_at = UINT64_MAX;
	open_rig();
	for (unsigned i = 0; i < ASKS; i++)
		CU_ASSERT_EQUAL(ask_in_order(i), script[i].status);
	up = rig.up;
	down = rig.down;
	resp_rig_close(&rig);
	CU_ASSERT(up > 800 && down > 400);
	for (uint64_t at = 1; at <= up; at++)
		once(at, UP, kind);
	for (uint64_t at = 1; at <= down; at++)
		once(at, DOWN, kind);
}

static void test_held_back(void)
{
	sweep(PAUSE);
}

static void test_reset(void)
{
	sweep(RESET);
}

static void test_silent(void)
{
	sweep(SILENCE);
}

/* Every number of bytes at once, in both directions. */
static void test_pieces(void)
{
	for (uint64_t piece = 1; piece < 2 * PAYLOAD; piece++) {
		struct resp_ask a[2];

		fault_at = UINT64_MAX;
		open_rig();
		fill(slot, 3);
		resp_rig_submit(&rig, &a[0], KVF_REQ_PUT, 1, slot);
		memset(other + KVF_SLOT_HEADER_BYTES, 0, PAYLOAD);
		for (unsigned i = 0; i < 20000 && !a[0].done; i++) {
			resp_rig_turn(&rig, piece);
			resp_peer_accept(&rig);
			for (unsigned k = 0; k < rig.n_peers; k++) {
				resp_peer_take(&rig, &rig.peer[k], piece);
				resp_peer_give(&rig, &rig.peer[k], piece);
			}
		}
		resp_rig_submit(&rig, &a[1], KVF_REQ_GET, 1, other);
		for (unsigned i = 0; i < 20000 && !a[1].done; i++) {
			resp_rig_turn(&rig, piece);
			for (unsigned k = 0; k < rig.n_peers; k++) {
				resp_peer_take(&rig, &rig.peer[k], piece);
				resp_peer_give(&rig, &rig.peer[k], piece);
			}
		}
		CU_ASSERT(a[0].done == 1 && a[0].status == KVF_OK);
		CU_ASSERT(a[1].done == 1 && a[1].status == KVF_OK);
		CU_ASSERT(filled(other, 3));
		resp_rig_close(&rig);
	}
}

/*
 * Two puts; the server reads the first and answers it while the second fills the socket. The answer is an event of its
 * own: afterwards the tier must still wait for room.
 */
static void test_answer_while_blocked(void)
{
	const uint32_t big = 4u * 1024 * 1024;
	uint8_t *slots[2] = { calloc(1, KVF_SLOT_HEADER_BYTES + big), calloc(1, KVF_SLOT_HEADER_BYTES + big) };
	struct resp_ask a[2];
	struct resp_peer *peer = NULL;

	kvf_resp_options_init(&rig.opt);
	rig.opt.connections = 1;
	rig.opt.format = KVF_RESP_RAW;
	rig.opt.verify = KVF_RESP_NO_VERIFY;
	struck = silent = false;
	fault_at = UINT64_MAX;
	CU_ASSERT_TRUE_FATAL(resp_rig_open(&rig, big));
	run();
	resp_rig_submit(&rig, &a[0], KVF_REQ_PUT, 1, slots[0]);
	resp_rig_submit(&rig, &a[1], KVF_REQ_PUT, 2, slots[1]);
	/* Until the first is there as a whole, and nothing more of the second than the socket holds. */
	for (unsigned i = 0; i < 100000 && !(peer && peer->out.n); i++) {
		resp_rig_settle(&rig);
		for (unsigned k = 0; k < rig.n_peers; k++) {
			resp_peer_take(&rig, &rig.peer[k], 4096);
			if (rig.peer[k].out.n)
				peer = &rig.peer[k];
		}
	}
	CU_ASSERT_PTR_NOT_NULL_FATAL(peer);
	resp_rig_settle(&rig);
	CU_ASSERT_EQUAL(resp_peer_give(&rig, peer, SIZE_MAX), strlen("+OK\r\n"));
	resp_rig_settle(&rig);
	CU_ASSERT_EQUAL(a[0].done, 1);
	CU_ASSERT_EQUAL(a[1].done, 0);
	run();
	CU_ASSERT(a[1].done == 1 && a[1].status == KVF_OK);
	resp_rig_close(&rig);
	free(slots[0]);
	free(slots[1]);
}

/* System calls of its connection for one request whose answer comes at once. */
static uint64_t calls_of(enum kvf_req_kind kind, uint64_t budget)
{
	const struct kvf_resp_conn *c = &rig.tier->conn[kind == KVF_REQ_EXISTS ? 0 : 1];
	uint64_t before = c->io.syscalls;
	struct resp_ask a;

	resp_rig_submit(&rig, &a, kind, 1, slot);
	resp_rig_turn(&rig, budget);
	run();
	CU_ASSERT_EQUAL(a.done, 1);
	CU_ASSERT_EQUAL(a.status, KVF_OK);
	return c->io.syscalls - before;
}

/* One call says a request, one hears its answer: nobody looks whether there is more. The few bytes behind a value go
 * with it, also where the budget of the turn ends between them. */
static void test_calls(void)
{
	uint64_t text;

	fault_at = UINT64_MAX;
	open_rig();
	run();
	fill(slot, 3);
	text = rig.tier->conn[1].bytes_out;
	CU_ASSERT_EQUAL(calls_of(KVF_REQ_PUT, UINT64_MAX), 2);
	text = rig.tier->conn[1].bytes_out - text;
	CU_ASSERT_EQUAL(calls_of(KVF_REQ_GET, UINT64_MAX), 2);
	CU_ASSERT_EQUAL(calls_of(KVF_REQ_EXISTS, UINT64_MAX), 2);
	CU_ASSERT_EQUAL(calls_of(KVF_REQ_PUT, text - text / 100), 2);
	CU_ASSERT_EQUAL(calls_of(KVF_REQ_PUT, text - text / 10), 3);
	resp_rig_close(&rig);
}

/* Beside the slots a connection has less than 1 MiB, all of it from the start. */
static void test_memory(void)
{
	uint64_t held;

	fault_at = UINT64_MAX;
	kvf_resp_options_init(&rig.opt);
	rig.opt.connections = KVF_RESP_CONNECTIONS_MAX;
	rig.opt.format = KVF_RESP_TWO_KEY;
	CU_ASSERT_TRUE_FATAL(resp_rig_open(&rig, PAYLOAD));
	held = rig.mem.bytes_held;
	CU_ASSERT(held / (KVF_RESP_CONNECTIONS_MAX + 1) < 1u << 20);
	run();
	for (unsigned i = 0; i < 200; i++) {
		fill(slot, 3);
		CU_ASSERT_EQUAL(ask(KVF_REQ_PUT, slot), KVF_OK);
		CU_ASSERT_EQUAL(ask(KVF_REQ_GET, slot), KVF_OK);
		CU_ASSERT_EQUAL(ask(KVF_REQ_REMOVE, slot), KVF_OK);
	}
	CU_ASSERT_EQUAL(rig.mem.bytes_held, held);
	printf("%lu bytes a connection ", (unsigned long)(held / (KVF_RESP_CONNECTIONS_MAX + 1)));
	resp_rig_close(&rig);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "pieces", test_pieces },
		{ "held_back", test_held_back },
		{ "reset", test_reset },
		{ "silent", test_silent },
		{ "answer_while_blocked", test_answer_while_blocked },
		{ "calls", test_calls },
		{ "memory", test_memory },
	};
	int rc;

	slot = calloc(1, KVF_SLOT_HEADER_BYTES + PAYLOAD);
	other = calloc(1, KVF_SLOT_HEADER_BYTES + PAYLOAD);
	rc = kvf_test_main("sweep_resp", tests, KVF_ARRAY_LEN(tests), argc, argv);
	if (rig.listener > 0)
		close(rig.listener);
	free(slot);
	free(other);
	return rc;
}
