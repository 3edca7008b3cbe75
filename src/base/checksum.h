/* SPDX-License-Identifier: Apache-2.0 */
/* XXH3-64 of a payload, all at once or in slices, so that a large chunk never makes a long turn. */
#ifndef KVF_BASE_CHECKSUM_H
#define KVF_BASE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

struct kvf_mem;
struct kvf_checksum; /* streaming state, about 600 bytes */

uint64_t kvf_checksum(const void *p, size_t n);

/* NULL: no memory. */
struct kvf_checksum *kvf_checksum_new(struct kvf_mem *mem);
void kvf_checksum_free(struct kvf_mem *mem, struct kvf_checksum *sum);
void kvf_checksum_begin(struct kvf_checksum *sum);
void kvf_checksum_add(struct kvf_checksum *sum, const void *p, size_t n);
uint64_t kvf_checksum_end(const struct kvf_checksum *sum);

#endif
