/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories: made with mode 0700, never through a link, refused when they belong to somebody
 * else, locked against a second engine. Runs inside open, which may block.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/report.h"
#include "tier/disk/impl.h"

#define LOCK_TRIES 30
#define LOCK_PAUSE_MS 10 /* open is where we may wait */

static int refuse(struct kvf_report *report, int status, const char *path, const char *what)
{
	kvf_report_add(report, KVF_ERROR, "local_disk: %s: %s", path, what);
	return status;
}

static int refuse_errno(struct kvf_report *report, const char *path, const char *what, int error)
{
	char text[128];

	if (error == ELOOP || error == ENOTDIR)
		return refuse(report, KVF_EIO, path,
			"is a symbolic link or no directory: name the directory itself");
	kvf_report_add(report, KVF_ERROR, "local_disk: %s: %s: %s", path, what,
		strerror_r(error, text, sizeof(text)));
	return KVF_EIO;
}

/* mkdir -p, what is missing with mode 0700. */
static int make_path(const char *path)
{
	char part[4096];
	size_t n = strlen(path);

	if (n >= sizeof(part))
		return ENAMETOOLONG;
	for (size_t i = 1; i <= n; i++) {
		if (path[i] != '/' && path[i] != 0)
			continue;
		memcpy(part, path, i);
		part[i] = 0;
		if (mkdir(part, 0700) && errno != EEXIST)
			return errno;
	}
	return 0;
}

int kvf_disk_open_file(int dir_fd, const char *name, int flags)
{
	struct stat st;
	int fd = openat(dir_fd, name, flags | O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
	int error = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st))
		error = errno;
	else if (!S_ISREG(st.st_mode) || st.st_nlink > 1)
		error = EMLINK;
	else if (st.st_uid != geteuid())
		error = EPERM;
	if (!error)
		return fd;
	close(fd);
	return -error;
}

/* ---- our directory below the shared one ---- */

static int open_ours(struct kvf_disk_dir *dir, struct kvf_report *report)
{
	struct stat st;

	if (mkdirat(dir->base_fd, dir->name, 0700) && errno != EEXIST)
		return refuse_errno(report, dir->path, "cannot make a directory in it", errno);
	dir->fd = openat(dir->base_fd, dir->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir->fd < 0)
		return refuse_errno(report, dir->path, dir->name, errno);
	if (fstat(dir->fd, &st))
		return refuse_errno(report, dir->path, dir->name, errno);
	if (st.st_uid != geteuid())
		return refuse(
			report, KVF_EIO, dir->path, "our directory in it belongs to another user");
	if ((st.st_mode & 077) && fchmod(dir->fd, 0700))
		return refuse_errno(report, dir->path, "cannot make our directory private", errno);
	return KVF_OK;
}

/* Somebody may look whether the directory is in use, with the lock, just now. */
static int lock_patiently(int fd)
{
	for (int tries = 0; flock(fd, LOCK_EX | LOCK_NB); tries++) {
		if (errno != EWOULDBLOCK || tries == LOCK_TRIES)
			return errno;
		(void)poll(NULL, 0, LOCK_PAUSE_MS);
	}
	return 0;
}

void kvf_disk_unlock(int fd)
{
	(void)flock(fd, LOCK_UN);
	close(fd);
}

/* The lock is on the directory's page; whoever deletes the directory holds it too, so look whether
 * it is still there. */
static int lock_ours(struct kvf_disk_dir *dir, struct kvf_report *report)
{
	for (int tries = 0; tries < 8; tries++) {
		struct stat ours, named;
		int error;

		dir->lock_fd = kvf_disk_open_file(dir->fd, KVF_DISK_DIR_FILE, O_CREAT);
		if (dir->lock_fd < 0) {
			error = -dir->lock_fd;
			dir->lock_fd = -1;
			return error == EPERM
				       ? refuse(report, KVF_EIO, dir->path,
						 "its lock belongs to another user")
				       : refuse_errno(report, dir->path, KVF_DISK_DIR_FILE, error);
		}
		error = lock_patiently(dir->lock_fd);
		if (error && error != EWOULDBLOCK)
			return refuse_errno(report, dir->path, "cannot be locked", error);
		if (error)
			return refuse(report, KVF_EBUSY, dir->path,
				"another engine of the same identity and rank uses it");
		if (!fstat(dir->lock_fd, &ours) &&
			!fstatat(dir->fd, KVF_DISK_DIR_FILE, &named, AT_SYMLINK_NOFOLLOW) &&
			ours.st_ino == named.st_ino)
			return KVF_OK;
		kvf_disk_unlock(dir->lock_fd);
		dir->lock_fd = -1;
	}
	return refuse(report, KVF_EBUSY, dir->path, "is being cleared by somebody else");
}

/* Does the file system take O_DIRECT with our 4 KiB alignment? */
static bool takes_direct(const struct kvf_disk_dir *dir)
{
	int fd = kvf_disk_open_file(dir->fd, KVF_DISK_DIR_FILE, O_DIRECT);
	bool ok = fd >= 0;

#ifdef STATX_DIOALIGN
	struct statx sx;

	if (ok && !statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) &&
		(sx.stx_mask & STATX_DIOALIGN))
		ok = sx.stx_dio_offset_align && sx.stx_dio_offset_align <= KVF_DISK_PAGE &&
		     sx.stx_dio_mem_align <= KVF_DISK_PAGE;
#endif
	if (fd >= 0)
		close(fd);
	return ok;
}

/* Takes the epoch from the directory's page, where it has one. */
static int read_page(struct kvf_disk *d, struct kvf_disk_dir *dir, struct kvf_report *report)
{
	uint8_t page[KVF_DISK_PAGE];
	struct kvf_disk_dir_page old;
	ssize_t n = pread(dir->lock_fd, page, sizeof(page), 0);

	dir->no_page = n != (ssize_t)sizeof(page) || kvf_disk_dir_parse(page, &old);
	if (dir->no_page) {
		if (n)
			kvf_report_add(report, KVF_WARNING,
				"local_disk: %s: the directory's page was damaged: written anew", dir->path);
		return KVF_OK;
	}
	if (memcmp(old.fingerprint, d->fingerprint, sizeof(old.fingerprint)) != 0)
		return refuse(report, KVF_EIO, dir->path,
			"holds another identity under the name of ours");
	if (old.epoch >= KVF_DISK_EPOCHS - 1)
		return refuse(report, KVF_ERANGE, dir->path,
			"was opened so often that its generations are used up: empty it (kvferry clear)");
	d->epoch = kvf_max_u64(d->epoch, old.epoch);
	return KVF_OK;
}

static bool write_page(struct kvf_disk *d, struct kvf_disk_dir *dir)
{
	uint8_t page[KVF_DISK_PAGE];
	struct kvf_disk_dir_page in = {.slot_bytes = d->slot_bytes,
		.payload_bytes = d->payload_bytes,
		.chunk_tokens = d->chunk_tokens,
		.world_size = d->world_size,
		.rank = d->rank,
		.epoch = d->epoch};

	memcpy(in.fingerprint, d->fingerprint, sizeof(in.fingerprint));
	memcpy(in.model, d->model, sizeof(in.model));
	kvf_disk_dir_write(page, &in);
	return pwrite(dir->lock_fd, page, sizeof(page), 0) == (ssize_t)sizeof(page);
}

void kvf_disk_dirs_renew(struct kvf_disk *d)
{
	for (uint32_t i = 0; i < d->n_dirs; i++)
		(void)write_page(d, &d->dir[i]);
}

static int open_one(struct kvf_disk *d, struct kvf_disk_dir *dir, struct kvf_report *report)
{
	int rc = make_path(dir->path);

	if (rc)
		return refuse_errno(report, dir->path, "cannot be made", rc);
	dir->base_fd = open(dir->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir->base_fd < 0)
		return refuse_errno(report, dir->path, "cannot be opened", errno);
	kvf_disk_dir_name(dir->name, d->fingerprint, d->world_size, d->rank);
	rc = open_ours(dir, report);
	if (!rc)
		rc = lock_ours(dir, report);
	if (!rc)
		dir->direct = takes_direct(dir);
	return rc;
}

static int add_dir(struct kvf_disk *d, const char *path, size_t n, struct kvf_report *report)
{
	struct kvf_disk_dir *dir = &d->dir[d->n_dirs];

	if (d->n_dirs == KVF_DISK_MAX_DIRS) {
		kvf_report_add(report, KVF_ERROR, "local_disk: more than %u directories",
			KVF_DISK_MAX_DIRS);
		return KVF_ERANGE;
	}
	*dir = (struct kvf_disk_dir){.base_fd = -1, .fd = -1, .lock_fd = -1, .path_bytes = n + 1};
	dir->path = kvf_mem_alloc(d->mem, n + 1);
	if (!dir->path)
		return KVF_ENOMEM;
	memcpy(dir->path, path, n);
	/* Behind a slash a link would be followed. */
	while (n > 1 && path[n - 1] == '/')
		n--;
	dir->path[n] = 0;
	d->n_dirs++;
	return open_one(d, dir, report);
}

int kvf_disk_dirs_open(struct kvf_disk *d, struct kvf_report *report)
{
	int rc = KVF_OK;

	d->direct = true;
	for (const char *p = d->dirs_text; *p && !rc;) {
		size_t n = strcspn(p, ",");

		if (n)
			rc = add_dir(d, p, n, report);
		p += n + (p[n] == ',');
	}
	if (!rc && !d->n_dirs)
		rc = refuse(report, KVF_EINVAL, "\"\"", "no directory");
	for (uint32_t i = 0; i < d->n_dirs && !rc; i++)
		rc = read_page(d, &d->dir[i], report);
	d->epoch++;
	for (uint32_t i = 0; i < d->n_dirs && !rc; i++)
		d->direct &= d->dir[i].direct;
	return rc;
}

int kvf_disk_dirs_write(struct kvf_disk *d, struct kvf_report *report)
{
	for (uint32_t i = 0; i < d->n_dirs; i++) {
		struct kvf_disk_dir *dir = &d->dir[i];

		if (!write_page(d, dir) || fdatasync(dir->lock_fd))
			return refuse_errno(report, dir->path, "cannot be written", errno);
		/* New names are durable with their directories. */
		if (d->params.durable && (fsync(dir->fd) || fsync(dir->base_fd)))
			return refuse_errno(report, dir->path, "cannot be synced", errno);
	}
	return KVF_OK;
}

void kvf_disk_dirs_close(struct kvf_disk *d)
{
	for (uint32_t i = 0; i < d->n_dirs; i++) {
		struct kvf_disk_dir *dir = &d->dir[i];

		/* Whoever opens it next must not meet a write of ours that is still under way. */
		if (dir->lock_fd >= 0 && !d->left)
			kvf_disk_unlock(dir->lock_fd);
		if (dir->fd >= 0)
			close(dir->fd);
		if (dir->base_fd >= 0)
			close(dir->base_fd);
		kvf_mem_free(d->mem, dir->path, dir->path_bytes);
	}
	d->n_dirs = 0;
}
