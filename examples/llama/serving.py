# SPDX-License-Identifier: Apache-2.0
"""What agents.py, compare_servers.py and query_table.py share: servers, ours and llama.cpp's, and a plot. Standard library
only."""
import http.client
import json
import math
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time


def machine():
    """What the figures were taken on."""
    name = platform.machine()
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        names = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
    return f"{names[0] if names else name}, {os.cpu_count()} cores"


def ours(binary, model, slots, context, ram_mib, threads, *more):
    """The command line of examples/llama/server/server."""
    return [binary, "-m", model, "-s", str(slots), "-c", str(context), "-t", str(threads), "--queue", "1000",
            "--set", f"max_local_cpu_size={ram_mib * 2**20 / 1e9:.3f}", *more]


def theirs(binary, model, slots, context, ram_mib, threads, *more):
    """The command line of llama-server with as much memory for its own prompt cache."""
    return [binary, "-m", model, "-np", str(slots), "-c", str(slots * context), "-t", str(threads),
            "--cache-ram", str(ram_mib), "--no-ui", *more]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """A process that answers /health; ended by its pid at the end of the with."""

    def __init__(self, command):
        self.port = free_port()
        self.log = tempfile.TemporaryFile()
        env = {k: v for k, v in os.environ.items() if not k.startswith("LLAMA_ARG_")}
        self.process = subprocess.Popen(command + ["--port", str(self.port)], stdout=self.log, stderr=self.log, env=env)
        self.url = f"http://127.0.0.1:{self.port}/v1"
        end = time.monotonic() + 120
        while not self.healthy():
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                sys.exit(f"{command[0]} does not come up: {self.tail()}")
            time.sleep(0.05)

    def healthy(self):
        try:
            return self.process.poll() is None and self.call("GET", "/health")[0] == 200
        except OSError:
            return False

    def tail(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")[-2000:]

    def connection(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)

    def call(self, method, path, body=None):
        """(status, bytes)"""
        c = self.connection()
        try:
            c.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
            answer = c.getresponse()
            return answer.status, answer.read()
        finally:
            c.close()

    def ttft(self, prompt, **fields):
        """Seconds from the request to its first token."""
        body = {"prompt": prompt, "max_tokens": 4, "temperature": 0, "stream": True, **fields}
        c = self.connection()
        begun = time.perf_counter()
        c.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        answer = c.getresponse()
        if answer.status != 200:
            sys.exit(f"{answer.status}: {answer.read()[:500]!r}")
        first = None
        for line in answer:
            if first is None and line.startswith(b"data: {") and json.loads(line[6:])["choices"]:
                first = time.perf_counter() - begun
        c.close()
        if first is None:
            sys.exit("an answer without a token")
        return first

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        self.log.close()


class Plot:
    """An SVG; x logarithmic, y as you like. margins: left, right, top, bottom."""

    def __init__(self, width, height, margins, xs, ys, log_y=True):
        self.width, self.height, self.margins, self.log_y = width, height, margins, log_y
        self.x = [math.log(v) for v in xs]
        self.y = [self.of_y(v) for v in ys]
        self.parts = []

    def of_y(self, v):
        return math.log(v) if self.log_y else v

    def at(self, x, y):
        left, right, top, bottom = self.margins
        return (left + (math.log(x) - self.x[0]) / (self.x[1] - self.x[0]) * (self.width - left - right),
                self.height - bottom - (self.of_y(y) - self.y[0]) / (self.y[1] - self.y[0]) * (self.height - top - bottom))

    def text(self, x, y, s, anchor="middle", colour="#333"):
        s = s.replace("&", "&amp;").replace("<", "&lt;")
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{s}</text>')

    def line(self, points, colour, dash=""):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (self.at(*p) for p in points))
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" {dash}/>')

    def dot(self, x, y, colour):
        x, y = self.at(x, y)
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>')

    def tick_y(self, y, label):
        at = self.at(math.exp(self.x[0]), y)[1]
        self.parts.append(f'<line x1="{self.margins[0]}" y1="{at:.1f}" x2="{self.width - self.margins[1]}" y2="{at:.1f}" '
                          'stroke="#ddd"/>')
        self.text(self.margins[0] - 6, at + 4, label, "end")

    def tick_x(self, x, label):
        self.text(self.at(x, 1)[0], self.height - self.margins[3] + 18, label)

    def round_numbers(self, low, high):
        """1, 2 and 5 times powers of ten between two logarithms."""
        return [m * 10.0 ** e for e in range(-6, 7) for m in (1, 2, 5) if low < math.log(m * 10.0 ** e) < high]

    def ticks_x(self, title):
        for x in self.round_numbers(*self.x):
            self.tick_x(x, f"{x:g}")
        self.name_x(title)

    def name_x(self, title):
        self.text((self.width + self.margins[0]) / 2, self.height - 12, title)

    def svg(self):
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" font-family="sans-serif" '
                f'font-size="12"><rect width="{self.width}" height="{self.height}" fill="white"/>\n'
                + "\n".join(self.parts) + "</svg>\n")
