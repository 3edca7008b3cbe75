/* SPDX-License-Identifier: Apache-2.0 */
/* The command `kvferry hash`: its output, its errors and their places, its exit codes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/support/files.h"

int kvf_cmd_hash(int argc, char **argv);

#define ARGS_MAX 32

static char out[65536];
static char err[8192];

/* The words of `line` are the arguments; runs in a child, so that the streams can be files. */
static int run(const char *line, const char *input, size_t n)
{
	static char dir[4096];
	char in_path[4200], out_path[4200], err_path[4200];
	char words[1024];
	char *argv[ARGS_MAX];
	int argc = 0, status = -1;
	pid_t pid;

	if (dir[0] == '\0')
		CU_ASSERT_EQUAL_FATAL(kvf_test_tmpdir(dir, sizeof(dir)), 0);
	snprintf(in_path, sizeof(in_path), "%s/in", dir);
	snprintf(out_path, sizeof(out_path), "%s/out", dir);
	snprintf(err_path, sizeof(err_path), "%s/err", dir);
	file_write(in_path, input, n);
	snprintf(words, sizeof(words), "hash %s", line);
	for (char *w = strtok(words, " "); w != NULL && argc < ARGS_MAX - 1; w = strtok(NULL, " "))
		argv[argc++] = w;
	argv[argc] = NULL;
	fflush(NULL);
	pid = fork();
	CU_ASSERT_FATAL(pid >= 0);
	if (pid == 0) {
		int rc = 99;

		if (freopen(in_path, "r", stdin) != NULL &&
			freopen(out_path, "w", stdout) != NULL &&
			freopen(err_path, "w", stderr) != NULL)
			rc = kvf_cmd_hash(argc, argv);
		fflush(NULL);
		_exit(rc);
	}
	waitpid(pid, &status, 0);
	file_read(out_path, out, sizeof(out));
	file_read(err_path, err, sizeof(err));
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int run_text(const char *line, const char *input)
{
	return run(line, input, strlen(input));
}

#define EIGHT "1 2 3 4\n5 6\t7  8\n"

static void test_hashes(void)
{
	CU_ASSERT_EQUAL(run_text("--algorithm builtin --format ip --chunk-size 4", EIGHT), 0);
	CU_ASSERT_STRING_EQUAL(out, "44ea817d9387da2c\n-5754ed40775a7be6\n");
	CU_ASSERT_PTR_NOT_NULL(strstr(err, "note:"));
	CU_ASSERT_EQUAL(
		run_text("--algorithm sha256 --format ip --chunk-size 4 --seed 0", EIGHT), 0);
	CU_ASSERT_STRING_EQUAL(out, "dbdb288d4f28160d\n356093f83821918\n");
	CU_ASSERT_STRING_EQUAL(err, "");
	CU_ASSERT_EQUAL(run_text("--format=mp --chunk-size=4", EIGHT), 0);
	CU_ASSERT_STRING_EQUAL(out,
		"6309ed506b8721905753f5c73c070bb21c3aafbd9b474b1e231f41368b71123c\n"
		"98efc76eafb06cfe774c31ff151f300b61a614c27982a211bb8cdbd83a8c0e19\n");
	CU_ASSERT_EQUAL(run_text("--format legacy --chunk-size 4", EIGHT), 0);
	CU_ASSERT_STRING_EQUAL(out,
		"cf97adeedb59e05bfd73a2b4c2a8885708c4f4f70c84c64b27120e72ab733b72\n"
		"c1840e43668bb785331cde545d80717c1007e7e804a270d16a7c6b55dbd2acd9\n");
	CU_ASSERT_EQUAL(
		run_text("--format ip-digest --algorithm sha256_cbor_64bit --chunk-size 4", EIGHT),
		0);
	CU_ASSERT_NSTRING_EQUAL(out, "7e36a06c49df122e", 16);
	CU_ASSERT_EQUAL(strlen(out), 130);
}

static void test_unfull(void)
{
	CU_ASSERT_EQUAL(run_text("--format ip --chunk-size 4", EIGHT "9"), 0);
	CU_ASSERT_STRING_EQUAL(out, "44ea817d9387da2c\n-5754ed40775a7be6\n");
	CU_ASSERT_EQUAL(run_text("--format ip --chunk-size 4 --unfull", EIGHT "9"), 0);
	CU_ASSERT_NSTRING_EQUAL(out, "44ea817d9387da2c\n-5754ed40775a7be6\n", 35);
	CU_ASSERT(strlen(out) > 35);
	CU_ASSERT_EQUAL(run_text("--format ip --chunk-size 4 --unfull", EIGHT), 0);
	CU_ASSERT_STRING_EQUAL(out, "44ea817d9387da2c\n-5754ed40775a7be6\n");
	CU_ASSERT_EQUAL(run_text("--format ip --unfull", ""), 0);
	CU_ASSERT_STRING_EQUAL(out, "");
	CU_ASSERT_EQUAL(run_text("--format mp --unfull", ""), 2);
}

static void test_keys(void)
{
	CU_ASSERT_EQUAL(
		run_text("--format ip --algorithm sha256 --seed 0 --chunk-size 4 --model org/m "
			 "--world-size 2 --rank 1 --dtype bfloat16 --tag t=v --tag u=w=x --layer 3",
			EIGHT),
		0);
	CU_ASSERT_STRING_EQUAL(out, "org/m@2@1@dbdb288d4f28160d@bfloat16@3@t%v@u%w=x\n"
				    "org/m@2@1@356093f83821918@bfloat16@3@t%v@u%w=x\n");
	CU_ASSERT_EQUAL(run_text("--format ip --algorithm sha256 --seed 0 --chunk-size 8 --model m "
				 "--key-form vllm-dtype --dtype float16",
				EIGHT),
		0);
	CU_ASSERT_NSTRING_EQUAL(out, "vllm@m@1@0@", 11);
	CU_ASSERT_PTR_NOT_NULL(strstr(out, "@half\n"));
	CU_ASSERT_EQUAL(run_text("--format legacy --chunk-size 4 --model m", "1 2 3 4"), 0);
	CU_ASSERT_STRING_EQUAL(out,
		"vllm@m@1@0@cf97adeedb59e05bfd73a2b4c2a8885708c4f4f70c84c64b27120e72ab733b72\n");
	CU_ASSERT_EQUAL(
		run_text("--format mp --chunk-size 4 --model m --world-size 8 --rank 5 --salt s "
			 "--group 10",
			"1 2 3 4"),
		0);
	CU_ASSERT_STRING_EQUAL(out,
		"m@08050805@a@"
		"6309ed506b8721905753f5c73c070bb21c3aafbd9b474b1e231f41368b71123c@s\n");
	CU_ASSERT_EQUAL(
		run_text("--format mp --chunk-size 4 --model m --key-form three-fields", "1 2 3 4"),
		0);
	CU_ASSERT_STRING_EQUAL(out,
		"m@01000100@6309ed506b8721905753f5c73c070bb21c3aafbd9b474b1e231f41368b71123c\n");
}

static void test_tokens(void)
{
	CU_ASSERT_EQUAL(
		run_text("--format mp --chunk-size 4", "151643\r\n128000\v0004294967295\f0"), 0);
	CU_ASSERT_STRING_EQUAL(
		out, "73f974b7c7ea454b96264d4177cf853a86580161483bf24a2b0b2be8017092b4\n");
}

static void expect_wrong_input(const char *input, size_t n, const char *says)
{
	CU_ASSERT_EQUAL(run("--format mp --chunk-size 4", input, n), 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(err, says));
	if (strstr(err, says) == NULL)
		printf("\n    %s", err);
}

static void test_wrong_tokens(void)
{
	expect_wrong_input("1 2\n 3 abc 5", 12, "standard input:2:4: token 4: 'abc' is not");
	expect_wrong_input("4294967296", 10, ":1:1: token 1: '4294967296' is not");
	expect_wrong_input("-1", 2, "'-1' is not");
	expect_wrong_input("1,2", 3, "'1,2' is not");
	expect_wrong_input("0x10", 4, "'0x10' is not");
	expect_wrong_input("1 \0"
			   "2",
		4, ":1:3: token 2: '?2' is not");
	expect_wrong_input("\xef\xbb\xbf"
			   "1",
		4, "'???1' is not");
	expect_wrong_input("99999999999999999999999999999999999999999999", 44, "token 1");
	/* What came before was named. */
	CU_ASSERT_EQUAL(run_text("--format ip --chunk-size 4", "1 2 3 4 x"), 1);
	CU_ASSERT_STRING_EQUAL(out, "44ea817d9387da2c\n");
}

static void test_usage(void)
{
	static const struct {
		const char *line;
		const char *says;
	} cases[] = {
		{"", "--format: missing"},
		{"--format", "--format: needs a value"},
		{"--format x", "'x' is not one of ip"},
		{"--format ip --format mp", "given twice"},
		{"--format ip --algorithm md5", "'md5' is not an algorithm"},
		{"--format ip --algorithm blake3", "blake3"},
		{"--format ip --chunk-size 0", "'0' is not a number from 1 to 16777216"},
		{"--format ip --chunk-size 16777217", "16777216"},
		{"--format ip --chunk-size 4x", "'4x' is not"},
		{"--format ip --seed x", "seed: 'x'"},
		{"--format ip --python 2.7", "--python"},
		{"--format mp --algorithm builtin --python 3.11", "3.11"},
		{"--format ip --unfull=1", "takes no value"},
		{"--format ip --bogus", "unknown argument '--bogus'"},
		{"--format ip file", "unknown argument 'file'"},
		{"--format ip --dtype half", "--dtype: belongs to key strings"},
		{"--format ip --model m", "--dtype: missing"},
		{"--format ip --model m --dtype float8", "'float8'"},
		{"--format ip --model m@n --dtype half", "'m@n'"},
		{"--format ip --model m --dtype half --salt s",
			"--salt: exists in the format mp only"},
		{"--format mp --model m --dtype half", "--dtype: does not exist in the format mp"},
		{"--format mp --model m --salt a/b", "cache_salt"},
		{"--format mp --model m --world-size 256", "256"},
		{"--format mp --model m --rank 1", "--rank: 1 is not below"},
		{"--format mp --model m --key-form vllm", "--key-form"},
		{"--format ip --model m --dtype half --key-form three-fields", "--key-form"},
		{"--format ip --model m --dtype half --key-form x", "'x'"},
		{"--format ip --model m --dtype half --tag x", "NAME=VALUE"},
		{"--format ip --model m --dtype half --tag =x", "tag name"},
	};

	for (size_t i = 0; i < KVF_ARRAY_LEN(cases); i++) {
		CU_ASSERT_EQUAL(run_text(cases[i].line, EIGHT), 2);
		CU_ASSERT_STRING_EQUAL(out, "");
		CU_ASSERT_PTR_NOT_NULL(strstr(err, cases[i].says));
		if (strstr(err, cases[i].says) == NULL)
			printf("\n    %s: %s", cases[i].line, err);
	}
	CU_ASSERT_EQUAL(run_text("--help", ""), 0);
	CU_ASSERT_NSTRING_EQUAL(out, "usage: kvferry hash", 19);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"hashes", test_hashes},
		{"unfull", test_unfull},
		{"keys", test_keys},
		{"tokens", test_tokens},
		{"wrong_tokens", test_wrong_tokens},
		{"usage", test_usage},
	};

	return kvf_test_main("cmd_hash", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
