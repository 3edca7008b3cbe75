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

struct kvf_resp_tls {
	struct kvf_mem *mem;
	struct kvf_resp_tls_ctx ctx;
	BIO_METHOD *bio;
	bool verify;
	bool kept; /* the files that are there now cannot be used */
	bool name_is_address;
	char name[KVF_RESP_TEXT];
};

struct kvf_resp_tls_conn {
	struct kvf_resp_tls *tls;
	SSL *ssl;
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

	return bio_result(bio, io->net->recv(io, &iov, 1), true);
}

static int bio_write(BIO *bio, const char *buf, int n)
{
	struct kvf_resp_io *io = BIO_get_data(bio);
	struct iovec iov = { (void *)(uintptr_t)buf, (size_t)n };

	return bio_result(bio, io->net->send(io, &iov, 1), false);
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
	BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "kvferry socket");

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

	snprintf(tls->name, sizeof(tls->name), "%s", name);
	tls->name_is_address = inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
}

int kvf_resp_tls_new(struct kvf_mem *mem, const struct kvf_resp_options *opt, struct kvf_report *report,
		     struct kvf_resp_tls **out)
{
	struct kvf_resp_tls *tls = kvf_mem_zalloc(mem, sizeof(*tls));
	char why[KVF_RESP_TLS_WHY];
	int rc = KVF_ENOMEM;

	if (!tls)
		return rc;
	tls->mem = mem;
	tls->verify = opt->tls_verify;
	choose_name(tls, opt);
	tls->bio = make_bio();
	if (tls->bio)
		rc = kvf_resp_tls_ctx_open(&tls->ctx, opt, why, sizeof(why));
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
	enum kvf_resp_tls_renewal renewal = kvf_resp_tls_ctx_renew(&tls->ctx, why, why_size);

	*news = renewal != KVF_RESP_TLS_SAME && tls->kept != (renewal == KVF_RESP_TLS_KEPT);
	if (*news)
		tls->kept = !tls->kept;
	return renewal;
}

/* ---- a connection ---- */

static bool set_name(struct kvf_resp_tls *tls, SSL *ssl)
{
	if (tls->name_is_address)
		return !tls->verify || X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), tls->name);
	if (!tls->name[0])
		return true;
	return SSL_set_tlsext_host_name(ssl, tls->name) == 1 && (!tls->verify || SSL_set1_host(ssl, tls->name) == 1);
}

int kvf_resp_tls_begin(struct kvf_resp_tls *tls, struct kvf_resp_io *io)
{
	struct kvf_resp_tls_conn *conn = kvf_mem_zalloc(tls->mem, sizeof(*conn));
	BIO *bio;

	if (!conn)
		return KVF_ENOMEM;
	conn->tls = tls;
	conn->ssl = SSL_new(tls->ctx.ssl);
	bio = BIO_new(tls->bio);
	if (!conn->ssl || !bio || !set_name(tls, conn->ssl)) {
		ERR_clear_error();
		BIO_free(bio);
		SSL_free(conn->ssl);
		kvf_mem_free(tls->mem, conn, sizeof(*conn));
		return KVF_ENOMEM;
	}
	BIO_set_data(bio, io);
	SSL_set_bio(conn->ssl, bio, bio);
	SSL_set_connect_state(conn->ssl);
	io->tls = conn;
	return KVF_OK;
}

void kvf_resp_tls_end(struct kvf_resp_io *io)
{
	struct kvf_resp_tls_conn *conn = io->tls;

	/* Says good-bye if there is room for it; nobody waits for the answer. */
	if (SSL_is_init_finished(conn->ssl))
		(void)SSL_shutdown(conn->ssl);
	ERR_clear_error();
	SSL_free(conn->ssl);
	kvf_mem_free(conn->tls->mem, conn, sizeof(*conn));
	io->tls = NULL;
}

/* KVF_EAGAIN with io->want, or KVF_EIO. OpenSSL's queue of errors belongs to the thread: it is left empty. */
static int outcome(struct kvf_resp_io *io, int rc)
{
	int error = SSL_get_error(io->tls->ssl, rc);

	ERR_clear_error();
	if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
		return KVF_EIO;
	io->want = error == SSL_ERROR_WANT_READ ? KVF_WATCH_READ : KVF_WATCH_WRITE;
	return KVF_EAGAIN;
}

int kvf_resp_tls_handshake(struct kvf_resp_io *io, char *why, size_t why_size)
{
	SSL *ssl = io->tls->ssl;
	long verdict;
	int rc;

	ERR_clear_error();
	rc = SSL_do_handshake(ssl);
	if (rc == 1)
		return KVF_OK;
	rc = outcome(io, rc);
	if (rc == KVF_EAGAIN)
		return rc;
	verdict = SSL_get_verify_result(ssl);
	if (verdict != X509_V_OK)
		snprintf(why, why_size, "the server's certificate: %s", X509_verify_cert_error_string(verdict));
	else
		snprintf(why, why_size, "the TLS handshake failed");
	return rc;
}

int64_t kvf_resp_tls_recv(struct kvf_resp_io *io, const struct iovec *iov, int n)
{
	int64_t total = 0;

	ERR_clear_error();
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

int64_t kvf_resp_tls_send(struct kvf_resp_io *io, const struct iovec *iov, int n)
{
	int64_t total = 0;

	ERR_clear_error();
	for (int i = 0; i < n; i++) {
		const char *from = iov[i].iov_base;
		size_t at = 0;

		while (at < iov[i].iov_len) {
			size_t put = 0;
			int rc = SSL_write_ex(io->tls->ssl, from + at, iov[i].iov_len - at, &put);

			if (rc != 1) {
				rc = outcome(io, rc);
				return total ? total : rc;
			}
			at += put;
			total += (int64_t)put;
		}
	}
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
