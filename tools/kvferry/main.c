/* SPDX-License-Identifier: Apache-2.0 */
/* kvferry: finds the subcommand. */
#include <string.h>

#include "kvferry/kvferry.h"
#include "tool.h"

struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *meaning;
};

static int cmd_help(int argc, char **argv);
static int cmd_version(int argc, char **argv);

static const struct command commands[] = {
	{"replay", kvf_cmd_replay, "run traces or built-in workloads through a real engine"},
	{"soak", kvf_cmd_soak, "workloads above failing tiers for a while, everything checked"},
	{"bench", kvf_cmd_bench, "measure the library beside the ceiling of the machine"},
	{"config", kvf_cmd_config, "what a configuration comes to, and what is wrong with it"},
	{"doctor", kvf_cmd_doctor, "what this machine allows, what is missing, what helps"},
	{"hash", kvf_cmd_hash, "the names that LMCache gives the chunks of a token list"},
	{"fsck", kvf_cmd_fsck, "check a disk tier's directory"},
	{"stat", kvf_cmd_stat, "describe a disk tier's directory"},
	{"clear", kvf_cmd_clear, "empty a disk tier's directory"},
	{"help", cmd_help, "this text, or that of a command"},
	{"version", cmd_version, "version of the library"},
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void usage(FILE *out)
{
	fprintf(out, "usage: kvferry COMMAND [ARGUMENT...]\n");
	for (size_t i = 0; i < N_COMMANDS; i++)
		fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].meaning);
	fprintf(out, "kvferry COMMAND --help says more. Exit status: 0 fine, 1 something is wrong, "
		     "2 usage.\n");
}

static const struct command *find(const char *name)
{
	for (size_t i = 0; i < N_COMMANDS; i++) {
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	}
	return NULL;
}

static int unknown(const char *name)
{
	fprintf(stderr, "kvferry: unknown command '%.64s'\n", name);
	usage(stderr);
	return TOOL_USAGE;
}

static int cmd_help(int argc, char **argv)
{
	char name[16], help[] = "--help";
	char *args[] = {name, help, NULL};
	const struct command *command;

	if (argc < 2) {
		usage(stdout);
		return TOOL_OK;
	}
	command = find(argv[1]);
	if (!command)
		return unknown(argv[1]);
	if (command->run == cmd_help || command->run == cmd_version) {
		usage(stdout);
		return TOOL_OK;
	}
	snprintf(name, sizeof(name), "%s", command->name);
	return command->run(2, args);
}

static int cmd_version(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	printf("kvferry %s\n", kvf_version());
	return TOOL_OK;
}

int main(int argc, char **argv)
{
	const struct command *command;
	int rc;

	if (argc < 2) {
		usage(stderr);
		return TOOL_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		argv[1] += strlen(argv[1]); /* as without a command */
	if (strcmp(argv[1], "--version") == 0)
		return cmd_version(1, argv);
	if (argv[1][0] == '\0') {
		usage(stdout);
		return TOOL_OK;
	}
	command = find(argv[1]);
	if (!command)
		return unknown(argv[1]);
	rc = command->run(argc - 1, argv + 1);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "kvferry: standard output could not be written\n");
		return rc == TOOL_OK ? TOOL_WRONG : rc;
	}
	return rc;
}
