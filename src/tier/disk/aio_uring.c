/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io_uring. With SINGLE_ISSUER and DEFER_TASKRUN completions come only when we ask for them, so the
 * host's own system calls are not interrupted; TASKRUN_FLAG lets a look at the ring see that there
 * are some without a system call. Polling the ring's descriptor would never wake with
 * DEFER_TASKRUN: an eventfd does.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "tier/disk/aio.h"

#include <errno.h>
#include <liburing.h>
#include <sys/eventfd.h>
#include <unistd.h>

#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1u << 12)
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1u << 13)
#endif

#define REAP 64u

struct uring_state {
	struct io_uring ring;
	int event_fd;
	unsigned unsent; /* entries filled in since the last submit */
};

static int make_ring(struct kvf_aio *aio, struct uring_state *s)
{
	static const unsigned flags[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		0,
	};
	int rc = -EINVAL;

	for (size_t i = aio->migrating ? 1 : 0; i < KVF_ARRAY_LEN(flags); i++) {
		rc = io_uring_queue_init(aio->depth, &s->ring, flags[i]);
		if (rc != -EINVAL)
			break;
	}
	return rc;
}

/* A ring that can be made may still be one that must not be used: filters know three system calls. */
static int try_ring(struct io_uring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;
	int rc;

	if (!sqe)
		return -EINVAL;
	io_uring_prep_nop(sqe);
	rc = io_uring_submit_and_wait(ring, 1);
	if (rc >= 0)
		rc = io_uring_peek_cqe(ring, &cqe);
	if (rc >= 0) {
		rc = cqe->res < 0 ? cqe->res : 0;
		io_uring_cqe_seen(ring, cqe);
	}
	return rc < 0 ? rc : 0;
}

static int uring_open(struct kvf_aio *aio, void *arg, void **state, int *event_fd)
{
	struct uring_state *s = kvf_mem_zalloc(aio->mem, sizeof(*s));
	int rc;

	(void)arg;
	if (!s)
		return -ENOMEM;
	rc = make_ring(aio, s);
	if (rc)
		goto no_ring;
	io_uring_ring_dontfork(&s->ring);
	s->event_fd = -1;
	rc = try_ring(&s->ring);
	if (rc)
		goto no_event;
	s->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rc = s->event_fd < 0 ? -errno : io_uring_register_eventfd(&s->ring, s->event_fd);
	if (rc)
		goto no_event;
	*state = s;
	*event_fd = s->event_fd;
	return 0;
no_event:
	if (s->event_fd >= 0)
		close(s->event_fd);
	io_uring_queue_exit(&s->ring);
no_ring:
	kvf_mem_free(aio->mem, s, sizeof(*s));
	return rc;
}

static void uring_close(struct kvf_aio *aio, void *state)
{
	struct uring_state *s = state;

	io_uring_queue_exit(&s->ring);
	close(s->event_fd);
	kvf_mem_free(aio->mem, s, sizeof(*s));
}

/* Kernels up to 5.6 wait for what is under way when a ring's descriptor is closed: it stays open. */
static void uring_leave(struct kvf_aio *aio, void *state)
{
	struct uring_state *s = state;

	close(s->event_fd);
	kvf_mem_free(aio->mem, s, sizeof(*s));
}

/* One system call for both directions: what was filled in goes out, what is done comes in. None
 * when there is neither. */
static void enter(struct kvf_aio *aio, struct uring_state *s)
{
	int rc;

	if (s->unsent) {
		rc = io_uring_submit_and_get_events(&s->ring);
		if (rc > 0)
			s->unsent -= (unsigned)rc < s->unsent ? (unsigned)rc : s->unsent;
	} else if (IO_URING_READ_ONCE(*s->ring.sq.kflags) &
		   (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) {
		(void)io_uring_get_events(&s->ring);
	} else {
		return;
	}
	aio->syscalls++;
}

static bool uring_start(struct kvf_aio *aio, void *state, struct kvf_aio_op *op)
{
	struct uring_state *s = state;
	struct io_uring_sqe *sqe;
	uint64_t total = 0, at;

	if (op->left >= KVF_AIO_LARGE && s->unsent >= KVF_AIO_UNPLUGGED)
		enter(aio, s);
	sqe = io_uring_get_sqe(&s->ring);
	if (!sqe)
		return false;
	for (unsigned i = 0; i < op->n_iov; i++)
		total += op->iov[i].iov_len;
	at = op->offset + (total - op->left);
	if (op->kind == KVF_AIO_SYNC)
		io_uring_prep_fsync(sqe, op->fd, IORING_FSYNC_DATASYNC);
	else if (op->kind == KVF_AIO_READ && op->now_n == 1)
		io_uring_prep_read(
			sqe, op->fd, op->now[0].iov_base, (unsigned)op->now[0].iov_len, at);
	else if (op->kind == KVF_AIO_READ)
		io_uring_prep_readv(sqe, op->fd, op->now, op->now_n, at);
	else if (op->now_n == 1)
		io_uring_prep_write(
			sqe, op->fd, op->now[0].iov_base, (unsigned)op->now[0].iov_len, at);
	else
		io_uring_prep_writev(sqe, op->fd, op->now, op->now_n, at);
	io_uring_sqe_set_data(sqe, op);
	s->unsent++;
	return true;
}

static unsigned reap(struct kvf_aio *aio, struct uring_state *s)
{
	struct io_uring_cqe *cqe[REAP];
	unsigned n;

	n = io_uring_peek_batch_cqe(&s->ring, cqe, REAP);
	for (unsigned i = 0; i < n; i++) {
		struct kvf_aio_op *op = io_uring_cqe_get_data(cqe[i]);
		int res = cqe[i]->res;

		/* Seen first: finishing may queue, but never starts, another one. */
		io_uring_cqe_seen(&s->ring, cqe[i]);
		kvf_aio_finish(aio, op, res);
	}
	return n;
}

static bool uring_pump(struct kvf_aio *aio, void *state, uint64_t budget)
{
	struct uring_state *s = state;
	unsigned n;

	(void)budget;
	enter(aio, s);
	n = reap(aio, s);
	return n == REAP || s->unsent || (n && aio->n_pending);
}

static void uring_wait(struct kvf_aio *aio, void *state)
{
	struct uring_state *s = state;
	struct __kernel_timespec patience = {.tv_nsec = 100000000};
	struct io_uring_cqe *cqe;

	(void)aio;
	(void)io_uring_wait_cqe_timeout(&s->ring, &cqe, &patience);
}

const struct kvf_aio_ops kvf_aio_uring = {
	.name = "io_uring",
	.open = uring_open,
	.close = uring_close,
	.leave = uring_leave,
	.start = uring_start,
	.pump = uring_pump,
	.wait = uring_wait,
};
