/* SPDX-License-Identifier: Apache-2.0 */
/* A connection that gets stuck on its way, at each of its stations: what is asked ends at its deadline or when it is
 * cancelled, the engine closes with all of it under way, no descriptor is left, and nobody is told of a hit. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/engine.h"
#include "tests/harness.h"
#include "tests/support/descriptors.h"
#include "tests/support/remote.h"
#include "tier/resp/tier.h"

#define CHUNKS 3u
#define TOKENS (CHUNKS * RIG_CHUNK)
#define CLIENTS 16

static const char hello[] = "%1\r\n$5\r\nproto\r\n:3\r\n";

/* Who listens, and says no more than brings a connection as far as it should come. */
struct stuck {
	enum kvf_resp_state state;
	int listener, client[CLIENTS], n;
	char url[64];
};

static struct remote m;

static int tcp(void)
{
	return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

static void begin(struct stuck *s, enum kvf_resp_state state)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr *at = (struct sockaddr *)(void *)&addr;
	socklen_t n = sizeof(addr);

	memset(s, 0, sizeof(*s));
	s->state = state;
	s->listener = tcp();
	CU_ASSERT_FATAL(!bind(s->listener, at, n) && !listen(s->listener, state == KVF_RESP_CONNECTING ? 0 : 64) &&
			!getsockname(s->listener, at, &n));
	snprintf(s->url, sizeof(s->url), "%s://127.0.0.1:%d", state == KVF_RESP_SECURING ? "rediss" : "redis",
		 ntohs(addr.sin_port));
	/* Those who came before fill the queue, and nobody takes them out of it. */
	while (state == KVF_RESP_CONNECTING && s->n < 4) {
		s->client[s->n] = tcp();
		(void)connect(s->client[s->n++], at, sizeof(addr));
	}
	poll(NULL, 0, 10);
}

static void end(struct stuck *s)
{
	while (s->n)
		close(s->client[--s->n]);
	close(s->listener);
}

static void serve(struct stuck *s)
{
	char heard[65536];

	if (s->state == KVF_RESP_CONNECTING)
		return;
	while (s->n < CLIENTS) {
		s->client[s->n] = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (s->client[s->n] < 0)
			break;
		s->n++;
	}
	for (int i = 0; i < s->n && s->state == KVF_RESP_READY; i++) {
		ssize_t n = recv(s->client[i], heard, sizeof(heard), 0);

		if (n > 0 && memmem(heard, (size_t)n, "HELLO", 5))
			CU_ASSERT_EQUAL(send(s->client[i], hello, sizeof(hello) - 1, MSG_NOSIGNAL), sizeof(hello) - 1);
	}
}

static bool there(enum kvf_resp_state state)
{
	return m.rig.engine->remote->conn[0].state == state && m.rig.engine->remote->conn[1].state == state;
}

static void idle(struct stuck *s, unsigned ms)
{
	for (unsigned i = 0; i < ms; i += 5) {
		remote_idle(&m, 5);
		serve(s);
	}
}

static uint64_t retrieve(unsigned timeout_ms)
{
	struct kvf_op op;

	rig_tokens(&m.rig, 1, TOKENS);
	rig_prep(&m.rig, &op, KVF_OP_RETRIEVE, 0, TOKENS);
	if (timeout_ms)
		op.deadline_ns = kvf_now_ns(m.rig.engine) + timeout_ms * KVF_NS_PER_MS;
	return rig_submit(&m.rig, &op);
}

/* The only operation that is under way; false: it goes on. */
static bool ended(struct stuck *s, uint64_t id, struct kvf_completion *c, unsigned ms)
{
	for (unsigned i = 0; i < ms; i++) {
		int n = kvf_poll(m.rig.engine, c, 1);

		CU_ASSERT_FATAL(n >= 0);
		if (n && c->kind == KVF_DONE && c->op_id == id)
			return true;
		serve(s);
		poll(NULL, 0, 1);
	}
	return false;
}

static void stuck_at(enum kvf_resp_state state)
{
	static const char *const settings[] = { "request_timeout", "600", "connection_timeout", "600", NULL };
	struct kvf_completion c;
	struct kvf_op op;
	struct stuck s;
	unsigned fds;
	uint64_t id;

	begin(&s, state);
	fds = descriptors_open(NULL);
	remote_open(&m, s.url, settings);
	for (unsigned i = 0; i < 200 && !there(state); i++)
		idle(&s, 5);
	CU_ASSERT_TRUE(there(state));
	/* A deadline. */
	id = retrieve(50);
	CU_ASSERT_TRUE_FATAL(ended(&s, id, &c, 30000));
	CU_ASSERT_EQUAL(c.tokens, 0);
	CU_ASSERT_TRUE(there(state));
	/* A cancel. */
	id = retrieve(0);
	CU_ASSERT_FALSE(ended(&s, id, &c, 20));
	CU_ASSERT_EQUAL(kvf_cancel(m.rig.engine, id), KVF_OK);
	CU_ASSERT_TRUE_FATAL(ended(&s, id, &c, 30000));
	CU_ASSERT_EQUAL(c.status, KVF_ECANCELED);
	CU_ASSERT_TRUE(there(state));
	/* The end of everything, with a retrieve and spills in the midst of it. */
	rig_tokens(&m.rig, 2, TOKENS);
	rig_compute(&m.rig, TOKENS);
	rig_prep(&m.rig, &op, KVF_OP_STORE, 0, TOKENS);
	CU_ASSERT_EQUAL(remote_run(&m, &op, 0).tokens, TOKENS);
	(void)retrieve(0);
	idle(&s, 20);
	kvf_seq_close(m.rig.seq);
	CU_ASSERT_EQUAL(kvf_verify(m.rig.engine), KVF_OK);
	CU_ASSERT_EQUAL(kvf_engine_shutdown(m.rig.engine, KVF_SHUTDOWN_CANCEL, KVF_NO_DEADLINE), KVF_OK);
	/* Without anything but what the engine says of itself: nobody has to guess when to look. */
	while (!kvf_engine_idle(m.rig.engine)) {
		struct pollfd p = { .fd = kvf_fd(m.rig.engine), .events = POLLIN };
		struct kvf_completion done[8];

		CU_ASSERT_EQUAL_FATAL(poll(&p, 1, 20000), 1);
		kvf_poll(m.rig.engine, done, 8);
	}
	CU_ASSERT_EQUAL(kvf_engine_close(m.rig.engine), KVF_OK);
	free(m.rig.kv);
	while (s.n > (state == KVF_RESP_CONNECTING ? 4 : 0))
		close(s.client[--s.n]);
	CU_ASSERT_EQUAL(descriptors_open(NULL), fds);
	end(&s);
}

static void test_connecting(void)
{
	stuck_at(KVF_RESP_CONNECTING);
}

static void test_securing(void)
{
#ifndef HAVE_LIBSSL
	kvf_test_skip("built without libssl");
#else
	stuck_at(KVF_RESP_SECURING);
#endif
}

static void test_greeting(void)
{
	stuck_at(KVF_RESP_GREETING);
}

static void test_ready(void)
{
	stuck_at(KVF_RESP_READY);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "connecting", test_connecting },
		{ "securing", test_securing },
		{ "greeting", test_greeting },
		{ "ready", test_ready },
	};

	return kvf_test_main("resp_states", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
