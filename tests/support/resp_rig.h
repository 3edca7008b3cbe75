/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Redis tier without an engine, against a server in the same thread that moves exactly as many bytes as it is
 * told, on a clock that the test moves: every run is the same.
 */
#ifndef KVF_TESTS_SUPPORT_RESP_RIG_H
#define KVF_TESTS_SUPPORT_RESP_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop/loop.h"
#include "tier/resp/tier.h"

#define RESP_RIG_PEERS 32
#define RESP_RIG_KEYS 16
#define RESP_RIG_WORDS 8

struct resp_bytes {
	char *p;
	size_t n, cap;
};

/* The server's end of one connection. */
struct resp_peer {
	int fd; /* -1: none */
	struct resp_bytes in, out;
	bool multi;
	unsigned queued;
	struct resp_bytes replies; /* of a transaction */
};

struct resp_rig {
	struct kvf_mem mem;
	struct kvf_loop loop;
	struct kvf_tier_host host;
	struct kvf_resp_tier *tier;
	struct kvf_resp_options opt;
	uint64_t now_ns;
	uint32_t payload_bytes;
	char path[108];
	int listener;
	struct resp_peer peer[RESP_RIG_PEERS];
	unsigned n_peers; /* accepted so far */
	struct {
		char *key;
		struct resp_bytes value;
	} store[RESP_RIG_KEYS];
	uint64_t up, down; /* bytes the server took and gave, all connections */
	/* What the server says before each answer, and before each element of one to MGET; NULL: nothing. */
	const char *before, *between;
	bool old, no_mget; /* it knows neither HELLO nor UNLINK; no MGET */
	char log[4096];
	size_t log_n;
};

/* One request and what became of it. */
struct resp_ask {
	struct kvf_tier_req req;
	unsigned done; /* times it was completed */
	int status;
};

/* Zero-initialised but for what the test sets in `opt` after kvf_resp_options_init(), and how the server is. With a
 * host the tier goes there, and the server of the rig has nothing to do. False: no socket. */
bool resp_rig_open(struct resp_rig *rig, uint32_t payload_bytes);
void resp_rig_close(struct resp_rig *rig);
void resp_rig_submit(struct resp_rig *rig, struct resp_ask *ask, enum kvf_req_kind kind, unsigned key, uint8_t *slot);
/* One turn of the tier; true: it moved something. */
bool resp_rig_turn(struct resp_rig *rig, uint64_t budget);
/* Turns until it has nothing to do. */
void resp_rig_settle(struct resp_rig *rig);

/* The server: takes new connections; moves at most n bytes. Returns those moved. */
void resp_peer_accept(struct resp_rig *rig);
size_t resp_peer_take(struct resp_rig *rig, struct resp_peer *peer, size_t n);
size_t resp_peer_give(struct resp_rig *rig, struct resp_peer *peer, size_t n);
void resp_peer_close(struct resp_peer *peer);

#endif
