/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvferry doctor: the file systems of local_disk, and whether the remote server is there.
 *
 * Names are resolved and hosts are connected to in a child process that is ended after a second:
 * the system's resolver blocks for as long as it likes.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/compiler.h"
#include "tier/disk/aio.h"

#define GIB ((double)(1ull << 30))
#define WAIT_MS 1000

#define COST(f, ...) snprintf((f)->cost, sizeof((f)->cost), __VA_ARGS__)
#define CURE(f, ...) snprintf((f)->cure, sizeof((f)->cure), __VA_ARGS__)

/* ---- disk ---- */

struct fs_type {
	unsigned long magic;
	const char *name;
	const char *cost; /* NULL: fine */
};

static const struct fs_type fs_types[] = {
	{0xef53, "ext4", NULL},
	{0x58465342, "xfs", NULL},
	{0x9123683e, "btrfs", "copy-on-write: chunks scatter, checksums are computed twice"},
	{0x2fc12fc1, "zfs", "copy-on-write, and a second cache in RAM"},
	{0x01021994, "tmpfs", "it is RAM: what goes there is paid for twice"},
	{0x794c7630, "overlayfs", "a container's own layer: slow, and gone with the container"},
	{0x6969, "nfs", "every request crosses a network without a deadline"},
	{0x65735546, "fuse", "every request wakes another process"},
};

static const struct fs_type *type_of(const struct statfs *fs)
{
	static const struct fs_type other = {0, "a file system we do not know", NULL};

	for (size_t i = 0; i < KVF_ARRAY_LEN(fs_types); i++) {
		if ((unsigned long)fs->f_type == fs_types[i].magic)
			return &fs_types[i];
	}
	return &other;
}

/* The directory, or what of its path is there already. */
static void nearest(char *path)
{
	while (*path && access(path, F_OK) != 0) {
		char *slash = strrchr(path, '/');

		if (!slash)
			snprintf(path, 2, ".");
		else if (slash == path)
			path[1] = '\0';
		else
			*slash = '\0';
	}
}

static bool has_direct(const char *dir)
{
	int fd = open(dir, O_TMPFILE | O_DIRECT | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0) /* file systems without O_TMPFILE are given the benefit of the doubt */
		return errno != EINVAL;
	close(fd);
	return true;
}

static void check_space(struct doctor *d, const char *path, const struct statfs *fs, unsigned int n)
{
	const struct kvf_settings *s = d->settings;
	uint64_t room = (uint64_t)fs->f_bavail * (uint64_t)fs->f_bsize;
	uint64_t want = s->max_local_disk_bytes / n;
	struct doctor_finding *f;

	if (room >= want + s->disk_min_free_bytes) {
		doctor_ok(d, "disk space", "%.100s: %.2f GiB free, %.2f wanted", path,
			(double)room / GIB, (double)want / GIB);
		return;
	}
	f = doctor_degraded(d, "disk space",
		"%.100s: %.2f GiB free, %.2f wanted and %.2f to be kept", path, (double)room / GIB,
		(double)want / GIB, (double)s->disk_min_free_bytes / GIB);
	COST(f, "the tier stays smaller than max_local_disk_size (what it holds already counts as "
		"used here)");
	CURE(f, "lower max_local_disk_size, or make room");
}

static void check_directory(struct doctor *d, const char *dir, unsigned int n)
{
	struct doctor_finding *f;
	const struct fs_type *type;
	struct statfs fs;
	char path[1024];

	snprintf(path, sizeof(path), "%s", dir);
	nearest(path);
	if (access(path, W_OK | X_OK) != 0 || statfs(path, &fs) != 0) {
		f = doctor_degraded(d, "disk", "%.100s: %s", path, strerror(errno));
		COST(f, "the engine does not open");
		CURE(f, "a directory that this user may write");
		return;
	}
	type = type_of(&fs);
	if (type->cost) {
		f = doctor_degraded(d, "disk", "%.100s is on %s", path, type->name);
		COST(f, "%s", type->cost);
		CURE(f, "a directory on a local ext4 or xfs");
	} else if (!has_direct(path)) {
		f = doctor_degraded(
			d, "disk", "%.100s is on %s, without O_DIRECT", path, type->name);
		COST(f, "chunks go through the page cache: RAM and CPU twice");
		CURE(f, "a directory on a local ext4 or xfs");
	} else {
		doctor_ok(d, "disk", "%.100s is on %s", path, type->name);
	}
	check_space(d, path, &fs, n);
}

/* Calls fn for every comma-separated element. Returns how many there are. */
static unsigned int each(struct doctor *d, const char *list, unsigned int n,
	void (*fn)(struct doctor *, const char *, unsigned int))
{
	char copy[4096], *rest = copy, *word;
	unsigned int count = 0;

	snprintf(copy, sizeof(copy), "%s", list);
	while ((word = strsep(&rest, ",")) != NULL) {
		if (!*word)
			continue;
		count++;
		if (fn)
			fn(d, word, n);
	}
	return count;
}

/* Which way to the kernel kvf_aio comes to. */
static void check_way(struct doctor *d)
{
	const struct kvf_settings *s = d->settings;
	const struct kvf_aio_ops *ops = NULL;
	struct doctor_finding *f;
	struct kvf_mem mem;
	uint32_t way = s->aio;
	int rc = -ENOSYS;

	kvf_mem_init(&mem, NULL);
	if (way == KVF_AIO_WANT_AUTO) {
		for (way = KVF_AIO_WANT_URING; rc && way <= KVF_AIO_WANT_SYNC; way++)
			if ((ops = kvf_aio_find(way)) != NULL)
				rc = kvf_aio_probe(ops, &mem, s->disk_depth);
	} else if ((ops = kvf_aio_find(way)) != NULL) {
		rc = kvf_aio_probe(ops, &mem, s->disk_depth);
	}
	(void)kvf_mem_fini(&mem);
	if (!rc) {
		doctor_ok(d, "disk io", "%s, %u transfers of %.3f GiB together at once", ops->name, s->disk_depth,
			(double)s->disk_depth_bytes / GIB);
		return;
	}
	f = doctor_degraded(d, "disk io", "kvf_aio names a way that cannot be had here (%s)", strerror(-rc));
	COST(f, "the engine does not open");
	CURE(f, "kvf_aio: auto");
}

void doctor_disk(struct doctor *d)
{
	const char *dirs = d->settings->local_disk;
	unsigned int n = each(d, dirs, 0, NULL);

	if (!n) {
		doctor_ok(d, "disk", "local_disk is not set");
		return;
	}
	each(d, dirs, n, check_directory);
	check_way(d);
}

/* ---- remote ---- */

/* In the child: 0 reached, 1 no such name, else an errno. */
static int reach_host(const char *host, const char *port)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *list = NULL;
	int rc = 1;

	if (getaddrinfo(host, port, &hints, &list))
		return 1;
	for (struct addrinfo *a = list; a && rc; a = a->ai_next) {
		int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);

		rc = fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) == 0 ? 0 : errno;
		if (fd >= 0)
			close(fd);
	}
	freeaddrinfo(list);
	return rc;
}

static int reach_path(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	rc = fd >= 0 && connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0 ? 0 : errno;
	if (fd >= 0)
		close(fd);
	return rc;
}

/* As above, or -1: no answer within a second. port NULL: host is the path of a socket. */
static int reach(const char *host, const char *port)
{
	struct pollfd in;
	int fds[2], rc = -1;
	pid_t child;

	if (pipe2(fds, O_CLOEXEC))
		return errno;
	child = fork();
	if (child == 0) {
		rc = port ? reach_host(host, port) : reach_path(host);
		_exit(write(fds[1], &rc, sizeof(rc)) != (ssize_t)sizeof(rc));
	}
	close(fds[1]);
	in = (struct pollfd){.fd = fds[0], .events = POLLIN};
	if (child < 0)
		rc = errno;
	else if (poll(&in, 1, WAIT_MS) == 1 && read(fds[0], &rc, sizeof(rc)) != (ssize_t)sizeof(rc))
		rc = -1;
	close(fds[0]);
	if (child > 0) {
		(void)kill(child, SIGKILL);
		(void)waitpid(child, NULL, 0);
	}
	return rc;
}

static void judge(struct doctor *d, const char *where, int rc)
{
	struct doctor_finding *f;

	if (rc == 0) {
		doctor_ok(d, "remote", "%.100s answers", where);
		return;
	}
	f = doctor_degraded(d, "remote", "%.100s: %s", where,
		rc == -1  ? "no answer within 1 s"
		: rc == 1 ? "no such name"
			  : strerror(rc));
	COST(f, "the tier is switched off and probed; the engine runs without it, chunks stay on "
		"this machine");
	CURE(f, "start the server, or correct remote_url; look at the firewall between");
}

/* "host[:port]", "[::1]:port" too. */
static void check_host(struct doctor *d, const char *text, unsigned int default_port)
{
	char host[256], port[16], where[300];
	char *colon;

	snprintf(host, sizeof(host), "%s", text);
	host[strcspn(host, "/?")] = '\0';
	snprintf(port, sizeof(port), "%u", default_port);
	colon = strrchr(host, ':');
	if (host[0] == '[' && colon && colon < strchr(host, ']'))
		colon = NULL;
	if (colon) {
		*colon = '\0';
		snprintf(port, sizeof(port), "%.15s", colon + 1);
	}
	if (host[0] == '[') {
		host[strcspn(host, "]")] = '\0';
		memmove(host, host + 1, strlen(host));
	}
	snprintf(where, sizeof(where), "%s port %s", host, port);
	judge(d, where, reach(host, port));
}

static unsigned int port_of(const char *scheme, size_t n)
{
	static const struct {
		const char *scheme;
		unsigned int port;
	} ports[] = {
		{"lm", 65432},
		{"redis-sentinel", 26379},
		{"mooncakestore", 50051},
		{"infinistore", 12345},
	};

	for (size_t i = 0; i < KVF_ARRAY_LEN(ports); i++) {
		if (strlen(ports[i].scheme) == n && strncmp(ports[i].scheme, scheme, n) == 0)
			return ports[i].port;
	}
	return 6379;
}

void doctor_remote(struct doctor *d)
{
	const char *url = d->settings->remote_url;
	const char *rest = strstr(url, "://");
	const char *at;
	unsigned int port;
	char path[256];

	if (!*url || !rest) {
		doctor_ok(d, "remote", "remote_url is not set");
		return;
	}
	/* Behind user and password, which are never shown. */
	at = strrchr(rest, '@');
	port = port_of(url, (size_t)(rest - url));
	rest = at ? at + 1 : rest + 3;
	if (strncmp(url, "unix://", 7) == 0) {
		snprintf(path, sizeof(path), "%s", rest);
		path[strcspn(path, "?")] = '\0';
		judge(d, path, reach(path, NULL));
	} else if (strncmp(url, "fs://", 5) == 0) {
		const char *slash = strchr(rest, '/');

		check_directory(d, slash ? slash : rest, 1);
	} else {
		each(d, rest, port, check_host);
	}
}
