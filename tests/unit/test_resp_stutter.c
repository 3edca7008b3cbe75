/* SPDX-License-Identifier: Apache-2.0 */
/* The Redis tier over a network that cuts, holds back, resets and changes: operations end, no byte is wrong. */
#include <stdio.h>

#include "tests/harness.h"
#include "tests/support/redis.h"
#include "tests/support/remote.h"
#include "tests/support/stutter.h"
#include "tool.h"

#define CHUNKS 3u
#define TOKENS (CHUNKS * RIG_CHUNK)
#define MS 1000000ull

static struct redis server;
static struct stutter proxy;
static struct remote m;

static bool begin(const char *const *settings)
{
	if (!redis_begin(&server, NULL))
		return false;
	if (!stutter_start(&proxy, server.socket))
		return false;
	remote_open(&m, proxy.url, settings);
	return true;
}

static void end(void)
{
	remote_close(&m);
	stutter_stop(&proxy);
	redis_kill(&server);
}

static bool comes_back(unsigned most_ms)
{
	uint64_t begun = tool_now_ns();

	stutter_behave(&proxy);
	while (tool_now_ns() - begun < most_ms * MS) {
		if (remote_fetch(&m, 1, TOKENS, 1000).tokens == TOKENS)
			return true;
		/* It may have been removed as stale. */
		remote_store(&m, 1, TOKENS);
		remote_idle(&m, 10);
	}
	return false;
}

static void test_any_split(void)
{
	static const uint32_t pieces[] = { 1, 2, 3, 5, 17, 64, 127, 1000, 1024, 4095, 4096, 16384 };

	if (!begin(NULL))
		return;
	for (size_t i = 0; i < KVF_ARRAY_LEN(pieces); i++) {
		struct kvf_op op;

		proxy.orders->piece = pieces[i];
		CU_ASSERT_EQUAL(remote_store(&m, 1, TOKENS).level, KVF_LEVEL_REMOTE);
		CU_ASSERT_EQUAL(remote_fetch(&m, 1, TOKENS, 20000).tokens, TOKENS);
		kvf_prep_remove(&op, m.rig.seq, 0, TOKENS, 0);
		CU_ASSERT_EQUAL(remote_run(&m, &op, 0).status, KVF_OK);
	}
	CU_ASSERT_EQUAL(remote_stats(&m).errors + remote_stats(&m).timeouts, 0);
	CU_ASSERT_EQUAL(remote_stats(&m).stale + remote_stats(&m).unverified, 0);
	end();
}

/* The connection ends at every so many bytes of an answer: the request is said again elsewhere. */
static void test_reset_of_gets(void)
{
	uint64_t down, whole;
	unsigned lost = 0, tries = 0;

	if (!begin(NULL))
		return;
	remote_store(&m, 1, TOKENS);
	down = proxy.orders->passed[STUTTER_DOWN];
	CU_ASSERT_EQUAL(remote_fetch(&m, 1, TOKENS, 0).tokens, TOKENS);
	whole = proxy.orders->passed[STUTTER_DOWN] - down;
	for (uint64_t at = 1; at < whole; at += at < 200 ? 1 : 211) {
		struct kvf_completion c;

		proxy.orders->reset_at[STUTTER_DOWN] = (int64_t)at;
		c = remote_fetch(&m, 1, TOKENS, 5000);
		CU_ASSERT_EQUAL(c.status, KVF_OK);
		lost += c.tokens != TOKENS;
		tries++;
		proxy.orders->reset_at[STUTTER_DOWN] = -1;
	}
	/* One reset costs nothing: what was asked is asked again. */
	CU_ASSERT_EQUAL(lost, 0);
	CU_ASSERT(tries > 300);
	CU_ASSERT_EQUAL(remote_stats(&m).stale, 0);
	end();
}

static void test_reset_of_puts(void)
{
	uint64_t up, whole;
	struct kvf_op op;

	if (!begin(NULL))
		return;
	up = proxy.orders->passed[STUTTER_UP];
	remote_store(&m, 1, TOKENS);
	whole = proxy.orders->passed[STUTTER_UP] - up;
	for (uint64_t at = 1; at < whole; at += at < 100 ? 3 : 997) {
		kvf_prep_remove(&op, m.rig.seq, 0, TOKENS, 0);
		remote_run(&m, &op, 0);
		proxy.orders->reset_at[STUTTER_UP] = (int64_t)at;
		CU_ASSERT_EQUAL(remote_store(&m, 1, TOKENS).tokens, TOKENS);
		proxy.orders->reset_at[STUTTER_UP] = -1;
		CU_ASSERT_EQUAL(remote_fetch(&m, 1, TOKENS, 5000).tokens, TOKENS);
	}
	CU_ASSERT_EQUAL(remote_stats(&m).stale, 0);
	end();
}

/* One bit of what the server says is changed: a miss, never a wrong byte (remote_fetch() compares them all). */
static void test_changed_byte(void)
{
	static const char *const settings[] = { "request_timeout", "0.1", NULL };
	uint64_t down, whole;
	unsigned whole_hits = 0;

	if (!begin(settings))
		return;
	remote_store(&m, 1, TOKENS);
	down = proxy.orders->passed[STUTTER_DOWN];
	CU_ASSERT_EQUAL(remote_fetch(&m, 1, TOKENS, 0).tokens, TOKENS);
	whole = proxy.orders->passed[STUTTER_DOWN] - down;
	for (uint64_t at = 0; at < whole; at += at < 160 ? 2 : 601) {
		proxy.orders->flip_at[STUTTER_DOWN] = (int64_t)at;
		whole_hits += remote_fetch(&m, 1, TOKENS, 300).tokens == TOKENS;
		CU_ASSERT(comes_back(20000));
	}
	/* A second chance may make it whole, where the change was noticed as no RESP; most changes cost a chunk. */
	CU_ASSERT(whole_hits < 200);
	CU_ASSERT_EQUAL(remote_stats(&m).corrupt, 0);
	end();
}

/* Half open: nothing arrives any more, in the midst of a value or of a put. */
static void test_frozen(void)
{
	static const char *const settings[] = { "request_timeout", "0.2", NULL };
	uint64_t begun;

	if (!begin(settings))
		return;
	remote_store(&m, 1, TOKENS);
	for (int i = 0; i < 3; i++) {
		proxy.orders->piece = 100;
		proxy.orders->frozen = 1;
		begun = tool_now_ns();
		CU_ASSERT_EQUAL(remote_fetch(&m, 1, TOKENS, 100).tokens, 0);
		CU_ASSERT(tool_now_ns() - begun < 400 * MS);
		remote_idle(&m, 300);
		CU_ASSERT_EQUAL(remote_stats(&m).in_flight, 0);
		CU_ASSERT(comes_back(20000));
	}
	proxy.orders->frozen = 1;
	CU_ASSERT_EQUAL(remote_store(&m, 2, TOKENS).tokens, TOKENS);
	remote_idle(&m, 300);
	CU_ASSERT_EQUAL(remote_stats(&m).in_flight, 0);
	CU_ASSERT(comes_back(20000));
	CU_ASSERT(m.longest_wait_ns < 100 * MS);
	end();
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "any_split", test_any_split },
		{ "reset_of_gets", test_reset_of_gets },
		{ "reset_of_puts", test_reset_of_puts },
		{ "changed_byte", test_changed_byte },
		{ "frozen", test_frozen },
	};

	return kvf_test_main("resp_stutter", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
