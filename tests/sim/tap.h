/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands between the engine and a real device and knows what is in flight, as the simulated device does by itself: no
 * slot used by two copies, no copy completed twice, nothing held at the end. What the device said of errors is
 * remembered: only that may reach the host.
 */
#ifndef KVF_TESTS_SIM_TAP_H
#define KVF_TESTS_SIM_TAP_H

#include "tests/sim/simdev.h"

#define TAP_COPIES 4096u

struct tap {
	struct simdev *dev; /* hooks, errors, lost */
	const struct kvf_device_ops *inner;
	void *inner_self;
	struct kvf_device_host host, *engine;
	struct kvf_copy *copies[TAP_COPIES];
	uint32_t n_copies, n_fences, n_locked;
	uint64_t said; /* statuses, a bit each */
};

extern const struct kvf_device_ops tap_ops;

void tap_init(struct tap *tap, struct simdev *dev);
uint32_t tap_copies_of(const struct tap *tap, uint64_t op_id, int direction);
/* Did the device ever say this error? */
bool tap_has_said(const struct tap *tap, int status);

#endif
