/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The library's own disk tier in a world: its files' names and sizes are real, in memory where there is a file system
 * for that; what is in them is a simulated disk's, on the world's clock, with its faults. It may outlive the world,
 * as a disk does, and be found by the next one.
 */
#ifndef KVF_TESTS_SIM_WDISK_H
#define KVF_TESTS_SIM_WDISK_H

#include "base/mem.h"
#include "kvferry/kvf_tier.h"
#include "tests/support/sim_disk.h"
#include "tier/disk/disk.h"

struct world;

struct wdisk_options {
	bool on; /* in place of the simulated tier 0 */
	bool keep; /* after the world: somebody takes it over */
	bool power_cut; /* between the two */
	uint32_t slots, admission, durable, depth;
	struct sim_disk_faults faults;
};

#define WDISK_HALF 64u

struct wdisk {
	struct kvf_tier_ops ops; /* hand over {&ops, this} */
	struct kvf_disk *disk;
	struct kvf_mem mem;
	struct sim_disk sim;
	char dir[256];
	/* Records that the life before left with a header and half of a payload, by their generation: their write
	 * failed half-way, and so did overwriting them. And how often one was read, which somebody must find out. */
	uint64_t half[WDISK_HALF];
	uint32_t n_half;
	uint64_t half_reads;
	void (*let_go)(void *arg, const void *p, size_t n, bool write);
};

/* For w->o.disk: makes w->wdisk, unless a world before has left it one. NULL: no directory. */
struct wdisk *wdisk_open(struct world *w);
/* When the engine is closed. Returns bytes that leaked. */
uint64_t wdisk_close(struct wdisk *d);
/* With its files. */
void wdisk_free(struct wdisk *d);
/* The power goes at some time of the past: what was not synced lands, vanishes or tears. */
void wdisk_power_cut(struct wdisk *d);

bool wdisk_has(const struct wdisk *d, const uint8_t key[KVF_KEY_BYTES]);
/* A write of this key is under way that nobody removed meanwhile. */
bool wdisk_putting(const struct wdisk *d, const uint8_t key[KVF_KEY_BYTES]);
/* A header of this key stands on disk, and nothing that is under way, or could not be overwritten, explains it. */
bool wdisk_stands(const struct wdisk *d, const uint8_t key[KVF_KEY_BYTES]);
bool wdisk_removing(const struct wdisk *d);
/* Something that was stored has gone from it, on purpose or not. */
bool wdisk_lost_some(const struct wdisk *d);

#endif
