/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS around a connection: OpenSSL over a BIO of our own, whose writes cannot raise SIGPIPE. Payloads are decrypted
 * into the slot and encrypted from it. Without libssl every call says KVF_ENOTSUP.
 */
#ifndef KVF_TIER_RESP_TLS_H
#define KVF_TIER_RESP_TLS_H

#include "base/mem.h"
#include "tier/resp/io.h"
#include "tier/resp/resp.h"

#define KVF_RESP_TLS_WHY 400 /* bytes for a reason with a file's name in it */

/* Reads certificates and keys (during open). KVF_OK, KVF_ENOMEM, KVF_EIO (a file), KVF_ENOTSUP; the report says
 * which. The options stay: the files are read again. */
int kvf_resp_tls_new(struct kvf_mem *mem, const struct kvf_resp_options *options, struct kvf_report *report,
		     struct kvf_resp_tls **out);
void kvf_resp_tls_free(struct kvf_resp_tls *tls);

enum kvf_resp_tls_renewal {
	KVF_RESP_TLS_SAME = 0,
	KVF_RESP_TLS_RENEWED, /* for the connections that begin from now on */
	KVF_RESP_TLS_KEPT     /* what was read before: why[] says which file cannot be used, and why */
};

/* Before a connection begins: reads the files again if they changed, which a look at their inodes tells. *news: not the
 * same as the last time. */
enum kvf_resp_tls_renewal kvf_resp_tls_renew(struct kvf_resp_tls *tls, bool *news, char *why, size_t why_size);

/* Puts TLS around a connected socket. KVF_OK, KVF_ENOMEM, KVF_EIO. */
int kvf_resp_tls_begin(struct kvf_resp_tls *tls, struct kvf_resp_io *io);
/* KVF_OK, KVF_EAGAIN (wait for io->want), KVF_EIO; why[] says why, without anything secret. */
int kvf_resp_tls_handshake(struct kvf_resp_io *io, char *why, size_t why_size);
void kvf_resp_tls_end(struct kvf_resp_io *io);
/* After KVF_EIO, why TLS could not go on, without anything secret; NULL: the connection just ended. */
const char *kvf_resp_tls_why(const struct kvf_resp_io *io);

int64_t kvf_resp_tls_recv(struct kvf_resp_io *io, const struct iovec *iov, int n);
int64_t kvf_resp_tls_send(struct kvf_resp_io *io, const struct iovec *iov, int n);

#endif
