/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transfers of chunks. A put goes into a free slot, or into that of the chunk that should go first;
 * the header page is built beside the pool's, with the slot's generation, and written together with
 * the payload. A get reads header and payload into the pool's slot and believes them only if the
 * header is the one this slot was given. What leaves the tier on purpose (remove, a chunk that
 * proved bad, a write that failed half-way) has its header overwritten, so that no restart brings
 * it back.
 */
#include "tier/disk/impl.h"

#include <errno.h>
#include <string.h>

#include "base/record.h"

static void wrote(struct kvf_aio_op *op, int result);
static void was_read(struct kvf_aio_op *op, int result);
static void wiped(struct kvf_aio_op *op, int result);

struct kvf_disk_io *kvf_disk_io_new(struct kvf_disk *d, uint8_t kind)
{
	struct kvf_list *node = kvf_list_pop_front(&d->free_ios);
	struct kvf_disk_io *io;
	uint8_t *page;

	if (!node)
		return NULL;
	io = kvf_list_entry(node, struct kvf_disk_io, link);
	page = io->page;
	*io = (struct kvf_disk_io){.disk = d, .kind = kind, .page = page, .slot = KVF_NIL};
	kvf_list_push_back(&d->active, &io->active);
	return io;
}

void kvf_disk_io_free(struct kvf_disk *d, struct kvf_disk_io *io)
{
	kvf_list_remove(&io->active);
	kvf_list_remove(&io->link);
	io->kind = 0;
	kvf_list_push_front(&d->free_ios, &io->link);
}

/* A transfer for the engine, within its share. */
static struct kvf_disk_io *user_io(struct kvf_disk *d, uint8_t kind, struct kvf_tier_req *req)
{
	struct kvf_disk_io *io;

	if (d->n_user >= KVF_DISK_USER_IOS ||
		(kind == KVF_DISK_PUT && d->n_puts >= KVF_DISK_PUT_IOS))
		return NULL;
	io = kvf_disk_io_new(d, kind);
	if (!io)
		return NULL;
	io->req = req;
	memcpy(io->key, req->key, sizeof(io->key));
	d->n_user++;
	d->n_puts += kind == KVF_DISK_PUT;
	return io;
}

void kvf_disk_end_user(struct kvf_disk_io *io, int status)
{
	struct kvf_disk *d = io->disk;
	struct kvf_tier_req *req = io->req;

	io->req = NULL;
	d->n_user--;
	d->n_puts -= io->kind == KVF_DISK_PUT;
	kvf_disk_end(d, req, status);
}

/* io is over, and with it the wait of those who remove what it may have left on disk. */
static void end_io(struct kvf_disk_io *io, int status)
{
	struct kvf_tier_req *req = io->removers;
	struct kvf_disk *d = io->disk;

	io->removers = NULL;
	kvf_disk_io_free(d, io);
	while (req) {
		struct kvf_tier_req *next = req->link;

		kvf_disk_removed(d, req, status);
		req = next;
	}
}

static void queue(struct kvf_disk_io *io, uint8_t op_kind, uint8_t klass,
	void (*complete)(struct kvf_aio_op *, int))
{
	struct kvf_disk *d = io->disk;
	struct kvf_disk_segment *seg = kvf_disk_segment_of(d, io->slot);

	io->op.kind = op_kind;
	io->op.klass = klass;
	io->op.fd = seg->fd;
	io->op.file = seg->number;
	io->op.offset = kvf_disk_offset(d, io->slot) + (io->payload_first ? KVF_DISK_PAGE : 0);
	io->op.complete = complete;
	kvf_aio_queue(&d->aio, &io->op);
}

/* ---- overwriting a header ---- */

static void queue_wipe(struct kvf_disk_io *io)
{
	/* The first page of the block is zero and stays so. */
	io->op.iov[0] = (struct iovec){io->disk->pages, KVF_DISK_PAGE};
	io->op.n_iov = 1;
	queue(io, KVF_AIO_WRITE, KVF_AIO_NORMAL, wiped);
}

void kvf_disk_begin_wipe(struct kvf_disk_io *io)
{
	struct kvf_disk_slot *s = kvf_disk_slot_at(io->disk, io->slot);

	io->kind = KVF_DISK_WIPE;
	io->payload_first = false;
	s->state = KVF_DISK_WIPING;
	if (s->readers) {
		kvf_list_push_back(&io->disk->waiting, &io->link);
		return;
	}
	queue_wipe(io);
}

void kvf_disk_wake_wipe(struct kvf_disk *d, uint32_t slot)
{
	struct kvf_list *node, *tmp;

	kvf_list_for_each_safe(node, tmp, &d->waiting)
	{
		struct kvf_disk_io *io = kvf_list_entry(node, struct kvf_disk_io, link);

		if (io->slot != slot)
			continue;
		kvf_list_remove(node);
		queue_wipe(io);
		return;
	}
}

bool kvf_disk_wipe(struct kvf_disk *d, uint32_t slot)
{
	struct kvf_disk_io *io = kvf_disk_io_new(d, KVF_DISK_WIPE);

	if (!io)
		return false;
	io->slot = slot;
	memcpy(io->key, kvf_disk_slot_at(d, slot)->key, sizeof(io->key));
	kvf_disk_begin_wipe(io);
	return true;
}

static void end_wipe(struct kvf_disk_io *io, int result)
{
	struct kvf_disk *d = io->disk;
	struct kvf_disk_slot *s = kvf_disk_slot_at(d, io->slot);

	if (result) {
		/* What may still be there: its own key, and that of the chunk before it. */
		memcpy(s->key, io->key, sizeof(s->key));
		memcpy(s->parent, io->has_old ? io->old.key : io->key, sizeof(s->parent));
		kvf_disk_bad_add(&d->index, io->slot);
		if (!d->retry_left)
			d->retry_bad_ns = kvf_sat_add(kvf_disk_now(d), KVF_DISK_RETRY_NS);
	} else {
		d->stats.wipes++;
		kvf_disk_set_free(&d->index, io->slot);
	}
	d->n_retries -= io->retry;
	end_io(io, result ? kvf_disk_status(-result) : KVF_OK);
}

static void wiped(struct kvf_aio_op *op, int result)
{
	struct kvf_disk_io *io = kvf_container_of(op, struct kvf_disk_io, op);

	/* The file ends before this slot: nothing can come back. */
	if (result == -ENODATA)
		result = 0;
	/* Also where nobody waits for it yet: a remove that comes later finds nothing left to do. */
	if (!result && io->disk->params.durable == KVF_DISK_DURABLE_EACH) {
		kvf_disk_sync(io);
		return;
	}
	if (!result)
		kvf_disk_dirty(io->disk, kvf_disk_segment_of(io->disk, io->slot));
	end_wipe(io, result);
}

bool kvf_disk_retry_ready(const struct kvf_disk *d)
{
	return d->n_retries < KVF_DISK_RETRY_IOS && !kvf_list_empty(&d->free_ios);
}

void kvf_disk_retry_bad(struct kvf_disk *d)
{
	if (!d->retry_left)
		d->retry_left = d->index.n_bad;
	for (; d->retry_left; d->retry_left--) {
		struct kvf_disk_io *io = kvf_disk_retry_ready(d) ? kvf_disk_io_new(d, KVF_DISK_WIPE) : NULL;
		struct kvf_disk_slot *s;

		if (!io)
			return; /* one that ends is followed by the next */
		io->slot = kvf_disk_bad_take(&d->index);
		if (io->slot == KVF_NIL) {
			kvf_disk_io_free(d, io);
			d->retry_left = 0;
			break;
		}
		s = kvf_disk_slot_at(d, io->slot);
		memcpy(io->key, s->key, sizeof(io->key));
		memcpy(io->old.key, s->parent, sizeof(io->old.key));
		io->has_old = io->retry = true;
		d->n_retries++;
		kvf_disk_begin_wipe(io);
	}
	d->retry_bad_ns = d->index.n_bad ? kvf_sat_add(kvf_disk_now(d), KVF_DISK_RETRY_NS) : KVF_NEVER;
}

/* ---- put ---- */

/* Second touch: the first time a key is seen it is only remembered. */
static bool admitted(struct kvf_disk *d, const uint8_t *key)
{
	uint64_t fp, *set;

	if (!d->touched)
		return true;
	memcpy(&fp, key, sizeof(fp));
	fp |= !fp;
	set = &d->touched[fp % (KVF_DISK_TOUCHED / 4) * 4];
	for (int i = 0; i < 4; i++)
		if (set[i] == fp)
			return true;
	set[d->touched_hand++ % 4] = fp;
	return false;
}

static void build_header(struct kvf_disk_io *io)
{
	struct kvf_tier_req *req = io->req;
	struct kvf_record rec = {
		.wire_len = req->wire_len,
		.n_tokens = req->n_tokens,
		.payload_bytes = req->payload_bytes,
		.depth = req->depth,
		.generation = io->generation,
		.checksum = req->checksum,
		.suffix_n = req->wire_suffix_n,
		.suffix = req->wire_suffix,
	};

	memcpy(rec.key, req->key, sizeof(rec.key));
	memcpy(rec.parent, req->parent, sizeof(rec.parent));
	memcpy(rec.wire, req->wire, sizeof(rec.wire));
	memcpy(rec.fingerprint, io->disk->fingerprint, sizeof(rec.fingerprint));
	kvf_record_seal(io->page, &rec);
}

/* A slot to write into. KVF_NIL: none, and *later says whether one may come. */
static uint32_t slot_for_put(struct kvf_disk *d, struct kvf_disk_io *io, bool *later)
{
	uint32_t slot = kvf_disk_take_free(&d->index);

	if (!d->scanning && d->index.n_free < d->grow_slots / 4 + 1 && kvf_disk_can_grow(d))
		d->grow_due = true;
	*later = d->scanning;
	/* While recovery runs, slots turn up by themselves, and nobody knows which chunk should go first. */
	if (slot != KVF_NIL || d->scanning)
		return slot;
	if (kvf_disk_can_grow(d)) {
		d->grow_due = *later = true;
		return KVF_NIL;
	}
	slot = kvf_disk_victim(&d->index);
	if (slot == KVF_NIL) {
		/* Every slot is on its way in or out: one of them will do. */
		*later = d->aio.n_kernel + d->aio.n_pending > 0;
		return KVF_NIL;
	}
	io->old = *kvf_disk_slot_at(d, slot);
	io->has_old = true;
	kvf_disk_take_out(&d->index, slot);
	d->stats.evictions++;
	if (d->host->gone)
		d->host->gone(d->host, io->old.key);
	return slot;
}

/*
 * A chunk that is there already, found by recovery or yet to be, is written anew. Were a crash to leave its header and
 * half of the payload, the next recovery would take that for the newer copy, and throw out one that may be good: so
 * the header goes last. And an older copy was promised before: it is overwritten when the newer one is on the medium,
 * unless nothing ever is.
 */
static void start_put(struct kvf_disk_io *io)
{
	struct kvf_disk *d = io->disk;
	struct kvf_tier_req *req = io->req;
	struct kvf_disk_slot *s = kvf_disk_slot_at(d, io->slot);

	io->generation = ++d->generation;
	s->state = KVF_DISK_WRITING;
	s->unread = 0;
	s->found = false;
	s->payload_bytes = req->payload_bytes;
	s->generation = io->generation;
	memcpy(s->key, req->key, sizeof(s->key));
	memcpy(s->parent, req->parent, sizeof(s->parent));
	build_header(io);
	io->anew = io->payload_first = d->scanning || kvf_disk_find(&d->index, req->key) != KVF_NIL;
	io->op.n_iov = 0;
	if (!io->payload_first)
		io->op.iov[io->op.n_iov++] = (struct iovec){io->page, KVF_DISK_PAGE};
	io->op.iov[io->op.n_iov++] = (struct iovec){
		req->slot + KVF_SLOT_HEADER_BYTES, kvf_align_up(req->payload_bytes, KVF_DISK_PAGE)};
	d->stats.writes++;
	queue(io, KVF_AIO_WRITE, KVF_AIO_NORMAL, wrote);
}

/* It is there already: that counts as written, once it is as durable as asked. */
static bool put_again(struct kvf_disk *d, struct kvf_tier_req *req, uint32_t slot)
{
	struct kvf_disk_io *io;

	if (d->params.durable != KVF_DISK_DURABLE_EACH) {
		kvf_disk_touch(&d->index, slot);
		kvf_disk_end(d, req, KVF_OK);
		return true;
	}
	io = user_io(d, KVF_DISK_PUT, req);
	if (!io)
		return false;
	kvf_disk_touch(&d->index, slot);
	io->slot = slot;
	io->generation = kvf_disk_slot_at(d, slot)->generation;
	kvf_disk_slot_at(d, slot)->readers++; /* keeps it from being evicted */
	kvf_disk_sync(io);
	return true;
}

static bool refuse(struct kvf_disk *d, struct kvf_tier_req *req, int status, uint64_t *counter)
{
	++*counter;
	kvf_disk_end(d, req, status);
	return true;
}

bool kvf_disk_put(struct kvf_disk *d, struct kvf_tier_req *req)
{
	uint32_t slot = kvf_disk_find(&d->index, req->key);
	struct kvf_disk_io *io;
	bool later;

	if (d->clear.req)
		return false;
	if (!req->payload_bytes || req->payload_bytes > d->slot_bytes - KVF_DISK_PAGE ||
		!req->n_tokens) {
		kvf_disk_end(d, req, KVF_ERANGE);
		return true;
	}
	/* A header that recovery found says nothing about the payload behind it: a crash, or a write that failed, may
	 * have left half of that. */
	if (slot != KVF_NIL && !kvf_disk_slot_at(d, slot)->found)
		return put_again(d, req, slot);
	if (d->generation_unknown)
		return false;
	if (kvf_disk_now(d) < d->read_only_until_ns)
		return refuse(d, req, KVF_ENOSPC, &d->stats.refused_full);
	if (slot == KVF_NIL && !admitted(d, req->key))
		return refuse(d, req, KVF_EQUOTA, &d->stats.refused_admission);
	io = user_io(d, KVF_DISK_PUT, req);
	if (!io)
		return false;
	io->slot = slot_for_put(d, io, &later);
	if (io->slot == KVF_NIL && later) {
		/* As if it had not been offered. */
		d->n_user--;
		d->n_puts--;
		kvf_disk_io_free(d, io);
		return false;
	}
	if (io->slot == KVF_NIL) {
		d->stats.refused_full++;
		kvf_disk_end_user(io, KVF_ENOSPC);
		kvf_disk_io_free(d, io);
		return true;
	}
	start_put(io);
	return true;
}

/* The slot becomes a chunk. Where the key has turned up meanwhile, by recovery or because it came twice, the newer copy
 * stays, since that is as durable as was asked, and the older one is overwritten. */
static void settle_put(struct kvf_disk_io *io, int status)
{
	struct kvf_disk *d = io->disk;
	uint32_t older;

	if (status || io->doomed) {
		kvf_disk_end_user(io, status ? status : KVF_ECANCELED);
		kvf_disk_begin_wipe(io);
		return;
	}
	older = kvf_disk_find(&d->index, io->key);
	if (older != KVF_NIL)
		kvf_disk_take_out(&d->index, older);
	kvf_disk_insert(&d->index, io->slot);
	kvf_disk_touch(&d->index, io->slot);
	kvf_disk_end_user(io, KVF_OK);
	if (older == KVF_NIL) {
		end_io(io, KVF_OK);
		return;
	}
	/* What was in its own slot is gone; who waited for that waits a little longer. */
	io->has_old = false;
	io->slot = older;
	kvf_disk_begin_wipe(io);
}

static void write_header(struct kvf_disk_io *io)
{
	io->payload_first = false;
	io->op.iov[0] = (struct iovec){io->page, KVF_DISK_PAGE};
	queue(io, KVF_AIO_WRITE, KVF_AIO_NORMAL, wrote);
}

static void wrote(struct kvf_aio_op *op, int result)
{
	struct kvf_disk_io *io = kvf_container_of(op, struct kvf_disk_io, op);
	struct kvf_disk *d = io->disk;

	if (result == -EROFS && kvf_disk_now(d) >= d->read_only_until_ns) {
		d->read_only_until_ns = kvf_sat_add(kvf_disk_now(d), KVF_DISK_RETRY_NS);
		kvf_disk_say(d, KVF_LOG_WARNING,
			"the file system is read-only: nothing is stored, what is there is served");
	}
	if (!result && (d->params.durable == KVF_DISK_DURABLE_EACH || (d->params.durable && io->anew))) {
		kvf_disk_sync(io);
		return;
	}
	if (!result && io->payload_first && !io->doomed) {
		write_header(io);
		return;
	}
	if (!result)
		kvf_disk_dirty(d, kvf_disk_segment_of(d, io->slot));
	settle_put(io, result ? kvf_disk_status(-result) : KVF_OK);
}

void kvf_disk_synced(struct kvf_disk_io *io, int result)
{
	struct kvf_disk *d = io->disk;
	struct kvf_disk_slot *s = kvf_disk_slot_at(d, io->slot);

	if (io->kind == KVF_DISK_WIPE) {
		end_wipe(io, result);
		return;
	}
	if (s->state == KVF_DISK_WRITING && io->payload_first && !result && !io->doomed) {
		write_header(io);
		return;
	}
	if (s->state == KVF_DISK_WRITING) {
		settle_put(io, result ? kvf_disk_status(-result) : KVF_OK);
		return;
	}
	/* put_again() */
	if (--s->readers == 0 && s->state == KVF_DISK_WIPING)
		kvf_disk_wake_wipe(d, io->slot);
	kvf_disk_end_user(io, result ? kvf_disk_status(-result) : KVF_OK);
	kvf_disk_io_free(d, io);
}

/* ---- get ---- */

bool kvf_disk_get(struct kvf_disk *d, struct kvf_tier_req *req)
{
	uint32_t slot = kvf_disk_find(&d->index, req->key);
	struct kvf_disk_io *io;
	struct kvf_disk_slot *s;

	if (slot == KVF_NIL || d->clear.req) {
		kvf_disk_end(d, req, KVF_ENOENT);
		return true;
	}
	s = kvf_disk_slot_at(d, slot);
	if (s->payload_bytes > req->payload_bytes || s->readers == UINT16_MAX) {
		kvf_disk_end(d, req, KVF_ENOENT);
		return true;
	}
	io = user_io(d, KVF_DISK_GET, req);
	if (!io)
		return false;
	io->slot = slot;
	io->generation = s->generation;
	s->readers++;
	kvf_disk_touch(&d->index, slot);
	io->op.iov[0] = (struct iovec){
		req->slot, KVF_DISK_PAGE + kvf_align_up(s->payload_bytes, KVF_DISK_PAGE)};
	io->op.n_iov = 1;
	d->stats.reads++;
	queue(io, KVF_AIO_READ, KVF_AIO_URGENT, was_read);
	return true;
}

/* NULL: the header is what this slot was given; else what is wrong. */
static const char *judge(struct kvf_disk_io *io)
{
	struct kvf_tier_req *req = io->req;
	struct kvf_record rec;

	if (kvf_record_check(req->slot, io->disk->slot_bytes - KVF_DISK_PAGE, &rec))
		return "a damaged header";
	if (memcmp(rec.key, req->key, sizeof(rec.key)) != 0)
		return "another chunk";
	if (memcmp(rec.fingerprint, io->disk->fingerprint, sizeof(rec.fingerprint)) != 0)
		return "another identity";
	if (rec.generation != io->generation)
		return "an older generation";
	req->payload_bytes = rec.payload_bytes;
	req->checksum = rec.checksum;
	req->has_checksum = 1;
	return NULL;
}

/* The slot's content is no good: it leaves the table and is overwritten. io is done otherwise. */
static void throw_out(struct kvf_disk_io *io, bool truncated)
{
	struct kvf_disk *d = io->disk;
	struct kvf_disk_slot *s = kvf_disk_slot_at(d, io->slot);

	if (s->state != KVF_DISK_LIVE || s->generation != io->generation) {
		if (!s->readers && s->state == KVF_DISK_WIPING)
			kvf_disk_wake_wipe(d, io->slot);
		kvf_disk_io_free(d, io);
		return;
	}
	kvf_disk_take_out(&d->index, io->slot);
	if (truncated && !s->readers) {
		kvf_disk_set_free(&d->index, io->slot);
		kvf_disk_io_free(d, io);
		return;
	}
	kvf_disk_begin_wipe(io);
}

static void was_read(struct kvf_aio_op *op, int result)
{
	struct kvf_disk_io *io = kvf_container_of(op, struct kvf_disk_io, op);
	struct kvf_disk *d = io->disk;
	struct kvf_disk_slot *s = kvf_disk_slot_at(d, io->slot);
	const char *wrong = result ? NULL : judge(io);

	s->readers--;
	if (wrong) {
		d->stats.corrupt++;
		kvf_disk_say_limited(d, &d->limit_corrupt,
			"slot %u of segment %u holds %s: a miss, overwritten",
			io->slot - kvf_disk_segment_of(d, io->slot)->first, io->op.file, wrong);
		kvf_disk_end_user(io, KVF_ECORRUPT);
		throw_out(io, false);
		return;
	}
	if (result == -ENODATA) {
		d->stats.truncated++;
		kvf_disk_say_limited(d, &d->limit_io,
			"segment %u ends before slot %u: truncated by somebody", io->op.file,
			io->slot - kvf_disk_segment_of(d, io->slot)->first);
		kvf_disk_end_user(io, KVF_ENOENT);
		throw_out(io, true);
		return;
	}
	kvf_disk_end_user(io, result ? kvf_disk_status(-result) : KVF_OK);
	s->unread = result ? (uint8_t)(s->unread + (s->unread < KVF_DISK_UNREAD)) : 0;
	/* A device that fails for a while is left time to come back. A bad place would be promised for ever, and never
	 * be written again. */
	if (s->unread == KVF_DISK_UNREAD && s->state == KVF_DISK_LIVE && s->generation == io->generation) {
		kvf_disk_say_limited(d, &d->limit_io, "slot %u of segment %u cannot be read: given up",
			io->slot - kvf_disk_segment_of(d, io->slot)->first, io->op.file);
		throw_out(io, false);
		return;
	}
	if (!s->readers && s->state == KVF_DISK_WIPING)
		kvf_disk_wake_wipe(d, io->slot);
	kvf_disk_io_free(d, io);
}
