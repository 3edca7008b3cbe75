/* SPDX-License-Identifier: Apache-2.0 */
/* Subcommands of `kvferry` as functions, with what they print. */
#ifndef KVF_TESTS_SUPPORT_COMMAND_H
#define KVF_TESTS_SUPPORT_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Runs one in this process with these words, its own name first; NULL ends them. What it writes to standard output
 * is in `out` afterwards, what it writes to standard error too with `errors`, nowhere without. Returns its exit status.
 */
int command_run(int (*command)(int, char **), const char *const *words, bool errors, char *out, size_t size);
/* The same with words that blanks part. */
int command_line(int (*command)(int, char **), const char *line, bool errors, char *out, size_t size);

#endif
