/* SPDX-License-Identifier: Apache-2.0 */
/* Users and passwords of a real server: who we are there, and that what proves it is shown nowhere. Every secret here
 * has the word "hush" in it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kvferry/kvf_control.h"
#include "tests/harness.h"
#include "tests/support/files.h"
#include "tests/support/redis.h"
#include "tests/support/remote.h"

#define CHUNKS 3u
#define TOKENS (CHUNKS * RIG_CHUNK)
#define LONG_PASSWORD 3000u

static struct redis server;
static struct remote m;
static char path[256];
static unsigned lines; /* of the timeline */

static bool begin(const char *const *args)
{
	if (!redis_begin(&server, args))
		return false;
	snprintf(path, sizeof(path), "%s/password", server.dir);
	return true;
}

static void silent(const char *text)
{
	if (strstr(text, "hush"))
		fprintf(stderr, "shown: %s\n", text);
	CU_ASSERT_PTR_NULL(strstr(text, "hush"));
}

static void timeline(const char *json, size_t n, void *user)
{
	char line[2048];

	(void)user;
	lines++;
	snprintf(line, sizeof(line), "%.*s", (int)n, json);
	silent(line);
}

/* Everything the engine says of itself. */
static void shows_nothing(void)
{
	int n = kvf_metrics_text(m.rig.engine, NULL, 0);
	char *page = malloc((size_t)n + 4096);

	CU_ASSERT(kvf_metrics_text(m.rig.engine, page, (size_t)n + 4096) > 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(page, "kvferry_server_errors_total"));
	silent(page);
	free(page);
	silent(m.log);
	silent(m.rig.text);
	silent(kvf_error_detail(m.rig.engine));
}

/* Stores and fetches; of an engine that is who `settings` say. */
static bool works(const char *url, const char *const *settings)
{
	uint32_t tokens;
	bool stored;

	remote_open(&m, url, settings);
	CU_ASSERT_EQUAL(kvf_set_timeline(m.rig.engine, timeline, NULL), KVF_OK);
	stored = remote_store(&m, 1, TOKENS).level == KVF_LEVEL_REMOTE;
	tokens = remote_fetch(&m, 1, TOKENS, 1000).tokens;
	/* Connections that are lost and made anew say something too. */
	redis_call(&server, NULL, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes", NULL);
	remote_idle(&m, 30);
	remote_fetch(&m, 2, TOKENS, 300);
	shows_nothing();
	kvf_set_timeline(m.rig.engine, NULL, NULL);
	remote_close(&m);
	return stored && tokens == TOKENS;
}

static void test_shown_nowhere(void)
{
	static const char *const args[] = { "--requirepass", "hush-right", NULL };
	static const char *const right[] = { "password", "hush-right", NULL };
	static const char *const wrong[] = { "username", "default", "password", "hush-wrong", NULL };
	const char *const file[] = { "password_file", path, NULL };
	char url[128];

	if (!begin(args))
		return;
	redis_call(&server, NULL, "AUTH", "hush-right", NULL);
	CU_ASSERT_TRUE(works(server.url, right));
	CU_ASSERT_FALSE(works(server.url, wrong));
	CU_ASSERT_PTR_NOT_NULL(strstr(m.log, "does not accept user and password"));
	snprintf(url, sizeof(url), "redis://default:hush-right@127.0.0.1:%d", server.port);
	CU_ASSERT_TRUE(works(url, NULL));
	snprintf(url, sizeof(url), "redis://hush:hush-wrong@127.0.0.1:%d", server.port);
	CU_ASSERT_FALSE(works(url, NULL));
	file_write(path, "hush-right\n", 11);
	CU_ASSERT_TRUE(works(server.url, file));
	file_write(path, "hush-wrong\n", 11);
	CU_ASSERT_FALSE(works(server.url, file));
	remove(path);
	CU_ASSERT_FALSE(works(server.url, file));
	CU_ASSERT_PTR_NOT_NULL(strstr(m.log, "a file with credentials cannot be read"));
	CU_ASSERT(lines > 0);
	redis_kill(&server);
}

/* An old server does not know HELLO, and repeats all its words, the password among them. */
static void test_echoed(void)
{
	static const char *const args[] = { "--requirepass", "hush-right", "--rename-command", "HELLO", "", NULL };
	static const char *const right[] = { "password", "hush-right", NULL };
	char url[128];

	if (!begin(args))
		return;
	redis_call(&server, NULL, "AUTH", "hush-right", NULL);
	CU_ASSERT_PTR_NOT_NULL(strstr(redis_call(&server, NULL, "HELLO", "3", "AUTH", "u", "hush-x", NULL), "hush"));
	snprintf(url, sizeof(url), "redis://127.0.0.1:%d/5", server.port);
	CU_ASSERT_TRUE(works(url, right));
	/* In the database that was asked for. */
	CU_ASSERT_EQUAL(strtol(redis_call(&server, NULL, "DBSIZE", NULL), NULL, 10), 0);
	redis_call(&server, NULL, "SELECT", "5", NULL);
	CU_ASSERT_EQUAL(strtol(redis_call(&server, NULL, "DBSIZE", NULL), NULL, 10), 3 * (long)CHUNKS);
	redis_kill(&server);
}

/* What docs/remote.md says a user of kvferry needs is enough, and no less is. */
static void test_rights(void)
{
	static const char *const needed[] = { "+mget", "+exists", "+set", "+multi", "+exec" };
	static const char *const settings[] = { "username", "kv", "password", "hush-kv", NULL };
	struct kvf_op op;

	if (!begin(NULL))
		return;
	redis_call(&server, NULL, "ACL", "SETUSER", "kv", "on", ">hush-kv", "~*", "+mget", "+exists", "+set", "+unlink",
		   "+multi", "+exec", NULL);
	remote_open(&m, server.url, settings);
	CU_ASSERT_EQUAL(remote_store(&m, 1, TOKENS).level, KVF_LEVEL_REMOTE);
	CU_ASSERT_EQUAL(remote_lookup(&m, 0).tokens, TOKENS);
	CU_ASSERT_EQUAL(remote_fetch(&m, 1, TOKENS, 1000).tokens, TOKENS);
	kvf_prep_remove(&op, m.rig.seq, 0, TOKENS, 0);
	CU_ASSERT_EQUAL(remote_run(&m, &op, 0).status, KVF_OK);
	CU_ASSERT_EQUAL(strtol(redis_call(&server, NULL, "DBSIZE", NULL), NULL, 10), 0);
	CU_ASSERT_EQUAL(remote_stats(&m).errors, 0);
	shows_nothing();
	remote_close(&m);
	for (size_t i = 0; i < KVF_ARRAY_LEN(needed); i++) {
		char less[16];

		snprintf(less, sizeof(less), "-%s", needed[i] + 1);
		redis_call(&server, NULL, "FLUSHALL", NULL);
		redis_call(&server, NULL, "ACL", "SETUSER", "kv", less, NULL);
		CU_ASSERT_FALSE(works(server.url, settings));
		redis_call(&server, NULL, "ACL", "SETUSER", "kv", needed[i], NULL);
	}
	redis_kill(&server);
}

/* A user that needs no password is not the default user. */
static void test_no_password(void)
{
	static const char *const settings[] = { "username", "free", NULL };

	if (!begin(NULL))
		return;
	redis_call(&server, NULL, "ACL", "SETUSER", "free", "on", "nopass", "~*", "+@all", NULL);
	redis_call(&server, NULL, "ACL", "SETUSER", "default", "-@write", NULL);
	CU_ASSERT_FALSE(works(server.url, NULL));
	CU_ASSERT_TRUE(works(server.url, settings));
	redis_kill(&server);
}

/* Passwords may be tokens of kilobytes. What is too long is refused: its beginning would be another one. */
static void test_long_password(void)
{
	const char *const settings[] = { "username", "kv", "password_file", path, NULL };
	char rule[LONG_PASSWORD + 2], *password = rule + 1, big[5000];

	if (!begin(NULL))
		return;
	rule[0] = '>';
	for (unsigned i = 0; i < LONG_PASSWORD; i++)
		password[i] = (char)('a' + i % 26);
	memcpy(password, "hush", 4);
	password[LONG_PASSWORD] = '\0';
	redis_call(&server, NULL, "ACL", "SETUSER", "kv", "on", rule, "~*", "+@all", NULL);
	file_write(path, password, LONG_PASSWORD);
	CU_ASSERT_TRUE(works(server.url, settings));
	memset(big, 'x', sizeof(big));
	file_write(path, big, sizeof(big));
	CU_ASSERT_FALSE(works(server.url, settings));
	CU_ASSERT_PTR_NOT_NULL(strstr(m.log, "is too long"));
	redis_kill(&server);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "shown_nowhere", test_shown_nowhere }, { "echoed", test_echoed },
		{ "rights", test_rights },		 { "no_password", test_no_password },
		{ "long_password", test_long_password },
	};

	return kvf_test_main("resp_users", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
