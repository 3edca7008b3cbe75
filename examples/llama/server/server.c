/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server in a libev loop. Sockets, kvferry (kvf_ev.h) and the model share the loop's one thread: events first,
 * then, in the prepare watcher, one step of the model. While there is more to compute the loop does not sleep.
 */
#include "server.h"

#include <kvferry/kvf_ev.h>
#include <signal.h>

#define GRACE_S 5.

static struct server server;
static struct kvf_ev engine;
static ev_io http;
static ev_timer http_timer, grace;
static ev_prepare prepare;
static ev_idle busy;
static ev_signal sigint, sigterm;

static void on_completion(struct kvf_ev *ev, const struct kvf_completion *c)
{
	(void)ev;
	(void)lkv_complete(server.kv, c);
}

static void on_http(struct ev_loop *loop, ev_io *io, int revents)
{
	(void)loop;
	(void)io;
	(void)revents;
	http_run(server.http);
}

static void on_http_timer(struct ev_loop *loop, ev_timer *timer, int revents)
{
	(void)loop;
	(void)timer;
	(void)revents;
	http_run(server.http);
}

/* Keeps the loop from sleeping. */
static void on_idle(struct ev_loop *loop, ev_idle *idle, int revents)
{
	(void)loop;
	(void)idle;
	(void)revents;
}

static void on_prepare(struct ev_loop *loop, ev_prepare *watcher, int revents)
{
	int more = server_turn(&server), ms = http_timeout_ms(server.http);

	(void)watcher;
	(void)revents;
	if (more)
		ev_idle_start(loop, &busy);
	else
		ev_idle_stop(loop, &busy);
	ev_timer_stop(loop, &http_timer);
	if (ms >= 0) {
		ev_timer_set(&http_timer, ms / 1000., 0.);
		ev_timer_start(loop, &http_timer);
	}
	if (server.api.stopping && server_idle(&server))
		ev_break(loop, EVBREAK_ALL);
}

static void on_grace(struct ev_loop *loop, ev_timer *timer, int revents)
{
	(void)timer;
	(void)revents;
	ev_break(loop, EVBREAK_ALL);
}

static void on_signal(struct ev_loop *loop, ev_signal *signal, int revents)
{
	(void)signal;
	(void)revents;
	server_stop(&server);
	ev_timer_start(loop, &grace);
}

int main(int argc, char **argv)
{
	struct ev_loop *loop = EV_DEFAULT;
	int rc = server_open(&server, argc, argv);

	if (rc)
		return rc - 1;
	if (!loop || (lkv_engine(server.kv) &&
		      kvf_ev_attach(&engine, loop, lkv_engine(server.kv), on_completion, NULL) != KVF_OK)) {
		fprintf(stderr, "server: no event loop\n");
		server_close(&server);
		return 1;
	}
	ev_io_init(&http, on_http, http_fd(server.http), EV_READ);
	ev_io_start(loop, &http);
	ev_timer_init(&http_timer, on_http_timer, 0., 0.);
	ev_timer_init(&grace, on_grace, GRACE_S, 0.);
	ev_idle_init(&busy, on_idle);
	ev_prepare_init(&prepare, on_prepare);
	ev_prepare_start(loop, &prepare);
	ev_signal_init(&sigint, on_signal, SIGINT);
	ev_signal_init(&sigterm, on_signal, SIGTERM);
	ev_signal_start(loop, &sigint);
	ev_signal_start(loop, &sigterm);
	ev_run(loop, 0);
	kvf_ev_detach(&engine);
	server_close(&server);
	ev_loop_destroy(loop);
	return 0;
}
