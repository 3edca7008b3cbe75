/* SPDX-License-Identifier: Apache-2.0 */
/* kvferry doctor: what it finds on a made-up machine, exit codes, no password. */
#include "tests/harness.h"
#include "tests/support/command.h"
#include "tests/support/files.h"

#include <arpa/inet.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int kvf_cmd_doctor(int argc, char **argv);

static char output[65536];
static char dir[PATH_MAX - 256];

static int run(const char *a, const char *b, const char *c, const char *d)
{
	const char *const words[] = {"doctor", a, b, c, d, NULL};

	return command_run(kvf_cmd_doctor, words, true, output, sizeof(output));
}

/* A machine where all is well, as far as files say; and a configuration `text`. */
static const char *machine(const char *text)
{
	static char file[PATH_MAX];

	CU_ASSERT_EQUAL_FATAL(kvf_test_tmpdir(dir, sizeof(dir)), 0);
	file_write_below(dir, "/proc/meminfo",
		"MemTotal: 67108864 kB\nMemAvailable: 33554432 kB\nHugePages_Free: 0\n");
	file_write_below(dir, "/proc/self/status", "Name: x\nCapEff:\t0000000000004000\n");
	file_write_below(dir, "/proc/driver/nvidia/version",
		"NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu Jan 23 2025\n");
	file_write_below(dir, "/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
	file_write_below(dir, "/sys/devices/system/node/node0/x", "");
	file_write_below(dir, "/c.yaml", text);
	snprintf(file, sizeof(file), "%s/c.yaml", dir);
	return file;
}

/* Is there a line that starts with `state topic` and holds `text`? */
static bool says(const char *state, const char *topic, const char *text)
{
	char head[64], copy[sizeof(output)], *rest = copy, *line;

	memcpy(copy, output, sizeof(output));
	snprintf(head, sizeof(head), "%-9s %-12s ", state, topic);
	while ((line = strsep(&rest, "\n")) != NULL) {
		if (strncmp(line, head, strlen(head)) == 0 && strstr(line, text))
			return true;
	}
	fprintf(stderr, "doctor: no \"%s ... %s\" in\n%s", head, text, output);
	return false;
}

static void test_usage(void)
{
	CU_ASSERT_EQUAL(run("--help", NULL, NULL, NULL), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(output, "usage: kvferry doctor"));
	CU_ASSERT_EQUAL(run("--what", NULL, NULL, NULL), 2);
	CU_ASSERT_EQUAL(run("a.yaml", "b.yaml", NULL, NULL), 2);
	CU_ASSERT_EQUAL(run("--root", NULL, NULL, NULL), 2);
}

static void test_fine(void)
{
	const char *file = machine("chunk_size: 256\nmax_local_cpu_size: 0.25\n");
	int rc = run(file, "--root", dir, NULL);

	/* Kernel interfaces are those of the machine that tests run on. */
	CU_ASSERT_EQUAL(rc, strstr(output, "\ndegraded") || !strncmp(output, "degraded", 8));
	CU_ASSERT(says("ok", "config", "c.yaml"));
	CU_ASSERT(says("ok", "memlock", "no limit"));
	CU_ASSERT(says("ok", "memory", "MemAvailable 32.00 GiB"));
	CU_ASSERT(says("ok", "huge pages", "[madvise]"));
	CU_ASSERT(says("ok", "numa", "one node"));
	CU_ASSERT_PTR_NULL(strstr(output, "free page reporting"));
	CU_ASSERT(says("ok", "device", "570.86.15"));
	CU_ASSERT(says("ok", "disk", "not set"));
	CU_ASSERT(says("ok", "remote", "not set"));
	CU_ASSERT(strstr(output, "io_uring") && strstr(output, "aio"));
}

static void test_poor(void)
{
	const char *file = machine("max_local_cpu_size: 40\n");

	file_write_below(dir, "/proc/driver/nvidia/version",
		"NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.1\n");
	file_write_below(dir, "/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
	file_write_below(dir, "/sys/devices/system/node/node1/x", "");
	CU_ASSERT_EQUAL(run(file, "--root", dir, NULL), 1);
	CU_ASSERT(says("degraded", "memory", "MemAvailable"));
	CU_ASSERT(says("degraded", "huge pages", "are off"));
	CU_ASSERT(says("degraded", "numa", "2 nodes"));
	CU_ASSERT(says("degraded", "device", "470.1 is too old"));
	CU_ASSERT_PTR_NOT_NULL(strstr(output, "cost: "));
	CU_ASSERT_PTR_NOT_NULL(strstr(output, "cure: "));
}

#define REPORTING "/sys/module/page_reporting/parameters/page_reporting_order"

/* Built into every kernel; a device makes use of it in some virtual machines. */
static void test_free_page_reporting(void)
{
	static const struct {
		const char *order;
		bool used;
	} cases[] = {{"-1\n", false}, {"4294967295\n", false}, {"\n", false}, {"0\n", true}, {"9\n", true},
		{"10\n", true}, {"11\n", false}};
	const char *file = machine("max_local_cpu_size: 0.25\n");

	for (size_t i = 0; i < KVF_ARRAY_LEN(cases); i++) {
		file_write_below(dir, REPORTING, cases[i].order);
		(void)run(file, "--root", dir, NULL);
		CU_ASSERT_EQUAL(strstr(output, "free page reporting") != NULL, cases[i].used);
	}
	file_write_below(dir, REPORTING, "9\n");
	CU_ASSERT_EQUAL(run(file, "--root", dir, NULL), 1);
	CU_ASSERT(says("degraded", "free memory", "virtual machine"));
}

static void test_config(void)
{
	const char *file = machine("chunk_size: many\n");

	CU_ASSERT_EQUAL(run(file, "--root", dir, NULL), 1);
	CU_ASSERT(says("degraded", "config", "c.yaml:1: chunk_size"));
	CU_ASSERT_EQUAL(run("/nowhere/at/all.yaml", "--root", dir, NULL), 1);
}

static void test_disk(void)
{
	const char *file = machine("");
	char text[PATH_MAX + 64];

	snprintf(text, sizeof(text), "local_disk: %s/deep/er,/proc\nmax_local_disk_size: 1000000\n",
		dir);
	file_write_below(dir, "/c.yaml", text);
	CU_ASSERT_EQUAL(run(file, "--root", dir, NULL), 1);
	snprintf(text, sizeof(text), "%.60s", dir);
	CU_ASSERT(says("degraded", "disk space", text));
	CU_ASSERT_PTR_NOT_NULL(strstr(output, "/proc"));
	CU_ASSERT(says("ok", "disk io", "32 transfers of 0.250 GiB together at once"));
	snprintf(text, sizeof(text), "local_disk: %s\nextra_config: {kvf_aio: sync, kvf_disk_depth: 3}\n", dir);
	file_write_below(dir, "/c.yaml", text);
	(void)run(file, "--root", dir, NULL);
	CU_ASSERT(says("ok", "disk io", "sync, 3 transfers"));
}

/* ---- remote ---- */

static int listen_somewhere(uint16_t *port)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)&addr, n), 0);
	CU_ASSERT_EQUAL_FATAL(listen(fd, 4), 0);
	CU_ASSERT_EQUAL_FATAL(getsockname(fd, (struct sockaddr *)&addr, &n), 0);
	*port = ntohs(addr.sin_port);
	return fd;
}

static int run_remote(const char *head, unsigned int port, const char *tail)
{
	char url[256], text[512];
	const char *file = machine("");

	snprintf(url, sizeof(url), "%s%u%s", head, port, tail);
	snprintf(text, sizeof(text),
		"remote_url: \"%s\"\npre_caching_hash_algorithm: blake3\n", url);
	file_write_below(dir, "/c.yaml", text);
	return run(file, "--root", dir, NULL);
}

static void test_remote(void)
{
	uint16_t port;
	int fd = listen_somewhere(&port);
	char text[64];

	run_remote("redis://127.0.0.1:", port, "");
	snprintf(text, sizeof(text), "127.0.0.1 port %u answers", port);
	CU_ASSERT(says("ok", "remote", text));
	run_remote("redis://user:geheim,@x@127.0.0.1:", port, "");
	CU_ASSERT(says("ok", "remote", text));
	CU_ASSERT_PTR_NULL(strstr(output, "geheim"));
	close(fd);
	CU_ASSERT_EQUAL(run_remote("lm://127.0.0.1:", port, ""), 1);
	CU_ASSERT(says("degraded", "remote", "Connection refused"));
	CU_ASSERT_EQUAL(run_remote("redis://[::1]:", port, ""), 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(output, "::1 port"));
	CU_ASSERT_EQUAL(run_remote("unix:///nowhere/", port, ".sock"), 1);
	CU_ASSERT(says("degraded", "remote", "/nowhere/"));
	run_remote("fs://host:", 0, "/tmp");
	CU_ASSERT_PTR_NOT_NULL(strstr(output, "disk"));
}

/* A server that takes no connection: its queue is full, so the next one hangs. */
static void test_remote_hangs(void)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timespec from, to;
	uint16_t port;
	int fd = listen_somewhere(&port);
	int other[64];

	addr.sin_port = htons(port);
	listen(fd, 0);
	for (size_t i = 0; i < KVF_ARRAY_LEN(other); i++) {
		other[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)!connect(other[i], (struct sockaddr *)&addr, sizeof(addr));
	}
	clock_gettime(CLOCK_MONOTONIC, &from);
	CU_ASSERT_EQUAL(run_remote("redis://127.0.0.1:", port, ""), 1);
	clock_gettime(CLOCK_MONOTONIC, &to);
	CU_ASSERT(says("degraded", "remote", "no answer within 1 s"));
	/* It gave up by itself; how fast is the scheduler's business. */
	CU_ASSERT(to.tv_sec - from.tv_sec < 60);
	for (size_t i = 0; i < KVF_ARRAY_LEN(other); i++)
		close(other[i]);
	close(fd);
}

static void test_json(void)
{
	const char *file = machine("max_local_cpu_size: 0.25\nremote_url: \"redis://a\\\"b:1\"\n");
	FILE *out;

	(void)run(file, "--json", "--root", dir);
	CU_ASSERT_PTR_NOT_NULL(strstr(output, "{\"topic\": \"memory\", \"state\": \"ok\""));
	if (system("command -v python3 >/dev/null") != 0) {
		kvf_test_skip("no python3 to read the JSON with");
		return;
	}
	out = popen("python3 -c 'import json,sys; json.load(sys.stdin)'", "w");
	CU_ASSERT_PTR_NOT_NULL_FATAL(out);
	fputs(output, out);
	CU_ASSERT_EQUAL(pclose(out), 0);
}

int main(int argc, char **argv)
{
	static const struct kvf_test tests[] = {
		{"usage", test_usage},
		{"fine", test_fine},
		{"poor", test_poor},
		{"free_page_reporting", test_free_page_reporting},
		{"config", test_config},
		{"disk", test_disk},
		{"remote", test_remote},
		{"remote_hangs", test_remote_hangs},
		{"json", test_json},
	};

	(void)unsetenv("LMCACHE_CONFIG_FILE");
	return kvf_test_main("doctor", tests, KVF_ARRAY_LEN(tests), argc, argv);
}
