/* SPDX-License-Identifier: Apache-2.0 */
/* kvferry replay over a disk, twice: the second run begins with an empty pool and a warm disk. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/mem.h"
#include "tests/harness.h"
#include "tests/support/files.h"
#include "tier/disk/aio.h"
#include "tool.h"

static char dir[1000];

/* Runs the workload; *hit_rate and *mismatched from its JSON. */
static int replay(const char *aio, double *hit_rate, double *mismatched)
{
	char text[65536], json[1100], set[64], words[16][1100];
	const char *const given[] = {"replay", "builtin:multi-round-chat,seconds=20,users=6",
		"--quiet", "--ram", "8MiB", "--disk", dir, "--disk-size", "256MiB", "--set", set,
		"--set", "kvf_disk_min_free=0", "--json", json};
	char *argv[17] = {NULL};
	int argc = 0, rc;
	char *at;

	snprintf(json, sizeof(json), "%s/out.json", dir);
	snprintf(set, sizeof(set), "kvf_aio=%s", aio);
	for (; argc < (int)KVF_ARRAY_LEN(given); argc++) {
		snprintf(words[argc], sizeof(words[argc]), "%s", given[argc]);
		argv[argc] = words[argc];
	}
	rc = kvf_cmd_replay(argc, argv);
	file_read(json, text, sizeof(text));
	unlink(json);
	snprintf(set, sizeof(set), "\"aio\": \"%s\"", aio);
	if (strcmp(aio, "auto") != 0)
		CU_ASSERT_PTR_NOT_NULL(strstr(text, set));
	at = strstr(text, "\"hit_rate\":");
	CU_ASSERT_FATAL(at != NULL);
	*hit_rate = strtod(at + strlen("\"hit_rate\":"), NULL);
	at = strstr(text, "\"mismatched_bytes\":");
	CU_ASSERT_FATAL(at != NULL);
	*mismatched = strtod(at + strlen("\"mismatched_bytes\":"), NULL);
	return rc;
}

/* A kernel or filter may deny it. */
static bool can_be_had(uint32_t way)
{
	const struct kvf_aio_ops *ops = kvf_aio_find(way);
	struct kvf_mem mem;
	bool can;

	kvf_mem_init(&mem, NULL);
	can = way == KVF_AIO_WANT_AUTO || (ops && !kvf_aio_probe(ops, &mem, 32));
	(void)kvf_mem_fini(&mem);
	return can;
}

static void test_second_run_is_warm(void)
{
	static const char *const backs[] = {[KVF_AIO_WANT_AUTO] = "auto",
		[KVF_AIO_WANT_URING] = "io_uring",
		[KVF_AIO_WANT_LIBAIO] = "libaio",
		[KVF_AIO_WANT_SYNC] = "sync"};

	for (uint32_t i = 0; i < KVF_ARRAY_LEN(backs); i++) {
		double cold, warm, wrong;

		if (!can_be_had(i)) {
			fprintf(stderr, "disk: %s cannot be had here\n", backs[i]);
			continue;
		}
		CU_ASSERT_EQUAL_FATAL(kvf_test_tmpdir(dir, sizeof(dir)), 0);
		CU_ASSERT_EQUAL(replay(backs[i], &cold, &wrong), TOOL_OK);
		CU_ASSERT_EQUAL(wrong, 0);
		CU_ASSERT_EQUAL(replay(backs[i], &warm, &wrong), TOOL_OK);
		CU_ASSERT_EQUAL(wrong, 0);
		fprintf(stderr, "disk: %s: hit rate %.4f cold, %.4f warm\n", backs[i], cold, warm);
		/* Only the last, partial chunk of a prompt is never there. */
		CU_ASSERT(warm > 0.97);
		CU_ASSERT(cold < 0.9);
	}
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"second_run_is_warm", test_second_run_is_warm},
	};

	return kvf_test_main("disk_replay", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
