/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An inference server in one libev loop, on a unix socket. A client sends a prompt (a count, then token numbers), the
 * server looks it up, brings back what is cached, "computes" the rest, stores it, and answers how much was a hit.
 * Sockets and kvferry (kvf_ev.h) share the loop and the one thread; several prompts are in flight at once.
 *
 * The example forks its own client, which checks the answers.
 */
#include "common.h"

#include <kvferry/kvf_ev.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define CLIENTS 3u
#define MAX_PROMPT (8 * CHUNK)

struct request {
	uint32_t n;
	uint32_t tokens[MAX_PROMPT];
};

/* One connection, one prompt at a time. */
struct client {
	ev_io io;
	struct request request;
	size_t got; /* bytes of the request read so far */
	struct kvf_seq *seq;
	uint32_t table[MAX_PROMPT / KV_BLOCK];
	uint32_t hit;
};

static struct kv kv;
static struct kvf_engine *engine;
static struct kvf_ev adapter;
static struct client clients[CLIENTS];
static unsigned connected, open_clients = CLIENTS;

/* ---- the server: from one completion to the next ---- */

static void submit(struct client *c, struct kvf_op *op)
{
	uint64_t id;

	op->user_data = (uint64_t)(c - clients);
	must(kvf_submit(engine, op, 1, &id) == 1, kvf_error_detail(engine)); /* wakes the loop */
}

static void submit_copy(struct client *c, enum kvf_op_code code, size_t n)
{
	struct kvf_block_list list = { c->table, MAX_PROMPT / KV_BLOCK, 0 };
	struct kvf_blocks blocks = { 1, &list };
	struct kvf_span span = { 0, n, &blocks };
	struct kvf_fence_in now = { .kind = KVF_FENCE_NOW };
	struct kvf_op op;

	(code == KVF_OP_STORE ? kvf_prep_store : kvf_prep_retrieve)(&op, c->seq, &span, &now);
	submit(c, &op);
}

static void compute_and_store(struct client *c, uint32_t cached)
{
	c->hit = cached;
	must(kv_wrong(&kv, c->table, c->request.tokens, 0, cached) == 0, "the cache gave the right bytes");
	kv_compute(&kv, c->table, c->request.tokens, cached, c->request.n);
	submit_copy(c, KVF_OP_STORE, c->request.n);
}

static void on_completion(struct kvf_ev *ev, const struct kvf_completion *done)
{
	struct client *c = &clients[done->user_data];

	(void)ev;
	if (done->op == KVF_OP_LOOKUP && done->usable > 0) {
		submit_copy(c, KVF_OP_RETRIEVE, done->usable);
	} else if (done->op != KVF_OP_STORE) {
		compute_and_store(c, done->op == KVF_OP_RETRIEVE ? done->tokens : 0);
	} else {
		must(write(c->io.fd, &c->hit, sizeof(c->hit)) == sizeof(c->hit), "the answer");
		kvf_seq_close(c->seq);
		c->got = 0;
	}
}

static void on_readable(struct ev_loop *loop, ev_io *io, int revents)
{
	struct client *c = io->data;
	ssize_t n = read(io->fd, (char *)&c->request + c->got, sizeof(c->request) - c->got);
	struct kvf_op op;

	(void)revents;
	if (n <= 0) { /* the client is gone; with the last one the engine leaves the loop, and the loop ends */
		ev_io_stop(loop, io);
		close(io->fd);
		if (--open_clients == 0)
			kvf_ev_detach(&adapter);
		return;
	}
	c->got += (size_t)n;
	if (c->got < sizeof(uint32_t) || c->got < sizeof(uint32_t) * (1 + (size_t)c->request.n))
		return;
	must(kvf_seq_open(engine, NULL, &c->seq) == KVF_OK, "kvf_seq_open");
	must(kvf_seq_append(c->seq, c->request.tokens, c->request.n) == KVF_OK, "kvf_seq_append");
	kvf_prep_lookup(&op, c->seq, 0, 0, 0);
	submit(c, &op);
}

static void on_connect(struct ev_loop *loop, ev_io *listener, int revents)
{
	struct client *c = &clients[connected];

	(void)revents;
	for (uint32_t b = 0; b < MAX_PROMPT / KV_BLOCK; b++) /* each its own blocks */
		c->table[b] = connected * (MAX_PROMPT / KV_BLOCK) + b;
	ev_io_init(&c->io, on_readable, accept(listener->fd, NULL, NULL), EV_READ);
	must(c->io.fd >= 0, "accept");
	c->io.data = c;
	ev_io_start(loop, &c->io);
	if (++connected == CLIENTS)
		ev_io_stop(loop, listener);
}

/* ---- the client: a process with three connections ---- */

static void ask(int fd, uint32_t n, uint32_t shared, uint32_t seed)
{
	struct request r = { .n = n };
	ssize_t bytes = (ssize_t)(sizeof(uint32_t) * (1 + (size_t)n));

	make_prompt(r.tokens, n, shared, seed);
	must(write(fd, &r, (size_t)bytes) == bytes, "a prompt is sent");
}

static void expect(int fd, uint32_t want, const char *what)
{
	uint32_t hit = 0;

	must(read(fd, &hit, sizeof(hit)) == sizeof(hit), "the server answers");
	printf("client: %4u tokens were cached: %s\n", hit, what);
	must(hit == want, what);
}

static int client_main(const struct sockaddr_un *address)
{
	int fd[CLIENTS];

	for (unsigned i = 0; i < CLIENTS; i++) {
		fd[i] = socket(AF_UNIX, SOCK_STREAM, 0);
		must(connect(fd[i], (const struct sockaddr *)address, sizeof(*address)) == 0, "connect");
	}
	for (uint32_t i = 0; i < CLIENTS; i++)
		ask(fd[i], 1000, 0, i + 1);
	for (uint32_t i = 0; i < CLIENTS; i++)
		expect(fd[i], 0, "three new prompts at once");
	ask(fd[0], 2000, 0, 1);
	expect(fd[0], 3 * CHUNK, "a prompt that goes on where another client's ended");
	ask(fd[1], 2000, 0, 1);
	expect(fd[1], 7 * CHUNK, "the same again: its full chunks");
	ask(fd[2], 1000, 600, 7);
	expect(fd[2], 0, "a system prompt of 600 tokens and a question");
	ask(fd[2], 1000, 600, 8);
	expect(fd[2], 2 * CHUNK, "the same system prompt, another question");
	return 0;
}

int main(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char dir[] = "/tmp/kvferry-example-XXXXXX";
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), status = 1;
	struct ev_loop *loop;
	struct kvf_open_params params;
	ev_io listener;
	pid_t pid;

	alarm(20); /* whatever goes wrong, it ends */
	must(fd >= 0 && mkdtemp(dir) != NULL, "a directory for the socket");
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", dir);
	must(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, CLIENTS) == 0, "listen");
	pid = fork(); /* before the engine is opened: it belongs to one process */
	if (pid == 0)
		return client_main(&address);
	loop = ev_loop_new(EVFLAG_AUTO); /* EV_DEFAULT would reap the client before waitpid() does */
	must(loop != NULL, "ev_loop_new");
	kv_open(&kv, CLIENTS * MAX_PROMPT / KV_BLOCK);
	kvf_open_params_init(&params);
	engine = engine_open(&params, &kv, "64");
	must(kvf_ev_attach(&adapter, loop, engine, on_completion, NULL) == KVF_OK, "kvf_ev_attach");
	ev_io_init(&listener, on_connect, fd, EV_READ);
	ev_io_start(loop, &listener);
	ev_run(loop, 0);
	ev_loop_destroy(loop);
	must(waitpid(pid, &status, 0) == pid && status == 0, "the client got what it expected");
	unlink(address.sun_path);
	rmdir(dir);
	engine_close(engine);
	kv_close(&kv);
	return 0;
}
