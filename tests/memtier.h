/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tier in memory for unit tests: it answers when it is told to, wrongly when it is told to, and counts what it was
 * asked. (tests/sim has the tier with random faults.)
 */
#ifndef KVF_TESTS_MEMTIER_H
#define KVF_TESTS_MEMTIER_H

#include <stdbool.h>

#include "kvferry/kvf_tier.h"

#define MEMTIER_MAX 256
#define MEMTIER_NAMES 16

struct memtier_chunk {
	uint8_t key[KVF_KEY_BYTES];
	uint8_t *bytes;
	uint32_t payload_bytes;
	uint64_t checksum;
};

struct memtier {
	uint32_t caps; /* set before open */
	struct kvf_tier_host *host;
	struct kvf_tier_open params;
	struct memtier_chunk chunk[MEMTIER_MAX];
	uint32_t n_chunks;
	struct kvf_tier_req *held[MEMTIER_MAX]; /* accepted, not completed */
	uint32_t n_held;
	bool hold;	  /* complete nothing until release */
	uint32_t hold_kind; /* only requests of this kind; 0 = all */
	bool backwards;	  /* complete what was accepted last first */
	bool unchecked;	  /* get: give no checksum */
	int fail;	  /* complete everything with this status */
	uint32_t fail_kind; /* only requests of this kind; 0 = all */
	uint32_t full_kind; /* accept none of this kind; 0 = all are welcome */
	uint32_t own_work; /* calls that are worth another one at once, while it holds nothing */
	uint32_t room;	  /* accept at most so many at once; 0 = any number */
	bool lets_go;	  /* cancel: complete it at once, with KVF_ECANCELED */
	bool lets_all_go; /* cancel: complete all it holds, as one whose connection breaks */
	struct kvf_tier_req last[KVF_REQ_CLEAR + 1]; /* of each kind, as it was accepted */
	/* KVF_TIER_WIRE: the different names that requests had. */
	struct {
		char text[256];
	} names[MEMTIER_NAMES];
	uint32_t n_names;
	uint32_t gets, puts, exists, removes, clears, cancels, batches, most_held;
	uint32_t strangers; /* cancels of requests that it does not hold */
};

extern const struct kvf_tier_ops memtier_ops;
void memtier_free(struct memtier *m);

#endif
