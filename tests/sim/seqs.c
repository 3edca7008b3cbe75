/* SPDX-License-Identifier: Apache-2.0 */
/* The host's sequences: the engine's, and beside each its tokens and their path hashes. */
#include "tests/sim/world.h"

#include <string.h>

static struct world_seq *free_place(struct world *w)
{
	for (uint32_t i = 0; i < W_MAX_SEQS; i++) {
		if (!w->seqs[i].seq)
			return &w->seqs[i];
	}
	return NULL;
}

/* A refusal must have a reason. */
static bool taken(struct world *w, int rc, const char *what)
{
	if (rc == KVF_OK)
		return true;
	if (rc == KVF_ENOMEM && w->mem.failures)
		return false;
	if (rc == KVF_ESHUTDOWN && w->shutting)
		return false;
	world_fail(w, "%s: %s (%s)", what, kvf_strerror(rc), kvf_error_detail(w->engine));
	return false;
}

struct world_seq *world_seq_new(struct world *w, uint32_t salt)
{
	static const char *const salts[W_SALTS] = {NULL, "tenant-a", "tenant-b"};
	struct kvf_seq_params params;
	struct world_seq *s = free_place(w);

	if (!s)
		return NULL;
	kvf_seq_params_init(&params);
	params.salt = salts[salt % W_SALTS];
	if (!taken(w, kvf_seq_open(w->engine, &params, &s->seq), "kvf_seq_open")) {
		s->seq = NULL;
		return NULL;
	}
	s->salt = salt % W_SALTS;
	s->n = 0;
	return s;
}

bool world_seq_append(struct world *w, struct world_seq *s, const uint32_t *tokens, uint32_t n)
{
	uint64_t path = s->n ? s->path[s->n - 1] : oracle_root(s->salt);

	if (s->n + n > W_MAX_TOKENS)
		return false;
	if (!taken(w, kvf_seq_append(s->seq, tokens, n), "kvf_seq_append"))
		return false;
	for (uint32_t i = 0; i < n; i++) {
		path = oracle_path(path, tokens[i]);
		s->token[s->n] = tokens[i];
		s->path[s->n++] = path;
	}
	if (kvf_seq_length(s->seq) != s->n)
		world_fail(
			w, "a sequence of %zu tokens, %u expected", kvf_seq_length(s->seq), s->n);
	return true;
}

struct world_seq *world_seq_fork(struct world *w, const struct world_seq *from)
{
	struct world_seq *s = free_place(w);
	struct kvf_seq *seq = NULL;

	if (!s || !taken(w, kvf_seq_fork(from->seq, &seq), "kvf_seq_fork"))
		return NULL;
	*s = *from;
	s->seq = seq;
	return s;
}

bool world_seq_truncate(struct world *w, struct world_seq *s, uint32_t n)
{
	uint32_t last = s->n / w->o.chunk_size * w->o.chunk_size;
	int rc = kvf_seq_truncate(s->seq, n);

	if (n <= s->n && (n >= last || n % w->o.chunk_size == 0)) {
		if (!taken(w, rc, "kvf_seq_truncate"))
			return false;
		s->n = n;
		return true;
	}
	if (rc == KVF_OK)
		world_fail(w, "truncate of %u to %u tokens was taken", s->n, n);
	return false;
}

void world_seq_close(struct world *w, struct world_seq *s)
{
	(void)w;
	kvf_seq_close(s->seq);
	s->seq = NULL;
	s->n = 0;
}
