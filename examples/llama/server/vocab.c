/* SPDX-License-Identifier: Apache-2.0 */
/* See vocab.h. */
#include "vocab.h"

#include <limits.h>

#define SPECIAL_TOKENS 8u /* that a tokenizer may put around a text */

static int tokens_room(struct tokens *t, size_t n)
{
	size_t cap = t->cap ? t->cap : 64;
	llama_token *id;

	while (cap - t->n < n)
		cap *= 2;
	if (cap == t->cap)
		return 0;
	id = realloc(t->id, cap * sizeof(*id));
	if (!id)
		return -1;
	t->id = id;
	t->cap = cap;
	return 0;
}

int tokens_add(struct tokens *t, llama_token id)
{
	if (tokens_room(t, 1))
		return -1;
	t->id[t->n++] = id;
	return 0;
}

void tokens_free(struct tokens *t)
{
	free(t->id);
	memset(t, 0, sizeof(*t));
}

int vocab_has_text(const struct llama_model *model)
{
	return llama_vocab_type(llama_model_get_vocab(model)) != LLAMA_VOCAB_TYPE_NONE;
}

int vocab_tokenize(const struct llama_model *model, const char *text, size_t n, int special, struct tokens *out)
{
	const struct llama_vocab *vocab = llama_model_get_vocab(model);
	int32_t got;

	/* A token is a byte at least. */
	if (n > INT32_MAX - SPECIAL_TOKENS || tokens_room(out, n + SPECIAL_TOKENS))
		return -1;
	got = llama_tokenize(vocab, text, (int32_t)n, out->id + out->n, (int32_t)(n + SPECIAL_TOKENS), true,
			     special != 0);
	if (got < 0)
		return -1;
	out->n += (size_t)got;
	return 0;
}

void vocab_piece(const struct llama_model *model, llama_token id, struct buf *out)
{
	const struct llama_vocab *vocab = llama_model_get_vocab(model);
	int32_t size = 64, n;
	char *to;

	for (;;) {
		to = buf_room(out, (size_t)size);
		if (!to)
			return;
		n = llama_token_to_piece(vocab, id, to, size, 0, false);
		if (n >= 0)
			break;
		size = -n;
	}
	out->n += (size_t)n;
}

int vocab_chat(const struct llama_model *model, const struct llama_chat_message *messages, size_t n, struct buf *out)
{
	const char *template = llama_model_chat_template(model, NULL);
	int32_t size = 4096, need;
	char *to;

	if (!template)
		template = "chatml"; /* what a model without one is asked in */
	for (;;) {
		to = buf_room(out, (size_t)size);
		if (!to)
			return -1;
		need = llama_chat_apply_template(template, messages, n, true, to, size);
		if (need < 0)
			return -1;
		if (need <= size)
			break;
		size = need;
	}
	out->n += (size_t)need;
	return 0;
}
