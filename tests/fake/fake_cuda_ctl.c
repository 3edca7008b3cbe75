/* SPDX-License-Identifier: Apache-2.0 */
/* What tests do with the fake CUDA runtime beside calling it: reset, faults, counters, kernels of the host. */
#include <string.h>

#include "tests/fake/fake_cuda_impl.h"

void fake_cuda_reset(const struct fake_cuda_config *config)
{
	fake_streams_clear();
	fake_memory_clear();
	memset(&fake_world, 0, sizeof(fake_world));
	fake_world.config = *config;
	fake_world.now = 1000000;
	fake_cuda_count_reset();
}

void fake_cuda_set_machine(int driver, int devices, bool no_batch, bool no_word)
{
	fake_world.config.driver = driver;
	fake_world.config.devices = devices;
	fake_world.config.no_batch = no_batch;
	fake_world.config.no_word = no_word;
}

uint64_t fake_cuda_now(void *unused)
{
	(void)unused;
	fake_cuda_advance(fake_world.config.look_ns);
	return fake_world.now;
}

void fake_cuda_fail(const char *function, uint64_t nth, cudaError_t error, bool lasting)
{
	fake_world.fail_function = function;
	fake_world.fail_in = nth;
	fake_world.fail_with = error;
	fake_world.fail_lasting = lasting;
}

const char *fake_cuda_failed(void)
{
	return fake_world.failed;
}

bool fake_cuda_lost(void)
{
	return fake_world.sticky != cudaSuccess;
}

void fake_cuda_fault(uint64_t nth, cudaError_t error)
{
	fake_world.fault_in = nth;
	fake_world.fault = error;
}

void fake_cuda_stall(bool on)
{
	fake_world.stalled = on;
	fake_run();
}

unsigned fake_cuda_violations(void)
{
	return fake_world.violations;
}

const char *fake_cuda_violation(void)
{
	return fake_world.violation;
}

void fake_cuda_forgive(void)
{
	fake_world.violations = 0;
	fake_world.violation[0] = '\0';
}

unsigned fake_cuda_live(void)
{
	unsigned n = fake_world.libraries;

	for (struct fake_stream *s = fake_world.streams; s; s = s->next)
		n += s->alive;
	for (struct fake_event *e = fake_world.events; e; e = e->next)
		n += e->alive;
	for (struct fake_memory *m = fake_world.memory; m; m = m->next)
		n++;
	return n;
}

void fake_cuda_kernel_fill(cudaStream_t stream, void *device, int value, size_t n, uint64_t ns)
{
	struct fake_op *op = fake_push((struct fake_stream *)(void *)stream, FAKE_FILL, ns);

	op->to = device;
	op->value = (uint64_t)(uint8_t)value;
	op->n = n;
}

void fake_cuda_kernel_endless(cudaStream_t stream)
{
	static struct fake_mark never = { .refs = 1 };
	struct fake_op *op = fake_push((struct fake_stream *)(void *)stream, FAKE_WAIT, 0);

	op->mark = fake_mark_ref(&never);
}

void fake_cuda_kernel_call(cudaStream_t stream, void (*call)(void *arg), void *arg, uint64_t ns)
{
	struct fake_op *op = fake_push((struct fake_stream *)(void *)stream, FAKE_CALL, ns);

	op->call = call;
	op->to = arg;
}

void fake_cuda_kernel_copy(cudaStream_t stream, void *to, const void *from, size_t n, uint64_t ns)
{
	struct fake_op *op = fake_push((struct fake_stream *)(void *)stream, FAKE_MOVE, ns);

	op->to = to;
	op->from = from;
	op->n = n;
}

void fake_cuda_capture(cudaStream_t stream, bool on)
{
	((struct fake_stream *)(void *)stream)->capturing = on;
	fake_world.capturing = on;
}

bool fake_cuda_capture_broken(void)
{
	return fake_world.capture_broken;
}

int fake_cuda_current_device(void)
{
	return fake_world.current;
}

enum cudaStreamCaptureMode fake_cuda_thread_mode(void)
{
	return fake_world.mode;
}

uint64_t fake_cuda_max_batch(void)
{
	return fake_world.max_batch;
}

int fake_cuda_devices(void)
{
	return fake_world.config.devices;
}
