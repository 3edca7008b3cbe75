/* SPDX-License-Identifier: Apache-2.0 */
/* Byte streams on a clock: see sim_net.h. */
#include "tests/support/sim_net.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SOON_NS 1000000u
#define NEVER UINT64_MAX

void sim_net_init(struct sim_net *net, uint64_t seed)
{
	memset(net, 0, sizeof(*net));
	net->random = seed * 2 + 1;
	for (uint32_t i = 0; i < SIM_NET_CONNS; i++)
		net->conn[i].number = i;
}

uint64_t sim_net_random(struct sim_net *net)
{
	net->random ^= net->random >> 12;
	net->random ^= net->random << 25;
	net->random ^= net->random >> 27;
	return net->random * 2685821657736338717ull >> 16;
}

static bool chance(struct sim_net *net, uint32_t ppm)
{
	return ppm && sim_net_random(net) % 1000000 < ppm;
}

static uint64_t upto(struct sim_net *net, uint64_t n)
{
	return n ? sim_net_random(net) % n : 0;
}

static void wrong(struct sim_net *net, const char *what)
{
	net->server.wrong(net->server.arg, what);
}

static uint64_t latency(struct sim_net *net)
{
	const struct sim_net_habits *h = &net->habits;

	return h->latency_min_ns + upto(net, h->latency_max_ns - h->latency_min_ns + 1);
}

/* ---- the life of a connection ---- */

/* Its place is free when nobody has an end of it. */
static void let_go(struct sim_conn *c)
{
	uint32_t number = c->number;

	if (c->mine || c->served)
		return;
	sim_pipe_fini(&c->pipe[SIM_UP]);
	sim_pipe_fini(&c->pipe[SIM_DOWN]);
	memset(c, 0, sizeof(*c));
	c->number = number;
}

static void end_service(struct sim_net *net, struct sim_conn *c)
{
	if (!c->served)
		return;
	c->served = false;
	net->server.closed(net->server.arg, c);
}

void sim_net_break(struct sim_net *net, struct sim_conn *c)
{
	if (c->state == SIM_CONN_FREE || c->state == SIM_CONN_BROKEN)
		return;
	net->resets++;
	c->readable_end = c->state == SIM_CONN_OPEN && sim_net_random(net) % 2;
	c->refused = c->state == SIM_CONN_DIALING;
	c->answered = true;
	c->state = SIM_CONN_BROKEN;
	c->pipe[SIM_UP].n_pieces = c->pipe[SIM_DOWN].n_pieces = 0;
	end_service(net, c);
	let_go(c);
}

void sim_net_fini(struct sim_net *net)
{
	for (uint32_t i = 0; i < net->top; i++) {
		struct sim_conn *c = &net->conn[i];

		if (c->mine)
			wrong(net, "a connection was left open");
		c->mine = false;
		end_service(net, c);
		let_go(c);
	}
}

/* ---- pieces ---- */

/* What becomes of a piece: nothing, or one thing. */
static void spoil(struct sim_net *net, struct sim_conn *c, enum sim_way way, struct sim_piece *piece, uint64_t from)
{
	const struct sim_net_faults *f = &net->faults;

	if (chance(net, f->hang))
		piece->due_ns += upto(net, f->hang_ns);
	if (chance(net, f->reset) || (way == SIM_DOWN && chance(net, f->end))) {
		piece->cut = from + upto(net, piece->end - from + 1);
		piece->ends = way == SIM_DOWN && !chance(net, f->reset ? 500000 : 0);
	}
	if (!chance(net, f->silent))
		return;
	net->silences++;
	c->pipe[way].silent = true;
	if (upto(net, 2))
		c->pipe[!way].silent = true;
}

static void push(struct sim_net *net, struct sim_conn *c, enum sim_way way, const void *p, size_t n)
{
	struct sim_pipe *pipe = &c->pipe[way];
	struct sim_piece *piece = sim_pipe_push(pipe, p, n);

	piece->due_ns = net->now_ns + latency(net);
	spoil(net, c, way, piece, piece->end - n);
	/* They stay in order. */
	if (piece->due_ns < pipe->last_due_ns)
		piece->due_ns = pipe->last_due_ns;
	pipe->last_due_ns = piece->due_ns;
}

/* When the next piece arrives. */
static uint64_t due_of(const struct sim_net *net, const struct sim_conn *c, enum sim_way way)
{
	const struct sim_pipe *pipe = &c->pipe[way];
	uint64_t busy;

	if (!pipe->n_pieces || pipe->silent || c->state != SIM_CONN_OPEN)
		return NEVER;
	if (way == SIM_DOWN)
		return pipe->piece[0].due_ns;
	busy = net->server.busy_until_ns(net->server.arg);
	return pipe->piece[0].due_ns > busy ? pipe->piece[0].due_ns : busy;
}

static void serve(struct sim_net *net, struct sim_conn *c)
{
	struct sim_pipe *pipe = &c->pipe[SIM_UP];
	size_t n = (size_t)(pipe->arrived - pipe->taken);

	if (!c->served) {
		/* Nobody is there to take it. */
		sim_net_break(net, c);
		return;
	}
	n = net->server.came(net->server.arg, c, pipe->p, n);
	if (c->state == SIM_CONN_OPEN)
		sim_pipe_take(pipe, n);
}

static void arrive(struct sim_net *net, struct sim_conn *c, enum sim_way way)
{
	struct sim_pipe *pipe = &c->pipe[way];
	struct sim_piece piece = sim_pipe_arrive(pipe);
	uint64_t end = pipe->arrived;

	if (way == SIM_UP && end > pipe->taken)
		serve(net, c);
	if (c->state != SIM_CONN_OPEN || piece.cut == NEVER)
		return;
	if (!piece.ends) {
		sim_net_break(net, c);
		return;
	}
	net->ends++;
	pipe->n_pieces = 0;
	pipe->sent = end;
	c->fin = true;
	end_service(net, c);
	let_go(c);
}

/* The last of what a client sent before it closed is there. */
static void last_came(struct sim_net *net, struct sim_conn *c)
{
	if (c->state != SIM_CONN_OPEN || c->mine || c->pipe[SIM_UP].n_pieces)
		return;
	end_service(net, c);
	let_go(c);
}

static void answer_dial(struct sim_net *net, struct sim_conn *c)
{
	c->answered = true;
	if (c->refused)
		return;
	c->state = SIM_CONN_OPEN;
	c->served = true;
	net->server.opened(net->server.arg, c);
}

/* ---- time ---- */

static uint64_t next_of(const struct sim_net *net, const struct sim_conn *c)
{
	uint64_t up, down;

	if (c->state == SIM_CONN_DIALING)
		return c->answered ? NEVER : c->due_ns;
	up = due_of(net, c, SIM_UP);
	down = due_of(net, c, SIM_DOWN);
	return up < down ? up : down;
}

static struct sim_conn *first_due(struct sim_net *net, uint64_t *at)
{
	struct sim_conn *first = NULL;

	*at = NEVER;
	for (uint32_t i = 0; i < net->top; i++) {
		uint64_t due = net->conn[i].state == SIM_CONN_FREE ? NEVER : next_of(net, &net->conn[i]);

		if (due < *at) {
			*at = due;
			first = &net->conn[i];
		}
	}
	return first;
}

static void happen(struct sim_net *net, struct sim_conn *c)
{
	if (++net->events == net->reset_at) {
		net->struck = true;
		sim_net_break(net, c);
	} else if (c->state == SIM_CONN_DIALING) {
		answer_dial(net, c);
	} else {
		arrive(net, c, due_of(net, c, SIM_UP) <= due_of(net, c, SIM_DOWN) ? SIM_UP : SIM_DOWN);
		last_came(net, c);
	}
}

void sim_net_run(struct sim_net *net, uint64_t now_ns)
{
	struct sim_conn *c;
	uint64_t at;

	while ((c = first_due(net, &at)) && at <= now_ns) {
		if (at > net->now_ns)
			net->now_ns = at;
		happen(net, c);
	}
	net->now_ns = now_ns;
}

static bool has_room(const struct sim_net *net, const struct sim_conn *c)
{
	const struct sim_pipe *pipe = &c->pipe[SIM_UP];

	return !net->habits.buffer || pipe->sent - pipe->arrived < net->habits.buffer;
}

static unsigned ready(const struct sim_net *net, const struct sim_conn *c)
{
	const struct sim_pipe *pipe = &c->pipe[SIM_DOWN];

	if (c->state == SIM_CONN_BROKEN || (c->state == SIM_CONN_DIALING && c->answered))
		return KVF_WATCH_READ | KVF_WATCH_WRITE;
	if (c->state != SIM_CONN_OPEN)
		return 0;
	return (pipe->arrived > pipe->taken || c->fin ? (unsigned)KVF_WATCH_READ : 0u) |
	       (has_room(net, c) ? (unsigned)KVF_WATCH_WRITE : 0u);
}

static unsigned wanted(const struct sim_net *net, const struct sim_conn *c)
{
	return c->watch ? c->watch->events & ready(net, c) : 0;
}

void sim_net_tell(struct sim_net *net)
{
	uint32_t first = (uint32_t)upto(net, net->top);

	for (uint32_t i = 0; i < net->top; i++) {
		struct sim_conn *c = &net->conn[(first + i) % net->top];
		unsigned events = wanted(net, c);

		if (events)
			c->watch->ready(c->watch, events);
	}
}

uint64_t sim_net_due_ns(const struct sim_net *net)
{
	uint64_t at = NEVER;

	for (uint32_t i = 0; i < net->top; i++) {
		const struct sim_conn *c = &net->conn[i];
		uint64_t due = c->state == SIM_CONN_FREE ? NEVER : next_of(net, c);

		if (wanted(net, c))
			return 0;
		at = due < at ? due : at;
	}
	return at;
}

void sim_net_calm(struct sim_net *net)
{
	uint64_t soon = net->clock(net->clock_arg) + SOON_NS;

	memset(&net->faults, 0, sizeof(net->faults));
	net->cut_at[0] = net->cut_at[1] = net->hold_at[0] = net->hold_at[1] = net->reset_at = 0;
	for (uint32_t i = 0; i < net->top; i++) {
		struct sim_conn *c = &net->conn[i];

		if (c->due_ns > soon)
			c->due_ns = soon;
		for (int way = 0; way < 2; way++) {
			struct sim_pipe *pipe = &c->pipe[way];

			for (uint32_t k = 0; k < pipe->n_pieces; k++) {
				pipe->piece[k].cut = NEVER;
				if (pipe->piece[k].due_ns > soon)
					pipe->piece[k].due_ns = soon;
			}
			if (pipe->last_due_ns > soon)
				pipe->last_due_ns = soon;
		}
		if ((c->pipe[SIM_UP].silent || c->pipe[SIM_DOWN].silent) && upto(net, 2)) {
			c->pipe[SIM_UP].silent = c->pipe[SIM_DOWN].silent = false;
			if (upto(net, 2))
				sim_net_break(net, c);
		}
	}
}

/* ---- the server's end ---- */
void sim_net_say(struct sim_net *net, struct sim_conn *c, const void *p, size_t n)
{
	const uint8_t *from = p;

	while (c->state == SIM_CONN_OPEN && c->served && c->mine && n) {
		size_t k = chance(net, net->habits.pieces) ? 1 + (size_t)upto(net, n) : n;

		push(net, c, SIM_DOWN, from, k);
		from += k;
		n -= k;
	}
}

void sim_net_hang_up(struct sim_net *net, struct sim_conn *c)
{
	struct sim_pipe *pipe = &c->pipe[SIM_DOWN];

	if (c->state != SIM_CONN_OPEN || !c->served)
		return;
	if (!c->mine) {
		end_service(net, c);
		let_go(c);
		return;
	}
	push(net, c, SIM_DOWN, "", 0);
	pipe->piece[pipe->n_pieces - 1].cut = pipe->sent;
	pipe->piece[pipe->n_pieces - 1].ends = true;
}

/* ---- the client's end: the seam ---- */

static struct sim_conn *conn_of(const struct kvf_resp_io *io)
{
	struct sim_net *net = io->net_arg;
	uint32_t at = (uint32_t)(io->fd - SIM_NET_FD);

	if (io->fd >= SIM_NET_FD && at < SIM_NET_CONNS && net->conn[at].mine)
		return &net->conn[at];
	wrong(net, "a descriptor that is not open is used");
	return NULL;
}

static int sim_connect(struct kvf_resp_io *io, const struct sockaddr *addr, socklen_t n)
{
	struct sim_net *net = io->net_arg;
	const struct sim_net_faults *f = &net->faults;
	struct sim_conn *c = net->conn;

	(void)addr;
	(void)n;
	net->now_ns = net->clock(net->clock_arg);
	net->connects++;
	io->syscalls++;
	while (c < net->conn + SIM_NET_CONNS && c->state != SIM_CONN_FREE)
		c++;
	if (c == net->conn + SIM_NET_CONNS)
		return -EMFILE;
	c->state = SIM_CONN_DIALING;
	c->mine = true;
	if (c->number >= net->top)
		net->top = c->number + 1;
	io->fd = SIM_NET_FD + (int)c->number;
	c->refused = chance(net, f->refuse);
	c->due_ns = net->now_ns + latency(net);
	if (chance(net, f->mute)) {
		c->refused = true;
		c->due_ns += upto(net, f->hang_ns);
		return -EINPROGRESS;
	}
	if (c->refused && upto(net, 2))
		return -ECONNREFUSED;
	if (!net->habits.at_once || c->refused)
		return -EINPROGRESS;
	answer_dial(net, c);
	return 0;
}

static int sim_connected(struct kvf_resp_io *io)
{
	struct sim_conn *c = conn_of(io);

	io->syscalls++;
	if (!c)
		return -EBADF;
	if (!c->answered)
		wrong(io->net_arg, "a connect was taken for over that is not");
	return c->state == SIM_CONN_OPEN ? 0 : -ECONNREFUSED;
}

static void sim_close(struct kvf_resp_io *io)
{
	struct sim_net *net = io->net_arg;
	struct sim_conn *c = conn_of(io);
	struct sim_pipe *pipe;

	io->syscalls++;
	if (!c)
		return;
	if (c->watch)
		wrong(net, "a descriptor was closed while it is watched");
	c->watch = NULL;
	c->mine = false;
	pipe = &c->pipe[SIM_UP];
	c->pipe[SIM_DOWN].n_pieces = 0;
	/* What was sent arrives, or only its beginning does. */
	if (pipe->n_pieces && net->faults.reset && upto(net, 2)) {
		pipe->n_pieces = 1 + (uint32_t)upto(net, pipe->n_pieces);
		pipe->piece[pipe->n_pieces - 1].cut =
			pipe->arrived + upto(net, pipe->piece[pipe->n_pieces - 1].end - pipe->arrived + 1);
	}
	if (c->state != SIM_CONN_OPEN || pipe->silent)
		end_service(net, c);
	else
		last_came(net, c);
	let_go(c);
}

static uint64_t length_of(const struct kvf_resp_io *io, const struct iovec *iov, int n, bool write)
{
	const struct sim_net_server *s = &((const struct sim_net *)io->net_arg)->server;
	uint64_t total = 0;

	for (int i = 0; i < n; i++) {
		total += iov[i].iov_len;
		if (s->touch)
			s->touch(s->arg, iov[i].iov_base, iov[i].iov_len, write);
	}
	return total;
}

/* How many bytes of `most` a call moves; 0: it is held up once. *cut: the stream breaks behind them. */
static uint64_t portion(struct sim_net *net, enum sim_way way, uint64_t most, bool *cut)
{
	uint64_t before = net->moved[way], at = net->cut_at[way] ? net->cut_at[way] : net->hold_at[way];

	*cut = false;
	if (!net->struck && at && at <= before) {
		net->struck = true;
		return 0;
	}
	if (chance(net, net->habits.again))
		return 0;
	if (chance(net, net->habits.shorter))
		most = 1 + upto(net, most);
	if (!net->struck && at && at - before <= most) {
		most = at - before;
		*cut = net->cut_at[way] != 0;
		net->struck = *cut;
	}
	return most;
}

static ssize_t sim_recv(struct kvf_resp_io *io, const struct iovec *iov, int n)
{
	struct sim_net *net = io->net_arg;
	struct sim_conn *c = conn_of(io);
	uint64_t room = length_of(io, iov, n, true), left;
	struct sim_pipe *pipe;
	size_t got = 0;
	bool cut = false;

	io->syscalls++;
	net->now_ns = net->clock(net->clock_arg);
	if (!c)
		return -EBADF;
	pipe = &c->pipe[SIM_DOWN];
	left = pipe->arrived - pipe->taken;
	if (c->state == SIM_CONN_BROKEN && (!left || !c->readable_end))
		return -ECONNRESET;
	if (!left && c->fin)
		return 0;
	left = left < room ? left : room;
	left = left ? portion(net, SIM_DOWN, left, &cut) : 0;
	if (!left)
		return -EAGAIN;
	for (int i = 0; i < n && got < left; i++) {
		size_t k = iov[i].iov_len < left - got ? iov[i].iov_len : (size_t)(left - got);

		memcpy(iov[i].iov_base, pipe->p + got, k);
		got += k;
	}
	sim_pipe_take(pipe, got);
	net->moved[SIM_DOWN] += got;
	if (!cut)
		return (ssize_t)got;
	sim_net_break(net, c);
	c->readable_end = false;
	return (ssize_t)got;
}

static void send_some(struct sim_net *net, struct sim_conn *c, const struct iovec *iov, int n, uint64_t most)
{
	uint8_t *whole = malloc((size_t)most);
	size_t at = 0;

	for (int i = 0; i < n && at < most; i++) {
		size_t k = iov[i].iov_len < most - at ? iov[i].iov_len : (size_t)(most - at);

		memcpy(whole + at, iov[i].iov_base, k);
		at += k;
	}
	push(net, c, SIM_UP, whole, at);
	free(whole);
	net->moved[SIM_UP] += at;
}

static ssize_t sim_send(struct kvf_resp_io *io, const struct iovec *iov, int n)
{
	struct sim_net *net = io->net_arg;
	struct sim_conn *c = conn_of(io);
	uint64_t most = length_of(io, iov, n, false), room;
	struct sim_pipe *pipe;
	bool cut = false;

	io->syscalls++;
	net->now_ns = net->clock(net->clock_arg);
	if (!c)
		return -EBADF;
	if (c->state != SIM_CONN_OPEN)
		return c->state == SIM_CONN_BROKEN ? -EPIPE : -ENOTCONN;
	if (!most)
		wrong(net, "a send of nothing");
	pipe = &c->pipe[SIM_UP];
	room = net->habits.buffer ? net->habits.buffer - (pipe->sent - pipe->arrived) : most;
	most = most < room ? most : room;
	most = most ? portion(net, SIM_UP, most, &cut) : 0;
	if (!most)
		return -EAGAIN;
	send_some(net, c, iov, n, most);
	if (cut)
		pipe->piece[pipe->n_pieces - 1].cut = pipe->sent;
	return (ssize_t)most;
}

static int sim_watch(struct kvf_resp_io *io, struct kvf_tier_host *host, struct kvf_watch *watch, unsigned events)
{
	struct sim_net *net = io->net_arg;
	struct sim_conn *c = io->fd < 0 && !events ? NULL : conn_of(io);

	(void)host;
	watch->fd = io->fd;
	watch->events = events;
	if (c)
		c->watch = events ? watch : NULL;
	else if (events)
		wrong(net, "a descriptor that is not open is watched");
	return KVF_OK;
}

const struct kvf_resp_net sim_net_ops = {
	.size = sizeof(sim_net_ops),
	.name = "sim",
	.connect = sim_connect,
	.connected = sim_connected,
	.close = sim_close,
	.recv = sim_recv,
	.send = sim_send,
	.watch = sim_watch,
};
