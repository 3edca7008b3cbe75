/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvferry bench disk: the disk tier beside fio, with the same way to the kernel, block size (= slot), depth and huge
 * pages, in alternating slices. Checksums are the engine's work and not in it: they are timed alone. Then recovery
 * beside bare reads of the same headers.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/checksum.h"
#include "base/compiler.h"
#include "bench_dir.h"
#include "bench_tier.h"
#include "tier/disk/aio.h"

#define DEPTH 8u
#define MAX_SEGMENTS 64u
#define RECOVERIES 9u

struct disk_bench {
	struct bench *b;
	struct bench_tier t;
	const char *fio_mem; /* fio's option for its buffers */
	uint64_t next_key;
};

/* ---- fio ---- */

static double number_after(const char *text, const char *section, const char *name)
{
	const char *at = strstr(text, section);

	at = at ? strstr(at, name) : NULL;
	at = at ? strchr(at, ':') : NULL;
	return at ? strtod(at + 1, NULL) : 0;
}

/* Zero seconds: fio failed, and said why. */
static struct bench_side fio_slice(struct disk_bench *d, uint32_t kind, const char *engine, uint64_t n)
{
	static char text[65536];
	char command[2048];
	struct bench_side s = {.bytes = (double)(d->b->passes * n) * d->t.slot_bytes};
	double usr, sys, speed;
	size_t used;
	FILE *f;

	snprintf(command, sizeof(command),
		"fio --name=x --filename='%s'/fio.bin --rw=%s --bs=%u --size=%" PRIu64
		" --io_size=%" PRIu64 " --ioengine=%s --iodepth=%u --direct=1 --overwrite=1 --scramble_buffers=0 "
		"--mem=%s --output-format=json 2>&1",
		d->t.dir, kind == KVF_REQ_PUT ? "write" : "read", d->t.slot_bytes, n * d->t.slot_bytes,
		d->b->passes * n * d->t.slot_bytes, engine, DEPTH, d->fio_mem);
	f = popen(command, "r");
	used = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
	text[used] = 0;
	if (f)
		pclose(f);
	speed = number_after(text, kind == KVF_REQ_PUT ? "\"write\" :" : "\"read\" :", "\"bw_bytes\"");
	if (speed <= 0) {
		fprintf(stderr, "kvferry bench disk: %s\n%s", command, text);
		return s;
	}
	s.seconds = s.bytes / speed;
	usr = number_after(text, "\"usr_cpu\"", "\"usr_cpu\"");
	sys = number_after(text, "\"sys_cpu\"", "\"sys_cpu\"");
	s.cpu = (usr + sys) / 100 * number_after(text, "\"job_runtime\"", "\"job_runtime\"") / 1000;
	return s;
}

/* ---- one comparison ---- */

static struct bench_side our_slice(struct disk_bench *d, uint32_t kind, uint64_t n)
{
	struct bench_side sum = {0, 0, 0};

	for (uint64_t i = 0; i < d->b->passes; i++) {
		uint64_t first = kind == KVF_REQ_GET ? d->next_key - n : d->next_key;
		struct bench_side one = bench_tier_slice(&d->t, kind, first, n);

		d->next_key += kind == KVF_REQ_PUT ? n : 0;
		sum.seconds += one.seconds;
		sum.cpu += one.cpu;
		sum.bytes += one.bytes;
	}
	return sum;
}

/* Chunks in turn: the tier first, then fio first. */
static int measure(struct disk_bench *d, uint32_t kind, const char *engine, uint64_t n, struct bench_pairs *speed,
	struct bench_pairs *work)
{
	speed->n = work->n = 0;
	for (uint64_t p = 0; p < d->b->slices; p++) {
		struct bench_side ours, theirs;

		if (p % 2)
			theirs = fio_slice(d, kind, engine, n);
		ours = our_slice(d, kind, n);
		if (p % 2 == 0)
			theirs = fio_slice(d, kind, engine, n);
		if (theirs.seconds <= 0)
			return -1;
		speed->a[p] = ours.bytes / ours.seconds / 1e9;
		speed->b[p] = theirs.bytes / theirs.seconds / 1e9;
		work->a[p] = ours.cpu / ours.bytes * 1e12;
		work->b[p] = theirs.cpu / theirs.bytes * 1e12;
		speed->n = work->n = p + 1;
	}
	return 0;
}

static int one_way(struct disk_bench *d, uint32_t kind, const char *engine, uint64_t payload, uint64_t n)
{
	static struct bench_pairs speed, work;
	const char *way = kind == KVF_REQ_PUT ? "write" : "read";
	struct bench_ratio r;
	char name[64], what[96];

	if (measure(d, kind, engine, n, &speed, &work))
		return -1;
	snprintf(name, sizeof(name), "%s_%" PRIu64 "k_%s", engine, payload / 1024, way);
	snprintf(what, sizeof(what), "%s, %" PRIu64 " KiB, %s / fio", engine, payload / 1024, way);
	bench_compare(&speed, &r);
	bench_say_ratio(d->b, name, what, &r, 1, "GB/s");
	snprintf(name, sizeof(name), "%s_%" PRIu64 "k_%s_cpu", engine, payload / 1024, way);
	snprintf(what, sizeof(what), "%s, %" PRIu64 " KiB, %s, thread-CPU a GB / fio", engine, payload / 1024, way);
	bench_compare(&work, &r);
	bench_say_ratio(d->b, name, what, &r, 1, "ms");
	fflush(stdout);
	return 0;
}

static int compare(struct disk_bench *d, uint32_t aio, const char *engine, uint64_t payload, uint64_t slice_bytes)
{
	double *turn = d->t.turn;
	char name[64], what[96];
	uint64_t n;
	int rc = -1;

	d->t.slot_bytes = (uint32_t)payload + KVF_SLOT_HEADER_BYTES;
	n = slice_bytes / d->t.slot_bytes;
	if (bench_tier_open(&d->t, aio, DEPTH, n + BENCH_TIER_SLOTS))
		return -1;
	bench_tier_settle(&d->t);
	/* Once, so that every slot was written. */
	bench_tier_slice(&d->t, KVF_REQ_PUT, d->next_key, n + BENCH_TIER_SLOTS);
	d->next_key += n + BENCH_TIER_SLOTS;
	d->t.n_turns = 0;
	/* Looking at the thread's clock costs a system call: turns are timed in slices of their own. */
	d->t.turn = NULL;
	if (fio_slice(d, KVF_REQ_PUT, engine, n).seconds > 0 && !one_way(d, KVF_REQ_PUT, engine, payload, n) &&
	    !one_way(d, KVF_REQ_GET, engine, payload, n))
		rc = 0;
	d->t.turn = turn;
	for (int i = 0; i < 4 && !rc; i++) {
		bench_tier_slice(&d->t, KVF_REQ_PUT, d->next_key, n);
		bench_tier_slice(&d->t, KVF_REQ_GET, d->next_key, n);
		d->next_key += n;
	}
	snprintf(name, sizeof(name), "%s_%" PRIu64 "k_turn_us", engine, payload / 1024);
	snprintf(what, sizeof(what), "%s, %" PRIu64 " KiB, thread-CPU of a turn, P99.9", engine, payload / 1024);
	if (!rc)
		bench_say(d->b, name, what, bench_quantile(d->t.turn, d->t.n_turns, 0.999) * 1e6, "us");
	if (d->t.n_bad) {
		fprintf(stderr, "kvferry bench disk: %" PRIu64 " transfers failed\n", d->t.n_bad);
		rc = -1;
	}
	bench_tier_close(&d->t);
	return rc;
}

/* ---- recovery ---- */

struct bare {
	int fd[MAX_SEGMENTS];
	uint64_t slots[MAX_SEGMENTS]; /* of each file */
	size_t n;
	uint64_t n_failed;
};

static int open_segments(struct disk_bench *d, struct bare *bare)
{
	char pattern[4200];
	glob_t found;

	*bare = (struct bare){0};
	snprintf(pattern, sizeof(pattern), "%s/kvf-*/segment-*.kvf", d->t.dir);
	if (glob(pattern, 0, NULL, &found))
		return -1;
	for (size_t i = 0; i < found.gl_pathc && bare->n < MAX_SEGMENTS; i++) {
		int fd = open(found.gl_pathv[i], O_RDONLY | O_DIRECT | O_CLOEXEC);
		off_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);

		if (fd < 0)
			continue;
		bare->slots[bare->n] = ((uint64_t)size - 4096) / d->t.slot_bytes;
		bare->fd[bare->n++] = fd;
	}
	globfree(&found);
	return bare->n ? 0 : -1;
}

static void seen(struct kvf_aio_op *op, int result)
{
	op->file = result ? 2 : 1; /* over, badly or well */
}

/* The next header to be read; false: that was all. */
static bool aim(struct bare *bare, uint32_t slot_bytes, uint64_t i, struct kvf_aio_op *op)
{
	size_t at = 0;

	while (at < bare->n && i >= bare->slots[at])
		i -= bare->slots[at++];
	if (at == bare->n)
		return false;
	op->fd = bare->fd[at];
	op->offset = 4096 + i * slot_bytes;
	return true;
}

/* The same headers, by nothing but reads, 32 at a time. Seconds; 0: they failed. */
static double bare_headers(struct bare *bare, uint32_t slot_bytes)
{
	static struct kvf_aio_op op[32];
	static uint8_t page[32 * 4096] __attribute__((aligned(4096)));
	struct kvf_mem mem;
	struct kvf_aio aio;
	uint64_t sent = 0, in_flight = 0;
	double begin = bench_now();

	kvf_mem_init(&mem, NULL);
	kvf_aio_init(&aio, &mem, 32, KVF_GIB);
	if (kvf_aio_start(&aio, kvf_aio_find(KVF_AIO_WANT_URING), NULL) &&
		kvf_aio_start(&aio, kvf_aio_find(KVF_AIO_WANT_LIBAIO), NULL))
		return 0;
	memset(op, 0, sizeof(op));
	do {
		for (size_t i = 0; i < KVF_ARRAY_LEN(op); i++) {
			if (op[i].kind && !op[i].file)
				continue;
			in_flight -= op[i].kind != 0;
			bare->n_failed += op[i].file == 2;
			op[i] = (struct kvf_aio_op){.n_iov = 1, .iov = {{page + i * 4096, 4096}}, .complete = seen};
			if (!aim(bare, slot_bytes, sent, &op[i]))
				continue;
			op[i].kind = KVF_AIO_READ;
			sent++;
			in_flight++;
			kvf_aio_queue(&aio, &op[i]);
		}
		kvf_aio_pump(&aio, KVF_MIB);
	} while (in_flight);
	kvf_aio_fini(&aio);
	(void)kvf_mem_fini(&mem);
	return bare->n_failed ? 0 : bench_now() - begin;
}

/* Seconds from opening until every header was looked at; 0: it did not open, or did not find them all. */
static double tier_recovery(struct disk_bench *d, uint64_t n)
{
	struct kvf_disk_stats stats;
	double begin;

	if (bench_tier_open(&d->t, KVF_AIO_WANT_AUTO, 0, n))
		return 0;
	begin = bench_now();
	do {
		bench_tier_turn(&d->t);
		kvf_disk_stats(d->t.disk, &stats);
	} while (stats.scanning);
	begin = bench_now() - begin;
	bench_tier_close(&d->t);
	return stats.recovered == n ? begin : 0;
}

static int recovery(struct disk_bench *d, uint64_t payload, uint64_t n)
{
	static struct bench_pairs pairs;
	struct bench_ratio r;
	struct bare bare;
	char what[96];

	d->t.slot_bytes = (uint32_t)payload + KVF_SLOT_HEADER_BYTES;
	if (bench_tier_open(&d->t, KVF_AIO_WANT_AUTO, 0, n))
		return -1;
	bench_tier_settle(&d->t);
	bench_tier_slice(&d->t, KVF_REQ_PUT, 0, n);
	bench_tier_close(&d->t);
	if (d->t.n_bad || open_segments(d, &bare)) {
		fprintf(stderr, "kvferry bench disk: no room for %" PRIu64 " slots in %s\n", n, d->t.dir);
		return -1;
	}
	pairs.n = 0;
	for (size_t i = 0; i < RECOVERIES; i++) {
		double first = i % 2 ? bare_headers(&bare, d->t.slot_bytes) : 0;

		pairs.a[i] = tier_recovery(d, n);
		pairs.b[i] = i % 2 ? first : bare_headers(&bare, d->t.slot_bytes);
		if (pairs.a[i] <= 0 || pairs.b[i] <= 0)
			break;
		pairs.n = i + 1;
	}
	for (size_t i = 0; i < bare.n; i++)
		close(bare.fd[i]);
	if (pairs.n < RECOVERIES) {
		fprintf(stderr, "kvferry bench disk: recovery did not find every chunk\n");
		return -1;
	}
	bench_compare(&pairs, &r);
	snprintf(what, sizeof(what), "recovery of %" PRIu64 " slots / bare reads of headers", n);
	bench_say_ratio(d->b, "recovery", what, &r, 1e3, "ms");
	return 0;
}

static int checksum_alone(struct disk_bench *d)
{
	size_t n = (size_t)64 << 20;
	uint8_t *p = bench_huge(n);
	struct kvf_mem mem;
	struct kvf_checksum *sum;
	double begin;

	kvf_mem_init(&mem, NULL);
	sum = kvf_checksum_new(&mem);
	if (!p || !sum)
		return -1;
	begin = bench_cpu();
	/* In slices, as the engine does. */
	for (size_t i = 0; i < 8 * n; i += 512 * KVF_KIB)
		kvf_checksum_add(sum, p + i % n, 512 * KVF_KIB);
	begin = bench_cpu() - begin;
	bench_say(d->b, "checksum", "checksum, thread-CPU a GB", begin / (8.0 * (double)n) * 1e12, "ms");
	kvf_checksum_free(&mem, sum);
	(void)kvf_mem_fini(&mem);
	bench_huge_free(p, n);
	return 0;
}

/* fio counts time and CPU in milliseconds: a slice takes some dozens. */
static uint64_t slice_bytes(const struct disk_bench *d, uint64_t payload)
{
	return (d->b->brief ? 64 : payload < KVF_MIB ? 256 : 512) * KVF_MIB;
}

static int run(struct disk_bench *d)
{
	static const struct {
		uint32_t aio;
		const char *engine;
	} ways[] = {{KVF_AIO_WANT_URING, "io_uring"}, {KVF_AIO_WANT_LIBAIO, "libaio"}};
	static const uint64_t sizes[] = {64 << 10, 1 << 20, 4 << 20, 16 << 20, 32 << 20};
	int rc = 0;

	for (size_t w = 0; w < KVF_ARRAY_LEN(ways) && !d->b->recovery && !rc; w++) {
		for (size_t i = 0; i < KVF_ARRAY_LEN(sizes) && !rc; i++) {
			if (d->b->kib && d->b->kib * KVF_KIB != sizes[i])
				continue;
			rc = compare(d, ways[w].aio, ways[w].engine, sizes[i], slice_bytes(d, sizes[i]));
			bench_dir_empty(d->t.dir);
		}
	}
	if (!rc && !d->b->recovery)
		rc = checksum_alone(d);
	if (!rc && !d->b->kib)
		rc = recovery(d, d->b->brief ? 64 * KVF_KIB : 4 * KVF_MIB, d->b->brief ? 512 : 8192);
	return rc;
}

int bench_disk(struct bench *b)
{
	static struct disk_bench d;
	static char dir[BENCH_DIR_BYTES];
	int rc;

	if (system("fio --version >/dev/null 2>&1") != 0) {
		fprintf(stderr, "kvferry bench disk: wants fio in the path\n");
		return TOOL_WRONG;
	}
	d = (struct disk_bench){.b = b};
	d.t.turn = malloc(BENCH_TIER_TURNS * sizeof(*d.t.turn));
	if (!d.t.turn || bench_dir_make(dir, b->dir)) {
		free(d.t.turn);
		return TOOL_WRONG;
	}
	d.t.dir = dir;
	d.fio_mem = system("fio --name=x --filename=/dev/zero --rw=read --bs=4k --size=4k --mem=mmaphuge "
			   ">/dev/null 2>&1")
			    ? "mmap"
			    : "mmaphuge";
	printf("  fio with --mem=%s, depth %u, O_DIRECT, in %s\n", d.fio_mem, DEPTH, d.t.dir);
	if (strcmp(d.fio_mem, "mmap") == 0)
		printf("  (fio gets pages of 4 KiB here and is slower for it: set vm.nr_hugepages to 200)\n");
	json_out_text(&b->json, "fio_mem", d.fio_mem);
	rc = run(&d);
	bench_dir_remove(dir);
	free(d.t.turn);
	return rc ? TOOL_WRONG : TOOL_OK;
}
