/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A strict pull parser for JSON (RFC 8259) over bytes in memory. It allocates nothing, recurses
 * nowhere and reads each byte once; depth is bounded. Tokens point into the buffer.
 */
#ifndef KVFERRY_WORKLOAD_JSON_H
#define KVFERRY_WORKLOAD_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_MAX_DEPTH 32

enum json_type {
	JSON_END, /* the document is complete and nothing but white space follows */
	JSON_ERROR,
	JSON_OBJECT,
	JSON_OBJECT_END,
	JSON_ARRAY,
	JSON_ARRAY_END,
	JSON_KEY, /* the value comes next */
	JSON_STRING,
	JSON_NUMBER,
	JSON_TRUE,
	JSON_FALSE,
	JSON_NULL
};

struct json {
	const char *buf;
	size_t len;
	size_t pos;
	enum json_type type; /* of the token last read */
	const char *text; /* its bytes; strings and keys: between the quotes, still escaped */
	size_t text_len;
	size_t offset; /* where it begins; on JSON_ERROR: what is wrong there */
	const char *error; /* static text */
	unsigned depth;
	uint32_t is_object; /* bit d: the container at depth d is an object */
	uint8_t state;
};

void json_init(struct json *j, const char *buf, size_t len);

/* Reads one token. After JSON_END and JSON_ERROR it returns the same again. */
enum json_type json_next(struct json *j);

/* Ends the value whose first token was just read (for JSON_KEY: the value that follows). 0, or -1
 * on JSON_ERROR. */
int json_skip(struct json *j);

/* Whether the string or key just read, unescaped, is `text`. */
bool json_equal(const struct json *j, const char *text);

/* Unescapes the string or key just read into dst, always NUL-terminated. 0; -1 when it was cut or
 * holds a NUL. */
int json_copy(const struct json *j, char *dst, size_t size);

/*
 * The number just read, as number * unit rounded down: json_scaled(j, 1000, &ms) of 1.5 gives 1500.
 * For unit 1 it must be a whole number. 0; -1 when negative, not whole or above `max`.
 */
int json_scaled(const struct json *j, uint64_t unit, uint64_t max, uint64_t *out);

/* Line and column, from 1, of an offset. */
void json_locate(const char *buf, size_t len, size_t offset, size_t *line, size_t *column);

/* "an object", "a string" ...: for error texts. */
const char *json_type_name(enum json_type type);

#endif
