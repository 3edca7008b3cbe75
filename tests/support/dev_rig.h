/* SPDX-License-Identifier: Apache-2.0 */
/* The rig over the simulated device, on the virtual time of tier_rig.h: copies that wait, fail, or are lost. */
#ifndef KVF_TESTS_SUPPORT_DEV_RIG_H
#define KVF_TESTS_SUPPORT_DEV_RIG_H

#include "tests/rig.h"
#include "tests/sim/simdev.h"
#include "tests/support/tier_rig.h"

#define DEV_RIG_CAPS (KVF_DEVICE_LAYERWISE | KVF_DEVICE_FENCES)

/* `o` with the device and the clock filled in, for rig_open() or tier_rig_open_more(). A copy ends in the next turn. */
struct rig_options dev_rig_options(struct simdev *d, uint32_t caps, struct rig_options o);
/* The rig over such a device, with so many slots; with 64 and a tier below it. */
void dev_rig_open(struct rig *r, struct simdev *d, uint32_t caps, uint32_t slots);
void dev_rig_open_tier(struct rig *r, struct simdev *d, struct memtier *m, uint32_t tier_caps);
/* Copies that begin from now on stay with the device. */
void dev_rig_hold(struct simdev *d);
/* Held ones end in the next turn, and so does what comes after them. */
void dev_rig_go(struct simdev *d);
/* A store of all that sequence `number` of so many chunks has, submitted; its KV is computed. */
uint64_t dev_rig_begin_store(struct rig *r, uint64_t number, uint32_t chunks, uint32_t flags);

#endif
