/* SPDX-License-Identifier: Apache-2.0 */
/* See wdisk.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "tests/sim/wdisk.h"

#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/checksum.h"
#include "base/record.h"
#include "tests/sim/world.h"
#include "tier/disk/impl.h"

#define SLOT_BYTES 8192u /* of most worlds; those with larger ones have fewer */

/* A record whose payload is not what its header says. */
static bool is_half(const struct wdisk *d, const uint8_t *page, struct kvf_record *rec)
{
	return !kvf_record_check(page, d->disk->slot_bytes - KVF_DISK_PAGE, rec) &&
	       kvf_checksum(page + KVF_DISK_PAGE, rec->payload_bytes) != rec->checksum;
}

/* Some write into the slot was never acknowledged. */
static bool may_be_half(const struct sim_disk *sim, uint32_t file, uint64_t at, uint64_t n)
{
	for (uint32_t i = 0; i < sim->n_log; i++) {
		const struct sim_write *w = &sim->log[i];

		if (w->file == file && w->ended == SIM_NEVER && w->offset < at + n &&
			at < w->offset + w->bytes)
			return true;
	}
	return false;
}

static void find_half(struct wdisk *d)
{
	uint64_t slot_bytes = d->disk->slot_bytes;
	uint8_t *slot = malloc(slot_bytes);
	struct kvf_record rec;

	d->n_half = 0;
	for (uint32_t f = 0; f < SIM_FILES && !d->sim.damaged; f++) {
		const struct sim_file *file = &d->sim.file[f];

		for (uint64_t at = KVF_DISK_PAGE; at < file->size; at += slot_bytes) {
			uint64_t n = kvf_min_u64(slot_bytes, file->size - at);

			/* The file may end in it. */
			memset(slot, 0, slot_bytes);
			memcpy(slot, file->bytes + at, n);
			if (!is_half(d, slot, &rec))
				continue;
			if (!may_be_half(&d->sim, f, at, slot_bytes) || d->n_half == WDISK_HALF)
				world_fail(d->sim.arg, "half a record is on disk, and all writes of it were done");
			else
				d->half[d->n_half++] = rec.generation;
		}
	}
	free(slot);
}

/* The device lets go of memory: of a chunk that was read, too. */
static void read_ended(void *arg, const void *p, size_t n, bool write)
{
	struct wdisk *d = ((struct world *)arg)->wdisk;
	struct kvf_record rec;
	bool half = d->n_half && write && n > KVF_DISK_PAGE &&
		    !kvf_record_check(p, (uint32_t)n - KVF_DISK_PAGE, &rec) && is_half(d, p, &rec);

	for (uint32_t i = 0; half && i < d->n_half; i++)
		d->half_reads += d->half[i] == rec.generation;
	d->let_go(arg, p, n, write);
}

static int disk_open(void *self, struct kvf_tier_host *host, const struct kvf_tier_open *params, uint32_t *caps)
{
	struct wdisk *d = self;

	int rc = kvf_disk_ops.open(d->disk, host, params, caps);

	if (!rc)
		find_half(d);
	return rc;
}

static void disk_close(void *self)
{
	struct wdisk *d = self;

	kvf_disk_ops.close(d->disk);
}

static unsigned disk_submit(void *self, struct kvf_tier_req *const *reqs, unsigned n)
{
	struct wdisk *d = self;

	return kvf_disk_ops.submit(d->disk, reqs, n);
}

static void disk_cancel(void *self, struct kvf_tier_req *req)
{
	struct wdisk *d = self;

	kvf_disk_ops.cancel(d->disk, req);
}

static uint64_t disk_progress(void *self, uint64_t now_ns, uint64_t budget)
{
	struct wdisk *d = self;

	return kvf_disk_ops.progress(d->disk, now_ns, budget);
}

/* A real one would be woken by its descriptor: here time itself says when something is done. */
static uint64_t disk_deadline(void *self)
{
	struct wdisk *d = self;

	return kvf_min_u64(kvf_disk_ops.next_deadline_ns(d->disk), sim_disk_due_ns(&d->sim));
}

static uint64_t sim_now(void *arg)
{
	return world_now(arg);
}

static struct wdisk *make(uint64_t seed)
{
	struct wdisk *d = calloc(1, sizeof(*d));
	const char *base = getenv("TMPDIR");

	if (access("/dev/shm", W_OK) == 0)
		base = "/dev/shm";
	snprintf(d->dir, sizeof(d->dir), "%s/kvferry-sim.XXXXXX", base && *base ? base : "/tmp");
	if (!mkdtemp(d->dir)) {
		free(d);
		return NULL;
	}
	sim_disk_init(&d->sim, seed);
	d->sim.logging = true;
	d->sim.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->ops = (struct kvf_tier_ops){
		.size = sizeof(d->ops),
		.name = "disk",
		.open = disk_open,
		.close = disk_close,
		.submit = disk_submit,
		.cancel = disk_cancel,
		.progress = disk_progress,
		.next_deadline_ns = disk_deadline,
	};
	return d;
}

struct wdisk *wdisk_open(struct world *w)
{
	const struct wdisk_options *o = &w->o.disk;
	struct wdisk *d = w->wdisk ? w->wdisk : make(w->o.seed ^ 0xd15c);
	struct kvf_disk_params params = {.dirs = d ? d->dir : "",
		.max_bytes = (uint64_t)o->slots * SLOT_BYTES + 4 * 4096,
		.admission = o->admission,
		.durable = o->durable,
		.depth = o->depth,
		.segment_bytes = 16 * SLOT_BYTES,
		.grow_bytes = 8 * SLOT_BYTES,
		.aio_ops = &sim_aio,
		.aio_arg = d ? &d->sim : NULL};
	struct simtier_hooks hooks;

	if (!d)
		return NULL;
	check_hooks(w, &hooks, false);
	d->sim.arg = w;
	d->sim.now_ns = sim_now;
	d->sim.hold = hooks.hold;
	d->sim.let_go = read_ended;
	d->let_go = hooks.let_go;
	d->sim.faults = o->faults;
	kvf_mem_init(&d->mem, &w->mem.allocator);
	(void)kvf_disk_new(&d->disk, &d->mem, &params);
	return d;
}

uint64_t wdisk_close(struct wdisk *d)
{
	kvf_disk_free(d->disk);
	d->disk = NULL;
	return kvf_mem_fini(&d->mem);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void wdisk_free(struct wdisk *d)
{
	nftw(d->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	close(d->sim.event_fd);
	sim_disk_fini(&d->sim);
	free(d);
}

void wdisk_power_cut(struct wdisk *d)
{
	uint64_t time = sim_random(&d->sim) % (d->sim.time + 1);
	struct sim_disk image;

	sim_disk_init(&image, sim_random(&d->sim));
	sim_disk_crash(&image, &d->sim, time);
	d->sim.damaged++; /* what tears is found out by its checksum */
	for (uint32_t i = 0; i < SIM_FILES; i++) {
		free(d->sim.file[i].bytes);
		d->sim.file[i] = image.file[i];
		image.file[i] = (struct sim_file){NULL, 0};
	}
	sim_disk_fini(&image);
}

bool wdisk_has(const struct wdisk *d, const uint8_t key[KVF_KEY_BYTES])
{
	return d->disk->has_index && kvf_disk_find(&d->disk->index, key) != KVF_NIL;
}

bool wdisk_putting(const struct wdisk *d, const uint8_t key[KVF_KEY_BYTES])
{
	for (uint32_t i = 0; d->disk->io && i < KVF_DISK_IOS; i++) {
		const struct kvf_disk_io *io = &d->disk->io[i];

		if (io->kind == KVF_DISK_PUT && !io->doomed && !memcmp(io->key, key, KVF_KEY_BYTES))
			return true;
	}
	return false;
}

static bool explained(const struct wdisk *d, const uint8_t key[KVF_KEY_BYTES])
{
	for (uint32_t i = 0; d->disk->io && i < KVF_DISK_IOS; i++) {
		const struct kvf_disk_io *io = &d->disk->io[i];

		if (io->kind && (!memcmp(io->key, key, KVF_DISK_KEY) ||
					(io->has_old && !memcmp(io->old.key, key, KVF_DISK_KEY))))
			return true;
	}
	return wdisk_has(d, key) || kvf_disk_bad_has(&d->disk->index, key);
}

bool wdisk_stands(const struct wdisk *d, const uint8_t key[KVF_KEY_BYTES])
{
	if (!d->disk->has_index || explained(d, key))
		return false;
	for (uint32_t f = 0; f < SIM_FILES; f++) {
		const struct sim_file *file = &d->sim.file[f];

		for (uint64_t at = KVF_DISK_PAGE; at + KVF_DISK_PAGE <= file->size; at += d->disk->slot_bytes) {
			struct kvf_record rec;

			if (!kvf_record_check(file->bytes + at, d->disk->slot_bytes - KVF_DISK_PAGE, &rec) &&
				!memcmp(rec.key, key, sizeof(rec.key)))
				return true;
		}
	}
	return false;
}

bool wdisk_removing(const struct wdisk *d)
{
	for (uint32_t i = 0; d->disk->io && i < KVF_DISK_IOS; i++)
		if (d->disk->io[i].kind && d->disk->io[i].removers)
			return true;
	return d->disk->held;
}

bool wdisk_lost_some(const struct wdisk *d)
{
	const struct kvf_disk_stats *s = &d->disk->stats;

	return s->evictions || s->corrupt || s->truncated || s->duplicates;
}
