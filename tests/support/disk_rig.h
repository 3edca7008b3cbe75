/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disk tier without an engine: a host that only collects completions, and chunks whose key,
 * size and content follow from a number, so that every byte that comes back can be judged.
 */
#ifndef KVF_TESTS_DISK_RIG_H
#define KVF_TESTS_DISK_RIG_H

#include <stdbool.h>

#include "base/mem.h"
#include "kvferry/kvf_tier.h"
#include "tier/disk/aio.h"
#include "tier/disk/disk.h"

#define DRIG_BATCH 64u
#define DRIG_SLOT 8192u /* where nothing else is asked for */

struct drig_options {
	const char *dirs;
	uint64_t max_bytes;
	uint32_t aio, admission, durable, foreign;
	uint32_t slot_bytes; /* 0: 8 KiB */
	uint32_t identity; /* number of the model */
	uint32_t world_size, rank;
	uint64_t segment_bytes, grow_bytes, min_free_bytes;
	uint32_t depth;
	uint64_t depth_bytes;
	const struct kvf_aio_ops *aio_ops;
	void *aio_arg;
	const struct kvf_allocator *allocator;
};

struct drig {
	struct kvf_mem mem;
	struct kvf_disk *disk;
	struct kvf_tier_host host;
	uint64_t now_ns;
	uint32_t caps;
	uint32_t slot_bytes;
	unsigned n_done;
	struct kvf_tier_req req[DRIG_BATCH];
	uint8_t *slots; /* DRIG_BATCH of them */
	char text[4096]; /* report */
	struct kvf_report report;
	char log[8192];
	size_t log_used;
	unsigned log_lines;
};

/* What a get brought. */
enum drig_found { DRIG_RIGHT = 0, DRIG_MISS, DRIG_DETECTED, DRIG_FAILED, DRIG_WRONG };

/* A disk of so many slots of 8 KiB, synchronous, in a directory of its own, whose path is put into dir. */
struct drig_options drig_small(char *dir, size_t cap, uint64_t slots);
int drig_open(struct drig *r, const struct drig_options *options);
void drig_close(struct drig *r);
/* One turn. */
void drig_turn(struct drig *r);
/* Turns until recovery is over and nothing is in flight. */
void drig_settle(struct drig *r);
/* The chunk's key. Chunk n builds on n - 1 unless n is a multiple of 8. */
void drig_key(uint8_t key[KVF_KEY_BYTES], uint32_t n);
uint32_t drig_payload_bytes(const struct drig *r, uint32_t n);
/* Each carries one request out and returns its status. */
int drig_put(struct drig *r, uint32_t n);
int drig_exists(struct drig *r, uint32_t n);
int drig_remove(struct drig *r, uint32_t n);
int drig_clear(struct drig *r);
enum drig_found drig_get(struct drig *r, uint32_t n);
/* Puts [first, first + n), as many at a time as go; counts those that ended well. */
uint32_t drig_put_range(struct drig *r, uint32_t first, uint32_t n);
/* Opens, puts chunks [0, n), closes. */
void drig_fill(const struct drig_options *options, uint32_t n);
/* Gets [first, first + n): counts by enum drig_found. */
void drig_get_range(struct drig *r, uint32_t first, uint32_t n, uint32_t count[5]);
/* Fills in and submits request i of the rig, for chunk n. False: the tier is full. */
bool drig_submit(struct drig *r, uint32_t i, uint32_t kind, uint32_t n);
enum drig_found drig_judge(struct drig *r, uint32_t i, uint32_t n);
void drig_await(struct drig *r, unsigned n_done);
struct kvf_disk_stats drig_stats(struct drig *r);
/* Sizes of all files below a directory; what the file system keeps for itself is not counted. */
uint64_t drig_du(const char *path);
/* Path of the tier's own directory below dirs (one of them), and of segment i in it. */
void drig_own_dir(const struct drig_options *o, char *out, size_t size);
void drig_segment(const struct drig_options *o, uint32_t i, char *out, size_t size);

#endif
