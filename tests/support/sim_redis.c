/* SPDX-License-Identifier: Apache-2.0 */
/* A server that speaks RESP: see sim_redis.h. */
#include "tests/support/sim_redis.h"
#include "tests/support/sim_words.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_MAX 16u

struct text {
	char *p;
	size_t n, cap;
};

/* A client. */
struct peer {
	uint32_t protocol, database;
	bool known, leaving;
	bool multi, spoilt; /* spoilt: what is queued will not be carried out */
	uint8_t *queue[QUEUE_MAX]; /* commands as they came */
	size_t queue_n[QUEUE_MAX];
	uint32_t n_queue;
};

static uint64_t below(struct sim_redis *r, uint64_t n)
{
	return n ? sim_net_random(r->net) % n : 0;
}

static bool chance(struct sim_redis *r, uint32_t ppm)
{
	return ppm && below(r, 1000000) < ppm;
}

static void wrong(struct sim_redis *r, struct peer *peer, const char *what)
{
	peer->leaving = true;
	r->judge.wrong(r->judge.arg, what);
}

/* ---- what it says ---- */

static void add(struct text *t, const void *p, size_t n)
{
	if (t->n + n > t->cap) {
		t->cap = 2 * (t->n + n);
		t->p = realloc(t->p, t->cap);
	}
	memcpy(t->p + t->n, p, n);
	t->n += n;
}

__attribute__((format(printf, 2, 3))) static void say(struct text *t, const char *fmt, ...)
{
	char line[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	add(t, line, (size_t)n);
}

static void say_bulk(struct text *t, const void *p, size_t n)
{
	say(t, "$%zu\r\n", n);
	add(t, p, n);
	say(t, "\r\n");
}

static void say_nil(struct text *t, const struct peer *peer)
{
	say(t, peer->protocol == 3 ? "_\r\n" : "$-1\r\n");
}

static void say_error(struct sim_redis *r, const struct peer *peer, struct text *t, const char *error)
{
	r->errors++;
	if (peer->protocol == 3 && !below(r, 8))
		say(t, "!%zu\r\n%s\r\n", strlen(error), error);
	else
		say(t, "-%s\r\n", error);
}

/* ---- errors ---- */

enum { ANY = 1, WRITES = 2 };

static const struct {
	const char *text;
	uint8_t whom;
} errors[] = {
	{ "LOADING Redis is loading the dataset in memory", ANY },
	{ "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", ANY },
	{ "CLUSTERDOWN The cluster is down", ANY },
	{ "TRYAGAIN Multiple keys request during rehashing of slot", ANY },
	{ "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", ANY },
	{ "MOVED 3999 192.0.2.1:6381", ANY },
	{ "ASK 3999 192.0.2.1:6381", ANY },
	{ "NOPERM User kvferry has no permissions to run the command", ANY },
	{ "WRONGTYPE Operation against a key holding the wrong kind of value", ANY },
	{ "ERR something went wrong", ANY },
	{ "OOM command not allowed when used memory > 'maxmemory'.", WRITES },
	{ "READONLY You can't write against a read only replica.", WRITES },
	{ "MISCONF Redis is configured to save RDB snapshots, but it is currently unable to persist to disk.", WRITES },
	{ "NOREPLICAS Not enough good replicas to write.", WRITES },
};

#define ERRORS (sizeof(errors) / sizeof(errors[0]))

static bool writes(const struct sim_command *c)
{
	return sim_command_is(c, "SET") || sim_command_is(c, "UNLINK") || sim_command_is(c, "DEL") ||
	       sim_command_is(c, "EXEC");
}

/* An error that this command meets; NULL: none. */
static const char *trouble(struct sim_redis *r, const struct sim_command *c)
{
	uint32_t i = (uint32_t)below(r, ERRORS);

	if (r->window_until_ns > r->net->now_ns)
		i = r->window_error;
	else if (chance(r, r->faults.window)) {
		r->window_error = i;
		r->window_until_ns = r->net->now_ns + below(r, r->faults.window_ns);
	} else if (!chance(r, r->faults.error))
		return NULL;
	return errors[i].whom == ANY || writes(c) ? errors[i].text : NULL;
}

/* ---- who is there ---- */

static bool may_enter(const struct sim_redis *r, const struct sim_word *user, const struct sim_word *password)
{
	return !r->o.password || ((!user || sim_word_is(user, r->o.user)) && sim_word_is(password, r->o.password));
}

static void hello_reply(const struct peer *peer, struct text *t)
{
	say(t, peer->protocol == 3 ? "%%3\r\n" : "*6\r\n");
	say(t, "$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:%u\r\n", peer->protocol);
	say(t, "$7\r\nmodules\r\n*0\r\n");
}

static void do_hello(struct sim_redis *r, struct peer *peer, const struct sim_command *c, struct text *t)
{
	bool auth = c->n > 2 && sim_word_is(&c->word[2], "AUTH");
	uint32_t at = auth ? 5 : 2;

	if (c->n != at + 2 || !sim_word_is(&c->word[1], "3") || !sim_word_is(&c->word[at], "SETNAME")) {
		wrong(r, peer, "a HELLO that Redis would not take");
		return;
	}
	if (r->o.old_protocol) {
		say_error(r, peer, t, "NOPROTO unsupported protocol version");
		return;
	}
	if (auth && !may_enter(r, &c->word[3], &c->word[4])) {
		say_error(r, peer, t, "WRONGPASS invalid username-password pair or user is disabled.");
		return;
	}
	peer->known |= auth || !r->o.password;
	if (!peer->known) {
		say_error(r, peer, t, "NOAUTH HELLO must be called with the client already authenticated");
		return;
	}
	peer->protocol = 3;
	hello_reply(peer, t);
}

static void do_auth(struct sim_redis *r, struct peer *peer, const struct sim_command *c, struct text *t)
{
	if (c->n != 2 && c->n != 3) {
		wrong(r, peer, "an AUTH that Redis would not take");
	} else if (!may_enter(r, c->n == 3 ? &c->word[1] : NULL, &c->word[c->n - 1])) {
		say_error(r, peer, t, "WRONGPASS invalid username-password pair or user is disabled.");
	} else {
		peer->known = true;
		say(t, "+OK\r\n");
	}
}

static void do_select(struct sim_redis *r, struct peer *peer, const struct sim_command *c, struct text *t)
{
	char number[16];

	snprintf(number, sizeof(number), "%u", r->o.database);
	if (c->n != 2 || !sim_word_is(&c->word[1], number)) {
		wrong(r, peer, "a SELECT of another database");
		return;
	}
	peer->database = r->o.database;
	say(t, "+OK\r\n");
}

static void unknown(struct sim_redis *r, const struct peer *peer, const struct sim_command *c, struct text *t)
{
	char error[128];

	snprintf(error, sizeof(error), "ERR unknown command '%.*s', with args beginning with: '%.*s'",
		 (int)c->word[0].n, (const char *)c->word[0].p, (int)(c->n > 1 && c->word[1].n < 32 ? c->word[1].n : 0),
		 (const char *)c->word[c->n > 1].p);
	say_error(r, peer, t, error);
}

/* ---- data ---- */

static void do_exists(struct sim_redis *r, const struct sim_command *c, struct text *t)
{
	uint32_t n = 0;

	for (uint32_t i = 1; i < c->n; i++) {
		r->judge.named(r->judge.arg, &c->word[i], NULL);
		n += sim_store_find(r, c->word[i].p, c->word[i].n) != NULL;
	}
	say(t, ":%u\r\n", n);
}

static void do_mget(struct sim_redis *r, const struct peer *peer, const struct sim_command *c, struct text *t)
{
	say(t, "*%u\r\n", c->n - 1);
	for (uint32_t i = 1; i < c->n; i++) {
		struct sim_value *v;

		r->judge.named(r->judge.arg, &c->word[i], NULL);
		v = sim_store_find(r, c->word[i].p, c->word[i].n);
		if (v && chance(r, r->faults.damage))
			sim_store_damage(r, v);
		if (v)
			say_bulk(t, v->bytes, v->n);
		else
			say_nil(t, peer);
	}
}

static void do_remove(struct sim_redis *r, const struct sim_command *c, struct text *t)
{
	uint32_t n = 0;

	for (uint32_t i = 1; i < c->n; i++) {
		struct sim_value *v;

		r->judge.named(r->judge.arg, &c->word[i], NULL);
		v = sim_store_find(r, c->word[i].p, c->word[i].n);
		n += v != NULL;
		if (v)
			sim_store_drop(r, v);
	}
	say(t, ":%u\r\n", n);
}

static bool proper_set(const struct sim_command *c, uint64_t *seconds)
{
	*seconds = 0;
	if (c->n == 3)
		return true;
	return c->n == 5 && sim_word_is(&c->word[3], "EX") && sim_word_number(&c->word[4], seconds) && *seconds;
}

static void do_set(struct sim_redis *r, struct sim_conn *conn, const struct sim_command *c, struct text *t)
{
	struct sim_value *v;
	uint64_t seconds;

	(void)proper_set(c, &seconds);
	r->judge.named(r->judge.arg, &c->word[1], &c->word[2]);
	if (!conn->mine)
		r->judge.late(r->judge.arg, &c->word[1]);
	v = sim_store_set(r, &c->word[1], &c->word[2]);
	if (seconds)
		v->expires_ns = r->net->now_ns + seconds * 1000000000ull;
	say(t, "+OK\r\n");
}

/* ---- transactions ---- */

static void drop_queue(struct peer *peer)
{
	for (uint32_t i = 0; i < peer->n_queue; i++)
		free(peer->queue[i]);
	peer->n_queue = 0;
	peer->multi = peer->spoilt = false;
}

static void do_exec(struct sim_redis *r, struct sim_conn *conn, struct text *t)
{
	struct peer *peer = conn->peer;
	uint32_t fails = chance(r, r->faults.partly) ? (uint32_t)below(r, peer->n_queue) : UINT32_MAX;

	say(t, "*%u\r\n", peer->n_queue);
	for (uint32_t i = 0; i < peer->n_queue; i++) {
		struct sim_command c;
		bool bad = false;

		(void)sim_words_read(peer->queue[i], peer->queue_n[i], &c, &bad);
		if (i < fails)
			do_set(r, conn, &c, t);
		else
			say_error(r, peer, t, "OOM command not allowed when used memory > 'maxmemory'.");
	}
	drop_queue(peer);
}

static void queue(struct sim_redis *r, struct peer *peer, const uint8_t *raw, size_t n, struct text *t)
{
	if (peer->n_queue == QUEUE_MAX) {
		wrong(r, peer, "a long transaction");
		return;
	}
	peer->queue[peer->n_queue] = malloc(n);
	memcpy(peer->queue[peer->n_queue], raw, n);
	peer->queue_n[peer->n_queue++] = n;
	say(t, "+QUEUED\r\n");
}

/* ---- one command ---- */

/* Before it is known who they are, clients may say this. True: it was answered. */
static bool greeting(struct sim_redis *r, struct peer *peer, const struct sim_command *c, const char *error,
		     struct text *t)
{
	if (sim_command_is(c, "HELLO")) {
		if (error && !below(r, 4))
			say_error(r, peer, t, error);
		else if (r->o.no_hello)
			unknown(r, peer, c, t);
		else
			do_hello(r, peer, c, t);
		return true;
	}
	if (sim_command_is(c, "AUTH")) {
		do_auth(r, peer, c, t);
		return true;
	}
	if (r->o.password && !peer->known) {
		say_error(r, peer, t, "NOAUTH Authentication required.");
		peer->spoilt = true;
		return true;
	}
	if (sim_command_is(c, "SELECT"))
		do_select(r, peer, c, t);
	else if (sim_command_is(c, "CLIENT") && r->o.no_client)
		unknown(r, peer, c, t);
	else if (sim_command_is(c, "CLIENT") && c->n == 3 && sim_word_is(&c->word[1], "SETNAME"))
		say(t, "+OK\r\n");
	else
		return false;
	return true;
}

static bool proper(struct sim_redis *r, const struct peer *peer, const struct sim_command *c)
{
	uint64_t seconds;

	if (peer->database != r->o.database)
		return false;
	if (sim_command_is(c, "MULTI") || sim_command_is(c, "EXEC"))
		return c->n == 1 && sim_command_is(c, "EXEC") == peer->multi;
	if (sim_command_is(c, "SET"))
		return proper_set(c, &seconds);
	if (c->n < 2 || peer->multi)
		return false;
	return sim_command_is(c, "EXISTS") || sim_command_is(c, "MGET") || sim_command_is(c, "UNLINK") ||
	       sim_command_is(c, "DEL");
}

static void data(struct sim_redis *r, struct sim_conn *conn, const struct sim_command *c, const uint8_t *raw, size_t n,
		 struct text *t)
{
	struct peer *peer = conn->peer;

	if (peer->multi && sim_command_is(c, "SET"))
		queue(r, peer, raw, n, t);
	else if (sim_command_is(c, "SET"))
		do_set(r, conn, c, t);
	else if (sim_command_is(c, "MULTI")) {
		peer->multi = true;
		peer->spoilt = false;
		say(t, "+OK\r\n");
	} else if (sim_command_is(c, "EXEC")) {
		do_exec(r, conn, t);
	} else if (sim_command_is(c, "EXISTS")) {
		do_exists(r, c, t);
	} else if (sim_command_is(c, "MGET")) {
		do_mget(r, peer, c, t);
	} else if (sim_command_is(c, "UNLINK") && r->o.no_unlink) {
		unknown(r, peer, c, t);
	} else {
		do_remove(r, c, t);
	}
}

static void answer(struct sim_redis *r, struct sim_conn *conn, const struct sim_command *c, const uint8_t *raw,
		   size_t n, struct text *t)
{
	struct peer *peer = conn->peer;
	const char *error = trouble(r, c);
	/* Its MULTI was answered with an error. */
	bool alone = sim_command_is(c, "EXEC") && !peer->multi && peer->spoilt;

	if (chance(r, r->faults.forget))
		peer->known = false;
	if (greeting(r, peer, c, error, t))
		return;
	if (!alone && !proper(r, peer, c)) {
		wrong(r, peer, "a command that Redis would not take, or not here");
	} else if (alone) {
		peer->spoilt = false;
		say_error(r, peer, t, "ERR EXEC without MULTI");
	} else if (sim_command_is(c, "EXEC") && (error || peer->spoilt)) {
		drop_queue(peer);
		say_error(r, peer, t, "EXECABORT Transaction discarded because of previous errors.");
	} else if (error) {
		peer->spoilt |= peer->multi || sim_command_is(c, "MULTI");
		say_error(r, peer, t, error);
	} else {
		data(r, conn, c, raw, n, t);
	}
}

/* ---- what befalls a server ---- */

static void restart(struct sim_redis *r)
{
	r->restarts++;
	if (below(r, 2))
		sim_store_clear(r);
	r->window_error = 0; /* it is loading */
	r->window_until_ns = r->net->now_ns + below(r, r->faults.window_ns);
	for (uint32_t i = 0; i < r->net->top; i++)
		if (r->net->conn[i].served)
			sim_net_break(r->net, &r->net->conn[i]);
}

static void kick(struct sim_redis *r)
{
	struct sim_conn *c = &r->net->conn[below(r, r->net->top)];

	if (!c->served || c->state != SIM_CONN_OPEN)
		return;
	((struct peer *)c->peer)->leaving = true;
	sim_net_hang_up(r->net, c);
}

static void befall(struct sim_redis *r)
{
	const struct sim_redis_faults *f = &r->faults;

	if (chance(r, f->evict))
		sim_store_evict(r);
	if (chance(r, f->busy))
		r->busy_until_ns = r->net->now_ns + below(r, f->window_ns);
	if (chance(r, f->kick))
		kick(r);
	if (chance(r, f->restart))
		restart(r);
}

static void garnish(struct sim_redis *r, const struct peer *peer, struct text *t)
{
	if (chance(r, r->faults.garbage))
		add(t, "\0\1\2", 3);
	if (peer->protocol != 3 || !chance(r, r->extras))
		return;
	if (below(r, 2))
		say(t, ">2\r\n$10\r\ninvalidate\r\n*1\r\n$3\r\nkey\r\n");
	else
		say(t, "|1\r\n+ttl\r\n:3600\r\n");
}

static size_t came(void *arg, struct sim_conn *conn, const uint8_t *p, size_t n)
{
	struct sim_redis *r = arg;
	size_t at = 0;

	while (conn->served) {
		struct peer *peer = conn->peer;
		struct text t = { NULL, 0, 0 };
		struct sim_command c;
		bool bad = false;
		size_t used;

		if (peer->leaving)
			return n;
		used = sim_words_read(p + at, n - at, &c, &bad);
		if (bad)
			wrong(r, peer, "what no Redis could read");
		if (!used)
			break;
		r->commands++;
		garnish(r, peer, &t);
		answer(r, conn, &c, p + at, used, &t);
		sim_net_say(r->net, conn, t.p, t.n);
		free(t.p);
		at += used;
		befall(r);
	}
	return at;
}

static void opened(void *arg, struct sim_conn *conn)
{
	static const char crowded[] = "-ERR max number of clients reached\r\n";
	struct sim_redis *r = arg;
	struct peer *peer = calloc(1, sizeof(*peer));

	peer->protocol = 2;
	conn->peer = peer;
	if (!chance(r, r->faults.crowd))
		return;
	peer->leaving = true;
	sim_net_say(r->net, conn, crowded, sizeof(crowded) - 1);
	sim_net_hang_up(r->net, conn);
}

static void closed(void *arg, struct sim_conn *conn)
{
	struct peer *peer = conn->peer;

	(void)arg;
	drop_queue(peer);
	free(peer);
	conn->peer = NULL;
}

static void misused(void *arg, const char *what)
{
	struct sim_redis *r = arg;

	r->judge.wrong(r->judge.arg, what);
}

static uint64_t busy_until(void *arg)
{
	return ((struct sim_redis *)arg)->busy_until_ns;
}

void sim_redis_init(struct sim_redis *redis, struct sim_net *net)
{
	memset(redis, 0, sizeof(*redis));
	redis->net = net;
	net->server.arg = redis;
	net->server.opened = opened;
	net->server.came = came;
	net->server.closed = closed;
	net->server.busy_until_ns = busy_until;
	net->server.wrong = misused;
}

void sim_redis_fini(struct sim_redis *redis)
{
	sim_store_clear(redis);
}

void sim_redis_calm(struct sim_redis *redis)
{
	memset(&redis->faults, 0, sizeof(redis->faults));
	redis->busy_until_ns = redis->window_until_ns = 0;
}
