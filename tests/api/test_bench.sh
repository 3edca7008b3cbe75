#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every bench runs to its end and writes JSON. What it measured decides nothing here.
set -u
kvferry=$KVF_BUILDDIR/kvferry
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
failed=0
# What looks like a cache of somebody's: a bench that is told to work beside it must leave it alone.
mkdir -p "$dir/disk/kvf-0"
echo precious >"$dir/disk/kvf-0/segment-0"
set -- 'lookup --short' 'copy --short --token-bytes 4096' 'scale --chunks 1000 --chunks 2000' idle \
	"overlap --short --dir $dir/disk"
if command -v fio >/dev/null; then
	set -- "$@" "disk --short --kib 64 --dir $dir/disk"
else
	echo '*** SKIPPED: kvferry bench disk: no fio ***'
fi
for bench in "$@"; do
	# shellcheck disable=SC2086 # a list of words
	if ! "$kvferry" bench $bench --slices 2 --json "$dir/b.json" >"$dir/out" 2>&1; then
		echo "FAILED: kvferry bench $bench"
		cat "$dir/out"
		failed=1
	elif command -v python3 >/dev/null && ! python3 -c '
import json, sys
j = json.load(open(sys.argv[1]))
sys.exit(not (j["complete"] and j["machine"] and j["command"].startswith("kvferry bench")))' "$dir/b.json"; then
		echo "FAILED: JSON of kvferry bench $bench"
		cat "$dir/b.json"
		failed=1
	fi
done
if [ "$(find "$dir/disk" -type f)" != "$dir/disk/kvf-0/segment-0" ]; then
	echo 'FAILED: --dir: what is left is not what was there before'
	find "$dir/disk"
	failed=1
fi
exit $failed
