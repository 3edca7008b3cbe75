/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host device beside a plain loop of memcpy over the same pieces: chunks of 256 tokens, cold, paired alternating
 * slices of one chunk each, ratio of throughputs (1.00 = as fast as memcpy).
 *
 * bench_host_copy [PAIRS [BUDGET_KIB]]
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/compiler.h"
#include "bench_stats.h"
#include "device/device.h"
#include "tests/gen_layout.h"
#include "tool.h"

#define CHUNK 256u
#define CHUNKS 32u
#define BLOCK 16u
#define MAX_PAIRS 4096

struct piece {
	uint8_t *dev;
	uint64_t pay, bytes;
};

struct slot {
	struct gen_copy gc;
	uint8_t *payload;
	struct piece *pieces;
	size_t n;
};

struct bench {
	struct kvf_device_host host;
	struct kvf_mem mem;
	struct gen_layout gen;
	struct kvf_layout_plan plan;
	struct kvf_host_device *dev;
	struct slot slots[CHUNKS];
	uint64_t budget;
	unsigned done;
};

struct variant {
	const char *what;
	int format;
	uint32_t layers, heads, head_elems;
	enum kvf_payload_order order;
};

/* CPU time: neighbours on the machine then disturb less. */
static double now(void)
{
	return (double)tool_thread_cpu_ns() * 1e-9;
}

static void complete(struct kvf_device_host *host, struct kvf_copy *copy, int status)
{
	struct bench *b = kvf_container_of(host, struct bench, host);

	(void)copy;
	if (status)
		exit(1);
	b->done++;
}

static void *must(void *p)
{
	if (!p || p == MAP_FAILED) {
		fprintf(stderr, "bench_host_copy: no memory\n");
		exit(1);
	}
	return p;
}

/* The pieces of one chunk in the order of the walk, worked out beforehand: the loop beside us pays for memcpy alone. */
static void list_pieces(struct bench *b, struct slot *slot)
{
	struct kvf_run_iter iter;
	struct kvf_run run;
	size_t cap = 0;
	uint32_t row;

	kvf_run_iter_init(&iter, &b->plan, &slot->gc.copy);
	while (kvf_run_iter_next(&iter, &run))
		for (row = 0; row < run.rows; row++) {
			if (slot->n == cap) {
				cap = cap ? 2 * cap : 1024;
				slot->pieces = must(realloc(slot->pieces, cap * sizeof(*slot->pieces)));
			}
			slot->pieces[slot->n++] = (struct piece){ run.dev + row * run.dev_stride,
								  run.pay + row * run.pay_stride, run.bytes };
		}
}

/* Every block belongs to one chunk; the blocks of a chunk lie anywhere. */
static void make_slots(struct bench *b)
{
	uint32_t blocks = CHUNKS * CHUNK / BLOCK, i, k;
	uint32_t *order = must(calloc(blocks, sizeof(*order)));
	struct gen_rng rng = { 1 };

	for (i = 0; i < blocks; i++) {
		k = gen_below(&rng, i + 1);
		order[i] = order[k];
		order[k] = i;
	}
	for (i = 0; i < CHUNKS; i++) {
		struct slot *slot = &b->slots[i];

		gen_copy_whole(&slot->gc, &b->gen.layout, CHUNK, true);
		for (k = 0; k < CHUNK / BLOCK; k++)
			slot->gc.ids[0][k] = order[i * (CHUNK / BLOCK) + k];
		slot->payload = must(mmap(NULL, b->plan.payload_bytes, PROT_READ | PROT_WRITE,
					  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0));
		slot->gc.copy.payload = slot->payload;
		slot->gc.copy.groups = slot->gc.lists;
		list_pieces(b, slot);
	}
	free(order);
}

static void bench_open(struct bench *b, const struct variant *v)
{
	struct gen_shape shape = { v->layers, CHUNKS * CHUNK / BLOCK, BLOCK, v->heads, v->head_elems, KVF_BFLOAT16 };
	struct gen_rng rng = { 2 };
	uint32_t caps;
	char detail[256];

	b->host = (struct kvf_device_host){ .size = sizeof(b->host), .complete = complete };
	kvf_mem_init(&b->mem, NULL);
	gen_layout_init(&b->gen, v->order);
	gen_layout_add(&b->gen, gen_lmcache[v->format].axes, gen_lmcache[v->format].planes, &shape, NULL);
	gen_layout_fill(&b->gen, &rng);
	if (kvf_layout_init(&b->plan, &b->mem, &b->gen.layout, CHUNK, detail, sizeof(detail)) ||
	    kvf_host_device_new(&b->mem, &b->plan, &b->dev) ||
	    kvf_device_host_ops.open(b->dev, &b->host, &b->plan.layout, &caps)) {
		fprintf(stderr, "bench_host_copy: %s\n", detail);
		exit(1);
	}
	make_slots(b);
}

static void bench_close(struct bench *b)
{
	uint32_t i;

	kvf_device_host_ops.close(b->dev);
	for (i = 0; i < CHUNKS; i++) {
		munmap(b->slots[i].payload, b->plan.payload_bytes);
		free(b->slots[i].pieces);
		gen_copy_fini(&b->slots[i].gc);
	}
	kvf_host_device_free(&b->mem, b->dev);
	kvf_layout_fini(&b->plan, &b->mem);
	kvf_mem_fini(&b->mem);
	gen_layout_fini(&b->gen);
}

static double run_device(struct bench *b, struct slot *slot, uint32_t direction)
{
	double start = now();
	unsigned before = b->done;

	slot->gc.copy.direction = direction;
	if (kvf_device_host_ops.copy(b->dev, &slot->gc.copy))
		exit(1);
	while (b->done == before)
		kvf_device_host_ops.progress(b->dev, b->budget);
	return now() - start;
}

static double run_memcpy(struct slot *slot, uint32_t direction)
{
	double start = now();
	size_t i;

	for (i = 0; i < slot->n; i++) {
		const struct piece *p = &slot->pieces[i];

		if (direction == KVF_COPY_GATHER)
			memcpy(slot->payload + p->pay, p->dev, p->bytes);
		else
			memcpy(p->dev, slot->payload + p->pay, p->bytes);
	}
	return now() - start;
}

static void measure(struct bench *b, const struct variant *v, uint32_t direction, unsigned pairs)
{
	static double ratio[MAX_PAIRS], plain[MAX_PAIRS], sample[MAX_PAIRS];
	double low, high, ours, theirs;
	unsigned i;

	for (i = 0; i < pairs + 2; i++) { /* two to warm up */
		/* Both sides come to every chunk in the end, and never to one that is still in the caches. */
		unsigned flip = 2 * i / CHUNKS % 2;
		struct slot *a = &b->slots[(2 * i + flip) % CHUNKS], *c = &b->slots[(2 * i + 1 - flip) % CHUNKS];

		if (i % 2) {
			theirs = run_memcpy(c, direction);
			ours = run_device(b, a, direction);
		} else {
			ours = run_device(b, a, direction);
			theirs = run_memcpy(c, direction);
		}
		if (i < 2)
			continue;
		ratio[i - 2] = theirs / ours;
		plain[i - 2] = (double)b->plan.payload_bytes / theirs;
	}
	bench_interval(ratio, pairs, sample, &low, &high);
	printf("%-34s %-8s %8" PRIu64 " %7zu %6.2f  %.3f [%.3f, %.3f]\n", v->what,
	       direction == KVF_COPY_GATHER ? "store" : "retrieve", b->slots[0].pieces[0].bytes, b->slots[0].n,
	       bench_median(plain, pairs) * 1e-9, bench_median(ratio, pairs), low, high);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static const struct variant variants[] = {
		{ "1 FlashAttention, lmcache", 1, 8, 8, 128, KVF_PAYLOAD_LMCACHE },
		{ "1 FlashAttention, 1 head, lmcache", 1, 32, 1, 128, KVF_PAYLOAD_LMCACHE },
		{ "0 cross-layer, lmcache", 0, 8, 8, 128, KVF_PAYLOAD_LMCACHE },
		{ "0 cross-layer, pages", 0, 8, 8, 128, KVF_PAYLOAD_PAGES },
		{ "3 MLA, lmcache", 3, 27, 1, 576, KVF_PAYLOAD_LMCACHE },
		{ "6 HND 128 B rows, lmcache", 6, 8, 8, 64, KVF_PAYLOAD_LMCACHE },
		{ "6 HND 256 B rows, lmcache", 6, 8, 8, 128, KVF_PAYLOAD_LMCACHE },
		{ "6 HND, pages", 6, 8, 8, 128, KVF_PAYLOAD_PAGES },
		{ "10 fused 192 B rows, lmcache", 10, 8, 8, 96, KVF_PAYLOAD_LMCACHE },
		{ "10 fused 256 B rows, lmcache", 10, 8, 8, 128, KVF_PAYLOAD_LMCACHE },
		{ "10 fused, pages", 10, 8, 8, 128, KVF_PAYLOAD_PAGES },
	};
	unsigned pairs = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 60;
	uint64_t budget = argc > 2 ? strtoull(argv[2], NULL, 10) : 1024;
	size_t i;

	if (pairs < 1 || pairs > MAX_PAIRS || !budget) {
		fprintf(stderr, "usage: bench_host_copy [PAIRS (1..%d) [BUDGET_KIB]]\n", MAX_PAIRS);
		return 2;
	}
	printf("%u pairs, progress(%" PRIu64 " KiB), %u tokens a chunk, thread-CPU time\n", pairs, budget, CHUNK);
	printf("%-34s %-8s %8s %7s %6s  %s\n", "LMCache layout", "", "piece B", "pieces", "GB/s",
	       "device : memcpy, median [95 %]");
	for (i = 0; i < KVF_ARRAY_LEN(variants); i++) {
		struct bench *b = must(calloc(1, sizeof(*b)));

		b->budget = budget * KVF_KIB;
		bench_open(b, &variants[i]);
		measure(b, &variants[i], KVF_COPY_GATHER, pairs);
		measure(b, &variants[i], KVF_COPY_SCATTER, pairs);
		bench_close(b);
		free(b);
	}
	return 0;
}
