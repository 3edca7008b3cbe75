/* SPDX-License-Identifier: Apache-2.0 */
/* rediss:// against a real server with a certificate of our own making. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"
#include "tests/support/certs.h"
#include "tests/support/redis.h"
#include "tests/support/remote.h"

#define CHUNKS 5u
#define TOKENS (CHUNKS * RIG_CHUNK)

static struct redis server;
static struct remote m;
static char dir[100], ca[128], other_ca[128], cert[128], key[128], client_cert[128], client_key[128], port[16];
static char url[96];

/* What the server shows is for `alt`; clients must show a certificate where `both`. */
static bool begin(const char *alt, const char *both)
{
	static const char *args[16];

	if (!redis_have("redis-server"))
		return false;
#ifndef HAVE_LIBSSL
	kvf_test_skip("built without libssl");
	return false;
#endif
	if (kvf_test_tmpdir(dir, sizeof(dir)) || !certs_make_ca(dir, "ca") || !certs_make_ca(dir, "other") ||
	    !certs_make(dir, "ca", "server", alt) || !certs_make(dir, "ca", "client", "DNS:client")) {
		CU_FAIL("no certificates");
		return false;
	}
	snprintf(ca, sizeof(ca), "%s/ca.pem", dir);
	snprintf(other_ca, sizeof(other_ca), "%s/other.pem", dir);
	snprintf(cert, sizeof(cert), "%s/server.pem", dir);
	snprintf(key, sizeof(key), "%s/server.key", dir);
	snprintf(client_cert, sizeof(client_cert), "%s/client.pem", dir);
	snprintf(client_key, sizeof(client_key), "%s/client.key", dir);
	snprintf(port, sizeof(port), "%d", redis_free_port());
	snprintf(url, sizeof(url), "rediss://127.0.0.1:%s", port);
	args[0] = "--tls-port";
	args[1] = port;
	args[2] = "--tls-cert-file";
	args[3] = cert;
	args[4] = "--tls-key-file";
	args[5] = key;
	args[6] = "--tls-ca-cert-file";
	args[7] = ca;
	args[8] = "--tls-auth-clients";
	args[9] = both;
	args[10] = NULL;
	return redis_start(&server, "redis-server", args);
}

static bool works(const char *const *settings)
{
	uint32_t tokens;

	remote_open(&m, url, settings);
	remote_store(&m, 1, TOKENS);
	tokens = remote_fetch(&m, 1, TOKENS, 3000).tokens;
	remote_close(&m);
	return tokens == TOKENS;
}

static void test_verified(void)
{
	const char *const good[] = { "kvf_tls_ca_file", ca, NULL };
	const char *const foreign[] = { "kvf_tls_ca_file", other_ca, NULL };
	const char *const blind[] = { "kvf_tls_verify", "false", NULL };
	const char *const named[] = { "kvf_tls_ca_file", ca, "kvf_tls_server_name", "elsewhere.test", NULL };

	if (!begin("IP:127.0.0.1", "no"))
		return;
	CU_ASSERT_TRUE(works(good));
	CU_ASSERT_EQUAL(strtol(redis_call(&server, NULL, "DBSIZE", NULL), NULL, 10), 3 * (long)CHUNKS);
	/* Whose authority we do not know, and the system's: no. */
	CU_ASSERT_FALSE(works(foreign));
	CU_ASSERT_PTR_NOT_NULL(strstr(m.log, "the server's certificate: "));
	CU_ASSERT_FALSE(works(NULL));
	CU_ASSERT_PTR_NOT_NULL(strstr(m.log, "the server's certificate: "));
	CU_ASSERT_FALSE(works(named));
	CU_ASSERT_PTR_NOT_NULL(strstr(m.log, "ostname mismatch"));
	CU_ASSERT_TRUE(works(blind));
	CU_ASSERT_PTR_NOT_NULL(strstr(m.rig.text, "kvf_tls_verify: false"));
	redis_kill(&server);
}

static void test_named_and_client(void)
{
	const char *const both[] = { "kvf_tls_ca_file", ca, "kvf_tls_server_name", "redis.test",
				     "kvf_tls_cert_file", client_cert, "kvf_tls_key_file", client_key, NULL };
	const char *const alone[] = { "kvf_tls_ca_file", ca, "kvf_tls_server_name", "redis.test", NULL };

	if (!begin("DNS:redis.test", "yes"))
		return;
	CU_ASSERT_TRUE(works(both));
	CU_ASSERT_FALSE(works(alone));
	redis_kill(&server);
}

static void test_lost(void)
{
	const char *const good[] = { "kvf_tls_ca_file", ca, NULL };

	if (!begin("IP:127.0.0.1", "no"))
		return;
	remote_open(&m, url, good);
	CU_ASSERT_EQUAL(remote_store(&m, 1, TOKENS).level, KVF_LEVEL_REMOTE);
	redis_kill(&server);
	redis_restart(&server);
	CU_ASSERT_EQUAL(remote_fetch(&m, 1, TOKENS, 2000).tokens, 0);
	CU_ASSERT_EQUAL(remote_stats(&m).errors, 0);
	CU_ASSERT_EQUAL(remote_store(&m, 1, TOKENS).level, KVF_LEVEL_REMOTE);
	CU_ASSERT_EQUAL(remote_fetch(&m, 1, TOKENS, 2000).tokens, TOKENS);
	remote_close(&m);
	redis_kill(&server);
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
		{ "lost", test_lost },
		{ "bad_files", test_bad_files },
	};

	return kvf_test_main("resp_tls", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
