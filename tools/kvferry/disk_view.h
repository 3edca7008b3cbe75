/* SPDX-License-Identifier: Apache-2.0 */
/* A disk tier's directories as fsck, stat and clear see them: without an engine, with the tier's
 * own reader of its pages. */
#ifndef KVFERRY_DISK_VIEW_H
#define KVFERRY_DISK_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/record.h"
#include "tier/disk/format.h"

/* One directory "kvf-...". */
struct disk_view {
	char path[4096];
	int fd;
	int lock_fd; /* of its page; -1: there is none */
	bool in_use; /* an engine holds its lock */
	int page_state; /* KVF_OK, or what kvf_disk_dir_parse() said; KVF_EIO: no file */
	struct kvf_disk_dir_page page;
};

struct disk_segment_view {
	char name[KVF_DISK_NAME_BYTES];
	uint32_t number;
	int fd;
	uint64_t size;
	int page_state;
	struct kvf_disk_seg_page page;
	uint32_t slot_bytes; /* 0: not known */
	uint32_t n_slots;
	bool cut; /* the file ends inside a slot */
};

/*
 * Calls fn for every directory of ours: `path` itself, or those in it, in order of names. With
 * `hold` the lock of each is held while fn runs, unless an engine holds it; without, an engine may open it. Returns
 * how many there were, -1: path cannot be read (explained on stderr).
 */
int disk_each(const char *path, bool hold, int (*fn)(struct disk_view *view, void *arg), void *arg);
/* The same for a directory's segments, in order of numbers. `write` opens them for writing. -1 as
 * above. */
int disk_each_segment(struct disk_view *view, bool write,
	int (*fn)(struct disk_view *view, struct disk_segment_view *segment, void *arg), void *arg);

/* ---- disk_page.c ---- */

/* What the segments tell of the page of their directory: all but model, tokens and payload bytes; the epoch is the
 * newest in which one was made. False: they tell nothing. */
bool disk_page_learn(struct disk_view *view, struct kvf_disk_dir_page *page);
/* A page's file, where there is none, with its lock. 0; -1: somebody else was quicker, or errno says why not. */
int disk_page_create(struct disk_view *view);
/* Writes the page, for good. 0, -1: explained on stderr. */
int disk_page_renew(const struct disk_view *view, const struct kvf_disk_dir_page *page);

/* tools/kvferry/disk_fsck.c */
struct disk_check {
	bool deep, repair;
	uint64_t directories, segments, slots, chunks, free, bytes;
	uint64_t damaged_pages, damaged_headers, damaged_payloads, strangers, duplicates, cut,
		unreadable, repaired;
	uint64_t newest_generation;
	bool quiet;
};
int disk_check(struct disk_view *view, struct disk_check *check);

#endif
