/* SPDX-License-Identifier: Apache-2.0 */
/* An allocator for struct kvf_allocator that counts, checks sizes, and fails on request. */
#ifndef KVF_TESTS_SIM_SIMMEM_H
#define KVF_TESTS_SIM_SIMMEM_H

#include <stdbool.h>

#include "kvferry/kvferry.h"
#include "workload/rng.h"

#define SIMMEM_ANY UINT64_MAX

struct simmem {
	struct kvf_allocator allocator; /* hand this over */
	uint64_t calls, failures;
	uint64_t live_blocks, live_bytes;
	uint64_t wrong_sizes; /* release with another size than alloc */
	uint64_t fail_at; /* the call with this number (from 1) fails; 0: none */
	bool persistent; /* and all after it */
	uint32_t fail_ppm; /* each call fails with this chance */
	struct wl_rng rng;
};

void simmem_init(struct simmem *mem, uint64_t seed);
/* From now on so many calls are granted and no more; SIMMEM_ANY: all of them. */
void simmem_allow(struct simmem *mem, uint64_t n);

#endif
