/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulated device behind struct kvf_device_ops, on virtual time: one stream for each direction.
 * Copies begin in the order given, wait for their fence, take a random time, and move their bytes
 * at the moment they complete: memory that was reused too early on either side really is damaged.
 *
 * Knows paged layouts only; its payload is [group][plane][layer][token][row], whatever order the
 * layout names, since nobody but this device reads it.
 */
#ifndef KVF_TESTS_SIM_SIMDEV_H
#define KVF_TESTS_SIM_SIMDEV_H

#include <stdbool.h>

#include "kvferry/kvf_device.h"
#include "simtier.h"

/* Chances in millionths, of each copy. */
struct simdev_faults {
	uint32_t again; /* copy() says KVF_EAGAIN */
	uint32_t refuse; /* copy() says KVF_EIO */
	uint32_t error; /* completes with KVF_EIO, half done */
	uint32_t lost; /* completes with KVF_EDEVLOST, as everything from then on */
	uint32_t capture; /* capture() says KVF_ECAPTURE */
	uint32_t inside; /* moves its bytes and completes inside copy() when nothing is before it */
	uint32_t overlap; /* does not wait for the one before it to complete */
	uint32_t scribble; /* the target is garbage while the copy runs */
	uint32_t deaf; /* cancel does not help */
	uint32_t slow; /* takes slow_ns */
	uint64_t latency_min_ns, latency_max_ns, slow_ns;
};

struct simdev_lane {
	struct kvf_copy *first, *last; /* not completed, in the order given */
	uint64_t issued, completed; /* numbers of copies; completed: all up to it */
	uint64_t busy_until_ns;
	uint32_t n;
};

struct simdev {
	/* filled in by the user */
	uint32_t caps; /* enum kvf_device_caps */
	uint32_t max_in_flight; /* of one direction; then KVF_EAGAIN. 0: no bound */
	struct simdev_faults faults;
	struct simtier_hooks hooks; /* fail_call: copy() or capture() says KVF_EIO */
	uint64_t (*now_ns)(void *arg);
	void *now_arg;
	/* The user may want to know: an accepted copy ended. */
	void (*ended)(void *arg, const struct kvf_copy *copy, int status);
	/* the device's own */
	struct kvf_device_ops ops;
	struct kvf_device_host *host;
	const struct kvf_layout *layout;
	struct wl_rng rng;
	struct simdev_lane lanes[2];
	bool lost;
	uint32_t n_fences, n_locked;
	uint64_t copies, completions, moved_bytes, errors;
};

/* A KVF_FENCE_EVENT's handle: read in capture(), may be gone afterwards. */
struct simdev_event {
	const volatile uint64_t *word;
	uint64_t value;
};

void simdev_init(struct simdev *dev, uint32_t caps, uint64_t seed);
/* No more faults; a lost device stays lost. */
void simdev_calm(struct simdev *dev);
/* Copies in flight of an operation; direction 0, 1, or -1 for both. */
uint32_t simdev_copies_of(const struct simdev *dev, uint64_t op_id, int direction);
/* When progress() has something to do next; KVF_NO_DEADLINE: it waits for a fence. */
uint64_t simdev_next_ns(const struct simdev *dev);

#endif
