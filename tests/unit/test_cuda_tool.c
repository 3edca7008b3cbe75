/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvferry replay and kvferry bench copy with --device cuda, over the fake runtime: the command's code is what ships.
 * Its KV cache is in device memory, every byte that comes back is checked there; without a device it says what is
 * missing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replay.h"
#include "tests/fake/fake_cuda_real.h"
#include "tests/harness.h"
#include "tests/support/command.h"

static int replay(const char *copy, const char *completion, const char *more, char *text, size_t size)
{
	char line[600];

	snprintf(line, sizeof(line),
		 "replay builtin:agentic,sessions=4,turns=3,scale=0.02,prefix=300 --device cuda --chunk-size 32 "
		 "--ram 4MiB --set kvf_copy=%s --set kvf_completion=%s --set kvf_calibration_file=off --json -%s",
		 copy, completion, more);
	return command_line(kvf_cmd_replay, line, true, text, size);
}

static double number(const char *text, const char *name)
{
	char key[60];
	const char *at;

	snprintf(key, sizeof(key), "\"%s\":", name);
	at = strstr(text, key);
	return at ? strtod(at + strlen(key), NULL) : -1;
}

static void test_replay(void)
{
	static const char *const copies[] = { "auto", "memcpy", "batch", "kernel" };
	static char text[65536];

	for (size_t i = 0; i < KVF_ARRAY_LEN(copies) * 2; i++) {
		int rc;

		fake_cuda_reset(&fake_cuda_usual);
		rc = replay(copies[i / 2], i % 2 ? "word" : "event", "", text, sizeof(text));
		CU_ASSERT_EQUAL(rc, TOOL_OK);
		if (rc)
			printf("%s: %s\n", copies[i / 2], text);
		CU_ASSERT_TRUE(number(text, "hit_tokens") > 0);
		CU_ASSERT_TRUE(number(text, "verified_bytes") > 0);
		CU_ASSERT_EQUAL(number(text, "mismatched_bytes"), 0);
		CU_ASSERT_EQUAL(fake_cuda_live(), 0);
		CU_ASSERT_EQUAL(fake_cuda_violations(), 0);
		if (fake_cuda_violations())
			printf("fake CUDA: %s\n", fake_cuda_violation());
	}
}

/* The bytes are really looked at on the device: keys that collide bring wrong ones, and that is seen. */
static void test_control(void)
{
	static char text[65536];

	fake_cuda_reset(&fake_cuda_usual);
	CU_ASSERT_EQUAL(replay("auto", "event", " --control drop-salt", text, sizeof(text)), TOOL_WRONG);
	CU_ASSERT_TRUE(number(text, "mismatched_bytes") > 0);
	fake_cuda_reset(&fake_cuda_usual);
	CU_ASSERT_EQUAL(replay("auto", "event", " --control pool-flip", text, sizeof(text)), TOOL_USAGE);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "not with --device cuda"));
}

/* A copy of the command's own that fails ends it: nothing is verified by what the host remembers. */
static void test_copy_fails(void)
{
	static char text[65536];

	fake_cuda_reset(&fake_cuda_usual);
	fake_cuda_fail("StreamQuery", 100, cudaErrorInvalidValue, false);
	CU_ASSERT_EQUAL(replay("memcpy", "event", "", text, sizeof(text)), TOOL_WRONG);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "the GPU: "));
}

static int bench(const char *name, const char *device, char *text, size_t size)
{
	char line[200];

	snprintf(line, sizeof(line), "bench %s --short --slices 3 --token-bytes 256 --device %s", name, device);
	return command_line(kvf_cmd_bench, line, true, text, size);
}

static void test_bench(void)
{
	static char text[65536];

	fake_cuda_reset(&fake_cuda_usual);
	CU_ASSERT_EQUAL(bench("copy", "cuda", text, sizeof(text)), TOOL_OK);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "store / one long copy"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "retrieve / one long copy"));
	CU_ASSERT_EQUAL(fake_cuda_live(), 0);
	CU_ASSERT_EQUAL(fake_cuda_violations(), 0);
	CU_ASSERT_EQUAL(bench("lookup", "cuda", text, sizeof(text)), TOOL_USAGE);
	CU_ASSERT_EQUAL(bench("copy", "vulkan", text, sizeof(text)), TOOL_USAGE);
}

static void test_no_device(void)
{
	static const struct {
		int driver, devices;
		const char *text;
	} machines[] = { { 0, 0, "KVF_ENODEV: this machine has no NVIDIA driver" },
			 { 13000, 0, "KVF_ENODEV: there is no CUDA device" },
			 { 12040, 1, "KVF_EDRIVER: the driver is for CUDA 12.4, this program needs CUDA 13.0" } };
	static char text[65536];

	for (size_t i = 0; i < KVF_ARRAY_LEN(machines); i++) {
		fake_cuda_reset(&fake_cuda_usual);
		fake_cuda_set_machine(machines[i].driver, machines[i].devices, false, false);
		CU_ASSERT_EQUAL(replay("auto", "event", "", text, sizeof(text)), TOOL_WRONG);
		CU_ASSERT_PTR_NOT_NULL(strstr(text, machines[i].text));
		CU_ASSERT_PTR_NOT_NULL(strstr(text, "--device cuda"));
		CU_ASSERT_EQUAL(bench("copy", "cuda", text, sizeof(text)), TOOL_WRONG);
		CU_ASSERT_PTR_NOT_NULL(strstr(text, machines[i].text));
		CU_ASSERT_EQUAL(fake_cuda_live(), 0);
	}
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "replay", test_replay },	     { "control", test_control }, { "copy_fails", test_copy_fails },
		{ "bench", test_bench },     { "no_device", test_no_device },
	};
	int rc;

	fake_cuda_be_real();
	fake_cuda_reset(&fake_cuda_usual);
	rc = kvf_test_main("cuda_tool", tests, KVF_ARRAY_LEN(tests), argc, argv);
	fake_cuda_reset(&fake_cuda_usual);
	return rc;
}
