/* SPDX-License-Identifier: Apache-2.0 */
/* Decimal numbers from text, whatever the locale of the process is (strtod would read "5,0" in
 * some). */
#ifndef KVF_CONFIG_NUMBER_H
#define KVF_CONFIG_NUMBER_H

#include <stdbool.h>
#include <stdint.h>

struct kvf_number {
	double value;
	uint64_t whole; /* of the magnitude, when `integral` */
	bool negative;
	bool integral; /* no fraction, and the magnitude fits in `whole` */
	bool plain; /* digits only: no point, no exponent */
};

/*
 * Reads all of s[0..n): [+-] digits [. digits] [e [+-] digits], single underscores between digits
 * as in Python, "inf" and ".inf". False when it is anything else; NaN is not a number here.
 */
bool kvf_number_parse(const char *s, size_t n, struct kvf_number *out);

#endif
