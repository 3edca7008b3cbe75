/* SPDX-License-Identifier: Apache-2.0 */
/* The world of fuzz/fuzz_engine.c: what the engine is made of, what was accepted, and what must be true of it. */
#ifndef KVF_TESTS_SUPPORT_FUZZ_WORLD_H
#define KVF_TESTS_SUPPORT_FUZZ_WORLD_H

#include "tests/memtier.h"
#include "tests/rig.h"

#define FUZZ_SEQS 4u
#define FUZZ_SEQ_TOKENS (RIG_MAX_TOKENS / FUZZ_SEQS)
#define FUZZ_OPS 48u
#define FUZZ_LEASES 8u

/*
 * Tokens before branch_at follow from the trunk, those behind it from the branch. Each sequence has its own blocks,
 * which hold what the model computed, or nothing.
 */
struct fuzz_seq {
	struct kvf_seq *seq;
	struct kvf_block_list list;
	uint32_t length;
	uint32_t salt, trunk, branch, branch_at;
	uint32_t busy;	 /* stores and retrieves accepted and not ended */
};

/* An operation that was accepted. */
struct fuzz_op {
	uint64_t id;
	uint8_t code;
	bool ended; /* its fence tail is what is left */
	uint8_t seq;
	uint64_t first, n;
	uint32_t flags;
	uint32_t delivered;
	/* As the sequence was at submit. */
	struct fuzz_seq as;
};

struct fuzz_world {
	struct rig rig;
	struct kvf_allocator allocator;
	struct kvf_clock clock;
	struct kvf_log_sink log;
	struct kvf_custom_tier spec[2];
	struct memtier tier[2];
	uint32_t n_tiers;
	bool has_events;
	uint64_t now_ns;
	uint64_t slot_bytes;
	volatile uint64_t word; /* fences of the host */
	struct fuzz_seq seq[FUZZ_SEQS];
	struct kvf_blocks blocks[FUZZ_SEQS];
	struct fuzz_op ops[FUZZ_OPS];
	uint32_t n_ops;
	uint64_t lease[FUZZ_LEASES];
	uint32_t n_leases;
	uint64_t snapshot;
	enum kvf_shutdown_mode mode; /* at the end */
	uint32_t fail_in; /* the so-many-eth allocation from here fails; 0: none */
	bool failed;	  /* one did */
	bool shutting;
	int64_t allocated; /* bytes */
};

/* Aborts with a line when it does not hold. */
#define fuzz_must(holds) fuzz_check(holds, #holds, __FILE__, __LINE__)
void fuzz_check(bool holds, const char *what, const char *file, int line);
/* A call came back with rc: that may be, when memory was short or the engine closes, and only where it is wrong. */
void fuzz_refused(struct fuzz_world *w, int rc, bool wrong);
uint32_t fuzz_token(const struct fuzz_seq *s, uint32_t at);
/* The model has computed all of the sequence; its blocks serve another one. */
void fuzz_compute(struct fuzz_world *w, struct fuzz_seq *s);
void fuzz_wipe(struct fuzz_world *w, struct fuzz_seq *s);
void fuzz_accepted(struct fuzz_world *w, struct fuzz_seq *s, const struct kvf_op *op, uint64_t id);
/* A turn, what it completed, and the fence tails. */
void fuzz_poll(struct fuzz_world *w);
void fuzz_verify(struct fuzz_world *w);
void fuzz_open(struct fuzz_world *w, const uint8_t how[4]);
/* Everything that was accepted ends, and nothing is left behind. */
void fuzz_close(struct fuzz_world *w);

#endif
