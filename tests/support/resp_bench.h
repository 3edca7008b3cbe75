/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Redis tier beside another client of the same server: values that go out of one piece of memory and back into it,
 * one connection, one at a time, alternating slices, the ratio of the throughputs with a bootstrap interval of 95 %.
 */
#ifndef KVF_TESTS_SUPPORT_RESP_BENCH_H
#define KVF_TESTS_SUPPORT_RESP_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/support/redis.h"

/* The other side. Each of its operations ends before it returns; false: it failed. */
struct resp_bench_client {
	const char *name;
	bool (*open)(int port);
	void (*close)(void);
	bool (*set)(unsigned key, const uint8_t *value, size_t n);
	/* The value's bytes, there when it returns. Behind `into` two more bytes may be written. */
	bool (*get)(unsigned key, uint8_t *into, size_t n);
	bool tls; /* both talk TLS with the server, whose certificate ours checks */
};

extern const char resp_bench_usage[];

/*
 * The whole program: options, server, every size, and back with an exit status. With the neutral allocator the server
 * keeps its pages (and the process its own), with the default one both do as they do.
 */
int resp_bench_main(const char *program, const struct resp_bench_client *other, int argc, char **argv);

#endif
