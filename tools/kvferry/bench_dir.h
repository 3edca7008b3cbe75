/* SPDX-License-Identifier: Apache-2.0 */
/* A folder of a bench's own: what lies beside it, perhaps somebody's cache, is never touched. */
#ifndef KVFERRY_BENCH_DIR_H
#define KVFERRY_BENCH_DIR_H

#define BENCH_DIR_BYTES 1024

/* Makes one below `where` (NULL: /var/tmp). 0; -1 after a line on stderr. */
int bench_dir_make(char path[BENCH_DIR_BYTES], const char *where);
void bench_dir_empty(const char *path);
/* With all that is in it. */
void bench_dir_remove(const char *path);

#endif
