/* SPDX-License-Identifier: Apache-2.0 */
/* A disk in memory, with faults and a memory of what was written: see sim_disk.h. */
#include "tests/support/sim_disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR 512u

void sim_disk_init(struct sim_disk *sim, uint64_t seed)
{
	memset(sim, 0, sizeof(*sim));
	sim->random = seed * 2 + 1;
}

void sim_disk_fini(struct sim_disk *sim)
{
	for (uint32_t i = 0; i < SIM_FILES; i++)
		free(sim->file[i].bytes);
	for (uint32_t i = 0; i < sim->n_log; i++)
		free(sim->log[i].data);
	free(sim->log);
	memset(sim, 0, sizeof(*sim));
}

uint64_t sim_random(struct sim_disk *sim)
{
	sim->random ^= sim->random >> 12;
	sim->random ^= sim->random << 25;
	sim->random ^= sim->random >> 27;
	return sim->random * 2685821657736338717ull >> 16;
}

static void reach(struct sim_file *file, uint64_t size)
{
	uint64_t room = (size + 65535) & ~(uint64_t)65535;

	if (size <= file->size)
		return;
	file->bytes = realloc(file->bytes, room);
	memset(file->bytes + file->size, 0, room - file->size);
	file->size = room;
}

/* ---- transfers ---- */

static int sim_open(struct kvf_aio *aio, void *arg, void **state, int *event_fd)
{
	(void)aio;
	*state = arg;
	*event_fd = -1;
	return 0;
}

static void sim_close(struct kvf_aio *aio, void *state)
{
	struct sim_disk *sim = state;

	(void)aio;
	sim->n_ops = 0;
	memset(sim->op, 0, sizeof(sim->op));
}

static uint64_t bytes_of(const struct kvf_aio_op *op)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < op->n_iov; i++)
		n += op->iov[i].iov_len;
	return n;
}

static uint32_t note_write(struct sim_disk *sim, const struct kvf_aio_op *op)
{
	struct sim_write *w;
	uint64_t at = 0;

	if (!sim->logging || op->kind != KVF_AIO_WRITE)
		return UINT32_MAX;
	if (sim->n_log == sim->cap_log) {
		sim->cap_log = sim->cap_log ? 2 * sim->cap_log : 256;
		sim->log = realloc(sim->log, sim->cap_log * sizeof(*sim->log));
	}
	w = &sim->log[sim->n_log];
	*w = (struct sim_write){.file = op->file,
		.offset = op->offset + bytes_of(op) - op->left,
		.began = sim->time,
		.ended = SIM_NEVER,
		.synced = SIM_NEVER};
	for (unsigned i = 0; i < op->now_n; i++)
		w->bytes += (uint32_t)op->now[i].iov_len;
	w->data = malloc(w->bytes);
	for (unsigned i = 0; i < op->now_n; i++) {
		memcpy(w->data + at, op->now[i].iov_base, op->now[i].iov_len);
		at += op->now[i].iov_len;
	}
	return sim->n_log++;
}

static bool sim_start(struct kvf_aio *aio, void *state, struct kvf_aio_op *op)
{
	struct sim_disk *sim = state;
	struct sim_op *o = sim->op;

	(void)aio;
	while (o < sim->op + SIM_OPS && o->op)
		o++;
	if (o == sim->op + SIM_OPS)
		return false;
	sim->time++;
	*o = (struct sim_op){.op = op, .began = sim->time, .due = sim->pumps + 1};
	if (sim->latency)
		o->due += sim_random(sim) % sim->latency;
	o->write = note_write(sim, op);
	sim->n_ops++;
	return true;
}

/* Moves bytes; returns how many. */
static int64_t move(struct sim_disk *sim, const struct kvf_aio_op *op, uint64_t limit)
{
	struct sim_file *file = &sim->file[op->file % SIM_FILES];
	uint64_t at = op->offset + bytes_of(op) - op->left, n = 0;

	for (unsigned i = 0; i < op->now_n && n < limit; i++) {
		uint64_t len = op->now[i].iov_len < limit - n ? op->now[i].iov_len : limit - n;

		reach(file, at + n + len);
		if (op->kind == KVF_AIO_READ)
			memcpy(op->now[i].iov_base, file->bytes + at + n, len);
		else
			memcpy(file->bytes + at + n, op->now[i].iov_base, len);
		n += len;
	}
	return (int64_t)n;
}

static void synced(struct sim_disk *sim, uint32_t file, uint64_t began)
{
	for (uint32_t i = 0; i < sim->n_log; i++) {
		struct sim_write *w = &sim->log[i];

		if (w->file == file && w->ended < began && w->synced == SIM_NEVER)
			w->synced = sim->time;
	}
}

static void end_op(struct kvf_aio *aio, struct sim_disk *sim, struct sim_op *o)
{
	struct kvf_aio_op *op = o->op;
	uint64_t number = ++sim->n_started;
	bool fails = number >= sim->fail_from && number <= sim->fail_to &&
		     (!sim->fail_kinds || sim->fail_kinds & 1u << op->kind);
	int64_t result = 0;

	sim->time++;
	if (fails && sim->fail_errno) {
		/* A write that failed may have changed anything. */
		if (op->kind == KVF_AIO_WRITE && sim_random(sim) % 2)
			move(sim, op, sim_random(sim) % (op->left + 1) & ~(uint64_t)(SECTOR - 1));
		result = -sim->fail_errno;
	} else if (op->kind == KVF_AIO_SYNC) {
		synced(sim, op->file, o->began);
	} else {
		result = move(sim, op, fails ? op->left / 2 + 1 : UINT64_MAX);
	}
	if (o->write != UINT32_MAX && result > 0)
		sim->log[o->write].ended = sim->time;
	o->op = NULL;
	sim->n_ops--;
	kvf_aio_finish(aio, op, result);
}

static bool sim_pump(struct kvf_aio *aio, void *state, uint64_t budget)
{
	struct sim_disk *sim = state;
	uint32_t first = (uint32_t)(sim_random(sim) % SIM_OPS);

	(void)budget;
	sim->pumps++;
	for (uint32_t i = 0; i < SIM_OPS; i++) {
		struct sim_op *o = &sim->op[(first + i) % SIM_OPS];

		if (o->op && o->due <= sim->pumps)
			end_op(aio, sim, o);
	}
	return sim->n_ops > 0;
}

const struct kvf_aio_ops sim_aio = {
	.name = "sim",
	.open = sim_open,
	.close = sim_close,
	.start = sim_start,
	.pump = sim_pump,
};

/* ---- power cuts ---- */

static void land(struct sim_disk *image, const struct sim_write *w, bool torn)
{
	struct sim_file *file = &image->file[w->file % SIM_FILES];

	reach(file, w->offset + w->bytes);
	for (uint32_t at = 0; at < w->bytes; at += SECTOR)
		if (!torn || sim_random(image) % 2)
			memcpy(file->bytes + w->offset + at, w->data + at, SECTOR);
}

void sim_disk_crash(struct sim_disk *image, const struct sim_disk *from, uint64_t time)
{
	for (uint32_t i = 0; i < SIM_FILES; i++) {
		if (image->file[i].bytes)
			memset(image->file[i].bytes, 0, image->file[i].size);
	}
	image->n_ops = 0;
	memset(image->op, 0, sizeof(image->op));
	for (uint32_t i = 0; i < from->n_log; i++) {
		const struct sim_write *w = &from->log[i];

		if (w->began > time)
			break;
		if (w->synced <= time)
			land(image, w, false);
		else
			switch (sim_random(image) % 4) {
			case 0:
				break; /* lost */
			case 1:
				land(image, w, true);
				break;
			default:
				land(image, w, false);
			}
	}
}
