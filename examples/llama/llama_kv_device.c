/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device: chunks between llama.cpp's KV cache and kvferry's slots, with no buffer in between.
 *
 * llama.cpp saves and restores whole sequences. In a unified cache a cell may belong to several
 * sequences, so a range of tokens becomes a sequence of its own for a moment (a mark on its cells,
 * no copy of theirs), is saved straight into the slot, and loses the mark again. The way back is
 * the same: the blob is restored into the spare sequence, its cells are given to the request's, and
 * the spare one is emptied. The bytes are llama.cpp's own format, kvferry never looks at them: an
 * opaque layout.
 */
#include "llama_kv_impl.h"

#include <stdlib.h>
#include <string.h>

static int device_open(
	void *self, struct kvf_device_host *host, const struct kvf_layout *layout, uint32_t *caps)
{
	struct lkv *kv = self;

	if (layout->kind != KVF_LAYOUT_OPAQUE)
		return KVF_ENOTSUP;
	kv->device_host = host;
	*caps = KVF_DEVICE_SYNC;
	return KVF_OK;
}

static void device_close(void *self)
{
	struct lkv *kv = self;

	kv->device_host = NULL;
}

static size_t blob_bytes(const struct lkv *kv, size_t tokens)
{
	return kv->head_bytes + tokens * kv->token_bytes;
}

static int gather(
	struct lkv *kv, llama_seq_id seq, llama_pos from, uint32_t n, uint8_t *blob, size_t size)
{
	size_t expected = blob_bytes(kv, n);
	size_t written;

	if (expected > size)
		return KVF_ERANGE;
	llama_memory_seq_cp(kv->memory, seq, kv->copy_seq, from, from + (llama_pos)n);
	written = llama_state_seq_get_data(kv->context, blob, size, kv->copy_seq);
	llama_memory_seq_rm(kv->memory, kv->copy_seq, -1, -1);
	if (written != expected) /* cells of the range are not there */
		return KVF_EIO;
	/* A partial chunk has the slot of a full one: what lay there before is nobody's business.
	 */
	memset(blob + expected, 0, size - expected);
	return KVF_OK;
}

/* Restores a blob of n tokens from `from` on, of which [keep, keep + n_keep) go to the sequence. */
static int scatter(struct lkv *kv, llama_seq_id seq, llama_pos from, uint32_t n,
	const uint8_t *blob, llama_pos keep, uint32_t n_keep)
{
	size_t expected = blob_bytes(kv, n);
	int ok = llama_state_seq_set_data(kv->context, blob, expected, kv->copy_seq) == expected &&
		 llama_memory_seq_pos_min(kv->memory, kv->copy_seq) == from &&
		 llama_memory_seq_pos_max(kv->memory, kv->copy_seq) == from + (llama_pos)n - 1;

	if (ok)
		llama_memory_seq_cp(kv->memory, kv->copy_seq, seq, keep, keep + (llama_pos)n_keep);
	llama_memory_seq_rm(kv->memory, kv->copy_seq, -1, -1);
	return ok ? KVF_OK : KVF_EIO; /* no free cells, or bytes that are not a blob of ours */
}

static int device_copy(void *self, struct kvf_copy *copy)
{
	struct lkv *kv = self;
	const struct lkv_request *r = (const struct lkv_request *)(uintptr_t)copy->user_data;
	llama_pos from = (llama_pos)copy->chunk_first_token;
	int status;

	if (copy->direction == KVF_COPY_GATHER)
		status = gather(
			kv, r->seq, from, copy->chunk_tokens, copy->payload, copy->payload_bytes);
	else
		status = scatter(kv, r->seq, from, copy->chunk_tokens, copy->payload,
			from + (llama_pos)copy->first, copy->n);
	if (kv->on_chunk && status == KVF_OK)
		kv->on_chunk(copy, kv->user);
	kv->device_host->complete(kv->device_host, copy, status);
	return KVF_OK;
}

const struct kvf_device_ops lkv_device_ops = {.size = sizeof(lkv_device_ops),
	.name = "llama.cpp",
	.open = device_open,
	.close = device_close,
	.copy = device_copy};

/* ---- what a blob looks like: measured, not assumed ---- */

enum { PROBE = 3 };

static size_t size_of(struct lkv *kv, llama_pos n)
{
	size_t size;

	llama_memory_seq_cp(kv->memory, 0, kv->copy_seq, 0, n);
	size = llama_state_seq_get_size(kv->context, kv->copy_seq);
	llama_memory_seq_rm(kv->memory, kv->copy_seq, -1, -1);
	return size;
}

static const char *measure(struct lkv *kv)
{
	size_t size[PROBE];

	for (int n = 0; n < PROBE; n++)
		size[n] = size_of(kv, n + 1);
	if (!size[0] || size[1] <= size[0] || size[2] - size[1] != size[1] - size[0])
		return "the saved state of a sequence does not grow by the same number of bytes a "
		       "token";
	kv->token_bytes = size[1] - size[0];
	if (size[0] <= kv->token_bytes)
		return "the saved state of a sequence is smaller than its tokens";
	kv->head_bytes = size[0] - kv->token_bytes;
	return NULL;
}

static const char *round_trip(struct lkv *kv)
{
	size_t size = blob_bytes(kv, PROBE);
	uint8_t *blob = malloc(size), *again = malloc(size);
	const char *wrong = "out of memory";

	if (blob && again) {
		wrong = "a range of tokens does not come back as it was saved";
		if (gather(kv, 0, 0, PROBE, blob, size) == KVF_OK) {
			llama_memory_seq_rm(kv->memory, 0, -1, -1);
			if (scatter(kv, 0, 0, PROBE, blob, 0, PROBE) == KVF_OK &&
				gather(kv, 0, 0, PROBE, again, size) == KVF_OK &&
				memcmp(blob, again, size) == 0)
				wrong = NULL;
		}
	}
	free(blob);
	free(again);
	return wrong;
}

const char *lkv_probe(struct lkv *kv)
{
	llama_token tokens[PROBE] = {0, 0, 0};
	const char *wrong;

	if (llama_decode(kv->context, llama_batch_get_one(tokens, PROBE)) != 0)
		return "llama_decode() of three tokens failed";
	wrong = measure(kv);
	if (!wrong)
		wrong = round_trip(kv);
	llama_memory_clear(kv->memory, true);
	return wrong;
}
