/* SPDX-License-Identifier: Apache-2.0 */
/* See bench_stats.h. */
#include <stdlib.h>

#include "bench.h"

#define RESAMPLES 2000

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double bench_quantile(double *v, size_t n, double q)
{
	double at;
	size_t low;

	if (n == 0)
		return 0;
	qsort(v, n, sizeof(*v), by_value);
	at = q * (double)(n - 1);
	low = (size_t)at;
	if (low + 1 >= n)
		return v[n - 1];
	return v[low] + (v[low + 1] - v[low]) * (at - (double)low);
}

double bench_median(double *v, size_t n)
{
	return bench_quantile(v, n, 0.5);
}

void bench_interval(const double *v, size_t n, double *sample, double *low, double *high)
{
	double medians[RESAMPLES];
	struct wl_rng rng;

	*low = *high = 0;
	if (n == 0)
		return;
	wl_rng_seed(&rng, 1);
	for (size_t k = 0; k < RESAMPLES; k++) {
		for (size_t i = 0; i < n; i++)
			sample[i] = v[wl_rng_below(&rng, n)];
		medians[k] = bench_median(sample, n);
	}
	*low = bench_quantile(medians, RESAMPLES, 0.025);
	*high = bench_quantile(medians, RESAMPLES, 0.975);
}

void bench_compare(const struct bench_pairs *pairs, struct bench_ratio *out)
{
	double ratio[BENCH_MAX_SLICES], sample[BENCH_MAX_SLICES];
	size_t n = pairs->n;

	for (size_t i = 0; i < n; i++)
		sample[i] = pairs->a[i];
	out->a = bench_median(sample, n);
	for (size_t i = 0; i < n; i++)
		sample[i] = pairs->b[i];
	out->b = bench_median(sample, n);
	for (size_t i = 0; i < n; i++)
		ratio[i] = pairs->a[i] / pairs->b[i];
	bench_interval(ratio, n, sample, &out->low, &out->high);
	out->ratio = bench_median(ratio, n);
}
