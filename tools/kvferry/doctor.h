/* SPDX-License-Identifier: Apache-2.0 */
/* kvferry doctor: what the checks share. Each adds findings; none prints, blocks or changes
 * anything. */
#ifndef KVFERRY_DOCTOR_H
#define KVFERRY_DOCTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"

#define DOCTOR_FINDINGS 64

struct doctor_finding {
	const char *topic; /* "io_uring" */
	bool degraded;
	char what[256];
	char cost[256]; /* degraded only: what it costs */
	char cure[512]; /* and what helps */
};

struct doctor {
	const char *root; /* in front of /proc and /sys; "" but in tests */
	const struct kvf_settings *settings;
	struct doctor_finding finding[DOCTOR_FINDINGS];
	size_t n;
};

/* Both return the finding, so that cost and cure can be filled in; never NULL (the last one is
 * written over when there are too many). */
struct doctor_finding *doctor_ok(struct doctor *d, const char *topic, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
struct doctor_finding *doctor_degraded(struct doctor *d, const char *topic, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* First line of a file below root, without its end. False: not to be read. */
bool doctor_read(const struct doctor *d, const char *path, char *line, size_t size);
/* Value of "Key: N" in such a file, as it stands (kB are not converted). */
bool doctor_field(const struct doctor *d, const char *path, const char *key, uint64_t *value);

void doctor_kernel(struct doctor *d); /* io_uring, Linux AIO */
void doctor_memory(struct doctor *d); /* memlock, limits, huge pages, NUMA */
void doctor_device(struct doctor *d); /* driver */
void doctor_disk(struct doctor *d); /* file systems of local_disk */
void doctor_remote(struct doctor *d); /* is the server there? At most 1 s a host. */

#endif
