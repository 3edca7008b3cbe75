/* SPDX-License-Identifier: Apache-2.0 */
/* Growing and shrinking of sequences. See seq.h. */
#include "token/seq.h"

#include <inttypes.h>
#include <string.h>

#include "token/seq_impl.h"

/* Everything an append needs, taken before it changes anything. */
struct room {
	uint32_t fills; /* chunks it fills */
	uint32_t rest; /* tokens of the open chunk afterwards */
	uint32_t *tail, *last; /* new buffers, NULL where the sequence has one or needs none */
};

static const uint8_t *parent_of(const struct kvf_seq *seq, uint32_t chunk)
{
	return chunk ? seq->keys->key[chunk - 1] : seq->root;
}

static int take_room(struct kvf_seq *seq, struct room *room)
{
	struct kvf_mem *mem = seq->env->mem;
	size_t bytes = kvf_seq_chunk_bytes(seq);

	if (room->rest && !seq->tail) {
		room->tail = kvf_mem_alloc(mem, bytes);
		if (!room->tail)
			return kvf_seq_no_memory(seq->env, bytes, "tokens of the open chunk");
	}
	if (room->fills && !seq->last) {
		room->last = kvf_mem_alloc(mem, bytes);
		if (!room->last) {
			kvf_mem_free(mem, room->tail, bytes);
			return kvf_seq_no_memory(seq->env, bytes, "tokens of the last chunk");
		}
	}
	if (room->fills &&
		(kvf_keyvec_extend(mem, &seq->keys, seq->n_chunks, room->fills) != KVF_OK ||
			kvf_seq_wire_extend(seq, room->fills) != KVF_OK)) {
		kvf_mem_free(mem, room->tail, bytes);
		kvf_mem_free(mem, room->last, bytes);
		return kvf_seq_no_memory(
			seq->env, ((size_t)seq->n_chunks + room->fills) * KVF_KEY_BYTES, "keys");
	}
	return KVF_OK;
}

/* Computes the key of the next chunk. *cursor: the first content id that may touch it. */
static void fill_chunk(struct kvf_seq *seq, const uint32_t *tokens, size_t *cursor)
{
	uint32_t size = seq->env->chunk_size;
	uint64_t first = (uint64_t)seq->n_chunks * size;
	size_t from = *cursor, to;

	while (from < seq->n_extras && seq->extras[from].first + seq->extras[from].n <= first)
		from++;
	to = from;
	while (to < seq->n_extras && seq->extras[to].first < first + size)
		to++;
	kvf_key_chunk(seq->keys->key[seq->n_chunks], parent_of(seq, seq->n_chunks), tokens, size,
		size, first, to > from ? seq->extras + from : NULL, to - from);
	kvf_seq_wire_fill(seq, tokens, to > from);
	seq->n_chunks++;
	*cursor = from;
}

static void swap_buffers(struct kvf_seq *seq)
{
	uint32_t *tail = seq->tail;

	seq->tail = seq->last;
	seq->last = tail;
}

/* Appends into chunks that get full. Returns how many tokens that took. */
static size_t fill_chunks(struct kvf_seq *seq, const uint32_t *tokens, const struct room *room)
{
	uint32_t size = seq->env->chunk_size;
	uint32_t have = kvf_seq_open_tokens(seq);
	uint32_t left = room->fills;
	size_t cursor = 0, at = 0;

	if (have) {
		at = size - have;
		memcpy(seq->tail + have, tokens, at * sizeof(*tokens));
		fill_chunk(seq, seq->tail, &cursor);
		swap_buffers(seq);
		left--;
	}
	for (uint32_t i = 0; i < left; i++, at += size)
		fill_chunk(seq, tokens + at, &cursor);
	if (left)
		memcpy(seq->last, tokens + at - size, kvf_seq_chunk_bytes(seq));
	return at;
}

int kvf_seq_add(struct kvf_seq *seq, const uint32_t *tokens, size_t n)
{
	uint32_t size = seq->env->chunk_size;
	uint32_t have = kvf_seq_open_tokens(seq);
	struct room room = {0};
	size_t at = 0;
	int status;

	if (n == 0)
		return KVF_OK;
	if (seq->keys_only)
		return kvf_seq_refuse(seq->env, KVF_EINVAL,
			"tokens: the sequence holds keys of the host, not tokens");
	if (n > KVF_SEQ_MAX_TOKENS - seq->n_tokens)
		return kvf_seq_refuse(seq->env, KVF_ERANGE,
			"n: %zu tokens after %" PRIu64 ", at most %" PRIu64 " in all", n,
			seq->n_tokens, KVF_SEQ_MAX_TOKENS);
	room.fills = (uint32_t)((have + n) / size);
	room.rest = (uint32_t)((have + n) % size);
	status = take_room(seq, &room);
	if (status != KVF_OK)
		return status;
	if (room.tail)
		seq->tail = room.tail;
	if (room.last)
		seq->last = room.last;
	seq->resident = (uint32_t)kvf_min_u64(seq->resident, seq->n_chunks);
	seq->tail_n = 0;
	seq->got_tokens = true;
	if (room.fills) {
		at = fill_chunks(seq, tokens, &room);
		have = 0;
	}
	if (at < n)
		memcpy(seq->tail + have, tokens + at, (n - at) * sizeof(*tokens));
	seq->n_tokens += n;
	if (room.fills)
		kvf_seq_extras_prune(seq);
	return KVF_OK;
}

int kvf_seq_add_keys(struct kvf_seq *seq, const uint8_t (*keys)[KVF_KEY_BYTES], size_t n)
{
	uint32_t size = seq->env->chunk_size;
	struct kvf_seq_env *env = seq->env;

	if (n == 0)
		return KVF_OK;
	if (seq->got_tokens)
		return kvf_seq_refuse(env, KVF_EINVAL, "keys: the sequence got tokens before");
	if (seq->n_extras)
		return kvf_seq_refuse(
			env, KVF_EINVAL, "keys: %zu content ids wait for tokens", seq->n_extras);
	if (n > (KVF_SEQ_MAX_TOKENS - seq->n_tokens) / size)
		return kvf_seq_refuse(env, KVF_EINVAL,
			"n: %zu keys of %u tokens after %" PRIu64 ", at most %" PRIu64 " in all", n,
			(unsigned int)size, seq->n_tokens, KVF_SEQ_MAX_TOKENS);
	if (kvf_keyvec_extend(env->mem, &seq->keys, seq->n_chunks, (uint32_t)n) != KVF_OK)
		return kvf_seq_no_memory(env, (seq->n_chunks + n) * KVF_KEY_BYTES, "keys");
	memcpy(seq->keys->key[seq->n_chunks], keys, n * KVF_KEY_BYTES);
	seq->n_chunks += (uint32_t)n;
	seq->n_tokens += (uint64_t)n * size;
	seq->keys_only = true;
	kvf_seq_wire_off(seq);
	return KVF_OK;
}

static int check_cut(struct kvf_seq *seq, size_t n_tokens)
{
	uint32_t size = seq->env->chunk_size;
	uint64_t chunk = n_tokens / size;
	uint64_t known = seq->n_chunks - (seq->last ? 1u : 0u);

	if (n_tokens > seq->n_tokens)
		return kvf_seq_refuse(seq->env, KVF_EINVAL, "n_tokens: %zu, the length is %" PRIu64,
			n_tokens, seq->n_tokens);
	if (n_tokens % size == 0 || chunk >= known)
		return KVF_OK;
	return kvf_seq_refuse(seq->env, KVF_EINVAL,
		"n_tokens: %zu lies in chunk %" PRIu64
		", whose tokens are not kept: only a multiple of %u, or from %" PRIu64
		" to %" PRIu64,
		n_tokens, chunk, (unsigned int)size, known * size, seq->n_tokens);
}

int kvf_seq_cut(struct kvf_seq *seq, size_t n_tokens)
{
	uint32_t chunk = (uint32_t)(n_tokens / seq->env->chunk_size);
	int status = check_cut(seq, n_tokens);

	if (status != KVF_OK || n_tokens == seq->n_tokens)
		return status;
	if (chunk < seq->n_chunks) {
		/* What was the last full chunk is open again, or gone. */
		if (n_tokens % seq->env->chunk_size)
			swap_buffers(seq);
		kvf_mem_free(seq->env->mem, seq->last, kvf_seq_chunk_bytes(seq));
		seq->last = NULL;
		seq->n_chunks = chunk;
	}
	seq->n_tokens = n_tokens;
	seq->resident = (uint32_t)kvf_min_u64(seq->resident, seq->n_chunks);
	seq->tail_n = 0;
	kvf_seq_wire_cut(seq);
	kvf_seq_extras_clip(seq, n_tokens);
	kvf_seq_extras_prune(seq);
	return KVF_OK;
}

const uint8_t *kvf_seq_tail_key(struct kvf_seq *seq)
{
	uint32_t size = seq->env->chunk_size;
	uint32_t have = kvf_seq_open_tokens(seq);

	if (seq->tail_n != have) {
		kvf_key_chunk(seq->tail_key, parent_of(seq, seq->n_chunks), seq->tail, have, size,
			(uint64_t)seq->n_chunks * size, seq->extras, seq->n_extras);
		seq->tail_n = have;
	}
	return seq->tail_key;
}
