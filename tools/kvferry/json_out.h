/* SPDX-License-Identifier: Apache-2.0 */
/* Writing JSON: commas, indentation, escapes. */
#ifndef KVFERRY_JSON_OUT_H
#define KVFERRY_JSON_OUT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct json_out {
	FILE *file;
	unsigned depth;
	bool first; /* of its container */
};

void json_out_begin(struct json_out *out, FILE *file);
/* Every call writes one member; name NULL inside arrays and for the whole document. */
void json_out_open(struct json_out *out, const char *name, char bracket);
void json_out_close(struct json_out *out, char bracket);
void json_out_u64(struct json_out *out, const char *name, uint64_t value);
void json_out_double(
	struct json_out *out, const char *name, double value); /* null when not finite */
void json_out_text(struct json_out *out, const char *name, const char *value);
void json_out_bool(struct json_out *out, const char *name, bool value);
/* The line end; 0, or -1 when something could not be written. */
int json_out_end(struct json_out *out);

#endif
