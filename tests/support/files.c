/* SPDX-License-Identifier: Apache-2.0 */
/* See files.h. */
#include "tests/support/files.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/harness.h"

#define SOURCE_MAX (1u << 20)

void file_write(const char *path, const void *bytes, size_t n)
{
	FILE *f = fopen(path, "w");

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT_EQUAL(fwrite(bytes, 1, n, f), n);
	CU_ASSERT_EQUAL(fclose(f), 0);
}

void file_write_text(const char *path, const char *text)
{
	file_write(path, text, strlen(text));
}

void file_write_below(const char *root, const char *path, const char *text)
{
	char full[PATH_MAX];

	snprintf(full, sizeof(full), "%s%s", root, path);
	for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')) != NULL; p++) {
		*p = '\0';
		(void)mkdir(full, 0700);
		*p = '/';
	}
	file_write_text(full, text);
}

size_t file_read(const char *path, char *buf, size_t size)
{
	FILE *f = fopen(path, "r");
	size_t n;

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	n = fread(buf, 1, size - 1, f);
	buf[n] = '\0';
	fclose(f);
	return n;
}

char *file_of_source(const char *path)
{
	char *text = malloc(SOURCE_MAX);
	char full[PATH_MAX];
	size_t n;

	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	snprintf(full, sizeof(full), "%s/%s", kvf_test_srcdir(), path);
	n = file_read(full, text, SOURCE_MAX);
	CU_ASSERT(n > 0 && n < SOURCE_MAX - 1);
	return text;
}
