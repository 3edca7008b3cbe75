#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""examples/llama/server with both of its drivers: answers, streams, bad requests, clients that leave, load.
`test_server.py [DRIVER] [TEST]...`"""
import json
import os
import re
import shutil
import subprocess
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from server_rig import (CHUNK, DRIVERS, HungRedis, Server, events, need_servers, prompt_of, run_tests,  # noqa: E402
                        until)

LENGTHS = (1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 40, 1000)
CHAT = [{"role": "system", "content": "You are terse. " + prompt_of(150, 5)}, {"role": "user", "content": "Say it."}]


def plain_pages(driver):
    with Server(driver) as s:
        models = json.loads(s.get("/v1/models"))
        assert [m["id"] for m in models["data"]] == ["random"], models
        assert json.loads(s.get("/v1/models/random"))["id"] == "random"
        assert s.request("GET", "/v1/models/other")[0] == 404
        assert json.loads(s.get("/health"))["status"] == "ok"
        m = s.metrics()
        assert m["kvferry_server_slots"] == 4 and "lmcache:num_lookup_requests" in " ".join(m), sorted(m)
        assert s.request("HEAD", "/health")[0] == 200


def answers_do_not_depend_on_the_cache(driver):
    """Token for token: without a cache, with an empty one, with a full one; whole and streamed."""
    compare_answers(driver)
    compare_answers(driver, "--precise")


def compare_answers(driver, *args):
    prompts = [prompt_of(n, 100 + n) for n in LENGTHS]
    with Server(driver, *args, cache=False) as off, Server(driver, *args) as on:
        for p in prompts:
            expected, none = off.complete(p, 40)
            first, before = on.complete(p, 40)
            again, after = on.complete(p, 40)
            assert (none, before) == (0, 0), (none, before)
            assert after == min(len(p) // CHUNK * CHUNK, len(p) - 1), (len(p), after)
            assert first == expected and again == expected, (len(p), expected, first, again)
            text = "".join(e["choices"][0]["text"] for e in on.stream(p, 40))
            assert text == expected, (len(p), expected, text)
        assert off.metric("kvferry_server_cached_tokens_total") == 0
        # An answer is the beginning of the next prompt: its chunks are stored as well where the settings say so.
        longer = prompts[-1] + prompt_of(200, 9)
        assert on.complete(longer, 20) == (off.complete(longer, 20)[0], len(prompts[-1]) // CHUNK * CHUNK)


def unfull_chunks(driver):
    """save_unfull_chunk: the same prompt again computes its last token only."""
    with Server(driver, "--set", "save_unfull_chunk=true") as s:
        for n in (CHUNK // 2, 3 * CHUNK, 3 * CHUNK + 40):
            text, _ = s.complete(prompt_of(n, 31), 8)
            assert s.complete(prompt_of(n, 31), 8) == (text, n - 1), n
    with Server(driver) as s:
        s.complete(prompt_of(100, 31), 8)
        assert s.complete(prompt_of(100, 31), 8)[1] == CHUNK


def prompts_that_come_together(driver):
    """What one of them computed and stored the others need not compute, though it was not there when they came."""
    p = prompt_of(3000, 21)
    with Server(driver, "--precise", context=8192) as s:
        got = ask_all(s, [p] * 4)
        assert len(set(got.values())) == 1, got
        m = s.metrics()
        assert m["kvferry_server_prefilled_tokens_total"] < 1.5 * len(p), m
        assert m["kvferry_server_prefilled_tokens_total"] + m["kvferry_server_cached_tokens_total"] == 4 * (len(p) - 1), m


def tenants_share_nothing(driver):
    p = prompt_of(300, 77)
    with Server(driver) as s:
        text, _ = s.complete(p, cache_salt="a")
        assert s.complete(p, cache_salt="b") == (text, 0)
        assert s.complete(p) == (text, 0)
        assert s.complete(p, cache_salt="a") == (text, 300 // CHUNK * CHUNK)


def shapes_of_streams(driver):
    with Server(driver) as s:
        whole = s.post("/v1/chat/completions", messages=CHAT, max_tokens=20, temperature=0, ignore_eos=True, model="random")
        choice = whole["choices"][0]
        assert choice["message"]["role"] == "assistant" and choice["finish_reason"] in ("length", "stop"), whole
        assert whole["usage"]["total_tokens"] == whole["usage"]["prompt_tokens"] + whole["usage"]["completion_tokens"]
        parts = s.stream(CHAT, 20, path="/v1/chat/completions")
        assert all(len(e["choices"]) == 1 for e in parts), "clients look at choices[0] of every chunk"
        deltas = [e["choices"][0]["delta"] for e in parts]
        # The first chunk carries the first token: whoever measures the time to it measures that.
        assert deltas[0]["role"] == "assistant" and deltas[0]["content"], deltas[0]
        assert all("role" not in d for d in deltas[1:]) and deltas[-1] == {}, deltas
        assert "".join(d.get("content", "") for d in deltas) == choice["message"]["content"]
        assert [e["choices"][0]["finish_reason"] for e in parts] == [None] * (len(parts) - 1) + [choice["finish_reason"]]
        assert len({e["id"] for e in parts}) == 1 and parts[0]["object"] == "chat.completion.chunk"
        parts = s.stream(CHAT, 20, path="/v1/chat/completions", stream_options={"include_usage": True})
        assert parts[-1]["choices"] == [] and parts[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]
        # Text parts are one text; ids are what the text would have been.
        as_parts = [{"role": "user", "content": [{"type": "text", "text": "Say "}, {"type": "text", "text": "it."}]}]
        as_text = [{"role": "user", "content": "Say it."}]
        both = [s.post("/v1/chat/completions", messages=m, max_tokens=8, temperature=0)["choices"] for m in (as_parts, as_text)]
        assert both[0] == both[1], both
        assert s.complete("Hello", 8) == s.complete(["Hello"], 8)
        assert s.complete([39, 40, 41], 8)[0] == s.complete([[39, 40, 41]], 8)[0]


def sampling(driver):
    with Server(driver) as s:
        def drawn(**fields):
            fields = dict(fields, prompt="Once upon", max_tokens=60, ignore_eos=True)
            return s.post("/v1/completions", **fields)["choices"][0]["text"]
        assert drawn(seed=1, temperature=1.2) == drawn(seed=1, temperature=1.2)
        assert len({drawn(seed=n, temperature=1.2) for n in range(4)}) > 1
        assert drawn(temperature=0, frequency_penalty=2) != drawn(temperature=0)
        assert drawn(seed=3, top_p=0) == drawn(temperature=0)


def answers_can_be_sent_back(driver):
    """A model may write any bytes, NUL too: its answer is part of the next request all the same."""
    with Server(driver) as s:
        said = s.post("/v1/completions", prompt="abc", max_tokens=1500, temperature=2, seed=1, ignore_eos=True)["choices"][0]["text"]
        assert "\ufffd" in said and "\0" not in said, said
        messages = CHAT + [{"role": "assistant", "content": said[:500]}, {"role": "user", "content": "Go on."}]
        assert s.post("/v1/chat/completions", messages=messages, max_tokens=4)["choices"]


def pool_before_requests(driver):
    """The first requests do not wait for memory: all of the pool is there from the start."""
    with Server(driver, "--set", "max_local_cpu_size=0.3") as s:
        m = s.metrics()
        wanted, ready = (next(v for k, v in m.items() if k.startswith(name + "{")) for name in ("kvferry_slots", "kvferry_slots_ready"))
        assert 0 < wanted == ready, (wanted, ready)
    with Server(driver, "--set", "max_local_cpu_size=0.3", "--set", "kvf_pool_before_open=false") as s:
        assert s.complete("who wants it otherwise", 4)[0]


def stop_strings(driver):
    with Server(driver) as s:
        text, _ = s.complete("abc", 60)
        assert len(text) > 20, text
        stop = re.search("[ -~]{2,}", text[10:]).group(0)       # begins in one token and ends in another
        end = text.index(stop)
        j = s.post("/v1/completions", prompt="abc", max_tokens=60, temperature=0, ignore_eos=True, stop=["never", stop])
        assert (j["choices"][0]["text"], j["choices"][0]["finish_reason"]) == (text[:end], "stop"), (text, j)
        parts = s.stream("abc", 60, stop=stop)
        assert "".join(e["choices"][0]["text"] for e in parts) == text[:end]
        # A stop string that does not come holds nothing back in the end.
        assert s.complete("abc", 60, stop=stop + "never")[0] == text


BAD = [
    ("not JSON", b"{\"prompt\": ", None),
    ("no JSON at all", b"\xff\xfe\x00", None),
    ("empty", b"", None),
    ("an array", b"[]", None),
    ("the same key twice", b'{"prompt": "a", "prompt": "b"}', None),
    ("too deep", b'{"prompt": ' + b"[" * 100000, None),
    ("no UTF-8", b'{"prompt": "\xff"}', None),
    ("a NUL", b'{"prompt": "a\\u0000b"}', None),
    ("no prompt", {}, "prompt"),
    ("an empty prompt", {"prompt": ""}, "prompt"),
    ("a number for a prompt", {"prompt": 3}, "prompt"),
    ("two prompts", {"prompt": ["a", "b"]}, "prompt"),
    ("a token that is none", {"prompt": [5, 100000]}, "prompt"),
    ("a negative token", {"prompt": [-1]}, "prompt"),
    ("tokens and text", {"prompt": [5, "a"]}, "prompt"),
    ("no tokens wanted", {"prompt": "a", "max_tokens": 0}, "max_tokens"),
    ("tokens as text", {"prompt": "a", "max_tokens": "5"}, "max_tokens"),
    ("a fraction of a token", {"prompt": "a", "max_tokens": 1.5}, "max_tokens"),
    ("too hot", {"prompt": "a", "temperature": 3}, "temperature"),
    ("a word for a number", {"prompt": "a", "top_p": "x"}, "top_p"),
    ("two answers", {"prompt": "a", "n": 2}, "n"),
    ("tools", {"prompt": "a", "tools": [{"type": "function"}]}, "tools"),
    ("JSON wanted", {"prompt": "a", "response_format": {"type": "json_object"}}, "response_format"),
    ("an empty stop string", {"prompt": "a", "stop": ""}, "stop"),
    ("five stop strings", {"prompt": "a", "stop": list("abcde")}, "stop"),
    ("options of no stream", {"prompt": "a", "stream_options": {}}, "stream_options"),
    ("stream as text", {"prompt": "a", "stream": "yes"}, "stream"),
    ("a salt that is none", {"prompt": "a", "cache_salt": "x@y"}, "cache_salt"),
]
BAD_CHAT = [
    ("no messages", {}, "messages"),
    ("none of them", {"messages": []}, "messages"),
    ("text for messages", {"messages": "hi"}, "messages"),
    ("a message that is none", {"messages": ["hi"]}, "messages"),
    ("an unknown role", {"messages": [{"role": "robot", "content": "a"}]}, "messages"),
    ("a number for a text", {"messages": [{"role": "user", "content": 5}]}, "messages"),
    ("a picture", {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages"),
]


def bad_requests(driver):
    """Each gets its 4xx, an object that names the field, and the connection goes on."""
    with Server(driver) as s:
        c = s.connect()
        for path, cases in (("/v1/completions", BAD), ("/v1/chat/completions", BAD_CHAT)):
            for what, body, param in cases:
                status, _, answer = s.request("POST", path, body, c)
                error = json.loads(answer)["error"]
                assert status == 400 and error["type"] == "invalid_request_error", (what, status, answer)
                assert error["param"] == param and error["message"], (what, answer)
        status, _, answer = s.request("POST", "/v1/completions", {"prompt": "a", "model": "\u00e4" * 80}, c)
        assert status == 404 and json.loads(answer)["error"]["code"] == "model_not_found", answer
        status, headers, _ = s.request("GET", "/v1/completions", None, c)
        assert (status, headers["Allow"]) == (405, "POST"), (status, headers)
        assert s.request("POST", "/v2/nothing", {}, c)[0] == 404
        assert s.complete("still here", 4)[0]
        c.close()
        assert s.ended("refused") == len(BAD) + len(BAD_CHAT) + 3
        assert s.metric("kvferry_server_steps_total") == 5, "only the good request was computed"


def too_large(driver):
    """A prompt over the context, a body over the limit, headers without end, no HTTP at all."""
    with Server(driver, "--body-kib", "64", context=512) as s:
        for n, ok in ((511, True), (512, False), (5000, False)):
            status, _, answer = s.request("POST", "/v1/completions", {"prompt": prompt_of(n, 1), "max_tokens": 5})
            assert (status == 200) == ok, (n, status)
            if not ok:
                assert status == 400 and json.loads(answer)["error"]["code"] == "context_length_exceeded", answer
            else:   # the answer ends where the context does
                assert json.loads(answer)["usage"]["completion_tokens"] == 1, answer
        status, _, answer = s.request("POST", "/v1/completions", {"prompt": "x" * 100000})
        assert status == 413 and json.loads(answer)["error"]["code"] == "body_too_large", (status, answer)
        # In chunks, without a length said before.
        c = s.connect()
        c.request("POST", "/v1/completions", iter([b"x" * 10000] * 10), {}, encode_chunked=True)
        assert c.getresponse().status == 413
        c.close()
        for text, statuses in ((b"GET /health HTTP/1.1\r\n" + b"X: " + b"y" * 100000 + b"\r\n\r\n", (400, 413, 414, 431)),
                               (b"hello\r\n\r\n", (400,)), (b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n", (400, 414, 431)),
                               (b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n", (400, 413))):
            with s.raw() as raw:
                try:
                    raw.sendall(text)
                    answer = raw.recv(100)
                except ConnectionError:
                    answer = b""        # cut off while it still sends: fine
                assert not answer or int(answer.split()[1]) in statuses, (text[:40], answer)
        assert s.complete("still here", 4)[0]


def leaving(driver):
    """Clients that leave: in the queue, while their prompt is computed, in the middle of their answer."""
    with Server(driver, slots=1, context=32768) as s:
        long = prompt_of(30000, 3)
        streaming, response = s.begin_stream("abc", 20000)
        next(events(response))
        waiting = s.connect()
        waiting.request("POST", "/v1/completions", json.dumps({"prompt": "q", "max_tokens": 5, "ignore_eos": True}))
        until(lambda: s.metric("kvferry_server_requests_waiting") == 1, "a request waits")
        waiting.close()
        until(lambda: s.ended("canceled") == 1, "who waited is forgotten")
        response.close()
        streaming.close()
        until(lambda: s.ended("canceled") == 2 and s.idle(), "an answer nobody reads ends")
        assert s.metric("kvferry_server_generated_tokens_total") < 20000
        before = s.metric("kvferry_server_prefilled_tokens_total")
        c = s.connect()
        c.request("POST", "/v1/completions", json.dumps({"prompt": long, "max_tokens": 5}))
        until(lambda: s.metric("kvferry_server_prefilled_tokens_total") > before, "the prompt is being computed")
        c.close()
        until(lambda: s.ended("canceled") == 3 and s.idle(), "a prompt nobody waits for is left")
        assert s.metric("kvferry_server_prefilled_tokens_total") - before < 29999
        assert s.complete("still here", 4)[0]


def leaving_while_kvferry_works(driver):
    """A remote store that never answers: who leaves meanwhile has his lookup cancelled, long before its deadline."""
    with HungRedis() as redis:
        with Server(driver, "--set", "remote_url=" + redis.url, "--set", "blocking_timeout_secs=300",
                    slots=1, quiet=False) as s:
            c = s.connect()
            c.request("POST", "/v1/completions", json.dumps({"prompt": prompt_of(300, 8), "max_tokens": 5}))
            assert redis.asked.wait(60), "the store is asked"
            m = s.metrics()
            assert m["kvferry_server_requests_running"] == 1 and m["kvferry_server_steps_total"] == 0, m
            c.close()
            until(lambda: s.ended("canceled") == 1 and s.idle(), "the lookup is cancelled")
            canceled = [v for k, v in s.metrics().items() if k.startswith("kvferry_") and "cancel" in k and "server" not in k]
            assert sum(canceled) >= 1, s.get("/metrics")


def slow_clients(driver):
    """They are given up after a while, and nobody else waits for them."""
    # A long name makes long events: more than the kernel takes.
    with Server(driver, "--timeout", "1", "--backlog-kib", "8", "--name", "n" * 4000, context=8192) as s:
        half = s.raw()
        half.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{\"prompt\"")
        deaf = s.raw(2048)
        body = json.dumps({"prompt": "abc", "max_tokens": 8000, "stream": True, "ignore_eos": True}).encode()
        deaf.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert s.complete("others go on", 8)[0]
        half.settimeout(30)
        assert half.recv(1000)[:15] in (b"", b"HTTP/1.1 408 Req"[:15]), "the half request is given up"
        until(lambda: s.ended("canceled") == 1 and s.idle(), "the answer that is not read is given up")
        assert s.metric("kvferry_server_generated_tokens_total") < 8000
        half.close()
        deaf.close()
        assert s.complete("still here", 4)[0]


def ask_all(server, prompts):
    got = {}

    def ask(n):
        got[n] = "".join(e["choices"][0]["text"] for e in server.stream(prompts[n], 24))
    threads = [threading.Thread(target=ask, args=(n,)) for n in range(len(prompts))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return got


def thirty_streams(driver):
    """At a time, over four slots, with an empty cache and with a full one. Each gets the answer it gets alone."""
    prompts = [prompt_of(100 + 13 * n, n // 3) + str(n) for n in range(30)]
    with Server(driver, "--precise", cache=False) as alone:
        expected = [alone.complete(p, 24)[0] for p in prompts]
    with Server(driver, "--precise") as s:
        for _ in range(2):
            got = ask_all(s, prompts)
            wrong = [n for n in range(30) if got.get(n) != expected[n]]
            assert not wrong, [(n, expected[n], got.get(n)) for n in wrong]
        assert s.metric("kvferry_server_cached_tokens_total") >= sum((len(p) - 1) // CHUNK * CHUNK for p in prompts)
    with Server(driver, cache=False) as alone:
        expected = [alone.complete(p, 24)[0] for p in prompts]
    with Server(driver) as s:
        got = ask_all(s, prompts)
        # In batches of several a near tie may end otherwise now and then; of who got another's answer most would be wrong.
        assert len([n for n in range(30) if got.get(n) == expected[n]]) >= 15, (expected, got)
        m = s.metrics()
        assert m['kvferry_server_requests_total{result="length"}'] == 30 and m["kvferry_server_ttft_seconds_count"] == 30
        # With four at a time, one step serves several answers.
        assert m["kvferry_server_steps_total"] < m["kvferry_server_generated_tokens_total"], m


def full_queue(driver):
    with Server(driver, "--queue", "1", slots=1, context=32768) as s:
        first, response = s.begin_stream("abc", 30000)
        next(events(response))
        second = s.connect()
        second.request("POST", "/v1/completions", json.dumps({"prompt": "q", "max_tokens": 2}))
        until(lambda: s.metric("kvferry_server_requests_waiting") == 1, "one waits")
        status, headers, answer = s.request("POST", "/v1/completions", {"prompt": "q"})
        assert status == 503 and headers["Retry-After"] == "1", (status, answer)
        response.close()
        first.close()
        assert second.getresponse().status == 200
        second.close()


def ending(driver):
    """SIGTERM: what is being answered is finished, then the server ends. The exit status is checked by the rig."""
    with Server(driver) as s:
        c, response = s.begin_stream("abc", 60)
        stream = events(response)
        next(stream)
        s.process.terminate()
        parts = list(stream)
        assert parts[-1]["choices"][0]["finish_reason"] == "length", parts[-1]
        c.close()
        s.process.wait(30)
    # In the middle of more than it can finish in its grace: it ends all the same, and who listens is told.
    with Server(driver, slots=1, context=32768) as s:
        c, response = s.begin_stream("abc", 32000)
        next(events(response))
        s.process.terminate()
        s.process.wait(60)
        try:
            list(events(response))
            raise SystemExit("an answer that was cut off looks whole")
        except Exception:       # whatever the client calls it
            pass
        c.close()


def curl(driver):
    if not shutil.which("curl"):
        print("SKIP  curl: it is not installed")
        return
    with Server(driver, "--body-kib", "64") as s:
        def run(*args):
            return subprocess.run(["curl", "-sS", "--max-time", "60", *args], stdout=subprocess.PIPE, check=True).stdout.decode()
        base = f"http://127.0.0.1:{s.port}"
        body = json.dumps({"prompt": "Hello", "max_tokens": 5, "stream": True, "temperature": 0})
        out = run("-N", base + "/v1/completions", "-H", "Content-Type: application/json", "-d", body)
        assert out.count("data: ") >= 3 and out.endswith("data: [DONE]\n\n"), out
        out = run("-o", os.devnull, "-w", "%{http_code}", base + "/v1/completions", "-H", "Expect: 100-continue", "-d", "x" * 70000)
        assert out == "413", out
        out = run("-w", "%{http_code}", "-H", "Transfer-Encoding: chunked", base + "/v1/completions", "-d",
                  json.dumps({"prompt": "Hello", "max_tokens": 2}))
        assert out.endswith("200"), out
        out = run("-w", " %{http_code} %{num_connects}", base + "/health", base + "/v1/models")
        assert " 200 0" in out, "the connection is used again: " + out


TESTS = (plain_pages, answers_do_not_depend_on_the_cache, unfull_chunks, prompts_that_come_together, tenants_share_nothing,
         shapes_of_streams, sampling, answers_can_be_sent_back, pool_before_requests, stop_strings, bad_requests, too_large,
         leaving, leaving_while_kvferry_works, slow_clients, thirty_streams, full_queue, ending, curl)


def main():
    need_servers()
    words = sys.argv[1:]
    drivers = [d for d in DRIVERS if d in words] or DRIVERS
    names = [w for w in words if w not in DRIVERS]
    failed = 0
    for driver in drivers:
        print(f"== {driver}")
        failed += run_tests([t for t in TESTS if not names or t.__name__ in names], (driver,))
    print(f"{failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
