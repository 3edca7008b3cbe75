/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A name with several addresses, and one whose addresses change. The clock is the test's, the name server its own;
 * servers listen on 127.0.0.2, 127.0.0.3, ...: nobody does on 127.0.0.9, and who does on 127.0.0.8 takes no call.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/support/dns.h"
#include "tests/support/resp_rig.h"

#define PAYLOAD 64u
#define DEAD "127.0.0.9"
#define SILENT "127.0.0.8"

static struct resp_rig rig;
static struct dns dns;
static uint8_t slot[KVF_SLOT_HEADER_BYTES + PAYLOAD];
static int second; /* a listener of which the rig's server takes what comes in turn */
static int silent, filler[4];

static int listen_on(const char *address, uint16_t *port, int backlog)
{
	bool six = strchr(address, ':') != NULL;
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(*port) };
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(*port) };
	struct sockaddr *sa = six ? (struct sockaddr *)(void *)&v6 : (struct sockaddr *)(void *)&v4;
	socklen_t n = six ? sizeof(v6) : sizeof(v4);
	int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;

	inet_pton(sa->sa_family, address, six ? (void *)&v6.sin6_addr : (void *)&v4.sin_addr);
	if (fd >= 0 && (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) || bind(fd, sa, n) ||
			listen(fd, backlog) || getsockname(fd, sa, &n))) {
		close(fd);
		fd = -1;
	}
	if (fd >= 0)
		*port = ntohs(six ? v6.sin6_port : v4.sin_port);
	return fd;
}

/* A server on 127.0.0.2, and on `more` another one where that is not NULL. */
static bool begin(const char *more)
{
	uint16_t port = 0;

#ifndef HAVE_CARES
	kvf_test_skip("built without c-ares");
	return false;
#endif
	memset(&rig, 0, sizeof(rig));
	second = silent = -1;
	memset(filler, 0xff, sizeof(filler));
	if (!dns_begin(&dns, 0))
		return false;
	rig.listener = listen_on("127.0.0.2", &port, RESP_RIG_PEERS);
	CU_ASSERT_FATAL(rig.listener >= 0);
	if (more)
		second = listen_on(more, &port, RESP_RIG_PEERS);
	if (more && second < 0) {
		kvf_test_skip("nobody can listen on %s here", more);
		close(rig.listener);
		dns_end(&dns);
		return false;
	}
	snprintf(rig.path, sizeof(rig.path), "none");
	kvf_resp_options_init(&rig.opt);
	rig.opt.connections = 1;
	rig.opt.port = port;
	snprintf(rig.opt.host, sizeof(rig.opt.host), "kv.test");
	snprintf(rig.opt.name_servers, sizeof(rig.opt.name_servers), "%s", dns.servers);
	return true;
}

static void end(void)
{
	resp_rig_close(&rig);
	for (size_t i = 0; i < KVF_ARRAY_LEN(filler); i++)
		if (filler[i] >= 0)
			close(filler[i]);
	if (second >= 0)
		close(second);
	if (silent >= 0)
		close(silent);
	close(rig.listener);
	dns_end(&dns);
}

/* Connections to it wait for ever: its queue is full, and what comes is dropped. */
static void make_silent(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(rig.opt.port) };

	silent = listen_on(SILENT, &rig.opt.port, 0);
	CU_ASSERT_FATAL(silent >= 0);
	inet_pton(AF_INET, SILENT, &at.sin_addr);
	for (size_t i = 0; i < KVF_ARRAY_LEN(filler); i++) {
		filler[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		(void)connect(filler[i], (struct sockaddr *)(void *)&at, sizeof(at));
	}
}

static void addresses(const char *a, const char *b)
{
	dns.address[0] = a;
	dns.address[1] = b;
	dns.address[2] = NULL;
}

/* Until nothing happens any more at this time. */
static void serve(void)
{
	for (unsigned quiet = 0; quiet < 3; quiet++) {
		size_t moved = 0;
		int first = rig.listener;

		dns_serve(&dns);
		usleep(200);
		resp_rig_settle(&rig);
		resp_peer_accept(&rig);
		rig.listener = second;
		if (second >= 0)
			resp_peer_accept(&rig);
		rig.listener = first;
		for (unsigned i = 0; i < RESP_RIG_PEERS; i++) {
			moved += resp_peer_take(&rig, &rig.peer[i], SIZE_MAX);
			moved += resp_peer_give(&rig, &rig.peer[i], SIZE_MAX);
		}
		if (moved || kvf_resp_resolver_busy(&rig.tier->resolver))
			quiet = dns.mute && !moved ? quiet : 0;
	}
}

static void open_rig(void)
{
	CU_ASSERT_TRUE_FATAL(resp_rig_open(&rig, PAYLOAD));
	serve();
}

/* Time passes in steps of 10 ms. Until the ask is done: how much of it; or `most`. */
static unsigned ms_until(const struct resp_ask *a, unsigned most)
{
	unsigned ms = 0;

	for (; !a->done && ms < most; ms += 10) {
		rig.now_ns += 10 * KVF_NS_PER_MS;
		serve();
	}
	return ms;
}

static void pass(unsigned ms)
{
	rig.now_ns += ms * KVF_NS_PER_MS;
	serve();
}

/* One request, and within how much time it is answered. */
static int ask(unsigned most_ms)
{
	struct resp_ask a;
	unsigned ms;

	resp_rig_submit(&rig, &a, KVF_REQ_EXISTS, 1, slot);
	serve();
	ms = ms_until(&a, 60000);
	CU_ASSERT_EQUAL(a.done, 1);
	CU_ASSERT(ms <= most_ms);
	if (ms > most_ms)
		fprintf(stderr, "answered after %u ms\n", ms);
	return a.status;
}

/* Where a connection goes, or went. */
static const char *where_is(unsigned conn)
{
	static char text[64];
	const struct kvf_resp_address *a = &rig.tier->conn[conn].address;

	if (a->sa.ss_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)&a->sa)->sin_addr, text, sizeof(text));
	else
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)&a->sa)->sin6_addr, text,
			  sizeof(text));
	return text;
}

static const char *where(void)
{
	return where_is(0);
}

/* The connections for values too. */
static void get_from(const char *address)
{
	struct resp_ask a;

	resp_rig_submit(&rig, &a, KVF_REQ_GET, 1, slot);
	serve();
	CU_ASSERT(a.done == 1 && a.status == KVF_ENOENT);
	CU_ASSERT_STRING_EQUAL(where_is(0), address);
	CU_ASSERT_STRING_EQUAL(where_is(1), address);
}

static void drop_all(void)
{
	for (unsigned i = 0; i < RESP_RIG_PEERS; i++)
		resp_peer_close(&rig.peer[i]);
	serve();
}

static unsigned errors(enum kvf_resp_trouble kind)
{
	return (unsigned)rig.tier->errors[kind];
}

/* The next one at once, in the order of the answer, whichever way a name server turns it; no request fails. */
static void test_first_refuses(void)
{
	if (!begin(NULL))
		return;
	addresses(DEAD, "127.0.0.2");
	open_rig();
	CU_ASSERT_EQUAL(ask(0), KVF_ENOENT);
	CU_ASSERT_EQUAL(rig.tier->connects, 1);
	CU_ASSERT_STRING_EQUAL(where(), "127.0.0.2");
	CU_ASSERT_EQUAL(rig.tier->backoff_ns, 0);
	/* Where it works, it stays. */
	for (unsigned i = 0; i < 4; i++) {
		if (i % 2)
			addresses(DEAD, "127.0.0.2");
		else
			addresses("127.0.0.2", DEAD);
		pass(2000);
		drop_all();
		CU_ASSERT_EQUAL(ask(0), KVF_ENOENT);
	}
	CU_ASSERT_EQUAL(errors(KVF_RESP_T_REFUSED), 1);
	end();
}

/* An IPv6 address nobody listens on, before or behind one of IPv4. */
static void test_both_families(void)
{
	if (!begin(NULL))
		return;
	addresses("::1", "127.0.0.2");
	open_rig();
	CU_ASSERT_EQUAL(ask(0), KVF_ENOENT);
	CU_ASSERT_STRING_EQUAL(where(), "127.0.0.2");
	end();
	if (!begin("::1"))
		return;
	addresses("::1", DEAD);
	open_rig();
	CU_ASSERT_EQUAL(ask(0), KVF_ENOENT);
	CU_ASSERT_STRING_EQUAL(where(), "::1");
	end();
}

/* All addresses share the time there is to connect, but each has a second. */
static void test_first_is_silent(void)
{
	if (!begin(NULL))
		return;
	make_silent();
	addresses(SILENT, "127.0.0.2");
	rig.opt.stall_timeout_ns = 4 * KVF_NS_PER_S;
	open_rig();
	CU_ASSERT_EQUAL(ask(2000), KVF_ENOENT);
	CU_ASSERT_STRING_EQUAL(where(), "127.0.0.2");
	CU_ASSERT_EQUAL(errors(KVF_RESP_T_TIMEOUT), 1);
	end();
	/* It is the only one. */
	if (!begin(NULL))
		return;
	make_silent();
	addresses(SILENT, NULL);
	rig.opt.stall_timeout_ns = 4 * KVF_NS_PER_S;
	open_rig();
	CU_ASSERT_EQUAL(ask(4000), KVF_EIO);
	end();
}

/* It takes the call, and says nothing. */
static void test_first_hangs(void)
{
	struct resp_ask a;

	if (!begin(NULL))
		return;
	silent = listen_on(SILENT, &rig.opt.port, 8);
	addresses(SILENT, "127.0.0.2");
	rig.opt.stall_timeout_ns = KVF_NS_PER_S / 2;
	open_rig();
	resp_rig_submit(&rig, &a, KVF_REQ_EXISTS, 1, slot);
	serve();
	CU_ASSERT_EQUAL(ms_until(&a, 60000), 500);
	CU_ASSERT_EQUAL(a.status, KVF_ENOENT);
	CU_ASSERT_STRING_EQUAL(where(), "127.0.0.2");
	end();
}

/* Connections that are made anew go by what the name says then, and the others follow. */
static void test_moves(void)
{
	unsigned asked;

	if (!begin("127.0.0.3"))
		return;
	addresses("127.0.0.2", NULL);
	open_rig();
	CU_ASSERT_EQUAL(ask(0), KVF_ENOENT);
	get_from("127.0.0.2");
	asked = dns.asked;
	pass(60000);
	CU_ASSERT_EQUAL(ask(0), KVF_ENOENT);
	/* Nothing was lost: no reason to ask. */
	CU_ASSERT_EQUAL(dns.asked, asked);
	addresses("127.0.0.3", NULL);
	/* One connection of two, while the old server is still there. */
	resp_peer_close(&rig.peer[0]);
	serve();
	CU_ASSERT_EQUAL(ask(0), KVF_ENOENT);
	CU_ASSERT(dns.asked > asked);
	get_from("127.0.0.3");
	CU_ASSERT_STRING_EQUAL(where(), "127.0.0.3");
	CU_ASSERT_EQUAL(rig.tier->connects, 4);
	CU_ASSERT_EQUAL(errors(KVF_RESP_T_REFUSED), 0);
	end();
}

/* One connection hangs, and the other address is of no use: those that work are left alone. */
static void test_one_hangs(void)
{
	struct resp_ask a;

	if (!begin(NULL))
		return;
	addresses("127.0.0.2", DEAD);
	rig.opt.stall_timeout_ns = KVF_NS_PER_S;
	open_rig();
	CU_ASSERT_EQUAL(ask(0), KVF_ENOENT);
	get_from("127.0.0.2");
	CU_ASSERT_EQUAL(rig.tier->connects, 2);
	resp_rig_submit(&rig, &a, KVF_REQ_GET, 1, slot);
	resp_rig_settle(&rig);
	rig.now_ns += KVF_NS_PER_S;
	resp_rig_settle(&rig);
	CU_ASSERT(a.done == 1 && a.status == KVF_ETIMEDOUT);
	CU_ASSERT_EQUAL(ask(0), KVF_ENOENT);
	CU_ASSERT_EQUAL(rig.tier->connects, 2);
	/* The one that hung finds nobody at the other address, and after a pause its server again. */
	resp_rig_submit(&rig, &a, KVF_REQ_GET, 1, slot);
	serve();
	CU_ASSERT(a.done == 1 && a.status == KVF_EIO);
	pass(1000);
	get_from("127.0.0.2");
	CU_ASSERT_EQUAL(rig.tier->connects, 3);
	end();
}

/* A name that is gone, or that nobody can be asked for, leaves the address that was known; one that was never there
 * is found when it comes. */
static void test_name_gone(void)
{
	if (!begin("127.0.0.3"))
		return;
	addresses(NULL, NULL);
	open_rig();
	CU_ASSERT_EQUAL(ask(0), KVF_EIO);
	CU_ASSERT(errors(KVF_RESP_T_RESOLVE) > 0);
	addresses("127.0.0.2", NULL);
	pass(100);
	CU_ASSERT_EQUAL(ask(0), KVF_ENOENT);
	addresses(NULL, NULL);
	pass(2000);
	drop_all();
	CU_ASSERT_EQUAL(ask(0), KVF_ENOENT);
	CU_ASSERT_STRING_EQUAL(where(), "127.0.0.2");
	/* Nobody answers: 200 ms are waited for it. */
	dns.mute = true;
	pass(2000);
	drop_all();
	CU_ASSERT_EQUAL(ask(210), KVF_ENOENT);
	CU_ASSERT_STRING_EQUAL(where(), "127.0.0.2");
	end();
}

/* The name server itself is gone, and back: it is found again, and what it says is new. */
static void test_name_server_gone(void)
{
	unsigned resolve;
	uint16_t port;

	if (!begin("127.0.0.3"))
		return;
	addresses("127.0.0.2", NULL);
	open_rig();
	CU_ASSERT_EQUAL(ask(0), KVF_ENOENT);
	port = dns.port;
	dns_end(&dns);
	for (unsigned i = 0; i < 3; i++) {
		resolve = errors(KVF_RESP_T_RESOLVE);
		pass(2000);
		drop_all();
		CU_ASSERT_EQUAL(ask(210), KVF_ENOENT);
		CU_ASSERT_STRING_EQUAL(where(), "127.0.0.2");
		CU_ASSERT_EQUAL(errors(KVF_RESP_T_RESOLVE), resolve + 1);
	}
	CU_ASSERT_TRUE_FATAL(dns_begin(&dns, port));
	addresses("127.0.0.3", NULL);
	pass(2000);
	drop_all();
	CU_ASSERT_EQUAL(ask(210), KVF_ENOENT);
	CU_ASSERT_STRING_EQUAL(where(), "127.0.0.3");
	end();
}

/* One failure for a round through all of them, and a pause before the next. */
static void test_all_dead(void)
{
	uint64_t refused;

	if (!begin(NULL))
		return;
	addresses(DEAD, "127.0.0.10");
	open_rig();
	CU_ASSERT_EQUAL(ask(0), KVF_EIO);
	CU_ASSERT(rig.tier->backoff_ns > 0);
	refused = errors(KVF_RESP_T_REFUSED);
	CU_ASSERT(refused >= 2 && refused <= 8);
	/* As fast as they can be asked. */
	for (unsigned i = 0; i < 100; i++)
		CU_ASSERT_EQUAL(ask(0), KVF_EIO);
	CU_ASSERT_EQUAL(errors(KVF_RESP_T_REFUSED), refused);
	for (unsigned i = 0; i < 200; i++) {
		pass(10);
		CU_ASSERT_EQUAL(ask(0), KVF_EIO);
	}
	/* 20, 40, 80, ... 1000 ms apart in two seconds, two addresses for one or two connections each. */
	CU_ASSERT(errors(KVF_RESP_T_REFUSED) - refused <= 8 * 4);
	CU_ASSERT(errors(KVF_RESP_T_REFUSED) - refused >= 4 * 2);
	addresses(DEAD, "127.0.0.2");
	pass(1000);
	(void)ask(0);
	pass(1000);
	CU_ASSERT_EQUAL(ask(0), KVF_ENOENT);
	end();
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "first_refuses", test_first_refuses },
		{ "both_families", test_both_families },
		{ "first_is_silent", test_first_is_silent },
		{ "first_hangs", test_first_hangs },
		{ "moves", test_moves },
		{ "one_hangs", test_one_hangs },
		{ "name_gone", test_name_gone },
		{ "name_server_gone", test_name_server_gone },
		{ "all_dead", test_all_dead },
	};

	return kvf_test_main("resp_names", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
