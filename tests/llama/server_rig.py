# SPDX-License-Identifier: Apache-2.0
"""Starts examples/llama/server on a model with random weights and talks to it. Standard library only."""
import atexit
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

BUILD = os.environ.get("KVF_BUILDDIR", "b")
SOURCE = os.environ.get("KVF_SRCDIR", ".")
DRIVERS = ("server", "server_poll")     # libev, and a loop of its own
SKIPPED = 77
CHUNK = 64                              # tokens; a token is a byte with this model
PIECE = 32

_dir = None


def folder():
    global _dir
    if _dir is None:
        _dir = tempfile.mkdtemp(prefix="kvferry-llama.")
        atexit.register(shutil.rmtree, _dir, True)
    return _dir


def program(driver):
    return os.path.join(BUILD, "examples", "llama", "server", driver)


def need_servers():
    """Ends the test where they were not built."""
    missing = [d for d in DRIVERS if not os.path.exists(program(d))]
    if missing:
        print("SKIP: examples/llama/server is not built: configure --with-llama=DIR, libmicrohttpd-dev, libjansson-dev")
        sys.exit(SKIPPED)


def model():
    path = os.path.join(folder(), "random.gguf")
    if not os.path.exists(path):
        subprocess.run([sys.executable, os.path.join(SOURCE, "examples", "llama", "make_model.py"), path], check=True)
    return path


def until(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.01)


class Server:
    def __init__(self, driver, *args, slots=4, context=2048, cache=True, quiet=True):
        self.quiet = quiet      # it must not have logged anything
        self.log = tempfile.NamedTemporaryFile(dir=folder(), delete=False)
        command = [program(driver), "-m", model(), "--name", "random", "-p", "0", "-s", str(slots), "-c", str(context),
                   "--piece", str(PIECE), "-t", "1", "--set", f"chunk_size={CHUNK}", "--set", "max_local_cpu_size=0.125"]
        command += [] if cache else ["--no-cache"]
        env = {k: v for k, v in os.environ.items() if not k.startswith("LMCACHE_")}
        self.process = subprocess.Popen(command + list(args), stdout=subprocess.PIPE, stderr=self.log, env=env)
        line = self.process.stdout.readline().decode()
        if "http://" not in line:
            raise AssertionError("the server does not start: " + self.errors())
        self.port = int(line.split("http://", 1)[1].split(",")[0].rsplit(":", 1)[1])

    def errors(self):
        with open(self.log.name, encoding="utf-8", errors="replace") as f:
            return f.read()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.stop()
        self.log.close()
        if kind is None:
            assert self.process.returncode == 0, f"the server ended with {self.process.returncode}: {self.errors()}"
            assert not self.quiet or self.errors() == "", self.errors()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    # ---- talking ----

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def raw(self, receive_buffer=None):
        s = socket.socket()
        if receive_buffer:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        s.settimeout(120)
        s.connect(("127.0.0.1", self.port))
        return s

    def request(self, method, path, body=None, connection=None, headers=None):
        """(status, headers, bytes)"""
        c = connection or self.connect()
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        c.request(method, path, body, headers or {})
        r = c.getresponse()
        out = r.status, r.headers, r.read()
        if not connection:
            c.close()
        return out

    def get(self, path):
        status, _, body = self.request("GET", path)
        assert status == 200, (path, status, body)
        return body.decode()

    def post(self, path, **fields):
        status, _, body = self.request("POST", path, fields)
        assert status == 200, (path, status, body)
        return json.loads(body)

    def complete(self, prompt, n=16, **fields):
        """The text of a greedy answer, and how many tokens of the prompt were cached."""
        j = self.post("/v1/completions", prompt=prompt, max_tokens=n, **{"temperature": 0, "ignore_eos": True, **fields})
        return j["choices"][0]["text"], j["usage"]["prompt_tokens_details"]["cached_tokens"]

    def begin_stream(self, prompt, n=16, path="/v1/completions", **fields):
        """A connection whose answer has begun, and its response."""
        c = self.connect()
        body = {"temperature": 0, "ignore_eos": True, **fields, "stream": True, "max_tokens": n}
        body["prompt" if path.endswith("v1/completions") else "messages"] = prompt
        c.request("POST", path, json.dumps(body))
        return c, c.getresponse()

    def stream(self, prompt, n=16, **fields):
        """All events of an answer."""
        c, r = self.begin_stream(prompt, n, **fields)
        assert r.status == 200, (r.status, r.read())
        assert r.headers["Content-Type"] == "text/event-stream", r.headers["Content-Type"]
        out = list(events(r))
        c.close()
        return out

    def metrics(self):
        """Name with labels: value. Every line must be one of the format's."""
        out = {}
        for line in self.get("/metrics").splitlines():
            if line and not line.startswith("# "):
                name, value = line.rsplit(" ", 1)
                assert name not in out, name
                out[name] = float(value)
        return out

    def metric(self, name):
        return self.metrics()[name]

    def ended(self, result):
        return self.metric(f'kvferry_server_requests_total{{result="{result}"}}')

    def idle(self):
        m = self.metrics()
        return m["kvferry_server_requests_running"] == 0 and m["kvferry_server_requests_waiting"] == 0


class HungRedis:
    """Greets, and then never answers anything."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self.listener.getsockname()[1]}"
        self.asked = threading.Event()
        self.clients = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.clients.append(client)
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with client:
            while True:
                try:
                    data = client.recv(65536)
                except OSError:
                    return
                if not data:
                    return
                if b"EXISTS" in data.upper() or b"GET" in data.upper():
                    self.asked.set()
                elif b"HELLO" in data.upper():
                    client.sendall(b"-ERR unknown command 'HELLO'\r\n")
                else:
                    client.sendall(b"+OK\r\n")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.die()

    def die(self):
        """What it owes will never come: whoever waits for it may stop."""
        self.listener.close()
        for c in self.clients:
            try:
                c.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass        # gone already


def events(response):
    """The objects of a stream, which must end with [DONE]."""
    done = False
    for line in response:
        line = line.rstrip(b"\r\n")
        if not line:
            continue
        assert line.startswith(b"data: ") and not done, line
        done = line == b"data: [DONE]"
        if not done:
            yield json.loads(line[6:])
    assert done, "the stream ended without [DONE]"


def prompt_of(n, seed):
    """n printable bytes that look like text, different for every seed from the first one on."""
    words, x = [], seed * 2654435761 % 4294967296
    while sum(len(w) + 1 for w in words) < n + 8:
        x = (x * 1103515245 + 12345) % 4294967296
        words.append("".join(chr(97 + (x >> s) % 26) for s in range(4, 4 + 3 + x % 6)))
    return " ".join(words)[:n]


def run_tests(tests, each):
    """Runs functions that assert; one line each. each: what they are called with."""
    failed = 0
    for test in tests:
        begin = time.monotonic()
        try:
            test(*each)
            print(f"ok    {test.__name__} ({time.monotonic() - begin:.1f} s)", flush=True)
        except Exception as e:      # a test that cannot go on is a test that failed
            failed += 1
            print(f"FAIL  {test.__name__}: {type(e).__name__}: {str(e)[:2000]}", flush=True)
            import traceback
            traceback.print_exc()
    return failed
