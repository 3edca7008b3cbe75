/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of bench_gpu share. */
#ifndef KVF_BENCH_GPU_H
#define KVF_BENCH_GPU_H

#include <stdio.h>

#include "base/compiler.h"
#include "device/cuda.h"
#include "device/cuda_api.h"

#define ROUNDS 5u
#define CALLS 10000u

struct bench_gpu {
	const struct kvf_cuda_api *api;
	bool fake, first;
	FILE *json;
	size_t total;
	double link[2], both; /* GB/s */
	char card[64];
};

extern struct bench_gpu b;

uint64_t now_ns(void *unused);
/* A row of the table, and of the JSON file. */
void result(const char *unit, double value, const char *format, ...) KVF_PRINTF(3, 4);
/* Ends the program when it is an error. */
void must(cudaError_t error, const char *what);
double gb_per_s(size_t bytes, uint64_t ns);
/* Until the stream is empty. */
void drain(cudaStream_t stream);

/* gpu_calls.c: the link's ceilings, and what calls cost. */
void bench_link(void);
void bench_calls(void);
void bench_host_func(void);
void bench_word(void);
void bench_batch_sizes(void);
void bench_page_locking(void);

#endif
