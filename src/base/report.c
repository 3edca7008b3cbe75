/* SPDX-License-Identifier: Apache-2.0 */
/* Reports: severity-prefixed lines in a buffer of the caller. See report.h and kvf_status.h. */
#include "base/report.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define ROOM_MIN 16 /* less than a severity and a few letters is not worth a line */

void kvf_report_init(struct kvf_report *report, char *text, size_t text_size)
{
	if (!report)
		return;
	memset(report, 0, sizeof(*report));
	report->size = sizeof(*report);
	report->text = text_size ? text : NULL;
	report->text_size = text ? text_size : 0;
	if (report->text)
		report->text[0] = '\0';
}

static const char *severity_name(enum kvf_severity severity)
{
	switch (severity) {
	case KVF_NOTE:
		return "note";
	case KVF_WARNING:
		return "warning";
	case KVF_ERROR:
		break;
	}
	return "error";
}

static void count(struct kvf_report *report, enum kvf_severity severity)
{
	if (severity == KVF_NOTE)
		report->notes++;
	else if (severity == KVF_WARNING)
		report->warnings++;
	else
		report->errors++;
}

/* One entry is one line, whatever a quoted value held: a terminal must not be steered by a
 * configuration file. */
static void blank_controls(char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c < 0x20 || c == 0x7f)
			s[i] = '?';
	}
}

/* Length of s[0..n) without a UTF-8 sequence that was cut at its end. */
static size_t whole_utf8(const char *s, size_t n)
{
	size_t lead = n;
	size_t need = 1;

	while (lead > 0 && n - lead < 4 && ((unsigned char)s[lead - 1] & 0xc0) == 0x80)
		lead--;
	if (lead == 0 || (unsigned char)s[lead - 1] < 0xc0)
		return n;
	if ((unsigned char)s[lead - 1] >= 0xf0)
		need = 4;
	else if ((unsigned char)s[lead - 1] >= 0xe0)
		need = 3;
	else
		need = 2;
	return n - (lead - 1) < need ? lead - 1 : n;
}

void kvf_report_add(struct kvf_report *report, enum kvf_severity severity, const char *fmt, ...)
{
	va_list args;
	char *line;
	size_t room;
	size_t used;
	int n;

	if (!report)
		return;
	count(report, severity);
	if (!report->text)
		return;
	line = report->text + report->text_used;
	room = report->text_size - report->text_used;
	if (room < ROOM_MIN) {
		report->truncated++;
		return;
	}
	n = snprintf(line, room, "%s: ", severity_name(severity));
	used = n < 0 ? 0 : (size_t)n;
	va_start(args, fmt);
	n = vsnprintf(line + used, room - used, fmt, args);
	va_end(args);
	used += n < 0 ? 0 : (size_t)n;
	if (used + 2 > room) {
		report->truncated++;
		used = whole_utf8(line, room - 2);
	}
	blank_controls(line, used);
	line[used] = '\n';
	line[used + 1] = '\0';
	report->text_used += used + 1;
}
