/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is there memory for the pool? Locked memory cannot be swapped or reclaimed: taking more than a cgroup or the machine
 * has ends with the host killed, minutes later, when somebody else touches a page. See pool.h.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/report.h"
#include "cache/hugemap.h"
#include "cache/pool.h"

#define PATH_BYTES 1024
#define LINE_BYTES 1024
/* "No limit" is 2^63 less a page in version 1. */
#define UNLIMITED ((uint64_t)1 << 62)

struct query {
	const char *root; /* of the file system: "" or a test's directory */
	uint64_t bytes;
	uint64_t reserve;
	struct kvf_report *report;
	bool refused;
};

/* ---- files ---- */

struct lines {
	int fd;
	size_t n, at;
	char buf[LINE_BYTES];
	char line[LINE_BYTES];
};

static bool lines_open(struct lines *l, const char *root, const char *path)
{
	char full[PATH_BYTES];
	int n = snprintf(full, sizeof(full), "%s%s", root, path);

	l->fd = -1;
	l->n = 0;
	l->at = 0;
	if ((size_t)n < sizeof(full))
		l->fd = open(full, O_RDONLY | O_CLOEXEC);
	return l->fd >= 0;
}

static void lines_close(struct lines *l)
{
	(void)close(l->fd);
}

/* The next line without its end, cut to what fits; NULL at the end of the file. */
static char *lines_next(struct lines *l)
{
	size_t used = 0;
	bool any = false;

	for (;;) {
		char c;

		if (l->at == l->n) {
			ssize_t n = read(l->fd, l->buf, sizeof(l->buf));

			if (n <= 0)
				break;
			l->n = (size_t)n;
			l->at = 0;
		}
		any = true;
		c = l->buf[l->at++];
		if (c == '\n')
			break;
		if (used + 1 < sizeof(l->line))
			l->line[used++] = c;
	}
	l->line[used] = '\0';
	return any ? l->line : NULL;
}

/* A number alone in its file; "max" is no limit. False when there is none. */
static bool read_number(const char *root, const char *dir, const char *name, uint64_t *value)
{
	char path[PATH_BYTES];
	struct lines l;
	char *text;
	char *rest;
	bool ok = false;
	int n = snprintf(path, sizeof(path), "%s/%s", dir, name);

	if ((size_t)n >= sizeof(path) || !lines_open(&l, root, path))
		return false;
	text = lines_next(&l);
	if (text && strncmp(text, "max", 3) == 0) {
		*value = UINT64_MAX;
		ok = true;
	} else if (text && *text >= '0' && *text <= '9') {
		*value = strtoull(text, &rest, 10);
		ok = true;
	}
	lines_close(&l);
	return ok;
}

/* The number behind `key` at the start of a line. */
static bool read_field(const char *root, const char *path, const char *key, uint64_t *value)
{
	size_t key_len = strlen(key);
	struct lines l;
	bool ok = false;
	char *text;

	if (!lines_open(&l, root, path))
		return false;
	while (!ok && (text = lines_next(&l))) {
		if (strncmp(text, key, key_len) != 0 || (text[key_len] != ' ' && text[key_len] != '\t'))
			continue;
		*value = strtoull(text + key_len, NULL, 10);
		ok = true;
	}
	lines_close(&l);
	return ok;
}

/* ---- one limit ---- */

static double gib(uint64_t bytes)
{
	return (double)bytes / (double)KVF_GIB;
}

/* `where` leaves `room`; `numbers` says why, `cure` what to raise. */
static void judge(struct query *q, uint64_t bytes, uint64_t room, const char *where, const char *numbers,
		  const char *cure)
{
	uint64_t fits = kvf_sat_sub(room, q->reserve);
	/* Thousandths, rounded down: what is advised must fit. */
	uint64_t advised = fits / (KVF_GIB / 1000 + 1);
	char advice[64] = "";

	if (bytes <= fits)
		return;
	q->refused = true;
	if (advised)
		(void)snprintf(advice, sizeof(advice), "set max_local_cpu_size to at most %.3f, or ",
			       (double)advised / 1000.0);
	kvf_report_add(q->report, KVF_ERROR,
		       "pool: %.3f GiB (%" PRIu64 " bytes) of locked memory wanted and %.3f GiB to stay free, but %s "
		       "has room for %.3f GiB (%" PRIu64 " bytes): %s; %sraise %s",
		       gib(bytes), bytes, gib(q->reserve), where, gib(room), room, numbers, advice, cure);
}

static void check_available(struct query *q, uint64_t bytes)
{
	char numbers[96];
	uint64_t kib = 0;

	if (!read_field(q->root, "/proc/meminfo", "MemAvailable:", &kib) || kib > UNLIMITED / KVF_KIB)
		return;
	(void)snprintf(numbers, sizeof(numbers), "MemAvailable is %" PRIu64 " kB", kib);
	judge(q, bytes, kib * KVF_KIB, "the machine", numbers, "its free memory");
}

static void check_hugetlb(struct query *q)
{
	static const char dir[] = "/sys/kernel/mm/hugepages/hugepages-2048kB";
	uint64_t n_free = 0;
	uint64_t reserved = 0;
	uint64_t overcommit = 0;
	uint64_t surplus = 0;
	uint64_t pages;
	char numbers[160];

	(void)read_number(q->root, dir, "free_hugepages", &n_free);
	(void)read_number(q->root, dir, "resv_hugepages", &reserved);
	(void)read_number(q->root, dir, "nr_overcommit_hugepages", &overcommit);
	(void)read_number(q->root, dir, "surplus_hugepages", &surplus);
	pages = kvf_min_u64(kvf_sat_sub(n_free, reserved), UNLIMITED / KVF_HUGE_BYTES);
	/* Beyond the reserved ones the kernel may make new ones, from common memory. */
	if (q->bytes > pages * KVF_HUGE_BYTES && overcommit > surplus) {
		check_available(q, q->bytes - pages * KVF_HUGE_BYTES);
		pages = kvf_min_u64(kvf_sat_add(pages, overcommit - surplus), UNLIMITED / KVF_HUGE_BYTES);
	}
	(void)snprintf(numbers, sizeof(numbers),
		       "2 MiB pages: free %" PRIu64 ", reserved %" PRIu64 ", overcommit %" PRIu64 ", surplus %" PRIu64,
		       n_free, reserved, overcommit, surplus);
	/* Nobody else's memory comes from there: nothing has to stay free. */
	q->reserve = 0;
	judge(q, q->bytes, pages * KVF_HUGE_BYTES, "hugetlb", numbers, "vm.nr_hugepages");
}

/* ---- cgroups ---- */

/* One kind of limit: where the hierarchy is mounted by custom, and the names of its files. */
struct kind {
	const char *controller; /* NULL: the unified hierarchy, version 2 */
	const char *mount[2];
	const char *limit[2];
	const char *usage;
	const char *reclaimable[2]; /* in memory.stat */
};

static const struct kind memory_kinds[] = {
	{ NULL,
	  { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" },
	  { "memory.max", "memory.high" },
	  "memory.current",
	  { "inactive_file", "active_file" } },
	{ "memory",
	  { "/sys/fs/cgroup/memory", NULL },
	  { "memory.limit_in_bytes", NULL },
	  "memory.usage_in_bytes",
	  { "total_inactive_file", "total_active_file" } },
};

static const struct kind hugetlb_kinds[] = {
	{ NULL,
	  { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" },
	  { "hugetlb.2MB.max", NULL },
	  "hugetlb.2MB.current",
	  { NULL, NULL } },
	{ "hugetlb",
	  { "/sys/fs/cgroup/hugetlb", NULL },
	  { "hugetlb.2MB.limit_in_bytes", NULL },
	  "hugetlb.2MB.usage_in_bytes",
	  { NULL, NULL } },
};

/* Is `word` in the comma-separated list of n bytes? */
static bool in_list(const char *list, size_t n, const char *word)
{
	size_t len = strlen(word);

	while (n) {
		size_t item = 0;

		while (item < n && list[item] != ',')
			item++;
		if (item == len && memcmp(list, word, len) == 0)
			return true;
		item += item < n;
		list += item;
		n -= item;
	}
	return false;
}

/* Page cache can be given back; half of the active part may be in real use, as the kernel's MemAvailable assumes. */
static uint64_t reclaimable(const struct query *q, const struct kind *kind, const char *dir)
{
	char path[PATH_BYTES];
	uint64_t inactive = 0;
	uint64_t active = 0;
	int n = snprintf(path, sizeof(path), "%s/memory.stat", dir);

	if (!kind->reclaimable[0] || (size_t)n >= sizeof(path))
		return 0;
	(void)read_field(q->root, path, kind->reclaimable[0], &inactive);
	(void)read_field(q->root, path, kind->reclaimable[1], &active);
	return kvf_sat_add(inactive, active / 2);
}

static void check_group(struct query *q, const struct kind *kind, const char *dir)
{
	for (size_t i = 0; i < KVF_ARRAY_LEN(kind->limit) && kind->limit[i]; i++) {
		uint64_t limit;
		uint64_t used = 0;
		uint64_t cache;
		char where[PATH_BYTES + 16];
		char numbers[192];

		if (!read_number(q->root, dir, kind->limit[i], &limit) || limit >= UNLIMITED)
			continue;
		(void)read_number(q->root, dir, kind->usage, &used);
		cache = kvf_min_u64(reclaimable(q, kind, dir), used);
		(void)snprintf(where, sizeof(where), "cgroup %s", dir);
		(void)snprintf(numbers, sizeof(numbers),
			       "%s is %" PRIu64 ", in use %" PRIu64 ", of that page cache %" PRIu64, kind->limit[i],
			       limit, used, cache);
		used -= cache;
		judge(q, q->bytes, kvf_sat_sub(limit, used), where, numbers, kind->limit[i]);
	}
}

/* The path of our cgroup in the hierarchy, as /proc/self/cgroup has it. */
static bool own_path(const struct query *q, const struct kind *kind, char path[PATH_BYTES])
{
	struct lines l;
	bool found = false;
	char *text;

	if (!lines_open(&l, q->root, "/proc/self/cgroup"))
		return false;
	while (!found && (text = lines_next(&l))) {
		char *list = strchr(text, ':');
		char *at = list ? strchr(list + 1, ':') : NULL;

		if (!at)
			continue;
		list++;
		found = kind->controller ? in_list(list, (size_t)(at - list), kind->controller) : at == list;
		if (found)
			(void)snprintf(path, PATH_BYTES, "%s", at + 1);
	}
	lines_close(&l);
	return found;
}

/* Takes the next field of a line apart. */
static char *field(char **text)
{
	return strsep(text, " ");
}

/* Mount point of the hierarchy and the cgroup that is its root there (another than "/" in a container without a
 * namespace of its own). */
static bool mount_point(const struct query *q, const struct kind *kind, char point[PATH_BYTES], char base[PATH_BYTES])
{
	struct lines l;
	bool found = false;
	char *text;

	if (!lines_open(&l, q->root, "/proc/self/mountinfo"))
		return false;
	while (!found && (text = lines_next(&l))) {
		char *tail = strstr(text, " - ");
		char *save = text;
		char *root;
		char *at;
		char *type;
		char *options;

		if (!tail)
			continue;
		*tail = '\0';
		tail += 3;
		(void)field(&save);
		(void)field(&save);
		(void)field(&save);
		root = field(&save);
		at = field(&save);
		type = field(&tail);
		(void)field(&tail);
		options = field(&tail);
		if (!root || !at || !type || !options)
			continue;
		if (kind->controller)
			found = !strcmp(type, "cgroup") && in_list(options, strlen(options), kind->controller);
		else
			found = !strcmp(type, "cgroup2");
		if (found) {
			(void)snprintf(point, PATH_BYTES, "%s", at);
			(void)snprintf(base, PATH_BYTES, "%s", root);
		}
	}
	lines_close(&l);
	return found;
}

/* Our cgroup and all above it, as far as this mount shows them. */
static void check_below(struct query *q, const struct kind *kind, const char *point, const char *path)
{
	char dir[PATH_BYTES];
	size_t floor = strlen(point);
	int n = snprintf(dir, sizeof(dir), "%s%s", point, path);

	if ((size_t)n >= sizeof(dir))
		return;
	for (;;) {
		size_t len = strlen(dir);

		while (len > floor && dir[len - 1] == '/')
			dir[--len] = '\0';
		check_group(q, kind, dir);
		if (len <= floor)
			return;
		while (len > floor && dir[len - 1] != '/')
			dir[--len] = '\0';
	}
}

static void check_kind(struct query *q, const struct kind *kind)
{
	char path[PATH_BYTES];
	char point[PATH_BYTES];
	char base[PATH_BYTES];
	size_t base_len;

	if (!own_path(q, kind, path))
		return;
	/* Seen from another namespace: only what is mounted here is known. */
	if (strstr(path, "/.."))
		path[0] = '\0';
	if (!mount_point(q, kind, point, base)) {
		for (size_t i = 0; i < KVF_ARRAY_LEN(kind->mount) && kind->mount[i]; i++)
			check_below(q, kind, kind->mount[i], path);
		return;
	}
	base_len = strcmp(base, "/") != 0 ? strlen(base) : 0;
	if (strncmp(path, base, base_len) == 0 && (path[base_len] == '/' || path[base_len] == '\0'))
		check_below(q, kind, point, path + base_len);
	else
		check_below(q, kind, point, "");
}

int kvf_pool_check_memory(const char *sys_root, uint64_t bytes, uint64_t reserve_bytes, bool hugetlb,
			  struct kvf_report *report)
{
	struct query q = {
		.root = sys_root ? sys_root : "", .bytes = bytes, .reserve = reserve_bytes, .report = report
	};
	const struct kind *kinds = hugetlb ? hugetlb_kinds : memory_kinds;

	if (hugetlb)
		check_hugetlb(&q);
	else
		check_available(&q, bytes);
	for (size_t i = 0; i < KVF_ARRAY_LEN(memory_kinds); i++)
		check_kind(&q, &kinds[i]);
	return q.refused ? KVF_ENOMEM : KVF_OK;
}
