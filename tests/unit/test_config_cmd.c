/* SPDX-License-Identifier: Apache-2.0 */
/* kvferry config: exit codes, what it prints, and docs/configuration.md against the schema. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd_config_doc.h"
#include "tests/harness.h"
#include "tests/support/command.h"
#include "tests/support/config_case.h"
#include "tests/support/files.h"

int kvf_cmd_config(int argc, char **argv);

static char output[131072];

/* Runs the command with up to six words; its standard output is in `output`, its complaints go. */
static int run(const char *a, const char *b, const char *c, const char *d, const char *e)
{
	const char *const words[] = {"config", a, b, c, d, e, NULL};

	return command_run(kvf_cmd_config, words, false, output, sizeof(output));
}

static void write_file(char *path, size_t size, const char *text)
{
	char dir[PATH_MAX - 16];

	CU_ASSERT_EQUAL_FATAL(kvf_test_tmpdir(dir, sizeof(dir)), 0);
	snprintf(path, size, "%s/c.yaml", dir);
	file_write_text(path, text);
}

static void test_fine(void)
{
	char path[PATH_MAX];

	write_file(path, sizeof(path),
		"max_local_cpu_size: 2.5\nlocal_disk: /d\nmax_local_disk_size: 10\n"
		"extra_config: {password: S3CR3T, 'k\"y': \"a\\tb\"}\n");
	CU_ASSERT_EQUAL(run("check", path, "--ranks", "8", NULL), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(output, "c.yaml:1"));
	CU_ASSERT_PTR_NOT_NULL(strstr(output, "20.000"));
	CU_ASSERT_PTR_NOT_NULL(strstr(output, "80.000"));
	CU_ASSERT_PTR_NOT_NULL(strstr(output, "fine: 0 errors, 0 warnings, 1 notes"));
	CU_ASSERT_PTR_NULL(strstr(output, "S3CR3T"));
	CU_ASSERT_EQUAL(run("check", path, "--json", "--ranks", "2"), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(output, "\"cpu_bytes_all_ranks\": 5368709120"));
	CU_ASSERT_PTR_NOT_NULL(strstr(output, "\"k\\\"y\": {\"value\": \"a\\u0009b\""));
	CU_ASSERT_PTR_NULL(strstr(output, "S3CR3T"));
	CU_ASSERT_EQUAL(run("check", path, "--all", NULL, NULL), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(output, "gds_backend"));
	CU_ASSERT_EQUAL(run("check", NULL, NULL, NULL, NULL), 0);
}

static void test_wrong(void)
{
	char path[PATH_MAX];

	write_file(path, sizeof(path), "chunk_size: none\n");
	CU_ASSERT_EQUAL(run("check", path, NULL, NULL, NULL), 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(output, "c.yaml:1: chunk_size: \"none\": expected"));
	CU_ASSERT_EQUAL(run("check", path, "--json", NULL, NULL), 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(output, "\"ok\": false"));
	write_file(path, sizeof(path), "numa_mode: manual\n");
	CU_ASSERT_EQUAL(run("check", path, NULL, NULL, NULL), 1);
	CU_ASSERT_EQUAL(run("check", "/nonexistent/c.yaml", NULL, NULL, NULL), 1);
}

static void test_usage(void)
{
	CU_ASSERT_EQUAL(run(NULL, NULL, NULL, NULL, NULL), 2);
	CU_ASSERT_EQUAL(run("chekc", NULL, NULL, NULL, NULL), 2);
	CU_ASSERT_EQUAL(run("check", "a", "b", NULL, NULL), 2);
	CU_ASSERT_EQUAL(run("check", "--frob", NULL, NULL, NULL), 2);
	CU_ASSERT_EQUAL(run("check", "--ranks", NULL, NULL, NULL), 2);
	CU_ASSERT_EQUAL(run("check", "--ranks", "0", NULL, NULL), 2);
	CU_ASSERT_EQUAL(run("check", "--ranks", "8x", NULL, NULL), 2);
	CU_ASSERT_EQUAL(run("--help", NULL, NULL, NULL, NULL), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(output, "usage: kvferry config check"));
	CU_ASSERT_EQUAL(run("check", "--help", NULL, NULL, NULL), 0);
}

/* Renew it with: kvferry config doc > docs/configuration.md */
static void test_document(void)
{
	char *document = file_of_source("docs/configuration.md");

	CU_ASSERT_EQUAL(run("doc", NULL, NULL, NULL, NULL), 0);
	CU_ASSERT_STRING_EQUAL(document, output);
	free(document);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"fine", test_fine},
		{"wrong", test_wrong},
		{"usage", test_usage},
		{"document", test_document},
	};

	return kvf_test_main("config_cmd", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
