/* SPDX-License-Identifier: Apache-2.0 */
/* What goes into a chunk key. The exact bytes are in keys.h. */
#include "token/keys.h"

#include <string.h>

#include "base/bytes.h"
#include "base/compiler.h"
#include "token/sha256.h"

#ifndef KVF_TOKENS_IN_PLACE /* 0: as a big-endian machine has to do it */
#define KVF_TOKENS_IN_PLACE KVF_NATIVE_LE
#endif

#define TAGGED_MARK 0x01
#define ENTRY_BYTES 32
#define TRAILER_BYTES 9

enum field_tag {
	FIELD_FORM = 0,

	FIELD_MODEL = 1,
	FIELD_REVISION = 2,
	FIELD_SCALES = 3,
	FIELD_FIRST_RANK_ONLY = 4,
	FIELD_WORLD_SIZE = 5,
	FIELD_RANK = 6,
	FIELD_CHUNK_SIZE = 7,
	FIELD_PAYLOAD_BYTES = 8,
	FIELD_KIND = 9,
	FIELD_ORDER = 10,
	FIELD_OPAQUE_BYTES = 11,
	FIELD_OPAQUE_FINGERPRINT = 12,
	FIELD_ORDER_CODE = 13,
	FIELD_LAYERS = 16,
	FIELD_PLANES = 17,
	FIELD_HEADS = 18,
	FIELD_HEAD_ELEMS = 19,
	FIELD_DTYPE = 20,
	FIELD_BLOCK_TOKENS = 21,
	FIELD_BLOCK_STRIDE = 22,
	FIELD_TOKEN_STRIDE = 23,
	FIELD_HEAD_STRIDE = 24,

	FIELD_ROOT_FINGERPRINT = 1,
	FIELD_ROOT_SALT = 2,
	FIELD_ROOT_ADAPTER = 3,
	FIELD_ROOT_TAG_NAME = 4,
	FIELD_ROOT_TAG_VALUE = 5
};

static void put_bytes(struct kvf_sha256 *s, enum field_tag tag, const void *data, size_t n)
{
	uint8_t head[5] = {(uint8_t)tag};

	kvf_store_le32(head + 1, (uint32_t)n);
	kvf_sha256_update(s, head, sizeof(head));
	if (n)
		kvf_sha256_update(s, data, n);
}

static void put_text(struct kvf_sha256 *s, enum field_tag tag, const char *text)
{
	put_bytes(s, tag, text, text ? strlen(text) : 0);
}

static void put_u64(struct kvf_sha256 *s, enum field_tag tag, uint64_t v)
{
	uint8_t b[8];

	kvf_store_le64(b, v);
	put_bytes(s, tag, b, sizeof(b));
}

static void put_group(struct kvf_sha256 *s, const struct kvf_group *g, enum kvf_payload_order order)
{
	put_u64(s, FIELD_LAYERS, g->n_layers);
	put_u64(s, FIELD_PLANES, g->planes);
	put_u64(s, FIELD_HEADS, g->heads);
	put_u64(s, FIELD_HEAD_ELEMS, g->head_elems);
	put_u64(s, FIELD_DTYPE, (uint64_t)g->dtype);
	if (order != KVF_PAYLOAD_PAGES)
		return;
	put_u64(s, FIELD_BLOCK_TOKENS, g->block_tokens);
	put_u64(s, FIELD_BLOCK_STRIDE, g->block_stride);
	put_u64(s, FIELD_TOKEN_STRIDE, g->token_stride);
	put_u64(s, FIELD_HEAD_STRIDE, g->head_stride);
}

static void put_layout(struct kvf_sha256 *s, const struct kvf_layout *layout)
{
	put_u64(s, FIELD_KIND, (uint64_t)layout->kind);
	put_u64(s, FIELD_ORDER, (uint64_t)layout->payload_order);
	if (layout->kind == KVF_LAYOUT_OPAQUE) {
		put_u64(s, FIELD_OPAQUE_BYTES, layout->opaque_chunk_bytes);
		put_u64(s, FIELD_OPAQUE_FINGERPRINT, layout->opaque_fingerprint);
		return;
	}
	for (uint32_t i = 0; i < layout->n_groups; i++)
		put_group(s, &layout->groups[i], layout->payload_order);
}

void kvf_key_fingerprint(uint8_t out[KVF_KEY_BYTES], const struct kvf_identity *identity,
	const struct kvf_layout *layout, uint32_t chunk_size, uint64_t payload_bytes, uint64_t order_code)
{
	struct kvf_sha256 s;

	kvf_sha256_init(&s);
	put_text(&s, FIELD_FORM, "kvferry fingerprint 1");
	put_text(&s, FIELD_MODEL, identity->model);
	put_text(&s, FIELD_REVISION, identity->revision);
	put_u64(&s, FIELD_SCALES, identity->scale_fingerprint);
	put_u64(&s, FIELD_FIRST_RANK_ONLY, identity->first_rank_only != 0);
	if (!identity->first_rank_only) {
		put_u64(&s, FIELD_WORLD_SIZE, identity->world_size);
		put_u64(&s, FIELD_RANK, identity->rank);
	}
	put_u64(&s, FIELD_CHUNK_SIZE, chunk_size);
	put_u64(&s, FIELD_PAYLOAD_BYTES, payload_bytes);
	if (layout)
		put_layout(&s, layout);
	if (order_code)
		put_u64(&s, FIELD_ORDER_CODE, order_code);
	kvf_sha256_final(&s, out);
}

void kvf_key_root(uint8_t out[KVF_KEY_BYTES], const uint8_t fingerprint[KVF_KEY_BYTES],
	const struct kvf_seq_params *params)
{
	struct kvf_sha256 s;

	kvf_sha256_init(&s);
	put_text(&s, FIELD_FORM, "kvferry root 1");
	put_bytes(&s, FIELD_ROOT_FINGERPRINT, fingerprint, KVF_KEY_BYTES);
	put_text(&s, FIELD_ROOT_SALT, params ? params->salt : NULL);
	put_text(&s, FIELD_ROOT_ADAPTER, params ? params->adapter : NULL);
	for (uint32_t i = 0; params && i < params->n_tags; i++) {
		put_text(&s, FIELD_ROOT_TAG_NAME, params->tags[i].name);
		put_text(&s, FIELD_ROOT_TAG_VALUE, params->tags[i].value);
	}
	kvf_sha256_final(&s, out);
}

static void put_tokens(struct kvf_sha256 *s, const uint32_t *tokens, size_t n)
{
	uint8_t le[256];

	if (KVF_TOKENS_IN_PLACE) {
		kvf_sha256_update(s, tokens, n * sizeof(*tokens));
		return;
	}
	while (n > 0) {
		size_t part = kvf_min_u64(n, sizeof(le) / 4);

		for (size_t i = 0; i < part; i++)
			kvf_store_le32(le + i * 4, tokens[i]);
		kvf_sha256_update(s, le, part * 4);
		tokens += part;
		n -= part;
	}
}

static bool touches(const struct kvf_extra *e, uint64_t first, uint64_t n)
{
	return e->first < first + n && e->first + e->n > first;
}

static void put_entry(struct kvf_sha256 *s, const struct kvf_extra *e, uint64_t first, uint64_t n)
{
	uint64_t begin = kvf_max_u64(e->first, first);
	uint64_t end = kvf_min_u64(e->first + e->n, first + n);
	uint8_t b[ENTRY_BYTES];

	kvf_store_le64(b, begin - e->first);
	kvf_store_le32(b + 8, (uint32_t)(begin - first));
	kvf_store_le32(b + 12, (uint32_t)(end - begin));
	memcpy(b + 16, e->id, sizeof(e->id));
	kvf_sha256_update(s, b, sizeof(b));
}

void kvf_key_chunk(uint8_t out[KVF_KEY_BYTES], const uint8_t parent[KVF_KEY_BYTES],
	const uint32_t *tokens, size_t n, uint32_t chunk_size, uint64_t first_token,
	const struct kvf_extra *extras, size_t n_extras)
{
	uint8_t trailer[TRAILER_BYTES];
	struct kvf_sha256 s;
	uint32_t entries = 0;

	for (size_t i = 0; i < n_extras; i++)
		entries += touches(&extras[i], first_token, n);
	if (KVF_TOKENS_IN_PLACE && kvf_likely(n == chunk_size && entries == 0)) {
		kvf_sha256_join(out, parent, tokens, n * sizeof(*tokens));
		return;
	}
	kvf_sha256_init(&s);
	kvf_sha256_update(&s, parent, KVF_KEY_BYTES);
	put_tokens(&s, tokens, n);
	if (n != chunk_size || entries > 0) {
		for (size_t i = 0; i < n_extras; i++)
			if (touches(&extras[i], first_token, n))
				put_entry(&s, &extras[i], first_token, n);
		kvf_store_le32(trailer, (uint32_t)n);
		kvf_store_le32(trailer + 4, entries);
		trailer[8] = TAGGED_MARK;
		kvf_sha256_update(&s, trailer, sizeof(trailer));
	}
	kvf_sha256_final(&s, out);
}
