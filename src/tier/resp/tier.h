/* SPDX-License-Identifier: Apache-2.0 */
/* The tier as its own files see it. */
#ifndef KVF_TIER_RESP_TIER_H
#define KVF_TIER_RESP_TIER_H

#include "tier/resp/conn.h"
#include "tier/resp/resolve.h"
#include "tier/resp/tls.h"

/* How a chunk may lie in the server: the keys behind its name. What is written has the first form. */
struct kvf_resp_form {
	bool older_name; /* the host's wire_older() */
	bool side;
	const char *meta; /* NULL: no metadata, full chunks only */
	const char *bytes;
};

#define KVF_RESP_FORMS 2

static inline enum kvf_resp_class kvf_resp_class_of(unsigned kind)
{
	return kind == KVF_REQ_GET ? KVF_RESP_GETS : kind == KVF_REQ_PUT ? KVF_RESP_PUTS : KVF_RESP_SMALL;
}

/* What the tier keeps in a request's scratch. */
struct kvf_resp_mark {
	uint32_t conn; /* number, + 1; 0: waits to be tried again */
	uint32_t tries;
};

struct kvf_resp_tier {
	struct kvf_mem *mem;
	struct kvf_tier_host *host; /* NULL: not open */
	struct kvf_resp_options opt;
	struct kvf_resp_tls *tls;
	struct kvf_resp_resolver resolver;
	struct kvf_resp_conn conn[1 + KVF_RESP_CONNECTIONS_MAX]; /* the first: small commands */
	uint32_t n_conns;
	uint32_t turn; /* whose turn it is to go first */
	uint32_t payload_bytes, chunk_tokens;
	struct kvf_resp_form form[KVF_RESP_FORMS];
	uint32_t n_forms;
	struct kvf_tier_req *again[KVF_RESP_CLASSES]; /* wait for a connection, or lost theirs; in order */
	struct kvf_tier_req *again_tail[KVF_RESP_CLASSES];
	uint32_t n_held;
	/* the server as a whole */
	uint64_t backoff_ns, retry_at_ns;
	uint32_t losses; /* connections in a row that were lost before they answered anything */
	uint64_t random;
	bool no_unlink; /* it knows DEL only */
	uint8_t warned; /* of which commands, by reply.c */
	uint64_t puts_pause_ns, puts_at_ns; /* while it has no transactions for us */
	bool event;
	char name[KVF_RESP_TEXT + 8]; /* for log lines and metrics: no credentials */
	uint64_t connects;
	uint64_t errors[KVF_RESP_TROUBLES];
	struct kvf_hist latency[KVF_RESP_CLASSES];
};

void kvf_resp_log(struct kvf_resp_tier *tier, enum kvf_log_level level, const char *fmt, ...) KVF_PRINTF(3, 4);
uint64_t kvf_resp_now(const struct kvf_resp_tier *tier);
/* A connection could not be opened, or was lost before it was of any use. */
void kvf_resp_tier_failed(struct kvf_resp_tier *tier, const char *why);
/* The same of one of several addresses, of which another is left to be tried. */
void kvf_resp_tier_next(struct kvf_resp_tier *tier, const char *why);
void kvf_resp_tier_trouble(struct kvf_resp_tier *tier, enum kvf_resp_trouble trouble);
/* A command was answered. */
void kvf_resp_tier_answered(struct kvf_resp_tier *tier, const struct kvf_resp_cmd *cmd);
void kvf_resp_tier_works(struct kvf_resp_tier *tier);
/* A put's transaction was accepted, or is refused to us: puts are not tried again at once then. */
void kvf_resp_tier_transaction(struct kvf_resp_tier *tier, bool accepted);
/* Ends a request. */
void kvf_resp_tier_done(struct kvf_resp_tier *tier, struct kvf_tier_req *req, int status);
/* Its connection is gone. */
void kvf_resp_tier_lost(struct kvf_resp_tier *tier, struct kvf_tier_req *req, int status);
/* What is stored under this name is not the chunk: removes it, if that can be said right now. */
void kvf_resp_tier_reject(struct kvf_resp_tier *tier, const struct kvf_tier_req *req);

struct kvf_resp_mark *kvf_resp_mark(struct kvf_tier_req *req);

/* request.c: adds the command for a request. KVF_OK, KVF_EAGAIN (no room), or why it cannot be asked for at all. */
int kvf_resp_request(struct kvf_resp_conn *c, struct kvf_tier_req *req);
int kvf_resp_request_unlink(struct kvf_resp_conn *c, const struct kvf_tier_req *req, struct kvf_tier_req *waiter);
/* By the options: which forms there are. */
void kvf_resp_forms(struct kvf_resp_tier *tier);
/* Keys of a form. In the answer to a get: metadata, side record, bytes, form after form. */
static inline unsigned kvf_resp_keys(const struct kvf_resp_form *form)
{
	return 1u + (form->meta != NULL) + form->side;
}

#endif
