/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets as the Redis tier has them: what is asked of the kernel, what their ends look like. */
#include "tests/harness.h"
#include "tier/resp/io.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define PIECE (256u * 1024u)

static struct kvf_resp_io io;
static int peer = -1;

static void settle(short events)
{
	struct pollfd p = { .fd = io.fd, .events = events };

	CU_ASSERT_EQUAL(poll(&p, 1, 5000), 1);
}

/* Both ends of a TCP connection to an address of this machine. */
static void connect_to(const struct sockaddr *to, socklen_t n)
{
	struct sockaddr_storage addr;
	int listener = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc;

	memcpy(&addr, to, n);
	CU_ASSERT_FATAL(listener >= 0 && !bind(listener, (struct sockaddr *)(void *)&addr, n) && !listen(listener, 1) &&
			!getsockname(listener, (struct sockaddr *)(void *)&addr, &n));
	kvf_resp_io_init(&io, NULL, NULL);
	rc = kvf_resp_io_connect(&io, (struct sockaddr *)(void *)&addr, n);
	CU_ASSERT_FATAL(rc == KVF_OK || rc == KVF_EAGAIN);
	peer = accept(listener, NULL, NULL);
	close(listener);
	CU_ASSERT_FATAL(peer >= 0);
	settle(POLLOUT);
	CU_ASSERT_EQUAL(kvf_resp_io_connected(&io), KVF_OK);
}

static void connect_both(void)
{
	const struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	connect_to((const struct sockaddr *)(const void *)&addr, sizeof(addr));
}

static void end(void)
{
	kvf_resp_io_close(&io);
	CU_ASSERT_EQUAL(io.fd, -1);
	if (peer >= 0)
		close(peer);
	peer = -1;
}

/* An address of this machine that is not loopback. */
static bool interface_address(struct sockaddr_storage *out)
{
	struct ifaddrs *all, *i;

	if (getifaddrs(&all))
		return false;
	for (i = all; i; i = i->ifa_next)
		if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET && !(i->ifa_flags & IFF_LOOPBACK))
			break;
	if (i)
		memcpy(out, i->ifa_addr, sizeof(struct sockaddr_in));
	freeifaddrs(all);
	return i;
}

static bool can_bind_ipv6(void)
{
	const struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool fine = fd >= 0 && !bind(fd, (const struct sockaddr *)(const void *)&six, sizeof(six));

	if (fd >= 0)
		close(fd);
	return fine;
}

static int option(int level, int name)
{
	int value = -1;
	socklen_t n = sizeof(value);

	CU_ASSERT_EQUAL(getsockopt(io.fd, level, name, &value, &n), 0);
	return value;
}

static void test_options(void)
{
	connect_both();
	CU_ASSERT_EQUAL(option(IPPROTO_TCP, TCP_NODELAY), 1);
	CU_ASSERT_EQUAL(option(SOL_SOCKET, SO_KEEPALIVE), 1);
	/* Found out within half a minute. */
	CU_ASSERT(option(IPPROTO_TCP, TCP_KEEPIDLE) +
			  option(IPPROTO_TCP, TCP_KEEPINTVL) * option(IPPROTO_TCP, TCP_KEEPCNT) <=
		  30);
	end();
}

static void check_local(void)
{
	char name[16] = "";
	socklen_t n = sizeof(name);

	CU_ASSERT_EQUAL(option(IPPROTO_TCP, TCP_NOTSENT_LOWAT), 64 * 1024);
	CU_ASSERT_EQUAL(getsockopt(io.fd, IPPROTO_TCP, TCP_CONGESTION, name, &n), 0);
	CU_ASSERT_STRING_EQUAL(name, "reno");
}

static void test_loopback(void)
{
	const struct sockaddr_in other = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1) };
	const struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };

	connect_both();
	check_local();
	end();
	connect_to((const struct sockaddr *)(const void *)&other, sizeof(other));
	check_local();
	end();
	if (!can_bind_ipv6()) {
		kvf_test_skip("no IPv6 here");
		return;
	}
	connect_to((const struct sockaddr *)(const void *)&six, sizeof(six));
	check_local();
	end();
}

/* A server of this machine, by an address that others know it by. */
static void test_own_address(void)
{
	struct sockaddr_storage addr;

	if (!interface_address(&addr)) {
		kvf_test_skip("no address but loopback");
		return;
	}
	connect_to((const struct sockaddr *)(const void *)&addr, sizeof(struct sockaddr_in));
	check_local();
	end();
}

/* To other machines the connection keeps what the administrator chose. 198.51.100.0/24 is nobody's (RFC 5737). */
static void test_elsewhere(void)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(6379) };
	char name[16] = "", usual[16] = "";
	socklen_t n = sizeof(name);
	int plain = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CU_ASSERT_EQUAL_FATAL(inet_pton(AF_INET, "198.51.100.1", &addr.sin_addr), 1);
	CU_ASSERT_EQUAL(getsockopt(plain, IPPROTO_TCP, TCP_CONGESTION, usual, &n), 0);
	close(plain);
	kvf_resp_io_init(&io, NULL, NULL);
	if (kvf_resp_io_connect(&io, (struct sockaddr *)(void *)&addr, sizeof(addr)) != KVF_EAGAIN) {
		kvf_resp_io_close(&io);
		kvf_test_skip("no route to anywhere");
		return;
	}
	CU_ASSERT_EQUAL(option(IPPROTO_TCP, TCP_NOTSENT_LOWAT), 2 * 1024 * 1024);
	n = sizeof(name);
	CU_ASSERT_EQUAL(getsockopt(io.fd, IPPROTO_TCP, TCP_CONGESTION, name, &n), 0);
	CU_ASSERT_STRING_EQUAL(name, usual);
	end();
}

static void test_full(void)
{
	static uint8_t bytes[PIECE];
	struct iovec iov = { bytes, sizeof(bytes) };
	uint64_t sent = 0;
	int64_t n = 0;

	connect_both();
	/* Nobody reads: it is full some time, and says what to wait for. */
	while (sent < 1024u * (uint64_t)PIECE && (n = kvf_resp_io_send(&io, &iov, 1)) > 0)
		sent += (uint64_t)n;
	CU_ASSERT_EQUAL(n, KVF_EAGAIN);
	CU_ASSERT_EQUAL(io.want, KVF_WATCH_WRITE);
	while (sent) {
		ssize_t k = recv(peer, bytes, sizeof(bytes), 0);

		CU_ASSERT_FATAL(k > 0);
		sent -= (uint64_t)k;
	}
	settle(POLLOUT);
	CU_ASSERT(kvf_resp_io_send(&io, &iov, 1) > 0);
	end();
}

static void test_ends(void)
{
	struct linger hard = { .l_onoff = 1, .l_linger = 0 };
	char text[8] = "";
	struct iovec iov = { text, sizeof(text) };

	connect_both();
	CU_ASSERT_EQUAL(kvf_resp_io_recv(&io, &iov, 1), KVF_EAGAIN);
	CU_ASSERT_EQUAL(io.want, KVF_WATCH_READ);
	/* What was said before the end is read before it. */
	CU_ASSERT_EQUAL(send(peer, "+OK\r\n", 5, 0), 5);
	close(peer);
	peer = -1;
	settle(POLLIN);
	CU_ASSERT_EQUAL(kvf_resp_io_recv(&io, &iov, 1), 5);
	settle(POLLIN);
	CU_ASSERT_EQUAL(kvf_resp_io_recv(&io, &iov, 1), KVF_EIO);
	end();

	connect_both();
	CU_ASSERT_EQUAL(setsockopt(peer, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
	close(peer);
	peer = -1;
	settle(POLLIN);
	/* No SIGPIPE either: the program would not be here any more. */
	CU_ASSERT_EQUAL(kvf_resp_io_send(&io, &iov, 1), KVF_EIO);
	CU_ASSERT_EQUAL(kvf_resp_io_send(&io, &iov, 1), KVF_EIO);
	end();
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "options", test_options },
		{ "loopback", test_loopback },
		{ "own_address", test_own_address },
		{ "elsewhere", test_elsewhere },
		{ "full", test_full },
		{ "ends", test_ends },
	};

	return kvf_test_main("resp_io", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
