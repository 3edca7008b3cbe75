/* SPDX-License-Identifier: Apache-2.0 */
/* Servers that refuse the beginning or the end of a transaction to us: stores fail, reading goes on, no connection
 * stays inside of one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"
#include "tests/support/prom.h"
#include "tests/support/redis.h"
#include "tests/support/remote.h"

#define CHUNKS 3u
#define TOKENS (CHUNKS * RIG_CHUNK)
#define STORES 10u

static struct redis server;
static struct remote m;

static double metric(const char *name, const char *label)
{
	static char text[262144];
	struct prom page;
	double v;

	CU_ASSERT_FATAL(kvf_metrics_text(m.rig.engine, text, sizeof(text)) > 0);
	CU_ASSERT_EQUAL(prom_parse(&page, text), 0);
	v = prom_value(&page, name, label);
	prom_free(&page);
	return v;
}

static double errors(const char *kind)
{
	char label[64];

	snprintf(label, sizeof(label), ",kind=\"%s\"", kind);
	return metric("kvferry_server_errors_total", label);
}

static long keys(void)
{
	return strtol(redis_call(&server, NULL, "DBSIZE", NULL), NULL, 10);
}

static unsigned times_logged(const char *what)
{
	unsigned n = 0;

	for (const char *at = m.log; (at = strstr(at, what)); at++)
		n++;
	return n;
}

/* Somebody who may do everything left sequence 1 there. */
static bool begin(const char *const *args)
{
	if (!redis_begin(&server, args))
		return false;
	redis_call(&server, NULL, "ACL", "SETUSER", "kv", "on", ">pw", "~*", "+mget", "+exists", "+set", "+unlink",
		   "+multi", "+exec", NULL);
	return true;
}

static void seed(const char *const *settings)
{
	remote_open(&m, server.url, settings);
	CU_ASSERT_EQUAL(remote_store(&m, 1, TOKENS).level, KVF_LEVEL_REMOTE);
	remote_close(&m);
}

/* Stores fail and are named as what they are; between them what is there comes back, and nothing else. */
static void reads_on(const char *kind, const char *said)
{
	double connects;

	CU_ASSERT_EQUAL(remote_fetch(&m, 1, TOKENS, 2000).tokens, TOKENS);
	connects = metric("kvferry_server_connects_total", NULL);
	for (unsigned i = 0; i < STORES; i++)
		CU_ASSERT_NOT_EQUAL(remote_store(&m, 40 + i, TOKENS).level, KVF_LEVEL_REMOTE);
	for (unsigned i = 0; i < STORES; i++) {
		CU_ASSERT_NOT_EQUAL(remote_store(&m, 2 + i, TOKENS).level, KVF_LEVEL_REMOTE);
		CU_ASSERT_EQUAL(remote_fetch(&m, 1, TOKENS, 2000).tokens, TOKENS);
	}
	CU_ASSERT(errors(kind) > 0);
	CU_ASSERT_EQUAL(errors("protocol") + errors("other"), 0);
	CU_ASSERT_EQUAL(metric("kvferry_server_breaker_state", NULL), 0);
	CU_ASSERT_EQUAL(times_logged(said), 1);
	/* Each connection for values may have ended once. */
	CU_ASSERT(metric("kvferry_server_connects_total", NULL) <= connects + 3);
}

/* By itself, when it is allowed again. */
static void stores_again(void)
{
	unsigned i;

	for (i = 0; i < 100 && remote_store(&m, 20 + i, TOKENS).level != KVF_LEVEL_REMOTE; i++)
		remote_idle(&m, 50);
	CU_ASSERT(i < 100);
	CU_ASSERT_EQUAL(remote_fetch(&m, 20 + i, TOKENS, 2000).tokens, TOKENS);
}

static void test_no_right(void)
{
	static const char *const settings[] = { "username", "kv", "password", "pw", NULL };
	static const struct {
		const char *less, *again, *said;
	} cases[] = {
		{ "-exec", "+exec", "EXEC is not allowed to this user" },
		{ "-multi", "+multi", "MULTI is not allowed to this user" },
		{ "-set", "+set", "SET is not allowed to this user" },
	};

	if (!begin(NULL))
		return;
	for (size_t i = 0; i < KVF_ARRAY_LEN(cases); i++) {
		redis_call(&server, NULL, "FLUSHALL", NULL);
		seed(settings);
		redis_call(&server, NULL, "ACL", "SETUSER", "kv", cases[i].less, NULL);
		remote_open(&m, server.url, settings);
		reads_on("noperm", cases[i].said);
		if (i != 1)
			CU_ASSERT_EQUAL(keys(), 3 * (long)CHUNKS);
		redis_call(&server, NULL, "ACL", "SETUSER", "kv", cases[i].again, NULL);
		stores_again();
		remote_close(&m);
	}
	redis_kill(&server);
}

/* It knows no EXEC, so that a transaction that was begun stays open. */
static void test_no_end(void)
{
	static const char *const args[] = { "--rename-command", "EXEC", "", NULL };
	static const char *const alone[] = { "kvf_remote_verify", "off", NULL };
	static char url[64];

	if (!begin(args))
		return;
	/* Raw and without a side record it is one SET, which needs no transaction. Not what the other engine reads. */
	snprintf(url, sizeof(url), "resp://127.0.0.1:%d", server.port);
	remote_open(&m, url, alone);
	CU_ASSERT_EQUAL(remote_store(&m, 1, TOKENS).level, KVF_LEVEL_REMOTE);
	remote_close(&m);
	remote_open(&m, url, NULL);
	reads_on("unknown_command", "the server does not know EXEC");
	CU_ASSERT_EQUAL(keys(), (long)CHUNKS);
	remote_close(&m);
	redis_kill(&server);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "no_right", test_no_right },
		{ "no_end", test_no_end },
	};

	return kvf_test_main("resp_multi", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
