/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Timeline: Chrome/Perfetto trace events through a callback, one row (tid) per resource: see what overlaps.
 * Off (write NULL) it costs one branch.
 */
#ifndef KVF_BASE_TIMELINE_H
#define KVF_BASE_TIMELINE_H

#include <stddef.h>
#include <stdint.h>

struct kvf_timeline {
	/* One event, one JSON object of n bytes on one line, without a line end; NUL-terminated. */
	void (*write)(const char *json, size_t n, void *user);
	void *user;
};

/* Rows 0..15 are fixed, tiers come after. */
enum kvf_timeline_row {
	KVF_ROW_TURN = 0,
	KVF_ROW_JOBS,
	KVF_ROW_D2H,
	KVF_ROW_H2D,
	KVF_ROW_CHECKSUM,
	KVF_ROW_POOL,
	KVF_ROW_TIER = 16
};

/* A named row; call once per row after the callback is set. */
void kvf_timeline_row_name(struct kvf_timeline *tl, uint32_t row, const char *name);
/* A complete slice [start, end). id links it to its operation. */
void kvf_timeline_slice(struct kvf_timeline *tl, uint32_t row, const char *name, uint64_t start_ns, uint64_t end_ns,
			uint64_t id, uint64_t bytes);
/* Asynchronous slices that may overlap on one row: phase 'b' or 'e' with the same id. */
void kvf_timeline_async(struct kvf_timeline *tl, uint32_t row, char phase, const char *name, uint64_t at_ns,
			uint64_t id, uint64_t bytes);
void kvf_timeline_counter(struct kvf_timeline *tl, const char *name, uint64_t at_ns, uint64_t value);

#endif
