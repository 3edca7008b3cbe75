/* SPDX-License-Identifier: Apache-2.0 */
/* What query_twice found out, whether it is true, and the table. */
#ifndef KVFERRY_EXAMPLES_LLAMA_QUERY_PROOF_H
#define KVFERRY_EXAMPLES_LLAMA_QUERY_PROOF_H

#include "query.h"

#define QUERY_MAX_REPEAT 100
#define QUERY_RESIDENT_TIMES 5
#define QUERY_NEEDLE 64
#define QUERY_FLIP 0x20 /* in a half-precision number, a bit of the exponent: 256 times as much, or as little */

struct query_report {
	struct query_answer cold, warm, resident;
	char identity[1024];
	uint32_t n_prompt;
	size_t token_bytes, chunk_bytes;
	uint32_t chunk_tokens;
	uint32_t n_warm;
	double warm_ttft[QUERY_MAX_REPEAT], warm_load[QUERY_MAX_REPEAT];
	double resident_ttft[QUERY_RESIDENT_TIMES];
	double copy_rate, read_rate; /* see query_rates.h; 0: not measured */
	/* Of the prompt's second chunk: a byte in its slot, and what lay around it. */
	uint8_t *watched;
	uint8_t needle[QUERY_NEEDLE];
};

/* on_chunk: remembers where the second chunk lies. user: the report. */
void query_watch(const struct kvf_copy *copy, void *user);

/* Warm against cold. False, and said: not the same. */
bool query_judge(const struct query_report *report);

/* After a flipped bit: are the logits others (changes), or was the damage found and the chunk
 * computed again? */
bool query_expect_flip(const struct query_report *report, const char *where, bool changes);

/* Flips the watched bit wherever the files below dir have it. */
bool query_flip_on_disk(const char *dir, const struct query_report *report);
/* Writes back what is dirty below dir, and has the kernel forget its pages. */
bool query_drop_page_cache(const char *dir);

bool query_print(const struct query_options *o, struct query_report *report, const char *results);

#endif
