/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `durable` asks for. each: a write waits for a sync of its segment that began after it was
 * done; whoever comes while one runs shares the next. interval: segments that were written to are
 * synced once a second. none: never.
 */
#include "tier/disk/impl.h"

static void synced(struct kvf_aio_op *op, int result);

void kvf_disk_sync_segment(struct kvf_disk *d, struct kvf_disk_segment *seg)
{
	struct kvf_list *node;

	while ((node = kvf_list_pop_front(&seg->sync_next)))
		kvf_list_push_back(&seg->sync_now, node);
	seg->syncing = true;
	seg->dirty = false;
	seg->sync = (struct kvf_aio_op){.kind = KVF_AIO_SYNC,
		.klass = KVF_AIO_NORMAL,
		.fd = seg->fd,
		.file = seg->number,
		.complete = synced};
	d->stats.syncs++;
	kvf_aio_queue(&d->aio, &seg->sync);
}

static void synced(struct kvf_aio_op *op, int result)
{
	struct kvf_disk_segment *seg = kvf_container_of(op, struct kvf_disk_segment, sync);
	struct kvf_disk *d = seg->disk;
	struct kvf_list *node;

	seg->syncing = false;
	if (result && d->clear.req)
		d->clear.status = KVF_EIO;
	if (result)
		kvf_disk_say_limited(d, &d->limit_io, "segment %u cannot be synced (error %d)",
			seg->number, -result);
	while ((node = kvf_list_pop_front(&seg->sync_now)))
		kvf_disk_synced(kvf_list_entry(node, struct kvf_disk_io, link), result);
	if (!kvf_list_empty(&seg->sync_next))
		kvf_disk_sync_segment(d, seg);
}

void kvf_disk_sync(struct kvf_disk_io *io)
{
	struct kvf_disk_segment *seg = kvf_disk_segment_of(io->disk, io->slot);

	kvf_list_push_back(&seg->sync_next, &io->link);
	if (!seg->syncing)
		kvf_disk_sync_segment(io->disk, seg);
}

void kvf_disk_dirty(struct kvf_disk *d, struct kvf_disk_segment *seg)
{
	if (d->params.durable != KVF_DISK_DURABLE_INTERVAL)
		return;
	seg->dirty = true;
	if (d->sync_at_ns == KVF_NEVER)
		d->sync_at_ns = kvf_sat_add(kvf_disk_now(d), KVF_DISK_SYNC_NS);
}

void kvf_disk_sync_interval(struct kvf_disk *d, uint64_t now_ns)
{
	bool left = false;

	if (now_ns < d->sync_at_ns)
		return;
	for (size_t i = 0; i < d->n_segments; i++) {
		struct kvf_disk_segment *seg = &d->segment[i];

		if (seg->dirty && !seg->syncing)
			kvf_disk_sync_segment(d, seg);
		left |= seg->dirty;
	}
	d->sync_at_ns = left ? kvf_sat_add(now_ns, KVF_DISK_SYNC_NS) : KVF_NEVER;
}
