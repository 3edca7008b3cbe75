/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What comes from outside in LMCache's formats: RemoteMetadata of a foreign store, and names,
 * salts, seeds and identifiers out of requests and files. The first byte picks the target, the rest
 * is its input.
 */
#include <stdbool.h>
#include <string.h>

#include "base/bytes.h"
#include "token/wire_hash.h"
#include "token/wire_key.h"
#include "token/wire_meta.h"
#include "token/wire_mm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TEXT_MAX 600
#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			__builtin_trap();                                                          \
	} while (0)

/* A writer never uses the older number of half, so that one comes back as the newer. */
static void renumber_half(uint8_t *buf, size_t n)
{
	for (size_t at = 8; at < n; at += 20) {
		if (kvf_load_le32(buf + at) == 1)
			kvf_store_le32(buf + at, 2);
	}
}

static void fuzz_meta(const uint8_t *data, size_t n)
{
	struct kvf_wire_meta meta;
	struct kvf_report report;
	char text[256];
	uint8_t want[KVF_WIRE_META_MAX], got[KVF_WIRE_META_MAX];
	int rc;

	kvf_report_init(&report, text, sizeof(text));
	rc = kvf_wire_meta_decode(data, n, &report, &meta);
	CHECK(rc == KVF_OK ? report.errors == 0 : rc == KVF_ECORRUPT && report.errors == 1);
	if (rc != KVF_OK)
		return;
	CHECK(n <= sizeof(want) && meta.n_groups >= 1 && meta.n_groups <= KVF_WIRE_GROUPS_MAX);
	memcpy(want, data, n);
	renumber_half(want, n);
	CHECK(kvf_wire_meta_encode(&meta, got, sizeof(got), NULL) == (int)n);
	CHECK(memcmp(got, want, n) == 0);
}

/* Takes the text up to the next NUL, cut to TEXT_MAX. */
static void take_text(const uint8_t **data, size_t *n, char text[TEXT_MAX + 1])
{
	const uint8_t *nul = *n > 0 ? memchr(*data, 0, *n) : NULL;
	size_t all = nul != NULL ? (size_t)(nul - *data) : *n;
	size_t len = all < TEXT_MAX ? all : TEXT_MAX;

	memcpy(text, *data, len);
	text[len] = '\0';
	all += nul != NULL;
	*data += all;
	*n -= all;
}

static void fuzz_mm(const uint8_t *data, size_t n)
{
	char text[TEXT_MAX + 1];
	uint32_t tokens[64] = {0};
	uint32_t part[8];
	struct kvf_wire_mm_item item = {.identifier = text};

	if (n < 16)
		return;
	item.offset = (size_t)(kvf_load_le64(data) >> (data[15] % 64));
	item.length = (size_t)(kvf_load_le64(data + 8) >> (data[7] % 64));
	data += 16;
	n -= 16;
	take_text(&data, &n, text);
	kvf_wire_mm_rewrite(KVF_WIRE_MM16, &item, 1, tokens, 64);
	if (item.offset < 64 && item.length > 0)
		CHECK(tokens[item.offset] == kvf_wire_mm16(text));
	kvf_wire_mm_rewrite(KVF_WIRE_MM31, &item, 1, tokens, 64);
	kvf_wire_mm31(text, 3, part, 8);
	if (item.offset < 32 && item.length >= 11)
		CHECK(memcmp(part, tokens + item.offset + 3, sizeof(part)) == 0);
}

static size_t count(const char *text, char c)
{
	size_t n = 0;

	for (; *text != '\0'; text++)
		n += *text == c;
	return n;
}

static void fuzz_key(const uint8_t *data, size_t n)
{
	static const struct kvf_wire_hash digest = {.kind = KVF_WIRE_BYTES, .size = 32};
	char model[TEXT_MAX + 1], name[TEXT_MAX + 1], value[TEXT_MAX + 1], salt[TEXT_MAX + 1];
	char key[KVF_WIRE_KEY_MAX];
	struct kvf_wire_tag tag = {name, value};
	struct kvf_wire_ip_key ip = {.model = model,
		.world_size = 1,
		.hash = &digest,
		.dtype = KVF_WIRE_HALF,
		.layer = KVF_WIRE_NO_LAYER,
		.tags = &tag,
		.n_tags = 1};
	struct kvf_wire_mp_key mp = {.model = model, .hash = &digest, .salt = salt};
	int len;

	take_text(&data, &n, model);
	take_text(&data, &n, name);
	take_text(&data, &n, value);
	take_text(&data, &n, salt);
	len = kvf_wire_ip_key_print(&ip, KVF_WIRE_IP_NOW, key, sizeof(key), NULL);
	if (len >= 0)
		CHECK(strlen(key) == (size_t)len && count(key, '@') == 5);
	len = kvf_wire_mp_key_print(&mp, KVF_WIRE_MP_NOW, key, sizeof(key), NULL);
	if (len >= 0)
		CHECK(strlen(key) == (size_t)len && count(key, '@') == (salt[0] == '\0' ? 3 : 4));
}

static void fuzz_chain(const uint8_t *data, size_t n)
{
	char seed[TEXT_MAX + 1], text[KVF_WIRE_HASH_TEXT];
	struct kvf_wire_config config = {.seed = seed};
	struct kvf_wire_chain chain;
	struct kvf_wire_hash hash;
	uint32_t tokens[8] = {0};

	if (n < 3 + sizeof(tokens))
		return;
	config.algo = (enum kvf_wire_algo)(data[0] % (KVF_WIRE_ALGOS + 1));
	config.form = (enum kvf_wire_form)(data[1] % (KVF_WIRE_FORMS + 1));
	config.python_minor = data[2] % 16;
	for (size_t i = 0; i < 8; i++)
		tokens[i] = kvf_load_le32(data + 3 + 4 * i);
	data += 3 + sizeof(tokens);
	n -= 3 + sizeof(tokens);
	take_text(&data, &n, seed);
	if (seed[0] == '-')
		config.seed = NULL;
	if (kvf_wire_chain_init(&chain, &config, NULL) != KVF_OK)
		return;
	for (size_t i = 0; i < 8; i++) {
		CHECK(kvf_wire_chain_next(&chain, tokens, 8 - i, &hash) == KVF_OK);
		CHECK(kvf_wire_hash_print(&hash, text, sizeof(text)) > 0);
	}
}

static void fuzz_names(const uint8_t *data, size_t n)
{
	char text[TEXT_MAX + 1];
	enum kvf_wire_dtype dtype, again;
	enum kvf_wire_algo algo;

	take_text(&data, &n, text);
	if (kvf_wire_dtype_parse(text, &dtype) == KVF_OK)
		CHECK(kvf_wire_dtype_parse(kvf_wire_dtype_name(dtype), &again) == KVF_OK &&
			again == dtype);
	if (kvf_wire_algo_parse(text, &algo) == KVF_OK)
		CHECK((unsigned)algo < KVF_WIRE_ALGOS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const targets[])(const uint8_t *, size_t) = {
		fuzz_meta, fuzz_mm, fuzz_key, fuzz_chain, fuzz_names};

	if (size > 0)
		targets[data[0] % KVF_ARRAY_LEN(targets)](data + 1, size - 1);
	return 0;
}
