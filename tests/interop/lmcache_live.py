#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The installed LMCache and kvferry read each other's chunks through a Redis server, over redis://, resp:// and valkey://.

  lmcache_live.py PEER [SERVER]

PEER is the built tests/unit/test_resp_interop, SERVER a redis-server or valkey-server (default: redis-server). Needs
`pip install lmcache` (a GPU is not needed; LMCache says so and uses the CPU), for valkey:// also valkey-glide-sync.
LMCache's own classes make the keys from the tokens, write and read; without vLLM its hash is Python's hash(), so that is
what kvferry is told. Exit status: 0 all read, 1 not, 77 LMCache is not installed.
"""
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lmcache_redis as layouts  # noqa: E402: tokens and content only, nothing of its key code is used

CHUNK, LAYERS, HIDDEN, CHUNKS = 64, 3, 32, 4  # tests/rig.h
MODEL = "rig"

try:
    import lmcache._version
    import torch
    from lmcache.v1.config import LMCacheEngineConfig
    from lmcache.v1.memory_management import MemoryFormat
    from lmcache.v1.metadata import LMCacheMetadata
    from lmcache.v1.storage_backend.connector import CreateConnector
    from lmcache.v1.storage_backend.local_cpu_backend import LocalCPUBackend
    from lmcache.v1.token_database import ChunkedTokenDatabase
except ImportError as e:
    print("SKIPPED: LMCache is not installed here:", e)
    sys.exit(77)


class Server:
    def __init__(self, program):
        self.dir = tempfile.mkdtemp()
        self.socket = self.dir + "/s"
        with __import__("socket").socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.process = subprocess.Popen(
            [program, "--bind", "127.0.0.1", "--port", str(self.port), "--unixsocket", self.socket, "--save", "", "--dir",
             self.dir], stdout=subprocess.DEVNULL)
        for _ in range(100):
            if os.path.exists(self.socket):
                break
            time.sleep(0.05)
        self.call = layouts.Redis(self.socket)

    def stop(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.dir)


class Lmcache:
    """One LMCache engine's remote side."""

    def __init__(self, url):
        extra = {"save_chunk_meta": url.startswith("redis:")}
        self.config = LMCacheEngineConfig.from_defaults(chunk_size=CHUNK, local_cpu=False, max_local_cpu_size=0.5,
                                                        remote_url=url, extra_config=extra)
        self.metadata = LMCacheMetadata(model_name=MODEL, world_size=1, local_world_size=1, worker_id=0,
                                        local_worker_id=0, kv_dtype=torch.bfloat16,
                                        kv_shape=(LAYERS, 2, CHUNK, 1, HIDDEN // 2), chunk_size=CHUNK)
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.backend = LocalCPUBackend(self.config, self.metadata, dst_device="cpu")
        self.connector = CreateConnector(url, self.loop, self.backend, self.config, self.metadata)
        self.database = ChunkedTokenDatabase(self.config, self.metadata)

    def wait(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout=20)

    def keys(self, tokens):
        return [key for _, _, key in self.database.process_tokens(torch.tensor(tokens))]

    def put(self, key, data):
        obj = self.backend.allocate(self.metadata.get_shapes(), self.metadata.get_dtypes(), MemoryFormat.KV_2LTD)
        memoryview(obj.byte_array).cast("B")[:len(data)] = data
        self.wait(self.connector.put(key, obj))

    def get(self, key):
        if not self.wait(self.connector.exists(key)):
            return None
        obj = self.wait(self.connector.get(key))
        return None if obj is None else bytes(obj.byte_array)


def peer(program, mode, url, number):
    """kvferry stores, or fetches and compares, sequence `number`."""
    done = subprocess.run([program, "--peer", mode, url, "builtin", "ip", "-", str(number), str(CHUNKS * CHUNK)],
                          capture_output=True, text=True)
    if done.returncode:
        print(done.stdout[-1500:], done.stderr[-1500:])
    return done.returncode == 0


def both_ways(program, server, scheme):
    url = f"{scheme}://127.0.0.1:{server.port}"
    theirs = Lmcache(url)
    tokens = {n: [layouts.mix(n * 7919 + i) & 0xFFFFFFFF for i in range(CHUNKS * CHUNK)] for n in (7, 8)}
    content = {n: [layouts.payload(n, i * CHUNK, CHUNK, LAYERS, HIDDEN) for i in range(CHUNKS)] for n in (7, 8)}

    for key, data in zip(theirs.keys(tokens[7]), content[7], strict=True):
        theirs.put(key, data)
    written = server.call("DBSIZE")
    read = peer(program, "fetch", url, 7)
    print(f"{scheme}://  LMCache wrote {CHUNKS} chunks ({written} keys), kvferry read them: {'yes' if read else 'NO'}")

    stored = peer(program, "store", url, 8)
    got = [theirs.get(key) for key in theirs.keys(tokens[8])]
    same = sum(a == b for a, b in zip(got, content[8], strict=True))
    print(f"{scheme}://  kvferry wrote {CHUNKS} chunks, LMCache read {same} of them byte for byte")
    server.call("FLUSHALL")
    return read and stored and same == CHUNKS


def main():
    if len(sys.argv) < 2:
        print(__doc__)
        return 2
    print("LMCache", lmcache._version.__version__, "torch", torch.__version__, "Python", sys.version.split()[0])
    server = Server(sys.argv[2] if len(sys.argv) > 2 else "redis-server")
    fine = True
    try:
        for scheme in ("redis", "resp", "valkey"):
            try:
                fine &= both_ways(sys.argv[1], server, scheme)
            except (ImportError, RuntimeError) as e:
                if "glide" not in str(e):
                    raise
                print(f"{scheme}://  SKIPPED: {e}")
    finally:
        server.stop()
    sys.stdout.flush()
    os._exit(0 if fine else 1)  # LMCache's threads do not end by themselves


if __name__ == "__main__":
    sys.exit(main())
