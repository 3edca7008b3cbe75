/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Redis tier beside a bare blocking RESP loop: one connection, one value at a time, redis-server on loopback with
 * an allocator that keeps its pages; paired alternating slices, ratio of throughputs with a bootstrap interval of 95 %.
 * GET and SET as raw values without side record (the bare loop's very commands), then with LMCache's metadata and ours.
 *
 * bench_resp [PAIRS [SLICE_MIB [server program]]]
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/compiler.h"
#include "loop/loop.h"
#include "tests/support/redis.h"
#include "tier/resp/tier.h"

#define MAX_PAIRS 400
#define BOOTSTRAPS 2000
#define BUDGET (1024u * 1024u)
#define KEYS 4u
#define RENEW 6u

struct bench {
	struct kvf_mem mem;
	struct kvf_loop loop;
	struct kvf_tier_host host;
	struct kvf_resp_tier *tier;
	uint32_t payload_bytes;
	unsigned done;
	int status;
	int bare; /* socket of the bare loop */
	uint8_t *slot;
	uint64_t checksum; /* of its payload */
	uint64_t longest_turn_ns;
};

static struct bench b;
static struct redis server;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static uint64_t thread_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "bench_resp: %s\n", what);
	redis_kill(&server);
	exit(1);
}

/* ---- the host of the tier ---- */

static void complete(struct kvf_tier_host *host, struct kvf_tier_req *req, int status)
{
	(void)host;
	(void)req;
	b.done++;
	b.status = status;
}

static uint64_t now_ns(struct kvf_tier_host *host)
{
	(void)host;
	return (uint64_t)(now() * 1e9);
}

static int watch(struct kvf_tier_host *host, struct kvf_watch *w, int fd, unsigned events)
{
	(void)host;
	return kvf_loop_watch(&b.loop, w, fd, events);
}

static void log_line(struct kvf_tier_host *host, enum kvf_log_level level, const char *msg)
{
	(void)host;
	if (level <= KVF_LOG_WARNING)
		fprintf(stderr, "%s\n", msg);
}

static int wire_name(struct kvf_tier_host *host, const struct kvf_tier_req *req, char *buf, size_t cap)
{
	(void)host;
	return snprintf(buf, cap, "meta-llama/Llama-3.1-8B@1@0@%016x@bfloat16", req->key[0]);
}

static int wire_meta(struct kvf_tier_host *host, uint32_t n_tokens, uint8_t *buf, size_t cap)
{
	(void)host;
	(void)n_tokens;
	memset(buf, 7, cap < 28 ? cap : 28);
	return 28;
}

static int wire_payload(struct kvf_tier_host *host, uint32_t n_tokens, const uint8_t *meta, size_t n, uint32_t *bytes)
{
	(void)host;
	(void)n_tokens;
	(void)meta;
	(void)n;
	*bytes = b.payload_bytes;
	return KVF_OK;
}

static void open_tier(uint32_t payload_bytes, bool raw)
{
	struct kvf_tier_open params = { .size = sizeof(params), .payload_bytes = payload_bytes, .chunk_tokens = 256 };
	struct kvf_resp_options o;
	uint32_t caps;

	kvf_resp_options_init(&o);
	memcpy(o.host, "127.0.0.1", 10);
	o.port = (uint16_t)server.port;
	o.connections = 1;
	o.format = raw ? KVF_RESP_RAW : KVF_RESP_TWO_KEY;
	o.verify = raw ? KVF_RESP_NO_VERIFY : KVF_RESP_AUTO;
	b.payload_bytes = payload_bytes;
	kvf_loop_init(&b.loop, &b.mem);
	b.host = (struct kvf_tier_host){ .size = sizeof(b.host), .complete = complete, .now_ns = now_ns, .watch = watch,
					 .log = log_line, .wire_name = wire_name, .wire_meta = wire_meta,
					 .wire_payload = wire_payload };
	if (kvf_resp_new(&b.mem, &o, &b.tier) || kvf_resp_ops.open(b.tier, &b.host, &params, &caps))
		die("the tier does not open");
}

static void close_tier(void)
{
	kvf_resp_ops.close(b.tier);
	kvf_resp_free(b.tier);
	kvf_loop_fini(&b.loop);
	b.tier = NULL;
}

/* One request, as a host does it that sleeps on a descriptor. */
static void ours(enum kvf_req_kind kind, unsigned key)
{
	struct kvf_tier_req req = { .kind = kind, .n_tokens = 256, .slot = b.slot, .payload_bytes = b.payload_bytes,
				    .has_checksum = 1, .checksum = b.checksum };
	struct kvf_tier_req *p = &req;
	struct pollfd f = { .fd = kvf_loop_fd(&b.loop), .events = POLLIN };

	req.key[0] = (uint8_t)key;
	b.done = 0;
	while (!kvf_resp_ops.submit(b.tier, &p, 1)) {
		kvf_loop_run(&b.loop);
		kvf_resp_ops.progress(b.tier, now_ns(NULL), BUDGET);
	}
	while (!b.done) {
		uint64_t begun = thread_ns(), took;
		uint64_t moved;

		kvf_loop_run(&b.loop);
		moved = kvf_resp_ops.progress(b.tier, now_ns(NULL), BUDGET);
		took = thread_ns() - begun;
		if (took > b.longest_turn_ns)
			b.longest_turn_ns = took;
		if (!moved && !b.done && kvf_resp_ops.next_deadline_ns(b.tier)) {
			kvf_loop_arm(&b.loop, false, 0, UINT64_MAX);
			poll(&f, 1, 1000);
		}
	}
	if (b.status)
		die(kvf_strerror(b.status));
}

/* ---- the bare loop ---- */

static void bare_open(void)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int on = 1;

	addr.sin_port = htons((uint16_t)server.port);
	b.bare = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(b.bare, (struct sockaddr *)(void *)&addr, sizeof(addr)))
		die("no connection");
	setsockopt(b.bare, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void bare_write(struct iovec *iov, int n)
{
	while (n) {
		ssize_t k = writev(b.bare, iov, n);

		if (k < 0)
			die("write");
		while (n && (size_t)k >= iov->iov_len) {
			k -= (ssize_t)iov->iov_len;
			iov++;
			n--;
		}
		if (n) {
			iov->iov_base = (char *)iov->iov_base + k;
			iov->iov_len -= (size_t)k;
		}
	}
}

static void bare_set(unsigned key)
{
	char head[256], answer[16];
	char end[] = "\r\n";
	struct iovec iov[3] = { { head, 0 }, { b.slot + KVF_SLOT_HEADER_BYTES, b.payload_bytes }, { end, 2 } };

	iov[0].iov_len = (size_t)snprintf(head, sizeof(head), "*3\r\n$3\r\nSET\r\n$6\r\nbare-%u\r\n$%u\r\n",
					  key, b.payload_bytes);
	bare_write(iov, 3);
	if (recv(b.bare, answer, 5, MSG_WAITALL) != 5 || answer[0] != '+')
		die("bare SET");
}

static void bare_get(unsigned key)
{
	char head[64], text[64];
	uint8_t *at = b.slot + KVF_SLOT_HEADER_BYTES;
	size_t left = b.payload_bytes + 2u, n = 0;
	int len = snprintf(text, sizeof(text), "*2\r\n$3\r\nGET\r\n$6\r\nbare-%u\r\n", key);
	struct iovec iov = { text, (size_t)len };

	bare_write(&iov, 1);
	while (n < 2 || head[n - 1] != '\n')
		if (recv(b.bare, head + n++, 1, 0) != 1)
			die("bare GET");
	/* The CRLF behind the value has room in the slot. */
	while (left) {
		ssize_t k = recv(b.bare, at, left, 0);

		if (k <= 0)
			die("bare GET");
		at += k;
		left -= (size_t)k;
	}
}

/* ---- numbers ---- */

static int by_value(const void *a, const void *c)
{
	double x = *(const double *)a, y = *(const double *)c;

	return (x > y) - (x < y);
}

static double median(double *v, unsigned n)
{
	qsort(v, n, sizeof(*v), by_value);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

static void bootstrap(const double *v, unsigned n, double *low, double *high)
{
	static double medians[BOOTSTRAPS], sample[MAX_PAIRS];

	for (unsigned i = 0; i < BOOTSTRAPS; i++) {
		for (unsigned k = 0; k < n; k++)
			sample[k] = v[(unsigned)rand() % n];
		medians[i] = median(sample, n);
	}
	qsort(medians, BOOTSTRAPS, sizeof(*medians), by_value);
	*low = medians[BOOTSTRAPS / 40];
	*high = medians[BOOTSTRAPS - BOOTSTRAPS / 40];
}

static double slice(bool tier, bool set, unsigned ops)
{
	double begun = now();

	for (unsigned i = 0; i < ops; i++) {
		if (tier)
			ours(set ? KVF_REQ_PUT : KVF_REQ_GET, i % KEYS);
		else if (set)
			bare_set(i % KEYS);
		else
			bare_get(i % KEYS);
	}
	return now() - begun;
}

/* Connections of both sides have good and bad days (buffers, processors): a pair of new ones now and then. */
static void renew(unsigned mib, bool raw, bool set, unsigned ops)
{
	if (b.tier)
		close_tier();
	close(b.bare);
	bare_open();
	open_tier(mib * 1048576u, raw);
	slice(true, set, ops);
	slice(false, set, ops);
}

static void measure(unsigned mib, bool raw, bool set, unsigned pairs, unsigned slice_mib)
{
	static double ratio[MAX_PAIRS], speed[MAX_PAIRS], bare[MAX_PAIRS];
	unsigned ops = slice_mib > mib ? slice_mib / mib : 1;
	uint64_t calls = 0, copied = 0;
	double low, high, r, moved = (double)ops * mib;

	b.checksum = kvf_checksum(b.slot + KVF_SLOT_HEADER_BYTES, mib * (size_t)1048576);
	memset(b.slot + KVF_SLOT_HEADER_BYTES + mib * (size_t)1048576, 0x5a, 2);
	open_tier(mib * 1048576u, raw);
	for (unsigned i = 0; i < KEYS; i++) {
		bare_set(i);
		ours(KVF_REQ_PUT, i);
	}
	b.longest_turn_ns = 0;
	for (unsigned i = 0; i < pairs; i++) {
		bool first = i % 2;
		double x, y;

		if (i % RENEW == 0)
			renew(mib, raw, set, ops);
		calls -= b.tier->conn[1].io.syscalls + b.loop.syscalls;
		copied -= b.tier->conn[1].copied;
		x = slice(first, set, ops);
		y = slice(!first, set, ops);
		calls += b.tier->conn[1].io.syscalls + b.loop.syscalls;
		copied += b.tier->conn[1].copied;
		ratio[i] = first ? y / x : x / y;
		speed[i] = moved / (first ? x : y);
		bare[i] = moved / (first ? y : x);
	}
	bootstrap(ratio, pairs, &low, &high);
	r = median(ratio, pairs);
	printf("%s %3u MiB %-9s %7.0f MiB/s, bare %7.0f MiB/s, ratio %.2f [%.2f, %.2f], %.1f system calls/MiB, "
	       "%" PRIu64 " bytes copied/value, longest turn %" PRIu64 " us of CPU\n",
	       set ? "SET" : "GET", mib, raw ? "raw" : "verified", median(speed, pairs), median(bare, pairs), r, low,
	       high, (double)calls / (moved * pairs), copied / (ops * pairs), b.longest_turn_ns / 1000);
	fflush(stdout);
	close_tier();
}

int main(int argc, char **argv)
{
	static const unsigned sizes[] = { 1, 4, 16, 64 };
	unsigned pairs = argc > 1 ? (unsigned)atoi(argv[1]) : 40;
	unsigned slice_mib = argc > 2 ? (unsigned)atoi(argv[2]) : 32;
	const char *program = argc > 3 ? argv[3] : "redis-server";

	if (!pairs || pairs > MAX_PAIRS)
		return 2;
	setenv("MALLOC_CONF", "oversize_threshold:0,dirty_decay_ms:-1,muzzy_decay_ms:-1", 1);
	kvf_mem_init(&b.mem, NULL);
	if (!redis_start(&server, program, NULL))
		return 1;
	bare_open();
	b.slot = aligned_alloc(4096, 65u * 1048576u);
	memset(b.slot, 0x5a, 65u * 1048576u);
	for (size_t i = 0; i < KVF_ARRAY_LEN(sizes); i++) {
		redis_call(&server, NULL, "FLUSHALL", NULL);
		measure(sizes[i], true, false, pairs, slice_mib);
		measure(sizes[i], true, true, pairs, slice_mib);
	}
	measure(16, false, false, pairs, slice_mib);
	measure(16, false, true, pairs, slice_mib);
	redis_kill(&server);
	return 0;
}
