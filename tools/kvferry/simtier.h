/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulated tier: chunks in memory behind struct kvf_tier_ops, on the engine's clock, with faults
 * drawn from a seed.
 *
 * Requests are carried out when they complete, not when they are accepted: a put reads its slot and
 * a get writes it at the last moment, so that a slot that was reused too early really is damaged. A
 * hook can watch which memory the tier holds. Used by `kvferry soak`, the simulator and the sweeps.
 */
#ifndef KVFERRY_SIMTIER_H
#define KVFERRY_SIMTIER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kvferry/kvf_tier.h"
#include "workload/rng.h"

#define SIM_PPM 1000000u

/* Chances in millionths, of each request unless said otherwise. */
struct simtier_faults {
	uint32_t error; /* KVF_EIO; a get has written half of its slot then */
	uint32_t gone; /* get: KVF_ENOENT although exists said yes */
	uint32_t flip_payload; /* get: one bit of the payload is wrong */
	uint32_t flip_header; /* get: one bit of the header page is wrong (records only) */
	uint32_t other; /* get: another chunk's record */
	uint32_t cut; /* get: payload_bytes says less */
	uint32_t full; /* put: KVF_ENOSPC */
	uint32_t hang; /* completes after hang_ns, or after it was cancelled */
	uint32_t deaf; /* of those: cancel does not help */
	uint32_t late_ok; /* a cancelled one ends with its real result all the same */
	uint32_t partial; /* submit takes a part of what it is offered */
	uint32_t busy; /* submit takes nothing */
	uint32_t inside; /* completes inside submit */
	uint64_t latency_min_ns, latency_max_ns;
	uint64_t hang_ns; /* KVF_NO_DEADLINE: for ever */
};

/* Who watches: every function may be NULL. */
struct simtier_hooks {
	void *arg;
	void (*hold)(void *arg, const void *p, size_t n, bool write);
	void (*let_go)(void *arg, const void *p, size_t n, bool write);
	void (*wrong)(void *arg, const char *what); /* the engine broke a rule of the seam */
	bool (*fail_call)(void *arg); /* this request shall fail with KVF_EIO */
};

struct simtier_record {
	struct simtier_record *next;
	uint8_t key[KVF_KEY_BYTES];
	uint32_t n_tokens, payload_bytes;
	uint64_t checksum;
	uint8_t bytes[]; /* what of the header page is not zero, then the payload */
};

#define SIMTIER_BUCKETS 1024u
#define SIMTIER_HEADER 512u /* bytes of the header page that are kept: the record, a salt; the rest is zero */

struct simtier {
	/* filled in by the user */
	uint32_t caps; /* enum kvf_tier_caps */
	bool no_checksum; /* without KVF_TIER_RECORDS: returns none */
	uint32_t max_records; /* then puts get KVF_ENOSPC; 0: no bound */
	uint32_t max_in_flight; /* then submit takes no more; 0: no bound */
	uint64_t seed;
	const char *name;
	struct simtier_faults faults;
	struct simtier_hooks hooks;
	/* the tier's own */
	struct kvf_tier_ops ops;
	struct kvf_tier_host *host;
	struct wl_rng rng;
	struct kvf_tier_req *first, *last; /* in flight, in order of their time */
	uint64_t retry_ns; /* when it takes requests again */
	uint32_t in_flight;
	uint32_t n_records;
	struct simtier_record *bucket[SIMTIER_BUCKETS];
	uint64_t submits, requests, completions, moved_bytes, damaged;
};

/* Sets everything to zero and fills in ops; then set what you want and hand over {&tier->ops,
 * tier}. */
void simtier_init(struct simtier *tier, const char *name, uint32_t caps, uint64_t seed);
/* Frees the records: they survive close, as on a real tier. */
void simtier_fini(struct simtier *tier);
/* No more faults: latencies stay, what hangs completes soon. */
void simtier_calm(struct simtier *tier);
const struct simtier_record *simtier_find(
	const struct simtier *tier, const uint8_t key[KVF_KEY_BYTES]);
/* Is a put of this key under way? */
bool simtier_putting(const struct simtier *tier, const uint8_t key[KVF_KEY_BYTES]);
/* Is any remove under way? */
bool simtier_removing(const struct simtier *tier);

#endif
