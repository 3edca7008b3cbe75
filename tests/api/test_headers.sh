#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every public header compiles alone: as C11 and as C++11, without extensions and without a warning.
set -u
headers=$(cd "$KVF_SRCDIR/include" && echo kvferry/*.h)
cc=${KVF_CC:-cc}
cxx=${KVF_CXX:-}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
passed=0
failed=0
skipped=0

# try NAME COMMAND...: one test
try() {
	what=$1
	shift
	if "$@"; then
		passed=$((passed + 1))
	else
		echo "FAILED: $what: $*"
		failed=$((failed + 1))
	fi
}

warn='-Wall -Wextra -Wpedantic -Wshadow -Werror'
for h in $headers; do
	printf '#include <%s>\n#include <%s>\nint kvf_test_dummy;\n' "$h" "$h" >"$dir/a.c"
	cp "$dir/a.c" "$dir/a.cc"
	# shellcheck disable=SC2086 # several words
	try "$h as C11" $cc -std=c11 $warn -Wstrict-prototypes -I "$KVF_SRCDIR/include" -c -o "$dir/a.o" "$dir/a.c"
	if [ -n "$cxx" ]; then
		# shellcheck disable=SC2086
		try "$h as C++11" $cxx -std=c++11 $warn -I "$KVF_SRCDIR/include" -c -o "$dir/a.o" "$dir/a.cc"
	fi
done
if [ -z "$cxx" ]; then
	echo "*** SKIPPED: no C++ compiler: the headers were not tried as C++ ***"
	skipped=1
fi
echo "KVF_TESTS: headers passed=$passed failed=$failed skipped=$skipped"
[ "$failed" -eq 0 ]
