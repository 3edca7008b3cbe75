#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What query_twice --results wrote, as a table; with --svg FILE also cold and warm over the length of the prompt.

The floor of a load is what moving as many bytes costs this machine at the least, measured in the same run: reads past
the page cache in mode disk, memcpy in the others. "over own slot" is the warm TTFT minus the one with the prefix in
llama.cpp's own sequence.

  query_table.py RESULTS.csv [--markdown] [--svg FILE]
"""
import argparse
import csv
import statistics

import serving

FIELDS = "mode prompt cold warm load resident prefetch loaded bytes copy_rate read_rate".split()
LMCACHE = 44.5  # LMCache's documented improvement, vLLM on an L4 with a prompt of 15376 tokens
W, H, LEFT, RIGHT, TOP, BOTTOM = 720, 440, 70, 20, 40, 60
COLOURS = {"cold": "#c0392b", "ram": "#2471a3", "disk": "#1e8449", "prefetch": "#7d3c98", "remote": "#ca6f1e"}


def read(path):
    with open(path, newline="", encoding="utf-8") as f:
        rows = [dict(zip(FIELDS, row)) for row in csv.reader(f) if row]
    return [{k: v if k == "mode" else float(v) for k, v in row.items()} for row in rows]


def table(rows, markdown):
    head = ("mode", "prompt", "loaded", "MB", "cold s", "warm s", "faster", "own slot s", "load ms", "floor ms", "load / floor",
            "over own slot / floor")
    lines = []
    for r in rows:
        rate = r["read_rate"] if r["mode"] == "disk" else r["copy_rate"]
        floor = r["bytes"] / rate if rate else 0
        lines.append((r["mode"], f"{r['prompt']:.0f}", f"{r['loaded']:.0f}", f"{r['bytes'] / 1e6:.0f}", f"{r['cold']:.3f}",
                      f"{r['warm']:.3f}", f"{r['cold'] / r['warm']:.1f}x", f"{r['resident']:.3f}", f"{r['load'] * 1e3:.1f}",
                      f"{floor * 1e3:.1f}" if floor else "-", f"{r['load'] / floor:.2f}x" if floor else "-",
                      f"{(r['warm'] - r['resident']) / floor:.2f}x" if floor else "-"))
    if markdown:
        return "\n".join("| " + " | ".join(x) + " |" for x in [head, tuple("---" for _ in head)] + lines)
    widths = [max(len(x[i]) for x in [head] + lines) for i in range(len(head))]
    return "\n".join("  ".join(c.rjust(w) for c, w in zip(x, widths)) for x in [head] + lines)


def plot(rows):
    times = [r["cold"] for r in rows] + [r["warm"] for r in rows] + [min(r["cold"] for r in rows) / LMCACHE]
    prompts = sorted({r["prompt"] for r in rows})
    p = serving.Plot(W, H, (LEFT, RIGHT, TOP, BOTTOM), (prompts[0] / 1.15, prompts[-1] * 1.15),
                     (min(times) / 1.3, max(times) * 1.3))
    for y in p.round_numbers(*p.y):
        p.tick_y(y, f"{y:g}")
    for x in prompts:
        p.tick_x(x, f"{x:.0f}")
    p.name_x("tokens of the prompt")
    p.text(LEFT - 50, TOP - 14, "TTFT, seconds", "start")
    cold = {}
    for r in rows:
        cold.setdefault(r["prompt"], []).append(r["cold"])
    curves = [("cold", [(x, statistics.median(v)) for x, v in sorted(cold.items())])]
    for mode in ("ram", "disk", "prefetch", "remote"):
        points = sorted((r["prompt"], r["warm"]) for r in rows if r["mode"] == mode)
        if points:
            curves.append((mode, points))
    for i, (name, points) in enumerate(curves):
        p.line(points, COLOURS[name])
        for q in points:
            p.dot(*q, COLOURS[name])
        p.text(LEFT + 14, TOP + 16 + 16 * i, name if name == "cold" else f"warm, {name}", "start", COLOURS[name])
    p.line([(x, y / LMCACHE) for x, y in curves[0][1]], "#888", 'stroke-dasharray="6 4"')
    p.text(LEFT + 14, TOP + 16 + 16 * len(curves), f"cold / {LMCACHE:g} (dashed)", "start", "#666")
    return p.svg()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--svg")
    args = parser.parse_args()
    rows = read(args.results)
    print(table(rows, args.markdown))
    if args.svg:
        with open(args.svg, "w", encoding="utf-8") as f:
            f.write(plot(rows))


if __name__ == "__main__":
    main()
