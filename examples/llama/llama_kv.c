/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing: one llama.cpp context, one engine over it. */
#include "llama_kv_impl.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void lkv_params_init(struct lkv_params *params)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	memset(params, 0, sizeof(*params));
	params->model = llama_model_default_params();
	params->context = llama_context_default_params();
	params->context.n_ctx = 4096;
	params->context.n_seq_max = 1;
	params->context.n_threads = params->context.n_threads_batch =
		cores > 0 ? (int32_t)cores : 1;
}

static int fail(struct lkv *kv, int status, char *why, size_t n, const char *format, ...) KVF_PRINTF(5, 6);

static int fail(struct lkv *kv, int status, char *why, size_t n, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, n, format, args);
	va_end(args);
	if (kv->engine)
		kvf_engine_close(kv->engine);
	if (kv->context)
		llama_free(kv->context);
	if (kv->model)
		llama_model_free(kv->model);
	free(kv);
	return status;
}

static void name_model(struct lkv *kv, const char *path)
{
	const char *slash = strrchr(path, '/');

	if (llama_model_meta_val_str(kv->model, "general.name", kv->name, sizeof(kv->name)) > 0)
		return;
	snprintf(kv->name, sizeof(kv->name), "%s", slash ? slash + 1 : path);
}

static uint32_t chunk_tokens(const struct kvf_config *config)
{
	char text[32];

	if (config && kvf_config_get(config, "chunk_size", text, sizeof(text)) > 0)
		return (uint32_t)strtoul(text, NULL, 10);
	return 256; /* its default */
}

static int open_engine(struct lkv *kv, const struct lkv_params *params, const char *hash,
	const char *format, char *why, size_t n)
{
	struct kvf_layout layout = {.size = sizeof(layout), .kind = KVF_LAYOUT_OPAQUE};
	struct kvf_open_params open;
	struct kvf_report report;
	int rc;

	kvf_report_init(&report, why, n);
	layout.opaque_chunk_bytes = lkv_chunk_bytes(kv);
	layout.opaque_fingerprint = lkv_fingerprint(format);
	kvf_open_params_init(&open);
	open.config = params->config;
	open.identity.model = kv->name;
	open.identity.revision = hash;
	open.identity.scale_fingerprint = layout.opaque_fingerprint;
	open.layout = &layout;
	open.device = &lkv_device_ops;
	open.device_self = kv;
	open.log = params->log;
	open.report = &report;
	rc = kvf_engine_open(&kv->engine, &open);
	if (rc)
		kv->engine = NULL;
	return rc;
}

static int open_context(
	struct lkv *kv, const struct lkv_params *params, struct llama_context_params *cp)
{
	*cp = params->context;
	kv->n_seq = cp->n_seq_max;
	kv->copy_seq = (llama_seq_id)cp->n_seq_max;
	cp->n_seq_max++;
	cp->kv_unified = true; /* else parts of a sequence cannot be copied */
	cp->swa_full =
		true; /* else the cells behind the window are gone when they are to be stored */
	kv->context = llama_init_from_model(kv->model, *cp);
	if (!kv->context)
		return KVF_ENOMEM;
	kv->memory = llama_get_memory(kv->context);
	kv->n_batch = llama_n_batch(kv->context);
	return kv->memory ? KVF_OK : KVF_ENOTSUP;
}

static int open_cached(struct lkv *kv, const struct lkv_params *params,
	const struct llama_context_params *cp, char *why, size_t n)
{
	char hash[65], format[600], text[384] = "";
	const char *wrong = lkv_probe(kv);
	int rc;

	if (wrong)
		return fail(kv, KVF_ENOTSUP, why, n, "%s: %s", params->model_path, wrong);
	if (params->model_hash)
		snprintf(hash, sizeof(hash), "%s", params->model_hash);
	else if (lkv_hash_file(params->model_path, hash) != KVF_OK)
		return fail(
			kv, KVF_EIO, why, n, "%s: cannot be read to be hashed", params->model_path);
	lkv_describe(kv, cp, format, sizeof(format));
	snprintf(kv->identity, sizeof(kv->identity), "model %s, file %s, %s", kv->name, hash,
		format);
	rc = open_engine(kv, params, hash, format, text, sizeof(text));
	return rc ? fail(kv, rc, why, n, "kvferry: %s: %s", kvf_strerror(rc), text) : KVF_OK;
}

int lkv_open(struct lkv **out, const struct lkv_params *params, char *why, size_t n)
{
	struct lkv *kv = calloc(1, sizeof(*kv));
	struct llama_context_params cp;
	const char *refusal;
	int rc = KVF_OK;

	if (!kv)
		return KVF_ENOMEM;
	kv->model = llama_model_load_from_file(params->model_path, params->model);
	if (!kv->model)
		return fail(
			kv, KVF_EIO, why, n, "%s: llama.cpp cannot load it", params->model_path);
	refusal = params->uncached ? NULL : lkv_refusal(kv->model, &params->context);
	if (refusal)
		return fail(kv, KVF_ENOTSUP, why, n, "%s: %s", params->model_path, refusal);
	kv->chunk_tokens = chunk_tokens(params->config);
	kv->on_chunk = params->on_chunk;
	kv->user = params->user;
	rc = open_context(kv, params, &cp);
	if (rc)
		return fail(kv, rc, why, n,
			"llama.cpp gives no context of %" PRIu32 " tokens with KV",
			params->context.n_ctx);
	name_model(kv, params->model_path);
	if (!params->uncached) {
		rc = open_cached(kv, params, &cp, why, n);
		if (rc)
			return rc; /* kv is gone already */
	}
	*out = kv;
	return KVF_OK;
}

int lkv_close(struct lkv *kv)
{
	struct kvf_completion c;

	if (kv->requests)
		return KVF_EBUSY;
	if (kv->engine) {
		kvf_engine_shutdown(
			kv->engine, KVF_SHUTDOWN_DRAIN, kvf_now_ns(kv->engine) + 10000000000u);
		while (!kvf_engine_idle(kv->engine))
			kvf_poll(kv->engine, &c, 1);
		kvf_engine_close(kv->engine);
	}
	llama_free(kv->context);
	llama_model_free(kv->model);
	free(kv);
	return KVF_OK;
}

size_t lkv_step(const struct lkv *kv, size_t at, size_t end)
{
	size_t chunk = at / kv->chunk_tokens * kv->chunk_tokens;
	size_t to = chunk + ((at - chunk) / kv->n_batch + 1) * kv->n_batch;

	if (to > chunk + kv->chunk_tokens)
		to = chunk + kv->chunk_tokens;
	if (to >= end) /* the last one alone */
		to = at + 1 < end ? end - 1 : end;
	return at < end ? to - at : 0;
}

/* ---- what it is ---- */

struct llama_model *lkv_model(const struct lkv *kv)
{
	return kv->model;
}

struct llama_context *lkv_context(const struct lkv *kv)
{
	return kv->context;
}

struct kvf_engine *lkv_engine(const struct lkv *kv)
{
	return kv->engine;
}

uint32_t lkv_chunk_tokens(const struct lkv *kv)
{
	return kv->chunk_tokens;
}

size_t lkv_token_bytes(const struct lkv *kv)
{
	return kv->token_bytes;
}

size_t lkv_chunk_bytes(const struct lkv *kv)
{
	return kv->head_bytes + kv->chunk_tokens * kv->token_bytes;
}

const char *lkv_model_name(const struct lkv *kv)
{
	return kv->name;
}

const char *lkv_identity(const struct lkv *kv)
{
	return kv->identity;
}

bool lkv_ready(const struct lkv *kv)
{
	uint32_t bits = 0;

	return !kv->engine || kvf_health(kv->engine, &bits) != KVF_OK ||
	       !(bits & KVF_HEALTH_SCANNING);
}

const char *lkv_error(const struct lkv *kv)
{
	return kv->error;
}
