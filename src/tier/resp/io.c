/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets. See io.h. */
#include "tier/resp/io.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "tier/resp/tls.h"

void kvf_resp_io_init(struct kvf_resp_io *io)
{
	memset(io, 0, sizeof(*io));
	io->fd = -1;
}

static void set_options(struct kvf_resp_io *io, int family)
{
	int on = 1;

	if (family == AF_UNIX)
		return;
	/* Without them it is slower, or notices a dead peer later: no reason to refuse. */
	(void)setsockopt(io->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void)setsockopt(io->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	io->syscalls += 2;
}

int kvf_resp_io_connect(struct kvf_resp_io *io, const struct sockaddr *addr, socklen_t n)
{
	io->syscalls += 2;
	io->fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (io->fd < 0)
		return KVF_EIO;
	set_options(io, addr->sa_family);
	if (!connect(io->fd, addr, n))
		return KVF_OK;
	if (errno == EINPROGRESS || errno == EINTR) {
		io->want = KVF_WATCH_WRITE;
		return KVF_EAGAIN;
	}
	kvf_resp_io_close(io);
	return KVF_EIO;
}

int kvf_resp_io_connected(struct kvf_resp_io *io)
{
	int error = 0;
	socklen_t n = sizeof(error);

	io->syscalls++;
	return getsockopt(io->fd, SOL_SOCKET, SO_ERROR, &error, &n) || error ? KVF_EIO : KVF_OK;
}

void kvf_resp_io_close(struct kvf_resp_io *io)
{
	if (io->tls)
		kvf_resp_tls_end(io);
	if (io->fd >= 0) {
		io->syscalls++;
		(void)close(io->fd);
	}
	io->fd = -1;
	io->want = 0;
}

static int64_t result(struct kvf_resp_io *io, ssize_t n, unsigned want)
{
	if (n > 0)
		return n;
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		io->want = want;
		return KVF_EAGAIN;
	}
	return KVF_EIO;
}

int64_t kvf_resp_io_recv(struct kvf_resp_io *io, const struct iovec *iov, int n)
{
	struct msghdr msg;

	if (io->tls)
		return kvf_resp_tls_recv(io, iov, n);
	memset(&msg, 0, sizeof(msg));
	msg.msg_iov = (struct iovec *)(uintptr_t)iov;
	msg.msg_iovlen = (size_t)n;
	io->syscalls++;
	return result(io, recvmsg(io->fd, &msg, MSG_DONTWAIT), KVF_WATCH_READ);
}

int64_t kvf_resp_io_send(struct kvf_resp_io *io, const struct iovec *iov, int n)
{
	struct msghdr msg;

	if (io->tls)
		return kvf_resp_tls_send(io, iov, n);
	memset(&msg, 0, sizeof(msg));
	msg.msg_iov = (struct iovec *)(uintptr_t)iov;
	msg.msg_iovlen = (size_t)n;
	io->syscalls++;
	return result(io, sendmsg(io->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL), KVF_WATCH_WRITE);
}
