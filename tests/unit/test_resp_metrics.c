/* SPDX-License-Identifier: Apache-2.0 */
/* What the metrics page says of a server: a real one that works, and fails in every way that can be brought about. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kvferry/kvf_control.h"
#include "tests/harness.h"
#include "tests/support/prom.h"
#include "tests/support/redis.h"
#include "tests/support/remote.h"
#include "tests/support/stutter.h"
#include "tier/resp/tier.h"

#define CHUNKS 5u
#define TOKENS (CHUNKS * RIG_CHUNK)

static struct redis server;
static struct remote m;
static struct prom page;

static void read_page(void)
{
	int n = kvf_metrics_text(m.rig.engine, NULL, 0);
	char *text = malloc((size_t)n + 1);

	CU_ASSERT_EQUAL(kvf_metrics_text(m.rig.engine, text, (size_t)n + 1), n);
	prom_free(&page);
	CU_ASSERT_EQUAL(prom_parse(&page, text), 0);
	CU_ASSERT_STRING_EQUAL(page.error, "");
	CU_ASSERT_PTR_NULL(strstr(text, "hush"));
	free(text);
}

static uint64_t value(const char *name)
{
	double v = prom_value(&page, name, "server=\"");

	CU_ASSERT(v >= 0);
	return v >= 0 ? (uint64_t)v : 0;
}

/* Errors of one kind; those of no other kind than that and `beside` are there. */
static uint64_t errors(enum kvf_resp_trouble kind, enum kvf_resp_trouble beside)
{
	uint64_t found = 0;

	read_page();
	for (int i = 0; i < KVF_RESP_TROUBLES; i++) {
		char label[64];
		double v;

		snprintf(label, sizeof(label), ",kind=\"%s\"", kvf_resp_trouble_name((enum kvf_resp_trouble)i));
		v = prom_value(&page, "kvferry_server_errors_total", label);
		if (i == (int)kind)
			found = (uint64_t)v;
		else if (i != (int)beside && v != 0)
			fprintf(stderr, "beside kind %d: %.0f errors%s\n", (int)kind, v, label);
		CU_ASSERT(i == (int)kind || i == (int)beside || v == 0);
	}
	return found;
}

static void end(void)
{
	remote_close(&m);
	redis_kill(&server);
}

static void test_works(void)
{
	char label[64];
	uint64_t at_first;

	if (!redis_begin(&server, NULL))
		return;
	remote_open(&m, server.url, NULL);
	remote_store(&m, 1, TOKENS);
	remote_lookup(&m, 0);
	CU_ASSERT_EQUAL(remote_fetch(&m, 1, TOKENS, 0).tokens, TOKENS);
	CU_ASSERT_EQUAL(errors(KVF_RESP_T_OTHER, KVF_RESP_T_OTHER), 0);
	snprintf(label, sizeof(label), "server=\"127.0.0.1:%d\"", server.port);
	CU_ASSERT(prom_value(&page, "kvferry_server_connections", label) >= 2);
	CU_ASSERT(value("kvferry_server_connects_total") == value("kvferry_server_connections"));
	CU_ASSERT_EQUAL(value("kvferry_server_breaker_state"), 0);
	CU_ASSERT(value("kvferry_server_sent_bytes_total") > CHUNKS * REMOTE_PAYLOAD);
	CU_ASSERT(value("kvferry_server_received_bytes_total") > CHUNKS * REMOTE_PAYLOAD);
	CU_ASSERT(value("kvferry_server_sent_bytes_total") < CHUNKS * (REMOTE_PAYLOAD + 4096));
	CU_ASSERT_EQUAL(prom_value(&page, "kvferry_server_request_seconds_count", "request=\"get\""), CHUNKS);
	CU_ASSERT_EQUAL(prom_value(&page, "kvferry_server_request_seconds_count", "request=\"put\""), CHUNKS);
	CU_ASSERT(prom_value(&page, "kvferry_server_request_seconds_count", "request=\"ask\"") >= CHUNKS);
	CU_ASSERT(prom_value(&page, "kvferry_server_request_seconds_sum", "request=\"get\"") > 0);
	at_first = value("kvferry_server_connects_total");
	/* The server closes them: opened anew, and counted on. */
	redis_call(&server, NULL, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes", NULL);
	remote_idle(&m, 50);
	CU_ASSERT(errors(KVF_RESP_T_RESET, KVF_RESP_T_RESET) >= 2);
	CU_ASSERT_EQUAL(value("kvferry_server_connections"), 0);
	CU_ASSERT_EQUAL(remote_fetch(&m, 1, TOKENS, 2000).tokens, TOKENS);
	read_page();
	CU_ASSERT(value("kvferry_server_connects_total") > at_first);
	CU_ASSERT(value("kvferry_server_received_bytes_total") > 2 * CHUNKS * REMOTE_PAYLOAD);
	end();
}

/* Without remote tier nothing is said of servers. */
static void test_no_server(void)
{
	struct rig_options o = { .slots = 16 };

	memset(&m, 0, sizeof(m));
	rig_open(&m.rig, &o);
	read_page();
	CU_ASSERT_FALSE(prom_has(&page, "kvferry_server_errors_total"));
	CU_ASSERT_FALSE(prom_has(&page, "kvferry_server_request_seconds"));
	rig_close(&m.rig);
}

static void test_down(void)
{
	if (!redis_begin(&server, NULL))
		return;
	redis_kill(&server);
	remote_open(&m, server.url, NULL);
	for (int i = 0; i < 8; i++)
		remote_fetch(&m, 1, TOKENS, 500);
	CU_ASSERT(errors(KVF_RESP_T_REFUSED, KVF_RESP_T_REFUSED) > 0);
	CU_ASSERT(value("kvferry_server_breaker_state") > 0);
	CU_ASSERT_EQUAL(value("kvferry_server_connections"), 0);
	end();
}

static void test_hangs(void)
{
	static const char *const settings[] = { "request_timeout", "0.2", NULL };

	if (!redis_begin(&server, NULL))
		return;
	remote_open(&m, server.url, settings);
	remote_store(&m, 1, TOKENS);
	redis_pause(&server);
	remote_fetch(&m, 1, TOKENS, 100);
	remote_idle(&m, 400);
	CU_ASSERT(errors(KVF_RESP_T_TIMEOUT, KVF_RESP_T_TIMEOUT) > 0);
	redis_go_on(&server);
	end();
}

static void test_refuses(void)
{
	static const char *const settings[] = { "password", "hush-wrong", NULL };
	static const char *const args[] = { "--requirepass", "hush-right", NULL };

	if (!redis_begin(&server, NULL))
		return;
	remote_open(&m, server.url, NULL);
	redis_call(&server, NULL, "CONFIG", "SET", "maxmemory", "1", NULL);
	remote_store(&m, 1, TOKENS);
	CU_ASSERT_EQUAL(errors(KVF_RESP_T_OOM, KVF_RESP_T_OOM), CHUNKS);
	redis_call(&server, NULL, "CONFIG", "SET", "maxmemory", "0", NULL);
	redis_call(&server, NULL, "REPLICAOF", "127.0.0.1", "1", NULL);
	remote_store(&m, 2, TOKENS);
	CU_ASSERT_EQUAL(errors(KVF_RESP_T_READONLY, KVF_RESP_T_OOM), CHUNKS);
	remote_close(&m);
	redis_call(&server, NULL, "REPLICAOF", "NO", "ONE", NULL);
	redis_call(&server, NULL, "ACL", "SETUSER", "default", "-set", NULL);
	remote_open(&m, server.url, NULL);
	remote_store(&m, 1, TOKENS);
	CU_ASSERT_EQUAL(errors(KVF_RESP_T_NOPERM, KVF_RESP_T_NOPERM), CHUNKS);
	end();
	if (!redis_start(&server, "redis-server", args))
		return;
	remote_open(&m, server.url, settings);
	remote_fetch(&m, 1, TOKENS, 200);
	CU_ASSERT(errors(KVF_RESP_T_AUTH, KVF_RESP_T_AUTH) > 0);
	end();
}

static void test_lies(void)
{
	struct stutter proxy;

	if (!redis_begin(&server, NULL))
		return;
	CU_ASSERT_TRUE_FATAL(stutter_start(&proxy, server.socket));
	remote_open(&m, proxy.url, NULL);
	remote_store(&m, 1, TOKENS);
	/* The first byte of the next answer. */
	proxy.orders->flip_at[STUTTER_DOWN] = 0;
	remote_lookup(&m, 2000);
	CU_ASSERT_EQUAL(errors(KVF_RESP_T_PROTOCOL, KVF_RESP_T_PROTOCOL), 1);
	remote_close(&m);
	stutter_stop(&proxy);
	redis_kill(&server);
}

/* What real servers cannot be made to say here: by its text. */
static void test_kinds(void)
{
	static const struct {
		const char *text;
		enum kvf_resp_trouble kind;
	} all[] = {
		{ "LOADING Redis is loading the dataset in memory", KVF_RESP_T_LOADING },
		{ "BUSY Redis is busy running a script", KVF_RESP_T_BUSY },
		{ "MOVED 3999 127.0.0.1:6381", KVF_RESP_T_CLUSTER },
		{ "CLUSTERDOWN Hash slot not served", KVF_RESP_T_CLUSTER },
		{ "WRONGTYPE Operation against a key holding the wrong kind of value", KVF_RESP_T_WRONGTYPE },
		{ "MISCONF Redis is configured to save RDB snapshots", KVF_RESP_T_READONLY },
		{ "ERR unknown command 'UNLINK'", KVF_RESP_T_UNKNOWN_COMMAND },
		{ "OOMPH", KVF_RESP_T_OTHER },
	};

	for (size_t i = 0; i < KVF_ARRAY_LEN(all); i++) {
		enum kvf_resp_trouble kind = KVF_RESP_TROUBLES;

		(void)kvf_resp_error_of(all[i].text, &kind);
		CU_ASSERT_EQUAL(kind, all[i].kind);
	}
	for (int i = 0; i < KVF_RESP_TROUBLES; i++) {
		const char *name = kvf_resp_trouble_name((enum kvf_resp_trouble)i);

		CU_ASSERT(name[0] != '\0');
		for (int k = 0; k < i; k++)
			CU_ASSERT(strcmp(name, kvf_resp_trouble_name((enum kvf_resp_trouble)k)) != 0);
	}
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "works", test_works }, { "no_server", test_no_server }, { "down", test_down },
		{ "hangs", test_hangs }, { "refuses", test_refuses },	  { "lies", test_lies },
		{ "kinds", test_kinds },
	};
	int rc = kvf_test_main("resp_metrics", tests, KVF_ARRAY_LEN(tests), argc, argv);

	prom_free(&page);
	return rc;
}
