/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What salts may take of the pool: "salt:GB,salt:GB". A salt may be what keeps a tenant's cache from being probed by
 * others, so that no message shows one: entries are named by their number.
 */
#ifndef KVF_CONFIG_QUOTA_H
#define KVF_CONFIG_QUOTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KVF_QUOTA_SALTS_MAX 63
#define KVF_QUOTA_SALT_BYTES 128

struct kvf_quota {
	char salt[KVF_QUOTA_SALT_BYTES + 1];
	uint64_t bytes;
};

/* One element, "salt:GB". KVF_OK, or KVF_ECONFIG with a hint. */
int kvf_quota_check(const char *s, size_t n, char *hint, size_t size);
/* Whether the salt of the element text[at..at+n) stands already in text[0..at). */
bool kvf_quota_repeated(const char *text, size_t at, size_t n);

/* The next of a kept list; *at starts at its beginning. False behind the last. */
bool kvf_quota_next(const char **at, struct kvf_quota *out);
/* Bytes that a kept list gives the salt, 0: none. */
uint64_t kvf_quota_of(const char *list, const char *salt);

#endif
