/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disk tier beside fio: the same way to the kernel, block size (= slot), depth and transparent
 * huge pages, files that are allocated and written already, slices in turn. Of each pair the ratio
 * of throughputs (tier / fio), the median with its bootstrap interval of 95 %, and thread-CPU a GB
 * on both sides. Checksums of payloads are the engine's and not in it: they are timed alone.
 *
 * Then the longest turns, and recovery beside bare reads of the same headers.
 *
 * bench_disk [PAIRS [SLICE_MIB [DIR]]]; with KVF_BENCH_POLL the host polls instead of sleeping
 * until a completion.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/checksum.h"
#include "base/compiler.h"
#include "bench.h"
#include "tests/harness.h"
#include "tier/disk/aio.h"
#include "tier/disk/disk.h"
#include "tool.h"

#define DEPTH 8u
#define SLOTS 16u /* in the pool: requests at once */
#define MAX_TURNS 4000000u

struct side {
	double seconds, cpu, bytes;
};

static struct {
	struct kvf_mem mem;
	struct kvf_disk *disk;
	struct kvf_tier_host host;
	struct kvf_tier_req req[SLOTS];
	uint32_t free[SLOTS], n_free;
	uint8_t *slots;
	uint32_t slot_bytes;
	uint64_t next_key, n_bad;
	double *turn; /* seconds of thread-CPU, of each turn */
	size_t n_turns;
	struct kvf_watch *watch;
	const char *dir;
	bool polls; /* the host never sleeps */
	const char *fio_mem; /* fio's option for its buffers */
} b;

static double now(void)
{
	return (double)tool_now_ns() * 1e-9;
}

static double cpu(void)
{
	return (double)tool_thread_cpu_ns() * 1e-9;
}

/* ---- the tier's host ---- */

static void complete(struct kvf_tier_host *host, struct kvf_tier_req *req, int status)
{
	(void)host;
	b.n_bad += status != KVF_OK;
	b.free[b.n_free++] = (uint32_t)(req - b.req);
}

static uint64_t now_ns(struct kvf_tier_host *host)
{
	(void)host;
	return tool_now_ns();
}

static int watch(struct kvf_tier_host *host, struct kvf_watch *w, int fd, unsigned events)
{
	(void)host;
	w->fd = fd;
	b.watch = events ? w : NULL;
	return KVF_OK;
}

static void write_log(struct kvf_tier_host *host, enum kvf_log_level level, const char *msg)
{
	(void)host;
	if (level <= KVF_LOG_WARNING)
		fprintf(stderr, "bench_disk: %s\n", msg);
}

static void *huge(size_t n)
{
	void *p = mmap(
		NULL, n + (2u << 20), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	p = (void *)(((uintptr_t)p + (2u << 20) - 1) & ~(uintptr_t)((2u << 20) - 1));
	(void)madvise(p, n, MADV_HUGEPAGE);
	memset(p, 0x37, n);
	return p;
}

static int open_tier(uint32_t aio, uint64_t n_slots)
{
	struct kvf_disk_params params = {.dirs = b.dir,
		.max_bytes = n_slots * b.slot_bytes + 64 * KVF_KIB,
		.aio = aio,
		.depth = DEPTH};
	struct kvf_tier_open open = {.size = sizeof(open),
		.slot_bytes = b.slot_bytes,
		.payload_bytes = b.slot_bytes - KVF_SLOT_HEADER_BYTES,
		.chunk_tokens = 256,
		.world_size = 1,
		.model = "bench"};
	char text[1024];
	struct kvf_report report;
	uint32_t caps;
	int rc;

	memcpy(open.fingerprint, &b.slot_bytes, 4);
	kvf_report_init(&report, text, sizeof(text));
	b.host = (struct kvf_tier_host){.size = sizeof(b.host),
		.complete = complete,
		.now_ns = now_ns,
		.watch = watch,
		.log = write_log,
		.report = &report};
	b.n_free = 0;
	for (uint32_t i = 0; i < SLOTS; i++)
		b.free[b.n_free++] = i;
	kvf_mem_init(&b.mem, NULL);
	rc = kvf_disk_new(&b.disk, &b.mem, &params);
	if (!rc)
		rc = kvf_disk_ops.open(b.disk, &b.host, &open, &caps);
	if (rc)
		fprintf(stderr, "bench_disk: %s\n%s", kvf_strerror(rc), text);
	return rc;
}

static void close_tier(void)
{
	kvf_disk_ops.close(b.disk);
	kvf_disk_free(b.disk);
	kvf_mem_fini(&b.mem);
}

static bool turn(void)
{
	double begin = cpu();
	bool more = kvf_disk_ops.progress(b.disk, tool_now_ns(), KVF_MIB) > 0;

	if (b.turn && b.n_turns < MAX_TURNS)
		b.turn[b.n_turns++] = cpu() - begin;
	return more;
}

/* As a host does that has nothing else to do: until a completion. */
static void sleep_a_little(void)
{
	struct pollfd p = {.events = POLLIN};

	if (!b.watch || b.polls)
		return;
	p.fd = b.watch->fd;
	if (poll(&p, 1, 1) == 1)
		b.watch->ready(b.watch, KVF_WATCH_READ);
}

static void settle(void)
{
	do
		turn();
	while (kvf_disk_ops.next_deadline_ns(b.disk) <= tool_now_ns());
}

static void key_of(uint8_t key[KVF_KEY_BYTES], uint64_t n)
{
	for (int i = 0; i < 4; i++) {
		uint64_t v = (n + 1) * 0x9e3779b97f4a7c15u + (uint64_t)i * 0xd1342543de82ef95u;

		v ^= v >> 29;
		memcpy(key + 8 * i, &v, 8);
	}
}

/* Moves n chunks, keys first .. first + n - 1. */
static struct side tier_slice(uint32_t kind, uint64_t first, uint64_t n)
{
	struct side s = {.seconds = now(), .cpu = cpu()};
	uint64_t sent = 0;

	while (sent < n || b.n_free < SLOTS) {
		while (sent < n && b.n_free) {
			uint32_t i = b.free[b.n_free - 1];
			struct kvf_tier_req *req = &b.req[i], *one[1] = {req};

			memset(req, 0, sizeof(*req));
			req->kind = kind;
			key_of(req->key, first + sent);
			req->n_tokens = 256;
			req->slot = b.slots + (size_t)i * b.slot_bytes;
			req->payload_bytes = b.slot_bytes - KVF_SLOT_HEADER_BYTES;
			req->has_checksum = 1;
			b.n_free--;
			if (kvf_disk_ops.submit(b.disk, one, 1) != 1) {
				b.n_free++;
				break;
			}
			sent++;
		}
		if (!turn())
			sleep_a_little();
	}
	s.seconds = now() - s.seconds;
	s.cpu = cpu() - s.cpu;
	s.bytes = (double)n * b.slot_bytes;
	return s;
}

/* ---- fio ---- */

static double number_after(const char *text, const char *section, const char *name)
{
	const char *at = strstr(text, section);

	at = at ? strstr(at, name) : NULL;
	at = at ? strchr(at, ':') : NULL;
	return at ? strtod(at + 1, NULL) : 0;
}

static struct side fio_slice(uint32_t kind, const char *engine, uint64_t n)
{
	static char text[65536];
	char command[2048];
	struct side s = {0};
	double usr, sys;
	size_t used;
	FILE *f;

	snprintf(command, sizeof(command),
		"fio --name=x --filename='%s'/fio.bin --rw=%s --bs=%u --size=%" PRIu64
		" --ioengine=%s --iodepth=%u --direct=1 --overwrite=1 --mem=%s "
		"--output-format=json 2>&1",
		b.dir, kind == KVF_REQ_PUT ? "write" : "read", b.slot_bytes, n * b.slot_bytes,
		engine, DEPTH, b.fio_mem);
	f = popen(command, "r");
	if (!f)
		return s;
	used = fread(text, 1, sizeof(text) - 1, f);
	text[used] = 0;
	pclose(f);
	if (!strstr(text, "bw_bytes"))
		fprintf(stderr, "bench_disk: %s\n%s", command, text);
	s.bytes = (double)n * b.slot_bytes;
	s.seconds = s.bytes / number_after(text, kind == KVF_REQ_PUT ? "\"write\" :" : "\"read\" :",
				      "\"bw_bytes\"");
	usr = number_after(text, "\"usr_cpu\"", "\"usr_cpu\"");
	sys = number_after(text, "\"sys_cpu\"", "\"sys_cpu\"");
	s.cpu = (usr + sys) / 100 * number_after(text, "\"job_runtime\"", "\"job_runtime\"") / 1000;
	return s;
}

/* ---- one comparison ---- */

static void compare(
	uint32_t aio, const char *engine, uint64_t payload, uint64_t pairs, uint64_t slice_bytes)
{
	static const char *const names[] = {"write", "read"};
	uint64_t n;

	b.slot_bytes = (uint32_t)payload + KVF_SLOT_HEADER_BYTES;
	n = slice_bytes / b.slot_bytes;
	b.slots = huge((size_t)SLOTS * b.slot_bytes);
	if (!b.slots || open_tier(aio, n + SLOTS))
		exit(1);
	settle();
	/* Twice, so that every slot was written. */
	tier_slice(KVF_REQ_PUT, b.next_key, n + SLOTS);
	b.next_key += n + SLOTS;
	fio_slice(KVF_REQ_PUT, engine, n);
	b.n_turns = 0;
	for (int k = 0; k < 2; k++) {
		static struct bench_pairs speed, work;
		struct bench_ratio r, c;

		speed.n = work.n = 0;
		for (uint64_t p = 0; p < pairs; p++) {
			struct side ours, theirs;

			if (p % 2)
				theirs = fio_slice(k ? KVF_REQ_GET : KVF_REQ_PUT, engine, n);
			ours = tier_slice(
				k ? KVF_REQ_GET : KVF_REQ_PUT, k ? b.next_key - n : b.next_key, n);
			b.next_key += k ? 0 : n;
			if (p % 2 == 0)
				theirs = fio_slice(k ? KVF_REQ_GET : KVF_REQ_PUT, engine, n);
			speed.a[p] = ours.bytes / ours.seconds / 1e9;
			speed.b[p] = theirs.bytes / theirs.seconds / 1e9;
			work.a[p] = ours.cpu / ours.bytes * 1e12;
			work.b[p] = theirs.cpu / theirs.bytes * 1e12;
			speed.n = work.n = p + 1;
		}
		bench_compare(&speed, &r);
		bench_compare(&work, &c);
		printf("%-8s %6" PRIu64 " KiB %-5s  tier %5.2f GB/s, fio %5.2f, ratio %.2f "
		       "[%.2f-%.2f]   CPU a GB %5.1f ms, fio %5.1f, "
		       "ratio %.2f\n",
			engine, payload / 1024, names[k], r.a, r.b, r.ratio, r.low, r.high, c.a,
			c.b, c.ratio);
		fflush(stdout);
	}
	printf("%-8s %6" PRIu64
	       " KiB        thread-CPU of %zu turns: P99.9 %.0f us, longest %.0f us; %" PRIu64
	       " failures\n",
		engine, payload / 1024, b.n_turns, bench_quantile(b.turn, b.n_turns, 0.999) * 1e6,
		bench_quantile(b.turn, b.n_turns, 1) * 1e6, b.n_bad);
	close_tier();
	munmap(b.slots, (size_t)SLOTS * b.slot_bytes);
}

/* ---- recovery ---- */

static void seen(struct kvf_aio_op *op, int result)
{
	b.n_bad += result != 0;
	op->file = 1;
}

/* The same headers, by nothing but reads. */
static double bare_headers(const char *path, uint64_t n)
{
	static struct kvf_aio_op op[32];
	static uint8_t page[32 * 4096] __attribute__((aligned(4096)));
	struct kvf_mem mem;
	struct kvf_aio aio;
	uint64_t sent = 0, done = 0;
	double begin;
	int fd = open(path, O_RDONLY | O_DIRECT);

	kvf_mem_init(&mem, NULL);
	kvf_aio_init(&aio, &mem, 32, KVF_GIB);
	if (fd < 0 || kvf_aio_start(&aio, kvf_aio_find(KVF_AIO_WANT_URING), NULL))
		return 0;
	for (int i = 0; i < 32; i++)
		op[i].file = 1;
	begin = now();
	while (done < n) {
		for (int i = 0; i < 32 && done < n; i++) {
			if (op[i].file == 0)
				continue;
			done += op[i].kind != 0;
			op[i].kind = 0;
			if (sent == n)
				continue;
			op[i] = (struct kvf_aio_op){.kind = KVF_AIO_READ,
				.n_iov = 1,
				.fd = fd,
				.offset = 4096 + sent++ * b.slot_bytes,
				.iov = {{page + i * 4096, 4096}},
				.complete = seen};
			kvf_aio_queue(&aio, &op[i]);
		}
		kvf_aio_pump(&aio, KVF_MIB);
	}
	begin = now() - begin;
	kvf_aio_fini(&aio);
	kvf_mem_fini(&mem);
	close(fd);
	memset(op, 0, sizeof(op));
	return begin;
}

static void recovery(uint64_t n)
{
	static struct bench_pairs pairs;
	struct kvf_disk_stats stats;
	struct bench_ratio r;
	char path[4096], command[4200];
	FILE *f;

	b.slot_bytes = (64 << 10) + KVF_SLOT_HEADER_BYTES;
	b.slots = huge((size_t)SLOTS * b.slot_bytes);
	if (!b.slots || open_tier(0, n))
		exit(1);
	settle();
	tier_slice(KVF_REQ_PUT, 0, n);
	close_tier();
	snprintf(command, sizeof(command), "ls -S '%s'/kvf-*/segment-*.kvf | head -1", b.dir);
	f = popen(command, "r");
	if (!f || !fgets(path, sizeof(path), f))
		return;
	pclose(f);
	path[strcspn(path, "\n")] = 0;
	for (size_t i = 0; i < 9; i++) {
		double begin;

		if (open_tier(0, n))
			exit(1);
		begin = now();
		do {
			turn();
			kvf_disk_stats(b.disk, &stats);
		} while (stats.scanning);
		pairs.a[i] = now() - begin;
		close_tier();
		pairs.b[i] = bare_headers(path, stats.recovered);
		pairs.n = i + 1;
	}
	bench_compare(&pairs, &r);
	printf("recovery of %" PRIu64
	       " slots: %.1f ms, bare reads of the headers %.1f ms, ratio %.2f [%.2f-%.2f]\n",
		stats.recovered, r.a * 1e3, r.b * 1e3, r.ratio, r.low, r.high);
}

static void checksum_alone(void)
{
	size_t n = 64 << 20;
	uint8_t *p = huge(n);
	double begin = cpu();
	uint64_t sum = 0;

	for (int i = 0; i < 8; i++)
		sum += kvf_checksum(p, n);
	begin = cpu() - begin;
	printf("checksum: %.1f ms a GB (%" PRIx64 ")\n", begin / (8.0 * (double)n) * 1e12, sum);
	munmap(p, n);
}

int main(int argc, char **argv)
{
	static const struct {
		uint32_t aio;
		const char *engine;
	} ways[] = {{KVF_AIO_WANT_URING, "io_uring"}, {KVF_AIO_WANT_LIBAIO, "libaio"}};
	static const uint64_t payloads[] = {64 << 10, 1 << 20, 4 << 20, 32 << 20};
	uint64_t pairs = 11, slice = 256;
	char cpu_text[128], template[] = "/tmp/kvferry-bench.XXXXXX", command[4200];

	if ((argc > 1 &&
		    (!tool_parse_u64(argv[1], &pairs) || !pairs || pairs > BENCH_MAX_SLICES)) ||
		(argc > 2 && (!tool_parse_u64(argv[2], &slice) || !slice)))
		return fprintf(stderr, "usage: bench_disk [PAIRS [SLICE_MIB [DIR]]]\n"), TOOL_USAGE;
	b.polls = getenv("KVF_BENCH_POLL") != NULL;
	b.dir = argc > 3 ? argv[3] : mkdtemp(template);
	b.turn = malloc(MAX_TURNS * sizeof(*b.turn));
	if (!b.dir || !b.turn)
		return 1;
	if (system("fio --version >/dev/null 2>&1") != 0)
		return fprintf(stderr, "bench_disk: no fio\n"), 77;
	b.fio_mem = system("fio --name=x --filename=/dev/zero --rw=read --bs=4k --size=4k "
			   "--mem=mmaphuge >/dev/null 2>&1")
			    ? "mmap"
			    : "mmaphuge";
	printf("%s; fio with --mem=%s; %" PRIu64 " pairs of %" PRIu64
	       " MiB, depth %u, O_DIRECT, huge pages\n",
		tool_cpu_model(cpu_text, sizeof(cpu_text)), b.fio_mem, pairs, slice, DEPTH);
	for (size_t w = 0; w < KVF_ARRAY_LEN(ways); w++)
		for (size_t i = 0; i < KVF_ARRAY_LEN(payloads); i++)
			compare(ways[w].aio, ways[w].engine, payloads[i], pairs, slice << 20);
	checksum_alone();
	recovery(8192);
	snprintf(command, sizeof(command), "rm -rf '%s'/kvf-* '%s'/fio.bin", b.dir, b.dir);
	if (system(command) != 0)
		return 1;
	if (argc <= 3)
		(void)rmdir(b.dir);
	return 0;
}
