/* SPDX-License-Identifier: Apache-2.0 */
/* Chains of LMCache's chunk hashes against known values. Tokens are 1, 2, 3, ... */
#include <string.h>

#include "tests/harness.h"
#include "token/wire_hash.h"

#define TOKENS_MAX 512

static const struct {
	enum kvf_wire_algo algo;
	enum kvf_wire_form form;
	const char *seed;
	const char *start; /* the first digits of the chain's start, or NULL */
	const char *c4[2];
	const char *c256[2];
} vectors[] = {
	{KVF_WIRE_SHA256, KVF_WIRE_LEGACY, NULL, "",
		{"cf97adeedb59e05bfd73a2b4c2a8885708c4f4f70c84c64b27120e72ab733b72",
			"c1840e43668bb785331cde545d80717c1007e7e804a270d16a7c6b55dbd2acd9"},
		{"80fa0f6d1caca9aad2b012051399b33bcd1976b145f3f3eea0f7ba10637761b0",
			"3beaef5b10b8efdad30877aea55c4e60452b19cb9db385675f551243547a9194"}},
	{KVF_WIRE_BUILTIN, KVF_WIRE_IP, NULL, "0", {"44ea817d9387da2c", "-5754ed40775a7be6"},
		{"160641196f2f1ef3", "670530f455ce2cb3"}},
	{KVF_WIRE_BUILTIN, KVF_WIRE_IP, "0", NULL, {"6cc7d6490d8a0e18", "-7ee8ab9fe3a0354b"},
		{"3718e5046c468589", "21be9607db43b10e"}},
	{KVF_WIRE_SHA256_CBOR, KVF_WIRE_IP, "0", "4e1195df020de59e",
		{"29d42bf4f9a3b4b6", "9d49993895b8a4c1"}, {"b44cfe1cb25a9be0", "a07581418608f67e"}},
	{KVF_WIRE_SHA256_CBOR, KVF_WIRE_IP, NULL, "0", {"7e36a06c49df122e", "108f6ddba914556d"},
		{"d1ad3a3bd75ff776", "1ceabd9763a42666"}},
	{KVF_WIRE_SHA256, KVF_WIRE_IP, "0", "1973e23848344dc4",
		{"dbdb288d4f28160d", "356093f83821918"}, {"b5fa9b8ba45031a7", "ce558f15f8a48025"}},
	{KVF_WIRE_SHA256, KVF_WIRE_IP, NULL, "0", {"bcf78367dc568117", "7090871c6d9e81ff"},
		{"e24c25b48887843e", "68cb4218076c8abf"}},
	{KVF_WIRE_XXHASH, KVF_WIRE_IP, "0", "6fb31cc38bba6066",
		{"300da7d77ccf37c0", "5a13341ae12bbcad"}, {"7d9b3f5502e92923", "d095c234152ceb86"}},
	{KVF_WIRE_XXHASH_CBOR, KVF_WIRE_IP, "0", "1ebe36576dcb573f",
		{"c2b59707854bc914", "11edba94c9878ae2"}, {"c9d89256ff681ebd", "8fd7c04c81c2e67"}},
	{KVF_WIRE_BLAKE3, KVF_WIRE_MP, NULL,
		"7e3eff9ef7613a50340eb12677ee03b83ac759fcba9bb32705f07248d56d473b",
		{"6309ed506b8721905753f5c73c070bb21c3aafbd9b474b1e231f41368b71123c",
			"98efc76eafb06cfe774c31ff151f300b61a614c27982a211bb8cdbd83a8c0e19"},
		{"3c8582932142a7d831a2a6150bbd9cc64dc3a55070cae822a3d527ff5b8dbe6e",
			"0b709854b9759133e1c54f017a552f33944b3316376c97e3d9798eba1ce64c81"}},
	{KVF_WIRE_SHA256_CBOR, KVF_WIRE_MP, "0",
		"4e1195df020de59e0d65a33a4279f1183e7ae4e5d980e309f8b55adff2e61c3e",
		{"c9d58ba695280d69b243e1e0df813136ca9196b286fb1a021e0b2e028ef071cb",
			"24125b23e68883b5c2141db2959d48433fe6bde2f26bd914efad121d154ab2d6"},
		{"52380a15912f9611a506af4d0d8389a42690503a4988ed5a7cf354212dc36fc5",
			"9a81594852a0d6a8499e1c5c581b9ec8989931297095232963433244c1dacd6e"}},
	{KVF_WIRE_SHA256, KVF_WIRE_MP, "0",
		"1973e23848344dc43a988a9b478663803cfffe1243480253f9a3cf004b14aa7c",
		{"762b2e7e1520febd3a0aedb7358e8602facf3924440e18538fce057e23bae91d",
			"9e62b5a7ec298f33cb4c7d9e00b659874bb2432d23ad6879ad1746592a2b036b"},
		{"33e55e9a4eb573ca386c776cc50fd8e7eabf1fcc5f1d257de2a1db64e3e684aa",
			"11ce4de1d3148e45fe4e8d1e8e2f143a610aa366144a86fa6230828d5200f4e3"}},
	{KVF_WIRE_XXHASH_CBOR, KVF_WIRE_MP, "0", "1ebe36576dcb573f26b99533a20aaeca",
		{"0a8577df5ee3430515a8cc1f6e3ac52e", "d152782cb4d753bde718a811a3b75e23"},
		{"4aaaa236c4290860e93cbfff819da52f", "65cdc655dcf81a60b6ee0427a5af50e5"}},
	{KVF_WIRE_XXHASH, KVF_WIRE_MP, "0", "6fb31cc38bba6066183f7f2104b9c051",
		{"f3856cedd7e636094750c4546e855397", "0c9832567b17003b126077f57e0bb670"},
		{"b1aa34a0667878d7022239b7ed5d54b1", "2b12da08443c90812d9c9ff6203c9d7e"}},
	{KVF_WIRE_BUILTIN, KVF_WIRE_MP, NULL, "-251e566d0e157673",
		{"e32d91943c106580", "ff989ccaeea9c9f5"}, {NULL, NULL}},
};

static uint32_t tokens[TOKENS_MAX];

static void start(struct kvf_wire_chain *chain, enum kvf_wire_algo algo, enum kvf_wire_form form,
	const char *seed)
{
	struct kvf_wire_config config = {.algo = algo, .form = form, .seed = seed};

	CU_ASSERT_EQUAL_FATAL(kvf_wire_chain_init(chain, &config, NULL), KVF_OK);
}

static void expect_next(struct kvf_wire_chain *chain, const uint32_t *t, size_t n, const char *want)
{
	struct kvf_wire_hash hash;
	char text[KVF_WIRE_HASH_TEXT];

	CU_ASSERT_EQUAL(kvf_wire_chain_next(chain, t, n, &hash), KVF_OK);
	CU_ASSERT_EQUAL(kvf_wire_hash_print(&hash, text, sizeof(text)), (int)strlen(want));
	CU_ASSERT_STRING_EQUAL(text, want);
}

static void fill(void)
{
	for (uint32_t i = 0; i < TOKENS_MAX; i++)
		tokens[i] = i + 1;
}

static void test_vectors(void)
{
	struct kvf_wire_chain chain;
	char text[KVF_WIRE_HASH_TEXT];

	fill();
	for (size_t i = 0; i < KVF_ARRAY_LEN(vectors); i++) {
		start(&chain, vectors[i].algo, vectors[i].form, vectors[i].seed);
		if (vectors[i].start != NULL) {
			CU_ASSERT(kvf_wire_hash_print(&chain.last, text, sizeof(text)) >= 0);
			CU_ASSERT_STRING_EQUAL(text, vectors[i].start);
		}
		expect_next(&chain, tokens, 4, vectors[i].c4[0]);
		expect_next(&chain, tokens + 4, 4, vectors[i].c4[1]);
		if (vectors[i].c256[0] == NULL)
			continue;
		start(&chain, vectors[i].algo, vectors[i].form, vectors[i].seed);
		expect_next(&chain, tokens, 256, vectors[i].c256[0]);
		expect_next(&chain, tokens + 256, 256, vectors[i].c256[1]);
	}
}

/* Where the multiprocess chains start without vLLM. */
static void test_none_without_vllm(void)
{
	static const struct {
		enum kvf_wire_algo algo;
		const char *hex;
	} none[] = {
		{KVF_WIRE_SHA256_CBOR,
			"d01eddc504e77448195ff488ddf8bfb601ebd9c229db2d8e38cb08cdc3d3c8a1"},
		{KVF_WIRE_SHA256,
			"7ebaa8ec5a2da1a10c52d9b09d86ecb0b8d739eba148cfca43a92ebfe03f1681"},
		{KVF_WIRE_XXHASH_CBOR, "f3b55a59f5dbb977ea4f8613bd91a342"},
		{KVF_WIRE_XXHASH, "45126eefc058fa939dc001f2a97d40c6"},
	};
	struct kvf_wire_chain chain;
	char text[KVF_WIRE_HASH_TEXT];

	for (size_t i = 0; i < KVF_ARRAY_LEN(none); i++) {
		start(&chain, none[i].algo, KVF_WIRE_MP, NULL);
		CU_ASSERT(kvf_wire_hash_print(&chain.last, text, sizeof(text)) > 0);
		CU_ASSERT_STRING_EQUAL(text, none[i].hex);
	}
}

static void test_wide_tokens(void)
{
	static const uint32_t wide[4] = {151643, 128000, 4294967295, 0};
	struct kvf_wire_chain chain;

	start(&chain, KVF_WIRE_BLAKE3, KVF_WIRE_MP, NULL);
	expect_next(&chain, wide, 4,
		"73f974b7c7ea454b96264d4177cf853a86580161483bf24a2b0b2be8017092b4");
	start(&chain, KVF_WIRE_BUILTIN, KVF_WIRE_IP, NULL);
	expect_next(&chain, wide, 4, "-797d4b1043d5cf56");
}

/* Neither blake3 nor the legacy form has a seed. */
static void test_seed_without_effect(void)
{
	struct kvf_wire_chain chain;

	fill();
	start(&chain, KVF_WIRE_BLAKE3, KVF_WIRE_MP, "42");
	expect_next(&chain, tokens, 4,
		"6309ed506b8721905753f5c73c070bb21c3aafbd9b474b1e231f41368b71123c");
	start(&chain, KVF_WIRE_SHA256, KVF_WIRE_LEGACY, "42");
	expect_next(&chain, tokens, 4,
		"cf97adeedb59e05bfd73a2b4c2a8885708c4f4f70c84c64b27120e72ab733b72");
}

static void test_digest_era(void)
{
	struct kvf_wire_chain digest, folded;
	struct kvf_wire_hash hash;
	char text[KVF_WIRE_HASH_TEXT];

	fill();
	/* The first link of both forms hashes the same bytes when it starts at 0: only the fold
	 * differs. */
	start(&digest, KVF_WIRE_SHA256_CBOR, KVF_WIRE_IP_DIGEST, NULL);
	CU_ASSERT_EQUAL(kvf_wire_chain_next(&digest, tokens, 4, &hash), KVF_OK);
	CU_ASSERT_EQUAL(kvf_wire_hash_print(&hash, text, sizeof(text)), 64);
	CU_ASSERT_NSTRING_EQUAL(text, "7e36a06c49df122e", 16);
	/* The second takes the whole digest. */
	start(&folded, KVF_WIRE_SHA256_CBOR, KVF_WIRE_IP, NULL);
	expect_next(&folded, tokens, 4, "7e36a06c49df122e");
	CU_ASSERT_EQUAL(kvf_wire_chain_next(&digest, tokens + 4, 4, &hash), KVF_OK);
	kvf_wire_hash_print(&hash, text, sizeof(text));
	CU_ASSERT_NSTRING_NOT_EQUAL(text, "108f6ddba914556d", 16);
	start(&digest, KVF_WIRE_XXHASH, KVF_WIRE_IP_DIGEST, "0");
	CU_ASSERT_EQUAL(kvf_wire_chain_next(&digest, tokens, 4, &hash), KVF_OK);
	CU_ASSERT_EQUAL(kvf_wire_hash_print(&hash, text, sizeof(text)), 32);
}

static int init(enum kvf_wire_algo algo, enum kvf_wire_form form, const char *seed, unsigned minor,
	char *text, size_t size)
{
	struct kvf_wire_config config = {
		.algo = algo, .form = form, .seed = seed, .python_minor = minor};
	struct kvf_wire_chain chain;
	struct kvf_report report;

	kvf_report_init(&report, text, size);
	return kvf_wire_chain_init(&chain, &config, &report);
}

static void expect_refused(enum kvf_wire_algo algo, enum kvf_wire_form form, const char *seed,
	unsigned minor, const char *says)
{
	char text[256];

	CU_ASSERT_TRUE(init(algo, form, seed, minor, text, sizeof(text)) < 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, says));
}

static void test_refusals(void)
{
	char text[256];

	expect_refused(KVF_WIRE_BLAKE3, KVF_WIRE_IP, NULL, 0, "blake3");
	expect_refused(KVF_WIRE_BLAKE3, KVF_WIRE_LEGACY, NULL, 0, "legacy");
	expect_refused(KVF_WIRE_BUILTIN, KVF_WIRE_LEGACY, NULL, 0, "legacy");
	expect_refused(KVF_WIRE_BUILTIN, KVF_WIRE_IP_DIGEST, NULL, 0, "builtin");
	expect_refused(KVF_WIRE_BUILTIN, KVF_WIRE_MP, NULL, 11, "3.11");
	expect_refused(KVF_WIRE_BUILTIN, KVF_WIRE_IP, NULL, 7, "3.7");
	expect_refused(KVF_WIRE_BUILTIN, KVF_WIRE_IP, "", 0, "seed");
	expect_refused(KVF_WIRE_BUILTIN, KVF_WIRE_IP, "-1", 0, "4294967295");
	expect_refused(KVF_WIRE_BUILTIN, KVF_WIRE_IP, "random", 0, "seed");
	expect_refused(KVF_WIRE_BUILTIN, KVF_WIRE_IP, "4294967296", 0, "seed");
	expect_refused(KVF_WIRE_BUILTIN, KVF_WIRE_IP, KVF_WIRE_VLLM_DEFAULT_SEED, 0, "seed");
	expect_refused(KVF_WIRE_SHA256, KVF_WIRE_IP, "zero", 0, "zero");
	expect_refused(KVF_WIRE_SHA256, KVF_WIRE_IP, "", 0, "seed");
	expect_refused(
		KVF_WIRE_SHA256, KVF_WIRE_IP, "000000000000000000000000000000000000", 0, "seed");
	CU_ASSERT_EQUAL(
		init(KVF_WIRE_SHA256, KVF_WIRE_IP, "random", 0, text, sizeof(text)), KVF_OK);
	CU_ASSERT_EQUAL(
		init(KVF_WIRE_XXHASH, KVF_WIRE_IP, "4294967295", 0, text, sizeof(text)), KVF_OK);
	CU_ASSERT_EQUAL(
		init((enum kvf_wire_algo)6, KVF_WIRE_IP, NULL, 0, text, sizeof(text)), KVF_EINVAL);
	CU_ASSERT_EQUAL(init(KVF_WIRE_SHA256, (enum kvf_wire_form)KVF_WIRE_FORMS, NULL, 0, text, sizeof(text)),
		KVF_EINVAL);
}

static void test_empty_chunk(void)
{
	struct kvf_wire_chain chain;
	struct kvf_wire_hash hash;

	fill();
	start(&chain, KVF_WIRE_SHA256, KVF_WIRE_IP, NULL);
	CU_ASSERT_EQUAL(kvf_wire_chain_next(&chain, tokens, 0, &hash), KVF_EINVAL);
	expect_next(&chain, tokens, 4, "bcf78367dc568117");
}

static void test_names(void)
{
	enum kvf_wire_algo algo;

	for (unsigned i = 0; i < KVF_WIRE_ALGOS; i++) {
		CU_ASSERT_EQUAL(
			kvf_wire_algo_parse(kvf_wire_algo_name((enum kvf_wire_algo)i), &algo),
			KVF_OK);
		CU_ASSERT_EQUAL((unsigned)algo, i);
	}
	CU_ASSERT_EQUAL(kvf_wire_algo_parse("sha256_cbor_64bit", &algo), KVF_OK);
	CU_ASSERT_EQUAL(algo, KVF_WIRE_SHA256_CBOR);
	CU_ASSERT_EQUAL(kvf_wire_algo_parse("SHA256", &algo), KVF_EINVAL);
	CU_ASSERT_EQUAL(kvf_wire_algo_parse("", &algo), KVF_EINVAL);
	CU_ASSERT_STRING_EQUAL(kvf_wire_algo_name((enum kvf_wire_algo)99), "unknown");
	CU_ASSERT_STRING_EQUAL(kvf_wire_form_name(KVF_WIRE_IP_DIGEST), "ip-digest");
	CU_ASSERT_STRING_EQUAL(kvf_wire_form_name((enum kvf_wire_form)99), "unknown");
}

static void test_print_bounds(void)
{
	struct kvf_wire_hash hash = {.kind = KVF_WIRE_SIGNED, .number = (uint64_t)INT64_MIN};
	char text[KVF_WIRE_HASH_TEXT];

	CU_ASSERT_EQUAL(kvf_wire_hash_print(&hash, text, 18), 17);
	CU_ASSERT_STRING_EQUAL(text, "-8000000000000000");
	CU_ASSERT_EQUAL(kvf_wire_hash_print(&hash, text, 17), KVF_ERANGE);
	hash.kind = KVF_WIRE_UNSIGNED;
	CU_ASSERT_EQUAL(kvf_wire_hash_print(&hash, text, 17), 16);
	CU_ASSERT_EQUAL(kvf_wire_hash_print(&hash, text, 0), KVF_ERANGE);
	hash.kind = KVF_WIRE_BYTES;
	hash.size = 32;
	CU_ASSERT_EQUAL(kvf_wire_hash_print(&hash, text, 65), 64);
	CU_ASSERT_EQUAL(kvf_wire_hash_print(&hash, text, 64), KVF_ERANGE);
	hash.size = 33;
	CU_ASSERT_EQUAL(kvf_wire_hash_print(&hash, text, sizeof(text)), KVF_ERANGE);
}

static const char *advice(enum kvf_wire_algo algo, enum kvf_wire_form form, const char *seed)
{
	struct kvf_wire_config config = {.algo = algo, .form = form, .seed = seed};

	return kvf_wire_seed_advice(&config);
}

static void test_advice(void)
{
	CU_ASSERT_PTR_NOT_NULL(advice(KVF_WIRE_BUILTIN, KVF_WIRE_IP, NULL));
	CU_ASSERT_PTR_NOT_NULL(advice(KVF_WIRE_SHA256, KVF_WIRE_IP, NULL));
	CU_ASSERT_PTR_NOT_NULL(advice(KVF_WIRE_SHA256_CBOR, KVF_WIRE_MP, NULL));
	CU_ASSERT_PTR_NOT_NULL(advice(KVF_WIRE_XXHASH, KVF_WIRE_IP, KVF_WIRE_VLLM_DEFAULT_SEED));
	CU_ASSERT_PTR_NULL(advice(KVF_WIRE_SHA256, KVF_WIRE_IP, KVF_WIRE_VLLM_DEFAULT_SEED));
	CU_ASSERT_PTR_NULL(advice(KVF_WIRE_BUILTIN, KVF_WIRE_IP, "0"));
	CU_ASSERT_PTR_NULL(advice(KVF_WIRE_BLAKE3, KVF_WIRE_MP, NULL));
	CU_ASSERT_PTR_NULL(advice(KVF_WIRE_SHA256, KVF_WIRE_LEGACY, NULL));
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"vectors", test_vectors},
		{"none_without_vllm", test_none_without_vllm},
		{"wide_tokens", test_wide_tokens},
		{"seed_without_effect", test_seed_without_effect},
		{"digest_era", test_digest_era},
		{"refusals", test_refusals},
		{"empty_chunk", test_empty_chunk},
		{"names", test_names},
		{"print_bounds", test_print_bounds},
		{"advice", test_advice},
	};

	return kvf_test_main("wire_hash", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
