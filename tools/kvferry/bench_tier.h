/* SPDX-License-Identifier: Apache-2.0 */
/* The disk tier without an engine, for `kvferry bench disk`: as many requests at once as there are slots of memory. */
#ifndef KVFERRY_BENCH_TIER_H
#define KVFERRY_BENCH_TIER_H

#include "base/mem.h"
#include "bench.h"
#include "kvferry/kvf_tier.h"
#include "tier/disk/disk.h"

/* As many buffers as fio has at this depth: where the "device" is a copy by the host, those that fit its caches are
 * quicker. */
#define BENCH_TIER_SLOTS 8u
#define BENCH_TIER_TURNS 4000000u

struct bench_side {
	double seconds, cpu, bytes; /* cpu: of the thread */
};

struct bench_tier {
	struct kvf_mem mem;
	struct kvf_disk *disk;
	struct kvf_tier_host host;
	struct kvf_tier_req req[BENCH_TIER_SLOTS];
	uint32_t free[BENCH_TIER_SLOTS], n_free;
	uint8_t *slots;
	uint32_t slot_bytes;
	uint64_t n_bad;
	double *turn; /* seconds of thread-CPU, of each turn; NULL: not noted */
	size_t n_turns;
	struct kvf_watch *watch;
	const char *dir;
};

/* Memory in huge pages where the kernel gives them, written to; n is rounded up to them. NULL: none. */
void *bench_huge(size_t n);
void bench_huge_free(void *p, size_t n);
double bench_now(void);
double bench_cpu(void);

/* t->dir and t->slot_bytes are set. depth 0: the tier's own. 0; -1 after a line on stderr. */
int bench_tier_open(struct bench_tier *t, uint32_t aio, uint32_t depth, uint64_t n_slots);
void bench_tier_close(struct bench_tier *t);
bool bench_tier_turn(struct bench_tier *t);
/* Recovery and everything else the tier does by itself. */
void bench_tier_settle(struct bench_tier *t);
/* Moves n chunks, those with the numbers first .. first + n - 1, sleeping when there is nothing to do. */
struct bench_side bench_tier_slice(struct bench_tier *t, uint32_t kind, uint64_t first, uint64_t n);

#endif
