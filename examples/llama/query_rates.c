/* SPDX-License-Identifier: Apache-2.0 */
/* See query_rates.h. */
#define _GNU_SOURCE /* nftw, O_DIRECT */
#include "query_rates.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "query.h"

#define PASSES 3
#define LARGEST_READ ((size_t)8 << 20)
#define ALIGNMENT 4096u

/* As the KV moves: from one large memory into another, each touched before. */
double query_copy_rate(size_t bytes, size_t chunk_bytes)
{
	uint8_t *from = malloc(bytes + 1), *to = malloc(bytes + 1);
	double best = 0;

	if (from && to) {
		memset(from, 1, bytes);
		memset(to, 2, bytes);
		for (int i = 0; i < 5 && bytes; i++) {
			double begun = query_now(), rate;

			for (size_t at = 0; at < bytes; at += chunk_bytes)
				memcpy(to + at, from + at,
					bytes - at < chunk_bytes ? bytes - at : chunk_bytes);
			rate = (double)bytes / (query_now() - begun);
			best = rate > best ? rate : best;
		}
	}
	free(from);
	free(to);
	return best;
}

static struct {
	void *buffer;
	size_t step;
	uint64_t bytes; /* read in this pass */
	double seconds; /* in reads only */
	int failed;
} reading;

static int read_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	double begun;
	ssize_t got;
	int fd;

	(void)ftw;
	if (type != FTW_F || st->st_size < (off_t)ALIGNMENT)
		return 0;
	fd = open(path, O_RDONLY | O_DIRECT);
	if (fd < 0) {
		reading.failed = 1;
		return 1;
	}
	begun = query_now();
	while ((got = read(fd, reading.buffer, reading.step)) > 0)
		reading.bytes += (uint64_t)got;
	reading.seconds += query_now() - begun;
	reading.failed |= got < 0;
	close(fd);
	return reading.failed;
}

double query_read_rate(const char *dir)
{
	double best = 0;

	if (posix_memalign(&reading.buffer, ALIGNMENT, LARGEST_READ))
		return 0;
	memset(reading.buffer, 1, LARGEST_READ);
	reading.failed = 0;
	for (reading.step = (size_t)1 << 20; reading.step <= LARGEST_READ && !reading.failed; reading.step *= 2)
		for (int i = 0; i < PASSES && !reading.failed; i++) {
			double rate;

			reading.bytes = 0;
			reading.seconds = 0;
			if (nftw(dir, read_file, 16, FTW_PHYS))
				reading.failed = 1;
			rate = reading.seconds > 0 ? (double)reading.bytes / reading.seconds : 0;
			best = !reading.failed && rate > best ? rate : best;
		}
	free(reading.buffer);
	return reading.failed ? 0 : best;
}
