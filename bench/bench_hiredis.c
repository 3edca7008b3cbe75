/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Redis tier beside hiredis's asynchronous client on a libev loop, as a program uses it: the value is handed to it,
 * and what it brings is copied to where it belongs. Without libhiredis-dev when the tree was configured it says so and
 * exits with 77. Options: tests/support/resp_bench.h.
 */
#include <stdio.h>

#ifdef HAVE_HIREDIS

#include <ev.h>
#include <hiredis/adapters/libev.h>
#include <hiredis/hiredis.h>
#include <string.h>

#include "tests/support/resp_bench.h"

static struct ev_loop *loop;
static redisAsyncContext *context;
static bool ended, fine;

/* What the reply is copied to. */
static uint8_t *wanted;
static size_t wanted_n;

static bool hiredis_open(int port)
{
	loop = ev_loop_new(EVBACKEND_EPOLL);
	context = loop ? redisAsyncConnect("127.0.0.1", port) : NULL;
	return context && !context->err && redisLibevAttach(loop, context) == REDIS_OK;
}

static void hiredis_close(void)
{
	redisAsyncFree(context);
	ev_loop_destroy(loop);
}

static void answered(redisAsyncContext *c, void *reply, void *data)
{
	const redisReply *r = reply;

	(void)c;
	(void)data;
	ended = true;
	if (r && wanted && r->type == REDIS_REPLY_STRING && r->len == wanted_n) {
		memcpy(wanted, r->str, wanted_n);
		fine = true;
	} else {
		fine = r && !wanted && r->type == REDIS_REPLY_STATUS;
	}
}

static bool run(int submitted)
{
	ended = fine = false;
	if (submitted != REDIS_OK)
		return false;
	while (!ended)
		ev_run(loop, EVRUN_ONCE);
	return fine;
}

static bool hiredis_set(unsigned key, const uint8_t *value, size_t n)
{
	wanted = NULL;
	return run(redisAsyncCommand(context, answered, NULL, "SET hire-%u %b", key, value, n));
}

static bool hiredis_get(unsigned key, uint8_t *into, size_t n)
{
	wanted = into;
	wanted_n = n;
	return run(redisAsyncCommand(context, answered, NULL, "GET hire-%u", key));
}

int main(int argc, char **argv)
{
	static const struct resp_bench_client client = { "hiredis", hiredis_open, hiredis_close, hiredis_set,
							 hiredis_get, false };

	printf("hiredis %d.%d.%d\n", HIREDIS_MAJOR, HIREDIS_MINOR, HIREDIS_PATCH);
	return resp_bench_main("bench_hiredis", &client, argc, argv);
}

#else

int main(void)
{
	fprintf(stderr, "bench_hiredis: skipped: no hiredis (libhiredis-dev) when this was configured\n");
	return 77;
}

#endif
