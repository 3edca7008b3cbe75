#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The programs that check a real card: the one of them that knows the fake runtime by an option, over that; all of them
# where there is no device, alone and out of a bundle that was carried elsewhere: exit status 77.
set -u
program=$KVF_BUILDDIR/tests/gpu/check_gpu
if [ ! -x "$program" ]; then
	echo "*** SKIPPED: this build has no CUDA ***"
	exit 77
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
passed=0
failed=0

# expect CODE NAME COMMAND...
expect() {
	want=$1
	name=$2
	shift 2
	"$@" >"$dir/out" 2>&1
	got=$?
	if [ "$got" -eq "$want" ]; then
		passed=$((passed + 1))
	else
		echo "FAILED: $name: exit status $got, not $want"
		tail -n 30 "$dir/out"
		failed=$((failed + 1))
	fi
}

expect 0 "check_gpu --fake" "$program" --fake
# A machine may have cards: they are hidden.
CUDA_VISIBLE_DEVICES=
export CUDA_VISIBLE_DEVICES
expect 77 "check_gpu without a device" "$program"
for name in gpu/test_card unit/test_cuda_bytes sweep/test_sweep_cuda_bytes; do
	if [ -x "$KVF_BUILDDIR/tests/$name" ]; then
		expect 77 "$name without a device" env KVF_CUDA_REAL=1 "$KVF_BUILDDIR/tests/$name"
	fi
done
expect 0 "a bundle" sh "$KVF_SRCDIR/scripts/gpu-bundle" "$dir/bundle" "$program" "$KVF_BUILDDIR/tests/gpu/test_card"
mkdir "$dir/elsewhere"
mv "$dir/bundle" "$dir/elsewhere/carried"
expect 77 "a bundle without a device" "$dir/elsewhere/carried/run"
expect 0 "a program of the bundle" env LD_LIBRARY_PATH="$dir/elsewhere/carried/lib" \
	"$dir/elsewhere/carried/check_gpu" --fake --short
echo "KVF_TESTS: check_gpu passed=$passed failed=$failed skipped=0"
[ "$failed" -eq 0 ]
