/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking chunks out by name, and requests back. A remove ends when no header on disk can bring the
 * chunk back: that of its slot, or that of a slot which is just being written over.
 */
#include "tier/disk/impl.h"

#include <string.h>

static bool same(const uint8_t *a, const uint8_t *b)
{
	return memcmp(a, b, KVF_DISK_KEY) == 0;
}

/*
 * A transfer under way may leave the key on disk: the remove waits for one of them, and asks again when that is over.
 * Puts of the key that were there before it are to end without a chunk; one that came later is none of its business.
 */
static bool join_active(struct kvf_disk *d, struct kvf_tier_req *req, bool again)
{
	struct kvf_disk_io *first = NULL;
	struct kvf_list *node;

	kvf_list_for_each(node, &d->active)
	{
		struct kvf_disk_io *io = kvf_list_entry(node, struct kvf_disk_io, active);
		bool put = io->kind == KVF_DISK_PUT && kvf_disk_slot_at(d, io->slot)->state == KVF_DISK_WRITING;
		bool its = same(io->key, req->key);

		if (put && its && !again)
			io->doomed = true;
		if (io->kind != KVF_DISK_WIPE && !put)
			continue;
		if (!put)
			its = kvf_disk_may_be(io->key, req->key);
		if (!first && ((its && (!put || io->doomed)) || (io->has_old && same(io->old.key, req->key))))
			first = io;
	}
	if (!first)
		return false;
	req->link = first->removers;
	first->removers = req;
	return true;
}

bool kvf_disk_remove(struct kvf_disk *d, struct kvf_tier_req *req)
{
	uint32_t slot = kvf_disk_find(&d->index, req->key);
	struct kvf_disk_io *io;

	if (d->clear.req)
		return false;
	io = slot == KVF_NIL ? NULL : kvf_disk_io_new(d, KVF_DISK_WIPE);
	if (slot != KVF_NIL && !io)
		return false;
	if (io) {
		io->slot = slot;
		memcpy(io->key, req->key, sizeof(io->key));
		kvf_disk_take_out(&d->index, slot);
		kvf_disk_begin_wipe(io);
	}
	if (!join_active(d, req, false))
		kvf_disk_end(d, req, kvf_disk_bad_has(&d->index, req->key) ? KVF_EIO : KVF_ENOENT);
	return true;
}

void kvf_disk_removed(struct kvf_disk *d, struct kvf_tier_req *req, int status)
{
	if (join_active(d, req, true))
		return;
	kvf_disk_end(d, req, status == KVF_OK && kvf_disk_bad_has(&d->index, req->key) ? KVF_EIO : status);
}

/* ---- cancel ---- */

void kvf_disk_cancel(struct kvf_disk *d, struct kvf_tier_req *req)
{
	struct kvf_disk_io *io = NULL;
	struct kvf_disk_slot *s;
	bool begun;

	for (uint32_t i = 0; i < KVF_DISK_IOS && !io; i++)
		if (d->io[i].kind && d->io[i].req == req)
			io = &d->io[i];
	if (!io || !kvf_aio_unqueue(&d->aio, &io->op))
		return;
	s = kvf_disk_slot_at(d, io->slot);
	if (io->kind == KVF_DISK_GET) {
		s->readers--;
		kvf_disk_end_user(io, KVF_ECANCELED);
		if (!s->readers && s->state == KVF_DISK_WIPING)
			kvf_disk_wake_wipe(d, io->slot);
		kvf_disk_io_free(d, io);
		return;
	}
	kvf_disk_end_user(io, KVF_ECANCELED);
	/* It came short: the kernel has had it once. */
	begun = io->op.left < io->op.iov[0].iov_len + io->op.iov[1].iov_len;
	if (!io->doomed && !io->has_old && !begun) {
		/* Nothing of it is on disk. */
		kvf_disk_set_free(&d->index, io->slot);
		kvf_disk_io_free(d, io);
		return;
	}
	kvf_disk_begin_wipe(io);
}
