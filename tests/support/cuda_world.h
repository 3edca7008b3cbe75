/* SPDX-License-Identifier: Apache-2.0 */
/* The CUDA device over the fake runtime as the device of a world (tests/sim/world.h): sweeps and the simulator. */
#ifndef KVF_TESTS_CUDA_WORLD_H
#define KVF_TESTS_CUDA_WORLD_H

#include "device/cuda.h"
#include "tests/fake/fake_cuda.h"
#include "tests/sim/world.h"

/* world_options.backend_arg */
struct cuda_world_options {
	bool word;
	enum kvf_copy_way copy;
	bool calibrate;		/* only with KVF_WAY_AUTO */
	uint64_t staging_bytes; /* 0: no kernel */
	int devices;		/* groups are spread over them */
	/* The k-th call of the device fails; 0: none does. */
	uint64_t fail_at;
	cudaError_t fail_with;
	bool fail_lasting;
	struct fake_cuda_storm storm;
	/* out: at the end, without what the host called */
	uint64_t calls;
	const char *failed; /* which call did */
};

extern const struct world_backend cuda_world;

#endif
