/* SPDX-License-Identifier: Apache-2.0 */
/* Whole files for tests. One that cannot be written or read ends the running test. */
#ifndef KVF_TESTS_SUPPORT_FILES_H
#define KVF_TESTS_SUPPORT_FILES_H

#include <stddef.h>

void file_write(const char *path, const void *bytes, size_t n);
void file_write_text(const char *path, const char *text);
/* root + path, with the directories between them. */
void file_write_below(const char *root, const char *path, const char *text);
/* At most size - 1 bytes, and a NUL behind them. Returns how many. */
size_t file_read(const char *path, char *buf, size_t size);
/* A file of the source tree as text. The caller frees it. */
char *file_of_source(const char *path);

#endif
