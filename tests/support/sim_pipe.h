/* SPDX-License-Identifier: Apache-2.0 */
/* One direction of a simulated connection: bytes that were sent, of which those up to a position have arrived, in the
 * pieces they travel in. */
#ifndef KVF_TESTS_SIM_PIPE_H
#define KVF_TESTS_SIM_PIPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sim_piece {
	uint64_t end; /* of the stream */
	uint64_t due_ns;
	uint64_t cut; /* position in the stream where it breaks or ends; UINT64_MAX: it does not */
	bool ends; /* not broken, ended */
};

struct sim_pipe {
	uint8_t *p; /* what was sent and not taken, from position `taken` on */
	size_t cap;
	uint64_t taken, arrived, sent;
	struct sim_piece *piece; /* under way */
	uint32_t n_pieces, cap_pieces;
	uint64_t last_due_ns;
	bool silent;
};

void sim_pipe_fini(struct sim_pipe *pipe);
/* A piece more: its times are the caller's. */
struct sim_piece *sim_pipe_push(struct sim_pipe *pipe, const void *p, size_t n);
/* The first piece arrives, up to its cut. */
struct sim_piece sim_pipe_arrive(struct sim_pipe *pipe);
void sim_pipe_take(struct sim_pipe *pipe, size_t n);

#endif
