/* SPDX-License-Identifier: Apache-2.0 */
/* Pages and names of the disk format: see format.h and docs/disk-format.md. */
#include "tier/disk/format.h"

#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checksum.h"

/* Offsets that both pages share. Everything is little-endian; what is not named is zero. */
enum {
	AT_MAGIC = 0,
	AT_VERSION = 8,
	AT_BYTES = 12, /* PAGE_USED */
	AT_FINGERPRINT = 16,
	AT_SLOT_BYTES = 48,
	/* directory */
	AT_PAYLOAD_BYTES = 52,
	AT_CHUNK_TOKENS = 56,
	AT_WORLD_SIZE = 60,
	AT_RANK = 64,
	AT_MODEL = 80,
	/* segment */
	AT_N_SLOTS = 52,
	AT_DATA_OFFSET = 56,
	AT_NUMBER = 60,
	/* both */
	AT_EPOCH = 72,
	AT_CHECKSUM = 248, /* XXH3-64 of all before it */
	PAGE_USED = 256
};

_Static_assert(AT_MODEL + KVF_DISK_MODEL_BYTES <= AT_CHECKSUM, "the model fits");

static const uint8_t dir_magic[8] = {'K', 'V', 'F', 'D', 'I', 'R', 'E', '1'};
static const uint8_t seg_magic[8] = {'K', 'V', 'F', 'S', 'E', 'G', 'M', '1'};

static void begin(uint8_t *p, const uint8_t magic[8], const uint8_t *fingerprint,
	uint32_t slot_bytes, uint64_t epoch)
{
	memset(p, 0, KVF_DISK_PAGE);
	memcpy(p + AT_MAGIC, magic, 8);
	kvf_store_le32(p + AT_VERSION, KVF_DISK_VERSION);
	kvf_store_le32(p + AT_BYTES, PAGE_USED);
	memcpy(p + AT_FINGERPRINT, fingerprint, KVF_KEY_BYTES);
	kvf_store_le32(p + AT_SLOT_BYTES, slot_bytes);
	kvf_store_le64(p + AT_EPOCH, epoch);
}

static void end(uint8_t *p)
{
	kvf_store_le64(p + AT_CHECKSUM, kvf_checksum(p, AT_CHECKSUM));
}

static int check(const uint8_t *p, const uint8_t magic[8])
{
	if (memcmp(p + AT_MAGIC, magic, 8) != 0)
		return KVF_ENOENT;
	if (kvf_load_le32(p + AT_VERSION) != KVF_DISK_VERSION)
		return KVF_ENOTSUP;
	if (kvf_load_le64(p + AT_CHECKSUM) != kvf_checksum(p, AT_CHECKSUM) ||
		kvf_load_le32(p + AT_BYTES) != PAGE_USED)
		return KVF_ECORRUPT;
	return KVF_OK;
}

static bool good_slot(uint32_t slot_bytes)
{
	return slot_bytes >= 2 * KVF_DISK_PAGE && slot_bytes % KVF_DISK_PAGE == 0;
}

void kvf_disk_dir_write(void *page, const struct kvf_disk_dir_page *in)
{
	uint8_t *p = page;

	begin(p, dir_magic, in->fingerprint, in->slot_bytes, in->epoch);
	kvf_store_le32(p + AT_PAYLOAD_BYTES, in->payload_bytes);
	kvf_store_le32(p + AT_CHUNK_TOKENS, in->chunk_tokens);
	kvf_store_le32(p + AT_WORLD_SIZE, in->world_size);
	kvf_store_le32(p + AT_RANK, in->rank);
	memcpy(p + AT_MODEL, in->model, KVF_DISK_MODEL_BYTES);
	p[AT_MODEL + KVF_DISK_MODEL_BYTES - 1] = 0;
	end(p);
}

int kvf_disk_dir_parse(const void *page, struct kvf_disk_dir_page *out)
{
	const uint8_t *p = page;
	int rc = check(p, dir_magic);

	if (rc)
		return rc;
	if (!good_slot(kvf_load_le32(p + AT_SLOT_BYTES)) || p[AT_MODEL + KVF_DISK_MODEL_BYTES - 1])
		return KVF_ECORRUPT;
	memcpy(out->fingerprint, p + AT_FINGERPRINT, KVF_KEY_BYTES);
	out->slot_bytes = kvf_load_le32(p + AT_SLOT_BYTES);
	out->payload_bytes = kvf_load_le32(p + AT_PAYLOAD_BYTES);
	out->chunk_tokens = kvf_load_le32(p + AT_CHUNK_TOKENS);
	out->world_size = kvf_load_le32(p + AT_WORLD_SIZE);
	out->rank = kvf_load_le32(p + AT_RANK);
	out->epoch = kvf_load_le64(p + AT_EPOCH);
	memcpy(out->model, p + AT_MODEL, KVF_DISK_MODEL_BYTES);
	return KVF_OK;
}

void kvf_disk_seg_write(void *page, const struct kvf_disk_seg_page *in)
{
	uint8_t *p = page;

	begin(p, seg_magic, in->fingerprint, in->slot_bytes, in->epoch);
	kvf_store_le32(p + AT_N_SLOTS, in->n_slots);
	kvf_store_le32(p + AT_DATA_OFFSET, KVF_DISK_PAGE);
	kvf_store_le32(p + AT_NUMBER, in->number);
	end(p);
}

int kvf_disk_seg_parse(const void *page, struct kvf_disk_seg_page *out)
{
	const uint8_t *p = page;
	int rc = check(p, seg_magic);

	if (rc)
		return rc;
	if (!good_slot(kvf_load_le32(p + AT_SLOT_BYTES)) ||
		kvf_load_le32(p + AT_DATA_OFFSET) != KVF_DISK_PAGE ||
		kvf_load_le32(p + AT_N_SLOTS) == 0)
		return KVF_ECORRUPT;
	memcpy(out->fingerprint, p + AT_FINGERPRINT, KVF_KEY_BYTES);
	out->slot_bytes = kvf_load_le32(p + AT_SLOT_BYTES);
	out->n_slots = kvf_load_le32(p + AT_N_SLOTS);
	out->number = kvf_load_le32(p + AT_NUMBER);
	out->epoch = kvf_load_le64(p + AT_EPOCH);
	return KVF_OK;
}

/* ---- names ---- */

void kvf_disk_dir_name(
	char *out, const uint8_t fingerprint[KVF_KEY_BYTES], uint32_t world_size, uint32_t rank)
{
	char hex[17];

	for (int i = 0; i < 8; i++)
		snprintf(hex + 2 * i, 3, "%02x", fingerprint[i]);
	snprintf(out, KVF_DISK_NAME_BYTES, "kvf-%s-w%u-r%u", hex, world_size, rank);
}

/* Decimal digits up to 2^32 - 1; *p goes behind them. */
static bool digits(const char **p, uint32_t *out)
{
	uint64_t v = 0;
	const char *from = *p;

	while (**p >= '0' && **p <= '9' && v <= UINT32_MAX)
		v = v * 10 + (uint64_t)(*(*p)++ - '0');
	*out = (uint32_t)v;
	return *p > from && v <= UINT32_MAX;
}

bool kvf_disk_dir_name_parse(const char *name, uint32_t *world_size, uint32_t *rank)
{
	const char *p = name;

	if (strncmp(p, "kvf-", 4) != 0)
		return false;
	for (p += 4; (*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'f'); p++)
		;
	if (p - name != 4 + 16 || strncmp(p, "-w", 2) != 0)
		return false;
	p += 2;
	if (!digits(&p, world_size) || strncmp(p, "-r", 2) != 0)
		return false;
	p += 2;
	return digits(&p, rank) && *p == 0;
}

void kvf_disk_seg_name(char *out, uint32_t number)
{
	snprintf(out, KVF_DISK_NAME_BYTES, "segment-%08u.kvf", number);
}

bool kvf_disk_seg_name_parse(const char *name, uint32_t *number)
{
	char again[KVF_DISK_NAME_BYTES];
	const char *p = name;

	if (strncmp(p, "segment-", 8) != 0)
		return false;
	p += 8;
	if (!digits(&p, number))
		return false;
	kvf_disk_seg_name(again, *number);
	return strcmp(name, again) == 0;
}
