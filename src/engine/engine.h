/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's own structures and what its files offer each other. Nothing outside src/engine and src/api includes
 * this.
 *
 * Who does what:
 *   turn.c    one bounded turn           job.c     driver, exit, deadlines of operations
 *   slots.c   slots, pins, waiting       load.c    a tier's chunk comes up, single flight
 *   spill.c   a chunk goes down          tiers.c   requests, queues, breakers
 *   device.c  copies and fences          move.c    a chunk of an operation in flight
 *   plan.c    where each chunk is        lease.c   pins with an expiry
 *   ring.c    completions                events.c  stored, evicted, tier up and down
 *   job_*.c   one operation each         open.c, shutdown.c, stats.c, verify.c
 *   job_log.c LMCache's log lines         store_rules.c  what is not stored
 *   metrics.c histograms, metrics page
 */
#ifndef KVF_ENGINE_ENGINE_H
#define KVF_ENGINE_ENGINE_H

#include <pthread.h>
#include <stdbool.h>

#include "base/checksum.h"
#include "base/heap.h"
#include "base/hist.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/record.h"
#include "base/slab.h"
#include "base/timeline.h"
#include "cache/evict.h"
#include "cache/index.h"
#include "cache/pool.h"
#include "device/device.h"
#include "device/layout.h"
#include "kvferry/kvf_device.h"
#include "kvferry/kvf_tier.h"
#include "kvferry/kvferry.h"
#include "loop/clock.h"
#include "loop/loop.h"
#include "tier/breaker.h"
#include "token/seq.h"

/* One turn's budgets. */
#define KVF_TURN_STEPS 128u
#define KVF_TURN_COPY_BYTES (512u * 1024u) /* small pieces cost more than their bytes */
#define KVF_TURN_SUM_BYTES (512u * 1024u)
#define KVF_TURN_TIER_BYTES (1024u * 1024u)
#define KVF_TURN_SCAN 512u /* chunks a job looks at before it lets others go first */

#define KVF_MOVE_WINDOW 32u /* chunks of one operation in flight */
#define KVF_ASK_WINDOW 1024u /* exists requests of one operation in flight */
#define KVF_LAYERWISE_MAX 1024u /* chunks of a layerwise retrieve: all their moves are made in one step */
#define KVF_TIER_BATCH 64u
#define KVF_MAX_TENANTS 64u
#define KVF_DEVICE_POLL_NS 100000u /* how long a sleeping host may leave device work unseen */

struct kvf_disk;
struct kvf_cuda_device;
struct kvf_engine;
struct kvf_job;
struct kvf_move;
struct kvf_settings;

/* Who waits for slots, most urgent first. */
enum kvf_class { KVF_CLASS_RETRIEVE = 0, KVF_CLASS_PREFETCH, KVF_CLASS_STORE, KVF_CLASSES };

/* LMCache's names, for tiers with KVF_TIER_WIRE: head, hash, tail, suffix. */
struct kvf_wire_names {
	bool on;
	struct kvf_seq_wiring seqs;
	size_t head_n, tail_n;
	char head[768];
	char tail[32];
};

/* ---- tiers ---- */

enum kvf_tier_hist { KVF_HIST_GET = 0, KVF_HIST_PUT, KVF_HIST_ASK, KVF_TIER_HISTS };

/* A tier as the engine sees it. */
struct kvf_tier {
	struct kvf_engine *engine;
	struct kvf_tier_host host;
	const struct kvf_tier_ops *ops;
	void *self;
	uint32_t caps; /* enum kvf_tier_caps */
	uint32_t bit;  /* enum kvf_tier_bits */
	uint8_t number;
	bool open;
	bool off; /* by kvf_set_tier() */
	struct kvf_breaker breaker;
	struct kvf_tier_req *done_head, *done_tail; /* completed, not yet looked at */
	struct kvf_list asks;			    /* kvf_ask, to be sent */
	struct kvf_list gets[KVF_CLASSES];	    /* kvf_fill, to be sent */
	struct kvf_list puts;			    /* kvf_spill, queued */
	struct kvf_list sealed;			    /* kvf_spill, checksum known: to be sent */
	struct kvf_list wants[2];		    /* kvf_job waiting for a slot and a get: by class */
	uint32_t n_loads, cap_loads;		    /* slots granted to gets */
	uint32_t n_spills, cap_spills;		    /* puts begun */
	uint32_t n_orphans;			    /* of both: requests nobody waits for any more */
	uint32_t in_flight;			    /* requests the tier holds */
	bool backlog;				    /* submit took less than it was offered */
	uint64_t spill_retry_ns; /* no spill begins before: there was no memory for one */
	struct kvf_log_limit limit;
	struct kvf_tier_stats stats;
	struct kvf_hist *hist[KVF_TIER_HISTS]; /* of requests that ended, by enum kvf_tier_hist */
};

/* Prefix of every request's owner: tells the completion what it is. */
enum kvf_req_owner { KVF_OWNER_ASK = 1, KVF_OWNER_FILL, KVF_OWNER_SPILL };

/* An exists or remove of one chunk for one job. */
struct kvf_ask {
	struct kvf_tier_req req;
	struct kvf_list link;	/* tier->asks until sent */
	struct kvf_list of_job; /* job->asks */
	struct kvf_job *job;	/* NULL: the job left */
	uint64_t sent_ns;
	struct kvf_wire_suffix *suffix; /* of the request; NULL: none */
	uint32_t chunk;
};

/* Checksum work: the payload of an entry, in slices. */
enum kvf_sum_owner { KVF_SUM_FILL = 1, KVF_SUM_SPILL, KVF_SUM_MOVE, KVF_SUM_SCRUB };

struct kvf_sum {
	struct kvf_list link; /* engine->sums */
	uint64_t done;
	enum kvf_sum_owner owner;
};

/* What fills an entry's slot: a store's gather or a tier's get. Belongs to the entry; jobs wait on it. */
struct kvf_fill {
	struct kvf_tier_req req; /* loads only */
	struct kvf_list link;	 /* tier->gets until sent */
	struct kvf_list waiters; /* kvf_move.wait */
	struct kvf_sum sum;
	struct kvf_tier *tier; /* NULL: a store's gather */
	uint64_t begun_ns, sent_ns;
	uint64_t expect; /* checksum the record carries */
	struct kvf_wire_suffix *suffix; /* of the request; NULL: none */
	uint32_t number;
	uint32_t entry;
	uint32_t depth;
	uint8_t klass;
	bool sent;   /* the tier has it */
	bool orphan; /* nobody waits any more, but the tier may still write into the slot */
	bool removed; /* the tier lost the chunk while it was read */
};

/* One chunk on its way down, to every tier that wants it. */
enum kvf_spill_state { KVF_SPILL_NONE = 0, KVF_SPILL_QUEUED, KVF_SPILL_SUMMING, KVF_SPILL_SEALED, KVF_SPILL_SENT };

struct kvf_put {
	struct kvf_tier_req req;
	struct kvf_heap_node deadline;
	struct kvf_spill *spill;
	uint64_t begun_ns, sent_ns;
	uint8_t tier;
	bool orphan; /* too late: counted as failed, still in flight */
	bool removed; /* a remove was answered meanwhile: who came first is unknown */
};

struct kvf_spill_leg {
	struct kvf_list link; /* tier->puts, then tier->sealed */
	struct kvf_put *put;  /* from SUMMING on */
	uint8_t state;	      /* enum kvf_spill_state */
};

struct kvf_spill {
	struct kvf_list all;	 /* engine->spills, in order of seq */
	struct kvf_list doomed;	 /* engine->doomed_spills */
	struct kvf_list waiters; /* kvf_level_wait */
	struct kvf_sum sum;
	uint64_t seq;
	uint64_t checksum;
	uint32_t number;
	uint32_t entry;
	uint8_t open_legs; /* legs not finished */
	bool summed;
	struct kvf_spill_leg leg[KVF_MAX_TIERS];
};

/* A job that waits for one chunk's way down: a store for its level, a remove for what is in flight. */
struct kvf_level_wait {
	struct kvf_list link; /* spill->waiters */
	struct kvf_job *job;
	uint32_t chunk;
	uint32_t tiers; /* tiers whose answer it needs, as bits of tier numbers */
};

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
	uint8_t retried;
	uint8_t failed_tier; /* number + 1 of the tier whose get it waited for; 0: a store's gather */
	bool in_ram;	/* was there when the operation looked */
	bool owns_fill; /* store: its gather is the entry's fill */
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
	uint64_t spill_seq; /* flush, remove: spills up to here are waited for */
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

struct kvf_lease {
	struct kvf_heap_node expiry;
	uint64_t id;
	uint32_t number;
	uint32_t first_chunk, n;
	uint32_t held;
	bool open; /* a job still adds to it */
	uint32_t entry[]; /* by chunk - first_chunk; KVF_NIL */
};

/* One heap for each kind of owner. A load has no deadline of its own: its waiters have. */
struct kvf_timers {
	struct kvf_heap jobs, puts, leases;
};

struct kvf_ring {
	struct kvf_completion *entry;
	uint32_t cap, head, n, reserved; /* reserved: places promised or in use */
};

struct kvf_tenant {
	struct kvf_evict evict;
	uint32_t salt_hash;
	uint32_t min, max; /* slots; max 0 = no bound */
	uint32_t used;	   /* slots its chunks hold */
	bool on;
};

/* Settings that keep stores out. See store_rules.c. */
struct kvf_store_rules {
	bool decode;	    /* tokens made in decode are stored too */
	bool off;	    /* nothing is stored */
	bool other_rank;    /* rank 0 stores for all, and this is another one */
	bool for_all;	    /* rank 0 stores for all, and this is it */
	int64_t priority_limit;
	uint32_t skip_last; /* tokens */
};

/* A rate in bytes per second, as a bucket that refills. rate 0 = no bound. */
struct kvf_bucket {
	uint64_t rate;
	uint64_t filled_ns; /* when it was looked at */
	int64_t bytes;	    /* in it; below 0 = in debt */
};

struct kvf_event_ring {
	struct kvf_event *entry;
	uint32_t cap;
	uint64_t next, read;
	uint64_t lost; /* since the last read */
};

struct kvf_engine {
	/* what a poll of an idle engine looks at comes first */
	pthread_t owner;
	bool owned, entered, dead, migrating;
	const volatile uint64_t *fork_word; /* 1 here, 0 in a child */
	struct kvf_ring ring;
	struct kvf_list ready;
	struct kvf_clock_src clock;
	struct kvf_timers timers;

	struct kvf_mem mem;
	struct kvf_log log;
	struct kvf_timeline timeline;
	struct kvf_loop loop;
	char detail[512];

	/* settings */
	uint32_t chunk_size, max_ops, flags;
	bool local_cpu, save_unfull, frozen;
	bool emptying; /* the hot cache was switched off: what is cached goes */
	bool growing, retiring; /* the pool has slices to add, to empty */
	bool more;		/* the last turn left work that can be done at once */
	uint64_t watched_ns;	/* when descriptors were looked at */
	uint32_t min_retrieve_tokens, scrub;
	struct kvf_store_rules rules;
	uint64_t default_timeout_ns, pin_timeout_ns;
	uint8_t fingerprint[KVF_KEY_BYTES];
	char *model;
	size_t model_bytes;
	uint32_t world_size, rank;
	uint64_t payload_bytes;

	/* RAM tier */
	struct kvf_pool pool;
	struct kvf_index index;
	struct kvf_tenant tenant[KVF_MAX_TENANTS]; /* 0: everybody without a quota */
	uint32_t n_tenants;
	enum kvf_policy policy;
	struct kvf_seq_env seqs;
	uint32_t n_resident, peak_resident;
	uint32_t n_copying, cap_copying; /* slots a store's gather fills */
	uint32_t n_leased, cap_leased;	 /* slots with a lease */
	uint32_t n_quarantined;
	uint32_t n_lost_slots; /* of them: a lost device may still write there */
	uint32_t retire_cursor, retire_left; /* shrinking: next entry to look at, in use ones seen this round */
	struct kvf_list want_store;
	uint32_t n_wants;
	struct kvf_slab leases;
	uint64_t lease_serial;

	/* device */
	bool has_layout;
	struct kvf_layout_plan plan;
	const struct kvf_device_ops *device;
	void *device_self;
	struct kvf_host_device *own_host_device;
	struct kvf_cuda_device *own_cuda_device;
	struct kvf_device_host device_host;
	uint32_t device_caps;
	struct kvf_copy *copy_done_head, *copy_done_tail;
	struct kvf_list copy_wait; /* kvf_move.wait: the device said EAGAIN */
	uint32_t n_copies;	   /* the device holds */
	bool device_lost;

	/* tiers */
	struct kvf_wire_names wire;
	struct kvf_resp_tier *remote; /* NULL: none */
	struct kvf_tier tier[KVF_MAX_TIERS];
	uint32_t n_tiers;
	struct kvf_disk *disk; /* NULL: none */
	uint32_t tier_mask; /* tier numbers that take stores */
	struct kvf_slab fills, spill_slab;
	struct kvf_list doomed_spills; /* kvf_spill.doomed: in flight, but their chunk was removed or evicted */
	struct kvf_list spills;
	uint64_t spill_serial;
	struct kvf_bucket spill_rate, prefetch_rate;
	struct kvf_list rate_waiters; /* kvf_job.level_link: prefetches that wait for their rate */
	struct kvf_list sums; /* kvf_sum.link */
	struct kvf_checksum *summer;
	struct {
		struct kvf_sum sum;
		uint32_t entry; /* pinned while its sum is linked */
		uint32_t cursor;
		uint64_t next_ns; /* idle scrubbing: not before */
	} scrubber;
	uint64_t n_requests;

	/* operations */
	struct kvf_slab jobs;
	uint32_t n_jobs; /* posted tails included */
	uint64_t op_serial;
	struct kvf_list flushes;
	bool shutting;
	enum kvf_shutdown_mode shutdown_mode;
	uint64_t shutdown_at_ns;
	uint32_t flush_cursor;
	bool flush_walk;

	struct kvf_event_ring events;
	struct kvf_stats stats;
	struct kvf_hist *op_hist[KVF_OP_CLEAR + 1]; /* how long operations took, by enum kvf_op_code */
	struct kvf_log_limit corrupt_limit, drop_limit;
	struct kvf_log_limit request_limit; /* of the lines of job_log.c */
};

/* ---- errors and invariants ---- */

/* Writes the text behind kvf_error_detail(); returns status, so that a check is one line. */
int kvf_refuse(struct kvf_engine *e, int status, const char *fmt, ...) KVF_PRINTF(3, 4);
/* A broken invariant: the engine is dead from here on, operations end with KVF_EINTERNAL. */
void kvf_die(struct kvf_engine *e, const char *file, int line, const char *what);
#define KVF_CHECK(e, cond)                                                                         \
	do {                                                                                       \
		if (kvf_unlikely(!(cond)))                                                         \
			kvf_die((e), __FILE__, __LINE__, #cond);                                   \
	} while (0)

/* ---- ring.c, events.c ---- */

int kvf_ring_init(struct kvf_engine *e, uint32_t cap);
void kvf_ring_fini(struct kvf_engine *e);
bool kvf_ring_reserve(struct kvf_engine *e, uint32_t places);
void kvf_ring_unreserve(struct kvf_engine *e, uint32_t places);
/* Uses one reserved place. */
void kvf_ring_post(struct kvf_engine *e, const struct kvf_completion *c);
/* Writes over the job's unread progress entry, or uses its reserved place. */
void kvf_ring_progress(struct kvf_engine *e, struct kvf_job *job, const struct kvf_completion *c);
unsigned kvf_ring_reap(struct kvf_engine *e, struct kvf_completion *out, unsigned max);

int kvf_events_init(struct kvf_engine *e, uint32_t cap);
void kvf_events_fini(struct kvf_engine *e);
int kvf_events_read(struct kvf_engine *e, struct kvf_event *out, unsigned max, uint64_t *lost);
int kvf_events_snapshot(struct kvf_engine *e, uint64_t *cursor, struct kvf_event *out, unsigned max);
void kvf_event_chunk(struct kvf_engine *e, enum kvf_event_kind kind, uint32_t entry);
void kvf_event_tier(struct kvf_engine *e, const struct kvf_tier *tier, bool up);

/* ---- slots.c ---- */

/* A slot for the job's class now, free or by eviction; counted against its cap (store) or its tier's (load). KVF_NIL:
 * none, or somebody waits before it. */
uint32_t kvf_slot_take(struct kvf_engine *e, struct kvf_job *job, struct kvf_tier *tier);
/* The job's tenant holds all it may, and all of that is in use: waiting is for others. */
bool kvf_slot_hopeless(struct kvf_engine *e, const struct kvf_job *job);
/* Gives back what take or a grant handed out, before an entry owns it. */
void kvf_slot_untake(struct kvf_engine *e, uint32_t slot, struct kvf_tier *tier);
/* Waits for one: the job becomes ready with job->granted set. */
void kvf_slot_want(struct kvf_engine *e, struct kvf_job *job, struct kvf_tier *tier);
void kvf_slot_unwant(struct kvf_engine *e, struct kvf_job *job);
void kvf_slots_serve(struct kvf_engine *e);
void kvf_slots_caps(struct kvf_engine *e);
void kvf_entry_pin(struct kvf_engine *e, uint32_t entry);
void kvf_entry_unpin(struct kvf_engine *e, uint32_t entry);
void kvf_entry_lease(struct kvf_engine *e, uint32_t entry);
void kvf_entry_unlease(struct kvf_engine *e, uint32_t entry);
/* Out of the index now, out of memory when its last user lets go. */
void kvf_entry_drop(struct kvf_engine *e, uint32_t entry, enum kvf_event_kind kind);
/* Header of the entry's slot, as a struct. */
void kvf_entry_record(struct kvf_engine *e, uint32_t entry, struct kvf_record *rec);
/* After a pin, lease or spill went: free it, evict it (staging), or let the policy have it again. */
void kvf_entry_settle(struct kvf_engine *e, uint32_t entry);
/* Sends everything evictable out of retiring slices, a few a turn. */
void kvf_slots_retire(struct kvf_engine *e);

/* ---- tenant.c ---- */

int kvf_tenants_init(struct kvf_engine *e, enum kvf_policy policy);
void kvf_tenants_fini(struct kvf_engine *e);
/* The eviction order the entry is in. */
struct kvf_evict *kvf_evict_of(struct kvf_engine *e, uint32_t entry);
uint32_t kvf_tenant_find(const struct kvf_engine *e, uint32_t salt_hash);
void kvf_tenant_touch(struct kvf_engine *e, const uint32_t *path, uint32_t n);
/* Whose chunk goes to make room for `tenant`; KVF_NIL: nobody's can. */
uint32_t kvf_tenant_victim(struct kvf_engine *e, uint32_t tenant);
/* It holds all it may: it can only replace its own. */
bool kvf_tenant_full(const struct kvf_engine *e, uint32_t tenant);
int kvf_tenant_set(struct kvf_engine *e, uint32_t salt_hash, uint32_t min, uint32_t max);

/* ---- load.c ---- */

/* New FILLING entry with `slot`, filled by the caller's gather. KVF_NIL: no memory (the slot is given back). */
uint32_t kvf_fill_begin(struct kvf_engine *e, struct kvf_job *job, uint32_t chunk, uint32_t slot);
/* The same, filled by a get from `tier`. */
uint32_t kvf_load_begin(struct kvf_engine *e, struct kvf_job *job, uint32_t chunk, struct kvf_tier *tier,
			uint32_t slot);
/* Joins the fill of a FILLING entry. */
void kvf_fill_join(struct kvf_engine *e, struct kvf_move *move, uint32_t entry);
/* Leaves; the last one to leave a load cancels it. */
void kvf_fill_leave(struct kvf_engine *e, struct kvf_move *move);
/* The bytes are there and good. */
void kvf_fill_publish(struct kvf_engine *e, struct kvf_fill *fill);
/* They are not: waiters fail, the entry goes. */
void kvf_fill_fail(struct kvf_engine *e, struct kvf_fill *fill, enum kvf_reason reason, int status);
void kvf_load_done(struct kvf_engine *e, struct kvf_fill *fill);
void kvf_fill_summed(struct kvf_engine *e, struct kvf_fill *fill, uint64_t sum);
struct kvf_fill *kvf_fill_of(struct kvf_engine *e, uint32_t entry);

/* ---- spill.c ---- */

/* Queues the entry for every tier in `mask` (tier numbers) that lacks it. */
void kvf_spill_queue(struct kvf_engine *e, uint32_t entry, uint32_t mask);
struct kvf_spill *kvf_spill_of(struct kvf_engine *e, uint32_t entry);
/* Withdraws what is not in flight: the chunk is being evicted or removed. */
void kvf_spill_drop(struct kvf_engine *e, uint32_t entry);
void kvf_spill_pump(struct kvf_engine *e, struct kvf_tier *tier);
void kvf_spill_done(struct kvf_engine *e, struct kvf_put *put);
void kvf_spill_late(struct kvf_engine *e, struct kvf_put *put);
/* The put could not even be sent. */
void kvf_spill_refused(struct kvf_engine *e, struct kvf_spill *spill, uint8_t tier);
/* Registers wait for the legs in wait->tiers. False: the chunk has no such leg. */
bool kvf_spill_await(struct kvf_engine *e, uint32_t entry, struct kvf_level_wait *wait);
void kvf_spill_summed(struct kvf_engine *e, struct kvf_spill *spill, uint64_t sum);
/* Drops everything queued for a tier (its breaker opened, shutdown). */
void kvf_spill_drop_all(struct kvf_engine *e, struct kvf_tier *tier);
/* One slice of checksum work. Returns true while there is more. */
bool kvf_sums_step(struct kvf_engine *e, uint64_t budget);

/* ---- scrub.c ---- */

/* kvf_scrub always: is the move's checksum to be looked at first? Then it is SUMMING until that is done. */
bool kvf_scrub_move(struct kvf_engine *e, struct kvf_move *move);
void kvf_scrub_move_summed(struct kvf_engine *e, struct kvf_move *move, uint64_t sum);
/* kvf_scrub idle: looks at one resident chunk after another, while the engine has nothing else to sum. */
void kvf_scrub_turn(struct kvf_engine *e);
void kvf_scrub_summed(struct kvf_engine *e, uint64_t sum);
uint64_t kvf_scrub_deadline(const struct kvf_engine *e);

/* ---- tiers.c ---- */

int kvf_tier_add(struct kvf_engine *e, const struct kvf_tier_ops *ops, void *self, uint32_t bit,
		 const struct kvf_open_params *params);
void kvf_tiers_close(struct kvf_engine *e);
/* Collects completions, sends what waits, gives the tiers their time. Returns true while there is more to do at once.
 */
bool kvf_tiers_turn(struct kvf_engine *e);
uint64_t kvf_tiers_deadline(const struct kvf_engine *e);
/* Would a request be sent now? Switched on, and its breaker closed or due for a probe. */
bool kvf_tier_usable(const struct kvf_engine *e, const struct kvf_tier *tier);
void kvf_tier_result(struct kvf_engine *e, struct kvf_tier *tier, int status);
void kvf_req_fill_common(struct kvf_engine *e, struct kvf_tier_req *req, const struct kvf_job *job, uint32_t chunk);
void kvf_ask_free(struct kvf_engine *e, struct kvf_ask *ask);

/* ---- remote.c ---- */

/* Opens the tier that remote_url names. */
int kvf_remote_open(struct kvf_engine *e, const struct kvf_open_params *p, const struct kvf_config *config);

/* ---- wire.c ---- */

struct kvf_settings;

/* A tier asks for LMCache's names: settles how they are made. KVF_OK, KVF_EINVAL, KVF_ENOTSUP. */
int kvf_wire_begin(struct kvf_engine *e, const struct kvf_open_params *p, const struct kvf_settings *s);
void kvf_wire_snapshot(struct kvf_job *job, const struct kvf_seq *seq);
/* Packed hash of a chunk; NULL: LMCache has no name for it. */
const uint8_t *kvf_job_wire(const struct kvf_job *job, uint32_t chunk);
/* Hash and suffix; the suffix is the job's. */
void kvf_wire_fill(struct kvf_engine *e, struct kvf_tier_req *req, const struct kvf_job *job, uint32_t chunk);
int kvf_wire_host_name(struct kvf_tier_host *host, const struct kvf_tier_req *req, char *buf, size_t cap);
int kvf_wire_host_meta(struct kvf_tier_host *host, uint32_t n_tokens, uint8_t *buf, size_t cap);
int kvf_wire_host_payload(struct kvf_tier_host *host, uint32_t n_tokens, const uint8_t *meta, size_t n,
			  uint32_t *payload_bytes);

/* ---- device.c ---- */

int kvf_device_open(struct kvf_engine *e, const struct kvf_open_params *params, const struct kvf_settings *s);
void kvf_device_close(struct kvf_engine *e);
/* A copy the device never got. */
void kvf_device_withdraw(struct kvf_engine *e, struct kvf_move *move);
/* Begins the move's copy; when the device is full the move waits in engine->copy_wait. */
void kvf_device_copy(struct kvf_engine *e, struct kvf_move *move);
/* Lets the device work and takes in what it completed. True while there is more to do at once. */
bool kvf_device_turn(struct kvf_engine *e);
int kvf_device_capture(struct kvf_engine *e, const struct kvf_fence_in *in, struct kvf_fence *out);
void kvf_device_release(struct kvf_engine *e, struct kvf_fence *fence);

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
/* Removes chunks [first_chunk, end_chunk) from every tier asked for: AGAIN when all answered. */
enum kvf_step_result kvf_plan_remove(struct kvf_engine *e, struct kvf_job *job);
void kvf_plan_stop(struct kvf_engine *e, struct kvf_job *job);
/* Sets status and reason of a job that must reach every tier and could not. */
void kvf_plan_failure(struct kvf_job *job);
void kvf_plan_answer(struct kvf_engine *e, struct kvf_ask *ask);
/* Next tier that may have the chunk, from `from` on; NULL: none. */
struct kvf_tier *kvf_plan_source(struct kvf_engine *e, struct kvf_job *job, uint32_t chunk);

/* ---- lease.c ---- */

struct kvf_lease *kvf_lease_new(struct kvf_engine *e, uint32_t first_chunk, uint32_t n);
/* False: the cap is reached. */
bool kvf_lease_add(struct kvf_engine *e, struct kvf_lease *lease, uint32_t chunk, uint32_t entry);
/* No more adding: starts its clock, or frees it when it holds nothing. Returns its id or 0. */
uint64_t kvf_lease_seal(struct kvf_engine *e, struct kvf_lease *lease, uint64_t lease_ns);
void kvf_lease_trim(struct kvf_engine *e, struct kvf_lease *lease, uint32_t from_chunk, uint32_t to_chunk);
void kvf_lease_end(struct kvf_engine *e, struct kvf_lease *lease);
struct kvf_lease *kvf_lease_find(struct kvf_engine *e, uint64_t id);
/* Frees what is left of them with the engine. */
void kvf_leases_fini(struct kvf_engine *e);

/* ---- job.c ---- */

/* Is a spill up to `seq` still queued or in flight? */
bool kvf_spills_before(const struct kvf_engine *e, uint64_t seq);

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
const uint8_t *kvf_job_parent_key(const struct kvf_job *job, uint32_t chunk);
uint32_t kvf_job_chunk_tokens(const struct kvf_engine *e, const struct kvf_job *job, uint32_t chunk);
/* Tokens of the span that chunks [first_chunk, first_chunk + n) cover. */
uint64_t kvf_job_span_tokens(const struct kvf_engine *e, const struct kvf_job *job, uint32_t n);
/* Touches the path [0, end) of the job's sequence, a slice a call: true when all of it was. */
bool kvf_job_touch(struct kvf_engine *e, struct kvf_job *job, uint32_t end);
const char *kvf_job_state_name(const struct kvf_job *job);

/* ---- job_log.c ---- */

/* LMCache's lines about requests, at info level. Begin: of an operation that was accepted; end: of its completion. */
void kvf_job_log_begin(struct kvf_engine *e, const struct kvf_job *job);
void kvf_job_log_end(struct kvf_engine *e, const struct kvf_job *job, const struct kvf_completion *c);

/* ---- metrics.c ---- */

int kvf_metrics_init(struct kvf_engine *e);
void kvf_metrics_fini(struct kvf_engine *e);
/* Of a tier that was just added. */
int kvf_metrics_tier(struct kvf_engine *e, struct kvf_tier *tier);
void kvf_metrics_job(struct kvf_engine *e, const struct kvf_job *job);
void kvf_metrics_request(struct kvf_engine *e, struct kvf_tier *tier, struct kvf_tier_req *req);
/* As kvf_metrics_text(). */
int kvf_metrics_write(struct kvf_engine *e, char *buf, size_t size);

/* ---- store_rules.c ---- */

void kvf_store_rules_init(struct kvf_engine *e, const struct kvf_open_params *p, const struct kvf_settings *s);
/* Is nothing of this store to be kept? */
bool kvf_store_refused(const struct kvf_engine *e, const struct kvf_op *op);
/* Tokens of the sequence that may be stored and reported as usable: all but skip_last_n_tokens. */
uint64_t kvf_store_bound(const struct kvf_engine *e, uint64_t seq_tokens);

/* ---- rate.c ---- */

/* Takes n bytes if the bucket allows it now (it may go into debt by one chunk). */
bool kvf_bucket_take(struct kvf_bucket *bucket, uint64_t now_ns, uint64_t n);
/* When it will allow the next one. */
uint64_t kvf_bucket_ready_ns(const struct kvf_bucket *bucket, uint64_t now_ns);

/* ---- turn.c, shutdown.c, verify.c ---- */

void kvf_turn(struct kvf_engine *e);
/* Names the timeline's rows. */
void kvf_timeline_begin(struct kvf_engine *e);
/* Nothing that a turn could do. */
bool kvf_engine_quiet(const struct kvf_engine *e);
/* When the next turn is due: 0 = now. */
uint64_t kvf_engine_deadline(const struct kvf_engine *e);
int kvf_shutdown_begin(struct kvf_engine *e, enum kvf_shutdown_mode mode, uint64_t deadline_ns);
void kvf_shutdown_turn(struct kvf_engine *e);
bool kvf_engine_in_flight(const struct kvf_engine *e);
int kvf_engine_verify(struct kvf_engine *e);
void kvf_engine_free(struct kvf_engine *e);
void kvf_stats_fill(const struct kvf_engine *e, struct kvf_stats *stats);
uint32_t kvf_health_bits(const struct kvf_engine *e);
/* Immediate: chunks of the sequence's prefix in RAM, by its memo. */
uint32_t kvf_seq_resident_chunks(struct kvf_engine *e, struct kvf_seq *seq);

#endif
