/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A GPU as `--device cuda` needs it: memory on it, page-locked memory beside it, plain copies between the two that are
 * waited for. What the engine does is none of its business.
 */
#ifndef KVFERRY_GPU_H
#define KVFERRY_GPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gpu;

/* Device 0. NULL: there is none; text says what is missing, with the status's name. */
struct gpu *gpu_open(char *text, size_t size);
void gpu_close(struct gpu *gpu); /* NULL: nothing happens */

/* NULL: no room. */
void *gpu_alloc(struct gpu *gpu, size_t n);
void gpu_free(struct gpu *gpu, void *p);
void *gpu_host_alloc(struct gpu *gpu, size_t n);
void gpu_host_free(struct gpu *gpu, void *p);

/* Begins a copy between device memory and page-locked memory, behind those that were begun before. */
void gpu_copy(struct gpu *gpu, void *to, const void *from, size_t n, bool to_host);
/* Until all of them are done. 0; -1: something failed, now or before, and text says what. */
int gpu_wait(struct gpu *gpu, char *text, size_t size);

#endif
