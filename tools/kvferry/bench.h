/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `kvferry bench`: what its files offer each other. A bench alternates slices of what is measured
 * and of its ceiling, so that both see the same machine, and gives the median of the paired ratios
 * with a 95 % interval.
 */
#ifndef KVFERRY_BENCH_H
#define KVFERRY_BENCH_H

#include "bench_stats.h"
#include "json_out.h"
#include "replay.h"

#define BENCH_SLICES 41
#define BENCH_MAX_SLICES 1001

struct bench {
	bool brief; /* --short */
	uint64_t slices;
	uint64_t token_bytes; /* 0: the bench's own */
	uint64_t sizes[8]; /* of scale; 0 ends them */
	bool cuda; /* of copy: the device is a GPU */
	const char *dir; /* of disk and overlap; NULL: one of its own */
	const char *url; /* of overlap: a server; NULL: none */
	uint64_t kib; /* of disk: only chunks of this size; 0: all */
	uint64_t passes; /* of disk: how often a slice goes over its bytes */
	bool recovery; /* of disk: only that */
	struct json_out json; /* of --json; writes to /dev/null without it */
};

/* Slices of two sides in seconds, or anything else that is more than zero. */
struct bench_pairs {
	double a[BENCH_MAX_SLICES], b[BENCH_MAX_SLICES];
	size_t n;
};

struct bench_ratio {
	double a, b; /* medians */
	double ratio, low, high; /* median of a/b, and the bootstrap's 95 % interval of it */
};

void bench_compare(const struct bench_pairs *pairs, struct bench_ratio *out);

/* An engine over a device of its own, for benches: pool of `slots` chunks, all of it there. */
struct bench_rig {
	struct replay_device device;
	struct kvf_engine *engine;
	const char *const *settings; /* more of the configuration: keys and values, NULL ends them; NULL: none */
	bool cuda; /* the device is GPU 0 */
};

/* 0; -1 after a line on stderr. rig->settings and cuda are set, all else is overwritten. */
int bench_rig_open(
	struct bench_rig *rig, uint64_t token_bytes, uint64_t chunk_size, uint64_t slots);
void bench_rig_close(struct bench_rig *rig);
/* Submits one operation and polls until it is done: its completion, or -1. */
int bench_rig_do(struct bench_rig *rig, const struct kvf_op *op, struct kvf_completion *c);
/* A sequence of n tokens that follow from `seed`. */
struct kvf_seq *bench_rig_seq(struct bench_rig *rig, uint64_t seed, size_t n);
/* Store or retrieve of tokens [0, n) with this block table. */
int bench_rig_copy(struct bench_rig *rig, struct kvf_seq *seq, const uint32_t *ids, size_t n_ids,
	size_t n, bool store);

/* Rows of the table and members of the JSON object, at once. */
void bench_say_ratio(struct bench *b, const char *name, const char *what,
	const struct bench_ratio *r, double scale, const char *unit);
void bench_say(struct bench *b, const char *name, const char *what, double value, const char *unit);

/* TOOL_OK or TOOL_WRONG. */
int bench_lookup(struct bench *b);
int bench_copy(struct bench *b);
int bench_scale(struct bench *b);
int bench_idle(struct bench *b);
int bench_disk(struct bench *b);
int bench_overlap(struct bench *b);

#endif
