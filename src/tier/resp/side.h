/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The side record <name>kvferry: what LMCache's formats lack. 64 bytes:
 *
 *	"KVFSIDE1" || key[32] || XXH3-64 of the payload u64 LE || payload bytes u32 LE || tokens u32 LE ||
 *	XXH3-64 of all before it u64 LE
 */
#ifndef KVF_TIER_RESP_SIDE_H
#define KVF_TIER_RESP_SIDE_H

#include <stddef.h>

#include "kvferry/kvf_tier.h"

#define KVF_RESP_SIDE_BYTES 64

struct kvf_resp_side {
	uint8_t key[KVF_KEY_BYTES];
	uint64_t checksum;
	uint32_t payload_bytes;
	uint32_t n_tokens;
};

void kvf_resp_side_write(const struct kvf_resp_side *side, uint8_t out[KVF_RESP_SIDE_BYTES]);
/* KVF_OK, or KVF_ECORRUPT for anything else than a whole record. */
int kvf_resp_side_read(const uint8_t *p, size_t n, struct kvf_resp_side *side);

#endif
