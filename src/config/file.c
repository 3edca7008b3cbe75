/* SPDX-License-Identifier: Apache-2.0 */
/* The YAML file: read whole (it is small and bounded), then key by key. */
#include "config/load.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/report.h"
#include "config/yaml.h"

struct file_arg {
	struct kvf_apply *apply;
	const char *path;
};

static int file_entry(const struct kvf_yaml_entry *entry, void *arg)
{
	const struct file_arg *file = arg;
	char origin[PATH_MAX + 16];
	struct kvf_given given = {KVF_PLACE_TOP, entry->key, entry->text, entry->form, entry->comma,
		origin, entry->line};

	snprintf(origin, sizeof(origin), "%s:%u", file->path, (unsigned int)entry->line);
	if (entry->section == KVF_SECTION_EXTRA)
		given.place = KVF_PLACE_EXTRA;
	else if (entry->section == KVF_SECTION_EC)
		return KVF_OK; /* "ec" itself was noted */
	return kvf_apply_key(file->apply, &given);
}

/* True when that line is indented with a tab, which libyaml's words for it do not say. */
static bool has_tab(const char *text, size_t n, uint32_t line)
{
	const char *end = text + n;

	for (; line > 1; line--) {
		text = memchr(text, '\n', (size_t)(end - text));
		if (!text)
			return false;
		text++;
	}
	while (text < end && *text == ' ')
		text++;
	return text < end && *text == '\t';
}

int kvf_load_text(struct kvf_apply *apply, const char *path, const char *text, size_t n)
{
	struct file_arg arg = {apply, path};
	struct kvf_yaml_error error;
	int rc = kvf_yaml_read(
		apply->state->mem, text, n, KVF_SECTION_TOP, file_entry, &arg, &error);

	if (rc != KVF_ECONFIG)
		return rc;
	kvf_apply_error(apply, "%s:%u: %s%s", path, (unsigned int)error.line, error.text,
		has_tab(text, n, error.line) ? " (the line starts with a tab: YAML wants spaces)"
					     : "");
	return KVF_OK;
}

static int read_all(int fd, char *buf, size_t n, size_t *got)
{
	*got = 0;
	while (*got < n) {
		ssize_t k = read(fd, buf + *got, n - *got);

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return -1;
		if (k == 0)
			break;
		*got += (size_t)k;
	}
	return 0;
}

static int load_open(struct kvf_apply *apply, const char *path, int fd)
{
	struct kvf_mem *mem = apply->state->mem;
	struct stat st;
	char *buf;
	size_t size;
	size_t got;
	int rc = KVF_OK;

	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		kvf_apply_error(apply, "%s: it is not a regular file", path);
		return KVF_OK;
	}
	if ((uint64_t)st.st_size > KVF_YAML_BYTES_MAX) {
		kvf_apply_error(apply, "%s: %llu bytes long, a configuration has at most %zu", path,
			(unsigned long long)st.st_size, KVF_YAML_BYTES_MAX);
		return KVF_OK;
	}
	size = (size_t)st.st_size + 1;
	buf = kvf_mem_alloc(mem, size);
	if (!buf)
		return KVF_ENOMEM;
	if (read_all(fd, buf, size - 1, &got) != 0)
		kvf_apply_error(apply, "%s: cannot be read: %s", path, strerror(errno));
	else
		rc = kvf_load_text(apply, path, buf, got);
	kvf_mem_free(mem, buf, size);
	return rc;
}

int kvf_load_file(struct kvf_apply *apply, const char *path)
{
	/* O_NONBLOCK: a FIFO without a writer must not hang open. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	int rc;

	if (fd < 0) {
		kvf_apply_error(apply, "%s: cannot be opened: %s", path, strerror(errno));
		return KVF_OK;
	}
	rc = load_open(apply, path, fd);
	close(fd);
	return rc;
}
