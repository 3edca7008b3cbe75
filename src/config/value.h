/* SPDX-License-Identifier: Apache-2.0 */
/* Values: text as people write it -> the text we keep -> the typed field the engine reads. */
#ifndef KVF_CONFIG_VALUE_H
#define KVF_CONFIG_VALUE_H

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"
#include "config/schema.h"

/* How a value was written: LMCache means different things by the same letters. */
enum kvf_form {
	KVF_FORM_TEXT, /* environment, kvf_config_set() */
	KVF_FORM_PLAIN, /* YAML without quotes */
	KVF_FORM_QUOTED, /* YAML in quotes */
	KVF_FORM_LIST, /* YAML list, joined by commas */
	KVF_FORM_MAP, /* YAML map, "k:v" joined by commas */
	KVF_FORM_NULL
};

#define KVF_VALUE_SLACK 8 /* kvf_value_normalise() may lengthen a text by less than this */

struct kvf_verdict {
	bool refused; /* the value is fine, the key is not: expected is empty, hint says why */
	char expected[256]; /* what would have been right */
	char hint[320]; /* what may be meant, or why; "" = nothing to add. Also a warning about a
			   good value. */
};

/*
 * Checks a value and rewrites it in place to the form that is kept ("true", "256", "/a,/b"). `text`
 * has KVF_VALUE_SLACK bytes behind its terminator. KVF_OK (verdict->hint, when not empty, is a
 * warning) or KVF_ECONFIG (verdict says why).
 */
int kvf_value_normalise(
	const struct kvf_key *key, char *text, enum kvf_form form, struct kvf_verdict *verdict);

/* Writes a kept text (NULL: null) into the field of a key that has one. Text fields point at
 * `text`. */
void kvf_value_store(const struct kvf_key *key, const char *text, struct kvf_settings *settings);

/* Removes Python-style quotes around a text, in place, with the usual escapes. */
void kvf_value_unquote(char *text);

/* Copies what may be shown of a value into buf, as snprintf does: secrets are "***", passwords in
 * URLs too. */
size_t kvf_value_redact(
	const struct kvf_key *key, const char *name, const char *text, char *buf, size_t size);

#endif
