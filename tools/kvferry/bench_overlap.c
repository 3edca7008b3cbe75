/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvferry bench overlap: one engine, one thread, three kinds of work. Reads: a sequence that lies on disk is retrieved.
 * Writes: a new one is stored until it is on disk. Copies: a resident one is retrieved. Each alone, then all at once:
 * what that may take is the slowest of them, or the thread-CPU of all. Reads and writes share one device, so they are
 * also run as a pair. With --url a fourth: a sequence that lies in that server alone is retrieved, and what is written
 * must reach the server too.
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

#define PARTS 4u
#define REMOTE_KEPT 4u /* sequences in the server that take turns in being read */

enum part { READS = 1, WRITES = 2, COPIES = 4, FETCHES = 8 };

struct overlap {
	struct bench *b;
	struct bench_rig rig;
	struct kvf_seq *on_disk[ON_DISK], *resident, *remote[REMOTE_KEPT];
	unsigned parts; /* 3, with a server 4 */
	uint32_t *ids[PARTS]; /* blocks of reads, writes, copies, fetches */
	size_t n_ids;
	uint64_t next_read, next_fetch, next_seed;
};

struct cost {
	double wall, cpu;
};

static uint8_t level(const struct overlap *o)
{
	return o->parts == PARTS ? KVF_LEVEL_REMOTE : KVF_LEVEL_DURABLE;
}

static void prepare(const struct overlap *o, struct kvf_op *op, struct kvf_seq *seq, const struct kvf_blocks *blocks,
	bool store)
{
	static const struct kvf_fence_in now = {.kind = KVF_FENCE_NOW};
	const struct kvf_span span = {.n = TOKENS, .blocks = blocks};

	if (store)
		kvf_prep_store(op, seq, &span, &now);
	else
		kvf_prep_retrieve(op, seq, &span, &now);
	if (store)
		op->level = level(o);
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
		if (c.status != KVF_OK || (c.op != KVF_OP_REMOVE && c.tokens != TOKENS) ||
			(c.op == KVF_OP_STORE && c.level != level(o))) {
			fprintf(stderr, "kvferry bench overlap: %u of %zu tokens, %s\n", c.tokens, TOKENS,
				kvf_strerror(c.status));
			return -1;
		}
		n--;
	}
	return 0;
}

/* What a fetch brought lies in RAM, and perhaps on disk, until somebody takes it away. */
static int only_remote(struct overlap *o, struct kvf_seq *seq)
{
	struct kvf_op op;
	uint64_t id;

	kvf_prep_remove(&op, seq, 0, TOKENS, KVF_TIER_RAM | KVF_TIER_DISK);
	op.deadline_ns = KVF_NO_DEADLINE;
	return kvf_submit(o->rig.engine, &op, 1, &id) == 1 ? await(o, 1) : -1;
}

static int run(struct overlap *o, unsigned parts, struct cost *cost)
{
	struct kvf_block_list list[PARTS];
	struct kvf_blocks blocks[PARTS];
	struct kvf_seq *seq[PARTS] = {NULL, NULL, o->resident, NULL};
	struct kvf_op op[PARTS];
	uint64_t id[PARTS], begin, cpu;
	unsigned n = 0;
	int rc;

	if (parts & READS)
		seq[0] = o->on_disk[o->next_read++ % ON_DISK];
	if (parts & WRITES)
		seq[1] = bench_rig_seq(&o->rig, o->next_seed++, TOKENS);
	if ((parts & WRITES) && !seq[1])
		return -1;
	if (parts & FETCHES) {
		seq[3] = o->remote[o->next_fetch++ % REMOTE_KEPT];
		if (only_remote(o, seq[3]))
			return -1;
	}
	for (unsigned i = 0; i < o->parts; i++) {
		list[i] = (struct kvf_block_list){.ids = o->ids[i], .n = o->n_ids};
		blocks[i] = (struct kvf_blocks){.n_groups = 1, .groups = &list[i]};
		if (parts & 1u << i)
			prepare(o, &op[n++], seq[i], &blocks[i], i == 1);
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
	static double wall[PARTS][BENCH_MAX_SLICES], cpu[BENCH_MAX_SLICES], both_wall[BENCH_MAX_SLICES];
	struct bench_ratio r;
	size_t n = 0;

	for (uint64_t i = 0; i < o->b->slices + 1; i++) {
		struct cost alone[PARTS], both, all;
		double work = 0, slowest = 0;

		/* The order turns, so that none is always behind the same one. */
		for (unsigned k = 0; k < o->parts + 2; k++) {
			unsigned what = (unsigned)(k + i) % (o->parts + 2);

			if (what < o->parts ? run(o, 1u << what, &alone[what]) :
				what == o->parts ? run(o, READS | WRITES, &both) : run(o, (1u << o->parts) - 1, &all))
				return -1;
		}
		for (unsigned k = 0; k < o->parts; k++) {
			work += alone[k].cpu;
			slowest = larger(slowest, alone[k].wall);
			wall[k][n] = alone[k].wall;
		}
		cpu[n] = work;
		both_wall[n] = both.wall;
		whole.a[n] = pair.a[n] = all.wall;
		whole.b[n] = larger(slowest, work);
		pair.b[n] = larger(larger(both.wall, alone[2].wall), work);
		if (o->parts == PARTS)
			pair.b[n] = larger(pair.b[n], alone[3].wall);
		n += i > 0; /* the first one warms up */
	}
	whole.n = pair.n = n;
	say_part(o, "reads_ms", "reads alone", wall[0], n);
	say_part(o, "writes_ms", "writes alone", wall[1], n);
	say_part(o, "copies_ms", "copies alone", wall[2], n);
	if (o->parts == PARTS)
		say_part(o, "fetches_ms", "fetches from the server alone", wall[3], n);
	say_part(o, "both_ms", "reads and writes at once", both_wall, n);
	say_part(o, "cpu_ms", "thread-CPU of all of them alone", cpu, n);
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
	for (unsigned i = 0; i < o->parts; i++) {
		o->ids[i] = malloc(o->n_ids * sizeof(**o->ids));
		if (!o->ids[i] || !replay_device_take(&o->rig.device, o->ids[i], (uint32_t)o->n_ids))
			return -1;
	}
	for (unsigned i = 0; i < ON_DISK + 1 + (o->parts == PARTS ? REMOTE_KEPT : 0); i++) {
		struct kvf_seq *seq = bench_rig_seq(&o->rig, o->next_seed++, TOKENS);
		const struct kvf_block_list list = {.ids = o->ids[1], .n = o->n_ids};
		const struct kvf_blocks blocks = {.n_groups = 1, .groups = &list};
		struct kvf_op op;
		uint64_t id;

		if (!seq)
			return -1;
		if (i < ON_DISK)
			o->on_disk[i] = seq;
		else if (o->parts == PARTS && i < ON_DISK + REMOTE_KEPT)
			o->remote[i - ON_DISK] = seq;
		else
			o->resident = seq;
		prepare(o, &op, seq, &blocks, true);
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
	const char *settings[] = {"local_disk", dir, "max_local_disk_size", size, "kvf_disk_min_free", "0",
		b->url ? "remote_url" : NULL, b->url, NULL};
	int rc = -1;

	if (bench_dir_make(dir, b->dir))
		return TOOL_WRONG;
	/* Nothing is evicted from disk. */
	snprintf(size, sizeof(size), "%.2f",
		(double)(ON_DISK + REMOTE_KEPT + 4 * (b->slices + 2)) * CHUNKS * (TOKEN_BYTES * CHUNK + 4096.0) / 1e9 +
			0.2);
	o = (struct overlap){.b = b, .next_seed = 1, .parts = b->url ? PARTS : PARTS - 1};
	o.rig.settings = settings;
	if (bench_rig_open(&o.rig, TOKEN_BYTES, CHUNK, b->url ? SLOTS + 2 * CHUNKS : SLOTS) == 0) {
		if (fill(&o) == 0)
			rc = measure(&o);
		for (unsigned i = 0; i < ON_DISK; i++)
			kvf_seq_close(o.on_disk[i]);
		for (unsigned i = 0; i < REMOTE_KEPT; i++)
			kvf_seq_close(o.remote[i]);
		kvf_seq_close(o.resident);
		bench_rig_close(&o.rig);
	}
	for (unsigned i = 0; i < PARTS; i++)
		free(o.ids[i]);
	bench_dir_remove(dir);
	return rc == 0 ? TOOL_OK : TOOL_WRONG;
}
