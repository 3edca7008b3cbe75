#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# No variable data in the library: two engines in one process share const tables and nothing else.
set -u
lib=$KVF_BUILDDIR/.libs/libkvferry.a
if [ ! -e "$lib" ]; then
	echo "*** SKIPPED: no static library in this build ***"
	exit 77
fi
if [ -n "${KVF_SANITIZERS:-}" ]; then
	echo "*** SKIPPED: sanitizers and coverage add variables of their own ***"
	exit 77
fi
# Const tables of pointers are in .data.rel.ro; what is left in .data, .bss and thread-local sections can be written.
found=$(objdump -t "$lib" | awk '
	/file format/ { file = $1 }
	/ O \.(data|bss|tdata|tbss)(\.|[ \t])/ && !/ O \.data\.rel\.ro/ { print file " " $NF }
	/ O \*COM\*/ { print file " " $NF }' | grep -vi 'nvtx') # which is asked for by --enable-nvtx
if [ -n "$found" ]; then
	echo "FAILED: these are not const:"
	echo "$found"
	exit 1
fi
