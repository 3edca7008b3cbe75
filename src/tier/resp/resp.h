/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Redis and Valkey tier: chunks in a server that speaks RESP, under LMCache's names and in its formats
 * (docs/remote.md).
 *
 * One connection carries the small commands (EXISTS, UNLINK), so that they never wait behind a value, and several carry
 * values; of these the first carries no PUT, so that a retrieve never waits behind a spill. Values go between socket
 * and slot without another copy (TLS: one, in OpenSSL).
 */
#ifndef KVF_TIER_RESP_RESP_H
#define KVF_TIER_RESP_RESP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/hist.h"
#include "base/mem.h"
#include "kvferry/kvf_status.h"
#include "kvferry/kvf_tier.h"

#define KVF_RESP_TEXT 256
#define KVF_RESP_SECRET 4096 /* passwords that are tokens of some identity service have kilobytes */
#define KVF_RESP_CONNECTIONS_MAX 16

enum kvf_resp_format {
	KVF_RESP_TWO_KEY = 0, /* <name>kv_bytes and <name>metadata */
	KVF_RESP_RAW = 1      /* <name>: full chunks only */
};

struct kvf_resp_net;

enum kvf_resp_verify { KVF_RESP_AUTO = 0, KVF_RESP_REQUIRE = 1, KVF_RESP_NO_VERIFY = 2 };

struct kvf_resp_options {
	enum kvf_resp_format format;
	enum kvf_resp_verify verify;
	bool tls;
	bool tls_verify;
	/* Values that older LMCaches left are read too (not with `require`: they have no side record): under the
	 * host's wire_older(), and in two keys as valkey:// had them, <name>:metadata and <name>:kv_bytes. */
	bool read_older, older_names, older_two_key;
	uint16_t port;
	char host[KVF_RESP_TEXT];   /* name or address; "" with a path */
	char path[KVF_RESP_TEXT];   /* unix socket */
	char user[KVF_RESP_TEXT];
	char password[KVF_RESP_SECRET];
	char user_file[KVF_RESP_TEXT];	   /* read at each connect, before user and password */
	char password_file[KVF_RESP_TEXT];
	char ca_file[KVF_RESP_TEXT]; /* these three are read at open, and at a connect after they changed */
	char cert_file[KVF_RESP_TEXT];
	char key_file[KVF_RESP_TEXT];
	char server_name[KVF_RESP_TEXT]; /* "": host */
	uint32_t database;
	uint32_t ttl_s;	      /* 0: none */
	uint32_t connections; /* for values: 1..KVF_RESP_CONNECTIONS_MAX */
	uint64_t connect_timeout_ns;
	uint64_t stall_timeout_ns; /* a connection that owes something and moves no byte for so long is given up */
	/* Tests: a network of their own (io.h; NULL: sockets), name servers of their own, jitter that is the same in
	 * every run (0: by address), new keys of TLS after so many bytes (0: 64 GiB). */
	const struct kvf_resp_net *net;
	void *net_arg;
	char name_servers[KVF_RESP_TEXT]; /* "address:port,..."; "": the system's */
	uint64_t jitter_seed;
	uint64_t tls_rekey_bytes;
};

/* Defaults: no server yet, three connections, 10 s to connect, 5 s of silence. */
void kvf_resp_options_init(struct kvf_resp_options *options);

/*
 * Reads a URL into the options: redis, rediss, unix, resp, valkey; user and password percent-decoded; the database
 * from the path or ?db=. KVF_OK, KVF_EINVAL, KVF_ERANGE, KVF_ENOTSUP (several servers). The report never shows the
 * URL: it may carry a password.
 */
int kvf_resp_url_parse(const char *url, struct kvf_report *report, struct kvf_resp_options *options);

/* What goes wrong between us and a server. A connection that ends is counted once, an error in an answer once, files
 * that cannot be used each time they changed. */
enum kvf_resp_trouble {
	KVF_RESP_T_RESOLVE = 0, /* its name has no address */
	KVF_RESP_T_REFUSED,	/* no connection is to be had */
	KVF_RESP_T_TLS,
	KVF_RESP_T_TLS_FILES,	/* certificates or key changed, and cannot be used: those read before are */
	KVF_RESP_T_AUTH,	/* user or password: NOAUTH, WRONGPASS, or files that cannot be read */
	KVF_RESP_T_NOPERM,
	KVF_RESP_T_RESET,	/* closed by the server or the network, or by us because a put was withdrawn half-way */
	KVF_RESP_T_TIMEOUT,	/* no connection, or no byte of an answer, in time */
	KVF_RESP_T_PROTOCOL,	/* what it says is no RESP, or answers nothing we asked */
	KVF_RESP_T_OOM,
	KVF_RESP_T_READONLY,	/* READONLY, NOREPLICAS, MISCONF: it takes no writes */
	KVF_RESP_T_LOADING,
	KVF_RESP_T_BUSY,
	KVF_RESP_T_CLUSTER,	/* MASTERDOWN, CLUSTERDOWN, TRYAGAIN, MOVED, ASK, CROSSSLOT */
	KVF_RESP_T_WRONGTYPE,
	KVF_RESP_T_UNKNOWN_COMMAND,
	KVF_RESP_T_OTHER,
	KVF_RESP_TROUBLES,
	KVF_RESP_T_COUNTED = KVF_RESP_TROUBLES /* it was, where the answer was read */
};

enum kvf_resp_class { KVF_RESP_SMALL = 0, KVF_RESP_GETS, KVF_RESP_PUTS, KVF_RESP_CLASSES };

/* One server, since open. */
struct kvf_resp_stats {
	const char *server; /* host:port or path: no credentials. Valid as long as the tier */
	uint64_t connects, connections; /* greeted so far, and now */
	uint64_t bytes_in, bytes_out; /* on the wire, inside TLS */
	uint64_t errors[KVF_RESP_TROUBLES];
	/* From the words given to a connection until the end of the answer. */
	const struct kvf_hist *latency[KVF_RESP_CLASSES];
};

/* The tier, to be handed to the engine with kvf_resp_ops. Copies the options. KVF_OK, KVF_ENOMEM, KVF_ENOTSUP. */
struct kvf_resp_tier;
extern const struct kvf_tier_ops kvf_resp_ops;
int kvf_resp_new(struct kvf_mem *mem, const struct kvf_resp_options *options, struct kvf_resp_tier **out);
void kvf_resp_get_stats(const struct kvf_resp_tier *tier, struct kvf_resp_stats *out);
const char *kvf_resp_trouble_name(enum kvf_resp_trouble trouble);
/* After close(). NULL is fine. */
void kvf_resp_free(struct kvf_resp_tier *tier);

#endif
