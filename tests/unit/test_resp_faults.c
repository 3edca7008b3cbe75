/* SPDX-License-Identifier: Apache-2.0 */
/* The Redis tier against a real server that misbehaves, or holds what it should not. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"
#include "tests/support/files.h"
#include "tests/support/redis.h"
#include "tests/support/remote.h"
#include "tool.h"

#define CHUNKS 5u
#define TOKENS (CHUNKS * RIG_CHUNK)
#define MS 1000000ull

static struct redis server;
static struct remote m;

static void end(void)
{
	remote_close(&m);
	redis_kill(&server);
}

static long db_size(void)
{
	return strtol(redis_call(&server, NULL, "DBSIZE", NULL), NULL, 10);
}

/* The only key that ends so, with one chunk stored. */
static const char *key_like(const char *pattern)
{
	static char key[512];

	snprintf(key, sizeof(key), "%s", redis_call(&server, NULL, "KEYS", pattern, NULL));
	key[strcspn(key, "\n")] = '\0';
	return key;
}

static const char *at;

/* One chunk, stored; what is done to it; what a retrieve makes of it. */
static struct kvf_completion after(void (*damage)(void), const char *const *settings)
{
	remote_open(&m, at, settings);
	CU_ASSERT_EQUAL(remote_store(&m, 1, RIG_CHUNK).status, KVF_OK);
	damage();
	return remote_fetch(&m, 1, RIG_CHUNK, 0);
}

static void overwrite_bytes(void)
{
	static char junk[REMOTE_PAYLOAD];

	redis_set(&server, key_like("*kv_bytes"), junk, sizeof(junk));
}

static void shorten_bytes(void)
{
	redis_set(&server, key_like("*kv_bytes"), "short", 5);
}

static void drop_bytes(void)
{
	redis_call(&server, NULL, "DEL", key_like("*kv_bytes"), NULL);
}

static void drop_meta(void)
{
	redis_call(&server, NULL, "DEL", key_like("*metadata"), NULL);
}

static void drop_side(void)
{
	redis_call(&server, NULL, "DEL", key_like("*kvferry"), NULL);
}

static void other_meta(void)
{
	static const unsigned char meta[28] = { 1, 2, 3 };

	redis_set(&server, key_like("*metadata"), meta, sizeof(meta));
}

static void wrong_type(void)
{
	const char *key = key_like("*kv_bytes");

	redis_call(&server, NULL, "DEL", key, NULL);
	redis_call(&server, NULL, "LPUSH", key, "x", NULL);
}

static void wrong_type_of_meta(void)
{
	const char *key = key_like("*metadata");

	redis_call(&server, NULL, "DEL", key, NULL);
	redis_call(&server, NULL, "LPUSH", key, "x", NULL);
}

static void other_side(void)
{
	static const char junk[64];

	redis_set(&server, key_like("*kvferry"), junk, sizeof(junk));
}

static void long_side(void)
{
	static const char junk[5000];

	redis_set(&server, key_like("*kvferry"), junk, sizeof(junk));
}

static void nothing(void)
{
}

static void test_damage(void)
{
	static const struct {
		void (*damage)(void);
		bool stale;
		long keys_left;
	} all[] = {
		{ overwrite_bytes, true, 0 },
		{ shorten_bytes, true, 0 },
		{ drop_bytes, false, 0 },
		{ drop_meta, false, 2 },
		{ wrong_type_of_meta, false, 3 },
		{ other_meta, false, 3 },
		{ wrong_type, false, 0 },
		{ other_side, true, 0 },
		{ long_side, true, 0 },
	};

	if (!redis_begin(&server, NULL))
		return;
	at = server.url;
	for (size_t i = 0; i < KVF_ARRAY_LEN(all); i++) {
		struct kvf_completion c;
		struct kvf_tier_stats s;

		redis_call(&server, NULL, "FLUSHALL", NULL);
		c = after(all[i].damage, NULL);
		CU_ASSERT_EQUAL(c.tokens, 0);
		CU_ASSERT_EQUAL(c.status, KVF_OK);
		CU_ASSERT_EQUAL(c.reason, all[i].stale ? KVF_REASON_CORRUPT : KVF_REASON_MISS);
		s = remote_stats(&m);
		CU_ASSERT_EQUAL(s.stale, all[i].stale);
		CU_ASSERT_EQUAL(s.errors, 0);
		CU_ASSERT_EQUAL(s.breaker, 0);
		remote_idle(&m, 20);
		CU_ASSERT_EQUAL(db_size(), all[i].keys_left);
		/* It can be stored anew, and is there again. */
		remote_store(&m, 1, RIG_CHUNK);
		remote_close(&m);
	}
	redis_kill(&server);
}

static void verify(long keys)
{
	static const char *const require[] = { "kvf_remote_verify", "require", NULL };
	static const char *const off[] = { "kvf_remote_verify", "off", NULL };

	CU_ASSERT_EQUAL(after(drop_side, NULL).tokens, RIG_CHUNK);
	CU_ASSERT_EQUAL(remote_stats(&m).unverified, 1);
	remote_close(&m);
	redis_call(&server, NULL, "FLUSHALL", NULL);
	CU_ASSERT_EQUAL(after(drop_side, require).tokens, 0);
	CU_ASSERT_EQUAL(remote_lookup(&m, 0).tokens, 0);
	CU_ASSERT_EQUAL(db_size(), keys);
	remote_close(&m);
	redis_call(&server, NULL, "FLUSHALL", NULL);
	CU_ASSERT_EQUAL(after(nothing, require).tokens, RIG_CHUNK);
	CU_ASSERT_EQUAL(remote_stats(&m).unverified, 0);
	remote_close(&m);
	redis_call(&server, NULL, "FLUSHALL", NULL);
	CU_ASSERT_EQUAL(after(nothing, off).tokens, RIG_CHUNK);
	CU_ASSERT_EQUAL(remote_stats(&m).unverified, 1);
	CU_ASSERT_EQUAL(db_size(), keys);
	remote_close(&m);
	redis_call(&server, NULL, "FLUSHALL", NULL);
}

/* With two keys a chunk, and with one. */
static void test_verify(void)
{
	char raw[64];

	if (!redis_begin(&server, NULL))
		return;
	at = server.url;
	verify(2);
	snprintf(raw, sizeof(raw), "resp://127.0.0.1:%d", server.port);
	at = raw;
	verify(1);
	redis_kill(&server);
}

/* Until hits come back, at most so long. */
static unsigned ms_until_back(unsigned most)
{
	uint64_t begun = tool_now_ns();

	while (tool_now_ns() - begun < most * MS) {
		if (remote_fetch(&m, 1, TOKENS, 1000).tokens == TOKENS)
			return (unsigned)((tool_now_ns() - begun) / MS);
		remote_idle(&m, 20);
	}
	return most;
}

static void test_not_there_at_first(void)
{
	struct kvf_completion c;

	if (!redis_begin(&server, NULL))
		return;
	redis_kill(&server);
	remote_open(&m, server.url, NULL);
	c = remote_store(&m, 1, TOKENS);
	CU_ASSERT_EQUAL(c.tokens, TOKENS);
	CU_ASSERT_EQUAL(c.level, KVF_LEVEL_INDEXED);
	c = remote_fetch(&m, 1, TOKENS, 2000);
	CU_ASSERT_EQUAL(c.tokens, 0);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	redis_restart(&server);
	for (int i = 0; i < 500 && remote_stats(&m).puts < CHUNKS; i++) {
		struct kvf_op op;

		remote_idle(&m, 20);
		rig_tokens(&m.rig, 1, TOKENS);
		kvf_prep_remove(&op, m.rig.seq, 0, TOKENS, KVF_TIER_RAM);
		remote_run(&m, &op, 0);
		remote_store(&m, 1, TOKENS);
	}
	CU_ASSERT_EQUAL(remote_fetch(&m, 1, TOKENS, 0).tokens, TOKENS);
	CU_ASSERT_PTR_NOT_NULL(strstr(m.log, "no connection: refused"));
	CU_ASSERT_PTR_NOT_NULL(strstr(m.log, "connected again"));
	end();
}

static void test_killed_and_restarted(void)
{
	struct kvf_completion c;
	struct kvf_tier_stats s;

	if (!redis_begin(&server, NULL))
		return;
	remote_open(&m, server.url, NULL);
	remote_store(&m, 1, TOKENS);
	redis_kill(&server);
	redis_restart(&server);
	/* The connections are dead; what is asked goes over new ones, and nobody notices. */
	c = remote_fetch(&m, 1, TOKENS, 2000);
	CU_ASSERT_EQUAL(c.tokens, 0);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_MISS);
	s = remote_stats(&m);
	CU_ASSERT_EQUAL(s.errors, 0);
	CU_ASSERT_EQUAL(remote_store(&m, 1, TOKENS).level, KVF_LEVEL_REMOTE);
	CU_ASSERT_EQUAL(remote_fetch(&m, 1, TOKENS, 2000).tokens, TOKENS);
	end();
}

/* Without a server every operation ends at once, and the breaker opens. */
static void test_down_is_a_miss(void)
{
	uint64_t begun;

	if (!redis_begin(&server, NULL))
		return;
	remote_open(&m, server.url, NULL);
	remote_store(&m, 1, TOKENS);
	redis_kill(&server);
	begun = tool_now_ns();
	for (int i = 0; i < 20; i++)
		CU_ASSERT_EQUAL(remote_fetch(&m, 1, TOKENS, 5000).tokens, 0);
	CU_ASSERT(tool_now_ns() - begun < 2000 * MS);
	CU_ASSERT(remote_stats(&m).errors > 0);
	CU_ASSERT_EQUAL(remote_stats(&m).timeouts, 0);
	redis_restart(&server);
	remote_idle(&m, 1500);
	remote_store(&m, 1, TOKENS);
	for (int i = 0; i < 200 && remote_stats(&m).puts < 2 * CHUNKS; i++) {
		struct kvf_op op;

		kvf_prep_remove(&op, m.rig.seq, 0, TOKENS, KVF_TIER_RAM);
		remote_run(&m, &op, 0);
		remote_store(&m, 1, TOKENS);
		remote_idle(&m, 50);
	}
	CU_ASSERT(ms_until_back(10000) < 10000);
	end();
}

/* A server that hangs: operations end at their deadlines, connections are given up, and it comes back by itself. */
static void test_hanging(void)
{
	static const char *const settings[] = { "request_timeout", "0.5", NULL };
	uint64_t begun;

	if (!redis_begin(&server, NULL))
		return;
	remote_open(&m, server.url, settings);
	remote_store(&m, 1, TOKENS);
	redis_pause(&server);
	for (int i = 0; i < 4; i++) {
		struct kvf_completion c;

		begun = tool_now_ns();
		c = remote_fetch(&m, 1, TOKENS, 200);
		CU_ASSERT_EQUAL(c.tokens, 0);
		CU_ASSERT(tool_now_ns() - begun < 400 * MS);
	}
	remote_idle(&m, 700);
	CU_ASSERT_PTR_NOT_NULL(strstr(m.log, "it does not answer"));
	CU_ASSERT_EQUAL(remote_stats(&m).in_flight, 0);
	redis_go_on(&server);
	CU_ASSERT(ms_until_back(20000) < 20000);
	CU_ASSERT(m.longest_wait_ns < 100 * MS);
	end();
}

static void test_pause_and_sleep(void)
{
	if (!redis_begin(&server, NULL))
		return;
	remote_open(&m, server.url, NULL);
	remote_store(&m, 1, TOKENS);
	redis_call(&server, NULL, "CLIENT", "PAUSE", "300", "ALL", NULL);
	CU_ASSERT_EQUAL(remote_fetch(&m, 1, TOKENS, 5000).tokens, TOKENS);
	redis_call(&server, NULL, "CLIENT", "PAUSE", "600", "ALL", NULL);
	CU_ASSERT_EQUAL(remote_fetch(&m, 1, TOKENS, 100).tokens, 0);
	CU_ASSERT(ms_until_back(10000) < 10000);
	end();
}

/* Full, or read only: spills are dropped and counted, what is there is still read, and the breaker stays closed. */
static void refuses_writes(const char *log)
{
	struct kvf_completion c = remote_store(&m, 2, TOKENS);
	struct kvf_tier_stats s;

	CU_ASSERT_EQUAL(c.tokens, TOKENS);
	CU_ASSERT_EQUAL(c.level, KVF_LEVEL_INDEXED);
	s = remote_stats(&m);
	CU_ASSERT_EQUAL(s.dropped_spills, CHUNKS);
	CU_ASSERT_EQUAL(s.errors, 0);
	CU_ASSERT_EQUAL(s.breaker, 0);
	CU_ASSERT_EQUAL(remote_fetch(&m, 1, TOKENS, 0).tokens, TOKENS);
	(void)log;
}

static void test_out_of_memory(void)
{
	if (!redis_begin(&server, NULL))
		return;
	remote_open(&m, server.url, NULL);
	remote_store(&m, 1, TOKENS);
	redis_call(&server, NULL, "CONFIG", "SET", "maxmemory", "1", NULL);
	refuses_writes("");
	end();
}

static void test_read_only(void)
{
	if (!redis_begin(&server, NULL))
		return;
	remote_open(&m, server.url, NULL);
	remote_store(&m, 1, TOKENS);
	redis_call(&server, NULL, "CONFIG", "SET", "replica-serve-stale-data", "yes", NULL);
	redis_call(&server, NULL, "REPLICAOF", "127.0.0.1", "1", NULL);
	refuses_writes("");
	end();
}

static void test_users(void)
{
	static const char *const args[] = { "--requirepass", "gate:keeper", NULL };
	char url[128], path[256];
	const char *const settings[] = { "username", "kv", "password_file", path, NULL };

	if (!redis_begin(&server, args))
		return;
	redis_call(&server, NULL, "AUTH", "gate:keeper", NULL);
	redis_call(&server, NULL, "ACL", "SETUSER", "kv", "on", ">first-secret", "~*", "&*", "+@all", NULL);
	/* Percent-encoded in the URL, for the default user. */
	snprintf(url, sizeof(url), "redis://:gate%%3Akeeper@127.0.0.1:%d", server.port);
	remote_open(&m, url, NULL);
	CU_ASSERT_EQUAL(remote_store(&m, 1, TOKENS).level, KVF_LEVEL_REMOTE);
	remote_close(&m);
	CU_ASSERT_PTR_NULL(strstr(m.log, "gate"));
	/* A user, with the password in a file; then it changes. */
	snprintf(path, sizeof(path), "%s/password", server.dir);
	file_write_text(path, "first-secret\n");
	remote_open(&m, server.url, settings);
	CU_ASSERT_EQUAL(remote_fetch(&m, 1, TOKENS, 0).tokens, TOKENS);
	redis_call(&server, NULL, "ACL", "SETUSER", "kv", "resetpass", ">second-secret", NULL);
	redis_call(&server, NULL, "CLIENT", "KILL", "USER", "kv", NULL);
	remote_fetch(&m, 1, TOKENS, 1000);
	remote_idle(&m, 100);
	CU_ASSERT_PTR_NOT_NULL(strstr(m.log, "does not accept user and password"));
	file_write_text(path, "second-secret\n");
	CU_ASSERT(ms_until_back(10000) < 10000);
	remote_close(&m);
	CU_ASSERT_PTR_NULL(strstr(m.log, "secret"));
	/* One that may only read. */
	redis_call(&server, NULL, "ACL", "SETUSER", "kv", "-@write", NULL);
	remote_open(&m, server.url, settings);
	CU_ASSERT_EQUAL(remote_fetch(&m, 1, TOKENS, 0).tokens, TOKENS);
	CU_ASSERT_EQUAL(remote_store(&m, 2, TOKENS).level, KVF_LEVEL_INDEXED);
	CU_ASSERT_EQUAL(remote_stats(&m).errors, 0);
	end();
}

/* What happens to the server in the midst of everything. */
static void strike(unsigned i)
{
	switch (i % 6) {
	case 0:
		redis_pause(&server);
		break;
	case 1:
		redis_go_on(&server);
		break;
	case 2:
		redis_kill(&server);
		break;
	case 3:
		redis_restart(&server);
		break;
	case 4:
		redis_call(&server, NULL, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes", NULL);
		break;
	default:
		redis_call(&server, NULL, "FLUSHALL", NULL);
	}
}

/* Stored anew, until it comes back from there. */
static bool healed(void)
{
	for (int i = 0; i < 400; i++) {
		remote_store(&m, 1, TOKENS);
		if (remote_fetch(&m, 1, TOKENS, 1000).tokens == TOKENS)
			return true;
		remote_idle(&m, 50);
	}
	return false;
}

/* Stores and retrieves while the server is stopped, killed, restarted and emptied: no byte is wrong, nothing is late,
 * and hits come back. */
static void test_storm(void)
{
	static const char *const settings[] = { "request_timeout", "0.3", NULL };
	if (!redis_begin(&server, NULL))
		return;
	remote_open(&m, server.url, settings);
	for (unsigned i = 0; i < 48; i++) {
		strike(i);
		for (unsigned k = 0; k < 6; k++) {
			unsigned number = 1 + (i * 7 + k * 3) % 5;
			struct kvf_op op;

			rig_tokens(&m.rig, number, TOKENS);
			rig_compute(&m.rig, TOKENS);
			rig_prep(&m.rig, &op, KVF_OP_STORE, 0, TOKENS);
			CU_ASSERT_EQUAL(remote_run(&m, &op, 100).tokens, TOKENS);
			remote_fetch(&m, number, TOKENS, 100);
		}
		if (i % 6 == 3)
			CU_ASSERT(healed());
		remote_idle(&m, 10);
	}
	CU_ASSERT(m.longest_op_ns < 50 * MS);
	CU_ASSERT(m.polls < 100000);
	CU_ASSERT_EQUAL(remote_stats(&m).corrupt, 0);
	CU_ASSERT(m.longest_wait_ns < 200 * MS);
	CU_ASSERT(healed());
	end();
}

/* A name, by c-ares; its first address may be one that nobody listens on. */
static void test_name(void)
{
	char url[128];

#ifndef HAVE_CARES
	kvf_test_skip("built without c-ares");
	return;
#endif
	if (!redis_begin(&server, NULL))
		return;
	/* In capitals it is no name that we know ourselves. */
	snprintf(url, sizeof(url), "redis://LOCALHOST:%d", server.port);
	remote_open(&m, url, NULL);
	for (int i = 0; i < 100 && remote_stats(&m).puts < CHUNKS; i++) {
		struct kvf_op op;

		remote_store(&m, 1, TOKENS);
		kvf_prep_remove(&op, m.rig.seq, 0, TOKENS, KVF_TIER_RAM);
		remote_run(&m, &op, 0);
		remote_idle(&m, 50);
	}
	CU_ASSERT(ms_until_back(10000) < 10000);
	end();
	remote_open(&m, "redis://no-such-host.invalid:1", NULL);
	CU_ASSERT_EQUAL(remote_store(&m, 1, TOKENS).tokens, TOKENS);
	CU_ASSERT_EQUAL(remote_fetch(&m, 1, TOKENS, 500).tokens, 0);
	remote_idle(&m, 200);
	remote_close(&m);
}

static void test_refused_at_open(void)
{
	static const char *const cases[][2] = {
		{ "redis://127.0.0.1:6379,127.0.0.1:6380", "several servers" },
		{ "redis://127.0.0.1:99999", "port" },
		{ "redis://user:pa%zz@127.0.0.1", "password" },
		{ "redis://127.0.0.1/x", "database" },
		{ "redis://:secret@127.0.0.1?frob=1", "frob" },
		{ "redis://to?secret@127.0.0.1", "an option that is none" },
		{ "redis://to?secret&x@127.0.0.1", "an option that is none" },
		{ "unix://relative", "a path beginning" },
		{ "lm://127.0.0.1:1", "not a scheme" },
		{ "redis-cluster://127.0.0.1:1", "not a scheme" },
	};

	for (size_t i = 0; i < KVF_ARRAY_LEN(cases); i++) {
		int rc = remote_try_open(&m, cases[i][0], NULL);

		CU_ASSERT(rc != KVF_OK);
		CU_ASSERT_PTR_NOT_NULL(strstr(m.rig.text, cases[i][1]));
		CU_ASSERT_PTR_NULL(strstr(m.rig.text, "secret"));
		if (!strstr(m.rig.text, cases[i][1]))
			fprintf(stderr, "%s: %s\n", cases[i][0], m.rig.text);
	}
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "damage", test_damage },
		{ "verify", test_verify },
		{ "not_there_at_first", test_not_there_at_first },
		{ "killed_and_restarted", test_killed_and_restarted },
		{ "down_is_a_miss", test_down_is_a_miss },
		{ "hanging", test_hanging },
		{ "pause_and_sleep", test_pause_and_sleep },
		{ "out_of_memory", test_out_of_memory },
		{ "read_only", test_read_only },
		{ "users", test_users },
		{ "storm", test_storm },
		{ "name", test_name },
		{ "refused_at_open", test_refused_at_open },
	};

	return kvf_test_main("resp_faults", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
