/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines. See log.h. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"

#define LINE_BYTES 1024
#define BURST 5
#define WINDOW_NS KVF_NS_PER_S

static void write_stderr(enum kvf_log_level level, const char *scope, const char *msg, void *user)
{
	static const char *const name[] = { "error", "warning", "info", "debug" };

	(void)user;
	/* One call, so that lines of several engines do not mix. */
	(void)fprintf(stderr, "kvferry: %s: %s: %s\n", name[(unsigned int)level & 3], scope, msg);
}

void kvf_log_init(struct kvf_log *log, const struct kvf_log_sink *sink, enum kvf_log_level level)
{
	memset(log, 0, sizeof(*log));
	log->level = level;
	if (sink && sink->write)
		log->sink = *sink;
	else
		log->sink.write = write_stderr;
}

static bool wanted(const struct kvf_log *log, enum kvf_log_level level)
{
	return log->sink.write && level <= log->level;
}

/* One line, whatever the arguments held: a terminal must not be steered by a peer's error text. */
static void blank_controls(char *s)
{
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c < 0x20 || c == 0x7f)
			*s = ' ';
	}
}

static void emit(struct kvf_log *log, enum kvf_log_level level, const char *scope, const char *fmt,
		 va_list args) __attribute__((format(printf, 4, 0)));

static void emit(struct kvf_log *log, enum kvf_log_level level, const char *scope, const char *fmt,
		 va_list args)
{
	char line[LINE_BYTES];
	int n = vsnprintf(line, sizeof(line), fmt, args);

	if (n < 0)
		return;
	if ((size_t)n >= sizeof(line))
		memcpy(line + sizeof(line) - 4, "...", 4);
	blank_controls(line);
	log->sink.write(level, scope ? scope : "", line, log->sink.user);
}

void kvf_log(struct kvf_log *log, enum kvf_log_level level, const char *scope, const char *fmt, ...)
{
	va_list args;

	if (!log || !wanted(log, level))
		return;
	va_start(args, fmt);
	emit(log, level, scope, fmt, args);
	va_end(args);
}

void kvf_log_limited(struct kvf_log *log, struct kvf_log_limit *limit, uint64_t now_ns, enum kvf_log_level level,
		     const char *scope, const char *fmt, ...)
{
	va_list args;

	if (!log || !wanted(log, level))
		return;
	if (!limit->in_window || now_ns - limit->window_start_ns >= WINDOW_NS) {
		uint32_t missed = limit->suppressed;

		*limit = (struct kvf_log_limit){ .window_start_ns = now_ns, .burst = limit->burst };
		if (missed)
			kvf_log(log, level, scope, "%u more like the next line were left out", (unsigned int)missed);
	}
	if (limit->in_window == (limit->burst ? limit->burst : BURST)) {
		if (limit->suppressed < UINT32_MAX)
			limit->suppressed++;
		log->dropped++;
		return;
	}
	limit->in_window++;
	va_start(args, fmt);
	emit(log, level, scope, fmt, args);
	va_end(args);
}
