/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tensor parallelism: a scheduler and four ranks, a process each. Every rank has its own heads of the KV, and so its
 * own engine (identity.rank). kvferry does not talk between ranks: the scheduler does, as it has to anyway.
 *
 * A hit is the minimum over the ranks. Between "how much is there?" and "bring it" nothing may be evicted, so the
 * lookup takes a lease; what is beyond the minimum is given back at once (kvf_prep_unpin of a range). One rank loses a
 * chunk here, and still all four end at the same prefix.
 */
#include "common.h"

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define RANKS 4
#define PROMPT (4 * CHUNK)
#define LEASE_NS 2000000000u

enum command { STORE, LOOKUP, TRIM, RETRIEVE, RELEASE, LOSE_CHUNK_2, QUIT };

struct message {
	uint32_t command;
	uint32_t tokens; /* argument, and in the answer the result */
	uint32_t leased; /* answer: chunks this rank holds with a lease */
	uint32_t wrong;	 /* answer: bytes that are not what they should be */
};

/* ---- a rank ---- */

struct rank {
	struct kv kv;
	struct kvf_engine *engine;
	struct kvf_seq *seq;
	uint32_t tokens[PROMPT], table[PROMPT / KV_BLOCK];
	uint64_t lease;
};

static void obey(struct rank *r, struct message *m)
{
	struct kvf_stats stats = { .size = sizeof(stats) };
	struct kvf_completion c = { .tokens = 0 };
	struct kvf_op op;

	switch ((enum command)m->command) {
	case STORE:
		kv_compute(&r->kv, r->table, r->tokens, 0, PROMPT);
		c = kv_copy(r->engine, r->seq, r->table, KVF_OP_STORE, 0, PROMPT, KVF_LEVEL_INDEXED);
		kv_wipe(&r->kv);
		break;
	case LOOKUP:
		kvf_prep_lookup(&op, r->seq, 0, 0, LEASE_NS);
		c = run(r->engine, &op);
		r->lease = c.lease_id;
		break;
	case TRIM: /* all ranks agreed on m->tokens: let go of what lies behind */
		kvf_prep_unpin(&op, r->lease, m->tokens, SIZE_MAX);
		c = run(r->engine, &op);
		break;
	case RETRIEVE:
		c = kv_copy(r->engine, r->seq, r->table, KVF_OP_RETRIEVE, 0, m->tokens, KVF_LEVEL_NONE);
		m->wrong = (uint32_t)kv_wrong(&r->kv, r->table, r->tokens, 0, c.tokens);
		break;
	case RELEASE:
		kvf_prep_unpin(&op, r->lease, 0, SIZE_MAX);
		c = run(r->engine, &op);
		break;
	case LOSE_CHUNK_2:
		kvf_prep_remove(&op, r->seq, 2 * CHUNK, CHUNK, 0);
		c = run(r->engine, &op);
		break;
	case QUIT:
		break;
	}
	kvf_get_stats(r->engine, &stats);
	m->tokens = c.tokens;
	m->leased = (uint32_t)stats.slots_leased;
}

static void rank_main(unsigned number, int fd)
{
	static struct rank r;
	struct kvf_open_params params;
	struct message m = { QUIT, 0, 0, 0 };

	kv_open(&r.kv, PROMPT / KV_BLOCK);
	kvf_open_params_init(&params);
	params.identity.world_size = RANKS; /* part of every key: ranks never see each other's chunks */
	params.identity.rank = number;
	r.engine = engine_open(&params, &r.kv, "16");
	make_prompt(r.tokens, PROMPT, 0, 1);
	for (uint32_t b = 0; b < PROMPT / KV_BLOCK; b++)
		r.table[b] = (b + number * 5) % (PROMPT / KV_BLOCK);
	must(kvf_seq_open(r.engine, NULL, &r.seq) == KVF_OK, "kvf_seq_open");
	must(kvf_seq_append(r.seq, r.tokens, PROMPT) == KVF_OK, "kvf_seq_append");
	while (read(fd, &m, sizeof(m)) == sizeof(m) && m.command != QUIT) {
		obey(&r, &m);
		must(write(fd, &m, sizeof(m)) == sizeof(m), "the answer");
	}
	kvf_seq_close(r.seq);
	engine_close(r.engine);
	kv_close(&r.kv);
	exit(0);
}

/* ---- the scheduler ---- */

/* The same command to all ranks (only < 0) or to one; returns the least answer. */
static uint32_t tell(const int *fd, enum command command, uint32_t tokens, int only, uint32_t leased)
{
	struct message m = { command, tokens, 0, 0 };
	uint32_t least = UINT32_MAX;

	for (int i = 0; i < RANKS; i++)
		must(only >= 0 && only != i ? 1 : write(fd[i], &m, sizeof(m)) == sizeof(m), "a rank listens");
	for (int i = 0; i < RANKS; i++) {
		if (only >= 0 && only != i)
			continue;
		must(read(fd[i], &m, sizeof(m)) == sizeof(m), "a rank answers");
		printf("  rank %d: %4u tokens, %u chunks leased\n", i, m.tokens, m.leased);
		must(m.wrong == 0 && m.leased == leased, "right bytes, right leases");
		least = m.tokens < least ? m.tokens : least;
	}
	return least;
}

int main(void)
{
	const struct message quit = { QUIT, 0, 0, 0 };
	int fd[RANKS], pair[2], status;
	uint32_t hit = UINT32_MAX;

	alarm(20); /* whatever goes wrong, it ends: the ranks when nobody speaks to them any more */
	setvbuf(stdout, NULL, _IONBF, 0);
	for (unsigned i = 0; i < RANKS; i++) {
		must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0, "socketpair");
		if (fork() == 0)
			rank_main(i, pair[1]); /* engines are opened after the fork: they belong to one process */
		close(pair[1]);
		fd[i] = pair[0];
	}
	puts("store");
	must(tell(fd, STORE, 0, -1, 0) == PROMPT, "all ranks store the prompt");
	puts("rank 2 loses a chunk");
	tell(fd, LOSE_CHUNK_2, 0, 2, 0);
	puts("lookup with a lease");
	for (int i = 0; i < RANKS; i++) { /* one by one, since rank 2 leases less */
		uint32_t n = tell(fd, LOOKUP, 0, i, i == 2 ? 2 : 4);

		hit = n < hit ? n : hit;
	}
	printf("the hit is the minimum: %u tokens; the rest is given back\n", hit);
	must(hit == 2 * CHUNK, "the hit");
	tell(fd, TRIM, hit, -1, 2);
	puts("retrieve");
	must(tell(fd, RETRIEVE, hit, -1, 2) == hit, "every rank ends at the same prefix");
	puts("release");
	tell(fd, RELEASE, 0, -1, 0);
	for (int i = 0; i < RANKS; i++) {
		must(write(fd[i], &quit, sizeof(quit)) == sizeof(quit), "a rank listens");
		must(wait(&status) > 0 && status == 0, "a rank ends well");
	}
	return 0;
}
