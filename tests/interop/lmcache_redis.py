#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes and reads chunks in a Redis server as LMCache does, from the layouts alone: Python's standard library, nothing of
kvferry's.

  lmcache_redis.py write|read SOCKET FORMAT ALGORITHM NUMBER TOKENS CHUNK LAYERS HIDDEN_BYTES [SUFFIX]

FORMAT is redis (two keys), raw (one key) or valkey2 (two keys as valkey:// had them before March 2026). The model is "rig", bfloat16; NUMBER decides tokens and content as in
tests/rig.c. ALGORITHM: builtin, sha256, sha256_cbor (in process), mp:sha256_cbor (multiprocess), mp3:sha256_cbor (before June 2026),
2026-03:sha256, 2026-02:builtin, 2025-11:builtin, 2025-07:builtin, legacy:sha256 (in process, as of that month). With PYTHONHASHSEED in
KVF_SEED the chain starts as beside vLLM. `read` fails unless exactly the chunks of NUMBER are there, byte for byte, beside
kvferry's own side records.

  lmcache_redis.py describe SOCKET

prints a line for each key: its name, its length, and of metadata the numbers.
"""
import hashlib
import os
import pickle
import socket
import struct
import sys

MASK = (1 << 64) - 1


def mix(x):
    x &= MASK
    x ^= x >> 31
    x = x * 0x7FB5D329728EA185 & MASK
    x ^= x >> 27
    x = x * 0x81DADEF4BC2DD44D & MASK
    return x ^ x >> 33


# --- LMCache's names ---------------------------------------------------------------------------------------------------
def cbor(v):
    def head(major, n):
        for limit, code, size in ((24, None, 0), (1 << 8, 24, 1), (1 << 16, 25, 2), (1 << 32, 26, 4), (1 << 64, 27, 8)):
            if n < limit:
                return bytes([major << 5 | (code or n)]) + (n.to_bytes(size, "big") if code else b"")
        raise ValueError(n)
    if v is None:
        return b"\xf6"
    if isinstance(v, int):
        return head(0, v) if v >= 0 else head(1, -1 - v)
    if isinstance(v, bytes):
        return head(2, len(v)) + v
    if isinstance(v, str):
        return head(3, len(v.encode())) + v.encode()
    return head(4, len(v)) + b"".join(cbor(e) for e in v)


HASHES = {
    "builtin": hash,
    "sha256": lambda v: hashlib.sha256(pickle.dumps(v, protocol=5)).digest(),
    "sha256_cbor": lambda v: hashlib.sha256(cbor(v)).digest(),
}


def legacy_names(tokens, chunk):
    last = ""
    for first in range(0, len(tokens), chunk):
        piece = tokens[first:first + chunk]
        last = hashlib.sha256(last.encode("ascii") + struct.pack("<%dI" % len(piece), *piece)).hexdigest()
        yield "vllm@rig@1@0@" + last


# hash(None) is an address before Python 3.12: what it is since then.
NONE_HASH = 0xFCA86420


def tuple_hash(lanes):
    """hash() of a tuple, from the hashes of its elements."""
    acc = 2870177450012600261
    for lane in lanes:
        acc = acc + lane * 14029467366897019727 & MASK
        acc = (acc << 31 | acc >> 33) & MASK
        acc = acc * 11400714785074694791 & MASK
    acc = acc + (len(lanes) ^ 2870177450012600261 ^ 3527539) & MASK
    return acc - (1 << 64) if acc >> 63 else acc


def hash_with_none(v):
    return tuple_hash([hash(v[0]), hash(v[1]), NONE_HASH])


def older_names(month, algorithm, tokens, chunk):
    last = 0
    for first in range(0, len(tokens), chunk):
        piece = tuple(tokens[first:first + chunk])
        last = HASHES[algorithm]((last, piece, ())) if month == "2026-03" else hash_with_none((last, piece))
        text = last.hex() if isinstance(last, bytes) else "%x" % last
        yield {"2026-03": "rig@1@0@%s@bfloat16", "2026-02": "rig@1@0@%s@bfloat16",
               "2025-11": "vllm@rig@1@0@%s@bfloat16", "2025-07": "vllm@rig@1@0@%s"}[month] % text


def names(algorithm, tokens, chunk):
    era = algorithm.split(":")[0]
    if era == "legacy":
        return legacy_names(tokens, chunk)
    if era.startswith("20"):
        return older_names(era, algorithm.split(":")[1], tokens, chunk)
    return names_now(algorithm, tokens, chunk)


def names_now(algorithm, tokens, chunk):
    mp = algorithm.startswith("mp")
    function = HASHES[algorithm.split(":")[-1]]
    fold = (lambda h: h) if mp else (lambda h: int.from_bytes(h[:8], "big") if isinstance(h, bytes) else h)
    seed = os.environ.get("KVF_SEED")
    last = fold(function(seed)) if seed is not None else function((0, (0,), None)) if mp else 0
    for first in range(0, len(tokens), chunk):
        last = fold(function((last, tuple(tokens[first:first + chunk]), None if mp else ())))
        if mp:
            yield ("rig@01000100@" if algorithm.startswith("mp3") else "rig@01000100@0@") + last.hex()
        else:
            yield "rig@1@0@%x@bfloat16" % last


# --- content, as tests/rig.c computes it -----------------------------------------------------------------------------
def payload(number, first, n, layers, hidden):
    """[plane][layer][token][hidden]"""
    out = bytearray()
    for plane in range(2):
        for layer in range(layers):
            for token in range(first, first + n):
                for i in range(0, hidden, 8):
                    v = number * 1000003 + mix(layer * 2 + plane) + mix(token + 77) * 31 + i
                    out += struct.pack("<Q", mix(v))
    return bytes(out)


# --- RESP ------------------------------------------------------------------------------------------------------------
class Redis:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.file = self.socket.makefile("rb")

    def __call__(self, *words):
        out = b"*%d\r\n" % len(words)
        for w in words:
            w = w.encode() if isinstance(w, str) else w
            out += b"$%d\r\n%s\r\n" % (len(w), w)
        self.socket.sendall(out)
        return self.answer()

    def answer(self):
        line = self.file.readline()[:-2]
        kind, rest = line[:1], line[1:]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.answer() for _ in range(int(rest))]
        return int(rest) if kind == b":" else rest


def chunks(form, algorithm, number, n, chunk, layers, hidden, suffix):
    """Key -> value of everything LMCache keeps of these tokens."""
    tokens = [mix(number * 7919 + i) & 0xFFFFFFFF for i in range(n)]
    all_keys = {}
    for i, name in enumerate(names(algorithm, tokens, chunk)):
        size = min(chunk, n - i * chunk)
        value = payload(number, i * chunk, size, layers, hidden)
        name += suffix
        if form == "redis":
            all_keys[name + "kv_bytes"] = value
            all_keys[name + "metadata"] = struct.pack("<7i", len(value), 1, 3, 2, layers, size, hidden // 2)
        elif form == "valkey2":
            all_keys[name + ":kv_bytes"] = value
            all_keys[name + ":metadata"] = struct.pack("<7i", len(value), 1, 3, 2, layers, size, hidden // 2)
        else:
            all_keys[name] = value
    return all_keys


def describe(redis):
    for key in sorted(redis("KEYS", "*")):
        value = redis("GET", key)
        numbers = struct.unpack("<%di" % (len(value) // 4), value) if key.endswith(b"metadata") else ()
        print(key.decode(), len(value), *numbers)
    return 0


def main():
    if sys.argv[1] == "describe":
        return describe(Redis(sys.argv[2]))
    mode, path, form, algorithm = sys.argv[1:5]
    number, n, chunk, layers, hidden = map(int, sys.argv[5:10])
    suffix = sys.argv[10] if len(sys.argv) > 10 else ""
    want = chunks(form, algorithm, number, n, chunk, layers, hidden, suffix)
    redis = Redis(path)
    if mode == "write":
        for key, value in want.items():
            redis("SET", key, value)
        return 0
    have = {k.decode() for k in redis("KEYS", "*")}
    ours = {k for k in have if k.endswith("kvferry")}
    wrong = [k for k in want if redis("GET", k) != want[k]]
    for k in sorted(have - ours - set(want)):
        print("not LMCache's:", k)
    for k in wrong:
        print("missing or other bytes:", k)
    return 1 if wrong or have - ours != set(want) else 0


if __name__ == "__main__":
    sys.exit(main())
