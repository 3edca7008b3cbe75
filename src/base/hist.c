/* SPDX-License-Identifier: Apache-2.0 */
/* Histogram. See hist.h. */
#include "base/hist.h"

#include <string.h>

#include "base/compiler.h"

#define SUB ((uint64_t)1 << KVF_HIST_SUB_BITS)

/* Values below SUB have a bucket of their own; above, the highest bit names the row, the next SUB_BITS the bucket. */
static unsigned int bucket_of(uint64_t value)
{
	unsigned int shift;

	if (value < SUB)
		return (unsigned int)value;
	shift = 63u - (unsigned int)__builtin_clzll(value) - KVF_HIST_SUB_BITS;
	return ((shift + 1) << KVF_HIST_SUB_BITS) + (unsigned int)((value >> shift) & (SUB - 1));
}

/* Largest value of the bucket. */
static uint64_t bucket_top(unsigned int bucket)
{
	unsigned int shift;

	if (bucket < SUB)
		return bucket;
	shift = (bucket >> KVF_HIST_SUB_BITS) - 1;
	/* Wraps to UINT64_MAX for the last one, as it should. */
	return ((SUB + (bucket & (SUB - 1)) + 1) << shift) - 1;
}

void kvf_hist_reset(struct kvf_hist *hist)
{
	memset(hist, 0, sizeof(*hist));
}

void kvf_hist_add(struct kvf_hist *hist, uint64_t value)
{
	if (!hist->count || value < hist->min)
		hist->min = value;
	if (value > hist->max)
		hist->max = value;
	hist->count++;
	hist->sum = kvf_sat_add(hist->sum, value);
	hist->bucket[bucket_of(value)]++;
}

uint64_t kvf_hist_quantile(const struct kvf_hist *hist, double q)
{
	uint64_t rank = 1;
	uint64_t seen = 0;

	if (!hist->count)
		return 0;
	if (q >= 1.0) {
		rank = hist->count;
	} else if (q > 0.0) {
		double exact = q * (double)hist->count;

		rank = (uint64_t)exact;
		if ((double)rank < exact)
			rank++;
		rank = kvf_min_u64(kvf_max_u64(rank, 1), hist->count);
	}
	for (unsigned int i = 0; i < KVF_HIST_BUCKETS; i++) {
		seen += hist->bucket[i];
		if (seen >= rank)
			return kvf_min_u64(bucket_top(i), hist->max);
	}
	return hist->max;
}

uint64_t kvf_hist_count_le(const struct kvf_hist *hist, uint64_t bound)
{
	unsigned int last = bucket_of(bound);
	uint64_t n = 0;

	for (unsigned int i = 0; i <= last; i++)
		n += hist->bucket[i];
	return n;
}

void kvf_hist_merge(struct kvf_hist *into, const struct kvf_hist *from)
{
	if (!from->count)
		return;
	if (!into->count || from->min < into->min)
		into->min = from->min;
	if (from->max > into->max)
		into->max = from->max;
	into->count += from->count;
	into->sum = kvf_sat_add(into->sum, from->sum);
	for (unsigned int i = 0; i < KVF_HIST_BUCKETS; i++)
		into->bucket[i] += from->bucket[i];
}
