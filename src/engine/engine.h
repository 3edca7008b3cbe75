/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's own structures and what its files offer each other; transfer.h and job.h are parts of it. Nothing
 * outside src/engine and src/api includes this.
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
#include "engine/job.h"
#include "engine/transfer.h"
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
/* What all jobs of a turn may do, in looks at the index: no further job runs behind it. The others' cost is measured in
 * these. */
#define KVF_TURN_LOOKS 16384u
#define KVF_LOOKS_ASK 8u
#define KVF_LOOKS_MOVE 32u
#define KVF_TURN_ASKS 2048u /* exists and remove requests a tier is handed in a turn */
#define KVF_FIND_BATCH 64u /* chunks looked up in the index at once */

#define KVF_MOVE_WINDOW 32u /* chunks of one operation in flight */
#define KVF_ASK_WINDOW 1024u /* exists requests of one operation in flight */
#define KVF_LAYERWISE_MAX 1024u /* chunks of a layerwise retrieve: all their moves are made in one step */
#define KVF_TIER_BATCH 64u
#define KVF_MAX_TENANTS 64u
#define KVF_DEVICE_POLL_NS 100000u /* how long a sleeping host may leave device work unseen */

struct kvf_disk;
struct kvf_cuda_device;
struct kvf_settings;

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
	uint32_t leased;   /* of them, with a lease */
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
	bool buried; /* dead, and its operations ended */
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
	uint32_t looks;		/* of the jobs of this turn, see KVF_TURN_LOOKS */
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
	uint32_t old_copying, old_leased; /* when the caps were last set: a smaller pool takes nothing back */
	uint32_t n_quarantined;
	uint32_t n_lost_slots; /* of them: a lost device may still write there */
	uint32_t retire_cursor, retire_left; /* shrinking: next entry to look at, in use ones seen this round */
	struct kvf_list want_store;
	uint32_t n_wants;
	uint64_t want_serial;
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
	uint32_t cap_spilling; /* puts begun, of all tiers together */
	uint32_t spill_turn;   /* number of the tier that goes first: a rate is for all of them */
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
/* The job's tenant holds all it may, and all of that is leased: nothing that ends by itself would make room. */
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
/* As many operations as may hold a chunk at once hold it: some room is left for its way down and for scrubbing. */
static inline bool kvf_entry_crowded(const struct kvf_engine *e, uint32_t entry)
{
	return kvf_index_entry(&e->index, entry)->pins >= UINT16_MAX - 64;
}
void kvf_entry_lease(struct kvf_engine *e, uint32_t entry);
void kvf_entry_unlease(struct kvf_engine *e, uint32_t entry);
/* Out of the index now, out of memory when its last user lets go. */
void kvf_entry_drop(struct kvf_engine *e, uint32_t entry, enum kvf_event_kind kind);
/* entry: KVF_NIL is none. */
static inline bool kvf_is_resident(const struct kvf_engine *e, uint32_t entry)
{
	return entry != KVF_NIL && kvf_index_entry(&e->index, entry)->state == KVF_ENTRY_RESIDENT;
}
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
/* kvf_set_quota() without its guards. */
int kvf_quota_set(struct kvf_engine *e, const char *salt, uint64_t min_bytes, uint64_t max_bytes);
/* Those of the configuration. */
int kvf_quotas_open(struct kvf_engine *e, const struct kvf_settings *s, struct kvf_report *report);

/* ---- device.c ---- */

/* Number of the first GPU that holds a layer; -1: all of it is in host memory, or there is no layout. */
int kvf_device_first(const struct kvf_layout *layout);
int kvf_device_open(struct kvf_engine *e, const struct kvf_open_params *params, const struct kvf_settings *s);
void kvf_device_close(struct kvf_engine *e);
/* New bases, or the old ones and why not. No copy is in flight. */
int kvf_device_rebind(struct kvf_engine *e, const struct kvf_layout *layout);
/* A copy the device never got. */
void kvf_device_withdraw(struct kvf_engine *e, struct kvf_move *move);
/* Begins the move's copy; when the device is full the move waits in engine->copy_wait. */
void kvf_device_copy(struct kvf_engine *e, struct kvf_move *move);
/* Lets the device work and takes in what it completed. True while there is more to do at once. */
bool kvf_device_turn(struct kvf_engine *e);
/* Of a dead engine: what the device completes is counted, and left. */
void kvf_device_turn_dead(struct kvf_engine *e);
int kvf_device_capture(struct kvf_engine *e, const struct kvf_fence_in *in, struct kvf_fence *out);
void kvf_device_release(struct kvf_engine *e, struct kvf_fence *fence);

/* ---- numa.c ---- */

/* Node for the pool; -1: no preference. */
int kvf_numa_node(const struct kvf_engine *e, const struct kvf_settings *s, struct kvf_report *report);
/* "gpu:node,gpu:node"; -1: it is not there. */
int kvf_numa_map_find(const char *map, int device);

/* ---- lease.c ---- */

struct kvf_lease *kvf_lease_new(struct kvf_engine *e, uint32_t first_chunk, uint32_t n);
/* False: the cap is reached. */
bool kvf_lease_add(struct kvf_engine *e, struct kvf_lease *lease, uint32_t chunk, uint32_t entry);
/* No more adding: starts its clock, or frees it when it holds nothing. Returns its id or 0. */
uint64_t kvf_lease_seal(struct kvf_engine *e, struct kvf_lease *lease, uint64_t lease_ns);
/* Gives chunks [from_chunk, to_chunk) back, and the lease with its last one. Returns their tokens. */
uint64_t kvf_lease_trim(struct kvf_engine *e, struct kvf_lease *lease, uint32_t from_chunk, uint32_t to_chunk);
void kvf_lease_end(struct kvf_engine *e, struct kvf_lease *lease);
struct kvf_lease *kvf_lease_find(struct kvf_engine *e, uint64_t id);
/* Frees what is left of them with the engine. */
void kvf_leases_fini(struct kvf_engine *e);

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
/* Bytes per second, 0: no bound. The clock has just been read. */
void kvf_rates_set(struct kvf_engine *e, uint64_t spill, uint64_t prefetch);

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
