/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device seam: how chunks get from where the host keeps its KV into the engine's page-locked slots and back.
 *
 * The library brings `host` (KV in host memory, a real device for CPU inference) and `cuda`. To write your own, fill
 * struct kvf_device_ops and hand it to kvf_engine_open(). Rules:
 *  - no call may block or sleep, except open and close; a device that copies synchronously (opaque formats) says so
 * with KVF_DEVICE_SYNC and is called for at most one chunk a turn;
 *  - a copy that was accepted completes exactly once, by host->complete(), possibly from inside the call itself;
 * until then the engine keeps the slot, the block ids and the fence alive and unchanged;
 *  - copies of one direction begin in the order they were given;
 *  - calls may come only from the engine and never nest; host->complete() only queues, it does not call back.
 */
#ifndef KVFERRY_KVF_DEVICE_H
#define KVFERRY_KVF_DEVICE_H

#include "kvferry/kvferry.h"

#ifdef __cplusplus
extern "C" {
#endif

enum kvf_device_caps {
	KVF_DEVICE_SYNC = 1u << 0,	/* copy() does the whole copy before it returns */
	KVF_DEVICE_LAYERWISE = 1u << 1, /* honours first_layer and n_layers */
	KVF_DEVICE_FENCES = 1u << 2	/* fence() works: stream-ordered and layerwise completion */
};

enum kvf_copy_direction { KVF_COPY_GATHER = 0 /* device -> slot */, KVF_COPY_SCATTER = 1 /* slot -> device */ };

/* A captured fence. The device alone knows what is inside; lives in the operation until release(). */
struct kvf_fence {
	uint64_t scratch[6];
};

struct kvf_device_host;

/* One chunk's copy. The engine owns it and fills the upper part; `scratch` is the device's until complete(). */
struct kvf_copy {
	uint32_t direction;	   /* enum kvf_copy_direction */
	uint32_t payload_bytes;	   /* of the chunk as it lies in the slot */
	uint8_t *payload;	   /* page-locked, 4 KiB aligned */
	uint64_t chunk_first_token; /* position of the chunk's first token in its sequence */
	uint32_t chunk_tokens;	   /* tokens of the chunk: the T of the payload */
	uint32_t first;		   /* token range inside the chunk that is to be moved: [first, first + n) */
	uint32_t n;
	uint32_t first_layer; /* layer range, over all groups counted through; everything: 0, UINT32_MAX */
	uint32_t n_layers;
	uint32_t n_groups;		       /* 0 for opaque layouts */
	const struct kvf_block_list *groups;   /* block ids by group, unchanged until complete() */
	struct kvf_fence *after;	       /* the copy may begin when this is done; NULL: at once */
	uint64_t op_id;
	uint64_t user_data; /* of the operation */
	int32_t status;	    /* what complete() was given */
	uint32_t reserved0;
	void *link;	     /* the engine's, from complete() on; the device's before */
	uint64_t scratch[12]; /* the device's */
};

/* What the engine offers to a device. */
struct kvf_device_host {
	size_t size;
	/* Ends a copy: KVF_OK, or the error. Once per accepted copy. */
	void (*complete)(struct kvf_device_host *host, struct kvf_copy *copy, int status);
	void *(*alloc)(struct kvf_device_host *host, size_t n);
	void (*release)(struct kvf_device_host *host, void *p, size_t n);
	void (*log)(struct kvf_device_host *host, enum kvf_log_level level, const char *msg);
	struct kvf_report *report; /* during open only */
};

/* Twelve slots at most. open, close and copy are required, the rest may be NULL. Every call returns a kvf_status. */
struct kvf_device_ops {
	size_t size;
	const char *name; /* "host", "cuda": static */
	/* caps: enum kvf_device_caps. The layout is the engine's copy and stays valid and unchanged until close or
	 * rebind. */
	int (*open)(void *self, struct kvf_device_host *host, const struct kvf_layout *layout, uint32_t *caps);
	void (*close)(void *self);
	int (*rebind)(void *self, const struct kvf_layout *layout);
	/* Page-locks pool memory for this device, a slice at a time. NULL: nothing to do. */
	int (*lock)(void *self, void *p, size_t n);
	void (*unlock)(void *self, void *p, size_t n);
	/* Turns the host's fence into one of ours, inside kvf_submit(). KVF_ECAPTURE for a capturing stream. NULL:
	 * only KVF_FENCE_NOW is accepted. */
	int (*capture)(void *self, const struct kvf_fence_in *in, struct kvf_fence *fence);
	void (*release)(void *self, struct kvf_fence *fence);
	/* Begins a copy. KVF_EAGAIN: the queue is full, nothing happened, try after progress(). Any other error: the
	 * copy was not accepted and does not complete. */
	int (*copy)(void *self, struct kvf_copy *copy);
	/* Wish to end a copy early. It still completes, with KVF_ECANCELED if none of it will touch memory any more. */
	void (*cancel)(void *self, struct kvf_copy *copy);
	/* A fence that is done when every copy accepted so far in this direction is. */
	int (*fence)(void *self, enum kvf_copy_direction direction, struct kvf_fence_out *out);
	/* Moves at most `budget` bytes of its own accord (host) or looks at the device's events (cuda) and completes
	 * what is done. Returns the bytes moved or the number of completions: > 0 means it is worth calling again at
	 * once. */
	uint64_t (*progress)(void *self, uint64_t budget);
};

#ifdef __cplusplus
}
#endif
#endif
