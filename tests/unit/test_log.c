/* SPDX-License-Identifier: Apache-2.0 */
/* log.h: levels, one line a message, rate limits. */
#include "tests/harness.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

struct sink {
	unsigned lines;
	enum kvf_log_level level;
	char scope[32];
	char msg[2048];
};

static void take(enum kvf_log_level level, const char *scope, const char *msg, void *user)
{
	struct sink *sink = user;

	sink->lines++;
	sink->level = level;
	snprintf(sink->scope, sizeof(sink->scope), "%s", scope);
	snprintf(sink->msg, sizeof(sink->msg), "%s", msg);
}

static void begin(struct kvf_log *log, struct sink *sink, enum kvf_log_level level)
{
	struct kvf_log_sink to = { sizeof(to), take, sink };

	memset(sink, 0, sizeof(*sink));
	kvf_log_init(log, &to, level);
}

static void test_levels(void)
{
	for (int level = KVF_LOG_ERROR; level <= KVF_LOG_DEBUG; level++) {
		struct kvf_log log;
		struct sink sink;

		begin(&log, &sink, (enum kvf_log_level)level);
		for (int at = KVF_LOG_ERROR; at <= KVF_LOG_DEBUG; at++)
			kvf_log(&log, (enum kvf_log_level)at, "pool", "%d of %s", at, "x");
		CU_ASSERT_EQUAL(sink.lines, (unsigned)level + 1);
		CU_ASSERT_EQUAL(sink.level, (enum kvf_log_level)level);
		CU_ASSERT_STRING_EQUAL(sink.scope, "pool");
		CU_ASSERT_STRING_EQUAL(sink.msg + 1, " of x");
	}
	kvf_log(NULL, KVF_LOG_ERROR, "x", "nobody listens");
}

static void test_one_line(void)
{
	struct kvf_log log;
	struct sink sink;
	char big[5000];

	begin(&log, &sink, KVF_LOG_INFO);
	kvf_log(&log, KVF_LOG_INFO, NULL, "a\nb\rc\033[1md\177");
	CU_ASSERT_STRING_EQUAL(sink.msg, "a b c [1md ");
	CU_ASSERT_STRING_EQUAL(sink.scope, "");
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	kvf_log(&log, KVF_LOG_INFO, "s", "%s", big);
	CU_ASSERT(strlen(sink.msg) < 1024);
	CU_ASSERT_STRING_EQUAL(sink.msg + strlen(sink.msg) - 4, "x...");
}

static void test_limit(void)
{
	struct kvf_log_limit limit = { .window_start_ns = 0 };
	struct kvf_log log;
	struct sink sink;
	uint64_t now = 123456789;

	begin(&log, &sink, KVF_LOG_INFO);
	for (int i = 0; i < 12; i++)
		kvf_log_limited(&log, &limit, now + (uint64_t)i, KVF_LOG_WARNING, "disk", "slow %d", i);
	CU_ASSERT_EQUAL(sink.lines, 5);
	CU_ASSERT_EQUAL(log.dropped, 7);
	kvf_log_limited(&log, &limit, now + KVF_NS_PER_S - 1, KVF_LOG_WARNING, "disk", "slow");
	CU_ASSERT_EQUAL(sink.lines, 5);
	CU_ASSERT_EQUAL(log.dropped, 8);
	/* A level that is off neither counts nor opens a window. */
	kvf_log_limited(&log, &limit, now + 5 * KVF_NS_PER_S, KVF_LOG_DEBUG, "disk", "slow");
	CU_ASSERT_EQUAL(limit.suppressed, 8);
	kvf_log_limited(&log, &limit, now + KVF_NS_PER_S, KVF_LOG_WARNING, "disk", "last");
	CU_ASSERT_EQUAL(sink.lines, 7); /* how many were left out, and the line */
	CU_ASSERT_STRING_EQUAL(sink.msg, "last");
	for (int i = 0; i < 4; i++)
		kvf_log_limited(&log, &limit, now + KVF_NS_PER_S, KVF_LOG_WARNING, "disk", "slow %d", i);
	CU_ASSERT_EQUAL(sink.lines, 11);
	kvf_log_limited(&log, &limit, now + 9 * KVF_NS_PER_S, KVF_LOG_WARNING, "disk", "none was lost");
	CU_ASSERT_EQUAL(sink.lines, 12);
}

static void test_default_is_stderr(void)
{
	struct kvf_log_sink empty = { sizeof(empty), NULL, NULL };
	struct kvf_log log;
	char buf[256] = "";
	int saved;
	int fd[2];

	CU_ASSERT_EQUAL_FATAL(pipe(fd), 0);
	fflush(stderr);
	saved = dup(2);
	dup2(fd[1], 2);
	kvf_log_init(&log, NULL, KVF_LOG_WARNING);
	kvf_log(&log, KVF_LOG_WARNING, "pool", "%d%%", 7);
	kvf_log(&log, KVF_LOG_INFO, "pool", "too quiet");
	kvf_log_init(&log, &empty, KVF_LOG_ERROR);
	kvf_log(&log, KVF_LOG_ERROR, "pool", "loud");
	fflush(stderr);
	dup2(saved, 2);
	close(saved);
	close(fd[1]);
	CU_ASSERT(read(fd[0], buf, sizeof(buf) - 1) > 0);
	close(fd[0]);
	CU_ASSERT_PTR_NOT_NULL(strstr(buf, "kvferry: warning: pool: 7%\n"));
	CU_ASSERT_PTR_NULL(strstr(buf, "quiet"));
}

static void test_burst(void)
{
	struct kvf_log_limit limit = { .burst = 7 };
	struct kvf_log log;
	struct sink sink;

	begin(&log, &sink, KVF_LOG_INFO);
	for (int i = 0; i < 12; i++)
		kvf_log_limited(&log, &limit, 5, KVF_LOG_WARNING, "disk", "slow %d", i);
	CU_ASSERT_EQUAL(sink.lines, 7);
	kvf_log_limited(&log, &limit, 5 + KVF_NS_PER_S, KVF_LOG_WARNING, "disk", "slow");
	CU_ASSERT_EQUAL(limit.burst, 7);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "levels", test_levels },
		{ "one_line", test_one_line },
		{ "limit", test_limit },
		{ "burst", test_burst },
		{ "default_is_stderr", test_default_is_stderr },
	};

	return kvf_test_main("log", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
