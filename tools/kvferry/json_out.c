/* SPDX-License-Identifier: Apache-2.0 */
/* Writing JSON. See json_out.h. */
#include "json_out.h"

#include <inttypes.h>
#include <math.h>

void json_out_begin(struct json_out *out, FILE *file)
{
	*out = (struct json_out){.file = file, .first = true};
}

static void quote(struct json_out *out, const char *text)
{
	fputc('"', out->file);
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\')
			fprintf(out->file, "\\%c", c);
		else if (c < 0x20)
			fprintf(out->file, "\\u%04x", c);
		else
			fputc(c, out->file);
	}
	fputc('"', out->file);
}

static void new_line(struct json_out *out)
{
	fputc('\n', out->file);
	for (unsigned i = 0; i < out->depth; i++)
		fputs("  ", out->file);
}

static void lead(struct json_out *out, const char *name)
{
	if (!out->first)
		fputc(',', out->file);
	out->first = false;
	if (out->depth)
		new_line(out);
	if (name) {
		quote(out, name);
		fputs(": ", out->file);
	}
}

void json_out_open(struct json_out *out, const char *name, char bracket)
{
	lead(out, name);
	fputc(bracket, out->file);
	out->depth++;
	out->first = true;
}

void json_out_close(struct json_out *out, char bracket)
{
	out->depth--;
	if (!out->first)
		new_line(out);
	out->first = false;
	fputc(bracket, out->file);
}

void json_out_u64(struct json_out *out, const char *name, uint64_t value)
{
	lead(out, name);
	fprintf(out->file, "%" PRIu64, value);
}

void json_out_double(struct json_out *out, const char *name, double value)
{
	lead(out, name);
	if (isfinite(value))
		fprintf(out->file, "%.9g", value);
	else
		fputs("null", out->file);
}

void json_out_text(struct json_out *out, const char *name, const char *value)
{
	lead(out, name);
	quote(out, value);
}

void json_out_bool(struct json_out *out, const char *name, bool value)
{
	lead(out, name);
	fputs(value ? "true" : "false", out->file);
}

int json_out_end(struct json_out *out)
{
	fputc('\n', out->file);
	return fflush(out->file) == 0 && !ferror(out->file) ? 0 : -1;
}
