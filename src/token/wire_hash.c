/* SPDX-License-Identifier: Apache-2.0 */
/* The chain of LMCache's chunk hashes: where it starts and how each algorithm takes a step. */
#include "token/wire_hash.h"

#include <stdio.h>
#include <string.h>

#include "base/report.h"
#include "token/wire_digest.h"
#include "token/wire_encode.h"
#include "token/wire_pyhash.h"

#define SEED_MAX 32 /* bytes; Python takes at most ten digits and leading zeros */
#define PYTHON_MIN 8
#define PYTHON_NONE_CONSTANT 12 /* since when hash(None) is no address */

static const char *const algo_names[KVF_WIRE_ALGOS] = {
	"builtin", "sha256", "sha256_cbor", "xxhash", "xxhash_cbor", "blake3"};
static const char *const form_names[KVF_WIRE_FORMS] = {"ip", "ip-digest", "mp", "legacy", "ip-none"};

const char *kvf_wire_algo_name(enum kvf_wire_algo algo)
{
	return (unsigned)algo < KVF_WIRE_ALGOS ? algo_names[algo] : "unknown";
}

const char *kvf_wire_form_name(enum kvf_wire_form form)
{
	return (unsigned)form < KVF_WIRE_FORMS ? form_names[form] : "unknown";
}

int kvf_wire_algo_parse(const char *name, enum kvf_wire_algo *out)
{
	if (strcmp(name, "sha256_cbor_64bit") == 0) {
		*out = KVF_WIRE_SHA256_CBOR;
		return KVF_OK;
	}
	for (unsigned i = 0; i < KVF_WIRE_ALGOS; i++) {
		if (strcmp(name, algo_names[i]) == 0) {
			*out = (enum kvf_wire_algo)i;
			return KVF_OK;
		}
	}
	return KVF_EINVAL;
}

static bool is_cbor(enum kvf_wire_algo algo)
{
	return algo == KVF_WIRE_SHA256_CBOR || algo == KVF_WIRE_XXHASH_CBOR;
}

static enum kvf_wire_digest_kind digest_kind(enum kvf_wire_algo algo)
{
	if (algo == KVF_WIRE_BLAKE3)
		return KVF_WIRE_DIGEST_BLAKE3;
	if (algo == KVF_WIRE_XXHASH || algo == KVF_WIRE_XXHASH_CBOR)
		return KVF_WIRE_DIGEST_XXH3;
	return KVF_WIRE_DIGEST_SHA256;
}

static void set_number(struct kvf_wire_hash *h, enum kvf_wire_hash_kind kind, uint64_t number)
{
	memset(h, 0, sizeof(*h));
	h->kind = (uint8_t)kind;
	h->number = number;
}

static uint64_t load_be64(const uint8_t *p)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < 8; i++)
		v = v << 8 | p[i];
	return v;
}

static void store_be64(uint8_t *p, uint64_t v)
{
	for (unsigned i = 0; i < 8; i++)
		p[i] = (uint8_t)(v >> (56 - 8 * i));
}

/* What in-process LMCache makes of a digest since May 2026. */
static void fold(struct kvf_wire_hash *h)
{
	set_number(h, KVF_WIRE_UNSIGNED, load_be64(h->bytes));
}

static size_t put_token_be(uint8_t *p, uint32_t token)
{
	p[0] = (uint8_t)(token >> 24);
	p[1] = (uint8_t)(token >> 16);
	p[2] = (uint8_t)(token >> 8);
	p[3] = (uint8_t)token;
	return 4;
}

static size_t put_token_le(uint8_t *p, uint32_t token)
{
	p[0] = (uint8_t)token;
	p[1] = (uint8_t)(token >> 8);
	p[2] = (uint8_t)(token >> 16);
	p[3] = (uint8_t)(token >> 24);
	return 4;
}

static void step_blake3(const struct kvf_wire_hash *prefix, const uint32_t *tokens, size_t n,
	struct kvf_wire_hash *out)
{
	struct kvf_wire_digest d;
	uint8_t number[8];

	kvf_wire_digest_init(&d, KVF_WIRE_DIGEST_BLAKE3);
	if (prefix->kind == KVF_WIRE_BYTES) {
		kvf_wire_digest_put(&d, prefix->bytes, prefix->size);
	} else {
		store_be64(number, prefix->number);
		kvf_wire_digest_put(&d, number, sizeof(number));
	}
	for (size_t i = 0; i < n; i++)
		kvf_wire_digest_took(&d, put_token_be(kvf_wire_digest_room(&d), tokens[i]));
	kvf_wire_digest_final(&d, out);
}

static void step_legacy(const struct kvf_wire_hash *prefix, const uint32_t *tokens, size_t n,
	struct kvf_wire_hash *out)
{
	struct kvf_wire_digest d;
	char hex[KVF_WIRE_HASH_TEXT];
	int len = kvf_wire_hash_print(prefix, hex, sizeof(hex));

	kvf_wire_digest_init(&d, KVF_WIRE_DIGEST_SHA256);
	kvf_wire_digest_put(&d, hex, (size_t)len);
	for (size_t i = 0; i < n; i++)
		kvf_wire_digest_took(&d, put_token_le(kvf_wire_digest_room(&d), tokens[i]));
	kvf_wire_digest_final(&d, out);
}

static enum kvf_wire_third third_of(enum kvf_wire_form form)
{
	return form == KVF_WIRE_MP || form == KVF_WIRE_IP_NONE ? KVF_WIRE_THIRD_NONE
							       : KVF_WIRE_THIRD_EMPTY;
}

static void step_digest(const struct kvf_wire_chain *chain, const uint32_t *tokens, size_t n,
	struct kvf_wire_hash *out)
{
	enum kvf_wire_third third = third_of(chain->form);
	struct kvf_wire_digest d;

	kvf_wire_digest_init(&d, digest_kind(chain->algo));
	if (is_cbor(chain->algo))
		kvf_wire_cbor_chunk(&d, &chain->last, tokens, n, third);
	else
		kvf_wire_pickle_chunk(&d, &chain->last, tokens, n, third);
	kvf_wire_digest_final(&d, out);
}

static void step_builtin(const struct kvf_wire_chain *chain, const uint32_t *tokens, size_t n,
	struct kvf_wire_hash *out)
{
	int64_t third = third_of(chain->form) == KVF_WIRE_THIRD_NONE ? (int64_t)KVF_PYHASH_NONE
								     : kvf_pyhash_empty();
	int64_t h = kvf_pyhash_chunk((int64_t)chain->last.number, tokens, n, third);

	set_number(out, KVF_WIRE_SIGNED, (uint64_t)h);
}

/* The value of LMCache's hash function, before it is cut or turned into bytes. */
static void step(const struct kvf_wire_chain *chain, const uint32_t *tokens, size_t n,
	struct kvf_wire_hash *out)
{
	if (chain->form == KVF_WIRE_LEGACY)
		step_legacy(&chain->last, tokens, n, out);
	else if (chain->algo == KVF_WIRE_BLAKE3)
		step_blake3(&chain->last, tokens, n, out);
	else if (chain->algo == KVF_WIRE_BUILTIN)
		step_builtin(chain, tokens, n, out);
	else
		step_digest(chain, tokens, n, out);
}

int kvf_wire_chain_next(
	struct kvf_wire_chain *chain, const uint32_t *tokens, size_t n, struct kvf_wire_hash *out)
{
	struct kvf_wire_hash h;

	if (n == 0)
		return KVF_EINVAL;
	step(chain, tokens, n, &h);
	if (chain->form == KVF_WIRE_IP && h.kind == KVF_WIRE_BYTES)
		fold(&h);
	chain->last = h;
	if (chain->form == KVF_WIRE_MP && h.kind != KVF_WIRE_BYTES) {
		h.kind = KVF_WIRE_BYTES;
		h.size = 8;
		store_be64(h.bytes, h.number);
		h.number = 0;
	}
	*out = h;
	return KVF_OK;
}

static bool seed_number(const char *seed, size_t n, uint32_t *out)
{
	uint64_t v = 0;

	for (size_t i = 0; i < n; i++) {
		if (seed[i] < '0' || seed[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(seed[i] - '0');
		if (v > UINT32_MAX)
			return false;
	}
	*out = (uint32_t)v;
	return n > 0;
}

static int check_seed(
	const struct kvf_wire_config *c, size_t n, uint32_t *number, struct kvf_report *report)
{
	*number = 0;
	if (n <= SEED_MAX && seed_number(c->seed, n, number))
		return KVF_OK;
	if (c->algo == KVF_WIRE_BUILTIN) {
		kvf_report_add(report, KVF_ERROR,
			"seed: '%.32s' is not a decimal number from 0 to 4294967295, which is what "
			"builtin hashes need",
			c->seed);
		return KVF_EINVAL;
	}
	if (strcmp(c->seed, "random") == 0 || strcmp(c->seed, KVF_WIRE_VLLM_DEFAULT_SEED) == 0)
		return KVF_OK;
	kvf_report_add(report, KVF_ERROR,
		"seed: '%.32s' is neither a decimal number from 0 to 4294967295 nor 'random' nor "
		"'" KVF_WIRE_VLLM_DEFAULT_SEED "'",
		c->seed);
	return KVF_EINVAL;
}

/* H(seed), as vLLM's init_none_hash() computes it. */
static void start_seeded(
	struct kvf_wire_chain *chain, const struct kvf_wire_config *c, size_t n, uint32_t number)
{
	struct kvf_wire_digest d;

	if (c->algo == KVF_WIRE_BUILTIN) {
		unsigned minor = c->python_minor == 0 ? PYTHON_NONE_CONSTANT : c->python_minor;
		int64_t h = kvf_pyhash_text(c->seed, n, number, minor);

		set_number(&chain->last, KVF_WIRE_SIGNED, (uint64_t)h);
		return;
	}
	kvf_wire_digest_init(&d, digest_kind(c->algo));
	if (is_cbor(c->algo))
		kvf_wire_cbor_text(&d, c->seed, n);
	else
		kvf_wire_pickle_text(&d, c->seed, n);
	kvf_wire_digest_final(&d, &chain->last);
	if (c->form == KVF_WIRE_IP)
		fold(&chain->last);
}

static void start_unseeded(struct kvf_wire_chain *chain)
{
	static const uint32_t zero = 0;
	struct kvf_wire_hash h;

	if (chain->form == KVF_WIRE_LEGACY) {
		set_number(&chain->last, KVF_WIRE_BYTES, 0);
		return;
	}
	set_number(&chain->last,
		chain->algo == KVF_WIRE_BUILTIN ? KVF_WIRE_SIGNED : KVF_WIRE_UNSIGNED, 0);
	if (chain->form != KVF_WIRE_MP)
		return;
	step(chain, &zero, 1, &h);
	chain->last = h;
}

static int check_config(const struct kvf_wire_config *c, struct kvf_report *report)
{
	if ((unsigned)c->algo >= KVF_WIRE_ALGOS || (unsigned)c->form >= KVF_WIRE_FORMS) {
		kvf_report_add(report, KVF_ERROR, "algorithm %d or form %d is unknown",
			(int)c->algo, (int)c->form);
		return KVF_EINVAL;
	}
	if (c->form == KVF_WIRE_LEGACY && c->algo != KVF_WIRE_SHA256) {
		kvf_report_add(report, KVF_ERROR,
			"algorithm: '%s': the legacy form is always sha256", algo_names[c->algo]);
		return KVF_EINVAL;
	}
	if (c->algo == KVF_WIRE_BLAKE3 && c->form != KVF_WIRE_MP) {
		kvf_report_add(report, KVF_ERROR,
			"algorithm: 'blake3' exists in LMCache's multiprocess (mp) form only, not "
			"in '%s'",
			form_names[c->form]);
		return KVF_EINVAL;
	}
	if (c->algo == KVF_WIRE_BUILTIN && c->form == KVF_WIRE_IP_DIGEST) {
		kvf_report_add(report, KVF_ERROR,
			"algorithm: 'builtin' makes no digests: its names are those of the form "
			"'ip'");
		return KVF_EINVAL;
	}
	if (c->python_minor != 0 && c->python_minor < PYTHON_MIN) {
		kvf_report_add(report, KVF_ERROR, "python: 3.%u is older than 3.%d",
			c->python_minor, PYTHON_MIN);
		return KVF_EINVAL;
	}
	if (c->form == KVF_WIRE_IP_NONE && c->algo != KVF_WIRE_BUILTIN) {
		kvf_report_add(report, KVF_ERROR,
			"algorithm: '%s': in the form 'ip-none' only builtin is known",
			algo_names[c->algo]);
		return KVF_ENOTSUP;
	}
	if (c->algo == KVF_WIRE_BUILTIN && third_of(c->form) == KVF_WIRE_THIRD_NONE && c->python_minor != 0 &&
		c->python_minor < PYTHON_NONE_CONSTANT) {
		kvf_report_add(report, KVF_ERROR,
			"python: 3.%u hashes None by its address, so builtin names of this form differ in "
			"every "
			"process; they are constant since 3.%d",
			c->python_minor, PYTHON_NONE_CONSTANT);
		return KVF_ENOTSUP;
	}
	return KVF_OK;
}

int kvf_wire_chain_init(struct kvf_wire_chain *chain, const struct kvf_wire_config *config,
	struct kvf_report *report)
{
	struct kvf_wire_chain c = {.algo = config->algo, .form = config->form};
	uint32_t number;
	int rc;

	rc = check_config(config, report);
	if (rc != KVF_OK)
		return rc;
	if (config->seed != NULL) {
		size_t n = strlen(config->seed);

		rc = check_seed(config, n, &number, report);
		if (rc != KVF_OK)
			return rc;
		/* These two know no seed. */
		if (config->form != KVF_WIRE_LEGACY && config->algo != KVF_WIRE_BLAKE3) {
			start_seeded(&c, config, n, number);
			*chain = c;
			return KVF_OK;
		}
	}
	start_unseeded(&c);
	*chain = c;
	return KVF_OK;
}

int kvf_wire_hash_print(const struct kvf_wire_hash *hash, char *buf, size_t cap)
{
	static const char digits[] = "0123456789abcdef";
	uint64_t magnitude = hash->number;
	bool negative = hash->kind == KVF_WIRE_SIGNED && (int64_t)hash->number < 0;
	int n;

	if (hash->kind == KVF_WIRE_BYTES) {
		if (hash->size > KVF_WIRE_HASH_BYTES || cap < 2 * (size_t)hash->size + 1)
			return KVF_ERANGE;
		for (unsigned i = 0; i < hash->size; i++) {
			buf[2 * i] = digits[hash->bytes[i] >> 4];
			buf[2 * i + 1] = digits[hash->bytes[i] & 15];
		}
		buf[2 * hash->size] = '\0';
		return 2 * hash->size;
	}
	if (negative)
		magnitude = 0 - magnitude;
	n = snprintf(buf, cap, "%s%llx", negative ? "-" : "", (unsigned long long)magnitude);
	return n < 0 || (size_t)n >= cap ? KVF_ERANGE : n;
}

const char *kvf_wire_seed_advice(const struct kvf_wire_config *c)
{
	if (c->form == KVF_WIRE_LEGACY || c->algo == KVF_WIRE_BLAKE3)
		return NULL;
	if (c->algo == KVF_WIRE_BUILTIN)
		return c->seed != NULL
			       ? NULL
			       : "builtin without PYTHONHASHSEED: LMCache beside vLLM starts from "
				 "another random value in every process and finds no chunk of "
				 "another one; set PYTHONHASHSEED alike on all of them";
	if (c->seed == NULL)
		return "no PYTHONHASHSEED: LMCache beside vLLM does not start its hashes as "
		       "without vLLM "
		       "(a random start before August 2026, the seed '" KVF_WIRE_VLLM_DEFAULT_SEED
		       "' for sha256 algorithms since); set PYTHONHASHSEED alike on all of them";
	if (strcmp(c->seed, KVF_WIRE_VLLM_DEFAULT_SEED) == 0 &&
		digest_kind(c->algo) == KVF_WIRE_DIGEST_XXH3)
		return "vLLM keeps a random start for xxhash algorithms without PYTHONHASHSEED; "
		       "set it";
	return NULL;
}
