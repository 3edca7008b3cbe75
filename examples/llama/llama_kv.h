/* SPDX-License-Identifier: Apache-2.0 */
/*
 * llama.cpp through kvferry: the KV of a prompt that was computed once comes back from RAM, disk or
 * a remote store instead of being computed again. Written against llama.h and kvferry's public
 * headers only.
 *
 * ONE llama.cpp context and ONE kvferry engine make a struct lkv. The context is opened here, since
 * the way it is opened decides whether a range of tokens can be saved and restored: a unified KV
 * cache, the full window of models with sliding-window attention, and one sequence more than the
 * host asked for, through which chunks are copied. lkv_open() refuses what cannot be cached
 * exactly, and says why.
 *
 * ONE REQUEST is a token stream in one sequence of that context:
 *
 *   lkv_request_open()     the sequence must be empty, or hold `resident` tokens of this very prompt
 *   lkv_request_append()   the whole prompt
 *   lkv_load()             looks the prefix up and brings it into the sequence; LKV_EVENT_LOADED
 *   llama_decode()         from lkv_request_present() on: the last token is always computed
 *   lkv_store()            what was computed, chunk by chunk; LKV_EVENT_STORED
 *   lkv_request_close()
 *
 * Nothing blocks but lkv_open() and lkv_close(). lkv_load(), lkv_prefetch() and lkv_store() begin
 * something; it goes on inside lkv_poll() (a chunk's copy a call at most) and ends with the
 * request's callback, from inside lkv_poll(). Decode other requests between two polls as you like;
 * a sequence with a load in flight must not be decoded, one with a store in flight may grow but
 * must not be shortened.
 *
 * Hosts with an event loop attach lkv_engine() to it (kvf_ev.h, or kvf_fd()) and pass completions
 * to lkv_complete().
 *
 * Everything belongs to one thread. Functions that can fail return a kvf_status; lkv_error() has
 * the text.
 */
#ifndef KVFERRY_EXAMPLES_LLAMA_KV_H
#define KVFERRY_EXAMPLES_LLAMA_KV_H

#include <kvferry/kvf_device.h>
#include <kvferry/kvferry.h>
#include <llama.h>
#include <stdbool.h>

struct lkv;
struct lkv_request;

struct lkv_params {
	const char *model_path; /* a GGUF file */
	struct llama_model_params model;
	/* n_seq_max: sequences of the host, 0..n_seq_max-1. n_ctx: cells that all sequences share.
	 * kv_unified, swa_full and one sequence more are set by lkv_open(). */
	struct llama_context_params context;
	const struct kvf_config *config; /* of the engine; NULL: defaults */
	const struct kvf_log_sink *log; /* of the engine */
	const char *model_hash; /* of the file, where the host knows it; NULL: SHA-256 of it is
				   computed at open */
	/* Sees each chunk that was copied, with its bytes in the slot. For tests and curious
	 * programs; may be NULL. */
	void (*on_chunk)(const struct kvf_copy *copy, void *user);
	void *user;
	bool uncached; /* without an engine: loads find nothing, stores keep nothing. To compare
			  with. */
};

/* llama.cpp's defaults with one sequence, 4096 cells and all cores. */
void lkv_params_init(struct lkv_params *params);

/* why: a text of up to n bytes when it fails. KVF_ENOTSUP: this model or context cannot be cached
 * exactly. */
int lkv_open(struct lkv **out, const struct lkv_params *params, char *why, size_t n);

/* Finishes what the engine has in flight; after 10 s it cancels that, and then waits only for what still touches our
 * memory: at a remote store that hangs, until its request_timeout. KVF_EBUSY: a request is open. */
int lkv_close(struct lkv *kv);

struct llama_model *lkv_model(const struct lkv *kv);
struct llama_context *lkv_context(const struct lkv *kv);
struct kvf_engine *lkv_engine(const struct lkv *kv); /* NULL when uncached */
uint32_t lkv_chunk_tokens(const struct lkv *kv);
/* What a token adds to a chunk, and a whole chunk, in bytes as they are stored. */
size_t lkv_token_bytes(const struct lkv *kv);
size_t lkv_chunk_bytes(const struct lkv *kv);
const char *lkv_model_name(const struct lkv *kv);
/* What the identity was made of: model, file hash, context, llama.cpp build. */
const char *lkv_identity(const struct lkv *kv);
const char *lkv_error(const struct lkv *kv);
/* False while the disk tier still reads what it holds: loads find only some of it. Goes on in
 * lkv_poll(). */
bool lkv_ready(const struct lkv *kv);

/*
 * How many of the tokens [at, end) to evaluate in one batch. Floating point sums depend on how a
 * prompt is cut into batches: cut like this, at multiples of the chunk size and with the prompt's
 * last token alone, a prompt whose prefix was loaded is computed from there exactly as it was
 * without, bit for bit.
 */
size_t lkv_step(const struct lkv *kv, size_t at, size_t end);

/* ---- requests ---- */

enum lkv_event {
	LKV_EVENT_LOADED = 1, /* lkv_load() ended: present is what the sequence holds now */
	LKV_EVENT_STORED = 2, /* lkv_store() ended: the cells may be freed */
	LKV_EVENT_PREFETCHED = 3 /* lkv_prefetch() ended */
};

typedef void (*lkv_event_fn)(struct lkv_request *request, enum lkv_event event, void *user);

struct lkv_request_params {
	llama_seq_id seq; /* -1: none, for lkv_prefetch() only */
	const char *request_id; /* for logs; may be NULL */
	const char *salt; /* tenant; may be NULL */
	lkv_event_fn on_event; /* may be NULL */
	void *user;
};

/* What became of it so far. Tokens. */
struct lkv_result {
	uint32_t prompt; /* appended */
	uint32_t hit; /* of the prompt, found by the lookup, in any tier */
	uint32_t hit_ram; /* of these in RAM at that moment */
	uint32_t resident; /* in the sequence before: llama.cpp's own */
	uint32_t need; /* what was to be loaded: hit - resident */
	uint32_t loaded; /* what was */
	uint32_t stored; /* by the last store: tokens of its span that are in RAM or further */
	uint32_t prefetched; /* by the last prefetch */
	int32_t status; /* of the last operation: kvf_status */
	uint8_t reason; /* enum kvf_reason */
};

int lkv_request_open(
	struct lkv *kv, const struct lkv_request_params *params, struct lkv_request **out);
int lkv_request_append(struct lkv_request *r, const llama_token *tokens, size_t n);
size_t lkv_request_length(const struct lkv_request *r);
/* Tokens of the request whose KV is in the sequence: after a load, and as lkv_computed() says. */
size_t lkv_request_present(const struct lkv_request *r);
/* The host evaluated the tokens up to n. */
void lkv_computed(struct lkv_request *r, size_t n);
const struct lkv_result *lkv_request_result(const struct lkv_request *r);

/*
 * Begins to bring the longest stored prefix into the sequence, at most length - 1 tokens. resident:
 * tokens that are there already; anything behind them is removed. KVF_OK, KVF_EBUSY (something is
 * in flight), or as kvf_submit().
 */
int lkv_load(struct lkv_request *r, size_t resident);

/* Begins to bring the longest stored prefix into RAM. Needs no sequence. */
int lkv_prefetch(struct lkv_request *r);

enum lkv_store_flags {
	LKV_STORE_DECODE = 1u << 0, /* of tokens made in decode: kept with save_decode_cache only */
	LKV_STORE_DURABLE = 1u << 1, /* ends when the disk tier has it */
	LKV_STORE_REMOTE = 1u << 2 /* ends when the remote tier has it */
};

/* Begins to store what was computed. Chunks that are stored already cost a lookup. As lkv_load().
 */
int lkv_store(struct lkv_request *r, unsigned flags);

bool lkv_busy(const struct lkv_request *r);
/* Wishes what is in flight to end; its event still comes. */
void lkv_cancel(struct lkv_request *r);
/* KVF_EBUSY while something is in flight: cancel, poll until it is not, close. The cells stay the
 * host's. */
int lkv_request_close(struct lkv_request *r);

/* ---- driving it ---- */

/* One turn of the engine. Returns how many completions it had, or a negative kvf_status. */
int lkv_poll(struct lkv *kv);
/* For hosts that reap completions themselves: every one goes here. False: it was not ours. */
bool lkv_complete(struct lkv *kv, const struct kvf_completion *c);
/* Polls until the request has nothing in flight: for programs that have nothing else to do. */
void lkv_wait(struct lkv_request *r);

#endif
