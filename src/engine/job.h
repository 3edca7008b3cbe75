/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations as state machines: the job, its chunks in flight, and what drives them.
 *
 *   job.c   driver, exit, deadlines      job_*.c    one operation each
 *   move.c  a chunk of an operation in flight
 *   plan.c  where each chunk is          job_log.c  LMCache's log lines
 */
#ifndef KVF_ENGINE_JOB_H
#define KVF_ENGINE_JOB_H

#include <stdbool.h>

#include "base/heap.h"
#include "base/list.h"
#include "device/device.h"
#include "engine/transfer.h"
#include "kvferry/kvf_device.h"
#include "kvferry/kvferry.h"
#include "token/seq.h"

/* ---- operations ---- */

enum kvf_move_state {
	KVF_MOVE_NEW = 0,
	KVF_MOVE_FILLING, /* waits on the entry's fill */
	KVF_MOVE_READY,	  /* its chunk is there (store: its slot): copy may begin */
	KVF_MOVE_SUMMING, /* kvf_scrub always: its checksum is being looked at */
	KVF_MOVE_COPYING,
	KVF_MOVE_IDLE,	  /* layerwise: between two layers */
	KVF_MOVE_DONE,
	KVF_MOVE_FAILED
};

/* One chunk of one operation in flight. */
struct kvf_move {
	struct kvf_list link; /* job->moves, in chunk order */
	struct kvf_list wait; /* fill->waiters */
	struct kvf_sum sum;
	struct kvf_job *job;
	uint32_t chunk;
	uint32_t entry; /* pinned from READY on; KVF_NIL before */
	uint32_t tokens; /* of the chunk */
	uint8_t state;
	uint8_t reason; /* FAILED: enum kvf_reason */
	uint8_t retried;  /* it failed before */
	uint8_t failures; /* of tiers that were to give it */
	uint8_t failed_tier; /* number + 1 of the tier whose get it waited for; 0: a store's gather */
	bool in_ram;	/* was there when the operation looked */
	bool owns_fill; /* store: its gather is the entry's fill */
	bool bereft; /* failed because a store did that it waited for */
	bool nowhere; /* failed, and nobody is left to ask */
	bool summed;	/* its checksum is known (store), or was right (retrieve) */
	struct kvf_tier *tier; /* retrieve: where it will be loaded from, once chosen */
	int32_t status; /* FAILED: kvf_status */
	uint32_t layer; /* layerwise: layers copied */
	uint32_t layers_issued; /* layerwise retrieve: layers the device took */
	struct kvf_copy copy;
};

/* What a step of a job tells the driver. */
enum kvf_step_result {
	KVF_STEP_AGAIN = 1, /* state changed or more to do: call again within the budget */
	KVF_STEP_YIELD,	    /* more to do, but let others go first */
	KVF_STEP_WAIT,	    /* nothing to do until an event makes the job ready */
	KVF_STEP_END	    /* finished: job->status is final */
};

struct kvf_job_step {
	const char *name;
	enum kvf_step_result (*run)(struct kvf_engine *, struct kvf_job *);
	uint32_t next; /* states that may follow, as bits */
};

struct kvf_job_kind {
	const char *name;
	const struct kvf_job_step *steps;
	uint32_t n_steps;
	/* Stop asking: withdraw what is queued. Called once, at the end of every job, before what is in flight is
	 * settled. */
	void (*stop)(struct kvf_engine *, struct kvf_job *);
	/* Release what is held and fill in the completion. */
	void (*report)(struct kvf_engine *, struct kvf_job *, struct kvf_completion *);
};

/* States every job ends with. */
enum { KVF_STATE_SETTLE = 30, KVF_STATE_POSTED = 31 };

struct kvf_layer_state {
	struct kvf_fence captured; /* layerwise store */
	struct kvf_fence_out out;  /* layerwise retrieve */
	uint32_t left;		   /* moves that have not issued this layer yet */
	bool given;
	bool issued;
};

struct kvf_job {
	struct kvf_list ready; /* engine->ready */
	struct kvf_list want;  /* a list of those who wait for a slot */
	uint64_t want_serial;  /* who came first */
	struct kvf_list level_link; /* engine->flushes */
	struct kvf_heap_node deadline;
	const struct kvf_job_kind *kind;
	uint64_t id;
	uint32_t number;
	uint8_t state;
	uint8_t code, priority, level;
	uint8_t klass;
	uint8_t reason;
	bool stopped;	  /* kind->stop was called */
	bool layerwise;	  /* really, not only asked for */
	int32_t stop;	  /* status it was told to end with; 0 = go on */
	int32_t status;	  /* final */
	uint32_t flags, tiers;
	uint32_t done_flags;
	uint32_t ring_places; /* reserved and not used yet */
	uint32_t progress_at; /* unread progress entry in the ring, + 1 */
	uint64_t user_data, submitted_ns, deadline_ns;
	/* the sequence as it was at submit */
	const struct kvf_seq *seq; /* for kvf_cancel_seq() only; NULL once it is closed */
	struct kvf_keyvec *keys;
	uint32_t n_full; /* full chunks of the sequence */
	uint32_t tail_tokens;
	uint32_t tenant;
	uint8_t root[KVF_KEY_BYTES];
	uint8_t tail_key[KVF_KEY_BYTES];
	struct kvf_keyvec *wire; /* LMCache's hashes; NULL: none */
	struct kvf_wire_suffix *suffix;
	uint32_t wire_end; /* chunks from here on have none */
	bool has_tail_wire;
	uint8_t tail_wire[KVF_KEY_BYTES];
	uint64_t seq_tokens;
	uint64_t first_token, end_token, computed_tokens;
	char request_id[KVF_SEQ_MAX_REQUEST_ID + 1]; /* for log lines */
	uint32_t first_chunk, end_chunk; /* chunks concerned */
	/* device side */
	struct kvf_block_list *groups;
	size_t groups_bytes;
	uint32_t n_groups;
	struct kvf_fence fence;
	bool fence_held;
	bool later;	  /* fences come by kvf_store_layer() */
	bool fences_kept; /* stream-ordered: until kvf_fence_release() */
	struct kvf_layer_state *layers;
	uint32_t *layer_order; /* store: layers in the order they came */
	uint32_t n_layers_given, n_layers_issued;
	/* progress */
	struct kvf_list moves;
	uint32_t n_moves, n_copying;
	uint32_t cursor;  /* next chunk to begin */
	uint32_t planned; /* retrieve, prefetch: behind the last chunk that may be begun */
	bool early;	  /* some were begun before the plan ended */
	uint32_t prefix;  /* chunks done without a gap, from first_chunk */
	uint32_t limit;	  /* first chunk known to fail: the prefix ends here */
	uint32_t in_ram;  /* tokens found in RAM */
	uint32_t touch_at; /* chunks of the path not touched yet */
	bool touching;
	uint32_t granted; /* slot handed to a waiting job, KVF_NIL */
	struct kvf_tier *grant_tier;
	bool blocked; /* on a want list */
	/* plan */
	uint8_t *where; /* by chunk - first_chunk: KVF_AT_* or tier number */
	size_t where_bytes;
	uint32_t plan_cursor, plan_known;
	struct kvf_list asks; /* kvf_ask.of_job */
	uint32_t n_asks;
	uint8_t plan_tier;    /* 0: RAM; else the tier being asked, + 1 */
	uint8_t plan_failed; /* KVF_PLAN_*: why a tier could not be asked, the worst one */
	/* lookup, prefetch, pin */
	struct kvf_lease *lease;
	uint64_t lease_ns, lease_id;
	/* store */
	struct kvf_level_wait *level_wait;
	uint32_t n_level_waits; /* room in level_wait */
	uint32_t level_pending; /* waits not answered yet */
	uint32_t level_limit;	/* first chunk that did not reach the level */
	bool source_free_posted;
	bool has_stale; /* a shorter partial chunk of this sequence to be demoted, when chunk stale_chunk is stored */
	uint32_t stale_chunk;
	uint8_t stale_key[KVF_KEY_BYTES];
	uint64_t copied_ns; /* when the last copy ended */
	uint64_t spill_seq; /* flush, clear: spills up to here are waited for */
	struct kvf_list waits; /* remove: kvf_level_wait.of_job */
	uint64_t memo_epoch; /* lookup: plan_known chunks were in RAM at this index epoch, + 1 */
};

enum { KVF_AT_RAM = 0xfe, KVF_AT_UNKNOWN = 0xff };

enum { KVF_PLAN_FINE = 0, KVF_PLAN_TIER = 1, KVF_PLAN_MEMORY = 2 };

/* Does the job end for the host while its copies are still in flight, as its fence tail? Not when it is told to stop,
 * and not when it fails: then the blocks must be the host's again. */
static inline bool kvf_job_has_tail(const struct kvf_job *job)
{
	return job->flags & KVF_OP_STREAM_ORDERED && !job->stop && !job->status;
}

/* Behind the last chunk of the span that may be had. */
static inline uint32_t kvf_job_end_of_hit(const struct kvf_job *job)
{
	return job->limit < job->end_chunk ? job->limit : job->end_chunk;
}

/* ---- move.c ---- */

struct kvf_move *kvf_move_new(struct kvf_engine *e, struct kvf_job *job, uint32_t chunk);
/* Fills in the copy for [layer, layer + n_layers) of the part of the chunk that lies in the job's span. */
void kvf_move_prepare(struct kvf_engine *e, struct kvf_move *move, enum kvf_copy_direction direction, uint32_t layer,
		      uint32_t n_layers);
/* Ends a move in any state but COPYING: pin, wait and memory go. */
void kvf_move_free(struct kvf_engine *e, struct kvf_move *move);
/* Asks the device to let go of what it has not begun; a job whose copies are its fence tail keeps them. */
void kvf_moves_cancel(struct kvf_engine *e, struct kvf_job *job);
/* All moves of a job that are not copying. */
void kvf_moves_drop(struct kvf_engine *e, struct kvf_job *job);

/* ---- plan.c ---- */

/* Takes a chunk that came back damaged out of its tier; nobody waits for it. */
void kvf_plan_forget(struct kvf_engine *e, struct kvf_tier *tier, const struct kvf_tier_req *of);
/* Finds where chunks [first_chunk, end_chunk) are: AGAIN when known (job->limit, job->where), else YIELD or WAIT. */
enum kvf_step_result kvf_plan_step(struct kvf_engine *e, struct kvf_job *job);
/* Behind the last chunk whose place is known, and that of all before it: all that may be used before the plan ends. */
uint32_t kvf_plan_known(struct kvf_job *job);
/* Removes chunks [first_chunk, end_chunk) from every tier asked for: AGAIN when all answered. */
enum kvf_step_result kvf_plan_remove(struct kvf_engine *e, struct kvf_job *job);
void kvf_plan_stop(struct kvf_engine *e, struct kvf_job *job);
/* Sets status and reason of a job that must reach every tier and could not. */
void kvf_plan_failure(struct kvf_job *job);
void kvf_plan_answer(struct kvf_engine *e, struct kvf_ask *ask);
/* Next tier that may have the chunk, from `from` on; NULL: none. */
struct kvf_tier *kvf_plan_source(struct kvf_engine *e, struct kvf_job *job, uint32_t chunk);

/* ---- job.c ---- */

/* Is a spill up to `seq` still queued or in flight to a tier in `mask` (tier numbers)? late: also where nobody waits
 * for the answer any more. */
bool kvf_spills_before(const struct kvf_engine *e, uint64_t seq, uint32_t mask, bool late);
static inline bool kvf_job_means_ram(const struct kvf_job *job)
{
	return !job->tiers || job->tiers & KVF_TIER_RAM;
}
/* Numbers of the tiers that the job names, as bits. */
uint32_t kvf_job_tiers(const struct kvf_engine *e, const struct kvf_job *job);

extern const struct kvf_job_kind kvf_job_clear, kvf_job_lookup, kvf_job_store, kvf_job_retrieve, kvf_job_prefetch,
	kvf_job_pin, kvf_job_unpin, kvf_job_demote, kvf_job_remove, kvf_job_flush;

struct kvf_job *kvf_job_new(struct kvf_engine *e, const struct kvf_op *op);
/* Undoes kvf_job_new() of an operation that was not accepted. */
void kvf_job_abandon(struct kvf_engine *e, struct kvf_job *job);
/* From here on it is accepted. */
void kvf_job_start(struct kvf_engine *e, struct kvf_job *job);
struct kvf_job *kvf_job_find(struct kvf_engine *e, uint64_t id);
void kvf_job_ready(struct kvf_engine *e, struct kvf_job *job);
/* The only writer of job->state. */
void kvf_job_goto(struct kvf_engine *e, struct kvf_job *job, uint8_t state);
/* Tells a job to end with `status`; the first one counts. */
void kvf_job_stop(struct kvf_engine *e, struct kvf_job *job, int status, enum kvf_reason reason);
/* Runs one job within the budget; returns the steps used. */
uint32_t kvf_job_drive(struct kvf_engine *e, struct kvf_job *job, uint32_t budget);
void kvf_job_progress(struct kvf_engine *e, struct kvf_job *job);
const uint8_t *kvf_job_key(const struct kvf_job *job, uint32_t chunk);
/* Entries of the chunks [chunk, end), KVF_FIND_BATCH of them at most, KVF_NIL where one is absent; returns how many
 * were looked for. */
uint32_t kvf_job_entries(
	struct kvf_engine *e, const struct kvf_job *job, uint32_t chunk, uint32_t end, uint32_t *entry);
const uint8_t *kvf_job_parent_key(const struct kvf_job *job, uint32_t chunk);
uint32_t kvf_job_chunk_tokens(const struct kvf_engine *e, const struct kvf_job *job, uint32_t chunk);
/* Tokens of the span that chunks [first_chunk, first_chunk + n) cover. */
uint64_t kvf_job_span_tokens(const struct kvf_engine *e, const struct kvf_job *job, uint32_t n);
/* Touches the path [0, end) of the job's sequence, a slice a call: true when all of it was. */
bool kvf_job_touch(struct kvf_engine *e, struct kvf_job *job, uint32_t end);

/* ---- job_log.c ---- */

/* LMCache's lines about requests, at info level. Begin: of an operation that was accepted; end: of its completion. */
void kvf_job_log_begin(struct kvf_engine *e, const struct kvf_job *job);
void kvf_job_log_end(struct kvf_engine *e, const struct kvf_job *job, const struct kvf_completion *c);

#endif
