/* SPDX-License-Identifier: Apache-2.0 */
/* The whole engine with the CUDA device over the fake runtime: the device's code and the engine's are what ships. */
#include <stdlib.h>
#include <string.h>

#include "device/cuda.h"
#include "kvferry/kvf_device.h"
#include "tests/fake/fake_cuda.h"
#include "tests/harness.h"

#define API (&fake_cuda_api)
#define CHUNK 64u
#define LAYERS 3u
#define BLOCK 16u
#define HIDDEN 64u /* bytes of a token in one layer and plane */
#define BLOCKS 64u
#define TOKENS (BLOCKS / 2 * BLOCK)
#define PLANE_BYTES ((size_t)BLOCKS * BLOCK * HIDDEN)
#define MAX_POLLS 400000u

struct host {
	struct kvf_mem mem;
	struct kvf_cuda_device *device;
	struct kvf_engine *engine;
	struct kvf_seq *seq;
	struct kvf_layer layers[LAYERS];
	struct kvf_group group;
	struct kvf_layout layout;
	void *kv;
	uint32_t ids[TOKENS / BLOCK];
	struct kvf_block_list list;
	struct kvf_blocks blocks;
	cudaStream_t stream;
	cudaEvent_t event;
	unsigned source_free;
	char text[2048];
	struct kvf_report report;
};

static uint8_t content(uint32_t number, uint32_t layer, uint32_t plane, uint32_t token, uint32_t i)
{
	return (uint8_t)(number * 131 + layer * 17 + plane * 7 + token * 3 + token / 97 + i * 5);
}

static uint8_t *row(const struct host *h, uint32_t layer, uint32_t plane, uint32_t token)
{
	return (uint8_t *)fake_cuda_shadow(h->layers[layer].base[plane]) +
	       (size_t)h->ids[token / BLOCK] * h->group.block_stride + token % BLOCK * h->group.token_stride;
}

static void fill(struct host *h, uint32_t number, uint32_t n)
{
	for (uint32_t l = 0; l < LAYERS; l++)
		for (uint32_t p = 0; p < 2; p++)
			for (uint32_t t = 0; t < n; t++)
				for (uint32_t i = 0; i < HIDDEN; i++)
					row(h, l, p, t)[i] = content(number, l, p, t, i);
}

static void wipe(struct host *h)
{
	memset(fake_cuda_shadow(h->kv), 0xEE, PLANE_BYTES * 2 * LAYERS);
}

static uint32_t wrong(struct host *h, uint32_t number, uint32_t n, uint32_t first_layer, uint32_t end_layer)
{
	uint32_t bad = 0;

	for (uint32_t l = first_layer; l < end_layer; l++)
		for (uint32_t p = 0; p < 2; p++)
			for (uint32_t t = 0; t < n; t++)
				for (uint32_t i = 0; i < HIDDEN; i++)
					bad += row(h, l, p, t)[i] != content(number, l, p, t, i);
	return bad;
}

static void make_layout(struct host *h)
{
	CU_ASSERT_EQUAL_FATAL(API->Malloc(&h->kv, PLANE_BYTES * 2 * LAYERS), cudaSuccess);
	for (uint32_t l = 0; l < LAYERS; l++)
		for (uint32_t p = 0; p < 2; p++)
			h->layers[l].base[p] = (uint8_t *)h->kv + (l * 2 + p) * PLANE_BYTES;
	for (uint32_t b = 0; b < TOKENS / BLOCK; b++)
		h->ids[b] = (b * 37 + 11) % BLOCKS;
	h->group = (struct kvf_group){ .size = sizeof(h->group), .n_layers = LAYERS, .planes = 2, .heads = 2,
				       .head_elems = HIDDEN / 4, .dtype = KVF_BFLOAT16, .block_tokens = BLOCK,
				       .n_blocks = BLOCKS, .block_stride = BLOCK * HIDDEN, .token_stride = HIDDEN,
				       .head_stride = HIDDEN / 2, .layers = h->layers };
	h->layout = (struct kvf_layout){ .size = sizeof(h->layout), .n_groups = 1, .groups = &h->group };
	h->list = (struct kvf_block_list){ h->ids, TOKENS / BLOCK, 0 };
	h->blocks = (struct kvf_blocks){ 1, &h->list };
}

static void host_open(struct host *h, bool word, enum kvf_copy_way way)
{
	struct kvf_clock clock = { .size = sizeof(clock), .now_ns = fake_cuda_now };
	struct kvf_cuda_options options = { .api = &fake_cuda_api, .chunk_tokens = CHUNK, .word = word, .copy = way,
					    .staging_bytes = 1 << 20 };
	struct kvf_config *config = NULL;
	struct kvf_open_params p;
	int rc;

	memset(h, 0, sizeof(*h));
	fake_cuda_reset(&fake_cuda_usual);
	make_layout(h);
	CU_ASSERT_EQUAL(API->StreamCreateWithPriority(&h->stream, cudaStreamNonBlocking, 0), cudaSuccess);
	CU_ASSERT_EQUAL(API->EventCreateWithFlags(&h->event, cudaEventDisableTiming), cudaSuccess);
	kvf_mem_init(&h->mem, NULL);
	CU_ASSERT_EQUAL_FATAL(kvf_cuda_device_new(&h->mem, &options, &h->device), KVF_OK);
	kvf_report_init(&h->report, h->text, sizeof(h->text));
	CU_ASSERT_EQUAL_FATAL(kvf_config_create(&config, NULL), KVF_OK);
	kvf_config_set(config, "chunk_size", "64", &h->report);
	kvf_config_set(config, "kvf_pool_slots", "64", &h->report);
	kvf_open_params_init(&p);
	p.config = config;
	p.layout = &h->layout;
	p.identity.model = "fake";
	p.device = &kvf_device_cuda_ops;
	p.device_self = h->device;
	p.clock = &clock;
	p.report = &h->report;
	rc = kvf_engine_open(&h->engine, &p);
	if (rc)
		fprintf(stderr, "%s\n%s", kvf_strerror(rc), h->text);
	CU_ASSERT_EQUAL_FATAL(rc, KVF_OK);
	kvf_config_destroy(config);
}

static void host_close(struct host *h, enum kvf_shutdown_mode mode)
{
	struct kvf_completion c[4];

	kvf_seq_close(h->seq);
	CU_ASSERT_EQUAL(kvf_verify(h->engine), KVF_OK);
	CU_ASSERT_EQUAL(kvf_engine_shutdown(h->engine, mode, KVF_NO_DEADLINE), KVF_OK);
	for (unsigned i = 0; i < MAX_POLLS && !kvf_engine_idle(h->engine); i++)
		kvf_poll(h->engine, c, 4);
	CU_ASSERT_EQUAL(kvf_engine_close(h->engine), KVF_OK);
	kvf_cuda_device_free(&h->mem, h->device);
	CU_ASSERT_EQUAL(kvf_mem_fini(&h->mem), 0);
	CU_ASSERT_EQUAL(fake_cuda_violations(), 0);
	if (fake_cuda_violations())
		fprintf(stderr, "fake CUDA: %s\n", fake_cuda_violation());
	CU_ASSERT_EQUAL(fake_cuda_current_device(), 0);
}

static void tokens(struct host *h, uint32_t number, uint32_t n)
{
	uint32_t *list = malloc(n * sizeof(*list));

	for (uint32_t i = 0; i < n; i++)
		list[i] = number * 100003 + i;
	kvf_seq_close(h->seq);
	CU_ASSERT_EQUAL_FATAL(kvf_seq_open(h->engine, NULL, &h->seq), KVF_OK);
	CU_ASSERT_EQUAL_FATAL(kvf_seq_append(h->seq, list, n), KVF_OK);
	free(list);
}

static uint64_t submit(struct host *h, const struct kvf_op *op)
{
	uint64_t id = 0;
	int rc = kvf_submit(h->engine, op, 1, &id);

	if (rc != 1)
		fprintf(stderr, "submit: %s: %s\n", kvf_strerror(rc), kvf_error_detail(h->engine));
	CU_ASSERT_EQUAL_FATAL(rc, 1);
	return id;
}

static struct kvf_completion await(struct host *h, uint64_t id)
{
	struct kvf_completion c = { .op_id = 0 };

	for (unsigned i = 0; i < MAX_POLLS; i++) {
		int n = kvf_poll(h->engine, &c, 1);

		CU_ASSERT_FATAL(n >= 0);
		h->source_free += n && c.kind == KVF_SOURCE_FREE;
		if (n && c.kind == KVF_DONE && c.op_id == id)
			return c;
	}
	CU_FAIL_FATAL("the operation did not end");
	return c;
}

/* The host's compute of `ns`, then its event. */
static struct kvf_fence_in behind_compute(struct host *h, uint64_t ns)
{
	fake_cuda_kernel_fill(h->stream, h->kv, ((uint8_t *)fake_cuda_shadow(h->kv))[0], 1, ns);
	CU_ASSERT_EQUAL(API->EventRecord(h->event, h->stream), cudaSuccess);
	return (struct kvf_fence_in){ .kind = KVF_FENCE_EVENT, .handle = h->event };
}

static void prep(struct host *h, struct kvf_op *op, bool store, uint32_t n, struct kvf_fence_in fence)
{
	struct kvf_span span = { 0, n, &h->blocks };

	if (store)
		kvf_prep_store(op, h->seq, &span, &fence);
	else
		kvf_prep_retrieve(op, h->seq, &span, &fence);
}

static struct kvf_completion store(struct host *h, uint32_t number, uint32_t n)
{
	struct kvf_op op;

	tokens(h, number, n);
	fill(h, number, n);
	prep(h, &op, true, n, behind_compute(h, 20000));
	op.flags = KVF_OP_SOURCE_FREE;
	return await(h, submit(h, &op));
}

static void test_store_and_retrieve(void)
{
	static const enum kvf_copy_way ways[] = { KVF_WAY_AUTO, KVF_WAY_MEMCPY, KVF_WAY_BATCH, KVF_WAY_KERNEL };
	struct host h;
	struct kvf_op op;
	struct kvf_completion c;
	uint64_t id;

	for (unsigned i = 0; i < 8; i++) {
		host_open(&h, i % 2, ways[i / 2]);
		c = store(&h, 1, TOKENS);
		CU_ASSERT_EQUAL(c.status, KVF_OK);
		CU_ASSERT_EQUAL(c.tokens, TOKENS);
		CU_ASSERT_EQUAL(h.source_free, 1);
		wipe(&h);
		prep(&h, &op, false, TOKENS, behind_compute(&h, 20000));
		id = submit(&h, &op);
		behind_compute(&h, 40000000000ull); /* recorded anew at once: not ours */
		c = await(&h, id);
		CU_ASSERT_EQUAL(c.status, KVF_OK);
		CU_ASSERT_EQUAL(c.tokens, TOKENS);
		CU_ASSERT_EQUAL(wrong(&h, 1, TOKENS, 0, LAYERS), 0);
		CU_ASSERT_TRUE(fake_cuda_now(NULL) < 30000000000ull);
		host_close(&h, KVF_SHUTDOWN_DRAIN);
	}
}

/* Each layer's fence is in the host's stream before attention: what it copies out is what was stored. */
static void test_layerwise_retrieve(void)
{
	struct kvf_fence_out out[LAYERS];
	struct kvf_completion c;
	struct host h;
	struct kvf_op op;
	uint64_t id;
	int rc;

	for (int word = 0; word < 2; word++) {
		host_open(&h, word, KVF_WAY_AUTO);
		store(&h, 1, TOKENS);
		wipe(&h);
		prep(&h, &op, false, TOKENS, behind_compute(&h, 20000));
		op.flags = KVF_OP_LAYERWISE | KVF_OP_STREAM_ORDERED;
		id = submit(&h, &op);
		for (uint32_t l = 0; l < LAYERS; l++) {
			for (unsigned i = 0; i < MAX_POLLS; i++) {
				rc = kvf_layer_fence(h.engine, id, l, &out[l]);
				if (rc != KVF_EAGAIN)
					break;
				kvf_poll(h.engine, &c, 0);
			}
			CU_ASSERT_EQUAL_FATAL(rc, KVF_OK);
			if (out[l].kind == KVF_FENCE_EVENT)
				while (API->EventQuery(out[l].handle) == cudaErrorNotReady)
					fake_cuda_advance(500);
			CU_ASSERT_EQUAL(wrong(&h, 1, TOKENS, l, l + 1), 0);
		}
		c = await(&h, id);
		CU_ASSERT_EQUAL(c.status, KVF_OK);
		CU_ASSERT_EQUAL(c.layers, LAYERS);
		CU_ASSERT_EQUAL(c.flags, 0);
		CU_ASSERT_EQUAL(kvf_fence_release(h.engine, id), KVF_OK);
		host_close(&h, KVF_SHUTDOWN_DRAIN);
	}
}

static void test_layerwise_store(void)
{
	struct kvf_fence_in in = { .kind = KVF_FENCE_LATER };
	struct kvf_completion c;
	struct host h;
	struct kvf_op op;
	uint64_t id;

	host_open(&h, false, KVF_WAY_AUTO);
	tokens(&h, 1, 4 * CHUNK);
	wipe(&h);
	prep(&h, &op, true, 4 * CHUNK, in);
	op.flags = KVF_OP_LAYERWISE | KVF_OP_SOURCE_FREE;
	id = submit(&h, &op);
	for (uint32_t l = 0; l < LAYERS; l++) {
		/* A layer's kernel takes its time; all its bytes are then its number. */
		fake_cuda_kernel_fill(h.stream, h.layers[l].base[0], (int)l + 1, 2 * PLANE_BYTES, 50000);
		in = (struct kvf_fence_in){ .kind = KVF_FENCE_STREAM, .handle = h.stream };
		CU_ASSERT_EQUAL(kvf_store_layer(h.engine, id, l, &in), KVF_OK);
		kvf_poll(h.engine, &c, 0);
	}
	c = await(&h, id);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(c.tokens, 4 * CHUNK);
	wipe(&h);
	prep(&h, &op, false, 4 * CHUNK, behind_compute(&h, 100));
	CU_ASSERT_EQUAL(await(&h, submit(&h, &op)).tokens, 4 * CHUNK);
	for (uint32_t l = 0; l < LAYERS; l++)
		for (uint32_t t = 0; t < 4 * CHUNK; t++)
			CU_ASSERT_TRUE(row(&h, l, 0, t)[5] == l + 1 && row(&h, l, 1, t)[60] == l + 1);
	host_close(&h, KVF_SHUTDOWN_DRAIN);
}

/* Cancel, a deadline and a shutdown after each number of polls: one completion, right bytes or none. */
static void test_ended_at_every_step(void)
{
	struct kvf_completion c;
	struct host h;
	struct kvf_op op;
	uint64_t id;

	for (unsigned how = 0; how < 6; how++) {
		for (unsigned polls = 0; polls < 24; polls += 1 + polls / 8) {
			bool retrieve = how % 2;

			host_open(&h, polls % 2, how == 2 ? KVF_WAY_KERNEL : KVF_WAY_AUTO);
			if (retrieve)
				store(&h, 1, TOKENS);
			else
				tokens(&h, 1, TOKENS);
			fill(&h, 1, TOKENS);
			prep(&h, &op, !retrieve, TOKENS, behind_compute(&h, 30000));
			op.deadline_ns = how / 2 == 1 ? kvf_now_ns(h.engine) + polls * 4000 + 1 : KVF_NO_DEADLINE;
			id = submit(&h, &op);
			for (unsigned i = 0; i < polls; i++)
				kvf_poll(h.engine, &c, 0);
			if (how / 2 == 0)
				kvf_cancel(h.engine, id);
			if (how / 2 == 2)
				kvf_engine_shutdown(h.engine, KVF_SHUTDOWN_CANCEL, KVF_NO_DEADLINE);
			c = await(&h, id);
			CU_ASSERT_TRUE(c.status == KVF_OK || c.status == KVF_ECANCELED || c.status == KVF_ETIMEDOUT);
			CU_ASSERT_EQUAL(wrong(&h, 1, TOKENS, 0, LAYERS), 0); /* what it wrote was the same */
			if (how / 2 < 2) {
				/* The chunks it had stored by then, and no more, come back right. */
				wipe(&h);
				prep(&h, &op, false, TOKENS, behind_compute(&h, 100));
				c = await(&h, submit(&h, &op));
				CU_ASSERT_EQUAL(c.status, KVF_OK);
				CU_ASSERT_EQUAL(wrong(&h, 1, c.tokens, 0, LAYERS), 0);
			}
			if (how / 2 < 2) {
				host_close(&h, KVF_SHUTDOWN_DRAIN);
				continue;
			}
			kvf_seq_close(h.seq);
			for (unsigned i = 0; i < MAX_POLLS && !kvf_engine_idle(h.engine); i++)
				kvf_poll(h.engine, &c, 1);
			CU_ASSERT_EQUAL(kvf_engine_close(h.engine), KVF_OK);
			kvf_cuda_device_free(&h.mem, h.device);
			CU_ASSERT_EQUAL(kvf_mem_fini(&h.mem), 0);
			CU_ASSERT_EQUAL(fake_cuda_violations(), 0);
		}
	}
}

/* A device lost in a store: it ends at once and not well, its slots are kept from everybody, what is in RAM stays. */
static void test_device_lost(void)
{
	struct kvf_stats stats = { .size = sizeof(stats) };
	struct kvf_completion c;
	struct host h;
	struct kvf_op op;
	uint32_t bits = 0;
	uint64_t id;

	for (int word = 0; word < 2; word++) {
		host_open(&h, word, KVF_WAY_MEMCPY);
		store(&h, 1, 4 * CHUNK);
		tokens(&h, 2, TOKENS);
		prep(&h, &op, true, TOKENS, behind_compute(&h, 1000000));
		id = submit(&h, &op);
		for (unsigned i = 0; i < 8; i++)
			kvf_poll(h.engine, &c, 0);
		fake_cuda_fault(1, cudaErrorECCUncorrectable);
		c = await(&h, id);
		CU_ASSERT_EQUAL(c.status, KVF_EDEVLOST);
		CU_ASSERT_EQUAL(c.tokens, 0);
		CU_ASSERT_EQUAL(kvf_get_stats(h.engine, &stats), KVF_OK);
		CU_ASSERT_EQUAL(stats.slots_quarantined, TOKENS / CHUNK);
		CU_ASSERT_EQUAL(kvf_health(h.engine, &bits), KVF_OK);
		CU_ASSERT_TRUE(bits & KVF_HEALTH_DEVICE_LOST);
		CU_ASSERT_EQUAL(kvf_seq_resident(h.seq), 0);
		tokens(&h, 1, 4 * CHUNK);
		CU_ASSERT_EQUAL(kvf_seq_resident(h.seq), 4 * CHUNK);
		prep(&h, &op, false, 4 * CHUNK, (struct kvf_fence_in){ .kind = KVF_FENCE_NOW });
		CU_ASSERT_EQUAL(kvf_submit(h.engine, &op, 1, &id), KVF_EDEVLOST);
		host_close(&h, KVF_SHUTDOWN_DRAIN);
	}
}

/* The k-th call fails: operations end, and whatever is said to be there is right. */
static void test_every_call_fails(void)
{
	struct kvf_completion c;
	struct host h;
	struct kvf_op op;

	for (unsigned k = 1; k < 400; k += 1 + k / 16) {
		cudaError_t error = k % 3 ? cudaErrorInvalidValue : cudaErrorLaunchFailure;
		struct kvf_fence_in fence;
		uint64_t id = 0;

		host_open(&h, k % 2, (enum kvf_copy_way)(k % KVF_WAYS));
		tokens(&h, 1, TOKENS);
		fill(&h, 1, TOKENS);
		fence = behind_compute(&h, 20000);
		prep(&h, &op, true, TOKENS, fence);
		fake_cuda_fail(NULL, k, error, false);
		if (kvf_submit(h.engine, &op, 1, &id) == 1)
			await(&h, id);
		prep(&h, &op, false, TOKENS, fence);
		op.flags = k & 4 ? KVF_OP_LAYERWISE : 0;
		if (kvf_submit(h.engine, &op, 1, &id) == 1)
			await(&h, id);
		fake_cuda_fail(NULL, 0, cudaSuccess, false);
		wipe(&h);
		prep(&h, &op, false, TOKENS, (struct kvf_fence_in){ .kind = KVF_FENCE_NOW });
		if (kvf_submit(h.engine, &op, 1, &id) == 1) {
			c = await(&h, id);
			CU_ASSERT_EQUAL(wrong(&h, 1, c.tokens, 0, LAYERS), 0);
		}
		host_close(&h, KVF_SHUTDOWN_DRAIN);
	}
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "store_and_retrieve", test_store_and_retrieve },
		{ "layerwise_retrieve", test_layerwise_retrieve },
		{ "layerwise_store", test_layerwise_store },
		{ "ended_at_every_step", test_ended_at_every_step },
		{ "device_lost", test_device_lost },
		{ "every_call_fails", test_every_call_fails },
	};
	int rc = kvf_test_main("cuda_engine", tests, KVF_ARRAY_LEN(tests), argc, argv);

	fake_cuda_reset(&fake_cuda_usual);
	return rc;
}
