/* SPDX-License-Identifier: Apache-2.0 */
/* Text of the metrics page: see metrics.c, metrics_text.c. */
#ifndef KVF_ENGINE_METRICS_H
#define KVF_ENGINE_METRICS_H

#include "engine/engine.h"

/* Writes into a buffer as snprintf() does: what does not fit is counted only. */
struct kvf_text {
	char *buf;
	size_t size;
	size_t length;
};

void kvf_text_add(struct kvf_text *text, const char *fmt, ...) KVF_PRINTF(2, 3);
/* A label's value, with what Prometheus wants escaped; bytes that are no UTF-8 become '?'. */
void kvf_text_label(struct kvf_text *text, const char *value);

/* One page: the engine, its statistics as they are now, and the labels that every sample carries.
 */
struct kvf_page {
	const struct kvf_engine *engine;
	struct kvf_stats stats;
	struct kvf_text text;
};

/* HELP and TYPE of a family; its samples follow. */
void kvf_page_family(struct kvf_page *page, const char *name, const char *type, const char *help);
/* One sample; label and value of its own or NULL. */
void kvf_page_sample(
	struct kvf_page *page, const char *name, const char *label, const char *is, uint64_t value);
/* The same, value in millionths: for ratios, without a locale's comma. */
void kvf_page_ratio(struct kvf_page *page, const char *name, uint64_t part, uint64_t whole);
/* One sample with n labels of its own. */
void kvf_page_labels(struct kvf_page *page, const char *name, const char *const (*labels)[2], unsigned n,
	uint64_t value);
/* The samples of one histogram of a family; values are nanoseconds, printed as seconds. label2 may
 * be NULL. */
void kvf_page_histogram(struct kvf_page *page, const char *name, const char *label, const char *is,
	const char *label2, const char *is2, const struct kvf_hist *hist);

/* What a CUDA device did and goes by. Nothing with other devices. */
void kvf_page_device(struct kvf_page *page);
/* metrics_server.c: all that is known of servers. */
void kvf_page_servers(struct kvf_page *page);

#endif
