/* SPDX-License-Identifier: Apache-2.0 */
/* The rig (tests/rig.h) over a remote tier: waits by kvf_fd instead of spinning, and collects what is logged. */
#ifndef KVF_TESTS_SUPPORT_REMOTE_H
#define KVF_TESTS_SUPPORT_REMOTE_H

#include "tests/rig.h"

#define REMOTE_PAYLOAD (2u * RIG_LAYERS * RIG_CHUNK * RIG_HIDDEN)

struct remote {
	struct rig rig;
	char log[32768];
	size_t log_n;
	struct kvf_log_sink sink;
	uint64_t longest_wait_ns; /* of one kvf_poll() */
	uint64_t longest_op_ns;	  /* past its deadline, of those that had one */
	uint64_t polls;
};

/* settings: key, value, ..., NULL; may be NULL. */
int remote_try_open(struct remote *m, const char *url, const char *const *settings);
void remote_open(struct remote *m, const char *url, const char *const *settings);
void remote_close(struct remote *m);
/* Runs an operation with a deadline of so many milliseconds (0: the default). */
struct kvf_completion remote_run(struct remote *m, struct kvf_op *op, unsigned timeout_ms);
/* Sequence `number` of n tokens: stored, and acknowledged by the remote tier. */
struct kvf_completion remote_store(struct remote *m, uint64_t number, uint32_t n);
/* Out of RAM; then back from below. Checks the bytes of what came. */
struct kvf_completion remote_fetch(struct remote *m, uint64_t number, uint32_t n, unsigned timeout_ms);
struct kvf_completion remote_lookup(struct remote *m, unsigned timeout_ms);
/* Polls for so long. */
void remote_idle(struct remote *m, unsigned ms);
struct kvf_tier_stats remote_stats(struct remote *m);

#endif
