/* SPDX-License-Identifier: Apache-2.0 */
/* Making and removing the folder of a bench. See bench_dir.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1 /* nftw() */
#endif

#include "bench_dir.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FTW_FDS 16

int bench_dir_make(char path[BENCH_DIR_BYTES], const char *where)
{
	int n;

	if (!where)
		where = "/var/tmp";
	n = snprintf(path, BENCH_DIR_BYTES, "%s/kvferry-bench.XXXXXX", where);
	if (n >= BENCH_DIR_BYTES || strchr(where, '\'')) {
		fprintf(stderr, "kvferry bench: --dir: \"%s\" is too long or has a quote in it\n", where);
		return -1;
	}
	if (!mkdtemp(path)) {
		fprintf(stderr, "kvferry bench: --dir: no folder can be made in \"%s\": %s\n", where, strerror(errno));
		return -1;
	}
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	if (ftw->level > 0)
		(void)(type == FTW_DP ? rmdir(path) : unlink(path));
	return 0;
}

void bench_dir_empty(const char *path)
{
	(void)nftw(path, remove_one, FTW_FDS, FTW_DEPTH | FTW_PHYS);
}

void bench_dir_remove(const char *path)
{
	bench_dir_empty(path);
	(void)rmdir(path);
}
