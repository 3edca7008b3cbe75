#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What a program that is linked with the library depends on: no driver, no shared CUDA runtime, no C++ runtime. Without
# them it links, as C, with the shared and with the static library, and starts.
set -u
so=$KVF_BUILDDIR/.libs/libkvferry.so
archive=$KVF_BUILDDIR/.libs/libkvferry.a
if [ ! -e "$so" ] || [ ! -e "$archive" ]; then
	echo "*** SKIPPED: this build has not both libraries ***"
	exit 77
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
passed=0
failed=0

# judge NAME TEXT: TEXT is what is wrong, one a line
judge() {
	if [ -z "$2" ]; then
		passed=$((passed + 1))
	else
		printf 'FAILED: %s:\n%s\n' "$1" "$2"
		failed=$((failed + 1))
	fi
}

judge "libraries that a machine without a driver or C++ lacks" \
	"$(readelf -d "$so" | awk '/NEEDED/ { print $NF }' | grep -E 'libcuda|libcudart|libnvidia|libstdc\+\+|libc\+\+')"
judge "symbols of CUDA that meet those of the host" \
	"$(nm -D "$so" | awk '{ sub(/@.*/, "", $NF); print $NF }' | grep -E '^_*(cuda|cu[A-Z]|__fatbin|fatbin)')"
# Sanitizers bring their own.
if [ -z "${KVF_SANITIZERS:-}" ]; then
	judge "symbols of a C++ runtime in the shared library" \
		"$(nm -D -u "$so" | awk '{ print $NF }' | grep -E '^(_Z|__cxa_(guard|throw|begin|end|pure|rethrow|allocate)|__gxx)')"
	judge "symbols of a C++ runtime in our objects" \
		"$(nm -u "$archive" 2>/dev/null | awk '{ print $NF }' | grep -E '^(_Z|__cxa_(guard|throw|begin|end|pure)|__gxx|__cudaRegister)' | sort -u)"
fi

cat >"$dir/host.c" <<'END'
#include <kvferry/kvferry.h>
#include <stdio.h>
int main(void)
{
	struct kvf_open_params params;

	kvf_open_params_init(&params);
	return printf("%s\n", kvf_strerror(KVF_ENODEV)) < 0;
}
END
libs=$(sed -n 's/^kvf_libs = //p' "$KVF_BUILDDIR/Makefile")
# The variables that kvf_libs names.
for name in $(echo "$libs" | tr -d '$()'); do
	value=$(sed -n "s/^$name = //p" "$KVF_BUILDDIR/Makefile")
	all="${all:-} $value"
done
for kind in shared static; do
	if [ $kind = shared ]; then
		what="-L$KVF_BUILDDIR/.libs -lkvferry -Wl,-rpath,$KVF_BUILDDIR/.libs"
	else
		what="$archive $all"
	fi
	# shellcheck disable=SC2086 # several words
	if ! text=$(${KVF_CC:-cc} ${KVF_SANITIZERS:-} -std=c11 -I "$KVF_SRCDIR/include" -o "$dir/$kind" "$dir/host.c" $what 2>&1); then
		judge "a C program with the $kind library" "$text"
		continue
	fi
	judge "what a program with the $kind library needs" \
		"$(readelf -d "$dir/$kind" | awk '/NEEDED/ { print $NF }' | grep -E 'libcuda|libcudart|libnvidia|libstdc\+\+|libc\+\+')"
	if text=$("$dir/$kind" 2>&1); then
		judge "a program with the $kind library starts" ""
	else
		judge "a program with the $kind library starts" "${text:-it does not}"
	fi
done
echo "KVF_TESTS: link passed=$passed failed=$failed skipped=0"
[ "$failed" -eq 0 ]
