/* SPDX-License-Identifier: Apache-2.0 */
/* See tls_relay.h. */
#ifdef HAVE_LIBSSL

#include "tests/support/tls_relay.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/support/certs.h"

#define KEY_UPDATE 24

static void count_keys(int sent, int version, int type, const void *buf, size_t n, SSL *ssl, void *arg)
{
	struct tls_relay *r = arg;

	(void)version;
	(void)ssl;
	if (!sent && type == SSL3_RT_HANDSHAKE && n && *(const uint8_t *)buf == KEY_UPDATE)
		r->new_keys++;
}

static bool make_ctx(struct tls_relay *r, int version)
{
	char cert[128], key[128];

	if (kvf_test_tmpdir(r->dir, sizeof(r->dir)) || !certs_make_ca(r->dir, "ca") ||
	    !certs_make(r->dir, "ca", "server", "IP:127.0.0.1"))
		return false;
	snprintf(r->ca, sizeof(r->ca), "%s/ca.pem", r->dir);
	snprintf(cert, sizeof(cert), "%s/server.pem", r->dir);
	snprintf(key, sizeof(key), "%s/server.key", r->dir);
	r->ctx = SSL_CTX_new(TLS_server_method());
	SSL_CTX_set_msg_callback(r->ctx, count_keys);
	SSL_CTX_set_msg_callback_arg(r->ctx, r);
	return SSL_CTX_set_max_proto_version(r->ctx, version) == 1 &&
	       SSL_CTX_use_certificate_chain_file(r->ctx, cert) == 1 &&
	       SSL_CTX_use_PrivateKey_file(r->ctx, key, SSL_FILETYPE_PEM) == 1;
}

bool tls_relay_begin(struct tls_relay *r, struct resp_rig *rig, int version)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(at);

	memset(r, 0, sizeof(*r));
	for (unsigned i = 0; i < TLS_RELAY_CONNS; i++)
		r->conn[i].fd = r->conn[i].plain = -1;
	r->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (!make_ctx(r, version) || r->listener < 0 || bind(r->listener, (struct sockaddr *)(void *)&at, n) ||
	    listen(r->listener, TLS_RELAY_CONNS) || getsockname(r->listener, (struct sockaddr *)(void *)&at, &n)) {
		CU_FAIL("no TLS in front of the rig");
		return false;
	}
	r->port = ntohs(at.sin_port);
	kvf_resp_options_init(&rig->opt);
	snprintf(rig->opt.host, sizeof(rig->opt.host), "127.0.0.1");
	rig->opt.port = r->port;
	rig->opt.tls = true;
	rig->opt.connections = 1;
	snprintf(rig->opt.ca_file, sizeof(rig->opt.ca_file), "%s", r->ca);
	return true;
}

void tls_relay_cut(struct tls_relay_conn *c)
{
	if (c->fd >= 0)
		close(c->fd);
	if (c->plain >= 0)
		close(c->plain);
	SSL_free(c->ssl);
	memset(c, 0, sizeof(*c));
	c->fd = c->plain = -1;
}

void tls_relay_end(struct tls_relay *r)
{
	for (unsigned i = 0; i < TLS_RELAY_CONNS; i++)
		tls_relay_cut(&r->conn[i]);
	SSL_CTX_free(r->ctx);
	close(r->listener);
}

static void take_new(struct tls_relay *r, struct resp_rig *rig)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct tls_relay_conn *c = &r->conn[r->n % TLS_RELAY_CONNS];
	int fd = accept4(r->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;

	if (fd < 0)
		return;
	tls_relay_cut(c);
	r->n++;
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", rig->path);
	c->fd = fd;
	/* Or a few bytes wait 40 ms for what was sent before. */
	CU_ASSERT_EQUAL(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
	c->plain = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	CU_ASSERT_EQUAL(connect(c->plain, (struct sockaddr *)(void *)&un, sizeof(un)), 0);
	c->ssl = SSL_new(r->ctx);
	c->in = BIO_new(BIO_s_mem());
	c->out = BIO_new(BIO_s_mem());
	SSL_set_bio(c->ssl, c->in, c->out);
	SSL_set_accept_state(c->ssl);
}

/* What is on the wire, from and to the client. */
static bool wire(struct tls_relay *r, struct tls_relay_conn *c, size_t n)
{
	char buf[65536], *at;
	ssize_t got = recv(c->fd, buf, n < sizeof(buf) ? n : sizeof(buf), 0);
	size_t waits = (size_t)BIO_get_mem_data(c->out, &at);
	ssize_t put = waits ? send(c->fd, at, waits < n ? waits : n, MSG_NOSIGNAL) : 0;

	if (got > 0)
		BIO_write(c->in, buf, (int)got);
	for (ssize_t left = put; left > 0;)
		left -= BIO_read(c->out, buf, left < (ssize_t)sizeof(buf) ? (int)left : (int)sizeof(buf));
	if (put > 0)
		r->to_client += (uint64_t)put;
	if (got != 0)
		return got > 0 || put > 0;
	tls_relay_cut(c);
	return true;
}

/* What is in it, from and to the rig. */
static bool inside(struct tls_relay_conn *c)
{
	char buf[16384];
	bool moved = false;
	size_t n;

	while (SSL_read_ex(c->ssl, buf, sizeof(buf), &n) == 1) {
		CU_ASSERT_EQUAL(send(c->plain, buf, n, MSG_NOSIGNAL), (ssize_t)n);
		moved = true;
	}
	/* One record at a time, when the one before is gone. */
	if (SSL_is_init_finished(c->ssl) && !BIO_pending(c->out) && !SSL_get_shutdown(c->ssl)) {
		ssize_t got = recv(c->plain, buf, sizeof(buf), 0);

		if (got > 0) {
			CU_ASSERT_EQUAL(SSL_write(c->ssl, buf, (int)got), (int)got);
			moved = true;
		}
	}
	ERR_clear_error();
	return moved;
}

bool tls_relay_step(struct tls_relay *r, struct resp_rig *rig, size_t n)
{
	bool moved = false;

	take_new(r, rig);
	for (unsigned i = 0; i < TLS_RELAY_CONNS; i++) {
		struct tls_relay_conn *c = &r->conn[i];

		if (c->fd >= 0)
			moved |= wire(r, c, n);
		if (c->fd >= 0)
			moved |= inside(c);
	}
	return moved;
}

#else

typedef int tls_relay_nothing; /* a file with nothing in it is no C */

#endif
