/* SPDX-License-Identifier: Apache-2.0 */
/* The disk tier behind the tier seam: opening, requests, one turn. See disk.h and impl.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "tier/disk/disk.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/report.h"
#include "tier/disk/impl.h"

#define DEPTH 32u
#define DEPTH_BYTES (256 * KVF_MIB)
#define SEGMENT_BYTES KVF_GIB
#define GROW_BYTES (64 * KVF_MIB)
#define MIN_SLOTS 8u
#define IDLE_NS                                                                                    \
	(10 * KVF_NS_PER_MS) /* nothing in flight for so long: its descriptor is watched no more   \
			      */

/* ---- small things ---- */

void kvf_disk_say(struct kvf_disk *d, enum kvf_log_level level, const char *fmt, ...)
{
	char text[320];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	d->host->log(d->host, level, text);
}

void kvf_disk_say_limited(struct kvf_disk *d, struct kvf_log_limit *limit, const char *fmt, ...)
{
	uint64_t now = kvf_disk_now(d);
	char text[320];
	va_list ap;

	if (now >= limit->window_start_ns + KVF_NS_PER_S || !limit->window_start_ns) {
		limit->window_start_ns = now;
		limit->in_window = 0;
	}
	if (limit->in_window++ >= 3) {
		limit->suppressed++;
		return;
	}
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (limit->suppressed)
		kvf_disk_say(d, KVF_LOG_WARNING, "%s (%u lines like this left out)", text,
			limit->suppressed);
	else
		kvf_disk_say(d, KVF_LOG_WARNING, "%s", text);
	limit->suppressed = 0;
}

void kvf_disk_end(struct kvf_disk *d, struct kvf_tier_req *req, int status)
{
	d->host->complete(d->host, req, status);
}

uint64_t kvf_disk_now(struct kvf_disk *d)
{
	return d->host->now_ns(d->host);
}

int kvf_disk_status(int error)
{
	switch (error) {
	case 0:
		return KVF_OK;
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
	case EROFS: /* cannot take more; what is there can be read */
		return KVF_ENOSPC;
	case ECANCELED:
		return KVF_ECANCELED;
	default:
		return KVF_EIO;
	}
}

/* ---- opening ---- */

int kvf_disk_new(struct kvf_disk **out, struct kvf_mem *mem, const struct kvf_disk_params *params)
{
	struct kvf_disk *d = kvf_mem_zalloc(mem, sizeof(*d));

	if (!d)
		return KVF_ENOMEM;
	d->mem = mem;
	d->params = *params;
	d->dirs_bytes = strlen(params->dirs) + 1;
	d->dirs_text = kvf_mem_alloc(mem, d->dirs_bytes);
	if (!d->dirs_text) {
		kvf_mem_free(mem, d, sizeof(*d));
		return KVF_ENOMEM;
	}
	memcpy(d->dirs_text, params->dirs, d->dirs_bytes);
	d->params.dirs = d->dirs_text;
	*out = d;
	return KVF_OK;
}

void kvf_disk_free(struct kvf_disk *d)
{
	if (!d)
		return;
	kvf_mem_free(d->mem, d->dirs_text, d->dirs_bytes);
	kvf_mem_free(d->mem, d, sizeof(*d));
}

static uint64_t file_limit(void)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_FSIZE, &limit) || limit.rlim_cur == RLIM_INFINITY ? INT64_MAX : limit.rlim_cur;
}

static void take_geometry(struct kvf_disk *d, const struct kvf_tier_open *p)
{
	uint64_t seg = d->params.segment_bytes ? d->params.segment_bytes : SEGMENT_BYTES;
	uint64_t grow = d->params.grow_bytes ? d->params.grow_bytes : GROW_BYTES;

	memcpy(d->fingerprint, p->fingerprint, sizeof(d->fingerprint));
	d->slot_bytes = p->slot_bytes;
	d->payload_bytes = p->payload_bytes;
	d->chunk_tokens = p->chunk_tokens;
	d->world_size = p->world_size;
	d->rank = p->rank;
	snprintf(d->model, sizeof(d->model), "%s", p->model ? p->model : "");
	d->max_slots = d->params.max_bytes / d->slot_bytes;
	d->file_max = file_limit();
	/* Large disks have larger segments rather than more of them. */
	seg = kvf_max_u64(seg, d->max_slots / KVF_DISK_FILES * d->slot_bytes);
	seg = kvf_min_u64(seg / d->slot_bytes, kvf_min_u64(d->max_slots, UINT32_MAX / 4));
	d->seg_slots = (uint32_t)kvf_max_u64(1, kvf_min_u64(seg, kvf_disk_most_slots(d)));
	d->grow_most = (uint32_t)kvf_max_u64(1, kvf_min_u64(grow / d->slot_bytes, d->seg_slots));
	d->grow_slots = d->grow_most;
}

static int check_size(struct kvf_disk *d, struct kvf_report *report)
{
	uint64_t least = (uint64_t)MIN_SLOTS * d->slot_bytes + 2 * KVF_DISK_PAGE;

	if (!kvf_disk_most_slots(d)) {
		kvf_report_add(report, KVF_ERROR,
			"local_disk: files of this process may have %llu bytes (ulimit -f); one chunk takes %u",
			(unsigned long long)d->file_max, d->slot_bytes + KVF_DISK_PAGE);
		return KVF_ERANGE;
	}
	if (d->params.max_bytes >= least && d->max_slots <= UINT32_MAX / 4)
		return KVF_OK;
	if (d->params.max_bytes < least)
		kvf_report_add(report, KVF_ERROR,
			"max_local_disk_size: %llu bytes are too few: %u chunks of %u bytes = %llu "
			"bytes are needed",
			(unsigned long long)d->params.max_bytes, MIN_SLOTS, d->slot_bytes,
			(unsigned long long)least);
	else
		kvf_report_add(report, KVF_ERROR,
			"max_local_disk_size: %llu chunks are more than %u",
			(unsigned long long)d->max_slots, UINT32_MAX / 4);
	return KVF_ERANGE;
}

/* Which way to the kernel. What was asked for by name must be there. */
static int choose_aio(struct kvf_disk *d, struct kvf_report *report)
{
	static const uint32_t order[] = {
		KVF_AIO_WANT_URING, KVF_AIO_WANT_LIBAIO, KVF_AIO_WANT_SYNC};
	uint32_t want = d->params.aio;
	char text[128];

	d->aio_arg = d->params.aio_arg;
	d->aio_ops = d->params.aio_ops;
	if (d->aio_ops)
		return KVF_OK;
	if (want == KVF_AIO_WANT_AUTO && !d->direct) {
		kvf_disk_say(d, KVF_LOG_WARNING,
			"the file system does not take O_DIRECT: transfers are small and "
			"synchronous");
		want = KVF_AIO_WANT_SYNC;
	}
	for (size_t i = 0; i < KVF_ARRAY_LEN(order); i++) {
		const struct kvf_aio_ops *ops = kvf_aio_find(order[i]);
		int rc;

		if (want != KVF_AIO_WANT_AUTO && want != order[i])
			continue;
		rc = ops ? kvf_aio_probe(ops, d->mem, d->aio.depth) : -ENOSYS;
		if (!rc) {
			d->aio_ops = ops;
			return KVF_OK;
		}
		if (want != KVF_AIO_WANT_AUTO) {
			kvf_report_add(report, KVF_ERROR, "kvf_aio: \"%s\" cannot be had here: %s",
				ops ? ops->name : "io_uring", strerror_r(-rc, text, sizeof(text)));
			return rc == -ENOMEM ? KVF_ENOMEM : KVF_ENOTSUP;
		}
		kvf_disk_say(d, KVF_LOG_WARNING, "%s cannot be had here (%s): falling back",
			ops ? ops->name : "io_uring", strerror_r(-rc, text, sizeof(text)));
	}
	return KVF_ENOTSUP;
}

static int make_ios(struct kvf_disk *d)
{
	kvf_list_init(&d->free_ios);
	kvf_list_init(&d->active);
	kvf_list_init(&d->waiting);
	d->io = kvf_mem_zalloc(d->mem, KVF_DISK_IOS * sizeof(*d->io));
	if (!d->io)
		return KVF_ENOMEM;
	d->pages_bytes = (KVF_DISK_IOS + 1) * (size_t)KVF_DISK_PAGE;
	d->pages = mmap(
		NULL, d->pages_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (d->pages == MAP_FAILED) {
		d->pages = NULL;
		return KVF_ENOMEM;
	}
	/* After a fork either side may get the copy when one writes, and the device goes on with the other's page. */
	(void)madvise(d->pages, d->pages_bytes, MADV_DONTFORK);
	for (uint32_t i = 0; i < KVF_DISK_IOS; i++) {
		d->io[i].disk = d;
		d->io[i].page = d->pages + (i + 1) * (size_t)KVF_DISK_PAGE;
		kvf_list_push_back(&d->free_ios, &d->io[i].link);
	}
	return KVF_OK;
}

/* Gives every slot of every segment its number. */
static int number_slots(struct kvf_disk *d)
{
	uint64_t ids = 0, more = d->max_slots / d->seg_slots + d->n_dirs + 1;
	void *array = d->segment;
	int rc;

	for (size_t i = 0; i < d->n_segments; i++)
		ids += d->segment[i].cap;
	if (ids + more * d->seg_slots > UINT32_MAX / 2)
		return KVF_ERANGE;
	/* Room for all there will ever be: operations in flight point into the array. */
	rc = kvf_mem_grow(
		d->mem, &array, &d->cap_segments, d->n_segments + more, sizeof(*d->segment));
	d->segment = array;
	if (!rc)
		rc = kvf_disk_index_init(&d->index, d->mem, (uint32_t)(ids + more * d->seg_slots));
	if (rc)
		return rc;
	d->has_index = true;
	for (size_t i = 0; i < d->n_segments; i++) {
		struct kvf_disk_segment *seg = &d->segment[i];

		seg->first = d->n_ids;
		seg->disk = d;
		kvf_list_init(&seg->sync_now);
		kvf_list_init(&seg->sync_next);
		d->n_ids += seg->cap;
	}
	return KVF_OK;
}

static int open_files(struct kvf_disk *d, struct kvf_report *report)
{
	int rc = kvf_disk_dirs_open(d, report);

	for (uint32_t i = 0; i < d->n_dirs && !rc; i++) {
		size_t before = d->n_segments;

		rc = kvf_disk_segments_open(d, i, report);
		/* An empty directory has nothing to be younger than. */
		d->generation_unknown |= d->dir[i].no_page && d->n_segments > before;
		if (!rc)
			rc = kvf_disk_aliens_find(d, i);
	}
	if (rc)
		return rc;
	kvf_disk_aliens_sort(d);
	kvf_disk_segments_fit(d, report);
	d->generation = d->epoch << KVF_DISK_EPOCH_SHIFT;
	/* Were a page written now, the next start would believe it, though this one never saw the generations. */
	return d->generation_unknown ? KVF_OK : kvf_disk_dirs_write(d, report);
}

static void close_all(struct kvf_disk *d)
{
	kvf_aio_fini(&d->aio);
	if (d->has_index)
		kvf_disk_index_fini(&d->index);
	d->has_index = false;
	kvf_disk_segments_close(d);
	kvf_disk_dirs_close(d);
	kvf_mem_free(d->mem, d->alien, d->cap_aliens * sizeof(*d->alien));
	kvf_mem_free(d->mem, d->io, KVF_DISK_IOS * sizeof(*d->io));
	kvf_mem_free(d->mem, d->touched, KVF_DISK_TOUCHED * sizeof(*d->touched));
	if (d->pages)
		munmap(d->pages, d->pages_bytes);
	d->alien = NULL;
	d->io = NULL;
	d->touched = NULL;
	d->pages = NULL;
}

static int disk_open(
	void *self, struct kvf_tier_host *host, const struct kvf_tier_open *p, uint32_t *caps)
{
	struct kvf_disk *d = self;
	int rc;

	d->host = host;
	d->left = false;
	kvf_aio_init(&d->aio, d->mem, d->params.depth ? d->params.depth : DEPTH,
		d->params.depth_bytes ? d->params.depth_bytes : DEPTH_BYTES);
	d->aio.migrating = d->params.migrating;
	d->sync_at_ns = d->retry_bad_ns = KVF_NEVER;
	take_geometry(d, p);
	rc = check_size(d, host->report);
	if (!rc)
		rc = open_files(d, host->report);
	if (!rc)
		rc = choose_aio(d, host->report);
	if (!rc)
		rc = number_slots(d);
	if (!rc)
		rc = make_ios(d);
	if (!rc && d->params.admission == KVF_DISK_SECOND_TOUCH) {
		d->touched = kvf_mem_zalloc(d->mem, KVF_DISK_TOUCHED * sizeof(*d->touched));
		rc = d->touched ? KVF_OK : KVF_ENOMEM;
	}
	if (rc) {
		close_all(d);
		return rc;
	}
	*caps = KVF_TIER_RECORDS | KVF_TIER_SYNC_EXISTS | KVF_TIER_DURABLE | KVF_TIER_CLEARS;
	kvf_disk_scan_begin(d);
	d->open = true;
	return KVF_OK;
}

static void disk_close(void *self)
{
	struct kvf_disk *d = self;

	if (d->watching)
		(void)d->host->watch(d->host, &d->watch, d->aio.event_fd, 0);
	d->watching = false;
	/* Only work of our own can be in flight. Twice: what was written behind a sync under way needs another. */
	for (int i = 0; d->aio.ops && i < 2 && !d->left; i++) {
		kvf_disk_sync_interval(d, KVF_NEVER);
		d->left = !kvf_aio_drain(&d->aio) && d->aio.n_kernel;
	}
	if (d->left) {
		kvf_disk_say(d, KVF_LOG_WARNING,
			"%u transfers do not end: their memory, their ring and the locks of the directories stay "
			"with this process until it ends",
			d->aio.n_kernel);
		d->pages = NULL;
	}
	close_all(d);
	d->open = false;
}

/* ---- requests ---- */

static bool take(struct kvf_disk *d, struct kvf_tier_req *req)
{
	switch (req->kind) {
	case KVF_REQ_EXISTS:
		kvf_disk_end(d, req,
			d->clear.req || kvf_disk_find(&d->index, req->key) == KVF_NIL ? KVF_ENOENT
										      : KVF_OK);
		return true;
	case KVF_REQ_GET:
		return kvf_disk_get(d, req);
	case KVF_REQ_PUT:
		return kvf_disk_put(d, req);
	case KVF_REQ_REMOVE:
		if (!d->scanning && !d->held)
			return kvf_disk_remove(d, req);
		/* It may be in a slot that nobody has looked at yet. */
		req->link = NULL;
		if (d->held)
			d->held_last->link = req;
		else
			d->held = req;
		d->held_last = req;
		return true;
	case KVF_REQ_CLEAR:
		return kvf_disk_clear(d, req);
	default:
		kvf_disk_end(d, req, KVF_ENOTSUP);
		return true;
	}
}

static unsigned disk_submit(void *self, struct kvf_tier_req *const *reqs, unsigned n)
{
	struct kvf_disk *d = self;
	unsigned i = 0;

	while (i < n && take(d, reqs[i]))
		i++;
	return i;
}

static void disk_cancel(void *self, struct kvf_tier_req *req)
{
	kvf_disk_cancel(self, req);
}

/* ---- a turn ---- */

static void woken(struct kvf_watch *watch, unsigned events)
{
	struct kvf_disk *d = watch->arg;
	uint64_t n;

	(void)events;
	d->woken = true;
	if (read(watch->fd, &n, sizeof(n)) < 0)
		return; /* somebody was quicker */
}

/* The ring belongs to the thread of the first turn. What could be had when the tier was opened may not be there any
 * more: a filter came, descriptors or rings ran out. */
static bool start_aio(struct kvf_disk *d)
{
	char text[128];

	while (!d->aio.ops) {
		const struct kvf_aio_ops *next = d->aio_ops == kvf_aio_find(KVF_AIO_WANT_URING)
							 ? kvf_aio_find(KVF_AIO_WANT_LIBAIO)
							 : &kvf_aio_sync;
		int rc = kvf_aio_start(&d->aio, d->aio_ops, d->aio_arg);

		if (!rc)
			break;
		if (d->aio_ops == &kvf_aio_sync)
			return false;
		kvf_disk_say(d, KVF_LOG_WARNING, "%s failed (%s): %s from now on", d->aio_ops->name,
			strerror_r(-rc, text, sizeof(text)), next->name);
		d->aio_ops = next;
		d->aio_arg = NULL;
	}
	return true;
}

static void watch_events(struct kvf_disk *d, uint64_t now)
{
	bool busy = d->aio.n_kernel > 0;

	if (d->aio.event_fd < 0)
		return;
	if (busy) {
		d->busy_ns = now;
		if (!d->watching) {
			d->watch.ready = woken;
			d->watch.arg = d;
			d->watching = !d->host->watch(
				d->host, &d->watch, d->aio.event_fd, KVF_WATCH_READ);
		}
	} else if (d->watching && now >= d->busy_ns + IDLE_NS) {
		(void)d->host->watch(d->host, &d->watch, d->aio.event_fd, 0);
		d->watching = false;
	}
}

static void serve_held(struct kvf_disk *d)
{
	while (!d->scanning && d->held) {
		struct kvf_tier_req *req = d->held, *next = req->link;

		d->held = NULL;
		if (!kvf_disk_remove(d, req)) {
			d->held = req;
			return;
		}
		d->held = next;
	}
}

static uint64_t disk_progress(void *self, uint64_t now, uint64_t budget)
{
	struct kvf_disk *d = self;
	bool more = false;

	if (!start_aio(d))
		return 0;
	d->woken = false;
	if (d->grow_due && !d->clear.req) {
		kvf_disk_grow(d);
		d->grow_due = d->index.n_free < d->grow_slots / 4 + 1 && kvf_disk_can_grow(d);
		more = true;
	}
	more |= kvf_aio_pump(&d->aio, budget);
	if (d->clear.req)
		more |= kvf_disk_clear_step(d);
	else if (d->scanning || d->replaying)
		more |= kvf_disk_scan_step(d);
	if (d->held)
		serve_held(d);
	/* Whoever clears waits until nothing is under way, and syncs all files at the end. */
	if (!d->clear.req) {
		if (now >= d->retry_bad_ns)
			kvf_disk_retry_bad(d);
		kvf_disk_sync_interval(d, now);
	}
	/* What completions and the steps above queued goes out in this turn. */
	more |= kvf_aio_pump(&d->aio, budget);
	watch_events(d, now);
	return more;
}

/* Is there something to do that waits for no transfer? What waits for one is woken by it. */
static bool has_work(const struct kvf_disk *d)
{
	if (d->woken)
		return true;
	if (d->clear.req)
		return kvf_disk_clear_ready(d);
	if (d->replaying || d->grow_due)
		return true;
	if (d->scanning)
		return kvf_disk_scan_ready(d);
	return d->held && !kvf_list_empty(&d->free_ios);
}

static uint64_t disk_deadline(void *self)
{
	struct kvf_disk *d = self;
	uint64_t at = KVF_NEVER;

	if (!d->clear.req)
		at = kvf_min_u64(d->sync_at_ns, kvf_disk_retry_ready(d) ? d->retry_bad_ns : KVF_NEVER);

	if (has_work(d))
		return 0;
	/* Nobody tells us: look. */
	if (d->aio.n_kernel + d->aio.n_pending && (d->aio.event_fd < 0 || !d->watching))
		return 0;
	if (d->watching && !d->aio.n_kernel)
		at = kvf_min_u64(at, d->busy_ns + IDLE_NS);
	return at;
}

const struct kvf_tier_ops kvf_disk_ops = {
	.size = sizeof(kvf_disk_ops),
	.name = "disk",
	.open = disk_open,
	.close = disk_close,
	.submit = disk_submit,
	.cancel = disk_cancel,
	.progress = disk_progress,
	.next_deadline_ns = disk_deadline,
};
