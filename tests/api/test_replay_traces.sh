#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Recorded traces: the engine hits what an independent model of its eviction policy hits, and every byte is right.
# KVF_TRACES names the folder of the traces. The first requests only, unless KVF_LONG is set.
set -u
if [ -z "${KVF_TRACES:-}" ]; then
	echo "*** SKIPPED: KVF_TRACES is not set, so no recorded trace was replayed ***"
	exit 77
fi
if ! command -v python3 >/dev/null; then
	echo "*** SKIPPED: no python3 for the model ***"
	exit 77
fi
kvferry=$KVF_BUILDDIR/kvferry
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mooncake=$KVF_TRACES/mooncake/conversation_trace.jsonl
agents=$KVF_TRACES/coding-agent
failed=0
passed=0
skipped=0

# check CONDITION: on what kvferry (j) and the model (m) said
check() {
	if python3 - "$dir/j.json" "$dir/m.json" <<PY
import json, sys
j = json.load(open(sys.argv[1]))
m = json.load(open(sys.argv[2]))
sys.exit(not ($1))
PY
	then
		passed=$((passed + 1))
	else
		echo "FAILED: $1"
		head -c 2000 "$dir/j.json" "$dir/m.json"
		failed=$((failed + 1))
	fi
}

replay() {
	"$kvferry" replay "$@" --quiet --json "$dir/j.json"
	code=$?
	if [ $code -ne 0 ]; then
		echo "FAILED: kvferry replay $*: exit code $code"
		failed=$((failed + 1))
	fi
}

# An operation has 32 chunks in flight (KVF_MOVE_WINDOW), which cannot be evicted: the model's --window. Chunks are so
# small here that one turn copies all 32, as the model has it. MRU alone cares: where they end in smaller lots, the
# later ones push out the earlier ones.
against_model() {
	policy=$1
	chunks=$2
	shift 2
	replay "$mooncake" --chunk-size 512 --token-bytes 8 --concurrency 1 --ram-chunks "$chunks" \
		--policy "$policy" "$@"
	python3 "$KVF_SRCDIR/tests/interop/lru_model.py" --json --policy "$(echo "$policy" | tr '[:upper:]' '[:lower:]')" \
		--window 32 "$@" "$mooncake" "$chunks" >"$dir/m.json"
	check "j['requests'] == m['requests'] and j['prompt_tokens'] == m['prompt_tokens']"
	check "abs(j['hit_rate'] - m['hit_rate']) < 0.001"
	check "j['mismatched_bytes'] == 0 and j['failed_operations'] == 0"
	check "j['retrieved_bytes'] == 8 * j['hit_tokens']"
	check "j['peak_resident_chunks'] <= $chunks"
}

exactly() {
	check "all(j[k] == m[k] for k in ('hit_tokens', 'stored_chunks', 'evicted_chunks', 'peak_resident_chunks'))"
}

if [ ! -f "$mooncake" ]; then
	echo "*** SKIPPED: $mooncake is not there ***"
	skipped=1
elif [ -n "${KVF_LONG:-}" ]; then
	for chunks in 1000 10000 30000; do
		against_model LRU $chunks
		exactly
		for policy in LFU FIFO MRU; do
			against_model $policy $chunks
		done
	done
else
	for chunks in 1000 10000; do
		against_model LRU $chunks --limit 1000
		exactly
		for policy in LFU FIFO MRU; do
			against_model $policy $chunks --limit 1000
		done
	done
	replay "$mooncake" --chunk-size 512 --concurrency 32 --ram-chunks 3000 --limit 1000
	check "j['mismatched_bytes'] == 0 and j['failed_operations'] == 0 and j['requests'] == 1000"
	check "j['retrieved_bytes'] == 64 * j['hit_tokens'] and j['peak_resident_chunks'] <= 3000"
fi

if [ ! -d "$agents" ]; then
	echo "*** SKIPPED: $agents is not there ***"
	skipped=$((skipped + 1))
else
	echo '{}' >"$dir/m.json"
	replay "$agents" --ram 256MiB
	check "j['requests'] > 80 and j['hit_rate'] > 0.9"
	check "j['mismatched_bytes'] == 0 and j['failed_operations'] == 0"
	check "j['retrieved_bytes'] == 64 * j['hit_tokens'] and j['peak_resident_chunks'] <= j['pool_chunks']"
fi
echo "KVF_TESTS: replay_traces passed=$passed failed=$failed skipped=$skipped"
[ $failed -eq 0 ]
