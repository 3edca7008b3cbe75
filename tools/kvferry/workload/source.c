/* SPDX-License-Identifier: Apache-2.0 */
/* What all sources of requests share: texts of errors, growing arrays, reading files, tokens of a
 * prompt. */
#include "workload/source.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "workload/tokens.h"

int wl_fail(struct wl_error *error, int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(error->text, sizeof(error->text), fmt, ap);
	va_end(ap);
	return status;
}

int wl_grow(void **array, size_t *cap, size_t want, size_t item, struct wl_error *error)
{
	size_t n = *cap ? *cap : 16;
	void *p;

	if (want <= *cap)
		return KVF_OK;
	while (n < want && n <= SIZE_MAX / 2)
		n *= 2;
	p = n >= want && n <= SIZE_MAX / item ? realloc(*array, n * item) : NULL;
	if (!p)
		return wl_fail(
			error, KVF_ENOMEM, "no memory for %zu items of %zu bytes", want, item);
	*array = p;
	*cap = n;
	return KVF_OK;
}

void wl_request_init(struct wl_request *r)
{
	memset(r, 0, sizeof(*r));
	r->after = r->parent = r->fork_request = WL_NONE;
}

static int read_all(
	FILE *f, const char *path, uint64_t max, char **data, size_t *size, struct wl_error *error)
{
	size_t cap = 0, n;
	int rc;

	*data = NULL;
	*size = 0;
	do {
		if (*size > max)
			return wl_fail(error, KVF_ERANGE, "%s: longer than %llu bytes", path,
				(unsigned long long)max);
		rc = wl_grow((void **)data, &cap, *size + ((size_t)64 << 10), 1, error);
		if (rc != KVF_OK)
			return rc;
		n = fread(*data + *size, 1, cap - *size, f);
		*size += n;
	} while (n > 0);
	return ferror(f) ? wl_fail(error, KVF_EIO, "%s: cannot read: %s", path, strerror(errno))
			 : KVF_OK;
}

int wl_read_file(const char *path, uint64_t max, char **data, size_t *size, struct wl_error *error)
{
	FILE *f = fopen(path, "rb");
	int rc;

	if (!f)
		return wl_fail(error, KVF_EIO, "%s: cannot open: %s", path, strerror(errno));
	rc = read_all(f, path, max, data, size, error);
	fclose(f);
	if (rc != KVF_OK) {
		free(*data);
		*data = NULL;
	}
	return rc;
}

void wl_request_tokens(const struct wl_request *r, uint64_t from, size_t count, uint32_t *dst)
{
	while (count > 0) {
		uint32_t offset = (uint32_t)(from % r->block_tokens);
		size_t n = r->block_tokens - offset;

		n = n < count ? n : count;
		wl_tokens(dst, r->blocks[from / r->block_tokens], offset, (uint32_t)n);
		dst += n;
		from += n;
		count -= n;
	}
}

int wl_format_parse(const char *text, enum wl_format *out)
{
	static const char *const names[] = {"auto", "mooncake", "coding-agent"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(text, names[i]) == 0) {
			*out = (enum wl_format)i;
			return 0;
		}
	}
	return -1;
}
