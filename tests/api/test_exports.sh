#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The shared library exports exactly what the public headers mark with KVF_API.
set -u
lib=$KVF_BUILDDIR/.libs/libkvferry.so
if [ ! -e "$lib" ]; then
	echo "*** SKIPPED: no shared library in this build ***"
	exit 77
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
# Sanitizers and coverage export helpers of their own.
nm -D --defined-only "$lib" | awk '$2 != "A" { print $3 }' | sed 's/@.*//' |
	grep -Ev '^(__asan|__ubsan|__sanitizer|__odr_asan|__gcov|__llvm|__start_|__stop_)' | sort -u >"$dir/exported"
# The name is what stands before the first parenthesis, which may be on a later line.
awk '/^KVF_API/ { text = ""; inside = 1 }
	inside { text = text " " $0 }
	inside && /[(;]/ {
		sub(/ *[(;].*/, "", text)
		sub(/.*[^a-zA-Z0-9_]/, "", text)
		print text
		inside = 0
	}' "$KVF_SRCDIR"/include/kvferry/*.h | sort -u >"$dir/declared"
rc=0
if grep -v '^kvf_' "$dir/exported"; then
	echo "FAILED: these symbols are exported but not called kvf_*"
	rc=1
fi
if [ "$(comm -23 "$dir/exported" "$dir/declared" | wc -l)" -gt 0 ]; then
	echo "FAILED: exported, but no public header declares it with KVF_API:"
	comm -23 "$dir/exported" "$dir/declared"
	rc=1
fi
if [ "$(comm -13 "$dir/exported" "$dir/declared" | wc -l)" -gt 0 ]; then
	echo "FAILED: declared with KVF_API, but not in the library:"
	comm -13 "$dir/exported" "$dir/declared"
	rc=1
fi
echo "$(wc -l <"$dir/exported") symbols"
exit $rc
