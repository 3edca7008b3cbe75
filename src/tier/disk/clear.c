/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clearing. Nothing is begun any more; when nothing is left in flight, what is known in memory is forgotten and the
 * files are cut to their first pages, a step a turn. Then every file is synced, whatever `durable` asks
 * for, and only behind that the clear is over: nothing comes back, not with the power either. Killed on the way there
 * it has taken some chunks and left others, whole ones: between two steps every file ends between two slots.
 */
#include "tier/disk/impl.h"

#include <unistd.h>

#define STEP_BYTES (4 * KVF_MIB) /* of a file in one turn: up to half a millisecond on file systems that count blocks */

enum { WAIT = 0, FORGET, CUT, SYNC }; /* kvf_disk.clear.phase */

static bool in_flight(const struct kvf_disk *d)
{
	return !kvf_list_empty(&d->active) || d->aio.n_kernel + d->aio.n_pending;
}

bool kvf_disk_clear_ready(const struct kvf_disk *d)
{
	return d->clear.req && !in_flight(d);
}

bool kvf_disk_clear_begun(const struct kvf_disk *d)
{
	return d->clear.req && d->clear.phase != WAIT;
}

bool kvf_disk_clear(struct kvf_disk *d, struct kvf_tier_req *req)
{
	if (d->clear.req)
		return false;
	d->clear = (struct kvf_disk_clear){.req = req};
	return true;
}

static void begin(struct kvf_disk *d)
{
	d->scanning = d->replaying = false;
	d->retry_bad_ns = KVF_NEVER;
	d->retry_left = 0;
	d->clear.phase = FORGET;
}

/* A step off a file's end. False: none is left that has anything behind its first page. */
static bool cut(struct kvf_disk *d)
{
	uint32_t most = (uint32_t)kvf_max_u64(1, STEP_BYTES / d->slot_bytes);
	struct kvf_disk_segment *seg = &d->segment[d->clear.segment];
	uint32_t n;

	if (d->clear.segment == d->n_segments)
		return false;
	n = (uint32_t)kvf_min_u64(seg->n_slots, most);
	if (ftruncate(seg->fd, (off_t)kvf_disk_slot_offset(d->slot_bytes, seg->n_slots - n))) {
		d->clear.status = KVF_EIO;
		d->clear.segment++;
		return true;
	}
	d->dir[seg->dir].bytes -= (uint64_t)n * d->slot_bytes;
	seg->n_slots -= n;
	d->clear.segment += !seg->n_slots;
	return true;
}

static void finish(struct kvf_disk *d)
{
	struct kvf_tier_req *req = d->clear.req;
	int status = d->clear.status;

	d->clear = (struct kvf_disk_clear){0};
	if (!status)
		kvf_disk_renew_epoch(d);
	else
		kvf_disk_scan_begin(d); /* what is left? */
	kvf_disk_end(d, req, status);
}

bool kvf_disk_clear_step(struct kvf_disk *d)
{
	if (in_flight(d))
		return false;
	switch (d->clear.phase) {
	case WAIT:
		begin(d);
		return true;
	case FORGET:
		if (!kvf_disk_index_forget(&d->index))
			d->clear.phase = CUT;
		return true;
	case CUT:
		if (cut(d))
			return true;
		for (size_t i = 0; i < d->n_segments; i++)
			kvf_disk_sync_segment(d, &d->segment[i]);
		d->clear.phase = SYNC;
		return true;
	default:
		finish(d);
		return false;
	}
}
