#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# kvferry soak: a few seconds of it, its options, its exit codes.
set -u
kvferry=$KVF_BUILDDIR/kvferry
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
failed=0
passed=0

# expect CODE ARGUMENT...
expect() {
	want=$1
	shift
	"$kvferry" "$@" >"$dir/out" 2>"$dir/err" </dev/null
	got=$?
	if [ $got -eq "$want" ]; then
		passed=$((passed + 1))
	else
		echo "FAILED: kvferry $*: exit code $got, not $want"
		cat "$dir/out" "$dir/err"
		failed=$((failed + 1))
	fi
}
says() {
	if grep -qe "$2" "$dir/$1"; then
		passed=$((passed + 1))
	else
		echo "FAILED: nothing is said of '$2'"
		cat "$dir/$1"
		failed=$((failed + 1))
	fi
}

expect 0 soak --help
says out '--seconds'
expect 2 soak --seconds 0
says err 'seconds'
expect 2 soak nonsense
expect 0 soak --seconds 4 --seed 3
says out 'fine'
says out 'descriptors'
expect 0 soak --seconds 2 --seed 4 --tiers 0 --ram-chunks 8 --concurrency 64
expect 0 soak --seconds 2 --seed 5 --quiet
if [ -s "$dir/out" ]; then
	echo "FAILED: --quiet is not quiet"
	failed=$((failed + 1))
fi
echo "KVF_TESTS: soak passed=$passed failed=$failed skipped=0"
[ $failed -eq 0 ]
