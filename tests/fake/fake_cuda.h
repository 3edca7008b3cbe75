/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A CUDA runtime for tests, behind the same table of functions as the real one: src/device/cuda*.c runs over it
 * unchanged.
 *
 * Time is virtual. A stream is a queue of commands; each takes its time, one after another, once the events it
 * waits for are done; its bytes move at the moment it is done. So a copy that begins too early, or a source that is
 * used again too early, really gives wrong bytes. Device memory cannot be touched by the host: its addresses fault;
 * fake_cuda_shadow() is where a test looks. As in the real one, waiting for an event that was never recorded does
 * nothing.
 *
 * What the real one forgives slowly or not at all is counted as a violation: pageable memory in an asynchronous
 * copy, use of what was destroyed, batches in the legacy stream, device memory freed in use, our calls that break a
 * capture.
 */
#ifndef KVF_TESTS_FAKE_CUDA_H
#define KVF_TESTS_FAKE_CUDA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/cuda_api.h"

struct fake_cuda_config {
	int devices;		/* 0: no device */
	const char *card;	/* its name; NULL: a usual one */
	int driver, runtime;	/* versions; driver 0: none */
	int sm;			/* 90 */
	int numa_node;		/* -1: the driver knows none */
	bool no_batch, no_word; /* what an older driver lacks */
	size_t device_bytes;	/* cudaMalloc fails beyond; 0: no bound */
	uint64_t call_ns;	/* what a call costs the CPU, a batch's descriptor, a look */
	uint64_t desc_ns, look_ns;
	uint64_t memcpy_ns, batch_ns, kernel_ns; /* of the device: a piece, a piece, a launch */
	uint64_t bytes_per_us;
};

extern const struct kvf_cuda_api fake_cuda_api;
/* Of a PCIe 5 card with a driver for CUDA 13. */
extern const struct fake_cuda_config fake_cuda_usual;

/* A fresh machine; what is left of the one before is freed. */
void fake_cuda_reset(const struct fake_cuda_config *config);
/* Another machine around the same memory. */
void fake_cuda_set_machine(int driver, int devices, bool no_batch, bool no_word);
uint64_t fake_cuda_now(void *unused);
void fake_cuda_advance(uint64_t ns);
/* Until nothing moves any more. */
void fake_cuda_finish(void);

/* The nth call (1 = the next) of `function` ("MemcpyAsync"; NULL: of any) fails with `error`, without doing anything;
 * `lasting`: and all of them after it. A sticky error makes all later calls fail and stops all streams. */
void fake_cuda_fail(const char *function, uint64_t nth, cudaError_t error, bool lasting);
/* The function that did; NULL: none. */
const char *fake_cuda_failed(void);
/* A sticky error came. */
bool fake_cuda_lost(void);
/* The nth command that a stream carries out from now on fails with a sticky error instead. */
void fake_cuda_fault(uint64_t nth, cudaError_t error);
/* Nothing is ever done any more; off: everything goes on. */
void fake_cuda_stall(bool on);

/* Weather: calls and commands fail or take long by chance (millionths), the same ones for the same seed. */
struct fake_cuda_storm {
	uint64_t seed;
	uint32_t call_ppm;	  /* a call fails, without consequences */
	uint32_t sticky_call_ppm; /* a call fails, and with it the device */
	uint32_t sticky_ppm;	  /* a command does */
	uint32_t slow_ppm;	  /* a command takes slow_ns longer */
	uint64_t slow_ns, jitter_ns; /* every command: up to jitter_ns longer */
	bool late_writes; /* of a lost device: what was in flight still moves its bytes, and tells nobody */
};

/* NULL: calm. What was slow then goes on as if it were not, and a lost device writes no more: whoever unmaps its memory
 * does so after that, since the fake cannot hold pages as a driver does. */
void fake_cuda_storm(const struct fake_cuda_storm *storm);
/* Calls between the two are the host's own: not counted, and no fault of the above hits them. */
void fake_cuda_as_host(bool on);

uint64_t fake_cuda_calls(const char *function); /* NULL: all */
unsigned fake_cuda_violations(void);
const char *fake_cuda_violation(void); /* the first */
void fake_cuda_forgive(void);
/* Streams, events, memory, registrations that exist. */
unsigned fake_cuda_live(void);
size_t fake_cuda_live_pinned(void);

void *fake_cuda_shadow(const void *device_address);
/* The host's kernels: fill memory, or copy inside device memory, when `ns` have passed. */
void fake_cuda_kernel_fill(cudaStream_t stream, void *device, int value, size_t n, uint64_t ns);
/* A kernel that never ends. */
void fake_cuda_kernel_endless(cudaStream_t stream);
/* Something of the host happens in its stream, when `ns` have passed. */
void fake_cuda_kernel_call(cudaStream_t stream, void (*call)(void *arg), void *arg, uint64_t ns);
void fake_cuda_kernel_copy(cudaStream_t stream, void *to, const void *from, size_t n, uint64_t ns);
/* The stream captures a graph, in global mode. */
void fake_cuda_capture(cudaStream_t stream, bool on);
bool fake_cuda_capture_broken(void);
int fake_cuda_current_device(void);
int fake_cuda_devices(void);
enum cudaStreamCaptureMode fake_cuda_thread_mode(void);
uint64_t fake_cuda_max_batch(void);

#endif
