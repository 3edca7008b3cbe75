/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The same server in a loop of its own, as inference engines have one: a round looks at the sockets, polls kvferry, and
 * runs one step of the model. Only when there is nothing to do does it sleep: until a socket is ready, at most until
 * kvferry wants a turn. kvferry's descriptor is not used.
 */
#define _GNU_SOURCE /* ppoll() */
#include "server.h"

#include <poll.h>
#include <signal.h>

#define GRACE_NS 5000000000u
#define NAP_NS 1000000u /* while kvferry waits for a disk or a network */

static struct server server;
static volatile sig_atomic_t told;

static void on_signal(int number)
{
	(void)number;
	told = 1;
}

/* How long kvferry can be left alone, in nanoseconds. */
static uint64_t engine_ns(uint64_t most)
{
	struct kvf_engine *engine = lkv_engine(server.kv);
	uint64_t now, until;

	if (!engine)
		return most;
	now = kvf_now_ns(engine);
	until = kvf_next_deadline_ns(engine);
	if (until <= now)
		return 0;
	if (!kvf_engine_idle(engine) && most > NAP_NS)
		most = NAP_NS;
	return until - now < most ? until - now : most;
}

/* Signals are let in here only, so it is called in busy rounds too. */
static void nap(const sigset_t *awake, int busy)
{
	struct pollfd fd = { .fd = http_fd(server.http), .events = POLLIN };
	int ms = busy ? 0 : http_timeout_ms(server.http);
	uint64_t ns = engine_ns(ms < 0 ? 1000000000u : (uint64_t)ms * 1000000);
	struct timespec t = { (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) };

	(void)ppoll(&fd, 1, &t, awake);
}

static void run(const sigset_t *awake)
{
	uint64_t until = 0;

	for (;;) {
		http_run(server.http);
		(void)lkv_poll(server.kv);
		nap(awake, server_turn(&server));
		if (told && !until) {
			server_stop(&server);
			until = mono_ns() + GRACE_NS;
		}
		if (until && (server_idle(&server) || mono_ns() > until))
			return;
	}
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_signal };
	sigset_t stop, awake;
	int rc;

	sigemptyset(&stop);
	sigaddset(&stop, SIGINT);
	sigaddset(&stop, SIGTERM);
	sigprocmask(SIG_BLOCK, &stop, &awake);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	rc = server_open(&server, argc, argv);
	if (rc)
		return rc - 1;
	run(&awake);
	server_close(&server);
	return 0;
}
