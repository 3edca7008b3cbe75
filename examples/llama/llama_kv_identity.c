/* SPDX-License-Identifier: Apache-2.0 */
/* What may be cached at all, and what the cached bytes depend on. */
#include "llama_kv_impl.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *lkv_refusal(const struct llama_model *model, const struct llama_context_params *params)
{
	enum llama_rope_type rope = llama_model_rope_type(model);

	if (llama_model_is_recurrent(model))
		return "a recurrent model keeps one state for all tokens: there is no KV of a "
		       "range of them";
	if (llama_model_is_hybrid(model))
		return "a hybrid model keeps a recurrent state besides its KV: a range of tokens "
		       "cannot be restored alone";
	if (llama_model_is_diffusion(model))
		return "a diffusion model computes its tokens anew each step: there is no KV to "
		       "keep";
	if (llama_model_has_encoder(model) || !llama_model_has_decoder(model))
		return "only decoder models have KV that depends on nothing but the tokens before";
	if (rope == LLAMA_ROPE_TYPE_MROPE || rope == LLAMA_ROPE_TYPE_IMROPE ||
		rope == LLAMA_ROPE_TYPE_VISION)
		return "positions of several dimensions (images) are not handled";
	if (params->embeddings || params->ctx_other)
		return "contexts for embeddings, and contexts that share another one's cells, are "
		       "not handled";
	return NULL;
}

int lkv_hash_file(const char *path, char hex[65])
{
	enum { PIECE = 1 << 20 };
	unsigned char *buf = malloc(PIECE), digest[32];
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	FILE *f = fopen(path, "rb");
	int status = KVF_ENOMEM;

	if (!f)
		status = KVF_ENOENT;
	else if (buf && md && EVP_DigestInit_ex(md, EVP_sha256(), NULL)) {
		size_t n;

		while ((n = fread(buf, 1, PIECE, f)) > 0 && EVP_DigestUpdate(md, buf, n))
			;
		status = n == 0 && !ferror(f) && EVP_DigestFinal_ex(md, digest, NULL) ? KVF_OK
										      : KVF_EIO;
	}
	for (int i = 0; status == KVF_OK && i < 32; i++)
		snprintf(hex + 2 * i, 3, "%02x", digest[i]);
	if (f)
		fclose(f);
	EVP_MD_CTX_free(md);
	free(buf);
	return status;
}

uint64_t lkv_fingerprint(const char *text)
{
	unsigned char digest[32];
	uint64_t value = 0;

	if (!EVP_Digest(text, strlen(text), digest, NULL, EVP_sha256(), NULL))
		return 0;
	for (int i = 0; i < 8; i++)
		value = value << 8 | digest[i];
	return value;
}

void lkv_describe(const struct lkv *kv, const struct llama_context_params *p, char *text, size_t n)
{
	/* %a: a float bit for bit. */
	snprintf(text, n,
		"cache %d/%d, flash attention %d, attention %d, context type %d, full window %d, "
		"rope %d %a %a, "
		"yarn %a %a %a %a %u, blob %zu+%zu, llama.cpp %s, state %d, ggml %s (%s)",
		(int)p->type_k, (int)p->type_v, (int)p->flash_attn_type, (int)p->attention_type,
		(int)p->ctx_type, (int)p->swa_full, (int)p->rope_scaling_type,
		(double)p->rope_freq_base, (double)p->rope_freq_scale, (double)p->yarn_ext_factor,
		(double)p->yarn_attn_factor, (double)p->yarn_beta_fast, (double)p->yarn_beta_slow,
		p->yarn_orig_ctx, kv->head_bytes, kv->token_bytes, llama_version(),
		LLAMA_STATE_SEQ_VERSION, ggml_version(), ggml_commit());
}
