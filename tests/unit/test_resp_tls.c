/* SPDX-License-Identifier: Apache-2.0 */
/* rediss:// against a real server with a certificate of our own making. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/support/certs.h"
#include "tests/support/remote.h"
#include "tests/support/tls_server.h"

#define CHUNKS 5u
#define TOKENS (CHUNKS * RIG_CHUNK)

static struct tls_server server;
static struct remote m;

static bool works(const char *const *settings)
{
	uint32_t tokens;

	remote_open(&m, server.url, settings);
	remote_store(&m, 1, TOKENS);
	tokens = remote_fetch(&m, 1, TOKENS, 3000).tokens;
	remote_close(&m);
	return tokens == TOKENS;
}

static void test_verified(void)
{
	const char *const good[] = { "kvf_tls_ca_file", server.ca, NULL };
	const char *const foreign[] = { "kvf_tls_ca_file", server.other_ca, NULL };
	const char *const blind[] = { "kvf_tls_verify", "false", NULL };
	const char *const named[] = { "kvf_tls_ca_file", server.ca, "kvf_tls_server_name", "elsewhere.test", NULL };

	if (!tls_server_begin(&server, "IP:127.0.0.1", "no"))
		return;
	CU_ASSERT_TRUE(works(good));
	CU_ASSERT_EQUAL(strtol(redis_call(&server.redis, NULL, "DBSIZE", NULL), NULL, 10), 3 * (long)CHUNKS);
	/* Whose authority we do not know, and the system's: no. */
	CU_ASSERT_FALSE(works(foreign));
	CU_ASSERT_PTR_NOT_NULL(strstr(m.log, "the server's certificate: "));
	CU_ASSERT_FALSE(works(NULL));
	CU_ASSERT_PTR_NOT_NULL(strstr(m.log, "the server's certificate: "));
	CU_ASSERT_FALSE(works(named));
	CU_ASSERT_PTR_NOT_NULL(strstr(m.log, "ostname mismatch"));
	CU_ASSERT_TRUE(works(blind));
	CU_ASSERT_PTR_NOT_NULL(strstr(m.rig.text, "kvf_tls_verify: false"));
	redis_kill(&server.redis);
}

static void test_named_and_client(void)
{
	const char *const both[] = { "kvf_tls_ca_file", server.ca, "kvf_tls_server_name", "redis.test",
				     "kvf_tls_cert_file", server.client_cert, "kvf_tls_key_file",
				     server.client_key, NULL };
	const char *const alone[] = { "kvf_tls_ca_file", server.ca, "kvf_tls_server_name", "redis.test", NULL };

	if (!tls_server_begin(&server, "DNS:redis.test", "yes"))
		return;
	CU_ASSERT_TRUE(works(both));
	CU_ASSERT_FALSE(works(alone));
	redis_kill(&server.redis);
}

/* Why a server turns us away is said, also where it tells only after the handshake. */
static void test_reasons(void)
{
	const char *const alone[] = { "kvf_tls_ca_file", server.ca, NULL };
	const char *const shown[] = { "kvf_tls_ca_file", server.ca, "kvf_tls_cert_file", server.client_cert,
				      "kvf_tls_key_file", server.client_key, NULL };

	if (!tls_server_begin(&server, "IP:127.0.0.1", "yes"))
		return;
	CU_ASSERT_FALSE(works(alone));
	CU_ASSERT_PTR_NOT_NULL(strstr(m.log, "certificate required"));
	CU_ASSERT_TRUE_FATAL(certs_make_expired(server.dir, "ca", "client", "DNS:client"));
	CU_ASSERT_FALSE(works(shown));
	CU_ASSERT_PTR_NOT_NULL(strstr(m.log, "alert certificate expired"));
	CU_ASSERT_TRUE_FATAL(certs_make(server.dir, "other", "client", "DNS:client"));
	CU_ASSERT_FALSE(works(shown));
	CU_ASSERT_PTR_NOT_NULL(strstr(m.log, "alert unknown ca"));
	redis_kill(&server.redis);
}

/* An address is not a name that looks like one; part of a label is not matched; the root's dot is no part of a name. */
static void test_whose_name(void)
{
	static const struct {
		const char *alt, *host, *name; /* name NULL: none is set */
		bool fits;
	} cases[] = {
		{ "DNS:127.0.0.1", "127.0.0.1", NULL, false },
		{ "DNS:kv.test", "127.0.0.1", NULL, false },
		{ "IP:127.0.0.2", "127.0.0.1", NULL, false },
		{ "IP:127.0.0.2", "127.0.0.1", "127.0.0.2", true },
		{ "IP:::1", "127.0.0.1", "::1", true },
		{ "IP:::1", "127.0.0.1", "::2", false },
		{ "DNS:localhost", "localhost", NULL, true },
		{ "DNS:kv.test", "127.0.0.1", "kv.test.", true },
		{ "DNS:*.test", "127.0.0.1", "kv.test", false },
		{ "DNS:*.kv.test", "127.0.0.1", "a.kv.test", true },
		{ "DNS:*.kv.test", "127.0.0.1", "b.a.kv.test", false },
		{ "DNS:a*.kv.test", "127.0.0.1", "ab.kv.test", false },
	};

	for (size_t i = 0; i < KVF_ARRAY_LEN(cases); i++) {
		const char *const settings[] = { "kvf_tls_ca_file", server.ca,
						 cases[i].name ? "kvf_tls_server_name" : NULL, cases[i].name, NULL };

		if (!tls_server_begin(&server, cases[i].alt, "no"))
			return;
		snprintf(server.url, sizeof(server.url), "rediss://%s:%s", cases[i].host, server.port);
		CU_ASSERT_EQUAL(works(settings), cases[i].fits);
		CU_ASSERT_EQUAL(strstr(m.log, "mismatch") != NULL, !cases[i].fits);
		redis_kill(&server.redis);
	}
}

static void test_lost(void)
{
	const char *const good[] = { "kvf_tls_ca_file", server.ca, NULL };

	if (!tls_server_begin(&server, "IP:127.0.0.1", "no"))
		return;
	remote_open(&m, server.url, good);
	CU_ASSERT_EQUAL(remote_store(&m, 1, TOKENS).level, KVF_LEVEL_REMOTE);
	redis_kill(&server.redis);
	redis_restart(&server.redis);
	CU_ASSERT_EQUAL(remote_fetch(&m, 1, TOKENS, 2000).tokens, 0);
	CU_ASSERT_EQUAL(remote_stats(&m).errors, 0);
	CU_ASSERT_EQUAL(remote_store(&m, 1, TOKENS).level, KVF_LEVEL_REMOTE);
	CU_ASSERT_EQUAL(remote_fetch(&m, 1, TOKENS, 2000).tokens, TOKENS);
	remote_close(&m);
	redis_kill(&server.redis);
}

/* What was good yesterday. */
static void test_expired(void)
{
	const char *const good[] = { "kvf_tls_ca_file", server.ca, NULL };

	if (!tls_server_begin(&server, "IP:127.0.0.1", "no"))
		return;
	redis_kill(&server.redis);
	CU_ASSERT_TRUE_FATAL(certs_make_expired(server.dir, "ca", "server", "IP:127.0.0.1"));
	CU_ASSERT_TRUE_FATAL(redis_restart(&server.redis));
	CU_ASSERT_FALSE(works(good));
	CU_ASSERT_PTR_NOT_NULL(strstr(m.log, "certificate has expired"));
	CU_ASSERT_EQUAL(strtol(redis_call(&server.redis, NULL, "DBSIZE", NULL), NULL, 10), 0);
	redis_kill(&server.redis);
}

/* Two large values go out at once to a server that took a rest, and turns are down to nothing: a record that was begun
 * is offered again as a whole, or OpenSSL would call it another one. */
static void test_small_turns(void)
{
	const uint32_t big = 8u * 1024 * 1024;
	static struct resp_rig rig;
	struct resp_ask a[2];
	uint8_t *slots[2];

	if (!tls_server_begin(&server, "IP:127.0.0.1", "no"))
		return;
	tls_server_options(&server, &rig.opt);
	rig.opt.format = KVF_RESP_RAW;
	rig.opt.verify = KVF_RESP_NO_VERIFY;
	CU_ASSERT_TRUE_FATAL(resp_rig_open(&rig, big));
	for (unsigned i = 0; i < 2000 && rig.tier->connects < 4; i++) {
		resp_rig_turn(&rig, UINT64_MAX);
		usleep(1000);
	}
	CU_ASSERT_EQUAL(rig.tier->connects, 4);
	redis_pause(&server.redis);
	for (unsigned i = 0; i < 2; i++) {
		slots[i] = calloc(1, KVF_SLOT_HEADER_BYTES + big);
		resp_rig_submit(&rig, &a[i], KVF_REQ_PUT, i, slots[i]);
	}
	resp_rig_settle(&rig);
	CU_ASSERT(rig.tier->conn[2].send_blocked && rig.tier->conn[3].send_blocked);
	redis_go_on(&server.redis);
	for (unsigned i = 0; i < 20000 && !(a[0].done && a[1].done); i++)
		if (!resp_rig_turn(&rig, 1))
			usleep(500);
	for (unsigned i = 0; i < 2; i++) {
		CU_ASSERT(a[i].done == 1 && a[i].status == KVF_OK);
		free(slots[i]);
	}
	CU_ASSERT_EQUAL(rig.tier->connects, 4);
	rig.log[rig.log_n] = '\0';
	CU_ASSERT_STRING_EQUAL(rig.log, "");
	resp_rig_close(&rig);
	close(rig.listener);
	redis_kill(&server.redis);
}

/* A key behind a passphrase is refused, though somebody would type it in: a library has no terminal. */
static void test_locked_key(void)
{
	const char *const locked[] = { "kvf_tls_ca_file", server.ca, "kvf_tls_cert_file", server.client_cert,
				       "kvf_tls_key_file", server.client_key, NULL };
	int typed[2], status = -1;
	pid_t pid;

	if (!tls_server_begin(&server, "IP:127.0.0.1", "no"))
		return;
	redis_kill(&server.redis);
	CU_ASSERT_TRUE_FATAL(certs_lock_key(server.dir, "client", "typed"));
	CU_ASSERT_EQUAL_FATAL(pipe(typed), 0);
	CU_ASSERT_EQUAL(write(typed[1], "typed\n", 6), 6);
	fflush(NULL);
	pid = fork();
	if (!pid) {
		/* Without a terminal OpenSSL would ask here. */
		setsid();
		dup2(typed[0], 0);
		_exit(remote_try_open(&m, server.url, locked) && strstr(m.rig.text, "kvf_tls_key_file") ? 0 : 1);
	}
	waitpid(pid, &status, 0);
	CU_ASSERT_EQUAL(status, 0);
	close(typed[0]);
	close(typed[1]);
}

static void test_bad_files(void)
{
	static const char *const wrong[] = { "kvf_tls_ca_file", "/nowhere/ca.pem", NULL };
	static const char *const no_cert[] = { "kvf_tls_verify", "false", "kvf_tls_cert_file", "/nowhere/c.pem", NULL };

#ifndef HAVE_LIBSSL
	kvf_test_skip("built without libssl");
	return;
#endif
	CU_ASSERT_NOT_EQUAL(remote_try_open(&m, "rediss://127.0.0.1:1", wrong), KVF_OK);
	CU_ASSERT_PTR_NOT_NULL(strstr(m.rig.text, "kvf_tls_ca_file: \"/nowhere/ca.pem\""));
	CU_ASSERT_NOT_EQUAL(remote_try_open(&m, "rediss://127.0.0.1:1", no_cert), KVF_OK);
	CU_ASSERT_PTR_NOT_NULL(strstr(m.rig.text, "kvf_tls_cert_file"));
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "verified", test_verified },
		{ "named_and_client", test_named_and_client },
		{ "reasons", test_reasons },
		{ "whose_name", test_whose_name },
		{ "lost", test_lost },
		{ "expired", test_expired },
		{ "small_turns", test_small_turns },
		{ "locked_key", test_locked_key },
		{ "bad_files", test_bad_files },
	};

	return kvf_test_main("resp_tls", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
