/* SPDX-License-Identifier: Apache-2.0 */
/* See command.h. */
#include "tests/support/command.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness.h"

#define WORDS_MAX 40

int command_run(int (*command)(int, char **), const char *const *words, bool errors, char *out, size_t size)
{
	char *argv[WORDS_MAX + 1] = { NULL };
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	int saved[2] = { dup(STDOUT_FILENO), dup(STDERR_FILENO) };
	FILE *f = tmpfile();
	int argc = 0, rc;
	size_t n;

	CU_ASSERT_FATAL(f && null >= 0 && saved[0] >= 0 && saved[1] >= 0);
	for (; words[argc] && argc < WORDS_MAX; argc++)
		argv[argc] = strdup(words[argc]);
	fflush(stdout);
	dup2(fileno(f), STDOUT_FILENO);
	dup2(errors ? fileno(f) : null, STDERR_FILENO);
	rc = command(argc, argv);
	fflush(stdout);
	dup2(saved[0], STDOUT_FILENO);
	dup2(saved[1], STDERR_FILENO);
	close(saved[0]);
	close(saved[1]);
	close(null);
	while (argc)
		free(argv[--argc]);
	rewind(f);
	n = fread(out, 1, size - 1, f);
	out[n] = '\0';
	fclose(f);
	return rc;
}

int command_line(int (*command)(int, char **), const char *line, bool errors, char *out, size_t size)
{
	const char *words[WORDS_MAX + 1] = { NULL };
	char text[1024];
	int n = 0;

	CU_ASSERT_FATAL((size_t)snprintf(text, sizeof(text), "%s", line) < sizeof(text));
	for (char *w = strtok(text, " "); w && n < WORDS_MAX; w = strtok(NULL, " "))
		words[n++] = w;
	return command_run(command, words, errors, out, size);
}
