/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the subcommands of `kvferry` share: exit codes, arguments, numbers and sizes, clocks, the
 * terminal.
 */
#ifndef KVFERRY_TOOL_H
#define KVFERRY_TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Exit codes of every subcommand. */
enum { TOOL_OK = 0, TOOL_WRONG = 1, TOOL_USAGE = 2 };

int kvf_cmd_replay(int argc, char **argv);
int kvf_cmd_bench(int argc, char **argv);
int kvf_cmd_config(int argc, char **argv);
int kvf_cmd_doctor(int argc, char **argv);
int kvf_cmd_hash(int argc, char **argv);
int kvf_cmd_soak(int argc, char **argv);
int kvf_cmd_fsck(int argc, char **argv);
int kvf_cmd_stat(int argc, char **argv);
int kvf_cmd_clear(int argc, char **argv);

/* One option of a subcommand. */
struct tool_opt {
	const char *name; /* "--ram" */
	const char *value; /* what stands for its value in the help, NULL: it takes none */
	const char *help;
	bool many; /* may be given more than once */
};

#define TOOL_MAX_OPTS 40
#define TOOL_MAX_REST 1024

struct tool_args {
	const char *command; /* "replay" */
	const char *synopsis; /* what follows the command in the first line of the help */
	const char *intro; /* NULL: none */
	const struct tool_opt *opts;
	size_t n_opts;
	const char *given[TOOL_MAX_OPTS]; /* last value by option; "" for a flag; NULL: not given */
	const char *rest[TOOL_MAX_REST]; /* what is no option, in order */
	size_t n_rest;
	/* Called for every option that may come more than once, in order. */
	int (*each)(void *arg, size_t opt, const char *value);
	void *each_arg;
};

/* Sorts argv[1..] into given and rest. TOOL_OK or TOOL_USAGE, which was explained on stderr. */
int tool_args_parse(struct tool_args *args, int argc, char **argv);
void tool_args_help(const struct tool_args *args, FILE *out);
/* "kvferry COMMAND: " and the text on stderr; returns TOOL_USAGE. */
int tool_usage(const struct tool_args *args, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Each leaves *out alone when the option was not given. TOOL_OK or TOOL_USAGE. */
int tool_arg_u64(
	const struct tool_args *args, size_t opt, uint64_t min, uint64_t max, uint64_t *out);
int tool_arg_size(
	const struct tool_args *args, size_t opt, uint64_t min, uint64_t max, uint64_t *out);
int tool_arg_bool(const struct tool_args *args, size_t opt, bool *out);
void tool_arg_text(const struct tool_args *args, size_t opt, const char **out);

bool tool_parse_u64(const char *text, uint64_t *out);
/* Bytes: a number, whole or with up to nine decimals, and B, K, KB, KiB, M ... TiB. All units are
 * powers of 1024, as in LMCache's configuration. */
bool tool_parse_size(const char *text, uint64_t *out);

/* "5.02 GiB" */
const char *tool_size_text(char *buf, size_t n, uint64_t bytes);
/* "12,031" */
const char *tool_count_text(char *buf, size_t n, uint64_t value);
/* "1.24 ms" */
const char *tool_time_text(char *buf, size_t n, uint64_t ns);

uint64_t tool_now_ns(void);
uint64_t tool_thread_cpu_ns(void);
uint64_t tool_process_cpu_ns(void);
uint64_t tool_peak_rss_bytes(void);
/* Model of the first CPU, "unknown" where nobody says. */
const char *tool_cpu_model(char *buf, size_t n);

/* Escape sequences, "" unless `out` is a terminal and NO_COLOR is unset or empty. */
struct tool_colors {
	const char *bold, *red, *green, *dim, *off;
};
struct tool_colors tool_colors(FILE *out);

/* A bar on stderr, only where that is a terminal. */
struct tool_progress {
	bool on;
	uint64_t next_ns;
	int width; /* of what was written last */
};
void tool_progress_begin(struct tool_progress *p);
void tool_progress_show(struct tool_progress *p, unsigned permille, const char *text);
void tool_progress_end(struct tool_progress *p);

#endif
