/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvferry bench overlap: one engine, one thread, three kinds of work. Reads: a sequence that lies on disk is retrieved.
 * Writes: a new one is stored until it is on disk. Copies: a resident one is retrieved. Each alone, then all at once:
 * what that may take is the slowest of them, or the thread-CPU of all. Reads and writes share one device, so they are
 * also run as a pair.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "bench_dir.h"

#define CHUNK 256
#define TOKEN_BYTES 16384u /* chunks of 4 MiB */
#define CHUNKS 16u /* of a sequence */
#define TOKENS ((size_t)CHUNK * CHUNKS)
#define ON_DISK 8u /* sequences that take turns in being read */
#define SLOTS 96u /* of the pool: what was read once is gone when its turn comes again */

enum part { READS = 1, WRITES = 2, COPIES = 4, ALL = 7 };

struct overlap {
	struct bench *b;
	struct bench_rig rig;
	struct kvf_seq *on_disk[ON_DISK], *resident;
	uint32_t *ids[3]; /* blocks of reads, writes, copies */
	size_t n_ids;
	uint64_t next_read, next_seed;
};

struct cost {
	double wall, cpu;
};

static void prepare(struct kvf_op *op, struct kvf_seq *seq, const struct kvf_blocks *blocks, bool store)
{
	static const struct kvf_fence_in now = {.kind = KVF_FENCE_NOW};
	const struct kvf_span span = {.n = TOKENS, .blocks = blocks};

	if (store)
		kvf_prep_store(op, seq, &span, &now);
	else
		kvf_prep_retrieve(op, seq, &span, &now);
	if (store)
		op->level = KVF_LEVEL_DURABLE;
	op->deadline_ns = KVF_NO_DEADLINE;
}

/* A host that sleeps on the engine's descriptor whenever there is nothing to do. */
static void sleep_a_little(struct kvf_engine *e, int fd)
{
	uint64_t due = kvf_next_deadline_ns(e), now = kvf_now_ns(e);
	struct pollfd p = {.fd = fd, .events = POLLIN};

	if (due > now)
		(void)poll(&p, 1, due - now > 1000000 ? 1 : 0);
}

static int await(struct overlap *o, unsigned n)
{
	int fd = kvf_fd(o->rig.engine);

	while (n) {
		struct kvf_completion c;
		int got = kvf_poll(o->rig.engine, &c, 1);

		if (got < 0)
			return -1;
		if (got == 0) {
			sleep_a_little(o->rig.engine, fd);
			continue;
		}
		if (c.kind != KVF_DONE)
			continue;
		if (c.status != KVF_OK || c.tokens != TOKENS ||
			(c.op == KVF_OP_STORE && c.level != KVF_LEVEL_DURABLE)) {
			fprintf(stderr, "kvferry bench overlap: %u of %zu tokens, %s\n", c.tokens, TOKENS,
				kvf_strerror(c.status));
			return -1;
		}
		n--;
	}
	return 0;
}

static int run(struct overlap *o, unsigned parts, struct cost *cost)
{
	struct kvf_block_list list[3];
	struct kvf_blocks blocks[3];
	struct kvf_seq *seq[3] = {NULL, NULL, o->resident};
	struct kvf_op op[3];
	uint64_t id[3], begin, cpu;
	unsigned n = 0;
	int rc;

	if (parts & READS)
		seq[0] = o->on_disk[o->next_read++ % ON_DISK];
	if (parts & WRITES)
		seq[1] = bench_rig_seq(&o->rig, o->next_seed++, TOKENS);
	if ((parts & WRITES) && !seq[1])
		return -1;
	for (unsigned i = 0; i < 3; i++) {
		list[i] = (struct kvf_block_list){.ids = o->ids[i], .n = o->n_ids};
		blocks[i] = (struct kvf_blocks){.n_groups = 1, .groups = &list[i]};
		if (parts & 1u << i)
			prepare(&op[n++], seq[i], &blocks[i], i == 1);
	}
	begin = tool_now_ns();
	cpu = tool_thread_cpu_ns();
	rc = kvf_submit(o->rig.engine, op, n, id) == (int)n ? await(o, n) : -1;
	cost->cpu = (double)(tool_thread_cpu_ns() - cpu);
	cost->wall = (double)(tool_now_ns() - begin);
	kvf_seq_close(seq[1]);
	return rc;
}

static double larger(double a, double b)
{
	return a > b ? a : b;
}

static void say_part(struct overlap *o, const char *name, const char *what, double *v, size_t n)
{
	bench_say(o->b, name, what, bench_median(v, n) / 1e6, "ms");
}

static int measure(struct overlap *o)
{
	static struct bench_pairs whole, pair;
	static double wall[3][BENCH_MAX_SLICES], cpu[BENCH_MAX_SLICES], both_wall[BENCH_MAX_SLICES];
	struct bench_ratio r;
	size_t n = 0;

	for (uint64_t i = 0; i < o->b->slices + 1; i++) {
		struct cost alone[3], both, all;
		double work = 0, slowest = 0;

		/* The order turns, so that none is always behind the same one. */
		for (unsigned k = 0; k < 5; k++) {
			unsigned what = (unsigned)(k + i) % 5;

			if (run(o, what < 3 ? 1u << what : what == 3 ? READS | WRITES : ALL,
				    what < 3 ? &alone[what] : what == 3 ? &both : &all))
				return -1;
		}
		for (unsigned k = 0; k < 3; k++) {
			work += alone[k].cpu;
			slowest = larger(slowest, alone[k].wall);
			wall[k][n] = alone[k].wall;
		}
		cpu[n] = work;
		both_wall[n] = both.wall;
		whole.a[n] = pair.a[n] = all.wall;
		whole.b[n] = larger(slowest, work);
		pair.b[n] = larger(larger(both.wall, alone[2].wall), work);
		n += i > 0; /* the first one warms up */
	}
	whole.n = pair.n = n;
	say_part(o, "reads_ms", "reads alone", wall[0], n);
	say_part(o, "writes_ms", "writes alone", wall[1], n);
	say_part(o, "copies_ms", "copies alone", wall[2], n);
	say_part(o, "both_ms", "reads and writes at once", both_wall, n);
	say_part(o, "cpu_ms", "thread-CPU of reads, writes and copies alone", cpu, n);
	bench_compare(&whole, &r);
	bench_say_ratio(o->b, "overlap", "all at once / max(slowest, thread-CPU)", &r, 1e-6, "ms");
	bench_compare(&pair, &r);
	bench_say_ratio(o->b, "overlap_of_pair", "all at once / max(reads and writes, thread-CPU)", &r, 1e-6, "ms");
	return 0;
}

/* Everything on disk, and of the sequences to be read nothing in RAM. */
static int fill(struct overlap *o)
{
	struct cost cost;

	o->n_ids = TOKENS / o->rig.device.block_tokens;
	for (unsigned i = 0; i < 3; i++) {
		o->ids[i] = malloc(o->n_ids * sizeof(**o->ids));
		if (!o->ids[i] || !replay_device_take(&o->rig.device, o->ids[i], (uint32_t)o->n_ids))
			return -1;
	}
	for (unsigned i = 0; i <= ON_DISK; i++) {
		struct kvf_seq *seq = bench_rig_seq(&o->rig, o->next_seed++, TOKENS);
		const struct kvf_block_list list = {.ids = o->ids[1], .n = o->n_ids};
		const struct kvf_blocks blocks = {.n_groups = 1, .groups = &list};
		struct kvf_op op;
		uint64_t id;

		if (!seq)
			return -1;
		*(i < ON_DISK ? &o->on_disk[i] : &o->resident) = seq;
		prepare(&op, seq, &blocks, true);
		if (kvf_submit(o->rig.engine, &op, 1, &id) != 1 || await(o, 1))
			return -1;
	}
	return run(o, COPIES, &cost);
}

int bench_overlap(struct bench *b)
{
	static struct overlap o;
	static char dir[BENCH_DIR_BYTES];
	char size[32];
	const char *settings[] = {"local_disk", dir, "max_local_disk_size", size, "kvf_disk_min_free", "0", NULL};
	int rc = -1;

	if (bench_dir_make(dir, b->dir))
		return TOOL_WRONG;
	/* Nothing is evicted from disk. */
	snprintf(size, sizeof(size), "%.2f",
		(double)(ON_DISK + 3 * (b->slices + 2)) * CHUNKS * (TOKEN_BYTES * CHUNK + 4096.0) / 1e9 + 0.2);
	o = (struct overlap){.b = b, .next_seed = 1, .rig = {.settings = settings}};
	if (bench_rig_open(&o.rig, TOKEN_BYTES, CHUNK, SLOTS) == 0) {
		if (fill(&o) == 0)
			rc = measure(&o);
		for (unsigned i = 0; i < ON_DISK; i++)
			kvf_seq_close(o.on_disk[i]);
		kvf_seq_close(o.resident);
		bench_rig_close(&o.rig);
	}
	for (unsigned i = 0; i < 3; i++)
		free(o.ids[i]);
	bench_dir_remove(dir);
	return rc == 0 ? TOOL_OK : TOOL_WRONG;
}
