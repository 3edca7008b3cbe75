/* SPDX-License-Identifier: Apache-2.0 */
/* Streams and time of the fake CUDA runtime: see fake_cuda.h. */
#include <stdlib.h>
#include <string.h>

#include "device/cuda_impl.h"
#include "tests/fake/fake_cuda_impl.h"

struct fake_op *fake_push(struct fake_stream *stream, enum fake_kind kind, uint64_t cost_ns)
{
	struct fake_op *op = calloc(1, sizeof(*op));

	if (!op)
		abort();
	op->kind = kind;
	op->cost_ns = cost_ns;
	op->extra_ns = fake_storm_extra_ns();
	/* It cannot begin before it was given. */
	op->begin_ns = fake_world.now;
	if (stream->last)
		stream->last->next = op;
	else
		stream->first = op;
	stream->last = op;
	return op;
}

struct fake_mark *fake_mark_ref(struct fake_mark *mark)
{
	mark->refs++;
	return mark;
}

void fake_mark_put(struct fake_mark *mark)
{
	if (mark && --mark->refs == 0)
		free(mark);
}

static void free_op(struct fake_op *op)
{
	free(op->batch_to);
	free(op->batch_from);
	free(op->batch_n);
	fake_mark_put(op->mark);
	free(op);
}

static bool is_device(const void *p)
{
	struct fake_memory *m = fake_memory_of(p);

	return m && m->kind == FAKE_DEVICE;
}

static void copy(void *to, const void *from, size_t n)
{
	uint8_t *t = fake_bytes(to, n, is_device(to)), *f = fake_bytes(from, n, is_device(from));

	if (t && f)
		memmove(t, f, n);
}

/* kvf_gather and kvf_scatter, from what the descriptors hold now. */
static void kernel(const struct fake_op *op)
{
	const struct cuda_desc *descs = op->from;
	bool gather = op->value == 1;

	for (size_t i = 0; i < op->n; i++) {
		for (uint32_t row = 0; row < descs[i].rows; row++) {
			uint64_t apart = row * descs[i].staged_stride, dev_apart = row * descs[i].dev_stride;
			uint8_t *staged = (uint8_t *)op->to + descs[i].staged + apart;
			uint8_t *dev = (uint8_t *)(uintptr_t)(descs[i].dev + dev_apart);

			if (gather && !descs[i].dev)
				memset(fake_bytes(staged, descs[i].bytes, true), 0, descs[i].bytes);
			else
				copy(gather ? staged : dev, gather ? dev : staged, descs[i].bytes);
		}
	}
}

static void carry_out(const struct fake_op *op)
{
	uint8_t *p;

	switch (op->kind) {
	case FAKE_COPY:
	case FAKE_MOVE:
		copy(op->to, op->from, op->n);
		break;
	case FAKE_COPY_2D:
		for (size_t i = 0; i < op->rows; i++)
			copy((uint8_t *)op->to + i * op->to_pitch, (const uint8_t *)op->from + i * op->from_pitch,
			     op->n);
		break;
	case FAKE_BATCH:
		for (size_t i = 0; i < op->n; i++)
			copy(op->batch_to[i], op->batch_from[i], op->batch_n[i]);
		break;
	case FAKE_RECORD:
		op->mark->done = true;
		op->mark->done_at = op->begin_ns + op->cost_ns + op->extra_ns;
		break;
	case FAKE_WRITE:
		p = fake_bytes(op->to, sizeof(op->value), false);
		if (p)
			memcpy(p, &op->value, sizeof(op->value));
		break;
	case FAKE_KERNEL:
		kernel(op);
		break;
	case FAKE_FILL:
		p = fake_bytes(op->to, op->n, true);
		if (p)
			memset(p, (int)op->value, op->n);
		break;
	case FAKE_CALL:
		op->call(op->to);
		break;
	case FAKE_WAIT:
		break;
	}
}

/* When the stream's first command is done; UINT64_MAX: not before something else happens. */
static uint64_t done_at(struct fake_stream *stream)
{
	struct fake_op *op = stream->first;

	if (!op)
		return UINT64_MAX;
	if (!op->begun) {
		if (op->kind == FAKE_WAIT) {
			if (!op->mark->done)
				return UINT64_MAX;
			if (op->mark->done_at > op->begin_ns)
				op->begin_ns = op->mark->done_at;
		}
		if (stream->free_at > op->begin_ns)
			op->begin_ns = stream->free_at;
		op->begun = true;
	}
	return op->begin_ns + op->cost_ns + op->extra_ns;
}

void fake_run(void)
{
	while (!fake_world.stalled && (!fake_world.sticky || fake_world.storm.late_writes)) {
		struct fake_stream *first = NULL;
		uint64_t at = UINT64_MAX;
		struct fake_op *op;

		for (struct fake_stream *s = fake_world.streams; s; s = s->next) {
			uint64_t t = done_at(s);

			if (t < at) {
				at = t;
				first = s;
			}
		}
		if (!first || at > fake_world.now)
			return;
		op = first->first;
		if (!fake_world.sticky && fake_world.fault_in && --fake_world.fault_in == 0)
			fake_world.sticky = fake_world.fault;
		else if (!fake_world.sticky && fake_storm_command())
			fake_world.sticky = cudaErrorIllegalAddress;
		if (fake_world.sticky && !fake_world.storm.late_writes)
			return;
		/* A lost device tells nothing any more. */
		if (!fake_world.sticky || (op->kind != FAKE_RECORD && op->kind != FAKE_WRITE && op->kind != FAKE_CALL))
			carry_out(op);
		first->free_at = at;
		first->first = op->next;
		if (!first->first)
			first->last = NULL;
		free_op(op);
	}
}

void fake_cuda_advance(uint64_t ns)
{
	fake_world.now += ns;
	fake_run();
}

void fake_cuda_finish(void)
{
	for (;;) {
		uint64_t at = UINT64_MAX;

		if (fake_world.stalled || fake_world.sticky)
			return;
		for (struct fake_stream *s = fake_world.streams; s; s = s->next) {
			uint64_t t = done_at(s);

			at = t < at ? t : at;
		}
		if (at == UINT64_MAX)
			return;
		if (at > fake_world.now)
			fake_world.now = at;
		fake_run();
	}
}

static bool touches(const void *p, size_t n, const void *at, size_t size)
{
	return p && (const uint8_t *)p < (const uint8_t *)at + size && (const uint8_t *)p + n > (const uint8_t *)at;
}

bool fake_in_use(const void *at, size_t n)
{
	if (fake_world.sticky)
		return false;
	for (struct fake_stream *s = fake_world.streams; s; s = s->next) {
		for (struct fake_op *op = s->first; op; op = op->next) {
			size_t size = op->kind == FAKE_WRITE ? sizeof(op->value) : op->n;

			if (op->kind != FAKE_BATCH && (touches(op->to, size, at, n) || touches(op->from, size, at, n)))
				return true;
			for (size_t i = 0; op->kind == FAKE_BATCH && i < op->n; i++)
				if (touches(op->batch_to[i], op->batch_n[i], at, n) ||
				    touches(op->batch_from[i], op->batch_n[i], at, n))
					return true;
		}
	}
	return false;
}

void fake_streams_clear(void)
{
	while (fake_world.streams) {
		struct fake_stream *s = fake_world.streams;

		while (s->first) {
			struct fake_op *op = s->first;

			s->first = op->next;
			free_op(op);
		}
		fake_world.streams = s->next;
		free(s);
	}
	while (fake_world.events) {
		struct fake_event *event = fake_world.events;

		fake_world.events = event->next;
		fake_mark_put(event->mark);
		free(event);
	}
}
