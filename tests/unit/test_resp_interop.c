/* SPDX-License-Identifier: Apache-2.0 */
/* kvferry and an independent writer in LMCache's formats (tests/interop/lmcache_redis.py) read each other's chunks. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/support/certs.h"
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
	{ "redis", "redis", "2026-03:sha256_cbor", "sha256_cbor", "ip-2026-03", NULL, TOKENS },
	{ "redis", "redis", "2026-02:builtin", "builtin", "ip-2026-02", NULL, TOKENS },
	{ "redis", "redis", "2025-11:builtin", "builtin", "ip-2025-11", NULL, TOKENS + 9 },
	{ "resp", "raw", "2025-07:builtin", "builtin", "ip-2025-07", NULL, TOKENS },
	{ "redis", "redis", "legacy:sha256", "sha256", "legacy", NULL, TOKENS },
};

/* What older releases left, read by an engine that writes as today. */
static const struct kind left[] = {
	{ "valkey", "valkey2", "builtin", "builtin", "auto", NULL, TOKENS },
	{ "valkey", "valkey2", "sha256_cbor", "sha256_cbor", "auto", "0", TOKENS },
	{ "resp", "raw", "mp3:sha256_cbor", "sha256_cbor", "mp", "0", TOKENS },
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
	return redis_begin(&server, NULL);
}

/* off: a setting that is false. */
static void open_as(const struct kind *k, const char *off)
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
	if (off) {
		settings[n++] = off;
		settings[n++] = "false";
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
		open_as(&kinds[i], NULL);
		CU_ASSERT_EQUAL(remote_fetch(&m, 7, kinds[i].tokens, 0).tokens, kinds[i].tokens);
		s = remote_stats(&m);
		CU_ASSERT_EQUAL(s.unverified, s.gets);
		CU_ASSERT_EQUAL(s.errors + s.stale + s.corrupt, 0);
		remote_close(&m);
	}
	redis_kill(&server);
}

static long keys_there(void)
{
	return strtol(redis_call(&server, NULL, "DBSIZE", NULL), NULL, 10);
}

static void test_left_by_older(void)
{
	if (!begin())
		return;
	for (size_t i = 0; i < KVF_ARRAY_LEN(left); i++) {
		long theirs;
		struct kvf_op op;

		redis_call(&server, NULL, "FLUSHALL", NULL);
		CU_ASSERT_EQUAL(script(&left[i], "write", 7, TOKENS), 0);
		theirs = keys_there();
		open_as(&left[i], NULL);
		rig_tokens(&m.rig, 7, TOKENS);
		CU_ASSERT_EQUAL(remote_lookup(&m, 0).tokens, TOKENS);
		CU_ASSERT_EQUAL(remote_fetch(&m, 7, TOKENS, 0).tokens, TOKENS);
		CU_ASSERT_EQUAL(remote_stats(&m).unverified, CHUNKS);
		/* Of two, today's is taken. */
		CU_ASSERT_EQUAL(remote_store(&m, 8, TOKENS).level, KVF_LEVEL_REMOTE);
		CU_ASSERT_EQUAL(script(&left[i], "write", 8, TOKENS), 0);
		CU_ASSERT_EQUAL(remote_fetch(&m, 8, TOKENS, 0).tokens, TOKENS);
		CU_ASSERT_EQUAL(remote_stats(&m).unverified, CHUNKS);
		/* What is removed is removed in every form. */
		kvf_prep_remove(&op, m.rig.seq, 0, TOKENS, 0);
		CU_ASSERT_EQUAL(remote_run(&m, &op, 0).status, KVF_OK);
		CU_ASSERT_EQUAL(keys_there(), theirs);
		rig_tokens(&m.rig, 7, TOKENS);
		kvf_prep_remove(&op, m.rig.seq, 0, TOKENS, 0);
		CU_ASSERT_EQUAL(remote_run(&m, &op, 0).status, KVF_OK);
		CU_ASSERT_EQUAL(keys_there(), 0);
		remote_close(&m);
		/* Not where it was not asked for. */
		CU_ASSERT_EQUAL(script(&left[i], "write", 7, TOKENS), 0);
		open_as(&left[i], "kvf_remote_read_older");
		CU_ASSERT_EQUAL(remote_fetch(&m, 7, TOKENS, 0).tokens, 0);
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
		open_as(&kinds[i], NULL);
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
	open_as(&kinds[0], NULL);
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
	open_as(&kinds[5], NULL);
	store_as(&p);
	keys = redis_call(&server, NULL, "KEYS", "rig@01000100@0@*@secret-tenant", NULL);
	CU_ASSERT_PTR_NOT_NULL(strstr(keys, "rig@"));
	remote_close(&m);
	redis_kill(&server);
}

/* ---- another process ---- */

/* --peer store|fetch URL HASH NAMES SEED NUMBER TOKENS [KEY VALUE]...: what a second kvferry does, for tests that need
 * one; "-": no seed. */
static char **peer_args;
static int peer_count;

static void test_peer(void)
{
	const char *settings[24] = { "pre_caching_hash_algorithm", peer_args[2], "kvf_remote_names", peer_args[3] };
	uint64_t number = strtoull(peer_args[5], NULL, 10);
	uint32_t tokens = (uint32_t)strtoul(peer_args[6], NULL, 10);
	int n = 4;

	if (strcmp(peer_args[4], "-") != 0) {
		settings[n++] = "PYTHONHASHSEED";
		settings[n++] = peer_args[4];
	}
	for (int i = 7; i < peer_count && n < 22; i++)
		settings[n++] = peer_args[i];
	remote_open(&m, peer_args[1], settings);
	if (strcmp(peer_args[0], "store") == 0) {
		CU_ASSERT_EQUAL(remote_store(&m, number, tokens).level, KVF_LEVEL_REMOTE);
	} else {
		CU_ASSERT_EQUAL(rig_stats(&m.rig).slots_resident, 0);
		CU_ASSERT_EQUAL(remote_fetch(&m, number, tokens, 0).tokens, tokens);
	}
	remote_close(&m);
}

static int run_peer(const char *mode, const char *url, const char *const *more)
{
	const char *argv[24] = { "test_resp_interop", "--peer", mode, url, "builtin", "ip", "-", "7", "256" };
	char self[4096] = "";
	int status = -1, n = 9;
	pid_t pid;

	CU_ASSERT_EQUAL_FATAL(TOKENS, 256);
	/* Its target: the link itself would be valgrind, under valgrind. */
	CU_ASSERT_FATAL(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	for (; more && *more && n < 23; more++)
		argv[n++] = *more;
	fflush(NULL);
	pid = fork();
	if (!pid) {
		/* Its counts are not ours. */
		if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr))
			_exit(126);
		execv(self, (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	return status;
}

/* A prompt stored by one process is retrieved by a second one, over every scheme. */
static void test_two_processes(void)
{
	char dir[100], ca[128], cert[128], key[128], port[16], redis[64], rediss[64], resp[64], valkey[64];
	const char *const args[] = { "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key,
				     "--tls-ca-cert-file", ca, "--tls-auth-clients", "no", NULL };
	const char *const trust[] = { "kvf_tls_ca_file", ca, NULL };
	const struct {
		const char *url;
		const char *const *settings;
	} all[] = { { redis, NULL }, { server.unix_url, NULL }, { resp, NULL }, { valkey, NULL }, { rediss, trust } };
	size_t n = KVF_ARRAY_LEN(all);

	if (!redis_have("redis-server"))
		return;
	CU_ASSERT_FATAL(!kvf_test_tmpdir(dir, sizeof(dir)) && certs_make_ca(dir, "ca") &&
			certs_make(dir, "ca", "server", "IP:127.0.0.1"));
	snprintf(ca, sizeof(ca), "%s/ca.pem", dir);
	snprintf(cert, sizeof(cert), "%s/server.pem", dir);
	snprintf(key, sizeof(key), "%s/server.key", dir);
	snprintf(port, sizeof(port), "%d", redis_free_port());
#ifndef HAVE_LIBSSL
	n--;
	(void)args;
	if (!redis_start(&server, "redis-server", NULL))
		return;
#else
	if (!redis_start(&server, "redis-server", args))
		return;
#endif
	snprintf(redis, sizeof(redis), "redis://127.0.0.1:%d", server.port);
	snprintf(resp, sizeof(resp), "resp://127.0.0.1:%d", server.port);
	snprintf(valkey, sizeof(valkey), "valkey://127.0.0.1:%d", server.port);
	snprintf(rediss, sizeof(rediss), "rediss://127.0.0.1:%s", port);
	for (size_t i = 0; i < n; i++) {
		redis_call(&server, NULL, "FLUSHALL", NULL);
		CU_ASSERT_EQUAL(run_peer("store", all[i].url, all[i].settings), 0);
		CU_ASSERT_EQUAL(run_peer("fetch", all[i].url, all[i].settings), 0);
		/* And not out of thin air. */
		redis_call(&server, NULL, "FLUSHALL", NULL);
		CU_ASSERT_EQUAL(WEXITSTATUS(run_peer("fetch", all[i].url, all[i].settings)), 1);
	}
	redis_kill(&server);
}

int main(int argc, char **argv)
{
	static const struct kvf_test peer[] = { { "peer", test_peer } };
	static const struct kvf_test tests[] = {
		{ "theirs", test_theirs },
		{ "left_by_older", test_left_by_older },
		{ "ours", test_ours },
		{ "tags_and_salts", test_tags_and_salts },
		{ "two_processes", test_two_processes },
	};

	if (argc >= 9 && strcmp(argv[1], "--peer") == 0) {
		peer_args = argv + 2;
		peer_count = argc - 2;
		return kvf_test_main("peer", peer, 1, 1, argv);
	}

	return kvf_test_main("resp_interop", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
