/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server behind a simulated network: what Redis says to the words of the Redis tier, in RESP2 or RESP3, and what it
 * says when it is not well. Its reader is its own, and strict: a command that Redis would not take, words in an order
 * that makes no sense, keys in another database than the client's are wrong.
 *
 * What it holds is lost and spoilt as a server's data is: key by key, and so that whoever looks can notice. A value is
 * flipped, exchanged or replaced only while a side record of its chunk is there to say so, and as long as it stays.
 */
#ifndef KVF_TESTS_SIM_REDIS_H
#define KVF_TESTS_SIM_REDIS_H

#include "tests/support/sim_net.h"
#include "tests/support/sim_words.h"

#define SIM_REDIS_BUCKETS 1024u

struct sim_value {
	struct sim_value *next;
	char *key;
	size_t n_key, n;
	uint8_t *bytes;
	uint64_t expires_ns;
	bool damaged; /* only a side record can tell */
};

struct sim_redis_options {
	const char *user, *password; /* NULL: nobody is asked */
	uint32_t database; /* its client's */
	bool no_hello, no_unlink, no_client; /* old */
	bool old_protocol; /* knows HELLO, but no version 3 */
	const char *bytes_tail; /* of the key of a payload */
	const char *side_tail;
	bool looked_at; /* the client compares with the side record */
};

/* Chances in millionths of a command, unless said otherwise. */
struct sim_redis_faults {
	uint32_t error;	 /* it is answered with an error */
	uint32_t window; /* from here on commands are, for up to window_ns */
	uint32_t partly; /* an EXEC: what it carries out fails in part */
	uint32_t forget; /* it no longer knows who the client is */
	uint32_t restart; /* all connections break; perhaps everything is lost */
	uint32_t kick;	 /* some connection is closed */
	uint32_t crowd;	 /* of a connection: too many clients */
	uint32_t evict;	 /* some key goes */
	uint32_t damage; /* a value is spoilt before it is read */
	uint32_t garbage; /* the answer is no RESP */
	uint32_t busy;	 /* nothing is looked at for up to window_ns */
	uint64_t window_ns;
};

struct sim_redis_judge {
	void *arg;
	void (*wrong)(void *arg, const char *what);
	/* A key is asked for (value NULL), or set. */
	void (*named)(void *arg, const struct sim_word *key, const struct sim_word *value);
	/* It is there no more, or not as it was. */
	void (*gone)(void *arg, const char *key, size_t n);
	/* Set by somebody who had closed his connection. */
	void (*late)(void *arg, const struct sim_word *key);
};

struct sim_redis {
	struct sim_net *net;
	struct sim_redis_options o;
	struct sim_redis_faults faults;
	struct sim_redis_judge judge;
	uint32_t extras; /* ppm: pushes and attributes of RESP3 between the answers */
	struct sim_value *bucket[SIM_REDIS_BUCKETS];
	uint32_t n_values;
	uint64_t busy_until_ns, window_until_ns;
	uint32_t window_error;
	uint64_t commands, errors, evicted, damaged, restarts;
};

/* Becomes the server of a network, which it lives as long as. */
void sim_redis_init(struct sim_redis *redis, struct sim_net *net);
/* After sim_net_fini(). */
void sim_redis_fini(struct sim_redis *redis);
void sim_redis_calm(struct sim_redis *redis);
/* sim_store.c: what it holds */
struct sim_value *sim_store_find(struct sim_redis *redis, const void *key, size_t n);
struct sim_value *sim_store_set(struct sim_redis *redis, const struct sim_word *key, const struct sim_word *value);
void sim_store_drop(struct sim_redis *redis, struct sim_value *value);
void sim_store_clear(struct sim_redis *redis);
/* Some key goes. */
void sim_store_evict(struct sim_redis *redis);
/* This one is spoilt, where somebody can notice. */
void sim_store_damage(struct sim_redis *redis, struct sim_value *value);

#endif
