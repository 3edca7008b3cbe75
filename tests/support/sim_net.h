/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network behind the seam of the Redis tier (tier/resp/io.h): connections are byte streams on a clock that the test
 * moves. What is sent travels in pieces that take their time, in order; a call may move less than it could, or say
 * that it cannot now. By chance a connect is refused or never answered, a stream is cut, ended or falls silent after
 * any byte, a piece comes late. What was sent before a close may still arrive after it.
 *
 * Or by number: cut or held up once at exactly the k-th byte of a direction, over all connections, or cut at the k-th
 * thing that happens.
 *
 * The network says when it is used wrongly: a look at a connect that is not over, a close of what is watched, memory
 * that is no longer the caller's.
 */
#ifndef KVF_TESTS_SIM_NET_H
#define KVF_TESTS_SIM_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/support/sim_pipe.h"
#include "tier/resp/io.h"

#define SIM_NET_CONNS 96u
#define SIM_NET_FD 5000 /* of the first connection */

enum sim_way { SIM_UP = 0 /* to the server */, SIM_DOWN = 1 };

/* Chances in millionths. */
struct sim_net_faults {
	uint32_t refuse; /* a connect */
	uint32_t mute;	 /* a connect that is refused after up to hang_ns only */
	uint32_t reset;	 /* a piece: after any byte of it the connection breaks */
	uint32_t end;	 /* a piece from the server: after any byte of it the server's end is closed */
	uint32_t hang;	 /* a piece comes up to hang_ns later */
	uint32_t silent; /* from this piece on nothing passes any more in its direction, or in both */
	uint64_t hang_ns;
};

/* What is no fault. */
struct sim_net_habits {
	uint64_t latency_min_ns, latency_max_ns;
	uint32_t shorter; /* ppm: a call moves less than it could */
	uint32_t pieces;  /* ppm: an answer comes in parts, each in its own time */
	uint32_t again;	  /* ppm: a call says that it cannot now, and could */
	uint32_t buffer;  /* bytes that may be under way to the server; 0: as many as there are */
	bool at_once;	  /* a connect is over when the call returns, as with a socket of this machine */
};

enum sim_conn_state { SIM_CONN_FREE = 0, SIM_CONN_DIALING, SIM_CONN_OPEN, SIM_CONN_BROKEN };

struct sim_conn {
	enum sim_conn_state state;
	uint32_t number; /* of its place */
	uint64_t due_ns; /* of the connect */
	bool refused, answered; /* how the connect ended, and that it did */
	bool mine; /* the client has not closed it */
	bool served; /* the server has not */
	bool fin; /* the server's end arrived */
	bool readable_end; /* broken, but what had arrived can still be read */
	struct sim_pipe pipe[2];
	struct kvf_watch *watch; /* NULL: none */
	void *peer; /* the server's */
};

/* Who serves, and who watches over the client. */
struct sim_net_server {
	void *arg;
	void (*opened)(void *arg, struct sim_conn *c);
	/* The bytes so far that were not used; returns how many are now. */
	size_t (*came)(void *arg, struct sim_conn *c, const uint8_t *p, size_t n);
	/* c->peer is over. */
	void (*closed)(void *arg, struct sim_conn *c);
	/* Not before this time does the server look at anything. */
	uint64_t (*busy_until_ns)(void *arg);
	/* The client offers memory to be read or written. May be NULL. */
	void (*touch)(void *arg, const void *p, size_t n, bool write);
	void (*wrong)(void *arg, const char *what);
};

struct sim_net {
	struct sim_conn conn[SIM_NET_CONNS];
	uint32_t top; /* places that were ever used */
	struct sim_net_server server;
	uint64_t now_ns; /* of what is happening */
	uint64_t (*clock)(void *arg); /* the client's */
	void *clock_arg;
	uint64_t random;
	struct sim_net_habits habits;
	struct sim_net_faults faults;
	/* by number, from 1; 0: never */
	uint64_t cut_at[2], hold_at[2], reset_at;
	bool struck;
	uint64_t moved[2]; /* bytes that were sent up, and received */
	uint64_t events;
	uint64_t connects, resets, ends, silences; /* that did happen */
};

extern const struct kvf_resp_net sim_net_ops;

/* Zeroes it; then set clock, server, habits and faults. */
void sim_net_init(struct sim_net *net, uint64_t seed);
/* Every connection must be closed. */
void sim_net_fini(struct sim_net *net);
uint64_t sim_net_random(struct sim_net *net);
/* What is due by now_ns happens. */
void sim_net_run(struct sim_net *net, uint64_t now_ns);
/* Tells those who watch of what they can do. */
void sim_net_tell(struct sim_net *net);
/* When something happens: 0 where somebody who watches can be told now; UINT64_MAX: never. */
uint64_t sim_net_due_ns(const struct sim_net *net);
/* No more faults: what hangs comes soon, half of what is silent speaks again or breaks, the rest stays silent. */
void sim_net_calm(struct sim_net *net);
void sim_net_break(struct sim_net *net, struct sim_conn *c);

/* The server says something, or closes its end. */
void sim_net_say(struct sim_net *net, struct sim_conn *c, const void *p, size_t n);
void sim_net_hang_up(struct sim_net *net, struct sim_conn *c);

#endif
