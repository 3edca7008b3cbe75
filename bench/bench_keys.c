/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What chunk keys cost: kvf_seq_append's inside beside one SHA-256 pass over the same bytes.
 *
 *	bench/bench_keys [PAIRS]	default 200 pairs a case
 *
 * Both sides of a pair run one after the other, in turns first, on thread-CPU time. Printed: the
 * median of either side in ns a token and the median ratio of the pairs with a bootstrap 95 %
 * interval. 17/16 = 1.0625 is the floor of the ratio for chunks of 256 tokens: a key hashes 32
 * bytes of parent and 32 of padding beside 1,024 of tokens.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <openssl/evp.h>

#include "base/compiler.h"
#include "base/mem.h"
#include "bench_stats.h"
#include "token/seq.h"
#include "tool.h"

#define MAX_PAIRS 10000

struct setup {
	const char *name;
	uint32_t chunk_size;
	size_t before; /* tokens that are there already */
	size_t tokens;
	size_t step; /* tokens an append */
	unsigned int repeat;
};

static const struct setup setups[] = {
	{"prompt of 103,662", 256, 0, 103662, 103662, 1},
	{"prompt of 103,662 in pieces of 100", 256, 0, 103662, 100, 1},
	{"+704 after 103,662", 256, 103662, 704, 704, 64},
	{"one token at a time, 2,048", 256, 0, 2048, 1, 32},
	{"prompt of 103,662, chunks of 16", 16, 0, 103662, 103662, 1},
};

static double run_append(struct kvf_seq_env *env, const struct setup *s, const uint32_t *tokens)
{
	uint64_t spent = 0, begin;

	for (unsigned int i = 0; i < s->repeat; i++) {
		struct kvf_seq *seq;

		if (kvf_seq_new(env, NULL, &seq) != KVF_OK ||
			kvf_seq_add(seq, tokens, s->before) != KVF_OK)
			exit(3);
		begin = tool_thread_cpu_ns();
		for (size_t at = 0; at < s->tokens; at += s->step)
			if (kvf_seq_add(seq, tokens + s->before + at,
				    kvf_min_u64(s->step, s->tokens - at)) != KVF_OK)
				exit(3);
		spent += tool_thread_cpu_ns() - begin;
		kvf_seq_free(seq);
	}
	return (double)spent / s->repeat;
}

static double run_hash(const struct setup *s, const uint32_t *tokens)
{
	double begin = tool_thread_cpu_ns();
	uint8_t out[32];

	for (unsigned int i = 0; i < s->repeat; i++)
		if (EVP_Digest(tokens + s->before, s->tokens * sizeof(*tokens), out, NULL,
			    EVP_sha256(), NULL) != 1)
			exit(3);
	return (double)(tool_thread_cpu_ns() - begin) / s->repeat;
}

static void measure(
	struct kvf_mem *mem, const struct setup *s, const uint32_t *tokens, size_t pairs)
{
	static double append[MAX_PAIRS], hash[MAX_PAIRS], ratio[MAX_PAIRS], sample[MAX_PAIRS];
	struct kvf_seq_env env = {.mem = mem, .chunk_size = s->chunk_size};
	double low, high;

	kvf_list_init(&env.all);
	for (size_t i = 0; i < pairs + 2; i++) {
		size_t at = i < 2 ? 0 : i - 2; /* two to warm up */

		if (i % 2)
			hash[at] = run_hash(s, tokens);
		append[at] = run_append(&env, s, tokens);
		if (i % 2 == 0)
			hash[at] = run_hash(s, tokens);
		ratio[at] = append[at] / hash[at];
	}
	bench_interval(ratio, pairs, sample, &low, &high);
	printf("%-36s append %7.3f ns/token %9.2f us   SHA-256 %6.3f ns/token   ratio %.3f [%.3f, "
	       "%.3f]\n",
		s->name, bench_median(append, pairs) / (double)s->tokens, bench_median(append, pairs) / 1e3,
		bench_median(hash, pairs) / (double)s->tokens, bench_median(ratio, pairs), low, high);
}

int main(int argc, char **argv)
{
	size_t pairs = argc > 1 ? strtoul(argv[1], NULL, 10) : 200;
	size_t n = 103662 + 704;
	uint32_t *tokens = malloc(n * sizeof(*tokens));
	struct kvf_mem mem;

	if (!tokens || pairs < 2 || pairs > MAX_PAIRS) {
		fprintf(stderr, "usage: bench_keys [PAIRS: 2..%d]\n", MAX_PAIRS);
		free(tokens);
		return 2;
	}
	for (size_t i = 0; i < n; i++)
		tokens[i] = (uint32_t)i * 2654435761u % 128256;
	kvf_mem_init(&mem, NULL);
	for (size_t i = 0; i < KVF_ARRAY_LEN(setups); i++)
		measure(&mem, &setups[i], tokens, pairs);
	kvf_mem_fini(&mem);
	free(tokens);
	return 0;
}
