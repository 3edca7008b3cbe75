#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Agents through OpenAI's client: conversations with one system prompt, tools between their turns, few slots.

  agents.py --server BIN --model FILE.gguf [--llama-server BIN] [--variants off,on,llama-server] [OPTION]...
  agents.py --table FILE.json [--svg FILE]

Every conversation asks, has its answer streamed, lets a tool work for a while, and goes on with the tool's result. All run
at a time, so that slots are always fewer than conversations. The same conversations, with the same pauses, are led with
every variant in turn, each with a new server: "off" and "on", examples/llama/server without and with its cache;
"llama-server", llama.cpp's own server with as much RAM for its prompt cache. The time to first token is counted from the
request, waiting for a slot included. Answers are of a fixed length. Needs the package `openai`; --results keeps the figures
of several runs, --svg draws them.
"""
import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import time

import serving

try:
    import openai
except ImportError:
    openai = None

NAMES = {"off": "no cache", "on": "kvferry", "llama-server": "llama-server"}
COLOURS = {"off": "#c0392b", "on": "#1e8449", "llama-server": "#ca6f1e"}
WORDS = """file line error test build server branch commit value index table query cache token model path list map key node
    read write open close merge check parse print start stop retry user order price count total first last next""".split()


def words(rng, n):
    """Some text of about n tokens, which looks like what tools print."""
    return " ".join(rng.choice(WORDS) + ("\n" if rng.random() < 0.1 else "") for _ in range(n))


class Conversation:
    """What it says and how long its tools work is the same in every variant."""

    def __init__(self, number, args):
        rng = random.Random(1000 + number)
        system = words(random.Random(args.seed), args.system)
        self.messages = [{"role": "system", "content": "You are an agent with tools.\n" + system}]
        self.said = [f"Task {number}: " + words(rng, args.turn) for _ in range(args.turns)]
        self.pauses = [rng.uniform(0.5, 1.5) * args.gap for _ in range(args.turns)]

    async def turn(self, client, model, args, n):
        """(seconds to the first token, tokens of the prompt, of these cached)"""
        self.messages.append({"role": "user", "content": self.said[n]})
        text, first, usage = "", None, None
        begun = time.perf_counter()
        stream = await client.chat.completions.create(
            model=model, messages=self.messages, stream=True, temperature=0, max_tokens=args.answer,
            stream_options={"include_usage": True}, extra_body={"ignore_eos": True})
        async for part in stream:
            usage = part.usage or usage
            if part.choices and part.choices[0].delta.content:
                first = first or time.perf_counter() - begun
                text += part.choices[0].delta.content
        self.messages.append({"role": "assistant", "content": text})
        if first is None:       # nothing that can be shown: then it came with the end
            first = time.perf_counter() - begun
        details = getattr(usage, "prompt_tokens_details", None)
        return first, usage.prompt_tokens, getattr(details, "cached_tokens", None) or 0

    async def run(self, client, model, args, result):
        await asyncio.sleep(self.pauses[0] / 2)
        for n in range(args.turns):
            first, prompt, cached = await self.turn(client, model, args, n)
            result["ttft"].append(round(first, 6))
            result["prompt_tokens"] += prompt
            result["cached_tokens"] += cached
            if n + 1 < args.turns:
                await asyncio.sleep(self.pauses[n])


def show(variant, result, args, begun, end):
    v = result["ttft"]
    mean = f", mean TTFT {statistics.mean(v):.3f} s" if v else ""
    print(f"  {NAMES[variant]}: {len(v)} of {args.conversations * args.turns} turns, {time.perf_counter() - begun:.0f} s{mean}   ",
          end=end, file=sys.stderr, flush=True)


async def show_progress(variant, result, args, begun):
    here = sys.stderr.isatty()
    while True:
        await asyncio.sleep(0.5 if here else 10)
        show(variant, result, args, begun, "\r" if here else "\n")


async def lead_all(variant, url, args):
    result = {"ttft": [], "prompt_tokens": 0, "cached_tokens": 0}
    conversations = [Conversation(i, args) for i in range(args.conversations)]
    begun = time.perf_counter()
    progress = asyncio.create_task(show_progress(variant, result, args, begun))
    try:
        async with openai.AsyncOpenAI(api_key="unused", base_url=url, max_retries=0, timeout=600) as client:
            model = (await client.models.list()).data[0].id
            await asyncio.gather(*(c.run(client, model, args, result) for c in conversations))
    finally:
        progress.cancel()
    show(variant, result, args, begun, "\n")
    result["seconds"] = round(time.perf_counter() - begun, 3)
    return result


def command(variant, args):
    common = args.model, args.slots, args.context, args.ram, args.threads
    if variant == "llama-server":
        return serving.theirs(args.llama_server, *common)
    settings = ["--set", f"chunk_size={args.chunk}", "--set", "save_decode_cache=true"]
    return serving.ours(args.server, *common, *(["--no-cache"] if variant == "off" else settings))


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def table(data):
    w = data["what"]
    print(f"{w['model']}, {w['machine']}: {w['conversations']} conversations of {w['turns']} turns on {w['slots']} slots, "
          f"a system prompt of about {w['system']} words, {w['turn']} more a turn, {w['answer']} tokens an answer, tools that take "
          f"{w['gap']:g} s, {w['threads']} threads, chunks of {w['chunk']} tokens, {w['ram']} MiB of RAM for the cache\n")
    print("| | mean TTFT | median | 95th percentile | turns | prompt tokens | cached | whole run |\n|" + "---|" * 8)
    runs = data["runs"]
    for v in [v for v in NAMES if v in runs]:
        r = runs[v]
        print(f"| {NAMES[v]} | {statistics.mean(r['ttft']):.3f} s | {statistics.median(r['ttft']):.3f} s | "
              f"{percentile(r['ttft'], 0.95):.3f} s | {len(r['ttft'])} | {r['prompt_tokens']} | "
              f"{100 * r['cached_tokens'] / r['prompt_tokens']:.0f} % | {r['seconds']:.0f} s |")
    print()
    for v in [v for v in ("off", "llama-server") if v in runs and "on" in runs]:
        print(f"mean TTFT against {NAMES[v]}: {statistics.mean(runs[v]['ttft']) / statistics.mean(runs['on']['ttft']):.1f}x lower")


def svg(data):
    """How many of the turns had their first token by then: a curve a variant."""
    width, height, left, right, top, bottom = 720, 380, 60, 20, 30, 50
    runs = data["runs"]
    every = [t for r in runs.values() for t in r["ttft"]]
    plot = serving.Plot(width, height, (left, right, top, bottom), (min(every) / 1.3, max(every) * 1.3), (0, 1), log_y=False)
    for share in (0, 0.25, 0.5, 0.75, 1):
        plot.tick_y(share, f"{100 * share:.0f} %")
    plot.ticks_x("seconds to the first token")
    plot.text(left, top - 12, "turns that had their first token", "start")
    for i, v in enumerate(v for v in NAMES if v in runs):
        values = sorted(runs[v]["ttft"])
        points, n = [(values[0], 0)], len(values)
        for k, x in enumerate(values):
            points += [(x, k / n), (x, (k + 1) / n)]
        plot.line(points, COLOURS[v])
        plot.text(left + 14, top + 18 + 16 * i, f"{NAMES[v]}: mean {statistics.mean(values):.3f} s", "start", COLOURS[v])
    return plot.svg()


def write(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server")
    parser.add_argument("--llama-server")
    parser.add_argument("--model")
    parser.add_argument("--variants", help="of off, on and llama-server; which to run now [all whose server is given]")
    parser.add_argument("--conversations", type=int, default=20)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--context", type=int, default=4096, help="tokens of a slot")
    parser.add_argument("--system", type=int, default=800, help="words of the system prompt")
    parser.add_argument("--turn", type=int, default=60, help="words of a tool's result")
    parser.add_argument("--chunk", type=int, default=64, help="tokens of a chunk: a turn computes up to one again")
    parser.add_argument("--answer", type=int, default=16, help="tokens of an answer")
    parser.add_argument("--gap", type=float, default=8, help="seconds a tool works, on average")
    parser.add_argument("--ram", type=int, default=2048, help="MiB of the cache")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", help="JSON; what is there and not run now stays")
    parser.add_argument("--table", help="only show such a file")
    parser.add_argument("--svg", help="draw it")
    args = parser.parse_args()
    if args.table:
        with open(args.table, encoding="utf-8") as f:
            data = json.load(f)
    else:
        data = measure(parser, args)
    table(data)
    if args.svg:
        write(args.svg, svg(data))


def measure(parser, args):
    if openai is None:
        sys.exit("agents.py: the package `openai` is not installed: pip install openai")
    variants = args.variants.split(",") if args.variants else ["off", "on"] + ["llama-server"] * bool(args.llama_server)
    if not args.server or not args.model or set(variants) - set(NAMES):
        parser.error("--server and --model are wanted; variants are " + ", ".join(NAMES))
    if "llama-server" in variants and not args.llama_server:
        parser.error("--llama-server is wanted")
    what = {k: getattr(args, k) for k in "conversations turns slots context system turn chunk answer gap ram threads seed".split()}
    what.update(model=os.path.basename(args.model), machine=serving.machine())
    data = {"what": what, "runs": {}}
    if args.results and os.path.exists(args.results):
        with open(args.results, encoding="utf-8") as f:
            old = json.load(f)
        if old["what"] == what:
            data = old
    for v in variants:
        with serving.Server(command(v, args)) as server:
            data["runs"][v] = asyncio.run(lead_all(v, server.url, args))
        if args.results:
            write(args.results, json.dumps(data) + "\n")
    return data


if __name__ == "__main__":
    main()
