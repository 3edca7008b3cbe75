/* SPDX-License-Identifier: Apache-2.0 */
/* The calibration file: what is kept comes back, whatever else the file is costs a measurement and nothing more. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device/calibration.h"
#include "tests/harness.h"
#include "tests/support/files.h"

static char dir[512], path[600];

static struct kvf_copy_costs costs(uint32_t n)
{
	return (struct kvf_copy_costs){ 1000 + n, n, n + 1, n + 2, n + 3, n + 4, n + 5, n + 6 };
}

static bool same(const struct kvf_copy_costs *c, uint32_t n)
{
	return c->link_bytes_per_us == 1000 + n && c->memcpy_cpu_ns == n && c->memcpy_dev_ns == n + 1 &&
	       c->batch_cpu_ns == n + 2 && c->batch_dev_ns == n + 3 && c->kernel_cpu_ns == n + 4 &&
	       c->kernel_dev_ns == n + 5 && c->kernel_run_ns == n + 6;
}

static bool save(struct kvf_mem *mem, const char *key, uint32_t n)
{
	struct kvf_copy_costs both[2] = { costs(n), costs(2 * n) };

	return kvf_calibration_save(mem, path, key, both);
}

/* The number that save() was given; 0: nothing was kept. */
static uint32_t load(struct kvf_mem *mem, const char *key)
{
	struct kvf_copy_costs both[2];
	uint32_t n;

	memset(both, 0, sizeof(both));
	if (!kvf_calibration_load(mem, path, key, both)) {
		CU_ASSERT_EQUAL(both[0].link_bytes_per_us, 0);
		return 0;
	}
	n = both[0].memcpy_cpu_ns;
	CU_ASSERT_TRUE(same(&both[0], n));
	CU_ASSERT_TRUE(same(&both[1], 2 * n));
	return n;
}

static size_t read_text(char *text, size_t size)
{
	FILE *f = fopen(path, "r");
	size_t n = f ? fread(text, 1, size - 1, f) : 0;

	text[n] = '\0';
	if (f)
		fclose(f);
	return n;
}

static void start(struct kvf_mem *mem, const char *name)
{
	if (!dir[0])
		CU_ASSERT_EQUAL_FATAL(kvf_test_tmpdir(dir, sizeof(dir)), 0);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	kvf_mem_init(mem, NULL);
}

static void test_path(void)
{
	char out[KVF_CALIBRATION_PATH], longer[KVF_CALIBRATION_PATH + 10];

	CU_ASSERT_TRUE(kvf_calibration_path("auto", "/cache", "/user", out));
	CU_ASSERT_STRING_EQUAL(out, "/cache/kvferry/calibration");
	CU_ASSERT_TRUE(kvf_calibration_path("auto", NULL, "/user", out));
	CU_ASSERT_STRING_EQUAL(out, "/user/.cache/kvferry/calibration");
	CU_ASSERT_TRUE(kvf_calibration_path("auto", "relative", "/user", out));
	CU_ASSERT_STRING_EQUAL(out, "/user/.cache/kvferry/calibration");
	CU_ASSERT_TRUE(kvf_calibration_path("some/file", "/cache", NULL, out));
	CU_ASSERT_STRING_EQUAL(out, "some/file");
	CU_ASSERT_FALSE(kvf_calibration_path("auto", "", "", out));
	CU_ASSERT_FALSE(kvf_calibration_path("auto", NULL, NULL, out));
	CU_ASSERT_FALSE(kvf_calibration_path("off", "/cache", "/user", out));
	CU_ASSERT_FALSE(kvf_calibration_path("", "/cache", "/user", out));
	CU_ASSERT_FALSE(kvf_calibration_path(NULL, "/cache", "/user", out));
	memset(longer, 'x', sizeof(longer));
	longer[0] = '/';
	longer[sizeof(longer) - 1] = '\0';
	CU_ASSERT_FALSE(kvf_calibration_path(longer, NULL, NULL, out));
	CU_ASSERT_FALSE(kvf_calibration_path("auto", longer, NULL, out));
	CU_ASSERT_STRING_EQUAL(out, "");
}

static void test_kept(void)
{
	struct kvf_mem mem;
	struct stat st;
	char key[40];

	start(&mem, "a/b/kept");
	CU_ASSERT_EQUAL(load(&mem, "card 1"), 0);
	CU_ASSERT_TRUE(save(&mem, "card 1", 10)); /* makes both folders */
	CU_ASSERT_TRUE(save(&mem, "card 2", 20));
	CU_ASSERT_EQUAL(load(&mem, "card 1"), 10);
	CU_ASSERT_EQUAL(load(&mem, "card 2"), 20);
	CU_ASSERT_EQUAL(load(&mem, "card"), 0);
	CU_ASSERT_EQUAL(load(&mem, "card 11"), 0);
	CU_ASSERT_TRUE(save(&mem, "card 1", 30));
	CU_ASSERT_EQUAL(load(&mem, "card 1"), 30);
	CU_ASSERT_EQUAL(load(&mem, "card 2"), 20);
	CU_ASSERT_TRUE(save(&mem, "a\nname\twith \xff", 40));
	CU_ASSERT_EQUAL(load(&mem, "a\nname\twith \xff"), 40);
	CU_ASSERT_EQUAL(load(&mem, "card 2"), 20);
	CU_ASSERT_EQUAL(stat(path, &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 0777, 0600);
	/* It does not grow for ever: the oldest go. */
	for (uint32_t i = 1; i <= 100; i++) {
		snprintf(key, sizeof(key), "one of many, %u", i);
		CU_ASSERT_TRUE(save(&mem, key, 100 + i));
	}
	CU_ASSERT_EQUAL(load(&mem, "card 2"), 0);
	CU_ASSERT_EQUAL(load(&mem, "one of many, 100"), 200);
	CU_ASSERT_EQUAL(load(&mem, "one of many, 80"), 180);
	CU_ASSERT_EQUAL(stat(path, &st), 0);
	CU_ASSERT_TRUE(st.st_size < 16384);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
}

/* Every single byte changed, and the file cut at every length: never a wrong figure, and the file heals. */
static void test_damaged(void)
{
	char good[2048], bad[2048];
	struct kvf_mem mem;
	size_t n;

	start(&mem, "damaged");
	CU_ASSERT_TRUE(save(&mem, "card 1", 10));
	n = read_text(good, sizeof(good));
	CU_ASSERT_TRUE_FATAL(n > 60);
	for (size_t i = 0; i < n; i++) {
		memcpy(bad, good, n);
		bad[i] = (char)(bad[i] ^ (1 << i % 7));
		file_write(path, bad, n);
		/* The last line needs no end. */
		CU_ASSERT_EQUAL(load(&mem, "card 1"), 0);
		file_write(path, good, i);
		CU_ASSERT_EQUAL(load(&mem, "card 1"), i == n - 1 ? 10 : 0);
	}
	memcpy(bad, good, n);
	bad[n - 5] = '!';
	file_write(path, bad, n);
	CU_ASSERT_TRUE(save(&mem, "card 2", 20));
	CU_ASSERT_EQUAL(load(&mem, "card 1"), 0);
	CU_ASSERT_EQUAL(load(&mem, "card 2"), 20);
	n = read_text(good, sizeof(good));
	CU_ASSERT_PTR_NULL(strchr(good, '!'));
	file_write(path, "", 0);
	CU_ASSERT_EQUAL(load(&mem, "card 2"), 0);
	CU_ASSERT_TRUE(save(&mem, "card 2", 20));
	CU_ASSERT_EQUAL(load(&mem, "card 2"), 20);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
}

/* Somebody else's file is not written over, what is no file neither read nor waited for. */
static void test_foreign(void)
{
	static const char text[] = "#!/bin/sh\necho mine\n";
	char after[2048], *large = calloc(1, 100000);
	struct kvf_mem mem;

	start(&mem, "foreign");
	file_write(path, text, sizeof(text) - 1);
	CU_ASSERT_EQUAL(load(&mem, "card 1"), 0);
	CU_ASSERT_FALSE(save(&mem, "card 1", 10));
	CU_ASSERT_EQUAL(read_text(after, sizeof(after)), sizeof(text) - 1);
	CU_ASSERT_STRING_EQUAL(after, text);
	CU_ASSERT_EQUAL(unlink(path), 0);
	CU_ASSERT_EQUAL(mkfifo(path, 0600), 0);
	CU_ASSERT_EQUAL(load(&mem, "card 1"), 0);
	CU_ASSERT_FALSE(save(&mem, "card 1", 10));
	CU_ASSERT_EQUAL(unlink(path), 0);
	CU_ASSERT_EQUAL(mkdir(path, 0700), 0);
	CU_ASSERT_EQUAL(load(&mem, "card 1"), 0);
	CU_ASSERT_FALSE(save(&mem, "card 1", 10));
	CU_ASSERT_EQUAL(rmdir(path), 0);
	file_write(path, large, 100000);
	CU_ASSERT_EQUAL(load(&mem, "card 1"), 0);
	CU_ASSERT_FALSE(save(&mem, "card 1", 10));
	snprintf(path, sizeof(path), "/proc/kvferry/calibration");
	CU_ASSERT_FALSE(save(&mem, "card 1", 10));
	free(large);
	CU_ASSERT_EQUAL(kvf_mem_fini(&mem), 0);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{ "path", test_path },
		{ "kept", test_kept },
		{ "damaged", test_damaged },
		{ "foreign", test_foreign },
	};

	return kvf_test_main("calibration", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
