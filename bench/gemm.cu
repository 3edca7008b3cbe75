/* SPDX-License-Identifier: Apache-2.0 */
/* A host's work for bench_gpu: c = a * b, square, n a multiple of 32, blocks of 32 by 32 threads. Not a fast one: what
 * is measured is how much slower it gets. */
extern "C" __global__ void kvf_bench_gemm(float *c, const float *a, const float *b, unsigned n)
{
	__shared__ float sa[32][33], sb[32][33];
	unsigned row = blockIdx.y * 32 + threadIdx.y, col = blockIdx.x * 32 + threadIdx.x;
	float sum = 0;

	for (unsigned k = 0; k < n; k += 32) {
		sa[threadIdx.y][threadIdx.x] = a[(unsigned long long)row * n + k + threadIdx.x];
		sb[threadIdx.y][threadIdx.x] = b[(unsigned long long)(k + threadIdx.y) * n + col];
		__syncthreads();
		for (unsigned i = 0; i < 32; i++)
			sum += sa[threadIdx.y][i] * sb[i][threadIdx.x];
		__syncthreads();
	}
	c[(unsigned long long)row * n + col] = sum;
}
