/* SPDX-License-Identifier: Apache-2.0 */
/* See delay.h. */
#include "tests/support/delay.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/compiler.h"
#include "tool.h"

#define MAX_PAIRS 16
#define RING (1u << 20)
#define PIECES 1024u
#define NEVER UINT64_MAX

/* One direction: bytes in a ring, and when each piece of them may leave. */
struct way {
	char ring[RING];
	uint64_t in, out;
	struct {
		uint64_t end, due_ns;
	} piece[PIECES];
	uint64_t head, tail;
};

struct pair {
	int fd[2]; /* client, server; -1: free */
	struct way way[2];
};

static struct pair pairs[MAX_PAIRS];
static uint64_t delay_ns;

static void admit(int listener, const char *server_socket)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int up = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int on = 1;

	memcpy(un.sun_path, server_socket, strlen(server_socket));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	for (int i = 0; i < MAX_PAIRS && fd >= 0 && up >= 0; i++) {
		if (pairs[i].fd[0] >= 0)
			continue;
		if (connect(up, (struct sockaddr *)(void *)&un, sizeof(un)))
			break;
		memset(&pairs[i], 0, sizeof(pairs[i]));
		pairs[i].fd[0] = fd;
		pairs[i].fd[1] = up;
		return;
	}
	if (fd >= 0)
		close(fd);
	if (up >= 0)
		close(up);
}

static bool take_in(struct way *w, int fd)
{
	size_t at = w->in % RING, room = RING - (size_t)(w->in - w->out);
	ssize_t k;

	if (!room || w->tail - w->head == PIECES)
		return true;
	k = recv(fd, w->ring + at, room < RING - at ? room : RING - at, MSG_DONTWAIT);
	if (k <= 0)
		return k < 0 && errno == EAGAIN;
	w->in += (uint64_t)k;
	w->piece[w->tail % PIECES].end = w->in;
	w->piece[w->tail++ % PIECES].due_ns = tool_now_ns() + delay_ns;
	return true;
}

static bool let_out(struct way *w, int fd)
{
	while (w->head != w->tail && w->piece[w->head % PIECES].due_ns <= tool_now_ns()) {
		size_t at = w->out % RING, n = (size_t)(w->piece[w->head % PIECES].end - w->out);
		ssize_t k = send(fd, w->ring + at, n < RING - at ? n : RING - at, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (k < 0)
			return errno == EAGAIN;
		w->out += (uint64_t)k;
		w->head += w->out == w->piece[w->head % PIECES].end;
	}
	return true;
}

static uint64_t next_due(void)
{
	uint64_t due = NEVER;

	for (int i = 0; i < MAX_PAIRS; i++)
		for (int k = 0; k < 2 && pairs[i].fd[0] >= 0; k++) {
			const struct way *w = &pairs[i].way[k];

			if (w->head != w->tail && w->piece[w->head % PIECES].due_ns < due)
				due = w->piece[w->head % PIECES].due_ns;
		}
	return due;
}

static void sleep_until(struct pollfd *fds, nfds_t n, uint64_t due)
{
	uint64_t now = tool_now_ns(), ns = due <= now ? 0 : due - now;
	struct timespec t;

	if (ns > 100000000)
		ns = 100000000;
	t = (struct timespec){ .tv_nsec = (long)ns };
	ppoll(fds, n, &t, NULL);
}

static void serve(int listener, const char *server_socket)
{
	for (;;) {
		struct pollfd fds[1 + 2 * MAX_PAIRS] = { { .fd = listener, .events = POLLIN } };

		for (int i = 0; i < MAX_PAIRS; i++)
			for (int k = 0; k < 2; k++)
				fds[1 + 2 * i + k] = (struct pollfd){ .fd = pairs[i].fd[k], .events = POLLIN };
		sleep_until(fds, KVF_ARRAY_LEN(fds), next_due());
		if (fds[0].revents)
			admit(listener, server_socket);
		for (int i = 0; i < MAX_PAIRS; i++) {
			struct pair *p = &pairs[i];
			bool ok = true;

			for (int k = 0; k < 2 && p->fd[0] >= 0; k++) {
				if (fds[1 + 2 * i + k].revents)
					ok &= take_in(&p->way[k], p->fd[k]);
				ok &= let_out(&p->way[k], p->fd[!k]);
			}
			if (ok || p->fd[0] < 0)
				continue;
			close(p->fd[0]);
			close(p->fd[1]);
			p->fd[0] = p->fd[1] = -1;
		}
	}
}

bool delay_start(struct delay *d, const char *server_socket, unsigned one_way_us)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(addr);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (listener < 0 || bind(listener, (struct sockaddr *)(void *)&addr, n) || listen(listener, 64) ||
	    getsockname(listener, (struct sockaddr *)(void *)&addr, &n)) {
		close(listener);
		return false;
	}
	d->port = ntohs(addr.sin_port);
	snprintf(d->url, sizeof(d->url), "redis://127.0.0.1:%d", d->port);
	delay_ns = one_way_us * 1000ull;
	for (int i = 0; i < MAX_PAIRS; i++)
		pairs[i].fd[0] = pairs[i].fd[1] = -1;
	fflush(NULL);
	d->pid = fork();
	if (!d->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve(listener, server_socket);
	}
	close(listener);
	return d->pid > 0;
}

void delay_stop(struct delay *d)
{
	int status;

	if (d->pid <= 0)
		return;
	kill(d->pid, SIGKILL);
	while (waitpid(d->pid, &status, 0) < 0 && errno == EINTR)
		;
	d->pid = 0;
}
