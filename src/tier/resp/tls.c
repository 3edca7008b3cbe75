/* SPDX-License-Identifier: Apache-2.0 */
/* TLS by OpenSSL. See tls.h. */
#include "tier/resp/tls.h"

#include "base/report.h"

#ifdef HAVE_LIBSSL

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/compiler.h"
#include "tier/resp/tls_ctx.h"
#include "tier/resp/tls_errors.h"

struct kvf_resp_tls {
	struct kvf_mem *mem;
	struct kvf_resp_tls_ctx ctx;
	BIO_METHOD *bio;
	bool verify;
	bool kept; /* the files that are there now cannot be used */
	bool name_is_address;
	uint64_t rekey_bytes;
	char name[KVF_RESP_TEXT];
};

/* Above what it gives us, a call takes at most so much from the network: a peer that never comes to the point would
 * keep us in it. What is left is an event again. */
#define BEYOND 65536u

/* A peer that shall have encrypted so much with one key is asked for another, and we take one too: well below the
 * 2^24.5 records that AES-GCM is good for. */
#define REKEY_BYTES (UINT64_C(64) << 30)

#define LATE 24576u /* a record and some words of TLS itself */

struct kvf_resp_tls_conn {
	struct kvf_resp_tls *tls;
	SSL *ssl;
	uint64_t room;	   /* this call may still read */
	uint64_t moved;	   /* since the last new key */
	bool broken;	   /* nothing may be said any more */
	const char *why;   /* what OpenSSL said of it; NULL: nothing */
	/*
	 * What the socket did not take of a record. OpenSSL is never told: with a record half written it fails when
	 * it must answer the other end's new keys, or when less than what is missing is offered. `owed` of the bytes
	 * that were offered are in it, and are not called sent before it is empty.
	 */
	uint32_t late_at, late_n, owed;
	char late[LATE];
};

/* ---- the BIO ---- */

static int bio_result(BIO *bio, ssize_t n, bool reading)
{
	BIO_clear_retry_flags(bio);
	if (n == -EAGAIN || n == -EINTR) {
		if (reading)
			BIO_set_retry_read(bio);
		else
			BIO_set_retry_write(bio);
	}
	return n < 0 ? -1 : (int)n;
}

static int bio_read(BIO *bio, char *buf, int n)
{
	struct kvf_resp_io *io = BIO_get_data(bio);
	struct iovec iov = { buf, (size_t)n };
	ssize_t got = -EAGAIN;

	if (io->tls->room)
		got = io->net->recv(io, &iov, 1);
	if (got > 0)
		io->tls->room -= kvf_min_u64(io->tls->room, (uint64_t)got);
	return bio_result(bio, got, true);
}

/* Sends what is late. Bytes left, or -errno. */
static ssize_t flush(struct kvf_resp_io *io)
{
	struct kvf_resp_tls_conn *conn = io->tls;

	while (conn->late_n) {
		struct iovec iov = { conn->late + conn->late_at, conn->late_n };
		ssize_t put = io->net->send(io, &iov, 1);

		if (put == -EAGAIN || put == -EINTR)
			break;
		if (put < 0)
			return put;
		conn->late_at += (uint32_t)put;
		conn->late_n -= (uint32_t)put;
	}
	return conn->late_n;
}

/* What remains of buf[0..n) behind `put` of it waits; all of it, or nothing where there is no room. */
static ssize_t append(struct kvf_resp_tls_conn *conn, const char *buf, size_t n, size_t put)
{
	if (conn->late_n + n - put > LATE)
		return put ? (ssize_t)put : -EAGAIN;
	memmove(conn->late, conn->late + conn->late_at, conn->late_n);
	memcpy(conn->late + conn->late_n, buf + put, n - put);
	conn->late_at = 0;
	conn->late_n += (uint32_t)(n - put);
	return (ssize_t)n;
}

static int bio_write(BIO *bio, const char *buf, int n)
{
	struct kvf_resp_io *io = BIO_get_data(bio);
	struct iovec iov = { (void *)(uintptr_t)buf, (size_t)n };
	ssize_t put = flush(io);

	if (put > 0)
		put = -EAGAIN;
	else if (!put)
		put = io->net->send(io, &iov, 1);
	if (put == -EAGAIN || put == -EINTR)
		put = 0;
	if (put >= 0 && put < n)
		put = append(io->tls, buf, (size_t)n, (size_t)put);
	return bio_result(bio, put, false);
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	(void)bio;
	(void)num;
	(void)ptr;
	return cmd == BIO_CTRL_FLUSH;
}

static int bio_create(BIO *bio)
{
	BIO_set_init(bio, 1);
	return 1;
}

static BIO_METHOD *make_bio(void)
{
	/* No number of its own: there are only 127 for a process. */
	BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "kvferry socket");

	if (m && BIO_meth_set_read(m, bio_read) && BIO_meth_set_write(m, bio_write) && BIO_meth_set_ctrl(m, bio_ctrl) &&
	    BIO_meth_set_create(m, bio_create))
		return m;
	BIO_meth_free(m);
	return NULL;
}

/* ---- settings ---- */

static void choose_name(struct kvf_resp_tls *tls, const struct kvf_resp_options *opt)
{
	const char *name = opt->server_name[0] ? opt->server_name : opt->host;
	uint8_t address[16];
	size_t n;

	snprintf(tls->name, sizeof(tls->name), "%s", name);
	/* The root's dot is no part of a name in a certificate. */
	n = strlen(tls->name);
	if (n > 1 && tls->name[n - 1] == '.')
		tls->name[n - 1] = '\0';
	tls->name_is_address = inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
}

int kvf_resp_tls_new(struct kvf_mem *mem, const struct kvf_resp_options *opt, struct kvf_report *report,
		     struct kvf_resp_tls **out)
{
	struct kvf_resp_tls *tls = kvf_mem_zalloc(mem, sizeof(*tls));
	struct kvf_resp_tls_errors host;
	char why[KVF_RESP_TLS_WHY];
	int rc = KVF_ENOMEM;

	if (!tls)
		return rc;
	tls->mem = mem;
	tls->verify = opt->tls_verify;
	tls->rekey_bytes = opt->tls_rekey_bytes ? opt->tls_rekey_bytes : REKEY_BYTES;
	choose_name(tls, opt);
	kvf_resp_tls_errors_keep(&host);
	tls->bio = make_bio();
	if (tls->bio)
		rc = kvf_resp_tls_ctx_open(&tls->ctx, opt, why, sizeof(why));
	kvf_resp_tls_errors_give_back(&host);
	if (rc == KVF_EIO)
		kvf_report_add(report, KVF_ERROR, "%s", why);
	if (!rc && !tls->name[0] && tls->verify) {
		kvf_report_add(report, KVF_ERROR,
			       "kvf_tls_server_name: missing; without a host there is no name to check");
		rc = KVF_EINVAL;
	}
	if (rc) {
		kvf_resp_tls_free(tls);
		return rc;
	}
	*out = tls;
	return KVF_OK;
}

void kvf_resp_tls_free(struct kvf_resp_tls *tls)
{
	if (!tls)
		return;
	kvf_resp_tls_ctx_close(&tls->ctx);
	BIO_meth_free(tls->bio);
	kvf_mem_free(tls->mem, tls, sizeof(*tls));
}

enum kvf_resp_tls_renewal kvf_resp_tls_renew(struct kvf_resp_tls *tls, bool *news, char *why, size_t why_size)
{
	struct kvf_resp_tls_errors host;
	enum kvf_resp_tls_renewal renewal;

	kvf_resp_tls_errors_keep(&host);
	renewal = kvf_resp_tls_ctx_renew(&tls->ctx, why, why_size);
	kvf_resp_tls_errors_give_back(&host);
	*news = renewal != KVF_RESP_TLS_SAME && tls->kept != (renewal == KVF_RESP_TLS_KEPT);
	if (*news)
		tls->kept = !tls->kept;
	return renewal;
}

/* ---- a connection ---- */

static bool set_name(struct kvf_resp_tls *tls, SSL *ssl)
{
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	if (tls->name_is_address)
		return !tls->verify || X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), tls->name);
	if (!tls->name[0])
		return true;
	return SSL_set_tlsext_host_name(ssl, tls->name) == 1 && (!tls->verify || SSL_set1_host(ssl, tls->name) == 1);
}

static bool begin(struct kvf_resp_tls_conn *conn, struct kvf_resp_io *io)
{
	BIO *bio = BIO_new(conn->tls->bio);

	conn->ssl = SSL_new(conn->tls->ctx.ssl);
	if (!conn->ssl || !bio || !set_name(conn->tls, conn->ssl)) {
		BIO_free(bio);
		SSL_free(conn->ssl);
		return false;
	}
	BIO_set_data(bio, io);
	SSL_set_bio(conn->ssl, bio, bio);
	SSL_set_connect_state(conn->ssl);
	return true;
}

int kvf_resp_tls_begin(struct kvf_resp_tls *tls, struct kvf_resp_io *io)
{
	struct kvf_resp_tls_conn *conn = kvf_mem_zalloc(tls->mem, sizeof(*conn));
	struct kvf_resp_tls_errors host;
	bool begun;

	if (!conn)
		return KVF_ENOMEM;
	conn->tls = tls;
	kvf_resp_tls_errors_keep(&host);
	begun = begin(conn, io);
	kvf_resp_tls_errors_give_back(&host);
	if (!begun) {
		kvf_mem_free(tls->mem, conn, sizeof(*conn));
		return KVF_ENOMEM;
	}
	io->tls = conn;
	return KVF_OK;
}

void kvf_resp_tls_end(struct kvf_resp_io *io)
{
	struct kvf_resp_tls_conn *conn = io->tls;
	struct kvf_resp_tls_errors host;

	kvf_resp_tls_errors_keep(&host);
	/* Says good-bye if there is room for it; nobody waits for the answer. */
	if (!conn->broken && SSL_is_init_finished(conn->ssl))
		(void)SSL_shutdown(conn->ssl);
	SSL_free(conn->ssl);
	kvf_resp_tls_errors_give_back(&host);
	kvf_mem_free(conn->tls->mem, conn, sizeof(*conn));
	io->tls = NULL;
}

/* KVF_EAGAIN with io->want, or KVF_EIO. */
static int outcome(struct kvf_resp_io *io, int rc)
{
	int error = SSL_get_error(io->tls->ssl, rc);

	if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
		io->want = error == SSL_ERROR_WANT_READ ? KVF_WATCH_READ : KVF_WATCH_WRITE;
		return KVF_EAGAIN;
	}
	io->tls->broken = true;
	/* A fixed text of OpenSSL's own. That the stream just ends is no error of TLS to anybody. */
	if (error == SSL_ERROR_SSL)
		io->tls->why = ERR_reason_error_string(ERR_peek_last_error());
	return KVF_EIO;
}

const char *kvf_resp_tls_why(const struct kvf_resp_io *io)
{
	return io->tls->why;
}

/* KVF_OK, KVF_EAGAIN (wait until more can be sent), KVF_EIO. */
static int said_all(struct kvf_resp_io *io)
{
	ssize_t left = io->tls->late_n ? flush(io) : 0;

	if (left > 0)
		io->want = KVF_WATCH_WRITE;
	io->tls->broken |= left < 0;
	return left < 0 ? KVF_EIO : left ? KVF_EAGAIN : KVF_OK;
}

int kvf_resp_tls_handshake(struct kvf_resp_io *io, char *why, size_t why_size)
{
	struct kvf_resp_tls_conn *conn = io->tls;
	struct kvf_resp_tls_errors host;
	long verdict;
	int rc;

	kvf_resp_tls_errors_keep(&host);
	conn->room = BEYOND;
	rc = SSL_do_handshake(conn->ssl);
	rc = rc == 1 ? KVF_OK : outcome(io, rc);
	kvf_resp_tls_errors_give_back(&host);
	if (rc != KVF_EIO && conn->late_n)
		rc = said_all(io);
	if (rc != KVF_EIO)
		return rc;
	verdict = conn->tls->verify ? SSL_get_verify_result(conn->ssl) : X509_V_OK;
	if (verdict != X509_V_OK)
		snprintf(why, why_size, "the server's certificate: %s", X509_verify_cert_error_string(verdict));
	else
		snprintf(why, why_size, "the TLS handshake failed%s%s", conn->why ? ": " : "",
			 conn->why ? conn->why : "");
	return rc;
}

/* Keys wear out. In vain: the next call tries again. */
static void rekey(struct kvf_resp_tls_conn *conn)
{
	if (conn->moved < conn->tls->rekey_bytes || SSL_version(conn->ssl) != TLS1_3_VERSION)
		return;
	if (SSL_key_update(conn->ssl, SSL_KEY_UPDATE_REQUESTED) == 1)
		conn->moved = 0;
	ERR_clear_error();
}

static int64_t receive(struct kvf_resp_io *io, const struct iovec *iov, int n)
{
	int64_t total = 0;

	for (int i = 0; i < n; i++) {
		size_t at = 0;

		while (at < iov[i].iov_len) {
			size_t got = 0;
			int rc = SSL_read_ex(io->tls->ssl, (char *)iov[i].iov_base + at, iov[i].iov_len - at, &got);

			if (rc != 1) {
				rc = outcome(io, rc);
				/* What came before an error counts; the error comes again. */
				return total ? total : rc;
			}
			at += got;
			total += (int64_t)got;
			/* Behind a value: one record is enough to go on with. */
			if (i)
				return total;
		}
	}
	return total;
}

int64_t kvf_resp_tls_recv(struct kvf_resp_io *io, const struct iovec *iov, int n)
{
	struct kvf_resp_tls_errors host;
	int64_t total;

	kvf_resp_tls_errors_keep(&host);
	io->tls->room = BEYOND;
	for (int i = 0; i < n; i++)
		io->tls->room += iov[i].iov_len;
	total = receive(io, iov, n);
	kvf_resp_tls_errors_give_back(&host);
	if (total > 0)
		io->tls->moved += (uint64_t)total;
	/* An answer of TLS's own goes, though nothing else is to be sent. */
	else if (total == KVF_EAGAIN && said_all(io) == KVF_EAGAIN)
		io->want |= KVF_WATCH_READ;
	return total;
}

/* What is late goes first, and what TLS itself has to say. */
static int say_first(struct kvf_resp_io *io)
{
	int rc = said_all(io);

	if (rc)
		return rc;
	rekey(io->tls);
	if (!SSL_in_init(io->tls->ssl))
		return KVF_OK;
	rc = SSL_do_handshake(io->tls->ssl);
	return rc == 1 ? said_all(io) : outcome(io, rc);
}

/* One record of p[0..n): the bytes that are gone, or why none. */
static int64_t transmit_record(struct kvf_resp_io *io, const char *p, size_t n)
{
	struct kvf_resp_tls_conn *conn = io->tls;
	size_t put = 0;
	int rc = say_first(io);

	if (rc)
		return rc;
	if (!conn->owed) {
		rc = SSL_write_ex(conn->ssl, p, n, &put);
		if (rc != 1)
			return outcome(io, rc);
		conn->moved += put;
		conn->owed = (uint32_t)put;
		rc = said_all(io);
		if (rc)
			return rc;
	}
	put = conn->owed;
	conn->owed = 0;
	return (int64_t)put;
}

static int64_t transmit(struct kvf_resp_io *io, const struct iovec *iov, int n)
{
	int64_t total = 0;

	for (int i = 0; i < n; i++) {
		size_t at = 0;

		while (at < iov[i].iov_len) {
			int64_t put = transmit_record(io, (const char *)iov[i].iov_base + at, iov[i].iov_len - at);

			if (put < 0)
				return total ? total : put;
			at += (size_t)put;
			total += put;
		}
	}
	return total;
}

/* Who is turned away by an alert often hears of it by a reset, on sending: the alert is still there to be read. */
static void read_last_words(struct kvf_resp_io *io)
{
	char words[64];
	size_t n;
	int rc;

	ERR_clear_error();
	do
		rc = SSL_read_ex(io->tls->ssl, words, sizeof(words), &n);
	while (rc == 1);
	(void)outcome(io, rc);
	io->tls->broken = true;
}

int64_t kvf_resp_tls_send(struct kvf_resp_io *io, const struct iovec *iov, int n)
{
	struct kvf_resp_tls_errors host;
	int64_t total;

	kvf_resp_tls_errors_keep(&host);
	io->tls->room = BEYOND;
	total = transmit(io, iov, n);
	if (total == KVF_EIO && !io->tls->why)
		read_last_words(io);
	kvf_resp_tls_errors_give_back(&host);
	return total;
}

#else /* no libssl */

int kvf_resp_tls_new(struct kvf_mem *mem, const struct kvf_resp_options *options, struct kvf_report *report,
		     struct kvf_resp_tls **out)
{
	(void)mem;
	(void)options;
	(void)out;
	kvf_report_add(report, KVF_ERROR, "remote_url: this build has no TLS (libssl-dev was missing)");
	return KVF_ENOTSUP;
}

void kvf_resp_tls_free(struct kvf_resp_tls *tls)
{
	(void)tls;
}

enum kvf_resp_tls_renewal kvf_resp_tls_renew(struct kvf_resp_tls *tls, bool *news, char *why, size_t why_size)
{
	(void)tls;
	*news = false;
	if (why_size)
		why[0] = '\0';
	return KVF_RESP_TLS_SAME;
}

int kvf_resp_tls_begin(struct kvf_resp_tls *tls, struct kvf_resp_io *io)
{
	(void)tls;
	(void)io;
	return KVF_ENOTSUP;
}

int kvf_resp_tls_handshake(struct kvf_resp_io *io, char *why, size_t why_size)
{
	(void)io;
	if (why_size)
		why[0] = '\0';
	return KVF_ENOTSUP;
}

void kvf_resp_tls_end(struct kvf_resp_io *io)
{
	(void)io;
}

const char *kvf_resp_tls_why(const struct kvf_resp_io *io)
{
	(void)io;
	return NULL;
}

int64_t kvf_resp_tls_recv(struct kvf_resp_io *io, const struct iovec *iov, int n)
{
	(void)io;
	(void)iov;
	(void)n;
	return KVF_EIO;
}

int64_t kvf_resp_tls_send(struct kvf_resp_io *io, const struct iovec *iov, int n)
{
	(void)io;
	(void)iov;
	(void)n;
	return KVF_EIO;
}

#endif
