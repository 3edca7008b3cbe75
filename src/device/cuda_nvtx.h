/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranges for NVIDIA's profilers around what the CPU does for a copy, in builds with --enable-nvtx. Without it there is
 * nothing: NVTX brings variables of its own into a library that has none else.
 */
#ifndef KVF_DEVICE_CUDA_NVTX_H
#define KVF_DEVICE_CUDA_NVTX_H

#ifdef KVF_NVTX
#include <nvtx3/nvToolsExt.h>
#define KVF_NVTX_BEGIN(name) ((void)nvtxRangePushA(name))
#define KVF_NVTX_END() ((void)nvtxRangePop())
#else
#define KVF_NVTX_BEGIN(name) ((void)(name))
#define KVF_NVTX_END() ((void)0)
#endif

#endif
