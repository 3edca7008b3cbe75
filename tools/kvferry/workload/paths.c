/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a workload: see paths.h. */
#include "workload/paths.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "workload/json.h"
#include "workload/tokens.h"

#define SNIFF_BYTES ((size_t)64 << 10)

bool wl_is_builtin(const char *source)
{
	return strncmp(source, "builtin:", 8) == 0;
}

static int add_path(
	struct wl_paths *paths, const char *path, size_t name_at, struct wl_error *error)
{
	int rc;

	if (paths->n == WL_MAX_FILES)
		return wl_fail(error, KVF_ERANGE, "%s: more than %d files", path, WL_MAX_FILES);
	rc = wl_grow((void **)&paths->v, &paths->cap, paths->n + 1, sizeof(*paths->v), error);
	if (rc != KVF_OK)
		return rc;
	paths->v[paths->n].path = strdup(path);
	if (!paths->v[paths->n].path)
		return wl_fail(error, KVF_ENOMEM, "%s: no memory", path);
	paths->v[paths->n].scope = 0;
	paths->v[paths->n++].name_at = name_at;
	return KVF_OK;
}

static bool is_trace_name(const char *name, enum wl_format format)
{
	size_t n = strlen(name);

	if (format == WL_FORMAT_MOONCAKE)
		return n > 6 && strcmp(name + n - 6, ".jsonl") == 0;
	return n > 11 && strncmp(name, "trace_", 6) == 0 && strcmp(name + n - 5, ".json") == 0;
}

static int collect_directory(struct wl_paths *paths, const char *dir, size_t name_at,
	unsigned depth, enum wl_format format, struct wl_error *error);

static int collect_name(struct wl_paths *paths, const char *dir, const char *name, size_t name_at,
	unsigned depth, enum wl_format format, struct wl_error *error)
{
	size_t size = strlen(dir) + strlen(name) + 2;
	char *path = malloc(size);
	int rc = KVF_OK;
	struct stat st;

	if (!path)
		return wl_fail(error, KVF_ENOMEM, "%s: no memory", dir);
	snprintf(path, size, "%s/%s", dir, name);
	if (lstat(path, &st) != 0)
		rc = wl_fail(error, KVF_EIO, "%s: %s", path, strerror(errno));
	else if (S_ISDIR(st.st_mode))
		rc = collect_directory(paths, path, name_at, depth + 1, format, error);
	else if (is_trace_name(name, format) && stat(path, &st) == 0 && S_ISREG(st.st_mode))
		rc = add_path(paths, path, name_at, error);
	free(path);
	return rc;
}

/* Not alphasort: the order must not hang on the locale. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int collect_directory(struct wl_paths *paths, const char *dir, size_t name_at,
	unsigned depth, enum wl_format format, struct wl_error *error)
{
	struct dirent **names = NULL;
	int rc = KVF_OK, n;

	if (depth > WL_MAX_DIRECTORY_DEPTH)
		return wl_fail(error, KVF_ERANGE, "%s: directories nested more than %d deep", dir,
			WL_MAX_DIRECTORY_DEPTH);
	n = scandir(dir, &names, NULL, by_name);
	if (n < 0)
		return wl_fail(
			error, KVF_EIO, "%s: cannot read the directory: %s", dir, strerror(errno));
	for (int i = 0; i < n; i++) {
		if (rc == KVF_OK && names[i]->d_name[0] != '.')
			rc = collect_name(
				paths, dir, names[i]->d_name, name_at, depth, format, error);
		free(names[i]);
	}
	free(names);
	return rc;
}

int wl_paths_collect(
	struct wl_paths *paths, const char *source, enum wl_format format, struct wl_error *error)
{
	const char *slash = strrchr(source, '/');
	size_t had = paths->n;
	struct stat st;
	int rc;

	if (stat(source, &st) != 0)
		return wl_fail(error, KVF_EIO, "%s: %s", source, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return add_path(paths, source, slash ? (size_t)(slash - source) + 1 : 0, error);
	rc = collect_directory(paths, source, strlen(source) + 1, 0, format, error);
	if (rc == KVF_OK && paths->n == had)
		return wl_fail(error, KVF_EINVAL, "%s: no %s in this directory", source,
			format == WL_FORMAT_MOONCAKE ? "*.jsonl" : "trace_*.json");
	return rc;
}

static int by_scope(const void *a, const void *b)
{
	const struct wl_path *x = *(const struct wl_path *const *)a,
			     *y = *(const struct wl_path *const *)b;

	if (x->scope != y->scope)
		return x->scope < y->scope ? -1 : 1;
	return x < y ? -1 : x > y;
}

int wl_paths_scopes(struct wl_paths *paths, struct wl_error *error)
{
	struct wl_path **sorted = malloc((paths->n + 1) * sizeof(*sorted));
	uint64_t twins = 0, last = 0;

	if (!sorted)
		return wl_fail(error, KVF_ENOMEM, "no memory for %zu files", paths->n);
	for (size_t i = 0; i < paths->n; i++) {
		sorted[i] = &paths->v[i];
		sorted[i]->scope =
			wl_hash_text(0, sorted[i]->path + sorted[i]->name_at) | 1; /* not global */
	}
	qsort(sorted, paths->n, sizeof(*sorted), by_scope);
	for (size_t i = 0; i < paths->n; i++) {
		twins = i > 0 && sorted[i]->scope == last ? twins + 1 : 0;
		last = sorted[i]->scope;
		if (twins > 0)
			sorted[i]->scope =
				wl_mix64(last + twins * UINT64_C(0x9e3779b97f4a7c15)) | 1;
	}
	free(sorted);
	return KVF_OK;
}

void wl_paths_free(struct wl_paths *paths)
{
	for (size_t i = 0; i < paths->n; i++)
		free(paths->v[i].path);
	free(paths->v);
	memset(paths, 0, sizeof(*paths));
}

enum wl_format wl_format_sniff(const char *data, size_t size)
{
	struct json j;

	json_init(&j, data, size);
	if (json_next(&j) != JSON_OBJECT)
		return WL_FORMAT_AUTO;
	while (json_next(&j) == JSON_KEY) {
		if (json_equal(&j, "input_length") || json_equal(&j, "timestamp"))
			return WL_FORMAT_MOONCAKE;
		if (json_equal(&j, "block_size") || json_equal(&j, "hash_id_scope") ||
			json_equal(&j, "requests"))
			return WL_FORMAT_CODING_AGENT;
		/* A Mooncake line may begin with its ids; a session's beginning may be cut in a
		 * long value. */
		if (json_skip(&j) != 0)
			return WL_FORMAT_AUTO;
	}
	return WL_FORMAT_AUTO;
}

int wl_path_sniff(const char *path, enum wl_format *format, struct wl_error *error)
{
	FILE *f = fopen(path, "rb");
	char *buf = malloc(SNIFF_BYTES);
	size_t n = f && buf ? fread(buf, 1, SNIFF_BYTES, f) : 0;
	int rc = KVF_OK;

	if (!f)
		rc = wl_fail(error, KVF_EIO, "%s: cannot open: %s", path, strerror(errno));
	else if (!buf)
		rc = wl_fail(error, KVF_ENOMEM, "%s: no memory", path);
	else if (ferror(f))
		rc = wl_fail(error, KVF_EIO, "%s: cannot read: %s", path, strerror(errno));
	else if ((*format = wl_format_sniff(buf, n)) == WL_FORMAT_AUTO)
		rc = wl_fail(error, KVF_EINVAL,
			"%s: neither a Mooncake trace (timestamp, input_length ...) nor a "
			"coding-agent session "
			"(block_size, requests ...)",
			path);
	free(buf);
	if (f)
		fclose(f);
	return rc;
}
