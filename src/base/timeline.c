/* SPDX-License-Identifier: Apache-2.0 */
/* Trace events in Chrome's JSON form. See timeline.h. */
#include "base/timeline.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

#include "kvferry/kvf_status.h"

#define EVENT_BYTES 512
#define NAME_BYTES 128

struct name {
	char text[NAME_BYTES];
};

/* The name as the inside of a JSON string, cut where it does not fit. */
static const char *quote(struct name *out, const char *name)
{
	size_t n = 0;

	for (; name && *name && n + 3 < sizeof(out->text); name++) {
		unsigned char c = (unsigned char)*name;

		if (c == '"' || c == '\\')
			out->text[n++] = '\\';
		/* A byte beyond ASCII might be half of a character once the name was cut. */
		out->text[n++] = c < 0x20 || c >= 0x7f ? '?' : (char)c;
	}
	out->text[n] = '\0';
	return out->text;
}

static void emit(struct kvf_timeline *tl, const char *fmt, ...) KVF_PRINTF(2, 3);

static void emit(struct kvf_timeline *tl, const char *fmt, ...)
{
	char line[EVENT_BYTES];
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	if (n > 0 && (size_t)n < sizeof(line))
		tl->write(line, (size_t)n, tl->user);
}

static bool off(const struct kvf_timeline *tl)
{
	return !tl || !tl->write;
}

/* Trace time is microseconds; three decimals keep the nanoseconds. */
#define TIME "%" PRIu64 ".%03u"
#define TIME_ARGS(ns) (ns) / 1000, (unsigned int)((ns) % 1000)

void kvf_timeline_row_name(struct kvf_timeline *tl, uint32_t row, const char *name)
{
	struct name quoted;

	if (off(tl))
		return;
	emit(tl, "{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":1,\"tid\":%" PRIu32 ",\"args\":{\"name\":\"%s\"}}",
	     row, quote(&quoted, name));
	emit(tl, "{\"name\":\"thread_sort_index\",\"ph\":\"M\",\"pid\":1,\"tid\":%" PRIu32
		 ",\"args\":{\"sort_index\":%" PRIu32 "}}", row, row);
}

void kvf_timeline_slice(struct kvf_timeline *tl, uint32_t row, const char *name, uint64_t start_ns, uint64_t end_ns,
			uint64_t id, uint64_t bytes)
{
	uint64_t ns = end_ns > start_ns ? end_ns - start_ns : 0;
	struct name quoted;

	if (off(tl))
		return;
	emit(tl, "{\"name\":\"%s\",\"ph\":\"X\",\"pid\":1,\"tid\":%" PRIu32 ",\"ts\":" TIME ",\"dur\":" TIME
		 ",\"args\":{\"id\":%" PRIu64 ",\"bytes\":%" PRIu64 "}}",
	     quote(&quoted, name), row, TIME_ARGS(start_ns), TIME_ARGS(ns), id, bytes);
}

void kvf_timeline_async(struct kvf_timeline *tl, uint32_t row, char phase, const char *name, uint64_t at_ns,
			uint64_t id, uint64_t bytes)
{
	struct name quoted;

	if (off(tl) || (phase != 'b' && phase != 'e'))
		return;
	/* The category carries the row: viewers match begin and end by (category, id, name). */
	emit(tl, "{\"name\":\"%s\",\"cat\":\"row%" PRIu32 "\",\"ph\":\"%c\",\"pid\":1,\"tid\":%" PRIu32
		 ",\"ts\":" TIME ",\"id\":\"0x%" PRIx64 "\",\"args\":{\"bytes\":%" PRIu64 "}}",
	     quote(&quoted, name), row, phase, row, TIME_ARGS(at_ns), id, bytes);
}

void kvf_timeline_counter(struct kvf_timeline *tl, const char *name, uint64_t at_ns, uint64_t value)
{
	struct name quoted;

	if (off(tl))
		return;
	emit(tl, "{\"name\":\"%s\",\"ph\":\"C\",\"pid\":1,\"ts\":" TIME ",\"args\":{\"value\":%" PRIu64 "}}",
	     quote(&quoted, name), TIME_ARGS(at_ns), value);
}
