/* SPDX-License-Identifier: Apache-2.0 */
/* The header page's on-disk form. See record.h and docs/disk-format.md. */
#include "base/record.h"

#include <stdbool.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checksum.h"

/* Offsets in the page. Everything is little-endian; what is not named is zero. */
enum {
	AT_MAGIC = 0,
	AT_VERSION = 8,
	AT_BYTES = 12, /* KVF_RECORD_BYTES */
	AT_KEY = 16,
	AT_PARENT = 48,
	AT_WIRE = 80,
	AT_FINGERPRINT = 112,
	AT_WIRE_LEN = 144,
	AT_N_TOKENS = 148,
	AT_PAYLOAD_BYTES = 152,
	AT_DEPTH = 156,
	AT_GENERATION = 160,
	AT_CHECKSUM = 168,
	AT_SUFFIX_N = 176,
	AT_RESERVED = 180,
	AT_SUFFIX_CHECKSUM = 240, /* XXH3-64 of the suffix; 0 without one */
	AT_HEADER_CHECKSUM = 248, /* XXH3-64 of all before it */
	AT_SUFFIX = KVF_RECORD_BYTES
};

_Static_assert(AT_PARENT == AT_KEY + KVF_KEY_BYTES && AT_WIRE_LEN == AT_FINGERPRINT + KVF_KEY_BYTES, "fields touch");
_Static_assert(AT_HEADER_CHECKSUM + 8 == KVF_RECORD_BYTES, "the header ends with its checksum");

static const uint8_t magic[8] = { 'K', 'V', 'F', 'C', 'H', 'N', 'K', '1' };

void kvf_record_seal(void *page, const struct kvf_record *rec)
{
	struct kvf_record r = *rec; /* the plain form may lie in the page itself */
	uint32_t wire_len = r.wire_len <= KVF_KEY_BYTES ? r.wire_len : KVF_KEY_BYTES;
	uint32_t suffix_n = r.suffix_n <= KVF_RECORD_SUFFIX_MAX ? r.suffix_n : 0;
	uint8_t *p = page;

	if (suffix_n)
		memmove(p + AT_SUFFIX, r.suffix, suffix_n);
	memset(p, 0, AT_SUFFIX);
	memset(p + AT_SUFFIX + suffix_n, 0, KVF_SLOT_HEADER_BYTES - AT_SUFFIX - suffix_n);
	memcpy(p + AT_MAGIC, magic, sizeof(magic));
	kvf_store_le32(p + AT_VERSION, KVF_RECORD_VERSION);
	kvf_store_le32(p + AT_BYTES, KVF_RECORD_BYTES);
	memcpy(p + AT_KEY, r.key, KVF_KEY_BYTES);
	memcpy(p + AT_PARENT, r.parent, KVF_KEY_BYTES);
	memcpy(p + AT_WIRE, r.wire, wire_len);
	memcpy(p + AT_FINGERPRINT, r.fingerprint, KVF_KEY_BYTES);
	kvf_store_le32(p + AT_WIRE_LEN, wire_len);
	kvf_store_le32(p + AT_N_TOKENS, r.n_tokens);
	kvf_store_le32(p + AT_PAYLOAD_BYTES, r.payload_bytes);
	kvf_store_le32(p + AT_DEPTH, r.depth);
	kvf_store_le64(p + AT_GENERATION, r.generation);
	kvf_store_le64(p + AT_CHECKSUM, r.checksum);
	kvf_store_le32(p + AT_SUFFIX_N, suffix_n);
	if (suffix_n)
		kvf_store_le64(p + AT_SUFFIX_CHECKSUM, kvf_checksum(p + AT_SUFFIX, suffix_n));
	kvf_store_le64(p + AT_HEADER_CHECKSUM, kvf_checksum(p, AT_HEADER_CHECKSUM));
}

static bool all_zero(const uint8_t *p, size_t n)
{
	uint8_t any = 0;

	for (size_t i = 0; i < n; i++)
		any |= p[i];
	return any == 0;
}

static bool plausible(const uint8_t *p, const struct kvf_record *r, uint32_t payload_room)
{
	return kvf_load_le32(p + AT_BYTES) == KVF_RECORD_BYTES && r->wire_len <= KVF_KEY_BYTES && r->n_tokens > 0 &&
	       r->payload_bytes > 0 && r->payload_bytes <= payload_room &&
	       all_zero(p + AT_WIRE + r->wire_len, KVF_KEY_BYTES - r->wire_len) &&
	       all_zero(p + AT_RESERVED, AT_SUFFIX_CHECKSUM - AT_RESERVED) && r->suffix_n <= KVF_RECORD_SUFFIX_MAX &&
	       kvf_load_le64(p + AT_SUFFIX_CHECKSUM) == (r->suffix_n ? kvf_checksum(p + AT_SUFFIX, r->suffix_n) : 0);
}

int kvf_record_check(const void *page, uint32_t payload_room, struct kvf_record *rec)
{
	const uint8_t *p = page;
	struct kvf_record r;

	if (memcmp(p + AT_MAGIC, magic, sizeof(magic)) != 0)
		return KVF_ENOENT;
	/* Before the checksum: another version may keep it elsewhere. */
	if (kvf_load_le32(p + AT_VERSION) != KVF_RECORD_VERSION)
		return KVF_ENOTSUP;
	if (kvf_load_le64(p + AT_HEADER_CHECKSUM) != kvf_checksum(p, AT_HEADER_CHECKSUM))
		return KVF_ECORRUPT;
	memcpy(r.key, p + AT_KEY, KVF_KEY_BYTES);
	memcpy(r.parent, p + AT_PARENT, KVF_KEY_BYTES);
	memcpy(r.wire, p + AT_WIRE, KVF_KEY_BYTES);
	memcpy(r.fingerprint, p + AT_FINGERPRINT, KVF_KEY_BYTES);
	r.wire_len = kvf_load_le32(p + AT_WIRE_LEN);
	r.n_tokens = kvf_load_le32(p + AT_N_TOKENS);
	r.payload_bytes = kvf_load_le32(p + AT_PAYLOAD_BYTES);
	r.depth = kvf_load_le32(p + AT_DEPTH);
	r.generation = kvf_load_le64(p + AT_GENERATION);
	r.checksum = kvf_load_le64(p + AT_CHECKSUM);
	r.suffix_n = kvf_load_le32(p + AT_SUFFIX_N);
	r.suffix = r.suffix_n ? (const char *)p + AT_SUFFIX : NULL;
	if (!plausible(p, &r, payload_room))
		return KVF_ECORRUPT;
	*rec = r;
	return KVF_OK;
}
