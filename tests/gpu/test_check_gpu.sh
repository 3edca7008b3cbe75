#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The program that checks a real card, over the fake runtime: is it right itself?
set -u
program=$KVF_BUILDDIR/tests/gpu/check_gpu
if [ ! -x "$program" ]; then
	echo "*** SKIPPED: this build has no CUDA ***"
	exit 77
fi
exec "$program" --fake
