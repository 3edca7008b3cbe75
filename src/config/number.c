/* SPDX-License-Identifier: Apache-2.0 */
/* Decimal numbers from text. See number.h. */
#include <stddef.h>

#include "config/number.h"

#include <math.h>
#include <strings.h>

#define EXPONENT_MAX 400 /* beyond it a double is 0 or infinite anyway */

struct scan {
	const char *at;
	const char *end;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Digits into *mantissa; those that no longer fit count in *dropped. Returns how many there were,
 * -1: bad underscore. */
static int digits(struct scan *s, uint64_t *mantissa, int *dropped)
{
	bool after_digit = false;
	int n = 0;

	for (; s->at < s->end; s->at++) {
		if (*s->at == '_') {
			if (!after_digit || s->at + 1 >= s->end || !is_digit(s->at[1]))
				return -1;
			after_digit = false;
			continue;
		}
		if (!is_digit(*s->at))
			break;
		after_digit = true;
		if (*mantissa < UINT64_MAX / 10 - 1)
			*mantissa = *mantissa * 10 + (uint64_t)(*s->at - '0');
		else if (*dropped < EXPONENT_MAX)
			(*dropped)++;
		if (n < EXPONENT_MAX)
			n++;
	}
	return n;
}

static bool exponent(struct scan *s, int *out)
{
	bool negative = false;
	int value = 0;
	int n = 0;

	s->at++;
	if (s->at < s->end && (*s->at == '+' || *s->at == '-'))
		negative = *s->at++ == '-';
	for (; s->at < s->end && is_digit(*s->at); s->at++, n++)
		if (value < EXPONENT_MAX)
			value = value * 10 + (*s->at - '0');
	*out = negative ? -value : value;
	return n > 0;
}

static double scale(double v, int e)
{
	double p = 1.0;
	int n = e < 0 ? -e : e;

	/* Powers up to 10^22 are exact: usual numbers come out as strtod has them. */
	for (; n > 22; n -= 22)
		v = e < 0 ? v / 1e22 : v * 1e22;
	for (; n > 0; n--)
		p *= 10.0;
	return e < 0 ? v / p : v * p;
}

static bool is_infinity(const struct scan *s)
{
	size_t n = (size_t)(s->end - s->at);

	return (n == 3 && strncasecmp(s->at, "inf", 3) == 0) ||
	       (n == 4 && strncasecmp(s->at, ".inf", 4) == 0);
}

bool kvf_number_parse(const char *text, size_t n, struct kvf_number *out)
{
	struct scan s = {text, text + n};
	uint64_t mantissa = 0;
	int dropped = 0;
	int before;
	int after = 0;
	int e = 0;

	*out = (struct kvf_number){0};
	if (s.at < s.end && (*s.at == '+' || *s.at == '-'))
		out->negative = *s.at++ == '-';
	if (is_infinity(&s)) {
		out->value = out->negative ? -INFINITY : INFINITY;
		return true;
	}
	before = digits(&s, &mantissa, &dropped);
	if (before < 0)
		return false;
	out->plain = s.at == s.end;
	out->integral = out->plain && dropped == 0;
	if (s.at < s.end && *s.at == '.') {
		int skipped = 0;
		uint64_t whole = mantissa;

		s.at++;
		after = digits(&s, &mantissa, &skipped);
		if (after < 0)
			return false;
		/* An integral "256.0" has a mantissa that is whole x 10^(digits kept behind the
		 * point). */
		out->integral = s.at == s.end && dropped == 0 && skipped == 0 &&
				(double)mantissa == scale((double)whole, after);
		out->whole = whole;
		e -= after - skipped;
	} else {
		out->whole = mantissa;
	}
	if (before + after == 0)
		return false;
	e += dropped;
	if (s.at < s.end && (*s.at == 'e' || *s.at == 'E')) {
		int by;

		if (!exponent(&s, &by))
			return false;
		e += by;
		out->integral = false;
	}
	out->value = scale((double)mantissa, e);
	if (out->negative)
		out->value = -out->value;
	return s.at == s.end;
}
