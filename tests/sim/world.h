/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole world around one engine: virtual clock, simulated device and tiers, allocator, and a host
 * that keeps every rule of the API and checks every promise of it. The simulator drives it at
 * random, the sweeps by script.
 *
 * The host's KV is a function of (salt, token path, layer, plane, token), computed without the
 * engine's key code. The host garbles the blocks of a store at SOURCE_FREE and fills those of a
 * retrieve with a pattern before it submits, so that bytes read too late, written too early or
 * outside the span show.
 *
 *   world.c   opening, time, polling, closing      ops.c    submitting
 *   blocks.c  the host's KV memory and its oracle  judge.c  completions against the promises
 *   check.c   what holds at every turn             seqs.c   sequences with a plain model beside
 */
#ifndef KVF_TESTS_SIM_WORLD_H
#define KVF_TESTS_SIM_WORLD_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/compiler.h"
#include "kvferry/kvferry.h"
#include "simtier.h"
#include "tests/sim/simdev.h"
#include "tests/sim/simmem.h"
#include "tests/sim/tap.h"
#include "tests/sim/wdisk.h"
#include "tests/sim/wnet.h"

#define W_MAX_OPS 256u
#define W_MAX_SEQS 24u
#define W_MAX_TIERS 3u
#define W_MAX_GROUPS 2u
#define W_MAX_LAYERS 4u /* of a group */
#define W_MAX_TOKENS 1024u
#define W_MAX_BLOCKS 4096u /* of a group */
#define W_FENCES 256u
#define W_SALTS 3u
#define W_ROW 8u /* bytes of a token in a plane of a layer */
#define W_MAX_KEYS 8192u
#define W_MAX_HOLDS 4096u
#define W_LEASES 64u

struct world_group {
	uint32_t n_layers, planes, block_tokens;
};

struct world;

/*
 * A real device in place of the simulated one: where the host's KV lies, what the host's stream is. tap.h stands
 * between it and the engine and says what is in flight.
 */
struct world_backend {
	int (*open)(struct world *w, const struct kvf_device_ops **ops, void **self);
	void (*close)(struct world *w); /* after the engine; also where that never opened */
	/* KV of a group. Returns where the test sees it; *at: its address for the device. */
	uint8_t *(*memory)(struct world *w, uint32_t group, size_t n, uint8_t **at, int32_t *device);
	/* The host's stream signals w->fences[fence] in ns and then reaches what *in says. False: by a word, as
	 * always. */
	bool (*fence_in)(struct world *w, uint32_t fence, uint64_t ns, struct kvf_fence_in *in);
	void (*submitted)(struct world *w); /* what fence_in() gave is no more the engine's business */
	int (*fence_done)(struct world *w, const struct kvf_fence_out *out); /* 1: done, 0: not yet, -1: never */
	void (*time)(struct world *w); /* w->now_ns went on */
	void (*calm)(struct world *w);
};

struct world_options {
	uint64_t seed;
	uint32_t chunk_size;
	uint32_t n_groups;
	struct world_group group[W_MAX_GROUPS];
	uint32_t n_blocks; /* of each group */
	uint32_t n_slots, max_ops;
	bool local_cpu, save_unfull, no_events;
	const char *policy;
	uint32_t min_retrieve_tokens;
	uint32_t device_caps, device_max;
	struct simdev_faults device;
	uint32_t n_tiers;
	struct {
		uint32_t caps;
		bool no_checksum;
		uint32_t max_records, max_in_flight;
		struct simtier_faults faults;
	} tier[W_MAX_TIERS];
	struct wdisk_options disk;
	struct wnet_options net;
	uint32_t alloc_ppm; /* allocations that fail, once open */
	uint32_t verify_every; /* turns between two looks at everything; 0: never */
	bool trusting; /* no faults at all: what was stored must be found */
	bool below; /* trusting: once it reached a tier; else while nothing was evicted */
	/* Puts something between engine and tier; NULL: nothing. */
	void (*wrap)(void *arg, uint32_t t, struct kvf_custom_tier *tier);
	void *wrap_arg;
	bool real_time; /* CLOCK_MONOTONIC instead of the virtual clock */
	bool host_device; /* the library's own host device instead of the simulated one */
	const struct world_backend *backend; /* NULL: the simulated device */
	void *backend_arg;
};

struct world_seq {
	struct kvf_seq *seq; /* NULL: free */
	uint32_t salt;
	uint32_t n;
	uint32_t token[W_MAX_TOKENS];
	uint64_t path[W_MAX_TOKENS]; /* [i]: hash of salt and tokens [0, i] */
};

/* A thing the host's stream does at a time: KV of a store gets written, that of a retrieve may be
 * overwritten. */
struct world_fence {
	volatile uint64_t word;
	uint64_t at_ns;
	bool armed;
	bool streamed; /* the backend's stream signals it, not the clock */
	uint32_t op; /* index, or UINT32_MAX: nobody cares any more */
	uint32_t layer; /* UINT32_MAX: all */
};

enum { W_LAYERS = W_MAX_GROUPS * W_MAX_LAYERS };

struct world_op {
	bool live;
	uint64_t id, serial, submitted_ns, deadline_ns;
	struct kvf_op op;
	uint32_t salt;
	uint32_t first, n; /* the span */
	uint32_t seq_tokens;
	uint64_t path[W_MAX_TOKENS];
	uint8_t (*keys)[KVF_KEY_BYTES]; /* of chunks [0, n_keys) of the sequence */
	uint32_t n_keys;
	/* blocks: ids of tokens [first_block * block_tokens, ...) */
	uint32_t *ids[W_MAX_GROUPS];
	uint32_t n_ids[W_MAX_GROUPS], first_block[W_MAX_GROUPS];
	uint64_t pattern; /* what the host put there before a retrieve */
	bool blocks_held, garbled;
	uint32_t fence; /* KVF_NIL: none */
	uint32_t layer_fence[W_LAYERS];
	uint32_t layers_given; /* bits */
	bool fence_open[W_LAYERS]; /* layerwise retrieve: fence known */
	struct kvf_fence_out out[W_LAYERS];
	uint32_t layer_good[W_LAYERS]; /* tokens that were right when the layer's fence was done */
	bool layer_seen[W_LAYERS];
	/* what came back */
	bool source_free, done, canceled,
		tail; /* tail: stream-ordered, DONE seen, fence not done */
	struct kvf_completion completion;
	uint32_t progress_tokens;
	uint64_t last_copy_end_ns;
	bool copy_failed; /* of a remove: something brought its chunks back meanwhile */
	bool raced; /* a remove of its chunks was under way when it began */
	uint32_t late_turns;
	/* promises */
	uint32_t promised; /* tokens a retrieve must deliver */
	uint64_t promise_until_ns, remove_epoch, lease_epoch;
};

struct world_hold {
	const uint8_t *p;
	size_t n;
	bool write;
};

/* A key that should be in RAM (events), was stored (trusting), or is leased. */
struct world_key {
	uint8_t key[KVF_KEY_BYTES];
	bool used, resident, promised, snapped;
	uint64_t leased_until_ns; /* 0: not */
};

struct world_lease {
	uint64_t id, until_ns;
	uint32_t n;
	uint8_t (*keys)[KVF_KEY_BYTES]; /* those known to be held */
};

struct world {
	struct world_options o;
	struct kvf_engine *engine;
	struct simmem mem;
	struct simdev dev; /* with a backend: only its hooks, errors and lost */
	struct tap tap;
	void *backend; /* its own */
	struct simtier tier[W_MAX_TIERS];
	struct wdisk *wdisk; /* tier 0 is this; NULL: it is tier[0]. May be set before the world is opened. */
	struct wnet *wnet; /* tier o.net.at is this; as above */
	uint64_t now_ns;
	struct kvf_clock clock;
	/* the host's KV */
	struct kvf_layout layout;
	struct kvf_group groups[W_MAX_GROUPS];
	struct kvf_layer layers[W_MAX_GROUPS][W_MAX_LAYERS];
	uint8_t *memory[W_MAX_GROUPS];
	size_t memory_bytes[W_MAX_GROUPS];
	uint32_t free_ids[W_MAX_GROUPS][W_MAX_BLOCKS], n_free_ids[W_MAX_GROUPS];
	uint32_t n_layers; /* through all groups */
	struct wl_rng rng; /* the host's own */
	struct world_seq seqs[W_MAX_SEQS];
	struct world_op ops[W_MAX_OPS];
	uint32_t n_live; /* without tails */
	uint32_t n_tails;
	uint64_t serial;
	struct world_fence fences[W_FENCES];
	uint32_t fence_at;
	uint32_t n_armed;
	struct world_hold holds[W_MAX_HOLDS];
	uint32_t n_holds;
	struct world_key *keys;
	uint32_t *used_keys, n_used_keys; /* their places */
	struct world_lease leases[W_LEASES];
	uint64_t remove_epoch, lease_epoch;
	bool events_broken; /* the ring overflowed: the model waits for a snapshot */
	uint64_t next_event;
	bool hurry; /* something is late: it may only wait to be reaped */
	bool shutting, shutdown_cancels, null_blocks;
	uint64_t fence_delay_ns; /* longest time until the host's stream gets there */
	FILE *trace; /* a line for each submit and completion; NULL: silent */
	/* results */
	bool failed;
	char why[512];
	uint64_t digest;
	uint64_t turns, completions, verified_tokens, verifies;
	uint64_t done_by_status[32];
	uint64_t turn_copies, turn_requests;
	/* sweeps: what fails */
	uint64_t device_calls, tier_calls, fail_device_at, fail_tier_at;
	bool fail_persistent;
	bool fault_hit; /* a backend's fault did happen */
	void (*on_turn)(struct world *w, void *arg); /* after every turn */
	void *on_turn_arg;
	struct kvf_stats last;
};

/* Fills in a small, quiet default: one tier with records, no faults. */
void world_defaults(struct world_options *o, uint64_t seed);
/* The world is big: calloc it. Returns kvf_engine_open()'s status; world_close() is due in any
 * case. */
int world_open(struct world *w, const struct world_options *o);
/* Shuts down where that was not done, checks that nothing leaked, frees everything. */
void world_close(struct world *w);
/* Notes the first thing that went wrong. */
void world_fail(struct world *w, const char *fmt, ...) KVF_PRINTF(2, 3);
void world_mix(struct world *w, uint64_t value); /* into the digest */

/* The host's stream reached the fence: the KV behind it is written, or may be overwritten. */
void world_signal(struct world *w, struct world_fence *f);
/* Copies that the device has of an operation; direction 0, 1, or -1 for both. */
uint32_t world_copies_of(const struct world *w, uint64_t op_id, int direction);
/* Time goes on; fences of the host that are due are signalled. */
void world_advance(struct world *w, uint64_t ns);
/* One kvf_poll with room for max completions, judged and checked. Returns how many came. */
int world_poll(struct world *w, unsigned max);
/* A host that sleeps as long as the engine allows: polls until everything of this world ended, or
 * until_ns. */
bool world_drain(struct world *w, uint64_t until_ns);
/* No more faults: device, tiers, allocator. Everything that hangs comes back soon. */
void world_calm(struct world *w);
int world_shutdown(struct world *w, enum kvf_shutdown_mode mode, uint64_t deadline_ns);
uint64_t world_now(const struct world *w);
/* When the host's next fence is signalled. */
uint64_t world_next_fence(const struct world *w);

/* Whichever kind of tier it is. */
bool world_tier_has(const struct world *w, uint32_t t, const uint8_t *key);
bool world_tier_putting(const struct world *w, uint32_t t, const uint8_t *key);
bool world_tier_removing(const struct world *w, uint32_t t);
/* Whether it has the key may differ from what anybody was told. */
bool world_tier_unsure(const struct world *w, uint32_t t, const uint8_t *key);

/* seqs.c: NULL or false: refused, or no room in the tables. */
struct world_seq *world_seq_new(struct world *w, uint32_t salt);
bool world_seq_append(struct world *w, struct world_seq *s, const uint32_t *tokens, uint32_t n);
struct world_seq *world_seq_fork(struct world *w, const struct world_seq *from);
bool world_seq_truncate(struct world *w, struct world_seq *s, uint32_t n);
void world_seq_close(struct world *w, struct world_seq *s);

/* ops.c */
struct world_ask {
	struct world_seq *seq;
	uint8_t code;
	uint8_t priority, level;
	uint32_t flags, tiers;
	uint32_t first, n;
	uint64_t deadline_ns; /* absolute; 0: default */
	uint64_t lease_ns, lease_id;
	uint32_t fence_kind; /* KVF_FENCE_NOW, _WORD, _EVENT, _LATER; 0: NOW */
	uint64_t fence_ns; /* when it will be signalled, from now */
	uint32_t null_ppm; /* retrieve: blocks that are null */
};
/* NULL: not accepted, *status says why (KVF_EAGAIN also where the host has no room). */
struct world_op *world_submit(struct world *w, const struct world_ask *ask, int *status);
/* Gives a layer to a layerwise store, with a fence. */
void world_give_layer(struct world *w, struct world_op *op, uint32_t layer, uint64_t fence_ns);
void world_cancel(struct world *w, struct world_op *op);
void world_op_free(struct world *w, struct world_op *op);
/* Looks at the fences of layerwise and stream-ordered retrieves. */
void world_look_at_fences(struct world *w);

/* blocks.c */
void blocks_init(struct world *w);
void blocks_fini(struct world *w);
bool blocks_take(struct world *w, struct world_op *op, uint32_t null_ppm);
void blocks_give(struct world *w, struct world_op *op);
uint64_t oracle_path(uint64_t parent, uint32_t token);
uint64_t oracle_root(uint32_t salt);
/* Writes the KV of the op's span (layer KVF_NIL: all). */
void blocks_write(struct world *w, const struct world_op *op, uint32_t layer);
/* Fills every row of the op's blocks with its pattern, or with garbage. */
void blocks_fill(struct world *w, const struct world_op *op, uint64_t pattern);
/* Tokens from the start of the span that hold the right KV in the layer (KVF_NIL: all). */
uint32_t blocks_right(const struct world *w, const struct world_op *op, uint32_t layer);
/* Every row outside the span (all: every row) still has the pattern. */
bool blocks_untouched(const struct world *w, const struct world_op *op, bool all);

/* judge.c */
void judge_completion(struct world *w, const struct kvf_completion *c);
void judge_tail(struct world *w, struct world_op *op);
struct world_op *world_op_find(struct world *w, uint64_t id);

/* check.c */
void check_turn(struct world *w);
void check_everything(struct world *w);
void check_hooks(struct world *w, struct simtier_hooks *hooks, bool device);
struct world_key *check_key(struct world *w, const uint8_t *key, bool make);
void check_lease_given(struct world *w, const struct world_op *op, const struct kvf_completion *c);
void check_lease_gone(struct world *w, uint64_t id);
void check_removed(struct world *w, const struct world_op *op);
/* Tokens from the start of the span that must be found: leased, or stored in a trusting world. */
uint32_t check_promise(struct world *w, const struct world_op *op, uint64_t *until_ns);

#endif
