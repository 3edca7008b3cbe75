/* SPDX-License-Identifier: Apache-2.0 */
/* Clocks, the machine, numbers for people, the terminal. */
#include "tool.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define BAR_CELLS 30
#define BAR_EVERY_NS UINT64_C(100000000)

static uint64_t clock_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

uint64_t tool_now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t tool_thread_cpu_ns(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t tool_process_cpu_ns(void)
{
	return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

uint64_t tool_peak_rss_bytes(void)
{
	struct rusage usage;

	if (getrusage(RUSAGE_SELF, &usage) != 0)
		return 0;
	return (uint64_t)usage.ru_maxrss * 1024;
}

const char *tool_cpu_model(char *buf, size_t n)
{
	char line[512];
	FILE *f = fopen("/proc/cpuinfo", "r");

	snprintf(buf, n, "unknown");
	if (!f)
		return buf;
	while (fgets(line, sizeof(line), f)) {
		const char *colon = strchr(line, ':');

		if (!colon ||
			(strncmp(line, "model name", 10) != 0 && strncmp(line, "CPU part", 8) != 0))
			continue;
		snprintf(buf, n, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
		break;
	}
	fclose(f);
	return buf;
}

const char *tool_size_text(char *buf, size_t n, uint64_t bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	double v = (double)bytes;
	unsigned u = 0;

	for (; v >= 1024 && u < 5; u++)
		v /= 1024;
	snprintf(buf, n, u == 0 ? "%.0f %s" : "%.2f %s", v, units[u]);
	return buf;
}

const char *tool_count_text(char *buf, size_t n, uint64_t value)
{
	char digits[24];
	size_t len, at = 0;

	len = (size_t)snprintf(digits, sizeof(digits), "%" PRIu64, value);
	for (size_t i = 0; i < len && at + 2 < n; i++) {
		if (i > 0 && (len - i) % 3 == 0)
			buf[at++] = ',';
		buf[at++] = digits[i];
	}
	buf[at] = '\0';
	return buf;
}

const char *tool_time_text(char *buf, size_t n, uint64_t ns)
{
	if (ns < UINT64_C(1000))
		snprintf(buf, n, "%" PRIu64 " ns", ns);
	else if (ns < UINT64_C(1000000))
		snprintf(buf, n, "%.2f us", (double)ns / 1e3);
	else if (ns < UINT64_C(1000000000))
		snprintf(buf, n, "%.2f ms", (double)ns / 1e6);
	else
		snprintf(buf, n, "%.2f s", (double)ns / 1e9);
	return buf;
}

struct tool_colors tool_colors(FILE *out)
{
	const char *no = getenv("NO_COLOR");

	if (!isatty(fileno(out)) || (no && *no))
		return (struct tool_colors){"", "", "", "", ""};
	return (struct tool_colors){"\033[1m", "\033[31m", "\033[32m", "\033[2m", "\033[0m"};
}

void tool_progress_begin(struct tool_progress *p)
{
	*p = (struct tool_progress){.on = isatty(STDERR_FILENO) != 0};
}

void tool_progress_show(struct tool_progress *p, unsigned permille, const char *text)
{
	unsigned full = permille * BAR_CELLS / 1000;
	uint64_t now;
	int width;

	if (!p->on)
		return;
	now = tool_now_ns();
	if (now < p->next_ns)
		return;
	p->next_ns = now + BAR_EVERY_NS;
	fputc('\r', stderr);
	width = fprintf(stderr, "[");
	for (unsigned i = 0; i < BAR_CELLS; i++)
		fputc(i < full ? '#' : '.', stderr);
	width += BAR_CELLS + fprintf(stderr, "] %3u %%  %s", permille / 10, text);
	for (int i = width; i < p->width; i++)
		fputc(' ', stderr);
	p->width = width;
	fflush(stderr);
}

void tool_progress_end(struct tool_progress *p)
{
	if (p->on && p->width)
		fprintf(stderr, "\r%*s\r", p->width, "");
	p->on = false;
}
