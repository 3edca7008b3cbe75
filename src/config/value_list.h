/* SPDX-License-Identifier: Apache-2.0 */
/* Lists and maps inside one value: "a, b" and "0:1, 1:1"; and a few helpers of text. */
#ifndef KVF_CONFIG_VALUE_LIST_H
#define KVF_CONFIG_VALUE_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/schema.h"

/* Trims and checks the elements, drops empty ones, joins them again, in place. KVF_OK, or
 * KVF_ECONFIG with a hint. */
int kvf_list_normalise(enum kvf_key_type type, char *text, char *hint, size_t hint_size);

/* Writes a whole number over text, which held one of at least as many digits. */
void kvf_write_whole(char *text, bool negative, uint64_t whole);

#endif
