/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks what a sequence is opened with. Salt and tags go into LMCache's key strings, which join
 * fields with '@' and '%' and escape nothing, and from there into file names: a separator in one of
 * them could name another tenant's chunk.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "token/seq_impl.h"

int kvf_seq_refuse(struct kvf_seq_env *env, int status, const char *fmt, ...)
{
	va_list ap;

	if (env->detail && env->detail_size) {
		va_start(ap, fmt);
		vsnprintf(env->detail, env->detail_size, fmt, ap);
		va_end(ap);
	}
	return status;
}

int kvf_seq_no_memory(struct kvf_seq_env *env, size_t bytes, const char *what)
{
	return kvf_seq_refuse(env, KVF_ENOMEM, "%s: the allocator refused %zu bytes", what, bytes);
}

static int check_length(struct kvf_seq_env *env, const char *field, const char *text, size_t bound)
{
	if (text && strnlen(text, bound + 1) > bound)
		return kvf_seq_refuse(env, KVF_ERANGE, "%s: longer than %zu bytes", field, bound);
	return KVF_OK;
}

static int check_bytes(struct kvf_seq_env *env, const char *field, const char *text, size_t bound)
{
	int status = check_length(env, field, text, bound);

	if (status != KVF_OK || !text)
		return status;
	for (size_t i = 0; text[i]; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c < 0x20 || c == 0x7f)
			return kvf_seq_refuse(env, KVF_EINVAL,
				"%s: byte 0x%02x at position %zu: control characters are not "
				"allowed",
				field, c, i);
		if (strchr("@%/\\", c))
			return kvf_seq_refuse(env, KVF_EINVAL,
				"%s: byte 0x%02x ('%c') at position %zu: none of @ %% / \\ is "
				"allowed",
				field, c, c, i);
	}
	return KVF_OK;
}

static int check_tag(struct kvf_seq_env *env, const struct kvf_tag *tag, uint32_t i)
{
	char field[32];
	int status;

	snprintf(field, sizeof(field), "tags[%u].name", (unsigned int)i);
	if (!tag->name || !tag->name[0])
		return kvf_seq_refuse(env, KVF_EINVAL, "%s: empty", field);
	status = check_bytes(env, field, tag->name, KVF_SEQ_MAX_TAG);
	if (status != KVF_OK)
		return status;
	snprintf(field, sizeof(field), "tags[%u].value", (unsigned int)i);
	return check_bytes(env, field, tag->value, KVF_SEQ_MAX_TAG);
}

int kvf_seq_check_params(struct kvf_seq_env *env, const struct kvf_seq_params *params)
{
	int status;

	if (!params)
		return KVF_OK;
	status = check_length(env, "request_id", params->request_id, KVF_SEQ_MAX_REQUEST_ID);
	if (status == KVF_OK)
		status = check_bytes(env, "salt", params->salt, KVF_SEQ_MAX_SALT);
	if (status == KVF_OK)
		status = check_length(env, "adapter", params->adapter, KVF_SEQ_MAX_ADAPTER);
	if (status != KVF_OK)
		return status;
	if (params->flags & ~(uint32_t)KVF_SEQ_SKIP_SAVE)
		return kvf_seq_refuse(env, KVF_EINVAL, "flags: 0x%x has bits without a meaning",
			(unsigned int)params->flags);
	if (params->n_tags > KVF_SEQ_MAX_TAGS)
		return kvf_seq_refuse(env, KVF_ERANGE, "n_tags: %u, at most %d",
			(unsigned int)params->n_tags, KVF_SEQ_MAX_TAGS);
	if (params->n_tags && !params->tags)
		return kvf_seq_refuse(env, KVF_EINVAL, "tags: NULL where n_tags is %u",
			(unsigned int)params->n_tags);
	for (uint32_t i = 0; i < params->n_tags; i++) {
		status = check_tag(env, &params->tags[i], i);
		if (status != KVF_OK)
			return status;
	}
	return KVF_OK;
}
