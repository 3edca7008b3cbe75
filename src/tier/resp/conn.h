/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection: from the first connect() to its loss. What it is told to say is text in one buffer, with payloads
 * named by address in between; what it owes is a ring of commands, answered in order. Reconnecting is its tier's
 * decision.
 *
 *	OFF -> CONNECTING -> [SECURING] -> GREETING -> READY -> OFF
 */
#ifndef KVF_TIER_RESP_CONN_H
#define KVF_TIER_RESP_CONN_H

#include "base/checksum.h"
#include "tier/resp/codec.h"
#include "tier/resp/io.h"
#include "tier/resp/resolve.h"
#include "tier/resp/resp.h"
#include "tier/resp/side.h"

#define KVF_RESP_SCRATCH 16384u	   /* read ahead, and what is thrown away goes through here */
#define KVF_RESP_HEAD 1024u	   /* read where a value's head is expected: at most so much of it is copied */
#define KVF_RESP_META_MAX 648u	   /* KVF_WIRE_META_MAX */

enum kvf_resp_state {
	KVF_RESP_OFF = 0,
	KVF_RESP_CONNECTING,
	KVF_RESP_SECURING,
	KVF_RESP_GREETING,
	KVF_RESP_READY
};

/* What an error reply means for us. */
enum kvf_resp_error {
	KVF_RESP_FINE = 0,
	KVF_RESP_REFUSED, /* this write only: out of memory, read only */
	KVF_RESP_NO_AUTH, /* not, or not any more, who we should be */
	KVF_RESP_DOWN,	  /* loading, no master, moved: all requests fail for now */
	KVF_RESP_UNKNOWN_COMMAND,
	KVF_RESP_OTHER
};

/* A command that was said, wholly or in part, and not yet answered. */
struct kvf_resp_cmd {
	struct kvf_tier_req *req; /* NULL: nobody waits for the answer */
	const uint8_t *payload;	  /* NULL: none */
	uint64_t payload_at;	  /* where in the text it belongs */
	uint32_t payload_n;
	uint32_t bytes; /* it moves, for the bound */
	uint8_t kind;	/* enum kvf_req_kind */
	uint8_t replies;
	uint64_t said_ns;
};

/* What has been read of the answer to the oldest command. */
struct kvf_resp_reply {
	uint8_t n; /* replies that are over */
	uint8_t error; /* enum kvf_resp_error, the first one */
	uint8_t form; /* the one being read, or that was taken */
	bool settled; /* what follows is of no interest */
	bool taken; /* this form's payload goes to its place */
	bool torn; /* metadata without bytes */
	/* of a put */
	bool multi;    /* a transaction was begun */
	bool no_multi; /* its beginning or its end is refused, as will be the next one's */
	bool open;     /* the connection is still inside */
	/* of this form */
	bool meta, side, bytes; /* elements that are there */
	bool odd;	 /* not what this command answers */
	bool stale;	 /* not this chunk */
	bool hashing;
	int64_t number;
	uint32_t meta_n, side_n;
	uint32_t expect; /* payload bytes the chunk should have; 0: not known to be ours */
	uint8_t *dest;	 /* where the payload goes; NULL: thrown away */
	uint64_t got;
	struct kvf_resp_side rec;
	uint8_t meta_bytes[KVF_RESP_META_MAX];
	uint8_t side_bytes[KVF_RESP_SIDE_BYTES];
};

struct kvf_resp_conn {
	struct kvf_resp_tier *tier;
	struct kvf_watch watch;
	struct kvf_resp_io io;
	struct kvf_resp_reader reader;
	enum kvf_resp_state state;
	uint8_t number;
	uint8_t greeting; /* step of hello.c */
	bool old_server;  /* knows no HELLO */
	bool event, readable, send_blocked;
	/* What each direction waits for (KVF_WATCH_*): they do not wait for the same. */
	uint8_t send_want, recv_want;
	bool proven; /* answered a command since it was opened */
	struct kvf_resp_address address; /* where it goes */
	uint64_t connect_ns;		 /* it has so long for it */
	uint64_t since_ns; /* of the connect, then of the last byte moved */
	/* text: [base, end) is in the buffer, up to `sent` it is gone */
	char *text;
	size_t text_cap;
	uint64_t base, end, sent;
	uint64_t pay; /* the first command whose payload may be unsent */
	uint32_t pay_sent;
	/* input */
	char *scratch;
	uint32_t in_at, in_n;
	struct kvf_resp_reply reply;
	struct kvf_checksum *sum;
	/* commands head..tail-1 */
	struct kvf_resp_cmd *cmd;
	uint32_t cmd_cap; /* power of two */
	uint64_t head, tail;
	uint64_t pending_bytes;
	/* counters */
	uint64_t bytes_in, bytes_out, copied;
};

int kvf_resp_conn_init(struct kvf_resp_conn *c, struct kvf_resp_tier *tier, uint8_t number, uint32_t cmds, size_t text);
void kvf_resp_conn_fini(struct kvf_resp_conn *c);

/* Begins to connect. Failure is told to the tier. */
void kvf_resp_conn_open(struct kvf_resp_conn *c);
/* Works for at most `budget` bytes; returns those moved. */
uint64_t kvf_resp_conn_run(struct kvf_resp_conn *c, uint64_t now_ns, uint64_t budget);
uint64_t kvf_resp_conn_deadline(const struct kvf_resp_conn *c);
/* Ends it: its requests go back to the tier, to be tried elsewhere or with `status`. KVF_EIO: it was lost; anything
 * else: there is no sense in another one at once. */
void kvf_resp_conn_break(struct kvf_resp_conn *c, int status, enum kvf_resp_trouble trouble, const char *why);

/* Where to write the next command: at most its room. */
void kvf_resp_conn_writer(struct kvf_resp_conn *c, struct kvf_resp_writer *w);
/* What was written becomes a command. `bytes`: what it will move. */
struct kvf_resp_cmd *kvf_resp_conn_add(struct kvf_resp_conn *c, const struct kvf_resp_writer *w, uint32_t bytes);
/* What was written becomes part of the greeting. */
void kvf_resp_conn_say(struct kvf_resp_conn *c, const struct kvf_resp_writer *w);
/* The oldest command is answered. */
void kvf_resp_conn_finish(struct kvf_resp_conn *c, int status);
bool kvf_resp_conn_unsent(const struct kvf_resp_conn *c);
/* The command of a request that this connection holds. */
struct kvf_resp_cmd *kvf_resp_conn_find(struct kvf_resp_conn *c, const struct kvf_tier_req *req, uint64_t *seq);

static inline struct kvf_resp_cmd *kvf_resp_conn_cmd(struct kvf_resp_conn *c, uint64_t seq)
{
	return &c->cmd[seq & (c->cmd_cap - 1)];
}

/* ---- conn_io.c ---- */

/* Moves at most `budget` bytes each; false: the connection broke. */
bool kvf_resp_conn_send(struct kvf_resp_conn *c, uint64_t now_ns, uint64_t budget, uint64_t *moved);
bool kvf_resp_conn_recv(struct kvf_resp_conn *c, uint64_t now_ns, uint64_t budget, uint64_t *moved);

/* ---- hello.c ---- */

/* Says who we are. False: it broke. */
bool kvf_resp_hello_begin(struct kvf_resp_conn *c);
bool kvf_resp_hello_token(struct kvf_resp_conn *c, const struct kvf_resp_token *t);

/* ---- reply.c ---- */

/* *trouble may be NULL. */
enum kvf_resp_error kvf_resp_error_of(const char *text, enum kvf_resp_trouble *trouble);
/* One token of the answer to `cmd`. False: it is no answer to it. */
bool kvf_resp_reply_token(struct kvf_resp_conn *c, struct kvf_resp_cmd *cmd, const struct kvf_resp_token *t);
/* n bytes of the payload are at their place. */
void kvf_resp_reply_took(struct kvf_resp_conn *c, uint64_t n);

#endif
