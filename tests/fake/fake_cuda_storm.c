/* SPDX-License-Identifier: Apache-2.0 */
/* Faults of the fake CUDA runtime that come by chance: see struct fake_cuda_storm. */
#include <string.h>

#include "tests/fake/fake_cuda_impl.h"

#define MILLION 1000000u

static uint64_t draw(void)
{
	uint64_t z = fake_world.rng += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static bool chance(uint32_t ppm)
{
	return ppm && draw() % MILLION < ppm;
}

cudaError_t fake_storm_call(const char *name)
{
	static const cudaError_t passing[] = { cudaErrorInvalidValue, cudaErrorMemoryAllocation, cudaErrorNotSupported,
					       cudaErrorSystemNotReady, cudaErrorStreamCaptureUnsupported };
	static const cudaError_t lasting[] = { cudaErrorIllegalAddress, cudaErrorLaunchFailure,
					       cudaErrorECCUncorrectable };

	if (chance(fake_world.storm.sticky_call_ppm)) {
		fake_world.failed = name;
		fake_world.sticky = lasting[draw() % (sizeof(lasting) / sizeof(lasting[0]))];
		return fake_world.last = fake_world.sticky;
	}
	if (!chance(fake_world.storm.call_ppm))
		return cudaSuccess;
	fake_world.failed = name;
	return fake_world.last = passing[draw() % (sizeof(passing) / sizeof(passing[0]))];
}

bool fake_storm_command(void)
{
	return chance(fake_world.storm.sticky_ppm);
}

uint64_t fake_storm_extra_ns(void)
{
	uint64_t ns = fake_world.storm.jitter_ns ? draw() % fake_world.storm.jitter_ns : 0;

	return ns + (chance(fake_world.storm.slow_ppm) ? fake_world.storm.slow_ns : 0);
}

void fake_cuda_storm(const struct fake_cuda_storm *storm)
{
	memset(&fake_world.storm, 0, sizeof(fake_world.storm));
	if (storm) {
		fake_world.storm = *storm;
		fake_world.rng = storm->seed;
		return;
	}
	for (struct fake_stream *s = fake_world.streams; s; s = s->next)
		for (struct fake_op *op = s->first; op; op = op->next)
			op->extra_ns = 0;
	fake_run();
}

void fake_cuda_as_host(bool on)
{
	fake_world.as_host = on;
}
