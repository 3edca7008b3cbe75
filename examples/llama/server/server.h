/* SPDX-License-Identifier: Apache-2.0 */
/* The server without a loop: what server.c (libev) and server_poll.c (a loop of its own) drive. */
#ifndef EXAMPLES_LLAMA_SERVER_SERVER_H
#define EXAMPLES_LLAMA_SERVER_SERVER_H

#include "api.h"

struct server {
	struct lkv *kv;
	struct http *http;
	struct sched sched;
	struct api api;
	int open; /* sched_open() was called */
};

/* Reads the command line and opens everything. 0; else what main() returns, plus one. */
int server_open(struct server *s, int argc, char **argv);
void server_close(struct server *s);

/* One turn, for after sockets and kvferry had theirs: at most one call of llama_decode(), then what it brought goes to
 * the sockets. 1: there is more to compute, do not sleep. */
int server_turn(struct server *s);

/* SIGINT, SIGTERM: no new requests; those that are there get `grace`, until server_idle(). */
void server_stop(struct server *s);
/* Ends the answers that are left. */
void server_cut(struct server *s);
int server_idle(const struct server *s);

#endif
