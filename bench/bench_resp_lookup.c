/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lookup of a prompt of 405 chunks in a server that is 1 ms away (there and back), in round trips: the engine's lookup
 * beside a PING over the same line, alternately. Half of the prompts are there, half are not.
 *
 * bench_resp_lookup [ROUNDS [CHUNKS [MICROSECONDS THERE AND BACK]]]
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench_stats.h"
#include "tests/harness.h"
#include "tests/support/delay.h"
#include "tests/support/redis.h"
#include "tests/support/remote.h"
#include "tool.h"

#define MAX_ROUNDS 10000u
#define MAX_CHUNKS 100000u
#define STORED (24u * RIG_CHUNK) /* as much as the pool of the rig holds */

static uint64_t rounds = 400, chunks = 405, there_and_back_us = 1000;
static struct redis server;
static struct delay line;
static struct remote m;
static double trips[MAX_ROUNDS], pings[MAX_ROUNDS], lookups[MAX_ROUNDS];

static int connect_line(void)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	addr.sin_port = htons((uint16_t)line.port);
	CU_ASSERT_EQUAL_FATAL(connect(fd, (struct sockaddr *)(void *)&addr, sizeof(addr)), 0);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

static double ping(int fd)
{
	uint64_t begun = tool_now_ns();
	char answer[7];

	CU_ASSERT_EQUAL_FATAL(send(fd, "*1\r\n$4\r\nPING\r\n", 14, MSG_NOSIGNAL), 14);
	CU_ASSERT_EQUAL_FATAL(recv(fd, answer, 7, MSG_WAITALL), 7);
	return (double)(tool_now_ns() - begun);
}

static void measure(void)
{
	int fd;

	if (!redis_begin(&server, NULL))
		return;
	CU_ASSERT_TRUE_FATAL(delay_start(&line, server.socket, (unsigned)there_and_back_us / 2));
	remote_open(&m, line.url, NULL);
	fd = connect_line();
	(void)ping(fd);
	/* Its beginning is there: a lookup asks for all of it at once in any case. */
	remote_store(&m, 1, STORED);
	for (uint64_t i = 0; i < rounds; i++) {
		bool there = i % 2 == 0;
		struct kvf_completion c;
		uint64_t begun;

		rig_tokens(&m.rig, there ? 1 : 2, (uint32_t)chunks * RIG_CHUNK);
		pings[i] = ping(fd);
		begun = tool_now_ns();
		c = remote_lookup(&m, 0);
		lookups[i] = (double)(tool_now_ns() - begun);
		CU_ASSERT_EQUAL(c.tokens, there ? STORED : 0);
		trips[i] = lookups[i] / pings[i];
	}
	close(fd);
	printf("lookup of %" PRIu64 " chunks %.3f ms, a PING %.3f ms: %.2f round trips (p90 %.2f), %" PRIu64
	       " rounds\n",
	       chunks, bench_quantile(lookups, rounds, 0.5) * 1e-6, bench_quantile(pings, rounds, 0.5) * 1e-6,
	       bench_quantile(trips, rounds, 0.5), bench_quantile(trips, rounds, 0.9), rounds);
	remote_close(&m);
	delay_stop(&line);
	redis_kill(&server);
}

static int usage(void)
{
	fprintf(stderr, "usage: bench_resp_lookup [ROUNDS 1..%u [CHUNKS %u..%u [MICROSECONDS THERE AND BACK]]]\n",
		MAX_ROUNDS, STORED / RIG_CHUNK, MAX_CHUNKS);
	return 2;
}

int main(int argc, char **argv)
{
	static uint64_t *const number[] = { &rounds, &chunks, &there_and_back_us };
	static const struct kvf_test tests[] = { { "lookup", measure } };

	for (int i = 1; i < argc; i++)
		if (i > 3 || !tool_parse_u64(argv[i], number[i - 1]))
			return usage();
	if (!rounds || rounds > MAX_ROUNDS || chunks < STORED / RIG_CHUNK || chunks > MAX_CHUNKS)
		return usage();
	return kvf_test_main("bench_resp_lookup", tests, 1, 1, argv);
}
