/* SPDX-License-Identifier: Apache-2.0 */
/* See tap.h. */
#include "tests/sim/tap.h"

#include <string.h>

#include "base/compiler.h"

#define STATUS_BASE 1000

static void wrong(struct tap *tap, const char *what)
{
	tap->dev->hooks.wrong(tap->dev->hooks.arg, what);
}

static int heard(struct tap *tap, int status)
{
	if (status && status != KVF_EAGAIN && status != KVF_ECANCELED) {
		tap->dev->errors++;
		tap->said |= 1ull << ((-status - STATUS_BASE) & 63);
	}
	tap->dev->lost |= status == KVF_EDEVLOST;
	return status;
}

bool tap_has_said(const struct tap *tap, int status)
{
	return status < -STATUS_BASE && tap->said >> ((-status - STATUS_BASE) & 63) & 1;
}

uint32_t tap_copies_of(const struct tap *tap, uint64_t op_id, int direction)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < tap->n_copies; i++)
		n += tap->copies[i]->op_id == op_id &&
		     (direction < 0 || tap->copies[i]->direction == (uint32_t)direction);
	return n;
}

/* --- copies ------------------------------------------------------------------------------------------------------ */

static bool forget(struct tap *tap, const struct kvf_copy *copy)
{
	for (uint32_t i = 0; i < tap->n_copies; i++) {
		if (tap->copies[i] != copy)
			continue;
		tap->copies[i] = tap->copies[--tap->n_copies];
		return true;
	}
	return false;
}

static void let_go(struct tap *tap, const struct kvf_copy *copy)
{
	tap->dev->hooks.let_go(tap->dev->hooks.arg, copy->payload, copy->payload_bytes,
			       copy->direction == KVF_COPY_GATHER);
}

static void on_complete(struct kvf_device_host *host, struct kvf_copy *copy, int status)
{
	struct tap *tap = kvf_container_of(host, struct tap, host);

	if (!forget(tap, copy)) {
		wrong(tap, "the device completed a copy that it does not have");
		return;
	}
	let_go(tap, copy);
	tap->dev->completions++;
	tap->dev->ended(tap->dev->hooks.arg, copy, heard(tap, status));
	tap->engine->complete(tap->engine, copy, status);
}

static int tap_copy(void *self, struct kvf_copy *copy)
{
	struct tap *tap = self;
	int rc;

	if (tap->n_copies == TAP_COPIES)
		return KVF_EAGAIN;
	tap->copies[tap->n_copies++] = copy;
	tap->dev->hooks.hold(tap->dev->hooks.arg, copy->payload, copy->payload_bytes,
			     copy->direction == KVF_COPY_GATHER);
	tap->dev->copies++;
	rc = tap->inner->copy(tap->inner_self, copy);
	if (!rc)
		return rc;
	if (!forget(tap, copy))
		wrong(tap, "a copy was completed and refused");
	else
		let_go(tap, copy);
	return heard(tap, rc);
}

static void tap_cancel(void *self, struct kvf_copy *copy)
{
	struct tap *tap = self;

	for (uint32_t i = 0; i < tap->n_copies; i++) {
		if (tap->copies[i] == copy) {
			tap->inner->cancel(tap->inner_self, copy);
			return;
		}
	}
	wrong(tap, "cancel of a copy that the device does not hold");
}

static uint64_t tap_progress(void *self, uint64_t budget)
{
	struct tap *tap = self;

	return tap->inner->progress(tap->inner_self, budget);
}

/* --- the rest ---------------------------------------------------------------------------------------------------- */

static int tap_open(void *self, struct kvf_device_host *host, const struct kvf_layout *layout, uint32_t *caps)
{
	struct tap *tap = self;
	int rc;

	tap->engine = host;
	tap->host = *host;
	tap->host.complete = on_complete;
	/* alloc, release and log belong to the engine's own: a device that uses them says so here. */
	tap->host.alloc = NULL;
	tap->host.release = NULL;
	tap->host.log = NULL;
	rc = heard(tap, tap->inner->open(tap->inner_self, &tap->host, layout, caps));
	tap->host.report = NULL;
	return rc;
}

static void tap_close(void *self)
{
	struct tap *tap = self;

	if (tap->n_copies)
		wrong(tap, "closed while copies are in flight");
	if (tap->n_fences)
		wrong(tap, "closed while fences are held");
	if (tap->n_locked)
		wrong(tap, "closed while memory is locked");
	tap->inner->close(tap->inner_self);
}

static int tap_rebind(void *self, const struct kvf_layout *layout)
{
	struct tap *tap = self;

	return heard(tap, tap->inner->rebind(tap->inner_self, layout));
}

static int tap_lock(void *self, void *p, size_t n)
{
	struct tap *tap = self;
	int rc = heard(tap, tap->inner->lock(tap->inner_self, p, n));

	tap->n_locked += !rc;
	return rc;
}

static void tap_unlock(void *self, void *p, size_t n)
{
	struct tap *tap = self;

	if (!tap->n_locked--)
		wrong(tap, "memory was unlocked that was not locked");
	tap->inner->unlock(tap->inner_self, p, n);
}

static int tap_capture(void *self, const struct kvf_fence_in *in, struct kvf_fence *fence)
{
	struct tap *tap = self;
	int rc = heard(tap, tap->inner->capture(tap->inner_self, in, fence));

	tap->n_fences += !rc;
	return rc;
}

static void tap_release(void *self, struct kvf_fence *fence)
{
	struct tap *tap = self;

	for (uint32_t i = 0; i < tap->n_copies; i++)
		if (tap->copies[i]->after == fence)
			wrong(tap, "a fence was released while a copy waits for it");
	if (!tap->n_fences--)
		wrong(tap, "more fences were released than captured");
	tap->inner->release(tap->inner_self, fence);
}

static int tap_fence(void *self, enum kvf_copy_direction direction, struct kvf_fence_out *out)
{
	struct tap *tap = self;

	return heard(tap, tap->inner->fence(tap->inner_self, direction, out));
}

const struct kvf_device_ops tap_ops = {
	.size = sizeof(struct kvf_device_ops),
	.name = "tap",
	.open = tap_open,
	.close = tap_close,
	.rebind = tap_rebind,
	.lock = tap_lock,
	.unlock = tap_unlock,
	.capture = tap_capture,
	.release = tap_release,
	.copy = tap_copy,
	.cancel = tap_cancel,
	.fence = tap_fence,
	.progress = tap_progress,
};

void tap_init(struct tap *tap, struct simdev *dev)
{
	memset(tap, 0, sizeof(*tap));
	tap->dev = dev;
}
