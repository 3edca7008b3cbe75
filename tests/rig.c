/* SPDX-License-Identifier: Apache-2.0 */
/* A small host for tests: see rig.h. */
#include "tests/rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"

#define WIPED 0xEE
#define MAX_POLLS 2000000u

static uint64_t mix(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x7fb5d329728ea185ull;
	x ^= x >> 27;
	x *= 0x81dadef4bc2dd44dull;
	return x ^ x >> 33;
}

static uint8_t *row(struct rig *r, uint32_t layer, uint32_t plane, uint32_t token)
{
	return (uint8_t *)r->layers[layer].base[plane] + r->ids[token / RIG_BLOCK] * r->group.block_stride +
	       token % RIG_BLOCK * r->group.token_stride;
}

static void content(const struct rig *r, uint32_t layer, uint32_t plane, uint32_t token, uint8_t out[RIG_HIDDEN])
{
	for (uint32_t i = 0; i < RIG_HIDDEN; i += 8) {
		uint64_t v = mix(r->content * 1000003u + mix(layer * 2u + plane) + mix(token + 77u) * 31u + i);

		memcpy(out + i, &v, 8);
	}
}

static void build_layout(struct rig *r)
{
	uint32_t n_blocks = RIG_MAX_TOKENS / RIG_BLOCK;
	size_t plane_bytes = (size_t)RIG_MAX_TOKENS * RIG_HIDDEN;

	r->kv_bytes = plane_bytes * 2 * RIG_LAYERS;
	r->kv = malloc(r->kv_bytes);
	for (uint32_t l = 0; l < RIG_LAYERS; l++) {
		r->layers[l].base[0] = r->kv + (size_t)l * 2 * plane_bytes;
		r->layers[l].base[1] = r->kv + ((size_t)l * 2 + 1) * plane_bytes;
		r->layers[l].device = -1;
	}
	/* Block ids in a scrambled order. */
	for (uint32_t b = 0; b < n_blocks; b++)
		r->ids[b] = (b * 37u + 11u) % n_blocks;
	r->group = (struct kvf_group){ .size = sizeof(r->group),
				       .n_layers = RIG_LAYERS,
				       .planes = 2,
				       .heads = 2,
				       .head_elems = RIG_HIDDEN / 4,
				       .dtype = KVF_BFLOAT16,
				       .block_tokens = RIG_BLOCK,
				       .n_blocks = n_blocks,
				       .block_stride = RIG_BLOCK * RIG_HIDDEN,
				       .token_stride = RIG_HIDDEN,
				       .head_stride = RIG_HIDDEN / 2,
				       .layers = r->layers };
	r->layout = (struct kvf_layout){ .size = sizeof(r->layout), .n_groups = 1, .groups = &r->group };
	r->list = (struct kvf_block_list){ r->ids, n_blocks, 0 };
	r->blocks = (struct kvf_blocks){ 1, &r->list };
}

static int set_more(struct kvf_config *config, const char *const *settings, struct kvf_report *report)
{
	for (; settings && *settings; settings += 2) {
		int rc = kvf_config_set(config, settings[0], settings[1], report);

		if (rc)
			return rc;
	}
	return KVF_OK;
}

static struct kvf_config *configure(struct rig *r, const struct rig_options *o)
{
	struct kvf_config *config = NULL;
	char text[32];

	if (kvf_config_create(&config, o->allocator))
		return NULL;
	snprintf(text, sizeof(text), "%u", o->slots);
	if (kvf_config_set(config, "chunk_size", "64", &r->report) ||
	    kvf_config_set(config, "kvf_pool_slots", text, &r->report) ||
	    kvf_config_set(config, "save_unfull_chunk", o->unfull ? "true" : "false", &r->report) ||
	    kvf_config_set(config, "local_cpu", o->staging ? "false" : "true", &r->report) ||
	    (o->extra_key && kvf_config_set(config, o->extra_key, o->extra_value, &r->report)) ||
	    set_more(config, o->settings, &r->report)) {
		kvf_config_destroy(config);
		return NULL;
	}
	return config;
}

int rig_try_open(struct rig *r, const struct rig_options *o)
{
	struct kvf_open_params p;
	int rc;

	memset(r, 0, sizeof(*r));
	kvf_report_init(&r->report, r->text, sizeof(r->text));
	build_layout(r);
	kvf_open_params_init(&p);
	p.config = configure(r, o);
	p.layout = &r->layout;
	p.identity.model = "rig";
	p.tiers = o->tiers;
	p.n_tiers = o->n_tiers;
	p.allocator = o->allocator;
	p.clock = o->clock;
	p.flags = o->flags;
	p.device = o->device;
	p.device_self = o->device_self;
	p.log = o->log;
	p.report = &r->report;
	rc = p.config ? kvf_engine_open(&r->engine, &p) : KVF_ENOMEM;
	kvf_config_destroy((struct kvf_config *)(uintptr_t)p.config);
	if (rc) {
		free(r->kv);
		r->kv = NULL;
	}
	return rc;
}

void rig_open(struct rig *r, const struct rig_options *o)
{
	int rc = rig_try_open(r, o);

	if (rc)
		fprintf(stderr, "rig: %s\n%s", kvf_strerror(rc), r->text);
	CU_ASSERT_EQUAL_FATAL(rc, KVF_OK);
}

void rig_close(struct rig *r)
{
	struct kvf_completion c[8];
	int rc;

	kvf_seq_close(r->seq);
	CU_ASSERT_EQUAL(kvf_verify(r->engine), KVF_OK);
	if (kvf_error_detail(r->engine)[0] && kvf_verify(r->engine))
		fprintf(stderr, "rig: %s\n", kvf_error_detail(r->engine));
	CU_ASSERT_EQUAL(kvf_engine_shutdown(r->engine, KVF_SHUTDOWN_DRAIN, KVF_NO_DEADLINE), KVF_OK);
	for (unsigned i = 0; i < MAX_POLLS && !kvf_engine_idle(r->engine); i++)
		kvf_poll(r->engine, c, 8);
	rc = kvf_engine_close(r->engine);
	if (rc)
		fprintf(stderr, "rig: close: %s: %s\n", kvf_strerror(rc), kvf_error_detail(r->engine));
	CU_ASSERT_EQUAL(rc, KVF_OK);
	free(r->kv);
}

void rig_token_values(uint64_t number, uint32_t *tokens, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		tokens[i] = (uint32_t)mix(number * 7919u + i);
}

void rig_free(struct rig *r)
{
	kvf_seq_close(r->seq);
	kvf_engine_close(r->engine);
	free(r->kv);
}

void rig_tokens(struct rig *r, uint64_t number, uint32_t n)
{
	uint32_t *tokens = malloc((n + 1) * sizeof(*tokens));

	rig_token_values(number, tokens, n);
	kvf_seq_close(r->seq);
	r->seq = NULL;
	CU_ASSERT_EQUAL_FATAL(kvf_seq_open(r->engine, NULL, &r->seq), KVF_OK);
	CU_ASSERT_EQUAL_FATAL(kvf_seq_append(r->seq, tokens, n), KVF_OK);
	r->content = number;
	free(tokens);
}

void rig_compute(struct rig *r, uint32_t n)
{
	for (uint32_t l = 0; l < RIG_LAYERS; l++)
		for (uint32_t p = 0; p < 2; p++)
			for (uint32_t t = 0; t < n; t++)
				content(r, l, p, t, row(r, l, p, t));
}

void rig_wipe(struct rig *r)
{
	memset(r->kv, WIPED, r->kv_bytes);
}

uint64_t rig_mismatches(struct rig *r, uint32_t first, uint32_t n)
{
	uint8_t want[RIG_HIDDEN];
	uint64_t bad = 0;

	for (uint32_t l = 0; l < RIG_LAYERS; l++) {
		for (uint32_t p = 0; p < 2; p++) {
			for (uint32_t t = first; t < first + n; t++) {
				content(r, l, p, t, want);
				for (uint32_t i = 0; i < RIG_HIDDEN; i++)
					bad += want[i] != row(r, l, p, t)[i];
			}
		}
	}
	return bad;
}

uint64_t rig_written(struct rig *r, uint32_t first, uint32_t end)
{
	uint64_t n = 0;

	for (uint32_t l = 0; l < RIG_LAYERS; l++)
		for (uint32_t p = 0; p < 2; p++)
			for (uint32_t t = first; t < end; t++)
				for (uint32_t i = 0; i < RIG_HIDDEN; i++)
					n += row(r, l, p, t)[i] != WIPED;
	return n;
}

struct kvf_completion rig_await(struct rig *r, uint64_t op_id)
{
	struct kvf_completion c;

	for (unsigned i = 0; i < MAX_POLLS; i++) {
		int n = kvf_poll(r->engine, &c, 1);

		CU_ASSERT_FATAL(n >= 0);
		if (!n)
			continue;
		if (c.kind == KVF_DONE && c.op_id == op_id)
			return c;
		r->source_free += c.kind == KVF_SOURCE_FREE;
		r->progress += c.kind == KVF_PROGRESS;
	}
	CU_FAIL_FATAL("the operation did not end");
	memset(&c, 0, sizeof(c));
	return c;
}

uint64_t rig_submit(struct rig *r, const struct kvf_op *op)
{
	uint64_t id = 0;
	int rc = kvf_submit(r->engine, op, 1, &id);

	if (rc != 1)
		fprintf(stderr, "rig: submit: %s: %s\n", kvf_strerror(rc), kvf_error_detail(r->engine));
	CU_ASSERT_EQUAL_FATAL(rc, 1);
	return id;
}

struct kvf_completion rig_run(struct rig *r, const struct kvf_op *op)
{
	return rig_await(r, rig_submit(r, op));
}

void rig_prep(struct rig *r, struct kvf_op *op, enum kvf_op_code code, uint32_t first, uint32_t n)
{
	struct kvf_span span = { first, n, &r->blocks };
	struct kvf_fence_in now = { .kind = KVF_FENCE_NOW };

	if (code == KVF_OP_STORE)
		kvf_prep_store(op, r->seq, &span, &now);
	else
		kvf_prep_retrieve(op, r->seq, &span, &now);
}

struct kvf_completion rig_store(struct rig *r, uint32_t first, uint32_t n, uint32_t flags)
{
	struct kvf_fence_in now = { .kind = KVF_FENCE_NOW };
	struct kvf_completion c;
	struct kvf_op op;
	uint64_t id;

	rig_prep(r, &op, KVF_OP_STORE, first, n);
	op.flags = flags;
	if (!(flags & KVF_OP_LAYERWISE))
		return rig_run(r, &op);
	op.fence.kind = KVF_FENCE_LATER;
	id = rig_submit(r, &op);
	for (uint32_t l = RIG_LAYERS; l-- > 0;) {
		kvf_poll(r->engine, &c, 0);
		CU_ASSERT_EQUAL(kvf_store_layer(r->engine, id, l, &now), KVF_OK);
	}
	return rig_await(r, id);
}

struct kvf_completion rig_retrieve(struct rig *r, uint32_t first, uint32_t n, uint32_t flags)
{
	struct kvf_op op;

	rig_prep(r, &op, KVF_OP_RETRIEVE, first, n);
	op.flags = flags;
	return rig_run(r, &op);
}

struct kvf_completion rig_lookup(struct rig *r, uint32_t computed, uint64_t lease_ns)
{
	struct kvf_op op;

	kvf_prep_lookup(&op, r->seq, computed, 0, lease_ns);
	return rig_run(r, &op);
}

struct kvf_completion rig_pin(struct rig *r, uint32_t first, uint32_t n, uint64_t lease_ns)
{
	struct kvf_op op;

	kvf_prep_pin(&op, r->seq, first, n, lease_ns);
	return rig_run(r, &op);
}

struct kvf_completion rig_unpin(struct rig *r, uint64_t lease, size_t first, size_t n)
{
	struct kvf_op op;

	kvf_prep_unpin(&op, lease, first, n);
	return rig_run(r, &op);
}

struct kvf_completion rig_prefetch(struct rig *r, uint32_t first, uint32_t n, uint64_t lease_ns)
{
	struct kvf_op op;

	kvf_prep_prefetch(&op, r->seq, first, n, lease_ns);
	return rig_run(r, &op);
}

struct kvf_completion rig_demote(struct rig *r, uint32_t first, uint32_t n)
{
	struct kvf_op op;

	kvf_prep_demote(&op, r->seq, first, n);
	return rig_run(r, &op);
}

struct kvf_completion rig_remove(struct rig *r, uint32_t first, uint32_t n, uint32_t tiers)
{
	struct kvf_op op;

	kvf_prep_remove(&op, r->seq, first, n, tiers);
	return rig_run(r, &op);
}

struct kvf_completion rig_clear(struct rig *r, uint32_t tiers)
{
	struct kvf_op op;

	kvf_prep_clear(&op, tiers);
	return rig_run(r, &op);
}

struct kvf_completion rig_flush(struct rig *r)
{
	struct kvf_op op;

	kvf_prep_flush(&op);
	return rig_run(r, &op);
}

void rig_wait_fence(struct rig *r, uint64_t op_id)
{
	struct kvf_fence_out out;
	struct kvf_completion c;

	CU_ASSERT_EQUAL_FATAL(kvf_layer_fence(r->engine, op_id, RIG_LAYERS - 1, &out), KVF_OK);
	for (unsigned i = 0; i < MAX_POLLS; i++) {
		if (out.kind == KVF_FENCE_NOW || *out.word >= out.value)
			break;
		kvf_poll(r->engine, &c, 0);
	}
	CU_ASSERT_EQUAL(kvf_fence_release(r->engine, op_id), KVF_OK);
}

struct kvf_stats rig_stats(struct rig *r)
{
	struct kvf_stats s = { .size = sizeof(s) };

	CU_ASSERT_EQUAL(kvf_get_stats(r->engine, &s), KVF_OK);
	return s;
}
