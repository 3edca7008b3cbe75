/* SPDX-License-Identifier: Apache-2.0 */
/* Queues, bounds and short transfers, common to all ways to the kernel. See aio.h. */
#include "tier/disk/aio.h"

#include <errno.h>

#define MAX_TRANSFER 0x7ffff000u /* the kernel moves no more in one call */
/* Handing over a transfer costs microseconds, and more for every page of it. */
#define STARTS_PER_PUMP 16u
#define BYTES_PER_PUMP (8 * KVF_MIB)
/* Of so many transfers one goes to whoever would come last: reads without end let writes and recovery go on. */
#define FAIR 8u

void kvf_aio_init(struct kvf_aio *aio, struct kvf_mem *mem, uint32_t depth, uint64_t max_bytes)
{
	*aio = (struct kvf_aio){.mem = mem, .event_fd = -1, .max_bytes = max_bytes};
	aio->depth = (uint32_t)kvf_max_u64(1, kvf_min_u64(depth, KVF_AIO_MAX_DEPTH));
	for (int i = 0; i < KVF_AIO_CLASSES; i++)
		kvf_list_init(&aio->pending[i]);
}

const struct kvf_aio_ops *kvf_aio_find(uint32_t want)
{
	switch (want) {
	case KVF_AIO_WANT_URING:
#ifdef HAVE_LIBURING
		return &kvf_aio_uring;
#else
		return NULL;
#endif
	case KVF_AIO_WANT_LIBAIO:
		return &kvf_aio_kernel;
	case KVF_AIO_WANT_SYNC:
		return &kvf_aio_sync;
	default:
		return NULL;
	}
}

int kvf_aio_probe(const struct kvf_aio_ops *ops, struct kvf_mem *mem, uint32_t depth)
{
	struct kvf_aio aio;
	int rc;

	kvf_aio_init(&aio, mem, depth, KVF_MIB);
	rc = kvf_aio_start(&aio, ops, NULL);
	if (!rc)
		kvf_aio_fini(&aio);
	return rc;
}

int kvf_aio_start(struct kvf_aio *aio, const struct kvf_aio_ops *ops, void *arg)
{
	int rc = ops->open(aio, arg, &aio->state, &aio->event_fd);

	if (rc) {
		aio->event_fd = -1;
		return rc;
	}
	aio->ops = ops;
	return 0;
}

void kvf_aio_fini(struct kvf_aio *aio)
{
	if (aio->ops && aio->n_kernel && aio->ops->leave)
		aio->ops->leave(aio, aio->state);
	else if (aio->ops)
		aio->ops->close(aio, aio->state);
	aio->ops = NULL;
}

static uint64_t op_bytes(const struct kvf_aio_op *op)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < op->n_iov; i++)
		n += op->iov[i].iov_len;
	return n;
}

/* op->now: the part of op->iov from byte `done` on, cut to what the kernel takes at once. */
static void aim(struct kvf_aio_op *op, uint64_t done)
{
	uint64_t room = MAX_TRANSFER;

	op->now_n = 0;
	for (unsigned i = 0; i < op->n_iov; i++) {
		uint64_t len = op->iov[i].iov_len;

		if (done >= len) {
			done -= len;
			continue;
		}
		len = kvf_min_u64(len - done, room);
		if (!len)
			break;
		op->now[op->now_n].iov_base = (char *)op->iov[i].iov_base + done;
		op->now[op->now_n++].iov_len = len;
		done = 0;
		room -= len;
	}
}

void kvf_aio_queue(struct kvf_aio *aio, struct kvf_aio_op *op)
{
	op->left = op->kind == KVF_AIO_SYNC ? 0 : op_bytes(op);
	op->in_kernel = false;
	aim(op, 0);
	kvf_list_push_back(&aio->pending[op->klass], &op->link);
	aio->n_pending++;
}

bool kvf_aio_unqueue(struct kvf_aio *aio, struct kvf_aio_op *op)
{
	if (op->in_kernel || !kvf_list_linked(&op->link))
		return false;
	kvf_list_remove(&op->link);
	aio->n_pending--;
	return true;
}

static void complete(struct kvf_aio_op *op, int result)
{
	op->complete(op, result);
}

void kvf_aio_finish(struct kvf_aio *aio, struct kvf_aio_op *op, int64_t n)
{
	uint64_t total = op->kind == KVF_AIO_SYNC ? 0 : op_bytes(op);
	uint64_t done, before = op->left;

	op->in_kernel = false;
	aio->n_kernel--;
	aio->kernel_bytes -= total;
	aio->finished++;
	if (n < 0 && n != -EAGAIN && n != -EINTR) {
		complete(op, (int)n);
		return;
	}
	if (op->kind == KVF_AIO_SYNC && n >= 0) {
		complete(op, 0);
		return;
	}
	if (n > 0)
		op->left -= kvf_min_u64((uint64_t)n, op->left);
	if (n >= 0 && !op->left) {
		complete(op, 0);
		return;
	}
	/* Short: the rest again, from a place that O_DIRECT accepts. */
	done = (total - op->left) & ~(uint64_t)(KVF_AIO_ALIGN - 1);
	op->left = total - done;
	if (n >= 0 && op->left >= before) {
		complete(op, op->kind == KVF_AIO_READ ? -ENODATA : -ENOSPC);
		return;
	}
	aim(op, done);
	kvf_list_push_front(&aio->pending[op->klass], &op->link);
	aio->n_pending++;
}

static bool may_start(const struct kvf_aio *aio, const struct kvf_aio_op *op)
{
	if (aio->n_kernel >= aio->depth)
		return false;
	return !aio->n_kernel || aio->kernel_bytes + op_bytes(op) <= aio->max_bytes;
}

/* Returns false when nothing more can be started. */
static bool start_one(struct kvf_aio *aio)
{
	bool last_first = aio->started % FAIR == FAIR - 1;

	for (int i = 0; i < KVF_AIO_CLASSES; i++) {
		int k = last_first ? KVF_AIO_CLASSES - 1 - i : i;
		struct kvf_aio_op *op;
		uint64_t bytes;

		if (kvf_list_empty(&aio->pending[k]))
			continue;
		op = kvf_list_entry(aio->pending[k].next, struct kvf_aio_op, link);
		if (!may_start(aio, op))
			return false;
		bytes = op->kind == KVF_AIO_SYNC ? 0 : op_bytes(op);
		kvf_list_remove(&op->link);
		aio->n_pending--;
		aio->n_kernel++;
		aio->kernel_bytes += bytes;
		op->in_kernel = true;
		aio->started++;
		if (aio->ops->start(aio, aio->state, op))
			return true;
		op->in_kernel = false;
		aio->started--;
		aio->n_kernel--;
		aio->kernel_bytes -= bytes;
		kvf_list_push_front(&aio->pending[k], &op->link);
		aio->n_pending++;
		return false;
	}
	return false;
}

bool kvf_aio_pump(struct kvf_aio *aio, uint64_t budget)
{
	uint64_t before = aio->kernel_bytes;
	unsigned n = 0;
	bool cut = false, more;

	while (!cut && start_one(aio))
		cut = ++n == STARTS_PER_PUMP || aio->kernel_bytes - before >= BYTES_PER_PUMP;
	if (!aio->n_kernel)
		return false;
	more = aio->ops->pump(aio, aio->state, budget);
	return more || (cut && aio->n_pending && aio->n_kernel < aio->depth);
}

bool kvf_aio_drain(struct kvf_aio *aio)
{
	for (unsigned idle = 0; (aio->n_kernel || aio->n_pending) && idle < 100;) {
		uint64_t before = aio->finished;

		kvf_aio_pump(aio, UINT64_MAX);
		if (aio->n_kernel && aio->ops->wait && aio->finished == before)
			aio->ops->wait(aio, aio->state);
		idle = aio->finished == before ? idle + 1 : 0;
	}
	return !aio->n_kernel && !aio->n_pending;
}
