/* SPDX-License-Identifier: Apache-2.0 */
/* See resp_bench.h. */
#include "tests/support/resp_bench.h"

#include <inttypes.h>
#include <malloc.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/compiler.h"
#include "base/hist.h"
#include "bench_stats.h"
#include "loop/loop.h"
#include "tests/support/tls_server.h"
#include "tier/resp/tier.h"
#include "tool.h"

#define MAX_PAIRS 400u
#define BUDGET (1024u * 1024u) /* of a turn: the engine's */
#define KEYS 4u
#define RENEW 6u
#define MIB 1048576u

struct bench {
	const struct resp_bench_client *other;
	const char *program;
	unsigned pairs, slice_mib, only_mib; /* only_mib 0: all sizes */
	unsigned touch_mib;
	const char *server_program;
	bool neutral, pinned;
	/* the tier and its host */
	struct kvf_mem mem;
	struct kvf_loop loop;
	struct kvf_tier_host host;
	struct kvf_resp_tier *tier;
	uint32_t payload_bytes;
	unsigned done;
	int status;
	uint8_t *slot;
	uint64_t checksum; /* of its payload */
	struct kvf_hist turns; /* thread-CPU */
	struct redis server;
	struct tls_server tls; /* how its certificates are made */
	int port;
};

static struct bench b;

const char resp_bench_usage[] =
	"[--pairs N] [--slice MIB] [--mib N] [--server PROGRAM] [--allocators neutral|default]\n"
	"  [--cores own|any] [--touch MIB]";

static double now(void)
{
	return (double)tool_now_ns() * 1e-9;
}

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", b.program, what);
	redis_kill(&b.server);
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
	return tool_now_ns();
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

static void open_tier(bool raw)
{
	struct kvf_tier_open params = { .size = sizeof(params), .payload_bytes = b.payload_bytes, .chunk_tokens = 256 };
	struct kvf_resp_options o;
	uint32_t caps;

	kvf_resp_options_init(&o);
	memcpy(o.host, "127.0.0.1", 10);
	o.port = (uint16_t)b.port;
	o.tls = b.other->tls;
	snprintf(o.ca_file, sizeof(o.ca_file), "%s", b.other->tls ? b.tls.ca : "");
	o.connections = 1;
	o.format = raw ? KVF_RESP_RAW : KVF_RESP_TWO_KEY;
	o.verify = raw ? KVF_RESP_NO_VERIFY : KVF_RESP_AUTO;
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
		uint64_t begun = tool_thread_cpu_ns();
		uint64_t moved;

		kvf_loop_run(&b.loop);
		moved = kvf_resp_ops.progress(b.tier, now_ns(NULL), BUDGET);
		kvf_hist_add(&b.turns, tool_thread_cpu_ns() - begun);
		if (!moved && !b.done && kvf_resp_ops.next_deadline_ns(b.tier)) {
			kvf_loop_arm(&b.loop, false, 0, UINT64_MAX);
			poll(&f, 1, 1000);
		}
	}
	if (b.status)
		die(kvf_strerror(b.status));
}

/* ---- slices ---- */

/* What a slice took. */
struct cost {
	double wall, cpu; /* seconds; CPU of this thread */
};

static struct cost slice(bool tier, bool set, unsigned ops)
{
	uint8_t *payload = b.slot + KVF_SLOT_HEADER_BYTES;
	uint64_t cpu = tool_thread_cpu_ns();
	double begun = now();

	for (unsigned i = 0; i < ops; i++) {
		unsigned key = i % KEYS;

		if (tier)
			ours(set ? KVF_REQ_PUT : KVF_REQ_GET, key);
		else if (!(set ? b.other->set(key, payload, b.payload_bytes) :
				 b.other->get(key, payload, b.payload_bytes)))
			die("the other client failed");
	}
	return (struct cost){ now() - begun, (double)(tool_thread_cpu_ns() - cpu) * 1e-9 };
}

/*
 * A virtual machine may give its free memory back to its host (virtio-balloon, free page reporting). Whoever allocates
 * such a page next, in the kernel under a sendmsg() for instance, waits for the host: turns of more than 1 ms that are
 * nobody's work. What was just touched is there for a few seconds.
 */
static void touch_memory(void)
{
	size_t n = (size_t)b.touch_mib * MIB;
	volatile uint8_t *p;

	if (!n)
		return;
	p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		die("--touch: there is not so much memory");
	for (size_t i = 0; i < n; i += 4096)
		p[i] = 1;
	munmap((void *)(uintptr_t)p, n);
}

/* Connections of both sides have good and bad days (buffers, processors): a pair of new ones now and then. */
static void renew(bool raw, bool set, unsigned ops)
{
	if (b.tier) {
		close_tier();
		b.other->close();
	}
	if (!b.other->open(b.port))
		die("no connection");
	open_tier(raw);
	slice(true, set, ops);
	slice(false, set, ops);
}

/* What all slices of a kind and size came to. */
struct result {
	unsigned ops; /* of a slice */
	double ratio[MAX_PAIRS], sample[MAX_PAIRS], speed[MAX_PAIRS], others[MAX_PAIRS];
	double cpu, others_cpu;
	uint64_t calls, copied;
};

static void run_pair(struct result *r, unsigned i, unsigned mib, bool set)
{
	double moved = (double)r->ops * mib;
	bool first = i % 2;
	struct cost x, y, ours, theirs;

	r->calls -= b.tier->conn[1].io.syscalls + b.loop.syscalls;
	r->copied -= b.tier->conn[1].copied;
	x = slice(first, set, r->ops);
	y = slice(!first, set, r->ops);
	r->calls += b.tier->conn[1].io.syscalls + b.loop.syscalls;
	r->copied += b.tier->conn[1].copied;
	ours = first ? x : y;
	theirs = first ? y : x;
	r->ratio[i] = theirs.wall / ours.wall;
	r->speed[i] = moved / ours.wall;
	r->others[i] = moved / theirs.wall;
	r->cpu += ours.cpu;
	r->others_cpu += theirs.cpu;
}

static void say(struct result *r, unsigned mib, bool raw, bool set)
{
	double low, high, moved = (double)r->ops * mib * b.pairs;

	bench_interval(r->ratio, b.pairs, r->sample, &low, &high);
	printf("%s %3u MiB %-9s %7.0f MiB/s, %s %7.0f MiB/s, ratio %.2f [%.2f, %.2f], CPU %.0f us/MiB, %s %.0f, "
	       "%.1f system calls/MiB, %" PRIu64 " bytes copied/value, "
	       "CPU of a turn p99.9 %" PRIu64 " us, longest %" PRIu64 " us\n",
	       set ? "SET" : "GET", mib, raw ? "raw" : "verified", bench_median(r->speed, b.pairs), b.other->name,
	       bench_median(r->others, b.pairs), bench_median(r->ratio, b.pairs), low, high,
	       r->cpu * 1e6 / moved, b.other->name,
	       r->others_cpu * 1e6 / moved, (double)r->calls / moved, r->copied / (r->ops * b.pairs),
	       kvf_hist_quantile(&b.turns, 0.999) / 1000, b.turns.max / 1000);
	fflush(stdout);
}

static void measure(unsigned mib, bool raw, bool set)
{
	static struct result r;

	r = (struct result){ .ops = b.slice_mib > mib ? b.slice_mib / mib : 1 };
	b.payload_bytes = mib * MIB;
	memset(b.slot + KVF_SLOT_HEADER_BYTES, 0x5a, b.payload_bytes + 2u);
	b.checksum = kvf_checksum(b.slot + KVF_SLOT_HEADER_BYTES, b.payload_bytes);
	redis_call(&b.server, NULL, "FLUSHALL", NULL);
	touch_memory();
	renew(raw, true, KEYS);
	kvf_hist_reset(&b.turns);
	for (unsigned i = 0; i < b.pairs; i++) {
		if (i % RENEW == 0)
			renew(raw, set, r.ops);
		run_pair(&r, i, mib, set);
	}
	say(&r, mib, raw, set);
	close_tier();
	b.other->close();
}

/* ---- the program ---- */

static bool number(const char *text, unsigned most, unsigned *out)
{
	char *end;
	unsigned long v = strtoul(text, &end, 10);

	*out = (unsigned)v;
	return *text && !*end && v && v <= most;
}

static bool parse(int argc, char **argv)
{
	b.pairs = 40;
	b.slice_mib = 32;
	b.server_program = "redis-server";
	b.neutral = b.pinned = true;
	for (int i = 1; i < argc; i += 2) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";
		bool fine = true;

		if (!strcmp(argv[i], "--pairs"))
			fine = number(value, MAX_PAIRS, &b.pairs);
		else if (!strcmp(argv[i], "--slice"))
			fine = number(value, 4096, &b.slice_mib);
		else if (!strcmp(argv[i], "--mib"))
			fine = number(value, 64, &b.only_mib);
		else if (!strcmp(argv[i], "--touch"))
			fine = number(value, 1u << 24, &b.touch_mib);
		else if (!strcmp(argv[i], "--server"))
			b.server_program = value;
		else if (!strcmp(argv[i], "--allocators") && (!strcmp(value, "neutral") || !strcmp(value, "default")))
			b.neutral = value[0] == 'n';
		else if (!strcmp(argv[i], "--cores") && (!strcmp(value, "own") || !strcmp(value, "any")))
			b.pinned = value[0] == 'o';
		else
			fine = false;
		if (!fine)
			return false;
	}
	return true;
}

static void set_allocators(void)
{
	if (!b.neutral)
		return;
	setenv("MALLOC_CONF", "oversize_threshold:0,dirty_decay_ms:-1,muzzy_decay_ms:-1", 1);
	(void)mallopt(M_MMAP_THRESHOLD, 1 << 30);
	(void)mallopt(M_TRIM_THRESHOLD, 1 << 30);
}

static void pin(pid_t pid, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(pid, sizeof(set), &set))
		die("no core of its own");
}

/* On a small machine the scheduler puts both ends of a socket on one core for a while, and apart for a while, which
 * halves and doubles every figure. */
static void set_cores(void)
{
	cpu_set_t set;
	int first = -1, last = -1;

	if (!b.pinned || sched_getaffinity(0, sizeof(set), &set))
		return;
	for (int i = 0; i < CPU_SETSIZE; i++) {
		if (!CPU_ISSET(i, &set))
			continue;
		last = i;
		if (first < 0)
			first = i;
	}
	if (first == last)
		die("one core only: --cores any");
	pin(0, first);
	pin(b.server.pid, last);
}

static bool start_server(void)
{
	if (b.other->tls && !tls_server_prepare(&b.tls, "IP:127.0.0.1", "no"))
		return false;
	if (!redis_start(&b.server, b.server_program, b.other->tls ? b.tls.args : NULL))
		return false;
	b.port = b.other->tls ? (int)strtol(b.tls.port, NULL, 10) : b.server.port;
	return true;
}

int resp_bench_main(const char *program, const struct resp_bench_client *other, int argc, char **argv)
{
	static const unsigned sizes[] = { 1, 4, 16, 64 };

	b.program = program;
	b.other = other;
	if (!parse(argc, argv)) {
		fprintf(stderr, "%s %s\n", program, resp_bench_usage);
		return 2;
	}
	set_allocators();
	kvf_mem_init(&b.mem, NULL);
	b.slot = aligned_alloc(4096, 65u * (size_t)MIB);
	if (!b.slot || !start_server())
		return 1;
	set_cores();
	printf("%s, %u pairs of slices of %u MiB, allocators: %s, cores: %s\n", b.server_program, b.pairs, b.slice_mib,
	       b.neutral ? "neutral" : "default", b.pinned ? "one each" : "any");
	for (size_t i = 0; i < KVF_ARRAY_LEN(sizes); i++) {
		if (b.only_mib && b.only_mib != sizes[i])
			continue;
		measure(sizes[i], true, false);
		measure(sizes[i], true, true);
	}
	if (!b.only_mib || b.only_mib == 16) {
		measure(16, false, false);
		measure(16, false, true);
	}
	redis_kill(&b.server);
	free(b.slot);
	return 0;
}
