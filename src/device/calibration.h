/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the copy planner goes by, kept from one start to the next: a text file with a line for every card, driver and
 * version of this library that was measured. It saves the measuring, nothing hangs on it: a file that is missing,
 * damaged, somebody else's or cannot be written costs a measurement.
 */
#ifndef KVF_DEVICE_CALIBRATION_H
#define KVF_DEVICE_CALIBRATION_H

#include "base/mem.h"
#include "device/plan.h"

#define KVF_CALIBRATION_PATH 1024 /* bytes of a path, with its NUL */
#define KVF_CALIBRATION_KEY 256	  /* bytes of a key, with its NUL */

/* The file that the setting names: "auto" is kvferry/calibration below $XDG_CACHE_HOME, else below ~/.cache; "off" and
 * "" are none. xdg, home: of the environment, or NULL. False: there is no file. */
bool kvf_calibration_path(const char *setting, const char *xdg, const char *home, char out[KVF_CALIBRATION_PATH]);

/* The costs by enum kvf_copy_direction that were kept under the key; what is no printable ASCII in it counts as '_'.
 * False: none, or none that can be trusted. */
bool kvf_calibration_load(struct kvf_mem *mem, const char *path, const char *key, struct kvf_copy_costs costs[2]);

/* Keeps them, in place of what was there under the key. A file that is no calibration is left as it is. Folders that
 * are missing are made, two levels. False: not kept. */
bool kvf_calibration_save(struct kvf_mem *mem, const char *path, const char *key, const struct kvf_copy_costs costs[2]);

#endif
