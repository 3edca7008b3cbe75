/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One stream socket, plain or with TLS around it. Never blocks, never raises SIGPIPE. Under it lies a seam: everything
 * that touches a connection's descriptor goes through a table, so that a test may put a network of its own there.
 */
#ifndef KVF_TIER_RESP_IO_H
#define KVF_TIER_RESP_IO_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "kvferry/kvf_tier.h"

struct kvf_resp_tls;	 /* settings of all connections */
struct kvf_resp_tls_conn; /* one connection */
struct kvf_resp_io;

/* A way to a server. What it makes of io->fd is its own, but for -1: closed. */
struct kvf_resp_net {
	size_t size;
	const char *name;
	/* Begins to connect and sets io->fd: 0 (there), or -errno; -EINPROGRESS: to be told by KVF_WATCH_WRITE, and
	 * asked by connected(). On any other error io->fd may be open too. */
	int (*connect)(struct kvf_resp_io *io, const struct sockaddr *addr, socklen_t n);
	/* 0 or -errno: what became of it. */
	int (*connected)(struct kvf_resp_io *io);
	void (*close)(struct kvf_resp_io *io);
	/* Without waiting: bytes moved; 0: the peer ended; -errno. */
	ssize_t (*recv)(struct kvf_resp_io *io, const struct iovec *iov, int n);
	ssize_t (*send)(struct kvf_resp_io *io, const struct iovec *iov, int n);
	/* As kvf_tier_host.watch for io->fd, which may be -1 where `events` is 0. */
	int (*watch)(struct kvf_resp_io *io, struct kvf_tier_host *host, struct kvf_watch *watch, unsigned events);
};

/* The kernel's sockets. */
extern const struct kvf_resp_net kvf_resp_sockets;

struct kvf_resp_io {
	const struct kvf_resp_net *net;
	void *net_arg;
	int fd; /* -1: closed */
	unsigned want; /* KVF_WATCH_*: what the last KVF_EAGAIN waits for */
	struct kvf_resp_tls_conn *tls; /* NULL: plain */
	uint64_t syscalls;
};

/* net NULL: kvf_resp_sockets. */
void kvf_resp_io_init(struct kvf_resp_io *io, const struct kvf_resp_net *net, void *net_arg);
/* Begins to connect: KVF_OK (there), KVF_EAGAIN (wait for `want`), KVF_EIO. */
int kvf_resp_io_connect(struct kvf_resp_io *io, const struct sockaddr *addr, socklen_t n);
/* After the event: KVF_OK, KVF_EIO. */
int kvf_resp_io_connected(struct kvf_resp_io *io);
void kvf_resp_io_close(struct kvf_resp_io *io);
/* As kvf_tier_host.watch. */
int kvf_resp_io_watch(struct kvf_resp_io *io, struct kvf_tier_host *host, struct kvf_watch *watch, unsigned events);

/* Bytes moved (> 0), KVF_EAGAIN, or KVF_EIO: broken, or ended by the peer. */
int64_t kvf_resp_io_recv(struct kvf_resp_io *io, const struct iovec *iov, int n);
int64_t kvf_resp_io_send(struct kvf_resp_io *io, const struct iovec *iov, int n);

#endif
