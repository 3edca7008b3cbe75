/* SPDX-License-Identifier: Apache-2.0 */
/* Finding a disk tier's directories and segments: see disk_view.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "disk_view.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int complain(const char *path, const char *name)
{
	fprintf(stderr, "kvferry: %s%s%s: %s\n", path, name ? "/" : "", name ? name : "",
		strerror(errno));
	return -1;
}

static void open_page(struct disk_view *view)
{
	uint8_t raw[KVF_DISK_PAGE];
	ssize_t n;

	view->lock_fd = openat(view->fd, KVF_DISK_DIR_FILE, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (view->lock_fd < 0)
		view->lock_fd =
			openat(view->fd, KVF_DISK_DIR_FILE, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	view->page_state = KVF_EIO;
	if (view->lock_fd < 0)
		return;
	view->in_use = flock(view->lock_fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
	n = pread(view->lock_fd, raw, sizeof(raw), 0);
	/* Cut short it is good for nothing, as for an engine. */
	if (n >= 0)
		view->page_state =
			n < (ssize_t)sizeof(raw) ? KVF_ECORRUPT : kvf_disk_dir_parse(raw, &view->page);
}

static int visit(const char *path, int at, const char *name, bool hold, int (*fn)(struct disk_view *, void *),
	void *arg)
{
	struct disk_view view = {.fd = -1, .lock_fd = -1};
	int rc;

	snprintf(view.path, sizeof(view.path), "%s%s%s", path, name ? "/" : "", name ? name : "");
	view.fd = openat(at, name ? name : path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (view.fd < 0)
		return complain(view.path, NULL);
	open_page(&view);
	if (!hold && view.lock_fd >= 0)
		(void)flock(view.lock_fd, LOCK_UN);
	rc = fn(&view, arg);
	if (view.lock_fd >= 0)
		close(view.lock_fd);
	close(view.fd);
	return rc;
}

static int ours(const struct dirent *e)
{
	uint32_t world, rank;

	return kvf_disk_dir_name_parse(e->d_name, &world, &rank);
}

int disk_each(const char *path, bool hold, int (*fn)(struct disk_view *view, void *arg), void *arg)
{
	const char *base = strrchr(path, '/');
	uint32_t world, rank;
	struct dirent **list;
	int n, fd, seen = 0, failed = 0;

	if (kvf_disk_dir_name_parse(base ? base + 1 : path, &world, &rank))
		return visit(path, AT_FDCWD, NULL, hold, fn, arg) ? -1 : 1;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return complain(path, NULL);
	n = scandirat(fd, ".", &list, ours, alphasort);
	if (n < 0)
		failed = complain(path, NULL);
	for (int i = 0; i < n; i++) {
		failed |= visit(path, fd, list[i]->d_name, hold, fn, arg);
		seen++;
		free(list[i]);
	}
	if (n >= 0)
		free(list);
	close(fd);
	return failed ? -1 : seen;
}

static int is_segment(const struct dirent *e)
{
	uint32_t number;

	return kvf_disk_seg_name_parse(e->d_name, &number);
}

static int open_segment(
	struct disk_view *view, const char *name, bool write, struct disk_segment_view *seg)
{
	uint8_t raw[KVF_DISK_PAGE] = {0};
	struct stat st;
	uint64_t room;

	memset(seg, 0, sizeof(*seg));
	snprintf(seg->name, sizeof(seg->name), "%s", name);
	kvf_disk_seg_name_parse(name, &seg->number);
	seg->fd = openat(view->fd, name, (write ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_CLOEXEC);
	if (seg->fd < 0 || fstat(seg->fd, &st) != 0 || pread(seg->fd, raw, sizeof(raw), 0) < 0) {
		complain(view->path, name);
		if (seg->fd >= 0)
			close(seg->fd);
		return -1;
	}
	seg->size = (uint64_t)st.st_size;
	seg->page_state = kvf_disk_seg_parse(raw, &seg->page);
	if (seg->page_state == KVF_OK)
		seg->slot_bytes = seg->page.slot_bytes;
	else if (seg->page_state != KVF_ENOTSUP && view->page_state == KVF_OK)
		seg->slot_bytes = view->page.slot_bytes;
	if (!seg->slot_bytes || seg->size < KVF_DISK_PAGE)
		return 0;
	room = seg->size - KVF_DISK_PAGE;
	seg->n_slots = (uint32_t)(room / seg->slot_bytes);
	if (seg->page_state == KVF_OK && seg->n_slots > seg->page.n_slots)
		seg->n_slots = seg->page.n_slots;
	seg->cut = room % seg->slot_bytes != 0;
	return 0;
}

int disk_each_segment(struct disk_view *view, bool write,
	int (*fn)(struct disk_view *view, struct disk_segment_view *segment, void *arg), void *arg)
{
	struct dirent **list;
	int n = scandirat(view->fd, ".", &list, is_segment, alphasort), failed = 0;

	if (n < 0)
		return complain(view->path, NULL);
	for (int i = 0; i < n; i++) {
		struct disk_segment_view seg;

		if (open_segment(view, list[i]->d_name, write, &seg) == 0) {
			failed |= fn(view, &seg, arg);
			close(seg.fd);
		} else {
			failed = -1;
		}
		free(list[i]);
	}
	free(list);
	return failed ? -1 : n;
}
