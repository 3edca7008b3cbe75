/* SPDX-License-Identifier: Apache-2.0 */
/* status.c: a text of its own for every status, sizes of element types, the version. */
#include "tests/harness.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "kvferry/kvferry.h"

static void test_strerror(void)
{
	for (int s = KVF_EINTERNAL; s <= KVF_EINVAL; s++) {
		const char *text = kvf_strerror(s);

		CU_ASSERT_EQUAL(strncmp(text, "KVF_E", 5), 0);
		CU_ASSERT_PTR_NOT_NULL(strstr(text, ": "));
		for (int t = s + 1; t <= KVF_EINVAL; t++)
			CU_ASSERT_NOT_EQUAL(strcmp(text, kvf_strerror(t)), 0);
	}
	/* Both ends and one between, so that the table cannot be shifted. */
	CU_ASSERT_EQUAL(strncmp(kvf_strerror(KVF_EINVAL), "KVF_EINVAL:", 11), 0);
	CU_ASSERT_EQUAL(strncmp(kvf_strerror(KVF_EDROPPED), "KVF_EDROPPED:", 13), 0);
	CU_ASSERT_EQUAL(strncmp(kvf_strerror(KVF_EINTERNAL), "KVF_EINTERNAL:", 14), 0);
	CU_ASSERT_EQUAL(strncmp(kvf_strerror(KVF_OK), "KVF_OK", 6), 0);
	CU_ASSERT_STRING_EQUAL(kvf_strerror(KVF_EINVAL + 1), "unknown status");
	CU_ASSERT_STRING_EQUAL(kvf_strerror(KVF_EINTERNAL - 1), "unknown status");
	CU_ASSERT_STRING_EQUAL(kvf_strerror(INT_MIN), "unknown status");
	CU_ASSERT_PTR_NOT_NULL(kvf_strerror(INT_MAX));
	CU_ASSERT_STRING_EQUAL(kvf_strerror(-1), "unknown status"); /* an errno */
}

static void test_dtype(void)
{
	CU_ASSERT_EQUAL(kvf_dtype_bytes(KVF_DTYPE_NONE), 0);
	CU_ASSERT_EQUAL(kvf_dtype_bytes(KVF_FLOAT64), 8);
	CU_ASSERT_EQUAL(kvf_dtype_bytes(KVF_FLOAT32), 4);
	CU_ASSERT_EQUAL(kvf_dtype_bytes(KVF_FLOAT16), 2);
	CU_ASSERT_EQUAL(kvf_dtype_bytes(KVF_BFLOAT16), 2);
	CU_ASSERT_EQUAL(kvf_dtype_bytes(KVF_UINT8), 1);
	CU_ASSERT_EQUAL(kvf_dtype_bytes(KVF_INT8), 1);
	CU_ASSERT_EQUAL(kvf_dtype_bytes(KVF_FP8_E4M3), 1);
	CU_ASSERT_EQUAL(kvf_dtype_bytes(KVF_FP8_E5M2), 1);
	CU_ASSERT_EQUAL(kvf_dtype_bytes((enum kvf_dtype)(KVF_FP8_E5M2 + 1)), 0);
}

static void test_version(void)
{
	char text[32];

	snprintf(text, sizeof(text), "%d.%d.%d", KVF_VERSION_MAJOR, KVF_VERSION_MINOR, KVF_VERSION_PATCH);
	CU_ASSERT_STRING_EQUAL(kvf_version(), text);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "strerror", test_strerror },
		{ "dtype", test_dtype },
		{ "version", test_version },
	};

	return kvf_test_main("status", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
