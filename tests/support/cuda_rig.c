/* SPDX-License-Identifier: Apache-2.0 */
/* The CUDA device over the fake runtime: see cuda_rig.h. */
#include "tests/support/cuda_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"
#include "tool.h"

static const struct kvf_cuda_api *card; /* NULL: the fake */

bool cuda_rig_use_card(const struct kvf_cuda_api *api)
{
	int n = 0;

	if (api->GetDeviceCount(&n) != cudaSuccess || n == 0)
		return false;
	card = api;
	return true;
}

bool cuda_rig_on_card(void)
{
	return card != NULL;
}

static const struct kvf_cuda_api *runtime(void)
{
	return card ? card : &fake_cuda_api;
}

int cuda_rig_devices(void)
{
	int n = 1;

	if (!card)
		return fake_cuda_devices();
	(void)card->GetDeviceCount(&n);
	return n;
}

uint64_t cuda_rig_now(void *unused)
{
	return card ? tool_now_ns() : fake_cuda_now(unused);
}

/* Between a card's memory and the host's, to the end. */
static void card_copy(void *to, const void *from, size_t n, enum cudaMemcpyKind kind)
{
	cudaStream_t stream;

	CU_ASSERT_EQUAL_FATAL(card->StreamCreateWithPriority(&stream, cudaStreamNonBlocking, 0), cudaSuccess);
	CU_ASSERT_EQUAL_FATAL(card->MemcpyAsync(to, from, n, kind, stream), cudaSuccess);
	while (card->StreamQuery(stream) == cudaErrorNotReady)
		;
	CU_ASSERT_EQUAL(card->StreamDestroy(stream), cudaSuccess);
}

static void rig_complete(struct kvf_device_host *host, struct kvf_copy *copy, int status)
{
	struct cuda_rig *rig = kvf_container_of(host, struct cuda_rig, host);

	for (unsigned i = 0; i < rig->n_done && i < CUDA_RIG_COPIES; i++)
		rig->n_twice += rig->done[i] == copy;
	copy->status = status;
	copy->link = rig;
	if (rig->n_done < CUDA_RIG_COPIES)
		rig->done[rig->n_done] = copy;
	rig->n_done++;
}

static size_t memory_of(const struct cuda_rig *rig, const void *p)
{
	size_t i = 0;

	while ((const uint8_t *)p < rig->gen.memory[i].p ||
	       (const uint8_t *)p >= rig->gen.memory[i].p + rig->gen.memory[i].n)
		i++;
	return i;
}

/* Tensors go where the first layer that lies in them is; K and V of a layer are on one device. */
static void build_twin(struct cuda_rig *rig, struct gen_rng *rng, int devices)
{
	const struct kvf_cuda_api *api = runtime();
	int *where = malloc(rig->gen.n_memory * sizeof(*where)), before = 0;

	(void)api->GetDevice(&before);
	for (size_t i = 0; i < rig->gen.n_memory; i++)
		where[i] = -1;
	rig->layout = rig->gen.layout;
	rig->layout.groups = rig->groups;
	rig->device_memory = calloc(rig->gen.n_memory, sizeof(void *));
	for (uint32_t g = 0; g < rig->layout.n_groups; g++) {
		const struct kvf_group *from = &rig->gen.groups[g];
		struct kvf_layer *layers = calloc(from->n_layers, sizeof(*layers));

		rig->groups[g] = *from;
		rig->groups[g].layers = layers;
		for (uint32_t l = 0; l < from->n_layers; l++) {
			int device = where[memory_of(rig, from->layers[l].base[0])];

			if (device < 0)
				device = (int)gen_below(rng, (uint32_t)devices);
			layers[l].device = device;
			for (uint32_t p = 0; p < from->planes; p++) {
				size_t m = memory_of(rig, from->layers[l].base[p]);

				if (!rig->device_memory[m]) {
					where[m] = device;
					api->SetDevice(device);
					api->Malloc(&rig->device_memory[m], rig->gen.memory[m].n);
				}
				layers[l].base[p] = (uint8_t *)rig->device_memory[m] +
						    ((uint8_t *)from->layers[l].base[p] - rig->gen.memory[m].p);
			}
		}
	}
	api->SetDevice(before);
	free(where);
}

void cuda_rig_upload(struct cuda_rig *rig)
{
	for (size_t i = 0; i < rig->gen.n_memory; i++) {
		const struct gen_memory *m = &rig->gen.memory[i];

		if (card)
			card_copy(rig->device_memory[i], m->p, m->n, cudaMemcpyHostToDevice);
		else
			memcpy(fake_cuda_shadow(rig->device_memory[i]), m->p, m->n);
	}
}

static bool card_equal(const void *device, const struct gen_memory *memory)
{
	uint8_t *now = malloc(memory->n);
	bool same;

	card_copy(now, device, memory->n, cudaMemcpyDeviceToHost);
	same = !memcmp(now, memory->p, memory->n);
	free(now);
	return same;
}

bool cuda_rig_equal(const struct cuda_rig *rig)
{
	for (size_t i = 0; i < rig->gen.n_memory; i++) {
		const struct gen_memory *m = &rig->gen.memory[i];

		if (card ? !card_equal(rig->device_memory[i], m) :
			   memcmp(fake_cuda_shadow(rig->device_memory[i]), m->p, m->n) != 0)
			return false;
	}
	return true;
}

uint8_t *cuda_rig_memory(const struct cuda_rig *rig, size_t n, size_t *bytes)
{
	*bytes = rig->gen.memory[n].n;
	return rig->device_memory[n];
}

uint8_t *cuda_rig_slot(const struct cuda_rig *rig, unsigned slot)
{
	return rig->pool + slot * rig->slot_bytes;
}

void cuda_rig_build(struct cuda_rig *rig, uint64_t seed)
{
	struct gen_rng rng = { seed };

	build_twin(rig, &rng, cuda_rig_devices());
}

int cuda_rig_open(struct cuda_rig *rig, uint64_t seed)
{
	int rc;

	kvf_mem_init(&rig->mem, NULL);
	rig->host = (struct kvf_device_host){ .size = sizeof(rig->host), .complete = rig_complete };
	kvf_report_init(&rig->report, rig->text, sizeof(rig->text));
	rig->host.report = &rig->report;
	if (!rig->device_memory)
		cuda_rig_build(rig, seed);
	cuda_rig_upload(rig);
	CU_ASSERT_EQUAL_FATAL(kvf_layout_init(&rig->plan, &rig->mem, &rig->layout, rig->chunk_size, NULL, 0), KVF_OK);
	rig->slot_bytes = (rig->plan.payload_bytes + 8191) / 4096 * 4096;
	rig->pool = aligned_alloc(4096, rig->slot_bytes * CUDA_RIG_SLOTS);
	memset(rig->pool, 0x11, rig->slot_bytes * CUDA_RIG_SLOTS);
	rig->options.api = runtime();
	rig->options.chunk_tokens = rig->chunk_size;
	CU_ASSERT_EQUAL_FATAL(kvf_cuda_device_new(&rig->mem, &rig->options, &rig->dev), KVF_OK);
	rc = CUDA_OPS->open(rig->dev, &rig->host, &rig->layout, &rig->caps);
	rig->host.report = NULL;
	rig->open = !rc;
	if (!rc)
		rc = CUDA_OPS->lock(rig->dev, rig->pool, rig->slot_bytes * CUDA_RIG_SLOTS);
	rig->locked = rig->open && !rc;
	return rc;
}

void cuda_rig_usual(struct cuda_rig *rig)
{
	struct gen_shape shape = { 2, 16, 16, 4, 8, KVF_FLOAT16 };
	struct gen_rng rng = { 3 };

	rig->chunk_size = 64;
	gen_layout_init(&rig->gen, KVF_PAYLOAD_LMCACHE);
	gen_layout_add(&rig->gen, "TBSHE", 2, &shape, NULL);
	gen_layout_fill(&rig->gen, &rng);
}

void cuda_rig_drop(struct cuda_rig *rig)
{
	if (rig->locked)
		CUDA_OPS->unlock(rig->dev, rig->pool, rig->slot_bytes * CUDA_RIG_SLOTS);
	if (rig->open)
		CUDA_OPS->close(rig->dev);
	kvf_cuda_device_free(&rig->mem, rig->dev);
	kvf_layout_fini(&rig->plan, &rig->mem);
	CU_ASSERT_EQUAL(kvf_mem_fini(&rig->mem), 0);
	CU_ASSERT_EQUAL(rig->n_twice, 0);
	for (uint32_t g = 0; g < rig->layout.n_groups; g++)
		free((void *)(uintptr_t)rig->groups[g].layers);
	for (size_t i = 0; card && i < rig->gen.n_memory; i++)
		CU_ASSERT_EQUAL(card->Free(rig->device_memory[i]), cudaSuccess);
	free(rig->device_memory);
	free(rig->pool);
	gen_layout_fini(&rig->gen);
	memset(rig, 0, sizeof(*rig));
}

void cuda_rig_close(struct cuda_rig *rig)
{
	size_t n = rig->gen.n_memory;

	cuda_rig_drop(rig);
	if (card)
		return;
	CU_ASSERT_EQUAL(fake_cuda_live(), n);
	CU_ASSERT_EQUAL(fake_cuda_violations(), 0);
	if (fake_cuda_violations())
		fprintf(stderr, "fake CUDA: %s\n", fake_cuda_violation());
	CU_ASSERT_EQUAL(fake_cuda_current_device(), 0);
	CU_ASSERT_EQUAL(fake_cuda_thread_mode(), cudaStreamCaptureModeGlobal);
}

void cuda_rig_prepare(struct cuda_rig *rig, struct gen_copy *gc, enum kvf_copy_direction direction, unsigned slot)
{
	gc->copy.direction = direction;
	gc->copy.payload = cuda_rig_slot(rig, slot);
}

bool cuda_rig_await(struct cuda_rig *rig, unsigned n)
{
	for (uint64_t i = 0; i < (card ? 1000000000 : 200000) && rig->n_done < n; i++) {
		CUDA_OPS->progress(rig->dev, 1u << 20);
		if (!card)
			fake_cuda_advance(200 + 100 * i);
	}
	return rig->n_done >= n;
}
