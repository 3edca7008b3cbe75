/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A paged KV cache of the shape of Llama-3.1-8B in bfloat16, as vLLM's FlashAttention keeps it: a tensor [2, blocks,
 * 16, 8, 128] for each of 32 layers, 128 KiB a token, 32 MiB a chunk of 256 tokens. A prompt is stored, its blocks go
 * to somebody else, a second request with the same prefix gets them back into other ones.
 *
 *	llama3_paged [TOKENS [LAYERS]]	default: 512 tokens, 4 of the layers
 *
 * The tensors are on GPU 0 where there is one, else in host memory: to kvferry that is a number in the layout.
 */
#include "common.h"

#ifdef HAVE_CUDA
#include <cuda_runtime_api.h>
#endif

enum { BLOCK = 16, HEADS = 8, HEAD = 128, ROW = HEADS * HEAD * 2, MOST_LAYERS = 32 };

static struct kvf_layer layers[MOST_LAYERS];
static uint32_t n_layers = 4, n_tokens = 512, n_blocks;
static size_t plane_bytes;
static int device = -1;	      /* host memory */
static unsigned char *mirror; /* one layer's tensor, as the "model" computes it or finds it */

static void *tensor_new(size_t n)
{
#ifdef HAVE_CUDA
	void *p = NULL;
	int found = 0;

	if (cudaGetDeviceCount(&found) == cudaSuccess && found && cudaSetDevice(0) == cudaSuccess) {
		device = 0;
		return cudaMalloc(&p, n) == cudaSuccess ? p : NULL;
	}
#endif
	return calloc(1, n);
}

/* To the end: KVF_FENCE_NOW is true afterwards. */
static void tensor_copy(void *to, const void *from)
{
#ifdef HAVE_CUDA
	if (device >= 0) {
		must(cudaMemcpy(to, from, 2 * plane_bytes, cudaMemcpyDefault) == cudaSuccess, "cudaMemcpy");
		return;
	}
#endif
	memcpy(to, from, 2 * plane_bytes);
}

/* The KV of tokens [0, n) in the blocks of a table: written (and zeros elsewhere), or compared. Returns wrong bytes. */
static size_t model(const uint32_t *table, uint32_t n, int check)
{
	size_t wrong = 0;

	for (uint32_t l = 0; l < n_layers; l++) {
		if (check)
			tensor_copy(mirror, layers[l].base[0]);
		else
			memset(mirror, 0, 2 * plane_bytes);
		for (uint32_t i = 0; i < 2 * n; i++) {
			uint32_t plane = i % 2, t = i / 2, slot = table[t / BLOCK] * BLOCK + t % BLOCK;
			unsigned char *row = mirror + plane * plane_bytes + (size_t)slot * ROW;

			for (uint32_t e = 0; e < ROW; e++) {
				unsigned char byte = (unsigned char)(l * 37 + plane * 11 + t * 5 + t / 256 + e);

				wrong += check && row[e] != byte;
				if (!check)
					row[e] = byte;
			}
		}
		if (!check)
			tensor_copy(layers[l].base[0], mirror);
	}
	return wrong;
}

static struct kvf_engine *open_cache(void)
{
	static struct kvf_group group;
	static struct kvf_layout layout;
	struct kvf_open_params params;
	char slots[16];

	n_blocks = 2 * (n_tokens / BLOCK) + 1;
	plane_bytes = (size_t)n_blocks * BLOCK * ROW;
	mirror = calloc(2, plane_bytes);
	for (uint32_t l = 0; l < n_layers; l++) {
		unsigned char *tensor = tensor_new(2 * plane_bytes); /* K of all blocks, then V */

		must(tensor && mirror, "memory for the KV cache");
		layers[l] = (struct kvf_layer){ .base = { tensor, tensor + plane_bytes }, .device = device };
	}
	group = (struct kvf_group){ .size = sizeof(group), .n_layers = n_layers, .planes = 2, .heads = HEADS,
				    .head_elems = HEAD, .dtype = KVF_BFLOAT16, .block_tokens = BLOCK,
				    .n_blocks = n_blocks, .block_stride = BLOCK * ROW, .token_stride = ROW,
				    .head_stride = HEAD * 2, .layers = layers };
	layout = (struct kvf_layout){ .size = sizeof(layout), .n_groups = 1, .groups = &group };
	kvf_open_params_init(&params);
	params.layout = &layout;
	snprintf(slots, sizeof(slots), "%u", n_tokens / CHUNK + 8);
	return engine_open(&params, NULL, slots);
}

int main(int argc, char **argv)
{
	struct kvf_engine *engine;
	struct kvf_completion c;
	struct kvf_seq *seq;
	uint32_t *tokens, *table;
	size_t wrong;

	n_tokens = argc > 1 ? (uint32_t)atoi(argv[1]) / CHUNK * CHUNK : n_tokens;
	n_layers = argc > 2 ? (uint32_t)atoi(argv[2]) : n_layers;
	must(n_tokens >= CHUNK && n_layers >= 1 && n_layers <= MOST_LAYERS, "TOKENS from 256 on, 1 to 32 LAYERS");
	engine = open_cache();
	printf("the KV cache is %s\n", device < 0 ? "in host memory" : "on GPU 0");
	tokens = malloc(n_tokens * sizeof(*tokens));
	table = malloc(n_tokens / BLOCK * sizeof(*table));
	must(tokens && table, "memory");
	make_prompt(tokens, n_tokens, n_tokens, 0);
	must(kvf_seq_open(engine, NULL, &seq) == KVF_OK, "kvf_seq_open");
	must(kvf_seq_append(seq, tokens, n_tokens) == KVF_OK, "kvf_seq_append");
	for (uint32_t b = 0; b < n_tokens / BLOCK; b++)
		table[b] = 2 * b + 1; /* pages are anywhere */
	model(table, n_tokens, 0);
	c = kv_copy(engine, seq, table, KVF_OP_STORE, 0, n_tokens, KVF_LEVEL_INDEXED);
	printf("stored %u tokens, %zu MiB\n", c.tokens, (size_t)c.tokens * n_layers * 2 * ROW >> 20);
	model(table, 0, 0); /* the pages are somebody else's */
	for (uint32_t b = 0; b < n_tokens / BLOCK; b++)
		table[b] = 2 * (n_tokens / BLOCK - b); /* other pages */
	c = kv_copy(engine, seq, table, KVF_OP_RETRIEVE, 0, n_tokens, KVF_LEVEL_NONE);
	wrong = model(table, n_tokens, 1);
	printf("retrieved %u tokens, %zu bytes are wrong\n", c.tokens, wrong);
	must(c.tokens == n_tokens && wrong == 0, "every byte comes back");
	kvf_seq_close(seq);
	engine_close(engine);
	for (uint32_t l = 0; l < n_layers && device < 0; l++)
		free(layers[l].base[0]);
	free(mirror);
	free(table);
	free(tokens);
	return 0;
}
