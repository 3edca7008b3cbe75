/* SPDX-License-Identifier: Apache-2.0 */
/* The engine over its public interface: store, retrieve, lookup and their friends on the host device, RAM tier alone.
 */
#include "tests/harness.h"
#include "tests/support/tier_rig.h"

#include <string.h>

static void test_store_then_retrieve(void)
{
	struct rig r;
	struct kvf_completion c;
	uint32_t n = 1000;

	rig_open(&r, &(struct rig_options){ .slots = 16 });
	rig_tokens(&r, 1, n);
	rig_compute(&r, n);
	c = rig_store(&r, 0, n, 0);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_PARTIAL);
	CU_ASSERT_EQUAL(c.tokens, n / RIG_CHUNK * RIG_CHUNK);
	CU_ASSERT_EQUAL(c.level, KVF_LEVEL_INDEXED);
	CU_ASSERT_EQUAL(kvf_seq_resident(r.seq), n / RIG_CHUNK * RIG_CHUNK);
	rig_wipe(&r);
	c = rig_retrieve(&r, 0, n, 0);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_MISS);
	CU_ASSERT_EQUAL(c.tokens, n / RIG_CHUNK * RIG_CHUNK);
	CU_ASSERT_EQUAL(c.ram_tokens, c.tokens);
	CU_ASSERT_EQUAL(rig_mismatches(&r, 0, c.tokens), 0);
	CU_ASSERT_EQUAL(rig_written(&r, c.tokens, n), 0);
	rig_close(&r);
}

static void test_lookup(void)
{
	struct rig r;
	struct kvf_completion c;

	rig_open(&r, &(struct rig_options){ .slots = 16 });
	tier_rig_store(&r, 1, 4);
	c = rig_lookup(&r, 10, 0);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(c.tokens, 4 * RIG_CHUNK);
	CU_ASSERT_EQUAL(c.usable, 4 * RIG_CHUNK - 1);
	CU_ASSERT_EQUAL(c.need, 4 * RIG_CHUNK - 11);
	CU_ASSERT_EQUAL(c.lease_id, 0);
	c = rig_lookup(&r, 0, 1000000000);
	CU_ASSERT_NOT_EQUAL(c.lease_id, 0);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 4);
	rig_unpin(&r, c.lease_id, 2 * RIG_CHUNK, SIZE_MAX);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 2);
	CU_ASSERT_EQUAL(rig_unpin(&r, c.lease_id, 0, SIZE_MAX).status, KVF_OK);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 0);
	CU_ASSERT_EQUAL(rig_unpin(&r, c.lease_id, 0, SIZE_MAX).status, KVF_ENOENT);
	rig_close(&r);
}

/* A pin and a demote in the middle of a sequence concern the chunks of their span, and no others. */
static void test_spans_in_the_middle(void)
{
	struct kvf_completion c;
	struct rig r;

	rig_open(&r, &(struct rig_options){ .slots = 16 });
	tier_rig_store(&r, 1, 6);
	c = rig_pin(&r, 2 * RIG_CHUNK, 3 * RIG_CHUNK, 1000000000);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_NONE);
	CU_ASSERT_EQUAL(c.tokens, 3 * RIG_CHUNK);
	CU_ASSERT_NOT_EQUAL(c.lease_id, 0);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 3);
	/* A trim that covers half a chunk leaves it. */
	CU_ASSERT_EQUAL(rig_unpin(&r, c.lease_id, 2 * RIG_CHUNK, RIG_CHUNK + RIG_CHUNK / 2).tokens, RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_leased, 2);
	CU_ASSERT_EQUAL(rig_unpin(&r, c.lease_id, 0, SIZE_MAX).tokens, 2 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_demote(&r, 4 * RIG_CHUNK, RIG_CHUNK).tokens, RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_remove(&r, 5 * RIG_CHUNK, RIG_CHUNK, 0).tokens, RIG_CHUNK);
	CU_ASSERT_EQUAL(kvf_seq_resident(r.seq), 5 * RIG_CHUNK);
	rig_remove(&r, 0, RIG_CHUNK, 0);
	/* From the second chunk on it is all there. */
	c = rig_retrieve(&r, RIG_CHUNK, 4 * RIG_CHUNK, 0);
	CU_ASSERT_EQUAL(c.tokens, 4 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_retrieve(&r, 0, 5 * RIG_CHUNK, 0).tokens, 0);
	rig_close(&r);
}

/* A pool of 8 slots caches 8 chunks, and evicts the suffix first. */
static void test_eviction_suffix_first(void)
{
	struct rig r;

	rig_open(&r, &(struct rig_options){ .slots = 8 });
	tier_rig_store(&r, 1, 6);
	CU_ASSERT_EQUAL(kvf_seq_resident(r.seq), 6 * RIG_CHUNK);
	tier_rig_store(&r, 2, 4);
	CU_ASSERT_EQUAL(kvf_seq_resident(r.seq), 4 * RIG_CHUNK);
	rig_tokens(&r, 1, 6 * RIG_CHUNK);
	CU_ASSERT_EQUAL(kvf_seq_resident(r.seq), 4 * RIG_CHUNK);
	rig_close(&r);
}

static void test_partial_chunk(void)
{
	struct rig r;
	struct kvf_completion c;

	rig_open(&r, &(struct rig_options){ .slots = 16, .unfull = true });
	rig_tokens(&r, 1, 2 * RIG_CHUNK + 7);
	rig_compute(&r, 2 * RIG_CHUNK + 7);
	c = rig_store(&r, 0, 2 * RIG_CHUNK + 7, KVF_OP_SOURCE_FREE);
	CU_ASSERT_EQUAL(c.tokens, 2 * RIG_CHUNK + 7);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_NONE);
	CU_ASSERT_EQUAL(r.source_free, 1);
	rig_wipe(&r);
	c = rig_retrieve(&r, 5, 2 * RIG_CHUNK + 1, 0);
	CU_ASSERT_EQUAL(c.tokens, 2 * RIG_CHUNK + 1);
	CU_ASSERT_EQUAL(rig_mismatches(&r, 5, 2 * RIG_CHUNK + 1), 0);
	CU_ASSERT_EQUAL(rig_written(&r, 0, 5), 0);
	CU_ASSERT_EQUAL(rig_written(&r, 2 * RIG_CHUNK + 6, 2 * RIG_CHUNK + 7), 0);
	rig_close(&r);
}

static void test_remove_and_demote(void)
{
	struct rig r;

	rig_open(&r, &(struct rig_options){ .slots = 16 });
	tier_rig_store(&r, 1, 4);
	CU_ASSERT_EQUAL(rig_demote(&r, 0, 4 * RIG_CHUNK).tokens, 4 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_remove(&r, RIG_CHUNK, 2 * RIG_CHUNK, 0).tokens, 2 * RIG_CHUNK);
	CU_ASSERT_EQUAL(kvf_seq_resident(r.seq), RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_flush(&r).status, KVF_OK);
	rig_close(&r);
}

/* A host with keys of its own may name one chunk twice. */
static void test_remove_twice_named(void)
{
	static const uint8_t keys[4][KVF_KEY_BYTES] = { { 1 }, { 2 }, { 1 }, { 3 } };
	struct rig r;

	rig_open(&r, &(struct rig_options){ .slots = 16 });
	kvf_seq_close(r.seq);
	r.seq = NULL;
	CU_ASSERT_EQUAL_FATAL(kvf_seq_open(r.engine, NULL, &r.seq), KVF_OK);
	CU_ASSERT_EQUAL(kvf_seq_append_keys(r.seq, keys, 4), KVF_OK);
	CU_ASSERT_EQUAL(rig_store(&r, 0, 4 * RIG_CHUNK, 0).tokens, 4 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_resident, 3);
	CU_ASSERT_EQUAL(rig_remove(&r, 0, 4 * RIG_CHUNK, 0).tokens, 3 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_stats(&r).slots_resident, 0);
	CU_ASSERT_EQUAL(kvf_seq_resident(r.seq), 0);
	CU_ASSERT_EQUAL(rig_store(&r, 0, 4 * RIG_CHUNK, 0).tokens, 4 * RIG_CHUNK);
	CU_ASSERT_EQUAL(kvf_verify(r.engine), KVF_OK);
	rig_close(&r);
}

static void test_layerwise_retrieve(void)
{
	struct rig r;
	struct kvf_completion c;

	rig_open(&r, &(struct rig_options){ .slots = 16 });
	tier_rig_store(&r, 1, 4);
	rig_wipe(&r);
	c = rig_retrieve(&r, 0, 4 * RIG_CHUNK, KVF_OP_LAYERWISE | KVF_OP_PROGRESS);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(c.layers, RIG_LAYERS);
	CU_ASSERT_EQUAL(c.flags, 0);
	CU_ASSERT_EQUAL(rig_mismatches(&r, 0, c.tokens), 0);
	rig_wipe(&r);
	c = rig_retrieve(&r, 0, 4 * RIG_CHUNK, KVF_OP_STREAM_ORDERED);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(c.tokens, 4 * RIG_CHUNK);
	rig_wait_fence(&r, c.op_id);
	CU_ASSERT_EQUAL(rig_mismatches(&r, 0, c.tokens), 0);
	rig_close(&r);
}

static void test_layerwise_store(void)
{
	struct rig r;
	struct kvf_completion c;

	rig_open(&r, &(struct rig_options){ .slots = 32 });
	rig_tokens(&r, 1, 4 * RIG_CHUNK);
	rig_compute(&r, 4 * RIG_CHUNK);
	c = rig_store(&r, 0, 4 * RIG_CHUNK, KVF_OP_LAYERWISE | KVF_OP_SOURCE_FREE);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(c.tokens, 4 * RIG_CHUNK);
	rig_wipe(&r);
	c = rig_retrieve(&r, 0, 4 * RIG_CHUNK, 0);
	CU_ASSERT_EQUAL(c.tokens, 4 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_mismatches(&r, 0, c.tokens), 0);
	rig_close(&r);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "store_then_retrieve", test_store_then_retrieve },
		{ "lookup", test_lookup },
		{ "spans_in_the_middle", test_spans_in_the_middle },
		{ "eviction_suffix_first", test_eviction_suffix_first },
		{ "partial_chunk", test_partial_chunk },
		{ "remove_and_demote", test_remove_and_demote },
		{ "remove_twice_named", test_remove_twice_named },
		{ "layerwise_retrieve", test_layerwise_retrieve },
		{ "layerwise_store", test_layerwise_store },
	};

	return kvf_test_main("engine", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
