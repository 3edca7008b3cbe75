/* SPDX-License-Identifier: Apache-2.0 */
/* The three ways to issue a copy: calls, batches of descriptors, a kernel with a staging buffer. */
#include "base/compiler.h"
#include "device/cuda_impl.h"

#define MAX_PITCH 0x7fffffffu /* of 2D copies */
#define THREADS 256
/* A batch is not worth setting up for fewer. */
#define MIN_BATCH 2

void kvf_cuda_measure(struct kvf_cuda_device *dev, const struct cuda_unit *unit, const struct kvf_copy *copy,
		      struct kvf_copy_shape *shape)
{
	struct kvf_run_iter iter;
	struct kvf_run run;

	*shape = (struct kvf_copy_shape){ 0, 0, 0 };
	dev->n_runs = 0;
	kvf_run_iter_init(&iter, &dev->plan, copy);
	while (kvf_run_iter_next(&iter, &run)) {
		if (run.device != unit->ordinal)
			continue;
		if (dev->n_runs < CUDA_RUNS)
			dev->runs[dev->n_runs++] = run;
		shape->runs++;
		shape->pieces += run.rows;
		shape->bytes += run.rows * run.bytes;
	}
}

unsigned kvf_cuda_ways(const struct kvf_cuda_device *dev, const struct cuda_unit *unit, const struct kvf_copy *copy,
		       const struct kvf_copy_shape *shape)
{
	unsigned ways = unit->ways;

	if (shape->pieces < MIN_BATCH)
		ways &= ~(1u << KVF_WAY_BATCH);
	/* The kernel moves whole chunks. Of a scatter it would send the rest over the link for nothing. */
	if (copy->direction == KVF_COPY_GATHER ? copy->n != copy->chunk_tokens : copy->n < copy->chunk_tokens / 2)
		ways &= ~(1u << KVF_WAY_KERNEL);
	/* Half of the room for descriptions: layer ranges may cut runs in two, null blocks are described as well. */
	if (shape->runs > CUDA_DESCS / 2 ||
	    (copy->direction == KVF_COPY_GATHER && kvf_copy_has_null(&dev->plan, copy) &&
	     shape->runs > CUDA_DESCS / 8))
		ways &= ~(1u << KVF_WAY_KERNEL);
	return ways;
}

/* Walks the runs of a copy on one unit, out of memory where they were remembered. */
struct walk {
	struct kvf_cuda_device *dev;
	const struct cuda_unit *unit;
	struct kvf_run_iter iter;
	uint32_t next;
	bool remembered;
};

static void walk_begin(struct walk *walk, struct kvf_cuda_device *dev, const struct cuda_unit *unit,
		       const struct kvf_copy *copy, const struct kvf_copy_shape *shape)
{
	walk->dev = dev;
	walk->unit = unit;
	walk->next = 0;
	walk->remembered = shape && shape->runs <= dev->n_runs;
	if (!walk->remembered)
		kvf_run_iter_init(&walk->iter, &dev->plan, copy);
}

static bool walk_next(struct walk *walk, struct kvf_run *run)
{
	if (walk->remembered) {
		if (walk->next == walk->dev->n_runs)
			return false;
		*run = walk->dev->runs[walk->next++];
		return true;
	}
	while (kvf_run_iter_next(&walk->iter, run))
		if (run->device == walk->unit->ordinal)
			return true;
	return false;
}

/* --- calls ------------------------------------------------------------------------------------------------------- */

static int move_1d(struct kvf_cuda_device *dev, struct cuda_lane *lane, void *device, void *host, uint64_t bytes,
		   uint32_t direction)
{
	bool gather = direction == KVF_COPY_GATHER;
	int rc = kvf_cuda_status(dev,
				 dev->api->MemcpyAsync(gather ? host : device, gather ? device : host, bytes,
						       gather ? cudaMemcpyDeviceToHost : cudaMemcpyHostToDevice,
						       lane->stream),
				 "cudaMemcpyAsync");

	lane->work += !rc;
	return rc;
}

static int move_run(struct kvf_cuda_device *dev, struct cuda_lane *lane, const struct kvf_copy *copy,
		    const struct kvf_run *run)
{
	uint8_t *pay = copy->payload + run->pay;
	uint32_t row;
	int rc = KVF_OK;

	if (run->rows > 1 && run->dev_stride <= MAX_PITCH && run->pay_stride <= MAX_PITCH &&
	    run->dev_stride >= run->bytes && run->pay_stride >= run->bytes) {
		bool gather = copy->direction == KVF_COPY_GATHER;

		rc = kvf_cuda_status(dev,
				     gather ? dev->api->Memcpy2DAsync(pay, run->pay_stride, run->dev, run->dev_stride,
								      run->bytes, run->rows, cudaMemcpyDeviceToHost,
								      lane->stream) :
					      dev->api->Memcpy2DAsync(run->dev, run->dev_stride, pay, run->pay_stride,
								      run->bytes, run->rows, cudaMemcpyHostToDevice,
								      lane->stream),
				     "cudaMemcpy2DAsync");
		lane->work += !rc;
		return rc;
	}
	for (row = 0; !rc && row < run->rows; row++)
		rc = move_1d(dev, lane, run->dev + row * run->dev_stride, pay + row * run->pay_stride, run->bytes,
			     copy->direction);
	return rc;
}

static int by_calls(struct kvf_cuda_device *dev, struct cuda_unit *unit, const struct kvf_copy *copy,
		    const struct kvf_copy_shape *shape)
{
	struct walk walk;
	struct kvf_run run;
	int rc = KVF_OK;

	walk_begin(&walk, dev, unit, copy, shape);
	while (!rc && walk_next(&walk, &run))
		rc = move_run(dev, &unit->lanes[copy->direction], copy, &run);
	return rc;
}

/* --- batches ----------------------------------------------------------------------------------------------------- */

/* Access in stream order, whatever the direction: nothing is read before the waits of the stream are over. */
static int send_batch(struct kvf_cuda_device *dev, struct cuda_lane *lane, size_t n)
{
	struct cudaMemcpyAttributes attributes = { .srcAccessOrder = cudaMemcpySrcAccessOrderStream };
	int rc = kvf_cuda_status(dev,
				 dev->api->MemcpyBatchAsync(dev->to, dev->from, dev->sizes, n, &attributes,
							    lane->stream),
				 "cudaMemcpyBatchAsync");

	lane->work += !rc;
	return rc;
}

static int by_batches(struct kvf_cuda_device *dev, struct cuda_unit *unit, const struct kvf_copy *copy,
		      const struct kvf_copy_shape *shape)
{
	struct cuda_lane *lane = &unit->lanes[copy->direction];
	bool gather = copy->direction == KVF_COPY_GATHER;
	struct walk walk;
	struct kvf_run run;
	uint32_t row;
	size_t n = 0;
	int rc = KVF_OK;

	walk_begin(&walk, dev, unit, copy, shape);
	while (!rc && walk_next(&walk, &run)) {
		for (row = 0; !rc && row < run.rows; row++) {
			void *device = run.dev + row * run.dev_stride;
			void *host = copy->payload + run.pay + row * run.pay_stride;

			dev->to[n] = gather ? host : device;
			dev->from[n] = gather ? device : host;
			dev->sizes[n] = run.bytes;
			if (++n < CUDA_BATCH)
				continue;
			rc = send_batch(dev, lane, n);
			n = 0;
		}
	}
	return rc || !n ? rc : send_batch(dev, lane, n);
}

/* --- the kernel -------------------------------------------------------------------------------------------------- */

/* `want` descriptors in one piece of the ring; NULL: not free now. The head moves when they are used. */
static struct cuda_desc *room(struct cuda_lane *lane, uint32_t want, uint64_t *at)
{
	uint64_t head = lane->desc_head, left = CUDA_DESCS - head % CUDA_DESCS;

	if (left < want)
		head += left;
	if (head + want - lane->desc_tail > CUDA_DESCS)
		return NULL;
	*at = head;
	return &lane->descs[head % CUDA_DESCS];
}

int kvf_cuda_launch(struct kvf_cuda_device *dev, struct cuda_unit *unit, enum kvf_copy_direction direction,
		    uint64_t first_desc, uint32_t n)
{
	struct cuda_lane *lane = &unit->lanes[direction];
	void *descs = (struct cuda_desc *)lane->descs_at + first_desc % CUDA_DESCS;
	void *staging = lane->staging;
	void *args[] = { &descs, &n, &staging };
	unsigned blocks = (unsigned)kvf_min_u64((uint64_t)unit->kernel_blocks, kvf_div_up(n, THREADS / 32));
	int rc = kvf_cuda_status(dev,
				 dev->api->LaunchKernel((const void *)dev->kernels[direction],
							(dim3){ blocks, 1, 1 }, (dim3){ THREADS, 1, 1 }, args, 0,
							lane->stream),
				 "cudaLaunchKernel");

	lane->work += !rc;
	return rc;
}

/* Describes the runs of a range of layers, all of them on one unit. Returns how many; UINT32_MAX: more than cap. */
static uint32_t describe(struct kvf_cuda_device *dev, const struct kvf_copy *copy, uint32_t n_segments,
			 struct cuda_desc *out, uint32_t cap)
{
	struct kvf_run_iter iter;
	struct kvf_run run;
	uint32_t n = 0, hint = 0;

	kvf_run_iter_init(&iter, &dev->plan, copy);
	iter.nulls = copy->direction == KVF_COPY_GATHER;
	while (kvf_run_iter_next(&iter, &run)) {
		if (n == cap)
			return UINT32_MAX;
		out[n++] = (struct cuda_desc){ .dev = (uintptr_t)run.dev,
					       .staged = kvf_plan_packed(dev->segments, n_segments, run.pay, &hint),
					       .bytes = run.bytes,
					       .dev_stride = run.dev_stride,
					       .staged_stride = run.pay_stride,
					       .rows = run.rows };
	}
	return n;
}

static int move_segments(struct kvf_cuda_device *dev, struct cuda_lane *lane, const struct kvf_copy *copy, uint32_t n)
{
	int rc = KVF_OK;
	uint32_t i;

	for (i = 0; !rc && i < n; i++)
		rc = move_1d(dev, lane, (uint8_t *)lane->staging + dev->segments[i].at,
			     copy->payload + dev->segments[i].pay, dev->segments[i].bytes, copy->direction);
	return rc;
}

/* One range of layers that fits the staging buffer. */
static int by_kernel_range(struct kvf_cuda_device *dev, struct cuda_unit *unit, const struct kvf_copy *copy)
{
	struct cuda_lane *lane = &unit->lanes[copy->direction];
	uint32_t n_segments = kvf_plan_segments(&dev->plan, copy, dev->segments, CUDA_SEGMENTS);
	uint32_t cap = CUDA_DESCS / 2, n;
	struct cuda_desc *descs;
	uint64_t at;
	int rc;

	descs = n_segments ? room(lane, cap, &at) : NULL;
	n = descs ? describe(dev, copy, n_segments, descs, cap) : UINT32_MAX;
	if (n == UINT32_MAX)
		return by_calls(dev, unit, copy, NULL);
	if (!n)
		return KVF_OK;
	rc = copy->direction == KVF_COPY_SCATTER ? move_segments(dev, lane, copy, n_segments) : KVF_OK;
	if (!rc)
		rc = kvf_cuda_launch(dev, unit, (enum kvf_copy_direction)copy->direction, at, n);
	if (rc)
		return rc;
	lane->desc_head = at + n;
	return copy->direction == KVF_COPY_GATHER ? move_segments(dev, lane, copy, n_segments) : KVF_OK;
}

static int by_kernel(struct kvf_cuda_device *dev, struct cuda_unit *unit, const struct kvf_copy *copy)
{
	struct cuda_lane *lane = &unit->lanes[copy->direction];
	uint32_t layer = copy->first_layer, n;
	uint32_t end = (uint32_t)kvf_min_u64((uint64_t)copy->first_layer + copy->n_layers, dev->plan.n_layers);
	struct kvf_copy range = *copy;
	int32_t device = -1;
	uint64_t at;
	int rc = KVF_OK;

	/* What the ranges describe together is no more than half, see kvf_cuda_ways(): the rest must be free. */
	if (lane->n && !room(lane, CUDA_DESCS / 2, &at))
		return KVF_EAGAIN;
	for (; !rc && layer < end; layer += n) {
		n = kvf_plan_layers(&dev->plan, copy, layer, end - layer, dev->options.staging_bytes, &device);
		if (!n)
			return KVF_EINTERNAL;
		if (device != unit->ordinal)
			continue;
		range.first_layer = layer;
		range.n_layers = n;
		rc = by_kernel_range(dev, unit, &range);
	}
	return rc;
}

int kvf_cuda_issue(struct kvf_cuda_device *dev, struct cuda_unit *unit, const struct kvf_copy *copy,
		   const struct kvf_copy_shape *shape, enum kvf_copy_way way)
{
	if (way == KVF_WAY_KERNEL)
		return by_kernel(dev, unit, copy);
	if (way == KVF_WAY_BATCH)
		return by_batches(dev, unit, copy, shape);
	return by_calls(dev, unit, copy, shape);
}
