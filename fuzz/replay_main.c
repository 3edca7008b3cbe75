/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands in for libFuzzer: feeds the empty input and every file of a corpus to a harness, once
 *each, so that what a fuzzer once found is checked by every `make check` and every compiler.
 *
 *	fuzz/NAME [FILE|FOLDER]...	without arguments: fuzz/corpus/NAME below KVF_SRCDIR
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));

static unsigned n_inputs;
static unsigned n_unreadable;

static void replay_bytes(const uint8_t *data, size_t size)
{
	/* An allocation of exactly this size lets ASan and valgrind see a read past the end. */
	uint8_t *copy = malloc(size ? size : 1);

	if (!copy) {
		n_unreadable++;
		return;
	}
	if (size)
		memcpy(copy, data, size);
	n_inputs++;
	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
}

static uint8_t *read_file(const char *path, size_t size)
{
	uint8_t *data = malloc(size ? size : 1);
	FILE *f = fopen(path, "rb");

	if (!data || !f || fread(data, 1, size, f) != size) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		free(data);
		data = NULL;
	}
	if (f)
		fclose(f);
	return data;
}

static int replay_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	uint8_t *data;

	(void)ftw;
	if (type != FTW_F)
		return 0;
	printf("input %s\n", path); /* the last one named is the one that crashed */
	data = read_file(path, (size_t)st->st_size);
	if (!data) {
		n_unreadable++;
		return 0;
	}
	replay_bytes(data, (size_t)st->st_size);
	free(data);
	return 0;
}

static void replay_path(const char *path)
{
	if (nftw(path, replay_file, 16, FTW_PHYS) != 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		n_unreadable++;
	}
}

static void replay_corpus(const char *name)
{
	const char *sources = getenv("KVF_SRCDIR");
	char path[PATH_MAX];
	struct stat st;

	snprintf(
		path, sizeof(path), "%s/fuzz/corpus/%s", sources && *sources ? sources : ".", name);
	if (stat(path, &st) == 0)
		replay_path(path);
	else
		printf("no corpus %s, only the empty input\n", path);
}

int main(int argc, char **argv)
{
	const char *slash = strrchr(argv[0], '/');
	const char *name = slash ? slash + 1 : argv[0];

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (LLVMFuzzerInitialize)
		LLVMFuzzerInitialize(&argc, &argv);
	replay_bytes(NULL, 0);
	for (int i = 1; i < argc; i++)
		replay_path(argv[i]);
	if (argc == 1)
		replay_corpus(name);
	printf("%u inputs\n", n_inputs);
	printf("KVF_TESTS: fuzz_%s passed=%d failed=%d skipped=0\n", name, !n_unreadable,
		!!n_unreadable);
	return n_unreadable ? EXIT_FAILURE : EXIT_SUCCESS;
}
