/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk behind the disk tier's aio seam: its content is memory that outlives the tier, its
 * transfers take some turns and end in an order of their own, the k-th of them fails, comes short,
 * or all do for a while. Every write is logged with the times at which it began, ended and was
 * synced, so that what a power cut leaves can be made afterwards: what was synced, any subset of
 * the rest, torn at sectors.
 *
 * With a clock, transfers take times of it instead, and go wrong by chance: errors for a while, short, hanging in the
 * kernel; writes that are acknowledged and lie elsewhere, in part or not at all; reads with a flipped bit.
 */
#ifndef KVF_TESTS_SIM_DISK_H
#define KVF_TESTS_SIM_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "tier/disk/aio.h"

#define SIM_FILES 64u /* a segment beyond ends the program */
#define SIM_OPS 64u
#define SIM_NEVER UINT64_MAX

struct sim_write {
	uint32_t file;
	uint64_t offset;
	uint8_t *data;
	uint32_t bytes;
	uint64_t began, ended, synced; /* on sim_disk.time */
};

struct sim_file {
	uint8_t *bytes;
	uint64_t size;
};

struct sim_op {
	struct kvf_aio_op *op; /* NULL: free */
	uint64_t began;
	uint64_t due; /* pump or time at which it ends */
	uint32_t write; /* in the log; UINT32_MAX: none */
	struct iovec held[2]; /* what the hooks were told */
	uint8_t n_held;
};

/* Chances in millionths of a transfer. */
struct sim_disk_faults {
	uint32_t window; /* from here on up to `window_max` transfers fail with the same error */
	uint32_t window_max;
	uint32_t cut; /* comes short */
	uint32_t hang; /* ends after up to hang_ns */
	uint32_t flip; /* a read has one wrong bit */
	uint32_t torn, lost, astray; /* a write that is acknowledged: in part, not, at another place of the file */
	uint64_t latency_min_ns, latency_max_ns, hang_ns;
};

struct sim_disk {
	struct sim_file file[SIM_FILES];
	struct sim_op op[SIM_OPS];
	uint32_t n_ops;
	uint64_t time; /* counts everything that happens */
	uint64_t pumps;
	uint64_t n_started; /* transfers so far */
	uint64_t random;
	uint32_t latency; /* at most so many pumps; 0: at once */
	/* faults: transfers number fail_from .. fail_to (from 1) */
	uint64_t fail_from, fail_to;
	int fail_errno; /* 0: they come short */
	uint32_t fail_kinds; /* bits of enum kvf_aio_kind; 0: all */
	uint32_t fail_lands; /* so many writes that fail have done it all the same, others something or nothing */
	bool stalled; /* the device hangs: nothing ends until it is false again */
	uint64_t overlaps; /* transfers into memory that another one was using */
	uint32_t align; /* of offset, length and memory: what the device asks for; a page: the coarsest that goes */
	uint64_t misaligned; /* starts that did not keep to it: a real device refuses them */
	/* a clock, NULL: pumps; and what it is worth */
	uint64_t (*now_ns)(void *arg);
	void *arg;
	int event_fd; /* what says that something is done; -1: nothing does */
	struct sim_disk_faults faults;
	uint64_t damaged; /* times that content was spoilt */
	/* The device uses this memory. NULL: it does not say. */
	void (*hold)(void *arg, const void *p, size_t n, bool write);
	void (*let_go)(void *arg, const void *p, size_t n, bool write);
	/* log */
	bool logging;
	struct sim_write *log;
	uint32_t n_log, cap_log;
};

void sim_disk_init(struct sim_disk *sim, uint64_t seed);
void sim_disk_fini(struct sim_disk *sim);
uint64_t sim_random(struct sim_disk *sim);
/* When the next transfer ends, on the clock; UINT64_MAX: none is under way. */
uint64_t sim_disk_due_ns(const struct sim_disk *sim);
/* No more faults; what hangs ends within a millisecond. */
void sim_disk_calm(struct sim_disk *sim);
/* The content that a power cut at `time` leaves of `from`, which logged everything from an empty
 * disk on. */
void sim_disk_crash(struct sim_disk *image, const struct sim_disk *from, uint64_t time);

extern const struct kvf_aio_ops sim_aio;

#endif
