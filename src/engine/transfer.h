/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunks on their way between RAM and the tiers: requests, loads, spills, checksums.
 *
 *   load.c    a tier's chunk comes up, single flight     tiers.c   requests, queues, breakers
 *   spill.c   a chunk goes down                          remote.c  the tier that remote_url names
 *   scrub.c   resident chunks are looked at again        wire.c    LMCache's names for the tiers
 */
#ifndef KVF_ENGINE_TRANSFER_H
#define KVF_ENGINE_TRANSFER_H

#include <stdbool.h>

#include "base/heap.h"
#include "base/hist.h"
#include "base/list.h"
#include "base/log.h"
#include "kvferry/kvf_tier.h"
#include "kvferry/kvferry.h"
#include "tier/breaker.h"
#include "token/seq.h"

struct kvf_config;
struct kvf_engine;
struct kvf_job;
struct kvf_move;
struct kvf_open_params;
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
	/* Multiprocess names of before June 2026: no group. */
	size_t older_n;
	char older[768];
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
	struct kvf_list asked;			    /* kvf_ask, the tier has them, in the order they were sent */
	struct kvf_list gets[KVF_CLASSES];	    /* kvf_fill, to be sent */
	struct kvf_list puts;			    /* kvf_spill_leg, queued */
	struct kvf_list sealed;			    /* kvf_spill_leg, checksum known: to be sent */
	struct kvf_list putting;		    /* kvf_spill_leg, the tier has them, in the order they were sent */
	struct kvf_list wants[2];		    /* kvf_job waiting for a slot and a get: by class */
	uint32_t n_loads, cap_loads;		    /* slots granted to gets */
	uint32_t n_spills, cap_spills;		    /* puts begun */
	uint32_t old_loads, old_spills;		    /* when the caps were last set */
	uint32_t n_orphans;			    /* of both: requests nobody waits for any more */
	uint32_t in_flight;			    /* requests the tier holds */
	uint32_t owed[KVF_TIER_HISTS];		    /* of them, by enum kvf_tier_hist */
	uint64_t owed_ns[KVF_TIER_HISTS];	    /* since when it has said nothing about them */
	bool backlog;				    /* submit took less than it was offered */
	bool more;				    /* it wants to be called again at once */
	uint64_t looks;				    /* at requests that may have to be withdrawn: tests bound it */
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
	struct kvf_list link;	/* tier->asks until sent, then tier->asked */
	struct kvf_list of_job; /* job->asks */
	struct kvf_job *job;	/* NULL: the job left */
	uint64_t sent_ns;
	struct kvf_wire_suffix *suffix; /* of the request; NULL: none */
	uint32_t chunk;
	bool sent, withdrawn;
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
	uint64_t sent_ns;
	uint64_t expect; /* checksum the record carries */
	struct kvf_wire_suffix *suffix; /* of the request; NULL: none */
	uint32_t number;
	uint32_t entry;
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
	uint64_t sent_ns;
	uint8_t tier;
	bool orphan; /* too late: counted as failed, still in flight */
	bool removed; /* a remove was answered meanwhile: who came first is unknown */
	bool withdrawn;
};

struct kvf_spill_leg {
	struct kvf_list link; /* tier->puts, then tier->sealed, then tier->putting */
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
	bool all;	/* remove: needs every answer, whatever it is, and a late one too */
	struct kvf_list of_job; /* remove: job->waits */
};

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
/* Withdraws what is not in flight to the tiers in `mask` (tier numbers): the chunk is being evicted or removed. */
void kvf_spill_drop(struct kvf_engine *e, uint32_t entry, uint32_t mask);
void kvf_spill_pump(struct kvf_engine *e, struct kvf_tier *tier);
void kvf_spill_done(struct kvf_engine *e, struct kvf_put *put);
void kvf_spill_late(struct kvf_engine *e, struct kvf_put *put);
/* Everything is to be cancelled: asks a far tier to let go of what waits for it, of each request once. What has an end
 * of its own, local writes and removes, is left to it. */
void kvf_tier_withdraw(struct kvf_tier *tier);
/* The put could not even be sent. */
void kvf_spill_refused(struct kvf_engine *e, struct kvf_spill *spill, uint8_t tier);
/* Registers wait for the legs in wait->tiers. False: the chunk has no such leg. */
bool kvf_spill_await(struct kvf_engine *e, uint32_t entry, struct kvf_level_wait *wait);
void kvf_spill_summed(struct kvf_engine *e, struct kvf_spill *spill, uint64_t sum);
/* Must what is queued for the tier be dropped? It is switched off, by hand or by its breaker, or everything is to be
 * cancelled. */
bool kvf_spills_moot(const struct kvf_engine *e, const struct kvf_tier *tier);
/* Drops a slice of what is queued for a tier, the last ones first: each turn does the next. */
void kvf_spill_drop_some(struct kvf_engine *e, struct kvf_tier *tier);
/* All the puts begun that there may be. */
bool kvf_spills_full(const struct kvf_engine *e);
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
/* Collects completions, sends what waits, gives the tiers their time. Returns true while a tier has more to do at once;
 * what is queued for them makes kvf_tiers_deadline() 0. */
bool kvf_tiers_turn(struct kvf_engine *e);
/* Asks the tier to let go of a request that was sent, unless it has completed it already. */
void kvf_tier_cancel(struct kvf_tier *tier, struct kvf_tier_req *req);
uint64_t kvf_tiers_deadline(const struct kvf_engine *e);
/* The same of a dead engine: nothing is sent, and what comes back is counted and left. */
bool kvf_tiers_turn_dead(struct kvf_engine *e);
uint64_t kvf_tiers_deadline_dead(const struct kvf_engine *e);
/* Would a request be sent now? Switched on, and its breaker closed or due for a probe. */
bool kvf_tier_usable(const struct kvf_engine *e, const struct kvf_tier *tier);
void kvf_tier_result(struct kvf_engine *e, struct kvf_tier *tier, int status);
/* Somebody waited in vain for an answer to a request that was sent. */
void kvf_tier_late(struct kvf_engine *e, struct kvf_tier *tier, enum kvf_tier_hist kind);
void kvf_req_fill_common(struct kvf_engine *e, struct kvf_tier_req *req, const struct kvf_job *job, uint32_t chunk);
void kvf_ask_free(struct kvf_engine *e, struct kvf_ask *ask);

/* ---- remote.c ---- */

/* Opens the tier that remote_url names. */
int kvf_remote_open(struct kvf_engine *e, const struct kvf_open_params *p, const struct kvf_config *config);

/* ---- wire.c ---- */

/* A tier asks for LMCache's names: settles how they are made. KVF_OK, KVF_EINVAL, KVF_ENOTSUP. */
int kvf_wire_begin(struct kvf_engine *e, const struct kvf_open_params *p, const struct kvf_settings *s);
/* Can chunks of this layout be described at all? KVF_OK, or KVF_ENOTSUP, KVF_ERANGE and the report says why. */
int kvf_wire_check_meta(const struct kvf_engine *e, struct kvf_report *report);
void kvf_wire_snapshot(struct kvf_job *job, const struct kvf_seq *seq);
/* Packed hash of a chunk; NULL: LMCache has no name for it. */
const uint8_t *kvf_job_wire(const struct kvf_job *job, uint32_t chunk);
/* Hash and suffix; the suffix is the job's. */
void kvf_wire_fill(struct kvf_engine *e, struct kvf_tier_req *req, const struct kvf_job *job, uint32_t chunk);
int kvf_wire_host_name(struct kvf_tier_host *host, const struct kvf_tier_req *req, char *buf, size_t cap);
int kvf_wire_host_older(struct kvf_tier_host *host, const struct kvf_tier_req *req, char *buf, size_t cap);
int kvf_wire_host_meta(struct kvf_tier_host *host, uint32_t n_tokens, uint8_t *buf, size_t cap);
int kvf_wire_host_payload(struct kvf_tier_host *host, uint32_t n_tokens, const uint8_t *meta, size_t n,
			  uint32_t *payload_bytes);

#endif
