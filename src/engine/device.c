/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device as the engine drives it: which one, copies begun and completed, fences captured. A device that is full is
 * offered the waiting copies again each turn; one that copies synchronously gets one chunk a turn.
 */
#include "engine/engine.h"

#include <stdlib.h>

#include "base/report.h"
#include "config/config.h"
#include "device/cuda.h"

static struct kvf_engine *engine_of(struct kvf_device_host *host)
{
	return kvf_container_of(host, struct kvf_engine, device_host);
}

static void host_complete(struct kvf_device_host *host, struct kvf_copy *copy, int status)
{
	struct kvf_engine *e = engine_of(host);

	copy->status = status;
	copy->link = NULL;
	if (e->copy_done_tail)
		e->copy_done_tail->link = copy;
	else
		e->copy_done_head = copy;
	e->copy_done_tail = copy;
}

static void *host_alloc(struct kvf_device_host *host, size_t n)
{
	return kvf_mem_alloc(&engine_of(host)->mem, n);
}

static void host_release(struct kvf_device_host *host, void *p, size_t n)
{
	kvf_mem_free(&engine_of(host)->mem, p, n);
}

static void host_log(struct kvf_device_host *host, enum kvf_log_level level, const char *msg)
{
	struct kvf_engine *e = engine_of(host);

	kvf_log(&e->log, level, e->device->name, "%s", msg);
}

int kvf_device_first(const struct kvf_layout *layout)
{
	for (uint32_t g = 0; g < layout->n_groups; g++) {
		for (uint32_t l = 0; l < layout->groups[g].n_layers; l++) {
			if (layout->groups[g].layers[l].device >= 0)
				return layout->groups[g].layers[l].device;
		}
	}
	return -1;
}

static int refuse_device(struct kvf_report *report, int status, const char *text)
{
	kvf_report_add(report, KVF_ERROR, "%s", text);
	return status;
}

#ifdef HAVE_CUDA
static uint64_t clock_now(void *arg)
{
	struct kvf_engine *e = arg;

	return kvf_clock_peek(&e->clock);
}

static int use_cuda(struct kvf_engine *e, const struct kvf_open_params *params, const struct kvf_settings *s)
{
	const char *file = params->config ? kvf_config_extra(params->config, "kvf_calibration_file") : "auto";
	struct kvf_cuda_options options = {
		.chunk_tokens = e->chunk_size,
		.word = s->completion == 1,
		.copy = (enum kvf_copy_way)s->copy,
		.staging_bytes = kvf_min_u64(kvf_align_up(e->payload_bytes, 4096), KVF_CUDA_STAGING_BYTES),
		.now_ns = clock_now,
		.clock = e,
	};

	(void)kvf_calibration_path(file, getenv("XDG_CACHE_HOME"), getenv("HOME"), options.calibration_file);
	e->device = &kvf_device_cuda_ops;
	return kvf_cuda_device_new(&e->mem, &options, (struct kvf_cuda_device **)&e->device_self);
}
#else
static int use_cuda(struct kvf_engine *e, const struct kvf_open_params *params, const struct kvf_settings *s)
{
	(void)e;
	(void)s;
	return refuse_device(params->report, KVF_ENODEV, "layout: it is in device memory, but this build has no CUDA");
}
#endif

/* The built-in one for this layout. What it is does not depend on what the machine has got: memory of a device is never
 * left to another one. */
static int choose_device(struct kvf_engine *e, const struct kvf_open_params *params, const struct kvf_settings *s)
{
	enum { AUTO = 0, CUDA, HOST };
	bool device_memory = kvf_device_first(&e->plan.layout) >= 0;
	int rc;

	if (s->device == CUDA && !device_memory)
		return refuse_device(params->report, KVF_EINVAL, "kvf_device: cuda, but the layout is in host memory");
	if (device_memory && s->device != HOST) {
		rc = use_cuda(e, params, s);
#ifdef HAVE_CUDA
		e->own_cuda_device = rc ? NULL : e->device_self;
#endif
		return rc;
	}
	rc = kvf_host_device_new(&e->mem, &e->plan, &e->own_host_device);
	if (rc)
		return rc;
	e->device = &kvf_device_host_ops;
	e->device_self = e->own_host_device;
	return KVF_OK;
}

int kvf_device_open(struct kvf_engine *e, const struct kvf_open_params *params, const struct kvf_settings *s)
{
	int rc;

	if (!e->has_layout || e->flags & KVF_OPEN_LOOKUP_ONLY)
		return KVF_OK;
	e->device_host = (struct kvf_device_host){ sizeof(e->device_host), host_complete, host_alloc,
						   host_release,	   host_log,	  params->report };
	e->device = params->device;
	e->device_self = params->device_self;
	rc = e->device ? KVF_OK : choose_device(e, params, s);
	if (rc) {
		e->device = NULL;
		return rc;
	}
	rc = e->device->open(e->device_self, &e->device_host, &e->plan.layout, &e->device_caps);
	e->device_host.report = NULL;
	if (rc)
		e->device = NULL;
	return rc;
}

int kvf_device_rebind(struct kvf_engine *e, const struct kvf_layout *layout)
{
	struct kvf_layout_plan old;
	int rc = kvf_layout_init(&old, &e->mem, &e->plan.layout, e->plan.chunk_tokens, e->detail, sizeof(e->detail));

	if (rc)
		return rc;
	rc = kvf_layout_rebind(&e->plan, layout, e->detail, sizeof(e->detail));
	if (!rc && e->device->rebind) {
		rc = e->device->rebind(e->device_self, &e->plan.layout);
		if (rc) {
			/* It goes on with what it had, and so must everybody who looks at the engine's copy. */
			(void)kvf_layout_rebind(&e->plan, &old.layout, NULL, 0);
			kvf_refuse(e, rc, "layout: device %s refuses it: %s", e->device->name, kvf_strerror(rc));
		}
	}
	kvf_layout_fini(&old, &e->mem);
	return rc;
}

void kvf_device_close(struct kvf_engine *e)
{
	if (e->device)
		e->device->close(e->device_self);
	e->device = NULL;
	if (e->own_host_device)
		kvf_host_device_free(&e->mem, e->own_host_device);
	e->own_host_device = NULL;
#ifdef HAVE_CUDA
	if (e->own_cuda_device)
		kvf_cuda_device_free(&e->mem, e->own_cuda_device);
	e->own_cuda_device = NULL;
#endif
}

int kvf_device_capture(struct kvf_engine *e, const struct kvf_fence_in *in, struct kvf_fence *out)
{
	int rc;

	if (in->kind == KVF_FENCE_NONE || in->kind > KVF_FENCE_LATER)
		return kvf_refuse(e, KVF_EINVAL,
				  "fence.kind: %u is no fence; KVF_FENCE_NOW says that it is already true", in->kind);
	if (!e->device->capture) {
		if (in->kind == KVF_FENCE_NOW)
			return KVF_OK;
		return kvf_refuse(e, KVF_ENOTSUP, "fence.kind: device %s knows only KVF_FENCE_NOW, not %u",
				  e->device->name, in->kind);
	}
	rc = e->device->capture(e->device_self, in, out);
	return rc ? kvf_refuse(e, rc, "fence: device %s refuses kind %u: %s", e->device->name, in->kind,
			       kvf_strerror(rc)) :
		    KVF_OK;
}

void kvf_device_release(struct kvf_engine *e, struct kvf_fence *fence)
{
	if (e->device && e->device->release)
		e->device->release(e->device_self, fence);
}

static void lost(struct kvf_engine *e, int status)
{
	if (status != KVF_EDEVLOST || e->device_lost)
		return;
	e->device_lost = true;
	kvf_log(&e->log, KVF_LOG_ERROR, e->device->name, "device lost: RAM and lower tiers stay usable");
	/* Layers that are still to come can be announced no more. */
	for (uint32_t i = 0; i < e->jobs.used; i++) {
		struct kvf_job *job = kvf_slab_at(&e->jobs, i);

		if (job->id && job->later && job->state < KVF_STATE_SETTLE)
			kvf_job_stop(e, job, KVF_EDEVLOST, KVF_REASON_DEVICE);
	}
}

/* A copy that never began, or ended: what it means for its move. */
static void copied(struct kvf_engine *e, struct kvf_move *move, int status)
{
	struct kvf_job *job = move->job;

	lost(e, status);
	job->n_copying--;
	if (status) {
		move->state = KVF_MOVE_FAILED;
		move->status = status;
		move->reason = status == KVF_ECANCELED ? KVF_REASON_CANCELED : KVF_REASON_DEVICE;
	} else if (job->layerwise && ++move->layer < e->plan.n_layers) {
		move->state = KVF_MOVE_IDLE;
	} else {
		move->state = KVF_MOVE_DONE;
	}
	kvf_job_ready(e, job);
}

void kvf_device_withdraw(struct kvf_engine *e, struct kvf_move *move)
{
	kvf_list_remove(&move->wait);
	copied(e, move, KVF_ECANCELED);
}

static bool offer(struct kvf_engine *e, struct kvf_move *move)
{
	int rc = e->device_lost ? KVF_EDEVLOST : e->device->copy(e->device_self, &move->copy);

	if (rc == KVF_EAGAIN)
		return false;
	if (rc) {
		copied(e, move, rc);
		return true;
	}
	e->n_copies++;
	e->stats.device_copies++;
	kvf_timeline_async(&e->timeline, move->copy.direction == KVF_COPY_GATHER ? KVF_ROW_D2H : KVF_ROW_H2D, 'b',
			   move->copy.direction == KVF_COPY_GATHER ? "gather" : "scatter", e->clock.now_ns,
			   (uint64_t)(uintptr_t)move, move->copy.payload_bytes);
	return true;
}

void kvf_device_copy(struct kvf_engine *e, struct kvf_move *move)
{
	move->state = KVF_MOVE_COPYING;
	move->job->n_copying++;
	if (!kvf_list_empty(&e->copy_wait) || e->device_caps & KVF_DEVICE_SYNC || !offer(e, move))
		kvf_list_push_back(&e->copy_wait, &move->wait);
}

/* A device that was lost in the middle of a gather may still write into its slot: nobody gets that slot any more. It
 * goes with the pool, whose pages the driver holds until it has let go of them. */
static void quarantine(struct kvf_engine *e, const struct kvf_move *move)
{
	kvf_entry_pin(e, move->entry);
	kvf_index_entry(&e->index, move->entry)->flags |= KVF_ENTRY_LOST;
	e->n_lost_slots++;
	e->n_quarantined++;
}

static void offer_waiting(struct kvf_engine *e)
{
	while (!kvf_list_empty(&e->copy_wait)) {
		struct kvf_move *move = kvf_list_entry(e->copy_wait.next, struct kvf_move, wait);

		kvf_list_remove(&move->wait);
		if (!offer(e, move)) {
			kvf_list_push_front(&e->copy_wait, &move->wait);
			return;
		}
		/* Its fences may be given out now. */
		if (move->job->layers)
			kvf_job_ready(e, move->job);
		if (e->device_caps & KVF_DEVICE_SYNC)
			return;
	}
}

bool kvf_device_turn(struct kvf_engine *e)
{
	uint64_t moved = 0;

	if (!e->n_copies && kvf_list_empty(&e->copy_wait))
		return false;
	offer_waiting(e);
	if (e->n_copies && e->device->progress)
		moved = e->device->progress(e->device_self, KVF_TURN_COPY_BYTES);
	while (e->copy_done_head) {
		struct kvf_copy *copy = e->copy_done_head;
		struct kvf_move *move = kvf_container_of(copy, struct kvf_move, copy);

		e->copy_done_head = copy->link;
		if (!e->copy_done_head)
			e->copy_done_tail = NULL;
		KVF_CHECK(e, e->n_copies > 0);
		e->n_copies--;
		if (copy->status == KVF_EDEVLOST && copy->direction == KVF_COPY_GATHER)
			quarantine(e, move);
		if (!copy->status)
			e->stats.device_bytes += copy->payload_bytes;
		kvf_timeline_async(&e->timeline, copy->direction == KVF_COPY_GATHER ? KVF_ROW_D2H : KVF_ROW_H2D, 'e',
				   copy->direction == KVF_COPY_GATHER ? "gather" : "scatter", e->clock.now_ns,
				   (uint64_t)(uintptr_t)move, 0);
		copied(e, move, copy->status);
	}
	return moved > 0 || (!kvf_list_empty(&e->copy_wait) && e->device_caps & KVF_DEVICE_SYNC);
}

void kvf_device_turn_dead(struct kvf_engine *e)
{
	if (e->n_copies && e->device->progress)
		(void)e->device->progress(e->device_self, KVF_TURN_COPY_BYTES);
	for (; e->copy_done_head; e->copy_done_head = e->copy_done_head->link)
		e->n_copies--;
	e->copy_done_tail = NULL;
}
