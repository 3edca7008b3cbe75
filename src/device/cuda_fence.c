/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fences. What the host hands in is captured at once: its event may be recorded anew or destroyed, its stream go on, as
 * soon as submit returns. For an event a stream of ours that does nothing else waits for it and records an event of our
 * own behind that; in the host's stream we record directly.
 *
 * What is handed out are events from a ring, which come round again. One that is recorded anew stands for a later point
 * of the same stream: who waits for it late waits longer, never less.
 */
#include <string.h>

#include "base/compiler.h"
#include "device/cuda_impl.h"

static bool is_default_stream(void *handle)
{
	return !handle || handle == (void *)cudaStreamLegacy || handle == (void *)cudaStreamPerThread;
}

static void remember(struct kvf_cuda_device *dev, const struct cuda_unit *unit, cudaEvent_t event,
		     struct kvf_fence *fence)
{
	fence->scratch[FENCE_KIND] = KVF_FENCE_EVENT;
	fence->scratch[FENCE_EVENT] = (uintptr_t)event;
	fence->scratch[FENCE_UNIT] = (uint64_t)(unit - dev->units);
	fence->scratch[FENCE_NUMBER] = ++dev->captures;
}

static int capture_event(struct kvf_cuda_device *dev, struct cuda_scope *scope, const struct kvf_fence_in *in,
			 struct kvf_fence *fence)
{
	struct cuda_unit *unit = kvf_cuda_unit_of(dev, in->device);
	cudaEvent_t theirs = in->handle, ours;
	cudaError_t error;
	int rc;

	if (!theirs)
		return KVF_EINVAL;
	if (!unit)
		unit = &dev->units[0];
	rc = kvf_cuda_use(dev, scope, unit);
	if (rc)
		return rc;
	/* Waiting for an event of a capture would draw our stream into it: this tells. */
	error = dev->api->EventQuery(theirs);
	if (error == cudaSuccess) {
		fence->scratch[FENCE_KIND] = KVF_FENCE_NOW;
		return KVF_OK;
	}
	if (error != cudaErrorNotReady)
		return kvf_cuda_status(dev, error, "the host's event");
	(void)dev->api->GetLastError();
	rc = kvf_cuda_event_get(dev, unit, &ours);
	if (rc)
		return rc;
	rc = kvf_cuda_status(dev, dev->api->StreamWaitEvent(unit->captures, theirs, 0), "cudaStreamWaitEvent");
	if (!rc)
		rc = kvf_cuda_status(dev, dev->api->EventRecord(ours, unit->captures), "cudaEventRecord");
	if (rc)
		kvf_cuda_event_put(unit, ours);
	else
		remember(dev, unit, ours, fence);
	return rc;
}

static int capture_stream(struct kvf_cuda_device *dev, struct cuda_scope *scope, const struct kvf_fence_in *in,
			  struct kvf_fence *fence)
{
	enum cudaStreamCaptureStatus capturing = cudaStreamCaptureStatusNone;
	cudaStream_t stream = in->handle;
	struct cuda_unit *unit;
	cudaEvent_t ours;
	int device = in->device, rc;

	rc = kvf_cuda_status(dev, dev->api->StreamIsCapturing(stream, &capturing), "cudaStreamIsCapturing");
	if (!rc && capturing != cudaStreamCaptureStatusNone)
		rc = KVF_ECAPTURE;
	if (!rc && !is_default_stream(in->handle))
		rc = kvf_cuda_status(dev, dev->api->StreamGetDevice(stream, &device), "cudaStreamGetDevice");
	if (rc)
		return rc;
	unit = kvf_cuda_unit_of(dev, device);
	if (!unit)
		return kvf_cuda_refuse(dev, KVF_EINVAL, "fence: a stream of device %d, where the layout has nothing",
				       device);
	rc = kvf_cuda_use(dev, scope, unit);
	if (!rc)
		rc = kvf_cuda_event_get(dev, unit, &ours);
	if (rc)
		return rc;
	rc = kvf_cuda_status(dev, dev->api->EventRecord(ours, stream), "cudaEventRecord");
	if (rc)
		kvf_cuda_event_put(unit, ours);
	else
		remember(dev, unit, ours, fence);
	return rc;
}

int kvf_cuda_capture(void *self, const struct kvf_fence_in *in, struct kvf_fence *fence)
{
	struct kvf_cuda_device *dev = self;
	struct cuda_scope scope;
	int rc;

	memset(fence, 0, sizeof(*fence));
	fence->scratch[FENCE_KIND] = in->kind;
	switch (in->kind) {
	case KVF_FENCE_NOW:
		return KVF_OK;
	case KVF_FENCE_WORD:
		fence->scratch[FENCE_WORD] = (uintptr_t)in->word;
		fence->scratch[FENCE_VALUE] = in->value;
		return in->word && (uintptr_t)in->word % sizeof(uint64_t) == 0 ? KVF_OK : KVF_EINVAL;
	case KVF_FENCE_EVENT:
	case KVF_FENCE_STREAM:
		break;
	default:
		return KVF_EINVAL;
	}
	if (dev->lost)
		return KVF_EDEVLOST;
	rc = kvf_cuda_enter(dev, &scope);
	if (rc)
		return rc;
	rc = in->kind == KVF_FENCE_EVENT ? capture_event(dev, &scope, in, fence) :
					   capture_stream(dev, &scope, in, fence);
	kvf_cuda_leave(dev, &scope);
	return rc;
}

void kvf_cuda_release(void *self, struct kvf_fence *fence)
{
	struct kvf_cuda_device *dev = self;

	if (fence->scratch[FENCE_KIND] == KVF_FENCE_EVENT)
		kvf_cuda_event_put(&dev->units[fence->scratch[FENCE_UNIT]],
				   (cudaEvent_t)(uintptr_t)fence->scratch[FENCE_EVENT]);
	memset(fence, 0, sizeof(*fence));
}

bool kvf_cuda_word_reached(const struct kvf_fence *fence)
{
	const uint64_t *word;

	if (!fence || fence->scratch[FENCE_KIND] != KVF_FENCE_WORD)
		return true;
	word = (const uint64_t *)(uintptr_t)fence->scratch[FENCE_WORD];
	return __atomic_load_n(word, __ATOMIC_ACQUIRE) >= fence->scratch[FENCE_VALUE];
}

int kvf_cuda_wait(struct kvf_cuda_device *dev, struct cuda_lane *lane, const struct kvf_fence *fence)
{
	cudaEvent_t event;
	int rc;

	if (!fence || fence->scratch[FENCE_KIND] != KVF_FENCE_EVENT || lane->waited == fence->scratch[FENCE_NUMBER])
		return KVF_OK;
	event = (cudaEvent_t)(uintptr_t)fence->scratch[FENCE_EVENT];
	rc = kvf_cuda_status(dev, dev->api->StreamWaitEvent(lane->stream, event, 0), "cudaStreamWaitEvent");
	if (!rc)
		lane->waited = fence->scratch[FENCE_NUMBER];
	return rc;
}

/* --- out --------------------------------------------------------------------------------------------------------- */

/* The lane waits for the work of another unit: one event can only be of one stream. */
static int gather_work(struct kvf_cuda_device *dev, struct cuda_scope *scope, struct cuda_lane *lane,
		       struct cuda_unit *other, enum kvf_copy_direction direction)
{
	cudaEvent_t event;
	int rc = kvf_cuda_use(dev, scope, other);

	if (!rc)
		rc = kvf_cuda_event_get(dev, other, &event);
	if (rc)
		return rc;
	rc = kvf_cuda_status(dev, dev->api->EventRecord(event, other->lanes[direction].stream), "cudaEventRecord");
	if (!rc)
		rc = kvf_cuda_status(dev, dev->api->StreamWaitEvent(lane->stream, event, 0), "cudaStreamWaitEvent");
	kvf_cuda_event_put(other, event);
	return rc;
}

static int record_fence(struct kvf_cuda_device *dev, struct cuda_scope *scope, struct cuda_unit *unit,
			enum kvf_copy_direction direction)
{
	struct cuda_lane *lane = &unit->lanes[direction];
	cudaEvent_t *event;
	uint32_t next = (lane->next_fence + 1) % CUDA_FENCES, u;
	int rc = KVF_OK;

	for (u = 0; !rc && u < dev->n_units; u++)
		if (&dev->units[u] != unit && dev->units[u].lanes[direction].n)
			rc = gather_work(dev, scope, lane, &dev->units[u], direction);
	if (!rc)
		rc = kvf_cuda_use(dev, scope, unit);
	event = &lane->fences[next];
	if (!rc && !*event)
		rc = kvf_cuda_status(dev, dev->api->EventCreateWithFlags(event, cudaEventDisableTiming),
				     "cudaEventCreateWithFlags");
	if (!rc)
		rc = kvf_cuda_status(dev, dev->api->EventRecord(*event, lane->stream), "cudaEventRecord");
	if (rc)
		return rc;
	lane->next_fence = next;
	lane->fence_at = dev->accepted[direction] + 1;
	return KVF_OK;
}

int kvf_cuda_fence(void *self, enum kvf_copy_direction direction, struct kvf_fence_out *out)
{
	struct kvf_cuda_device *dev = self;
	struct cuda_unit *unit = NULL;
	struct cuda_scope scope;
	uint32_t u;
	int rc;

	if (dev->lost)
		return KVF_EDEVLOST;
	/* Behind a copy that is going to fail there is nothing that a host may rely on: it ends first. */
	if (dev->waiting[direction] || dev->torn[direction])
		return KVF_EAGAIN;
	for (u = 0; !unit && u < dev->n_units; u++)
		if (dev->units[u].lanes[direction].n)
			unit = &dev->units[u];
	memset(out, 0, sizeof(*out));
	out->kind = KVF_FENCE_NOW;
	out->device = -1;
	if (!unit)
		return KVF_OK;
	if (unit->lanes[direction].fence_at != dev->accepted[direction] + 1) {
		rc = kvf_cuda_enter(dev, &scope);
		if (rc)
			return rc;
		rc = record_fence(dev, &scope, unit, direction);
		kvf_cuda_leave(dev, &scope);
		if (rc)
			return rc;
	}
	out->kind = KVF_FENCE_EVENT;
	out->device = unit->ordinal;
	out->handle = unit->lanes[direction].fences[unit->lanes[direction].next_fence];
	return KVF_OK;
}
