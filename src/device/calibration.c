/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calibration file:
 *
 *	kvferry calibration 1
 *	<XXH3-64 of the rest, hex> <8 numbers, to RAM> <8 numbers, from RAM> <key>
 *
 * It is read as a whole and written anew beside the old one. Two that write at the same time do not harm each other:
 * the later one wins.
 */
#include "device/calibration.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checksum.h"
#include "base/compiler.h"

#define MAGIC "kvferry calibration 1\n"
#define MAGIC_BYTES (sizeof(MAGIC) - 1)
#define FILE_MAX 16384u
#define LINE_MAX_BYTES 512u
#define LINES_MAX 32u /* the latest are kept */
#define COSTS 8u
#define LINK_MAX 10000000u /* bytes a microsecond */
#define COST_MAX 1000000000u

bool kvf_calibration_path(const char *setting, const char *xdg, const char *home, char out[KVF_CALIBRATION_PATH])
{
	int n = 0;

	out[0] = '\0';
	if (!setting || !*setting || !strcmp(setting, "off"))
		return false;
	if (strcmp(setting, "auto") != 0)
		n = snprintf(out, KVF_CALIBRATION_PATH, "%s", setting);
	else if (xdg && xdg[0] == '/') /* a relative one is to be ignored */
		n = snprintf(out, KVF_CALIBRATION_PATH, "%s/kvferry/calibration", xdg);
	else if (home && home[0] == '/')
		n = snprintf(out, KVF_CALIBRATION_PATH, "%s/.cache/kvferry/calibration", home);
	if (n > 0 && n < KVF_CALIBRATION_PATH)
		return true;
	out[0] = '\0';
	return false;
}

/* --- one line ---------------------------------------------------------------------------------------------------- */

static void to_numbers(const struct kvf_copy_costs *c, uint64_t n[COSTS])
{
	n[0] = c->link_bytes_per_us;
	n[1] = c->memcpy_cpu_ns;
	n[2] = c->memcpy_dev_ns;
	n[3] = c->batch_cpu_ns;
	n[4] = c->batch_dev_ns;
	n[5] = c->kernel_cpu_ns;
	n[6] = c->kernel_dev_ns;
	n[7] = c->kernel_run_ns;
}

static bool from_numbers(const uint64_t n[COSTS], struct kvf_copy_costs *c)
{
	if (n[0] < 1 || n[0] > LINK_MAX)
		return false;
	for (unsigned i = 1; i < COSTS; i++)
		if (n[i] > COST_MAX)
			return false;
	c->link_bytes_per_us = n[0];
	c->memcpy_cpu_ns = (uint32_t)n[1];
	c->memcpy_dev_ns = (uint32_t)n[2];
	c->batch_cpu_ns = (uint32_t)n[3];
	c->batch_dev_ns = (uint32_t)n[4];
	c->kernel_cpu_ns = (uint32_t)n[5];
	c->kernel_dev_ns = (uint32_t)n[6];
	c->kernel_run_ns = (uint32_t)n[7];
	return true;
}

static void clean_key(const char *key, char out[KVF_CALIBRATION_KEY])
{
	size_t i;

	for (i = 0; key[i] && i + 1 < KVF_CALIBRATION_KEY; i++)
		out[i] = key[i] >= ' ' && key[i] <= '~' ? key[i] : '_';
	out[i] = '\0';
}

/* Without the checksum: "n n ... key". */
static size_t write_line(const char *key, const struct kvf_copy_costs costs[2], char out[LINE_MAX_BYTES])
{
	char body[LINE_MAX_BYTES - 20];
	uint64_t n[2][COSTS];
	size_t at = 0;

	to_numbers(&costs[0], n[0]);
	to_numbers(&costs[1], n[1]);
	for (unsigned i = 0; i < 2 * COSTS; i++)
		at += (size_t)snprintf(body + at, sizeof(body) - at, "%" PRIu64 " ", n[i / COSTS][i % COSTS]);
	at += (size_t)snprintf(body + at, sizeof(body) - at, "%s", key);
	return (size_t)snprintf(out, LINE_MAX_BYTES, "%016" PRIx64 " %s\n", kvf_checksum(body, at), body);
}

/* Numbers are digits and one blank. NULL: it is none. */
static const char *read_number(const char *p, uint64_t *out)
{
	uint64_t value = 0;
	unsigned digits = 0;

	for (; *p >= '0' && *p <= '9' && digits < 12; p++, digits++)
		value = value * 10 + (uint64_t)(*p - '0');
	*out = value;
	return digits && *p == ' ' ? p + 1 : NULL;
}

/* A line without its end, NUL behind it. The key that it is about, NULL: it says nothing. */
static const char *read_line(const char *line, struct kvf_copy_costs costs[2])
{
	uint64_t n[2][COSTS];
	char sum[20];

	if (strlen(line) < 18 || line[16] != ' ')
		return NULL;
	line += 17;
	snprintf(sum, sizeof(sum), "%016" PRIx64, kvf_checksum(line, strlen(line)));
	if (memcmp(sum, line - 17, 16) != 0)
		return NULL;
	for (unsigned i = 0; line && i < 2 * COSTS; i++)
		line = read_number(line, &n[i / COSTS][i % COSTS]);
	if (!line || !from_numbers(n[0], &costs[0]) || !from_numbers(n[1], &costs[1]))
		return NULL;
	return line;
}

/* --- the file ---------------------------------------------------------------------------------------------------- */

/* The whole file with a NUL behind it. -1: it cannot be read, or is no calibration; 0: there is none, or an empty
 * one. */
static int read_file(const char *path, char *text)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), failed = errno;
	struct stat st;
	size_t n = 0;
	ssize_t got = 1;

	text[0] = '\0';
	if (fd < 0)
		return failed == ENOENT ? 0 : -1;
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size >= (off_t)FILE_MAX)
		got = -1;
	while (got > 0 && n < FILE_MAX - 1) {
		got = read(fd, text + n, FILE_MAX - 1 - n);
		if (got < 0 && errno == EINTR)
			got = 1;
		else if (got > 0)
			n += (size_t)got;
	}
	close(fd);
	text[n] = '\0';
	if (got < 0)
		return -1;
	return !n ? 0 : strncmp(text, MAGIC, MAGIC_BYTES) == 0 ? 1 : -1;
}

/* The line at *at, its end made a NUL; *at goes on. NULL: there is none. */
static char *next_line(char **at)
{
	char *line = *at, *end = strchr(line, '\n');

	if (!*line)
		return NULL;
	if (end)
		*end = '\0';
	*at = end ? end + 1 : line + strlen(line);
	return line;
}

bool kvf_calibration_load(struct kvf_mem *mem, const char *path, const char *key, struct kvf_copy_costs costs[2])
{
	char clean[KVF_CALIBRATION_KEY], *text = kvf_mem_alloc(mem, FILE_MAX), *at, *line;
	struct kvf_copy_costs found[2];
	bool ok = false;

	if (!text)
		return false;
	clean_key(key, clean);
	at = read_file(path, text) > 0 ? text + MAGIC_BYTES : NULL;
	while (at && !ok && (line = next_line(&at)) != NULL) {
		const char *of = read_line(line, found);

		ok = of && strcmp(of, clean) == 0;
	}
	if (ok) {
		costs[0] = found[0];
		costs[1] = found[1];
	}
	kvf_mem_free(mem, text, FILE_MAX);
	return ok;
}

static void make_folders(const char *path)
{
	char folder[KVF_CALIBRATION_PATH];
	char *last, *before;

	snprintf(folder, sizeof(folder), "%s", path);
	last = strrchr(folder, '/');
	if (!last || last == folder)
		return;
	*last = '\0';
	if (mkdir(folder, 0700) == 0 || errno != ENOENT)
		return;
	before = strrchr(folder, '/');
	if (!before || before == folder)
		return;
	*before = '\0';
	(void)mkdir(folder, 0700);
	*before = '/';
	(void)mkdir(folder, 0700);
}

static bool write_file(const char *path, const char *text, size_t n)
{
	char beside[KVF_CALIBRATION_PATH + 32];
	size_t done = 0;
	bool ok;
	int fd;

	snprintf(beside, sizeof(beside), "%s.%ld", path, (long)getpid());
	(void)unlink(beside); /* of a process of that number which died */
	fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	while (done < n) {
		ssize_t wrote = write(fd, text + done, n - done);

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote <= 0)
			break;
		done += (size_t)wrote;
	}
	ok = done == n;
	ok = close(fd) == 0 && ok;
	ok = ok && rename(beside, path) == 0;
	if (!ok)
		(void)unlink(beside);
	return ok;
}

/* The new text behind the old one: the newest line first, then what is good of the old ones. */
static size_t renew(char *old, char *out, const char *key, const struct kvf_copy_costs costs[2])
{
	char *at = old, *line;
	struct kvf_copy_costs found[2];
	size_t n = MAGIC_BYTES, lines = 1;

	memcpy(out, MAGIC, MAGIC_BYTES);
	n += write_line(key, costs, out + n);
	while (lines < LINES_MAX && (line = next_line(&at)) != NULL) {
		const char *of = read_line(line, found);

		if (!of || strcmp(of, key) == 0 || strlen(line) + 1 >= LINE_MAX_BYTES)
			continue;
		n += (size_t)snprintf(out + n, LINE_MAX_BYTES, "%s\n", line);
		lines++;
	}
	return n;
}

bool kvf_calibration_save(struct kvf_mem *mem, const char *path, const char *key, const struct kvf_copy_costs costs[2])
{
	char clean[KVF_CALIBRATION_KEY], *text = kvf_mem_alloc(mem, 2 * FILE_MAX);
	bool ok = false;
	int there;

	if (!text)
		return false;
	clean_key(key, clean);
	there = read_file(path, text);
	if (there == 0)
		make_folders(path);
	if (there >= 0)
		ok = write_file(path, text + FILE_MAX,
				renew(there ? text + MAGIC_BYTES : text, text + FILE_MAX, clean, costs));
	kvf_mem_free(mem, text, 2 * FILE_MAX);
	return ok;
}
