/* SPDX-License-Identifier: Apache-2.0 */
/* The disk tier without an engine: see disk_rig.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "tests/support/disk_rig.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/checksum.h"
#include "base/compiler.h"
#include "base/record.h"
#include "base/report.h"
#include "tests/harness.h"
#include "tier/disk/format.h"

#define MAX_TURNS 1000000u

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

/* ---- the host ---- */

static struct drig *rig_of(struct kvf_tier_host *host)
{
	return kvf_container_of(host, struct drig, host);
}

static void host_complete(struct kvf_tier_host *host, struct kvf_tier_req *req, int status)
{
	CU_ASSERT_EQUAL(req->completed, 1); /* exactly once */
	req->completed = 2;
	req->status = status;
	rig_of(host)->n_done++;
}

static uint64_t host_now(struct kvf_tier_host *host)
{
	return rig_of(host)->now_ns += 1000;
}

static int host_watch(struct kvf_tier_host *host, struct kvf_watch *watch, int fd, unsigned events)
{
	(void)host;
	(void)watch;
	(void)fd;
	(void)events;
	return KVF_OK;
}

static void host_log(struct kvf_tier_host *host, enum kvf_log_level level, const char *msg)
{
	struct drig *r = rig_of(host);
	int n;

	if (level > KVF_LOG_WARNING)
		return;
	r->log_lines++;
	n = snprintf(r->log + r->log_used, sizeof(r->log) - r->log_used, "%s\n", msg);
	if (n > 0 && r->log_used + (size_t)n < sizeof(r->log))
		r->log_used += (size_t)n;
}

/* ---- opening ---- */

static uint32_t slot_bytes_of(const struct drig_options *o)
{
	return o->slot_bytes ? o->slot_bytes : 8192;
}

static void fingerprint_of(uint8_t out[KVF_KEY_BYTES], const struct drig_options *o)
{
	uint64_t seed = mix(o->identity + 99u) ^ o->rank << 8 ^ slot_bytes_of(o);

	for (unsigned i = 0; i < KVF_KEY_BYTES; i++)
		out[i] = (uint8_t)mix(seed + i);
}

struct drig_options drig_small(char *dir, size_t cap, uint64_t slots)
{
	struct drig_options o = {.max_bytes = slots * DRIG_SLOT + 2 * 4096,
		.segment_bytes = 1024 * DRIG_SLOT,
		.grow_bytes = 16 * DRIG_SLOT,
		.aio = KVF_AIO_WANT_SYNC};

	CU_ASSERT_EQUAL_FATAL(kvf_test_tmpdir(dir, cap), 0);
	o.dirs = dir;
	return o;
}

int drig_open(struct drig *r, const struct drig_options *o)
{
	struct kvf_disk_params params = {
		.dirs = o->dirs,
		.max_bytes = o->max_bytes,
		.min_free_bytes = o->min_free_bytes,
		.aio = o->aio,
		.admission = o->admission,
		.durable = o->durable,
		.foreign = o->foreign,
		.depth = o->depth,
		.depth_bytes = o->depth_bytes,
		.segment_bytes = o->segment_bytes,
		.grow_bytes = o->grow_bytes,
		.aio_ops = o->aio_ops,
		.aio_arg = o->aio_arg,
	};
	struct kvf_tier_open open = {.size = sizeof(open), .chunk_tokens = 16, .model = "rig"};
	void *slots = NULL;
	int rc;

	memset(r, 0, sizeof(*r));
	kvf_mem_init(&r->mem, o->allocator);
	kvf_report_init(&r->report, r->text, sizeof(r->text));
	r->now_ns = KVF_NS_PER_S;
	r->slot_bytes = slot_bytes_of(o);
	open.slot_bytes = r->slot_bytes;
	open.payload_bytes = r->slot_bytes - KVF_SLOT_HEADER_BYTES;
	open.world_size = o->world_size ? o->world_size : 1;
	open.rank = o->rank;
	fingerprint_of(open.fingerprint, o);
	r->host = (struct kvf_tier_host){.size = sizeof(r->host),
		.complete = host_complete,
		.now_ns = host_now,
		.watch = host_watch,
		.log = host_log,
		.report = &r->report};
	if (posix_memalign(&slots, 4096, (size_t)DRIG_BATCH * r->slot_bytes))
		return KVF_ENOMEM;
	r->slots = slots;
	memset(r->slots, 0, (size_t)DRIG_BATCH * r->slot_bytes);
	rc = kvf_disk_new(&r->disk, &r->mem, &params);
	if (!rc)
		rc = kvf_disk_ops.open(r->disk, &r->host, &open, &r->caps);
	if (!rc)
		return KVF_OK;
	kvf_disk_free(r->disk);
	r->disk = NULL;
	CU_ASSERT_EQUAL(kvf_mem_fini(&r->mem), 0);
	free(r->slots);
	r->slots = NULL;
	return rc;
}

void drig_close(struct drig *r)
{
	const char *why = "";

	CU_ASSERT_EQUAL(kvf_disk_verify(r->disk, &why), KVF_OK);
	if (*why)
		fprintf(stderr, "disk rig: %s\n", why);
	kvf_disk_ops.close(r->disk);
	kvf_disk_free(r->disk);
	CU_ASSERT_EQUAL(kvf_mem_fini(&r->mem), 0);
	free(r->slots);
}

/* ---- requests ---- */

void drig_turn(struct drig *r)
{
	r->now_ns += 1000;
	kvf_disk_ops.progress(r->disk, r->now_ns, KVF_MIB);
}

void drig_settle(struct drig *r)
{
	for (unsigned i = 0; i < MAX_TURNS; i++) {
		struct kvf_disk_stats s;

		drig_turn(r);
		s = drig_stats(r);
		if (!s.scanning && !s.in_kernel && kvf_disk_ops.next_deadline_ns(r->disk) > r->now_ns)
			return;
		if (i % 64 == 63)
			usleep(20);
	}
	CU_FAIL_FATAL("the disk tier does not come to rest");
}

void drig_await(struct drig *r, unsigned n_done)
{
	for (unsigned i = 0; i < MAX_TURNS && r->n_done < n_done; i++) {
		drig_turn(r);
		if (i % 64 == 63)
			usleep(20);
	}
	CU_ASSERT_FATAL(r->n_done >= n_done);
}

void drig_key(uint8_t key[KVF_KEY_BYTES], uint32_t n)
{
	for (unsigned i = 0; i < KVF_KEY_BYTES; i += 8) {
		uint64_t v = mix(n * 4u + i / 8 + 12345);

		memcpy(key + i, &v, 8);
	}
}

uint32_t drig_payload_bytes(const struct drig *r, uint32_t n)
{
	uint32_t full = r->slot_bytes - KVF_SLOT_HEADER_BYTES;

	return n % 3 == 2 ? full - (uint32_t)(mix(n) % (full / 2)) : full;
}

static void content(uint8_t *p, uint32_t bytes, uint32_t n)
{
	for (uint32_t i = 0; i + 8 <= bytes; i += 8) {
		uint64_t v = (n + 1) * 0x9e3779b97f4a7c15u + i * 0x2545f4914f6cdd1du;

		memcpy(p + i, &v, 8);
	}
	for (uint32_t i = bytes & ~7u; i < bytes; i++)
		p[i] = (uint8_t)(n + i);
}

static uint8_t *slot_at(struct drig *r, uint32_t i)
{
	return r->slots + (size_t)i * r->slot_bytes;
}

bool drig_submit(struct drig *r, uint32_t i, uint32_t kind, uint32_t n)
{
	struct kvf_tier_req *req = &r->req[i], *one[1] = {req};

	memset(req, 0, sizeof(*req));
	req->kind = kind;
	drig_key(req->key, n);
	if (n % 8)
		drig_key(req->parent, n - 1);
	req->n_tokens = 16;
	req->depth = n % 8;
	req->slot = slot_at(r, i);
	req->deadline_ns = UINT64_MAX;
	req->completed = 1; /* 2 when it is */
	req->payload_bytes = r->slot_bytes - KVF_SLOT_HEADER_BYTES;
	if (kind == KVF_REQ_PUT) {
		req->payload_bytes = drig_payload_bytes(r, n);
		content(req->slot + KVF_SLOT_HEADER_BYTES, req->payload_bytes, n);
		req->has_checksum = 1;
		req->checksum = kvf_checksum(req->slot + KVF_SLOT_HEADER_BYTES, req->payload_bytes);
	} else if (kind == KVF_REQ_GET) {
		memset(req->slot, 0x5a, r->slot_bytes);
	}
	return kvf_disk_ops.submit(r->disk, one, 1) == 1;
}

static int run(struct drig *r, uint32_t kind, uint32_t n)
{
	unsigned before = r->n_done;

	for (unsigned i = 0; i < MAX_TURNS; i++) {
		if (drig_submit(r, 0, kind, n)) {
			drig_await(r, before + 1);
			return r->req[0].status;
		}
		drig_turn(r);
	}
	CU_FAIL_FATAL("the disk tier takes nothing");
	return KVF_EAGAIN;
}

int drig_put(struct drig *r, uint32_t n)
{
	return run(r, KVF_REQ_PUT, n);
}

int drig_exists(struct drig *r, uint32_t n)
{
	return run(r, KVF_REQ_EXISTS, n);
}

int drig_remove(struct drig *r, uint32_t n)
{
	return run(r, KVF_REQ_REMOVE, n);
}

int drig_clear(struct drig *r)
{
	return run(r, KVF_REQ_CLEAR, 0);
}

/* As the engine would: key, then checksum of the payload; then, which it cannot, whether the bytes
 * are the right ones. */
enum drig_found drig_judge(struct drig *r, uint32_t i, uint32_t n)
{
	struct kvf_tier_req *req = &r->req[i];
	struct kvf_record rec;
	uint8_t key[KVF_KEY_BYTES], *want;
	bool right;

	if (req->status == KVF_ENOENT)
		return DRIG_MISS;
	if (req->status == KVF_ECORRUPT)
		return DRIG_DETECTED;
	if (req->status)
		return DRIG_FAILED;
	drig_key(key, n);
	if (kvf_record_check(req->slot, r->slot_bytes - KVF_SLOT_HEADER_BYTES, &rec) ||
		memcmp(rec.key, key, sizeof(key)) != 0 ||
		kvf_checksum(req->slot + KVF_SLOT_HEADER_BYTES, rec.payload_bytes) != rec.checksum)
		return DRIG_DETECTED;
	want = malloc(rec.payload_bytes);
	content(want, rec.payload_bytes, n);
	right = rec.payload_bytes == drig_payload_bytes(r, n) &&
		memcmp(want, req->slot + KVF_SLOT_HEADER_BYTES, rec.payload_bytes) == 0;
	free(want);
	return right ? DRIG_RIGHT : DRIG_WRONG;
}

enum drig_found drig_get(struct drig *r, uint32_t n)
{
	run(r, KVF_REQ_GET, n);
	return drig_judge(r, 0, n);
}

uint32_t drig_put_range(struct drig *r, uint32_t first, uint32_t n)
{
	uint32_t good = 0;

	for (uint32_t at = 0; at < n;) {
		uint32_t k = 0;

		r->n_done = 0;
		while (k < DRIG_BATCH / 2 && at + k < n &&
			drig_submit(r, k, KVF_REQ_PUT, first + at + k))
			k++;
		if (!k)
			drig_turn(r);
		drig_await(r, k);
		for (uint32_t i = 0; i < k; i++)
			good += r->req[i].status == KVF_OK;
		at += k;
	}
	return good;
}

void drig_get_range(struct drig *r, uint32_t first, uint32_t n, uint32_t count[5])
{
	memset(count, 0, 5 * sizeof(count[0]));
	for (uint32_t at = 0; at < n;) {
		uint32_t k = 0;

		r->n_done = 0;
		while (k < DRIG_BATCH && at + k < n &&
			drig_submit(r, k, KVF_REQ_GET, first + at + k))
			k++;
		if (!k)
			drig_turn(r);
		drig_await(r, k);
		for (uint32_t i = 0; i < k; i++)
			count[drig_judge(r, i, first + at + i)]++;
		at += k;
	}
}

struct kvf_disk_stats drig_stats(struct drig *r)
{
	struct kvf_disk_stats s;

	kvf_disk_stats(r->disk, &s);
	return s;
}

/* ---- files ---- */

static uint64_t du_bytes;

static int add_size(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)path;
	(void)ftw;
	if (type == FTW_F)
		du_bytes += (uint64_t)st->st_size;
	return 0;
}

uint64_t drig_du(const char *path)
{
	du_bytes = 0;
	nftw(path, add_size, 16, FTW_PHYS);
	return du_bytes;
}

void drig_own_dir(const struct drig_options *o, char *out, size_t size)
{
	uint8_t fingerprint[KVF_KEY_BYTES];
	char name[KVF_DISK_NAME_BYTES];

	fingerprint_of(fingerprint, o);
	kvf_disk_dir_name(name, fingerprint, o->world_size ? o->world_size : 1, o->rank);
	snprintf(out, size, "%.*s/%s", (int)strcspn(o->dirs, ","), o->dirs, name);
}

void drig_segment(const struct drig_options *o, uint32_t i, char *out, size_t size)
{
	char name[KVF_DISK_NAME_BYTES], dir[3000];

	drig_own_dir(o, dir, sizeof(dir));
	kvf_disk_seg_name(name, i);
	snprintf(out, size, "%s/%s", dir, name);
}

void drig_fill(const struct drig_options *options, uint32_t n)
{
	struct drig r;

	CU_ASSERT_EQUAL_FATAL(drig_open(&r, options), KVF_OK);
	drig_settle(&r);
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, n), n);
	drig_close(&r);
}
