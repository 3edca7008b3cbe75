/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recovery: reads the header of every slot, some dozens at a time, while the tier serves. A slot is
 * unknown, and neither read nor written, until its header was seen. Then it is a chunk of ours, or
 * free; a key that turns up twice keeps its newer slot, and the older one is overwritten, as is a
 * header that cannot be read.
 */
#include "tier/disk/impl.h"

#include <errno.h>
#include <string.h>

#include "base/record.h"

#define REPLAY 256u /* chunks put in order in one turn */

static void seen(struct kvf_aio_op *op, int result);

void kvf_disk_scan_begin(struct kvf_disk *d)
{
	d->scan_segment = d->scan_slot = 0;
	d->scan_began_ns = kvf_disk_now(d);
	d->scanning = true;
}

/* The next slot that nobody has looked at; KVF_NIL: all were. */
static uint32_t next_slot(struct kvf_disk *d)
{
	while (d->scan_segment < d->n_segments) {
		const struct kvf_disk_segment *seg = &d->segment[d->scan_segment];

		while (d->scan_slot < seg->n_slots) {
			uint32_t slot = seg->first + d->scan_slot++;

			if (d->index.slot[slot].state != KVF_DISK_UNKNOWN)
				continue;
			d->index.slot[slot].segment = (uint16_t)d->scan_segment;
			return slot;
		}
		d->scan_segment++;
		d->scan_slot = 0;
	}
	return KVF_NIL;
}

static void read_header(struct kvf_disk_io *io)
{
	struct kvf_disk *d = io->disk;
	struct kvf_disk_segment *seg = kvf_disk_segment_of(d, io->slot);

	io->op.kind = KVF_AIO_READ;
	io->op.klass = KVF_AIO_BACKGROUND;
	io->op.fd = seg->fd;
	io->op.file = seg->number;
	io->op.offset = kvf_disk_offset(d, io->slot);
	io->op.iov[0] = (struct iovec){io->page, KVF_DISK_PAGE};
	io->op.n_iov = 1;
	io->op.complete = seen;
	kvf_aio_queue(&d->aio, &io->op);
}

/* Its header would come back with the next start: overwrite it. io is over. */
static void overwrite(struct kvf_disk *d, uint32_t slot)
{
	d->index.slot[slot].state = KVF_DISK_WIPING;
	if (kvf_disk_wipe(d, slot))
		return;
	/* No transfer to be had: later. */
	memcpy(d->index.slot[slot].parent, d->index.slot[slot].key, KVF_DISK_KEY);
	kvf_disk_bad_add(&d->index, slot);
	d->retry_bad_ns = kvf_disk_now(d);
}

static void take_in(struct kvf_disk *d, uint32_t slot, const struct kvf_record *rec)
{
	struct kvf_disk_slot *s = &d->index.slot[slot];
	uint32_t other = kvf_disk_find(&d->index, rec->key);

	memcpy(s->key, rec->key, sizeof(s->key));
	memcpy(s->parent, rec->parent, sizeof(s->parent));
	s->generation = rec->generation;
	s->payload_bytes = rec->payload_bytes;
	s->found = true;
	if (d->generation_unknown)
		d->generation = kvf_max_u64(d->generation, rec->generation);
	if (other != KVF_NIL) {
		d->stats.duplicates++;
		if (d->index.slot[other].generation >= rec->generation) {
			overwrite(d, slot);
			return;
		}
		kvf_disk_take_out(&d->index, other);
		overwrite(d, other);
	}
	kvf_disk_insert(&d->index, slot);
	kvf_disk_found(&d->index, slot);
	d->stats.recovered++;
}

static void seen(struct kvf_aio_op *op, int result)
{
	struct kvf_disk_io *io = kvf_container_of(op, struct kvf_disk_io, op);
	struct kvf_disk *d = io->disk;
	uint32_t slot = io->slot;
	struct kvf_record rec;
	int rc = result ? KVF_EIO : kvf_record_check(io->page, d->slot_bytes - KVF_DISK_PAGE, &rec);

	d->n_scans--;
	kvf_disk_io_free(d, io);
	if (rc == KVF_OK && memcmp(rec.fingerprint, d->fingerprint, sizeof(rec.fingerprint)) == 0) {
		take_in(d, slot, &rec);
		return;
	}
	if (rc == KVF_EIO && result != -ENODATA) {
		overwrite(d, slot);
		return;
	}
	d->stats.damaged += rc == KVF_ECORRUPT;
	kvf_disk_set_free(&d->index, slot);
}

void kvf_disk_renew_epoch(struct kvf_disk *d)
{
	if (!d->generation_unknown)
		return;
	d->generation_unknown = false;
	d->epoch = kvf_min_u64((d->generation >> KVF_DISK_EPOCH_SHIFT) + 1, KVF_DISK_EPOCHS - 1);
	d->generation = kvf_max_u64(d->generation, d->epoch << KVF_DISK_EPOCH_SHIFT);
	kvf_disk_dirs_renew(d);
}

static void finish(struct kvf_disk *d)
{
	d->scanning = false;
	d->replaying = true;
	kvf_disk_renew_epoch(d);
	kvf_disk_say(d, KVF_LOG_INFO,
		"recovered %llu chunks (%llu slots) in %llu ms; %llu damaged, %llu twice",
		(unsigned long long)d->stats.recovered, (unsigned long long)d->n_ids,
		(unsigned long long)((kvf_disk_now(d) - d->scan_began_ns) / KVF_NS_PER_MS),
		(unsigned long long)d->stats.damaged, (unsigned long long)d->stats.duplicates);
}

bool kvf_disk_scan_ready(const struct kvf_disk *d)
{
	if (kvf_list_empty(&d->free_ios))
		return false;
	return d->scan_segment < d->n_segments ? d->n_scans < KVF_DISK_SCAN_IOS : !d->n_scans;
}

bool kvf_disk_scan_step(struct kvf_disk *d)
{
	if (d->replaying) {
		d->replaying = kvf_disk_replay(&d->index, REPLAY);
		return d->replaying;
	}
	if (!d->scanning)
		return false;
	while (d->n_scans < KVF_DISK_SCAN_IOS) {
		struct kvf_disk_io *io = kvf_disk_io_new(d, KVF_DISK_SCAN);
		uint32_t slot;

		if (!io)
			break;
		slot = next_slot(d);
		if (slot == KVF_NIL) {
			kvf_disk_io_free(d, io);
			break;
		}
		io->slot = slot;
		d->n_scans++;
		read_header(io);
	}
	if (!d->n_scans && d->scan_segment == d->n_segments)
		finish(d);
	return d->replaying;
}
