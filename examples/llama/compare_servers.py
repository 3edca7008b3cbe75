#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The time to the first token of a conversation that comes back: examples/llama/server beside llama-server, which keeps
prompts of its own in RAM (--cache-ram) and can save a slot to a file.

  compare_servers.py --server BIN --llama-server BIN --model FILE.gguf --text FILE [OPTION]...
  compare_servers.py --table FILE.jsonl

A long prompt is asked cold, then after 1, 10 and 30 other conversations (as long, cut from elsewhere in the text), then
after a restart. Model, prompts, slots, threads and RAM of the cache are the same; one server runs after the other. What
kvferry does not keep in RAM it keeps on disk; the only thing of llama-server that outlives its process is a slot that
somebody saved to a file by name and restores by name, both counted here in "restart, slot file". What the servers wrote
is not in the page cache after the restart. A round takes about two minutes on two cores; rounds are added to --results,
and the table has their medians. llama-server: `get_llama.py library DIR --server`. Standard library only.
"""
import argparse
import json
import os
import statistics
import sys
import tempfile
import time

import serving

COLUMNS = ("cold", "after 1", "after 10", "after 30", "restart", "restart, slot file")
NAMES = {"ours": "kvferry's example server", "theirs": "llama-server"}


def prompts(path, n, characters, skip):
    """The first is the conversation that comes back."""
    with open(path, encoding="utf-8", errors="replace") as f:
        text = " ".join(f.read().split())[skip:]
    if len(text) < n * characters:
        sys.exit(f"{path}: has {len(text)} characters behind the first {skip}, {n} prompts of {characters} are wanted")
    return [text[i * characters:(i + 1) * characters] + "\n\nSummarize this." for i in range(n)]


def progress(name, what, seconds):
    print(f"  {NAMES[name]}, {what}: {seconds:.3f} s", file=sys.stderr, flush=True)


def drop_page_cache(folder):
    os.sync()
    for where, _, files in os.walk(folder):
        for f in files:
            fd = os.open(os.path.join(where, f), os.O_RDONLY)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)


def in_one_life(name, server, texts):
    result = {"cold": server.ttft(texts[0])}
    progress(name, "cold", result["cold"])
    done = 1
    for others in (1, 10, 30):
        for t in texts[done:others + 1]:
            server.ttft(t)
        done = others + 1
        result[f"after {others}"] = server.ttft(texts[0])
        progress(name, f"after {others}", result[f"after {others}"])
    return result


def slot_file(server, action):
    status, answer = server.call("POST", f"/slots/0?action={action}", {"filename": "slot.bin"})
    if status != 200:
        sys.exit(f"llama-server cannot {action} a slot: {answer[:500]!r}")


def series(name, command, texts, folder):
    """{what: seconds}"""
    with serving.Server(command) as server:
        result = in_one_life(name, server, texts)
        if name == "theirs":
            server.ttft(texts[0], id_slot=0)
            slot_file(server, "save")
        else:
            time.sleep(1)       # what was computed last goes to disk
    drop_page_cache(folder)
    with serving.Server(command) as server:
        result["restart"] = server.ttft(texts[0])
        progress(name, "restart", result["restart"])
    if name == "theirs":
        drop_page_cache(folder)
        with serving.Server(command) as server:
            begun = time.perf_counter()
            slot_file(server, "restore")
            server_side = time.perf_counter() - begun
            result["restart, slot file"] = server_side + server.ttft(texts[0], id_slot=0)
            progress(name, "restart, slot file", result["restart, slot file"])
    return result


def table(path):
    with open(path, encoding="utf-8") as f:
        rounds = [json.loads(line) for line in f if line.strip()]
    groups = {}
    for r in rounds:
        groups.setdefault((r["machine"], r["model"], r["slots"], r["characters"], r["ram"]), []).append(r)
    for (where, model, slots, characters, ram), rs in groups.items():
        print(f"{model}, {where}, {slots} slots, prompts of {characters} characters, {ram} MiB of RAM for the cache; seconds, "
              f"medians of {len(rs)} rounds\n")
        print("| server | " + " | ".join(COLUMNS) + " |\n|" + "---|" * (len(COLUMNS) + 1))
        for name, words in NAMES.items():
            cells = []
            for c in COLUMNS:
                v = [r["results"][name][c] for r in rs if c in r["results"].get(name, {})]
                cells.append(f"{statistics.median(v):.3f}" if v else "-")
            print(f"| {words} | " + " | ".join(cells) + " |")
        print()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server")
    parser.add_argument("--llama-server")
    parser.add_argument("--model")
    parser.add_argument("--text")
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--characters", type=int, default=4000, help="of a prompt")
    parser.add_argument("--skip", type=int, default=0, help="characters of the text, so that rounds have prompts of their own")
    parser.add_argument("--context", type=int, default=4096, help="tokens of a slot")
    parser.add_argument("--ram", type=int, default=2048, help="MiB of the cache")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--dir", help="where the servers' folder for files is made, which should be on a disk")
    parser.add_argument("--results", help="the figures are added to this file")
    parser.add_argument("--table", help="only show what such a file has")
    args = parser.parse_args()
    if args.table:
        return table(args.table)
    if not (args.server and args.llama_server and args.model and args.text):
        parser.error("--server, --llama-server, --model and --text are wanted")
    texts = prompts(args.text, 31, args.characters, args.skip)
    common = args.model, args.slots, args.context, args.ram, args.threads
    results = {}
    with tempfile.TemporaryDirectory(dir=args.dir) as tmp:
        results["ours"] = series("ours", serving.ours(args.server, *common, "--set", f"local_disk={tmp}", "--set",
                                                      "max_local_disk_size=8"), texts, tmp)
    with tempfile.TemporaryDirectory(dir=args.dir) as tmp:
        results["theirs"] = series("theirs", serving.theirs(args.llama_server, *common, "--slot-save-path", tmp), texts, tmp)
    line = {"machine": serving.machine(), "model": os.path.basename(args.model), "slots": args.slots,
            "characters": args.characters, "ram": args.ram, "results": results}
    if args.results:
        with open(args.results, "a", encoding="utf-8") as f:
            f.write(json.dumps(line) + "\n")
        return table(args.results)
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as f:
        f.write(json.dumps(line))
        f.flush()
        return table(f.name)


if __name__ == "__main__":
    main()
