/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvferry replay over a Redis that is stopped, killed and restarted meanwhile: no byte is wrong, every operation ends,
 * and hits come back. With KVF_REPLAY_REPORT=1 it runs longer, beside a control without engine, and prints how late
 * operations and the host's heartbeat were.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/support/files.h"
#include "tests/support/redis.h"
#include "tool.h"

#define DEADLINE_MS "200"
#define LATE_MAX_NS 2000000000.0 /* an operation that hangs, not one on a busy machine */

static struct redis server;
static char json[200];

static void replay(bool report)
{
	char url[100], workload[200];
	const char *argv[] = { "replay", workload, "--quiet", "--speed", "1", "--deadline", DEADLINE_MS,
			       "--token-bytes", "256", "--ram", "5MiB", "--concurrency", "16", "--set", url, "--set",
			       "request_timeout=0.3", "--json", json, report ? "--compare" : NULL, NULL };
	int argc = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(url, sizeof(url), "remote_url=%s", server.url);
	snprintf(workload, sizeof(workload),
		 "builtin:multi-round-chat,users=12,qps=30,seconds=%d,system=600,history=1600,output=60",
		 report ? 60 : 9);
	while (argv[argc])
		argc++;
	_exit(kvf_cmd_replay(argc, (char **)(uintptr_t)argv));
}

static void sleep_ms(unsigned ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

	while (nanosleep(&t, &t))
		;
}

/* One of the server's counters. */
static double counter(const char *name)
{
	const char *text = redis_call(&server, NULL, "INFO", "stats", NULL);
	const char *at = text ? strstr(text, name) : NULL;

	return at ? strtod(at + strlen(name) + 1, NULL) : 0;
}

/* Everything that may happen to a server, two seconds of it. */
static void strike(void)
{
	redis_pause(&server);
	sleep_ms(700);
	redis_go_on(&server);
	sleep_ms(400);
	redis_kill(&server);
	sleep_ms(400);
	redis_restart(&server);
	sleep_ms(500);
	redis_pause(&server);
	sleep_ms(250);
	redis_kill(&server);
	sleep_ms(250);
	redis_restart(&server);
	sleep_ms(500);
	redis_call(&server, NULL, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes", NULL);
	sleep_ms(200);
}

static double field(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	CU_ASSERT_FATAL(at != NULL);
	return strtod(at + strlen(name), NULL);
}

static const char *read_json(void)
{
	static char text[65536];

	file_read(json, text, sizeof(text));
	return text;
}

static void print_report(const char *text)
{
	const char *off = strstr(text, "\"cache_off\"");

	printf("requests %.0f, hit rate %.3f, %.0f bytes checked, %.0f wrong\n", field(text, "\"requests\":"),
	       field(text, "\"hit_rate\":"), field(text, "\"verified_bytes\":"), field(text, "\"mismatched_bytes\":"));
	printf("deadline %s ms: %.0f operations ended by it, at most %.3f ms past it\n", DEADLINE_MS,
	       field(text, "\"timed_out_operations\":"), field(text, "\"deadline_late_ns_max\":") / 1e6);
	printf("heartbeat of 1 ms, late by: p50 %.3f, p99 %.3f, max %.3f ms (%.0f beats)\n",
	       field(text, "\"heartbeat_late_ns_p50\":") / 1e6, field(text, "\"heartbeat_late_ns_p99\":") / 1e6,
	       field(text, "\"heartbeat_late_ns_max\":") / 1e6, field(text, "\"heartbeats\":"));
	if (off)
		printf("control without engine:      p50 %.3f, p99 %.3f, max %.3f ms (%.0f beats)\n",
		       field(off, "\"heartbeat_late_ns_p50\":") / 1e6, field(off, "\"heartbeat_late_ns_p99\":") / 1e6,
		       field(off, "\"heartbeat_late_ns_max\":") / 1e6, field(off, "\"heartbeats\":"));
	printf("turn, thread-CPU: p50 %.3f, p99.9 %.3f, max %.3f ms\n", field(text, "\"turn_cpu_ns_p50\":") / 1e6,
	       field(text, "\"turn_cpu_ns_p999\":") / 1e6, field(text, "\"turn_cpu_ns_max\":") / 1e6);
}

static void test_stopped_killed_restarted(void)
{
	bool report = getenv("KVF_REPLAY_REPORT") != NULL;
	const char *text;
	int status = -1;
	double hits;
	pid_t pid;

	if (!redis_begin(&server, NULL))
		return;
	snprintf(json, sizeof(json), "%s/replay.json", server.dir);
	pid = fork();
	if (!pid)
		replay(report);
	CU_ASSERT_FATAL(pid > 0);
	/* The control has no server. */
	for (int i = 0; i < 2000 && strcmp(redis_call(&server, NULL, "DBSIZE", NULL), "0") == 0; i++)
		sleep_ms(50);
	sleep_ms(500);
	for (int i = 0; i < (report ? 12 : 1); i++)
		strike();
	/* It is well again: chunks are stored there anew, and come from there. */
	sleep_ms(1500);
	hits = counter("keyspace_hits");
	sleep_ms(1500);
	CU_ASSERT(counter("keyspace_hits") > hits);
	CU_ASSERT_EQUAL_FATAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_EQUAL(status, 0);
	text = read_json();
	if (report)
		print_report(text);
	CU_ASSERT_EQUAL(field(text, "\"mismatched_bytes\":"), 0);
	CU_ASSERT_EQUAL(field(text, "\"failed_operations\":"), 0);
	CU_ASSERT(field(text, "\"verified_bytes\":") > 0);
	CU_ASSERT(field(text, "\"timed_out_operations\":") > 0);
	CU_ASSERT(field(text, "\"deadline_late_ns_max\":") < LATE_MAX_NS);
	CU_ASSERT(field(strstr(text, "\"resp\""), "\"get_bytes\":") > 0);
	redis_kill(&server);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "stopped_killed_restarted", test_stopped_killed_restarted },
	};

	return kvf_test_main("resp_replay", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
