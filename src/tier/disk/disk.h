/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disk tier: chunks in fixed slots of segment files, one write a store and one read a load,
 * straight between file and pool slot. What lies on disk is in docs/disk-format.md; there is no
 * index file and no journal: headers are scanned at start-up while the tier serves, and checksums,
 * full keys and generation numbers decide what may be believed.
 */
#ifndef KVF_TIER_DISK_DISK_H
#define KVF_TIER_DISK_DISK_H

#include <stdbool.h>

#include "base/mem.h"
#include "kvferry/kvf_tier.h"

struct kvf_disk;
struct kvf_aio_ops;

enum kvf_disk_admission { KVF_DISK_ADMIT_ALL = 0, KVF_DISK_SECOND_TOUCH = 1 };
enum kvf_disk_durable {
	KVF_DISK_DURABLE_NONE = 0,
	KVF_DISK_DURABLE_INTERVAL = 1,
	KVF_DISK_DURABLE_EACH = 2
};
enum kvf_disk_foreign { KVF_DISK_FOREIGN_RECLAIM = 0, KVF_DISK_FOREIGN_KEEP = 1 };

struct kvf_disk_params {
	const char *dirs; /* comma-separated; copied */
	uint64_t max_bytes; /* of everything of ours below them: a hard bound */
	uint64_t min_free_bytes; /* of each file system */
	uint32_t aio; /* enum kvf_aio_want */
	uint32_t admission; /* enum kvf_disk_admission */
	uint32_t durable; /* enum kvf_disk_durable */
	uint32_t foreign; /* enum kvf_disk_foreign */
	bool migrating; /* the engine's owner thread may change */
	uint32_t depth; /* transfers in the kernel's hands; 0: default */
	uint64_t depth_bytes; /* bytes of them; 0: default */
	uint64_t segment_bytes; /* most of one file; 0: default */
	uint64_t grow_bytes; /* allocated in one step; 0: default */
	const struct kvf_aio_ops *aio_ops; /* tests: instead of the kernel */
	void *aio_arg;
};

struct kvf_disk_stats {
	const char *aio; /* way to the kernel in use */
	bool direct; /* O_DIRECT */
	bool scanning; /* recovery is still reading headers */
	uint64_t slots, slots_live, slots_free, slots_bad;
	uint64_t bytes, foreign_bytes, max_bytes;
	uint64_t segments;
	uint64_t recovered, damaged, duplicates; /* headers that recovery found */
	uint64_t evictions, wipes, corrupt, truncated;
	uint64_t refused_admission, refused_full;
	uint64_t reads, writes, syncs; /* transfers of chunks; syncs of segments */
	uint64_t reclaimed_files;
	uint64_t depth, depth_bytes; /* bounds of the next two */
	uint64_t in_kernel, in_kernel_bytes;
	uint64_t transfers; /* handed to the kernel, all kinds */
	uint64_t syscalls;
	uint64_t generation;
};

/* KVF_OK, KVF_ENOMEM. The tier's `self` is *out; open may then refuse. */
int kvf_disk_new(struct kvf_disk **out, struct kvf_mem *mem, const struct kvf_disk_params *params);
/* After close, or when open failed. NULL is fine. */
void kvf_disk_free(struct kvf_disk *disk);
void kvf_disk_stats(const struct kvf_disk *disk, struct kvf_disk_stats *stats);
/* Walks index, lists and bitmaps. KVF_OK or KVF_EINTERNAL; `why` gets a sentence. For tests. */
int kvf_disk_verify(struct kvf_disk *disk, const char **why);

extern const struct kvf_tier_ops kvf_disk_ops;

#endif
