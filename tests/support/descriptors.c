/* SPDX-License-Identifier: Apache-2.0 */
/* See descriptors.h. */
#include "tests/support/descriptors.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness.h"

unsigned descriptors_open(const char *what)
{
	DIR *list = opendir("/proc/self/fd");
	const struct dirent *e;
	unsigned n = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(list);
	while ((e = readdir(list))) {
		char target[4096];
		ssize_t len;

		if (e->d_name[0] == '.' || atoi(e->d_name) == dirfd(list))
			continue;
		len = readlinkat(dirfd(list), e->d_name, target, sizeof(target) - 1);
		target[len > 0 ? len : 0] = 0;
		n += !what || strstr(target, what) != NULL;
	}
	closedir(list);
	return n;
}
