/* SPDX-License-Identifier: Apache-2.0 */
/* Python's hash() of what LMCache hashes with it: a str, and the tuple (prefix, (token, ...),
 * third). 64-bit CPython. */
#ifndef KVF_TOKEN_WIRE_PYHASH_H
#define KVF_TOKEN_WIRE_PYHASH_H

#include <stddef.h>
#include <stdint.h>

#define KVF_PYHASH_NONE 0xfca86420 /* hash(None) since Python 3.12; an address before */

/* hash(()) */
int64_t kvf_pyhash_empty(void);

/* hash of an ASCII str under PYTHONHASHSEED=seed; SipHash-2-4 up to Python 3.10, SipHash-1-3 since.
 */
int64_t kvf_pyhash_text(const char *text, size_t n, uint32_t seed, unsigned python_minor);

/* hash((prefix, (tokens...), x)) where hash(x) is `third`. */
int64_t kvf_pyhash_chunk(int64_t prefix, const uint32_t *tokens, size_t n, int64_t third);

#endif
