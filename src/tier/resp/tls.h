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

/* Reads certificates and keys (during open). KVF_OK, KVF_ENOMEM, KVF_EIO (a file), KVF_ENOTSUP; the report says
 * which. */
int kvf_resp_tls_new(struct kvf_mem *mem, const struct kvf_resp_options *options, struct kvf_report *report,
		     struct kvf_resp_tls **out);
void kvf_resp_tls_free(struct kvf_resp_tls *tls);

/* Puts TLS around a connected socket. KVF_OK, KVF_ENOMEM, KVF_EIO. */
int kvf_resp_tls_begin(struct kvf_resp_tls *tls, struct kvf_resp_io *io);
/* KVF_OK, KVF_EAGAIN (wait for io->want), KVF_EIO; why[] says why, without anything secret. */
int kvf_resp_tls_handshake(struct kvf_resp_io *io, char *why, size_t why_size);
void kvf_resp_tls_end(struct kvf_resp_io *io);

int64_t kvf_resp_tls_recv(struct kvf_resp_io *io, const struct iovec *iov, int n);
int64_t kvf_resp_tls_send(struct kvf_resp_io *io, const struct iovec *iov, int n);

#endif
