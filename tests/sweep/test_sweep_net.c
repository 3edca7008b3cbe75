/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine over a simulated network (tests/sim/wnet.h): it stores, drops its RAM, looks up, retrieves, prefetches and
 * removes, while the network breaks the connection behind each byte of each direction, holds back at each byte, or
 * breaks it at each thing that happens. Whatever it was: every operation ends, no byte is wrong, and afterwards what is
 * stored reaches the server and comes back from there.
 *
 * KVF_NET_SWEEP=full: at every byte. Else at every STRIDE-th.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/harness.h"
#include "tests/sim/world.h"

#define DRAIN_NS (200 * KVF_NS_PER_S)
#define STRIDE 11u
#define TOKENS 16u
#define MAX_WRONG 3u

struct fault {
	uint64_t cut_at[2], hold_at[2], reset_at;
};

struct seen {
	uint64_t moved[2], events, tokens;
	bool struck;
};

static void modern(struct wnet_options *o)
{
	o->format = KVF_RESP_TWO_KEY;
	o->password = o->user = true;
	o->database = 3;
	o->connections = 2;
}

static void old(struct wnet_options *o)
{
	o->format = KVF_RESP_RAW;
	o->password = true;
	o->no_hello = o->no_unlink = true;
	o->connections = 1;
	o->ttl_s = 3600;
}

static void required(struct wnet_options *o)
{
	o->format = KVF_RESP_TWO_KEY;
	o->verify = KVF_RESP_REQUIRE;
	o->connections = 1;
	o->habits.at_once = true;
	o->habits.buffer = 100;
}

static const struct {
	const char *name;
	void (*options)(struct wnet_options *o);
	uint64_t tokens; /* that come back when nothing goes wrong */
} servers[] = {
	{"modern", modern, 2ull * TOKENS},
	{"old", old, 2ull * TOKENS},
	{"required", required, 2ull * TOKENS},
};

static void choose(struct world_options *o, size_t server)
{
	world_defaults(o, 11);
	o->n_slots = 8;
	o->net.on = true;
	o->net.connections = 1;
	o->net.connect_timeout_ns = KVF_NS_PER_S;
	o->net.stall_timeout_ns = KVF_NS_PER_S;
	o->net.habits.latency_min_ns = o->net.habits.latency_max_ns = 20000;
	servers[server].options(&o->net);
}

/* One operation to its end. */
static void ask(struct world *w, struct world_seq *seq, uint8_t code, uint8_t level, uint32_t tiers)
{
	struct world_ask a = {.seq = seq, .code = code, .n = seq->n, .level = level, .tiers = tiers};
	int status;

	if (w->failed)
		return;
	if (!world_submit(w, &a, &status))
		world_fail(w, "an operation was refused: %s", kvf_strerror(status));
	else if (!world_drain(w, world_now(w) + DRAIN_NS))
		world_fail(w, "an operation does not end");
}

static void script(struct world *w, struct world_seq *seq)
{
	ask(w, seq, KVF_OP_STORE, KVF_LEVEL_REMOTE, 0);
	ask(w, seq, KVF_OP_REMOVE, 0, KVF_TIER_RAM);
	ask(w, seq, KVF_OP_LOOKUP, 0, 0);
	ask(w, seq, KVF_OP_RETRIEVE, 0, 0);
	ask(w, seq, KVF_OP_REMOVE, 0, KVF_TIER_RAM);
	ask(w, seq, KVF_OP_PREFETCH, 0, 0);
	ask(w, seq, KVF_OP_RETRIEVE, 0, 0);
	ask(w, seq, KVF_OP_REMOVE, 0, 0);
	ask(w, seq, KVF_OP_RETRIEVE, 0, 0);
}

/* In good weather what is stored is found there. */
static void everything_works(struct world *w, struct world_seq *seq)
{
	uint64_t before;

	world_calm(w);
	world_advance(w, 31 * KVF_NS_PER_S); /* a breaker's longest */
	/* One finds out that a connection is dead, if it is: the breaker, that the server is there. */
	ask(w, seq, KVF_OP_LOOKUP, 0, 0);
	world_advance(w, 31 * KVF_NS_PER_S);
	ask(w, seq, KVF_OP_REMOVE, 0, 0);
	ask(w, seq, KVF_OP_STORE, KVF_LEVEL_REMOTE, 0);
	ask(w, seq, KVF_OP_REMOVE, 0, KVF_TIER_RAM);
	before = w->verified_tokens;
	ask(w, seq, KVF_OP_RETRIEVE, 0, 0);
	if (!w->failed && w->verified_tokens - before != TOKENS)
		world_fail(w, "afterwards %u of %u tokens come back", (unsigned)(w->verified_tokens - before), TOKENS);
}

static int once(size_t server, const struct fault *f, struct seen *seen)
{
	/* Megabytes of which a short life touches little: see sweep.c. */
	struct world *w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct world_options o;
	struct world_seq *seq = NULL;
	uint32_t tokens[TOKENS];
	int rc;

	CU_ASSERT_FATAL(w != MAP_FAILED);
	for (uint32_t i = 0; i < TOKENS; i++)
		tokens[i] = 100 + i;
	choose(&o, server);
	rc = world_open(w, &o);
	if (rc) {
		world_fail(w, "kvf_engine_open: %s", kvf_strerror(rc));
	} else {
		memcpy(w->wnet->net.cut_at, f->cut_at, sizeof(f->cut_at));
		memcpy(w->wnet->net.hold_at, f->hold_at, sizeof(f->hold_at));
		w->wnet->net.reset_at = f->reset_at;
		seq = world_seq_new(w, 0);
	}
	if (seq && world_seq_append(w, seq, tokens, TOKENS)) {
		script(w, seq);
		seen->moved[SIM_UP] = w->wnet->net.moved[SIM_UP];
		seen->moved[SIM_DOWN] = w->wnet->net.moved[SIM_DOWN];
		seen->events = w->wnet->net.events;
		seen->tokens = w->verified_tokens;
		seen->struck = w->wnet->net.struck;
		everything_works(w, seq);
	}
	world_close(w);
	rc = w->failed ? -1 : 0;
	if (rc)
		printf("\n  %s: cut at %llu up %llu down, held at %llu up %llu down, event %llu: %s\n",
		       servers[server].name, (unsigned long long)f->cut_at[SIM_UP],
		       (unsigned long long)f->cut_at[SIM_DOWN],
		       (unsigned long long)f->hold_at[SIM_UP], (unsigned long long)f->hold_at[SIM_DOWN],
		       (unsigned long long)f->reset_at, w->why);
	munmap(w, sizeof(*w));
	return rc;
}

static uint32_t stride(void)
{
	const char *form = getenv("KVF_NET_SWEEP");

	return form && !strcmp(form, "full") ? 1 : STRIDE;
}

/* What goes right when nothing goes wrong. */
static struct seen quiet(size_t server)
{
	static const struct fault none;
	struct seen seen = {{0, 0}, 0, 0, false};

	CU_ASSERT_EQUAL_FATAL(once(server, &none, &seen), 0);
	CU_ASSERT_EQUAL(seen.tokens, servers[server].tokens);
	CU_ASSERT_FALSE(seen.struck);
	CU_ASSERT_FATAL(seen.moved[SIM_UP] > 1000 && seen.moved[SIM_DOWN] > 500 && seen.events > 20);
	return seen;
}

static void sweep_bytes(bool cut)
{
	for (size_t s = 0; s < KVF_ARRAY_LEN(servers); s++) {
		struct seen whole = quiet(s);

		for (int way = SIM_UP; way <= SIM_DOWN; way++) {
			unsigned wrong = 0;

			for (uint64_t at = 1 + s; at <= whole.moved[way] && wrong < MAX_WRONG; at += stride()) {
				struct fault f = {{0, 0}, {0, 0}, 0};
				struct seen seen = whole;

				(cut ? f.cut_at : f.hold_at)[way] = at;
				wrong += once(s, &f, &seen) != 0;
				/* The last byte may be followed by nothing that could be held up. */
				CU_ASSERT(seen.struck || at == whole.moved[way]);
				CU_ASSERT(cut || seen.tokens == whole.tokens);
			}
			CU_ASSERT_EQUAL(wrong, 0);
		}
		printf("%s %llu up %llu down ", servers[s].name, (unsigned long long)whole.moved[SIM_UP],
		       (unsigned long long)whole.moved[SIM_DOWN]);
	}
}

static void test_cut(void)
{
	sweep_bytes(true);
}

static void test_split(void)
{
	sweep_bytes(false);
}

static void test_reset(void)
{
	for (size_t s = 0; s < KVF_ARRAY_LEN(servers); s++) {
		struct seen whole = quiet(s);
		unsigned wrong = 0;

		for (uint64_t at = 1; at <= whole.events && wrong < MAX_WRONG; at++) {
			struct fault f = {{0, 0}, {0, 0}, at};
			struct seen seen = whole;

			wrong += once(s, &f, &seen) != 0;
			CU_ASSERT(seen.struck);
		}
		CU_ASSERT_EQUAL(wrong, 0);
		printf("%s %llu events ", servers[s].name, (unsigned long long)whole.events);
	}
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"cut", test_cut},
		{"split", test_split},
		{"reset", test_reset},
	};

	return kvf_test_main("sweep_net", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
