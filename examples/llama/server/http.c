/* SPDX-License-Identifier: Apache-2.0 */
/* See http.h. */
#include "http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "buf.h"

/* A body over the limit is read and thrown away up to here: a client that still sends would not see the answer. */
#define DRAIN_BYTES (64u << 20)

enum phase { RECEIVING, WAITING, STREAMING, ENDED, CUT };

struct call {
	struct exchange x; /* first: what the handler sees */
	struct http *http;
	struct call *next, **link;
	struct MHD_Connection *connection;
	struct MHD_Response *response; /* to be queued at the next turn */
	unsigned status;
	int fd, watched, suspended, too_large;
	size_t drained;
	enum phase phase;
	int handed; /* the handler knows it and has not ended it */
	char *method, *path;
	struct buf in, out;
};

struct http {
	struct http_settings set;
	struct MHD_Daemon *daemon;
	int epoll, listener;
	unsigned port;
	int woken; /* a connection was: libmicrohttpd has to see to it */
	struct call *calls;
};

static struct call *call_of(struct exchange *x)
{
	return (struct call *)x;
}

/* ---- sleeping and waking connections ---- */

static void suspend(struct call *c)
{
	struct epoll_event e = { .events = EPOLLRDHUP | EPOLLET, .data.ptr = c };

	if (!c->watched)
		c->watched = epoll_ctl(c->http->epoll, EPOLL_CTL_ADD, c->fd, &e) == 0;
	c->suspended = 1;
	MHD_suspend_connection(c->connection);
}

static void resume(struct call *c)
{
	if (!c->suspended)
		return;
	c->suspended = 0;
	c->http->woken = 1;
	MHD_resume_connection(c->connection);
}

/* The client left: the handler forgets it, libmicrohttpd cleans up at its next turn. */
static void lost(struct call *c)
{
	if (c->handed) {
		c->handed = 0;
		c->http->set.gone(&c->x, c->http->set.user);
	}
	c->phase = CUT;
	resume(c);
}

/* ---- libmicrohttpd's callbacks ---- */

static struct MHD_Response *plain_response(const char *type, const void *body, size_t n)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(n, (void *)(uintptr_t)body, MHD_RESPMEM_MUST_COPY);

	if (r)
		(void)MHD_add_response_header(r, "Content-Type", type);
	return r;
}

static enum MHD_Result queue(struct call *c, unsigned status, struct MHD_Response *r)
{
	enum MHD_Result done;

	if (!r)
		return MHD_NO;
	done = MHD_queue_response(c->connection, status, r);
	MHD_destroy_response(r);
	return done;
}

static enum MHD_Result refuse_large(struct call *c)
{
	static const char text[] = "{\"error\":{\"message\":\"the request body is over the server's limit\","
				   "\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"body_too_large\"}}\n";
	struct MHD_Response *r = plain_response("application/json", text, sizeof(text) - 1);

	c->phase = ENDED;
	if (r)
		(void)MHD_add_response_header(r, "Connection", "close");
	return queue(c, 413, r);
}

static enum MHD_Result begin_call(struct http *h, struct MHD_Connection *connection, const char *method,
				  const char *path, void **slot)
{
	const char *length = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Length");
	const char *expect = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Expect");
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct call *c = calloc(1, sizeof(*c));

	if (!c || !info)
		goto no_memory;
	c->method = strdup(method);
	c->path = strdup(path);
	if (!c->method || !c->path)
		goto no_memory;
	c->x.method = c->method;
	c->x.path = c->path;
	c->http = h;
	c->connection = connection;
	c->fd = info->connect_fd;
	c->next = h->calls;
	c->link = &h->calls;
	if (c->next)
		c->next->link = &c->next;
	h->calls = c;
	*slot = c;
	c->too_large = length && strtoull(length, NULL, 10) > h->set.body_bytes;
	/* Who asks first need not send it. */
	return c->too_large && expect ? refuse_large(c) : MHD_YES;
no_memory:
	if (c) {
		free(c->method);
		free(c->path);
	}
	free(c);
	return MHD_NO;
}

static enum MHD_Result take_body(struct call *c, const char *data, size_t *n)
{
	if (buf_left(&c->in) + *n > c->http->set.body_bytes)
		c->too_large = 1;
	if (c->too_large) {
		buf_free(&c->in);
		c->drained += *n;
		if (c->drained > DRAIN_BYTES)
			return MHD_NO;
	} else {
		buf_add(&c->in, data, *n);
	}
	*n = 0;
	return c->in.failed ? MHD_NO : MHD_YES;
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *connection, const char *path, const char *method,
				  const char *version, const char *data, size_t *n, void **slot)
{
	struct http *h = user;
	struct call *c = *slot;
	struct MHD_Response *r;

	(void)version;
	if (!c)
		return begin_call(h, connection, method, path, slot);
	if (*n)
		return take_body(c, data, n);
	if (c->phase == RECEIVING) {
		if (c->too_large)
			return refuse_large(c);
		c->x.body = c->in.n ? c->in.data : "";
		c->x.body_n = c->in.n;
		c->phase = WAITING;
		c->handed = 1;
		h->set.request(&c->x, h->set.user);
	}
	if (c->phase == CUT)
		return MHD_NO;
	if (!c->response) {
		suspend(c);
		return MHD_YES;
	}
	r = c->response;
	c->response = NULL;
	return queue(c, c->status, r);
}

/* The next piece of a streamed answer. Nothing there: the connection sleeps until there is. */
static ssize_t read_out(void *user, uint64_t at, char *to, size_t max)
{
	struct call *c = user;
	size_t n = buf_left(&c->out);

	(void)at;
	if (c->phase == CUT)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (n == 0 && c->phase == ENDED)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (n == 0) {
		suspend(c);
		return 0;
	}
	if (n > max)
		n = max;
	memcpy(to, c->out.data + c->out.at, n);
	c->out.at += n;
	return (ssize_t)n;
}

static void on_completed(void *user, struct MHD_Connection *connection, void **slot,
			 enum MHD_RequestTerminationCode code)
{
	struct call *c = *slot;

	(void)user;
	(void)connection;
	(void)code;
	if (!c)
		return;
	*slot = NULL;
	c->suspended = 0;
	lost(c);
	if (c->watched)
		(void)epoll_ctl(c->http->epoll, EPOLL_CTL_DEL, c->fd, NULL);
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	if (c->response)
		MHD_destroy_response(c->response);
	buf_free(&c->in);
	buf_free(&c->out);
	free(c->method);
	free(c->path);
	free(c);
}

/* ---- answers ---- */

void http_reply(struct exchange *x, unsigned status, const char *type, const void *body, size_t n)
{
	struct call *c = call_of(x);

	c->handed = 0;
	c->status = status;
	c->response = plain_response(type, body, n);
	if (c->response && x->header)
		(void)MHD_add_response_header(c->response, x->header, x->value);
	c->phase = c->response ? ENDED : CUT;
	resume(c);
}

void http_stream(struct exchange *x, const char *type)
{
	struct call *c = call_of(x);

	c->status = 200;
	c->response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16384, read_out, c, NULL);
	if (c->response) {
		(void)MHD_add_response_header(c->response, "Content-Type", type);
		(void)MHD_add_response_header(c->response, "Cache-Control", "no-cache");
		(void)MHD_add_response_header(c->response, "X-Accel-Buffering", "no");
	}
	c->phase = c->response ? STREAMING : CUT;
	resume(c);
}

int http_write(struct exchange *x, const void *bytes, size_t n)
{
	struct call *c = call_of(x);

	if (buf_left(&c->out) + n > c->http->set.backlog_bytes)
		return -1;
	buf_add(&c->out, bytes, n);
	resume(c);
	return c->out.failed ? -1 : 0;
}

void http_end(struct exchange *x)
{
	struct call *c = call_of(x);

	c->handed = 0;
	if (c->phase != CUT)
		c->phase = ENDED;
	resume(c);
}

void http_abort(struct exchange *x)
{
	struct call *c = call_of(x);

	c->handed = 0;
	c->phase = CUT;
	resume(c);
}

/* ---- the daemon ---- */

void http_run(struct http *h)
{
	struct epoll_event e[32];
	int n = epoll_wait(h->epoll, e, 32, 0);

	for (int i = 0; i < n; i++)
		if (e[i].data.ptr != h)
			lost(e[i].data.ptr);
	h->woken = 0;
	(void)MHD_run(h->daemon);
}

int http_timeout_ms(const struct http *h)
{
	MHD_UNSIGNED_LONG_LONG ms;

	if (h->woken)
		return 0;
	if (MHD_get_timeout(h->daemon, &ms) != MHD_YES)
		return -1;
	return ms > 1000 ? 1000 : (int)ms;
}

int http_fd(const struct http *h)
{
	return h->epoll;
}

unsigned http_port(const struct http *h)
{
	return h->port;
}

static int listen_on(const char *host, unsigned port, char *err, size_t err_size)
{
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
	struct sockaddr_in a4 = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int v6 = inet_pton(AF_INET6, host, &a6.sin6_addr) == 1, on = 1, fd;

	if (!v6 && inet_pton(AF_INET, host, &a4.sin_addr) != 1) {
		snprintf(err, err_size, "host '%s' is not a numeric address", host);
		return -1;
	}
	fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (fd < 0 || bind(fd, v6 ? (struct sockaddr *)&a6 : (struct sockaddr *)&a4, v6 ? sizeof(a6) : sizeof(a4)) ||
	    listen(fd, 128)) {
		snprintf(err, err_size, "cannot listen on %s port %u: %s", host, port, strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

static unsigned port_of(int fd)
{
	struct sockaddr_storage a;
	socklen_t n = sizeof(a);

	if (getsockname(fd, (struct sockaddr *)&a, &n))
		return 0;
	return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port :
					       ((struct sockaddr_in *)&a)->sin_port);
}

static int start(struct http *h, const char *host, char *err, size_t err_size)
{
	const union MHD_DaemonInfo *info;
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = h };

	h->listener = listen_on(host, h->set.port, err, err_size);
	if (h->listener < 0)
		return -1;
	h->port = port_of(h->listener);
	snprintf(err, err_size, "libmicrohttpd %s does not start", MHD_get_version());
	h->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, h,
		MHD_OPTION_LISTEN_SOCKET, h->listener, MHD_OPTION_CONNECTION_LIMIT, h->set.connections,
		MHD_OPTION_CONNECTION_TIMEOUT, h->set.timeout_s, MHD_OPTION_NOTIFY_COMPLETED, on_completed, h,
		MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
	if (!h->daemon) {
		close(h->listener);
		return -1;
	}
	info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	h->epoll = epoll_create1(EPOLL_CLOEXEC);
	return info && h->epoll >= 0 && epoll_ctl(h->epoll, EPOLL_CTL_ADD, info->epoll_fd, &e) == 0 ? 0 : -1;
}

int http_open(struct http **out, const struct http_settings *settings, char *err, size_t err_size)
{
	struct http *h = calloc(1, sizeof(*h));

	if (!h) {
		snprintf(err, err_size, "out of memory");
		return -1;
	}
	h->set = *settings;
	h->epoll = h->listener = -1;
	if (start(h, settings->host, err, err_size)) {
		http_close(h);
		return -1;
	}
	*out = h;
	return 0;
}

void http_stop_listening(struct http *h)
{
	int fd = MHD_quiesce_daemon(h->daemon);

	if (fd >= 0)
		close(fd);
}

void http_close(struct http *h)
{
	if (!h)
		return;
	for (struct call *c = h->calls; c; c = c->next)
		lost(c);
	if (h->daemon) {
		(void)MHD_run(h->daemon); /* nothing may be asleep when it stops */
		MHD_stop_daemon(h->daemon);
	}
	if (h->epoll >= 0)
		close(h->epoll);
	free(h);
}
