/* SPDX-License-Identifier: Apache-2.0 */
/* One stream socket, plain or with TLS around it. Never blocks, never raises SIGPIPE. */
#ifndef KVF_TIER_RESP_IO_H
#define KVF_TIER_RESP_IO_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "kvferry/kvf_tier.h"

struct kvf_resp_tls;	 /* settings of all connections */
struct kvf_resp_tls_conn; /* one connection */

struct kvf_resp_io {
	int fd; /* -1: closed */
	unsigned want; /* KVF_WATCH_*: what the last KVF_EAGAIN waits for */
	struct kvf_resp_tls_conn *tls; /* NULL: plain */
	uint64_t syscalls;
};

void kvf_resp_io_init(struct kvf_resp_io *io);
/* Begins to connect: KVF_OK (there), KVF_EAGAIN (wait for `want`), KVF_EIO. */
int kvf_resp_io_connect(struct kvf_resp_io *io, const struct sockaddr *addr, socklen_t n);
/* After the event: KVF_OK, KVF_EIO. */
int kvf_resp_io_connected(struct kvf_resp_io *io);
void kvf_resp_io_close(struct kvf_resp_io *io);

/* Bytes moved (> 0), KVF_EAGAIN, or KVF_EIO: broken, or ended by the peer. */
int64_t kvf_resp_io_recv(struct kvf_resp_io *io, const struct iovec *iov, int n);
int64_t kvf_resp_io_send(struct kvf_resp_io *io, const struct iovec *iov, int n);

#endif
