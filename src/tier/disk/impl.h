/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disk tier's own structures. Who does what:
 *   disk.c     the tier seam, the turn            transfer.c  get, put, wipe: one transfer each
 *   remove.c   remove, cancel
 *   dir.c      directories: opening, locking      sync.c      what `durable` asks for
 *   segment.c  segments: making, growing          scan.c      recovery
 *   foreign.c  other engines' segments            index.c     slots, keys, order of eviction
 *   look.c     statistics, invariants              clear.c     clearing
 *                                                  bad.c       slots that could not be overwritten
 */
#ifndef KVF_TIER_DISK_IMPL_H
#define KVF_TIER_DISK_IMPL_H

#include "base/list.h"
#include "base/log.h"
#include "tier/disk/aio.h"
#include "tier/disk/disk.h"
#include "tier/disk/format.h"
#include "tier/disk/index.h"

#define KVF_DISK_MAX_DIRS 16u
#define KVF_DISK_FILES 256u /* segments, roughly: each holds a descriptor of the host's */
#define KVF_DISK_IOS 96u /* transfers the tier holds, in the kernel or waiting */
#define KVF_DISK_PUT_IOS 48u /* of them, at most, puts */
#define KVF_DISK_USER_IOS 72u /* and all of the engine's */
#define KVF_DISK_SCAN_IOS 32u
#define KVF_DISK_RETRY_IOS 16u /* at most, those that overwrite headers again */
#define KVF_DISK_UNREAD 3u /* so often in a row unreadable: the chunk is given up */
#define KVF_DISK_TOUCHED 65536u /* keys seen once that admission remembers */
#define KVF_DISK_RETRY_NS                                                                          \
	(10 * KVF_NS_PER_S) /* after a directory refused to grow, a slot to be overwritten */
#define KVF_DISK_SYNC_NS KVF_NS_PER_S /* durable: interval */

struct kvf_disk;
struct kvf_disk_io;

struct kvf_disk_dir {
	char *path; /* of the configuration: shared by all engines */
	size_t path_bytes;
	char name[KVF_DISK_NAME_BYTES]; /* ours below it */
	int base_fd, fd, lock_fd;
	bool direct;
	bool no_page; /* missing or damaged when it was opened */
	uint64_t bytes; /* of our segments */
	uint64_t retry_at_ns; /* not grown before */
};

struct kvf_disk_segment {
	uint32_t dir, number;
	uint32_t first; /* number of its first slot in the index */
	uint32_t n_slots; /* allocated */
	uint32_t cap;
	int fd;
	int64_t mtime_ns; /* at open: the oldest goes first when the bound was lowered */
	/* sync.c */
	struct kvf_aio_op sync;
	struct kvf_disk *disk;
	bool syncing, dirty;
	struct kvf_list sync_now, sync_next; /* kvf_disk_io.link */
};

/* A file of another engine, or of another version. */
struct kvf_disk_alien {
	uint32_t dir;
	char folder[KVF_DISK_NAME_BYTES];
	char file[KVF_DISK_NAME_BYTES];
	uint64_t bytes;
	int64_t mtime_ns;
};

enum kvf_disk_io_kind { KVF_DISK_GET = 1, KVF_DISK_PUT, KVF_DISK_WIPE, KVF_DISK_SCAN };

struct kvf_disk_io {
	struct kvf_aio_op op;
	struct kvf_list link; /* free, waiting for readers, or waiting for a sync */
	struct kvf_list active; /* all that are not free */
	struct kvf_disk *disk;
	struct kvf_tier_req *req; /* of the engine; NULL: nobody waits for it */
	struct kvf_tier_req
		*removers; /* removes that end when the slot is overwritten, by req->link */
	uint32_t slot;
	uint8_t kind; /* enum kvf_disk_io_kind */
	bool doomed; /* put: was removed before it was done */
	bool has_old;
	bool anew; /* put: there may be an older copy, which recovery found or will find */
	bool payload_first; /* then: the header follows */
	bool retry; /* wipe: of a slot that was bad */
	int status; /* wipe: what its request, a put that failed, ends with */
	uint64_t generation;
	uint8_t key[KVF_DISK_KEY];
	struct kvf_disk_slot old; /* put: what was in the slot */
	uint8_t *page; /* KVF_DISK_PAGE bytes, aligned */
};

/* clear.c */
struct kvf_disk_clear {
	struct kvf_tier_req *req; /* NULL: there is none */
	uint8_t phase;
	uint32_t segment; /* to be cut next */
	int status;
};

struct kvf_disk {
	struct kvf_mem *mem;
	struct kvf_disk_params params;
	char *dirs_text;
	size_t dirs_bytes;
	struct kvf_tier_host *host;
	bool open;
	bool left; /* closed with transfers in the kernel that do not end */

	/* geometry and identity */
	uint8_t fingerprint[KVF_KEY_BYTES];
	uint32_t slot_bytes, payload_bytes, chunk_tokens, world_size, rank;
	char model[KVF_DISK_MODEL_BYTES];
	uint32_t seg_slots;
	uint32_t grow_slots, grow_most; /* of the next growth: halved where there is no room, doubled where there was */
	uint64_t max_slots; /* by max_bytes alone */
	uint64_t file_max; /* the process's limit: beyond it a write is a signal that kills */

	struct kvf_disk_dir dir[KVF_DISK_MAX_DIRS];
	uint32_t n_dirs;
	bool direct;
	struct kvf_disk_segment *segment;
	size_t n_segments, cap_segments;
	uint32_t next_number; /* of segments */
	uint32_t n_ids; /* slots numbered in the index */
	struct kvf_disk_alien *alien;
	size_t n_aliens, cap_aliens;
	uint64_t alien_bytes;
	uint64_t epoch, generation; /* generation: the last one given */
	bool generation_unknown; /* nothing is written before recovery has seen them all */
	bool grow_due;
	uint64_t read_only_until_ns;

	struct kvf_disk_index index;
	bool has_index;

	struct kvf_aio aio;
	const struct kvf_aio_ops *aio_ops; /* chosen */
	void *aio_arg;
	struct kvf_watch watch;
	bool watching, woken;
	uint64_t busy_ns; /* when something was in flight last */

	struct kvf_disk_io *io;
	uint8_t *pages; /* n_ios and one page of zeros in front */
	size_t pages_bytes;
	struct kvf_list free_ios, active, waiting; /* waiting: wipes whose slot is being read */
	uint32_t n_user, n_puts, n_scans;
	uint32_t n_retries;
	uint32_t retry_left; /* bad slots whose turn is still to come */
	uint64_t retry_bad_ns;

	/* recovery */
	bool scanning, replaying;
	uint32_t scan_segment, scan_slot;
	uint64_t scan_began_ns;
	struct kvf_tier_req *held,
		*held_last; /* removes: answered when recovery has seen everything */
	struct kvf_disk_clear clear;

	uint64_t sync_at_ns; /* durable: interval; KVF_NEVER: nothing is dirty */
	uint64_t *touched; /* admission: fingerprints of keys seen once, in sets of four; NULL: all
			      are admitted */
	uint32_t touched_hand;

	struct kvf_log_limit limit_corrupt, limit_io, limit_grow;
	struct kvf_disk_stats stats;
};

/* ---- disk.c ---- */

void kvf_disk_say(struct kvf_disk *d, enum kvf_log_level level, const char *fmt, ...)
	KVF_PRINTF(3, 4);
/* At most a few lines a second from one place. */
void kvf_disk_say_limited(struct kvf_disk *d, struct kvf_log_limit *limit, const char *fmt, ...)
	KVF_PRINTF(3, 4);
void kvf_disk_end(struct kvf_disk *d, struct kvf_tier_req *req, int status);
int kvf_disk_status(int error); /* of an errno value, positive */
uint64_t kvf_disk_now(struct kvf_disk *d);

/* ---- dir.c ---- */

/* Opens and locks everything below params.dirs. KVF_OK or what the report explains. */
int kvf_disk_dirs_open(struct kvf_disk *d, struct kvf_report *report);
/* Writes the epoch into their pages, for good. */
int kvf_disk_dirs_write(struct kvf_disk *d, struct kvf_report *report);
void kvf_disk_dirs_close(struct kvf_disk *d);
/* Writes the epoch into their pages, without waiting for the medium. */
void kvf_disk_dirs_renew(struct kvf_disk *d);
/* O_RDWR without following links, ours and plain, or -errno (-EPERM: somebody else's, -EMLINK: no
 * plain file). */
int kvf_disk_open_file(int dir_fd, const char *name, int flags);
/* Gives the lock of a directory back and closes its descriptor: a child that the host has forked holds the lock as long
 * as it lives, if it is not given back by name. */
void kvf_disk_unlock(int fd);

/* ---- segment.c ---- */

/* Takes in the segments of a directory. */
int kvf_disk_segments_open(struct kvf_disk *d, uint32_t dir, struct kvf_report *report);
/* Gives up segments until the bound holds. */
void kvf_disk_segments_fit(struct kvf_disk *d, struct kvf_report *report);
void kvf_disk_segments_close(struct kvf_disk *d);
uint64_t kvf_disk_bytes(const struct kvf_disk *d); /* everything that counts against the bound */
/* Could one more slot be had by growing or by reclaiming? */
bool kvf_disk_can_grow(struct kvf_disk *d);
/* One step: reclaims one foreign file, or allocates some slots. */
void kvf_disk_grow(struct kvf_disk *d);
/* How many slots a file may have by the process's limit. */
uint64_t kvf_disk_most_slots(const struct kvf_disk *d);
struct kvf_disk_segment *kvf_disk_segment_of(struct kvf_disk *d, uint32_t slot);
uint64_t kvf_disk_offset(struct kvf_disk *d, uint32_t slot);

/* ---- foreign.c ---- */

int kvf_disk_alien_add(struct kvf_disk *d, uint32_t dir, const char *folder, const char *file,
	int64_t mtime_ns, uint64_t bytes);
/* Looks for other identities' segments beside ours. */
int kvf_disk_aliens_find(struct kvf_disk *d, uint32_t dir);
void kvf_disk_aliens_sort(struct kvf_disk *d);
/* Deletes the oldest one. False: there is none that can be. */
bool kvf_disk_alien_reclaim(struct kvf_disk *d);

/* ---- transfer.c ---- */

struct kvf_disk_io *kvf_disk_io_new(struct kvf_disk *d, uint8_t kind);
void kvf_disk_io_free(struct kvf_disk *d, struct kvf_disk_io *io);
/* Each takes the request, or returns false: full, try later. */
bool kvf_disk_get(struct kvf_disk *d, struct kvf_tier_req *req);
bool kvf_disk_put(struct kvf_disk *d, struct kvf_tier_req *req);
/* Overwrites the header of a slot that is out of the table; then the slot is free. False: no
 * transfer to be had. */
bool kvf_disk_wipe(struct kvf_disk *d, uint32_t slot);
/* io turns into the wipe of its slot, whatever it was; its request, if any, has ended. */
void kvf_disk_begin_wipe(struct kvf_disk_io *io);
/* The last reader of a slot that waits to be overwritten has gone. */
void kvf_disk_wake_wipe(struct kvf_disk *d, uint32_t slot);
/* The engine's part of the transfer is over. */
void kvf_disk_end_user(struct kvf_disk_io *io, int status);
/* Tries slots again whose header could not be overwritten, some at a time, each once. */
void kvf_disk_retry_bad(struct kvf_disk *d);
/* Could it go on now? Else a transfer has to end first. */
bool kvf_disk_retry_ready(const struct kvf_disk *d);
/* sync.c: the sync that io waited for is over. */
void kvf_disk_synced(struct kvf_disk_io *io, int result);

static inline struct kvf_disk_slot *kvf_disk_slot_at(struct kvf_disk *d, uint32_t slot)
{
	return &d->index.slot[slot];
}

/* ---- remove.c ---- */

/* Takes the request, or returns false: full, try later. */
bool kvf_disk_remove(struct kvf_disk *d, struct kvf_tier_req *req);
/* A transfer that the remove waited for is over; it ends unless it has to wait for another. */
void kvf_disk_removed(struct kvf_disk *d, struct kvf_tier_req *req, int status);
void kvf_disk_cancel(struct kvf_disk *d, struct kvf_tier_req *req);

/* ---- sync.c ---- */

/* io's write is in the file; kvf_disk_synced() follows when it is on the medium. */
void kvf_disk_sync(struct kvf_disk_io *io);
/* Syncs a segment that no sync is under way for. */
void kvf_disk_sync_segment(struct kvf_disk *d, struct kvf_disk_segment *seg);
void kvf_disk_dirty(struct kvf_disk *d, struct kvf_disk_segment *seg);
void kvf_disk_sync_interval(struct kvf_disk *d, uint64_t now_ns);

/* ---- clear.c ---- */

/* Takes the request, or returns false: there is one already. */
bool kvf_disk_clear(struct kvf_disk *d, struct kvf_tier_req *req);
/* Goes on with it. True: call again at once. */
bool kvf_disk_clear_step(struct kvf_disk *d);
/* Could it go on now? Else a transfer has to end first. */
bool kvf_disk_clear_ready(const struct kvf_disk *d);
/* Is the index being forgotten, or already? */
bool kvf_disk_clear_begun(const struct kvf_disk *d);

/* ---- scan.c ---- */

void kvf_disk_scan_begin(struct kvf_disk *d);
/* Reads on. True: call again at once. */
bool kvf_disk_scan_step(struct kvf_disk *d);
/* Takes an epoch above all that were seen, where none was known. */
void kvf_disk_renew_epoch(struct kvf_disk *d);
/* Could it read on, or end, now? Else a transfer has to end first. */
bool kvf_disk_scan_ready(const struct kvf_disk *d);

#endif
