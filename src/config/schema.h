/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The schema: one row for every key that LMCache knows and for every key of ours. Reader, checks,
 * command and docs/configuration.md all come from these rows; there is no second list of keys
 * anywhere.
 */
#ifndef KVF_CONFIG_SCHEMA_H
#define KVF_CONFIG_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kvf_key_place {
	KVF_PLACE_TOP, /* key of the file; environment LMCACHE_<UPPER CASE> */
	KVF_PLACE_EXTRA, /* inside extra_config */
	KVF_PLACE_ENV /* environment only, by this very name */
};

enum kvf_key_class {
	KVF_HONOURED,
	KVF_HARMLESS, /* has nothing to act on here: one note (a warning with KVF_KEY_LOUD) */
	KVF_REFUSED /* any value but the default would change bytes or meaning: an error */
};

enum kvf_key_type {
	KVF_TYPE_BOOL,
	KVF_TYPE_TRI, /* uint32_t: 0 auto, 1 no, 2 yes */
	KVF_TYPE_UINT, /* uint32_t, or uint64_t with KVF_KEY_64 */
	KVF_TYPE_INT, /* int64_t */
	KVF_TYPE_NUMBER, /* double; has no field */
	KVF_TYPE_GB, /* uint64_t bytes, typed in GB = 2^30 */
	KVF_TYPE_SECONDS, /* uint64_t ns */
	KVF_TYPE_MILLIS, /* uint64_t ns */
	KVF_TYPE_ENUM, /* uint32_t: index in words */
	KVF_TYPE_WORD, /* const char *: one of words */
	KVF_TYPE_TEXT, /* const char * */
	KVF_TYPE_URL, /* const char *, scheme checked against words */
	KVF_TYPE_PATHS, /* const char *, "a,b"; file:// is stripped */
	KVF_TYPE_LIST, /* const char *, "a,b" */
	KVF_TYPE_INTS, /* const char *, "1,2" */
	KVF_TYPE_NUMBERS, /* const char *, "0.1,0.2" */
	KVF_TYPE_INT_MAP, /* const char *, "0:1,1:1" */
	KVF_TYPE_GB_MAP, /* const char *, "salt:1.5,salt:2": see quota.h */
	KVF_TYPE_HASH_SEED, /* const char *, "random" or 0..4294967295 */
	KVF_TYPE_MAP, /* extra_config itself */
	KVF_TYPE_ANY /* anything, kept as text */
};

enum kvf_key_flags {
	KVF_KEY_NULL = 1u << 0, /* may be null; so is the default unless `initial` says otherwise */
	KVF_KEY_SECRET = 1u << 1, /* never shown */
	KVF_KEY_LOUD = 1u << 2, /* harmless, but somebody may count on it: a warning */
	KVF_KEY_QUIET = 1u << 3, /* harmless, not even a note */
	KVF_KEY_64 = 1u << 4,
	KVF_KEY_ABOVE = 1u << 5, /* min itself is out of bound */
	KVF_KEY_FOLD = 1u << 6, /* words compare without case */
	KVF_KEY_NOFILE = 1u << 7, /* in a file it is an error */
	KVF_KEY_PREFIX = 1u << 8 /* name is a prefix: stands for a family of keys */
};

#define KVF_NO_FIELD UINT16_MAX

struct kvf_key {
	const char *name;
	const char *initial; /* default as text; NULL: null */
	const char *const *words; /* ENUM, URL: what is accepted, NULL-terminated */
	const char *doc; /* what it is, one line */
	const char *why; /* why it is refused, harmless or bounded so; NULL: nothing to add */
	double min;
	double max;
	uint16_t flags;
	uint16_t offset; /* in struct kvf_settings, or KVF_NO_FIELD */
	uint8_t place;
	uint8_t class;
	uint8_t type;
};

struct kvf_alias {
	const char *old;
	const char *name;
	uint8_t place; /* of the old name */
};

/* A name of older releases that has no successor. */
struct kvf_retired {
	const char *name;
	const char *note;
};

struct kvf_table {
	const struct kvf_key *keys;
	size_t n;
};

extern const struct kvf_table kvf_schema_engine; /* keys we act on */
extern const struct kvf_table kvf_schema_lmcache; /* LMCache's other keys */
extern const struct kvf_table kvf_schema_extra;
extern const struct kvf_table kvf_schema_env;

size_t kvf_schema_count(void);
const struct kvf_key *kvf_schema_at(size_t i);
/* Index of an exact name in a place, or -1. */
long kvf_schema_find(const char *name, enum kvf_key_place place);
/* Index of the family (KVF_KEY_PREFIX) that a name of extra_config or of the environment belongs
 * to, or -1. */
long kvf_schema_family(const char *name, enum kvf_key_place place);
const struct kvf_alias *kvf_schema_alias(const char *name, enum kvf_key_place place);
const struct kvf_alias *kvf_schema_alias_at(size_t i); /* NULL behind the last */
const struct kvf_retired *kvf_schema_retired(const char *name);
/* The known name of that place nearest to `name`, or NULL when none is near. */
const char *kvf_schema_nearest(const char *name, enum kvf_key_place place);

const char *kvf_type_name(enum kvf_key_type type); /* "a number of GB": for people */
const char *kvf_class_name(enum kvf_key_class class);

/* Optimal-string-alignment distance without regard to case; `limit`+1 for anything above limit. */
unsigned int kvf_edit_distance(const char *a, const char *b, unsigned int limit);

#endif
