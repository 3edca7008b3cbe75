/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the index and the eviction list cost as they grow: thread-CPU nanoseconds and, where the
 * kernel lets us count, instructions for each operation on one chunk, and bytes for each entry.
 *
 *	bench_index [--ops N] [--seed S] [--scatter] [ENTRIES...]	(default 100000 1000000 10000000)
 *
 * The cache is filled with paths of PATH chunks and turned over by evicting and storing; with
 * --scatter, which is the worst case, the entries of a path lie anywhere in memory. Then, on random
 * paths: `prefix` finds the chunks of one as a lookup does, `prompt` hashes its tokens first, as a
 * lookup of a new prompt has to, `touch` marks them used, `turnover`
 * evicts a chunk and inserts another of a path that was looked up first, as a store does; `find`
 * and `miss` ask for single random keys, one after the other. `memory` reads random entries one
 * after the other, `memory, many` as many at once as the machine can: what its caches and its
 * memory differ by. The last lines give the biggest size over the smallest. For instructions
 * without counters:
 *	valgrind --tool=callgrind --collect-atstart=no --toggle-collect=op_prefix bench_index --ops 100000 100000
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench_stats.h"
#include "cache/evict.h"
#include "cache/index.h"
#include "token/keys.h"
#include "tool.h"

#define PATH 64u
#define CHUNK 256u /* tokens */
#define SLICES 40u /* each operation is timed in so many slices, the median counts */

struct bench {
	struct kvf_mem mem;
	struct kvf_index index;
	struct kvf_evict evict;
	uint64_t next_path; /* paths made so far */
	uint64_t oldest;   /* first path that may still be there */
	uint32_t made;	   /* chunks made of the path being stored */
	uint32_t last;	   /* entry of the last of them */
	uint64_t random;
	uint64_t ops;
	bool scatter;
	int counter; /* perf event, or -1 */
	uint64_t sink;
};

struct figure {
	const char *name;
	double ns, instructions;
};

static inline uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

static inline uint64_t next_random(struct bench *b)
{
	return b->random = mix(b->random);
}

static inline void make_key(uint8_t key[32], uint64_t path, uint32_t chunk)
{
	uint64_t x[4] = { mix(path * PATH + chunk), 0, 0, 0 };

	x[1] = x[0] * 0x2545f4914f6cdd1du + chunk;
	memcpy(key, x, sizeof(x));
}

static void store_chunk(struct bench *b)
{
	uint8_t key[32];
	uint32_t e;

	make_key(key, b->next_path, b->made);
	e = kvf_index_insert(&b->index, key, b->made ? b->last : KVF_NIL);
	if (e == KVF_NIL) {
		fprintf(stderr, "bench_index: the index is full\n");
		exit(1);
	}
	kvf_index_entry(&b->index, e)->state = KVF_ENTRY_RESIDENT;
	(void)kvf_evict_insert(&b->evict, e);
	b->last = e;
	if (++b->made == PATH) {
		b->made = 0;
		b->next_path++;
	}
}

static void evict_chunk(struct bench *b)
{
	uint32_t e = kvf_evict_victim(&b->evict);
	uint32_t parent = kvf_index_parent(&b->index, e);

	kvf_evict_remove(&b->evict, e);
	kvf_index_remove(&b->index, e);
	kvf_index_free(&b->index, e);
	if (parent != KVF_NIL)
		kvf_evict_release(&b->evict, parent);
}

/* A path that is there, most likely. */
static uint64_t random_path(struct bench *b)
{
	return b->oldest + next_random(b) % (b->next_path - b->oldest);
}

static void path_keys(uint8_t (*keys)[32], uint64_t path)
{
	for (uint32_t i = 0; i < PATH; i++)
		make_key(keys[i], path, i);
}

static void do_prefix(struct bench *b, uint64_t n)
{
	uint8_t keys[PATH][32];
	uint32_t out[PATH];

	for (uint64_t i = 0; i < n; i += PATH) {
		path_keys(keys, random_path(b));
		b->sink += kvf_index_resident_prefix(
			&b->index, (const uint8_t(*)[32])keys, PATH, out);
	}
}

/* A lookup of a prompt nobody has asked for yet: the keys of its chunks are hashed, then found. */
static void do_prompt(struct bench *b, uint64_t n)
{
	static uint32_t tokens[PATH * CHUNK];
	uint8_t keys[PATH][32];
	uint32_t out[PATH];

	for (uint64_t i = 0; i < n; i += PATH) {
		uint64_t path = random_path(b);
		uint8_t chain[32] = {0};

		tokens[0] = (uint32_t)path;
		for (uint32_t c = 0; c < PATH; c++)
			kvf_key_chunk(chain, chain, tokens + c * CHUNK, CHUNK, CHUNK, c * CHUNK, NULL, 0);
		b->sink += chain[0];
		path_keys(keys, path);
		b->sink += kvf_index_resident_prefix(&b->index, (const uint8_t(*)[32])keys, PATH, out);
	}
}

static void do_touch(struct bench *b, uint64_t n)
{
	uint8_t keys[PATH][32];
	uint32_t out[PATH];

	for (uint64_t i = 0; i < n; i += PATH) {
		uint32_t hit;

		path_keys(keys, random_path(b));
		hit = kvf_index_resident_prefix(
			&b->index, (const uint8_t(*)[32])keys, PATH, out);
		kvf_evict_touch(&b->evict, out, hit);
	}
}

static void do_turnover(struct bench *b, uint64_t n)
{
	uint8_t keys[PATH][32];
	uint32_t out[PATH];
	for (uint64_t i = 0; i < n; i++) {
		if (!b->made) {
			path_keys(keys, b->next_path);
			kvf_index_find_many(&b->index, (const uint8_t(*)[32])keys, PATH, out);
		}
		evict_chunk(b);
		store_chunk(b);
	}
}

static void do_find(struct bench *b, uint64_t n)
{
	uint8_t key[32];

	for (uint64_t i = 0; i < n; i++) {
		make_key(key, random_path(b), next_random(b) % PATH);
		b->sink += kvf_index_find(&b->index, key);
	}
}

static void do_miss(struct bench *b, uint64_t n)
{
	uint8_t key[32];

	for (uint64_t i = 0; i < n; i++) {
		make_key(key, next_random(b) | (uint64_t)1 << 50, 0);
		b->sink += kvf_index_find(&b->index, key);
	}
}

/* The machine's own part: one entry after the other, each known only when the last one is here. */
static void do_memory(struct bench *b, uint64_t n)
{
	uint64_t x = b->random;

	for (uint64_t i = 0; i < n; i++)
		x = mix(x + kvf_index_entry(&b->index, (uint32_t)(x % b->index.used))->key[0]);
	b->random = x;
}

/* As many entries at once as the machine has on the way. */
static void do_memory_many(struct bench *b, uint64_t n)
{
	uint64_t first = next_random(b);

	for (uint64_t i = 0; i < n; i++)
		b->sink += kvf_index_entry(&b->index, (uint32_t)(mix(first + i) % b->index.used))->key[0];
}

/* What is measured has a name of its own, so that callgrind can tell it from warming up. */
#define MEASURED(op)                                                                                       \
	__attribute__((noinline)) static void op_##op(struct bench *b, uint64_t n)                         \
	{                                                                                                  \
		do_##op(b, n);                                                                             \
	}

MEASURED(prefix)
MEASURED(prompt)
MEASURED(touch)
MEASURED(turnover)
MEASURED(find)
MEASURED(miss)
MEASURED(memory)
MEASURED(memory_many)

static int open_counter(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_HW_INSTRUCTIONS,
		.exclude_kernel = 1,
		.exclude_hv = 1,
	};

	return (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}

static uint64_t count_instructions(const struct bench *b)
{
	uint64_t n = 0;

	if (b->counter < 0 || read(b->counter, &n, sizeof(n)) != (ssize_t)sizeof(n))
		return 0;
	return n;
}

static struct figure measure(
	struct bench *b, const char *name, void (*op)(struct bench *, uint64_t))
{
	double ns[SLICES];
	uint64_t n = b->ops / SLICES / PATH * PATH + PATH;
	uint64_t instructions = count_instructions(b);

	for (unsigned int s = 0; s < SLICES; s++) {
		uint64_t t = tool_thread_cpu_ns();

		op(b, n);
		ns[s] = (double)(tool_thread_cpu_ns() - t) / (double)n;
	}
	instructions = count_instructions(b) - instructions;
	return (struct figure){ .name = name,
		.ns = bench_median(ns, SLICES),
		.instructions = (double)instructions / (double)(n * SLICES) };
}

/* Uses every entry once and frees them in random order: from then on neighbours on a path are strangers in memory. */
static void scatter(struct bench *b, uint32_t n)
{
	uint32_t *order = malloc(n * sizeof(*order));
	uint8_t key[32];

	if (!order)
		exit(1);
	for (uint32_t i = 0; i < n; i++) {
		make_key(key, (uint64_t)1 << 40 | i, 0);
		order[i] = kvf_index_insert(&b->index, key, KVF_NIL);
	}
	for (uint32_t i = n; i > 0; i--) {
		uint32_t at = (uint32_t)(next_random(b) % i);
		uint32_t e = order[at];

		order[at] = order[i - 1];
		kvf_index_remove(&b->index, e);
		kvf_index_free(&b->index, e);
	}
	free(order);
}

#define FIGURES 8

static void run_size(struct bench *b, uint32_t n, struct figure *figure)
{
	double fill_ns;
	uint64_t t;

	kvf_mem_init(&b->mem, NULL);
	if (kvf_index_init(&b->index, &b->mem, n) ||
		kvf_evict_init(&b->evict, &b->mem, &b->index, KVF_POLICY_LRU)) {
		fprintf(stderr, "bench_index: no memory for %u entries\n", n);
		exit(1);
	}
	b->next_path = 0;
	b->made = 0;
	if (b->scatter)
		scatter(b, n);
	t = tool_thread_cpu_ns();
	for (uint32_t i = 0; i < n; i++)
		store_chunk(b);
	fill_ns = (double)(tool_thread_cpu_ns() - t) / n;
	b->oldest = 0;
	/* Used in random order, paths are evicted in random order, and new ones take their scattered entries. */
	for (int round = 0; round < 2; round++) {
		do_touch(b, n);
		do_turnover(b, n / 2);
	}
	b->oldest = b->next_path - n / PATH / 4;
	figure[0] = measure(b, "prefix", op_prefix);
	figure[1] = measure(b, "prefix+touch", op_touch);
	figure[2] = measure(b, "find", op_find);
	figure[3] = measure(b, "miss", op_miss);
	figure[4] = measure(b, "turnover", op_turnover);
	figure[5] = measure(b, "memory", op_memory);
	figure[6] = measure(b, "memory, many", op_memory_many);
	figure[7] = measure(b, "prompt", op_prompt);
	for (int i = 0; i < FIGURES; i++)
		printf("%9u %-13s %8.1f ns %8.1f instructions\n", n, figure[i].name, figure[i].ns,
			figure[i].instructions);
	printf("%9u %-13s %8.1f ns; %.1f bytes an entry\n", n, "fill", fill_ns,
		(double)kvf_index_bytes(&b->index) / n);
	kvf_evict_fini(&b->evict);
	kvf_index_fini(&b->index);
	(void)kvf_mem_fini(&b->mem);
}

static int usage(void)
{
	fprintf(stderr,
		"usage: bench_index [--ops N] [--seed S] [--scatter] [ENTRIES >= 1000]...\n");
	return 2;
}

int main(int argc, char **argv)
{
	uint32_t sizes[16] = { 100000, 1000000, 10000000 };
	size_t n_sizes = 0;
	struct figure first[FIGURES], last[FIGURES];
	struct bench b = { .ops = 2000000, .random = 1 };

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--ops") && i + 1 < argc)
			b.ops = strtoull(argv[++i], NULL, 10);
		else if (!strcmp(argv[i], "--seed") && i + 1 < argc)
			b.random = strtoull(argv[++i], NULL, 10);
		else if (!strcmp(argv[i], "--scatter"))
			b.scatter = true;
		else if (n_sizes < KVF_ARRAY_LEN(sizes) && strtoul(argv[i], NULL, 10) >= 1000)
			sizes[n_sizes++] = (uint32_t)strtoul(argv[i], NULL, 10);
		else
			return usage();
	}
	if (!n_sizes)
		n_sizes = 3;
	b.counter = open_counter();
	if (b.counter < 0)
		printf("no instruction counter here: 0 below\n");
	for (size_t i = 0; i < n_sizes; i++)
		run_size(&b, sizes[i], i ? last : first);
	for (int i = 0; i < FIGURES && n_sizes > 1; i++)
		printf("%9s %-13s %8.2f x time %5.2f x instructions\n", "ratio", first[i].name,
			last[i].ns / first[i].ns,
			first[i].instructions > 0 ? last[i].instructions / first[i].instructions : 0);
	if (b.counter >= 0)
		close(b.counter);
	return b.sink == 1;
}
