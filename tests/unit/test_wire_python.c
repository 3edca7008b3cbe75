/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunk hashes against the real thing: the machine's python3 computes hash(), pickle, hashlib and,
 * where its modules are there, cbor2, xxhash and blake3 over pseudo-random tokens, and our chain
 * has to agree with every value.
 *
 * KVF_TEST_PYTHON names another interpreter than python3.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"
#include "token/wire_hash.h"

#define TOKENS_MAX 100000
#define LINE_MAX_BYTES 8192

/*
 * Prints "python MINOR", "with MODULE" and cases "ALGORITHM FORM SEED-OR-DASH CHUNK TOKENS MODE
 * HASH...". Tokens come from the generator that tokens_make() repeats. No single quotes: the shell
 * passes it in some.
 */
static const char script[] =
	"import sys, os, pickle, hashlib, struct\n"
	"S = os.environ[\"PYTHONHASHSEED\"]\n"
	"M = sys.version_info[1]\n"
	"print(\"python\", M)\n"
	"def tokens(n, mode):\n"
	"    x, out = n, []\n"
	"    for i in range(n):\n"
	"        x = (x * 6364136223846793005 + 1442695040888963407) % 2**64\n"
	"        out.append((x >> 32) >> (24 if mode else 31 - (x >> 8) % 32))\n"
	"    return out\n"
	"def head(m, n):\n"
	"    for k, f in enumerate(\"BHIQ\"):\n"
	"        if n < 24: return bytes([m | n])\n"
	"        if n < 1 << (8 << k): return bytes([m | 24 + k]) + struct.pack(\">\" + f, n)\n"
	"def cbor(o):\n"
	"    if o is None: return b\"\\xf6\"\n"
	"    if isinstance(o, int): return head(0, o)\n"
	"    if isinstance(o, bytes): return head(64, len(o)) + o\n"
	"    if isinstance(o, str): return head(96, len(o)) + o.encode()\n"
	"    return head(128, len(o)) + b\"\".join(map(cbor, o))\n"
	"def dump(o): return pickle.dumps(o, protocol=pickle.HIGHEST_PROTOCOL)\n"
	"try:\n"
	"    import cbor2\n"
	"    def cbor(o): return cbor2.dumps(o, canonical=True)\n"
	"    print(\"with cbor2\")\n"
	"except ImportError: pass\n"
	"F = {\"builtin\": hash,\n"
	"    \"sha256\": lambda o: hashlib.sha256(dump(o)).digest(),\n"
	"    \"sha256_cbor\": lambda o: hashlib.sha256(cbor(o)).digest()}\n"
	"try:\n"
	"    import xxhash\n"
	"    F[\"xxhash\"] = lambda o: xxhash.xxh3_128_digest(dump(o))\n"
	"    F[\"xxhash_cbor\"] = lambda o: xxhash.xxh3_128_digest(cbor(o))\n"
	"    print(\"with xxhash\")\n"
	"except ImportError: pass\n"
	"try:\n"
	"    import blake3\n"
	"    def b3(o):\n"
	"        p = o[0] if isinstance(o[0], bytes) else o[0].to_bytes(8, \"big\", signed=True)\n"
	"        return blake3.blake3(p + struct.pack(\">%dI\" % len(o[1]), *o[1])).digest()\n"
	"    F[\"blake3\"] = b3\n"
	"    print(\"with blake3\")\n"
	"except ImportError: pass\n"
	"def fold(h): return int.from_bytes(h[:8], \"big\") if isinstance(h, bytes) else h\n"
	"def text(h, form):\n"
	"    if form == \"mp\" and isinstance(h, int): h = h.to_bytes(8, \"big\", signed=True)\n"
	"    return \"%x\" % h if isinstance(h, int) else h.hex()\n"
	"def legacy(o): return hashlib.sha256(o[0].encode() + struct.pack(\"<%dI\" % len(o[1]), "
	"*o[1])).hexdigest()\n"
	"def chain(name, form, seed, chunk, n, mode):\n"
	"    f = legacy if form == \"legacy\" else F[name]\n"
	"    third = None if form == \"mp\" else ()\n"
	"    if form == \"legacy\": h = \"\"\n"
	"    elif seed != \"-\": h = f(seed)\n"
	"    else: h = f((0, (0,), None)) if form == \"mp\" else 0\n"
	"    if form == \"ip\": h = fold(h)\n"
	"    t, out = tokens(n, mode), []\n"
	"    for i in range(0, n, chunk):\n"
	"        h = f((h, tuple(t[i:i + chunk]), third))\n"
	"        if form == \"ip\": h = fold(h)\n"
	"        out.append(h if form == \"legacy\" else text(h, form))\n"
	"    print(name, form, seed, chunk, n, mode, *out)\n"
	"sizes = [(1, 5, 0), (2, 7, 0), (3, 9, 0), (4, 13, 0), (24, 100, 1), (256, 700, 0)]\n"
	"sizes += [(8192, 16385, 0), (40000, 90001, 0)] + [(k, k, 1) for k in range(32745, "
	"32770)]\n"
	"for size in sizes:\n"
	"    chain(\"sha256\", \"legacy\", \"-\", *size)\n"
	"    for name in F:\n"
	"        for form in (\"ip\", \"ip-digest\", \"mp\"):\n"
	"            if name == \"blake3\" and form != \"mp\": continue\n"
	"            if name == \"builtin\" and (form == \"ip-digest\" or form == \"mp\" and M < "
	"12): continue\n"
	"            for seed in (\"-\", S):\n"
	"                if name == \"blake3\" and seed != \"-\": continue\n"
	"                chain(name, form, seed, *size)\n"
	"print(\"done\")\n";

static uint32_t tokens[TOKENS_MAX];
static unsigned python_minor;

static void tokens_make(size_t n, int mode)
{
	uint64_t x = n;

	for (size_t i = 0; i < n; i++) {
		x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		tokens[i] = (uint32_t)((x >> 32) >> (mode ? 24 : 31 - (x >> 8) % 32));
	}
}

static const char *python(void)
{
	const char *name = getenv("KVF_TEST_PYTHON");

	return name != NULL ? name : "python3";
}

static FILE *python_start(const char *seed)
{
	static char command[sizeof(script) + 512];
	int n = snprintf(
		command, sizeof(command), "PYTHONHASHSEED=%s %s -c '%s'", seed, python(), script);

	CU_ASSERT_FATAL(n > 0 && (size_t)n < sizeof(command));
	return popen(command, "r");
}

static bool python_there(void)
{
	char command[512];
	FILE *p;
	int c = EOF;

	snprintf(command, sizeof(command), "%s -c 'print(1)' 2>&1", python());
	p = popen(command, "r");
	if (p != NULL) {
		c = getc(p);
		while (getc(p) != EOF)
			;
		if (pclose(p) != 0)
			c = EOF;
	}
	return c == '1';
}

static void compare(
	struct kvf_wire_chain *chain, size_t chunk, size_t n, const char *what, char *hashes)
{
	struct kvf_wire_hash hash;
	char text[KVF_WIRE_HASH_TEXT];
	char *save = NULL;

	for (size_t at = 0; at < n; at += chunk) {
		const char *want = strtok_r(at == 0 ? hashes : NULL, " \n", &save);

		CU_ASSERT_PTR_NOT_NULL_FATAL(want);
		CU_ASSERT_EQUAL_FATAL(kvf_wire_chain_next(chain, tokens + at,
					      n - at < chunk ? n - at : chunk, &hash),
			KVF_OK);
		CU_ASSERT(kvf_wire_hash_print(&hash, text, sizeof(text)) > 0);
		if (strcmp(text, want) != 0) {
			printf("\n    %s: chunk at %zu: %s, python3 has %s\n", what, at, text,
				want);
			CU_FAIL("hash differs");
			return;
		}
	}
	CU_ASSERT_PTR_NULL(strtok_r(NULL, " \n", &save));
}

static bool form_parse(const char *name, enum kvf_wire_form *out)
{
	for (unsigned i = 0; i < KVF_WIRE_FORMS; i++) {
		*out = (enum kvf_wire_form)i;
		if (strcmp(name, kvf_wire_form_name(*out)) == 0)
			return true;
	}
	return false;
}

static void check_case(char *line)
{
	struct kvf_wire_config config = {.python_minor = python_minor};
	struct kvf_wire_chain chain;
	char algo[16], form[16], seed[16], what[128];
	size_t chunk, n;
	int mode, used = 0;

	CU_ASSERT_EQUAL_FATAL(sscanf(line, "%15s %15s %15s %zu %zu %d %n", algo, form, seed, &chunk,
				      &n, &mode, &used),
		6);
	CU_ASSERT_FATAL(used > 0 && n <= TOKENS_MAX && chunk > 0);
	CU_ASSERT_EQUAL_FATAL(kvf_wire_algo_parse(algo, &config.algo), KVF_OK);
	CU_ASSERT_TRUE_FATAL(form_parse(form, &config.form));
	config.seed = strcmp(seed, "-") == 0 ? NULL : seed;
	snprintf(what, sizeof(what), "%s %s seed %s chunk %zu", algo, form, seed, chunk);
	CU_ASSERT_EQUAL_FATAL(kvf_wire_chain_init(&chain, &config, NULL), KVF_OK);
	tokens_make(n, mode);
	compare(&chain, chunk, n, what, line + used);
}

static void run_seed(const char *seed)
{
	static char line[LINE_MAX_BYTES];
	unsigned cases = 0;
	bool done = false;
	FILE *p;

	if (!python_there()) {
		kvf_test_skip("%s does not run: no values of Python to compare with", python());
		return;
	}
	p = python_start(seed);
	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	while (fgets(line, sizeof(line), p) != NULL) {
		if (sscanf(line, "python %u", &python_minor) == 1)
			continue;
		if (strncmp(line, "with ", 5) == 0) {
			printf("%.*s ", (int)strcspn(line, "\n"), line);
			continue;
		}
		done = strcmp(line, "done\n") == 0;
		if (!done) {
			check_case(line);
			cases++;
		}
	}
	CU_ASSERT_EQUAL(pclose(p), 0);
	CU_ASSERT_TRUE(done);
	CU_ASSERT(cases >= 33 * 11);
}

static void test_seed_0(void)
{
	run_seed("0");
}

static void test_seed_42(void)
{
	run_seed("42");
}

static void test_seed_max(void)
{
	run_seed("4294967295");
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"seed_0", test_seed_0},
		{"seed_42", test_seed_42},
		{"seed_max", test_seed_max},
	};

	return kvf_test_main("wire_python", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
