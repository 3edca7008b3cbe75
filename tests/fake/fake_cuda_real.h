/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fake in place of the real runtime, for programs that let the engine choose its device: included by the one file
 * with main(). It defines the name of the real table, so that the program is linked without src/device/cuda_real.c. (In
 * the archive of test support it would take that name in programs that want the real one.)
 */
#ifndef KVF_TESTS_FAKE_CUDA_REAL_H
#define KVF_TESTS_FAKE_CUDA_REAL_H

#include <string.h>

#include "tests/fake/fake_cuda.h"

/* The real one is const and filled by the compiler, which cannot copy a table of another object. */
extern struct kvf_cuda_api fake_cuda_in_place __asm__("kvf_cuda_real");
struct kvf_cuda_api fake_cuda_in_place;

/* Call it before anything else. */
static inline void fake_cuda_be_real(void)
{
	memcpy(&fake_cuda_in_place, &fake_cuda_api, sizeof(fake_cuda_in_place));
}

#endif
