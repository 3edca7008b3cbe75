#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# build_matrix.sh [DIR]: builds the tree with every compiler here (gcc, clang), each without CUDA, with stub toolkits whose
# cudaMemcpyBatchAsync has 8 and 9 arguments, and with the toolkit of this machine where there is one, with NVTX where it
# has that; warnings are errors.
# Runs what says whether the result is sound: exports, link, a machine without a driver, the device over the fake runtime.
# In DIR (default: matrix-build, in the current folder), one folder a build, kept. JOBS: of make, default all cores. Prints
# a line a build; fails when one did.
set -u
sources=$(cd "$(dirname "$0")/.." && pwd)
dir=${1:-matrix-build}
jobs=${JOBS:-$(nproc)}
mkdir -p "$dir" || exit 1
dir=$(cd "$dir" && pwd)
log=$dir/log
rc=0

scripts="tests/api/test_exports.sh tests/api/test_link.sh tests/api/test_no_sync.sh tests/api/test_globals.sh"

# build NAME CC FLAG [FLAG]: one of the matrix
build() {
	mkdir -p "$dir/$1" && cd "$dir/$1" || return 1
	"$sources/configure" -q --enable-werror CC="$2" "$3" ${4:+"$4"} || return 1
	make -s -j"$jobs" all || return 1
	programs="tests/api/test_no_driver tests/unit/test_open tests/unit/test_host_device"
	case $3 in
	*=no) ! grep -q '^#define HAVE_CUDA' config.h || return 1 ;;
	*) programs="$programs tests/unit/test_cuda_open tests/unit/test_cuda_bytes tests/unit/test_cuda_tool tests/gpu/test_card" ;;
	esac
	# shellcheck disable=SC2086 # several words
	make -s -j"$jobs" $programs || return 1
	make -s check-TESTS TESTS="$programs $scripts" check_PROGRAMS= check_LTLIBRARIES=
}

for cc in gcc clang; do
	if ! command -v $cc >/dev/null; then
		echo "$cc: not on this machine"
		continue
	fi
	for kind in no 8 9 here; do
		more=
		case $kind in
		no) flag=--with-cuda=no ;;
		here)
			toolkit=${CUDA_HOME:-${CUDA_PATH:-/usr/local/cuda}}
			if [ ! -e "$toolkit/include/cuda_runtime_api.h" ]; then
				echo "$cc, CUDA toolkit: not on this machine"
				continue
			fi
			flag=--with-cuda=$toolkit
			[ -e "$toolkit/include/nvtx3/nvToolsExt.h" ] && more=--enable-nvtx
			;;
		*)
			CC=$cc sh "$sources/scripts/cuda-stub" "$dir/stub-$kind" $kind || exit 1
			flag=--with-cuda=$dir/stub-$kind
			;;
		esac
		if (build "$cc-$kind" "$cc" "$flag" "$more") >"$log-$cc-$kind" 2>&1; then
			echo "$cc, CUDA $kind: ok"
		else
			echo "$cc, CUDA $kind: FAILED"
			tail -n 30 "$log-$cc-$kind"
			rc=1
		fi
	done
done
exit $rc
