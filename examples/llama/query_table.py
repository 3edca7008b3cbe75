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
import math

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


class Plot:
    """Logarithmic both ways."""

    def __init__(self, rows):
        xs = [r["prompt"] for r in rows]
        ys = [r["cold"] for r in rows] + [r["warm"] for r in rows] + [min(r["cold"] for r in rows) / LMCACHE]
        self.x0, self.x1 = math.log(min(xs) / 1.15), math.log(max(xs) * 1.15)
        self.y0, self.y1 = math.log(min(ys) / 1.3), math.log(max(ys) * 1.3)
        self.parts = []

    def at(self, x, y):
        return (LEFT + (math.log(x) - self.x0) / (self.x1 - self.x0) * (W - LEFT - RIGHT),
                H - BOTTOM - (math.log(y) - self.y0) / (self.y1 - self.y0) * (H - TOP - BOTTOM))

    def text(self, x, y, s, anchor="middle", colour="#333"):
        s = s.replace("&", "&amp;").replace("<", "&lt;")
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{s}</text>')

    def line(self, points, colour, dash=""):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (self.at(*p) for p in points))
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" {dash}/>')

    def grid(self, rows):
        for tick in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500):
            if self.y0 < math.log(tick) < self.y1:
                y = self.at(1, tick)[1]
                self.parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{W - RIGHT}" y2="{y:.1f}" stroke="#ddd"/>')
                self.text(LEFT - 6, y + 4, f"{tick:g}", "end")
        for x in sorted({r["prompt"] for r in rows}):
            self.text(self.at(x, 1)[0], H - BOTTOM + 18, f"{x:.0f}")
        self.text((W + LEFT) / 2, H - 14, "tokens of the prompt")
        self.text(LEFT - 50, TOP - 14, "TTFT, seconds", "start")

    def svg(self):
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {W} {H}" font-family="sans-serif" font-size="12">'
                f'<rect width="{W}" height="{H}" fill="white"/>' + "\n".join(self.parts) + "</svg>\n")


def plot(rows):
    p = Plot(rows)
    p.grid(rows)
    cold = {}
    for r in rows:
        cold.setdefault(r["prompt"], []).append(r["cold"])
    curves = [("cold", [(x, sorted(v)[len(v) // 2]) for x, v in sorted(cold.items())])]
    for mode in ("ram", "disk", "prefetch", "remote"):
        points = sorted((r["prompt"], r["warm"]) for r in rows if r["mode"] == mode)
        if points:
            curves.append((mode, points))
    for i, (name, points) in enumerate(curves):
        p.line(points, COLOURS[name])
        for q in points:
            x, y = p.at(*q)
            p.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{COLOURS[name]}"/>')
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
