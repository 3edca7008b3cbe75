/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates and keys, read and read again. See tls_ctx.h. */
#ifdef HAVE_LIBSSL

#include "tier/resp/tls_ctx.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READ_AHEAD 36864u /* two records and a bit; it is given back while a connection has nothing to read */

static const char *const keys[KVF_RESP_TLS_FILES] = { "kvf_tls_ca_file", "kvf_tls_cert_file", "kvf_tls_key_file" };

/* ---- reading ---- */

/* OpenSSL's own would ask at the terminal. */
static int no_passphrase(char *buf, int size, int writing, void *arg)
{
	(void)buf;
	(void)size;
	(void)writing;
	(void)arg;
	return -1;
}

static int refuse(const struct kvf_resp_tls_ctx *ctx, int which, char *why, size_t why_size)
{
	const struct kvf_resp_tls_file *f = &ctx->file[which];
	char text[128];

	if (f->error)
		snprintf(text, sizeof(text), "%s", strerror(f->error));
	else
		ERR_error_string_n(ERR_peek_last_error(), text, sizeof(text));
	snprintf(why, why_size, "%s: \"%s\": %s", keys[which], f->path, text);
	return KVF_EIO;
}

/* The names of files of our own; of the system's certificates, the one file that is read at once: those in its folder
 * are looked for when they are needed. */
static void choose_files(struct kvf_resp_tls_ctx *ctx)
{
	const struct kvf_resp_options *o = ctx->opt;
	const char *system = o->tls_verify ? getenv(X509_get_default_cert_file_env()) : "";

	ctx->file[KVF_RESP_TLS_CA].path = o->ca_file[0] ? o->ca_file : system ? system : X509_get_default_cert_file();
	ctx->file[KVF_RESP_TLS_CERT].path = o->cert_file;
	ctx->file[KVF_RESP_TLS_KEY].path = o->cert_file[0] && !o->key_file[0] ? o->cert_file : o->key_file;
}

static int load_files(const struct kvf_resp_tls_ctx *ctx, SSL_CTX *ssl, char *why, size_t why_size)
{
	const struct kvf_resp_options *o = ctx->opt;
	const char *key = ctx->file[KVF_RESP_TLS_KEY].path;

	if (o->ca_file[0] && SSL_CTX_load_verify_locations(ssl, o->ca_file, NULL) != 1)
		return refuse(ctx, KVF_RESP_TLS_CA, why, why_size);
	if (!o->ca_file[0] && o->tls_verify && SSL_CTX_set_default_verify_paths(ssl) != 1)
		return refuse(ctx, KVF_RESP_TLS_CA, why, why_size);
	if (!o->cert_file[0])
		return KVF_OK;
	if (SSL_CTX_use_certificate_chain_file(ssl, o->cert_file) != 1)
		return refuse(ctx, KVF_RESP_TLS_CERT, why, why_size);
	if (SSL_CTX_use_PrivateKey_file(ssl, key, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(ssl) != 1)
		return refuse(ctx, KVF_RESP_TLS_KEY, why, why_size);
	return KVF_OK;
}

static int load(struct kvf_resp_tls_ctx *ctx, char *why, size_t why_size)
{
	SSL_CTX *ssl = SSL_CTX_new(TLS_client_method());
	int rc;

	if (!ssl) {
		snprintf(why, why_size, "no memory for TLS");
		return KVF_ENOMEM;
	}
	SSL_CTX_set_default_passwd_cb(ssl, no_passphrase);
	/* Redis has no use for it, and in the midst of a value it would only be in the way. */
	SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION);
	SSL_CTX_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS);
	/* Else each record takes two calls: its head, and what is in it. */
	SSL_CTX_set_read_ahead(ssl, 1);
	SSL_CTX_set_default_read_buffer_len(ssl, READ_AHEAD);
	SSL_CTX_set_verify(ssl, ctx->opt->tls_verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
	/* Each connection checks anew whom it talks to, by what the files say then. */
	SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
	rc = load_files(ctx, ssl, why, why_size);
	if (rc) {
		SSL_CTX_free(ssl);
		return rc;
	}
	/* Connections that are there keep the one they began with. */
	SSL_CTX_free(ctx->ssl);
	ctx->ssl = ssl;
	return KVF_OK;
}

/* ---- what changed ---- */

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* The time of the last change of its inode too: that is what a file has which becomes readable. */
static bool look(struct kvf_resp_tls_file *f)
{
	struct kvf_resp_tls_file now = { .path = f->path };
	bool same;

	if (!f->path[0])
		return false;
	if (stat(f->path, &now.st)) {
		now.error = errno;
		memset(&now.st, 0, sizeof(now.st));
	}
	same = now.error == f->error && now.st.st_dev == f->st.st_dev && now.st.st_ino == f->st.st_ino &&
	       now.st.st_size == f->st.st_size && same_time(&now.st.st_mtim, &f->st.st_mtim) &&
	       same_time(&now.st.st_ctim, &f->st.st_ctim);
	*f = now;
	return !same;
}

/* Before they are read: what is written meanwhile is seen the next time. */
static bool look_at_all(struct kvf_resp_tls_ctx *ctx)
{
	bool changed = false;

	for (int i = 0; i < KVF_RESP_TLS_FILES; i++)
		changed |= look(&ctx->file[i]);
	return changed;
}

int kvf_resp_tls_ctx_open(struct kvf_resp_tls_ctx *ctx, const struct kvf_resp_options *options, char *why,
			  size_t why_size)
{
	memset(ctx, 0, sizeof(*ctx));
	ctx->opt = options;
	choose_files(ctx);
	(void)look_at_all(ctx);
	return load(ctx, why, why_size);
}

/* To open a pipe would wait for its other end. */
static int no_file(const struct kvf_resp_tls_ctx *ctx, char *why, size_t why_size)
{
	for (int i = 0; i < KVF_RESP_TLS_FILES; i++) {
		const struct kvf_resp_tls_file *f = &ctx->file[i];

		if (!f->path[0] || f->error || S_ISREG(f->st.st_mode))
			continue;
		snprintf(why, why_size, "%s: \"%s\": not a regular file", keys[i], f->path);
		return KVF_EIO;
	}
	return KVF_OK;
}

enum kvf_resp_tls_renewal kvf_resp_tls_ctx_renew(struct kvf_resp_tls_ctx *ctx, char *why, size_t why_size)
{
	int rc;

	if (!look_at_all(ctx))
		return KVF_RESP_TLS_SAME;
	rc = no_file(ctx, why, why_size);
	if (!rc)
		rc = load(ctx, why, why_size);
	/* That passes without a change of the files. */
	if (rc == KVF_ENOMEM)
		ctx->file[KVF_RESP_TLS_CA].error = -1;
	return rc ? KVF_RESP_TLS_KEPT : KVF_RESP_TLS_RENEWED;
}

void kvf_resp_tls_ctx_close(struct kvf_resp_tls_ctx *ctx)
{
	SSL_CTX_free(ctx->ssl);
	ctx->ssl = NULL;
}

#else

typedef int kvf_resp_no_tls_ctx; /* a file with nothing in it is no C */

#endif
