#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# configure and both kinds of CUDA toolkit: cudaMemcpyBatchAsync with 9 arguments (12.8, 12.9) and with 8 (13), told apart
# by compiling; an older toolkit is refused by name; what uses CUDA compiles against each without a warning. Over stub
# headers (scripts/cuda-stub), so that no toolkit is needed.
set -u
cc=${KVF_CC:-cc}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
passed=0
failed=0

# try NAME COMMAND...: one test
try() {
	what=$1
	shift
	if "$@" >"$dir/out" 2>&1; then
		passed=$((passed + 1))
	else
		echo "FAILED: $what"
		tail -n 30 "$dir/out"
		failed=$((failed + 1))
	fi
}

# probe TOOLKIT: runs configure there, changes nothing else
probe() {
	mkdir -p "$dir/probe" && (cd "$dir/probe" && "$KVF_SRCDIR/configure" -q --no-create --with-cuda="$1" --disable-tests \
		--without-tls --without-cares --without-liburing CC="$cc")
}

found() {
	grep -q "^#define KVF_CUDA_BATCH_ARGS $1\$" "$dir/probe/config.log"
}

refused() {
	! probe "$1" && grep -q 'no CUDA runtime 12.8 or newer' "$dir/probe/config.log"
}

compile() {
	args=$1
	shift
	for file in "$KVF_SRCDIR"/src/device/cuda*.c; do
		# shellcheck disable=SC2086 # several words
		$cc -std=gnu11 -fsyntax-only -Wall -Wextra -Wshadow -Werror -DHAVE_CUDA=1 -DKVF_CUDA_BATCH_ARGS="$args" \
			-I "$KVF_SRCDIR/src" -I "$KVF_SRCDIR/include" -isystem "$1/include" "$file" || return 1
	done
}

# The one of the other number does not compile: that is how configure tells them apart.
mixed() {
	! $cc -std=gnu11 -fsyntax-only -DHAVE_CUDA=1 -DKVF_CUDA_BATCH_ARGS="$1" -I "$KVF_SRCDIR/src" -I "$KVF_SRCDIR/include" \
		-isystem "$2/include" "$KVF_SRCDIR/src/device/cuda_real.c"
}

for args in 8 9; do
	stub=$dir/cuda$args
	try "a stub toolkit" env CC="$cc" sh "$KVF_SRCDIR/scripts/cuda-stub" "$stub" $args
	try "configure with cudaMemcpyBatchAsync of $args arguments" probe "$stub"
	try "configure finds $args arguments" found $args
	try "src/device/cuda*.c with $args arguments" compile $args "$stub"
	try "src/device/cuda_real.c with $((17 - args)) arguments for $args" mixed $((17 - args)) "$stub"
done
sed -i.bak '/cudaMemcpyBatchAsync/d' "$dir/cuda9/include/cuda_runtime_api.h"
try "configure refuses a toolkit older than 12.8" refused "$dir/cuda9"
echo "KVF_TESTS: cuda_build passed=$passed failed=$failed skipped=0"
[ "$failed" -eq 0 ]
