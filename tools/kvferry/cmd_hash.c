/* SPDX-License-Identifier: Apache-2.0 */
/* kvferry hash: the names that LMCache gives the chunks of a token list read from standard input.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "token/wire_hash.h"
#include "token/wire_key.h"
#include "token/wire_meta.h"

int kvf_cmd_hash(int argc, char **argv);

#define OK 0
#define WRONG 1
#define USAGE 2

#define TAGS_MAX 32
#define CHUNK_DEFAULT 256
#define CHUNK_MAX (1u << 24)
#define WORD_SHOWN 32 /* of a word that is no token */

static const char usage_text[] =
	"usage: kvferry hash --format ip|ip-digest|ip-none|mp|legacy [OPTION...] <TOKENS\n"
	"Reads token ids (decimal, separated by white space) from standard input and prints the\n"
	"name of each chunk, one a line, as LMCache prints it.\n"
	"  --format F       ip: in-process mode; ip-digest: the same from March to May 2026, with\n"
	"                   whole digests; ip-none: before that, builtin only; mp: multiprocess\n"
	"                   mode; legacy: up to LMCache 0.3.1\n"
	"  --algorithm A    builtin, sha256, sha256_cbor, xxhash, xxhash_cbor, blake3 (mp only);\n"
	"                   default: builtin for ip, blake3 for mp, sha256 for the others\n"
	"  --chunk-size N   tokens of a chunk, 1 to 16777216; default 256\n"
	"  --seed S         PYTHONHASHSEED of LMCache's process; without it the chain starts as\n"
	"                   LMCache does without vLLM\n"
	"  --python 3.N     its Python, for builtin; default 3.12\n"
	"  --unfull         also name a last chunk that is not full (not in mp)\n"
	"With --model, whole key strings:\n"
	"  --model M        model name as LMCache has it\n"
	"  --world-size N   default 1\n"
	"  --rank R         default 0\n"
	"  --dtype D        half, bfloat16, float, fp8_e4m3fn, ... (ip)\n"
	"  --layer L        of layerwise storing (ip)\n"
	"  --tag K=V        lmcache.tag.K, in the order given (ip)\n"
	"  --group G        object group id, default 0 (mp)\n"
	"  --salt S         cache_salt (mp)\n"
	"  --key-form F     ip: now, vllm-dtype (before 2026-01-29), vllm (before 2025-11-04, "
	"legacy's\n"
	"                   default); mp: now, three-fields (before 2026-06-11)\n"
	"Exit status: 0 fine, 1 wrong input, 2 usage.\n";

enum option {
	OPT_FORMAT,
	OPT_ALGORITHM,
	OPT_CHUNK_SIZE,
	OPT_SEED,
	OPT_PYTHON,
	OPT_UNFULL,
	OPT_MODEL,
	OPT_WORLD_SIZE,
	OPT_RANK,
	OPT_DTYPE,
	OPT_LAYER,
	OPT_TAG,
	OPT_GROUP,
	OPT_SALT,
	OPT_KEY_FORM,
	OPT_HELP,
	N_OPTIONS
};

static const char *const option_names[N_OPTIONS] = {"--format", "--algorithm", "--chunk-size",
	"--seed", "--python", "--unfull", "--model", "--world-size", "--rank", "--dtype", "--layer",
	"--tag", "--group", "--salt", "--key-form", "--help"};

enum key_form {
	KEY_FORM_DEFAULT,
	KEY_FORM_NOW,
	KEY_FORM_VLLM_DTYPE,
	KEY_FORM_VLLM,
	KEY_FORM_THREE
};

static const char *const key_form_names[] = {"", "now", "vllm-dtype", "vllm", "three-fields"};

struct args {
	bool given[N_OPTIONS];
	struct kvf_wire_config config;
	uint32_t chunk_size;
	uint32_t world_size;
	uint32_t rank;
	uint32_t layer;
	uint32_t group;
	const char *model;
	const char *salt;
	enum kvf_wire_dtype dtype;
	enum key_form key_form;
	struct kvf_wire_tag tags[TAGS_MAX];
	size_t n_tags;
	uint32_t kv_rank;
};

static int complain(const char *what, const char *value, const char *expected)
{
	fprintf(stderr, "kvferry hash: %s: '%.64s' is not %s\n", what, value, expected);
	return USAGE;
}

static bool parse_u32(const char *text, uint32_t min, uint32_t max, uint32_t *out)
{
	uint64_t v = 0;

	if (*text == '\0')
		return false;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9')
			return false;
		v = v * 10 + (uint64_t)(*text - '0');
		if (v > max)
			return false;
	}
	*out = (uint32_t)v;
	return v >= min;
}

static int set_number(
	enum option option, const char *value, uint32_t min, uint32_t max, uint32_t *out)
{
	char expected[64];

	if (parse_u32(value, min, max, out))
		return OK;
	snprintf(expected, sizeof(expected), "a number from %u to %u", min, max);
	return complain(option_names[option], value, expected);
}

static int set_format(struct args *a, const char *value)
{
	for (unsigned i = 0; i < KVF_WIRE_FORMS; i++) {
		if (strcmp(value, kvf_wire_form_name((enum kvf_wire_form)i)) == 0) {
			a->config.form = (enum kvf_wire_form)i;
			return OK;
		}
	}
	return complain("--format", value, "one of ip, ip-digest, ip-none, mp, legacy");
}

static int set_python(struct args *a, const char *value)
{
	uint32_t minor;

	if (strncmp(value, "3.", 2) != 0 || !parse_u32(value + 2, 8, 99, &minor))
		return complain("--python", value, "3.8 or later, as in 3.11");
	a->config.python_minor = minor;
	return OK;
}

/* Splits value in place, which is argv's own memory. */
static int set_tag(struct args *a, char *value)
{
	char *equals = strchr(value, '=');

	if (equals == NULL)
		return complain("--tag", value, "NAME=VALUE");
	if (a->n_tags == TAGS_MAX) {
		fprintf(stderr, "kvferry hash: --tag: more than %d of them\n", TAGS_MAX);
		return USAGE;
	}
	*equals = '\0';
	a->tags[a->n_tags].name = value;
	a->tags[a->n_tags++].value = equals + 1;
	return OK;
}

static int set_key_form(struct args *a, const char *value)
{
	for (unsigned i = KEY_FORM_NOW; i < KVF_ARRAY_LEN(key_form_names); i++) {
		if (strcmp(value, key_form_names[i]) == 0) {
			a->key_form = (enum key_form)i;
			return OK;
		}
	}
	return complain("--key-form", value, "one of now, vllm-dtype, vllm, three-fields");
}

static int set_option(struct args *a, enum option option, char *value)
{
	switch (option) {
	case OPT_FORMAT:
		return set_format(a, value);
	case OPT_ALGORITHM:
		if (kvf_wire_algo_parse(value, &a->config.algo) != KVF_OK)
			return complain("--algorithm", value, "an algorithm of LMCache");
		return OK;
	case OPT_CHUNK_SIZE:
		return set_number(option, value, 1, CHUNK_MAX, &a->chunk_size);
	case OPT_SEED:
		a->config.seed = value;
		return OK;
	case OPT_PYTHON:
		return set_python(a, value);
	case OPT_MODEL:
		a->model = value;
		return OK;
	case OPT_WORLD_SIZE:
		return set_number(option, value, 1, 1u << 20, &a->world_size);
	case OPT_RANK:
		return set_number(option, value, 0, 1u << 20, &a->rank);
	case OPT_DTYPE:
		if (kvf_wire_dtype_parse(value, &a->dtype) != KVF_OK)
			return complain("--dtype", value, "a dtype that LMCache has a name for");
		return OK;
	case OPT_LAYER:
		return set_number(option, value, 0, 1u << 20, &a->layer);
	case OPT_TAG:
		return set_tag(a, value);
	case OPT_GROUP:
		return set_number(option, value, 0, 1u << 20, &a->group);
	case OPT_SALT:
		a->salt = value;
		return OK;
	case OPT_KEY_FORM:
		return set_key_form(a, value);
	default:
		return USAGE;
	}
}

/* The option that `arg` names, N_OPTIONS for none; *value is what follows its '=', or NULL. */
static enum option find_option(char *arg, char **value)
{
	char *equals = strchr(arg, '=');
	size_t n = equals != NULL ? (size_t)(equals - arg) : strlen(arg);

	*value = equals != NULL ? equals + 1 : NULL;
	for (unsigned i = 0; i < N_OPTIONS; i++) {
		if (strlen(option_names[i]) == n && strncmp(arg, option_names[i], n) == 0)
			return (enum option)i;
	}
	return N_OPTIONS;
}

static int parse_args(struct args *a, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		char *value;
		enum option option = find_option(argv[i], &value);
		int rc;

		if (option == N_OPTIONS) {
			fprintf(stderr, "kvferry hash: unknown argument '%.64s'\n", argv[i]);
			return USAGE;
		}
		if (a->given[option] && option != OPT_TAG) {
			fprintf(stderr, "kvferry hash: %s: given twice\n", option_names[option]);
			return USAGE;
		}
		a->given[option] = true;
		if (option == OPT_HELP || option == OPT_UNFULL) {
			if (value == NULL)
				continue;
			fprintf(stderr, "kvferry hash: %s: takes no value\n", option_names[option]);
			return USAGE;
		}
		if (value == NULL && i + 1 < argc)
			value = argv[++i];
		if (value == NULL) {
			fprintf(stderr, "kvferry hash: %s: needs a value\n", option_names[option]);
			return USAGE;
		}
		rc = set_option(a, option, value);
		if (rc != OK)
			return rc;
	}
	return OK;
}

static int refuse(const struct args *a, const enum option *options, size_t n, const char *why)
{
	for (size_t i = 0; i < n; i++) {
		if (a->given[options[i]]) {
			fprintf(stderr, "kvferry hash: %s: %s\n", option_names[options[i]], why);
			return USAGE;
		}
	}
	return OK;
}

static void set_defaults(struct args *a)
{
	static const enum kvf_wire_algo algos[KVF_WIRE_FORMS] = {
		[KVF_WIRE_IP] = KVF_WIRE_BUILTIN,
		[KVF_WIRE_IP_DIGEST] = KVF_WIRE_SHA256,
		[KVF_WIRE_MP] = KVF_WIRE_BLAKE3,
		[KVF_WIRE_LEGACY] = KVF_WIRE_SHA256,
	};

	if (!a->given[OPT_ALGORITHM])
		a->config.algo = algos[a->config.form];
	if (a->key_form == KEY_FORM_DEFAULT)
		a->key_form = a->config.form == KVF_WIRE_LEGACY ? KEY_FORM_VLLM : KEY_FORM_NOW;
}

/* What belongs together and what does not. */
static int check_args(const struct args *a)
{
	static const enum option of_key[] = {OPT_WORLD_SIZE, OPT_RANK, OPT_DTYPE, OPT_LAYER,
		OPT_TAG, OPT_GROUP, OPT_SALT, OPT_KEY_FORM};
	static const enum option of_ip[] = {OPT_UNFULL, OPT_DTYPE, OPT_LAYER, OPT_TAG};
	static const enum option of_mp[] = {OPT_GROUP, OPT_SALT};
	bool mp = a->config.form == KVF_WIRE_MP;
	int rc = OK;

	if (!a->given[OPT_MODEL])
		rc = refuse(a, of_key, KVF_ARRAY_LEN(of_key),
			"belongs to key strings, which need --model");
	if (rc == OK && mp)
		rc = refuse(a, of_ip, KVF_ARRAY_LEN(of_ip), "does not exist in the format mp");
	if (rc == OK && !mp)
		rc = refuse(a, of_mp, KVF_ARRAY_LEN(of_mp), "exists in the format mp only");
	if (rc != OK || a->model == NULL)
		return rc;
	if (a->rank >= a->world_size) {
		fprintf(stderr, "kvferry hash: --rank: %u is not below the world size %u\n",
			a->rank, a->world_size);
		return USAGE;
	}
	if (mp ? a->key_form != KEY_FORM_NOW && a->key_form != KEY_FORM_THREE
	       : a->key_form == KEY_FORM_THREE)
		return complain(
			"--key-form", key_form_names[a->key_form], "a key form of this format");
	if (!mp && a->key_form != KEY_FORM_VLLM && !a->given[OPT_DTYPE]) {
		fprintf(stderr, "kvferry hash: --dtype: missing, keys of this form carry it\n");
		return USAGE;
	}
	return OK;
}

static int print_key(const struct args *a, const struct kvf_wire_hash *hash, char *buf, size_t cap,
	struct kvf_report *report)
{
	struct kvf_wire_ip_key ip = {.model = a->model,
		.world_size = a->world_size,
		.worker_id = a->rank,
		.hash = hash,
		.dtype = a->dtype,
		.layer = a->layer,
		.tags = a->tags,
		.n_tags = a->n_tags};
	struct kvf_wire_mp_key mp = {.model = a->model,
		.kv_rank = a->kv_rank,
		.group = a->group,
		.hash = hash,
		.salt = a->salt};

	if (a->model == NULL)
		return kvf_wire_hash_print(hash, buf, cap);
	if (a->config.form == KVF_WIRE_MP)
		return kvf_wire_mp_key_print(&mp,
			a->key_form == KEY_FORM_THREE ? KVF_WIRE_MP_THREE_FIELDS : KVF_WIRE_MP_NOW,
			buf, cap, report);
	return kvf_wire_ip_key_print(&ip,
		a->key_form == KEY_FORM_NOW    ? KVF_WIRE_IP_NOW
		: a->key_form == KEY_FORM_VLLM ? KVF_WIRE_IP_VLLM
					       : KVF_WIRE_IP_VLLM_DTYPE,
		buf, cap, report);
}

/* Starts the chain and prints one key into the void, so that whatever is wrong is said before any
 * output. */
static int prepare(struct args *a, struct kvf_wire_chain *chain)
{
	const struct kvf_wire_hash longest = {.kind = KVF_WIRE_BYTES, .size = KVF_WIRE_HASH_BYTES};
	char key[KVF_WIRE_KEY_MAX];
	char text[1024];
	struct kvf_report report;
	const char *advice;
	int rc;

	kvf_report_init(&report, text, sizeof(text));
	rc = kvf_wire_chain_init(chain, &a->config, &report);
	if (rc == KVF_OK && a->model != NULL && a->config.form == KVF_WIRE_MP)
		rc = kvf_wire_kv_rank(a->world_size, a->rank, &report, &a->kv_rank);
	if (rc == KVF_OK)
		rc = print_key(a, &longest, key, sizeof(key), &report);
	if (rc < 0) {
		fprintf(stderr, "kvferry hash: %s", text);
		return USAGE;
	}
	advice = kvf_wire_seed_advice(&a->config);
	if (advice != NULL)
		fprintf(stderr, "kvferry hash: note: %s\n", advice);
	return OK;
}

struct reader {
	FILE *in;
	uint64_t line;
	uint64_t column; /* of the next character, from 1 */
	uint64_t tokens;
};

enum read_result { READ_TOKEN, READ_END, READ_WRONG };

static bool is_space(int c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static int next_char(struct reader *r)
{
	int c = getc(r->in);

	if (c == '\n') {
		r->line++;
		r->column = 1;
	} else {
		r->column++;
	}
	return c;
}

static enum read_result read_token(struct reader *r, uint32_t *token)
{
	char word[WORD_SHOWN + 1];
	uint64_t line, column;
	size_t n = 0;
	int c;

	do {
		line = r->line;
		column = r->column;
		c = next_char(r);
	} while (is_space(c));
	for (; c != EOF && !is_space(c); c = next_char(r)) {
		/* Leading zeros do not count, so that a number of any length fits or is too big. */
		if (n == 1 && word[0] == '0' && c >= '0' && c <= '9')
			n = 0;
		if (n < WORD_SHOWN)
			word[n++] = c >= ' ' && c < 0x7f ? (char)c : '?';
	}
	if (ferror(r->in)) {
		fprintf(stderr, "kvferry hash: standard input: %s\n", strerror(errno));
		return READ_WRONG;
	}
	if (n == 0)
		return READ_END;
	word[n] = '\0';
	r->tokens++;
	if (parse_u32(word, 0, UINT32_MAX, token))
		return READ_TOKEN;
	fprintf(stderr,
		"kvferry hash: standard input:%llu:%llu: token %llu: '%s' is not a number from 0 "
		"to "
		"4294967295\n",
		(unsigned long long)line, (unsigned long long)column, (unsigned long long)r->tokens,
		word);
	return READ_WRONG;
}

static void print_chunk(
	const struct args *a, struct kvf_wire_chain *chain, const uint32_t *tokens, size_t n)
{
	struct kvf_wire_hash hash;
	char name[KVF_WIRE_KEY_MAX];

	/* n > 0, and prepare() has seen a longer name fit. */
	if (kvf_wire_chain_next(chain, tokens, n, &hash) == KVF_OK &&
		print_key(a, &hash, name, sizeof(name), NULL) > 0)
		puts(name);
}

static int run(const struct args *a, struct kvf_wire_chain *chain, uint32_t *tokens)
{
	struct reader r = {.in = stdin, .line = 1, .column = 1};
	enum read_result result;
	size_t n = 0;

	while ((result = read_token(&r, &tokens[n])) == READ_TOKEN) {
		if (++n == a->chunk_size) {
			print_chunk(a, chain, tokens, n);
			n = 0;
		}
	}
	if (result == READ_END && n > 0 && a->given[OPT_UNFULL])
		print_chunk(a, chain, tokens, n);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "kvferry hash: standard output: %s\n", strerror(errno));
		return WRONG;
	}
	return result == READ_END ? OK : WRONG;
}

int kvf_cmd_hash(int argc, char **argv)
{
	struct args a = {.chunk_size = CHUNK_DEFAULT, .world_size = 1, .layer = KVF_WIRE_NO_LAYER};
	struct kvf_wire_chain chain;
	uint32_t *tokens;
	int rc = parse_args(&a, argc, argv);

	if (a.given[OPT_HELP]) {
		fputs(usage_text, stdout);
		return OK;
	}
	if (rc == OK && !a.given[OPT_FORMAT]) {
		fprintf(stderr, "kvferry hash: --format: missing\n");
		rc = USAGE;
	}
	set_defaults(&a);
	if (rc == OK)
		rc = check_args(&a);
	if (rc == OK)
		rc = prepare(&a, &chain);
	if (rc != OK) {
		fprintf(stderr, "Try 'kvferry hash --help'.\n");
		return rc;
	}
	tokens = malloc(a.chunk_size * sizeof(*tokens));
	if (tokens == NULL) {
		fprintf(stderr, "kvferry hash: no memory for a chunk of %u tokens\n", a.chunk_size);
		return WRONG;
	}
	rc = run(&a, &chain, tokens);
	free(tokens);
	return rc;
}
