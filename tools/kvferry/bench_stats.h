/* SPDX-License-Identifier: Apache-2.0 */
/* Medians, and how far to trust them: for `kvferry bench` and for the programs in bench/. */
#ifndef KVFERRY_BENCH_STATS_H
#define KVFERRY_BENCH_STATS_H

#include <stddef.h>

double bench_median(double *v, size_t n); /* sorts v */
double bench_quantile(double *v, size_t n, double q); /* sorts v */
/* The bootstrap's 95 % interval of the median of v. sample: room for n of them. */
void bench_interval(const double *v, size_t n, double *sample, double *low, double *high);

#endif
