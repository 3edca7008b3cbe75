/* SPDX-License-Identifier: Apache-2.0 */
/* Rates in bytes per second: a bucket that refills up to a tenth of a second's worth, and may go into debt by one
 * chunk. */
#include "engine/engine.h"

static int64_t depth(const struct kvf_bucket *bucket)
{
	return (int64_t)(bucket->rate / 10 + 1);
}

static void refill(struct kvf_bucket *bucket, uint64_t now_ns)
{
	double bytes = (double)(now_ns - bucket->filled_ns) * (double)bucket->rate / 1e9;

	if (bytes < 1)
		return;
	bucket->filled_ns = now_ns;
	if (bytes < (double)(depth(bucket) - bucket->bytes))
		bucket->bytes += (int64_t)bytes;
	else
		bucket->bytes = depth(bucket);
}

bool kvf_bucket_take(struct kvf_bucket *bucket, uint64_t now_ns, uint64_t n)
{
	if (!bucket->rate)
		return true;
	refill(bucket, now_ns);
	if (bucket->bytes <= 0)
		return false;
	bucket->bytes -= (int64_t)n;
	return true;
}

uint64_t kvf_bucket_ready_ns(const struct kvf_bucket *bucket, uint64_t now_ns)
{
	if (!bucket->rate || bucket->bytes > 0)
		return now_ns;
	return kvf_sat_add(bucket->filled_ns,
			   (uint64_t)((double)(1 - bucket->bytes) * 1e9 / (double)bucket->rate) + 1);
}

void kvf_rates_set(struct kvf_engine *e, uint64_t spill, uint64_t prefetch)
{
	e->spill_rate = (struct kvf_bucket){ spill, e->clock.now_ns, 1 };
	e->prefetch_rate = (struct kvf_bucket){ prefetch, e->clock.now_ns, 1 };
}
