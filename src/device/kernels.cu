/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gather and scatter between paged KV and a staging buffer in device memory. A warp takes one run after another;
 * rows are moved in the widest words that all addresses and strides of the run allow. Few blocks: the host's
 * kernels need the SMs.
 *
 * Descriptors lie in page-locked host memory and are read once each. struct desc is struct cuda_desc of cuda_impl.h.
 */
#include <stdint.h>

struct desc {
	uint64_t dev;
	uint64_t staged;
	uint64_t bytes;
	uint64_t dev_stride, staged_stride;
	uint32_t rows, reserved;
};

template <typename word>
static __device__ void move_row(uint8_t *to, const uint8_t *from, uint64_t bytes, unsigned lane)
{
	uint64_t n = bytes / sizeof(word), i = lane;
	const word *source = reinterpret_cast<const word *>(from);
	word *target = reinterpret_cast<word *>(to);

	for (; i + 96 < n; i += 128) {
		word a = source[i], b = source[i + 32], c = source[i + 64], d = source[i + 96];

		target[i] = a;
		target[i + 32] = b;
		target[i + 64] = c;
		target[i + 96] = d;
	}
	for (; i < n; i += 32)
		target[i] = source[i];
}

static __device__ void clear_row(uint8_t *to, uint64_t bytes, unsigned lane)
{
	for (uint64_t i = lane; i < bytes; i += 32)
		to[i] = 0;
}

static __device__ void move(uint8_t *to, const uint8_t *from, uint64_t bytes, uint64_t odd, unsigned lane)
{
	if (odd % 16 == 0)
		move_row<uint4>(to, from, bytes, lane);
	else if (odd % 8 == 0)
		move_row<uint2>(to, from, bytes, lane);
	else if (odd % 4 == 0)
		move_row<uint32_t>(to, from, bytes, lane);
	else if (odd % 2 == 0)
		move_row<uint16_t>(to, from, bytes, lane);
	else
		move_row<uint8_t>(to, from, bytes, lane);
}

template <bool gather>
static __device__ void move_all(const struct desc *descs, uint32_t n, uint8_t *staging)
{
	unsigned lane = threadIdx.x % 32, warp = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
	unsigned warps = gridDim.x * blockDim.x / 32;

	for (uint32_t i = warp; i < n; i += warps) {
		struct desc d = descs[i];
		uint8_t *dev = reinterpret_cast<uint8_t *>(d.dev);
		uint8_t *staged = staging + d.staged;
		uint64_t odd = d.dev | reinterpret_cast<uint64_t>(staged) | d.bytes;

		if (d.rows > 1)
			odd |= d.dev_stride | d.staged_stride;
		for (uint32_t row = 0; row < d.rows; row++) {
			if (!gather)
				move(dev + row * d.dev_stride, staged + row * d.staged_stride, d.bytes, odd, lane);
			else if (d.dev)
				move(staged + row * d.staged_stride, dev + row * d.dev_stride, d.bytes, odd, lane);
			else
				clear_row(staged + row * d.staged_stride, d.bytes, lane);
		}
	}
}

extern "C" __global__ void kvf_gather(const struct desc *descs, uint32_t n, uint8_t *staging)
{
	move_all<true>(descs, n, staging);
}

extern "C" __global__ void kvf_scatter(const struct desc *descs, uint32_t n, uint8_t *staging)
{
	move_all<false>(descs, n, staging);
}
