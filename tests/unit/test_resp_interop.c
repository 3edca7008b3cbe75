/* SPDX-License-Identifier: Apache-2.0 */
/* kvferry and an independent writer in LMCache's formats (tests/interop/lmcache_redis.py) read each other's chunks. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/support/redis.h"
#include "tests/support/remote.h"

#define CHUNKS 4u
#define TOKENS (CHUNKS * RIG_CHUNK)

static struct redis server;
static struct remote m;

struct kind {
	const char *scheme;
	const char *form;      /* for the script */
	const char *algorithm; /* the same */
	const char *hash;      /* for kvferry */
	const char *names;
	const char *seed; /* NULL: none */
	uint32_t tokens;
};

static const struct kind kinds[] = {
	{ "redis", "redis", "builtin", "builtin", "ip", NULL, TOKENS },
	{ "redis", "redis", "sha256", "sha256", "auto", "0", TOKENS },
	{ "redis", "redis", "sha256_cbor", "sha256_cbor", "auto", "42", TOKENS + 9 },
	{ "resp", "raw", "builtin", "builtin", "auto", NULL, TOKENS },
	{ "valkey", "raw", "sha256_cbor", "sha256_cbor", "auto", "0", TOKENS },
	{ "resp", "raw", "mp:sha256_cbor", "sha256_cbor", "mp", "0", TOKENS },
	{ "redis", "raw", "mp:sha256", "sha256", "mp", NULL, TOKENS },
};

static int script(const struct kind *k, const char *mode, unsigned number, uint32_t tokens)
{
	char command[1024];

	snprintf(command, sizeof(command),
		 "%s%s python3 '%s/tests/interop/lmcache_redis.py' %s '%s' %s %s %u %u %u %u %u",
		 k->seed ? "KVF_SEED=" : "", k->seed ? k->seed : "", kvf_test_srcdir(), mode, server.socket, k->form,
		 k->algorithm, number, tokens, RIG_CHUNK, RIG_LAYERS, RIG_HIDDEN);
	return system(command);
}

static bool begin(void)
{
	if (system("python3 -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null")) {
		kvf_test_skip("no python3");
		return false;
	}
	return redis_have("redis-server") && redis_start(&server, "redis-server", NULL);
}

static void open_as(const struct kind *k)
{
	char url[128];
	const char *settings[16] = { "pre_caching_hash_algorithm", k->hash, "kvf_remote_names", k->names };
	int n = 4;

	if (k->seed) {
		settings[n++] = "PYTHONHASHSEED";
		settings[n++] = k->seed;
	}
	if (k->tokens % RIG_CHUNK) {
		settings[n++] = "save_unfull_chunk";
		settings[n++] = "true";
	}
	snprintf(url, sizeof(url), "%s://127.0.0.1:%d", k->scheme, server.port);
	remote_open(&m, url, settings);
}

static void test_theirs(void)
{
	if (!begin())
		return;
	for (size_t i = 0; i < KVF_ARRAY_LEN(kinds); i++) {
		struct kvf_tier_stats s;

		redis_call(&server, NULL, "FLUSHALL", NULL);
		CU_ASSERT_EQUAL(script(&kinds[i], "write", 7, kinds[i].tokens), 0);
		open_as(&kinds[i]);
		CU_ASSERT_EQUAL(remote_fetch(&m, 7, kinds[i].tokens, 0).tokens, kinds[i].tokens);
		s = remote_stats(&m);
		CU_ASSERT_EQUAL(s.unverified, s.gets);
		CU_ASSERT_EQUAL(s.errors + s.stale + s.corrupt, 0);
		remote_close(&m);
	}
	redis_kill(&server);
}

static void test_ours(void)
{
	if (!begin())
		return;
	for (size_t i = 0; i < KVF_ARRAY_LEN(kinds); i++) {
		redis_call(&server, NULL, "FLUSHALL", NULL);
		open_as(&kinds[i]);
		CU_ASSERT_EQUAL(remote_store(&m, 7, kinds[i].tokens).level, KVF_LEVEL_REMOTE);
		remote_close(&m);
		CU_ASSERT_EQUAL(script(&kinds[i], "read", 7, kinds[i].tokens), 0);
	}
	redis_kill(&server);
}

static void store_as(const struct kvf_seq_params *p)
{
	uint32_t tokens[TOKENS];
	struct kvf_op op;

	kvf_seq_close(m.rig.seq);
	m.rig.seq = NULL;
	CU_ASSERT_EQUAL_FATAL(kvf_seq_open(m.rig.engine, p, &m.rig.seq), KVF_OK);
	rig_token_values(7, tokens, TOKENS);
	CU_ASSERT_EQUAL(kvf_seq_append(m.rig.seq, tokens, TOKENS), KVF_OK);
	m.rig.content = 7;
	rig_compute(&m.rig, TOKENS);
	rig_prep(&m.rig, &op, KVF_OP_STORE, 0, TOKENS);
	op.level = KVF_LEVEL_REMOTE;
	CU_ASSERT_EQUAL(remote_run(&m, &op, 0).level, KVF_LEVEL_REMOTE);
}

/* Tags stand behind the name in process, the salt in multiprocess mode; what LMCache cannot name goes by its key, and
 * is not found under any other name. */
static void test_tags_and_salts(void)
{
	static const struct kvf_tag tags[] = { { "tenant", "blue" }, { "zone", "7" } };
	struct kvf_seq_params p;
	const char *keys;

	if (!begin())
		return;
	kvf_seq_params_init(&p);
	p.tags = tags;
	p.n_tags = 2;
	open_as(&kinds[0]);
	store_as(&p);
	keys = redis_call(&server, NULL, "KEYS", "*@bfloat16@tenant%blue@zone%7metadata", NULL);
	CU_ASSERT_PTR_NOT_NULL(strstr(keys, "rig@1@0@"));
	CU_ASSERT_EQUAL(remote_lookup(&m, 0).tokens, TOKENS);
	rig_tokens(&m.rig, 7, TOKENS);
	CU_ASSERT_EQUAL(remote_lookup(&m, 0).tokens, 0);
	redis_call(&server, NULL, "FLUSHALL", NULL);
	kvf_seq_params_init(&p);
	p.salt = "secret-tenant";
	store_as(&p);
	CU_ASSERT_STRING_EQUAL(redis_call(&server, NULL, "KEYS", "*secret*", NULL), "");
	CU_ASSERT_EQUAL(remote_lookup(&m, 0).tokens, TOKENS);
	rig_tokens(&m.rig, 7, TOKENS);
	CU_ASSERT_EQUAL(remote_lookup(&m, 0).tokens, 0);
	remote_close(&m);
	redis_call(&server, NULL, "FLUSHALL", NULL);
	open_as(&kinds[5]);
	store_as(&p);
	keys = redis_call(&server, NULL, "KEYS", "rig@01000100@0@*@secret-tenant", NULL);
	CU_ASSERT_PTR_NOT_NULL(strstr(keys, "rig@"));
	remote_close(&m);
	redis_kill(&server);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "theirs", test_theirs },
		{ "ours", test_ours },
		{ "tags_and_salts", test_tags_and_salts },
	};

	return kvf_test_main("resp_interop", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
