/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks every header, with `deep` every payload too. Repairing means giving up: a header that is
 * not to be believed is overwritten with zeros. A first page that is damaged is written anew from
 * the directory's, and the directory's from the others, when every generation was seen.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/checksum.h"
#include "disk_view.h"

/* A chunk that was found: for keys that are there twice. */
struct found {
	uint8_t key[KVF_KEY_BYTES];
	uint64_t generation, offset;
	uint32_t segment;
};

struct run {
	struct disk_check *check;
	struct found *found;
	size_t n, cap;
	uint8_t *slot;
	size_t slot_bytes;
	bool failed;
	/* for the directory's page */
	uint64_t newest_generation;
	uint32_t n_tokens, payload_bytes;
};

static void say(const struct run *run, const struct disk_view *view,
	const struct disk_segment_view *seg, uint64_t offset, const char *what)
{
	if (!run->check->quiet)
		printf("%s/%s: offset %llu: %s\n", view->path, seg->name,
			(unsigned long long)offset, what);
}

static void overwrite(struct run *run, int fd, uint64_t offset)
{
	static const uint8_t zero[KVF_DISK_PAGE];

	if (!run->check->repair)
		return;
	if (pwrite(fd, zero, sizeof(zero), (off_t)offset) == (ssize_t)sizeof(zero))
		run->check->repaired++;
	else
		run->failed = true;
}

static bool keep(struct run *run, const struct kvf_record *rec, uint32_t segment, uint64_t offset)
{
	struct found *f;

	if (run->n == run->cap) {
		size_t cap = run->cap ? 2 * run->cap : 1024;

		f = realloc(run->found, cap * sizeof(*f));
		if (!f)
			return false;
		run->found = f;
		run->cap = cap;
	}
	f = &run->found[run->n++];
	memcpy(f->key, rec->key, sizeof(f->key));
	f->generation = rec->generation;
	f->segment = segment;
	f->offset = offset;
	return true;
}

static bool room_for(struct run *run, size_t n)
{
	uint8_t *p;

	if (n <= run->slot_bytes)
		return true;
	p = realloc(run->slot, n);
	if (!p)
		return false;
	run->slot = p;
	run->slot_bytes = n;
	return true;
}

static void check_slot(
	struct run *run, const struct disk_view *view, struct disk_segment_view *seg, uint64_t at)
{
	struct disk_check *c = run->check;
	size_t want = c->deep ? seg->slot_bytes : KVF_DISK_PAGE;
	ssize_t n = pread(seg->fd, run->slot, want, (off_t)at);
	struct kvf_record rec;
	int rc;

	c->slots++;
	if (n < (ssize_t)want) {
		c->unreadable++;
		say(run, view, seg, at, n < 0 ? strerror(errno) : "the file ends here");
		overwrite(run, seg->fd, at);
		return;
	}
	rc = kvf_record_check(run->slot, seg->slot_bytes - KVF_DISK_PAGE, &rec);
	if (rc == KVF_ENOENT) {
		c->free++;
		return;
	}
	if (rc) {
		c->damaged_headers++;
		say(run, view, seg, at,
			rc == KVF_ENOTSUP ? "a record of another version" : "a damaged header");
		overwrite(run, seg->fd, at);
		return;
	}
	if (view->page_state == KVF_OK &&
		memcmp(rec.fingerprint, view->page.fingerprint, sizeof(rec.fingerprint)) != 0) {
		c->strangers++;
		say(run, view, seg, at, "a chunk of another identity");
		overwrite(run, seg->fd, at);
		return;
	}
	if (c->deep && kvf_checksum(run->slot + KVF_DISK_PAGE, rec.payload_bytes) != rec.checksum) {
		c->damaged_payloads++;
		say(run, view, seg, at, "a damaged payload");
		overwrite(run, seg->fd, at);
		return;
	}
	c->chunks++;
	c->bytes += rec.payload_bytes;
	if (rec.generation > run->newest_generation)
		run->newest_generation = rec.generation;
	if (rec.payload_bytes > run->payload_bytes) {
		run->payload_bytes = rec.payload_bytes;
		run->n_tokens = rec.n_tokens;
	}
	run->failed |= !keep(run, &rec, seg->number, at);
}

static void repair_page(
	struct run *run, const struct disk_view *view, struct disk_segment_view *seg)
{
	uint8_t raw[KVF_DISK_PAGE];
	struct kvf_disk_seg_page page = {
		.slot_bytes = seg->slot_bytes, .n_slots = seg->n_slots, .number = seg->number};

	if (!run->check->repair || view->page_state != KVF_OK || !seg->n_slots)
		return;
	page.epoch = view->page.epoch;
	memcpy(page.fingerprint, view->page.fingerprint, sizeof(page.fingerprint));
	kvf_disk_seg_write(raw, &page);
	if (pwrite(seg->fd, raw, sizeof(raw), 0) == (ssize_t)sizeof(raw))
		run->check->repaired++;
	else
		run->failed = true;
}

static int check_segment(struct disk_view *view, struct disk_segment_view *seg, void *arg)
{
	struct run *run = arg;
	uint64_t repaired = run->check->repaired;

	run->check->segments++;
	if (seg->page_state == KVF_ENOTSUP) {
		say(run, view, seg, 0, "a segment of another version: not looked into");
		return 0;
	}
	if (seg->page_state) {
		run->check->damaged_pages++;
		say(run, view, seg, 0, "a damaged first page");
		repair_page(run, view, seg);
	}
	run->check->cut += seg->cut;
	if (!room_for(run, seg->slot_bytes > KVF_DISK_PAGE ? seg->slot_bytes : KVF_DISK_PAGE)) {
		fprintf(stderr, "kvferry: no memory for a slot of %u bytes\n", seg->slot_bytes);
		return -1;
	}
	for (uint32_t i = 0; i < seg->n_slots; i++)
		check_slot(run, view, seg, kvf_disk_slot_offset(seg->slot_bytes, i));
	/* What was given up is not to come back behind a page that knows nothing of it. */
	if (run->check->repaired != repaired && fdatasync(seg->fd) != 0)
		run->failed = true;
	return 0;
}

static int by_key(const void *a, const void *b)
{
	const struct found *x = a, *y = b;
	int rc = memcmp(x->key, y->key, sizeof(x->key));

	if (rc)
		return rc;
	return x->generation < y->generation ? -1 : x->generation > y->generation;
}

struct twice {
	struct run *run;
	const struct found *old;
};

static int give_up_old(struct disk_view *view, struct disk_segment_view *seg, void *arg)
{
	struct twice *t = arg;

	if (seg->number == t->old->segment) {
		say(t->run, view, seg, t->old->offset, "a chunk that is there again, newer");
		overwrite(t->run, seg->fd, t->old->offset);
	}
	return 0;
}

static void check_duplicates(struct run *run, struct disk_view *view)
{
	if (run->n > 1)
		qsort(run->found, run->n, sizeof(run->found[0]), by_key);
	for (size_t i = 1; i < run->n; i++) {
		struct twice t = {run, &run->found[i - 1]};

		if (memcmp(run->found[i - 1].key, run->found[i].key, KVF_KEY_BYTES) != 0)
			continue;
		run->check->duplicates++;
		run->check->chunks--;
		run->failed |= disk_each_segment(view, run->check->repair, give_up_old, &t) < 0;
	}
}

/* The page that the engine opens the directory with next goes on above everything that is there. */
static void renew_page(struct run *run, const struct disk_view *view)
{
	struct kvf_disk_dir_page page = view->page;
	uint64_t epoch = run->newest_generation >> KVF_DISK_EPOCH_SHIFT;

	if (page.epoch < epoch)
		page.epoch = epoch;
	page.payload_bytes = run->payload_bytes;
	page.chunk_tokens = run->n_tokens;
	if (disk_page_renew(view, &page) == 0)
		run->check->repaired++;
	else
		run->failed = true;
}

static void say_of_page(const struct run *run, const struct disk_view *view, const char *what)
{
	if (!run->check->quiet)
		printf("%s/%s: %s\n", view->path, KVF_DISK_DIR_FILE, what);
}

static void check_page(struct run *run, const struct disk_view *view, int state, bool learned)
{
	if (state == KVF_OK)
		return;
	run->check->damaged_pages++;
	if (state == KVF_ENOTSUP)
		say_of_page(run, view, "of another version: left as it is");
	else if (!learned)
		say_of_page(run, view, "damaged, and no segment says whose it is: an engine writes it anew");
	else if (run->check->repair && run->failed)
		say_of_page(run, view, "damaged: not written anew, since not everything could be seen");
	else
		say_of_page(run, view, state == KVF_EIO ? "missing" : "damaged");
	if (learned && run->check->repair && !run->failed)
		renew_page(run, view);
}

int disk_check(struct disk_view *view, struct disk_check *check)
{
	struct run run = {.check = check};
	int state = view->page_state, rc;
	uint64_t before = check->segments;
	bool learned = false;

	check->directories++;
	if (state && state != KVF_ENOTSUP)
		learned = disk_page_learn(view, &view->page);
	if (learned)
		view->page_state = KVF_OK;
	rc = disk_each_segment(view, check->repair, check_segment, &run);
	if (rc >= 0)
		check_duplicates(&run, view);
	run.failed |= rc < 0;
	/* An empty directory needs none. */
	if (state != KVF_EIO || check->segments != before)
		check_page(&run, view, state, learned);
	view->page_state = state;
	if (run.newest_generation > check->newest_generation)
		check->newest_generation = run.newest_generation;
	free(run.found);
	free(run.slot);
	return run.failed ? -1 : 0;
}
