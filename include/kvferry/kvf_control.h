/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking into an engine and operating it while it runs. Part of kvferry.h, which includes this.
 * Every call here belongs to the owner's thread like all others and has their guards. Those that operate the engine
 * (kvf_set_frozen() and what follows it) return KVF_EDEAD on a dead one, and KVF_OK where nothing else is said.
 */
#ifndef KVFERRY_KVF_CONTROL_H
#define KVFERRY_KVF_CONTROL_H

#include "kvferry/kvferry.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------------------------------------------------
 * Looking inside
 */

enum kvf_event_kind { KVF_EVENT_STORED = 1, KVF_EVENT_EVICTED = 2, KVF_EVENT_REMOVED = 3, KVF_EVENT_TIER = 4 };

/* What routers and KV-aware schedulers want to know. */
struct kvf_event {
	uint64_t seq; /* consecutive; a gap = the ring overflowed: take a snapshot */
	uint8_t kind; /* enum kvf_event_kind */
	uint8_t tier; /* one of enum kvf_tier_bits */
	uint8_t up;   /* KVF_EVENT_TIER: 1 back, 0 broken */
	uint8_t reserved0;
	uint32_t n_tokens;
	uint8_t key[KVF_KEY_BYTES];
	uint8_t parent[KVF_KEY_BYTES];
};

/* Reads up to max events. Returns how many. *lost (may be NULL): events overwritten since the last call. Or
 * KVF_ENOTSUP (KVF_OPEN_NO_EVENTS), KVF_EINVAL and the guards. */
KVF_API int kvf_events(struct kvf_engine *engine, struct kvf_event *out, unsigned max, uint64_t *lost);

/* Walks the chunks in RAM: *cursor starts at 0, returns how many were written, 0 at the end. Or KVF_EINVAL and the
 * guards. */
KVF_API int kvf_snapshot(struct kvf_engine *engine, uint64_t *cursor, struct kvf_event *out, unsigned max);

struct kvf_tier_stats {
	char name[16];
	uint32_t bit;	   /* enum kvf_tier_bits */
	uint32_t breaker;  /* 0 closed (healthy), 1 open, 2 probing */
	uint64_t gets, get_bytes, get_misses, puts, put_bytes, removes, errors, timeouts, corrupt, orphaned,
		breaker_opens;
	uint64_t in_flight;
	uint64_t queued_spills, dropped_spills;
	uint64_t stale;	     /* gets that found another chunk's bytes under the name, or damaged ones: removed there */
	uint64_t unverified; /* gets that came with nothing to check them against */
};

/* The disk tier of the configuration; all zeros without one. */
struct kvf_stats_disk {
	char aio[16];	   /* its way to the kernel: io_uring, libaio or sync */
	uint64_t direct;   /* 1: past the page cache (O_DIRECT) */
	uint64_t scanning; /* 1: still reads the headers of what it holds */
	uint64_t depth, depth_bytes; /* kvf_disk_depth, kvf_disk_depth_size: bounds of the next two */
	uint64_t in_kernel, in_kernel_bytes; /* transfers under way now */
	uint64_t bytes, foreign_bytes, max_bytes; /* ours, other identities', the bound of both */
	uint64_t slots, slots_live, slots_free, slots_bad; /* bad: their header cannot be overwritten */
	uint64_t evictions, reclaimed_files;
	uint64_t recovered, damaged; /* headers that recovery found */
	uint64_t transfers, syscalls;
};

struct kvf_stats {
	size_t size;
	/* pool */
	uint64_t slot_bytes, payload_bytes, slots, slots_ready, slots_free, slots_resident, slots_peak_resident;
	uint64_t slots_quarantined, slots_leased, slots_loading, slots_copying, slots_spilling;
	uint64_t evictions, evictions_forced;
	/* operations */
	uint64_t submitted[16], completed[16], failed[16]; /* by enum kvf_op_code */
	uint64_t in_flight;
	uint64_t canceled, timed_out;
	uint64_t lookups_without_hit;
	uint64_t computed_tokens;  /* of lookups: what the host's own prefix cache held */
	uint64_t requested_tokens; /* of retrieves */
	uint64_t lookup_tokens, hit_tokens, retrieved_tokens, retrieved_bytes, stored_chunks, stored_tokens,
		stored_bytes;
	uint64_t skipped_chunks;   /* stores of chunks that were there already */
	uint64_t dropped_chunks;   /* of stores that ended early: no room, no time, no memory */
	uint64_t shared_transfers; /* single flight: transfers somebody else had begun */
	uint64_t corrupt_chunks;
	uint64_t prefetch_chunks, prefetch_used, prefetch_wasted;
	uint64_t leases, leases_expired;
	uint64_t device_copies, device_bytes; /* contiguous copies the device was asked for */
	/* engine */
	uint64_t turns, job_steps, state_changes;
	uint64_t host_allocs, bytes_held; /* the engine's own memory beside its pool */
	uint64_t events_lost;
	uint64_t timers;
	uint32_t n_tiers;
	uint32_t dead; /* 1: a broken invariant was found */
	struct kvf_tier_stats tiers[KVF_MAX_TIERS];
	struct kvf_stats_disk disk;
	/* of a CUDA device, else 0 */
	uint64_t device_ways[4]; /* copies of chunks by the way they went: 1 memcpy, 2 batch, 3 kernel (see kvf_copy) */
	uint64_t device_calls;	 /* of the runtime that put work into a stream */
	uint64_t device_refused; /* copies refused since their memory was not page-locked: never to be seen */
};

/* Fills *stats up to stats->size. KVF_OK, KVF_EINVAL (size). Any thread may not: the guards apply. */
KVF_API int kvf_get_stats(const struct kvf_engine *engine, struct kvf_stats *stats);

/*
 * Writes the metrics as a page in Prometheus's text format (version 0.0.4): LMCache's names where the meaning is the
 * same, kvferry_* elsewhere; docs/runbook.md says what to do with them. Like snprintf(): at most size bytes with the
 * NUL, returns the length of the whole page, which may be more (buf may be NULL with size 0). It grows by a few bytes
 * as numbers do. Or KVF_EINVAL and the guards.
 */
KVF_API int kvf_metrics_text(struct kvf_engine *engine, char *buf, size_t size);

/* Walks every structure of the engine and checks its invariants: O(everything), for tests and soak rigs. KVF_OK, or
 * KVF_EINTERNAL with the first broken one in kvf_error_detail(). */
KVF_API int kvf_verify(struct kvf_engine *engine);

/* Writes everything that happened, as Chrome/Perfetto trace events, to a callback: one line of JSON a call. NULL stops.
 * The callback must not call into the engine. */
KVF_API int kvf_set_timeline(struct kvf_engine *engine, void (*write)(const char *json, size_t n, void *user),
			     void *user);

/* ------------------------------------------------------------------------------------------------------------------
 * Operating
 */

/* 1: no stores (they end at once with 0 tokens, KVF_REASON_POLICY) and only hits in RAM, as LMCache's freeze. 0:
 * normal. */
KVF_API int kvf_set_frozen(struct kvf_engine *engine, int on);

/* local_cpu while running. 0: the pool is staging only; what is cached goes, a slice a turn. 1: it caches again. */
KVF_API int kvf_set_hot_cache(struct kvf_engine *engine, int on);

/* Switches every tier of `tiers` (enum kvf_tier_bits without RAM) off or on. Off: nothing new is sent, its queued
 * spills are dropped, a slice a turn, what it has taken ends. KVF_OK, KVF_ENOENT (no such tier). */
KVF_API int kvf_set_tier(struct kvf_engine *engine, uint32_t tiers, int on);

/* KVF_OK, KVF_EINVAL. */
KVF_API int kvf_set_log_level(struct kvf_engine *engine, enum kvf_log_level level);

/* Pool size in bytes (headers included), reached in the background. KVF_OK; KVF_ERANGE: fewer than 8 slots, or fewer
 * than the guaranteed minimums; KVF_ENOMEM: the machine has not got that much. */
KVF_API int kvf_set_pool_bytes(struct kvf_engine *engine, uint64_t bytes);

/*
 * Guaranteed minimum and bound, in bytes of the pool, of what sequences with this salt keep in RAM. max_bytes 0 = no
 * bound. Applies to chunks stored from now on; both 0 takes the quota away. At most 63 salts have one. Those of the
 * configuration, kvf_quota_min and kvf_quota_max, are there from the start. KVF_OK,
 * KVF_EINVAL, KVF_ERANGE (min over max, or all minimums over half of the pool), KVF_EQUOTA (64 salts), KVF_ENOMEM.
 */
KVF_API int kvf_set_quota(struct kvf_engine *engine, const char *salt, uint64_t min_bytes, uint64_t max_bytes);

/* Bounds on bytes per second, 0 = none: of spills, and of chunks brought up by prefetches. At first those of the
 * configuration: kvf_spill_rate, kvf_prefetch_rate. */
KVF_API int kvf_set_rates(struct kvf_engine *engine, uint64_t spill_bytes_per_s, uint64_t prefetch_bytes_per_s);

/* 0: all is well; else bits of what is not. */
enum kvf_health_bits {
	KVF_HEALTH_DEAD = 1u << 0,	  /* the engine stopped: close it */
	KVF_HEALTH_DEVICE_LOST = 1u << 1,
	KVF_HEALTH_TIER_DOWN = 1u << 2,	  /* a breaker is open: see kvf_stats.tiers */
	KVF_HEALTH_POOL_SHORT = 1u << 3,  /* the pool could not grow to its size */
	KVF_HEALTH_QUARANTINE = 1u << 4,  /* slots wait for a tier that hangs */
	/* No fault: the disk tier still reads what it holds, until then lookups miss some of it. */
	KVF_HEALTH_SCANNING = 1u << 5
};
/* Also of a dead engine. KVF_OK and the guards. */
KVF_API int kvf_health(const struct kvf_engine *engine, uint32_t *bits);

#ifdef __cplusplus
}
#endif
#endif
