/* SPDX-License-Identifier: Apache-2.0 */
/* See sim_pipe.h. */
#include "tests/support/sim_pipe.h"

#include <stdlib.h>
#include <string.h>

void sim_pipe_fini(struct sim_pipe *pipe)
{
	free(pipe->p);
	free(pipe->piece);
	memset(pipe, 0, sizeof(*pipe));
}

struct sim_piece *sim_pipe_push(struct sim_pipe *pipe, const void *p, size_t n)
{
	size_t used = (size_t)(pipe->sent - pipe->taken);

	if (used + n > pipe->cap) {
		pipe->cap = 2 * (used + n);
		pipe->p = realloc(pipe->p, pipe->cap);
	}
	if (n)
		memcpy(pipe->p + used, p, n);
	if (pipe->n_pieces == pipe->cap_pieces) {
		pipe->cap_pieces = pipe->cap_pieces ? 2 * pipe->cap_pieces : 8;
		pipe->piece = realloc(pipe->piece, pipe->cap_pieces * sizeof(*pipe->piece));
	}
	pipe->sent += n;
	pipe->piece[pipe->n_pieces] = (struct sim_piece){ .end = pipe->sent, .cut = UINT64_MAX };
	return &pipe->piece[pipe->n_pieces++];
}

struct sim_piece sim_pipe_arrive(struct sim_pipe *pipe)
{
	struct sim_piece piece = pipe->piece[0];

	memmove(pipe->piece, pipe->piece + 1, --pipe->n_pieces * sizeof(*pipe->piece));
	pipe->arrived = piece.cut < piece.end ? piece.cut : piece.end;
	return piece;
}

void sim_pipe_take(struct sim_pipe *pipe, size_t n)
{
	size_t left = (size_t)(pipe->sent - pipe->taken) - n;

	if (left)
		memmove(pipe->p, pipe->p + n, left);
	pipe->taken += n;
}
