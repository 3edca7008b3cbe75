/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of the fake CUDA runtime: see fake_cuda.h. Each counts itself, takes its time and may be told to fail. */
#include "tests/fake/fake_cuda.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fake/fake_cuda_impl.h"

#define MAGIC_STREAM 0x57ea3u
#define MAGIC_EVENT 0xe7e27u

struct fake_world fake_world;

const struct fake_cuda_config fake_cuda_usual = {
	.devices = 1,
	.driver = 13000,
	.runtime = 13000,
	.sm = 90,
	.numa_node = 1,
	.call_ns = 300,
	.desc_ns = 100,
	.look_ns = 500,
	.memcpy_ns = 1500,
	.batch_ns = 600,
	.kernel_ns = 8000,
	.bytes_per_us = 50000,
};

/* --- bookkeeping ------------------------------------------------------------------------------------------------- */

static const char *const names[] = {
#define X(name) #name,
	KVF_CUDA_FUNCTIONS(X) "MemcpyBatchAsync",
	"StreamWriteValue64",
#undef X
};
static uint64_t counts[sizeof(names) / sizeof(names[0])];

void fake_cuda_count_reset(void)
{
	memset(counts, 0, sizeof(counts));
}

uint64_t fake_cuda_calls(const char *function)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!function || !strcmp(function, names[i]))
			sum += counts[i];
	return sum;
}

void fake_violate(const char *format, ...)
{
	va_list args;

	if (fake_world.violations++)
		return;
	va_start(args, format);
	vsnprintf(fake_world.violation, sizeof(fake_world.violation), format, args);
	va_end(args);
}

/* What every call does first. Anything but success: the call does nothing more. */
cudaError_t fake_begin(const char *name)
{
	size_t i = 0;

	while (strcmp(names[i], name))
		i++;
	fake_cuda_advance(fake_world.config.call_ns);
	if (fake_world.as_host)
		return fake_world.sticky ? (fake_world.last = fake_world.sticky) : cudaSuccess;
	counts[i]++;
	if (fake_world.fail_in && (!fake_world.fail_function || !strcmp(fake_world.fail_function, name)) &&
	    --fake_world.fail_in == 0) {
		fake_world.failed = name;
		if (fake_world.fail_lasting)
			fake_world.fail_in = 1;
		if (fake_world.fail_with >= cudaErrorIllegalAddress && fake_world.fail_with < cudaErrorNotPermitted)
			fake_world.sticky = fake_world.fail_with;
		return fake_world.last = fake_world.fail_with;
	}
	if (fake_world.config.driver < fake_world.config.runtime / 1000 * 1000)
		return fake_world.last = cudaErrorInsufficientDriver;
	if (fake_world.sticky)
		return fake_world.last = fake_world.sticky;
	return fake_storm_call(name);
}

cudaError_t fake_end(cudaError_t error)
{
	if (error != cudaSuccess)
		fake_world.last = error;
	return error;
}

/* Calls that a capture in global mode does not bear. */
static void unsafe(const char *name)
{
	if (!fake_world.capturing || fake_world.mode == cudaStreamCaptureModeRelaxed)
		return;
	fake_world.capture_broken = true;
	fake_violate("%s breaks a capture", name);
}

struct fake_stream *fake_stream_of(cudaStream_t handle, const char *name)
{
	struct fake_stream *s = (struct fake_stream *)(void *)handle;

	for (struct fake_stream *known = fake_world.streams; known; known = known->next)
		if (known == s && s->alive)
			return s;
	fake_violate("%s: stream %p was destroyed or never was", name, (void *)handle);
	return NULL;
}

static struct fake_event *event_of(cudaEvent_t handle, const char *name)
{
	struct fake_event *e = (struct fake_event *)(void *)handle;

	for (struct fake_event *known = fake_world.events; known; known = known->next)
		if (known == e && e->alive)
			return e;
	fake_violate("%s: event %p was destroyed or never was", name, (void *)handle);
	return NULL;
}

/* --- the machine ------------------------------------------------------------------------------------------------- */

static cudaError_t get_device_count(int *n)
{
	BEGIN("GetDeviceCount");
	*n = fake_world.config.devices;
	return fake_end(*n ? cudaSuccess : cudaErrorNoDevice);
}

static cudaError_t get_device(int *device)
{
	BEGIN("GetDevice");
	*device = fake_world.current;
	return cudaSuccess;
}

static cudaError_t set_device(int device)
{
	BEGIN("SetDevice");
	if (device < 0 || device >= fake_world.config.devices)
		return fake_end(cudaErrorInvalidDevice);
	fake_world.current = device;
	return cudaSuccess;
}

static cudaError_t driver_version(int *version)
{
	*version = fake_world.config.driver;
	return cudaSuccess;
}

static cudaError_t runtime_version(int *version)
{
	*version = fake_world.config.runtime;
	return cudaSuccess;
}

static cudaError_t get_attribute(int *value, enum cudaDeviceAttr attribute, int device)
{
	BEGIN("DeviceGetAttribute");
	if (device < 0 || device >= fake_world.config.devices)
		return fake_end(cudaErrorInvalidDevice);
	*value = attribute == cudaDevAttrHostNumaId ? fake_world.config.numa_node :
		 attribute == cudaDevAttrComputeCapabilityMajor ? fake_world.config.sm / 10 :
		 attribute == cudaDevAttrComputeCapabilityMinor ? fake_world.config.sm % 10 :
								  132;
	return cudaSuccess;
}

static cudaError_t get_bus(char *out, int n, int device)
{
	BEGIN("DeviceGetPCIBusId");
	if (device < 0 || device >= fake_world.config.devices || n < 13)
		return fake_end(cudaErrorInvalidDevice);
	snprintf(out, (size_t)n, "0000:%02x:00.0", 0x10 + device);
	return cudaSuccess;
}

static cudaError_t get_properties(struct cudaDeviceProp *out, int device)
{
	BEGIN("GetDeviceProperties");
	if (device < 0 || device >= fake_world.config.devices)
		return fake_end(cudaErrorInvalidDevice);
	memset(out, 0, sizeof(*out));
	snprintf(out->name, sizeof(out->name), "%s", fake_world.config.card ? fake_world.config.card : "Fake card");
	return cudaSuccess;
}

static cudaError_t priority_range(int *least, int *greatest)
{
	BEGIN("DeviceGetStreamPriorityRange");
	*least = 0;
	*greatest = -5;
	return cudaSuccess;
}

static const char *error_name(cudaError_t error)
{
	return cudaGetErrorName(error);
}

static const char *error_string(cudaError_t error)
{
	return cudaGetErrorString(error);
}

static cudaError_t last_error(void)
{
	cudaError_t error = fake_world.last;

	fake_world.last = fake_world.sticky;
	return error;
}

/* --- memory ------------------------------------------------------------------------------------------------------ */

#define MEMORY_CALL(function, name, parameters, call) \
	static cudaError_t function parameters \
	{ \
		BEGIN(name); \
		unsafe(name); \
		return fake_end(call); \
	}

MEMORY_CALL(api_malloc, "Malloc", (void **out, size_t n), fake_malloc(out, n))
MEMORY_CALL(api_free, "Free", (void *p), fake_free(p))
MEMORY_CALL(host_alloc, "HostAlloc", (void **out, size_t n, unsigned flags), ((void)flags, fake_host_alloc(out, n)))
MEMORY_CALL(free_host, "FreeHost", (void *p), fake_free_host(p))
MEMORY_CALL(host_register, "HostRegister", (void *p, size_t n, unsigned flags), ((void)flags, fake_register(p, n)))

/* Of a lost device the driver lets the pages go all the same. */
static cudaError_t host_unregister(void *p)
{
	cudaError_t error = fake_begin("HostUnregister");

	if (error != cudaSuccess && fake_world.sticky)
		(void)fake_unregister(p);
	if (error != cudaSuccess)
		return error;
	unsafe("HostUnregister");
	return fake_end(fake_unregister(p));
}

static cudaError_t host_pointer(void **out, void *p, unsigned flags)
{
	BEGIN("HostGetDevicePointer");
	(void)flags;
	*out = p;
	return fake_end(fake_memory_of(p) ? cudaSuccess : cudaErrorInvalidValue);
}

static cudaError_t pointer_attributes(struct cudaPointerAttributes *a, const void *p)
{
	struct fake_memory *m = fake_memory_of(p);

	BEGIN("PointerGetAttributes");
	memset(a, 0, sizeof(*a));
	a->device = m ? m->device : cudaInvalidDeviceId;
	a->type = !m ? cudaMemoryTypeUnregistered : m->kind == FAKE_DEVICE ? cudaMemoryTypeDevice : cudaMemoryTypeHost;
	return cudaSuccess;
}

/* --- streams and events ------------------------------------------------------------------------------------------ */

static cudaError_t stream_create(cudaStream_t *out, unsigned flags, int priority)
{
	struct fake_stream *s;

	BEGIN("StreamCreateWithPriority");
	if (flags != cudaStreamNonBlocking)
		fake_violate("a stream that waits for the legacy one");
	(void)priority;
	s = calloc(1, sizeof(*s));
	if (!s)
		abort();
	s->magic = MAGIC_STREAM;
	s->alive = true;
	s->device = fake_world.current;
	s->next = fake_world.streams;
	fake_world.streams = s;
	*out = (cudaStream_t)(void *)s;
	return cudaSuccess;
}

static cudaError_t stream_destroy(cudaStream_t handle)
{
	struct fake_stream *s = fake_stream_of(handle, "StreamDestroy");

	BEGIN("StreamDestroy");
	if (!s)
		return fake_end(cudaErrorInvalidResourceHandle);
	s->alive = false; /* what is in it is carried out */
	return cudaSuccess;
}

static cudaError_t stream_query(cudaStream_t handle)
{
	struct fake_stream *s = fake_stream_of(handle, "StreamQuery");

	BEGIN("StreamQuery");
	unsafe("StreamQuery");
	fake_cuda_advance(fake_world.config.look_ns);
	if (!s)
		return fake_end(cudaErrorInvalidResourceHandle);
	return fake_end(fake_world.sticky ? fake_world.sticky : s->first ? cudaErrorNotReady : cudaSuccess);
}

static cudaError_t stream_wait(cudaStream_t handle, cudaEvent_t event, unsigned flags)
{
	struct fake_stream *s = fake_stream_of(handle, "StreamWaitEvent");
	struct fake_event *e = event_of(event, "StreamWaitEvent");
	struct fake_op *op;

	BEGIN("StreamWaitEvent");
	(void)flags;
	if (!s || !e)
		return fake_end(cudaErrorInvalidResourceHandle);
	if (e->captured)
		fake_violate("a stream was drawn into a capture");
	if (!e->mark)
		return cudaSuccess; /* says nothing, waits for nothing */
	op = fake_push(s, FAKE_WAIT, 0);
	op->mark = fake_mark_ref(e->mark);
	return cudaSuccess;
}

static cudaError_t is_capturing(cudaStream_t handle, enum cudaStreamCaptureStatus *status)
{
	struct fake_stream *s = handle ? fake_stream_of(handle, "StreamIsCapturing") : NULL;

	BEGIN("StreamIsCapturing");
	*status = cudaStreamCaptureStatusNone;
	if (!handle && fake_world.capturing)
		return fake_end(cudaErrorStreamCaptureImplicit);
	if (handle && !s)
		return fake_end(cudaErrorInvalidResourceHandle);
	if (s && s->capturing)
		*status = cudaStreamCaptureStatusActive;
	return cudaSuccess;
}

static cudaError_t stream_device(cudaStream_t handle, int *device)
{
	struct fake_stream *s = fake_stream_of(handle, "StreamGetDevice");

	BEGIN("StreamGetDevice");
	if (!s)
		return fake_end(cudaErrorInvalidResourceHandle);
	*device = s->device;
	return cudaSuccess;
}

static cudaError_t exchange_mode(enum cudaStreamCaptureMode *mode)
{
	enum cudaStreamCaptureMode old = fake_world.mode;

	BEGIN("ThreadExchangeStreamCaptureMode");
	fake_world.mode = *mode;
	*mode = old;
	return cudaSuccess;
}

static cudaError_t event_create(cudaEvent_t *out, unsigned flags)
{
	struct fake_event *e;

	BEGIN("EventCreateWithFlags");
	if (!(flags & cudaEventDisableTiming))
		fake_violate("an event with timing");
	e = calloc(1, sizeof(*e));
	if (!e)
		abort();
	e->magic = MAGIC_EVENT;
	e->alive = true;
	e->device = fake_world.current;
	e->next = fake_world.events;
	fake_world.events = e;
	*out = (cudaEvent_t)(void *)e;
	return cudaSuccess;
}

static cudaError_t event_destroy(cudaEvent_t event)
{
	struct fake_event *e = event_of(event, "EventDestroy");

	BEGIN("EventDestroy");
	if (!e)
		return fake_end(cudaErrorInvalidResourceHandle);
	e->alive = false; /* its memory stays for streams that wait for it */
	return cudaSuccess;
}

static cudaError_t event_record(cudaEvent_t event, cudaStream_t handle)
{
	struct fake_event *e = event_of(event, "EventRecord");
	struct fake_stream *s = fake_stream_of(handle, "EventRecord");
	struct fake_op *op;

	BEGIN("EventRecord");
	if (!e || !s || e->device != s->device)
		return fake_end(cudaErrorInvalidResourceHandle);
	if (s->capturing) {
		e->captured = true;
		return cudaSuccess;
	}
	e->captured = false;
	op = fake_push(s, FAKE_RECORD, 0);
	op->mark = calloc(1, sizeof(*op->mark));
	if (!op->mark)
		abort();
	op->mark->refs = 1;
	fake_mark_put(e->mark);
	e->mark = fake_mark_ref(op->mark);
	fake_run();
	return cudaSuccess;
}

static cudaError_t event_query(cudaEvent_t event)
{
	struct fake_event *e = event_of(event, "EventQuery");

	BEGIN("EventQuery");
	unsafe("EventQuery");
	fake_cuda_advance(fake_world.config.look_ns);
	if (!e)
		return fake_end(cudaErrorInvalidResourceHandle);
	if (e->captured)
		return fake_end(cudaErrorCapturedEvent);
	if (fake_world.sticky)
		return fake_end(fake_world.sticky);
	return fake_end(!e->mark || e->mark->done ? cudaSuccess : cudaErrorNotReady);
}

const struct kvf_cuda_api fake_cuda_api = {
	.GetDeviceCount = get_device_count,
	.GetDevice = get_device,
	.SetDevice = set_device,
	.DriverGetVersion = driver_version,
	.RuntimeGetVersion = runtime_version,
	.DeviceGetAttribute = get_attribute,
	.DeviceGetPCIBusId = get_bus,
	.GetDeviceProperties = get_properties,
	.DeviceGetStreamPriorityRange = priority_range,
	.GetErrorName = error_name,
	.GetErrorString = error_string,
	.GetLastError = last_error,
	.Malloc = api_malloc,
	.Free = api_free,
	.HostAlloc = host_alloc,
	.FreeHost = free_host,
	.HostRegister = host_register,
	.HostUnregister = host_unregister,
	.HostGetDevicePointer = host_pointer,
	.PointerGetAttributes = pointer_attributes,
	.StreamCreateWithPriority = stream_create,
	.StreamDestroy = stream_destroy,
	.StreamQuery = stream_query,
	.StreamWaitEvent = stream_wait,
	.StreamIsCapturing = is_capturing,
	.StreamGetDevice = stream_device,
	.ThreadExchangeStreamCaptureMode = exchange_mode,
	.EventCreateWithFlags = event_create,
	.EventDestroy = event_destroy,
	.EventRecord = event_record,
	.EventQuery = event_query,
	.MemcpyAsync = fake_memcpy_async,
	.Memcpy2DAsync = fake_memcpy_2d,
	.LibraryLoadData = fake_library_load,
	.LibraryUnload = fake_library_unload,
	.LibraryGetKernel = fake_library_kernel,
	.LaunchKernel = fake_launch,
	.GetDriverEntryPointByVersion = fake_entry_point,
	.MemcpyBatchAsync = fake_memcpy_batch,
	.kernels = "kernels",
};
