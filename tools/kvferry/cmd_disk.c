/* SPDX-License-Identifier: Apache-2.0 */
/* kvferry fsck, stat, clear: a disk tier's directory without an engine. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "disk_view.h"
#include "json_out.h"
#include "tool.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))

static int parse(struct tool_args *args, int argc, char **argv, size_t help)
{
	int rc = tool_args_parse(args, argc, argv);

	if (rc != TOOL_OK)
		return rc;
	if (args->given[help]) {
		tool_args_help(args, stdout);
		return -1;
	}
	if (args->n_rest != 1)
		return tool_usage(args, "one directory is wanted");
	return TOOL_OK;
}

/* `found`: what disk_each() returned. */
static int nothing_there(const struct tool_args *args, int found)
{
	if (found == 0)
		fprintf(stderr, "kvferry %s: %s: holds no directory of a disk tier (kvf-...)\n",
			args->command, args->rest[0]);
	return TOOL_WRONG;
}

/* ---- fsck ---- */

static int fsck_one(struct disk_view *view, void *arg)
{
	struct disk_check *check = arg;

	if (check->repair && !view->in_use && disk_page_create(view) != 0) {
		fprintf(stderr, "kvferry fsck: %s/%s: %s\n", view->path, KVF_DISK_DIR_FILE, strerror(errno));
		return -1;
	}
	if (view->in_use && check->repair) {
		fprintf(stderr, "kvferry fsck: %s: an engine uses it: nothing was changed\n",
			view->path);
		return -1;
	}
	if (view->in_use)
		printf("%s: an engine uses it: what is being written may look damaged\n",
			view->path);
	return disk_check(view, check);
}

static uint64_t wrong(const struct disk_check *c)
{
	return c->damaged_pages + c->damaged_headers + c->damaged_payloads + c->strangers +
	       c->duplicates + c->unreadable;
}

static int fsck_json(const struct disk_check *c)
{
	struct json_out out;

	json_out_begin(&out, stdout);
	json_out_open(&out, NULL, '{');
	json_out_u64(&out, "directories", c->directories);
	json_out_u64(&out, "segments", c->segments);
	json_out_u64(&out, "slots", c->slots);
	json_out_u64(&out, "chunks", c->chunks);
	json_out_u64(&out, "free", c->free);
	json_out_u64(&out, "payload_bytes", c->bytes);
	json_out_u64(&out, "damaged_pages", c->damaged_pages);
	json_out_u64(&out, "damaged_headers", c->damaged_headers);
	json_out_u64(&out, "damaged_payloads", c->damaged_payloads);
	json_out_u64(&out, "other_identity", c->strangers);
	json_out_u64(&out, "duplicates", c->duplicates);
	json_out_u64(&out, "unreadable", c->unreadable);
	json_out_u64(&out, "repaired", c->repaired);
	json_out_bool(&out, "deep", c->deep);
	json_out_close(&out, '}');
	return json_out_end(&out);
}

int kvf_cmd_fsck(int argc, char **argv)
{
	enum { DEEP, REPAIR, JSON, HELP };
	static const struct tool_opt opts[] = {
		[DEEP] = {"--deep", NULL, "read every payload too and compare its checksum", false},
		[REPAIR] = {"--repair", NULL,
			"give up what is damaged, so that its slot can be used; write pages anew", false},
		[JSON] = {"--json", NULL, "counts as JSON, no lines about single slots", false},
		[HELP] = {"--help", NULL, "this text", false},
	};
	struct tool_args args = {.command = "fsck",
		.synopsis = "[--deep] [--repair] DIR",
		.intro = "Checks the disk tier below DIR (a directory of local_disk, or one "
			 "kvf-... in it).\n",
		.opts = opts,
		.n_opts = N(opts)};
	struct disk_check check = {0};
	int rc = parse(&args, argc, argv, HELP), found;

	if (rc)
		return rc < 0 ? TOOL_OK : rc;
	check.deep = args.given[DEEP] != NULL;
	check.repair = args.given[REPAIR] != NULL;
	check.quiet = args.given[JSON] != NULL;
	found = disk_each(args.rest[0], true, fsck_one, &check);
	if (found <= 0)
		return nothing_there(&args, found);
	if (check.quiet)
		return fsck_json(&check) || wrong(&check) ? TOOL_WRONG : TOOL_OK;
	printf("%" PRIu64 " chunks, %" PRIu64 " free slots in %" PRIu64 " segments; %" PRIu64
	       " damaged headers, %" PRIu64 " damaged payloads%s, %" PRIu64 " twice, %" PRIu64
	       " of another identity, %" PRIu64 " unreadable, %" PRIu64 " damaged pages; %" PRIu64
	       " repaired\n",
		check.chunks, check.free, check.segments, check.damaged_headers,
		check.damaged_payloads, check.deep ? "" : " (not looked for: --deep)",
		check.duplicates, check.strangers, check.unreadable, check.damaged_pages,
		check.repaired);
	return wrong(&check) ? TOOL_WRONG : TOOL_OK;
}

/* ---- stat ---- */

struct stat_run {
	struct json_out *json; /* NULL: for people */
};

static int add_file(struct disk_view *view, struct disk_segment_view *seg, void *arg)
{
	(void)view;
	*(uint64_t *)arg += seg->size;
	return 0;
}

static void stat_json(struct json_out *out, const struct disk_view *view,
	const struct disk_check *c, uint64_t bytes)
{
	bool known = view->page_state == KVF_OK;

	json_out_open(out, NULL, '{');
	json_out_text(out, "path", view->path);
	json_out_bool(out, "in_use", view->in_use);
	json_out_bool(out, "page_ok", known);
	if (known) {
		json_out_text(out, "model", view->page.model);
		json_out_u64(out, "world_size", view->page.world_size);
		json_out_u64(out, "rank", view->page.rank);
		json_out_u64(out, "slot_bytes", view->page.slot_bytes);
		json_out_u64(out, "payload_bytes", view->page.payload_bytes);
		json_out_u64(out, "chunk_tokens", view->page.chunk_tokens);
		json_out_u64(out, "epoch", view->page.epoch);
	}
	json_out_u64(out, "segments", c->segments);
	json_out_u64(out, "slots", c->slots);
	json_out_u64(out, "chunks", c->chunks);
	json_out_u64(out, "chunk_bytes", c->bytes);
	json_out_u64(out, "file_bytes", bytes);
	json_out_u64(out, "newest_generation", c->newest_generation);
	json_out_close(out, '}');
}

static int stat_one(struct disk_view *view, void *arg)
{
	const struct stat_run *run = arg;
	struct disk_check check = {.quiet = true};
	uint64_t bytes = KVF_DISK_PAGE;
	char a[32], b[32], c[32];
	int rc = disk_check(view, &check);

	if (disk_each_segment(view, false, add_file, &bytes) < 0)
		rc = -1;
	if (run->json) {
		stat_json(run->json, view, &check, bytes);
		return rc;
	}
	printf("%s%s\n", view->path, view->in_use ? "  (in use)" : "");
	if (view->page_state == KVF_OK)
		printf("  model \"%s\", rank %u of %u, chunks of %u tokens, slots of %s, opened "
		       "%" PRIu64 " times\n",
			view->page.model, view->page.rank, view->page.world_size,
			view->page.chunk_tokens,
			tool_size_text(a, sizeof(a), view->page.slot_bytes), view->page.epoch);
	else
		printf("  its page %s\n", view->page_state == KVF_ENOTSUP
						  ? "is of another version"
						  : "is damaged or missing");
	printf("  %s in %" PRIu64 " segments; %s of %s slots hold chunks\n",
		tool_size_text(a, sizeof(a), bytes), check.segments,
		tool_count_text(b, sizeof(b), check.chunks),
		tool_count_text(c, sizeof(c), check.slots));
	return rc;
}

int kvf_cmd_stat(int argc, char **argv)
{
	enum { JSON, HELP };
	static const struct tool_opt opts[] = {
		[JSON] = {"--json", NULL, "as JSON", false},
		[HELP] = {"--help", NULL, "this text", false},
	};
	struct tool_args args = {.command = "stat",
		.synopsis = "[--json] DIR",
		.intro = "Describes the disk tier below DIR (a directory of local_disk, or one "
			 "kvf-... in it).\n",
		.opts = opts,
		.n_opts = N(opts)};
	struct json_out out;
	struct stat_run run = {NULL};
	int rc = parse(&args, argc, argv, HELP), found;

	if (rc)
		return rc < 0 ? TOOL_OK : rc;
	if (args.given[JSON]) {
		run.json = &out;
		json_out_begin(&out, stdout);
		json_out_open(&out, NULL, '[');
	}
	found = disk_each(args.rest[0], false, stat_one, &run);
	if (run.json) {
		json_out_close(&out, ']');
		if (json_out_end(&out))
			return TOOL_WRONG;
	}
	return found > 0 ? TOOL_OK : nothing_there(&args, found);
}

/* ---- clear ---- */

struct clear_run {
	uint64_t bytes, files;
};

static int clear_segment(struct disk_view *view, struct disk_segment_view *seg, void *arg)
{
	struct clear_run *run = arg;

	if (unlinkat(view->fd, seg->name, 0) != 0) {
		fprintf(stderr, "kvferry clear: %s/%s: %s\n", view->path, seg->name,
			strerror(errno));
		return -1;
	}
	run->files++;
	run->bytes += seg->size;
	return 0;
}

static int clear_one(struct disk_view *view, void *arg)
{
	if (view->in_use) {
		fprintf(stderr, "kvferry clear: %s: an engine uses it: left as it is\n",
			view->path);
		return -1;
	}
	if (disk_each_segment(view, false, clear_segment, arg) < 0)
		return -1;
	if (unlinkat(view->fd, KVF_DISK_DIR_FILE, 0) != 0 && errno != ENOENT)
		return -1;
	/* Anything that is not ours keeps the directory. */
	if (rmdir(view->path) != 0 && errno != ENOTEMPTY)
		return -1;
	return 0;
}

int kvf_cmd_clear(int argc, char **argv)
{
	enum { HELP };
	static const struct tool_opt opts[] = {
		[HELP] = {"--help", NULL, "this text", false},
	};
	struct tool_args args = {.command = "clear",
		.synopsis = "DIR",
		.intro = "Deletes every chunk of the disk tier below DIR (a directory of "
			 "local_disk, or one kvf-... in it).\n",
		.opts = opts,
		.n_opts = N(opts)};
	struct clear_run run = {0, 0};
	char text[32];
	int rc = parse(&args, argc, argv, HELP), found;

	if (rc)
		return rc < 0 ? TOOL_OK : rc;
	found = disk_each(args.rest[0], true, clear_one, &run);
	if (found <= 0)
		return nothing_there(&args, found);
	printf("%" PRIu64 " segments deleted, %s\n", run.files,
		tool_size_text(text, sizeof(text), run.bytes));
	return TOOL_OK;
}
