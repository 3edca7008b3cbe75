/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk behind the disk tier's aio seam: its content is memory that outlives the tier, its
 * transfers take some turns and end in an order of their own, the k-th of them fails, comes short,
 * or all do for a while. Every write is logged with the times at which it began, ended and was
 * synced, so that what a power cut leaves can be made afterwards: what was synced, any subset of
 * the rest, torn at sectors.
 */
#ifndef KVF_TESTS_SIM_DISK_H
#define KVF_TESTS_SIM_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "tier/disk/aio.h"

#define SIM_FILES 16u
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
	uint64_t due; /* pump at which it ends */
	uint32_t write; /* in the log; UINT32_MAX: none */
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
	/* log */
	bool logging;
	struct sim_write *log;
	uint32_t n_log, cap_log;
};

void sim_disk_init(struct sim_disk *sim, uint64_t seed);
void sim_disk_fini(struct sim_disk *sim);
uint64_t sim_random(struct sim_disk *sim);
/* The content that a power cut at `time` leaves of `from`, which logged everything from an empty
 * disk on. */
void sim_disk_crash(struct sim_disk *image, const struct sim_disk *from, uint64_t time);

extern const struct kvf_aio_ops sim_aio;

#endif
