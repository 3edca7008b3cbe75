/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvferry: keeps LLM KV caches off the GPU and brings them back. This header is the reference of the library.
 *
 * THE ENGINE owns a pool of page-locked RAM in equal slots, one chunk (chunk_size tokens of KV, 256 by default) a slot,
 * and tiers below it (disk, remote). The host submits operations and calls kvf_poll(): everything happens inside calls
 * of the host, there is no thread of ours. No call blocks except kvf_engine_open() and kvf_engine_close().
 *
 * OPERATIONS. kvf_prep_*() fills a struct kvf_op, kvf_submit() takes it, kvf_poll() hands back its completion. An
 * accepted operation has exactly one final completion (kind KVF_DONE), whatever happens, at most one KVF_SOURCE_FREE
 * before it, and KVF_PROGRESS ones on request. The completion comes at the deadline or before, plus the time that work
 * which can still touch the host's memory needs to finish.
 *
 * PREFIX RULE. Lookup and retrieve speak of the longest contiguous prefix. A chunk that is missing, damaged or late is
 * a miss, never an error: it ends the prefix. Retrieve says how many tokens it delivered (kvf_completion.tokens);
 * the device blocks beyond them hold undefined bytes.
 *
 * ORDERING WITH COMPUTE. A store names a fence after which its blocks may be read, a retrieve one after which they may
 * be written. Both are mandatory: KVF_FENCE_NOW says "already true". Fences are captured inside kvf_submit(): the event
 * may be re-recorded or destroyed as soon as it returns. Blocks of a store may be changed from KVF_SOURCE_FREE on.
 *
 * THREADS. An engine belongs to the thread of the first call on it, or on a sequence of it, after kvf_engine_open();
 * kvf_get_stats(), kvf_health(), kvf_metrics_text() and those without guards (below) do not count. Any other thread
 * gets KVF_ETHREAD, a child process KVF_EFORK. Engines are independent of each other.
 *
 * THE GUARDS. Every call on an engine or a sequence that returns a status may also return KVF_ETHREAD, KVF_EFORK,
 * KVF_EREENTRY (from inside a callback of the same engine: allocator, log, timeline, device, tier) and KVF_EINVAL where
 * a pointer that it needs is NULL. Where one of these is returned, nothing happened. Without guards are
 * kvf_error_detail(), kvf_now_ns(), kvf_next_deadline_ns(), kvf_engine_idle() and kvf_seq_length(): they only read, and
 * are for the owner's thread all the same.
 *
 * A BROKEN INVARIANT makes the engine dead instead of wrong: the next kvf_poll() ends every operation with
 * KVF_EINTERNAL, calls that would begin anything return KVF_EDEAD, and what device and tiers hold comes back while the
 * host polls. Then it can be closed; memory that its operations held is not given back to the allocator.
 *
 * FORK. A host may fork at any time, also while transfers are in flight. The child gets KVF_EFORK from every call
 * with guards, kvf_engine_close() too; the pool and the other memory that disks write into is not mapped in it. Every
 * descriptor of ours is closed by exec. A child that goes on without exec keeps copies of them: deleted files of the
 * disk tier give their room back, and closed connections end, when it does. It does not keep the parent from closing
 * the engine and opening another; but where the parent is killed, the locks of local_disk stay with the child, and a
 * new engine gets KVF_EBUSY while that lives.
 *
 * POINTERS handed in are read during the call only, unless a comment says otherwise. Structures start with `size`
 * (set it to sizeof; the _init functions do) and may grow at their end; struct kvf_op and struct kvf_completion are
 * fixed for ever at 256 and 64 bytes.
 */
#ifndef KVFERRY_KVFERRY_H
#define KVFERRY_KVFERRY_H

#include <stddef.h>
#include <stdint.h>

#include "kvferry/kvf_config.h"
#include "kvferry/kvf_status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KVF_VERSION_MAJOR 0
#define KVF_VERSION_MINOR 1
#define KVF_VERSION_PATCH 0

/* "0.1.0" of the library that is running. */
KVF_API const char *kvf_version(void);

struct kvf_engine;
struct kvf_seq;
struct kvf_device_ops; /* kvf_device.h */
struct kvf_tier_ops;   /* kvf_tier.h */

#define KVF_KEY_BYTES 32
#define KVF_BLOCK_NULL UINT32_MAX /* a block id that is skipped: neither read nor written */
#define KVF_NO_DEADLINE UINT64_MAX
#define KVF_MAX_GROUPS 16
#define KVF_MAX_TIERS 4

/* ------------------------------------------------------------------------------------------------------------------
 * Host services
 */

/* The host's allocator. release gets the size that alloc was asked for. alloc may return NULL: the operation at hand
 * then fails with KVF_ENOMEM and the engine goes on. */
struct kvf_allocator {
	size_t size;
	void *(*alloc)(size_t n, void *user); /* aligned as malloc */
	void (*release)(void *p, size_t n, void *user);
	void *user;
};

/* A clock: nanoseconds that never go back. Default CLOCK_MONOTONIC. All deadlines are in its time. */
struct kvf_clock {
	size_t size;
	uint64_t (*now_ns)(void *user);
	void *user;
};

enum kvf_log_level { KVF_LOG_ERROR = 0, KVF_LOG_WARNING = 1, KVF_LOG_INFO = 2, KVF_LOG_DEBUG = 3 };

/* Log lines. scope is the module ("pool", "disk", ...), msg has no newline. Must not call into the engine. Never given
 * a token, a salt or a password. Default: warnings and errors to stderr. */
struct kvf_log_sink {
	size_t size;
	void (*write)(enum kvf_log_level level, const char *scope, const char *msg, void *user);
	void *user;
};

/* ------------------------------------------------------------------------------------------------------------------
 * Layout: where the host keeps its KV
 */

enum kvf_dtype {
	KVF_DTYPE_NONE = 0,
	KVF_FLOAT16,
	KVF_BFLOAT16,
	KVF_FLOAT32,
	KVF_FLOAT64,
	KVF_UINT8,
	KVF_INT8,
	KVF_FP8_E4M3,
	KVF_FP8_E5M2
};

/* Bytes of one element; 0 for KVF_DTYPE_NONE and unknown values. */
KVF_API size_t kvf_dtype_bytes(enum kvf_dtype dtype);

/* Order of a chunk's bytes in every tier. Part of the fingerprint: chunks of one order are never read as the other. */
enum kvf_payload_order {
	KVF_PAYLOAD_LMCACHE = 0, /* [group][plane][layer][token][head][element]: LMCache's KV_2LTD, default */
	KVF_PAYLOAD_PAGES = 1 /* [group][block][layer][plane], inside a page the device's own order: longest copies */
};

/* One layer's tensors. base[0] = K, base[1] = V; MLA (planes = 1) uses base[0] only. */
struct kvf_layer {
	void *base[2];
	int32_t device; /* ordinal of the device that holds it; -1 = host memory */
	int32_t reserved;
};

/*
 * A group of layers that share one geometry and one block table. Element (plane p, token t, head h, element e) of
 * layer l lies at   layers[l].base[p] + block*block_stride + (t mod block_tokens)*token_stride + h*head_stride +
 * e*elem where block = block table[t / block_tokens]. All strides are in bytes and > 0. head_elems elements are
 * contiguous. Worked examples for the layouts 0-10 of LMCache are in docs/layouts.md.
 */
struct kvf_group {
	size_t size;
	uint32_t n_layers;
	uint32_t planes;	    /* 2: K and V; 1: MLA latent */
	uint32_t heads;		    /* of this rank; 1 for MLA */
	uint32_t head_elems;	    /* head size */
	enum kvf_dtype dtype;
	uint32_t block_tokens;	    /* tokens per block, 1..65536; chunk_size must be a multiple or a divisor of it */
	uint32_t n_blocks;	    /* valid ids are 0..n_blocks-1 */
	uint64_t block_stride;
	uint64_t token_stride;
	uint64_t head_stride;
	const struct kvf_layer *layers; /* n_layers of them */
};

/* Kind 1 leaves everything to a custom device: at most opaque_chunk_bytes a full chunk, no blocks, no groups. */
enum kvf_layout_kind { KVF_LAYOUT_PAGED = 0, KVF_LAYOUT_OPAQUE = 1 };

struct kvf_layout {
	size_t size;
	enum kvf_layout_kind kind;
	enum kvf_payload_order payload_order;
	uint32_t n_groups; /* 1..KVF_MAX_GROUPS */
	const struct kvf_group *groups;
	uint64_t opaque_chunk_bytes;
	uint64_t opaque_fingerprint; /* whatever changes the meaning of the opaque bytes */
};

/* What the KV bytes depend on besides the tokens. It is the root of every chunk key: two engines whose identities
 * differ in anything never see each other's chunks. Strings may be NULL (= ""). */
struct kvf_identity {
	size_t size;
	const char *model;	 /* as the engine names it; LMCache's key strings carry it */
	const char *revision;	 /* weights revision or hash */
	uint32_t world_size;	 /* tensor-parallel ranks, >= 1 */
	uint32_t rank;		 /* 0..world_size-1 */
	uint64_t scale_fingerprint; /* RoPE, KV scales: whatever else changes the bytes */
	uint32_t first_rank_only; /* 1: MLA, rank 0 stores for all: world_size and rank leave the key */
	uint32_t reserved;
};

/* ------------------------------------------------------------------------------------------------------------------
 * Engine
 */

enum kvf_open_flags {
	KVF_OPEN_MIGRATING = 1u << 0,	/* the owner may change between calls, never during one (work-stealing hosts) */
	/* No device: lookup, prefetch, pin, remove (schedulers). Pass the workers' layout to get the workers' keys. */
	KVF_OPEN_LOOKUP_ONLY = 1u << 1,
	KVF_OPEN_NO_EVENTS = 1u << 2	/* no stored/evicted event ring */
};

/* A tier of the host's own (kvf_tier.h), below those the configuration names, in this order. */
struct kvf_custom_tier {
	const struct kvf_tier_ops *ops;
	void *self;
};

struct kvf_open_params {
	size_t size;
	const struct kvf_config *config; /* NULL: all defaults */
	struct kvf_identity identity;
	const struct kvf_layout *layout; /* NULL only with KVF_OPEN_LOOKUP_ONLY: then chunk_bytes says the slot size */
	uint64_t chunk_bytes;
	const struct kvf_device_ops *device; /* NULL: built-in, by the kvf_device key and the layout */
	void *device_self;
	const struct kvf_custom_tier *tiers;
	uint32_t n_tiers;
	uint32_t flags;			    /* enum kvf_open_flags */
	const struct kvf_allocator *allocator;
	const struct kvf_clock *clock;
	const struct kvf_log_sink *log;
	struct kvf_report *report; /* errors, warnings and notes of open; may be NULL */
};

/* Fills in the defaults: everything zero, size and the sub-sizes set, world_size 1. */
KVF_API void kvf_open_params_init(struct kvf_open_params *params);

/*
 * Opens an engine. May block: it maps and locks the first slice of the pool (all of it with kvf_pool_before_open) and
 * opens the tiers. The pool grows in the background, inside kvf_poll(). The layouts' arrays are copied.
 * KVF_OK, KVF_EINVAL, KVF_ERANGE, KVF_ECONFIG, KVF_ENOMEM (pool larger than cgroup, MemAvailable or hugetlb allow: the
 * report has the numbers), KVF_ENODEV, KVF_EDRIVER, KVF_ENOTSUP, KVF_EIO, KVF_EBUSY (disk directory in use), or what
 * open() of the host's own device or tier said. *out is set with KVF_OK only.
 */
KVF_API int kvf_engine_open(struct kvf_engine **out, const struct kvf_open_params *params);

/* Gives new bases for the layers of an unchanged geometry (the host moved its KV cache). What was submitted and not
 * begun goes to the new ones. Whatever is refused leaves the old ones. KVF_OK, KVF_EINVAL (another geometry, no
 * device), KVF_EBUSY (copies in flight), KVF_ENOMEM, KVF_EDEAD, or the device's own, as KVF_ENODEV for memory that
 * it does not have, and the guards. */
KVF_API int kvf_engine_rebind(struct kvf_engine *engine, const struct kvf_layout *layout);

enum kvf_shutdown_mode {
	KVF_SHUTDOWN_DRAIN = 0,	 /* finish what was accepted; new work gets KVF_ESHUTDOWN */
	KVF_SHUTDOWN_CANCEL = 1, /* cancel everything */
	KVF_SHUTDOWN_FLUSH = 2	 /* drain, then write every chunk that a lower tier lacks */
};

/*
 * Begins the shutdown and returns at once; keep polling until kvf_engine_idle() says 1. At deadline_ns (engine clock,
 * KVF_NO_DEADLINE: none) what is left is cancelled. Leases end with the last operation. Layers of a store that began
 * before may still be announced. KVF_OK, KVF_EINVAL (mode), KVF_ESHUTDOWN (already begun; the mode may be raised from
 * drain or flush to cancel) and the guards.
 */
KVF_API int kvf_engine_shutdown(struct kvf_engine *engine, enum kvf_shutdown_mode mode, uint64_t deadline_ns);

/* 1: nothing is in flight and every completion was reaped (of a dead engine: the latter); 0 otherwise. NULL: 1. */
KVF_API int kvf_engine_idle(const struct kvf_engine *engine);

/*
 * Frees the engine, its pool and its sequences, and with them leases and completions nobody reaped. KVF_OK (for NULL
 * too), KVF_EBUSY while anything is in flight, and the guards: then nothing happened. May block for the unlocking of
 * the pool, and for the disk tier's own transfers and syncs: up to ten seconds from the last one
 * that ended. Those that a dead device never ends are left to the kernel, since no call takes them back: their memory,
 * their ring with its descriptor and the locks of local_disk stay with the process until it ends, a warning in the log
 * says so, and an engine with the same directories gets KVF_EBUSY. The process itself is gone only when the device has
 * let go.
 */
KVF_API int kvf_engine_close(struct kvf_engine *engine);

/* Text for the last refusal on this engine: field, value, bound. "" if none. Valid until the next call. */
KVF_API const char *kvf_error_detail(const struct kvf_engine *engine);

/* The engine's clock, for deadlines. */
KVF_API uint64_t kvf_now_ns(const struct kvf_engine *engine);

/* ------------------------------------------------------------------------------------------------------------------
 * Sequences: the token stream of one request
 */

struct kvf_tag {
	const char *name;
	const char *value;
};

enum kvf_seq_flags {
	KVF_SEQ_SKIP_SAVE = 1u << 0 /* lmcache.skip_save: its stores end at once, KVF_REASON_POLICY */
};

struct kvf_seq_params {
	size_t size;
	const char *request_id;	 /* for logs; may be NULL */
	const char *salt; /* tenant; part of every key. At most 128 bytes, without @ % / \ and control characters */
	const struct kvf_tag *tags; /* as lmcache.tag.*; part of every key, in this order */
	uint32_t n_tags;	 /* <= 16 */
	uint32_t flags;		 /* enum kvf_seq_flags */
	const char *adapter;	 /* LoRA; part of every key */
	int64_t priority; /* the host's number for the request: above priority_limit it is not stored */
};

KVF_API void kvf_seq_params_init(struct kvf_seq_params *params);

/* KVF_OK, KVF_EINVAL (a forbidden character: kvf_error_detail() names field and byte), KVF_ERANGE, KVF_ENOMEM,
 * KVF_ESHUTDOWN and the guards. params may be NULL: no salt, no tags. */
KVF_API int kvf_seq_open(struct kvf_engine *engine, const struct kvf_seq_params *params, struct kvf_seq **out);

/* Appends tokens; each chunk key is computed once, when the chunk fills. Cost: one SHA-256 pass over the tokens.
 * KVF_OK; KVF_ENOMEM, KVF_ERANGE (over 2^31 tokens), KVF_EINVAL (after kvf_seq_append_keys()) and the guards leave the
 * sequence unchanged. */
KVF_API int kvf_seq_append(struct kvf_seq *seq, const uint32_t *tokens, size_t n);

/* Says that the n tokens from `first` (which must not be appended yet: first >= length) stand for content with this
 * 128-bit id (image, audio): it goes into the key of every chunk they touch. KVF_OK, KVF_EINVAL, KVF_ENOMEM, the
 * guards. */
KVF_API int kvf_seq_append_extra(struct kvf_seq *seq, size_t first, size_t n, const uint8_t id[16]);

/* For hosts with keys of their own: n chunk keys that stand for n*chunk_size tokens. Only on a sequence whose length is
 * a multiple of chunk_size and which never got tokens. KVF_OK, KVF_EINVAL, KVF_ENOMEM, the guards. */
KVF_API int kvf_seq_append_keys(struct kvf_seq *seq, const uint8_t (*keys)[KVF_KEY_BYTES], size_t n);

/* Shortens to n_tokens (<= length), cheap. Truncating into a chunk needs that chunk's tokens: the sequence keeps them
 * only for the last chunk, so n_tokens must lie in it or be a multiple of chunk_size: else KVF_EINVAL. KVF_OK and the
 * guards. */
KVF_API int kvf_seq_truncate(struct kvf_seq *seq, size_t n_tokens);

/* A second sequence with the same tokens, salt, tags and adapter (sub-agents, beams). Shares storage; either may be
 * closed first. KVF_OK, KVF_ENOMEM and the guards. */
KVF_API int kvf_seq_fork(const struct kvf_seq *seq, struct kvf_seq **out);

KVF_API size_t kvf_seq_length(const struct kvf_seq *seq);

/* Tokens of the longest prefix that is in RAM at this moment. No I/O, no lease: it may be gone at the next poll. 0
 * where a guard refuses. */
KVF_API size_t kvf_seq_resident(struct kvf_seq *seq);

/* Copies the key of chunk `chunk` (0-based; the last one may be partial). KVF_OK, KVF_EINVAL, KVF_ERANGE, the guards.
 */
KVF_API int kvf_seq_key(const struct kvf_seq *seq, size_t chunk, uint8_t key[KVF_KEY_BYTES]);

/* Operations keep what they need: closing, truncating and appending never change one that was submitted. NULL is
 * fine. Where a guard refuses, nothing happens. */
KVF_API void kvf_seq_close(struct kvf_seq *seq);

/* ------------------------------------------------------------------------------------------------------------------
 * Fences: completion of device work
 */

enum kvf_fence_kind {
	KVF_FENCE_NONE = 0, /* not set: refused */
	KVF_FENCE_NOW = 1, /* already true */
	KVF_FENCE_WORD =
		2, /* *word >= value, a 64-bit counter in host memory that stays valid until the operation ends */
	KVF_FENCE_EVENT = 3, /* a cudaEvent_t that was recorded */
	KVF_FENCE_STREAM = 4, /* everything enqueued so far in this cudaStream_t */
	KVF_FENCE_LATER = 5 /* layerwise store: one fence per layer follows by kvf_store_layer() */
};

struct kvf_fence_in {
	uint32_t kind; /* enum kvf_fence_kind */
	int32_t device;
	const volatile uint64_t *word;
	uint64_t value;
	void *handle; /* cudaEvent_t or cudaStream_t */
};

/* A fence the engine hands out: done when *word >= value (host), or an event the host's stream may wait for. */
struct kvf_fence_out {
	uint32_t kind; /* KVF_FENCE_NOW, KVF_FENCE_WORD or KVF_FENCE_EVENT */
	int32_t device;
	const volatile uint64_t *word; /* valid until the fence tail ended: see kvf_layer_fence() */
	uint64_t value;
	void *handle;
};

/* ------------------------------------------------------------------------------------------------------------------
 * Operations
 */

/* Block ids of one group. ids[i] is the block of tokens [(first_block+i)*block_tokens, ...) counted from the start of
 * the sequence: a request's block table can be handed over as it is, with first_block 0. */
struct kvf_block_list {
	const uint32_t *ids;
	size_t n;
	size_t first_block;
};

struct kvf_blocks {
	size_t n_groups; /* as the layout has groups; 0 for opaque layouts */
	const struct kvf_block_list *groups;
};

/* Tokens [first_token, first_token + n) and where they live on the device. blocks is copied at submit. */
struct kvf_span {
	size_t first_token;
	size_t n;
	const struct kvf_blocks *blocks;
};

enum kvf_op_code {
	KVF_OP_NONE = 0,
	KVF_OP_LOOKUP = 1,
	KVF_OP_STORE = 2,
	KVF_OP_RETRIEVE = 3,
	KVF_OP_PREFETCH = 4,
	KVF_OP_PIN = 5,
	KVF_OP_UNPIN = 6,
	KVF_OP_DEMOTE = 7,
	KVF_OP_REMOVE = 8,
	KVF_OP_FLUSH = 9,
	KVF_OP_CLEAR = 10
};

/* How far a store must get before it is done. */
enum kvf_level {
	KVF_LEVEL_NONE = 0,
	KVF_LEVEL_INDEXED = 1, /* in RAM and found by everybody */
	KVF_LEVEL_DURABLE = 2, /* acknowledged by the disk tier */
	KVF_LEVEL_REMOTE = 3   /* acknowledged by the remote tier */
};

/* Tiers, as bits: where lookup may look, what remove clears. 0 = all. */
enum kvf_tier_bits {
	KVF_TIER_RAM = 1u << 0,
	KVF_TIER_DISK = 1u << 1,
	KVF_TIER_REMOTE = 1u << 2,
	KVF_TIER_CUSTOM = 1u << 3, /* every tier of kvf_open_params.tiers */
	KVF_TIER_ALL = 0xffu
};

enum kvf_op_flags {
	KVF_OP_PROGRESS = 1u << 0,	 /* KVF_PROGRESS completions: one coalesced entry each time the prefix grew */
	KVF_OP_LAYERWISE = 1u << 1,	 /* retrieve: layer by layer with kvf_layer_fence(); store: kvf_store_layer() */
	KVF_OP_STREAM_ORDERED = 1u << 2, /* retrieve ends when its copies are issued; wait for kvf_layer_fence(last) */
	KVF_OP_SOURCE_FREE = 1u << 3,	 /* store: a KVF_SOURCE_FREE completion when the blocks may be changed */
	KVF_OP_DECODE = 1u << 4		 /* store: of tokens made in decode; only save_decode_cache keeps them */
};

enum kvf_priority { KVF_PRIO_NORMAL = 0, KVF_PRIO_HIGH = 1, KVF_PRIO_LOW = 2 };

struct kvf_op {
	uint8_t code;	  /* enum kvf_op_code */
	uint8_t priority; /* enum kvf_priority: order of waiting inside its class */
	uint8_t level;	  /* store: enum kvf_level */
	uint8_t reserved0;
	uint32_t flags; /* enum kvf_op_flags */
	uint32_t tiers; /* enum kvf_tier_bits, 0 = all */
	uint32_t reserved1;
	uint64_t user_data;   /* comes back in every completion */
	uint64_t deadline_ns; /* on the engine's clock; 0: the default (blocking_timeout_secs), KVF_NO_DEADLINE: none */
	struct kvf_seq *seq;
	uint64_t first_token;
	uint64_t n_tokens;
	const struct kvf_blocks *blocks; /* read during kvf_submit() only */
	struct kvf_fence_in fence;
	uint64_t computed_tokens; /* lookup: what the engine's own prefix cache holds */
	uint64_t lease_ns;	  /* lookup, prefetch, pin: how long, at most pin_timeout_sec; 0 = no lease */
	uint64_t lease_id;	  /* unpin */
	uint8_t reserved[256 - 120];
};

enum kvf_completion_kind { KVF_DONE = 1, KVF_SOURCE_FREE = 2, KVF_PROGRESS = 3 };

/* Why an operation did less than asked. */
enum kvf_reason {
	KVF_REASON_NONE = 0,
	KVF_REASON_MISS = 1,	  /* a chunk was nowhere */
	KVF_REASON_CORRUPT = 2,	  /* a chunk did not match its checksum or key */
	KVF_REASON_LATE = 3,	  /* the deadline came first */
	KVF_REASON_CANCELED = 4,
	KVF_REASON_TIER = 5,	  /* a tier failed or was switched off by its breaker */
	KVF_REASON_DEVICE = 6,	  /* the device failed */
	KVF_REASON_CAP = 7,	  /* a cap on pinning: leases, store copies, spills */
	KVF_REASON_DROPPED = 8,	  /* evicted before it was written below */
	KVF_REASON_PARTIAL = 9,	  /* the last, partial chunk is not stored (save_unfull_chunk is false) */
	KVF_REASON_MEMORY = 10,	  /* the host's allocator said no */
	KVF_REASON_POLICY = 11	  /* a setting: freeze, min_retrieve_tokens, save_decode_cache, skip_save ... */
};

enum kvf_done_flags {
	/* A layerwise operation had no room for all its chunks at once and went chunk by chunk: its layers became ready
	 * together, at the end. */
	KVF_DONE_CHUNKWISE = 1u << 0
};

struct kvf_completion {
	uint64_t op_id;
	uint64_t user_data;
	uint8_t kind;	/* enum kvf_completion_kind */
	uint8_t op;	/* enum kvf_op_code */
	uint8_t level;	/* store: the level that all `tokens` reached */
	uint8_t reason; /* enum kvf_reason */
	int32_t status; /* KVF_OK also for a miss; KVF_ECANCELED, KVF_ETIMEDOUT, KVF_EDROPPED, KVF_EDEVLOST, ... */
	/* lookup: the hit, as far as it was known at the deadline. retrieve, prefetch: delivered, from first_token on.
	 * store: tokens of the span at `level`. pin, unpin, demote, remove, clear: tokens concerned. flush: 0. */
	uint32_t tokens;
	/* lookup: min(hit, length-1): the last token is always computed; with skip_last_n_tokens the last n are */
	uint32_t usable;
	uint32_t need;	     /* lookup: max(usable - computed_tokens, 0) */
	uint32_t layers;     /* progress of a layerwise retrieve: layers issued */
	uint32_t ram_tokens; /* of `tokens`: found in RAM when the operation looked */
	uint32_t flags;	     /* enum kvf_done_flags */
	uint64_t lease_id; /* lookup, prefetch, pin with a lease; 0 = none was given. unpin: the one it named */
	uint64_t reserved1;
};

/* Each sets every field of *op. Lookup: where is the longest prefix of seq, at most its length. lease_ns > 0 also pins
 * what is in RAM until unpin or expiry. */
KVF_API void kvf_prep_lookup(struct kvf_op *op, struct kvf_seq *seq, size_t computed_tokens, uint32_t tiers,
			     uint64_t lease_ns);
/* Copies the span off the device. Chunks already stored are skipped (their blocks are not read). first_token must be a
 * multiple of chunk_size; a partial last chunk is stored when save_unfull_chunk is on. What settings keep out is no
 * error: such a store ends at once with 0 tokens and KVF_REASON_POLICY. skip_last_n_tokens counts from the end of the
 * sequence as it is at submit: append the whole prompt first. */
KVF_API void kvf_prep_store(struct kvf_op *op, struct kvf_seq *seq, const struct kvf_span *span,
			    const struct kvf_fence_in *ready);
/* Copies the span onto the device. first_token may lie inside a chunk or block: only tokens of the span are written. */
KVF_API void kvf_prep_retrieve(struct kvf_op *op, struct kvf_seq *seq, const struct kvf_span *span,
			       const struct kvf_fence_in *writable);
/* Brings chunks of [first_token, first_token + n) into RAM from below; lease_ns > 0 pins them until then. */
KVF_API void kvf_prep_prefetch(struct kvf_op *op, struct kvf_seq *seq, size_t first_token, size_t n, uint64_t lease_ns);
/* Pins what is in RAM of the span. Clipped to the leases' caps (reason KVF_REASON_CAP): half of the pool, and 65,535
 * leases of one chunk. */
KVF_API void kvf_prep_pin(struct kvf_op *op, struct kvf_seq *seq, size_t first_token, size_t n, uint64_t lease_ns);
/* Gives back the tokens [first_token, first_token + n) of a lease; n = SIZE_MAX: all from first_token on. Status
 * KVF_ENOENT when the lease is gone already. */
KVF_API void kvf_prep_unpin(struct kvf_op *op, uint64_t lease_id, size_t first_token, size_t n);
/* Sends the span's chunks to the eviction end; below RAM nothing changes. */
KVF_API void kvf_prep_demote(struct kvf_op *op, struct kvf_seq *seq, size_t first_token, size_t n);
/* Removes the span's chunks from the tiers named. Chunks in use are removed for everybody else at once and freed when
 * their last user lets go. What is on its way to a tier named is waited for first. Status KVF_EIO when a tier could not
 * be reached or failed: it may still hold them. */
KVF_API void kvf_prep_remove(struct kvf_op *op, struct kvf_seq *seq, size_t first_token, size_t n, uint32_t tiers);
/* Done when every spill that was queued at submit is written, dropped or failed (one that is too late has failed,
 * though its tier still holds it). */
KVF_API void kvf_prep_flush(struct kvf_op *op);
/* Removes everything from the tiers named. KVF_ENOTSUP at submit for a named tier that cannot (LMCache's formats
 * cannot be enumerated); with tiers 0 those are left out. */
KVF_API void kvf_prep_clear(struct kvf_op *op, uint32_t tiers);

/*
 * Takes up to n operations, in order, and writes their ids (never 0). Stops at the first that is refused: returns the
 * number taken if > 0, else the refusal: KVF_EAGAIN (kvf_max_ops in flight, or no room for its completions),
 * KVF_EINVAL, KVF_ERANGE, KVF_ENOMEM, KVF_ENOTSUP, KVF_ECAPTURE, KVF_ENODEV, KVF_EDEVLOST, KVF_ESHUTDOWN, KVF_EDEAD
 * and the guards. A refused operation changed nothing. Never runs a completion, never blocks.
 */
KVF_API int kvf_submit(struct kvf_engine *engine, const struct kvf_op *ops, unsigned n, uint64_t *op_ids);

/* Asks an operation to end. It still has its one completion: KVF_ECANCELED, or its real result where that came first.
 * Asking again changes nothing. KVF_OK, KVF_ENOENT (unknown, or its completion is in the ring) and the guards. */
KVF_API int kvf_cancel(struct kvf_engine *engine, uint64_t op_id);
/* Cancels every operation of a sequence that is open. Returns how many, or a guard's code. */
KVF_API int kvf_cancel_seq(struct kvf_engine *engine, const struct kvf_seq *seq);

/* Layerwise store (fence KVF_FENCE_LATER): layer `layer` of every group is readable after `ready`. Layers may come in
 * any order, each once. KVF_OK, KVF_ENOENT (it ended, or ends), KVF_EINVAL, KVF_EDEAD, the guards, or what the device
 * says to the fence: KVF_ENOTSUP, KVF_ECAPTURE, KVF_EDEVLOST. */
KVF_API int kvf_store_layer(struct kvf_engine *engine, uint64_t op_id, uint32_t layer,
			    const struct kvf_fence_in *ready);

/* Fence after which layer `layer` of a retrieve is in its blocks. KVF_EAGAIN until its copies are issued (poll on),
 * KVF_ENOENT when the operation is unknown. One that is not KVF_OP_STREAM_ORDERED is known until it ends. Else its
 * fence tail, and with it *out, lives until all its copies ended and the host called kvf_fence_release(). A
 * stream-ordered retrieve is to be released however it ended; one that ended with an error has no copy in flight any
 * more, and no fence: KVF_ENOENT. Once the engine shuts down the tail ends with its copies: KVF_ENOENT then says that
 * they did. Besides KVF_EINVAL (no such layer, or no operation that has fences), KVF_EDEAD and the guards. */
KVF_API int kvf_layer_fence(struct kvf_engine *engine, uint64_t op_id, uint32_t layer, struct kvf_fence_out *out);
/* KVF_OK, KVF_ENOENT and the guards. */
KVF_API int kvf_fence_release(struct kvf_engine *engine, uint64_t op_id);

/* ------------------------------------------------------------------------------------------------------------------
 * Driving it
 */

/*
 * One bounded turn, then up to max completions into out (max 0, out NULL: only the turn). Returns how many, or a
 * guard's code. With nothing in flight it costs tens of nanoseconds and no system call.
 */
KVF_API int kvf_poll(struct kvf_engine *engine, struct kvf_completion *out, unsigned max);

/* When the next kvf_poll() is due: now (<= kvf_now_ns()) while there is work to do or a completion to reap, a time for
 * timers, KVF_NO_DEADLINE when only an event on kvf_fd() can bring work. */
KVF_API uint64_t kvf_next_deadline_ns(const struct kvf_engine *engine);

/* One descriptor for select, epoll, libev, asyncio, tokio: readable = call kvf_poll(). Owned by the engine; the host
 * must not read it. Made at the first call. A descriptor, or KVF_ENOMEM, KVF_EIO and the guards. */
KVF_API int kvf_fd(struct kvf_engine *engine);

#ifdef __cplusplus
}
#endif

#if defined(__cplusplus)
static_assert(sizeof(struct kvf_op) == 256, "kvf_op is part of the ABI");
static_assert(sizeof(struct kvf_completion) == 64, "kvf_completion is part of the ABI");
#else
_Static_assert(sizeof(struct kvf_op) == 256, "kvf_op is part of the ABI");
_Static_assert(sizeof(struct kvf_completion) == 64, "kvf_completion is part of the ABI");
#endif

#include "kvferry/kvf_control.h"
#endif
