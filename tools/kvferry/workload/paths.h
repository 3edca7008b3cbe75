/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a workload: found in directories, told apart, and each given its scope of block ids.
 */
#ifndef KVFERRY_WORKLOAD_PATHS_H
#define KVFERRY_WORKLOAD_PATHS_H

#include "workload/source.h"

#define WL_MAX_DIRECTORY_DEPTH 16
#define WL_MAX_FILES 100000

struct wl_path {
	char *path;
	size_t name_at; /* path + name_at: its name below the directory that was asked for, or its
			   base name */
	uint64_t scope;
};

struct wl_paths {
	struct wl_path *v;
	size_t n, cap;
};

bool wl_is_builtin(const char *source);

/*
 * Adds a file, or all files of a directory and those below it in the order of their names:
 * trace_*.json, and for WL_FORMAT_MOONCAKE *.jsonl. Links to directories are not followed. KVF_OK;
 * KVF_EIO, KVF_EINVAL (none found), KVF_ERANGE (too deep, too many), KVF_ENOMEM with text.
 */
int wl_paths_collect(
	struct wl_paths *paths, const char *source, enum wl_format format, struct wl_error *error);

/*
 * Gives each file a scope made of its name, so that a trace keeps its block ids wherever it lies.
 * Files of the same name are told apart by their order.
 */
int wl_paths_scopes(struct wl_paths *paths, struct wl_error *error);
void wl_paths_free(struct wl_paths *paths);

/* Reads the beginning of a file to tell its format: KVF_OK; KVF_EIO, KVF_EINVAL (neither) with
 * text. */
int wl_path_sniff(const char *path, enum wl_format *format, struct wl_error *error);

#endif
