/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SIGKILL: a child stores and tells its parent of every chunk that reached the disk; the parent
 * kills it at a time of its own, opens the directory and looks for what it was told of. Never a
 * wrong byte, never a directory above its bound. KVF_DISK_KILLS sets how many children each test
 * kills.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/rig.h"
#include "tests/support/disk_rig.h"

#define PER_SEQ 4u
#define TOKENS (PER_SEQ * RIG_CHUNK)

static char dir[1000];

struct tally {
	uint64_t told, found, mismatches, over;
};

static struct rig_options options(const char *gb, const char *durable)
{
	static const char *settings[16];
	const char *const all[] = {"local_disk", dir, "max_local_disk_size", gb,
		"kvf_disk_min_free", "0", "kvf_durable", durable};

	memcpy(settings, all, sizeof(all));
	settings[KVF_ARRAY_LEN(all)] = NULL;
	return (struct rig_options){.slots = 16, .settings = settings};
}

/* Stores sequence after sequence until it is killed. */
static void child(const struct rig_options *o, int out, uint64_t first)
{
	struct rig r;

	rig_open(&r, o);
	for (uint64_t s = first;; s++) {
		struct kvf_completion c;
		struct kvf_op op;

		rig_tokens(&r, s, TOKENS);
		rig_compute(&r, TOKENS);
		rig_prep(&r, &op, KVF_OP_STORE, 0, TOKENS);
		op.level = KVF_LEVEL_DURABLE;
		c = rig_run(&r, &op);
		if (c.status == KVF_OK && c.level == KVF_LEVEL_DURABLE && c.tokens == TOKENS &&
			write(out, &s, sizeof(s)) != sizeof(s))
			_exit(1);
	}
}

/* Returns the number behind the last sequence that the child told of. */
static uint64_t kill_one(const struct rig_options *o, uint64_t first, uint64_t after)
{
	uint64_t s, next = first, n = 0;
	int pipes[2], status;
	pid_t pid;

	fflush(NULL);
	CU_ASSERT_EQUAL_FATAL(pipe(pipes), 0);
	pid = fork();
	if (pid == 0) {
		close(pipes[0]);
		child(o, pipes[1], first);
		_exit(1);
	}
	CU_ASSERT_FATAL(pid > 0);
	close(pipes[1]);
	while (n < after && read(pipes[0], &s, sizeof(s)) == sizeof(s)) {
		n++;
		next = s + 1;
	}
	/* Somewhere in the next store. */
	usleep((useconds_t)(after * 37 % 300));
	CU_ASSERT_EQUAL(kill(pid, SIGKILL), 0);
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_TRUE(WIFSIGNALED(status));
	while (read(pipes[0], &s, sizeof(s)) == sizeof(s))
		next = s + 1;
	close(pipes[0]);
	return next;
}

static uint32_t warm(struct rig *r, unsigned patience)
{
	uint32_t got = 0;

	for (unsigned i = 0; i < patience && got < TOKENS; i++) {
		got = rig_lookup(r, 0, 0).tokens;
		if (got < TOKENS)
			usleep(50);
	}
	return got;
}

static void look(
	const struct rig_options *o, uint64_t first, uint64_t end, uint64_t bound, bool all, struct tally *t)
{
	unsigned patience = 400;
	struct rig r;

	t->over += drig_du(dir) > bound;
	rig_open(&r, o);
	/* The newest first: when they are there, recovery is over for all. */
	for (uint64_t s = end; s-- > first;) {
		struct kvf_completion c;

		rig_tokens(&r, s, TOKENS);
		rig_wipe(&r);
		/* Where some were evicted: once one is there, what is not will not come. */
		if (warm(&r, patience) == TOKENS && !all)
			patience = 1;
		c = rig_retrieve(&r, 0, TOKENS, 0);
		t->told += PER_SEQ;
		t->found += c.tokens / RIG_CHUNK;
		t->mismatches += rig_mismatches(&r, 0, c.tokens);
	}
	t->over += drig_du(dir) > bound;
	rig_close(&r);
}

static struct tally run(const char *gb, uint64_t bound, const char *durable, bool all)
{
	const char *text = getenv("KVF_DISK_KILLS");
	uint64_t kills = text ? strtoull(text, NULL, 10) : 5;
	struct tally t = {0};

	CU_ASSERT_EQUAL_FATAL(kvf_test_tmpdir(dir, sizeof(dir)), 0);
	for (uint64_t k = 0; k < kills; k++) {
		struct rig_options o;
		uint64_t first = 1 + k * 100000, mid, end;

		char command[1100];

		snprintf(command, sizeof(command), "rm -rf '%s'/kvf-*", dir);
		if (all)
			CU_ASSERT_EQUAL(system(command), 0);
		o = options(gb, durable);
		/* Twice over the same directory: the second child recovers what the first left. */
		mid = kill_one(&o, first, 3 + k % 7);
		end = kill_one(&o, mid, 1 + k * 5 % 11);
		look(&o, first, end, bound, all, &t);
	}
	fprintf(stderr,
		"disk: durable %s, %llu kills: %llu chunks told of, %llu found, %llu wrong bytes\n",
		durable, (unsigned long long)(2 * kills), (unsigned long long)t.told,
		(unsigned long long)t.found, (unsigned long long)t.mismatches);
	CU_ASSERT_EQUAL(t.mismatches, 0);
	CU_ASSERT_EQUAL(t.over, 0);
	return t;
}

static void test_durable_each(void)
{
	struct tally t = run("0.1", 107374182, "each", true);

	CU_ASSERT(t.told > 0);
	CU_ASSERT_EQUAL(t.found, t.told);
}

static void test_durable_none(void)
{
	struct tally t = run("0.1", 107374182, "none", true);

	CU_ASSERT(t.told > 0);
	CU_ASSERT(t.found * 100 >= t.told * 95);
}

/* A small disk, always full, never emptied. */
static void test_bounded(void)
{
	struct tally t = run("0.001", 1073742, "none", false);

	CU_ASSERT(t.found > 0);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"durable_each", test_durable_each},
		{"durable_none", test_durable_none},
		{"bounded", test_bounded},
	};

	return kvf_test_main("disk_kill", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
