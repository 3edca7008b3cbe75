/* SPDX-License-Identifier: Apache-2.0 */
/* See stutter.h. */
#include "tests/support/stutter.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"

#define MAX_PAIRS 64
#define BUFFER 65536

struct way {
	char buf[BUFFER];
	size_t at, n;
};

struct pair {
	int fd[2]; /* client, server; -1: free */
	struct way way[2];
};

static struct pair pairs[MAX_PAIRS];

static void cut(struct pair *p)
{
	struct linger hard = { 1, 0 };

	for (int i = 0; i < 2; i++) {
		setsockopt(p->fd[i], SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
		close(p->fd[i]);
		p->fd[i] = -1;
	}
}

static void admit(struct stutter_orders *o, int listener, const char *server_socket)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	int up = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(un.sun_path, server_socket, strlen(server_socket));
	if (fd >= 0 && up >= 0 && !connect(up, (struct sockaddr *)(void *)&un, sizeof(un))) {
		for (int i = 0; i < MAX_PAIRS; i++) {
			if (pairs[i].fd[0] >= 0)
				continue;
			memset(&pairs[i], 0, sizeof(pairs[i]));
			pairs[i].fd[0] = fd;
			pairs[i].fd[1] = up;
			o->opened++;
			return;
		}
	}
	close(fd);
	close(up);
}

/* One piece of one way. False: the pair is over. */
static bool pass(struct stutter_orders *o, struct pair *p, int way)
{
	struct way *w = &p->way[way];
	/* Read once: as soon as bytes are handed on, whoever they are for may give the next order. */
	const int64_t flip_at = o->flip_at[way], reset_at = o->reset_at[way];
	size_t n = w->n;
	ssize_t k;
	int error;

	if (o->piece && n > o->piece)
		n = o->piece;
	if (reset_at >= 0 && (int64_t)n > reset_at)
		n = (size_t)reset_at;
	if (flip_at >= 0 && flip_at < (int64_t)n)
		w->buf[w->at + (size_t)flip_at] ^= 1;
	k = n ? send(p->fd[!way], w->buf + w->at, n, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;
	error = k < 0 ? errno : 0;
	k = k < 0 ? 0 : k;
	/* What was changed but not taken is changed back. */
	if (flip_at >= k && flip_at < (int64_t)n)
		w->buf[w->at + (size_t)flip_at] ^= 1;
	if (error)
		return error == EAGAIN;
	if (flip_at >= 0)
		o->flip_at[way] = flip_at < k ? -1 : flip_at - k;
	w->at += (size_t)k;
	w->n -= (size_t)k;
	o->passed[way] += (uint64_t)k;
	if (reset_at < 0)
		return true;
	o->reset_at[way] = reset_at > k ? reset_at - k : -1;
	if (reset_at > k)
		return true;
	return false;
}

static bool fill(struct pair *p, int way)
{
	struct way *w = &p->way[way];
	ssize_t k = recv(p->fd[way], w->buf, sizeof(w->buf), MSG_DONTWAIT);

	if (k > 0) {
		w->at = 0;
		w->n = (size_t)k;
	}
	return k > 0 || (k < 0 && errno == EAGAIN);
}

static void serve(struct stutter_orders *o, int listener, const char *server_socket)
{
	for (;;) {
		struct pollfd fds[1 + 2 * MAX_PAIRS] = { { .fd = listener, .events = POLLIN } };
		bool frozen = o->frozen;

		for (int i = 0; i < MAX_PAIRS; i++) {
			for (int way = 0; way < 2; way++) {
				struct pollfd *f = &fds[1 + 2 * i + way];

				f->fd = pairs[i].fd[0] < 0 || frozen ? -1 : pairs[i].fd[way];
				f->events = (short)((pairs[i].way[way].n ? 0 : POLLIN) |
						    (pairs[i].way[!way].n ? POLLOUT : 0));
			}
		}
		poll(fds, KVF_ARRAY_LEN(fds), 5);
		if (fds[0].revents)
			admit(o, listener, server_socket);
		for (int i = 0; i < MAX_PAIRS && !frozen; i++) {
			bool ok = true;

			for (int way = 0; way < 2 && ok && pairs[i].fd[0] >= 0; way++) {
				if (pairs[i].way[way].n)
					ok = pass(o, &pairs[i], way);
				else if (fds[1 + 2 * i + way].revents)
					ok = fill(&pairs[i], way);
			}
			if (!ok)
				cut(&pairs[i]);
		}
	}
}

bool stutter_start(struct stutter *s, const char *server_socket)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(addr);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	s->orders = mmap(NULL, sizeof(*s->orders), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s->orders == MAP_FAILED || bind(listener, (struct sockaddr *)(void *)&addr, n) || listen(listener, 64) ||
	    getsockname(listener, (struct sockaddr *)(void *)&addr, &n)) {
		CU_FAIL("no proxy");
		return false;
	}
	s->port = ntohs(addr.sin_port);
	snprintf(s->url, sizeof(s->url), "redis://127.0.0.1:%d", s->port);
	stutter_behave(s);
	for (int i = 0; i < MAX_PAIRS; i++)
		pairs[i].fd[0] = pairs[i].fd[1] = -1;
	s->pid = fork();
	if (!s->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve(s->orders, listener, server_socket);
	}
	close(listener);
	return s->pid > 0;
}

void stutter_stop(struct stutter *s)
{
	int status;

	kill(s->pid, SIGKILL);
	while (waitpid(s->pid, &status, 0) < 0 && errno == EINTR)
		;
	munmap(s->orders, sizeof(*s->orders));
}

void stutter_behave(struct stutter *s)
{
	s->orders->piece = 0;
	s->orders->frozen = 0;
	for (int way = 0; way < 2; way++) {
		s->orders->reset_at[way] = -1;
		s->orders->flip_at[way] = -1;
	}
}
