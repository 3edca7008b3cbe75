/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets. See io.h. */
#include "tier/resp/io.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "tier/resp/tls.h"

/* ---- the kernel's ---- */

/*
 * Within a machine nothing is lost and no queue has to stay short, but congestion control works all the same. BBR, the
 * default of some machines, takes an estimate of the bandwidth for the bandwidth and paces what it sends with a timer:
 * half the speed, for the rest of the connection. Reno is the one that every kernel has and every process may choose.
 */
#define LOCAL_CONGESTION "reno"

/*
 * The socket takes no more while so much was not sent yet. Within a machine what waits is sent by answers to older
 * bytes, on the server's core, while new bytes go out on ours: so next to nothing waits. To other machines a host that
 * looks in once a millisecond should leave enough behind.
 */
#define UNSENT_LOCAL (64 * 1024)
#define UNSENT_MAX (2 * 1024 * 1024)

/* An idle connection whose other end is gone is found out within half a minute, not by the first request for it. */
#define IDLE_S 15
#define PROBE_S 5
#define PROBES 3

static void set(struct kvf_resp_io *io, int level, int option, int value)
{
	/* Without it it is slower, or notices a dead peer later: no reason to refuse. */
	(void)setsockopt(io->fd, level, option, &value, sizeof(value));
	io->syscalls++;
}

static bool same_ip(const struct sockaddr *a, const struct sockaddr *b)
{
	if (a->sa_family != b->sa_family)
		return false;
	if (a->sa_family == AF_INET6)
		return !memcmp(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr,
			&((const struct sockaddr_in6 *)(const void *)b)->sin6_addr, sizeof(struct in6_addr));
	return a->sa_family == AF_INET && ((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr ==
						  ((const struct sockaddr_in *)(const void *)b)->sin_addr.s_addr;
}

static bool is_loopback(const struct sockaddr *addr)
{
	return addr->sa_family == AF_INET &&
	       ntohl(((const struct sockaddr_in *)(const void *)addr)->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

/* Is the server on this machine? Our end has the server's address then, whichever that is, but for 127.0.0.0/8. */
static bool is_local(struct kvf_resp_io *io, const struct sockaddr *addr)
{
	struct sockaddr_storage own;
	socklen_t n = sizeof(own);

	if (is_loopback(addr))
		return true;
	io->syscalls++;
	return !getsockname(io->fd, (struct sockaddr *)(void *)&own, &n) &&
	       same_ip((const struct sockaddr *)(const void *)&own, addr);
}

static void set_options(struct kvf_resp_io *io)
{
	set(io, IPPROTO_TCP, TCP_NODELAY, 1);
	set(io, IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_MAX);
	set(io, SOL_SOCKET, SO_KEEPALIVE, 1);
	set(io, IPPROTO_TCP, TCP_KEEPIDLE, IDLE_S);
	set(io, IPPROTO_TCP, TCP_KEEPINTVL, PROBE_S);
	set(io, IPPROTO_TCP, TCP_KEEPCNT, PROBES);
}

static void set_local_options(struct kvf_resp_io *io)
{
	set(io, IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_LOCAL);
	(void)setsockopt(io->fd, IPPROTO_TCP, TCP_CONGESTION, LOCAL_CONGESTION, sizeof(LOCAL_CONGESTION) - 1);
	io->syscalls++;
}

static int socket_connect(struct kvf_resp_io *io, const struct sockaddr *addr, socklen_t n)
{
	bool tcp = addr->sa_family != AF_UNIX;
	int rc;

	io->syscalls += 2;
	io->fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (io->fd < 0)
		return -errno;
	if (tcp)
		set_options(io);
	rc = connect(io->fd, addr, n) ? -errno : 0;
	/* Our own address is known from here on, whether or not the server has answered. */
	if (tcp && is_local(io, addr))
		set_local_options(io);
	return rc;
}

static int socket_connected(struct kvf_resp_io *io)
{
	int error = 0;
	socklen_t n = sizeof(error);

	io->syscalls++;
	return getsockopt(io->fd, SOL_SOCKET, SO_ERROR, &error, &n) ? -errno : -error;
}

static void socket_close(struct kvf_resp_io *io)
{
	io->syscalls++;
	(void)close(io->fd);
}

static ssize_t socket_recv(struct kvf_resp_io *io, const struct iovec *iov, int n)
{
	struct msghdr msg;
	ssize_t got;

	memset(&msg, 0, sizeof(msg));
	msg.msg_iov = (struct iovec *)(uintptr_t)iov;
	msg.msg_iovlen = (size_t)n;
	io->syscalls++;
	got = recvmsg(io->fd, &msg, MSG_DONTWAIT);
	return got < 0 ? -errno : got;
}

static ssize_t socket_send(struct kvf_resp_io *io, const struct iovec *iov, int n)
{
	struct msghdr msg;
	ssize_t put;

	memset(&msg, 0, sizeof(msg));
	msg.msg_iov = (struct iovec *)(uintptr_t)iov;
	msg.msg_iovlen = (size_t)n;
	io->syscalls++;
	put = sendmsg(io->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	return put < 0 ? -errno : put;
}

static int socket_watch(struct kvf_resp_io *io, struct kvf_tier_host *host, struct kvf_watch *watch, unsigned events)
{
	return host->watch(host, watch, io->fd, events);
}

const struct kvf_resp_net kvf_resp_sockets = {
	.size = sizeof(kvf_resp_sockets),
	.name = "sockets",
	.connect = socket_connect,
	.connected = socket_connected,
	.close = socket_close,
	.recv = socket_recv,
	.send = socket_send,
	.watch = socket_watch,
};

/* ---- whatever lies under it ---- */

void kvf_resp_io_init(struct kvf_resp_io *io, const struct kvf_resp_net *net, void *net_arg)
{
	memset(io, 0, sizeof(*io));
	io->net = net ? net : &kvf_resp_sockets;
	io->net_arg = net_arg;
	io->fd = -1;
}

int kvf_resp_io_connect(struct kvf_resp_io *io, const struct sockaddr *addr, socklen_t n)
{
	int rc = io->net->connect(io, addr, n);

	if (!rc)
		return KVF_OK;
	if (rc == -EINPROGRESS || rc == -EINTR) {
		io->want = KVF_WATCH_WRITE;
		return KVF_EAGAIN;
	}
	kvf_resp_io_close(io);
	return KVF_EIO;
}

int kvf_resp_io_connected(struct kvf_resp_io *io)
{
	return io->net->connected(io) ? KVF_EIO : KVF_OK;
}

void kvf_resp_io_close(struct kvf_resp_io *io)
{
	if (io->tls)
		kvf_resp_tls_end(io);
	if (io->fd >= 0)
		io->net->close(io);
	io->fd = -1;
	io->want = 0;
}

int kvf_resp_io_watch(struct kvf_resp_io *io, struct kvf_tier_host *host, struct kvf_watch *watch, unsigned events)
{
	return io->net->watch(io, host, watch, events);
}

static int64_t result(struct kvf_resp_io *io, ssize_t n, unsigned want)
{
	if (n > 0)
		return n;
	if (n == -EAGAIN || n == -EINTR) {
		io->want = want;
		return KVF_EAGAIN;
	}
	return KVF_EIO;
}

int64_t kvf_resp_io_recv(struct kvf_resp_io *io, const struct iovec *iov, int n)
{
	if (io->tls)
		return kvf_resp_tls_recv(io, iov, n);
	return result(io, io->net->recv(io, iov, n), KVF_WATCH_READ);
}

int64_t kvf_resp_io_send(struct kvf_resp_io *io, const struct iovec *iov, int n)
{
	if (io->tls)
		return kvf_resp_tls_send(io, iov, n);
	return result(io, io->net->send(io, iov, n), KVF_WATCH_WRITE);
}
