/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `kvferry replay`: what its files offer each other.
 *
 *   cmd_replay.c      options                  replay_run.c      one run: which request when, polling
 *   replay_engine.c   opens and closes         replay_request.c  one request, from its tokens to its store
 *   replay_session.c  sequences                replay_device.c   the "GPU": a paged KV cache in host memory
 *   replay_oracle.c   what every byte must be  replay_control.c  mistakes made on purpose
 *   replay_report.c   table and JSON           replay_host.c     heartbeat, sleeping, deadlines
 *   gpu.c             a real GPU's memory, for --device cuda
 */
#ifndef KVFERRY_REPLAY_H
#define KVFERRY_REPLAY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/hist.h"
#include "gpu.h"
#include "kvferry/kvf_device.h"
#include "kvferry/kvferry.h"
#include "tool.h"
#include "workload/rng.h"
#include "workload/workload.h"

#define REPLAY_MAX_CONCURRENCY 4096
#define REPLAY_MAX_TENANTS 1000
#define REPLAY_SALT_BYTES 128
#define REPLAY_ERROR_BYTES 1024

/* ---- what was asked for ---- */

/* Mistakes made on purpose, each of which the oracle must see. */
enum replay_control {
	REPLAY_CONTROL_NONE,
	REPLAY_POOL_FLIP, /* a bit of some chunks flips while they lie in the pool */
	REPLAY_DROP_SALT, /* two tenants share a salt */
	REPLAY_SHORT_KEY /* keys of 16 bits */
};

struct replay_options {
	const char *const *sources;
	size_t n_sources;
	enum wl_format format;
	uint64_t trace_block_tokens; /* 0: the workload's own */
	uint64_t chunk_size;
	uint64_t token_bytes;
	uint64_t block_tokens; /* of the device */
	bool cuda; /* the device is a GPU */
	uint64_t ram_bytes; /* 0: max_local_cpu_size of the configuration */
	uint64_t ram_chunks; /* 0: by ram_bytes */
	const char *disk; /* NULL: no disk tier but the configuration's */
	uint64_t disk_bytes;
	const char *local_cpu; /* "true", "false"; NULL: as configured */
	const char *policy, *config;
	const char *set[64]; /* KEY=VALUE */
	size_t n_set;
	uint64_t limit, concurrency, seed, tenants;
	uint64_t deadline_ms; /* of every operation; 0: none */
	double speed; /* 0: as fast as it goes */
	const char *salt;
	enum replay_control control;
	bool compare, quiet;
	const char *json, *timeline;
	uint64_t timeline_limit; /* bytes; 0: none */
};

/* ---- the oracle ---- */

/*
 * Content of the KV cache as a function of (tenant, tokens up to here, layer, plane): a chain of 64
 * bits over the tokens, and from its value at each token a stream of words for every row. Nothing
 * here knows of chunks or keys.
 */
struct replay_oracle {
	uint32_t n_rows; /* of a token: layers * planes */
	uint32_t row_bytes;
	uint64_t *row_seed; /* by row */
	uint8_t *scratch; /* one row */
};

struct replay_cursor {
	uint64_t hash; /* of all tokens before `position` */
	uint64_t position;
};

int replay_oracle_init(struct replay_oracle *oracle, uint32_t n_rows, uint32_t row_bytes);
void replay_oracle_fini(struct replay_oracle *oracle);
struct replay_cursor replay_cursor_begin(const char *salt);
uint64_t replay_hash_token(uint64_t hash, uint32_t token);

/* ---- the device ---- */

struct replay_device {
	uint8_t *memory; /* [layer][plane][block][token][row]; with a GPU: what the host knows of it */
	struct gpu *gpu; /* NULL: the memory is the device's */
	uint8_t *gpu_memory; /* the device's, in the same order */
	uint8_t *staging; /* page-locked: the rows of a block */
	char gpu_error[160]; /* of a copy; from then on nothing is verified */
	uint64_t bytes;
	uint32_t n_layers, planes, row_bytes, block_tokens, n_blocks;
	struct kvf_layer *layers;
	struct kvf_group group;
	struct kvf_layout layout;
	uint32_t *free; /* ids of free blocks, of those ever used */
	uint32_t n_free,
		n_used; /* n_used: ids below it exist, the memory behind them was touched */
	uint32_t n_taken, peak_taken;
	struct wl_rng rng;
};

/* 0; -1 with text. */
int replay_device_init(struct replay_device *dev, uint64_t token_bytes, uint64_t block_tokens,
	uint64_t seed, char *error, size_t error_size);
/* The same in the memory of GPU 0. -1 with text: also where there is none. */
int replay_device_init_gpu(struct replay_device *dev, uint64_t token_bytes, uint64_t block_tokens,
	uint64_t seed, char *error, size_t error_size);
void replay_device_fini(struct replay_device *dev);
/* Tokens [first, first + n) of a block between the GPU and what the host knows of it, all layers.
 * Without a GPU nothing happens. */
void replay_device_sync(struct replay_device *dev, uint32_t block, uint32_t first, uint32_t n, bool to_host);
/* Takes n blocks anywhere. False: there are not so many. */
bool replay_device_take(struct replay_device *dev, uint32_t *ids, uint32_t n);
void replay_device_give(struct replay_device *dev, const uint32_t *ids, uint32_t n);
uint8_t *replay_device_row(
	const struct replay_device *dev, uint32_t row, uint32_t block, uint32_t token);

/* Moves the cursor to `end` and computes the KV of the tokens it passes into the blocks, as a model
 * would. */
void replay_compute(const struct replay_oracle *oracle, struct replay_device *dev,
	const struct wl_request *r, const uint32_t *ids, struct replay_cursor *cursor,
	uint64_t end);
/* The same walk, but compares. Returns how many bytes are wrong. */
uint64_t replay_verify(const struct replay_oracle *oracle, struct replay_device *dev,
	const struct wl_request *r, const uint32_t *ids, struct replay_cursor *cursor,
	uint64_t end);

/* ---- mistakes ---- */

/* A host device that flips a bit of every 16th chunk after it was copied into the pool. NULL: no
 * memory, bad layout. */
struct replay_flip;
struct replay_flip *replay_flip_new(const struct kvf_layout *layout, uint32_t chunk_size);
void replay_flip_free(struct replay_flip *flip);
extern const struct kvf_device_ops replay_flip_ops; /* self: struct replay_flip */

/* ---- one run ---- */

struct replay_result {
	uint64_t requests, prompt_tokens, output_tokens, sessions;
	uint64_t hit_tokens; /* delivered by retrieve */
	uint64_t found_tokens; /* said by lookup */
	uint64_t computed_tokens;
	uint64_t retrieved_bytes, verified_bytes, mismatched_bytes, mismatched_requests;
	uint64_t failed_ops, dropped_stores, short_retrieves;
	uint64_t timed_out_ops, late_ns; /* late_ns: the most that any was past its deadline */
	uint64_t first_mismatch; /* index of the request, WL_NONE */
	uint64_t appended_tokens; /* through SHA-256 */
	uint64_t wall_ns, cpu_ns, engine_cpu_ns, pool_ns, peak_rss_bytes, device_bytes;
	uint64_t polls;
	uint64_t timeline_ns; /* what the timeline covers where it was cut; 0: everything */
	struct kvf_hist turn_cpu, lookup, append, retrieve, store;
	struct kvf_hist beat_late; /* timed runs: how late the host's heartbeat was */
	struct kvf_stats stats;
	char failure[256]; /* of the first failed operation */
};

enum replay_state {
	REPLAY_FREE,
	REPLAY_WAIT,
	REPLAY_LOOKUP,
	REPLAY_RETRIEVE,
	REPLAY_STORE,
	REPLAY_DONE
};

/* A session's sequence between its requests, and the blocks whose tokens are in it. */
struct replay_session {
	struct kvf_seq *seq;
	uint64_t *blocks;
	size_t n_blocks, cap;
	uint64_t tokens;
	uint32_t tenant, block_tokens;
	bool busy; /* a request of it is under way */
};

struct replay_request {
	enum replay_state state;
	struct wl_request r; /* blocks: ours */
	uint64_t *blocks;
	size_t blocks_cap;
	uint32_t tenant;
	struct kvf_seq *seq; /* the session's, or own */
	bool own_seq;
	uint32_t *ids; /* block table */
	uint32_t n_ids;
	size_t ids_cap;
	uint64_t due_ns; /* not before */
	uint64_t begun_ns, submitted_ns;
	uint64_t span_tokens; /* of the prompt: what the engine is told of */
	uint64_t found, delivered;
	struct replay_cursor cursor;
	char salt[REPLAY_SALT_BYTES + 16];
};

struct replay_run {
	const struct replay_options *options;
	bool with_engine;
	struct replay_device device;
	struct replay_oracle oracle;
	struct replay_flip *flip;
	struct kvf_engine *engine;
	struct workload *workload;
	FILE *timeline;
	bool timeline_first;
	uint64_t timeline_bytes;
	struct replay_request *requests; /* those read and not done */
	uint32_t n_requests, n_active;
	uint32_t *order; /* numbers of waiting requests, in the order they arrived */
	uint32_t n_waiting, *spare, n_spare;
	struct replay_session *sessions;
	size_t n_sessions, sessions_cap;
	uint64_t *done_ns; /* by index of request; 0: not done */
	size_t done_cap;
	bool exhausted;
	uint64_t begin_ns;
	uint64_t beat_ns; /* when the next beat is due; 0: not begun */
	uint32_t n_reaped; /* by the last turn */
	uint64_t own_ns; /* spent on making up and checking bytes: no part of what an operation
			    takes */
	struct replay_result *result;
	struct tool_progress progress;
	char error[REPLAY_ERROR_BYTES];
};

/* Each returns 0, or -1 with run->error. */
int replay_fail(struct replay_run *run, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int replay_engine_open(struct replay_run *run);
int replay_engine_drain(struct replay_run *run);
void replay_engine_close(struct replay_run *run);
int replay_poll(struct replay_run *run, struct kvf_completion *out, unsigned max);

/* The sequence of a request that begins, with its tokens appended; NULL with run->error. */
int replay_session_begin(struct replay_run *run, struct replay_request *q);
void replay_session_end(struct replay_run *run, struct replay_request *q);
void replay_sessions_free(struct replay_run *run);
/* Makes room for the session. */
int replay_session_reserve(struct replay_run *run, uint64_t session);

/* Now, without the time that went into the oracle. */
uint64_t replay_now_ns(const struct replay_run *run);

/* Timed runs. */
void replay_beat(struct replay_run *run);
void replay_sleep(struct replay_run *run, uint64_t next);
void replay_judge_deadline(struct replay_run *run, const struct replay_request *q);

/* True: done already (without an engine), or in flight. *later: no room now. */
int replay_request_begin(struct replay_run *run, struct replay_request *q, bool *later);
int replay_request_step(
	struct replay_run *run, struct replay_request *q, const struct kvf_completion *c);

/* Runs the workload once. 0, or -1 with the text in error. */
int replay_run(const struct replay_options *options, bool with_engine, struct replay_result *result,
	char *error, size_t error_size);

/* off: without a cache, or NULL. */
void replay_print(const struct replay_options *options, const struct replay_result *on,
	const struct replay_result *off, FILE *out);
int replay_write_json(const struct replay_options *options, const struct replay_result *on,
	const struct replay_result *off, FILE *out);
bool replay_is_wrong(const struct replay_result *result);

#endif
