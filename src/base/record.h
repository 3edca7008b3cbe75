/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The header page of a slot: what a chunk carries with it wherever it goes. In RAM it is a plain struct;
 * kvf_record_seal() makes it the little-endian form of docs/disk-format.md just before the slot leaves RAM,
 * kvf_record_check() judges one that came back. The first KVF_RECORD_BYTES of the page are used; the suffix of the
 * wire name follows them, the rest is zero.
 */
#ifndef KVF_BASE_RECORD_H
#define KVF_BASE_RECORD_H

#include "kvferry/kvf_tier.h"

#define KVF_RECORD_BYTES 256
#define KVF_RECORD_VERSION 1
#define KVF_RECORD_SUFFIX_MAX 512

struct kvf_record {
	uint8_t key[KVF_KEY_BYTES];
	uint8_t parent[KVF_KEY_BYTES];
	uint8_t wire[KVF_KEY_BYTES]; /* LMCache's hash, wire_len bytes */
	uint8_t fingerprint[KVF_KEY_BYTES]; /* of the identity: who may read it */
	uint32_t wire_len;
	uint32_t n_tokens;
	uint32_t payload_bytes;
	uint32_t depth;	     /* chunk number in its sequence */
	uint64_t generation; /* of the slot on disk: the tier's */
	uint64_t checksum;   /* XXH3-64 of the payload */
	uint32_t suffix_n;   /* what stands behind the hash in the wire name; at most KVF_RECORD_SUFFIX_MAX */
	const char *suffix;  /* anywhere; of a record that was read: in its page */
};

/* Writes the on-disk form into the 4 KiB page at `page`, header checksum last. `rec` may lie in that page. */
void kvf_record_seal(void *page, const struct kvf_record *rec);
/* Reads the page. KVF_OK; KVF_ENOENT: no record there (wrong magic); KVF_ENOTSUP: another version; KVF_ECORRUPT: the
 * header checksum or a field is impossible (no tokens, no payload or a payload longer than room). `rec` may lie in the
 * page too, it is written only with KVF_OK. */
int kvf_record_check(const void *page, uint32_t payload_room, struct kvf_record *rec);

#endif
