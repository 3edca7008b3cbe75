/* SPDX-License-Identifier: Apache-2.0 */
/* One question about a long text, asked once: what query_twice asks twice. */
#ifndef KVFERRY_EXAMPLES_LLAMA_QUERY_H
#define KVFERRY_EXAMPLES_LLAMA_QUERY_H

#include "llama_kv.h"

#define QUERY_MAX_ANSWER 512
#define QUERY_MAX_VOCAB 524288

struct query_options {
	const char *model;
	const char *text; /* a file */
	const char *question;
	const char *mode;
	const char *salt;
	const char *config; /* kvferry's, a YAML file; the environment counts too */
	const char *disk; /* folder of the disk tier */
	const char *remote; /* URL of the remote tier */
	const char *scrub; /* kvf_scrub */
	uint32_t tokens; /* of the prompt at most */
	uint32_t answer; /* tokens to generate at most */
	uint32_t threads;
	uint32_t repeat;
	bool raw; /* no chat template */
	bool quiet; /* do not show the answers */
	bool control; /* the control experiments instead */
};

/* What came of asking once. Lies in memory that processes share. */
struct query_answer {
	struct lkv_result result;
	uint32_t resident; /* tokens that llama.cpp's own sequence held before: must be 0 unless
			      they were wanted */
	uint32_t n_vocab;
	uint32_t n_tokens;
	double ttft; /* seconds from the tokens of the prompt to the first token of the answer */
	double load; /* of these in lkv_load() */
	double prefetch; /* before the question was asked */
	size_t kv_bytes; /* that were loaded */
	llama_token tokens[QUERY_MAX_ANSWER];
	float logits[QUERY_MAX_VOCAB]; /* after the prompt */
};

double query_now(void);

/* Opens model and engine by the options; exits with a message when it cannot. */
struct lkv *query_open(const struct query_options *o,
	void (*on_chunk)(const struct kvf_copy *, void *), void *user);

/* The prompt: the text, cut so that all of it fits, and the question, in the model's chat template.
 */
llama_token *query_prompt(const struct query_options *o, const struct lkv *kv, uint32_t *n);

/* How to ask. */
enum query_flags {
	QUERY_PREFETCH = 1u << 0, /* first bring it into RAM, outside the time that counts */
	QUERY_RESIDENT = 1u << 1, /* let llama.cpp keep what its sequence holds */
	QUERY_STORE = 1u << 2, /* keep what was computed */
	QUERY_QUIET = 1u << 3 /* do not show the answer */
};

/* False: something failed, and was said. */
bool query_ask(const struct query_options *o, struct lkv *kv, llama_token *prompt, uint32_t n,
	unsigned flags, struct query_answer *a);

#endif
