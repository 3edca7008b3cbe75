/* SPDX-License-Identifier: Apache-2.0 */
/* Real servers that evict, load, run somebody's script or belong to a cluster, and values of another length than they
 * should have. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "tests/harness.h"
#include "tests/support/redis.h"
#include "tests/support/remote.h"
#include "tier/resp/tier.h"

#define CHUNKS 3u
#define TOKENS (CHUNKS * RIG_CHUNK)
#define PROMPTS 40u

static struct redis server;
static struct remote m;

static void end(void)
{
	remote_close(&m);
	redis_kill(&server);
}

static uint64_t errors(enum kvf_resp_trouble kind)
{
	return m.rig.engine->remote->errors[kind];
}

static bool comes_back(void)
{
	for (unsigned i = 0; i < 600; i++) {
		if (remote_fetch(&m, 1, TOKENS, 2000).tokens == TOKENS)
			return true;
		remote_idle(&m, 20);
	}
	return false;
}

/* Asks until the server has said so. */
static bool says(enum kvf_resp_trouble kind)
{
	for (unsigned i = 0; i < 600 && !errors(kind); i++) {
		CU_ASSERT_EQUAL(remote_fetch(&m, 1, TOKENS, 500).tokens, 0);
		remote_idle(&m, 10);
	}
	return errors(kind) > 0;
}

/* Redis evicts key by key. What lost one of its keys is a miss, what is left of a prompt is its beginning, and all of
 * it is right (remote_fetch() compares). */
static void test_evicts(void)
{
	char most[32];
	uint64_t hit = 0;
	long used;

	if (!redis_begin(&server, NULL))
		return;
	remote_open(&m, server.url, NULL);
	remote_store(&m, 1, TOKENS);
	used = strtol(strstr(redis_call(&server, NULL, "INFO", "memory", NULL), "used_memory:") + 12, NULL, 10);
	snprintf(most, sizeof(most), "%ld", used + (long)(PROMPTS / 2 * CHUNKS * REMOTE_PAYLOAD));
	redis_call(&server, NULL, "CONFIG", "SET", "maxmemory-policy", "allkeys-random", NULL);
	redis_call(&server, NULL, "CONFIG", "SET", "maxmemory", most, NULL);
	for (uint64_t i = 1; i <= PROMPTS; i++)
		CU_ASSERT_EQUAL(remote_store(&m, i, TOKENS).level, KVF_LEVEL_REMOTE);
	CU_ASSERT(strtol(redis_call(&server, NULL, "DBSIZE", NULL), NULL, 10) < 3 * (long)(PROMPTS * CHUNKS));
	for (uint64_t i = 1; i <= PROMPTS; i++) {
		struct kvf_completion c = remote_fetch(&m, i, TOKENS, 0);

		CU_ASSERT_EQUAL(c.status, KVF_OK);
		CU_ASSERT_EQUAL(c.tokens % RIG_CHUNK, 0);
		hit += c.tokens;
	}
	CU_ASSERT(hit > 0 && hit < PROMPTS * TOKENS);
	CU_ASSERT_EQUAL(remote_stats(&m).errors + remote_stats(&m).stale + remote_stats(&m).corrupt, 0);
	CU_ASSERT_EQUAL(remote_stats(&m).breaker, 0);
	end();
}

static void test_loads(void)
{
	static const char *const slow[] = { "--key-load-delay", "60000", "--loading-process-events-interval-bytes",
					    "1024", NULL };

	if (!redis_begin(&server, NULL))
		return;
	remote_open(&m, server.url, NULL);
	CU_ASSERT_EQUAL(remote_store(&m, 1, TOKENS).level, KVF_LEVEL_REMOTE);
	CU_ASSERT_STRING_EQUAL(redis_call(&server, NULL, "SAVE", NULL), "OK");
	redis_kill(&server);
	server.args = slow;
	CU_ASSERT_TRUE_FATAL(redis_restart(&server));
	CU_ASSERT_TRUE(says(KVF_RESP_T_LOADING));
	CU_ASSERT_TRUE(comes_back());
	end();
}

static void test_is_busy(void)
{
	struct redis second;

	if (!redis_begin(&server, NULL))
		return;
	remote_open(&m, server.url, NULL);
	CU_ASSERT_EQUAL(remote_store(&m, 1, TOKENS).level, KVF_LEVEL_REMOTE);
	redis_call(&server, NULL, "CONFIG", "SET", "lua-time-limit", "10", NULL);
	second = server;
	second.client = -1;
	redis_say(&server, "EVAL", "while true do end", "0", NULL);
	remote_idle(&m, 50);
	CU_ASSERT_TRUE(says(KVF_RESP_T_BUSY));
	CU_ASSERT_STRING_EQUAL(redis_call(&second, NULL, "SCRIPT", "KILL", NULL), "OK");
	(void)redis_answer(&server, NULL);
	CU_ASSERT_TRUE(comes_back());
	second.pid = 0;
	redis_kill(&second);
	end();
}

/* A cluster is for later. Its servers are told from broken ones. */
static void test_is_clustered(void)
{
	static const char *const args[] = { "--cluster-enabled", "yes", NULL };

	if (!redis_begin(&server, args))
		return;
	remote_open(&m, server.url, NULL);
	CU_ASSERT_EQUAL(remote_store(&m, 1, TOKENS).level, KVF_LEVEL_INDEXED);
	CU_ASSERT_TRUE(says(KVF_RESP_T_CLUSTER));
	/* With all slots it is up, and the keys of one chunk still lie in several. */
	redis_call(&server, NULL, "CLUSTER", "ADDSLOTSRANGE", "0", "16383", NULL);
	remote_idle(&m, 200);
	CU_ASSERT_EQUAL(remote_fetch(&m, 1, TOKENS, 500).tokens, 0);
	CU_ASSERT_EQUAL(errors(KVF_RESP_T_OTHER) + errors(KVF_RESP_T_PROTOCOL), 0);
	end();
}

/* The only key that is named so, with one chunk stored. */
static const char *key_like(const char *pattern)
{
	static char key[512];

	snprintf(key, sizeof(key), "%s", redis_call(&server, NULL, "KEYS", pattern, NULL));
	key[strcspn(key, "\n")] = '\0';
	return key;
}

/* A value that is longer than its slot, by a little and by far, or shorter by a byte: with a side record somebody
 * else's, without one nobody's. */
static void other_length(const char *url, const char *bytes, bool side)
{
	static const size_t sizes[] = { 0, REMOTE_PAYLOAD - 1, REMOTE_PAYLOAD + 1, REMOTE_PAYLOAD + 4096, 3u << 20 };
	static char junk[3u << 20];

	for (size_t i = 0; i < KVF_ARRAY_LEN(sizes); i++) {
		struct kvf_completion c;

		redis_call(&server, NULL, "FLUSHALL", NULL);
		remote_open(&m, url, NULL);
		CU_ASSERT_EQUAL(remote_store(&m, 1, RIG_CHUNK).level, KVF_LEVEL_REMOTE);
		if (!side)
			redis_call(&server, NULL, "DEL", key_like("*kvferry"), NULL);
		memset(junk, 'j', sizeof(junk));
		redis_set(&server, key_like(bytes), junk, sizes[i]);
		c = remote_fetch(&m, 1, RIG_CHUNK, 0);
		CU_ASSERT_EQUAL(c.status, KVF_OK);
		CU_ASSERT_EQUAL(c.tokens, 0);
		CU_ASSERT_EQUAL(remote_stats(&m).stale, side);
		CU_ASSERT_EQUAL(remote_stats(&m).errors, 0);
		/* The connection is as good as before. */
		CU_ASSERT_EQUAL(remote_store(&m, 2, TOKENS).level, KVF_LEVEL_REMOTE);
		CU_ASSERT_EQUAL(remote_fetch(&m, 2, TOKENS, 0).tokens, TOKENS);
		CU_ASSERT_PTR_NULL(strstr(m.log, "connection lost"));
		remote_close(&m);
	}
}

static void test_other_length(void)
{
	char raw[64];

	if (!redis_begin(&server, NULL))
		return;
	snprintf(raw, sizeof(raw), "resp://127.0.0.1:%d", server.port);
	other_length(server.url, "*kv_bytes", true);
	other_length(server.url, "*kv_bytes", false);
	other_length(raw, "*bfloat16", true);
	other_length(raw, "*bfloat16", false);
	redis_kill(&server);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "evicts", test_evicts },		 { "loads", test_loads },
		{ "is_busy", test_is_busy },		 { "is_clustered", test_is_clustered },
		{ "other_length", test_other_length },
	};

	return kvf_test_main("resp_moods", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
