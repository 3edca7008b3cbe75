/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CUDA device over the fake runtime, with a layout that exists twice: in host memory, where the slow reference
 * works, and in device memory. Plays the engine: a pool of page-locked slots, completions by number.
 *
 * Over a real runtime too (cuda_rig_use_card), where a test asks for nothing that only the fake can do.
 */
#ifndef KVF_TESTS_CUDA_RIG_H
#define KVF_TESTS_CUDA_RIG_H

#include "base/mem.h"
#include "device/cuda.h"
#include "tests/fake/fake_cuda.h"
#include "tests/gen_layout.h"

#define CUDA_RIG_SLOTS 8
#define CUDA_RIG_COPIES 64
#define CUDA_OPS (&kvf_device_cuda_ops)

struct cuda_rig {
	struct kvf_device_host host;
	struct kvf_mem mem;
	struct gen_layout gen; /* the host's twin */
	struct kvf_layout layout; /* the same in device memory */
	struct kvf_group groups[KVF_MAX_GROUPS];
	void **device_memory;
	uint32_t chunk_size;
	struct kvf_layout_plan plan; /* of the device's */
	struct kvf_cuda_options options;
	struct kvf_cuda_device *dev;
	bool open, locked;
	uint32_t caps;
	uint8_t *pool;
	size_t slot_bytes;
	unsigned n_done, n_twice;
	struct kvf_copy *done[CUDA_RIG_COPIES];
	char text[2048];
	struct kvf_report report;
};

/* From now on rigs are on real cards. False: there is none. */
bool cuda_rig_use_card(const struct kvf_cuda_api *api);
bool cuda_rig_on_card(void);
/* GPUs there are: of the fake, as it was reset. */
int cuda_rig_devices(void);
/* The clock of what the rig is on, for options.now_ns. */
uint64_t cuda_rig_now(void *unused);

/* Puts the layout into device memory. cuda_rig_open() does it where it was not done. */
void cuda_rig_build(struct cuda_rig *rig, uint64_t seed);
/* Options for gen and chunk_size set by the caller: rig->options.word, copy, staging_bytes may be set too. `seed`
 * spreads the tensors over the fake's devices. Returns what open returned. */
int cuda_rig_open(struct cuda_rig *rig, uint64_t seed);
/* FlashAttention's layout, 2 layers, chunks of 64 tokens, filled. */
void cuda_rig_usual(struct cuda_rig *rig);
/* Also checks that nothing is left, and that the runtime has nothing to complain about. */
void cuda_rig_close(struct cuda_rig *rig);
/* Frees without a check: after injected failures. */
void cuda_rig_drop(struct cuda_rig *rig);
uint8_t *cuda_rig_slot(const struct cuda_rig *rig, unsigned slot);
/* Host twin -> device memory, and is it equal? */
void cuda_rig_upload(struct cuda_rig *rig);
bool cuda_rig_equal(const struct cuda_rig *rig);
void cuda_rig_prepare(struct cuda_rig *rig, struct gen_copy *gc, enum kvf_copy_direction direction, unsigned slot);
/* progress() until `n` copies are done; false: they are not, after very many looks. */
bool cuda_rig_await(struct cuda_rig *rig, unsigned n);
/* Device address of the first byte of the n-th tensor memory, and its size. */
uint8_t *cuda_rig_memory(const struct cuda_rig *rig, size_t n, size_t *bytes);

#endif
