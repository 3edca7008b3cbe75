/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Redis tier beside a bare blocking RESP loop, the least that a client can do: GET and SET as raw values without
 * side record (the bare loop's very commands), then with LMCache's metadata and ours. A wrong option lists them.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/support/resp_bench.h"

static int bare = -1;

static bool bare_open(int port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int on = 1;

	addr.sin_port = htons((uint16_t)port);
	bare = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return bare >= 0 && !connect(bare, (struct sockaddr *)(void *)&addr, sizeof(addr)) &&
	       !setsockopt(bare, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void bare_close(void)
{
	if (bare >= 0)
		close(bare);
	bare = -1;
}

static bool bare_write(struct iovec *iov, int n)
{
	while (n) {
		ssize_t k = writev(bare, iov, n);

		if (k < 0)
			return false;
		while (n && (size_t)k >= iov->iov_len) {
			k -= (ssize_t)iov->iov_len;
			iov++;
			n--;
		}
		if (n) {
			iov->iov_base = (char *)iov->iov_base + k;
			iov->iov_len -= (size_t)k;
		}
	}
	return true;
}

static bool bare_set(unsigned key, const uint8_t *value, size_t n)
{
	char head[256], answer[16];
	char end[] = "\r\n";
	struct iovec iov[3] = { { head, 0 }, { (void *)(uintptr_t)value, n }, { end, 2 } };

	iov[0].iov_len = (size_t)snprintf(head, sizeof(head), "*3\r\n$3\r\nSET\r\n$6\r\nbare-%u\r\n$%zu\r\n", key, n);
	return bare_write(iov, 3) && recv(bare, answer, 5, MSG_WAITALL) == 5 && answer[0] == '+';
}

static bool bare_get(unsigned key, uint8_t *into, size_t size)
{
	char head[64], text[64];
	size_t left = size + 2, n = 0;
	int len = snprintf(text, sizeof(text), "*2\r\n$3\r\nGET\r\n$6\r\nbare-%u\r\n", key);
	struct iovec iov = { text, (size_t)len };

	if (!bare_write(&iov, 1))
		return false;
	while (n < 2 || head[n - 1] != '\n')
		if (n == sizeof(head) || recv(bare, head + n++, 1, 0) != 1)
			return false;
	/* The CRLF behind the value has room there too. */
	while (left) {
		ssize_t k = recv(bare, into, left, 0);

		if (k <= 0)
			return false;
		into += k;
		left -= (size_t)k;
	}
	return true;
}

int main(int argc, char **argv)
{
	static const struct resp_bench_client client = { "bare", bare_open, bare_close, bare_set, bare_get, false };

	return resp_bench_main("bench_resp", &client, argc, argv);
}
