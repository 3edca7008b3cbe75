/* SPDX-License-Identifier: Apache-2.0 */
/* What the tier writes beside records: the page of a directory and the page in front of a segment.
 * docs/disk-format.md. */
#ifndef KVF_TIER_DISK_FORMAT_H
#define KVF_TIER_DISK_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

#include "kvferry/kvferry.h"

#define KVF_DISK_PAGE 4096u
#define KVF_DISK_VERSION 1u
#define KVF_DISK_DIR_FILE "kvferry.dir"
#define KVF_DISK_MODEL_BYTES 128u
#define KVF_DISK_NAME_BYTES 64u
#define KVF_DISK_EPOCH_SHIFT 40 /* generation = epoch, then a counter */
#define KVF_DISK_EPOCHS (UINT64_C(1) << (64 - KVF_DISK_EPOCH_SHIFT))

struct kvf_disk_dir_page {
	uint8_t fingerprint[KVF_KEY_BYTES];
	uint32_t slot_bytes, payload_bytes, chunk_tokens, world_size, rank;
	uint64_t epoch; /* how often it was opened */
	char model[KVF_DISK_MODEL_BYTES];
};

struct kvf_disk_seg_page {
	uint8_t fingerprint[KVF_KEY_BYTES];
	uint32_t slot_bytes;
	uint32_t n_slots; /* the file may grow to */
	uint32_t number;
	uint64_t epoch; /* in which it was made */
};

/* All take and fill whole pages of KVF_DISK_PAGE bytes. parse: KVF_OK, KVF_ENOENT (no such page),
 * KVF_ENOTSUP (another version), KVF_ECORRUPT; *out is set with KVF_OK only. */
void kvf_disk_dir_write(void *page, const struct kvf_disk_dir_page *in);
int kvf_disk_dir_parse(const void *page, struct kvf_disk_dir_page *out);
void kvf_disk_seg_write(void *page, const struct kvf_disk_seg_page *in);
int kvf_disk_seg_parse(const void *page, struct kvf_disk_seg_page *out);

/* "kvf-0123456789abcdef-w2-r0" and "segment-00000000.kvf"; KVF_DISK_NAME_BYTES suffice. */
void kvf_disk_dir_name(
	char *out, const uint8_t fingerprint[KVF_KEY_BYTES], uint32_t world_size, uint32_t rank);
bool kvf_disk_dir_name_parse(const char *name, uint32_t *world_size, uint32_t *rank);
void kvf_disk_seg_name(char *out, uint32_t number);
bool kvf_disk_seg_name_parse(const char *name, uint32_t *number);

/* Where slot i begins, and how large a file with n slots is. */
static inline uint64_t kvf_disk_slot_offset(uint32_t slot_bytes, uint64_t i)
{
	return KVF_DISK_PAGE + i * slot_bytes;
}

#endif
