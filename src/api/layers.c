/* SPDX-License-Identifier: Apache-2.0 */
/* Layerwise operations: the host's fence for each layer of a store, ours for each layer of a retrieve. */
#include "api/guard.h"

static int give_layer(struct kvf_engine *e, uint64_t op_id, uint32_t layer, const struct kvf_fence_in *ready)
{
	struct kvf_job *job = kvf_job_find(e, op_id);
	int rc;

	if (!job || job->state >= KVF_STATE_SETTLE)
		return KVF_ENOENT;
	if (!job->later)
		return kvf_refuse(e, KVF_EINVAL, "op_id: not a layerwise store");
	if (layer >= e->plan.n_layers)
		return kvf_refuse(e, KVF_EINVAL, "layer: %u of %u", layer, e->plan.n_layers);
	if (job->layers[layer].given)
		return kvf_refuse(e, KVF_EINVAL, "layer: %u was given already", layer);
	if (ready->kind == KVF_FENCE_LATER)
		return kvf_refuse(e, KVF_EINVAL, "ready.kind: KVF_FENCE_LATER is no fence");
	rc = kvf_device_capture(e, ready, &job->layers[layer].captured);
	if (rc)
		return rc;
	job->layers[layer].given = true;
	job->layer_order[job->n_layers_given++] = layer;
	kvf_job_ready(e, job);
	return KVF_OK;
}

int kvf_store_layer(struct kvf_engine *e, uint64_t op_id, uint32_t layer, const struct kvf_fence_in *ready)
{
	int rc;

	if (!e || !ready)
		return KVF_EINVAL;
	rc = kvf_enter(e);
	if (rc)
		return rc;
	rc = e->dead ? KVF_EDEAD : give_layer(e, op_id, layer, ready);
	kvf_arm(e);
	return kvf_exit(e, rc);
}

static int get_fence(struct kvf_engine *e, uint64_t op_id, uint32_t layer, struct kvf_fence_out *out)
{
	struct kvf_job *job = kvf_job_find(e, op_id);

	if (!job)
		return KVF_ENOENT;
	if (job->code != KVF_OP_RETRIEVE || !job->layers)
		return kvf_refuse(e, KVF_EINVAL, "op_id: not a layerwise or stream-ordered retrieve");
	if (layer >= e->plan.n_layers)
		return kvf_refuse(e, KVF_EINVAL, "layer: %u of %u", layer, e->plan.n_layers);
	if (job->state == KVF_STATE_POSTED && job->status)
		return KVF_ENOENT; /* it failed: what was issued is no layer that is there */
	if (!job->layers[layer].issued)
		return KVF_EAGAIN;
	*out = job->layers[layer].out;
	return KVF_OK;
}

int kvf_layer_fence(struct kvf_engine *e, uint64_t op_id, uint32_t layer, struct kvf_fence_out *out)
{
	int rc;

	if (!e || !out)
		return KVF_EINVAL;
	rc = kvf_enter(e);
	if (rc)
		return rc;
	return kvf_exit(e, e->dead ? KVF_EDEAD : get_fence(e, op_id, layer, out));
}

int kvf_fence_release(struct kvf_engine *e, uint64_t op_id)
{
	struct kvf_job *job;
	int rc;

	if (!e)
		return KVF_EINVAL;
	rc = kvf_enter(e);
	if (rc)
		return rc;
	job = e->dead ? NULL : kvf_job_find(e, op_id);
	if (job) {
		job->fences_kept = false;
		kvf_job_ready(e, job);
		kvf_arm(e);
	}
	return kvf_exit(e, job ? KVF_OK : KVF_ENOENT);
}
