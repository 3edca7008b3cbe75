/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layer by layer, and ordered by the stream: which fence is there when, what lies in the blocks when it is done, and
 * when a store takes its slots. The device lets copies go one layer at a time.
 */
#include "tests/harness.h"
#include "tests/sim/simmem.h"
#include "tests/support/dev_rig.h"

#include <stdlib.h>
#include <string.h>

#define CHUNKS 4u
#define TOKENS (CHUNKS * RIG_CHUNK)

/* ---- words of the scripts ---- */

static uint8_t *want; /* the host's KV memory as the operation shall leave it */
static struct simmem mem;

/* Sequence 1 is in RAM, the blocks are wiped, and the device keeps what comes. */
static void begin(struct rig *r, struct simdev *d, struct rig_options o)
{
	simmem_init(&mem, 1);
	o.allocator = &mem.allocator;
	rig_open(r, &o);
	rig_wipe(r);
	tier_rig_store(r, 1, CHUNKS);
	want = malloc(r->kv_bytes);
	memcpy(want, r->kv, r->kv_bytes);
	rig_wipe(r);
	dev_rig_hold(d);
}

static void end(struct rig *r, struct simdev *d)
{
	dev_rig_go(d);
	rig_close(r);
	CU_ASSERT_EQUAL(d->n_fences, 0);
	CU_ASSERT_EQUAL(mem.live_blocks, 0);
	CU_ASSERT_EQUAL(mem.wrong_sizes, 0);
	free(want);
}

static bool layer_is_right(const struct rig *r, uint32_t layer)
{
	bool right = true;

	for (int p = 0; p < 2; p++) {
		const uint8_t *base = r->layers[layer].base[p];

		right &= !memcmp(base, want + (base - r->kv), (size_t)RIG_MAX_TOKENS * RIG_HIDDEN);
	}
	return right;
}

static uint64_t submit_retrieve(struct rig *r, uint32_t flags)
{
	struct kvf_op op;

	rig_prep(r, &op, KVF_OP_RETRIEVE, 0, TOKENS);
	op.flags = flags;
	return rig_submit(r, &op);
}

/* Turns without completions. */
static void turns(struct rig *r)
{
	tier_rig_poll(r, 4);
}

/* The copies that the device holds end; what they make possible is held again. */
static void let_go(struct rig *r, struct simdev *d)
{
	dev_rig_go(d);
	dev_rig_hold(d);
	turns(r);
}

/* Layers whose fence is there: always the first ones. */
static uint32_t n_issued(struct rig *r, uint64_t id)
{
	struct kvf_fence_out out;
	uint32_t n = 0;

	while (n < RIG_LAYERS && kvf_layer_fence(r->engine, id, n, &out) == KVF_OK)
		n++;
	for (uint32_t l = n; l < RIG_LAYERS; l++)
		CU_ASSERT_EQUAL(kvf_layer_fence(r->engine, id, l, &out), KVF_EAGAIN);
	return n;
}

static bool is_done(struct rig *r, uint64_t id, uint32_t layer)
{
	struct kvf_fence_out out;

	CU_ASSERT_EQUAL_FATAL(kvf_layer_fence(r->engine, id, layer, &out), KVF_OK);
	return out.kind == KVF_FENCE_NOW || *out.word >= out.value;
}

/* What was posted, in order. */
static unsigned reap(struct rig *r, struct kvf_completion *c, unsigned max)
{
	int n = kvf_poll(r->engine, c, max);

	CU_ASSERT_FATAL(n >= 0);
	return (unsigned)n;
}

/* ---- retrieves ---- */

/* A layer's fence is there when all its copies are with the device, and done when the bytes are in the blocks. */
static void test_layer_by_layer(void)
{
	struct kvf_completion c[8];
	struct simdev d;
	struct rig r;
	uint64_t id;

	begin(&r, &d, dev_rig_options(&d, DEV_RIG_CAPS, (struct rig_options){ .slots = 16 }));
	id = submit_retrieve(&r, KVF_OP_LAYERWISE | KVF_OP_PROGRESS);
	for (uint32_t l = 0; l < RIG_LAYERS; l++) {
		turns(&r);
		CU_ASSERT_EQUAL(n_issued(&r, id), l + 1);
		CU_ASSERT_EQUAL(simdev_copies_of(&d, id, KVF_COPY_SCATTER), CHUNKS);
		CU_ASSERT_FALSE(is_done(&r, id, l));
		for (uint32_t k = 0; k < RIG_LAYERS; k++)
			CU_ASSERT_EQUAL(layer_is_right(&r, k), k < l);
		/* One entry, which says how far it is. */
		CU_ASSERT_EQUAL(reap(&r, c, 8), 1);
		CU_ASSERT_EQUAL(c[0].kind, KVF_PROGRESS);
		CU_ASSERT_EQUAL(c[0].layers, l + 1);
		CU_ASSERT_EQUAL(reap(&r, c, 8), 0);
		let_go(&r, &d);
		CU_ASSERT(l == RIG_LAYERS - 1 || is_done(&r, id, l));
		CU_ASSERT(layer_is_right(&r, l));
	}
	CU_ASSERT_EQUAL(rig_stats(&r).device_copies, CHUNKS + CHUNKS * RIG_LAYERS);
	CU_ASSERT_EQUAL(reap(&r, c, 8), 2);
	CU_ASSERT_EQUAL(c[0].kind, KVF_PROGRESS);
	CU_ASSERT_EQUAL(c[0].tokens, TOKENS);
	CU_ASSERT_EQUAL(c[1].kind, KVF_DONE);
	CU_ASSERT_EQUAL(c[1].tokens, TOKENS);
	CU_ASSERT_EQUAL(c[1].layers, RIG_LAYERS);
	CU_ASSERT_EQUAL(c[1].flags, 0);
	end(&r, &d);
}

/* A device that takes two copies at a time: no fence covers what still waits for a place. */
static void test_narrow_device(void)
{
	struct simdev d;
	struct rig r;
	uint64_t id;

	begin(&r, &d, dev_rig_options(&d, DEV_RIG_CAPS, (struct rig_options){ .slots = 16 }));
	d.max_in_flight = CHUNKS / 2;
	id = submit_retrieve(&r, KVF_OP_LAYERWISE);
	turns(&r);
	CU_ASSERT_EQUAL(n_issued(&r, id), 0);
	let_go(&r, &d);
	CU_ASSERT_EQUAL(n_issued(&r, id), 1);
	CU_ASSERT_FALSE(is_done(&r, id, 0));
	CU_ASSERT_FALSE(layer_is_right(&r, 0));
	/* From now on a layer takes two rounds, and the next one's fence is there when half of the copies are over. */
	for (uint32_t l = 1; l < RIG_LAYERS; l++) {
		let_go(&r, &d);
		CU_ASSERT(is_done(&r, id, l - 1));
		CU_ASSERT(layer_is_right(&r, l - 1));
		CU_ASSERT_EQUAL(n_issued(&r, id), l);
		let_go(&r, &d);
		CU_ASSERT_EQUAL(n_issued(&r, id), l + 1);
		CU_ASSERT_FALSE(is_done(&r, id, l));
	}
	dev_rig_go(&d);
	CU_ASSERT_EQUAL(rig_await(&r, id).layers, RIG_LAYERS);
	CU_ASSERT_EQUAL(rig_mismatches(&r, 0, TOKENS), 0);
	end(&r, &d);
}

static bool fence_fails;
static int (*real_fence)(void *self, enum kvf_copy_direction direction, struct kvf_fence_out *out);

static int moody_fence(void *self, enum kvf_copy_direction direction, struct kvf_fence_out *out)
{
	return fence_fails ? KVF_EIO : real_fence(self, direction, out);
}

static struct rig_options moody_options(struct simdev *d)
{
	struct rig_options o = dev_rig_options(d, DEV_RIG_CAPS, (struct rig_options){ .slots = 16 });

	real_fence = d->ops.fence;
	d->ops.fence = moody_fence;
	fence_fails = true;
	return o;
}

/* The device has no fence to give: it is asked again when the next copies end. */
static void test_no_fence_for_a_layer(void)
{
	struct simdev d;
	struct rig r;
	uint64_t id;

	begin(&r, &d, moody_options(&d));
	id = submit_retrieve(&r, KVF_OP_LAYERWISE);
	turns(&r);
	CU_ASSERT_EQUAL(n_issued(&r, id), 0);
	let_go(&r, &d);
	CU_ASSERT_EQUAL(n_issued(&r, id), 0);
	CU_ASSERT(layer_is_right(&r, 0));
	fence_fails = false;
	let_go(&r, &d);
	CU_ASSERT_EQUAL(n_issued(&r, id), RIG_LAYERS);
	CU_ASSERT_FALSE(is_done(&r, id, RIG_LAYERS - 1));
	end(&r, &d);
	/* And none at all: at the end all layers are there. */
	begin(&r, &d, moody_options(&d));
	id = submit_retrieve(&r, KVF_OP_LAYERWISE);
	turns(&r);
	dev_rig_go(&d);
	tier_rig_poll(&r, 20);
	CU_ASSERT_EQUAL(rig_await(&r, id).layers, RIG_LAYERS);
	end(&r, &d);
}

/* ---- ordered by the stream ---- */

/* It ends when its copies are issued; its fences are there until they are given back. */
static void test_stream_ordered(void)
{
	struct kvf_fence_out out;
	struct kvf_completion c;
	struct simdev d;
	struct rig r;
	uint64_t id;

	begin(&r, &d, dev_rig_options(&d, DEV_RIG_CAPS, (struct rig_options){ .slots = 16 }));
	id = submit_retrieve(&r, KVF_OP_STREAM_ORDERED);
	c = rig_await(&r, id);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_NONE);
	CU_ASSERT_EQUAL(c.tokens, TOKENS);
	CU_ASSERT_EQUAL(c.layers, RIG_LAYERS);
	CU_ASSERT_EQUAL(n_issued(&r, id), RIG_LAYERS);
	CU_ASSERT_FALSE(is_done(&r, id, 0));
	CU_ASSERT_EQUAL(rig_written(&r, 0, TOKENS), 0);
	CU_ASSERT_EQUAL(kvf_cancel(r.engine, id), KVF_ENOENT);
	CU_ASSERT_EQUAL(kvf_engine_idle(r.engine), 0);
	CU_ASSERT_EQUAL(kvf_verify(r.engine), KVF_OK);
	let_go(&r, &d);
	CU_ASSERT(is_done(&r, id, RIG_LAYERS - 1));
	CU_ASSERT_EQUAL(rig_mismatches(&r, 0, TOKENS), 0);
	CU_ASSERT_EQUAL(kvf_fence_release(r.engine, id), KVF_OK);
	turns(&r);
	CU_ASSERT_EQUAL(kvf_layer_fence(r.engine, id, 0, &out), KVF_ENOENT);
	CU_ASSERT_EQUAL(kvf_fence_release(r.engine, id), KVF_ENOENT);
	CU_ASSERT_EQUAL(kvf_engine_idle(r.engine), 1);
	end(&r, &d);
}

/* One that ended with an error has no fence, whatever was issued by then: a host that waits for one does not wait for
 * ever. */
static void test_no_fence_after_an_error(void)
{
	for (int late = 0; late < 2; late++) {
		struct kvf_fence_out out;
		struct kvf_completion c;
		struct simdev d;
		struct rig r;
		uint64_t id;

		begin(&r, &d, dev_rig_options(&d, DEV_RIG_CAPS, (struct rig_options){ .slots = 16 }));
		d.max_in_flight = late ? 0 : CHUNKS / 2;
		id = submit_retrieve(&r, KVF_OP_STREAM_ORDERED | (late ? 0 : KVF_OP_LAYERWISE));
		if (!late)
			turns(&r);
		CU_ASSERT_EQUAL(kvf_cancel(r.engine, id), KVF_OK);
		let_go(&r, &d);
		c = rig_await(&r, id);
		CU_ASSERT_EQUAL(c.status, KVF_ECANCELED);
		for (uint32_t l = 0; l < RIG_LAYERS; l++)
			CU_ASSERT_EQUAL(kvf_layer_fence(r.engine, id, l, &out), KVF_ENOENT);
		CU_ASSERT_EQUAL(kvf_fence_release(r.engine, id), KVF_OK);
		turns(&r);
		CU_ASSERT_EQUAL(kvf_engine_idle(r.engine), 1);
		end(&r, &d);
	}
}

/* Given back while its copies run: the operation stays until they are over. */
static void test_released_early(void)
{
	struct simdev d;
	struct rig r;
	uint64_t id;

	begin(&r, &d, dev_rig_options(&d, DEV_RIG_CAPS, (struct rig_options){ .slots = 16 }));
	id = submit_retrieve(&r, KVF_OP_STREAM_ORDERED);
	CU_ASSERT_EQUAL(rig_await(&r, id).tokens, TOKENS);
	CU_ASSERT_EQUAL(kvf_fence_release(r.engine, id), KVF_OK);
	turns(&r);
	CU_ASSERT_EQUAL(kvf_verify(r.engine), KVF_OK);
	CU_ASSERT_EQUAL(kvf_engine_idle(r.engine), 0);
	let_go(&r, &d);
	CU_ASSERT_EQUAL(rig_mismatches(&r, 0, TOKENS), 0);
	CU_ASSERT_EQUAL(kvf_engine_idle(r.engine), 1);
	end(&r, &d);
}

/* Not before the device has all of it, layers included. */
static void test_ends_when_issued(void)
{
	static const uint32_t flags[] = { KVF_OP_STREAM_ORDERED, KVF_OP_STREAM_ORDERED | KVF_OP_LAYERWISE };

	for (unsigned i = 0; i < KVF_ARRAY_LEN(flags); i++) {
		/* Copies behind the first half; layer by layer: all but those of the last layer, and half of these. */
		unsigned rounds = i ? 2 * RIG_LAYERS - 1 : 1;
		struct kvf_completion c;
		struct simdev d;
		struct rig r;
		uint64_t id;

		begin(&r, &d, dev_rig_options(&d, DEV_RIG_CAPS, (struct rig_options){ .slots = 16 }));
		d.max_in_flight = CHUNKS / 2;
		id = submit_retrieve(&r, flags[i]);
		turns(&r);
		for (unsigned k = 0; k < rounds; k++) {
			CU_ASSERT_EQUAL(reap(&r, &c, 1), 0);
			let_go(&r, &d);
		}
		CU_ASSERT_EQUAL(simdev_copies_of(&d, id, KVF_COPY_SCATTER), CHUNKS / 2);
		CU_ASSERT_EQUAL(reap(&r, &c, 1), 1);
		CU_ASSERT_EQUAL(c.kind, KVF_DONE);
		CU_ASSERT_EQUAL(c.tokens, TOKENS);
		CU_ASSERT_FALSE(is_done(&r, id, RIG_LAYERS - 1));
		let_go(&r, &d);
		CU_ASSERT(is_done(&r, id, RIG_LAYERS - 1));
		CU_ASSERT_EQUAL(rig_mismatches(&r, 0, TOKENS), 0);
		kvf_fence_release(r.engine, id);
		end(&r, &d);
	}
}

/* Without a fence it has to wait for its copies like any other. */
static void test_no_fence_for_the_stream(void)
{
	struct kvf_completion c;
	struct simdev d;
	struct rig r;
	uint64_t id;

	begin(&r, &d, moody_options(&d));
	id = submit_retrieve(&r, KVF_OP_STREAM_ORDERED);
	turns(&r);
	CU_ASSERT_EQUAL(reap(&r, &c, 1), 0);
	CU_ASSERT_EQUAL(n_issued(&r, id), 0);
	let_go(&r, &d);
	CU_ASSERT_EQUAL(reap(&r, &c, 1), 1);
	CU_ASSERT_EQUAL(c.tokens, TOKENS);
	CU_ASSERT(is_done(&r, id, RIG_LAYERS - 1));
	CU_ASSERT_EQUAL(rig_mismatches(&r, 0, TOKENS), 0);
	kvf_fence_release(r.engine, id);
	end(&r, &d);
}

/* ---- what cannot go layer by layer ---- */

static struct kvf_completion by_layers(struct rig *r, uint32_t tokens)
{
	struct kvf_completion c;

	rig_wipe(r);
	c = rig_retrieve(r, 0, tokens, KVF_OP_LAYERWISE);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(c.tokens, tokens);
	CU_ASSERT_EQUAL(c.layers, RIG_LAYERS);
	CU_ASSERT_EQUAL(rig_mismatches(r, 0, tokens), 0);
	return c;
}

/* A chunk that is not in RAM, wherever it is among many, and then all of them. */
static void test_chunkwise(void)
{
	static const char *const settings[] = { "chunk_size", "16", NULL };
	static const uint32_t missing[] = { 0, 63, 64, 130, 255 };
	struct memtier m;
	struct rig r;

	tier_rig_open_more(&r, &m, 1, KVF_TIER_RECORDS, (struct rig_options){ .slots = 300, .settings = settings });
	tier_rig_store(&r, 1, RIG_MAX_TOKENS / RIG_CHUNK);
	tier_rig_flush(&r);
	CU_ASSERT_EQUAL(m.n_chunks, RIG_MAX_TOKENS / 16);
	CU_ASSERT_EQUAL(by_layers(&r, RIG_MAX_TOKENS).flags, 0);
	for (unsigned i = 0; i < KVF_ARRAY_LEN(missing); i++) {

		CU_ASSERT_EQUAL(rig_remove(&r, missing[i] * 16, 16, KVF_TIER_RAM).tokens, 16);
		CU_ASSERT_EQUAL(by_layers(&r, RIG_MAX_TOKENS).flags, KVF_DONE_CHUNKWISE);
		CU_ASSERT_EQUAL(m.gets, i + 1);
	}
	CU_ASSERT_EQUAL(by_layers(&r, RIG_MAX_TOKENS).flags, 0);
	tier_rig_close(&r, &m);
}

/* 1,024 chunks are made in one step, more are not. */
static void test_most_chunks(void)
{
	static const char *const settings[] = { "chunk_size", "2", "kvf_max_ops", "16", NULL };
	struct rig r;

	rig_open(&r, &(struct rig_options){ .slots = 1040, .settings = settings });
	rig_tokens(&r, 1, 2 * 1025);
	rig_compute(&r, 2 * 1025);
	CU_ASSERT_EQUAL(rig_store(&r, 0, 2 * 1025, 0).tokens, 2 * 1025);
	CU_ASSERT_EQUAL(by_layers(&r, 2 * 1024).flags, 0);
	CU_ASSERT_EQUAL(by_layers(&r, 2 * 1025).flags, KVF_DONE_CHUNKWISE);
	rig_close(&r);
}

/* A device that copies layers but has no fences. */
static void test_no_fences_at_all(void)
{
	struct simdev d;
	struct rig r;

	begin(&r, &d, dev_rig_options(&d, KVF_DEVICE_LAYERWISE, (struct rig_options){ .slots = 16 }));
	dev_rig_go(&d);
	CU_ASSERT_EQUAL(by_layers(&r, TOKENS).flags, KVF_DONE_CHUNKWISE);
	end(&r, &d);
}

/* ---- stores ---- */

static void give(struct rig *r, uint64_t id, uint32_t layer, const volatile uint64_t *word)
{
	struct kvf_fence_in in = { .kind = KVF_FENCE_WORD, .word = word, .value = 1 };

	CU_ASSERT_EQUAL(kvf_store_layer(r->engine, id, layer, &in), KVF_OK);
}

/* The blocks of a layer are read after its own fence, in whatever order the layers come. */
static void test_store_waits_for_layers(void)
{
	static const uint32_t order[RIG_LAYERS] = { 1, 2, 0 };
	volatile uint64_t word[RIG_LAYERS] = { 0 };
	struct simdev d;
	struct rig r;
	uint64_t id;

	begin(&r, &d, dev_rig_options(&d, DEV_RIG_CAPS, (struct rig_options){ .slots = 32 }));
	dev_rig_go(&d);
	id = dev_rig_begin_store(&r, 2, CHUNKS, KVF_OP_LAYERWISE | KVF_OP_SOURCE_FREE);
	rig_wipe(&r);
	for (uint32_t i = 0; i < RIG_LAYERS; i++) {
		turns(&r);
		CU_ASSERT_EQUAL(d.copies, CHUNKS * (1 + i));
		give(&r, id, order[i], &word[i]);
		turns(&r);
		CU_ASSERT_EQUAL(rig_stats(&r).slots_copying, CHUNKS);
		CU_ASSERT_EQUAL(simdev_copies_of(&d, id, KVF_COPY_GATHER), CHUNKS);
		rig_compute(&r, TOKENS);
		word[i] = 1;
		turns(&r);
		rig_wipe(&r);
		CU_ASSERT_EQUAL(r.source_free, 0);
	}
	CU_ASSERT_EQUAL(rig_await(&r, id).tokens, TOKENS);
	CU_ASSERT_EQUAL(r.source_free, 1);
	CU_ASSERT_EQUAL(rig_retrieve(&r, 0, TOKENS, 0).tokens, TOKENS);
	CU_ASSERT_EQUAL(rig_mismatches(&r, 0, TOKENS), 0);
	end(&r, &d);
}

/* A store that gets all its slots at once takes them with the first layer; one that does not waits for all layers. */
static void test_store_takes_all_or_none(void)
{
	for (uint32_t chunks = 1; chunks <= 4; chunks++) {
		bool fits = chunks <= 2; /* in 16 slots two may be copied at once */
		struct kvf_fence_in now = { .kind = KVF_FENCE_NOW };
		struct kvf_completion c;
		struct rig r;
		uint64_t id;

		rig_open(&r, &(struct rig_options){ .slots = 16 });
		id = dev_rig_begin_store(&r, 2, chunks, KVF_OP_LAYERWISE);
		for (uint32_t l = 0; l < RIG_LAYERS; l++) {
			CU_ASSERT_EQUAL(kvf_store_layer(r.engine, id, l, &now), KVF_OK);
			if (l < RIG_LAYERS - 1) {
				turns(&r);
				CU_ASSERT_EQUAL(rig_stats(&r).slots_copying, fits ? chunks : 0);
			}
		}
		c = rig_await(&r, id);
		CU_ASSERT_EQUAL(c.tokens, chunks * RIG_CHUNK);
		CU_ASSERT_EQUAL(c.flags, fits ? 0 : KVF_DONE_CHUNKWISE);
		CU_ASSERT_EQUAL(rig_retrieve(&r, 0, chunks * RIG_CHUNK, 0).tokens, chunks * RIG_CHUNK);
		CU_ASSERT_EQUAL(rig_mismatches(&r, 0, chunks * RIG_CHUNK), 0);
		rig_close(&r);
	}
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "layer_by_layer", test_layer_by_layer },
		{ "narrow_device", test_narrow_device },
		{ "no_fence_for_a_layer", test_no_fence_for_a_layer },
		{ "stream_ordered", test_stream_ordered },
		{ "no_fence_after_an_error", test_no_fence_after_an_error },
		{ "released_early", test_released_early },
		{ "ends_when_issued", test_ends_when_issued },
		{ "no_fence_for_the_stream", test_no_fence_for_the_stream },
		{ "chunkwise", test_chunkwise },
		{ "most_chunks", test_most_chunks },
		{ "no_fences_at_all", test_no_fences_at_all },
		{ "store_waits_for_layers", test_store_waits_for_layers },
		{ "store_takes_all_or_none", test_store_takes_all_or_none },
	};

	return kvf_test_main("layers", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
