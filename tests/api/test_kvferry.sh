#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The command line of kvferry: exit codes, texts, JSON and timeline, and what a terminal sees.
set -u
kvferry=$KVF_BUILDDIR/kvferry
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
failed=0
passed=0
small='builtin:agentic,sessions=6,turns=4,scale=0.02,prefix=500 --chunk-size 32 --ram 8MiB'

ok() {
	passed=$((passed + 1))
}
fail() {
	echo "FAILED: $*"
	sed 's/^/	/' "$dir/out" "$dir/err" 2>/dev/null | head -20
	failed=$((failed + 1))
}
# expect CODE ARGUMENT...: runs kvferry and compares its exit code
expect() {
	want=$1
	shift
	"$kvferry" "$@" >"$dir/out" 2>"$dir/err" </dev/null
	got=$?
	if [ $got -eq "$want" ]; then ok; else fail "kvferry $*: exit code $got, not $want"; fi
}
says() {
	if grep -qe "$2" "$dir/$1"; then ok; else fail "kvferry says nothing of '$2'"; fi
}
valid() {
	if python3 -m json.tool "$1" >/dev/null 2>"$dir/err"; then ok; else fail "$1 is no JSON"; fi
}
# figure FILE EXPRESSION: a condition on the JSON object j
figure() {
	if python3 -c "import json, sys; j = json.load(open(sys.argv[1])); sys.exit(not ($2))" "$1"; then
		ok
	else
		fail "$2"
	fi
}

expect 2
says err 'usage: kvferry COMMAND'
expect 0 help
says out replay
expect 0 --help
expect 0 version
says out 'kvferry [0-9]'
expect 0 --version
expect 2 nonsense
says err "unknown command 'nonsense'"
for command in replay bench config doctor hash; do
	expect 0 help $command
	says out "usage: kvferry $command"
	expect 0 $command --help
done

# Usage errors name the option, the value and the bound.
expect 2 replay
says err 'no trace'
expect 2 replay builtin:scan --chunk-size 0
says err "chunk-size: '0' is no number from 1"
expect 2 replay builtin:scan --chunk-size 24
says err 'multiple or a divisor'
expect 2 replay builtin:scan --ram 12parsecs
says err 'is no size'
expect 2 replay builtin:scan --ram 1GiB --ram-chunks 5
expect 2 replay builtin:scan --speed fast
expect 2 replay builtin:scan --speed -1
expect 2 replay builtin:scan --control everything
expect 2 replay builtin:scan --local-cpu maybe
expect 2 replay builtin:scan --format parquet
expect 2 replay builtin:scan --set novalue
expect 2 replay builtin:scan --unknown
says err "unknown option '--unknown'"
expect 2 bench
expect 2 bench nothing
expect 2 bench lookup --slices 0

# What is wrong with the world is 1.
expect 2 replay builtin:scan --device vulkan
expect 2 bench lookup --device cuda
# Where there are GPUs they are hidden.
CUDA_VISIBLE_DEVICES=
export CUDA_VISIBLE_DEVICES
expect 1 replay builtin:scan --device cuda
says err '--device cuda: KVF_E\(NODEV\|DRIVER\): '
expect 1 bench copy --short --device cuda
says err '--device cuda: KVF_E\(NODEV\|DRIVER\): '
unset CUDA_VISIBLE_DEVICES
expect 1 replay "$dir/absent.jsonl"
says err absent.jsonl
expect 1 replay builtin:scan --ram-chunks 3
says err 'does not open'
# Less memory than was asked for: an error, at open or as soon as the pool stops growing.
expect 1 replay builtin:scan --ram 8TiB
says err 'memory'
if (ulimit -v 2000000) 2>/dev/null && [ -z "${KVF_SANITIZERS:-}" ]; then
	(ulimit -v 2000000 && exec timeout 60 "$kvferry" replay builtin:scan --ram 4GiB) >"$dir/out" 2>"$dir/err"
	if [ $? -eq 1 ]; then ok; else fail "a pool that cannot grow"; fi
fi
printf '{"timestamp": 0, "input_length": 5}\n' >"$dir/broken.jsonl"
expect 1 replay "$dir/broken.jsonl" --format mooncake
says err broken.jsonl:1
# shellcheck disable=SC2086 # a list of words
expect 1 replay $small --json /nowhere/at/all
says err /nowhere/at/all

# shellcheck disable=SC2086
expect 0 replay $small --limit 30 --compare --json "$dir/r.json" --timeline "$dir/t.json"
says out 'cache off'
says out '0 B wrong'
if grep -q "$(printf '\033')" "$dir/out"; then fail "escape sequences in a file"; else ok; fi
# shellcheck disable=SC2086
expect 0 replay $small --limit 5 --json - --quiet
cp "$dir/out" "$dir/stdout.json"
if command -v python3 >/dev/null; then
	valid "$dir/r.json"
	valid "$dir/t.json"
	valid "$dir/stdout.json"
	for key in requests prompt_tokens hit_tokens hit_rate retrieved_bytes mismatched_bytes stored_chunks \
		evicted_chunks peak_resident_chunks device_copies wall_seconds cpu_seconds turn_cpu_ns_p50 \
		turn_cpu_ns_p999 turn_cpu_ns_max lookup_ns_p50 lookup_ns_p99 peak_rss_bytes tiers; do
		figure "$dir/r.json" "'$key' in j"
	done
	figure "$dir/r.json" "j['mismatched_bytes'] == 0 and j['failed_operations'] == 0"
	figure "$dir/r.json" "j['hit_tokens'] > 0 and j['retrieved_bytes'] == 64 * j['hit_tokens']"
	figure "$dir/r.json" "j['computed_tokens'] + j['hit_tokens'] == j['prompt_tokens']"
	figure "$dir/r.json" "j['cache_off']['computed_tokens'] == j['prompt_tokens']"
	figure "$dir/r.json" "j['peak_resident_chunks'] <= j['pool_chunks'] == (8 << 20) // 8192"
	figure "$dir/t.json" "isinstance(j, list) and len(j) > 10 and all('ph' in e for e in j)"
	figure "$dir/t.json" "any(e['ph'] == 'X' and e['dur'] >= 0 for e in j)"
fi
# shellcheck disable=SC2086
expect 0 replay $small --limit 30 --timeline "$dir/t.json" --timeline-limit 4KiB
says out 'timeline.*the first'
if [ "$(wc -c <"$dir/t.json")" -lt 200000 ]; then ok; else fail "the timeline goes on"; fi
command -v python3 >/dev/null && valid "$dir/t.json"

for control in pool-flip drop-salt; do
	# shellcheck disable=SC2086
	expect 1 replay $small --limit 30 --control $control --json "$dir/c.json"
	command -v python3 >/dev/null && figure "$dir/c.json" "j['mismatched_bytes'] > 0 and j['failed_operations'] == 0"
done
expect 1 replay builtin:agentic,sessions=6,turns=4,scale=0.02,prefix=500 --chunk-size 1 --block-tokens 1 \
	--ram-chunks 20000 --control short-key --limit 30 --json "$dir/c.json"
command -v python3 >/dev/null && figure "$dir/c.json" "j['mismatched_bytes'] > 0 and j['failed_operations'] == 0"

# A configuration of LMCache.
printf 'chunk_size: 64\nlocal_cpu: true\nmax_local_cpu_size: 0.01\n' >"$dir/lmcache.yaml"
expect 0 replay builtin:scan,hot=2,rounds=1 --config "$dir/lmcache.yaml" --set save_unfull_chunk=true
says out '0 B wrong'
expect 1 replay builtin:scan --config "$dir/absent.yaml"

# On a terminal: colours, unless NO_COLOR forbids them, and a progress bar that is gone at the end.
if script -qec true /dev/null >/dev/null 2>&1; then
	script -qec "env -u NO_COLOR '$kvferry' replay $small --limit 30" /dev/null >"$dir/out" 2>&1 </dev/null
	if grep -q "$(printf '\033\\[1m')" "$dir/out"; then ok; else fail "no colours on a terminal"; fi
	script -qec "env NO_COLOR=1 '$kvferry' replay $small --limit 30" /dev/null >"$dir/out" 2>&1 </dev/null
	if grep -q "$(printf '\033')" "$dir/out"; then fail "colours in spite of NO_COLOR"; else ok; fi
fi
# A full disk under standard output.
if [ -e /dev/full ]; then
	"$kvferry" help >/dev/full 2>"$dir/err"
	if [ $? -eq 1 ]; then ok; else fail "a full disk goes unnoticed"; fi
fi
echo "KVF_TESTS: kvferry_command passed=$passed failed=$failed skipped=0"
[ $failed -eq 0 ]
