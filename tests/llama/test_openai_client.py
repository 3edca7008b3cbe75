#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""examples/llama/server with both of its drivers, driven by OpenAI's own Python client: what programs use.
`test_openai_client.py [DRIVER] [TEST]...`; KVF_OPENAI_PYTHON: the interpreter that has the `openai` package, where it
is not this one."""
import asyncio
import json
import os
import subprocess
import sys
from xml.etree import ElementTree

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from server_rig import (CHUNK, DRIVERS, SKIPPED, SOURCE, Server, folder, model, need_servers, program, prompt_of,  # noqa: E402
                        run_tests, until)

try:
    import openai
except ImportError:
    openai = None

CHAT = [{"role": "system", "content": "You are terse. " + prompt_of(300, 5)}, {"role": "user", "content": "Say it."}]
GO_ON = {"ignore_eos": True}    # past where the model would end its answer


def client(server, **options):
    options = {"max_retries": 0, "timeout": 120, **options}
    return openai.OpenAI(api_key="unused", base_url=f"http://127.0.0.1:{server.port}/v1", **options)


def async_client(server):
    return openai.AsyncOpenAI(api_key="unused", base_url=f"http://127.0.0.1:{server.port}/v1", max_retries=0, timeout=120)


def refused(kind, call):
    """The error that the client raises, which must be of this kind."""
    try:
        got = call()
    except openai.APIError as e:
        assert type(e) is kind, f"{type(e).__name__} instead of {kind.__name__}: {e}"
        return e
    raise AssertionError(f"answered instead of {kind.__name__}: {got}")


def completions(driver):
    with Server(driver) as s, client(s) as c:
        assert [m.id for m in c.models.list()] == ["random"] and c.models.retrieve("random").owned_by == "kvferry"
        refused(openai.NotFoundError, lambda: c.models.retrieve("other"))
        prompt = prompt_of(4 * CHUNK + 10, 1)

        def ask(**fields):
            return c.completions.create(model="random", prompt=prompt, max_tokens=20, temperature=0, extra_body=GO_ON, **fields)
        first, again = ask(), ask()
        assert first.usage.prompt_tokens == len(prompt) and first.usage.completion_tokens == 20, first
        assert first.choices[0].finish_reason == "length"
        assert first.usage.prompt_tokens_details.cached_tokens == 0
        assert again.usage.prompt_tokens_details.cached_tokens == 4 * CHUNK
        assert again.choices[0].text == first.choices[0].text and again.id != first.id
        parts = list(ask(stream=True, stream_options={"include_usage": True}))
        assert "".join(p.choices[0].text for p in parts if p.choices) == first.choices[0].text
        assert parts[-1].usage.total_tokens == first.usage.total_tokens, parts[-1]
        stop = first.choices[0].text[8:10]
        assert ask(stop=[stop]).choices[0].text == first.choices[0].text.split(stop)[0]


def chat(driver):
    with Server(driver) as s, client(s) as c:
        def ask(**fields):
            return c.chat.completions.create(model="random", messages=CHAT, temperature=0, max_completion_tokens=24, **fields)
        whole = ask()
        message = whole.choices[0].message
        assert message.role == "assistant" and message.content and not message.tool_calls, whole
        parts = list(ask(stream=True))
        assert all(len(p.choices) == 1 for p in parts), "programs look at choices[0] of every chunk"
        assert "".join(p.choices[0].delta.content or "" for p in parts) == message.content
        assert parts[0].choices[0].delta.content, "the first chunk has the first token"
        assert [p.choices[0].finish_reason for p in parts[-2:]] == [None, whole.choices[0].finish_reason]
        assert len({p.id for p in parts}) == 1
        # The conversation goes on: what was said before comes from the cache.
        longer = CHAT + [{"role": "assistant", "content": message.content}, {"role": "user", "content": "Again."}]
        usage = c.chat.completions.create(model="random", messages=longer, max_tokens=4).usage
        assert usage.prompt_tokens_details.cached_tokens >= 300 // CHUNK * CHUNK, usage
        # Another tenant's cache is another.
        other = c.chat.completions.create(model="random", messages=longer, max_tokens=4, extra_body={"cache_salt": "b"}).usage
        assert other.prompt_tokens_details.cached_tokens == 0, other


def refusals(driver):
    with Server(driver, "--body-kib", "64", context=512) as s, client(s) as c:
        def ask(prompt="a", **fields):
            return lambda: c.completions.create(**{"model": "random", "prompt": prompt, "max_tokens": 4, **fields})
        assert refused(openai.NotFoundError, ask(model="gpt")).code == "model_not_found"
        assert refused(openai.BadRequestError, ask(temperature=3)).param == "temperature"
        assert refused(openai.BadRequestError, ask(n=2)).param == "n"
        assert refused(openai.BadRequestError, ask(extra_body={"prompt": {"a": 1}})).param == "prompt"
        assert refused(openai.BadRequestError, ask(extra_body={"stream": "yes"})).param == "stream"
        assert refused(openai.BadRequestError, ask("x" * 600)).code == "context_length_exceeded"
        assert refused(openai.BadRequestError, ask("x" * 600, stream=True)).code == "context_length_exceeded"
        large = refused(openai.APIStatusError, ask("x" * 100000))
        assert (large.status_code, large.code) == (413, "body_too_large"), large
        bad = refused(openai.BadRequestError, lambda: c.chat.completions.create(model="random", messages=[]))
        assert bad.param == "messages"
        # No JSON at all, as the client sends it.
        refused(openai.BadRequestError, lambda: c.post("/completions", cast_to=object, body=[1, 2]))
        refused(openai.NotFoundError, lambda: c.embeddings.create(model="random", input="a"))
        assert ask()().usage.completion_tokens <= 4


def leaving(driver):
    """Who stops reading, gives up waiting, or is cancelled: its job ends, and its slot serves the next."""
    with Server(driver, slots=1, context=32768) as s, client(s) as c:
        with c.completions.create(model="random", prompt="abc", max_tokens=20000, stream=True, extra_body=GO_ON) as stream:
            for _, part in zip(range(3), stream):
                assert part.choices[0].text is not None
        until(lambda: s.ended("canceled") == 1 and s.idle(), "an answer that nobody reads ends")
        refused(openai.APITimeoutError, lambda: c.with_options(timeout=0.3).completions.create(
            model="random", prompt=prompt_of(30000, 3), max_tokens=500, extra_body=GO_ON))
        until(lambda: s.ended("canceled") == 2 and s.idle(), "a prompt nobody waits for is left")

        async def give_up():
            async with async_client(s) as a:
                task = asyncio.create_task(a.chat.completions.create(model="random", messages=CHAT, max_tokens=20000,
                                                                     extra_body=GO_ON))
                await asyncio.sleep(0.3)
                task.cancel()
                try:
                    await task
                except asyncio.CancelledError:
                    return
            raise AssertionError("it was not cancelled")
        asyncio.run(give_up())
        until(lambda: s.ended("canceled") == 3 and s.idle(), "a task that was cancelled ends")
        assert c.completions.create(model="random", prompt="still here", max_tokens=4, temperature=0, extra_body=GO_ON).choices[0].text


def trying_again(driver):
    """A full queue is answered with 503 and Retry-After, which the client heeds."""
    with Server(driver, "--queue", "0", slots=1, context=32768) as s, client(s) as c:
        def ask(**fields):
            return c.completions.create(model="random", prompt="abc", extra_body=GO_ON, **fields)
        stream = ask(max_tokens=30000, stream=True)
        next(iter(stream))
        assert refused(openai.InternalServerError, lambda: ask(max_tokens=2)).status_code == 503

        async def patient():
            async with async_client(s) as a:
                task = asyncio.create_task(a.with_options(max_retries=8).completions.create(model="random", prompt="abc",
                                                                                            max_tokens=2))
                while s.ended("unavailable") < 2:
                    await asyncio.sleep(0.02)
                stream.close()
                return await task
        assert asyncio.run(patient()).usage.completion_tokens <= 2


def thirty_streams(driver):
    """At a time, over four slots, with an empty cache and with a full one: each the answer that it gets alone."""
    prompts = [prompt_of(100 + 13 * n, n // 3) + str(n) for n in range(30)]
    fields = {"model": "random", "max_tokens": 16, "temperature": 0, "extra_body": GO_ON}

    async def one(a, prompt):
        text = ""
        async for part in await a.completions.create(prompt=prompt, stream=True, **fields):
            text += part.choices[0].text
        return text

    async def all_of_them(s):
        async with async_client(s) as a:
            return await asyncio.gather(*(one(a, p) for p in prompts))

    with Server(driver, "--precise", cache=False) as s, client(s) as c:
        alone = [c.completions.create(prompt=p, **fields).choices[0].text for p in prompts]
    with Server(driver, "--precise") as s:
        for _ in range(2):
            got = asyncio.run(all_of_them(s))
            wrong = [(n, alone[n], got[n]) for n in range(30) if got[n] != alone[n]]
            assert not wrong, wrong
        assert s.metric("kvferry_server_cached_tokens_total") >= sum((len(p) - 1) // CHUNK * CHUNK for p in prompts)


def agents(driver):
    """examples/llama/agents.py: a small run of it, its table and its plot."""
    results, svg = (os.path.join(folder(), name) for name in ("agents.json", "agents.svg"))
    out = subprocess.run([sys.executable, os.path.join(SOURCE, "examples", "llama", "agents.py"), "--server", program(driver),
                          "--model", model(), "--conversations", "6", "--turns", "3", "--slots", "2", "--system", "60", "--turn", "10",
                          "--gap", "0.1", "--threads", "1", "--ram", "64", "--results", results, "--svg", svg],
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
    text = out.stdout.decode()
    assert out.returncode == 0 and "18 of 18 turns" in text, text
    with open(results, encoding="utf-8") as f:
        runs = json.load(f)["runs"]
    assert [len(runs[v]["ttft"]) for v in ("off", "on")] == [18, 18] and runs["off"]["cached_tokens"] == 0, runs
    assert runs["on"]["cached_tokens"] > runs["on"]["prompt_tokens"] / 2, runs
    assert [e.tag.split("}")[1] for e in ElementTree.parse(svg).getroot()].count("polyline") == 2
    os.remove(results)


TESTS = (completions, chat, refusals, leaving, trying_again, thirty_streams, agents)


def main():
    need_servers()
    if openai is None:
        other = os.environ.pop("KVF_OPENAI_PYTHON", None)
        if other and os.access(other, os.X_OK):
            os.execv(other, [other] + sys.argv)
        print("*** SKIPPED: the server was NOT driven by OpenAI's own client: pip install openai, or KVF_OPENAI_PYTHON=PYTHON ***")
        return SKIPPED
    print(f"openai {openai.__version__}")
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
