/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all TLS connections to a server have in common: OpenSSL's settings with certificates and key. Servers run for
 * longer than certificates are good, so the files are read again when they changed; while what is there now cannot be
 * used, what was read before stays.
 */
#ifndef KVF_TIER_RESP_TLS_CTX_H
#define KVF_TIER_RESP_TLS_CTX_H

#include <openssl/ssl.h>
#include <sys/stat.h>

#include "tier/resp/resp.h"
#include "tier/resp/tls.h"

enum { KVF_RESP_TLS_CA = 0, KVF_RESP_TLS_CERT, KVF_RESP_TLS_KEY, KVF_RESP_TLS_FILES };

/* A file as it was when it was last looked at. */
struct kvf_resp_tls_file {
	const char *path; /* "": none */
	int error;	  /* errno, of one that is not to be seen */
	struct stat st;
};

struct kvf_resp_tls_ctx {
	const struct kvf_resp_options *opt;
	SSL_CTX *ssl;
	struct kvf_resp_tls_file file[KVF_RESP_TLS_FILES];
};

/* All within kvf_resp_tls_errors_keep(). KVF_OK, KVF_ENOMEM, KVF_EIO: why[] says which file and why. `options` stay. */
int kvf_resp_tls_ctx_open(struct kvf_resp_tls_ctx *ctx, const struct kvf_resp_options *options, char *why,
			  size_t why_size);
void kvf_resp_tls_ctx_close(struct kvf_resp_tls_ctx *ctx);
/* Looks whether the files changed since the last call, and reads them if so. Those that could not be used are not read
 * again before one of them changes. */
enum kvf_resp_tls_renewal kvf_resp_tls_ctx_renew(struct kvf_resp_tls_ctx *ctx, char *why, size_t why_size);

#endif
