/* SPDX-License-Identifier: Apache-2.0 */
/* What the machine can do at best, measured: what loads are compared with. */
#ifndef KVFERRY_EXAMPLES_LLAMA_QUERY_RATES_H
#define KVFERRY_EXAMPLES_LLAMA_QUERY_RATES_H

#include <stddef.h>

/* Bytes a second of memcpy, a chunk at a time. */
double query_copy_rate(size_t bytes, size_t chunk_bytes);

/* Bytes a second of reading the files below dir from their beginning to their end, past the page cache: the best of a
 * few passes with one read in flight, of sizes the kernel cuts into many. 0: not here (no direct I/O on this file
 * system). */
double query_read_rate(const char *dir);

#endif
