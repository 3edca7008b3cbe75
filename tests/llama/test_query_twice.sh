#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# query_twice in every mode with a model of random weights: each run proves that a loaded prompt computes what a cold one
# does, bit for bit. The controls: a flipped bit shows. What the adapter must refuse, it refuses with a reason.
set -u
query=$KVF_BUILDDIR/examples/llama/query_twice
if [ ! -x "$query" ]; then
	echo "skipped: configured without --with-llama"
	exit 77
fi
dir=$(mktemp -d)
server=
clean() {
	if [ -n "$server" ]; then
		kill "$server" 2>/dev/null
		wait "$server" 2>/dev/null
	fi
	rm -rf "$dir"
}
trap clean EXIT
passed=0 failed=0 skipped=0
text=$KVF_SRCDIR/include/kvferry/kvferry.h
model=$dir/random.gguf
make_model() { python3 "$KVF_SRCDIR/examples/llama/make_model.py" "$@"; }
make_model "$model" || exit 1

# check NAME PATTERN STATUS ARGUMENTS...: how it ends, and a line of what it says
check() {
	name=$1 pattern=$2 status=$3
	shift 3
	"$query" --text "$text" --threads 1 --tokens 1500 --answer 12 --repeat 2 --quiet "$@" >"$dir/out" 2>&1
	rc=$?
	if [ $rc -eq "$status" ] && grep -q "$pattern" "$dir/out"; then
		passed=$((passed + 1))
		return
	fi
	echo "FAILED: $name: status $rc, wanted $status and '$pattern'"
	cat "$dir/out"
	failed=$((failed + 1))
}

proof='^Proof: max |delta logit| = 0, greedy answers equal'
for mode in ram disk prefetch; do
	mkdir "$dir/$mode"
	check "$mode" "$proof" 0 --model "$model" --mode $mode --dir "$dir/$mode"
done
# The last chunk too, though it is not full; nothing but the last token is computed then.
mkdir "$dir/unfull" "$dir/control"
LMCACHE_SAVE_UNFULL_CHUNK=true
export LMCACHE_SAVE_UNFULL_CHUNK
check unfull 'computed: 1$' 0 --model "$model" --mode disk --dir "$dir/unfull"
unset LMCACHE_SAVE_UNFULL_CHUNK
# What loads are compared with is measured in the same run: reads of the cache's own files, where they can be direct.
segment=$(find "$dir/unfull" -type f -size +64k | head -n 1)
for rate in 'memcpy' 'direct reads of the same files'; do
	if [ "$rate" != memcpy ] && ! dd if="$segment" of=/dev/null bs=64k count=1 iflag=direct 2>/dev/null; then
		echo "$rate: not on this file system"
	elif ! grep -q "^  $rate of as many bytes: [0-9.]* seconds at [0-9.]* GB/s; load [0-9.]*x" "$dir/out"; then
		echo "FAILED: unfull: no line of '$rate'"
		cat "$dir/out"
		failed=$((failed + 1))
	fi
done
# The same place, another tenant: nothing of it is seen. The same tenant: it is not cold, and query_twice says so.
check salt "$proof" 0 --model "$model" --mode disk --dir "$dir/disk" --salt other
check not-cold 'NOT COLD' 1 --model "$model" --mode disk --dir "$dir/disk" --salt other
# Other weights under the same name are another model.
make_model "$dir/other.gguf" --seed 2
check other-weights "$proof" 0 --model "$dir/other.gguf" --mode disk --dir "$dir/disk"
check control 'on disk: 256 of .*: found and computed again' 0 --model "$model" --control --dir "$dir/control"
if ! grep -q 'in RAM, unchecked: .* it shows' "$dir/out"; then
	echo "FAILED: control: the flipped bit did not show"
	failed=$((failed + 1))
fi
# Sliding windows, with the whole window cached; models without KV of tokens.
if make_model "$dir/swa.gguf" --swa 512; then
	check sliding-window "$proof" 0 --model "$dir/swa.gguf" --mode ram
fi
if make_model "$dir/recurrent.gguf" --recurrent; then
	check recurrent 'a recurrent model keeps one state' 1 --model "$dir/recurrent.gguf" --mode ram
fi
check no-model 'cannot load it' 1 --model "$text" --mode ram

if command -v redis-server >/dev/null; then
	redis-server --port 0 --unixsocket "$dir/redis.sock" --dir "$dir" --save '' >"$dir/redis.log" 2>&1 &
	server=$!
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		[ -S "$dir/redis.sock" ] && break
		sleep 0.2
	done
	check remote "$proof" 0 --model "$model" --mode remote --url "unix://$dir/redis.sock"
elif [ -n "${KVF_REQUIRE_SERVERS:-}" ]; then
	echo "FAILED: remote: no redis-server here"
	failed=$((failed + 1))
else
	echo "remote: no redis-server here"
	skipped=1
fi
echo "KVF_TESTS: llama_query_twice passed=$passed failed=$failed skipped=$skipped"
[ $failed -eq 0 ]
