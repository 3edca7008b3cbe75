/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tier seam: a place below RAM that keeps chunks (disk, Redis, your own).
 *
 * Fill struct kvf_tier_ops and hand it to kvf_engine_open(). Rules:
 *  - no call may block, except open and close;
 *  - a request that was accepted completes exactly once, by host->complete(), possibly from inside submit(); until then
 *    its slot stays as it is: a tier must not complete before kernel or peer let go of the slot's bytes;
 *  - a tier that fails says so in the status; the engine counts, opens the breaker, probes. The tier itself need only
 *    reconnect when it is asked again. A missing chunk is KVF_ENOENT and no failure;
 *  - payloads are opaque bytes. A tier with KVF_TIER_RECORDS stores the slot as it is, header page included, so that
 *    the engine can check key and checksum. Others store the payload alone and should return the checksum they kept.
 *  - host->complete() only queues; it does not call back.
 */
#ifndef KVFERRY_KVF_TIER_H
#define KVFERRY_KVF_TIER_H

#include "kvferry/kvferry.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KVF_SLOT_HEADER_BYTES 4096

enum kvf_tier_caps {
	KVF_TIER_RECORDS = 1u << 0,	/* stores header + payload */
	KVF_TIER_SYNC_EXISTS = 1u << 1, /* answers KVF_REQ_EXISTS inside submit() */
	KVF_TIER_DURABLE = 1u << 2,	/* a completed put counts as KVF_LEVEL_DURABLE */
	KVF_TIER_SHARED = 1u << 3,	/* a completed put counts as KVF_LEVEL_REMOTE */
	KVF_TIER_CLEARS = 1u << 4,	/* knows KVF_REQ_CLEAR */
	KVF_TIER_WIRE = 1u << 5		/* names chunks as LMCache does: wants wire_name() and its kin */
};

enum kvf_req_kind {
	KVF_REQ_EXISTS = 1,
	KVF_REQ_GET = 2,
	KVF_REQ_PUT = 3,
	KVF_REQ_REMOVE = 4,
	KVF_REQ_CLEAR = 5 /* everything; no key */
};

/* One chunk's request. The engine owns it; `scratch` and `link` are the tier's until complete(). */
struct kvf_tier_req {
	uint32_t kind;	   /* enum kvf_req_kind */
	uint32_t priority; /* enum kvf_priority */
	uint8_t key[KVF_KEY_BYTES];
	uint8_t parent[KVF_KEY_BYTES];
	/* LMCache's hash of the chunk, wire_len bytes; 0: LMCache has none for it, or no tier asked for it. The
	 * suffix is what stands behind it in the name, tags or salt; it stays valid until complete(). For
	 * wire_name(). */
	uint8_t wire[KVF_KEY_BYTES];
	uint32_t wire_len;
	uint32_t wire_suffix_n;
	const char *wire_suffix;
	uint32_t n_tokens;	 /* of the chunk; 0 in a get that does not know */
	uint8_t *slot;		 /* get, put: header page, then payload; page-locked, 4 KiB aligned */
	uint32_t payload_bytes;	 /* put: to write. get: room on entry, bytes found on completion */
	uint32_t has_checksum;	 /* get: the tier returned one. put: always 1 */
	uint32_t checked;	 /* get: the tier has compared key and checksum itself */
	uint32_t completed;	 /* the engine's: complete() was called */
	uint64_t checksum;	 /* XXH3-64 of the payload */
	uint64_t deadline_ns;	 /* on the engine's clock; completing later is allowed, but of no use */
	int32_t status;
	uint32_t depth;	      /* chunk number in its sequence */
	void *link;	      /* tier's, then the engine's */
	uint64_t scratch[16]; /* the tier's */
};

struct kvf_tier_host;

/* A descriptor watched for a tier, embedded by the tier, zeroed before its first use. ready() is called inside
 * kvf_poll() with the events that came (KVF_WATCH_*); it should do little: note it, and work in progress(). */
enum { KVF_WATCH_READ = 1, KVF_WATCH_WRITE = 2 };

struct kvf_watch {
	void (*ready)(struct kvf_watch *watch, unsigned events);
	void *arg; /* the tier's */
	int fd;
	unsigned events;
	void *link; /* the engine's */
	uint64_t scratch[10];
};

struct kvf_tier_host {
	size_t size;
	void (*complete)(struct kvf_tier_host *host, struct kvf_tier_req *req, int status);
	uint64_t (*now_ns)(struct kvf_tier_host *host);
	/* Watches fd for `events`; 0 stops. KVF_OK, KVF_ENOMEM, KVF_EIO. */
	int (*watch)(struct kvf_tier_host *host, struct kvf_watch *watch, int fd, unsigned events);
	void *(*alloc)(struct kvf_tier_host *host, size_t n);
	void (*release)(struct kvf_tier_host *host, void *p, size_t n);
	void (*log)(struct kvf_tier_host *host, enum kvf_log_level level, const char *msg);
	struct kvf_report *report; /* during open only */
	/*
	 * For tiers with KVF_TIER_WIRE, not before open() returned. wire_name: what LMCache calls the chunk of a
	 * request, its length without the NUL, or KVF_ERANGE. A chunk that LMCache has no name for (content ids, an
	 * adapter, keys of the host) is named after its key. wire_meta: LMCache's RemoteMetadata of a chunk of
	 * n_tokens, its length, or KVF_ERANGE. wire_payload: how many bytes a chunk of n_tokens has; KVF_ENOENT when
	 * `meta` (n bytes; NULL: none to look at) describes anything else.
	 */
	int (*wire_name)(struct kvf_tier_host *host, const struct kvf_tier_req *req, char *buf, size_t cap);
	int (*wire_meta)(struct kvf_tier_host *host, uint32_t n_tokens, uint8_t *buf, size_t cap);
	int (*wire_payload)(struct kvf_tier_host *host, uint32_t n_tokens, const uint8_t *meta, size_t n,
			    uint32_t *payload_bytes);
	/* What an older LMCache called it, or KVF_ENOENT where there is no other name with the same hash. */
	int (*wire_older)(struct kvf_tier_host *host, const struct kvf_tier_req *req, char *buf, size_t cap);
	/* The tier does not keep the chunk any more: it made room. `key` is its first 16 bytes. What RAM has of it is
	 * sent down again when it is stored or flushed again. Only inside submit() and progress(). */
	void (*gone)(struct kvf_tier_host *host, const uint8_t key[16]);
};

struct kvf_tier_open {
	size_t size;
	uint32_t slot_bytes;	/* header + payload, rounded up to 4 KiB */
	uint32_t payload_bytes; /* of a full chunk */
	uint32_t chunk_tokens;
	uint32_t world_size;
	uint32_t rank;
	uint32_t reserved0;
	uint8_t fingerprint[KVF_KEY_BYTES]; /* of the engine's identity */
	const char *model;
};

/* open, close, submit and progress are required. */
struct kvf_tier_ops {
	size_t size;
	const char *name; /* "disk", "redis": static, at most 15 bytes */
	int (*open)(void *self, struct kvf_tier_host *host, const struct kvf_tier_open *params, uint32_t *caps);
	/* Only when nothing is in flight. */
	void (*close)(void *self);
	/* Takes requests in order and returns how many it took; what it did not take it never touches. 0: full, try
	 * after progress(). */
	unsigned (*submit)(void *self, struct kvf_tier_req *const *reqs, unsigned n);
	/* Wish to end a request early; it still completes, with KVF_ECANCELED where that was possible, and that may be
	 * before this returns. Only for requests that the tier took and did not complete. May be NULL. */
	void (*cancel)(void *self, struct kvf_tier_req *req);
	/* Works for at most `budget` bytes. Returns > 0 when it is worth calling again at once. Called in a turn while
	 * the tier has requests, when it is due, and after it returned > 0: an event of a descriptor that came without
	 * a request makes next_deadline_ns() say 0. */
	uint64_t (*progress)(void *self, uint64_t now_ns, uint64_t budget);
	/* When progress() is due without any event, KVF_NO_DEADLINE if never. NULL: never. */
	uint64_t (*next_deadline_ns)(void *self);
};

#ifdef __cplusplus
}
#endif
#endif
