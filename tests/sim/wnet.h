/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The library's own Redis tier in a world: over a simulated network, on the world's clock, to a simulated server that
 * has its own idea of the protocol. What reaches the server must be what was stored, and a slot may be touched only
 * while a request has it. The server may outlive the world, and be found by the next one.
 */
#ifndef KVF_TESTS_SIM_WNET_H
#define KVF_TESTS_SIM_WNET_H

#include "base/mem.h"
#include "kvferry/kvf_tier.h"
#include "tests/support/sim_net.h"
#include "tests/support/sim_redis.h"
#include "tier/resp/resp.h"

#define WNET_BUCKETS 1024u
#define WNET_REQS 4096u
#define WNET_PAGES 8192u

struct world;

struct wnet_options {
	bool on; /* in place of the simulated tier `at` */
	bool keep; /* the server, after the world: somebody takes it over */
	uint32_t at;
	bool multiprocess; /* LMCache's names of that mode */
	bool older; /* values of older LMCaches are looked for too */
	enum kvf_resp_format format;
	enum kvf_resp_verify verify;
	uint32_t connections, ttl_s;
	uint64_t connect_timeout_ns, stall_timeout_ns;
	bool user, password;
	uint32_t database;
	bool no_hello, no_unlink, no_client, old_protocol; /* the server is old */
	uint32_t extras; /* see sim_redis.h */
	uint32_t small_turn; /* ppm: the tier may move a few bytes only */
	struct sim_net_habits habits;
	struct sim_net_faults net;
	struct sim_redis_faults redis;
};

/* What is known of a chunk that was once asked for. */
struct wnet_chunk {
	struct wnet_chunk *next, *next_name, *next_older;
	uint8_t key[KVF_KEY_BYTES];
	char name[512], older[512]; /* older: "" where there is none */
	uint32_t n_tokens, payload_bytes;
	uint64_t checksum;
	bool stored; /* a put has said what its bytes are */
	bool unsure; /* whether the server has it may differ from what anybody was told */
};

struct wnet_req {
	struct kvf_tier_req *req;
	struct wnet_chunk *chunk;
	uint32_t room; /* bytes of the slot that are held; 0: none */
};

struct wnet {
	struct kvf_tier_ops ops; /* hand over {&ops, this} */
	struct kvf_resp_tier *tier;
	struct kvf_mem mem;
	struct sim_net net;
	struct sim_redis redis;
	struct world *w;
	struct kvf_tier_host host, *engine;
	struct wnet_req req[WNET_REQS];
	uint32_t n_reqs;
	struct wnet_chunk *bucket[WNET_BUCKETS], *by_name[WNET_BUCKETS], *by_older[WNET_BUCKETS];
	uint32_t slot_bytes;
	uintptr_t page[WNET_PAGES]; /* of payloads of slots */
};

/* For w->o.net: makes w->wnet, unless a world before has left it one. */
struct wnet *wnet_open(struct world *w);
/* When the engine is closed. Returns bytes that leaked. */
uint64_t wnet_close(struct wnet *n);
void wnet_free(struct wnet *n);
/* No more faults. */
void wnet_calm(struct wnet *n);

/* What a get would need is there. */
bool wnet_has(struct wnet *n, const uint8_t key[KVF_KEY_BYTES]);
bool wnet_putting(const struct wnet *n, const uint8_t key[KVF_KEY_BYTES]);
bool wnet_removing(const struct wnet *n);
/* It may have gone from the server, or have come there, behind everybody's back: evicted, or by an answer that was
 * lost. */
bool wnet_unsure(const struct wnet *n, const uint8_t key[KVF_KEY_BYTES]);

#endif
