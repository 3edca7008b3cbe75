/* SPDX-License-Identifier: Apache-2.0 */
/* The command line. */
#ifndef EXAMPLES_LLAMA_SERVER_OPTIONS_H
#define EXAMPLES_LLAMA_SERVER_OPTIONS_H

#include <kvferry/kvferry.h>
#include <stddef.h>

struct options {
	const char *model, *name, *host;
	unsigned long port, slots, context, piece, threads, queue, body_kib, backlog_kib, timeout_s, max_tokens,
		connections;
	int no_cache, precise, unfull; /* unfull: save_unfull_chunk */
	struct kvf_config *config; /* with LMCACHE_* of the environment, --config and --set */
};

/* 0; else what main() returns, plus one: it was told why. */
int options_read(struct options *o, int argc, char **argv);
void options_free(struct options *o);

#endif
