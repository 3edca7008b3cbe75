/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prometheus's text format, version 0.0.4: one sample, one family, one histogram. Numbers are
 * printed from integers, so that a host's locale cannot put a comma into them.
 */
#include "engine/metrics.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Upper bounds of the buckets. Counted with the resolution of base/hist.h: within 1/16 above. */
static const uint64_t bounds_ns[] = {
	10 * KVF_NS_PER_US,
	25 * KVF_NS_PER_US,
	50 * KVF_NS_PER_US,
	100 * KVF_NS_PER_US,
	250 * KVF_NS_PER_US,
	500 * KVF_NS_PER_US,
	1 * KVF_NS_PER_MS,
	2500 * KVF_NS_PER_US,
	5 * KVF_NS_PER_MS,
	10 * KVF_NS_PER_MS,
	25 * KVF_NS_PER_MS,
	50 * KVF_NS_PER_MS,
	100 * KVF_NS_PER_MS,
	250 * KVF_NS_PER_MS,
	500 * KVF_NS_PER_MS,
	1 * KVF_NS_PER_S,
	2500 * KVF_NS_PER_MS,
	5 * KVF_NS_PER_S,
	10 * KVF_NS_PER_S,
	30 * KVF_NS_PER_S,
};

void kvf_text_add(struct kvf_text *text, const char *fmt, ...)
{
	bool room = text->length < text->size;
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(room ? text->buf + text->length : NULL, room ? text->size - text->length : 0,
		fmt, args);
	va_end(args);
	text->length += n > 0 ? (size_t)n : 0;
}

static bool is_tail(unsigned char c)
{
	return (c & 0xc0) == 0x80;
}

/* Bytes of the character at s; 0: no UTF-8. */
static size_t utf8_bytes(const unsigned char *s)
{
	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf)
		return is_tail(s[1]) ? 2 : 0;
	if (s[0] >= 0xe0 && s[0] <= 0xef) {
		if (!is_tail(s[1]) || !is_tail(s[2]))
			return 0;
		if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0))
			return 0;
		return 3;
	}
	if (s[0] >= 0xf0 && s[0] <= 0xf4) {
		if (!is_tail(s[1]) || !is_tail(s[2]) || !is_tail(s[3]))
			return 0;
		if ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90))
			return 0;
		return 4;
	}
	return 0;
}

/* Bytes from s on that may stand as they are. */
static size_t plain_bytes(const unsigned char *s)
{
	size_t n = 0;

	while (s[n] >= 0x20 && s[n] != 0x7f && s[n] != '\\' && s[n] != '"' && utf8_bytes(s + n))
		n += utf8_bytes(s + n);
	return n;
}

void kvf_text_label(struct kvf_text *text, const char *value)
{
	const unsigned char *s = (const unsigned char *)value;

	while (*s) {
		size_t n = plain_bytes(s);

		if (n)
			kvf_text_add(text, "%.*s", (int)n, (const char *)s);
		else if (*s == '\\' || *s == '"')
			kvf_text_add(text, "\\%c", *s);
		else
			kvf_text_add(text, *s == '\n' ? "\\n" : "?");
		s += n ? n : 1;
	}
}

static void put_label(struct kvf_page *page, const char *label, const char *is)
{
	if (!label)
		return;
	kvf_text_add(&page->text, ",%s=\"", label);
	kvf_text_label(&page->text, is);
	kvf_text_add(&page->text, "\"");
}

/* `name{model_name="...",worker_id="0",world_size="1"`, the brace still open. LMCache has the first
 * two. */
static void put_head(struct kvf_page *page, const char *name, const char *suffix)
{
	kvf_text_add(&page->text, "%s%s{model_name=\"", name, suffix);
	kvf_text_label(&page->text, page->engine->model);
	kvf_text_add(&page->text, "\",worker_id=\"%u\",world_size=\"%u\"", page->engine->rank,
		page->engine->world_size);
}

void kvf_page_family(struct kvf_page *page, const char *name, const char *type, const char *help)
{
	kvf_text_add(&page->text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void kvf_page_sample(
	struct kvf_page *page, const char *name, const char *label, const char *is, uint64_t value)
{
	put_head(page, name, "");
	put_label(page, label, is);
	kvf_text_add(&page->text, "} %" PRIu64 "\n", value);
}

void kvf_page_labels(struct kvf_page *page, const char *name, const char *const (*labels)[2], unsigned n,
	uint64_t value)
{
	put_head(page, name, "");
	for (unsigned i = 0; i < n; i++)
		put_label(page, labels[i][0], labels[i][1]);
	kvf_text_add(&page->text, "} %" PRIu64 "\n", value);
}

void kvf_page_ratio(struct kvf_page *page, const char *name, uint64_t part, uint64_t whole)
{
	uint64_t millionths = 0;

	if (whole && part >= whole)
		millionths = 1000000;
	else if (whole)
		millionths = (uint64_t)((double)part / (double)whole * 1e6);
	put_head(page, name, "");
	kvf_text_add(&page->text, "} %" PRIu64 ".%06" PRIu64 "\n", millionths / 1000000,
		millionths % 1000000);
}

static void put_seconds(struct kvf_page *page, uint64_t ns)
{
	kvf_text_add(&page->text, "%" PRIu64 ".%09" PRIu64, ns / KVF_NS_PER_S, ns % KVF_NS_PER_S);
}

void kvf_page_histogram(struct kvf_page *page, const char *name, const char *label, const char *is,
	const char *label2, const char *is2, const struct kvf_hist *hist)
{
	for (size_t i = 0; i <= KVF_ARRAY_LEN(bounds_ns); i++) {
		bool last = i == KVF_ARRAY_LEN(bounds_ns);

		put_head(page, name, "_bucket");
		put_label(page, label, is);
		put_label(page, label2, is2);
		kvf_text_add(&page->text, ",le=\"");
		if (last)
			kvf_text_add(&page->text, "+Inf");
		else
			put_seconds(page, bounds_ns[i]);
		kvf_text_add(&page->text, "\"} %" PRIu64 "\n",
			last ? hist->count : kvf_hist_count_le(hist, bounds_ns[i]));
	}
	put_head(page, name, "_sum");
	put_label(page, label, is);
	put_label(page, label2, is2);
	kvf_text_add(&page->text, "} ");
	put_seconds(page, hist->sum);
	kvf_text_add(&page->text, "\n");
	put_head(page, name, "_count");
	put_label(page, label, is);
	put_label(page, label2, is2);
	kvf_text_add(&page->text, "} %" PRIu64 "\n", hist->count);
}
