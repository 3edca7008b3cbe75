/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control pool-flip: a decorator around the host device. It hands the engine's own host
 * interface on, but for complete(): when a chunk has been copied into the pool, a bit of it flips,
 * as bad memory would.
 */
#include <stdlib.h>

#include "device/device.h"
#include "replay.h"

#define EVERY 16

struct replay_flip {
	struct kvf_device_host host; /* what the inner device sees */
	struct kvf_device_host *engine;
	struct kvf_mem mem;
	struct kvf_layout_plan plan;
	struct kvf_host_device *inner;
	uint64_t gathered;
};

struct replay_flip *replay_flip_new(const struct kvf_layout *layout, uint32_t chunk_size)
{
	struct replay_flip *flip = calloc(1, sizeof(*flip));
	char detail[256];

	if (!flip)
		return NULL;
	kvf_mem_init(&flip->mem, NULL);
	if (kvf_layout_init(&flip->plan, &flip->mem, layout, chunk_size, detail, sizeof(detail)) !=
		KVF_OK) {
		free(flip);
		return NULL;
	}
	if (kvf_host_device_new(&flip->mem, &flip->plan, &flip->inner) != KVF_OK) {
		replay_flip_free(flip);
		return NULL;
	}
	return flip;
}

void replay_flip_free(struct replay_flip *flip)
{
	if (!flip)
		return;
	if (flip->inner)
		kvf_host_device_free(&flip->mem, flip->inner);
	kvf_layout_fini(&flip->plan, &flip->mem);
	(void)kvf_mem_fini(&flip->mem);
	free(flip);
}

static void flip_complete(struct kvf_device_host *host, struct kvf_copy *copy, int status)
{
	struct replay_flip *flip = (struct replay_flip *)(void *)host; /* its first member */

	if (status == KVF_OK && copy->direction == KVF_COPY_GATHER && copy->payload_bytes > 0 &&
		flip->gathered++ % EVERY == 0)
		copy->payload[(flip->gathered * UINT64_C(0x9e3779b1)) % copy->payload_bytes] ^=
			0x10;
	flip->engine->complete(flip->engine, copy, status);
}

static void *flip_alloc(struct kvf_device_host *host, size_t n)
{
	struct replay_flip *flip = (struct replay_flip *)(void *)host;

	return flip->engine->alloc(flip->engine, n);
}

static void flip_release(struct kvf_device_host *host, void *p, size_t n)
{
	struct replay_flip *flip = (struct replay_flip *)(void *)host;

	flip->engine->release(flip->engine, p, n);
}

static void flip_log(struct kvf_device_host *host, enum kvf_log_level level, const char *msg)
{
	struct replay_flip *flip = (struct replay_flip *)(void *)host;

	if (flip->engine->log)
		flip->engine->log(flip->engine, level, msg);
}

static int op_open(
	void *self, struct kvf_device_host *host, const struct kvf_layout *layout, uint32_t *caps)
{
	struct replay_flip *flip = self;

	flip->engine = host;
	flip->host = (struct kvf_device_host){.size = sizeof(flip->host),
		.complete = flip_complete,
		.alloc = flip_alloc,
		.release = flip_release,
		.log = flip_log,
		.report = host->report};
	return kvf_device_host_ops.open(flip->inner, &flip->host, layout, caps);
}

static void op_close(void *self)
{
	kvf_device_host_ops.close(((struct replay_flip *)self)->inner);
}

static int op_capture(void *self, const struct kvf_fence_in *in, struct kvf_fence *fence)
{
	return kvf_device_host_ops.capture(((struct replay_flip *)self)->inner, in, fence);
}

static void op_release(void *self, struct kvf_fence *fence)
{
	kvf_device_host_ops.release(((struct replay_flip *)self)->inner, fence);
}

static int op_copy(void *self, struct kvf_copy *copy)
{
	return kvf_device_host_ops.copy(((struct replay_flip *)self)->inner, copy);
}

static void op_cancel(void *self, struct kvf_copy *copy)
{
	kvf_device_host_ops.cancel(((struct replay_flip *)self)->inner, copy);
}

static int op_fence(void *self, enum kvf_copy_direction direction, struct kvf_fence_out *out)
{
	return kvf_device_host_ops.fence(((struct replay_flip *)self)->inner, direction, out);
}

static uint64_t op_progress(void *self, uint64_t budget)
{
	return kvf_device_host_ops.progress(((struct replay_flip *)self)->inner, budget);
}

const struct kvf_device_ops replay_flip_ops = {
	.size = sizeof(struct kvf_device_ops),
	.name = "flip",
	.open = op_open,
	.close = op_close,
	.capture = op_capture,
	.release = op_release,
	.copy = op_copy,
	.cancel = op_cancel,
	.fence = op_fence,
	.progress = op_progress,
};
