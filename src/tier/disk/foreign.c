/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Other identities' and versions' segments in the same directories: they count against the bound,
 * and the oldest is deleted when room is wanted. Directories of ranks that are not this engine's
 * business, and of engines that are alive (their lock is held), are neither counted nor touched.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tier/disk/impl.h"

int kvf_disk_alien_add(struct kvf_disk *d, uint32_t dir, const char *folder, const char *file,
	int64_t mtime_ns, uint64_t bytes)
{
	struct kvf_disk_alien a = {.dir = dir, .bytes = bytes, .mtime_ns = mtime_ns};
	void *array = d->alien;
	int rc;

	if (strlen(folder) >= sizeof(a.folder) || strlen(file) >= sizeof(a.file))
		return KVF_OK;
	rc = kvf_mem_grow(d->mem, &array, &d->cap_aliens, d->n_aliens + 1, sizeof(*d->alien));
	d->alien = array;
	if (rc)
		return rc;
	memcpy(a.folder, folder, strlen(folder));
	memcpy(a.file, file, strlen(file));
	d->alien[d->n_aliens++] = a;
	d->alien_bytes += bytes;
	return KVF_OK;
}

/* The other engine's directory, locked for us; -1 when it is alive, not ours to touch, or gone. */
static int enter(const struct kvf_disk_dir *dir, const char *folder, int *lock)
{
	int fd = openat(dir->base_fd, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	*lock = -1;
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) || st.st_uid != geteuid())
		goto no;
	if (strcmp(folder, dir->name) == 0)
		return fd; /* ours: another version's files, our own lock */
	*lock = kvf_disk_open_file(fd, KVF_DISK_DIR_FILE, 0);
	if (*lock >= 0 && flock(*lock, LOCK_EX | LOCK_NB))
		goto no;
	if (*lock < 0 && *lock != -ENOENT)
		goto no;
	return fd;
no:
	if (*lock >= 0)
		close(*lock);
	*lock = -1;
	close(fd);
	return -1;
}

static void leave(int fd, int lock)
{
	if (lock >= 0)
		kvf_disk_unlock(lock);
	close(fd);
}

static DIR *list_of(int fd)
{
	int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = own < 0 ? NULL : fdopendir(own);

	if (!list && own >= 0)
		close(own);
	return list;
}

static int find_in(struct kvf_disk *d, uint32_t dir, const char *folder)
{
	int lock, fd = enter(&d->dir[dir], folder, &lock), rc = KVF_OK;
	const struct dirent *e;
	DIR *list;

	if (fd < 0)
		return KVF_OK;
	list = list_of(fd);
	while (list && !rc && (e = readdir(list))) {
		struct stat st;
		uint32_t number;

		/* Anything else that somebody put there is neither counted nor deleted. */
		if (!kvf_disk_seg_name_parse(e->d_name, &number) ||
			fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode))
			continue;
		rc = kvf_disk_alien_add(d, dir, folder, e->d_name,
			st.st_mtim.tv_sec * (int64_t)KVF_NS_PER_S + st.st_mtim.tv_nsec,
			(uint64_t)st.st_blocks * 512);
	}
	if (list)
		closedir(list);
	leave(fd, lock);
	return rc;
}

int kvf_disk_aliens_find(struct kvf_disk *d, uint32_t dir)
{
	DIR *list = list_of(d->dir[dir].base_fd);
	const struct dirent *e;
	int rc = KVF_OK;

	while (list && !rc && (e = readdir(list))) {
		uint32_t world, rank;

		/* A rank that this world no longer has falls to the one that is left over. */
		if (!kvf_disk_dir_name_parse(e->d_name, &world, &rank) ||
			rank % d->world_size != d->rank)
			continue;
		if (strcmp(e->d_name, d->dir[dir].name) != 0)
			rc = find_in(d, dir, e->d_name);
	}
	if (list)
		closedir(list);
	return rc;
}

/* Newest first: the oldest is taken from the end. Few of them, once. */
void kvf_disk_aliens_sort(struct kvf_disk *d)
{
	for (size_t i = 1; i < d->n_aliens; i++) {
		struct kvf_disk_alien a = d->alien[i];
		size_t at = i;

		while (at && d->alien[at - 1].mtime_ns < a.mtime_ns) {
			d->alien[at] = d->alien[at - 1];
			at--;
		}
		d->alien[at] = a;
	}
}

/* The last file takes the directory along. */
static void remove_empty(struct kvf_disk *d, const struct kvf_disk_alien *a, int fd)
{
	for (size_t i = 0; i < d->n_aliens; i++)
		if (d->alien[i].dir == a->dir && strcmp(d->alien[i].folder, a->folder) == 0)
			return;
	if (!unlinkat(fd, KVF_DISK_DIR_FILE, 0) || errno == ENOENT)
		(void)unlinkat(d->dir[a->dir].base_fd, a->folder, AT_REMOVEDIR);
}

bool kvf_disk_alien_reclaim(struct kvf_disk *d)
{
	if (d->params.foreign != KVF_DISK_FOREIGN_RECLAIM)
		return false;
	while (d->n_aliens) {
		struct kvf_disk_alien a = d->alien[--d->n_aliens];
		int lock, fd = enter(&d->dir[a.dir], a.folder, &lock);
		bool gone;

		/* Alive by now: it has a bound of its own. */
		d->alien_bytes -= a.bytes;
		if (fd < 0)
			continue;
		gone = !unlinkat(fd, a.file, 0);
		if (gone && strcmp(a.folder, d->dir[a.dir].name) != 0)
			remove_empty(d, &a, fd);
		/* What cannot be deleted still takes its place. */
		if (!gone && errno != ENOENT)
			d->alien_bytes += a.bytes;
		leave(fd, lock);
		if (!gone)
			continue;
		d->stats.reclaimed_files++;
		return true;
	}
	return false;
}
