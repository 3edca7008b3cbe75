/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a power cut leaves: a session's writes are recorded, then image after image is made of them
 * (what was synced, any subset of the rest, torn at 512 bytes), opened and read whole. Never a
 * wrong byte; with durable: each, everything that was acknowledged is there, and nothing that was
 * reported removed comes back. KVF_DISK_IMAGES sets how many images; `make disk-crash` takes a
 * hundred thousand.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/support/disk_rig.h"
#include "tests/support/sim_disk.h"

#define SLOT 8192u
#define KEYS 64u
#define EVENTS 8192u
#define SESSIONS 20u

enum { PUT_ASKED = 1, PUT_DONE, REMOVE_ASKED, REMOVE_DONE };

struct session {
	struct drig_options options;
	char dir[1000];
	struct sim_disk disk;
	struct {
		uint64_t time;
		uint32_t key;
		uint8_t what;
	} event[EVENTS];
	uint32_t n_events;
};

static uint32_t n_images(void)
{
	const char *text = getenv("KVF_DISK_IMAGES");

	return text ? (uint32_t)strtoul(text, NULL, 10) : 3000;
}

static void note(struct session *s, uint32_t key, uint8_t what)
{
	if (s->n_events == EVENTS)
		return;
	s->event[s->n_events].time = s->disk.time;
	s->event[s->n_events].key = key;
	s->event[s->n_events++].what = what;
}

/* Some requests at once, in no order; notes what was acknowledged when. */
static void burst(struct session *s, struct drig *r, uint32_t n_keys)
{
	uint32_t key[16], n = 0;
	bool noted[16] = {false};

	r->n_done = 0;
	for (uint32_t tries = 0; n < 16 && tries < 32; tries++) {
		uint32_t k = (uint32_t)(sim_random(&s->disk) % n_keys), same = 0;
		uint32_t kind = sim_random(&s->disk) % 4 ? KVF_REQ_PUT : KVF_REQ_REMOVE;

		for (uint32_t i = 0; i < n; i++)
			same += key[i] == k;
		if (same)
			continue;
		note(s, k, kind == KVF_REQ_REMOVE ? REMOVE_ASKED : PUT_ASKED);
		if (!drig_submit(r, n, kind, k)) {
			drig_turn(r);
			continue;
		}
		key[n++] = k;
	}
	for (unsigned turn = 0; turn < 100000; turn++) {
		for (uint32_t i = 0; i < n; i++) {
			if (noted[i] || r->req[i].completed != 2)
				continue;
			noted[i] = true;
			if (r->req[i].kind == KVF_REQ_REMOVE)
				note(s, key[i], REMOVE_DONE);
			else if (r->req[i].status == KVF_OK)
				note(s, key[i], PUT_DONE);
		}
		if (r->n_done >= n)
			break;
		drig_turn(r);
	}
	CU_ASSERT_EQUAL(r->n_done, n);
}

static void record(
	struct session *s, uint64_t seed, uint32_t durable, uint32_t slots, uint32_t n_keys)
{
	struct drig r;

	memset(s, 0, sizeof(*s));
	CU_ASSERT_EQUAL_FATAL(kvf_test_tmpdir(s->dir, sizeof(s->dir)), 0);
	sim_disk_init(&s->disk, seed);
	s->disk.latency = 6;
	s->disk.logging = true;
	s->options = (struct drig_options){.dirs = s->dir,
		.max_bytes = slots * SLOT + 3 * 4096,
		.segment_bytes = 16 * SLOT,
		.grow_bytes = 8 * SLOT,
		.durable = durable,
		.aio_ops = &sim_aio,
		.aio_arg = &s->disk};
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &s->options), KVF_OK);
	drig_settle(&r);
	for (int i = 0; n_keys && i < 12; i++)
		burst(s, &r, n_keys);
	CU_ASSERT_EQUAL(s->disk.misaligned, 0);
	drig_close(&r);
}

/* Last thing that happened to the key by then. */
static uint8_t state_of(const struct session *s, uint32_t key, uint64_t time)
{
	uint8_t what = 0;

	for (uint32_t i = 0; i < s->n_events && s->event[i].time <= time; i++)
		if (s->event[i].key == key)
			what = s->event[i].what;
	return what;
}

struct tally {
	uint32_t right, miss, detected, wrong, failed, lost, risen;
};

static void judge_image(
	const struct session *s, struct drig *r, uint64_t time, uint32_t n_keys, struct tally *t)
{
	for (uint32_t k = 0; k < n_keys; k++) {
		enum drig_found f = drig_get(r, k);
		uint8_t what = state_of(s, k, time);

		t->right += f == DRIG_RIGHT;
		t->miss += f == DRIG_MISS;
		t->detected += f == DRIG_DETECTED;
		t->failed += f == DRIG_FAILED;
		t->wrong += f == DRIG_WRONG;
		t->lost += what == PUT_DONE && f != DRIG_RIGHT;
		t->risen += what == REMOVE_DONE && f == DRIG_RIGHT;
	}
}

static struct tally crash(uint32_t durable, uint32_t slots, uint32_t n_keys, uint32_t images)
{
	static struct session s;
	struct tally t = {0};

	for (uint32_t n = 0; n < SESSIONS; n++) {
		struct sim_disk image;

		record(&s, n + 1, durable, slots, n_keys);
		sim_disk_init(&image, n + 77);
		s.options.aio_arg = &image;
		for (uint32_t i = 0; i < images / SESSIONS; i++) {
			uint64_t time = sim_random(&image) % (s.disk.time + 1);
			struct drig r;

			sim_disk_crash(&image, &s.disk, time);
			CU_ASSERT_EQUAL_FATAL(drig_open(&r, &s.options), KVF_OK);
			drig_settle(&r);
			judge_image(&s, &r, time, n_keys, &t);
			drig_close(&r);
		}
		sim_disk_fini(&image);
		sim_disk_fini(&s.disk);
	}
	fprintf(stderr,
		"disk: durable %u: %u right, %u missing, %u detected, %u wrong; %u lost, %u came "
		"back\n",
		durable, t.right, t.miss, t.detected, t.wrong, t.lost, t.risen);
	return t;
}

/* A full disk where everything is overwritten all the time. */
static void test_never_wrong(void)
{
	struct tally t = crash(KVF_DISK_DURABLE_NONE, 24, KEYS, n_images() / 2);

	CU_ASSERT_EQUAL(t.wrong, 0);
	CU_ASSERT_EQUAL(t.failed, 0);
	CU_ASSERT(t.right > 0);
	CU_ASSERT(t.detected > 0);
}

/* Room for every key, so that none is lost by eviction. */
static void test_durable_each(void)
{
	struct tally t = crash(KVF_DISK_DURABLE_EACH, 96, KEYS / 2, n_images() / 2);

	CU_ASSERT_EQUAL(t.wrong, 0);
	CU_ASSERT_EQUAL(t.failed, 0);
	CU_ASSERT_EQUAL(t.lost, 0);
	CU_ASSERT_EQUAL(t.risen, 0);
	CU_ASSERT(t.right > 0);
}

/* ---- what recovery found, stored again ---- */

#define FOUND 12u

/* A session before, that ended well: chunks [0, FOUND) are there, and are to stay. */
static void first_session(struct session *s, struct drig *r, uint32_t durable)
{
	record(s, 5, durable, 96, 0);
	CU_ASSERT_EQUAL_FATAL(drig_open(r, &s->options), KVF_OK);
	drig_settle(r);
	CU_ASSERT_EQUAL(drig_put_range(r, 0, FOUND), FOUND);
	drig_close(r);
}

/* A header says nothing about the payload behind it: the chunk is written before it counts as stored, and then no
 * more. */
static void test_torn_is_written_anew(void)
{
	static struct session s;
	struct sim_file *file = s.disk.file;
	struct kvf_disk_stats before;
	uint32_t torn = 0;
	struct drig r;

	first_session(&s, &r, KVF_DISK_DURABLE_NONE);
	for (uint32_t i = 0; i < SIM_FILES; i++)
		for (uint64_t at = 4096; at + SLOT <= file[i].size; at += SLOT, torn++)
			memset(file[i].bytes + at + 4096 + 512, 0, 512);
	CU_ASSERT(torn >= FOUND);
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &s.options), KVF_OK);
	drig_settle(&r);
	for (uint32_t n = 0; n < FOUND; n++) {
		CU_ASSERT_EQUAL(drig_exists(&r, n), KVF_OK);
		CU_ASSERT_EQUAL(drig_put(&r, n), KVF_OK);
		CU_ASSERT_EQUAL(drig_get(&r, n), DRIG_RIGHT);
	}
	drig_settle(&r);
	before = drig_stats(&r);
	CU_ASSERT_EQUAL(before.slots_live, FOUND);
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, FOUND), FOUND);
	CU_ASSERT_EQUAL(drig_stats(&r).writes, before.writes);
	drig_close(&r);
	sim_disk_fini(&s.disk);
}

/* Written again or not: what a session before was told of is there, whenever the power goes. */
static void stored_again(uint32_t durable, bool while_scanning, uint32_t images)
{
	static struct session s;
	struct sim_disk image;
	uint64_t from, end;
	struct drig r;
	uint32_t lost = 0;

	first_session(&s, &r, durable);
	from = s.disk.time;
	CU_ASSERT_EQUAL_FATAL(drig_open(&r, &s.options), KVF_OK);
	if (!while_scanning)
		drig_settle(&r);
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, FOUND), FOUND);
	end = s.disk.time;
	drig_close(&r);
	sim_disk_init(&image, 3);
	s.options.aio_arg = &image;
	for (uint32_t i = 0; i < images; i++) {
		sim_disk_crash(&image, &s.disk, from + i * (end - from) / images);
		CU_ASSERT_EQUAL_FATAL(drig_open(&r, &s.options), KVF_OK);
		drig_settle(&r);
		for (uint32_t n = 0; n < FOUND; n++)
			lost += drig_get(&r, n) != DRIG_RIGHT;
		drig_close(&r);
	}
	CU_ASSERT_EQUAL(lost, 0);
	sim_disk_fini(&image);
	sim_disk_fini(&s.disk);
}

static void test_stored_again(void)
{
	for (uint32_t durable = KVF_DISK_DURABLE_INTERVAL; durable <= KVF_DISK_DURABLE_EACH; durable++) {
		stored_again(durable, false, n_images() / 10);
		stored_again(durable, true, n_images() / 10);
	}
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"torn_is_written_anew", test_torn_is_written_anew},
		{"stored_again", test_stored_again},
		{"never_wrong", test_never_wrong},
		{"durable_each", test_durable_each},
	};

	/* The images are in memory: only the files' names and sizes are real. */
	if (access("/dev/shm", W_OK) == 0)
		setenv("TMPDIR", "/dev/shm", 0);
	return kvf_test_main("disk_crash", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
