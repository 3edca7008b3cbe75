/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asynchronous file I/O under the disk tier: one interface, three ways to the kernel, chosen at run
 * time.
 *
 *   io_uring  SINGLE_ISSUER | DEFER_TASKRUN | TASKRUN_FLAG, else a plain ring (old kernels, hosts
 * whose owner moves) libaio    Linux AIO by raw system calls: where a filter denies io_uring sync
 * preadv and pwritev in bounded slices: file systems without O_DIRECT, kernels without anything
 *
 * Tests plug in a fourth. kvf_aio keeps the queues: reads go before writes, writes before
 * background work, but for one start in eight, where it is the other way round; at most `depth`
 * operations and `max_bytes` bytes are in the kernel's hands. Short transfers are continued here.
 */
#ifndef KVF_TIER_DISK_AIO_H
#define KVF_TIER_DISK_AIO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/list.h"
#include "base/mem.h"

#define KVF_AIO_MAX_DEPTH 256u
#define KVF_AIO_ALIGN 4096u
/*
 * Of more than two transfers in one call the kernel merges neighbours (it plugs the queue), and what was merged ends
 * together and is merged again: a device that could work on eight of 1 MiB has three of 3 MiB. So those that are
 * worth a call go two at a time.
 */
#define KVF_AIO_LARGE (256u * 1024u)
#define KVF_AIO_UNPLUGGED 2u

enum kvf_aio_kind { KVF_AIO_READ = 1, KVF_AIO_WRITE = 2, KVF_AIO_SYNC = 3 };
enum kvf_aio_class { KVF_AIO_URGENT = 0, KVF_AIO_NORMAL, KVF_AIO_BACKGROUND, KVF_AIO_CLASSES };

/* One transfer. The caller fills in what comes before `complete` and keeps it alive until
 * complete() was called. */
struct kvf_aio_op {
	uint8_t kind; /* enum kvf_aio_kind */
	uint8_t klass; /* enum kvf_aio_class */
	uint8_t n_iov;
	int fd;
	uint32_t file; /* number of the segment: for back ends that have no use for fd */
	uint64_t offset;
	struct iovec iov[2];
	/* result: 0, or -errno; -ENODATA: the file ends before the last byte. */
	void (*complete)(struct kvf_aio_op *op, int result);
	/* kvf_aio's and the back end's */
	struct kvf_list link;
	uint64_t left; /* bytes still to move */
	struct iovec now[2]; /* what is left of iov */
	uint8_t now_n;
	bool in_kernel;
};

struct kvf_aio;

/* A way to the kernel. Every call is on the thread that owns the engine. */
struct kvf_aio_ops {
	const char *name;

	/* 0 or -errno; on 0 *state is set and *event_fd is a descriptor that becomes readable with
	 * completions, or -1. */
	int (*open)(struct kvf_aio *aio, void *arg, void **state, int *event_fd);
	/* Nothing is in the kernel. */
	void (*close)(struct kvf_aio *aio, void *state);
	/* Something is, and does not end: takes down only what does not wait for it. NULL: close does not wait. */
	void (*leave)(struct kvf_aio *aio, void *state);
	/* Takes the operation (op->now, op->offset). false: full for now. Completes with
	 * kvf_aio_finish(). */
	bool (*start)(struct kvf_aio *aio, void *state, struct kvf_aio_op *op);
	/* Gives what was started to the kernel and takes what is done. `budget`: bytes a back end
	 * may move by itself. Returns true when calling again at once is of use. */
	bool (*pump)(struct kvf_aio *aio, void *state, uint64_t budget);
	/* Waits for something to be done: close only. */
	void (*wait)(struct kvf_aio *aio, void *state);
};

/* What the machine was asked for, and what came of it. */
enum kvf_aio_want {
	KVF_AIO_WANT_AUTO = 0,
	KVF_AIO_WANT_URING,
	KVF_AIO_WANT_LIBAIO,
	KVF_AIO_WANT_SYNC
};

struct kvf_aio {
	struct kvf_mem *mem;
	const struct kvf_aio_ops *ops; /* NULL until kvf_aio_start() */
	void *state;
	int event_fd;
	bool migrating; /* the owner thread may change: no SINGLE_ISSUER */
	uint32_t depth;
	uint64_t max_bytes;
	struct kvf_list pending[KVF_AIO_CLASSES];
	uint32_t n_pending;
	uint32_t n_kernel;
	uint64_t kernel_bytes;
	uint64_t started, finished; /* counters: one start a transfer unless it came short */
	uint64_t syscalls;
};

void kvf_aio_init(struct kvf_aio *aio, struct kvf_mem *mem, uint32_t depth, uint64_t max_bytes);
/* Can this back end be had on this machine, so deep? Opens and closes it. 0 or -errno. */
int kvf_aio_probe(const struct kvf_aio_ops *ops, struct kvf_mem *mem, uint32_t depth);
/* From now on through `ops`. 0 or -errno. */
int kvf_aio_start(struct kvf_aio *aio, const struct kvf_aio_ops *ops, void *arg);
/*
 * What is pending is forgotten. What is in the kernel stays there, and with it the back end's ring, which only the end
 * of the process takes down then: no call gives up a transfer to a dead device, and those that take down a ring wait
 * for it. The memory that such transfers use must stay.
 */
void kvf_aio_fini(struct kvf_aio *aio);

void kvf_aio_queue(struct kvf_aio *aio, struct kvf_aio_op *op);
/* Takes back an operation that the kernel has not got. */
bool kvf_aio_unqueue(struct kvf_aio *aio, struct kvf_aio_op *op);
/* Starts what may be started, completes what is done. True: call again at once. */
bool kvf_aio_pump(struct kvf_aio *aio, uint64_t budget);
/* Blocks until nothing is in flight or `patience` waits brought nothing: for close. False:
 * something is still there. */
bool kvf_aio_drain(struct kvf_aio *aio);

/* For back ends: `n` bytes moved (>= 0), or -errno. May be called inside start(). */
void kvf_aio_finish(struct kvf_aio *aio, struct kvf_aio_op *op, int64_t n);

extern const struct kvf_aio_ops kvf_aio_uring; /* only with liburing: see kvf_aio_find() */
extern const struct kvf_aio_ops kvf_aio_kernel; /* Linux AIO */
extern const struct kvf_aio_ops kvf_aio_sync;
/* "io_uring", "libaio", "sync" by enum kvf_aio_want; NULL when this build does not have it. */
const struct kvf_aio_ops *kvf_aio_find(uint32_t want);

#endif
