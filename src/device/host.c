/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host device: KV in host memory (CPU inference, tests). Copies wait in one FIFO per direction and are moved by
 * progress(), sliced to its budget even inside a run; the directions take turns, neither waits for the other's fence.
 *
 * A copy is queued through kvf_copy.link (next) and scratch; only the first of a queue can have begun, so what is known
 * about its position lives in the queue.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "base/report.h"
#include "device/device.h"

/* Bytes of one direction's turn: large against the cost of changing over, small against a budget. */
#define TURN_BYTES (256 * KVF_KIB)
/* Runs worked out at a time: memory stays busier when pieces follow each other without thinking in between. */
#define BATCH 64
/* What is fetched ahead of the next run; from there on the processor sees the pattern by itself. */
#define FETCH_BYTES 512
#define FETCH_ROWS 16

enum { SCRATCH_PREV = 0, SCRATCH_NUMBER = 1 };	/* kvf_copy.scratch */
enum { FENCE_KIND = 0, FENCE_WORD = 1, FENCE_VALUE = 2 }; /* kvf_fence.scratch */

struct lane {
	struct kvf_copy *first, *last;
	uint64_t issued;    /* number of the newest accepted copy */
	uint64_t completed; /* every copy up to this number is done: what fence() hands out */
	bool begun;	    /* the first copy */
	struct kvf_run_iter iter;
	struct kvf_run runs[BATCH]; /* worked out, from `next` on not finished */
	unsigned n_runs, next;
	uint32_t row;	 /* in runs[next] */
	uint64_t offset; /* in the row */
};

struct kvf_host_device {
	const struct kvf_layout_plan *plan;
	struct kvf_device_host *host; /* NULL while closed */
	struct lane lanes[2];	      /* enum kvf_copy_direction */
	unsigned turn;		      /* the lane that goes first */
	uint64_t copies, bytes;
};

static void lane_push(struct lane *lane, struct kvf_copy *copy)
{
	copy->link = NULL;
	copy->scratch[SCRATCH_PREV] = (uintptr_t)lane->last;
	copy->scratch[SCRATCH_NUMBER] = ++lane->issued;
	if (lane->last)
		lane->last->link = copy;
	else
		lane->first = copy;
	lane->last = copy;
}

static void lane_remove(struct lane *lane, struct kvf_copy *copy)
{
	struct kvf_copy *next = copy->link, *prev = (struct kvf_copy *)(uintptr_t)copy->scratch[SCRATCH_PREV];

	if (prev)
		prev->link = next;
	else
		lane->first = next;
	if (next)
		next->scratch[SCRATCH_PREV] = (uintptr_t)prev;
	else
		lane->last = prev;
}

static void finish(struct kvf_host_device *dev, struct lane *lane, struct kvf_copy *copy, int status)
{
	lane_remove(lane, copy);
	__atomic_store_n(&lane->completed,
			 lane->first ? lane->first->scratch[SCRATCH_NUMBER] - 1 : lane->issued, __ATOMIC_RELEASE);
	dev->host->complete(dev->host, copy, status);
}

/* --- moving bytes ------------------------------------------------------------------------------------------------ */

struct sides {
	uint8_t *to;
	const uint8_t *from;
	uint64_t to_stride, from_stride;
};

static void copy_rows(struct sides s, uint64_t bytes, uint64_t rows)
{
	for (; rows; rows--, s.to += s.to_stride, s.from += s.from_stride)
		memcpy(s.to, s.from, bytes);
}

static void clear_rows(struct sides s, uint64_t bytes, uint64_t rows)
{
	for (; rows; rows--, s.to += s.to_stride)
		memset(s.to, 0, bytes);
}

/* The run from (row, offset) on. A null block has no `from`: it is cleared. */
static struct sides run_sides(const struct kvf_copy *copy, const struct kvf_run *run, uint32_t row, uint64_t offset)
{
	uint8_t *pay = copy->payload + run->pay + row * run->pay_stride + offset;
	uint8_t *at = run->dev ? run->dev + row * run->dev_stride + offset : NULL;

	if (copy->direction == KVF_COPY_GATHER)
		return (struct sides){ pay, at, run->pay_stride, run->dev_stride };
	return (struct sides){ at, pay, run->dev_stride, run->pay_stride };
}

static void move_pieces(const struct lane *lane, const struct kvf_copy *copy, uint64_t bytes, uint64_t rows)
{
	struct sides s = run_sides(copy, &lane->runs[lane->next], lane->row, lane->offset);

	if (s.from)
		copy_rows(s, bytes, rows);
	else
		clear_rows(s, bytes, rows);
}

/* Touches the device's side of what comes next. Long pieces only where they are read: their writes hide well enough. */
static void fetch_ahead(const struct kvf_copy *copy, const struct kvf_run *run)
{
	struct sides s = run_sides(copy, run, 0, 0);
	uint64_t bytes = kvf_min_u64(run->bytes, FETCH_BYTES), rows = kvf_min_u64(run->rows, FETCH_ROWS), i, k;

	if (!s.from || (rows == 1 && copy->direction == KVF_COPY_SCATTER))
		return;
	for (i = 0; i < rows; i++)
		for (k = 0; k < bytes; k += 64) {
			__builtin_prefetch(s.from + i * s.from_stride + k, 0);
			if (rows > 1)
				__builtin_prefetch(s.to + i * s.to_stride + k, 1);
		}
}

/* At most `budget` bytes (> 0) of the current run; steps on to the next at its end. Returns the bytes moved. */
static uint64_t move_run(struct lane *lane, const struct kvf_copy *copy, uint64_t budget)
{
	const struct kvf_run *run = &lane->runs[lane->next];
	uint64_t moved = 0, n;

	if (run->rows == 1 && !lane->offset && budget >= run->bytes) { /* most often, and without a division */
		move_pieces(lane, copy, run->bytes, 1);
		lane->next++;
		return run->bytes;
	}
	if (!lane->offset && budget >= run->bytes) {
		n = kvf_min_u64(budget / run->bytes, run->rows - lane->row);
		move_pieces(lane, copy, run->bytes, n);
		lane->row += (uint32_t)n;
		moved = n * run->bytes;
	}
	n = kvf_min_u64(budget - moved, run->bytes - lane->offset);
	if (n && lane->row < run->rows) {
		move_pieces(lane, copy, n, 1);
		lane->offset += n;
		moved += n;
		if (lane->offset == run->bytes) {
			lane->offset = 0;
			lane->row++;
		}
	}
	if (lane->row == run->rows) {
		lane->row = 0;
		lane->next++;
	}
	return moved;
}

static bool have_run(struct kvf_host_device *dev, struct lane *lane)
{
	if (lane->next < lane->n_runs)
		return true;
	lane->next = 0;
	for (lane->n_runs = 0; lane->n_runs < BATCH; lane->n_runs++) {
		struct kvf_run *run = &lane->runs[lane->n_runs];

		if (!kvf_run_iter_next(&lane->iter, run))
			break;
		if (run->dev)
			dev->copies += run->rows;
	}
	return lane->n_runs > 0;
}

static bool fence_done(const struct kvf_fence *fence)
{
	const uint64_t *word;

	if (!fence || fence->scratch[FENCE_KIND] != KVF_FENCE_WORD)
		return true;
	word = (const uint64_t *)(uintptr_t)fence->scratch[FENCE_WORD];
	return __atomic_load_n(word, __ATOMIC_ACQUIRE) >= fence->scratch[FENCE_VALUE];
}

static void begin(struct kvf_host_device *dev, struct lane *lane, const struct kvf_copy *copy)
{
	kvf_run_iter_init(&lane->iter, dev->plan, copy);
	lane->iter.nulls = copy->direction == KVF_COPY_GATHER;
	lane->begun = true;
	lane->n_runs = lane->next = 0;
}

/* Moves up to `budget` bytes of one direction. 0: nothing is queued, or the first copy still waits for its fence. */
static uint64_t lane_progress(struct kvf_host_device *dev, struct lane *lane, uint64_t budget)
{
	uint64_t used = 0, moved;

	while (used < budget && lane->first) {
		struct kvf_copy *copy = lane->first;

		if (!lane->begun) {
			if (!fence_done(copy->after))
				break;
			begin(dev, lane, copy);
		}
		moved = 0;
		while (moved < budget - used && have_run(dev, lane)) {
			if (lane->next + 1 < lane->n_runs && !lane->row && !lane->offset)
				fetch_ahead(copy, &lane->runs[lane->next + 1]);
			moved += move_run(lane, copy, budget - used - moved);
		}
		dev->bytes += moved;
		used += moved;
		if (used < budget || !have_run(dev, lane)) {
			lane->begun = false;
			finish(dev, lane, copy, KVF_OK);
			used += !moved; /* even an empty copy costs something */
		}
	}
	return used;
}

static uint64_t host_progress(void *self, uint64_t budget)
{
	struct kvf_host_device *dev = self;
	uint64_t used = 0, moved;
	unsigned idle = 0;

	while (used < budget && idle < 2) {
		moved = lane_progress(dev, &dev->lanes[dev->turn], kvf_min_u64(budget - used, TURN_BYTES));
		dev->turn ^= 1;
		used += moved;
		idle = moved ? 0 : idle + 1;
	}
	return used;
}

/* --- the other calls --------------------------------------------------------------------------------------------- */

static int refuse(struct kvf_device_host *host, struct kvf_report *report, int status, const char *text)
{
	kvf_report_add(report, KVF_ERROR, "%s", text);
	if (host->log)
		host->log(host, KVF_LOG_ERROR, text);
	return status;
}

/* report: the host's, during open only. */
static int check_host_memory(struct kvf_device_host *host, struct kvf_report *report, const struct kvf_layout *layout)
{
	char text[160];
	uint32_t i, l;

	if (layout->kind != KVF_LAYOUT_PAGED)
		return refuse(host, report, KVF_ENOTSUP,
			      "device host: an opaque layout needs a device of the application's own");
	for (i = 0; i < layout->n_groups; i++) {
		const struct kvf_group *g = &layout->groups[i];

		for (l = 0; l < g->n_layers; l++) {
			if (g->layers[l].device < 0)
				continue;
			snprintf(text, sizeof(text),
				 "device host: layer %" PRIu32 " of layout group %" PRIu32 " is on device %" PRId32
				 ", must be -1 (host memory)",
				 l, i, g->layers[l].device);
			return refuse(host, report, KVF_ENODEV, text);
		}
	}
	return KVF_OK;
}

static int host_open(void *self, struct kvf_device_host *host, const struct kvf_layout *layout, uint32_t *caps)
{
	struct kvf_host_device *dev = self;
	int status = check_host_memory(host, host->report, layout);

	if (status)
		return status;
	dev->host = host;
	*caps = KVF_DEVICE_LAYERWISE | KVF_DEVICE_FENCES;
	return KVF_OK;
}

static void host_close(void *self)
{
	struct kvf_host_device *dev = self;
	unsigned i;

	for (i = 0; i < 2; i++) {
		while (dev->lanes[i].first)
			finish(dev, &dev->lanes[i], dev->lanes[i].first, KVF_ECANCELED);
		dev->lanes[i].begun = false;
	}
	dev->host = NULL;
}

static int host_rebind(void *self, const struct kvf_layout *layout)
{
	struct kvf_host_device *dev = self;

	if (dev->lanes[0].first || dev->lanes[1].first)
		return KVF_EBUSY;
	return check_host_memory(dev->host, NULL, layout);
}

static int host_capture(void *self, const struct kvf_fence_in *in, struct kvf_fence *fence)
{
	(void)self;
	switch (in->kind) {
	case KVF_FENCE_NOW:
		break;
	case KVF_FENCE_WORD:
		if (!in->word || (uintptr_t)in->word % sizeof(uint64_t))
			return KVF_EINVAL;
		break;
	case KVF_FENCE_EVENT:
	case KVF_FENCE_STREAM:
		return KVF_ENOTSUP;
	default:
		return KVF_EINVAL;
	}
	memset(fence, 0, sizeof(*fence));
	fence->scratch[FENCE_KIND] = in->kind;
	fence->scratch[FENCE_WORD] = (uintptr_t)in->word;
	fence->scratch[FENCE_VALUE] = in->value;
	return KVF_OK;
}

static void host_release(void *self, struct kvf_fence *fence)
{
	(void)self;
	memset(fence, 0, sizeof(*fence));
}

static int host_copy(void *self, struct kvf_copy *copy)
{
	struct kvf_host_device *dev = self;
	struct kvf_blocks blocks = { copy->n_groups, copy->groups };

	if (!dev->host || copy->direction > KVF_COPY_SCATTER || !copy->payload)
		return KVF_EINVAL;
	if (copy->chunk_tokens > dev->plan->chunk_tokens || copy->first > copy->chunk_tokens ||
	    copy->n > copy->chunk_tokens - copy->first ||
	    copy->payload_bytes < kvf_layout_payload_bytes(dev->plan, copy->chunk_tokens))
		return KVF_ERANGE;
	if (kvf_layout_check_blocks(dev->plan, &blocks, copy->chunk_first_token + copy->first, copy->n, NULL, 0))
		return KVF_EINVAL;
	lane_push(&dev->lanes[copy->direction], copy);
	return KVF_OK;
}

static void host_cancel(void *self, struct kvf_copy *copy)
{
	struct kvf_host_device *dev = self;
	struct lane *lane = &dev->lanes[copy->direction];

	if (lane->begun && lane->first == copy)
		return;
	finish(dev, lane, copy, KVF_ECANCELED);
}

static int host_fence(void *self, enum kvf_copy_direction direction, struct kvf_fence_out *out)
{
	struct kvf_host_device *dev = self;
	struct lane *lane = &dev->lanes[direction];

	memset(out, 0, sizeof(*out));
	out->kind = KVF_FENCE_WORD;
	out->device = -1;
	out->word = &lane->completed;
	out->value = lane->issued;
	return KVF_OK;
}

const struct kvf_device_ops kvf_device_host_ops = {
	.size = sizeof(struct kvf_device_ops),
	.name = "host",
	.open = host_open,
	.close = host_close,
	.rebind = host_rebind,
	.capture = host_capture,
	.release = host_release,
	.copy = host_copy,
	.cancel = host_cancel,
	.fence = host_fence,
	.progress = host_progress,
};

int kvf_host_device_new(struct kvf_mem *mem, const struct kvf_layout_plan *plan, struct kvf_host_device **out)
{
	struct kvf_host_device *dev = kvf_mem_zalloc(mem, sizeof(*dev));

	if (!dev)
		return KVF_ENOMEM;
	dev->plan = plan;
	*out = dev;
	return KVF_OK;
}

void kvf_host_device_free(struct kvf_mem *mem, struct kvf_host_device *dev)
{
	kvf_mem_free(mem, dev, sizeof(*dev));
}

void kvf_host_device_stats(const struct kvf_host_device *dev, uint64_t *copies, uint64_t *bytes)
{
	*copies = dev->copies;
	*bytes = dev->bytes;
}
