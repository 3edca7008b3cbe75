/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segments: files of fixed slots, allocated ahead in steps. What every file may grow to stands in
 * its first page; how far it has grown is its size.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/report.h"
#include "tier/disk/impl.h"

static uint64_t seg_bytes(const struct kvf_disk *d, const struct kvf_disk_segment *seg)
{
	return kvf_disk_slot_offset(d->slot_bytes, seg->n_slots);
}

uint64_t kvf_disk_bytes(const struct kvf_disk *d)
{
	uint64_t n = d->alien_bytes;

	for (uint32_t i = 0; i < d->n_dirs; i++)
		n += d->dir[i].bytes + KVF_DISK_PAGE;
	return n;
}

uint64_t kvf_disk_most_slots(const struct kvf_disk *d)
{
	return d->file_max > KVF_DISK_PAGE ? (d->file_max - KVF_DISK_PAGE) / d->slot_bytes : 0;
}

struct kvf_disk_segment *kvf_disk_segment_of(struct kvf_disk *d, uint32_t slot)
{
	return &d->segment[d->index.slot[slot].segment];
}

uint64_t kvf_disk_offset(struct kvf_disk *d, uint32_t slot)
{
	return kvf_disk_slot_offset(d->slot_bytes, slot - kvf_disk_segment_of(d, slot)->first);
}

static void unlink_segment(struct kvf_disk *d, const struct kvf_disk_segment *seg)
{
	char name[KVF_DISK_NAME_BYTES];

	kvf_disk_seg_name(name, seg->number);
	(void)unlinkat(d->dir[seg->dir].fd, name, 0);
}

/* ---- opening ---- */

/* The name is taken. */
static void keep_number(struct kvf_disk *d, uint32_t number)
{
	if (number >= d->next_number)
		d->next_number = number + 1;
}

static int add_segment(struct kvf_disk *d, const struct kvf_disk_segment *seg)
{
	void *array = d->segment;
	int rc;

	/* Once slots have numbers the array stays where it is. */
	if (d->n_segments == UINT16_MAX || (d->has_index && d->n_segments == d->cap_segments))
		return KVF_ERANGE;
	rc = kvf_mem_grow(d->mem, &array, &d->cap_segments, d->n_segments + 1, sizeof(*d->segment));
	d->segment = array;
	if (rc)
		return rc;
	d->segment[d->n_segments++] = *seg;
	d->dir[seg->dir].bytes += seg_bytes(d, seg);
	keep_number(d, seg->number);
	return KVF_OK;
}

/* A first page that is damaged is written anew: what counts is in the slots, and they prove
 * themselves. */
static int repair_page(
	struct kvf_disk *d, int fd, uint32_t number, uint64_t size, struct kvf_disk_seg_page *page)
{
	uint8_t raw[KVF_DISK_PAGE];

	*page = (struct kvf_disk_seg_page){
		.slot_bytes = d->slot_bytes, .number = number, .epoch = d->epoch};
	memcpy(page->fingerprint, d->fingerprint, sizeof(page->fingerprint));
	page->n_slots = (uint32_t)kvf_max_u64(
		d->seg_slots, size > KVF_DISK_PAGE ? (size - KVF_DISK_PAGE) / d->slot_bytes : 0);
	kvf_disk_seg_write(raw, page);
	return pwrite(fd, raw, sizeof(raw), 0) == (ssize_t)sizeof(raw) ? KVF_OK : KVF_EIO;
}

static int64_t mtime_ns(const struct stat *st)
{
	return st->st_mtim.tv_sec * (int64_t)KVF_NS_PER_S + st->st_mtim.tv_nsec;
}

/* Reads a file's first page. KVF_OK: ours; KVF_ENOTSUP: of another version or identity; else it is
 * unusable. */
static int judge(struct kvf_disk *d, int fd, uint32_t number, const struct stat *st,
	struct kvf_disk_seg_page *page)
{
	uint8_t raw[KVF_DISK_PAGE] = {0};
	ssize_t n = pread(fd, raw, sizeof(raw), 0);
	int rc = n < 0 ? KVF_EIO : kvf_disk_seg_parse(raw, page);

	if (rc == KVF_ENOENT || rc == KVF_ECORRUPT) {
		d->stats.damaged++;
		return repair_page(d, fd, number, (uint64_t)st->st_size, page);
	}
	if (!rc &&
		(page->slot_bytes != d->slot_bytes || page->number != number ||
			memcmp(page->fingerprint, d->fingerprint, sizeof(page->fingerprint)) != 0))
		return KVF_ENOTSUP;
	return rc;
}

/* It cannot be used, but it is there: what it takes counts against the bound. */
static int leave_alone(struct kvf_disk *d, uint32_t dir, const char *name, uint32_t number, const char *why,
	struct kvf_report *report)
{
	struct stat st;

	kvf_report_add(report, KVF_WARNING, "local_disk: %s/%s/%s: cannot be %s: left alone", d->dir[dir].path,
		d->dir[dir].name, name, why);
	keep_number(d, number);
	if (!fstatat(d->dir[dir].fd, name, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode))
		d->alien_bytes += (uint64_t)st.st_blocks * 512;
	return KVF_OK;
}

/* How many slots it has, and may get to have. It is cut to their end: what lies behind them, left by a growth that was
 * interrupted, would count nowhere. */
static int measure(struct kvf_disk *d, struct kvf_disk_segment *seg, const struct kvf_disk_seg_page *page,
	const struct stat *st)
{
	uint64_t size = (uint64_t)st->st_size;

	seg->cap = (uint32_t)kvf_min_u64(page->n_slots, kvf_disk_most_slots(d));
	if (size > KVF_DISK_PAGE)
		seg->n_slots = (uint32_t)kvf_min_u64(seg->cap, (size - KVF_DISK_PAGE) / d->slot_bytes);
	seg->mtime_ns = mtime_ns(st);
	return size > seg_bytes(d, seg) && ftruncate(seg->fd, (off_t)seg_bytes(d, seg)) ? KVF_EIO : KVF_OK;
}

static int take_in(struct kvf_disk *d, uint32_t dir, const char *name, uint32_t number,
	struct kvf_report *report)
{
	struct kvf_disk_segment seg = {.dir = dir, .number = number, .fd = -1};
	int plain = kvf_disk_open_file(d->dir[dir].fd, name, 0);
	struct kvf_disk_seg_page page;
	struct stat st;
	int rc;

	seg.fd = kvf_disk_open_file(d->dir[dir].fd, name, d->direct ? O_DIRECT : 0);
	if (seg.fd == -EMFILE || seg.fd == -ENFILE || plain == -EMFILE || plain == -ENFILE) {
		kvf_report_add(report, KVF_ERROR,
			"local_disk: %s/%s/%s: too many open files (ulimit -n): one is needed for each segment",
			d->dir[dir].path, d->dir[dir].name, name);
		rc = KVF_EIO;
		goto out;
	}
	if (seg.fd < 0 || plain < 0 || fstat(seg.fd, &st)) {
		rc = leave_alone(d, dir, name, number, "opened", report);
		goto out;
	}
	rc = judge(d, plain, number, &st, &page);
	if (rc == KVF_ENOTSUP) {
		rc = kvf_disk_alien_add(d, dir, d->dir[dir].name, name, mtime_ns(&st),
			(uint64_t)st.st_blocks * 512);
		keep_number(d, number);
		goto out;
	}
	if (rc || measure(d, &seg, &page, &st)) {
		rc = leave_alone(d, dir, name, number, "used", report);
		goto out;
	}
	rc = add_segment(d, &seg);
	if (!rc)
		seg.fd = -1;
out:
	if (seg.fd >= 0)
		close(seg.fd);
	if (plain >= 0)
		close(plain);
	return rc;
}

int kvf_disk_segments_open(struct kvf_disk *d, uint32_t dir, struct kvf_report *report)
{
	int fd = openat(d->dir[dir].fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;
	int rc = KVF_OK;

	if (!list) {
		if (fd >= 0)
			close(fd);
		return KVF_EIO;
	}
	while (!rc && (e = readdir(list))) {
		uint32_t number;

		if (kvf_disk_seg_name_parse(e->d_name, &number))
			rc = take_in(d, dir, e->d_name, number, report);
	}
	closedir(list);
	return rc;
}

/* ---- the bound at open ---- */

static void drop_segment(struct kvf_disk *d, size_t i)
{
	struct kvf_disk_segment *seg = &d->segment[i];

	d->dir[seg->dir].bytes -= seg_bytes(d, seg);
	unlink_segment(d, seg);
	close(seg->fd);
	*seg = d->segment[--d->n_segments];
}

/* Cuts slots off its end; whole files go when that is not enough. */
static void cut_segment(struct kvf_disk *d, size_t i, uint64_t excess)
{
	struct kvf_disk_segment *seg = &d->segment[i];
	uint64_t slots = kvf_div_up(excess, d->slot_bytes);

	if (slots >= seg->n_slots || ftruncate(seg->fd, (off_t)kvf_disk_slot_offset(d->slot_bytes,
								seg->n_slots - slots))) {
		drop_segment(d, i);
		return;
	}
	seg->n_slots -= (uint32_t)slots;
	d->dir[seg->dir].bytes -= slots * d->slot_bytes;
}

void kvf_disk_segments_fit(struct kvf_disk *d, struct kvf_report *report)
{
	uint64_t before = kvf_disk_bytes(d);

	while (kvf_disk_bytes(d) > d->params.max_bytes && kvf_disk_alien_reclaim(d))
		;
	while (kvf_disk_bytes(d) > d->params.max_bytes && d->n_segments) {
		size_t oldest = 0;

		for (size_t i = 1; i < d->n_segments; i++)
			if (d->segment[i].mtime_ns < d->segment[oldest].mtime_ns)
				oldest = i;
		cut_segment(d, oldest, kvf_disk_bytes(d) - d->params.max_bytes);
	}
	if (kvf_disk_bytes(d) < before)
		kvf_report_add(report, KVF_NOTE,
			"local_disk: %llu bytes were given up to come down to max_local_disk_size",
			(unsigned long long)(before - kvf_disk_bytes(d)));
	if (kvf_disk_bytes(d) > d->params.max_bytes)
		kvf_report_add(report, KVF_WARNING,
			"local_disk: other identities' %llu bytes leave no room in "
			"max_local_disk_size (%llu): nothing will be stored",
			(unsigned long long)d->alien_bytes,
			(unsigned long long)d->params.max_bytes);
}

void kvf_disk_segments_close(struct kvf_disk *d)
{
	for (size_t i = 0; i < d->n_segments; i++)
		close(d->segment[i].fd);
	kvf_mem_free(d->mem, d->segment, d->cap_segments * sizeof(*d->segment));
	d->segment = NULL;
	d->n_segments = d->cap_segments = 0;
}

/* ---- growing ---- */

/* Slots that the bound still allows, `extra` bytes beside them. */
static uint64_t room(const struct kvf_disk *d, uint64_t extra)
{
	uint64_t used = kvf_disk_bytes(d) + extra;

	return used >= d->params.max_bytes ? 0 : (d->params.max_bytes - used) / d->slot_bytes;
}

/* The directory's segment that is not full yet, or n_segments. */
static size_t open_end(const struct kvf_disk *d, uint32_t dir)
{
	size_t i = 0;

	while (i < d->n_segments &&
		(d->segment[i].dir != dir || d->segment[i].n_slots >= d->segment[i].cap))
		i++;
	return i;
}

/* The directory that holds least of those that may grow now; n_dirs: none. */
static uint32_t next_dir(struct kvf_disk *d)
{
	uint64_t now = kvf_disk_now(d);
	uint32_t best = d->n_dirs;

	for (uint32_t i = 0; i < d->n_dirs; i++) {
		bool may = d->dir[i].retry_at_ns <= now;

		if (may && (best == d->n_dirs || d->dir[i].bytes < d->dir[best].bytes))
			best = i;
	}
	return best;
}

bool kvf_disk_can_grow(struct kvf_disk *d)
{
	uint32_t dir;

	if (d->params.foreign == KVF_DISK_FOREIGN_RECLAIM && d->n_aliens && !room(d, KVF_DISK_PAGE))
		return true;
	dir = next_dir(d);
	if (dir == d->n_dirs || d->clear.req)
		return false;
	return room(d, open_end(d, dir) < d->n_segments ? 0 : KVF_DISK_PAGE) > 0;
}

static void cannot_grow(struct kvf_disk *d, struct kvf_disk_dir *dir, int error)
{
	char text[128];

	dir->retry_at_ns = kvf_sat_add(kvf_disk_now(d), KVF_DISK_RETRY_NS);
	kvf_disk_say_limited(d, &d->limit_grow, "%s cannot take more: %s; it stays at %llu bytes",
		dir->path, strerror_r(error, text, sizeof(text)), (unsigned long long)dir->bytes);
}

static int make_segment(struct kvf_disk *d, uint32_t dir, struct kvf_disk_segment *seg)
{
	char name[KVF_DISK_NAME_BYTES];
	uint8_t raw[KVF_DISK_PAGE];
	struct kvf_disk_seg_page page = {
		.slot_bytes = d->slot_bytes, .number = d->next_number, .epoch = d->epoch};
	int plain, error = 0;

	*seg = (struct kvf_disk_segment){
		.dir = dir, .number = d->next_number, .first = d->n_ids, .fd = -1};
	seg->cap = page.n_slots = d->seg_slots;
	memcpy(page.fingerprint, d->fingerprint, sizeof(page.fingerprint));
	kvf_disk_seg_write(raw, &page);
	kvf_disk_seg_name(name, seg->number);
	plain = kvf_disk_open_file(d->dir[dir].fd, name, O_CREAT | O_EXCL);
	if (plain < 0)
		return -plain;
	if (pwrite(plain, raw, sizeof(raw), 0) != (ssize_t)sizeof(raw) ||
		(d->params.durable && fdatasync(plain)))
		error = errno ? errno : ENOSPC;
	close(plain);
	if (!error) {
		seg->fd = kvf_disk_open_file(d->dir[dir].fd, name, d->direct ? O_DIRECT : 0);
		error = seg->fd < 0 ? -seg->fd : 0;
	}
	/* A new name is durable with its directory. */
	if (!error && d->params.durable && fsync(d->dir[dir].fd))
		error = errno;
	if (error && seg->fd >= 0)
		close(seg->fd);
	if (error)
		unlink_segment(d, seg);
	return error;
}

static int allocate(struct kvf_disk *d, struct kvf_disk_segment *seg, uint32_t slots)
{
	off_t from = (off_t)seg_bytes(d, seg), len = (off_t)slots * d->slot_bytes;
	struct statvfs fs;

	if (fstatvfs(seg->fd, &fs))
		return errno;
	if ((uint64_t)fs.f_bavail * fs.f_frsize < d->params.min_free_bytes + (uint64_t)len)
		return ENOSPC;
	if (!fallocate(seg->fd, 0, from, len))
		return 0;
	if (errno == EOPNOTSUPP && !ftruncate(seg->fd, from + len))
		return 0;
	if (errno == EINTR)
		return EAGAIN;
	{
		int error = errno;

		/* It may have got part of the way. */
		(void)!ftruncate(seg->fd, from);
		return error;
	}
}

static void add_slots(struct kvf_disk *d, size_t i, uint32_t slots)
{
	struct kvf_disk_segment *seg = &d->segment[i];

	for (uint32_t s = seg->first + seg->n_slots, end = s + slots; s < end; s++) {
		d->index.slot[s] = (struct kvf_disk_slot){.segment = (uint16_t)i};
		kvf_disk_set_free(&d->index, s);
	}
	seg->n_slots += slots;
	d->dir[seg->dir].bytes += (uint64_t)slots * d->slot_bytes;
}

void kvf_disk_grow(struct kvf_disk *d)
{
	uint32_t dir = next_dir(d);
	struct kvf_disk_segment made;
	size_t i;
	uint32_t slots;
	int error;

	if (!room(d, KVF_DISK_PAGE) && d->params.foreign == KVF_DISK_FOREIGN_RECLAIM &&
		kvf_disk_alien_reclaim(d))
		return;
	if (dir == d->n_dirs)
		return;
	i = open_end(d, dir);
	if (i == d->n_segments) {
		if (!room(d, KVF_DISK_PAGE) || (uint64_t)d->n_ids + d->seg_slots > d->index.cap)
			return;
		error = make_segment(d, dir, &made);
		if (error || add_segment(d, &made)) {
			cannot_grow(d, &d->dir[dir], error ? error : ENOMEM);
			return;
		}
		d->n_ids += made.cap;
		d->segment[i].disk = d;
		kvf_list_init(&d->segment[i].sync_now);
		kvf_list_init(&d->segment[i].sync_next);
	}
	slots = (uint32_t)kvf_min_u64(
		d->segment[i].cap - d->segment[i].n_slots, kvf_min_u64(d->grow_slots, room(d, 0)));
	error = slots ? allocate(d, &d->segment[i], slots) : 0;
	if (error == EAGAIN)
		return;
	/* A smaller step may still fit. */
	if ((error == ENOSPC || error == EDQUOT) && slots > 1) {
		d->grow_slots = slots / 2;
		return;
	}
	if (error) {
		cannot_grow(d, &d->dir[dir], error);
	} else if (slots) {
		add_slots(d, i, slots);
		/* A disk that was full may have room again. */
		d->grow_slots = (uint32_t)kvf_min_u64(2 * (uint64_t)d->grow_slots, d->grow_most);
	}
}
