/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Redis tier over TLS beside a bare blocking RESP loop on OpenSSL as it comes: GET and SET as raw values without
 * side record, then with LMCache's metadata and ours. A wrong option lists them.
 */
#include <stdio.h>

#include "tests/support/resp_bench.h"

#ifdef HAVE_LIBSSL

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

static int fd = -1;
static SSL_CTX *ctx;
static SSL *ssl;

/* Believes anybody: whom, is asked once, before anything is measured. */
static bool bare_open(int port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int on = 1;

	addr.sin_port = htons((uint16_t)port);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)(void *)&addr, sizeof(addr)) ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)))
		return false;
	ctx = SSL_CTX_new(TLS_client_method());
	ssl = ctx ? SSL_new(ctx) : NULL;
	return ssl && SSL_set_fd(ssl, fd) == 1 && SSL_connect(ssl) == 1;
}

static void bare_close(void)
{
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	ssl = NULL;
	ctx = NULL;
	if (fd >= 0)
		close(fd);
	fd = -1;
}

static bool put(const void *p, size_t n)
{
	size_t done;

	return SSL_write_ex(ssl, p, n, &done) == 1 && done == n;
}

/* As much as there is, up to n; 0: it broke. */
static size_t take(void *p, size_t n)
{
	size_t got;

	return SSL_read_ex(ssl, p, n, &got) == 1 ? got : 0;
}

static bool take_all(uint8_t *p, size_t n)
{
	while (n) {
		size_t k = take(p, n);

		if (!k)
			return false;
		p += k;
		n -= k;
	}
	return true;
}

static bool bare_set(unsigned key, const uint8_t *value, size_t n)
{
	char head[256];
	uint8_t answer[5];
	int len = snprintf(head, sizeof(head), "*3\r\n$3\r\nSET\r\n$6\r\nbare-%u\r\n$%zu\r\n", key, n);

	return put(head, (size_t)len) && put(value, n) && put("\r\n", 2) && take_all(answer, 5) && answer[0] == '+';
}

static bool bare_get(unsigned key, uint8_t *into, size_t size)
{
	char text[64];
	uint8_t c = 0;
	int len = snprintf(text, sizeof(text), "*2\r\n$3\r\nGET\r\n$6\r\nbare-%u\r\n", key);

	if (!put(text, (size_t)len))
		return false;
	while (c != '\n')
		if (!take(&c, 1))
			return false;
	/* The CRLF behind the value has room there too. */
	return take_all(into, size + 2);
}

int main(int argc, char **argv)
{
	static const struct resp_bench_client client = { "bare", bare_open, bare_close, bare_set, bare_get, true };

	return resp_bench_main("bench_resp_tls", &client, argc, argv);
}

#else

int main(void)
{
	fprintf(stderr, "bench_resp_tls: skipped: no libssl when this was configured\n");
	return 77;
}

#endif
