/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A strict reader of Prometheus's text format, written from its specification: what promtool's
 * parser and linter would complain about (but the colon in LMCache's names) is an error here.
 */
#ifndef KVF_TESTS_SUPPORT_PROM_H
#define KVF_TESTS_SUPPORT_PROM_H

#include <stdbool.h>
#include <stddef.h>

struct prom_sample {
	char name[96];
	char labels[512]; /* as written, without braces */
	double value;
};

struct prom {
	struct prom_sample *sample;
	size_t n;
	size_t n_families;
	char error[256]; /* "" = fine */
};

/* Returns 0, or -1 and error says what is wrong on which line. prom_free() in both cases. */
int prom_parse(struct prom *prom, const char *text);
void prom_free(struct prom *prom);
/* Value of the sample whose labels hold `label` (a piece of text; NULL: any). -1: none. */
double prom_value(const struct prom *prom, const char *name, const char *label);
/* Is there a sample of the family: by its name, or name_bucket? */
bool prom_has(const struct prom *prom, const char *family);

#endif
