/* SPDX-License-Identifier: Apache-2.0 */
/* A disk in memory, with faults and a memory of what was written: see sim_disk.h. */
#include "tests/support/sim_disk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR 512u

void sim_disk_init(struct sim_disk *sim, uint64_t seed)
{
	memset(sim, 0, sizeof(*sim));
	sim->random = seed * 2 + 1;
	sim->event_fd = -1;
	sim->align = 4096;
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
	*event_fd = ((struct sim_disk *)arg)->event_fd;
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

static bool chance(struct sim_disk *sim, uint32_t ppm)
{
	return ppm && sim_random(sim) % 1000000 < ppm;
}

static uint64_t due_of(struct sim_disk *sim)
{
	const struct sim_disk_faults *f = &sim->faults;
	uint64_t due;

	if (!sim->now_ns)
		return sim->pumps + 1 + (sim->latency ? sim_random(sim) % sim->latency : 0);
	due = sim->now_ns(sim->arg) + f->latency_min_ns;
	if (f->latency_max_ns > f->latency_min_ns)
		due += sim_random(sim) % (f->latency_max_ns - f->latency_min_ns);
	if (chance(sim, f->hang))
		due += sim_random(sim) % f->hang_ns;
	return due;
}

static bool touch(const struct iovec *a, const struct iovec *b)
{
	const char *p = a->iov_base, *q = b->iov_base;

	return p < q + b->iov_len && q < p + a->iov_len;
}

/* From now until let_go() the device may use the memory. */
static void hold(struct sim_disk *sim, struct sim_op *o)
{
	bool reads = o->op->kind == KVF_AIO_READ;

	o->n_held = o->op->kind == KVF_AIO_SYNC ? 0 : o->op->n_iov;
	for (unsigned i = 0; i < o->n_held; i++) {
		o->held[i] = o->op->iov[i];
		for (const struct sim_op *other = sim->op; other < sim->op + SIM_OPS; other++) {
			for (unsigned k = 0; other->op && other != o && k < other->n_held; k++)
				sim->overlaps += (reads || other->op->kind == KVF_AIO_READ) &&
						 touch(&o->held[i], &other->held[k]);
		}
		if (sim->hold)
			sim->hold(sim->arg, o->held[i].iov_base, o->held[i].iov_len, reads);
	}
}

static void let_go(struct sim_disk *sim, struct sim_op *o)
{
	for (unsigned i = 0; sim->let_go && i < o->n_held; i++)
		sim->let_go(sim->arg, o->held[i].iov_base, o->held[i].iov_len,
			o->op->kind == KVF_AIO_READ);
	o->n_held = 0;
}

/* What is started counts, not what was asked for: after a short transfer the rest begins elsewhere. */
static bool aligned(const struct sim_disk *sim, const struct kvf_aio_op *op)
{
	uint64_t bits = op->offset + bytes_of(op) - op->left;

	if (op->kind == KVF_AIO_SYNC)
		return true;
	for (unsigned i = 0; i < op->now_n; i++)
		bits |= (uintptr_t)op->now[i].iov_base | op->now[i].iov_len;
	return bits % sim->align == 0;
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
	*o = (struct sim_op){.op = op, .began = sim->time, .due = due_of(sim)};
	o->write = note_write(sim, op);
	sim->misaligned += !aligned(sim, op);
	hold(sim, o);
	sim->n_ops++;
	return true;
}

/* Two segments in one file would look like damage. */
static struct sim_file *file_of(struct sim_disk *sim, uint32_t segment)
{
	if (segment >= SIM_FILES) {
		fprintf(stderr, "sim_disk: segment %u, at most %u\n", segment, SIM_FILES - 1);
		abort();
	}
	return &sim->file[segment];
}

/* Moves bytes, to or from `off` bytes beside the right place; returns how many. */
static int64_t move(struct sim_disk *sim, const struct kvf_aio_op *op, uint64_t limit, int64_t off)
{
	struct sim_file *file = file_of(sim, op->file);
	uint64_t at = op->offset + bytes_of(op) - op->left + (uint64_t)off, n = 0;

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

/* A write that the device says it has done. */
static int64_t lie(struct sim_disk *sim, const struct kvf_aio_op *op)
{
	const struct sim_disk_faults *f = &sim->faults;

	sim->damaged++;
	if (chance(sim, f->torn)) {
		move(sim, op, (sim_random(sim) % op->left) & ~(uint64_t)(SECTOR - 1), 0);
		return (int64_t)op->left;
	}
	if (chance(sim, f->astray))
		return move(sim, op, UINT64_MAX, sim_random(sim) % 2 && op->offset >= 16384 ? -8192 : 8192);
	if (chance(sim, f->lost))
		return (int64_t)op->left;
	sim->damaged--;
	return move(sim, op, UINT64_MAX, 0);
}

static int64_t carry_out(struct sim_disk *sim, const struct kvf_aio_op *op)
{
	int64_t n;

	/* Less than a page comes only at the end of a file. */
	if ((op->kind == KVF_AIO_WRITE || op->left >= 2 * KVF_AIO_ALIGN) && chance(sim, sim->faults.cut))
		return move(sim, op, op->left / 2 + 1, 0);
	if (op->kind == KVF_AIO_WRITE)
		return lie(sim, op);
	n = move(sim, op, UINT64_MAX, 0);
	if (chance(sim, sim->faults.flip) && n > 0) {
		uint8_t *p = op->now[op->now_n - 1].iov_base;

		p[sim_random(sim) % op->now[op->now_n - 1].iov_len] ^= (uint8_t)(1u << sim_random(sim) % 8);
		sim->damaged++;
	}
	return n;
}

/* An error that lasts. */
static void open_window(struct sim_disk *sim, uint64_t number)
{
	static const int errors[] = {EIO, EIO, ENOSPC, EDQUOT, EROFS};
	static const uint32_t kinds[] = {0, 1u << KVF_AIO_READ, 1u << KVF_AIO_WRITE, 1u << KVF_AIO_SYNC};

	if (number <= sim->fail_to || !chance(sim, sim->faults.window))
		return;
	sim->fail_from = number;
	sim->fail_to = number + sim_random(sim) % sim->faults.window_max;
	sim->fail_errno = errors[sim_random(sim) % 5];
	sim->fail_kinds = sim->fail_errno == EIO ? kinds[sim_random(sim) % 4] : 1u << KVF_AIO_WRITE;
}

static void end_op(struct kvf_aio *aio, struct sim_disk *sim, struct sim_op *o)
{
	struct kvf_aio_op *op = o->op;
	uint64_t number = ++sim->n_started;
	bool fails;
	int64_t result = 0;

	sim->time++;
	open_window(sim, number);
	fails = number >= sim->fail_from && number <= sim->fail_to &&
		(!sim->fail_kinds || sim->fail_kinds & 1u << op->kind);
	if (fails && sim->fail_errno) {
		/* A write that failed may have changed anything. */
		if (op->kind == KVF_AIO_WRITE && sim->fail_lands) {
			sim->fail_lands--;
			move(sim, op, UINT64_MAX, 0);
		} else if (op->kind == KVF_AIO_WRITE && sim_random(sim) % 2) {
			move(sim, op, sim_random(sim) % (op->left + 1) & ~(uint64_t)(SECTOR - 1), 0);
		}
		result = -sim->fail_errno;
	} else if (op->kind == KVF_AIO_SYNC) {
		synced(sim, op->file, o->began);
	} else {
		result = fails ? move(sim, op, op->left / 2 + 1, 0) : carry_out(sim, op);
	}
	if (o->write != UINT32_MAX && result > 0)
		sim->log[o->write].ended = sim->time;
	let_go(sim, o);
	o->op = NULL;
	sim->n_ops--;
	kvf_aio_finish(aio, op, result);
}

static bool sim_pump(struct kvf_aio *aio, void *state, uint64_t budget)
{
	struct sim_disk *sim = state;
	uint32_t first = (uint32_t)(sim_random(sim) % SIM_OPS);
	uint64_t now = sim->now_ns ? sim->now_ns(sim->arg) : ++sim->pumps;

	(void)budget;
	if (sim->stalled)
		return false;
	for (uint32_t i = 0; i < SIM_OPS; i++) {
		struct sim_op *o = &sim->op[(first + i) % SIM_OPS];

		if (o->op && o->due <= now)
			end_op(aio, sim, o);
	}
	return !sim->now_ns && sim->n_ops > 0;
}

/* Close: whoever waits gets everything. */
static void sim_wait(struct kvf_aio *aio, void *state)
{
	struct sim_disk *sim = state;

	(void)aio;
	for (uint32_t i = 0; i < SIM_OPS; i++)
		sim->op[i].due = 0;
}

uint64_t sim_disk_due_ns(const struct sim_disk *sim)
{
	uint64_t due = UINT64_MAX;

	for (uint32_t i = 0; i < SIM_OPS; i++)
		if (sim->op[i].op && sim->op[i].due < due)
			due = sim->op[i].due;
	return due;
}

void sim_disk_calm(struct sim_disk *sim)
{
	uint64_t soon = sim->now_ns ? sim->now_ns(sim->arg) + 1000000 : sim->pumps;

	sim->fail_from = sim->fail_to = 0;
	sim->stalled = false;
	sim->faults = (struct sim_disk_faults){.latency_min_ns = sim->faults.latency_min_ns,
		.latency_max_ns = sim->faults.latency_max_ns};
	for (uint32_t i = 0; i < SIM_OPS; i++)
		if (sim->op[i].due > soon)
			sim->op[i].due = soon;
}

const struct kvf_aio_ops sim_aio = {
	.name = "sim",
	.open = sim_open,
	.close = sim_close,
	.start = sim_start,
	.pump = sim_pump,
	.wait = sim_wait,
};

/* ---- power cuts ---- */

static void land(struct sim_disk *image, const struct sim_write *w, bool torn)
{
	struct sim_file *file = file_of(image, w->file);

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
