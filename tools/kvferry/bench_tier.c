/* SPDX-License-Identifier: Apache-2.0 */
/* The disk tier's host in `kvferry bench disk`: see bench_tier.h. */
#include "bench_tier.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/compiler.h"
#include "base/report.h"

#define HUGE_PAGE ((size_t)2 << 20)

double bench_now(void)
{
	return (double)tool_now_ns() * 1e-9;
}

double bench_cpu(void)
{
	return (double)tool_thread_cpu_ns() * 1e-9;
}

static size_t whole_pages(size_t n)
{
	return (n + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
}

void *bench_huge(size_t n)
{
	size_t size = whole_pages(n);
	uint8_t *p = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t *at;

	if (p == MAP_FAILED)
		return NULL;
	at = (uint8_t *)whole_pages((size_t)(uintptr_t)p);
	if (at > p)
		(void)munmap(p, (size_t)(at - p));
	if (at < p + HUGE_PAGE)
		(void)munmap(at + size, (size_t)(p + HUGE_PAGE - at));
	(void)madvise(at, size, MADV_HUGEPAGE);
	memset(at, 0x37, size);
	return at;
}

void bench_huge_free(void *p, size_t n)
{
	if (p)
		(void)munmap(p, whole_pages(n));
}

/* ---- the tier's host ---- */

static struct bench_tier *tier_of(struct kvf_tier_host *host)
{
	return kvf_container_of(host, struct bench_tier, host);
}

static void complete(struct kvf_tier_host *host, struct kvf_tier_req *req, int status)
{
	struct bench_tier *t = tier_of(host);

	t->n_bad += status != KVF_OK;
	t->free[t->n_free++] = (uint32_t)(req - t->req);
}

static uint64_t now_ns(struct kvf_tier_host *host)
{
	(void)host;
	return tool_now_ns();
}

static int watch(struct kvf_tier_host *host, struct kvf_watch *w, int fd, unsigned events)
{
	w->fd = fd;
	tier_of(host)->watch = events ? w : NULL;
	return KVF_OK;
}

static void write_log(struct kvf_tier_host *host, enum kvf_log_level level, const char *msg)
{
	(void)host;
	if (level <= KVF_LOG_WARNING)
		fprintf(stderr, "kvferry bench disk: %s\n", msg);
}

int bench_tier_open(struct bench_tier *t, uint32_t aio, uint32_t depth, uint64_t n_slots)
{
	struct kvf_disk_params params = {.dirs = t->dir,
		.max_bytes = n_slots * t->slot_bytes + 1024 * KVF_KIB,
		.aio = aio,
		.depth = depth};
	struct kvf_tier_open open = {.size = sizeof(open),
		.slot_bytes = t->slot_bytes,
		.payload_bytes = t->slot_bytes - KVF_SLOT_HEADER_BYTES,
		.chunk_tokens = 256,
		.world_size = 1,
		.model = "bench"};
	char text[1024];
	struct kvf_report report;
	uint32_t caps;
	int rc;

	memcpy(open.fingerprint, &t->slot_bytes, 4);
	kvf_report_init(&report, text, sizeof(text));
	t->host = (struct kvf_tier_host){.size = sizeof(t->host),
		.complete = complete,
		.now_ns = now_ns,
		.watch = watch,
		.log = write_log,
		.report = &report};
	t->n_free = 0;
	t->watch = NULL;
	for (uint32_t i = 0; i < BENCH_TIER_SLOTS; i++)
		t->free[t->n_free++] = i;
	kvf_mem_init(&t->mem, NULL);
	t->slots = bench_huge((size_t)BENCH_TIER_SLOTS * t->slot_bytes);
	rc = t->slots ? kvf_disk_new(&t->disk, &t->mem, &params) : KVF_ENOMEM;
	if (!rc)
		rc = kvf_disk_ops.open(t->disk, &t->host, &open, &caps);
	if (!rc)
		return 0;
	fprintf(stderr, "kvferry bench disk: %s\n%s", kvf_strerror(rc), text);
	kvf_disk_free(t->disk);
	t->disk = NULL;
	bench_huge_free(t->slots, (size_t)BENCH_TIER_SLOTS * t->slot_bytes);
	return -1;
}

void bench_tier_close(struct bench_tier *t)
{
	kvf_disk_ops.close(t->disk);
	kvf_disk_free(t->disk);
	t->disk = NULL;
	(void)kvf_mem_fini(&t->mem);
	bench_huge_free(t->slots, (size_t)BENCH_TIER_SLOTS * t->slot_bytes);
}

bool bench_tier_turn(struct bench_tier *t)
{
	double begin = t->turn ? bench_cpu() : 0;
	bool more = kvf_disk_ops.progress(t->disk, tool_now_ns(), KVF_MIB) > 0;

	if (t->turn && t->n_turns < BENCH_TIER_TURNS)
		t->turn[t->n_turns++] = bench_cpu() - begin;
	return more;
}

static void sleep_a_little(struct bench_tier *t)
{
	struct pollfd p = {.events = POLLIN};

	if (!t->watch)
		return;
	p.fd = t->watch->fd;
	if (poll(&p, 1, 1) == 1)
		t->watch->ready(t->watch, KVF_WATCH_READ);
}

void bench_tier_settle(struct bench_tier *t)
{
	do
		bench_tier_turn(t);
	while (kvf_disk_ops.next_deadline_ns(t->disk) <= tool_now_ns());
}

static void key_of(uint8_t key[KVF_KEY_BYTES], uint64_t n)
{
	for (int i = 0; i < 4; i++) {
		uint64_t v = (n + 1) * 0x9e3779b97f4a7c15u + (uint64_t)i * 0xd1342543de82ef95u;

		v ^= v >> 29;
		memcpy(key + 8 * i, &v, 8);
	}
}

static bool submit(struct bench_tier *t, uint32_t kind, uint64_t number)
{
	uint32_t i = t->free[t->n_free - 1];
	struct kvf_tier_req *req = &t->req[i], *one[1] = {req};

	memset(req, 0, sizeof(*req));
	req->kind = kind;
	key_of(req->key, number);
	req->n_tokens = 256;
	req->slot = t->slots + (size_t)i * t->slot_bytes;
	req->payload_bytes = t->slot_bytes - KVF_SLOT_HEADER_BYTES;
	req->has_checksum = 1;
	t->n_free--;
	if (kvf_disk_ops.submit(t->disk, one, 1) == 1)
		return true;
	t->n_free++;
	return false;
}

struct bench_side bench_tier_slice(struct bench_tier *t, uint32_t kind, uint64_t first, uint64_t n)
{
	struct bench_side s = {.seconds = bench_now(), .cpu = bench_cpu()};
	uint64_t sent = 0;

	while (sent < n || t->n_free < BENCH_TIER_SLOTS) {
		while (sent < n && t->n_free && submit(t, kind, first + sent))
			sent++;
		if (!bench_tier_turn(t) && (sent == n || !t->n_free))
			sleep_a_little(t);
	}
	s.seconds = bench_now() - s.seconds;
	s.cpu = bench_cpu() - s.cpu;
	s.bytes = (double)n * t->slot_bytes;
	return s;
}
