/* SPDX-License-Identifier: Apache-2.0 */
/* See side.h. */
#include "tier/resp/side.h"

#include <string.h>

#include "base/bytes.h"
#include "base/checksum.h"

enum { AT_KEY = 8, AT_CHECKSUM = 40, AT_PAYLOAD = 48, AT_TOKENS = 52, AT_OWN = 56 };

static const uint8_t magic[8] = { 'K', 'V', 'F', 'S', 'I', 'D', 'E', '1' };

void kvf_resp_side_write(const struct kvf_resp_side *side, uint8_t out[KVF_RESP_SIDE_BYTES])
{
	memcpy(out, magic, sizeof(magic));
	memcpy(out + AT_KEY, side->key, KVF_KEY_BYTES);
	kvf_store_le64(out + AT_CHECKSUM, side->checksum);
	kvf_store_le32(out + AT_PAYLOAD, side->payload_bytes);
	kvf_store_le32(out + AT_TOKENS, side->n_tokens);
	kvf_store_le64(out + AT_OWN, kvf_checksum(out, AT_OWN));
}

int kvf_resp_side_read(const uint8_t *p, size_t n, struct kvf_resp_side *side)
{
	if (n != KVF_RESP_SIDE_BYTES || memcmp(p, magic, sizeof(magic)) != 0 ||
	    kvf_load_le64(p + AT_OWN) != kvf_checksum(p, AT_OWN))
		return KVF_ECORRUPT;
	memcpy(side->key, p + AT_KEY, KVF_KEY_BYTES);
	side->checksum = kvf_load_le64(p + AT_CHECKSUM);
	side->payload_bytes = kvf_load_le32(p + AT_PAYLOAD);
	side->n_tokens = kvf_load_le32(p + AT_TOKENS);
	return KVF_OK;
}
