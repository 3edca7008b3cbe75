/* SPDX-License-Identifier: Apache-2.0 */
/* Text to tokens and back, and the model's chat template. */
#ifndef EXAMPLES_LLAMA_SERVER_VOCAB_H
#define EXAMPLES_LLAMA_SERVER_VOCAB_H

#include <llama.h>
#include <stddef.h>

#include "buf.h"

struct tokens {
	llama_token *id;
	size_t n, cap;
};

/* 0, or -1: out of memory. */
int tokens_add(struct tokens *t, llama_token id);
void tokens_free(struct tokens *t);

/* Whether the model can read and write text at all. */
int vocab_has_text(const struct llama_model *model);

/* Appends. special: <|im_end|> and the like are read as the tokens they name. 0, or -1: out of memory, or too long. */
int vocab_tokenize(const struct llama_model *model, const char *text, size_t n, int special, struct tokens *out);

/* Adds the text of one token. Control tokens have none. */
void vocab_piece(const struct llama_model *model, llama_token id, struct buf *out);

/* The conversation as the model wants it, up to where its answer begins. 0; -1: the model's template is not one that
 * llama_chat_apply_template() knows, or out of memory. */
int vocab_chat(const struct llama_model *model, const struct llama_chat_message *messages, size_t n, struct buf *out);

#endif
