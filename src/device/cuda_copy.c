/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies: taken, issued, found done.
 *
 * What was issued cannot be called back; a copy of which a part was issued when an error came completes with that error
 * when the part is done. After an error that does not go away the device is lost: everything ends with KVF_EDEVLOST at
 * once, and the engine keeps the slots that a gather may still be writing to (see docs/cuda.md).
 */
#include "base/compiler.h"
#include "device/cuda_impl.h"
#include "device/cuda_nvtx.h"

static struct cuda_mark *oldest(struct cuda_lane *lane)
{
	return &lane->marks[lane->first];
}

static void finish_part(struct kvf_cuda_device *dev, struct kvf_copy *copy, int status)
{
	if (status && !copy->scratch[COPY_STATUS])
		copy->scratch[COPY_STATUS] = (uint64_t)(int64_t)status;
	if (--copy->scratch[COPY_PARTS])
		return;
	dev->torn[copy->direction] -= (uint32_t)copy->scratch[COPY_TORN];
	dev->host->complete(dev->host, copy, (int)(int64_t)copy->scratch[COPY_STATUS]);
}

static void pop(struct kvf_cuda_device *dev, struct cuda_unit *unit, struct cuda_lane *lane, int status)
{
	struct cuda_mark *mark = oldest(lane);

	lane->first = (lane->first + 1) % CUDA_MARKS;
	lane->n--;
	lane->spins = lane->doubts = 0;
	lane->desc_tail = mark->desc_end;
	if (mark->event)
		kvf_cuda_event_put(unit, mark->event);
	finish_part(dev, mark->copy, status);
}

/* Puts a mark behind what was just issued. There is always one: without event and word it is the stream's end. */
static void mark_part(struct kvf_cuda_device *dev, struct cuda_unit *unit, struct cuda_lane *lane,
		      struct kvf_copy *copy)
{
	struct cuda_mark *mark = &lane->marks[(lane->first + lane->n) % CUDA_MARKS];
	cudaEvent_t event;

	*mark = (struct cuda_mark){ .copy = copy, .desc_end = lane->desc_head, .how = CUDA_BY_IDLE };
	lane->n++;
	copy->scratch[COPY_PARTS]++;
	dev->turn_calls++;
	dev->stats.calls++;
	if (dev->lost)
		return;
	if (dev->options.word) {
		if (dev->write_value(lane->stream, lane->word_at, lane->word_value + 1, 0) == CUDA_SUCCESS) {
			mark->value = ++lane->word_value;
			mark->how = CUDA_BY_WORD;
		}
		return;
	}
	if (kvf_cuda_event_get(dev, unit, &event))
		return;
	if (kvf_cuda_status(dev, dev->api->EventRecord(event, lane->stream), "cudaEventRecord")) {
		kvf_cuda_event_put(unit, event);
		return;
	}
	mark->event = event;
	mark->how = CUDA_BY_EVENT;
}

static enum kvf_copy_way choose(const struct kvf_cuda_device *dev, const struct cuda_unit *unit,
				const struct kvf_copy *copy, const struct kvf_copy_shape *shape)
{
	unsigned ways = kvf_cuda_ways(dev, unit, copy, shape);

	if (dev->options.copy != KVF_WAY_AUTO && ways & 1u << dev->options.copy)
		return dev->options.copy;
	return kvf_plan_choose(&unit->lanes[copy->direction].costs, shape, ways);
}

/* The part of one unit. */
static int issue_part(struct kvf_cuda_device *dev, struct cuda_scope *scope, struct cuda_unit *unit,
		      struct kvf_copy *copy)
{
	struct cuda_lane *lane = &unit->lanes[copy->direction];
	uint64_t before = lane->work;
	struct kvf_copy_shape shape;
	enum kvf_copy_way way;
	int rc;

	kvf_cuda_measure(dev, unit, copy, &shape);
	if (!shape.pieces)
		return KVF_OK;
	rc = kvf_cuda_use(dev, scope, unit);
	if (!rc)
		rc = kvf_cuda_wait(dev, lane, copy->after);
	if (rc)
		return rc;
	way = choose(dev, unit, copy, &shape);
	rc = kvf_cuda_issue(dev, unit, copy, &shape, way);
	if (rc == KVF_EAGAIN && copy->scratch[COPY_PARTS])
		rc = kvf_cuda_issue(dev, unit, copy, &shape, KVF_WAY_MEMCPY);
	if (lane->work == before)
		return rc;
	dev->turn_calls += (uint32_t)(lane->work - before);
	dev->turn_pieces += (uint32_t)kvf_min_u64(shape.pieces, CUDA_TURN_PIECES);
	dev->stats.calls += lane->work - before;
	dev->stats.by_way[way]++;
	dev->stats.pieces += shape.pieces;
	dev->stats.bytes += shape.bytes;
	mark_part(dev, unit, lane, copy);
	return rc;
}

static int issue_parts(struct kvf_cuda_device *dev, struct kvf_copy *copy)
{
	struct cuda_scope scope;
	uint32_t u;
	int rc;

	for (u = 0; u < dev->n_units; u++)
		if (dev->units[u].lanes[copy->direction].n == CUDA_MARKS)
			return KVF_EAGAIN;
	rc = kvf_cuda_enter(dev, &scope);
	if (rc)
		return rc;
	if (copy->direction == KVF_COPY_GATHER)
		kvf_copy_clear_nulls(&dev->plan, copy);
	copy->scratch[COPY_PARTS] = copy->scratch[COPY_STATUS] = 0;
	for (u = 0; !rc && u < dev->n_units; u++)
		rc = issue_part(dev, &scope, &dev->units[u], copy);
	kvf_cuda_leave(dev, &scope);
	if (rc && !copy->scratch[COPY_PARTS])
		return rc;
	dev->accepted[copy->direction]++;
	dev->turn_calls += CUDA_SCOPE_CALLS;
	dev->stats.copies++;
	copy->scratch[COPY_STATUS] = (uint64_t)(int64_t)rc;
	copy->scratch[COPY_TORN] = rc != KVF_OK;
	dev->torn[copy->direction] += rc != KVF_OK;
	if (!copy->scratch[COPY_PARTS])
		dev->host->complete(dev->host, copy, KVF_OK);
	return KVF_OK;
}

/* Accepted when KVF_OK comes back; else nothing happened. */
static int issue(struct kvf_cuda_device *dev, struct kvf_copy *copy)
{
	int rc;

	KVF_NVTX_BEGIN(copy->direction == KVF_COPY_GATHER ? "kvferry: issue to RAM" : "kvferry: issue from RAM");
	rc = issue_parts(dev, copy);
	KVF_NVTX_END();
	return rc;
}

/* --- waiting for a word of the host ------------------------------------------------------------------------------ */

static void queue(struct kvf_cuda_device *dev, struct kvf_copy *copy)
{
	struct kvf_copy **last = &dev->waiting_last[copy->direction];

	copy->link = NULL;
	copy->scratch[COPY_PREV] = (uintptr_t)*last;
	copy->scratch[COPY_WAITING] = 1;
	if (*last)
		(*last)->link = copy;
	else
		dev->waiting[copy->direction] = copy;
	*last = copy;
}

static void unqueue(struct kvf_cuda_device *dev, struct kvf_copy *copy)
{
	struct kvf_copy *next = copy->link, *prev = (struct kvf_copy *)(uintptr_t)copy->scratch[COPY_PREV];

	if (prev)
		prev->link = next;
	else
		dev->waiting[copy->direction] = next;
	if (next)
		next->scratch[COPY_PREV] = (uintptr_t)prev;
	else
		dev->waiting_last[copy->direction] = prev;
	copy->link = NULL;
	copy->scratch[COPY_WAITING] = 0;
}

static bool turn_is_full(const struct kvf_cuda_device *dev)
{
	return dev->turn_calls >= CUDA_TURN_CALLS || dev->turn_pieces >= CUDA_TURN_PIECES;
}

static uint64_t issue_waiting(struct kvf_cuda_device *dev, unsigned direction)
{
	uint64_t n = 0;

	while (dev->waiting[direction] && !turn_is_full(dev) && kvf_cuda_word_reached(dev->waiting[direction]->after)) {
		struct kvf_copy *copy = dev->waiting[direction];
		int rc;

		unqueue(dev, copy);
		rc = issue(dev, copy);
		if (rc == KVF_EAGAIN) { /* back to the front */
			struct kvf_copy *next = dev->waiting[direction];

			copy->link = next;
			copy->scratch[COPY_PREV] = 0;
			copy->scratch[COPY_WAITING] = 1;
			dev->waiting[direction] = copy;
			if (next)
				next->scratch[COPY_PREV] = (uintptr_t)copy;
			else
				dev->waiting_last[direction] = copy;
			break;
		}
		if (rc)
			dev->host->complete(dev->host, copy, rc);
		n++;
	}
	return n;
}

/* --- the calls --------------------------------------------------------------------------------------------------- */

static bool is_locked(const struct kvf_cuda_device *dev, const struct kvf_copy *copy)
{
	uintptr_t begin = (uintptr_t)copy->payload, end = begin + copy->payload_bytes;
	size_t i;

	for (i = 0; i < dev->n_locked; i++)
		if (begin >= dev->locked[i].begin && end <= dev->locked[i].end)
			return true;
	return false;
}

int kvf_cuda_copy(void *self, struct kvf_copy *copy)
{
	struct kvf_cuda_device *dev = self;
	int rc;

	if (!dev->host)
		return KVF_EINVAL;
	if (dev->lost)
		return KVF_EDEVLOST;
	rc = kvf_plan_check_copy(&dev->plan, copy);
	if (rc)
		return rc;
	if (!is_locked(dev, copy)) {
		/* The runtime would take it by a buffer of its own, and block. Said once, counted always. */
		if (!dev->stats.refused++)
			kvf_cuda_refuse(dev, KVF_EINVAL, "copy: its payload does not lie in page-locked memory");
		return KVF_EINVAL;
	}
	if (turn_is_full(dev))
		return KVF_EAGAIN;
	copy->scratch[COPY_WAITING] = 0;
	if (!dev->waiting[copy->direction] && kvf_cuda_word_reached(copy->after))
		return issue(dev, copy);
	queue(dev, copy);
	return KVF_OK;
}

void kvf_cuda_cancel(void *self, struct kvf_copy *copy)
{
	struct kvf_cuda_device *dev = self;

	if (!copy->scratch[COPY_WAITING])
		return;
	unqueue(dev, copy);
	dev->host->complete(dev->host, copy, KVF_ECANCELED);
}

/* --- done? ------------------------------------------------------------------------------------------------------- */

/* Costs a load a lane, and no call. */
static uint64_t look_at_word(struct kvf_cuda_device *dev, struct cuda_unit *unit, struct cuda_lane *lane)
{
	uint64_t value, found = 0;

	if (!lane->n || oldest(lane)->how != CUDA_BY_WORD)
		return 0;
	value = __atomic_load_n(lane->word, __ATOMIC_ACQUIRE);
	while (lane->n && found < CUDA_LOOKS && oldest(lane)->how == CUDA_BY_WORD && oldest(lane)->value <= value) {
		pop(dev, unit, lane, KVF_OK);
		found++;
	}
	if (!found) {
		lane->spins++;
		dev->stats.spins++;
	}
	return found;
}

static bool wants_query(const struct cuda_lane *lane)
{
	if (!lane->n)
		return false;
	return lane->marks[lane->first].how != CUDA_BY_WORD || lane->spins >= CUDA_SPINS;
}

/* What the runtime says of the oldest mark: three answers, of which the third may turn out to mean nothing. */
static cudaError_t query(struct kvf_cuda_device *dev, struct cuda_lane *lane)
{
	cudaError_t error;

	if (oldest(lane)->how == CUDA_BY_EVENT)
		error = dev->api->EventQuery(oldest(lane)->event);
	else
		error = dev->api->StreamQuery(lane->stream);
	if (error == cudaErrorNotReady) {
		(void)dev->api->GetLastError();
		return error;
	}
	if (error != cudaSuccess && kvf_cuda_status(dev, error, "copy") != KVF_EDEVLOST &&
	    ++lane->doubts >= CUDA_DOUBTS)
		dev->lost = true;
	return error;
}

static uint64_t look(struct kvf_cuda_device *dev, struct cuda_scope *scope, struct cuda_unit *unit,
		     struct cuda_lane *lane)
{
	uint64_t found = 0;

	lane->spins = 0;
	if (kvf_cuda_use(dev, scope, unit)) {
		dev->lost = dev->lost || ++lane->doubts >= CUDA_DOUBTS;
		return 0;
	}
	while (lane->n && found < CUDA_LOOKS) {
		bool all = oldest(lane)->how != CUDA_BY_EVENT; /* the stream is empty */

		if (query(dev, lane) != cudaSuccess)
			break;
		do {
			pop(dev, unit, lane, KVF_OK);
			found++;
		} while (all && lane->n);
	}
	return found;
}

static uint64_t look_at_all(struct kvf_cuda_device *dev)
{
	struct cuda_scope scope;
	bool inside = false;
	uint64_t found = 0;
	uint32_t i;

	for (i = 0; i < 2 * dev->n_units && !dev->lost; i++) {
		struct cuda_unit *unit = &dev->units[i / 2];
		struct cuda_lane *lane = &unit->lanes[i % 2];

		found += look_at_word(dev, unit, lane);
		if (!wants_query(lane))
			continue;
		if (!inside && kvf_cuda_enter(dev, &scope)) {
			dev->lost = dev->lost || ++lane->doubts >= CUDA_DOUBTS;
			continue;
		}
		inside = true;
		found += look(dev, &scope, unit, lane);
	}
	if (inside)
		kvf_cuda_leave(dev, &scope);
	return found;
}

void kvf_cuda_end_all(struct kvf_cuda_device *dev, int status)
{
	uint32_t i;

	for (i = 0; i < 2 * dev->n_units; i++)
		while (dev->units[i / 2].lanes[i % 2].n)
			pop(dev, &dev->units[i / 2], &dev->units[i / 2].lanes[i % 2], status);
	for (i = 0; i < 2; i++)
		while (dev->waiting[i]) {
			struct kvf_copy *copy = dev->waiting[i];

			unqueue(dev, copy);
			dev->host->complete(dev->host, copy, status);
		}
}

bool kvf_cuda_busy(const struct kvf_cuda_device *dev)
{
	uint32_t i;

	for (i = 0; i < 2 * dev->n_units; i++)
		if (dev->units[i / 2].lanes[i % 2].n)
			return true;
	return dev->waiting[0] || dev->waiting[1];
}

/* The budget is of bytes moved by the caller's own hands, of which there are none here. */
uint64_t kvf_cuda_progress(void *self, uint64_t budget)
{
	struct kvf_cuda_device *dev = self;
	uint64_t found = turn_is_full(dev);

	(void)budget;
	dev->turn_calls = dev->turn_pieces = 0;
	if (!dev->lost)
		found += look_at_all(dev);
	if (!dev->lost)
		found += issue_waiting(dev, KVF_COPY_GATHER) + issue_waiting(dev, KVF_COPY_SCATTER);
	if (dev->lost && kvf_cuda_busy(dev)) {
		kvf_cuda_end_all(dev, KVF_EDEVLOST);
		found++;
	}
	return found;
}
