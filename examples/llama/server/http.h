/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1.1 for a host with a loop of its own. One descriptor to wait for, one call that does what is due, and a time.
 *
 * The protocol is GNU libmicrohttpd's: kept since 2007, in every distribution, and one of the few HTTP libraries that
 * bring neither a thread nor a loop: its epoll set nests in ours, so that libev and a hand-written loop drive it alike.
 *
 * What it does not do is done here: a connection that waits for its answer is "suspended", which to libmicrohttpd means
 * that nobody watches its socket. The answers of a model take seconds, and who left in the meantime must be noticed.
 */
#ifndef EXAMPLES_LLAMA_SERVER_HTTP_H
#define EXAMPLES_LLAMA_SERVER_HTTP_H

#include <stddef.h>

struct http;

/* One request and its reply. */
struct exchange {
	const char *method, *path; /* path without the query */
	const char *body;
	size_t body_n;
	void *user; /* the handler's */
	const char *header, *value; /* one more of the answer, static; NULL: none */
};

struct http_settings {
	const char *host; /* a numeric IPv4 or IPv6 address */
	unsigned port;	  /* 0: any */
	size_t body_bytes;     /* longer ones get 413 */
	size_t backlog_bytes;  /* of a stream whose client does not read */
	unsigned connections, timeout_s; /* how long a client may take to send its request, or not read */
	/* A whole request. Answer it by http_reply() or http_stream(), now or later. */
	void (*request)(struct exchange *x, void *user);
	/* The client left before the end of the answer. The exchange is gone when this returns. */
	void (*gone)(struct exchange *x, void *user);
	void *user;
};

/* 0, or -1 with a line in err. The settings are copied, host is not kept. */
int http_open(struct http **out, const struct http_settings *settings, char *err, size_t err_size);
/* Ends every exchange (gone is called) and frees everything. */
void http_close(struct http *h);
/* No new connections. */
void http_stop_listening(struct http *h);

unsigned http_port(const struct http *h);
/* Readable: call http_run(). */
int http_fd(const struct http *h);
/* At most so long until the next http_run(), in milliseconds; -1: until the descriptor is readable. */
int http_timeout_ms(const struct http *h);
void http_run(struct http *h);

/* The whole answer at once. The exchange is over: it may not be touched any more. */
void http_reply(struct exchange *x, unsigned status, const char *type, const void *body, size_t n);

/* An answer in pieces: begin, any number of writes, end; after the end the exchange may not be touched any more.
 * http_write(): 0, or -1: the client reads too slowly, its backlog is full, nothing was taken. */
void http_stream(struct exchange *x, const char *type);
int http_write(struct exchange *x, const void *bytes, size_t n);
void http_end(struct exchange *x);
/* Cuts the connection: the client sees that the answer is not whole. `gone` is not called. */
void http_abort(struct exchange *x);

#endif
