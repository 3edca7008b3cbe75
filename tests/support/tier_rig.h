/* SPDX-License-Identifier: Apache-2.0 */
/* The rig over one tier in memory, on virtual time: see rig.h and memtier.h. */
#ifndef KVF_TESTS_SUPPORT_TIER_RIG_H
#define KVF_TESTS_SUPPORT_TIER_RIG_H

#include "tests/memtier.h"
#include "tests/rig.h"

extern uint64_t tier_rig_now;
extern const struct kvf_clock tier_rig_clock;

void tier_rig_open(struct rig *r, struct memtier *m, uint32_t slots, uint32_t caps, bool staging);
/* The same over n tiers of `caps` each, and with options of the test's own; tiers and clock are filled in. */
void tier_rig_open_more(struct rig *r, struct memtier *m, uint32_t n, uint32_t caps, struct rig_options o);
void tier_rig_close(struct rig *r, struct memtier *m);
/* Sequence `number` of so many chunks is stored. */
void tier_rig_store(struct rig *r, uint64_t number, uint32_t chunks);
void tier_rig_flush(struct rig *r);
/* Everything of `number` is below, nothing in RAM. */
void tier_rig_only_below(struct rig *r, uint64_t number, uint32_t chunks);
/* 64 slots over one tier that alone has sequence 1 of so many chunks, and answers no get while m->hold is set. */
void tier_rig_open_held(struct rig *r, struct memtier *m, uint32_t chunks);
/* Retrieves the sequence that is open, of so many chunks, into wiped blocks: what came is right, and nothing else was
 * written. */
struct kvf_completion tier_rig_fetch(struct rig *r, uint32_t chunks);
/* A retrieve of all that sequence `number` of so many chunks has, submitted. */
uint64_t tier_rig_begin_retrieve(struct rig *r, uint64_t number, uint32_t chunks, uint8_t priority);
void tier_rig_poll(struct rig *r, int turns);

#endif
