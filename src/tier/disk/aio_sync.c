/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last resort: preadv and pwritev on the caller's time, a slice at a time, so that one turn
 * stays bounded where the device is quick. For file systems without O_DIRECT and for tests.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "tier/disk/aio.h"

#include <errno.h>
#include <unistd.h>

#define SLICE (1024u * 1024u)

struct sync_state {
	struct kvf_list queue; /* kvf_aio_op.link, in order of start */
};

static int sync_open(struct kvf_aio *aio, void *arg, void **state, int *event_fd)
{
	struct sync_state *s = kvf_mem_zalloc(aio->mem, sizeof(*s));

	(void)arg;
	if (!s)
		return -ENOMEM;
	kvf_list_init(&s->queue);
	*state = s;
	*event_fd = -1;
	return 0;
}

static void sync_close(struct kvf_aio *aio, void *state)
{
	kvf_mem_free(aio->mem, state, sizeof(struct sync_state));
}

static bool sync_start(struct kvf_aio *aio, void *state, struct kvf_aio_op *op)
{
	struct sync_state *s = state;

	(void)aio;
	kvf_list_push_back(&s->queue, &op->link);
	return true;
}

/* Cuts the vector to a slice; returns its bytes. */
static uint64_t cut(struct iovec *iov, unsigned *n, const struct kvf_aio_op *op)
{
	uint64_t room = SLICE, bytes = 0;

	for (*n = 0; *n < op->now_n && room; (*n)++) {
		iov[*n] = op->now[*n];
		iov[*n].iov_len = kvf_min_u64(iov[*n].iov_len, room);
		room -= iov[*n].iov_len;
		bytes += iov[*n].iov_len;
	}
	return bytes;
}

static int64_t slice(
	struct kvf_aio *aio, const struct kvf_aio_op *op, uint64_t total, uint64_t *asked)
{
	uint64_t at = op->offset + (total - op->left);
	struct iovec iov[2];
	unsigned n;
	ssize_t got;

	aio->syscalls++;
	if (op->kind == KVF_AIO_SYNC) {
		*asked = 0;
		return fdatasync(op->fd) ? -errno : 0;
	}
	*asked = cut(iov, &n, op);
	if (op->kind == KVF_AIO_READ)
		got = preadv(op->fd, iov, (int)n, (off_t)at);
	else
		got = pwritev(op->fd, iov, (int)n, (off_t)at);
	return got < 0 ? -errno : got;
}

static bool sync_pump(struct kvf_aio *aio, void *state, uint64_t budget)
{
	struct sync_state *s = state;

	while (!kvf_list_empty(&s->queue)) {
		struct kvf_aio_op *op = kvf_list_entry(s->queue.next, struct kvf_aio_op, link);
		bool sync = op->kind == KVF_AIO_SYNC;
		uint64_t total = 0, asked;
		int64_t got;

		for (unsigned i = 0; i < op->n_iov; i++)
			total += op->iov[i].iov_len;
		got = slice(aio, op, total, &asked);
		kvf_list_remove(&op->link);
		kvf_aio_finish(aio, op, got);
		/* A call costs something even where it moves nothing, and a sync whatever the device likes. */
		asked = sync ? budget : kvf_max_u64(asked, 64 * KVF_KIB);
		if (asked >= budget)
			return true;
		budget -= asked;
	}
	return aio->n_pending > 0;
}

const struct kvf_aio_ops kvf_aio_sync = {
	.name = "sync",
	.open = sync_open,
	.close = sync_close,
	.start = sync_start,
	.pump = sync_pump,
};
