/* SPDX-License-Identifier: Apache-2.0 */
/* Shorthand for the rows of the schema tables; included by schema_*.c only. */
#ifndef KVF_CONFIG_SCHEMA_ROW_H
#define KVF_CONFIG_SCHEMA_ROW_H

#include "base/compiler.h"
#include "config/config.h"
#include "config/schema.h"

#define FIELD(f) .offset = (uint16_t)offsetof(struct kvf_settings, f)
#define NO_FIELD .offset = KVF_NO_FIELD

#define TOP(n, t, c) .name = (n), .place = KVF_PLACE_TOP, .type = KVF_TYPE_##t, .class = KVF_##c
#define EXTRA(n, t, c) .name = (n), .place = KVF_PLACE_EXTRA, .type = KVF_TYPE_##t, .class = KVF_##c
#define ENV(n, t, c) .name = (n), .place = KVF_PLACE_ENV, .type = KVF_TYPE_##t, .class = KVF_##c

#define WORDS(...)                                                                                 \
	.words = (const char *const[])                                                             \
	{                                                                                          \
		__VA_ARGS__, NULL                                                                  \
	}

/* Rows without anything special: default, flags, meaning, reason. */
#define IGNORED(n, t, dflt, fl, d, w)                                                              \
	{                                                                                          \
		TOP(n, t, HARMLESS), .initial = (dflt), .flags = (fl), NO_FIELD, .doc = (d),       \
				     .why = (w)                                                    \
	}
#define REFUSED(n, t, dflt, fl, d, w)                                                              \
	{                                                                                          \
		TOP(n, t, REFUSED), .initial = (dflt), .flags = (fl), NO_FIELD, .doc = (d),        \
				    .why = (w)                                                     \
	}
#define X_IGNORED(n, t, dflt, fl, d, w)                                                            \
	{                                                                                          \
		EXTRA(n, t, HARMLESS), .initial = (dflt), .flags = (fl), NO_FIELD, .doc = (d),     \
				       .why = (w)                                                  \
	}
#define X_TEXT(n, t, dflt, fl, d)                                                                  \
	{                                                                                          \
		EXTRA(n, t, HONOURED), .initial = (dflt), .flags = (fl), NO_FIELD, .doc = (d)      \
	}
#define E_IGNORED(n, t, dflt, fl, d, w)                                                            \
	{                                                                                          \
		ENV(n, t, HARMLESS), .initial = (dflt), .flags = (fl), NO_FIELD, .doc = (d),       \
				     .why = (w)                                                    \
	}
#define E_TEXT(n, t, dflt, fl, d)                                                                  \
	{                                                                                          \
		ENV(n, t, HONOURED), .initial = (dflt), .flags = (fl), NO_FIELD, .doc = (d)        \
	}

#endif
