/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory's page that is damaged or missing, put together again: the segments' own pages say whose they are and how
 * large a slot is, the chunks how far the generations went. What only an engine knows, the model's name, it writes
 * itself when it opens the directory.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "disk_view.h"

struct lesson {
	const char *name; /* of the directory */
	struct kvf_disk_dir_page page;
};

static int learn_from(struct disk_view *view, struct disk_segment_view *seg, void *arg)
{
	struct lesson *l = arg;
	char name[KVF_DISK_NAME_BYTES];

	(void)view;
	if (seg->page_state != KVF_OK)
		return 0;
	/* Another identity's segment may lie here too. */
	kvf_disk_dir_name(name, seg->page.fingerprint, l->page.world_size, l->page.rank);
	if (strcmp(name, l->name) != 0)
		return 0;
	memcpy(l->page.fingerprint, seg->page.fingerprint, sizeof(l->page.fingerprint));
	l->page.slot_bytes = seg->page.slot_bytes;
	if (seg->page.epoch > l->page.epoch)
		l->page.epoch = seg->page.epoch;
	return 0;
}

bool disk_page_learn(struct disk_view *view, struct kvf_disk_dir_page *page)
{
	const char *base = strrchr(view->path, '/');
	struct lesson l = {.name = base ? base + 1 : view->path};

	if (!kvf_disk_dir_name_parse(l.name, &l.page.world_size, &l.page.rank))
		return false;
	/* Those that cannot be read are found out by whoever checks them. */
	(void)disk_each_segment(view, false, learn_from, &l);
	if (l.page.slot_bytes)
		*page = l.page;
	return l.page.slot_bytes != 0;
}

int disk_page_create(struct disk_view *view)
{
	if (view->lock_fd >= 0)
		return 0;
	/* Whoever makes it first and locks it has the directory: an engine that opens it meanwhile is not disturbed. */
	view->lock_fd = openat(view->fd, KVF_DISK_DIR_FILE, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (view->lock_fd < 0)
		return -1;
	return flock(view->lock_fd, LOCK_EX | LOCK_NB);
}

int disk_page_renew(const struct disk_view *view, const struct kvf_disk_dir_page *page)
{
	uint8_t raw[KVF_DISK_PAGE];

	kvf_disk_dir_write(raw, page);
	if (pwrite(view->lock_fd, raw, sizeof(raw), 0) == (ssize_t)sizeof(raw) && fdatasync(view->lock_fd) == 0)
		return 0;
	fprintf(stderr, "kvferry: %s/%s: %s\n", view->path, KVF_DISK_DIR_FILE, strerror(errno));
	return -1;
}
