/* SPDX-License-Identifier: Apache-2.0 */
/* A real server that is slower than what is stored: nothing waits for it, and prompts lose their ends. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"
#include "tests/support/redis.h"
#include "tests/support/remote.h"
#include "tool.h"

#define MS 1000000ull
#define CHUNKS 12u
#define TOKENS (CHUNKS * RIG_CHUNK)
#define PROMPTS 6u /* more than twice what the pool of 32 slots holds */

static struct redis server;
static struct remote m;

static void end(void)
{
	remote_close(&m);
	redis_kill(&server);
}

static long keys_there(void)
{
	return strtol(redis_call(&server, NULL, "DBSIZE", NULL), NULL, 10);
}

static void test_drops(void)
{
	struct kvf_tier_stats s;
	uint32_t found = 0;

	if (!redis_begin(&server, NULL))
		return;
	remote_open(&m, server.url, NULL);
	redis_pause(&server);
	for (uint64_t i = 1; i <= PROMPTS; i++) {
		struct kvf_completion c;
		struct kvf_op op;

		rig_tokens(&m.rig, i, TOKENS);
		rig_compute(&m.rig, TOKENS);
		rig_prep(&m.rig, &op, KVF_OP_STORE, 0, TOKENS);
		c = remote_run(&m, &op, 5000);
		/* The host does not wait for the server. */
		CU_ASSERT_EQUAL(c.status, KVF_OK);
		CU_ASSERT_EQUAL(c.tokens, TOKENS);
	}
	CU_ASSERT(m.longest_wait_ns < 100 * MS);
	s = remote_stats(&m);
	CU_ASSERT(s.dropped_spills >= (PROMPTS - 3) * CHUNKS);
	CU_ASSERT(s.queued_spills + s.in_flight > 0);
	redis_go_on(&server);
	for (int i = 0; i < 200 && (s.queued_spills || s.in_flight); i++) {
		remote_idle(&m, 20);
		s = remote_stats(&m);
	}
	CU_ASSERT_EQUAL(s.queued_spills + s.in_flight, 0);
	CU_ASSERT_EQUAL(s.puts + s.dropped_spills, PROMPTS * CHUNKS);
	CU_ASSERT_EQUAL(s.errors + s.timeouts, 0);
	CU_ASSERT_EQUAL(keys_there(), 3 * (long)s.puts);
	/* Of each prompt the beginning: no chunk is there without all before it. */
	for (uint64_t i = 1; i <= PROMPTS; i++) {
		rig_tokens(&m.rig, i, TOKENS);
		found += remote_lookup(&m, 0).tokens;
	}
	CU_ASSERT_EQUAL(found, s.puts * RIG_CHUNK);
	end();
}

/* A server that is busy with something else. Before Redis 7 DEBUG was always allowed, and its switch unknown. */
static void test_debug_sleep(void)
{
	static const char *const args[] = { "--enable-debug-command", "local", NULL };
	uint64_t begun;

	if (!redis_have("redis-server"))
		return;
	if (!redis_start(&server, "redis-server", redis_major("redis-server") >= 7 ? args : NULL))
		return;
	remote_open(&m, server.url, NULL);
	remote_store(&m, 1, TOKENS);
	redis_say(&server, "DEBUG", "SLEEP", "0.5", NULL);
	remote_idle(&m, 20);
	begun = tool_now_ns();
	/* One that can wait gets it, one that cannot ends at its deadline; neither costs a connection. */
	CU_ASSERT_EQUAL(remote_fetch(&m, 1, TOKENS, 100).tokens, 0);
	CU_ASSERT(tool_now_ns() - begun < 300 * MS);
	CU_ASSERT_EQUAL(remote_fetch(&m, 1, TOKENS, 5000).tokens, TOKENS);
	CU_ASSERT(tool_now_ns() - begun > 300 * MS);
	CU_ASSERT_STRING_EQUAL(redis_answer(&server, NULL), "OK");
	/* The one that ended at its deadline. */
	CU_ASSERT_EQUAL(remote_stats(&m).errors, remote_stats(&m).timeouts);
	CU_ASSERT(m.longest_wait_ns < 100 * MS);
	CU_ASSERT_PTR_NULL(strstr(m.log, "connection lost"));
	end();
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "drops", test_drops },
		{ "debug_sleep", test_debug_sleep },
	};

	return kvf_test_main("resp_slow", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
