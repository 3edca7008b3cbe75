/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvferry bench copy: store and retrieve between the host device and the pool, beside memcpy() of
 * the same pieces between the same blocks and plain memory as large as the pool. On a GPU, beside
 * one long page-locked copy of as many bytes, which is the most that its link gives.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"

#define CHUNK 256

struct copy {
	struct bench *b;
	struct bench_rig rig;
	uint64_t chunks; /* moved in a slice */
	uint64_t slots;
	size_t tokens, n_ids, payload;
	uint32_t *ids;
	uint8_t *plain; /* as large as the pool; of a GPU: page-locked, as large as a slice */
	void *far; /* of a GPU: as large as a slice, there */
	uint64_t next_plain; /* slot of it to be used next */
	uint64_t seed;
};

/* As the payload lies: [plane][layer][token][row]. */
static void memcpy_chunk(const struct copy *c, uint8_t *payload, uint64_t chunk, bool store)
{
	const struct replay_device *dev = &c->rig.device;
	size_t piece = (size_t)dev->block_tokens * dev->row_bytes, at = 0;
	uint64_t first = chunk * CHUNK / dev->block_tokens;

	for (uint32_t plane = 0; plane < dev->planes; plane++) {
		for (uint32_t layer = 0; layer < dev->n_layers; layer++) {
			for (uint32_t i = 0; i < CHUNK / dev->block_tokens; i++, at += piece) {
				uint8_t *block = replay_device_row(
					dev, layer * dev->planes + plane, c->ids[first + i], 0);

				if (store)
					memcpy(payload + at, block, piece);
				else
					memcpy(block, payload + at, piece);
			}
		}
	}
}

static double slice_memcpy(struct copy *c, bool store)
{
	uint64_t begin = tool_now_ns();

	for (uint64_t i = 0; i < c->chunks; i++) {
		memcpy_chunk(c, c->plain + (c->next_plain % c->slots) * c->payload, i, store);
		c->next_plain++;
	}
	return (double)(tool_now_ns() - begin);
}

/* One long copy. Nanoseconds; -1: it failed. */
static double slice_link(struct copy *c, bool store)
{
	struct gpu *gpu = c->rig.device.gpu;
	uint64_t begin = tool_now_ns();
	char error[160];

	gpu_copy(gpu, store ? (void *)c->plain : c->far, store ? c->far : (void *)c->plain,
		c->chunks * c->payload, store);
	if (gpu_wait(gpu, error, sizeof(error)) == 0)
		return (double)(tool_now_ns() - begin);
	fprintf(stderr, "kvferry bench copy: %s\n", error);
	return -1;
}

/* A new sequence is stored, evicting old ones, and retrieved. */
static int slice_engine(struct copy *c, double *store, double *retrieve)
{
	struct kvf_seq *seq = bench_rig_seq(&c->rig, c->seed++, c->tokens);
	uint64_t begin = tool_now_ns();
	int rc = seq ? bench_rig_copy(&c->rig, seq, c->ids, c->n_ids, c->tokens, true) : -1;

	*store = (double)(tool_now_ns() - begin);
	begin = tool_now_ns();
	if (rc == 0)
		rc = bench_rig_copy(&c->rig, seq, c->ids, c->n_ids, c->tokens, false);
	*retrieve = (double)(tool_now_ns() - begin);
	kvf_seq_close(seq);
	return rc;
}

/* Speeds are better for people than times: the ratio is ours / memcpy in bytes a second. */
static void say(struct copy *c, const char *name, const char *what, struct bench_pairs *pairs)
{
	double bytes = (double)(c->chunks * c->payload);
	struct bench_ratio ratio;

	for (size_t i = 0; i < pairs->n; i++) {
		pairs->a[i] = bytes / pairs->a[i]; /* bytes a nanosecond = GB/s */
		pairs->b[i] = bytes / pairs->b[i];
	}
	bench_compare(pairs, &ratio);
	bench_say_ratio(c->b, name, what, &ratio, 1.0, "GB/s");
}

static int slice_ceiling(struct copy *c, double *store, double *retrieve)
{
	if (c->rig.cuda) {
		*store = slice_link(c, true);
		*retrieve = slice_link(c, false);
		return *store < 0 || *retrieve < 0 ? -1 : 0;
	}
	*store = slice_memcpy(c, true);
	c->next_plain += c->slots - c->chunks; /* what was written just now, as the engine's retrieve reads */
	*retrieve = slice_memcpy(c, false);
	return 0;
}

static int measure(struct copy *c)
{
	static struct bench_pairs store, retrieve;

	store.n = retrieve.n = 0;
	for (uint64_t i = 0; i < c->b->slices + 2; i++) {
		size_t at = store.n;

		if (slice_engine(c, &store.a[at], &retrieve.a[at]) != 0)
			return -1;
		if (slice_ceiling(c, &store.b[at], &retrieve.b[at]) != 0)
			return -1;
		store.n += i > 1; /* the first two warm up */
		retrieve.n = store.n;
	}
	bench_say(c->b, "piece_bytes", "contiguous bytes of a piece",
		(double)c->rig.device.block_tokens * c->rig.device.row_bytes, "B");
	say(c, "store", c->rig.cuda ? "store / one long copy" : "store / memcpy", &store);
	say(c, "retrieve", c->rig.cuda ? "retrieve / one long copy" : "retrieve / memcpy", &retrieve);
	return 0;
}

static int prepare(struct copy *c)
{
	struct replay_device *dev = &c->rig.device;

	c->ids = malloc(c->n_ids * sizeof(*c->ids));
	if (!c->ids || !replay_device_take(dev, c->ids, (uint32_t)c->n_ids))
		return -1;
	for (size_t i = 0; i < c->n_ids; i++) {
		for (uint32_t row = 0; row < dev->n_layers * dev->planes; row++)
			memset(replay_device_row(dev, row, c->ids[i], 0), (int)(i + row),
				(size_t)dev->block_tokens * dev->row_bytes);
		replay_device_sync(dev, c->ids[i], 0, dev->block_tokens, false);
	}
	if (c->rig.cuda) {
		c->plain = gpu_host_alloc(dev->gpu, c->chunks * c->payload);
		c->far = gpu_alloc(dev->gpu, c->chunks * c->payload);
		return c->plain && c->far && !dev->gpu_error[0] ? 0 : -1;
	}
	c->plain = mmap(NULL, c->slots * c->payload, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (c->plain == MAP_FAILED) {
		c->plain = NULL;
		return -1;
	}
	(void)madvise(c->plain, c->slots * c->payload, MADV_HUGEPAGE);
	memset(c->plain, 1, c->slots * c->payload);
	return 0;
}

int bench_copy(struct bench *b)
{
	uint64_t token_bytes = b->token_bytes ? b->token_bytes : b->brief ? 65536 : 131072;
	struct copy c = {
		.b = b, .rig = {.cuda = b->cuda}, .chunks = b->brief ? 4 : 8, .slots = b->brief ? 12 : 32, .seed = 1};
	int rc = -1;

	c.tokens = (size_t)c.chunks * CHUNK;
	c.payload = (size_t)token_bytes * CHUNK;
	if (bench_rig_open(&c.rig, token_bytes, CHUNK, c.slots) != 0)
		return TOOL_WRONG;
	c.n_ids = c.tokens / c.rig.device.block_tokens;
	if (prepare(&c) == 0)
		rc = measure(&c);
	else
		fprintf(stderr, "kvferry bench copy: no memory\n");
	if (c.rig.cuda) {
		gpu_host_free(c.rig.device.gpu, c.plain);
		gpu_free(c.rig.device.gpu, c.far);
		c.plain = NULL;
	}
	bench_rig_close(&c.rig);
	if (c.plain)
		munmap(c.plain, c.slots * c.payload);
	free(c.ids);
	return rc == 0 ? TOOL_OK : TOOL_WRONG;
}
