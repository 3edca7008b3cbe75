/* SPDX-License-Identifier: Apache-2.0 */
/* The Redis tier against a real server: formats and names as LMCache has them, over every scheme. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "engine/engine.h"
#include "tests/harness.h"
#include "tests/support/redis.h"
#include "tests/support/remote.h"
#include "tier/resp/tier.h"
#include "token/wire_hash.h"

#define CHUNKS 5u
#define TOKENS (CHUNKS * RIG_CHUNK)

static struct redis server;
static struct remote m;

/* LMCache's name of chunk `chunk` of the sequence with this content number. */
static void name_of(uint64_t number, uint32_t chunk, const char *seed, char *name, size_t size)
{
	struct kvf_wire_config config = { .algo = KVF_WIRE_BUILTIN, .form = KVF_WIRE_IP, .seed = seed };
	struct kvf_wire_chain chain;
	struct kvf_wire_hash hash;
	char text[KVF_WIRE_HASH_TEXT];
	uint32_t tokens[TOKENS];

	rig_token_values(number, tokens, TOKENS);
	CU_ASSERT_EQUAL(kvf_wire_chain_init(&chain, &config, NULL), KVF_OK);
	for (uint32_t i = 0; i <= chunk; i++)
		CU_ASSERT_EQUAL(kvf_wire_chain_next(&chain, tokens + i * RIG_CHUNK, RIG_CHUNK, &hash), KVF_OK);
	kvf_wire_hash_print(&hash, text, sizeof(text));
	snprintf(name, size, "rig@1@0@%s@bfloat16", text);
}

static long db_size(void)
{
	return strtol(redis_call(&server, NULL, "DBSIZE", NULL), NULL, 10);
}

/* One engine stores, another one with an empty pool reads. */
static void share(const char *url, const char *const *settings, long keys_each)
{
	struct kvf_completion c;
	struct kvf_tier_stats s;

	remote_open(&m, url, settings);
	c = remote_store(&m, 1, TOKENS);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(c.tokens, TOKENS);
	CU_ASSERT_EQUAL(c.level, KVF_LEVEL_REMOTE);
	remote_close(&m);
	CU_ASSERT_EQUAL(db_size(), (long)CHUNKS * keys_each);

	remote_open(&m, url, settings);
	rig_tokens(&m.rig, 1, TOKENS);
	c = remote_lookup(&m, 0);
	CU_ASSERT_EQUAL(c.tokens, TOKENS);
	c = remote_fetch(&m, 1, TOKENS, 0);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(c.tokens, TOKENS);
	c = remote_fetch(&m, 2, TOKENS, 0);
	CU_ASSERT_EQUAL(c.tokens, 0);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_MISS);
	s = remote_stats(&m);
	CU_ASSERT_EQUAL(s.gets, CHUNKS);
	CU_ASSERT_EQUAL(s.errors + s.timeouts + s.corrupt + s.stale, 0);
	remote_close(&m);
}

static void test_redis(void)
{
	char name[256], key[300];
	const char *v;
	size_t n;

	if (!redis_begin(&server, NULL))
		return;
	share(server.url, NULL, 3);
	for (uint32_t i = 0; i < CHUNKS; i++) {
		static const uint32_t want[] = { REMOTE_PAYLOAD, 1, 3, 2, RIG_LAYERS, RIG_CHUNK, RIG_HIDDEN / 2 };

		name_of(1, i, NULL, name, sizeof(name));
		snprintf(key, sizeof(key), "%smetadata", name);
		v = redis_call(&server, &n, "GET", key, NULL);
		CU_ASSERT_FATAL(v && n == 28);
		for (uint32_t k = 0; k < 7; k++)
			CU_ASSERT_EQUAL(kvf_load_le32(v + 4 * k), want[k]);
		snprintf(key, sizeof(key), "%skv_bytes", name);
		CU_ASSERT_EQUAL(strtoul(redis_call(&server, NULL, "STRLEN", key, NULL), NULL, 10), REMOTE_PAYLOAD);
		snprintf(key, sizeof(key), "%skvferry", name);
		CU_ASSERT_EQUAL(strtoul(redis_call(&server, NULL, "STRLEN", key, NULL), NULL, 10), 64);
	}
	CU_ASSERT_PTR_NULL(strstr(m.log, "no connection"));
	redis_kill(&server);
}

static void test_unix(void)
{
	if (!redis_begin(&server, NULL))
		return;
	share(server.unix_url, NULL, 3);
	redis_kill(&server);
}

static void test_raw(void)
{
	static const char *const settings[] = { "save_chunk_meta", "false", "PYTHONHASHSEED", "0", NULL };
	char url[128], name[256];

	if (!redis_begin(&server, NULL))
		return;
	snprintf(url, sizeof(url), "resp://127.0.0.1:%d", server.port);
	share(url, settings, 2);
	name_of(1, 2, "0", name, sizeof(name));
	CU_ASSERT_EQUAL(strtoul(redis_call(&server, NULL, "STRLEN", name, NULL), NULL, 10), REMOTE_PAYLOAD);
	redis_kill(&server);
}

static void test_valkey(void)
{
	static const char *const settings[] = { "valkey_database", "3", "valkey_enable_ttl", "true", "valkey_ttl_sec",
						"1000",		   "kvf_remote_verify", "off", NULL };
	char url[128], name[256];
	long ttl;

	if (!redis_begin(&server, NULL))
		return;
	snprintf(url, sizeof(url), "valkey://127.0.0.1:%d", server.port);
	redis_call(&server, NULL, "SELECT", "3", NULL);
	share(url, settings, 1);
	name_of(1, 0, NULL, name, sizeof(name));
	ttl = strtol(redis_call(&server, NULL, "TTL", name, NULL), NULL, 10);
	CU_ASSERT(ttl > 900 && ttl <= 1000);
	redis_kill(&server);
}

static void test_partial_chunks(void)
{
	static const char *const settings[] = { "save_unfull_chunk", "true", NULL };
	struct kvf_completion c;

	if (!redis_begin(&server, NULL))
		return;
	remote_open(&m, server.url, settings);
	c = remote_store(&m, 1, TOKENS + 7);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(c.tokens, TOKENS + 7);
	CU_ASSERT_EQUAL(db_size(), 3 * (CHUNKS + 1));
	c = remote_fetch(&m, 1, TOKENS + 7, 0);
	CU_ASSERT_EQUAL(c.tokens, TOKENS + 7);
	CU_ASSERT_EQUAL(remote_stats(&m).unverified, 0);
	remote_close(&m);
	redis_kill(&server);
}

static void test_remove(void)
{
	struct kvf_op op;

	if (!redis_begin(&server, NULL))
		return;
	remote_open(&m, server.url, NULL);
	remote_store(&m, 1, TOKENS);
	kvf_prep_remove(&op, m.rig.seq, RIG_CHUNK, 2 * RIG_CHUNK, 0);
	CU_ASSERT_EQUAL(remote_run(&m, &op, 0).status, KVF_OK);
	CU_ASSERT_EQUAL(db_size(), 3 * (CHUNKS - 2));
	CU_ASSERT_EQUAL(remote_lookup(&m, 0).tokens, RIG_CHUNK);
	remote_close(&m);
	redis_kill(&server);
}

/* Everything a lookup asks is on its way before anything is answered: one round trip, however long the prompt. */
static void test_lookup_is_one_flight(void)
{
	const uint32_t n = 405;
	const struct kvf_resp_conn *c;
	struct kvf_completion done;
	struct kvf_op op;
	uint64_t id, calls, out;

	if (!redis_begin(&server, NULL))
		return;
	remote_open(&m, server.url, NULL);
	remote_store(&m, 1, TOKENS);
	rig_tokens(&m.rig, 2, n * RIG_CHUNK);
	remote_lookup(&m, 0);
	c = &m.rig.engine->remote->conn[0];
	redis_pause(&server);
	calls = c->io.syscalls;
	out = c->bytes_out;
	kvf_prep_lookup(&op, m.rig.seq, 0, KVF_TIER_REMOTE, 0);
	id = rig_submit(&m.rig, &op);
	remote_idle(&m, 50);
	CU_ASSERT_EQUAL(c->tail - c->head, n);
	CU_ASSERT_EQUAL(c->sent, c->end);
	CU_ASSERT(c->io.syscalls - calls <= 4);
	CU_ASSERT(c->bytes_out - out > n * strlen("EXISTS"));
	out = c->bytes_out;
	redis_go_on(&server);
	for (int i = 0; i < 1000 && c->head != c->tail; i++)
		remote_idle(&m, 5);
	CU_ASSERT_EQUAL(c->bytes_out, out);
	CU_ASSERT_EQUAL(kvf_poll(m.rig.engine, &done, 1), 1);
	CU_ASSERT_EQUAL(done.op_id, id);
	CU_ASSERT_EQUAL(done.status, KVF_OK);
	remote_close(&m);
	redis_kill(&server);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "redis", test_redis },   { "unix", test_unix },
		{ "raw", test_raw },	   { "valkey", test_valkey },
		{ "partial", test_partial_chunks }, { "remove", test_remove },
		{ "lookup_is_one_flight", test_lookup_is_one_flight },
	};

	return kvf_test_main("resp_server", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
