/* SPDX-License-Identifier: Apache-2.0 */
/* What a client says, read strictly: arrays of bulk strings and nothing else. */
#ifndef KVF_TESTS_SIM_WORDS_H
#define KVF_TESTS_SIM_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_WORDS_MAX 16u

struct sim_word {
	const uint8_t *p;
	size_t n;
};

struct sim_command {
	struct sim_word word[SIM_WORDS_MAX];
	uint32_t n;
};

/* Bytes of the command at p, in which its words are; 0: it has not come as a whole, or it is *bad. */
size_t sim_words_read(const uint8_t *p, size_t n, struct sim_command *c, bool *bad);
bool sim_command_is(const struct sim_command *c, const char *name);
bool sim_word_is(const struct sim_word *w, const char *text);
/* Digits without a needless zero. */
bool sim_word_number(const struct sim_word *w, uint64_t *out);

#endif
