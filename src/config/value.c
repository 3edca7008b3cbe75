/* SPDX-License-Identifier: Apache-2.0 */
/* Values of one type each: check, rewrite, say what would have been right. See value.h. */
#include "config/value.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/compiler.h"
#include "config/number.h"
#include "config/value_list.h"

#define BYTES_PER_GB 1073741824.0

static int wrong(struct kvf_verdict *v, const char *hint)
{
	if (hint)
		snprintf(v->hint, sizeof(v->hint), "%s", hint);
	return KVF_ECONFIG;
}

static bool is_one_of(const char *s, const char *const *words, bool fold)
{
	for (; *words; words++)
		if (fold ? strcasecmp(s, *words) == 0 : strcmp(s, *words) == 0)
			return true;
	return false;
}

/* ------------------------------------------------------------------------------------------------------------------
 * Booleans, as LMCache reads them: `true` and `1` are true and nothing else is, except that its
 * YAML reader has turned an unquoted yes or on into true before LMCache sees it.
 */

static int normalise_bool(char *text, enum kvf_form form, struct kvf_verdict *v)
{
	static const char *const yes[] = {"true", "1", NULL};
	static const char *const no[] = {"false", "0", "no", "off", "n", "f", NULL};
	static const char *const yaml_yes[] = {"yes", "Yes", "YES", "on", "On", "ON", NULL};
	static const char *const misread[] = {"yes", "on", "y", "t", "enable", "enabled", NULL};

	if (is_one_of(text, yes, true)) {
		memcpy(text, "true", 5);
	} else if (is_one_of(text, no, true)) {
		memcpy(text, "false", 6);
	} else if (form == KVF_FORM_PLAIN && is_one_of(text, yaml_yes, false)) {
		snprintf(v->hint, sizeof(v->hint),
			"%s without quotes in a YAML file is TRUE; in quotes or in the environment "
			"LMCache takes it "
			"for FALSE. Write true or false",
			text);
		memcpy(text, "true", 5);
	} else if (is_one_of(text, misread, true)) {
		snprintf(v->hint, sizeof(v->hint),
			"%s is FALSE: LMCache takes true and 1 for true and nothing else, and "
			"kvferry does the same. "
			"Write true or false",
			text);
		memcpy(text, "false", 6);
	} else {
		return wrong(v, NULL);
	}
	return KVF_OK;
}

/* ------------------------------------------------------------------------------------------------------------------
 * Numbers
 */

static bool is_size(enum kvf_key_type type)
{
	return type == KVF_TYPE_GB;
}

static bool is_whole(enum kvf_key_type type)
{
	return type == KVF_TYPE_UINT || type == KVF_TYPE_INT;
}

static double upper_bound(const struct kvf_key *key)
{
	if (key->max > 0)
		return key->max;
	if (key->type == KVF_TYPE_UINT)
		return key->flags & KVF_KEY_64 ? 9007199254740992.0 : (double)UINT32_MAX;
	if (key->type == KVF_TYPE_INT)
		return 9007199254740992.0;
	return INFINITY;
}

static double lower_bound(const struct kvf_key *key)
{
	if (key->type == KVF_TYPE_INT)
		return key->min != 0 ? key->min : -9007199254740992.0;
	if (key->type == KVF_TYPE_NUMBER)
		return key->min != 0 ? key->min : -INFINITY;
	return key->min;
}

static void expect_number(const struct kvf_key *key, struct kvf_verdict *v)
{
	double min = lower_bound(key);
	double max = upper_bound(key);
	const char *what = kvf_type_name(key->type);
	size_t n = (size_t)snprintf(v->expected, sizeof(v->expected), "%s", what);

	if (key->flags & KVF_KEY_ABOVE)
		n += (size_t)snprintf(
			v->expected + n, sizeof(v->expected) - n, " greater than %.0f", min);
	else if (key->max > 0)
		n += (size_t)snprintf(v->expected + n, sizeof(v->expected) - n, " from %.0f", min);
	else if (min > -1e15)
		n += (size_t)snprintf(
			v->expected + n, sizeof(v->expected) - n, " of at least %.0f", min);
	if (key->max > 0)
		snprintf(v->expected + n, sizeof(v->expected) - n, "%s%.0f",
			key->flags & KVF_KEY_ABOVE ? ", at most " : " to ", max);
}

/* Why a text is no number, as far as one can guess. */
static int not_a_number(const struct kvf_key *key, const char *text, struct kvf_verdict *v)
{
	struct kvf_number number;
	size_t n = strcspn(text, " kKmMgGtTiIbBsS%");

	if (text[0] == '\0')
		return wrong(v, "it is empty; leave the key out for its default");
	if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))
		return wrong(v, "write it in decimal");
	if (n > 0 && text[n] && kvf_number_parse(text, n, &number)) {
		snprintf(v->hint, sizeof(v->hint), "write the number alone, without a unit: %s",
			kvf_type_name(key->type));
		return KVF_ECONFIG;
	}
	if (strchr(text, ','))
		return wrong(v, "the decimal sign is a point");
	if (strcasecmp(text, "nan") == 0 || strcasecmp(text, ".nan") == 0)
		return wrong(v, "not-a-number is no value here");
	return wrong(v, NULL);
}

static int out_of_bounds(const struct kvf_key *key, double value, struct kvf_verdict *v)
{
	if (is_size(key->type) && value >= 1048576.0)
		return wrong(v, "that looks like bytes; sizes are in GB");
	if ((key->type == KVF_TYPE_SECONDS || key->type == KVF_TYPE_MILLIS) && value > 31536000.0)
		return wrong(v, "more than a year");
	return wrong(v, key->why);
}

static int normalise_number(
	const struct kvf_key *key, char *text, enum kvf_form form, struct kvf_verdict *v)
{
	struct kvf_number number;
	double min = lower_bound(key);

	expect_number(key, v);
	if (!kvf_number_parse(text, strlen(text), &number))
		return not_a_number(key, text, v);
	if (is_whole(key->type)) {
		if (form == KVF_FORM_PLAIN && number.plain && text[0] == '0' && text[1])
			return wrong(v, "YAML reads a leading zero as octal; write it without");
		if (!number.integral)
			return wrong(v, isinf(number.value) ? "there is no infinity here"
							    : "no fraction, no exponent");
		if (!number.plain && form != KVF_FORM_PLAIN)
			return wrong(v, "no point");
	}
	if (number.value < min || (key->flags & KVF_KEY_ABOVE && number.value <= min) ||
		number.value > upper_bound(key))
		return out_of_bounds(key, number.value, v);
	if (key->type != KVF_TYPE_NUMBER && isinf(number.value))
		return wrong(v, "there is no infinity here");
	if (is_size(key->type) && number.value > 0 && number.value * BYTES_PER_GB < 1.0)
		return wrong(v, "less than a byte");
	if (is_whole(key->type)) /* never longer than it was: underscores, signs and ".0" go */
		kvf_write_whole(text, number.negative && number.whole, number.whole);
	return KVF_OK;
}

static int normalise_seed(char *text, struct kvf_verdict *v)
{
	struct kvf_number number;

	if (strcmp(text, "random") == 0)
		return KVF_OK;
	if (!kvf_number_parse(text, strlen(text), &number) || !number.plain || !number.integral ||
		number.negative || number.whole > UINT32_MAX || strchr(text, '_'))
		return wrong(v, "Python itself refuses it");
	return KVF_OK;
}

/* ------------------------------------------------------------------------------------------------------------------
 * Words and URLs
 */

static void expect_words(const struct kvf_key *key, struct kvf_verdict *v)
{
	size_t n = (size_t)snprintf(v->expected, sizeof(v->expected), "one of");

	for (const char *const *w = key->words; *w && n < sizeof(v->expected); w++)
		n += (size_t)snprintf(v->expected + n, sizeof(v->expected) - n, "%s %s",
			w == key->words ? "" : ",", *w);
}

static const char *nearest_word(const char *text, const char *const *words)
{
	unsigned int best = 3;
	const char *found = NULL;

	for (; *words; words++) {
		unsigned int d = kvf_edit_distance(text, *words, 2);

		if (d < best && d < strlen(*words)) {
			best = d;
			found = *words;
		}
	}
	return found;
}

static int normalise_word(const struct kvf_key *key, char *text, struct kvf_verdict *v)
{
	const char *near;

	expect_words(key, v);
	for (const char *const *w = key->words; *w; w++) {
		if (strcmp(text, *w) == 0)
			return KVF_OK;
		if ((key->flags & KVF_KEY_FOLD) && strcasecmp(text, *w) == 0) {
			memcpy(text, *w, strlen(*w)); /* same length */
			return KVF_OK;
		}
	}
	near = nearest_word(text, key->words);
	if (near)
		snprintf(v->hint, sizeof(v->hint), "did you mean %s?", near);
	return KVF_ECONFIG;
}

static int normalise_url(const struct kvf_key *key, char *text, struct kvf_verdict *v)
{
	static const char *const foreign[] = {"s3", "hf3fs", "sagemaker-hyperpod", "eic",
		"bigtable", "hfbucket", "blackhole", "mock", "audit", "external", "plugin", NULL};
	char scheme[32];
	const char *mark = strstr(text, "://");
	const char *near;
	size_t n;

	expect_words(key, v);
	snprintf(v->expected + strlen(v->expected), sizeof(v->expected) - strlen(v->expected),
		", then ://");
	if (!mark)
		return wrong(v, "it has no scheme, like redis://localhost:6379");
	n = (size_t)(mark - text);
	snprintf(scheme, sizeof(scheme), "%.*s", (int)(n < 31 ? n : 31), text);
	if (text[strcspn(text, " \t")])
		return wrong(v, "a URL has no spaces");
	if (is_one_of(scheme, key->words, false)) {
		if (mark[3])
			return KVF_OK;
		return wrong(v, "nothing follows the scheme");
	}
	near = nearest_word(scheme, key->words);
	if (is_one_of(scheme, foreign, false))
		snprintf(v->hint, sizeof(v->hint), "LMCache has %s://, kvferry has not: %s", scheme,
			key->why);
	else if (near)
		snprintf(v->hint, sizeof(v->hint),
			"did you mean %s://? With a scheme that is not known, %s", near, key->why);
	else
		snprintf(v->hint, sizeof(v->hint), "the scheme is not known: %s", key->why);
	return KVF_ECONFIG;
}

/* ------------------------------------------------------------------------------------------------------------------
 * All types
 */

static void trim(char *text)
{
	size_t from = strspn(text, " \t\r\n");
	size_t n = strlen(text + from);

	memmove(text, text + from, n + 1);
	while (n > 0 && strchr(" \t\r\n", text[n - 1]))
		text[--n] = '\0';
}

static bool has_controls(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return true;
	return false;
}

static bool fits_form(enum kvf_key_type type, enum kvf_form form)
{
	switch (type) {
	case KVF_TYPE_ANY:
		return true;
	case KVF_TYPE_MAP:
		return form == KVF_FORM_MAP;
	case KVF_TYPE_INT_MAP:
	case KVF_TYPE_GB_MAP:
		return form != KVF_FORM_LIST;
	case KVF_TYPE_PATHS:
	case KVF_TYPE_LIST:
	case KVF_TYPE_INTS:
	case KVF_TYPE_NUMBERS:
		return form != KVF_FORM_MAP;
	default:
		return form != KVF_FORM_LIST && form != KVF_FORM_MAP;
	}
}

static int by_type(const struct kvf_key *key, char *text, enum kvf_form form, struct kvf_verdict *v)
{
	switch ((enum kvf_key_type)key->type) {
	case KVF_TYPE_BOOL:
		return normalise_bool(text, form, v);
	case KVF_TYPE_TRI:
		return strcmp(text, "auto") == 0 ? KVF_OK : normalise_bool(text, form, v);
	case KVF_TYPE_UINT:
	case KVF_TYPE_INT:
	case KVF_TYPE_NUMBER:
	case KVF_TYPE_GB:
	case KVF_TYPE_SECONDS:
	case KVF_TYPE_MILLIS:
		return normalise_number(key, text, form, v);
	case KVF_TYPE_ENUM:
	case KVF_TYPE_WORD:
		return normalise_word(key, text, v);
	case KVF_TYPE_URL:
		return normalise_url(key, text, v);
	case KVF_TYPE_PATHS:
	case KVF_TYPE_LIST:
	case KVF_TYPE_INTS:
	case KVF_TYPE_NUMBERS:
	case KVF_TYPE_INT_MAP:
	case KVF_TYPE_GB_MAP:
		return kvf_list_normalise(
			(enum kvf_key_type)key->type, text, v->hint, sizeof(v->hint));
	case KVF_TYPE_HASH_SEED:
		return normalise_seed(text, v);
	case KVF_TYPE_TEXT:
	case KVF_TYPE_MAP:
	case KVF_TYPE_ANY:
		break;
	}
	return KVF_OK;
}

int kvf_value_normalise(
	const struct kvf_key *key, char *text, enum kvf_form form, struct kvf_verdict *v)
{
	enum kvf_key_type type = (enum kvf_key_type)key->type;
	int rc;

	*v = (struct kvf_verdict){0};
	snprintf(v->expected, sizeof(v->expected), "%s", kvf_type_name(type));
	if (!fits_form(type, form))
		return wrong(v, form == KVF_FORM_LIST ? "it is a list"
				: form == KVF_FORM_MAP
					? "it is a map"
					: "write it as a YAML map, in the environment as JSON");
	if (type != KVF_TYPE_ANY && type != KVF_TYPE_MAP && has_controls(text))
		return wrong(v, "it holds control characters");
	if (type != KVF_TYPE_TEXT && type != KVF_TYPE_ANY)
		trim(text);
	rc = by_type(key, text, form, v);
	if (rc != KVF_OK || key->class != KVF_REFUSED ||
		(key->initial && strcmp(text, key->initial) == 0) ||
		(!key->initial && text[0] == '\0'))
		return rc;
	v->refused = true;
	v->expected[0] = '\0';
	return wrong(v, key->why);
}

static uint64_t number_times(const char *text, double factor)
{
	struct kvf_number number;

	if (!text || !kvf_number_parse(text, strlen(text), &number))
		return 0;
	if (number.value * factor >= 18446744073709549568.0)
		return UINT64_MAX;
	return (uint64_t)(number.value * factor);
}

static uint32_t word_index(const struct kvf_key *key, const char *text)
{
	for (uint32_t i = 0; text && key->words[i]; i++)
		if (strcmp(text, key->words[i]) == 0)
			return i;
	return 0;
}

static int64_t signed_whole(const char *text)
{
	struct kvf_number number;

	/* The only signed field is a limit: null is no limit. */
	if (!text || !kvf_number_parse(text, strlen(text), &number) || !number.integral)
		return INT64_MAX;
	return number.negative ? -(int64_t)number.whole : (int64_t)number.whole;
}

void kvf_value_store(const struct kvf_key *key, const char *text, struct kvf_settings *settings)
{
	char *at = (char *)settings + key->offset;
	uint64_t n;
	uint32_t small;

	if (key->offset == KVF_NO_FIELD)
		return;
	switch ((enum kvf_key_type)key->type) {
	case KVF_TYPE_BOOL:
		*(bool *)at = text && strcmp(text, "true") == 0;
		return;
	case KVF_TYPE_TRI:
		small = !text || strcmp(text, "auto") == 0 ? 0 : strcmp(text, "true") == 0 ? 2 : 1;
		memcpy(at, &small, sizeof(small));
		return;
	case KVF_TYPE_ENUM:
		small = word_index(key, text);
		memcpy(at, &small, sizeof(small));
		return;
	case KVF_TYPE_UINT:
		n = number_times(text, 1.0);
		small = (uint32_t)n;
		if (key->flags & KVF_KEY_64)
			memcpy(at, &n, sizeof(n));
		else
			memcpy(at, &small, sizeof(small));
		return;
	case KVF_TYPE_INT:
		*(int64_t *)(void *)at = signed_whole(text);
		return;
	case KVF_TYPE_GB:
		n = number_times(text, BYTES_PER_GB);
		break;
	case KVF_TYPE_SECONDS:
		n = number_times(text, 1e9);
		break;
	case KVF_TYPE_MILLIS:
		n = number_times(text, 1e6);
		break;
	default:
		*(const char **)(void *)at = text ? text : "";
		return;
	}
	memcpy(at, &n, sizeof(n));
}
