/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine over a disk: a second engine with an empty pool is warm, with every way to the kernel;
 * what is too much for RAM comes back from disk; damage is a miss once and then forgotten; levels,
 * removal, clearing; a filter without io_uring.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/support/tier_rig.h"
#include "tests/support/disk_rig.h"

static char dir[1000];

struct lines {
	unsigned n;
	char text[4096];
};

static void note(enum kvf_log_level level, const char *scope, const char *msg, void *user)
{
	struct lines *l = user;
	size_t used = strlen(l->text);

	if (level > KVF_LOG_WARNING || strcmp(scope, "disk") != 0)
		return;
	l->n++;
	snprintf(l->text + used, sizeof(l->text) - used, "%s\n", msg);
}

static const char *settings[16];

static struct rig_options options(uint32_t slots, const char *gb, const char *aio)
{
	const char *const all[] = {"local_disk", dir, "max_local_disk_size", gb,
		"kvf_disk_min_free", "0", "kvf_aio", aio, "kvf_disk_depth", "7", "kvf_disk_depth_size",
		"0.015625"};

	memcpy(settings, all, sizeof(all));
	settings[KVF_ARRAY_LEN(all)] = NULL;
	return (struct rig_options){.slots = slots, .settings = settings};
}

static void fresh(void)
{
	CU_ASSERT_EQUAL_FATAL(kvf_test_tmpdir(dir, sizeof(dir)), 0);
}

static struct kvf_completion store_durable(struct rig *r, uint32_t n)
{
	struct kvf_op op;

	rig_prep(r, &op, KVF_OP_STORE, 0, n);
	op.level = KVF_LEVEL_DURABLE;
	return rig_run(r, &op);
}

/* Polls until a lookup sees n tokens: recovery runs beside. */
static uint32_t warm_up(struct rig *r, uint32_t n)
{
	uint32_t got = 0;

	for (unsigned i = 0; i < 200000 && got < n; i++) {
		got = rig_lookup(r, 0, 0).tokens;
		if (got < n)
			usleep(50);
	}
	return got;
}

/* From open until the disk tier has read its headers the engine says so; after that a lookup finds all. */
static void expect_scan(struct rig *r, uint32_t n)
{
	uint32_t bits = 0;

	CU_ASSERT_EQUAL(kvf_health(r->engine, &bits), KVF_OK);
	CU_ASSERT_EQUAL(bits, KVF_HEALTH_SCANNING);
	/* The disk takes the time it takes. */
	for (unsigned i = 0; i < 200000 && bits; i++) {
		CU_ASSERT_EQUAL(kvf_poll(r->engine, NULL, 0), 0);
		CU_ASSERT_EQUAL(kvf_health(r->engine, &bits), KVF_OK);
		usleep(50);
	}
	CU_ASSERT_EQUAL(bits, 0);
	rig_tokens(r, 1, n);
	CU_ASSERT_EQUAL(rig_lookup(r, 0, 0).tokens, n);
}

/* Statistics and metrics say by which way, how much, how deep. */
static void expect_shown(struct rig *r, const char *aio)
{
	static char page[1 << 18];
	struct kvf_stats s = rig_stats(r);
	char line[128];

	if (strcmp(aio, "auto") != 0)
		CU_ASSERT_STRING_EQUAL(s.disk.aio, aio);
	CU_ASSERT(s.disk.depth == 7 && s.disk.depth_bytes == KVF_GIB / 64);
	CU_ASSERT(s.disk.max_bytes == 10737418 && s.disk.bytes > 60 * s.slot_bytes && s.disk.bytes <= s.disk.max_bytes);
	CU_ASSERT(s.disk.slots_live == 60 && s.disk.recovered == 60 && s.disk.transfers >= 60);
	CU_ASSERT(kvf_metrics_text(r->engine, page, sizeof(page)) < (int)sizeof(page));
	snprintf(line, sizeof(line), "aio=\"%s\"} 1\n", s.disk.aio);
	CU_ASSERT_PTR_NOT_NULL(strstr(page, line));
	CU_ASSERT_PTR_NOT_NULL(strstr(page, "lmcache:local_storage_usage{"));
	CU_ASSERT_PTR_NOT_NULL(strstr(page, "kvferry_disk_depth_bytes{"));
}

static void second_engine_is_warm(const char *aio)
{
	struct rig_options o = options(16, "0.01", aio);
	struct kvf_completion c;
	struct rig r;
	int rc;

	rc = rig_try_open(&r, &o);
	if (rc == KVF_ENOTSUP && strcmp(aio, "auto") != 0) {
		fprintf(stderr, "disk: no %s here: %s", aio, r.text);
		return;
	}
	CU_ASSERT_EQUAL_FATAL(rc, KVF_OK);
	for (uint64_t s = 1; s <= 6; s++) {
		rig_tokens(&r, s, 10 * RIG_CHUNK);
		rig_compute(&r, 10 * RIG_CHUNK);
		c = store_durable(&r, 10 * RIG_CHUNK);
		CU_ASSERT_EQUAL(c.status, KVF_OK);
		CU_ASSERT_EQUAL(c.level, KVF_LEVEL_DURABLE);
		CU_ASSERT_EQUAL(c.tokens, 10 * RIG_CHUNK);
	}
	/* 60 chunks in a pool of 16: the first ones come from disk. */
	rig_tokens(&r, 1, 10 * RIG_CHUNK);
	rig_wipe(&r);
	c = rig_retrieve(&r, 0, 10 * RIG_CHUNK, 0);
	CU_ASSERT_EQUAL(c.tokens, 10 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_mismatches(&r, 0, 10 * RIG_CHUNK), 0);
	rig_close(&r);
	rig_open(&r, &o);
	expect_scan(&r, 10 * RIG_CHUNK);
	for (uint64_t s = 1; s <= 6; s++) {
		rig_tokens(&r, s, 10 * RIG_CHUNK);
		CU_ASSERT_EQUAL(kvf_seq_resident(r.seq), 0);
		CU_ASSERT_EQUAL(warm_up(&r, 10 * RIG_CHUNK), 10 * RIG_CHUNK);
		c = tier_rig_fetch(&r, 10);
		CU_ASSERT_EQUAL(c.tokens, 10 * RIG_CHUNK);
	}
	CU_ASSERT_EQUAL(rig_stats(&r).corrupt_chunks, 0);
	expect_shown(&r, aio);
	rig_close(&r);
}

static void test_warm(void)
{
	static const char *const backs[] = {"auto", "io_uring", "libaio", "sync"};

	for (size_t i = 0; i < KVF_ARRAY_LEN(backs); i++) {
		fresh();
		second_engine_is_warm(backs[i]);
	}
}

static char segment[2000];

static int find_segment(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	if (type == FTW_F && strncmp(path + ftw->base, "segment-", 8) == 0)
		snprintf(segment, sizeof(segment), "%s", path);
	return 0;
}

/* A payload byte flips on disk: a miss, counted, and the slot is given up, so that the next store
 * mends it. */
static void test_damage(void)
{
	struct rig_options o;
	struct kvf_completion c;
	uint8_t b;
	struct rig r;
	int fd;

	fresh();
	o = options(16, "0.01", "auto");
	rig_open(&r, &o);
	rig_tokens(&r, 1, RIG_CHUNK);
	rig_compute(&r, RIG_CHUNK);
	CU_ASSERT_EQUAL(store_durable(&r, RIG_CHUNK).tokens, RIG_CHUNK);
	rig_close(&r);
	nftw(dir, find_segment, 8, FTW_PHYS);
	fd = open(segment, O_RDWR);
	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(pread(fd, &b, 1, 4096 + 4096 + 777), 1);
	b ^= 4;
	CU_ASSERT_EQUAL(pwrite(fd, &b, 1, 4096 + 4096 + 777), 1);
	close(fd);
	rig_open(&r, &o);
	rig_tokens(&r, 1, RIG_CHUNK);
	CU_ASSERT_EQUAL(warm_up(&r, RIG_CHUNK), RIG_CHUNK);
	c = rig_retrieve(&r, 0, RIG_CHUNK, 0);
	CU_ASSERT_EQUAL(c.status, KVF_OK);
	CU_ASSERT_EQUAL(c.tokens, 0);
	CU_ASSERT_EQUAL(c.reason, KVF_REASON_CORRUPT);
	CU_ASSERT_EQUAL(rig_stats(&r).corrupt_chunks, 1);
	for (int i = 0; i < 1000 && rig_lookup(&r, 0, 0).tokens; i++)
		;
	CU_ASSERT_EQUAL(rig_lookup(&r, 0, 0).tokens, 0);
	rig_compute(&r, RIG_CHUNK);
	CU_ASSERT_EQUAL(store_durable(&r, RIG_CHUNK).tokens, RIG_CHUNK);
	rig_close(&r);
	rig_open(&r, &o);
	rig_tokens(&r, 1, RIG_CHUNK);
	CU_ASSERT_EQUAL(warm_up(&r, RIG_CHUNK), RIG_CHUNK);
	rig_wipe(&r);
	CU_ASSERT_EQUAL(rig_retrieve(&r, 0, RIG_CHUNK, 0).tokens, RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_mismatches(&r, 0, RIG_CHUNK), 0);
	rig_close(&r);
}

static void test_remove_and_clear(void)
{
	struct rig_options o;
	struct rig r;

	fresh();
	o = options(16, "0.01", "auto");
	rig_open(&r, &o);
	for (uint64_t s = 1; s <= 2; s++) {
		rig_tokens(&r, s, 4 * RIG_CHUNK);
		rig_compute(&r, 4 * RIG_CHUNK);
		store_durable(&r, 4 * RIG_CHUNK);
	}
	CU_ASSERT_EQUAL(rig_remove(&r, 2 * RIG_CHUNK, 2 * RIG_CHUNK, 0).status, KVF_OK);
	rig_close(&r);
	rig_open(&r, &o);
	rig_tokens(&r, 1, 4 * RIG_CHUNK);
	CU_ASSERT_EQUAL(warm_up(&r, 4 * RIG_CHUNK), 4 * RIG_CHUNK);
	rig_tokens(&r, 2, 4 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_lookup(&r, 0, 0).tokens, 2 * RIG_CHUNK);
	CU_ASSERT_EQUAL(rig_clear(&r, KVF_TIER_DISK).status, KVF_OK);
	CU_ASSERT_EQUAL(rig_lookup(&r, 0, 0).tokens, 0);
	rig_close(&r);
}

static void test_second_engine_refused(void)
{
	struct rig_options o;
	struct rig a, b;

	fresh();
	o = options(16, "0.01", "auto");
	rig_open(&a, &o);
	CU_ASSERT_EQUAL(rig_try_open(&b, &o), KVF_EBUSY);
	CU_ASSERT_PTR_NOT_NULL(strstr(b.text, "another engine"));
	rig_close(&a);
	o = options(16, "0.00001", "auto");
	CU_ASSERT_EQUAL(rig_try_open(&b, &o), KVF_ERANGE);
	CU_ASSERT_PTR_NOT_NULL(strstr(b.text, "max_local_disk_size"));
}

/* ---- in a child: a filter as containers have it, no privileges, little lockable memory ---- */

/* System calls first .. last; all three of io_uring are 425 .. 427. */
static int deny(uint32_t first, uint32_t last)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, first, 0, 2),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, last, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {KVF_ARRAY_LEN(code), code};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

static int in_child(int (*body)(void))
{
	int status = 0;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0)
		_exit(body());
	CU_ASSERT_FATAL(pid > 0);
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

static struct lines seen;
static const struct kvf_log_sink sink = {sizeof(sink), note, &seen};

static uint32_t denied[2];

static int filtered(void)
{
	struct rig_options o = options(16, "0.01", "auto");
	unsigned before = CU_get_number_of_failures();
	struct rig r;

	if (deny(denied[0], denied[1]))
		return 77;
	o.log = &sink;
	rig_open(&r, &o);
	rig_tokens(&r, 1, 4 * RIG_CHUNK);
	rig_compute(&r, 4 * RIG_CHUNK);
	CU_ASSERT_EQUAL(store_durable(&r, 4 * RIG_CHUNK).tokens, 4 * RIG_CHUNK);
	rig_close(&r);
	CU_ASSERT_EQUAL(seen.n, 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(seen.text, "io_uring cannot be had here"));
	rig_open(&r, &o);
	rig_tokens(&r, 1, 4 * RIG_CHUNK);
	CU_ASSERT_EQUAL(warm_up(&r, 4 * RIG_CHUNK), 4 * RIG_CHUNK);
	rig_close(&r);
	/* Asked for by name it is an error. */
	o = options(16, "0.01", "io_uring");
	CU_ASSERT_EQUAL(rig_try_open(&r, &o), KVF_ENOTSUP);
	CU_ASSERT_PTR_NOT_NULL(strstr(r.text, "kvf_aio"));
	return CU_get_number_of_failures() != before;
}

/* Between open and the first turn: from then on by the next way. */
static int filtered_late(void)
{
	struct drig_options o = {.dirs = dir, .max_bytes = 1 << 20, .segment_bytes = 1 << 18, .grow_bytes = 1 << 17};
	unsigned before = CU_get_number_of_failures();
	bool uring;
	struct drig r;

	CU_ASSERT_EQUAL(drig_open(&r, &o), KVF_OK);
	uring = strcmp(drig_stats(&r).aio, "io_uring") == 0;
	if (deny(denied[0], denied[1]))
		return 77;
	CU_ASSERT_EQUAL(drig_put_range(&r, 0, 20), 20);
	CU_ASSERT_EQUAL(drig_get(&r, 7), DRIG_RIGHT);
	CU_ASSERT(!uring || strcmp(drig_stats(&r).aio, "libaio") == 0);
	CU_ASSERT(!uring || strstr(r.log, "libaio from now on"));
	drig_close(&r);
	return CU_get_number_of_failures() != before;
}

/* All of io_uring, and each of its calls alone. */
static void test_filter(void)
{
	for (uint32_t i = 0; i < 8; i++) {
		int rc;

		denied[0] = i % 4 ? 424 + i % 4 : 425;
		denied[1] = i % 4 ? denied[0] : 427;
		memset(&seen, 0, sizeof(seen));
		fresh();
		rc = in_child(i < 4 ? filtered : filtered_late);
		if (rc == 77)
			kvf_test_skip("no seccomp filters here");
		else
			CU_ASSERT_EQUAL(rc, 0);
	}
}

static int unprivileged(void)
{
	static const char *const backs[] = {"auto", "libaio", "sync"};
	struct rlimit limit = {64 * 1024, 64 * 1024};
	unsigned before = CU_get_number_of_failures();

	if (setrlimit(RLIMIT_MEMLOCK, &limit) || setgid(65534) || setuid(65534))
		return 77;
	for (size_t i = 0; i < KVF_ARRAY_LEN(backs); i++) {
		struct rig_options o = options(16, "0.01", backs[i]);
		struct rig r;
		int rc = rig_try_open(&r, &o);

		if (rc) {
			fprintf(stderr, "disk: unprivileged: %s\n%s", kvf_strerror(rc), r.text);
			return 1;
		}
		rig_tokens(&r, 1 + i, 4 * RIG_CHUNK);
		rig_compute(&r, 4 * RIG_CHUNK);
		CU_ASSERT_EQUAL(store_durable(&r, 4 * RIG_CHUNK).tokens, 4 * RIG_CHUNK);
		rig_close(&r);
		rig_open(&r, &o);
		rig_tokens(&r, 1 + i, 4 * RIG_CHUNK);
		CU_ASSERT_EQUAL(warm_up(&r, 4 * RIG_CHUNK), 4 * RIG_CHUNK);
		rig_close(&r);
	}
	return CU_get_number_of_failures() != before;
}

static void test_unprivileged(void)
{
	int rc;

	fresh();
	CU_ASSERT_EQUAL(chmod(dir, 0777), 0);
	rc = in_child(unprivileged);
	if (rc == 77)
		kvf_test_skip("not allowed to become somebody else");
	else
		CU_ASSERT_EQUAL(rc, 0);
}

/* What the disk threw out to make room does not count as there: stored again, it is written again before it counts as
 * durable, though RAM had it all the time. */
static void test_room_made(void)
{
	const uint32_t n = 8 * RIG_CHUNK, more = 20 * RIG_CHUNK;
	struct rig_options o;
	struct kvf_stats s;
	uint64_t puts;
	struct rig r;

	fresh();
	o = options(256, "0.001", "sync");
	rig_open(&r, &o);
	for (uint64_t i = 1; i <= 6; i++) {
		uint32_t tokens = i == 1 ? n : more;

		rig_tokens(&r, i, tokens);
		rig_compute(&r, tokens);
		CU_ASSERT_EQUAL(store_durable(&r, tokens).level, KVF_LEVEL_DURABLE);
	}
	s = rig_stats(&r);
	CU_ASSERT(s.disk.evictions >= 40);
	CU_ASSERT_EQUAL(s.slots_resident, 108);
	puts = s.tiers[0].puts;
	rig_tokens(&r, 1, n);
	CU_ASSERT_EQUAL(kvf_seq_resident(r.seq), n);
	CU_ASSERT_EQUAL(store_durable(&r, n).level, KVF_LEVEL_DURABLE);
	CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].puts - puts, 8);
	CU_ASSERT_EQUAL(store_durable(&r, n).level, KVF_LEVEL_DURABLE);
	CU_ASSERT_EQUAL(rig_stats(&r).tiers[0].puts - puts, 8);
	rig_close(&r);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"warm", test_warm},
		{"damage", test_damage},
		{"remove_and_clear", test_remove_and_clear},
		{"second_engine_refused", test_second_engine_refused},
		{"filter", test_filter},
		{"unprivileged", test_unprivileged},
		{"room_made", test_room_made},
	};

	return kvf_test_main("disk_engine", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
