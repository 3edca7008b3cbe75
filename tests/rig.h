/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small host for tests: one engine, one sequence at a time, a paged KV cache in host memory whose content is a
 * function of (sequence number, layer, plane, token), and calls that submit one operation and poll until it is done.
 */
#ifndef KVF_TESTS_RIG_H
#define KVF_TESTS_RIG_H

#include <stdbool.h>

#include "kvferry/kvf_device.h"
#include "kvferry/kvf_tier.h"
#include "kvferry/kvferry.h"

#define RIG_CHUNK 64u
#define RIG_LAYERS 3u
#define RIG_BLOCK 16u
#define RIG_HIDDEN 32u /* bytes of one token in one layer and plane */
#define RIG_MAX_TOKENS 4096u

struct rig_options {
	uint32_t slots;
	bool unfull;
	bool staging; /* local_cpu: false */
	const struct kvf_custom_tier *tiers;
	uint32_t n_tiers;
	const struct kvf_allocator *allocator;
	const struct kvf_clock *clock;
	const char *extra_key, *extra_value;
	const char *const *settings; /* more of them: key, value, ..., NULL */
	const struct kvf_log_sink *log;
	uint32_t flags;
	const struct kvf_device_ops *device;
	void *device_self;
};

struct rig {
	struct kvf_engine *engine;
	struct kvf_seq *seq;
	struct kvf_layer layers[RIG_LAYERS];
	struct kvf_group group;
	struct kvf_layout layout;
	uint8_t *kv;
	size_t kv_bytes;
	uint32_t ids[RIG_MAX_TOKENS / RIG_BLOCK];
	struct kvf_block_list list;
	struct kvf_blocks blocks;
	uint64_t content; /* number of the sequence: its content */
	unsigned source_free, progress;
	char text[4096];
	struct kvf_report report;
};

int rig_try_open(struct rig *r, const struct rig_options *options);
void rig_open(struct rig *r, const struct rig_options *options);
void rig_close(struct rig *r);
/* The same outside a test: no checks. */
void rig_free(struct rig *r);
/* A new sequence of n tokens; the same number gives the same tokens. */
void rig_tokens(struct rig *r, uint64_t number, uint32_t n);
void rig_token_values(uint64_t number, uint32_t *tokens, uint32_t n);
/* Fills the blocks of tokens [0, n) with the sequence's content. */
void rig_compute(struct rig *r, uint32_t n);
void rig_wipe(struct rig *r);
/* Bytes of tokens [first, first + n) that are not what rig_compute() puts there. */
uint64_t rig_mismatches(struct rig *r, uint32_t first, uint32_t n);
/* Bytes of tokens [first, end) that are not what rig_wipe() left. */
uint64_t rig_written(struct rig *r, uint32_t first, uint32_t end);
struct kvf_completion rig_run(struct rig *r, const struct kvf_op *op);
uint64_t rig_submit(struct rig *r, const struct kvf_op *op);
struct kvf_completion rig_await(struct rig *r, uint64_t op_id);
struct kvf_completion rig_store(struct rig *r, uint32_t first, uint32_t n, uint32_t flags);
struct kvf_completion rig_retrieve(struct rig *r, uint32_t first, uint32_t n, uint32_t flags);
struct kvf_completion rig_lookup(struct rig *r, uint32_t computed, uint64_t lease_ns);
struct kvf_completion rig_pin(struct rig *r, uint32_t first, uint32_t n, uint64_t lease_ns);
struct kvf_completion rig_unpin(struct rig *r, uint64_t lease, size_t first, size_t n);
struct kvf_completion rig_prefetch(struct rig *r, uint32_t first, uint32_t n, uint64_t lease_ns);
struct kvf_completion rig_demote(struct rig *r, uint32_t first, uint32_t n);
struct kvf_completion rig_remove(struct rig *r, uint32_t first, uint32_t n, uint32_t tiers);
struct kvf_completion rig_clear(struct rig *r, uint32_t tiers);
struct kvf_completion rig_flush(struct rig *r);
/* Fills op for a store or retrieve of [first, first + n) with KVF_FENCE_NOW. */
void rig_prep(struct rig *r, struct kvf_op *op, enum kvf_op_code code, uint32_t first, uint32_t n);
void rig_wait_fence(struct rig *r, uint64_t op_id);
struct kvf_stats rig_stats(struct rig *r);

#endif
