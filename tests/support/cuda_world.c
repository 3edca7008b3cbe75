/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See cuda_world.h. The host's stream is one of the fake's: what it does to the KV happens there, between its kernels
 * and its events. Events are recorded anew, behind a kernel that never ends, as soon as submit has returned: whoever
 * waits for the host's own event then waits for ever.
 */
#include "tests/support/cuda_world.h"

#include <stdlib.h>
#include <string.h>

#define API (&fake_cuda_api)
#define STREAMS 4u
#define EVENTS 8u

struct arrival {
	struct world *w;
	struct world_fence *fence;
};

struct cuda_world {
	struct kvf_mem mem;
	struct kvf_cuda_device *dev;
	cudaStream_t stream[STREAMS], never;
	cudaEvent_t event[EVENTS], given;
	struct arrival arrivals[W_FENCES];
	unsigned n_fences, n_memory;
	uint64_t now;
};

static const struct cuda_world_options *options_of(const struct world *w)
{
	return w->o.backend_arg;
}

static uint64_t no_clock(void *unused)
{
	return fake_cuda_now(unused);
}

/* The machine is there before the first memory. */
static struct cuda_world *state(struct world *w)
{
	struct fake_cuda_config machine = fake_cuda_usual;
	struct cuda_world *c = w->backend;

	if (c)
		return c;
	c = w->backend = calloc(1, sizeof(*c));
	machine.devices = options_of(w)->devices ? options_of(w)->devices : 1;
	fake_cuda_reset(&machine);
	fake_cuda_as_host(true);
	for (unsigned i = 0; i < STREAMS; i++)
		(void)API->StreamCreateWithPriority(&c->stream[i], cudaStreamNonBlocking, 0);
	(void)API->StreamCreateWithPriority(&c->never, cudaStreamNonBlocking, 0);
	fake_cuda_kernel_endless(c->never);
	for (unsigned i = 0; i < EVENTS; i++)
		(void)API->EventCreateWithFlags(&c->event[i], cudaEventDisableTiming);
	fake_cuda_as_host(false);
	c->now = w->now_ns;
	return c;
}

static uint8_t *memory(struct world *w, uint32_t group, size_t n, uint8_t **at, int32_t *device)
{
	struct cuda_world *c = state(w);
	void *p = NULL;

	*device = (int32_t)(group % (uint32_t)fake_cuda_devices());
	fake_cuda_as_host(true);
	(void)API->SetDevice(*device);
	(void)API->Malloc(&p, n);
	(void)API->SetDevice(0);
	fake_cuda_as_host(false);
	c->n_memory++;
	*at = p;
	memset(fake_cuda_shadow(p), 0, n);
	return fake_cuda_shadow(p);
}

static int open_device(struct world *w, const struct kvf_device_ops **ops, void **self)
{
	const struct cuda_world_options *o = options_of(w);
	struct kvf_cuda_options options = { .api = API, .chunk_tokens = w->o.chunk_size, .word = o->word,
					    .copy = o->copy, .staging_bytes = o->staging_bytes,
					    .now_ns = o->calibrate ? no_clock : NULL };
	struct cuda_world *c = state(w);

	kvf_mem_init(&c->mem, &w->mem.allocator);
	if (o->fail_at)
		fake_cuda_fail(NULL, o->fail_at, o->fail_with, o->fail_lasting);
	fake_cuda_storm(&o->storm);
	*ops = &kvf_device_cuda_ops;
	*self = NULL;
	if (kvf_cuda_device_new(&c->mem, &options, &c->dev))
		return KVF_ENOMEM;
	*self = c->dev;
	return KVF_OK;
}

/* --- the host's stream ------------------------------------------------------------------------------------------- */

static void arrive(void *arg)
{
	struct arrival *a = arg;

	world_signal(a->w, a->fence);
}

static bool fence_in(struct world *w, uint32_t fence, uint64_t ns, struct kvf_fence_in *in)
{
	struct cuda_world *c = state(w);
	unsigned n = c->n_fences++;
	cudaStream_t stream = c->stream[n % STREAMS];

	if (n % 5 == 4)
		return false; /* a word of the host's */
	fake_cuda_as_host(true);
	c->arrivals[fence] = (struct arrival){ w, &w->fences[fence] };
	fake_cuda_kernel_call(stream, arrive, &c->arrivals[fence], ns);
	c->given = NULL;
	in->device = 0;
	if (n % 3 == 0) {
		in->kind = KVF_FENCE_STREAM;
		in->handle = stream;
	} else {
		c->given = c->event[n % EVENTS];
		in->kind = KVF_FENCE_EVENT;
		in->handle = c->given;
		(void)API->EventRecord(c->given, stream);
	}
	fake_cuda_as_host(false);
	return true;
}

static void submitted(struct world *w)
{
	struct cuda_world *c = state(w);

	if (!c->given)
		return;
	fake_cuda_as_host(true);
	(void)API->EventRecord(c->given, c->never);
	fake_cuda_as_host(false);
	c->given = NULL;
}

static int fence_done(struct world *w, const struct kvf_fence_out *out)
{
	cudaError_t error;

	(void)w;
	fake_cuda_as_host(true);
	error = API->EventQuery(out->handle);
	(void)API->GetLastError();
	fake_cuda_as_host(false);
	return error == cudaErrorNotReady ? 0 : error == cudaSuccess ? 1 : -1;
}

static void go_on(struct world *w)
{
	struct cuda_world *c = state(w);

	fake_cuda_advance(w->now_ns - c->now);
	c->now = w->now_ns;
}

static void calm(struct world *w)
{
	struct cuda_world_options *o = w->o.backend_arg;

	if (fake_cuda_failed())
		o->failed = fake_cuda_failed();
	/* One call that is still to fail may be one that closes. */
	if (o->fail_lasting || !o->fail_at)
		fake_cuda_fail(NULL, 0, cudaSuccess, false);
	fake_cuda_storm(NULL);
}

/* --- the end ----------------------------------------------------------------------------------------------------- */

/* A call that gives something back leaves it behind when it fails; the rest must not. */
static bool may_leave_something(const char *failed)
{
	static const char *const such[] = { "Free", "Destroy", "Unregister", "Unload" };

	for (size_t i = 0; failed && i < KVF_ARRAY_LEN(such); i++)
		if (strstr(failed, such[i]))
			return true;
	return false;
}

static void check_left(struct world *w, const struct cuda_world *c, const struct cuda_world_options *o)
{
	unsigned expected = c->n_memory + STREAMS + 1 + EVENTS;

	if (fake_cuda_violations())
		world_fail(w, "fake CUDA: %s", fake_cuda_violation());
	if (w->dev.lost || fake_cuda_lost() || o->fail_lasting || may_leave_something(o->failed) || o->storm.call_ppm)
		return;
	if (fake_cuda_live() != expected)
		world_fail(w, "%u objects of CUDA's are left, not %u", fake_cuda_live(), expected);
	if (fake_cuda_current_device() != 0 || fake_cuda_thread_mode() != cudaStreamCaptureModeGlobal)
		world_fail(w, "the caller's device or capture mode is another one");
}

static void close_device(struct world *w)
{
	struct cuda_world_options *o = w->o.backend_arg;
	struct cuda_world *c = w->backend;

	if (!c)
		return;
	if (fake_cuda_failed())
		o->failed = fake_cuda_failed();
	o->calls = fake_cuda_calls(NULL);
	w->fault_hit = o->failed != NULL;
	if (!w->engine && c->dev) {
		kvf_cuda_device_free(&c->mem, c->dev);
		if (kvf_mem_fini(&c->mem))
			world_fail(w, "the CUDA device leaked memory");
		check_left(w, c, o);
	}
	fake_cuda_reset(&fake_cuda_usual);
	free(c);
	w->backend = NULL;
}

const struct world_backend cuda_world = {
	.open = open_device,
	.close = close_device,
	.memory = memory,
	.fence_in = fence_in,
	.submitted = submitted,
	.fence_done = fence_done,
	.time = go_on,
	.calm = calm,
};
