/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The "GPU" of a replay: a paged KV cache in host memory, or on a real one (--device cuda), and who has which of its
 * blocks.
 *
 * Its address space is large and touched on demand: blocks come into use only when the free ones do
 * not suffice, and a request gets a random choice of the free ones, as in an engine that has run
 * for a while.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/compiler.h"
#include "replay.h"

#define TOUCH_BYTES 4096
#define MOST_TOKENS (UINT64_C(1) << 25)
#define MOST_BYTES (UINT64_C(1) << 36)
#define MOST_GPU_BYTES (UINT64_C(1) << 33) /* there are others on a GPU */

/* How token_bytes fall into layers, planes, heads: the most layers that leave rows of 16 bytes or
 * more. */
static void choose_shape(struct replay_device *dev, uint64_t token_bytes)
{
	struct kvf_group *g = &dev->group;
	uint32_t layers = 32;

	dev->planes = token_bytes % 2 == 0 ? 2 : 1;
	while (layers > 1 && (token_bytes % (dev->planes * layers) != 0 ||
				     token_bytes / (dev->planes * layers) < 16))
		layers /= 2;
	dev->n_layers = layers;
	dev->row_bytes = (uint32_t)(token_bytes / (dev->planes * layers));
	*g = (struct kvf_group){
		.size = sizeof(*g), .n_layers = layers, .planes = dev->planes, .heads = 1};
	g->dtype = dev->row_bytes % 2 == 0 ? KVF_BFLOAT16 : KVF_UINT8;
	if (dev->row_bytes % 256 == 0)
		g->heads = dev->row_bytes / 256;
	g->head_elems = dev->row_bytes / g->heads / (uint32_t)kvf_dtype_bytes(g->dtype);
	g->block_tokens = dev->block_tokens;
	g->n_blocks = dev->n_blocks;
	g->head_stride = dev->row_bytes / g->heads;
	g->token_stride = dev->row_bytes;
	g->block_stride = (uint64_t)dev->row_bytes * dev->block_tokens;
}

static int point_layers(struct replay_device *dev)
{
	dev->layers = calloc(dev->n_layers, sizeof(*dev->layers));
	if (!dev->layers)
		return -1;
	for (uint32_t l = 0; l < dev->n_layers; l++) {
		dev->layers[l].device = -1;
		for (uint32_t p = 0; p < dev->planes; p++)
			dev->layers[l].base[p] = replay_device_row(dev, l * dev->planes + p, 0, 0);
		/* The same place in the GPU's memory. */
		for (uint32_t p = 0; p < dev->planes && dev->gpu; p++) {
			dev->layers[l].base[p] = dev->gpu_memory + ((uint8_t *)dev->layers[l].base[p] - dev->memory);
			dev->layers[l].device = 0;
		}
	}
	dev->group.layers = dev->layers;
	dev->layout = (struct kvf_layout){.size = sizeof(dev->layout),
		.kind = KVF_LAYOUT_PAGED,
		.payload_order = KVF_PAYLOAD_LMCACHE,
		.n_groups = 1,
		.groups = &dev->group};
	return 0;
}

/* As many blocks as there is address space for: a limit or valgrind may leave less than we like. */
static int map_memory(struct replay_device *dev, uint64_t token_bytes)
{
	uint64_t tokens = kvf_min_u64((dev->gpu ? MOST_GPU_BYTES : MOST_BYTES) / token_bytes, MOST_TOKENS);

	for (dev->n_blocks = (uint32_t)(tokens / dev->block_tokens); dev->n_blocks;
		dev->n_blocks /= 2) {
		dev->bytes = (uint64_t)dev->n_blocks * dev->block_tokens * token_bytes;
		dev->memory = mmap(NULL, dev->bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (dev->memory == MAP_FAILED)
			continue;
		dev->gpu_memory = dev->gpu ? gpu_alloc(dev->gpu, dev->bytes) : NULL;
		if (!dev->gpu || dev->gpu_memory)
			return 0;
		munmap(dev->memory, dev->bytes);
	}
	dev->memory = NULL;
	return -1;
}

static int init(struct replay_device *dev, uint64_t token_bytes, uint64_t block_tokens, uint64_t seed,
	char *error, size_t error_size)
{
	dev->block_tokens = (uint32_t)block_tokens;
	wl_rng_seed(&dev->rng, seed);
	if (map_memory(dev, token_bytes) != 0) {
		snprintf(error, error_size,
			"no %s for a device with blocks of %" PRIu64 " bytes",
			dev->gpu ? "room on the GPU" : "address space", block_tokens * token_bytes);
		replay_device_fini(dev);
		return -1;
	}
	choose_shape(dev, token_bytes);
	dev->staging = dev->gpu ? gpu_host_alloc(dev->gpu, block_tokens * token_bytes) : NULL;
	if (dev->gpu && !dev->staging) {
		snprintf(error, error_size, "no page-locked memory for a block of the device");
		replay_device_fini(dev);
		return -1;
	}
	dev->free = malloc((size_t)dev->n_blocks * sizeof(*dev->free));
	if (!dev->free || point_layers(dev) != 0) {
		snprintf(error, error_size, "no memory for the device's block table");
		replay_device_fini(dev);
		return -1;
	}
	return 0;
}

int replay_device_init(struct replay_device *dev, uint64_t token_bytes, uint64_t block_tokens,
	uint64_t seed, char *error, size_t error_size)
{
	*dev = (struct replay_device){.memory = NULL};
	return init(dev, token_bytes, block_tokens, seed, error, error_size);
}

int replay_device_init_gpu(struct replay_device *dev, uint64_t token_bytes, uint64_t block_tokens,
	uint64_t seed, char *error, size_t error_size)
{
	char text[160];

	*dev = (struct replay_device){.gpu = gpu_open(text, sizeof(text))};
	if (dev->gpu)
		return init(dev, token_bytes, block_tokens, seed, error, error_size);
	snprintf(error, error_size, "--device cuda: %s", text);
	return -1;
}

void replay_device_fini(struct replay_device *dev)
{
	if (dev->gpu) {
		gpu_free(dev->gpu, dev->gpu_memory);
		gpu_host_free(dev->gpu, dev->staging);
		gpu_close(dev->gpu);
	}
	dev->gpu = NULL;
	dev->gpu_memory = dev->staging = NULL;
	if (dev->memory)
		munmap(dev->memory, dev->bytes);
	free(dev->layers);
	free(dev->free);
	dev->memory = NULL;
	dev->layers = NULL;
	dev->free = NULL;
}

uint8_t *replay_device_row(
	const struct replay_device *dev, uint32_t row, uint32_t block, uint32_t token)
{
	uint64_t at = ((uint64_t)row * dev->n_blocks + block) * dev->block_tokens + token;

	return dev->memory + at * dev->row_bytes;
}

/* One request's blocks are its own until it gives them back: nothing of the engine's is under way here. */
void replay_device_sync(struct replay_device *dev, uint32_t block, uint32_t first, uint32_t n, bool to_host)
{
	size_t piece = (size_t)n * dev->row_bytes;
	uint32_t rows = dev->n_layers * dev->planes;

	if (!dev->gpu || dev->gpu_error[0])
		return;
	for (uint32_t row = 0; row < rows; row++) {
		uint8_t *host = replay_device_row(dev, row, block, first), *staged = dev->staging + row * piece;
		uint8_t *there = dev->gpu_memory + (host - dev->memory);

		if (!to_host)
			memcpy(staged, host, piece);
		gpu_copy(dev->gpu, to_host ? staged : there, to_host ? there : staged, piece, to_host);
	}
	(void)gpu_wait(dev->gpu, dev->gpu_error, sizeof(dev->gpu_error));
	for (uint32_t row = 0; to_host && row < rows; row++)
		memcpy(replay_device_row(dev, row, block, first), dev->staging + row * piece, piece);
}

/* Page faults of the device are not to be paid by whoever copies first. */
static void touch_block(const struct replay_device *dev, uint32_t block)
{
	uint64_t bytes = (uint64_t)dev->block_tokens * dev->row_bytes;

	for (uint32_t row = 0; row < dev->n_layers * dev->planes; row++) {
		uint8_t *at = replay_device_row(dev, row, block, 0);

		for (uint64_t i = 0; i < bytes; i += TOUCH_BYTES)
			at[i] = 0;
	}
}

bool replay_device_take(struct replay_device *dev, uint32_t *ids, uint32_t n)
{
	if (n > dev->n_free) {
		uint32_t more = n - dev->n_free;

		if (more > dev->n_blocks - dev->n_used)
			return false;
		while (more--) {
			touch_block(dev, dev->n_used);
			dev->free[dev->n_free++] = dev->n_used++;
		}
	}
	for (uint32_t i = 0; i < n; i++) {
		uint32_t at = (uint32_t)wl_rng_below(&dev->rng, dev->n_free);

		ids[i] = dev->free[at];
		dev->free[at] = dev->free[--dev->n_free];
	}
	dev->n_taken += n;
	if (dev->n_taken > dev->peak_taken)
		dev->peak_taken = dev->n_taken;
	return true;
}

void replay_device_give(struct replay_device *dev, const uint32_t *ids, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		dev->free[dev->n_free++] = ids[i];
	dev->n_taken -= n;
}
