/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linux AIO by raw system calls: as fast as io_uring for O_DIRECT on allocated files, and allowed
 * where filters deny io_uring. Whether something is done is read from the ring that the kernel maps
 * for us, without a system call.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "tier/disk/aio.h"

#include <errno.h>
#include <linux/aio_abi.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define REAP 64u
#define RING_MAGIC 0xa10a10a1u

/* What aio_context_t points at, since Linux 2.6. */
struct aio_ring {
	uint32_t id, nr, head, tail;
	uint32_t magic, compat_features, incompat_features, header_length;
};

struct kernel_state {
	aio_context_t context;
	int event_fd;
	uint32_t n_batch;
	struct iocb *batch[KVF_AIO_MAX_DEPTH]; /* started, not handed over */
	uint32_t n_free;
	struct iocb *free[KVF_AIO_MAX_DEPTH];
	struct iocb iocb[KVF_AIO_MAX_DEPTH];
};

static int kernel_open(struct kvf_aio *aio, void *arg, void **state, int *event_fd)
{
	struct kernel_state *s = kvf_mem_zalloc(aio->mem, sizeof(*s));
	int rc;

	(void)arg;
	if (!s)
		return -ENOMEM;
	if (syscall(SYS_io_setup, (long)aio->depth, &s->context)) {
		rc = -errno;
		goto no_context;
	}
	s->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->event_fd < 0) {
		rc = -errno;
		goto no_event;
	}
	for (uint32_t i = 0; i < aio->depth; i++)
		s->free[s->n_free++] = &s->iocb[i];
	*state = s;
	*event_fd = s->event_fd;
	return 0;
no_event:
	syscall(SYS_io_destroy, s->context);
no_context:
	kvf_mem_free(aio->mem, s, sizeof(*s));
	return rc;
}

static void kernel_close(struct kvf_aio *aio, void *state)
{
	struct kernel_state *s = state;

	syscall(SYS_io_destroy, s->context);
	close(s->event_fd);
	kvf_mem_free(aio->mem, s, sizeof(*s));
}

/* io_destroy() waits for what is under way, without end and without a signal that gets through. The kernel has copied
 * the iocbs, and holds the eventfd itself. */
static void kernel_leave(struct kvf_aio *aio, void *state)
{
	struct kernel_state *s = state;

	close(s->event_fd);
	kvf_mem_free(aio->mem, s, sizeof(*s));
}

static bool kernel_start(struct kvf_aio *aio, void *state, struct kvf_aio_op *op)
{
	struct kernel_state *s = state;
	uint64_t total = 0;
	struct iocb *cb;

	(void)aio;
	if (!s->n_free)
		return false;
	for (unsigned i = 0; i < op->n_iov; i++)
		total += op->iov[i].iov_len;
	cb = s->free[--s->n_free];
	memset(cb, 0, sizeof(*cb));
	cb->aio_data = (uint64_t)(uintptr_t)op;
	cb->aio_fildes = (uint32_t)op->fd;
	cb->aio_flags = IOCB_FLAG_RESFD;
	cb->aio_resfd = (uint32_t)s->event_fd;
	if (op->kind == KVF_AIO_SYNC) {
		cb->aio_lio_opcode = IOCB_CMD_FDSYNC;
	} else {
		cb->aio_lio_opcode = op->kind == KVF_AIO_READ ? IOCB_CMD_PREADV : IOCB_CMD_PWRITEV;
		cb->aio_buf = (uint64_t)(uintptr_t)op->now;
		cb->aio_nbytes = op->now_n;
		cb->aio_offset = (int64_t)(op->offset + (total - op->left));
	}
	s->batch[s->n_batch++] = cb;
	return true;
}

static void give_back(struct kernel_state *s, struct iocb *cb)
{
	s->free[s->n_free++] = cb;
}

/* The first of the batch was refused: it ends here. */
static void refuse_first(struct kvf_aio *aio, struct kernel_state *s, int error)
{
	struct iocb *cb = s->batch[0];
	struct kvf_aio_op *op = (struct kvf_aio_op *)(uintptr_t)cb->aio_data;
	int64_t result = -error;

	memmove(s->batch, s->batch + 1, --s->n_batch * sizeof(s->batch[0]));
	give_back(s, cb);
	if (op->kind == KVF_AIO_SYNC && error == EINVAL) {
		/* No asynchronous fsync before Linux 4.18. */
		aio->syscalls++;
		result = fdatasync(op->fd) ? -errno : 0;
	}
	kvf_aio_finish(aio, op, result);
}

/* How many of the batch go in one call. */
static uint32_t at_once(const struct kernel_state *s)
{
	const struct kvf_aio_op *op;

	if (s->n_batch <= KVF_AIO_UNPLUGGED)
		return s->n_batch;
	op = (const struct kvf_aio_op *)(uintptr_t)s->batch[KVF_AIO_UNPLUGGED]->aio_data;
	return op->left >= KVF_AIO_LARGE ? KVF_AIO_UNPLUGGED : s->n_batch;
}

/* False: the kernel has no room now. */
static bool hand_over(struct kvf_aio *aio, struct kernel_state *s)
{
	while (s->n_batch) {
		long n = syscall(SYS_io_submit, s->context, (long)at_once(s), s->batch);

		aio->syscalls++;
		if (n > 0) {
			s->n_batch -= (uint32_t)n;
			memmove(s->batch, s->batch + n, s->n_batch * sizeof(s->batch[0]));
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0 || errno == EAGAIN)
			return false;
		refuse_first(aio, s, errno);
	}
	return true;
}

static bool ring_empty(const struct kernel_state *s)
{
	const struct aio_ring *ring = (const struct aio_ring *)(uintptr_t)s->context;

	if (ring->magic != RING_MAGIC || ring->incompat_features)
		return false;
	return __atomic_load_n(&ring->head, __ATOMIC_RELAXED) ==
	       __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);
}

static unsigned reap(struct kvf_aio *aio, struct kernel_state *s, struct timespec *patience)
{
	struct io_event event[REAP];
	long n;

	if (!patience && ring_empty(s))
		return 0;
	aio->syscalls++;
	n = syscall(SYS_io_getevents, s->context, patience ? 1L : 0L, (long)REAP, event,
		patience ? patience : &(struct timespec){0});
	for (long i = 0; i < n; i++) {
		give_back(s, (struct iocb *)(uintptr_t)event[i].obj);
		kvf_aio_finish(aio, (struct kvf_aio_op *)(uintptr_t)event[i].data, event[i].res);
	}
	return n > 0 ? (unsigned)n : 0;
}

static bool kernel_pump(struct kvf_aio *aio, void *state, uint64_t budget)
{
	struct kernel_state *s = state;
	bool sent = hand_over(aio, s);
	unsigned n = reap(aio, s, NULL);

	(void)budget;
	return n == REAP || !sent || (n && aio->n_pending);
}

static void kernel_wait(struct kvf_aio *aio, void *state)
{
	struct timespec patience = {.tv_nsec = 100000000};

	(void)reap(aio, state, &patience);
}

const struct kvf_aio_ops kvf_aio_kernel = {
	.name = "libaio",
	.open = kernel_open,
	.close = kernel_close,
	.leave = kernel_leave,
	.start = kernel_start,
	.pump = kernel_pump,
	.wait = kernel_wait,
};
