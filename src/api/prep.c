/* SPDX-License-Identifier: Apache-2.0 */
/* kvf_prep_*(): fill a struct kvf_op. No checks: kvf_submit() makes them, where it can say what is wrong. */
#include <string.h>

#include "kvferry/kvferry.h"

static void prep(struct kvf_op *op, enum kvf_op_code code, struct kvf_seq *seq)
{
	memset(op, 0, sizeof(*op));
	op->code = (uint8_t)code;
	op->seq = seq;
}

static void prep_range(struct kvf_op *op, enum kvf_op_code code, struct kvf_seq *seq, size_t first, size_t n)
{
	prep(op, code, seq);
	op->first_token = first;
	op->n_tokens = n;
}

static void prep_span(struct kvf_op *op, enum kvf_op_code code, struct kvf_seq *seq, const struct kvf_span *span,
		      const struct kvf_fence_in *fence)
{
	prep_range(op, code, seq, span->first_token, span->n);
	op->blocks = span->blocks;
	if (fence)
		op->fence = *fence;
}

void kvf_prep_lookup(struct kvf_op *op, struct kvf_seq *seq, size_t computed_tokens, uint32_t tiers, uint64_t lease_ns)
{
	prep(op, KVF_OP_LOOKUP, seq);
	op->computed_tokens = computed_tokens;
	op->tiers = tiers;
	op->lease_ns = lease_ns;
}

void kvf_prep_store(struct kvf_op *op, struct kvf_seq *seq, const struct kvf_span *span,
		    const struct kvf_fence_in *ready)
{
	prep_span(op, KVF_OP_STORE, seq, span, ready);
	op->level = KVF_LEVEL_INDEXED;
}

void kvf_prep_retrieve(struct kvf_op *op, struct kvf_seq *seq, const struct kvf_span *span,
		       const struct kvf_fence_in *writable)
{
	prep_span(op, KVF_OP_RETRIEVE, seq, span, writable);
}

void kvf_prep_prefetch(struct kvf_op *op, struct kvf_seq *seq, size_t first_token, size_t n, uint64_t lease_ns)
{
	prep_range(op, KVF_OP_PREFETCH, seq, first_token, n);
	op->lease_ns = lease_ns;
}

void kvf_prep_pin(struct kvf_op *op, struct kvf_seq *seq, size_t first_token, size_t n, uint64_t lease_ns)
{
	prep_range(op, KVF_OP_PIN, seq, first_token, n);
	op->lease_ns = lease_ns;
}

void kvf_prep_unpin(struct kvf_op *op, uint64_t lease_id, size_t first_token, size_t n)
{
	prep_range(op, KVF_OP_UNPIN, NULL, first_token, n);
	op->lease_id = lease_id;
}

void kvf_prep_demote(struct kvf_op *op, struct kvf_seq *seq, size_t first_token, size_t n)
{
	prep_range(op, KVF_OP_DEMOTE, seq, first_token, n);
}

void kvf_prep_remove(struct kvf_op *op, struct kvf_seq *seq, size_t first_token, size_t n, uint32_t tiers)
{
	prep_range(op, KVF_OP_REMOVE, seq, first_token, n);
	op->tiers = tiers;
}

void kvf_prep_clear(struct kvf_op *op, uint32_t tiers)
{
	prep(op, KVF_OP_CLEAR, NULL);
	op->tiers = tiers;
}

void kvf_prep_flush(struct kvf_op *op)
{
	prep(op, KVF_OP_FLUSH, NULL);
}
