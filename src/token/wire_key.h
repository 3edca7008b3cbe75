/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LMCache's key strings: the full name of one chunk (or of one layer of it) in a shared store.
 *
 * LMCache joins fields with '@' and escapes nothing, so a field that would not come out again whole
 * is refused here: such a name could be another chunk's. All texts are UTF-8.
 */
#ifndef KVF_TOKEN_WIRE_KEY_H
#define KVF_TOKEN_WIRE_KEY_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "kvferry/kvf_status.h"
#include "token/wire_hash.h"
#include "token/wire_meta.h"

#define KVF_WIRE_SALT_MAX 128 /* characters, not bytes */
#define KVF_WIRE_KEY_MAX 1024 /* bytes; a bound of ours, for callers' buffers */
#define KVF_WIRE_NO_LAYER UINT32_MAX

enum kvf_wire_ip_era {
	KVF_WIRE_IP_NOW = 0, /* model@ws@wid@hash@dtype[@layer][@tag%value...] */
	KVF_WIRE_IP_VLLM_DTYPE = 1, /* "vllm@" in front: November 2025 to January 2026 */
	KVF_WIRE_IP_VLLM = 2 /* "vllm@" in front and no dtype: before November 2025 */
};

struct kvf_wire_tag {
	const char *name;
	const char *value;
};

struct kvf_wire_ip_key {
	const char *model;
	uint32_t world_size;
	uint32_t worker_id;
	const struct kvf_wire_hash
		*hash; /* any kind; a digest prints as the 64 or 32 digits of early 2026 */
	enum kvf_wire_dtype dtype; /* not looked at where the era has none */
	uint32_t layer; /* KVF_WIRE_NO_LAYER for a whole chunk */
	const struct kvf_wire_tag *tags; /* in the order of the request */
	size_t n_tags;
};

/* Returns the length without the NUL; KVF_EINVAL, or KVF_ERANGE when `cap` is too small. */
int kvf_wire_ip_key_print(const struct kvf_wire_ip_key *key, enum kvf_wire_ip_era era, char *buf,
	size_t cap, struct kvf_report *report);

enum kvf_wire_mp_era {
	KVF_WIRE_MP_NOW = 0, /* model@%08x@%x@hash[@salt] */
	KVF_WIRE_MP_THREE_FIELDS = 1 /* without the group: before June 2026 */
};

struct kvf_wire_mp_key {
	const char *model;
	uint32_t kv_rank; /* kvf_wire_kv_rank() */
	uint32_t group; /* object_group_id; must be 0 where the era has none */
	const struct kvf_wire_hash *hash; /* KVF_WIRE_BYTES */
	const char *salt; /* cache_salt; NULL or "" for none */
};

int kvf_wire_mp_key_print(const struct kvf_wire_mp_key *key, enum kvf_wire_mp_era era, char *buf,
	size_t cap, struct kvf_report *report);

/* world_size << 24 | rank << 16 | world_size << 8 | rank. KVF_OK, or KVF_ERANGE: 1 to 255 ranks. */
int kvf_wire_kv_rank(uint32_t world_size, uint32_t rank, struct kvf_report *report, uint32_t *out);

/* LMCache's rule for a cache_salt: valid UTF-8 of at most 128 characters, none of them @ / \.
 * KVF_OK or KVF_EINVAL. */
int kvf_wire_salt_check(const char *salt, struct kvf_report *report);

#endif
