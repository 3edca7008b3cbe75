/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Histogram with a bounded relative error: 16 sub-buckets per power of two (as HdrHistogram with 4 bits), values of any
 * 64-bit size, fixed memory, O(1) add.
 */
#ifndef KVF_BASE_HIST_H
#define KVF_BASE_HIST_H

#include <stdint.h>

#define KVF_HIST_SUB_BITS 4
#define KVF_HIST_BUCKETS ((64 - KVF_HIST_SUB_BITS + 1) << KVF_HIST_SUB_BITS)

struct kvf_hist {
	uint64_t count, sum, min, max;
	uint64_t bucket[KVF_HIST_BUCKETS];
};

void kvf_hist_reset(struct kvf_hist *hist);
void kvf_hist_add(struct kvf_hist *hist, uint64_t value);
/* Upper bound of the bucket in which quantile q (0..1) lies, at most max; 0 when empty. */
uint64_t kvf_hist_quantile(const struct kvf_hist *hist, double q);
/* How many values were <= bound (bucket resolution): for Prometheus buckets. */
uint64_t kvf_hist_count_le(const struct kvf_hist *hist, uint64_t bound);
void kvf_hist_merge(struct kvf_hist *into, const struct kvf_hist *from);

#endif
